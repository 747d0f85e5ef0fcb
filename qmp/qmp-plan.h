/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plan: QMP commands run one after another, with the undo of what was done when one fails. Pure state machine; a qmp_client (qmp-client-io.h) carries it out.
 * Commands take ownership of their json_object.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#define QMP_PLAN_RETRIES 200		/* of one step */
#define QMP_PLAN_RETRY_MS 10		/* between two tries */
#define QMP_PLAN_SETTLE_RETRIES 20

enum qmp_step_flags {
	QMP_STEP_MUST = 0,
	QMP_STEP_MAY_FAIL = 1 << 0,	/* an error reply does not end the plan (clean-up steps) */
	QMP_STEP_OOB = 1 << 1,		/* out of band where the transport has it, in band otherwise */
	QMP_STEP_RETRY = 1 << 2,	/* an error reply is tried again, QMP_PLAN_RETRIES times, unless it says that the object is not there (QEMU still lets go of something) */
};

struct qmp_plan;
typedef struct qmp_plan qmp_plan;
struct qmp_plan *qmp_plan_new(const char *name);	/* name: for logs ("attach-primary") */
void qmp_plan_free(struct qmp_plan *p);			/* closes fds that were not passed yet */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qmp_plan, qmp_plan_free)
const char *qmp_plan_name(const struct qmp_plan *p);
unsigned qmp_plan_length(const struct qmp_plan *p);

/* Appends a step. `undo` may be NULL. `fd` >= 0 is passed along with the command (getfd) and closed afterwards. */
void qmp_plan_add(struct qmp_plan *p, struct json_object *command, struct json_object *undo, int fd, unsigned flags);
/* The step last added is skipped (it has no result and no undo then) when the step before it returned the string `value`, or no string at all. */
void qmp_plan_skip_if(struct qmp_plan *p, const char *value);
/* The step last added is skipped unless the step before it returned a StatusInfo (query-status) of a guest that runs, */
void qmp_plan_only_if_running(struct qmp_plan *p);
/* or an array with an object whose `key` begins with `prefix` (constants). */
void qmp_plan_only_if_lists(struct qmp_plan *p, const char *key, const char *prefix);
/* The step last added is a query-status that is asked again, QMP_PLAN_SETTLE_RETRIES times, while QEMU is about to start the guest by itself. */
void qmp_plan_until_settled(struct qmp_plan *p);
/* Undoing the step last added takes more than one command: all of `undo`, in its order and with its flags. Takes it over. */
void qmp_plan_set_undo(struct qmp_plan *p, struct qmp_plan *undo);
/* A second plan's steps appended; `other` is freed. Before the first qmp_plan_next() only. */
void qmp_plan_append(struct qmp_plan *p, struct qmp_plan *other);
/* The undo of all that was done so far as a plan of its own (every step MAY_FAIL), newest first; NULL when there is nothing. The caller owns it. */
struct qmp_plan *qmp_plan_undo(struct qmp_plan *p);

/* Driving it: the command to send next (a reference of the caller's), NULL when the plan is over. *fd as above (ownership moves). */
struct json_object *qmp_plan_next(struct qmp_plan *p, int *fd, unsigned *flags);
/* Milliseconds to wait before the command that qmp_plan_next() will give: 0, or QMP_PLAN_RETRY_MS. */
unsigned qmp_plan_pause_ms(const struct qmp_plan *p);
/* The reply ({"return":..} or {"error":..}) to the command last taken. False: the plan failed here (FTD_ERROR_QMP: "object-add ftd-out0: <desc>") and is over. */
bool qmp_plan_reply(struct qmp_plan *p, struct json_object *reply, GError **error);
/* The command last taken got no reply (a time-out, a closed monitor): nobody knows whether it was carried out. The plan is over whatever the flags, and the undo
 * includes this step. Returns false. */
bool qmp_plan_failed(struct qmp_plan *p, const GError *why, GError **error);
/* The {"return"} of step i (0-based), borrowed; NULL if it has none. */
struct json_object *qmp_plan_result(const struct qmp_plan *p, unsigned i);
