/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <xxhash.h>

#include "checkpoint/standby.h"
#include "tests/checkpoint/stream.h"

static const struct standby_limits limits = { .max_checkpoint_bytes = 40000, .max_held_bytes = 100000, .max_unloaded_bytes = 100000 };

static void
describe(const struct standby_action *a, GString *out)
{
	size_t length = 0;
	const uint8_t *bytes = a->bytes ? g_bytes_get_data(a->bytes, &length) : NULL;

	switch (a->type) {
	case STANDBY_TO_QEMU:
		g_string_append_printf(out, length == 4 ? "to-qemu %s" : "to-qemu", length == 4 ? colo_message_name(bytes[3]) : "");
		break;
	case STANDBY_RETURN_PATH:
		g_string_append_printf(out, "return %d", (int)length);
		break;
	case STANDBY_READY:
		g_string_append(out, "ready");
		break;
	case STANDBY_COMMITTED:
		g_string_append_printf(out, "committed %d", (int)a->epoch);
		break;
	case STANDBY_LOAD_WANTED:
		g_string_append_printf(out, "load %d?", (int)a->epoch);
		break;
	case STANDBY_STOPPED:
		g_string_append_printf(out, "stopped %d", (int)a->epoch);
		break;
	case STANDBY_LOADED:
		g_string_append_printf(out, "loaded %d pages %d in %d stopped %d", (int)a->epoch, (int)a->pages, (int)a->load_ns, (int)a->stop_ns);
		break;
	case STANDBY_FAILED:
		g_string_append_printf(out, "failed at %d: %s", (int)a->offset, a->reason);
		break;
	}
	g_string_append(out, "; ");
}

/* Pieces of a checkpoint for QEMU are gathered in `sent`, not shown one by one. */
#define expect(s, text) expect_at(s, NULL, text, __LINE__)
static void
expect_at(struct standby *s, GByteArray *sent, const char *text, int line)
{
	g_autoptr(GString) out = g_string_new(NULL);
	struct standby_action a;

	while (standby_next(s, &a)) {
		if (sent && a.type == STANDBY_TO_QEMU)
			g_byte_array_append(sent, g_bytes_get_data(a.bytes, NULL), (guint)g_bytes_get_size(a.bytes));
		else
			describe(&a, out);
		standby_action_clear(&a);
	}
	if (strcmp(out->str, text) != 0)
		fail_msg("line %d:\n got  %s\n want %s", line, out->str, text);
}

static void
stream(struct standby *s, const GByteArray *b)
{
	g_autoptr(GBytes) bytes = piece(b, 0, b->len);

	standby_stream(s, 0, bytes);
}

static void
say(struct standby *s, uint64_t now, const char *data, size_t length)
{
	g_autoptr(GBytes) bytes = g_bytes_new(data, length);

	standby_from_qemu(s, now, bytes);
}
#define SAY(s, now, literal) say(s, now, literal, sizeof(literal) - 1)
#define REPLY "\0\0\0\2"
#define RECEIVED "\0\0\0\5"
#define LOADED "\0\0\0\6"

static struct standby *
live_standby(const struct standby_limits *l)
{
	struct standby *s = standby_new(l);
	g_autoptr(GByteArray) b = initial_stream();

	stream(s, b);
	expect(s, "to-qemu; ");
	SAY(s, 0, "\0\2\0\4\0\0\0\1" "\0\1\0\4\0\0\0\0" "\0\0\0\0");
	expect(s, "return 16; ready; ");
	standby_live(s, 0);
	return s;
}

/* A checkpoint of one epoch: pages given as (block, page, named, fill), ended by a block of -1. */
struct page {
	int block;
	unsigned page;
	bool named;
	uint8_t fill;
};

static GByteArray *
checkpoint(const struct page *pages, uint8_t state)
{
	GByteArray *b = g_byte_array_new();

	put_section(b, QEMU_VM_SECTION_END);
	for (; pages->block >= 0; pages++)
		put_page(b, (unsigned)pages->block, pages->page, pages->named, pages->fill);
	put_section_end(b);
	put_device_state(b, state, 3);
	return b;
}

