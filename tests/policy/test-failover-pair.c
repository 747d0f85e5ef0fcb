/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two guards, a register and a link that may break at any moment: every world that can be reached is visited once (breadth first, so a failure prints
 * one of the shortest ways to it). The link keeps order until it is cut, as TCP does; a claim that went unanswered may be written later, or never.
 */
#include "policy/failover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PIPE_MAX 4
#define NOW 10
#define RETRY 5

enum claim { CLAIM_NONE, CLAIM_SENT, CLAIM_WON, CLAIM_LOST_IT };
enum { NOBODY = 2 };

struct side {
	uint8_t state, fit, waiting;	/* struct failover, without what does not decide */
	uint8_t claim;			/* enum claim: the one that will be answered */
	uint8_t late;			/* an abandoned claim may still be written */
	uint8_t busy;			/* GO_SOLO, STOP_COPY or UNDO under way */
	uint8_t dead;			/* QEMU */
	uint8_t n_in;
	uint8_t in[PIPE_MAX];		/* events from the peer, under way */
};

struct world {
	struct side side[2];
	uint8_t owner;			/* of generation + 1: 0, 1, NOBODY */
	uint8_t cut;			/* the link is gone */
	uint8_t ended, unfit_once;	/* the VM was ended; the copy was unfit at some time */
};

struct visit {
	struct world world;
	int parent;			/* index of the world before */
	char how[40];
};

struct explorer {
	GArray *visits;			/* of struct visit, also the queue */
	GHashTable *seen;		/* struct world bytes */
	int current;
	unsigned solo_primary, solo_standby, both_down;	/* ends seen, so that the test cannot pass by exploring nothing */
};

static guint
world_hash(gconstpointer p)
{
	const uint8_t *b = p;
	guint h = 5381;

	for (size_t i = 0; i < sizeof(struct world); i++)
		h = h * 33 + b[i];
	return h;
}

static gboolean
world_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof(struct world)) == 0;
}

static struct failover
thaw(const struct world *w, int i)
{
	struct failover f;

	failover_init(&f, &(struct failover_config){ .role = i ? FAILOVER_STANDBY : FAILOVER_PRIMARY, .claim_retry_ns = RETRY }, 1);
	f.state = w->side[i].state;
	f.fit = w->side[i].fit;
	f.retry_at = w->side[i].waiting ? NOW + RETRY : UINT64_MAX;
	return f;
}

static void
tell(struct world *w, int to, enum failover_event_type what)
{
	struct side *s = &w->side[to];

	if (w->cut || s->state == FAILOVER_FENCED || s->state == FAILOVER_ENDED || s->state == FAILOVER_SOLO)
		return;
	assert_in_range(s->n_in, 0, PIPE_MAX - 1);
	s->in[s->n_in++] = (uint8_t)what;
}

static void
carry_out(struct world *w, int i, unsigned actions, enum failover_event_type event)
{
	struct side *s = &w->side[i];

	if (actions & FAILOVER_ACT_CLAIM) {
		assert_int_equal(s->claim, CLAIM_NONE);
		s->claim = CLAIM_SENT;
	}
	/* Once is enough; and the off that may follow is no event of the standby's policy. */
	if ((actions & FAILOVER_ACT_HAND_OVER) && !memchr(w->side[1].in, FAILOVER_EV_OPERATOR_SWITCHOVER, w->side[1].n_in))
		tell(w, 1, FAILOVER_EV_OPERATOR_SWITCHOVER);
	if (actions & FAILOVER_ACT_ABDICATE)
		tell(w, !i, FAILOVER_EV_PEER_ABDICATED);
	if (actions & FAILOVER_ACT_TELL_GOODBYE)
		tell(w, !i, FAILOVER_EV_PEER_GOODBYE);
	if (actions & (FAILOVER_ACT_GO_SOLO | FAILOVER_ACT_STOP_COPY | FAILOVER_ACT_UNDO))
		s->busy = true;
	if (i == 0 && event == FAILOVER_EV_ARM && s->state == FAILOVER_PROTECTED)
		tell(w, 1, FAILOVER_EV_ARM);
}

