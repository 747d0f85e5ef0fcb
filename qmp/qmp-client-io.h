/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One QEMU's monitor, over either transport. Runs in the thread-default GMainContext of the thread that made it; callbacks come from there, never from inside a call. */
#pragma once

#include "qmp/qmp-plan.h"

struct qmp_client;
typedef struct qmp_client qmp_client;
struct qmp_event;	/* qmp-events.h */

/* `error` NULL: `reply` is the whole {"return":...}. QEMU's {"error"} becomes FTD_ERROR_QMP, a passed deadline FTD_ERROR_TIMEOUT, a closed monitor what closed() says. */
typedef void (*qmp_reply_func)(struct json_object *reply, const GError *error, gpointer user_data);
typedef void (*qmp_plan_func)(struct qmp_plan *plan, const GError *error, gpointer user_data);	/* plan is borrowed */
typedef void (*qmp_event_func)(const struct qmp_event *event, gpointer user_data);
typedef void (*qmp_closed_func)(const GError *error, gpointer user_data);	/* once, after the callbacks of everything pending; the client may be freed in it */

/* Unix socket monitor (the standby's own second one). Waits up to connect_timeout_ms for the socket to appear and for the greeting; failures come as closed(). */
struct qmp_client *qmp_client_new_socket(const char *path, unsigned connect_timeout_ms, qmp_event_func on_event, qmp_closed_func on_closed, gpointer user_data);
/* Through libvirt's monitor (virDomainQemuMonitorCommandWithFiles) on a thread of its own with its own connection; reconnects when libvirtd was restarted.
 * No events, no oob. on_closed when the domain is gone: that is seen when a command is sent, not before. */
struct qmp_client *qmp_client_new_libvirt(const char *uri, const char *domain_uuid, qmp_closed_func on_closed, gpointer user_data);
void qmp_client_free(struct qmp_client *c);	/* pending callbacks are not called any more */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qmp_client, qmp_client_free)

/* Takes the command; fd is passed by SCM_RIGHTS and closed. flags: QMP_STEP_OOB or 0. `done` may be NULL. */
void qmp_client_execute(struct qmp_client *c, struct json_object *command, int fd, unsigned flags, unsigned timeout_ms, qmp_reply_func done, gpointer user_data);
/* Runs the whole plan (takes it over), each step with timeout_ms; on failure runs its undo first, then calls `done` with the error. Plans of one client run one after
 * another; an execute() meanwhile is sent between two steps. The undo ends at a step that gets no answer: QEMU is deaf then. */
void qmp_client_run(struct qmp_client *c, struct qmp_plan *plan, unsigned timeout_ms, qmp_plan_func done, gpointer user_data);
bool qmp_client_has_oob(const struct qmp_client *c);	/* known once the first reply is there */
