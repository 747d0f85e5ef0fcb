/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * An operation is led by the daemon of the primary's host; another one passes it on ("Operate"). It is made of steps that are whole by themselves: the guard ends
 * the pair in one way or another, and the side that goes on protects the domain again ("Protect", when that is the other one). Between the two the domain runs
 * unprotected, which is no failure of the first step: whoever asked is told that it runs, where, and why it is not protected.
 *
 *   switchover, test-failover    the standby goes on, its host asks this one for a standby
 *   test-restart-secondary       the standby gives up, this host asks the same host for another one
 *   migrate-secondary            the new host is looked at first; protection ends, and begins with it, or else with the old one
 */
#include "daemon/operations-io.h"

#include "daemon/base/error.h"
#include "daemon/enable-io.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-process-io.h"
#include "daemon/json-util.h"
#include "daemon/pair-verbs-io.h"
#include "daemon/peer-client-io.h"
#include "daemon/varlink-io.h"

#include <string.h>

#define STATUS_TIMEOUT_MS 1000
#define CONNECT_TIMEOUT_MS 5000
#define CALL_TIMEOUT_MS 15000
#define END_TIMEOUT_MS 20000
#define LONG_TIMEOUT_MS (6 * 3600 * 1000)	/* a disk is copied meanwhile; the connection itself tells a peer that is gone */

static const char *const names[] = {
	[OPERATION_SWITCHOVER] = "switchover",
	[OPERATION_TEST_FAILOVER] = "test-failover",
	[OPERATION_TEST_RESTART] = "test-restart-secondary",
	[OPERATION_MIGRATE_STANDBY] = "migrate-secondary",
	[OPERATION_SET] = "set",
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == OPERATION_LAST);

struct run {
	struct host *host;
	const struct pair_record *record;
	struct job *job;
	const char *peer, *mode;
	char *pair_mode;		/* the pair's, which the next one gets too */
};

