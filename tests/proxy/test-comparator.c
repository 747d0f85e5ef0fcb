/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/comparator.h"
#include "proxy/tcp-timestamp.h"
#include "tests/proxy/frame-builder.h"

#define MS 1000000ull
#define SECOND (1000 * MS)

static const struct comparator_limits limits = {
	.hold_ns = 20 * MS,
	.absent_ns = 200 * MS,
	.max_held_bytes = 1 << 20,
	.max_secondary_bytes = 1 << 20,
	.max_flows = 100,
	.flow_idle_ns = 60 * SECOND,
};

static struct comparator *
comparator_in_epoch(const struct comparator_limits *l, uint64_t epoch)
{
	struct comparator *c = comparator_new(l);

	comparator_protect(c, 0, epoch);
	return c;
}

static void
p_at(struct comparator *c, uint64_t now, GBytes *frame)
{
	comparator_primary_frame(c, now, 0, frame);
	g_bytes_unref(frame);
}

static void
s_id(struct comparator *c, uint64_t id, uint64_t epoch, GBytes *frame)
{
	comparator_secondary_frame(c, 0, 0, id, epoch, frame);
	g_bytes_unref(frame);
}

#define p(c, frame) p_at(c, 0, frame)
#define s(c, epoch, frame) s_id(c, 0, epoch, frame)

/* What leaves, as the texts of the payloads (frames without one: "-"). */
static void
expect(struct comparator *c, const char *want)
{
	g_autoptr(GString) got = g_string_new(NULL);
	GBytes *frame;
	unsigned nic;

	while ((frame = comparator_next_release(c, &nic))) {
		struct packet packet;
		packet_parse(&packet, frame);
		if (got->len)
			g_string_append_c(got, ' ');
		if (packet.class == PACKET_OTHER)
			g_string_append_len(got, (const char *)packet.ethernet + 14, (gssize)packet.ethernet_length - 14);
		else if (packet.payload_length)
			g_string_append_len(got, (const char *)packet.payload, packet.payload_length);
		else
			g_string_append_c(got, '-');
		g_bytes_unref(frame);
	}
	assert_string_equal(got->str, want);
}

static void
expect_matched(struct comparator *c, const char *want)
{
	g_autoptr(GString) got = g_string_new(NULL);
	GArray *ids = comparator_take_matched(c);

	for (guint i = 0; ids && i < ids->len; i++)
		g_string_append_printf(got, "%s%d", i ? " " : "", (int)g_array_index(ids, uint64_t, i));
	g_clear_pointer(&ids, g_array_unref);
	assert_string_equal(got->str, want);
}

static struct comparator_stats
stats(const struct comparator *c)
{
	struct comparator_stats st;

	comparator_stats(c, &st);
	return st;
}

/* -- releasing ------------------------------------------------------------------------------------------------------------------------- */

static void
test_unprotected(void **state)
{
	g_autoptr(comparator) c = comparator_new(&limits);

	p(c, udp_frame(1, "a"));
	p(c, wire(NULL, 0, (const uint8_t *)"x", 1));
	struct comparator_stats st = stats(c);
	assert_int_equal(st.released_frames[RELEASE_UNPROTECTED], 2);
	assert_int_equal(st.held_frames, 0);
	unsigned nic;
	for (int i = 0; i < 2; i++)
		g_bytes_unref(comparator_next_release(c, &nic));
	s(c, 1, udp_frame(1, "a"));	/* nobody to compare with */
	assert_null(comparator_next_release(c, &nic));
	assert_int_equal(comparator_deadline(c), UINT64_MAX);
}

static void
test_same_leaves(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 4);

	p(c, udp_frame(1, "a"));
	p(c, udp_frame(1, "b"));
	expect(c, "");
	assert_int_equal(stats(c).held_frames, 2);
	s_id(c, 10, 4, udp_frame(1, "a"));
	expect(c, "a");
	expect_matched(c, "10");
	s_id(c, 11, 4, udp_frame(1, "b"));
	s_id(c, 12, 4, udp_frame(1, "c"));
	expect(c, "b");
	expect_matched(c, "11");
	p(c, udp_frame(1, "c"));
	expect(c, "c");
	expect_matched(c, "12");
	expect_matched(c, "");
	p(c, icmp_frame(8, 1, 1, "ping", 0));
	s(c, 4, icmp_frame(8, 1, 1, "ping", 7));
	p(c, ether_frame(0x0806, "arp"));
	s(c, 4, ether_frame(0x0806, "arp"));
	expect(c, "ping arp");
	struct comparator_stats st = stats(c);
	assert_int_equal(st.released_frames[RELEASE_SAME], 5);
	assert_int_equal(st.held_frames, 0);
	assert_int_equal(st.held_bytes, 0);
	assert_int_equal(st.secondary_frames, 5);
	assert_int_equal(st.secondary_stale, 0);
	assert_int_equal(st.differences, 0);
}

/* Order within a flow; flows do not wait for each other. */
static void
test_order(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a1"));
	p(c, udp_frame(2, "b1"));
	p(c, udp_frame(1, "a2"));
	p(c, TCP(.seq = 5, .text = "t"));
	s(c, 1, TCP(.seq = 5, .text = "t"));
	s(c, 1, udp_frame(2, "b1"));
	expect(c, "t b1");
	s(c, 1, udp_frame(1, "a1"));
	s(c, 1, udp_frame(1, "a2"));
	expect(c, "a1 a2");
	/* the same frame on another NIC is another flow */
	p(c, udp_frame(1, "a3"));
	g_autoptr(GBytes) a3 = udp_frame(1, "a3");
	comparator_secondary_frame(c, 0, 1, 9, 1, a3);
	expect(c, "");
	/* a commit releases as the PVM sent it, whatever the flow */
	p(c, udp_frame(2, "b2"));
	p(c, udp_frame(1, "a4"));
	p(c, ether_frame(0x0806, "arp"));
	p(c, udp_frame(2, "b3"));
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "a3 b2 a4 arp b3");
	assert_int_equal(stats(c).released_frames[RELEASE_COMMITTED], 5);
}

static void
test_tcp_conversation(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.seq = 100, .ack = 11, .flags = SYN | ACK));
	s_id(c, 1, 1, TCP(.seq = 900, .ack = 11, .flags = SYN | ACK));
	expect(c, "-");
	expect_matched(c, "1");
	s_id(c, 2, 1, TCP(.seq = 101, .ack = 20, .flags = ACK));
	s_id(c, 3, 1, TCP(.seq = 101, .ack = 20, .flags = ACK, .text = "hel"));
	p(c, TCP(.seq = 101, .ack = 20, .flags = ACK));
	expect(c, "-");
	expect_matched(c, "2");
	p(c, TCP(.seq = 101, .ack = 20, .flags = ACK, .text = "hello"));
	expect(c, "");
	s_id(c, 4, 1, TCP(.seq = 104, .ack = 21, .flags = ACK, .text = "lo"));
	expect(c, "hello");
	expect_matched(c, "3");			/* 4 also says ACK 21 */
	p(c, TCP(.seq = 106, .ack = 22, .flags = ACK));
	expect(c, "");
	s_id(c, 5, 1, TCP(.seq = 106, .ack = 22, .flags = ACK | FIN));
	expect(c, "-");
	expect_matched(c, "4");
	p(c, TCP(.seq = 106, .ack = 22, .flags = ACK | FIN));
	expect(c, "-");
	expect_matched(c, "5");
	/* a retransmission has nothing new */
	s_id(c, 6, 1, TCP(.seq = 101, .ack = 20, .flags = ACK, .text = "hello"));
	expect_matched(c, "6");
}

/* -- differences and asking ------------------------------------------------------------------------------------------------------------ */

