/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/disk-queue.h"

#include "daemon/base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct disk_write
write_of(uint64_t epoch, uint64_t offset, uint64_t length)
{
	return (struct disk_write){ .epoch = epoch, .op = DISK_OP_WRITE, .offset = offset, .length = length,
				    .data = g_bytes_new_take(g_malloc0(length), length) };
}

static void
push(struct disk_queue *q, uint64_t epoch, uint64_t offset)
{
	struct disk_write w = write_of(epoch, offset, 8);

	assert_true(disk_queue_push(q, &w, NULL));
	assert_null(w.data);
}

static struct disk_write
take(struct disk_queue *q, uint64_t offset)
{
	struct disk_write w;

	assert_true(disk_queue_next(q, &w));
	assert_int_equal(w.offset, offset);
	disk_write_clear(&w);
	return w;
}

static void
assert_nothing(struct disk_queue *q)
{
	struct disk_write w;

	assert_false(disk_queue_next(q, &w));
}

static void
test_epochs_are_held(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write a, b;

	push(q, 0, 1);
	assert_nothing(q);	/* even epoch 0 needs its permission */
	push(q, 1, 2);
	push(q, 2, 3);
	disk_queue_permit(q, 1);
	a = take(q, 1);
	b = take(q, 2);
	assert_nothing(q);
	assert_false(disk_queue_applied(q, 1));
	disk_queue_done(q, &b);	/* out of order */
	assert_false(disk_queue_applied(q, 0));
	disk_queue_done(q, &a);
	assert_true(disk_queue_applied(q, 1));
	assert_false(disk_queue_applied(q, 2));
	push(q, 2, 4);
	assert_nothing(q);
	disk_queue_permit(q, 2);
	disk_queue_permit(q, 0);	/* never back */
	a = take(q, 3);
	b = take(q, 4);
	disk_queue_done(q, &a);
	assert_false(disk_queue_applied(q, 2));
	disk_queue_done(q, &b);
	assert_true(disk_queue_applied(q, UINT64_MAX));
	assert_int_equal(disk_queue_bytes(q), 0);
}

static void
test_permitted_epoch_flows(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write w;

	disk_queue_permit(q, 0);	/* the initial copy */
	assert_true(disk_queue_applied(q, 0));
	push(q, 0, 1);
	assert_false(disk_queue_applied(q, 0));
	w = take(q, 1);
	disk_queue_done(q, &w);
	push(q, 0, 2);
	w = take(q, 2);
	assert_false(disk_queue_applied(q, 0));
	disk_queue_done(q, &w);
	assert_true(disk_queue_applied(q, 0));
}

static void
test_order_over_disks_and_operations(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write w = { .epoch = 1, .disk = 1, .op = DISK_OP_ZERO, .may_unmap = true, .offset = 7, .length = UINT64_C(1) << 33 };
	struct disk_write trim = { .epoch = 1, .disk = 2, .op = DISK_OP_TRIM, .offset = 8, .length = 1 }, out;

	push(q, 1, 6);
	assert_true(disk_queue_push(q, &w, NULL));
	assert_true(disk_queue_push(q, &trim, NULL));
	disk_queue_permit(q, 1);
	take(q, 6);
	out = take(q, 7);
	assert_true(out.op == DISK_OP_ZERO && out.disk == 1 && out.may_unmap && out.length == UINT64_C(1) << 33);
	out = take(q, 8);
	assert_true(out.op == DISK_OP_TRIM && out.disk == 2);
}

static void
assert_push_fails(struct disk_queue *q, struct disk_write *w, enum ftd_error_code code)
{
	g_autoptr(GError) error = NULL;
	bool had_data = w->data;

	assert_false(disk_queue_push(q, w, &error));
	assert_true(g_error_matches(error, FTD_ERROR, code));
	assert_int_equal(w->data != NULL, had_data);	/* still the caller's */
	disk_write_clear(w);
}

