/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strict reading of the small JSON objects that policy keeps: exactly the expected members, of the expected types, within the expected bounds.
 * Every failure is FTD_ERROR_PROTOCOL and names the member. Pure; private to policy/.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct json_object json_record;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(json_record, json_object_put)

/* One object and nothing after it but white space; `names` (NULL-terminated) are its only members. */
json_record *json_record_parse(const char *text, size_t length, size_t max, const char *const *names, GError **error);
/* Fills out[size]; longer text, control characters and NULs are errors. */
bool json_record_string(json_record *r, const char *name, char *out, size_t size, GError **error);
bool json_record_u64(json_record *r, const char *name, uint64_t min, uint64_t max, uint64_t *out, GError **error);
/* The index of the member's text among names[0..n-1]. */
bool json_record_enum(json_record *r, const char *name, const char *(*name_of)(unsigned), unsigned n, unsigned *out, GError **error);

/* Terminated within `size`, UTF-8, no control characters. */
bool json_record_text_valid(const char *text, size_t size);
/* Sets FTD_ERROR_PROTOCOL "<name>: <what>" and returns false. */
bool json_record_wrong(GError **error, const char *name, const char *what);
