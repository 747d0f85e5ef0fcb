/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's process, as the kernel sees it: which one it is, whether it is stopped, and whether it ends.
 *
 * A process that SIGSTOP has stopped runs no instruction until SIGCONT, so unlike silence this needs no patience with a busy host. One that was killed, or has crashed,
 * keeps its sockets until the kernel has freed its memory (do_exit(): exit_mm() comes before exit_files()), some 0.1 ms for each MiB of small pages, and seconds if it
 * writes a core; that it ends is known at once. The main thread is looked at: it is the one that sends and hears. The descriptor belongs to the process and not to
 * its number: after its end nothing is read from it, whoever has that number then.
 */
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"
#include "daemon/process-stat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PID_FILE "/run/libvirt/qemu/%s.pid"	/* libvirt's, of its system instance */
/* Looked at when the main loop turns for another reason and the last look is so old, and when it has not turned for longer: an idle guard wakes up for its heartbeats
 * anyway (heartbeat-ms, 20 by default), and each time that it wakes up by itself costs more than the look. */
#define LOOK_AFTER_MS 8
#define LOOK_BY_MS 22

int
qemu_pid(const struct guard_io *io)
{
	g_autofree char *path = g_strdup_printf(PID_FILE, io->config->domain), *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? atoi(text) : -1;
}

static enum process_look
look(int fd)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[MAX(n, 0)] = '\0';
	return process_look(text);
}

struct look_source {
	GSource source;
	gint64 looked_at;	/* us, by the main loop's time */
};

static gint64
since_look(GSource *source)
{
	return g_source_get_time(source) - ((struct look_source *)source)->looked_at;
}

static gboolean
look_prepare(GSource *source, gint *timeout)
{
	gint64 left = LOOK_BY_MS * 1000 - since_look(source);

	*timeout = left > 0 ? (gint)((left + 999) / 1000) : 0;
	return left <= 0;
}

static gboolean
look_check(GSource *source)
{
	return since_look(source) >= LOOK_AFTER_MS * 1000;
}

static gboolean
look_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	((struct look_source *)source)->looked_at = g_source_get_time(source);
	return callback(user_data);
}

static GSourceFuncs look_funcs = { .prepare = look_prepare, .check = look_check, .dispatch = look_dispatch };

static gboolean
on_look(gpointer user_data)
{
	struct guard_io *io = user_data;
	enum process_look seen = look(io->qemu_stat_fd);
	struct timespec cpu = { 0 };

	clock_gettime(io->qemu_cpu_clock, &cpu);
	if (seen == PROCESS_ENDS && !io->leaving)
		qemu_closed(io, true, "its process");
	guard_qemu_looked(io->guard, guard_io_now(), seen == PROCESS_STOPPED, (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec);
	guard_io_schedule(io);
	if (seen != PROCESS_ENDS && seen != PROCESS_GONE)
		return G_SOURCE_CONTINUE;
	g_clear_pointer(&io->qemu_look, g_source_unref);
	return G_SOURCE_REMOVE;
}

void
qemu_look_open(struct guard_io *io)
{
	int pid = qemu_pid(io);
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/stat", pid, pid);

	/* Of all its threads. It goes by the number: what another process takes that gets it makes an epoch shorter at most. */
	if (clock_getcpuclockid(pid, &io->qemu_cpu_clock) != 0)
		io->qemu_cpu_clock = CLOCK_PROCESS_CPUTIME_ID;
	io->qemu_stat_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (io->qemu_stat_fd < 0)
		log_warn("qemu", "%s: %s: that QEMU is stopped will be seen by its silence only", path, g_strerror(errno));
}

void
qemu_look_start(struct guard_io *io)
{
	if (io->qemu_stat_fd < 0)
		return;
	io->qemu_look = g_source_new(&look_funcs, sizeof(struct look_source));
	g_source_set_callback(io->qemu_look, on_look, io, NULL);
	g_source_attach(io->qemu_look, NULL);
}

void
qemu_look_end(struct guard_io *io)
{
	if (io->qemu_look)
		g_source_destroy(io->qemu_look);
	g_clear_pointer(&io->qemu_look, g_source_unref);
	if (io->qemu_stat_fd > 0)
		close(io->qemu_stat_fd);
	io->qemu_stat_fd = -1;
}
