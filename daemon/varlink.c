/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink's wire format: one JSON object per message, ended by a NUL byte. A call is {method, parameters, more, oneway}, a reply
 * {parameters, continues} or {error, parameters} (varlink.org, "Method Call"). JSON itself cannot contain a NUL, so a message is found before it is
 * parsed: nothing is given to the parser that is longer than VARLINK_MAX_MESSAGE, and the parser stops at MAX_DEPTH.
 */
#include "daemon/varlink.h"

#include "daemon/base/error.h"

#include <string.h>

#define MAX_DEPTH 32
#define ERROR_PREFIX "org.ftd."

struct varlink_splitter {
	GByteArray *buffer;
	size_t start;		/* of the first message not yet taken out */
	size_t open;		/* of the message whose NUL has not come; everything before it is whole */
};

struct varlink_splitter *
varlink_splitter_new(void)
{
	struct varlink_splitter *s = g_new0(struct varlink_splitter, 1);

	s->buffer = g_byte_array_new();
	return s;
}

void
varlink_splitter_free(struct varlink_splitter *s)
{
	if (!s)
		return;
	g_byte_array_unref(s->buffer);
	g_free(s);
}

size_t
varlink_splitter_buffered(const struct varlink_splitter *s)
{
	return s->buffer->len - s->start;
}

static void
compact(struct varlink_splitter *s)
{
	if (s->start)
		g_byte_array_remove_range(s->buffer, 0, (guint)s->start);
	s->open -= s->start;
	s->start = 0;
}

bool
varlink_splitter_input(struct varlink_splitter *s, const void *data, size_t length, GError **error)
{
	const uint8_t *last = memrchr(data, 0, length), *first = memchr(data, 0, length);
	size_t before = first ? (size_t)(first - (const uint8_t *)data) : length;	/* belongs to the open message */
	size_t after = last ? length - (size_t)(last + 1 - (const uint8_t *)data) : 0;

	if (s->buffer->len - s->open + before > VARLINK_MAX_MESSAGE || after > VARLINK_MAX_MESSAGE) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "message of more than %u bytes", VARLINK_MAX_MESSAGE);
		return false;
	}
	compact(s);
	g_byte_array_append(s->buffer, data, (guint)length);
	if (last)
		s->open = s->buffer->len - after;
	return true;
}

static struct json_object *
parse(const char *text, size_t length, GError **error)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *message;
	enum json_tokener_error code;
	size_t end;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	message = json_tokener_parse_ex(tokener, text, (int)length);
	code = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (end < length && strchr(" \t\r\n", text[end]))
		end++;
	if (code == json_tokener_success && end == length && json_object_is_type(message, json_type_object))
		return message;
	json_object_put(message);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "not a Varlink message: %s",
		    code == json_tokener_success ? "not one JSON object" : code == json_tokener_continue ? "JSON text ends too early" : json_tokener_error_desc(code));
	return NULL;
}

int
varlink_splitter_next(struct varlink_splitter *s, struct json_object **out, GError **error)
{
	const char *text = (const char *)s->buffer->data + s->start;
	struct json_object *message;
	size_t length;

	if (s->start == s->open)
		return 0;
	length = strlen(text);
	s->start += length + 1;
	message = parse(text, length, error);
	if (!message)
		return -1;
	*out = message;
	return 1;
}

/* A member that may be missing or null; false (and error) when it has another type. */
static bool
get_member(struct json_object *message, const char *name, enum json_type type, struct json_object **out, GError **error)
{
	*out = NULL;
	if (!json_object_object_get_ex(message, name, out) || !*out || json_object_is_type(*out, type))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "\"%s\" of a Varlink message is %s, not %s", name,
		    json_type_to_name(json_object_get_type(*out)), json_type_to_name(type));
	return false;
}

static bool
get_flag(struct json_object *message, const char *name, bool *out, GError **error)
{
	struct json_object *value;

	if (!get_member(message, name, json_type_boolean, &value, error))
		return false;
	*out = value && json_object_get_boolean(value);
	return true;
}

static bool
get_parameters(struct json_object *message, struct json_object **out, GError **error)
{
	if (!get_member(message, "parameters", json_type_object, out, error))
		return false;
	if (!*out) {
		*out = json_object_new_object();
		json_object_object_add(message, "parameters", *out);
	}
	return true;
}