static void
explain(const struct explorer *x, int at)
{
	const struct visit *v = &g_array_index(x->visits, struct visit, at);

	if (v->parent >= 0)
		explain(x, v->parent);
	print_message("  %-28s primary %-10s standby %s\n", v->how, failover_state_name(v->world.side[0].state), failover_state_name(v->world.side[1].state));
}

static const char *
verdict(const struct world *w, const struct failover f[2])
{
	if (failover_may_speak_alone(&f[0]) && failover_may_speak_alone(&f[1]))
		return "both may speak";
	for (int i = 0; i < 2; i++)
		if ((f[i].state == FAILOVER_SETTLING || f[i].state == FAILOVER_SOLO) && w->owner != i)
			return "alone without owning the generation";
	if (f[0].state == FAILOVER_FORMING && f[1].state != FAILOVER_FORMING && f[1].state != FAILOVER_ENDED)
		return "the standby was armed before the primary";
	if (f[0].state == FAILOVER_FENCED && f[1].state == FAILOVER_FENCED && !w->side[0].dead && !w->side[1].dead && !w->ended && !w->unfit_once)
		return "two healthy copies stopped each other";
	if (f[0].state == FAILOVER_FENCED && f[1].state == FAILOVER_ENDED && !w->side[0].dead && w->owner != 1)
		return "a healthy primary stopped for a standby that never was armed";
	return NULL;
}

static void
reach(struct explorer *x, struct world *w, const char *who, const char *what)
{
	struct failover f[2] = { thaw(w, 0), thaw(w, 1) };
	struct visit v = { .world = *w, .parent = x->current };
	const char *wrong;

	if (g_hash_table_contains(x->seen, w))
		return;
	g_snprintf(v.how, sizeof v.how, "%s %s", who, what);
	g_hash_table_add(x->seen, g_memdup2(w, sizeof *w));
	g_array_append_val(x->visits, v);
	x->solo_primary += f[0].state == FAILOVER_SOLO;
	x->solo_standby += f[1].state == FAILOVER_SOLO;
	x->both_down += f[0].state == FAILOVER_FENCED && f[1].state == FAILOVER_FENCED;
	wrong = verdict(w, f);
	if (wrong) {
		explain(x, (int)x->visits->len - 1);
		fail_msg("%s", wrong);
	}
}

/* One side takes an event; w is a copy that already shows where it came from. */
static void
step(struct explorer *x, struct world w, int i, enum failover_event_type event)
{
	struct failover f = thaw(&w, i);
	unsigned actions;

	actions = failover_step(&f, event == FAILOVER_EV_TICK ? NOW + RETRY : NOW, event, FAILOVER_REASON_NONE);
	w.side[i].state = (uint8_t)f.state;
	w.side[i].fit = f.fit;
	w.side[i].waiting = f.retry_at != UINT64_MAX;
	if (f.state == FAILOVER_FENCED || f.state == FAILOVER_ENDED || f.state == FAILOVER_SOLO) {
		memset(w.side[i].in, 0, sizeof w.side[i].in);	/* whatever comes is ignored: fewer worlds that look different */
		w.side[i].n_in = 0;
	}
	carry_out(&w, i, actions, event);
	reach(x, &w, i ? "standby" : "primary", failover_event_name(event));
}

static void
write_claim(struct world *w, int i, bool *won)
{
	if (w->owner == NOBODY)
		w->owner = (uint8_t)i;
	*won = w->owner == i;
}

static void
explore_claims(struct explorer *x, const struct world *from, int i)
{
	struct world w = *from;
	struct side *s = &w.side[i];
	bool won;

	if (s->claim == CLAIM_SENT) {
		write_claim(&w, i, &won);
		s->claim = won ? CLAIM_WON : CLAIM_LOST_IT;
		reach(x, &w, i ? "standby" : "primary", won ? "wins at the arbiter" : "loses at the arbiter");
		w = *from;
	}
	if (s->late) {
		write_claim(&w, i, &won);
		s->late = false;
		reach(x, &w, i ? "standby" : "primary", "old claim is written");
		w = *from;
	}
	if (s->claim == CLAIM_NONE)
		return;
	s->late |= s->claim == CLAIM_SENT;
	s->claim = CLAIM_NONE;
	step(x, w, i, FAILOVER_EV_ARBITER_SILENT);
	w = *from;
	if (s->claim == CLAIM_SENT)
		return;
	won = s->claim == CLAIM_WON;
	s->claim = CLAIM_NONE;
	step(x, w, i, won ? FAILOVER_EV_GRANTED : FAILOVER_EV_DENIED);
}

