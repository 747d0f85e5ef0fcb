/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Invariants: every flow is in the hash and in exactly one of the two age queues, each of which begins with the flow that was used (or looked at) longest
 * ago. A flow that still has frames is never forgotten; it goes to the end of its queue when its turn comes, so that looking for room takes one step.
 *
 * Forgetting costs little: a TCP connection that goes on is met half way (compare-tcp.c), which is at worst one checkpoint.
 */
#include "proxy/flow-table.h"

#define AGE_STEPS 64	/* flows looked at in one flow_table_age(): what is left is for the next call */

/* How each flow begins. */
struct hashed_key {
	struct flow_key key;
	guint hash;
};
G_STATIC_ASSERT(G_STRUCT_OFFSET(struct hashed_key, key) == G_STRUCT_OFFSET(struct flow, key) && G_STRUCT_OFFSET(struct hashed_key, hash) == G_STRUCT_OFFSET(struct flow, hash));

struct flow_table {
	GHashTable *by_key;		/* of struct hashed_key */
	struct flow_secret secret;
	GQueue live, spent;
	unsigned max_flows;
	uint64_t idle_ns;
};

static guint
hash_of(gconstpointer hashed)
{
	return ((const struct hashed_key *)hashed)->hash;
}

struct flow_table *
flow_table_new(unsigned max_flows, uint64_t idle_ns, const char *seed)
{
	struct flow_table *t = g_new0(struct flow_table, 1);

	t->by_key = g_hash_table_new(hash_of, flow_key_equal);
	flow_secret_make(&t->secret, seed);
	t->max_flows = max_flows;
	t->idle_ns = idle_ns;
	return t;
}

static GQueue *
queue_of(struct flow_table *t, const struct flow *flow)
{
	return flow->spent ? &t->spent : &t->live;
}

static bool
in_use(const struct flow *flow)
{
	return flow->held.length > 0 || flow->kept.length > 0;
}

static void
forget(struct flow_table *t, struct flow *flow)
{
	g_assert(!in_use(flow));
	g_queue_unlink(queue_of(t, flow), &flow->age);
	g_hash_table_remove(t->by_key, &flow->key);
	g_free(flow->first);
	g_free(flow);
}

/* Notes the use: the end of the queue is the youngest. */
static void
renew(struct flow_table *t, struct flow *flow)
{
	GQueue *q = queue_of(t, flow);

	if (q->tail == &flow->age)
		return;
	g_queue_unlink(q, &flow->age);
	g_queue_push_tail_link(q, &flow->age);
}

static struct flow *
oldest(const GQueue *q)
{
	return q->head ? q->head->data : NULL;
}

/* True when the oldest flow of the queue was forgotten. */
static bool
forget_oldest(struct flow_table *t, GQueue *q, uint64_t idle_ns, uint64_t now)
{
	struct flow *flow = oldest(q);

	if (!flow || now < flow->used || now - flow->used < idle_ns)
		return false;
	if (in_use(flow)) {
		renew(t, flow);
		return false;
	}
	forget(t, flow);
	return true;
}

static bool
make_room(struct flow_table *t, uint64_t now)
{
	return g_hash_table_size(t->by_key) < t->max_flows || forget_oldest(t, &t->spent, 0, now) ||
	       forget_oldest(t, &t->live, t->idle_ns, now);
}

static struct flow *
add(struct flow_table *t, const struct hashed_key *key)
{
	struct flow *flow = g_new0(struct flow, 1);

	flow->key = key->key;
	flow->hash = key->hash;
	flow->age.data = flow->keeping.data = flow;
	g_hash_table_add(t->by_key, &flow->key);
	g_queue_push_tail_link(&t->live, &flow->age);
	return flow;
}

static struct flow *
flow_with(struct flow_key *key)
{
	return (struct flow *)((char *)key - G_STRUCT_OFFSET(struct flow, key));
}

static struct hashed_key
hashed(const struct flow_table *t, const struct flow_key *key)
{
	return (struct hashed_key){ *key, flow_key_hash(key, &t->secret) };
}

static struct flow *
find(struct flow_table *t, const struct hashed_key *key)
{
	struct flow_key *found = g_hash_table_lookup(t->by_key, key);

	return found ? flow_with(found) : NULL;
}

struct flow *
flow_table_find(struct flow_table *t, const struct flow_key *key)
{
	const struct hashed_key k = hashed(t, key);

	return find(t, &k);
}

struct flow *
flow_table_get(struct flow_table *t, const struct flow_key *key, uint64_t now, bool *added)
{
	const struct hashed_key k = hashed(t, key);
	struct flow *flow = find(t, &k);

	*added = !flow;
	if (flow)
		renew(t, flow);
	else if (make_room(t, now))
		flow = add(t, &k);
	else
		return NULL;
	flow->used = now;
	return flow;
}

void
flow_table_set_spent(struct flow_table *t, struct flow *flow, bool spent)
{
	if (flow->spent == spent)
		return;
	g_queue_unlink(queue_of(t, flow), &flow->age);
	flow->spent = spent;
	g_queue_push_tail_link(queue_of(t, flow), &flow->age);
}

void
flow_table_age(struct flow_table *t, uint64_t now)
{
	for (unsigned i = 0; i < AGE_STEPS; i++) {
		bool any = forget_oldest(t, &t->spent, t->idle_ns, now);

		any |= forget_oldest(t, &t->live, t->idle_ns, now);
		if (!any)
			break;
	}
}

void
flow_table_clear(struct flow_table *t)
{
	while (oldest(&t->live))
		forget(t, oldest(&t->live));
	while (oldest(&t->spent))
		forget(t, oldest(&t->spent));
}

void
flow_table_foreach(struct flow_table *t, void (*visit)(struct flow *flow, void *data), void *data)
{
	GHashTableIter i;
	gpointer key;

	g_hash_table_iter_init(&i, t->by_key);
	while (g_hash_table_iter_next(&i, &key, NULL))
		visit(flow_with(key), data);
}

unsigned
flow_table_size(const struct flow_table *t)
{
	return g_hash_table_size(t->by_key);
}

void
flow_table_free(struct flow_table *t)
{
	if (!t)
		return;
	flow_table_clear(t);
	g_hash_table_unref(t->by_key);
	g_free(t);
}
