/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The standby's mirrored disk writes between their arrival and the load of the checkpoint that ends their epoch (the disk rule:
 * disk-queue.c). Order is kept over all disks. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define DISK_WRITE_COST 256	/* what one write is charged beside its payload, on both sides: list node, struct disk_write, GBytes, allocator */

enum disk_op { DISK_OP_WRITE, DISK_OP_ZERO, DISK_OP_TRIM };

struct disk_write {
	uint64_t epoch;
	uint32_t disk;		/* index into the pair's list of disks */
	enum disk_op op;
	bool may_unmap;		/* ZERO: a hole is allowed */
	uint64_t offset;
	uint64_t length;
	GBytes *data;		/* WRITE: `length` bytes, owned */
};
void disk_write_clear(struct disk_write *w);

struct disk_queue;
struct disk_queue *disk_queue_new(uint64_t max_bytes);
void disk_queue_free(struct disk_queue *q);
typedef struct disk_queue disk_queue;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(disk_queue, disk_queue_free)

/*
 * Takes the write over on success. FTD_ERROR_LIMIT when it would not fit, FTD_ERROR_PROTOCOL when its epoch is older than one
 * pushed before, its length is 0 or its data has another length.
 */
bool disk_queue_push(struct disk_queue *q, struct disk_write *w, GError **error);
/*
 * Lets writes of epochs <= epoch out. Until then disk_queue_next() returns only those of earlier calls; before the first
 * call, none. Monotonic.
 */
void disk_queue_permit(struct disk_queue *q, uint64_t epoch);
bool disk_queue_next(struct disk_queue *q, struct disk_write *out);
/* The write that was taken has reached the disk (or failed for good). Its data may have been cleared. */
void disk_queue_done(struct disk_queue *q, const struct disk_write *w);
/* True when every write of epochs <= epoch that was pushed is done. */
bool disk_queue_applied(const struct disk_queue *q, uint64_t epoch);
/* Forget every write of epochs > epoch that was not taken yet (a checkpoint that will never come); returns the number. */
unsigned disk_queue_discard_after(struct disk_queue *q, uint64_t epoch);
uint64_t disk_queue_bytes(const struct disk_queue *q);	/* held, in bytes: payload + fixed cost per write */
