/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/liveness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define BEAT (20 * MS)
#define LIMIT (150 * MS)
#define T0 (1000 * MS)

static struct liveness
started(void)
{
	struct liveness l;

	liveness_init(&l, T0, BEAT, LIMIT);
	return l;
}

/* Looks whenever it is asked to, until `until`; returns the time of LOST or 0. */
static uint64_t
watch(struct liveness *l, uint64_t until)
{
	for (uint64_t now = liveness_deadline(l); now <= until; now = liveness_deadline(l)) {
		liveness_beat_due(l, now);
		if (liveness_check(l, now) == LIVENESS_LOST)
			return now;
	}
	return 0;
}

static void
test_silence_is_lost_at_the_limit(void **state)
{
	struct liveness l = started();

	assert_int_equal(watch(&l, T0 + 10 * LIMIT), T0 + LIMIT);
}

static void
test_heard_keeps_alive(void **state)
{
	struct liveness l = started();

	for (uint64_t t = T0; t < T0 + 20 * LIMIT; t += LIMIT - MS) {
		assert_int_equal(watch(&l, t), 0);
		liveness_heard(&l, t);
	}
	liveness_heard(&l, T0);	/* an older stamp takes nothing back */
	assert_int_equal(watch(&l, T0 + 20 * LIMIT), 0);
}

static void
test_lost_is_final(void **state)
{
	struct liveness l = started();

	watch(&l, T0 + 2 * LIMIT);
	liveness_heard(&l, T0 + 2 * LIMIT);
	assert_int_equal(liveness_check(&l, T0 + 2 * LIMIT), LIVENESS_LOST);
	assert_int_equal(liveness_deadline(&l), UINT64_MAX);
	assert_false(liveness_beat_due(&l, T0 + 3 * LIMIT));
}

static void
test_our_own_pause_is_not_the_peers_silence(void **state)
{
	struct liveness l = started();
	uint64_t woke = T0 + 40 * LIMIT;

	assert_int_equal(liveness_check(&l, woke), LIVENESS_ALIVE);
	assert_int_equal(liveness_check(&l, woke + LIMIT / 2 - 1), LIVENESS_ALIVE);
	assert_int_equal(liveness_check(&l, woke + LIMIT / 2), LIVENESS_LOST);

	l = started();
	assert_int_equal(liveness_check(&l, woke), LIVENESS_ALIVE);
	liveness_heard(&l, woke + MS);	/* it was in the socket all the time */
	assert_int_equal(watch(&l, woke + 10 * LIMIT), woke + MS + LIMIT);
}

static void
test_a_short_pause_takes_nothing_from_the_peer(void **state)
{
	struct liveness l = started();

	liveness_heard(&l, T0 + 90 * MS);
	liveness_check(&l, T0 + 100 * MS);	/* slept for more than half the limit, but the peer was heard a moment ago */
	assert_int_equal(watch(&l, T0 + 10 * LIMIT), T0 + 90 * MS + LIMIT);
}

static void
test_beats(void **state)
{
	struct liveness l = started();
	unsigned beats = 0;

	assert_false(liveness_beat_due(&l, T0));
	assert_false(liveness_beat_due(&l, T0 - MS));	/* a clock that seems to go back is no time passed */
	for (uint64_t t = T0; t <= T0 + 100 * MS; t += MS)
		beats += liveness_beat_due(&l, t);
	assert_int_equal(beats, 5);
	assert_true(liveness_deadline(&l) <= T0 + 120 * MS);
}

/* Ours goes back with theirs when it would be due soon, and the next one by the timer is that much later. */
static void
test_an_answer_takes_the_place_of_a_beat(void **state)
{
	struct liveness l = started();

	assert_false(liveness_answer_due(&l, T0 + 14 * MS));
	assert_true(liveness_answer_due(&l, T0 + 15 * MS));
	assert_false(liveness_answer_due(&l, T0 + 16 * MS));
	assert_false(liveness_beat_due(&l, T0 + 34 * MS));
	assert_true(liveness_beat_due(&l, T0 + 35 * MS));
	watch(&l, T0 + 2 * LIMIT);
	assert_false(liveness_answer_due(&l, T0 + 3 * LIMIT));
}

/* However long a frame travels: answers to answers are no storm. */
static void
test_answers_are_no_storm(void **state)
{
	for (uint64_t way = 0; way <= 2 * BEAT; way += MS) {
		struct liveness l[2] = { started(), started() };
		uint64_t arrives[2][64] = { 0 };	/* at either side; what travels at once is less than that */
		unsigned sent[2] = { 0 }, came[2] = { 0 };

		for (uint64_t now = T0; now < T0 + 50 * BEAT; now += MS)
			for (unsigned i = 0; i < 2; i++) {
				bool send = false;

				while (came[i] < sent[!i] && arrives[i][came[i] % 64] <= now) {
					came[i]++;
					send |= liveness_answer_due(&l[i], now);
				}
				if (send || liveness_beat_due(&l[i], now))
					arrives[!i][sent[i]++ % 64] = now + way;
			}
		assert_in_range(sent[0], 48, 67);
		assert_in_range(sent[1], 48, 67);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silence_is_lost_at_the_limit),
		cmocka_unit_test(test_heard_keeps_alive),
		cmocka_unit_test(test_lost_is_final),
		cmocka_unit_test(test_our_own_pause_is_not_the_peers_silence),
		cmocka_unit_test(test_a_short_pause_takes_nothing_from_the_peer),
		cmocka_unit_test(test_beats),
		cmocka_unit_test(test_an_answer_takes_the_place_of_a_beat),
		cmocka_unit_test(test_answers_are_no_storm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
