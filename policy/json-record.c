/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json-record.h"

#include "daemon/base/error.h"

#include <string.h>

#define JSON_RECORD_DEPTH 3	/* the object, its values, and one to reject */

typedef struct json_tokener tokener;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tokener, json_tokener_free)

bool
json_record_wrong(GError **error, const char *name, const char *what)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%s: %s", name, what);
	return false;
}

bool
json_record_text_valid(const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	if (n == size || !g_utf8_validate(text, (gssize)n, NULL))
		return false;
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static bool
only_known_members(json_record *r, const char *const *names, GError **error)
{
	json_object_object_foreach(r, name, value) {
		(void)value;
		if (!g_strv_contains(names, name))
			return json_record_wrong(error, "unknown member", name);
	}
	for (; *names; names++)
		if (!json_object_object_get_ex(r, *names, NULL))
			return json_record_wrong(error, *names, "missing");
	return true;
}

json_record *
json_record_parse(const char *text, size_t length, size_t max, const char *const *names, GError **error)
{
	g_autoptr(tokener) t = NULL;
	g_autoptr(json_record) r = NULL;

	if (length == 0 || length > max) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%zu bytes are no record (1 to %zu)", length, max);
		return NULL;
	}
	t = json_tokener_new_ex(JSON_RECORD_DEPTH);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	r = json_tokener_parse_ex(t, text, (int)length);
	if (json_tokener_get_error(t) != json_tokener_success || !json_object_is_type(r, json_type_object)) {
		enum json_tokener_error e = json_tokener_get_error(t);
		json_record_wrong(error, "not a whole JSON object", e == json_tokener_success ? "another type" : json_tokener_error_desc(e));
		return NULL;
	}
	for (size_t i = json_tokener_get_parse_end(t); i < length; i++) {
		if (!g_ascii_isspace(text[i])) {
			json_record_wrong(error, "not one JSON object", "more follows it");
			return NULL;
		}
	}
	return only_known_members(r, names, error) ? g_steal_pointer(&r) : NULL;
}

bool
json_record_string(json_record *r, const char *name, char *out, size_t size, GError **error)
{
	struct json_object *v = json_object_object_get(r, name);
	const char *text;

	if (!json_object_is_type(v, json_type_string))
		return json_record_wrong(error, name, "not a string");
	text = json_object_get_string(v);
	if (strlen(text) != (size_t)json_object_get_string_len(v) || !json_record_text_valid(text, size))
		return json_record_wrong(error, name, "too long, or not plain text");
	g_strlcpy(out, text, size);
	return true;
}

bool
json_record_u64(json_record *r, const char *name, uint64_t min, uint64_t max, uint64_t *out, GError **error)
{
	struct json_object *v = json_object_object_get(r, name);
	uint64_t n;

	/* json-c keeps what does not fit at the nearest bound of its type; no limit here comes near it. */
	g_assert(max < INT64_MAX);
	if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0)
		return json_record_wrong(error, name, "not a whole number");
	n = json_object_get_uint64(v);
	if (n < min || n > max)
		return json_record_wrong(error, name, "out of range");
	*out = n;
	return true;
}

bool
json_record_enum(json_record *r, const char *name, const char *(*name_of)(unsigned), unsigned n, unsigned *out, GError **error)
{
	struct json_object *v = json_object_object_get(r, name);

	for (unsigned i = 0; json_object_is_type(v, json_type_string) && i < n; i++) {
		if (strcmp(json_object_get_string(v), name_of(i)) == 0) {
			*out = i;
			return true;
		}
	}
	return json_record_wrong(error, name, "not one of the words it may be");
}
