/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/libvirt-io.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "qmp/qmp-plan.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 6

static void
ignore_error(void *user_data, virErrorPtr error)
{
}

void
libvirt_init(void)
{
	virInitialize();
	virSetErrorFunc(NULL, ignore_error);	/* the default prints to stderr; every error is returned to somebody here */
}

void
libvirt_set_error(GError **error, const char *what)
{
	const char *text = virGetLastErrorMessage();

	g_set_error(error, FTD_ERROR, FTD_ERROR_LIBVIRT, "%s: %s", what, text ? text : "unknown error");
}

virConnectPtr
libvirt_open(const char *uri, GError **error)
{
	virConnectPtr conn = virConnectOpen(uri);

	if (!conn) {
		libvirt_set_error(error, uri);
		g_prefix_error(error, "libvirt does not answer, is its daemon running? ");
	} else {
		virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT);	/* a daemon that hangs is waited for no longer than that */
	}
	return conn;
}

virDomainPtr
libvirt_find(virConnectPtr conn, const char *domain, GError **error)
{
	virDomainPtr found = g_uuid_string_is_valid(domain) ? virDomainLookupByUUIDString(conn, domain) : NULL;

	if (!found)
		found = virDomainLookupByName(conn, domain);
	if (found)
		return found;
	if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		g_set_error(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN, "libvirt knows no domain %s on this host (virsh list --all shows those it knows)", domain);
	else
		libvirt_set_error(error, domain);
	return NULL;
}

bool
libvirt_is_running(virDomainPtr domain)
{
	return virDomainIsActive(domain) == 1;
}

bool
libvirt_is_off(virDomainPtr domain)
{
	int active = virDomainIsActive(domain);

	return active == 0 || (active < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN);
}

char *
libvirt_xml(virDomainPtr domain, unsigned flags, GError **error)
{
	char *xml = virDomainGetXMLDesc(domain, flags);
	char *copy;

	if (!xml) {
		libvirt_set_error(error, "the domain's XML");
		return NULL;
	}
	copy = g_strdup(xml);
	free(xml);
	return copy;
}

/* The whole reply, {"return": ...} or {"error": ...}. */
static struct json_object *
monitor_command(virDomainPtr domain, struct json_object *request, GError **error)
{
	char *text = NULL;
	struct json_object *reply;

	if (virDomainQemuMonitorCommand(domain, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN), &text, 0) < 0) {
		libvirt_set_error(error, json_get_str(request, "execute"));
		return NULL;
	}
	reply = json_parse(text, strlen(text), error);
	free(text);
	if (!reply)
		g_prefix_error(error, "%s: ", json_get_str(request, "execute"));
	return reply;
}

struct json_object *
libvirt_qmp(virDomainPtr domain, const char *command, struct json_object *arguments, GError **error)
{
	g_autoptr(json_object_ptr) request = json_put_str(json_object_new_object(), "execute", command);
	g_autoptr(json_object_ptr) reply = NULL;
	struct json_object *refusal;

	if (arguments)
		json_put_value(request, "arguments", arguments);
	reply = monitor_command(domain, request, error);
	refusal = json_get(reply, "error");
	if (refusal) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "%s: %s", command, json_get_str(refusal, "desc") ? json_get_str(refusal, "desc") : "refused");
		return NULL;
	}
	return g_steal_pointer(&reply);
}

bool
libvirt_run_plan(virDomainPtr domain, struct qmp_plan *plan, GError **error)
{
	struct json_object *command;
	unsigned flags;
	int fd;

	while ((command = qmp_plan_next(plan, &fd, &flags))) {
		G_GNUC_UNUSED g_autoptr(json_object_ptr) owned = command;
		g_autoptr(json_object_ptr) reply = NULL;

		g_assert(fd < 0);	/* descriptors go through the guard's monitor only */
		reply = monitor_command(domain, command, error);
		if (!reply || !qmp_plan_reply(plan, reply, error))
			return false;
		g_usleep(qmp_plan_pause_ms(plan) * 1000ul);
	}
	return true;
}
