/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/guard-internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S 1000000000ull

static struct history *
make(uint64_t now)
{
	struct history *h = g_new0(struct history, 1);

	history_init(h, now);
	return h;
}

static void
test_spans(void **state)
{
	g_autofree struct history *h = make(5 * S);

	history_epoch(h, 5 * S, 3, &(struct history_totals){ 100, 10, 1, 0 });
	history_epoch(h, 5 * S + S / 2, 7, &(struct history_totals){ 150, 10, 1, 2 });
	history_lag(h, 7 * S, 9);
	history_lag(h, 7 * S, 4);
	assert_int_equal(h->used, 3);
	assert_int_equal(h->spans[0].epochs, 2);
	assert_int_equal(h->spans[0].pause_total_ns, 10);
	assert_int_equal(h->spans[0].pause_max_ns, 7);
	assert_int_equal(h->spans[0].bytes, 150);
	assert_int_equal(h->spans[0].differences, 2);
	assert_int_equal(h->spans[1].epochs, 0);
	assert_int_equal(h->spans[2].lag_max_ns, 9);
	history_epoch(h, 1, 1, &(struct history_totals){ 150, 10, 1, 2 });	/* before the origin */
	assert_int_equal(h->spans[0].epochs, 3);
}

/* Nothing is lost or counted twice, however long it goes on and however long nothing happens. */
static void
test_nothing_is_lost(void **state)
{
	srandom(1);
	for (unsigned run = 0; run < 200; run++) {
		g_autofree struct history *h = make(0);
		struct history_totals totals = { 0 };
		uint64_t now = 0, epochs = 0, pauses = 0, longest = 0, sum_epochs = 0, sum_bytes = 0, sum_pauses = 0, max = 0;

		for (unsigned i = 0; i < 500; i++) {
			uint64_t pause = (uint64_t)random() % 1000;

			now += (uint64_t)random() % (run % 2 ? S : (S << (random() % 12)));
			totals.bytes += (uint64_t)random() % 5000;
			history_epoch(h, now, pause, &totals);
			epochs++;
			pauses += pause;
			longest = MAX(longest, pause);
			assert_true(h->used <= HISTORY_SPANS);
			assert_true(h->width * h->used > now && h->width * (h->used - 1) <= now);
		}
		for (unsigned i = 0; i < HISTORY_SPANS; i++) {
			sum_epochs += h->spans[i].epochs;
			sum_bytes += h->spans[i].bytes;
			sum_pauses += h->spans[i].pause_total_ns;
			max = MAX(max, h->spans[i].pause_max_ns);
			assert_true(i < h->used || h->spans[i].epochs == 0);
		}
		assert_int_equal(sum_epochs, epochs);
		assert_int_equal(sum_bytes, totals.bytes);
		assert_int_equal(sum_pauses, pauses);
		assert_int_equal(max, longest);
	}
}

static void
test_a_guard_tells_it(void **state)
{
	static const struct guard_env env;
	g_autoptr(guard_config) config = guard_config_new();
	struct json_object *o, *row;
	struct guard *g;

	config->role = FAILOVER_PRIMARY;
	config->token = g_strnfill(64, '0');
	g = guard_new(config, 1, &env, NULL);
	g->p.bytes_total = 4096;
	guard_note_epoch(g, S + 1, 2500000);
	g->p.bytes_total = 5000;
	guard_note_epoch(g, S + 2, 3500000);
	o = guard_history(g, 3 * S + 1);
	assert_string_equal(json_object_get_string(json_object_object_get(o, "role")), "primary");
	assert_true(json_object_get_double(json_object_object_get(o, "age_seconds")) == 3.0);
	assert_true(json_object_get_double(json_object_object_get(o, "width_seconds")) == 1.0);
	assert_int_equal(json_object_array_length(json_object_object_get(o, "spans")), 2);
	row = json_object_array_get_idx(json_object_object_get(o, "spans"), 1);
	assert_string_equal(json_object_to_json_string_ext(row, JSON_C_TO_STRING_PLAIN), "[2,3.000,3.500,0.000,5000,0,0,0]");
	assert_int_equal(json_object_array_length(row), json_object_array_length(json_object_object_get(o, "columns")));
	json_object_put(o);
	guard_free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_nothing_is_lost),
		cmocka_unit_test(test_a_guard_tells_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
