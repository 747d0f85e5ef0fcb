/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/tcp-timestamp.h"
#include "tests/proxy/frame-builder.h"

#define EVEN "\1\1\10\12\0\1\2\3\0\0\0\7"
#define ODD "\10\12\377\376\0\1\0\0\0\7\1\1"
#define BEHIND_NOP "\1\10\12\377\376\0\1\0\0\0\7\1"
#define NONE "\2\4\5\264"
#define LIES "\10\12\0\0"

static GBytes *
segment(const char *options, size_t length, const char *text)
{
	return TCP(.seq = 1, .ack = 2, .flags = PACKET_TCP_ACK, .text = text, .options = options, .options_length = length);
}
#define SEGMENT(options, text) segment(options, sizeof options - 1, text)

/* The sum over the TCP segment alone: the pseudo-header is the same before and after. */
static uint16_t
sum(const struct packet *p)
{
	uint32_t s = 0;

	for (size_t i = 0; i < p->l4_length; i++)
		s += i & 1 ? p->l4[i] : (uint32_t)p->l4[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static void
assert_set(GBytes *frame, uint32_t before, uint32_t after)
{
	struct packet p;
	uint32_t value;
	uint16_t whole;

	packet_parse(&p, frame);
	assert_true(tcp_timestamp(&p, &value));
	assert_int_equal(value, before);
	whole = sum(&p);
	tcp_timestamp_set(&p, after);
	packet_parse(&p, frame);
	assert_true(tcp_timestamp(&p, &value));
	assert_int_equal(value, after);
	assert_true(sum(&p) % 0xffff == whole % 0xffff);	/* 0 and 0xffff are one number */
	g_bytes_unref(frame);
}

static void
test_set(void **state)
{
	static const uint32_t values[] = { 0, 1, 0xffff, 0x10000, 0x01020304, 0xfffffffe, 0xffffffff };

	for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
		assert_set(SEGMENT(EVEN, "text"), 0x00010203, values[i]);
		assert_set(SEGMENT(ODD, ""), 0xfffe0001, values[i]);
		assert_set(SEGMENT(BEHIND_NOP, "odd"), 0xfffe0001, values[i]);
	}
}

static void
test_none(void **state)
{
	GBytes *frames[] = { SEGMENT(NONE, "a"), SEGMENT(LIES, "a"), segment(NULL, 0, "a"), udp_frame(1, "a") };

	for (size_t i = 0; i < G_N_ELEMENTS(frames); i++) {
		struct packet p;
		uint32_t value;

		packet_parse(&p, frames[i]);
		assert_false(tcp_timestamp(&p, &value));
		g_bytes_unref(frames[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_set), cmocka_unit_test(test_none) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