static void
test_difference(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	p(c, udp_frame(1, "b"));
	p(c, udp_frame(2, "x"));
	s(c, 1, udp_frame(1, "A"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	s(c, 1, udp_frame(1, "a"));		/* too late for this flow */
	s(c, 1, udp_frame(2, "x"));		/* another flow goes on */
	expect(c, "x");
	p(c, TCP(.seq = 1, .text = "q"));
	s(c, 1, TCP(.seq = 1, .text = "Q"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);	/* once per epoch */
	assert_int_equal(stats(c).differences, 2);
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	comparator_loaded(c, 0, 1);
	expect(c, "a b q");
	expect_matched(c, "0");
	/* both go on from the same state */
	p(c, TCP(.seq = 2, .text = "r"));
	s(c, 2, TCP(.seq = 2, .text = "r"));
	p(c, udp_frame(1, "c"));
	s(c, 2, udp_frame(1, "c"));
	expect(c, "r c");
	p(c, udp_frame(1, "d"));
	s(c, 2, udp_frame(1, "D"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);
}

static void
test_hold_clock(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	assert_int_equal(comparator_deadline(c), UINT64_MAX);
	p_at(c, 5 * MS, udp_frame(1, "a"));
	p_at(c, 9 * MS, udp_frame(2, "b"));
	assert_int_equal(comparator_deadline(c), 25 * MS);
	s(c, 1, udp_frame(1, "a"));
	assert_int_equal(comparator_deadline(c), 29 * MS);
	comparator_tick(c, 29 * MS - 1);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_tick(c, 29 * MS);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_TIMEOUT);
	assert_int_equal(comparator_deadline(c), UINT64_MAX);	/* once per epoch */
	comparator_tick(c, 80 * MS);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	assert_int_equal(stats(c).timeouts, 1);

	/* the next epoch's frames: their clock starts when the SVM gets there; only the long one runs before */
	comparator_boundary(c, 90 * MS, 1);
	p_at(c, 91 * MS, udp_frame(1, "c"));
	assert_int_equal(comparator_deadline(c), UINT64_MAX);	/* the oldest has its checkpoint on the way */
	comparator_secondary_stopped(c, 95 * MS);
	comparator_committed(c, 100 * MS, 1);
	assert_int_equal(comparator_deadline(c), 291 * MS);
	comparator_loaded(c, 130 * MS, 1);
	assert_int_equal(comparator_deadline(c), 150 * MS);
	p_at(c, 140 * MS, udp_frame(2, "d"));
	s(c, 2, udp_frame(1, "c"));
	assert_int_equal(comparator_deadline(c), 160 * MS);
	comparator_secondary_stopped(c, 150 * MS);
	assert_int_equal(comparator_deadline(c), 340 * MS);	/* a SVM that stands cannot answer ... */
	comparator_tick(c, 340 * MS - 1);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_tick(c, 340 * MS);				/* ... and one that hangs must not be waited for */
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_TIMEOUT);
}

static void
s_at(struct comparator *c, uint64_t now, uint64_t epoch, GBytes *frame)
{
	comparator_secondary_frame(c, now, 0, 0, epoch, frame);
	g_bytes_unref(frame);
}

/* A SVM that lets other frames leave is at work on what came in while it stood, but what it passes over is not waited for without end. */
static void
test_hold_clock_of_a_copy_that_catches_up(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	for (unsigned port = 1; port <= 20; port++)
		p_at(c, 5 * MS, udp_frame(port, "a"));
	for (unsigned port = 2; port <= 13; port++) {
		s_at(c, 5 * MS + port * 15 * MS, 1, udp_frame(port, "a"));
		assert_int_equal(comparator_deadline(c), MIN(25 + port * 15, 205) * MS);
	}
	comparator_tick(c, 205 * MS - 1);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_tick(c, 205 * MS);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_TIMEOUT);

	/* output that lets nothing leave is no progress */
	comparator_boundary(c, 300 * MS, 1);
	comparator_committed(c, 300 * MS, 1);
	comparator_loaded(c, 330 * MS, 1);
	p_at(c, 340 * MS, udp_frame(1, "b"));
	s_at(c, 355 * MS, 2, udp_frame(9, "of nobody"));
	assert_int_equal(comparator_deadline(c), 360 * MS);
}

/* A frame whose epoch is over has its checkpoint on the way. */
static void
test_no_wants_for_a_closed_epoch(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	comparator_boundary(c, 0, 1);
	comparator_tick(c, SECOND);
	s(c, 1, udp_frame(1, "A"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	assert_int_equal(stats(c).differences, 1);
	/* a want that nobody took is answered by the boundary */
	p(c, udp_frame(2, "b"));
	comparator_committed(c, 0, 1);
	s(c, 2, udp_frame(2, "B"));
	comparator_boundary(c, 0, 2);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
}

static void
test_queue_full(void **state)
{
	g_autoptr(GBytes) one = udp_frame(1, "a");
	const size_t size = g_bytes_get_size(one);
	struct comparator_limits l = limits;

	l.max_held_bytes = 3 * size;
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	for (int i = 0; i < 2; i++)
		p(c, udp_frame(1, "a"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	p(c, udp_frame(1, "a"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_QUEUE_FULL);
	assert_false(comparator_full(c));
	for (int i = 0; i < 3; i++)
		p(c, udp_frame(1, "a"));
	assert_true(comparator_full(c));
	assert_int_equal(stats(c).held_bytes, 6 * size);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	/* what is held of the old epoch is no reason for another checkpoint */
	comparator_boundary(c, 0, 1);
	p(c, udp_frame(1, "b"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_committed(c, 0, 1);
	assert_false(comparator_full(c));
	struct comparator_stats st = stats(c);
	assert_int_equal(st.held_frames, 1);
	assert_int_equal(st.held_bytes, size);
	assert_int_equal(st.held_peak_bytes, 7 * size);
	assert_int_equal(st.queue_full, 1);
	for (int i = 0; i < 2; i++)
		p(c, udp_frame(1, "b"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_QUEUE_FULL);
}

/* -- epochs ---------------------------------------------------------------------------------------------------------------------------- */

static void
test_late_svm_frames_are_stale(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	comparator_boundary(c, 0, 1);
	p(c, udp_frame(1, "a"));
	s(c, 1, udp_frame(1, "a"));		/* of the epoch before: not the same output */
	expect(c, "");
	comparator_committed(c, 0, 1);
	s(c, 1, udp_frame(1, "a"));
	expect(c, "");
	assert_int_equal(stats(c).secondary_stale, 1);
	s(c, 2, udp_frame(1, "a"));
	expect(c, "a");
	assert_int_equal(stats(c).released_frames[RELEASE_SAME], 1);
}

static void
test_early_svm_frames_wait(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.seq = 1, .text = "a"));
	comparator_boundary(c, 0, 1);
	p(c, TCP(.seq = 2, .text = "b"));
	s_id(c, 7, 2, TCP(.seq = 2, .text = "bc"));	/* before the news of the commit */
	expect(c, "");
	comparator_committed(c, 0, 1);
	expect(c, "a b");
	expect_matched(c, "");
	p(c, TCP(.seq = 3, .text = "c"));
	expect(c, "c");
	expect_matched(c, "7");
	/* early ones whose epoch is skipped are stale */
	comparator_boundary(c, 0, 2);
	comparator_boundary(c, 0, 3);
	s(c, 3, udp_frame(1, "x"));
	comparator_committed(c, 0, 3);
	assert_int_equal(stats(c).secondary_stale, 1);
	p(c, udp_frame(1, "x"));
	expect(c, "");
}

/* The PVM goes on while the checkpoint travels: its new data must survive the commit's reset. */
static void
test_commit_keeps_the_next_epochs_data(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.seq = 100, .ack = 5, .flags = ACK, .text = "abc"));
	s(c, 1, TCP(.seq = 100, .ack = 4, .flags = ACK, .text = "abXYZ"));
	comparator_boundary(c, 0, 1);
	p(c, TCP(.seq = 103, .ack = 5, .flags = ACK, .text = "def"));
	p(c, TCP(.seq = 106, .ack = 6, .flags = ACK, .text = "ghi"));
	expect(c, "");
	comparator_committed(c, 0, 1);
	expect(c, "abc");
	s(c, 2, TCP(.seq = 100, .ack = 5, .flags = ACK, .text = "abcdef"));	/* it may repeat what is below */
	expect(c, "def");
	s(c, 2, TCP(.seq = 106, .ack = 6, .flags = ACK, .text = "ghi"));
	expect(c, "ghi");
	/* two epochs committed at once */
	p(c, TCP(.seq = 109, .ack = 7, .flags = ACK, .text = "j"));
	comparator_boundary(c, 0, 2);
	p(c, TCP(.seq = 110, .ack = 8, .flags = ACK, .text = "k"));
	comparator_boundary(c, 0, 3);
	p(c, TCP(.seq = 111, .ack = 8, .flags = ACK, .text = "l"));
	comparator_committed(c, 0, 3);
	expect(c, "j k");
	s(c, 4, TCP(.seq = 111, .text = "l"));
	expect(c, "l");
	assert_int_equal(stats(c).differences, 1);
}

/* The ACK that the commit covers is the last one of that epoch, not of the next. */
static void
test_commit_and_acks(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.seq = 1, .ack = 10, .flags = ACK));
	comparator_boundary(c, 0, 1);
	p(c, TCP(.seq = 1, .ack = 10, .flags = ACK, .window = 1));
	p(c, TCP(.seq = 1, .ack = 11, .flags = ACK));
	comparator_committed(c, 0, 1);
	expect(c, "- -");
	comparator_boundary(c, 0, 2);
	comparator_committed(c, 0, 2);
	expect(c, "-");
}

static void
test_commits_that_are_none(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 3);

	p(c, udp_frame(1, "a"));
	comparator_committed(c, 0, 3);	/* not over */
	comparator_committed(c, 0, 99);
	comparator_committed(c, 0, 2);	/* was before */
	expect(c, "");
	comparator_boundary(c, 0, 3);
	comparator_committed(c, 0, 3);
	comparator_committed(c, 0, 3);
	expect(c, "a");
}

/* By commit only, and nobody is asked for; a boundary ends it as it began it. */
static void
test_passive(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	s(c, 1, udp_frame(1, "a"));
	expect(c, "a");
	comparator_boundary(c, 0, 1);
	comparator_set_passive(c, true);
	p(c, udp_frame(1, "b"));
	p(c, TCP(.seq = 100, .ack = 1, .flags = PACKET_TCP_ACK, .text = "s"));
	comparator_committed(c, 0, 1);
	s(c, 2, udp_frame(1, "b"));
	s(c, 2, udp_frame(2, "difference"));
	p(c, udp_frame(2, "Difference"));
	expect(c, "");
	comparator_tick(c, 10 * SECOND);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_boundary(c, 0, 2);
	p(c, udp_frame(1, "c"));		/* still passive */
	comparator_committed(c, 0, 2);
	expect(c, "b s Difference");
	s(c, 3, udp_frame(1, "c"));
	expect(c, "");
	comparator_boundary(c, 0, 3);
	comparator_set_passive(c, false);
	comparator_committed(c, 0, 3);
	expect(c, "c");
	p(c, udp_frame(1, "d"));
	s(c, 4, udp_frame(1, "d"));
	expect(c, "d");
}

/* What leaves by comparison has the copy's time if that is behind, what leaves by commit its own. */
static void
expect_clock(struct comparator *c, uint32_t want)
{
	unsigned nic;
	uint32_t clock;
	g_autoptr(GBytes) frame = comparator_next_release(c, &nic);
	struct packet packet;

	assert_non_null(frame);
	packet_parse(&packet, frame);
	assert_true(tcp_timestamp(&packet, &clock));
	assert_int_equal(clock, want);
}

#define AT_TIME(n, from, content) \
	TCP(.seq = from, .ack = 1, .flags = PACKET_TCP_ACK, .text = content, .options = "\1\1\10\12\0\0\0" n "\0\0\0\1", .options_length = 12)

static void
test_clock_of_the_twin(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, AT_TIME("\11", 100, "a"));
	s(c, 1, AT_TIME("\5", 100, "a"));
	expect_clock(c, 5);
	p(c, AT_TIME("\12", 101, "b"));
	s(c, 1, AT_TIME("\20", 101, "b"));
	expect_clock(c, 10);
	p(c, AT_TIME("\13", 102, "c"));
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect_clock(c, 11);
}

static void
expect_unsent(struct comparator *c, uint64_t epoch, const char *want)
{
	uint64_t got;
	unsigned nic;
	g_autoptr(GBytes) frame = comparator_next_unsent(c, &got, &nic);
	struct packet packet;

	assert_non_null(frame);
	packet_parse(&packet, frame);
	assert_int_equal(got, epoch);
	assert_int_equal(packet.payload_length, strlen(want));
	assert_memory_equal(packet.payload, want, strlen(want));
}

/* A side that gives up hands over what is free to leave and what a checkpoint may have behind it, and nothing of the epoch that nobody will ever finish. */
static void
test_unsent(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);
	uint64_t epoch;
	unsigned nic;

	p(c, udp_frame(1, "committed"));
	p(c, tcp_frame(&(struct seg){ .seq = 100, .ack = 1, .flags = PACKET_TCP_ACK, .text = "stream" }));
	comparator_boundary(c, 0, 1);
	p(c, udp_frame(1, "finished"));
	p(c, tcp_frame(&(struct seg){ .seq = 106, .ack = 1, .flags = PACKET_TCP_ACK, .text = "more" }));
	comparator_boundary(c, 0, 2);
	p(c, udp_frame(1, "open"));
	comparator_committed(c, 0, 1);
	comparator_freeze(c);
	expect_unsent(c, 1, "committed");
	expect_unsent(c, 1, "stream");
	expect_unsent(c, 2, "finished");
	expect_unsent(c, 2, "more");
	assert_null(comparator_next_unsent(c, &epoch, &nic));
	assert_int_equal(stats(c).held_frames, 1);
	comparator_committed(c, 0, 2);	/* late: the flows are whole all the same, and an open epoch is none that a commit ends */
	assert_null(comparator_next_release(c, &nic));
}

