/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must hold after every step.
 *
 *   two        at most one side may reach the LAN without the other's consent
 *   survivor   whatever reaches the LAN is explained by the copy that would take over now: it has sent those bytes and taken what they acknowledge
 *   contradiction   no byte on the LAN differs from one that was there before at the same place
 *   disk       the disk of a copy that goes live matches its memory
 *   kept       what a copy that takes over had sent, and its twin had not, goes out
 *   handed     what a primary has sent and not let go when it hands over, the copy that takes over sends
 *   claim      who has a claim out does not count as protected
 *   ended      a VM that was shut down is not given to the other side afterwards (register.c)
 *   hang       no QEMU is given up that answered (breaks.c)
 *   suspended  a guest that is to stand is not started by a checkpoint (qemu.c)
 *   held       a side that waits for the arbiter lets nothing go by comparison; a fenced one nothing at all (process.c)
 *   durable    what an action needs is written before it (process.c)
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "proxy/packet.h"

static bool
speaks(const struct host *h)
{
	return proc_may_speak(&h->p) || (h->power && h->q.alive && h->q.net == NET_DIRECT) || h->startable;
}

static const char *
standing(const struct host *h)
{
	if (h->startable)
		return "may be started";
	return proc_live(&h->p) ? failover_state_name(guard_state(h->p.g)) : h->q.alive ? "without a guard" : "off";
}

void
check_step(struct world *w)
{
	if (speaks(&w->host[0]) && speaks(&w->host[1]))
		violated(w, "two", "both sides may reach the LAN (a %s, b %s)", standing(&w->host[0]), standing(&w->host[1]));
}

static bool
could_take_over(const struct host *h)
{
	if (!proc_live(&h->p) || !h->q.alive || !h->p.g->failover.fit)
		return false;
	switch (guard_state(h->p.g)) {
	case FAILOVER_PROTECTED:
	case FAILOVER_SWITCHING:
	case FAILOVER_ASKING:
	case FAILOVER_YIELDED:
	case FAILOVER_DECIDING:
	case FAILOVER_SETTLING:
		return true;
	case FAILOVER_FORMING:
	case FAILOVER_CLOSING:
	case FAILOVER_SOLO:
	case FAILOVER_FENCED:
	case FAILOVER_ENDED:
	case FAILOVER_STATE_LAST:
		break;
	}
	return false;
}

const struct guest *
survivor(const struct world *w)
{
	const struct host *a = &w->host[w->primary], *b = &w->host[STANDBY(w)];

	if (b->p.live && b->q.alive)
		return &b->q.guest;
	if (speaks(a))
		return &a->q.guest;
	if (!could_take_over(b) || (register_newest(w) > w->generation && register_owner(w) == (int)w->primary))
		return NULL;
	uint64_t committed = standby_committed_epoch(b->p.g->s.standby);
	if (committed <= standby_loaded_epoch(b->p.g->s.standby))
		return b->q.was_reset && broken != BREAK_FITNESS ? NULL : &b->q.guest;	/* its guard is about to hear of it */
	return committed < w->snapshots->len ? w->snapshots->pdata[committed] : NULL;
}

static void
check_stream(struct world *w, unsigned host, const struct guest *s, const struct packet *p)
{
	const struct guest_core *c = guest_core_const(s);
	uint8_t byte;

	if ((int32_t)(p->ack - c->rcv_nxt) > 0)
		violated(w, "survivor", "%c acknowledges %u; the copy that would take over has taken up to %u", NAME(host), p->ack - CLIENT_ISN, c->rcv_nxt - CLIENT_ISN);
	for (uint32_t i = 0; i < p->payload_length; i++) {
		uint32_t at = p->seq + i - GUEST_ISN;
		if ((int32_t)(at + GUEST_ISN - c->snd_nxt) >= 0 || !guest_stream_byte(s, at, &byte))
			violated(w, "survivor", "%c sends byte %u; the copy that would take over has sent %u", NAME(host), at, c->snd_nxt - GUEST_ISN);
		else if (byte != p->payload[i])
			violated(w, "survivor", "%c sends byte %u as %02x; it is %02x in the copy that would take over", NAME(host), at, p->payload[i], byte);
		else
			continue;
		return;
	}
}

