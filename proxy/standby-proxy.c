/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inbound. The SVM gets a frame in the epoch in which the PVM got it:
 *
 *   of an older epoch than the SVM runs:  it is in the state that was loaded; a second copy would be a duplicate: not injected
 *   of the epoch the SVM runs:            injected at once; while the SVM stands for a load it waits, and the load decides
 *   of a later epoch:                     waits for the load after which the SVM runs that epoch
 *   a stray (its PVM died before):        waits for the take-over, is injected at once after it, unless this host has heard it too
 *
 * A handshake that a load has split is settled before its acknowledgement (half-open.h).
 *
 * Output. Every SVM frame gets a number and the epoch the SVM runs, goes to the primary to be compared, and is kept until its twin has left or the
 * next load replaces the state it came from. What is kept at a take-over is exactly what the LAN may still be waiting for. From the take-over on the SVM hears, and
 * what it says is kept, too, until it may speak: then all of it goes out, in order.
 *
 * A primary that gives up in good order hands over what its PVM sent and it did not let go. What the loaded state has sent goes out before all else.
 *
 * Limits. Waiting frames and kept frames are bounded in bytes; at the bound the oldest go and are counted: the one costs the guest's peer a
 * retransmission after a load, the other one after a failover. Both are losses that a network may have, so neither breaks anything.
 *
 * While the SVM stands for a load its filter has been drained, so whatever it sends then was sent by the SVM that has just begun to run again, before
 * QEMU's LOADED came through the other socket: it is of the epoch that begins, and gets its number there when LOADED tells it.
 *
 * The state that QEMU received with the initial migration counts as checkpoint 0: the SVM begins in epoch 1, running.
 */
#include "proxy/standby-proxy.h"

#include "proxy/half-open.h"
#include "proxy/wire-frame.h"

#define EPOCH_OF_NEXT_LOAD UINT64_MAX	/* sent between the stop and LOADED */
#define EPOCH_NEVER UINT64_MAX		/* of a stray: no load brings it into the state */

struct entry {
	uint64_t id, epoch;
	unsigned nic;
	GBytes *frame;
	GList link;
};

struct queued_action {
	struct standby_proxy_action action;
	GList link;
};

struct standby_proxy {
	struct standby_proxy_limits limits;
	uint64_t epoch;			/* that the SVM runs, or ran before it stopped for the load */
	bool running, taken_over, speaks;
	bool passive, passive_wanted;	/* now; from the next load on */
	uint64_t last_id, dropped;
	GQueue waiting, kept, unsent;	/* of struct entry, in the order they came */
	size_t waiting_bytes, kept_bytes, unsent_bytes;
	GHashTable *kept_by_id;		/* &entry->id -> entry */
	GQueue actions;			/* of struct queued_action */
	struct half_open *half_open;
};

struct standby_proxy *
standby_proxy_new(const struct standby_proxy_limits *limits)
{
	struct standby_proxy *p = g_new0(struct standby_proxy, 1);

	p->limits = *limits;
	p->epoch = 1;
	p->running = true;
	p->kept_by_id = g_hash_table_new(g_int64_hash, g_int64_equal);
	p->half_open = half_open_new();
	return p;
}

static struct entry *
entry_new(uint64_t id, uint64_t epoch, unsigned nic, GBytes *frame)
{
	struct entry *e = g_new(struct entry, 1);

	*e = (struct entry){ .id = id, .epoch = epoch, .nic = nic, .frame = g_bytes_ref(frame), .link = { .data = e } };
	return e;
}

static void
entry_free(struct entry *e)
{
	g_bytes_unref(e->frame);
	g_free(e);
}

static void
act(struct standby_proxy *p, enum standby_proxy_action_type type, const struct entry *e)
{
	struct queued_action *q = g_new(struct queued_action, 1);

	*q = (struct queued_action){
		.action = { .type = type, .nic = e->nic, .id = e->id, .epoch = e->epoch, .frame = g_bytes_ref(e->frame) },
		.link = { .data = q },
	};
	g_queue_push_tail_link(&p->actions, &q->link);
}

/* For filter-rewriter only. */
static void
inject_decoy(struct standby_proxy *p, unsigned nic, GBytes *frame)
{
	const struct entry e = { .nic = nic, .epoch = p->epoch, .frame = frame };

	act(p, STANDBY_PROXY_INJECT, &e);
	g_bytes_unref(frame);
}

