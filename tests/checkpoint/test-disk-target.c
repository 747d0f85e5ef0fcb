/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NBD client against a server made of the NBD server core, in the same main loop. The server holds every request until
 * the test answers it, in the order the test likes, and applies it to an image in memory at that moment.
 */
#include "checkpoint/disk-target-io.h"
#include "checkpoint/nbd-server.h"
#include "daemon/base/error.h"

#include <errno.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SIZE (8 << 20)
#define MAX_REQUESTS 64

struct fixture {
	char *folder, *path;
	GSocketListener *listener;
	GSocketConnection *connection;
	struct nbd_server *server;
	uint8_t chunk[65536], image[SIZE];
	struct nbd_request request[MAX_REQUESTS];	/* at the server, in order of arrival */
	unsigned requests;

	struct disk_target *target;
	unsigned ready, closed;
	GArray *done;			/* cookies */
	GPtrArray *read;		/* GBytes of reads that succeeded; their cookies are 100 and more, and in `done` too */
	int last_error;
	GError *failure;
	bool free_when_ready, free_when_done, free_when_read, free_when_closed;
};

/* The server's side */

/* Fails when the target has closed its end, which is what some tests are about. */
static void
send_output(struct fixture *f)
{
	g_autoptr(GBytes) out = nbd_server_take_output(f->server);

	if (out)
		g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(f->connection)), g_bytes_get_data(out, NULL),
					  g_bytes_get_size(out), NULL, NULL, NULL);
}

static void
got_bytes(GObject *stream, GAsyncResult *result, gpointer user_data)
{
	struct fixture *f = user_data;
	gssize n = g_input_stream_read_finish(G_INPUT_STREAM(stream), result, NULL);

	if (n <= 0)
		return;
	assert_true(nbd_server_input(f->server, f->chunk, (size_t)n, NULL));
	while (f->requests < MAX_REQUESTS && nbd_server_next_request(f->server, &f->request[f->requests]))
		f->requests++;
	send_output(f);
	g_input_stream_read_async(G_INPUT_STREAM(stream), f->chunk, sizeof(f->chunk), 0, NULL, got_bytes, f);
}

static void
got_connection(GObject *source, GAsyncResult *result, gpointer user_data)
{
	struct fixture *f = user_data;

	f->connection = g_socket_listener_accept_finish(f->listener, result, NULL, NULL);
	if (!f->connection)
		return;
	send_output(f);
	g_input_stream_read_async(g_io_stream_get_input_stream(G_IO_STREAM(f->connection)), f->chunk, sizeof(f->chunk), 0, NULL, got_bytes, f);
}

static void
answer(struct fixture *f, unsigned i, uint32_t nbd_errno)
{
	struct nbd_request r = f->request[i];
	g_autoptr(GBytes) data = r.op == NBD_OP_READ && !nbd_errno ? g_bytes_new(f->image + r.offset, r.length) : NULL;

	memmove(&f->request[i], &f->request[i + 1], (--f->requests - i) * sizeof(r));
	if (r.op == NBD_OP_WRITE)
		memcpy(f->image + r.offset, g_bytes_get_data(r.data, NULL), r.length);
	else if (r.op != NBD_OP_READ)
		memset(f->image + r.offset, 0, r.length);
	nbd_server_reply(f->server, r.cookie, nbd_errno, data);
	nbd_request_clear(&r);
	send_output(f);
}

/* The target's side */

static void
free_target(struct fixture *f, bool wanted)
{
	if (wanted)
		g_clear_pointer(&f->target, disk_target_free);
}

static void
on_ready(void *user_data)
{
	struct fixture *f = user_data;

	f->ready++;
	free_target(f, f->free_when_ready);
}

static void
on_done(guint64 cookie, int error, void *user_data)
{
	struct fixture *f = user_data;

	g_array_append_val(f->done, cookie);
	f->last_error = error;
	free_target(f, f->free_when_done);
}

