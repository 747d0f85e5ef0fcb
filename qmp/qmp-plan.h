/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plan: QMP commands run one after another, with the undo of what was done when one fails. Pure state machine; a qmp_client (qmp-client-io.h) carries it out.
 * Commands take ownership of their json_object.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

enum qmp_step_flags {
	QMP_STEP_MUST = 0,
	QMP_STEP_MAY_FAIL = 1 << 0,	/* an error reply does not end the plan (clean-up steps) */
	QMP_STEP_OOB = 1 << 1,		/* out of band where the transport has it, in band otherwise */
};

struct qmp_plan;
struct qmp_plan *qmp_plan_new(const char *name);	/* name: for logs ("attach-primary") */
void qmp_plan_free(struct qmp_plan *p);			/* closes fds that were not passed yet */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(struct qmp_plan, qmp_plan_free)
const char *qmp_plan_name(const struct qmp_plan *p);

/* Appends a step. `undo` may be NULL. `fd` >= 0 is passed along with the command (getfd) and closed afterwards. */
void qmp_plan_add(struct qmp_plan *p, struct json_object *command, struct json_object *undo, int fd, unsigned flags);
/* A second plan's steps appended; `other` is freed. */
void qmp_plan_append(struct qmp_plan *p, struct qmp_plan *other);
/* The undo of all that was done so far as a plan of its own (every step MAY_FAIL), newest first; NULL when there is nothing. The caller owns it. */
struct qmp_plan *qmp_plan_undo(struct qmp_plan *p);

/* Driving it: the command to send next, NULL when the plan is over. *fd as above (ownership moves). */
struct json_object *qmp_plan_next(struct qmp_plan *p, int *fd, unsigned *flags);
/* The reply ({"return":..} or {"error":..}) to the command last taken. False: the plan failed here (FTD_ERROR_QMP: "object-add f_out: <desc>"). */
bool qmp_plan_reply(struct qmp_plan *p, struct json_object *reply, GError **error);
/* The {"return"} of step i (0-based), borrowed; NULL if it has none. */
struct json_object *qmp_plan_result(const struct qmp_plan *p, unsigned i);
