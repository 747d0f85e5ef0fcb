/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any order of events and any frames: the comparator neither crashes nor loses a frame nor changes one nor reorders a flow, its accounts agree, and the
 * output gate's assertions hold. A record is: op, argument, length, then so many bytes; frames become TCP segments that nearly fit together, or UDP
 * datagrams, several in a frame now and then, of few flows, over IPv4 or IPv6. One of the flows is bypassed, another one never compared.
 */
#include "daemon/base/byte-reader.h"
#include "proxy/comparator.h"
#include "proxy/flow-key.h"
#include "proxy/wire-frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op { OP_PRIMARY, OP_PRIMARY_RAW, OP_SECONDARY, OP_SECONDARY_RAW, OP_BOUNDARY, OP_COMMITTED, OP_LOADED, OP_STOPPED, OP_TICK, OP_FREEZE, OP_REARM, OP_LAST };

#define MAX_FLOWS 6

struct fuzz {
	struct comparator *c;
	uint64_t now, epoch, id, sent, left;
	GHashTable *flows;	/* struct flow_key -> GQueue of GBytes, as sent */
};

static GQueue *
flow_of(struct fuzz *z, GBytes *frame)
{
	struct flow_key key;
	struct packet p;
	GQueue *q;

	packet_parse(&p, frame);
	flow_key_make(&key, 0, &p);
	q = g_hash_table_lookup(z->flows, &key);
	if (!q)
		g_hash_table_insert(z->flows, g_memdup2(&key, sizeof key), q = g_queue_new());
	return q;
}

#define VNET 10
#define HEADERS (WIRE_FRAME_HEADER + VNET + 14 + 40 + 20)

/* TCP: flags, sequence and acknowledgement near each other, the rest is payload. */
static size_t
put_tcp(uint8_t *l4, uint8_t arg, struct byte_reader *r)
{
	put_be32(l4 + 4, (uint32_t)byte_reader_u8(r) - 128);
	put_be32(l4 + 8, (uint32_t)byte_reader_u8(r) - 128);
	l4[12] = 0x50;
	l4[13] = byte_reader_u8(r);
	put_be16(l4 + 18, byte_reader_u8(r));
	return 20;
}

static size_t
put_udp(uint8_t *l4, uint8_t *vnet, struct byte_reader *r)
{
	uint16_t size = byte_reader_u8(r) & 15;

	if (size) {
		vnet[1] = PACKET_GSO_UDP_L4;
		memcpy(vnet + 4, &size, 2);
	}
	put_be16(l4 + 4, (uint16_t)(8 + (r->bad ? 0 : r->left)));
	return 8;
}

static GBytes *
segment(uint8_t arg, struct byte_reader *r)
{
	uint8_t f[HEADERS + 255] = { 0 }, *vnet = f + WIRE_FRAME_HEADER, *ip = vnet + VNET + 14;
	bool udp = arg & 4, v6 = arg & 8;
	uint8_t *l4 = ip + (v6 ? 40 : 20);

	put_be16(l4, arg & 3);
	size_t header = udp ? put_udp(l4, vnet, r) : put_tcp(l4, arg, r), n = r->bad ? 0 : r->left;
	put_be16(ip - 2, v6 ? 0x86dd : 0x0800);
	if (v6) {
		ip[0] = 0x60;
		put_be16(ip + 4, (uint16_t)(header + n));
		ip[6] = udp ? 17 : 6;
	} else {
		ip[0] = 0x45;
		put_be16(ip + 2, (uint16_t)(20 + header + n));
		ip[9] = udp ? 17 : 6;
	}
	if (n)
		memcpy(l4 + header, r->p, n);
	size_t whole = (size_t)(l4 - f) + header + n;
	put_be32(f, (uint32_t)(whole - WIRE_FRAME_HEADER));
	put_be32(f + 4, VNET);
	return g_bytes_new(f, whole);
}

static GBytes *
frame_of(enum op op, uint8_t arg, struct byte_reader *r)
{
	if (op == OP_PRIMARY || op == OP_SECONDARY)
		return segment(arg, r);
	return g_bytes_new(r->p, r->left);
}

static void
drain(struct fuzz *z)
{
	GBytes *frame;
	GArray *ids;
	unsigned nic;

	while ((frame = comparator_next_release(z->c, &nic))) {
		g_assert(g_queue_pop_head(flow_of(z, frame)) == frame);
		g_bytes_unref(frame);
		z->left++;
	}
	ids = comparator_take_matched(z->c);
	g_clear_pointer(&ids, g_array_unref);
	comparator_take_want(z->c);
}

