/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/half-open.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"
#include "tests/proxy/frame-builder.h"

static void
give(struct half_open *h, unsigned nic, GBytes *frame)
{
	half_open_inbound(h, nic, frame);
	g_bytes_unref(frame);
}

/* How many handshakes a load would find. */
static unsigned
settled(struct half_open *h)
{
	unsigned nic, n = 0;
	GBytes *frame;

	while ((frame = half_open_next(h, &nic))) {
		g_bytes_unref(frame);
		n++;
	}
	return n;
}

#define CSUM { .needs_csum = 1 }

/* What filter-rewriter must see, and what must keep the guest from seeing anything. */
static void
test_decoy(void **state)
{
	struct half_open *h = half_open_new();
	GBytes *syn = TCP(.seq = 77, .flags = SYN, .port = 5000, .client = 80, .ip = CSUM);
	const uint8_t *before, *after, *vnet;
	struct packet p, q;
	size_t length;
	unsigned nic;

	half_open_inbound(h, 3, syn);
	g_autoptr(GBytes) frame = half_open_next(h, &nic);
	assert_non_null(frame);
	assert_int_equal(nic, 3);
	packet_parse(&p, syn);
	packet_parse(&q, frame);
	assert_int_equal(q.class, PACKET_TCP);
	assert_true(packet_is_rewritten(&q));
	assert_int_equal(q.flags, ACK);
	assert_int_equal(q.ack, 1);
	assert_int_equal(q.source_port, p.source_port);
	assert_int_equal(q.destination_port, p.destination_port);
	assert_memory_equal(q.source, p.source, 4);
	assert_memory_equal(q.destination, p.destination, 4);
	vnet = wire_frame_vnet(frame, &length);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(vnet[i], 0);
	before = p.ethernet + PACKET_ETHERNET_HEADER;
	after = q.ethernet + PACKET_ETHERNET_HEADER;
	assert_memory_not_equal(before + 10, after + 10, 2);	/* the checksum, and nothing that it is of */
	assert_memory_equal(before, after, 10);
	assert_null(half_open_next(h, &nic));
	g_bytes_unref(syn);
	half_open_free(h);
}

static void
test_which_are_half_open(void **state)
{
	struct half_open *h = half_open_new();

	give(h, 0, TCP(.flags = SYN));
	give(h, 0, TCP(.flags = SYN));				/* sent again */
	give(h, 0, TCP(.flags = SYN, .client = 4001));
	give(h, 1, TCP(.flags = SYN));				/* another NIC */
	give(h, 0, TCP(.flags = SYN | ACK, .client = 4002));	/* the guest has opened that one */
	give(h, 0, TCP(.flags = SYN, .ip = { .tags = "\x81\0\0\7", .tags_length = 4 }));	/* nothing that the rewriter knows */
	give(h, 0, udp_frame(80, "x"));
	assert_int_equal(settled(h), 3);
	assert_int_equal(settled(h), 0);			/* once is enough */

	give(h, 0, TCP(.flags = SYN));
	give(h, 0, TCP(.flags = ACK, .client = 4001));
	give(h, 1, TCP(.flags = ACK));
	assert_int_equal(settled(h), 1);
	give(h, 0, TCP(.flags = SYN));
	give(h, 0, TCP(.flags = ACK, .text = "GET"));		/* acknowledged: the rewriter knows all it needs */
	give(h, 0, TCP(.flags = SYN, .client = 4003));
	give(h, 0, TCP(.flags = RST | ACK, .client = 4003));
	assert_int_equal(settled(h), 0);
	half_open_free(h);
}

static void
test_flood(void **state)
{
	struct half_open *h = half_open_new();

	for (unsigned i = 1; i <= HALF_OPEN_MAX + 100; i++)
		give(h, 0, TCP(.flags = SYN, .client = (uint16_t)i));
	give(h, 0, TCP(.flags = SYN, .client = 1));		/* known already */
	assert_int_equal(settled(h), HALF_OPEN_MAX);
	half_open_free(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decoy),
		cmocka_unit_test(test_which_are_half_open),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
