/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every kind of arbiter that decides by itself must do, written against arbiter-io.h only; a new kind joins by a line in kinds[].
 * etcd: the one of FTD_TEST_ETCD (a spec without prefix; certificates in FTD_TEST_PKI), else a member started here on loopback when etcd is installed.
 */
#include "daemon/base/error.h"
#include "policy/arbiter-io.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"
#define OTHER_PAIR "00000000-9d3b-4c55-8a1e-0123456789ab"
#define RACERS 8
#define ROUNDS 12

struct fixture {
	char *place;		/* the kind's own */
	const char *pki;
	struct arbiter *a;
};

static char *
file_setup(struct fixture *f)
{
	f->place = g_dir_make_tmp("ftd-arbiter-XXXXXX", NULL);
	return g_strconcat("file:", f->place, NULL);
}

static void
file_teardown(struct fixture *f)
{
	arbiter_forget(f->a, PAIR, NULL);
	arbiter_forget(f->a, OTHER_PAIR, NULL);
	assert_int_equal(g_rmdir(f->place), 0);		/* nothing else was left behind */
}

/* -- etcd -------------------------------------------------------------------------------------------------------------------------- */

static struct { char *spec, *directory; pid_t pid; } member;

static guint16
free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void
member_run(const char *client, const char *peer)
{
	g_autofree char *log = g_build_filename(member.directory, "log", NULL), *cluster = g_strconcat("t=", peer, NULL);
	g_autofree char *data = g_build_filename(member.directory, "data", NULL);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		_exit(1);
	execlp("etcd", "etcd", "--name", "t", "--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
	       "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, (char *)NULL);
	_exit(1);
}

static bool
member_answers(void)
{
	g_autoptr(arbiter) a = arbiter_open(member.spec, "/nonexistent", NULL);
	struct arbiter_record r;

	return arbiter_read(a, PAIR, &r, NULL) == 0;
}

/* False: there is no etcd to test with. */
static bool
etcd_available(void)
{
	g_autofree char *program = g_find_program_in_path("etcd"), *client = NULL, *peer = NULL;

	if (member.spec || g_getenv("FTD_TEST_ETCD")) {
		if (!member.spec)
			member.spec = g_strdup(g_getenv("FTD_TEST_ETCD"));
		return true;
	}
	if (!program)
		return false;
	client = g_strdup_printf("http://127.0.0.1:%u", free_port());
	peer = g_strdup_printf("http://127.0.0.1:%u", free_port());
	member.directory = g_dir_make_tmp("ftd-etcd-XXXXXX", NULL);
	member.spec = g_strconcat("etcd:", client, NULL);
	member.pid = fork();
	if (member.pid == 0)
		member_run(client, peer);
	for (unsigned i = 0; i < 200 && !member_answers(); i++)
		g_usleep(50000);
	return true;
}

static int
etcd_stop(void **state)
{
	g_autofree char *command = g_strdup_printf("rm -rf %s", member.directory);

	if (member.pid > 0) {
		kill(member.pid, SIGKILL);
		waitpid(member.pid, NULL, 0);
		assert_int_equal(system(command), 0);
	}
	g_free(member.spec);
	g_free(member.directory);
	return 0;
}

static char *
etcd_setup(struct fixture *f)
{
	static unsigned n;

	f->pki = g_getenv("FTD_TEST_PKI");
	return g_strdup_printf("%s?prefix=/ftd-test-%d-%u", member.spec, getpid(), n++);
}

static void
etcd_teardown(struct fixture *f)
{
	arbiter_forget(f->a, PAIR, NULL);
	arbiter_forget(f->a, OTHER_PAIR, NULL);
}

static bool
always(void)
{
	return true;
}

static const struct kind {
	const char *name;
	bool (*available)(void);
	char *(*setup)(struct fixture *f);	/* gives the spec */
	void (*teardown)(struct fixture *f);
} kinds[] = {
	{ "file", always, file_setup, file_teardown },
	{ "etcd", etcd_available, etcd_setup, etcd_teardown },
};

static struct arbiter_record
claim_of(uint64_t generation, const char *active, const char *standby, const char *nonce)
{
	struct arbiter_record r = { .pair = PAIR, .generation = generation, .reason = "test", .written_at = 1 };

	g_strlcpy(r.active, active, sizeof r.active);
	g_strlcpy(r.standby, standby, sizeof r.standby);
	g_strlcpy(r.nonce, nonce, sizeof r.nonce);
	return r;
}

/* The verdict of a claim; denied must name `holder`. */
static enum arbiter_verdict
claim(struct arbiter *a, uint64_t generation, const char *active, const char *standby, const char *holder)
{
	struct arbiter_record c = claim_of(generation, active, standby, active), standing;
	g_autoptr(GError) error = NULL;
	enum arbiter_verdict v = arbiter_claim(a, &c, &standing, &error);

	assert_int_equal(v == ARBITER_SILENT, error != NULL);
	if (v != ARBITER_SILENT)
		assert_string_equal(standing.active, holder);
	return v;
}

static void
test_a_pairs_life(struct fixture *f)
{
	struct arbiter_record r;

	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 0);
	assert_int_equal(claim(f->a, 1, "a", "b", "a"), ARBITER_GRANTED);
	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 1);
	assert_int_equal(r.generation, 1);
	assert_string_equal(r.standby, "b");
	assert_int_equal(claim(f->a, 2, "b", "", "b"), ARBITER_GRANTED);
	assert_int_equal(claim(f->a, 2, "b", "", "b"), ARBITER_GRANTED);	/* once more, as after a crash */
	assert_int_equal(claim(f->a, 2, "a", "", "b"), ARBITER_DENIED);
	assert_int_equal(claim(f->a, 3, "b", "a", "b"), ARBITER_GRANTED);	/* protected again, the other way round */
	assert_int_equal(claim(f->a, 2, "b", "", "b"), ARBITER_GRANTED);	/* both that one and the newest are ours */
	assert_int_equal(claim(f->a, 1, "b", "", "a"), ARBITER_DENIED);		/* the newest is, that one is not */
	assert_int_equal(claim(f->a, 1, "a", "b", "b"), ARBITER_DENIED);	/* that one was, the newest is not */
	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 1);
	assert_int_equal(r.generation, 3);
	assert_int_equal(arbiter_read(f->a, OTHER_PAIR, &r, NULL), 0);
}

