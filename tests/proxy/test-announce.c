/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/announce.h"
#include "tests/proxy/frame-builder.h"

static void
test_nothing_known(void **state)
{
	struct announcer a = { 0 };

	assert_null(announcer_frame(&a, 0));
}

static void
test_learns_and_announces(void **state)
{
	struct announcer a = { 0 };
	g_autoptr(GBytes) heard = TCP(.seq = 1, .text = "hello");
	size_t length;

	announcer_learn(&a, heard);
	g_autoptr(GBytes) said = announcer_frame(&a, 0);
	const uint8_t *e = wire_frame_ethernet(said, &length);
	assert_true(wire_frame_valid(g_bytes_get_data(said, NULL), g_bytes_get_size(said)));
	assert_int_equal(length, 60);
	assert_memory_equal(e, "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\2\x80\x35\0\1\x08\0\6\4\0\3\x52\x54\0\0\0\2", 28);
	assert_memory_equal(e + 32, "\x52\x54\0\0\0\2", 6);
	wire_frame_vnet(said, &length);
	assert_int_equal(length, VNET);
	assert_null(announcer_frame(&a, 1));	/* a TCP segment says nothing of whose address it is: the guest may be a router */
}

static void
hear(struct announcer *a, GBytes *frame)
{
	announcer_learn(a, frame);
	g_bytes_unref(frame);
}

/* ARP from 52:54:00:00:00:02, as a frame of ether_frame() is. */
static GBytes *
arp(uint8_t operation, uint8_t last)
{
	uint8_t e[42] = "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\2\x08\6\0\1\x08\0\6\4\0\0\x52\x54\0\0\0\2\x0a\x63\0";
	uint8_t vnet[VNET] = { 0 };

	e[21] = operation;
	e[31] = last;
	return wire(vnet, VNET, e, sizeof e);
}

static void
test_arp(void **state)
{
	struct announcer a = { 0 };
	size_t length;

	hear(&a, arp(2, 9));		/* an answer may be for somebody else's address */
	hear(&a, ether_frame(0x0806, "who"));
	assert_null(announcer_frame(&a, 1));
	hear(&a, arp(1, 16));
	hear(&a, arp(1, 16));
	g_autoptr(GBytes) said = announcer_frame(&a, 1);
	assert_true(wire_frame_valid(g_bytes_get_data(said, NULL), g_bytes_get_size(said)));
	const uint8_t *e = wire_frame_ethernet(said, &length);
	assert_int_equal(length, 60);
	assert_memory_equal(e, "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\2\x08\6\0\1\x08\0\6\4\0\1\x52\x54\0\0\0\2\x0a\x63\0\x10\0\0\0\0\0\0\x0a\x63\0\x10", 42);
	assert_null(announcer_frame(&a, 2));
	/* bounded: the newest ones */
	for (uint8_t i = 1; i <= ANNOUNCER_ADDRESSES; i++)
		hear(&a, arp(1, 100 + i));
	assert_null(announcer_frame(&a, ANNOUNCER_ADDRESSES + 1));
	for (unsigned i = 1; i <= ANNOUNCER_ADDRESSES; i++) {
		g_autoptr(GBytes) frame = announcer_frame(&a, i);
		assert_true(wire_frame_ethernet(frame, &length)[31] > 100);
	}
}

static void
test_neighbours(void **state)
{
	struct announcer a = { 0 };
	const uint8_t solicitation[24] = { 135 }, advertisement[24] = { 136 };
	struct ip_options o = { .protocol = 58, .v6 = true };
	size_t length;

	hear(&a, ip_frame(&o, advertisement, sizeof advertisement));
	o.source6 = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";	/* it only asks whether the address is free */
	hear(&a, ip_frame(&o, solicitation, sizeof solicitation));
	assert_null(announcer_frame(&a, 1));
	o.source6 = NULL;
	hear(&a, ip_frame(&o, solicitation, sizeof solicitation));
	hear(&a, arp(1, 16));
	g_autoptr(GBytes) said = announcer_frame(&a, 2);
	assert_true(wire_frame_valid(g_bytes_get_data(said, NULL), g_bytes_get_size(said)));
	const uint8_t *e = wire_frame_ethernet(said, &length);
	assert_int_equal(length, 86);
	assert_memory_equal(e, "\x33\x33\0\0\0\1\x52\x54\0\0\0\2\x86\xdd\x60\0\0\0\0\x20\x3a\xff" GUEST6, 38);
	assert_memory_equal(e + 54, "\x88\0", 2);
	assert_memory_equal(e + 58, "\x20\0\0\0" GUEST6 "\2\1\x52\x54\0\0\0\2", 28);
	/* the sum over it, checksum and pseudo header included, is all ones (RFC 1071) */
	uint32_t sum = 32 + 58;
	for (size_t i = 22; i < length; i += 2)
		sum += (uint32_t)e[i] << 8 | e[i + 1];
	assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	assert_null(announcer_frame(&a, 3));
}

/* A source that is a group, or a frame without one, is nobody's address. */
static void
test_learns_nothing_bad(void **state)
{
	struct announcer a = { 0 };
	uint8_t group[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 };
	g_autoptr(GBytes) from_group = wire(NULL, VNET, group, sizeof group);
	g_autoptr(GBytes) stump = wire(NULL, VNET, group, 13);

	announcer_learn(&a, from_group);
	announcer_learn(&a, stump);
	assert_false(a.known);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_known),
		cmocka_unit_test(test_learns_and_announces),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_learns_nothing_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
