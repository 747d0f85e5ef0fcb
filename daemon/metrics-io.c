/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One look at the guards answers everybody who asks meanwhile: a monitoring system, or ten of them, cannot make ftd ask its guards faster than they answer.
 */
#include "daemon/metrics-io.h"

#include "daemon/base/error.h"
#include "daemon/http-head.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/metrics.h"

#include <errno.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENTS_MAX 32		/* more are hung up on */
#define CLIENT_TIMEOUT_S 15	/* for its request and its answer, while nothing moves */
#define EVENT_TYPES_MAX 64	/* beyond: "other" */

struct metrics_server {
	struct host *host;
	struct json_object *(*collect)(struct host *host);
	GSocketService *service;
	char *path;
	struct json_object *events;
	GPtrArray *waiting;	/* struct client *, for the look that is under way */
	bool looking;
	guint clients;
};

struct client {
	struct metrics_server *server;
	GSocketConnection *connection;
	char data[HTTP_HEAD_MAX + 4];
	gsize length;
	struct http_head head;
	GString *answer;
};

static bool
count_event(struct json_object *event, gpointer user_data)
{
	struct metrics_server *s = user_data;
	const char *type = json_get_str(event, "type");

	if (!type || (!json_get(s->events, type) && json_object_object_length(s->events) >= EVENT_TYPES_MAX))
		type = "other";
	json_put_u64(s->events, type, json_get_u64(s->events, type) + 1);
	return true;
}

static void
client_free(struct client *c)
{
	c->server->clients--;
	g_object_unref(c->connection);
	if (c->answer)
		g_string_free(c->answer, TRUE);
	g_free(c);
}

static void
on_written(GObject *stream, GAsyncResult *result, gpointer client)
{
	struct client *c = client;

	g_output_stream_write_all_finish(G_OUTPUT_STREAM(stream), result, NULL, NULL);
	g_io_stream_close(G_IO_STREAM(c->connection), NULL, NULL);
	client_free(c);
}

static void
answer(struct client *c, const char *content_type, const char *body)
{
	c->answer = http_answer(&c->head, content_type, body);
	g_output_stream_write_all_async(g_io_stream_get_output_stream(G_IO_STREAM(c->connection)), c->answer->str, c->answer->len, G_PRIORITY_DEFAULT, NULL, on_written, c);
}

/* -- one look */

static struct json_object *
look(struct job *job, gpointer data, GError **error)
{
	const struct metrics_server *s = data;

	return s->collect(s->host);
}

static void
looked(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct metrics_server *s = user_data;
	struct metrics_source source = { s->host->name, FTD_VERSION, json_get(reply, "domains"), s->events, g_atomic_int_get(&s->host->uplink_lost) != 0 };
	g_autoptr(GPtrArray) waiting = g_steal_pointer(&s->waiting);

	s->waiting = g_ptr_array_new();
	s->looking = false;
	for (guint i = 0; i < waiting->len; i++) {
		struct client *c = g_ptr_array_index(waiting, i);
		enum metrics_format format = c->head.openmetrics ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
		g_autofree char *text = metrics_text(&source, format);

		answer(c, metrics_content_type(format), text);
	}
}

static void
serve(struct client *c)
{
	struct metrics_server *s = c->server;

	if (c->head.status != 200) {
		answer(c, NULL, NULL);
		return;
	}
	g_ptr_array_add(s->waiting, c);
	if (s->looking)
		return;
	s->looking = true;
	job_start(look, s, NULL, NULL, looked, s);
}

/* -- a request */

static void receive(struct client *c);

static void
on_received(GObject *stream, GAsyncResult *result, gpointer client)
{
	struct client *c = client;
	gssize n = g_input_stream_read_finish(G_INPUT_STREAM(stream), result, NULL);

	if (n <= 0) {
		client_free(c);
		return;
	}
	c->length += (gsize)n;
	if (http_head_parse(c->data, c->length, &c->head) == HTTP_COMPLETE)
		serve(c);
	else
		receive(c);
}

static void
receive(struct client *c)
{
	g_input_stream_read_async(g_io_stream_get_input_stream(G_IO_STREAM(c->connection)), c->data + c->length, sizeof c->data - c->length, G_PRIORITY_DEFAULT, NULL,
				  on_received, c);
}

