/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "daemon/base/error.h"
#include "tests/proxy/frame-builder.h"

static GByteArray *
stream_of(GBytes *const *frames, unsigned n)
{
	GByteArray *all = g_byte_array_new();

	for (unsigned i = 0; i < n; i++)
		g_byte_array_append(all, g_bytes_get_data(frames[i], NULL), (guint)g_bytes_get_size(frames[i]));
	return all;
}

static void
expect_frames(struct wire_splitter *s, GBytes *const *frames, unsigned *got)
{
	GBytes *b;

	while ((b = wire_splitter_next(s))) {
		assert_true(g_bytes_equal(b, frames[*got]));
		++*got;
		g_bytes_unref(b);
	}
}

/* Any split of the stream gives the same frames. */
static void
test_every_split(void **state)
{
	GBytes *frames[] = { TCP(.seq = 1, .text = "hello"), wire(NULL, 0, NULL, 0), ether_frame(0x0806, "arp"), wire((uint8_t[12]){ 0 }, 12, NULL, 0) };
	g_autoptr(GByteArray) all = stream_of(frames, G_N_ELEMENTS(frames));

	for (guint a = 0; a <= all->len; a++) {
		for (guint b = a; b <= all->len; b++) {
			g_autoptr(wire_splitter) s = wire_splitter_new();
			unsigned got = 0;
			assert_true(wire_splitter_input(s, all->data, a, NULL));
			expect_frames(s, frames, &got);
			assert_true(wire_splitter_input(s, all->data + a, b - a, NULL));
			expect_frames(s, frames, &got);
			assert_true(wire_splitter_input(s, all->data + b, all->len - b, NULL));
			expect_frames(s, frames, &got);
			assert_int_equal(got, G_N_ELEMENTS(frames));
		}
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++)
		g_bytes_unref(frames[i]);
}

static const struct { uint32_t length, vnet; bool valid; } lengths[] = {
	{ 0, 0, true },
	{ 60, 0, true },
	{ 72, 12, true },
	{ 12, 12, true },
	{ WIRE_FRAME_MAX, 12, true },
	{ WIRE_FRAME_MAX + 1, 12, false },
	{ UINT32_MAX, 0, false },
	{ 11, 12, false },
	{ 100, WIRE_FRAME_MAX_VNET, true },
	{ 100, WIRE_FRAME_MAX_VNET + 1, false },
	{ 0x80000000u, 0x80000000u, false },
};

static void
test_lengths(void **state)
{
	g_autofree uint8_t *buffer = g_malloc0(WIRE_FRAME_HEADER + WIRE_FRAME_MAX);

	for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
		for (unsigned bytewise = 0; bytewise < 2; bytewise++) {
			g_autoptr(wire_splitter) s = wire_splitter_new();
			g_autoptr(GError) error = NULL, again = NULL;
			bool ok = true;

			put_be32(buffer, lengths[i].length);
			put_be32(buffer + 4, lengths[i].vnet);
			for (unsigned k = 0; ok && k < WIRE_FRAME_HEADER; k += bytewise ? 1 : WIRE_FRAME_HEADER)
				ok = wire_splitter_input(s, buffer + k, bytewise ? 1 : WIRE_FRAME_HEADER, &error);
			assert_int_equal(ok, lengths[i].valid);
			if (ok)
				continue;
			assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
			assert_false(wire_splitter_input(s, buffer, 1, &again));	/* broken for good */
		}
	}
}

/* What came whole before the framing broke is still a frame. */
static void
test_frames_before_the_break(void **state)
{
	g_autoptr(wire_splitter) s = wire_splitter_new();
	g_autoptr(GBytes) good = ether_frame(0x0806, "arp");
	g_autoptr(GByteArray) all = stream_of(&good, 1);
	unsigned got = 0;

	g_byte_array_append(all, (const uint8_t *)"\xff\xff\xff\xff\0\0\0\0", 8);
	assert_false(wire_splitter_input(s, all->data, all->len, NULL));
	expect_frames(s, &good, &got);
	assert_int_equal(got, 1);
}

static void
test_valid_and_views(void **state)
{
	g_autoptr(GBytes) frame = ether_frame(0x86dd, "six");
	size_t size, length;
	const uint8_t *data = g_bytes_get_data(frame, &size);

	assert_true(wire_frame_valid(data, size));
	assert_false(wire_frame_valid(data, size - 1));
	assert_false(wire_frame_valid(data, 7));
	assert_ptr_equal(wire_frame_vnet(frame, &length), data + 8);
	assert_int_equal(length, VNET);
	assert_ptr_equal(wire_frame_ethernet(frame, &length), data + 8 + VNET);
	assert_int_equal(length, 14 + 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_frames_before_the_break),
		cmocka_unit_test(test_valid_and_views),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