bool
varlink_call_decode(struct json_object *message, struct varlink_call *out, GError **error)
{
	struct varlink_call call = { 0 };
	struct json_object *method;
	bool upgrade;

	if (!get_member(message, "method", json_type_string, &method, error) || !get_flag(message, "more", &call.more, error) ||
	    !get_flag(message, "oneway", &call.oneway, error) || !get_flag(message, "upgrade", &upgrade, error) ||
	    !get_parameters(message, &call.parameters, error))
		return false;
	call.method = method ? json_object_get_string(method) : NULL;
	if (!call.method || !strchr(call.method, '.') || strlen(call.method) != (size_t)json_object_get_string_len(method)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Varlink call without a method's full name");
		return false;
	}
	if (upgrade || (call.more && call.oneway)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Varlink call of %s with %s", call.method, upgrade ? "\"upgrade\"" : "both \"more\" and \"oneway\"");
		return false;
	}
	*out = call;
	return true;
}

static struct json_object *
borrow(struct json_object *parameters)
{
	return parameters ? json_object_get(parameters) : json_object_new_object();
}

struct json_object *
varlink_call_encode(const char *method, struct json_object *parameters, bool more)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "method", json_object_new_string(method));
	json_object_object_add(message, "parameters", borrow(parameters));
	if (more)
		json_object_object_add(message, "more", json_object_new_boolean(true));
	return message;
}

struct json_object *
varlink_reply(struct json_object *parameters, bool continues)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "parameters", borrow(parameters));
	if (continues)
		json_object_object_add(message, "continues", json_object_new_boolean(true));
	return message;
}

struct json_object *
varlink_error_named(const char *name, struct json_object *parameters)
{
	struct json_object *message = json_object_new_object();

	json_object_object_add(message, "error", json_object_new_string(name));
	json_object_object_add(message, "parameters", borrow(parameters));
	return message;
}

struct json_object *
varlink_error(const GError *error)
{
	g_autofree char *name = g_strconcat(ERROR_PREFIX, ftd_error_name(error), NULL);
	g_autofree char *text = g_utf8_make_valid(error->message, -1);	/* it may quote a file or a peer */
	struct json_object *parameters = json_object_new_object(), *message;

	json_object_object_add(parameters, "message", json_object_new_string(text));
	message = varlink_error_named(name, parameters);
	json_object_put(parameters);
	return message;
}

char *
varlink_serialize(struct json_object *message, size_t *length)
{
	size_t n;
	const char *text = json_object_to_json_string_length(message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

	*length = n + 1;
	return g_memdup2(text, n + 1);
}

static const char *
get_text(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	if (object && json_object_object_get_ex(object, name, &value) && json_object_is_type(value, json_type_string))
		return json_object_get_string(value);
	return NULL;
}

/* Errors of the service itself (varlink.org, "Service") mean that the two programs are of different versions. */
static GError *
service_error(const char *name, struct json_object *parameters)
{
	const char *method = get_text(parameters, "method"), *interface = get_text(parameters, "interface"), *parameter = get_text(parameters, "parameter");

	if (strcmp(name, "org.varlink.service.MethodNotFound") == 0 && method)
		return g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "the server does not know %s: is it an older version?", method);
	if (strcmp(name, "org.varlink.service.InterfaceNotFound") == 0 && interface)
		return g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "the server does not offer %s: is this the right socket?", interface);
	if (strcmp(name, "org.varlink.service.InvalidParameter") == 0 && parameter)
		return g_error_new(FTD_ERROR, FTD_ERROR_USAGE, "the server does not accept parameter \"%s\"", parameter);
	return g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "the server answered %s", name);
}

GError *
varlink_reply_error(struct json_object *message)
{
	const char *name = get_text(message, "error"), *text;
	struct json_object *parameters = NULL;

	if (!name)
		return NULL;
	json_object_object_get_ex(message, "parameters", &parameters);
	parameters = json_object_is_type(parameters, json_type_object) ? parameters : NULL;
	text = get_text(parameters, "message");
	if (g_str_has_prefix(name, ERROR_PREFIX))
		return g_error_new_literal(FTD_ERROR, (gint)ftd_error_from_name(name + strlen(ERROR_PREFIX)), text ? text : name);
	return service_error(name, parameters);
}

struct json_object *
varlink_reply_decode(struct json_object *message, bool *continues, GError **error)
{
	GError *failure = varlink_reply_error(message);
	struct json_object *parameters = NULL, *name = NULL;

	if (failure) {
		g_propagate_error(error, failure);
		return NULL;
	}
	if (json_object_object_get_ex(message, "error", &name)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Varlink error without a name");
		return NULL;
	}
	if (!get_flag(message, "continues", continues, error) || !get_parameters(message, &parameters, error))
		return NULL;
	return parameters;
}