static void
witness_stream(struct world *w, unsigned host, const struct packet *p)
{
	struct witness *l = &w->lan;

	if ((int32_t)(p->ack - l->max_ack) > 0)
		l->max_ack = p->ack;
	if (p->payload_length && (int32_t)(p->seq + p->payload_length - l->max_end) > 0)
		l->max_end = p->seq + p->payload_length;
	for (uint32_t i = 0; i < p->payload_length; i++) {
		uint32_t at = p->seq + i - GUEST_ISN;
		if (at >= sizeof l->stream)
			return;
		if (l->known[at] && l->stream[at] != p->payload[i])
			violated(w, "contradiction", "%c sends byte %u as %02x; the LAN has seen it as %02x", NAME(host), at, p->payload[i], l->stream[at]);
		l->known[at] = true;
		l->stream[at] = p->payload[i];
	}
}

static bool
datagram(const struct packet *p, unsigned *k, unsigned *value)
{
	char text[32] = "";

	memcpy(text, p->payload, MIN(p->payload_length, sizeof text - 1));
	return sscanf(text, "%u:%u", k, value) == 2 && *k <= LEDGER_MAX / 4;
}

static void
check_datagram(struct world *w, unsigned host, const struct guest *s, unsigned k, unsigned value)
{
	struct witness *l = &w->lan;

	if (s && (k > guest_core_const(s)->udp_sent || guest_value_of(s, 4 * k) != value))
		violated(w, "survivor", "%c sends datagram %u with %u; the copy that would take over %s", NAME(host), k, value,
			 k > guest_core_const(s)->udp_sent ? "has not sent it" : "has another value");
	if (l->udp_known[k] && l->udp[k] != value)
		violated(w, "contradiction", "%c sends datagram %u with %u; the LAN has seen %u", NAME(host), k, value, l->udp[k]);
	l->udp_known[k] = true;
	l->udp[k] = value;
	l->udp_max = MAX(l->udp_max, k);
}

void
check_frame(struct world *w, unsigned host, GBytes *frame)
{
	const struct guest *s = survivor(w);
	unsigned k, value;
	struct packet p;

	if (host == STANDBY(w) && !w->host[host].p.live)
		violated(w, "two", "the standby's copy on %c reaches the LAN and is not live", NAME(host));
	packet_parse(&p, frame);
	if (p.class == PACKET_TCP) {
		if (s)
			check_stream(w, host, s, &p);
		witness_stream(w, host, &p);
	} else if (p.class == PACKET_UDP && datagram(&p, &k, &value)) {
		check_datagram(w, host, s, k, value);
	}
}

/* Every number that the memory calls done is on the disk, unless a later one has its place. */
static void
check_disk(struct world *w, unsigned host, const struct guest *s)
{
	uint8_t disk[DISK_BYTES], want[SECTOR];
	uint32_t done = guest_core_const(s)->n_done, from = done > SECTORS - 2 ? done - (SECTORS - 2) : 1;

	qemu_disk_view(&w->host[host].q, disk);
	for (uint32_t n = from; n <= done; n++) {
		sector_fill(want, n, guest_value_of(s, n));
		if (memcmp(want, disk + n % SECTORS * SECTOR, SECTOR) != 0) {
			struct byte_reader r = byte_reader_init(disk + n % SECTORS * SECTOR, 8);
			uint32_t there = byte_reader_be32(&r), value = byte_reader_be32(&r);
			violated(w, "disk", "the memory of %c says that number %u is on the disk (%08x); there is %u (%08x)", NAME(host), n, guest_value_of(s, n), there, value);
			return;
		}
	}
}

void
check_takeover(struct world *w, unsigned host)
{
	const struct guest *s = &w->host[host].q.guest;
	const struct guest_core *c = guest_core_const(s);
	uint8_t byte;

	if (!w->host[host].q.alive)
		return;
	if ((int32_t)(w->lan.max_ack - c->rcv_nxt) > 0)
		violated(w, "survivor", "bytes up to %u were acknowledged to the client; %c has taken up to %u", w->lan.max_ack - CLIENT_ISN, NAME(host), c->rcv_nxt - CLIENT_ISN);
	for (uint32_t at = 0; at < w->lan.max_end - GUEST_ISN; at++)
		if (w->lan.known[at] && (!guest_stream_byte(s, at, &byte) || byte != w->lan.stream[at] || (int32_t)(at + GUEST_ISN - c->snd_nxt) >= 0)) {
			violated(w, "survivor", "the client has byte %u (number %u); %c goes live and %s", at, at / REPLY_BYTES + 1, NAME(host),
				 guest_stream_byte(s, at, &byte) && byte != w->lan.stream[at] ? "has another one" : "has not sent it");
			return;
		}
	for (unsigned k = 1; k <= w->lan.udp_max; k++)
		if (w->lan.udp_known[k] && (k > c->udp_sent || w->lan.udp[k] != guest_value_of(s, 4 * k)))
			violated(w, "survivor", "the LAN has seen datagram %u; %c goes live and does not know it", k, NAME(host));
	check_disk(w, host, s);
}

