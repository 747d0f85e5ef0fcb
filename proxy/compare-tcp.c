/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: a PVM segment may leave when the SVM has sent the same content, whatever the segments it was cut into.
 *
 * What counts: payload, SYN, FIN and RST, and that no ACK goes further than the SVM's own. SYN and FIN take one sequence number each (RFC 9293, 3.4).
 * What does not: segmentation, window, timestamps, SACK blocks, urgent pointer, ECN bits, IP header, checksums: two copies of one guest differ in them
 * all the time, and no receiver depends on them for what it gets.
 *
 *   content that has left <= compared <= content of both copies, in two queues ordered by sequence number
 *
 * `compared` is the next sequence number that was not compared yet; it is the only thing that moves forward, by memcmp over what both queues have
 * in one piece there. A segment with content may leave when it ends at or before `compared`. Below it is a retransmission: a TCP sends the same
 * bytes again (RFC 9293, 3.8.1), so it is not compared a second time.
 *
 * Where a comparison begins:
 *   - SYN: at the PVM's initial sequence number;
 *   - boundary: where the PVM was at the end of the committed epoch - the SVM goes on from the same state. It may repeat what is below: ignored;
 *   - met half way (protection began, or the flow had been forgotten): at the PVM's first content, which becomes the `floor`. Content below it,
 *     seen later, was perhaps never released, and is not compared: it differs, and the next boundary settles it.
 *
 * SYN. The initial sequence numbers of a connection that is opened within an epoch differ. For one that the client opens, filter-rewriter on the
 * standby maps the SVM's numbers to the PVM's, but only from the client's handshake ACK on (net/filter-rewriter.c, handle_primary_tcp_pkt), and never
 * those of a SYN-ACK (handle_secondary_tcp_pkt changes segments with ACK and without SYN). So SYN-ACKs are the same when their flags and options are,
 * and what follows is already in the PVM's numbers. For one that the guest opens nobody maps: different numbers differ.
 * An SVM segment in numbers that were not mapped is far from `compared` with all likelihood, and its content would have to be equal at that place to do
 * harm; it is either refused by the window or lies unmatched until the boundary.
 * SYN options are compared, apart from the timestamp's value: window scale and the like are for the whole connection.
 *
 * A new SYN on an old flow (ports used again) starts over. While only one copy has sent it, the two are in different connections: nothing leaves.
 *
 * RST. One RST of the SVM lets one RST of the PVM go. The numbers do not count: whatever they are, both copies have no such connection.
 * The ACK of a RST can be anything (RFC 9293, 3.10.7.1), so it vouches for the twin's ACK only.
 */
#include "proxy/compare-tcp.h"

#include <string.h>

#include "daemon/base/byte-reader.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_TIMESTAMP 8

static bool
has(const struct tcp_segment *s, uint8_t flag)
{
	return (s->packet->flags & flag) != 0;
}

static uint32_t
content_length(const struct packet *p)
{
	return p->payload_length + !!(p->flags & PACKET_TCP_SYN) + !!(p->flags & PACKET_TCP_FIN);
}

static bool
has_content(const struct tcp_segment *s)
{
	return s->end != s->packet->seq;
}

void
tcp_segment_init(struct tcp_segment *s, const struct packet *packet)
{
	*s = (struct tcp_segment){
		.packet = packet,
		.end = packet->seq + content_length(packet),
		.link = { .data = s },
	};
}

/* -- one copy's stream ----------------------------------------------------------------------------------------------------------------- */

/* False: too far out of order. Segments come nearly in order, so the place is looked for from the end. */
static bool
stream_insert(GQueue *stream, struct tcp_segment *s)
{
	GList *after = stream->tail;

	for (unsigned passed = 0; after; after = after->prev) {
		const struct tcp_segment *other = after->data;
		if (seq_after(s->packet->seq, other->packet->seq) >= 0)
			break;
		if (++passed > TCP_DISORDER_MAX)
			return false;
	}
	s->on = stream;
	if (after)
		g_queue_insert_before_link(stream, after->next, &s->link);
	else
		g_queue_push_head_link(stream, &s->link);
	return true;
}

