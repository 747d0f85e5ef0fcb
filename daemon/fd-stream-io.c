/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/fd-stream-io.h"

#include "daemon/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READS_PER_DISPATCH 4
#define IOV_BATCH 64
#define WRITES_PER_TURN (1u << 20)	/* of the main loop, and a piece beyond, of a stream that shares them: who reads as fast as we write would keep us from all else */
#define READ_BIT 8		/* QEMU writes a frame's length, and that of its header, on their own: behind a read of so little there is more */
/* QEMU dumps a checkpoint into this while the guest stands; and its main loop blocks when a filter's socket is full. */
#define SOCKET_BUFFER (8 << 20)

/*
 * Buffers that are read into again and again. Memory that is fresh from the kernel costs a page fault for every 4 KiB of it, and while a checkpoint comes in that is
 * time for which the guest stands. A buffer is filled by one read behind the other; each gives the receiver a slice of it, and when the last slice is let go,
 * which may be after the stream's end, the buffer is free again. A checkpoint larger than all before it gets new ones, up to a limit, and leaves them to the next.
 */
struct fd_stream_pool {
	unsigned refs;		/* its maker's, a stream's, and one for each buffer that is not free */
	unsigned buffers, most;	/* there are, free and in use; and may be */
	size_t size;
	GPtrArray *free;
};

struct pool_buffer {
	struct fd_stream_pool *pool;
	uint8_t *bytes;
};

struct fd_stream {
	struct fd_stream_pool *pool;	/* NULL: a new buffer for each read */
	GBytes *filling;	/* of the pool; NULL: none */
	size_t filled;
	int fd;
	size_t read_size;
	struct fd_stream_callbacks cb;
	gpointer user_data;
	GSource *in, *out;
	GQueue queue;		/* of GBytes */
	size_t head_sent, queued;
	bool shares;
	gint64 turn;		/* when that of the main loop began in which ... */
	size_t written;		/* ... so much was written */
	bool paused, closed, freed;
	unsigned busy;		/* callbacks under way: the struct must stay */
};

static void
source_drop(GSource **source)
{
	if (!*source)
		return;
	g_source_destroy(*source);
	g_clear_pointer(source, g_source_unref);
}

static void
release(struct fd_stream *s)
{
	if (s->freed && s->busy == 0)
		g_free(s);
}

static void
mark_closed(struct fd_stream *s, const char *why)
{
	if (s->closed)
		return;
	s->closed = true;
	source_drop(&s->in);
	source_drop(&s->out);
	s->busy++;
	if (!s->freed)
		s->cb.closed(s, why, s->user_data);
	s->busy--;
}

void
fd_stream_pool_unref(struct fd_stream_pool *p)
{
	if (!p || --p->refs)
		return;
	g_ptr_array_unref(p->free);
	g_free(p);
}

static void
pool_give_back(gpointer data)
{
	struct pool_buffer *b = data;

	g_ptr_array_add(b->pool->free, b->bytes);
	fd_stream_pool_unref(b->pool);
	g_free(b);
}

/* In one page, if the kernel has such a one: the first touch of a buffer is one fault then instead of 512. */
static void *
pool_add(struct fd_stream_pool *p)
{
	void *b;

	if (posix_memalign(&b, p->size, p->size) != 0)
		g_error("no memory for a buffer of %zu bytes", p->size);
	madvise(b, p->size, MADV_HUGEPAGE);
	g_ptr_array_add(p->free, b);
	p->buffers++;
	return b;
}

struct fd_stream_pool *
fd_stream_pool_new(size_t size, unsigned buffers, unsigned most)
{
	struct fd_stream_pool *p = g_new(struct fd_stream_pool, 1);

	*p = (struct fd_stream_pool){ .refs = 1, .most = MAX(buffers, most), .size = size, .free = g_ptr_array_new_with_free_func(free) };
	for (unsigned i = 0; i < buffers; i++)
		memset(pool_add(p), 0xff, size);	/* what nobody has written to is no memory yet */
	return p;
}

/* A whole buffer; NULL when there are as many as may be, and all are in use. */
static GBytes *
pool_take(struct fd_stream_pool *p)
{
	struct pool_buffer *b;

	if (p->free->len == 0 && p->buffers < p->most)
		pool_add(p);
	if (p->free->len == 0)
		return NULL;
	b = g_new(struct pool_buffer, 1);
	*b = (struct pool_buffer){ .pool = p, .bytes = g_ptr_array_steal_index_fast(p->free, p->free->len - 1) };
	p->refs++;
	return g_bytes_new_with_free_func(b->bytes, p->size, pool_give_back, b);
}

