/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/varlink-io.h"

#include "daemon/base/error.h"
#include "daemon/varlink-stream-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define MAX_GROUPS 256
#define SERVICE "org.varlink.service"

static const char service_description[] =
	"# The Varlink service interface: what every Varlink server answers.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n";

struct varlink_server {
	char *path, *interface, *description, *group;
	gid_t gid;			/* (gid_t)-1: no group */
	const struct varlink_method_entry *methods;
	varlink_note note;		/* NULL: nobody wants to know */
	gpointer user_data;
	int fd;
	struct stat inode;		/* of our socket file: another one at the path is not ours to remove */
	GSource *source;
	GPtrArray *connections;
};

struct connection {
	struct varlink_server *server;
	struct varlink_stream *stream;
	struct ucred peer;
	bool may_change_state;
	struct varlink_request *request;	/* the call being answered; the stream is busy meanwhile */
};

struct varlink_request {
	struct connection *connection;		/* NULL: gone */
	bool more, oneway;
	char *caller;
	void (*gone)(struct varlink_request *r, gpointer user_data);
	gpointer gone_data;
};

/* ---- requests ---- */

static void
request_free(struct varlink_request *r)
{
	g_free(r->caller);
	g_free(r);
}

const char *
varlink_request_caller(const struct varlink_request *r)
{
	return r->caller;
}

bool
varlink_request_wants_more(const struct varlink_request *r)
{
	return r->more;
}

void
varlink_request_on_gone(struct varlink_request *r, void (*gone)(struct varlink_request *r, gpointer user_data), gpointer user_data)
{
	r->gone = gone;
	r->gone_data = user_data;
}

bool
varlink_request_notify(struct varlink_request *r, struct json_object *parameters)
{
	struct json_object *reply;

	if (r->connection && r->more) {
		reply = varlink_reply(parameters, true);
		varlink_stream_send(r->connection->stream, reply);
		json_object_put(reply);
	}
	json_object_put(parameters);
	return r->connection && !varlink_stream_is_closed(r->connection->stream);
}

/* The last reply of a request; takes message. */
static void
request_end(struct varlink_request *r, struct json_object *message)
{
	struct connection *c = r->connection;

	if (c) {
		if (!r->oneway)
			varlink_stream_send(c->stream, message);
		c->request = NULL;
		varlink_stream_set_busy(c->stream, false);
	}
	json_object_put(message);
	request_free(r);
}

void
varlink_request_finish(struct varlink_request *r, struct json_object *parameters)
{
	request_end(r, varlink_reply(parameters, false));
	json_object_put(parameters);
}

void
varlink_request_fail(struct varlink_request *r, const GError *error)
{
	request_end(r, varlink_error(error));
}

/* {"error": name, "parameters": {member: value}} */
static void
request_fail_named(struct varlink_request *r, const char *name, const char *member, const char *value)
{
	struct json_object *parameters = json_object_new_object();

	json_object_object_add(parameters, member, json_object_new_string(value));
	request_end(r, varlink_error_named(name, parameters));
	json_object_put(parameters);
}

/* ---- calls ---- */

static void
get_info(struct varlink_server *s, struct varlink_request *r)
{
	struct json_object *info = json_object_new_object(), *interfaces = json_object_new_array();

	json_object_array_add(interfaces, json_object_new_string(SERVICE));
	json_object_array_add(interfaces, json_object_new_string(s->interface));
	json_object_object_add(info, "vendor", json_object_new_string("ftd"));
	json_object_object_add(info, "product", json_object_new_string("ftd"));
	json_object_object_add(info, "version", json_object_new_string(FTD_VERSION));
	json_object_object_add(info, "url", json_object_new_string(""));
	json_object_object_add(info, "interfaces", interfaces);
	varlink_request_finish(r, info);
}

static void
get_interface_description(struct varlink_server *s, struct varlink_request *r, struct json_object *parameters)
{
	struct json_object *interface = NULL, *reply;
	const char *name, *text;

	if (!json_object_object_get_ex(parameters, "interface", &interface) || !json_object_is_type(interface, json_type_string)) {
		request_fail_named(r, SERVICE ".InvalidParameter", "parameter", "interface");
		return;
	}
	name = json_object_get_string(interface);
	text = strcmp(name, SERVICE) == 0 ? service_description : strcmp(name, s->interface) == 0 ? s->description : NULL;
	if (!text) {
		request_fail_named(r, SERVICE ".InterfaceNotFound", "interface", name);
		return;
	}
	reply = json_object_new_object();
	json_object_object_add(reply, "description", json_object_new_string(text));
	varlink_request_finish(r, reply);
}

