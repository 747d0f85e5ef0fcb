/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * An operation is led by the daemon of the primary's host; another one passes it on ("Operate"). Whoever works for somebody else tells him how it goes, so that the
 * progress reaches who asked over as many daemons as it takes (there and back for a switchover that was asked for on the standby's host).
 *
 * An operation is made of steps that are whole by themselves: the guard ends the pair in one way or another, and the side that goes on protects the domain again
 * ("Protect", when that is the other one). Between the two the domain runs unprotected, which is no failure of the first step: whoever asked is told that it runs,
 * where, and why it is not protected.
 *
 *   switchover, test-failover    the standby goes on, its host asks this one for a standby
 *   test-restart-secondary       the standby gives up, this host asks the same host for another one
 *   suspend, resume              protection ends, and by whom and how it is to begin again is remembered
 *   migrate-secondary            the new host is looked at first; protection ends, and begins with it, or else with the old one
 */
#include "daemon/operations-io.h"

#include "daemon/base/error.h"
#include "daemon/enable-io.h"
#include "daemon/guard-process-io.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "daemon/pair-verbs-io.h"
#include "daemon/pool-io.h"
#include "daemon/suspended-io.h"
#include "policy/arbiter-io.h"

#include <string.h>

#define CALL_TIMEOUT_MS 15000
#define END_TIMEOUT_MS 20000
#define FORMING_POLL_US 200000
#define LONG_TIMEOUT_MS (6 * 3600 * 1000)	/* of silence: an older version tells nothing while a disk is copied; the connection itself tells a peer that is gone */

static const char *const names[] = {
	[OPERATION_SWITCHOVER] = "switchover",
	[OPERATION_TEST_FAILOVER] = "test-failover",
	[OPERATION_TEST_RESTART] = "test-restart-secondary",
	[OPERATION_MIGRATE_STANDBY] = "migrate-secondary",
	[OPERATION_SUSPEND] = "suspend",
	[OPERATION_RESUME] = "resume",
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == OPERATION_LAST);

/* How a domain is protected is kept with the domain (pair-settings.h). */
static const struct pair_settings as_before;

struct run {
	struct host *host;
	const struct pair_record *record;
	struct job *job;
	const char *peer;
	bool leaving;			/* this host is being drained: it is no standby of anything */
};

static void
report(const struct run *run, const char *phase)
{
	if (run->job)
		job_report(run->job, json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", phase), "done", 0), "total", 0));
}

static struct json_object *
runs_on(const char *host)
{
	return json_put_str(json_object_new_object(), "host", host);
}

/* What was asked for is done, but for the protection. */
static void
say_unprotected(GError **error, const struct pair_record *r, const char *host, const GError *why)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_UNPROTECTED, "%s runs on %s and is not protected: %s", r->domain, host, why->message);
}

/* Before anything is given up: a device that came while the domain was protected, say, is in nobody's way until it is to be protected anew. */
static bool
can_be_protected_again(const struct run *run, GError **error)
{
	report(run, "check");
	return enable_check_again(run->host, run->record->uuid, error);
}

/* Somebody else is at it, or has done it. */
static bool
await_protection(struct host *h, const char *uuid)
{
	for (;; g_usleep(FORMING_POLL_US)) {
		g_autoptr(pair_info) info = pairs_find(h->pairs, uuid);

		if (!info || info->record->role != FAILOVER_PRIMARY || (info->phase != PAIR_FORMING && info->phase != PAIR_ACTIVE))
			return false;
		if (info->phase == PAIR_ACTIVE)
			return true;
	}
}

/* Where the end of a pair took long, what heals by itself may have begun before us: protected is protected, by whatever host. */
static bool
protect_again(struct host *h, const char *uuid, const char *peer, struct job *job, GError **error)
{
	g_autoptr(GError) local = NULL;
	g_autoptr(json_object_ptr) done = enable_domain(h, uuid, peer, &as_before, job, &local);

	if (done || (g_error_matches(local, FTD_ERROR, FTD_ERROR_ALREADY_PROTECTED) && await_protection(h, uuid)))
		return true;
	g_propagate_error(error, g_steal_pointer(&local));
	return false;
}

