/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"
#include "daemon/ftctl.h"
#include "daemon/json-util.h"

#include <stdio.h>
#include <unistd.h>

static unsigned
tenth_of(guint64 done, guint64 total)
{
	return total < 10 ? 0 : (unsigned)MIN(done / (total / 10), 10);
}

/* On a terminal one line is redrawn; elsewhere a line is printed for each phase and each tenth of it. A phase that has come to its end knows no total any more: that is no news. */
static bool
is_news(struct ftctl_progress *d, struct json_object *progress)
{
	const char *phase = json_get_str(progress, "phase");
	guint64 total = json_get_u64(progress, "total");
	unsigned tenth = tenth_of(json_get_u64(progress, "done"), total);
	bool same_phase = d->phase && g_strcmp0(phase, d->phase) == 0;

	if (same_phase && (!total || (!d->tty && tenth == d->tenth)))
		return false;
	g_free(d->phase);
	d->phase = g_strdup(phase ? phase : "");
	d->tenth = tenth;
	return true;
}

/* Without a terminal the line is that of the full tenth, rounded up: else three tenths are 29 %. */
static char *
line_of(const struct ftctl_progress *d, struct json_object *progress)
{
	struct json_object *coarse = NULL;
	guint64 total = json_get_u64(progress, "total");
	char *line;

	if (d->tty)
		return format_progress(progress, ftctl_columns(STDERR_FILENO));
	json_object_deep_copy(progress, &coarse, NULL);
	if (total >= 10)
		json_put_u64(coarse, "done", MIN(total / 10 * d->tenth + d->tenth, total));
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
	if (!is_news(d, progress))
		return true;
	line = line_of(d, progress);
	fprintf(stderr, d->tty ? "\r\033[K%s" : "%s\n", line);
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
	if (d->tty && d->phase)
		fprintf(stderr, "\r\033[K");
	g_clear_pointer(&d->phase, g_free);
}
