/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/report.h"

#include "daemon/ftctl-format.h"
#include "daemon/json-util.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* The drawing, in units of the viewBox. */
#define WIDTH 960
#define LEFT 58
#define RIGHT 12
#define TOP 22		/* above the first lane: the marks' names */
#define LANE 92
#define GAP 30
#define PLOT (WIDTH - LEFT - RIGHT)
#define MARKS_MAX 60	/* in the drawing; the table has all */

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#667080;--line:#d9dee5;--card:#f5f7fa;--a:#2563c9;--b:#9cc0f5;--good:#1a7f4b;--warn:#a15c00;--bad:#c62f2f}\n"
	"@media (prefers-color-scheme:dark){:root{--bg:#14171c;--fg:#e4e8ee;--dim:#94a0b0;--line:#323a45;--card:#1c2129;--a:#6aa5ff;--b:#2f4f7f;--good:#4cc38a;--warn:#e0a54a;"
	"--bad:#ff7a70}}\n"
	"body{font:15px/1.45 system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:1000px;margin:0 auto;padding:24px}\n"
	"h1{font-size:24px;margin:0}h2{font-size:17px;margin:28px 0 8px}.dim{color:var(--dim)}\n"
	".state{font-weight:600}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}\n"
	".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin-top:16px}\n"
	".tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px}.tile b{display:block;font-size:19px;font-weight:600}\n"
	"svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}svg .name{fill:var(--fg);font-weight:600}\n"
	".grid{stroke:var(--line);stroke-width:1}.max{fill:var(--b)}.mean{fill:var(--a)}.mark{stroke-width:1.5}.mark.good{stroke:var(--good)}.mark.warn{stroke:var(--warn);"
	"stroke-dasharray:4 3}.mark.bad{stroke:var(--bad)}svg text.good{fill:var(--good)}svg text.warn{fill:var(--warn)}svg text.bad{fill:var(--bad)}\n"
	"table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}\n"
	"td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.t{white-space:nowrap;font-variant-numeric:tabular-nums}\n"
	".bar{display:inline-block;height:9px;background:var(--a);border-radius:2px}\n";

struct page {
	GString *out;
	struct json_object *status, *spans, *columns, *events;
	double begin, width, end;	/* of the timeline, unix seconds; width of a span */
};

/* -- words */

/* XML 1.0 has no control characters but these three, not even escaped. */
static void
put_text(GString *out, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1), *escaped = NULL;

	for (char *c = valid; *c; c++)
		if ((unsigned char)*c < 0x20 && !strchr("\t\n\r", *c))
			*c = ' ';
	escaped = g_markup_escape_text(valid, -1);
	/* g_markup_escape_text() writes what is a control character in Latin-1 as a reference, which XML 1.0 allows. */
	g_string_append(out, escaped);
}

static void
put(GString *out, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
put(GString *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_string_append_vprintf(out, format, args);
	va_end(args);
}

/* With a point whatever the locale says: coordinates are for machines. */
static void
put_number(GString *out, const char *format, double n)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	g_string_append(out, g_ascii_formatd(text, sizeof text, format, n));
}

static void
put_attribute(GString *out, const char *name, double n)
{
	put(out, " %s=\"", name);
	put_number(out, "%.1f", n);
	g_string_append_c(out, '"');
}

static char *
clock_text(double time, const char *format)
{
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_local((gint64)time);

	return date ? g_date_time_format(date, format) : g_strdup("?");
}

static const char *
status_text(const struct page *p, const char *key, const char *otherwise)
{
	const char *value = json_get_str(p->status, key);

	return value && *value ? value : otherwise;
}

static const char *
state_class(const char *state)
{
	static const char *const bad[] = { "solo", "orphan", "deciding", "asking", "closing", "fenced", "unknown", NULL };

	return strcmp(state, "protected") == 0 ? "good" : g_strv_contains(bad, state) ? "bad" : "warn";
}

