/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A held checkpoint keeps the pieces of its stream as they came and, for every page, where in the stream its record is. Adding it
 * to a merge looks each page up in one index over all merged checkpoints; the older record of the same page is dead from then on.
 * A piece that no living record needs any more is let go at once, so a page that every epoch writes is held about once, however
 * long the load is put off. (A piece is let go whole: one living page keeps its piece.)
 *
 * The output walks the checkpoints from old to new and writes the living records in the order they came. Records that were
 * neighbours in the stream and both live are sent as one slice with their headers, so a single checkpoint goes out as it came.
 * Where a neighbour is missing, a record that relied on it (CONTINUE: "the block of the record before") gets a new header that
 * names its block; so does the first record of all, which must not rely on what QEMU got before. All new headers share one
 * buffer.
 *
 * Invariants: at most one living record per page; `users` of a piece is the number of living records (and device states) that
 * reach into it; a piece is held iff it has users, or its checkpoint is not closed yet.
 */
#include "checkpoint/checkpoint-merge.h"

#include "checkpoint/colo-message.h"

#define PIECE_COST 64	/* GBytes, its allocation, struct piece */
#define PAGE_COST (sizeof(struct held_page) + 3 * sizeof(void *))	/* the record and its place in the index */

struct piece {
	GBytes *bytes;		/* NULL once let go */
	uint64_t offset;	/* of its first byte in the checkpoint */
	size_t length;
	uint32_t users;
};

struct held_page {
	uint64_t offset;	/* of the record's header in the checkpoint */
	uint64_t address;	/* within the block */
	uint32_t payload;
	uint32_t piece;		/* the one that holds the first byte; known once the checkpoint is closed */
	uint16_t block;
	uint16_t header : 12;	/* bytes of it */
	uint16_t zero : 1;
	uint16_t named : 1;
	uint16_t dead : 1;
	struct held_checkpoint *owner;
};
G_STATIC_ASSERT(MIGRATION_MAX_HEADER < 1 << 12);
G_STATIC_ASSERT(MIGRATION_MAX_BLOCKS <= 1 << 16);

struct held_checkpoint {
	uint64_t epoch, length, held;
	GArray *pieces;		/* struct piece */
	GArray *pages;		/* struct held_page; does not move once the checkpoint is closed */
	uint64_t living;	/* pages that are not dead */
	uint64_t state_offset, state_length;
	bool closed;
};

struct checkpoint_merge {
	GHashTable *index;	/* struct held_page: the living one of each page */
	GPtrArray *checkpoints;	/* struct held_checkpoint, oldest first */
};

static void
piece_clear(void *p)
{
	g_clear_pointer(&((struct piece *)p)->bytes, g_bytes_unref);
}

struct held_checkpoint *
held_checkpoint_new(uint64_t epoch)
{
	struct held_checkpoint *c = g_new0(struct held_checkpoint, 1);

	c->epoch = epoch;
	c->pieces = g_array_new(FALSE, FALSE, sizeof(struct piece));
	g_array_set_clear_func(c->pieces, piece_clear);
	c->pages = g_array_new(FALSE, FALSE, sizeof(struct held_page));
	return c;
}

void
held_checkpoint_free(struct held_checkpoint *c)
{
	if (!c)
		return;
	g_array_unref(c->pieces);
	g_array_unref(c->pages);
	g_free(c);
}

static struct piece *
piece_at(const struct held_checkpoint *c, unsigned i)
{
	return &g_array_index(c->pieces, struct piece, i);
}

static struct held_page *
page_at(const struct held_checkpoint *c, unsigned i)
{
	return &g_array_index(c->pages, struct held_page, i);
}

static uint64_t
page_end(const struct held_page *p)
{
	return p->offset + p->header + p->payload;
}

void
held_checkpoint_add(struct held_checkpoint *c, GBytes *bytes)
{
	struct piece p = { .bytes = g_bytes_ref(bytes), .offset = c->length, .length = g_bytes_get_size(bytes) };

	g_assert(!c->closed && p.length > 0);
	c->length += p.length;
	c->held += p.length;
	g_array_append_val(c->pieces, p);
}

void
held_checkpoint_note(struct held_checkpoint *c, const struct migration_event *e)
{
	g_assert(!c->closed);
	if (e->type == MIGRATION_DEVICE_STATE) {
		c->state_offset = e->offset + e->header;
		c->state_length = e->payload;
	} else if (e->type == MIGRATION_PAGE) {
		struct held_page p = {
			.offset = e->offset, .address = e->address, .payload = (uint32_t)e->payload,
			.block = (uint16_t)e->block, .header = (uint16_t)e->header, .zero = e->zero, .named = e->named, .owner = c,
		};
		g_array_append_val(c->pages, p);
	}
}

static void
let_go(struct held_checkpoint *c, struct piece *p)
{
	c->held -= p->length;
	piece_clear(p);
}

