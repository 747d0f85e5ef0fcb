/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/json-util.h"

#include "daemon/base/error.h"

#define JSON_MAX_DEPTH 32

struct json_object *
json_get(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(o, json_type_object))
		json_object_object_get_ex(o, key, &value);
	return value;
}

const char *
json_get_str(struct json_object *o, const char *key)
{
	struct json_object *value = json_get(o, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

guint64
json_get_u64(struct json_object *o, const char *key)
{
	struct json_object *value = json_get(o, key);

	if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
		return 0;
	return json_object_get_uint64(value);
}

bool
json_get_bool(struct json_object *o, const char *key)
{
	struct json_object *value = json_get(o, key);

	return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

size_t
json_length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

struct json_object *
json_at(struct json_object *array, size_t i)
{
	return i < json_length(array) ? json_object_array_get_idx(array, i) : NULL;
}

struct json_object *
json_parse(const char *text, gsize length, GError **error)
{
	g_autoptr(json_object_ptr) value = NULL;
	struct json_tokener *t;
	enum json_tokener_error state;
	size_t end;

	if (length > G_MAXINT) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "JSON text of %" G_GSIZE_FORMAT " bytes", length);
		return NULL;
	}
	t = json_tokener_new_ex(JSON_MAX_DEPTH);
	value = json_tokener_parse_ex(t, text, (int)length);
	state = json_tokener_get_error(t);
	end = json_tokener_get_parse_end(t);
	json_tokener_free(t);
	while (end < length && g_ascii_isspace(text[end]))
		end++;
	if (value && state == json_tokener_success && end == length)
		return g_steal_pointer(&value);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "not a JSON text: %s",
		    state == json_tokener_success ? "there is more after its end" : json_tokener_error_desc(state));
	return NULL;
}

struct json_object *
json_put_str(struct json_object *o, const char *key, const char *value)
{
	return value ? json_put_value(o, key, json_object_new_string(value)) : o;
}

struct json_object *
json_put_u64(struct json_object *o, const char *key, guint64 value)
{
	return json_put_value(o, key, json_object_new_uint64(value));
}

struct json_object *
json_put_bool(struct json_object *o, const char *key, bool value)
{
	return json_put_value(o, key, json_object_new_boolean(value));
}

struct json_object *
json_put_value(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
	return o;
}
