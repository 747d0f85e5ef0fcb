/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/frame-queue.h"

struct queued {
	unsigned nic;
	GBytes *frame;
};

void
frame_queue_push(GQueue *q, unsigned nic, GBytes *frame)
{
	struct queued *e = g_new(struct queued, 1);

	*e = (struct queued){ nic, g_bytes_ref(frame) };
	g_queue_push_tail(q, e);
}

GBytes *
frame_queue_pop(GQueue *q, unsigned *nic)
{
	g_autofree struct queued *e = g_queue_pop_head(q);

	if (!e)
		return NULL;
	*nic = e->nic;
	return e->frame;
}

void
frame_queue_clear(GQueue *q)
{
	GBytes *frame;
	unsigned nic;

	while ((frame = frame_queue_pop(q, &nic)))
		g_bytes_unref(frame);
}
