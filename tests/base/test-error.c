/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void
test_names_are_unique_and_lead_back(void **state)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

	for (int code = 0; code < FTD_ERROR_LAST; code++) {
		g_autoptr(GError) error = g_error_new_literal(FTD_ERROR, code, "x");
		const char *name = ftd_error_name(error);

		assert_non_null(name);
		assert_true(g_hash_table_add(seen, (gpointer)name));
		assert_true(g_ascii_isupper(name[0]) && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == strlen(name));
		assert_int_equal(ftd_error_from_name(name), code);
	}
}

static void
test_strangers_are_failed(void **state)
{
	g_autoptr(GError) foreign = g_error_new_literal(g_quark_from_string("foreign"), FTD_ERROR_DENIED, "x");
	g_autoptr(GError) beyond = g_error_new_literal(FTD_ERROR, FTD_ERROR_LAST, "x"), below = g_error_new_literal(FTD_ERROR, -1, "x");

	assert_string_equal(ftd_error_name(NULL), "Failed");
	assert_string_equal(ftd_error_name(foreign), "Failed");
	assert_string_equal(ftd_error_name(beyond), "Failed");
	assert_string_equal(ftd_error_name(below), "Failed");
	assert_int_equal(ftd_error_from_name("NoSuchError"), FTD_ERROR_FAILED);
	assert_int_equal(ftd_error_from_name(NULL), FTD_ERROR_FAILED);
}

/* Scripts rely on these: a code may be added, none may move. */
static void
test_exit_statuses(void **state)
{
	bool taken[256] = { false };

	assert_int_equal(ftd_error_exit_status(FTD_ERROR_FAILED), 1);
	assert_int_equal(ftd_error_exit_status(FTD_ERROR_USAGE), 2);
	assert_int_equal(ftd_error_exit_status(FTD_ERROR_NO_DAEMON), 10);
	assert_int_equal(ftd_error_exit_status(FTD_ERROR_CONFIG), 37);
	for (int code = 0; code < FTD_ERROR_LAST; code++) {
		int status = ftd_error_exit_status(code);

		assert_in_range(status, 1, 125);	/* above: shells use them for signals and "not found" */
		assert_false(taken[status]);
		taken[status] = true;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_unique_and_lead_back),
		cmocka_unit_test(test_strangers_are_failed),
		cmocka_unit_test(test_exit_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
