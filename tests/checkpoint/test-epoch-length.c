/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/epoch-length.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MS 1000000ull
#define S (1000 * MS)

static const struct epoch_length_limits limits = { .min_ns = 100 * MS, .max_ns = 10 * S, .target_ns = 20 * MS };

static struct epoch_length
fresh(void)
{
	struct epoch_length e;

	epoch_length_init(&e, &limits);
	return e;
}

static void
begins_with_a_second(void **state)
{
	struct epoch_length e = fresh();

	assert_int_equal(epoch_length_ns(&e), S);
	epoch_length_init(&e, &(struct epoch_length_limits){ .min_ns = 100 * MS, .max_ns = 40 * MS, .target_ns = MS });
	assert_int_equal(epoch_length_ns(&e), 40 * MS);	/* the administrator's word counts more than ours */
}

static void
cheap_checkpoints_become_rare(void **state)
{
	struct epoch_length e = fresh();

	for (int i = 0; i < 6; i++)
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .full = true, .pause_ns = 3 * MS, .commit_ns = MS, .stop_ns = 9 * MS });
	assert_int_equal(epoch_length_ns(&e), 10 * S);
}

static void
an_early_end_lengthens_nothing(void **state)
{
	struct epoch_length e = fresh();

	epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = 30 * MS, .pause_ns = MS, .commit_ns = MS, .stop_ns = MS });
	assert_int_equal(epoch_length_ns(&e), S);
}

/* Each of the three costs, alone. */
static void
a_dear_one_shortens_in_proportion(void **state)
{
	static const struct epoch_cost dear[] = {
		{ .epoch_ns = S, .full = true, .pause_ns = 40 * MS },
		{ .epoch_ns = S, .full = true, .pause_ns = 10 * MS, .commit_ns = 30 * MS },
		{ .epoch_ns = S, .full = true, .pause_ns = MS, .stop_ns = 40 * MS },
	};

	for (unsigned i = 0; i < 3; i++) {
		struct epoch_length e = fresh();
		epoch_length_checkpoint(&e, &dear[i]);
		assert_int_equal(epoch_length_ns(&e), S / 2);
	}
}

/* An epoch that ended early and was dear all the same: not longer than that one at its cost. */
static void
a_dear_early_one_shortens_too(void **state)
{
	struct epoch_length e = fresh();

	epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = 400 * MS, .pause_ns = 40 * MS });
	assert_int_equal(epoch_length_ns(&e), 200 * MS);
	epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = 5 * MS, .pause_ns = 400 * MS });
	assert_int_equal(epoch_length_ns(&e), 100 * MS);
}

static void
between_half_and_all_nothing_moves(void **state)
{
	struct epoch_length e = fresh();

	epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = S, .full = true, .pause_ns = 10 * MS });
	epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = S, .full = true, .pause_ns = 20 * MS });
	assert_int_equal(epoch_length_ns(&e), S);
}

/* A guest that dirties 50 MB a second over a link of 1 GB/s: cost in proportion to the length. The length settles where the cost is near the target. */
static void
settles(void **state)
{
	struct epoch_length e = fresh();
	uint64_t cost = 0;

	for (int i = 0; i < 50; i++) {
		uint64_t n = epoch_length_ns(&e);
		cost = 2 * MS + n / 20;
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .full = true, .pause_ns = cost });
	}
	assert_in_range(cost, limits.target_ns / 2, limits.target_ns);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_with_a_second),
		cmocka_unit_test(cheap_checkpoints_become_rare),
		cmocka_unit_test(an_early_end_lengthens_nothing),
		cmocka_unit_test(a_dear_one_shortens_in_proportion),
		cmocka_unit_test(a_dear_early_one_shortens_too),
		cmocka_unit_test(between_half_and_all_nothing_moves),
		cmocka_unit_test(settles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