static void
receive_as(struct standby *s, uint64_t epoch, const GByteArray *b, size_t size, uint64_t checksum)
{
	standby_checkpoint_begin(s, 0, epoch);
	for (size_t at = 0; at < b->len; at += size) {
		g_autoptr(GBytes) bytes = piece(b, at, MIN(at + size, b->len));
		standby_checkpoint_data(s, 0, epoch, bytes);
	}
	standby_checkpoint_seal(s, 0, epoch, b->len, checksum);
}

static void
receive(struct standby *s, uint64_t epoch, const struct page *pages, size_t size)
{
	g_autoptr(GByteArray) b = checkpoint(pages, (uint8_t)(0xd0 + epoch));

	receive_as(s, epoch, b, size, XXH3_64bits(b->data, b->len));
}

static void
the_return_path_passes_until_ready(void **state)
{
	static const char back[] = "\0\2\0\4\0\0\0\1" "\0\4\0\0" "\0\1\0\4\0\0\0\0" "\0\0\0\0";

	for (size_t size = 1; size < sizeof back; size++) {
		g_autoptr(standby) s = standby_new(&limits);
		g_autoptr(GByteArray) b = initial_stream(), got = g_byte_array_new();
		struct standby_action a;
		unsigned ready = 0;

		stream(s, b);
		for (size_t at = 0; at < sizeof back - 1; at += size)
			say(s, 0, back + at, MIN(size, sizeof back - 1 - at));
		while (standby_next(s, &a)) {
			if (a.type == STANDBY_RETURN_PATH)
				g_byte_array_append(got, g_bytes_get_data(a.bytes, NULL), (guint)g_bytes_get_size(a.bytes));
			ready += a.type == STANDBY_READY;
			standby_action_clear(&a);
		}
		assert_int_equal(ready, 1);
		assert_int_equal(got->len, 20);
		assert_memory_equal(got->data, back, 20);
	}
}

static void
ready_without_a_return_path(void **state)
{
	g_autoptr(standby) s = standby_new(&limits);
	g_autoptr(GByteArray) b = initial_stream();

	stream(s, b);
	expect(s, "to-qemu; ");
	assert_false(standby_settled(s));
	SAY(s, 0, "\0\0\0\0");
	expect(s, "ready; ");
	assert_true(standby_settled(s));
}

static void
a_checkpoint_is_committed_then_loaded(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	g_autoptr(GByteArray) sent = g_byte_array_new(), want = g_byte_array_new();
	static const struct page pages[] = { { 1, 2, false, 7 }, { 1, 3, false, 0 }, { 0, 1, true, 8 }, { 0, 2, false, 9 }, { -1 } };

	receive(s, 1, pages, 1000);
	expect(s, "");
	standby_disk_mark(s, 0, 1);
	expect(s, "committed 1; load 1?; ");
	assert_false(standby_settled(s));
	assert_false(standby_loading(s));
	standby_disk_applied(s, 100, 1);
	expect(s, "to-qemu checkpoint-request; ");
	assert_true(standby_loading(s));
	assert_true(standby_waiting_since(s) == 100);
	SAY(s, 110, REPLY);
	assert_true(standby_waiting_since(s) == 110);
	expect_at(s, sent, "stopped 1; ", __LINE__);
	SAY(s, 120, RECEIVED);
	expect(s, "");
	SAY(s, 130, LOADED);
	expect(s, "loaded 1 pages 4 in 30 stopped 20; ");
	assert_true(standby_waiting_since(s) == UINT64_MAX);
	assert_true(standby_settled(s));
	assert_int_equal(standby_loaded_epoch(s), 1);
	assert_int_equal(standby_held_bytes(s), 0);

	/* As it came, but the first record does not rely on anything before it. */
	put(want, COLO_VMSTATE_SEND, 4);
	put_section(want, QEMU_VM_SECTION_END);
	put_page(want, 1, 2, true, 7);
	put_page(want, 1, 3, false, 0);
	put_page(want, 0, 1, true, 8);
	put_page(want, 0, 2, false, 9);
	put_section_end(want);
	put_device_state(want, 0xd1, 3);
	assert_int_equal(sent->len, want->len);
	assert_memory_equal(sent->data, want->data, want->len);
}