/* Which events are marks in the drawing, and of which colour; NULL: none. */
static const char *
mark_class(const char *type)
{
	static const struct { const char *type, *class; } marks[] = {
		{ "protected", "good" }, { "took-over", "bad" }, { "solo", "bad" }, { "guard-gone", "bad" }, { "watchdog", "bad" }, { "error", "bad" }, { "enable-failed", "bad" }, { "self-heal-failed", "bad" },
		{ "uplink-lost", "bad" }, { "orphan", "bad" }, { "abdicated", "bad" }, { "suspended", "warn" }, { "resumed", "warn" }, { "mode", "warn" }, { "copy-unfit", "warn" },
		{ "copy-fit", "warn" }, { "switchover", "warn" },
	};

	for (guint i = 0; type && i < G_N_ELEMENTS(marks); i++)
		if (strcmp(marks[i].type, type) == 0)
			return marks[i].class;
	return NULL;
}

/* -- the drawing */

static int
column_of(const struct page *p, const char *name)
{
	for (size_t i = 0; i < json_length(p->columns); i++)
		if (g_strcmp0(json_object_get_string(json_at(p->columns, i)), name) == 0)
			return (int)i;
	return -1;
}

static double
value_at(const struct page *p, size_t span, int column)
{
	double v = column < 0 ? 0 : json_object_get_double(json_at(json_at(p->spans, span), (size_t)column));

	return isfinite(v) && v > 0 ? v : 0;
}

static double
x_of(const struct page *p, double time)
{
	return LEFT + PLOT * CLAMP((time - p->begin) / MAX(p->end - p->begin, 1e-3), 0, 1);
}

/* 1, 2 or 5 times a power of ten, not below v. */
static double
nice_ceiling(double v)
{
	double base = pow(10, floor(log10(MAX(v, 1e-6))));

	for (guint i = 0; i < 3; i++)
		if (v <= base * ((const double[]){ 1, 2, 5 })[i] * 1.0001)
			return base * ((const double[]){ 1, 2, 5 })[i];
	return base * 10;
}

struct lane {
	const char *name, *unit;
	const char *front, *back;	/* columns; back (a maximum behind the mean) may be NULL */
	double scale;			/* of both */
	bool per_second;		/* divided by the span's width */
};

/* The last, or ended, span may be shorter than its width, but who knows whether it is: it is divided by the whole. */
static double
lane_value(const struct page *p, const struct lane *l, size_t span, const char *column)
{
	return column ? value_at(p, span, column_of(p, column)) * l->scale / (l->per_second ? p->width : 1) : 0;
}

static void
draw_bar(const struct page *p, const char *class, double from, double to, double height, double bottom)
{
	double x = x_of(p, from), w = x_of(p, to) - x;

	if (height <= 0)
		return;
	put(p->out, "<rect class=\"%s\"", class);
	put_attribute(p->out, "x", x);
	put_attribute(p->out, "y", bottom - height);
	put_attribute(p->out, "width", MAX(w * 0.92, 0.6));
	put_attribute(p->out, "height", MAX(height, 0.6));
	g_string_append(p->out, "/>");
}

static void
draw_span(const struct page *p, const struct lane *l, size_t i, double top, double bottom)
{
	double front = lane_value(p, l, i, l->front), back = lane_value(p, l, i, l->back), from = p->begin + p->width * (double)i;
	g_autofree char *when = NULL;

	if (front <= 0 && back <= 0)
		return;
	when = clock_text(from, "%H:%M:%S");
	g_string_append(p->out, "<g><title>");
	put(p->out, "%s: %.*f %s", when, front < 10 ? 2 : 0, front, l->unit);
	if (l->back)
		put(p->out, " in the mean, %.*f at most", back < 10 ? 2 : 0, back);
	g_string_append(p->out, "</title>");
	draw_bar(p, "max", from, from + p->width, back / top * LANE, bottom);
	draw_bar(p, "mean", from, from + p->width, front / top * LANE, bottom);
	g_string_append(p->out, "</g>\n");
}

static void
draw_scale(const struct page *p, double top, double bottom)
{
	for (guint i = 0; i <= 2; i++) {
		double y = bottom - LANE * i / 2.0;

		put(p->out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\"", LEFT, WIDTH - RIGHT);
		put_attribute(p->out, "y1", y);
		put_attribute(p->out, "y2", y);
		g_string_append(p->out, "/>");
		put(p->out, "<text text-anchor=\"end\" x=\"%d\"", LEFT - 6);
		put_attribute(p->out, "y", y + 4);
		g_string_append_c(p->out, '>');
		put_number(p->out, "%g", top * i / 2);
		g_string_append(p->out, "</text>\n");
	}
}

