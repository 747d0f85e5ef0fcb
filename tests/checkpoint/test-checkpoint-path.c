/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relay and standby wired to each other between two toy QEMUs, seeded: a primary that writes random pages and says what QEMU says, in pieces of
 * random sizes, and a secondary that takes random time. Whenever the secondary has loaded epoch N, its RAM and devices are the primary's of
 * the end of epoch N. Then the primary is lost in the middle of a checkpoint.
 */
#include "checkpoint/relay.h"
#include "checkpoint/standby.h"
#include "tests/checkpoint/stream.h"

#define EPOCHS 40
#define BLOCKS G_N_ELEMENTS(test_blocks)
#define MS 1000000u

struct ram {
	uint8_t page[BLOCKS][8];	/* the byte that fills it */
};

struct world {
	GRand *rand;
	uint64_t now;
	struct relay *relay;
	struct standby *standby;
	GByteArray *from_a;		/* bytes of the primary's QEMU not yet given to the relay */
	unsigned a_last;		/* block of the last page sent: what CONTINUE means */
	struct ram a, b;
	struct ram history[EPOCHS + 32];	/* the primary's at the end of each epoch */
	uint64_t epoch;			/* the primary's */

	GByteArray *to_b, *from_b;
	struct migration_reader *b_reader;
	uint64_t wanted;		/* LOAD_WANTED not answered yet */
	uint64_t loaded;
	unsigned loads;
};

static bool
chance(struct world *w, unsigned percent)
{
	return (unsigned)g_rand_int_range(w->rand, 0, 100) < percent;
}

static void
a_changes_and_sends(struct world *w, unsigned pages)
{
	for (; pages > 0; pages--) {
		unsigned block = chance(w, 70) ? w->a_last : (unsigned)g_rand_int_range(w->rand, 0, BLOCKS);
		unsigned page = (unsigned)g_rand_int_range(w->rand, 0, (gint32)test_blocks[block].pages);
		uint8_t fill = chance(w, 30) ? 0 : (uint8_t)g_rand_int_range(w->rand, 1, 256);
		w->a.page[block][page] = fill;
		put_page(w->from_a, block, page, block != w->a_last || chance(w, 10), fill);
		w->a_last = block;
	}
}

/* The answer to REPLY. */
static void
a_makes_checkpoint(struct world *w)
{
	put(w->from_a, COLO_VMSTATE_SEND, 4);
	if (chance(w, 20)) {
		put_section(w->from_a, QEMU_VM_SECTION_PART);
		a_changes_and_sends(w, 2);
		put_section_end(w->from_a);
	}
	put_section(w->from_a, QEMU_VM_SECTION_END);
	a_changes_and_sends(w, (unsigned)g_rand_int_range(w->rand, 0, 7));
	put_section_end(w->from_a);
	put_device_state(w->from_a, (uint8_t)w->epoch, 3);
	w->history[w->epoch] = w->a;
}

static void
a_takes(struct world *w, GBytes *bytes)
{
	size_t length;
	const uint8_t *d = g_bytes_get_data(bytes, &length);

	for (size_t at = 0; at + 4 <= length; at += 4) {
		enum colo_message m;
		if (!colo_message_decode(d + at, &m))
			return;		/* return path of the initial migration */
		if (m == COLO_REPLY)
			a_makes_checkpoint(w);
		if (m == COLO_VMSTATE_LOADED || (m == COLO_READY && length == 4))
			put(w->from_a, COLO_REQUEST, 4);
	}
}

static void
b_page(struct world *w, const struct migration_event *e, const uint8_t *payload)
{
	for (uint64_t i = 0; i < e->payload; i++)
		assert_int_equal(payload[i], payload[0]);
	if (e->zero)
		assert_int_equal(payload[0], 0);
	w->b.page[e->block][e->address / PAGE_BYTES] = payload[0];
}

/* Reads the bytes that are there; true at the end of a checkpoint. Pages are contiguous: the standby queues a checkpoint all at once. */
static bool
b_reads(struct world *w, size_t from)
{
	struct byte_reader in = byte_reader_init(w->to_b->data + from, w->to_b->len - from);
	uint64_t base = migration_reader_offset(w->b_reader);
	struct migration_event e;

	while (migration_reader_next(w->b_reader, &in, &e) != MIGRATION_NEED_MORE) {
		if (e.type == MIGRATION_ERROR)
			fail_msg("secondary: %s", migration_reader_error(w->b_reader));
		if (e.type == MIGRATION_PAGE)
			b_page(w, &e, w->to_b->data + from + (e.offset - base) + e.header);
		if (e.type == MIGRATION_RAM_COMPLETE || e.type == MIGRATION_CHECKPOINT_END)
			return true;
	}
	return false;
}

