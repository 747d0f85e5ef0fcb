/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Both directions of a comparison. First a request, then answers to three that were asked: what is accepted is within the limits, and no block is sent twice. */
#include "checkpoint/disk-compare.h"
#include "daemon/base/byte-reader.h"

#define BLOCK 8u
#define ASKED 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Which digest it is does not matter here. */
static void
digest(const void *data, size_t length, uint8_t out[DISK_DIGEST])
{
	memset(out, (int)length, DISK_DIGEST);
	out[0] = length ? *(const uint8_t *)data : 0;
}

static void
request(const uint8_t *data, size_t size)
{
	struct disk_compare_request r;
	uint64_t all, wanted;

	if (!disk_compare_parse(data, size, &r))
		return;
	g_assert(r.length > 0 && r.length <= DISK_COMPARE_MAX_LENGTH && r.offset + r.length > r.offset);
	g_assert(r.blocks > 0 && r.blocks <= DISK_COMPARE_MAX_BLOCKS && (uint64_t)r.blocks * r.block >= r.length && (uint64_t)(r.blocks - 1) * r.block < r.length);
	g_assert(size == DISK_COMPARE_HEAD + r.blocks * DISK_DIGEST && size <= DISK_COMPARE_MAX_PAYLOAD);
	g_autofree uint8_t *disk = g_malloc0(r.length);
	all = disk_compare_wanted(&r, NULL, digest);
	wanted = disk_compare_wanted(&r, disk, digest);
	g_assert((wanted & ~all) == 0 && all >> (r.blocks - 1) == 1);
}

static void
answers(const uint8_t *data, size_t size)
{
	g_autoptr(disk_compare) c = disk_compare_new(BLOCK);
	struct byte_reader r = byte_reader_init(data, size);

	for (unsigned i = 1; i <= ASKED; i++) {
		g_autoptr(GBytes) d = g_bytes_new_take(g_malloc0(i * BLOCK + i), i * BLOCK + i);
		g_bytes_unref(disk_compare_ask(c, 0, i, i * 100, d, digest));
	}
	while (r.left >= 16) {
		uint64_t number = byte_reader_be64(&r), wanted = byte_reader_be64(&r), bytes, offset, end = 0;
		unsigned before = disk_compare_pending(c);
		struct disk_compared w;
		GBytes *piece;

		if (disk_compare_answer(c, number, wanted, &w) != DISK_ANSWER_TAKEN) {
			g_assert(disk_compare_pending(c) == before);
			continue;
		}
		g_assert(w.cookie == number && disk_compare_pending(c) == before - 1);
		bytes = disk_compared_wanted_bytes(&w);
		while (disk_compared_next(&w, &offset, &piece)) {
			g_assert(offset >= number * 100 && (end == 0 || offset > end));
			end = offset + g_bytes_get_size(piece);
			g_assert(end <= number * 100 + g_bytes_get_size(w.data));
			bytes -= end - offset;
			g_bytes_unref(piece);
		}
		g_assert(bytes == 0);
		disk_compared_clear(&w);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	request(data, size);
	answers(data, size);
	return 0;
}
