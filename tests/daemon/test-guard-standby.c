/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A copy that resets itself: what its guard does until it is fit to take over again. And packed checkpoints, right and wrong ones. */
#include "tests/daemon/guard-fixture.h"

#include "checkpoint/packer.h"

/* Checkpoint `epoch` comes and is committed. */
static void
receive(struct fixture *f, uint64_t epoch)
{
	g_autoptr(GByteArray) b = small_checkpoint(), data = g_byte_array_new();

	put(data, epoch, 8);
	g_byte_array_append(data, b->data, b->len);
	peer_says_u64(f, PEER_DISK_MARK, 1, &epoch);
	peer_says_u64(f, PEER_CHECKPOINT_BEGIN, 1, &epoch);
	peer_says(f, PEER_CHECKPOINT_DATA, data->data, data->len);
	peer_says_u64(f, PEER_CHECKPOINT_SEAL, 3, (uint64_t[]){ epoch, b->len, XXH3_64bits(b->data, b->len) });
}

static void
load(struct fixture *f)
{
	qemu_says_message(f, COLO_REPLY);
	qemu_says_message(f, COLO_VMSTATE_RECEIVED);
	qemu_says_message(f, COLO_VMSTATE_LOADED);
	g_string_truncate(f->did, 0);
}

/* The copy runs epoch 2, and counts. */
static void
protect(struct fixture *f)
{
	static const uint8_t way_back[] = { 0, 1, 0, 4, 0, 0, 0, 0 };
	g_autoptr(GByteArray) b = initial_stream(), back = g_byte_array_new();

	fixture_init(f, FAILOVER_STANDBY);
	guard_start(f->g, f->now);
	guard_op_done(f->g, f->now, GUARD_OP_STANDBY_ATTACH, NULL);
	guard_peer_linked(f->g, f->now);
	peer_says(f, PEER_STREAM, b->data, b->len);
	g_byte_array_append(back, way_back, sizeof way_back);
	put(back, COLO_READY, 4);
	qemu_says(f, back);
	peer_says(f, PEER_LIVE, NULL, 0);
	expect(f, "op standby-attach; qemu bytes; send RETURN_PATH; op standby-pause; send READY; ");
	receive(f, 1);
	expect(f, "send COMMITTED 1; ");
	guard_op_done(f->g, f->now, GUARD_OP_STANDBY_PAUSE, NULL);
	expect(f, "qemu checkpoint-request; ");
	load(f);
	assert_true(f->g->s.pausing);
	guard_op_done(f->g, f->now, GUARD_OP_STANDBY_PAUSE, NULL);
	expect(f, "");
	peer_says(f, PEER_ARM, NULL, 0);
	expect(f, "send ARMED; ");
	assert_int_equal(guard_state(f->g), FAILOVER_PROTECTED);
}

/* Whoever made the pair may have ended before the primary's guard was started: nobody else would end this one. */
static void
nobody_connects(void **state)
{
	g_auto(fixture) f;

	fixture_init(&f, FAILOVER_STANDBY);
	guard_start(f.g, f.now);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_ATTACH, NULL);
	expect(&f, "op standby-attach; ");
	f.now += GUARD_LINK_TIMEOUT_NS - MS;
	guard_tick(f.g, f.now);
	expect(&f, "");
	assert_int_equal(guard_deadline(f.g), f.now + MS);
	f.now += MS;
	guard_tick(f.g, f.now);
	expect(&f, "op stop-copy; ");
	assert_int_equal(guard_state(f.g), FAILOVER_ENDED);
}

/* QEMU starts the copy on its own, before the first load and after each. Until the pair counts it stands. */
static void
it_stands_until_the_pair_counts(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	receive(&f, 2);
	load(&f);
	assert_false(f.g->s.pausing);
}