/* Counts [start, end) as a user of its pieces; returns the first one's index. Starts looking at `from`: ranges come in ascending order. */
static unsigned
use(struct held_checkpoint *c, unsigned from, uint64_t start, uint64_t end)
{
	while (piece_at(c, from)->offset + piece_at(c, from)->length <= start)
		from++;
	for (unsigned i = from; i < c->pieces->len && piece_at(c, i)->offset < end; i++)
		piece_at(c, i)->users++;
	return from;
}

static void
unuse(struct held_checkpoint *c, unsigned from, uint64_t end)
{
	for (unsigned i = from; i < c->pieces->len && piece_at(c, i)->offset < end; i++)
		if (--piece_at(c, i)->users == 0)
			let_go(c, piece_at(c, i));
}

void
held_checkpoint_close(struct held_checkpoint *c)
{
	unsigned at = 0;

	g_assert(!c->closed && c->state_length > 0 && c->state_offset + c->state_length == c->length);
	for (unsigned i = 0; i < c->pages->len; i++) {
		struct held_page *p = page_at(c, i);
		at = p->piece = use(c, at, p->offset, page_end(p));
	}
	use(c, at, c->state_offset, c->length);
	for (unsigned i = 0; i < c->pieces->len; i++)
		if (piece_at(c, i)->users == 0)
			let_go(c, piece_at(c, i));
	c->living = c->pages->len;
	c->closed = true;
}

uint64_t
held_checkpoint_epoch(const struct held_checkpoint *c)
{
	return c->epoch;
}

uint64_t
held_checkpoint_length(const struct held_checkpoint *c)
{
	return c->length;
}

uint64_t
held_checkpoint_cost(const struct held_checkpoint *c)
{
	return c->held + (uint64_t)c->pieces->len * PIECE_COST + (uint64_t)c->pages->len * PAGE_COST;
}

static guint
page_hash(const void *key)
{
	const struct held_page *p = key;

	return (guint)((p->address >> 12 ^ (uint64_t)p->block << 40) * 0x9e3779b97f4a7c15u >> 32);
}

static gboolean
page_same(const void *a, const void *b)
{
	const struct held_page *p = a, *q = b;

	return p->address == q->address && p->block == q->block;
}

struct checkpoint_merge *
checkpoint_merge_new(void)
{
	struct checkpoint_merge *m = g_new0(struct checkpoint_merge, 1);

	m->index = g_hash_table_new(page_hash, page_same);
	m->checkpoints = g_ptr_array_new_with_free_func((GDestroyNotify)held_checkpoint_free);
	return m;
}

void
checkpoint_merge_free(struct checkpoint_merge *m)
{
	if (!m)
		return;
	g_hash_table_unref(m->index);
	g_ptr_array_unref(m->checkpoints);
	g_free(m);
}

static struct held_checkpoint *
newest(const struct checkpoint_merge *m)
{
	return m->checkpoints->len ? g_ptr_array_index(m->checkpoints, m->checkpoints->len - 1) : NULL;
}

static void
kill_page(struct held_page *p)
{
	p->dead = true;
	p->owner->living--;
	unuse(p->owner, p->piece, page_end(p));
}

static void
drop_device_state(struct held_checkpoint *c)
{
	unsigned i = c->pieces->len - 1;	/* the state is the checkpoint's end */

	while (piece_at(c, i)->offset > c->state_offset)
		i--;
	unuse(c, i, c->length);
	c->state_length = 0;
}

static void
free_dead_checkpoints(struct checkpoint_merge *m)
{
	for (unsigned i = 0; i + 1 < m->checkpoints->len;) {
		struct held_checkpoint *c = g_ptr_array_index(m->checkpoints, i);
		if (c->living == 0)
			g_ptr_array_remove_index(m->checkpoints, i);
		else
			i++;
	}
}

void
checkpoint_merge_add(struct checkpoint_merge *m, struct held_checkpoint *c)
{
	g_assert(c->closed && c->epoch > checkpoint_merge_epoch(m));
	if (newest(m))
		drop_device_state(newest(m));
	for (unsigned i = 0; i < c->pages->len; i++) {
		struct held_page *p = page_at(c, i), *old = g_hash_table_lookup(m->index, p);
		if (old)
			kill_page(old);
		g_hash_table_add(m->index, p);
	}
	g_ptr_array_add(m->checkpoints, c);
	free_dead_checkpoints(m);
}

uint64_t
checkpoint_merge_epoch(const struct checkpoint_merge *m)
{
	return newest(m) ? newest(m)->epoch : 0;
}

uint64_t
checkpoint_merge_cost(const struct checkpoint_merge *m)
{
	uint64_t cost = 0;

	for (unsigned i = 0; i < m->checkpoints->len; i++)
		cost += held_checkpoint_cost(g_ptr_array_index(m->checkpoints, i));
	return cost;
}

uint64_t
checkpoint_merge_pages(const struct checkpoint_merge *m)
{
	return g_hash_table_size(m->index);
}

