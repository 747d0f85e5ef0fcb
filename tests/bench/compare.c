/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of two guests' output one core can compare, in process: the PVM's bytes as they come from the filter's socket, the SVM's frames as they come from
 * the link, through the comparator, out as released frames. Counted are the PVM's frames that have left by comparison; CPU time, so that other
 * programs on the machine do not count.
 *
 * A batch of the PVM's frames comes first, then the SVM's; the SVM cuts its TCP streams in other places. The frames are made once, and used again with other
 * sequence numbers.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/base/byte-reader.h"
#include "proxy/comparator.h"
#include "proxy/wire-frame.h"

#define FLOWS 64
#define BATCH 64
#define VNET 12
#define L4 (WIRE_FRAME_HEADER + VNET + 14 + 20)
#define TCP_HEADER 32		/* with a timestamp */
#define UDP_HEADER 8

struct kind {
	const char *name, *what;
	bool udp;
	unsigned payload;	/* of one frame */
	unsigned frames;	/* made once; a multiple of FLOWS */
	unsigned cut;		/* the SVM's first segment of each flow is so much shorter than the PVM's */
	bool small;
};

static const struct kind kinds[] = {
	{ "udp_60", "UDP, 60 bytes", true, 18, 4096, 0, true },
	{ "tcp_ack", "TCP acknowledgements, 66 bytes", false, 0, 4096, 0, true },
	{ "tcp_72", "TCP, 6 bytes of content, 72 bytes", false, 6, 4096, 3, true },
	{ "tcp_1514", "TCP, 1514 bytes", false, 1448, 1024, 700, false },
	{ "tcp_64k", "TCP, 64 KiB (TSO)", false, 65160, 64, 700, false },
};

/* One copy's output: wire frames one behind the other, flow after flow. */
struct output {
	uint8_t *bytes;
	size_t length, *at;		/* where each frame begins; at[n] is the end */
	unsigned n;
};

static void
put_frame(uint8_t *w, const struct kind *k, unsigned flow, uint32_t seq, unsigned payload)
{
	unsigned header = k->udp ? UDP_HEADER : TCP_HEADER;
	uint8_t *ip = w + WIRE_FRAME_HEADER + VNET + 14, *l4 = ip + 20;

	put_be32(w, VNET + 14 + 20 + header + payload);
	put_be32(w + 4, VNET);
	put_be16(ip - 2, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(20 + header + payload));
	ip[9] = k->udp ? 17 : 6;
	put_be32(ip + 12, 0x0a630010);
	put_be32(ip + 16, 0x0a630001);
	put_be16(l4, 80);
	put_be16(l4 + 2, (uint16_t)(1024 + flow));
	if (k->udp) {
		put_be16(l4 + 4, (uint16_t)(header + payload));
		return;
	}
	put_be32(l4 + 4, seq);
	put_be32(l4 + 8, 1);
	l4[12] = TCP_HEADER / 4 << 4;
	l4[13] = PACKET_TCP_ACK;
	memcpy(l4 + 20, "\1\1\10\12", 4);
}

static uint8_t
content(unsigned flow, uint32_t at)
{
	return (uint8_t)(flow + at * 7 + at / 251);
}

/* Frame i is of flow i % FLOWS. `cut`: the segments end so much earlier, except the last one of each flow, which is longer by that. */
static struct output
make_output(const struct kind *k, unsigned cut)
{
	unsigned header = k->udp ? UDP_HEADER : TCP_HEADER, rounds = k->frames / FLOWS;
	size_t frame = L4 + header + k->payload;
	struct output o = { .bytes = g_malloc0(frame * k->frames + (size_t)cut * FLOWS), .at = g_new(size_t, k->frames + 1), .n = k->frames };

	for (unsigned i = 0; i < k->frames; i++) {
		unsigned flow = i % FLOWS, round = i / FLOWS;
		uint32_t from = round ? round * k->payload - cut : 0, to = (round + 1) * k->payload - (round + 1 < rounds ? cut : 0);
		uint8_t *w = o.bytes + o.length;

		put_frame(w, k, flow, 1000 + from, to - from);
		for (uint32_t b = from; b < to; b++)
			w[L4 + header + b - from] = k->udp ? (uint8_t)i : content(flow, b);
		o.at[i] = o.length;
		o.length += L4 + header + to - from;
	}
	o.at[o.n] = o.length;
	return o;
}

static void
output_clear(struct output *o)
{
	g_free(o->bytes);
	g_free(o->at);
}

/* The next part of the same streams. */
static void
renumber(struct output *o, unsigned from, unsigned to, uint32_t by)
{
	for (unsigned i = from; i < to; i++) {
		struct byte_reader r = byte_reader_init(o->bytes + o->at[i] + L4 + 4, 4);
		put_be32(o->bytes + o->at[i] + L4 + 4, byte_reader_be32(&r) + by);
	}
}

