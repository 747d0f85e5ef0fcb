/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Half-closed connections: a caller may shut down its sending side and wait for the reply (socat does). Reading 0 bytes therefore only means "no more
 * calls": the stream goes on until nothing is left to answer, or until poll() says HUP, which on a unix socket means that the other side is closed
 * altogether (net/unix/af_unix.c, unix_poll()).
 */
#include "daemon/varlink-stream-io.h"

#include "daemon/base/error.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (64 * 1024)
#define READ_AHEAD (256 * 1024)	/* of pipelined messages while busy */

struct varlink_stream {
	unsigned refs;
	int fd;
	struct varlink_stream_callbacks cb;
	gpointer user_data;
	struct varlink_splitter *splitter;
	GByteArray *out;
	size_t out_start;
	bool busy, eof, closed, deaf;
	GError *failure;
	GSource *source;
	gpointer tag;
};

struct stream_source {
	GSource source;
	struct varlink_stream *stream;
};

static void
stream_unref(struct varlink_stream *s)
{
	if (--s->refs)
		return;
	varlink_splitter_free(s->splitter);
	g_byte_array_unref(s->out);
	g_clear_error(&s->failure);
	g_free(s);
}

static void
shut(struct varlink_stream *s)
{
	s->closed = true;
	g_source_destroy(s->source);
	g_clear_pointer(&s->source, g_source_unref);
	close(s->fd);
	s->fd = -1;
}

static void
stream_end(struct varlink_stream *s, GError *error)
{
	g_autoptr(GError) owned G_GNUC_UNUSED = error;

	if (s->closed)
		return;
	shut(s);
	s->cb.closed(s, error, s->user_data);
}

static GIOCondition
wanted(const struct varlink_stream *s)
{
	bool full = s->busy && varlink_splitter_buffered(s->splitter) >= READ_AHEAD;
	GIOCondition none = 0;

	return (s->eof || full ? none : G_IO_IN) | (s->out->len > s->out_start ? G_IO_OUT : none);
}

static void
update(struct varlink_stream *s)
{
	if (!s->closed)
		g_source_modify_unix_fd(s->source, s->tag, wanted(s));
}

static void
flush_out(struct varlink_stream *s)
{
	while (s->out_start < s->out->len) {
		ssize_t n = send(s->fd, s->out->data + s->out_start, s->out->len - s->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* The other side closed. What it sent before is still to be read (why it refused us, maybe), and reading finds the end. */
		s->deaf = n < 0;
		if (s->deaf)
			break;
		s->out_start += (size_t)n;
	}
	g_byte_array_set_size(s->out, 0);
	s->out_start = 0;
}

void
varlink_stream_send(struct varlink_stream *s, struct json_object *message)
{
	g_autofree char *text = NULL;
	size_t length;

	if (varlink_stream_is_closed(s))
		return;
	text = varlink_serialize(message, &length);
	/* A single reply may be as large as the limit; what counts is what piles up behind it. */
	if (s->out->len - s->out_start > VARLINK_MAX_QUEUED - MIN(length, VARLINK_MAX_QUEUED)) {
		s->failure = g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "the other side does not read: %u MiB wait for it", VARLINK_MAX_QUEUED >> 20);
		g_source_set_ready_time(s->source, 0);
		return;
	}
	g_byte_array_append(s->out, (const guint8 *)text, (guint)length);
	flush_out(s);
	update(s);
}

static void
fill(struct varlink_stream *s)
{
	char buffer[READ_SIZE];
	ssize_t n = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		stream_end(s, g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "the other side is gone: %s", g_strerror(errno)));
	else if (n == 0)
		s->eof = true;
	else if (!varlink_splitter_input(s->splitter, buffer, (size_t)n, &s->failure))
		stream_end(s, g_steal_pointer(&s->failure));
}

/* Delivers whole messages until the owner is busy; then, at the end of input, ends. */
static void
deliver(struct varlink_stream *s)
{
	while (!s->closed && !s->busy) {
		struct json_object *message = NULL;
		GError *error = NULL;
		int code = varlink_splitter_next(s->splitter, &message, &error);

		if (code < 0)
			stream_end(s, error);
		if (code <= 0)
			break;
		s->cb.message(s, message, s->user_data);
		json_object_put(message);
	}
	if (!s->closed && !s->busy && s->eof && s->out->len == s->out_start)
		stream_end(s, NULL);
}

static gboolean
stream_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	struct varlink_stream *s = ((struct stream_source *)source)->stream;
	GIOCondition ready = g_source_query_unix_fd(source, s->tag);

	s->refs++;
	g_source_set_ready_time(source, -1);
	if (ready & G_IO_OUT)
		flush_out(s);
	if (!s->failure && !s->closed && !s->eof && ready & (G_IO_IN | G_IO_HUP))
		fill(s);
	deliver(s);
	/* HUP counts once everything the other side had sent was read. */
	if (s->failure)
		stream_end(s, g_steal_pointer(&s->failure));
	else if (ready & G_IO_ERR || (ready & G_IO_HUP && s->eof))
		stream_end(s, NULL);
	update(s);
	stream_unref(s);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs stream_source_funcs = { .dispatch = stream_dispatch };

struct varlink_stream *
varlink_stream_new(int fd, const struct varlink_stream_callbacks *cb, gpointer user_data)
{
	struct varlink_stream *s = g_new0(struct varlink_stream, 1);

	g_unix_set_fd_nonblocking(fd, TRUE, NULL);
	*s = (struct varlink_stream){ .refs = 1, .fd = fd, .cb = *cb, .user_data = user_data };
	s->splitter = varlink_splitter_new();
	s->out = g_byte_array_new();
	s->source = g_source_new(&stream_source_funcs, sizeof(struct stream_source));
	((struct stream_source *)s->source)->stream = s;
	g_source_set_static_name(s->source, "varlink-stream");
	s->tag = g_source_add_unix_fd(s->source, fd, G_IO_IN);
	g_source_attach(s->source, g_main_context_get_thread_default());
	return s;
}

bool
varlink_stream_is_closed(const struct varlink_stream *s)
{
	return s->closed || s->failure || s->deaf;
}

/* Leaving busy delivers from the loop, not from here: whoever finishes a request must not find itself in the next one. */
void
varlink_stream_set_busy(struct varlink_stream *s, bool busy)
{
	s->busy = busy;
	if (s->closed)
		return;
	if (!busy)
		g_source_set_ready_time(s->source, 0);
	update(s);
}

void
varlink_stream_close(struct varlink_stream *s)
{
	if (!s)
		return;
	if (!s->closed) {
		flush_out(s);
		shut(s);
	}
	stream_unref(s);
}
