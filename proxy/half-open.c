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
	struct flow_key key;
	unsigned nic;
	GBytes *syn;
};

struct half_open {
	GHashTable *by_key;	/* of struct handshake */
};

/* Few, forgotten within a round trip, and bounded: who makes them collide makes HALF_OPEN_MAX of them a list. */
static guint
hash(gconstpointer key)
{
	const struct flow_key *k = key;

	return (guint)k->source_port << 16 ^ k->destination_port;
}

static void
handshake_free(gpointer data)
{
	struct handshake *s = data;

	g_bytes_unref(s->syn);
	g_free(s);
}

struct half_open *
half_open_new(void)
{
	struct half_open *h = g_new0(struct half_open, 1);

	h->by_key = g_hash_table_new_full(hash, flow_key_equal, NULL, handshake_free);
	return h;
}

static void
remember(struct half_open *h, const struct flow_key *key, unsigned nic, GBytes *syn)
{
	struct handshake *s = g_hash_table_lookup(h->by_key, key);

	if (!s && g_hash_table_size(h->by_key) == HALF_OPEN_MAX)
		return;
	s = g_new(struct handshake, 1);
	*s = (struct handshake){ *key, nic, g_bytes_ref(syn) };
	g_hash_table_replace(h->by_key, &s->key, s);
}

void
half_open_inbound(struct half_open *h, unsigned nic, GBytes *frame)
{
	struct flow_key key;
	struct packet p;

	packet_parse(&p, frame);
	if (p.class != PACKET_TCP || !packet_is_rewritten(&p))
		return;
	flow_key_make(&key, nic, &p);
	if ((p.flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) == PACKET_TCP_SYN)
		remember(h, &key, nic, frame);
	else if (p.flags & PACKET_TCP_ACK)
		g_hash_table_remove(h->by_key, &key);
}

/* The SYN made an ACK of 1. Its vnet header says nothing, or a checksum that is not there yet would be taken for granted. */
static GBytes *
decoy(GBytes *syn)
{
	size_t size = g_bytes_get_size(syn), vnet;
	uint8_t *wire = g_memdup2(g_bytes_get_data(syn, NULL), size), *ethernet, *tcp;
	GBytes *frame = g_bytes_new_take(wire, size);
	struct packet p;

	wire_frame_vnet(frame, &vnet);
	memset(wire + WIRE_FRAME_HEADER, 0, vnet);
	packet_parse(&p, frame);
	ethernet = wire + (p.ethernet - wire);
	tcp = wire + (p.l4 - wire);
	ethernet[PACKET_ETHERNET_HEADER + IP_CHECKSUM] ^= 1;
	put_be32(tcp + TCP_ACK_NUMBER, 1);
	tcp[TCP_FLAGS] = PACKET_TCP_ACK;
	return frame;
}

GBytes *
half_open_next(struct half_open *h, unsigned *nic)
{
	GHashTableIter i;
	gpointer value;
	GBytes *frame;

	g_hash_table_iter_init(&i, h->by_key);
	if (!g_hash_table_iter_next(&i, NULL, &value))
		return NULL;
	*nic = ((struct handshake *)value)->nic;
	frame = decoy(((struct handshake *)value)->syn);
	g_hash_table_iter_remove(&i);
	return frame;
}

void
half_open_free(struct half_open *h)
{
	g_hash_table_unref(h->by_key);
	g_free(h);
}
