/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which host of the pool gets a standby, and when to try again.
 *
 *  1. Only a host that answers, is not being emptied, and has nothing in the way of a standby of this domain.
 *  2. The one that had a copy of the domain before, because its images are there and need no further room;
 *  3. else the one with the fewest copies, primaries and standbys, so that a host's loss means little to the others;
 *  4. else the one with the most memory free; else the first one named.
 *  5. After a failure the next attempt comes later and later: what is in the way is seldom gone soon, and looking costs every host a bit.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct placement_host {
	const char *name;
	bool reachable, draining;
	bool fits;		/* nothing is in the way of a standby there */
	bool had_it;		/* the domain's other copy was there */
	unsigned copies;
	uint64_t memory_free;
};

int placement_choose(const struct placement_host *hosts, unsigned n);	/* an index; -1: none */
uint64_t placement_retry_ns(unsigned failures);			/* after that many in a row, at least one */
