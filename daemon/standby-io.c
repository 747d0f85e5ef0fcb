/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Order matters, since the host may die at any point: the record on disk says what will be made before it is made, so that whoever finds it can
 * undo it. Image files that were here before are used (their content becomes the primary's, which is told of them and sends only what differs) and never deleted.
 *
 * libvirt only takes an incoming domain that it can tell from the persistent one: the clean XML is defined first, then the standby's XML is started
 * from its own text (virDomainCreateXML), and the definition stays without a trace of ftd. The guard reaches the copy's QEMU through the monitor in
 * that XML; libvirt's is only used here, to learn node names.
 */
#include "daemon/standby-io.h"

#include "daemon/base/error.h"
#include "daemon/domain-xml.h"
#include "daemon/guard-process-io.h"
#include "daemon/host-facts-io.h"
#include "daemon/json-util.h"
#include "daemon/pair-settings-io.h"
#include "daemon/pairs-io.h"
#include "daemon/primary-io.h"
#include "daemon/qemu-facts-io.h"
#include "policy/arbiter-io.h"
#include "qmp/qmp-readers.h"
#include "qmp/qmp-recipes.h"

#include <glib/gstdio.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

#define START_TIMEOUT_MS 20000
#define STATUS_TIMEOUT_MS 2000
#define QMP_SOCKET PAIR_QEMU_DIR "/qmp.sock"

struct preparation {
	struct host *host;
	const struct peer_caller *caller;
	struct json_object *parameters;
	struct domain_facts *domain;
	struct pair_record *record;
	struct qemu_user user;
	struct json_object *found;	/* array of bool: was there an image before, for each disk of `parameters` */
};

#define ACTIVE_SUFFIX ".ftd-active"
#define HIDDEN_SUFFIX ".ftd-hidden"
G_STATIC_ASSERT(sizeof(ACTIVE_SUFFIX) == sizeof(HIDDEN_SUFFIX));

static char *
overlay_path(const char *image, bool hidden)
{
	return g_strconcat(image, hidden ? HIDDEN_SUFFIX : ACTIVE_SUFFIX, NULL);
}

static char *
image_of_overlay(const char *overlay)
{
	return g_strndup(overlay, strlen(overlay) - strlen(ACTIVE_SUFFIX));
}

GPtrArray *
standby_images(const struct pair_record *r)
{
	GPtrArray *images = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < r->overlays->len; i++)
		if (g_str_has_suffix(g_ptr_array_index(r->overlays, i), ACTIVE_SUFFIX))
			g_ptr_array_add(images, image_of_overlay(g_ptr_array_index(r->overlays, i)));
	return images;
}

/* -- what the peer sent */

static bool
check_disks(const struct domain_facts *domain, struct json_object *disks, GError **error)
{
	guint files = 0;

	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);
		struct json_object *sent = json_at(disks, files);

		if (!d->path)
			continue;
		files++;
		if (!path_is_plain(d->path) || g_strcmp0(json_get_str(sent, "path"), d->path) != 0 || g_strcmp0(json_get_str(sent, "format"), d->format) != 0 ||
		    !json_get_u64(sent, "size") || (strcmp(d->format, "qcow2") != 0 && strcmp(d->format, "raw") != 0)) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "PrepareStandby: the list of disks does not fit the domain's XML");
			return false;
		}
	}
	if (files == json_length(disks) && files <= GUARD_MAX_DISKS && domain->nics->len <= GUARD_MAX_NICS)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "PrepareStandby: a pair has at most %d disks and %d interfaces", GUARD_MAX_DISKS, GUARD_MAX_NICS);
	return false;
}