static void
draw_lane(const struct page *p, const struct lane *l, guint row)
{
	double bottom = TOP + GAP + (LANE + GAP) * (double)row + LANE, highest = 0, top;

	for (size_t i = 0; i < json_length(p->spans); i++)
		highest = MAX(highest, MAX(lane_value(p, l, i, l->front), lane_value(p, l, i, l->back)));
	top = highest > 0 ? nice_ceiling(highest) : 1;
	draw_scale(p, top, bottom);
	put(p->out, "<text class=\"name\" x=\"%d\"", LEFT);
	put_attribute(p->out, "y", bottom - LANE - 8);
	put(p->out, ">%s</text>\n", l->name);
	for (size_t i = 0; i < json_length(p->spans); i++)
		draw_span(p, l, i, top, bottom);
}

static void
draw_times(const struct page *p, double bottom)
{
	const char *format = p->end - p->begin > 36 * 3600 ? "%m-%d %H:%M" : "%H:%M:%S";

	for (guint i = 0; i <= 4; i++) {
		double time = p->begin + (p->end - p->begin) * i / 4;
		g_autofree char *text = clock_text(time, format);

		put(p->out, "<text text-anchor=\"%s\"", i == 0 ? "start" : i == 4 ? "end" : "middle");
		put_attribute(p->out, "x", x_of(p, time));
		put_attribute(p->out, "y", bottom + 16);
		put(p->out, ">%s</text>\n", text);
	}
}

static void
draw_mark(const struct page *p, struct json_object *event, const char *class, double x, double bottom, bool named)
{
	bool left = x > WIDTH - 90;

	g_string_append(p->out, "<g><title>");
	put_text(p->out, json_get_str(event, "text"));
	put(p->out, "</title><line class=\"mark %s\" y1=\"%d\"", class, TOP);
	put_attribute(p->out, "x1", x);
	put_attribute(p->out, "x2", x);
	put_attribute(p->out, "y2", bottom);
	g_string_append(p->out, "/>");
	if (named) {
		put(p->out, "<text class=\"%s\" text-anchor=\"%s\" y=\"%d\"", class, left ? "end" : "start", TOP - 6);
		put_attribute(p->out, "x", x + (left ? 2 : -2));
		put(p->out, ">%s</text>", json_get_str(event, "type"));
	}
	g_string_append(p->out, "</g>\n");
}

/* From the newest on; a name is left out where it would be written over that of a newer one. */
static void
draw_marks(const struct page *p, double bottom)
{
	double free_until = WIDTH;

	for (size_t i = json_length(p->events), marks = 0; i-- > 0 && marks < MARKS_MAX;) {
		struct json_object *e = json_at(p->events, i);
		const char *type = json_get_str(e, "type"), *class = mark_class(type);
		double time = json_object_get_double(json_get(e, "time")), x = x_of(p, time), length;

		if (!class || time < p->begin || time > p->end)
			continue;
		length = 7 * (double)strlen(type);
		bool named = (x > WIDTH - 90 ? x : x + length) <= free_until;
		draw_mark(p, e, class, x, bottom, named);
		if (named)
			free_until = (x > WIDTH - 90 ? x - length : x) - 6;
		marks++;
	}
}

