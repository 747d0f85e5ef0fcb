/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A packed piece of a checkpoint, as it is between the guards (ftd-protocol(7)):
 *
 *   be64 epoch | be32 length | u8 method | be16 n | n page entries | body
 *   page entry: be32 offset in the piece | be32 kind << 28 | slot
 *
 * It stands for `length` bytes of QEMU's stream. The body, compressed by `method`, is these bytes in their order, except that of each page that has an entry
 * there is: STORE the page; DELTA the page XOR what the slot holds; SAME nothing, the page is what the slot holds. The page is in the slot afterwards.
 */
#pragma once

#include "checkpoint/page-cache.h"

#define PACKED_HEAD 15u
#define PACKED_ENTRY 8u
#define PACKED_MAX_LENGTH (64u * 1024)	/* of the stream in one piece */
#define PACKED_MAX_PAGES (PACKED_MAX_LENGTH / PAGE_CACHE_PAGE)
#define PACKED_MAX_FRAME (PACKED_HEAD + PACKED_MAX_PAGES * PACKED_ENTRY + PACKED_MAX_LENGTH)

enum packed_method { PACKED_PLAIN, PACKED_LZ4, PACKED_METHODS };	/* LZ4: a block as liblz4 makes it */
enum packed_kind { PACKED_STORE, PACKED_DELTA, PACKED_SAME, PACKED_KINDS };
#define PACKED_SLOT_BITS 28
