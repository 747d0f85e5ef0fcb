/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the main thread's priority is, and when. The guest waits for us between VMSTATE_SEND and LOADED, the peer judges us by our heartbeats, and on a busy host a nice
 * value is worth nothing against another session's or slice's processes (sched(7), "The autogroup feature"): 70 ms without the CPU were seen. So it is a real-time one,
 * but for the times that moderation.h names. What we do is bounded by what QEMU and the peer send; the kernel keeps a twentieth of the time for others
 * (sched_rt_runtime_us).
 *
 * The way back. A thread without privileges may leave the real-time class and not enter it. So once the main thread has left, it inherits that priority when it is to have
 * it: a second thread, which has never left, waits for a mutex with priority inheritance (futex(2), FUTEX_LOCK_PI) that the main thread holds. To be ordinary the main
 * thread lets go of it, and the other one, having got it, only watches then whether the main loop still turns; asked, or when it does not, it pushes again. There are two
 * such mutexes, in turn: the main thread takes the one that is free before it lets go of the other, so it waits for none and can always be pushed. What ps(1) and chrt(1)
 * tell is the class that it has left for good, and by what it inherits it is not made to take turns with other guards.
 *
 *   push number                1       2       3 ...     waits for the mutex that the main thread holds, gets it, lets go
 *   mutex                      0       1       0 ...
 *   leave number   (prompt)    1       2       3 ...     once that push has begun; the main thread is ordinary until the next push
 *
 * A push that has begun, and has not reached its mutex, finds it free: nobody is pushed.
 */
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"
#include "daemon/moderation.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <time.h>

#define LOOK_MS 5
#define NICE (-15)

static struct {
	bool real_time;		/* we have it */
	struct guard_io *io;
	struct moderation moderation;
	unsigned patience;	/* looks */
	pthread_mutex_t held[2];	/* [leaves & 1]: by the main thread */
	sem_t asked;
	guint leaves;		/* the main thread's */
	gint pushes, asks, turns, starved;	/* atomic */
} priority;

static bool
set_policy(int policy)
{
	const struct sched_param p = { .sched_priority = policy == SCHED_RR ? sched_get_priority_min(SCHED_RR) : 0 };

	return sched_setscheduler(0, policy, &p) == 0;
}

/* Equals of the real-time class take turns only every 100 ms (sched_rr_timeslice_ms), and by what is inherited not at all: a heartbeat would come as late as that. */
void
priority_take_turns(void)
{
	sched_yield();
}

void
priority_init(void)
{
	priority.real_time = set_policy(SCHED_RR);
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0 && !priority.real_time)
		log_debug("guard", "setpriority: %s", g_strerror(errno));
}

/* -- the other thread ------------------------------------------------------------------------------------------------------------ */

/* Until the main thread asks, or its loop has not turned for too long. */
static void
await_need(void)
{
	gint last = g_atomic_int_get(&priority.turns);
	unsigned still = 0;

	for (;;) {
		struct timespec until;
		gint turns;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_MS * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		if (sem_clockwait(&priority.asked, CLOCK_MONOTONIC, &until) == 0) {
			g_atomic_int_set(&priority.asks, 0);
			return;
		}
		turns = g_atomic_int_get(&priority.turns);
		still = turns == last ? still + 1 : 0;
		last = turns;
		if (still >= priority.patience) {
			g_atomic_int_set(&priority.starved, 1);
			return;
		}
	}
}

static gpointer
push_and_watch(gpointer user_data)
{
	for (guint push = 0;; push++) {
		g_atomic_int_set(&priority.pushes, (gint)(push + 1));
		pthread_mutex_lock(&priority.held[push & 1]);
		pthread_mutex_unlock(&priority.held[push & 1]);
		await_need();
	}
	return NULL;
}

/* -- the main thread ------------------------------------------------------------------------------------------------------------- */

/* The mutex that is taken is free: the push before this one is over. */
static void
become_ordinary(void)
{
	if (priority.leaves == 0 && !set_policy(SCHED_OTHER)) {
		log_debug("guard", "sched_setscheduler: %s", g_strerror(errno));
		return;
	}
	pthread_mutex_lock(&priority.held[(priority.leaves + 1) & 1]);
	pthread_mutex_unlock(&priority.held[priority.leaves & 1]);
	priority.leaves++;
}

static void
become_prompt(void)
{
	if (g_atomic_int_compare_and_exchange(&priority.asks, 0, 1))
		sem_post(&priority.asked);
}

/* Once in each turn of the loop, before it waits. */
static gboolean
look(GSource *source, gint *timeout)
{
	uint64_t now = guard_io_now();
	bool pushed, prompt;

	*timeout = -1;
	g_atomic_int_inc(&priority.turns);
	if (g_atomic_int_compare_and_exchange(&priority.starved, 1, 0))
		moderation_starved(&priority.moderation, now);
	pushed = (guint)g_atomic_int_get(&priority.pushes) == priority.leaves + 1;
	prompt = !moderation_step(&priority.moderation, now, priority.io->handled, guard_is_urgent(priority.io->guard));
	if (prompt && !pushed)
		become_prompt();
	else if (!prompt && pushed)
		become_ordinary();
	return FALSE;
}

static gboolean
never(GSource *source)
{
	return FALSE;
}

static GSourceFuncs look_funcs = { .prepare = look, .check = never };

static bool
make_lever(void)
{
	pthread_mutexattr_t inherits;
	bool ok = pthread_mutexattr_init(&inherits) == 0 && pthread_mutexattr_setprotocol(&inherits, PTHREAD_PRIO_INHERIT) == 0 &&
		  pthread_mutex_init(&priority.held[0], &inherits) == 0 && pthread_mutex_init(&priority.held[1], &inherits) == 0 &&
		  sem_init(&priority.asked, 0, 0) == 0 && pthread_mutex_lock(&priority.held[0]) == 0;

	pthread_mutexattr_destroy(&inherits);
	return ok;
}

void
priority_moderate(struct guard_io *io)
{
	unsigned patience = moderation_patience_ms(io->config->suspect_ms, io->config->heartbeat_ms);
	bool moderated = priority.real_time && patience && make_lever();
	GSource *source;

	log_info("guard", "%s", moderated ? "real-time priority, moderated" : priority.real_time ? "real-time priority" : "no real-time priority is to be had");
	if (!moderated)
		return;
	priority.io = io;
	priority.patience = MAX(1, patience / LOOK_MS);
	g_thread_unref(g_thread_new("priority", push_and_watch, NULL));
	source = g_source_new(&look_funcs, sizeof(GSource));
	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_attach(source, NULL);
	g_source_unref(source);
}
