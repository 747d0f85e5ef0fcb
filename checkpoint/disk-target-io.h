/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the mirrored disk writes into the standby's QEMU: an NBD client (libnbd) to the writable export of one parent
 * image. It lives on the GMainContext that is the thread's default when it is made, and never blocks it.
 *
 * Callbacks come from the main context only, never from inside a call made here; each of them may call disk_target_free().
 */
#pragma once

#include "checkpoint/disk-queue.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Requests at QEMU; the others wait here. QEMU's NBD server takes as many (nbd/server.c MAX_NBD_REQUESTS). */
#define DISK_TARGET_MAX_IN_FLIGHT 16
/* ... and so much data, or one request: libnbd sends what has been started in one go as long as QEMU takes it, and nothing else has its turn meanwhile. */
#define DISK_TARGET_MAX_BYTES (4u << 20)

struct disk_target;

struct disk_target_callbacks {
	/* The export is there, writable and of the expected size. Once. */
	void (*ready)(void *user_data);
	/* A write is finished; error is 0 or an errno. */
	void (*done)(guint64 cookie, int error, void *user_data);
	/*
	 * So is a read; data is NULL after an error. One in each turn of the main loop, since it takes time to look at the data, and other sources have work, too.
	 * NULL: nothing is ever read.
	 */
	void (*read)(guint64 cookie, int error, GBytes *data, void *user_data);
	/*
	 * No connection, not the right export, or the connection is lost. Once, and nothing comes after it: a write that was
	 * not reported done is lost, or half applied. FTD_ERROR_TIMEOUT, _IMAGE_SIZE, _DISK_KIND (the export is not usable) or _FAILED.
	 */
	void (*closed)(const GError *error, void *user_data);
};

/*
 * `timeout_ms` is for the way to ready(); a write has no time limit of its own. Failures are reported by closed() only.
 * `callbacks` must outlive the target.
 */
struct disk_target *disk_target_connect(const char *unix_path, const char *export_name, guint64 expected_size, unsigned timeout_ms,
					const struct disk_target_callbacks *callbacks, void *user_data);
/* Closes at once; unfinished writes are forgotten, no callback comes any more. */
void disk_target_free(struct disk_target *t);
typedef struct disk_target disk_target;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(disk_target, disk_target_free)

/*
 * Takes a reference on the data. Two writes that overlap reach the disk in the order of submission, others in any order. A
 * write outside of the export is done with EINVAL. May be called before ready().
 */
void disk_target_submit(struct disk_target *t, const struct disk_write *w, guint64 cookie);
/*
 * Reads, in the same order: what was submitted before and overlaps is in the data, what is submitted later is not. Cookies of reads and of writes are apart. The
 * memory for the data is taken when the read goes to QEMU.
 */
void disk_target_read(struct disk_target *t, guint64 offset, guint64 length, guint64 cookie);
/* Writes and reads that were submitted and are not done: those that wait here and those at QEMU. */
unsigned disk_target_in_flight(const struct disk_target *t);
