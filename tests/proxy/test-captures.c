/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Real traffic (captures/make): the same conversations twice, as two copies of one guest may have sent them, with other segments, offloads and congestion
 * control. Either may be the PVM, in any order of arrival: all of it leaves by comparison but what must not.
 *
 * In a pair the two copies talk to one client. Here each had its own, so the client's numbers of the SVM are moved to the PVM's; and so are the guest's, where
 * filter-rewriter would have done that (NUMBERS_REWRITER), or a checkpoint (NUMBERS_SHARED).
 */
#include "tests/proxy/cmocka-setup.h"

#include <string.h>

#include "proxy/comparator.h"
#include "tests/proxy/frame-builder.h"

#define PCAP_HEADER 24
#define PCAP_RECORD 16
#define MSS 1448
#define UDP_SEGMENT 500		/* in talk.py */

enum numbers { NUMBERS_SHARED, NUMBERS_REWRITER };
enum tags { UNTAGGED, VLAN, QINQ };
static const struct { const char *bytes; size_t length; } tags[] = { { "", 0 }, { "\x81\0\0\7", 4 }, { "\x88\xa8\0\2\x81\0\0\7", 8 } };

static const char *directory;

struct capture {
	GPtrArray *frames;	/* of GBytes, Ethernet */
	GArray *times;		/* of double */
};

static struct capture
capture_read(const char *name)
{
	struct capture c = { g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref), g_array_new(FALSE, FALSE, sizeof(double)) };
	g_autofree char *path = g_build_filename(directory, name, NULL), *data = NULL;
	double start = 0;
	gsize size;

	if (!g_file_get_contents(path, &data, &size, NULL))
		fail_msg("cannot read %s", path);
	assert_true(size > PCAP_HEADER && memcmp(data, "\xd4\xc3\xb2\xa1", 4) == 0);
	for (gsize at = PCAP_HEADER; at < size;) {
		guint32 r[4];
		memcpy(r, data + at, sizeof r);
		double t = GUINT32_FROM_LE(r[0]) + GUINT32_FROM_LE(r[1]) / 1e6;
		guint32 n = GUINT32_FROM_LE(r[2]);
		start = start ? start : t;
		t -= start;
		assert_true(at + PCAP_RECORD + n <= size);
		g_ptr_array_add(c.frames, g_bytes_new(data + at + PCAP_RECORD, n));
		g_array_append_val(c.times, t);
		at += PCAP_RECORD + n;
	}
	return c;
}

static void
capture_clear(struct capture *c)
{
	g_ptr_array_unref(c->frames);
	g_array_unref(c->times);
}

/* As it comes from the filter: the vnet header says how a large frame will be cut. */
static GBytes *
as_wire(GBytes *ethernet, enum tags tag)
{
	size_t n, skip = tags[tag].length;
	const uint8_t *e = g_bytes_get_data(ethernet, &n);
	g_autofree uint8_t *tagged = g_malloc(n + skip);
	uint8_t vnet[VNET] = { 0 };
	bool v6 = e[12] == 0x86, udp = e[v6 ? 20 : 23] == 17;

	memcpy(tagged, e, 12);
	memcpy(tagged + 12, tags[tag].bytes, skip);
	memcpy(tagged + 12 + skip, e + 12, n - 12);
	if (n > 1514) {
		uint16_t size = udp ? UDP_SEGMENT : MSS;
		vnet[1] = udp ? PACKET_GSO_UDP_L4 : v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4;
		memcpy(vnet + 4, &size, 2);
	}
	return wire(vnet, VNET, tagged, n + skip);
}

/* -- numbers ---------------------------------------------------------------------------------------------------------------------------- */

struct connection {
	bool seq_known, ack_known, guest_opens;
	uint32_t seq, ack;	/* of its first segment (a SYN), of its first segment with an ACK */
};

static guint
connection_key(const struct packet *p)
{
	return (guint)(p->source_port << 16 | p->destination_port);
}

