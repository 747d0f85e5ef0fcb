/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: as few checkpoints as possible, none of them dear.
 *
 * While both copies send the same, a checkpoint releases nothing: it stops the primary, then the copy, and whoever asks the guest something in the meantime waits.
 * So epochs should be long. But the pages that a guest dirties in an epoch are the size of the checkpoint at its end, and when the copies do differ, output waits
 * for just that checkpoint: pause and transfer, or the copy's load for what is compared after it, whichever is longer. That is the cost.
 *
 *   cost = base + rate * length
 *
 * The base (device state, round trip, a busy host) is there however short epochs are; only the rest grows with them. Both are fitted to the last checkpoints, those
 * that somebody asked for early included: least squares, each checkpoint counting FADE times as much as the one after it. What follows is
 *
 *   length = (target - base) / rate      as long as the target lets it be, or
 *   length = base / rate                 where the base alone is near the target or above it: shorter epochs would mean more checkpoints of nearly the same
 *                                        cost. (The time lost to checkpoints, cost^2 / length, is least here.)
 *
 * whichever is longer. A guest whose cost does not grow gets the longest that is allowed. One step at most doubles the number of checkpoints or makes epochs half as
 * long again: a single odd measurement moves little, and while the length moves there is something to fit. When it rests the rate stays what it was; costs above
 * the target, or below half of it, then make it move, to see whether the rate is another one now.
 */
#include "checkpoint/epoch-length.h"

#include <glib.h>

#define FIRST_NS 1000000000ull	/* nothing is known of the guest yet */
#define FADE (7.0 / 8)
#define PROBE 0.75
#define SPREAD_MIN 0.01		/* variance of the lengths, in squares of their mean, that a rate can be read from */

static uint64_t
clamp(const struct epoch_length *e, double ns)
{
	return MIN((uint64_t)MAX(ns, (double)e->limits.min_ns), e->limits.max_ns);
}

void
epoch_length_init(struct epoch_length *e, const struct epoch_length_limits *limits)
{
	*e = (struct epoch_length){ .limits = *limits };
	e->length_ns = clamp(e, FIRST_NS);
}

/* False: the lengths are too much alike to tell a rate. */
static bool
fit(struct epoch_length *e, double length, double cost)
{
	double mean, spread;
	bool tells;

	e->n = e->n * FADE + 1;
	e->sum_l = e->sum_l * FADE + length;
	e->sum_c = e->sum_c * FADE + cost;
	e->sum_ll = e->sum_ll * FADE + length * length;
	e->sum_lc = e->sum_lc * FADE + length * cost;
	mean = e->sum_l / e->n;
	spread = e->sum_ll / e->n - mean * mean;
	tells = spread > SPREAD_MIN * mean * mean;
	if (tells)
		e->rate = MAX(0, (e->sum_lc / e->n - mean * e->sum_c / e->n) / spread);
	e->base = MAX(0, e->sum_c / e->n - e->rate * mean);
	return tells;
}

void
epoch_length_checkpoint(struct epoch_length *e, const struct epoch_cost *c)
{
	double now = (double)e->length_ns, target = (double)e->limits.target_ns, wish = (double)e->limits.max_ns;
	bool tells = fit(e, (double)c->epoch_ns, (double)MAX(c->pause_ns + c->commit_ns, c->stop_ns));

	if (!tells && e->sum_c / e->n > target)
		wish = now * PROBE;
	else if (!tells && e->sum_c / e->n < target / 2)
		wish = now / PROBE;
	else if (e->rate > 0)
		wish = MAX(target - e->base, e->base) / e->rate;
	e->length_ns = clamp(e, CLAMP(wish, now / 2, now * 3 / 2));
}

uint64_t
epoch_length_ns(const struct epoch_length *e)
{
	return e->length_ns;
}
