/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: a PVM segment may leave when the SVM has sent the same content, whatever the segments it was cut into.
 *
 * What counts: payload, SYN, FIN and RST, that no ACK goes further than the SVM's own, and that no urgent mark is one that the SVM has not made.
 * SYN and FIN take one sequence number each (RFC 9293, 3.4).
 * What does not: segmentation, window, timestamps, SACK blocks, ECN bits, IP header, checksums: two copies of one guest differ in them
 * all the time, and no receiver depends on them for what it gets. A SACK block in particular promises nothing: the sender keeps what it covers until
 * the ACK (RFC 2018, 8). A window that is wider than the SVM's may cost the client a retransmission.
 * Window probes and keep-alives have no content beyond what was sent before: they leave when their ACK may.
 * A segment with any option but those of RFC 9293, 7323, 2018, 5482, 2385 and 5925 is not compared, its flow differs: Multipath TCP (RFC 8684), for one, tells in an option
 * which bytes of the whole the segment's are, and equal bytes in other places are no equal output.
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
 * filter-rewriter knows IPv4 without VLAN tags only (net/colo.c, parse_packet_early). Over IPv6 or with a tag a SYN-ACK with another initial number is a difference
 * like that of a SYN: the client would talk to numbers that the SVM does not know. One checkpoint, and both copies have the PVM's numbers. To map numbers here, or
 * on the standby, would save that checkpoint and lose the connection after a failover, when nobody is left in the path to map them.
 * SYN options are compared, apart from the timestamp's value, and so are the ECN bits of a SYN: window scale and the like are for the whole connection.
 *
 * A new SYN on an old flow (ports used again) starts over. While only one copy has sent it, the two are in different connections: nothing leaves.
 *
 * RST. One RST of the SVM lets one RST of the PVM go. The numbers do not count: whatever they are, both copies have no such connection.
 * The ACK of a RST can be anything (RFC 9293, 3.10.7.1), so it vouches for the twin's ACK only.
 *
 * Urgent data (RFC 9293, 3.8.5; RFC 6093) is in the stream and compared there. The mark, the sequence number behind the last urgent byte, decides how the receiver
 * reads that byte, and is treated like an ACK: it leaves when the SVM has made one as far or a commit covers it.
 */
#include "proxy/compare-tcp.h"

#include <string.h>

#include "daemon/base/byte-reader.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_WINDOW_SCALE 3
#define OPTION_SACK_PERMITTED 4
#define OPTION_SACK 5
#define OPTION_TIMESTAMP 8
#define OPTION_MD5 19
#define OPTION_USER_TIMEOUT 28
#define OPTION_AO 29

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

/* The sequence number behind the last urgent byte; false: there is no mark. */
static bool
urgent_mark(const struct tcp_segment *s, uint32_t *at)
{
	*at = s->packet->seq + s->packet->urgent;
	return has(s, PACKET_TCP_URG);
}

static enum verdict
differ(struct tcp_compare *t, enum difference_reason reason)
{
	t->difference = (struct difference){ .reason = reason };
	return VERDICT_DIFFER;
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

static enum verdict
differ_in(struct tcp_compare *t, const struct span *p, const struct span *s)
{
	if (p->fin != s->fin)
		return differ(t, DIFFERENCE_FIN);
	t->difference = difference_find(p->data, p->length, s->data, s->length);
	t->difference.at += t->isn.known ? t->compared.at - (t->isn.at + 1) : t->compared.at;
	return VERDICT_DIFFER;
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
		uint32_t n = p.fin ? 1 : MIN(p.length, s.length);
		if (p.fin != s.fin || (!p.fin && memcmp(p.data, s.data, n) != 0))
			return differ_in(t, &p, &s);
		t->compared.at += n;
	}
	return VERDICT_WAIT;
}

/* -- options --------------------------------------------------------------------------------------------------------------------------- */