static void
on_read(guint64 cookie, int error, GBytes *data, void *user_data)
{
	struct fixture *f = user_data;

	assert_int_equal(data == NULL, error != 0);
	g_array_append_val(f->done, cookie);
	f->last_error = error;
	if (data)
		g_ptr_array_add(f->read, g_bytes_ref(data));
	free_target(f, f->free_when_read);
}

static void
on_closed(const GError *error, void *user_data)
{
	struct fixture *f = user_data;

	f->closed++;
	f->failure = g_error_copy(error);
	free_target(f, f->free_when_closed);
}

static const struct disk_target_callbacks callbacks = { .ready = on_ready, .done = on_done, .read = on_read, .closed = on_closed };

/* Let everything happen that can happen now. Both ends are in this loop and a unix socket delivers at once: idle means quiet. */
static void
settle(void)
{
	while (g_main_context_iteration(NULL, FALSE))
		;
}

static void
listen_on(struct fixture *f, const char *path)
{
	g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);

	f->listener = g_socket_listener_new();
	assert_true(g_socket_listener_add_address(f->listener, address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, NULL));
	g_socket_listener_accept_async(f->listener, NULL, got_connection, f);
}

static int
setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->folder = g_dir_make_tmp("ftd-disk-XXXXXX", NULL);
	f->path = g_build_filename(f->folder, "nbd", NULL);
	f->done = g_array_new(FALSE, FALSE, sizeof(guint64));
	f->read = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	f->server = nbd_server_new("v0", SIZE);
	memset(f->image, 0xff, sizeof(f->image));
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	disk_target_free(f->target);
	if (f->listener)
		g_socket_listener_close(f->listener);
	settle();
	while (f->requests > 0)
		nbd_request_clear(&f->request[--f->requests]);
	g_clear_object(&f->connection);
	g_clear_object(&f->listener);
	nbd_server_free(f->server);
	g_array_unref(f->done);
	g_ptr_array_unref(f->read);
	g_clear_error(&f->failure);
	g_unlink(f->path);
	g_rmdir(f->folder);
	g_free(f->path);
	g_free(f->folder);
	g_free(f);
	return 0;
}

static void
connect_target(struct fixture *f)
{
	listen_on(f, f->path);
	f->target = disk_target_connect(f->path, "v0", SIZE, 2000, &callbacks, f);
	settle();
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->closed, 0);
}

static void
submit(struct fixture *f, enum disk_op op, uint64_t offset, uint64_t length, int fill, guint64 cookie)
{
	struct disk_write w = { .op = op, .offset = offset, .length = length };

	if (op == DISK_OP_WRITE) {
		guint8 *data = g_malloc(length);

		memset(data, fill, length);
		w.data = g_bytes_new_take(data, length);
	}
	disk_target_submit(f->target, &w, cookie);
	disk_write_clear(&w);	/* the target has a reference of its own */
}

static guint64
done(const struct fixture *f, unsigned i)
{
	assert_true(i < f->done->len);
	return g_array_index(f->done, guint64, i);
}

static void
test_operations_arrive(void **state)
{
	struct fixture *f = *state;
	struct disk_write unmap = { .op = DISK_OP_ZERO, .offset = 300, .length = 10, .may_unmap = true };

	connect_target(f);
	submit(f, DISK_OP_WRITE, 0, 100, 0xaa, 1);
	submit(f, DISK_OP_ZERO, 100, 100, 0, 2);
	submit(f, DISK_OP_TRIM, 200, 100, 0, 3);
	disk_target_submit(f->target, &unmap, 4);
	assert_int_equal(disk_target_in_flight(f->target), 4);
	settle();
	assert_int_equal(f->requests, 4);
	assert_true(f->request[0].op == NBD_OP_WRITE && f->request[0].length == 100);
	assert_true(f->request[1].op == NBD_OP_WRITE_ZEROES && f->request[1].no_hole && f->request[1].offset == 100);
	assert_true(f->request[2].op == NBD_OP_TRIM && f->request[2].length == 100);
	assert_true(f->request[3].op == NBD_OP_WRITE_ZEROES && !f->request[3].no_hole);
	answer(f, 2, 0);
	answer(f, 0, 5);
	settle();
	assert_int_equal(f->done->len, 2);
	assert_int_equal(done(f, 0), 3);
	assert_int_equal(done(f, 1), 1);
	assert_int_equal(f->last_error, EIO);
	assert_int_equal(disk_target_in_flight(f->target), 2);
	assert_int_equal(f->image[99], 0xaa);
}

