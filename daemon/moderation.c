/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/moderation.h"

#define WINDOW_NS (10 * 1000000ull)
#define MANY_PER_S 4000		/* an echo that is waited for makes some hundreds, a busy server tens of thousands */
#define FEW_PER_S 2000
#define PROMPT_NS (1000 * 1000000ull)
#define PATIENCE_MS 25
#define PATIENCE_DIV 6		/* ... or a part of the time after which the peer suspects us, if that is less */

bool
moderation_step(struct moderation *m, uint64_t now, unsigned events, bool urgent)
{
	if (now - m->since >= WINDOW_NS) {
		uint64_t rate = (events - m->events) * 1000000000ull / (now - m->since);

		m->many = rate >= (m->many ? FEW_PER_S : MANY_PER_S);
		m->since = now;
		m->events = events;
	}
	return m->many && !urgent && now >= m->prompt_until;
}

void
moderation_starved(struct moderation *m, uint64_t now)
{
	m->prompt_until = now + PROMPT_NS;
}

/* Its own timer turns the loop with each heartbeat, and maybe nothing else does. */
unsigned
moderation_patience_ms(unsigned suspect_ms, unsigned heartbeat_ms)
{
	unsigned part = suspect_ms / PATIENCE_DIV, ms = part < PATIENCE_MS ? part : PATIENCE_MS;

	return ms > heartbeat_ms ? ms : 0;
}
