/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/disk-compare.h"

#include "daemon/base/byte-reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define BLOCK 16u

static void
digest(const void *data, size_t length, uint8_t out[DISK_DIGEST])
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize n = DISK_DIGEST;

	g_checksum_update(sum, data, (gssize)length);
	g_checksum_get_digest(sum, out, &n);
}

/* Byte i is i, so no two blocks are the same. */
static GBytes *
data_of(size_t length)
{
	uint8_t *data = g_malloc(length);

	for (size_t i = 0; i < length; i++)
		data[i] = (uint8_t)i;
	return g_bytes_new_take(data, length);
}

/* The payload of the request. */
static GBytes *
ask(struct disk_compare *c, uint32_t disk, uint64_t cookie, uint64_t offset, size_t length)
{
	g_autoptr(GBytes) data = data_of(length);

	assert_true(disk_compare_takes(c, length));
	return disk_compare_ask(c, disk, cookie, offset, data, digest);
}

static void
keep(struct disk_compare *c, uint32_t disk, uint64_t cookie, uint64_t offset, size_t length)
{
	g_bytes_unref(ask(c, disk, cookie, offset, length));
}

static void
expect_piece(struct disk_compared *w, uint64_t offset, size_t length)
{
	g_autoptr(GBytes) piece = NULL;
	uint64_t at;

	assert_true(disk_compared_next(w, &at, &piece));
	assert_int_equal(at, offset);
	assert_int_equal(g_bytes_get_size(piece), length);
	assert_memory_equal(g_bytes_get_data(piece, NULL), (const uint8_t *)g_bytes_get_data(w->data, NULL) + (at - w->offset), length);
}

static void
expect_no_piece(struct disk_compared *w)
{
	uint64_t at;
	GBytes *piece;

	assert_false(disk_compared_next(w, &at, &piece));
	disk_compared_clear(w);
}

static void
a_request_says_what_is_to_be_read(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	g_autoptr(GBytes) payload = ask(c, 7, 1, 0x1234, 3 * BLOCK + 1);
	struct disk_compare_request r;
	gsize n;
	const uint8_t *p = g_bytes_get_data(payload, &n);

	assert_int_equal(n, DISK_COMPARE_HEAD + 4 * DISK_DIGEST);
	assert_true(disk_compare_parse(p, n, &r));
	assert_int_equal(r.disk, 7);
	assert_int_equal(r.block, BLOCK);
	assert_int_equal(r.offset, 0x1234);
	assert_int_equal(r.length, 3 * BLOCK + 1);
	assert_int_equal(r.blocks, 4);
	for (size_t short_of = 0; short_of < n; short_of++)
		assert_false(disk_compare_parse(p, short_of, &r));
	g_autofree uint8_t *longer = g_malloc0(n + 1);
	memcpy(longer, p, n);
	assert_false(disk_compare_parse(longer, n + 1, &r));
}

