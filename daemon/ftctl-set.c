/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 90		/* two daemons and two libvirts */

static const struct { const char *name, *member; } settings[] = {
	{ "mode", "mode" },
	{ "bypass", "bypass" },
	{ "never-compare", "never_compare" },
};

/* "name=value" into its member; false: there is no such setting. */
static bool
take(struct json_object *parameters, const char *argument)
{
	size_t n = strcspn(argument, "=");

	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		if (argument[n] && strlen(settings[i].name) == n && strncmp(settings[i].name, argument, n) == 0) {
			json_put_str(parameters, settings[i].member, argument + n + 1);
			return true;
		}
	fprintf(stderr, "ftctl: set: %s is not a setting: mode=auto, mode=colo, mode=passive, bypass=PATTERN,... or never-compare=PATTERN,...\n", argument);
	return false;
}

int
ftctl_set(struct ftctl *f, int argc, char **argv)
{
	g_autoptr(json_object_ptr) parameters = json_object_new_object(), reply = NULL;
	int status;

	if (!ftctl_parse(f, "set", "DOMAIN SETTING=VALUE...", "Changes how a protected domain is protected, at once and for its next pairs: mode=auto|colo|passive,\n"
			 "bypass=PATTERN,... and never-compare=PATTERN,... Without a value a setting is taken away.", NULL, 2, 4, &argc, &argv, &status))
		return status;
	json_put_str(parameters, "domain", argv[1]);
	for (int i = 2; i < argc; i++)
		if (!take(parameters, argv[i]))
			return 2;
	reply = ftctl_call(f, "set", argv[1], "Set", g_steal_pointer(&parameters), TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	for (int i = 2; i < argc && !f->json; i++)
		printf("%s: %s\n", argv[1], argv[i]);
	return 0;
}
