/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 * ===================
 *
 * The disk rule: the standby's parent image holds exactly the writes of the epochs that its SVM has loaded. A write of epoch
 * N may reach the image only when checkpoint N is about to be loaded (disk_queue_permit()), and the load may begin only when
 * the last of them is there (disk_queue_applied()). A failover then finds parent = state of the last loaded checkpoint.
 *
 *   push() --> waiting --[epoch <= permitted]--> next() --> taken --> done()
 *                 |
 *                 +--[discard_after()]--> forgotten
 *
 * Invariants:
 * - epochs in `waiting` never decrease, and no write is handed out of the order it was pushed in, over all disks;
 * - so the oldest waiting write tells whether anything of an epoch still waits, and `taken` (one entry per epoch, oldest
 *   first) stays short;
 * - `bytes` = cost of what waits + cost of what is taken, and never exceeds max_bytes. A write is charged a fixed cost beside
 *   its payload, which bounds the number of writes as well.
 */
#include "checkpoint/disk-queue.h"

#include "daemon/base/error.h"

struct taken {
	uint64_t epoch;
	unsigned writes;	/* taken and not done; never 0 */
};

struct disk_queue {
	uint64_t max_bytes, bytes;
	uint64_t permitted;	/* valid when `any_permitted` */
	bool any_permitted;
	uint64_t newest;	/* epoch of the latest write that was pushed; 0 before */
	GQueue waiting;		/* struct disk_write */
	GQueue taken;		/* struct taken */
};

void
disk_write_clear(struct disk_write *w)
{
	g_clear_pointer(&w->data, g_bytes_unref);
}

static void
write_free(gpointer data)
{
	disk_write_clear(data);
	g_free(data);
}

struct disk_queue *
disk_queue_new(uint64_t max_bytes)
{
	struct disk_queue *q = g_new0(struct disk_queue, 1);

	q->max_bytes = max_bytes;
	g_queue_init(&q->waiting);
	g_queue_init(&q->taken);
	return q;
}

void
disk_queue_free(struct disk_queue *q)
{
	if (!q)
		return;
	g_queue_clear_full(&q->waiting, write_free);
	g_queue_clear_full(&q->taken, g_free);
	g_free(q);
}

/* The payload counts by its declared length, so that done() finds the same cost after the data has been given away. */
static uint64_t
cost(const struct disk_write *w)
{
	return DISK_WRITE_COST + (w->op == DISK_OP_WRITE ? w->length : 0);
}

static bool
is_sound(const struct disk_write *w)
{
	gsize held = w->data ? g_bytes_get_size(w->data) : 0;

	return w->length > 0 && w->offset <= UINT64_MAX - w->length && held == (w->op == DISK_OP_WRITE ? w->length : 0);
}

bool
disk_queue_push(struct disk_queue *q, struct disk_write *w, GError **error)
{
	if (!is_sound(w)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "disk %u: a write whose data does not have its length", w->disk);
		return false;
	}
	if (w->epoch < q->newest) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "disk %u: a write of epoch %" G_GUINT64_FORMAT " after one of epoch %"
			    G_GUINT64_FORMAT, w->disk, (guint64)w->epoch, (guint64)q->newest);
		return false;
	}
	/* Compared by subtraction: bytes <= max_bytes always holds, and a sum could wrap. */
	if (cost(w) > q->max_bytes - q->bytes) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "more than %" G_GUINT64_FORMAT " bytes of disk writes wait for a checkpoint; "
			    "give the pair a larger disk buffer or shorter epochs", (guint64)q->max_bytes);
		return false;
	}
	q->newest = w->epoch;
	q->bytes += cost(w);
	g_queue_push_tail(&q->waiting, g_memdup2(w, sizeof(*w)));
	w->data = NULL;
	return true;
}

void
disk_queue_permit(struct disk_queue *q, uint64_t epoch)
{
	q->permitted = q->any_permitted ? MAX(q->permitted, epoch) : epoch;
	q->any_permitted = true;
}

static void
remember_taken(struct disk_queue *q, uint64_t epoch)
{
	struct taken *last = g_queue_peek_tail(&q->taken);

	if (!last || last->epoch != epoch) {
		last = g_new0(struct taken, 1);
		last->epoch = epoch;
		g_queue_push_tail(&q->taken, last);
	}
	last->writes++;
}

bool
disk_queue_next(struct disk_queue *q, struct disk_write *out)
{
	struct disk_write *w = g_queue_peek_head(&q->waiting);

	if (!w || !q->any_permitted || w->epoch > q->permitted)
		return false;
	g_queue_pop_head(&q->waiting);
	remember_taken(q, w->epoch);
	*out = *w;
	g_free(w);
	return true;
}

void
disk_queue_done(struct disk_queue *q, const struct disk_write *w)
{
	GList *link = q->taken.head;
	struct taken *t;

	while (link && ((struct taken *)link->data)->epoch != w->epoch)
		link = link->next;
	g_assert(link && cost(w) <= q->bytes);
	q->bytes -= cost(w);
	t = link->data;
	if (--t->writes == 0) {
		g_free(t);
		g_queue_delete_link(&q->taken, link);
	}
}

bool
disk_queue_applied(const struct disk_queue *q, uint64_t epoch)
{
	const struct disk_write *w = q->waiting.head ? q->waiting.head->data : NULL;

	if (w && w->epoch <= epoch)
		return false;
	/* After discard_after() an older epoch can follow a newer one here, so look at all of them. */
	for (const GList *l = q->taken.head; l; l = l->next)
		if (((const struct taken *)l->data)->epoch <= epoch)
			return false;
	return true;
}

unsigned
disk_queue_discard_after(struct disk_queue *q, uint64_t epoch)
{
	unsigned n = 0;

	for (struct disk_write *w; (w = g_queue_peek_tail(&q->waiting)) && w->epoch > epoch; n++) {
		q->bytes -= cost(w);
		write_free(g_queue_pop_tail(&q->waiting));
	}
	q->newest = MIN(q->newest, epoch);
	return n;
}

uint64_t
disk_queue_bytes(const struct disk_queue *q)
{
	return q->bytes;
}
