/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every method that may block is a job; its request is answered on the main thread. A client that goes away does not stop what it asked for: an
 * enable that nobody waits for any more is still an enable.
 */
#include "daemon/service-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/enable-io.h"
#include "daemon/ftd-interface.h"
#include "daemon/guard-process-io.h"
#include "daemon/history-io.h"
#include "daemon/host-facts-io.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/link-probe-io.h"
#include "daemon/pair-settings-io.h"
#include "daemon/operations-io.h"
#include "daemon/pair-verbs-io.h"
#include "daemon/pairs-io.h"
#include "daemon/pool-io.h"
#include "daemon/peer-client-io.h"
#include "daemon/peer-server-io.h"
#include "daemon/settings-change-io.h"
#include "daemon/stale-io.h"
#include "daemon/standby-io.h"
#include "daemon/uplink-io.h"
#include "daemon/varlink-io.h"
#include "policy/arbiter-io.h"

#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>

#define STATUS_TIMEOUT_MS 1000
#define UPLINK_LOST "uplink-lost"
#define NOTED_MAX 200		/* bytes of a call's parameters that are told */
#define SETTLE_TIMEOUT_MS 8000		/* within the caller's patience for an answer */

struct service {
	struct host *host;
	struct varlink_server *varlink;
	struct peer_server *peers;
};

/* -- settings of a pair */

static struct json_object *
set_settings(struct host *h, const char *domain, const struct pair_settings *change, GError **error)
{
	g_autoptr(pair_info) info = pair_verb_find(h, domain, error);

	if (!info)
		return NULL;
	if (info->record->role == FAILOVER_PRIMARY)
		return settings_change(h, info->record, change, error);
	return pair_verb_call(h, info->record, "Set", pair_settings_write(change, json_object_new_object()), error);
}

/* -- disable */

/* One that has lost its other side may be about to be protected again. */
static struct json_object *
disable(struct host *h, const char *domain, GError **error)
{
	g_autoptr(pair_info) info = domain ? pairs_find(h->pairs, domain) : NULL;
	enum wish_dismissal d = info && info->phase == PAIR_ENDED ? pool_dismiss(h, info->record->uuid) : WISH_NONE;

	if (d == WISH_DISMISSED) {
		pairs_retell_end(h->pairs, info->record->uuid, "solo", failover_reason_name(FAILOVER_REASON_OPERATOR_DISABLE));
		return json_object_new_object();
	}
	if (d == WISH_NONE)
		return pair_verb_run(h, domain, VERB_DISABLE, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s is just being protected again; try again in a moment", domain);
	return NULL;
}

/* -- status */

static struct json_object *
status_of(struct host *h, const struct pair_info *info)
{
	static const char *const phases[] = {
		[PAIR_FORMING] = "forming", [PAIR_ACTIVE] = "unknown", [PAIR_ENDING] = "ending", [PAIR_ORPHAN] = "orphan", [PAIR_ENDED] = "solo",
	};
	const struct pair_record *r = info->record;
	g_autoptr(GError) error = NULL;
	g_autoptr(json_object_ptr) reply = NULL;
	struct json_object *status;

	if (info->last)
		return json_object_get(info->last);
	if (info->phase == PAIR_FORMING || info->phase == PAIR_ACTIVE)
		reply = guard_call(h, r->uuid, "Status", false, NULL, NULL, STATUS_TIMEOUT_MS, &error);
	status = json_object_is_type(json_get(reply, "status"), json_type_object) ? json_object_get(json_get(reply, "status")) : json_object_new_object();
	if (!json_get(status, "state"))
		json_put_str(json_put_str(status, "state", phases[info->phase]), "reason", error && info->phase == PAIR_ACTIVE ? error->message : NULL);
	if (info->phase == PAIR_ORPHAN)
		json_put_str(json_put_str(status, "reason", "guard-gone"), "reason_text", pair_info_orphan_text(info, h->config->arbiter));
	if (!json_get(status, "domain"))
		json_put_str(status, "domain", r->domain);
	if (!json_get(status, "uuid"))
		json_put_str(status, "uuid", r->uuid);
	if (!json_get(status, "role"))
		json_put_str(status, "role", r->role == FAILOVER_PRIMARY ? "primary" : "standby");
	if (!json_get(status, "peer"))
		json_put_str(status, "peer", r->peer);
	if (!json_get(status, "generation"))
		json_put_u64(status, "generation", r->generation);
	return json_get(status, "arbiter") ? status : json_put_str(status, "arbiter", h->config->arbiter);
}

static void
say_unknown(const struct host *h, const char *domain, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s is not protected on %s, and was not since its ftd was started", domain, h->name);
}

static struct json_object *
status_all(struct host *h, const char *domain, GError **error)
{
	g_autoptr(GPtrArray) list = pairs_list(h->pairs);
	struct json_object *domains = json_object_new_array(), *answer;

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);

		if (!domain || strcmp(domain, info->record->domain) == 0 || g_ascii_strcasecmp(domain, info->record->uuid) == 0)
			json_object_array_add(domains, status_of(h, info));
	}
	if (domain && !json_length(domains)) {
		json_object_put(domains);
		say_unknown(h, domain, error);
		return NULL;
	}
	answer = json_put_str(json_put_str(json_object_new_object(), "host", h->name), "version", FTD_VERSION);
	return json_put_value(answer, "domains", domains);
}

