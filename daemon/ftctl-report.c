/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"
#include "daemon/report.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 10

static bool
collect(struct json_object *reply, gpointer events)
{
	struct json_object *event = json_get(reply, "event");

	if (event)
		json_object_array_add(events, json_object_get(event));
	return true;
}

/* {host, status, history, events}; NULL: said so. */
static struct json_object *
ask(struct ftctl *f, const char *domain, int *status)
{
	g_autoptr(json_object_ptr) parameters = json_put_str(json_object_new_object(), "domain", domain), state = NULL, history = NULL, rest = NULL, named = NULL;
	struct json_object *all, *events, *one;

	state = ftctl_call(f, "report", domain, "Status", parameters, TIMEOUT_S, NULL, NULL, status);
	history = state ? ftctl_call(f, "report", domain, "History", parameters, TIMEOUT_S, NULL, NULL, status) : NULL;
	if (!history)
		return NULL;
	one = json_at(json_get(state, "domains"), 0);
	events = json_object_new_array();
	/* Events go by names; the domain may have been given as a UUID. */
	named = json_put_str(json_object_new_object(), "domain", json_get_str(one, "domain"));
	rest = ftctl_call(f, "report", domain, "Events", named, TIMEOUT_S, collect, events, status);
	if (!rest) {
		json_object_put(events);
		return NULL;
	}
	all = json_put_str(json_object_new_object(), "host", json_get_str(state, "host"));
	json_put_value(all, "status", json_object_get(one));
	return json_put_value(json_put_value(all, "history", json_object_get(json_get(history, "history"))), "events", events);
}

int
ftctl_report(struct ftctl *f, int argc, char **argv)
{
	g_autofree char *path = NULL, *html = NULL;
	const GOptionEntry entries[] = { { "output", 'o', 0, G_OPTION_ARG_FILENAME, &path, "Where to write it (default: standard output)", "FILE" }, { NULL } };
	g_autoptr(json_object_ptr) all = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!ftctl_parse(f, "report", "DOMAIN [-o FILE]", "Makes a page (HTML) of what the pair has done: epochs, pauses, differences, failovers.", entries, 1, 1, &argc, &argv,
			 &status))
		return status;
	all = ask(f, argv[1], &status);
	if (!all)
		return status;
	if (f->json) {
		ftctl_print_json(all);
		return 0;
	}
	html = report_html(json_get(all, "status"), json_get(all, "history"), json_get(all, "events"), json_get_str(all, "host"), g_get_real_time() / G_USEC_PER_SEC);
	if (!path || strcmp(path, "-") == 0) {
		fputs(html, stdout);
		return fflush(stdout) == 0 ? 0 : 1;
	}
	if (g_file_set_contents(path, html, -1, &error))
		return 0;
	return ftctl_fail(f, "report", argv[1], error);
}
