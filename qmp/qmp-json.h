/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checked access to json-c values. Private to qmp/ and its tests: nothing here is an interface. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object, json_object_put)

/* The member when it is there and of that type, else NULL. Borrowed. */
static inline struct json_object *
json_member(struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, key, &value))
		return NULL;
	return value && json_object_is_type(value, type) ? value : NULL;
}

static inline const char *
json_member_string(struct json_object *object, const char *key)
{
	struct json_object *value = json_member(object, key, json_type_string);

	return value ? json_object_get_string(value) : NULL;
}

static inline bool
json_member_bool(struct json_object *object, const char *key, bool *out)
{
	struct json_object *value = json_member(object, key, json_type_boolean);

	if (value)
		*out = json_object_get_boolean(value);
	return value != NULL;
}

/* Sizes and counts: a negative number is not one. */
static inline bool
json_member_uint64(struct json_object *object, const char *key, guint64 *out)
{
	struct json_object *value = json_member(object, key, json_type_int);

	if (!value || json_object_get_int64(value) < 0)
		return false;
	*out = json_object_get_uint64(value);
	return true;
}
