/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/twin-lag.h"

#define MS 1000000ull

static void
test_nothing_seen(void **state)
{
	assert_int_equal(twin_lag_late(&(struct twin_lag){ 0 }), 0);
}

static void
test_the_longest_of_late_counts(void **state)
{
	struct twin_lag l = { 0 };

	for (uint64_t now = 0; now <= 1000 * MS; now += 10 * MS) {
		twin_lag_sample(&l, now, now % (100 * MS) == 50 * MS ? 40 * MS : MS);
		if (now >= 50 * MS)
			assert_in_range(twin_lag_late(&l), 40 * MS, 60 * MS);
	}
}

/* By half in half a second, nearly wholly in three; whether something is sent in the meantime or not. */
static void
test_it_is_forgotten(void **state)
{
	struct twin_lag l = { 0 }, quiet;

	twin_lag_sample(&l, 0, 100 * MS);
	assert_int_equal(twin_lag_late(&l), 150 * MS);
	quiet = l;
	for (uint64_t now = 0; now <= 500 * MS; now += 10 * MS)
		twin_lag_sample(&l, now, MS);
	assert_in_range(twin_lag_late(&l), 70 * MS, 80 * MS);
	twin_lag_sample(&quiet, 500 * MS, MS);
	assert_int_equal(twin_lag_late(&quiet), twin_lag_late(&l));
	twin_lag_sample(&quiet, 5000 * MS, MS);
	assert_int_equal(twin_lag_late(&quiet), 3 * MS / 2);
	twin_lag_sample(&quiet, 3600 * 1000 * MS, 0);
	assert_int_equal(twin_lag_late(&quiet), 0);
}

static void
test_a_wait_in_vain(void **state)
{
	struct twin_lag l = { 0 };

	twin_lag_sample(&l, 0, 100 * MS);
	twin_lag_in_vain(&l);
	assert_int_equal(twin_lag_late(&l), 75 * MS);
	for (unsigned i = 0; i < 64; i++)
		twin_lag_in_vain(&l);
	assert_int_equal(twin_lag_late(&l), 0);
}

static void
test_no_lag_is_too_long(void **state)
{
	struct twin_lag l = { 0 };

	twin_lag_sample(&l, 0, UINT64_MAX);
	assert_int_equal(twin_lag_late(&l), UINT64_MAX);
	twin_lag_sample(&l, UINT64_MAX, 0);
	assert_int_equal(twin_lag_late(&l), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_seen),
		cmocka_unit_test(test_the_longest_of_late_counts),
		cmocka_unit_test(test_it_is_forgotten),
		cmocka_unit_test(test_a_wait_in_vain),
		cmocka_unit_test(test_no_lag_is_too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
