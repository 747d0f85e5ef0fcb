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

#define TCP_BYTES "\0\120\0\17\0\0\0\1\0\0\0\2\120\20\0\0\0\0\0\0"
#define UDP_BYTES "\0\65\0\65\0\14\0\0data"
#define ICMP_BYTES "\10\0\0\0\0\1\0\2"

static void
test_classes(void **state)
{
	const struct { const char *what; GBytes *frame; enum packet_class class; } table[] = {
		{ "tcp", IP(TCP_BYTES "x", 21, .protocol = 6), PACKET_TCP },
		{ "tcp, padded", IP(TCP_BYTES, 20, .protocol = 6, .padding = 6), PACKET_TCP },
		{ "tcp with IP options", IP(TCP_BYTES, 20, .protocol = 6, .ihl = 15), PACKET_TCP },
		{ "tcp, don't fragment", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x4000), PACKET_TCP },
		{ "tcp, more fragments", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x2000), PACKET_OTHER },
		{ "tcp, later fragment", IP(TCP_BYTES, 20, .protocol = 6, .fragment = 0x0001), PACKET_OTHER },
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
		{ "ipv4 in 802.1Q", IP(TCP_BYTES, 20, .protocol = 6, .type = 0x8100), PACKET_OTHER },
		{ "QinQ", IP(TCP_BYTES, 20, .protocol = 6, .type = 0x88a8), PACKET_OTHER },
		{ "ipv6", ether_frame(0x86dd, "`"), PACKET_OTHER },
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
	GBytes *frames[] = { TCP(.flags = SYN, .options = "\2\4\5\264", .options_length = 4, .text = "data"), udp_frame(53, "data"), icmp_frame(8, 1, 1, "ping", 0) };

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
	if (equal)
		assert_int_equal(flow_key_hash(&k), flow_key_hash(&l));
	g_bytes_unref(a);
	g_bytes_unref(b);
	return equal;
}

static GBytes *
ipv6(char address)
{
	char h[41] = "`______________________________________x";

	h[20] = address;
	return ether_frame(0x86dd, h);
}

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
	assert_false(one_flow(0, ipv6('a'), 0, ipv6('b')));
	assert_true(one_flow(0, ipv6('a'), 0, ipv6('a')));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_tcp_fields),
		cmocka_unit_test(test_large_gso_segment),
		cmocka_unit_test(test_flow_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
