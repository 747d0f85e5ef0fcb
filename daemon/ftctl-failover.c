/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_S 90

/* The only thing between two running copies is that whoever types this knows that the other one does not run. */
static void
warn(const char *domain)
{
	fprintf(stderr,
		"WARNING: %s will go on alone on this host, whatever the other host does.\n"
		"  If the other host still runs it, or is told the same there, both will speak to the network and write\n"
		"  to their own disks: clients see two machines with one address, and one side's data is lost.\n"
		"  Do this only when the other host is off, or surely has no running copy of %s.\n", domain, domain);
}

static bool
confirmed(const char *domain)
{
	char line[300];

	fprintf(stderr, "Type %s to go on: ", domain);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, domain) == 0;
}

static bool
may_force(const struct ftctl *f, const char *domain, bool yes, int *status)
{
	g_autoptr(GError) error = NULL;

	warn(domain);
	if (yes || (isatty(STDIN_FILENO) && confirmed(domain)))
		return true;
	error = g_error_new(FTD_ERROR, FTD_ERROR_USAGE, isatty(STDIN_FILENO) ? "nothing was done" : "not confirmed: there is no terminal to ask; add --yes if you are sure");
	*status = ftctl_fail(f, "failover", domain, error);
	return false;
}

int
ftctl_failover(struct ftctl *f, int argc, char **argv)
{
	gboolean force = FALSE, yes = FALSE;
	const GOptionEntry entries[] = {
		{ "force", 0, 0, G_OPTION_ARG_NONE, &force, "With arbiter=manual: let this host's copy go on alone, whatever the other host does", NULL },
		{ "yes", 0, 0, G_OPTION_ARG_NONE, &yes, "Do not ask before --force", NULL },
		{ NULL },
	};
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	int status;

	if (!ftctl_parse(f, "failover", "DOMAIN", "Lets the standby take over now. The arbiter is asked first; the copy on the other host is stopped.", entries, 1, 1,
			 &argc, &argv, &status) || (force && !may_force(f, argv[1], yes, &status)))
		return status;
	parameters = json_put_str(json_object_new_object(), "domain", argv[1]);
	if (force)
		json_put_bool(parameters, "force", true);
	reply = ftctl_call(f, "failover", argv[1], "Failover", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	else if (force)
		printf("%s goes on alone on this host\n", argv[1]);
	else
		printf("the standby of %s has taken over\n", argv[1]);
	return 0;
}
