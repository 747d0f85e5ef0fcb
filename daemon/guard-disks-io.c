/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Primary: the NBD server that QEMU's mirror jobs write to. Standby: the NBD clients of QEMU's exports. */
#include "daemon/base/error.h"
#include "daemon/guard-io.h"

#include <errno.h>
#include <glib-unix.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBD_READ (256 << 10)
#define TARGET_TIMEOUT_MS 10000

/* -- primary ------------------------------------------------------------------------------------------------------------------- */

static void
flush_output(struct disk_io *d)
{
	GBytes *bytes;

	while (d->stream && (bytes = nbd_server_take_output(d->server))) {
		fd_stream_write(d->stream, bytes);
		g_bytes_unref(bytes);
	}
}

static void
on_nbd_data(struct fd_stream *s, GBytes *bytes, gpointer user_data)
{
	struct disk_io *d = user_data;
	g_autoptr(GError) error = NULL;
	gsize size;
	const uint8_t *data = g_bytes_get_data(bytes, &size);
	struct nbd_request r;

	if (!nbd_server_input(d->server, data, size, &error)) {
		guard_data_failed(d->io->guard, guard_io_now(), "disk %u: %s", d->disk, error->message);
		if (d->stream)
			fd_stream_pause(d->stream, true);	/* and never an error to QEMU: the pair is being dissolved */
		return;
	}
	while (d->server && nbd_server_next_request(d->server, &r))
		guard_disk_request(d->io->guard, guard_io_now(), d->disk, &r);
	if (!d->server)
		return;
	flush_output(d);
	guard_io_schedule(d->io);
}

static void
on_nbd_closed(struct fd_stream *s, const char *why, gpointer user_data)
{
	struct disk_io *d = user_data;

	guard_mirror_gone(d->io->guard);
	qemu_closed(d->io, false, "a disk's mirror connection");
}

static const struct fd_stream_callbacks nbd_callbacks = { .data = on_nbd_data, .closed = on_nbd_closed };

void
disks_env_reply(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno)
{
	struct guard_io *io = ctx;
	struct disk_io *d = &io->disks[disk];

	if (!d->server)
		return;
	nbd_server_reply(d->server, cookie, nbd_errno, NULL);
	flush_output(d);
}

void
disks_resume_reading(struct guard_io *io)
{
	bool reading = guard_disk_reading(io->guard);

	for (unsigned i = 0; i < io->config->n_disks; i++)
		if (io->disks[i].stream)
			fd_stream_pause(io->disks[i].stream, !reading);
}

void
disks_drain(struct guard_io *io)
{
	for (unsigned i = 0; i < io->config->n_disks; i++)
		if (io->disks[i].stream)
			fd_stream_drain(io->disks[i].stream);
}

/* QEMU's one connection; the path is gone after it. */
static gboolean
on_nbd_accept(int fd, GIOCondition condition, gpointer user_data)
{
	struct disk_io *d = user_data;
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	g_autofree char *name = g_strdup_printf("ftd%u", d->disk);

	if (c < 0)
		return G_SOURCE_CONTINUE;
	d->server = nbd_server_new(name, d->io->config->disks[d->disk].size);
	d->stream = fd_stream_new(c, NBD_READ, &nbd_callbacks, d);
	fd_stream_share_turns(d->stream);
	flush_output(d);
	close(d->listen_fd);
	d->listen_fd = -1;
	unlink(d->nbd_path);
	g_clear_pointer(&d->listen_source, g_source_unref);
	return G_SOURCE_REMOVE;
}