static bool
check_parameters(struct preparation *p, GError **error)
{
	const char *xml = json_get_str(p->parameters, "xml"), *token = json_get_str(p->parameters, "token");

	p->domain = xml ? domain_facts_parse(xml, error) : NULL;
	if (xml && !p->domain)
		return false;
	if (!p->domain || !token || strlen(token) != 64 || !json_get_u64(p->parameters, "generation") || !p->caller->local_address) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "PrepareStandby: a parameter is missing");
		return false;
	}
	if (!check_disks(p->domain, json_get(p->parameters, "disks"), error))
		return false;
	for (guint i = 0; i < p->domain->boot_files->len; i++) {
		const char *path = g_ptr_array_index(p->domain->boot_files, i);

		if (access(path, R_OK) != 0) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "there is no file %s, which the domain boots from; copy it here", path);
			return false;
		}
	}
	return true;
}

static bool
check_not_running(virConnectPtr conn, const struct domain_facts *domain, bool *defined, GError **error)
{
	g_autoptr(virDomain) dom = virDomainLookupByUUIDString(conn, domain->uuid);

	*defined = dom != NULL;
	if (!dom || !libvirt_is_running(dom))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_UUID_RUNNING, "a domain with the UUID of %s runs here; destroy it if it is not wanted", domain->name);
	return false;
}

/* -- images */

static bool
make_image(struct preparation *p, const char *path, const char *format, guint64 size, GError **error)
{
	bool there = access(path, F_OK) == 0;
	guint64 found;

	json_object_array_add(p->found, json_object_new_boolean(there));
	if (there) {
		if (!image_size(path, format, &found, error))
			return false;
		if (found == size)
			return true;
		g_set_error(error, FTD_ERROR, FTD_ERROR_IMAGE_SIZE, "%s has %" G_GUINT64_FORMAT " bytes, the primary's has %" G_GUINT64_FORMAT "; move the file away",
			    path, found, size);
		return false;
	}
	g_ptr_array_add(p->record->images, g_strdup(path));
	if (!pairs_update(p->host->pairs, p->record, error) || !image_create(path, format, size, error))
		return false;
	image_give(path, p->user.uid, p->user.gid);
	return true;
}

static bool
make_overlays(const char *image, guint64 size, GError **error)
{
	for (int hidden = 0; hidden < 2; hidden++) {
		g_autofree char *path = overlay_path(image, hidden);

		g_unlink(path);
		if (!image_create(path, "qcow2", size, error))
			return false;
	}
	return true;
}

static bool
is_free(const struct preparation *p, const char *image, GError **error)
{
	g_autoptr(GPtrArray) list = pairs_list(p->host->pairs);
	g_autofree char *overlay = overlay_path(image, false);

	for (guint i = 0; i < list->len; i++) {
		const struct pair_info *info = g_ptr_array_index(list, i);

		if (info->phase == PAIR_ENDED || strcmp(info->record->uuid, p->domain->uuid) == 0 ||
		    !g_ptr_array_find_with_equal_func(info->record->overlays, overlay, g_str_equal, NULL))
			continue;
		g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "%s is the image of the standby of %s here; protect it by another host, or move one of them", image,
			    info->record->domain);
		return false;
	}
	return true;
}

/*
 * Before any is unlinked, now or when it ends: two domains of different hosts may have images of the same name, and their standbys be made here at once. The overlays in
 * its record are a pair's own.
 */
static bool
claim_overlays(struct preparation *p, struct json_object *disks, GError **error)
{
	static GMutex claiming;
	g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&claiming);

	for (size_t i = 0; i < json_length(disks); i++)
		if (!is_free(p, json_get_str(json_at(disks, i), "path"), error))
			return false;
	for (size_t i = 0; i < json_length(disks); i++)
		for (int hidden = 0; hidden < 2; hidden++)
			g_ptr_array_add(p->record->overlays, overlay_path(json_get_str(json_at(disks, i), "path"), hidden));
	return pairs_update(p->host->pairs, p->record, error);
}

