/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A pair has a place in a table under one lock, and a record on disk (pair-record.h) for as long as something of it is left to clean up. While it
 * is active this file holds one Events call open to its guard. When that call ends the guard is gone or going: a job judges what the domain here is
 * worth (pair_end_judge()) and carries it out (standby-io.c for what a standby has). ENDING is the mutual exclusion of such jobs.
 */
#include "daemon/pairs-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-process-io.h"
#include "daemon/guard-release-io.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "daemon/standby-io.h"
#include "daemon/varlink-io.h"
#include "policy/arbiter-io.h"

#include <glib/gstdio.h>
#include <string.h>

#define RETRY_S 2
#define EARLIER_END_S 15	/* for a new pair to wait for the end of an earlier one of the same domain */
#define EARLIER_POLL_MS 200
#define GUARD_LEAVE_MS 5000
#define GUEST_ENDED_TIMEOUT_MS 10000
#define RECORD_SUFFIX ".made.json"
#define GUARD_STATE_SUFFIX ".json"	/* durable-state.h, written by the guard */

struct pair {
	struct pairs *pairs;
	struct pair_record *record;
	enum pair_phase phase;
	guint64 connection;
	struct json_object *last;
	bool superseded;		/* ended, and another domain has its name now */
	/* main thread only */
	struct varlink_pending *watch;
	char *finished, *why;		/* from the guard's last event */
};

struct pairs {
	struct host *host;
	GMutex lock;
	GHashTable *table;		/* uuid -> struct pair *; pairs are never freed, ended ones are reused */
};

static char *
final_file(const struct host *h, const char *uuid)
{
	return g_strdup_printf("%s/ended/%s.json", h->config->run_dir, uuid);
}

void
pair_info_free(struct pair_info *i)
{
	if (!i)
		return;
	pair_record_free(i->record);
	json_object_put(i->last);
	g_free(i);
}

struct pairs *
pairs_new(struct host *host)
{
	struct pairs *p = g_new0(struct pairs, 1);

	p->host = host;
	g_mutex_init(&p->lock);
	p->table = g_hash_table_new(g_str_hash, g_str_equal);
	return p;
}

static struct json_object *
json_copy(struct json_object *o)
{
	struct json_object *copy = NULL;

	if (o)
		json_object_deep_copy(o, &copy, NULL);
	return copy;
}

static struct pair_info *
info_of(const struct pair *pair)
{
	struct pair_info *i = g_new0(struct pair_info, 1);

	*i = (struct pair_info){ pair_record_copy(pair->record), pair->phase, pair->connection, json_copy(pair->last) };
	return i;
}

struct pair_info *
pairs_find(struct pairs *p, const char *domain)
{
	struct pair_info *found = NULL;
	GHashTableIter iter;
	gpointer value;

	g_mutex_lock(&p->lock);
	g_hash_table_iter_init(&iter, p->table);
	while (!found && g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct pair *pair = value;

		if (pair->superseded)
			continue;
		if (g_ascii_strcasecmp(pair->record->uuid, domain) == 0 || strcmp(pair->record->domain, domain) == 0)
			found = info_of(pair);
	}
	g_mutex_unlock(&p->lock);
	return found;
}

static int
by_name(gconstpointer a, gconstpointer b)
{
	return strcmp((*(struct pair_info *const *)a)->record->domain, (*(struct pair_info *const *)b)->record->domain);
}

static void
free_info(gpointer info)
{
	pair_info_free(info);
}

GPtrArray *
pairs_list(struct pairs *p)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(free_info);
	GHashTableIter iter;
	gpointer value;

	g_mutex_lock(&p->lock);
	g_hash_table_iter_init(&iter, p->table);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		if (!((struct pair *)value)->superseded)
			g_ptr_array_add(list, info_of(value));
	g_mutex_unlock(&p->lock);
	g_ptr_array_sort(list, by_name);
	return list;
}

static bool
write_record(const struct host *h, const struct pair_record *record, GError **error)
{
	g_autofree char *path = host_state_file(h, record->uuid, RECORD_SUFFIX), *text = pair_record_encode(record);

	return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
}

