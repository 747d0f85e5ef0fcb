/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Should a guard be there for each frame at once? With a real-time priority it takes the CPU from QEMU with the first bytes that QEMU writes, and again with the rest of
 * the same frame, and with the next one. Where frames come by the thousand that costs a fifth of what two guests get done; so then it does as others do and finds
 * several at a time. (Network cards do the same: interrupt moderation.) But it stays prompt when somebody waits for its steps, and for a while after it got no CPU. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct moderation {		/* all zero: at the beginning */
	uint64_t since;		/* of the window that is counted */
	unsigned events;	/* at its beginning */
	bool many;
	uint64_t prompt_until;
};

/* events: how many there have been until now (ns); urgent: somebody waits for each step. True: not prompt, several at a time will do. */
bool moderation_step(struct moderation *m, uint64_t now, unsigned events, bool urgent);
/* It was not prompt, and had to wait for too long. */
void moderation_starved(struct moderation *m, uint64_t now);
/* What is too long, in ms: so long without a turn of its loop a guard gets no CPU. 0: that cannot be told, and it has to be prompt always. */
unsigned moderation_patience_ms(unsigned suspect_ms, unsigned heartbeat_ms);
