/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's default event loop is GLib's default main context (libvirt: src/util/vireventglib.c), so its events arrive on the daemon's main thread.
 * Opening a connection blocks, so that is left to a thread, which does nothing else than to open another one when the last is broken.
 */
#include "daemon/libvirt-events-io.h"

#include "daemon/job-io.h"
#include "daemon/libvirt-io.h"

#include <unistd.h>

#define RECONNECT_S 1

struct watcher {
	char *uri;
	void (*ended)(const char *uuid, void *user_data);
	void *user_data;
	gint broken;			/* atomic */
};

struct ending {
	const struct watcher *watcher;
	char uuid[VIR_UUID_STRING_BUFLEN];
};

static void
deliver(gpointer data)
{
	struct ending *e = data;

	e->watcher->ended(e->uuid, e->watcher->user_data);
	g_free(e);
}

/* virsh destroy is STOPPED/DESTROYED, a guest's poweroff STOPPED/SHUTDOWN; a QEMU that died is STOPPED/FAILED or /CRASHED, which is a failover's business. */
static int
on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *opaque)
{
	struct ending *e;

	if (event != VIR_DOMAIN_EVENT_STOPPED || (detail != VIR_DOMAIN_EVENT_STOPPED_DESTROYED && detail != VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN))
		return 0;
	e = g_new0(struct ending, 1);
	e->watcher = opaque;
	virDomainGetUUIDString(dom, e->uuid);
	main_invoke(deliver, e);
	return 0;
}

static void
on_closed(virConnectPtr conn, int reason, void *opaque)
{
	g_atomic_int_set(&((struct watcher *)opaque)->broken, 1);
}

static void
watch_once(struct watcher *w)
{
	g_autoptr(virConnect) conn = virConnectOpen(w->uri);
	int callback;

	if (!conn)
		return;
	g_atomic_int_set(&w->broken, 0);
	virConnectSetKeepAlive(conn, 5, 3);
	virConnectRegisterCloseCallback(conn, on_closed, w, NULL);
	callback = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), w, NULL);
	while (callback >= 0 && !g_atomic_int_get(&w->broken) && virConnectIsAlive(conn) == 1)
		sleep(RECONNECT_S);
	if (callback >= 0)
		virConnectDomainEventDeregisterAny(conn, callback);
	virConnectUnregisterCloseCallback(conn, on_closed);
}

static gpointer
watch(gpointer data)
{
	struct watcher *w = data;

	for (;; sleep(RECONNECT_S))
		watch_once(w);
	return NULL;
}

void
libvirt_events_start(const char *uri, void (*ended)(const char *uuid, void *user_data), void *user_data)
{
	struct watcher *w = g_new0(struct watcher, 1);

	*w = (struct watcher){ .uri = g_strdup(uri), .ended = ended, .user_data = user_data };
	virEventRegisterDefaultImpl();	/* before any connection is opened */
	g_thread_unref(g_thread_new("libvirt-events", watch, w));
}
