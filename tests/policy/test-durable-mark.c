/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/durable-mark-io.h"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static bool
there(const char *path)
{
	return g_file_test(path, G_FILE_TEST_EXISTS);
}

static bool
clear(struct durable_mark *m, GError **error)
{
	g_autoptr(GError) failed = NULL;

	durable_mark_clear(m);
	for (unsigned tries = 0; !durable_mark_cleared(m, &failed); tries++) {
		assert_true(tries < 100000);
		g_usleep(100);
	}
	if (failed && error)
		*error = g_error_copy(failed);
	return !failed;
}

static void
test_made_and_cleared(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("ftd-mark-XXXXXX", NULL), *path = g_build_filename(dir, "silent", NULL);
	struct durable_mark *m = durable_mark_new(path, NULL);

	assert_true(m && there(path));
	assert_true(clear(m, NULL));
	assert_false(there(path));
	assert_true(clear(m, NULL));	/* nothing to take away */
	durable_mark_free(m);
	g_rmdir(dir);
}

/* Its owner's end says nothing, and one from before is as good as a new one. */
static void
test_stays(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("ftd-mark-XXXXXX", NULL), *path = g_build_filename(dir, "silent", NULL);

	durable_mark_free(durable_mark_new(path, NULL));
	assert_true(there(path));
	durable_mark_free(durable_mark_new(path, NULL));
	assert_true(there(path));
	g_unlink(path);
	g_rmdir(dir);
}

static void
test_nowhere(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("ftd-mark-XXXXXX", NULL), *path = g_build_filename(dir, "not", "there", NULL);
	g_autofree char *link = g_build_filename(dir, "link", NULL);
	g_autoptr(GError) error = NULL;

	assert_null(durable_mark_new(path, &error));
	assert_true(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT));
	assert_int_equal(symlink("elsewhere", link), 0);
	assert_null(durable_mark_new(link, NULL));
	g_unlink(link);
	g_rmdir(dir);
}

/* A directory in its place cannot be unlinked: that must not look like success. */
static void
test_cannot_be_cleared(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("ftd-mark-XXXXXX", NULL), *path = g_build_filename(dir, "silent", NULL);
	struct durable_mark *m = durable_mark_new(path, NULL);
	g_autoptr(GError) error = NULL;

	g_unlink(path);
	g_mkdir(path, 0700);
	assert_false(clear(m, &error));
	assert_int_equal(error->domain, G_FILE_ERROR);
	durable_mark_free(m);
	g_rmdir(path);
	g_rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_and_cleared),
		cmocka_unit_test(test_stays),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_cannot_be_cleared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
