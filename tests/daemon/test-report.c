/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With an argument (primary, standby, ended, hostile, empty) it prints that page, for other programs to judge: tests/check-pages.sh. */
#include "daemon/report.h"

#include "daemon/json-util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define BEGIN 1764060000
#define SPANS 300

static struct json_object *
parse(const char *text)
{
	struct json_object *o = json_parse(text, strlen(text), NULL);

	assert_non_null(o);
	return o;
}

static const char primary_status[] =
	"{\"domain\":\"vm1\",\"state\":\"protected\",\"reason\":\"none\",\"role\":\"primary\",\"peer\":\"b\",\"mode\":\"colo\",\"epochs\":1234,\"pause_p50_ms\":3.21,\"pause_p99_ms\":8.9,"
	"\"pause_max_ms\":41.5,\"commit_p50_ms\":6.2,\"load_p50_ms\":21.0,\"round_trip_p50_ms\":0.41,\"differences\":17,\"timeouts\":3,\"released_same_bytes\":9000000,"
	"\"released_committed_bytes\":1000000,\"bytes_sent\":734003200,\"checkpoints_by_reason\":{\"epoch-limit\":1200,\"difference\":17,\"timeout\":3,\"ack\":14,\"mode\":0}}";
static const char ended_status[] = "{\"domain\":\"vm1\",\"state\":\"solo\",\"reason\":\"peer-silent\",\"reason_text\":\"the peer was not heard\",\"role\":\"standby\",\"peer\":\"a\",\"loads\":80,"
				   "\"load_p50_ms\":22.5,\"ended_at\":1764060310}";
static const char hostile_status[] = "{\"domain\":\"</title><script>alert(1)</script>&\\u0001\\\"'\",\"state\":\"<b>\",\"reason\":\"x\",\"reason_text\":\"]]>--><script>\",\"role\":\"primary\","
				     "\"peer\":\"<img src='http://example.org/'>\",\"checkpoints_by_reason\":{\"<i>\":1}}";

/* A quiet guest that works hard from 100 s to 150 s, and whose copies differ then. */
static struct json_object *
make_history(void)
{
	struct json_object *h = parse("{\"role\":\"primary\",\"begin\":1764060000.25,\"width_seconds\":1.0,\"columns\":[\"epochs\",\"pause_mean_ms\",\"pause_max_ms\",\"lag_max_ms\","
				      "\"bytes\",\"same_bytes\",\"committed_bytes\",\"differences\"]}");
	struct json_object *spans = json_object_new_array();

	for (int i = 0; i < SPANS; i++) {
		bool busy = i >= 100 && i < 150;
		double mean = 2.5 + sin(i / 9.0) + (busy ? 6 : 0), longest = mean * (1.3 + 0.5 * fabs(sin(i * 2.3)));
		g_autofree char *row = g_strdup_printf("[%d,%d,%d,%d,%d,1000,50,%d]", busy ? 11 : 4 + i % 2, (int)mean, (int)longest, (int)(longest * 2), (busy ? 60 : 12) << 20,
						       busy ? i % 5 : i % 97 == 0);

		json_object_array_add(spans, parse(row));
	}
	return json_put_value(h, "spans", spans);
}

static struct json_object *
make_events(void)
{
	static const struct { int at; const char *type, *text; } events[] = {
		{ 0, "enable", "protecting vm1 by b, generation 3" }, { 1, "phase", "disk" }, { 4, "protected", "b protects vm1" }, { 100, "mode", "passive from epoch 400 on: most output waited" },
		{ 150, "mode", "colo from epoch 900 on" }, { 200, "suspended", "vm1 is suspended" }, { 212, "resumed", "vm1 runs again" }, { 290, "error", "the arbiter gave no answer: timed out" },
		{ 298, "took-over", "vm1 runs on b" },
	};
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < G_N_ELEMENTS(events); i++) {
		struct json_object *e = json_put_str(json_put_str(json_object_new_object(), "type", events[i].type), "text", events[i].text);

		json_object_array_add(list, json_put_value(e, "time", json_object_new_double(BEGIN + events[i].at)));
	}
	return list;
}

