/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QMP events as typed values; an unknown event is QMP_EVENT_OTHER. Pure. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

enum qmp_event_type {
	QMP_EVENT_STOP, QMP_EVENT_RESUME, QMP_EVENT_SHUTDOWN, QMP_EVENT_RESET, QMP_EVENT_SUSPEND, QMP_EVENT_GUEST_PANICKED, QMP_EVENT_COLO_EXIT,
	QMP_EVENT_BLOCK_JOB_READY, QMP_EVENT_BLOCK_JOB_ERROR, QMP_EVENT_BLOCK_JOB_COMPLETED, QMP_EVENT_BLOCK_IO_ERROR, QMP_EVENT_MIGRATION,
	QMP_EVENT_OTHER
};
struct qmp_event {
	enum qmp_event_type type;
	const char *name;	/* as QEMU spells it; valid as long as the message */
	gint64 timestamp_us;	/* the host's wall clock; -1 when QEMU could not tell (qmp-spec.rst, "Asynchronous events") */
	bool guest;		/* SHUTDOWN, RESET: the guest's own doing */
	char reason[48];	/* SHUTDOWN, RESET, COLO_EXIT reason, MIGRATION status, GUEST_PANICKED action, job id, I/O error's node; "" where there is none */
};
/* False + FTD_ERROR_PROTOCOL when the message is not an event. Missing data of a known event leaves the fields empty: what happened is in the name. */
bool qmp_event_decode(struct json_object *message, struct qmp_event *out, GError **error);
