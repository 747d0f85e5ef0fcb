/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a pair has done since it was made, in a bounded number of equal spans of time: when they are used up, two become one. So the whole life of a pair is
 * kept, and the older it is the coarser. Pure.
 */
#pragma once

#include <stdint.h>

#define HISTORY_SPANS 512
#define HISTORY_FIRST_WIDTH_NS 1000000000ull	/* 512 spans: 8.5 min by 1 s, 17 min by 2 s, ..., a day by 4.3 min */

struct history_span {
	uint32_t epochs;		/* checkpoints made, on a standby loaded */
	uint64_t pause_total_ns, pause_max_ns;	/* of the guest, on a standby of the copy */
	uint64_t lag_max_ns;		/* of a commit, on a standby of a load */
	uint64_t bytes, same_bytes, committed_bytes, differences;
};

struct history_totals { uint64_t bytes, same_bytes, committed_bytes, differences; };	/* counters that only grow */

struct history {
	uint64_t origin, width;
	unsigned used;			/* spans up to the one that was written last */
	struct history_totals seen;	/* what is in the spans already */
	struct history_span spans[HISTORY_SPANS];
};

void history_init(struct history *h, uint64_t now);
void history_epoch(struct history *h, uint64_t now, uint64_t pause_ns, const struct history_totals *totals);
void history_lag(struct history *h, uint64_t now, uint64_t lag_ns);