static void
take_off(struct tcp_segment *s)
{
	if (s->on)
		g_queue_unlink(s->on, &s->link);
	s->on = NULL;
}

static void
stream_clear(GQueue *stream)
{
	while (stream->head)
		take_off(stream->head->data);
}

struct span {
	const uint8_t *data;
	uint32_t length;	/* 0: nothing, unless fin */
	bool fin;		/* not data but a FIN */
};

/* What the stream has in one piece at sequence number `at`; what lies before goes. */
static struct span
stream_at(GQueue *stream, uint32_t at)
{
	while (stream->head) {
		struct tcp_segment *s = stream->head->data;
		int32_t offset = seq_after(at, s->packet->seq);

		if (offset < 0)
			break;
		if (seq_after(s->end, at) > 0) {
			uint32_t left = s->packet->payload_length - (uint32_t)offset;
			return left ? (struct span){ s->packet->payload + offset, left, false } : (struct span){ NULL, 0, true };
		}
		take_off(s);
	}
	return (struct span){ NULL, 0, false };
}

/* Moves `compared` as far as both streams go together. */
static enum verdict
advance(struct tcp_compare *t)
{
	while (t->compared.known) {
		struct span p = stream_at(&t->primary, t->compared.at);
		struct span s = stream_at(&t->secondary, t->compared.at);

		if ((!p.length && !p.fin) || (!s.length && !s.fin))
			break;
		if (p.fin != s.fin)
			return VERDICT_DIFFER;
		uint32_t n = p.fin ? 1 : MIN(p.length, s.length);
		if (!p.fin && memcmp(p.data, s.data, n) != 0)
			return VERDICT_DIFFER;
		t->compared.at += n;
	}
	return VERDICT_WAIT;
}

/* -- SYN ------------------------------------------------------------------------------------------------------------------------------- */

/* Same kinds in the same places with the same content, but for the timestamp's value (RFC 9293, 3.1; RFC 7323, 3.2). */
static bool
same_syn_options(const struct packet *a, const struct packet *b)
{
	if (a->options_length != b->options_length)
		return false;
	for (size_t i = 0, n; i < a->options_length; i += n) {
		struct byte_reader r = byte_reader_init(a->options + i, a->options_length - i);
		uint8_t kind = byte_reader_u8(&r);

		if (kind != b->options[i])
			return false;
		if (kind == OPTION_END)
			return true;
		n = kind == OPTION_NOP ? 1 : byte_reader_u8(&r);
		if (r.bad || n == 0 || n > a->options_length - i)
			return false;
		size_t compared = kind == OPTION_TIMESTAMP ? MIN(n, 2) : n;
		if (memcmp(a->options + i, b->options + i, compared) != 0)
			return false;
	}
	return true;
}

static bool
same_syn(const struct packet *a, const struct packet *b)
{
	const uint8_t flags = PACKET_TCP_SYN | PACKET_TCP_ACK | PACKET_TCP_FIN;

	if ((a->flags & flags) != (b->flags & flags))
		return false;
	if (!(a->flags & PACKET_TCP_ACK) && a->seq != b->seq)
		return false;
	if (a->payload_length != b->payload_length || (a->payload_length && memcmp(a->payload, b->payload, a->payload_length) != 0))
		return false;
	return same_syn_options(a, b);
}

/* Both copies' SYNs are there: one connection again, counted in the PVM's numbers. */
static enum verdict
pair_syn(struct tcp_compare *t)
{
	const struct tcp_segment *p = t->primary_syn, *s = t->secondary_syn;

	if (!p || !s)
		return VERDICT_WAIT;
	if (!same_syn(p->packet, s->packet))
		return VERDICT_DIFFER;
	t->primary_syn = t->secondary_syn = NULL;
	t->syn_same = true;
	seq_mark_set(&t->compared, p->end);
	return advance(t);
}

static bool
starts_over(const struct seq_mark *isn, const struct tcp_segment *s)
{
	return has(s, PACKET_TCP_SYN) && !has(s, PACKET_TCP_RST) && !(isn->known && isn->at == s->packet->seq);
}