static void
refuse(struct varlink_request *r, const struct connection *c, const char *method)
{
	const struct varlink_server *s = c->server;
	g_autofree char *who = s->group ? g_strdup_printf("root and members of group %s", s->group) : g_strdup("root");
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_DENIED, "%s changes something: only %s may do that (%s)", method, who, r->caller);

	varlink_request_fail(r, error);
}

static void
call_own(struct connection *c, struct varlink_request *r, const char *method, struct json_object *parameters)
{
	struct varlink_server *s = c->server;

	for (const struct varlink_method_entry *m = s->methods; m->name; m++) {
		bool refused = m->changes_state && !c->may_change_state;

		if (strcmp(m->name, method) != 0)
			continue;
		if (m->changes_state && s->note)
			s->note(method, parameters, r->caller, refused, s->user_data);
		if (refused)
			refuse(r, c, method);
		else
			m->call(r, parameters, s->user_data);
		return;
	}
	g_autofree char *full = g_strconcat(s->interface, ".", method, NULL);
	request_fail_named(r, SERVICE ".MethodNotFound", "method", full);
}

static void
dispatch_call(struct connection *c, struct varlink_request *r, const struct varlink_call *call)
{
	const char *method = strrchr(call->method, '.') + 1;
	g_autofree char *interface = g_strndup(call->method, (gsize)(method - 1 - call->method));

	if (strcmp(interface, c->server->interface) == 0)
		call_own(c, r, method, call->parameters);
	else if (strcmp(interface, SERVICE) != 0)
		request_fail_named(r, SERVICE ".InterfaceNotFound", "interface", interface);
	else if (strcmp(method, "GetInfo") == 0)
		get_info(c->server, r);
	else if (strcmp(method, "GetInterfaceDescription") == 0)
		get_interface_description(c->server, r, call->parameters);
	else
		request_fail_named(r, SERVICE ".MethodNotFound", "method", call->method);
}

/* ---- connections ---- */

static void
connection_free(gpointer p)
{
	struct connection *c = p;
	struct varlink_request *r = g_steal_pointer(&c->request);

	varlink_stream_close(c->stream);
	g_free(c);
	if (!r)
		return;
	r->connection = NULL;
	if (r->gone) {
		r->gone(r, r->gone_data);
		request_free(r);
	}
}

static void
connection_remove(struct connection *c)
{
	g_ptr_array_remove_fast(c->server->connections, c);
}

static void
on_closed(struct varlink_stream *stream, const GError *error, gpointer user_data)
{
	connection_remove(user_data);
}

static void
on_message(struct varlink_stream *stream, struct json_object *message, gpointer user_data)
{
	struct connection *c = user_data;
	struct varlink_request *r;
	struct varlink_call call;

	/* What is no call has no answer in Varlink: the connection ends. */
	if (!varlink_call_decode(message, &call, NULL)) {
		connection_remove(c);
		return;
	}
	r = g_new0(struct varlink_request, 1);
	*r = (struct varlink_request){ .connection = c, .more = call.more, .oneway = call.oneway };
	r->caller = g_strdup_printf("uid %u pid %d", c->peer.uid, c->peer.pid);
	c->request = r;
	varlink_stream_set_busy(stream, true);
	dispatch_call(c, r, &call);
}

static const struct varlink_stream_callbacks stream_callbacks = { on_message, on_closed };

/* The groups the process had when it connected: exact, and without asking a name service that may block. */
static bool
in_group(int fd, const struct ucred *peer, gid_t gid)
{
	gid_t groups[MAX_GROUPS];
	socklen_t size = sizeof groups;

	if (gid == (gid_t)-1)
		return false;
	if (peer->gid == gid)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof groups[0]; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

static void
turn_away(int fd)
{
	static const struct varlink_stream_callbacks none;
	struct varlink_stream *stream = varlink_stream_new(fd, &none, NULL);
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "more than %d connections", MAX_CONNECTIONS);
	struct json_object *reply = varlink_error(error);

	varlink_stream_send(stream, reply);
	varlink_stream_close(stream);
	json_object_put(reply);
}