static void
put_timeline(const struct page *p)
{
	bool standby = g_strcmp0(status_text(p, "role", ""), "standby") == 0;
	const struct lane lanes[] = {
		{ standby ? "Stop of the copy for a load, ms (mean, and behind it the longest)" : "Pause of the guest for a checkpoint, ms (mean, and behind it the longest)", "ms",
		  "pause_mean_ms", "pause_max_ms", 1, false },
		{ standby ? "Loads per second" : "Epochs per second", "/s", "epochs", NULL, 1, true },
		{ standby ? "Duration of a load, ms (the longest)" : "Lag of a commit, ms (the longest)", "ms", "lag_max_ms", NULL, 1, false },
		{ "Differences per second", "/s", "differences", NULL, 1, true },
		{ "Link to the peer, MiB/s", "MiB/s", "bytes", NULL, 1.0 / (1 << 20), true },
	};
	guint n = standby ? 3 : G_N_ELEMENTS(lanes);
	double bottom = TOP + (LANE + GAP) * (double)n;

	g_string_append(p->out, "<h2>Timeline</h2>\n");
	if (!json_length(p->spans)) {
		g_string_append(p->out, "<p class=\"dim\">Nothing is known of its epochs: its guard has ended, before ftd asked for them.</p>\n");
		return;
	}
	put(p->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"Timeline of pauses, epochs, differences and events\">\n", WIDTH, bottom + 24);
	for (guint i = 0; i < n; i++)
		draw_lane(p, &lanes[i], i);
	draw_times(p, bottom);
	draw_marks(p, bottom);
	g_string_append(p->out, "</svg>\n");
	put(p->out, "<p class=\"dim\">Each bar stands for ");
	put_number(p->out, "%g", p->width);
	g_string_append(p->out, " s. Lines: green, protected; red, a failure or a failover; yellow, a change.</p>\n");
}

/* -- figures */

static void
put_tile(const struct page *p, const char *name, const char *value)
{
	g_string_append(p->out, "<div class=\"tile\"><b>");
	put_text(p->out, value);
	put(p->out, "</b><span class=\"dim\">%s</span></div>\n", name);
}

static bool
has(const struct page *p, const char *key)
{
	return json_get(p->status, key) != NULL;
}

static double
figure(const struct page *p, const char *key)
{
	return json_object_get_double(json_get(p->status, key));
}

static void
put_ms_tile(const struct page *p, const char *name, const char *key)
{
	g_autofree char *text = g_strdup_printf("%.1f ms", figure(p, key));

	if (has(p, key))
		put_tile(p, name, text);
}

static void
put_count_tile(const struct page *p, const char *name, const char *key)
{
	g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, json_get_u64(p->status, key));

	if (has(p, key))
		put_tile(p, name, text);
}

static void
put_shares(const struct page *p)
{
	double same = figure(p, "released_same_bytes"), committed = figure(p, "released_committed_bytes");
	g_autofree char *share = g_strdup_printf("%.1f %%", same + committed > 0 ? 100 * same / (same + committed) : 0), *sent = format_bytes(json_get_u64(p->status, "bytes_sent"));

	if (same + committed > 0)
		put_tile(p, "of the output left by comparison", share);
	if (has(p, "bytes_sent"))
		put_tile(p, "sent to the peer", sent);
}

static void
put_figures(const struct page *p)
{
	bool standby = g_strcmp0(status_text(p, "role", ""), "standby") == 0;

	g_string_append(p->out, "<div class=\"tiles\">\n");
	put_tile(p, "mode", status_text(p, "mode", "-"));
	put_count_tile(p, standby ? "checkpoints loaded" : "checkpoints", standby ? "loads" : "epochs");
	put_ms_tile(p, "pause, median", "pause_p50_ms");
	put_ms_tile(p, "pause, 99th percentile", "pause_p99_ms");
	put_ms_tile(p, "pause, longest", "pause_max_ms");
	put_ms_tile(p, "commit after a checkpoint, median", "commit_p50_ms");
	put_ms_tile(p, "load, median", "load_p50_ms");
	put_ms_tile(p, "round trip, median", "round_trip_p50_ms");
	put_count_tile(p, "differences", "differences");
	put_count_tile(p, "time-outs", "timeouts");
	put_shares(p);
	g_string_append(p->out, "</div>\n");
}

static void
put_reasons(const struct page *p)
{
	struct json_object *reasons = json_get(p->status, "checkpoints_by_reason");
	double all = 0;

	if (!json_object_is_type(reasons, json_type_object))
		return;
	json_object_object_foreach(reasons, key, count) {
		(void)key;
		all += json_object_get_double(count);
	}
	if (all <= 0)
		return;
	g_string_append(p->out, "<h2>What asked for checkpoints</h2>\n<table>\n");
	json_object_object_foreach(reasons, reason, n) {
		if (!json_object_get_double(n))
			continue;
		g_string_append(p->out, "<tr><td>");
		put_text(p->out, reason);
		put(p->out, "</td><td class=\"n\">%" G_GINT64_FORMAT "</td><td style=\"width:60%%\"><span class=\"bar\" style=\"width:", json_object_get_int64(n));
		put_number(p->out, "%.1f", 100 * json_object_get_double(n) / all);
		g_string_append(p->out, "%\"></span></td></tr>\n");
	}
	g_string_append(p->out, "</table>\n");
}