/* Under the lock. A domain that was undefined and defined anew has its old name and a new UUID: what became of the old one is nobody's answer any more. */
static void
supersede(struct pairs *p, const struct pair_record *record)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, p->table);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct pair *other = value;
		g_autofree char *path = NULL;

		if (other->phase != PAIR_ENDED || strcmp(other->record->domain, record->domain) != 0 || strcmp(other->record->uuid, record->uuid) == 0)
			continue;
		other->superseded = true;
		path = final_file(p->host, other->record->uuid);
		g_unlink(path);
	}
}

/* Under the lock. */
static struct pair *
place_for(struct pairs *p, const struct pair_record *record)
{
	struct pair *pair = g_hash_table_lookup(p->table, record->uuid);

	if (!pair) {
		pair = g_new0(struct pair, 1);
		pair->pairs = p;
		g_hash_table_insert(p->table, g_strdup(record->uuid), pair);
	} else {
		pair_record_free(pair->record);
		g_clear_pointer(&pair->last, json_object_put);
	}
	pair->record = pair_record_copy(record);
	pair->superseded = false;
	supersede(p, record);
	return pair;
}

/* An earlier pair of the domain that only waits for its end (this host was down, say) is ended first, so that a pair can be made anew at once. */
static void
finish_earlier(struct pairs *p, const char *uuid)
{
	for (gint64 end = g_get_monotonic_time() + EARLIER_END_S * G_USEC_PER_SEC; g_get_monotonic_time() < end; g_usleep(EARLIER_POLL_MS * 1000)) {
		g_autoptr(pair_info) info = pairs_find(p, uuid);

		if (!info || (info->phase != PAIR_ORPHAN && info->phase != PAIR_ENDING))
			return;
		pairs_end(p, uuid, NULL, NULL);
	}
}

bool
pairs_begin(struct pairs *p, const struct pair_record *record, guint64 connection, GError **error)
{
	struct pair *pair;
	bool taken;

	finish_earlier(p, record->uuid);
	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, record->uuid);
	taken = pair && pair->phase != PAIR_ENDED;
	if (!taken) {
		pair = place_for(p, record);
		pair->phase = PAIR_FORMING;
		pair->connection = connection;
	}
	g_mutex_unlock(&p->lock);
	if (taken) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ALREADY_PROTECTED, "%s has a pair on %s already; see ftctl status", record->domain, p->host->name);
		return false;
	}
	return write_record(p->host, record, error);
}

bool
pairs_update(struct pairs *p, const struct pair_record *record, GError **error)
{
	g_mutex_lock(&p->lock);
	place_for(p, record);
	g_mutex_unlock(&p->lock);
	return write_record(p->host, record, error);
}

/* Moves a pair from one of the phases in `from` (a set of 1 << phase) to another; false when it is in none of them. */
static bool
change_phase(struct pairs *p, const char *uuid, unsigned from, enum pair_phase to)
{
	struct pair *pair;
	bool ok;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	ok = pair && (from & (1u << pair->phase));
	if (ok)
		pair->phase = to;
	g_mutex_unlock(&p->lock);
	return ok;
}

void
pairs_activate(struct pairs *p, const char *uuid)
{
	change_phase(p, uuid, 1u << PAIR_FORMING, PAIR_ACTIVE);
}

/* -- the end of a pair */

static bool
domain_runs(const struct host *h, const char *uuid)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, NULL);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, uuid, NULL) : NULL;

	return !conn || (dom && libvirt_is_running(dom));
}

static enum pair_end
judge(struct pairs *p, const struct pair_record *r, const char *finished)
{
	struct arbiter_record newest = { 0 };
	struct pair_end_facts facts = { .role = r->role, .generation = r->generation, .self = p->host->name, .finished = finished, .register_known = -1,
					.newest = &newest };
	g_autoptr(GError) error = NULL;

	if (!finished) {
		g_autoptr(arbiter) asked = p->host->config->arbiter ? arbiter_open(p->host->config->arbiter, &error) : NULL;

		if (asked)
			facts.register_known = arbiter_read(asked, r->uuid, &newest, &error);
		facts.domain_runs = domain_runs(p->host, r->uuid);
	}
	return pair_end_judge(&facts);
}