static void
test_freeze_and_unprotect(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	p(c, udp_frame(3, "q"));
	s(c, 1, udp_frame(2, "b"));
	comparator_boundary(c, 0, 1);
	comparator_freeze(c);
	p(c, udp_frame(2, "b"));
	s(c, 1, udp_frame(1, "a"));
	expect(c, "");			/* nothing by comparison */
	comparator_tick(c, 10 * SECOND);
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	assert_int_equal(comparator_deadline(c), UINT64_MAX);
	comparator_committed(c, 0, 1);	/* a commit is a commit */
	expect(c, "a q");
	comparator_unprotect(c, 0);
	expect(c, "b");
	p(c, udp_frame(1, "c"));
	expect(c, "c");
	struct comparator_stats st = stats(c);
	assert_int_equal(st.released_frames[RELEASE_UNPROTECTED], 2);
	assert_int_equal(st.released_frames[RELEASE_COMMITTED], 2);
	assert_int_equal(st.held_bytes, 0);
	assert_int_equal(st.flows, 0);
	/* and again, from a clean start */
	comparator_protect(c, 0, 1);
	p(c, udp_frame(1, "d"));
	expect(c, "");
	s(c, 1, udp_frame(1, "d"));
	expect(c, "d");
}

/* -- limits ---------------------------------------------------------------------------------------------------------------------------- */

static void
test_secondary_limit(void **state)
{
	g_autoptr(GBytes) one = udp_frame(1, "a");
	struct comparator_limits l = limits;

	l.max_secondary_bytes = 2 * g_bytes_get_size(one);
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	for (int i = 0; i < 3; i++)
		s(c, 1, udp_frame(1, "a"));
	p(c, udp_frame(1, "a"));
	expect(c, "");				/* that flow is given up for this epoch */
	p(c, udp_frame(2, "a"));
	s(c, 1, udp_frame(2, "a"));
	expect(c, "a");				/* its room is free again */
	assert_int_equal(stats(c).differences, 1);
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "a");
	p(c, udp_frame(1, "b"));
	s(c, 2, udp_frame(1, "b"));
	expect(c, "b");
	/* early frames: beyond the limit their epoch is not compared, the one after it is */
	comparator_boundary(c, 0, 2);
	uint64_t unused = stats(c).secondary_unused;
	for (int i = 0; i < 3; i++)
		s(c, 3, udp_frame(1, "c"));
	assert_int_equal(stats(c).secondary_unused, unused + 1);
	p(c, udp_frame(1, "c"));
	comparator_committed(c, 0, 2);
	expect(c, "");
	comparator_boundary(c, 0, 3);
	comparator_committed(c, 0, 3);
	expect(c, "c");
	p(c, udp_frame(1, "d"));
	s(c, 4, udp_frame(1, "d"));
	expect(c, "d");
}

