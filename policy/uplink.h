/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Has this host lost the guests' LAN? One that has is a bad place for a primary whose standby's host has not: the pair is to be switched over.
 *
 *  1. The LAN is lost when no uplink has had a carrier for `patience`. A shorter gap is a link that negotiates.
 *  2. A switch-over that was refused, or a pair that came to be meanwhile, is asked for again every `retry`, as long as the LAN is lost.
 *  3. A LAN that was never there since we look is not lost: what has never worked is left as the administrator made it.
 *
 * Pure: the caller says when the carriers change and what the time is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct uplink {
	uint64_t patience_ns, retry_ns;
	bool seen, carrier;
	uint64_t lost_at;	/* !carrier: since when */
	uint64_t ask_at;	/* !carrier: when to ask for the next switch-over */
};

void uplink_init(struct uplink *u, uint64_t patience_ns, uint64_t retry_ns);
void uplink_carrier(struct uplink *u, uint64_t now, bool any);	/* does any uplink have one? May be called without a change */
bool uplink_is_lost(const struct uplink *u, uint64_t now);
/* True: ask for the switch-over of every pair whose primary is here, now. */
bool uplink_tick(struct uplink *u, uint64_t now);
uint64_t uplink_deadline(const struct uplink *u);	/* UINT64_MAX: none */
