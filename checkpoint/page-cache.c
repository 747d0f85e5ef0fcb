/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/page-cache.h"

struct way {
	uint64_t page;		/* page_key() + 1; 0 = free */
	uint64_t used;
};

struct page_cache {
	unsigned slots;
	uint64_t clock;		/* counts uses */
	struct way *ways;	/* one for each slot; those of a set are neighbours */
	uint8_t *bytes;
};

unsigned
page_cache_slots_of(uint64_t max_bytes)
{
	return (unsigned)(MIN(max_bytes / PAGE_CACHE_PAGE, PAGE_CACHE_MAX_SLOTS) / PAGE_CACHE_WAYS * PAGE_CACHE_WAYS);
}

struct page_cache *
page_cache_new(uint64_t max_bytes)
{
	struct page_cache *c = g_new0(struct page_cache, 1);

	c->slots = page_cache_slots_of(max_bytes);
	c->ways = g_new0(struct way, c->slots);
	c->bytes = g_malloc0_n(c->slots, PAGE_CACHE_PAGE);
	return c;
}

void
page_cache_free(struct page_cache *c)
{
	if (!c)
		return;
	g_free(c->ways);
	g_free(c->bytes);
	g_free(c);
}

unsigned
page_cache_slots(const struct page_cache *c)
{
	return c->slots;
}

/* Blocks are below 2^16 (MIGRATION_MAX_BLOCKS), page numbers below 2^47. */
static uint64_t
page_key(unsigned block, uint64_t address)
{
	return (uint64_t)block << 47 ^ address / PAGE_CACHE_PAGE;
}

static unsigned
first_of_set(const struct page_cache *c, uint64_t key)
{
	uint64_t hash = (key * 0x9e3779b97f4a7c15u) >> 32;

	return (unsigned)(hash % (c->slots / PAGE_CACHE_WAYS)) * PAGE_CACHE_WAYS;
}

bool
page_cache_take(struct page_cache *c, unsigned block, uint64_t address, unsigned *slot)
{
	uint64_t key = page_key(block, address);
	unsigned first = first_of_set(c, key), oldest = first;
	bool found = false;

	for (unsigned i = first; i < first + PAGE_CACHE_WAYS && !found; i++) {
		found = c->ways[i].page == key + 1;
		if (found || c->ways[i].used < c->ways[oldest].used)
			oldest = i;
	}
	c->ways[oldest] = (struct way){ .page = key + 1, .used = ++c->clock };
	*slot = oldest;
	return found;
}

uint8_t *
page_cache_bytes(struct page_cache *c, unsigned slot)
{
	g_assert(slot < c->slots);
	return c->bytes + (size_t)slot * PAGE_CACHE_PAGE;
}