static bool
destroy_domain(struct host *h, const struct pair_record *r)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, &error);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, r->uuid, &error) : NULL;

	if (g_error_matches(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN))
		return true;
	if (dom && libvirt_is_running(dom) && virDomainDestroy(dom) < 0 && libvirt_is_running(dom))
		libvirt_set_error(&error, "destroying the stale domain");
	if (error)
		host_event(h, r->domain, "error", "%s; trying again", error->message);
	return !error;
}

/* The primary's domain goes on. Its guard has taken itself out of QEMU, or is gone and cannot. */
static bool
keep_domain(struct host *h, const struct pair_record *r, bool finished)
{
	g_autoptr(GError) error = NULL;

	if (finished || !domain_runs(h, r->uuid) || guard_release_qemu(h->config->libvirt_uri, r->uuid, &error))
		return true;
	host_event(h, r->domain, "error", "removing what the guard left in QEMU: %s; trying again", error->message);
	return false;
}

static bool
carry_out(struct pairs *p, struct pair_record *r, enum pair_end end, bool finished)
{
	if (r->role == FAILOVER_STANDBY)
		return standby_end(p->host, r, end, finished);
	return end == PAIR_END_KEEP ? keep_domain(p->host, r, finished) : destroy_domain(p->host, r);
}

static struct json_object *
last_status(const struct pair_info *info, enum pair_end end, const char *finished, const char *why)
{
	const struct pair_record *r = info->record;
	const char *state = finished ? finished : info->phase == PAIR_FORMING ? "ended" : end == PAIR_END_KEEP ? "solo" : "fenced";
	struct json_object *o = json_put_str(json_put_str(json_object_new_object(), "domain", r->domain), "uuid", r->uuid);

	json_put_str(json_put_str(o, "state", state), "role", r->role == FAILOVER_PRIMARY ? "primary" : "standby");
	json_put_str(json_put_str(o, "peer", r->peer), "reason", why ? why : "guard-gone");
	return json_put_u64(json_put_u64(o, "generation", r->generation), "ended_at", (guint64)(g_get_real_time() / G_USEC_PER_SEC));
}

static void
forget(struct pairs *p, const struct pair_record *r, struct json_object *last)
{
	g_autofree char *record = host_state_file(p->host, r->uuid, RECORD_SUFFIX), *durable = host_state_file(p->host, r->uuid, GUARD_STATE_SUFFIX);
	g_autofree char *path = final_file(p->host, r->uuid);
	struct pair *pair;

	g_file_set_contents_full(path, json_object_to_json_string_ext(last, JSON_C_TO_STRING_PRETTY), -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL);
	guard_remove_dir(p->host, r->uuid);
	g_unlink(durable);
	g_unlink(record);
	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, r->uuid);
	json_object_put(pair->last);
	pair->last = last;
	pair->phase = PAIR_ENDED;
	g_mutex_unlock(&p->lock);
}

static gboolean retry_end(gpointer pair);

static void
schedule_retry(gpointer pair)
{
	g_timeout_add_seconds(RETRY_S, retry_end, pair);
}

static void
become_orphan(struct pairs *p, const struct pair_record *r, bool say)
{
	struct pair *pair;

	if (say)
		host_event(p->host, r->domain, "orphan", "the guard of %s is gone and the arbiter does not tell yet who goes on; this copy cannot reach the network", r->domain);
	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, r->uuid);
	pair->phase = PAIR_ORPHAN;
	g_mutex_unlock(&p->lock);
	main_invoke(schedule_retry, pair);
}

static const char *
end_text(enum pair_end end, enum failover_role role, const char *finished)
{
	static const char *const texts[PAIR_END_LAST] = {
		[PAIR_END_KEEP] = "goes on unprotected on this host",
		[PAIR_END_REMOVE] = "is no longer here: this copy was stale and is removed",
		[PAIR_END_STOP] = "has lost its standby here; its images were left alone",
		[PAIR_END_WAIT] = "waits for the arbiter",
	};

	if (end == PAIR_END_KEEP && g_strcmp0(finished, "ended") == 0)
		return "has no pair any more";
	return end == PAIR_END_REMOVE && role == FAILOVER_STANDBY ? "has no standby here any more" : texts[end];
}

