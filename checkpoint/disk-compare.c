/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 * ===================
 *
 * A host that lost power has an image of the disk that is almost right, and nobody knows where it is not: what it wrote after its last checkpoint is in no
 * bitmap of the survivor's. So the content is compared, as rsync does: QEMU's mirror hands all of the disk over, as for any first copy; a write of a block or
 * more is kept and its digests are sent; the standby reads the range, and wants the blocks that are not the same; only these are sent as writes.
 *
 *   QEMU's write --takes()--> ask() ---> kept --answer(), nothing wanted--> answered to QEMU
 *        |                                | +---answer(), some blocks-----> DISK_WRITE of those
 *        +--no--> DISK_WRITE              +-----overtaken()---------------> DISK_WRITE of all of it; the answer is still to come
 *
 * The digest is a cryptographic one (SHA-256). Whoever writes the disk chooses its content, and with a checksum that can be forged he could write a block that
 * passes for the one that the other host has: two copies of one disk that differ, which nobody notices before a failover.
 *
 * Order. What is done to any one byte is done on the standby's disk in the order in which QEMU asked for it. Two rules make that so:
 * - here: a kept write whose range something else is about to be done to (a write, zeroes, a trim) is sent first, whole (overtaken()). So what the standby has read
 *   is still on its disk when the answer comes, or the answer is not listened to;
 * - on the standby: a range is read when everything that came before the request, and overlaps it, is done (disk-target-io.c).
 *
 * Invariants: a request counts against both limits until it is answered, also when its write was overtaken, because the standby has to read it all the same;
 * so the standby can hold the primary to the same limits.
 */
#include "checkpoint/disk-compare.h"

#include "daemon/base/byte-reader.h"

#include <string.h>

struct kept {
	uint64_t number;
	uint64_t length;
	struct disk_compared write;	/* data NULL: overtaken */
};

struct disk_compare {
	uint32_t block;
	uint64_t asked;		/* number of the last request */
	uint64_t bytes;		/* of all in `kept` */
	GQueue kept;		/* struct kept, by number */
};

struct disk_compare *
disk_compare_new(uint32_t block)
{
	struct disk_compare *c = g_new0(struct disk_compare, 1);

	g_assert(block > 0 && block <= DISK_COMPARE_BLOCK);
	c->block = block;
	g_queue_init(&c->kept);
	return c;
}

static void
kept_free(gpointer data)
{
	struct kept *k = data;

	disk_compared_clear(&k->write);
	g_free(k);
}

void
disk_compare_free(struct disk_compare *c)
{
	if (!c)
		return;
	g_queue_clear_full(&c->kept, kept_free);
	g_free(c);
}

/* -- a write that was kept */

static unsigned
blocks_of(uint64_t length, uint32_t block)
{
	return (unsigned)((length + block - 1) / block);
}

static uint64_t
all_of(unsigned blocks)
{
	return blocks >= 64 ? UINT64_MAX : (UINT64_C(1) << blocks) - 1;
}

void
disk_compared_clear(struct disk_compared *w)
{
	g_clear_pointer(&w->data, g_bytes_unref);
}

bool
disk_compared_next(struct disk_compared *w, uint64_t *offset, GBytes **piece)
{
	uint64_t length = g_bytes_get_size(w->data), from, to;
	unsigned first = 0, end;

	if (!w->wanted)
		return false;
	while (!(w->wanted >> first & 1))
		first++;
	for (end = first; end < 64 && w->wanted >> end & 1; end++)
		w->wanted &= ~(UINT64_C(1) << end);
	from = (uint64_t)first * w->block;
	to = MIN((uint64_t)end * w->block, length);
	*offset = w->offset + from;
	*piece = g_bytes_new_from_bytes(w->data, from, to - from);
	return true;
}

uint64_t
disk_compared_wanted_bytes(const struct disk_compared *w)
{
	uint64_t length = g_bytes_get_size(w->data), bytes = 0;

	for (unsigned i = 0; i < blocks_of(length, w->block); i++)
		if (w->wanted >> i & 1)
			bytes += MIN(w->block, length - (uint64_t)i * w->block);
	return bytes;
}

/* -- primary */

bool
disk_compare_takes(const struct disk_compare *c, uint64_t length)
{
	return length >= c->block && length <= (uint64_t)DISK_COMPARE_MAX_BLOCKS * c->block && c->kept.length < DISK_COMPARE_MAX_REQUESTS &&
	       length <= DISK_COMPARE_MAX_BYTES - c->bytes;
}

