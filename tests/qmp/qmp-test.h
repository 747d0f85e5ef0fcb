/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of this folder share: cmocka in its include order, JSON literals and their comparison. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

#include <string.h>

static inline struct json_object *
parse(const char *text)
{
	struct json_object *object = json_tokener_parse(text);

	assert_non_null(object);
	return object;
}

/* Equal as JSON values, whatever the order of members. Takes `got` over. */
static inline void
assert_json(struct json_object *got, const char *want)
{
	struct json_object *expected = parse(want);

	if (!json_object_equal(got, expected))
		fail_msg("got  %s\nwant %s", json_object_to_json_string_ext(got, JSON_C_TO_STRING_PLAIN), want);
	json_object_put(expected);
	json_object_put(got);
}

static inline void
assert_error(GError *error, int code)
{
	assert_non_null(error);
	assert_true(g_error_matches(error, FTD_ERROR, code));
	g_error_free(error);
}
