/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP conversation.
 *
 *	GREETING --greeting--> NEGOTIATING --{"return"}--> READY
 *	    |                       |                        |
 *	    +-- deadline, wrong message, close(): any state -+--> CLOSED(reason)
 *
 * A LIBVIRT session starts in READY: libvirt owns the real conversation.
 *
 * In-band commands go out one at a time. QEMU works on them one at a time anyway, and two things depend on it:
 *  - a file descriptor that comes with a message replaces the one that came before (QEMU chardev/char-socket.c, tcp_chr_recv): with two getfd in flight
 *    and the monitor's I/O thread reading ahead, the first descriptor would be lost;
 *  - QEMU stops reading a monitor with 8 queued requests (monitor/qmp.c, QMP_REQ_QUEUE_LEN_MAX), and then out-of-band commands are not read either.
 * Out-of-band commands go out at once and may be answered in any order.
 *
 * Time: a pending command past its deadline is answered with FTD_ERROR_TIMEOUT. If it was sent it stays in `pending` without an owner ("orphan") because QEMU
 * is still working on it: its reply, when it comes, is dropped and lets the next command go. If it was not sent it never will be.
 *
 * A reply with an id nobody asked for, a message that is neither greeting, reply nor event, and a failed negotiation close the session: from then on
 * nothing can be said about which reply belongs to which command.
 */
#include "qmp/qmp-session.h"

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

#include <glib/gstdio.h>
#include <string.h>

struct pending {
	uint64_t id;
	uint64_t deadline;
	struct json_object *command;	/* NULL once sent */
	int fd;
	bool oob;
	bool sent;
	bool orphan;	/* its caller has had FTD_ERROR_TIMEOUT */
};

struct qmp_session {
	enum qmp_session_kind kind;
	enum qmp_session_state state;
	uint64_t last_id;
	uint64_t greeting_deadline;
	uint64_t negotiation_id;
	GQueue pending;		/* struct pending, oldest first */
	GQueue actions;		/* struct qmp_session_action */
	GError *reason;		/* set in CLOSED */
	bool oob;
	uint64_t dropped_events;
};

static const char *const state_names[] = {
	[QMP_SESSION_GREETING] = "greeting",
	[QMP_SESSION_NEGOTIATING] = "negotiating",
	[QMP_SESSION_READY] = "ready",
	[QMP_SESSION_CLOSED] = "closed",
};
G_STATIC_ASSERT(G_N_ELEMENTS(state_names) == QMP_SESSION_CLOSED + 1);

const char *
qmp_session_state_name(enum qmp_session_state state)
{
	return state_names[state];
}

struct qmp_session *
qmp_session_new(enum qmp_session_kind kind, uint64_t greeting_deadline)
{
	struct qmp_session *s = g_new0(struct qmp_session, 1);

	s->kind = kind;
	s->state = kind == QMP_SESSION_LIBVIRT ? QMP_SESSION_READY : QMP_SESSION_GREETING;
	s->greeting_deadline = greeting_deadline;
	g_queue_init(&s->pending);
	g_queue_init(&s->actions);
	return s;
}

static void
close_fd(int fd)
{
	if (fd >= 0)
		g_close(fd, NULL);
}

static void
pending_free(gpointer data)
{
	struct pending *p = data;

	json_object_put(p->command);
	close_fd(p->fd);
	g_free(p);
}

void
qmp_session_action_clear(struct qmp_session_action *a)
{
	g_clear_pointer(&a->bytes, g_bytes_unref);
	close_fd(a->fd);
	a->fd = -1;
	g_clear_pointer(&a->reply, json_object_put);
	g_clear_error(&a->error);
}

static void
action_free(gpointer data)
{
	qmp_session_action_clear(data);
	g_free(data);
}

void
qmp_session_free(struct qmp_session *s)
{
	if (!s)
		return;
	g_queue_clear_full(&s->pending, pending_free);
	g_queue_clear_full(&s->actions, action_free);
	g_clear_error(&s->reason);
	g_free(s);
}

