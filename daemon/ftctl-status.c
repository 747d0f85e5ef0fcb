/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <unistd.h>

#define TIMEOUT_S 10

static int
show_once(struct ftctl *f, const char *domain)
{
	g_autoptr(json_object_ptr) parameters = json_put_str(json_object_new_object(), "domain", domain), reply = NULL;
	g_autofree char *text = NULL;
	struct json_object *domains;
	gint64 now_s = g_get_real_time() / G_USEC_PER_SEC;
	int status;

	reply = ftctl_call(f, "status", domain, "Status", parameters, TIMEOUT_S, NULL, NULL, &status);
	if (!reply)
		return status;
	domains = json_get(reply, "domains");
	if (f->json) {
		ftctl_print_json(domains);
		return 0;
	}
	if (domain)
		text = format_status_detail(json_at(domains, 0), now_s);
	else if (json_length(domains))
		text = format_status_table(domains, now_s);
	else
		text = g_strdup_printf("no domain is protected on %s\n", json_get_str(reply, "host"));
	fputs(text, stdout);
	fflush(stdout);
	return 0;
}

int
ftctl_status(struct ftctl *f, int argc, char **argv)
{
	gboolean watch = FALSE;
	const GOptionEntry entries[] = { { "watch", 'w', 0, G_OPTION_ARG_NONE, &watch, "A live screen; without a terminal, show it again every second", NULL }, { NULL } };
	const char *domain;
	int status;

	if (!ftctl_parse(f, "status", "[DOMAIN]", "Shows the domains that are or were protected on this host, or all there is to know of one.", entries, 0, 1,
			 &argc, &argv, &status))
		return status;
	domain = argc > 1 ? argv[1] : NULL;
	if (watch && !f->json && isatty(STDOUT_FILENO))
		return ftctl_watch(f, domain);
	do {
		status = show_once(f, domain);
		if (watch)
			sleep(1);
	} while (watch && status == 0);
	return status;
}
