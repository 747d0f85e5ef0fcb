/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/announce.h"

#include <string.h>

#include "daemon/base/byte-reader.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"

#define ETHERNET_MIN 60			/* without the checksum */
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_RARP 0x8035
#define ARP_LENGTH 28
#define ARP_REQUEST 1
#define RARP_REQUEST 3			/* RFC 903, "request reverse" */
#define IPV6_HEADER 40
#define PROTOCOL_ICMPV6 58
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_ADVERTISEMENT_LENGTH 32	/* with the option below */
#define ND_OVERRIDE 0x20
#define ND_TARGET_LINK_ADDRESS 2

/* -- learning -------------------------------------------------------------------------------------------------------------------------- */

static bool
is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Into the ring of `size`-byte addresses, unless it is there. */
static void
remember(uint8_t *ring, uint64_t *n, const uint8_t *address, size_t size)
{
	if (is_zero(address, size))	/* an address that is only being probed for (RFC 5227, 1.1; RFC 4862, 5.4.2) */
		return;
	for (uint64_t i = 0; i < MIN(*n, ANNOUNCER_ADDRESSES); i++)
		if (memcmp(ring + i * size, address, size) == 0)
			return;
	memcpy(ring + *n % ANNOUNCER_ADDRESSES * size, address, size);
	++*n;
}

/* An Ethernet/IPv4 ARP request from the guest's own MAC. */
static void
learn_arp(struct announcer *a, const uint8_t *arp, size_t length)
{
	static const uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, ARP_REQUEST };

	if (length >= ARP_LENGTH && memcmp(arp, head, sizeof head) == 0 && memcmp(arp + 8, a->mac, 6) == 0)
		remember(a->ipv4[0], &a->n4, arp + 14, 4);
}

static void
learn_ip(struct announcer *a, GBytes *frame)
{
	struct packet p;

	packet_parse(&p, frame);
	if (p.vlan[0])
		return;
	if (p.ethertype == ETHERTYPE_ARP)
		learn_arp(a, p.ethernet + PACKET_ETHERNET_HEADER, p.ethernet_length - PACKET_ETHERNET_HEADER);
	else if (p.class == PACKET_ICMP && p.address_length == 16 && p.l4[0] == ND_SOLICITATION)
		remember(a->ipv6[0], &a->n6, p.source, 16);
}

void
announcer_learn(struct announcer *a, GBytes *frame)
{
	size_t length, vnet;
	const uint8_t *ethernet = wire_frame_ethernet(frame, &length);

	wire_frame_vnet(frame, &vnet);
	if (length < PACKET_ETHERNET_HEADER || ethernet[6] & 1)
		return;
	memcpy(a->mac, ethernet + 6, sizeof a->mac);
	a->vnet_length = (uint8_t)vnet;
	a->known = true;
	learn_ip(a, frame);
}

/* -- announcing ------------------------------------------------------------------------------------------------------------------------ */

/* A wire frame of zeros but for the Ethernet header; *payload is behind that. */
static uint8_t *
frame_new_to(const struct announcer *a, const uint8_t destination[6], uint16_t ethertype, size_t payload_length, size_t *size, uint8_t **payload)
{
	size_t length = MAX(PACKET_ETHERNET_HEADER + payload_length, ETHERNET_MIN);
	uint8_t *wire, *e;

	*size = WIRE_FRAME_HEADER + a->vnet_length + length;
	wire = g_malloc0(*size);
	put_be32(wire, (uint32_t)(a->vnet_length + length));
	put_be32(wire + 4, a->vnet_length);
	e = wire + WIRE_FRAME_HEADER + a->vnet_length;
	memcpy(e, destination, 6);
	memcpy(e + 6, a->mac, 6);
	put_be16(e + 12, ethertype);
	*payload = e + PACKET_ETHERNET_HEADER;
	return wire;
}

/* ARP and RARP: the sender is this MAC and `address` (NULL: none). */
static GBytes *
arp_frame(const struct announcer *a, uint16_t ethertype, uint16_t operation, const uint8_t *address)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	size_t size;
	uint8_t *arp, *wire = frame_new_to(a, all, ethertype, ARP_LENGTH, &size, &arp);

	put_be16(arp, 1);		/* hardware: Ethernet */
	put_be16(arp + 2, PACKET_TYPE_IPV4);
	arp[4] = 6;
	arp[5] = 4;
	put_be16(arp + 6, operation);
	memcpy(arp + 8, a->mac, 6);
	if (address) {
		memcpy(arp + 14, address, 4);
		memcpy(arp + 24, address, 4);
	} else {
		memcpy(arp + 18, a->mac, 6);
	}
	return g_bytes_new_take(wire, size);
}

/* RFC 1071 over the pseudo header (RFC 8200, 8.1) and the message. */
static uint16_t
icmpv6_checksum(const uint8_t *ip, size_t length)
{
	uint32_t sum = (uint32_t)length + PROTOCOL_ICMPV6;

	for (size_t i = 8; i < IPV6_HEADER + length; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static GBytes *
advertisement(const struct announcer *a, const uint8_t address[16])
{
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 }, all_nodes[16] = { 0xff, 2, [15] = 1 };
	size_t size;
	uint8_t *ip, *wire = frame_new_to(a, all_nodes_mac, PACKET_TYPE_IPV6, IPV6_HEADER + ND_ADVERTISEMENT_LENGTH, &size, &ip), *nd = ip + IPV6_HEADER;

	ip[0] = 0x60;
	put_be16(ip + 4, ND_ADVERTISEMENT_LENGTH);
	ip[6] = PROTOCOL_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, address, 16);
	memcpy(ip + 24, all_nodes, 16);
	nd[0] = ND_ADVERTISEMENT;
	nd[4] = ND_OVERRIDE;
	memcpy(nd + 8, address, 16);
	nd[24] = ND_TARGET_LINK_ADDRESS;
	nd[25] = 1;			/* in units of 8 bytes */
	memcpy(nd + 26, a->mac, 6);
	put_be16(nd + 2, icmpv6_checksum(ip, ND_ADVERTISEMENT_LENGTH));
	return g_bytes_new_take(wire, size);
}

GBytes *
announcer_frame(const struct announcer *a, unsigned n)
{
	unsigned n4 = (unsigned)MIN(a->n4, ANNOUNCER_ADDRESSES), n6 = (unsigned)MIN(a->n6, ANNOUNCER_ADDRESSES);

	if (!a->known || n > n4 + n6)
		return NULL;
	if (n == 0)
		return arp_frame(a, ETHERTYPE_RARP, RARP_REQUEST, NULL);
	if (n <= n4)
		return arp_frame(a, ETHERTYPE_ARP, ARP_REQUEST, a->ipv4[n - 1]);
	return advertisement(a, a->ipv6[n - 1 - n4]);
}
