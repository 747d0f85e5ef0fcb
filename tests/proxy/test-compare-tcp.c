/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/compare-tcp.h"
#include "tests/proxy/frame-builder.h"

/* One connection, and the segments that both copies have put into it. */
struct rig {
	struct tcp_compare t;
	GPtrArray *kept;	/* of struct one */
	bool differs;
};

struct one {
	GBytes *bytes;
	struct packet packet;
	struct tcp_segment segment;
};

static void
one_free(gpointer p)
{
	struct one *o = p;

	g_bytes_unref(o->bytes);
	g_free(o);
}

static struct one *
one_new(struct rig *r, GBytes *bytes)
{
	struct one *o = g_new0(struct one, 1);

	o->bytes = bytes;
	packet_parse(&o->packet, bytes);
	assert_int_equal(o->packet.class, PACKET_TCP);
	tcp_segment_init(&o->segment, &o->packet);
	g_ptr_array_add(r->kept, o);
	return o;
}

static struct rig
rig_new(void)
{
	return (struct rig){ .kept = g_ptr_array_new_with_free_func(one_free) };
}

static void
boundary(struct rig *r)
{
	for (guint i = 0; i < r->kept->len; i++)
		tcp_forget(&r->t, &((struct one *)r->kept->pdata[i])->segment);
	tcp_boundary(&r->t);
	r->differs = false;
}

static void
rig_clear(struct rig *r)
{
	boundary(r);
	g_ptr_array_unref(r->kept);
}

static struct tcp_segment *
primary(struct rig *r, GBytes *bytes)
{
	struct one *o = one_new(r, bytes);

	r->differs |= tcp_primary(&r->t, &o->segment) == VERDICT_DIFFER;
	return &o->segment;
}

static struct tcp_segment *
secondary(struct rig *r, GBytes *bytes)
{
	struct one *o = one_new(r, bytes);

	r->differs |= tcp_secondary(&r->t, &o->segment) == VERDICT_DIFFER;
	return &o->segment;
}

/* May it leave? It leaves then. */
static bool
leaves(struct rig *r, struct tcp_segment *s)
{
	struct release_evidence e;

	if (r->differs || tcp_verdict(&r->t, s, &e) != VERDICT_SAME)
		return false;
	assert_true(e.same && e.reason == RELEASE_SAME);
	if (e.in_stream)
		assert_true(seq_after(e.end, e.compared) <= 0);
	tcp_released(&r->t, s);
	tcp_forget(&r->t, s);
	return true;
}

#define P(...) primary(&r, TCP(__VA_ARGS__))
#define S(...) secondary(&r, TCP(__VA_ARGS__))

static void
test_same_whatever_the_cut(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .ack = 7, .flags = ACK, .text = "abcdef"), *b = P(.seq = 106, .ack = 7, .flags = ACK, .text = "gh");

	assert_false(leaves(&r, a));
	S(.seq = 100, .ack = 7, .flags = ACK, .text = "abc", .window = 5, .checksum = 9, .urgent = 1, .ip_id = 8);
	assert_false(leaves(&r, a));
	struct tcp_segment *s = S(.seq = 103, .ack = 7, .flags = ACK, .text = "defgh");
	assert_true(leaves(&r, a));
	assert_false(tcp_matched(&r.t, s));
	assert_true(leaves(&r, b));
	assert_true(tcp_matched(&r.t, s));
	assert_false(r.differs);
	rig_clear(&r);
}

static void
test_one_byte_differs(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .text = "abc"), *b = P(.seq = 103, .text = "dXf");

	S(.seq = 100, .text = "abcd");
	assert_true(leaves(&r, a));
	assert_false(leaves(&r, b));
	assert_false(r.differs);	/* what is there is the same */
	S(.seq = 104, .text = "e");
	assert_true(r.differs);
	rig_clear(&r);
}

static void
test_secondary_first(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *s = S(.seq = 100, .ack = 7, .flags = ACK, .text = "abcdef");

	assert_false(tcp_matched(&r.t, s));
	struct tcp_segment *a = P(.seq = 100, .ack = 7, .flags = ACK, .text = "abc");
	assert_true(leaves(&r, a));
	assert_false(tcp_matched(&r.t, s));
	assert_true(leaves(&r, P(.seq = 103, .ack = 7, .flags = ACK, .text = "def")));
	assert_true(tcp_matched(&r.t, s));
	rig_clear(&r);
}

