/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The arbiter: a register in memory with the rules of arbiter-io.h and the judgement of arbiter.c; slow, out of reach, or deaf in one direction. */
#include "tests/sim/sim.h"

#include <string.h>

#define CLAIM_TIMEOUT (300 * MS)	/* shorter than the shell's: more happens in a second */

uint64_t
register_newest(const struct world *w)
{
	return w->reg.records->len;
}

const struct arbiter_record *
register_record(const struct world *w)
{
	return &g_array_index(w->reg.records, struct arbiter_record, w->reg.records->len - 1);
}

int
register_owner(const struct world *w)
{
	const struct arbiter_record *r;

	if (w->reg.records->len == 0)
		return -1;
	r = register_record(w);
	return r->standby[0] ? -1 : r->active[0] == 'b';
}

/* arbiter-io.h, arbiter_claim() */
static enum arbiter_verdict
decide(struct world *w, const struct arbiter_record *claim)
{
	uint64_t newest = register_newest(w);

	if (broken == BREAK_GRANT)
		return ARBITER_GRANTED;
	if (claim->generation <= newest && claim->generation > 0) {
		struct arbiter_record standing = g_array_index(w->reg.records, struct arbiter_record, claim->generation - 1);
		if (broken == BREAK_NONCE) {
			g_strlcpy(standing.nonce, claim->nonce, sizeof standing.nonce);
			g_strlcpy(standing.active, claim->active, sizeof standing.active);
		}
		if (broken == BREAK_GENERATION || claim->generation == newest)
			return arbiter_judge(claim, &standing);
		return ARBITER_DENIED;
	}
	if (claim->generation != newest + 1)
		return ARBITER_SILENT;
	g_array_append_vals(w->reg.records, claim, 1);
	return arbiter_judge(claim, NULL);
}

static void
answer(struct world *w, unsigned host, uint64_t seq, enum arbiter_verdict verdict)
{
	struct proc *p = &w->host[host].p;

	if (!p->alive || !p->claim_open || p->claim_seq != seq)
		return;
	p->claim_open = false;
	proc_push(p, SRC_CLAIM, ITEM_DATA, NULL, verdict, 0);
}

static void
on_answer(struct world *w, struct event *e)
{
	if (!w->reg.cut[e->host])
		answer(w, e->host, e->life, (enum arbiter_verdict)e->a);
}

static void
on_timeout(struct world *w, struct event *e)
{
	answer(w, e->host, e->life, broken == BREAK_SILENCE ? ARBITER_GRANTED : ARBITER_SILENT);
}

/* A request may get through when its answer does not. In a directory that is empty the generations below the claim are missing. */
static enum arbiter_verdict
arrive(struct world *w, unsigned host, const struct arbiter_record *r)
{
	uint64_t before = register_newest(w);
	enum arbiter_verdict v;

	if (w->reg.empty[host] || (w->reg.cut[host] && !chance(w, 30)))
		return ARBITER_SILENT;
	v = decide(w, r);
	say(w, (int)host, "arbiter: generation %" G_GUINT64_FORMAT " for %s%s%s: %s", r->generation, r->active, r->standby[0] ? " with " : " alone", r->standby,
	    v == ARBITER_GRANTED ? "granted" : v == ARBITER_DENIED ? "denied" : "silent");
	if (register_newest(w) > before && host == STANDBY(w) && r->active[0] == NAME(host) && w->ended_due && w->now > w->ended_due)
		violated(w, "ended", "the VM was shut down, and %c is given it", NAME(host));
	return v;
}

enum arbiter_verdict
register_claim_now(struct world *w, unsigned host, const struct arbiter_record *record)
{
	enum arbiter_verdict v = arrive(w, host, record);

	return w->reg.cut[host] ? ARBITER_SILENT : v;
}

int
register_known(const struct world *w, unsigned host)
{
	if (w->reg.cut[host])
		return -1;
	return !w->reg.empty[host] && register_newest(w) > 0;
}

static void
on_claim(struct world *w, struct event *e)
{
	enum arbiter_verdict v = arrive(w, e->host, g_bytes_get_data(e->bytes, NULL));

	if (v != ARBITER_SILENT)
		later(w, between(w, 100 * US, w->reg.delay), &(struct event){ .fn = on_answer, .host = e->host, .life = e->life, .a = v });
}

void
register_claim(struct world *w, unsigned host, const struct arbiter_record *record)
{
	struct proc *p = &w->host[host].p;
	uint64_t seq = p->claim_seq = ++w->reg.claims;

	p->claim_open = true;
	later(w, between(w, 100 * US, w->reg.delay), &(struct event){ .fn = on_claim, .host = host, .life = seq, .bytes = g_bytes_new(record, sizeof *record) });
	later(w, CLAIM_TIMEOUT, &(struct event){ .fn = on_timeout, .host = host, .life = seq });
}
