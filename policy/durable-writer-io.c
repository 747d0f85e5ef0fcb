/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread, at most one state waiting for it: the newest. */
#include "policy/durable-writer-io.h"

#include "daemon/base/error.h"

struct durable_writer {
	gatomicrefcount refs;		/* the owner's and the thread's */
	char *path;
	durable_write_func write;
	GMutex lock;
	GCond changed;
	struct durable_state next;
	uint64_t asked, done;		/* numbers of states; asked > done: `next` waits or is being written */
	GError *error;			/* of the last one done */
	bool over;
};

static void
unref(struct durable_writer *w)
{
	if (!g_atomic_ref_count_dec(&w->refs))
		return;
	g_clear_error(&w->error);
	g_mutex_clear(&w->lock);
	g_cond_clear(&w->changed);
	g_free(w->path);
	g_free(w);
}

/* Under the lock, which is free while the disk works. */
static void
write_next(struct durable_writer *w)
{
	struct durable_state s = w->next;
	uint64_t number = w->asked;
	GError *error = NULL;

	g_mutex_unlock(&w->lock);
	w->write(w->path, &s, &error);
	g_mutex_lock(&w->lock);
	g_clear_error(&w->error);
	w->error = error;
	w->done = number;
	g_cond_broadcast(&w->changed);
}

static gpointer
thread(gpointer data)
{
	struct durable_writer *w = data;

	g_mutex_lock(&w->lock);
	while (!w->over || w->done < w->asked) {
		if (w->done < w->asked)
			write_next(w);
		else
			g_cond_wait(&w->changed, &w->lock);
	}
	g_mutex_unlock(&w->lock);
	unref(w);
	return NULL;
}

struct durable_writer *
durable_writer_new(const char *path, durable_write_func write)
{
	struct durable_writer *w = g_new0(struct durable_writer, 1);

	g_atomic_ref_count_init(&w->refs);
	g_atomic_ref_count_inc(&w->refs);
	w->path = g_strdup(path);
	w->write = write;
	g_mutex_init(&w->lock);
	g_cond_init(&w->changed);
	g_thread_unref(g_thread_new("durable-state", thread, w));
	return w;
}

bool
durable_writer_write(struct durable_writer *w, const struct durable_state *s, unsigned wait_ms, GError **error)
{
	gint64 end = g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND;
	uint64_t number;
	bool ok;

	g_mutex_lock(&w->lock);
	w->next = *s;
	number = ++w->asked;
	g_cond_broadcast(&w->changed);
	while (w->done < number && g_cond_wait_until(&w->changed, &w->lock, end))
		;
	ok = w->done >= number && !w->error;
	if (w->done < number)
		g_set_error(error, FTD_ERROR, FTD_ERROR_TIMEOUT, "%s: the disk has not answered for %u ms", w->path, wait_ms);
	else if (w->error && error)
		*error = g_error_copy(w->error);
	g_mutex_unlock(&w->lock);
	return ok;
}

bool
durable_writer_done(struct durable_writer *w, GError **error)
{
	bool done;

	g_mutex_lock(&w->lock);
	done = w->done == w->asked;
	if (done && w->error && error)
		*error = g_error_copy(w->error);
	g_mutex_unlock(&w->lock);
	return done;
}

void
durable_writer_free(struct durable_writer *w)
{
	if (!w)
		return;
	g_mutex_lock(&w->lock);
	w->over = true;
	g_cond_broadcast(&w->changed);
	g_mutex_unlock(&w->lock);
	unref(w);
}
