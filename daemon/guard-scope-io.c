/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A scope and not a service: a guard is started by ftd (double fork) with or without systemd, and what is passed to systemd is its pid. While systemd has not moved
 * it yet, KillMode=process of ftd.service protects it. See org.freedesktop.systemd1(5), StartTransientUnit(), and systemd.scope(5).
 */
#include "daemon/guard-scope-io.h"

#include "daemon/base/error.h"

#include <gio/gio.h>
#include <systemd/sd-daemon.h>

#define ANSWER_TIMEOUT_MS 3000
/* At shutdown units stop in the reverse order: libvirt-guests shuts the guests down while their guards still work, and a guard whose guest has ended ends by itself. */
#define STOPS_AFTER "libvirt-guests.service"
#define STOP_TIMEOUT_US (5 * G_USEC_PER_SEC)	/* a guard whose guest did not end takes no notice of SIGTERM */

static GVariant *
scope_properties(pid_t pid, const char *domain)
{
	g_autofree char *description = g_strdup_printf("Fault tolerance guard of %s", domain);
	const guint32 pids[] = { (guint32)pid };
	const char *const before[] = { STOPS_AFTER, NULL };
	GVariantBuilder b;

	g_variant_builder_init(&b, G_VARIANT_TYPE("a(sv)"));
	g_variant_builder_add(&b, "(sv)", "Description", g_variant_new_string(description));
	g_variant_builder_add(&b, "(sv)", "PIDs", g_variant_new_fixed_array(G_VARIANT_TYPE_UINT32, pids, 1, sizeof *pids));
	g_variant_builder_add(&b, "(sv)", "Before", g_variant_new_strv(before, -1));
	g_variant_builder_add(&b, "(sv)", "CollectMode", g_variant_new_string("inactive-or-failed"));
	g_variant_builder_add(&b, "(sv)", "TimeoutStopUSec", g_variant_new_uint64(STOP_TIMEOUT_US));
	return g_variant_builder_end(&b);
}

bool
guard_scope_enter(pid_t pid, const char *uuid, const char *domain, GError **error)
{
	/* With the pid: the scope of the pair's last guard may not be gone yet. */
	g_autofree char *name = g_strdup_printf("ftd-guard-%s-%d.scope", uuid, pid);
	g_autoptr(GDBusConnection) bus = NULL;
	g_autoptr(GVariant) reply = NULL;

	if (sd_booted() <= 0)
		return true;
	bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, error);
	if (bus) {
		g_dbus_connection_set_exit_on_close(bus, FALSE);
		reply = g_dbus_connection_call_sync(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartTransientUnit",
						    g_variant_new("(ss@a(sv)a(sa(sv)))", name, "fail", scope_properties(pid, domain), NULL),
						    G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NONE, ANSWER_TIMEOUT_MS, NULL, error);
	}
	if (reply)
		return true;
	g_prefix_error(error, "systemd does not make the scope %s: ", name);
	return false;
}
