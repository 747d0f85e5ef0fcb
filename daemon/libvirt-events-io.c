/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's default event loop is GLib's default main context (libvirt: src/util/vireventglib.c), so its events arrive on the daemon's main thread.
 * Opening a connection blocks, so that is left to a thread, which does nothing else than to open another one when the last is broken.
 *
 * Every checkpoint stops and starts the guest, and libvirt tells of that with the very same events as of `virsh suspend` (src/qemu/qemu_process.c,
 * qemuProcessHandleStop()); the state's reason differs, but before it is asked for the next checkpoint may have changed it. QEMU's own events have the times
 * at which it stopped and started, and the guard knows when its checkpoints did that. Whether a domain runs again is asked for, by a second thread: asking blocks.
 */
#include "daemon/libvirt-events-io.h"

#include "daemon/job-io.h"
#include "daemon/libvirt-io.h"

#include <libvirt/libvirt-qemu.h>
#include <string.h>
#include <unistd.h>

#define RECONNECT_S 1

struct events {
	char *uri;
	const struct domain_watcher *watcher;
	void *user_data;
	gint broken;			/* atomic */
	GHashTable *shutting_down;	/* UUIDs whose next STOP is their SHUTDOWN's, or, when a checkpoint had them stopped, RESUME the checkpoint's; main thread */
	GAsyncQueue *questions;		/* char *: UUIDs of domains whose state is to be asked for */
};

struct item {
	const struct events *events;
	char uuid[VIR_UUID_STRING_BUFLEN];
	enum domain_news news;
	char *detail;
};

static void
deliver(gpointer data)
{
	struct item *i = data;

	i->events->watcher->news(i->uuid, i->news, i->detail, i->events->user_data);
	g_free(i->detail);
	g_free(i);
}

static void
tell(const struct events *e, const char *uuid, enum domain_news news, const char *detail)
{
	struct item *i = g_new0(struct item, 1);

	*i = (struct item){ .events = e, .news = news, .detail = g_strdup(detail) };
	g_strlcpy(i->uuid, uuid, sizeof(i->uuid));
	main_invoke(deliver, i);
}

/* virsh destroy is STOPPED/DESTROYED, a guest's poweroff STOPPED/SHUTDOWN; a QEMU that died is STOPPED/FAILED or /CRASHED, which is a failover's business. */
static int
on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *opaque)
{
	struct events *e = opaque;
	char uuid[VIR_UUID_STRING_BUFLEN];

	virDomainGetUUIDString(dom, uuid);
	if (event == VIR_DOMAIN_EVENT_STOPPED)
		g_hash_table_remove(e->shutting_down, uuid);
	if (event == VIR_DOMAIN_EVENT_STOPPED && (detail == VIR_DOMAIN_EVENT_STOPPED_DESTROYED || detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN))
		tell(e, uuid, DOMAIN_ENDED, NULL);
	else if (event == VIR_DOMAIN_EVENT_CRASHED)
		tell(e, uuid, DOMAIN_PANICKED, NULL);
	else if (event == VIR_DOMAIN_EVENT_RESUMED && e->watcher->cares(uuid, e->user_data))
		g_async_queue_push(e->questions, g_strdup(uuid));
	return 0;
}

/* A guest that suspends itself to RAM (S3) stands without a STOP. One that switches itself off is stopped too, right after QEMU has said SHUTDOWN (system/runstate.c, main_loop_should_exit()); `virsh reboot` makes it
 * do so, and libvirt resets and starts it again. */
static void
on_run_state(virConnectPtr conn, virDomainPtr dom, const char *event, long long seconds, unsigned micros, const char *details, void *opaque)
{
	struct events *e = opaque;
	char uuid[VIR_UUID_STRING_BUFLEN];
	g_autofree char *when = g_strdup_printf("%lld", seconds * G_USEC_PER_SEC + micros);

	virDomainGetUUIDString(dom, uuid);
	bool stop = strcmp(event, "STOP") == 0, resume = strcmp(event, "RESUME") == 0, was_off = false;
	if (strcmp(event, "SHUTDOWN") == 0)
		g_hash_table_add(e->shutting_down, g_strdup(uuid));
	else if (stop || resume)
		was_off = g_hash_table_remove(e->shutting_down, uuid);
	if (!e->watcher->cares(uuid, e->user_data))
		return;
	if ((stop && !was_off) || strcmp(event, "SUSPEND") == 0)
		tell(e, uuid, DOMAIN_STOPPED, when);
	else if (strcmp(event, "WAKEUP") == 0)
		tell(e, uuid, DOMAIN_RESUMED, NULL);
	else if (strcmp(event, "SHUTDOWN") == 0 || strcmp(event, "GUEST_PANICKED") == 0)
		tell(e, uuid, DOMAIN_OFF, NULL);
	if (resume)
		tell(e, uuid, DOMAIN_STARTED, when);
	if (resume && !was_off)
		tell(e, uuid, DOMAIN_ON, NULL);
}

