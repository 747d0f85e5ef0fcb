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
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "daemon/pool-io.h"
#include "daemon/primary-io.h"
#include "daemon/stale-io.h"
#include "daemon/standby-io.h"
#include "daemon/varlink-io.h"
#include "policy/arbiter-io.h"
#include "policy/durable-state-io.h"
#include "policy/failover.h"
#include "policy/small-file-io.h"

#include <glib/gstdio.h>
#include <string.h>

#define RETRY_S 2
#define EARLIER_END_MS 15000	/* for a new pair to wait for the end of an earlier one of the same domain */
#define EARLIER_POLL_MS 50
#define ORPHAN_TRY_MS 250	/* each may tell of an error */
#define RETURN_AFTER_MS 3000	/* a winner whose guard died is returned within a second */
#define CLAIM_AFTER_MS 5000	/* an orphan's other side has long claimed by then, if it can */
#define ACTIVE_END_MS 2000	/* for a guard that has said its last word to be gone */
#define GUARD_LEAVE_MS 5000
#define STATUS_TIMEOUT_MS 1000
#define NEWS_TIMEOUT_MS 10000
#define STARTS_KEPT 16
#define RECORD_SUFFIX ".made.json"
#define GUARD_STATE_SUFFIX ".json"	/* durable-state.h, written by the guard */

struct pair {
	struct pairs *pairs;
	struct pair_record *record;
	enum pair_phase phase;
	guint64 connection;
	struct json_object *last;
	gint64 orphan_since;		/* 0: it is none */
	bool settled;			/* ... of which it is known who goes on */
	struct {
		char *finished, *why;
		struct standby_kept copy;
	} kept;				/* while it is ENDING, and before the next try: how it ended, when it is the standby's copy that goes on */
	char *lost;			/* before it the domain was alone here, without its copy on that host, and to be protected again; NULL: it was not */
	bool superseded, removed;	/* ended, and another domain has its name now; and nothing is told of it any more after a restart */
	bool making;			/* FORMING, and PrepareStandby is at work on it */
	char *called_off;		/* ... and whoever asked for it does not want it any more */
	/* main thread only */
	struct varlink_pending *watch;
	unsigned watched_again;		/* since the guard was last heard */
	guint retry;
	char *finished, *why;		/* from the guard's last event */
	guint64 gap_ms, last_generation;	/* ... of one that took over; under the lock */
	bool off;			/* its guest has switched itself off, and was not started since */
	bool suspended;			/* from its events: the primary's guard makes no checkpoints until the domain is resumed */
	guint64 starts[STARTS_KEPT];	/* when its CPUs were started last (microseconds of the wall clock), a ring */
	unsigned next_start;
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

/* Of a domain that is to be protected again: a host that is started anew must not forget that. */
static char *
unprotected_file(const struct host *h, const char *uuid)
{
	return g_strdup_printf("%s/unprotected/%s.json", h->config->state_dir, uuid);
}

static void
remove_last(const struct host *h, const char *uuid)
{
	g_autofree char *final = final_file(h, uuid), *unprotected = unprotected_file(h, uuid);

	small_file_remove(unprotected);
	g_unlink(final);
}

static bool
wants_protection(struct json_object *last)
{
	return pair_wants_protection(json_get_str(last, "state"), json_get_str(last, "reason"));
}

static bool
write_status(const char *path, struct json_object *last, GFileSetContentsFlags flags)
{
	g_autoptr(GError) error = NULL;

	if (g_file_set_contents_full(path, json_object_to_json_string_ext(last, JSON_C_TO_STRING_PRETTY), -1, G_FILE_SET_CONTENTS_CONSISTENT | flags, 0600, &error))
		return true;
	log_warn("pairs", "what became of %s cannot be kept: %s", json_get_str(last, "domain"), error->message);
	return false;
}

/* A wish that nobody has any more must not come back, not even after a loss of power; one that cannot be kept over that outlives a restart of this daemon at least. */
static void
write_last(const struct host *h, const char *uuid, struct json_object *last)
{
	g_autofree char *final = final_file(h, uuid), *unprotected = unprotected_file(h, uuid);

	if (pool_heals(h) && wants_protection(last) && write_status(unprotected, last, G_FILE_SET_CONTENTS_DURABLE)) {
		g_unlink(final);
		return;
	}
	small_file_remove(unprotected);
	write_status(final, last, 0);
}

void
pair_info_free(struct pair_info *i)
{
	if (!i)
		return;
	pair_record_free(i->record);
	g_free(i->lost);
	json_object_put(i->last);
	g_free(i);
}

const char *
pair_info_orphan_text(const struct pair_info *i, const char *spec)
{
	if (i->settled)
		return "has lost its guard here; who goes on is settled, but what is left to do here failed and is tried again: see ftctl events";
	if (spec && g_str_has_prefix(spec, "manual:"))
		return "has lost its guard here and waits for a word who goes on: ftctl failover --force where it is to, see ftd(8)";
	return "has lost its guard here and waits for the arbiter to tell who goes on";
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

	*i = (struct pair_info){ pair_record_copy(pair->record), pair->phase, pair->connection, pair->orphan_since, pair->settled, pair->gap_ms, pair->last_generation, g_strdup(pair->lost), json_copy(pair->last) };
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

		if (other->phase != PAIR_ENDED || strcmp(other->record->domain, record->domain) != 0 || strcmp(other->record->uuid, record->uuid) == 0)
			continue;
		other->superseded = true;
	}
}