static void
it_asks_for_a_checkpoint_at_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	expect(&f, "");
	guard_copy_reset(f.g, f.now);
	expect(&f, "event copy-unfit; send COPY_UNFIT 1; ");
	assert_false(f.g->failover.fit);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; op standby-refresh; ");	/* it will have new code to run */
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_REFRESH, NULL);
	expect(&f, "qemu checkpoint-request; ");
	qemu_says_message(&f, COLO_REPLY);
	qemu_says_message(&f, COLO_VMSTATE_RECEIVED);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_VMSTATE_LOADED);
	expect(&f, "event copy-fit; send SVM_LOADED; ");
	assert_true(f.g->failover.fit);
	pass(&f, 3000);
	expect(&f, "");
}

static void
it_asks_again_but_not_often(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_copy_reset(f.g, f.now);
	expect(&f, "event copy-unfit; send COPY_UNFIT 1; ");
	for (unsigned i = 0; i < 10; i++) {
		guard_copy_reset(f.g, f.now);
		pass(&f, 1);
	}
	expect(&f, "");
	pass(&f, 489);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "send COPY_UNFIT 1; ");
}

/* It reset itself between REQUEST and LOADED: whether this load has mended it cannot be told. */
static void
it_asks_when_a_load_did_not_mend_it(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; qemu checkpoint-request; ");
	guard_copy_reset(f.g, f.now);
	pass(&f, 100);
	expect(&f, "event copy-unfit; ");	/* the load is waited for */
	load(&f);
	assert_false(f.g->failover.fit);
	pass(&f, 1);
	expect(&f, "send COPY_UNFIT 2; ");
}

/* In passive mode loads are put off: not while there is nobody to take over. */
static void
it_loads_what_waits_for_a_load(void **state)
{
	static const uint8_t passive[] = { 0, 1 };
	g_auto(fixture) f;

	protect(&f);
	peer_says(&f, PEER_MODE, passive, sizeof passive);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
	guard_copy_reset(f.g, f.now);
	expect(&f, "event copy-unfit; op standby-refresh; ");
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_REFRESH, NULL);
	expect(&f, "qemu checkpoint-request; ");
	receive(&f, 3);
	expect(&f, "send COMMITTED 3; ");
	load(&f);
	assert_true(f.g->failover.fit);
}

/* No load can be asked of it, however much waits for one. */
static void
it_does_not_turn_in_circles_when_qemu_is_broken(void **state)
{
	static const uint8_t passive[] = { 0, 1 };
	g_auto(fixture) f;

	protect(&f);
	peer_says(&f, PEER_MODE, passive, sizeof passive);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
	qemu_says_message(&f, COLO_VMSTATE_LOADED);
	pass(&f, 3000);
}

static void
primary_hands_over(struct fixture *f, enum peer_switchover what, uint64_t value)
{
	uint8_t data[10];

	put_be16(data, (uint16_t)what);
	put_be64(data + 2, value);
	peer_says(f, PEER_SWITCHOVER, data, sizeof data);
}

static void
it_is_urgent_while_somebody_waits_for_it(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	assert_false(guard_is_urgent(f.g));
	primary_hands_over(&f, PEER_SWITCHOVER_PREPARE, 0);
	assert_true(guard_is_urgent(f.g));
	primary_hands_over(&f, PEER_SWITCHOVER_OFF, 0);
	assert_false(guard_is_urgent(f.g));
	receive(&f, 2);
	primary_hands_over(&f, PEER_SWITCHOVER_PREPARE, 2);
	primary_hands_over(&f, PEER_SWITCHOVER_OFF, 0);
	assert_true(guard_is_urgent(f.g));	/* it loads */
	load(&f);
	assert_false(guard_is_urgent(f.g));
}

