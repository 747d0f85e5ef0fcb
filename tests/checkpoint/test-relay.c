/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <xxhash.h>

#include "checkpoint/relay.h"
#include "tests/checkpoint/stream.h"

#define MS 1000000u

static const struct relay_limits limits = {
	.max_epoch_ns = 1000 * MS, .min_epoch_ns = 10 * MS, .max_unacked_bytes = 5000, .max_device_state = 100, .max_checkpoint_bytes = 20000,
};

static void
describe(const struct relay_action *a, GString *out)
{
	size_t length = 0;
	const uint8_t *bytes = a->bytes ? g_bytes_get_data(a->bytes, &length) : NULL;

	switch (a->type) {
	case RELAY_TO_QEMU:
		g_string_append(out, "to-qemu");
		for (size_t i = 0; i < length; i += 4)
			g_string_append_printf(out, " %s", bytes[i] || bytes[i + 1] || bytes[i + 2] ? "?" : colo_message_name(bytes[i + 3]));
		break;
	case RELAY_STREAM:
		g_string_append_printf(out, "stream %d", (int)length);
		break;
	case RELAY_STREAM_END:
		g_string_append(out, "end");
		break;
	case RELAY_LIVE:
		g_string_append(out, "live");
		break;
	case RELAY_PAUSED:
		g_string_append_printf(out, "paused %d", (int)a->epoch);
		break;
	case RELAY_CHECKPOINT_BEGIN:
		g_string_append_printf(out, "begin %d", (int)a->epoch);
		break;
	case RELAY_CHECKPOINT_DATA:
		g_string_append_printf(out, "data %d %d", (int)a->epoch, (int)length);
		break;
	case RELAY_CHECKPOINT_SEAL:
		g_string_append_printf(out, "seal %d %d pages %d zero %d", (int)a->epoch, (int)a->length, (int)a->pages, (int)a->zero_pages);
		break;
	case RELAY_RESUMED:
		g_string_append_printf(out, "resumed %d pause %d drain %d epoch %d %s", (int)a->epoch, (int)(a->pause_ns / MS), (int)(a->drain_ns / MS),
				       (int)(a->epoch_ns / MS), relay_want_name(a->want));
		break;
	case RELAY_FAILED:
		g_string_append_printf(out, "failed at %d: %s", (int)a->offset, a->reason);
		break;
	}
	g_string_append(out, "; ");
}

#define expect(r, text) expect_at(r, text, __LINE__)
static void
expect_at(struct relay *r, const char *text, int line)
{
	g_autoptr(GString) out = g_string_new(NULL);
	struct relay_action a;

	while (relay_next(r, &a)) {
		describe(&a, out);
		relay_action_clear(&a);
	}
	if (strcmp(out->str, text) != 0)
		fail_msg("line %d:\n got  %s\n want %s", line, out->str, text);
}

static void
send(struct relay *r, uint64_t now, const GByteArray *b)
{
	g_autoptr(GBytes) bytes = piece(b, 0, b->len);

	relay_from_qemu(r, now, bytes);
}

static void
say(struct relay *r, uint64_t now, enum colo_message message)
{
	g_autoptr(GByteArray) b = g_byte_array_new();

	put(b, message, 4);
	send(r, now, b);
}

static struct relay *
live_relay(const struct relay_limits *l)
{
	struct relay *r = relay_new(l);
	g_autoptr(GByteArray) b = initial_stream();

	send(r, 0, b);
	expect(r, "stream 45386; ");
	relay_peer_ready(r, 0);
	expect(r, "end; ");
	relay_tracked(r, 0);
	expect(r, "to-qemu checkpoint-ready; live; ");
	return r;
}

/* What QEMU sends after VMSTATE_SEND: 4158 bytes. */
static GByteArray *
checkpoint(void)
{
	GByteArray *b = g_byte_array_new();

	put_section(b, QEMU_VM_SECTION_END);
	put_page(b, 1, 2, false, 0x21);
	put_page(b, 0, 3, true, 0);
	put_section_end(b);
	put_device_state(b, 0xd1, 7);
	return b;
}

