/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A piece is taken in three steps: its entries are checked, all of them; its body is decompressed to the end of the buffer that will hold the result; and the
 * result is made from front to back. What is still to be read of the body is always at least as far on as what is being written: an entry of kind SAME
 * writes a page and reads none, and the buffer is just so much longer than the body.
 *
 * Memory: PACKED_MAX_LENGTH for a piece, and the slots, which are no more than both sides agreed on.
 */
#include "checkpoint/unpacker.h"

#include <lz4.h>
#include <string.h>

#include "daemon/base/byte-reader.h"

struct unpacker {
	unsigned slots;
	uint8_t *bytes;
	uint8_t *filled;	/* one for each slot: a page was in it */
};

struct entry {
	uint32_t offset;
	enum packed_kind kind;
	uint32_t slot;
};

struct piece {
	uint64_t epoch;
	uint32_t length, body;	/* of the result; of the body, decompressed */
	enum packed_method method;
	unsigned pages;
	struct entry entries[PACKED_MAX_PAGES];
};

static const char *const fault_texts[] = {
	[UNPACK_OK] = "no fault",
	[UNPACK_SHORT] = "a packed piece that ends too early",
	[UNPACK_LENGTH] = "a packed piece of a length that is not allowed",
	[UNPACK_METHOD] = "a packed piece of an unknown kind",
	[UNPACK_PAGES] = "a packed piece whose pages do not lie in it",
	[UNPACK_SLOT] = "a packed piece that builds on a page which is not here",
	[UNPACK_BODY] = "a packed piece whose body is damaged",
};
G_STATIC_ASSERT(G_N_ELEMENTS(fault_texts) == UNPACK_FAULTS);

const char *
unpack_fault_text(enum unpack_fault fault)
{
	return fault < UNPACK_FAULTS ? fault_texts[fault] : "?";
}

struct unpacker *
unpacker_new(uint64_t cache_bytes)
{
	struct unpacker *u = g_new0(struct unpacker, 1);

	u->slots = page_cache_slots_of(cache_bytes);
	u->bytes = g_malloc0_n(u->slots, PAGE_CACHE_PAGE);
	u->filled = g_malloc0(u->slots);
	return u;
}

void
unpacker_free(struct unpacker *u)
{
	if (!u)
		return;
	g_free(u->bytes);
	g_free(u->filled);
	g_free(u);
}

static enum unpack_fault
read_entry(const struct unpacker *u, struct byte_reader *in, struct piece *p, uint32_t *end)
{
	struct entry *e = &p->entries[p->pages];
	uint32_t word;

	e->offset = byte_reader_be32(in);
	word = byte_reader_be32(in);
	e->slot = word & ((1u << PACKED_SLOT_BITS) - 1);
	if (word >> PACKED_SLOT_BITS >= PACKED_KINDS)
		return UNPACK_METHOD;
	e->kind = (enum packed_kind)(word >> PACKED_SLOT_BITS);
	if (e->offset < *end || e->offset > p->length || p->length - e->offset < PAGE_CACHE_PAGE)
		return UNPACK_PAGES;
	*end = e->offset + PAGE_CACHE_PAGE;
	if (e->slot >= u->slots || (e->kind != PACKED_STORE && !u->filled[e->slot]))
		return UNPACK_SLOT;
	if (e->kind == PACKED_SAME)
		p->body -= PAGE_CACHE_PAGE;
	u->filled[e->slot] = 1;	/* a later entry may build on it */
	p->pages++;
	return UNPACK_OK;
}

static enum unpack_fault
read_head(const struct unpacker *u, struct byte_reader *in, struct piece *p)
{
	uint32_t end = 0;
	unsigned pages;
	uint8_t method;

	p->epoch = byte_reader_be64(in);
	p->length = p->body = byte_reader_be32(in);
	method = byte_reader_u8(in);
	pages = byte_reader_be16(in);
	if (in->bad || in->left / PACKED_ENTRY < pages)
		return UNPACK_SHORT;
	if (p->length == 0 || p->length > PACKED_MAX_LENGTH)
		return UNPACK_LENGTH;
	if (method >= PACKED_METHODS)
		return UNPACK_METHOD;
	if (pages > PACKED_MAX_PAGES)
		return UNPACK_PAGES;
	p->method = (enum packed_method)method;
	while (p->pages < pages) {
		enum unpack_fault fault = read_entry(u, in, p, &end);
		if (fault)
			return fault;
	}
	return UNPACK_OK;
}

static bool
decompress(const struct piece *p, const struct byte_reader *in, uint8_t *out)
{
	if (p->method == PACKED_PLAIN) {
		if (in->left == p->body)
			memcpy(out, in->p, p->body);
		return in->left == p->body;
	}
	/* Its argument is an int; a longer body would not be shorter than what it stands for. */
	return in->left <= PACKED_MAX_LENGTH && LZ4_decompress_safe((const char *)in->p, (char *)out, (int)in->left, (int)p->body) == (int)p->body;
}

static void
xor_into(uint8_t *restrict page, const uint8_t *restrict delta)
{
	for (unsigned i = 0; i < PAGE_CACHE_PAGE; i += sizeof(uint64_t)) {
		uint64_t a, b;
		memcpy(&a, page + i, sizeof a);
		memcpy(&b, delta + i, sizeof b);
		a ^= b;
		memcpy(page + i, &a, sizeof a);
	}
}

/* The slot gets the page's new version; what of the body was used. */
static uint32_t
take_page(struct unpacker *u, const struct entry *e, const uint8_t *body)
{
	uint8_t *slot = u->bytes + (size_t)e->slot * PAGE_CACHE_PAGE;

	if (e->kind == PACKED_DELTA)
		xor_into(slot, body);
	else if (e->kind == PACKED_STORE)
		memcpy(slot, body, PAGE_CACHE_PAGE);
	return e->kind == PACKED_SAME ? 0 : PAGE_CACHE_PAGE;
}

static void
build(struct unpacker *u, const struct piece *p, uint8_t *out)
{
	const uint8_t *body = out + p->length - p->body;
	uint32_t at = 0;

	for (unsigned i = 0; i < p->pages; i++) {
		const struct entry *e = &p->entries[i];
		memmove(out + at, body, e->offset - at);
		body += e->offset - at;
		body += take_page(u, e, body);
		memcpy(out + e->offset, u->bytes + (size_t)e->slot * PAGE_CACHE_PAGE, PAGE_CACHE_PAGE);
		at = e->offset + PAGE_CACHE_PAGE;
	}
	g_assert(body + (p->length - at) == out + p->length);
}

enum unpack_fault
unpacker_take(struct unpacker *u, const uint8_t *data, size_t length, uint64_t *epoch, GBytes **out)
{
	struct byte_reader in = byte_reader_init(data, length);
	struct piece p = { 0 };
	enum unpack_fault fault = read_head(u, &in, &p);
	g_autofree uint8_t *buffer = NULL;

	if (fault)
		return fault;
	buffer = g_malloc(p.length);
	if (p.body > 0 ? !decompress(&p, &in, buffer + p.length - p.body) : in.left > 0)
		return UNPACK_BODY;
	build(u, &p, buffer);
	*epoch = p.epoch;
	*out = g_bytes_new_take(g_steal_pointer(&buffer), p.length);
	return UNPACK_OK;
}