void
pairs_end(struct pairs *p, const char *uuid, const char *finished, const char *why)
{
	g_autoptr(pair_info) info = pairs_find(p, uuid);
	enum pair_end end;

	if (!info || !change_phase(p, uuid, 1u << PAIR_FORMING | 1u << PAIR_ACTIVE | 1u << PAIR_ORPHAN, PAIR_ENDING))
		return;
	guard_await_end(p->host, uuid, GUARD_LEAVE_MS);
	end = judge(p, info->record, finished);
	if (end == PAIR_END_WAIT || !carry_out(p, info->record, end, finished != NULL)) {
		become_orphan(p, info->record, end == PAIR_END_WAIT && info->phase != PAIR_ORPHAN);
		return;
	}
	forget(p, info->record, last_status(info, end, finished, why));
	host_event(p->host, info->record->domain, "ended", "%s %s (%s)", info->record->domain, end_text(end, info->record->role, finished), why ? why : "guard-gone");
}

struct end_job {
	struct pairs *pairs;
	char *uuid, *finished, *why;
};

static struct json_object *
end_work(struct job *job, gpointer data, GError **error)
{
	struct end_job *e = data;

	pairs_end(e->pairs, e->uuid, e->finished, e->why);
	return NULL;
}

static void
end_free(gpointer data)
{
	struct end_job *e = data;

	g_free(e->uuid);
	g_free(e->finished);
	g_free(e->why);
	g_free(e);
}

static void
start_end(struct pairs *p, const char *uuid, const char *finished, const char *why)
{
	struct end_job *e = g_new0(struct end_job, 1);

	*e = (struct end_job){ p, g_strdup(uuid), g_strdup(finished), g_strdup(why) };
	job_start(end_work, e, end_free, NULL, NULL, NULL);
}

static gboolean
retry_end(gpointer data)
{
	struct pair *pair = data;

	if (pair->phase == PAIR_ORPHAN)
		start_end(pair->pairs, pair->record->uuid, NULL, NULL);
	return G_SOURCE_REMOVE;
}

/* -- watching a guard */

static void
on_guard_event(struct json_object *parameters, gpointer user_data)
{
	struct pair *pair = user_data;
	struct json_object *event = json_get(parameters, "event");

	if (!event)
		return;
	if (g_strcmp0(json_get_str(event, "type"), "finished") == 0) {
		g_free(pair->finished);
		g_free(pair->why);
		pair->finished = g_strdup(json_get_str(event, "state"));
		pair->why = g_strdup(json_get_str(event, "reason"));
		g_mutex_lock(&pair->pairs->lock);
		pair->record->generation = MAX(pair->record->generation, json_get_u64(event, "generation"));
		g_mutex_unlock(&pair->pairs->lock);
	}
	host_event_take(pair->pairs->host, pair->record->domain, json_copy(event));
}

static void
on_guard_gone(struct json_object *parameters, const GError *error, gpointer user_data)
{
	struct pair *pair = user_data;
	g_autofree char *finished = g_steal_pointer(&pair->finished), *why = g_steal_pointer(&pair->why);

	pair->watch = NULL;
	if (!finished)
		host_event(pair->pairs->host, pair->record->domain, "guard-gone", "the guard is gone: %s", error ? error->message : "it closed its connection");
	start_end(pair->pairs, pair->record->uuid, finished, why);
}

static void
begin_watch(gpointer data)
{
	struct pair *pair = data;
	g_autofree char *socket = host_pair_file(pair->pairs->host, pair->record->uuid, "guard.sock");

	if (pair->watch || pair->phase == PAIR_ENDING || pair->phase == PAIR_ENDED)
		return;
	g_clear_pointer(&pair->finished, g_free);
	g_clear_pointer(&pair->why, g_free);
	pair->watch = varlink_call_async(socket, GUARD_INTERFACE ".Events", NULL, true, 0, on_guard_event, on_guard_gone, pair);
}

void
pairs_watch(struct pairs *p, const char *uuid)
{
	struct pair *pair;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	g_mutex_unlock(&p->lock);
	if (pair)
		main_invoke(begin_watch, pair);
}

