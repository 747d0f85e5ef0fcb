/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "daemon/pair-settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool
read_text(struct pair_settings *out, const char *text, GError **error)
{
	g_autoptr(json_object_ptr) o = json_parse(text, strlen(text), NULL);

	assert_non_null(o);
	return pair_settings_read(out, o, error);
}

static char *
text_of(const struct pair_settings *s)
{
	g_autoptr(json_object_ptr) o = pair_settings_write(s, json_object_new_object());

	return g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void
assert_text(const struct pair_settings *s, const char *text)
{
	g_autofree char *is = text_of(s);

	assert_string_equal(is, text);
}

static void
test_read(void **state)
{
	static const struct { const char *text; int code; const char *names; } bad[] = {
		{ "{\"mode\":\"fast\"}", FTD_ERROR_USAGE, "\"fast\"" },
		{ "{\"bypass\":\"tcp:22,tcp:99999\"}", FTD_ERROR_CONFIG, "bypass: \"tcp:99999\"" },
		{ "{\"never_compare\":\"tcp:22,\"}", FTD_ERROR_CONFIG, "never-compare: \"\"" },
		{ "{\"never_compare\":\"sctp\"}", FTD_ERROR_CONFIG, "never-compare: \"sctp\"" },
	};
	g_auto(pair_settings) s = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(GError) error = NULL;

		assert_false(read_text(&s, bad[i].text, &error));
		assert_true(g_error_matches(error, FTD_ERROR, bad[i].code));
		if (!strstr(error->message, bad[i].names))
			fail_msg("\"%s\" does not say %s", error->message, bad[i].names);
		assert_true(pair_settings_empty(&s));
	}
	assert_true(read_text(&s, "{\"domain\":\"vm1\",\"mode\":\"auto\",\"bypass\":\"tcp:22, udp:[fd00::]/8:53\",\"never_compare\":\"\"}", NULL));
	assert_text(&s, "{\"mode\":\"auto\",\"bypass\":\"tcp:22, udp:[fd00::]/8:53\",\"never_compare\":\"\"}");
}

static void
test_change(void **state)
{
	g_auto(pair_settings) s = { 0 }, change = { 0 }, many = { 0 };
	g_autoptr(GString) list = g_string_new("icmp");
	g_autoptr(GError) error = NULL;

	assert_true(read_text(&change, "{\"mode\":\"passive\",\"bypass\":\"tcp:22\"}", NULL));
	assert_true(pair_settings_change(&s, &change, NULL));
	assert_text(&s, "{\"mode\":\"passive\",\"bypass\":\"tcp:22\"}");
	pair_settings_clear(&change);
	assert_true(read_text(&change, "{\"mode\":\"\",\"never_compare\":\"udp\"}", NULL));
	assert_true(pair_settings_change(&s, &change, NULL));
	assert_text(&s, "{\"bypass\":\"tcp:22\",\"never_compare\":\"udp\"}");
	assert_false(pair_settings_same(&s, &change));

	/* each list is short enough, both together are not */
	for (unsigned i = 1; i < 64; i++)
		g_string_append(list, ",icmp");
	many.never_compare = g_strdup(list->str);
	assert_false(pair_settings_change(&s, &many, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_LIMIT));
	assert_text(&s, "{\"bypass\":\"tcp:22\",\"never_compare\":\"udp\"}");

	pair_settings_clear(&change);
	assert_true(read_text(&change, "{\"bypass\":\"\",\"never_compare\":\"\"}", NULL));
	assert_true(pair_settings_change(&s, &change, NULL));
	assert_true(pair_settings_empty(&s));
}

static void
test_metadata(void **state)
{
	g_auto(pair_settings) s = { g_strdup("colo"), NULL, g_strdup("tcp:[2001:db8::1]:80,udp:10.0.0.0/8") }, back = { 0 };
	g_autofree char *xml = pair_settings_to_xml(&s), *prefixed = NULL, *nothing = NULL;
	const struct pair_settings none = { 0 };
	g_autoptr(GError) error = NULL;

	assert_true(pair_settings_from_xml(&back, xml, NULL));
	assert_true(pair_settings_same(&s, &back));
	pair_settings_clear(&back);
	prefixed = g_strdup("<ftd:settings xmlns:ftd=\"" PAIR_SETTINGS_URI "\" mode=\"auto\"/>");
	assert_true(pair_settings_from_xml(&back, prefixed, NULL));
	assert_text(&back, "{\"mode\":\"auto\"}");
	nothing = pair_settings_to_xml(&none);
	assert_null(nothing);
	/* by hand */
	assert_false(pair_settings_from_xml(&back, "<settings bypass='tcp:http'/>", &error));
	assert_non_null(strstr(error->message, "metadata"));
	assert_non_null(strstr(error->message, "\"tcp:http\""));
	assert_text(&back, "{\"mode\":\"auto\"}");
	assert_false(pair_settings_from_xml(&back, "<settings", NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_metadata),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
