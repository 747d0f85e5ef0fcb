/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/stale-io.h"

#include "daemon/base/error.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/pairs-io.h"
#include "policy/arbiter-io.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define LOOK_EVERY_S 5

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
stale_mark(const struct host *h, const struct stale *s, GError **error)
{
	g_autofree char *path = marker_file(h, s->uuid), *text = NULL;
	g_autofree char *message = g_strdup_printf("the copy of %s on this host is stale: host %s has the newest one. Start it there; "
						   "if it is lost for good, allow this one with: ftctl forget %s", s->domain, s->runs_on, s->domain);
	g_autoptr(json_object_ptr) o = json_put_str(json_put_str(json_object_new_object(), "uuid", s->uuid), "domain", s->domain);

	json_put_u64(json_put_str(json_put_str(o, "runs_on", s->runs_on), "message", message), "generation", s->generation);
	if (s->arbiter)
		json_put_str(o, "arbiter", s->arbiter);
	text = g_strconcat(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
	return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

void
stale_clear(const struct host *h, const char *uuid)
{
	g_autofree char *path = marker_file(h, uuid);

	g_unlink(path);
}

static struct json_object *
marker_read(const char *path)
{
	g_autofree char *text = NULL;
	gsize length;

	return g_file_get_contents(path, &text, &length, NULL) ? json_parse(text, length, NULL) : NULL;
}

static bool
is_about(const char *path, const char *domain)
{
	g_autoptr(json_object_ptr) o = marker_read(path);

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

/* -- was the guest given back? */

/* The winner's claim was one generation, its word that it was never heard is the next. Anything later is of another pair. */
static bool
was_given_back(const struct host *h, struct json_object *marker)
{
	const char *spec = json_get_str(marker, "arbiter"), *uuid = json_get_str(marker, "uuid");
	g_autoptr(arbiter) asked = spec && uuid ? arbiter_open(spec, h->config->pki, NULL) : NULL;
	struct arbiter_record newest;

	return asked && !arbiter_is_manual(asked) && arbiter_read(asked, uuid, &newest, NULL) > 0 && newest.generation == json_get_u64(marker, "generation") + 2 &&
	       strcmp(newest.active, h->name) == 0;
}

/* It is in a pair here again, or its end is being carried out: that decides. */
static bool
has_pair(struct host *h, const char *uuid)
{
	g_autoptr(pair_info) info = uuid ? pairs_find(h->pairs, uuid) : NULL;

	return info && info->phase != PAIR_ENDED;
}

static void
look_at(struct host *h, const char *path)
{
	g_autoptr(json_object_ptr) marker = marker_read(path);
	const char *domain = json_get_str(marker, "domain");

	if (!domain || has_pair(h, json_get_str(marker, "uuid")) || !was_given_back(h, marker) || g_unlink(path) < 0)
		return;
	host_event(h, domain, "returned", "host %s gave %s back, its copy was never heard there: the newest one is here, and may be started", json_get_str(marker, "runs_on"), domain);
}

static struct json_object *
look(struct job *job, gpointer data, GError **error)
{
	struct host *h = data;
	g_autofree char *dir = marker_dir(h);
	g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);

	for (const char *name; entries && (name = g_dir_read_name(entries));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);

		if (g_str_has_suffix(name, ".json"))
			look_at(h, path);
	}
	return json_object_new_object();
}

void
stale_watch(struct host *h)
{
	job_every(LOOK_EVERY_S, look, h);
}
