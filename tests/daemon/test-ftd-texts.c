/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What daemons say to each other, what is remembered, and what people read. */
#include "daemon/base/error.h"
#include "daemon/event-kinds.h"
#include "daemon/event-ring.h"
#include "daemon/ftctl-format.h"
#include "daemon/json-util.h"
#include "daemon/peer-api.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct json_object *
parse(const char *text)
{
	struct json_object *o = json_parse(text, strlen(text), NULL);

	assert_non_null(o);
	return o;
}

static void
decode(GBytes *bytes, struct peer_message *m)
{
	gsize length;
	const void *data = g_bytes_get_data(bytes, &length);

	assert_true(peer_message_decode(data, length, m, NULL));
	g_bytes_unref(bytes);
}

static void
test_peer_messages(void **state)
{
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_PEER_MEMORY, "too little");
	struct peer_message m;

	decode(peer_message_bytes(peer_call_new(3, "Hello", NULL, false)), &m);
	assert_int_equal(m.id, 3);
	assert_string_equal(m.method, "Hello");
	assert_non_null(m.parameters);
	assert_false(m.more);
	peer_message_clear(&m);
	decode(peer_message_bytes(peer_call_new(3, "Operate", NULL, true)), &m);
	assert_true(m.more && !m.continues);
	peer_message_clear(&m);
	decode(peer_message_bytes(peer_progress_new(3, json_put_str(json_object_new_object(), "phase", "disk"))), &m);
	assert_null(m.method);
	assert_true(m.continues && !m.more);
	assert_string_equal(json_get_str(m.parameters, "phase"), "disk");
	peer_message_clear(&m);
	decode(peer_message_bytes(peer_answer_new(4, json_put_u64(json_object_new_object(), "port", 9))), &m);
	assert_null(m.method);
	assert_false(m.continues);
	assert_int_equal(json_get_u64(m.parameters, "port"), 9);
	peer_message_clear(&m);
	decode(peer_message_bytes(peer_error_new(5, error)), &m);
	assert_true(g_error_matches(m.error, FTD_ERROR, FTD_ERROR_PEER_MEMORY));
	assert_string_equal(m.error->message, "too little");
	peer_message_clear(&m);
}