static bool
make_files(struct preparation *p, GError **error)
{
	struct json_object *disks = json_get(p->parameters, "disks");

	if (!claim_overlays(p, disks, error))
		return false;
	for (size_t i = 0; i < json_length(disks); i++) {
		struct json_object *d = json_at(disks, i);
		const char *path = json_get_str(d, "path");
		guint64 size = json_get_u64(d, "size");

		if (!make_image(p, path, json_get_str(d, "format"), size, error) || !make_overlays(path, size, error))
			return false;
	}
	return guard_prepare_dir(p->host, p->domain->uuid, &p->user, error);
}

/* The emulator opens the overlays by itself, later: as whoever owns the image once libvirt has started the domain. */
static void
adapt_overlay_owner(const struct preparation *p)
{
	for (guint i = 0; i < p->record->overlays->len; i++) {
		const char *overlay = g_ptr_array_index(p->record->overlays, i);
		g_autofree char *image = image_of_overlay(overlay);

		image_share_owner(overlay, image);
	}
}

/* -- the copy */

static bool
define_domain(struct preparation *p, virConnectPtr conn, const char *xml, GError **error)
{
	g_autofree char *clean = domain_xml_clean(xml, error);
	g_autoptr(virDomain) dom = NULL;

	p->record->defined = true;
	if (!clean || !pairs_update(p->host->pairs, p->record, error))
		return false;
	dom = virDomainDefineXML(conn, clean);
	if (!dom)
		libvirt_set_error(error, "defining the domain here");
	return dom != NULL;
}

static virDomainPtr
start_copy(struct preparation *p, virConnectPtr conn, GError **error)
{
	const char *xml = json_get_str(p->parameters, "xml");
	g_autofree char *monitor = host_pair_file(p->host, p->domain->uuid, QMP_SOCKET), *standby = domain_xml_standby(xml, monitor, error);
	virDomainPtr dom;

	if (!standby)
		return NULL;
	dom = virDomainCreateXML(conn, standby, VIR_DOMAIN_START_PAUSED);
	if (!dom)
		libvirt_set_error(error, "starting the standby");
	return dom;
}

/* -- its guard */

static void
apply_settings(struct guard_config *c, struct json_object *s)
{
	c->heartbeat_ms = (guint)json_get_u64(s, "heartbeat_ms");
	c->suspect_ms = (guint)json_get_u64(s, "suspect_ms");
	c->max_epoch_ms = (guint)json_get_u64(s, "max_epoch_ms");
	c->target_latency_ms = (guint)json_get_u64(s, "target_latency_ms");
	c->compare_timeout_ms = (guint)json_get_u64(s, "compare_timeout_ms");
	c->max_held_bytes = json_get_u64(s, "max_held_bytes");
	c->max_checkpoint_bytes = json_get_u64(s, "max_checkpoint_bytes");
	c->max_disk_bytes = json_get_u64(s, "max_disk_bytes");
	c->page_cache_bytes = json_get_u64(s, "page_cache_bytes");
	c->tcg_flush_load = json_get_bool(s, "tcg_flush_load");
	c->return_path = !json_get(s, "return_path") || json_get_bool(s, "return_path");
}

static bool
fill_disks(struct guard_config *c, const struct domain_facts *domain, const struct qemu_facts *qemu, GError **error)
{
	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);
		const struct qemu_disk *q = g_ptr_array_index(qemu->disks, i);
		struct guard_disk *g = &c->disks[c->n_disks];

		if (!d->path)
			continue;
		if (!q) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "disk %s is not attached to the standby's QEMU", d->target);
			return false;
		}
		*g = (struct guard_disk){ g_strdup(q->qom), g_strdup(d->alias), g_strdup(q->node), q->virtual_size, overlay_path(d->path, false), overlay_path(d->path, true) };
		c->n_disks++;
	}
	return true;
}

static void
fill_nics(struct guard_config *c, const struct domain_facts *domain)
{
	for (guint i = 0; i < domain->nics->len; i++) {
		const struct domain_nic *nic = g_ptr_array_index(domain->nics, i);

		c->nics[c->n_nics++] = (struct guard_nic){ .netdev = g_strconcat("host", nic->alias, NULL) };
	}
}

