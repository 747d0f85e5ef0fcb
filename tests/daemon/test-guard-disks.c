/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two real guards while their pair forms and the disk's image was there before: whatever QEMU writes during the first copy, in whatever order the standby's disk
 * works and the frames arrive, each of QEMU's requests is answered once, when what it asks for is on the standby's disk, and at the end both disks are equal.
 */
#include "tests/daemon/guard-fixture.h"

#define BLOCK 16u
#define BLOCKS 24u
#define SIZE (BLOCK * BLOCKS)
#define REQUESTS 120
#define IN_FLIGHT 10

struct request { uint64_t offset, length; bool answered; };

struct op {			/* at the standby's disk */
	bool is_read;
	struct disk_write w;
	uint64_t cookie;
};

struct frame { enum peer_type type; GBytes *payload; };

struct pair {
	struct fixture p, s;
	struct guard_env env;
	GRand *rand;
	GQueue to_standby, to_primary;		/* struct frame */
	GQueue ops;				/* struct op */
	uint8_t source[SIZE], copy[SIZE];
	struct request requests[REQUESTS];
	unsigned n, answered;
	unsigned sent[0x100];			/* frames by type */
	uint64_t bytes_sent;			/* of DISK_WRITE */
	bool reads_fail;
};

static struct pair *the_pair;			/* struct guard_env has the fixture for its context */

static unsigned
below(struct pair *t, unsigned n)
{
	return g_rand_int_range(t->rand, 0, (gint32)n);
}

static void
frame_free(gpointer p)
{
	g_bytes_unref(((struct frame *)p)->payload);
	g_free(p);
}

static void
op_free(gpointer p)
{
	disk_write_clear(&((struct op *)p)->w);
	g_free(p);
}

static void
send_frame(void *ctx, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	struct pair *t = the_pair;
	g_autoptr(GByteArray) b = g_byte_array_new();
	struct frame *f = g_new0(struct frame, 1);
	uint32_t max;

	g_byte_array_append(b, head, (guint)length);
	if (body)
		g_byte_array_append(b, g_bytes_get_data(body, NULL), (guint)g_bytes_get_size(body));
	assert_true(peer_type_allowed(type, ctx == &t->p ? PEER_CHANNEL_DISK : PEER_CHANNEL_FAST, &max) && b->len <= max);
	t->sent[type]++;
	if (type == PEER_DISK_WRITE)
		t->bytes_sent += b->len - 24;
	*f = (struct frame){ type, g_bytes_new(b->data, b->len) };
	g_queue_push_tail(ctx == &t->p ? &t->to_standby : &t->to_primary, f);
}

static bool
touches(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	return a < b + b_length && b < a + a_length;
}

/* Nothing that came later touches it: then its own data must be there now. */
static void
nbd_reply(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno)
{
	struct pair *t = the_pair;
	struct request *r = &t->requests[cookie];

	assert_false(r->answered);
	assert_int_equal(nbd_errno, 0);
	r->answered = true;
	t->answered++;
	for (unsigned i = (unsigned)cookie + 1; i < t->n; i++)
		if (touches(r->offset, r->length, t->requests[i].offset, t->requests[i].length))
			return;
	assert_memory_equal(t->source + r->offset, t->copy + r->offset, r->length);
}

static void
add_op(bool is_read, const struct disk_write *w, uint64_t cookie)
{
	struct op *o = g_new0(struct op, 1);

	*o = (struct op){ is_read, *w, cookie };
	if (o->w.data)
		g_bytes_ref(o->w.data);
	g_queue_push_tail(&the_pair->ops, o);
}

static void
disk_submit(void *ctx, const struct disk_write *w, uint64_t cookie)
{
	add_op(false, w, cookie);
}

static void
disk_read(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie)
{
	add_op(true, &(struct disk_write){ .offset = offset, .length = length }, cookie);
}

/* -- what happens --------------------------------------------------------------------------------------------------------------- */

static void
deliver(struct pair *t, GQueue *from, struct fixture *to)
{
	struct frame *f = g_queue_pop_head(from);
	struct peer_frame frame = { .type = f->type, .channel = PEER_CHANNEL_FAST, .generation = 1, .payload = g_bytes_get_data(f->payload, NULL), .length = (uint32_t)g_bytes_get_size(f->payload) };

	guard_peer_frame(to->g, to->now, &frame, f->payload);
	frame_free(f);
}