/* Not under the lock, for which the main thread may wait: what is told of pairs that are superseded. */
static void
remove_superseded(struct pairs *p)
{
	g_autoptr(GPtrArray) uuids = g_ptr_array_new_with_free_func(g_free);
	GHashTableIter iter;
	gpointer value;

	g_mutex_lock(&p->lock);
	g_hash_table_iter_init(&iter, p->table);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct pair *pair = value;

		if (pair->superseded && !pair->removed)
			g_ptr_array_add(uuids, g_strdup(pair->record->uuid));
		pair->removed = pair->superseded;
	}
	g_mutex_unlock(&p->lock);
	for (guint i = 0; i < uuids->len; i++)
		remove_last(p->host, g_ptr_array_index(uuids, i));
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
	pair->superseded = pair->removed = false;
	supersede(p, record);
	return pair;
}

/* Its guard has settled who goes on, and is about to leave; or it does not answer any more. */
static bool
is_over(const struct pairs *p, const char *uuid)
{
	g_autoptr(json_object_ptr) reply = guard_call(p->host, uuid, "Status", false, NULL, NULL, STATUS_TIMEOUT_MS, NULL);
	const char *state = json_get_str(json_get(reply, "status"), "state");

	return failover_is_over(state);
}

void
pairs_settle(struct pairs *p, const char *domain, const char *other_side, unsigned patience_ms)
{
	gint64 now = g_get_monotonic_time(), end = now + patience_ms * (gint64)1000, end_active = now + ACTIVE_END_MS * (gint64)1000, next_try = now;

	for (; g_get_monotonic_time() < end; g_usleep(EARLIER_POLL_MS * 1000)) {
		g_autoptr(pair_info) info = pairs_find(p, domain);
		bool left = info && other_side && strcmp(info->record->peer, other_side) == 0;

		if (!info || info->phase == PAIR_ENDED || info->phase == PAIR_FORMING)
			return;
		if (info->phase == PAIR_ACTIVE && (g_get_monotonic_time() > end_active || !(left || is_over(p, info->record->uuid))))
			return;
		if (info->phase != PAIR_ORPHAN || g_get_monotonic_time() < next_try)
			continue;
		next_try = g_get_monotonic_time() + ORPHAN_TRY_MS * (gint64)1000;
		pairs_end(p, info->record->uuid, NULL, NULL);
	}
}

void
pairs_await_end(struct pairs *p, const char *domain, unsigned patience_ms)
{
	for (gint64 end = g_get_monotonic_time() + patience_ms * (gint64)1000; g_get_monotonic_time() < end; g_usleep(EARLIER_POLL_MS * 1000)) {
		g_autoptr(pair_info) info = pairs_find(p, domain);

		if (!info || info->phase == PAIR_ENDED)
			return;
	}
}

static char *
lost_before(struct json_object *last)
{
	return wants_protection(last) ? g_strdup(json_get_str(last, "peer")) : NULL;
}

static void
forget_kept(struct pair *pair)
{
	g_clear_pointer(&pair->kept.finished, g_free);
	g_clear_pointer(&pair->kept.why, g_free);
	pair->kept.copy = (struct standby_kept){ 0 };
}

static bool
take_place(struct pairs *p, const struct pair_record *record, guint64 connection)
{
	struct pair *pair;
	char *lost;
	bool taken;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, record->uuid);
	taken = pair && pair->phase != PAIR_ENDED;
	if (!taken) {
		lost = pair ? lost_before(pair->last) : NULL;
		pair = place_for(p, record);
		g_free(pair->lost);
		pair->lost = lost;
		forget_kept(pair);
		pair->phase = PAIR_FORMING;
		pair->making = record->role == FAILOVER_STANDBY;
		g_clear_pointer(&pair->called_off, g_free);
		pair->connection = connection;
		pair->orphan_since = 0;
	}
	g_mutex_unlock(&p->lock);
	remove_superseded(p);
	return !taken;
}