/* A range of a checkpoint's stream or, without one, of the new headers. */
struct run {
	const struct held_checkpoint *from;
	uint64_t start, end;
	unsigned piece;		/* a piece at or before the start */
};

struct output {
	const struct migration_reader *reader;
	GArray *runs;		/* struct run */
	GByteArray *heads;
	int last_block;		/* of the last record; -1 = none */
};

static struct run *
last_run(const struct output *o)
{
	return o->runs->len ? &g_array_index(o->runs, struct run, o->runs->len - 1) : NULL;
}

/* Appends a range to the output, or makes the last one longer. */
static void
put_range(struct output *o, const struct held_checkpoint *from, unsigned piece, uint64_t start, uint64_t end)
{
	struct run *last = last_run(o);

	if (last && last->from == from && last->end == start) {
		last->end = end;
		return;
	}
	g_array_append_val(o->runs, ((struct run){ .from = from, .start = start, .end = end, .piece = piece }));
}

static void
put_head(struct output *o, const void *data, unsigned length)
{
	put_range(o, NULL, 0, o->heads->len, o->heads->len + length);
	g_byte_array_append(o->heads, data, length);
}

static void
put_named_header(struct output *o, const struct held_page *p)
{
	struct migration_block block = migration_reader_block(o->reader, p->block);
	uint8_t head[9];

	put_be64(head, p->address | (p->zero ? RAM_FLAG_ZERO : RAM_FLAG_PAGE));
	head[8] = (uint8_t)block.name_length;
	put_head(o, head, sizeof head);
	put_head(o, block.name, block.name_length);
}

static void
put_page(struct output *o, const struct held_page *p)
{
	bool as_it_came = p->named || o->last_block == p->block;

	if (!as_it_came)
		put_named_header(o, p);
	put_range(o, p->owner, p->piece, as_it_came ? p->offset : p->offset + p->header, page_end(p));
	o->last_block = p->block;
}

static void
put_opening(struct output *o)
{
	uint8_t head[COLO_MESSAGE_BYTES + 5];

	colo_message_encode(COLO_VMSTATE_SEND, head);
	head[COLO_MESSAGE_BYTES] = QEMU_VM_SECTION_END;	/* qemu_savevm_live_state() ends the section in every checkpoint */
	put_be32(head + COLO_MESSAGE_BYTES + 1, migration_reader_ram_section(o->reader));
	put_head(o, head, sizeof head);
}

static void
put_closing(struct output *o, uint64_t device_state)
{
	uint8_t eos[8], footer[5] = { QEMU_VM_SECTION_FOOTER }, tail[1 + COLO_VMSTATE_SIZE_BYTES] = { QEMU_VM_EOF };

	put_be64(eos, RAM_FLAG_EOS);
	put_be32(footer + 1, migration_reader_ram_section(o->reader));
	colo_vmstate_size_encode(device_state, tail + 1);
	put_head(o, eos, sizeof eos);
	if (migration_reader_has_footers(o->reader))
		put_head(o, footer, sizeof footer);
	put_head(o, tail, sizeof tail);
}

/* Cuts a run into slices of the pieces it lies in. */
static void
slice_run(const struct run *run, GPtrArray *out)
{
	uint64_t at = run->start;

	for (unsigned i = run->piece; at < run->end; i++) {
		const struct piece *p = piece_at(run->from, i);
		uint64_t end = MIN(run->end, p->offset + p->length);
		if (end <= at)
			continue;
		g_ptr_array_add(out, g_bytes_new_from_bytes(p->bytes, at - p->offset, end - at));
		at = end;
	}
}

static GPtrArray *
slice(struct output *o)
{
	GPtrArray *out = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	g_autoptr(GBytes) heads = g_byte_array_free_to_bytes(g_steal_pointer(&o->heads));

	for (unsigned i = 0; i < o->runs->len; i++) {
		const struct run *run = &g_array_index(o->runs, struct run, i);
		if (run->from)
			slice_run(run, out);
		else
			g_ptr_array_add(out, g_bytes_new_from_bytes(heads, run->start, run->end - run->start));
	}
	return out;
}

GPtrArray *
checkpoint_merge_output(const struct checkpoint_merge *m, const struct migration_reader *reader)
{
	const struct held_checkpoint *last = newest(m);
	g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(struct run));
	struct output o = { .reader = reader, .runs = runs, .heads = g_byte_array_new(), .last_block = -1 };

	g_assert(last);
	put_opening(&o);
	for (unsigned i = 0; i < m->checkpoints->len; i++) {
		const struct held_checkpoint *c = g_ptr_array_index(m->checkpoints, i);
		for (unsigned k = 0; k < c->pages->len; k++)
			if (!page_at(c, k)->dead)
				put_page(&o, page_at(c, k));
	}
	put_closing(&o, last->state_length);
	put_range(&o, last, 0, last->state_offset, last->length);
	return slice(&o);
}
