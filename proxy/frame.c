/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/frame.h"

struct frame *
frame_new(struct frame_pool *pool, unsigned nic, uint64_t epoch, GBytes *bytes)
{
	GList *link = g_queue_pop_head_link(&pool->spare);
	struct frame *f = link ? link->data : g_new(struct frame, 1);

	*f = (struct frame){
		.bytes = g_bytes_ref(bytes),
		.size = g_bytes_get_size(bytes),
		.nic = nic,
		.epoch = epoch,
		.order = { .data = f },
		.in_flow = { .data = f },
	};
	return f;
}

void
frame_parse(struct frame *f)
{
	packet_parse(&f->packet, f->bytes);
	if (f->packet.class == PACKET_TCP)
		tcp_segment_init(&f->segment, &f->packet);
}

void
frame_free(struct frame_pool *pool, struct frame *f)
{
	g_clear_pointer(&f->bytes, g_bytes_unref);
	if (pool->spare.length < FRAME_POOL_SPARE)
		g_queue_push_head_link(&pool->spare, &f->order);
	else
		g_free(f);
}

void
frame_pool_clear(struct frame_pool *pool)
{
	GList *link;

	while ((link = g_queue_pop_head_link(&pool->spare)))
		g_free(link->data);
}
