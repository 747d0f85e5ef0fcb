/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pair-verbs-io.h"

#include "daemon/base/error.h"
#include "daemon/guard-process-io.h"
#include "daemon/json-util.h"
#include "daemon/pool-io.h"
#include "policy/arbiter-io.h"

#include <string.h>

#define STATUS_TIMEOUT_MS 1000
#define VERB_TIMEOUT_MS 60000
#define END_TIMEOUT_MS 10000
#define WORD_TIMEOUT_S 20
#define WORD_POLL_US 50000

const struct pair_verb_info pair_verbs[] = {
	[VERB_DISABLE] = { "Disable", FAILOVER_PRIMARY },
	[VERB_FAILOVER] = { "Failover", FAILOVER_STANDBY },
	[VERB_SWITCHOVER] = { "Switchover", FAILOVER_PRIMARY },
};

struct pair_info *
pair_verb_find(struct host *h, const char *domain, GError **error)
{
	g_autoptr(pair_info) info = domain ? pairs_find(h->pairs, domain) : NULL;

	if (!domain)
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "no domain was named");
	else if (!info || info->phase == PAIR_ENDED)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s is not protected on %s; see ftctl status", domain, h->name);
	else if (info->phase == PAIR_ORPHAN)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s %s", domain, pair_info_orphan_text(info, h->config->arbiter));
	else if (info->phase != PAIR_ACTIVE)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s %s; try again in a moment", domain,
			    info->phase == PAIR_FORMING ? "is just being protected" : "is just ending its protection");
	else
		return g_steal_pointer(&info);
	return NULL;
}

/* Takes parameters. */
struct json_object *
pair_verb_call(struct host *h, const struct pair_record *r, const char *method, struct json_object *parameters, GError **error)
{
	return pool_call(h, r->peer, method, json_put_str(parameters, "uuid", r->uuid), VERB_TIMEOUT_MS, error);
}

struct json_object *
pair_verb_at_peer(struct host *h, const struct pair_record *r, const char *method, const char *why, GError **error)
{
	return pair_verb_call(h, r, method, json_put_str(json_object_new_object(), "why", why), error);
}

/* -- the operator's word, for a manual arbiter */

/* This host has the domain from the next generation on. */
static bool
say_we_go_on(struct host *h, const struct pair_record *r, GError **error)
{
	struct arbiter_record word = { .generation = r->generation + 1, .nonce = "operator", .written_at = g_get_real_time() / G_USEC_PER_SEC };
	bool armed;
	g_autoptr(arbiter) a = pairs_arbiter(h, r->uuid, &armed, error);

	if (!a)
		return false;
	g_strlcpy(word.pair, r->uuid, sizeof word.pair);
	g_strlcpy(word.active, h->name, sizeof word.active);
	g_strlcpy(word.reason, failover_reason_name(FAILOVER_REASON_OPERATOR_FAILOVER), sizeof word.reason);
	if (!arbiter_decide(a, &word, error))
		return false;
	host_event(h, r->domain, "operator", "an operator said that %s goes on alone on %s, generation %" G_GUINT64_FORMAT, r->domain, h->name, word.generation);
	return true;
}

/* The guard repeats its claim, and finds the word. */
static struct json_object *
await_alone(struct host *h, const char *uuid, GError **error)
{
	for (gint64 end = g_get_monotonic_time() + WORD_TIMEOUT_S * G_USEC_PER_SEC; g_get_monotonic_time() < end; g_usleep(WORD_POLL_US)) {
		g_autoptr(pair_info) info = pairs_find(h->pairs, uuid);

		if (info && info->phase != PAIR_ENDED)
			continue;
		if (info && g_strcmp0(json_get_str(info->last, "state"), "fenced") == 0)
			break;
		return json_object_new_object();
	}
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "it was said, but %s does not go on alone; see ftctl status and ftctl events", h->name);
	return NULL;
}

/* A planned end of a pair is an operator's word too, once the guard has stopped and asks. */
struct json_object *
pair_verb_here(struct host *h, const struct pair_record *r, const char *method, GError **error)
{
	g_autoptr(GError) silent = NULL;
	g_autoptr(arbiter) a = NULL;
	struct json_object *reply;
	bool armed;

	reply = guard_call(h, r->uuid, method, false, NULL, NULL, VERB_TIMEOUT_MS, &silent);
	if (reply) {		/* the guard has done it; what was made for the pair goes with its process */
		pairs_await_end(h->pairs, r->uuid, END_TIMEOUT_MS);
		return reply;
	}
	if (g_error_matches(silent, FTD_ERROR, FTD_ERROR_ARBITER_SILENT))
		a = pairs_arbiter(h, r->uuid, &armed, NULL);
	if (a && arbiter_is_manual(a))
		return say_we_go_on(h, r, error) ? await_alone(h, r->uuid, error) : NULL;
	g_propagate_error(error, g_steal_pointer(&silent));
	return NULL;
}

/* Does this side wait for somebody to say who goes on? Before that a word would lie about until the next failure, and split the pair then. */
static bool
waits_for_word(struct host *h, const struct pair_info *info, GError **error)
{
	g_autoptr(json_object_ptr) reply = NULL;
	const char *state;

	if (info->phase == PAIR_ORPHAN)
		return true;
	reply = guard_call(h, info->record->uuid, "Status", false, NULL, NULL, STATUS_TIMEOUT_MS, error);
	if (!reply)
		return false;
	state = json_get_str(json_get(reply, "status"), "state");
	if (g_strcmp0(state, "deciding") == 0 || g_strcmp0(state, "asking") == 0 || g_strcmp0(state, "closing") == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "%s is %s here and waits for nobody's word; ftctl failover %s does it with both sides in agreement", info->record->domain,
		    state ? state : "in an unknown state", info->record->domain);
	return false;
}

struct json_object *
pair_verb_force(struct host *h, const char *domain, GError **error)
{
	g_autoptr(pair_info) info = pairs_find(h->pairs, domain);

	if (!info || (info->phase != PAIR_ACTIVE && info->phase != PAIR_ORPHAN)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s has no pair on %s that waits for an operator; see ftctl status", domain, h->name);
		return NULL;
	}
	if (!waits_for_word(h, info, error) || !say_we_go_on(h, info->record, error))
		return NULL;
	return await_alone(h, info->record->uuid, error);
}

struct json_object *
pair_verb_run(struct host *h, const char *domain, enum pair_verb verb, GError **error)
{
	g_autoptr(pair_info) info = pair_verb_find(h, domain, error);

	if (!info)
		return NULL;
	if (info->record->role == pair_verbs[verb].role)
		return pair_verb_here(h, info->record, pair_verbs[verb].method, error);
	return pair_verb_at_peer(h, info->record, pair_verbs[verb].method, NULL, error);
}