static void
on_io_error(virConnectPtr conn, virDomainPtr dom, const char *path, const char *alias, int action, const char *reason, void *opaque)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	virDomainGetUUIDString(dom, uuid);
	if (action == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE || action == VIR_DOMAIN_EVENT_IO_ERROR_REPORT)
		tell(opaque, uuid, DOMAIN_DISK_ERROR, path && *path ? path : alias);
}

static void
on_closed(virConnectPtr conn, int reason, void *opaque)
{
	g_atomic_int_set(&((struct events *)opaque)->broken, 1);
}

static void
watch_once(struct events *e)
{
	g_autoptr(virConnect) conn = virConnectOpen(e->uri);
	int callbacks[2], stop;

	if (!conn)
		return;
	g_atomic_int_set(&e->broken, 0);
	virConnectSetKeepAlive(conn, 5, 3);
	virConnectRegisterCloseCallback(conn, on_closed, e, NULL);
	callbacks[0] = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), e, NULL);
	callbacks[1] = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, VIR_DOMAIN_EVENT_CALLBACK(on_io_error), e, NULL);
	stop = virConnectDomainQemuMonitorEventRegister(conn, NULL, "^(STOP|RESUME|SHUTDOWN|GUEST_PANICKED|SUSPEND|WAKEUP)$", on_run_state, e, NULL,
							VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX);
	while (callbacks[0] >= 0 && callbacks[1] >= 0 && stop >= 0 && !g_atomic_int_get(&e->broken) && virConnectIsAlive(conn) == 1)
		sleep(RECONNECT_S);
	for (guint i = 0; i < G_N_ELEMENTS(callbacks); i++)
		if (callbacks[i] >= 0)
			virConnectDomainEventDeregisterAny(conn, callbacks[i]);
	if (stop >= 0)
		virConnectDomainQemuMonitorEventDeregister(conn, stop);
	virConnectUnregisterCloseCallback(conn, on_closed);
}

static gpointer
watch(gpointer data)
{
	struct events *e = data;

	for (;; sleep(RECONNECT_S))
		watch_once(e);
	return NULL;
}

/* False: the connection is no longer good. */
static bool
ask(struct events *e, virConnectPtr conn, const char *uuid)
{
	g_autoptr(virDomain) dom = virDomainLookupByUUIDString(conn, uuid);
	int state, reason;

	if (!dom || virDomainGetState(dom, &state, &reason, 0) < 0)
		return virConnectIsAlive(conn) == 1;
	if (state == VIR_DOMAIN_RUNNING)
		tell(e, uuid, DOMAIN_RESUMED, NULL);
	return true;
}

static gpointer
answer(gpointer data)
{
	struct events *e = data;
	virConnectPtr conn = NULL;

	for (;;) {
		g_autofree char *uuid = g_async_queue_pop(e->questions);

		if (!conn)
			conn = virConnectOpen(e->uri);
		if (conn && !ask(e, conn, uuid))
			g_clear_pointer(&conn, virConnectClose);
	}
	return NULL;
}

void
libvirt_events_start(const char *uri, const struct domain_watcher *watcher, void *user_data)
{
	struct events *e = g_new0(struct events, 1);

	*e = (struct events){ .uri = g_strdup(uri), .watcher = watcher, .user_data = user_data, .questions = g_async_queue_new() };
	e->shutting_down = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	virEventRegisterDefaultImpl();	/* before any connection is opened */
	g_thread_unref(g_thread_new("libvirt-events", watch, e));
	g_thread_unref(g_thread_new("libvirt-state", answer, e));
}
