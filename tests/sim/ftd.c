/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ftd, as far as it decides: what becomes of a copy whose guard vanished without a word, and of one whose host was down (daemon/pair-record.c has the
 * judgement, pairs-io.c what follows from it). It knows what the guard wrote to its state file, and what the arbiter says.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "daemon/pair-record.h"

#define RETURN_AFTER (600 * MS)
#define RETRY (200 * MS)	/* all shorter than the daemon's */
#define CLAIM_AFTER (1000 * MS)

static void on_watch(struct world *w, struct event *e);

static void
watch_in(struct world *w, unsigned host, uint64_t delay)
{
	later(w, delay, &(struct event){ .fn = on_watch, .host = host, .life = w->host[host].ftd.life });
}

/* pairs_arbiter(): a file that cannot be read was written once. */
static bool
armed(const struct host *h)
{
	struct durable_state s;

	if (!h->state_file)
		return false;
	return !durable_state_decode(h->state_file, strlen(h->state_file), &s, NULL) || s.state != FAILOVER_FORMING;
}

/* was_granted() */
static bool
granted(const struct host *h)
{
	struct durable_state s;

	return h->state_file && durable_state_decode(h->state_file, strlen(h->state_file), &s, NULL) && s.generation > h->p.config->generation;
}

static enum pair_end
claim_for(struct world *w, unsigned host)
{
	const struct guard_config *c = w->host[host].p.config;
	struct arbiter_record r = { .generation = c->generation + 1 };
	enum arbiter_verdict v;

	g_strlcpy(r.pair, c->pair, sizeof r.pair);
	g_strlcpy(r.active, c->self, sizeof r.active);
	g_snprintf(r.nonce, sizeof r.nonce, "ftd-%u-%" G_GUINT64_FORMAT, host, ++w->reg.claims);
	v = register_claim_now(w, host, &r);
	return v == ARBITER_SILENT ? PAIR_END_WAIT : v == ARBITER_GRANTED ? PAIR_END_KEEP : PAIR_END_REMOVE;
}

/* The copy here won, and has never been heard: the next generation is the other side's. */
static enum pair_end
give_back(struct world *w, unsigned host)
{
	const struct guard_config *c = w->host[host].p.config;
	struct arbiter_record r = { .generation = register_newest(w) + 1 };

	g_strlcpy(r.pair, c->pair, sizeof r.pair);
	g_strlcpy(r.active, c->peer, sizeof r.active);
	g_snprintf(r.nonce, sizeof r.nonce, "ftd-%u-%" G_GUINT64_FORMAT, host, ++w->reg.claims);
	qemu_kill(&w->host[host].q);
	return register_claim_now(w, host, &r) == ARBITER_SILENT ? PAIR_END_WAIT : PAIR_END_STOP;
}

static enum pair_end
judge(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];
	struct pair_end_facts f = {
		.role = h->p.config->role,
		.generation = h->p.config->generation,
		.self = h->p.config->self,
		.finished = h->ftd.finished,
		.granted = granted(h),
		.register_known = register_known(w, host),
		.newest = register_known(w, host) > 0 ? register_record(w) : NULL,
		.armed = armed(h),
		.domain_runs = h->q.alive,
		.silent = h->p.config->role == FAILOVER_STANDBY && !h->p.spoke,
		.waited_for_return = h->ftd.orphan_since && w->now - h->ftd.orphan_since > RETURN_AFTER,
		.waited = h->ftd.orphan_since && w->now - h->ftd.orphan_since > CLAIM_AFTER,
	};
	enum pair_end end = pair_end_judge(&f);

	if (end == PAIR_END_RETURN)
		return give_back(w, host);
	return end == PAIR_END_CLAIM ? claim_for(w, host) : end;
}

/* What nobody keeps from being started: by libvirtd after a boot, or by hand. */
static void
may_start(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	h->startable = true;
	say(w, (int)host, "may be started from its disk");
	check_startable(w, host);
}

static void
carry_out(struct world *w, unsigned host, enum pair_end end)
{
	static const char *const texts[PAIR_END_LAST] = {
		[PAIR_END_KEEP] = "keeps", [PAIR_END_REMOVE] = "removes", [PAIR_END_STOP] = "stops", [PAIR_END_WAIT] = "waits with", [PAIR_END_CLAIM] = "claims",
		[PAIR_END_RETURN] = "gives back"
	};
	struct host *h = &w->host[host];

	say(w, (int)host, "ftd %s the copy", texts[end]);
	if (end != PAIR_END_KEEP) {
		qemu_kill(&h->q);
	} else if (!h->q.alive) {
		may_start(w, host);
	} else if (h->p.config->role == FAILOVER_PRIMARY) {
		h->q.net = NET_DIRECT;
		qemu_leave(&h->q);
	}
}

/* stale-io.c */
static void
watch_stale(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];
	struct stale_facts f = {
		.role = h->p.config->role,
		.generation = h->p.config->generation,
		.self = h->p.config->self,
		.register_known = register_known(w, host),
		.newest = register_known(w, host) > 0 ? register_record(w) : NULL,
		.waited = w->now - h->ftd.stale_since > CLAIM_AFTER,
	};
	enum stale_verdict verdict = stale_judge(&f);

	if (verdict == STALE_OVER || (verdict == STALE_CLAIM && claim_for(w, host) == PAIR_END_KEEP)) {
		if (verdict == STALE_CLAIM)
			check_followed(w, host);
		say(w, (int)host, "ftd finds that nobody else has gone on");
		may_start(w, host);
	} else {
		watch_in(w, host, RETRY);
	}
}

static void
on_watch(struct world *w, struct event *e)
{
	struct host *h = &w->host[e->host];
	enum pair_end end;

	if (e->life != h->ftd.life || !h->power || h->p.alive)
		return;
	if (h->ftd.stale_since) {
		watch_stale(w, e->host);
		return;
	}
	end = judge(w, e->host);
	if (end != PAIR_END_WAIT) {
		carry_out(w, e->host, end);
		h->ftd.life++;
		if (h->p.config->role == FAILOVER_PRIMARY && end == PAIR_END_REMOVE) {
			h->ftd.stale_since = w->now;
			watch_in(w, e->host, RETRY);
		}
		return;
	}
	if (!h->ftd.orphan_since) {
		say(w, (int)e->host, "ftd waits: nobody knows yet who goes on");
		h->ftd.orphan_since = w->now;
	}
	watch_in(w, e->host, RETRY);
}

void
ftd_guard_gone(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	if (!h->p.config)
		return;
	h->ftd.life++;
	h->ftd.orphan_since = h->ftd.stale_since = 0;
	watch_in(w, host, between(w, MS, 50 * MS));
}

/* One that goes on alone, or was ended on purpose, has left nothing to be done. */
void
ftd_guard_finished(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	if (guard_state(h->p.g) != FAILOVER_FENCED)
		return;
	h->ftd.finished = failover_state_name(FAILOVER_FENCED);
	ftd_guard_gone(w, host);
}

void
ftd_forget(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	h->ftd.life++;
	h->ftd.finished = NULL;
	h->startable = false;
	g_clear_pointer(&h->state_file, g_free);
}
