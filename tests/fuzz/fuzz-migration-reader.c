/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first byte is the size of the pieces, the rest an initial stream up to the end of RAM and checkpoints, one after the other.
 * Pages lie within their blocks, and the pieces make no difference to the events.
 */
#include <glib.h>
#include <xxhash.h>

#include "checkpoint/migration-reader.h"

#define MAX_STATE (1u << 20)

static void
check(const struct migration_reader *r, const struct migration_event *e)
{
	if (e->type != MIGRATION_PAGE)
		return;
	g_assert(e->block < migration_reader_blocks(r));
	g_assert(e->address % migration_reader_page_size(r) == 0);
	g_assert(e->address + migration_reader_page_size(r) <= migration_reader_block(r, e->block).length);
	g_assert(e->payload == (e->zero ? 1 : migration_reader_page_size(r)));
}

static uint64_t
mix(uint64_t hash, const struct migration_event *e)
{
	uint64_t all[] = { e->type, e->offset, e->header, e->payload, e->block, e->address, e->zero, e->named };

	return XXH3_64bits_withSeed(all, sizeof all, hash);
}

/* Hash of all events. */
static uint64_t
read_all(const uint8_t *data, size_t size, size_t step)
{
	g_autoptr(migration_reader) r = migration_reader_new(MAX_STATE);
	struct migration_event e = { .type = MIGRATION_NEED_MORE };
	uint64_t hash = 0;

	for (size_t at = 0; at < size && e.type != MIGRATION_ERROR; at += step) {
		struct byte_reader in = byte_reader_init(data + at, MIN(step, size - at));
		while (migration_reader_next(r, &in, &e) != MIGRATION_NEED_MORE && e.type != MIGRATION_ERROR) {
			check(r, &e);
			hash = mix(hash, &e);
			if (e.type == MIGRATION_RAM_COMPLETE || e.type == MIGRATION_CHECKPOINT_END)
				migration_reader_begin_checkpoint(r);
		}
	}
	return e.type == MIGRATION_ERROR ? mix(hash, &e) : hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	g_assert(read_all(data + 1, size - 1, size) == read_all(data + 1, size - 1, data[0] + 1u));
	return 0;
}
