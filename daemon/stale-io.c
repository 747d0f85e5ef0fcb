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
/* And the suspicion time: the other side has long claimed by then, if it can reach the arbiter. One that cannot loses its copy to what is off here, no more. */
#define CLAIM_AFTER_S 10

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
	json_put_str(o, "role", failover_role_name(s->role));
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

/* -- is it stale? ------------------------------------------------------------------------------------------------------------------ */

struct watch {
	struct host *host;
	GHashTable *unclaimed;	/* marker_key() -> gint64 *: since when the arbiter has said, each time it was asked, that nobody has gone on */
};

static char *
marker_key(struct json_object *marker)
{
	return g_strdup_printf("%s %" G_GUINT64_FORMAT, json_get_str(marker, "uuid"), json_get_u64(marker, "generation"));
}

/* Not by the marker's own time: the host's clock may have been set meanwhile. */
static bool
unclaimed_for_long(struct watch *w, const char *key)
{
	const gint64 *since = g_hash_table_lookup(w->unclaimed, key);

	return since && g_get_monotonic_time() - *since >= CLAIM_AFTER_S * G_USEC_PER_SEC + w->host->config->suspect_ms * (gint64)1000;
}

static void
note_unclaimed(struct watch *w, const char *key)
{
	gint64 now = g_get_monotonic_time();

	if (!g_hash_table_contains(w->unclaimed, key))
		g_hash_table_insert(w->unclaimed, g_strdup(key), g_memdup2(&now, sizeof now));
}

/* Why it is the newest after all; NULL: it is not, as far as is known. */
static const char *
why_over(struct watch *w, struct json_object *marker)
{
	const char *spec = json_get_str(marker, "arbiter"), *uuid = json_get_str(marker, "uuid"), *gone_on = "has not gone on with it";
	g_autoptr(arbiter) asked = spec && uuid ? arbiter_open(spec, w->host->config->pki, NULL) : NULL;
	g_autofree char *key = marker_key(marker);
	bool primary = g_strcmp0(json_get_str(marker, "role"), failover_role_name(FAILOVER_PRIMARY)) == 0;
	struct arbiter_record newest;
	struct stale_facts f = { .role = primary ? FAILOVER_PRIMARY : FAILOVER_STANDBY, .generation = json_get_u64(marker, "generation"), .self = w->host->name, .newest = &newest };
	enum stale_verdict verdict;

	if (!asked || arbiter_is_manual(asked))
		return NULL;
	f.register_known = arbiter_read(asked, uuid, &newest, NULL);
	f.waited = unclaimed_for_long(w, key);
	verdict = stale_judge(&f);
	if (verdict == STALE_WAIT)
		note_unclaimed(w, key);
	else
		g_hash_table_remove(w->unclaimed, key);
	if (verdict == STALE_OVER)
		return newest.generation == f.generation + 2 ? "gave it back, its copy was never heard there" : gone_on;
	return verdict == STALE_CLAIM && pairs_claim(asked, uuid, f.generation + 1, w->host->name) == ARBITER_GRANTED ? gone_on : NULL;
}

/* It is in a pair here again, or its end is being carried out: that decides. */
static bool
has_pair(struct host *h, const char *uuid)
{
	g_autoptr(pair_info) info = uuid ? pairs_find(h->pairs, uuid) : NULL;

	return info && info->phase != PAIR_ENDED;
}

static void
look_at(struct watch *w, const char *path)
{
	g_autoptr(json_object_ptr) marker = marker_read(path);
	const char *domain = json_get_str(marker, "domain"), *uuid = json_get_str(marker, "uuid"), *why;

	if (!domain || !uuid || has_pair(w->host, uuid))
		return;
	why = why_over(w, marker);
	if (!why || g_unlink(path) < 0)
		return;
	host_event(w->host, domain, "returned", "host %s %s: the newest copy of %s is here, and may be started", json_get_str(marker, "runs_on"), why, domain);
}

static struct json_object *
look(struct job *job, gpointer data, GError **error)
{
	struct watch *w = data;
	g_autofree char *dir = marker_dir(w->host);
	g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);

	for (const char *name; entries && (name = g_dir_read_name(entries));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);

		if (g_str_has_suffix(name, ".json"))
			look_at(w, path);
	}
	return json_object_new_object();
}

void
stale_watch(struct host *h)
{
	struct watch *w = g_new(struct watch, 1);

	*w = (struct watch){ h, g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free) };
	job_every(LOOK_EVERY_S, look, w);
}