static struct guard_config *
make_guard_config(struct preparation *p, virDomainPtr dom, GError **error)
{
	g_autofree char *xml = libvirt_xml(dom, 0, error);
	g_autoptr(domain_facts) live = xml ? domain_facts_parse(xml, error) : NULL;
	g_autoptr(qemu_facts) qemu = live ? qemu_facts_collect(dom, live, error) : NULL;
	g_autoptr(guard_config) c = NULL;

	if (!qemu)
		return NULL;
	c = guard_config_new();
	c->role = FAILOVER_STANDBY;
	c->pair = g_strdup(live->uuid);
	c->domain = g_strdup(live->name);
	c->self = g_strdup(p->host->name);
	c->peer = g_strdup(p->caller->name);
	c->run_dir = host_pair_dir(p->host, live->uuid);
	c->state_file = host_state_file(p->host, live->uuid, ".json");
	c->arbiter = g_strdup(p->host->config->arbiter);
	c->pki = g_strdup(p->host->config->pki);
	c->libvirt_uri = g_strdup(p->host->config->libvirt_uri);
	c->generation = p->record->generation;
	c->token = g_strdup(json_get_str(p->parameters, "token"));
	c->listen_address = g_strdup(p->caller->local_address);
	c->qmp_path = host_pair_file(p->host, live->uuid, QMP_SOCKET);
	apply_settings(c, json_get(p->parameters, "settings"));
	fill_nics(c, live);
	return fill_disks(c, live, qemu, error) ? g_steal_pointer(&c) : NULL;
}

static struct json_object *
start_guard(struct preparation *p, virDomainPtr dom, GError **error)
{
	g_autoptr(guard_config) config = make_guard_config(p, dom, error);
	g_autoptr(json_object_ptr) reply = NULL;
	struct json_object *answer;
	guint64 port;

	if (!config || !guard_start(p->host, config, error))
		return NULL;
	reply = guard_call(p->host, p->domain->uuid, "Start", false, NULL, NULL, START_TIMEOUT_MS, error);
	port = json_get_u64(reply, "port");
	if (reply && (port == 0 || port > 65535))
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the standby's guard named no port");
	if (port == 0 || port > 65535)
		return NULL;
	answer = json_put_str(json_put_u64(json_object_new_object(), "port", port), "address", p->caller->local_address);
	return json_put_value(answer, "found", json_object_get(p->found));
}

/* A definition that was here before has the settings of an earlier pair. */
static bool
renew_settings(virDomainPtr dom, GError **error)
{
	g_auto(pair_settings) s = { 0 };

	return pair_settings_load(dom, &s, error) && pair_settings_store(dom, &s, error);
}

static struct json_object *
make_standby(struct preparation *p, virConnectPtr conn, bool defined, GError **error)
{
	g_autoptr(virDomain) dom = NULL;

	if (!qemu_user_of_next(conn, json_get_str(p->parameters, "xml"), &p->user, error) || !make_files(p, error) || (!defined && !define_domain(p, conn, json_get_str(p->parameters, "xml"), error)))
		return NULL;
	dom = start_copy(p, conn, error);
	if (!dom || (defined && !renew_settings(dom, error)))
		return NULL;
	adapt_overlay_owner(p);
	return start_guard(p, dom, error);
}

/*
 * A manual arbiter knows of another host only what it is told. A primary that asks for a standby says that it is the domain's owner, and an operator's
 * `enable` is behind it; only a word for this host that was given here contradicts it.
 */
static bool
learn_owner(const struct host *h, const struct pair_record *r, GError **error)
{
	struct arbiter_record word = { .generation = r->generation - 1, .reason = "told-by-peer", .nonce = "peer", .written_at = g_get_real_time() / G_USEC_PER_SEC };
	g_autoptr(arbiter) a = h->config->arbiter ? arbiter_open(h->config->arbiter, h->config->pki, error) : NULL;

	if (!a)
		return h->config->arbiter == NULL;
	if (!arbiter_is_manual(a) || word.generation == 0)
		return true;
	g_strlcpy(word.pair, r->uuid, sizeof word.pair);
	g_strlcpy(word.active, r->peer, sizeof word.active);
	if (arbiter_decide(a, &word, error))
		return true;
	g_prefix_error(error, "both hosts claim %s; if the copy on %s is to be given up, remove %s/%s there: ", r->domain, h->name, strchr(arbiter_spec(a), ':') + 1, r->uuid);
	return false;
}

