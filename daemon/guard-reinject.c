/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A primary's QEMU loses packets when it stops its guest for a checkpoint. From when it calls the guest stopped until its vCPUs stand what it reads from the tap waits in
 * the NIC's queue, and that is emptied into a device that takes nothing any more (system/cpus.c, do_vm_stop(); net/net.c, net_vm_change_state_handler()). And a QEMU that
 * was a standby once keeps TCP packets that come while the guest stands in its filter-rewriter, until the next one comes (net/filter-rewriter.c, its incoming_queue;
 * net/queue.c looks at what waits when something is sent).
 *
 * A client that waits for an answer sends nothing else before its retransmission time-out, which is 200 ms and more. So TCP segments that came while QEMU stopped the
 * guest are given to the guest again once it runs, and to the copy, of which the same is true in that epoch. A guest that has them already takes them for what they are,
 * doubles (RFC 9293, 3.10.7.4), and its ACK of them needs no twin (proxy/compare-tcp.c). Datagrams are not doubled: whoever sends them does not count on each, and may
 * count on none coming twice.
 *
 * A SYN is another matter: to a filter-rewriter the second one of a connection that is open by now is a new connection, and it miscounts ever after
 * (net/filter-rewriter.c, handle_primary_tcp_pkt()); the copy has a rewriter always. The connection hangs then. It cannot be open while the guest's answer to that SYN
 * was not let go, and what is let go from now on reaches its client after QEMU has read the SYN: of two sockets that have something to read QEMU's main loop
 * reads both before it looks at the LAN again, if what waits in the first is no more than one read of it (chardev/char-socket.c: CHR_READ_BUF_LEN, 4 KiB).
 * So SYNs go first, few of them, and only into an empty socket. One that may not be given again is sent again by its client, a second later.
 *
 * At the end of the initial migration the guest stands, too, and nobody tells since when: the data that has come lately is given to it again then. No SYN: what has left
 * before the pair was protected nobody knows.
 *
 * In bulk a lost segment is mended by those that follow it, without a time-out; so what is kept has a limit, and further segments are left to that.
 */
#include "daemon/guard-internal.h"
#include "proxy/frame-queue.h"
#include "proxy/packet.h"

static bool
stands(const struct guard *g)
{
	return !relay_waiting(g->p.relay) || g->p.suspend != SUSPEND_NONE;
}

/* Once it stands for the checkpoint QEMU keeps what comes, and gives it to the guest that runs; but for the rewriter. */
static bool
may_miss(const struct guard *g, unsigned nic)
{
	return (relay_stopping(g->p.relay) && !g->p.closing_epoch) || (stands(g) && g->config->nics[nic].has_rewriter);
}

/* QEMU asks for its first checkpoint when its delay is over, not as soon as the guest runs. What is given again then comes late: a connection may have been opened. */
static bool
comes_late(const struct guard *g)
{
	return relay_epoch(g->p.relay) <= 1 && !relay_stopping(g->p.relay);
}

static void
note(GQueue *q, unsigned nic, GBytes *frame, bool only_data)
{
	struct packet p;

	packet_parse(&p, frame);
	if (p.class == PACKET_TCP && (!only_data || (p.payload_length > 0 && !(p.flags & (PACKET_TCP_SYN | PACKET_TCP_FIN | PACKET_TCP_RST)))))
		frame_queue_push(q, nic, frame);
}

static void
move(GQueue *from, GQueue *to)
{
	while (from->length > 0)
		g_queue_push_tail_link(to, g_queue_pop_head_link(from));
}

static void
drop_oldest(GQueue *q)
{
	unsigned nic;

	g_bytes_unref(frame_queue_pop(q, &nic));
}

static void
forget_old(struct guard *g, uint64_t now)
{
	if (now - g->p.recent_since <= GUARD_RECENT_NS)
		return;
	frame_queue_clear(&g->p.older);
	if (now - g->p.recent_since <= 2 * GUARD_RECENT_NS)
		move(&g->p.recent, &g->p.older);
	frame_queue_clear(&g->p.recent);
	g->p.recent_since = now;
}