/* A claim that skips generations was meant for another register: an empty one must not grant it. */
static void
test_gaps(struct fixture *f)
{
	struct arbiter_record r;

	assert_int_equal(claim(f->a, 2, "a", "", ""), ARBITER_SILENT);
	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 0);
	assert_int_equal(claim(f->a, 1, "a", "b", "a"), ARBITER_GRANTED);
	assert_int_equal(claim(f->a, 3, "a", "", ""), ARBITER_SILENT);
	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 1);
	assert_int_equal(r.generation, 1);
}

static void
test_forget(struct fixture *f)
{
	struct arbiter_record r;

	assert_true(arbiter_forget(f->a, PAIR, NULL));
	assert_int_equal(claim(f->a, 1, "a", "b", "a"), ARBITER_GRANTED);
	assert_int_equal(claim(f->a, 2, "a", "", "a"), ARBITER_GRANTED);
	assert_true(arbiter_forget(f->a, PAIR, NULL));
	assert_int_equal(arbiter_read(f->a, PAIR, &r, NULL), 0);
	assert_int_equal(claim(f->a, 1, "b", "a", "b"), ARBITER_GRANTED);
}

static void
test_probe(struct fixture *f)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GError) gone = NULL;

	assert_false(arbiter_probe_read(f->a, "n1", &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED));
	assert_true(arbiter_probe_write(f->a, "n1", NULL));
	assert_true(arbiter_probe_read(f->a, "n1", NULL));
	assert_false(arbiter_probe_read(f->a, "n2", NULL));
	arbiter_probe_remove(f->a, "n1");
	arbiter_probe_remove(f->a, "n1");
	assert_false(arbiter_probe_read(f->a, "n1", &gone));
	assert_true(g_error_matches(gone, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED));
}

static void
test_arguments(struct fixture *f)
{
	struct arbiter_record c = claim_of(1, "a", "b", "../../x"), r;
	g_autoptr(GError) claim_error = NULL, read_error = NULL;

	assert_int_equal(arbiter_claim(f->a, &c, &r, &claim_error), ARBITER_SILENT);
	assert_non_null(claim_error);
	assert_int_equal(arbiter_read(f->a, "../../etc", &r, &read_error), -1);
	assert_non_null(read_error);
	assert_false(arbiter_forget(f->a, "..", NULL));
	assert_false(arbiter_probe_write(f->a, "a/b", NULL));
	assert_false(arbiter_probe_read(f->a, "", NULL));
}

/* -- races ------------------------------------------------------------------------------------------------------------------------ */

struct racer {
	struct arbiter *a;
	uint64_t generation;
	unsigned me;
	gint *start;
	enum arbiter_verdict verdict;
	char holder[256];
};

static void
race(struct racer *r)
{
	g_autofree char *name = g_strdup_printf("host%u", r->me);
	struct arbiter_record c = claim_of(r->generation, name, "", name), standing;

	r->verdict = arbiter_claim(r->a, &c, &standing, NULL);
	g_strlcpy(r->holder, standing.active, sizeof r->holder);
}

static gpointer
racer_thread(gpointer data)
{
	struct racer *r = data;

	while (!g_atomic_int_get(r->start))
		g_thread_yield();
	race(r);
	return NULL;
}

static void
race_threads(struct fixture *f, uint64_t generation)
{
	struct racer racers[RACERS];
	GThread *threads[RACERS];
	struct arbiter_record newest;
	gint start = 0;
	unsigned granted = 0;

	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){ .a = f->a, .generation = generation, .me = i, .start = &start };
		threads[i] = g_thread_new("racer", racer_thread, &racers[i]);
	}
	g_atomic_int_set(&start, 1);
	for (unsigned i = 0; i < RACERS; i++)
		g_thread_join(threads[i]);
	assert_int_equal(arbiter_read(f->a, PAIR, &newest, NULL), 1);
	assert_int_equal(newest.generation, generation);
	for (unsigned i = 0; i < RACERS; i++) {
		assert_int_not_equal(racers[i].verdict, ARBITER_SILENT);
		assert_string_equal(racers[i].holder, newest.active);
		granted += racers[i].verdict == ARBITER_GRANTED;
	}
	assert_int_equal(granted, 1);
}