static struct qmp_session_action *
push(struct qmp_session *s, enum qmp_session_action_type type, uint64_t id)
{
	struct qmp_session_action *a = g_new0(struct qmp_session_action, 1);

	a->type = type;
	a->id = id;
	a->fd = -1;
	g_queue_push_tail(&s->actions, a);
	return a;
}

bool
qmp_session_next(struct qmp_session *s, struct qmp_session_action *out)
{
	struct qmp_session_action *a = g_queue_pop_head(&s->actions);

	if (!a)
		return false;
	*out = *a;
	g_free(a);
	return true;
}

/* The command as it goes out: "exec-oob" for out-of-band (qmp-spec.rst), and our id where we own the conversation. */
static GBytes *
encode(const struct qmp_session *s, struct json_object *command, uint64_t id, bool oob)
{
	g_autoptr(json_object) message = json_object_new_object();
	const char *text;
	size_t length;

	json_object_object_foreach(command, key, value) {
		const char *name = oob && g_str_equal(key, "execute") ? "exec-oob" : key;

		json_object_object_add(message, name, json_object_get(value));
	}
	if (s->kind == QMP_SESSION_SOCKET)
		json_object_object_add(message, "id", json_object_new_uint64(id));
	text = json_object_to_json_string_length(message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
	if (s->kind == QMP_SESSION_LIBVIRT)
		return g_bytes_new(text, length);
	return g_bytes_new_take(g_strconcat(text, "\n", NULL), length + 1);
}

static void
send_pending(struct qmp_session *s, struct pending *p)
{
	struct qmp_session_action *a = push(s, QMP_SESSION_SEND, p->id);

	a->bytes = encode(s, p->command, p->id, p->oob);
	a->fd = p->fd;
	p->fd = -1;
	p->sent = true;
	g_clear_pointer(&p->command, json_object_put);
}

/* Sends what may be sent now: all out-of-band commands, and the oldest in-band one when none is being worked on. */
static void
flush(struct qmp_session *s)
{
	bool busy = false;

	if (s->state != QMP_SESSION_READY)
		return;
	for (GList *l = s->pending.head; l; l = l->next) {
		struct pending *p = l->data;

		if (!p->sent && (p->oob || !busy))
			send_pending(s, p);
		busy |= !p->oob;
	}
}

static struct pending *
add_pending(struct qmp_session *s, struct json_object *command, int fd, bool oob, uint64_t deadline)
{
	struct pending *p = g_new0(struct pending, 1);

	p->id = ++s->last_id;
	p->deadline = deadline;
	p->command = command;
	p->fd = fd;
	p->oob = oob;
	g_queue_push_tail(&s->pending, p);
	return p;
}

static uint64_t
refuse(struct qmp_session *s, struct json_object *command, int fd, GError *error)
{
	uint64_t id = ++s->last_id;

	json_object_put(command);
	close_fd(fd);
	push(s, QMP_SESSION_REPLY, id)->error = error;
	return id;
}

uint64_t
qmp_session_execute(struct qmp_session *s, struct json_object *command, int fd, bool oob, uint64_t deadline)
{
	uint64_t id;

	g_assert(fd < 0 || !oob);	/* see above: descriptors need the in-band order */
	if (s->state == QMP_SESSION_CLOSED)
		return refuse(s, command, fd, g_error_copy(s->reason));
	if (g_queue_get_length(&s->pending) >= QMP_SESSION_MAX_PENDING)
		return refuse(s, command, fd, g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "QEMU has not answered %d commands yet", QMP_SESSION_MAX_PENDING));
	/* A negotiated out-of-band capability cannot be known before READY: whether it is used is decided there. */
	id = add_pending(s, command, fd, oob && (s->oob || s->state != QMP_SESSION_READY), deadline)->id;
	flush(s);
	return id;
}

