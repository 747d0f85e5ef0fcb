/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A guard takes out of its QEMU what it has put into it. One that was killed has not: its filters are still there with nobody at their far end, and the guest is cut
 * off from its network. That is right as long as the other side might go on. When the register says that this copy does, the filters, mirror jobs and settings are
 * removed from here, over libvirt's monitor, with the recipe that the guard would have used.
 */
#include "daemon/primary-io.h"

#include "daemon/base/error.h"
#include "daemon/domain-xml.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "qmp/qmp-commands.h"

#define OURS "ftd-"
#define OURS_FOR_GOOD "ftd-rew"		/* a former standby's rewriter: connections that it has shifted need it */

static bool
destroy(virDomainPtr dom, GError **error)
{
	if (virDomainDestroy(dom) == 0 || libvirt_is_off(dom))
		return true;
	libvirt_set_error(error, "destroying the stale domain");
	return false;
}

bool
primary_check_released(virDomainPtr dom, GError **error)
{
	g_autoptr(json_object_ptr) objects = libvirt_qmp(dom, "qom-list", json_put_str(json_object_new_object(), "path", "/objects"), error);
	g_autoptr(json_object_ptr) jobs = objects ? libvirt_qmp(dom, "query-block-jobs", NULL, error) : NULL;
	struct json_object *list = json_get(objects, "return");
	const char *left = NULL;

	if (!jobs)
		return false;
	for (size_t i = 0; i < json_length(list); i++) {
		const char *name = json_get_str(json_at(list, i), "name");

		if (name && g_str_has_prefix(name, OURS) && !g_str_has_prefix(name, OURS_FOR_GOOD))
			left = name;
	}
	list = json_get(jobs, "return");
	for (size_t i = 0; i < json_length(list); i++) {
		const char *name = json_get_str(json_at(list, i), "device");

		if (name && g_str_has_prefix(name, OURS))
			left = name;
	}
	if (left)
		g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "QEMU does not let go of %s", left);
	return !left;
}

void
primary_let_go(struct host *h, const struct pair_record *r)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, NULL);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, r->uuid, NULL) : NULL;
	g_autoptr(qmp_plan) plan = qmp_recipe_primary_let_go();

	if (dom && libvirt_is_running(dom))
		libvirt_run_plan(dom, plan, NULL);
}

static bool
release(struct host *h, virDomainPtr dom, const struct pair_record *r, GError **error)
{
	g_autofree char *xml = libvirt_xml(dom, 0, error);
	g_autoptr(domain_facts) domain = xml ? domain_facts_parse(xml, error) : NULL;
	g_autoptr(qmp_plan) plan = domain ? qmp_recipe_primary_detach(domain->nics->len, domain->disks->len, r->parameters, false) : NULL;
	g_autoptr(json_object_ptr) status = NULL, continued = NULL;

	/* Most often its guard has done all this itself; then nothing is there, and nothing is said. */
	if (plan && !primary_check_released(dom, NULL))
		host_event(h, r->domain, "release", "what the guard of %s had put into QEMU is removed", r->domain);
	if (!plan || !libvirt_run_plan(dom, plan, error))
		return false;
	status = libvirt_qmp(dom, "query-status", NULL, error);
	if (!status)
		return false;
	if (qmp_read_left_stopped(status)) {
		continued = libvirt_qmp(dom, "cont", NULL, error);
		if (!continued)
			return false;
	}
	return primary_check_released(dom, error);
}

bool
primary_end(struct host *h, const struct pair_record *r, enum pair_end end, bool finished)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = NULL;
	g_autoptr(virDomain) dom = NULL;
	bool done;

	if (end == PAIR_END_KEEP && finished)
		return true;
	conn = libvirt_open(h->config->libvirt_uri, &error);
	dom = conn ? libvirt_find(conn, r->uuid, &error) : NULL;
	if (g_error_matches(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN) || (dom && libvirt_is_off(dom)))
		return true;
	done = dom && (end == PAIR_END_KEEP ? release(h, dom, r, &error) : destroy(dom, &error));
	if (!done)
		host_event(h, r->domain, "error", "%s; trying again", error->message);
	return done;
}
