/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "policy/arbiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"
#define WHOLE \
	"{\"version\":1,\"pair\":\"" PAIR "\",\"generation\":7,\"active\":\"a.example\",\"standby\":\"b.example\"," \
	"\"nonce\":\"0123456789abcdef0123456789abcdef\",\"reason\":\"protect\",\"written-at\":1700000000}\n"

static const struct arbiter_record record = {
	.pair = PAIR,
	.generation = 7,
	.active = "a.example",
	.standby = "b.example",
	.nonce = "0123456789abcdef0123456789abcdef",
	.reason = "protect",
	.written_at = 1700000000,
};

static void
test_round_trip(void **state)
{
	struct arbiter_record r;
	g_autofree char *text = arbiter_record_encode(&record);

	assert_string_equal(text, WHOLE);
	assert_true(arbiter_record_decode(text, strlen(text), &r, NULL));
	assert_memory_equal(&r, &record, sizeof r);

	r.generation = ARBITER_GENERATION_MAX;
	memset(r.standby, 0, sizeof r.standby);
	memset(r.active, 0, sizeof r.active);
	g_strlcpy(r.active, "h\"\\\xc3\xa4/x", sizeof r.active);
	g_autofree char *odd = arbiter_record_encode(&r);
	struct arbiter_record back;
	assert_true(arbiter_record_decode(odd, strlen(odd), &back, NULL));
	assert_memory_equal(&r, &back, sizeof r);
}

/* Every shorter text and every text with more behind it is an error, and leaves the output alone. */
static void
test_torn(void **state)
{
	struct arbiter_record r = { .generation = 99 };

	for (size_t n = 0; n + 2 < strlen(WHOLE); n++) {
		g_autoptr(GError) error = NULL;
		assert_false(arbiter_record_decode(WHOLE, n, &r, &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
	assert_false(arbiter_record_decode(WHOLE "x", strlen(WHOLE) + 1, &r, NULL));
	assert_false(arbiter_record_decode(WHOLE "\0", strlen(WHOLE) + 1, &r, NULL));
	assert_false(arbiter_record_decode(WHOLE WHOLE, 2 * strlen(WHOLE), &r, NULL));
	assert_int_equal(r.generation, 99);
}

/* What a member may not be: text in WHOLE, what it becomes. */
static const struct {
	const char *from, *to;
} bad[] = {
	{ "\"version\":1", "\"version\":2" },
	{ "\"version\":1,", "" },
	{ "\"version\":1", "\"version\":1,\"more\":1" },
	{ PAIR, "6F0C2A4E-9D3B-4C55-8A1E-0123456789AB" },
	{ PAIR, "../../etc" },
	{ PAIR, "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab0" },
	{ ":7,", ":0," },
	{ ":7,", ":-7," },
	{ ":7,", ":7.0," },
	{ ":7,", ":\"7\"," },
	{ ":7,", ":9223372036854775807," },
	{ ":7,", ":18446744073709551616," },
	{ ":7,", ":[7]," },
	{ "a.example", "" },
	{ "a.example", "b.example" },
	{ "a.example", "a\\u0000b" },
	{ "a.example", "a\\nb" },
	{ "a.example", "a\xff" },
	{ "\"a.example\"", "null" },
	{ "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef0" },
	{ "0123456789abcdef0123456789abcdef", "../x" },
	{ "0123456789abcdef0123456789abcdef", "" },
	{ "protect", "0123456789012345678901234567890123456789012345678901234567890123" },
	{ "1700000000", "-1" },
	{ "1700000000", "9223372036854775807" },
	{ "{", "[" },
	{ "{", "{{" },
};

static void
test_foreign(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(GString) text = g_string_new(WHOLE);
		struct arbiter_record r;
		assert_int_equal(g_string_replace(text, bad[i].from, bad[i].to, 1), 1);
		if (arbiter_record_decode(text->str, text->len, &r, &error))
			fail_msg("taken for a record: %s", text->str);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
}

static void
test_too_long(void **state)
{
	g_autofree char *text = g_strnfill(ARBITER_RECORD_MAX + 1, ' ');
	struct arbiter_record r;

	memcpy(text, WHOLE, strlen(WHOLE));
	assert_true(arbiter_record_decode(text, ARBITER_RECORD_MAX, &r, NULL));
	assert_false(arbiter_record_decode(text, ARBITER_RECORD_MAX + 1, &r, NULL));
}

static void
test_valid(void **state)
{
	struct arbiter_record r = record;

	assert_true(arbiter_record_valid(&r, NULL));
	memset(r.active, 'a', sizeof r.active);		/* not terminated */
	assert_false(arbiter_record_valid(&r, NULL));
	r = record;
	memset(r.nonce, 'a', sizeof r.nonce);
	assert_false(arbiter_record_valid(&r, NULL));
}

static void
test_judge(void **state)
{
	struct arbiter_record other = record;

	assert_int_equal(arbiter_judge(&record, NULL), ARBITER_GRANTED);
	other.written_at = 5;
	g_strlcpy(other.reason, "peer-silent", sizeof other.reason);
	assert_int_equal(arbiter_judge(&record, &other), ARBITER_GRANTED);

	other = record;
	other.nonce[0] = 'f';
	assert_int_equal(arbiter_judge(&record, &other), ARBITER_DENIED);
	other = record;
	other.active[0] = 'z';	/* a nonce that two hosts share does not make them one */
	assert_int_equal(arbiter_judge(&record, &other), ARBITER_DENIED);
	other = record;
	other.standby[0] = '\0';
	assert_int_equal(arbiter_judge(&record, &other), ARBITER_DENIED);
	other = record;
	other.generation = 8;
	assert_int_equal(arbiter_judge(&record, &other), ARBITER_DENIED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_judge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
