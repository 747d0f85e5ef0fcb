/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The primary's way of checkpoints to the bulk connection: packed (checkpoint/packer.h), piece by piece, and not while one comes in. */
#pragma once

#include "daemon/peer-protocol.h"

struct bulk_packer;

struct bulk_packer_callbacks {
	void (*send)(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body);
	bool (*may_work)(void *ctx);	/* asked before each piece */
};

struct bulk_packer *bulk_packer_new(uint64_t cache_bytes, const struct bulk_packer_callbacks *cb, void *ctx);
void bulk_packer_free(struct bulk_packer *b);	/* what was not sent is dropped */
/* STREAM and CHECKPOINT_ frames; they are sent in this order, CHECKPOINT_DATA as CHECKPOINT_PACKED. */
void bulk_packer_put(struct bulk_packer *b, enum peer_type type, const void *head, size_t head_length, GBytes *body);
size_t bulk_packer_queued(const struct bulk_packer *b);	/* bytes not sent yet, as they were put */