static void
note_recent(struct guard *g, uint64_t now, unsigned nic, GBytes *frame)
{
	forget_old(g, now);
	note(&g->p.recent, nic, frame, true);
	if (g->p.recent.length > GUARD_MISSED_MAX)
		drop_oldest(&g->p.recent);
}

void
reinject_let_go(struct guard *g, uint64_t now)
{
	forget_old(g, now);
	move(&g->p.older, &g->p.missed);
	move(&g->p.recent, &g->p.missed);
}

/* A frame that the LAN has for the guest. */
void
reinject_note(struct guard *g, uint64_t now, unsigned nic, GBytes *frame)
{
	if (!g->p.let_go && g->phase == GUARD_PHASE_MEMORY)
		note_recent(g, now, nic, frame);
	else if (g->p.let_go && may_miss(g, nic) && g->p.missed.length < GUARD_MISSED_MAX)
		note(&g->p.missed, nic, frame, comes_late(g));
}

bool
reinject_waits(const struct guard *g)
{
	return g->p.missed.length > 0;
}

/* At REPLY. What QEMU has not read by now it may read when the guest stands again. */
static void
look_again(struct guard *g)
{
	if (g->env.writes_unread(g->ctx, GUARD_PORT_INJ))
		move(&g->p.given_again, &g->p.missed);
	else
		frame_queue_clear(&g->p.given_again);
}

static void
give_again(struct guard *g, unsigned nic, GBytes *frame)
{
	primary_mirror_inbound(g, nic, frame);
	g->env.frame_write(g->ctx, GUARD_PORT_INJ, nic, frame);
	frame_queue_push(&g->p.given_again, nic, frame);
}

/* Where there is no copy any more only this QEMU's own rewriter counts. */
static bool
may_miscount(const struct guard *g, unsigned nic, const struct packet *p)
{
	if ((p->flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) != PACKET_TCP_SYN || !packet_is_rewritten(p))
		return false;
	return g->config->nics[nic].has_rewriter || !failover_may_speak_alone(&g->failover);
}

/* Takes the SYNs out of what was missed. */
static void
give_syns_again(struct guard *g)
{
	bool may = !g->env.writes_unread(g->ctx, GUARD_PORT_INJ);
	gsize given = 0;
	unsigned nic;

	for (guint left = g->p.missed.length; left > 0; left--) {
		g_autoptr(GBytes) frame = frame_queue_pop(&g->p.missed, &nic);
		struct packet p;

		packet_parse(&p, frame);
		if (!may_miscount(g, nic, &p)) {
			frame_queue_push(&g->p.missed, nic, frame);
			continue;
		}
		if (!may || given + g_bytes_get_size(frame) > GUARD_SYNS_AGAIN_BYTES || comparator_may_be_open(g->p.comparator, nic, &p))
			continue;
		give_again(g, nic, frame);
		given += g_bytes_get_size(frame);
	}
}

/* QEMU asks for the next checkpoint once the guest runs (migration/colo.c, colo_do_checkpoint_transaction()). */
void
reinject_pump(struct guard *g)
{
	unsigned nic;
	GBytes *frame;

	if (stands(g)) {
		if (g->p.given_again.length > 0)
			look_again(g);
		return;
	}
	if (g->p.missed.length == 0)
		return;
	give_syns_again(g);
	while ((frame = frame_queue_pop(&g->p.missed, &nic))) {
		give_again(g, nic, frame);
		g_bytes_unref(frame);
	}
}

void
reinject_clear(struct guard *g)
{
	frame_queue_clear(&g->p.missed);
	frame_queue_clear(&g->p.given_again);
	frame_queue_clear(&g->p.recent);
	frame_queue_clear(&g->p.older);
}
