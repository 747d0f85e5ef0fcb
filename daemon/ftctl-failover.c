/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>

#define TIMEOUT_S 90

int
ftctl_failover(struct ftctl *f, int argc, char **argv)
{
	g_autoptr(json_object_ptr) parameters = NULL, reply = NULL;
	int status;

	if (!ftctl_parse(f, "failover", "DOMAIN", "Lets the standby take over now. The arbiter is asked first; the copy on the other host is stopped.", NULL, 1, 1,
			 &argc, &argv, &status))
		return status;
	parameters = json_put_str(json_object_new_object(), "domain", argv[1]);
	reply = ftctl_call(f, "failover", argv[1], "Failover", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	if (f->json)
		ftctl_print_json(reply);
	else
		printf("the standby of %s has taken over\n", argv[1]);
	return 0;
}