/* What comes between the first checkpoint of a switchover and its last is loaded with the last, in one go. */
static void
it_loads_twice_for_a_switchover(void **state)
{
	static const uint8_t passive[] = { 0, 1 };
	g_auto(fixture) f;

	protect(&f);
	peer_says(&f, PEER_MODE, passive, sizeof passive);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
	primary_hands_over(&f, PEER_SWITCHOVER_PREPARE, 3);
	expect(&f, "qemu checkpoint-request; ");
	receive(&f, 3);
	load(&f);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_PAUSE, NULL);
	expect(&f, "qemu checkpoint-request; ");
	load(&f);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_PAUSE, NULL);
	expect(&f, "");
	receive(&f, 4);
	receive(&f, 5);
	expect(&f, "send COMMITTED 4; send COMMITTED 5; ");
	primary_hands_over(&f, PEER_SWITCHOVER_TAKE_OVER, 0);
	expect(&f, "claim 2 alone; qemu checkpoint-request; ");
}

/* The guest goes on where it is: loads are put off as before. */
static void
a_switchover_that_is_off_asks_for_no_loads(void **state)
{
	static const uint8_t passive[] = { 0, 1 };
	g_auto(fixture) f;

	protect(&f);
	peer_says(&f, PEER_MODE, passive, sizeof passive);
	primary_hands_over(&f, PEER_SWITCHOVER_PREPARE, 2);
	primary_hands_over(&f, PEER_SWITCHOVER_OFF, 0);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
}

static void
it_asks_for_nothing_before_it_counts_or_when_nothing_helps(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.g->s.spoiled = true;
	guard_copy_reset(f.g, f.now);
	pass(&f, 100);
	expect(&f, "event copy-unfit; ");
	f.g->s.spoiled = false;
	f.g->failover.state = FAILOVER_FORMING;
	guard_copy_reset(f.g, f.now);
	pass(&f, 100);
	expect(&f, "");
}

/* What waits is loaded when it was reset from outside, as libvirt does then, and had to run: QEMU ends when a load finds it in PRELAUNCH. */
static void
no_load_into_a_copy_that_is_off(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_copy_off(f.g, f.now);
	expect(&f, "event copy-unfit; send COPY_UNFIT 1; ");
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
	pass(&f, 30);
	expect(&f, "");
	guard_copy_runs(f.g, f.now);			/* a load that was under way has ended */
	expect(&f, "");
	guard_copy_prelaunch(f.g, f.now);
	expect(&f, "");
	guard_copy_runs(f.g, f.now);
	expect(&f, "op standby-refresh; ");
	guard_copy_prelaunch(f.g, f.now);		/* and once more, by somebody else */
	expect(&f, "");
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_REFRESH, NULL);
	expect(&f, "op standby-refresh; ");
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_REFRESH, NULL);
	expect(&f, "qemu checkpoint-request; ");
}

/* It may have been stopped, in passive mode, before it was reset. */
static void
a_copy_that_was_reset_runs_before_a_load(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_copy_prelaunch(f.g, f.now);
	expect(&f, "event copy-unfit; send COPY_UNFIT 1; ");
	f.g->s.refresh_until = 0;
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; op standby-refresh; ");
	guard_copy_off(f.g, f.now);			/* it has run, and so far */
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_REFRESH, NULL);
	expect(&f, "");
	pass(&f, 1000);
	expect(&f, "qemu checkpoint-request; ");
}

static void
nor_is_its_reset_waited_for_for_ever(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_copy_off(f.g, f.now);
	receive(&f, 2);
	expect(&f, "event copy-unfit; send COPY_UNFIT 1; send COMMITTED 2; ");
	pass(&f, 999);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "op standby-refresh; ");
	assert_true(guard_deadline(f.g) > f.now);
}

/* It stands still at nobody's cost, and its end would cost protection: it gets as long as one that owes an answer. */
static void
a_stopped_copy_is_given_up_after_a_second(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass_looking(&f, 1020, true);
	expect(&f, "");
	pass_looking(&f, 30, true);
	expect(&f, "event error; event error; send ABDICATE 7; ");
	assert_int_equal(guard_state(f.g), FAILOVER_YIELDED);
	assert_false(f.g->failover.fit);
}