struct json_object *
service_status(struct host *h)
{
	return status_all(h, NULL, NULL);
}

/* -- flows */

static struct json_object *
flows_of(struct host *h, const char *domain, GError **error)
{
	g_autoptr(pair_info) info = pair_verb_find(h, domain, error);

	if (!info)
		return NULL;
	if (info->record->role != FAILOVER_PRIMARY) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "%s has its standby here; what its primary sends is known on %s", info->record->domain, info->record->peer);
		return NULL;
	}
	return guard_call(h, info->record->uuid, "Flows", false, NULL, NULL, STATUS_TIMEOUT_MS, error);
}

/* -- Varlink: one request, one job */

enum verb { DO_CHECK, DO_ENABLE, DO_DISABLE, DO_FAILOVER, DO_FORCE, DO_FORGET, DO_SET, DO_STATUS, DO_FLOWS, DO_HISTORY, DO_HOSTS, DO_DRAIN, DO_UNDRAIN, DO_OPERATION /* + enum operation */ };

struct work {
	struct host *host;
	enum verb verb;
	char *domain, *peer;
	struct pair_settings change;
	struct varlink_request *request;	/* main thread only; NULL once the client is gone */
};

static void
work_free(gpointer data)
{
	struct work *w = data;

	g_free(w->domain);
	g_free(w->peer);
	pair_settings_clear(&w->change);
	g_free(w);
}

static struct json_object *
work_run(struct job *job, gpointer data, GError **error)
{
	struct work *w = data;

	switch (w->verb) {
	case DO_CHECK:
		return check_domain(w->host, w->domain, w->peer, error);
	case DO_ENABLE:
		return enable_domain(w->host, w->domain, w->peer, &w->change, job, error);
	case DO_DISABLE:
		return disable(w->host, w->domain, error);
	case DO_FAILOVER:
		return pair_verb_run(w->host, w->domain, VERB_FAILOVER, error);
	case DO_FORCE:
		return pair_verb_force(w->host, w->domain, error);
	case DO_FORGET:
		return stale_forget(w->host, w->domain, error) ? json_object_new_object() : NULL;
	case DO_SET:
		return set_settings(w->host, w->domain, &w->change, error);
	case DO_STATUS:
		return status_all(w->host, w->domain, error);
	case DO_FLOWS:
		return flows_of(w->host, w->domain, error);
	case DO_HISTORY:
		return history_of(w->host, w->domain, error);
	case DO_HOSTS:
		return pool_hosts(w->host);
	case DO_DRAIN:
	case DO_UNDRAIN:
		return operation_drain(w->host, w->verb == DO_UNDRAIN, job, error);
	case DO_OPERATION:
	default:
		return operation_run(w->host, (enum operation)(w->verb - DO_OPERATION), w->domain, w->peer, job, error);
	}
}

static void
work_progress(struct json_object *progress, gpointer user_data)
{
	struct work *w = user_data;

	if (w->request && varlink_request_wants_more(w->request))
		varlink_request_notify(w->request, json_object_get(progress));
}

static void
work_done(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct work *w = user_data;

	if (!w->request)
		return;
	if (error)
		varlink_request_fail(w->request, error);
	else
		varlink_request_finish(w->request, reply ? json_object_get(reply) : json_object_new_object());
}

static void
work_gone(struct varlink_request *request, gpointer user_data)
{
	((struct work *)user_data)->request = NULL;
}

