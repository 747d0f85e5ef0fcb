/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include <string.h>

#include "proxy/difference.h"

static struct difference
find(const char *p, const char *s)
{
	return difference_find((const uint8_t *)p, strlen(p), (const uint8_t *)s, strlen(s));
}

static void
test_find(void **state)
{
	assert_int_equal(find("", "").reason, DIFFERENCE_NONE);
	assert_int_equal(find("abc", "abc").reason, DIFFERENCE_NONE);

	struct difference d = find("abcdef", "abXdef");
	assert_int_equal(d.reason, DIFFERENCE_CONTENT);
	assert_int_equal(d.at, 2);
	assert_int_equal(d.primary_length, 4);
	assert_memory_equal(d.primary, "cdef", 4);
	assert_memory_equal(d.secondary, "Xdef", 4);

	d = find("ab", "abc");
	assert_int_equal(d.reason, DIFFERENCE_LENGTH);
	assert_int_equal(d.at, 2);
	assert_int_equal(d.primary_length, 0);
	assert_int_equal(d.secondary_length, 1);
	assert_memory_equal(d.secondary, "c", 1);

	d = find("0123456789abcdefghij", "0X23456789abcdefghij");
	assert_int_equal(d.primary_length, DIFFERENCE_WINDOW);
	assert_memory_equal(d.primary, "123456789abcdefg", DIFFERENCE_WINDOW);
}

static void
test_names(void **state)
{
	for (enum difference_reason i = 0; i < DIFFERENCE_LAST; i++)
		assert_non_null(difference_reason_name(i));
	assert_string_equal(difference_reason_name(DIFFERENCE_LIMIT), "limit");
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_find), cmocka_unit_test(test_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
