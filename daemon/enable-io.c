/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * An attempt looks at the domain (look), at the peer (look_at_peer), and judges both (domain-check.c, peer-check.c). Enabling goes on from there: the next
 * generation from the arbiter, the standby on the peer, the guard here, which does the rest and reports its progress. The connection to the peer stays
 * open all the time: when it breaks before "Armed" was called, the peer undoes its part by itself.
 *
 * Undo: the guard here undoes what it did to its QEMU and exits when forming fails; the pair's end is judged like that
 * of any pair whose guard is gone, by the arbiter's register: if it was armed after all, the register says so. Then the peer is told AbortStandby.
 */
#include "daemon/enable-io.h"

#include "daemon/base/error.h"
#include "daemon/check-report.h"
#include "daemon/domain-check.h"
#include "daemon/guard-process-io.h"
#include "daemon/host-facts-io.h"
#include "daemon/json-util.h"
#include "daemon/link-probe-io.h"
#include "daemon/pair-settings-io.h"
#include "daemon/pairs-io.h"
#include "daemon/peer-check.h"
#include "daemon/peer-client-io.h"
#include "daemon/qemu-facts-io.h"
#include "daemon/suspended-io.h"
#include "policy/arbiter-io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 5000
#define CALL_TIMEOUT_MS 15000
#define SETTLE_TIMEOUT_MS 5000
#define END_TIMEOUT_MS 20000
#define TELL_TIMEOUT_MS 5000		/* the peer finds out by itself, too */
#define PREPARE_TIMEOUT_MS 120000
#define TOKEN_BYTES 32

typedef struct attempt {
	struct host *host;
	struct pair_settings before, settings;	/* in the domain's metadata, and what they become */
	const char *peer;		/* as the caller named it; NULL: only this host is looked at */
	struct job *job;
	virConnectPtr conn;
	virDomainPtr dom;
	struct domain_facts *domain;
	struct qemu_facts *qemu;
	struct arbiter *arbiter;
	struct peer_client *client;	/* NULL: not reached */
	guint64 generation;
	gint64 certificate_end;		/* of the peer's; 0: it does not tell */
	bool return_path;		/* as the peer's emulator wants it, which is of this domain's version */
} attempt;

static void
attempt_clear(struct attempt *a)
{
	g_clear_pointer(&a->client, peer_client_close);
	g_clear_pointer(&a->arbiter, arbiter_unref);
	g_clear_pointer(&a->qemu, qemu_facts_free);
	g_clear_pointer(&a->domain, domain_facts_free);
	g_clear_pointer(&a->dom, virDomainFree);
	g_clear_pointer(&a->conn, virConnectClose);
	pair_settings_clear(&a->before);
	pair_settings_clear(&a->settings);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(attempt, attempt_clear)

static void
report(const struct attempt *a, const char *phase)
{
	if (a->job)
		job_report(a->job, json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", phase), "done", 0), "total", 0));
}

static bool
look(struct attempt *a, const char *domain, GError **error)
{
	g_autofree char *xml = NULL;

	pairs_settle(a->host->pairs, domain, NULL, SETTLE_TIMEOUT_MS);
	a->conn = libvirt_open(a->host->config->libvirt_uri, error);
	a->dom = a->conn ? libvirt_find(a->conn, domain, error) : NULL;
	xml = a->dom ? libvirt_xml(a->dom, 0, error) : NULL;
	a->domain = xml ? domain_facts_parse(xml, error) : NULL;
	if (!a->domain)
		return false;
	if (!libvirt_is_running(a->dom)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_RUNNING, "%s is not running; start it first (virsh start %s)", a->domain->name, a->domain->name);
		return false;
	}
	a->qemu = qemu_facts_collect(a->dom, a->domain, error);
	return a->qemu != NULL;
}

/* Whatever the other host is. */
static void
check_itself(const struct attempt *a, bool paired, struct check_report *report)
{
	if (a->domain->disks->len > GUARD_MAX_DISKS || a->domain->nics->len > GUARD_MAX_NICS)
		check_object(report, CHECK_TOO_MANY_DEVICES, "remove some", "%s has more than %d disks or %d interfaces", a->domain->name, GUARD_MAX_DISKS, GUARD_MAX_NICS);
	domain_check(a->domain, a->qemu, paired, report);
}

/* False: it has a pair, and what else could be found of it is that pair's doing. */
static bool
check_place(struct attempt *a, struct check_report *report)
{
	g_autoptr(pair_info) info = pairs_find(a->host->pairs, a->domain->uuid);

	if (info && info->phase != PAIR_ENDED) {
		check_object(report, CHECK_ALREADY_PROTECTED, "see ftctl status", "%s has a pair with %s already", a->domain->name, info->record->peer);
		return false;
	}
	check_fine(report, CHECK_PAIR, "%s is not protected yet", a->domain->name);
	return true;
}

/* n random bytes as 2n hexadecimal digits. */
static char *
make_hex(guint n, GError **error)
{
	guint8 bytes[TOKEN_BYTES];
	GString *hex = g_string_new(NULL);

	g_assert(n <= sizeof(bytes));
	if (getentropy(bytes, n) < 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "no random numbers: %s", g_strerror(errno));
		g_string_free(hex, TRUE);
		return NULL;
	}
	for (guint i = 0; i < n; i++)
		g_string_append_printf(hex, "%02x", bytes[i]);
	return g_string_free(hex, FALSE);
}

