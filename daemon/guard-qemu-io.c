/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's process, as the kernel sees it: which one it is, and whether it is stopped.
 *
 * A process that SIGSTOP has stopped runs no instruction until SIGCONT, so unlike silence this needs no patience with a busy host. The state that counts is "T" of
 * proc(5); "t", a tracer's stop, comes and goes with each system call under strace(1). The descriptor belongs to the process and not to its number: after its end
 * nothing is read from it, whoever has that number then.
 */
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PID_FILE "/run/libvirt/qemu/%s.pid"	/* libvirt's, of its system instance */
#define LOOK_MS 30

int
qemu_pid(const struct guard_io *io)
{
	g_autofree char *path = g_strdup_printf(PID_FILE, io->config->domain), *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? atoi(text) : -1;
}

/* "1234 (qemu-system-x86) S 1 ...": the name may have parentheses in it, too. 0: there is no such process any more. */
static char
process_state(int fd)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	const char *end;

	text[MAX(n, 0)] = '\0';
	end = strrchr(text, ')');
	return end && end[1] == ' ' ? end[2] : 0;
}

static gboolean
on_look(gpointer user_data)
{
	struct guard_io *io = user_data;
	char state = process_state(io->qemu_stat_fd);

	guard_qemu_looked(io->guard, guard_io_now(), state == 'T');
	guard_io_schedule(io);
	if (state != 0)
		return G_SOURCE_CONTINUE;
	io->qemu_look_timer = 0;
	return G_SOURCE_REMOVE;
}

void
qemu_look_open(struct guard_io *io)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", qemu_pid(io));

	io->qemu_stat_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (io->qemu_stat_fd < 0)
		log_warn("qemu", "%s: %s: that QEMU is stopped will be seen by its silence only", path, g_strerror(errno));
}

void
qemu_look_start(struct guard_io *io)
{
	if (io->qemu_stat_fd >= 0)
		io->qemu_look_timer = g_timeout_add(LOOK_MS, on_look, io);
}

void
qemu_look_end(struct guard_io *io)
{
	g_clear_handle_id(&io->qemu_look_timer, g_source_remove);
	if (io->qemu_stat_fd > 0)
		close(io->qemu_stat_fd);
	io->qemu_stat_fd = -1;
}
