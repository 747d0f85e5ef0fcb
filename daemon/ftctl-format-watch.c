/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"

#include "daemon/json-util.h"

#include <math.h>
#include <string.h>

#define COLUMNS 9
#define GREEN "\033[32m"
#define YELLOW "\033[33m"
#define RED "\033[31m"
#define BOLD "\033[1m"
#define PLAIN "\033[0m"

/* Together 79, the blanks between them included; DOMAIN takes what a wider terminal has more. Negative: to the left. */
static const struct { const char *head; int width; } columns[COLUMNS] = {
	{ "DOMAIN", -12 }, { "STATE", -10 }, { "PEER", -10 }, { "MODE", -7 }, { "EPOCH", 7 }, { "/s", 4 }, { "PAUSE ms", 9 }, { "LAG ms", 6 }, { "LINK/s", 6 },
};

static const char *
text_or(struct json_object *o, const char *key, const char *otherwise)
{
	const char *value = json_get_str(o, key);

	return value && *value ? value : otherwise;
}

/* Three digits and a unit: "950", "12k", "3.4M". */
static char *
format_short(double n)
{
	static const char units[] = { ' ', 'k', 'M', 'G', 'T' };
	guint unit = 0;

	for (; n >= 999.5 && unit + 1 < sizeof units; unit++)
		n /= 1000;
	if (!unit)
		return g_strdup_printf("%.0f", n);
	return n < 9.95 ? g_strdup_printf("%.1f%c", n, units[unit]) : g_strdup_printf("%.0f%c", n, units[unit]);
}

static char *
format_ms(double ms)
{
	return g_strdup_printf(ms < 9.95 ? "%.1f" : "%.0f", ms);
}

static double
number(struct json_object *o, const char *key)
{
	return json_object_get_double(json_get(o, key));
}

/* The same side of the same pair a moment ago; NULL: it was not there. */
static struct json_object *
find_before(struct json_object *before, struct json_object *d)
{
	for (size_t i = 0; i < json_length(before); i++) {
		struct json_object *b = json_at(before, i);

		if (g_strcmp0(json_get_str(b, "uuid"), json_get_str(d, "uuid")) == 0 && json_get_u64(b, "generation") == json_get_u64(d, "generation") &&
		    g_strcmp0(json_get_str(b, "role"), json_get_str(d, "role")) == 0)
			return b;
	}
	return NULL;
}

static double
rate(struct json_object *d, struct json_object *before, const char *key, double seconds)
{
	return before && seconds > 0 ? MAX(0, number(d, key) - number(before, key)) / seconds : NAN;
}

/* Cells that are not known are "-". */
static void
fill_figures(char *cells[COLUMNS], struct json_object *d, struct json_object *before, double seconds)
{
	bool primary = g_strcmp0(json_get_str(d, "role"), "primary") == 0;
	double per_s = rate(d, before, primary ? "epochs" : "loads", seconds), link = rate(d, before, "bytes_sent", seconds);

	if (json_get(d, "epoch"))
		cells[4] = g_strdup_printf("%" G_GUINT64_FORMAT, json_get_u64(d, "epoch"));
	if (!isnan(per_s))
		cells[5] = per_s < 99.5 ? format_ms(per_s) : format_short(per_s);
	if (json_get(d, "pause_p50_ms")) {
		g_autofree char *p50 = format_ms(number(d, "pause_p50_ms")), *p99 = format_ms(number(d, "pause_p99_ms"));

		cells[6] = g_strconcat(p50, "/", p99, NULL);
	}
	if (json_get(d, primary ? "commit_p50_ms" : "load_p50_ms"))
		cells[7] = format_ms(number(d, primary ? "commit_p50_ms" : "load_p50_ms"));
	if (primary && !isnan(link))
		cells[8] = format_short(link);
}

static const char *
color_of(const char *state)
{
	static const char *const bad[] = { "solo", "orphan", "deciding", "asking", "closing", "unknown", NULL };

	if (strcmp(state, "protected") == 0)
		return GREEN;
	return g_strv_contains(bad, state) ? RED : YELLOW;
}

/* A cell fits its column: what does not is cut, and shows that it was. */
static char *
fit(const char *text, guint width)
{
	g_autofree char *start = NULL;

	if (g_utf8_strlen(text, -1) <= (glong)width)
		return g_strdup(text);
	start = g_utf8_substring(text, 0, width - 1);
	return g_strconcat(start, "~", NULL);
}

