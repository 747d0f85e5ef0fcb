/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/ftctl.h"
#include "daemon/ftd-interface.h"
#include "daemon/json-util.h"
#include "daemon/varlink-io.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/ftd/ftd.sock"

static const struct { const char *name, *summary; int (*run)(struct ftctl *f, int argc, char **argv); } verbs[] = {
	{ "check", "may the domain be protected by that host?", ftctl_check },
	{ "enable", "protect a running domain", ftctl_enable },
	{ "status", "what is protected, and how well", ftctl_status },
	{ "set", "change how a domain is protected", ftctl_set },
	{ "flows", "what a domain sends, and how it was released", ftctl_flows },
	{ "disable", "end protection, the domain goes on", ftctl_disable },
	{ "forget", "allow the start of a stale copy on this host", ftctl_forget },
	{ "failover", "let the standby take over now", ftctl_failover },
	{ "switchover", "let the standby take over in good order", ftctl_switchover },
	{ "test-failover", "fail over for a test, and protect again", ftctl_test_failover },
	{ "test-restart-secondary", "end the standby for a test, and make another one", ftctl_test_restart_secondary },
	{ "migrate-secondary", "move the standby to another host", ftctl_migrate_secondary },
	{ "suspend", "end protection for a while", ftctl_suspend },
	{ "resume", "begin it again, with the same host", ftctl_resume },
	{ "hosts", "the hosts of the pool; empty this one for maintenance", ftctl_hosts },
	{ "events", "what happened", ftctl_events },
	{ "report", "a page that shows what a pair has done", ftctl_report },
};

int
ftctl_fail(const struct ftctl *f, const char *verb, const char *domain, const GError *error)
{
	enum ftd_error_code code = ftd_error_from_name(ftd_error_name(error));

	fprintf(stderr, "ftctl: %s%s%s: %s\n", verb, domain ? " " : "", domain ? domain : "", error->message);
	if (f->json) {
		g_autoptr(json_object_ptr) o = json_put_str(json_object_new_object(), "error", ftd_error_name(error));

		ftctl_print_json(json_put_str(o, "message", error->message));
	}
	return ftd_error_exit_status(code);
}

void
ftctl_print_json(struct json_object *o)
{
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
}

static void
add_common(GOptionContext *context, struct ftctl *f)
{
	const GOptionEntry entries[] = {
		{ "socket", 0, 0, G_OPTION_ARG_FILENAME, &f->socket, "ftd's socket (default " DEFAULT_SOCKET ")", "PATH" },
		{ "json", 0, 0, G_OPTION_ARG_NONE, &f->json, "Print JSON", NULL },
		{ "timeout", 0, 0, G_OPTION_ARG_INT, &f->timeout_s, "Longest silence of ftd to wait for; 0: for ever", "SECONDS" },
		{ NULL },
	};

	g_option_context_add_main_entries(context, entries, NULL);
}

bool
ftctl_parse(struct ftctl *f, const char *verb, const char *usage, const char *summary, const GOptionEntry *entries, int min, int max, int *argc, char ***argv, int *status)
{
	g_autoptr(GOptionContext) context = g_option_context_new(usage);
	g_autofree char *program = g_strconcat("ftctl ", verb, NULL);
	g_autoptr(GError) error = NULL;

	g_set_prgname(program);
	g_option_context_set_summary(context, summary);
	add_common(context, f);
	if (entries)
		g_option_context_add_main_entries(context, entries, NULL);
	*status = 2;
	if (!g_option_context_parse(context, argc, argv, &error)) {
		fprintf(stderr, "ftctl: %s: %s (see ftctl %s --help)\n", verb, error->message, verb);
		return false;
	}
	if (*argc > 1 && strcmp((*argv)[1], "--") == 0) {	/* GOption leaves it where what follows begins with a dash */
		memmove(*argv + 1, *argv + 2, (size_t)(*argc - 1) * sizeof **argv);
		(*argc)--;
	}
	for (int i = 1; i < *argc; i++) {
		if (g_utf8_validate((*argv)[i], -1, NULL))
			continue;
		fprintf(stderr, "ftctl: %s: what is given as operand %d is not UTF-8, as names of domains and hosts are\n", verb, i);
		return false;
	}
	if (*argc - 1 >= min && *argc - 1 <= max)
		return true;
	fprintf(stderr, "ftctl: %s: usage: ftctl %s %s\n", verb, verb, usage);
	return false;
}

