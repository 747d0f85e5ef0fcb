/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shell around qmp_session: one GSource per client carries the session's actions out, keeps its deadlines and drives the plans. Its ready time is "now" after every
 * execute(), run() or input (qmp_client_wake), else the next deadline; so every callback comes out of dispatch() and none from inside a call.
 *
 * A callback may free the client. dispatch() holds it (`busy`), free() then only marks it dead and takes away what could call back.
 */
#include "qmp/qmp-client-io.h"

#include "daemon/base/error.h"
#include "qmp/qmp-events.h"
#include "qmp/qmp-transport-io.h"

#define NEVER UINT64_MAX

struct call {
	qmp_reply_func done;
	gpointer user_data;
};

struct run {
	struct qmp_plan *plan;
	struct qmp_plan *undo;	/* of the plan, once it has failed */
	GError *error;		/* why it has failed */
	uint64_t timeout_ns;
	qmp_plan_func done;
	gpointer user_data;
	bool waiting;		/* a command of it is out */
	bool over;
};

struct qmp_client {
	GMainContext *context;
	GSource *source;
	struct qmp_session *session;
	const struct qmp_transport_ops *ops;
	gpointer transport;
	GHashTable *calls;	/* command id -> struct call */
	GQueue runs;		/* struct run; the head is the one that runs */
	uint64_t resume_at;	/* the running plan's pause ends */
	qmp_event_func on_event;
	qmp_closed_func on_closed;
	gpointer user_data;
	unsigned busy;
	bool dead;
};

struct client_source {
	GSource base;
	struct qmp_client *client;
};

uint64_t
qmp_client_now(void)
{
	return (uint64_t)g_get_monotonic_time() * 1000;
}

static void
run_free(gpointer data)
{
	struct run *r = data;

	qmp_plan_free(r->plan);
	qmp_plan_free(r->undo);
	g_clear_error(&r->error);
	g_free(r);
}

static void
release(struct qmp_client *c)
{
	if (!c->dead || c->busy)
		return;
	qmp_session_free(c->session);
	g_main_context_unref(c->context);
	g_free(c);
}

static void
drop_transport(struct qmp_client *c)
{
	if (c->ops)
		c->ops->free(c->transport);
	c->ops = NULL;
}

void
qmp_client_free(struct qmp_client *c)
{
	if (!c || c->dead)
		return;
	c->dead = true;
	g_source_destroy(c->source);
	g_source_unref(c->source);
	drop_transport(c);
	g_hash_table_unref(c->calls);
	g_queue_clear_full(&c->runs, run_free);
	release(c);
}

static uint64_t
execute(struct qmp_client *c, struct json_object *command, int fd, unsigned flags, uint64_t timeout_ns, qmp_reply_func done, gpointer user_data)
{
	uint64_t id = qmp_session_execute(c->session, command, fd, flags & QMP_STEP_OOB, qmp_client_now() + timeout_ns);
	uint64_t *key = g_new(uint64_t, 1);
	struct call *call = g_new0(struct call, 1);

	*key = id;
	call->done = done;
	call->user_data = user_data;
	g_hash_table_insert(c->calls, key, call);
	return id;
}

static void
run_over(struct run *r)
{
	r->over = true;
	r->waiting = false;
}

/* The plan failed: back out what was done. After a closed monitor there is nobody to tell. */
static void
run_failed(struct qmp_client *c, struct run *r, GError *error)
{
	if (r->error) {		/* in the undo */
		g_error_free(error);
		run_over(r);
		return;
	}
	r->error = error;
	if (qmp_session_state(c->session) != QMP_SESSION_CLOSED)
		r->undo = qmp_plan_undo(r->plan);
	if (!r->undo)
		run_over(r);
}

static void
run_reply(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct qmp_client *c = user_data;
	struct run *r = g_queue_peek_head(&c->runs);
	struct qmp_plan *active = r->undo ? r->undo : r->plan;
	GError *failure = NULL;
	unsigned pause;

	r->waiting = false;
	if (!(reply ? qmp_plan_reply(active, reply, &failure) : qmp_plan_failed(active, error, &failure))) {
		run_failed(c, r, failure);
		return;
	}
	pause = qmp_plan_pause_ms(active);
	if (pause)
		c->resume_at = qmp_client_now() + (uint64_t)pause * 1000000;
}

static void
run_step(struct qmp_client *c, struct run *r)
{
	struct json_object *command;
	unsigned flags;
	int fd;

	command = qmp_plan_next(r->undo ? r->undo : r->plan, &fd, &flags);
	if (!command) {
		run_over(r);
		return;
	}
	r->waiting = true;
	execute(c, command, fd, flags, r->timeout_ns, run_reply, c);
}

static void
run_finish(struct qmp_client *c, struct run *r)
{
	g_queue_pop_head(&c->runs);
	c->resume_at = NEVER;
	if (r->done)
		r->done(r->plan, r->error, r->user_data);
	run_free(r);
}

/* Moves the plans on as far as they go without an answer. */
static void
advance_runs(struct qmp_client *c)
{
	struct run *r;

	while (!c->dead && (r = g_queue_peek_head(&c->runs)) && !r->waiting && qmp_client_now() >= (c->resume_at == NEVER ? 0 : c->resume_at)) {
		c->resume_at = NEVER;
		if (r->over)
			run_finish(c, r);
		else
			run_step(c, r);
	}
}

