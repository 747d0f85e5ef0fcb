/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/job-io.h"

struct job {
	job_work work;
	gpointer data;
	GDestroyNotify free_data;
	job_progress progress;
	job_done done;
	gpointer user_data;
	struct json_object *reply;	/* set by the thread before `finish` is queued */
	GError *error;
};

struct invocation {
	void (*func)(gpointer data);
	gpointer data;
};

static gboolean
on_invocation(gpointer data)
{
	struct invocation *i = data;

	i->func(i->data);
	return G_SOURCE_REMOVE;
}

/* Not g_main_context_invoke(): that may call from here, when the main loop does not run yet. */
void
main_invoke(void (*func)(gpointer data), gpointer data)
{
	struct invocation *i = g_new(struct invocation, 1);
	GSource *source = g_idle_source_new();

	*i = (struct invocation){ func, data };
	g_source_set_priority(source, G_PRIORITY_DEFAULT);
	g_source_set_callback(source, on_invocation, i, g_free);
	g_source_attach(source, NULL);
	g_source_unref(source);
}

static void
finish(gpointer data)
{
	struct job *job = data;

	if (job->done)
		job->done(job->reply, job->error, job->user_data);
	json_object_put(job->reply);
	g_clear_error(&job->error);
	if (job->free_data)
		job->free_data(job->data);
	g_free(job);
}

static gpointer
run(gpointer data)
{
	struct job *job = data;
	GMainContext *context = g_main_context_new();

	g_main_context_push_thread_default(context);
	job->reply = job->work(job, job->data, &job->error);
	g_main_context_pop_thread_default(context);
	g_main_context_unref(context);
	main_invoke(finish, job);
	return NULL;
}

void
job_start(job_work work, gpointer data, GDestroyNotify free_data, job_progress progress, job_done done, gpointer user_data)
{
	struct job *job = g_new0(struct job, 1);

	*job = (struct job){ .work = work, .data = data, .free_data = free_data, .progress = progress, .done = done, .user_data = user_data };
	g_thread_unref(g_thread_new("job", run, job));
}

struct repeated {
	unsigned seconds;
	job_work work;
	gpointer data;
};

static gboolean on_time(gpointer repeated);

static void
on_repeated(struct json_object *reply, const GError *error, gpointer repeated)
{
	g_timeout_add_seconds(((struct repeated *)repeated)->seconds, on_time, repeated);
}

static gboolean
on_time(gpointer repeated)
{
	struct repeated *r = repeated;

	job_start(r->work, r->data, NULL, NULL, on_repeated, r);
	return G_SOURCE_REMOVE;
}

void
job_every(unsigned seconds, job_work work, gpointer data)
{
	struct repeated *r = g_new(struct repeated, 1);

	*r = (struct repeated){ seconds, work, data };
	g_timeout_add_seconds(seconds, on_time, r);
}

struct report {
	struct job *job;
	struct json_object *progress;
};

static void
deliver(gpointer data)
{
	struct report *r = data;

	if (r->job->progress)
		r->job->progress(r->progress, r->job->user_data);
	json_object_put(r->progress);
	g_free(r);
}

void
job_report(struct job *job, struct json_object *progress)
{
	struct report *r = g_new(struct report, 1);

	*r = (struct report){ job, progress };
	main_invoke(deliver, r);	/* before `finish`, which is queued later: the job is alive then */
}
