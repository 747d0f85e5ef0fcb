/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `ftctl report` draws of one side; members are listed in ftctl(1), TIMELINE. Pure. */
#include "daemon/guard-internal.h"

static struct json_object *
ms(uint64_t ns)
{
	g_autofree char *text = g_strdup_printf("%.3f", (double)ns / 1e6);

	return json_object_new_double_s((double)ns / 1e6, text);
}

static struct json_object *
span(const struct history_span *s)
{
	struct json_object *row = json_object_new_array();

	json_object_array_add(row, json_object_new_int64(s->epochs));
	json_object_array_add(row, ms(s->epochs ? s->pause_total_ns / s->epochs : 0));
	json_object_array_add(row, ms(s->pause_max_ns));
	json_object_array_add(row, ms(s->lag_max_ns));
	json_object_array_add(row, json_object_new_int64((int64_t)s->bytes));
	json_object_array_add(row, json_object_new_int64((int64_t)s->same_bytes));
	json_object_array_add(row, json_object_new_int64((int64_t)s->committed_bytes));
	json_object_array_add(row, json_object_new_int64((int64_t)s->differences));
	return row;
}

struct json_object *
guard_history(const struct guard *g, uint64_t now)
{
	static const char *const columns[] = { "epochs", "pause_mean_ms", "pause_max_ms", "lag_max_ms", "bytes", "same_bytes", "committed_bytes", "differences" };
	struct json_object *o = json_object_new_object(), *names = json_object_new_array(), *rows = json_object_new_array();

	for (unsigned i = 0; i < G_N_ELEMENTS(columns); i++)
		json_object_array_add(names, json_object_new_string(columns[i]));
	for (unsigned i = 0; i < g->history.used; i++)
		json_object_array_add(rows, span(&g->history.spans[i]));
	json_object_object_add(o, "role", json_object_new_string(guard_is_primary(g) ? "primary" : "standby"));
	json_object_object_add(o, "age_seconds", json_object_new_double((double)(now - g->history.origin) / 1e9));
	json_object_object_add(o, "width_seconds", json_object_new_double((double)g->history.width / 1e9));
	json_object_object_add(o, "columns", names);
	json_object_object_add(o, "spans", rows);
	return o;
}

void
guard_note_epoch(struct guard *g, uint64_t now, uint64_t pause_ns)
{
	struct history_totals totals = { 0 };
	struct comparator_stats s;

	if (guard_is_primary(g)) {
		comparator_stats(g->p.comparator, &s);
		totals = (struct history_totals){ g->p.bytes_total, s.released_bytes[RELEASE_SAME], s.released_bytes[RELEASE_COMMITTED], s.differences };
	}
	history_epoch(&g->history, now, pause_ns, &totals);
}
