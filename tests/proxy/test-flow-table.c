/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "proxy/flow-table.h"

#define IDLE 100

static struct flow_key
key(unsigned n)
{
	return (struct flow_key){ .nic = n };
}

static struct flow *
get(struct flow_table *t, unsigned n, uint64_t now)
{
	struct flow_key k = key(n);
	bool added;

	return flow_table_get(t, &k, now, &added);
}

static struct flow *
find(struct flow_table *t, unsigned n)
{
	struct flow_key k = key(n);

	return flow_table_find(t, &k);
}

static void
test_get_finds_and_adds(void **state)
{
	g_autoptr(flow_table) t = flow_table_new(10, IDLE, "");
	struct flow_key k = key(1);
	bool added;

	assert_null(find(t, 1));
	struct flow *a = flow_table_get(t, &k, 0, &added);
	assert_true(added);
	assert_ptr_equal(flow_table_get(t, &k, 5, &added), a);
	assert_false(added);
	assert_ptr_equal(find(t, 1), a);
	assert_int_equal(a->used, 5);
	assert_int_equal(flow_table_size(t), 1);
}

static void
test_bound_refuses_while_all_are_young(void **state)
{
	g_autoptr(flow_table) t = flow_table_new(3, IDLE, "");

	for (unsigned n = 0; n < 3; n++)
		assert_non_null(get(t, n, n));
	assert_null(get(t, 3, 50));
	assert_non_null(get(t, 0, 60));		/* 1 is the oldest now */
	assert_null(get(t, 3, 100));
	assert_non_null(get(t, 3, 101));
	assert_null(find(t, 1));
	assert_non_null(find(t, 0));
}

static void
test_spent_flows_go_first(void **state)
{
	g_autoptr(flow_table) t = flow_table_new(2, IDLE, "");
	struct flow *a = get(t, 0, 0), *b = get(t, 1, 1);

	flow_table_set_spent(t, b, true);
	assert_non_null(get(t, 2, 2));
	assert_null(find(t, 1));
	assert_non_null(find(t, 0));
	flow_table_set_spent(t, a, true);
	flow_table_set_spent(t, a, false);	/* alive again */
	assert_null(get(t, 3, 3));
}

static void
test_flows_with_frames_stay(void **state)
{
	g_autoptr(flow_table) t = flow_table_new(1, IDLE, "");
	struct flow *a = get(t, 0, 0);
	GList link = { NULL };

	g_queue_push_tail_link(&a->held, &link);
	flow_table_set_spent(t, a, true);
	assert_null(get(t, 1, 10 * IDLE));
	flow_table_age(t, 10 * IDLE);
	assert_ptr_equal(find(t, 0), a);
	g_queue_unlink(&a->held, &link);
	flow_table_age(t, 10 * IDLE);
	assert_null(find(t, 0));
}

static void
test_age(void **state)
{
	g_autoptr(flow_table) t = flow_table_new(1000, IDLE, "");

	for (unsigned n = 0; n < 10; n++)
		get(t, n, n);
	flow_table_set_spent(t, find(t, 4), true);
	flow_table_age(t, IDLE - 1);
	assert_int_equal(flow_table_size(t), 10);
	flow_table_age(t, IDLE + 4);
	assert_int_equal(flow_table_size(t), 5);
	assert_null(find(t, 4));
	assert_non_null(find(t, 5));
	flow_table_age(t, 0);			/* an earlier time ages nothing */
	assert_int_equal(flow_table_size(t), 5);
	flow_table_clear(t);
	assert_int_equal(flow_table_size(t), 0);
}

static guint
hash(unsigned n, const char *seed)
{
	struct flow_secret secret;
	struct flow_key k = key(n);

	flow_secret_make(&secret, seed);
	return flow_key_hash(&k, &secret);
}

/* Keys that were chosen to fall into one bucket fall apart under a seed that is not known to who has chosen them. */
static void
test_hash_is_keyed(void **state)
{
	bool taken[64] = { false };
	unsigned chosen = 0, buckets = 0;

	assert_int_equal(hash(1, "a"), hash(1, "a"));
	assert_int_not_equal(hash(1, "a"), hash(1, "b"));
	for (unsigned n = 0; chosen < 64; n++) {
		if (hash(n, "a") % 64 != 0)
			continue;
		chosen++;
		buckets += !taken[hash(n, "b") % 64];
		taken[hash(n, "b") % 64] = true;
	}
	assert_in_range(buckets, 24, 64);	/* 64 thrown into 64 at random: 41 on average */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_finds_and_adds),
		cmocka_unit_test(test_bound_refuses_while_all_are_young),
		cmocka_unit_test(test_spent_flows_go_first),
		cmocka_unit_test(test_flows_with_frames_stay),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_hash_is_keyed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
