/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/history-io.h"

#include "daemon/base/error.h"
#include "daemon/guard-process-io.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/pairs-io.h"

#include <string.h>

#define LOOK_EVERY_S 15		/* so much of the end of a pair may be missing */
#define KEPT_MAX 256		/* pairs; of others nothing is known when they have ended */
#define TIMEOUT_MS 1000

/* By UUID, as texts: nothing of json-c is shared between threads. */
static GMutex lock;
static GHashTable *kept;

static void
keep(const char *uuid, struct json_object *history)
{
	g_mutex_lock(&lock);
	if (g_hash_table_contains(kept, uuid) || g_hash_table_size(kept) < KEPT_MAX)
		g_hash_table_replace(kept, g_strdup(uuid), g_strdup(json_object_to_json_string_ext(history, JSON_C_TO_STRING_PLAIN)));
	g_mutex_unlock(&lock);
}

static struct json_object *
kept_of(const char *uuid)
{
	g_autofree char *text = NULL;

	g_mutex_lock(&lock);
	text = g_strdup(g_hash_table_lookup(kept, uuid));
	g_mutex_unlock(&lock);
	return text ? json_parse(text, strlen(text), NULL) : NULL;
}

/* With `begin`, unix time, since only this host's clock and the guard's age together tell it. */
static struct json_object *
ask(struct host *h, const char *uuid)
{
	g_autoptr(json_object_ptr) reply = guard_call(h, uuid, "History", false, NULL, NULL, TIMEOUT_MS, NULL);
	struct json_object *history = json_get(reply, "history");
	double now_s = (double)g_get_real_time() / G_USEC_PER_SEC;

	if (!json_object_is_type(history, json_type_object))
		return NULL;
	json_put_value(history, "begin", json_object_new_double(now_s - json_object_get_double(json_get(history, "age_seconds"))));
	json_object_object_del(history, "age_seconds");
	keep(uuid, history);
	return json_object_get(history);
}

static struct json_object *
look(struct job *job, gpointer data, GError **error)
{
	struct host *h = data;
	g_autoptr(GPtrArray) list = pairs_list(h->pairs);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);

		if (info->phase == PAIR_ACTIVE)
			json_object_put(ask(h, info->record->uuid));
	}
	return json_object_new_object();
}

void
history_start(struct host *h)
{
	kept = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	job_every(LOOK_EVERY_S, look, h);
}

struct json_object *
history_of(struct host *h, const char *domain, GError **error)
{
	g_autoptr(pair_info) info = pairs_find(h->pairs, domain);
	struct json_object *history = NULL;

	if (info && info->phase == PAIR_ACTIVE)
		history = ask(h, info->record->uuid);
	if (info && !history)
		history = kept_of(info->record->uuid);
	if (history)
		return json_put_value(json_object_new_object(), "history", history);
	if (info)
		return json_put_value(json_object_new_object(), "history", json_object_new_object());
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s is not protected on %s, and was not since its ftd was started", domain, h->name);
	return NULL;
}