static void
test_flow_limit(void **state)
{
	struct comparator_limits l = limits;

	l.max_flows = 1;
	l.flow_idle_ns = 10;
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	p(c, udp_frame(1, "a"));
	p(c, udp_frame(2, "b"));
	s(c, 1, udp_frame(2, "b"));
	s(c, 1, udp_frame(1, "a"));
	expect(c, "a");
	assert_int_equal(stats(c).flows_refused, 2);
	/* there is room now, but the flow must not overtake its own frame */
	p_at(c, 20, udp_frame(2, "c"));
	s(c, 1, udp_frame(2, "c"));
	expect(c, "");
	assert_int_equal(comparator_deadline(c), 20 * MS);	/* its clock runs */
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "b c");
	p_at(c, 20, udp_frame(2, "d"));
	s(c, 2, udp_frame(2, "d"));
	expect(c, "d");
	comparator_tick(c, SECOND);
	assert_int_equal(stats(c).flows, 0);
}

/* Connections that have ended make room for new ones, so that short connections are not all released by commit. */
static void
test_ended_connections_make_room(void **state)
{
	struct comparator_limits l = limits;

	l.max_flows = 1;
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	for (uint16_t port = 1; port < 20; port++) {
		p(c, TCP(.client = port, .seq = 1, .flags = FIN, .text = "bye"));
		s(c, 1, TCP(.client = port, .seq = 1, .flags = FIN, .text = "bye"));
		expect(c, "bye");
	}
	assert_int_equal(stats(c).flows_refused, 0);
}

static bool
may_be_open(const struct comparator *c, uint16_t client, uint32_t seq)
{
	g_autoptr(GBytes) frame = TCP(.client = client, .seq = seq, .flags = SYN);
	struct packet syn;

	packet_parse(&syn, frame);
	packet_turn(&syn);
	return comparator_may_be_open(c, 0, &syn);
}

/* What a client has been told is what has left, whatever the copies have sent. */
static void
test_may_be_open(void **state)
{
	g_autoptr(comparator) c = comparator_new(&limits);

	assert_true(may_be_open(c, 1, 100));	/* who knows */
	comparator_protect(c, 0, 1);
	assert_false(may_be_open(c, 1, 100));
	s(c, 1, TCP(.client = 1, .seq = 7, .ack = 101, .flags = SYN | ACK));
	assert_false(may_be_open(c, 1, 100));
	p(c, TCP(.client = 2, .seq = 5, .ack = 101, .flags = SYN | ACK));
	assert_false(may_be_open(c, 2, 100));
	p(c, TCP(.client = 1, .seq = 6, .ack = 101, .flags = SYN | ACK));
	assert_true(may_be_open(c, 1, 100));
	assert_false(may_be_open(c, 2, 100));
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	assert_true(may_be_open(c, 2, 100));
	comparator_unprotect(c, 0);
	assert_true(may_be_open(c, 3, 100));
	expect(c, "- -");
}

/* Clients use their ports again, and a flow is remembered for long. */
static void
test_the_next_connection_is_not_the_last(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.client = 1, .seq = 6, .ack = 101, .flags = SYN | ACK));
	s(c, 1, TCP(.client = 1, .seq = 6, .ack = 101, .flags = SYN | ACK));
	p(c, TCP(.client = 1, .seq = 7, .ack = 101, .flags = FIN | ACK, .text = "a"));
	s(c, 1, TCP(.client = 1, .seq = 7, .ack = 101, .flags = FIN | ACK, .text = "a"));
	expect(c, "- a");
	assert_true(may_be_open(c, 1, 100));
	assert_false(may_be_open(c, 1, 5000));
	p(c, TCP(.client = 1, .seq = 9000, .ack = 5001, .flags = SYN | ACK));
	s(c, 1, TCP(.client = 1, .seq = 9000, .ack = 5001, .flags = SYN | ACK));
	expect(c, "-");
	assert_true(may_be_open(c, 1, 5000));
}

static void
test_a_flow_without_room_may_be_open(void **state)
{
	struct comparator_limits l = limits;

	l.max_flows = 1;
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	p(c, TCP(.client = 1, .seq = 6, .ack = 101, .flags = SYN | ACK));
	assert_false(may_be_open(c, 2, 100));
	p(c, TCP(.client = 2, .seq = 6, .ack = 101, .flags = SYN | ACK));
	assert_true(may_be_open(c, 2, 100));
	expect(c, "");
}

/* -- patterns -------------------------------------------------------------------------------------------------------------------------- */

static struct comparator *
comparator_with_pattern(const struct comparator_limits *l, enum flow_treatment treatment, const char *pattern)
{
	struct comparator *c = comparator_new(l);
	struct flow_patterns patterns = { 0 };

	assert_true(flow_patterns_add(&patterns, treatment, pattern, NULL));
	comparator_set_patterns(c, &patterns);
	comparator_protect(c, 0, 1);
	return c;
}

static void
test_bypass(void **state)
{
	g_autoptr(comparator) c = comparator_with_pattern(&limits, FLOW_BYPASS, "udp:1");

	p(c, udp_frame(2, "x"));
	p(c, udp_frame(1, "a"));
	p(c, udp_frame(1, "b"));
	expect(c, "a b");
	s_id(c, 5, 1, udp_frame(1, "A"));	/* nobody waits for it */
	expect_matched(c, "5");
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	comparator_boundary(c, 0, 1);
	p(c, udp_frame(1, "c"));		/* of an epoch that is not even compared */
	expect(c, "c");
	/* when the peer is lost, it may be the one that speaks: nothing leaves */
	comparator_freeze(c);
	p(c, udp_frame(1, "d"));
	expect(c, "");
	comparator_unprotect(c, 0);
	expect(c, "x d");
	struct comparator_stats st = stats(c);
	assert_int_equal(st.released_frames[RELEASE_BYPASS], 3);
	assert_int_equal(st.released_frames[RELEASE_UNPROTECTED], 2);
	assert_int_equal(st.differences, 0);
}

/* No room for the flow: by commit, like any other. */
static void
test_bypass_without_room(void **state)
{
	struct comparator_limits l = limits;

	l.max_flows = 1;
	l.flow_idle_ns = 10;
	g_autoptr(comparator) c = comparator_with_pattern(&l, FLOW_BYPASS, "udp:1");
	p(c, udp_frame(2, "x"));
	s(c, 1, udp_frame(2, "x"));
	p(c, udp_frame(1, "a"));
	expect(c, "x");
	/* there is room now, but the flow must not overtake its own frame */
	p_at(c, 20, udp_frame(1, "b"));
	expect(c, "");
	comparator_boundary(c, 0, 1);
	p_at(c, 20, udp_frame(1, "c"));
	expect(c, "");
	comparator_committed(c, 0, 1);
	expect(c, "a b c");			/* and c waits for nothing more */
	p_at(c, 20, udp_frame(1, "d"));
	expect(c, "d");
	assert_int_equal(stats(c).committed_by[COMMIT_NO_ROOM], 1);
	assert_int_equal(stats(c).released_frames[RELEASE_BYPASS], 2);
}

/* A boundary, and with the epoch that begins there these patterns. */
static void
boundary_with(struct comparator *c, uint64_t epoch, enum flow_treatment treatment, const char *pattern)
{
	struct flow_patterns patterns = { 0 };

	if (pattern)
		assert_true(flow_patterns_add(&patterns, treatment, pattern, NULL));
	comparator_boundary(c, 0, epoch);
	comparator_set_patterns(c, &patterns);
}