bool
pairs_call_off(struct pairs *p, const char *uuid, const char *why)
{
	struct pair *pair;
	bool making;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	making = pair && pair->making;
	if (making && !pair->called_off)
		pair->called_off = g_strdup(why);
	g_mutex_unlock(&p->lock);
	return making;
}

char *
pairs_made(struct pairs *p, const char *uuid)
{
	struct pair *pair;
	char *called_off = NULL;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	if (pair) {
		pair->making = false;
		called_off = g_steal_pointer(&pair->called_off);
	}
	g_mutex_unlock(&p->lock);
	return called_off;
}

bool
pairs_begin(struct pairs *p, const struct pair_record *record, guint64 connection, GError **error)
{
	g_autofree char *durable = host_state_file(p->host, record->uuid, GUARD_STATE_SUFFIX), *silent = host_state_file(p->host, record->uuid, GUARD_SILENT_SUFFIX);

	pairs_settle(p, record->uuid, NULL, EARLIER_END_MS);
	if (!take_place(p, record, connection)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ALREADY_PROTECTED, "%s has a pair on %s already; see ftctl status", record->domain, p->host->name);
		return false;
	}
	g_unlink(durable);	/* of an earlier pair: they would tell that this one was armed, and heard */
	g_unlink(silent);
	if (write_record(p->host, record, error))
		return true;
	g_prefix_error(error, "what is made for the pair cannot be written down: ");
	g_free(pairs_made(p, record->uuid));
	pairs_end(p, record->uuid, "ended", "setup-failed");
	return false;
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

/* How an earlier one ended is over with that. */
void
pairs_activate(struct pairs *p, const char *uuid)
{
	if (change_phase(p, uuid, 1u << PAIR_FORMING, PAIR_ACTIVE))
		remove_last(p->host, uuid);
}

/* -- the end of a pair */

static bool
domain_runs(const struct host *h, const char *uuid)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, NULL);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, uuid, NULL) : NULL;

	return !conn || (dom && !libvirt_is_off(dom));
}