static void
test_overlap_waits(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	submit(f, DISK_OP_WRITE, 0, 1000, 1, 1);
	submit(f, DISK_OP_ZERO, 999, 2, 0, 2);		/* behind 1 */
	submit(f, DISK_OP_WRITE, 1000, 1, 3, 3);	/* behind 2 */
	submit(f, DISK_OP_TRIM, 5000, 1, 0, 4);		/* behind nothing, but the queue keeps its order */
	settle();
	assert_int_equal(f->requests, 1);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 1);
	assert_int_equal(f->request[0].op, NBD_OP_WRITE_ZEROES);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 2);
	answer(f, 1, 0);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->done->len, 4);
	assert_int_equal(f->image[998], 1);
	assert_int_equal(f->image[999], 0);
	assert_int_equal(f->image[1000], 3);
}

/* Neighbours do not overlap. */
static void
test_limit_in_flight(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	for (unsigned i = 0; i < 40; i++)
		submit(f, DISK_OP_WRITE, i * 512, 512, (int)i, i);
	settle();
	assert_int_equal(f->requests, DISK_TARGET_MAX_IN_FLIGHT);
	assert_int_equal(disk_target_in_flight(f->target), 40);
	for (unsigned left = 40; left > 0; left--) {
		answer(f, f->requests - 1, 0);
		settle();
		assert_int_equal(f->requests, MIN(left - 1, DISK_TARGET_MAX_IN_FLIGHT));
	}
	assert_int_equal(f->done->len, 40);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(f->image[i * 512 + 511], i);
}

/* Much more than a socket buffer holds. */
static void
test_large_writes(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	for (unsigned i = 0; i < 4; i++)
		submit(f, DISK_OP_WRITE, 0, SIZE, 7 + (int)i, i);
	for (unsigned i = 0; i < 4; i++) {
		settle();
		assert_int_equal(f->requests, 1);
		answer(f, 0, 0);
	}
	settle();
	assert_int_equal(f->done->len, 4);
	assert_int_equal(f->image[SIZE - 1], 10);
}

static void
test_limit_of_bytes(void **state)
{
	const uint64_t most = DISK_TARGET_MAX_BYTES / 2;
	struct fixture *f = *state;

	connect_target(f);
	submit(f, DISK_OP_WRITE, 0, most, 1, 1);
	submit(f, DISK_OP_ZERO, most, most, 0, 2);	/* no data */
	submit(f, DISK_OP_WRITE, 2 * most, most, 3, 3);
	submit(f, DISK_OP_WRITE, 3 * most, 512, 4, 4);
	settle();
	assert_int_equal(f->requests, 3);
	answer(f, 1, 0);
	settle();
	assert_int_equal(f->requests, 2);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 2);
	answer(f, 0, 0);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->done->len, 4);
	assert_int_equal(disk_target_in_flight(f->target), 0);
	submit(f, DISK_OP_WRITE, 0, SIZE, 5, 5);	/* that is more than all of it, and goes by itself */
	submit(f, DISK_OP_ZERO, SIZE - 1, 1, 0, 6);
	settle();
	assert_int_equal(f->requests, 1);
	answer(f, 0, 0);
	settle();
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->done->len, 6);
}

static void
test_out_of_range(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	submit(f, DISK_OP_WRITE, SIZE - 1, 2, 0, 1);
	submit(f, DISK_OP_TRIM, 0, UINT64_MAX, 0, 2);
	submit(f, DISK_OP_ZERO, UINT64_MAX, 1, 0, 3);
	settle();
	assert_int_equal(f->done->len, 3);
	assert_int_equal(f->last_error, EINVAL);
	assert_int_equal(f->requests, 0);
	assert_int_equal(f->closed, 0);
}