static char *
page(const char *which)
{
	bool empty = strcmp(which, "empty") == 0, hostile = strcmp(which, "hostile") == 0, primary = strcmp(which, "primary") == 0;
	g_autoptr(json_object_ptr) status = parse(empty ? "{}" : hostile ? hostile_status : primary ? primary_status : ended_status);
	g_autoptr(json_object_ptr) history = empty ? NULL : make_history(), events = empty ? NULL : make_events();

	if (hostile)
		json_object_array_add(events, parse("{\"type\":\"error\",\"time\":1764060010.0,\"text\":\"</title></svg><script src='//x'>\\u0000\\u001b&amp;\"}"));
	return report_html(status, history, events, hostile ? "a\"><script>" : "a", BEGIN + SPANS);
}

static void
has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s", part);
}

static guint
count(const char *text, const char *part)
{
	guint n = 0;

	for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
		n++;
	return n;
}

static void
test_figures(void **state)
{
	g_autofree char *html = page("primary");

	has(html, "<h1>vm1 <span class=\"state good\">protected</span></h1>");
	has(html, "Primary on a, the other side on b.");
	has(html, "<b>1234</b><span class=\"dim\">checkpoints</span>");
	has(html, "<b>3.2 ms</b><span class=\"dim\">pause, median</span>");
	has(html, "<b>41.5 ms</b><span class=\"dim\">pause, longest</span>");
	has(html, "<b>90.0 %</b>");
	has(html, "<b>700.0 MiB</b>");
	has(html, "<td>epoch-limit</td><td class=\"n\">1200</td>");
	assert_null(strstr(html, "<td>mode</td><td class=\"n\">"));
	has(html, "<td class=\"bad\">took-over</td><td>vm1 runs on b</td>");
}

static void
test_drawing(void **state)
{
	g_autofree char *html = page("primary");

	assert_int_equal(count(html, "<svg "), 1);
	assert_int_equal(count(html, "class=\"name\""), 5);
	assert_int_equal(count(html, "class=\"mark "), 7);		/* enable and phase are none */
	assert_true(count(html, "<rect class=\"mean\"") >= 4 * SPANS - 300 && count(html, "<rect class=\"mean\"") <= 5 * SPANS);
	assert_int_equal(count(html, "<rect class=\"max\""), SPANS);
	assert_int_equal(count(html, "nan"), 0);
	assert_int_equal(count(html, "inf\""), 0);
}

static void
test_times_and_ends(void **state)
{
	g_autofree char *html = page("ended");

	has(html, "state bad\">solo");
	has(html, "Standby on a, the other side on a; the peer was not heard.");
	assert_int_equal(count(html, "class=\"name\""), 3);
	has(html, "Stop of the copy for a load");
}

/* Nothing that a guest, a peer or a name says becomes markup, and nothing is fetched. */
static void
test_hostile(void **state)
{
	g_autofree char *html = page("hostile");

	assert_int_equal(count(html, "<script"), 0);
	assert_int_equal(count(html, "<img"), 0);
	assert_int_equal(count(html, "<b>"), 1);		/* the mode's tile: no figure is known */
	assert_int_equal(count(html, "</title>"), 1 + count(html, "<title>") - 1);
	has(html, "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"");
}

static void
test_empty(void **state)
{
	g_autofree char *html = page("empty");

	has(html, "Nothing is known of its epochs");
	has(html, "ftd remembers none.");
}

static void
test_many_events(void **state)
{
	g_autoptr(json_object_ptr) status = parse(primary_status), events = json_object_new_array(), history = make_history();
	g_autofree char *html = NULL;

	for (int i = 0; i < REPORT_EVENTS_MAX + 5; i++)
		json_object_array_add(events, parse("{\"type\":\"error\",\"text\":\"x\",\"time\":1764060100.0}"));
	html = report_html(status, history, events, "a", BEGIN + SPANS);
	has(html, "5 older ones are left out.");
	assert_int_equal(count(html, "<td class=\"bad\">error</td>"), REPORT_EVENTS_MAX);
	assert_int_equal(count(html, "class=\"mark "), 60);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures), cmocka_unit_test(test_drawing), cmocka_unit_test(test_times_and_ends), cmocka_unit_test(test_hostile), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_many_events),
	};

	if (argc > 1) {
		g_autofree char *html = page(argv[1]);

		fputs(html, stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
