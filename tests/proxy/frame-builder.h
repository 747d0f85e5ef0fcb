/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds wire frames for the tests, as a guest with a virtio-net NIC would send them. */
#pragma once

#include <glib.h>
#include <string.h>

#include "daemon/base/byte-reader.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"

#define VNET 12
#define GUEST6 "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10"
#define CLIENT6 "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
#define GUEST 0x0a630010u	/* 10.99.0.16 */
#define CLIENT 0x0a630001u

#define SYN PACKET_TCP_SYN
#define ACK PACKET_TCP_ACK
#define FIN PACKET_TCP_FIN
#define RST PACKET_TCP_RST
#define URG PACKET_TCP_URG

/* vnet header + Ethernet bytes -> wire frame */
static inline GBytes *
wire(const uint8_t *vnet, size_t vnet_length, const uint8_t *frame, size_t length)
{
	size_t n = WIRE_FRAME_HEADER + vnet_length + length;
	uint8_t *p = g_malloc0(n);

	put_be32(p, (uint32_t)(vnet_length + length));
	put_be32(p + 4, (uint32_t)vnet_length);
	if (vnet)
		memcpy(p + 8, vnet, vnet_length);
	if (length)
		memcpy(p + 8 + vnet_length, frame, length);
	return g_bytes_new_take(p, n);
}

struct ip_options {
	uint16_t id, fragment, type;	/* type: Ethernet type, 0 for IPv4 */
	uint8_t ttl, protocol;
	uint32_t source, destination;
	uint8_t ihl;		/* words, 0 for 5 */
	int total_error;	/* added to the total length */
	size_t padding;		/* bytes after the packet */
	uint8_t gso_type;
	uint16_t gso_size;
	bool needs_csum;	/* the host is to complete the checksum, where the protocol has it (IPv4) or: */
	uint16_t csum_start, csum_offset;
	const char *tags;	/* between the MAC addresses and the type, 4 bytes each */
	size_t tags_length;
	bool v6;
	const char *extensions;	/* IPv6; `protocol` is then the first one's */
	size_t extensions_length;
	const char *source6, *destination6;
};

static inline void
fill_ipv4(uint8_t *ip, const struct ip_options *o, size_t header, size_t length)
{
	ip[0] = (uint8_t)(0x40 | header / 4);
	put_be16(ip + 2, (uint16_t)((int)length + o->total_error));
	put_be16(ip + 4, o->id);
	put_be16(ip + 6, o->fragment);
	ip[8] = o->ttl ? o->ttl : 64;
	ip[9] = o->protocol;
	put_be32(ip + 12, o->source ? o->source : GUEST);
	put_be32(ip + 16, o->destination ? o->destination : CLIENT);
}

static inline void
fill_ipv6(uint8_t *ip, const struct ip_options *o, size_t length)
{
	ip[0] = 0x60;
	put_be16(ip + 4, (uint16_t)((int)length - 40 + o->total_error));
	ip[6] = o->protocol;
	ip[7] = o->ttl ? o->ttl : 64;
	memcpy(ip + 8, o->source6 ? o->source6 : GUEST6, 16);
	memcpy(ip + 24, o->destination6 ? o->destination6 : CLIENT6, 16);
	if (o->extensions_length)
		memcpy(ip + 40, o->extensions, o->extensions_length);
}

static inline void
fill_vnet(uint8_t vnet[VNET], const struct ip_options *o, size_t l4)
{
	uint16_t start = (uint16_t)(o->csum_start ? o->csum_start : l4), offset = o->csum_offset ? o->csum_offset : o->protocol == 6 ? 16 : 6;

	vnet[0] = o->needs_csum;
	vnet[1] = o->gso_type;
	memcpy(vnet + 4, &o->gso_size, 2);
	if (!o->needs_csum)
		return;
	memcpy(vnet + 6, &start, 2);
	memcpy(vnet + 8, &offset, 2);
}

