/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of varlink-io only: messages over one non-blocking unix socket in the thread-default main context; shared by server and asynchronous client. */
#pragma once

#include "daemon/varlink.h"

#define VARLINK_MAX_QUEUED (4u << 20)	/* unsent bytes: a reader slower than that is cut off */

struct varlink_stream;
struct varlink_stream_callbacks {
	void (*message)(struct varlink_stream *s, struct json_object *message, gpointer user_data);	/* message: borrowed */
	void (*closed)(struct varlink_stream *s, const GError *error, gpointer user_data);		/* at most once; NULL: the other side closed */
};

struct varlink_stream *varlink_stream_new(int fd, const struct varlink_stream_callbacks *cb, gpointer user_data);	/* takes fd */
void varlink_stream_close(struct varlink_stream *s);	/* sends what goes without blocking, frees; no callback; allowed in callbacks */
void varlink_stream_send(struct varlink_stream *s, struct json_object *message);
bool varlink_stream_is_closed(const struct varlink_stream *s);
/* While busy no message is delivered (they wait, bounded); the end of the connection still is. */
void varlink_stream_set_busy(struct varlink_stream *s, bool busy);
