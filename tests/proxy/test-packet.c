/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/flow-key.h"
#include "tests/proxy/frame-builder.h"

static GBytes *
ip(struct ip_options o, const char *l4, size_t n)
{
	return ip_frame(&o, (const uint8_t *)l4, n);
}
#define IP(l4, n, ...) ip((struct ip_options){ __VA_ARGS__ }, l4, n)

#define IP6(l4, n, ...) ip((struct ip_options){ .v6 = true, __VA_ARGS__ }, l4, n)
#define IP6X(first, headers, length, l4, n) IP6(l4, n, .protocol = first, .extensions = headers, .extensions_length = length)
#define HEADER(next) next "\0" "abcdef"

#define TCP_BYTES "\0\120\0\17\0\0\0\1\0\0\0\2\120\20\0\0\0\0\0\0"
#define UDP_BYTES "\0\65\0\65\0\14\0\0data"
#define ICMP_BYTES "\10\0\0\0\0\1\0\2"
#define NS_BYTES "\207\0\0\0\0\0\0\0"

static void
test_classes(void **state)
{
	const struct { const char *what; GBytes *frame; enum packet_class class; } table[] = {
		{ "tcp", IP(TCP_BYTES "x", 21, .protocol = 6), PACKET_TCP },
		{ "tcp, padded", IP(TCP_BYTES, 20, .protocol = 6, .padding = 6), PACKET_TCP },
		{ "tcp with IP options", IP(TCP_BYTES, 20, .protocol = 6, .ihl = 15), PACKET_TCP },
		{ "tcp, don't fragment", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x4000), PACKET_TCP },
		{ "tcp, more fragments", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x2000), PACKET_FRAGMENT },
		{ "tcp, later fragment", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x0001), PACKET_FRAGMENT },
		{ "fragment of nothing", IP("", 0, .protocol = 17, .fragment = 0x3fff), PACKET_FRAGMENT },
		{ "fragment whose total length lies", IP("", 0, .protocol = 17, .fragment = 0x2000, .total_error = 1), PACKET_OTHER },
		{ "tcp header cut", IP(TCP_BYTES, 19, .protocol = 6), PACKET_OTHER },
		{ "tcp data offset 4", TCP(.data_offset = 4, .text = "xxxx"), PACKET_OTHER },
		{ "tcp data offset beyond the end", TCP(.data_offset = 15, .text = "xxxx"), PACKET_OTHER },
		{ "tcp data offset at the end", TCP(.data_offset = 6, .text = "xxxx"), PACKET_TCP },
		{ "IHL 4", IP(TCP_BYTES, 20, .protocol = 6, .ihl = 4), PACKET_OTHER },
		{ "IHL 6 with 20 bytes in all", IP("", 0, .protocol = 6, .ihl = 6, .total_error = -4), PACKET_OTHER },
		{ "total length beyond the frame", IP(TCP_BYTES, 20, .protocol = 6, .total_error = 1), PACKET_OTHER },
		{ "total length within the padding", IP(TCP_BYTES, 20, .protocol = 6, .total_error = 1, .padding = 1), PACKET_TCP },
		{ "total length 0", IP(TCP_BYTES, 20, .protocol = 6, .total_error = -40), PACKET_OTHER },
		{ "total length shorter than the header", IP(TCP_BYTES, 20, .protocol = 6, .total_error = -21), PACKET_OTHER },
		{ "udp", IP(UDP_BYTES, 12, .protocol = 17), PACKET_UDP },
		{ "udp length too long", udp_frame_full(&(struct ip_options){ 0 }, 53, "data", 1, 0), PACKET_OTHER },
		{ "udp length too short", udp_frame_full(&(struct ip_options){ 0 }, 53, "data", -1, 0), PACKET_OTHER },
		{ "udp header cut", IP(UDP_BYTES, 7, .protocol = 17), PACKET_OTHER },
		{ "icmp", IP(ICMP_BYTES, 8, .protocol = 1), PACKET_ICMP },
		{ "icmp cut", IP(ICMP_BYTES, 7, .protocol = 1), PACKET_OTHER },
		{ "gre", IP(TCP_BYTES, 20, .protocol = 47), PACKET_OTHER },
		{ "ipv4 in 802.1Q", IP(TCP_BYTES, 20, .protocol = 6, .tags = "\x81\0\0\7", .tags_length = 4), PACKET_TCP },
		{ "ipv4 in 802.1Q in 802.1ad", IP(UDP_BYTES, 12, .protocol = 17, .tags = "\x88\xa8\0\1\x81\0\0\7", .tags_length = 8), PACKET_UDP },
		{ "802.1Q in 802.1Q", IP(UDP_BYTES, 12, .protocol = 17, .tags = "\x81\0\0\1\x81\0\0\7", .tags_length = 8), PACKET_UDP },
		{ "three tags", IP(UDP_BYTES, 12, .protocol = 17, .tags = "\x81\0\0\1\x81\0\0\7\x81\0\0\7", .tags_length = 12), PACKET_OTHER },
		{ "ipv6 in 802.1Q", IP6(UDP_BYTES, 12, .protocol = 17, .tags = "\x81\0\0\7", .tags_length = 4), PACKET_UDP },
		{ "tag without a type", ether_frame(0x8100, "\1"), PACKET_OTHER },
		{ "ipv4 that says ipv6", IP6(TCP_BYTES, 20, .protocol = 6, .type = 0x0800), PACKET_OTHER },
		{ "ipv6 that says ipv4", IP(TCP_BYTES, 20, .protocol = 6, .type = 0x86dd), PACKET_OTHER },
		{ "ipv6 without a header", ether_frame(0x86dd, "`"), PACKET_OTHER },
		{ "tcp over ipv6", IP6(TCP_BYTES "x", 21, .protocol = 6), PACKET_TCP },
		{ "tcp over ipv6, padded", IP6(TCP_BYTES, 20, .protocol = 6, .padding = 6), PACKET_TCP },
		{ "tcp over ipv6, cut", IP6(TCP_BYTES, 19, .protocol = 6), PACKET_OTHER },
		{ "udp over ipv6", IP6(UDP_BYTES, 12, .protocol = 17), PACKET_UDP },
		{ "icmpv6", IP6(NS_BYTES, 8, .protocol = 58), PACKET_ICMP },
		{ "icmp over ipv6", IP6(ICMP_BYTES, 8, .protocol = 1), PACKET_OTHER },
		{ "icmpv6 over ipv4", IP(NS_BYTES, 8, .protocol = 58), PACKET_OTHER },
		{ "payload length beyond the frame", IP6(TCP_BYTES, 20, .protocol = 6, .total_error = 1), PACKET_OTHER },
		{ "payload length within the padding", IP6(TCP_BYTES, 20, .protocol = 6, .total_error = 1, .padding = 1), PACKET_TCP },
		{ "payload length 0", IP6(TCP_BYTES, 20, .protocol = 6, .total_error = -20), PACKET_OTHER },
		{ "hop-by-hop, tcp", IP6X(0, HEADER("\6"), 8, TCP_BYTES, 20), PACKET_TCP },
		{ "hop-by-hop, icmpv6 (MLD)", IP6X(0, HEADER("\72"), 8, NS_BYTES, 8), PACKET_ICMP },
		{ "destination options, udp", IP6X(60, HEADER("\21"), 8, UDP_BYTES, 12), PACKET_UDP },
		{ "routing, udp", IP6X(43, HEADER("\21"), 8, UDP_BYTES, 12), PACKET_UDP },
		{ "hop-by-hop, routing, destination options, udp", IP6X(0, HEADER("\53") HEADER("\74") HEADER("\21"), 24, UDP_BYTES, 12), PACKET_UDP },
		{ "destination options, tcp: not a stream's", IP6X(60, HEADER("\6"), 8, TCP_BYTES, 20), PACKET_OTHER },
		{ "a long one", IP6X(60, "\21\1" "abcdefghijklmn", 16, UDP_BYTES, 12), PACKET_UDP },
		{ "one that is longer than the packet", IP6X(60, "\21\2" "abcdefghijklmn", 16, "", 0), PACKET_OTHER },
		{ "one that is cut", IP6X(0, "\21", 1, "", 0), PACKET_OTHER },
		{ "eight", IP6X(60, HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\21"), 56, UDP_BYTES, 12), PACKET_UDP },
		{ "too many", IP6X(60, HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\74") HEADER("\21"), 64, UDP_BYTES, 12), PACKET_OTHER },
		{ "fragment header", IP6X(44, "\21\0\0\1iden", 8, UDP_BYTES, 12), PACKET_FRAGMENT },
		{ "atomic fragment", IP6X(44, "\21\0\0\0iden", 8, UDP_BYTES, 12), PACKET_FRAGMENT },
		{ "hop-by-hop, fragment header", IP6X(0, HEADER("\54") "\21\0\0\1iden", 16, UDP_BYTES, 12), PACKET_FRAGMENT },
		{ "fragment header that is cut", IP6X(44, "\21\0\0\1", 4, "", 0), PACKET_OTHER },
		{ "authentication header", IP6X(51, "\6\4" "aaaaaaaaaaaaaaaaaaaaaa", 24, TCP_BYTES, 20), PACKET_OTHER },
		{ "no next header", IP6("", 0, .protocol = 59), PACKET_OTHER },
		{ "arp", ether_frame(0x0806, "who has"), PACKET_OTHER },
		{ "ipv4 without a packet", ether_frame(0x0800, ""), PACKET_OTHER },
		{ "runt", wire((uint8_t[12]){ 0 }, 12, (const uint8_t *)"\1\2\3", 3), PACKET_OTHER },
		{ "nothing", wire(NULL, 0, NULL, 0), PACKET_OTHER },
		{ "not a wire frame", g_bytes_new_static("\0\0\0\7\0\0\0\0abc", 11), PACKET_OTHER },
		{ "no bytes at all", g_bytes_new_static(NULL, 0), PACKET_OTHER },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		struct packet p;
		struct flow_key key;
		packet_parse(&p, table[i].frame);
		if (p.class != table[i].class)
			fail_msg("%s: %s", table[i].what, packet_class_name(p.class));
		flow_key_make(&key, 0, &p);
		g_bytes_unref(table[i].frame);
	}
}

/* Every cut of a good frame, with right wire lengths, parses to something; never a read outside of it (the sanitizers look). */
static void
test_every_cut(void **state)
{
	GBytes *frames[] = {
		TCP(.flags = SYN, .options = "\2\4\5\264", .options_length = 4, .text = "data"),
		udp_frame(53, "data"),
		icmp_frame(8, 1, 1, "ping", 0),
		TCP(.flags = SYN, .options = "\2\4\5\264", .options_length = 4, .text = "data", .ip = { .v6 = true, .tags = "\x81\0\0\7", .tags_length = 4 }),
		IP6X(0, HEADER("\54") "\21\0\0\1iden", 16, UDP_BYTES, 12),
		IP6X(0, HEADER("\53") HEADER("\74") HEADER("\21"), 24, UDP_BYTES, 12),
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++) {
		size_t n;
		const uint8_t *e = wire_frame_ethernet(frames[i], &n);
		for (size_t cut = 0; cut < n; cut++) {
			g_autofree uint8_t *copy = g_memdup2(e, cut);
			g_autoptr(GBytes) frame = wire(NULL, 0, copy, cut);
			struct packet p;
			packet_parse(&p, frame);
			assert_int_equal(p.class, PACKET_OTHER);
		}
		g_bytes_unref(frames[i]);
	}
}

static void
test_tcp_fields(void **state)
{
	g_autoptr(GBytes) frame = TCP(.seq = 0xfffffff0u, .ack = 77, .flags = SYN | ACK, .options = "\2\4\5\264", .options_length = 4, .text = "hello");
	struct packet p;

	packet_parse(&p, frame);
	assert_int_equal(p.class, PACKET_TCP);
	assert_int_equal(p.seq, 0xfffffff0u);
	assert_int_equal(p.ack, 77);
	assert_int_equal(p.flags, SYN | ACK);
	assert_int_equal(p.options_length, 4);
	assert_memory_equal(p.options, "\2\4\5\264", 4);
	assert_int_equal(p.payload_length, 5);
	assert_memory_equal(p.payload, "hello", 5);
	assert_int_equal(p.source_port, 80);
	assert_int_equal(p.destination_port, 4000);
}

static void
test_large_gso_segment(void **state)
{
	g_autofree uint8_t *l4 = g_malloc0(65515);
	g_autoptr(GBytes) frame = NULL;
	struct packet p;

	memcpy(l4, TCP_BYTES, 20);
	frame = ip_frame(&(struct ip_options){ .protocol = 6, .gso_type = 0x81, .gso_size = 1448 }, l4, 65515);
	packet_parse(&p, frame);
	assert_int_equal(p.class, PACKET_TCP);
	assert_int_equal(p.payload_length, 65535 - 40);
	assert_int_equal(p.gso_type, 1);	/* without the ECN bit */
	assert_int_equal(p.gso_size, 1448);
}

/* A vnet header that has the host do something else than the packet says makes other bytes on the wire. */
static void
test_vnet_header_that_lies(void **state)
{
	const struct { const char *what; GBytes *frame; enum packet_class class; } table[] = {
		{ "tcp checksum", IP(TCP_BYTES, 20, .protocol = 6, .needs_csum = true), PACKET_TCP },
		{ "tcp checksum behind a tag", IP(TCP_BYTES, 20, .protocol = 6, .needs_csum = true, .tags = "\x81\0\0\7", .tags_length = 4), PACKET_TCP },
		{ "tcp checksum over ipv6", IP6(TCP_BYTES, 20, .protocol = 6, .needs_csum = true), PACKET_TCP },
		{ "udp checksum", IP(UDP_BYTES, 12, .protocol = 17, .needs_csum = true), PACKET_UDP },
		{ "checksum into the payload", IP(TCP_BYTES "xx", 22, .protocol = 6, .needs_csum = true, .csum_offset = 20), PACKET_OTHER },
		{ "checksum of something else", IP(TCP_BYTES, 20, .protocol = 6, .needs_csum = true, .csum_start = 14), PACKET_OTHER },
		{ "udp checksum where tcp has it", IP(UDP_BYTES "xxxxxx", 18, .protocol = 17, .needs_csum = true, .csum_offset = 16), PACKET_OTHER },
		{ "tso", IP(TCP_BYTES "data", 24, .protocol = 6, .gso_type = 1, .gso_size = 2), PACKET_TCP },
		{ "tso over ipv6", IP6(TCP_BYTES "data", 24, .protocol = 6, .gso_type = 4, .gso_size = 2), PACKET_TCP },
		{ "ipv6 tso of ipv4", IP(TCP_BYTES "data", 24, .protocol = 6, .gso_type = 4, .gso_size = 2), PACKET_OTHER },
		{ "ipv4 tso of ipv6", IP6(TCP_BYTES "data", 24, .protocol = 6, .gso_type = 1, .gso_size = 2), PACKET_OTHER },
		{ "tso of a syn", TCP(.flags = SYN, .text = "data", .ip = { .gso_type = 1, .gso_size = 2 }), PACKET_OTHER },
		{ "tso of udp", IP(UDP_BYTES, 12, .protocol = 17, .gso_type = 1, .gso_size = 2), PACKET_OTHER },
		{ "udp segments", IP(UDP_BYTES, 12, .protocol = 17, .gso_type = 5, .gso_size = 2), PACKET_UDP },
		{ "udp segments of no bytes", IP(UDP_BYTES, 12, .protocol = 17, .gso_type = 5), PACKET_OTHER },
		{ "udp fragments", IP(UDP_BYTES, 12, .protocol = 17, .gso_type = 3, .gso_size = 2), PACKET_UDP },
		{ "udp segments of tcp", IP(TCP_BYTES, 20, .protocol = 6, .gso_type = 5, .gso_size = 2), PACKET_OTHER },
		{ "gso of icmp", IP(ICMP_BYTES, 8, .protocol = 1, .gso_type = 5, .gso_size = 2), PACKET_OTHER },
		{ "unknown gso", IP(TCP_BYTES, 20, .protocol = 6, .gso_type = 2, .gso_size = 2), PACKET_OTHER },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		struct packet p;
		packet_parse(&p, table[i].frame);
		if (p.class != table[i].class)
			fail_msg("%s: %s", table[i].what, packet_class_name(p.class));
		g_bytes_unref(table[i].frame);
	}
}

static bool
one_flow(unsigned nic_a, GBytes *a, unsigned nic_b, GBytes *b)
{
	struct packet p, q;
	struct flow_key k, l;

	packet_parse(&p, a);
	packet_parse(&q, b);
	flow_key_make(&k, nic_a, &p);
	flow_key_make(&l, nic_b, &q);
	bool equal = flow_key_equal(&k, &l);
	g_bytes_unref(a);
	g_bytes_unref(b);
	return equal;
}

#define OTHER6 "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x77"
#define TCP6(...) IP6(TCP_BYTES, 20, .protocol = 6, __VA_ARGS__)

static void
test_flow_keys(void **state)
{
	assert_true(one_flow(0, TCP(.seq = 1, .text = "a"), 0, TCP(.seq = 9, .flags = ACK)));
	assert_false(one_flow(0, TCP(.seq = 1), 1, TCP(.seq = 1)));
	assert_false(one_flow(0, TCP(.port = 80), 0, TCP(.port = 81)));
	assert_false(one_flow(0, TCP(.client = 80), 0, TCP(.client = 81)));
	assert_false(one_flow(0, udp_frame(80, "x"), 0, TCP(.port = 80, .client = 5000)));
	assert_false(one_flow(0, IP(UDP_BYTES, 12, .protocol = 17), 0, IP(UDP_BYTES, 12, .protocol = 17, .destination = 9)));
	assert_false(one_flow(0, IP(UDP_BYTES, 12, .protocol = 17), 0, IP(UDP_BYTES, 12, .protocol = 17, .source = 9)));
	assert_false(one_flow(0, icmp_frame(8, 1, 1, "", 0), 0, icmp_frame(8, 2, 1, "", 0)));
	assert_true(one_flow(0, icmp_frame(8, 1, 1, "", 0), 0, icmp_frame(8, 1, 2, "x", 0)));
	assert_true(one_flow(0, icmp_frame(3, 1, 1, "", 0), 0, icmp_frame(3, 2, 1, "", 0)));
	assert_true(one_flow(0, ether_frame(0x0806, "a"), 0, ether_frame(0x0806, "b")));
	assert_false(one_flow(0, ether_frame(0x0806, "a"), 0, ether_frame(0x8100, "a")));
	assert_false(one_flow(0, TCP6(), 0, TCP6(.source6 = OTHER6)));
	assert_false(one_flow(0, TCP6(), 0, TCP6(.destination6 = OTHER6)));
	assert_false(one_flow(0, TCP6(), 0, TCP(.seq = 1)));
	assert_true(one_flow(0, TCP6(), 0, TCP6(.ttl = 3)));
	assert_false(one_flow(0, TCP6(), 0, TCP6(.tags = "\x81\0\0\7", .tags_length = 4)));
	assert_false(one_flow(0, TCP6(.tags = "\x81\0\0\7", .tags_length = 4), 0, TCP6(.tags = "\x81\0\0\10", .tags_length = 4)));
	assert_false(one_flow(0, TCP6(), 0, TCP6(.tags = "\x81\0\0\0", .tags_length = 4)));	/* a tag without an identifier is a tag */
	assert_false(one_flow(0, TCP6(.tags = "\x88\xa8\0\7\x81\0\0\7", .tags_length = 8), 0, TCP6(.tags = "\x81\0\0\7", .tags_length = 4)));
	assert_true(one_flow(0, TCP6(.tags = "\x81\0\xe0\7", .tags_length = 4), 0, TCP6(.tags = "\x81\0\0\7", .tags_length = 4)));	/* priority */
	assert_false(one_flow(0, IP6("\200\0\0\0\0\1\0\0", 8, .protocol = 58), 0, IP6("\200\0\0\0\0\2\0\0", 8, .protocol = 58)));	/* echo */
	assert_true(one_flow(0, IP6("\207\0\0\0\0\1\0\0", 8, .protocol = 58), 0, IP6("\207\0\0\0\0\2\0\0", 8, .protocol = 58)));	/* solicitation */
	assert_true(one_flow(0, IP("a", 1, .protocol = 17, .fragment = 1), 0, IP("b", 1, .protocol = 17, .fragment = 2, .id = 7)));
	assert_false(one_flow(0, IP("a", 1, .protocol = 17, .fragment = 1), 0, IP("a", 1, .protocol = 6, .fragment = 1)));
	assert_false(one_flow(0, IP("a", 1, .protocol = 47), 0, IP("a", 1, .protocol = 47, .destination = 9)));
}

static void
test_rewritten(void **state)
{
	const struct { GBytes *frame; bool rewritten; } table[] = {
		{ IP(TCP_BYTES, 20, .protocol = 6), true },
		{ IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x0001), true },
		{ IP(TCP_BYTES, 20, .protocol = 6, .tags = "\x81\0\0\7", .tags_length = 4), false },
		{ IP6(TCP_BYTES, 20, .protocol = 6), false },
		{ IP(UDP_BYTES, 12, .protocol = 17), false },
		{ IP(ICMP_BYTES, 8, .protocol = 1), false },
		{ ether_frame(0x0806, "a"), false },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		struct packet p;

		packet_parse(&p, table[i].frame);
		assert_int_equal(packet_is_rewritten(&p), table[i].rewritten);
		g_bytes_unref(table[i].frame);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_tcp_fields),
		cmocka_unit_test(test_large_gso_segment),
		cmocka_unit_test(test_vnet_header_that_lies),
		cmocka_unit_test(test_flow_keys),
		cmocka_unit_test(test_rewritten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
