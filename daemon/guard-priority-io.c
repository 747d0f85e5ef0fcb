/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the main thread's priority is, and when. The guest waits for us between VMSTATE_SEND and LOADED, the peer judges us by our heartbeats, and on a busy host a nice
 * value is worth nothing against another session's or slice's processes (sched(7), "The autogroup feature"): 70 ms without the CPU were seen. So it is a real-time one,
 * but for the times that moderation.h names. Then a second thread, which has that priority always, looks whether the main loop still turns, and gives it back.
 * What we do is bounded by what QEMU and the peer send; the kernel keeps a twentieth of the time for others (sched_rt_runtime_us).
 */
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"
#include "daemon/moderation.h"

#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_US 5000
#define STARVED_LOOKS 5		/* the loop turns for each heartbeat; so many looks without a turn: it gets no CPU */
#define NICE (-15)

static struct {
	bool real_time;			/* we may */
	struct guard_io *io;
	struct moderation moderation;
	bool prompt;			/* the main thread's, as it has set it */
	pid_t main_thread;
	gint turns, starved;		/* atomic */
	GMutex lock;
	GCond changed;
	bool watched;
} priority;

static bool
set_policy(pid_t thread, int policy)
{
	const struct sched_param p = { .sched_priority = policy == SCHED_RR ? sched_get_priority_min(SCHED_RR) : 0 };

	return sched_setscheduler(thread, policy, &p) == 0;
}

void
priority_init(void)
{
	const struct rlimit lowest = { 1, 1 };

	/* Without privileges it may be taken again up to this limit. */
	priority.real_time = setrlimit(RLIMIT_RTPRIO, &lowest) == 0 && set_policy(0, SCHED_RR);
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0 && !priority.real_time)
		log_debug("guard", "setpriority: %s", g_strerror(errno));
	prctl(PR_SET_TIMERSLACK, 1);
	priority.prompt = true;
}

static gpointer
watch(gpointer user_data)
{
	gint last = 0;
	unsigned still = 0;

	for (;;) {
		gint turns;

		g_mutex_lock(&priority.lock);
		while (!priority.watched)
			g_cond_wait(&priority.changed, &priority.lock);
		g_mutex_unlock(&priority.lock);
		g_usleep(LOOK_US);
		turns = g_atomic_int_get(&priority.turns);
		still = turns == last ? still + 1 : 0;
		last = turns;
		if (still < STARVED_LOOKS)
			continue;
		still = 0;
		if (set_policy(priority.main_thread, SCHED_RR))
			g_atomic_int_set(&priority.starved, 1);
	}
	return NULL;
}

static void
set_prompt(bool prompt)
{
	if (!set_policy(0, prompt ? SCHED_RR : SCHED_OTHER))
		return;
	priority.prompt = prompt;
	g_mutex_lock(&priority.lock);
	priority.watched = !prompt;
	g_cond_signal(&priority.changed);
	g_mutex_unlock(&priority.lock);
}

/* Once in each turn of the loop. */
static gint
poll_moderately(GPollFD *fds, guint n, gint timeout)
{
	uint64_t now = guard_io_now();
	bool prompt;

	g_atomic_int_inc(&priority.turns);
	if (g_atomic_int_compare_and_exchange(&priority.starved, 1, 0)) {
		moderation_starved(&priority.moderation, now);
		set_prompt(true);
	}
	prompt = !moderation_step(&priority.moderation, now, priority.io->handled, guard_is_urgent(priority.io->guard));
	if (prompt != priority.prompt)
		set_prompt(prompt);
	return g_poll(fds, n, timeout);
}

void
priority_moderate(struct guard_io *io)
{
	if (!priority.real_time)
		return;
	priority.io = io;
	priority.main_thread = gettid();
	g_thread_unref(g_thread_new("priority", watch, NULL));
	g_main_context_set_poll_func(NULL, poll_moderately);
}