static void
test_patterns_change(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	s_id(c, 1, 1, udp_frame(1, "a"));
	p(c, udp_frame(1, "b"));
	expect(c, "a");
	boundary_with(c, 1, FLOW_BYPASS, "udp:1");
	p(c, udp_frame(1, "c"));
	s_id(c, 2, 1, udp_frame(1, "b"));	/* of the epoch before, which is not compared any more */
	expect(c, "");				/* not past b */
	comparator_committed(c, 0, 1);
	expect(c, "b c");
	p(c, udp_frame(1, "d"));
	expect(c, "d");
	/* and back: what begins with the boundary is compared, once the SVM is there */
	boundary_with(c, 2, FLOW_COMPARE, NULL);
	p(c, udp_frame(1, "e"));
	expect(c, "");
	comparator_committed(c, 0, 2);
	expect(c, "");
	s_id(c, 3, 3, udp_frame(1, "e"));
	expect(c, "e");
	boundary_with(c, 3, FLOW_NEVER_COMPARE, "udp:1");
	comparator_committed(c, 0, 3);
	p(c, udp_frame(1, "f"));
	s_id(c, 4, 4, udp_frame(1, "f"));
	expect(c, "");
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);
}

/* Segments that were bypassed were not seen by the comparison; it does not wait for them. */
static void
test_tcp_after_a_bypass(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, TCP(.seq = 1, .text = "a"));
	s_id(c, 1, 1, TCP(.seq = 1, .text = "a"));
	boundary_with(c, 1, FLOW_BYPASS, "tcp:80");
	comparator_committed(c, 0, 1);
	p(c, TCP(.seq = 2, .text = "b"));
	expect(c, "a b");
	boundary_with(c, 2, FLOW_COMPARE, NULL);
	comparator_committed(c, 0, 2);
	p(c, TCP(.seq = 3, .text = "c"));
	s_id(c, 2, 3, TCP(.seq = 3, .text = "c"));
	expect(c, "c");
	p(c, TCP(.seq = 4, .text = "d"));
	s_id(c, 3, 3, TCP(.seq = 4, .text = "e"));
	expect(c, "");
	assert_int_equal(stats(c).differences, 1);
}

static void
test_never_compare(void **state)
{
	g_autoptr(comparator) c = comparator_with_pattern(&limits, FLOW_NEVER_COMPARE, "tcp:80");

	s_id(c, 1, 1, TCP(.seq = 1, .text = "a"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_NONE);
	p(c, TCP(.seq = 1, .text = "a"));
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);	/* only a commit helps: at once */
	p(c, TCP(.seq = 2, .text = "b"));
	s_id(c, 2, 1, TCP(.seq = 2, .text = "b"));
	expect(c, "");
	expect_matched(c, "");
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "a b");
	p(c, TCP(.seq = 3, .text = "c"));
	s_id(c, 3, 2, TCP(.seq = 3, .text = "c"));
	expect(c, "");				/* in every epoch */
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);
	assert_int_equal(stats(c).differences, 0);
	assert_int_equal(stats(c).committed_by[COMMIT_NEVER_COMPARE], 2);
	p(c, udp_frame(80, "x"));
	s(c, 2, udp_frame(80, "x"));
	expect(c, "x");
}

/* -- datagrams in one frame -------------------------------------------------------------------------------------------------------------- */

#define UDP_GSO(text, size) udp_frame_full(&(struct ip_options){ .gso_type = PACKET_GSO_UDP_L4, .gso_size = size }, 1, text, 0, 0)

static void
test_udp_segments(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	/* one frame of three against three, in any cut */
	p(c, UDP_GSO("aabbc", 2));
	s_id(c, 1, 1, udp_frame(1, "aa"));
	s_id(c, 2, 1, udp_frame(1, "bb"));
	expect(c, "");
	expect_matched(c, "");
	s_id(c, 3, 1, udp_frame(1, "c"));
	expect(c, "aabbc");
	expect_matched(c, "1 2 3");
	s_id(c, 4, 1, UDP_GSO("aabbc", 2));
	p(c, udp_frame(1, "aa"));
	p(c, udp_frame(1, "bb"));
	expect(c, "aa bb");
	expect_matched(c, "");		/* one of its datagrams has not left */
	p(c, UDP_GSO("cd", 1));
	expect(c, "");
	expect_matched(c, "");
	s_id(c, 5, 1, udp_frame(1, "d"));
	expect(c, "cd");
	expect_matched(c, "4 5");
	/* the same bytes in other datagrams are other output */
	p(c, UDP_GSO("aabb", 2));
	s_id(c, 6, 1, udp_frame(1, "aa"));
	s_id(c, 7, 1, udp_frame(1, "b"));
	expect(c, "");
	assert_int_equal(comparator_take_want(c), COMPARATOR_WANT_DIFFERENCE);
	assert_int_equal(stats(c).differences_by[DIFFERENCE_LENGTH], 1);
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "aabb");
	assert_int_equal(stats(c).committed_by[COMMIT_DIFFERS], 1);
}

/* -- every kind of frame, both ways -------------------------------------------------------------------------------------------------------- */

#define TAG "\x81\0\0\7"
#define QINQ "\x88\xa8\0\2\x81\0\0\7"
#define FRAME(l4, n, ...) ip_frame(&(struct ip_options){ __VA_ARGS__ }, (const uint8_t *)l4, n)
#define ALL_ROUTERS "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\2"
#define ND "\207\0\0\0\0\0\0\0target"

/* What one copy sends leaves when the other sends the same, and does not when it sends the other thing; whichever is the PVM. */
static void
test_kinds(void **state)
{
	g_autofree uint8_t *jumbo = g_malloc0(9000);

	jumbo[8000] = 1;
	const struct { const char *what; GBytes *one, *same, *other; } table[] = {
		{ "tcp", TCP(.seq = 1, .text = "abc"), TCP(.seq = 1, .text = "abc", .window = 9, .ip_id = 5), TCP(.seq = 1, .text = "abX") },
		{ "tcp6", TCP(.seq = 1, .text = "abc", .ip = { .v6 = true }), TCP(.seq = 1, .text = "abc", .window = 9, .ip = { .v6 = true, .ttl = 9 }),
		  TCP(.seq = 1, .text = "abX", .ip = { .v6 = true }) },
		{ "tcp in a VLAN", TCP(.seq = 1, .text = "abc", .ip = { .tags = TAG, .tags_length = 4 }),
		  TCP(.seq = 1, .text = "abc", .ip_id = 9, .ip = { .tags = TAG, .tags_length = 4 }), TCP(.seq = 1, .text = "abX", .ip = { .tags = TAG, .tags_length = 4 }) },
		{ "udp in QinQ", FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .tags = QINQ, .tags_length = 8),
		  FRAME("\0\1\0\2\0\11\0\1a", 9, .protocol = 17, .id = 4, .tags = QINQ, .tags_length = 8),
		  FRAME("\0\1\0\2\0\11\0\0b", 9, .protocol = 17, .tags = QINQ, .tags_length = 8) },
		{ "udp6", FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .v6 = true), FRAME("\0\1\0\2\0\11\1\1a", 9, .protocol = 17, .v6 = true),
		  FRAME("\0\1\0\2\0\11\0\0b", 9, .protocol = 17, .v6 = true) },
		{ "icmp", icmp_frame(8, 1, 1, "ping", 1), icmp_frame(8, 1, 1, "ping", 2), icmp_frame(8, 1, 1, "pong", 1) },
		{ "neighbour discovery", FRAME(ND, 14, .protocol = 58, .v6 = true), FRAME(ND, 14, .protocol = 58, .v6 = true, .ttl = 255),
		  FRAME("\207\0\0\0\0\0\0\0tarGet", 14, .protocol = 58, .v6 = true) },
		{ "neighbour discovery to a group", FRAME(ND, 14, .protocol = 58, .v6 = true, .destination6 = ALL_ROUTERS),
		  FRAME(ND, 14, .protocol = 58, .v6 = true, .destination6 = ALL_ROUTERS, .ttl = 255),
		  FRAME("\207\0\0\0\0\0\0\0tarGet", 14, .protocol = 58, .v6 = true, .destination6 = ALL_ROUTERS) },
		{ "broadcast", FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .destination = 0xffffffffu),
		  FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .destination = 0xffffffffu, .id = 3),
		  FRAME("\0\1\0\2\0\11\0\0b", 9, .protocol = 17, .destination = 0xffffffffu) },
		{ "multicast", FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .destination = 0xe00000fbu),
		  FRAME("\0\1\0\2\0\11\0\0a", 9, .protocol = 17, .destination = 0xe00000fbu, .id = 3),
		  FRAME("\0\1\0\2\0\11\0\0b", 9, .protocol = 17, .destination = 0xe00000fbu) },
		{ "jumbo", TCP(.seq = 1, .data = jumbo, .length = 8948), TCP(.seq = 1, .data = jumbo, .length = 8948, .window = 3), TCP(.seq = 1, .data = jumbo + 1, .length = 8948) },
		{ "arp", ether_frame(0x0806, "who has"), ether_frame(0x0806, "who has"), ether_frame(0x0806, "who is") },
		{ "fragment", FRAME("abc", 3, .protocol = 17, .fragment = 0x2000, .id = 7), FRAME("abc", 3, .protocol = 17, .fragment = 0x2000, .id = 7),
		  FRAME("abc", 3, .protocol = 17, .fragment = 0x2000, .id = 8) },
		{ "fragment6", FRAME("abc", 3, .protocol = 44, .v6 = true, .extensions = "\21\0\0\1iden", .extensions_length = 8),
		  FRAME("abc", 3, .protocol = 44, .v6 = true, .extensions = "\21\0\0\1iden", .extensions_length = 8),
		  FRAME("abc", 3, .protocol = 44, .v6 = true, .extensions = "\21\0\0\1ideX", .extensions_length = 8) },
		{ "gre", FRAME("abc", 3, .protocol = 47), FRAME("abc", 3, .protocol = 47), FRAME("abd", 3, .protocol = 47) },
		{ "runt", wire(NULL, 0, (const uint8_t *)"\1\2\3", 3), wire(NULL, 0, (const uint8_t *)"\1\2\3", 3), wire(NULL, 0, (const uint8_t *)"\1\2\4", 3) },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		GBytes *pairs[][2] = {
			{ table[i].one, table[i].same }, { table[i].same, table[i].one }, { table[i].one, table[i].other }, { table[i].other, table[i].one },
		};
		for (unsigned k = 0; k < G_N_ELEMENTS(pairs); k++) {
			g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);
			comparator_primary_frame(c, 0, 0, pairs[k][0]);
			comparator_secondary_frame(c, 0, 0, 1, 1, pairs[k][1]);
			struct comparator_stats st = stats(c);
			if (st.released_frames[RELEASE_SAME] != (k < 2) || st.differences != (k >= 2))
				fail_msg("%s, %u", table[i].what, k);
		}
		g_bytes_unref(table[i].one);
		g_bytes_unref(table[i].same);
		g_bytes_unref(table[i].other);
	}
}