static bool
listen_one(struct disk_io *d, GError **error)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	bool ok;

	d->nbd_path = g_strdup_printf("%s/qemu/nbd%u.sock", d->io->config->run_dir, d->disk);
	if (strlen(d->nbd_path) >= sizeof a.sun_path) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "run directory %s is too long for a socket's name", d->io->config->run_dir);
		return false;
	}
	g_strlcpy(a.sun_path, d->nbd_path, sizeof a.sun_path);
	unlink(a.sun_path);
	d->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	umask(0);	/* QEMU's user must open it; who else comes so far is said by the directory. Other threads' files have modes of their own. */
	ok = d->listen_fd >= 0 && bind(d->listen_fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(d->listen_fd, 1) == 0;
	umask(077);
	if (!ok) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s: %s", a.sun_path, g_strerror(errno));
		return false;
	}
	d->listen_source = g_unix_fd_source_new(d->listen_fd, G_IO_IN);
	g_source_set_callback(d->listen_source, G_SOURCE_FUNC(on_nbd_accept), d, NULL);
	g_source_attach(d->listen_source, NULL);
	return true;
}

bool
disks_listen(struct guard_io *io, GError **error)
{
	for (unsigned i = 0; i < io->config->n_disks; i++) {
		io->disks[i] = (struct disk_io){ .io = io, .disk = i, .listen_fd = -1 };
		if (!listen_one(&io->disks[i], error))
			return false;
	}
	return true;
}

/* -- standby ------------------------------------------------------------------------------------------------------------------- */

static void
on_target_ready(void *user_data)
{
	struct disk_io *d = user_data;

	d->ready = true;
	for (unsigned i = 0; i < d->io->config->n_disks; i++)
		if (!d->io->disks[i].ready)
			return;
	ops_targets_ready(d->io);
}

static void
on_target_done(guint64 cookie, int error, void *user_data)
{
	struct disk_io *d = user_data;

	guard_disk_done(d->io->guard, guard_io_now(), cookie, error);
	guard_io_schedule(d->io);
}

static void
on_target_read(guint64 cookie, int error, GBytes *data, void *user_data)
{
	struct disk_io *d = user_data;

	guard_disk_read_done(d->io->guard, guard_io_now(), cookie, error, data);
	guard_io_schedule(d->io);
}

static void
on_target_closed(const GError *error, void *user_data)
{
	struct disk_io *d = user_data;

	qemu_closed(d->io, false, error->message);
}

void
disks_connect_targets(struct guard_io *io, const char *nbd_path)
{
	static const struct disk_target_callbacks callbacks = { .ready = on_target_ready, .done = on_target_done, .read = on_target_read, .closed = on_target_closed };

	for (unsigned i = 0; i < io->config->n_disks; i++) {
		struct disk_io *d = &io->disks[i];
		g_autofree char *name = g_strdup_printf("ftd%u", i);
		*d = (struct disk_io){ .io = io, .disk = i, .listen_fd = -1 };
		d->target = disk_target_connect(nbd_path, name, io->config->disks[i].size, TARGET_TIMEOUT_MS, &callbacks, d);
	}
	if (io->config->n_disks == 0)
		ops_targets_ready(io);
}

void
disks_env_submit(void *ctx, const struct disk_write *w, uint64_t cookie)
{
	struct guard_io *io = ctx;

	if (io->disks[w->disk].target)
		disk_target_submit(io->disks[w->disk].target, w, cookie);
}

void
disks_env_read(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie)
{
	struct guard_io *io = ctx;

	if (io->disks[disk].target)
		disk_target_read(io->disks[disk].target, offset, length, cookie);
}

/* -- both ---------------------------------------------------------------------------------------------------------------------- */

/* Without it there is no TLS either. */
void
disks_env_digest(const void *data, size_t length, uint8_t out[DISK_DIGEST])
{
	int failed = gnutls_hash_fast(GNUTLS_DIG_SHA256, data, length, out);

	g_assert(failed == 0);
}

void
disks_close(struct guard_io *io)
{
	for (unsigned i = 0; i < GUARD_MAX_DISKS; i++) {
		struct disk_io *d = &io->disks[i];
		if (d->listen_source) {
			g_source_destroy(d->listen_source);
			g_clear_pointer(&d->listen_source, g_source_unref);
			close(d->listen_fd);
			unlink(d->nbd_path);
		}
		g_clear_pointer(&d->stream, fd_stream_free);
		g_clear_pointer(&d->server, nbd_server_free);
		g_clear_pointer(&d->target, disk_target_free);
		g_clear_pointer(&d->nbd_path, g_free);
	}
}
