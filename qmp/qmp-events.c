/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event names and members as in QAPI (qapi/run-state.json, qapi/migration.json, qapi/block-core.json). A cancelled job ends protection as much as a
 * completed one, so BLOCK_JOB_CANCELLED is decoded as BLOCK_JOB_COMPLETED; `name` still tells them apart.
 */
#include "qmp/qmp-events.h"

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

static const struct known_event {
	const char *name;
	enum qmp_event_type type;
	const char *reason_key;	/* member of `data` that goes into `reason` */
} known_events[] = {
	{ "STOP", QMP_EVENT_STOP, NULL },
	{ "RESUME", QMP_EVENT_RESUME, NULL },
	{ "SHUTDOWN", QMP_EVENT_SHUTDOWN, "reason" },
	{ "RESET", QMP_EVENT_RESET, "reason" },
	{ "SUSPEND", QMP_EVENT_SUSPEND, NULL },
	{ "GUEST_PANICKED", QMP_EVENT_GUEST_PANICKED, "action" },
	{ "COLO_EXIT", QMP_EVENT_COLO_EXIT, "reason" },
	{ "BLOCK_JOB_READY", QMP_EVENT_BLOCK_JOB_READY, "device" },
	{ "BLOCK_JOB_ERROR", QMP_EVENT_BLOCK_JOB_ERROR, "device" },
	{ "BLOCK_JOB_COMPLETED", QMP_EVENT_BLOCK_JOB_COMPLETED, "device" },
	{ "BLOCK_JOB_CANCELLED", QMP_EVENT_BLOCK_JOB_COMPLETED, "device" },
	{ "BLOCK_IO_ERROR", QMP_EVENT_BLOCK_IO_ERROR, "node-name" },
	{ "MIGRATION", QMP_EVENT_MIGRATION, "status" },
};

static const struct known_event *
find(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(known_events); i++)
		if (g_str_equal(known_events[i].name, name))
			return &known_events[i];
	return NULL;
}

static gint64
timestamp_us(struct json_object *message)
{
	struct json_object *t = json_member(message, "timestamp", json_type_object);
	guint64 s, us;

	if (!json_member_uint64(t, "seconds", &s) || !json_member_uint64(t, "microseconds", &us))
		return -1;
	if (s > (guint64)G_MAXINT64 / G_USEC_PER_SEC - 1 || us >= G_USEC_PER_SEC)
		return -1;
	return (gint64)(s * G_USEC_PER_SEC + us);
}

bool
qmp_event_decode(struct json_object *message, struct qmp_event *out, GError **error)
{
	const char *name = json_member_string(message, "event"), *reason = NULL;
	struct json_object *data = json_member(message, "data", json_type_object);
	const struct known_event *known;
	struct qmp_event event = { .type = QMP_EVENT_OTHER, .name = name };

	if (!name) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "monitor: a message without \"event\" taken for an event");
		return false;
	}
	event.timestamp_us = timestamp_us(message);
	known = find(name);
	if (known) {
		event.type = known->type;
		reason = known->reason_key ? json_member_string(data, known->reason_key) : NULL;
		json_member_bool(data, "guest", &event.guest);
	}
	g_strlcpy(event.reason, reason ? reason : "", sizeof event.reason);
	*out = event;
	return true;
}