/* -- the arbiter */

static void
check_arbiter_shared(struct attempt *a, struct check_report *report)
{
	g_autoptr(json_object_ptr) answer = NULL;
	GError *error = NULL;
	g_autofree char *nonce = make_hex(16, &error);

	if (!nonce || !arbiter_probe_write(a->arbiter, nonce, &error)) {
		check_failed(report, CHECK_ARBITER, error);
		return;
	}
	answer = peer_client_call(a->client, "ArbiterProbe", json_put_str(json_put_str(json_object_new_object(), "nonce", nonce), "kind", arbiter_kind(a->arbiter)),
				  CALL_TIMEOUT_MS, &error);
	arbiter_probe_remove(a->arbiter, nonce);
	if (!answer)
		check_failed(report, CHECK_ARBITER, error);
	else if (arbiter_is_manual(a->arbiter))
		check_object(report, CHECK_ARBITER_MANUAL, "nothing but the operator prevents that both hosts go on",
			     "the arbiter is manual: when a host or the link fails, the domain's output is held until an operator says who goes on (ftctl failover --force)");
	check_fine(report, CHECK_ARBITER, "%s, which %s asks too", arbiter_spec(a->arbiter), peer_client_name(a->client));
}

/* The newest record's owner is the only host whose disks are known to be good. */
static bool
next_generation(struct attempt *a, guint64 *generation, GError **error)
{
	struct arbiter_record newest;
	int found = arbiter_read(a->arbiter, a->domain->uuid, &newest, error);

	if (found < 0)
		return false;
	if (found > 0 && strcmp(newest.active, a->host->name) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_DENIED,
			    "the arbiter says that %s belongs to host %s since generation %" G_GUINT64_FORMAT ", so this copy may be stale; start it there, or, if this copy "
			    "is the good one, remove the records of %s from %s", a->domain->name, newest.active, newest.generation, a->domain->uuid, arbiter_spec(a->arbiter));
		return false;
	}
	*generation = found > 0 ? newest.generation + 1 : 1;
	return true;
}

static bool
open_arbiter(struct attempt *a, GError **error)
{
	if (!a->host->config->arbiter) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "no arbiter is configured on %s; set arbiter= in ftd.conf", a->host->name);
		return false;
	}
	a->arbiter = arbiter_open(a->host->config->arbiter, a->host->config->pki, error);
	return a->arbiter != NULL;
}

static void
check_arbiter(struct attempt *a, struct check_report *report)
{
	GError *error = NULL;

	if (!open_arbiter(a, &error) || !next_generation(a, &a->generation, &error))
		check_failed(report, CHECK_ARBITER, error);
	else if (a->client)
		check_arbiter_shared(a, report);
	else
		check_fine(report, CHECK_ARBITER, "%s answers here; whether the peer asks it too was not looked at", arbiter_spec(a->arbiter));
}

/* -- the peer */

static bool
is_self(const struct host *h, const char *peer)
{
	return g_ascii_strcasecmp(peer, h->name) == 0 || strcmp(peer, "localhost") == 0;
}

static bool
refuse_self(const struct attempt *a, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "the peer must be another host than %s", a->host->name);
	return false;
}

