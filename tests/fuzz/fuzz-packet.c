/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The view of a frame: whatever the bytes, every pointer is into them, and a frame is the same as itself. */
#include "daemon/base/byte-reader.h"
#include "proxy/announce.h"
#include "proxy/compare-other.h"
#include "proxy/compare-udp.h"
#include "proxy/flow-key.h"
#include "proxy/half-open.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"

#include <string.h>

#define VNET 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
inside(const struct packet *p, const uint8_t *at, size_t length)
{
	g_assert(at >= p->ethernet && at + length <= p->ethernet + p->ethernet_length);
}

/* They are the payload, cut into pieces. */
static void
try_datagrams(const struct packet *p)
{
	const uint8_t *at = p->payload;
	struct packet view;

	for (unsigned i = 0; i < udp_datagrams(p); i++) {
		const struct packet *d = udp_datagram(p, i, &view);
		g_assert(d->payload == at && (d->payload_length > 0 || udp_datagrams(p) == 1));
		g_assert(compare_udp(d, d) == VERDICT_SAME);
		at += d->payload_length;
	}
	g_assert(at == p->payload + p->payload_length);
}

static void
try_frame(GBytes *frame)
{
	struct flow_secret secret;
	struct flow_key key;
	struct packet p;

	packet_parse(&p, frame);
	flow_key_make(&key, 0, &p);
	flow_secret_make(&secret, "fuzz");
	flow_key_hash(&key, &secret);
	g_assert(compare_other(&p, &p) == VERDICT_SAME);
	if (p.address_length) {
		inside(&p, p.source, p.address_length);
		inside(&p, p.destination, p.address_length);
	}
	if (p.class >= PACKET_FRAGMENT)
		return;
	inside(&p, p.l4, p.l4_length);
	inside(&p, p.payload, p.payload_length);
	if (p.extensions)
		inside(&p, p.extensions, p.extensions_length);
	if (p.class == PACKET_TCP)
		inside(&p, p.options, p.options_length);
	else
		try_datagrams(&p);
}

/* What it teaches the announcer makes announcements that are frames. */
static void
try_announcer(GBytes *frame)
{
	struct announcer a = { 0 };
	GBytes *said;

	announcer_learn(&a, frame);
	for (unsigned n = 0; (said = announcer_frame(&a, n)); n++) {
		g_assert(wire_frame_valid(g_bytes_get_data(said, NULL), g_bytes_get_size(said)));
		g_bytes_unref(said);
	}
}

/* What it leaves for filter-rewriter is a frame of the same size that the rewriter takes for an acknowledgement. */
static void
try_half_open(GBytes *frame)
{
	struct half_open *h = half_open_new();
	struct packet p;
	GBytes *said;
	unsigned nic;

	g_assert(!half_open_inbound(h, 0, frame));	/* no load has split anything */
	half_open_output(h, 0, frame);
	half_open_stopped(h);
	half_open_loaded(h);
	while ((said = half_open_next(h, &nic))) {
		packet_parse(&p, said);
		g_assert(g_bytes_get_size(said) == g_bytes_get_size(frame) && packet_is_rewritten(&p) && p.flags == PACKET_TCP_ACK && p.ack == 1);
		g_bytes_unref(said);
	}
	half_open_free(h);
}

/* Once as it is, and once with wire lengths that are right, so that the rest is reached. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree uint8_t *framed = g_malloc(WIRE_FRAME_HEADER + size + 1);
	g_autoptr(GBytes) raw = g_bytes_new(data, size);

	try_frame(raw);
	if (size < VNET || size > WIRE_FRAME_MAX)
		return 0;
	put_be32(framed, (uint32_t)size);
	put_be32(framed + 4, VNET);
	memcpy(framed + WIRE_FRAME_HEADER, data, size);
	g_autoptr(GBytes) frame = g_bytes_new(framed, WIRE_FRAME_HEADER + size);
	try_frame(frame);
	try_announcer(frame);
	try_half_open(frame);
	return 0;
}
