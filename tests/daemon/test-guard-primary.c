/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the primary's guard makes a checkpoint, and when it gives up a QEMU that says nothing. */
#include "daemon/base/error.h"
#include "proxy/frame-queue.h"
#include "tests/daemon/guard-fixture.h"

static void
op_done(struct fixture *f, enum guard_op op)
{
	guard_op_done(f->g, f->now, op, NULL);
}

static void
one_checkpoint(struct fixture *f)
{
	g_autoptr(GByteArray) b = small_checkpoint();

	qemu_says_message(f, COLO_VMSTATE_SEND);
	qemu_says(f, b);
}

static void
committed(struct fixture *f, uint64_t epoch)
{
	peer_says_u64(f, PEER_COMMITTED, 1, &epoch);
}

/* QEMU is to copy memory. */
static void
start_migration(struct fixture *f)
{
	fixture_init(f, FAILOVER_PRIMARY);
	guard_start(f->g, f->now);
	guard_peer_linked(f->g, f->now);
	op_done(f, GUARD_OP_CONNECT);
	op_done(f, GUARD_OP_ATTACH);
	op_done(f, GUARD_OP_DISKS);
	op_done(f, GUARD_OP_MIGRATE);
	expect(f, "op connect; op attach; op disks; op migrate; ");
}

/* The initial stream is over. */
static void
copy_memory(struct fixture *f, bool described)
{
	g_autoptr(GByteArray) b = initial_stream();

	if (described)
		put_description(b);
	start_migration(f);
	qemu_says(f, b);
	expect(f, described ? "send STREAM; op track; " : "send STREAM; ");
	if (described) {
		op_done(f, GUARD_OP_TRACK);
		expect(f, "qemu checkpoint-ready; ");
	}
}

static void
go_live(struct fixture *f)
{
	copy_memory(f, false);
	peer_says(f, PEER_READY, NULL, 0);
	expect(f, "op track; ");
	op_done(f, GUARD_OP_TRACK);
	expect(f, "qemu checkpoint-ready; send LIVE; ");
	qemu_says_message(f, COLO_REQUEST);
}

/* QEMU has sent REQUEST and runs epoch 2. */
static void
protect(struct fixture *f)
{
	go_live(f);
	f->g->p.arm_after = 1;	/* that it is another one is shown below */
	pass(f, 5);
	expect(f, "qemu checkpoint-reply; ");
	one_checkpoint(f);
	expect(f, "send DISK_MARK 1; send CHECKPOINT_BEGIN 1; send CHECKPOINT_DATA 1; send CHECKPOINT_SEAL; qemu vmstate-received vmstate-loaded; ");
	committed(f, 1);
	guard_claimed(f->g, f->now, ARBITER_GRANTED, NULL, NULL);
	peer_says(f, PEER_ARMED, NULL, 0);
	expect(f, "claim 1 pair; send ARM; ");
	assert_int_equal(guard_state(f->g), FAILOVER_PROTECTED);
	relay_set_max_epoch(f->g->p.relay, UINT64_MAX);	/* no checkpoint but those that are asked for */
	qemu_says_message(f, COLO_REQUEST);
}

static const uint8_t wire[] = { 0, 0, 0, 26, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 6 };

static void
guest_frame(struct fixture *f, enum guard_port port)
{
	g_autoptr(GBytes) frame = g_bytes_new_static(wire, sizeof wire);

	guard_frame(f->g, f->now, port, 0, frame);
}

static void
heard(struct fixture *f)
{
	guest_frame(f, GUARD_PORT_MIR);
}

/* The copy sends the same, as its output `id` of that epoch. */
static void
copy_sends_in(struct fixture *f, uint64_t id, uint64_t epoch)
{
	uint8_t data[18 + sizeof wire];

	put_be64(data, id);
	put_be64(data + 8, epoch);
	put_be16(data + 16, 0);
	memcpy(data + 18, wire, sizeof wire);
	peer_says(f, PEER_OUTPUT, data, sizeof data);
}

static void
copy_sends(struct fixture *f, uint64_t id)
{
	copy_sends_in(f, id, 2);
}

static void
guest_writes(struct fixture *f, uint32_t length)
{
	struct nbd_request r = { .op = NBD_OP_WRITE, .length = length, .data = g_bytes_new_take(g_malloc0(length), length) };

	guard_disk_request(f->g, f->now, 0, &r);
}

static void
copy_unfit(struct fixture *f, uint64_t loaded)
{
	peer_says_u64(f, PEER_COPY_UNFIT, 1, &loaded);
}

/* The first copy of the disk is under way, towards an image that was there before. */
static void
copy_disks(struct fixture *f)
{
	fixture_init(f, FAILOVER_PRIMARY);
	f->config->disks[0].compare = true;
	guard_start(f->g, f->now);
	guard_peer_linked(f->g, f->now);
	op_done(f, GUARD_OP_CONNECT);
	op_done(f, GUARD_OP_ATTACH);
	expect(f, "op connect; op attach; op disks; ");
}

static void
wanted(struct fixture *f, uint64_t number, uint64_t blocks)
{
	peer_says_u64(f, PEER_DISK_WANTED, 2, (uint64_t[]){ number, blocks });
}

#define CHECKPOINT(n) "send DISK_MARK " n "; send CHECKPOINT_BEGIN " n "; send CHECKPOINT_DATA " n "; send CHECKPOINT_SEAL; qemu vmstate-received vmstate-loaded; "

/* -- silence ----------------------------------------------------------------------------------------------------------------- */

/* The second checkpoint is wanted when the first is loaded, and arms the pair. */
static void
a_pair_counts_from_the_second_checkpoint_on(void **state)
{
	g_auto(fixture) f;

	go_live(&f);
	pass(&f, 5);
	one_checkpoint(&f);
	committed(&f, 1);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 50);
	assert_null(strstr(f.did->str, "claim"));
	g_string_truncate(f.did, 0);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	pass(&f, 5);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	g_string_truncate(f.did, 0);
	committed(&f, 2);
	assert_non_null(strstr(f.did->str, "claim 1 pair; "));
}

/* Between the end of a mirror and the word of QEMU's end the guest may write what the copy's disk will never have. */
static void
without_its_mirror_no_checkpoint_counts(void **state)
{
	g_auto(fixture) f;

	go_live(&f);
	pass(&f, 5);
	g_string_truncate(f.did, 0);
	guard_mirror_gone(f.g);
	one_checkpoint(&f);
	assert_null(strstr(f.did->str, "DISK_MARK"));
	assert_non_null(strstr(f.did->str, "CHECKPOINT_SEAL"));
}

static void
an_idle_guest_is_left_alone(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 8000);
	expect(&f, "");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

static void
a_guest_that_falls_silent_is_asked_for_a_checkpoint_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 1000);
	for (unsigned i = 0; i < 10; i++) {	/* as long as it is heard nothing is asked */
		heard(&f);
		pass(&f, 200);
	}
	expect(&f, "send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; send INBOUND; ");
	pass(&f, 49);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	assert_int_equal(f.g->p.wants[RELAY_WANT_QUIET], 0);
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_QUIET], 1);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	expect(&f, CHECKPOINT("2"));
	pass(&f, 5000);
	expect(&f, "");
}

/* A request a second, and its answer: a checkpoint for each would cost the guest more than what it does. */
static void
a_guest_that_speaks_now_and_then_is_not_asked_each_time(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	heard(&f);
	pass(&f, 250);
	expect(&f, "send INBOUND; qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	expect(&f, CHECKPOINT("2"));
	for (unsigned i = 0; i < 2; i++) {
		pass(&f, 900);
		heard(&f);
		expect(&f, "send INBOUND; ");
	}
	pass(&f, 199);
	expect(&f, "");
	pass(&f, 51);
	expect(&f, "qemu checkpoint-reply; ");
}

/* ... also when a checkpoint was made for another reason in the meantime: it may hang from then on. */
static void
a_guest_that_is_silent_after_a_checkpoint_is_asked_too(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	heard(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	expect(&f, "send INBOUND; qemu checkpoint-reply; " CHECKPOINT("2"));
	pass(&f, 249);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 3);
	expect(&f, CHECKPOINT("3"));
	pass(&f, 3000);
	expect(&f, "");
}

static void
a_guest_that_wakes_up_is_not_left_to_its_long_epoch(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.g->p.epoch_length.length_ns = 10000 * MS;
	pass(&f, 1000);
	for (unsigned i = 0; i < 31; i++)
		guest_frame(&f, GUARD_PORT_OUT);
	expect(&f, "");
	guest_frame(&f, GUARD_PORT_OUT);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_BUSY], 1);
	assert_int_equal(f.g->p.cost.events, 32);
	assert_int_equal(f.g->p.epoch_events, 0);
}

static void
so_is_one_that_writes_to_its_disk(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.g->p.epoch_length.length_ns = 10000 * MS;
	pass(&f, 1000);
	for (unsigned i = 0; i < 31; i++)
		guest_writes(&f, 512);
	assert_null(strstr(f.did->str, "checkpoint-reply"));
	guest_writes(&f, 512);
	assert_non_null(strstr(f.did->str, "checkpoint-reply"));
}

/* It computes, and what it writes meanwhile will have to be carried. */
static void
a_guest_that_works_is_not_left_to_its_long_epoch(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.g->p.epoch_length.length_ns = 10000 * MS;
	guard_qemu_looked(f.g, f.now, false, 7000 * MS);	/* what it took before it was looked at was not in this epoch */
	pass(&f, 300);
	guard_qemu_looked(f.g, f.now, false, 7099 * MS);
	expect(&f, "");
	guard_qemu_looked(f.g, f.now, false, 7100 * MS);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_BUSY], 1);
	assert_int_equal(f.g->p.cost.work_ns, 100 * MS);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	expect(&f, CHECKPOINT("2"));
	guard_qemu_looked(f.g, f.now, false, 7199 * MS);
	expect(&f, "");
}

