/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The frames come from the guest: every length in them may lie. The parser believes a length only when it fits into what is really there, and
 * makes the frame PACKET_OTHER when it does not, so that it is still compared (byte by byte) and never dropped.
 *
 * GSO: with a virtio-net header one frame may carry up to 64 KiB that the host cuts into packets later (virtio 1.2, 5.1.6). Its IP and TCP lengths
 * are those of the whole, so it parses like any other; its L4 checksum may be partial (VIRTIO_NET_HDR_F_NEEDS_CSUM) and is looked at by nobody.
 * But the header must say what the packet says: one that has the host write a checksum into the payload, or cut a segment as something else, puts other
 * bytes on the wire than the frame has. Such a frame is PACKET_OTHER: its vnet header counts.
 *
 * Fragments, of IPv4 and IPv6, are not put together: they are PACKET_FRAGMENT, compared as whole frames - identification included, because the
 * receiver puts them together by it - and covered by a commit where they differ. Two copies of one guest often choose different identifications, so
 * a fragmented datagram costs a checkpoint at worst. To put datagrams together would take memory that the guest controls, and after a failover it could
 * not be used anyway: the half that has left and the half that the other copy sends would have different identifications.
 * An IPv6 fragment that is a whole packet (RFC 6946) has an identification too.
 *
 * IPv6 extension headers: hop-by-hop options, routing and destination options are passed over and kept for the comparison of datagrams; in front of TCP only
 * hop-by-hop options are, because a stream has no place to compare the others. All other frames with extension headers are PACKET_OTHER.
 *
 * The IP lengths decide where a packet ends, not the frame: short frames are padded to 60 bytes (IEEE 802.3, 3.2.8).
 */
#include "proxy/packet.h"

#include <string.h>

#include "daemon/base/byte-reader.h"
#include "proxy/wire-frame.h"

#define IPV4_HEADER 20
#define IPV4_FRAGMENT 0x3fff	/* "more fragments" and the offset (RFC 791, 3.1); "don't fragment" does not make a fragment */
#define IPV6_EXTENSIONS_MAX 8	/* more of them: PACKET_OTHER */
#define TCP_HEADER 20
#define UDP_HEADER 8
#define ICMP_HEADER 8

#define TYPE_8021Q 0x8100
#define TYPE_8021AD 0x88a8
#define VLAN_IDENTIFIER 0x0fff	/* the rest of a tag is priority: it serves the way */

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129

/* struct virtio_net_hdr (virtio 1.2, 5.1.6): u8 flags, u8 gso_type, then 16 bits each: hdr_len, gso_size, csum_start, csum_offset. QEMU's are in the host's order. */
#define VNET_FLAGS 0
#define VNET_GSO_TYPE 1
#define VNET_GSO_SIZE 4
#define VNET_CSUM_START 6
#define VNET_CSUM_OFFSET 8
#define VNET_MIN 10
#define VNET_NEEDS_CSUM 0x01
#define VNET_GSO_ECN 0x80

#define CSUM_OFFSET_TCP 16
#define CSUM_OFFSET_UDP 6
#define CSUM_OFFSET_ICMP 2