static void
put_events(const struct page *p)
{
	size_t n = json_length(p->events), first = n > REPORT_EVENTS_MAX ? n - REPORT_EVENTS_MAX : 0;

	g_string_append(p->out, "<h2>Events</h2>\n");
	if (first)
		put(p->out, "<p class=\"dim\">%zu older ones are left out.</p>\n", first);
	if (!n)
		g_string_append(p->out, "<p class=\"dim\">ftd remembers none.</p>\n");
	else
		g_string_append(p->out, "<table>\n");
	for (size_t i = first; i < n; i++) {
		struct json_object *e = json_at(p->events, i);
		const char *class = mark_class(json_get_str(e, "type"));
		g_autofree char *when = clock_text(json_object_get_double(json_get(e, "time")), "%Y-%m-%d %H:%M:%S");

		put(p->out, "<tr><td class=\"t dim\">%s</td><td class=\"%s\">", when, class ? class : "dim");
		put_text(p->out, json_get_str(e, "type"));
		g_string_append(p->out, "</td><td>");
		put_text(p->out, json_get_str(e, "text"));
		g_string_append(p->out, "</td></tr>\n");
	}
	if (n)
		g_string_append(p->out, "</table>\n");
}

static void
put_head(const struct page *p, const char *host, gint64 now_s)
{
	const char *domain = status_text(p, "domain", "?"), *state = status_text(p, "state", "?"), *reason = status_text(p, "reason", "none");
	g_autofree char *when = clock_text((double)now_s, "%Y-%m-%d %H:%M:%S %Z");

	g_string_append(p->out, "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
				"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
				"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>ftd: ");
	put_text(p->out, domain);
	put(p->out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
	put_text(p->out, domain);
	put(p->out, " <span class=\"state %s\">", state_class(state));
	put_text(p->out, state);
	g_string_append(p->out, "</span></h1>\n<p class=\"dim\">");
	put_text(p->out, strcmp(status_text(p, "role", ""), "standby") == 0 ? "Standby on " : "Primary on ");
	put_text(p->out, host);
	g_string_append(p->out, ", the other side on ");
	put_text(p->out, status_text(p, "peer", "?"));
	if (strcmp(reason, "none") != 0) {
		g_string_append(p->out, "; ");
		put_text(p->out, status_text(p, "reason_text", reason));
	}
	put(p->out, ". Made on %s.</p>\n", when);
}

/* The timeline goes from the pair's begin to now; of one that has ended to its last sign of life. */
static void
set_times(struct page *p, struct json_object *history, gint64 now_s)
{
	struct json_object *last = json_at(p->events, json_length(p->events) ? json_length(p->events) - 1 : 0);
	double spans_end;

	p->begin = json_object_get_double(json_get(history, "begin"));
	p->width = MAX(json_object_get_double(json_get(history, "width_seconds")), 1e-3);
	spans_end = p->begin + p->width * (double)json_length(p->spans);
	p->end = has(p, "ended_at") ? MAX(spans_end, json_object_get_double(json_get(last, "time")) + 1) : MAX(spans_end, (double)now_s + 1);	/* now_s is whole: what happened in this second is in it */
}

char *
report_html(struct json_object *status, struct json_object *history, struct json_object *events, const char *host, gint64 now_s)
{
	struct page p = { g_string_new(NULL), status, json_get(history, "spans"), json_get(history, "columns"), events, 0, 1, 1 };

	set_times(&p, history, now_s);
	put_head(&p, host, now_s);
	put_figures(&p);
	put_timeline(&p);
	put_reasons(&p);
	put_events(&p);
	g_string_append(p.out, "</body>\n</html>\n");
	return g_string_free(p.out, FALSE);
}