static void
b_acts(struct world *w)
{
	enum colo_message m;

	if (w->to_b->len < 4)
		return;
	assert_true(colo_message_decode(w->to_b->data, &m));
	if (m == COLO_REQUEST) {
		assert_int_equal(w->to_b->len, 4);
		put(w->from_b, COLO_REPLY, 4);
	} else {
		assert_int_equal(m, COLO_VMSTATE_SEND);
		migration_reader_begin_checkpoint(w->b_reader);
		assert_true(b_reads(w, 4));
		assert_int_equal(migration_reader_offset(w->b_reader), w->to_b->len - 4);
		put(w->from_b, COLO_VMSTATE_RECEIVED, 4);
		put(w->from_b, COLO_VMSTATE_LOADED, 4);
	}
	g_byte_array_set_size(w->to_b, 0);
}

static void
do_standby(struct world *w, const struct standby_action *a)
{
	if (a->type == STANDBY_TO_QEMU)
		g_byte_array_append(w->to_b, g_bytes_get_data(a->bytes, NULL), (guint)g_bytes_get_size(a->bytes));
	if (a->type == STANDBY_RETURN_PATH)
		relay_from_peer_return_path(w->relay, w->now, a->bytes);
	if (a->type == STANDBY_READY)
		relay_peer_ready(w->relay, w->now);
	if (a->type == STANDBY_COMMITTED)
		relay_committed(w->relay, w->now, a->epoch);
	if (a->type == STANDBY_LOAD_WANTED)
		w->wanted = a->epoch;
	if (a->type == STANDBY_FAILED)
		fail_msg("standby: %s at %d", a->reason, (int)a->offset);
	if (a->type == STANDBY_LOADED) {
		assert_true(a->epoch > w->loaded);
		assert_memory_equal(&w->b, &w->history[a->epoch], sizeof w->b);
		w->loaded = a->epoch;
		w->loads++;
	}
}

static void
do_relay(struct world *w, const struct relay_action *a)
{
	if (a->type == RELAY_TO_QEMU)
		a_takes(w, a->bytes);
	if (a->type == RELAY_STREAM)
		standby_stream(w->standby, w->now, a->bytes);
	if (a->type == RELAY_STREAM_END)
		relay_tracked(w->relay, w->now);
	if (a->type == RELAY_LIVE) {
		w->epoch = 1;
		standby_live(w->standby, w->now);
	}
	if (a->type == RELAY_PAUSED) {
		relay_boundary_done(w->relay, w->now, a->epoch);
		standby_disk_mark(w->standby, w->now, a->epoch);
	}
	if (a->type == RELAY_CHECKPOINT_BEGIN)
		standby_checkpoint_begin(w->standby, w->now, a->epoch);
	if (a->type == RELAY_CHECKPOINT_DATA)
		standby_checkpoint_data(w->standby, w->now, a->epoch, a->bytes);
	if (a->type == RELAY_CHECKPOINT_SEAL)
		standby_checkpoint_seal(w->standby, w->now, a->epoch, a->length, a->checksum);
	if (a->type == RELAY_RESUMED)
		w->epoch = a->epoch + 1;
	if (a->type == RELAY_FAILED)
		fail_msg("relay: %s at %d", a->reason, (int)a->offset);
}

static void
do_actions(struct world *w)
{
	struct relay_action r;
	struct standby_action s;
	bool more = true;

	while (more) {
		more = false;
		while (relay_next(w->relay, &r)) {
			do_relay(w, &r);
			relay_action_clear(&r);
			more = true;
		}
		while (standby_next(w->standby, &s)) {
			do_standby(w, &s);
			standby_action_clear(&s);
			more = true;
		}
	}
}

/* Takes a piece of random size off the front. */
static GBytes *
some(struct world *w, GByteArray *b)
{
	gint32 most = chance(w, 50) ? 20 : 9000;
	guint wanted = (guint)g_rand_int_range(w->rand, 1, most), n = MIN(b->len, wanted);
	GBytes *bytes = g_bytes_new(b->data, n);

	g_byte_array_remove_range(b, 0, n);
	return bytes;
}

