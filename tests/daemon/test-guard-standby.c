/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A copy that resets itself: what its guard does until it is fit to take over again. */
#include "tests/daemon/guard-fixture.h"

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
	expect(f, "op standby-attach; qemu bytes; send RETURN_PATH; send READY; ");
	receive(f, 1);
	expect(f, "send COMMITTED 1; qemu checkpoint-request; ");
	load(f);
	peer_says(f, PEER_ARM, NULL, 0);
	expect(f, "send ARMED; ");
	assert_int_equal(guard_state(f->g), FAILOVER_PROTECTED);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_asks_for_a_checkpoint_at_once),
		cmocka_unit_test(it_asks_again_but_not_often),
		cmocka_unit_test(it_asks_when_a_load_did_not_mend_it),
		cmocka_unit_test(it_loads_what_waits_for_a_load),
		cmocka_unit_test(a_stopped_copy_is_given_up_after_a_second),
		cmocka_unit_test(it_asks_for_nothing_before_it_counts_or_when_nothing_helps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
