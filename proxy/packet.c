/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames come from the guest: every length in them may lie. The parser believes a length only when it fits into what is really there, and
 * makes the frame PACKET_OTHER when it does not, so that it is still compared (byte by byte) and never dropped.
 *
 * GSO: with a virtio-net header one frame may carry up to 64 KiB that the host cuts into packets later (virtio 1.2, 5.1.6). Its IP and TCP lengths
 * are those of the whole, so it parses like any other; its L4 checksum may be partial (VIRTIO_NET_HDR_F_NEEDS_CSUM) and is looked at by nobody.
 *
 * The IP total length decides where a packet ends, not the frame: short frames are padded to 60 bytes (IEEE 802.3, 3.2.8).
 */
#include "proxy/packet.h"

#include "daemon/base/byte-reader.h"
#include "proxy/wire-frame.h"

#define IPV4_HEADER 20
#define IPV4_FRAGMENT 0x3fff	/* "more fragments" and the offset (RFC 791, 3.1); "don't fragment" does not make a fragment */
#define TCP_HEADER 20
#define UDP_HEADER 8
#define ICMP_HEADER 8

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8

/* struct virtio_net_hdr (virtio 1.2, 5.1.6): u8 flags, u8 gso_type, le16 hdr_len, le16 gso_size, ... */
#define VNET_GSO_TYPE 1
#define VNET_GSO_SIZE 4
#define VNET_MIN 10
#define VNET_GSO_ECN 0x80

static const char *const class_names[] = {
	[PACKET_TCP] = "tcp",
	[PACKET_UDP] = "udp",
	[PACKET_ICMP] = "icmp",
	[PACKET_OTHER] = "other",
};
G_STATIC_ASSERT(G_N_ELEMENTS(class_names) == PACKET_LAST);

const char *
packet_class_name(enum packet_class class)
{
	g_assert(class < PACKET_LAST);
	return class_names[class];
}

static void
parse_tcp(struct packet *p)
{
	struct byte_reader r = byte_reader_init(p->l4, p->l4_length);

	p->source_port = byte_reader_be16(&r);
	p->destination_port = byte_reader_be16(&r);
	p->seq = byte_reader_be32(&r);
	p->ack = byte_reader_be32(&r);
	size_t header = (size_t)(byte_reader_u8(&r) >> 4) * 4;
	p->flags = byte_reader_u8(&r);
	byte_reader_bytes(&r, 6);	/* window, checksum, urgent pointer */
	if (r.bad || header < TCP_HEADER)
		return;
	p->options_length = header - TCP_HEADER;
	p->options = byte_reader_bytes(&r, p->options_length);
	if (r.bad)
		return;
	p->payload = r.p;
	p->payload_length = (uint32_t)r.left;
	p->class = PACKET_TCP;
}

/* A UDP length shorter than the IP packet leaves bytes that no datagram comparison would see (UDP options): such a frame is compared whole. */
static void
parse_udp(struct packet *p)
{
	struct byte_reader r = byte_reader_init(p->l4, p->l4_length);

	p->source_port = byte_reader_be16(&r);
	p->destination_port = byte_reader_be16(&r);
	uint16_t length = byte_reader_be16(&r);
	byte_reader_be16(&r);
	if (r.bad || length != p->l4_length)
		return;
	p->payload = r.p;
	p->payload_length = (uint32_t)r.left;
	p->class = PACKET_UDP;
}

static void
parse_icmp(struct packet *p)
{
	struct byte_reader r = byte_reader_init(p->l4, p->l4_length);

	uint8_t type = byte_reader_u8(&r);
	p->source_port = (uint16_t)(type << 8 | byte_reader_u8(&r));
	byte_reader_be16(&r);
	uint16_t identifier = byte_reader_be16(&r);
	byte_reader_be16(&r);
	if (r.bad)
		return;
	p->destination_port = type == ICMP_ECHO || type == ICMP_ECHO_REPLY ? identifier : 0;
	p->payload = r.p;
	p->payload_length = (uint32_t)r.left;
	p->class = PACKET_ICMP;
}

static void
parse_l4(struct packet *p)
{
	if (p->protocol == PROTOCOL_TCP)
		parse_tcp(p);
	else if (p->protocol == PROTOCOL_UDP)
		parse_udp(p);
	else if (p->protocol == PROTOCOL_ICMP)
		parse_icmp(p);
}

static void
parse_ipv4(struct packet *p, struct byte_reader r)
{
	size_t there = r.left;
	uint8_t version = byte_reader_u8(&r);
	size_t header = (size_t)(version & 15) * 4;

	byte_reader_u8(&r);	/* type of service */
	size_t total = byte_reader_be16(&r);
	byte_reader_be16(&r);	/* identification */
	uint16_t fragment = byte_reader_be16(&r);
	byte_reader_u8(&r);	/* time to live */
	p->protocol = byte_reader_u8(&r);
	byte_reader_be16(&r);	/* checksum */
	p->source = byte_reader_bytes(&r, 4);
	p->destination = byte_reader_bytes(&r, 4);
	if (r.bad || version >> 4 != 4 || header < IPV4_HEADER || total < header || total > there || fragment & IPV4_FRAGMENT)
		return;
	byte_reader_bytes(&r, header - IPV4_HEADER);
	p->l4_length = total - header;
	p->l4 = byte_reader_bytes(&r, p->l4_length);
	if (!r.bad)
		parse_l4(p);
}

/* gso_size keeps the guest's byte order: it is only ever compared with the other copy's. */
static void
parse_vnet(struct packet *p, const uint8_t *vnet, size_t length)
{
	if (length < VNET_MIN)
		return;
	p->gso_type = vnet[VNET_GSO_TYPE] & (uint8_t)~VNET_GSO_ECN;
	p->gso_size = p->gso_type ? (uint16_t)(vnet[VNET_GSO_SIZE] | vnet[VNET_GSO_SIZE + 1] << 8) : 0;
}

void
packet_parse(struct packet *out, GBytes *frame)
{
	size_t size, vnet_length;
	const uint8_t *data = g_bytes_get_data(frame, &size);

	*out = (struct packet){ .class = PACKET_OTHER, .whole = data, .whole_length = size, .ethernet = data };
	if (!wire_frame_valid(data, size))
		return;
	out->whole = data + WIRE_FRAME_HEADER;
	out->whole_length = size - WIRE_FRAME_HEADER;
	const uint8_t *vnet = wire_frame_vnet(frame, &vnet_length);
	parse_vnet(out, vnet, vnet_length);
	out->ethernet = wire_frame_ethernet(frame, &out->ethernet_length);

	struct byte_reader r = byte_reader_init(out->ethernet, out->ethernet_length);
	byte_reader_bytes(&r, 12);
	out->ethertype = byte_reader_be16(&r);
	if (out->ethertype == PACKET_TYPE_IPV4)
		parse_ipv4(out, r);
}
