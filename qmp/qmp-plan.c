/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plan walks its steps once:
 *
 *	next() -> command -> reply() ok ------------> next step
 *	                     reply() error, RETRY --> the same step again after a pause
 *	                     reply() error, MAY_FAIL > next step, nothing to undo here
 *	                     reply() error ----------> over; undo() gives back what was done
 *	                     failed() --------------> over; undo() includes this step
 *
 * Invariants: at most one command is out; a step's undo is in the undo plan exactly when the step was done or may have been done. QEMU carries in-band commands out
 * in order, so an undo that is sent after a command without an answer runs after it.
 */
#include "qmp/qmp-plan.h"

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

#include <glib/gstdio.h>
#include <string.h>

enum step_state { STEP_WAITING, STEP_OUT, STEP_DONE, STEP_REFUSED, STEP_SKIPPED, STEP_UNKNOWN };

struct step {
	struct json_object *command;
	struct qmp_plan *undo;
	struct json_object *result;
	char *skip_if;
	bool only_if_running;
	const char *listed_key, *listed_prefix;
	unsigned settles;
	int fd;
	unsigned flags;
	unsigned retries;
	enum step_state state;
};

struct qmp_plan {
	char *name;
	GPtrArray *steps;
	unsigned at;		/* the step that is out or comes next */
	bool over;
	bool pause;
};

static void
step_free(gpointer data)
{
	struct step *s = data;

	json_object_put(s->command);
	json_object_put(s->result);
	qmp_plan_free(s->undo);
	g_free(s->skip_if);
	if (s->fd >= 0)
		g_close(s->fd, NULL);
	g_free(s);
}

struct qmp_plan *
qmp_plan_new(const char *name)
{
	struct qmp_plan *p = g_new0(struct qmp_plan, 1);

	p->name = g_strdup(name);
	p->steps = g_ptr_array_new_with_free_func(step_free);
	return p;
}

void
qmp_plan_free(struct qmp_plan *p)
{
	if (!p)
		return;
	g_ptr_array_unref(p->steps);
	g_free(p->name);
	g_free(p);
}

const char *
qmp_plan_name(const struct qmp_plan *p)
{
	return p->name;
}

unsigned
qmp_plan_length(const struct qmp_plan *p)
{
	return p->steps->len;
}

static struct step *
step_at(const struct qmp_plan *p, unsigned i)
{
	g_assert(i < p->steps->len);
	return g_ptr_array_index(p->steps, i);
}

static struct step *
last_step(const struct qmp_plan *p)
{
	g_assert(p->steps->len > 0);
	return step_at(p, p->steps->len - 1);
}

void
qmp_plan_add(struct qmp_plan *p, struct json_object *command, struct json_object *undo, int fd, unsigned flags)
{
	struct step *s = g_new0(struct step, 1);

	g_assert(fd < 0 || !(flags & (QMP_STEP_OOB | QMP_STEP_RETRY)));	/* an fd can be passed once, and in band */
	s->command = command;
	s->fd = fd;
	s->flags = flags;
	if (undo) {
		s->undo = qmp_plan_new(p->name);
		qmp_plan_add(s->undo, undo, NULL, -1, QMP_STEP_MAY_FAIL);
	}
	g_ptr_array_add(p->steps, s);
}

void
qmp_plan_skip_if(struct qmp_plan *p, const char *value)
{
	struct step *s = last_step(p);

	g_assert(p->steps->len >= 2 && s->fd < 0 && !s->skip_if);
	s->skip_if = g_strdup(value);
}

void
qmp_plan_only_if_running(struct qmp_plan *p)
{
	struct step *s = last_step(p);

	g_assert(p->steps->len >= 2 && s->fd < 0 && !s->skip_if);
	s->only_if_running = true;
}

void
qmp_plan_only_if_lists(struct qmp_plan *p, const char *key, const char *prefix)
{
	struct step *s = last_step(p);

	g_assert(p->steps->len >= 2 && s->fd < 0 && !s->skip_if);
	s->listed_key = key;
	s->listed_prefix = prefix;
}

void
qmp_plan_until_settled(struct qmp_plan *p)
{
	last_step(p)->settles = QMP_PLAN_SETTLE_RETRIES;
}

void
qmp_plan_set_undo(struct qmp_plan *p, struct qmp_plan *undo)
{
	struct step *s = last_step(p);

	qmp_plan_free(s->undo);
	s->undo = undo;
}

/* Moves other's steps over, with the given flags added. */
static void
take_steps(struct qmp_plan *p, struct qmp_plan *other, unsigned flags)
{
	unsigned n = other->steps->len;
	g_autofree gpointer *steps = g_ptr_array_steal(other->steps, NULL);

	for (unsigned i = 0; i < n; i++) {
		((struct step *)steps[i])->flags |= flags;
		g_ptr_array_add(p->steps, steps[i]);
	}
	qmp_plan_free(other);
}

void
qmp_plan_append(struct qmp_plan *p, struct qmp_plan *other)
{
	g_assert(other->at == 0 && !other->over && !p->over);
	take_steps(p, other, 0);
}