static void
serve(struct varlink_server *s, int fd)
{
	socklen_t size = sizeof(struct ucred);
	struct connection *c;

	if (s->connections->len >= MAX_CONNECTIONS) {
		turn_away(fd);
		return;
	}
	c = g_new0(struct connection, 1);
	c->server = s;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &size) < 0)
		c->peer = (struct ucred){ .uid = (uid_t)-1, .gid = (gid_t)-1 };
	c->may_change_state = c->peer.uid == 0 || c->peer.uid == geteuid() || in_group(fd, &c->peer, s->gid);
	c->stream = varlink_stream_new(fd, &stream_callbacks, c);
	g_ptr_array_add(s->connections, c);
}

static gboolean
on_connection(gint listening, GIOCondition condition, gpointer user_data)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		serve(user_data, fd);
	else if (errno == EMFILE || errno == ENFILE)
		g_usleep(1000);	/* the waiting connection stays: do not spin on it */
	return G_SOURCE_CONTINUE;
}

/* ---- the socket ---- */

/* A socket file that nobody listens on is left over from a crash; one that answers belongs to a running server. */
static bool
remove_stale(const char *path, const struct sockaddr_un *address, GError **error)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int code = fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	if (code == ENOENT)
		return true;
	if (code == ECONNREFUSED) {
		unlink(path);
		return true;
	}
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "cannot listen on %s: %s", path, code == 0 || code == EAGAIN ? "another process does already" : g_strerror(code));
	return false;
}

static bool
find_group(const char *name, gid_t *gid, GError **error)
{
	char buffer[16384];
	struct group entry, *found = NULL;

	*gid = (gid_t)-1;
	if (!name)
		return true;
	getgrnam_r(name, &entry, buffer, sizeof buffer, &found);
	if (!found) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "there is no group %s: make it (addgroup --system %s) or name another one in ftd.conf", name, name);
		return false;
	}
	*gid = found->gr_gid;
	return true;
}

/* The file appears with mode 0600 (Linux takes a new socket file's mode from the socket) and gets its final group and mode after: never wider than asked. */
static bool
bind_file(struct varlink_server *s, const struct sockaddr_un *address, mode_t mode, GError **error)
{
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd >= 0 && fchmod(s->fd, 0600) == 0 && bind(s->fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
	    lstat(s->path, &s->inode) == 0 && lchown(s->path, (uid_t)-1, s->gid) == 0 && chmod(s->path, mode) == 0 && listen(s->fd, 64) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "cannot listen on %s: %s", s->path, g_strerror(errno));
	return false;
}

struct varlink_server *
varlink_server_new(const char *socket_path, mode_t mode, const char *group, const char *interface_name, const char *interface_description,
		   const struct varlink_method_entry *methods, gpointer user_data, GError **error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	g_autoptr(varlink_server) s = g_new0(struct varlink_server, 1);

	*s = (struct varlink_server){ .fd = -1, .methods = methods, .user_data = user_data };
	s->path = g_strdup(socket_path);
	s->group = g_strdup(group);
	s->interface = g_strdup(interface_name);
	s->description = g_strdup(interface_description);
	s->connections = g_ptr_array_new_with_free_func(connection_free);
	if (strlen(socket_path) >= sizeof address.sun_path) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "cannot listen on %s: the path is longer than %zu bytes", socket_path, sizeof address.sun_path - 1);
		return NULL;
	}
	strcpy(address.sun_path, socket_path);
	if (!find_group(group, &s->gid, error) || !remove_stale(socket_path, &address, error) || !bind_file(s, &address, mode, error))
		return NULL;
	s->source = g_unix_fd_source_new(s->fd, G_IO_IN);
	g_source_set_callback(s->source, G_SOURCE_FUNC(on_connection), s, NULL);
	g_source_attach(s->source, g_main_context_get_thread_default());
	return g_steal_pointer(&s);
}

void
varlink_server_note_changes(struct varlink_server *s, varlink_note note)
{
	s->note = note;
}

void
varlink_server_free(struct varlink_server *s)
{
	struct stat now;

	if (!s)
		return;
	if (s->source) {
		g_source_destroy(s->source);
		g_source_unref(s->source);
	}
	if (s->fd >= 0 && lstat(s->path, &now) == 0 && now.st_ino == s->inode.st_ino && now.st_dev == s->inode.st_dev)
		unlink(s->path);
	if (s->fd >= 0)
		close(s->fd);
	g_ptr_array_unref(s->connections);
	g_free(s->path);
	g_free(s->group);
	g_free(s->interface);
	g_free(s->description);
	g_free(s);
}