static void
begin(struct varlink_request *request, struct json_object *parameters, struct service *s, enum verb verb, bool needs_domain, bool needs_peer)
{
	const char *domain = json_get_str(parameters, "domain"), *peer = json_get_str(parameters, "peer");
	g_autoptr(GError) bad = NULL;
	struct pair_settings change;
	struct work *w;

	if ((needs_domain && (!domain || !*domain)) || (needs_peer && (!peer || !*peer))) {
		g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_USAGE, "the parameter %s is missing", needs_domain && (!domain || !*domain) ? "domain" : "peer");

		varlink_request_fail(request, error);
		return;
	}
	if (!pair_settings_read(&change, parameters, &bad)) {
		varlink_request_fail(request, bad);
		return;
	}
	w = g_new0(struct work, 1);
	*w = (struct work){ s->host, verb, g_strdup(domain), g_strdup(peer), change, request };
	varlink_request_on_gone(request, work_gone, w);
	job_start(work_run, w, work_free, work_progress, work_done, w);
}

/* Events go by names, people may say a UUID. */
static char *
name_of(struct host *h, const char *domain)
{
	g_autoptr(pair_info) info = domain ? pairs_find(h->pairs, domain) : NULL;

	return g_strdup(info ? info->record->domain : domain);
}

static bool
is_known(const struct host *h, const char *name)
{
	g_autoptr(pair_info) info = pairs_find(h->pairs, name);

	return info || event_log_has(h->events, name);
}

/* Every change that is asked for is told with who asked, and for what. */
static void
note_change(const char *method, struct json_object *parameters, const char *caller, bool refused, gpointer user_data)
{
	const struct service *s = user_data;
	const char *all = json_object_to_json_string_ext(parameters, JSON_C_TO_STRING_PLAIN);
	g_autofree char *what = g_utf8_make_valid(all, MIN((gssize)strlen(all), NOTED_MAX)), *domain = name_of(s->host, json_get_str(parameters, "domain"));

	host_event(s->host, domain, "operator", "%s %s was asked for by %s%s", method, what, caller,
		   refused ? ", and refused: not root, and not in the socket's group" : "");
}

static void
on_check(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_CHECK, true, false);
}

static void
on_enable(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_ENABLE, true, true);
}

static void
on_disable(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_DISABLE, true, false);
}

static void
on_failover(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	bool force = json_get_bool(parameters, "force");

	begin(request, parameters, user_data, force ? DO_FORCE : DO_FAILOVER, true, false);
}

static void
on_forget(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_FORGET, true, false);
}

static void
on_set(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_SET, true, false);
}

static void
on_switchover(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_SWITCHOVER, true, false);
}

static void
on_test_failover(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_TEST_FAILOVER, true, false);
}

static void
on_test_restart(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_TEST_RESTART, true, false);
}

static void
on_migrate_secondary(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_MIGRATE_STANDBY, true, true);
}

static void
on_suspend(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_SUSPEND, true, false);
}

static void
on_resume(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_OPERATION + OPERATION_RESUME, true, false);
}

static void
on_hosts(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_HOSTS, false, false);
}

static void
on_drain(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, json_get_bool(parameters, "undo") ? DO_UNDRAIN : DO_DRAIN, false, false);
}

static void
on_status(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_STATUS, false, false);
}

static void
on_flows(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_FLOWS, true, false);
}

static void
on_history(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	begin(request, parameters, user_data, DO_HISTORY, true, false);
}

/* -- Events */

struct follow {
	struct service *service;
	struct varlink_request *request;	/* NULL once the client is gone */
	char *domain;
	bool goes_on;
};

static void
follow_free(struct follow *f)
{
	g_free(f->domain);
	g_free(f);
}

static bool
send_event(struct json_object *event, gpointer user_data)
{
	struct follow *f = user_data;

	if (f->domain && g_strcmp0(f->domain, json_get_str(event, "domain")) != 0)
		return true;
	return varlink_request_notify(f->request, json_put_value(json_object_new_object(), "event", json_object_get(event)));
}

static void
follow_gone(struct varlink_request *request, gpointer user_data)
{
	struct follow *f = user_data;

	event_log_unfollow(f->service->host->events, f);
	follow_free(f);
}

static void
follow_begin(struct follow *f)
{
	event_log_replay(f->service->host->events, send_event, f);
	if (f->goes_on) {
		event_log_follow(f->service->host->events, send_event, f);
		varlink_request_on_gone(f->request, follow_gone, f);
		return;
	}
	varlink_request_finish(f->request, json_object_new_object());
	follow_free(f);
}

