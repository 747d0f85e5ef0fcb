/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file arbiter's own promises: a crash after any step, damaged and foreign files, a share that is not mounted, a server that hangs. */
#include "daemon/base/error.h"
#include "policy/arbiter-backend.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"
#define CRASHED 77
#define SECOND "00000000000000000002.json"

struct place {
	char *directory, *pair;
	struct arbiter *a;
};

static int
setup(void **state)
{
	struct place *p = g_new0(struct place, 1);
	g_autofree char *spec = NULL;

	p->directory = g_dir_make_tmp("ftd-arbiter-XXXXXX", NULL);
	p->pair = g_build_filename(p->directory, PAIR, NULL);
	spec = g_strconcat("file:", p->directory, NULL);
	p->a = arbiter_open(spec, "/nonexistent", NULL);
	*state = p;
	return p->a ? 0 : -1;
}

static void
empty(const char *path)
{
	g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
	const char *name;

	while (d && (name = g_dir_read_name(d))) {
		g_autofree char *full = g_build_filename(path, name, NULL);
		g_unlink(full);
	}
}

static int
teardown(void **state)
{
	struct place *p = *state;

	empty(p->pair);
	g_rmdir(p->pair);
	empty(p->directory);
	g_rmdir(p->directory);
	arbiter_unref(p->a);
	g_free(p->directory);
	g_free(p->pair);
	g_free(p);
	return 0;
}

static struct arbiter_record
claim_of(uint64_t generation, const char *host)
{
	struct arbiter_record r = { .pair = PAIR, .generation = generation, .reason = "test" };

	g_strlcpy(r.active, host, sizeof r.active);
	g_strlcpy(r.nonce, host, sizeof r.nonce);
	return r;
}

static enum arbiter_verdict
claim(struct arbiter *a, uint64_t generation, const char *host)
{
	struct arbiter_record c = claim_of(generation, host);

	return arbiter_claim(a, &c, NULL, NULL);
}

static void
put(const struct place *p, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(p->pair, name, NULL);

	assert_true(g_file_set_contents(path, text, -1, NULL));
}

static unsigned
files_in(const char *path)
{
	g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
	unsigned n = 0;

	while (d && g_dir_read_name(d))
		n++;
	return n;
}

/* -- crashes ------------------------------------------------------------------------------------------------------------------------ */

static void
crash_at(const char *step, gpointer data)
{
	int *left = data;

	if (--*left == 0)
		_exit(CRASHED);
}

/* Claims in a process that dies after its nth step. False: it came to the end before. */
static bool
claim_and_crash(struct arbiter *a, uint64_t generation, const char *host, int n)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		a->after_step = crash_at;
		a->after_step_data = &n;
		_exit(claim(a, generation, host));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CRASHED)
		return true;
	assert_int_equal(WEXITSTATUS(status), ARBITER_GRANTED);
	return false;
}

/* Who comes after the crash: the same claimant again, or the other. Both must find a register that is whole. */
static void
after_crash(struct place *p, uint64_t generation, bool same, unsigned *stood)
{
	struct arbiter_record r = { 0 };
	int found = arbiter_read(p->a, PAIR, &r, NULL);
	bool written = found == 1 && r.generation == generation;

	assert_int_equal(found, written || generation > 1);
	assert_true(written || r.generation == generation - 1);
	*stood += written;
	if (same) {
		assert_int_equal(claim(p->a, generation, "a"), ARBITER_GRANTED);
		assert_int_equal(claim(p->a, generation, "b"), ARBITER_DENIED);
	} else {
		assert_int_equal(claim(p->a, generation, "b"), written ? ARBITER_DENIED : ARBITER_GRANTED);
		assert_int_equal(claim(p->a, generation, "a"), written ? ARBITER_GRANTED : ARBITER_DENIED);
	}
}

static void
crash_everywhere(struct place *p, uint64_t generation, bool same, int min_steps)
{
	unsigned stood = 0;
	int n = 1;

	for (;; n++) {
		for (uint64_t g = 1; g < generation; g++)
			assert_int_equal(claim(p->a, g, "a"), ARBITER_GRANTED);
		bool crashed = claim_and_crash(p->a, generation, "a", n);
		after_crash(p, generation, same, &stood);
		assert_true(arbiter_forget(p->a, PAIR, NULL));
		assert_int_equal(files_in(p->directory), 0);
		if (!crashed)
			break;
	}
	assert_true(n > min_steps);			/* every step was a crash once */
	assert_true(stood >= 3 && (int)stood < n);	/* ... some before the record stood, some after */
}

