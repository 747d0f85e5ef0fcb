/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first copy of a disk towards an image that was there before: what is the same on both hosts is not sent. Both sides' part; theory of operation in
 * disk-compare.c. Pure: the digest comes from the caller.
 *
 * A request (DISK_COMPARE of ftd-protocol(7)), big endian:
 *
 *   be64 offset | be64 length | be32 disk | be32 block | the digest of each block of the range; the last block may be short
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define DISK_DIGEST 32			/* SHA-256 */
#define DISK_COMPARE_BLOCK (64u << 10)
#define DISK_COMPARE_MAX_BLOCKS 64u	/* of a request: the answer has one bit for each */
/* Of a request. Digesting it takes a core some milliseconds, and a guard has heartbeats to send. */
#define DISK_COMPARE_MAX_LENGTH (DISK_COMPARE_MAX_BLOCKS * DISK_COMPARE_BLOCK)
/* Requests without an answer, and the bytes of their ranges: what the primary keeps, and the standby has to read. */
#define DISK_COMPARE_MAX_REQUESTS 256u
#define DISK_COMPARE_MAX_BYTES (32u << 20)
#define DISK_COMPARE_HEAD 24u
#define DISK_COMPARE_MAX_PAYLOAD (DISK_COMPARE_HEAD + DISK_COMPARE_MAX_BLOCKS * DISK_DIGEST)

typedef void (*disk_digest_func)(const void *data, size_t length, uint8_t out[DISK_DIGEST]);

/* -- primary */

struct disk_compare;
struct disk_compare *disk_compare_new(uint32_t block);	/* DISK_COMPARE_BLOCK, or less */
void disk_compare_free(struct disk_compare *c);
typedef struct disk_compare disk_compare;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(disk_compare, disk_compare_free)

/* A write that was kept. */
struct disk_compared {
	uint32_t disk;
	uint64_t cookie, offset;
	GBytes *data;		/* owned */
	uint32_t block;
	uint64_t wanted;	/* bit i: block i of the data is to be sent */
};
void disk_compared_clear(struct disk_compared *w);
/* Takes the next piece that is to be sent, in order of offsets; neighbouring blocks are one. False: there is none left. */
bool disk_compared_next(struct disk_compared *w, uint64_t *offset, GBytes **piece);
uint64_t disk_compared_wanted_bytes(const struct disk_compared *w);

/* Is a write of that length compared? It is of one block at least, and there is room for it. */
bool disk_compare_takes(const struct disk_compare *c, uint64_t length);
/* There may be no room for the next write. */
bool disk_compare_full(const struct disk_compare *c);
/* Keeps a write that disk_compare_takes(), with a reference on its data. What it returns is the payload of the request, which is the next one. */
GBytes *disk_compare_ask(struct disk_compare *c, uint32_t disk, uint64_t cookie, uint64_t offset, GBytes *data, disk_digest_func digest);
/*
 * Something else is about to be done to that range: takes the oldest write out that overlaps it, all of it wanted; it is to be sent before. False: none does, or
 * does any more.
 */
bool disk_compare_overtaken(struct disk_compare *c, uint32_t disk, uint64_t offset, uint64_t length, struct disk_compared *out);

enum disk_answer {
	DISK_ANSWER_TAKEN,	/* `out` is the write */
	DISK_ANSWER_OVERTAKEN,	/* of a write that was sent meanwhile: it tells nothing any more */
	DISK_ANSWER_BAD,	/* of no request that waits for one, or it names blocks that the request does not have */
};
/* Request `number`, counted from 1, was answered. */
enum disk_answer disk_compare_answer(struct disk_compare *c, uint64_t number, uint64_t wanted, struct disk_compared *out);
unsigned disk_compare_pending(const struct disk_compare *c);	/* requests without an answer, those of overtaken writes too */

/* -- standby */

struct disk_compare_request {
	uint32_t disk, block;
	uint64_t offset, length;	/* within the limits above, offset + length does not wrap */
	unsigned blocks;
	const uint8_t *digests;		/* in the payload */
};
/* False: it is no request. */
bool disk_compare_parse(const uint8_t *payload, size_t length, struct disk_compare_request *out);
/* The answer: the blocks whose digests are not those of `data`, which is the range as this side's disk has it. NULL: it could not be read, all of them. */
uint64_t disk_compare_wanted(const struct disk_compare_request *r, const uint8_t *data, disk_digest_func digest);