static void
a_request_beyond_the_limits_is_none(void **state)
{
	static const struct { uint64_t offset, length; uint32_t block, digests; bool ok; } cases[] = {
		{ 0, 1, 1, 1, true },
		{ 0, 0, 1, 0, false },
		{ 0, 0, 1, 1, false },
		{ 0, 64, 1, 64, true },
		{ 0, 65, 1, 65, false },
		{ 0, 1, 0, 1, false },
		{ 0, 1, DISK_COMPARE_BLOCK, 1, true },
		{ 0, 1, DISK_COMPARE_BLOCK + 1, 1, false },
		{ 0, DISK_COMPARE_MAX_LENGTH, DISK_COMPARE_BLOCK, 64, true },
		{ 0, DISK_COMPARE_MAX_LENGTH + 1, DISK_COMPARE_BLOCK, 65, false },
		{ 0, UINT64_MAX, DISK_COMPARE_BLOCK, 1, false },
		{ UINT64_MAX - 1, 1, 1, 1, true },
		{ UINT64_MAX - 1, 2, 1, 2, false },
		{ UINT64_MAX, 64, 1, 64, false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		size_t n = DISK_COMPARE_HEAD + cases[i].digests * DISK_DIGEST;
		g_autofree uint8_t *p = g_malloc0(n);
		struct disk_compare_request r = { .length = 77 };

		put_be64(p, cases[i].offset);
		put_be64(p + 8, cases[i].length);
		put_be32(p + 20, cases[i].block);
		assert_int_equal(disk_compare_parse(p, n, &r), cases[i].ok);
		assert_int_equal(r.length, cases[i].ok ? cases[i].length : 77);
	}
}

static void
what_is_not_the_same_is_wanted(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	g_autoptr(GBytes) payload = ask(c, 0, 1, 0, 3 * BLOCK + 5), ours = data_of(3 * BLOCK + 5);
	struct disk_compare_request r;
	gsize n;
	g_autofree uint8_t *disk = g_memdup2(g_bytes_get_data(ours, &n), g_bytes_get_size(ours));

	assert_true(disk_compare_parse(g_bytes_get_data(payload, NULL), g_bytes_get_size(payload), &r));
	assert_int_equal(disk_compare_wanted(&r, disk, digest), 0);
	assert_int_equal(disk_compare_wanted(&r, NULL, digest), 0xf);
	/* Each byte is looked at. */
	for (size_t i = 0; i < n; i++) {
		disk[i] ^= 0x80;
		assert_int_equal(disk_compare_wanted(&r, disk, digest), 1u << i / BLOCK);
		disk[i] ^= 0x80;
	}
}

static void
only_what_is_wanted_is_sent(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct disk_compared w;

	keep(c, 2, 9, 1000, 6 * BLOCK + 3);
	assert_int_equal(disk_compare_answer(c, 1, 0x5b, &w), DISK_ANSWER_TAKEN);	/* 1011011 */
	assert_int_equal(w.disk, 2);
	assert_int_equal(w.cookie, 9);
	assert_int_equal(disk_compared_wanted_bytes(&w), 4 * BLOCK + 3);
	expect_piece(&w, 1000, 2 * BLOCK);
	expect_piece(&w, 1000 + 3 * BLOCK, 2 * BLOCK);
	assert_true(w.wanted != 0);		/* the last one is known before it is taken */
	expect_piece(&w, 1000 + 6 * BLOCK, 3);
	assert_true(w.wanted == 0);
	expect_no_piece(&w);
	assert_int_equal(disk_compare_pending(c), 0);
}

static void
all_or_nothing_may_be_wanted(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct disk_compared w;

	keep(c, 0, 1, 0, 64 * BLOCK);
	keep(c, 0, 2, 64 * BLOCK, 64 * BLOCK);
	assert_int_equal(disk_compare_answer(c, 2, UINT64_MAX, &w), DISK_ANSWER_TAKEN);	/* in any order */
	expect_piece(&w, 64 * BLOCK, 64 * BLOCK);
	expect_no_piece(&w);
	assert_int_equal(disk_compare_answer(c, 1, 0, &w), DISK_ANSWER_TAKEN);
	assert_int_equal(disk_compared_wanted_bytes(&w), 0);
	expect_no_piece(&w);
}

static void
small_and_large_writes_are_not_compared(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);

	assert_false(disk_compare_takes(c, 1));
	assert_false(disk_compare_takes(c, BLOCK - 1));
	assert_true(disk_compare_takes(c, BLOCK));
	assert_true(disk_compare_takes(c, 64 * BLOCK));
	assert_false(disk_compare_takes(c, 64 * BLOCK + 1));
	assert_false(disk_compare_takes(c, UINT64_MAX));
}

static void
nothing_passes_what_is_kept(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct disk_compared w;

	keep(c, 0, 1, 100, 2 * BLOCK);
	keep(c, 0, 2, 100 + 2 * BLOCK, 2 * BLOCK);
	keep(c, 1, 3, 100, 2 * BLOCK);
	assert_false(disk_compare_overtaken(c, 0, 0, 100, &w));			/* neighbours */
	assert_false(disk_compare_overtaken(c, 0, 100 + 4 * BLOCK, 1000, &w));
	assert_false(disk_compare_overtaken(c, 2, 100, 2 * BLOCK, &w));		/* another disk */
	assert_true(disk_compare_overtaken(c, 0, 100 + 2 * BLOCK - 1, 2, &w));	/* a byte of each, the older one first */
	assert_int_equal(w.cookie, 1);
	expect_piece(&w, 100, 2 * BLOCK);
	expect_no_piece(&w);
	assert_true(disk_compare_overtaken(c, 0, 100 + 2 * BLOCK - 1, 2, &w));
	assert_int_equal(w.cookie, 2);
	disk_compared_clear(&w);
	assert_false(disk_compare_overtaken(c, 0, 100 + 2 * BLOCK - 1, 2, &w));
	assert_true(disk_compare_overtaken(c, 1, 0, UINT64_MAX, &w));
	assert_int_equal(w.cookie, 3);
	disk_compared_clear(&w);
	/* Their answers still come, and must be such. */
	assert_int_equal(disk_compare_pending(c), 3);
	assert_int_equal(disk_compare_answer(c, 2, 4, &w), DISK_ANSWER_BAD);
	assert_int_equal(disk_compare_answer(c, 2, 1, &w), DISK_ANSWER_OVERTAKEN);
	assert_int_equal(disk_compare_answer(c, 2, 1, &w), DISK_ANSWER_BAD);
	assert_int_equal(disk_compare_pending(c), 2);
}

