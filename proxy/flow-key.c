/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/flow-key.h"

#include <string.h>

#define MAC_PAIR 12
#define IPV6_ADDRESSES 8	/* offset in the header (RFC 8200, 3) */
#define IPV6_PAIR 32

static void
other_addresses(struct flow_key *out, const struct packet *p)
{
	size_t ipv6 = PACKET_ETHERNET_HEADER + IPV6_ADDRESSES;

	if (p->ethernet_length < PACKET_ETHERNET_HEADER)
		return;
	memcpy(out->addresses, p->ethernet, MAC_PAIR);
	if (p->ethertype == PACKET_TYPE_IPV6 && p->ethernet_length >= ipv6 + IPV6_PAIR)
		memcpy(out->addresses + MAC_PAIR, p->ethernet + ipv6, IPV6_PAIR);
}

void
flow_key_make(struct flow_key *out, unsigned nic, const struct packet *p)
{
	*out = (struct flow_key){ .nic = nic, .ethertype = p->ethertype, .class = (uint8_t)p->class };
	if (p->class == PACKET_OTHER) {
		other_addresses(out, p);
		return;
	}
	out->protocol = p->protocol;
	out->source_port = p->source_port;
	out->destination_port = p->destination_port;
	memcpy(out->addresses, p->source, 4);
	memcpy(out->addresses + 4, p->destination, 4);
}

guint
flow_key_hash(gconstpointer key)
{
	uint64_t word[sizeof(struct flow_key) / 8];
	uint64_t h = 0;

	memcpy(word, key, sizeof word);
	for (size_t i = 0; i < G_N_ELEMENTS(word); i++) {
		h = (h ^ word[i]) * 0x9e3779b97f4a7c15u;	/* 2^64 / golden ratio: odd, bits well mixed */
		h ^= h >> 29;
	}
	return (guint)(h ^ h >> 32);
}

gboolean
flow_key_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct flow_key)) == 0;
}
