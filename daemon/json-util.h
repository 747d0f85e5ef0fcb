/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading JSON that somebody else wrote: a member that is missing or of another type reads as the default. Pure; json-c only. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

typedef struct json_object json_object_ptr;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_object_ptr, json_object_put)

struct json_object *json_get(struct json_object *o, const char *key);		/* borrowed; NULL when absent, o NULL or no object */
const char *json_get_str(struct json_object *o, const char *key);				/* NULL by default */
guint64 json_get_u64(struct json_object *o, const char *key);				/* 0 by default and for negative numbers */
bool json_get_bool(struct json_object *o, const char *key);					/* false by default */
size_t json_length(struct json_object *array);						/* 0 for anything but an array */
struct json_object *json_at(struct json_object *array, size_t i);

struct json_object *json_parse(const char *text, gsize length, GError **error);	/* the whole text is one value; FTD_ERROR_PROTOCOL */

/* Building. Each returns o. A NULL string is left out. */
struct json_object *json_put_str(struct json_object *o, const char *key, const char *value);
struct json_object *json_put_u64(struct json_object *o, const char *key, guint64 value);
struct json_object *json_put_bool(struct json_object *o, const char *key, bool value);
struct json_object *json_put_value(struct json_object *o, const char *key, struct json_object *value);	/* takes value */
