/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every guard of this host is asked for its status; the next question comes after the answer. What counts is ticks without an answer and not time, so that a
 * daemon that slept itself (a stopped process, a suspended host) does not blame the guards: after it wakes up there is one tick, and the answers are read.
 */
#include "daemon/watchdog-io.h"

#include "daemon/guard-interface.h"
#include "daemon/guard-process-io.h"
#include "daemon/pairs-io.h"
#include "daemon/varlink-io.h"

#define TICKS 6

struct watched {
	struct varlink_pending *question;
	guint ticks;			/* since it was asked */
};

struct watchdog {
	struct host *host;
	GHashTable *guards;		/* uuid -> struct watched * */
	guint patience_ms;
};

static void
on_answer(struct json_object *parameters, const GError *error, gpointer user_data)
{
	struct watched *w = user_data;

	w->question = NULL;
}

static struct watched *
watched_of(struct watchdog *d, const char *uuid)
{
	struct watched *w = g_hash_table_lookup(d->guards, uuid);

	if (!w) {
		w = g_new0(struct watched, 1);
		g_hash_table_insert(d->guards, g_strdup(uuid), w);
	}
	return w;
}

static void
look_at(struct watchdog *d, const struct pair_record *r)
{
	g_autofree char *socket = host_pair_file(d->host, r->uuid, "guard.sock");
	struct watched *w = watched_of(d, r->uuid);

	if (!w->question) {
		w->ticks = 0;
		w->question = varlink_call_async(socket, GUARD_INTERFACE ".Status", NULL, false, 0, NULL, on_answer, w);
		return;
	}
	if (++w->ticks <= TICKS)
		return;
	if (guard_kill(d->host, r->uuid))
		host_event(d->host, r->domain, "watchdog", "the guard has not answered for %u ms and was killed; the arbiter tells who goes on", d->patience_ms);
	g_clear_pointer(&w->question, varlink_call_cancel);
}

static gboolean
on_tick(gpointer user_data)
{
	struct watchdog *d = user_data;
	g_autoptr(GPtrArray) list = pairs_list(d->host->pairs);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);

		if (info->phase == PAIR_ACTIVE || info->phase == PAIR_FORMING)
			look_at(d, info->record);
	}
	return G_SOURCE_CONTINUE;
}

void
watchdog_start(struct host *h)
{
	struct watchdog *d;

	if (!h->config->watchdog_ms)
		return;
	d = g_new0(struct watchdog, 1);
	d->host = h;
	d->guards = g_hash_table_new(g_str_hash, g_str_equal);
	/* The other side must have had its time to find out by itself. */
	d->patience_ms = MAX(h->config->watchdog_ms, 3 * h->config->suspect_ms);
	g_timeout_add(d->patience_ms / TICKS + 1, on_tick, d);
}
