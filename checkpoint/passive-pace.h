/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a checkpoint is made for output that leaves by commit only: see passive-pace.c. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All times in ns. Zeroed: nothing waits. */
struct passive_pace {
	uint64_t resumed_at;		/* the guest runs this epoch since */
	uint64_t stop_ns;		/* what a checkpoint stops the guest for, of late */
	uint64_t limit_ns;		/* how long an epoch may last when nothing waits */
	bool waits;			/* output of this epoch waits ... */
	uint64_t first_at, last_at;	/* ... since, and the last of it ... */
	bool complete;			/* ... with which nobody was left whom the guest had not answered */
};

/* The guest goes on after a checkpoint that stopped it for `stop_ns` at the end of an epoch of `epoch_ns`, and had so much to copy: an epoch begins, of which nothing
 * waits. */
void passive_pace_resumed(struct passive_pace *p, uint64_t now, uint64_t stop_ns, uint64_t epoch_ns, uint64_t bytes);
/* It has sent something that waits. complete: everybody who has asked has got an answer now, as far as one can tell. */
void passive_pace_output(struct passive_pace *p, uint64_t now, bool complete);
/* From when on a checkpoint is worth its stop; UINT64_MAX: nothing waits for one. */
uint64_t passive_pace_due(const struct passive_pace *p);
/* After how much time one is made though nothing waits. */
uint64_t passive_pace_limit_ns(const struct passive_pace *p);
