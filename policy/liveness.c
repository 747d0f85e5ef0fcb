/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Silence for `limit` means lost, and lost is final: policy has moved on by the time something is heard again.
 *
 * The peer's silence is only known while we listen. A guard that was not scheduled (host overload, a debugger, a suspended laptop) finds its socket full and
 * its timer due in the same instant, and whichever the main loop takes first must not decide. So a look that comes more than limit/2 after the one before
 * gives the peer limit/2 from now. liveness_deadline() asks for a look often enough that an observer who keeps it never gives that grace by itself.
 *
 * A heartbeat that comes when ours is nearly due takes ours back with it. So the two sides fall into step: one sends by its timer, the other is awake anyway when it
 * sends, and what it sends tells of the newest that it has heard. Only in the last quarter of an interval: else two sides whose frames travel for longer than that
 * would send at each arrival, without end.
 */
#include "policy/liveness.h"

#include <glib.h>

static uint64_t
since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

void
liveness_init(struct liveness *l, uint64_t now, uint64_t interval_ns, uint64_t limit_ns)
{
	g_assert(interval_ns > 0 && limit_ns > 1);
	*l = (struct liveness){
		.interval_ns = interval_ns,
		.limit_ns = limit_ns,
		.heard_at = now,
		.sent_at = now,
		.checked_at = now,
		.state = LIVENESS_ALIVE,
	};
}

void
liveness_heard(struct liveness *l, uint64_t now)
{
	if (now > l->heard_at)
		l->heard_at = now;
}

static bool
send_after(struct liveness *l, uint64_t now, uint64_t interval)
{
	if (l->state == LIVENESS_LOST || since(now, l->sent_at) < interval)
		return false;
	l->sent_at = now;
	return true;
}

bool
liveness_beat_due(struct liveness *l, uint64_t now)
{
	return send_after(l, now, l->interval_ns);
}

bool
liveness_answer_due(struct liveness *l, uint64_t now)
{
	return send_after(l, now, l->interval_ns - l->interval_ns / 4);
}

enum liveness_state
liveness_check(struct liveness *l, uint64_t now)
{
	uint64_t half = l->limit_ns / 2;

	if (l->state == LIVENESS_LOST)
		return l->state;
	if (since(now, l->checked_at) > half && since(now, l->heard_at) > half)
		l->heard_at = now - half;	/* since() > half: no underflow */
	l->checked_at = now;
	if (since(now, l->heard_at) >= l->limit_ns)
		l->state = LIVENESS_LOST;
	return l->state;
}

uint64_t
liveness_deadline(const struct liveness *l)
{
	uint64_t beat = l->sent_at + l->interval_ns, lost = l->heard_at + l->limit_ns, look = l->checked_at + l->limit_ns / 4;

	if (l->state == LIVENESS_LOST)
		return UINT64_MAX;
	return MIN(MIN(beat, lost), look);
}