struct json_object *
standby_prepare(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error)
{
	g_autoptr(domain_facts) domain = NULL;
	g_autoptr(pair_record) record = NULL;
	g_autoptr(virConnect) conn = NULL;
	g_autoptr(json_object_ptr) found = json_object_new_array();
	g_autofree char *called_off = NULL;
	struct preparation p = { .host = h, .caller = caller, .parameters = parameters, .found = found };
	struct json_object *answer;
	bool ok = check_parameters(&p, error), defined = false;

	domain = p.domain;
	conn = ok ? libvirt_open(h->config->libvirt_uri, error) : NULL;
	if (!conn || !check_not_running(conn, domain, &defined, error))
		return NULL;
	p.record = record = pair_record_new(domain->uuid, domain->name, caller->name, FAILOVER_STANDBY, json_get_u64(parameters, "generation"));
	if (!learn_owner(h, record, error) || !pairs_begin(h->pairs, record, caller->connection, error))
		return NULL;
	host_event(h, domain->name, "prepare", "preparing a standby of %s for %s", domain->name, caller->name);
	answer = make_standby(&p, conn, defined, error);
	called_off = pairs_made(h->pairs, domain->uuid);
	if (answer && called_off) {
		g_clear_pointer(&answer, json_object_put);
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s has called it off meanwhile", caller->name);
	}
	if (answer) {
		pairs_watch(h->pairs, domain->uuid);
	} else {
		guard_await_end(h, domain->uuid, 0);
		pairs_end(h->pairs, domain->uuid, "ended", called_off ? called_off : "setup-failed");
	}
	return answer;
}

/* -- the end */

void
standby_call_off(struct host *h, const char *uuid, const char *why)
{
	g_autoptr(json_object_ptr) reply = NULL;
	const char *state;

	if (pairs_call_off(h->pairs, uuid, why))
		return;
	reply = guard_call(h, uuid, "Status", false, NULL, NULL, STATUS_TIMEOUT_MS, NULL);
	state = json_get_str(json_get(reply, "status"), "state");
	if (state && strcmp(state, "forming") != 0) {
		pairs_activate(h->pairs, uuid);
		return;
	}
	guard_await_end(h, uuid, 0);	/* it has nothing to settle: the pair was never armed */
	pairs_end(h->pairs, uuid, "ended", why);
}

enum removal { REMOVAL_DONE, REMOVAL_FOREIGN, REMOVAL_FAILED };

/* A domain of that UUID which was not started as this standby is somebody else's doing: it and the files it runs on are left alone. */
static enum removal
destroy_copy(struct host *h, virDomainPtr dom, const char *uuid, GError **error)
{
	g_autofree char *monitor = host_pair_file(h, uuid, QMP_SOCKET), *xml = NULL;

	if (libvirt_is_off(dom))
		return REMOVAL_DONE;
	xml = libvirt_xml(dom, 0, error);
	if (!xml)
		return libvirt_is_off(dom) ? REMOVAL_DONE : REMOVAL_FAILED;
	if (!domain_xml_is_standby(xml, monitor))	/* one that has ended meanwhile has the XML of its definition */
		return libvirt_is_off(dom) ? REMOVAL_DONE : REMOVAL_FOREIGN;
	if (virDomainDestroy(dom) == 0 || libvirt_is_off(dom))
		return REMOVAL_DONE;
	libvirt_set_error(error, "destroying the standby");
	return REMOVAL_FAILED;
}