/* -- a connection that ended, a guest that ended */

static struct json_object *
call_off_work(struct job *job, gpointer data, GError **error)
{
	struct end_job *e = data;

	standby_call_off(e->pairs->host, e->uuid, e->why);
	return NULL;
}

void
pairs_connection_ended(struct pairs *p, guint64 connection)
{
	g_autoptr(GPtrArray) list = pairs_list(p);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);
		struct end_job *e;

		if (info->phase != PAIR_FORMING || !info->connection || info->connection != connection)
			continue;
		e = g_new0(struct end_job, 1);
		*e = (struct end_job){ p, g_strdup(info->record->uuid), NULL, g_strdup("peer-closed") };
		job_start(call_off_work, e, end_free, NULL, NULL, NULL);
	}
}

static struct json_object *
guest_ended_work(struct job *job, gpointer data, GError **error)
{
	struct end_job *e = data;
	g_autoptr(json_object_ptr) reply = guard_call(e->pairs->host, e->uuid, "GuestEnded", false, NULL, NULL, GUEST_ENDED_TIMEOUT_MS, error);

	return g_steal_pointer(&reply);
}

void
pairs_guest_ended(struct pairs *p, const char *uuid)
{
	g_autoptr(pair_info) info = pairs_find(p, uuid);
	struct end_job *e;

	if (!info || info->phase != PAIR_ACTIVE || info->record->role != FAILOVER_PRIMARY)
		return;
	host_event(p->host, info->record->domain, "guest-ended", "the domain was shut down or destroyed on purpose");
	e = g_new0(struct end_job, 1);
	*e = (struct end_job){ .pairs = p, .uuid = g_strdup(uuid) };
	job_start(guest_ended_work, e, end_free, NULL, NULL, NULL);
}

/* -- a new daemon */

static void
load_record(struct pairs *p, const char *path)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(pair_record) record = NULL;
	struct pair *pair;
	gsize length;

	if (g_file_get_contents(path, &text, &length, &error))
		record = pair_record_decode(text, length, &error);
	if (!record) {
		log_error("pairs", "%s: %s; what it stands for is not cleaned up", path, error->message);
		return;
	}
	g_mutex_lock(&p->lock);
	pair = place_for(p, record);
	pair->phase = PAIR_ACTIVE;	/* a forming one, too: only its guard or the register can tell now what it became */
	g_mutex_unlock(&p->lock);
	main_invoke(begin_watch, pair);
}

static void
load_final(struct pairs *p, const char *path)
{
	g_autofree char *text = NULL;
	g_autoptr(json_object_ptr) last = NULL;
	g_autoptr(pair_record) record = NULL;
	struct pair *pair;
	const char *uuid;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, NULL))
		return;
	last = json_parse(text, length, NULL);
	uuid = json_get_str(last, "uuid");
	if (!json_get_str(last, "domain") || !json_get_str(last, "peer") || !uuid || !g_uuid_string_is_valid(uuid))
		return;
	record = pair_record_new(uuid, json_get_str(last, "domain"), json_get_str(last, "peer"),
				 g_strcmp0(json_get_str(last, "role"), "standby") == 0 ? FAILOVER_STANDBY : FAILOVER_PRIMARY, json_get_u64(last, "generation"));
	g_mutex_lock(&p->lock);
	if (!g_hash_table_contains(p->table, uuid)) {
		pair = place_for(p, record);
		pair->phase = PAIR_ENDED;
		pair->last = g_steal_pointer(&last);
	}
	g_mutex_unlock(&p->lock);
}

static void
load_all(struct pairs *p, const char *dir, const char *suffix, void (*load)(struct pairs *p, const char *path))
{
	g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);

	for (const char *name; entries && (name = g_dir_read_name(entries));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);

		if (g_str_has_suffix(name, suffix))
			load(p, path);
	}
}

void
pairs_load(struct pairs *p)
{
	g_autofree char *records = g_strdup_printf("%s/pairs", p->host->config->state_dir), *ended = g_strdup_printf("%s/ended", p->host->config->run_dir);

	load_all(p, records, RECORD_SUFFIX, load_record);
	load_all(p, ended, ".json", load_final);
}