static void
test_wrong_writes(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write w;

	push(q, 5, 0);
	w = write_of(4, 0, 8);
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	w = write_of(5, 0, 8);
	w.length = 9;
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	w = write_of(5, 0, 8);
	w.op = DISK_OP_ZERO;
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	w = (struct disk_write){ .epoch = 5, .op = DISK_OP_WRITE, .length = 8 };
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	w = (struct disk_write){ .epoch = 5, .op = DISK_OP_TRIM };
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	w = (struct disk_write){ .epoch = 5, .op = DISK_OP_TRIM, .offset = UINT64_MAX, .length = 1 };
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
	/* The order counts from what was pushed, also when it is gone by now. */
	disk_queue_permit(q, 5);
	w = take(q, 0);
	disk_queue_done(q, &w);
	w = write_of(4, 0, 8);
	assert_push_fails(q, &w, FTD_ERROR_PROTOCOL);
}

static void
test_limit(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(10000);
	struct disk_write w = write_of(1, 1, 8000), taken;

	assert_true(disk_queue_push(q, &w, NULL));
	assert_in_range(disk_queue_bytes(q), 8001, 9000);
	w = write_of(1, 2, 8000);
	assert_push_fails(q, &w, FTD_ERROR_LIMIT);
	disk_queue_permit(q, 1);
	taken = take(q, 1);
	w = write_of(1, 2, 8000);
	assert_push_fails(q, &w, FTD_ERROR_LIMIT);	/* taken still counts */
	disk_queue_done(q, &taken);
	assert_int_equal(disk_queue_bytes(q), 0);
	push(q, 1, 2);
	/* Writes without payload are not free. */
	for (unsigned i = 0; i < 10000; i++) {
		w = (struct disk_write){ .epoch = 1, .op = DISK_OP_ZERO, .length = 1 };
		if (!disk_queue_push(q, &w, NULL))
			return;
	}
	fail_msg("there is no limit on writes without payload");
}

static void
test_discard(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write w;
	uint64_t bytes;

	push(q, 1, 1);
	push(q, 2, 2);
	bytes = disk_queue_bytes(q);
	push(q, 3, 3);
	push(q, 3, 4);
	push(q, 4, 5);
	assert_int_equal(disk_queue_discard_after(q, 2), 3);
	assert_int_equal(disk_queue_bytes(q), bytes);
	assert_int_equal(disk_queue_discard_after(q, 2), 0);
	push(q, 2, 6);	/* the epoch that was cut off does not stand in the way */
	disk_queue_permit(q, UINT64_MAX);
	w = take(q, 1);
	disk_queue_done(q, &w);
	w = take(q, 2);
	disk_queue_done(q, &w);
	w = take(q, 6);
	disk_queue_done(q, &w);
	assert_nothing(q);
	assert_true(disk_queue_applied(q, UINT64_MAX));
}

static void
test_discard_spares_what_was_taken(void **state)
{
	g_autoptr(disk_queue) q = disk_queue_new(1 << 20);
	struct disk_write w, older;

	push(q, 3, 1);
	disk_queue_permit(q, 3);
	w = take(q, 1);
	assert_int_equal(disk_queue_discard_after(q, 2), 0);
	push(q, 2, 2);
	older = take(q, 2);
	assert_false(disk_queue_applied(q, 2));
	disk_queue_done(q, &older);
	assert_true(disk_queue_applied(q, 2));
	assert_false(disk_queue_applied(q, 3));
	disk_queue_done(q, &w);
	assert_true(disk_queue_applied(q, 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_epochs_are_held), cmocka_unit_test(test_permitted_epoch_flows),
		cmocka_unit_test(test_order_over_disks_and_operations), cmocka_unit_test(test_wrong_writes), cmocka_unit_test(test_limit),
		cmocka_unit_test(test_discard), cmocka_unit_test(test_discard_spares_what_was_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
