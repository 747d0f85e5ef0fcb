/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 10

static bool
on_event(struct json_object *reply, gpointer user_data)
{
	const struct ftctl *f = user_data;
	struct json_object *event = json_get(reply, "event");
	g_autofree char *line = f->json ? g_strdup(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN)) : format_event(event);

	printf("%s\n", line);
	fflush(stdout);
	return true;
}

int
ftctl_events(struct ftctl *f, int argc, char **argv)
{
	gboolean follow = FALSE;
	const GOptionEntry entries[] = { { "follow", 'f', 0, G_OPTION_ARG_NONE, &follow, "Go on with every event to come", NULL }, { NULL } };
	g_autoptr(json_object_ptr) parameters = json_object_new_object(), reply = NULL;
	int status;

	if (!ftctl_parse(f, "events", "[DOMAIN]", "Prints what ftd remembers of the last events, oldest first.", entries, 0, 1, &argc, &argv, &status))
		return status;
	json_put_bool(json_put_str(parameters, "domain", argc > 1 ? argv[1] : NULL), "follow", follow);
	reply = ftctl_call(f, "events", argc > 1 ? argv[1] : NULL, "Events", parameters, follow ? 0 : TIMEOUT_S, on_event, f, &status);
	return reply ? 0 : status;
}
