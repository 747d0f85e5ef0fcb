/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What qmp-client-io.c and its transports share. Private to qmp/. */
#pragma once

#include "qmp/qmp-client-io.h"
#include "qmp/qmp-session.h"

struct qmp_transport_ops {
	void (*send)(gpointer transport, uint64_t id, GBytes *bytes, int fd);	/* bytes are borrowed, the fd is taken over */
	void (*free)(gpointer transport);
};

struct qmp_client *qmp_client_new(enum qmp_session_kind kind, uint64_t greeting_deadline, qmp_event_func on_event, qmp_closed_func on_closed, gpointer user_data);
void qmp_client_set_transport(struct qmp_client *c, const struct qmp_transport_ops *ops, gpointer transport);	/* takes it over */

/* For transports: feed the session, then wake the client; it carries the session's actions out from the main loop. */
struct qmp_session *qmp_client_session(struct qmp_client *c);
/*
 * Events are heard before whatever else is ready, the arbiter's answer (G_PRIORITY_HIGH) above all: after a pause of this process the RESET of a copy
 * must not come behind the grant that makes it the VM. They are few, so they starve nobody.
 */
#define QMP_SOURCE_PRIORITY (G_PRIORITY_HIGH - 50)
void qmp_client_wake(struct qmp_client *c);
GMainContext *qmp_client_context(struct qmp_client *c);
void qmp_client_close(struct qmp_client *c, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);	/* closes the session with this reason and wakes */

uint64_t qmp_client_now(void);	/* ns, CLOCK_MONOTONIC */
