/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With an argument (openmetrics, prometheus) it prints the text of a host with three pairs, for other programs to judge. */
#include "daemon/metrics.h"

#include "daemon/json-util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char three_pairs[] =
	"[{\"domain\":\"vm1\",\"uuid\":\"u1\",\"state\":\"protected\",\"reason\":\"none\",\"role\":\"primary\",\"peer\":\"b\",\"mode\":\"colo\",\"generation\":3,"
	"\"state_seconds\":12.5,\"suspended\":false,\"epoch\":18,\"committed_epoch\":17,\"loaded_epoch\":16,\"epoch_ms\":250.5,\"epoch_limit_ms\":1000,\"epochs\":17,"
	"\"checkpoints_by_reason\":{\"epoch-limit\":11,\"difference\":6},\"pause_p50_ms\":3.25,\"pause_p99_ms\":8,\"pause_max_ms\":9.5,\"commit_p50_ms\":6,\"load_p50_ms\":20,"
	"\"standby_stop_p50_ms\":22,\"round_trip_p50_ms\":0.4,\"dirty_pages\":600,\"checkpoint_bytes\":2500000,\"bytes_sent\":12345678901,\"disk_bytes_waiting\":4096,\"disk_compared_bytes\":1048576,\"disk_same_bytes\":983040,"
	"\"released_same\":100,\"released_committed\":7,\"released_same_bytes\":64000,\"released_committed_bytes\":9000,\"held_frames\":2,\"differences\":6,\"timeouts\":1,"
	"\"queue_full\":0,\"lease_waits\":0,\"flows\":4,\"frames_skipped\":0},"
	"{\"domain\":\"a \\\"b\\\\c\\nd\",\"uuid\":\"u2\",\"state\":\"protected\",\"role\":\"standby\",\"peer\":\"b\",\"mode\":\"passive\",\"fit\":true,\"loads\":44,\"load_p50_ms\":20,"
	"\"load_p99_ms\":31,\"frames_dropped\":1,\"suspended\":null},"
	"{\"domain\":\"vm3\",\"uuid\":\"u3\",\"state\":\"solo\",\"reason\":\"peer-silent\",\"role\":\"primary\",\"peer\":\"b\",\"ended_at\":5,\"epochs\":99}]";

static char *
make(enum metrics_format format)
{
	g_autoptr(json_object_ptr) domains = json_parse(three_pairs, strlen(three_pairs), NULL), events = json_put_u64(json_object_new_object(), "enable", 2);
	const struct metrics_source source = { "a", "0.1", domains, events, false };

	return metrics_text(&source, format);
}

static void
has(const char *text, const char *line)
{
	g_autofree char *whole = g_strconcat("\n", line, "\n", NULL);

	if (!strstr(text, whole))
		fail_msg("no line %s", line);
}

static void
test_samples(void **state)
{
	g_autofree char *text = make(METRICS_OPENMETRICS);

	has(text, "ftd_build_info{host=\"a\",version=\"0.1\"} 1");
	has(text, "ftd_pairs 2");
	has(text, "ftd_pair_info{domain=\"vm1\",role=\"primary\",uuid=\"u1\",peer=\"b\",mode=\"colo\"} 1");
	has(text, "ftd_pair_state{domain=\"vm3\",role=\"primary\",state=\"solo\",reason=\"peer-silent\"} 1");
	has(text, "ftd_pair_protected{domain=\"vm1\",role=\"primary\"} 1");
	assert_null(strstr(text, "ftd_pair_protected{domain=\"vm3\""));
	assert_null(strstr(text, "ftd_checkpoints_total{domain=\"vm3\""));
	has(text, "ftd_events_total{type=\"enable\"} 2");
	has(text, "ftd_checkpoints_total{domain=\"vm1\",role=\"primary\"} 17");
	has(text, "ftd_checkpoints_wanted_total{domain=\"vm1\",role=\"primary\",reason=\"difference\"} 6");
	has(text, "ftd_pause_seconds{domain=\"vm1\",role=\"primary\",quantile=\"0.99\"} 0.008");
	has(text, "ftd_epoch_duration_seconds{domain=\"vm1\",role=\"primary\"} 0.2505");
	has(text, "ftd_sent_bytes_total{domain=\"vm1\",role=\"primary\"} 12345678901");
	has(text, "ftd_disk_compared_bytes_total{domain=\"vm1\",role=\"primary\"} 1048576");
	has(text, "ftd_disk_same_bytes_total{domain=\"vm1\",role=\"primary\"} 983040");
	has(text, "ftd_released_packets_total{domain=\"vm1\",role=\"primary\",by=\"commit\"} 7");
	has(text, "ftd_guest_suspended{domain=\"vm1\",role=\"primary\"} 0");
	has(text, "ftd_standby_fit{domain=\"a \\\"b\\\\c\\nd\",role=\"standby\"} 1");
	has(text, "ftd_uplink_lost 0");
}

static void
test_formats(void **state)
{
	g_autofree char *open = make(METRICS_OPENMETRICS), *prometheus = make(METRICS_PROMETHEUS);

	has(open, "# TYPE ftd_checkpoints counter");
	has(open, "# UNIT ftd_pause_seconds seconds");
	assert_true(g_str_has_suffix(open, "\n# EOF\n"));
	has(prometheus, "# TYPE ftd_checkpoints_total counter");
	assert_null(strstr(prometheus, "# UNIT"));
	assert_null(strstr(prometheus, "# EOF"));
	assert_non_null(strstr(metrics_content_type(METRICS_OPENMETRICS), "openmetrics-text"));
}

/* Rules of OpenMetrics 1.0 for names, and that no family is told twice or mixed with another. */
static void
test_families(void **state)
{
	for (guint i = 0; i < metrics_families(); i++) {
		struct metrics_family_info f, other;

		metrics_family(i, &f);
		assert_true(g_str_has_prefix(f.name, "ftd_"));
		assert_true(strspn(f.name, "abcdefghijklmnopqrstuvwxyz_") == strlen(f.name));
		assert_true(g_str_has_suffix(f.name, "_total") == (strcmp(f.type, "counter") == 0));
		assert_true(g_str_has_suffix(f.help, "."));
		for (guint j = 0; j < i; j++) {
			metrics_family(j, &other);
			assert_string_not_equal(f.name, other.name);
		}
	}
}

static void
test_nothing_is_known(void **state)
{
	const struct metrics_source source = { "a", "0.1", NULL, NULL, true };
	g_autofree char *text = metrics_text(&source, METRICS_OPENMETRICS);

	has(text, "ftd_pairs 0");
	has(text, "ftd_uplink_lost 1");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_nothing_is_known),
	};

	if (argc > 1) {
		g_autofree char *text = make(strcmp(argv[1], "openmetrics") == 0 ? METRICS_OPENMETRICS : METRICS_PROMETHEUS);

		fputs(text, stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
