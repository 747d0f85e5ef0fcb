/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames wait here in their order; a source of the main loop packs one piece (some 20 us) each time the loop comes round, so heartbeats and packets go out in
 * between. While a checkpoint comes in, and the guest stands for it, QEMU and whoever reads from it have the processors for themselves. Once it is whole packing
 * goes on at once: the guest may be waiting for its commit.
 *
 * What waits is bounded by the relay, which begins no checkpoint while too many bytes are not committed.
 */
#include "daemon/bulk-packer-io.h"

#include <string.h>

#include "checkpoint/packer.h"
#include "daemon/base/byte-reader.h"

#define HEAD_MAX 24	/* CHECKPOINT_SEAL */
G_STATIC_ASSERT(PACKED_MAX_FRAME <= PEER_MAX_PACKED);

struct item {
	enum peer_type type;
	uint8_t head[HEAD_MAX];
	size_t head_length;
	GBytes *body;
	size_t taken;		/* bytes of the body that the packer has */
};

struct bulk_packer {
	struct bulk_packer_callbacks cb;
	void *ctx;
	struct packer *packer;
	GQueue items;
	size_t queued;
	GSource *source;
};

struct packer_source {
	GSource source;
	struct bulk_packer *owner;
};

static void
item_free(gpointer p)
{
	struct item *i = p;

	g_clear_pointer(&i->body, g_bytes_unref);
	g_free(i);
}

static size_t
item_bytes(const struct item *i)
{
	return i->head_length + (i->body ? g_bytes_get_size(i->body) : 0);
}

static void
done_with_head(struct bulk_packer *b)
{
	struct item *i = g_queue_pop_head(&b->items);

	b->queued -= item_bytes(i);
	item_free(i);
}

/* True: a piece was sent. */
static bool
pack_some(struct bulk_packer *b, struct item *i)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(i->body, &length);
	struct byte_reader in = byte_reader_init(data + i->taken, length - i->taken);
	g_autoptr(GBytes) piece = packer_add(b->packer, &in);

	i->taken = length - in.left;
	if (in.left == 0)
		done_with_head(b);
	if (piece)
		b->cb.send(b->ctx, PEER_CHECKPOINT_PACKED, NULL, 0, piece);
	return piece != NULL;
}

static void
pass_on(struct bulk_packer *b, struct item *i)
{
	struct byte_reader head = byte_reader_init(i->head, i->head_length);

	if (i->type == PEER_STREAM)
		packer_stream(b->packer, i->body);
	else if (i->type == PEER_CHECKPOINT_BEGIN)
		packer_begin(b->packer, byte_reader_be64(&head));
	b->cb.send(b->ctx, i->type, i->head, i->head_length, i->body);
	done_with_head(b);
}

/* Up to the next piece. */
static void
work(struct bulk_packer *b)
{
	struct item *i;
	bool sent = false;

	while (!sent && (i = g_queue_peek_head(&b->items))) {
		if (i->type == PEER_CHECKPOINT_DATA)
			sent = pack_some(b, i);
		else
			pass_on(b, i);
	}
}

static gboolean
source_prepare(GSource *source, gint *timeout)
{
	struct bulk_packer *b = ((struct packer_source *)source)->owner;

	*timeout = -1;
	return !g_queue_is_empty(&b->items) && b->cb.may_work(b->ctx);
}

static gboolean
source_check(GSource *source)
{
	gint timeout;

	return source_prepare(source, &timeout);
}

static gboolean
source_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	work(((struct packer_source *)source)->owner);
	return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = { .prepare = source_prepare, .check = source_check, .dispatch = source_dispatch };

struct bulk_packer *
bulk_packer_new(uint64_t cache_bytes, const struct bulk_packer_callbacks *cb, void *ctx)
{
	struct bulk_packer *b = g_new0(struct bulk_packer, 1);

	b->cb = *cb;
	b->ctx = ctx;
	b->packer = packer_new(cache_bytes);
	g_queue_init(&b->items);
	b->source = g_source_new(&source_funcs, sizeof(struct packer_source));
	((struct packer_source *)b->source)->owner = b;
	g_source_set_static_name(b->source, "bulk-packer");
	g_source_attach(b->source, g_main_context_get_thread_default());
	return b;
}

void
bulk_packer_free(struct bulk_packer *b)
{
	if (!b)
		return;
	g_source_destroy(b->source);
	g_source_unref(b->source);
	g_queue_clear_full(&b->items, item_free);
	packer_free(b->packer);
	g_free(b);
}

void
bulk_packer_put(struct bulk_packer *b, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	struct item *i = g_new0(struct item, 1);

	g_assert(head_length <= HEAD_MAX && (body || type != PEER_CHECKPOINT_DATA));
	i->type = type;
	memcpy(i->head, head ? head : "", head ? head_length : 0);
	i->head_length = head_length;
	i->body = body ? g_bytes_ref(body) : NULL;
	b->queued += item_bytes(i);
	g_queue_push_tail(&b->items, i);
	/* The initial stream comes before all checkpoints and is not packed: nothing is gained by its waiting. */
	if (type == PEER_STREAM)
		work(b);
}

size_t
bulk_packer_queued(const struct bulk_packer *b)
{
	return b->queued;
}
