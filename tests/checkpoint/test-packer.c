/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/checkpoint/stream.h"

#include "checkpoint/packer.h"
#include "checkpoint/unpacker.h"

#define CACHE (8 * PAGE_CACHE_PAGE)	/* one set */

static struct packer *
new_packer(uint64_t cache)
{
	struct packer *p = packer_new(cache);
	g_autoptr(GByteArray) initial = initial_stream();
	g_autoptr(GBytes) stream = piece(initial, 0, initial->len);

	packer_stream(p, stream);
	return p;
}

/* A page of `words` 64-bit words that are not those of fill 1, page `page` of block 0. */
static void
put_mixed_page(GByteArray *b, unsigned page, unsigned words)
{
	uint32_t random = 12345;

	put_page(b, 0, page, true, 1);
	for (uint8_t *at = b->data + b->len - PAGE_BYTES; words > 0; words--, at += 8)
		for (unsigned i = 0; i < 8; i++, random = random * 1664525 + 1013904223)
			at[i] = (uint8_t)(random >> 24) | 2;
}

static GByteArray *
checkpoint(uint8_t fill, unsigned state)
{
	GByteArray *b = g_byte_array_new();

	put_section(b, QEMU_VM_SECTION_END);
	put_page(b, 0, 0, true, 0);
	for (unsigned i = 0; i < 8; i++)
		put_page(b, 0, i, false, (uint8_t)(fill + i));
	put_page(b, 1, 3, true, 7);
	put_section_end(b);
	put_device_state(b, 0xd0, state);
	return b;
}

/* All pieces of a checkpoint that comes in `step` bytes at a time. */
static GPtrArray *
pack(struct packer *p, uint64_t epoch, const GByteArray *b, size_t step)
{
	GPtrArray *pieces = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

	packer_begin(p, epoch);
	for (size_t at = 0; at < b->len; at += step) {
		struct byte_reader in = byte_reader_init(b->data + at, MIN(step, b->len - at));
		while (in.left > 0) {
			GBytes *piece_bytes = packer_add(p, &in);
			if (piece_bytes)
				g_ptr_array_add(pieces, piece_bytes);
		}
	}
	return pieces;
}

