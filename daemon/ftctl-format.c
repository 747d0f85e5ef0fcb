/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"

#include "daemon/json-util.h"

#include <string.h>

static const char *
text_or(struct json_object *o, const char *key, const char *otherwise)
{
	const char *value = json_get_str(o, key);

	return value && *value ? value : otherwise;
}

char *
format_bytes(guint64 bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes / 1024;
	guint unit = 0;

	if (bytes < 1024)
		return g_strdup_printf("%" G_GUINT64_FORMAT " B", bytes);
	for (; value >= 1024 && unit + 1 < G_N_ELEMENTS(units); unit++)
		value /= 1024;
	return g_strdup_printf("%.1f %s", value, units[unit]);
}

static char *
format_age(guint64 then, gint64 now_s)
{
	gint64 age = MAX(0, now_s - (gint64)then);

	if (age < 120)
		return g_strdup_printf("%d s ago", (int)age);
	if (age < 7200)
		return g_strdup_printf("%d min ago", (int)(age / 60));
	if (age < 48 * 3600)
		return g_strdup_printf("%d h ago", (int)(age / 3600));
	return g_strdup_printf("%d days ago", (int)(age / 86400));
}

static char *
format_number(struct json_object *o, const char *key)
{
	struct json_object *value = json_get(o, key);

	if (json_object_is_type(value, json_type_int))
		return g_strdup_printf("%" G_GUINT64_FORMAT, json_get_u64(o, key));
	if (json_object_is_type(value, json_type_double))
		return g_strdup_printf("%.1f", json_object_get_double(value));
	return g_strdup("-");
}

/* What became of a pair that is no more. */
static char *
format_end(struct json_object *d, const char *reason, gint64 now_s)
{
	const char *peer = text_or(d, "peer", "?");
	g_autofree char *age = format_age(json_get_u64(d, "ended_at"), now_s);

	if (strcmp(text_or(d, "state", ""), "solo") != 0)
		return g_strdup_printf("pair with %s ended %s: %s", peer, age, reason);
	if (strcmp(text_or(d, "role", ""), "standby") == 0)
		return g_strdup_printf("took over from %s %s: %s", peer, age, reason);
	return g_strdup_printf("was protected by %s until %s: %s", peer, age, reason);
}

/* That, or why an active one is not well. */
static char *
format_note(struct json_object *d, gint64 now_s)
{
	const char *reason = text_or(d, "reason", "");

	if (json_get(d, "ended_at"))
		return format_end(d, reason, now_s);
	return g_strdup(strcmp(reason, "none") == 0 ? "" : reason);
}

/* What an operator wants to know first, as a sentence. */
static char *
format_summary(struct json_object *d, gint64 now_s)
{
	const char *peer = text_or(d, "peer", "?"), *state = text_or(d, "state", "?"), *reason = text_or(d, "reason", "none");
	const char *text = text_or(d, "reason_text", reason);

	if (json_get(d, "ended_at"))
		return format_end(d, text, now_s);
	if (strcmp(state, "protected") == 0)
		return strcmp(text_or(d, "role", ""), "standby") == 0 ? g_strdup_printf("runs on %s; its standby is here", peer) : g_strdup_printf("runs here; its standby is on %s", peer);
	return strcmp(reason, "none") == 0 ? g_strdup(state) : g_strdup_printf("%s: %s", state, text);
}

#define STATUS_COLUMNS 8
#define FLOW_COLUMNS 8

static void
append_row(GString *out, char *const *row, unsigned columns, const int *width)
{
	for (guint i = 0; i < columns; i++) {
		int blanks = width[i] - (int)g_utf8_strlen(row[i], -1);

		g_string_append_printf(out, "%s%*s", row[i], i + 1 < columns ? blanks + 2 : 0, "");
	}
	while (out->len && out->str[out->len - 1] == ' ')
		g_string_truncate(out, out->len - 1);
	g_string_append_c(out, '\n');
}

/* Cells of `columns` columns, row by row; takes them. */
static char *
format_table(GPtrArray *cells, unsigned columns)
{
	g_autofree int *width = g_new0(int, columns);
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < cells->len; i++)
		width[i % columns] = MAX(width[i % columns], (int)g_utf8_strlen(cells->pdata[i], -1));
	for (guint i = 0; i < cells->len; i += columns)
		append_row(out, (char *const *)cells->pdata + i, columns, width);
	g_ptr_array_unref(cells);
	return g_string_free(out, FALSE);
}