/* A host whose cores are taken leaves it without an answer for a second and more; it is the only other copy. */
static void
a_copy_that_owes_an_answer_has_three_seconds(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; qemu checkpoint-request; ");
	pass_looking(&f, 2950, false);
	expect(&f, "");
	pass_looking(&f, 100, false);
	expect(&f, "event error; send ABDICATE 7; ");
	assert_int_equal(guard_state(f.g), FAILOVER_YIELDED);
}

/* Checkpoint `epoch` comes packed; `bad` is xored to the last byte of its last piece. */
static void
receive_packed(struct fixture *f, struct packer *p, uint64_t epoch, uint8_t bad)
{
	g_autoptr(GByteArray) b = small_checkpoint();
	struct byte_reader in = byte_reader_init(b->data, b->len);
	uint64_t seal[] = { epoch, b->len, XXH3_64bits(b->data, b->len) };

	packer_begin(p, epoch);
	g_autoptr(GBytes) piece_bytes = packer_add(p, &in);
	assert_true(piece_bytes && in.left == 0);
	size_t length = g_bytes_get_size(piece_bytes);
	g_autofree uint8_t *data = g_memdup2(g_bytes_get_data(piece_bytes, NULL), length);
	data[length - 1] ^= bad;
	peer_says_u64(f, PEER_DISK_MARK, 1, &epoch);
	peer_says_u64(f, PEER_CHECKPOINT_BEGIN, 1, &epoch);
	peer_says(f, PEER_CHECKPOINT_PACKED, data, length);
	peer_says_u64(f, PEER_CHECKPOINT_SEAL, 3, seal);
}

static struct packer *
new_packer(const struct fixture *f)
{
	struct packer *p = packer_new(f->config->page_cache_bytes);
	g_autoptr(GByteArray) b = initial_stream();
	g_autoptr(GBytes) stream = piece(b, 0, b->len);

	packer_stream(p, stream);
	return p;
}

static void
it_takes_packed_checkpoints(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	g_autoptr(packer) p = new_packer(&f);
	for (uint64_t epoch = 2; epoch < 5; epoch++) {
		g_autofree char *want = g_strdup_printf("send COMMITTED %d; qemu checkpoint-request; ", (int)epoch);
		receive_packed(&f, p, epoch, 0);
		expect(&f, want);
		load(&f);
	}
}

static void
it_loads_no_damaged_checkpoint(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	g_autoptr(packer) p = new_packer(&f);
	receive_packed(&f, p, 2, 1);	/* the last byte of the device state: unpacked without a complaint, and not what SEAL says */
	assert_null(strstr(f.did->str, "COMMITTED"));
	assert_null(strstr(f.did->str, "checkpoint-request"));
	assert_int_not_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

/* This side's slots are not the sender's: it has never seen the version that the second one builds on. */
static void
it_loads_nothing_that_builds_on_another_page(void **state)
{
	g_auto(fixture) f, other;

	protect(&f);
	protect(&other);
	g_autoptr(packer) p = new_packer(&f);
	receive_packed(&other, p, 2, 0);
	expect(&other, "send COMMITTED 2; qemu checkpoint-request; ");
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; qemu checkpoint-request; ");
	load(&f);
	receive_packed(&f, p, 3, 0);
	assert_null(strstr(f.did->str, "COMMITTED"));
	assert_null(strstr(f.did->str, "checkpoint-request"));
	assert_int_not_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

/* -- credits ------------------------------------------------------------------------------------------------------------------ */

static void
primary_writes(struct fixture *f, uint64_t epoch)
{
	uint8_t data[24 + 512] = { 0 };

	put_be64(data, epoch);
	peer_says(f, PEER_DISK_WRITE, data, sizeof data);
}

/* The writes of epoch 2 are applied when its checkpoint is there. */
static void
a_single_write_is_credited_soon_and_many_at_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	for (unsigned i = 0; i < GUARD_CREDIT_WRITES + 2; i++)
		primary_writes(&f, 2);
	receive(&f, 2);
	expect(&f, "send COMMITTED 2; ");
	guard_disk_done(f.g, f.now, 1, 0);
	pass(&f, 4);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "send DISK_CREDIT 1; ");
	for (uint64_t i = 0; i < GUARD_CREDIT_WRITES; i++)
		guard_disk_done(f.g, f.now, 2 + i, 0);
	expect(&f, "send DISK_CREDIT 65; ");
	guard_disk_done(f.g, f.now, GUARD_CREDIT_WRITES + 2, 0);
	pass(&f, 5);
	expect(&f, "qemu checkpoint-request; send DISK_CREDIT 66; ");
	pass(&f, 15);
	expect(&f, "");
}

