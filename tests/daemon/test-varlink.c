/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/varlink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Everything the splitter has, as one text: messages, then "!" after an error. */
static void
collect(struct varlink_splitter *s, GString *out)
{
	struct json_object *message;
	int code;

	while ((code = varlink_splitter_next(s, &message, NULL)) == 1) {
		g_string_append(out, json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN));
		g_string_append_c(out, ';');
		json_object_put(message);
	}
	if (code < 0)
		g_string_append_c(out, '!');
}

static void
test_every_split(void **state)
{
	static const char input[] = "{\"a\":1}\0{}\0 {\"b\":[{}]} \n\0{\"c\":\"\\u00e4\"}";	/* with the array's own NUL at the end */
	static const char want[] = "{\"a\":1};{};{\"b\":[{}]};{\"c\":\"\xc3\xa4\"};";

	for (size_t i = 0; i <= sizeof input; i++) {
		for (size_t k = i; k <= sizeof input; k++) {
			g_autoptr(varlink_splitter) s = varlink_splitter_new();
			g_autoptr(GString) out = g_string_new(NULL);

			assert_true(varlink_splitter_input(s, input, i, NULL));
			collect(s, out);
			assert_true(varlink_splitter_input(s, input + i, k - i, NULL));
			if (k % 2)
				collect(s, out);
			assert_true(varlink_splitter_input(s, input + k, sizeof input - k, NULL));
			collect(s, out);
			assert_string_equal(out->str, want);
			assert_int_equal(varlink_splitter_buffered(s), 0);
		}
	}
}

static void
test_bad_messages(void **state)
{
	g_autofree char *nested = g_strnfill(33, '['), *deep = g_strdup_printf("{\"a\":%s", nested);
	const char *const cases[] = { "", " ", "x", "{", "[]", "1", "\"a\"", "null", "{}{}", "{} x", "{\"a\":}", "{\"a\":1,}", "{\"a\":\"\xff\"}", "{\"a\":01x}", deep };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(varlink_splitter) s = varlink_splitter_new();
		g_autoptr(GError) error = NULL;
		struct json_object *message = NULL;

		assert_true(varlink_splitter_input(s, cases[i], strlen(cases[i]) + 1, NULL));
		if (varlink_splitter_next(s, &message, &error) != -1)
			fail_msg("accepted: %s", cases[i]);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
		assert_null(message);
	}
}

static void
test_longest_message(void **state)
{
	g_autoptr(varlink_splitter) s = varlink_splitter_new();
	g_autofree char *text = g_strnfill(VARLINK_MAX_MESSAGE, ' ');
	g_autoptr(GError) error = NULL;
	g_autoptr(GString) out = g_string_new(NULL);

	text[0] = '{';
	text[VARLINK_MAX_MESSAGE - 1] = '}';
	for (unsigned i = 0; i < 2; i++) {
		assert_true(varlink_splitter_input(s, text, VARLINK_MAX_MESSAGE - 1, NULL));
		assert_true(varlink_splitter_input(s, "}", 1, NULL));
		assert_true(varlink_splitter_input(s, "", 1, NULL));
		collect(s, out);
	}
	assert_string_equal(out->str, "{};{};");
	assert_true(varlink_splitter_input(s, text, VARLINK_MAX_MESSAGE, NULL));
	assert_false(varlink_splitter_input(s, "}", 1, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_LIMIT));
}

