/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/announce.h"

#include "daemon/base/byte-reader.h"
#include "proxy/wire-frame.h"

#define ETHERNET_HEADER 14
#define ETHERNET_MIN 60			/* without the checksum */
#define ETHERTYPE_RARP 0x8035
#define RARP_REQUEST 3			/* RFC 903, "request reverse" */

void
announcer_learn(struct announcer *a, GBytes *frame)
{
	size_t length, vnet;
	const uint8_t *ethernet = wire_frame_ethernet(frame, &length);

	wire_frame_vnet(frame, &vnet);
	if (length < ETHERNET_HEADER || ethernet[6] & 1)
		return;
	memcpy(a->mac, ethernet + 6, sizeof a->mac);
	a->vnet_length = (uint8_t)vnet;
	a->known = true;
}

GBytes *
announcer_frame(const struct announcer *a)
{
	size_t length = a->vnet_length + ETHERNET_MIN;
	uint8_t *wire, *e;

	if (!a->known)
		return NULL;
	wire = g_malloc0(WIRE_FRAME_HEADER + length);
	put_be32(wire, (uint32_t)length);
	put_be32(wire + 4, a->vnet_length);
	e = wire + WIRE_FRAME_HEADER + a->vnet_length;
	memset(e, 0xff, 6);
	memcpy(e + 6, a->mac, 6);
	put_be16(e + 12, ETHERTYPE_RARP);
	put_be16(e + 14, 1);		/* hardware: Ethernet */
	put_be16(e + 16, 0x0800);	/* protocol: IPv4 */
	e[18] = 6;
	e[19] = 4;
	put_be16(e + 20, RARP_REQUEST);
	memcpy(e + 22, a->mac, 6);
	memcpy(e + 32, a->mac, 6);
	return g_bytes_new_take(wire, WIRE_FRAME_HEADER + length);
}