/* Port pairs -> struct connection; the conversations have port pairs of their own. */
static GHashTable *
connections_of(GPtrArray *frames)
{
	GHashTable *all = g_hash_table_new_full(NULL, NULL, NULL, g_free);

	for (guint i = 0; i < frames->len; i++) {
		struct packet p;
		packet_parse(&p, frames->pdata[i]);
		if (p.class != PACKET_TCP)
			continue;
		struct connection *c = g_hash_table_lookup(all, GUINT_TO_POINTER(connection_key(&p)));
		if (!c)
			g_hash_table_insert(all, GUINT_TO_POINTER(connection_key(&p)), c = g_new0(struct connection, 1));
		if (!c->seq_known) {
			assert_true(p.flags & SYN);
			*c = (struct connection){ .seq_known = true, .seq = p.seq, .guest_opens = !(p.flags & ACK) };
		}
		if (!c->ack_known && p.flags & ACK) {
			c->ack_known = true;
			c->ack = p.ack;
		}
	}
	return all;
}

static bool
is_rewritten(const struct packet *p, const struct connection *c)
{
	return p->address_length == 4 && !p->vlan[0] && !c->guest_opens && !(p->flags & SYN);
}

static GBytes *
renumbered(GBytes *frame, GHashTable *to, GHashTable *from, enum numbers numbers)
{
	struct packet p;

	packet_parse(&p, frame);
	if (p.class != PACKET_TCP)
		return g_bytes_ref(frame);
	gpointer key = GUINT_TO_POINTER(connection_key(&p));
	const struct connection *a = g_hash_table_lookup(to, key), *b = g_hash_table_lookup(from, key);
	size_t n, at = (size_t)(p.l4 - (const uint8_t *)g_bytes_get_data(frame, NULL));
	uint8_t *copy = g_memdup2(g_bytes_get_data(frame, &n), g_bytes_get_size(frame));

	assert_true(a && b);
	if (numbers == NUMBERS_SHARED || is_rewritten(&p, b))
		put_be32(copy + at + 4, p.seq + a->seq - b->seq);
	if (p.flags & ACK)
		put_be32(copy + at + 8, p.ack + a->ack - b->ack);
	return g_bytes_new_take(copy, n);
}

/* -- one run ---------------------------------------------------------------------------------------------------------------------------- */

enum order { BY_TIME, PVM_FIRST, SVM_FIRST, RANDOM };

struct run {
	GPtrArray *p, *s;		/* of GBytes, wire frames */
	const struct capture *pt, *st;
	struct comparator *c;
};

static GPtrArray *
wires_of(const struct capture *c, enum tags tag)
{
	GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

	for (guint i = 0; i < c->frames->len; i++)
		g_ptr_array_add(all, as_wire(c->frames->pdata[i], tag));
	return all;
}

static struct run
run_new(const struct capture *p, const struct capture *s, enum tags tag, enum numbers numbers)
{
	struct run r = { .p = wires_of(p, tag), .s = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref), .pt = p, .st = s };
	g_autoptr(GPtrArray) raw = wires_of(s, tag);
	g_autoptr(GHashTable) to = connections_of(r.p), from = connections_of(raw);

	for (guint i = 0; i < raw->len; i++)
		g_ptr_array_add(r.s, renumbered(raw->pdata[i], to, from, numbers));
	return r;
}

static bool
pvm_is_next(const struct run *r, guint i, guint k, enum order order, GRand *rand)
{
	if (i == r->p->len || k == r->s->len)
		return i < r->p->len;
	switch (order) {
	case BY_TIME:
		return g_array_index(r->pt->times, double, i) <= g_array_index(r->st->times, double, k);
	case PVM_FIRST:
		return true;
	case SVM_FIRST:
		return false;
	case RANDOM:
		break;
	}
	return g_rand_boolean(rand);
}

struct side {
	GPtrArray *frames;
	guint next;
	bool *fed;
	bool secondary;
};

