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

/* A guest with cost = base + length / per; the last of n checkpoints' cost. */
static uint64_t
run(struct epoch_length *e, unsigned n, uint64_t base, uint64_t per, uint64_t (*noise)(unsigned i))
{
	uint64_t cost = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t length = epoch_length_ns(e);
		cost = base + (per ? length / per : 0) + (noise ? noise(i) : 0);
		epoch_length_checkpoint(e, &(struct epoch_cost){ .epoch_ns = length, .bytes = per ? length / per : 0, .pause_ns = cost });
	}
	return cost;
}

static void
cheap_checkpoints_become_rare(void **state)
{
	struct epoch_length e = fresh();

	run(&e, 8, 10 * MS, 0, NULL);
	assert_int_equal(epoch_length_ns(&e), 10 * S);
}

/* A busy host: more checkpoints would not be cheaper ones. */
static void
a_dear_base_shortens_nothing(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 200; i++) {
		run(&e, 1, 60 * MS, 0, NULL);
		assert_true(i < 8 || epoch_length_ns(&e) >= 5 * S);
	}
}

static uint64_t
any(unsigned i)
{
	return (i * 7919u + 13) % 97 * MS / 2;
}

static void
noise_shortens_little(void **state)
{
	struct epoch_length e = fresh();

	run(&e, 300, 10 * MS, 0, any);
	assert_true(epoch_length_ns(&e) >= 2 * S);
}

/* 50 MB/s dirtied, 1 GB/s carried. */
static void
costs_that_grow_are_kept_to_the_target(void **state)
{
	struct epoch_length e = fresh();
	uint64_t cost = run(&e, 40, 2 * MS, 20, NULL);

	assert_in_range(cost, limits.target_ns * 9 / 10, limits.target_ns * 11 / 10);
}

/* The target is below what any checkpoint costs: base / rate. */
static void
a_target_out_of_reach(void **state)
{
	struct epoch_length e = fresh();

	run(&e, 60, 40 * MS, 20, NULL);
	assert_in_range(epoch_length_ns(&e), 700 * MS, 900 * MS);
}

/* Each of the costs counts. */
static void
every_cost_counts(void **state)
{
	for (unsigned which = 0; which < 3; which++) {
		struct epoch_length e = fresh();

		for (unsigned i = 0; i < 40; i++) {
			uint64_t n = epoch_length_ns(&e), c = 2 * MS + n / 20;
			epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 20, .pause_ns = which == 0 ? c : MS, .commit_ns = which == 1 ? c : 0 });
			epoch_length_loaded(&e, n / 20, which == 2 ? c : MS);
		}
		assert_in_range(epoch_length_ns(&e), 300 * MS, 400 * MS);
	}
}

/* A standby's host that is busy: the copy stands for 50 to 450 ms, whatever it loads. 50 MB/s, carried at 400 MB/s: epochs of 10 s would be pauses of 1250 ms. */
static void
a_busy_standby_hides_no_price(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 300; i++) {
		uint64_t n = epoch_length_ns(&e);
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 20, .pause_ns = 5 * MS + n / 8 + any(i) / 10 });
		epoch_length_loaded(&e, n / 20, 50 * MS + any(i * 31) * 8);
		assert_true(i < 10 || epoch_length_ns(&e) < 2500 * MS);
	}
}

/* Its host is so busy that it loads every third checkpoint with the one before, which takes twice as long: as if each byte had its price, and nothing else. */
static void
the_copy_runs_half_the_time(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 300; i++) {
		uint64_t n = epoch_length_ns(&e);
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 2, .pause_ns = n / 8 });
		if (i % 3 == 2)
			epoch_length_loaded(&e, n, 200 * MS);
		else if (i % 3 == 0)
			epoch_length_loaded(&e, n / 2, 100 * MS);
		assert_true(i < 10 || n >= 250 * MS);
	}
}

/* It does not load as fast as the guest writes. Then each checkpoint takes as long as the epoch before it: none of ten seconds. */
static void
a_copy_that_falls_behind(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 300; i++) {
		uint64_t n = epoch_length_ns(&e);
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 2, .pause_ns = n / 8 });
		epoch_length_loaded(&e, n / 2, n + any(i) / 10);
		assert_true(i < 10 || n <= S);
	}
}

/* What the copy loads at once, though it was sent in pieces, is what its load is the price of. */
static void
loads_have_their_own_size(void **state)
{
	struct epoch_length one = fresh(), two = fresh();

	for (unsigned i = 0; i < 200; i++) {
		uint64_t n = 100 * MS + i % 3 * 50 * MS;
		for (unsigned j = 0; j < 2; j++) {
			epoch_length_checkpoint(&one, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 20, .pause_ns = MS });
			epoch_length_checkpoint(&two, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 20, .pause_ns = MS });
			epoch_length_loaded(&one, n / 20, MS + n / 20);
		}
		epoch_length_loaded(&two, n / 10, MS + n / 10);
	}
	assert_in_range(epoch_length_ns(&two), epoch_length_ns(&one) * 9 / 10, epoch_length_ns(&one) * 11 / 10);
}

/* Epochs that somebody ended early tell the base. */
static void
early_ends_are_read_too(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 60; i++) {
		uint64_t n = i % 3 ? 10 * MS : epoch_length_ns(&e);
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 40, .pause_ns = 4 * MS + n / 40 });
	}
	assert_in_range(epoch_length_ns(&e), 600 * MS, 680 * MS);
}

static void
follows_a_guest_that_changes(void **state)
{
	struct epoch_length e = fresh();
	uint64_t cost;

	run(&e, 20, 5 * MS, 0, NULL);
	assert_int_equal(epoch_length_ns(&e), 10 * S);
	cost = run(&e, 80, 2 * MS, 20, NULL);
	assert_true(cost <= 2 * limits.target_ns);
	run(&e, 80, 5 * MS, 0, NULL);
	assert_int_equal(epoch_length_ns(&e), 10 * S);
}

