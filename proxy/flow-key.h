/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What makes two frames of one flow: frames of one flow are compared and released in order, flows do not wait for each other. Pure. */
#pragma once

#include "proxy/packet.h"

#define FLOW_KEY_MAC_PAIR 12
#define FLOW_KEY_ADDRESSES 48	/* TCP, UDP, ICMP, fragments: the IP pair, source first; others: the two MAC addresses, then the IP pair if there is one */

struct flow_key {
	uint32_t nic;
	uint16_t ethertype;
	uint8_t class, protocol;
	uint16_t source_port, destination_port;
	uint16_t vlan[PACKET_VLAN_TAGS];
	uint8_t addresses[FLOW_KEY_ADDRESSES];
};
G_STATIC_ASSERT(sizeof(struct flow_key) == 64);	/* no padding: hashed and compared as bytes */

void flow_key_make(struct flow_key *out, unsigned nic, const struct packet *packet);

/*
 * Guests and their clients choose addresses and ports. Who could choose keys of one hash, too, would make the flow table a list; so the hash depends on a secret, made
 * from a seed that they do not know. The same seed makes the same secret.
 */
#define FLOW_SECRET_SIZE 192
struct flow_secret { uint8_t bytes[FLOW_SECRET_SIZE]; };
void flow_secret_make(struct flow_secret *out, const char *seed);
guint flow_key_hash(const struct flow_key *key, const struct flow_secret *secret);
gboolean flow_key_equal(gconstpointer a, gconstpointer b);