static void
an_answer_to_nothing_is_bad(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct disk_compared w = { .cookie = 77 };

	assert_int_equal(disk_compare_answer(c, 1, 0, &w), DISK_ANSWER_BAD);
	keep(c, 0, 1, 0, 2 * BLOCK);
	assert_int_equal(disk_compare_answer(c, 0, 0, &w), DISK_ANSWER_BAD);
	assert_int_equal(disk_compare_answer(c, 2, 0, &w), DISK_ANSWER_BAD);
	assert_int_equal(disk_compare_answer(c, 1, 4, &w), DISK_ANSWER_BAD);	/* it has two blocks */
	assert_int_equal(w.cookie, 77);
	assert_int_equal(disk_compare_answer(c, 1, 3, &w), DISK_ANSWER_TAKEN);
	disk_compared_clear(&w);
	assert_int_equal(disk_compare_answer(c, 1, 3, &w), DISK_ANSWER_BAD);
}

static void
requests_are_limited(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct disk_compared w;

	for (unsigned i = 0; i < DISK_COMPARE_MAX_REQUESTS; i++) {
		assert_false(disk_compare_full(c));
		keep(c, 0, i, i * BLOCK, BLOCK);
	}
	assert_true(disk_compare_full(c));
	assert_false(disk_compare_takes(c, BLOCK));
	assert_true(disk_compare_overtaken(c, 0, 0, BLOCK, &w));
	disk_compared_clear(&w);
	assert_true(disk_compare_full(c));		/* the standby still has to read it */
	assert_int_equal(disk_compare_answer(c, 1, 0, &w), DISK_ANSWER_OVERTAKEN);
	assert_false(disk_compare_full(c));
}

static void
bytes_are_limited(void **state)
{
	g_autoptr(disk_compare) c = disk_compare_new(DISK_COMPARE_BLOCK);
	struct disk_compared w;
	unsigned n = DISK_COMPARE_MAX_BYTES / DISK_COMPARE_MAX_LENGTH;

	for (unsigned i = 0; i + 1 < n; i++)
		keep(c, 0, i, i, DISK_COMPARE_MAX_LENGTH);
	assert_false(disk_compare_full(c));
	keep(c, 0, n, 0, DISK_COMPARE_BLOCK);
	assert_true(disk_compare_full(c));		/* the next may be a large one */
	assert_false(disk_compare_takes(c, DISK_COMPARE_MAX_LENGTH));
	keep(c, 0, n, 0, DISK_COMPARE_MAX_LENGTH - DISK_COMPARE_BLOCK);
	assert_false(disk_compare_takes(c, DISK_COMPARE_BLOCK));
	assert_int_equal(disk_compare_answer(c, 1, 0, &w), DISK_ANSWER_TAKEN);
	disk_compared_clear(&w);
	assert_false(disk_compare_full(c));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_says_what_is_to_be_read), cmocka_unit_test(a_request_beyond_the_limits_is_none),
		cmocka_unit_test(what_is_not_the_same_is_wanted), cmocka_unit_test(only_what_is_wanted_is_sent), cmocka_unit_test(all_or_nothing_may_be_wanted),
		cmocka_unit_test(small_and_large_writes_are_not_compared), cmocka_unit_test(nothing_passes_what_is_kept),
		cmocka_unit_test(an_answer_to_nothing_is_bad), cmocka_unit_test(requests_are_limited), cmocka_unit_test(bytes_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