/* However long nothing was to be done: a load's first checkpoint, made early, tells what the next one may cost. */
static void
a_load_that_begins_is_known_at_once(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 60; i++)	/* some pages, and the same ones, however long it takes */
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .bytes = 500000 + i % 7 * 50000, .pause_ns = 3 * MS + i % 5 * MS });
	assert_int_equal(epoch_length_ns(&e), 10 * S);
	for (unsigned i = 0; i < 4; i++)	/* 50 MB/s, and a difference every 300 ms */
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = 300 * MS, .bytes = 15000000, .pause_ns = 18 * MS, .commit_ns = 15 * MS });
	assert_in_range(epoch_length_ns(&e), 100 * MS, 300 * MS);
}

/* What a few pages written all the time look like if somebody asks for a checkpoint every 10 ms: each of these is small, and so would a long epoch's be. */
static void
a_few_pages_written_all_the_time_are_no_load(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 200; i++) {
		uint64_t n = i % 40 ? 10 * MS : epoch_length_ns(&e);
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = 400000 + n / 10000, .pause_ns = 3 * MS });
	}
	for (unsigned i = 0; i < 12; i++)
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .bytes = 500000, .pause_ns = 3 * MS });
	assert_true(epoch_length_ns(&e) >= 5 * S);
}

static void
a_guest_that_wakes_up_is_noticed(void **state)
{
	struct epoch_length e = fresh();

	assert_false(epoch_length_outdated(&e, 900 * MS, 1000, 0));	/* nothing is known, and nothing was promised */
	for (unsigned i = 0; i < 20; i++)
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .bytes = 500000, .pause_ns = 3 * MS, .events = epoch_length_ns(&e) / S });
	assert_int_equal(epoch_length_ns(&e), 10 * S);
	assert_false(epoch_length_outdated(&e, 1 * MS, 31, 0));
	assert_true(epoch_length_outdated(&e, 1 * S, 32, 0));
	assert_false(epoch_length_outdated(&e, 9 * S, 33, 0));
	assert_true(epoch_length_outdated(&e, 9 * S, 40, 0));
	for (unsigned i = 0; i < 4; i++)	/* it goes on like that, and writes little */
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = 300 * MS, .bytes = 600000, .pause_ns = 3 * MS, .events = 32 });
	assert_false(epoch_length_outdated(&e, 9 * S, 960, 0));
}

/* It works, and says nothing: what it writes meanwhile is not known before the next checkpoint. */
static void
a_guest_that_begins_to_work_is_noticed(void **state)
{
	struct epoch_length e = fresh();

	for (unsigned i = 0; i < 20; i++)	/* a hundredth of a CPU */
		epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .bytes = 500000, .pause_ns = 3 * MS, .work_ns = epoch_length_ns(&e) / 100 });
	assert_int_equal(epoch_length_ns(&e), 10 * S);
	assert_false(epoch_length_outdated(&e, 200 * MS, 0, 99 * MS));
	assert_true(epoch_length_outdated(&e, 200 * MS, 0, 100 * MS));
	assert_false(epoch_length_outdated(&e, 9 * S, 0, 350 * MS));
	assert_true(epoch_length_outdated(&e, 9 * S, 0, 370 * MS));
}

/* 50 MB/s, carried at 400 MB/s, from one moment to the next, where all of an epoch would take 1250 ms: however much CPU time that takes, none of its checkpoints costs
 * much more than the target. */
static void
no_checkpoint_of_a_load_that_begins_is_dear(void **state)
{
	for (unsigned tenths = 3; tenths <= 20; tenths++) {
		struct epoch_length e = fresh();

		for (unsigned i = 0; i < 60; i++)
			epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = epoch_length_ns(&e), .bytes = 500000, .pause_ns = 3 * MS, .work_ns = epoch_length_ns(&e) / 100 });
		for (unsigned i = 0; i < 20; i++) {
			uint64_t n = 0, cost;
			while (n < epoch_length_ns(&e) && !epoch_length_outdated(&e, n, 0, n * tenths / 10))
				n += 22 * MS;
			cost = 3 * MS + n / 8;
			assert_true(cost <= 50 * MS);
			assert_true(i < 5 || cost <= 25 * MS);
			epoch_length_checkpoint(&e, &(struct epoch_cost){ .epoch_ns = n, .bytes = n / 20, .pause_ns = cost, .work_ns = n * tenths / 10 });
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_with_a_second),
		cmocka_unit_test(cheap_checkpoints_become_rare),
		cmocka_unit_test(a_dear_base_shortens_nothing),
		cmocka_unit_test(noise_shortens_little),
		cmocka_unit_test(costs_that_grow_are_kept_to_the_target),
		cmocka_unit_test(a_target_out_of_reach),
		cmocka_unit_test(every_cost_counts),
		cmocka_unit_test(a_busy_standby_hides_no_price),
		cmocka_unit_test(the_copy_runs_half_the_time),
		cmocka_unit_test(a_copy_that_falls_behind),
		cmocka_unit_test(loads_have_their_own_size),
		cmocka_unit_test(early_ends_are_read_too),
		cmocka_unit_test(follows_a_guest_that_changes),
		cmocka_unit_test(a_load_that_begins_is_known_at_once),
		cmocka_unit_test(a_guest_that_wakes_up_is_noticed),
		cmocka_unit_test(a_guest_that_begins_to_work_is_noticed),
		cmocka_unit_test(no_checkpoint_of_a_load_that_begins_is_dear),
		cmocka_unit_test(a_few_pages_written_all_the_time_are_no_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