/* -- comparing disks ------------------------------------------------------------------------------------------------------------ */

#define LENGTH 1000u
#define BLOCK 300u

/* The digests of a disk that has zeroes all over. */
static void
primary_compares(struct fixture *f, uint64_t offset, uint32_t disk, size_t cut)
{
	static const uint8_t zeroes[BLOCK];
	uint8_t data[DISK_COMPARE_HEAD + 4 * DISK_DIGEST];

	put_be64(data, offset);
	put_be64(data + 8, LENGTH);
	put_be32(data + 16, disk);
	put_be32(data + 20, BLOCK);
	for (unsigned i = 0; i < 4; i++)
		fixture_digest(zeroes, i < 3 ? BLOCK : 100, data + DISK_COMPARE_HEAD + i * DISK_DIGEST);
	peer_says(f, PEER_DISK_COMPARE, data, sizeof data - cut);
}

static uint64_t last_wanted[2];

static void
note_wanted(void *ctx, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	struct byte_reader r = byte_reader_init(head, length);

	fixture_peer_send(ctx, type, head, length, body);
	if (type != PEER_DISK_WANTED)
		return;
	last_wanted[0] = byte_reader_be64(&r);
	last_wanted[1] = byte_reader_be64(&r);
	assert_true(byte_reader_done(&r));
}

static void
disk_has_read(struct fixture *f, uint64_t number, unsigned other)
{
	g_autofree uint8_t *data = g_malloc0(LENGTH);
	g_autoptr(GBytes) bytes = NULL;

	if (other < LENGTH)
		data[other] = 1;
	bytes = g_bytes_new(data, LENGTH);
	guard_disk_read_done(f->g, f->now, number, 0, bytes);
	assert_int_equal(last_wanted[0], number);
}

/* The first copy of the disk is under way. */
static void
form(struct fixture *f)
{
	fixture_init(f, FAILOVER_STANDBY);
	f->g->env.peer_send = note_wanted;
	guard_start(f->g, f->now);
	guard_op_done(f->g, f->now, GUARD_OP_STANDBY_ATTACH, NULL);
	guard_peer_linked(f->g, f->now);
	expect(f, "op standby-attach; ");
}

static void
it_wants_what_is_not_the_same(void **state)
{
	g_auto(fixture) f;

	form(&f);
	primary_compares(&f, 5000, 0, 0);
	primary_compares(&f, 7000, 0, 0);
	expect(&f, "read 5000+1000; read 7000+1000; ");
	disk_has_read(&f, 2, 999);
	assert_int_equal(last_wanted[1], 8);
	disk_has_read(&f, 1, UINT_MAX);
	assert_int_equal(last_wanted[1], 0);
	expect(&f, "send DISK_WANTED; send DISK_WANTED; ");
}

static void
it_wants_what_it_cannot_read(void **state)
{
	g_auto(fixture) f;

	form(&f);
	primary_compares(&f, 0, 0, 0);
	guard_disk_read_done(f.g, f.now, 1, 5, NULL);
	assert_int_equal(last_wanted[1], 0xf);
	expect(&f, "read 0+1000; send DISK_WANTED; ");
	assert_int_equal(guard_state(f.g), FAILOVER_FORMING);
}

