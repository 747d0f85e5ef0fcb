/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The three connections between the two guards. Each keeps its order and loses nothing until it ends, as TCP does; between two of them there is no
 * order. A cut is a network that drops: what was sent waits (retransmission) and arrives when it heals, if the connection still stands.
 */
#include "tests/sim/sim.h"

#include <string.h>

static const enum peer_channel channels[] = { PEER_CHANNEL_FAST, PEER_CHANNEL_BULK, PEER_CHANNEL_DISK };

static enum source
source_of(enum peer_channel c)
{
	return c == PEER_CHANNEL_FAST ? SRC_FAST : c == PEER_CHANNEL_BULK ? SRC_BULK : SRC_DISK;
}

static enum peer_channel
channel_of(enum peer_type type)
{
	uint32_t limit;

	for (unsigned i = 0; i < G_N_ELEMENTS(channels); i++)
		if (peer_type_allowed(type, channels[i], &limit))
			return channels[i];
	g_assert_not_reached();
}

static void
pending_free(gpointer p)
{
	struct item *i = p;

	if (i->bytes)
		g_bytes_unref(i->bytes);
	g_free(i);
}

void
link_clear(struct world *w)
{
	for (unsigned c = 0; c < PEER_CHANNEL_LAST; c++)
		for (unsigned d = 0; d < 2; d++)
			g_queue_clear_full(&w->link.d[c][d].pending, pending_free);
}

void
link_reset(struct world *w)
{
	struct link *l = &w->link;

	link_clear(w);
	for (unsigned c = 0; c < PEER_CHANNEL_LAST; c++) {
		l->life[c]++;
		l->open[c] = false;
		memset(l->d[c], 0, sizeof l->d[c]);
	}
	l->cut[0] = l->cut[1] = l->corrupt = false;
	l->latency = between(w, 20 * US, chance(w, 20) ? 10 * MS : 300 * US);
	l->jitter = between(w, 10 * US, chance(w, 30) ? 5 * MS : 200 * US);
	l->loss = chance(w, 40) ? 10 : 0;
	l->ns_per_kb = between(w, 1 * US, chance(w, 20) ? 300 * US : 20 * US);
}

void
link_open(struct world *w)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(channels); i++)
		w->link.open[channels[i]] = true;
}

static void
deliver(struct world *w, unsigned to, enum peer_channel c, enum item_kind kind, GBytes *bytes, uint64_t a, uint64_t b)
{
	proc_push(&w->host[to].p, source_of(c), kind, bytes, a, b);
}

/* e->a: type | channel << 16 | kind << 24, e->b: generation, e->host: the sender */
static void
on_arrival(struct world *w, struct event *e)
{
	enum peer_channel c = (enum peer_channel)(e->a >> 16 & 0xff);
	struct direction *d = &w->link.d[c][e->host];

	if (e->life != w->link.life[c])
		return;
	if (e->bytes)
		d->queued -= g_bytes_get_size(e->bytes);
	if (w->link.cut[e->host] || d->pending.length) {
		struct item *i = g_new(struct item, 1);
		*i = (struct item){ .kind = (enum item_kind)(e->a >> 24), .bytes = g_steal_pointer(&e->bytes), .a = e->a & 0xffff, .b = e->b };
		g_queue_push_tail(&d->pending, i);
		return;
	}
	deliver(w, !e->host, c, (enum item_kind)(e->a >> 24), g_steal_pointer(&e->bytes), e->a & 0xffff, e->b);
}

static void
schedule(struct world *w, unsigned from, enum peer_channel c, enum item_kind kind, enum peer_type type, uint64_t generation, GBytes *bytes)
{
	struct direction *d = &w->link.d[c][from];
	size_t n = bytes ? g_bytes_get_size(bytes) : 0;
	uint64_t at = w->now + w->link.latency + rnd(w, w->link.jitter) + n * w->link.ns_per_kb / 1024;

	if (rnd(w, 1000) < w->link.loss)
		at += between(w, 5 * MS, 100 * MS);
	at = MAX(at, d->last_at + 1 + n * w->link.ns_per_kb / 1024);
	d->last_at = at;
	d->queued += n;
	later(w, at - w->now, &(struct event){
		.fn = on_arrival, .host = from, .life = w->link.life[c], .bytes = bytes,
		.a = (uint64_t)type | (uint64_t)c << 16 | (uint64_t)kind << 24, .b = generation });
}

/* One wrong byte in the middle of a page, as a network card or a kernel may make it. */
static void
corrupt(struct world *w, GBytes **payload)
{
	gsize n;
	uint8_t *data = g_bytes_unref_to_data(*payload, &n);

	if (n > 3000) {
		data[n - 2000] ^= 0x40;
		w->link.corrupt = false;
		say(w, -1, "a byte of a checkpoint goes wrong on the way");
	}
	*payload = g_bytes_new_take(data, n);
}

static void
send_on(struct world *w, unsigned from, enum peer_channel c, enum peer_type type, uint64_t generation, const void *head, size_t length, GBytes *body)
{
	size_t n = body ? g_bytes_get_size(body) : 0;
	uint8_t *data = g_malloc(length + n + 1);
	GBytes *payload;

	if (length)
		memcpy(data, head, length);
	if (n)
		memcpy(data + length, g_bytes_get_data(body, NULL), n);
	payload = g_bytes_new_take(data, length + n);
	if (w->link.corrupt && type == PEER_CHECKPOINT_DATA)
		corrupt(w, &payload);
	if (!w->link.open[c] || !breaks_message(w, from, type, &payload)) {
		g_bytes_unref(payload);
		return;
	}
	schedule(w, from, c, ITEM_DATA, type, generation, payload);
}

/* As links_env_send() does. */
void
link_send(struct world *w, unsigned from, enum peer_type type, uint64_t generation, const void *head, size_t length, GBytes *body)
{
	send_on(w, from, channel_of(type), type, generation, head, length, body);
	if (type == PEER_HEARTBEAT)
		send_on(w, from, PEER_CHANNEL_DISK, type, generation, head, length, body);
}

void
link_finish(struct world *w, unsigned from)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(channels); i++)
		if (w->link.open[channels[i]])
			schedule(w, from, channels[i], ITEM_CLOSED, 0, 0, NULL);
}

void
link_break(struct world *w, enum peer_channel c)
{
	if (!w->link.open[c])
		return;
	w->link.open[c] = false;
	w->link.life[c]++;
	for (unsigned d = 0; d < 2; d++) {
		g_queue_clear_full(&w->link.d[c][d].pending, pending_free);
		deliver(w, d, c, ITEM_CLOSED, NULL, 0, 0);
	}
}

/* e->host: the sender */
static void
on_healed(struct world *w, struct event *e)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(channels); i++) {
		struct direction *d = &w->link.d[channels[i]][e->host];
		struct item *p;
		while (!w->link.cut[e->host] && (p = g_queue_pop_head(&d->pending))) {
			deliver(w, !e->host, channels[i], p->kind, p->bytes, p->a, p->b);
			g_free(p);
		}
	}
}

void
link_set_cut(struct world *w, unsigned from, bool cut)
{
	w->link.cut[from] = cut;
	if (!cut)
		later(w, between(w, 0, 200 * MS), &(struct event){ .fn = on_healed, .host = from });
}