static void
test_disorder_and_overlap(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .text = "abc"), *c = P(.seq = 106, .text = "ghi"), *b = P(.seq = 102, .text = "cdefg");

	S(.seq = 106, .text = "ghi");
	S(.seq = 101, .text = "bcdef");
	assert_false(leaves(&r, a));
	S(.seq = 99, .text = "?ab");	/* what lies before the beginning does not matter */
	assert_true(leaves(&r, a));
	assert_true(leaves(&r, c));
	assert_true(leaves(&r, b));
	rig_clear(&r);
}

static void
test_wrap(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 0xfffffffeu, .ack = 0xfffffffeu, .flags = ACK, .text = "abcd"), *b = P(.seq = 2, .ack = 2, .flags = ACK, .text = "ef");

	S(.seq = 0, .ack = 1, .flags = ACK, .text = "cdef");
	S(.seq = 0xfffffffeu, .ack = 0xffffffffu, .flags = ACK, .text = "ab");
	assert_true(leaves(&r, a));
	assert_false(leaves(&r, b));	/* ACK 2 > 1 */
	S(.seq = 4, .ack = 2, .flags = ACK);
	assert_true(leaves(&r, b));
	rig_clear(&r);
}

static void
test_ack_rule(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .ack = 50, .flags = ACK);

	assert_false(leaves(&r, a));
	S(.seq = 100, .ack = 49, .flags = ACK);
	assert_false(leaves(&r, a));
	struct tcp_segment *s = S(.seq = 100, .ack = 51, .flags = ACK);
	assert_true(leaves(&r, a));
	assert_false(tcp_matched(&r.t, s));	/* ACK 51 has not left */
	assert_true(leaves(&r, P(.seq = 100, .ack = 51, .flags = ACK)));
	assert_true(tcp_matched(&r.t, s));
	S(.seq = 100, .ack = 20, .flags = ACK);	/* an old one takes nothing back */
	assert_true(leaves(&r, P(.seq = 100, .ack = 51, .flags = ACK)));
	/* equal content does not help an ACK that goes too far */
	S(.seq = 100, .ack = 51, .flags = ACK, .text = "x");
	assert_false(leaves(&r, P(.seq = 100, .ack = 52, .flags = ACK, .text = "x")));
	rig_clear(&r);
}

static void
test_fin(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .flags = FIN, .text = "ab");

	S(.seq = 100, .text = "ab");
	assert_false(leaves(&r, a));
	S(.seq = 102, .flags = FIN);
	assert_true(leaves(&r, a));
	assert_true(leaves(&r, P(.seq = 102, .flags = FIN)));	/* again */

	/* a FIN where the other copy has data */
	boundary(&r);
	P(.seq = 103, .text = "x");
	S(.seq = 103, .flags = FIN);
	assert_true(r.differs);
	rig_clear(&r);
}

static void
test_rst_needs_a_rst(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 100, .flags = RST), *b = P(.seq = 100, .ack = 9, .flags = RST | ACK);

	S(.seq = 100, .ack = 99, .flags = ACK);
	assert_false(leaves(&r, a));
	struct tcp_segment *s = S(.seq = 555, .flags = RST);	/* the numbers do not count */
	assert_false(tcp_matched(&r.t, s));
	assert_true(leaves(&r, a));
	assert_true(tcp_matched(&r.t, s));
	assert_false(leaves(&r, b));	/* one for one */
	S(.seq = 100, .ack = 9, .flags = RST | ACK);
	assert_true(leaves(&r, b));
	rig_clear(&r);
}

static void
test_rst_acks(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 0, .ack = 10, .flags = RST | ACK);

	S(.seq = 0, .ack = 9, .flags = RST | ACK);
	assert_false(leaves(&r, a));
	boundary(&r);
	/* the ACK of a RST vouches for nothing else */
	S(.seq = 0, .ack = 1000, .flags = RST | ACK);
	assert_false(leaves(&r, P(.seq = 0, .ack = 20, .flags = ACK)));
	/* text in a RST cannot be compared */
	boundary(&r);
	S(.seq = 0, .flags = RST, .text = "why");
	P(.seq = 0, .flags = RST, .text = "why");
	assert_true(r.differs);
	rig_clear(&r);
}