/* The copy loads when it can, several at once if need be: what it stood for them is what all their bytes cost. */
static void
loads_are_counted_by_what_they_load(void **state)
{
	g_auto(fixture) f;
	uint64_t one;

	protect(&f);
	one = f.g->p.cost.bytes;
	assert_true(one > 0);
	pass(&f, 100);
	copy_unfit(&f, 1);
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	assert_int_equal(f.g->p.unloaded.length, 2);
	assert_true(f.g->p.epoch_length.pause.n == 1 + 7.0 / 8);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 77 });
	assert_int_equal(f.g->p.unloaded.length, 0);
	assert_true(f.g->p.epoch_length.load.n == 1);
	assert_true(f.g->p.epoch_length.load.sum_b == (double)(one + f.g->p.cost.bytes));
	assert_true(f.g->p.epoch_length.load.sum_c == 77);
}

static void
a_guest_that_does_not_answer_is_given_up(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	heard(&f);
	pass(&f, 250);
	expect(&f, "send INBOUND; qemu checkpoint-reply; ");
	pass(&f, 999);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "event error; send ABDICATE 15; op stop-copy; ");
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
}

/* It may have been the whole host that stood. */
static void
a_guard_that_slept_waits_anew(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	heard(&f);
	pass(&f, 250);
	expect(&f, "send INBOUND; qemu checkpoint-reply; ");
	f.now += 3000 * MS;
	guard_tick(f.g, f.now);
	pass(&f, 999);
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "event error; send ABDICATE 15; op stop-copy; ");
}

/* -- a process that is stopped ---------------------------------------------------------------------------------------------------- */

static void
a_stopped_qemu_is_given_up_as_a_silent_host_is(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass_looking(&f, 3000, false);
	pass_looking(&f, 150, true);	/* seen for 120 ms */
	expect(&f, "");
	pass_looking(&f, 30, true);
	expect(&f, "event error; event error; send ABDICATE 15; op stop-copy; ");
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
	pass_looking(&f, 300, true);
	expect(&f, "");
}

static void
a_qemu_that_was_stopped_for_a_moment_is_kept(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	for (unsigned i = 0; i < 20; i++) {
		pass_looking(&f, 150, true);
		pass_looking(&f, 30, false);
	}
	expect(&f, "");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

/* A whole host that was stopped wakes up one process after the other. */
static void
a_guard_that_slept_looks_anew(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass_looking(&f, 120, true);
	f.now += 3000 * MS;
	guard_tick(f.g, f.now);
	guard_qemu_looked(f.g, f.now, true, 0);
	pass_looking(&f, 120, true);
	expect(&f, "");
	pass_looking(&f, 30, false);
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

static void
nobody_waits_for_a_suspended_guest(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	guard_guest_stopped(f.g, f.now, f.now);
	expect(&f, "op stands; ");
	op_done(&f, GUARD_OP_STANDS);
	pass_looking(&f, 3000, true);
	expect(&f, "");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

/* -- promptness ----------------------------------------------------------------------------------------------------------------- */

static void
it_is_urgent_while_somebody_waits_for_it(void **state)
{
	g_auto(fixture) f;

	go_live(&f);
	assert_true(guard_is_urgent(f.g));
	fixture_clear(&f);
	protect(&f);
	assert_true(guard_is_urgent(f.g));	/* no heartbeat has come: nothing leaves */
	pass(&f, 30);
	assert_false(guard_is_urgent(f.g));
	relay_want_checkpoint(f.g->p.relay, f.now, RELAY_WANT_DIFFERENCE);
	assert_true(guard_is_urgent(f.g));
	pass(&f, 250);
	assert_true(guard_is_urgent(f.g));
	one_checkpoint(&f);
	assert_true(guard_is_urgent(f.g));
	committed(&f, 2);
	assert_false(guard_is_urgent(f.g));
	f.config->max_disk_bytes = 1 << 20;
	guest_writes(&f, 3 << 19);
	assert_true(guard_is_urgent(f.g));
}

/* -- the standby is not ready yet ---------------------------------------------------------------------------------------------------- */

static void
the_guest_does_not_stand_for_its_standby(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 4999);
	expect(&f, "");
	assert_false(f.g->p.live);
	assert_int_equal(guard_state(f.g), FAILOVER_FORMING);
	peer_says(&f, PEER_READY, NULL, 0);
	expect(&f, "send LIVE; ");
	pass(&f, 5);
	expect(&f, "qemu checkpoint-reply; ");
}

static uint64_t last_epoch;

static void
note_epoch(void *ctx, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	struct byte_reader r = byte_reader_init(head, length);

	if (type == PEER_DISK_WRITE)
		last_epoch = byte_reader_be64(&r);
}

/* The standby's QEMU empties its overlays meanwhile. */
static void
its_writes_wait_for_the_first_checkpoint_and_it_does_not(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	qemu_says_message(&f, COLO_REQUEST);
	f.g->env.peer_send = note_epoch;
	guest_writes(&f, 4096);
	assert_int_equal(last_epoch, 1);
	assert_true(((struct disk_pending *)f.g->p.disk_pending.tail->data)->answered);
	pass(&f, 4000);
	assert_int_equal(guard_state(f.g), FAILOVER_FORMING);
}

static unsigned
answered_writes(const struct fixture *f)
{
	unsigned n = 0;

	for (const GList *l = f->g->p.disk_pending.head; l; l = l->next)
		n += ((const struct disk_pending *)l->data)->answered;
	return n;
}

static void
writes_that_wait_are_answered_all_once_there_is_room(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	qemu_says_message(&f, COLO_REQUEST);
	f.config->max_disk_bytes = 4096;
	for (unsigned i = 0; i < 5; i++)
		guest_writes(&f, 4096);
	assert_int_equal(f.g->p.disk_pending.length, 5);
	assert_int_equal(answered_writes(&f), 0);
	peer_says_u64(&f, PEER_DISK_CREDIT, 1, (uint64_t[]){ 1 });
	assert_int_equal(f.g->p.disk_pending.length, 4);
	assert_int_equal(answered_writes(&f), 0);
	f.config->max_disk_bytes = 1 << 20;
	peer_says_u64(&f, PEER_DISK_CREDIT, 1, (uint64_t[]){ 2 });
	assert_int_equal(f.g->p.disk_pending.length, 3);
	assert_int_equal(answered_writes(&f), 3);
	guest_writes(&f, 4096);
	assert_int_equal(answered_writes(&f), 4);
}

static void
a_standby_that_is_ready_too_late_holds_no_output(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	qemu_says_message(&f, COLO_REQUEST);
	guard_disable(f.g, f.now);
	g_string_truncate(f.did, 0);
	peer_says(&f, PEER_READY, NULL, 0);
	expect(&f, "");
	assert_false(f.g->p.live);
}

/* Before it is, its QEMU copies all of the guest's memory once more: 12 pages, for which it has another 1.2 ms. */
static void
a_standby_that_does_not_become_ready_is_given_up(void **state)
{
	for (unsigned described = 0; described < 2; described++) {
		g_auto(fixture) f;

		copy_memory(&f, described);
		guard_tick(f.g, f.now);
		pass(&f, 5001);
		expect(&f, "");
		pass(&f, 1);
		expect(&f, "event error; send GOODBYE 12; op detach; ");
	}
}

/* -- the timer of COLO's that a clock set back puts off ------------------------------------------------------------------------- */

static void
a_request_that_does_not_come_is_nudged_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	heard(&f);
	pass(&f, 250);
	one_checkpoint(&f);
	expect(&f, "send INBOUND; qemu checkpoint-reply; " CHECKPOINT("2"));
	committed(&f, 2);
	pass(&f, 149);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "op nudge; ");
	op_done(&f, GUARD_OP_NUDGE);
	pass(&f, 300);
	expect(&f, "");
	qemu_says_message(&f, COLO_REQUEST);	/* it has worked */
	pass(&f, 3000);
	expect(&f, "");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

static void
every_epoch_may_be_nudged(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	for (unsigned epoch = 2; epoch < 5; epoch++) {
		pass(&f, 2000);
		heard(&f);
		pass(&f, 250);
		one_checkpoint(&f);
		committed(&f, epoch);
		g_string_truncate(f.did, 0);
		pass(&f, 300);
		expect(&f, "op nudge; ");
		op_done(&f, GUARD_OP_NUDGE);
		qemu_says_message(&f, COLO_REQUEST);
	}
}

static void
who_does_not_move_when_nudged_hangs(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	heard(&f);
	pass(&f, 250);
	one_checkpoint(&f);
	committed(&f, 2);
	g_string_truncate(f.did, 0);
	pass(&f, 999);
	expect(&f, "op nudge; ");		/* the command hangs, too: it is not given a second time */
	pass(&f, 1);
	expect(&f, "event error; send ABDICATE 15; op stop-copy; ");
}

/* Nobody could go on: its copy has reset itself. */
static void
a_hang_is_sat_out_while_the_copy_is_not_fit(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	copy_unfit(&f, 1);
	pass(&f, 2000);
	expect(&f, "qemu checkpoint-reply; ");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	one_checkpoint(&f);
	committed(&f, 2);
	pass(&f, 5000);
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	g_string_truncate(f.did, 0);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 1 });
	pass(&f, 1);
	expect(&f, "event error; send ABDICATE 15; op stop-copy; ");
}