static void
test_peer_nonsense(void **state)
{
	static const char *const cases[] = { "", "7", "{}", "{\"id\":1}", "{\"id\":-1,\"parameters\":{}}", "{\"id\":1,\"parameters\":[]}",
					     "{\"id\":1,\"method\":\"X\",\"error\":\"Failed\"}", "{\"id\":1,\"parameters\":{}} x",
					     "{\"id\":1,\"continues\":true}", "{\"id\":1,\"method\":\"X\",\"continues\":true,\"parameters\":{}}",
					     "{\"id\":1,\"error\":\"Failed\",\"continues\":true}" };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;
		struct peer_message m;

		assert_false(peer_message_decode(cases[i], strlen(cases[i]), &m, &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
}

static void
test_peer_progress(void **state)
{
	static const struct { const char *said, *read; } cases[] = {
		{ "{\"phase\":\"disk\",\"done\":5,\"total\":9}", "{\"phase\":\"disk\",\"done\":5,\"total\":9}" },
		{ "{\"phase\":\"disk\",\"done\":5,\"total\":9,\"same\":4}", "{\"phase\":\"disk\",\"done\":5,\"total\":9,\"same\":4}" },
		{ "{\"phase\":\"disk\",\"done\":5,\"total\":9,\"same\":\"<b>\"}", "{\"phase\":\"disk\",\"done\":5,\"total\":9,\"same\":0}" },
		{ "{\"phase\":\"drain\",\"domain\":\"vm1\",\"more\":{\"x\":1}}", "{\"phase\":\"drain\",\"done\":0,\"total\":0}" },
		{ "{\"phase\":\"disk\",\"done\":-1,\"total\":\"x\"}", "{\"phase\":\"disk\",\"done\":0,\"total\":0}" },
		{ "{}", NULL },
		{ "{\"phase\":\"\"}", NULL },
		{ "{\"phase\":7}", NULL },
		{ "{\"phase\":\"\\u001b[2J\"}", NULL },
		{ "{\"phase\":\"abcdefghijklmnopqrstuvwxyzabcdefg\"}", NULL },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) said = parse(cases[i].said), read = peer_progress_read(said);

		if (!cases[i].read)
			assert_null(read);
		else
			assert_string_equal(json_object_to_json_string_ext(read, JSON_C_TO_STRING_PLAIN), cases[i].read);
	}
}

static void
test_ring(void **state)
{
	struct event_ring *r = event_ring_new();
	struct json_object *event = event_ring_add(r, json_put_str(json_object_new_object(), "type", "failover"), 1500000, "vm1", NULL, NULL);

	assert_string_equal(json_get_str(event, "domain"), "vm1");
	assert_string_equal(json_get_str(event, "type"), "failover");
	assert_string_equal(json_get_str(event, "text"), "failover");
	event_ring_add(r, NULL, 0, NULL, "hosts", "x");
	assert_true(event_ring_has(r, "vm1"));
	assert_false(event_ring_has(r, "vm2"));
	for (guint i = 0; i < EVENT_RING_MAX + 5; i++)
		event_ring_add(r, NULL, i, "vm2", "note", "x");
	assert_int_equal(event_ring_length(r), EVENT_RING_MAX);
	assert_false(event_ring_has(r, "vm1"));
	assert_true(event_ring_has(r, "vm2"));
	assert_true(json_object_get_double(json_get(event_ring_at(r, 0), "time")) * 1e6 > 4.5);
	event_ring_free(r);
}

static void
test_table(void **state)
{
	g_autoptr(json_object_ptr) list = parse(
		"[{\"domain\":\"vm1\",\"state\":\"protected\",\"role\":\"primary\",\"peer\":\"b\",\"mode\":\"colo\",\"epoch\":12,\"pause_p50_ms\":3.14,\"pause_p99_ms\":8.0,"
		"\"reason\":\"none\"},"
		"{\"domain\":\"longer\",\"state\":\"solo\",\"role\":\"standby\",\"peer\":\"a\",\"reason\":\"peer-silent\",\"ended_at\":988}]");
	g_autofree char *text = format_status_table(list, 1000);

	assert_string_equal(text,
			    "DOMAIN  STATE      ROLE     PEER  MODE  EPOCH  PAUSE p50/p99 ms  NOTE\n"
			    "vm1     protected  primary  b     colo  12     3.1/8.0\n"
			    "longer  solo       standby  a     -     -      -                 took over from a 12 s ago: peer-silent\n");
}

/* Columns are of characters, not of bytes. */
static void
test_table_of_any_names(void **state)
{
	g_autoptr(json_object_ptr) list = parse("[{\"domain\":\"büro\",\"state\":\"solo\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"none\"},"
						"{\"domain\":\"office\",\"state\":\"solo\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"none\"}]");
	g_autofree char *text = format_status_table(list, 1000);

	assert_non_null(strstr(text, "\nbüro    solo"));
	assert_non_null(strstr(text, "\noffice  solo"));
}

static void
test_detail(void **state)
{
	static const struct { const char *status, *first; } cases[] = {
		{ "{\"domain\":\"vm1\",\"state\":\"protected\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"none\"}", "vm1: runs here; its standby is on b\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"protected\",\"role\":\"standby\",\"peer\":\"a\",\"reason\":\"none\"}", "vm1: runs on a; its standby is here\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"forming\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"none\"}", "vm1: forming\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"deciding\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"peer-silent\",\"reason_text\":\"it was silent\"}", "vm1: deciding: it was silent\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"solo\",\"role\":\"standby\",\"peer\":\"a\",\"reason\":\"peer-silent\",\"reason_text\":\"it was silent\",\"ended_at\":988}",
		  "vm1: took over from a 12 s ago: it was silent\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"solo\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"peer-closed\",\"ended_at\":988}",
		  "vm1: was protected by b until 12 s ago: peer-closed\n\n" },
		{ "{\"domain\":\"vm1\",\"state\":\"fenced\",\"role\":\"primary\",\"peer\":\"b\",\"reason\":\"peer-goodbye\",\"ended_at\":988}",
		  "vm1: pair with b ended 12 s ago: peer-goodbye\n\n" },
		{ "{}", "?: ?\n\n" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) status = parse(cases[i].status);
		g_autofree char *text = format_status_detail(status, 1000);

		if (!g_str_has_prefix(text, cases[i].first))
			fail_msg("%s: %s", cases[i].status, text);
	}
}

static void
test_flows(void **state)
{
	g_autoptr(json_object_ptr) list = parse(
		"[{\"protocol\":\"tcp\",\"source\":\"10.0.0.1:80\",\"destination\":\"10.0.0.2:4000\",\"treatment\":\"compare\",\"same\":7,\"committed\":2,\"bypassed\":0,"
		"\"same_bytes\":1536,\"committed_bytes\":512,\"bypassed_bytes\":0,\"held\":1,\"differences\":3,"
		"\"first_difference\":{\"reason\":\"content\",\"byte\":7,\"primary\":\"61\",\"standby\":\"62\"}},"
		"{\"protocol\":\"other\",\"ethertype\":\"0806\",\"source\":\"a\",\"destination\":\"b\",\"treatment\":\"bypass\",\"same\":0,\"committed\":0,"
		"\"bypassed_bytes\":60,\"held\":0,\"differences\":0}]");
	g_autofree char *text = format_flows(list);

	assert_string_equal(text,
			    "PROTOCOL    SOURCE       DESTINATION    BYTES    SAME  COMMITTED  HELD    DIFFERENCES\n"
			    "tcp         10.0.0.1:80  10.0.0.2:4000  2.0 KiB  7     2          1       3, first: content at byte 7 (61 / 62)\n"
			    "other 0806  a            b              60 B     0     0          bypass\n");
}

static void
test_hosts(void **state)
{
	g_autoptr(json_object_ptr) list = parse(
		"[{\"name\":\"a\",\"version\":\"1.0\",\"copies\":3,\"memory_available_kib\":2097152,\"draining\":false,\"uplink_lost\":false,\"reachable\":true},"
		"{\"name\":\"b\",\"version\":\"1.0\",\"copies\":0,\"memory_available_kib\":1024,\"draining\":true,\"uplink_lost\":false,\"reachable\":true},"
		"{\"name\":\"c\",\"reachable\":false,\"why\":\"nobody answers\"}]");
	g_autofree char *text = format_hosts(list);

	assert_string_equal(text,
			    "HOST  STATE        COPIES  MEMORY FREE  VERSION  NOTE\n"
			    "a     up           3       2.0 GiB      1.0\n"
			    "b     draining     0       1.0 MiB      1.0\n"
			    "c     unreachable  -       -            -        nobody answers\n");
}

static void
test_progress(void **state)
{
	static const struct { const char *progress; unsigned columns; const char *text; } cases[] = {
		{ "{\"phase\":\"arm\",\"done\":0,\"total\":0}", 100, "arming" },
		{ "{\"phase\":\"disk\",\"done\":536870912,\"total\":1073741824}", 0, "copying disks: 50%, 512.0 MiB of 1.0 GiB" },
		{ "{\"phase\":\"disk\",\"done\":536870912,\"total\":1073741824,\"same\":0}", 0, "comparing disks: 50%, 512.0 MiB of 1.0 GiB, 0 B the same" },
		{ "{\"phase\":\"disk\",\"done\":536870912,\"total\":1073741824,\"same\":528482304}", 80,
		  "comparing disks: 50%, 512.0 MiB of 1.0 GiB, 504.0 MiB the same" },
		{ "{\"phase\":\"disk\",\"done\":536870912,\"total\":1073741824,\"same\":528482304}", 90,
		  "comparing disks        [#######--------]   50%  512.0 MiB of 1.0 GiB, 504.0 MiB the same" },
		{ "{\"phase\":\"memory\",\"done\":1024,\"total\":2048}", 70, "copying memory         [#######--------]   50%  1.0 KiB of 2.0 KiB" },
		{ "{\"phase\":\"new\",\"done\":9,\"total\":3}", 0, "new: 100%, 9 B of 3 B" },
		{ "{}", 0, "working" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) progress = parse(cases[i].progress);
		g_autofree char *text = format_progress(progress, cases[i].columns);

		assert_string_equal(text, cases[i].text);
	}
}

static void
test_event_kinds(void **state)
{
	const struct event_kind *k;
	guint i;

	for (i = 0; (k = event_kind_at(i)); i++) {
		assert_ptr_equal(event_kind_of(k->type), k);
		assert_true(k->priority >= 3 && k->priority <= 6);
		assert_int_equal(strspn(k->message_id, "0123456789abcdef"), 32);
		assert_int_equal(strlen(k->message_id), 32);
	}
	assert_true(i > 20);
	assert_int_equal(event_kind_of("phase")->priority, 6);
	assert_null(event_kind_of("phase")->message_id);
	assert_null(event_kind_of(NULL)->message_id);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peer_messages),
		cmocka_unit_test(test_peer_nonsense),
		cmocka_unit_test(test_peer_progress),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_event_kinds),
		cmocka_unit_test(test_table), cmocka_unit_test(test_table_of_any_names),
		cmocka_unit_test(test_detail),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