/* Does one of those that nothing overlaps that came before (disk-target-io.c). */
static void
disk_works(struct pair *t)
{
	GList *link = g_queue_peek_nth_link(&t->ops, below(t, t->ops.length));
	struct op *o = link->data;

	for (const GList *l = link->prev; l; l = l->prev) {
		const struct op *before = l->data;
		if (!(before->is_read && o->is_read) && touches(before->w.offset, before->w.length, o->w.offset, o->w.length))
			return;
	}
	g_queue_delete_link(&t->ops, link);
	if (o->is_read) {
		bool fails = t->reads_fail && below(t, 4) == 0;
		g_autoptr(GBytes) data = fails ? NULL : g_bytes_new(t->copy + o->w.offset, o->w.length);
		guard_disk_read_done(t->s.g, t->s.now, o->cookie, fails ? 5 : 0, data);
	} else {
		if (o->w.op == DISK_OP_WRITE)
			memcpy(t->copy + o->w.offset, g_bytes_get_data(o->w.data, NULL), o->w.length);
		else
			memset(t->copy + o->w.offset, 0, o->w.length);
		guard_disk_done(t->s.g, t->s.now, o->cookie, 0);
	}
	op_free(o);
}

/* The content of two versions of each block, and of zeroes, so that much is the same by chance, too. */
static void
qemu_writes(struct pair *t)
{
	struct nbd_request r = { .op = below(t, 8) ? NBD_OP_WRITE : below(t, 2) ? NBD_OP_WRITE_ZEROES : NBD_OP_TRIM, .cookie = t->n };
	bool aligned = below(t, 3) != 0;

	r.length = below(t, 4) ? BLOCK * (1 + below(t, 4)) : 1 + below(t, 3 * BLOCK);
	r.offset = aligned ? BLOCK * below(t, (SIZE - r.length) / BLOCK + 1) : below(t, SIZE - r.length + 1);
	t->requests[t->n++] = (struct request){ .offset = r.offset, .length = r.length };
	if (r.op != NBD_OP_WRITE) {
		memset(t->source + r.offset, 0, r.length);
	} else {
		for (uint64_t i = r.offset; i < r.offset + r.length; i++)
			t->source[i] = (uint8_t)(i / BLOCK + (below(t, 40) == 0));
		r.data = g_bytes_new(t->source + r.offset, r.length);
	}
	guard_disk_request(t->p.g, t->p.now, 0, &r);
}

static void
one_thing_happens(struct pair *t)
{
	switch (below(t, 4)) {
	case 0:
		if (t->n < REQUESTS && t->n - t->answered < IN_FLIGHT && guard_disk_reading(t->p.g))
			qemu_writes(t);
		break;
	case 1:
		if (t->to_standby.length)
			deliver(t, &t->to_standby, &t->s);
		break;
	case 2:
		if (t->to_primary.length)
			deliver(t, &t->to_primary, &t->p);
		break;
	case 3:
		if (t->ops.length)
			disk_works(t);
		break;
	}
}

/* -- the pair ------------------------------------------------------------------------------------------------------------------------ */

static void
guard_made(struct pair *t, struct fixture *f, enum failover_role role)
{
	fixture_init(f, role);
	f->config->disks[0].size = SIZE;
	f->config->disks[0].compare = role == FAILOVER_PRIMARY;
	guard_free(f->g);
	f->g = guard_new(f->config, f->now, &t->env, f);
	guard_start(f->g, f->now);
	if (role == FAILOVER_STANDBY)
		guard_op_done(f->g, f->now, GUARD_OP_STANDBY_ATTACH, NULL);
	guard_peer_linked(f->g, f->now);
	if (role == FAILOVER_STANDBY)
		return;
	guard_op_done(f->g, f->now, GUARD_OP_CONNECT, NULL);
	guard_op_done(f->g, f->now, GUARD_OP_ATTACH, NULL);
	disk_compare_free(f->g->p.compare);
	f->g->p.compare = disk_compare_new(BLOCK);
	assert_int_equal(guard_current_phase(f->g), GUARD_PHASE_DISK);
}