static void
a_stopped_qemu_is_waited_for_while_the_copy_is_not_fit(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	copy_unfit(&f, 1);
	pass_looking(&f, 9900, true);
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	pass_looking(&f, 500, true);
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
}

/* libvirt is about to reset it: a checkpoint that begins in the middle of that ends QEMU. */
static void
a_guest_that_is_off_gets_no_checkpoint(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_guest_off(f.g, f.now, true);
	copy_unfit(&f, 1);
	pass(&f, 40);
	expect(&f, "");
	guard_guest_off(f.g, f.now, false);
	expect(&f, "qemu checkpoint-reply; ");
}

static void
nor_for_longer_than_a_second(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	guard_guest_off(f.g, f.now, true);
	copy_unfit(&f, 1);
	pass(&f, 999);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
}

/* -- suspend and resume ---------------------------------------------------------------------------------------------------------------- */

static void
refused(struct fixture *f, enum guard_op op)
{
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_QMP, "it runs");

	guard_op_done(f->g, f->now, op, error);
}

static void
no_checkpoint_while_the_guest_is_suspended(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	heard(&f);
	pass(&f, 10);
	guard_guest_stopped(f.g, f.now, f.now);
	expect(&f, "send INBOUND; op stands; ");
	op_done(&f, GUARD_OP_STANDS);
	pass(&f, 5000);
	expect(&f, "");
	assert_true(guard_is_suspended(f.g));
	guard_guest_resumed(f.g, f.now);
	assert_false(guard_is_suspended(f.g));
	expect(&f, "qemu checkpoint-reply; ");	/* its silence asked for one long ago */
}

/* The stop was told late: a checkpoint had started the guest again. */
static void
a_checkpoint_that_had_begun_is_made_good(void **state)
{
	g_auto(fixture) f;
	uint64_t stopped;

	protect(&f);
	pass(&f, 10);
	stopped = f.now;
	pass(&f, 10);
	copy_unfit(&f, 1);
	pass(&f, 1);
	guard_guest_stopped(f.g, f.now, f.now);		/* the checkpoint's own */
	guard_guest_stopped(f.g, f.now, stopped);
	guard_guest_stopped(f.g, f.now, f.now);
	one_checkpoint(&f);
	expect(&f, "qemu checkpoint-reply; " CHECKPOINT("2"));
	assert_true(guard_is_suspended(f.g));
	pass(&f, 10);
	expect(&f, "");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "op suspend; ");
	op_done(&f, GUARD_OP_SUSPEND);
	assert_true(guard_is_suspended(f.g));
	guard_guest_resumed(f.g, f.now);
	pass(&f, 1);
	guard_guest_stopped(f.g, f.now, f.now - 2 * MS);	/* our own stop, told late */
	assert_false(guard_is_suspended(f.g));
}

/* As above, but somebody has resumed it before the stop was told: two starts since then, and one checkpoint. */
static void
a_resume_that_was_overtaken_counts(void **state)
{
	g_auto(fixture) f;
	uint64_t starts[3];

	protect(&f);
	starts[0] = f.now;
	pass(&f, 10);
	starts[1] = f.now + 2 * MS;
	guard_guest_started(f.g, f.now, starts, 1);	/* nobody has suspended it */
	pass(&f, 10);
	copy_unfit(&f, 1);
	pass(&f, 1);
	guard_guest_stopped(f.g, f.now, f.now - 11 * MS);
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	op_done(&f, GUARD_OP_SUSPEND);
	starts[2] = f.now;
	g_string_truncate(f.did, 0);
	guard_guest_started(f.g, f.now, starts, 2);	/* the checkpoint may be the one that started it */
	assert_true(guard_is_suspended(f.g));
	expect(&f, "");
	guard_guest_started(f.g, f.now, starts, 3);
	assert_false(guard_is_suspended(f.g));
	pass(&f, 100);
	assert_non_null(strstr(f.did->str, "qemu checkpoint-reply; "));	/* which starts it */
}

static void
a_guest_that_was_resumed_at_once_is_not_stopped_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	guard_guest_stopped(f.g, f.now, f.now);
	expect(&f, "op stands; ");
	refused(&f, GUARD_OP_STANDS);
	expect(&f, "");
	assert_false(guard_is_suspended(f.g));
	copy_unfit(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
}

static void
a_checkpoints_own_stop_is_no_suspension(void **state)
{
	g_auto(fixture) f;
	uint64_t stopped;

	protect(&f);
	pass(&f, 10);
	copy_unfit(&f, 1);
	pass(&f, 3);
	stopped = f.now;
	one_checkpoint(&f);
	pass(&f, 10);
	qemu_says_message(&f, COLO_REQUEST);
	guard_guest_stopped(f.g, f.now, stopped);
	expect(&f, "qemu checkpoint-reply; " CHECKPOINT("2"));
	assert_false(guard_is_suspended(f.g));
}

/* -- a copy that is not fit ---------------------------------------------------------------------------------------------------------- */

static void
a_copy_that_is_not_fit_gets_a_checkpoint_at_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	copy_unfit(&f, 1);			/* that one is being made */
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_COPY_UNFIT], 1);
	qemu_says_message(&f, COLO_REQUEST);
	copy_unfit(&f, 1);			/* ... and is on its way */
	committed(&f, 2);
	expect(&f, CHECKPOINT("2"));
	pass(&f, 3000);
	expect(&f, "");
}

static void
a_copy_that_is_never_fit_is_no_storm_of_checkpoints(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	for (unsigned epoch = 2; epoch < 6; epoch++) {
		copy_unfit(&f, epoch - 1);
		copy_unfit(&f, epoch - 1);
		expect(&f, "qemu checkpoint-reply; ");
		one_checkpoint(&f);
		qemu_says_message(&f, COLO_REQUEST);
		committed(&f, epoch);
		g_string_truncate(f.did, 0);
		copy_unfit(&f, epoch);		/* a peer that does not keep to the limit */
		pass(&f, 499);
		expect(&f, "");
		copy_unfit(&f, epoch);
		pass(&f, 1);
		expect(&f, "qemu checkpoint-reply; ");
		one_checkpoint(&f);
		qemu_says_message(&f, COLO_REQUEST);
		committed(&f, ++epoch);
		g_string_truncate(f.did, 0);
		pass(&f, 500);
	}
}

static void
a_copy_that_cannot_be_ends_the_pair(void **state)
{
	static const struct { uint64_t loaded; size_t length; } bad[] = { { 2, 8 }, { UINT64_MAX, 8 }, { 1, 0 }, { 1, 7 }, { 1, 9 } };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_auto(fixture) f;
		uint8_t data[16] = { 0 };

		protect(&f);
		put_be64(data, bad[i].loaded);
		peer_says(&f, PEER_COPY_UNFIT, data, bad[i].length);
		expect(&f, "event error; claim 2 alone; ");
		assert_int_equal(guard_state(f.g), FAILOVER_DECIDING);
	}
}

/* -- flow patterns --------------------------------------------------------------------------------------------------------------- */

static void
patterns_come_with_a_checkpoint_that_is_made_for_them(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 10);
	guard_set_patterns(f.g, f.now, "udp:9,icmp", NULL);
	expect(&f, "qemu checkpoint-reply; ");
	assert_true(f.g->p.patterns_new);
	one_checkpoint(&f);
	assert_false(f.g->p.patterns_new);
	assert_string_equal(f.g->p.bypass, "udp:9,icmp");
	assert_string_equal(f.g->p.never_compare, "");
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	expect(&f, CHECKPOINT("2"));
	pass(&f, 100);
	expect(&f, "");
}

/* The boundary is over: the next checkpoint is asked for as soon as there can be one. */
static void
patterns_that_miss_a_boundary_get_the_next_one(void **state)
{
	g_auto(fixture) f;
	g_autoptr(GByteArray) b = small_checkpoint();

	protect(&f);
	pass(&f, 10);
	guard_set_patterns(f.g, f.now, "udp:9", NULL);
	qemu_says_message(&f, COLO_VMSTATE_SEND);
	guard_set_patterns(f.g, f.now, "", "tcp:80");
	qemu_says(&f, b);
	assert_true(f.g->p.patterns_new);
	expect(&f, "qemu checkpoint-reply; " CHECKPOINT("2"));
	committed(&f, 2);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 50);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_false(f.g->p.patterns_new);
	assert_string_equal(f.g->p.never_compare, "tcp:80");
}

/* -- what the standby is told ------------------------------------------------------------------------------------------------- */

static void
what_has_left_is_told_with_the_next_frame(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends(&f, 7);
	expect(&f, "");
	heard(&f);
	expect(&f, "send TWIN_LEFT 7; send INBOUND; ");
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends(&f, 8);
	pass(&f, 4);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "send TWIN_LEFT 8; ");
}

/* While the standby may have given this side up nothing leaves, so it is not told that anything has. */
static void
what_waits_for_the_lease_has_not_left(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	guest_frame(&f, GUARD_PORT_OUT);
	f.now = f.g->p.lease_until;
	copy_sends(&f, 7);
	heard(&f);
	expect(&f, "send INBOUND; ");
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ f.now, f.now, 0 });
	heard(&f);
	expect(&f, "send TWIN_LEFT 7; send INBOUND; ");
}

/* Heartbeats come over two connections: what comes late is a sign of life, but tells an old time. */
static void
a_late_heartbeat_says_nothing_new(void **state)
{
	uint64_t heard_at, lease;
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ f.now + 5, f.now, 0 });
	heard_at = f.g->peer_clock_at;
	lease = f.g->p.lease_until;
	f.now += 30 * MS;
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ heard_at + 5, f.now, 0 });
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ heard_at - 50 * MS, f.now, 0 });
	assert_int_equal(f.g->peer_clock, heard_at + 5);
	assert_int_equal(f.g->peer_clock_at, heard_at);
	assert_int_equal(f.g->p.lease_until, lease);
	assert_int_equal(f.g->liveness.heard_at, f.now);
}