/* Into the pool's buffer, which has room for read_size; like read_once(). */
static size_t
read_pooled(struct fd_stream *s)
{
	uint8_t *buffer = (uint8_t *)g_bytes_get_data(s->filling, NULL);
	ssize_t n;

	do
		n = read(s->fd, buffer + s->filled, s->read_size);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			mark_closed(s, n == 0 ? "end of file" : g_strerror(errno));
		return 0;
	}
	g_autoptr(GBytes) bytes = g_bytes_new_from_bytes(s->filling, s->filled, (gsize)n);
	s->filled += (size_t)n;
	if (s->filled + s->read_size > s->pool->size)
		g_clear_pointer(&s->filling, g_bytes_unref);
	s->cb.data(s, bytes, s->user_data);
	return (size_t)n;
}

/* One read: what it got; 0 when nothing more is to be had now. */
static size_t
read_once(struct fd_stream *s)
{
	if (s->pool && !s->filling) {
		s->filling = pool_take(s->pool);
		s->filled = 0;
	}
	if (s->filling)
		return read_pooled(s);
	uint8_t *buffer = g_malloc(s->read_size);
	ssize_t n;

	do
		n = read(s->fd, buffer, s->read_size);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		int e = errno;
		g_free(buffer);
		if (n == 0 || e != EAGAIN)
			mark_closed(s, n == 0 ? "end of file" : g_strerror(e));
		return 0;
	}
	if ((size_t)n < s->read_size / 2)
		buffer = g_realloc(buffer, (gsize)n);
	g_autoptr(GBytes) bytes = g_bytes_new_take(buffer, (gsize)n);
	s->cb.data(s, bytes, s->user_data);
	return (size_t)n;
}

static gboolean
on_readable(int fd, GIOCondition condition, gpointer user_data)
{
	struct fd_stream *s = user_data;

	s->busy++;
	for (int i = 0; i < READS_PER_DISPATCH && !s->closed && !s->freed && !s->paused; i++) {
		size_t n = read_once(s);
		/* A short read has emptied the socket. poll() tells of what comes later, and it is a system call less than to ask. */
		if (n == 0 || (n > READ_BIT && n < s->read_size))
			break;
	}
	s->busy--;
	release(s);
	return G_SOURCE_CONTINUE;
}

static GSource *
watch(struct fd_stream *s, GIOCondition condition, GUnixFDSourceFunc func)
{
	GSource *source = g_unix_fd_source_new(s->fd, condition);

	g_source_set_callback(source, G_SOURCE_FUNC(func), s, NULL);
	/* Nothing here runs a main loop of its own; without this GLib takes the fd out of the poll set around each dispatch and wakes itself twice. */
	g_source_set_can_recurse(source, TRUE);
	g_source_attach(source, g_main_context_get_thread_default());
	return source;
}

/* In this turn. Outside of the main loop nobody else waits for one. */
static bool
may_write(struct fd_stream *s)
{
	GSource *source = g_main_current_source();
	gint64 turn = source ? g_source_get_time(source) : 0;

	if (!source || turn != s->turn)
		s->written = 0;
	s->turn = turn;
	return !s->shares || s->written < WRITES_PER_TURN;
}

/* What the next write takes; how many pieces. */
static int
gather(const struct fd_stream *s, struct iovec *iov)
{
	size_t skip = s->head_sent, sum = 0;
	int n = 0;

	for (GList *l = s->queue.head; l && n < IOV_BATCH && !(s->shares && s->written + sum >= WRITES_PER_TURN); l = l->next) {
		gsize size;
		const uint8_t *data = g_bytes_get_data(l->data, &size);

		iov[n++] = (struct iovec){ .iov_base = (void *)(data + skip), .iov_len = size - skip };
		sum += size - skip;
		skip = 0;
	}
	return n;
}

/* Writes what the socket takes, and this turn may; false when the stream broke. */
static bool
flush(struct fd_stream *s)
{
	while (s->queue.head && may_write(s)) {
		struct iovec iov[IOV_BATCH];
		ssize_t sent = writev(s->fd, iov, gather(s, iov));
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return true;
		if (sent < 0)
			return false;
		s->written += (size_t)sent;
		s->queued -= (size_t)sent;
		s->head_sent += (size_t)sent;
		while (s->queue.head && s->head_sent >= g_bytes_get_size(s->queue.head->data)) {
			s->head_sent -= g_bytes_get_size(s->queue.head->data);
			g_bytes_unref(g_queue_pop_head(&s->queue));
		}
	}
	return true;
}

