/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/wishes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S G_USEC_PER_SEC
#define VM1 "ef723547-8d90-4100-9621-92fa522b6f05"
#define VM2 "ef723547-8d90-4100-9621-92fa522b6f06"

/* Fails n times in a row, each attempt when it is due; the last wait, in seconds. */
static gint64
fail_times(struct wishes *w, unsigned n, gint64 *now)
{
	gint64 wait = 0;

	while (n-- > 0) {
		*now = wishes_due(w);
		wishes_begin(w);
		wait = wishes_end(w, WISH_FAILED, *now);
		assert_int_equal(wishes_due(w), *now + wait);
	}
	return wait / S;
}

static void
test_one_at_a_time(void **state)
{
	g_autoptr(wishes) w = wishes_new();

	assert_int_equal(wishes_due(w), -1);
	wishes_add(w, VM1, "vm1", "b", 10 * S);
	wishes_add(w, VM2, "vm2", "c", 11 * S);
	assert_int_equal(wishes_due(w), 13 * S);
	assert_string_equal(wishes_begin(w)->domain, "vm1");
	assert_string_equal(wishes_current(w)->peer, "b");
	assert_int_equal(wishes_due(w), -1);
	assert_int_equal(wishes_end(w, WISH_OVER, 20 * S), 0);
	assert_null(wishes_current(w));
	assert_int_equal(wishes_due(w), 14 * S);
	assert_string_equal(wishes_begin(w)->domain, "vm2");
	assert_int_equal(wishes_end(w, WISH_NOT_YET, 20 * S), S);
	assert_int_equal(wishes_due(w), 21 * S);
}

/* Later and later; at once when a host is there again, and from the beginning. */
static void
test_failures(void **state)
{
	g_autoptr(wishes) w = wishes_new();
	gint64 now = 0;

	wishes_add(w, VM1, "vm1", "b", now);
	assert_int_equal(fail_times(w, 1, &now), 2);
	assert_int_equal(fail_times(w, 2, &now), 8);
	assert_int_equal(fail_times(w, 10, &now), 60);
	wishes_hurry(w, now);
	assert_int_equal(wishes_due(w), now);
	assert_int_equal(fail_times(w, 1, &now), 2);
}

/* Looked for now and then: libvirt may start it at any time. */
static void
test_off(void **state)
{
	g_autoptr(wishes) w = wishes_new();

	wishes_add(w, VM1, "vm1", "b", 0);
	wishes_begin(w);
	assert_int_equal(wishes_end(w, WISH_OFF, 5 * S), 60 * S);
	assert_int_equal(wishes_due(w), 65 * S);
	wishes_hurry(w, 6 * S);
	assert_int_equal(wishes_due(w), 6 * S);
	assert_int_equal(wishes_dismiss(w, VM1), WISH_DISMISSED);
}

/* The pair was made, and has ended before that was known here. */
static void
test_renewed(void **state)
{
	g_autoptr(wishes) w = wishes_new();

	wishes_add(w, VM1, "vm1", "b", 0);
	wishes_begin(w);
	wishes_add(w, VM1, "vm1", "c", 5 * S);
	assert_int_equal(wishes_end(w, WISH_OVER, 5 * S), S);
	assert_int_equal(wishes_due(w), 6 * S);
	assert_string_equal(wishes_begin(w)->peer, "c");
	assert_int_equal(wishes_end(w, WISH_OVER, 6 * S), 0);
	assert_int_equal(wishes_due(w), -1);
}

/* An attempt that has begun a pair and failed ends a pair with the domain alone, which makes the wish anew: that is still a failure after those before. */
static void
test_failed_pair(void **state)
{
	g_autoptr(wishes) w = wishes_new();
	gint64 now = 0;

	wishes_add(w, VM1, "vm1", "b", now);
	assert_int_equal(fail_times(w, 3, &now), 8);
	now = wishes_due(w);
	wishes_begin(w);
	wishes_add(w, VM1, "vm1", "b", now);
	assert_int_equal(wishes_end(w, WISH_FAILED, now), 16 * S);
	now = wishes_due(w);
	wishes_begin(w);
	assert_int_equal(wishes_end(w, WISH_OVER, now), 0);
	assert_int_equal(wishes_due(w), -1);
}

/* `disable`, of a domain that is to be protected again. */
static void
test_dismissed(void **state)
{
	g_autoptr(wishes) w = wishes_new();
	gint64 now = 0;

	assert_int_equal(wishes_dismiss(w, VM1), WISH_NONE);
	wishes_add(w, VM1, "vm1", "b", now);
	wishes_add(w, VM2, "vm2", "b", now + S);
	wishes_begin(w);
	assert_int_equal(wishes_dismiss(w, VM1), WISH_BUSY);
	assert_string_equal(wishes_current(w)->uuid, VM1);
	wishes_end(w, WISH_FAILED, now);
	assert_int_equal(wishes_dismiss(w, VM1), WISH_DISMISSED);
	assert_int_equal(wishes_dismiss(w, VM1), WISH_NONE);
	assert_string_equal(wishes_begin(w)->uuid, VM2);
	wishes_end(w, WISH_OVER, now);
	assert_int_equal(wishes_dismiss(w, VM2), WISH_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_renewed),
		cmocka_unit_test(test_failed_pair),
		cmocka_unit_test(test_dismissed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
