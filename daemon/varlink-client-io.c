/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection per call: calls are rare, and a connection of its own cannot be held up by another call's stream of replies. */
#include "daemon/varlink-io.h"

#include "daemon/base/error.h"
#include "daemon/varlink-stream-io.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG_RETRY_MS 20

/* Who may use the socket is told by its group: a newcomer does not know which that is. */
static void
set_denied(GError **error, const char *path)
{
	struct stat st;
	const struct group *group = stat(path, &st) == 0 && st.st_gid != 0 ? getgrgid(st.st_gid) : NULL;

	if (group)
		g_set_error(error, FTD_ERROR, FTD_ERROR_DENIED, "no access to %s: only root and the members of the group %s have it", path, group->gr_name);
	else
		g_set_error(error, FTD_ERROR, FTD_ERROR_DENIED, "no access to %s: only root has it", path);
}

static void
set_connect_error(GError **error, const char *path, int code)
{
	if (code == ENOENT || code == ECONNREFUSED)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NO_DAEMON, "nobody listens on %s: is ftd running? (systemctl status ftd)", path);
	else if (code == EACCES)
		set_denied(error, path);
	else
		g_set_error(error, FTD_ERROR, FTD_ERROR_NO_DAEMON, "cannot connect to %s: %s", path, g_strerror(code));
}

/* A connected non-blocking socket, or -EAGAIN when the server's backlog is full (unix(7): connect() does not wait on a non-blocking socket), or -1 and error. */
static int
try_connect(const char *path, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, code;

	if (strlen(path) >= sizeof address.sun_path) {
		set_connect_error(error, path, ENAMETOOLONG);
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	code = errno;
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && code == EAGAIN)
		return -EAGAIN;
	set_connect_error(error, path, code);
	return -1;
}

static GError *
silence_error(const char *path, const char *method, int timeout_ms)
{
	return g_error_new(FTD_ERROR, FTD_ERROR_TIMEOUT, "no answer to %s on %s within %d ms", method, path, timeout_ms);
}

static GError *
cut_error(const char *path, const char *method)
{
	return g_error_new(FTD_ERROR, FTD_ERROR_NO_DAEMON, "the connection to %s ended before the answer to %s", path, method);
}

/* ---- blocking ---- */

struct sync_call {
	const char *path, *method;
	int fd, timeout_ms;
	int64_t deadline;	/* monotonic us; INT64_MAX: none */
	varlink_splitter *splitter;
};

static void
restart_deadline(struct sync_call *c)
{
	c->deadline = c->timeout_ms < 0 ? INT64_MAX : g_get_monotonic_time() + (int64_t)c->timeout_ms * 1000;
}

/* Waits until the fd is ready; fd -1 only waits. */
static bool
wait_for(struct sync_call *c, int fd, short events, int at_most_ms, GError **error)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left = c->deadline == INT64_MAX ? INT64_MAX : (c->deadline - g_get_monotonic_time() + 999) / 1000;
	int timeout = left > INT_MAX ? -1 : (int)left;

	if (left <= 0) {
		g_propagate_error(error, silence_error(c->path, c->method, c->timeout_ms));
		return false;
	}
	if (at_most_ms >= 0 && (timeout < 0 || timeout > at_most_ms))
		timeout = at_most_ms;
	poll(&p, 1, timeout);	/* whatever woke it: the caller tries again */
	return true;
}

static bool
sync_connect(struct sync_call *c, GError **error)
{
	while ((c->fd = try_connect(c->path, error)) == -EAGAIN)
		if (!wait_for(c, -1, 0, BACKLOG_RETRY_MS, error))
			return false;
	return c->fd >= 0;
}

/* Sends all of it. A server that closes early may have said why: only reading tells. */
static bool
sync_send(struct sync_call *c, struct json_object *parameters, bool more, GError **error)
{
	struct json_object *message = varlink_call_encode(c->method, parameters, more);
	size_t length, done = 0;
	g_autofree char *text = varlink_serialize(message, &length);

	json_object_put(message);
	while (done < length) {
		ssize_t n = send(c->fd, text + done, length - done, MSG_NOSIGNAL);

		if (n >= 0)
			done += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return true;
		else if (!wait_for(c, c->fd, POLLOUT, -1, error))
			return false;
	}
	return true;
}

/* The next message, or NULL and error. */
static struct json_object *
sync_receive(struct sync_call *c, GError **error)
{
	struct json_object *message = NULL;
	char buffer[16384];
	int code;

	while ((code = varlink_splitter_next(c->splitter, &message, error)) == 0) {
		ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);

		if (n > 0) {
			if (!varlink_splitter_input(c->splitter, buffer, (size_t)n, error))
				return NULL;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			g_propagate_error(error, cut_error(c->path, c->method));
			return NULL;
		} else if (!wait_for(c, c->fd, POLLIN, -1, error)) {
			return NULL;
		}
	}
	return code > 0 ? message : NULL;
}

static struct json_object *
sync_replies(struct sync_call *c, bool (*progress)(struct json_object *parameters, gpointer user_data), gpointer user_data, GError **error)
{
	for (;;) {
		struct json_object *message = sync_receive(c, error);
		bool continues = false, go_on = true;
		struct json_object *parameters = message ? varlink_reply_decode(message, &continues, error) : NULL;

		if (parameters && continues && progress)
			go_on = progress(parameters, user_data);
		json_object_get(parameters);
		json_object_put(message);
		if (!parameters || !continues)
			return parameters;
		json_object_put(parameters);
		if (!go_on)
			return json_object_new_object();
		restart_deadline(c);
	}
}

