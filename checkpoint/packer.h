/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes packed pieces (packed-frame.h) of the checkpoint stream: theory of operation in packer.c. Pure. */
#pragma once

#include "checkpoint/packed-frame.h"
#include "daemon/base/byte-reader.h"

struct packer;
struct packer *packer_new(uint64_t cache_bytes);
void packer_free(struct packer *p);
typedef struct packer packer;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(packer, packer_free)

/* The stream has been understood by the relay before: what the reader does not take is a bug. */
void packer_stream(struct packer *p, GBytes *bytes);	/* of the initial stream, which teaches it the RAM blocks */
void packer_begin(struct packer *p, uint64_t epoch);
/* Takes bytes of the open checkpoint off `in` until a piece is full, or the checkpoint is over, or there are no more. Returns the piece, or NULL. */
GBytes *packer_add(struct packer *p, struct byte_reader *in);
