/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds wire frames for the tests, as a guest with a virtio-net NIC would send them. */
#pragma once

#include <glib.h>
#include <string.h>

#include "daemon/base/byte-reader.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"

#define VNET 12
#define GUEST 0x0a630010u	/* 10.99.0.16 */
#define CLIENT 0x0a630001u

#define SYN PACKET_TCP_SYN
#define ACK PACKET_TCP_ACK
#define FIN PACKET_TCP_FIN
#define RST PACKET_TCP_RST

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
};

static inline GBytes *
ip_frame(const struct ip_options *o, const uint8_t *l4, size_t l4_length)
{
	size_t header = o->ihl ? o->ihl * 4u : 20, really = MAX(header, 20), n = 14 + really + l4_length + o->padding;
	g_autofree uint8_t *e = g_malloc0(n);
	uint8_t vnet[VNET] = { 0 };

	vnet[1] = o->gso_type;
	vnet[4] = (uint8_t)o->gso_size;
	vnet[5] = (uint8_t)(o->gso_size >> 8);
	memcpy(e, "\x52\x54\0\0\0\1\x52\x54\0\0\0\2", 12);
	put_be16(e + 12, o->type ? o->type : 0x0800);
	uint8_t *ip = e + 14;
	ip[0] = (uint8_t)(0x40 | header / 4);
	put_be16(ip + 2, (uint16_t)((int)(really + l4_length) + o->total_error));
	put_be16(ip + 4, o->id);
	put_be16(ip + 6, o->fragment);
	ip[8] = o->ttl ? o->ttl : 64;
	ip[9] = o->protocol;
	put_be32(ip + 12, o->source ? o->source : GUEST);
	put_be32(ip + 16, o->destination ? o->destination : CLIENT);
	if (l4_length)
		memcpy(ip + really, l4, l4_length);
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
	return ip_frame(&(struct ip_options){ .protocol = 6, .id = s->ip_id }, t, header + length);
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
