/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One direction (guest to LAN) of one TCP connection, of both copies, compared as byte streams. Theory of operation in compare-tcp.c. Pure. */
#pragma once

#include <glib.h>

#include "proxy/difference.h"
#include "proxy/output-gate.h"
#include "proxy/packet.h"
#include "proxy/sequence.h"
#include "proxy/verdict.h"

#define TCP_WINDOW_MAX (1 << 30)	/* RFC 7323, 2.3: a segment further away than this is not of this stream */
#define TCP_DISORDER_MAX 64		/* segments that a late one may have to pass on its way to its place; beyond it the streams are not compared */

/* Lives inside its frame; the packet's bytes are needed until tcp_forget(). */
struct tcp_segment {
	const struct packet *packet;
	uint32_t end;			/* first sequence number after it */
	bool answered;			/* a SVM RST whose twin has left */
	GQueue *on;			/* the queue `link` is on: one of the streams, or resets */
	GList link;
};

struct tcp_compare {
	/* The PVM's position, over all its segments that were absorbed. Survives boundaries. */
	struct seq_mark isn, next, ack, urgent;

	/* The comparison, within one epoch. */
	struct seq_mark compared;	/* both streams are equal up to here; unknown before the PVM's first content */
	struct seq_mark floor;		/* known: content below it was not seen to leave (the connection was met half way) */
	GQueue primary, secondary;	/* content from `compared` on, by sequence number; may overlap */
	GQueue resets;			/* SVM RSTs that wait for the PVM's */
	const struct tcp_segment *primary_syn, *secondary_syn;	/* a SYN that waits for the other copy's */
	bool syn_same;			/* the SYN at `isn` may leave */
	struct seq_mark secondary_isn, secondary_ack, secondary_urgent;
	unsigned waiting;		/* PVM segments of this epoch that have not left */

	/* What has left, to tell which SVM segments have nothing new for the LAN. */
	bool syn_released;
	struct seq_mark released, released_ack, released_urgent;

	struct difference difference;	/* of the last VERDICT_DIFFER */
};

void tcp_segment_init(struct tcp_segment *s, const struct packet *packet);

/* A PVM segment of the epoch that is compared. DIFFER, or WAIT: ask tcp_verdict(). */
enum verdict tcp_primary(struct tcp_compare *t, struct tcp_segment *s);
/* A PVM segment that is not compared: only the position is kept. */
void tcp_absorb(struct tcp_compare *t, const struct tcp_segment *s);
/* An SVM segment of the epoch that is compared. */
enum verdict tcp_secondary(struct tcp_compare *t, struct tcp_segment *s);

/* May this PVM segment, the oldest that has not left, leave? When it is VERDICT_SAME, *evidence says why. */
enum verdict tcp_verdict(const struct tcp_compare *t, const struct tcp_segment *s, struct release_evidence *evidence);
/* It left by VERDICT_SAME. */
void tcp_released(struct tcp_compare *t, struct tcp_segment *s);
/* Has all that this SVM segment says left? */
bool tcp_matched(const struct tcp_compare *t, const struct tcp_segment *s);

/* The segment's memory goes away. */
void tcp_forget(struct tcp_compare *t, struct tcp_segment *s);
/* All that was absorbed is committed, and the SVM goes on from there. Every segment was forgotten before. */
void tcp_boundary(struct tcp_compare *t);