static void
waiting_checkpoints_become_one(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	g_autoptr(GByteArray) sent = g_byte_array_new(), want = g_byte_array_new();
	static const struct page first[] = { { 0, 0, true, 1 }, { 1, 0, true, 2 }, { 1, 1, false, 3 }, { 0, 5, true, 4 }, { 0, 6, false, 5 }, { -1 } };
	static const struct page second[] = { { 0, 5, false, 0 }, { 1, 0, true, 6 }, { 1, 2, false, 0 }, { 1, 2, false, 7 }, { -1 } };
	static const struct page third[] = { { 1, 0, false, 8 }, { -1 } };

	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 3);
	receive(s, 1, first, 999);
	receive(s, 2, second, 50);
	receive(s, 3, third, 5000);
	expect(s, "committed 1; committed 2; committed 3; ");
	standby_load_now(s, 0);
	expect(s, "load 3?; ");
	standby_disk_applied(s, 0, 3);
	SAY(s, 0, REPLY);
	expect_at(s, sent, "stopped 3; ", __LINE__);
	SAY(s, 0, RECEIVED LOADED);
	expect(s, "loaded 3 pages 6 in 0 stopped 0; ");
	put(want, COLO_REQUEST, 4);
	put(want, COLO_VMSTATE_SEND, 4);
	put_section(want, QEMU_VM_SECTION_END);
	put_page(want, 0, 0, true, 1);
	put_page(want, 1, 1, true, 3);	/* its neighbour is superseded: named again */
	put_page(want, 0, 6, true, 5);	/* the same */
	put_page(want, 0, 5, false, 0);	/* the same block as before, though of another checkpoint */
	put_page(want, 1, 2, true, 7);
	put_page(want, 1, 0, false, 8);
	put_section_end(want);
	put_device_state(want, 0xd3, 3);
	assert_int_equal(sent->len, want->len);
	assert_memory_equal(sent->data, want->data, want->len);
}

static void
the_epoch_that_was_named_is_the_one_that_is_loaded(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page one[] = { { 0, 0, true, 1 }, { -1 } }, two[] = { { 0, 0, true, 2 }, { 0, 1, false, 2 }, { -1 } };
	g_autoptr(GByteArray) sent = g_byte_array_new(), want = g_byte_array_new();

	standby_disk_mark(s, 0, 9);
	receive(s, 1, one, 5000);
	expect(s, "committed 1; load 1?; ");
	receive(s, 2, two, 5000);
	expect(s, "committed 2; ");
	standby_disk_applied(s, 0, 1);
	SAY(s, 0, REPLY);
	expect_at(s, sent, "stopped 1; ", __LINE__);
	put(want, COLO_REQUEST, 4);
	put(want, COLO_VMSTATE_SEND, 4);
	put_section(want, QEMU_VM_SECTION_END);
	put_page(want, 0, 0, true, 1);
	put_section_end(want);
	put_device_state(want, 0xd1, 3);
	assert_int_equal(sent->len, want->len);
	assert_memory_equal(sent->data, want->data, want->len);
	receive(s, 3, one, 5000);
	SAY(s, 0, RECEIVED LOADED);
	expect(s, "committed 3; loaded 1 pages 1 in 0 stopped 0; load 3?; ");
	standby_disk_applied(s, 0, 3);
	SAY(s, 0, REPLY RECEIVED LOADED);
	g_byte_array_set_size(sent, 0);
	expect_at(s, sent, "stopped 3; loaded 3 pages 2 in 0 stopped 0; ", __LINE__);
}