/* -- the other side has it now */

static struct json_object *
protected_by_us(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(GError) why = NULL;
	struct json_object *parameters = json_put_str(json_object_new_object(), "uuid", r->uuid), *answer;

	report(run, "protect");
	answer = pool_follow(run->host, r->peer, "Protect", json_put_bool(parameters, "elsewhere", run->leaving), LONG_TIMEOUT_MS, run->job, &why);
	if (!answer)
		say_unprotected(error, r, r->peer, why);
	return answer;
}

/*
 * A claim that is out cannot be taken back: one that is answered much later would move the domain, or end its protection, when nobody thinks of it any more; and after
 * a standby that gave up the guest would be silent until then. `word`: a manual arbiter will do, since whoever ends the pair gives it the operator's word.
 */
static bool
arbiter_answers(const struct run *run, bool word, GError **error)
{
	const struct pair_record *r = run->record;
	struct arbiter_record newest;
	bool armed;
	g_autoptr(arbiter) a = pairs_arbiter(run->host, r->uuid, &armed, error);
	int known;

	if (!a)
		return false;
	if (arbiter_is_manual(a) && word)
		return true;
	if (!arbiter_is_manual(a)) {
		known = arbiter_read(a, r->uuid, &newest, error);
		if (known == 0)
			g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "the arbiter knows nothing of the pair of %s; is it the same one, and mounted?", r->domain);
		return known > 0;
	}
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "the arbiter is manual, so the guest would be cut off until somebody decides; ftctl failover %s moves it", r->domain);
	return false;
}

static struct json_object *
switch_over(const struct run *run, GError **error)
{
	g_autoptr(json_object_ptr) done = NULL;

	if (!can_be_protected_again(run, error) || !arbiter_answers(run, false, error))
		return NULL;
	report(run, "switchover");
	done = pair_verb_here(run->host, run->record, pair_verbs[VERB_SWITCHOVER].method, error);
	return done ? protected_by_us(run, error) : NULL;
}

static struct json_object *
test_failover(const struct run *run, GError **error)
{
	g_autoptr(json_object_ptr) done = NULL;

	if (!can_be_protected_again(run, error) || !arbiter_answers(run, true, error))
		return NULL;
	report(run, "failover");
	done = pair_verb_at_peer(run->host, run->record, pair_verbs[VERB_FAILOVER].method, NULL, error);
	if (!done)
		return NULL;
	pairs_await_end(run->host->pairs, run->record->uuid, END_TIMEOUT_MS);
	return protected_by_us(run, error);
}

/* -- it stays here */

static struct json_object *
protect_here(const struct run *run, const char *peer, GError **error)
{
	return protect_again(run->host, run->record->uuid, peer, run->job, error) ? runs_on(run->host->name) : NULL;
}

static struct json_object *
test_restart(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(json_object_ptr) done = NULL;
	g_autoptr(GError) local = NULL;
	struct json_object *answer;

	if (!can_be_protected_again(run, error) || !arbiter_answers(run, false, error))
		return NULL;
	report(run, "restart");
	done = pool_call(run->host, r->peer, "EndStandby", json_put_str(json_object_new_object(), "uuid", r->uuid), CALL_TIMEOUT_MS, error);
	if (!done)
		return NULL;
	pairs_await_end(run->host->pairs, r->uuid, END_TIMEOUT_MS);
	answer = protect_here(run, r->peer, &local);
	if (!answer)
		say_unprotected(error, r, run->host->name, local);
	return answer;
}