static void
feed(struct run *r, struct side *from, guint i)
{
	if (from->fed[i])
		return;
	from->fed[i] = true;
	if (from->secondary)
		comparator_secondary_frame(r->c, 0, 0, i, 1, from->frames->pdata[i]);
	else
		comparator_primary_frame(r->c, 0, 0, from->frames->pdata[i]);
}

/* The client answers a SYN when it has left, so when both copies have sent it: nothing else of a connection comes before that. */
static void
feed_syn(struct run *r, struct side *other, const struct packet *p)
{
	if (p->class != PACKET_TCP || p->flags & SYN)
		return;
	for (guint i = 0; i < other->frames->len; i++) {
		struct packet q;
		packet_parse(&q, other->frames->pdata[i]);
		if (q.class == PACKET_TCP && q.flags & SYN && connection_key(&q) == connection_key(p) && q.address_length == p->address_length)
			feed(r, other, i);
	}
}

static void
feed_next(struct run *r, struct side *from, struct side *other)
{
	struct packet p;

	packet_parse(&p, from->frames->pdata[from->next]);
	feed_syn(r, other, &p);
	feed(r, from, from->next++);
}

static struct comparator_stats
run(struct run *r, enum order order, guint32 seed)
{
	const struct comparator_limits limits = {
		.hold_ns = 1, .absent_ns = 1, .max_held_bytes = 16 << 20, .max_secondary_bytes = 16 << 20, .max_flows = 1000, .flow_idle_ns = UINT64_MAX,
	};
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	struct side p = { .frames = r->p, .fed = g_new0(bool, r->p->len) }, s = { .frames = r->s, .fed = g_new0(bool, r->s->len), .secondary = true };
	struct comparator_stats st;

	comparator_free(r->c);
	r->c = comparator_new(&limits);
	comparator_protect(r->c, 0, 1);
	while (p.next < p.frames->len || s.next < s.frames->len) {
		if (pvm_is_next(r, p.next, s.next, order, rand))
			feed_next(r, &p, &s);
		else
			feed_next(r, &s, &p);
	}
	comparator_stats(r->c, &st);
	g_free(p.fed);
	g_free(s.fed);
	return st;
}

static void
run_clear(struct run *r)
{
	comparator_free(r->c);
	g_ptr_array_unref(r->p);
	g_ptr_array_unref(r->s);
}

/* Everything of a flow that must not be compared as the same is held, everything else has left. */
static void
check_flows(const struct run *r, bool (*must_differ)(const struct flow_key *key), const char *what)
{
	g_autoptr(GArray) flows = comparator_flows(r->c, COMPARATOR_FLOWS_MAX);
	unsigned same = 0, differ = 0;

	for (guint i = 0; i < flows->len; i++) {
		const struct comparator_flow *f = &g_array_index(flows, struct comparator_flow, i);
		bool wrong = must_differ(&f->key) ? f->released_frames[RELEASE_SAME] > 0 || !f->differences : f->held_frames > 0 || f->differences > 0;
		if (wrong)
			fail_msg("%s: %s, port %u to %u: %d left, %d held, %s at %d", what, packet_class_name(f->key.class), f->key.source_port, f->key.destination_port,
				 (int)f->released_frames[RELEASE_SAME], (int)f->held_frames, difference_reason_name(f->first.reason), (int)f->first.at);
		if (must_differ(&f->key))
			differ++;
		else
			same++;
	}
	assert_true(same >= 12 && differ >= 2);
}

static bool
is_fragments(const struct flow_key *key)
{
	return key->class == PACKET_FRAGMENT;
}

static bool
is_not_mapped(const struct flow_key *key)
{
	return is_fragments(key) || (key->class == PACKET_TCP && (key->ethertype == PACKET_TYPE_IPV6 || key->vlan[0] || key->destination_port == 8080));
}