static void
drop_queue(struct fd_stream *s)
{
	g_queue_clear_full(&s->queue, (GDestroyNotify)g_bytes_unref);
	s->queued = s->head_sent = 0;
}

static gboolean
on_writable(int fd, GIOCondition condition, gpointer user_data)
{
	struct fd_stream *s = user_data;
	bool ok = flush(s);

	if (ok && s->queue.head)
		return G_SOURCE_CONTINUE;
	source_drop(&s->out);
	if (!ok)
		drop_queue(s);	/* the reading side reports the end */
	if (s->cb.drained)
		s->cb.drained(s, s->user_data);
	return G_SOURCE_REMOVE;
}

void
fd_stream_write(struct fd_stream *s, GBytes *bytes)
{
	bool idle = s->queue.head == NULL;

	if (s->closed || g_bytes_get_size(bytes) == 0)
		return;
	g_queue_push_tail(&s->queue, g_bytes_ref(bytes));
	s->queued += g_bytes_get_size(bytes);
	if (!idle)
		return;
	if (!flush(s))
		drop_queue(s);
	else if (s->queue.head && !s->out)
		s->out = watch(s, G_IO_OUT, on_writable);
}

void
fd_stream_share_turns(struct fd_stream *s)
{
	s->shares = true;
}

size_t
fd_stream_queued(const struct fd_stream *s)
{
	return s->queued;
}

void
fd_stream_pause(struct fd_stream *s, bool paused)
{
	if (s->paused == paused || s->closed)
		return;
	s->paused = paused;
	if (paused)
		source_drop(&s->in);
	else
		s->in = watch(s, G_IO_IN, on_readable);
}

void
fd_stream_drain(struct fd_stream *s)
{
	s->busy++;
	while (!s->closed && !s->freed && read_once(s))
		;
	s->busy--;
	release(s);
}

void
fd_stream_use_pool(struct fd_stream *s, struct fd_stream_pool *pool)
{
	g_assert(!s->pool && s->read_size <= pool->size);
	pool->refs++;
	s->pool = pool;
}

struct fd_stream *
fd_stream_new(int fd, size_t read_size, const struct fd_stream_callbacks *cb, gpointer user_data)
{
	struct fd_stream *s = g_new0(struct fd_stream, 1);

	s->fd = fd;
	s->read_size = read_size;
	s->cb = *cb;
	s->user_data = user_data;
	g_queue_init(&s->queue);
	g_unix_set_fd_nonblocking(fd, TRUE, NULL);
	s->in = watch(s, G_IO_IN, on_readable);
	return s;
}

void
fd_stream_free(struct fd_stream *s)
{
	if (!s || s->freed)
		return;
	source_drop(&s->in);
	source_drop(&s->out);
	drop_queue(s);
	g_clear_pointer(&s->filling, g_bytes_unref);
	g_clear_pointer(&s->pool, fd_stream_pool_unref);
	close(s->fd);
	s->closed = s->freed = true;
	release(s);
}

static bool
make_pair(int fds[2], GError **error)
{
	int size = SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "socketpair: %s", g_strerror(errno));
		return false;
	}
	for (int i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);	/* without CAP_NET_ADMIN: as much as wmem_max allows */
	return true;
}

/* The pairs in reserve, first made first taken; a process's, like the capability that they needed. */
static struct { int (*fds)[2]; guint n, taken; } reserve;

bool
fd_stream_reserve(guint n, GError **error)
{
	g_assert(!reserve.fds);
	reserve.fds = g_malloc_n(n, sizeof *reserve.fds);
	while (reserve.n < n && make_pair(reserve.fds[reserve.n], error))
		reserve.n++;
	return reserve.n == n;
}

bool
fd_stream_pair(int *ours, int *theirs, GError **error)
{
	int fds[2];

	if (reserve.taken < reserve.n)
		memcpy(fds, reserve.fds[reserve.taken++], sizeof fds);
	else if (!make_pair(fds, error))
		return false;
	*ours = fds[0];
	*theirs = fds[1];
	return true;
}
