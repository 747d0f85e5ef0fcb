/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/wishes.h"

#include "policy/placement.h"

#include <string.h>

#define FIRST_US (3 * G_USEC_PER_SEC)	/* an operation that protects again does so at once */
#define NOT_YET_US G_USEC_PER_SEC
#define OFF_US (60 * G_USEC_PER_SEC)

struct entry {
	struct wish wish;
	unsigned failures;
	gint64 due;
	bool renewed;		/* made again while it was being fulfilled */
};

struct wishes {
	GPtrArray *entries;
	struct entry *current;
};

static void
entry_free(gpointer data)
{
	struct entry *e = data;

	g_free(e->wish.uuid);
	g_free(e->wish.domain);
	g_free(e->wish.peer);
	g_free(e);
}

struct wishes *
wishes_new(void)
{
	struct wishes *w = g_new0(struct wishes, 1);

	w->entries = g_ptr_array_new_with_free_func(entry_free);
	return w;
}

void
wishes_free(struct wishes *w)
{
	if (!w)
		return;
	g_ptr_array_unref(w->entries);
	g_free(w);
}

static struct entry *
find(const struct wishes *w, const char *uuid)
{
	for (guint i = 0; i < w->entries->len; i++) {
		struct entry *e = g_ptr_array_index(w->entries, i);

		if (strcmp(e->wish.uuid, uuid) == 0)
			return e;
	}
	return NULL;
}

static struct entry *
next(const struct wishes *w)
{
	struct entry *first = NULL;

	for (guint i = 0; i < w->entries->len; i++) {
		struct entry *e = g_ptr_array_index(w->entries, i);

		if (!first || e->due < first->due)
			first = e;
	}
	return first;
}

void
wishes_add(struct wishes *w, const char *uuid, const char *domain, const char *peer, gint64 now)
{
	struct entry *e = find(w, uuid);

	if (!e) {
		e = g_new0(struct entry, 1);
		e->wish.uuid = g_strdup(uuid);
		g_ptr_array_add(w->entries, e);
	}
	g_free(e->wish.domain);
	g_free(e->wish.peer);
	e->wish.domain = g_strdup(domain);
	e->wish.peer = g_strdup(peer);
	e->renewed = e == w->current;
	if (e->renewed)
		return;
	e->failures = 0;
	e->due = now + FIRST_US;
}

gint64
wishes_due(const struct wishes *w)
{
	const struct entry *e = w->current ? NULL : next(w);

	return e ? e->due : -1;
}

const struct wish *
wishes_begin(struct wishes *w)
{
	g_assert(!w->current && w->entries->len > 0);
	w->current = next(w);
	return &w->current->wish;
}

const struct wish *
wishes_current(const struct wishes *w)
{
	return w->current ? &w->current->wish : NULL;
}

gint64
wishes_end(struct wishes *w, enum wish_end end, gint64 now)
{
	struct entry *e = g_steal_pointer(&w->current);
	gint64 wait;

	if (end == WISH_OVER && !e->renewed) {
		g_ptr_array_remove(w->entries, e);
		return 0;
	}
	e->renewed = false;
	if (end == WISH_OVER || end == WISH_OFF)
		e->failures = 0;
	wait = end == WISH_FAILED ? (gint64)(placement_retry_ns(++e->failures) / 1000) : end == WISH_OFF ? OFF_US : NOT_YET_US;
	e->due = now + wait;
	return wait;
}

void
wishes_hurry(struct wishes *w, gint64 now)
{
	for (guint i = 0; i < w->entries->len; i++) {
		struct entry *e = g_ptr_array_index(w->entries, i);

		e->failures = 0;
		e->due = MIN(e->due, now);
	}
}

enum wish_dismissal
wishes_dismiss(struct wishes *w, const char *uuid)
{
	struct entry *e = find(w, uuid);

	if (!e)
		return WISH_NONE;
	if (e == w->current)
		return WISH_BUSY;
	g_ptr_array_remove(w->entries, e);
	return WISH_DISMISSED;
}
