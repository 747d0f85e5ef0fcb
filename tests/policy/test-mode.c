/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/mode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SECOND 1000000000ull
#define LOOK (SECOND / 2)

struct pair {
	struct mode_state m;
	struct mode_counts c;
	uint64_t now;
};

/* `looks` times half a second in which this happened. */
static void
pass(struct pair *p, unsigned looks, struct mode_counts each)
{
	for (unsigned i = 0; i < looks; i++) {
		p->now += LOOK;
		p->c.same += each.same;
		p->c.committed += each.committed;
		p->c.forced += each.forced;
		p->c.stopped_ns += each.stopped_ns;
		mode_look(&p->m, p->now, &p->c);
	}
}

static const struct mode_counts good = { .same = 50, .committed = 2, .forced = 1 };
static const struct mode_counts storm = { .same = 10, .committed = 40, .forced = 20 };
static const struct mode_counts share = { .same = 10, .committed = 40 };
static const struct mode_counts lag = { .same = 50, .stopped_ns = 300000000 };
static const struct mode_counts quiet = { .committed = 3, .forced = 2 };

static void
assert_mode(const struct pair *p, enum mode mode, enum mode_reason reason)
{
	assert_string_equal(mode_name(p->m.mode), mode_name(mode));
	assert_string_equal(mode_reason_name(p->m.reason), mode_reason_name(reason));
}

static void
test_configured(void **state)
{
	struct pair p = { 0 };

	mode_init(&p.m, 0, MODE_PASSIVE);
	assert_mode(&p, MODE_PASSIVE, MODE_REASON_CONFIGURED);
	assert_true(p.m.look_at == UINT64_MAX);
	pass(&p, 1000, good);
	assert_mode(&p, MODE_PASSIVE, MODE_REASON_CONFIGURED);
	mode_set(&p.m, p.now, MODE_COLO);
	pass(&p, 1000, storm);
	assert_mode(&p, MODE_COLO, MODE_REASON_CONFIGURED);
	mode_set(&p.m, p.now, MODE_AUTO);
	assert_mode(&p, MODE_COLO, MODE_REASON_COMPARING_PAYS);
}

static void
test_gives_up_and_why(void **state)
{
	static const struct { const struct mode_counts *each; enum mode_reason reason; } cases[] = {
		{ &storm, MODE_REASON_STORM }, { &share, MODE_REASON_SHARE }, { &lag, MODE_REASON_LAG },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct pair p = { 0 };

		mode_init(&p.m, 0, MODE_AUTO);
		pass(&p, 3, *cases[i].each);
		assert_mode(&p, MODE_COLO, MODE_REASON_COMPARING_PAYS);	/* a moment is none */
		pass(&p, 1, *cases[i].each);
		assert_mode(&p, MODE_PASSIVE, cases[i].reason);
	}
}

static void
test_does_not_flap(void **state)
{
	struct pair p = { 0 };

	mode_init(&p.m, 0, MODE_AUTO);
	for (unsigned i = 0; i < 200; i++) {	/* now and then a bad second */
		pass(&p, 2, storm);
		pass(&p, 3, good);
	}
	assert_mode(&p, MODE_COLO, MODE_REASON_COMPARING_PAYS);
	pass(&p, 500, quiet);			/* proves nothing */
	assert_mode(&p, MODE_COLO, MODE_REASON_COMPARING_PAYS);
}

/* Rests of 10, 20, 40 ... 320 s, each ended by a trial; one that lasts makes it 10 s again. */
static void
test_trials(void **state)
{
	static const unsigned rests[] = { 10, 20, 40, 80, 160, 320, 320 };
	struct pair p = { 0 };

	mode_init(&p.m, 0, MODE_AUTO);
	pass(&p, 4, storm);
	for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
		pass(&p, 2 * rests[i] - 1, share);	/* what leaves in passive mode says nothing */
		assert_int_equal(p.m.mode, MODE_PASSIVE);
		pass(&p, 1, share);
		assert_mode(&p, MODE_COLO, MODE_REASON_TRIAL);
		pass(&p, 4, storm);
		assert_mode(&p, MODE_PASSIVE, MODE_REASON_STORM);
	}
	pass(&p, 2 * 320, share);
	pass(&p, 2 * 30, good);
	assert_mode(&p, MODE_COLO, MODE_REASON_COMPARING_PAYS);
	pass(&p, 4, storm);
	pass(&p, 2 * 10, share);
	assert_mode(&p, MODE_COLO, MODE_REASON_TRIAL);
}

static void
test_names(void **state)
{
	enum mode mode;

	for (unsigned i = 0; i < MODE_LAST; i++) {
		assert_true(mode_from_name(mode_name(i), &mode));
		assert_int_equal(mode, i);
	}
	assert_false(mode_from_name("colossal", &mode));
	for (unsigned i = 0; i < MODE_REASON_LAST; i++)
		assert_non_null(mode_reason_text(i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configured),	cmocka_unit_test(test_gives_up_and_why), cmocka_unit_test(test_does_not_flap),
		cmocka_unit_test(test_trials),		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
