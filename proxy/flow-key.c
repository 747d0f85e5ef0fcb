/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/flow-key.h"

#include <string.h>
#include <xxhash.h>

G_STATIC_ASSERT(FLOW_SECRET_SIZE >= XXH3_SECRET_SIZE_MIN);
G_STATIC_ASSERT(FLOW_SECRET_SIZE % sizeof(XXH128_hash_t) == 0);

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

void
flow_secret_make(struct flow_secret *out, const char *seed)
{
	size_t length = strlen(seed);

	for (size_t at = 0; at < sizeof out->bytes; at += sizeof(XXH128_hash_t)) {
		XXH128_hash_t part = XXH3_128bits_withSeed(seed, length, at);

		memcpy(out->bytes + at, &part, sizeof part);
	}
}

guint
flow_key_hash(const struct flow_key *key, const struct flow_secret *secret)
{
	return (guint)XXH3_64bits_withSecret(key, sizeof *key, secret->bytes, sizeof secret->bytes);
}

gboolean
flow_key_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct flow_key)) == 0;
}