/* -- why acknowledgements count ---------------------------------------------------------------------------------------------------------- */

/*
 * A client keeps what it has sent until it is acknowledged. The PVM has 300 bytes of it, the copy 200 when the PVM's host dies: the client must still have the
 * last 100, or nobody has.
 */
static void
test_acknowledged_bytes_survive(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);
	const uint32_t svm_has = 200;
	uint32_t client_keeps_from = 0;
	GBytes *frame;
	unsigned nic;

	for (uint32_t got = 100; got <= 300; got += 100)
		p(c, TCP(.seq = 1, .ack = got, .flags = ACK));
	p(c, TCP(.seq = 1, .ack = 300, .flags = ACK, .text = "thanks for 300 bytes"));
	for (uint32_t got = 100; got <= svm_has; got += 100)
		s(c, 1, TCP(.seq = 1, .ack = got, .flags = ACK));
	s(c, 1, TCP(.seq = 1, .ack = svm_has, .flags = ACK, .text = "thanks for 300 bytes"));	/* equal content does not make the ACK safe */
	while ((frame = comparator_next_release(c, &nic))) {
		struct packet left;
		packet_parse(&left, frame);
		client_keeps_from = MAX(client_keeps_from, left.ack);
		g_bytes_unref(frame);
	}
	assert_int_equal(client_keeps_from, svm_has);	/* no more, and no less: nothing waits in vain */
	/* with the checkpoint the copy has them too */
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	expect(c, "- thanks for 300 bytes");
}

/* -- floods -------------------------------------------------------------------------------------------------------------------------------- */

/* More new flows than there is room for, from either copy: bounded, nothing lost, everything counted. */
static void
test_flood(void **state)
{
	enum { FLOWS = 20000, ROOM = 500 };
	struct comparator_limits l = limits;
	uint64_t left = 0;
	GBytes *frame;
	unsigned nic;

	l.max_flows = ROOM;
	l.max_held_bytes = 64 << 20;
	g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
	for (unsigned i = 0; i < FLOWS; i++) {
		g_autoptr(GBytes) one = ip_frame(&(struct ip_options){ .protocol = 17, .destination = i + 1 }, (const uint8_t *)"\0\1\0\2\0\10\0\0", 8);
		g_autoptr(GBytes) other = ip_frame(&(struct ip_options){ .protocol = 17, .source = i + 1 }, (const uint8_t *)"\0\1\0\2\0\10\0\0", 8);
		comparator_primary_frame(c, i, 0, one);
		comparator_secondary_frame(c, i, 0, i, 1, other);
		assert_true(stats(c).flows <= ROOM);
	}
	assert_true(stats(c).flows_refused >= 2 * (FLOWS - ROOM));
	assert_int_equal(stats(c).held_frames, FLOWS);
	comparator_boundary(c, 0, 1);
	comparator_committed(c, 0, 1);
	while ((frame = comparator_next_release(c, &nic))) {
		g_bytes_unref(frame);
		left++;
	}
	assert_int_equal(left, FLOWS);
	struct comparator_stats st = stats(c);
	assert_int_equal(st.committed_by[COMMIT_NO_ROOM] + st.committed_by[COMMIT_WAITED], FLOWS);
	assert_int_equal(st.secondary_unused, FLOWS);
	assert_int_equal(st.held_bytes, 0);
}

/* A guest that talks to itself over the LAN: its request and its answer are two flows, whatever the ends are called. */
static void
test_guest_answers_itself(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

#define SELF .ip = { .source = GUEST, .destination = GUEST }
	s(c, 1, TCP(.port = 80, .client = 81, .seq = 1, .text = "ask", SELF));
	s(c, 1, TCP(.port = 81, .client = 80, .seq = 1, .text = "answer", SELF));
	s(c, 1, TCP(.port = 80, .client = 80, .seq = 1, .text = "itself", SELF));
	p(c, TCP(.port = 80, .client = 80, .seq = 1, .text = "itself", SELF));
	p(c, TCP(.port = 81, .client = 80, .seq = 1, .text = "answer", SELF));
	p(c, TCP(.port = 80, .client = 81, .seq = 1, .text = "ask", SELF));
	expect(c, "itself answer ask");
	assert_int_equal(stats(c).flows, 3);
}

/* -- what is shown ----------------------------------------------------------------------------------------------------------------------- */

static void
test_flows(void **state)
{
	struct comparator_limits l = limits;

	for (unsigned show = 0; show < 2; show++) {
		l.show_differences = show;
		g_autoptr(comparator) c = comparator_in_epoch(&l, 1);
		p(c, udp_frame(1, "a"));
		s(c, 1, udp_frame(1, "a"));
		p(c, udp_frame(2, "hello"));
		s(c, 1, udp_frame(2, "heLlo"));
		p(c, udp_frame(3, "waits"));
		comparator_boundary(c, 0, 1);
		comparator_committed(c, 0, 1);
		p(c, udp_frame(3, "waits"));
		expect(c, "a hello waits");
		g_autoptr(GArray) top = comparator_flows(c, 2);
		assert_int_equal(top->len, 2);		/* most bytes first, no more than asked for */
		g_autoptr(GArray) all = comparator_flows(c, 100);
		assert_int_equal(all->len, 3);
		const struct comparator_flow *f = &g_array_index(all, struct comparator_flow, 2);
		assert_int_equal(f->key.source_port, 1);
		assert_int_equal(f->released_frames[RELEASE_SAME], 1);
		for (guint i = 0; i < 2; i++) {
			f = &g_array_index(all, struct comparator_flow, i);
			assert_int_equal(f->released_frames[RELEASE_COMMITTED], 1);
			if (f->key.source_port == 3)
				assert_int_equal(f->held_frames, 1);
			if (f->key.source_port != 2)
				continue;
			assert_int_equal(f->differences, 1);
			assert_int_equal(f->first.reason, DIFFERENCE_CONTENT);
			assert_int_equal(f->first.at, 2);
			assert_int_equal(f->first.primary_length, show ? 3 : 0);	/* the guest's bytes: not without being asked for */
			assert_int_equal(f->first.primary[0], show ? 'l' : 0);
			assert_int_equal(f->first.secondary[0], show ? 'L' : 0);
		}
	}
}