static GPtrArray *
table_new(const char *const *head, unsigned columns)
{
	GPtrArray *cells = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < columns; i++)
		g_ptr_array_add(cells, g_strdup(head[i]));
	return cells;
}

static void
add_status_row(GPtrArray *cells, struct json_object *d, gint64 now_s)
{
	g_autofree char *p50 = format_number(d, "pause_p50_ms"), *p99 = format_number(d, "pause_p99_ms");
	bool over = json_get(d, "ended_at") != NULL;

	g_ptr_array_add(cells, g_strdup(text_or(d, "domain", "?")));
	g_ptr_array_add(cells, g_strconcat(text_or(d, "state", "?"), json_get_bool(d, "suspended") ? " (suspended)" : "", NULL));
	g_ptr_array_add(cells, g_strdup(text_or(d, "role", "?")));
	g_ptr_array_add(cells, g_strdup(text_or(d, "peer", "-")));
	g_ptr_array_add(cells, g_strdup(text_or(d, "mode", "-")));
	g_ptr_array_add(cells, format_number(d, "epoch"));
	g_ptr_array_add(cells, over ? g_strdup("-") : g_strdup_printf("%s/%s", p50, p99));
	g_ptr_array_add(cells, format_note(d, now_s));
}

char *
format_status_table(struct json_object *domains, gint64 now_s)
{
	static const char *const head[STATUS_COLUMNS] = { "DOMAIN", "STATE", "ROLE", "PEER", "MODE", "EPOCH", "PAUSE p50/p99 ms", "NOTE" };
	GPtrArray *cells = table_new(head, STATUS_COLUMNS);

	for (size_t r = 0; r < json_length(domains); r++)
		add_status_row(cells, json_at(domains, r), now_s);
	return format_table(cells, STATUS_COLUMNS);
}

/* "3, first: content at byte 7 (6162 / 6163)" */
static char *
format_differences(struct json_object *flow)
{
	struct json_object *first = json_get(flow, "first_difference");
	GString *out = g_string_new(NULL);

	if (!first)
		return g_string_free(out, FALSE);
	g_string_append_printf(out, "%" G_GUINT64_FORMAT ", first: %s", json_get_u64(flow, "differences"), text_or(first, "reason", "?"));
	if (json_get(first, "byte"))
		g_string_append_printf(out, " at byte %" G_GUINT64_FORMAT, json_get_u64(first, "byte"));
	if (json_get(first, "primary"))
		g_string_append_printf(out, " (%s / %s)", text_or(first, "primary", "nothing"), text_or(first, "standby", "nothing"));
	return g_string_free(out, FALSE);
}

static void
add_flow_row(GPtrArray *cells, struct json_object *f)
{
	const char *treatment = text_or(f, "treatment", "?"), *type = text_or(f, "ethertype", NULL);
	guint64 bytes = json_get_u64(f, "same_bytes") + json_get_u64(f, "committed_bytes") + json_get_u64(f, "bypassed_bytes");

	g_ptr_array_add(cells, type ? g_strdup_printf("%s %s", text_or(f, "protocol", "?"), type) : g_strdup(text_or(f, "protocol", "?")));
	g_ptr_array_add(cells, g_strdup(text_or(f, "source", "?")));
	g_ptr_array_add(cells, g_strdup(text_or(f, "destination", "?")));
	g_ptr_array_add(cells, format_bytes(bytes));
	g_ptr_array_add(cells, format_number(f, "same"));
	g_ptr_array_add(cells, format_number(f, "committed"));
	g_ptr_array_add(cells, strcmp(treatment, "compare") == 0 ? format_number(f, "held") : g_strdup(treatment));
	g_ptr_array_add(cells, format_differences(f));
}

char *
format_flows(struct json_object *flows)
{
	static const char *const head[FLOW_COLUMNS] = { "PROTOCOL", "SOURCE", "DESTINATION", "BYTES", "SAME", "COMMITTED", "HELD", "DIFFERENCES" };
	GPtrArray *cells = table_new(head, FLOW_COLUMNS);

	for (size_t r = 0; r < json_length(flows); r++)
		add_flow_row(cells, json_at(flows, r));
	return format_table(cells, FLOW_COLUMNS);
}

#define HOST_COLUMNS 6

