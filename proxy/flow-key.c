/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/flow-key.h"

#include <string.h>

static void
put_ip_pair(uint8_t *at, const struct packet *p)
{
	if (!p->address_length)
		return;
	memcpy(at, p->source, p->address_length);
	memcpy(at + p->address_length, p->destination, p->address_length);
}

void
flow_key_make(struct flow_key *out, unsigned nic, const struct packet *p)
{
	*out = (struct flow_key){
		.nic = nic,
		.ethertype = p->ethertype,
		.class = (uint8_t)p->class,
		.protocol = p->protocol,
		.vlan = { p->vlan[0], p->vlan[1] },
	};
	if (p->class == PACKET_OTHER) {
		if (p->ethernet_length >= PACKET_ETHERNET_HEADER)
			memcpy(out->addresses, p->ethernet, FLOW_KEY_MAC_PAIR);
		put_ip_pair(out->addresses + FLOW_KEY_MAC_PAIR, p);
		return;
	}
	put_ip_pair(out->addresses, p);
	if (p->class == PACKET_FRAGMENT)
		return;
	out->source_port = p->source_port;
	out->destination_port = p->destination_port;
}

/* The words of the key that are not 0 for all flows of its kind. */
static size_t
words(const struct flow_key *key)
{
	size_t addresses = key->class == PACKET_OTHER ? FLOW_KEY_ADDRESSES : key->ethertype == PACKET_TYPE_IPV4 ? 8 : 2 * PACKET_ADDRESS_MAX;

	return (G_STRUCT_OFFSET(struct flow_key, addresses) + addresses) / 8;
}

guint
flow_key_hash(gconstpointer key)
{
	uint64_t word[sizeof(struct flow_key) / 8];
	uint64_t h = 0;

	memcpy(word, key, sizeof word);
	for (size_t i = 0, n = words(key); i < n; i++) {
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
