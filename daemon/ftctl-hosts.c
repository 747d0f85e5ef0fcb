/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 30
#define DRAIN_TIMEOUT_S 3600

static bool
on_progress(struct json_object *progress, gpointer user_data)
{
	const struct ftctl *f = user_data;
	const char *domain = json_get_str(progress, "domain");

	if (f->json)
		printf("%s\n", json_object_to_json_string_ext(progress, JSON_C_TO_STRING_PLAIN));
	else if (domain)
		fprintf(stderr, "moving %s away\n", domain);
	fflush(stdout);
	return true;
}

static int
drain(struct ftctl *f, bool undo)
{
	g_autoptr(json_object_ptr) parameters = json_put_bool(json_object_new_object(), "undo", undo);
	g_autoptr(json_object_ptr) reply = NULL;
	int status = 0;

	reply = ftctl_call(f, "hosts", NULL, "Drain", parameters, DRAIN_TIMEOUT_S, on_progress, f, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	else if (undo)
		printf("this host takes copies of domains again\n");
	else
		printf("%d pairs were moved away; this host takes none until ftctl hosts undrain\n", (int)json_get_u64(reply, "moved"));
	return 0;
}

static int
show(struct ftctl *f)
{
	g_autoptr(json_object_ptr) parameters = json_object_new_object(), reply = NULL;
	g_autofree char *text = NULL;
	int status = 0;

	reply = ftctl_call(f, "hosts", NULL, "Hosts", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json) {
		ftctl_print_json(json_get(reply, "hosts"));
		return 0;
	}
	text = format_hosts(json_get(reply, "hosts"));
	fputs(text, stdout);
	return 0;
}

int
ftctl_hosts(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "hosts", "[drain|undrain]", "Shows the hosts of the pool; or moves every pair away from this one, for maintenance.", NULL, 0, 1, &argc, &argv, &status))
		return status;
	if (argc == 1)
		return show(f);
	if (strcmp(argv[1], "drain") == 0 || strcmp(argv[1], "undrain") == 0)
		return drain(f, strcmp(argv[1], "undrain") == 0);
	fprintf(stderr, "ftctl: hosts: %s is neither drain nor undrain\n", argv[1]);
	return 2;
}
