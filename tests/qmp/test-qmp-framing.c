/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-framing.h"

static const char conversation[] =
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 1, \"major\": 11}, \"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n"
	"{\"return\": {}, \"id\": 1}\r\n"
	"  {\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}{\"return\": \"a\\\"}{\\u00e4\\\\\"}\n\n";

static void
check_conversation(struct qmp_framing *f)
{
	static const char *const want[] = {
		"{\"QMP\":{\"version\":{\"qemu\":{\"micro\":2,\"minor\":1,\"major\":11},\"package\":\"Debian\"},\"capabilities\":[\"oob\"]}}",
		"{\"return\":{},\"id\":1}",
		"{\"timestamp\":{\"seconds\":1,\"microseconds\":2},\"event\":\"STOP\"}",
		"{\"return\":\"a\\\"}{\\u00e4\\\\\"}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(want); i++) {
		struct json_object *message = qmp_framing_next(f);

		assert_non_null(message);
		assert_json(message, want[i]);
	}
	assert_null(qmp_framing_next(f));
}

static void
every_split_in_two(void **state)
{
	for (size_t cut = 0; cut < sizeof conversation; cut++) {
		g_autoptr(qmp_framing) f = qmp_framing_new(0);

		assert_true(qmp_framing_input(f, conversation, cut, NULL));
		assert_true(qmp_framing_input(f, conversation + cut, sizeof conversation - 1 - cut, NULL));
		check_conversation(f);
	}
}

static void
byte_by_byte(void **state)
{
	g_autoptr(qmp_framing) f = qmp_framing_new(0);

	for (size_t i = 0; i < sizeof conversation - 1; i++)
		assert_true(qmp_framing_input(f, conversation + i, 1, NULL));
	check_conversation(f);
}

static void
garbage(void **state)
{
	static const struct { const char *text; size_t length; } table[] = {
		{ "hello\n", 6 }, { "[1]\n", 4 }, { "{\"a\" 1}", 7 }, { "{\"a\": tru3}", 11 }, { "}", 1 }, { "{]", 2 }, { "{\"a\": \"\xc3\xa4\"}", 11 },
		{ "{}\0", 3 }, { "{\"a\": 'x'}", 10 }, { "{\"a\": 1,}", 9 }, { "(qemu) ", 7 }, { "{} 7", 4 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(qmp_framing) f = qmp_framing_new(0);
		GError *error = NULL;

		if (qmp_framing_input(f, table[i].text, table[i].length, &error))
			fail_msg("accepted: %s", table[i].text);
		assert_error(error, FTD_ERROR_PROTOCOL);
		error = NULL;
		assert_false(qmp_framing_input(f, "{}", 2, &error));	/* and broken for good */
		assert_error(error, FTD_ERROR_PROTOCOL);
	}
}

static void
garbage_keeps_what_came_before(void **state)
{
	g_autoptr(qmp_framing) f = qmp_framing_new(0);
	GError *error = NULL;

	assert_false(qmp_framing_input(f, "{\"return\": 1} x", 15, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
	assert_json(qmp_framing_next(f), "{\"return\": 1}");
}

static void
too_long(void **state)
{
	static const char message[] = "{\"a\": \"0123456789\"}";	/* 19 bytes */
	g_autoptr(qmp_framing) exact = qmp_framing_new(sizeof message - 1), small = qmp_framing_new(sizeof message - 2);
	GError *error = NULL;

	for (int i = 0; i < 3; i++)	/* the limit is per message */
		assert_true(qmp_framing_input(exact, message, sizeof message - 1, NULL));
	assert_false(qmp_framing_input(small, message, sizeof message - 1, &error));
	assert_error(error, FTD_ERROR_LIMIT);
	assert_null(qmp_framing_next(small));
}

static void
too_deep(void **state)
{
	g_autoptr(qmp_framing) f = qmp_framing_new(0);
	g_autoptr(GString) text = g_string_new("{\"a\": ");
	GError *error = NULL;

	for (int i = 0; i < QMP_FRAMING_MAX_DEPTH + 1; i++)
		g_string_append_c(text, '[');
	assert_false(qmp_framing_input(f, text->str, text->len, &error));
	assert_error(error, FTD_ERROR_LIMIT);
}

static void
too_many(void **state)
{
	g_autoptr(qmp_framing) f = qmp_framing_new(0);
	GError *error = NULL;

	for (int i = 0; i < QMP_FRAMING_MAX_QUEUE; i++)
		assert_true(qmp_framing_input(f, "{}", 2, NULL));
	assert_false(qmp_framing_input(f, "{}", 2, &error));
	assert_error(error, FTD_ERROR_LIMIT);
}

static void
whole_text(void **state)
{
	GError *error = NULL;

	assert_json(qmp_framing_parse("{\"return\":\"\xc3\xa4\"}", 15, NULL), "{\"return\":\"\xc3\xa4\"}");
	assert_null(qmp_framing_parse("{\"return\":\"\xc3\"}", 14, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
	error = NULL;
	assert_null(qmp_framing_parse("{\"return\":", 10, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
	error = NULL;
	assert_null(qmp_framing_parse("[]", 2, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
	error = NULL;
	assert_null(qmp_framing_parse("", 0, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_in_two), cmocka_unit_test(byte_by_byte), cmocka_unit_test(garbage),
		cmocka_unit_test(garbage_keeps_what_came_before), cmocka_unit_test(too_long), cmocka_unit_test(too_deep), cmocka_unit_test(too_many),
		cmocka_unit_test(whole_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