/* The spec of the arbiter that the pair was formed with; NULL: none. */
static char *
arbiter_of(const struct host *h, const char *uuid, bool *armed)
{
	g_autofree char *path = host_state_file(h, uuid, GUARD_STATE_SUFFIX);
	g_autoptr(GError) no_state = NULL;
	struct durable_state state;
	bool known = durable_state_read(path, &state, &no_state);

	*armed = known ? state.state != FAILOVER_FORMING : !g_error_matches(no_state, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	return g_strdup(known && state.arbiter[0] ? state.arbiter : h->config->arbiter);
}

struct arbiter *
pairs_arbiter(const struct host *h, const char *uuid, bool *armed, GError **error)
{
	g_autofree char *spec = arbiter_of(h, uuid, armed);

	if (spec)
		return arbiter_open(spec, h->config->pki, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "no arbiter is configured on %s; set arbiter= in ftd.conf", h->name);
	return NULL;
}

/* A manual register is this host's alone: of a pair that was armed it knows nothing until it was told who goes on. */
static int
ask_register(struct pairs *p, const struct pair_record *r, struct arbiter **asked, bool *armed, struct arbiter_record *newest)
{
	g_autoptr(GError) error = NULL;
	int known;

	*asked = pairs_arbiter(p->host, r->uuid, armed, &error);
	known = *asked ? arbiter_read(*asked, r->uuid, newest, &error) : -1;
	if (known >= 0 && arbiter_is_manual(*asked) && *armed && (known == 0 || newest->generation <= r->generation))
		return -1;
	return known;
}

enum arbiter_verdict
pairs_claim(struct arbiter *asked, const char *uuid, guint64 generation, const char *active)
{
	struct arbiter_record claim = { .generation = generation, .written_at = g_get_real_time() / G_USEC_PER_SEC }, holder;
	g_autofree char *unique = g_uuid_string_random();
	g_autoptr(GError) error = NULL;

	g_strlcpy(claim.pair, uuid, sizeof(claim.pair));
	g_strlcpy(claim.active, active, sizeof(claim.active));
	g_strlcpy(claim.reason, "guard-gone", sizeof(claim.reason));
	g_strlcpy(claim.nonce, unique, sizeof(claim.nonce));
	return arbiter_claim(asked, &claim, &holder, &error);
}

/* The guard that would have claimed is dead, so ftd does it for it. */
static enum pair_end
claim_for(struct pairs *p, const struct pair_record *r, struct arbiter *asked)
{
	enum arbiter_verdict verdict = pairs_claim(asked, r->uuid, r->generation + 1, p->host->name);

	if (verdict == ARBITER_SILENT)
		return PAIR_END_WAIT;
	host_event(p->host, r->domain, "claim", "generation %" G_GUINT64_FORMAT " of %s %s", r->generation + 1, r->domain,
		   verdict == ARBITER_GRANTED ? "is this host's" : "belongs to the other side");
	return verdict == ARBITER_GRANTED ? PAIR_END_KEEP : PAIR_END_REMOVE;
}

static bool
orphan_for(const struct pair_info *info, unsigned ms)
{
	return info->orphan_since && g_get_monotonic_time() - info->orphan_since > ms * (gint64)1000;
}

/* The copy goes first: from the moment the record stands the other side's is the domain. */
static enum pair_end
return_to_peer(struct pairs *p, const struct pair_record *r, struct arbiter *asked, guint64 generation)
{
	if (!standby_end(p->host, r, PAIR_END_STOP, NULL))
		return PAIR_END_WAIT;
	if (arbiter_is_manual(asked)) {
		host_event(p->host, r->domain, "error", "%s was never heard here; it is %s that has to go on: ftctl failover --force %s there", r->domain, r->peer, r->domain);
		return PAIR_END_STOP;
	}
	if (pairs_claim(asked, r->uuid, generation, r->peer) == ARBITER_SILENT)
		return PAIR_END_WAIT;
	host_event(p->host, r->domain, "returned", "%s was never heard here: generation %" G_GUINT64_FORMAT " is given back to %s", r->domain, generation, r->peer);
	return PAIR_END_STOP;
}

/* Its guard owned a generation that is newer than the pair's, and wrote it down. */
static bool
read_granted(const struct host *h, const struct pair_record *r, struct durable_state *state)
{
	g_autofree char *path = host_state_file(h, r->uuid, GUARD_STATE_SUFFIX);

	return durable_state_read(path, state, NULL) && state->generation > r->generation;
}

/* ... or could not write it, on a disk that is full, and told it. */
static bool
was_granted(const struct host *h, const struct pair_info *info)
{
	struct durable_state state;

	return info->last_generation > info->record->generation || read_granted(h, info->record, &state);
}

/* Of one whose last word nobody heard. */
static char *
written_reason(const struct host *h, const struct pair_record *r)
{
	struct durable_state state;

	return read_granted(h, r, &state) && state.reason != FAILOVER_REASON_NONE ? g_strdup(failover_reason_name(state.reason)) : NULL;
}

static enum pair_end
judge(struct pairs *p, const struct pair_info *info, const char *finished)
{
	const struct pair_record *r = info->record;
	struct arbiter_record newest = { 0 };
	struct pair_end_facts facts = { .role = r->role, .generation = r->generation, .self = p->host->name, .finished = finished, .register_known = -1,
					.newest = &newest };
	g_autofree char *silent = host_state_file(p->host, r->uuid, GUARD_SILENT_SUFFIX);
	g_autoptr(arbiter) asked = NULL;
	enum pair_end end;

	if (r->role == FAILOVER_PRIMARY && !finished)
		primary_let_go(p->host, r);
	facts.silent = g_file_test(silent, G_FILE_TEST_EXISTS);
	facts.granted = was_granted(p->host, info);
	if (!finished || facts.granted) {
		facts.register_known = ask_register(p, r, &asked, &facts.armed, &newest);
		facts.domain_runs = domain_runs(p->host, r->uuid);
		facts.waited = orphan_for(info, CLAIM_AFTER_MS);
		facts.waited_for_return = orphan_for(info, RETURN_AFTER_MS);
	}
	end = pair_end_judge(&facts);
	if (end == PAIR_END_RETURN)
		return return_to_peer(p, r, asked, newest.generation + 1);
	return end == PAIR_END_CLAIM ? claim_for(p, r, asked) : end;
}

static bool
carry_out(struct pairs *p, struct pair_record *r, enum pair_end end, bool finished, struct standby_kept *kept)
{
	if (r->role == FAILOVER_STANDBY)
		return standby_end(p->host, r, end, kept);
	return primary_end(p->host, r, end, finished);
}

/* Before the record is forgotten: a copy that stays defined here and is not the newest one is not to be started by hand. */
static bool
note_stale(struct pairs *p, const struct pair_record *r, enum pair_end end)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = NULL;
	g_autoptr(virDomain) dom = NULL;
	g_autofree char *spec = NULL;
	bool armed;

	if (end == PAIR_END_KEEP) {
		stale_clear(p->host, r->uuid);
		return true;
	}
	conn = libvirt_open(p->host->config->libvirt_uri, &error);
	dom = conn ? libvirt_find(conn, r->uuid, &error) : NULL;
	if (g_error_matches(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN))
		return true;
	spec = arbiter_of(p->host, r->uuid, &armed);
	if (dom && stale_mark(p->host, &(struct stale){ r->uuid, r->domain, r->role, r->peer, spec, r->generation }, &error))
		return true;
	host_event(p->host, r->domain, "error", "%s; trying again", error->message);
	return false;
}

