/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "daemon/pair-record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UUID "ef723547-8d90-4100-9621-92fa522b6f05"

static void
test_round_trip(void **state)
{
	g_autoptr(pair_record) r = pair_record_new(UUID, "vm1", "b", FAILOVER_STANDBY, 7), copy = NULL, back = NULL;
	g_autofree char *text = NULL, *again = NULL;
	g_autoptr(GError) error = NULL;

	r->defined = true;
	g_ptr_array_add(r->images, g_strdup("/img/a"));
	g_ptr_array_add(r->overlays, g_strdup("/img/a.ftd-active"));
	r->parameters = json_put_u64(json_object_new_object(), "max-bandwidth", 9);
	copy = pair_record_copy(r);
	text = pair_record_encode(copy);
	back = pair_record_decode(text, strlen(text), &error);
	assert_null(error);
	assert_int_equal(back->role, FAILOVER_STANDBY);
	assert_int_equal(back->generation, 7);
	assert_true(back->defined);
	assert_string_equal(g_ptr_array_index(back->images, 0), "/img/a");
	assert_int_equal(json_get_u64(back->parameters, "max-bandwidth"), 9);
	again = pair_record_encode(back);
	assert_string_equal(again, text);
}

static void
test_refused(void **state)
{
	static const char *const cases[] = {
		"", "{}", "[]", "{\"uuid\":\"../x\",\"domain\":\"a\",\"peer\":\"b\",\"role\":\"standby\"}",
		"{\"uuid\":\"" UUID "\",\"domain\":\"a\",\"peer\":\"b\",\"role\":\"boss\"}",
		"{\"uuid\":\"" UUID "\",\"domain\":\"a\",\"peer\":\"b\",\"role\":\"standby\",\"images\":[\"relative\"]}",
		"{\"uuid\":\"" UUID "\",\"domain\":\"a\",\"peer\":\"b\",\"role\":\"standby\",\"overlays\":[7]}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		assert_null(pair_record_decode(cases[i], strlen(cases[i]), &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
}

/* What is told of a pair that has ended, and whether its domain is to be protected again. */
static void
test_last_word(void **state)
{
	static const struct { struct pair_last_facts f; const char *state; bool again; } cases[] = {
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, NULL, NULL }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_STANDBY, "solo", "peer-silent" }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "solo", "operator-disable" }, "solo", false },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "solo", "operator-disable", .wished = true }, "solo", false },
		{ { PAIR_END_REMOVE, FAILOVER_STANDBY, NULL, NULL }, "fenced", false },
		{ { PAIR_END_REMOVE, FAILOVER_PRIMARY, "fenced", "claim-denied", .wished = true }, "fenced", false },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "ended", "guest-ended", .wished = true }, "ended", false },
		/* It was never formed: by an operator for the first time, and once more for a domain that was alone. */
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, NULL, "setup-failed", .forming = true }, "ended", false },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, NULL, "setup-failed", .forming = true, .wished = true }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "ended", "setup-failed", .forming = true, .wished = true }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "ended", "setup-failed", .wished = true }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "ended", "peer-silent", .wished = true }, "solo", true },
		{ { PAIR_END_KEEP, FAILOVER_PRIMARY, "ended", "operator-disable", .wished = true }, "ended", false },
		{ { PAIR_END_REMOVE, FAILOVER_STANDBY, "ended", "setup-failed", .forming = true, .wished = true }, "ended", false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const char *last = pair_last_state(&cases[i].f);

		assert_string_equal(last, cases[i].state);
		assert_int_equal(pair_wants_protection(last, cases[i].f.why), cases[i].again);
	}
}

static void
test_wish(void **state)
{
	assert_true(pair_ends_wish(true, NULL, NULL));
	assert_false(pair_ends_wish(false, NULL, NULL));
	assert_false(pair_ends_wish(false, "solo", "peer-silent"));
	assert_false(pair_ends_wish(false, "solo", "setup-failed"));
	/* Protected by hand while the wish waited, and disabled or suspended since. */
	assert_true(pair_ends_wish(false, "solo", "operator-disable"));
	assert_true(pair_ends_wish(false, "ended", "guest-ended"));
	assert_true(pair_ends_wish(false, "fenced", "claim-denied"));
}