#define V6 .ip = { .v6 = true }
#define MSS "\2\4\5\264"
#define STAMP_A "\1\1\10\12AAAABBBB"
#define STAMP_B "\1\1\10\12CCCCBBBB"

/* The client opens: other initial numbers, then the rewriter's. */
static void
test_syn_ack(void **state)
{
	struct rig r = rig_new();
	struct tcp_segment *a = P(.seq = 1000, .ack = 7, .flags = SYN | ACK, .options = MSS STAMP_A, .options_length = 16);

	assert_false(leaves(&r, a));
	struct tcp_segment *s = S(.seq = 5000, .ack = 7, .flags = SYN | ACK, .options = MSS STAMP_B, .options_length = 16);
	assert_false(tcp_matched(&r.t, s));
	assert_true(leaves(&r, a));
	assert_true(tcp_matched(&r.t, s));
	/* both send it again, each in its own numbers */
	assert_true(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK, .options = MSS STAMP_B, .options_length = 16)));
	assert_true(tcp_matched(&r.t, S(.seq = 5000, .ack = 7, .flags = SYN | ACK, .options = MSS STAMP_A, .options_length = 16)));
	/* not mapped yet: cannot be taken for the stream */
	S(.seq = 5001, .ack = 7, .flags = ACK, .text = "hello");
	struct tcp_segment *b = P(.seq = 1001, .ack = 7, .flags = ACK, .text = "hello");
	assert_false(leaves(&r, b));
	S(.seq = 1001, .ack = 7, .flags = ACK, .text = "hello");
	assert_true(leaves(&r, b));
	assert_false(r.differs);
	rig_clear(&r);
}

static void
test_syn_ack_secondary_first(void **state)
{
	struct rig r = rig_new();

	S(.seq = 5000, .ack = 7, .flags = SYN | ACK);
	S(.seq = 5000, .ack = 7, .flags = SYN | ACK);
	assert_true(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK)));
	assert_false(r.differs);
	rig_clear(&r);
}