static void
both_ways(enum tags tag, enum numbers numbers, bool (*must_differ)(const struct flow_key *key))
{
	struct capture a = capture_read("a.pcap"), b = capture_read("b.pcap");

	for (unsigned swapped = 0; swapped < 2; swapped++) {
		struct run r = swapped ? run_new(&b, &a, tag, numbers) : run_new(&a, &b, tag, numbers);
		for (enum order order = BY_TIME; order < RANDOM; order++) {
			run(&r, order, 0);
			check_flows(&r, must_differ, swapped ? "b against a" : "a against b");
		}
		for (guint32 seed = 1; seed <= 20; seed++) {
			run(&r, RANDOM, seed);
			check_flows(&r, must_differ, "random order");
		}
		run_clear(&r);
	}
	capture_clear(&a);
	capture_clear(&b);
}

static void
test_shared_numbers(void **state)
{
	both_ways(UNTAGGED, NUMBERS_SHARED, is_fragments);
}

/* Before the first checkpoint: what nobody maps must not count as the same. */
static void
test_own_numbers(void **state)
{
	both_ways(UNTAGGED, NUMBERS_REWRITER, is_not_mapped);
}

static void
test_tagged(void **state)
{
	both_ways(VLAN, NUMBERS_SHARED, is_fragments);
	both_ways(QINQ, NUMBERS_SHARED, is_fragments);
}

/* Nobody maps numbers in a VLAN. Only datagrams are left, and they leave. */
static void
test_tagged_own_numbers(void **state)
{
	struct capture a = capture_read("a.pcap"), b = capture_read("b.pcap");
	struct run r = run_new(&a, &b, VLAN, NUMBERS_REWRITER);

	run(&r, BY_TIME, 0);
	g_autoptr(GArray) flows = comparator_flows(r.c, COMPARATOR_FLOWS_MAX);
	for (guint i = 0; i < flows->len; i++) {
		const struct comparator_flow *f = &g_array_index(flows, struct comparator_flow, i);
		assert_int_equal(f->released_frames[RELEASE_SAME] > 0, !is_not_mapped(&f->key));
	}
	run_clear(&r);
	capture_clear(&a);
	capture_clear(&b);
}

/* One bit of one payload of the SVM: that flow differs, whatever the order, and no other one. */
static void
test_flipped(void **state)
{
	struct capture a = capture_read("a.pcap"), b = capture_read("b.pcap");
	struct run r = run_new(&a, &b, UNTAGGED, NUMBERS_SHARED);
	const uint64_t before = run(&r, BY_TIME, 0).differences;
	unsigned flipped = 0;

	for (guint i = 0; i < r.s->len; i++) {
		struct packet p;
		packet_parse(&p, r.s->pdata[i]);
		if (p.class >= PACKET_FRAGMENT || !p.payload_length)
			continue;
		g_autoptr(GBytes) good = g_bytes_ref(r.s->pdata[i]);
		size_t n, at = (size_t)(p.payload - (const uint8_t *)g_bytes_get_data(good, &n)) + (flipped * 7919) % p.payload_length;
		uint8_t *bad = g_memdup2(g_bytes_get_data(good, NULL), n);
		bad[at] ^= (uint8_t)(1 << flipped % 8);
		g_bytes_unref(r.s->pdata[i]);
		r.s->pdata[i] = g_bytes_new_take(bad, n);
		if (run(&r, flipped % 4, flipped).differences != before + 1)
			fail_msg("frame %u: %s, port %u", i, packet_class_name(p.class), p.source_port);
		g_bytes_unref(r.s->pdata[i]);
		r.s->pdata[i] = g_bytes_ref(good);
		flipped++;
	}
	assert_true(flipped > 80);
	run_clear(&r);
	capture_clear(&a);
	capture_clear(&b);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_numbers),
		cmocka_unit_test(test_own_numbers),
		cmocka_unit_test(test_tagged),
		cmocka_unit_test(test_tagged_own_numbers),
		cmocka_unit_test(test_flipped),
	};

	directory = argc > 1 ? argv[1] : "tests/proxy/captures";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