static void
secondary_side(struct world *w)
{
	if (w->from_b->len > 0) {
		g_autoptr(GBytes) bytes = some(w, w->from_b);
		standby_from_qemu(w->standby, w->now, bytes);
	} else if (w->wanted) {
		standby_disk_applied(w->standby, w->now, w->wanted);
		w->wanted = 0;
	} else if (migration_reader_ram_complete(w->b_reader)) {
		b_acts(w);
	}
}

static void
step(struct world *w)
{
	w->now += MS;
	if (w->from_a->len > 0) {
		g_autoptr(GBytes) bytes = some(w, w->from_a);
		relay_from_qemu(w->relay, w->now, bytes);
	}
	if (chance(w, 30))
		relay_want_checkpoint(w->relay, w->now, RELAY_WANT_DIFFERENCE);
	relay_tick(w->relay, w->now);
	do_actions(w);
	if (chance(w, 40))
		secondary_side(w);
	if (chance(w, 5))
		standby_set_lazy(w->standby, w->now, chance(w, 50));
	if (chance(w, 5))
		standby_load_now(w->standby, w->now);
	do_actions(w);
}

static void
go_live(struct world *w)
{
	while (w->from_a->len > 0)
		step(w);
	assert_true(b_reads(w, 0));
	w->history[0] = w->b;
	g_byte_array_set_size(w->to_b, 0);
	put(w->from_b, 0x0001000400000000, 8);	/* SHUT */
	put(w->from_b, COLO_READY, 4);
	while (relay_epoch(w->relay) == 0)
		step(w);
}

static struct world *
world_new(unsigned seed)
{
	struct relay_limits rl = { .max_epoch_ns = 50 * MS, .min_epoch_ns = 2 * MS, .max_unacked_bytes = 100000, .max_device_state = 100, .max_checkpoint_bytes = 1 << 20 };
	struct standby_limits sl = { .max_checkpoint_bytes = 100000, .max_held_bytes = 4000000, .max_unloaded_bytes = 30000 };
	struct world *w = g_new0(struct world, 1);

	w->rand = g_rand_new_with_seed(seed);
	w->relay = relay_new(&rl);
	w->standby = standby_new(&sl);
	w->from_a = initial_stream();
	w->a_last = 1;
	w->to_b = g_byte_array_new();
	w->from_b = g_byte_array_new();
	w->b_reader = migration_reader_new(100);
	for (unsigned i = 0; i < BLOCKS; i++)
		for (unsigned p = 0; p < test_blocks[i].pages; p++)
			w->a.page[i][p] = (uint8_t)p;
	return w;
}

static void
world_free(struct world *w)
{
	relay_free(w->relay);
	standby_free(w->standby);
	migration_reader_free(w->b_reader);
	g_byte_array_unref(w->from_a);
	g_byte_array_unref(w->to_b);
	g_byte_array_unref(w->from_b);
	g_rand_free(w->rand);
	g_free(w);
}

static void
lose_primary(struct world *w)
{
	g_byte_array_set_size(w->from_a, 0);
	standby_peer_lost(w->standby, w->now);
	while (!standby_settled(w->standby)) {
		do_actions(w);
		secondary_side(w);
	}
	do_actions(w);
	assert_int_equal(standby_loaded_epoch(w->standby), standby_committed_epoch(w->standby));
	assert_memory_equal(&w->b, &w->history[standby_committed_epoch(w->standby)], sizeof w->b);
	assert_int_equal(standby_held_bytes(w->standby), 0);
}

static void
what_b_loads_is_what_a_was(void **state)
{
	unsigned loads = 0, epochs = 0;

	for (unsigned seed = 1; seed <= 60; seed++) {
		struct world *w = world_new(seed);
		go_live(w);
		assert_memory_equal(&w->b, &w->a, sizeof w->b);
		while (w->epoch < EPOCHS)
			step(w);
		for (unsigned i = seed % 17; i > 0; i--)
			step(w);
		lose_primary(w);
		loads += w->loads;
		epochs += (unsigned)w->loaded;
		world_free(w);
	}
	assert_true(loads > 100 && loads < epochs);	/* some loads brought several checkpoints */
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_b_loads_is_what_a_was) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
