/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes the checkpoint stream of packed pieces (packed-frame.h) again. Everything in a piece is the peer's word: it is checked before it is used. Pure. */
#pragma once

#include "checkpoint/packed-frame.h"

enum unpack_fault {
	UNPACK_OK,
	UNPACK_SHORT,		/* the piece ends within its head or its entries */
	UNPACK_LENGTH,		/* it stands for nothing, or for more than PACKED_MAX_LENGTH */
	UNPACK_METHOD,		/* a method or kind of page that is not known */
	UNPACK_PAGES,		/* pages that overlap, or reach beyond the piece */
	UNPACK_SLOT,		/* a slot beyond the limit, or the last version of a page that never was in it */
	UNPACK_BODY,		/* the body is damaged, or not of the length that the entries ask for */
	UNPACK_FAULTS
};
const char *unpack_fault_text(enum unpack_fault fault);

struct unpacker;
struct unpacker *unpacker_new(uint64_t cache_bytes);	/* as the packer's; memory is taken as slots are used */
void unpacker_free(struct unpacker *u);
typedef struct unpacker unpacker;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(unpacker, unpacker_free)

/* The bytes that the piece stands for. After a fault the slots are not those of the packer any more: nothing that comes later may be used. */
enum unpack_fault unpacker_take(struct unpacker *u, const uint8_t *data, size_t length, uint64_t *epoch, GBytes **out);
