/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: as few checkpoints as possible, none of them dear.
 *
 * While both copies send the same, a checkpoint releases nothing: it stops the primary, then the copy, and whoever asks the guest something in the meantime waits.
 * So epochs should be long. But the pages that a guest dirties in an epoch are the size of the checkpoint at its end, and when the copies do differ, output waits
 * for just that checkpoint: for pause and transfer, and what is compared after it for the copy, which stands for the load. Each of these two is
 *
 *   cost = base + per_byte * bytes      bytes = rate * length
 *
 * The first is the hosts': device state, round trip, a busy host, and how fast memory is copied; it stays what it is, whatever the guest does. It is fitted to the
 * last checkpoints, those that somebody asked for early included: least squares, each checkpoint counting FADE times as much as the one after it. Pause and load are
 * fitted apart: how long a load takes varies by far more where the standby's host is busy, and what is fitted to that tells little of what a byte costs. The second
 * is the guest's and is another one whenever its load is. So it is what was counted lately, an epoch having at least RATE_WEIGHT of the say: the first checkpoint
 * of a load that begins, small as it may be beside what an idle guest's long epochs have told, is enough to know better. What follows is
 *
 *   length = (target - base) / (per_byte * rate)      as long as the target lets it be, for the dearer one, or
 *   length = |bases| / (|per_bytes| * rate)           where a base alone is near the target or above it: shorter epochs would mean more checkpoints of nearly
 *                                                     the same cost. (The time lost to checkpoints, the sum of both costs' squares / length, is least here.)
 *
 * whichever is longer; and, up to a second, never shorter than twice what the copy stands for a load: a copy that mostly stands answers nothing that could be compared,
 * and one whose host is busy is not helped by more to do. A guest that writes nothing gets the longest that is allowed. A step makes epochs half as long again at most, and half as long, so that a
 * single odd measurement moves little; but after a checkpoint that cost more than the target, or that shows another load, they become as short as they have to be. While checkpoints are all
 * of one size there is nothing to fit: per_byte stays what it was, and what they cost otherwise counts as the base, which moves the length, and so the size.
 *
 * How much a guest writes is known only at a checkpoint, and in ten seconds a load that has begun writes much. But what it sends is seen at once, and so is how
 * much CPU time it takes, without which it writes nothing: when either is several times what it was, the epoch is not to be waited for, and what was counted before
 * says nothing of the load that has begun.
 */
#include "checkpoint/epoch-length.h"

#include <glib.h>
#include <math.h>

#define FIRST_NS 1000000000ull	/* nothing is known of the guest yet */
#define FADE (7.0 / 8)
#define EVENTS_MIN 32		/* a guest that rests says something now and then */
#define WORK_MIN_NS 100000000ull	/* what it may take for that: at 2 GB/s 200 MB are written in it */
#define MORE_TIMES 4
#define SPREAD_MIN 0.01		/* variance of the bytes, in squares of their mean, that a price can be read from */
#define RATE_WEIGHT 0.2
#define LOADS_SHARE 0.5		/* the copy stands for loads that much of the time at most */
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
fit(struct epoch_price *p, double bytes, double cost)
{
	double mean, spread;
	bool tells;

	p->n = p->n * FADE + 1;
	p->sum_b = p->sum_b * FADE + bytes;
	p->sum_c = p->sum_c * FADE + cost;
	p->sum_bb = p->sum_bb * FADE + bytes * bytes;
	p->sum_bc = p->sum_bc * FADE + bytes * cost;
	mean = p->sum_b / p->n;
	spread = p->sum_bb / p->n - mean * mean;
	tells = spread > SPREAD_MIN * mean * mean;
	if (tells)
		p->per_byte = (p->sum_bc / p->n - mean * p->sum_c / p->n) / spread;
	p->per_byte = MAX(PER_BYTE_MIN, p->per_byte);
	p->base = MAX(0, p->sum_c / p->n - p->per_byte * mean);
	return tells;
}

/* The most bytes that the target lets it have; negative where that is none. */
static double
bytes_for(const struct epoch_price *p, double target)
{
	return p->n > 0 ? (target - p->base) / p->per_byte : HUGE_VAL;
}

static double
mean_load(const struct epoch_length *e)
{
	return e->load.n > 0 ? e->load.sum_c / e->load.n : 0;
}

static double
best_bytes(const struct epoch_length *e)
{
	double most = MIN(bytes_for(&e->pause, (double)e->limits.target_ns), bytes_for(&e->load, (double)e->limits.target_ns));

	return MAX(most, hypot(e->pause.base, e->load.base) / hypot(e->pause.per_byte, e->load.per_byte));
}

/* True: nothing that was known before holds. */
static bool
count(struct epoch_length *e, const struct epoch_cost *c)
{
	double length = (double)c->epoch_ns, before = MIN(e->known_ns * FADE, length / RATE_WEIGHT - length);
	bool outdated = epoch_length_outdated(e, c->epoch_ns, c->events, c->work_ns);

	if (length <= 0)
		return false;
	if (outdated)
		before = 0;
	e->rate = (e->rate * before + (double)c->bytes) / (before + length);
	e->events = (e->events * before + (double)c->events) / (before + length);
	e->work = (e->work * before + (double)c->work_ns) / (before + length);
	e->known_ns = before + length;
	return outdated;
}

void
epoch_length_checkpoint(struct epoch_length *e, const struct epoch_cost *c)
{
	double now = (double)e->length_ns, wish = (double)e->limits.max_ns;

	if (fit(&e->pause, (double)c->bytes, (double)(c->pause_ns + c->commit_ns)) && c->pause_ns + c->commit_ns > e->limits.target_ns)
		e->dear = true;
	if (count(e, c))
		e->dear = true;
	if (e->rate > 0)
		wish = MAX(best_bytes(e) / e->rate, MIN(mean_load(e) / LOADS_SHARE, FIRST_NS));
	e->length_ns = clamp(e, CLAMP(wish, e->dear ? 0 : now / 2, now * 3 / 2));
	e->dear = false;
}

void
epoch_length_loaded(struct epoch_length *e, uint64_t bytes, uint64_t stop_ns)
{
	if (fit(&e->load, (double)bytes, (double)stop_ns) && stop_ns > e->limits.target_ns)
		e->dear = true;
}

uint64_t
epoch_length_ns(const struct epoch_length *e)
{
	return e->length_ns;
}

/* Of what there was so much: at least so much, and several times what is usual? */
static bool
is_more(uint64_t seen, uint64_t least, double usual)
{
	return seen >= least && (double)seen > MORE_TIMES * usual;
}

bool
epoch_length_outdated(const struct epoch_length *e, uint64_t epoch_ns, uint64_t events, uint64_t work_ns)
{
	double length = (double)epoch_ns;

	return e->length_ns > FIRST_NS && (is_more(events, EVENTS_MIN, e->events * length) || is_more(work_ns, WORK_MIN_NS, e->work * length));
}