/* The monitor is closed: plans that have not begun get its reason. The one that runs has had its reply. */
static void
fail_runs(struct qmp_client *c, const GError *reason)
{
	struct run *r;

	while (!c->dead && (r = g_queue_peek_head(&c->runs))) {
		if (!r->error && !r->over)
			r->error = g_error_copy(reason);
		run_finish(c, r);
	}
}

static void
act_reply(struct qmp_client *c, const struct qmp_session_action *a)
{
	g_autofree struct call *call = NULL;
	g_autofree uint64_t *key = NULL;

	if (!g_hash_table_steal_extended(c->calls, &a->id, (gpointer *)&key, (gpointer *)&call) || !call->done)
		return;
	/* A plan wants QEMU's own words, whoever calls execute() a reply or an error. */
	if (call->done == run_reply)
		run_reply(a->reply, a->error, call->user_data);
	else
		call->done(a->error ? NULL : a->reply, a->error, call->user_data);
}

static void
act_event(struct qmp_client *c, const struct qmp_session_action *a)
{
	struct qmp_event event;

	if (c->on_event && qmp_event_decode(a->reply, &event, NULL))
		c->on_event(&event, c->user_data);
}

/* Whoever closed it: the far end must see it too. */
static void
act_closed(struct qmp_client *c, const struct qmp_session_action *a)
{
	drop_transport(c);
	fail_runs(c, a->error);
	if (!c->dead && c->on_closed)
		c->on_closed(a->error, c->user_data);
}

static void
act(struct qmp_client *c, struct qmp_session_action *a)
{
	switch (a->type) {
	case QMP_SESSION_SEND:
		c->ops->send(c->transport, a->id, a->bytes, a->fd);
		a->fd = -1;
		break;
	case QMP_SESSION_REPLY:
		act_reply(c, a);
		break;
	case QMP_SESSION_EVENT:
		act_event(c, a);
		break;
	case QMP_SESSION_IS_READY:
		break;
	case QMP_SESSION_IS_CLOSED:
		act_closed(c, a);
		break;
	}
}

static void
carry_out(struct qmp_client *c)
{
	struct qmp_session_action a;

	while (!c->dead && qmp_session_next(c->session, &a)) {
		act(c, &a);
		qmp_session_action_clear(&a);
		advance_runs(c);
	}
}

static gboolean
dispatch(GSource *source, GSourceFunc callback G_GNUC_UNUSED, gpointer user_data G_GNUC_UNUSED)
{
	struct qmp_client *c = ((struct client_source *)source)->client;
	uint64_t next;

	c->busy++;
	g_source_set_ready_time(source, -1);
	qmp_session_tick(c->session, qmp_client_now());
	advance_runs(c);
	carry_out(c);
	c->busy--;
	if (!c->dead) {
		/* A callback may have asked for another round already (ready time 0). */
		next = MIN(qmp_session_deadline(c->session), c->resume_at);
		if (g_source_get_ready_time(source) == -1 && next != NEVER)
			g_source_set_ready_time(source, (gint64)((next + 999) / 1000));
	}
	release(c);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .dispatch = dispatch };

struct qmp_client *
qmp_client_new(enum qmp_session_kind kind, uint64_t greeting_deadline, qmp_event_func on_event, qmp_closed_func on_closed, gpointer user_data)
{
	struct qmp_client *c = g_new0(struct qmp_client, 1);

	c->context = g_main_context_ref_thread_default();
	c->session = qmp_session_new(kind, greeting_deadline);
	c->calls = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	g_queue_init(&c->runs);
	c->resume_at = NEVER;
	c->on_event = on_event;
	c->on_closed = on_closed;
	c->user_data = user_data;
	c->source = g_source_new(&source_funcs, sizeof(struct client_source));
	((struct client_source *)c->source)->client = c;
	g_source_set_static_name(c->source, "qmp-client");
	g_source_set_priority(c->source, QMP_SOURCE_PRIORITY);
	g_source_set_ready_time(c->source, 0);
	g_source_attach(c->source, c->context);
	return c;
}

void
qmp_client_set_transport(struct qmp_client *c, const struct qmp_transport_ops *ops, gpointer transport)
{
	c->ops = ops;
	c->transport = transport;
}

struct qmp_session *
qmp_client_session(struct qmp_client *c)
{
	return c->session;
}

GMainContext *
qmp_client_context(struct qmp_client *c)
{
	return c->context;
}

void
qmp_client_wake(struct qmp_client *c)
{
	g_source_set_ready_time(c->source, 0);
}

void
qmp_client_close(struct qmp_client *c, int code, const char *format, ...)
{
	g_autoptr(GError) error = NULL;
	va_list args;

	va_start(args, format);
	error = g_error_new_valist(FTD_ERROR, code, format, args);
	va_end(args);
	qmp_session_close(c->session, error);
	qmp_client_wake(c);
}

void
qmp_client_execute(struct qmp_client *c, struct json_object *command, int fd, unsigned flags, unsigned timeout_ms, qmp_reply_func done, gpointer user_data)
{
	execute(c, command, fd, flags, (uint64_t)timeout_ms * 1000000, done, user_data);
	qmp_client_wake(c);
}

void
qmp_client_run(struct qmp_client *c, struct qmp_plan *plan, unsigned timeout_ms, qmp_plan_func done, gpointer user_data)
{
	struct run *r = g_new0(struct run, 1);

	r->plan = plan;
	r->timeout_ns = (uint64_t)timeout_ms * 1000000;
	r->done = done;
	r->user_data = user_data;
	g_queue_push_tail(&c->runs, r);
	qmp_client_wake(c);
}

bool
qmp_client_has_oob(const struct qmp_client *c)
{
	return qmp_session_has_oob(c->session);
}
