/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The output commit rule, in both directions: what may leave leaves, and what may not aborts. */
#include "tests/proxy/cmocka-setup.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/frame.h"
#include "tests/proxy/frame-builder.h"

enum mode { UNPROTECTED, PROTECTED, FROZEN, BYPASSED, NEVER, BYPASSED_FROZEN };

static const struct {
	const char *what;
	enum mode mode;		/* epochs <= 5 are committed */
	uint64_t epoch;		/* of the frame */
	struct release_evidence evidence;
	bool leaves;
} table[] = {
	{ "solo", UNPROTECTED, 6, { .reason = RELEASE_UNPROTECTED }, true },
	{ "solo, but there is a pair", PROTECTED, 6, { .reason = RELEASE_UNPROTECTED }, false },
	{ "solo, but the peer is only lost", FROZEN, 6, { .reason = RELEASE_UNPROTECTED }, false },

	{ "committed", PROTECTED, 5, { .reason = RELEASE_COMMITTED }, true },
	{ "committed long ago", PROTECTED, 1, { .reason = RELEASE_COMMITTED }, true },
	{ "committed, peer lost", FROZEN, 5, { .reason = RELEASE_COMMITTED }, true },
	{ "not committed yet", PROTECTED, 6, { .reason = RELEASE_COMMITTED }, false },
	{ "committed without a pair", UNPROTECTED, 5, { .reason = RELEASE_COMMITTED }, false },

	{ "same datagram", PROTECTED, 6, { .reason = RELEASE_SAME, .epoch = 6, .same = true }, true },
	{ "same, but in the epoch before", PROTECTED, 6, { .reason = RELEASE_SAME, .epoch = 5, .same = true }, false },
	{ "same, but in the epoch after", PROTECTED, 6, { .reason = RELEASE_SAME, .epoch = 7, .same = true }, false },
	{ "not the same", PROTECTED, 6, { .reason = RELEASE_SAME, .epoch = 6 }, false },
	{ "same, peer lost", FROZEN, 6, { .reason = RELEASE_SAME, .epoch = 6, .same = true }, false },
	{ "same without a pair", UNPROTECTED, 6, { .reason = RELEASE_SAME, .epoch = 6, .same = true }, false },

	{ "stream compared to the segment's end", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .in_stream = true, .end = 5, .compared = 5 }, true },
	{ "stream compared across the wrap", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .in_stream = true, .end = 0xffffffffu, .compared = 5 }, true },
	{ "stream not compared far enough", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .in_stream = true, .end = 6, .compared = 5 }, false },
	{ "ACK as far as the SVM's", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .acknowledges = true, .ack = 9, .acknowledged = 9 }, true },
	{ "ACK beyond the SVM's", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .acknowledges = true, .ack = 10, .acknowledged = 9 }, false },
	{ "urgent as far as the SVM's", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .marks = true, .mark = 9, .marked = 9 }, true },
	{ "urgent beyond the SVM's", PROTECTED, 6,
	  { .reason = RELEASE_SAME, .epoch = 6, .same = true, .marks = true, .mark = 10, .marked = 9 }, false },

	{ "bypassed", BYPASSED, 6, { .reason = RELEASE_BYPASS }, true },
	{ "bypassed, but no pattern says so", PROTECTED, 6, { .reason = RELEASE_BYPASS }, false },
	{ "bypassed, but a pattern says never", NEVER, 6, { .reason = RELEASE_BYPASS }, false },
	{ "bypassed, peer lost", BYPASSED_FROZEN, 6, { .reason = RELEASE_BYPASS }, false },
	{ "bypassed without a pair", UNPROTECTED, 6, { .reason = RELEASE_BYPASS }, false },

	{ "no reason", UNPROTECTED, 6, { .reason = RELEASE_LAST }, false },
};

static void
put_through(unsigned i)
{
	struct output_gate gate = { 0 };
	struct frame_pool pool = { 0 };
	g_autoptr(GBytes) bytes = udp_frame(1, "x");
	struct frame *f = frame_new(&pool, 0, table[i].epoch, bytes);
	struct flow_patterns patterns = { 0 };

	gate.patterns = &patterns;
	frame_parse(f);
	if (table[i].mode == BYPASSED || table[i].mode == BYPASSED_FROZEN || table[i].mode == NEVER)
		assert_true(flow_patterns_add(&patterns, FLOW_BYPASS, "udp:1", NULL));
	if (table[i].mode == NEVER)
		assert_true(flow_patterns_add(&patterns, FLOW_NEVER_COMPARE, "udp", NULL));
	if (table[i].mode != UNPROTECTED) {
		output_gate_protect(&gate, 3);
		output_gate_commit(&gate, 5);
	}
	if (table[i].mode == FROZEN || table[i].mode == BYPASSED_FROZEN)
		output_gate_freeze(&gate);
	output_gate_release(&gate, f, &table[i].evidence);
	assert_ptr_equal(output_gate_next(&gate), f);
	assert_null(output_gate_next(&gate));
	assert_int_equal(gate.frames[table[i].evidence.reason], 1);
	assert_int_equal(gate.bytes[table[i].evidence.reason], g_bytes_get_size(bytes));
	frame_free(&pool, f);
	frame_pool_clear(&pool);
}

/* In a child: the way out of a wrong release is the end of the process. */
static bool
aborts(unsigned i)
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		put_through(i);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void
test_rule(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		if (table[i].leaves)
			put_through(i);
		else if (!aborts(i))
			fail_msg("left: %s", table[i].what);
	}
}

static void
test_names(void **state)
{
	assert_string_equal(release_reason_name(RELEASE_UNPROTECTED), "unprotected");
	assert_string_equal(release_reason_name(RELEASE_SAME), "same");
	assert_string_equal(release_reason_name(RELEASE_COMMITTED), "committed");
	assert_string_equal(release_reason_name(RELEASE_BYPASS), "bypass");
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rule), cmocka_unit_test(test_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