static void
inject(struct standby_proxy *p, const struct entry *e)
{
	GBytes *first = half_open_inbound(p->half_open, e->nic, e->frame);

	if (first)
		inject_decoy(p, e->nic, first);
	act(p, STANDBY_PROXY_INJECT, e);
}

static struct entry *
head(const GQueue *q)
{
	return q->head ? q->head->data : NULL;
}

static void
unwait(struct standby_proxy *p, struct entry *e)
{
	g_queue_unlink(&p->waiting, &e->link);
	p->waiting_bytes -= g_bytes_get_size(e->frame);
	entry_free(e);
}

static void
unkeep(struct standby_proxy *p, struct entry *e)
{
	g_queue_unlink(&p->kept, &e->link);
	g_hash_table_remove(p->kept_by_id, &e->id);
	p->kept_bytes -= g_bytes_get_size(e->frame);
	entry_free(e);
}

static void
wait_for_load(struct standby_proxy *p, struct entry *e)
{
	g_queue_push_tail_link(&p->waiting, &e->link);
	p->waiting_bytes += g_bytes_get_size(e->frame);
	while (p->waiting_bytes > p->limits.max_inbound_bytes) {
		unwait(p, head(&p->waiting));
		p->dropped++;
	}
}

static void
keep(struct standby_proxy *p, struct entry *e)
{
	g_queue_push_tail_link(&p->kept, &e->link);
	g_hash_table_add(p->kept_by_id, &e->id);
	p->kept_bytes += g_bytes_get_size(e->frame);
	while (p->kept_bytes > p->limits.max_output_bytes) {
		unkeep(p, head(&p->kept));
		p->dropped++;
	}
}

void
standby_proxy_inbound(struct standby_proxy *p, uint64_t epoch, unsigned nic, GBytes *frame)
{
	if (p->taken_over || epoch < p->epoch)
		return;	/* it hears the LAN itself now / it is in the loaded state */
	struct entry *e = entry_new(0, epoch, nic, frame);
	if (!p->running || p->passive || epoch > p->epoch) {
		wait_for_load(p, e);
		return;
	}
	inject(p, e);
	entry_free(e);
}

/* What is sent to many comes to this host by itself, and after the take-over some of it is the guest's own. */
static bool
to_group(GBytes *frame)
{
	size_t length;
	const uint8_t *ethernet = wire_frame_ethernet(frame, &length);

	return length > 0 && (ethernet[0] & 1);
}

void
standby_proxy_stray(struct standby_proxy *p, unsigned nic, GBytes *frame)
{
	struct entry *e;

	if (p->taken_over && to_group(frame))
		return;
	e = entry_new(0, EPOCH_NEVER, nic, frame);
	if (!p->taken_over) {
		wait_for_load(p, e);
		return;
	}
	inject(p, e);
	entry_free(e);
}

/* Sent by the state that was loaded; what a later epoch sent is of a state that never was. */
static void
let_go(struct standby_proxy *p, struct entry *e)
{
	if (e->epoch < p->epoch)
		act(p, STANDBY_PROXY_TO_LAN, e);
	entry_free(e);
}

void
standby_proxy_unsent(struct standby_proxy *p, uint64_t epoch, unsigned nic, GBytes *frame)
{
	struct entry *e = entry_new(0, epoch, nic, frame);

	if (p->speaks) {
		let_go(p, e);
	} else if (p->unsent_bytes + g_bytes_get_size(frame) > p->limits.max_output_bytes) {
		p->dropped++;
		entry_free(e);
	} else {
		p->unsent_bytes += g_bytes_get_size(frame);
		g_queue_push_tail_link(&p->unsent, &e->link);
	}
}

void
standby_proxy_output(struct standby_proxy *p, unsigned nic, GBytes *frame)
{
	struct entry *e = entry_new(++p->last_id, p->running ? p->epoch : EPOCH_OF_NEXT_LOAD, nic, frame);

	if (p->speaks) {
		act(p, STANDBY_PROXY_TO_LAN, e);
		entry_free(e);
		return;
	}
	if (!p->taken_over)
		half_open_output(p->half_open, nic, frame);
	if (!p->taken_over && p->running && !p->passive)
		act(p, STANDBY_PROXY_TO_PEER, e);
	keep(p, e);
}

void
standby_proxy_stopped(struct standby_proxy *p)
{
	p->running = false;
	half_open_stopped(p->half_open);
}

