/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs that end and make pairs in several steps: one call each, whose answer tells where the domain runs, protected. */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_S 3600	/* an operation that is led by another host, of an older version, tells nothing meanwhile, and a disk may be copied */

static void
show(const struct ftctl *f, const char *verb, const char *domain, struct json_object *reply)
{
	const char *host = json_get_str(reply, "host");

	if (f->json)
		ftctl_print_json(reply);
	else if (strcmp(verb, "suspend") == 0)
		printf("%s runs on %s, and is not protected until ftctl resume\n", domain, host);
	else if (json_get(reply, "gap_ms"))
		printf("%s runs on %s, protected; it stood for %d ms\n", domain, host, (int)json_get_u64(reply, "gap_ms"));
	else
		printf("%s runs on %s, protected\n", domain, host);
}

static int
operate(struct ftctl *f, const char *verb, const char *method, const char *domain, const char *peer)
{
	g_autoptr(json_object_ptr) parameters = json_put_str(json_put_str(json_object_new_object(), "domain", domain), "peer", peer), reply = NULL;
	struct ftctl_progress progress;
	int status = 0;

	ftctl_progress_begin(f, &progress);
	reply = ftctl_call(f, verb, domain, method, parameters, TIMEOUT_S, ftctl_on_progress, &progress, &status);
	ftctl_progress_end(&progress);
	if (!reply)
		return status;
	show(f, verb, domain, reply);
	return 0;
}

int
ftctl_switchover(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "switchover", "DOMAIN", "The standby takes over, with nothing lost and hardly a pause, and the other host becomes its standby.", NULL, 1, 1,
			 &argc, &argv, &status))
		return status;
	return operate(f, "switchover", "Switchover", argv[1], NULL);
}

int
ftctl_test_failover(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "test-failover", "DOMAIN", "Really fails over to the standby, protects the domain again towards the other host, and tells how long it stood.", NULL,
			 1, 1, &argc, &argv, &status))
		return status;
	return operate(f, "test-failover", "TestFailover", argv[1], NULL);
}

int
ftctl_test_restart_secondary(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "test-restart-secondary", "DOMAIN", "The standby gives up, and another one is made on the same host.", NULL, 1, 1, &argc, &argv, &status))
		return status;
	return operate(f, "test-restart-secondary", "TestRestartSecondary", argv[1], NULL);
}

int
ftctl_migrate_secondary(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "migrate-secondary", "DOMAIN HOST", "Moves the standby to another host. The domain is not protected meanwhile.", NULL, 2, 2, &argc, &argv, &status))
		return status;
	return operate(f, "migrate-secondary", "MigrateSecondary", argv[1], argv[2]);
}

int
ftctl_suspend(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "suspend", "DOMAIN", "Ends the protection until it is resumed: with the same host, in the same mode. The domain goes on.", NULL, 1, 1, &argc, &argv, &status))
		return status;
	return operate(f, "suspend", "Suspend", argv[1], NULL);
}

int
ftctl_resume(struct ftctl *f, int argc, char **argv)
{
	int status;

	if (!ftctl_parse(f, "resume", "DOMAIN", "Protects a domain again whose protection was suspended.", NULL, 1, 1, &argc, &argv, &status))
		return status;
	return operate(f, "resume", "Resume", argv[1], NULL);
}
