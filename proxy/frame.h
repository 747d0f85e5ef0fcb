/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A frame of either copy inside the comparator: the bytes, their parsed view and the links by which it stands in queues (a GList inside the frame, so that
 * queueing allocates nothing). Frames come from a pool. Pure.
 */
#pragma once

#include <glib.h>

#include "proxy/compare-tcp.h"
#include "proxy/packet.h"

struct flow;

struct frame {
	GBytes *bytes;			/* NULL for an SVM frame whose bytes are not needed any more */
	size_t size;			/* of the wire frame */
	unsigned nic;
	uint64_t epoch;
	uint64_t time;			/* PVM: arrival */
	uint64_t id;			/* SVM: the standby's number */
	size_t charge;			/* SVM: bytes counted against max_secondary_bytes */
	struct packet packet;
	struct tcp_segment segment;	/* PACKET_TCP */
	struct flow *flow;		/* NULL: not parsed, or the table had no room */
	bool compared;			/* PVM: its comparison has begun (its epoch is the compared one) */
	unsigned datagram;		/* UDP, ICMP: how many of its datagrams were found the same */
	GList order;			/* held frames, released frames, early SVM frames, spare frames: one of them at a time */
	GList in_flow;			/* held or kept frames of the flow */
};

struct frame_pool {
	GQueue spare;
};
#define FRAME_POOL_SPARE 1024	/* frames kept for reuse; more are given back to the allocator */

/* Takes a reference of the bytes. */
struct frame *frame_new(struct frame_pool *pool, unsigned nic, uint64_t epoch, GBytes *bytes);
void frame_parse(struct frame *f);
/* The bytes may be gone already (stolen). */
void frame_free(struct frame_pool *pool, struct frame *f);
void frame_pool_clear(struct frame_pool *pool);