static enum removal
remove_domain(struct host *h, const struct pair_record *r, GError **error)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, error);
	g_autoptr(virDomain) dom = conn ? virDomainLookupByUUIDString(conn, r->uuid) : NULL;
	enum removal result;

	if (!dom)
		return conn && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? REMOVAL_DONE : REMOVAL_FAILED;
	result = destroy_copy(h, dom, r->uuid, error);
	if (result == REMOVAL_DONE && r->defined && virDomainUndefineFlags(dom, VIR_DOMAIN_UNDEFINE_NVRAM) < 0 && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN) {
		libvirt_set_error(error, "undefining the standby");
		return REMOVAL_FAILED;
	}
	return result;
}

static void
remove_files(const GPtrArray *files)
{
	for (guint i = 0; i < files->len; i++)
		g_unlink(g_ptr_array_index(files, i));
}

/* The copy is the VM now: its own poweroff is one again (domain-xml.c). The persistent definition says what that means. */
static void
restore_poweroff(struct host *h, const struct pair_record *r)
{
	static const struct { const char *name; unsigned action; } actions[] = {
		{ "destroy", VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY }, { "restart", VIR_DOMAIN_LIFECYCLE_ACTION_RESTART },
		{ "preserve", VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE }, { "rename-restart", VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME },
	};
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, &error);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, r->uuid, &error) : NULL;
	g_autofree char *xml = dom ? libvirt_xml(dom, VIR_DOMAIN_XML_INACTIVE, &error) : NULL, *wanted = xml ? domain_xml_on_poweroff(xml) : NULL;

	if (!wanted || !libvirt_is_running(dom))
		return;
	for (guint i = 0; i < G_N_ELEMENTS(actions); i++)
		if (strcmp(wanted, actions[i].name) == 0 &&
		    virDomainSetLifecycleAction(dom, VIR_DOMAIN_LIFECYCLE_POWEROFF, actions[i].action, VIR_DOMAIN_AFFECT_LIVE) < 0)
			host_event(h, r->domain, "error", "on_poweroff could not be set back to %s: %s", wanted, virGetLastErrorMessage());
}

/*
 * The guard died in the middle of a take-over, after the copy had everything it needs: what was left to do is done from here, over libvirt's monitor. What the guard
 * still held of the copy's output is lost, as a network may lose it.
 */
static bool
release(struct host *h, virDomainPtr dom, const struct pair_record *r, GError **error)
{
	g_autofree char *xml = libvirt_xml(dom, 0, error);
	g_autoptr(domain_facts) domain = xml ? domain_facts_parse(xml, error) : NULL;
	g_autoptr(json_object_ptr) kvm = domain ? libvirt_qmp(dom, "query-kvm", NULL, error) : NULL;
	g_autoptr(qmp_plan) plan = NULL;
	bool tcg;

	if (!kvm || !qmp_read_tcg(kvm, &tcg, error))
		return false;
	plan = qmp_recipe_standby_release(domain->nics->len, domain->disks->len, tcg);
	if (!libvirt_run_plan(dom, plan, error) || !primary_check_released(dom, error))
		return false;
	host_event(h, r->domain, "release", "the guard died while %s took over here: what was left to do is done", r->domain);
	return true;
}

/* Does the QEMU that was started as this standby run? A guest that has ended may have been started again, from its images alone. False with an error: it is not known. */
static bool
copy_runs(struct host *h, virDomainPtr dom, const char *uuid, GError **error)
{
	g_autofree char *monitor = host_pair_file(h, uuid, QMP_SOCKET), *xml = NULL;
	int active = virDomainIsActive(dom);

	if (active < 0)
		libvirt_set_error(error, "looking for the standby");
	xml = active > 0 ? libvirt_xml(dom, 0, error) : NULL;
	return xml && domain_xml_is_standby(xml, monitor);
}

