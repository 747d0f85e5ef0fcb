/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The front of every arbiter: picks the backend, checks what goes in, and moves a claim to a thread of its own.
 *
 * A claim's job has two owners, the caller's main context and the thread, and one field for each to write: the thread fills in the answer and hands it
 * over with an idle source, after which it does not look at it again; `done` is read and written in the context only, so no lock is needed. Whichever
 * of answer and deadline the context sees first is the verdict. (g_main_context_invoke() would not do: it may run the callback on the thread.)
 */
#include "policy/arbiter-io.h"

#include "daemon/base/error.h"
#include "policy/arbiter-backend.h"

#include <string.h>

static const struct arbiter_backend *const backends[] = { &arbiter_file_backend, &arbiter_etcd_backend, &arbiter_manual_backend };

static char no_more;		/* the last thing in a queue of jobs */

/* -- life --------------------------------------------------------------------------------------------------------------------- */

static const struct arbiter_backend *
backend_of(const char *spec, const char **location)
{
	for (size_t i = 0; i < G_N_ELEMENTS(backends); i++) {
		size_t n = strlen(backends[i]->kind);
		if (strncmp(spec, backends[i]->kind, n) == 0 && spec[n] == ':') {
			*location = spec + n + 1;
			return backends[i];
		}
	}
	return NULL;
}

struct arbiter *
arbiter_open(const char *spec, const char *pki, GError **error)
{
	struct arbiter *a = g_new0(struct arbiter, 1);

	a->refs = 1;
	a->spec = g_strdup(spec);
	a->backend = backend_of(a->spec, &a->location);
	if (!a->backend)
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "'%s' is not an arbiter; write file:/directory that both hosts can write, etcd:https://host:2379,... or manual:",
			    spec);
	else if (a->backend->open(a, pki, error))
		return a;
	arbiter_unref(a);
	return NULL;
}

struct arbiter *
arbiter_ref(struct arbiter *a)
{
	g_atomic_int_inc(&a->refs);
	return a;
}

void
arbiter_unref(struct arbiter *a)
{
	if (!a || !g_atomic_int_dec_and_test(&a->refs))
		return;
	if (a->own)
		a->backend->close(a);
	if (a->starts) {
		g_async_queue_push(a->starts, &no_more);
		g_async_queue_unref(a->starts);
	}
	g_free(a->spec);
	g_free(a);
}

const char *
arbiter_kind(const struct arbiter *a)
{
	return a->backend->kind;
}

const char *
arbiter_spec(const struct arbiter *a)
{
	return a->spec;
}

void
arbiter_remember_names(struct arbiter *a)
{
	if (a->backend->remember_names)
		a->backend->remember_names(a);
}

const char *
arbiter_directory(const struct arbiter *a)
{
	return a->backend->has_directory ? a->location : NULL;
}

/* -- blocking calls ------------------------------------------------------------------------------------------------------------- */

static bool
check(bool ok, GError **error, const char *what, const char *value)
{
	if (!ok)
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "'%.64s' is not %s", value, what);
	return ok;
}

enum arbiter_verdict
arbiter_claim(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	struct arbiter_record standing = { 0 };
	enum arbiter_verdict verdict = ARBITER_SILENT;

	if (arbiter_record_valid(claim, error))
		verdict = a->backend->claim(a, claim, &standing, error);
	else
		g_prefix_error(error, "not claimed: ");
	if (holder)
		*holder = standing;
	return verdict;
}

bool
arbiter_is_manual(const struct arbiter *a)
{
	return a->backend->decide != NULL;
}

bool
arbiter_decide(struct arbiter *a, const struct arbiter_record *decision, GError **error)
{
	if (!arbiter_is_manual(a)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "the arbiter %s decides by itself; only manual: waits for people", a->spec);
		return false;
	}
	return arbiter_record_valid(decision, error) && a->backend->decide(a, decision, error);
}

int
arbiter_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error)
{
	return check(arbiter_pair_valid(pair), error, "a pair (a UUID in lower case)", pair) ? a->backend->read(a, pair, out, error) : -1;
}

bool
arbiter_forget(struct arbiter *a, const char *pair, GError **error)
{
	return check(arbiter_pair_valid(pair), error, "a pair (a UUID in lower case)", pair) && a->backend->forget(a, pair, error);
}

bool
arbiter_probe_write(struct arbiter *a, const char *nonce, GError **error)
{
	return check(arbiter_nonce_valid(nonce), error, "a nonce", nonce) && a->backend->probe_write(a, nonce, error);
}

bool
arbiter_probe_read(struct arbiter *a, const char *nonce, GError **error)
{
	return check(arbiter_nonce_valid(nonce), error, "a nonce", nonce) && a->backend->probe_read(a, nonce, error);
}

void
arbiter_probe_remove(struct arbiter *a, const char *nonce)
{
	if (arbiter_nonce_valid(nonce))
		a->backend->probe_remove(a, nonce);
}

static bool
keeps_hosts(const struct arbiter *a, GError **error)
{
	if (a->backend->hosts)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "the arbiter %s does not keep the hosts that share it; etcd: does", a->spec);
	return false;
}

