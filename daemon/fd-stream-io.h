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
/* Reads go into `buffers` buffers of four times read_size each that are there from now on, as long as that many are enough: none of them waits for memory. When they are
 * not, there will be as many as were needed at once, up to `most`; what goes beyond is memory of its own. Before the first read. */
void fd_stream_keep_buffers(struct fd_stream *s, unsigned buffers, unsigned most);
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