static void
explore_link(struct explorer *x, const struct world *from, int i)
{
	struct world w = *from;
	struct side *s = &w.side[i];

	if (s->n_in) {
		enum failover_event_type event = s->in[0];
		memmove(s->in, s->in + 1, PIPE_MAX - 1);
		s->in[PIPE_MAX - 1] = 0;
		s->n_in--;
		step(x, w, i, event);
		w = *from;
	}
	/* Lost for this side: it closes the link, and nothing under way arrives any more at either. */
	w.cut = true;
	for (int k = 0; k < 2; k++) {
		memset(w.side[k].in, 0, sizeof w.side[k].in);
		w.side[k].n_in = 0;
	}
	step(x, w, i, FAILOVER_EV_PEER_LOST);
	/* Silence in one direction only: what was sent by this side may still arrive at the other. */
	step(x, *from, i, FAILOVER_EV_PEER_LOST);
}

static void
explore_local(struct explorer *x, const struct world *from, int i)
{
	struct world w = *from;
	struct side *s = &w.side[i];

	if (s->busy) {
		s->busy = false;
		step(x, w, i, s->state == FAILOVER_SETTLING ? FAILOVER_EV_SETTLED : FAILOVER_EV_STOPPED);
		w = *from;
	}
	if (s->waiting)
		step(x, w, i, FAILOVER_EV_TICK);
	if (!s->dead) {
		s->dead = true;
		step(x, w, i, FAILOVER_EV_QEMU_DIED);
		w = *from;
		if (i == 0)
			w.ended = true;
		s->dead = true;
		step(x, w, i, FAILOVER_EV_GUEST_ENDED);
		w = *from;
	}
	step(x, w, i, FAILOVER_EV_DATA_FAILED);
	step(x, w, i, i ? FAILOVER_EV_OPERATOR_FAILOVER : FAILOVER_EV_OPERATOR_DISABLE);
	if (i == 0) {
		step(x, w, i, FAILOVER_EV_OPERATOR_SWITCHOVER);
		if (s->state == FAILOVER_SWITCHING)
			step(x, w, i, FAILOVER_EV_SWITCHOVER_OFF);
		if (s->state == FAILOVER_FORMING)
			step(x, w, i, FAILOVER_EV_ARM);
		return;
	}
	step(x, w, i, FAILOVER_EV_COPY_FIT);
	w.unfit_once = true;
	step(x, w, i, FAILOVER_EV_COPY_UNFIT);
}

static void
explore(struct explorer *x)
{
	for (x->current = 0; x->current < (int)x->visits->len; x->current++) {
		struct world w = g_array_index(x->visits, struct visit, x->current).world;
		for (int i = 0; i < 2; i++) {
			explore_claims(x, &w, i);
			explore_link(x, &w, i);
			explore_local(x, &w, i);
		}
	}
}

static void
test_never_two(void **state)
{
	struct explorer x = {
		.visits = g_array_new(FALSE, FALSE, sizeof(struct visit)),
		.seen = g_hash_table_new_full(world_hash, world_equal, g_free, NULL),
		.current = -1,
	};
	struct world start = { .owner = NOBODY, .side = { { .fit = true }, { .fit = true } } };

	reach(&x, &start, "", "start");
	explore(&x);
	print_message("%u worlds, %u with the primary alone, %u with the standby alone, %u with both stopped\n", x.visits->len, x.solo_primary, x.solo_standby,
		      x.both_down);
	assert_true(x.solo_primary > 100 && x.solo_standby > 100 && x.both_down > 100);
	g_hash_table_unref(x.seen);
	g_array_unref(x.visits);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_two),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