static const struct { const char *what; struct seg p, s; bool same; } syns[] = {
	{ "flags", { .seq = 1, .ack = 7, .flags = SYN | ACK }, { .seq = 1, .flags = SYN }, false },
	{ "guest opens, other numbers", { .seq = 1, .flags = SYN }, { .seq = 2, .flags = SYN }, false },
	{ "guest opens, same numbers", { .seq = 1, .flags = SYN }, { .seq = 1, .flags = SYN }, true },
	{ "ACK goes too far", { .seq = 1, .ack = 8, .flags = SYN | ACK }, { .seq = 1, .ack = 7, .flags = SYN | ACK }, false },
	{ "options", { .seq = 1, .flags = SYN, .options = MSS, .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\2\4\5\263", .options_length = 4 }, false },
	{ "fewer options", { .seq = 1, .flags = SYN, .options = MSS, .options_length = 4 }, { .seq = 1, .flags = SYN }, false },
	{ "after the end of options", { .seq = 1, .flags = SYN, .options = "\0abc", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\0xyz", .options_length = 4 }, true },
	{ "option length 0", { .seq = 1, .flags = SYN, .options = "\2\0\0\0", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\2\0\0\0", .options_length = 4 }, false },
	{ "option too long", { .seq = 1, .flags = SYN, .options = "\2\5\0\0", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\2\5\0\0", .options_length = 4 }, false },
	{ "option cut", { .seq = 1, .flags = SYN, .options = "\1\1\1\2", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\1\1\1\2", .options_length = 4 }, false },
	{ "payload", { .seq = 1, .flags = SYN, .text = "a" }, { .seq = 1, .flags = SYN, .text = "b" }, false },
	{ "ECN asked for by one", { .seq = 1, .flags = SYN | PACKET_TCP_ECE | PACKET_TCP_CWR }, { .seq = 1, .flags = SYN }, false },
	{ "ECN asked for by both", { .seq = 1, .flags = SYN | PACKET_TCP_ECE | PACKET_TCP_CWR }, { .seq = 1, .flags = SYN | PACKET_TCP_ECE | PACKET_TCP_CWR }, true },
	{ "Multipath TCP, same keys", { .seq = 1, .flags = SYN, .options = "\36\4ab", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\36\4ab", .options_length = 4 }, true },
	{ "Multipath TCP, other keys", { .seq = 1, .flags = SYN, .options = "\36\4ab", .options_length = 4 }, { .seq = 1, .flags = SYN, .options = "\36\4ac", .options_length = 4 }, false },
	{ "IPv6, guest opens, same numbers", { .seq = 1, .flags = SYN, V6 }, { .seq = 1, .flags = SYN, V6 }, true },
	{ "same payload", { .seq = 1, .flags = SYN, .text = "a" }, { .seq = 1, .flags = SYN, .text = "a" }, true },
};

static void
test_syn_table(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(syns); i++) {
		struct rig r = rig_new();
		secondary(&r, tcp_frame(&syns[i].s));
		struct tcp_segment *a = primary(&r, tcp_frame(&syns[i].p));
		if (leaves(&r, a) != syns[i].same)
			fail_msg("%s", syns[i].what);
		rig_clear(&r);
	}
}

#define TAGGED .ip = { .tags = "\x81\0\0\7", .tags_length = 4 }

/* Nobody maps the numbers there: a client that has heard the PVM's initial number would be a stranger to the SVM. */
static void
test_syn_ack_without_the_rewriter(void **state)
{
	struct rig r = rig_new();

	S(.seq = 5000, .ack = 7, .flags = SYN | ACK, V6);
	assert_false(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK, V6)));
	assert_true(r.differs);
	assert_int_equal(r.t.difference.reason, DIFFERENCE_SYN);
	/* one checkpoint, and the SVM is in that connection, with its numbers */
	boundary(&r);
	S(.seq = 1001, .ack = 9, .flags = ACK, .text = "hello", V6);
	assert_true(leaves(&r, P(.seq = 1001, .ack = 8, .flags = ACK, .text = "hello", V6)));
	rig_clear(&r);

	r = rig_new();
	S(.seq = 5000, .ack = 7, .flags = SYN | ACK, TAGGED);
	assert_false(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK, TAGGED)));
	assert_true(r.differs);
	rig_clear(&r);

	r = rig_new();
	S(.seq = 1000, .ack = 7, .flags = SYN | ACK, V6);
	assert_true(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK, V6)));
	rig_clear(&r);
}

/* Both ends open at once: the guest's SYN, then its SYN again with an ACK (RFC 9293, 3.5). */
static void
test_simultaneous_open(void **state)
{
	struct rig r = rig_new();

	S(.seq = 1000, .flags = SYN);
	assert_true(leaves(&r, P(.seq = 1000, .flags = SYN)));
	assert_false(leaves(&r, P(.seq = 1000, .ack = 8, .flags = SYN | ACK)));
	S(.seq = 1000, .ack = 8, .flags = SYN | ACK);
	assert_true(leaves(&r, P(.seq = 1000, .ack = 8, .flags = SYN | ACK)));
	S(.seq = 1001, .ack = 8, .flags = ACK, .text = "hi");
	assert_true(leaves(&r, P(.seq = 1001, .ack = 8, .flags = ACK, .text = "hi")));
	assert_false(r.differs);
	rig_clear(&r);
}

/* Probes carry nothing new: only their ACK counts. */
static void
test_probes(void **state)
{
	struct rig r = rig_new();

	S(.seq = 100, .ack = 7, .flags = ACK, .text = "abc");
	assert_true(leaves(&r, P(.seq = 100, .ack = 7, .flags = ACK, .text = "abc")));
	assert_true(leaves(&r, P(.seq = 102, .ack = 7, .flags = ACK)));				/* keep-alive */
	assert_true(leaves(&r, P(.seq = 102, .ack = 7, .flags = ACK, .text = "?")));		/* with a byte that the peer has (RFC 9293, 3.8.4) */
	assert_false(leaves(&r, P(.seq = 102, .ack = 8, .flags = ACK)));
	assert_false(leaves(&r, P(.seq = 103, .ack = 7, .flags = ACK, .text = "d")));		/* zero window probe: new data */
	S(.seq = 103, .ack = 7, .flags = ACK, .text = "d");
	assert_true(leaves(&r, P(.seq = 103, .ack = 7, .flags = ACK, .text = "d")));
	assert_true(leaves(&r, P(.seq = 104, .ack = 7, .flags = ACK, .window = 0)));
	assert_false(r.differs);
	rig_clear(&r);
}

/* A half-closed connection: the guest still acknowledges, and gets no more content out than its FIN. */
static void
test_half_close(void **state)
{
	struct rig r = rig_new();

	S(.seq = 100, .ack = 7, .flags = ACK | FIN, .text = "bye");
	assert_true(leaves(&r, P(.seq = 100, .ack = 7, .flags = ACK | FIN, .text = "bye")));
	S(.seq = 104, .ack = 500, .flags = ACK);
	assert_true(leaves(&r, P(.seq = 104, .ack = 400, .flags = ACK)));
	assert_true(leaves(&r, P(.seq = 104, .ack = 500, .flags = ACK)));
	assert_false(leaves(&r, P(.seq = 104, .ack = 501, .flags = ACK)));
	rig_clear(&r);
}

/* The mark is absolute, whatever segment it comes in; it goes as far as the SVM's. */
static void
test_urgent(void **state)
{
	struct rig r = rig_new();

	S(.seq = 100, .text = "abcdef");
	struct tcp_segment *a = P(.seq = 100, .flags = URG, .urgent = 4, .text = "abcdef");
	assert_false(leaves(&r, a));
	struct tcp_segment *s = S(.seq = 103, .flags = URG, .urgent = 1, .text = "def");
	assert_true(leaves(&r, a));
	assert_true(tcp_matched(&r.t, s));
	s = S(.seq = 106, .flags = URG, .urgent = 1, .text = "g");
	assert_true(leaves(&r, P(.seq = 106, .text = "g")));
	assert_false(tcp_matched(&r.t, s));		/* its mark has not left */
	assert_false(leaves(&r, P(.seq = 107, .flags = URG, .urgent = 2)));
	boundary(&r);
	assert_true(leaves(&r, P(.seq = 107, .flags = URG, .urgent = 2)));	/* committed */
	rig_clear(&r);
}

static const struct { const char *what, *options; size_t length; bool compared; } options[] = {
	{ "timestamp", STAMP_A, 12, true },
	{ "SACK", "\1\1\5\12aaaabbbb", 12, true },
	{ "MD5 signature", "\1\1\23\22aaaaaaaaaaaaaaaa", 20, true },
	{ "end, then anything", "\0\36\36\36", 4, true },
	{ "Multipath TCP", "\36\14" "aabbbbcccc", 12, false },
	{ "Multipath TCP behind others", "\1\1\36\4aa\1\1", 8, false },
	{ "experiment", "\375\4aa", 4, false },
	{ "length 0", "\10\0aa", 4, false },
	{ "length 1 behind the end", "\1\1\1\10", 4, false },
	{ "longer than the header", "\5\12aa", 4, false },
};

/* Equal bytes under an option that gives them another meaning are no equal output; and that whichever copy has it. */
static void
test_options(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
		for (unsigned other = 0; other < 2; other++) {
			struct rig r = rig_new();
			struct seg with = { .seq = 100, .text = "abc", .options = options[i].options, .options_length = options[i].length };
			struct seg without = { .seq = 100, .text = "abc" };
			secondary(&r, tcp_frame(other ? &with : &without));
			struct tcp_segment *a = primary(&r, tcp_frame(other ? &without : &with));
			if (leaves(&r, a) != options[i].compared)
				fail_msg("%s", options[i].what);
			assert_int_equal(r.t.difference.reason, options[i].compared ? DIFFERENCE_NONE : DIFFERENCE_OPTION);
			rig_clear(&r);
		}
	}
}

/* One 64 KiB segment that the host cuts up later against 45 that the other copy has cut itself; and the other way round. */
static void
test_tso(void **state)
{
	g_autofree uint8_t *data = g_malloc(65160);
	struct seg large = { .seq = 100, .ack = 7, .flags = ACK, .data = data, .length = 65160, .ip = { .gso_type = 1, .gso_size = 1448, .needs_csum = true } };

	for (unsigned i = 0; i < 65160; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct rig r = rig_new();
		large.ip.v6 = v6;
		large.ip.gso_type = v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4;
		struct tcp_segment *a = primary(&r, tcp_frame(&large));
		for (unsigned i = 0; i < 45; i++) {
			assert_false(leaves(&r, a));
			S(.seq = 100 + i * 1448, .ack = 7, .flags = ACK, .data = data + i * 1448, .length = 1448, .ip = { .v6 = v6 });
		}
		assert_true(leaves(&r, a));
		boundary(&r);
		large.seq = 100 + 65160;
		secondary(&r, tcp_frame(&large));
		for (unsigned i = 0; i < 45; i++)
			assert_true(leaves(&r, P(.seq = large.seq + i * 1448, .ack = 7, .flags = ACK, .data = data + i * 1448, .length = 1448, .ip = { .v6 = v6 })));
		large.seq = 100;
		rig_clear(&r);
	}
}

/* Where the streams differ is counted from the SYN. */
static void
test_difference(void **state)
{
	struct rig r = rig_new();

	S(.seq = 0xfffffff0u, .flags = SYN);
	P(.seq = 0xfffffff0u, .flags = SYN);
	P(.seq = 0xfffffff1u, .text = "0123456789");
	S(.seq = 0xfffffff1u, .text = "01234");
	S(.seq = 0xfffffff6u, .text = "56x89");
	assert_true(r.differs);
	assert_int_equal(r.t.difference.reason, DIFFERENCE_CONTENT);
	assert_int_equal(r.t.difference.at, 7);
	assert_int_equal(r.t.difference.primary_length, 3);
	assert_memory_equal(r.t.difference.primary, "789", 3);
	assert_memory_equal(r.t.difference.secondary, "x89", 3);
	rig_clear(&r);

	r = rig_new();
	P(.seq = 5, .text = "x");
	S(.seq = 5, .flags = FIN);
	assert_int_equal(r.t.difference.reason, DIFFERENCE_FIN);
	rig_clear(&r);
}

/* Ports used again: the new SYN may lie anywhere in the old numbers, also where content has left already. */
static void
test_new_connection_in_old_numbers(void **state)
{
	struct rig r = rig_new();

	S(.seq = 1000, .ack = 5000, .flags = ACK, .text = "old");
	assert_true(leaves(&r, P(.seq = 1000, .ack = 5000, .flags = ACK, .text = "old")));
	struct tcp_segment *a = P(.seq = 900, .ack = 4000, .flags = SYN | ACK);
	assert_false(leaves(&r, a));		/* neither a repetition nor covered by the old connection's ACK */
	S(.seq = 800, .ack = 4000, .flags = SYN | ACK);
	assert_true(leaves(&r, a));
	assert_false(leaves(&r, P(.seq = 901, .ack = 4001, .flags = ACK)));
	assert_false(tcp_matched(&r.t, S(.seq = 901, .ack = 4000, .flags = ACK, .text = "new")));	/* nor has it left with the old one's */
	rig_clear(&r);
}

static void
test_ports_used_again(void **state)
{
	struct rig r = rig_new();

	for (uint32_t n = 1; n <= 3; n++) {
		uint32_t seq = n * 0x50000000u, ack = n * 0x30000000u;
		S(.seq = seq + 5, .ack = ack, .flags = SYN | ACK);
		assert_true(leaves(&r, P(.seq = seq, .ack = ack, .flags = SYN | ACK)));
		S(.seq = seq + 1, .ack = ack + 1, .flags = ACK | FIN, .text = "hello");
		assert_true(leaves(&r, P(.seq = seq + 1, .ack = ack, .flags = ACK, .text = "hello")));
		assert_true(leaves(&r, P(.seq = seq + 6, .ack = ack + 1, .flags = ACK | FIN)));
		assert_false(leaves(&r, P(.seq = seq + 7, .ack = ack + 2, .flags = ACK)));
		assert_false(r.differs);
		boundary(&r);
	}
	rig_clear(&r);
}

/* The SVM is in a new connection, the PVM still in the old one: the numbers mean different things. */
static void
test_secondary_ahead_in_a_new_connection(void **state)
{
	struct rig r = rig_new();

	S(.seq = 1000, .ack = 10, .flags = ACK);
	S(.seq = 7000, .ack = 5000, .flags = SYN | ACK);
	assert_false(leaves(&r, P(.seq = 1000, .ack = 11, .flags = ACK)));
	assert_false(r.differs);
	P(.seq = 3000, .ack = 5000, .flags = SYN | ACK);
	assert_true(r.differs);			/* the old ACK has not left: two connections at once */
	rig_clear(&r);
}

static void
test_boundary(void **state)
{
	struct rig r = rig_new();

	P(.seq = 100, .ack = 50, .flags = ACK, .text = "abc");
	S(.seq = 100, .ack = 40, .flags = ACK, .text = "aXXXX");
	assert_true(r.differs);
	boundary(&r);
	/* all of it was committed: up to 103, ACK 50 */
	assert_true(leaves(&r, P(.seq = 103, .ack = 50, .flags = ACK)));
	assert_true(leaves(&r, P(.seq = 100, .ack = 50, .flags = ACK, .text = "abc")));
	assert_false(leaves(&r, P(.seq = 103, .ack = 51, .flags = ACK)));
	boundary(&r);
	/* the SVM goes on from there; it may repeat what is below */
	struct tcp_segment *a = P(.seq = 103, .ack = 51, .flags = ACK, .text = "de");
	assert_true(tcp_matched(&r.t, S(.seq = 100, .ack = 51, .flags = ACK, .text = "abc")));
	assert_false(leaves(&r, a));
	S(.seq = 100, .ack = 51, .flags = ACK, .text = "abcde");
	assert_true(leaves(&r, a));
	assert_false(r.differs);
	rig_clear(&r);
}

static void
test_boundary_after_handshake(void **state)
{
	struct rig r = rig_new();

	P(.seq = 1000, .ack = 7, .flags = SYN | ACK);
	boundary(&r);
	assert_true(leaves(&r, P(.seq = 1000, .ack = 7, .flags = SYN | ACK)));
	assert_true(tcp_matched(&r.t, S(.seq = 1000, .ack = 7, .flags = SYN | ACK)));
	assert_false(leaves(&r, P(.seq = 1001, .ack = 7, .flags = ACK, .text = "x")));
	S(.seq = 1001, .text = "x");
	boundary(&r);
	/* a PVM that only absorbs has a position too */
	struct one *o = one_new(&r, TCP(.seq = 1002, .ack = 9, .flags = ACK, .text = "yz"));
	tcp_absorb(&r.t, &o->segment);
	boundary(&r);
	assert_true(leaves(&r, P(.seq = 1004, .ack = 9, .flags = ACK)));
	rig_clear(&r);
}

/* A connection that was met half way: content below the beginning was perhaps never released. */
static void
test_floor(void **state)
{
	struct rig r = rig_new();

	P(.seq = 100, .text = "abc");
	S(.seq = 90, .text = "0123456789abc");
	P(.seq = 90, .text = "0123456789");
	assert_true(r.differs);
	rig_clear(&r);
}

static void
test_far_away(void **state)
{
	struct rig r = rig_new();

	P(.seq = 100, .text = "abc");
	S(.seq = 100 + (1u << 30) + 1, .text = "abc");
	assert_true(r.differs);
	boundary(&r);
	P(.seq = 103 + (1u << 30) + 1, .text = "abc");
	assert_true(r.differs);
	rig_clear(&r);

	r = rig_new();
	P(.seq = 100, .text = "abc");
	boundary(&r);
	P(.seq = 103 - (1u << 30) - 1, .text = "abc");
	assert_true(r.differs);
	rig_clear(&r);
}

/* Segments in descending order cost a walk each: bounded. */
static void
test_disorder_is_bounded(void **state)
{
	struct rig r = rig_new();

	P(.seq = 100, .text = "a");
	for (uint32_t i = 0; i <= TCP_DISORDER_MAX; i++)
		S(.seq = 1000 - i, .text = "a");
	assert_false(r.differs);
	S(.seq = 1000 - TCP_DISORDER_MAX - 1, .text = "a");
	assert_true(r.differs);
	rig_clear(&r);
}

/* -- random cuts of one stream --------------------------------------------------------------------------------------------------------- */

#define STREAM 3000

struct cut { uint32_t at, length; };

/* Pieces that cover the stream, some of them twice or overlapping, mostly in order. */
static GArray *
random_cuts(GRand *rand)
{
	GArray *cuts = g_array_new(FALSE, FALSE, sizeof(struct cut));

	for (uint32_t at = 0; at < STREAM;) {
		uint32_t n = (uint32_t)g_rand_int_range(rand, 1, 200), back = g_rand_boolean(rand) ? (uint32_t)g_rand_int_range(rand, 0, 50) : 0;
		struct cut c = { at - MIN(at, back), 0 };
		at = MIN(at + n, STREAM);
		c.length = at - c.at;
		g_array_append_val(cuts, c);
		if (g_rand_int_range(rand, 0, 10) == 0)
			g_array_append_val(cuts, c);
	}
	for (guint i = 0; i + 1 < cuts->len; i++) {
		guint k = i + (guint)g_rand_int_range(rand, 0, 6);

		k = MIN(k, cuts->len - 1);
		struct cut c = g_array_index(cuts, struct cut, i);
		g_array_index(cuts, struct cut, i) = g_array_index(cuts, struct cut, k);
		g_array_index(cuts, struct cut, k) = c;
	}
	return cuts;
}

static void
let_go(struct rig *r, GQueue *held)
{
	while (!g_queue_is_empty(held) && leaves(r, g_queue_peek_head(held)))
		g_queue_pop_head(held);
}

/* Returns the number of PVM segments that did not leave. */
static guint
random_run(guint32 seed, int flip)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	g_autoptr(GArray) p = random_cuts(rand), s = random_cuts(rand);
	struct rig r = rig_new();
	GQueue held = G_QUEUE_INIT;
	uint8_t one[STREAM], other[STREAM];
	uint32_t isn = g_rand_boolean(rand) ? 0u - STREAM / 2 : g_rand_int(rand);

	for (unsigned i = 0; i < STREAM; i++)
		one[i] = other[i] = (uint8_t)g_rand_int(rand);
	if (flip >= 0)
		other[flip] ^= 1;
	P(.seq = isn - 1, .flags = SYN);
	S(.seq = isn - 1, .flags = SYN);
	r.t.waiting = 0;
	for (guint i = 0, k = 0; i < p->len || k < s->len;) {
		if (k >= s->len || (i < p->len && g_rand_boolean(rand))) {
			const struct cut *c = &g_array_index(p, struct cut, i++);
			g_queue_push_tail(&held, P(.seq = isn + c->at, .data = one + c->at, .length = c->length));
		} else {
			const struct cut *c = &g_array_index(s, struct cut, k++);
			S(.seq = isn + c->at, .data = other + c->at, .length = c->length);
		}
		let_go(&r, &held);
	}
	if ((flip >= 0) != r.differs)
		fail_msg("seed %u: %s", seed, r.differs ? "differs" : "flipped byte not seen");
	if (flip >= 0)
		assert_true(r.t.compared.at - isn <= (uint32_t)flip);
	guint left = g_queue_get_length(&held);
	g_queue_clear(&held);
	rig_clear(&r);
	return left;
}

static void
test_random_cuts(void **state)
{
	for (guint32 seed = 1; seed <= 300; seed++) {
		assert_int_equal(random_run(seed, -1), 0);
		assert_true(random_run(seed, (int)(seed * 7919 % STREAM)) > 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_whatever_the_cut),
		cmocka_unit_test(test_one_byte_differs),
		cmocka_unit_test(test_secondary_first),
		cmocka_unit_test(test_disorder_and_overlap),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_ack_rule),
		cmocka_unit_test(test_fin),
		cmocka_unit_test(test_rst_needs_a_rst),
		cmocka_unit_test(test_rst_acks),
		cmocka_unit_test(test_syn_ack),
		cmocka_unit_test(test_syn_ack_secondary_first),
		cmocka_unit_test(test_syn_table),
		cmocka_unit_test(test_syn_ack_without_the_rewriter),
		cmocka_unit_test(test_simultaneous_open),
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_tso),
		cmocka_unit_test(test_difference),
		cmocka_unit_test(test_new_connection_in_old_numbers),
		cmocka_unit_test(test_ports_used_again),
		cmocka_unit_test(test_secondary_ahead_in_a_new_connection),
		cmocka_unit_test(test_boundary),
		cmocka_unit_test(test_boundary_after_handshake),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_far_away),
		cmocka_unit_test(test_disorder_is_bounded),
		cmocka_unit_test(test_random_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
