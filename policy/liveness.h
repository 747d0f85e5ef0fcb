/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the peer was heard, and what its silence means. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum liveness_state { LIVENESS_ALIVE, LIVENESS_LOST };

struct liveness {
	uint64_t interval_ns;	/* a heartbeat is due this often */
	uint64_t limit_ns;	/* silence that means lost */
	uint64_t heard_at, sent_at;
	uint64_t checked_at;	/* when we last looked: if *we* slept for longer than limit/2, the peer gets a fresh grace of limit/2 (our own pause is not its silence) */
	enum liveness_state state;
};

void liveness_init(struct liveness *l, uint64_t now, uint64_t interval_ns, uint64_t limit_ns);
void liveness_heard(struct liveness *l, uint64_t now);
/* True: send a heartbeat now (recorded as sent). Never after LOST, which is final. */
bool liveness_beat_due(struct liveness *l, uint64_t now);
/* The same where a heartbeat has just come: ours goes back with it if it would be due soon. */
bool liveness_answer_due(struct liveness *l, uint64_t now);
enum liveness_state liveness_check(struct liveness *l, uint64_t now);
/* When to call both next; UINT64_MAX after LOST. */
uint64_t liveness_deadline(const struct liveness *l);