static enum verdict
primary_starts_over(struct tcp_compare *t, const struct tcp_segment *s)
{
	if (t->waiting > 1)
		return VERDICT_DIFFER;	/* segments of the old connection have not left: two connections cannot be compared at once */
	stream_clear(&t->primary);
	t->compared = t->floor = t->released = t->released_ack = (struct seq_mark){ .known = false };
	t->syn_same = t->syn_released = false;
	t->primary_syn = s;
	return pair_syn(t);
}

static enum verdict
secondary_starts_over(struct tcp_compare *t, const struct tcp_segment *s)
{
	stream_clear(&t->secondary);
	t->secondary_ack.known = false;
	if (has(s, PACKET_TCP_ACK))
		seq_mark_set(&t->secondary_ack, s->packet->ack);
	seq_mark_set(&t->secondary_isn, s->packet->seq);
	t->secondary_syn = s;
	return pair_syn(t);
}

/* -- segments -------------------------------------------------------------------------------------------------------------------------- */

void
tcp_absorb(struct tcp_compare *t, const struct tcp_segment *s)
{
	if (has(s, PACKET_TCP_RST))
		return;
	if (starts_over(&t->isn, s)) {
		seq_mark_set(&t->isn, s->packet->seq);
		seq_mark_set(&t->next, s->end);
		t->ack.known = false;
	} else if (has_content(s)) {
		seq_mark_raise(&t->next, s->end);
	}
	if (has(s, PACKET_TCP_ACK))
		seq_mark_raise(&t->ack, s->packet->ack);
}

static enum verdict
primary_content(struct tcp_compare *t, struct tcp_segment *s)
{
	if (!t->compared.known && !t->primary_syn) {
		seq_mark_set(&t->compared, s->packet->seq);
		seq_mark_set(&t->floor, s->packet->seq);
	}
	if (t->compared.known) {
		int32_t distance = seq_after(s->packet->seq, t->compared.at);
		if (distance > TCP_WINDOW_MAX || distance < -TCP_WINDOW_MAX)
			return VERDICT_DIFFER;
		if (t->floor.known && seq_after(s->packet->seq, t->floor.at) < 0)
			return VERDICT_DIFFER;
		if (seq_mark_covers(&t->compared, s->end))
			return VERDICT_WAIT;
	}
	return stream_insert(&t->primary, s) ? advance(t) : VERDICT_DIFFER;
}

enum verdict
tcp_primary(struct tcp_compare *t, struct tcp_segment *s)
{
	bool over = starts_over(&t->isn, s);

	tcp_absorb(t, s);
	t->waiting++;
	if (has(s, PACKET_TCP_RST))	/* one that carries anything (RFC 9293, 3.5.3 allows text) has nothing to be compared with */
		return has_content(s) ? VERDICT_DIFFER : VERDICT_WAIT;
	if (over)
		return primary_starts_over(t, s);
	if (has(s, PACKET_TCP_SYN) || !has_content(s))
		return VERDICT_WAIT;
	return primary_content(t, s);
}

static enum verdict
secondary_content(struct tcp_compare *t, struct tcp_segment *s)
{
	if (t->compared.known) {
		if (seq_mark_covers(&t->compared, s->end))
			return VERDICT_WAIT;
		if (seq_after(s->packet->seq, t->compared.at) > TCP_WINDOW_MAX)
			return VERDICT_DIFFER;
	}
	return stream_insert(&t->secondary, s) ? advance(t) : VERDICT_DIFFER;
}

enum verdict
tcp_secondary(struct tcp_compare *t, struct tcp_segment *s)
{
	if (has(s, PACKET_TCP_RST)) {
		s->on = &t->resets;
		g_queue_push_tail_link(&t->resets, &s->link);
		return VERDICT_WAIT;
	}
	if (starts_over(&t->secondary_isn, s))
		return secondary_starts_over(t, s);
	if (has(s, PACKET_TCP_ACK))
		seq_mark_raise(&t->secondary_ack, s->packet->ack);
	if (has(s, PACKET_TCP_SYN) || !has_content(s) || t->secondary_syn)
		return VERDICT_WAIT;
	return secondary_content(t, s);
}

