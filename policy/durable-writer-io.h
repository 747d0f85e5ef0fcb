/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes a guard's durable state without being held up by a disk that does not answer: fsync(2) may block for ever, and a guard that blocks is dead to its
 * peer. The arbiter's record is the authority and is durable elsewhere; what this file is for (telling a daemon that finds no guard any more) may come late.
 */
#pragma once

#include "policy/durable-state.h"

typedef bool (*durable_write_func)(const char *path, const struct durable_state *s, GError **error);

struct durable_writer;
struct durable_writer *durable_writer_new(const char *path, durable_write_func write);	/* durable_state_write */
/* Waits for at most wait_ms; FTD_ERROR_TIMEOUT after it: the state is still written when the disk answers, unless a newer one replaces it. */
bool durable_writer_write(struct durable_writer *w, const struct durable_state *s, unsigned wait_ms, GError **error);
/* Of the state written last: true when it is done, with *error set if it failed. */
bool durable_writer_done(struct durable_writer *w, GError **error);
void durable_writer_free(struct durable_writer *w);	/* does not wait */