/* The table at the head of pair-record.c, row by row. */
static void
test_judge(void **state)
{
	enum { NO = 0, YES = 1, SILENT = -1 };
	static const struct { const char *finished; int known; uint64_t newest; const char *active; bool armed; enum pair_end primary, standby; bool waited, silent, runs, granted; } cases[] = {
		{ "solo", SILENT, 0, "", true, PAIR_END_KEEP, PAIR_END_KEEP },
		{ "fenced", SILENT, 0, "", true, PAIR_END_REMOVE, PAIR_END_REMOVE },
		{ "ended", SILENT, 0, "", true, PAIR_END_KEEP, PAIR_END_REMOVE },
		/* It won, and its QEMU died before it was settled: a standby's copy may have been heard by then, or not. */
		{ "fenced", YES, 6, "self", true, PAIR_END_KEEP, PAIR_END_KEEP, .granted = true },
		{ "fenced", YES, 6, "self", true, PAIR_END_KEEP, PAIR_END_RETURN, .granted = true, .silent = true },
		{ "fenced", YES, 6, "x", true, PAIR_END_REMOVE, PAIR_END_REMOVE, .granted = true, .silent = true },
		{ "fenced", YES, 5, "self", true, PAIR_END_WAIT, PAIR_END_WAIT, .granted = true },
		{ "fenced", NO, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT, .granted = true },
		{ "fenced", SILENT, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT, .granted = true },
		{ "fenced", YES, 6, "self", true, PAIR_END_REMOVE, PAIR_END_REMOVE, .silent = true },
		{ NULL, SILENT, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT },
		{ NULL, SILENT, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT, true },
		{ NULL, NO, 0, "", false, PAIR_END_KEEP, PAIR_END_REMOVE },
		{ NULL, YES, 4, "x", false, PAIR_END_KEEP, PAIR_END_REMOVE },
		/* The other side may have gone on, and this register does not know it. */
		{ NULL, NO, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT, true },
		{ NULL, YES, 4, "x", true, PAIR_END_WAIT, PAIR_END_WAIT, true },
		/* The other side may not have claimed yet. */
		{ NULL, YES, 5, "x", true, PAIR_END_WAIT, PAIR_END_STOP },
		{ NULL, YES, 5, "self", true, PAIR_END_WAIT, PAIR_END_STOP },
		{ NULL, YES, 5, "self", true, PAIR_END_CLAIM, PAIR_END_STOP, true },
		{ NULL, YES, 5, "self", false, PAIR_END_CLAIM, PAIR_END_STOP, true },
		{ NULL, YES, 5, "x", true, PAIR_END_WAIT, PAIR_END_STOP, true },
		{ NULL, YES, 6, "self", true, PAIR_END_KEEP, PAIR_END_KEEP },
		{ NULL, YES, 6, "x", true, PAIR_END_WAIT, PAIR_END_REMOVE, .runs = true },
		{ NULL, YES, 6, "x", false, PAIR_END_REMOVE, PAIR_END_REMOVE },
		{ NULL, YES, 6, "x", true, PAIR_END_REMOVE, PAIR_END_REMOVE, .waited = true, .runs = true },
		/* the one whose guard died before it took over */
		{ NULL, YES, 6, "self", true, PAIR_END_KEEP, PAIR_END_RETURN, .silent = true },
		{ NULL, YES, 5, "self", true, PAIR_END_WAIT, PAIR_END_STOP, .silent = true },
		{ NULL, SILENT, 0, "", true, PAIR_END_WAIT, PAIR_END_WAIT, .silent = true },
		/* ... and the one it is returned to */
		{ NULL, YES, 7, "self", true, PAIR_END_KEEP, PAIR_END_KEEP },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct arbiter_record newest = { .generation = cases[i].newest };
		struct pair_end_facts f = { .generation = 5, .self = "self", .finished = cases[i].finished, .register_known = cases[i].known, .newest = &newest,
					    .armed = cases[i].armed, .domain_runs = cases[i].runs, .waited = cases[i].waited, .waited_for_return = cases[i].waited,
					    .silent = cases[i].silent, .granted = cases[i].granted };

		g_strlcpy(newest.active, cases[i].active, sizeof(newest.active));
		f.role = FAILOVER_PRIMARY;
		assert_int_equal(pair_end_judge(&f), cases[i].primary);
		f.role = FAILOVER_STANDBY;
		assert_int_equal(pair_end_judge(&f), cases[i].standby);
	}
}

static void
test_stale(void **state)
{
	static const struct { int known; uint64_t newest; const char *active; bool waited; enum stale_verdict verdict; } cases[] = {
		{ -1, 0, "", true, STALE_STAYS },
		{ 0, 0, "", true, STALE_STAYS },
		/* The other side may still claim; or has. */
		{ 1, 5, "self", false, STALE_WAIT },
		{ 1, 5, "self", true, STALE_CLAIM },
		{ 1, 6, "x", true, STALE_STAYS },
		/* A standby's, and one of another register. */
		{ 1, 5, "x", true, STALE_STAYS },
		{ 1, 4, "self", true, STALE_STAYS },
		/* Claimed; given back; and a later pair's. */
		{ 1, 6, "self", false, STALE_OVER },
		{ 1, 7, "self", false, STALE_OVER },
		{ 1, 8, "self", true, STALE_STAYS },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct arbiter_record newest = { .generation = cases[i].newest };
		struct stale_facts f = { .generation = 5, .self = "self", .register_known = cases[i].known, .newest = &newest, .waited = cases[i].waited };

		g_strlcpy(newest.active, cases[i].active, sizeof(newest.active));
		f.role = FAILOVER_PRIMARY;
		assert_int_equal(stale_judge(&f), cases[i].verdict);
		f.role = FAILOVER_STANDBY;
		assert_int_equal(stale_judge(&f), STALE_STAYS);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_last_word), cmocka_unit_test(test_wish),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
