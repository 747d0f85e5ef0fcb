/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-events.h"

#define AT "\"timestamp\":{\"seconds\":1700000000,\"microseconds\":250000}"

static void
known(void **state)
{
	static const struct { const char *text; enum qmp_event_type type; const char *reason; bool guest; } table[] = {
		{ "{" AT ",\"event\":\"STOP\"}", QMP_EVENT_STOP, "", false },
		{ "{" AT ",\"event\":\"RESUME\"}", QMP_EVENT_RESUME, "", false },
		{ "{" AT ",\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true,\"reason\":\"guest-shutdown\"}}", QMP_EVENT_SHUTDOWN, "guest-shutdown", true },
		{ "{" AT ",\"event\":\"SHUTDOWN\",\"data\":{\"guest\":false,\"reason\":\"host-qmp-quit\"}}", QMP_EVENT_SHUTDOWN, "host-qmp-quit", false },
		{ "{" AT ",\"event\":\"RESET\",\"data\":{\"guest\":true,\"reason\":\"guest-reset\"}}", QMP_EVENT_RESET, "guest-reset", true },
		{ "{" AT ",\"event\":\"SUSPEND\"}", QMP_EVENT_SUSPEND, "", false },
		{ "{" AT ",\"event\":\"GUEST_PANICKED\",\"data\":{\"action\":\"pause\"}}", QMP_EVENT_GUEST_PANICKED, "pause", false },
		{ "{" AT ",\"event\":\"COLO_EXIT\",\"data\":{\"mode\":\"secondary\",\"reason\":\"error\"}}", QMP_EVENT_COLO_EXIT, "error", false },
		{ "{" AT ",\"event\":\"BLOCK_JOB_READY\",\"data\":{\"device\":\"ftd-mirror0\",\"len\":16777216,\"offset\":16777216,\"speed\":0,\"type\":\"mirror\"}}",
		  QMP_EVENT_BLOCK_JOB_READY, "ftd-mirror0", false },
		{ "{" AT ",\"event\":\"BLOCK_JOB_ERROR\",\"data\":{\"device\":\"ftd-mirror0\",\"operation\":\"write\",\"action\":\"report\"}}",
		  QMP_EVENT_BLOCK_JOB_ERROR, "ftd-mirror0", false },
		{ "{" AT ",\"event\":\"BLOCK_JOB_COMPLETED\",\"data\":{\"device\":\"ftd-mirror0\",\"len\":0,\"offset\":0,\"speed\":0,\"type\":\"mirror\","
		  "\"error\":\"Source and target image have different sizes\"}}", QMP_EVENT_BLOCK_JOB_COMPLETED, "ftd-mirror0", false },
		{ "{" AT ",\"event\":\"BLOCK_JOB_CANCELLED\",\"data\":{\"device\":\"ftd-mirror0\"}}", QMP_EVENT_BLOCK_JOB_COMPLETED, "ftd-mirror0", false },
		{ "{" AT ",\"event\":\"BLOCK_IO_ERROR\",\"data\":{\"device\":\"\",\"node-name\":\"libvirt-1-format\",\"operation\":\"write\",\"action\":\"report\"}}",
		  QMP_EVENT_BLOCK_IO_ERROR, "libvirt-1-format", false },
		{ "{" AT ",\"event\":\"MIGRATION\",\"data\":{\"status\":\"colo\"}}", QMP_EVENT_MIGRATION, "colo", false },
		{ "{" AT ",\"event\":\"NIC_RX_FILTER_CHANGED\",\"data\":{\"guest\":true}}", QMP_EVENT_OTHER, "", false },
		{ "{" AT ",\"event\":\"\"}", QMP_EVENT_OTHER, "", false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(json_object) message = parse(table[i].text);
		struct qmp_event event;

		assert_true(qmp_event_decode(message, &event, NULL));
		assert_int_equal(event.type, table[i].type);
		assert_string_equal(event.reason, table[i].reason);
		assert_int_equal(event.guest, table[i].guest);
		assert_true(event.timestamp_us == G_GINT64_CONSTANT(1700000000250000));
		assert_string_equal(event.name, json_member_string(message, "event"));
	}
}

static void
odd(void **state)
{
	static const char *const no_time[] = {
		"{\"event\":\"STOP\"}", "{\"event\":\"STOP\",\"timestamp\":{\"seconds\":-1,\"microseconds\":-1}}",
		"{\"event\":\"STOP\",\"timestamp\":{\"seconds\":9223372036854775807,\"microseconds\":1}}",
		"{\"event\":\"STOP\",\"timestamp\":{\"seconds\":1,\"microseconds\":1000000}}", "{\"event\":\"STOP\",\"timestamp\":7,\"data\":[1]}",
	};
	struct qmp_event event;
	GError *error = NULL;
	g_autoptr(json_object) not_event = parse("{\"return\":{}}"), bad_name = parse("{\"event\":7}"), bad_data = parse("{\"event\":\"RESET\",\"data\":{\"guest\":1,\"reason\":7}}");

	for (size_t i = 0; i < G_N_ELEMENTS(no_time); i++) {
		g_autoptr(json_object) message = parse(no_time[i]);

		assert_true(qmp_event_decode(message, &event, NULL));
		assert_int_equal(event.timestamp_us, -1);
	}
	assert_false(qmp_event_decode(not_event, &event, &error));
	assert_error(error, FTD_ERROR_PROTOCOL);
	assert_false(qmp_event_decode(bad_name, &event, NULL));
	assert_true(qmp_event_decode(bad_data, &event, NULL));
	assert_string_equal(event.reason, "");
	assert_false(event.guest);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(known), cmocka_unit_test(odd) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