/* So that each side wakes up once for both, and the other hears of its newest. */
static void
a_heartbeat_takes_ours_back_with_it(void **state)
{
	unsigned sent;
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	f.now = f.g->liveness.sent_at + 16 * MS;
	sent = f.heartbeats;
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ f.now + 5, f.now, 0 });
	assert_int_equal(f.heartbeats, sent + 1);
	assert_int_equal(f.heartbeat_echo, f.now + 5);
	f.now += 10 * MS;
	guard_tick(f.g, f.now);
	peer_says_u64(&f, PEER_HEARTBEAT, 3, (uint64_t[]){ f.now + 5, f.now, 0 });
	assert_int_equal(f.heartbeats, sent + 1);
}

/* TCP may hold it up for a quarter of an hour, and what the standby has decided with it. */
static void
a_fast_connection_that_stands_still_is_noticed(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	for (unsigned i = 1; i <= 260; i++) {
		uint8_t data[24];
		g_autoptr(GBytes) payload = NULL;
		struct peer_frame frame = { .type = PEER_HEARTBEAT, .channel = PEER_CHANNEL_DISK, .generation = guard_generation(f.g), .length = sizeof data };

		f.now += 20 * MS;
		put_be64(data, f.now);
		put_be64(data + 8, f.now);
		put_be64(data + 16, 0);
		payload = g_bytes_new(data, sizeof data);
		frame.payload = g_bytes_get_data(payload, NULL);
		guard_peer_frame(f.g, f.now, &frame, payload);
		guard_tick(f.g, f.now);
		if (i < 250)
			assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	}
	assert_int_equal(guard_state(f.g), FAILOVER_DECIDING);
}

/* -- a QEMU that ends in good order ----------------------------------------------------------------------------------------------- */

static void
ends_in_good_order(struct fixture *f)
{
	struct nbd_request r = { .op = NBD_OP_DISCONNECT };

	protect(f);
	pass(f, 100);
	g_string_truncate(f->did, 0);
	guard_disk_request(f->g, f->now, 0, &r);
	guard_qemu_gone(f->g, f->now);
	guard_qemu_gone(f->g, f->now);	/* one socket after the other */
	assert_int_equal(guard_state(f->g), FAILOVER_PROTECTED);
}

static void
that_was_on_purpose_if_nobody_says_why(void **state)
{
	g_auto(fixture) f;

	ends_in_good_order(&f);
	pass(&f, 199);
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
	pass(&f, 1);
	assert_int_equal(guard_state(f.g), FAILOVER_CLOSING);
}

static void
that_was_on_purpose_as_soon_as_somebody_says_so(void **state)
{
	g_auto(fixture) f;

	ends_in_good_order(&f);
	guard_guest_ended(f.g, f.now);
	assert_int_equal(guard_state(f.g), FAILOVER_CLOSING);
	pass(&f, 300);
	assert_int_equal(guard_state(f.g), FAILOVER_CLOSING);
}

/* libvirt destroys it, and ftd tells of the panic afterwards. */
static void
that_was_a_panic_if_somebody_says_so(void **state)
{
	g_auto(fixture) f;

	ends_in_good_order(&f);
	pass(&f, 150);
	guard_guest_failed(f.g, f.now, FAILOVER_REASON_GUEST_PANICKED);
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
	assert_non_null(strstr(f.did->str, "send ABDICATE"));
	g_string_truncate(f.did, 0);
	pass(&f, 300);
	assert_int_equal(guard_state(f.g), FAILOVER_FENCED);
	assert_null(strstr(f.did->str, "send GOODBYE"));
}

static void
half_a_buffer_of_writes_asks_for_a_checkpoint(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.config->max_disk_bytes = 1 << 20;
	guest_writes(&f, 300 << 10);
	pass(&f, 20);
	expect(&f, "send DISK_WRITE; ");
	guest_writes(&f, 300 << 10);
	expect(&f, "send DISK_WRITE; qemu checkpoint-reply; ");
	one_checkpoint(&f);
	expect(&f, CHECKPOINT("2"));
	committed(&f, 2);
	qemu_says_message(&f, COLO_REQUEST);
	/* what is on its way to the image does not ask again */
	guest_writes(&f, 300 << 10);
	pass(&f, 20);
	expect(&f, "send DISK_WRITE; ");
	guest_writes(&f, 300 << 10);
	expect(&f, "send DISK_WRITE; qemu checkpoint-reply; ");
}

/* -- what the guest may have missed ------------------------------------------------------------------------------------------ */

static const uint8_t tcp_wire[] = { 0, 0, 0, 66, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 82, 84, 0, 7, 8, 9, 10, 11, 12, 1, 2, 3, 8, 0,
	0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0 };

static void
tcp_is_heard(struct fixture *f)
{
	g_autoptr(GBytes) frame = g_bytes_new_static(tcp_wire, sizeof tcp_wire);

	guard_frame(f->g, f->now, GUARD_PORT_MIR, 0, frame);
}

static void
flagged_data_is_heard(struct fixture *f, uint8_t flags)
{
	uint8_t bytes[sizeof tcp_wire + 1] = { 0 };
	g_autoptr(GBytes) frame = NULL;

	memcpy(bytes, tcp_wire, sizeof tcp_wire);
	bytes[3]++;
	bytes[20 + 14 + 3]++;		/* the IP packet's length */
	bytes[20 + 14 + 20 + 13] |= flags;
	frame = g_bytes_new(bytes, sizeof bytes);
	guard_frame(f->g, f->now, GUARD_PORT_MIR, 0, frame);
}

static void
data_is_heard(struct fixture *f)
{
	flagged_data_is_heard(f, 0);
}

/* When QEMU stops the guest for the last part of the initial copy nobody says. */
static void
what_came_lately_is_given_again_when_the_guest_runs(void **state)
{
	g_autoptr(GByteArray) b = initial_stream();
	g_auto(fixture) f;

	put_description(b);
	start_migration(&f);
	data_is_heard(&f);
	pass(&f, 700);
	data_is_heard(&f);
	pass(&f, 290);
	data_is_heard(&f);
	pass(&f, 290);
	data_is_heard(&f);
	tcp_is_heard(&f);	/* that is no data */
	flagged_data_is_heard(&f, PACKET_TCP_SYN);
	flagged_data_is_heard(&f, PACKET_TCP_FIN);
	qemu_says(&f, b);
	op_done(&f, GUARD_OP_TRACK);
	expect(&f, "send STREAM; op track; qemu checkpoint-ready; ");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "inject; inject; inject; ");
	data_is_heard(&f);
	peer_says(&f, PEER_READY, NULL, 0);
	expect(&f, "send LIVE; ");
}

static void
long_ago(bool later)
{
	g_autoptr(GByteArray) b = initial_stream();
	g_auto(fixture) f;

	start_migration(&f);
	for (unsigned i = 0; i < 2 * GUARD_MISSED_MAX; i++)
		data_is_heard(&f);
	assert_int_equal(f.g->p.recent.length, GUARD_MISSED_MAX);
	pass(&f, 700);
	if (later)
		data_is_heard(&f);
	qemu_says(&f, b);
	peer_says(&f, PEER_READY, NULL, 0);
	op_done(&f, GUARD_OP_TRACK);
	expect(&f, "send STREAM; op track; qemu checkpoint-ready; send LIVE; ");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, later ? "send INBOUND; inject; " : "");
}

static void
what_came_long_ago_is_not_given_again(void **state)
{
	long_ago(true);
	long_ago(false);
}

/* The pair ends meanwhile, and its filters with it. */
static void
it_is_given_again_before_the_filters_go(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	tcp_is_heard(&f);
	guard_disable(f.g, f.now);
	one_checkpoint(&f);
	g_string_truncate(f.did, 0);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	expect(&f, "send GOODBYE 8; ");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; op detach; ");
}

/* QEMU may hang by now. */
static void
the_filters_go_in_any_case(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	tcp_is_heard(&f);
	guard_disable(f.g, f.now);
	one_checkpoint(&f);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	g_string_truncate(f.did, 0);
	pass(&f, 999);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "op detach; ");
}

static void
a_segment_that_came_while_the_guest_was_stopped_is_given_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	tcp_is_heard(&f);
	pass(&f, 100);
	expect(&f, "send INBOUND; ");
	copy_unfit(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	tcp_is_heard(&f);
	heard(&f);		/* that is no TCP */
	one_checkpoint(&f);
	expect(&f, "send INBOUND; send INBOUND; " CHECKPOINT("2"));
	tcp_is_heard(&f);	/* and that waits for the guest in QEMU */
	expect(&f, "send INBOUND; ");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; ");
	pass(&f, 100);
	expect(&f, "");
}

static void
what_waits_in_qemu_for_a_guest_that_stands_is_not_given_again(void **state)
{
	g_auto(fixture) f;
	g_autoptr(GByteArray) rest = small_checkpoint();

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	qemu_says_message(&f, COLO_VMSTATE_SEND);
	tcp_is_heard(&f);
	qemu_says(&f, rest);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "");
}

static void
a_former_standbys_rewriter_keeps_what_comes_for_a_guest_that_stands(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.config->nics[0].has_rewriter = true;
	pass(&f, 100);
	copy_unfit(&f, 1);
	one_checkpoint(&f);
	tcp_is_heard(&f);
	expect(&f, "qemu checkpoint-reply; " CHECKPOINT("2") "send INBOUND; ");
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; ");
}

