/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What counts is what the receiver's application gets: addresses and ports (they are the flow) and the datagram. Not counted:
 *   IP identification: a counter that the two guests advance apart; it means nothing for a datagram that is not a fragment (RFC 6864, 4.1);
 *   TTL, type of service, IP options: they serve the way, not the receiver, and follow from the route and socket settings that both copies share;
 *   checksums: they follow from the rest, and with checksum offload one copy's may be partial where the other's is complete.
 * IPv6 extension headers do count: some of them are for the receiver, and a datagram has them in one piece.
 * A GSO frame is many datagrams (VIRTIO_NET_HDR_GSO_UDP_L4), one after another: each is compared with the other copy's datagram, whatever frame that is in.
 * With VIRTIO_NET_HDR_GSO_UDP it is one datagram in IP fragments; where the host will cut it counts.
 */
#include "proxy/compare-udp.h"

#include <string.h>

#define ICMP_CHECKSUM 2
#define ICMP_AFTER_CHECKSUM 4

static bool
same_bytes(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length)
{
	return a_length == b_length && (a_length == 0 || memcmp(a, b, a_length) == 0);
}

/* The parser has seen 8 bytes at least. */
static bool
same_icmp(const struct packet *a, const struct packet *b)
{
	return same_bytes(a->l4, ICMP_CHECKSUM, b->l4, ICMP_CHECKSUM) &&
	       same_bytes(a->l4 + ICMP_AFTER_CHECKSUM, a->l4_length - ICMP_AFTER_CHECKSUM,
			  b->l4 + ICMP_AFTER_CHECKSUM, b->l4_length - ICMP_AFTER_CHECKSUM);
}

unsigned
udp_datagrams(const struct packet *p)
{
	if (p->gso_type != PACKET_GSO_UDP_L4 || p->payload_length == 0)
		return 1;
	return (p->payload_length + p->gso_size - 1) / p->gso_size;
}

const struct packet *
udp_datagram(const struct packet *p, unsigned n, struct packet *view)
{
	if (p->gso_type != PACKET_GSO_UDP_L4)
		return p;
	uint32_t at = n * (uint32_t)p->gso_size;
	*view = *p;
	view->gso_type = 0;
	view->gso_size = 0;
	view->payload = p->payload + at;
	view->payload_length = MIN(p->gso_size, p->payload_length - at);
	return view;
}

enum verdict
compare_udp(const struct packet *primary, const struct packet *secondary)
{
	bool same;

	g_assert(primary->class == secondary->class && (primary->class == PACKET_UDP || primary->class == PACKET_ICMP));
	if (primary->gso_type != secondary->gso_type || primary->gso_size != secondary->gso_size)
		return VERDICT_DIFFER;
	if (!same_bytes(primary->extensions, primary->extensions_length, secondary->extensions, secondary->extensions_length))
		return VERDICT_DIFFER;
	if (primary->class == PACKET_ICMP)
		same = same_icmp(primary, secondary);
	else
		same = same_bytes(primary->payload, primary->payload_length, secondary->payload, secondary->payload_length);
	return same ? VERDICT_SAME : VERDICT_DIFFER;
}
