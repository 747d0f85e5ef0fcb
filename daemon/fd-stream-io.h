/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A connected socket on the thread-default main context: bytes come in by callback, bytes go out through a queue. Never blocks. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct fd_stream;
struct fd_stream_callbacks {
	void (*data)(struct fd_stream *s, GBytes *bytes, gpointer user_data);
	void (*closed)(struct fd_stream *s, const char *why, gpointer user_data);	/* once; the stream stays valid until freed */
	void (*drained)(struct fd_stream *s, gpointer user_data);	/* optional: what was queued is written */
};

/* Takes the fd. read_size: the most one read takes; a dispatch makes at most a few reads, so that no stream starves another. */
struct fd_stream *fd_stream_new(int fd, size_t read_size, const struct fd_stream_callbacks *cb, gpointer user_data);
/* Reads go into buffers of the pool, of which it keeps its own reference, as long as there are some: none of them waits for memory. Before the first read. */
struct fd_stream_pool;
void fd_stream_use_pool(struct fd_stream *s, struct fd_stream_pool *pool);
/* `buffers` of `size` bytes, a power of two, that are there, in memory, when this returns, which may take some 100 ms. When they are not enough there will be as many as were
 * needed at once, up to `most`; what goes beyond is memory of its own. */
struct fd_stream_pool *fd_stream_pool_new(size_t size, unsigned buffers, unsigned most);
void fd_stream_pool_unref(struct fd_stream_pool *p);
void fd_stream_free(struct fd_stream *s);	/* allowed from its own callbacks */

/* It writes no more than a megabyte or some in one turn of the main loop. Otherwise what the socket takes is written at once. */
void fd_stream_share_turns(struct fd_stream *s);
void fd_stream_write(struct fd_stream *s, GBytes *bytes);	/* keeps a reference; nothing happens on a closed stream */
size_t fd_stream_queued(const struct fd_stream *s);
void fd_stream_pause(struct fd_stream *s, bool paused);		/* reading only */
void fd_stream_drain(struct fd_stream *s);			/* reads until it would block */

/* A socket pair with large buffers, close-on-exec; ours is non-blocking. */
bool fd_stream_pair(int *ours, int *theirs, GError **error);
/* Buffers of that size take CAP_NET_ADMIN: makes the next n pairs now, before it is given up. */
bool fd_stream_reserve(guint n, GError **error);