static struct json_object *
migrate_standby(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(json_object_ptr) ended = NULL, back = NULL;
	g_autoptr(pair_info) now = NULL;
	g_autoptr(GError) local = NULL;
	g_autofree char *placed = NULL;
	const char *peer = run->peer;
	struct json_object *answer;

	report(run, "check");
	if (!peer)
		peer = placed = pool_place(run->host, r->uuid, NULL, r->peer, error);
	else if (strcmp(peer, r->peer) == 0)
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "the standby of %s is on %s already", r->domain, r->peer);
	if (!peer || strcmp(peer, r->peer) == 0 || !enable_check_other(run->host, r->uuid, peer, r->peer, error) || !arbiter_answers(run, true, error))
		return NULL;
	ended = pair_verb_here(run->host, r, pair_verbs[VERB_DISABLE].method, error);
	if (!ended)
		return NULL;
	/* Nobody has disabled it: whoever finds it alone from now on, after a restart too, protects it again. */
	pairs_retell_end(run->host->pairs, r->uuid, "solo", failover_reason_name(FAILOVER_REASON_SETUP_FAILED));
	answer = protect_here(run, peer, &local);
	if (answer)
		return answer;
	back = protect_here(run, r->peer, NULL);
	if (back) {
		now = pairs_find(run->host->pairs, r->uuid);
		g_set_error(error, FTD_ERROR, local->domain == FTD_ERROR ? local->code : FTD_ERROR_FAILED, "%s is protected by %s: %s", r->domain, now ? now->record->peer : r->peer,
			    local->message);
	} else {
		say_unprotected(error, r, run->host->name, local);
		pairs_retell_end(run->host->pairs, r->uuid, "solo", failover_reason_name(FAILOVER_REASON_SETUP_FAILED));
		pool_heal(run->host, r->uuid, r->domain, r->peer);
	}
	return NULL;
}

static struct json_object *
pass_on(struct host *h, enum operation what, const struct pair_record *r, const char *peer, struct job *job, GError **error)
{
	struct json_object *parameters = json_put_str(json_put_str(json_object_new_object(), "operation", names[what]), "uuid", r->uuid);

	json_put_str(parameters, "peer", peer);
	return pool_follow(h, r->peer, "Operate", parameters, LONG_TIMEOUT_MS, job, error);
}

/* -- suspend and resume */

/* The guard has refused it. Otherwise it may still end the pair, when the arbiter answers, and then that is what was asked for. */
static bool
is_whole(const struct run *run)
{
	g_autoptr(json_object_ptr) reply = guard_call(run->host, run->record->uuid, "Status", false, NULL, NULL, CALL_TIMEOUT_MS, NULL);

	return g_strcmp0(json_get_str(json_get(reply, "status"), "state"), "protected") == 0;
}

static struct json_object *
suspend(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(json_object_ptr) done = NULL;

	report(run, "suspend");
	if (!arbiter_answers(run, true, error) || !suspended_write(run->host, r->uuid, r->peer, error))
		return NULL;
	done = pair_verb_here(run->host, r, pair_verbs[VERB_DISABLE].method, error);
	if (done)
		return runs_on(run->host->name);
	if (is_whole(run))
		suspended_clear(run->host, r->uuid);
	return NULL;
}

/* Where the domain runs. That its pair is no more is what brings us here. */
static struct json_object *
resume_here(struct host *h, const char *uuid, const char *domain, struct job *job, GError **error)
{
	g_autofree char *peer = suspended_read(h, uuid);
	g_autoptr(json_object_ptr) done = NULL;

	if (!peer) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "the protection of %s is not suspended on %s; see ftctl enable", domain, h->name);
		return NULL;
	}
	host_event(h, domain, "operation", "resume of %s begins", domain);
	done = enable_domain(h, uuid, peer, &as_before, job, error);
	return done ? runs_on(h->name) : NULL;
}

/* The host was down since: it knows nothing of the pair any more, but for what was written down. It may also be the other one, on which a definition was left. */
static struct json_object *
resume_unknown(struct host *h, const char *domain, struct job *job, GError **error)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, error);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, domain, NULL) : NULL;
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	g_autofree char *peer = dom && virDomainGetUUIDString(dom, uuid) == 0 ? suspended_read(h, uuid) : NULL;

	if (peer || (dom && libvirt_is_running(dom)))
		return resume_here(h, uuid, virDomainGetName(dom), job, error);
	if (conn)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s was not protected on %s since that host was started; say it on the host where it runs", domain, h->name);
	return NULL;
}

