/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest. All its state is in its RAM pages; what it does depends on its input, on how late it runs, and now and then on chance. TCP as far as the
 * ledger needs it: one connection that stands, in-order receipt, cumulative acknowledgement, retransmission of what is not acknowledged.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "tests/proxy/frame-builder.h"

#define RTO (30 * MS)

static uint32_t
mix(uint32_t a, uint32_t b)
{
	uint64_t z = ((uint64_t)a << 32 | b) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(z ^ z >> 29);
}

uint8_t
client_stream_byte(uint32_t offset)
{
	uint8_t request[REQUEST_BYTES];
	uint32_t n = offset / REQUEST_BYTES + 1;

	put_be32(request, n);
	put_be32(request + 4, mix(n, 77));
	return request[offset % REQUEST_BYTES];
}

bool
guest_stream_byte(const struct guest *g, uint32_t offset, uint8_t *out)
{
	uint8_t reply[REPLY_BYTES];
	uint32_t n = offset / REPLY_BYTES + 1;

	if (n > guest_core_const(g)->n_done)
		return false;
	put_be32(reply, n);
	put_be32(reply + 4, guest_value_of(g, n));
	*out = reply[offset % REPLY_BYTES];
	return true;
}

void
sector_fill(uint8_t out[SECTOR], uint32_t n, uint32_t value)
{
	put_be32(out, n);
	put_be32(out + 4, value);
	put_be32(out + 8, mix(n, value));
	put_be32(out + 12, ~n);
}

void
guest_boot(struct guest *g)
{
	struct guest_core *c = guest_core(g);

	memset(g, 0, sizeof *g);
	c->rcv_nxt = c->ack_sent = CLIENT_ISN;
	c->snd_nxt = c->snd_una = GUEST_ISN;
}

/* What the two copies' frames look like: the client's are built with the ports exchanged. */
GBytes *
frame_from_client(uint32_t seq, uint32_t ack, const uint8_t *data, size_t length)
{
	return TCP(.seq = seq, .ack = ack, .flags = ACK, .data = data, .length = length, .port = 4000, .client = 80);
}

static void
take_request(struct qemu *q)
{
	struct guest_core *c = guest_core(&q->guest);
	uint32_t n = ++c->n_recv, draw = 0;

	for (unsigned i = 0; i < REQUEST_BYTES; i++)
		if (c->part[i] != client_stream_byte((n - 1) * REQUEST_BYTES + i))
			violated(q->w, "stream", "the guest on %c got other bytes than the client sent, in request %u", NAME(q->host), n);
	if (n >= LEDGER_MAX) {
		violated(q->w, "simulator", "the ledger is full");
		return;
	}
	if (chance(q->w, q->w->diverge))
		draw = (uint32_t)rnd(q->w, UINT32_MAX);
	*guest_value(&q->guest, n) = mix(n > 1 ? guest_value_of(&q->guest, n - 1) : 1, n ^ draw);
	q->guest.page[4 + n % 4][n % 4096] = (uint8_t)n;
	if (n % 16 == 0)
		q->guest.page[RAM_BLOCK0 + n / 16 % 4][n % 4096] = (uint8_t)draw;
}

static void
take_frame(struct qemu *q, GBytes *frame)
{
	struct guest_core *c = guest_core(&q->guest);
	struct packet p;

	packet_parse(&p, frame);
	g_assert(p.class == PACKET_TCP);
	if ((int32_t)(p.ack - c->snd_una) > 0 && (int32_t)(p.ack - c->snd_nxt) <= 0)
		c->snd_una = p.ack;
	if (p.payload_length == 0)
		return;
	if ((int32_t)(p.seq - c->rcv_nxt) > 0 || (int32_t)(p.seq + p.payload_length - c->rcv_nxt) <= 0) {
		c->ack_sent = c->rcv_nxt - 1;	/* out of order or old: say where we are */
		return;
	}
	for (uint32_t i = c->rcv_nxt - p.seq; i < p.payload_length; i++) {
		c->part[c->part_length++] = p.payload[i];
		c->rcv_nxt++;
		if (c->part_length == REQUEST_BYTES) {
			c->part_length = 0;
			take_request(q);
		}
	}
}

static void
send_segment(struct qemu *q, uint32_t seq, uint32_t length)
{
	struct guest_core *c = guest_core(&q->guest);
	uint8_t data[64];

	for (uint32_t i = 0; i < length; i++)
		g_assert(guest_stream_byte(&q->guest, seq - GUEST_ISN + i, data + i));
	c->ack_sent = c->rcv_nxt;
	qemu_transmit(q, TCP(.seq = seq, .ack = c->rcv_nxt, .flags = ACK, .data = data, .length = length, .ip_id = (uint16_t)q->w->order));
}

static void
send_new(struct qemu *q)
{
	struct guest_core *c = guest_core(&q->guest);
	uint32_t end = GUEST_ISN + c->n_done * REPLY_BYTES;

	while (c->snd_nxt != end) {
		uint32_t most = chance(q->w, 30) ? (uint32_t)between(q->w, 1, 64) : 64;
		uint32_t n = MIN(end - c->snd_nxt, most), seq = c->snd_nxt;
		c->snd_nxt += n;
		c->sent_at = q->w->now;
		send_segment(q, seq, n);
	}
	if (c->snd_una != c->snd_nxt && q->w->now - c->sent_at > RTO) {
		c->sent_at = q->w->now;
		send_segment(q, c->snd_una, MIN(64, c->snd_nxt - c->snd_una));
	}
	if (c->ack_sent != c->rcv_nxt && chance(q->w, 70))
		send_segment(q, c->snd_nxt, 0);
}

/* Every fourth number is told to whom it may concern, too. */
static void
send_datagrams(struct qemu *q)
{
	struct guest_core *c = guest_core(&q->guest);

	while (4 * (c->udp_sent + 1) <= c->n_done) {
		char text[32];
		c->udp_sent++;
		g_snprintf(text, sizeof text, "%u:%u", c->udp_sent, guest_value_of(&q->guest, 4 * c->udp_sent));
		qemu_transmit(q, udp_frame(53, text));
	}
}

void
guest_run(struct qemu *q)
{
	struct guest_core *c = guest_core(&q->guest);
	GBytes *frame;

	while ((frame = g_queue_pop_head(&q->rx))) {
		take_frame(q, frame);
		g_bytes_unref(frame);
	}
	if (!q->write_out && c->n_recv > c->n_done)
		qemu_disk_write(q, c->n_done + 1, guest_value_of(&q->guest, c->n_done + 1));
	send_new(q);
	send_datagrams(q);
}