/* From REQUEST to LOADED, boundary closed at once. */
static void
make_checkpoint(struct relay *r, uint64_t now)
{
	g_autoptr(GByteArray) b = checkpoint();

	say(r, now, COLO_VMSTATE_SEND);
	relay_boundary_done(r, now, relay_epoch(r));
	send(r, now, b);
}

static void
the_initial_migration_passes_through(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = initial_stream();
	g_autoptr(GBytes) head = piece(b, 0, 100), tail = piece(b, 100, b->len), back = g_bytes_new("\0\2\0\4\0\0\0\1", 8);

	relay_from_qemu(r, 0, head);
	expect(r, "stream 100; ");
	relay_from_peer_return_path(r, 0, back);
	expect(r, "to-qemu ? checkpoint-request; ");	/* MIG_RP_MSG_PONG of 4 bytes, 1 */
	assert_true(relay_peer_due_since(r) == UINT64_MAX);
	relay_from_qemu(r, 5, tail);
	expect(r, "stream 45286; ");
	assert_true(relay_peer_due_since(r) == 5);
	assert_int_equal(relay_epoch(r), 0);
	relay_peer_ready(r, 7);
	expect(r, "end; ");
	assert_int_equal(relay_epoch(r), 0);
	relay_tracked(r, 8);
	expect(r, "to-qemu checkpoint-ready; live; ");
	assert_int_equal(relay_epoch(r), 1);
	assert_true(relay_peer_due_since(r) == UINT64_MAX);
}

/* -- QEMU is let go when the initial stream is over ------------------------------------------------------------------------------------ */

static GByteArray *
described_stream(void)
{
	GByteArray *b = initial_stream();

	put_description(b);
	return b;
}

/* The guest does not stand though the peer is not ready. */
static bool
let_go(const struct relay *r)
{
	return relay_epoch(r) == 0 && (relay_awaits_request(r) || relay_waiting(r));
}

static void
send_piece(struct relay *r, uint64_t now, const GByteArray *b, size_t from, size_t to)
{
	g_autoptr(GBytes) bytes = piece(b, from, to);

	relay_from_qemu(r, now, bytes);
}

