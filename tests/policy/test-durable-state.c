/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "policy/durable-state-io.h"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct durable_state sample = {
	.pair = "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab",
	.domain = "db one",
	.role = FAILOVER_STANDBY,
	.state = FAILOVER_DECIDING,
	.reason = FAILOVER_REASON_PEER_CLOSED,
	.generation = 41,
	.self = "b.example",
	.peer = "a.example",
	.arbiter = "file:/srv/ftd",
	.nonce = "0123456789abcdef0123456789abcdeb",
};

struct place {
	char *directory, *path, *beside;
};

static int
setup(void **state)
{
	struct place *p = g_new0(struct place, 1);

	p->directory = g_dir_make_tmp("ftd-state-XXXXXX", NULL);
	p->path = g_build_filename(p->directory, "pair.json", NULL);
	p->beside = g_strconcat(p->path, ".new", NULL);
	*state = p;
	return p->directory ? 0 : -1;
}

static int
teardown(void **state)
{
	struct place *p = *state;

	g_unlink(p->path);
	g_unlink(p->beside);
	g_rmdir(p->directory);
	g_free(p->directory);
	g_free(p->path);
	g_free(p->beside);
	g_free(p);
	return 0;
}

static void
test_every_word_round_trips(void **state)
{
	for (int s = 0; s < FAILOVER_STATE_LAST; s++) {
		for (int r = 0; r < FAILOVER_REASON_LAST; r++) {
			struct durable_state in = sample, out;
			in.state = s;
			in.reason = r;
			in.role = r % 2;
			g_autofree char *text = durable_state_encode(&in);
			assert_true(durable_state_decode(text, strlen(text), &out, NULL));
			assert_memory_equal(&in, &out, sizeof in);
		}
	}
}

static void
test_torn(void **state)
{
	g_autofree char *text = durable_state_encode(&sample);
	struct durable_state out = { .generation = 5 };

	for (size_t n = 0; n + 2 < strlen(text); n++)
		assert_false(durable_state_decode(text, n, &out, NULL));
	assert_int_equal(out.generation, 5);
}

static const struct {
	const char *from, *to;
} bad[] = {
	{ "\"standby\"", "\"both\"" },
	{ "\"deciding\"", "\"dreaming\"" },
	{ "\"deciding\"", "4" },
	{ "\"peer-closed\"", "\"because\"" },
	{ "41", "0" },
	{ "41", "-1" },
	{ "\"db one\"", "\"\"" },
	{ "\"a.example\"", "\"\"" },
	{ "\"file:/srv/ftd\"", "\"\"" },
	{ "0123456789abcdef0123456789abcdeb", "x/y" },
	{ "6f0c2a4e", "6f0c2a4" },
	{ "\"version\": 1", "\"version\": 9" },
	{ "\"peer\"", "\"pear\"" },
};

static void
test_foreign(void **state)
{
	g_autofree char *whole = durable_state_encode(&sample);

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(GString) text = g_string_new(whole);
		struct durable_state out;
		if (g_string_replace(text, bad[i].from, bad[i].to, 1) != 1)
			fail_msg("no %s in %s", bad[i].from, whole);
		if (durable_state_decode(text->str, text->len, &out, &error))
			fail_msg("taken for a state: %s", text->str);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
}

static void
test_write_read_replace(void **state)
{
	const struct place *p = *state;
	struct durable_state s = sample, out;
	g_autoptr(GError) error = NULL;
	struct stat st;

	assert_false(durable_state_read(p->path, &out, &error));
	assert_true(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT));
	assert_true(durable_state_write(p->path, &s, NULL));
	assert_true(durable_state_read(p->path, &out, NULL));
	assert_memory_equal(&out, &s, sizeof s);
	s.generation++;
	assert_true(g_file_set_contents(p->beside, "left by a crash, and longer than what is written next ..........", 64, NULL));
	assert_true(durable_state_write(p->path, &s, NULL));
	assert_true(durable_state_read(p->path, &out, NULL));
	assert_int_equal(out.generation, sample.generation + 1);
	assert_int_equal(stat(p->beside, &st), -1);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
test_torn_file(void **state)
{
	const struct place *p = *state;
	g_autofree char *text = durable_state_encode(&sample);
	g_autofree char *big = g_strnfill(DURABLE_STATE_MAX + 1, ' ');
	struct durable_state out;
	g_autoptr(GError) torn = NULL, large = NULL, link_error = NULL;

	assert_true(g_file_set_contents(p->path, text, (gssize)strlen(text) / 2, NULL));
	assert_false(durable_state_read(p->path, &out, &torn));
	assert_true(g_error_matches(torn, FTD_ERROR, FTD_ERROR_PROTOCOL));
	assert_non_null(strstr(torn->message, p->path));
	assert_true(g_file_set_contents(p->path, big, DURABLE_STATE_MAX + 1, NULL));
	assert_false(durable_state_read(p->path, &out, &large));
	assert_int_equal(g_unlink(p->path), 0);
	assert_int_equal(symlink("/dev/zero", p->path), 0);
	assert_false(durable_state_read(p->path, &out, &link_error));
	assert_false(g_error_matches(link_error, G_FILE_ERROR, G_FILE_ERROR_NOENT));
}

/* A write that fails leaves the old state. */
static void
test_failed_write(void **state)
{
	const struct place *p = *state;
	struct durable_state s = sample, out;
	g_autoptr(GError) error = NULL, nowhere = NULL;

	assert_true(durable_state_write(p->path, &s, NULL));
	s.generation = 0;
	assert_false(durable_state_write(p->path, &s, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	assert_true(durable_state_read(p->path, &out, NULL));
	assert_int_equal(out.generation, sample.generation);
	assert_false(durable_state_write("/nonexistent/ftd/pair.json", &sample, &nowhere));
	assert_true(g_error_matches(nowhere, G_FILE_ERROR, G_FILE_ERROR_NOENT));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_word_round_trips),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test_setup_teardown(test_write_read_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_write, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
