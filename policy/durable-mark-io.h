/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that says something by being there, over crashes too. It is made when there is time and room, and taken away without needing either: a removed name takes no
 * room on the disk, and a disk that does not answer holds nobody up (durable-writer-io.h).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct durable_mark;
/* Makes it, durably; NULL: it cannot (G_FILE_ERROR), and is not there. */
struct durable_mark *durable_mark_new(const char *path, GError **error);
/* Begins to take it away, waits for nothing, and needs no second call: it is done, whatever becomes of the mark's owner, as soon as the disk answers. */
void durable_mark_clear(struct durable_mark *m);
/* After that: true when it is done, with *error set (G_FILE_ERROR) if it failed. */
bool durable_mark_cleared(struct durable_mark *m, GError **error);
void durable_mark_free(struct durable_mark *m);	/* the file stays as it is */