struct json_object *
varlink_call_sync(const char *socket_path, const char *method, struct json_object *parameters, bool more,
		  bool (*progress)(struct json_object *parameters, gpointer user_data), gpointer user_data, int timeout_ms, GError **error)
{
	g_autoptr(varlink_splitter) splitter = varlink_splitter_new();
	struct sync_call c = { .path = socket_path, .method = method, .timeout_ms = timeout_ms, .splitter = splitter };
	struct json_object *result = NULL;

	restart_deadline(&c);
	if (!sync_connect(&c, error))
		return NULL;
	if (sync_send(&c, parameters, more, error))
		result = sync_replies(&c, progress, user_data, error);
	close(c.fd);
	return result;
}

/* ---- asynchronous ---- */

struct varlink_pending {
	char *path, *method;
	unsigned timeout_ms;
	int64_t deadline;
	struct json_object *call;
	struct varlink_stream *stream;
	GSource *timer;		/* connecting (at once, then while the backlog is full), then the deadline */
	bool cancelled, in_progress;
	void (*progress)(struct json_object *parameters, gpointer user_data);
	void (*done)(struct json_object *parameters, const GError *error, gpointer user_data);
	gpointer user_data;
};

static void
pending_free(struct varlink_pending *p)
{
	varlink_stream_close(p->stream);
	if (p->timer) {
		g_source_destroy(p->timer);
		g_source_unref(p->timer);
	}
	json_object_put(p->call);
	g_free(p->path);
	g_free(p->method);
	g_free(p);
}

/* Takes error; parameters are borrowed. */
static void
pending_done(struct varlink_pending *p, struct json_object *parameters, GError *error)
{
	p->done(parameters, error, p->user_data);
	g_clear_error(&error);
	pending_free(p);
}

static void
set_timer(struct varlink_pending *p, int64_t at)
{
	g_source_set_ready_time(p->timer, at);
}

static void
restart_silence(struct varlink_pending *p)
{
	p->deadline = p->timeout_ms ? g_get_monotonic_time() + (int64_t)p->timeout_ms * 1000 : INT64_MAX;
}

static void
on_reply(struct varlink_stream *stream, struct json_object *message, gpointer user_data)
{
	struct varlink_pending *p = user_data;
	GError *error = NULL;
	bool continues = false;
	struct json_object *parameters = varlink_reply_decode(message, &continues, &error);

	if (!parameters || !continues) {
		pending_done(p, parameters, error);
		return;
	}
	p->in_progress = true;
	if (p->progress)
		p->progress(parameters, p->user_data);
	p->in_progress = false;
	if (p->cancelled) {
		pending_free(p);
		return;
	}
	restart_silence(p);
	set_timer(p, p->timeout_ms ? p->deadline : -1);
}

static void
on_stream_closed(struct varlink_stream *stream, const GError *error, gpointer user_data)
{
	struct varlink_pending *p = user_data;

	pending_done(p, NULL, cut_error(p->path, p->method));
}

static void
start_call(struct varlink_pending *p)
{
	static const struct varlink_stream_callbacks callbacks = { on_reply, on_stream_closed };
	GError *error = NULL;
	int fd = try_connect(p->path, &error);

	if (fd == -EAGAIN) {
		set_timer(p, MIN(p->deadline, g_get_monotonic_time() + BACKLOG_RETRY_MS * 1000));
		return;
	}
	if (fd < 0) {
		pending_done(p, NULL, error);
		return;
	}
	set_timer(p, p->timeout_ms ? p->deadline : -1);
	p->stream = varlink_stream_new(fd, &callbacks, p);
	varlink_stream_send(p->stream, p->call);
}

static gboolean
on_timer(gpointer user_data)
{
	struct varlink_pending *p = user_data;

	if (g_get_monotonic_time() >= p->deadline)
		pending_done(p, NULL, silence_error(p->path, p->method, (int)p->timeout_ms));
	else
		start_call(p);
	return G_SOURCE_CONTINUE;
}

static gboolean
timer_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	return callback(user_data);
}

static GSourceFuncs timer_funcs = { .dispatch = timer_dispatch };

struct varlink_pending *
varlink_call_async(const char *socket_path, const char *method, struct json_object *parameters, bool more, unsigned timeout_ms,
		   void (*progress)(struct json_object *parameters, gpointer user_data),
		   void (*done)(struct json_object *parameters, const GError *error, gpointer user_data), gpointer user_data)
{
	struct varlink_pending *p = g_new0(struct varlink_pending, 1);

	*p = (struct varlink_pending){ .timeout_ms = timeout_ms, .progress = progress, .done = done, .user_data = user_data };
	p->path = g_strdup(socket_path);
	p->method = g_strdup(method);
	p->call = varlink_call_encode(method, parameters, more);
	restart_silence(p);
	p->timer = g_source_new(&timer_funcs, sizeof(GSource));
	g_source_set_callback(p->timer, on_timer, p, NULL);
	set_timer(p, 0);
	g_source_attach(p->timer, g_main_context_get_thread_default());
	return p;
}

void
varlink_call_cancel(struct varlink_pending *p)
{
	if (!p)
		return;
	p->cancelled = true;
	if (!p->in_progress)
		pending_free(p);
}
