/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "policy/arbiter-io.h"

#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"

struct place {
	char *top;
	struct arbiter *a;
};

static int
setup(void **state)
{
	struct place *p = g_new0(struct place, 1);
	g_autofree char *spec = NULL;

	p->top = g_dir_make_tmp("ftd-manual-XXXXXX", NULL);
	spec = g_strdup_printf("manual:%s/state/manual", p->top);	/* made when it is needed */
	p->a = arbiter_open(spec, "/nonexistent", NULL);
	*state = p;
	return p->a ? 0 : -1;
}

static int
teardown(void **state)
{
	struct place *p = *state;
	g_autofree char *manual = g_build_filename(p->top, "state", "manual", NULL), *upper = g_build_filename(p->top, "state", NULL);

	assert_true(arbiter_forget(p->a, PAIR, NULL));
	assert_int_equal(g_rmdir(manual), 0);
	assert_int_equal(g_rmdir(upper), 0);
	assert_int_equal(g_rmdir(p->top), 0);
	arbiter_unref(p->a);
	g_free(p->top);
	g_free(p);
	return 0;
}

static struct arbiter_record
record(uint64_t generation, const char *active, const char *standby, const char *reason)
{
	struct arbiter_record r = { .pair = PAIR, .generation = generation, .nonce = "guard", .written_at = 1 };

	g_strlcpy(r.active, active, sizeof r.active);
	g_strlcpy(r.standby, standby, sizeof r.standby);
	g_strlcpy(r.reason, reason, sizeof r.reason);
	return r;
}

static enum arbiter_verdict
claim(struct place *p, uint64_t generation, const char *active, const char *standby, const char *reason, const char *word)
{
	struct arbiter_record c = record(generation, active, standby, reason);
	g_autoptr(GError) error = NULL;
	enum arbiter_verdict v = arbiter_claim(p->a, &c, NULL, &error);

	assert_int_equal(v == ARBITER_SILENT, error != NULL);
	if (word)
		assert_non_null(strstr(error->message, word));
	return v;
}

static bool
decide(struct place *p, uint64_t generation, const char *active, int *code)
{
	struct arbiter_record d = record(generation, active, "", "operator");
	g_autoptr(GError) error = NULL;
	bool ok;

	g_strlcpy(d.nonce, "operator", sizeof d.nonce);
	ok = arbiter_decide(p->a, &d, &error);
	*code = error ? error->code : -1;
	return ok;
}

/* Nobody goes on alone until it is said, and then only the host and the generation that were said. */
static void
test_the_primarys_host(void **state)
{
	struct place *p = *state;
	int code;

	assert_true(arbiter_is_manual(p->a));
	assert_int_equal(claim(p, 1, "a", "b", "protect", NULL), ARBITER_GRANTED);
	assert_int_equal(claim(p, 1, "a", "b", "protect", NULL), ARBITER_GRANTED);
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", "ftctl failover --force"), ARBITER_SILENT);
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", "operator"), ARBITER_SILENT);
	assert_true(decide(p, 2, "a", &code));
	assert_true(decide(p, 2, "a", &code));		/* said twice */
	assert_false(decide(p, 2, "b", &code));
	assert_int_equal(code, FTD_ERROR_ARBITER_DENIED);
	assert_int_equal(claim(p, 3, "a", "", "peer-silent", NULL), ARBITER_SILENT);
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", NULL), ARBITER_GRANTED);
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", NULL), ARBITER_GRANTED);
	assert_int_equal(claim(p, 3, "a", "b", "protect", NULL), ARBITER_GRANTED);
}

/* The standby's host has not seen the generations before. */
static void
test_the_standbys_host(void **state)
{
	struct place *p = *state;
	struct arbiter_record r;
	int code;

	assert_int_equal(arbiter_read(p->a, PAIR, &r, NULL), 0);
	assert_int_equal(claim(p, 6, "b", "", "peer-silent", NULL), ARBITER_SILENT);
	assert_int_equal(arbiter_read(p->a, PAIR, &r, NULL), 0);
	assert_true(decide(p, 6, "b", &code));
	assert_int_equal(claim(p, 6, "b", "", "peer-silent", NULL), ARBITER_GRANTED);
	assert_int_equal(arbiter_read(p->a, PAIR, &r, NULL), 1);
	assert_string_equal(r.active, "b");
	assert_int_equal(claim(p, 5, "b", "", "peer-silent", NULL), ARBITER_DENIED);
}

/* The other host was forced: what is told here of it denies this one. */
static void
test_the_losers_host(void **state)
{
	struct place *p = *state;
	int code;

	assert_int_equal(claim(p, 1, "a", "b", "protect", NULL), ARBITER_GRANTED);
	assert_true(decide(p, 2, "b", &code));
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", NULL), ARBITER_DENIED);
	assert_false(decide(p, 2, "a", &code));
}

/* A VM that was shut down: the claim only keeps the other side from bringing it back. */
static void
test_guest_ended(void **state)
{
	struct place *p = *state;

	assert_int_equal(claim(p, 1, "a", "b", "protect", NULL), ARBITER_GRANTED);
	assert_int_equal(claim(p, 2, "a", "", "guest-ended", NULL), ARBITER_GRANTED);
}

static void
test_damaged(void **state)
{
	struct place *p = *state;
	g_autofree char *path = g_strdup_printf("%s/state/manual/" PAIR "/00000000000000000002.json", p->top);
	int code;

	assert_int_equal(claim(p, 1, "a", "b", "protect", NULL), ARBITER_GRANTED);
	assert_true(g_file_set_contents(path, "yes, go on\n", -1, NULL));
	assert_int_equal(claim(p, 2, "a", "", "peer-silent", "damaged"), ARBITER_SILENT);
	assert_false(decide(p, 2, "a", &code));
}

static void
test_others_decide_themselves(void **state)
{
	struct arbiter_record d = record(2, "a", "", "operator");
	g_autoptr(arbiter) a = arbiter_open("file:/nonexistent", "/nonexistent", NULL);
	g_autoptr(GError) error = NULL;

	assert_false(arbiter_is_manual(a));
	assert_false(arbiter_decide(a, &d, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_USAGE));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_primarys_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_standbys_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_losers_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test(test_others_decide_themselves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
