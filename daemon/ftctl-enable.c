/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_S 300

struct display {
	bool json, tty;
	char *last;		/* printed last, so that a line is not repeated */
};

/* On a terminal one line is redrawn; elsewhere a line is printed for each phase and each tenth of it. */
static char *
line_of(const struct display *d, struct json_object *progress)
{
	struct json_object *coarse = NULL;
	guint64 done = json_get_u64(progress, "done"), total = json_get_u64(progress, "total");
	char *line;

	if (d->tty)
		return format_progress(progress, ftctl_columns(STDERR_FILENO));
	json_object_deep_copy(progress, &coarse, NULL);
	if (total >= 10)
		json_put_u64(coarse, "done", done / (total / 10) * (total / 10));
	line = format_progress(coarse, 0);
	json_object_put(coarse);
	return line;
}

static bool
on_progress(struct json_object *progress, gpointer user_data)
{
	struct display *d = user_data;
	g_autofree char *line = NULL;

	if (d->json) {
		printf("%s\n", json_object_to_json_string_ext(progress, JSON_C_TO_STRING_PLAIN));
		fflush(stdout);
		return true;
	}
	line = line_of(d, progress);
	if (g_strcmp0(line, d->last) == 0)
		return true;
	fprintf(stderr, d->tty ? "\r\033[K%s" : "%s\n", line);
	g_free(d->last);
	d->last = g_steal_pointer(&line);
	return true;
}

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
	struct display d = { 0 };
	int status = 0;

	if (!ftctl_parse(f, "enable", "DOMAIN --peer HOST [--mode MODE] [--bypass PATTERN] [--never-compare PATTERN]", "Protects a running domain; ends when it is protected.", entries, 1, 1, &argc, &argv, &status))
		return status;
	if (!peer) {
		fprintf(stderr, "ftctl: enable: which host shall hold the standby? Give --peer HOST\n");
		return 2;
	}
	d.json = f->json;
	d.tty = isatty(STDERR_FILENO);
	parameters = json_put_str(json_put_str(json_object_new_object(), "domain", argv[1]), "peer", peer);
	if (mode)
		json_put_str(parameters, "mode", mode);
	put_list(parameters, "bypass", bypass);
	put_list(parameters, "never_compare", never_compare);
	reply = ftctl_call(f, "enable", argv[1], "Enable", parameters, TIMEOUT_S, on_progress, &d, &status);
	if (d.tty && d.last)
		fprintf(stderr, "\r\033[K");
	g_free(d.last);
	if (!reply)
		return status;
	if (!f->json)
		printf("%s is protected by %s\n", argv[1], peer);
	return 0;
}