static void
test_submitted_before_ready(void **state)
{
	struct fixture *f = *state;

	listen_on(f, f->path);
	f->target = disk_target_connect(f->path, "v0", SIZE, 2000, &callbacks, f);
	submit(f, DISK_OP_WRITE, 0, 1, 0, 1);
	settle();
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->requests, 1);
}

static void
assert_closed(struct fixture *f, enum ftd_error_code code)
{
	assert_int_equal(f->closed, 1);
	assert_true(g_error_matches(f->failure, FTD_ERROR, code));
	assert_int_equal(f->done->len, 0);
	settle();
	assert_int_equal(f->closed, 1);
}

static void
test_nobody_listens(void **state)
{
	struct fixture *f = *state;

	f->target = disk_target_connect(f->path, "v0", SIZE, 2000, &callbacks, f);
	assert_int_equal(f->closed, 0);	/* not from inside the call */
	settle();
	assert_closed(f, FTD_ERROR_FAILED);
	assert_int_equal(f->ready, 0);
}

static void
test_wrong_size(void **state)
{
	struct fixture *f = *state;

	listen_on(f, f->path);
	f->target = disk_target_connect(f->path, "v0", SIZE + 512, 2000, &callbacks, f);
	settle();
	assert_closed(f, FTD_ERROR_IMAGE_SIZE);
	assert_int_equal(f->ready, 0);
}

static void
test_wrong_export(void **state)
{
	struct fixture *f = *state;

	listen_on(f, f->path);
	f->target = disk_target_connect(f->path, "v1", SIZE, 2000, &callbacks, f);
	settle();
	assert_closed(f, FTD_ERROR_FAILED);
}

static void
test_silent_server(void **state)
{
	struct fixture *f = *state;

	g_bytes_unref(nbd_server_take_output(f->server));	/* its greeting */
	listen_on(f, f->path);
	f->target = disk_target_connect(f->path, "v0", SIZE, 300, &callbacks, f);
	settle();
	assert_int_equal(f->closed, 0);
	g_usleep(310000);
	settle();
	assert_closed(f, FTD_ERROR_TIMEOUT);
}

static void
test_lost_connection(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	submit(f, DISK_OP_WRITE, 0, 1, 0, 1);
	submit(f, DISK_OP_WRITE, 0, 1, 0, 2);
	settle();
	g_io_stream_close(G_IO_STREAM(f->connection), NULL, NULL);
	settle();
	assert_closed(f, FTD_ERROR_FAILED);
	submit(f, DISK_OP_WRITE, 0, 1, 0, 3);	/* harmless */
	settle();
	assert_int_equal(f->done->len, 0);
}

static void
test_free_in_callbacks(void **state)
{
	struct fixture *f = *state;

	listen_on(f, f->path);
	f->free_when_ready = true;
	f->target = disk_target_connect(f->path, "v0", SIZE, 2000, &callbacks, f);
	submit(f, DISK_OP_WRITE, 0, 1, 0, 1);
	settle();
	assert_int_equal(f->ready, 1);
	assert_null(f->target);
	assert_int_equal(f->requests, 0);
}

static void
test_free_in_done(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	f->free_when_done = true;
	for (unsigned i = 0; i < 20; i++)
		submit(f, DISK_OP_WRITE, i, 1, 0, i);
	settle();
	submit(f, DISK_OP_WRITE, SIZE, 1, 0, 20);	/* these two are reported in one go */
	submit(f, DISK_OP_WRITE, SIZE, 1, 0, 21);
	settle();
	assert_null(f->target);
	assert_int_equal(f->done->len, 1);
}

static void
test_free_in_closed(void **state)
{
	struct fixture *f = *state;

	f->free_when_closed = true;
	f->target = disk_target_connect(f->path, "v0", SIZE, 2000, &callbacks, f);
	settle();
	assert_null(f->target);
	assert_int_equal(f->closed, 1);
}

static void
assert_read(struct fixture *f, unsigned i, gsize length, uint8_t first, uint8_t last)
{
	gsize n;
	const uint8_t *data;

	assert_true(i < f->read->len);
	data = g_bytes_get_data(g_ptr_array_index(f->read, i), &n);
	assert_int_equal(n, length);
	assert_int_equal(data[0], first);
	assert_int_equal(data[n - 1], last);
}