bool
arbiter_register_host(struct arbiter *a, const char *name, unsigned seconds, GError **error)
{
	return keeps_hosts(a, error) && a->backend->register_host(a, name, seconds, error);
}

char **
arbiter_hosts(struct arbiter *a, GError **error)
{
	return keeps_hosts(a, error) ? a->backend->hosts(a, error) : NULL;
}

/* -- a claim with a deadline ------------------------------------------------------------------------------------------------------ */

struct job {
	gint refs;		/* the context's sources, the thread, and before it the queue to the one that makes it */
	struct arbiter *arbiter;
	struct arbiter_record claim;
	GMainContext *context;
	GSource *deadline;
	unsigned timeout_ms;
	arbiter_done done;	/* NULL once called */
	gpointer user_data;
	/* the thread's answer, valid in job_answered() */
	enum arbiter_verdict verdict;
	struct arbiter_record holder;
	GError *error;
};

static void
job_unref(gpointer data)
{
	struct job *j = data;

	if (!g_atomic_int_dec_and_test(&j->refs))
		return;
	arbiter_unref(j->arbiter);
	g_main_context_unref(j->context);
	g_clear_pointer(&j->deadline, g_source_unref);
	g_clear_error(&j->error);
	g_free(j);
}

static struct job *
job_ref(struct job *j)
{
	g_atomic_int_inc(&j->refs);
	return j;
}

static void
job_finish(struct job *j, enum arbiter_verdict verdict, const struct arbiter_record *holder, const GError *error)
{
	arbiter_done done = j->done;

	if (!done)
		return;		/* the deadline came first */
	j->done = NULL;
	if (j->deadline)
		g_source_destroy(j->deadline);
	done(verdict, holder, error, j->user_data);
}

static gboolean
job_answered(gpointer data)
{
	struct job *j = data;

	job_finish(j, j->verdict, j->verdict == ARBITER_SILENT ? NULL : &j->holder, j->error);
	return G_SOURCE_REMOVE;
}

static gboolean
job_timed_out(gpointer data)
{
	struct job *j = data;
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "%s did not answer within %u ms", j->arbiter->spec, j->timeout_ms);

	job_finish(j, ARBITER_SILENT, NULL, error);
	return G_SOURCE_REMOVE;
}

/* The source holds a reference until the context is through with it. */
static void
job_attach(struct job *j, GSource *source, GSourceFunc func)
{
	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_set_callback(source, func, job_ref(j), job_unref);
	g_source_attach(source, j->context);
}

static void
job_answer(struct job *j)
{
	g_autoptr(GSource) source = g_idle_source_new();

	job_attach(j, source, job_answered);
}

static gpointer
job_thread(gpointer data)
{
	struct job *j = data;

	j->verdict = arbiter_claim(j->arbiter, &j->claim, &j->holder, &j->error);
	g_atomic_int_add(&j->arbiter->threads, -1);
	job_answer(j);
	job_unref(j);
	return NULL;
}

static bool
job_start_thread(struct job *j)
{
	GThread *thread = g_thread_try_new("arbiter", job_thread, job_ref(j), &j->error);

	if (thread) {
		g_thread_unref(thread);
		return true;
	}
	job_unref(j);
	g_atomic_int_add(&j->arbiter->threads, -1);
	return false;
}

static bool
job_start(struct job *j)
{
	if (g_atomic_int_add(&j->arbiter->threads, 1) >= ARBITER_MAX_THREADS) {
		g_set_error(&j->error, FTD_ERROR, FTD_ERROR_LIMIT, "%d claims hang in %s already; is its server gone?", ARBITER_MAX_THREADS, j->arbiter->spec);
		g_atomic_int_add(&j->arbiter->threads, -1);
		return false;
	}
	if (!j->arbiter->starts)
		return job_start_thread(j);
	g_async_queue_push(j->arbiter->starts, job_ref(j));
	return true;
}

static gpointer
starter_thread(gpointer data)
{
	GAsyncQueue *starts = data;
	gpointer next;

	while ((next = g_async_queue_pop(starts)) != &no_more) {
		if (!job_start_thread(next))
			job_answer(next);
		job_unref(next);
	}
	g_async_queue_unref(starts);
	return NULL;
}

void
arbiter_keep_priority(struct arbiter *a)
{
	g_assert(!a->starts);
	a->starts = g_async_queue_new();
	g_thread_unref(g_thread_new("arbiter-start", starter_thread, g_async_queue_ref(a->starts)));
}

void
arbiter_claim_async(struct arbiter *a, const struct arbiter_record *claim, unsigned timeout_ms, arbiter_done done, gpointer user_data)
{
	struct job *j = g_new0(struct job, 1);

	j->refs = 1;
	j->arbiter = arbiter_ref(a);
	j->claim = *claim;
	j->context = g_main_context_ref_thread_default();
	j->timeout_ms = timeout_ms;
	j->done = done;
	j->user_data = user_data;
	j->verdict = ARBITER_SILENT;
	j->deadline = g_timeout_source_new(timeout_ms);
	job_attach(j, j->deadline, job_timed_out);
	if (!job_start(j))
		job_answer(j);
	job_unref(j);
}
