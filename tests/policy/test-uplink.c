/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PATIENCE 200u
#define RETRY 5000u

static struct uplink
fresh(bool any, uint64_t now)
{
	struct uplink u;

	uplink_init(&u, PATIENCE, RETRY);
	uplink_carrier(&u, now, any);
	return u;
}

static void
test_lost_after_patience(void **state)
{
	struct uplink u = fresh(true, 10);

	assert_false(uplink_tick(&u, 10000));
	assert_true(uplink_deadline(&u) == UINT64_MAX);
	uplink_carrier(&u, 20000, false);
	assert_int_equal(uplink_deadline(&u), 20000 + PATIENCE);
	assert_false(uplink_is_lost(&u, 20000 + PATIENCE - 1));
	assert_false(uplink_tick(&u, 20000 + PATIENCE - 1));
	assert_true(uplink_is_lost(&u, 20000 + PATIENCE));
	assert_true(uplink_tick(&u, 20000 + PATIENCE));
}

static void
test_flap_begins_anew(void **state)
{
	struct uplink u = fresh(true, 0);

	uplink_carrier(&u, 100, false);
	uplink_carrier(&u, 250, true);
	uplink_carrier(&u, 280, false);
	assert_false(uplink_tick(&u, 100 + PATIENCE));
	assert_false(uplink_tick(&u, 280 + PATIENCE - 1));
	assert_true(uplink_tick(&u, 280 + PATIENCE));
}

/* The kernel tells of many changes that are none. */
static void
test_no_change_does_not_prolong(void **state)
{
	struct uplink u = fresh(true, 0);

	uplink_carrier(&u, 100, false);
	uplink_carrier(&u, 250, false);
	assert_true(uplink_tick(&u, 100 + PATIENCE));
}

static void
test_asks_again_while_lost(void **state)
{
	struct uplink u = fresh(true, 0);

	uplink_carrier(&u, 100, false);
	assert_true(uplink_tick(&u, 300));
	assert_false(uplink_tick(&u, 301));
	assert_int_equal(uplink_deadline(&u), 300 + RETRY);
	assert_true(uplink_tick(&u, 300 + RETRY));
	uplink_carrier(&u, 300 + RETRY + 1, true);
	assert_false(uplink_tick(&u, 300 + 2 * RETRY));
	assert_true(uplink_deadline(&u) == UINT64_MAX);
}

static void
test_never_there_is_not_lost(void **state)
{
	struct uplink u = fresh(false, 0);

	assert_false(uplink_is_lost(&u, 1000000));
	assert_false(uplink_tick(&u, 1000000));
	assert_true(uplink_deadline(&u) == UINT64_MAX);
	uplink_carrier(&u, 1000000, true);
	uplink_carrier(&u, 1000001, false);
	assert_true(uplink_tick(&u, 1000001 + PATIENCE));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_after_patience),
		cmocka_unit_test(test_flap_begins_anew),
		cmocka_unit_test(test_no_change_does_not_prolong),
		cmocka_unit_test(test_asks_again_while_lost),
		cmocka_unit_test(test_never_there_is_not_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
