/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/stale-io.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

static char *
marker_dir(const struct host *h)
{
	return g_build_filename(h->config->state_dir, "stale", NULL);
}

static char *
marker_file(const struct host *h, const char *uuid)
{
	return g_strdup_printf("%s/stale/%s.json", h->config->state_dir, uuid);
}

bool
stale_mark(const struct host *h, const char *uuid, const char *domain, const char *runs_on, GError **error)
{
	g_autofree char *path = marker_file(h, uuid), *text = NULL;
	g_autofree char *message = g_strdup_printf("the copy of %s on this host is stale: host %s has the newest one. Start it there; "
						   "if it is lost for good, allow this one with: ftctl forget %s", domain, runs_on, domain);
	g_autoptr(json_object_ptr) o = json_put_str(json_put_str(json_object_new_object(), "uuid", uuid), "domain", domain);

	json_put_str(json_put_str(o, "runs_on", runs_on), "message", message);
	text = g_strconcat(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
	return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

void
stale_clear(const struct host *h, const char *uuid)
{
	g_autofree char *path = marker_file(h, uuid);

	g_unlink(path);
}

static bool
is_about(const char *path, const char *domain)
{
	g_autofree char *text = NULL;
	g_autoptr(json_object_ptr) o = NULL;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, NULL))
		return false;
	o = json_parse(text, length, NULL);
	return g_strcmp0(json_get_str(o, "domain"), domain) == 0 || g_strcmp0(json_get_str(o, "uuid"), domain) == 0;
}

/* A domain that was undefined and defined anew has left a marker under its old UUID: its name stands for all of them. */
bool
stale_forget(const struct host *h, const char *domain, GError **error)
{
	g_autofree char *dir = marker_dir(h);
	g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);
	unsigned forgotten = 0;

	for (const char *name; entries && (name = g_dir_read_name(entries));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);

		if (!g_str_has_suffix(name, ".json") || !is_about(path, domain))
			continue;
		if (g_unlink(path) < 0) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s cannot be removed: %s", path, g_strerror(errno));
			return false;
		}
		forgotten++;
	}
	if (forgotten > 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN, "no copy of %s is known as stale on %s", domain, h->name);
	return false;
}