void
qmp_session_close(struct qmp_session *s, const GError *reason)
{
	struct pending *p;

	if (s->state == QMP_SESSION_CLOSED)
		return;
	s->state = QMP_SESSION_CLOSED;
	s->reason = g_error_copy(reason);
	while ((p = g_queue_pop_head(&s->pending))) {
		if (!p->orphan && p->id != s->negotiation_id)
			push(s, QMP_SESSION_REPLY, p->id)->error = g_error_copy(reason);
		pending_free(p);
	}
	push(s, QMP_SESSION_IS_CLOSED, 0)->error = g_error_copy(reason);
}

static void
close_with(struct qmp_session *s, enum ftd_error_code code, const char *text)
{
	g_autoptr(GError) error = g_error_new_literal(FTD_ERROR, (int)code, text);

	qmp_session_close(s, error);
}

static bool
offers_oob(struct json_object *greeting)
{
	struct json_object *list = json_member(json_member(greeting, "QMP", json_type_object), "capabilities", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *name = json_object_array_get_idx(list, i);

		if (json_object_is_type(name, json_type_string) && g_str_equal(json_object_get_string(name), "oob"))
			return true;
	}
	return false;
}

static struct json_object *
capabilities_command(bool oob)
{
	struct json_object *command = json_object_new_object(), *arguments = json_object_new_object(), *enable = json_object_new_array();

	if (oob)
		json_object_array_add(enable, json_object_new_string("oob"));
	json_object_object_add(arguments, "enable", enable);
	json_object_object_add(command, "execute", json_object_new_string("qmp_capabilities"));
	json_object_object_add(command, "arguments", arguments);
	return command;
}

static void
greeting(struct qmp_session *s, struct json_object *message)
{
	struct pending *p;

	if (!json_member(message, "QMP", json_type_object)) {
		close_with(s, FTD_ERROR_PROTOCOL, "monitor: the first message is not a QMP greeting");
		return;
	}
	s->oob = offers_oob(message);
	s->state = QMP_SESSION_NEGOTIATING;
	p = add_pending(s, capabilities_command(s->oob), -1, false, s->greeting_deadline);
	s->negotiation_id = p->id;
	send_pending(s, p);
}

static void
negotiated(struct qmp_session *s, struct json_object *message)
{
	if (!json_object_object_get_ex(message, "return", NULL)) {
		close_with(s, FTD_ERROR_QMP, "monitor: QEMU refused qmp_capabilities");
		return;
	}
	s->state = QMP_SESSION_READY;
	for (GList *l = s->pending.head; l; l = l->next) {
		struct pending *p = l->data;

		p->oob = p->oob && s->oob;
	}
	push(s, QMP_SESSION_IS_READY, 0);
	flush(s);
}

static struct pending *
take_pending(struct qmp_session *s, uint64_t id)
{
	for (GList *l = s->pending.head; l; l = l->next) {
		struct pending *p = l->data;

		if (p->id == id && p->sent) {
			g_queue_delete_link(&s->pending, l);
			return p;
		}
	}
	return NULL;
}

/* QEMU's {"error": {"class", "desc"}} as a GError. */
static GError *
error_of(struct json_object *message)
{
	const char *desc = json_member_string(json_member(message, "error", json_type_object), "desc");

	return g_error_new_literal(FTD_ERROR, FTD_ERROR_QMP, desc ? desc : "QEMU refused without a reason");
}

static void
answer(struct qmp_session *s, struct pending *p, struct json_object *message)
{
	if (p->id == s->negotiation_id) {
		negotiated(s, message);
	} else if (!p->orphan) {
		struct qmp_session_action *a = push(s, QMP_SESSION_REPLY, p->id);

		a->reply = json_object_get(message);
		if (!json_object_object_get_ex(message, "return", NULL))
			a->error = error_of(message);
	}
	pending_free(p);
	flush(s);
}

