/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The monitor socket itself: connects (QEMU may still be starting), moves bytes, passes descriptors. Never blocks; a full socket leaves the rest for later. */
#include "daemon/base/error.h"
#include "qmp/qmp-framing.h"
#include "qmp/qmp-json.h"
#include "qmp/qmp-transport-io.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECT_RETRY_MS 20
#define READ_SIZE (64 * 1024)
#define READS_PER_DISPATCH 16	/* then others get their turn */

struct outgoing {
	GBytes *bytes;
	size_t sent;
	int fd;		/* goes with the first byte */
};

struct socket_io {
	struct qmp_client *client;
	char *path;
	uint64_t connect_deadline;
	int fd;
	GSource *retry;		/* while not connected */
	GSource *input;
	GSource *output;	/* while the socket is full */
	GQueue out;		/* struct outgoing; bounded by QMP_SESSION_MAX_PENDING */
	struct qmp_framing *framing;
};

static void
outgoing_free(gpointer data)
{
	struct outgoing *o = data;

	g_bytes_unref(o->bytes);
	if (o->fd >= 0)
		g_close(o->fd, NULL);
	g_free(o);
}

static void
drop_source(GSource **source)
{
	if (*source) {
		g_source_destroy(*source);
		g_clear_pointer(source, g_source_unref);
	}
}

/* The far end sees EOF at once, which is what un-sticks whatever waits for us there. */
static void
disconnect(struct socket_io *io)
{
	drop_source(&io->retry);
	drop_source(&io->input);
	drop_source(&io->output);
	g_queue_clear_full(&io->out, outgoing_free);
	if (io->fd >= 0)
		g_close(io->fd, NULL);
	io->fd = -1;
}

static void
socket_free(gpointer transport)
{
	struct socket_io *io = transport;

	disconnect(io);
	qmp_framing_free(io->framing);
	g_free(io->path);
	g_free(io);
}

static void
fail_errno(struct socket_io *io, const char *what)
{
	qmp_client_close(io->client, FTD_ERROR_QMP, "monitor %s: %s: %s", io->path, what, g_strerror(errno));
	disconnect(io);
}