/* A comparison has no number among the writes. */
static void
it_credits_writes_only(void **state)
{
	g_auto(fixture) f;

	form(&f);
	primary_compares(&f, 0, 0, 0);
	primary_writes(&f, 0);
	expect(&f, "read 0+1000; ");
	guard_disk_done(f.g, f.now, 1, 0);
	expect(&f, "send DISK_CREDIT 1; ");
}

static void
it_compares_no_other_disk(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		g_auto(fixture) f;

		form(&f);
		primary_compares(&f, i == 0 ? (1 << 20) - LENGTH + 1 : i == 1 ? UINT64_MAX - LENGTH : 0, i == 2, i == 3);
		expect(&f, "event error; send ABDICATE 12; op stop-copy; ");
	}
}

static void
it_compares_no_more_than_agreed(void **state)
{
	g_auto(fixture) f;

	form(&f);
	assert_true(guard_disk_reading(f.g));	/* its shell asks too, and QEMU writes nothing to it */
	for (unsigned i = 0; i < DISK_COMPARE_MAX_REQUESTS; i++)
		primary_compares(&f, 0, 0, 0);
	disk_has_read(&f, 9, 0);
	primary_compares(&f, 0, 0, 0);
	assert_int_equal(guard_state(f.g), FAILOVER_FORMING);
	g_string_truncate(f.did, 0);
	primary_compares(&f, 0, 0, 0);
	expect(&f, "event error; send ABDICATE 12; op stop-copy; ");
}

static void
it_compares_nothing_once_epochs_count(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	primary_compares(&f, 0, 0, 0);
	assert_null(strstr(f.did->str, "read"));
	assert_int_not_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

/* A host that dies with what the copy wrote in overlays has not been heard; and QEMU stands for a while when it leaves COLO: the clients are answered first. */
static void
it_speaks_between_its_disk_and_colo(void **state)
{
	uint8_t reason[2];
	g_auto(fixture) f;

	protect(&f);
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(&f, PEER_ABDICATE, reason, sizeof reason);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	assert_int_equal(guard_state(f.g), FAILOVER_SETTLING);
	assert_non_null(strstr(f.did->str, "op standby-wake; "));
	assert_null(strstr(f.did->str, "op standby-commit"));
	assert_null(strstr(f.did->str, "speaks"));
	g_string_truncate(f.did, 0);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_WAKE, NULL);
	expect(&f, "op standby-commit; ");
	f.now += 10 * MS;
	guard_tick(f.g, f.now);
	expect(&f, "");
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_COMMIT, NULL);
	expect(&f, "speaks; ");
	assert_true(f.g->gap_ns >= 10 * MS);
	f.now += GUARD_LIVE_DELAY_NS - MS;
	guard_tick(f.g, f.now);
	expect(&f, "");
	assert_int_equal(guard_deadline(f.g), f.now + MS);
	f.now += MS;
	guard_tick(f.g, f.now);
	expect(&f, "op standby-live; ");
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_LIVE, NULL);
	expect(&f, "op standby-open; ");
}

/* What another standby is wanted instead of is a standby: the primary's host may not know yet that this one has taken over. */
static void
a_copy_that_takes_over_is_not_ended_as_a_standby(void **state)
{
	uint8_t reason[2];
	g_auto(fixture) f;

	protect(&f);
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(&f, PEER_ABDICATE, reason, sizeof reason);
	assert_false(guard_end_standby(f.g, f.now));
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	assert_false(guard_end_standby(f.g, f.now));
	assert_int_equal(guard_state(f.g), FAILOVER_SETTLING);
	assert_null(strstr(f.did->str, "op stop-copy"));
}

static void
a_standby_is_ended_when_another_is_wanted(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	assert_true(guard_end_standby(f.g, f.now));
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
}

/* There is no other copy: it is heard, and whoever looks finds out. */
static void
it_speaks_with_a_disk_that_is_late(void **state)
{
	g_autoptr(GError) late = g_error_new_literal(FTD_ERROR, FTD_ERROR_TIMEOUT, "late");
	uint8_t reason[2];
	g_auto(fixture) f;

	protect(&f);
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(&f, PEER_ABDICATE, reason, sizeof reason);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_WAKE, NULL);
	g_string_truncate(f.did, 0);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_COMMIT, late);
	expect(&f, "event error; speaks; ");
}