static void
test_calls(void **state)
{
	static const struct { const char *message, *method, *parameters; bool more, oneway; } cases[] = {
		{ "{\"method\":\"a.B\"}", "a.B", "{}" },
		{ "{\"method\":\"a.B\",\"parameters\":null,\"more\":null}", "a.B", "{}" },
		{ "{\"method\":\"a.b.C\",\"parameters\":{\"x\":1},\"more\":true,\"else\":2}", "a.b.C", "{\"x\":1}", true },
		{ "{\"method\":\"a.B\",\"oneway\":true,\"more\":false}", "a.B", "{}", false, true },
		{ "{}" }, { "{\"method\":null}" }, { "{\"method\":\"\"}" }, { "{\"method\":\"Echo\"}" }, { "{\"method\":7}" }, { "{\"method\":\"a.B\\u0000c\"}" },
		{ "{\"method\":\"a.B\",\"parameters\":[]}" }, { "{\"method\":\"a.B\",\"more\":1}" }, { "{\"method\":\"a.B\",\"oneway\":\"\"}" },
		{ "{\"method\":\"a.B\",\"upgrade\":true}" }, { "{\"method\":\"a.B\",\"more\":true,\"oneway\":true}" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct json_object *message = json_tokener_parse(cases[i].message);
		struct varlink_call call = { 0 };
		g_autoptr(GError) error = NULL;

		assert_int_equal(varlink_call_decode(message, &call, &error), cases[i].method != NULL);
		assert_int_equal(error == NULL, cases[i].method != NULL);
		if (cases[i].method) {
			assert_string_equal(call.method, cases[i].method);
			assert_string_equal(json_object_to_json_string_ext(call.parameters, JSON_C_TO_STRING_PLAIN), cases[i].parameters);
			assert_int_equal(call.more, cases[i].more);
			assert_int_equal(call.oneway, cases[i].oneway);
		}
		json_object_put(message);
	}
}

static void
assert_message(struct json_object *message, const char *want)
{
	size_t length;
	g_autofree char *text = varlink_serialize(message, &length);

	assert_int_equal(length, strlen(want) + 1);
	assert_string_equal(text, want);
	json_object_put(message);
}

static void
test_encoding(void **state)
{
	struct json_object *p = json_tokener_parse("{\"x\":\"a/b\"}");
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_DEVICE, "bad \xff byte");

	assert_message(varlink_call_encode("a.B", p, true), "{\"method\":\"a.B\",\"parameters\":{\"x\":\"a/b\"},\"more\":true}");
	assert_message(varlink_call_encode("a.B", NULL, false), "{\"method\":\"a.B\",\"parameters\":{}}");
	assert_message(varlink_reply(p, true), "{\"parameters\":{\"x\":\"a/b\"},\"continues\":true}");
	assert_message(varlink_reply(NULL, false), "{\"parameters\":{}}");
	assert_message(varlink_error(error), "{\"error\":\"org.ftd.Device\",\"parameters\":{\"message\":\"bad \xef\xbf\xbd byte\"}}");
	assert_int_equal(json_object_put(p), 1);	/* nobody else holds it */
}

static void
test_replies(void **state)
{
	static const struct { const char *message; bool good, continues; enum ftd_error_code code; const char *text; } cases[] = {
		{ "{\"parameters\":{\"x\":1}}", true },
		{ "{}", true },
		{ "{\"parameters\":{},\"continues\":true}", true, true },
		{ "{\"error\":\"org.ftd.NicVhost\",\"parameters\":{\"message\":\"net0\"}}", false, false, FTD_ERROR_NIC_VHOST, "net0" },
		{ "{\"error\":\"org.ftd.NicVhost\"}", false, false, FTD_ERROR_NIC_VHOST, "NicVhost" },
		{ "{\"error\":\"org.ftd.FromTheFuture\",\"parameters\":{\"message\":\"m\"}}", false, false, FTD_ERROR_FAILED, "m" },
		{ "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"a.B\"}}", false, false, FTD_ERROR_PROTOCOL, "a.B" },
		{ "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"p\"}}", false, false, FTD_ERROR_USAGE, "\"p\"" },
		{ "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":[]}", false, false, FTD_ERROR_FAILED, "MethodNotFound" },
		{ "{\"error\":7}", false, false, FTD_ERROR_PROTOCOL, "without a name" },
		{ "{\"parameters\":[]}", false, false, FTD_ERROR_PROTOCOL, "parameters" },
		{ "{\"continues\":1}", false, false, FTD_ERROR_PROTOCOL, "continues" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct json_object *message = json_tokener_parse(cases[i].message), *parameters;
		g_autoptr(GError) error = NULL;
		bool continues = false;

		parameters = varlink_reply_decode(message, &continues, &error);
		assert_int_equal(parameters != NULL, cases[i].good);
		assert_int_equal(continues, cases[i].continues);
		if (!cases[i].good) {
			assert_true(g_error_matches(error, FTD_ERROR, (gint)cases[i].code));
			assert_non_null(strstr(error->message, cases[i].text));
		}
		json_object_put(message);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_longest_message),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
