/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/placement.h"

#include <glib.h>

#define FIRST_RETRY_NS (2 * 1000000000ull)
#define MAX_RETRY_NS (60 * 1000000000ull)

static bool
usable(const struct placement_host *h)
{
	return h->reachable && !h->draining && h->fits;
}

static bool
better(const struct placement_host *a, const struct placement_host *b)
{
	if (a->had_it != b->had_it)
		return a->had_it;
	if (a->copies != b->copies)
		return a->copies < b->copies;
	return a->memory_free > b->memory_free;
}

int
placement_choose(const struct placement_host *hosts, unsigned n)
{
	int best = -1;

	for (unsigned i = 0; i < n; i++)
		if (usable(&hosts[i]) && (best < 0 || better(&hosts[i], &hosts[best])))
			best = (int)i;
	return best;
}

uint64_t
placement_retry_ns(unsigned failures)
{
	g_assert(failures > 0);
	return failures > 5 ? MAX_RETRY_NS : MIN(FIRST_RETRY_NS << (failures - 1), MAX_RETRY_NS);
}