static void
check_accounts(struct fuzz *z)
{
	struct comparator_stats s;

	comparator_stats(z->c, &s);
	g_assert(s.held_frames == z->sent - z->left);
	g_assert(s.held_frames > 0 || s.held_bytes == 0);
	uint64_t released = 0;
	for (unsigned i = 0; i < RELEASE_LAST; i++)
		released += s.released_frames[i];
	g_assert(released == z->left);
	uint64_t caused = 0;
	for (unsigned i = 0; i < COMMIT_LAST; i++)
		caused += s.committed_by[i];
	g_assert(caused == s.released_frames[RELEASE_COMMITTED]);
	g_assert(s.flows <= MAX_FLOWS);
	g_assert(s.held_peak_bytes >= s.held_bytes && s.secondary_stale <= s.secondary_frames);
}

static void
rearm(struct fuzz *z)
{
	comparator_unprotect(z->c, z->now);
	drain(z);
	g_assert(z->sent == z->left);
	comparator_protect(z->c, z->now, z->epoch);
}

/* One of a few for two flows, by the low bits. */
static void
set_patterns(struct fuzz *z, uint8_t arg)
{
	struct flow_patterns patterns = { 0 };

	if (arg & 3)
		g_assert(flow_patterns_add(&patterns, arg & 1 ? FLOW_BYPASS : FLOW_NEVER_COMPARE, "udp:2", NULL));
	if (arg & 12)
		g_assert(flow_patterns_add(&patterns, arg & 4 ? FLOW_BYPASS : FLOW_NEVER_COMPARE, "tcp:3", NULL));
	comparator_set_patterns(z->c, &patterns);
}

static void
run_op(struct fuzz *z, enum op op, uint8_t arg, struct byte_reader r)
{
	g_autoptr(GBytes) frame = frame_of(op, arg, &r);

	switch (op) {
	case OP_PRIMARY:
	case OP_PRIMARY_RAW:
		g_queue_push_tail(flow_of(z, frame), frame);
		z->sent++;
		comparator_primary_frame(z->c, z->now, 0, frame);
		break;
	case OP_SECONDARY:
	case OP_SECONDARY_RAW:
		comparator_secondary_frame(z->c, z->now, 0, z->id++, z->epoch + (arg >> 4) % 4 - 2, frame);
		break;
	case OP_BOUNDARY:
		comparator_boundary(z->c, z->now, z->epoch++);
		if (arg & 0x80)
			set_patterns(z, arg);
		break;
	case OP_COMMITTED:
		comparator_committed(z->c, z->now, z->epoch - arg % 4);
		break;
	case OP_LOADED:
		comparator_loaded(z->c, z->now, z->epoch - arg % 4);
		break;
	case OP_STOPPED:
		comparator_secondary_stopped(z->c, z->now);
		break;
	case OP_TICK:
		comparator_tick(z->c, z->now += arg);
		break;
	case OP_FREEZE:
		comparator_freeze(z->c);
		break;
	case OP_REARM:
		rearm(z);
		break;
	case OP_LAST:
		break;
	}
}

static guint
hash_key(gconstpointer key)
{
	static const struct flow_secret secret = { { 1, 2, 3 } };

	return flow_key_hash(key, &secret);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct comparator_limits limits = {
		.hold_ns = 20, .absent_ns = 200, .max_held_bytes = 1000, .max_secondary_bytes = 2000, .max_flows = MAX_FLOWS, .flow_idle_ns = 100, .show_differences = true,
	};
	struct flow_patterns patterns = { 0 };
	struct byte_reader r = byte_reader_init(data, size);
	struct fuzz z = { .c = comparator_new(&limits), .epoch = 5 };

	z.flows = g_hash_table_new_full(hash_key, flow_key_equal, g_free, (GDestroyNotify)g_queue_free);
	g_assert(flow_patterns_add(&patterns, FLOW_BYPASS, "udp:2", NULL) && flow_patterns_add(&patterns, FLOW_NEVER_COMPARE, "tcp:3", NULL));
	comparator_set_patterns(z.c, &patterns);
	comparator_protect(z.c, 0, z.epoch);
	while (r.left) {
		enum op op = byte_reader_u8(&r) % OP_LAST;
		uint8_t arg = byte_reader_u8(&r);
		size_t n = byte_reader_u8(&r);

		n = MIN(n, r.left);
		run_op(&z, op, arg, byte_reader_init(r.p, n));
		byte_reader_bytes(&r, n);
		drain(&z);
		check_accounts(&z);
	}
	g_autoptr(GArray) rows = comparator_flows(z.c, 3);
	g_assert(rows->len <= 3);
	rearm(&z);
	comparator_free(z.c);
	g_hash_table_unref(z.flows);
	return 0;
}