static void
the_guest_does_not_stand_for_the_peer(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = described_stream();
	g_autoptr(GBytes) back = g_bytes_new("\0\1\0\4\0\0\0\0", 8);

	send(r, 3 * MS, b);
	expect(r, "stream 45409; end; ");
	assert_false(let_go(r));
	relay_tracked(r, 3 * MS);
	expect(r, "to-qemu checkpoint-ready; ");
	assert_true(let_go(r));
	relay_tracked(r, 3 * MS);	/* once */
	assert_true(relay_peer_due_since(r) == 3 * MS);
	say(r, 4 * MS, COLO_REQUEST);
	relay_want_checkpoint(r, 5 * MS, RELAY_WANT_BUSY);	/* nothing to make one of */
	relay_from_peer_return_path(r, 6 * MS, back);
	relay_tick(r, 2000 * MS);
	expect(r, "");
	assert_true(relay_deadline(r) == UINT64_MAX);
	assert_int_equal(relay_epoch(r), 0);
	relay_peer_ready(r, 3000 * MS);
	expect(r, "live; ");
	assert_false(let_go(r));
	assert_true(relay_peer_due_since(r) == UINT64_MAX);
	assert_int_equal(relay_epoch(r), 1);
	relay_tick(r, 3999 * MS);
	expect(r, "");
	relay_tick(r, 4000 * MS);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
the_peer_may_be_ready_before_the_first_request(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = described_stream();

	send(r, 0, b);
	relay_tracked(r, 0);
	relay_peer_ready(r, 1 * MS);
	expect(r, "stream 45409; end; to-qemu checkpoint-ready; live; ");
	say(r, 2 * MS, COLO_REQUEST);
	relay_tick(r, 1001 * MS);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
the_way_back_ends_before_ready(void **state)
{
	struct relay_limits l = limits;
	g_autoptr(GByteArray) b = described_stream();

	l.return_path = true;
	g_autoptr(relay) r = relay_new(&l);
	send(r, 0, b);
	relay_tracked(r, 0);
	expect(r, "stream 45409; end; to-qemu ? checkpoint-ready; to-qemu checkpoint-ready; ");	/* MIG_RP_MSG_SHUT of 4 bytes, 0 */
}

/* It may have loaded everything while we make sure that QEMU notes what its guest writes. */
static void
the_peer_may_be_ready_before_the_guest_runs(void **state)
{
	struct relay_limits l = limits;
	g_autoptr(GByteArray) b = described_stream();
	g_autoptr(GBytes) back = g_bytes_new("\0\1\0\4\0\0\0\0", 8);

	l.return_path = true;
	g_autoptr(relay) r = relay_new(&l);
	send(r, 0, b);
	relay_from_peer_return_path(r, 1 * MS, back);	/* the end, which QEMU gets from us */
	assert_true(relay_peer_due_since(r) == 0);
	relay_peer_ready(r, 1 * MS);
	expect(r, "stream 45409; end; ");
	assert_int_equal(relay_epoch(r), 0);
	assert_true(relay_peer_due_since(r) == UINT64_MAX);	/* what is missing is ours */
	relay_tracked(r, 2 * MS);
	expect(r, "to-qemu ? checkpoint-ready; to-qemu checkpoint-ready; live; ");
	assert_int_equal(relay_epoch(r), 1);
}

/* Its way back had its end from the peer. */
static void
a_stream_whose_end_is_not_seen_ends_with_the_peer(void **state)
{
	struct relay_limits l = limits;
	g_autoptr(GByteArray) b = initial_stream();
	g_autoptr(GBytes) back = g_bytes_new("\0\1\0\4\0\0\0\0", 8);

	l.return_path = true;
	g_autoptr(relay) r = relay_new(&l);
	send(r, 0, b);
	relay_tracked(r, 0);	/* nobody asked */
	relay_from_peer_return_path(r, 1 * MS, back);
	expect(r, "stream 45386; to-qemu ? checkpoint-ready; ");
	relay_peer_ready(r, 1 * MS);
	relay_tracked(r, 2 * MS);
	expect(r, "end; to-qemu checkpoint-ready; live; ");
}

static void
qemu_says_nothing_before_it_may_go_on(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = described_stream();

	send(r, 0, b);
	say(r, 0, COLO_REQUEST);
	relay_tracked(r, 0);
	expect(r, "stream 45409; end; failed at 45409: QEMU sent something (0x00000001) while it waits for an answer; ");
}

static void
every_split_shows_the_end(void **state)
{
	g_autoptr(GByteArray) b = described_stream();

	for (size_t at = b->len - 60; at < b->len; at++) {
		g_autoptr(relay) r = relay_new(&limits);
		g_autofree char *want = g_strdup_printf("stream 100; stream %d; ", (int)at - 100), *rest = g_strdup_printf("stream %d; end; ", (int)(b->len - at));

		send_piece(r, 0, b, 0, 100);
		send_piece(r, 0, b, 100, at);
		expect(r, want);
		assert_false(let_go(r));
		send_piece(r, 0, b, at, b->len);
		expect(r, rest);
	}
}

/* Each differs in one byte from a description that ends the stream. */
static void
what_is_no_description_ends_nothing(void **state)
{
	static const unsigned from_end[] = { 23, 22, 21, 18, 17, 1 };

	for (unsigned i = 0; i < G_N_ELEMENTS(from_end); i++) {
		g_autoptr(relay) r = relay_new(&limits);
		g_autoptr(GByteArray) b = described_stream();

		b->data[b->len - from_end[i]] ^= 1;
		send(r, 0, b);
		expect(r, "stream 45409; ");
		relay_peer_ready(r, 0);
		relay_tracked(r, 0);
		expect(r, "end; to-qemu checkpoint-ready; live; ");
	}
}

/* A guest may have written it where its devices keep it. */
static void
a_stream_that_goes_on_behind_a_description_is_refused(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = described_stream(), more = g_byte_array_new();

	send(r, 0, b);
	relay_tracked(r, 0);
	put(more, 0x12345678, 4);
	send(r, 0, more);
	expect(r, "stream 45409; end; to-qemu checkpoint-ready; failed at 45409: QEMU sent 0x12345678 (?) instead of checkpoint-request; ");
}

static void
devices_have_a_limit(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GByteArray) b = initial_stream(), devices = g_byte_array_new();

	send(r, 0, b);
	g_byte_array_set_size(devices, 5 << 20);
	memset(devices->data, '}', devices->len);
	for (unsigned i = 0; i < 3; i++)
		send(r, 0, devices);
	expect(r, "stream 45386; stream 5242880; stream 5242880; stream 5242880; ");
	send(r, 0, devices);
	expect(r, "stream 5242880; failed at 21016906: more than 100 bytes of devices; ");
}

/* -- checkpoints ------------------------------------------------------------------------------------------------------------------------- */

static void
a_checkpoint_from_request_to_loaded(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);
	g_autoptr(GByteArray) b = checkpoint();

	say(r, 1 * MS, COLO_REQUEST);
	expect(r, "");
	assert_true(relay_deadline(r) == 1000 * MS);
	relay_want_checkpoint(r, 20 * MS, RELAY_WANT_DIFFERENCE);
	expect(r, "to-qemu checkpoint-reply; ");
	assert_true(relay_stopping(r));
	assert_true(relay_stopping_since(r) == 20 * MS);
	say(r, 21 * MS, COLO_VMSTATE_SEND);
	expect(r, "paused 1; begin 1; ");
	send(r, 23 * MS, b);
	expect(r, "data 1 4158; seal 1 4158 pages 2 zero 1; ");
	relay_boundary_done(r, 24 * MS, 1);
	expect(r, "to-qemu vmstate-received vmstate-loaded; resumed 1 pause 3 drain 1 epoch 21 difference; ");
	assert_false(relay_stopping(r));
	assert_true(relay_stopping_since(r) == UINT64_MAX);
	assert_int_equal(relay_epoch(r), 2);
}

