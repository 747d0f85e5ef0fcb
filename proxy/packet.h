/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A checked, zero-copy view of one wire frame. Total: every sequence of bytes has a view; what is not well formed is PACKET_OTHER. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first three over IPv4 or IPv6, with up to two VLAN tags before them. */
enum packet_class {
	PACKET_TCP,	/* whole segment: compared as a part of its stream */
	PACKET_UDP,	/* whole datagram, or several that the host cuts apart (GSO) */
	PACKET_ICMP,	/* whole ICMP or ICMPv6 message, neighbour discovery among them */
	PACKET_FRAGMENT,	/* of an IP packet: compared byte by byte */
	PACKET_OTHER,	/* all the rest (ARP, other protocols, lengths that lie): compared byte by byte */
	PACKET_LAST
};
const char *packet_class_name(enum packet_class class);

#define PACKET_ETHERNET_HEADER 14
#define PACKET_TYPE_IPV4 0x0800
#define PACKET_TYPE_IPV6 0x86dd
#define PACKET_VLAN_TAGS 2	/* 802.1Q in 802.1ad; a frame with more is PACKET_OTHER */
#define PACKET_VLAN_TAGGED 0x1000	/* in vlan[]: there is a tag, even with identifier 0 */
#define PACKET_ADDRESS_MAX 16

#define PACKET_TCP_FIN 0x01
#define PACKET_TCP_SYN 0x02
#define PACKET_TCP_RST 0x04
#define PACKET_TCP_PSH 0x08
#define PACKET_TCP_ACK 0x10
#define PACKET_TCP_URG 0x20
#define PACKET_TCP_ECE 0x40
#define PACKET_TCP_CWR 0x80

#define PACKET_GSO_TCPV4 1	/* virtio 1.2, 5.1.6 */
#define PACKET_GSO_UDP 3	/* one datagram that the host cuts into IP fragments */
#define PACKET_GSO_TCPV6 4
#define PACKET_GSO_UDP_L4 5	/* datagrams of gso_size bytes each */

/* Pointers are into the frame: the view lives no longer than it. Fields below a class's line are set for that class only. */
struct packet {
	enum packet_class class;
	const uint8_t *whole;		/* vnet header + Ethernet frame */
	size_t whole_length;
	const uint8_t *ethernet;	/* Ethernet frame */
	size_t ethernet_length;
	uint16_t ethertype;		/* behind the VLAN tags; 0 when the frame has no Ethernet header */
	uint16_t vlan[PACKET_VLAN_TAGS];	/* PACKET_VLAN_TAGGED and the identifier, outer one first; 0: no tag */
	uint8_t gso_type;		/* of the vnet header, without the ECN bit; 0: one packet on the wire */
	uint16_t gso_size;

	/* Where there is an IP header, also in PACKET_FRAGMENT and PACKET_OTHER */
	uint8_t protocol;		/* of the transport; the last one that was understood when that is not reached */
	uint8_t address_length;		/* 4 or 16; 0: no IP addresses */
	const uint8_t *source, *destination;

	/* TCP, UDP, ICMP */
	const uint8_t *extensions;	/* IPv6 extension headers before the transport */
	size_t extensions_length;
	const uint8_t *l4;			/* L4 header; l4_length to the end of the IP packet, so without the frame's padding */
	size_t l4_length;
	uint16_t source_port, destination_port;	/* ICMP: type and code, echo identifier */
	const uint8_t *payload;
	uint32_t payload_length;

	/* TCP */
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t urgent;
	const uint8_t *options;
	size_t options_length;
};

/* `frame` is in wire-frame.h format; one that is not is PACKET_OTHER as a whole. */
void packet_parse(struct packet *out, GBytes *frame);
/* Does QEMU's filter-rewriter take it for TCP? It knows IPv4 without VLAN tags only, and of that fragments too (net/colo.c, parse_packet_early()). */
bool packet_is_rewritten(const struct packet *p);
/* Addresses and ports are as those of an answer to it would be; nothing else is changed. */
void packet_turn(struct packet *p);
