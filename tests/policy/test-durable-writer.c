/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "policy/durable-writer-io.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A disk that answers when it is told to. */
static struct {
	GMutex lock;
	GCond changed;
	bool stuck, fails;
	unsigned writes;
	uint64_t generation;
} disk;

static bool
disk_write(const char *path, const struct durable_state *s, GError **error)
{
	bool ok;

	g_mutex_lock(&disk.lock);
	while (disk.stuck)
		g_cond_wait(&disk.changed, &disk.lock);
	disk.writes++;
	disk.generation = s->generation;
	ok = !disk.fails;
	g_cond_broadcast(&disk.changed);
	g_mutex_unlock(&disk.lock);
	if (!ok)
		g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC, "full");
	return ok;
}

static void
set_stuck(bool stuck)
{
	g_mutex_lock(&disk.lock);
	disk.stuck = stuck;
	g_cond_broadcast(&disk.changed);
	g_mutex_unlock(&disk.lock);
}

static void
test_answering_disk(void **state)
{
	struct durable_writer *w = durable_writer_new("x", disk_write);
	g_autoptr(GError) error = NULL;

	assert_true(durable_writer_write(w, &(struct durable_state){ .generation = 1 }, 10000, NULL));
	assert_int_equal(disk.generation, 1);
	disk.fails = true;
	assert_false(durable_writer_write(w, &(struct durable_state){ .generation = 2 }, 10000, &error));
	assert_true(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC));
	disk.fails = false;
	assert_true(durable_writer_write(w, &(struct durable_state){ .generation = 3 }, 10000, NULL));
	durable_writer_free(w);
}

/* The caller goes on; of several states that wait the newest is written, even after the owner has left. */
static void
test_stuck_disk(void **state)
{
	struct durable_writer *w = durable_writer_new("x", disk_write);
	g_autoptr(GError) error = NULL;
	gint64 start = g_get_monotonic_time();

	disk.writes = 0;
	set_stuck(true);
	assert_false(durable_writer_write(w, &(struct durable_state){ .generation = 10 }, 20, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_TIMEOUT));
	for (uint64_t n = 11; n < 20; n++)
		assert_false(durable_writer_write(w, &(struct durable_state){ .generation = n }, 1, NULL));
	assert_true(g_get_monotonic_time() - start < 5 * G_USEC_PER_SEC);
	durable_writer_free(w);
	set_stuck(false);
	g_mutex_lock(&disk.lock);
	while (disk.generation != 19)
		g_cond_wait(&disk.changed, &disk.lock);
	g_mutex_unlock(&disk.lock);
	assert_in_range(disk.writes, 1, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answering_disk),
		cmocka_unit_test(test_stuck_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