/* Whoever starts the domain from this disk finds every number that was answered, unless a later one has its place. */
void
check_startable(struct world *w, unsigned host)
{
	uint32_t n = w->client.n_acked;
	struct byte_reader r = byte_reader_init(w->host[host].q.disk + n % SECTORS * SECTOR, 4);
	uint32_t there = byte_reader_be32(&r);

	if (n > 0 && (there < n || (there - n) % SECTORS != 0))
		violated(w, "disk", "number %u was answered, and the disk that %c may be started from has %u in its place", n, NAME(host), there);
}

/* What that primary gave up nobody has taken over: a standby that knew that it counts, and was awake, should have. */
void
check_followed(struct world *w, unsigned host)
{
	const struct host *b = &w->host[!host];

	if (w->calm && b->p.has_durable && !b->damaged && !b->p.known_unfit && w->now > b->p.paused_until + 1000 * MS)
		violated(w, "liveness", "%c gave up, %c was whole, and has not gone on", NAME(host), NAME(!host));
}

void
check_heard(const struct proc *p)
{
	if (!guard_is_primary(p->g) && !p->spoke)
		violated(p->w, "heard", "the copy on %c is heard, and should its host die nobody would know", NAME(p->host));
}

void
note_release(struct world *w, GBytes *frame)
{
	struct packet p;

	packet_parse(&p, frame);
	for (uint32_t i = 0; p.class == PACKET_TCP && i < p.payload_length; i++)
		if (p.seq + i - GUEST_ISN < sizeof w->reached_rel)
			w->reached_rel[p.seq + i - GUEST_ISN] = true;
}

void
check_kept(struct world *w, unsigned host)
{
	const struct host *h = &w->host[host];

	if (!h->q.alive || !proc_live(&h->p) || standby_proxy_dropped(h->p.g->s.proxy))
		return;
	for (uint32_t seq = h->q.emitted_from; (int32_t)(seq - h->p.kept_to) < 0; seq++)
		if (!w->reached_rel[seq - GUEST_ISN]) {
			violated(w, "kept", "%c had sent byte %u, neither its twin nor it has reached the LAN after the take-over", NAME(host), seq - GUEST_ISN);
			return;
		}
}

void
check_handed(struct world *w, unsigned host)
{
	const struct host *h = &w->host[host];

	if (w->round > 0 || !h->q.alive || !proc_live(&h->p) || h->p.g->failover.reason != FAILOVER_REASON_OPERATOR_SWITCHOVER)
		return;		/* in a later round the guest may repeat what an earlier one has lost */
	if (standby_proxy_dropped(h->p.g->s.proxy))
		return;		/* more than max-held-mib: as a bad network */
	for (uint32_t seq = GUEST_ISN; (int32_t)(seq - h->q.emitted_from) < 0; seq++)
		if (!w->reached_rel[seq - GUEST_ISN] && !w->lan.known[seq - GUEST_ISN]) {
			violated(w, "handed", "%c has taken over in good order; byte %u was sent and has not reached the LAN", NAME(host), seq - GUEST_ISN);
			return;
		}
}

void
check_claim(struct world *w, const struct proc *p)
{
	if (p->asked && guard_state(p->g) == FAILOVER_PROTECTED)
		violated(w, "claim", "%c counts as protected, and its claim may be granted any time", NAME(p->host));
}

void
check_given_up(struct proc *p)
{
	const struct qemu *q = &p->w->host[p->host].q;
	uint64_t patience = guard_is_primary(p->g) || q->stopped ? GUARD_QEMU_HANG_NS : GUARD_COPY_HANG_NS;

	if (q->alive && (q->hung_until == 0 || q->hung_until < p->w->now - MIN(p->w->now, patience)))
		violated(p->w, "hang", "QEMU on %c is given up, and it did not hang", NAME(p->host));
}

void
check_release(struct world *w, struct proc *p)
{
	struct comparator_stats s;
	enum failover_state state = guard_state(p->g);
	bool held = state == FAILOVER_DECIDING || state == FAILOVER_CLOSING || state == FAILOVER_FENCED;

	if (!guard_is_primary(p->g) || !held) {
		p->held = false;
		return;
	}
	comparator_stats(p->g->p.comparator, &s);
	if (p->held && s.released_frames[RELEASE_SAME] != p->released_same)
		violated(w, "held", "%c lets a frame go by comparison, and it is %s", NAME(p->host), failover_state_name(state));
	p->held = true;
	p->released_same = s.released_frames[RELEASE_SAME];
}