bool
disk_compare_full(const struct disk_compare *c)
{
	return !disk_compare_takes(c, (uint64_t)DISK_COMPARE_MAX_BLOCKS * c->block);
}

static GBytes *
request_new(const struct disk_compared *w, disk_digest_func digest)
{
	gsize length;
	const uint8_t *data = g_bytes_get_data(w->data, &length);
	unsigned blocks = blocks_of(length, w->block);
	size_t size = DISK_COMPARE_HEAD + (size_t)blocks * DISK_DIGEST;
	uint8_t *out = g_malloc(size);

	put_be64(out, w->offset);
	put_be64(out + 8, length);
	put_be32(out + 16, w->disk);
	put_be32(out + 20, w->block);
	for (unsigned i = 0; i < blocks; i++) {
		gsize at = (gsize)i * w->block;
		digest(data + at, MIN(w->block, length - at), out + DISK_COMPARE_HEAD + (size_t)i * DISK_DIGEST);
	}
	return g_bytes_new_take(out, size);
}

GBytes *
disk_compare_ask(struct disk_compare *c, uint32_t disk, uint64_t cookie, uint64_t offset, GBytes *data, disk_digest_func digest)
{
	struct kept *k = g_new0(struct kept, 1);

	k->number = ++c->asked;
	k->length = g_bytes_get_size(data);
	g_assert(disk_compare_takes(c, k->length));
	k->write = (struct disk_compared){ .disk = disk, .cookie = cookie, .offset = offset, .data = g_bytes_ref(data), .block = c->block };
	c->bytes += k->length;
	g_queue_push_tail(&c->kept, k);
	return request_new(&k->write, digest);
}

bool
disk_compare_overtaken(struct disk_compare *c, uint32_t disk, uint64_t offset, uint64_t length, struct disk_compared *out)
{
	for (GList *l = c->kept.head; l; l = l->next) {
		struct kept *k = l->data;

		if (!k->write.data || k->write.disk != disk || k->write.offset >= offset + length || offset >= k->write.offset + k->length)
			continue;
		*out = k->write;
		out->wanted = all_of(blocks_of(k->length, c->block));
		k->write.data = NULL;
		return true;
	}
	return false;
}

enum disk_answer
disk_compare_answer(struct disk_compare *c, uint64_t number, uint64_t wanted, struct disk_compared *out)
{
	GList *l = c->kept.head;
	g_autofree struct kept *k = NULL;

	while (l && ((struct kept *)l->data)->number != number)
		l = l->next;
	if (!l || wanted & ~all_of(blocks_of(((struct kept *)l->data)->length, c->block)))
		return DISK_ANSWER_BAD;
	k = l->data;
	g_queue_delete_link(&c->kept, l);
	c->bytes -= k->length;
	if (!k->write.data)
		return DISK_ANSWER_OVERTAKEN;
	*out = k->write;
	out->wanted = wanted;
	return DISK_ANSWER_TAKEN;
}

unsigned
disk_compare_pending(const struct disk_compare *c)
{
	return c->kept.length;
}

/* -- standby */

bool
disk_compare_parse(const uint8_t *payload, size_t length, struct disk_compare_request *out)
{
	struct byte_reader r = byte_reader_init(payload, length);
	struct disk_compare_request q = { 0 };

	q.offset = byte_reader_be64(&r);
	q.length = byte_reader_be64(&r);
	q.disk = byte_reader_be32(&r);
	q.block = byte_reader_be32(&r);
	if (r.bad || q.length == 0 || q.length > DISK_COMPARE_MAX_LENGTH || q.offset > UINT64_MAX - q.length || q.block == 0 || q.block > DISK_COMPARE_BLOCK)
		return false;
	q.blocks = blocks_of(q.length, q.block);
	if (q.blocks > DISK_COMPARE_MAX_BLOCKS)
		return false;
	q.digests = byte_reader_bytes(&r, (size_t)q.blocks * DISK_DIGEST);
	if (!byte_reader_done(&r))
		return false;
	*out = q;
	return true;
}

uint64_t
disk_compare_wanted(const struct disk_compare_request *r, const uint8_t *data, disk_digest_func digest)
{
	uint64_t wanted = data ? 0 : all_of(r->blocks);

	for (unsigned i = 0; i < r->blocks && data; i++) {
		uint64_t at = (uint64_t)i * r->block;
		uint8_t ours[DISK_DIGEST];

		digest(data + at, MIN(r->block, r->length - at), ours);
		if (memcmp(ours, r->digests + (size_t)i * DISK_DIGEST, DISK_DIGEST) != 0)
			wanted |= UINT64_C(1) << i;
	}
	return wanted;
}