static void
reply(struct qmp_session *s, struct json_object *message)
{
	struct pending *p;
	guint64 id;

	/* An error without an id: QEMU could not even parse what we sent (qmp-spec.rst, "Error"). */
	p = json_member_uint64(message, "id", &id) ? take_pending(s, id) : NULL;
	if (p)
		answer(s, p, message);
	else
		close_with(s, FTD_ERROR_PROTOCOL, "monitor: a reply to a command that was not sent");
}

static void
event(struct qmp_session *s, struct json_object *message)
{
	if (g_queue_get_length(&s->actions) >= QMP_SESSION_MAX_EVENTS_WAITING) {
		s->dropped_events++;
		return;
	}
	push(s, QMP_SESSION_EVENT, 0)->reply = json_object_get(message);
}

void
qmp_session_input(struct qmp_session *s, struct json_object *message)
{
	g_assert(s->kind == QMP_SESSION_SOCKET);
	if (s->state == QMP_SESSION_CLOSED)
		return;
	if (s->state == QMP_SESSION_GREETING)
		greeting(s, message);
	else if (json_object_object_get_ex(message, "event", NULL))
		event(s, message);
	else if (json_object_object_get_ex(message, "return", NULL) || json_object_object_get_ex(message, "error", NULL))
		reply(s, message);
	else
		close_with(s, FTD_ERROR_PROTOCOL, "monitor: a message that is neither reply nor event");
}

void
qmp_session_libvirt_reply(struct qmp_session *s, uint64_t id, struct json_object *message)
{
	struct pending *p = take_pending(s, id);

	g_assert(s->kind == QMP_SESSION_LIBVIRT);
	if (p)	/* not after close() */
		answer(s, p, message);
}

void
qmp_session_libvirt_failed(struct qmp_session *s, uint64_t id, const GError *error)
{
	struct pending *p = take_pending(s, id);

	g_assert(s->kind == QMP_SESSION_LIBVIRT);
	if (!p)
		return;
	if (!p->orphan)
		push(s, QMP_SESSION_REPLY, id)->error = g_error_copy(error);
	pending_free(p);
	flush(s);
}

static void
expire(struct qmp_session *s, GList *link)
{
	struct pending *p = link->data;

	push(s, QMP_SESSION_REPLY, p->id)->error =
		g_error_new(FTD_ERROR, FTD_ERROR_TIMEOUT, p->sent ? "QEMU did not answer in time" : "QEMU did not get to the command in time");
	if (p->sent) {
		p->orphan = true;
		return;
	}
	g_queue_delete_link(&s->pending, link);
	pending_free(p);
}

void
qmp_session_tick(struct qmp_session *s, uint64_t now)
{
	if (s->state == QMP_SESSION_CLOSED)
		return;
	if (s->state != QMP_SESSION_READY && now >= s->greeting_deadline) {
		close_with(s, FTD_ERROR_TIMEOUT, "monitor: no QMP greeting in time");
		return;
	}
	for (GList *l = s->pending.head, *next; l; l = next) {
		struct pending *p = l->data;

		next = l->next;
		if (!p->orphan && p->id != s->negotiation_id && now >= p->deadline)
			expire(s, l);
	}
}

uint64_t
qmp_session_deadline(const struct qmp_session *s)
{
	uint64_t first = s->state == QMP_SESSION_GREETING || s->state == QMP_SESSION_NEGOTIATING ? s->greeting_deadline : UINT64_MAX;

	for (GList *l = s->pending.head; l; l = l->next) {
		struct pending *p = l->data;

		if (!p->orphan && p->deadline < first)
			first = p->deadline;
	}
	return first;
}

enum qmp_session_state
qmp_session_state(const struct qmp_session *s)
{
	return s->state;
}

bool
qmp_session_has_oob(const struct qmp_session *s)
{
	return s->oob && s->state == QMP_SESSION_READY;
}

uint64_t
qmp_session_dropped_events(const struct qmp_session *s)
{
	return s->dropped_events;
}
