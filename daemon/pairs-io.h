/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pairs of this host: who is watched, and what happens when one ends. Callable from any thread unless said.
 *
 *   forming --armed--> active --guard gone--> ending --judged--> ended
 *      |                                       |  ^
 *      +----------- guard gone, abort ---------+  +-- orphan: nothing is known yet, asked again every 2 s
 */
#pragma once

#include "daemon/host-io.h"
#include "daemon/libvirt-events-io.h"
#include "daemon/pair-record.h"
#include "policy/arbiter-io.h"

enum pair_phase {
	PAIR_FORMING,	/* made by a job that owns it; may be called off */
	PAIR_ACTIVE,	/* its guard is watched */
	PAIR_ENDING,	/* one job carries out its end; nobody else touches it */
	PAIR_ORPHAN,	/* the guard vanished and the arbiter does not tell yet, or what is to be done then failed; tried again */
	PAIR_ENDED,	/* only its last status is kept; a new pair may take its place */
};

struct pair_info {		/* a copy */
	struct pair_record *record;
	enum pair_phase phase;
	guint64 connection;	/* of the peer's daemon that asked for a forming standby */
	gint64 orphan_since;	/* 0: it is none */
	bool settled;		/* an orphan of which it is known who goes on */
	guint64 gap_ms;			/* of one that took over; 0: not known */
	guint64 last_generation;	/* the guard's, by its last word; 0: none. The record has the one that the pair was armed with */
	char *lost;			/* before it the domain was alone here, without its copy on that host, and to be protected again; NULL: it was not */
	struct json_object *last;	/* ended: its last status */
};
void pair_info_free(struct pair_info *i);
const char *pair_info_orphan_text(const struct pair_info *i, const char *spec);	/* why it is none of the other phases, and the way out; static */
typedef struct pair_info pair_info;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pair_info, pair_info_free)

struct pairs;
struct pairs *pairs_new(struct host *host);
/* Main thread, once: finds the pairs of an earlier daemon or boot again and goes on with them. */
void pairs_load(struct pairs *p);

/* By UUID or domain name; NULL when there is none. */
struct pair_info *pairs_find(struct pairs *p, const char *domain);
GPtrArray *pairs_list(struct pairs *p);		/* struct pair_info *, sorted by domain name */

/* Waits while an earlier pair of that domain ends (one that waits for its end, because this host was down, say, is ended now), so that a new one can be made at once:
 * right after a take-over, too, when its guard says so and what was made for the pair is still being removed. With `other_side`, a pair with that host is taken to be ending even if its guard here does not know yet. */
void pairs_settle(struct pairs *p, const char *domain, const char *other_side, unsigned patience_ms);
void pairs_await_end(struct pairs *p, const char *domain, unsigned patience_ms);	/* until nothing of it is left to clean up */
/* Takes a place for a forming pair and writes its record; FTD_ERROR_ALREADY_PROTECTED. Takes nothing. */
bool pairs_begin(struct pairs *p, const struct pair_record *record, guint64 connection, GError **error);
bool pairs_update(struct pairs *p, const struct pair_record *record, GError **error);	/* by the owner of a forming pair */
/* A standby that is still being made is not ended under the hands of who makes it. True: it is, and its maker hears of it, in pairs_made(). */
bool pairs_call_off(struct pairs *p, const char *uuid, const char *why);
char *pairs_made(struct pairs *p, const char *uuid);	/* by its maker, whatever came of it; why it was called off meanwhile, or NULL */
void pairs_activate(struct pairs *p, const char *uuid);		/* from now on only its guard says how it ends */
void pairs_watch(struct pairs *p, const char *uuid);		/* begin to follow its guard's events */
/* Carries out the end of a pair: `finished` as in struct pair_end_facts. Blocks. `why` is for the event and the last status. Nothing when it is ending or ended already. */
void pairs_end(struct pairs *p, const char *uuid, const char *finished, const char *why);
/* What is told of a pair that has ended, and wished for after a restart of this daemon (a pair that nobody wants again: operator-disable). Nothing when it has not. */
void pairs_retell_end(struct pairs *p, const char *uuid, const char *state, const char *reason);
/* The forming standbys of that connection which were never armed are called off. Main thread. */
void pairs_connection_ended(struct pairs *p, guint64 connection);
/*
 * The register of a pair: the one it was armed with, whatever ftd.conf says by now (another register would know nothing of it); without a pair the
 * configured one. *armed: its guard was armed, or may have been. NULL: FTD_ERROR_CONFIG.
 */
struct arbiter *pairs_arbiter(const struct host *h, const char *uuid, bool *armed, GError **error);
/* For ftd itself, where no guard is there to do it: `generation` of the pair is `active`'s. Blocks. */
enum arbiter_verdict pairs_claim(struct arbiter *asked, const char *uuid, guint64 generation, const char *active);
/* Main thread: is the primary of an armed pair here? And what libvirt has to say of a domain. */
bool pairs_is_primary(struct pairs *p, const char *uuid);
void pairs_domain_news(struct pairs *p, const char *uuid, enum domain_news news, const char *detail);
