/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer-api.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <string.h>

#define PHASE_MAX 32

struct json_object *
peer_call_new(guint64 id, const char *method, struct json_object *parameters, bool more)
{
	struct json_object *m = json_put_u64(json_object_new_object(), "id", id);

	if (more)
		json_put_bool(m, "more", true);
	return json_put_value(json_put_str(m, "method", method), "parameters", parameters ? parameters : json_object_new_object());
}

struct json_object *
peer_answer_new(guint64 id, struct json_object *parameters)
{
	struct json_object *m = json_put_u64(json_object_new_object(), "id", id);

	return json_put_value(m, "parameters", parameters ? parameters : json_object_new_object());
}

struct json_object *
peer_progress_new(guint64 id, struct json_object *progress)
{
	return json_put_bool(peer_answer_new(id, progress), "continues", true);
}

struct json_object *
peer_error_new(guint64 id, const GError *error)
{
	struct json_object *m = json_put_u64(json_object_new_object(), "id", id);

	return json_put_str(json_put_str(m, "error", ftd_error_name(error)), "message", error->message);
}

GBytes *
peer_message_bytes(struct json_object *message)
{
	const char *text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN);
	GBytes *bytes = g_bytes_new(text, strlen(text));

	json_object_put(message);
	return bytes;
}

void
peer_message_clear(struct peer_message *m)
{
	json_object_put(m->object);
	g_clear_error(&m->error);
	*m = (struct peer_message){ 0 };
}

bool
peer_message_decode(const void *data, gsize length, struct peer_message *out, GError **error)
{
	struct peer_message m = { 0 };
	const char *name;

	m.object = json_parse(data, length, error);
	if (!m.object)
		return false;
	m.id = json_get_u64(m.object, "id");
	m.method = json_get_str(m.object, "method");
	m.parameters = json_get(m.object, "parameters");
	name = json_get_str(m.object, "error");
	m.more = m.method && json_get_bool(m.object, "more");
	m.continues = json_get_bool(m.object, "continues");
	if (!m.id || (!name && !json_object_is_type(m.parameters, json_type_object)) || (name && m.method) || (m.continues && (name || m.method))) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "a message of the peer's daemon is neither a call nor an answer");
		peer_message_clear(&m);
		return false;
	}
	if (name) {
		const char *text = json_get_str(m.object, "message");

		m.parameters = NULL;
		m.error = g_error_new_literal(FTD_ERROR, (int)ftd_error_from_name(name), text ? text : name);
	}
	*out = m;
	return true;
}

/* Shown on terminals and matched by programs: a word, as all phases are. */
static bool
is_phase(const char *s)
{
	size_t length = s ? strspn(s, "abcdefghijklmnopqrstuvwxyz-") : 0;

	return length > 0 && length <= PHASE_MAX && !s[length];
}

struct json_object *
peer_progress_read(struct json_object *progress)
{
	const char *phase = json_get_str(progress, "phase");
	struct json_object *o;

	if (!is_phase(phase))
		return NULL;
	o = json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", phase), "done", json_get_u64(progress, "done")), "total", json_get_u64(progress, "total"));
	return json_get(progress, "same") ? json_put_u64(o, "same", json_get_u64(progress, "same")) : o;
}
