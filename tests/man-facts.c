/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the manual pages have to list, as the code itself has it: one fact per line, a kind and its words. tests/check-man.sh compares. */
#include "daemon/base/error.h"
#include "daemon/check-report.h"
#include "daemon/ftd-interface.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-internal.h"
#include "daemon/metrics.h"
#include "checkpoint/relay.h"

#include <stdio.h>
#include <string.h>

static void
exit_statuses(void)
{
	for (int code = 0; code < FTD_ERROR_LAST; code++) {
		g_autoptr(GError) error = g_error_new_literal(FTD_ERROR, code, "");

		printf("exit %d %s\n", ftd_error_exit_status(code), ftd_error_name(error));
	}
}

static void
frames(void)
{
	for (unsigned type = 0; type <= G_MAXUINT16; type++) {
		g_autoptr(GString) channels = g_string_new(NULL);
		uint32_t max = 0;
		int n = 0;

		for (enum peer_channel c = 0; c < PEER_CHANNEL_LAST; c++)
			if (peer_type_allowed(type, c, &max)) {
				g_string_append_printf(channels, "%s%s", n ? "," : "", peer_channel_name(c));
				n++;
			}
		if (n)
			printf("frame %s %u %s %u\n", peer_type_name(type), type, n == PEER_CHANNEL_LAST ? "all" : channels->str, max);
	}
	printf("protocol-version %d\n", PEER_VERSION);
}

static void
names(void)
{
	for (unsigned i = 0; i < FAILOVER_STATE_LAST; i++)
		printf("state %s\n", failover_state_name(i));
	for (unsigned i = 0; i < FAILOVER_REASON_LAST; i++)
		printf("reason %u %s\n", i, failover_reason_name(i));
	for (unsigned i = 0; i < GUARD_PHASE_LAST; i++)
		printf("phase %s\n", guard_phase_name(i));
	for (unsigned i = 0; i < RELAY_WANT_LAST; i++)
		printf("want %s\n", relay_want_name(i));
}

static void
check_reasons(void)
{
	for (enum check_requirement i = 0; i < CHECK_REQUIREMENT_LAST; i++)
		printf("requirement %s\n", check_requirement_name(i));
	for (enum check_reason i = CHECK_REASON_NONE + 1; i < CHECK_REASON_LAST; i++) {
		printf("check-reason %s%s\n", check_reason_name(i), check_reason_state(i) == CHECK_WARNING ? " Pq warning" : "");
		if (check_reason_could_be_supported(i))
			printf("could %s\n", check_reason_name(i));
	}
}

static void
metrics(void)
{
	for (guint i = 0; i < metrics_families(); i++) {
		struct metrics_family_info f;

		metrics_family(i, &f);
		printf("metric %s %s\n", f.name, f.type);
	}
}

static void
status_members(enum failover_role role)
{
	static const struct guard_env env;
	g_autoptr(guard_config) config = guard_config_new();
	struct json_object *status;
	struct guard *g;

	config->role = role;
	config->token = g_strnfill(64, '0');
	g = guard_new(config, 1, &env, NULL);
	status = guard_status(g, 1);
	json_object_object_foreach(status, key, value) {
		(void)value;
		printf("status %s\n", key);
	}
	json_object_put(status);
	guard_free(g);
}

static void
history_members(void)
{
	static const struct guard_env env;
	g_autoptr(guard_config) config = guard_config_new();
	struct json_object *history, *columns;
	struct guard *g;

	config->role = FAILOVER_PRIMARY;
	config->token = g_strnfill(64, '0');
	g = guard_new(config, 1, &env, NULL);
	history = guard_history(g, 1);
	json_object_object_foreach(history, key, value) {
		(void)value;
		printf("history %s\n", key);
	}
	columns = json_object_object_get(history, "columns");
	for (size_t i = 0; i < json_object_array_length(columns); i++)
		printf("column %s\n", json_object_get_string(json_object_array_get_idx(columns, i)));
	json_object_put(history);
	guard_free(g);
}

/* One whole frame that differs has all members a flow can have. */
static void
flow_members(void)
{
	static const struct guard_env env;
	g_autoptr(guard_config) config = guard_config_new();
	g_autoptr(GBytes) one = g_bytes_new_static("one", 3), other = g_bytes_new_static("two", 3);
	struct json_object *flows;
	struct guard *g;

	config->role = FAILOVER_PRIMARY;
	config->token = g_strnfill(64, '0');
	g = guard_new(config, 1, &env, NULL);
	comparator_protect(g->p.comparator, 0, 1);
	comparator_primary_frame(g->p.comparator, 0, 0, one);
	comparator_secondary_frame(g->p.comparator, 0, 0, 1, 1, other);
	flows = guard_flows(g);
	json_object_object_foreach(json_object_array_get_idx(flows, 0), key, value) {
		(void)value;
		printf("flow %s\n", key);
	}
	json_object_put(flows);
	guard_free(g);
	for (unsigned i = DIFFERENCE_NONE + 1; i < DIFFERENCE_LAST; i++)
		printf("difference %s\n", difference_reason_name(i));
}

/* Everything but comments and errors, which are the exit statuses. */
static void
interface(const char *name, const char *description)
{
	g_auto(GStrv) lines = g_strsplit(description, "\n", -1);

	for (unsigned i = 0; lines[i]; i++) {
		if (g_str_has_prefix(lines[i], "method ") || g_str_has_prefix(lines[i], "type "))
			printf("%s %s\n", name, lines[i]);
		if (g_str_has_prefix(lines[i], "error "))
			printf("%s-error %.*s\n", name, (int)strcspn(lines[i] + 6, " "), lines[i] + 6);
	}
}

int
main(void)
{
	exit_statuses();
	frames();
	names();
	status_members(FAILOVER_PRIMARY);
	status_members(FAILOVER_STANDBY);
	flow_members();
	history_members();
	check_reasons();
	metrics();
	interface(FTD_INTERFACE, FTD_INTERFACE_DESCRIPTION);
	interface(GUARD_INTERFACE, GUARD_INTERFACE_DESCRIPTION);
	return 0;
}
