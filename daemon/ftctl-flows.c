/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 10

int
ftctl_flows(struct ftctl *f, int argc, char **argv)
{
	g_autoptr(json_object_ptr) parameters = json_object_new_object(), reply = NULL;
	g_autofree char *text = NULL;
	int status;

	if (!ftctl_parse(f, "flows", "DOMAIN", "Shows what the domain sends, and how it was released: the flows with the most bytes first.",
			 NULL, 1, 1, &argc, &argv, &status))
		return status;
	json_put_str(parameters, "domain", argv[1]);
	reply = ftctl_call(f, "flows", argv[1], "Flows", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json) {
		ftctl_print_json(json_get(reply, "flows"));
		return 0;
	}
	text = format_flows(json_get(reply, "flows"));
	fputs(text, stdout);
	return 0;
}
