/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/fd-stream-io.h"

#define READ_SIZE 1024

struct receiver {
	struct fd_stream *stream;
	int theirs;
	GPtrArray *pieces;	/* GBytes */
	GByteArray *all;
	bool keep, closed, free_at_once;
};

static void
on_data(struct fd_stream *s, GBytes *bytes, gpointer user_data)
{
	struct receiver *r = user_data;

	g_byte_array_append(r->all, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
	if (r->keep)
		g_ptr_array_add(r->pieces, g_bytes_ref(bytes));
	if (r->free_at_once)
		fd_stream_free(s);
}

static void
on_closed(struct fd_stream *s, const char *why, gpointer user_data)
{
	((struct receiver *)user_data)->closed = true;
}

static void
receiver_init(struct receiver *r, unsigned buffers)
{
	static const struct fd_stream_callbacks cb = { .data = on_data, .closed = on_closed };
	int ours;

	*r = (struct receiver){ .pieces = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref), .all = g_byte_array_new(), .keep = true };
	assert_true(fd_stream_pair(&ours, &r->theirs, NULL));
	r->stream = fd_stream_new(ours, READ_SIZE, &cb, r);
	if (buffers) {
		struct fd_stream_pool *pool = fd_stream_pool_new(4 * READ_SIZE, buffers, 2 * buffers);
		fd_stream_use_pool(r->stream, pool);
		fd_stream_pool_unref(pool);
	}
}

static void
receiver_clear(struct receiver *r)
{
	g_ptr_array_unref(r->pieces);
	g_byte_array_unref(r->all);
	close(r->theirs);
}

/* Sends n bytes, of which each is told from those 251 around it; all of them are read. */
static void
send_bytes(struct receiver *r, size_t from, size_t n)
{
	g_autofree uint8_t *data = g_malloc(n);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)((from + i) % 251);
	assert_int_equal(write(r->theirs, data, n), n);
	fd_stream_drain(r->stream);
}

static void
check_all(const struct receiver *r, size_t n)
{
	assert_int_equal(r->all->len, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(r->all->data[i], i % 251);
}

/* What was given out is not written over, however many buffers there are and whether they are enough. */
static void
test_slices_stay_as_they_are(void **state)
{
	for (unsigned buffers = 0; buffers < 8; buffers += 3) {
		struct receiver r;
		size_t sent = 0, at = 0;
		receiver_init(&r, buffers);
		for (size_t n = 1; n < 5000; n = n * 3 + 1) {
			send_bytes(&r, sent, n);
			sent += n;
		}
		check_all(&r, sent);
		fd_stream_free(r.stream);
		for (unsigned i = 0; i < r.pieces->len; i++) {
			size_t length;
			const uint8_t *data = g_bytes_get_data(r.pieces->pdata[i], &length);
			assert_memory_equal(data, r.all->data + at, length);
			at += length;
		}
		assert_int_equal(at, sent);
		receiver_clear(&r);
	}
}

/* A buffer comes back with the last slice of it: two buffers carry any number of bytes, in the same two places. */
static void
test_buffers_come_back(void **state)
{
	struct receiver r;
	g_autoptr(GHashTable) places = g_hash_table_new(NULL, NULL);
	size_t sent = 0;

	receiver_init(&r, 2);
	for (unsigned i = 0; i < 50; i++, sent += 4 * READ_SIZE) {
		send_bytes(&r, sent, 4 * READ_SIZE);
		assert_int_equal(r.pieces->len, 4);
		g_hash_table_add(places, (gpointer)g_bytes_get_data(r.pieces->pdata[0], NULL));
		g_ptr_array_set_size(r.pieces, 0);
	}
	check_all(&r, sent);
	assert_in_range(g_hash_table_size(places), 1, 2);
	fd_stream_free(r.stream);
	receiver_clear(&r);
}

/* What needed more buffers than there were finds them there the next time; what needs more than may be gets all of its bytes. */
static void
test_buffers_grow(void **state)
{
	enum { MOST = 4, ROUNDS = 5 };
	struct receiver r;
	g_autoptr(GHashTable) places = g_hash_table_new(NULL, NULL);
	size_t sent = 0;

	receiver_init(&r, MOST / 2);
	for (unsigned i = 0; i < ROUNDS; i++, sent += MOST * 4 * READ_SIZE) {
		send_bytes(&r, sent, MOST * 4 * READ_SIZE);
		assert_int_equal(r.pieces->len, 4 * MOST);
		for (unsigned k = 0; k < r.pieces->len; k += 4)
			g_hash_table_add(places, (gpointer)g_bytes_get_data(r.pieces->pdata[k], NULL));
		g_ptr_array_set_size(r.pieces, 0);
	}
	assert_int_equal(g_hash_table_size(places), MOST);
	send_bytes(&r, sent, 4 * MOST * 4 * READ_SIZE);
	check_all(&r, sent + 4 * MOST * 4 * READ_SIZE);
	fd_stream_free(r.stream);
	receiver_clear(&r);
}

static void
test_end_and_free(void **state)
{
	struct receiver r;

	receiver_init(&r, 1);
	r.free_at_once = true;	/* from its own callback, with a piece that outlives it */
	send_bytes(&r, 0, 100);
	check_all(&r, 100);
	receiver_clear(&r);

	receiver_init(&r, 1);
	send_bytes(&r, 0, 10);
	close(r.theirs);
	fd_stream_drain(r.stream);
	assert_true(r.closed);
	check_all(&r, 10);
	fd_stream_free(r.stream);
	r.theirs = dup(0);
	receiver_clear(&r);
}

#define PIECE (64u << 10)
#define PIECES 64u
#define TURN (1u << 20)

/* In one turn of the main loop. */
static gboolean
write_much(gpointer user_data)
{
	struct receiver *r = user_data;

	for (unsigned i = 0; i < PIECES; i++) {
		uint8_t *data = g_malloc(PIECE);
		g_autoptr(GBytes) bytes = g_bytes_new_take(data, PIECE);
		memset(data, (int)i, PIECE);
		fd_stream_write(r->stream, bytes);
	}
	/* Whether the other side takes more or not: the rest waits, for others have their turn. */
	assert_true(fd_stream_queued(r->stream) >= PIECES * PIECE - TURN);
	return G_SOURCE_REMOVE;
}

static void
test_no_turn_is_spent_on_writing(void **state)
{
	struct receiver r;
	size_t got = 0;
	g_autofree uint8_t *data = g_malloc(PIECE);

	receiver_init(&r, 0);
	fd_stream_share_turns(r.stream);
	g_idle_add(write_much, &r);
	g_main_context_iteration(NULL, TRUE);
	while (got < PIECES * PIECE) {
		ssize_t n = recv(r.theirs, data, PIECE - got % PIECE, MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], got / PIECE);
		got += n > 0 ? (size_t)n : 0;
		if (n <= 0)
			g_main_context_iteration(NULL, TRUE);
	}
	assert_int_equal(fd_stream_queued(r.stream), 0);
	fd_stream_free(r.stream);
	receiver_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slices_stay_as_they_are),
		cmocka_unit_test(test_buffers_come_back),
		cmocka_unit_test(test_buffers_grow),
		cmocka_unit_test(test_end_and_free),
		cmocka_unit_test(test_no_turn_is_spent_on_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
