/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints in the standby's memory, and several of them as one: page by page the newest wins, and the newest device state.
 * Theory of operation in checkpoint-merge.c. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "checkpoint/migration-reader.h"

/* One checkpoint, as it came: pieces of the stream by reference, and where in them each page is. */
struct held_checkpoint;
struct held_checkpoint *held_checkpoint_new(uint64_t epoch);
void held_checkpoint_free(struct held_checkpoint *c);
typedef struct held_checkpoint held_checkpoint;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(held_checkpoint, held_checkpoint_free)

void held_checkpoint_add(struct held_checkpoint *c, GBytes *bytes);	/* the next piece, not empty; keeps a reference */
void held_checkpoint_note(struct held_checkpoint *c, const struct migration_event *event);	/* PAGE and DEVICE_STATE count, others are ignored */
void held_checkpoint_close(struct held_checkpoint *c);	/* every piece is there: what holds no page and no device state is let go */
uint64_t held_checkpoint_epoch(const struct held_checkpoint *c);
uint64_t held_checkpoint_length(const struct held_checkpoint *c);	/* of all pieces that were added */
uint64_t held_checkpoint_cost(const struct held_checkpoint *c);	/* bytes of memory: pieces still held and a fixed cost per piece and page */

/* Closed checkpoints of ascending epochs, merged. */
struct checkpoint_merge;
struct checkpoint_merge *checkpoint_merge_new(void);
void checkpoint_merge_free(struct checkpoint_merge *m);
typedef struct checkpoint_merge checkpoint_merge;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(checkpoint_merge, checkpoint_merge_free)

void checkpoint_merge_add(struct checkpoint_merge *m, struct held_checkpoint *c);	/* takes it over */
uint64_t checkpoint_merge_epoch(const struct checkpoint_merge *m);	/* of the newest; 0 when there is none */
uint64_t checkpoint_merge_cost(const struct checkpoint_merge *m);
uint64_t checkpoint_merge_pages(const struct checkpoint_merge *m);	/* distinct pages */
/*
 * The merged checkpoint as QEMU's secondary wants it, from VMSTATE_SEND to the last byte of device state: GBytes in order, to be sent one after
 * the other. Pages are slices of the pieces. The reader knows the blocks' names, the section and whether there are footers.
 */
GPtrArray *checkpoint_merge_output(const struct checkpoint_merge *m, const struct migration_reader *reader);
