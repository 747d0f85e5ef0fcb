/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <unistd.h>

static guint64
tenths(guint64 done, guint64 total)
{
	return done / (total / 10) * (total / 10);
}

/* On a terminal one line is redrawn; elsewhere a line is printed for each phase and each tenth of it. */
static char *
line_of(const struct ftctl_progress *d, struct json_object *progress)
{
	struct json_object *coarse = NULL;
	guint64 done = json_get_u64(progress, "done"), total = json_get_u64(progress, "total");
	char *line;

	if (d->tty)
		return format_progress(progress, ftctl_columns(STDERR_FILENO));
	json_object_deep_copy(progress, &coarse, NULL);
	if (total >= 10)
		json_put_u64(coarse, "done", tenths(done, total));
	if (total >= 10 && json_get(progress, "same"))
		json_put_u64(coarse, "same", tenths(json_get_u64(progress, "same"), total));
	line = format_progress(coarse, 0);
	json_object_put(coarse);
	return line;
}

bool
ftctl_on_progress(struct json_object *progress, gpointer user_data)
{
	struct ftctl_progress *d = user_data;
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

void
ftctl_progress_begin(const struct ftctl *f, struct ftctl_progress *d)
{
	*d = (struct ftctl_progress){ .json = f->json, .tty = isatty(STDERR_FILENO) };
}

void
ftctl_progress_end(struct ftctl_progress *d)
{
	if (d->tty && d->last)
		fprintf(stderr, "\r\033[K");
	g_clear_pointer(&d->last, g_free);
}