/* Who answered must be somebody else, and be called what its certificate says: the arbiter's records are by that name. */
static bool
check_hello(const struct attempt *a, struct json_object *hello, GError **error)
{
	const char *name = json_get_str(hello, "name"), *certified = peer_client_name(a->client);

	if (is_self(a->host, certified) || (name && is_self(a->host, name)))
		return refuse_self(a, error);
	if (g_strcmp0(name, certified) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "the peer calls itself %s, its certificate is that of %s; issue a certificate for %s there"
		    " (name= in its ftd.conf may be changed only while it protects no domain)", name ? name : "nothing", certified, name ? name : "it");
	return false;
}

static bool
connect_peer(struct attempt *a, GError **error)
{
	g_autoptr(peer_credentials) creds = NULL;
	g_autoptr(json_object_ptr) hello = NULL;

	if (is_self(a->host, a->peer))
		return refuse_self(a, error);
	creds = host_credentials(a->host);
	if (!host_check_name(a->host, creds, error))
		return false;
	a->client = peer_client_connect(a->peer, a->host->config->peer_port, creds, CONNECT_TIMEOUT_MS, error);
	if (!a->client)
		return false;
	hello = peer_client_call(a->client, "Hello", json_put_str(json_put_str(json_object_new_object(), "name", a->host->name), "version", FTD_VERSION),
				 CALL_TIMEOUT_MS, error);
	a->certificate_end = (gint64)json_get_u64(hello, "certificate_end");
	if (hello && check_hello(a, hello, error))
		return true;
	g_clear_pointer(&a->client, peer_client_close);
	return false;
}

/* Probe files beside all images, made or removed; the first that cannot be made ends it. */
static bool
probe_files(const struct attempt *a, const char *suffix, bool make, GError **error)
{
	for (guint i = 0; i < a->domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(a->domain->disks, i);

		if (!d->path || strcmp(d->type, "file") != 0)
			continue;
		if (!make)
			probe_file_remove(d->path, suffix);
		else if (!probe_file_make(d->path, suffix, error))
			return false;
	}
	return true;
}

static void
inspect_peer(struct attempt *a, struct check_report *report)
{
	g_autofree char *nonce = g_uuid_string_random(), *suffix = g_strconcat(".ftd-probe-", nonce, NULL), *cpu = host_cpu_id();
	g_autoptr(json_object_ptr) answer = NULL;
	GError *error = NULL;

	if (probe_files(a, suffix, true, &error))
		answer = peer_client_call(a->client, "Inspect", inspect_request(a->domain, a->qemu, suffix), CALL_TIMEOUT_MS, &error);
	probe_files(a, suffix, false, NULL);
	a->return_path = !json_get(answer, "wants_return_path") || json_get_bool(answer, "wants_return_path");	/* an ftd that does not tell is for QEMU 11 */
	if (answer) {
		peer_check_answer(a->domain, a->qemu, cpu, peer_client_name(a->client), answer, report);
		peer_check_hook(host_has_hook(), peer_client_name(a->client), answer, report);
	} else {
		check_failed(report, CHECK_PEER, error);
	}
}

static void
check_certificates(struct attempt *a, struct check_report *report)
{
	struct peer_credentials *creds = host_credentials(a->host);
	const char *path;
	gint64 end = peer_credentials_end(creds, &path);

	peer_check_certificates(end, path, a->certificate_end, peer_client_name(a->client), g_get_real_time() / G_USEC_PER_SEC, report);
	peer_credentials_unref(creds);
}

/*
 * Before a standby is made: a firewall that lets ftd's own port through and not those of guards would be met when all is ready, by a guard that gets no answer.
 * A host that is being asked by many just now, or an ftd that does not know the question, has not closed any.
 */
static void
check_ports(struct attempt *a, struct check_report *report)
{
	GError *error = NULL;

	if (link_port_is_open(a->client, a->peer, &error))
		check_fine(report, CHECK_PORTS, "%u, and those that guards listen on, are reached", a->host->config->peer_port);
	else if (g_error_matches(error, FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE))
		check_failed(report, CHECK_PORTS, error);
	else
		check_unknown(report, CHECK_PORTS, error);
}

static bool
guards_are_reached(struct attempt *a, GError **error)
{
	g_autoptr(check_report) report = check_report_new();

	check_ports(a, report);
	return check_report_verdict(report, error);
}