char *
format_hosts(struct json_object *hosts)
{
	static const char *const head[HOST_COLUMNS] = { "HOST", "STATE", "COPIES", "MEMORY FREE", "VERSION", "NOTE" };
	GPtrArray *cells = table_new(head, HOST_COLUMNS);

	for (size_t r = 0; r < json_length(hosts); r++) {
		struct json_object *h = json_at(hosts, r);
		const char *state = !json_get_bool(h, "reachable") ? "unreachable" : json_get_bool(h, "draining") ? "draining" : json_get_bool(h, "uplink_lost") ? "no uplink" : "up";

		g_ptr_array_add(cells, g_strdup(text_or(h, "name", "?")));
		g_ptr_array_add(cells, g_strdup(state));
		g_ptr_array_add(cells, format_number(h, "copies"));
		g_ptr_array_add(cells, json_get(h, "memory_available_kib") ? format_bytes(json_get_u64(h, "memory_available_kib") << 10) : g_strdup("-"));
		g_ptr_array_add(cells, g_strdup(text_or(h, "version", "-")));
		g_ptr_array_add(cells, g_strdup(text_or(h, "why", "")));
	}
	return format_table(cells, HOST_COLUMNS);
}

static char *
format_member(struct json_object *d, const char *key, struct json_object *value)
{
	if (strstr(key, "bytes"))
		return format_bytes(json_get_u64(d, key));
	if (json_object_is_type(value, json_type_double))
		return g_strdup_printf("%.2f", json_object_get_double(value));
	if (json_object_is_type(value, json_type_string))
		return g_strdup(json_object_get_string(value));
	return g_strdup(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
}

char *
format_status_detail(struct json_object *domain, gint64 now_s)
{
	GString *out = g_string_new(NULL);

	if (json_object_is_type(domain, json_type_object)) {
		g_autofree char *summary = format_summary(domain, now_s);

		g_string_append_printf(out, "%s: %s\n\n", text_or(domain, "domain", "?"), summary);
		json_object_object_foreach(domain, key, value) {
			g_autofree char *text = strcmp(key, "ended_at") == 0 ? format_age(json_get_u64(domain, key), now_s) : format_member(domain, key, value);

			g_string_append_printf(out, "%-24s %s\n", key, text);
		}
	}
	return g_string_free(out, FALSE);
}

char *
format_event(struct json_object *event)
{
	struct json_object *time = json_get(event, "time");
	double seconds = time ? json_object_get_double(time) : 0;
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_local((gint64)seconds);
	g_autofree char *stamp = date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S") : g_strdup("?");

	return g_strdup_printf("%s.%03d %s %s: %s", stamp, (int)((seconds - (double)(gint64)seconds) * 1000), text_or(event, "domain", "-"), text_or(event, "type", "?"),
			       text_or(event, "text", ""));
}

static const char *
phase_text(const char *phase)
{
	static const struct { const char *phase, *text; } texts[] = {
		{ "check", "checking" }, { "prepare", "preparing the standby" }, { "connect", "connecting" }, { "attach", "attaching to QEMU" },
		{ "disk", "copying disks" }, { "memory", "copying memory" }, { "arm", "arming" }, { "switchover", "switching over" }, { "failover", "failing over" }, { "restart", "ending the standby" }, { "suspend", "ending the protection" }, { "drain", "moving pairs away" }, { "protect", "protecting again" },
	};

	for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
		if (strcmp(texts[i].phase, phase) == 0)
			return texts[i].text;
	return phase;
}

char *
format_progress(struct json_object *progress, unsigned columns)
{
	bool compared = json_get(progress, "same") != NULL;
	const char *phase = compared ? "comparing disks" : phase_text(text_or(progress, "phase", "working"));
	guint64 done = json_get_u64(progress, "done"), total = json_get_u64(progress, "total");
	g_autofree char *done_text = format_bytes(done), *total_text = format_bytes(total), *same_text = format_bytes(json_get_u64(progress, "same")), *bar = NULL;
	g_autofree char *same = compared ? g_strdup_printf(", %s the same", same_text) : g_strdup("");
	unsigned room = columns - MIN(columns, (unsigned)strlen(same)), percent, width = room > 80 ? 30 : room > 60 ? 15 : 0, filled;

	if (!total)
		return g_strdup(phase);
	percent = (unsigned)(100.0 * (double)MIN(done, total) / (double)total);
	filled = width * percent / 100;
	bar = g_strnfill(width, '-');
	memset(bar, '#', filled);
	if (width)
		return g_strdup_printf("%-21s  [%s]  %3u%%  %s of %s%s", phase, bar, percent, done_text, total_text, same);
	return g_strdup_printf("%s: %u%%, %s of %s%s", phase, percent, done_text, total_text, same);
}