static struct json_object *
last_status(const struct pair_info *info, enum pair_end end, const char *finished, const char *why)
{
	const struct pair_record *r = info->record;
	struct pair_last_facts facts = { end, r->role, finished, why, .forming = info->phase == PAIR_FORMING, .wished = info->lost != NULL };
	struct json_object *o = json_put_str(json_put_str(json_object_new_object(), "domain", r->domain), "uuid", r->uuid);

	json_put_str(json_put_str(o, "state", pair_last_state(&facts)), "role", r->role == FAILOVER_PRIMARY ? "primary" : "standby");
	json_put_str(json_put_str(o, "peer", pair_changed_nothing(&facts) ? info->lost : r->peer), "reason", why ? why : "guard-gone");
	if (info->gap_ms)
		json_put_u64(o, "gap_ms", info->gap_ms);
	return json_put_u64(json_put_u64(o, "generation", MAX(r->generation, info->last_generation)), "ended_at", (guint64)(g_get_real_time() / G_USEC_PER_SEC));
}

static void
forget(struct pairs *p, const struct pair_record *r, struct json_object *last)
{
	g_autofree char *record = host_state_file(p->host, r->uuid, RECORD_SUFFIX), *durable = host_state_file(p->host, r->uuid, GUARD_STATE_SUFFIX);
	g_autofree char *silent = host_state_file(p->host, r->uuid, GUARD_SILENT_SUFFIX);
	struct pair *pair;

	write_last(p->host, r->uuid, last);
	guard_remove_dir(p->host, r->uuid);
	g_unlink(record);	/* first: without the others it would tell another story */
	g_unlink(durable);
	g_unlink(silent);
	small_file_sync_directory_of(record);	/* nor do they after a loss of power */
	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, r->uuid);
	json_object_put(pair->last);
	pair->last = last;
	pair->phase = PAIR_ENDED;
	g_mutex_unlock(&p->lock);
}

void
pairs_retell_end(struct pairs *p, const char *uuid, const char *state, const char *reason)
{
	g_autoptr(json_object_ptr) told = NULL;
	struct pair *pair;
	struct json_object *last;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	if (pair && pair->phase == PAIR_ENDED && pair->last && !pair->superseded) {
		last = json_put_str(json_put_str(json_copy(pair->last), "state", state), "reason", reason);
		told = json_copy(last);
		json_object_put(pair->last);	/* others may be reading it */
		pair->last = last;
	}
	g_mutex_unlock(&p->lock);
	if (told)
		write_last(p->host, uuid, told);
}

static gboolean retry_end(gpointer pair);

static void
schedule_retry(gpointer data)
{
	struct pair *pair = data;

	if (!pair->retry)
		pair->retry = g_timeout_add_seconds(RETRY_S, retry_end, pair);
}

static void
become_orphan(struct pairs *p, const struct pair_record *r, bool say, bool settled)
{
	struct pair *pair;

	if (say)
		host_event(p->host, r->domain, "orphan", "the guard of %s is gone and it is not clear yet who goes on; this copy cannot reach the network", r->domain);
	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, r->uuid);
	pair->phase = PAIR_ORPHAN;
	pair->settled = settled;
	if (!pair->orphan_since)
		pair->orphan_since = g_get_monotonic_time();
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
		[PAIR_END_RETURN] = "gives the domain back",
		[PAIR_END_CLAIM] = "claims the next generation",
	};

	if (end == PAIR_END_KEEP && g_strcmp0(finished, "ended") == 0)
		return "has no pair any more";
	return end == PAIR_END_REMOVE && role == FAILOVER_STANDBY ? "has no standby here any more" : texts[end];
}