/* Takes half a second, so `enable` does without: it finds out by itself. */
static void
measure_link(struct attempt *a, struct check_report *report)
{
	struct link_facts link;
	GError *error = NULL;

	if (link_measure(a->client, &link, &error))
		peer_check_link(&link, a->host->config->suspect_ms, peer_client_name(a->client), report);
	else
		check_failed(report, CHECK_LINK, g_steal_pointer(&error));
}

static void
look_at_peer(struct attempt *a, struct check_report *report)
{
	GError *error = NULL;

	if (!connect_peer(a, &error)) {
		check_failed(report, CHECK_PEER, error);
		return;
	}
	inspect_peer(a, report);
	check_certificates(a, report);
	check_fine(report, CHECK_PEER, "%s answers, certificates are accepted", peer_client_name(a->client));
}

static void
check_all(struct attempt *a, struct check_report *report)
{
	if (!check_place(a, report))
		return;
	check_itself(a, false, report);
	if (a->peer)
		look_at_peer(a, report);
	check_arbiter(a, report);
}

struct json_object *
check_domain(struct host *h, const char *domain, const char *peer, GError **error)
{
	g_auto(attempt) a = { .host = h, .peer = peer };
	g_autoptr(check_report) report = check_report_new();

	if (!look(&a, domain, error))
		return NULL;
	check_all(&a, report);
	if (a.client) {
		measure_link(&a, report);
		check_ports(&a, report);
	}
	check_close(report, !peer ? "not looked at without a peer" : "not looked at, for what stands above");
	return json_put_value(json_object_new_object(), "rows", check_report_to_json(report));
}

static bool
has_pair(const struct attempt *a)
{
	g_autoptr(pair_info) info = pairs_find(a->host->pairs, a->domain->uuid);

	return info && info->phase != PAIR_ENDED;
}

bool
enable_check_again(struct host *h, const char *domain, GError **error)
{
	g_auto(attempt) a = { .host = h };
	g_autoptr(check_report) report = check_report_new();

	if (!look(&a, domain, error))
		return false;
	check_itself(&a, has_pair(&a), report);
	return check_report_verdict(report, error);
}

bool
enable_check_other(struct host *h, const char *domain, const char *peer, const char *but, GError **error)
{
	g_auto(attempt) a = { .host = h, .peer = peer };
	g_autoptr(check_report) report = check_report_new();

	if (!look(&a, domain, error))
		return false;
	check_itself(&a, has_pair(&a), report);
	look_at_peer(&a, report);
	if (a.client)
		check_ports(&a, report);
	if (a.client && g_strcmp0(peer_client_name(a.client), but) == 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "%s is %s, where the standby of %s is already", peer, but, a.domain->name);
		return false;
	}
	check_arbiter(&a, report);
	return check_report_verdict(report, error);
}

/* -- enable */

static struct json_object *
settings_of(const struct ftd_config *c, bool return_path)
{
	struct json_object *s = json_object_new_object();

	json_put_u64(json_put_u64(s, "heartbeat_ms", c->heartbeat_ms), "suspect_ms", c->suspect_ms);
	json_put_u64(json_put_u64(s, "max_epoch_ms", c->max_epoch_ms), "target_latency_ms", c->target_latency_ms);
	json_put_u64(s, "compare_timeout_ms", c->compare_timeout_ms);
	json_put_u64(json_put_u64(s, "max_held_bytes", c->max_held_bytes), "max_checkpoint_bytes", c->max_checkpoint_bytes);
	json_put_bool(s, "return_path", return_path);
	json_put_u64(s, "page_cache_bytes", c->page_cache_bytes);
	return json_put_bool(json_put_u64(s, "max_disk_bytes", c->max_disk_bytes), "tcg_flush_load", c->tcg_flush_load);
}

static struct json_object *
prepare_request(struct attempt *a, const char *token, GError **error)
{
	g_autofree char *xml = libvirt_xml(a->dom, VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE, error);
	struct json_object *r, *disks;

	if (!xml)
		return NULL;
	r = inspect_request(a->domain, a->qemu, NULL);
	disks = json_object_get(json_get(r, "disks"));
	json_object_put(r);
	r = json_put_value(json_object_new_object(), "disks", disks);
	json_put_str(json_put_str(json_put_str(r, "domain", a->domain->name), "uuid", a->domain->uuid), "xml", xml);
	return json_put_value(json_put_u64(json_put_str(r, "token", token), "generation", a->generation), "settings", settings_of(a->host->config, a->return_path));
}