static enum unpack_fault
unpack_one(struct unpacker *u, GBytes *packed, uint64_t *epoch, GByteArray *out)
{
	g_autoptr(GBytes) bytes = NULL;
	size_t length;
	const uint8_t *data = g_bytes_get_data(packed, &length);
	g_autofree uint8_t *exact = g_memdup2(data, length);	/* a sanitizer sees a read beyond it */
	enum unpack_fault fault = unpacker_take(u, exact, length, epoch, &bytes);

	if (fault == UNPACK_OK)
		g_byte_array_append(out, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
	return fault;
}

/* Bytes on the link. */
static size_t
check_round_trip(struct packer *p, struct unpacker *u, uint64_t epoch, const GByteArray *b, size_t step)
{
	g_autoptr(GPtrArray) pieces = pack(p, epoch, b, step);
	g_autoptr(GByteArray) out = g_byte_array_new();
	size_t sum = 0;

	for (unsigned i = 0; i < pieces->len; i++) {
		uint64_t of = 0;
		size_t before = out->len;
		assert_int_equal(unpack_one(u, pieces->pdata[i], &of, out), UNPACK_OK);
		assert_int_equal(of, epoch);
		assert_in_range(out->len - before, 1, PACKED_MAX_LENGTH);
		assert_in_range(g_bytes_get_size(pieces->pdata[i]), 1, PACKED_MAX_FRAME);
		sum += g_bytes_get_size(pieces->pdata[i]);
	}
	assert_int_equal(out->len, b->len);
	assert_memory_equal(out->data, b->data, b->len);
	return sum;
}

static void
test_same_bytes_come_out(void **state)
{
	for (uint64_t cache = 0; cache <= 16 * PAGE_CACHE_PAGE; cache += 8 * PAGE_CACHE_PAGE) {
		g_autoptr(packer) p = new_packer(cache);
		g_autoptr(unpacker) u = unpacker_new(cache);
		for (uint64_t epoch = 1; epoch < 6; epoch++) {
			g_autoptr(GByteArray) b = checkpoint((uint8_t)(epoch / 2), 100 + (unsigned)epoch);
			check_round_trip(p, u, epoch, b, b->len);
		}
	}
}

static void
test_long_state_fills_pieces(void **state)
{
	g_autoptr(packer) p = new_packer(CACHE);
	g_autoptr(unpacker) u = unpacker_new(CACHE);
	g_autoptr(GByteArray) b = checkpoint(1, 3 * PACKED_MAX_LENGTH);
	g_autoptr(GByteArray) next = checkpoint(2, 5);

	for (unsigned i = b->len - 3 * PACKED_MAX_LENGTH; i < b->len; i++)
		b->data[i] = (uint8_t)(i * 2654435761u >> 13);	/* does not compress */
	check_round_trip(p, u, 1, b, 1000);
	check_round_trip(p, u, 2, next, next->len);
}

/* Pages that end where a piece must, by one byte or so: every length of state in front of the next checkpoint's pages moves nothing, their number does. */
static void
test_pages_fill_pieces(void **state)
{
	for (unsigned n = 12; n < 20; n++) {
		g_autoptr(packer) p = new_packer(CACHE);
		g_autoptr(unpacker) u = unpacker_new(CACHE);
		for (uint64_t epoch = 1; epoch < 4; epoch++) {
			g_autoptr(GByteArray) b = g_byte_array_new();
			put_section(b, QEMU_VM_SECTION_END);
			for (unsigned i = 0; i < n; i++)
				put_page(b, 0, i % 8, i == 0, (uint8_t)(i + epoch));
			put_section_end(b);
			put_device_state(b, 1, 1);
			check_round_trip(p, u, epoch, b, 5000);
		}
	}
}

static void
test_any_split_gives_the_same_pieces(void **state)
{
	g_autoptr(GByteArray) first = checkpoint(1, 200), second = checkpoint(2, 200);
	static const size_t steps[] = { 1, 7, 4095, 4096, 4097, 9000 };

	for (unsigned s = 0; s < G_N_ELEMENTS(steps); s++) {
		g_autoptr(packer) whole = new_packer(CACHE), split = new_packer(CACHE);
		for (uint64_t epoch = 1; epoch <= 2; epoch++) {
			GByteArray *b = epoch == 1 ? first : second;
			g_autoptr(GPtrArray) a = pack(whole, epoch, b, b->len), c = pack(split, epoch, b, steps[s]);
			assert_int_equal(a->len, c->len);
			for (unsigned i = 0; i < a->len; i++)
				assert_true(g_bytes_equal(a->pdata[i], c->pdata[i]));
		}
	}
}

static size_t
cost_of_second(unsigned words)
{
	g_autoptr(packer) p = new_packer(CACHE);
	g_autoptr(unpacker) u = unpacker_new(CACHE);

	for (uint64_t epoch = 1;; epoch++) {
		g_autoptr(GByteArray) b = g_byte_array_new();
		put_section(b, QEMU_VM_SECTION_END);
		put_mixed_page(b, 2, epoch == 1 ? 0 : words);
		put_section_end(b);
		put_device_state(b, 1, 1);
		size_t cost = check_round_trip(p, u, epoch, b, b->len);
		if (epoch == 2)
			return cost;
	}
}

static void
test_a_page_costs_what_differs(void **state)
{
	size_t same = cost_of_second(0), few = cost_of_second(4), half = cost_of_second(256), most = cost_of_second(500);

	assert_in_range(same, 1, PACKED_HEAD + PACKED_ENTRY + 60);	/* its entry; headers, footer and state take the rest */
	assert_in_range(few - same, 1, 70);
	assert_in_range(half, 256 * 8, 256 * 8 + 150);
	assert_in_range(most, 500 * 8, 500 * 8 + 150);
}

static void
test_slot_is_taken_from_the_oldest(void **state)
{
	g_autoptr(page_cache) c = page_cache_new(CACHE);
	unsigned slot, first, again;

	assert_int_equal(page_cache_slots(c), 8);
	assert_false(page_cache_take(c, 0, 0, &first));
	for (unsigned i = 1; i < 8; i++)
		assert_false(page_cache_take(c, 0, i * PAGE_CACHE_PAGE, &slot));
	assert_true(page_cache_take(c, 0, 0, &again));
	assert_int_equal(first, again);
	assert_false(page_cache_take(c, 1, 0, &slot));	/* of another block: page 1 of block 0 gives way */
	assert_true(page_cache_take(c, 0, 0, &again));
	assert_false(page_cache_take(c, 0, PAGE_CACHE_PAGE, &slot));
}

static void
test_slots_of_a_size(void **state)
{
	assert_int_equal(page_cache_slots_of(0), 0);
	assert_int_equal(page_cache_slots_of(8 * PAGE_CACHE_PAGE - 1), 0);
	assert_int_equal(page_cache_slots_of(8 * PAGE_CACHE_PAGE), 8);
	assert_int_equal(page_cache_slots_of(23 * PAGE_CACHE_PAGE), 16);
	assert_int_equal(page_cache_slots_of(UINT64_MAX), PAGE_CACHE_MAX_SLOTS);
}

static void
test_every_truncation_is_refused(void **state)
{
	g_autoptr(packer) p = new_packer(CACHE);
	g_autoptr(GByteArray) b = checkpoint(1, 64), out = g_byte_array_new();
	g_autoptr(GPtrArray) pieces = pack(p, 1, b, b->len);
	uint64_t epoch;

	assert_int_equal(pieces->len, 1);
	for (size_t n = 0; n < g_bytes_get_size(pieces->pdata[0]); n++) {
		g_autoptr(unpacker) u = unpacker_new(CACHE);
		g_autoptr(GBytes) cut = g_bytes_new_from_bytes(pieces->pdata[0], 0, n);
		assert_int_not_equal(unpack_one(u, cut, &epoch, out), UNPACK_OK);
	}
	assert_int_equal(out->len, 0);
}

/* What comes out is for the checksum to judge; it is never of another length than the piece says. */
static void
test_flipped_bits_do_no_harm(void **state)
{
	g_autoptr(packer) p = new_packer(CACHE);
	g_autoptr(GByteArray) b = checkpoint(1, 64);
	g_autoptr(GPtrArray) pieces = pack(p, 1, b, b->len);
	size_t length;
	const uint8_t *data = g_bytes_get_data(pieces->pdata[0], &length);

	for (size_t bit = 0; bit < 8 * length; bit++) {
		g_autoptr(unpacker) u = unpacker_new(CACHE);
		g_autoptr(GByteArray) out = g_byte_array_new();
		g_autofree uint8_t *bad = g_memdup2(data, length);
		uint64_t epoch = 1;
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		g_autoptr(GBytes) bytes = g_bytes_new(bad, length);
		struct byte_reader head = byte_reader_init(bad + 8, 4);
		if (unpack_one(u, bytes, &epoch, out) == UNPACK_OK)
			assert_int_equal(out->len, byte_reader_be32(&head));
		assert_in_range(out->len, 0, PACKED_MAX_LENGTH);
	}
}

struct lie {
	uint32_t length, method, pages, entries[2][2];
	unsigned body;
	enum unpack_fault fault;
};

static void
test_lies_are_refused(void **state)
{
	enum { STORE = PACKED_STORE << 28, DELTA = PACKED_DELTA << 28, SAME = PACKED_SAME << 28 };
	static const struct lie lies[] = {
		{ 0, 0, 0, { { 0 } }, 0, UNPACK_LENGTH },
		{ PACKED_MAX_LENGTH + 1, 0, 0, { { 0 } }, 0, UNPACK_LENGTH },
		{ UINT32_MAX, 1, 0, { { 0 } }, 10, UNPACK_LENGTH },
		{ 10, PACKED_METHODS, 0, { { 0 } }, 10, UNPACK_METHOD },
		{ 10, 0, 0, { { 0 } }, 9, UNPACK_BODY },
		{ 10, 0, 0, { { 0 } }, 11, UNPACK_BODY },
		{ 10, 1, 0, { { 0 } }, 0, UNPACK_BODY },
		{ 4096, 0, 1, { { 0, 3u << 28 } }, 4096, UNPACK_METHOD },
		{ 4096, 0, 1, { { 1, STORE } }, 4096, UNPACK_PAGES },
		{ 4095, 0, 1, { { 0, STORE } }, 4095, UNPACK_PAGES },
		{ 4096, 0, 1, { { UINT32_MAX, STORE } }, 4096, UNPACK_PAGES },
		{ 9000, 0, 2, { { 10, STORE }, { 4105, STORE } }, 9000, UNPACK_PAGES },
		{ 9000, 0, 2, { { 4200, STORE }, { 0, STORE } }, 9000, UNPACK_PAGES },
		{ 4096, 0, 1, { { 0, STORE | 8 } }, 4096, UNPACK_SLOT },
		{ 4096, 0, 1, { { 0, DELTA } }, 4096, UNPACK_SLOT },
		{ 4096, 0, 1, { { 0, SAME } }, 0, UNPACK_SLOT },
		{ 8192, 0, 2, { { 0, STORE }, { 4096, SAME | 1 } }, 4096, UNPACK_SLOT },
		{ 8192, 0, 2, { { 0, STORE }, { 4096, SAME } }, 8192, UNPACK_BODY },
		{ 8192, 0, 2, { { 0, STORE }, { 4096, SAME } }, 4096, UNPACK_OK },
		{ 10, 0, 60000, { { 0 } }, 10, UNPACK_SHORT },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
		const struct lie *l = &lies[i];
		g_autoptr(unpacker) u = unpacker_new(CACHE);
		g_autoptr(GByteArray) frame = g_byte_array_new(), out = g_byte_array_new();
		uint64_t epoch;
		put(frame, 1, 8);
		put(frame, l->length, 4);
		put(frame, l->method, 1);
		put(frame, l->pages, 2);
		for (unsigned k = 0; k < MIN(l->pages, 2); k++) {
			put(frame, l->entries[k][0], 4);
			put(frame, l->entries[k][1], 4);
		}
		for (unsigned k = 0; k < l->body; k++)
			put(frame, 0xab, 1);
		g_autoptr(GBytes) bytes = piece(frame, 0, frame->len);
		if (unpack_one(u, bytes, &epoch, out) != l->fault)
			fail_msg("lie %u", i);
		assert_int_equal(out->len, l->fault ? 0 : l->length);
	}
}

static void
test_pages_beyond_the_most_are_refused(void **state)
{
	g_autoptr(unpacker) u = unpacker_new(CACHE);
	g_autoptr(GByteArray) frame = g_byte_array_new(), out = g_byte_array_new();
	uint64_t epoch;

	put(frame, 1, 8);
	put(frame, PACKED_MAX_LENGTH, 4);
	put(frame, 0, 1);
	put(frame, PACKED_MAX_PAGES + 1, 2);
	for (unsigned i = 0; i <= PACKED_MAX_PAGES; i++)
		put(frame, (uint64_t)i * PAGE_CACHE_PAGE << 32, 8);
	g_autoptr(GBytes) bytes = piece(frame, 0, frame->len);
	assert_int_equal(unpack_one(u, bytes, &epoch, out), UNPACK_PAGES);
}

static void
test_every_fault_has_a_text(void **state)
{
	for (int i = 0; i < UNPACK_FAULTS; i++)
		assert_true(strlen(unpack_fault_text((enum unpack_fault)i)) > 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_bytes_come_out),
		cmocka_unit_test(test_long_state_fills_pieces),
		cmocka_unit_test(test_pages_fill_pieces),
		cmocka_unit_test(test_any_split_gives_the_same_pieces),
		cmocka_unit_test(test_a_page_costs_what_differs),
		cmocka_unit_test(test_slot_is_taken_from_the_oldest),
		cmocka_unit_test(test_slots_of_a_size),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_flipped_bits_do_no_harm),
		cmocka_unit_test(test_lies_are_refused),
		cmocka_unit_test(test_pages_beyond_the_most_are_refused),
		cmocka_unit_test(test_every_fault_has_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
