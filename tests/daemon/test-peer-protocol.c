/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"
#include "daemon/peer-protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { C = 1 << PEER_CHANNEL_CONTROL, F = 1 << PEER_CHANNEL_FAST, B = 1 << PEER_CHANNEL_BULK, D = 1 << PEER_CHANNEL_DISK };

/* The grammar once more, as ftd-protocol(7) has it: type, name, channels, limit. */
static const struct { unsigned type; const char *name; unsigned channels; uint32_t max; } grammar[] = {
	{ 1, "HELLO", C | F | B | D, 81920 },
	{ 2, "WELCOME", C | F | B | D, 81920 },
	{ 3, "JSON", C, 4194304 },
	{ 16, "HEARTBEAT", F | D, 81920 },
	{ 17, "ARM", F, 81920 },
	{ 18, "ARMED", F, 81920 },
	{ 19, "ABDICATE", F, 81920 },
	{ 20, "GOODBYE", C | F | B | D, 81920 },
	{ 21, "READY", B, 81920 },
	{ 22, "LIVE", F, 81920 },
	{ 23, "COMMITTED", F, 81920 },
	{ 24, "SVM_STOPPED", F, 81920 },
	{ 25, "SVM_LOADED", F, 81920 },
	{ 26, "INBOUND", F, 81920 },
	{ 27, "OUTPUT", F, 81920 },
	{ 28, "TWIN_LEFT", F, 81920 },
	{ 29, "DISK_CREDIT", F, 81920 },
	{ 30, "FAIL", C | F | B | D, 81920 },
	{ 31, "UNSENT", F, 81920 },
	{ 32, "STRAY", F, 81920 },
	{ 33, "MODE", F, 81920 },
	{ 34, "COPY_UNFIT", F, 81920 },
	{ 35, "SWITCHOVER", F, 81920 },
	{ 36, "DISK_WANTED", F, 81920 },
	{ 48, "STREAM", B, 1048640 },
	{ 49, "RETURN_PATH", B, 1048640 },
	{ 50, "CHECKPOINT_BEGIN", B, 81920 },
	{ 51, "CHECKPOINT_DATA", B, 1048640 },
	{ 52, "CHECKPOINT_SEAL", B, 81920 },
	{ 53, "CHECKPOINT_PACKED", B, 67584 },
	{ 80, "DISK_WRITE", D, 33554496 },
	{ 81, "DISK_ZERO", D, 81920 },
	{ 82, "DISK_TRIM", D, 81920 },
	{ 83, "DISK_MARK", D, 81920 },
	{ 84, "DISK_COMPARE", D, 2072 },
};

static bool
decode(unsigned type, enum peer_channel channel, uint32_t length, struct peer_frame *out, GError **error)
{
	uint8_t header[PEER_HEADER];

	peer_header_encode(header, type, length, 0x0123456789abcdef);
	return peer_header_decode(header, channel, out, error);
}

/* Every type number there can be near the known ones, on every channel, at, above and below its limit. */
static void
test_whole_grammar(void **state)
{
	for (unsigned type = 0, g = 0; type < 0x200; type++) {
		bool known = g < G_N_ELEMENTS(grammar) && grammar[g].type == type;

		assert_string_equal(peer_type_name(type), known ? grammar[g].name : "unknown");
		for (enum peer_channel channel = 0; channel < PEER_CHANNEL_LAST; channel++) {
			bool allowed = known && grammar[g].channels & 1u << channel;
			struct peer_frame frame = { 0 };
			uint32_t max = 1;

			assert_int_equal(peer_type_allowed(type, channel, &max), allowed);
			assert_int_equal(max, allowed ? grammar[g].max : 1);
			assert_int_equal(peer_type_allowed(type, channel, NULL), allowed);
			assert_int_equal(decode(type, channel, 0, &frame, NULL), allowed);
			if (!allowed)
				continue;
			assert_true(decode(type, channel, max, &frame, NULL));
			assert_int_equal(frame.type, type);
			assert_int_equal(frame.length, max);
			assert_int_equal(frame.generation, 0x0123456789abcdef);
			assert_false(decode(type, channel, max + 1, &frame, NULL));
			assert_false(decode(type, channel, UINT32_MAX, &frame, NULL));
		}
		g += known;
	}
	assert_false(peer_type_allowed(PEER_HELLO, PEER_CHANNEL_LAST, NULL));
}

static void
test_header_bytes(void **state)
{
	static const uint8_t want[PEER_HEADER] = { 'F', 'T', 'D', '1', 0, 50, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t header[PEER_HEADER];

	peer_header_encode(header, PEER_CHECKPOINT_BEGIN, 8, 0x0102030405060708);
	assert_memory_equal(header, want, sizeof want);
}

/* Any changed bit of the fields that have one value only is refused, and the result is untouched. */
static void
test_every_bit_of_the_fixed_fields(void **state)
{
	for (unsigned bit = 0; bit < PEER_HEADER * 8; bit++) {
		unsigned byte = bit / 8;
		bool fixed = byte < 4 || byte == 6 || byte == 7 || (byte >= 12 && byte < 16);
		struct peer_frame frame = { .length = 77 };
		g_autoptr(GError) error = NULL;
		uint8_t header[PEER_HEADER];

		if (!fixed)
			continue;
		peer_header_encode(header, PEER_HEARTBEAT, 24, 1);
		header[byte] ^= (uint8_t)(1u << bit % 8);
		assert_false(peer_header_decode(header, PEER_CHANNEL_FAST, &frame, &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
		assert_int_equal(frame.length, 77);
	}
}

static void
test_hello(void **state)
{
	struct peer_hello h = { .version = PEER_VERSION, .channel = PEER_CHANNEL_DISK }, back;
	uint8_t bytes[PEER_HELLO_LENGTH + 1] = { 0 };
	g_autoptr(GError) error = NULL;

	memset(h.pair, 0x11, sizeof h.pair);
	memset(h.token, 0x22, sizeof h.token);
	peer_hello_encode(bytes, &h);
	assert_true(peer_hello_decode(bytes, PEER_HELLO_LENGTH, &back, NULL));
	assert_int_equal(back.channel, PEER_CHANNEL_DISK);
	assert_memory_equal(back.pair, h.pair, sizeof h.pair);
	assert_memory_equal(back.token, h.token, sizeof h.token);
	for (size_t n = 0; n <= PEER_HELLO_LENGTH + 1; n++)
		assert_int_equal(peer_hello_decode(bytes, n, &back, NULL), n == PEER_HELLO_LENGTH);
	bytes[2] = PEER_CHANNEL_LAST;
	assert_false(peer_hello_decode(bytes, PEER_HELLO_LENGTH, &back, NULL));
	bytes[1] = PEER_VERSION + 1;
	assert_false(peer_hello_decode(bytes, 2, &back, &error));	/* of whatever length: the version is the news */
	assert_non_null(strstr(error->message, "version 5"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_grammar),
		cmocka_unit_test(test_header_bytes),
		cmocka_unit_test(test_every_bit_of_the_fixed_fields),
		cmocka_unit_test(test_hello),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
