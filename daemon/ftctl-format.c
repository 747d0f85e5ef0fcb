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

/* What became of a pair that is no more, or why an active one is not well. */
static char *
format_note(struct json_object *d, gint64 now_s)
{
	const char *reason = text_or(d, "reason", ""), *peer = text_or(d, "peer", "?"), *state = text_or(d, "state", "");
	g_autofree char *age = NULL;

	if (!json_get(d, "ended_at"))
		return g_strdup(strcmp(reason, "none") == 0 ? "" : reason);
	age = format_age(json_get_u64(d, "ended_at"), now_s);
	if (strcmp(state, "solo") != 0)
		return g_strdup_printf("pair with %s ended %s: %s", peer, age, reason);
	if (strcmp(text_or(d, "role", ""), "standby") == 0)
		return g_strdup_printf("took over from %s %s: %s", peer, age, reason);
	return g_strdup_printf("was protected by %s until %s: %s", peer, age, reason);
}

#define COLUMNS 8

static void
make_row(struct json_object *d, gint64 now_s, char *row[COLUMNS])
{
	g_autofree char *p50 = format_number(d, "pause_p50_ms"), *p99 = format_number(d, "pause_p99_ms");
	bool over = json_get(d, "ended_at") != NULL;

	row[0] = g_strdup(text_or(d, "domain", "?"));
	row[1] = g_strconcat(text_or(d, "state", "?"), json_get_bool(d, "suspended") ? " (suspended)" : "", NULL);
	row[2] = g_strdup(text_or(d, "role", "?"));
	row[3] = g_strdup(text_or(d, "peer", "-"));
	row[4] = g_strdup(text_or(d, "mode", "-"));
	row[5] = format_number(d, "epoch");
	row[6] = over ? g_strdup("-") : g_strdup_printf("%s/%s", p50, p99);
	row[7] = format_note(d, now_s);
}

static void
append_row(GString *out, char *const row[COLUMNS], const int width[COLUMNS])
{
	for (guint i = 0; i < COLUMNS; i++)
		g_string_append_printf(out, "%-*s%s", i + 1 < COLUMNS ? width[i] : 0, row[i], i + 1 < COLUMNS ? "  " : "");
	while (out->len && out->str[out->len - 1] == ' ')
		g_string_truncate(out, out->len - 1);
	g_string_append_c(out, '\n');
}

char *
format_status_table(struct json_object *domains, gint64 now_s)
{
	static const char *const head[COLUMNS] = { "DOMAIN", "STATE", "ROLE", "PEER", "MODE", "EPOCH", "PAUSE p50/p99 ms", "NOTE" };
	size_t rows = json_length(domains) + 1;
	g_autofree char **cells = g_new0(char *, rows * COLUMNS);
	int width[COLUMNS] = { 0 };
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < COLUMNS; i++)
		cells[i] = g_strdup(head[i]);
	for (size_t r = 1; r < rows; r++)
		make_row(json_at(domains, r - 1), now_s, &cells[r * COLUMNS]);
	for (size_t i = 0; i < rows * COLUMNS; i++)
		width[i % COLUMNS] = MAX(width[i % COLUMNS], (int)g_utf8_strlen(cells[i], -1));
	for (size_t r = 0; r < rows; r++)
		append_row(out, &cells[r * COLUMNS], width);
	for (size_t i = 0; i < rows * COLUMNS; i++)
		g_free(cells[i]);
	return g_string_free(out, FALSE);
}

static char *
format_member(struct json_object *d, const char *key, struct json_object *value)
{
	if (g_str_has_suffix(key, "bytes") || g_str_has_prefix(key, "bytes_"))
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
		json_object_object_foreach(domain, key, value) {
			g_autofree char *text = strcmp(key, "ended_at") == 0 ? format_age(json_get_u64(domain, key), now_s) : format_member(domain, key, value);

			g_string_append_printf(out, "%-22s %s\n", key, text);
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
		{ "disk", "copying disks" }, { "memory", "copying memory" }, { "arm", "arming" },
	};

	for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
		if (strcmp(texts[i].phase, phase) == 0)
			return texts[i].text;
	return phase;
}

char *
format_progress(struct json_object *progress, unsigned columns)
{
	const char *phase = phase_text(text_or(progress, "phase", "working"));
	guint64 done = json_get_u64(progress, "done"), total = json_get_u64(progress, "total");
	g_autofree char *done_text = format_bytes(done), *total_text = format_bytes(total), *bar = NULL;
	unsigned percent, width = columns > 80 ? 30 : columns > 60 ? 15 : 0, filled;

	if (!total)
		return g_strdup(phase);
	percent = (unsigned)(100.0 * (double)MIN(done, total) / (double)total);
	filled = width * percent / 100;
	bar = g_strnfill(width, '-');
	memset(bar, '#', filled);
	if (width)
		return g_strdup_printf("%-21s  [%s]  %3u%%  %s of %s", phase, bar, percent, done_text, total_text);
	return g_strdup_printf("%s: %u%%, %s of %s", phase, percent, done_text, total_text);
}