/* -- what may leave -------------------------------------------------------------------------------------------------------------------- */

static bool
ack_safe(const struct seq_mark *acknowledged, const struct tcp_segment *s, struct release_evidence *e)
{
	if (!has(s, PACKET_TCP_ACK))
		return true;
	e->acknowledges = true;
	e->ack = s->packet->ack;
	e->acknowledged = acknowledged->at;
	return seq_mark_covers(acknowledged, s->packet->ack);
}

static bool
reset_same(const struct tcp_compare *t, const struct tcp_segment *s, struct release_evidence *e)
{
	const struct tcp_segment *twin = t->resets.head ? t->resets.head->data : NULL;

	if (!twin)
		return false;
	struct seq_mark acknowledged = { .known = has(twin, PACKET_TCP_ACK), .at = twin->packet->ack };
	return ack_safe(&t->secondary_ack, s, e) || ack_safe(&acknowledged, s, e);
}

static bool
content_same(const struct tcp_compare *t, const struct tcp_segment *s, struct release_evidence *e)
{
	if (has(s, PACKET_TCP_SYN) && !(t->syn_same && t->isn.at == s->packet->seq))
		return false;
	if (!has_content(s))
		return true;
	e->in_stream = true;
	e->end = s->end;
	e->compared = t->compared.at;
	return seq_mark_covers(&t->compared, s->end);
}

enum verdict
tcp_verdict(const struct tcp_compare *t, const struct tcp_segment *s, struct release_evidence *e)
{
	bool same;

	*e = (struct release_evidence){ .reason = RELEASE_SAME };
	if (t->primary_syn || t->secondary_syn)
		return VERDICT_WAIT;
	if (has(s, PACKET_TCP_RST))
		same = !has_content(s) && reset_same(t, s, e);
	else
		same = content_same(t, s, e) && ack_safe(&t->secondary_ack, s, e);
	e->same = same;
	return same ? VERDICT_SAME : VERDICT_WAIT;
}

void
tcp_released(struct tcp_compare *t, struct tcp_segment *s)
{
	t->waiting--;
	if (has(s, PACKET_TCP_RST)) {
		struct tcp_segment *twin = t->resets.head->data;
		take_off(twin);
		twin->answered = true;
		return;
	}
	if (has(s, PACKET_TCP_SYN))
		t->syn_released = true;
	if (has_content(s))
		seq_mark_raise(&t->released, s->end);
	if (has(s, PACKET_TCP_ACK))
		seq_mark_raise(&t->released_ack, s->packet->ack);
}

bool
tcp_matched(const struct tcp_compare *t, const struct tcp_segment *s)
{
	if (has(s, PACKET_TCP_RST))
		return s->answered;
	if (has(s, PACKET_TCP_SYN)) {
		if (!t->syn_released || t->secondary_syn || !t->secondary_isn.known || t->secondary_isn.at != s->packet->seq)
			return false;
	} else if (has_content(s) && !seq_mark_covers(&t->released, s->end)) {
		return false;
	}
	return !has(s, PACKET_TCP_ACK) || seq_mark_covers(&t->released_ack, s->packet->ack);
}

void
tcp_forget(struct tcp_compare *t, struct tcp_segment *s)
{
	take_off(s);
	if (t->primary_syn == s)
		t->primary_syn = NULL;
	if (t->secondary_syn == s)
		t->secondary_syn = NULL;
}

void
tcp_boundary(struct tcp_compare *t)
{
	g_assert(t->primary.length == 0 && t->secondary.length == 0 && t->resets.length == 0 && !t->primary_syn && !t->secondary_syn);
	t->compared = t->released = t->next;
	t->secondary_ack = t->released_ack = t->ack;
	t->secondary_isn = t->isn;
	t->syn_same = t->syn_released = t->isn.known;
	t->floor.known = false;
	t->waiting = 0;
}
