/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/history.h"

#include <glib.h>
#include <string.h>

void
history_init(struct history *h, uint64_t now)
{
	memset(h, 0, sizeof *h);
	h->origin = now;
	h->width = HISTORY_FIRST_WIDTH_NS;
}

static void
add(struct history_span *to, const struct history_span *from)
{
	to->epochs += from->epochs;
	to->pause_total_ns += from->pause_total_ns;
	to->pause_max_ns = MAX(to->pause_max_ns, from->pause_max_ns);
	to->lag_max_ns = MAX(to->lag_max_ns, from->lag_max_ns);
	to->bytes += from->bytes;
	to->same_bytes += from->same_bytes;
	to->committed_bytes += from->committed_bytes;
	to->differences += from->differences;
}

static void
double_width(struct history *h)
{
	for (unsigned i = 0; i < HISTORY_SPANS / 2; i++) {
		struct history_span two = h->spans[2 * i];

		add(&two, &h->spans[2 * i + 1]);
		h->spans[i] = two;
	}
	memset(h->spans + HISTORY_SPANS / 2, 0, sizeof h->spans / 2);
	h->width *= 2;
	h->used = (h->used + 1) / 2;
}

/* A time before the origin, which there is not, would be told as the origin. */
static struct history_span *
span_at(struct history *h, uint64_t now)
{
	uint64_t age = now > h->origin ? now - h->origin : 0;

	while (age / h->width >= HISTORY_SPANS)
		double_width(h);
	h->used = MAX(h->used, (unsigned)(age / h->width) + 1);
	return &h->spans[age / h->width];
}

void
history_epoch(struct history *h, uint64_t now, uint64_t pause_ns, const struct history_totals *totals)
{
	add(span_at(h, now), &(struct history_span){
		.epochs = 1, .pause_total_ns = pause_ns, .pause_max_ns = pause_ns, .bytes = totals->bytes - h->seen.bytes, .same_bytes = totals->same_bytes - h->seen.same_bytes,
		.committed_bytes = totals->committed_bytes - h->seen.committed_bytes, .differences = totals->differences - h->seen.differences,
	});
	h->seen = *totals;
}

void
history_lag(struct history *h, uint64_t now, uint64_t lag_ns)
{
	add(span_at(h, now), &(struct history_span){ .lag_max_ns = lag_ns });
}
