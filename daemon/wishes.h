/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domains of this host that run unprotected and should not: which one is protected next, and when (theory of operation in pool-io.c). One at a time is being
 * fulfilled. Times are microseconds of the monotonic clock. Pure.
 */
#pragma once

#include <glib.h>

struct wish {
	char *uuid, *domain, *peer;	/* peer: who had its other copy */
};

struct wishes;
struct wishes *wishes_new(void);
void wishes_free(struct wishes *w);
typedef struct wishes wishes;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(wishes, wishes_free)

void wishes_add(struct wishes *w, const char *uuid, const char *domain, const char *peer, gint64 now);	/* or makes it anew */
gint64 wishes_due(const struct wishes *w);		/* when the next one is to be begun; -1: there is none, or one is being fulfilled */
const struct wish *wishes_begin(struct wishes *w);	/* the next one; not while one is being fulfilled, nor without any */
const struct wish *wishes_current(const struct wishes *w);	/* that is being fulfilled, or NULL */
enum wish_end {
	WISH_OVER,	/* the domain has a pair again, or is not here any more */
	WISH_NOT_YET,	/* its pair is being made, or is ending */
	WISH_OFF,	/* the domain does not run, but may be started again */
	WISH_FAILED,
};
gint64 wishes_end(struct wishes *w, enum wish_end end, gint64 now);	/* of the current one: how long until it is tried again */
void wishes_hurry(struct wishes *w, gint64 now);	/* what was in the way of any may be gone */

enum wish_dismissal { WISH_NONE, WISH_DISMISSED, WISH_BUSY /* it is being fulfilled right now, and stays */ };
enum wish_dismissal wishes_dismiss(struct wishes *w, const char *uuid);