struct json_object *
ftctl_call(struct ftctl *f, const char *verb, const char *domain, const char *method, struct json_object *parameters, int default_timeout_s,
	   bool (*progress)(struct json_object *reply, gpointer user_data), gpointer user_data, int *status)
{
	g_autofree char *full = g_strconcat(FTD_INTERFACE ".", method, NULL);
	int timeout_s = f->timeout_s >= 0 ? f->timeout_s : default_timeout_s;
	g_autoptr(GError) error = NULL;
	struct json_object *reply = varlink_call_sync(f->socket ? f->socket : DEFAULT_SOCKET, full, parameters, progress != NULL, progress, user_data,
						      timeout_s ? MIN(timeout_s, G_MAXINT / 1000) * 1000 : -1, &error);

	if (!reply && progress == ftctl_on_progress)
		ftctl_progress_end(user_data);		/* what is wrong has a line of its own */
	if (!reply)
		*status = ftctl_fail(f, verb, domain, error);
	return reply;
}

struct json_object *
ftctl_try(struct ftctl *f, const char *method, struct json_object *parameters, int timeout_s, GError **error)
{
	g_autofree char *full = g_strconcat(FTD_INTERFACE ".", method, NULL);

	return varlink_call_sync(f->socket ? f->socket : DEFAULT_SOCKET, full, parameters, false, NULL, NULL, timeout_s ? MIN(timeout_s, G_MAXINT / 1000) * 1000 : -1, error);
}

static void
print_help(void)
{
	printf("Usage: ftctl [--socket PATH] [--json] [--timeout SECONDS] VERB [ARGUMENT...]\n\n"
	       "Fault tolerance for libvirt domains, see ftctl(1).\n\n");
	for (guint i = 0; i < G_N_ELEMENTS(verbs); i++)
		printf("  %-22s %s\n", verbs[i].name, verbs[i].summary);
	printf("\nftctl VERB --help tells the arguments of a verb, ftctl --version the version.\n");
}

static int
run_verb(struct ftctl *f, int argc, char **argv)
{
	for (guint i = 0; i < G_N_ELEMENTS(verbs); i++)
		if (strcmp(verbs[i].name, argv[0]) == 0)
			return verbs[i].run(f, argc, argv);
	fprintf(stderr, "ftctl: %s is not a verb (see ftctl --help)\n", argv[0]);
	return 2;
}

int
main(int argc, char **argv)
{
	struct ftctl f = { .timeout_s = -1 };
	int status;
	gboolean version = FALSE, help = FALSE;
	const GOptionEntry entries[] = {
		{ "version", 0, 0, G_OPTION_ARG_NONE, &version, NULL, NULL },
		{ "help", 'h', 0, G_OPTION_ARG_NONE, &help, NULL, NULL },
		{ NULL },
	};
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;

	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_DFL);
	g_option_context_set_strict_posix(context, TRUE);
	g_option_context_set_help_enabled(context, FALSE);
	g_option_context_add_main_entries(context, entries, NULL);
	add_common(context, &f);
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		fprintf(stderr, "ftctl: %s (see ftctl --help)\n", error->message);
		return 2;
	}
	if (version) {
		printf("ftctl %s\n", FTD_VERSION);
		return 0;
	}
	if (help || argc < 2) {
		print_help();
		return help ? 0 : 2;
	}
	status = run_verb(&f, argc - 1, argv + 1);
	g_free(f.socket);
	return status;
}
