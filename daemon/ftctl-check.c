/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <unistd.h>

#define TIMEOUT_S 90

/* Of the first refusal. */
static int
verdict(struct json_object *rows, guint *refused, guint *warned)
{
	int status = 0;

	for (size_t i = 0; i < json_length(rows); i++) {
		struct json_object *row = json_at(rows, i);
		const char *state = json_get_str(row, "state");

		*warned += g_strcmp0(state, "warning") == 0;
		if (g_strcmp0(state, "refused") != 0)
			continue;
		if (!(*refused)++)
			status = ftd_error_exit_status(ftd_error_from_name(json_get_str(row, "error")));
	}
	return status;
}

static void
print_verdict(const char *domain, const char *peer, guint refused, guint warned)
{
	g_autofree char *by = peer ? g_strconcat(" by ", peer, NULL) : g_strdup("");

	if (refused)
		printf("%s cannot be protected%s: %u obstacle%s\n", domain, by, refused, refused == 1 ? "" : "s");
	else if (warned)
		printf("%s can be protected%s, with %u warning%s\n", domain, by, warned, warned == 1 ? "" : "s");
	else if (peer)
		printf("%s can be protected%s\n", domain, by);
	else
		printf("%s can be protected, by a peer that will do: try --peer HOST\n", domain);
}

int
ftctl_check(struct ftctl *f, int argc, char **argv)
{
	g_autofree char *peer = NULL, *table = NULL;
	const GOptionEntry entries[] = { { "peer", 'p', 0, G_OPTION_ARG_STRING, &peer, "The host that would hold the standby", "HOST" }, { NULL } };
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	guint refused = 0, warned = 0;
	struct json_object *rows;
	int status;

	if (!ftctl_parse(f, "check", "DOMAIN [--peer HOST]", "Looks whether the domain can be protected (by HOST) and says everything that is in the way. Changes nothing.",
			 entries, 1, 1, &argc, &argv, &status))
		return status;
	parameters = json_put_str(json_put_str(json_object_new_object(), "domain", argv[1]), "peer", peer);
	reply = ftctl_call(f, "check", argv[1], "Check", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	rows = json_get(reply, "rows");
	status = verdict(rows, &refused, &warned);
	if (f->json) {
		ftctl_print_json(rows);
		return status;
	}
	table = format_check(rows, ftctl_columns(STDOUT_FILENO));
	fputs(table, stdout);
	print_verdict(argv[1], peer, refused, warned);
	return status;
}
