/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * One process, one thread, virtual time. Whatever happens is an event in a heap, ordered by time and then by the order of its making; chance comes
 * from one generator. So a seed tells the whole story, and replays it.
 *
 * Real: the guards (libguard: guard*.c and every core below it) and the judgement of the arbiter. Simulated: everything behind struct guard_env, as far
 * as its order and its failures matter: sockets are queues that a guard's main loop looks into in any order, a connection of the link keeps its order and
 * nothing is promised between two of them, QEMU speaks the bytes of the COLO stream and of the filters, and stops and drains as QEMU does.
 *
 * The guest is a ledger: each number that the client sends is hashed with the one before (and, now and then, with chance, so that the two copies go
 * apart), written to memory and to disk, and then answered. The answer tells the hash, so whoever answered has left a trace in what the client
 * knows; check.c compares that with the memory and the disk of whichever copy would take over now.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

/* splitmix64 (Steele, Lea, Flood 2014): every seed is a good one. */
static uint64_t
next(struct world *w)
{
	uint64_t z = w->rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t
rnd(struct world *w, uint64_t n)
{
	return n ? next(w) % n : 0;
}

uint64_t
between(struct world *w, uint64_t low, uint64_t high)
{
	return low + rnd(w, high - low + 1);
}

bool
chance(struct world *w, unsigned percent)
{
	return rnd(w, 100) < percent;
}

static bool
before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void
later(struct world *w, uint64_t delay, const struct event *event)
{
	struct event e = *event;
	size_t i;

	e.at = w->now + delay;
	e.order = ++w->order;
	if (w->heap_n == w->heap_size) {
		w->heap_size = w->heap_size ? 2 * w->heap_size : 256;
		w->heap = g_renew(struct event, w->heap, w->heap_size);
	}
	for (i = w->heap_n++; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct event
take_first(struct world *w)
{
	struct event first = w->heap[0], e = w->heap[--w->heap_n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->heap_n) {
		if (child + 1 < w->heap_n && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!before(&w->heap[child], &e))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = e;
	return first;
}

static bool
put_off(struct world *w, const struct event *e)
{
	uint64_t hung_until = w->host[e->host].q.hung_until;

	if (!e->of_qemu || hung_until <= w->now)
		return false;
	later(w, hung_until - w->now, e);
	return true;
}

bool
world_step(struct world *w, uint64_t until)
{
	struct event e;

	if (w->heap_n == 0 || w->heap[0].at > until || w->violation[0]) {
		if (!w->violation[0])
			w->now = until;
		return false;
	}
	e = take_first(w);
	w->now = e.at;
	if (put_off(w, &e))
		return true;
	w->steps++;
	e.fn(w, &e);
	if (e.bytes)
		g_bytes_unref(e.bytes);
	check_step(w);
	return !w->violation[0];
}

void
say(struct world *w, int host, const char *format, ...)
{
	va_list args;

	if (!w->verbose)
		return;
	/* A story's transcript is compared as it is: the order of things is in it, not their time. */
	if (!w->story)
		fprintf(w->out, "%8.1f  ", (double)w->now / 1e6);
	fprintf(w->out, "%c  ", host < 0 ? '-' : NAME(host));
	va_start(args, format);
	vfprintf(w->out, format, args);
	va_end(args);
	fputc('\n', w->out);
}

void
violated(struct world *w, const char *rule, const char *format, ...)
{
	va_list args;
	size_t n;

	if (w->violation[0])
		return;
	n = (size_t)g_snprintf(w->violation, sizeof w->violation, "%s: ", rule);
	va_start(args, format);
	g_vsnprintf(w->violation + n, sizeof w->violation - n, format, args);
	va_end(args);
	say(w, -1, "VIOLATION %s", w->violation);
}

struct world *
world_new(uint64_t seed, bool verbose, FILE *out)
{
	struct world *w = g_new0(struct world, 1);

	w->seed = seed;
	w->rng = seed * UINT64_C(0xd1342543de82ef95) + 1;
	w->verbose = verbose;
	w->out = out;
	w->snapshots = g_ptr_array_new_with_free_func(g_free);
	w->reg.records = g_array_new(FALSE, TRUE, sizeof(struct arbiter_record));
	for (unsigned i = 0; i < 2; i++) {
		w->host[i].power = true;
		qemu_init(&w->host[i].q, w, i);
	}
	return w;
}

void
world_free(struct world *w)
{
	for (size_t i = 0; i < w->heap_n; i++)
		if (w->heap[i].bytes)
			g_bytes_unref(w->heap[i].bytes);
	for (unsigned i = 0; i < 2; i++) {
		proc_clear(&w->host[i].p);
		qemu_clear(&w->host[i].q);
		g_free(w->host[i].state_file);
	}
	link_clear(w);
	g_ptr_array_unref(w->snapshots);
	g_array_unref(w->reg.records);
	g_free(w->heap);
	g_free(w);
}
