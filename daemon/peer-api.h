/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls between daemons, one JSON text per PEER_JSON frame: {"id", "method", "parameters"} -> {"id", "parameters"} or {"id", "error", "message"}.
 * Ids are the caller's; one call at a time per connection is enough for ftd, but answers may come in any order.
 * To a call with "more" (Varlink's word), and to no other, messages with "continues" come before the answer: {phase, done, total} each. Pure codec.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

struct peer_message {
	struct json_object *object;	/* owned: everything below borrows from it */
	guint64 id;
	const char *method;		/* a call; NULL: an answer */
	struct json_object *parameters;	/* NULL in an error */
	bool more;			/* a call whose caller wants to hear how it goes */
	bool continues;			/* how it goes; not the answer */
	GError *error;			/* an error answer; owned */
};

struct json_object *peer_call_new(guint64 id, const char *method, struct json_object *parameters, bool more);	/* takes parameters, NULL: {} */
struct json_object *peer_progress_new(guint64 id, struct json_object *progress);	/* takes progress */
struct json_object *peer_answer_new(guint64 id, struct json_object *parameters);
struct json_object *peer_error_new(guint64 id, const GError *error);
GBytes *peer_message_bytes(struct json_object *message);	/* takes it */
bool peer_message_decode(const void *data, gsize length, struct peer_message *out, GError **error);	/* FTD_ERROR_PROTOCOL */
void peer_message_clear(struct peer_message *m);
/* What may be passed on of a progress: the members above and nothing else, shared with nobody. NULL: it is none. */
struct json_object *peer_progress_read(struct json_object *progress);
