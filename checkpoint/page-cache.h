/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last version of pages that the standby's guard was sent, in a bounded number of numbered slots. The sender alone decides which page has which slot, and
 * says so in its frames; the receiver keeps the slots' bytes only. Pure.
 *
 * Slots are found by page: 8 for each hash value, of which the least recently used one gives way.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define PAGE_CACHE_PAGE 4096u	/* bytes of a slot; pages of another size are not kept */
#define PAGE_CACHE_WAYS 8u
#define PAGE_CACHE_MAX_SLOTS (1u << 28)	/* 1 TiB; packed-frame.h has 28 bits for a slot */

unsigned page_cache_slots_of(uint64_t max_bytes);	/* how many slots a cache of that size has: none if not even 8 fit */

struct page_cache;
struct page_cache *page_cache_new(uint64_t max_bytes);	/* memory is taken when a slot is first used */
void page_cache_free(struct page_cache *c);
typedef struct page_cache page_cache;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(page_cache, page_cache_free)

unsigned page_cache_slots(const struct page_cache *c);
/* The page's slot. True: it holds the page's last version. False: it was given to the page now. Legal only with slots. */
bool page_cache_take(struct page_cache *c, unsigned block, uint64_t address, unsigned *slot);
uint8_t *page_cache_bytes(struct page_cache *c, unsigned slot);