static gboolean
on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source, gpointer user_data)
{
	struct metrics_server *s = user_data;
	struct client *c;

	if (s->clients >= CLIENTS_MAX)
		return TRUE;
	s->clients++;
	c = g_new0(struct client, 1);
	c->server = s;
	c->connection = g_object_ref(connection);
	g_socket_set_timeout(g_socket_connection_get_socket(connection), CLIENT_TIMEOUT_S);
	receive(c);
	return TRUE;
}

/* -- listening */

static bool
refused(const char *what, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s: %s", what, g_strerror(errno));
	return false;
}

/* The file appears with mode 0600 and gets its group and mode after. It is ours to remove: only one ftd has this run directory (ftd.sock). */
static bool
bind_file(GSocket *socket, const char *path, const char *group, GError **error)
{
	g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
	const struct group *entry = getgrnam(group);

	unlink(path);
	if (fchmod(g_socket_get_fd(socket), 0600) < 0)
		return refused("its mode", error);
	if (!g_socket_bind(socket, address, TRUE, error) || !g_socket_listen(socket, error))
		return false;
	return !entry || (lchown(path, (uid_t)-1, entry->gr_gid) == 0 && chmod(path, 0660) == 0) || refused("its group", error);
}

static GSocket *
listen_on_file(const char *path, const char *group, GError **error)
{
	g_autoptr(GSocket) socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);

	return socket && bind_file(socket, path, group, error) ? g_steal_pointer(&socket) : NULL;
}

static bool
listen_on_loopback(struct metrics_server *s, const char *where, GError **error)
{
	g_autoptr(GSocketAddress) address = NULL;
	g_autoptr(GSocketConnectable) parsed = g_network_address_parse(where, 0, error);
	g_autoptr(GInetAddress) ip = parsed ? g_inet_address_new_from_string(g_network_address_get_hostname(G_NETWORK_ADDRESS(parsed))) : NULL;

	if (!ip)
		return false;
	address = g_inet_socket_address_new(ip, g_network_address_get_port(G_NETWORK_ADDRESS(parsed)));
	return g_socket_listener_add_address(G_SOCKET_LISTENER(s->service), address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL, NULL, error);
}

static bool
listen_everywhere(struct metrics_server *s, GError **error)
{
	const struct ftd_config *config = s->host->config;
	g_autoptr(GSocket) file = listen_on_file(s->path, config->group, error);

	if (!file || !g_socket_listener_add_socket(G_SOCKET_LISTENER(s->service), file, NULL, error)) {
		g_prefix_error(error, "cannot listen on %s: ", s->path);
		return false;
	}
	if (!config->metrics_listen || listen_on_loopback(s, config->metrics_listen, error))
		return true;
	g_prefix_error(error, "cannot listen on %s (metrics-listen): ", config->metrics_listen);
	return false;
}

struct metrics_server *
metrics_server_new(struct host *host, struct json_object *(*collect)(struct host *host), GError **error)
{
	struct metrics_server *s = g_new0(struct metrics_server, 1);

	*s = (struct metrics_server){ .host = host, .collect = collect, .service = g_socket_service_new(), .events = json_object_new_object(), .waiting = g_ptr_array_new() };
	s->path = g_build_filename(host->config->run_dir, "metrics.sock", NULL);
	g_signal_connect(s->service, "incoming", G_CALLBACK(on_incoming), s);
	if (!listen_everywhere(s, error)) {
		metrics_server_free(s);
		return NULL;
	}
	event_log_follow(host->events, count_event, s);
	return s;
}

/* At the end of the process, or before anybody was served. */
void
metrics_server_free(struct metrics_server *s)
{
	if (!s)
		return;
	event_log_unfollow(s->host->events, s);
	g_socket_service_stop(s->service);
	g_socket_listener_close(G_SOCKET_LISTENER(s->service));
	unlink(s->path);
	g_object_unref(s->service);
	json_object_put(s->events);
	g_ptr_array_unref(s->waiting);
	g_free(s->path);
	g_free(s);
}