/* Of one whose copy goes on, and still runs on its overlays, it is known how it ended. (Only who has set it to ENDING is here.) */
static struct pair *
recall(struct pairs *p, const char *uuid, char **finished, char **why)
{
	struct pair *pair;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	g_mutex_unlock(&p->lock);
	if (!*finished)
		*finished = g_strdup(pair->kept.finished);
	if (!*why)
		*why = g_strdup(pair->kept.why);
	pair->kept.copy.released = pair->kept.copy.released || *finished;
	return pair;
}

static void
remember(struct pair *pair, const char *finished, const char *why)
{
	if (!pair->kept.finished)
		pair->kept.finished = g_strdup(finished);
	if (!pair->kept.why)
		pair->kept.why = g_strdup(why);
}

void
pairs_end(struct pairs *p, const char *uuid, const char *guard_finished, const char *guard_why)
{
	g_autoptr(pair_info) info = pairs_find(p, uuid);
	g_autofree char *finished = g_strdup(guard_finished), *why = g_strdup(guard_why);
	struct json_object *last;
	struct pair *pair;
	enum pair_end end;

	if (!info || !change_phase(p, uuid, 1u << PAIR_FORMING | 1u << PAIR_ACTIVE | 1u << PAIR_ORPHAN, PAIR_ENDING))
		return;
	guard_await_end(p->host, uuid, GUARD_LEAVE_MS);
	pair = recall(p, uuid, &finished, &why);
	end = judge(p, info, finished);
	if (end == PAIR_END_WAIT || !carry_out(p, info->record, end, finished != NULL, &pair->kept.copy) || !note_stale(p, info->record, end)) {
		if (end == PAIR_END_KEEP && info->record->role == FAILOVER_STANDBY)
			remember(pair, finished, why);
		become_orphan(p, info->record, end == PAIR_END_WAIT && info->phase != PAIR_ORPHAN, end != PAIR_END_WAIT);
		return;
	}
	if (!why && end == PAIR_END_KEEP)
		why = written_reason(p->host, info->record);
	last = last_status(info, end, finished, why);
	if (wants_protection(last))
		pool_heal(p->host, uuid, info->record->domain, json_get_str(last, "peer"));
	forget(p, info->record, last);
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

	pair->retry = 0;
	if (pair->phase == PAIR_ORPHAN)
		start_end(pair->pairs, pair->record->uuid, NULL, NULL);
	return G_SOURCE_REMOVE;
}

/* -- watching a guard */

#define WATCH_AGAIN_MAX 10
#define WATCH_AGAIN_MS 500

static void
news_told(struct json_object *parameters, const GError *error, gpointer user_data)
{
	/* A guard that is gone, or hangs, is somebody else's business. */
}

/* Whoever resumed the domain before its guard had found that it was suspended is found by this: it is more starts than the guard's checkpoints make. */
static void
tell_starts(struct pair *pair)
{
	g_autofree char *socket = host_pair_file(pair->pairs->host, pair->record->uuid, "guard.sock");
	g_autoptr(json_object_ptr) parameters = json_object_new_object();
	struct json_object *times = json_object_new_array();

	for (unsigned i = 0; i < STARTS_KEPT; i++)
		if (pair->starts[i])
			json_object_array_add(times, json_object_new_int64((int64_t)pair->starts[i]));
	json_object_object_add(parameters, "times_us", times);
	varlink_call_async(socket, GUARD_INTERFACE ".GuestStarted", parameters, false, NEWS_TIMEOUT_MS, NULL, news_told, NULL);
}

static void
tell_off(struct pair *pair, bool off)
{
	g_autofree char *socket = host_pair_file(pair->pairs->host, pair->record->uuid, "guard.sock");
	g_autoptr(json_object_ptr) parameters = json_object_new_object();

	pair->off = off;
	json_object_object_add(parameters, "off", json_object_new_boolean(off));
	varlink_call_async(socket, GUARD_INTERFACE ".GuestOff", parameters, false, NEWS_TIMEOUT_MS, NULL, news_told, NULL);
}

static void
on_guard_event(struct json_object *parameters, gpointer user_data)
{
	struct pair *pair = user_data;
	struct json_object *event = json_get(parameters, "event");

	pair->watched_again = 0;
	if (!event)
		return;
	if (g_strcmp0(json_get_str(event, "type"), "finished") == 0) {
		g_free(pair->finished);
		g_free(pair->why);
		pair->finished = g_strdup(json_get_str(event, "state"));
		pair->why = g_strdup(json_get_str(event, "reason"));
		g_mutex_lock(&pair->pairs->lock);
		pair->gap_ms = json_get_u64(event, "gap_ms");
		pair->last_generation = json_get_u64(event, "generation");
		g_mutex_unlock(&pair->pairs->lock);
	}
	if (g_strcmp0(json_get_str(event, "type"), "suspended") == 0 || g_strcmp0(json_get_str(event, "type"), "resumed") == 0)
		pair->suspended = g_str_equal(json_get_str(event, "type"), "suspended");
	if (pair->suspended)
		tell_starts(pair);
	host_event_take(pair->pairs->host, pair->record->domain, json_copy(event));
}

