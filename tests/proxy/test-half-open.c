/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/half-open.h"
#include "proxy/packet.h"
#include "proxy/wire-frame.h"
#include "tests/proxy/frame-builder.h"

/* To the SVM; and whether filter-rewriter is to be shown something first. */
static bool
settles(struct half_open *h, unsigned nic, GBytes *frame)
{
	g_autoptr(GBytes) first = half_open_inbound(h, nic, frame);

	g_bytes_unref(frame);
	return first;
}

/* The frame builder's guest is the client here, because it is the one that opens. */
#define ANSWER(FLAGS, CLIENT_PORT) TCP(.flags = FLAGS, .port = CLIENT_PORT, .client = 80, .ip = { .source = CLIENT, .destination = GUEST })
#define GIVE(...) assert_false(settles(h, 0, TCP(__VA_ARGS__)))

static void
says(struct half_open *h, unsigned nic, GBytes *frame)
{
	half_open_output(h, nic, frame);
	g_bytes_unref(frame);
}

static void
load(struct half_open *h)
{
	half_open_stopped(h);
	half_open_loaded(h);
}

/* How many handshakes a take-over settles. */
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

	assert_null(half_open_inbound(h, 3, syn));
	load(h);
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

	GIVE(.flags = SYN);
	GIVE(.flags = SYN);				/* sent again */
	GIVE(.flags = SYN, .client = 4001);
	assert_false(settles(h, 1, TCP(.flags = SYN)));	/* another NIC */
	GIVE(.flags = SYN | ACK, .client = 4002);	/* the guest has opened that one */
	GIVE(.flags = SYN, .ip = { .tags = "\x81\0\0\7", .tags_length = 4 });	/* nothing that the rewriter knows */
	assert_false(settles(h, 0, udp_frame(80, "x")));
	load(h);
	assert_int_equal(settled(h), 3);
	assert_int_equal(settled(h), 0);		/* once is enough */

	GIVE(.flags = SYN);
	GIVE(.flags = ACK, .text = "GET");		/* acknowledged before a load: the rewriter knows all it needs */
	GIVE(.flags = SYN, .client = 4003);
	GIVE(.flags = RST, .client = 4003);
	GIVE(.flags = SYN, .client = 4004);		/* no load came */
	assert_int_equal(settled(h), 0);
	half_open_free(h);
}

/* The SYN-ACK was sent before the load: the client's acknowledgement is what tells us. */
static void
test_answered_before_the_load(void **state)
{
	struct half_open *h = half_open_new();

	GIVE(.flags = SYN);
	says(h, 0, ANSWER(SYN | ACK, 4000));
	load(h);
	load(h);
	GIVE(.flags = SYN);				/* sent again: the same handshake */
	assert_true(settles(h, 0, TCP(.flags = ACK)));
	GIVE(.flags = ACK);
	assert_int_equal(settled(h), 0);
	half_open_free(h);
}

/* The SVM's SYN-ACK is what the rewriter makes its offset of. */
static void
test_answered_after_the_load(void **state)
{
	struct half_open *h = half_open_new();

	GIVE(.flags = SYN);
	load(h);
	says(h, 0, ANSWER(ACK, 4000));
	says(h, 0, ANSWER(SYN | ACK, 4001));
	says(h, 1, ANSWER(SYN | ACK, 4000));
	says(h, 0, ANSWER(SYN | ACK, 4000));
	GIVE(.flags = ACK);

	GIVE(.flags = SYN);
	half_open_stopped(h);
	says(h, 0, ANSWER(SYN | ACK, 4000));	/* before we hear of the load, but after it */
	half_open_loaded(h);
	GIVE(.flags = ACK);

	GIVE(.flags = SYN);
	says(h, 0, ANSWER(SYN | ACK, 4000));
	half_open_stopped(h);				/* a load that never comes */
	assert_int_equal(settled(h), 0);

	GIVE(.flags = SYN);
	load(h);
	says(h, 0, ANSWER(SYN | ACK, 4000));
	load(h);					/* of this one it is said anew */
	assert_true(settles(h, 0, TCP(.flags = ACK)));
	half_open_free(h);
}

/* It has filter-rewriter hand on what it keeps, and tells it nothing. */
static void
test_push(void **state)
{
	struct half_open *h = half_open_new();
	struct packet p;

	assert_null(half_open_push(h, 0));
	assert_false(settles(h, 1, TCP(.flags = ACK, .text = "GET", .client = 4001)));
	assert_null(half_open_push(h, 0));
	assert_false(settles(h, 1, TCP(.flags = ACK, .client = 4002)));
	assert_false(settles(h, 1, TCP(.flags = ACK | FIN, .text = "bye", .client = 4003)));
	assert_false(settles(h, 1, TCP(.flags = ACK, .text = "GET", .client = 4004, .ip = { .tags = "\x81\0\0\7", .tags_length = 4 })));
	g_autoptr(GBytes) frame = half_open_push(h, 1);
	packet_parse(&p, frame);
	assert_true(packet_is_rewritten(&p));
	assert_int_equal(p.flags, 0);
	assert_int_equal(p.destination_port, 4001);
	assert_null(half_open_push(h, 2));
	half_open_free(h);
}

static void
test_flood(void **state)
{
	struct half_open *h = half_open_new();

	for (unsigned i = 1; i <= HALF_OPEN_MAX + 100; i++)
		GIVE(.flags = SYN, .client = (uint16_t)i);
	GIVE(.flags = SYN, .client = 101);		/* known already */
	load(h);
	GIVE(.flags = ACK, .client = 100);		/* forgotten */
	assert_true(settles(h, 0, TCP(.flags = ACK, .client = 101)));
	assert_int_equal(settled(h), HALF_OPEN_MAX - 1);
	half_open_free(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decoy),
		cmocka_unit_test(test_which_are_half_open),
		cmocka_unit_test(test_answered_before_the_load),
		cmocka_unit_test(test_answered_after_the_load),
		cmocka_unit_test(test_push),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
