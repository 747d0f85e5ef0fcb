/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt for worker threads: every call may block, so none is made on the main thread. An operation opens a connection of its own; that is cheap
 * on a local socket, and a restart of libvirtd then needs no care at all.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>

struct qmp_plan;	/* qmp/qmp-plan.h */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virConnect, virConnectClose)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)

void libvirt_init(void);	/* once, before the first thread */
/* *error from libvirt's last one in this thread, FTD_ERROR_LIBVIRT: "<what>: <libvirt's text>". */
void libvirt_set_error(GError **error, const char *what);
virConnectPtr libvirt_open(const char *uri, GError **error);
/* By UUID or name; FTD_ERROR_NO_DOMAIN. */
virDomainPtr libvirt_find(virConnectPtr conn, const char *domain, GError **error);
bool libvirt_is_running(virDomainPtr domain);
bool libvirt_is_off(virDomainPtr domain);	/* ... for certain: false too when libvirt does not answer */
char *libvirt_xml(virDomainPtr domain, unsigned flags, GError **error);
/* One QMP command over libvirt's monitor; arguments (taken) may be NULL. The whole {"return": ...}; QEMU's refusal is FTD_ERROR_QMP. */
struct json_object *libvirt_qmp(virDomainPtr domain, const char *command, struct json_object *arguments, GError **error);
/* Carries a plan out, without its undo. A step that gets no answer at all ends it (FTD_ERROR_LIBVIRT). */
bool libvirt_run_plan(virDomainPtr domain, struct qmp_plan *plan, GError **error);