/* -- one run ---------------------------------------------------------------------------------------------------------------------------- */

struct run {
	const struct kind *kind;
	struct output p, s;
	struct wire_splitter *splitter;
	struct comparator *c;
	uint64_t id, frames, bytes;	/* bytes of Ethernet frames */
};

static void
pvm_sends(struct run *r, unsigned from, unsigned to)
{
	GBytes *frame;

	if (!wire_splitter_input(r->splitter, r->p.bytes + r->p.at[from], r->p.at[to] - r->p.at[from], NULL))
		abort();
	while ((frame = wire_splitter_next(r->splitter))) {
		comparator_primary_frame(r->c, 0, 0, frame);
		g_bytes_unref(frame);
	}
}

/* As the link hands them over: one payload, the frame a part of it. */
static void
svm_sends(struct run *r, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		g_autoptr(GBytes) payload = g_bytes_new(r->s.bytes + r->s.at[i], r->s.at[i + 1] - r->s.at[i]);
		g_autoptr(GBytes) frame = g_bytes_new_from_bytes(payload, 0, g_bytes_get_size(payload));
		comparator_secondary_frame(r->c, 0, 0, r->id++, 1, frame);
	}
}

static void
drain(struct run *r)
{
	GBytes *frame;
	GArray *ids;
	unsigned nic;

	while ((frame = comparator_next_release(r->c, &nic))) {
		r->frames++;
		r->bytes += g_bytes_get_size(frame) - WIRE_FRAME_HEADER - VNET;
		g_bytes_unref(frame);
	}
	ids = comparator_take_matched(r->c);
	g_clear_pointer(&ids, g_array_unref);
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
pass(struct run *r, uint32_t renumber_by)
{
	for (unsigned i = 0; i < r->kind->frames; i += BATCH) {
		unsigned to = MIN(i + BATCH, r->kind->frames);
		if (!r->kind->udp && renumber_by) {
			renumber(&r->p, i, to, renumber_by);
			renumber(&r->s, i, to, renumber_by);
		}
		pvm_sends(r, i, to);
		svm_sends(r, i, to);
		drain(r);
	}
}

/* Seconds for r->frames and r->bytes. */
static double
run(struct run *r, const struct kind *k, double seconds)
{
	const struct comparator_limits limits = {
		.hold_ns = 1, .absent_ns = 1, .max_held_bytes = 64 << 20, .max_secondary_bytes = 64 << 20, .max_flows = 65536, .flow_idle_ns = 1,
	};
	uint32_t stream = k->frames / FLOWS * k->payload;
	struct comparator_stats st;

	*r = (struct run){ .kind = k, .p = make_output(k, 0), .s = make_output(k, k->cut), .splitter = wire_splitter_new(), .c = comparator_new(&limits) };
	comparator_protect(r->c, 0, 1);
	pass(r, 0);
	r->frames = r->bytes = 0;
	double begin = cpu_seconds(), end;
	do {
		pass(r, stream);
		end = cpu_seconds();
	} while (end - begin < seconds);
	comparator_stats(r->c, &st);
	if (st.held_frames || st.differences || st.released_frames[RELEASE_COMMITTED]) {
		fprintf(stderr, "%s: %" G_GUINT64_FORMAT " frames did not leave by comparison\n", k->name, st.held_frames);
		exit(1);
	}
	comparator_free(r->c);
	wire_splitter_free(r->splitter);
	output_clear(&r->p);
	output_clear(&r->s);
	return end - begin;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "only", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 's' },
		{ 0 },
	};
	double seconds = 2, small = 0, gbit = 0;
	const char *only = NULL;
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j') {
			json = true;
		} else if (opt == 'o') {
			only = optarg;
		} else if (opt == 's') {
			seconds = g_ascii_strtod(optarg, NULL);
		} else {
			fprintf(stderr, "usage: compare [--json] [--seconds S] [--only KIND]\n");
			return 2;
		}
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
		const struct kind *k = &kinds[i];
		struct run r;
		if (only && strcmp(only, k->name) != 0)
			continue;
		double t = run(&r, k, seconds), rate = (double)r.frames / t, bits = (double)r.bytes * 8 / t / 1e9;
		printf("%-10s %-36s %10.0f frames/s %7.2f Gbit/s %7.0f ns/frame\n", k->name, k->what, rate, bits, 1e9 / rate);
		fflush(stdout);
		if (k->small && (small == 0 || rate < small))
			small = rate;
		if (strcmp(k->name, "tcp_1514") == 0)
			gbit = bits;
	}
	if (json)
		printf("{\"small_frames_per_s\": %.0f, \"gbit_per_s\": %.2f}\n", small, gbit);
	return 0;
}
