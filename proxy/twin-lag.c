/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/twin-lag.h"

#include <glib.h>

#define FORGET_NS 100000000ull
#define FORGOTTEN 400u		/* so often, and nothing is left of the longest time there is */

void
twin_lag_sample(struct twin_lag *l, uint64_t now, uint64_t lag)
{
	uint64_t times = now > l->at ? (now - l->at) / FORGET_NS : 0;

	for (uint64_t i = 0; i < MIN(times, FORGOTTEN); i++)
		l->lag -= MIN(l->lag, l->lag / 8 + 1);
	l->at += times * FORGET_NS;
	l->lag = MAX(l->lag, lag);
}

void
twin_lag_in_vain(struct twin_lag *l)
{
	l->lag /= 2;
}

uint64_t
twin_lag_late(const struct twin_lag *l)
{
	return l->lag > UINT64_MAX / 2 ? UINT64_MAX : l->lag + l->lag / 2;
}
