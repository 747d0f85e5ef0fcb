/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/histogram.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ERROR 0.0626	/* a sixteenth of an octave */

static void
assert_close(double got, double want)
{
	if (fabs(got - want) > want * ERROR + 0.001)
		fail_msg("%g ms instead of %g ms", got, want);
}

static void
test_empty(void **state)
{
	struct histogram h = { 0 };

	assert_true(histogram_percentile_ms(&h, 50) == 0 && histogram_percentile_ms(&h, 100) == 0);
}

/* One value alone is every percentile, right to a sixteenth over the whole range. */
static void
test_single_values(void **state)
{
	for (double us = 1; us < 64e6; us *= 1.013) {
		struct histogram h = { 0 };

		histogram_record(&h, (uint64_t)(us * 1000));
		assert_close(histogram_percentile_ms(&h, 1), us / 1000);
		assert_close(histogram_percentile_ms(&h, 50), us / 1000);
		assert_close(histogram_percentile_ms(&h, 100), us / 1000);
		assert_true(histogram_percentile_ms(&h, 100) <= us / 1000);
	}
}

static int
compare(const void *a, const void *b)
{
	return (*(const uint64_t *)a > *(const uint64_t *)b) - (*(const uint64_t *)a < *(const uint64_t *)b);
}

static void
test_against_sorting(void **state)
{
	enum { N = 20000 };
	static uint64_t values[N];
	static const double percents[] = { 0.1, 1, 10, 50, 90, 99, 99.9, 100 };
	struct histogram h = { 0 };
	uint64_t x = 1;

	for (size_t i = 0; i < N; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		values[i] = (x >> 33) >> (x >> 60);	/* up to 2 s, spread over 16 octaves */
		values[i] += 1000;
		histogram_record(&h, values[i]);
	}
	qsort(values, N, sizeof values[0], compare);
	for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++)
		assert_close(histogram_percentile_ms(&h, percents[i]), (double)values[(size_t)ceil(N * percents[i] / 100) - 1] / 1e6);
	assert_int_equal(h.count, N);
	assert_int_equal(h.max_ns, values[N - 1]);
}

static void
test_extremes(void **state)
{
	static const uint64_t values[] = { 0, 1, 999, 1000, UINT64_MAX / 16, UINT64_MAX / 16 + 1, UINT64_MAX };
	struct histogram h = { 0 };

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
		histogram_record(&h, values[i]);
	assert_int_equal(h.count, 7);
	assert_true(h.max_ns == UINT64_MAX);
	assert_true(histogram_percentile_ms(&h, 1) <= 0.0011);
	assert_int_equal(h.bucket[HISTOGRAM_BUCKETS - 1], 3);	/* what is beyond the range is the longest, never the shortest */
	histogram_reset(&h);
	assert_int_equal(h.count, 0);
	assert_true(histogram_percentile_ms(&h, 100) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_single_values),
		cmocka_unit_test(test_against_sorting),
		cmocka_unit_test(test_extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
