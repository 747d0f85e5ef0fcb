/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/passive-pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MS 1000000ull
#define NEVER UINT64_MAX

/* It runs since 100 ms, and checkpoints stop it for so long. */
static struct passive_pace
running(uint64_t stop)
{
	struct passive_pace p = { 0 };

	for (int i = 0; i < 50; i++)
		passive_pace_resumed(&p, 100 * MS, stop, 10 * MS, 1 << 20);
	return p;
}

static void
nothing_waits(void **state)
{
	struct passive_pace p = running(3 * MS);

	assert_true(passive_pace_due(&p) == NEVER);
	passive_pace_output(&p, 110 * MS, true);
	passive_pace_resumed(&p, 113 * MS, 3 * MS, 13 * MS, 1 << 20);
	assert_true(passive_pace_due(&p) == NEVER);
}

static void
all_answers_are_there(void **state)
{
	struct passive_pace p = running(3 * MS);

	passive_pace_output(&p, 110 * MS, false);
	assert_true(passive_pace_due(&p) > 110 * MS);
	passive_pace_output(&p, 111 * MS, true);
	assert_true(passive_pace_due(&p) == 111 * MS);
}

/* Whoever asked while that waits has its answer in the next epoch. */
static void
an_answer_is_missing(void **state)
{
	struct passive_pace p = running(3 * MS);

	for (unsigned ms = 110; ms < 117; ms++) {
		passive_pace_output(&p, ms * MS, false);
		assert_true(passive_pace_due(&p) == (ms + 3) * MS);
	}
	passive_pace_output(&p, 118 * MS, false);
	assert_true(passive_pace_due(&p) == 120 * MS);	/* ten after the first */
	passive_pace_output(&p, 119 * MS, false);
	assert_true(passive_pace_due(&p) == 120 * MS);
}

static void
the_guest_has_half_of_the_time(void **state)
{
	static const struct { uint64_t pause, runs; } cases[] = {
		{ 2 * MS, 2 }, { 3 * MS, 3 }, { 9 * MS, 9 }, { 40 * MS, 40 }, { 60 * MS, 40 },
	};

	for (unsigned i = 0; i < 5; i++) {
		struct passive_pace p = running(cases[i].pause);

		passive_pace_output(&p, 101 * MS, true);
		/* The mean of stops comes near them from below. */
		assert_true(passive_pace_due(&p) <= (100 + cases[i].runs) * MS);
		assert_true(passive_pace_due(&p) + MS / 100 > (100 + cases[i].runs) * MS);
		passive_pace_output(&p, 102 * MS, false);
		assert_true(passive_pace_due(&p) >= 105 * MS);
	}
}

/* 2 MiB at the rate of the last epoch, within 10 and 50 ms. */
static void
what_is_written_limits_the_epoch(void **state)
{
	struct passive_pace p = { 0 };

	assert_true(passive_pace_limit_ns(&p) == 10 * MS);
	passive_pace_resumed(&p, 0, MS, 10 * MS, 0);
	assert_true(passive_pace_limit_ns(&p) == 50 * MS);
	passive_pace_resumed(&p, 0, MS, 10 * MS, 1 << 20);
	assert_true(passive_pace_limit_ns(&p) == 20 * MS);
	passive_pace_resumed(&p, 0, MS, 10 * MS, 1 << 18);
	assert_true(passive_pace_limit_ns(&p) == 50 * MS);
	passive_pace_resumed(&p, 0, MS, 10 * MS, 1 << 30);
	assert_true(passive_pace_limit_ns(&p) == 10 * MS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_waits),
		cmocka_unit_test(all_answers_are_there),
		cmocka_unit_test(an_answer_is_missing),
		cmocka_unit_test(what_is_written_limits_the_epoch),
		cmocka_unit_test(the_guest_has_half_of_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