/* Every frame that does not leave the ordinary way has a counter. */
static void
test_causes(void **state)
{
	g_autoptr(comparator) c = comparator_in_epoch(&limits, 1);

	p(c, udp_frame(1, "a"));
	s(c, 1, udp_frame(1, "A"));
	p(c, udp_frame(2, "waits"));
	s(c, 1, udp_frame(4, "never sent by the PVM"));
	comparator_boundary(c, 0, 1);
	p(c, udp_frame(3, "of the next epoch"));
	comparator_boundary(c, 0, 2);
	comparator_committed(c, 0, 2);
	struct comparator_stats st = stats(c);
	assert_int_equal(st.committed_by[COMMIT_DIFFERS], 1);
	assert_int_equal(st.committed_by[COMMIT_WAITED], 1);
	assert_int_equal(st.committed_by[COMMIT_NOT_COMPARED], 1);
	assert_int_equal(st.secondary_unused, 2);
	assert_string_equal(commit_cause_name(COMMIT_WAITED), "waited");
	uint64_t sum = 0;
	for (unsigned i = 0; i < COMMIT_LAST; i++)
		sum += st.committed_by[i];
	assert_int_equal(sum, st.released_frames[RELEASE_COMMITTED]);
}

/* -- two guests, seeded ---------------------------------------------------------------------------------------------------------------- */

/*
 * A PVM and an SVM that send three flows (two TCP, one UDP), with checkpoints, commits, loads and news of them at random times, and an SVM that goes
 * wrong now and then. The rule is checked from the outside: what leaves is committed, or the SVM has sent these bytes and that ACK in that epoch.
 */
#define TCP_FLOWS 2
#define SIM_FLOWS 3
#define SIM_STREAM 60000
#define SIM_EPOCHS 600

struct sent { GBytes *bytes; uint64_t epoch; unsigned index; };	/* index: of the datagram in its epoch */

struct sim_flow {
	uint32_t next, ack;				/* the PVM's */
	uint32_t base[SIM_EPOCHS], base_ack[SIM_EPOCHS];	/* at the beginning of an epoch */
	uint32_t s_next, s_ack;				/* the SVM's */
	uint8_t s_bytes[SIM_STREAM];			/* what it sent in its epoch, 0 where nothing (or only something wrong) */
	uint32_t s_acked;				/* highest ACK that it sent in its epoch */
	unsigned datagrams, s_datagrams;		/* in the epoch */
	GArray *s_texts;				/* of the SVM's epoch, of int */
	GQueue sent;					/* PVM frames that have not left */
	uint32_t left, left_ack;
};

struct sim {
	struct comparator *c;
	GRand *rand;
	uint64_t now, epoch, committed, told, loaded, next_id;
	uint64_t s_epoch;
	bool s_runs, s_wrong;
	struct sim_flow flow[SIM_FLOWS];
	GQueue late;					/* of struct sent: SVM frames on their way */
	GArray *arrived;				/* of struct packet, by id; the frames' bytes live in `bytes` */
	GPtrArray *bytes;
	GHashTable *texts_left;
	uint64_t same, ids;
};

static uint8_t
content(unsigned f, uint32_t at)
{
	return (uint8_t)(1 + (at * 7 + at / 251 + f) % 255);
}

static int
pick(struct sim *m, int n)
{
	return g_rand_int_range(m->rand, 0, n);
}

/* Functions, because MIN() would throw the dice twice. */
static uint32_t
further(uint32_t at, uint32_t n)
{
	return MIN(at + n, SIM_STREAM);
}

static uint32_t
back(uint32_t at, uint32_t n)
{
	return at - MIN(at, n);
}

static GBytes *
segment(struct sim *m, unsigned f, uint32_t from, uint32_t to, uint32_t ack, bool wrong)
{
	uint8_t data[2000];

	for (uint32_t i = from; i < to; i++)
		data[i - from] = content(f, i);
	if (wrong && to > from)
		data[to - from - 1] ^= 0x80;
	return TCP(.client = (uint16_t)(f + 1), .seq = from - 30000, .ack = ack, .flags = ACK, .data = data, .length = to - from);
}

static void
p_sends(struct sim *m)
{
	unsigned f = (unsigned)pick(m, SIM_FLOWS);
	struct sim_flow *w = &m->flow[f];
	struct sent sent = { .epoch = m->epoch };

	if (f < TCP_FLOWS) {
		uint32_t from = back(w->next, pick(m, 5) ? 0 : 40);
		w->ack += (uint32_t)pick(m, 3);
		w->next = further(w->next, pick(m, 4) ? (uint32_t)pick(m, 400) : 0);
		sent.bytes = segment(m, f, from, w->next, w->ack, false);
	} else {
		char text[20];
		sent.index = w->datagrams++;
		g_snprintf(text, sizeof text, "%d.%u", (int)m->epoch, sent.index);
		sent.bytes = udp_frame(9, text);
	}
	g_queue_push_tail(&w->sent, g_memdup2(&sent, sizeof sent));
	comparator_primary_frame(m->c, m->now, 0, sent.bytes);
}

static GBytes *
s_segment(struct sim *m, unsigned f)
{
	struct sim_flow *w = &m->flow[f];
	bool wrong = m->s_wrong && pick(m, 4) == 0;
	uint32_t from = back(w->s_next, pick(m, 5) ? 0 : 40);

	w->s_ack += (uint32_t)pick(m, 3);
	w->s_acked = MAX(w->s_acked, w->s_ack);
	w->s_next = further(w->s_next, (uint32_t)pick(m, 400));
	for (uint32_t i = from; i < w->s_next; i++)
		if (!wrong || i < w->s_next - 1)
			w->s_bytes[i] = content(f, i);
	return segment(m, f, from, w->s_next, w->s_ack, wrong);
}

static void
s_sends(struct sim *m)
{
	unsigned f = (unsigned)pick(m, SIM_FLOWS);
	struct sim_flow *w = &m->flow[f];
	struct sent sent = { .epoch = m->s_epoch };

	if (!m->s_runs)
		return;
	if (f < TCP_FLOWS) {
		sent.bytes = s_segment(m, f);
	} else {
		char text[20];
		int right = !(m->s_wrong && pick(m, 4) == 0);
		g_snprintf(text, sizeof text, right ? "%d.%u" : "%d,%u", (int)m->s_epoch, w->s_datagrams++);
		g_array_append_val(w->s_texts, right);
		sent.bytes = udp_frame(9, text);
	}
	g_queue_push_tail(&m->late, g_memdup2(&sent, sizeof sent));
}

static void
s_arrives(struct sim *m)
{
	g_autofree struct sent *sent = g_queue_pop_head(&m->late);

	if (!sent)
		return;
	struct packet p;
	packet_parse(&p, sent->bytes);
	g_array_append_val(m->arrived, p);
	g_ptr_array_add(m->bytes, sent->bytes);
	comparator_secondary_frame(m->c, m->now, 0, m->next_id++, sent->epoch, sent->bytes);
}

static void
sim_boundary(struct sim *m)
{
	comparator_boundary(m->c, m->now, m->epoch++);
	assert_true(m->epoch < SIM_EPOCHS);
	for (unsigned f = 0; f < SIM_FLOWS; f++) {
		m->flow[f].base[m->epoch] = m->flow[f].next;
		m->flow[f].base_ack[m->epoch] = m->flow[f].ack;
		m->flow[f].datagrams = 0;
	}
}

