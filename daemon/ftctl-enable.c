/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 300

static void
put_list(struct json_object *parameters, const char *member, char **values)
{
	g_autofree char *list = values ? g_strjoinv(",", values) : NULL;

	json_put_str(parameters, member, list);
}

int
ftctl_enable(struct ftctl *f, int argc, char **argv)
{
	g_autofree char *peer = NULL, *mode = NULL;
	g_auto(GStrv) bypass = NULL, never_compare = NULL;
	const GOptionEntry entries[] = {
		{ "peer", 'p', 0, G_OPTION_ARG_STRING, &peer, "The host that shall hold the standby", "HOST" },
		{ "mode", 'm', 0, G_OPTION_ARG_STRING, &mode, "auto, colo or passive (default: as the last time, or as ftd.conf says)", "MODE" },
		{ "bypass", 0, 0, G_OPTION_ARG_STRING_ARRAY, &bypass, "Flows whose packets leave at once, uncompared (may be repeated)", "PATTERN,..." },
		{ "never-compare", 0, 0, G_OPTION_ARG_STRING_ARRAY, &never_compare, "Flows whose packets always wait for a checkpoint (may be repeated)", "PATTERN,..." },
		{ NULL },
	};
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	struct ftctl_progress progress;
	int status = 0;

	if (!ftctl_parse(f, "enable", "DOMAIN --peer HOST [--mode MODE] [--bypass PATTERN] [--never-compare PATTERN]", "Protects a running domain; ends when it is protected.", entries, 1, 1, &argc, &argv, &status))
		return status;
	if (!peer) {
		fprintf(stderr, "ftctl: enable: which host shall hold the standby? Give --peer HOST\n");
		return 2;
	}
	ftctl_progress_begin(f, &progress);
	parameters = json_put_str(json_put_str(json_object_new_object(), "domain", argv[1]), "peer", peer);
	if (mode)
		json_put_str(parameters, "mode", mode);
	put_list(parameters, "bypass", bypass);
	put_list(parameters, "never_compare", never_compare);
	reply = ftctl_call(f, "enable", argv[1], "Enable", parameters, TIMEOUT_S, ftctl_on_progress, &progress, &status);
	ftctl_progress_end(&progress);
	if (!reply)
		return status;
	if (!f->json)
		printf("%s is protected by %s\n", argv[1], peer);
	return 0;
}
