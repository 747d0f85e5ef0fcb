/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page of `ftctl report`: one file, well-formed as XML, that fetches nothing. Pure: answers of org.ftd in, HTML out. */
#pragma once

#include <glib.h>
#include <json-c/json.h>

#define REPORT_EVENTS_MAX 300	/* the newest; how many are left out is told */

/* status: one domain's; history: ftctl(1), TIMELINE; events: of that domain, oldest first. Any of them may lack anything. */
char *report_html(struct json_object *status, struct json_object *history, struct json_object *events, const char *host, gint64 now_s);
