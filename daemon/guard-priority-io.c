/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the main thread's priority is, and when. The guest waits for us between VMSTATE_SEND and LOADED, the peer judges us by our heartbeats, and on a busy host a nice
 * value is worth nothing against another session's or slice's processes (sched(7), "The autogroup feature"): 70 ms without the CPU were seen. So it is a real-time one,
 * but for the times that moderation.h names. Then a second thread, which has that priority always, looks whether the main loop still turns, and gives it back.
 * What we do is bounded by what QEMU and the peer send; the kernel keeps a twentieth of the time for others (sched_rt_runtime_us).
 *
 * The main thread never holds the lock without that priority: the other thread would wait for somebody who gets no CPU.
 */
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"
#include "daemon/moderation.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_US 5000
#define PATIENCE_DIV 6			/* of the time after which the peer suspects us: without a turn for as long the loop gets no CPU */
#define SUSPECT_MIN_MS 100		/* below it there is no time for that */
#define NICE (-15)

static struct {
	bool real_time, moderated;	/* we may */
	struct guard_io *io;
	struct moderation moderation;
	unsigned patience;		/* looks */
	bool prompt;			/* the main thread, as it has set it */
	pid_t main_thread;
	gint turns, starved;		/* atomic */
	GMutex lock;
	GCond changed;
	bool watched;
} priority = { .prompt = true };

static bool
set_policy(pid_t thread, int policy)
{
	const struct sched_param p = { .sched_priority = policy == SCHED_RR ? sched_get_priority_min(SCHED_RR) : 0 };

	return sched_setscheduler(thread, policy, &p) == 0;
}

/* Up to this limit it may be taken again without privileges. systemd sets it (LimitRTPRIO=); to raise it takes one that the service does not have. */
static bool
may_take_it_again(void)
{
	const struct rlimit lowest = { 1, 1 };
	struct rlimit now;

	return (getrlimit(RLIMIT_RTPRIO, &now) == 0 && now.rlim_cur > 0) || setrlimit(RLIMIT_RTPRIO, &lowest) == 0;
}

void
priority_init(void)
{
	priority.real_time = set_policy(0, SCHED_RR);
	priority.moderated = priority.real_time && may_take_it_again();
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0 && !priority.real_time)
		log_debug("guard", "setpriority: %s", g_strerror(errno));
}

static void
set_watched(bool watched)
{
	g_mutex_lock(&priority.lock);
	priority.watched = watched;
	g_cond_signal(&priority.changed);
	g_mutex_unlock(&priority.lock);
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
		if (still < priority.patience)
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
	if (!prompt)
		set_watched(true);
	if (set_policy(0, prompt ? SCHED_RR : SCHED_OTHER))
		priority.prompt = prompt;
	else
		log_debug("guard", "sched_setscheduler: %s", g_strerror(errno));
	if (priority.prompt)
		set_watched(false);
}

void
priority_now(void)
{
	if (!priority.prompt)
		set_prompt(true);
}

/* Once in each turn of the loop, before it waits. */
static gboolean
look(GSource *source, gint *timeout)
{
	uint64_t now = guard_io_now();
	bool prompt;

	*timeout = -1;
	g_atomic_int_inc(&priority.turns);
	if (g_atomic_int_compare_and_exchange(&priority.starved, 1, 0)) {
		moderation_starved(&priority.moderation, now);
		set_prompt(true);
	}
	prompt = !moderation_step(&priority.moderation, now, priority.io->handled, guard_is_urgent(priority.io->guard));
	if (prompt != priority.prompt)
		set_prompt(prompt);
	return FALSE;
}

static gboolean
never(GSource *source)
{
	return FALSE;
}

static GSourceFuncs look_funcs = { .prepare = look, .check = never };

void
priority_moderate(struct guard_io *io)
{
	GSource *source;

	priority.moderated = priority.moderated && io->config->suspect_ms >= SUSPECT_MIN_MS;
	log_info("guard", "%s", priority.moderated ? "real-time priority, moderated" : priority.real_time ? "real-time priority" : "no real-time priority is to be had");
	if (!priority.moderated)
		return;
	priority.io = io;
	priority.main_thread = getpid();
	priority.patience = io->config->suspect_ms * 1000 / PATIENCE_DIV / LOOK_US;
	g_thread_unref(g_thread_new("priority", watch, NULL));
	source = g_source_new(&look_funcs, sizeof(GSource));
	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_attach(source, NULL);
	g_source_unref(source);
}
