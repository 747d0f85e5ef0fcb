/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/libvirt-events-io.h"

#include "daemon/job-io.h"
#include "daemon/libvirt-io.h"

#include <stdbool.h>
#include <unistd.h>

#define RECONNECT_S 1

struct watcher {
	char *uri;
	void (*ended)(const char *uuid, void *user_data);
	void *user_data;
	bool broken;			/* the thread's own */
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
	((struct watcher *)opaque)->broken = true;
}

static void
ignore_timeout(int timer, void *opaque)
{
}

static void
watch_once(struct watcher *w)
{
	g_autoptr(virConnect) conn = virConnectOpen(w->uri);
	int callback;

	if (!conn)
		return;
	w->broken = false;
	virConnectSetKeepAlive(conn, 5, 3);
	virConnectRegisterCloseCallback(conn, on_closed, w, NULL);
	callback = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), w, NULL);
	while (callback >= 0 && !w->broken && virConnectIsAlive(conn) == 1)
		virEventRunDefaultImpl();
	if (callback >= 0)
		virConnectDomainEventDeregisterAny(conn, callback);
	virConnectUnregisterCloseCallback(conn, on_closed);
}

static gpointer
watch(gpointer data)
{
	struct watcher *w = data;

	virEventAddTimeout(1000, ignore_timeout, NULL, NULL);	/* so that the loop looks at `broken` now and then */
	for (;; sleep(RECONNECT_S))
		watch_once(w);
	return NULL;
}

void
libvirt_events_start(const char *uri, void (*ended)(const char *uuid, void *user_data), void *user_data)
{
	struct watcher *w = g_new0(struct watcher, 1);

	*w = (struct watcher){ g_strdup(uri), ended, user_data, false };
	virEventRegisterDefaultImpl();	/* before any connection is opened: those of jobs are served by this loop as well */
	g_thread_unref(g_thread_new("libvirt-events", watch, w));
}
