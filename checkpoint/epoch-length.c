/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: as few checkpoints as possible, none of them dear.
 *
 * While both copies send the same, a checkpoint releases nothing: it stops the primary, then the copy, and whoever asks the guest something in the meantime waits.
 * So epochs should be long. But the pages that a guest dirties in an epoch are the size of the checkpoint at its end, and when the copies do differ, output waits
 * for just that checkpoint: pause and transfer, or the copy's load for what is compared after it, whichever is longer. That is the cost.
 *
 *   cost = base + per_byte * bytes      bytes = rate * length
 *
 * The first is the hosts': device state, round trip, a busy host, and how fast memory is copied; it stays what it is, whatever the guest does. It is fitted to the
 * last checkpoints, those that somebody asked for early included: least squares, each checkpoint counting FADE times as much as the one after it. The second is the
 * guest's and is another one whenever its load is. So it is what was counted lately, an epoch having at least RATE_WEIGHT of the say: the first checkpoint
 * of a load that begins, small as it may be beside what an idle guest's long epochs have told, is enough to know better. What follows is
 *
 *   length = (target - base) / (per_byte * rate)      as long as the target lets it be, or
 *   length = base / (per_byte * rate)                 where the base alone is near the target or above it: shorter epochs would mean more checkpoints of nearly
 *                                                     the same cost. (The time lost to checkpoints, cost^2 / length, is least here.)
 *
 * whichever is longer. A guest that writes nothing gets the longest that is allowed. A step makes epochs half as long again at most, and half as long, so that a
 * single odd measurement moves little; but after a checkpoint that cost more than the target they become as short as they have to be. While checkpoints are all
 * of one size there is nothing to fit: per_byte stays what it was, and what they cost otherwise counts as the base, which moves the length, and so the size.
 *
 * How much a guest writes is known only at a checkpoint, and in ten seconds a load that has begun writes much. But what it sends is seen at once: when that is
 * several times what it was, the epoch is not to be waited for.
 */
#include "checkpoint/epoch-length.h"

#include <glib.h>

#define FIRST_NS 1000000000ull	/* nothing is known of the guest yet */
#define FADE (7.0 / 8)
#define EVENTS_MIN 32		/* a guest that rests says something now and then */
#define EVENTS_TIMES 4
#define SPREAD_MIN 0.01		/* variance of the bytes, in squares of their mean, that a price can be read from */
#define RATE_WEIGHT 0.2
#define PER_BYTE_MIN 0.25	/* ns: nothing goes through QEMU, a socket and us at more than 4 GB/s */

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

/* False: the checkpoints are too much alike to tell what a byte costs. */
static bool
fit(struct epoch_length *e, double bytes, double cost)
{
	double mean, spread;
	bool tells;

	e->n = e->n * FADE + 1;
	e->sum_b = e->sum_b * FADE + bytes;
	e->sum_c = e->sum_c * FADE + cost;
	e->sum_bb = e->sum_bb * FADE + bytes * bytes;
	e->sum_bc = e->sum_bc * FADE + bytes * cost;
	mean = e->sum_b / e->n;
	spread = e->sum_bb / e->n - mean * mean;
	tells = spread > SPREAD_MIN * mean * mean;
	if (tells)
		e->per_byte = (e->sum_bc / e->n - mean * e->sum_c / e->n) / spread;
	e->per_byte = MAX(PER_BYTE_MIN, e->per_byte);
	e->base = MAX(0, e->sum_c / e->n - e->per_byte * mean);
	return tells;
}

static void
count(struct epoch_length *e, double length, double bytes, double events)
{
	double before = MIN(e->known_ns * FADE, length / RATE_WEIGHT - length);

	if (length <= 0)
		return;
	e->rate = (e->rate * before + bytes) / (before + length);
	e->events = (e->events * before + events) / (before + length);
	e->known_ns = before + length;
}

void
epoch_length_checkpoint(struct epoch_length *e, const struct epoch_cost *c)
{
	double now = (double)e->length_ns, target = (double)e->limits.target_ns, wish = (double)e->limits.max_ns;
	double cost = (double)MAX(c->pause_ns + c->commit_ns, c->stop_ns);
	bool tells = fit(e, (double)c->bytes, cost);

	count(e, (double)c->epoch_ns, (double)c->bytes, (double)c->events);
	if (e->rate > 0)
		wish = MAX(target - e->base, e->base) / (e->per_byte * e->rate);
	e->length_ns = clamp(e, CLAMP(wish, tells && cost > target ? 0 : now / 2, now * 3 / 2));
}

uint64_t
epoch_length_ns(const struct epoch_length *e)
{
	return e->length_ns;
}

bool
epoch_length_outdated(const struct epoch_length *e, uint64_t epoch_ns, uint64_t events)
{
	return e->length_ns > FIRST_NS && events >= EVENTS_MIN && (double)events > EVENTS_TIMES * e->events * (double)epoch_ns;
}