static inline GBytes *
ip_frame(const struct ip_options *o, const uint8_t *l4, size_t l4_length)
{
	size_t header = o->ihl ? o->ihl * 4u : 20, really = o->v6 ? 40 + o->extensions_length : MAX(header, 20);
	size_t ethernet = 14 + o->tags_length, n = ethernet + really + l4_length + o->padding;
	g_autofree uint8_t *e = g_malloc0(n);
	uint8_t vnet[VNET] = { 0 };

	memcpy(e, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2", 12);
	if (o->tags_length)
		memcpy(e + 12, o->tags, o->tags_length);
	put_be16(e + ethernet - 2, o->type ? o->type : o->v6 ? 0x86dd : 0x0800);
	if (o->v6)
		fill_ipv6(e + ethernet, o, really + l4_length);
	else
		fill_ipv4(e + ethernet, o, header, really + l4_length);
	if (l4_length)
		memcpy(e + ethernet + really, l4, l4_length);
	fill_vnet(vnet, o, ethernet + really);
	return wire(vnet, VNET, e, n);
}

struct seg {
	uint32_t seq, ack;
	uint8_t flags;
	const char *text;	/* payload, or: */
	const uint8_t *data;
	size_t length;
	const char *options;	/* multiple of 4 bytes */
	size_t options_length;
	uint16_t port;		/* the guest's; 0 for 80 */
	uint16_t client;	/* the client's; 0 for 4000 */
	uint16_t window, checksum, urgent;
	uint16_t ip_id;
	uint8_t data_offset;	/* words, 0 for the right one */
	struct ip_options ip;	/* protocol and id are set from the above */
};

static inline GBytes *
tcp_frame(const struct seg *s)
{
	const uint8_t *data = s->text ? (const uint8_t *)s->text : s->data;
	size_t length = s->text ? strlen(s->text) : s->length, header = 20 + s->options_length;
	g_autofree uint8_t *t = g_malloc0(header + length);

	put_be16(t, s->port ? s->port : 80);
	put_be16(t + 2, s->client ? s->client : 4000);
	put_be32(t + 4, s->seq);
	put_be32(t + 8, s->ack);
	t[12] = (uint8_t)((s->data_offset ? s->data_offset : header / 4) << 4);
	t[13] = s->flags;
	put_be16(t + 14, s->window);
	put_be16(t + 16, s->checksum);
	put_be16(t + 18, s->urgent);
	if (s->options_length)
		memcpy(t + 20, s->options, s->options_length);
	if (length)
		memcpy(t + header, data, length);
	struct ip_options ip = s->ip;
	ip.id = s->ip_id;
	if (!ip.protocol && !ip.extensions_length)
		ip.protocol = 6;
	return ip_frame(&ip, t, header + length);
}
#define TCP(...) tcp_frame(&(struct seg){ __VA_ARGS__ })

static inline GBytes *
udp_frame_full(const struct ip_options *o, uint16_t port, const char *text, int length_error, uint16_t checksum)
{
	size_t n = 8 + strlen(text);
	g_autofree uint8_t *u = g_malloc0(n);
	struct ip_options ip = *o;

	put_be16(u, port);
	put_be16(u + 2, 5000);
	put_be16(u + 4, (uint16_t)((int)n + length_error));
	put_be16(u + 6, checksum);
	memcpy(u + 8, text, n - 8);
	if (!ip.extensions_length)
		ip.protocol = 17;
	return ip_frame(&ip, u, n);
}

static inline GBytes *
udp_frame(uint16_t port, const char *text)
{
	return udp_frame_full(&(struct ip_options){ 0 }, port, text, 0, 0);
}

static inline GBytes *
icmp_frame(uint8_t type, uint16_t identifier, uint16_t sequence, const char *text, uint16_t checksum)
{
	size_t n = 8 + strlen(text);
	g_autofree uint8_t *i = g_malloc0(n);

	i[0] = type;
	put_be16(i + 2, checksum);
	put_be16(i + 4, identifier);
	put_be16(i + 6, sequence);
	memcpy(i + 8, text, n - 8);
	return ip_frame(&(struct ip_options){ .protocol = 1 }, i, n);
}

/* Any Ethernet type. */
static inline GBytes *
ether_frame(uint16_t type, const char *text)
{
	size_t n = 14 + strlen(text);
	g_autofree uint8_t *e = g_malloc0(n);
	uint8_t vnet[VNET] = { 0 };

	memcpy(e, "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\2", 12);
	put_be16(e + 12, type);
	memcpy(e + 14, text, n - 14);
	return wire(vnet, VNET, e, n);
}