static struct pair *
pair_new(guint32 seed)
{
	struct pair *t = the_pair = g_new0(struct pair, 1);

	t->rand = g_rand_new_with_seed(seed);
	t->env = fixture_env;
	t->env.peer_send = send_frame;
	t->env.nbd_reply = nbd_reply;
	t->env.disk_submit = disk_submit;
	t->env.disk_read = disk_read;
	g_queue_init(&t->to_standby);
	g_queue_init(&t->to_primary);
	g_queue_init(&t->ops);
	for (unsigned i = 0; i < SIZE; i++) {
		t->source[i] = (uint8_t)(i / BLOCK);
		t->copy[i] = i / BLOCK % 3 ? t->source[i] : 0xee;
	}
	t->reads_fail = below(t, 3) == 0;
	guard_made(t, &t->p, FAILOVER_PRIMARY);
	guard_made(t, &t->s, FAILOVER_STANDBY);
	return t;
}

static void
pair_free(struct pair *t)
{
	fixture_clear(&t->p);
	fixture_clear(&t->s);
	g_rand_free(t->rand);
	g_queue_clear_full(&t->to_standby, frame_free);
	g_queue_clear_full(&t->to_primary, frame_free);
	g_queue_clear_full(&t->ops, op_free);
	g_free(t);
}

/* The mirror's own part: all of the disk, as it is now. */
static void
qemu_copies(struct pair *t)
{
	for (unsigned b = 0; b < BLOCKS; b += 4) {
		struct nbd_request r = { .op = NBD_OP_WRITE, .cookie = t->n, .offset = b * BLOCK, .length = 4 * BLOCK };
		r.data = g_bytes_new(t->source + r.offset, r.length);
		t->requests[t->n++] = (struct request){ .offset = r.offset, .length = r.length };
		guard_disk_request(t->p.g, t->p.now, 0, &r);
	}
}

static void
assert_quiet_and_equal(struct pair *t)
{
	assert_int_equal(t->answered, t->n);
	assert_int_equal(disk_compare_pending(t->p.g->p.compare), 0);
	assert_int_equal(t->p.g->p.disk_pending.length, 0);
	assert_int_equal(t->p.g->p.disk_outstanding, 0);
	assert_int_equal(g_hash_table_size(t->s.g->s.comparing), 0);
	assert_int_equal(t->s.g->s.comparing_bytes, 0);
	assert_int_equal(guard_state(t->p.g), FAILOVER_FORMING);
	assert_int_equal(guard_state(t->s.g), FAILOVER_FORMING);
	assert_memory_equal(t->source, t->copy, SIZE);
}

static void
settle(struct pair *t)
{
	while (t->to_standby.length || t->to_primary.length || t->ops.length)
		one_thing_happens(t);
}

static void
only_what_differs_is_sent(void **state)
{
	struct pair *t = pair_new(1);
	uint64_t same;

	t->reads_fail = false;
	t->n = 0;
	qemu_copies(t);
	assert_int_equal(t->sent[PEER_DISK_COMPARE], BLOCKS / 4);
	assert_int_equal(t->sent[PEER_DISK_WRITE], 0);
	while (t->answered < t->n || t->to_standby.length || t->to_primary.length || t->ops.length) {
		if (t->to_standby.length)
			deliver(t, &t->to_standby, &t->s);
		if (t->ops.length)
			disk_works(t);
		if (t->to_primary.length)
			deliver(t, &t->to_primary, &t->p);
	}
	assert_quiet_and_equal(t);
	assert_int_equal(t->bytes_sent, SIZE / 3);
	assert_int_equal(guard_disk_compared(t->p.g, &same), SIZE);
	assert_int_equal(same, SIZE - SIZE / 3);
	pair_free(t);
}

static void
disks_are_equal_whatever_happens(void **state)
{
	unsigned compared = 0, differed = 0;

	for (guint32 seed = 0; seed < 2000; seed++) {
		struct pair *t = pair_new(seed);

		qemu_copies(t);
		while (t->n < REQUESTS)
			one_thing_happens(t);
		settle(t);
		assert_quiet_and_equal(t);
		compared += t->sent[PEER_DISK_COMPARE];
		differed += t->p.g->p.disk_same_bytes < t->p.g->p.disk_compared_bytes;
		pair_free(t);
	}
	assert_true(compared > 2000 * 20);
	assert_true(differed > 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_differs_is_sent), cmocka_unit_test(disks_are_equal_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