static void
a_page_that_is_always_written_is_held_once(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page hot[] = { { 0, 0, true, 1 }, { 0, 1, false, 2 }, { 0, 2, false, 3 }, { -1 } };

	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 1000);
	for (unsigned i = 1; i <= 1000; i++)
		receive(s, i, hot, 4096);
	assert_int_equal(standby_committed_epoch(s), 1000);
	assert_true(standby_held_bytes(s) < 20000);
}

static void
the_mark_comes_before_or_after_the_seal(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page p[] = { { 0, 0, true, 1 }, { -1 } };

	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 1);
	receive(s, 1, p, 5000);
	expect(s, "committed 1; ");
	receive(s, 2, p, 5000);
	receive(s, 3, p, 5000);
	expect(s, "");
	standby_disk_mark(s, 0, 3);
	expect(s, "committed 2; committed 3; ");
}

static void
after_the_peers_loss_what_is_committed_is_loaded(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page p[] = { { 0, 0, true, 1 }, { -1 } };

	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 2);
	for (unsigned i = 1; i <= 3; i++)
		receive(s, i, p, 5000);	/* 3 has no mark */
	standby_checkpoint_begin(s, 0, 4);
	expect(s, "committed 1; committed 2; ");
	standby_peer_lost(s, 0);
	expect(s, "load 2?; ");
	standby_disk_mark(s, 0, 3);	/* too late */
	standby_disk_applied(s, 0, 2);
	SAY(s, 0, REPLY RECEIVED LOADED);
	g_autoptr(GByteArray) sent = g_byte_array_new();
	expect_at(s, sent, "stopped 2; loaded 2 pages 1 in 0 stopped 0; ", __LINE__);
	assert_true(standby_settled(s));
	assert_int_equal(standby_held_bytes(s), 0);
}

/* Each case gets a live standby with epoch 1 committed lazily, and must end with its failure; epoch 1 is loaded nevertheless. */
static void
fault(void (*act)(struct standby *s), const char *text, int line)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page p[] = { { 0, 0, true, 1 }, { -1 } };
	g_autofree char *want = g_strconcat("failed at ", text, "; load 1?; ", NULL);

	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 9);
	receive(s, 1, p, 5000);
	expect_at(s, NULL, "committed 1; ", line);
	act(s);
	expect_at(s, NULL, want, line);
	receive(s, 2, p, 5000);		/* nothing is taken any more */
	expect_at(s, NULL, "", line);
	standby_disk_applied(s, 0, 1);
	SAY(s, 0, REPLY RECEIVED LOADED);
	assert_true(standby_settled(s));
}

static void
data(struct standby *s, uint64_t epoch, const char *bytes, size_t length)
{
	g_autoptr(GBytes) b = g_bytes_new(bytes, length);

	standby_checkpoint_data(s, 0, epoch, b);
}

static void begins_out_of_order(struct standby *s) { standby_checkpoint_begin(s, 0, 3); }
static void data_without_begin(struct standby *s) { data(s, 2, "x", 1); }
static void seal_without_begin(struct standby *s) { standby_checkpoint_seal(s, 0, 2, 0, 0); }
static void goes_live_twice(struct standby *s) { standby_live(s, 0); }

static void
begins_twice(struct standby *s)
{
	standby_checkpoint_begin(s, 0, 2);
	standby_checkpoint_begin(s, 0, 3);
}

static void
streams_late(struct standby *s)
{
	g_autoptr(GBytes) b = g_bytes_new("x", 1);

	standby_stream(s, 0, b);
}

static void
sends_junk(struct standby *s)
{
	standby_checkpoint_begin(s, 0, 2);
	data(s, 2, "\x03\0\0\0\2\0\0\0\0\0\0\0\x40", 13);
}

static void
seals_early(struct standby *s)
{
	standby_checkpoint_begin(s, 0, 2);
	data(s, 2, "\x03", 1);
	standby_checkpoint_seal(s, 0, 2, 1, XXH3_64bits("\x03", 1));
}

