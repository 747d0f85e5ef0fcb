/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's taps after the death of its QEMU.
 *
 * A process that is killed frees its memory before it closes its files: for some 10 ms its tap still takes frames that nobody will read, and more of them come until
 * the switches know the other host. Each of these frames is a request whose loss costs a client a retransmission time-out, 200 ms and more.
 *
 * A tap lives as long as its last descriptor. So this side has one of its own from the beginning (pidfd_getfd(2), which a confined guard is killed for). As long as QEMU lives nothing is read from it, because
 * a frame has one reader; after QEMU's death what is left in the queue, and what still comes, goes to the standby. Read by one or by the other, so never by both.
 *
 * Where the descriptor is not to be had (an old kernel, no right to it) nothing but that time is lost. The tap goes soon after QEMU's death, or when protection ends.
 */
#include "daemon/base/byte-reader.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READS_PER_DISPATCH 64
#define LEFT_MAX 1024		/* frames read at once from a dead QEMU's tap; its queue holds 1000 */
#define LINGER_MS 2000		/* after QEMU's death: by then the switches know */

/* The kernel names the device of each of a process's tap descriptors: "iff:\tvnet0". */
static bool
is_tap(const char *fdinfo, const char *tap)
{
	g_autofree char *text = NULL, *line = g_strdup_printf("\niff:\t%s\n", tap);

	return g_file_get_contents(fdinfo, &text, NULL, NULL) && strstr(text, line);
}

/* The number that the descriptor has in QEMU, or -1. */
static int
find_tap(int pid, const char *tap)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fdinfo", pid);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *file = g_build_filename(path, name, NULL);

		if (is_tap(file, tap))
			return atoi(name);
	}
	return -1;
}

static bool
borrow(struct tap_io *t, int pid, const char *tap)
{
	int number = find_tap(pid, tap), pidfd;
	struct ifreq request = { 0 };

	if (number < 0) {
		errno = ENOENT;
		return false;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return false;
	t->fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	close(pidfd);
	/* The descriptor, not what /proc said a moment ago, tells what it is. */
	if (t->fd >= 0 && ioctl(t->fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, tap) == 0 &&
	    (!(request.ifr_flags & IFF_VNET_HDR) || ioctl(t->fd, TUNGETVNETHDRSZ, &t->vnet_length) == 0))
		return true;
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	return false;
}

void
taps_open(struct guard_io *io)
{
	int pid = qemu_pid(io);

	for (unsigned i = 0; i < io->config->n_nics; i++) {
		const char *tap = io->config->nics[i].tap;

		io->taps[i] = (struct tap_io){ .io = io, .nic = i, .fd = -1 };
		if (!tap || pid <= 0 || !borrow(&io->taps[i], pid, tap))
			log_warn("tap", "nic %u: frames that QEMU leaves behind when it dies will be lost: %s", i, tap && pid > 0 ? g_strerror(errno) : "its tap is not known");
	}
}

static bool
read_frame(struct tap_io *t)
{
	uint8_t *buffer = g_malloc(WIRE_FRAME_HEADER + WIRE_FRAME_MAX);
	ssize_t n = read(t->fd, buffer + WIRE_FRAME_HEADER, WIRE_FRAME_MAX);
	g_autoptr(GBytes) frame = NULL;

	if (n <= 0) {
		g_free(buffer);
		return false;
	}
	put_be32(buffer, (uint32_t)n);
	put_be32(buffer + 4, (uint32_t)t->vnet_length);
	frame = g_bytes_new_take(g_realloc(buffer, WIRE_FRAME_HEADER + (gsize)n), WIRE_FRAME_HEADER + (gsize)n);
	if (n >= t->vnet_length)
		guard_frame(t->io->guard, guard_io_now(), GUARD_PORT_TAP, t->nic, frame);
	return true;
}

static void
read_frames(struct tap_io *t, int most)
{
	while (most-- > 0 && read_frame(t))
		;
}

static gboolean
on_readable(int fd, GIOCondition condition, gpointer user_data)
{
	read_frames(user_data, READS_PER_DISPATCH);
	return G_SOURCE_CONTINUE;
}

static gboolean
on_lingered(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->taps_timer = 0;
	taps_close(io);
	return G_SOURCE_REMOVE;
}

void
taps_read(struct guard_io *io)
{
	for (unsigned i = 0; i < io->config->n_nics; i++) {
		struct tap_io *t = &io->taps[i];

		if (t->fd <= 0 || t->source)
			continue;
		g_unix_set_fd_nonblocking(t->fd, TRUE, NULL);
		read_frames(t, LEFT_MAX);
		t->source = g_unix_fd_source_new(t->fd, G_IO_IN);
		g_source_set_callback(t->source, G_SOURCE_FUNC(on_readable), t, NULL);
		g_source_attach(t->source, NULL);
	}
	if (!io->taps_timer)
		io->taps_timer = g_timeout_add(LINGER_MS, on_lingered, io);
}

void
taps_close(struct guard_io *io)
{
	g_clear_handle_id(&io->taps_timer, g_source_remove);
	for (unsigned i = 0; i < GUARD_MAX_NICS; i++) {
		struct tap_io *t = &io->taps[i];

		if (t->source)
			g_source_destroy(t->source);
		g_clear_pointer(&t->source, g_source_unref);
		if (t->fd > 0)
			close(t->fd);
		t->fd = -1;
	}
}