static struct json_object *
resume(struct host *h, const char *domain, bool pass, struct job *job, GError **error)
{
	g_autoptr(pair_info) info = pairs_find(h->pairs, domain);

	if (info && info->phase != PAIR_ENDED)
		g_set_error(error, FTD_ERROR, FTD_ERROR_ALREADY_PROTECTED, "the protection of %s is not suspended; see ftctl status", domain);
	else if (!info)
		return resume_unknown(h, domain, job, error);
	else if (pass && info->record->role == FAILOVER_STANDBY && g_strcmp0(json_get_str(info->last, "state"), "solo") != 0)
		return pass_on(h, OPERATION_RESUME, info->record, NULL, job, error);
	else
		return resume_here(h, info->record->uuid, info->record->domain, job, error);
	return NULL;
}

/* -- who leads */

struct json_object *
operation_run(struct host *h, enum operation what, const char *domain, const char *peer, struct job *job, GError **error)
{
	static struct json_object *(*const runs[])(const struct run *run, GError **error) = {
		[OPERATION_SWITCHOVER] = switch_over,
		[OPERATION_TEST_FAILOVER] = test_failover,
		[OPERATION_TEST_RESTART] = test_restart,
		[OPERATION_MIGRATE_STANDBY] = migrate_standby,
		[OPERATION_SUSPEND] = suspend,
	};
	g_autoptr(pair_info) info = what == OPERATION_RESUME ? NULL : pair_verb_find(h, domain, error);

	if (what == OPERATION_RESUME)
		return resume(h, domain, true, job, error);
	if (!info)
		return NULL;
	if (info->record->role != FAILOVER_PRIMARY)
		return pass_on(h, what, info->record, peer, job, error);
	host_event(h, info->record->domain, "operation", "%s of %s begins", names[what], info->record->domain);
	return runs[what](&(struct run){ .host = h, .record = info->record, .job = job, .peer = peer, .leaving = pool_is_draining(h) }, error);
}

/* -- draining */

/* What is here goes: primaries to their standbys, which are protected elsewhere then, and standbys to other hosts. */
static bool
move_away(struct host *h, const struct pair_info *info, struct job *job, GError **error)
{
	const struct pair_record *r = info->record;
	bool primary = r->role == FAILOVER_PRIMARY;
	g_autofree char *place = NULL;
	g_autoptr(json_object_ptr) moved = NULL;

	/* Where it goes there must be somebody to protect it. (A standby's new place is looked for on its primary's host, before anything is changed.) */
	if (primary)
		place = pool_place(h, r->uuid, NULL, r->peer, error);
	if (!primary || place)
		moved = operation_run(h, primary ? OPERATION_SWITCHOVER : OPERATION_MIGRATE_STANDBY, r->uuid, NULL, job, error);
	return moved != NULL;
}

/* One that is here now, in the role that it has now: moving another one may have taken hours. */
static struct pair_info *
next_to_move(struct host *h, GHashTable *tried)
{
	g_autoptr(GPtrArray) list = pairs_list(h->pairs);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);

		if (info->phase != PAIR_ENDED && g_hash_table_add(tried, g_strdup(info->record->uuid)))
			return pairs_find(h->pairs, info->record->uuid);
	}
	return NULL;
}

struct json_object *
operation_drain(struct host *h, bool undo, struct job *job, GError **error)
{
	g_autoptr(GHashTable) tried = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	struct pair_info *next;
	guint64 moved = 0;

	if (!h->config->hosts) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "there is no pool that pairs could move to; set hosts= in ftd.conf");
		return NULL;
	}
	if (!pool_set_draining(h, !undo, error))
		return NULL;
	host_event(h, NULL, "hosts", undo ? "%s takes copies of domains again" : "%s is drained: every pair moves away, and none comes", h->name);
	while (!undo && (next = next_to_move(h, tried))) {
		g_autoptr(pair_info) info = next;

		if (job)
			job_report(job, json_put_str(json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", "drain"), "done", 0), "total", 0), "domain",
						     info->record->domain));
		if (!move_away(h, info, job, error)) {
			g_prefix_error(error, "%s takes no copies any more, but %s is still here, or not protected; mend it and drain again: ", h->name, info->record->domain);
			return NULL;
		}
		moved++;
	}
	if (undo)
		pool_kick(h);
	return json_put_u64(json_object_new_object(), "moved", moved);
}

