/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer-server-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/peer-api.h"

#include <gio/gio.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT_MS 5000
#define PROGRESS_QUEUE_MAX (64u * 1024)	/* bytes that wait for a caller who does not read; what is told beyond it is out of date when it does */

struct peer_server {
	struct peer_listener *listener;
	struct peer_credentials *(*credentials)(gpointer user_data);
	const struct peer_method_entry *methods;
	void (*ended)(guint64 connection, gpointer user_data);
	bool (*served)(const char *name, gpointer user_data, GError **error);
	gpointer user_data;
	GPtrArray *connections;
	guint64 next_id;
};

struct connection {
	struct peer_server *server;
	struct peer_link *link;		/* NULL once it is closed; the connection lives until its last call is done */
	guint64 id;
	char *from, *local_address, *name;
	unsigned calls;
};

struct call {
	struct connection *connection;
	peer_method method;
	struct peer_caller caller;	/* borrows from the connection, which outlives the call */
	struct peer_message message;
};

static void
connection_release(struct connection *c)
{
	struct peer_server *s = c->server;

	if (c->link || c->calls)
		return;
	g_ptr_array_remove_fast(s->connections, c);
	s->ended(c->id, s->user_data);
	g_free(c->from);
	g_free(c->local_address);
	g_free(c->name);
	g_free(c);
}

static void
send_message(struct connection *c, struct json_object *message)
{
	g_autoptr(GBytes) bytes = peer_message_bytes(message);

	if (c->link)
		peer_link_send(c->link, PEER_JSON, NULL, 0, bytes);
}

/* NULL: it may be done. */
static GError *
refusal(struct connection *c, const struct peer_method_entry *entry)
{
	if (!entry)
		return g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "this ftd has no such method; install the same version on both hosts");
	return c->calls < PEER_SERVER_MAX_CALLS ? NULL : g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "too many calls at once");
}

static struct json_object *
call_work(struct job *job, gpointer data, GError **error)
{
	struct call *call = data;
	const struct peer_server *s = call->connection->server;

	if (s->served && !s->served(call->caller.name, s->user_data, error))
		return NULL;
	call->caller.job = call->message.more ? job : NULL;
	return call->method(&call->caller, call->message.parameters, s->user_data, error);
}

static void
call_progress(struct json_object *progress, gpointer user_data)
{
	const struct call *call = user_data;
	struct connection *c = call->connection;

	if (c->link && peer_link_queued(c->link) < PROGRESS_QUEUE_MAX)
		send_message(c, peer_progress_new(call->message.id, json_object_get(progress)));
}

static void
call_done(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct call *call = user_data;
	struct connection *c = call->connection;

	if (error)
		send_message(c, peer_error_new(call->message.id, error));
	else
		send_message(c, peer_answer_new(call->message.id, json_object_get(reply)));
	c->calls--;
	connection_release(c);
}

static void
call_free(gpointer data)
{
	struct call *call = data;

	peer_message_clear(&call->message);
	g_free(call);
}

static const struct peer_method_entry *
find_method(const struct peer_server *s, const char *name)
{
	for (const struct peer_method_entry *m = s->methods; m->name; m++)
		if (g_strcmp0(m->name, name) == 0)
			return m;
	return NULL;
}

static void
serve(struct connection *c, struct peer_message *m)
{
	const struct peer_method_entry *entry = find_method(c->server, m->method);
	g_autoptr(GError) error = refusal(c, entry);
	struct call *call;

	if (error) {
		send_message(c, peer_error_new(m->id, error));
		peer_message_clear(m);
		return;
	}
	call = g_new0(struct call, 1);
	*call = (struct call){ .connection = c, .method = entry->call, .message = *m };
	call->caller = (struct peer_caller){ c->name, c->local_address, c->id, NULL };
	c->calls++;
	job_start(call_work, call, call_free, call_progress, call_done, call);
}

static void
on_established(struct peer_link *link, const char *peer_name, gpointer user_data)
{
	struct connection *c = user_data;

	c->name = g_strdup(peer_name);
	log_info("peer", "%s connected from %s", peer_name, c->from);
}

static void
on_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	struct connection *c = user_data;

	if (error)
		log_warn("peer", "connection of %s from %s: %s", c->name ? c->name : "an unknown peer", c->from, error->message);
	c->link = NULL;
	peer_link_close(link);
	connection_release(c);
}

static void
on_frame(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct connection *c = user_data;
	g_autoptr(GError) error = NULL;
	struct peer_message m;

	if (frame->type != PEER_JSON)
		return;
	if (!peer_message_decode(frame->payload, frame->length, &m, &error)) {
		log_warn("peer", "%s: %s", c->name, error->message);
		return;
	}
	if (m.method && m.parameters)
		serve(c, &m);
	else
		peer_message_clear(&m);
}

static char *
local_address_of(int fd)
{
	struct sockaddr_storage storage;
	socklen_t length = sizeof(storage);
	g_autoptr(GSocketAddress) address = NULL;

	if (getsockname(fd, (struct sockaddr *)&storage, &length) < 0)
		return NULL;
	address = g_socket_address_new_from_native(&storage, length);
	if (!G_IS_INET_SOCKET_ADDRESS(address))
		return NULL;
	return g_inet_address_to_string(g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address)));
}

static void
on_accepted(int fd, const char *from, gpointer user_data)
{
	static const struct peer_link_callbacks callbacks = { .established = on_established, .frame = on_frame, .closed = on_closed };
	struct peer_server *s = user_data;
	struct peer_credentials *creds;
	struct connection *c;

	if (s->connections->len >= PEER_SERVER_MAX_CONNECTIONS) {
		log_warn("peer", "refused a connection from %s: %u are open", from, s->connections->len);
		close(fd);
		return;
	}
	c = g_new0(struct connection, 1);
	c->server = s;
	c->id = ++s->next_id;
	c->from = g_strdup(from);
	c->local_address = local_address_of(fd);
	g_ptr_array_add(s->connections, c);
	creds = s->credentials(s->user_data);
	c->link = peer_link_accept(fd, creds, HANDSHAKE_TIMEOUT_MS, &callbacks, c);
	peer_link_set_dead_after(c->link, PEER_LINK_DEAD_AFTER_S);
	peer_credentials_unref(creds);
}

struct peer_server *
peer_server_new(unsigned port, struct peer_credentials *(*credentials)(gpointer user_data), const struct peer_method_entry *methods,
		void (*ended)(guint64 connection, gpointer user_data), gpointer user_data, GError **error)
{
	struct peer_server *s = g_new0(struct peer_server, 1);

	*s = (struct peer_server){ .credentials = credentials, .methods = methods, .ended = ended, .user_data = user_data };
	s->connections = g_ptr_array_new();
	s->listener = peer_listener_new(NULL, port, on_accepted, s, error);
	if (!s->listener) {
		peer_server_free(s);
		return NULL;
	}
	return s;
}

void
peer_server_serve_only(struct peer_server *s, bool (*served)(const char *name, gpointer user_data, GError **error))
{
	s->served = served;
}

unsigned
peer_server_port(const struct peer_server *s)
{
	return peer_listener_port(s->listener);
}

/* At the end of the process only: jobs that still run are abandoned with it. */
void
peer_server_free(struct peer_server *s)
{
	if (!s)
		return;
	g_clear_pointer(&s->listener, peer_listener_free);
	for (guint i = 0; i < s->connections->len; i++) {
		struct connection *c = g_ptr_array_index(s->connections, i);

		g_clear_pointer(&c->link, peer_link_close);
	}
	g_ptr_array_unref(s->connections);
	g_free(s);
}