/* A domain of this host has events or it has none; any other name is a mistake. The name it goes by, which may be another one than it was asked for by. */
static struct json_object *
find_domain(struct job *job, gpointer data, GError **error)
{
	const struct work *w = data;
	g_autoptr(GError) local = NULL;
	g_autoptr(virConnect) conn = libvirt_open(w->host->config->libvirt_uri, &local);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, w->domain, &local) : NULL;

	if (dom)
		return json_put_str(json_object_new_object(), "name", virDomainGetName(dom));
	if (g_error_matches(local, FTD_ERROR, FTD_ERROR_NO_DOMAIN))
		say_unknown(w->host, w->domain, error);
	else
		g_propagate_error(error, g_steal_pointer(&local));
	return NULL;
}

static void
find_gone(struct varlink_request *request, gpointer user_data)
{
	((struct follow *)user_data)->request = NULL;
}

static void
domain_found(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct follow *f = user_data;

	if (f->request)
		varlink_request_on_gone(f->request, NULL, NULL);
	if (f->request && reply) {
		g_free(f->domain);
		f->domain = g_strdup(json_get_str(reply, "name"));
		follow_begin(f);
		return;
	}
	if (f->request)
		varlink_request_fail(f->request, error);
	follow_free(f);
}

static void
on_events(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	struct service *s = user_data;
	struct follow *f;
	struct work *w;

	if (!varlink_request_wants_more(request)) {
		g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_USAGE, "Events answers with one reply per event: call it with \"more\"");

		varlink_request_fail(request, error);
		return;
	}
	f = g_new0(struct follow, 1);
	*f = (struct follow){ s, request, name_of(s->host, json_get_str(parameters, "domain")), json_get_bool(parameters, "follow") };
	if (!f->domain || is_known(s->host, f->domain)) {
		follow_begin(f);
		return;
	}
	varlink_request_on_gone(request, find_gone, f);
	w = g_new0(struct work, 1);
	*w = (struct work){ .host = s->host, .domain = g_strdup(f->domain) };
	job_start(find_domain, w, work_free, NULL, domain_found, f);
}

/* -- peers */

static struct json_object *
peer_hello(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	struct peer_credentials *creds = host_credentials(s->host);
	const char *path;
	gint64 end = peer_credentials_end(creds, &path);

	peer_credentials_unref(creds);
	return json_put_u64(json_put_str(json_put_str(json_object_new_object(), "name", s->host->name), "version", FTD_VERSION), "certificate_end", (guint64)MAX(0, end));
}

static struct json_object *
peer_inspect(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	const char *uuid = json_get_str(parameters, "uuid");

	if (uuid)
		pairs_settle(s->host->pairs, uuid, caller->name, SETTLE_TIMEOUT_MS);
	return host_inspect(s->host->name, s->host->config->libvirt_uri, parameters, error);
}

static struct json_object *
peer_arbiter_probe(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	const char *nonce = json_get_str(parameters, "nonce"), *kind = json_get_str(parameters, "kind");
	g_autoptr(arbiter) asked = NULL;

	if (!nonce) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "ArbiterProbe without a nonce");
		return NULL;
	}
	if (!s->host->config->arbiter) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED, "no arbiter is configured; set arbiter= in ftd.conf");
		return NULL;
	}
	asked = arbiter_open(s->host->config->arbiter, s->host->config->pki, error);
	if (asked && kind && strcmp(kind, arbiter_kind(asked)) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED, "the arbiter of %s is %s, that of %s is of kind %s; set the same arbiter= on both", s->host->name,
			    arbiter_spec(asked), caller->name, kind);
		return NULL;
	}
	return asked && arbiter_probe_read(asked, nonce, error) ? json_object_new_object() : NULL;
}

static struct json_object *
peer_echo(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return link_answer_echo();
}

static struct json_object *
peer_listen(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return link_answer_listen(error);
}

static struct json_object *
peer_prepare_standby(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;

	return standby_prepare(s->host, caller, parameters, error);
}

/* The pair of that UUID, if the caller is its other side. */
static struct pair_info *
peers_pair(const struct service *s, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	const char *uuid = json_get_str(parameters, "uuid");
	g_autoptr(pair_info) info = uuid ? pairs_find(s->host->pairs, uuid) : NULL;

	if (!info || info->phase == PAIR_ENDED) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "there is no such pair on %s", s->host->name);
		return NULL;
	}
	if (strcmp(info->record->peer, caller->name) == 0)
		return g_steal_pointer(&info);
	g_set_error(error, FTD_ERROR, FTD_ERROR_DENIED, "the pair of %s is with %s, not with %s", info->record->domain, info->record->peer, caller->name);
	return NULL;
}

