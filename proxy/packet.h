/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A checked, zero-copy view of one wire frame. Total: every sequence of bytes has a view; what is not well formed is PACKET_OTHER. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_class {
	PACKET_TCP,	/* whole IPv4 TCP segment: compared as a part of its stream */
	PACKET_UDP,	/* whole IPv4 UDP datagram */
	PACKET_ICMP,	/* whole IPv4 ICMP message */
	PACKET_OTHER,	/* all the rest (IPv6, 802.1Q/QinQ, ARP, IPv4 fragments, other protocols, lengths that lie): compared byte by byte */
	PACKET_LAST
};
const char *packet_class_name(enum packet_class class);

#define PACKET_ETHERNET_HEADER 14
#define PACKET_TYPE_IPV4 0x0800
#define PACKET_TYPE_IPV6 0x86dd

#define PACKET_TCP_FIN 0x01
#define PACKET_TCP_SYN 0x02
#define PACKET_TCP_RST 0x04
#define PACKET_TCP_ACK 0x10

/* Pointers are into the frame: the view lives no longer than it. Fields below a class's line are set for that class only. */
struct packet {
	enum packet_class class;
	const uint8_t *whole;		/* vnet header + Ethernet frame */
	size_t whole_length;
	const uint8_t *ethernet;	/* Ethernet frame */
	size_t ethernet_length;
	uint16_t ethertype;		/* 0 when the frame has no Ethernet header */
	uint8_t gso_type;		/* of the vnet header, without the ECN bit; 0: one packet on the wire */
	uint16_t gso_size;

	/* TCP, UDP, ICMP */
	uint8_t protocol;
	const uint8_t *source, *destination;	/* 4 bytes each */
	const uint8_t *l4;			/* L4 header; l4_length to the end of the IP packet, so without the frame's padding */
	size_t l4_length;
	uint16_t source_port, destination_port;	/* ICMP: type and code, echo identifier */
	const uint8_t *payload;
	uint32_t payload_length;

	/* TCP */
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *options;
	size_t options_length;
};

/* `frame` is in wire-frame.h format; one that is not is PACKET_OTHER as a whole. */
void packet_parse(struct packet *out, GBytes *frame);
