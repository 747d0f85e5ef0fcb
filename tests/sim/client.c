/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The LAN and the ledger's client: sends number after number over one connection, retransmits, and knows what it was promised. */
#include "tests/sim/sim.h"

#include <string.h>

#include "proxy/packet.h"

#define RTO_MIN (40 * MS)
#define RTO_MAX (160 * MS)

/* -- to the guest -------------------------------------------------------------------------------------------------------------------- */

static void
on_frame_at_hosts(struct world *w, struct event *e)
{
	for (unsigned i = 0; i < 2; i++)
		if (w->host[i].power)
			qemu_hear(&w->host[i].q, e->bytes);
}

static void
send_range(struct world *w, uint32_t from, uint32_t length)
{
	uint8_t data[64];

	for (uint32_t i = 0; i < length; i++)
		data[i] = client_stream_byte(from - CLIENT_ISN + i);
	GBytes *frame = frame_from_client(from, w->client.rcv_nxt, data, length);
	if (rnd(w, 1000) < w->loss)
		g_bytes_unref(frame);
	else
		later(w, between(w, 30 * US, 200 * US), &(struct event){ .fn = on_frame_at_hosts, .bytes = frame });
}

static void on_kick(struct world *w, struct event *e);

static void
kick(struct world *w, uint64_t delay)
{
	if (w->client.kicked)
		return;
	w->client.kicked = true;
	later(w, delay, &(struct event){ .fn = on_kick });
}

static void
send_new(struct world *w)
{
	struct client *c = &w->client;

	while (!c->silent && c->n_sent - c->n_acked < c->window && c->n_sent < LEDGER_MAX - 10) {
		uint32_t end = CLIENT_ISN + (c->n_sent + 1) * REQUEST_BYTES;
		uint32_t n = end - c->snd_nxt;
		if (chance(w, 10) && n > 1)
			n = (uint32_t)between(w, 1, n - 1);	/* the rest follows in another segment */
		send_range(w, c->snd_nxt, n);
		c->snd_nxt += n;
		c->sent_at = w->now;
		if (c->snd_nxt == end)
			c->n_sent++;
	}
}

static void
on_kick(struct world *w, struct event *e)
{
	struct client *c = &w->client;

	c->kicked = false;
	send_new(w);
	if (c->snd_una != c->snd_nxt && w->now - c->sent_at >= c->rto) {
		send_range(w, c->snd_una, MIN(64, c->snd_nxt - c->snd_una));
		c->sent_at = w->now;
		c->rto = MIN(2 * c->rto, RTO_MAX);
	}
	kick(w, between(w, 1 * MS, c->think));
}

void
client_start(struct world *w)
{
	struct client *c = &w->client;

	*c = (struct client){ .snd_una = CLIENT_ISN, .snd_nxt = CLIENT_ISN, .rcv_nxt = GUEST_ISN, .rto = RTO_MIN };
	c->window = (uint32_t)between(w, 1, 4);
	c->think = between(w, 2 * MS, 10 * MS);
	w->lan.max_ack = CLIENT_ISN;
	w->lan.max_end = GUEST_ISN;
	kick(w, MS);
}

/* -- from the guest ------------------------------------------------------------------------------------------------------------------- */

static void
on_frame_at_client(struct world *w, struct event *e)
{
	struct client *c = &w->client;
	struct packet p;

	packet_parse(&p, e->bytes);
	if (p.class != PACKET_TCP)
		return;
	if ((int32_t)(p.ack - c->snd_nxt) > 0)
		violated(w, "stream", "the guest acknowledges %u, the client has sent up to %u", p.ack, c->snd_nxt);
	if ((int32_t)(p.ack - c->snd_una) > 0) {
		c->snd_una = p.ack;
		c->sent_at = w->now;
		c->rto = RTO_MIN;
	}
	if (p.payload_length == 0)
		return;
	if ((int32_t)(p.seq - c->rcv_nxt) <= 0 && (int32_t)(p.seq + p.payload_length - c->rcv_nxt) > 0) {
		c->rcv_nxt = p.seq + p.payload_length;
		c->n_acked = (c->rcv_nxt - GUEST_ISN) / REPLY_BYTES;
	}
	send_range(w, c->snd_nxt, 0);
}

void
lan_enter(struct world *w, unsigned host, GBytes *frame)
{
	w->released++;
	check_frame(w, host, frame);
	if (rnd(w, 1000) >= w->loss)
		later(w, between(w, 30 * US, 200 * US), &(struct event){ .fn = on_frame_at_client, .bytes = g_bytes_ref(frame) });
}