static gboolean watch_again(gpointer pair);

/* A connection may end without its guard (no descriptors left, too much for it to keep for us); and a guard that is taken for gone is killed. */
static void
on_guard_gone(struct json_object *parameters, const GError *error, gpointer user_data)
{
	struct pair *pair = user_data;
	g_autofree char *finished = NULL, *why = NULL;

	pair->watch = NULL;
	if (!pair->finished && pair->watched_again < WATCH_AGAIN_MAX && guard_is_running(pair->pairs->host, pair->record->uuid)) {
		pair->watched_again++;
		log_warn("pairs", "the guard of %s runs, but told no more (%s): it is asked again", pair->record->domain, error ? error->message : "it closed its connection");
		g_timeout_add(WATCH_AGAIN_MS, watch_again, pair);
		return;
	}
	finished = g_steal_pointer(&pair->finished);
	why = g_steal_pointer(&pair->why);
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
	if (!pair->watched_again) {
		g_clear_pointer(&pair->finished, g_free);
		g_clear_pointer(&pair->why, g_free);
		pair->gap_ms = pair->last_generation = 0;
		pair->suspended = false;
	}
	pair->watch = varlink_call_async(socket, GUARD_INTERFACE ".Events", NULL, true, 0, on_guard_event, on_guard_gone, pair);
}

static gboolean
watch_again(gpointer pair)
{
	begin_watch(pair);
	return G_SOURCE_REMOVE;
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

/* Pairs are never freed: what is found stays. */
static struct pair *
find_primary(struct pairs *p, const char *uuid, unsigned phases)
{
	struct pair *pair;

	g_mutex_lock(&p->lock);
	pair = g_hash_table_lookup(p->table, uuid);
	if (pair && (!(phases & 1u << pair->phase) || pair->record->role != FAILOVER_PRIMARY))
		pair = NULL;
	g_mutex_unlock(&p->lock);
	return pair;
}

bool
pairs_is_primary(struct pairs *p, const char *uuid)
{
	return find_primary(p, uuid, 1u << PAIR_FORMING | 1u << PAIR_ACTIVE) != NULL;
}

void
pairs_domain_news(struct pairs *p, const char *uuid, enum domain_news news, const char *detail)
{
	static const struct { const char *method, *event, *text; } known[] = {
		[DOMAIN_ENDED] = { "GuestEnded", "guest-ended", "the domain was shut down or destroyed on purpose" },
		[DOMAIN_STOPPED] = { "GuestStopped", NULL, NULL },
		[DOMAIN_STARTED] = { "GuestStarted", NULL, NULL },
		[DOMAIN_RESUMED] = { "GuestResumed", "guest-resumed", "the domain was resumed" },
		[DOMAIN_PANICKED] = { "GuestPanicked", "guest-panicked", "the guest panicked" },
		[DOMAIN_DISK_ERROR] = { "DiskFailed", "disk-error", "a disk reported an error" },
	};
	g_autofree char *socket = host_pair_file(p->host, uuid, "guard.sock"), *method = NULL;
	bool early = news == DOMAIN_OFF || news == DOMAIN_ON;	/* the checkpoints with which a pair forms are to keep clear of it, too */
	struct pair *pair = find_primary(p, uuid, 1u << PAIR_ACTIVE | (unsigned)early << PAIR_FORMING);
	g_autoptr(json_object_ptr) parameters = NULL;

	if (!pair)
		return;
	if (news == DOMAIN_STARTED) {
		pair->starts[pair->next_start++ % STARTS_KEPT] = g_ascii_strtoull(detail, NULL, 10);
		if (pair->suspended)
			tell_starts(pair);
		return;
	}
	if (early) {
		if (news == DOMAIN_OFF || pair->off)
			tell_off(pair, news == DOMAIN_OFF);
		return;
	}
	if ((news == DOMAIN_STOPPED && pair->suspended) || (news == DOMAIN_RESUMED && !pair->suspended))
		return;
	if (known[news].event)
		host_event(p->host, pair->record->domain, known[news].event, "%s%s%s", known[news].text, detail ? ": " : "", detail ? detail : "");
	if ((news == DOMAIN_PANICKED && p->host->config->panic_follow) || (news == DOMAIN_DISK_ERROR && p->host->config->disk_error_follow))
		return;
	method = g_strconcat(GUARD_INTERFACE ".", known[news].method, NULL);
	if (news == DOMAIN_STOPPED)
		parameters = json_put_u64(json_object_new_object(), "time_us", g_ascii_strtoull(detail, NULL, 10));
	varlink_call_async(socket, method, parameters, false, NEWS_TIMEOUT_MS, NULL, news_told, NULL);
}

/* -- a new daemon */

/* A record that cannot be read: what its guard was started with tells whose pair it is, if this host has not been down since. Images that were made for the pair are
 * not known then, and stay. */
static struct pair_record *
record_of_guard(const struct host *h, const char *uuid, GError **error)
{
	g_autofree char *path = host_pair_file(h, uuid, "guard.json"), *text = NULL;
	g_autoptr(guard_config) c = NULL;
	struct pair_record *record;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, error))
		return NULL;
	c = guard_config_decode(text, length, error);
	if (!c)
		return NULL;
	record = pair_record_new(c->pair, c->domain, c->peer, c->role, c->generation);
	for (guint i = 0; i < c->n_disks; i++) {
		if (c->disks[i].active)
			g_ptr_array_add(record->overlays, g_strdup(c->disks[i].active));
		if (c->disks[i].hidden)
			g_ptr_array_add(record->overlays, g_strdup(c->disks[i].hidden));
	}
	return record;
}

