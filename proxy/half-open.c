/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/half-open.h"

#include <stdbool.h>
#include <string.h>

#include "daemon/base/byte-reader.h"
#include "proxy/flow-key.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"

#define IP_CHECKSUM 10		/* in its header (RFC 791, 3.1) */
#define TCP_ACK_NUMBER 8	/* in its header (RFC 9293, 3.1) */
#define TCP_FLAGS 13

struct handshake {
	struct flow_key key;	/* of what the client sends */
	unsigned nic;
	GBytes *syn;
	bool answered;		/* by the SVM, since it last stood for a load */
	bool split;		/* by the last load, and not answered since */
	GList link;
};

struct half_open {
	GHashTable *by_key;	/* of struct handshake */
	GQueue by_age;		/* of the same */
	GPtrArray *seen;	/* by NIC: the last TCP frame with data, or NULL; its connection is one that filter-rewriter knows, most likely */
};

/* Few, forgotten within a round trip, and bounded: who makes them collide makes HALF_OPEN_MAX of them a list. */
static guint
hash(gconstpointer key)
{
	const struct flow_key *k = key;

	return (guint)k->source_port << 16 ^ k->destination_port;
}

static void
forget(struct half_open *h, struct handshake *s)
{
	g_hash_table_remove(h->by_key, &s->key);
	g_queue_unlink(&h->by_age, &s->link);
	g_bytes_unref(s->syn);
	g_free(s);
}

struct half_open *
half_open_new(void)
{
	struct half_open *h = g_new0(struct half_open, 1);

	h->by_key = g_hash_table_new(hash, flow_key_equal);
	h->seen = g_ptr_array_new();
	return h;
}

/* A SYN that comes again is of the same handshake: what the load has done to it stays done. */
static void
remember(struct half_open *h, const struct flow_key *key, unsigned nic, GBytes *syn)
{
	struct handshake *s = g_hash_table_lookup(h->by_key, key);

	if (s)
		return;
	if (h->by_age.length == HALF_OPEN_MAX)
		forget(h, h->by_age.head->data);
	s = g_new(struct handshake, 1);
	*s = (struct handshake){ .key = *key, .nic = nic, .syn = g_bytes_ref(syn), .link = { .data = s } };
	g_hash_table_insert(h->by_key, &s->key, s);
	g_queue_push_tail_link(&h->by_age, &s->link);
}

/* For filter-rewriter, not for the guest. The vnet header says nothing, or a checksum that is not there yet would be taken for granted. */
static GBytes *
decoy(GBytes *like, uint8_t flags, uint32_t ack)
{
	size_t size = g_bytes_get_size(like), vnet;
	uint8_t *wire = g_memdup2(g_bytes_get_data(like, NULL), size), *ethernet, *tcp;
	GBytes *frame = g_bytes_new_take(wire, size);
	struct packet p;

	wire_frame_vnet(frame, &vnet);
	memset(wire + WIRE_FRAME_HEADER, 0, vnet);
	packet_parse(&p, frame);
	ethernet = wire + (p.ethernet - wire);
	tcp = wire + (p.l4 - wire);
	ethernet[PACKET_ETHERNET_HEADER + IP_CHECKSUM] ^= 1;
	put_be32(tcp + TCP_ACK_NUMBER, ack);
	tcp[TCP_FLAGS] = flags;
	return frame;
}

static GBytes *
settling(const struct handshake *s)
{
	return s->split ? decoy(s->syn, PACKET_TCP_ACK, 1) : NULL;
}

static void
note_seen(struct half_open *h, unsigned nic, GBytes *frame)
{
	if (nic >= h->seen->len)
		g_ptr_array_set_size(h->seen, (int)nic + 1);
	if (h->seen->pdata[nic])
		g_bytes_unref(h->seen->pdata[nic]);
	h->seen->pdata[nic] = g_bytes_ref(frame);
}

GBytes *
half_open_push(const struct half_open *h, unsigned nic)
{
	return nic < h->seen->len && h->seen->pdata[nic] ? decoy(h->seen->pdata[nic], 0, 0) : NULL;
}

GBytes *
half_open_inbound(struct half_open *h, unsigned nic, GBytes *frame)
{
	struct handshake *s;
	struct flow_key key;
	struct packet p;
	GBytes *first;

	packet_parse(&p, frame);
	if (p.class != PACKET_TCP || !packet_is_rewritten(&p))
		return NULL;
	if (p.payload_length > 0 && !(p.flags & (PACKET_TCP_SYN | PACKET_TCP_FIN | PACKET_TCP_RST)))
		note_seen(h, nic, frame);
	flow_key_make(&key, nic, &p);
	if ((p.flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) == PACKET_TCP_SYN) {
		remember(h, &key, nic, frame);
		return NULL;
	}
	s = g_hash_table_lookup(h->by_key, &key);
	if (!s || !(p.flags & (PACKET_TCP_ACK | PACKET_TCP_RST)))
		return NULL;
	first = settling(s);
	forget(h, s);
	return first;
}

void
half_open_output(struct half_open *h, unsigned nic, GBytes *frame)
{
	struct handshake *s;
	struct flow_key key;
	struct packet p;

	if (!h->by_age.length)
		return;
	packet_parse(&p, frame);
	if (p.class != PACKET_TCP || (p.flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) != (PACKET_TCP_SYN | PACKET_TCP_ACK))
		return;
	packet_turn(&p);
	flow_key_make(&key, nic, &p);
	s = g_hash_table_lookup(h->by_key, &key);
	if (!s)
		return;
	s->answered = true;
	s->split = false;
}

void
half_open_stopped(struct half_open *h)
{
	for (GList *l = h->by_age.head; l; l = l->next)
		((struct handshake *)l->data)->answered = false;
}

void
half_open_loaded(struct half_open *h)
{
	for (GList *l = h->by_age.head; l; l = l->next) {
		struct handshake *s = l->data;

		s->split = !s->answered;
	}
}

GBytes *
half_open_next(struct half_open *h, unsigned *nic)
{
	while (h->by_age.head) {
		struct handshake *s = h->by_age.head->data;
		GBytes *frame = settling(s);

		*nic = s->nic;
		forget(h, s);
		if (frame)
			return frame;
	}
	return NULL;
}

void
half_open_free(struct half_open *h)
{
	while (h->by_age.head)
		forget(h, h->by_age.head->data);
	for (guint i = 0; i < h->seen->len; i++)
		if (h->seen->pdata[i])
			g_bytes_unref(h->seen->pdata[i]);
	g_ptr_array_unref(h->seen);
	g_hash_table_unref(h->by_key);
	g_free(h);
}