static void
append_cell(GString *out, guint i, const char *text, guint more, const char *color)
{
	guint width = (guint)ABS(columns[i].width) + (i == 0 ? more : 0);
	g_autofree char *cell = fit(text, width);
	guint blanks = width - (guint)g_utf8_strlen(cell, -1);

	if (i)
		g_string_append_c(out, ' ');
	if (columns[i].width > 0)
		g_string_append_printf(out, "%*s", (int)blanks, "");
	g_string_append_printf(out, "%s%s%s", color ? color : "", cell, color ? PLAIN : "");
	if (columns[i].width < 0)
		g_string_append_printf(out, "%*s", (int)blanks, "");
}

static void
end_line(GString *out)
{
	while (out->len && out->str[out->len - 1] == ' ')
		g_string_truncate(out, out->len - 1);
	g_string_append_c(out, '\n');
}

static void
append_row(GString *out, struct json_object *d, const struct watch *w, guint more)
{
	const char *state = json_get_bool(d, "suspended") ? "suspended" : text_or(d, "state", "?");
	bool primary = g_strcmp0(json_get_str(d, "role"), "primary") == 0;
	char *cells[COLUMNS] = {
		g_strdup(text_or(d, "domain", "?")), g_strdup(state), g_strdup_printf("%s %s", primary ? "->" : "<-", text_or(d, "peer", "?")), g_strdup(text_or(d, "mode", "-")),
	};

	if (!json_get(d, "ended_at"))
		fill_figures(cells, d, find_before(w->before, d), w->seconds);
	for (guint i = 0; i < COLUMNS; i++) {
		append_cell(out, i, cells[i] ? cells[i] : "-", more, w->color && i == 1 ? color_of(state) : NULL);
		g_free(cells[i]);
	}
	end_line(out);
}

/* Why it is not well, under its row. */
static bool
append_reason(GString *out, struct json_object *d, const struct watch *w)
{
	const char *reason = text_or(d, "reason", "none"), *text = text_or(d, "reason_text", reason);
	g_autofree char *line = g_strconcat("  ", text, NULL), *cell = fit(line, w->columns);

	if (strcmp(reason, "none") == 0 || g_strcmp0(json_get_str(d, "state"), "protected") == 0)
		return false;
	g_string_append_printf(out, "%s\n", cell);
	return true;
}

static void
append_title(GString *out, const struct watch *w)
{
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(w->now_s);
	g_autofree char *clock = date ? g_date_time_format(date, "%H:%M:%S") : g_strdup("?"), *line = NULL, *cell = NULL;
	guint pairs = 0, protected = 0;

	for (size_t i = 0; i < json_length(w->domains); i++) {
		struct json_object *d = json_at(w->domains, i);

		pairs += !json_get(d, "ended_at");
		protected += g_strcmp0(json_get_str(d, "state"), "protected") == 0;
	}
	line = g_strdup_printf("ftd on %s   %s   %u pair%s, %u protected%s%s", w->host, clock, pairs, pairs == 1 ? "" : "s", protected, w->trouble ? "   " : "",
			       w->trouble ? w->trouble : "");
	cell = fit(line, w->columns);
	g_string_append_printf(out, "%s%s%s\n", w->color ? (w->trouble ? RED : BOLD) : "", cell, w->color ? PLAIN : "");
}

char *
format_watch(const struct watch *w)
{
	guint more = w->columns > 80 ? MIN(w->columns - 80, 24) : 0, lines = 2;
	GString *out = g_string_new(NULL);
	size_t i = 0, n = json_length(w->domains);

	append_title(out, w);
	for (guint c = 0; c < COLUMNS; c++)
		append_cell(out, c, columns[c].head, more, NULL);
	end_line(out);
	for (; i < n && lines + 2 < w->rows; i++) {	/* a row, its reason and the last line fit */
		append_row(out, json_at(w->domains, i), w, more);
		lines += 1 + append_reason(out, json_at(w->domains, i), w);
	}
	if (i < n)
		g_string_append_printf(out, "and %zu more\n", n - i);
	else if (!n)
		g_string_append(out, "no domain is protected here\n");
	return g_string_free(out, FALSE);
}