static void
test_crash_at_every_step(void **state)
{
	crash_everywhere(*state, 1, true, 8);
	crash_everywhere(*state, 1, false, 8);
	crash_everywhere(*state, 2, true, 6);
	crash_everywhere(*state, 2, false, 6);
}

/* Forgetting goes from the oldest on: until the end the newest record stands, so nobody is granted an old generation. */
static void
test_crash_while_forgetting(void **state)
{
	struct place *p = *state;
	struct arbiter_record r;

	for (int n = 1; n <= 2; n++) {
		for (uint64_t g = 1; g <= 3; g++)
			claim(p->a, g, "a");
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			p->a->after_step = crash_at;
			p->a->after_step_data = &n;
			arbiter_forget(p->a, PAIR, NULL);
			_exit(0);
		}
		assert_int_equal(waitpid(child, NULL, 0), child);
		assert_int_equal(arbiter_read(p->a, PAIR, &r, NULL), 1);
		assert_int_equal(r.generation, 3);
		assert_int_equal(claim(p->a, 1, "b"), ARBITER_DENIED);
		assert_true(arbiter_forget(p->a, PAIR, NULL));
	}
}

/* -- damaged and foreign ---------------------------------------------------------------------------------------------------------------- */

static void
expect_silent(struct place *p, uint64_t generation, const char *text)
{
	struct arbiter_record c = claim_of(generation, "b"), r;
	g_autoptr(GError) claim_error = NULL, read_error = NULL;

	assert_int_equal(arbiter_claim(p->a, &c, &r, &claim_error), ARBITER_SILENT);
	assert_true(g_error_matches(claim_error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT));
	if (!strstr(claim_error->message, text))
		fail_msg("'%s' does not say '%s'", claim_error->message, text);
	assert_int_equal(arbiter_read(p->a, PAIR, &r, &read_error), -1);
	assert_true(g_error_matches(read_error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT));
}

static void
test_a_damaged_record_is_no_free_generation(void **state)
{
	struct place *p = *state;
	g_autofree char *path = g_build_filename(p->pair, SECOND, NULL);
	struct arbiter_record other = claim_of(2, "a");
	g_autofree char *whole = arbiter_record_encode(&other);
	g_autofree char *torn = g_strndup(whole, strlen(whole) / 2);

	assert_int_equal(claim(p->a, 1, "a"), ARBITER_GRANTED);
	put(p, SECOND, "");
	expect_silent(p, 2, "damaged");
	put(p, SECOND, torn);
	expect_silent(p, 2, "damaged");
	expect_silent(p, 3, "");
	other.generation = 9;
	g_autofree char *misplaced = arbiter_record_encode(&other);
	put(p, SECOND, misplaced);
	expect_silent(p, 2, "generation 9");
	assert_int_equal(g_unlink(path), 0);
	assert_int_equal(symlink("/dev/zero", path), 0);
	expect_silent(p, 2, SECOND);
	assert_int_equal(g_unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);	/* would hang whoever opens it */
	expect_silent(p, 2, SECOND);
	assert_int_equal(g_unlink(path), 0);
	put(p, SECOND, whole);
	assert_int_equal(claim(p->a, 2, "b"), ARBITER_DENIED);
}

static void
test_other_names_are_no_records(void **state)
{
	struct place *p = *state;
	struct arbiter_record r;

	assert_int_equal(claim(p->a, 1, "a"), ARBITER_GRANTED);
	put(p, ".claim-2-x-y", "half a rec");
	put(p, "2.json", "{}");
	put(p, SECOND "~", "{}");
	put(p, "0000000000000000000x.json", "{}");
	put(p, "00000000000000000000.json", "{}");
	put(p, ".nfs0001", "x");
	assert_int_equal(arbiter_read(p->a, PAIR, &r, NULL), 1);
	assert_int_equal(r.generation, 1);
	assert_int_equal(claim(p->a, 2, "b"), ARBITER_GRANTED);
	assert_int_equal(claim(p->a, 2, "a"), ARBITER_DENIED);
}

static void
test_old_claims_are_swept(void **state)
{
	struct place *p = *state;
	g_autofree char *old = g_build_filename(p->pair, ".claim-2-x-old", NULL);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000000 } };

	assert_int_equal(claim(p->a, 1, "a"), ARBITER_GRANTED);
	put(p, ".claim-2-x-new", "x");
	put(p, ".claim-2-x-old", "x");
	assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
	assert_int_equal(claim(p->a, 2, "a"), ARBITER_GRANTED);
	assert_int_equal(g_access(old, F_OK), -1);
	assert_int_equal(files_in(p->pair), 3);		/* two records, and the claim that may still be under way */
}

/* -- the directory ------------------------------------------------------------------------------------------------------------------------ */