/* Of the handshake that the client at `port` begins. tcp_wire acknowledges 2, so the SYN is 1. */
static GBytes *
handshake(uint16_t port, bool answer)
{
	uint8_t bytes[sizeof tcp_wire], *tcp = bytes + 20 + 14 + 20, *ip = bytes + 20 + 14;

	memcpy(bytes, tcp_wire, sizeof tcp_wire);
	put_be16(tcp, answer ? 81 : port);
	put_be16(tcp + 2, answer ? port : 81);
	ip[15] = answer ? 2 : 1;
	ip[19] = answer ? 1 : 2;
	tcp[13] = PACKET_TCP_SYN | (answer ? PACKET_TCP_ACK : 0);
	return g_bytes_new(bytes, sizeof bytes);
}

static void
syn_is_heard(struct fixture *f, uint16_t port)
{
	g_autoptr(GBytes) frame = handshake(port, false);

	guard_frame(f->g, f->now, GUARD_PORT_MIR, 0, frame);
}

static void
guest_answers_syn(struct fixture *f, uint16_t port)
{
	g_autoptr(GBytes) frame = handshake(port, true);

	guard_frame(f->g, f->now, GUARD_PORT_OUT, 0, frame);
}

/* The guest has been stopped, and hears of a connection meanwhile. */
static void
syn_for_a_stopped_guest(struct fixture *f, uint16_t port)
{
	pass(f, 100);
	copy_unfit(f, 1);
	syn_is_heard(f, port);
	one_checkpoint(f);
	g_string_truncate(f->did, 0);
}

static void
a_connection_that_nobody_has_answered_is_given_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	syn_for_a_stopped_guest(&f, 1000);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; ");
}

/* An answer that is held reaches nobody yet: QEMU has the double before the client has the answer. */
static void
a_connection_whose_answer_is_held_is_given_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	syn_for_a_stopped_guest(&f, 1000);
	guest_answers_syn(&f, 1000);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; ");
}

/* The client has sent it twice, and what answered the first has left. */
static void
a_connection_that_may_be_open_is_not_given_again(void **state)
{
	struct comparator_stats stats;
	g_auto(fixture) f;

	protect(&f);
	syn_is_heard(&f, 1000);
	guest_answers_syn(&f, 1000);
	syn_for_a_stopped_guest(&f, 1000);
	committed(&f, 2);
	comparator_stats(f.g->p.comparator, &stats);
	assert_int_equal(stats.released_frames[RELEASE_COMMITTED], 1);
	f.config->nics[0].has_rewriter = true;
	syn_is_heard(&f, 1000);
	syn_is_heard(&f, 1001);
	data_is_heard(&f);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; send INBOUND; inject; ");	/* the other one, and the data */
}

/* That is the answer to the guest's own SYN, which has left. */
static void
an_answer_to_the_guests_own_connection_is_given_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	f.unread = true;	/* whatever the guest's socket has */
	flagged_data_is_heard(&f, PACKET_TCP_SYN);
	one_checkpoint(&f);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; ");
}

/* There is no copy any more whose rewriter would miscount. */
static void
one_that_is_alone_is_given_all_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	syn_is_heard(&f, 1000);
	guard_disable(f.g, f.now);
	one_checkpoint(&f);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "send INBOUND; inject; op detach; ");
}

/* Behind other frames QEMU might read it after it has let the answer go. */
static void
a_connection_is_given_again_only_where_qemu_reads_it_at_once(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	syn_for_a_stopped_guest(&f, 1000);
	f.unread = true;
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "");
}

static void
connections_are_given_again_before_all_else_and_few_of_them(void **state)
{
	const unsigned most = GUARD_SYNS_AGAIN_BYTES / sizeof tcp_wire;
	g_auto(fixture) f;
	unsigned injected = 0;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	data_is_heard(&f);
	for (uint16_t port = 1000; port < 1000 + 2 * most; port++)
		syn_is_heard(&f, port);
	one_checkpoint(&f);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	for (const char *at = f.did->str; (at = strstr(at, "inject; ")); at++)
		injected++;
	assert_int_equal(injected, most + 1);
	assert_int_equal(f.g->p.given_again.length, injected);
	for (unsigned i = 0, nic; i < injected; i++) {
		g_autoptr(GBytes) frame = frame_queue_pop(&f.g->p.given_again, &nic);
		struct packet p;

		packet_parse(&p, frame);
		assert_int_equal(!!(p.flags & PACKET_TCP_SYN), i < most);
	}
}

/* The initial stream is over, and QEMU not let go yet. */
static void
end_stream(struct fixture *f)
{
	g_autoptr(GByteArray) b = initial_stream();

	put_description(b);
	start_migration(f);
	qemu_says(f, b);
	expect(f, "send STREAM; op track; ");
}

/* The standby may be ready before. */
static void
ready_waits_for_what_the_guest_writes_to_be_noted(void **state)
{
	g_auto(fixture) f;

	end_stream(&f);
	peer_says(&f, PEER_READY, NULL, 0);
	pass(&f, GUARD_READY_TIMEOUT_NS / MS);	/* the standby is not to blame */
	expect(&f, "");
	op_done(&f, GUARD_OP_TRACK);
	expect(&f, "qemu checkpoint-ready; send LIVE; ");
}

/* What is done to a guest that stands is not done to one that runs; but not for ever. */
static void
a_pair_that_is_called_off_lets_qemu_go_when_its_guest_is_left_alone(void **state)
{
	g_auto(fixture) f, hangs;

	end_stream(&f);
	guard_disable(f.g, f.now);
	g_string_truncate(f.did, 0);
	pass(&f, 900);
	expect(&f, "");
	op_done(&f, GUARD_OP_TRACK);
	expect(&f, "op detach; ");

	end_stream(&hangs);
	guard_disable(hangs.g, hangs.now);
	g_string_truncate(hangs.did, 0);
	pass(&hangs, 1000);
	expect(&hangs, "op detach; ");
	op_done(&hangs, GUARD_OP_TRACK);
	expect(&hangs, "");
}

static void
a_stream_that_ends_after_all_was_called_off_changes_nothing(void **state)
{
	g_autoptr(GByteArray) b = initial_stream();
	g_auto(fixture) f;

	put_description(b);
	start_migration(&f);
	guard_disable(f.g, f.now);
	g_string_truncate(f.did, 0);
	qemu_says(&f, b);
	assert_null(strstr(f.did->str, "track"));
	assert_null(strstr(f.did->str, "ready"));
}

static void
a_guest_whose_writes_are_missed_is_not_protected(void **state)
{
	g_auto(fixture) f;

	end_stream(&f);
	refused(&f, GUARD_OP_TRACK);
	expect(&f, "event error; send GOODBYE 12; op detach; ");
	assert_int_not_equal(guard_state(f.g), FAILOVER_FORMING);
}

/* Its double would come when the connection is open: to the rewriter that is a new one. */
static void
a_connection_that_is_opened_before_the_first_request_is_not_given_again(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	f.config->nics[0].has_rewriter = true;
	flagged_data_is_heard(&f, PACKET_TCP_SYN);
	tcp_is_heard(&f);	/* nor is that data */
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "");
}

static void
data_that_comes_before_the_first_request_is_given_again(void **state)
{
	g_auto(fixture) f;

	copy_memory(&f, true);
	f.config->nics[0].has_rewriter = true;
	data_is_heard(&f);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "inject; ");
}

/* Nor can QEMU be sure to have given it what it had not read. */
static void
what_qemu_reads_too_late_is_given_again_again(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	copy_unfit(&f, 1);
	tcp_is_heard(&f);
	one_checkpoint(&f);
	committed(&f, 2);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "qemu checkpoint-reply; send INBOUND; " CHECKPOINT("2") "send INBOUND; inject; ");
	f.unread = true;
	pass(&f, 600);
	copy_unfit(&f, 2);
	one_checkpoint(&f);
	f.unread = false;
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, "qemu checkpoint-reply; " CHECKPOINT("3") "send INBOUND; inject; ");
}

/* It had nothing to say, so nobody can tell that it is level: a switchover begins with a checkpoint. */
static void
hand_over_by_checkpoint(struct fixture *f)
{
	protect(f);
	pass(f, 100);
	peer_says_u64(f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	guard_switchover(f->g, f->now);
	pass(f, 199);
	expect(f, "send SWITCHOVER; ");
	pass(f, 2);
	expect(f, "send SWITCHOVER; qemu checkpoint-reply; ");
}

/* It is in no checkpoint. */
static void
nothing_is_handed_over_while_the_guest_misses_something(void **state)
{
	g_auto(fixture) f;

	hand_over_by_checkpoint(&f);
	tcp_is_heard(&f);
	one_checkpoint(&f);
	committed(&f, 2);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 1 });
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends_in(&f, 1, 3);
	pass(&f, 35);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_QUIET);
	g_string_truncate(f.did, 0);
	f.unread = true;
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 5);
	expect(&f, "send INBOUND; inject; ");
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_QUIET);
	f.unread = false;
	pass(&f, 5);
	expect(&f, "send SWITCHOVER; ");
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_TOLD);
}

/* -- handing over ------------------------------------------------------------------------------------------------------------- */

/* A switchover's first checkpoint, 2, is loaded while something that the guest sent waits for the copy. */
static void
warm_up(struct fixture *f)
{
	hand_over_by_checkpoint(f);
	one_checkpoint(f);
	expect(f, CHECKPOINT("2"));
	qemu_says_message(f, COLO_REQUEST);
	guest_frame(f, GUARD_PORT_OUT);
	committed(f, 2);
	pass(f, 5);
	peer_says_u64(f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 1 });
	pass(f, 10);
	expect(f, "");
}