static const char *const class_names[] = {
	[PACKET_TCP] = "tcp",
	[PACKET_UDP] = "udp",
	[PACKET_ICMP] = "icmp",
	[PACKET_FRAGMENT] = "fragment",
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
	byte_reader_bytes(&r, 4);	/* window, checksum */
	p->urgent = byte_reader_be16(&r);
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

static bool
is_echo(const struct packet *p, uint8_t type)
{
	if (p->protocol == PROTOCOL_ICMP)
		return type == ICMP_ECHO || type == ICMP_ECHO_REPLY;
	return type == ICMPV6_ECHO || type == ICMPV6_ECHO_REPLY;
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
	p->destination_port = is_echo(p, type) ? identifier : 0;
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
	else if (p->protocol == (p->address_length == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6))
		parse_icmp(p);
}

/* Both of `length` bytes; none when they are not there. */
static void
parse_addresses(struct packet *p, struct byte_reader *r, uint8_t length)
{
	const uint8_t *pair = byte_reader_bytes(r, 2 * (size_t)length);

	if (!pair)
		return;
	p->source = pair;
	p->destination = pair + length;
	p->address_length = length;
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
	parse_addresses(p, &r, 4);
	if (r.bad || version >> 4 != 4 || header < IPV4_HEADER || total < header || total > there)
		return;
	if (fragment & IPV4_FRAGMENT) {
		p->class = PACKET_FRAGMENT;
		return;
	}
	byte_reader_bytes(&r, header - IPV4_HEADER);
	p->l4_length = total - header;
	p->l4 = byte_reader_bytes(&r, p->l4_length);
	if (!r.bad)
		parse_l4(p);
}

/* Passes over the extension headers (RFC 8200, 4) in front of p->protocol. False: there is one that is not understood, or cut. */
static bool
parse_extensions(struct packet *p, struct byte_reader *r, bool *for_the_receiver)
{
	p->extensions = r->p;
	for (unsigned i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (p->protocol != PROTOCOL_HOP_BY_HOP && p->protocol != PROTOCOL_ROUTING && p->protocol != PROTOCOL_DESTINATION) {
			p->extensions_length = (size_t)(r->p - p->extensions);
			return p->protocol != PROTOCOL_FRAGMENT || r->left >= 8;
		}
		*for_the_receiver |= p->protocol != PROTOCOL_HOP_BY_HOP;
		p->protocol = byte_reader_u8(r);
		byte_reader_bytes(r, (size_t)byte_reader_u8(r) * 8 + 6);
		if (r->bad)
			break;
	}
	return false;
}

static void
parse_ipv6(struct packet *p, struct byte_reader r)
{
	uint8_t version = byte_reader_u8(&r);
	bool for_the_receiver = false;

	byte_reader_bytes(&r, 3);	/* traffic class, flow label */
	size_t length = byte_reader_be16(&r);
	p->protocol = byte_reader_u8(&r);
	byte_reader_u8(&r);	/* hop limit */
	parse_addresses(p, &r, 16);
	if (r.bad || version >> 4 != 6 || length > r.left)
		return;
	r.left = length;
	if (!parse_extensions(p, &r, &for_the_receiver))
		return;
	if (p->protocol == PROTOCOL_FRAGMENT) {
		p->class = PACKET_FRAGMENT;
		return;
	}
	if (p->protocol == PROTOCOL_TCP && for_the_receiver)
		return;
	p->l4_length = r.left;
	p->l4 = r.p;
	parse_l4(p);
}

static uint16_t
vnet_u16(const uint8_t *vnet, size_t at)
{
	uint16_t v;

	memcpy(&v, vnet + at, sizeof v);
	return v;
}

static void
parse_vnet(struct packet *p, const uint8_t *vnet, size_t length)
{
	if (length < VNET_MIN)
		return;
	p->gso_type = vnet[VNET_GSO_TYPE] & (uint8_t)~VNET_GSO_ECN;
	p->gso_size = p->gso_type ? vnet_u16(vnet, VNET_GSO_SIZE) : 0;
}

/* Does the vnet header have the host cut this packet as what it is? */
static bool
gso_fits(const struct packet *p)
{
	switch (p->gso_type) {
	case 0:
		return true;
	case PACKET_GSO_TCPV4:
	case PACKET_GSO_TCPV6:	/* a SYN or RST would be in each of the pieces */
		return p->class == PACKET_TCP && p->address_length == (p->gso_type == PACKET_GSO_TCPV4 ? 4 : 16) &&
		       !(p->flags & (PACKET_TCP_SYN | PACKET_TCP_RST));
	case PACKET_GSO_UDP:
		return p->class == PACKET_UDP;
	case PACKET_GSO_UDP_L4:
		return p->class == PACKET_UDP && p->gso_size > 0;
	default:
		return false;
	}
}

/* Does it have the checksum put where the checksum is? */
static bool
checksum_fits(const struct packet *p, const uint8_t *vnet, size_t length)
{
	unsigned offset = p->class == PACKET_TCP ? CSUM_OFFSET_TCP : p->class == PACKET_UDP ? CSUM_OFFSET_UDP : CSUM_OFFSET_ICMP;

	if (length < VNET_MIN || !(vnet[VNET_FLAGS] & VNET_NEEDS_CSUM))
		return true;
	return vnet_u16(vnet, VNET_CSUM_START) == p->l4 - p->ethernet && vnet_u16(vnet, VNET_CSUM_OFFSET) == offset;
}

/* Leaves r behind the type that is not a tag's. */
static void
parse_tags(struct packet *p, struct byte_reader *r)
{
	p->ethertype = byte_reader_be16(r);
	for (unsigned i = 0; i < PACKET_VLAN_TAGS && (p->ethertype == TYPE_8021Q || p->ethertype == TYPE_8021AD); i++) {
		p->vlan[i] = PACKET_VLAN_TAGGED | (byte_reader_be16(r) & VLAN_IDENTIFIER);
		p->ethertype = byte_reader_be16(r);
	}
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
	parse_tags(out, &r);
	if (out->ethertype == PACKET_TYPE_IPV4)
		parse_ipv4(out, r);
	else if (out->ethertype == PACKET_TYPE_IPV6)
		parse_ipv6(out, r);
	if (out->class < PACKET_FRAGMENT && !(gso_fits(out) && checksum_fits(out, vnet, vnet_length)))
		out->class = PACKET_OTHER;
}

bool
packet_is_rewritten(const struct packet *p)
{
	return p->ethertype == PACKET_TYPE_IPV4 && !p->vlan[0] && p->protocol == PROTOCOL_TCP;
}

void
packet_turn(struct packet *p)
{
	const uint8_t *address = p->source;
	uint16_t port = p->source_port;

	p->source = p->destination;
	p->source_port = p->destination_port;
	p->destination = address;
	p->destination_port = port;
}
