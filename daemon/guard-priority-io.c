/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the main thread's priority is, and when. The guest waits for us between VMSTATE_SEND and LOADED, the peer judges us by our heartbeats, and on a busy host a nice
 * value is worth nothing against another session's or slice's processes (sched(7), "The autogroup feature"): 70 ms without the CPU were seen. So it is a real-time one,
 * but for the times that moderation.h names. What we do is bounded by what QEMU and the peer send; the kernel keeps a twentieth of the time for others
 * (sched_rt_runtime_us).
 *
 * The way back. A thread without privileges may leave the real-time class and not enter it. So once the main thread has left, it inherits that priority when it is to have
 * it: it always holds a mutex with priority inheritance (futex(2), FUTEX_LOCK_PI), and a second thread, which has never left, waits for that mutex. To be ordinary the main
 * thread lets go of it for a moment, and the other one, having got it, only watches then whether the main loop still turns; asked, or when it does not, it waits for the
 * mutex again.
 *
 *   other thread    PUSHES (waits for the mutex) --gets it, lets go--> WATCHES --asked, or no turn for too long--> PUSHES
 *   main thread     has its priority                                  is ordinary
 *
 * Each thread writes what the other reads with atomic operations; a step that the other thread has not seen yet is said again in the next turn of the loop.
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

#define LOOK_NS 5000000
#define PATIENCE_DIV 6     /* of the time after which the peer suspects us: without a turn for as long the loop gets no CPU */
#define SUSPECT_MIN_MS 100 /* below it there is no time for that */
#define NICE (-15)

enum other { PUSHES, WATCHES };

static struct {
	bool real_time; /* we have it */
	bool left;      /* the main thread has left the class: what it has of it is inherited */
	struct guard_io *io;
	struct moderation moderation;
	unsigned patience;    /* looks */
	pthread_mutex_t held; /* by the main thread, but for moments */
	sem_t asked;
	gint other, asks, turns, starved; /* atomic */
} priority;

static bool
set_policy(int policy)
{
	const struct sched_param p = {.sched_priority = policy == SCHED_RR ? sched_get_priority_min(SCHED_RR) : 0};

	return sched_setscheduler(0, policy, &p) == 0;
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
		until.tv_nsec += LOOK_NS;
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
	for (;;) {
		g_atomic_int_set(&priority.other, PUSHES);
		pthread_mutex_lock(&priority.held);
		pthread_mutex_unlock(&priority.held);
		g_atomic_int_set(&priority.other, WATCHES);
		await_need();
	}
	return NULL;
}

/* -- the main thread ------------------------------------------------------------------------------------------------------------- */

static void
become_ordinary(void)
{
	if (!priority.left && !set_policy(SCHED_OTHER)) {
		log_debug("guard", "sched_setscheduler: %s", g_strerror(errno));
		return;
	}
	priority.left = true;
	pthread_mutex_unlock(&priority.held); /* to the other thread, if it waits already */
	pthread_mutex_lock(&priority.held);
}

static void
become_prompt(void)
{
	if (priority.left && g_atomic_int_get(&priority.other) == WATCHES && g_atomic_int_compare_and_exchange(&priority.asks, 0, 1))
		sem_post(&priority.asked);
}

/* Once in each turn of the loop, before it waits. */
static gboolean
look(GSource *source, gint *timeout)
{
	uint64_t now = guard_io_now();

	*timeout = -1;
	g_atomic_int_inc(&priority.turns);
	if (g_atomic_int_compare_and_exchange(&priority.starved, 1, 0))
		moderation_starved(&priority.moderation, now);
	if (!moderation_step(&priority.moderation, now, priority.io->handled, guard_is_urgent(priority.io->guard)))
		become_prompt();
	else if (g_atomic_int_get(&priority.other) == PUSHES)
		become_ordinary();
	return FALSE;
}

static gboolean
never(GSource *source)
{
	return FALSE;
}

static GSourceFuncs look_funcs = {.prepare = look, .check = never};

static bool
make_lever(void)
{
	pthread_mutexattr_t inherits;
	bool ok = pthread_mutexattr_init(&inherits) == 0 && pthread_mutexattr_setprotocol(&inherits, PTHREAD_PRIO_INHERIT) == 0 &&
		  pthread_mutex_init(&priority.held, &inherits) == 0 && sem_init(&priority.asked, 0, 0) == 0 && pthread_mutex_lock(&priority.held) == 0;

	pthread_mutexattr_destroy(&inherits);
	return ok;
}

void
priority_moderate(struct guard_io *io)
{
	bool moderated = priority.real_time && io->config->suspect_ms >= SUSPECT_MIN_MS && make_lever();
	GSource *source;

	log_info("guard", "%s", moderated ? "real-time priority, moderated" : priority.real_time ? "real-time priority" : "no real-time priority is to be had");
	if (!moderated)
		return;
	priority.io = io;
	priority.patience = io->config->suspect_ms * 1000000 / PATIENCE_DIV / LOOK_NS;
	g_thread_unref(g_thread_new("priority", push_and_watch, NULL));
	source = g_source_new(&look_funcs, sizeof(GSource));
	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_attach(source, NULL);
	g_source_unref(source);
}