struct qmp_plan *
qmp_plan_undo(struct qmp_plan *p)
{
	g_autofree char *name = g_strconcat("undo ", p->name, NULL);
	g_autoptr(qmp_plan) undo = qmp_plan_new(name);

	for (unsigned i = p->steps->len; i-- > 0;) {
		struct step *s = step_at(p, i);

		if (s->undo && (s->state == STEP_DONE || s->state == STEP_UNKNOWN))
			take_steps(undo, g_steal_pointer(&s->undo), QMP_STEP_MAY_FAIL);
	}
	return undo->steps->len > 0 ? g_steal_pointer(&undo) : NULL;
}

static bool
lists(struct json_object *array, const char *key, const char *prefix)
{
	bool found = false;

	for (size_t i = 0; json_object_is_type(array, json_type_array) && i < json_object_array_length(array); i++) {
		const char *value = json_member_string(json_object_array_get_idx(array, i), key);
		found = found || (value && g_str_has_prefix(value, prefix));
	}
	return found;
}

static bool
must_skip(const struct qmp_plan *p, const struct step *s)
{
	const struct step *before = s->skip_if || s->only_if_running || s->listed_key ? step_at(p, p->at - 1) : NULL;
	bool running = false;

	if (s->only_if_running)
		return !json_member_bool(before->result, "running", &running) || !running;
	if (s->listed_key)
		return !lists(before->result, s->listed_key, s->listed_prefix);
	return before && (!json_object_is_type(before->result, json_type_string) || g_str_equal(json_object_get_string(before->result), s->skip_if));
}

struct json_object *
qmp_plan_next(struct qmp_plan *p, int *fd, unsigned *flags)
{
	struct step *s;

	for (;; p->at++) {
		if (p->over || p->at == p->steps->len) {
			p->over = true;
			return NULL;
		}
		s = step_at(p, p->at);
		g_assert(s->state == STEP_WAITING);
		if (!must_skip(p, s))
			break;
		s->state = STEP_SKIPPED;
	}
	s->state = STEP_OUT;
	p->pause = false;
	*fd = s->fd;
	s->fd = -1;
	*flags = s->flags;
	return json_object_get(s->command);
}

unsigned
qmp_plan_pause_ms(const struct qmp_plan *p)
{
	return p->pause ? QMP_PLAN_RETRY_MS : 0;
}

/* What a command is about, for messages: the name its object carries. NULL when there is none. */
static const char *
subject(struct json_object *command)
{
	static const char *const keys[] = { "id", "node-name", "job-id", "fdname", "device", "path", "command-line" };
	struct json_object *arguments = json_member(command, "arguments", json_type_object);
	const char *found = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(keys) && !found; i++)
		found = json_member_string(arguments, keys[i]);
	return found;
}

static void
set_step_error(GError **error, const struct step *s, gint code, const char *desc)
{
	const char *name = json_member_string(s->command, "execute"), *about = subject(s->command);

	g_set_error(error, FTD_ERROR, code, "%s%s%s: %s", name ? name : "?", about ? " " : "", about ? about : "", desc);
}

/* Texts of qom/object_interfaces.c, chardev/char.c, block.c, job-qmp.c. Only a short cut: without a match the retries run out. */
static bool
says_not_there(const char *desc)
{
	return strstr(desc, "not found") || strstr(desc, "Failed to find node");
}

static bool
refused(struct qmp_plan *p, struct step *s, const char *desc, GError **error)
{
	if ((s->flags & QMP_STEP_RETRY) && !says_not_there(desc) && s->retries++ < QMP_PLAN_RETRIES) {
		s->state = STEP_WAITING;
		p->pause = true;
		return true;
	}
	s->state = STEP_REFUSED;
	p->at++;
	if (s->flags & QMP_STEP_MAY_FAIL)
		return true;
	p->over = true;
	set_step_error(error, s, FTD_ERROR_QMP, desc);
	return false;
}

static struct step *
step_out(const struct qmp_plan *p)
{
	struct step *s = step_at(p, p->at);

	g_assert(s->state == STEP_OUT);
	return s;
}

/* COLO that was left, or a migration's end: its thread starts the guest in a moment (migration/migration.c, migration_iteration_finish()). */
static bool
is_settled(struct step *s, struct json_object *status)
{
	const char *text = s->settles > 0 ? json_member_string(status, "status") : NULL;

	if (!text || (strcmp(text, "colo") != 0 && strcmp(text, "finish-migrate") != 0))
		return true;
	s->settles--;
	return false;
}

bool
qmp_plan_reply(struct qmp_plan *p, struct json_object *reply, GError **error)
{
	struct step *s = step_out(p);
	struct json_object *value = NULL;
	const char *desc;

	if (json_object_object_get_ex(reply, "return", &value)) {
		if (!is_settled(s, value)) {
			s->state = STEP_WAITING;
			p->pause = true;
			return true;
		}
		s->result = json_object_get(value);
		s->state = STEP_DONE;
		p->at++;
		return true;
	}
	desc = json_member_string(json_member(reply, "error", json_type_object), "desc");
	return refused(p, s, desc ? desc : "refused without a reason", error);
}

bool
qmp_plan_failed(struct qmp_plan *p, const GError *why, GError **error)
{
	struct step *s = step_out(p);

	s->state = STEP_UNKNOWN;
	p->over = true;
	set_step_error(error, s, why->domain == FTD_ERROR ? why->code : FTD_ERROR_FAILED, why->message);
	return false;
}

struct json_object *
qmp_plan_result(const struct qmp_plan *p, unsigned i)
{
	return i < p->steps->len ? step_at(p, i)->result : NULL;
}
