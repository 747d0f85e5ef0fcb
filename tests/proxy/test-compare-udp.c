/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Datagrams and whole frames: what counts and what does not. */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/compare-other.h"
#include "proxy/compare-udp.h"
#include "tests/proxy/frame-builder.h"

static enum verdict
verdict(enum verdict (*compare)(const struct packet *, const struct packet *), GBytes *a, GBytes *b)
{
	struct packet p, s;

	packet_parse(&p, a);
	packet_parse(&s, b);
	enum verdict v = compare(&p, &s);
	assert_int_equal(compare(&s, &p), v);
	g_bytes_unref(a);
	g_bytes_unref(b);
	return v;
}

static GBytes *
udp(struct ip_options o, const char *text, uint16_t checksum)
{
	return udp_frame_full(&o, 53, text, 0, checksum);
}
#define UDP(text, checksum, ...) udp((struct ip_options){ __VA_ARGS__ }, text, checksum)

static void
test_udp(void **state)
{
	assert_int_equal(verdict(compare_udp, UDP("data", 0), UDP("data", 0)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("", 0), UDP("", 0)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("data", 0), UDP("dato", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP("data", 0), UDP("dat", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP("data", 1), UDP("data", 2)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .id = 1, .ttl = 64), UDP("data", 0, .id = 2, .ttl = 63)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .padding = 18), UDP("data", 0)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .ihl = 6), UDP("data", 0)), VERDICT_SAME);
}

/* IPv6 extension headers count. */
static void
test_udp6(void **state)
{
#define UDP6(text, ...) UDP(text, 0, .v6 = true, __VA_ARGS__)
#define OPTIONS(text) .protocol = 60, .extensions = "\21\0" text, .extensions_length = 8
	assert_int_equal(verdict(compare_udp, UDP6("data", 0), UDP6("data", .ttl = 3)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP6("data", 0), UDP6("dat.", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP6("data", OPTIONS("abcdef")), UDP6("data", OPTIONS("abcdef"))), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP6("data", OPTIONS("abcdef")), UDP6("data", OPTIONS("abcdeg"))), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP6("data", OPTIONS("abcdef")), UDP6("data", 0)), VERDICT_DIFFER);
}

/* As text: each datagram of the frame. */
static void
expect_datagrams(GBytes *frame, const char *want)
{
	g_autoptr(GString) got = g_string_new(NULL);
	struct packet p, view;

	packet_parse(&p, frame);
	for (unsigned i = 0; i < udp_datagrams(&p); i++) {
		const struct packet *d = udp_datagram(&p, i, &view);
		g_string_append_printf(got, "%s%.*s", i ? " " : "", (int)d->payload_length, (const char *)d->payload);
		assert_int_equal(udp_datagrams(d), 1);
	}
	assert_string_equal(got->str, want);
	g_bytes_unref(frame);
}

/* One GSO frame is many datagrams, or one in fragments: then where it will be cut counts. */
static void
test_udp_gso(void **state)
{
	expect_datagrams(UDP("data", 0, .gso_type = 5, .gso_size = 2), "da ta");
	expect_datagrams(UDP("data", 0, .gso_type = 5, .gso_size = 3), "dat a");
	expect_datagrams(UDP("data", 0, .gso_type = 5, .gso_size = 9), "data");
	expect_datagrams(UDP("", 0, .gso_type = 5, .gso_size = 9), "");
	expect_datagrams(UDP("data", 0, .gso_type = 3, .gso_size = 2), "data");
	expect_datagrams(UDP("data", 0, .gso_size = 2), "data");
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .gso_type = 3, .gso_size = 2), UDP("data", 0, .gso_type = 3, .gso_size = 2)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .gso_type = 3, .gso_size = 2), UDP("data", 0, .gso_type = 3, .gso_size = 3)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .gso_type = 3, .gso_size = 2), UDP("data", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, UDP("data", 0, .gso_size = 2), UDP("data", 0, .gso_size = 3)), VERDICT_SAME);	/* no GSO: no meaning */
}

static void
test_icmp(void **state)
{
	assert_int_equal(verdict(compare_udp, icmp_frame(8, 1, 1, "x", 1), icmp_frame(8, 1, 1, "x", 2)), VERDICT_SAME);
	assert_int_equal(verdict(compare_udp, icmp_frame(8, 1, 1, "x", 0), icmp_frame(8, 1, 2, "x", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, icmp_frame(3, 1, 1, "x", 0), icmp_frame(3, 2, 1, "x", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, icmp_frame(8, 1, 1, "x", 0), icmp_frame(0, 1, 1, "x", 0)), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_udp, icmp_frame(8, 1, 1, "x", 0), icmp_frame(8, 1, 1, "y", 0)), VERDICT_DIFFER);
}

static void
test_other(void **state)
{
	assert_int_equal(verdict(compare_other, ether_frame(0x0806, "arp"), ether_frame(0x0806, "arp")), VERDICT_SAME);
	assert_int_equal(verdict(compare_other, ether_frame(0x0806, "arp"), ether_frame(0x0806, "arq")), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_other, ether_frame(0x0806, "arp"), ether_frame(0x0806, "arp\1")), VERDICT_DIFFER);
	assert_int_equal(verdict(compare_other, wire(NULL, 0, NULL, 0), wire(NULL, 0, NULL, 0)), VERDICT_SAME);
	/* the same bytes to be cut another way */
	assert_int_equal(verdict(compare_other, UDP("data", 0, .fragment = 1, .gso_type = 4), UDP("data", 0, .fragment = 1)), VERDICT_DIFFER);
	/* for a fragment the IP identification has a meaning */
	assert_int_equal(verdict(compare_other, UDP("data", 0, .fragment = 1, .id = 1), UDP("data", 0, .fragment = 1, .id = 2)), VERDICT_DIFFER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_udp6),
		cmocka_unit_test(test_udp_gso),
		cmocka_unit_test(test_icmp),
		cmocka_unit_test(test_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