static void
report(const struct run *run, const char *phase)
{
	if (run->job)
		job_report(run->job, json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", phase), "done", 0), "total", 0));
}

static struct json_object *
call_peer(struct host *h, const char *peer, const char *method, struct json_object *parameters, unsigned timeout_ms, GError **error)
{
	struct peer_credentials *creds = host_credentials(h);
	g_autoptr(peer_client) client = peer_client_connect(peer, h->config->peer_port, creds, CONNECT_TIMEOUT_MS, error);

	peer_credentials_unref(creds);
	if (client)
		return peer_client_call(client, method, parameters, timeout_ms, error);
	json_object_put(parameters);
	return NULL;
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

static char *
mode_of_pair(struct host *h, const char *uuid)
{
	g_autoptr(json_object_ptr) reply = guard_call(h, uuid, "Status", false, NULL, NULL, STATUS_TIMEOUT_MS, NULL);

	return g_strdup(json_get_str(json_get(reply, "status"), "mode_setting"));
}

/* -- the other side has it now */

static struct json_object *
protected_by_us(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(GError) why = NULL;
	struct json_object *parameters = json_put_str(json_object_new_object(), "uuid", r->uuid), *answer;

	report(run, "protect");
	answer = call_peer(run->host, r->peer, "Protect", json_put_str(parameters, "mode", run->pair_mode), LONG_TIMEOUT_MS, &why);
	if (!answer)
		say_unprotected(error, r, r->peer, why);
	return answer;
}

static struct json_object *
switch_over(const struct run *run, GError **error)
{
	g_autoptr(json_object_ptr) done = NULL;

	report(run, "switchover");
	done = pair_verb_here(run->host, run->record, pair_verbs[VERB_SWITCHOVER].method, error);
	return done ? protected_by_us(run, error) : NULL;
}

static struct json_object *
test_failover(const struct run *run, GError **error)
{
	g_autoptr(json_object_ptr) done = NULL;

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
	g_autoptr(json_object_ptr) done = enable_domain(run->host, run->record->uuid, peer, run->pair_mode, run->job, error);

	return done ? runs_on(run->host->name) : NULL;
}

static struct json_object *
test_restart(const struct run *run, GError **error)
{
	const struct pair_record *r = run->record;
	g_autoptr(json_object_ptr) done = NULL;
	g_autoptr(GError) local = NULL;
	struct json_object *answer;

	report(run, "restart");
	done = call_peer(run->host, r->peer, "EndStandby", json_put_str(json_object_new_object(), "uuid", r->uuid), CALL_TIMEOUT_MS, error);
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
	g_autoptr(GError) local = NULL;
	struct json_object *answer;

	if (!run->peer || !*run->peer || strcmp(run->peer, r->peer) == 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, run->peer && *run->peer ? "%s is on %s already" : "no host was named for the standby of %s", r->domain, r->peer);
		return NULL;
	}
	report(run, "check");
	if (!enable_check_other(run->host, r->uuid, run->peer, error))
		return NULL;
	ended = pair_verb_here(run->host, r, pair_verbs[VERB_DISABLE].method, error);
	if (!ended)
		return NULL;
	answer = protect_here(run, run->peer, &local);
	if (answer)
		return answer;
	back = protect_here(run, r->peer, NULL);
	if (back)
		g_set_error(error, FTD_ERROR, local->domain == FTD_ERROR ? local->code : FTD_ERROR_FAILED, "%s is protected by %s as before: %s", r->domain, r->peer, local->message);
	else
		say_unprotected(error, r, run->host->name, local);
	return NULL;
}

static struct json_object *
set_mode(const struct run *run, GError **error)
{
	g_autoptr(json_object_ptr) parameters = json_put_str(json_object_new_object(), "mode", run->mode ? run->mode : "");
	g_autofree char *socket = host_pair_file(run->host, run->record->uuid, "guard.sock");

	return varlink_call_sync(socket, GUARD_INTERFACE ".SetMode", parameters, false, NULL, NULL, STATUS_TIMEOUT_MS, error);
}

/* -- who leads */

static struct json_object *
pass_on(struct host *h, enum operation what, const struct pair_record *r, const char *peer, const char *mode, GError **error)
{
	struct json_object *parameters = json_put_str(json_put_str(json_object_new_object(), "operation", names[what]), "uuid", r->uuid);

	json_put_str(json_put_str(parameters, "peer", peer), "mode", mode);
	return call_peer(h, r->peer, "Operate", parameters, LONG_TIMEOUT_MS, error);
}

struct json_object *
operation_run(struct host *h, enum operation what, const char *domain, const char *peer, const char *mode, struct job *job, GError **error)
{
	static struct json_object *(*const runs[])(const struct run *run, GError **error) = {
		[OPERATION_SWITCHOVER] = switch_over,
		[OPERATION_TEST_FAILOVER] = test_failover,
		[OPERATION_TEST_RESTART] = test_restart,
		[OPERATION_MIGRATE_STANDBY] = migrate_standby,
		[OPERATION_SET] = set_mode,
	};
	g_autoptr(pair_info) info = pair_verb_find(h, domain, error);
	g_autofree char *pair_mode = NULL;

	if (!info)
		return NULL;
	if (info->record->role != FAILOVER_PRIMARY)
		return pass_on(h, what, info->record, peer, mode, error);
	host_event(h, info->record->domain, "operation", "%s of %s begins", names[what], info->record->domain);
	pair_mode = mode_of_pair(h, info->record->uuid);
	return runs[what](&(struct run){ h, info->record, job, peer, mode, pair_mode }, error);
}

/* -- for the peer's daemon */

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

struct json_object *
operation_for_peer(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	g_autoptr(pair_info) info = pair_with(h, caller, parameters, error);
	const char *name = json_get_str(parameters, "operation");

	if (!info)
		return NULL;
	if (info->record->role == FAILOVER_PRIMARY)
		for (unsigned i = 0; i < OPERATION_LAST; i++)
			if (g_strcmp0(name, names[i]) == 0)
				return operation_run(h, (enum operation)i, info->record->uuid, json_get_str(parameters, "peer"), json_get_str(parameters, "mode"), NULL, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Operate: %s is not known here, or both sides of %s have the same role", name ? name : "nothing", info->record->domain);
	return NULL;
}

struct json_object *
operation_protect(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	g_autoptr(pair_info) before = pair_with(h, caller, parameters, error), info = NULL;
	g_autoptr(json_object_ptr) done = NULL;
	struct json_object *answer;

	if (!before)
		return NULL;
	pairs_await_end(h->pairs, before->record->uuid, END_TIMEOUT_MS);
	info = pairs_find(h->pairs, before->record->uuid);
	done = enable_domain(h, before->record->uuid, caller->name, json_get_str(parameters, "mode"), NULL, error);
	if (!done)
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
		return guard_call(h, info->record->uuid, "GuestEnded", false, NULL, NULL, CALL_TIMEOUT_MS, error);
	}
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s has no standby on %s", info->record->domain, h->name);
	return NULL;
}