/* A client that waits while the copy loads waits for that, and is not kept waiting for the hand-over too. */
static void
a_copy_catches_up_before_it_is_handed_the_guest(void **state)
{
	g_auto(fixture) f;

	warm_up(&f);
	copy_sends_in(&f, 1, 3);
	pass(&f, 25);
	expect(&f, "send TWIN_LEFT 1; ");
	pass(&f, 11);
	expect(&f, "send SWITCHOVER; ");
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends_in(&f, 2, 3);
	pass(&f, 6);
	expect(&f, "");		/* it is the standby that sends this */
}

static void
ask_standby_of_level_copy(struct fixture *f)
{
	warm_up(f);
	copy_sends_in(f, 1, 3);
	pass(f, 36);
	expect(f, "send TWIN_LEFT 1; send SWITCHOVER; ");
}

/* What has left since its last load it has sent, too. */
static void
a_copy_that_is_level_already_needs_no_checkpoint(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	guard_switchover(f.g, f.now);
	pass(&f, 29);
	expect(&f, "send SWITCHOVER; ");
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends_in(&f, 1, 2);
	expect(&f, "");
	pass(&f, 2);
	expect(&f, "send TWIN_LEFT 1; send SWITCHOVER; ");
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_TOLD);
}

/* It would keep clients waiting while it commits them. */
static void
a_copy_with_much_in_its_overlays_is_warmed_up(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	f.g->p.disk_epoch_bytes = GUARD_SWITCHOVER_DISK_BYTES + 1;
	guard_switchover(f.g, f.now);
	expect(&f, "send SWITCHOVER; qemu checkpoint-reply; ");
}

/* Its twin in this case had its answer ready: the copy itself is not heard. */
static void
a_guest_that_was_heard_alone_has_no_level_copy(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	copy_sends_in(&f, 1, 2);
	guard_switchover(f.g, f.now);
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 190);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_AS_IT_IS);
}

static void
a_copy_that_has_something_to_load_is_not_level(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	guard_switchover(f.g, f.now);
	expect(&f, "send SWITCHOVER; qemu checkpoint-reply; ");
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_WARM);
}

/* The difference has asked for the checkpoint that the copy is warmed up with. */
static void
a_copy_that_differs_is_warmed_up(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	pass(&f, 100);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 1, 1, 1 });
	guard_switchover(f.g, f.now);
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 25);
	expect(&f, "send SWITCHOVER; qemu checkpoint-reply; send SWITCHOVER; ");
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_WARM);
}

/* In epoch 3, with REQUEST there. */
static void
go_passive(struct fixture *f)
{
	protect(f);
	pass(f, 100);
	guard_set_mode(f->g, f->now, MODE_PASSIVE);
	one_checkpoint(f);
	committed(f, 2);
	qemu_says_message(f, COLO_REQUEST);
	assert_true(f->g->p.passive);
	g_string_truncate(f->did, 0);
}

static void
passive_output_asks_for_a_checkpoint(void **state)
{
	g_auto(fixture) f;

	go_passive(&f);
	pass(&f, 40);
	expect(&f, "");
	guest_frame(&f, GUARD_PORT_OUT);	/* nobody has asked for more */
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	assert_int_equal(f.g->p.wants[RELAY_WANT_OUTPUT], 1);
	expect(&f, CHECKPOINT("3"));
	/* While that one is under way there is no other. */
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 20);
	expect(&f, "");
	committed(&f, 3);
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 4);
	g_string_truncate(f.did, 0);
	/* Nothing waits any more. */
	pass(&f, 49);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_EPOCH_LIMIT], 1);
}

/* An empty datagram between 10.0.0.1:7, which is the guest's, and 10.0.0.2:8. */
static void
datagram(struct fixture *f, enum guard_port port)
{
	static const uint8_t head[] = { 0, 0, 0, 54, 0, 0, 0, 12, [32] = 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, [46] = 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 8, 0, 8, 0, 0 };
	g_autofree uint8_t *p = g_memdup2(head, sizeof head);
	g_autoptr(GBytes) frame = NULL;

	if (port == GUARD_PORT_MIR) {
		p[49] = 2, p[53] = 1;
		p[55] = 8, p[57] = 7;
	}
	frame = g_bytes_new(p, sizeof head);
	guard_frame(f->g, f->now, port, 0, frame);
}

static void
passive_output_waits_for_an_answer_that_is_due(void **state)
{
	g_auto(fixture) f;

	go_passive(&f);
	datagram(&f, GUARD_PORT_OUT);
	pass(&f, 5);
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 3);
	g_string_truncate(f.did, 0);
	pass(&f, 20);
	datagram(&f, GUARD_PORT_MIR);
	guest_frame(&f, GUARD_PORT_OUT);	/* something else */
	pass(&f, 2);
	expect(&f, "send INBOUND; ");
	datagram(&f, GUARD_PORT_OUT);
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 4);
	g_string_truncate(f.did, 0);
	/* But not for long. */
	pass(&f, 20);
	datagram(&f, GUARD_PORT_MIR);
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 2);
	expect(&f, "send INBOUND; ");
	pass(&f, 1);
	expect(&f, "qemu checkpoint-reply; ");
}

/* A copy that stands cannot take over as it runs. Should nothing come of it, the mode is what it was. */
static void
passive_mode_ends_with_the_switchover(void **state)
{
	g_auto(fixture) f;

	go_passive(&f);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 1 });
	guard_switchover(f.g, f.now);
	pass(&f, 5);
	expect(&f, "send SWITCHOVER; qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_false(f.g->p.passive);
	assert_non_null(strstr(f.did->str, "send MODE 0; "));
	pass(&f, 30);
	g_string_truncate(f.did, 0);
	guard_policy(f.g, f.now, FAILOVER_EV_SWITCHOVER_OFF, FAILOVER_REASON_NONE);
	expect(&f, "");
	committed(&f, 3);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 30);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	assert_true(f.g->p.passive);
}

/* Until the arbiter answers nothing changes for the guest. */
static void
passive_mode_outlasts_a_disable_that_waits(void **state)
{
	g_auto(fixture) f;

	go_passive(&f);
	guard_disable(f.g, f.now);
	assert_int_equal(guard_state(f.g), FAILOVER_ASKING);
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 10);
	one_checkpoint(&f);
	assert_int_equal(f.g->p.wants[RELAY_WANT_OUTPUT], 1);
	assert_true(f.g->p.passive);
}

/* Whatever its settings: else it would take each pause between two ticks for sleep, and put off what waits for a hanging peer or QEMU. */
static void
a_guard_that_is_awake_knows_it(void **state)
{
	g_auto(fixture) f;

	protect(&f);
	f.g->liveness.interval_ns = 1000 * MS;
	f.g->liveness.limit_ns = 4000 * MS;
	for (unsigned i = 0; i < 20; i++) {
		f.now = MAX(guard_deadline(f.g), f.now + 1);
		guard_tick(f.g, f.now);
	}
	assert_true(f.g->awake_since < f.now - GUARD_ASLEEP_NS);
}

/* It runs unheard, and no checkpoint is made, whatever asks for one: the copy would have to load it. */
static void
a_guest_whose_copy_is_level_is_handed_over_as_it_runs(void **state)
{
	g_auto(fixture) f;

	ask_standby_of_level_copy(&f);
	guest_frame(&f, GUARD_PORT_OUT);
	guest_frame(&f, GUARD_PORT_MIR);
	pass(&f, 300);
	expect(&f, "send INBOUND; ");
	guard_policy(f.g, f.now, FAILOVER_EV_PEER_GOODBYE, FAILOVER_REASON_OPERATOR_SWITCHOVER);
	expect(&f, "op stop-copy; ");
	guest_frame(&f, GUARD_PORT_MIR);	/* before it is gone */
	expect(&f, "send INBOUND; ");
	f.config->max_held_bytes = 0;
	guest_frame(&f, GUARD_PORT_OUT);
	expect(&f, "");
}

/* Then it is a guest like any other again: what was held is compared, or leaves by commit. */
static void
a_guest_that_was_not_taken_over_gets_its_checkpoints_again(void **state)
{
	g_auto(fixture) f;

	ask_standby_of_level_copy(&f);
	guest_frame(&f, GUARD_PORT_OUT);
	pass(&f, 1001);
	expect(&f, "send SWITCHOVER; qemu checkpoint-reply; off; ");
}

/* Its output leaves by commit then, as ever, and it has to be level since that was loaded. */
static void
a_copy_that_is_slow_costs_a_checkpoint_more(void **state)
{
	g_auto(fixture) f;

	warm_up(&f);
	pass(&f, 10);
	expect(&f, "qemu checkpoint-reply; ");
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	expect(&f, CHECKPOINT("3"));
	committed(&f, 3);
	pass(&f, 40);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_CATCHUP);
	expect(&f, "");
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 3, 1, 1 });
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends_in(&f, 1, 4);
	pass(&f, 29);
	expect(&f, "send TWIN_LEFT 1; ");
	pass(&f, 2);
	expect(&f, "send SWITCHOVER; ");
}

/* It may hang as well as it may have nothing to say. */
static void
a_copy_that_says_nothing_is_not_level(void **state)
{
	g_auto(fixture) f;

	hand_over_by_checkpoint(&f);
	one_checkpoint(&f);
	qemu_says_message(&f, COLO_REQUEST);
	committed(&f, 2);
	peer_says_u64(&f, PEER_SVM_LOADED, 3, (uint64_t[]){ 2, 1, 1 });
	pass(&f, 490);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_CATCHUP);
	pass(&f, 20);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_LAST);
}

