/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ftctl: one file per verb, each a Varlink call to ftd. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

struct ftctl {
	char *socket;
	gboolean json;
	int timeout_s;		/* -1: the verb's own */
};

/* A verb gets the arguments after its name; it returns the exit status. */
int ftctl_check(struct ftctl *f, int argc, char **argv);
int ftctl_enable(struct ftctl *f, int argc, char **argv);
int ftctl_status(struct ftctl *f, int argc, char **argv);
int ftctl_disable(struct ftctl *f, int argc, char **argv);
int ftctl_forget(struct ftctl *f, int argc, char **argv);
int ftctl_set(struct ftctl *f, int argc, char **argv);
int ftctl_failover(struct ftctl *f, int argc, char **argv);
int ftctl_flows(struct ftctl *f, int argc, char **argv);
int ftctl_report(struct ftctl *f, int argc, char **argv);
int ftctl_suspend(struct ftctl *f, int argc, char **argv);
int ftctl_resume(struct ftctl *f, int argc, char **argv);
int ftctl_hosts(struct ftctl *f, int argc, char **argv);
int ftctl_switchover(struct ftctl *f, int argc, char **argv);
int ftctl_test_failover(struct ftctl *f, int argc, char **argv);
int ftctl_test_restart_secondary(struct ftctl *f, int argc, char **argv);
int ftctl_migrate_secondary(struct ftctl *f, int argc, char **argv);
int ftctl_events(struct ftctl *f, int argc, char **argv);

/* Parses the verb's own options and those of all verbs; leaves the operands in argv[1..]. False: said so, *status is the exit status (--help: 0).
 * `usage` is "DOMAIN --peer HOST", min and max count the operands. */
bool ftctl_parse(struct ftctl *f, const char *verb, const char *usage, const char *summary, const GOptionEntry *entries, int min, int max, int *argc, char ***argv,
		 int *status);
/* Calls org.ftd.<method> (parameters borrowed); NULL: said so, *status. `domain` is for the text. */
struct json_object *ftctl_call(struct ftctl *f, const char *verb, const char *domain, const char *method, struct json_object *parameters, int default_timeout_s,
			       bool (*progress)(struct json_object *reply, gpointer user_data), gpointer user_data, int *status);
/* The same without a word. */
struct json_object *ftctl_try(struct ftctl *f, const char *method, struct json_object *parameters, int timeout_s, GError **error);
int ftctl_watch(struct ftctl *f, const char *domain);	/* the live screen, until q */
/* What a long call reports, on standard error, or with --json on standard output: for ftctl_call(). */
struct ftctl_progress {
	bool json, tty;
	char *phase;		/* what was printed last, so that a line is not repeated */
	unsigned tenth;
};
void ftctl_progress_begin(const struct ftctl *f, struct ftctl_progress *d);
bool ftctl_on_progress(struct json_object *progress, gpointer user_data);
void ftctl_progress_end(struct ftctl_progress *d);
int ftctl_fail(const struct ftctl *f, const char *verb, const char *domain, const GError *error);
void ftctl_print_json(struct json_object *o);
unsigned ftctl_columns(int fd);	/* of the terminal; 0: it is none */