/* QEMU owes something from each of our answers until its next question, and every byte counts as a sign of life. */
static void
a_hang_is_the_time_since_qemu_was_heard(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);
	g_autoptr(GByteArray) b = checkpoint();
	g_autoptr(GBytes) head = piece(b, 0, 100), tail = piece(b, 100, b->len);

	assert_true(relay_waiting_since(r) == 0);		/* READY was passed at 0 */
	say(r, 1 * MS, COLO_REQUEST);
	assert_true(relay_waiting_since(r) == UINT64_MAX);	/* now it is our turn */
	relay_want_checkpoint(r, 20 * MS, RELAY_WANT_DIFFERENCE);
	assert_true(relay_waiting_since(r) == 20 * MS);
	say(r, 21 * MS, COLO_VMSTATE_SEND);
	assert_true(relay_waiting_since(r) == 21 * MS);
	relay_from_qemu(r, 22 * MS, head);
	assert_true(relay_waiting_since(r) == 22 * MS);
	relay_from_qemu(r, 23 * MS, tail);
	assert_true(relay_waiting_since(r) == UINT64_MAX);
	relay_boundary_done(r, 30 * MS, 1);
	assert_true(relay_waiting_since(r) == 30 * MS);
}

/* One transcript without the sizes of pieces, whatever the pieces are. */
static void
every_split_makes_the_same_checkpoint(void **state)
{
	g_autoptr(GByteArray) b = g_byte_array_new();
	g_autoptr(GByteArray) c = checkpoint();

	put(b, COLO_VMSTATE_SEND, 4);
	g_byte_array_append(b, c->data, c->len);
	put(b, COLO_REQUEST, 4);	/* QEMU cannot be that early, but the cut must be exact */
	for (size_t split = 1; split < b->len - 4; split++) {
		g_autoptr(relay) r = live_relay(&limits);
		g_autoptr(GBytes) head = piece(b, 0, split), tail = piece(b, split, b->len);
		g_autoptr(GByteArray) data = g_byte_array_new();
		struct relay_action a;
		bool resumed = false;

		say(r, 0, COLO_REQUEST);
		relay_want_checkpoint(r, 20 * MS, RELAY_WANT_DISK);
		relay_from_qemu(r, 20 * MS, head);
		if (split >= 4)
			relay_boundary_done(r, 20 * MS, 1);
		relay_from_qemu(r, 20 * MS, tail);
		while (relay_next(r, &a)) {
			if (a.type == RELAY_CHECKPOINT_DATA)
				g_byte_array_append(data, g_bytes_get_data(a.bytes, NULL), (guint)g_bytes_get_size(a.bytes));
			if (a.type == RELAY_CHECKPOINT_SEAL)
				assert_true(a.length == c->len && a.checksum == XXH3_64bits(c->data, c->len) && a.pages == 2 && a.zero_pages == 1);
			resumed |= a.type == RELAY_RESUMED;
			/* When the boundary is not closed yet QEMU must not have gone on: then REQUEST is a violation. */
			assert_true(a.type != RELAY_FAILED || split < 4);
			relay_action_clear(&a);
		}
		assert_true(resumed == (split >= 4));
		assert_int_equal(data->len, c->len);
		assert_memory_equal(data->data, c->data, c->len);
	}
}

