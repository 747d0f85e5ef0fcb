/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ftctl prints for people. Pure: JSON of org.ftd and the time in, text out. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

char *format_status_table(struct json_object *domains, gint64 now_s);	/* one line per domain, with a head line */
char *format_status_detail(struct json_object *domain, gint64 now_s);	/* a sentence, and one line per member */
/* One row per requirement or obstacle; to fit into columns, or with columns 0 one line each. */
char *format_check(struct json_object *rows, unsigned columns);
char *format_flows(struct json_object *flows);				/* one line per flow, with a head line */
char *format_hosts(struct json_object *hosts);
char *format_event(struct json_object *event);				/* "2026-11-22 20:01:02.345 vm1 failover: text" (local time) */
char *format_bytes(guint64 bytes);					/* "1.5 GiB" */
/* "copying disks  [#####-----]  50%  512.0 MiB of 1.0 GiB"; columns 0: without the bar. With `same` they are compared, and it tells how much was the same. */
char *format_progress(struct json_object *progress, unsigned columns);

/* One look of `ftctl status --watch`: no line longer than columns (at least 80), no more lines than rows. */
struct watch {
	const char *host;
	const char *trouble;			/* why nothing new is known; NULL: it is new */
	struct json_object *domains, *before;	/* now, and a moment ago for rates; before may be NULL */
	double seconds;				/* between them */
	gint64 now_s;
	unsigned columns, rows;
	bool color;
};
char *format_watch(const struct watch *w);
