/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 90

static int
print_findings(const char *domain, const char *peer, struct json_object *findings)
{
	for (size_t i = 0; i < json_length(findings); i++) {
		struct json_object *f = json_at(findings, i);

		fprintf(stderr, "ftctl: check %s: %s: %s\n", domain, json_get_str(f, "error"), json_get_str(f, "message"));
	}
	if (json_length(findings))
		return ftd_error_exit_status(ftd_error_from_name(json_get_str(json_at(findings, 0), "error")));
	return 0;
}

/* Also with --json, whose output is the findings. */
static void
print_warnings(const char *domain, struct json_object *warnings)
{
	for (size_t i = 0; i < json_length(warnings); i++)
		fprintf(stderr, "ftctl: check %s: warning: %s\n", domain, json_object_get_string(json_at(warnings, i)));
}

int
ftctl_check(struct ftctl *f, int argc, char **argv)
{
	g_autofree char *peer = NULL;
	const GOptionEntry entries[] = { { "peer", 'p', 0, G_OPTION_ARG_STRING, &peer, "The host that would hold the standby", "HOST" }, { NULL } };
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	int status;

	if (!ftctl_parse(f, "check", "DOMAIN --peer HOST", "Looks whether the domain can be protected by HOST and says everything that is in the way. Changes nothing.",
			 entries, 1, 1, &argc, &argv, &status))
		return status;
	if (!peer) {
		fprintf(stderr, "ftctl: check: which host shall hold the standby? Give --peer HOST\n");
		return 2;
	}
	parameters = json_put_str(json_put_str(json_object_new_object(), "domain", argv[1]), "peer", peer);
	reply = ftctl_call(f, "check", argv[1], "Check", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(json_get(reply, "findings"));
	print_warnings(argv[1], json_get(reply, "warnings"));
	status = print_findings(argv[1], peer, json_get(reply, "findings"));
	if (status == 0 && !f->json)
		printf("%s can be protected by %s\n", argv[1], peer);
	return status;
}
