/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 10

int
ftctl_set(struct ftctl *f, int argc, char **argv)
{
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	const char *mode;
	int status;

	if (!ftctl_parse(f, "set", "DOMAIN mode=auto|colo|passive", "Changes how a protected domain is protected, at once and for as long as it is.", NULL, 2, 2, &argc,
			 &argv, &status))
		return status;
	if (!g_str_has_prefix(argv[2], "mode=")) {
		fprintf(stderr, "ftctl: set: %s is not a setting: mode=auto, mode=colo or mode=passive\n", argv[2]);
		return 2;
	}
	mode = strchr(argv[2], '=') + 1;
	parameters = json_put_str(json_put_str(json_object_new_object(), "domain", argv[1]), "mode", mode);
	reply = ftctl_call(f, "set", argv[1], "Set", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	else
		printf("%s: mode %s\n", argv[1], mode);
	return 0;
}