/* Frames up to the loaded epoch are in the state; those of the epoch that begins are due; of later ones nothing yet. */
static void
inject_due(struct standby_proxy *p)
{
	for (GList *l = p->waiting.head, *next; l; l = next) {
		struct entry *e = l->data;

		next = l->next;
		if (e->epoch > p->epoch || (e->epoch == p->epoch && p->passive))
			continue;
		if (e->epoch == p->epoch)
			inject(p, e);
		unwait(p, e);
	}
}

/* What is kept is in the order sent: first the output of the state that the load has replaced, then that of the SVM since the load. */
static void
renew_kept(struct standby_proxy *p)
{
	while (head(&p->kept) && head(&p->kept)->epoch < p->epoch)
		unkeep(p, head(&p->kept));
	for (GList *l = p->kept.head; l; l = l->next) {
		struct entry *e = l->data;

		if (e->epoch != EPOCH_OF_NEXT_LOAD)
			continue;
		e->epoch = p->epoch;
		if (!p->passive)
			act(p, STANDBY_PROXY_TO_PEER, e);
	}
}

void
standby_proxy_loaded(struct standby_proxy *p, uint64_t epoch)
{
	if (p->taken_over)
		return;
	p->epoch = epoch + 1;
	p->running = true;
	p->passive = p->passive_wanted;
	renew_kept(p);
	half_open_loaded(p->half_open);
	inject_due(p);
}

void
standby_proxy_set_passive(struct standby_proxy *p, bool passive)
{
	p->passive_wanted = passive;
}

void
standby_proxy_committed(struct standby_proxy *p, uint64_t epoch)
{
	for (GList *l = p->waiting.head, *next; l && !p->taken_over; l = next) {
		struct entry *e = l->data;

		next = l->next;
		if (e->epoch <= epoch)
			unwait(p, e);
	}
}

void
standby_proxy_twin_left(struct standby_proxy *p, const uint64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t *found = g_hash_table_lookup(p->kept_by_id, &ids[i]);
		if (found)
			unkeep(p, (struct entry *)((char *)found - G_STRUCT_OFFSET(struct entry, id)));
	}
}

/* The waiting frames may settle handshakes themselves; for the rest filter-rewriter gets its answer before the LAN's frames do. */
void
standby_proxy_take_over(struct standby_proxy *p)
{
	unsigned nic;
	GBytes *frame;

	p->taken_over = true;
	while (head(&p->waiting)) {
		inject(p, head(&p->waiting));
		unwait(p, head(&p->waiting));
	}
	while ((frame = half_open_next(p->half_open, &nic)))
		inject_decoy(p, nic, frame);
}

/* In the order in which the guest sent it. */
void
standby_proxy_speak(struct standby_proxy *p)
{
	GList *link;

	g_assert(p->taken_over);
	p->speaks = true;
	while ((link = g_queue_pop_head_link(&p->unsent)))
		let_go(p, link->data);
	while (head(&p->kept)) {
		act(p, STANDBY_PROXY_TO_LAN, head(&p->kept));
		unkeep(p, head(&p->kept));
	}
}

void
standby_proxy_push(struct standby_proxy *p, unsigned nic)
{
	GBytes *frame = half_open_push(p->half_open, nic);

	if (frame)
		inject_decoy(p, nic, frame);
}

bool
standby_proxy_next(struct standby_proxy *p, struct standby_proxy_action *out)
{
	GList *link = g_queue_pop_head_link(&p->actions);
	struct queued_action *q = link ? link->data : NULL;

	if (!q)
		return false;
	*out = q->action;
	g_free(q);
	return true;
}

void
standby_proxy_action_clear(struct standby_proxy_action *a)
{
	g_clear_pointer(&a->frame, g_bytes_unref);
}

uint64_t
standby_proxy_dropped(const struct standby_proxy *p)
{
	return p->dropped;
}

void
standby_proxy_free(struct standby_proxy *p)
{
	struct standby_proxy_action a;

	if (!p)
		return;
	while (standby_proxy_next(p, &a))
		standby_proxy_action_clear(&a);
	while (head(&p->kept))
		unkeep(p, head(&p->kept));
	while (head(&p->waiting))
		unwait(p, head(&p->waiting));
	for (GList *link; (link = g_queue_pop_head_link(&p->unsent));)
		entry_free(link->data);
	g_hash_table_unref(p->kept_by_id);
	half_open_free(p->half_open);
	g_free(p);
}