/* prepared: the peer's answer; found: see ftd-protocol(7). */
static void
fill_disks(struct guard_config *c, const struct attempt *a, struct json_object *prepared)
{
	struct json_object *found = json_get(prepared, "found");

	for (guint i = 0; i < a->domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(a->domain->disks, i);
		const struct qemu_disk *q = g_ptr_array_index(a->qemu->disks, i);

		if (!d->path || !q)
			continue;
		c->disks[c->n_disks] = (struct guard_disk){ .device = g_strdup(q->qom), .qdev = g_strdup(d->alias), .node = g_strdup(q->node), .size = q->virtual_size };
		c->disks[c->n_disks].compare = json_object_get_boolean(json_at(found, c->n_disks));
		c->n_disks++;
	}
}

static void
fill_nics(struct guard_config *c, const struct attempt *a)
{
	for (guint i = 0; i < a->domain->nics->len; i++) {
		const struct domain_nic *nic = g_ptr_array_index(a->domain->nics, i);
		const struct qemu_nic *q = g_ptr_array_index(a->qemu->nics, i);

		c->nics[c->n_nics++] = (struct guard_nic){ g_strconcat("host", nic->alias, NULL), q->has_rewriter, nic->tap && *nic->tap ? g_strdup(nic->tap) : NULL };
	}
}

static void
fill_settings(struct guard_config *c, const struct ftd_config *config)
{
	c->arbiter = g_strdup(config->arbiter);
	c->pki = g_strdup(config->pki);
	c->libvirt_uri = g_strdup(config->libvirt_uri);
	c->heartbeat_ms = config->heartbeat_ms;
	c->suspect_ms = config->suspect_ms;
	c->max_epoch_ms = config->max_epoch_ms;
	c->target_latency_ms = config->target_latency_ms;
	c->compare_timeout_ms = config->compare_timeout_ms;
	c->max_held_bytes = config->max_held_bytes;
	c->max_checkpoint_bytes = config->max_checkpoint_bytes;
	c->max_disk_bytes = config->max_disk_bytes;
	c->page_cache_bytes = config->page_cache_bytes;
	c->tcg_flush_load = config->tcg_flush_load;
	c->show_differences = config->show_differences;
}

static struct guard_config *
make_guard_config(const struct attempt *a, const char *token, struct json_object *prepared)
{
	struct guard_config *c = guard_config_new();

	c->role = FAILOVER_PRIMARY;
	c->pair = g_strdup(a->domain->uuid);
	c->domain = g_strdup(a->domain->name);
	c->self = g_strdup(a->host->name);
	c->peer = g_strdup(peer_client_name(a->client));
	c->run_dir = host_pair_dir(a->host, a->domain->uuid);
	c->state_file = host_state_file(a->host, a->domain->uuid, ".json");
	c->generation = a->generation;
	c->token = g_strdup(token);
	c->peer_address = g_strdup(json_get_str(prepared, "address"));
	c->peer_port = (guint)json_get_u64(prepared, "port");
	fill_settings(c, a->host->config);
	mode_from_name(a->settings.mode ? a->settings.mode : a->host->config->mode, &c->mode);
	c->bypass = g_strdup(a->settings.bypass);
	c->never_compare = g_strdup(a->settings.never_compare);
	c->return_path = a->return_path;
	fill_disks(c, a, prepared);
	fill_nics(c, a);
	return c;
}

static bool
on_progress(struct json_object *parameters, gpointer user_data)
{
	struct json_object *copy = NULL;	/* json-c counts references without a lock: nothing is shared between threads */

	if (!user_data)
		return true;
	json_object_deep_copy(parameters, &copy, NULL);
	job_report(user_data, copy);
	return true;
}

static bool
run_guard(struct attempt *a, const char *token, struct json_object *prepared, GError **error)
{
	g_autoptr(guard_config) config = make_guard_config(a, token, prepared);
	g_autoptr(json_object_ptr) reply = NULL;
	struct qemu_user user;

	report(a, "connect");
	if (!qemu_user_of_running(a->dom, &user, error) || !guard_prepare_dir(a->host, a->domain->uuid, &user, error) || !guard_start(a->host, config, error))
		return false;
	reply = guard_call(a->host, a->domain->uuid, "Start", true, on_progress, a->job, -1, error);
	return reply != NULL;
}

