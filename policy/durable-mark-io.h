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
/* Waits for at most wait_ms; FTD_ERROR_TIMEOUT after it: it is still taken away when the disk answers. */
bool durable_mark_clear(struct durable_mark *m, unsigned wait_ms, GError **error);
void durable_mark_free(struct durable_mark *m);	/* the file stays as it is */
