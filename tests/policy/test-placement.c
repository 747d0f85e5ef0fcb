/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HOST(...) { .reachable = true, .fits = true, __VA_ARGS__ }
#define SILENT(...) { .fits = true, __VA_ARGS__ }
#define UNFIT(...) { .reachable = true, __VA_ARGS__ }
#define GIB (UINT64_C(1) << 30)

static const struct {
	struct placement_host hosts[4];
	unsigned n;
	const char *chosen;	/* NULL: none */
} cases[] = {
	{ { { 0 } }, 0, NULL },
	{ { HOST(.name = "b") }, 1, "b" },
	/* what rules a host out, however good it is otherwise */
	{ { SILENT(.name = "b", .had_it = true), HOST(.name = "c", .copies = 9) }, 2, "c" },
	{ { HOST(.name = "b", .had_it = true, .draining = true), HOST(.name = "c", .copies = 9) }, 2, "c" },
	{ { UNFIT(.name = "b", .had_it = true), HOST(.name = "c", .copies = 9) }, 2, "c" },
	{ { UNFIT(.name = "b"), SILENT(.name = "c"), HOST(.name = "d", .draining = true) }, 3, NULL },
	/* the old host before all, then spread, then room, then the order of the configuration */
	{ { HOST(.name = "b", .memory_free = 8 * GIB), HOST(.name = "c", .had_it = true, .copies = 40) }, 2, "c" },
	{ { HOST(.name = "b", .copies = 3, .memory_free = 99 * GIB), HOST(.name = "c", .copies = 2, .memory_free = GIB) }, 2, "c" },
	{ { HOST(.name = "b", .copies = 2, .memory_free = GIB), HOST(.name = "c", .copies = 2, .memory_free = 2 * GIB) }, 2, "c" },
	{ { HOST(.name = "b", .copies = 2, .memory_free = GIB), HOST(.name = "c", .copies = 2, .memory_free = GIB) }, 2, "b" },
};

static void
test_choice(void **state)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int at = placement_choose(cases[i].hosts, cases[i].n);

		if (!cases[i].chosen)
			assert_int_equal(at, -1);
		else
			assert_string_equal(cases[i].hosts[at].name, cases[i].chosen);
	}
}

/* 50 domains, one after the other, onto hosts that are alike: no host has more than one copy more than another. */
static void
test_spread(void **state)
{
	struct placement_host hosts[] = { HOST(.name = "b", .memory_free = 64 * GIB), HOST(.name = "c", .memory_free = 65 * GIB), HOST(.name = "d", .memory_free = 66 * GIB) };

	for (unsigned domain = 0; domain < 50; domain++) {
		int at = placement_choose(hosts, 3);

		hosts[at].copies++;
		hosts[at].memory_free -= GIB;
	}
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(hosts[i].copies, 16, 17);
}

static void
test_back_off(void **state)
{
	const uint64_t second = 1000000000;

	assert_int_equal(placement_retry_ns(1), 2 * second);
	assert_int_equal(placement_retry_ns(2), 4 * second);
	assert_int_equal(placement_retry_ns(5), 32 * second);
	assert_int_equal(placement_retry_ns(6), 60 * second);
	assert_int_equal(placement_retry_ns(UINT32_MAX), 60 * second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_back_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