/* What it hears of a frame that has left just now is in time: the copy would send it again. */
static void
the_standby_knows_what_has_left_before_it_is_asked(void **state)
{
	g_auto(fixture) f;

	warm_up(&f);
	copy_sends_in(&f, 1, 3);
	pass(&f, 28);
	expect(&f, "send TWIN_LEFT 1; ");
	guest_frame(&f, GUARD_PORT_OUT);
	copy_sends_in(&f, 2, 3);
	pass(&f, 3);
	expect(&f, "send TWIN_LEFT 2; send SWITCHOVER; ");
}

/* No checkpoint makes room for what is held. */
static void
a_guest_that_sends_too_much_stays(void **state)
{
	g_auto(fixture) f;

	ask_standby_of_level_copy(&f);
	f.config->max_held_bytes = 0;
	guest_frame(&f, GUARD_PORT_OUT);
	expect(&f, "send SWITCHOVER; off; ");
	assert_int_equal(guard_state(f.g), FAILOVER_PROTECTED);
}

static void
a_copy_that_does_not_catch_up_is_handed_it_all_the_same(void **state)
{
	g_auto(fixture) f;

	warm_up(&f);
	pass(&f, 489);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_CATCHUP);
	pass(&f, 2);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_LAST);
}

/* One that was made already when time is up is not the last one. */
static void
the_last_checkpoint_is_asked_for_as_soon_as_one_can_be(void **state)
{
	g_autoptr(GByteArray) b = small_checkpoint();
	g_auto(fixture) f;

	warm_up(&f);
	pass(&f, 480);
	relay_want_checkpoint(f.g->p.relay, f.now, RELAY_WANT_TIMEOUT);
	pass(&f, 1);
	qemu_says_message(&f, COLO_VMSTATE_SEND);
	pass(&f, 10);
	assert_int_equal(f.g->p.switchover.step, SWITCHOVER_LAST);
	qemu_says(&f, b);
	committed(&f, 3);
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 5);	/* an epoch is no shorter */
	expect(&f, "qemu checkpoint-reply; ");
}

/* -- going on alone ------------------------------------------------------------------------------------------------------------ */

/* The other side gives up while the guest stands for a checkpoint, and the arbiter says that this side goes on. */
static void
alone_in_a_checkpoint(struct fixture *f)
{
	uint8_t reason[2];

	protect(f);
	copy_unfit(f, 1);
	pass(f, 5);
	qemu_says_message(f, COLO_VMSTATE_SEND);
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(f, PEER_ABDICATE, reason, sizeof reason);
	guard_claimed(f->g, f->now, ARBITER_GRANTED, NULL, NULL);
	assert_int_equal(guard_state(f->g), FAILOVER_SETTLING);
	assert_null(strstr(f->did->str, "op detach"));
	g_string_truncate(f->did, 0);
}

static void
a_guest_that_stands_goes_on_before_we_leave(void **state)
{
	g_autoptr(GByteArray) b = small_checkpoint();
	g_auto(fixture) f;

	alone_in_a_checkpoint(&f);
	qemu_says(&f, b);
	assert_non_null(strstr(f.did->str, "qemu vmstate-received vmstate-loaded; op detach; "));
	g_string_truncate(f.did, 0);
	qemu_says_message(&f, COLO_REQUEST);
	pass(&f, 3000);
	expect(&f, "");
}

static void
a_qemu_that_does_not_end_its_checkpoint_is_left(void **state)
{
	g_auto(fixture) f;

	alone_in_a_checkpoint(&f);
	pass(&f, (unsigned)(GUARD_DETACH_CHECKPOINT_NS / MS) - 10);
	expect(&f, "");
	pass(&f, 20);
	expect(&f, "op detach; ");
}

/* Held output had reached its limit: the guest would stand until the commit that nobody will send. */
static void
a_guest_that_stood_for_its_output_goes_on(void **state)
{
	g_autoptr(GByteArray) b = small_checkpoint();
	uint8_t reason[2];
	g_auto(fixture) f;

	protect(&f);
	copy_unfit(&f, 1);
	pass(&f, 5);
	while (!comparator_full(f.g->p.comparator))
		guest_frame(&f, GUARD_PORT_OUT);
	qemu_says_message(&f, COLO_VMSTATE_SEND);
	qemu_says(&f, b);
	assert_null(strstr(f.did->str, "vmstate-loaded"));
	put_be16(reason, FAILOVER_REASON_QEMU_DIED);
	peer_says(&f, PEER_ABDICATE, reason, sizeof reason);
	guard_claimed(f.g, f.now, ARBITER_GRANTED, NULL, NULL);
	assert_non_null(strstr(f.did->str, "qemu vmstate-received vmstate-loaded; op detach; "));
}

/* -- comparing disks ------------------------------------------------------------------------------------------------------------ */