static ssize_t
send_some(int fd, struct outgoing *o)
{
	gsize length;
	const char *data = g_bytes_get_data(o->bytes, &length);
	struct iovec iov = { .iov_base = (char *)data + o->sent, .iov_len = length - o->sent };
	union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (o->fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control.space;
		msg.msg_controllen = sizeof control.space;
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &o->fd, sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* True when the message is out whole. */
static bool
send_one(struct socket_io *io, struct outgoing *o)
{
	ssize_t n = send_some(io->fd, o);

	if (n < 0)
		return false;
	o->sent += (size_t)n;
	if (o->fd >= 0)
		g_close(o->fd, NULL);
	o->fd = -1;
	return o->sent == g_bytes_get_size(o->bytes);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer user_data);

static GSource *
watch(struct socket_io *io, GIOCondition condition, GUnixFDSourceFunc func)
{
	GSource *source = g_unix_fd_source_new(io->fd, condition);

	g_source_set_callback(source, G_SOURCE_FUNC(func), io, NULL);
	g_source_set_priority(source, QMP_SOURCE_PRIORITY);
	g_source_attach(source, qmp_client_context(io->client));
	return source;
}

static void
write_out(struct socket_io *io)
{
	struct outgoing *o;

	while (io->fd >= 0 && (o = g_queue_peek_head(&io->out))) {
		errno = 0;
		if (send_one(io, o)) {
			outgoing_free(g_queue_pop_head(&io->out));
		} else if (errno == EAGAIN) {
			if (!io->output)
				io->output = watch(io, G_IO_OUT, on_writable);
			return;
		} else if (errno != 0 && errno != EINTR) {
			fail_errno(io, "cannot write");
			return;
		}
	}
}

static gboolean
on_writable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer user_data)
{
	struct socket_io *io = user_data;

	drop_source(&io->output);
	write_out(io);
	return G_SOURCE_REMOVE;
}

static void
socket_send(gpointer transport, uint64_t id G_GNUC_UNUSED, GBytes *bytes, int fd)
{
	struct socket_io *io = transport;
	struct outgoing *o = g_new0(struct outgoing, 1);

	o->bytes = g_bytes_ref(bytes);
	o->fd = fd;
	g_queue_push_tail(&io->out, o);
	if (!io->output)
		write_out(io);
}

static bool
take_input(struct socket_io *io, const char *data, size_t length)
{
	g_autoptr(GError) error = NULL;
	bool ok = qmp_framing_input(io->framing, data, length, &error);
	struct json_object *message;

	while ((message = qmp_framing_next(io->framing))) {
		qmp_session_input(qmp_client_session(io->client), message);
		json_object_put(message);
	}
	if (!ok) {
		qmp_client_close(io->client, error->code, "monitor %s: %s", io->path, error->message);
		disconnect(io);
	}
	return ok;
}

static gboolean
on_readable(gint fd, GIOCondition condition G_GNUC_UNUSED, gpointer user_data)
{
	struct socket_io *io = user_data;
	g_autofree char *buffer = g_malloc(READ_SIZE);

	qmp_client_wake(io->client);
	for (unsigned i = 0; i < READS_PER_DISPATCH; i++) {
		ssize_t n = recv(fd, buffer, READ_SIZE, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return G_SOURCE_CONTINUE;
		if (n < 0) {
			fail_errno(io, "cannot read");
			return G_SOURCE_REMOVE;
		}
		if (n == 0) {
			qmp_client_close(io->client, FTD_ERROR_QMP, "monitor %s: QEMU closed it", io->path);
			disconnect(io);
			return G_SOURCE_REMOVE;
		}
		if (!take_input(io, buffer, (size_t)n))
			return G_SOURCE_REMOVE;
	}
	return G_SOURCE_CONTINUE;
}

static int
connect_path(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		int saved = errno;

		g_close(fd, NULL);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Not there yet, there but not listening yet, or (a unix socket's EAGAIN) with a full backlog. */
static bool
may_come(int error)
{
	return error == ENOENT || error == ECONNREFUSED || error == EAGAIN;
}

static gboolean
on_retry(gpointer user_data)
{
	struct socket_io *io = user_data;

	io->fd = connect_path(io->path);
	if (io->fd < 0 && may_come(errno) && qmp_client_now() + CONNECT_RETRY_MS * 1000000 < io->connect_deadline)
		return G_SOURCE_CONTINUE;
	if (io->fd < 0) {
		fail_errno(io, "cannot connect");
		return G_SOURCE_REMOVE;
	}
	drop_source(&io->retry);
	io->input = watch(io, G_IO_IN, on_readable);
	return G_SOURCE_REMOVE;
}

static const struct qmp_transport_ops socket_ops = { .send = socket_send, .free = socket_free };

struct qmp_client *
qmp_client_new_socket(const char *path, unsigned connect_timeout_ms, qmp_event_func on_event, qmp_closed_func on_closed, gpointer user_data)
{
	struct socket_io *io = g_new0(struct socket_io, 1);

	io->path = g_strdup(path);
	io->fd = -1;
	io->framing = qmp_framing_new(0);
	g_queue_init(&io->out);
	io->connect_deadline = qmp_client_now() + (uint64_t)connect_timeout_ms * 1000000;
	io->client = qmp_client_new(QMP_SESSION_SOCKET, io->connect_deadline, on_event, on_closed, user_data);
	qmp_client_set_transport(io->client, &socket_ops, io);
	io->retry = g_timeout_source_new(CONNECT_RETRY_MS);
	g_source_set_ready_time(io->retry, 0);	/* the first try at once */
	g_source_set_callback(io->retry, on_retry, io, NULL);
	g_source_attach(io->retry, qmp_client_context(io->client));
	return io->client;
}