static void
wrong_length(struct standby *s)
{
	standby_checkpoint_begin(s, 0, 2);
	standby_checkpoint_seal(s, 0, 2, 1, 0);
}

static void
wrong_checksum(struct standby *s)
{
	g_autoptr(GByteArray) b = checkpoint(&(struct page){ -1 }, 1);

	receive_as(s, 2, b, 5000, XXH3_64bits(b->data, b->len) ^ 1);
}

static void
more_than_a_checkpoint(struct standby *s)
{
	g_autoptr(GByteArray) b = checkpoint(&(struct page){ -1 }, 1);

	put(b, 0, 1);
	receive_as(s, 2, b, 5000, XXH3_64bits(b->data, b->len));
}

static void
too_large(struct standby *s)
{
	g_autofree char *zeros = g_malloc0(40001);

	standby_checkpoint_begin(s, 0, 2);
	data(s, 2, zeros, 40001);
}

#define FAULT(act, text) fault(act, text, __LINE__)
static void
a_fault_of_the_peer_is_its_loss(void **state)
{
	FAULT(begins_out_of_order, "0: checkpoint 3 begins after 1");
	FAULT(begins_twice, "0: checkpoint 3 begins after 2, which is not sealed");
	FAULT(data_without_begin, "0: data of checkpoint 2, which is not open");
	FAULT(seal_without_begin, "0: seal of checkpoint 2, which is not open");
	FAULT(goes_live_twice, "0: the peer went live a second time");
	FAULT(streams_late, "0: the peer sent migration stream after READY");
	FAULT(sends_junk, "5: RAM record with flags 0x40");
	FAULT(seals_early, "1: checkpoint 2 is sealed before its end");
	FAULT(wrong_length, "0: checkpoint of 0 bytes is sealed with 1");
	FAULT(wrong_checksum, "34: checksum of checkpoint 2 is wrong");
	FAULT(more_than_a_checkpoint, "34: bytes after the end of the checkpoint");
	FAULT(too_large, "0: a checkpoint of more than 40000 bytes");
}

static void
memory_has_a_limit(void **state)
{
	g_autoptr(standby) s = live_standby(&limits);
	static const struct page six[] = { { 0, 1, true, 1 }, { 0, 2, false, 1 }, { 0, 3, false, 1 }, { 0, 4, false, 1 }, { 0, 5, false, 1 }, { 0, 6, false, 1 }, { -1 } };

	for (unsigned i = 1; i <= 5; i++)	/* no mark: nothing is committed, so nothing is merged */
		receive(s, i, six, 5000);
	expect(s, "failed at 20000: checkpoints not loaded yet take more than 100000 bytes; ");
	assert_int_equal(standby_held_bytes(s), 0);
}

/* Committed and not loaded: one may go beyond the limit, the next one waits, and what waits makes the load come. */
static void
commits_wait_for_room(void **state)
{
	struct standby_limits tight = limits;
	static const struct page two[] = { { 0, 1, true, 1 }, { 0, 2, false, 1 }, { -1 } }, others[] = { { 0, 3, true, 1 }, { 0, 4, false, 1 }, { -1 } };

	tight.max_unloaded_bytes = 10000;
	g_autoptr(standby) s = live_standby(&tight);
	standby_set_lazy(s, 0, true);
	standby_disk_mark(s, 0, 9);
	receive(s, 1, two, 5000);
	expect(s, "committed 1; ");		/* larger than the limit, perhaps; but nothing else is there to be loaded */
	receive(s, 2, others, 5000);
	expect(s, "load 1?; ");
	receive(s, 3, two, 5000);
	standby_disk_applied(s, 0, 1);
	expect(s, "to-qemu checkpoint-request; ");
	SAY(s, 0, REPLY);
	SAY(s, 0, RECEIVED LOADED);
	expect(s, "stopped 1; to-qemu; to-qemu; to-qemu; to-qemu; to-qemu; loaded 1 pages 2 in 0 stopped 0; committed 2; load 2?; ");
	assert_int_equal(standby_committed_epoch(s), 2);
	standby_disk_applied(s, 0, 2);
	SAY(s, 0, REPLY);
	SAY(s, 0, RECEIVED LOADED);
	assert_int_equal(standby_committed_epoch(s), 3);
	/* and when the peer is lost, what waited was never said to be safe */
	standby_peer_lost(s, 0);
	assert_int_equal(standby_committed_epoch(s), 3);
}

