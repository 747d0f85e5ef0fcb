/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"

#include <sys/ioctl.h>
#include <unistd.h>

unsigned
ftctl_columns(int fd)
{
	struct winsize size;

	if (!isatty(fd))
		return 0;
	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}
