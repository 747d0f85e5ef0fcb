/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 * ===================
 *
 * One GSource drives libnbd's state machine: prepare() tells poll what libnbd wants (nbd_aio_get_direction()), dispatch()
 * lets it read or write, starts what may start, and then reports. libnbd's completion callbacks run inside libnbd's calls,
 * where its handle must not be used again (libnbd(3) "Callbacks and locking"); so they only note the result, and the user's
 * callbacks are made at the end of dispatch(), with no libnbd call on the stack. That is why a callback may free the target.
 *
 *   CONNECTING --ready--> READY --lost--> CLOSED
 *       +---timeout, refused, wrong size----^
 *
 * Order: an NBD server may carry out requests in any order (proto.md "Ordering of messages and writes"), QEMU's does. A write
 * that overlaps one at QEMU must wait for it, and so must a write that overlaps a read, or a read a write. `waiting` is first
 * in, first out: the head waits, all behind it wait with it. So nothing is ever compared but the head with at most
 * DISK_TARGET_MAX_IN_FLIGHT others, of DISK_TARGET_MAX_BYTES, and the order of any two that overlap is that of their submission.
 */
#include "checkpoint/disk-target-io.h"

#include "daemon/base/error.h"

#include <errno.h>
#include <libnbd.h>

enum target_state { TARGET_CONNECTING, TARGET_READY, TARGET_CLOSED };

struct job {
	struct disk_target *target;
	struct disk_write write;	/* holds the reference on the data */
	bool is_read;			/* of the range of `write` */
	uint8_t *buffer;		/* of a read at QEMU, or back from there */
	guint64 cookie;
	int error;
};

struct target_source {
	GSource source;
	struct disk_target *target;
};

struct disk_target {
	struct nbd_handle *nbd;
	const struct disk_target_callbacks *callbacks;
	void *user_data;
	guint64 expected_size;
	unsigned timeout_ms;
	enum target_state state;
	GQueue waiting, running, finished;	/* struct job; finished: done() is still to be called */
	guint64 running_bytes;
	GSource *source;
	gpointer fd_tag;			/* NULL when libnbd has no socket (any more) */
	GIOCondition wanted;	/* what fd_tag is polled for now */
	GError *failure;			/* set: closed() is still to be called */
	bool dispatching, freed;		/* freed while dispatching: destroyed at the end of it */
};

static void
job_free(gpointer data)
{
	struct job *job = data;

	disk_write_clear(&job->write);
	g_free(job->buffer);
	g_free(job);
}

static void
fail(struct disk_target *t, enum ftd_error_code code, const char *what)
{
	if (!t->failure && t->state != TARGET_CLOSED)
		g_set_error(&t->failure, FTD_ERROR, code, "the standby's disk export: %s", what);
}

static void
fail_libnbd(struct disk_target *t)
{
	fail(t, FTD_ERROR_FAILED, nbd_get_error() ?: "the connection was lost");
}

/* Starting what waits */