static char *
names_of(const GPtrArray *files)
{
	GString *names = g_string_new(NULL);

	for (guint i = 0; i < files->len; i++)
		g_string_append_printf(names, "%s%s", i ? ", " : "", (const char *)g_ptr_array_index(files, i));
	return g_string_free(names, FALSE);
}

/* Only QEMU knew whether they are in the images by now: they may be all there is of what the guest wrote last, and they may be stale. */
static void
tell_ended(struct host *h, const struct pair_record *r)
{
	g_autoptr(GPtrArray) there = g_ptr_array_new();
	g_autofree char *names = NULL;

	for (guint i = 0; i < r->overlays->len; i++)
		if (access(g_ptr_array_index(r->overlays, i), F_OK) == 0)
			g_ptr_array_add(there, g_ptr_array_index(r->overlays, i));
	names = names_of(there);
	if (there->len)
		host_event(h, r->domain, "error", "%s ended here before it was seen that all it wrote is in its images: %s stay; before it is started again, see ftd(8), Overlays that stay",
			   r->domain, names);
}

/* False: some are in use, or it is not known. Two files of each disk are in the record, in the order of the disks. */
static bool
remove_overlays(struct host *h, virDomainPtr dom, const struct pair_record *r, struct standby_kept *kept, GError **error)
{
	g_autoptr(GPtrArray) used = g_ptr_array_new();
	g_autoptr(qmp_plan) plan = qmp_plan_new("let go of overlays");
	g_autoptr(json_object_ptr) nodes = NULL;
	g_autofree char *names = NULL;

	if (!r->overlays->len)
		return true;
	for (guint i = 0; i < r->overlays->len / 2; i++)
		qmp_plan_append(plan, qmp_recipe_standby_disk_look(i));
	nodes = libvirt_run_plan(dom, plan, error) ? libvirt_qmp(dom, "query-named-block-nodes", NULL, error) : NULL;
	if (!nodes)
		return false;
	for (guint i = 0; i < r->overlays->len; i++) {
		bool left = true;

		if (!qmp_read_overlays_left(nodes, i / 2, g_ptr_array_index(r->overlays, i), &left, error))
			return false;
		if (left)
			g_ptr_array_add(used, g_ptr_array_index(r->overlays, i));
		else
			g_unlink(g_ptr_array_index(r->overlays, i));
	}
	names = names_of(used);
	if (used->len && !kept->told)
		host_event(h, r->domain, "error", "what %s wrote here is not in its images yet, it still runs on %s; ftd looks again until it does not; see ftd(8), Overlays that stay",
			   r->domain, names);
	kept->told = used->len > 0;
	return used->len == 0;
}

/* The copy went on here. */
static bool
keep(struct host *h, const struct pair_record *r, struct standby_kept *kept)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, &error);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, r->uuid, &error) : NULL;
	bool runs = dom && copy_runs(h, dom, r->uuid, &error), done;

	if (!runs && (!error || g_error_matches(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN))) {
		tell_ended(h, r);	/* or this host was down meanwhile */
		return true;
	}
	if (runs && !kept->released)
		kept->released = release(h, dom, r, &error);
	if (runs && kept->released && !kept->told)
		restore_poweroff(h, r);
	done = runs && kept->released && remove_overlays(h, dom, r, kept, &error);
	if (error)
		host_event(h, r->domain, "error", "%s; trying again", error->message);
	return done;
}

bool
standby_end(struct host *h, const struct pair_record *r, enum pair_end end, struct standby_kept *kept)
{
	g_autoptr(GError) error = NULL;
	enum removal removal;

	if (end == PAIR_END_KEEP)
		return keep(h, r, kept);
	removal = remove_domain(h, r, &error);
	if (removal == REMOVAL_FOREIGN)
		return true;
	if (removal == REMOVAL_FAILED) {
		host_event(h, r->domain, "error", "%s; trying again", error ? error->message : "libvirt does not tell whether the standby is gone");
		return false;
	}
	remove_files(r->overlays);
	if (end == PAIR_END_REMOVE)
		remove_files(r->images);
	return true;
}