static void
takes_over(struct fixture *f)
{
	uint8_t reason[2];

	protect(f);
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(f, PEER_ABDICATE, reason, sizeof reason);
	guard_claimed(f->g, f->now, ARBITER_GRANTED, NULL, NULL);
	guard_op_done(f->g, f->now, GUARD_OP_STANDBY_WAKE, NULL);
	g_string_truncate(f->did, 0);
}

/* ftd will find that nobody has heard it. */
static void
it_says_nothing_when_its_qemu_died(void **state)
{
	g_autoptr(GError) closed = g_error_new_literal(FTD_ERROR, FTD_ERROR_QMP, "closed");
	g_auto(fixture) f;

	takes_over(&f);
	guard_qemu_gone(f.g, f.now);
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_COMMIT, closed);
	assert_null(strstr(f.did->str, "speaks"));
}

static void
it_ends_no_take_over_when_its_qemu_died(void **state)
{
	g_auto(fixture) f;

	takes_over(&f);
	guard_op_done(f.g, f.now, GUARD_OP_STANDBY_COMMIT, NULL);
	guard_qemu_gone(f.g, f.now);
	g_string_truncate(f.did, 0);
	f.now += 2 * GUARD_LIVE_DELAY_NS;
	guard_tick(f.g, f.now);
	assert_null(strstr(f.did->str, "standby-live"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_connects), cmocka_unit_test(it_stands_until_the_pair_counts), cmocka_unit_test(it_asks_for_a_checkpoint_at_once),
		cmocka_unit_test(it_asks_again_but_not_often),
		cmocka_unit_test(it_asks_when_a_load_did_not_mend_it),
		cmocka_unit_test(it_loads_what_waits_for_a_load),
		cmocka_unit_test(it_does_not_turn_in_circles_when_qemu_is_broken),
		cmocka_unit_test(it_is_urgent_while_somebody_waits_for_it),
		cmocka_unit_test(it_loads_twice_for_a_switchover),
		cmocka_unit_test(a_switchover_that_is_off_asks_for_no_loads),
		cmocka_unit_test(no_load_into_a_copy_that_is_off),
		cmocka_unit_test(nor_is_its_reset_waited_for_for_ever),
		cmocka_unit_test(a_copy_that_was_reset_runs_before_a_load),
		cmocka_unit_test(a_stopped_copy_is_given_up_after_a_second),
		cmocka_unit_test(a_copy_that_owes_an_answer_has_three_seconds),
		cmocka_unit_test(it_asks_for_nothing_before_it_counts_or_when_nothing_helps),
		cmocka_unit_test(it_takes_packed_checkpoints),
		cmocka_unit_test(it_loads_no_damaged_checkpoint),
		cmocka_unit_test(it_loads_nothing_that_builds_on_another_page),
		cmocka_unit_test(a_single_write_is_credited_soon_and_many_at_once),
		cmocka_unit_test(it_wants_what_is_not_the_same),
		cmocka_unit_test(it_wants_what_it_cannot_read),
		cmocka_unit_test(it_credits_writes_only),
		cmocka_unit_test(it_compares_no_other_disk),
		cmocka_unit_test(it_compares_no_more_than_agreed),
		cmocka_unit_test(it_compares_nothing_once_epochs_count),
		cmocka_unit_test(it_speaks_between_its_disk_and_colo),
		cmocka_unit_test(a_copy_that_takes_over_is_not_ended_as_a_standby),
		cmocka_unit_test(a_standby_is_ended_when_another_is_wanted),
		cmocka_unit_test(it_speaks_with_a_disk_that_is_late),
		cmocka_unit_test(it_says_nothing_when_its_qemu_died),
		cmocka_unit_test(it_ends_no_take_over_when_its_qemu_died),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