static void
test_threads(struct fixture *f)
{
	for (uint64_t g = 1; g <= ROUNDS; g++)
		race_threads(f, g);
}

static void
race_processes(struct fixture *f, uint64_t generation)
{
	pid_t children[RACERS];
	int gate[2], status;
	unsigned granted = 0;
	char c;

	assert_int_equal(pipe(gate), 0);
	for (unsigned i = 0; i < RACERS; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i] == 0) {
			struct racer r = { .a = f->a, .generation = generation, .me = i };
			close(gate[1]);
			if (read(gate[0], &c, 1) == 0)	/* until the parent lets go */
				race(&r);
			_exit(r.verdict);
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (unsigned i = 0; i < RACERS; i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) != ARBITER_SILENT);
		granted += WEXITSTATUS(status) == ARBITER_GRANTED;
	}
	assert_int_equal(granted, 1);
}

static void
test_processes(struct fixture *f)
{
	for (uint64_t g = 1; g <= ROUNDS / 3; g++)
		race_processes(f, g);
}

/* -- with a deadline ---------------------------------------------------------------------------------------------------------------- */

struct answer {
	unsigned calls;
	enum arbiter_verdict verdict;
	char holder[256];
	GThread *thread;
};

static void
answered(enum arbiter_verdict verdict, const struct arbiter_record *holder, const GError *error, gpointer user_data)
{
	struct answer *a = user_data;

	a->calls++;
	a->verdict = verdict;
	a->thread = g_thread_self();
	assert_int_equal(verdict == ARBITER_SILENT, holder == NULL);
	assert_int_equal(verdict == ARBITER_SILENT, error != NULL);
	if (holder)
		g_strlcpy(a->holder, holder->active, sizeof a->holder);
}

static void
test_async(struct fixture *f)
{
	GMainContext *own = g_main_context_new();
	struct arbiter_record first = claim_of(1, "a", "b", "a"), second = claim_of(1, "b", "a", "b");
	struct answer got[2] = { 0 };

	g_main_context_push_thread_default(own);
	arbiter_keep_priority(f->a);
	arbiter_claim_async(f->a, &first, 10000, answered, &got[0]);
	assert_int_equal(got[0].calls, 0);
	while (!got[0].calls)
		g_main_context_iteration(own, TRUE);
	arbiter_claim_async(f->a, &second, 10000, answered, &got[1]);
	while (!got[1].calls)
		g_main_context_iteration(own, TRUE);
	while (g_main_context_iteration(own, FALSE))
		;
	assert_int_equal(got[0].verdict, ARBITER_GRANTED);
	assert_int_equal(got[1].verdict, ARBITER_DENIED);
	assert_string_equal(got[1].holder, "a");
	assert_int_equal(got[0].calls + got[1].calls, 2);
	assert_ptr_equal(got[0].thread, g_thread_self());
	g_main_context_pop_thread_default(own);
	g_main_context_unref(own);
}

/* -- runner ------------------------------------------------------------------------------------------------------------------------- */

static void (*const conformance[])(struct fixture *f) = {
	test_a_pairs_life, test_gaps, test_forget, test_probe, test_arguments, test_threads, test_processes, test_async,
};

static void
test_conformance(void **state)
{
	const struct kind *kind = *state;

	if (!kind->available()) {
		print_message("no %s to test with: install etcd-server or set FTD_TEST_ETCD\n", kind->name);
		skip();
	}
	for (size_t t = 0; t < G_N_ELEMENTS(conformance); t++) {
		struct fixture f = { 0 };
		g_autofree char *spec = kind->setup(&f);
		f.a = arbiter_open(spec, f.pki ? f.pki : "/nonexistent", NULL);
		assert_non_null(f.a);
		assert_string_equal(arbiter_kind(f.a), kind->name);
		assert_string_equal(arbiter_spec(f.a), spec);
		conformance[t](&f);
		kind->teardown(&f);
		arbiter_unref(f.a);
		g_free(f.place);
	}
}

static void
test_specs(void **state)
{
	static const char *const wrong[] = { "", "file", "file:", "file:relative", "filex:/srv", "nfs:/srv", ":/srv", "/srv/ftd", "etcd", "etcd:", "etcd:h1:2379",
		"etcd:http://h1:2379", "manual", "manual:", "manual:relative" };

	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_autoptr(GError) error = NULL;
		assert_null(arbiter_open(wrong[i], "/etc/pki", &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_CONFIG));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_conformance, (void *)&kinds[0]),
		cmocka_unit_test_prestate(test_conformance, (void *)&kinds[1]),
		cmocka_unit_test(test_specs),
	};
	return cmocka_run_group_tests(tests, NULL, etcd_stop);
}