/* The next option, *at moves behind it; 0 at the end. False: its length is none. */
static bool
next_option(const struct packet *p, size_t *at, uint8_t *kind, size_t *length)
{
	struct byte_reader r = byte_reader_init(p->options + *at, p->options_length - *at);

	*kind = r.left ? byte_reader_u8(&r) : OPTION_END;
	*length = 1;
	if (*kind == OPTION_END)
		return true;
	if (*kind != OPTION_NOP)
		*length = byte_reader_u8(&r);
	if (r.bad || *length == 0 || *length > p->options_length - *at)
		return false;
	*at += *length;
	return true;
}

static bool
is_plain(uint8_t kind)
{
	switch (kind) {
	case OPTION_NOP:
	case OPTION_MSS:
	case OPTION_WINDOW_SCALE:
	case OPTION_SACK_PERMITTED:
	case OPTION_SACK:
	case OPTION_TIMESTAMP:
	case OPTION_MD5:
	case OPTION_USER_TIMEOUT:
	case OPTION_AO:
		return true;
	default:
		return false;
	}
}

/* Nothing in the options that changes what the stream is. */
static bool
plain_options(const struct packet *p)
{
	static const uint8_t timestamp_only[4] = { OPTION_NOP, OPTION_NOP, OPTION_TIMESTAMP, 10 };
	uint8_t kind = OPTION_END;
	size_t length, at = 0;

	if (p->options_length == 0 || (p->options_length == 12 && memcmp(p->options, timestamp_only, sizeof timestamp_only) == 0))
		return true;
	do {
		if (!next_option(p, &at, &kind, &length) || (kind != OPTION_END && !is_plain(kind)))
			return false;
	} while (kind != OPTION_END);
	return true;
}

/* -- SYN ------------------------------------------------------------------------------------------------------------------------------- */

/* Same kinds in the same places with the same content, but for the timestamp's value (RFC 9293, 3.1; RFC 7323, 3.2). */
static bool
same_syn_options(const struct packet *a, const struct packet *b)
{
	uint8_t kind;
	size_t length, start, at = 0;

	if (a->options_length != b->options_length)
		return false;
	do {
		start = at;
		if (!next_option(a, &at, &kind, &length))
			return false;
		size_t compared = kind == OPTION_TIMESTAMP ? MIN(length, 2) : MIN(length, a->options_length - start);
		if (compared && memcmp(a->options + start, b->options + start, compared) != 0)
			return false;
	} while (kind != OPTION_END);
	return true;
}

/* Does filter-rewriter give the client's numbers of this connection to the SVM in the SVM's, and back? */
static bool
is_mapped(const struct packet *p)
{
	return (p->flags & PACKET_TCP_ACK) && packet_is_rewritten(p);
}

static bool
same_syn(const struct packet *a, const struct packet *b)
{
	const uint8_t flags = PACKET_TCP_SYN | PACKET_TCP_ACK | PACKET_TCP_FIN | PACKET_TCP_ECE | PACKET_TCP_CWR;

	if ((a->flags & flags) != (b->flags & flags))
		return false;
	if (!is_mapped(a) && a->seq != b->seq)
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
		return differ(t, DIFFERENCE_SYN);
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
		return differ(t, DIFFERENCE_CONNECTION);	/* segments of the old connection have not left: two connections cannot be compared at once */
	stream_clear(&t->primary);
	t->compared = t->floor = t->released = t->released_ack = t->released_urgent = (struct seq_mark){ .known = false };
	t->syn_same = t->syn_released = false;
	t->primary_syn = s;
	return pair_syn(t);
}

/* What the SVM has said of the other direction and of urgent data. */
static void
raise_secondary(struct tcp_compare *t, const struct tcp_segment *s)
{
	uint32_t mark;

	if (has(s, PACKET_TCP_ACK))
		seq_mark_raise(&t->secondary_ack, s->packet->ack);
	if (urgent_mark(s, &mark))
		seq_mark_raise(&t->secondary_urgent, mark);
}