static struct json_object *
peer_abort_standby(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	g_autoptr(pair_info) info = peers_pair(s, caller, parameters, NULL);

	if (info && info->record->role == FAILOVER_STANDBY && info->phase == PAIR_FORMING)
		standby_call_off(s->host, info->record->uuid, "setup-failed");
	return json_object_new_object();
}

static struct json_object *
peer_armed(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	g_autoptr(pair_info) info = peers_pair(s, caller, parameters, error);

	if (!info)
		return NULL;
	pairs_activate(s->host->pairs, info->record->uuid);
	return json_object_new_object();
}

static struct json_object *
peer_verb(const struct service *s, const struct peer_caller *caller, struct json_object *parameters, enum pair_verb verb, GError **error)
{
	g_autoptr(pair_info) info = peers_pair(s, caller, parameters, error);

	if (!info)
		return NULL;
	host_event(s->host, info->record->domain, "operator", "%s was asked for on %s", pair_verbs[verb].method, caller->name);
	if (info->record->role == pair_verbs[verb].role)
		return pair_verb_here(s->host, info->record, pair_verbs[verb].method, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "both sides of %s have the same role", info->record->domain);
	return NULL;
}

static struct json_object *
peer_disable(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return peer_verb(user_data, caller, parameters, VERB_DISABLE, error);
}

static struct json_object *
peer_failover(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;

	if (g_strcmp0(json_get_str(parameters, "why"), UPLINK_LOST) == 0 && uplink_lost_here(s->host)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "the uplink of %s has no carrier either", s->host->name);
		return NULL;
	}
	return peer_verb(s, caller, parameters, VERB_FAILOVER, error);
}

static struct json_object *
peer_set(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	g_autoptr(pair_info) info = peers_pair(s, caller, parameters, error);
	g_auto(pair_settings) change = { 0 };

	if (!info || !pair_settings_read(&change, parameters, error))
		return NULL;
	host_event(s->host, info->record->domain, "operator", "a change of settings was asked for on %s", caller->name);
	if (info->record->role == FAILOVER_PRIMARY)
		return settings_change(s->host, info->record, &change, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "both sides of %s have the same role", info->record->domain);
	return NULL;
}

/* The whole of them, as they are on the primary's host. */
static struct json_object *
peer_keep_settings(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;
	g_autoptr(pair_info) info = peers_pair(s, caller, parameters, error);
	g_auto(pair_settings) all = { 0 };
	g_autoptr(virConnect) conn = NULL;
	g_autoptr(virDomain) dom = NULL;

	if (!info || !pair_settings_read(&all, parameters, error))
		return NULL;
	if (info->record->role != FAILOVER_STANDBY) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "both sides of %s have the same role", info->record->domain);
		return NULL;
	}
	conn = libvirt_open(s->host->config->libvirt_uri, error);
	dom = conn ? libvirt_find(conn, info->record->uuid, error) : NULL;
	return dom && pair_settings_store(dom, &all, error) ? json_object_new_object() : NULL;
}

static struct json_object *
peer_pool(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return pool_facts(((const struct service *)user_data)->host);
}

static struct json_object *
peer_offer(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	const struct service *s = user_data;

	log_info("pool", "%s is there", caller->name);
	pool_kick(s->host);
	return json_object_new_object();
}

static struct json_object *
peer_operate(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return operation_for_peer(((const struct service *)user_data)->host, caller, parameters, error);
}

static struct json_object *
peer_protect(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return operation_protect(((const struct service *)user_data)->host, caller, parameters, error);
}

static struct json_object *
peer_end_standby(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	return operation_end_standby(((const struct service *)user_data)->host, caller, parameters, error);
}

static void
peer_ended(guint64 connection, gpointer user_data)
{
	const struct service *s = user_data;

	pairs_connection_ended(s->host->pairs, connection);
}

static struct peer_credentials *
current_credentials(gpointer user_data)
{
	const struct service *s = user_data;

	return host_credentials(s->host);
}

/* -- the guests' LAN is lost here */

struct departure {
	struct host *host;
	struct pair_record *record;
};

static struct json_object *
depart(struct job *job, gpointer data, GError **error)
{
	struct departure *d = data;

	return pair_verb_at_peer(d->host, d->record, pair_verbs[VERB_FAILOVER].method, UPLINK_LOST, error);
}

