/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real classes of real threads: skipped where nobody gives this process the real-time one. The guard is a flag that says whether it is urgent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/guard-io.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_PER_MS 20
#define SOON_MS 5000		/* some 20 ms, but for a loop that got no CPU, which is prompt for a second after */
#define SKIPPED 77

static struct guard_io io;
static bool urgent;
static unsigned load = FRAMES_PER_MS;

bool
guard_is_urgent(const struct guard *g)
{
	return urgent;
}

/* What the scheduler goes by, inherited or not: proc(5), /proc/pid/stat, priority. Negative: real-time. */
static bool
is_real_time(void)
{
	g_autofree char *stat = NULL;
	long priority;

	assert_true(g_file_get_contents("/proc/thread-self/stat", &stat, NULL, NULL));
	assert_int_equal(sscanf(strrchr(stat, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %ld", &priority), 1);
	return priority < 0;
}

static gboolean
frames_come(gpointer user_data)
{
	io.handled += load;
	return G_SOURCE_CONTINUE;
}

/* The main loop turns until the thread is of that class; false: it never is. */
static bool
becomes(bool real_time)
{
	gint64 end = g_get_monotonic_time() + SOON_MS * 1000;

	while (is_real_time() != real_time && g_get_monotonic_time() < end)
		g_main_context_iteration(NULL, TRUE);
	return is_real_time() == real_time;
}

static void
it_is_ordinary_while_frames_come_by_the_thousand(void **state)
{
	urgent = false;
	load = FRAMES_PER_MS;
	assert_true(becomes(false));
	load = 0;
	assert_true(becomes(true));
}

static void
it_is_prompt_when_somebody_waits(void **state)
{
	load = FRAMES_PER_MS;
	for (int i = 0; i < 50; i++) {
		urgent = false;
		assert_true(becomes(false));
		urgent = true;
		assert_true(becomes(true));
	}
}

/* A loop that gets no CPU looks like this one, which has something to do for ever. */
static void
it_is_given_its_priority_when_it_does_not_turn(void **state)
{
	gint64 end;

	urgent = false;
	assert_true(becomes(false));
	end = g_get_monotonic_time() + SOON_MS * 1000;
	while (!is_real_time() && g_get_monotonic_time() < end)
		;
	assert_true(is_real_time());
	end = g_get_monotonic_time() + 500 * 1000;
	while (g_get_monotonic_time() < end) {		/* and it keeps it for a while */
		g_main_context_iteration(NULL, TRUE);
		assert_true(is_real_time());
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_ordinary_while_frames_come_by_the_thousand),
		cmocka_unit_test(it_is_prompt_when_somebody_waits),
		cmocka_unit_test(it_is_given_its_priority_when_it_does_not_turn),
	};
	struct guard_config config = { .suspect_ms = 150, .heartbeat_ms = 20 };

	priority_init();
	if (sched_getscheduler(0) != SCHED_RR)
		return SKIPPED;
	io.config = &config;
	priority_moderate(&io);
	g_timeout_add(1, frames_come, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
