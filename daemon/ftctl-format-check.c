/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ftctl-format.h"

#include "daemon/json-util.h"

#include <string.h>

#define INDENT 23	/* of the last column */
#define NARROWEST 20

/* Words, broken into lines of `width` characters, those after the first indented; width 0: one line. A word that is longer than that stays whole. */
static void
append_wrapped(GString *out, const char *text, unsigned width, unsigned indent)
{
	g_auto(GStrv) words = g_strsplit(text, " ", -1);
	glong at = 0;

	for (guint i = 0; words[i]; i++) {
		glong length = g_utf8_strlen(words[i], -1);

		if (i && width && at + 1 + length > (glong)width) {
			g_string_append_printf(out, "\n%*s", (int)indent, "");
			at = 0;
		} else if (i) {
			g_string_append_c(out, ' ');
			at++;
		}
		g_string_append(out, words[i]);
		at += length;
	}
}

static void
append_check_row(GString *out, struct json_object *row, unsigned width)
{
	const char *requirement = json_get_str(row, "requirement"), *state = json_get_str(row, "state"), *reason = json_get_str(row, "reason");
	const char *found = json_get_str(row, "found"), *mend = json_get_str(row, "mend");
	g_autofree char *text = g_strconcat(reason ? reason : "", reason ? ": " : "", found ? found : "", NULL);

	g_string_append_printf(out, "%-12s  %-7s  ", requirement ? requirement : "?", state ? state : "?");
	append_wrapped(out, text, width, INDENT);
	if (mend && width) {
		g_string_append_printf(out, "\n%*s-> ", INDENT, "");
		append_wrapped(out, mend, width - 3, INDENT + 3);
	} else if (mend) {
		g_string_append_printf(out, "; %s", mend);
	}
	g_string_append_c(out, '\n');
}

char *
format_check(struct json_object *rows, unsigned columns)
{
	GString *out = g_string_new("REQUIREMENT   STATE    FOUND\n");

	for (size_t i = 0; i < json_length(rows); i++)
		append_check_row(out, json_at(rows, i), columns ? MAX(columns, INDENT + NARROWEST) - INDENT : 0);
	return g_string_free(out, FALSE);
}