static void
departed(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct departure *d = user_data;

	if (error)
		host_event(d->host, d->record->domain, "error", "%s was not switched over: %s", d->record->domain, error->message);
}

static void
departure_free(gpointer data)
{
	struct departure *d = data;

	pair_record_free(d->record);
	g_free(d);
}

void
service_uplink_lost(struct service *s)
{
	g_autoptr(GPtrArray) list = pairs_list(s->host->pairs);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);
		struct departure *d;

		if (info->phase != PAIR_ACTIVE || info->record->role != FAILOVER_PRIMARY)
			continue;
		host_event(s->host, info->record->domain, UPLINK_LOST, "%s has no carrier: %s is switched over to %s", s->host->config->uplink, info->record->domain, info->record->peer);
		d = g_new0(struct departure, 1);
		*d = (struct departure){ s->host, pair_record_copy(info->record) };
		job_start(depart, d, departure_free, NULL, departed, d);
	}
}

/* -- both together */

static const struct varlink_method_entry people_methods[] = {
	{ "Check", on_check, false }, { "Enable", on_enable, true }, { "Disable", on_disable, true }, { "Failover", on_failover, true }, { "Set", on_set, true },
	{ "Switchover", on_switchover, true }, { "TestFailover", on_test_failover, true }, { "TestRestartSecondary", on_test_restart, true },
	{ "MigrateSecondary", on_migrate_secondary, true }, { "Suspend", on_suspend, true }, { "Resume", on_resume, true }, { "Hosts", on_hosts, false }, { "Drain", on_drain, true },
	{ "Forget", on_forget, true },
	{ "Status", on_status, false }, { "Flows", on_flows, false }, { "History", on_history, false }, { "Events", on_events, false }, { NULL, NULL, false },
};

static const struct peer_method_entry peer_methods[] = {
	{ "Hello", peer_hello }, { "Inspect", peer_inspect }, { "Echo", peer_echo }, { "Listen", peer_listen }, { "ArbiterProbe", peer_arbiter_probe },
	{ "PrepareStandby", peer_prepare_standby }, { "AbortStandby", peer_abort_standby }, { "Armed", peer_armed }, { "Disable", peer_disable }, { "Failover", peer_failover },
	{ "Set", peer_set }, { "KeepSettings", peer_keep_settings }, { "Operate", peer_operate },
	{ "Pool", peer_pool }, { "Offer", peer_offer }, { "Protect", peer_protect }, { "EndStandby", peer_end_standby }, { NULL, NULL },
};

/* Those of the pool, where there is one, and whoever has the other copy of a domain: a pair that was made before must be able to end. Others of the same authority may
 * be no hosts at all: libvirt's clients have certificates of it, too. */
static bool
is_served(const char *name, gpointer user_data, GError **error)
{
	const struct host *h = ((const struct service *)user_data)->host;
	g_autoptr(GPtrArray) list = NULL;

	if (!h->config->hosts)
		return true;
	list = pairs_list(h->pairs);
	for (guint i = 0; i < list->len; i++)
		if (strcmp(((const struct pair_info *)g_ptr_array_index(list, i))->record->peer, name) == 0)
			return true;
	if (pool_has(h, name))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_DENIED, "%s is not one of the hosts that %s works with; %s", name, h->name,
		    ftd_config_hosts_register(h->config) ? "it has not registered in etcd" : "add it to hosts= in ftd.conf there");
	return false;
}

struct service *
service_new(struct host *host, GError **error)
{
	struct service *s = g_new0(struct service, 1);
	g_autofree char *socket = g_build_filename(host->config->run_dir, "ftd.sock", NULL);
	const char *group = getgrnam(host->config->group) ? host->config->group : NULL;

	s->host = host;
	if (!group)
		log_info("api", "there is no group %s: only root may use %s", host->config->group, socket);
	s->peers = peer_server_new(host->config->peer_port, current_credentials, peer_methods, peer_ended, s, error);
	if (s->peers) {
		peer_server_serve_only(s->peers, is_served);
		s->varlink = varlink_server_new(socket, group ? 0660 : 0600, group, FTD_INTERFACE, FTD_INTERFACE_DESCRIPTION, people_methods, s, error);
	}
	if (s->varlink) {
		varlink_server_note_changes(s->varlink, note_change);
		return s;
	}
	service_free(s);
	return NULL;
}

void
service_free(struct service *s)
{
	if (!s)
		return;
	g_clear_pointer(&s->varlink, varlink_server_free);
	g_clear_pointer(&s->peers, peer_server_free);
	g_free(s);
}