static enum verdict
secondary_starts_over(struct tcp_compare *t, const struct tcp_segment *s)
{
	stream_clear(&t->secondary);
	t->secondary_ack.known = t->secondary_urgent.known = false;
	raise_secondary(t, s);
	seq_mark_set(&t->secondary_isn, s->packet->seq);
	t->secondary_syn = s;
	return pair_syn(t);
}

/* -- segments -------------------------------------------------------------------------------------------------------------------------- */

void
tcp_absorb(struct tcp_compare *t, const struct tcp_segment *s)
{
	uint32_t mark;

	if (has(s, PACKET_TCP_RST))
		return;
	if (starts_over(&t->isn, s)) {
		seq_mark_set(&t->isn, s->packet->seq);
		seq_mark_set(&t->next, s->end);
		t->ack.known = t->urgent.known = false;
	} else if (has_content(s)) {
		seq_mark_raise(&t->next, s->end);
	}
	if (has(s, PACKET_TCP_ACK))
		seq_mark_raise(&t->ack, s->packet->ack);
	if (urgent_mark(s, &mark))
		seq_mark_raise(&t->urgent, mark);
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
			return differ(t, DIFFERENCE_PLACE);
		if (t->floor.known && seq_after(s->packet->seq, t->floor.at) < 0)
			return differ(t, DIFFERENCE_PLACE);
		if (seq_mark_covers(&t->compared, s->end))
			return VERDICT_WAIT;
	}
	return stream_insert(&t->primary, s) ? advance(t) : differ(t, DIFFERENCE_PLACE);
}

enum verdict
tcp_primary(struct tcp_compare *t, struct tcp_segment *s)
{
	bool over = starts_over(&t->isn, s);

	tcp_absorb(t, s);
	t->waiting++;
	if (has(s, PACKET_TCP_RST))	/* one that carries anything (RFC 9293, 3.5.3 allows text) has nothing to be compared with */
		return has_content(s) ? differ(t, DIFFERENCE_RST) : VERDICT_WAIT;
	if (!has(s, PACKET_TCP_SYN) && !plain_options(s->packet))
		return differ(t, DIFFERENCE_OPTION);
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
			return differ(t, DIFFERENCE_PLACE);
	}
	return stream_insert(&t->secondary, s) ? advance(t) : differ(t, DIFFERENCE_PLACE);
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
	if (!has(s, PACKET_TCP_SYN) && !plain_options(s->packet))
		return differ(t, DIFFERENCE_OPTION);
	raise_secondary(t, s);
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
urgent_safe(const struct tcp_compare *t, const struct tcp_segment *s, struct release_evidence *e)
{
	if (!urgent_mark(s, &e->mark))
		return true;
	e->marks = true;
	e->marked = t->secondary_urgent.at;
	return seq_mark_covers(&t->secondary_urgent, e->mark);
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
		same = content_same(t, s, e) && ack_safe(&t->secondary_ack, s, e) && urgent_safe(t, s, e);
	e->same = same;
	return same ? VERDICT_SAME : VERDICT_WAIT;
}

void
tcp_released(struct tcp_compare *t, struct tcp_segment *s)
{
	uint32_t mark;

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
	if (urgent_mark(s, &mark))
		seq_mark_raise(&t->released_urgent, mark);
}

bool
tcp_matched(const struct tcp_compare *t, const struct tcp_segment *s)
{
	uint32_t mark;

	if (has(s, PACKET_TCP_RST))
		return s->answered;
	if (urgent_mark(s, &mark) && !seq_mark_covers(&t->released_urgent, mark))
		return false;
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
	t->secondary_urgent = t->released_urgent = t->urgent;
	t->secondary_isn = t->isn;
	t->syn_same = t->syn_released = t->isn.known;
	t->floor.known = false;
	t->waiting = 0;
}