static void
test_no_directory(void **state)
{
	g_autoptr(arbiter) a = arbiter_open("file:/nonexistent/ftd", "/nonexistent", NULL);
	struct arbiter_record c = claim_of(1, "a"), r;
	g_autoptr(GError) error = NULL, probe_error = NULL;

	assert_int_equal(arbiter_claim(a, &c, &r, &error), ARBITER_SILENT);
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT));
	assert_non_null(strstr(error->message, "mount the share or create it"));
	assert_int_equal(arbiter_read(a, PAIR, &r, NULL), -1);
	assert_false(arbiter_probe_read(a, "n", &probe_error));
	assert_true(g_error_matches(probe_error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT));
}

/* An unmounted share is an empty directory: it must not grant what the real one would deny. */
static void
test_not_mounted(void **state)
{
	struct place *p = *state;
	struct arbiter_record c = claim_of(8, "a");
	g_autoptr(GError) error = NULL;

	assert_int_equal(arbiter_claim(p->a, &c, NULL, &error), ARBITER_SILENT);
	assert_non_null(strstr(error->message, "the directory that the pair was formed with"));
	assert_int_equal(files_in(p->directory), 0);
}

/* -- a server that hangs -------------------------------------------------------------------------------------------------------------------- */

struct server {
	GMutex lock;
	GCond changed;
	bool hangs;
	unsigned waiting;
};

static void
hang(const char *step, gpointer data)
{
	struct server *s = data;

	if (strcmp(step, "sync") != 0)
		return;
	g_mutex_lock(&s->lock);
	s->waiting++;
	g_cond_broadcast(&s->changed);
	while (s->hangs)
		g_cond_wait(&s->changed, &s->lock);
	g_mutex_unlock(&s->lock);
}

struct answers {
	unsigned calls, silent, limit;
};

static void
answered(enum arbiter_verdict verdict, const struct arbiter_record *holder, const GError *error, gpointer user_data)
{
	struct answers *a = user_data;

	a->calls++;
	a->silent += verdict == ARBITER_SILENT;
	a->limit += g_error_matches(error, FTD_ERROR, FTD_ERROR_LIMIT);
}

static void
wait_for(const unsigned *calls, unsigned n)
{
	while (*calls < n)
		g_main_context_iteration(NULL, TRUE);
}

static void
claim_of_a_hanging_server(struct place *p)
{
	struct server s = { .hangs = true };
	struct answers got = { 0 };
	struct arbiter_record c = claim_of(1, "a");

	g_mutex_init(&s.lock);
	g_cond_init(&s.changed);
	p->a->after_step = hang;
	p->a->after_step_data = &s;
	for (unsigned i = 0; i < ARBITER_MAX_THREADS + 2; i++)
		arbiter_claim_async(p->a, &c, 30, answered, &got);
	assert_int_equal(got.calls, 0);
	wait_for(&got.calls, ARBITER_MAX_THREADS + 2);
	assert_int_equal(got.silent, ARBITER_MAX_THREADS + 2);
	assert_int_equal(got.limit, 2);

	/* The server is back: the old claims end, nobody hears of them, and the same nonce finds out. */
	g_mutex_lock(&s.lock);
	while (s.waiting < ARBITER_MAX_THREADS)
		g_cond_wait(&s.changed, &s.lock);
	s.hangs = false;
	g_cond_broadcast(&s.changed);
	g_mutex_unlock(&s.lock);
	while (g_atomic_int_get(&p->a->threads) > 0)
		g_usleep(1000);
	while (g_atomic_int_get(&p->a->refs) > 1)
		g_main_context_iteration(NULL, FALSE);
	assert_int_equal(got.calls, ARBITER_MAX_THREADS + 2);
	arbiter_claim_async(p->a, &c, 10000, answered, &got);
	wait_for(&got.calls, ARBITER_MAX_THREADS + 3);
	assert_int_equal(got.silent, ARBITER_MAX_THREADS + 2);
	while (g_atomic_int_get(&p->a->refs) > 1)
		g_main_context_iteration(NULL, FALSE);
	g_mutex_clear(&s.lock);
	g_cond_clear(&s.changed);
}

static void
test_hanging_server(void **state)
{
	claim_of_a_hanging_server(*state);
}

/* The same when another thread makes those of the claims. */
static void
test_hanging_server_with_starter(void **state)
{
	struct place *p = *state;

	arbiter_keep_priority(p->a);
	claim_of_a_hanging_server(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_crash_at_every_step, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash_while_forgetting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_damaged_record_is_no_free_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_names_are_no_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_claims_are_swept, setup, teardown),
		cmocka_unit_test(test_no_directory),
		cmocka_unit_test_setup_teardown(test_not_mounted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hanging_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hanging_server_with_starter, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