/* What was submitted before is read, what comes later is not; reads need not wait for each other. */
static void
test_reads_keep_the_order(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	submit(f, DISK_OP_WRITE, 0, 1000, 1, 1);
	disk_target_read(f->target, 999, 2, 100);	/* behind 1 */
	disk_target_read(f->target, 0, 50000, 101);	/* what a socket holds: the server's side sends it in one go */
	submit(f, DISK_OP_WRITE, 1000, 1, 3, 2);	/* behind both reads */
	settle();
	assert_int_equal(f->requests, 1);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 2);
	assert_true(f->request[0].op == NBD_OP_READ && f->request[1].op == NBD_OP_READ);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 1);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->requests, 1);
	answer(f, 0, 0);
	settle();
	assert_int_equal(f->done->len, 4);
	assert_int_equal(disk_target_in_flight(f->target), 0);
	assert_read(f, 0, 2, 1, 0xff);
	assert_read(f, 1, 50000, 1, 0xff);
	assert_int_equal(f->image[1000], 3);
}

static void
test_reads_that_fail(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	disk_target_read(f->target, SIZE - 1, 2, 100);
	disk_target_read(f->target, 0, 0, 101);
	disk_target_read(f->target, 0, 100, 102);
	settle();
	assert_int_equal(f->done->len, 2);
	assert_int_equal(f->last_error, EINVAL);
	answer(f, 0, 5);
	settle();
	assert_int_equal(f->done->len, 3);
	assert_int_equal(f->last_error, EIO);
	assert_int_equal(f->read->len, 0);
	assert_int_equal(f->closed, 0);
}

/* Whoever looks at the data may take its time: in between the rest of the main loop has a turn. */
static void
test_one_read_in_a_turn(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	for (unsigned i = 0; i < 5; i++)
		disk_target_read(f->target, SIZE, 1, 100 + i);
	for (unsigned i = 0, turns = 0; i < 5; turns++) {
		unsigned before = f->done->len;
		assert_true(turns < 50);
		g_main_context_iteration(NULL, FALSE);
		assert_true(f->done->len - before <= 1);
		i = f->done->len;
	}
}

/* What is known is told before the end is, and what was under way is not. */
static void
test_reads_and_a_lost_connection(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	disk_target_read(f->target, 0, SIZE, 100);
	settle();
	disk_target_read(f->target, SIZE, 1, 101);
	disk_target_read(f->target, SIZE, 1, 102);
	g_io_stream_close(G_IO_STREAM(f->connection), NULL, NULL);
	settle();
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->done->len, 2);
	assert_int_equal(f->read->len, 0);
}

static void
test_free_in_read(void **state)
{
	struct fixture *f = *state;

	connect_target(f);
	f->free_when_read = true;
	disk_target_read(f->target, 0, 10, 100);
	disk_target_read(f->target, 0, 10, 101);
	settle();
	answer(f, 0, 0);
	answer(f, 0, 0);
	settle();
	assert_null(f->target);
	assert_int_equal(f->done->len, 1);
}

#define test_on_fixture(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_on_fixture(test_operations_arrive), test_on_fixture(test_overlap_waits), test_on_fixture(test_limit_in_flight),
		test_on_fixture(test_large_writes), test_on_fixture(test_limit_of_bytes), test_on_fixture(test_out_of_range), test_on_fixture(test_submitted_before_ready),
		test_on_fixture(test_nobody_listens), test_on_fixture(test_wrong_size), test_on_fixture(test_wrong_export),
		test_on_fixture(test_silent_server), test_on_fixture(test_lost_connection), test_on_fixture(test_free_in_callbacks),
		test_on_fixture(test_free_in_done), test_on_fixture(test_free_in_closed), test_on_fixture(test_reads_keep_the_order),
		test_on_fixture(test_reads_that_fail), test_on_fixture(test_one_read_in_a_turn), test_on_fixture(test_reads_and_a_lost_connection),
		test_on_fixture(test_free_in_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
