/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: as few checkpoints as possible, none of them dear.
 *
 * While both copies send the same, a checkpoint releases nothing: it stops the primary, then the copy, and whoever asks the guest something in the meantime waits.
 * So epochs should be long. But the pages that a guest dirties in an epoch are the size of the checkpoint at its end, and when the copies do differ, output waits
 * for just that checkpoint: pause and transfer, or the copy's load for what is compared after it, whichever is longer. That is the cost.
 *
 * The length follows the cost: one above the target shortens the epoch in proportion, one below half of it makes a full epoch half as long again. In between
 * nothing moves: no swinging. Cost does not fall below what device state and round trip take, so the length does not fall below min_ns however small the target is.
 * An epoch that somebody else ended early tells nothing about a longer one, so it never makes them longer.
 *
 * That keeps the share of slow answers small at both ends: with cheap checkpoints they are rare (at 10 s and 10 ms, one answer in a thousand), with dear ones
 * they are frequent, and take about the target.
 */
#include "checkpoint/epoch-length.h"

#include <glib.h>

#define FIRST_NS 1000000000ull	/* nothing is known of the guest yet */

static uint64_t
clamp(const struct epoch_length *e, uint64_t ns)
{
	return MIN(MAX(ns, e->limits.min_ns), e->limits.max_ns);
}

void
epoch_length_init(struct epoch_length *e, const struct epoch_length_limits *limits)
{
	*e = (struct epoch_length){ .limits = *limits };
	e->length_ns = clamp(e, FIRST_NS);
}

void
epoch_length_checkpoint(struct epoch_length *e, const struct epoch_cost *c)
{
	uint64_t cost = MAX(c->pause_ns + c->commit_ns, c->stop_ns), target = e->limits.target_ns;

	if (cost > target)
		e->length_ns = clamp(e, MIN(e->length_ns, (uint64_t)((double)c->epoch_ns * (double)target / (double)cost)));
	else if (c->full && cost < target / 2)
		e->length_ns = clamp(e, e->length_ns + e->length_ns / 2);
}

uint64_t
epoch_length_ns(const struct epoch_length *e)
{
	return e->length_ns;
}
