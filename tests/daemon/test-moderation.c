/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/moderation.h"

#define MS 1000000ull

struct load {
	struct moderation m;
	uint64_t now;
	unsigned events;
};

/* So many milliseconds at a rate; whether it was prompt at their end. */
static bool
prompt_after(struct load *l, unsigned ms, unsigned per_s, bool urgent)
{
	bool batches = false;

	for (unsigned i = 0; i < ms; i++) {
		l->now += MS;
		l->events += per_s / 1000;
		batches = moderation_step(&l->m, l->now, l->events, urgent);
	}
	return !batches;
}

static void
test_rates(void **state)
{
	struct load l = { .now = 1000000 * MS };

	assert_true(prompt_after(&l, 100, 1000, false));
	assert_true(prompt_after(&l, 100, 3000, false));
	assert_false(prompt_after(&l, 11, 5000, false));
	assert_false(prompt_after(&l, 100, 3000, false));	/* no flutter */
	assert_true(prompt_after(&l, 11, 1000, false));
	assert_true(prompt_after(&l, 100, 3000, false));
}

static void
test_urgent(void **state)
{
	struct load l = { .now = 1000000 * MS };

	assert_false(prompt_after(&l, 100, 20000, false));
	assert_true(prompt_after(&l, 1, 20000, true));
	assert_false(prompt_after(&l, 1, 20000, false));
}

static void
test_starved(void **state)
{
	struct load l = { .now = 1000000 * MS };

	assert_false(prompt_after(&l, 100, 20000, false));
	moderation_starved(&l.m, l.now);
	assert_true(prompt_after(&l, 999, 20000, false));
	assert_false(prompt_after(&l, 1, 20000, false));
}

static void
test_wraps(void **state)
{
	struct load l = { .m = { .since = 1000000 * MS, .events = UINT32_MAX - 100 }, .now = 1000000 * MS, .events = UINT32_MAX - 100 };

	for (unsigned ms = 0; ms < 200; ms++)
		assert_true(prompt_after(&l, 1, 1000, false));
	assert_true(l.events < 100);
}

static void
test_patience(void **state)
{
	assert_int_equal(moderation_patience_ms(150, 20), 25);
	assert_int_equal(moderation_patience_ms(60000, 20), 25);
	assert_int_equal(moderation_patience_ms(60, 5), 10);
	assert_int_equal(moderation_patience_ms(60, 10), 0);	/* a heartbeat takes as long */
	assert_int_equal(moderation_patience_ms(60000, 1000), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_wraps),
		cmocka_unit_test(test_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