static void
qemu_fault(const char *said, size_t length, const char *text, int line)
{
	g_autoptr(standby) s = live_standby(&limits);
	g_autoptr(GByteArray) sent = g_byte_array_new();
	static const struct page p[] = { { 0, 0, true, 1 }, { -1 } };

	standby_disk_mark(s, 0, 9);
	receive(s, 1, p, 5000);
	standby_disk_applied(s, 0, 1);
	expect_at(s, sent, "committed 1; load 1?; ", line);
	say(s, 0, said, length);
	expect_at(s, sent, text, line);
	assert_false(standby_settled(s));
	receive(s, 2, p, 5000);
	standby_peer_lost(s, 0);
	expect_at(s, sent, "", line);
}
#define QEMU_FAULT(said, text) qemu_fault(said, sizeof(said) - 1, text, __LINE__)

static void
a_fault_of_qemu_ends_everything(void **state)
{
	QEMU_FAULT(RECEIVED, "failed at 24: QEMU sent 0x00000005 (vmstate-received) instead of checkpoint-reply; ");
	QEMU_FAULT(REPLY LOADED, "stopped 1; failed at 28: QEMU sent 0x00000006 (vmstate-loaded) instead of vmstate-received; ");
	QEMU_FAULT(REPLY RECEIVED RECEIVED, "stopped 1; failed at 32: QEMU sent 0x00000005 (vmstate-received) instead of vmstate-loaded; ");
	QEMU_FAULT(REPLY RECEIVED LOADED LOADED,
		   "stopped 1; loaded 1 pages 1 in 0 stopped 0; failed at 36: QEMU sent 0x00000006 (vmstate-loaded) without being asked; ");
	QEMU_FAULT("\x7f\0\0\1", "failed at 24: QEMU sent 0x7f000001 (?) instead of checkpoint-reply; ");
}

static void
nothing_but_ready_follows_shut(void **state)
{
	g_autoptr(standby) s = standby_new(&limits), early = standby_new(&limits);
	g_autoptr(GByteArray) b = initial_stream();

	stream(s, b);
	SAY(s, 0, "\0\1\0\4\0\0\0\0" "\0\2\0\4\0\0\0\0");
	expect(s, "to-qemu; return 8; failed at 12: return path message of type 2 and 4 bytes where READY was expected; ");
	SAY(early, 0, "\0\0\0\0");
	expect(early, "failed at 4: QEMU says READY before the end of RAM; ");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_return_path_passes_until_ready),
		cmocka_unit_test(ready_without_a_return_path),
		cmocka_unit_test(a_checkpoint_is_committed_then_loaded),
		cmocka_unit_test(waiting_checkpoints_become_one),
		cmocka_unit_test(the_epoch_that_was_named_is_the_one_that_is_loaded),
		cmocka_unit_test(a_page_that_is_always_written_is_held_once),
		cmocka_unit_test(the_mark_comes_before_or_after_the_seal),
		cmocka_unit_test(after_the_peers_loss_what_is_committed_is_loaded),
		cmocka_unit_test(a_fault_of_the_peer_is_its_loss),
		cmocka_unit_test(memory_has_a_limit),
		cmocka_unit_test(commits_wait_for_room),
		cmocka_unit_test(a_fault_of_qemu_ends_everything),
		cmocka_unit_test(nothing_but_ready_follows_shut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
