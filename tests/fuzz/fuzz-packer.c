/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints of pages that the input chooses: the first two bytes are the cache's slots and the size of the pieces; then, per page, a byte that says which page and
 * how much of it is new. 0xff ends a checkpoint. Whatever it is, the same bytes come out on the other side.
 */
#include <glib.h>

#include "checkpoint/packer.h"
#include "checkpoint/unpacker.h"
#include "tests/checkpoint/stream.h"

static void
put_random_page(GByteArray *b, uint8_t what, uint32_t *random)
{
	put_page(b, what >> 3 & 1, what & 3, true, what & 0x80 ? 0 : 1);
	for (unsigned i = 0; !(what & 0x80) && i < 1u << (what >> 4 & 7) * 2; i++) {
		*random = *random * 1664525 + 1013904223;
		b->data[b->len - PAGE_BYTES + (*random >> 8) % PAGE_BYTES] = (uint8_t)(*random >> 24);
	}
}

/* Until the input says so, or there is no more of it. */
static void
put_pages(GByteArray *b, struct byte_reader *in, uint32_t *random)
{
	for (unsigned n = 0; n < 80 && in->left > 0; n++) {
		uint8_t what = byte_reader_u8(in);
		if (what == 0xff)
			break;
		put_random_page(b, what, random);
	}
}

static void
check(struct packer *p, struct unpacker *u, uint64_t epoch, const GByteArray *b, size_t step)
{
	g_autoptr(GByteArray) out = g_byte_array_new();

	packer_begin(p, epoch);
	for (size_t at = 0; at < b->len; at += step) {
		struct byte_reader in = byte_reader_init(b->data + at, MIN(step, b->len - at));
		while (in.left > 0) {
			g_autoptr(GBytes) packed = packer_add(p, &in), bytes = NULL;
			uint64_t of;
			if (!packed)
				continue;
			g_assert(unpacker_take(u, g_bytes_get_data(packed, NULL), g_bytes_get_size(packed), &of, &bytes) == UNPACK_OK && of == epoch);
			g_byte_array_append(out, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
		}
	}
	g_assert(out->len == b->len && memcmp(out->data, b->data, b->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct byte_reader in = byte_reader_init(data, size);
	uint64_t cache = (uint64_t)byte_reader_u8(&in) % 4 * 4 * PAGE_CACHE_PAGE;
	size_t step = byte_reader_u8(&in) * 37u + 1u;
	uint32_t random = 1;
	g_autoptr(packer) p = packer_new(cache);
	g_autoptr(unpacker) u = unpacker_new(cache);
	g_autoptr(GByteArray) initial = initial_stream();
	g_autoptr(GBytes) stream = piece(initial, 0, initial->len);

	packer_stream(p, stream);
	for (uint64_t epoch = 1; in.left > 0; epoch++) {
		g_autoptr(GByteArray) b = g_byte_array_new();
		put_section(b, QEMU_VM_SECTION_END);
		put_pages(b, &in, &random);
		put_section_end(b);
		put_device_state(b, (uint8_t)epoch, 1 + (unsigned)epoch % 3 * 1000);
		check(p, u, epoch, b, step);
	}
	return 0;
}
