/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whoever sends the guest a TCP segment with data, or a datagram, asks; the guest answers with a datagram of the same flow or with data that it pushes: a sender sets
 * PSH where it has no more to say for now (RFC 9293, 3.9.1.2). All that is a guess, good enough to tell that nobody is left whom the guest has not answered; nothing
 * depends on its being right but how soon a checkpoint is made (passive-pace.c).
 *
 * Much of what reaches a guest is never answered: broadcasts, logs, uploads, news that it subscribed to. So only flows count in which the guest has said something
 * before, which for TCP its part of the handshake is, and one that gets no answer for ASKERS_PATIENCE_NS is forgotten until the guest says something in it again.
 *
 * The table is keyed by the flow as the guest's frames show it. A flow is in one of two queues: `asking`, in the order of the first question that has no answer
 * yet, or `answered`, in the order of the answers.
 */
#include "proxy/askers.h"

#include "proxy/flow-key.h"

struct asker {
	struct flow_key key;
	guint hash;
	uint64_t asked_at;
	GQueue *in;
	GList link;
};

struct askers {
	struct flow_secret secret;
	GHashTable *table;	/* set of struct asker */
	GQueue asking, answered;
};

static guint
asker_hash(gconstpointer asker)
{
	return ((const struct asker *)asker)->hash;
}

static gboolean
asker_equal(gconstpointer a, gconstpointer b)
{
	return flow_key_equal(&((const struct asker *)a)->key, &((const struct asker *)b)->key);
}

struct askers *
askers_new(const char *seed)
{
	struct askers *a = g_new0(struct askers, 1);

	flow_secret_make(&a->secret, seed);
	a->table = g_hash_table_new_full(asker_hash, asker_equal, g_free, NULL);
	return a;
}

void
askers_free(struct askers *a)
{
	if (!a)
		return;
	g_hash_table_destroy(a->table);
	g_free(a);
}

static void
move(struct asker *asker, GQueue *to)
{
	if (asker->in)
		g_queue_unlink(asker->in, &asker->link);
	asker->in = to;
	g_queue_push_tail_link(to, &asker->link);
}

static void
forget(struct askers *a, struct asker *asker)
{
	g_queue_unlink(asker->in, &asker->link);
	g_hash_table_remove(a->table, asker);
}

/* In `key` what is looked for, too. */
static struct asker *
find(struct askers *a, unsigned nic, const struct packet *packet, struct asker *key)
{
	flow_key_make(&key->key, nic, packet);
	key->hash = flow_key_hash(&key->key, &a->secret);
	return g_hash_table_lookup(a->table, key);
}

static void
add(struct askers *a, const struct asker *key)
{
	struct asker *asker;

	if (g_hash_table_size(a->table) == ASKERS_MAX)
		forget(a, (a->answered.head ? a->answered.head : a->asking.head)->data);
	asker = g_memdup2(key, sizeof *key);
	asker->link.data = asker;
	move(asker, &a->answered);
	g_hash_table_add(a->table, asker);
}

static bool
asks(const struct packet *p)
{
	return p->class == PACKET_UDP || (p->class == PACKET_TCP && p->payload_length > 0);
}

static bool
answers(const struct packet *p)
{
	if (p->class != PACKET_TCP)
		return p->class == PACKET_UDP;
	return (p->payload_length > 0 && (p->flags & PACKET_TCP_PSH)) || (p->flags & PACKET_TCP_SYN);
}

/* The guest will say no more. */
static bool
ends(const struct packet *p)
{
	return p->class == PACKET_TCP && (p->flags & (PACKET_TCP_FIN | PACKET_TCP_RST));
}

void
askers_inbound(struct askers *a, uint64_t now, unsigned nic, GBytes *frame)
{
	struct asker key = { 0 }, *asker;
	struct packet packet;

	if (a->answered.length == 0)
		return;
	packet_parse(&packet, frame);
	if (!asks(&packet))
		return;
	packet_turn(&packet);
	asker = find(a, nic, &packet, &key);
	if (!asker || asker->in == &a->asking)
		return;
	asker->asked_at = now;
	move(asker, &a->asking);
}

void
askers_outbound(struct askers *a, unsigned nic, GBytes *frame)
{
	struct asker key = { 0 }, *asker;
	struct packet packet;

	packet_parse(&packet, frame);
	if (!ends(&packet) && !answers(&packet))
		return;
	asker = find(a, nic, &packet, &key);
	if (asker && ends(&packet))
		forget(a, asker);
	else if (asker)
		move(asker, &a->answered);
	else if (!ends(&packet))
		add(a, &key);
}

unsigned
askers_count(struct askers *a, uint64_t now)
{
	for (struct asker *oldest; a->asking.head; forget(a, oldest)) {
		oldest = a->asking.head->data;
		if (now < oldest->asked_at + ASKERS_PATIENCE_NS)
			break;
	}
	return a->asking.length;
}
