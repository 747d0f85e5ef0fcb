/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"
#include "daemon/report.h"

#include <errno.h>
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

/* FILE itself is written, not replaced: it may be a device, or a link. */
static bool
write_to(const char *path, const char *text, GError **error)
{
	FILE *out = fopen(path, "we");
	bool written;

	if (!out) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s cannot be opened: %s", path, g_strerror(errno));
		return false;
	}
	written = fputs(text, out) != EOF;
	if (fclose(out) == 0 && written)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s cannot be written: %s", path, g_strerror(errno));
	return false;
}

int
ftctl_report(struct ftctl *f, int argc, char **argv)
{
	g_autofree char *path = NULL, *text = NULL;
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
	if (f->json)
		text = g_strdup_printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		text = report_html(json_get(all, "status"), json_get(all, "history"), json_get(all, "events"), json_get_str(all, "host"), g_get_real_time() / G_USEC_PER_SEC);
	if (!path || strcmp(path, "-") == 0) {
		fputs(text, stdout);
		return fflush(stdout) == 0 ? 0 : 1;
	}
	if (write_to(path, text, &error))
		return 0;
	return ftctl_fail(f, "report", argv[1], error);
}
