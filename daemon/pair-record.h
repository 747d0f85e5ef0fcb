/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this host did for a pair, kept in <state-dir>/pairs/<uuid>.made.json from before the first thing is made until all of it is cleaned up:
 * a daemon that was restarted, or a host that came back, finds there what is left to do. And the judgement on a pair whose guard is gone. Pure.
 */
#pragma once

#include "policy/arbiter.h"
#include "policy/failover.h"

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

struct pair_record {
	char *uuid, *domain;
	char *peer;			/* host name, as in certificates */
	enum failover_role role;	/* ours */
	guint64 generation;		/* the one the pair is armed with */
	bool defined;			/* we defined the domain here */
	GPtrArray *images;		/* char *: image files that we created */
	GPtrArray *overlays;		/* char *: overlay files */
	struct json_object *parameters;	/* primary: QEMU's migration parameters from before the pair; NULL: not known */
};

struct pair_record *pair_record_new(const char *uuid, const char *domain, const char *peer, enum failover_role role, guint64 generation);
struct pair_record *pair_record_copy(const struct pair_record *r);
void pair_record_free(struct pair_record *r);
typedef struct pair_record pair_record;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pair_record, pair_record_free)
char *pair_record_encode(const struct pair_record *r);
struct pair_record *pair_record_decode(const char *text, gsize length, GError **error);	/* FTD_ERROR_PROTOCOL */

enum pair_end {
	PAIR_END_KEEP,		/* the domain here is the one that goes on (or is none of our business): forget the pair */
	PAIR_END_REMOVE,	/* the copy here is stale for good: stop it, undo all that was made for it */
	PAIR_END_STOP,		/* the copy here can never be promoted any more, but nobody has won yet: stop it, leave its images alone */
	PAIR_END_WAIT,		/* not settled: ask again later */
	PAIR_END_RETURN,	/* the copy here won and can never be whole, but was never heard: stop it and give the next generation to the other side */
	PAIR_END_CLAIM,		/* claim the next generation for the copy here, by its own: granted is KEEP, denied REMOVE, silence WAIT */
	PAIR_END_LAST
};

struct pair_end_facts {
	enum failover_role role;
	guint64 generation;
	const char *self;
	const char *finished;		/* state in the guard's last event: "solo", "fenced", "ended"; NULL: it vanished without one */
	int register_known;		/* arbiter_read(): 1 found, 0 no record, -1 silent */
	const struct arbiter_record *newest;
	bool armed;			/* its guard wrote that the pair's own record stands at the arbiter */
	bool domain_runs;
	bool silent;			/* standby: the copy was never heard (GUARD_SILENT_SUFFIX) */
	bool granted;			/* its guard owned a newer generation than the pair's, by its own state or its last word */
	bool waited_for_return;		/* primary: long enough for a winner that cannot go on to give the domain back */
	bool waited;			/* long enough for the other side to have claimed, were it there */
};
enum pair_end pair_end_judge(const struct pair_end_facts *f);

struct pair_last_facts {
	enum pair_end end;
	enum failover_role role;
	const char *finished, *why;	/* of its guard's last event, or of whoever called it off; NULL: it vanished */
	bool forming;			/* its maker never came to its end */
	bool wished;			/* before it the domain was alone, and was to be protected again */
};
bool pair_changed_nothing(const struct pair_last_facts *f);	/* an attempt to protect the domain again, and it failed: it is what it was, alone and to be protected */
const char *pair_last_state(const struct pair_last_facts *f);	/* that is told of it: "solo", "ended", "fenced" */
bool pair_wants_protection(const char *state, const char *reason);	/* of what was told: alone, and not because somebody wanted it so */
/* A wish to protect a domain again is over with a pair that is there, or that was there since and has ended as somebody wanted it; state NULL: nothing was told of an end. */
bool pair_ends_wish(bool active, const char *state, const char *reason);

enum stale_verdict {
	STALE_STAYS,		/* the other side has the newest copy, or nothing is known */
	STALE_WAIT,		/* nobody has gone on yet */
	STALE_CLAIM,		/* ... nor will: claim the next generation for what is here; granted is OVER, all else STAYS */
	STALE_OVER,		/* what is here is the newest copy after all */
};

/* A copy that was given up on this host: its guard was fenced, and the domain is off. */
struct stale_facts {
	enum failover_role role;	/* that it had in the pair */
	guint64 generation;		/* of the pair in which it was given up */
	const char *self;
	int register_known;		/* arbiter_read() */
	const struct arbiter_record *newest;
	bool waited;			/* with WAIT, long enough for the other side to have claimed, were it there */
};
enum stale_verdict stale_judge(const struct stale_facts *f);
