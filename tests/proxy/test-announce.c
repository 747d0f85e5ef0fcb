/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/announce.h"
#include "tests/proxy/frame-builder.h"

static void
test_nothing_known(void **state)
{
	struct announcer a = { 0 };

	assert_null(announcer_frame(&a));
}

static void
test_learns_and_announces(void **state)
{
	struct announcer a = { 0 };
	g_autoptr(GBytes) heard = TCP(.seq = 1, .text = "hello");
	size_t length;

	announcer_learn(&a, heard);
	g_autoptr(GBytes) said = announcer_frame(&a);
	const uint8_t *e = wire_frame_ethernet(said, &length);
	assert_true(wire_frame_valid(g_bytes_get_data(said, NULL), g_bytes_get_size(said)));
	assert_int_equal(length, 60);
	assert_memory_equal(e, "\xff\xff\xff\xff\xff\xff\x52\x54\0\0\0\2\x80\x35\0\1\x08\0\6\4\0\3\x52\x54\0\0\0\2", 28);
	assert_memory_equal(e + 32, "\x52\x54\0\0\0\2", 6);
	wire_frame_vnet(said, &length);
	assert_int_equal(length, VNET);
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
		cmocka_unit_test(test_learns_nothing_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
