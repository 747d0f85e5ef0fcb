/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 10

int
ftctl_forget(struct ftctl *f, int argc, char **argv)
{
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	int status;

	if (!ftctl_parse(f, "forget", "DOMAIN", "Allows the start of a copy of a domain on this host although another host has a newer one.", NULL, 1, 1,
			 &argc, &argv, &status))
		return status;
	parameters = json_put_str(json_object_new_object(), "domain", argv[1]);
	reply = ftctl_call(f, "forget", argv[1], "Forget", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	else
		printf("%s may be started on this host\n", argv[1]);
	return 0;
}