static void
the_first_copy_is_compared(void **state)
{
	g_auto(fixture) f;
	uint64_t same;

	copy_disks(&f);
	guest_writes(&f, DISK_COMPARE_BLOCK - 1);
	expect(&f, "send DISK_WRITE; ");
	guest_writes(&f, DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_COMPARE; ");
	wanted(&f, 1, 0);
	expect(&f, "");
	guest_writes(&f, 2 * DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_COMPARE; ");
	wanted(&f, 2, 2);
	expect(&f, "send DISK_WRITE; ");
	assert_int_equal(guard_disk_compared(f.g, &same), 3 * DISK_COMPARE_BLOCK);
	assert_int_equal(same, 2 * DISK_COMPARE_BLOCK);
}

static void
what_is_kept_is_sent_before_a_later_write(void **state)
{
	g_auto(fixture) f;

	copy_disks(&f);
	guest_writes(&f, 2 * DISK_COMPARE_BLOCK);
	guest_writes(&f, 1);
	expect(&f, "send DISK_COMPARE; send DISK_WRITE; send DISK_WRITE; ");
	guest_writes(&f, DISK_COMPARE_BLOCK);		/* all are at the same place */
	expect(&f, "send DISK_COMPARE; ");
	guest_writes(&f, DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_WRITE; send DISK_COMPARE; ");
	wanted(&f, 1, 3);
	wanted(&f, 2, 1);
	expect(&f, "");
	wanted(&f, 3, 1);
	expect(&f, "send DISK_WRITE; ");
}

static void
an_image_that_was_made_anew_is_not_compared(void **state)
{
	g_auto(fixture) f;

	copy_disks(&f);
	f.config->disks[0].compare = false;
	guest_writes(&f, DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_WRITE; ");
}

static void
nothing_is_compared_once_the_copy_is_in_step(void **state)
{
	g_auto(fixture) f;

	copy_disks(&f);
	guest_writes(&f, DISK_COMPARE_BLOCK);
	op_done(&f, GUARD_OP_DISKS);
	expect(&f, "send DISK_COMPARE; op migrate; ");
	guest_writes(&f, DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_WRITE; send DISK_WRITE; ");
	wanted(&f, 1, 1);
	expect(&f, "");
	assert_int_equal(guard_state(f.g), FAILOVER_FORMING);
}

/* They are of epoch 0. */
static void
what_is_kept_is_sent_before_the_first_epoch(void **state)
{
	g_auto(fixture) f;
	g_autoptr(GByteArray) b = initial_stream();

	copy_disks(&f);
	guest_writes(&f, DISK_COMPARE_BLOCK);
	op_done(&f, GUARD_OP_DISKS);
	op_done(&f, GUARD_OP_MIGRATE);
	qemu_says(&f, b);
	peer_says(&f, PEER_READY, NULL, 0);
	op_done(&f, GUARD_OP_TRACK);
	expect(&f, "send DISK_COMPARE; op migrate; send STREAM; send DISK_WRITE; op track; qemu checkpoint-ready; send LIVE; ");
}

static void
no_more_is_read_than_can_be_compared(void **state)
{
	g_auto(fixture) f;
	struct nbd_request r = { .op = NBD_OP_WRITE, .length = DISK_COMPARE_BLOCK };

	copy_disks(&f);
	f.config->disks[0].size = UINT64_C(1) << 40;
	for (unsigned i = 0; i < DISK_COMPARE_MAX_REQUESTS; i++) {
		assert_true(guard_disk_reading(f.g));
		r.data = g_bytes_new_take(g_malloc0(r.length), r.length);
		r.offset = (uint64_t)i * r.length;
		guard_disk_request(f.g, f.now, 0, &r);
	}
	assert_false(guard_disk_reading(f.g));
	g_string_truncate(f.did, 0);
	r.data = g_bytes_new_take(g_malloc0(r.length), r.length);	/* was read already */
	r.offset = UINT64_C(1) << 30;
	guard_disk_request(f.g, f.now, 0, &r);
	expect(&f, "send DISK_WRITE; ");
	wanted(&f, 7, 0);
	assert_true(guard_disk_reading(f.g));
}

static void
an_answer_is_not_waited_for_for_ever(void **state)
{
	g_auto(fixture) f;

	copy_disks(&f);
	pass(&f, 60000);
	guest_writes(&f, DISK_COMPARE_BLOCK);
	pass(&f, 4000);
	wanted(&f, 1, 0);
	pass(&f, 60000);
	guest_writes(&f, DISK_COMPARE_BLOCK);
	expect(&f, "send DISK_COMPARE; send DISK_COMPARE; ");
	pass(&f, 4999);
	expect(&f, "");
	pass(&f, 1);
	expect(&f, "event error; send GOODBYE 12; op detach; ");
}

static void
a_wrong_answer_ends_it(void **state)
{
	static const uint64_t answers[][2] = { { 0, 0 }, { 2, 0 }, { 1, 2 }, { UINT64_MAX, UINT64_MAX } };

	for (unsigned i = 0; i <= G_N_ELEMENTS(answers); i++) {
		g_auto(fixture) f;

		copy_disks(&f);
		guest_writes(&f, DISK_COMPARE_BLOCK);
		if (i < G_N_ELEMENTS(answers))
			wanted(&f, answers[i][0], answers[i][1]);
		else
			peer_says_u64(&f, PEER_DISK_WANTED, 3, (uint64_t[]){ 1, 0, 0 });
		expect(&f, "send DISK_COMPARE; event error; send GOODBYE 12; op detach; ");
	}
}

static void
a_link_that_is_lost_meanwhile_ends_it(void **state)
{
	g_auto(fixture) f;

	copy_disks(&f);
	guest_writes(&f, DISK_COMPARE_BLOCK);
	g_string_truncate(f.did, 0);
	guard_peer_closed(f.g, f.now, PEER_CHANNEL_DISK, "reset");
	expect(&f, "op detach; ");
	wanted(&f, 1, 1);	/* whatever still comes */
	pass(&f, 60000);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_pair_counts_from_the_second_checkpoint_on),
	cmocka_unit_test(without_its_mirror_no_checkpoint_counts), cmocka_unit_test(an_idle_guest_is_left_alone),
	cmocka_unit_test(a_guest_that_falls_silent_is_asked_for_a_checkpoint_once),
	cmocka_unit_test(a_guest_that_speaks_now_and_then_is_not_asked_each_time),
	cmocka_unit_test(a_guest_that_is_silent_after_a_checkpoint_is_asked_too),
	cmocka_unit_test(a_guest_that_wakes_up_is_not_left_to_its_long_epoch),
	cmocka_unit_test(so_is_one_that_writes_to_its_disk),
	cmocka_unit_test(a_guest_that_works_is_not_left_to_its_long_epoch),
	cmocka_unit_test(loads_are_counted_by_what_they_load),
	cmocka_unit_test(a_guest_that_does_not_answer_is_given_up),
	cmocka_unit_test(a_guard_that_slept_waits_anew),
	cmocka_unit_test(a_stopped_qemu_is_given_up_as_a_silent_host_is),
	cmocka_unit_test(a_qemu_that_was_stopped_for_a_moment_is_kept),
	cmocka_unit_test(a_guard_that_slept_looks_anew),
	cmocka_unit_test(nobody_waits_for_a_suspended_guest),
	cmocka_unit_test(it_is_urgent_while_somebody_waits_for_it),
	cmocka_unit_test(the_guest_does_not_stand_for_its_standby),
	cmocka_unit_test(its_writes_wait_for_the_first_checkpoint_and_it_does_not),
	cmocka_unit_test(writes_that_wait_are_answered_all_once_there_is_room),
	cmocka_unit_test(a_standby_that_is_ready_too_late_holds_no_output),
	cmocka_unit_test(a_standby_that_does_not_become_ready_is_given_up),
	cmocka_unit_test(a_request_that_does_not_come_is_nudged_once),
	cmocka_unit_test(every_epoch_may_be_nudged),
	cmocka_unit_test(who_does_not_move_when_nudged_hangs),
	cmocka_unit_test(a_hang_is_sat_out_while_the_copy_is_not_fit),
	cmocka_unit_test(a_stopped_qemu_is_waited_for_while_the_copy_is_not_fit),
	cmocka_unit_test(a_guest_that_is_off_gets_no_checkpoint),
	cmocka_unit_test(nor_for_longer_than_a_second),
	cmocka_unit_test(no_checkpoint_while_the_guest_is_suspended),
	cmocka_unit_test(a_checkpoint_that_had_begun_is_made_good),
	cmocka_unit_test(a_resume_that_was_overtaken_counts),
	cmocka_unit_test(a_guest_that_was_resumed_at_once_is_not_stopped_again),
	cmocka_unit_test(a_checkpoints_own_stop_is_no_suspension),
	cmocka_unit_test(a_copy_that_is_not_fit_gets_a_checkpoint_at_once),
	cmocka_unit_test(a_copy_that_is_never_fit_is_no_storm_of_checkpoints),
	cmocka_unit_test(a_copy_that_cannot_be_ends_the_pair),
	cmocka_unit_test(patterns_come_with_a_checkpoint_that_is_made_for_them),
	cmocka_unit_test(patterns_that_miss_a_boundary_get_the_next_one),
	cmocka_unit_test(what_has_left_is_told_with_the_next_frame),
	cmocka_unit_test(what_waits_for_the_lease_has_not_left),
	cmocka_unit_test(a_late_heartbeat_says_nothing_new),
	cmocka_unit_test(a_heartbeat_takes_ours_back_with_it),
	cmocka_unit_test(a_fast_connection_that_stands_still_is_noticed),
	cmocka_unit_test(that_was_on_purpose_if_nobody_says_why),
	cmocka_unit_test(that_was_on_purpose_as_soon_as_somebody_says_so),
	cmocka_unit_test(that_was_a_panic_if_somebody_says_so),
	cmocka_unit_test(half_a_buffer_of_writes_asks_for_a_checkpoint),
	cmocka_unit_test(a_segment_that_came_while_the_guest_was_stopped_is_given_again),
	cmocka_unit_test(what_came_lately_is_given_again_when_the_guest_runs),
	cmocka_unit_test(what_came_long_ago_is_not_given_again),
	cmocka_unit_test(it_is_given_again_before_the_filters_go),
	cmocka_unit_test(the_filters_go_in_any_case),
	cmocka_unit_test(what_waits_in_qemu_for_a_guest_that_stands_is_not_given_again),
	cmocka_unit_test(a_former_standbys_rewriter_keeps_what_comes_for_a_guest_that_stands),
	cmocka_unit_test(ready_waits_for_what_the_guest_writes_to_be_noted),
	cmocka_unit_test(a_pair_that_is_called_off_lets_qemu_go_when_its_guest_is_left_alone),
	cmocka_unit_test(a_stream_that_ends_after_all_was_called_off_changes_nothing),
	cmocka_unit_test(a_guest_whose_writes_are_missed_is_not_protected),
	cmocka_unit_test(a_connection_that_nobody_has_answered_is_given_again),
	cmocka_unit_test(a_connection_whose_answer_is_held_is_given_again),
	cmocka_unit_test(a_connection_that_may_be_open_is_not_given_again),
	cmocka_unit_test(an_answer_to_the_guests_own_connection_is_given_again),
	cmocka_unit_test(one_that_is_alone_is_given_all_again),
	cmocka_unit_test(a_connection_is_given_again_only_where_qemu_reads_it_at_once),
	cmocka_unit_test(connections_are_given_again_before_all_else_and_few_of_them),
	cmocka_unit_test(a_connection_that_is_opened_before_the_first_request_is_not_given_again),
	cmocka_unit_test(data_that_comes_before_the_first_request_is_given_again),
	cmocka_unit_test(what_qemu_reads_too_late_is_given_again_again),
	cmocka_unit_test(nothing_is_handed_over_while_the_guest_misses_something),
	cmocka_unit_test(a_copy_catches_up_before_it_is_handed_the_guest),
	cmocka_unit_test(a_copy_that_is_level_already_needs_no_checkpoint),
	cmocka_unit_test(a_copy_with_much_in_its_overlays_is_warmed_up),
	cmocka_unit_test(a_guest_that_was_heard_alone_has_no_level_copy),
	cmocka_unit_test(a_copy_that_has_something_to_load_is_not_level),
	cmocka_unit_test(a_copy_that_differs_is_warmed_up),
	cmocka_unit_test(passive_output_asks_for_a_checkpoint),
	cmocka_unit_test(passive_output_waits_for_an_answer_that_is_due),
	cmocka_unit_test(passive_mode_ends_with_the_switchover),
	cmocka_unit_test(passive_mode_outlasts_a_disable_that_waits),
	cmocka_unit_test(a_guard_that_is_awake_knows_it),
	cmocka_unit_test(a_guest_whose_copy_is_level_is_handed_over_as_it_runs),
	cmocka_unit_test(a_guest_that_was_not_taken_over_gets_its_checkpoints_again),
	cmocka_unit_test(a_copy_that_says_nothing_is_not_level),
	cmocka_unit_test(the_standby_knows_what_has_left_before_it_is_asked),
	cmocka_unit_test(a_guest_that_sends_too_much_stays),
	cmocka_unit_test(a_copy_that_is_slow_costs_a_checkpoint_more),
	cmocka_unit_test(a_copy_that_does_not_catch_up_is_handed_it_all_the_same),
	cmocka_unit_test(the_last_checkpoint_is_asked_for_as_soon_as_one_can_be),
	cmocka_unit_test(a_guest_that_stands_goes_on_before_we_leave),
	cmocka_unit_test(a_qemu_that_does_not_end_its_checkpoint_is_left),
	cmocka_unit_test(a_guest_that_stood_for_its_output_goes_on),
	cmocka_unit_test(the_first_copy_is_compared),
	cmocka_unit_test(what_is_kept_is_sent_before_a_later_write),
	cmocka_unit_test(an_image_that_was_made_anew_is_not_compared),
	cmocka_unit_test(nothing_is_compared_once_the_copy_is_in_step),
	cmocka_unit_test(what_is_kept_is_sent_before_the_first_epoch),
	cmocka_unit_test(no_more_is_read_than_can_be_compared),
	cmocka_unit_test(an_answer_is_not_waited_for_for_ever),
	cmocka_unit_test(a_wrong_answer_ends_it),
	cmocka_unit_test(a_link_that_is_lost_meanwhile_ends_it),
};

int
main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