static void
sim_load(struct sim *m)
{
	if (m->committed == m->loaded)
		return;
	m->loaded = m->committed;
	m->s_epoch = m->loaded + 1;
	m->s_runs = true;
	m->s_wrong = pick(m, 3) == 0;
	for (unsigned f = 0; f < SIM_FLOWS; f++) {
		struct sim_flow *w = &m->flow[f];
		w->s_next = w->base[m->s_epoch];
		w->s_ack = w->s_acked = w->base_ack[m->s_epoch];
		w->s_datagrams = 0;
		memset(w->s_bytes, 0, sizeof w->s_bytes);
		g_array_set_size(w->s_texts, 0);
	}
	comparator_loaded(m->c, m->now, m->loaded);
}

static bool
tcp_covered(const struct sim *m, unsigned f, const struct sent *sent, const struct packet *p)
{
	const struct sim_flow *w = &m->flow[f];
	uint32_t from = p->seq + 30000, to = from + p->payload_length;
	bool there = sent->epoch == m->s_epoch;

	for (uint32_t i = MAX(from, w->base[sent->epoch]); i < to; i++)
		if (!there || w->s_bytes[i] != content(f, i))
			return false;
	return p->ack <= (there ? w->s_acked : w->base_ack[sent->epoch]);
}

/* The rule, seen from outside: would the copy that takes over have it, or have said it too? */
static bool
covered(const struct sim *m, unsigned f, const struct sent *sent, const struct packet *p)
{
	const struct sim_flow *w = &m->flow[f];

	if (sent->epoch <= m->committed)
		return true;		/* the standby holds the checkpoint, only the news has not come */
	if (f < TCP_FLOWS)
		return tcp_covered(m, f, sent, p);
	return sent->epoch == m->s_epoch && sent->index < w->s_texts->len && g_array_index(w->s_texts, int, sent->index);
}

static char *
text_of(const struct packet *p)
{
	return g_strndup((const char *)p->payload, p->payload_length);
}

/* What the standby may forget has left. */
static void
sim_check_matched(struct sim *m)
{
	GArray *ids = comparator_take_matched(m->c);

	for (guint i = 0; ids && i < ids->len; i++) {
		const struct packet *p = &g_array_index(m->arrived, struct packet, g_array_index(ids, uint64_t, i));
		const struct sim_flow *w = &m->flow[p->class == PACKET_UDP ? TCP_FLOWS : p->destination_port - 1u];

		if (p->class == PACKET_UDP) {
			g_autofree char *text = text_of(p);
			assert_true(g_hash_table_contains(m->texts_left, text));
		} else {
			assert_true(p->seq + 30000 + p->payload_length <= w->left && p->ack <= w->left_ack);
		}
		m->ids++;
	}
	g_clear_pointer(&ids, g_array_unref);
}

static void
sim_check_released(struct sim *m)
{
	GBytes *frame;
	unsigned nic;

	while ((frame = comparator_next_release(m->c, &nic))) {
		struct packet p;
		packet_parse(&p, frame);
		unsigned f = p.class == PACKET_UDP ? TCP_FLOWS : p.destination_port - 1u;
		struct sim_flow *w = &m->flow[f];
		g_autofree struct sent *sent = g_queue_pop_head(&w->sent);

		assert_ptr_equal(sent->bytes, frame);	/* in order, and not a byte changed */
		if (sent->epoch > m->told) {
			assert_true(covered(m, f, sent, &p));
			m->same++;
		}
		if (f < TCP_FLOWS) {
			w->left = MAX(w->left, p.seq + 30000 + p.payload_length);
			w->left_ack = MAX(w->left_ack, p.ack);
		} else {
			g_hash_table_add(m->texts_left, text_of(&p));
		}
		g_bytes_unref(sent->bytes);
		g_bytes_unref(frame);
	}
	sim_check_matched(m);
}

static void
sim_event(struct sim *m)
{
	int what = pick(m, 100);

	m->now += (uint64_t)pick(m, 2000000);
	if (what < 35)
		p_sends(m);
	else if (what < 65)
		s_sends(m);
	else if (what < 90)
		s_arrives(m);
	else if (what < 93 && m->epoch - m->told < 4)
		sim_boundary(m);
	else if (what < 95 && m->committed < m->epoch - 1)
		m->committed++;
	else if (what < 97)
		sim_load(m);
	else if (what < 98 && m->told < m->committed)
		comparator_committed(m->c, m->now, m->told = m->committed);
	else if (what < 99) {
		m->s_runs = m->committed == m->loaded;
		if (!m->s_runs)
			comparator_secondary_stopped(m->c, m->now);
	} else
		comparator_tick(m->c, m->now);
}

static uint64_t
simulate(guint32 seed)
{
	struct sim *m = g_new0(struct sim, 1);

	m->c = comparator_in_epoch(&limits, 1);
	m->rand = g_rand_new_with_seed(seed);
	m->epoch = m->s_epoch = 1;
	m->s_runs = true;
	m->arrived = g_array_new(FALSE, FALSE, sizeof(struct packet));
	m->bytes = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	m->texts_left = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	for (unsigned f = 0; f < SIM_FLOWS; f++)
		m->flow[f].s_texts = g_array_new(FALSE, FALSE, sizeof(int));
	for (unsigned i = 0; i < 4000; i++) {
		sim_event(m);
		sim_check_released(m);
	}
	/* nothing is lost: the last commit releases all that is held */
	sim_boundary(m);
	m->told = m->committed = m->epoch - 1;
	comparator_committed(m->c, m->now, m->told);
	sim_check_released(m);
	struct comparator_stats st = stats(m->c);
	assert_int_equal(st.held_frames, 0);
	assert_int_equal(st.held_bytes, 0);
	assert_true(st.released_frames[RELEASE_SAME] >= m->same);
	while (!g_queue_is_empty(&m->late))
		s_arrives(m);
	uint64_t same = m->ids > 100 ? m->same : 0;
	for (unsigned f = 0; f < SIM_FLOWS; f++) {
		assert_true(g_queue_is_empty(&m->flow[f].sent));
		g_array_unref(m->flow[f].s_texts);
	}
	comparator_free(m->c);
	g_array_unref(m->arrived);
	g_ptr_array_unref(m->bytes);
	g_hash_table_unref(m->texts_left);
	g_rand_free(m->rand);
	g_free(m);
	return same;
}

static void
test_two_guests(void **state)
{
	uint64_t same = 0;

	for (guint32 seed = 1; seed <= 40; seed++)
		same += simulate(seed);
	assert_true(same > 5000);	/* it did compare */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unprotected),
		cmocka_unit_test(test_same_leaves),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_tcp_conversation),
		cmocka_unit_test(test_difference),
		cmocka_unit_test(test_hold_clock),
		cmocka_unit_test(test_hold_clock_of_a_copy_that_catches_up),
		cmocka_unit_test(test_no_wants_for_a_closed_epoch),
		cmocka_unit_test(test_queue_full),
		cmocka_unit_test(test_late_svm_frames_are_stale),
		cmocka_unit_test(test_early_svm_frames_wait),
		cmocka_unit_test(test_commit_keeps_the_next_epochs_data),
		cmocka_unit_test(test_commit_and_acks),
		cmocka_unit_test(test_commits_that_are_none),
		cmocka_unit_test(test_freeze_and_unprotect),
		cmocka_unit_test(test_unsent),
		cmocka_unit_test(test_passive),
		cmocka_unit_test(test_clock_of_the_twin),
		cmocka_unit_test(test_secondary_limit),
		cmocka_unit_test(test_flow_limit),
		cmocka_unit_test(test_ended_connections_make_room),
		cmocka_unit_test(test_may_be_open),
		cmocka_unit_test(test_the_next_connection_is_not_the_last),
		cmocka_unit_test(test_a_flow_without_room_may_be_open),
		cmocka_unit_test(test_bypass),
		cmocka_unit_test(test_bypass_without_room),
		cmocka_unit_test(test_patterns_change),
		cmocka_unit_test(test_tcp_after_a_bypass),
		cmocka_unit_test(test_never_compare),
		cmocka_unit_test(test_udp_segments),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_acknowledged_bytes_survive),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_guest_answers_itself),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_two_guests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