static void
an_epoch_ends_by_itself_and_never_too_early(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	say(r, 1 * MS, COLO_REQUEST);
	relay_want_checkpoint(r, 2 * MS, RELAY_WANT_TIMEOUT);
	relay_want_checkpoint(r, 3 * MS, RELAY_WANT_QUEUE_FULL);
	expect(r, "");
	assert_true(relay_deadline(r) == 10 * MS);
	relay_tick(r, 10 * MS - 1);
	expect(r, "");
	relay_tick(r, 10 * MS);
	expect(r, "to-qemu checkpoint-reply; ");
	relay_want_checkpoint(r, 10 * MS, RELAY_WANT_DISK);	/* fulfilled by this one */
	make_checkpoint(r, 12 * MS);
	expect(r, "paused 1; begin 1; data 1 4158; seal 1 4158 pages 2 zero 1; "
	       "to-qemu vmstate-received vmstate-loaded; resumed 1 pause 0 drain 2 epoch 12 timeout; ");
	say(r, 13 * MS, COLO_REQUEST);
	assert_true(relay_deadline(r) == 1012 * MS);
	relay_set_max_epoch(r, 5 * MS);		/* below the minimum: the minimum holds */
	assert_true(relay_deadline(r) == 22 * MS);
	relay_tick(r, 22 * MS);
	make_checkpoint(r, 22 * MS);
	expect(r, "to-qemu checkpoint-reply; paused 2; begin 2; data 2 4158; seal 2 4158 pages 2 zero 1; "
	       "to-qemu vmstate-received vmstate-loaded; resumed 2 pause 0 drain 0 epoch 10 epoch-limit; ");
}

