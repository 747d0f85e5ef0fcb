/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In passive mode every answer waits for the end of its epoch and the commit, and whoever asks the guest again only when it has its answer (most clients of
 * databases and web servers) is as fast as epochs are short. But each ends with a stop of the guest, so an epoch that ends while half of the answers are still
 * being worked out makes the other half wait for a whole one more.
 *
 * So a checkpoint is asked for once everybody has an answer who asked the guest (proxy/askers.c), or when no more output has come for QUIET_NS. A guest that goes on
 * talking is not waited for longer than HOLD_NS. And between two checkpoints that are asked for so the guest runs for at least as long as one stops it, of late, and
 * no more than RUN_MAX_NS: they take half of its time at most, as long as they are not dearer than that.
 *
 * While nothing waits, nobody is faster for a checkpoint. But whoever asks next waits for all that was written since the last one, and what an unfinished epoch
 * has done is lost with the host. So an epoch may have some BYTES at the rate that was counted last, and lasts no longer than LIMIT_MAX_NS.
 */
#include "checkpoint/passive-pace.h"

#include <glib.h>

#define QUIET_NS (3 * 1000000ull)
#define HOLD_NS (10 * 1000000ull)
#define RUN_MAX_NS (40 * 1000000ull)
#define BYTES (2u << 20)
#define LIMIT_MIN_NS (10 * 1000000ull)
#define LIMIT_MAX_NS (50 * 1000000ull)

static uint64_t
limit(uint64_t epoch_ns, uint64_t bytes)
{
	double ns = bytes ? (double)epoch_ns * BYTES / (double)bytes : (double)LIMIT_MAX_NS;

	return (uint64_t)CLAMP(ns, (double)LIMIT_MIN_NS, (double)LIMIT_MAX_NS);
}

void
passive_pace_resumed(struct passive_pace *p, uint64_t now, uint64_t stop_ns, uint64_t epoch_ns, uint64_t bytes)
{
	p->resumed_at = now;
	p->stop_ns = (p->stop_ns * 3 + stop_ns) / 4;
	p->limit_ns = limit(epoch_ns, bytes);
	p->waits = false;
}

void
passive_pace_output(struct passive_pace *p, uint64_t now, bool complete)
{
	if (!p->waits)
		p->first_at = now;
	p->waits = true;
	p->last_at = now;
	p->complete = complete;
}

uint64_t
passive_pace_due(const struct passive_pace *p)
{
	uint64_t said = p->complete ? p->last_at : MIN(p->last_at + QUIET_NS, p->first_at + HOLD_NS);

	return p->waits ? MAX(said, p->resumed_at + MIN(p->stop_ns, RUN_MAX_NS)) : UINT64_MAX;
}

uint64_t
passive_pace_limit_ns(const struct passive_pace *p)
{
	return p->limit_ns ? p->limit_ns : LIMIT_MIN_NS;
}