/* Everything between the check and "protected"; *asked: the peer may have something to undo. */
static bool
form_pair(struct attempt *a, bool *asked, GError **error)
{
	g_autofree char *token = make_hex(TOKEN_BYTES, error);
	struct json_object *request = token ? prepare_request(a, token, error) : NULL;
	g_autoptr(json_object_ptr) prepared = NULL;

	if (!request || !guards_are_reached(a, error)) {
		json_object_put(request);
		return false;
	}
	report(a, "prepare");
	*asked = true;
	prepared = peer_client_call(a->client, "PrepareStandby", request, PREPARE_TIMEOUT_MS, error);
	return prepared && run_guard(a, token, prepared, error);
}

static void
tell_peer(struct attempt *a, const char *method)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(json_object_ptr) reply = peer_client_call(a->client, method, json_put_str(json_object_new_object(), "uuid", a->domain->uuid), TELL_TIMEOUT_MS, &error);

	if (!reply)
		host_event(a->host, a->domain->name, "note", "%s", error->message);
}

/* What ftd has to put back itself should the guard die, since only the guard knows then what was there. */
static bool
remember_parameters(struct attempt *a, struct pair_record *record, GError **error)
{
	g_autoptr(json_object_ptr) reply = libvirt_qmp(a->dom, "query-migrate-parameters", NULL, error);

	record->parameters = reply ? json_object_get(json_get(reply, "return")) : NULL;
	return reply != NULL;
}

static bool
keep_settings(struct attempt *a, const struct pair_settings *s, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (pair_settings_same(&a->before, &a->settings) || pair_settings_store(a->dom, s, error ? error : &local))
		return true;
	if (local)
		host_event(a->host, a->domain->name, "note", "the settings of %s stay changed: %s", a->domain->name, local->message);
	return false;
}

static bool
join_settings(struct attempt *a, const struct pair_settings *change, GError **error)
{
	return pair_settings_load(a->dom, &a->before, error) && pair_settings_change(&a->settings, &a->before, error) && pair_settings_change(&a->settings, change, error);
}

/* On failure nothing is left of the attempt when this returns, here; on the peer as far as it can be reached. */
static bool
enable_pair(struct attempt *a, struct pair_record *record, GError **error)
{
	bool asked = false;

	host_event(a->host, record->domain, "enable", "protecting %s by %s, generation %" G_GUINT64_FORMAT, record->domain, record->peer, a->generation);
	/* Before the standby is made: its XML is the domain's. */
	if (keep_settings(a, &a->settings, error) && form_pair(a, &asked, error)) {
		suspended_clear(a->host, record->uuid);
		pairs_activate(a->host->pairs, record->uuid);
		pairs_watch(a->host->pairs, record->uuid);
		tell_peer(a, "Armed");
		return true;
	}
	host_event(a->host, record->domain, "enable-failed", "%s is not protected: %s", record->domain, error && *error ? (*error)->message : "failed");
	/* First here: a guard that died has left the guest cut off from its network. The peer takes its time, because it ends a QEMU. */
	pairs_end(a->host->pairs, record->uuid, NULL, "setup-failed");
	if (asked)
		tell_peer(a, "AbortStandby");
	keep_settings(a, &a->before, NULL);
	pairs_await_end(a->host->pairs, record->uuid, END_TIMEOUT_MS);
	return false;
}

struct json_object *
enable_domain(struct host *h, const char *domain, const char *peer, const struct pair_settings *change, struct job *job, GError **error)
{
	g_auto(attempt) a = { .host = h, .peer = peer, .job = job };
	g_autoptr(check_report) checked = check_report_new();
	g_autoptr(pair_record) record = NULL;

	if (!look(&a, domain, error) || !join_settings(&a, change, error))
		return NULL;
	report(&a, "check");
	check_all(&a, checked);
	if (!check_report_verdict(checked, error))
		return NULL;
	record = pair_record_new(a.domain->uuid, a.domain->name, peer_client_name(a.client), FAILOVER_PRIMARY, a.generation);
	if (!remember_parameters(&a, record, error) || !pairs_begin(h->pairs, record, 0, error) || !enable_pair(&a, record, error))
		return NULL;
	return json_object_new_object();
}