static void
a_wish_before_the_request_is_kept(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	relay_want_checkpoint(r, 15 * MS, RELAY_WANT_OPERATOR);
	expect(r, "");
	assert_true(relay_deadline(r) == UINT64_MAX);
	say(r, 16 * MS, COLO_REQUEST);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
uncommitted_bytes_make_epochs_longer(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	for (unsigned i = 1; i <= 2; i++) {
		say(r, i * 100 * MS, COLO_REQUEST);
		relay_want_checkpoint(r, i * 100 * MS, RELAY_WANT_OPERATOR);
		make_checkpoint(r, i * 100 * MS);
	}
	expect(r, "to-qemu checkpoint-reply; paused 1; begin 1; data 1 4158; seal 1 4158 pages 2 zero 1; "
	       "to-qemu vmstate-received vmstate-loaded; resumed 1 pause 0 drain 0 epoch 100 operator; "
	       "to-qemu checkpoint-reply; paused 2; begin 2; data 2 4158; seal 2 4158 pages 2 zero 1; "
	       "to-qemu vmstate-received vmstate-loaded; resumed 2 pause 0 drain 0 epoch 100 operator; ");
	say(r, 300 * MS, COLO_REQUEST);
	relay_want_checkpoint(r, 300 * MS, RELAY_WANT_OPERATOR);
	relay_tick(r, 5000 * MS);
	expect(r, "");
	assert_true(relay_deadline(r) == UINT64_MAX);
	relay_committed(r, 5001 * MS, 1);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
suspended_means_the_request_stays_unanswered(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	relay_suspend(r, true);
	say(r, 1 * MS, COLO_REQUEST);
	relay_want_checkpoint(r, 50 * MS, RELAY_WANT_OPERATOR);
	relay_tick(r, 5000 * MS);
	expect(r, "");
	assert_true(relay_deadline(r) == UINT64_MAX);
	relay_suspend(r, false);
	assert_true(relay_deadline(r) <= 5000 * MS);
	relay_tick(r, 5000 * MS);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
none_is_made_before_its_time(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	relay_not_before(r, 0, 1000 * MS);
	say(r, 1 * MS, COLO_REQUEST);
	relay_want_checkpoint(r, 50 * MS, RELAY_WANT_OPERATOR);
	relay_tick(r, 999 * MS);
	expect(r, "");
	assert_int_equal(relay_deadline(r), 1000 * MS);
	relay_tick(r, 1000 * MS);
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
it_is_made_at_once_when_that_is_taken_back(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);

	relay_not_before(r, 0, 1000 * MS);
	say(r, 1 * MS, COLO_REQUEST);
	relay_not_before(r, 40 * MS, 0);
	expect(r, "");
	relay_want_checkpoint(r, 50 * MS, RELAY_WANT_OPERATOR);
	relay_not_before(r, 51 * MS, 500 * MS);		/* too late: QEMU stops the guest already */
	expect(r, "to-qemu checkpoint-reply; ");
}

static void
qemu_must_keep_to_the_order(void **state)
{
	g_autoptr(relay) early = live_relay(&limits), twice = live_relay(&limits), odd = live_relay(&limits), bad = live_relay(&limits);
	g_autoptr(GByteArray) junk = g_byte_array_new();

	say(early, 0, COLO_VMSTATE_SEND);
	expect(early, "failed at 45386: QEMU sent 0x00000003 (vmstate-send) instead of checkpoint-request; ");
	say(early, 0, COLO_REQUEST);
	relay_want_checkpoint(early, 50 * MS, RELAY_WANT_DISK);
	relay_peer_ready(early, 0);
	relay_boundary_done(early, 0, 1);
	relay_tick(early, 5000 * MS);
	expect(early, "");

	say(twice, 0, COLO_REQUEST);
	say(twice, 0, COLO_REQUEST);
	expect(twice, "failed at 45390: QEMU sent something (0x00000001) while it waits for an answer; ");

	say(odd, 0, COLO_REQUEST);
	relay_want_checkpoint(odd, 10 * MS, RELAY_WANT_DISK);
	put(junk, 0xffffffff, 4);
	send(odd, 0, junk);
	expect(odd, "to-qemu checkpoint-reply; failed at 45390: QEMU sent 0xffffffff (?) instead of vmstate-send; ");

	say(bad, 0, COLO_REQUEST);
	relay_want_checkpoint(bad, 10 * MS, RELAY_WANT_DISK);
	say(bad, 0, COLO_VMSTATE_SEND);
	send(bad, 0, junk);
	expect(bad, "to-qemu checkpoint-reply; paused 1; begin 1; failed at 45394: section type 0xff is not expected in a checkpoint; ");
}

static void
the_peer_must_keep_to_the_order(void **state)
{
	g_autoptr(relay) early = relay_new(&limits), twice = live_relay(&limits), back = live_relay(&limits), future = live_relay(&limits);
	g_autoptr(GBytes) bytes = g_bytes_new("\0\2\0\0", 4);

	relay_peer_ready(early, 0);
	expect(early, "failed at 0: the peer says READY before the end of RAM; ");
	relay_peer_ready(twice, 0);
	expect(twice, "failed at 45386: the peer says READY a second time; ");
	relay_from_peer_return_path(back, 0, bytes);
	expect(back, "failed at 45386: the peer sent return path bytes after it was ready; ");
	relay_committed(future, 0, 1);
	expect(future, "failed at 45386: the peer committed epoch 1, which was not sealed; ");
}

static void
a_stream_that_cannot_be_followed_is_refused_at_once(void **state)
{
	g_autoptr(relay) r = relay_new(&limits);
	g_autoptr(GBytes) bytes = g_bytes_new("not what QEMU sends", 19);

	relay_from_qemu(r, 0, bytes);
	expect(r, "failed at 0: not a QEMU migration stream; ");
}

/* Beyond what the standby takes there is nothing to wait for: the guest stands, and QEMU goes on. */
static void
a_checkpoint_beyond_the_limit_is_refused(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);
	g_autoptr(GByteArray) b = g_byte_array_new();

	say(r, 0, COLO_REQUEST);
	relay_want_checkpoint(r, 10 * MS, RELAY_WANT_DISK);
	say(r, 10 * MS, COLO_VMSTATE_SEND);
	put_section(b, QEMU_VM_SECTION_END);
	for (unsigned i = 0; i < 4; i++)
		put_page(b, 0, i, i == 0, 1);
	send(r, 10 * MS, b);
	expect(r, "to-qemu checkpoint-reply; paused 1; begin 1; data 1 16428; ");
	g_byte_array_set_size(b, 0);
	put_page(b, 0, 4, false, 1);
	send(r, 10 * MS, b);
	expect(r, "data 1 4104; failed at 65926: a checkpoint of more than 20000 bytes; ");
}

/* The guest may stand until the commit of a checkpoint that is whole: whoever sends it must not wait for the guest. */
static void
it_receives_from_vmstate_send_to_the_last_byte(void **state)
{
	g_autoptr(relay) r = live_relay(&limits);
	g_autoptr(GByteArray) b = checkpoint();

	say(r, 0, COLO_REQUEST);
	relay_want_checkpoint(r, 10 * MS, RELAY_WANT_DISK);
	assert_false(relay_receiving(r));
	say(r, 10 * MS, COLO_VMSTATE_SEND);
	assert_true(relay_receiving(r));
	send(r, 10 * MS, b);
	assert_false(relay_receiving(r));
	assert_true(relay_stopping(r));
	relay_boundary_done(r, 10 * MS, 1);
	assert_false(relay_receiving(r));
	assert_false(relay_stopping(r));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_initial_migration_passes_through),
		cmocka_unit_test(the_guest_does_not_stand_for_the_peer),
		cmocka_unit_test(the_peer_may_be_ready_before_the_first_request),
		cmocka_unit_test(the_way_back_ends_before_ready),
		cmocka_unit_test(the_peer_may_be_ready_before_the_guest_runs),
		cmocka_unit_test(a_stream_whose_end_is_not_seen_ends_with_the_peer),
		cmocka_unit_test(qemu_says_nothing_before_it_may_go_on),
		cmocka_unit_test(every_split_shows_the_end),
		cmocka_unit_test(what_is_no_description_ends_nothing),
		cmocka_unit_test(a_stream_that_goes_on_behind_a_description_is_refused),
		cmocka_unit_test(devices_have_a_limit),
		cmocka_unit_test(a_checkpoint_from_request_to_loaded),
		cmocka_unit_test(a_hang_is_the_time_since_qemu_was_heard),
		cmocka_unit_test(every_split_makes_the_same_checkpoint),
		cmocka_unit_test(an_epoch_ends_by_itself_and_never_too_early),
		cmocka_unit_test(a_wish_before_the_request_is_kept),
		cmocka_unit_test(uncommitted_bytes_make_epochs_longer),
		cmocka_unit_test(suspended_means_the_request_stays_unanswered),
		cmocka_unit_test(none_is_made_before_its_time),
		cmocka_unit_test(it_is_made_at_once_when_that_is_taken_back),
		cmocka_unit_test(qemu_must_keep_to_the_order),
		cmocka_unit_test(the_peer_must_keep_to_the_order),
		cmocka_unit_test(a_stream_that_cannot_be_followed_is_refused_at_once),
		cmocka_unit_test(a_checkpoint_beyond_the_limit_is_refused),
		cmocka_unit_test(it_receives_from_vmstate_send_to_the_last_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
