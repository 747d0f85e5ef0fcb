/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long an epoch may last when nothing asks for a checkpoint: see epoch-length.c. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct epoch_length_limits {
	uint64_t min_ns, max_ns;	/* the answer is never outside of these; max_ns counts more */
	uint64_t target_ns;		/* what a checkpoint may cost whoever waits for it */
};

/* cost = base + per_byte * bytes */
struct epoch_price {
	double n, sum_b, sum_c, sum_bb, sum_bc;	/* of bytes and costs in ns, faded */
	double base, per_byte;
};

struct epoch_length {
	struct epoch_length_limits limits;
	uint64_t length_ns;
	struct epoch_price pause, load;
	bool dear;				/* the last one cost more than the target, or is the first of another load */
	double rate, known_ns;			/* bytes = rate * length, as of that much time */
	double events, work;			/* ... and events = events * length, work_ns = work * length */
};

/* One checkpoint that the standby has. */
struct epoch_cost {
	uint64_t epoch_ns;		/* length of its epoch */
	uint64_t bytes;			/* memory that QEMU had to go through for it */
	uint64_t events;		/* what was seen of the guest in it: packets and disk writes */
	uint64_t work_ns;		/* CPU time that its QEMU took in it */
	uint64_t pause_ns;		/* the primary stood */
	uint64_t commit_ns;		/* from its last byte to the standby's commit: output that waits for it waits so long */
};

void epoch_length_init(struct epoch_length *e, const struct epoch_length_limits *limits);
void epoch_length_checkpoint(struct epoch_length *e, const struct epoch_cost *cost);
/* The copy has loaded so many bytes, of one checkpoint or several, and stood so long for it: output that waits to be compared waits so long. */
void epoch_length_loaded(struct epoch_length *e, uint64_t bytes, uint64_t stop_ns);
uint64_t epoch_length_ns(const struct epoch_length *e);
/* After so much time of an epoch, with so many events and so much work: the guest does much more than it did when its bytes were counted, so the length is not to be
 * relied on. */
bool epoch_length_outdated(const struct epoch_length *e, uint64_t epoch_ns, uint64_t events, uint64_t work_ns);
