/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One conversation with a monitor: see qmp-session.c for the theory of operation. Pure: messages, commands and time come in, actions come out. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define QMP_SESSION_MAX_PENDING 256		/* commands without a reply; one more is answered with FTD_ERROR_LIMIT at once */
#define QMP_SESSION_MAX_EVENTS_WAITING 4096	/* actions nobody has taken; beyond it events are counted and dropped, never replies */

enum qmp_session_kind {
	QMP_SESSION_SOCKET,	/* QEMU itself: greeting, negotiation, ids, events */
	QMP_SESSION_LIBVIRT,	/* libvirt has done all that: ready at once, no ids in the bytes (libvirt adds its own), no events, no out-of-band */
};

enum qmp_session_state {
	QMP_SESSION_GREETING,		/* nothing may be sent; commands wait */
	QMP_SESSION_NEGOTIATING,	/* qmp_capabilities is out; commands wait */
	QMP_SESSION_READY,		/* commands go out */
	QMP_SESSION_CLOSED,		/* for ever: every command is answered with the reason */
};

enum qmp_session_action_type {
	QMP_SESSION_SEND,	/* `bytes` (+ `fd` when >= 0) to the monitor; `id` names the command */
	QMP_SESSION_REPLY,	/* command `id` is over, exactly one per execute(): `reply` as it came (with `error` too when it is an {"error"}), or only `error` */
	QMP_SESSION_EVENT,	/* `reply` is an event as it came */
	QMP_SESSION_IS_READY,	/* negotiation is done */
	QMP_SESSION_IS_CLOSED,	/* once, after the replies of everything pending; `error` says why */
};

struct qmp_session_action {
	enum qmp_session_action_type type;
	uint64_t id;
	GBytes *bytes;
	int fd;			/* owned by the action, -1 = none */
	struct json_object *reply;
	GError *error;
};

struct qmp_session;
typedef struct qmp_session qmp_session;
/* SOCKET: the greeting must be there and answered by `greeting_deadline`. */
struct qmp_session *qmp_session_new(enum qmp_session_kind kind, uint64_t greeting_deadline);
void qmp_session_free(struct qmp_session *s);	/* closes fds that were not sent */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qmp_session, qmp_session_free)

/* Takes the command and the fd. Returns its id; the answer always comes as an action. A command whose deadline passes before it was sent is never sent. */
uint64_t qmp_session_execute(struct qmp_session *s, struct json_object *command, int fd, bool oob, uint64_t deadline);
/* A message from the monitor (borrowed). LIBVIRT: the reply to `id`. */
void qmp_session_input(struct qmp_session *s, struct json_object *message);
void qmp_session_libvirt_reply(struct qmp_session *s, uint64_t id, struct json_object *message);
/* LIBVIRT: command `id` failed on its way (borrowed error); the session goes on. */
void qmp_session_libvirt_failed(struct qmp_session *s, uint64_t id, const GError *error);
void qmp_session_tick(struct qmp_session *s, uint64_t now);
void qmp_session_close(struct qmp_session *s, const GError *reason);	/* borrowed */

/* Moves the next action out; the caller owns what is in it (qmp_session_action_clear). */
bool qmp_session_next(struct qmp_session *s, struct qmp_session_action *out);
void qmp_session_action_clear(struct qmp_session_action *a);

uint64_t qmp_session_deadline(const struct qmp_session *s);	/* when tick() must be called next; UINT64_MAX: never */
enum qmp_session_state qmp_session_state(const struct qmp_session *s);
const char *qmp_session_state_name(enum qmp_session_state state);
bool qmp_session_has_oob(const struct qmp_session *s);
uint64_t qmp_session_dropped_events(const struct qmp_session *s);