/* Two reads never do. */
static bool
collide(const struct job *x, const struct job *y)
{
	const struct disk_write *a = &x->write, *b = &y->write;

	return !(x->is_read && y->is_read) && a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* On the socket, one way or the other. */
static guint64
data_bytes(const struct job *job)
{
	return job->is_read || job->write.op == DISK_OP_WRITE ? job->write.length : 0;
}

static bool
may_start(const struct disk_target *t, const struct job *job)
{
	if (t->running.length >= DISK_TARGET_MAX_IN_FLIGHT || (t->running.length > 0 && t->running_bytes + data_bytes(job) > DISK_TARGET_MAX_BYTES))
		return false;
	for (const GList *l = t->running.head; l; l = l->next)
		if (collide(job, l->data))
			return false;
	return true;
}

static void
finish(struct disk_target *t, struct job *job, int error)
{
	job->error = error;
	t->running_bytes -= data_bytes(job);
	g_queue_remove(&t->running, job);
	g_queue_push_tail(&t->finished, job);
}

static int
completed(void *user_data, int *error)
{
	struct job *job = user_data;
	struct disk_target *t = job->target;

	/* libnbd's own verdict on what was in flight when the connection went (no NBD server can send it): closed() speaks for these. */
	if (*error != ENOTCONN)
		finish(t, job, *error);
	return 1;	/* libnbd retires the command by itself */
}

static int64_t
issue(struct disk_target *t, struct job *job)
{
	const struct disk_write *w = &job->write;
	nbd_completion_callback callback = { .callback = completed, .user_data = job };

	if (job->is_read) {
		job->buffer = g_malloc(w->length);
		return nbd_aio_pread(t->nbd, job->buffer, w->length, w->offset, callback, 0);
	}
	switch (w->op) {
	case DISK_OP_WRITE:
		return nbd_aio_pwrite(t->nbd, g_bytes_get_data(w->data, NULL), w->length, w->offset, callback, 0);
	case DISK_OP_ZERO:
		return nbd_aio_zero(t->nbd, w->length, w->offset, callback, w->may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
	case DISK_OP_TRIM:
		return nbd_aio_trim(t->nbd, w->length, w->offset, callback, 0);
	}
	g_assert_not_reached();
}

/* The job is on `running` before libnbd is called: libnbd may complete it within the call. */
static void
start(struct disk_target *t, struct job *job)
{
	g_queue_push_tail(&t->running, job);
	t->running_bytes += data_bytes(job);
	if (issue(t, job) < 0 && nbd_aio_is_ready(t->nbd) + nbd_aio_is_processing(t->nbd) > 0)
		finish(t, job, nbd_get_errno() ?: EIO);
}

static bool
fits(const struct disk_target *t, const struct disk_write *w)
{
	return w->length > 0 && w->offset <= t->expected_size && w->length <= t->expected_size - w->offset;
}

static void
start_waiting(struct disk_target *t)
{
	for (struct job *job; t->state == TARGET_READY && (job = g_queue_peek_head(&t->waiting)) && may_start(t, job);) {
		g_queue_pop_head(&t->waiting);
		start(t, job);
	}
}

/* The connection */

static void
check_export(struct disk_target *t)
{
	int64_t size = nbd_get_size(t->nbd);
	g_autofree char *what = NULL;

	if (size < 0) {
		fail_libnbd(t);
	} else if ((guint64)size != t->expected_size) {
		what = g_strdup_printf("it has %" G_GINT64_FORMAT " bytes, the primary's disk %" G_GUINT64_FORMAT
				       "; make the standby's image anew with that size", size, t->expected_size);
		fail(t, FTD_ERROR_IMAGE_SIZE, what);
	} else if (nbd_is_read_only(t->nbd) != 0 || nbd_can_zero(t->nbd) != 1 || nbd_can_trim(t->nbd) != 1) {
		fail(t, FTD_ERROR_DISK_KIND, "it is not writable, or cannot write zeroes and trim");
	} else {
		t->state = TARGET_READY;
		g_source_set_ready_time(t->source, -1);
		t->callbacks->ready(t->user_data);
	}
}

/*
 * After every call into libnbd: see what became of the connection. A dead handle has closed its socket, whose number may be
 * used again at once, so poll must not see it any more.
 */
static void
look_at_connection(struct disk_target *t)
{
	if (nbd_aio_is_dead(t->nbd) || nbd_aio_is_closed(t->nbd))
		fail_libnbd(t);
	if (t->failure && t->fd_tag)
		g_source_remove_unix_fd(t->source, g_steal_pointer(&t->fd_tag));
	if (!t->failure && t->state == TARGET_CONNECTING && nbd_aio_is_ready(t->nbd))
		check_export(t);
}

/* nbd_aio_notify_*() fails only when the handle is dead by then, which look_at_connection() finds. */
static void
run_libnbd(struct disk_target *t)
{
	GIOCondition revents = t->fd_tag ? g_source_query_unix_fd(t->source, t->fd_tag) : 0;
	unsigned direction = nbd_aio_get_direction(t->nbd);

	if (direction & LIBNBD_AIO_DIRECTION_READ && revents & (G_IO_IN | G_IO_HUP | G_IO_ERR))
		nbd_aio_notify_read(t->nbd);
	else if (direction & LIBNBD_AIO_DIRECTION_WRITE && revents & (G_IO_OUT | G_IO_HUP | G_IO_ERR))
		nbd_aio_notify_write(t->nbd);
}

/* Reporting. Every callback may free the target. */

static void
report_read(struct disk_target *t, struct job *job)
{
	g_autoptr(GBytes) data = job->error ? NULL : g_bytes_new_take(g_steal_pointer(&job->buffer), job->write.length);
	guint64 cookie = job->cookie;
	int error = job->error;

	job_free(job);
	t->callbacks->read(cookie, error, data, t->user_data);
}

static void
report_done(struct disk_target *t)
{
	struct job *job;

	while (!t->freed && (job = g_queue_pop_head(&t->finished))) {
		guint64 cookie = job->cookie;
		int error = job->error;

		if (job->is_read) {
			report_read(t, job);
			return;		/* the rest in the next turn: wants_dispatch() */
		}
		job_free(job);
		t->callbacks->done(cookie, error, t->user_data);
	}
}

static void
report_closed(struct disk_target *t)
{
	g_autoptr(GError) failure = g_steal_pointer(&t->failure);

	t->state = TARGET_CLOSED;
	g_source_set_ready_time(t->source, -1);
	t->callbacks->closed(failure, t->user_data);
}

static void
destroy(struct disk_target *t)
{
	nbd_close(t->nbd);	/* before the jobs go: its completion callbacks still refer to them */
	g_queue_clear_full(&t->waiting, job_free);
	g_queue_clear_full(&t->running, job_free);
	g_queue_clear_full(&t->finished, job_free);
	g_clear_error(&t->failure);
	g_source_destroy(t->source);
	g_source_unref(t->source);
	g_free(t);
}

/* The GSource */

static bool
wants_dispatch(struct disk_target *t)
{
	const struct job *head = g_queue_peek_head(&t->waiting);

	return t->failure || t->finished.length > 0 || (t->state == TARGET_READY && head && may_start(t, head));
}

static gboolean
source_prepare(GSource *source, gint *timeout)
{
	struct disk_target *t = ((struct target_source *)source)->target;
	unsigned direction = t->fd_tag ? nbd_aio_get_direction(t->nbd) : 0;
	GIOCondition wanted = 0;

	*timeout = -1;
	if (direction & LIBNBD_AIO_DIRECTION_READ)
		wanted |= G_IO_IN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		wanted |= G_IO_OUT;
	if (t->fd_tag && wanted != t->wanted) {
		/* Every change wakes the main context up, this one too: making it each time would spin. */
		g_source_modify_unix_fd(source, t->fd_tag, wanted);
		t->wanted = wanted;
	}
	return t->state != TARGET_CLOSED && wants_dispatch(t);
}

static gboolean
source_check(GSource *source)
{
	struct disk_target *t = ((struct target_source *)source)->target;

	return t->fd_tag && g_source_query_unix_fd(source, t->fd_tag) != 0;
}

static bool
too_late(const struct disk_target *t)
{
	gint64 deadline = g_source_get_ready_time(t->source);

	return t->state == TARGET_CONNECTING && deadline >= 0 && g_source_get_time(t->source) >= deadline;
}

static gboolean
source_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	struct disk_target *t = ((struct target_source *)source)->target;

	t->dispatching = true;
	run_libnbd(t);
	look_at_connection(t);
	if (too_late(t))
		fail(t, FTD_ERROR_TIMEOUT, "no answer in time");
	if (!t->freed && !t->failure)
		start_waiting(t);
	if (!t->freed)
		look_at_connection(t);
	report_done(t);
	if (!t->freed && t->failure && t->finished.length == 0)
		report_closed(t);
	t->dispatching = false;
	if (t->freed)
		destroy(t);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {
	.prepare = source_prepare,
	.check = source_check,
	.dispatch = source_dispatch,
};

/* The interface */

static void
watch(struct disk_target *t, GMainContext *context)
{
	int fd = nbd_aio_get_fd(t->nbd);

	if (fd >= 0)
		t->fd_tag = g_source_add_unix_fd(t->source, fd, 0);
	g_source_set_ready_time(t->source, g_get_monotonic_time() + (gint64)t->timeout_ms * 1000);
	g_source_attach(t->source, context);
}

struct disk_target *
disk_target_connect(const char *unix_path, const char *export_name, guint64 expected_size, unsigned timeout_ms,
		    const struct disk_target_callbacks *callbacks, void *user_data)
{
	struct disk_target *t = g_new0(struct disk_target, 1);
	g_autoptr(GMainContext) context = g_main_context_ref_thread_default();

	t->callbacks = callbacks;
	t->user_data = user_data;
	t->expected_size = expected_size;
	t->timeout_ms = timeout_ms;
	g_queue_init(&t->waiting);
	g_queue_init(&t->running);
	g_queue_init(&t->finished);
	t->source = g_source_new(&source_funcs, sizeof(struct target_source));
	((struct target_source *)t->source)->target = t;
	t->nbd = nbd_create();
	g_assert(t->nbd);	/* fails for lack of memory only */
	/* Not asked for its block size, QEMU takes requests of any, and reads what is around them itself; libnbd would refuse those that a guest's 512-byte sectors make. */
	nbd_set_request_block_size(t->nbd, false);
	if (nbd_set_export_name(t->nbd, export_name) < 0 || nbd_aio_connect_unix(t->nbd, unix_path) < 0)
		fail_libnbd(t);
	watch(t, context);
	return t;
}

void
disk_target_free(struct disk_target *t)
{
	if (!t)
		return;
	t->freed = true;
	if (!t->dispatching)
		destroy(t);
}

static void
submit(struct disk_target *t, struct job *job)
{
	job->target = t;
	if (fits(t, &job->write)) {
		g_queue_push_tail(&t->waiting, job);
	} else {
		job->error = EINVAL;
		g_queue_push_tail(&t->finished, job);
	}
}

void
disk_target_submit(struct disk_target *t, const struct disk_write *w, guint64 cookie)
{
	struct job *job = g_new0(struct job, 1);

	job->write = *w;
	job->cookie = cookie;
	if (w->data)
		g_bytes_ref(w->data);
	submit(t, job);
}

void
disk_target_read(struct disk_target *t, guint64 offset, guint64 length, guint64 cookie)
{
	struct job *job = g_new0(struct job, 1);

	job->is_read = true;
	job->write = (struct disk_write){ .offset = offset, .length = length };
	job->cookie = cookie;
	submit(t, job);
}

unsigned
disk_target_in_flight(const struct disk_target *t)
{
	return t->waiting.length + t->running.length + t->finished.length;
}
