/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/uplink.h"

#include <glib.h>

void
uplink_init(struct uplink *u, uint64_t patience_ns, uint64_t retry_ns)
{
	g_assert(retry_ns > 0);
	*u = (struct uplink){ .patience_ns = patience_ns, .retry_ns = retry_ns };
}

void
uplink_carrier(struct uplink *u, uint64_t now, bool any)
{
	if (u->carrier && !any) {
		u->lost_at = now;
		u->ask_at = now + u->patience_ns;
	}
	u->seen = u->seen || any;
	u->carrier = any;
}

bool
uplink_is_lost(const struct uplink *u, uint64_t now)
{
	return u->seen && !u->carrier && now >= u->lost_at + u->patience_ns;
}

bool
uplink_tick(struct uplink *u, uint64_t now)
{
	if (!uplink_is_lost(u, now) || now < u->ask_at)
		return false;
	u->ask_at = now + u->retry_ns;
	return true;
}

uint64_t
uplink_deadline(const struct uplink *u)
{
	return u->seen && !u->carrier ? u->ask_at : UINT64_MAX;
}