/* -- for the peer's daemon */

/* Who asked there is told there; here it is known from where. */
static void
note_operation(struct host *h, const struct peer_caller *caller, const struct pair_record *r, const char *name)
{
	host_event(h, r->domain, "operator", "%s of %s was asked for on %s", name, r->domain, caller->name);
}

/* The last pair of that domain here, if the caller is its other side. */
static struct pair_info *
pair_with(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	const char *uuid = json_get_str(parameters, "uuid");
	g_autoptr(pair_info) info = uuid ? pairs_find(h->pairs, uuid) : NULL;

	if (info && strcmp(info->record->peer, caller->name) == 0)
		return g_steal_pointer(&info);
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "there is, and was, no such pair of %s with %s", h->name, caller->name);
	return NULL;
}

/* Also after this host was down, which has only what was written down then. */
static struct json_object *
resume_for_peer(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	const char *uuid = json_get_str(parameters, "uuid");
	bool known = uuid && g_uuid_string_is_valid(uuid);
	g_autoptr(pair_info) info = known ? pairs_find(h->pairs, uuid) : NULL;
	g_autofree char *peer = known ? suspended_read(h, uuid) : NULL;

	if (!info && g_strcmp0(peer, caller->name) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "no protection by %s is suspended on %s", caller->name, h->name);
		return NULL;
	}
	if (info && strcmp(info->record->peer, caller->name) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "there is, and was, no such pair of %s with %s", h->name, caller->name);
		return NULL;
	}
	host_event(h, info ? info->record->domain : NULL, "operator", "resume of %s was asked for on %s", info ? info->record->domain : uuid, caller->name);
	return resume(h, uuid, false, caller->job, error);
}

struct json_object *
operation_for_peer(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	const char *name = json_get_str(parameters, "operation");
	g_autoptr(pair_info) info = NULL;

	if (g_strcmp0(name, names[OPERATION_RESUME]) == 0)
		return resume_for_peer(h, caller, parameters, error);
	info = pair_with(h, caller, parameters, error);
	if (!info)
		return NULL;
	if (info->record->role == FAILOVER_PRIMARY)
		for (unsigned i = 0; i < OPERATION_LAST; i++)
			if (g_strcmp0(name, names[i]) == 0) {
				note_operation(h, caller, info->record, name);
				return operation_run(h, (enum operation)i, info->record->uuid, json_get_str(parameters, "peer"), caller->job, error);
			}
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Operate: %s is not known here, or both sides of %s have the same role", name ? name : "nothing", info->record->domain);
	return NULL;
}

struct json_object *
operation_protect(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	g_autoptr(pair_info) before = pair_with(h, caller, parameters, error), info = NULL;
	g_autofree char *peer = NULL;
	struct json_object *answer;

	if (!before)
		return NULL;
	host_event(h, before->record->domain, "operation", "%s asks for the protection of %s", caller->name, before->record->domain);
	pairs_await_end(h->pairs, before->record->uuid, END_TIMEOUT_MS);
	info = pairs_find(h->pairs, before->record->uuid);
	peer = json_get_bool(parameters, "elsewhere") ? pool_place(h, before->record->uuid, NULL, caller->name, error) : g_strdup(caller->name);
	if (!peer || !protect_again(h, before->record->uuid, peer, caller->job, error))
		return NULL;
	answer = runs_on(h->name);
	if (info && json_get(info->last, "gap_ms"))
		json_put_u64(answer, "gap_ms", json_get_u64(info->last, "gap_ms"));
	return answer;
}

struct json_object *
operation_end_standby(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	g_autoptr(pair_info) info = pair_with(h, caller, parameters, error);

	if (!info)
		return NULL;
	if (info->phase == PAIR_ACTIVE && info->record->role == FAILOVER_STANDBY) {
		host_event(h, info->record->domain, "operation", "%s wants the standby of %s to end", caller->name, info->record->domain);
		return guard_call(h, info->record->uuid, "EndStandby", false, NULL, NULL, CALL_TIMEOUT_MS, error);
	}
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s has no standby on %s", info->record->domain, h->name);
	return NULL;
}