static struct pair_record *
repair_record(const struct host *h, const char *path, const GError *fault)
{
	g_autofree char *uuid = g_path_get_basename(path);
	g_autoptr(GError) error = NULL;
	struct pair_record *record;

	*strstr(uuid, RECORD_SUFFIX) = '\0';
	record = g_uuid_string_is_valid(uuid) ? record_of_guard(h, uuid, &error) : NULL;
	if (record && write_record(h, record, &error))
		log_error("pairs", "%s: %s; it was written anew from what the pair's guard was started with", path, fault->message);
	else
		log_error("pairs", "%s: %s; what it stands for is not cleaned up: look for it, then remove the file", path, fault->message);
	return record;
}

static struct json_object *
read_final(const char *path)
{
	g_autofree char *text = NULL;
	gsize length;

	return g_file_get_contents(path, &text, &length, NULL) ? json_parse(text, length, NULL) : NULL;
}

static struct json_object *
read_last(const struct host *h, const char *uuid)
{
	g_autofree char *final = final_file(h, uuid), *unprotected = unprotected_file(h, uuid);
	struct json_object *last = read_final(unprotected);

	return last ? last : read_final(final);
}

static void
load_record(struct pairs *p, const char *path)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(pair_record) record = NULL;
	g_autoptr(json_object_ptr) last = NULL;
	struct pair *pair;
	gsize length;

	if (g_file_get_contents(path, &text, &length, &error))
		record = pair_record_decode(text, length, &error);
	if (!record)
		record = repair_record(p->host, path, error);
	if (!record)
		return;
	last = read_last(p->host, record->uuid);
	g_mutex_lock(&p->lock);
	pair = place_for(p, record);
	pair->lost = lost_before(last);
	pair->phase = PAIR_ACTIVE;	/* a forming one, too: only its guard or the register can tell now what it became */
	g_mutex_unlock(&p->lock);
	main_invoke(begin_watch, pair);
}

static void
load_final(struct pairs *p, const char *path)
{
	g_autoptr(json_object_ptr) last = read_final(path);
	g_autoptr(pair_record) record = NULL;
	struct pair *pair;
	const char *uuid = json_get_str(last, "uuid");

	if (!json_get_str(last, "domain") || !json_get_str(last, "peer") || !uuid || !g_uuid_string_is_valid(uuid))
		return;
	record = pair_record_new(uuid, json_get_str(last, "domain"), json_get_str(last, "peer"),
				 g_strcmp0(json_get_str(last, "role"), "standby") == 0 ? FAILOVER_STANDBY : FAILOVER_PRIMARY, json_get_u64(last, "generation"));
	g_mutex_lock(&p->lock);
	if (!g_hash_table_contains(p->table, uuid)) {
		pair = place_for(p, record);
		pair->phase = PAIR_ENDED;
		if (wants_protection(last))
			pool_heal(p->host, uuid, record->domain, record->peer);
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
	g_autofree char *unprotected = g_strdup_printf("%s/unprotected", p->host->config->state_dir);

	load_all(p, records, RECORD_SUFFIX, load_record);
	load_all(p, unprotected, ".json", load_final);
	load_all(p, ended, ".json", load_final);
	remove_superseded(p);
}
