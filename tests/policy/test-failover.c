/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One guard: stories as transcripts, and the whole (role, state, event) matrix against the rules at the head of failover.c. */
#include "policy/failover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define G 7		/* generation of the pair */
#define RETRY 500

static const char *const action_names[] = { "freeze", "persist", "claim", "abdicate", "goodbye", "go-solo", "stop-copy", "undo", "finish", "hand-over" };

static void
append_actions(GString *out, unsigned actions)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(action_names); i++)
		if (actions & 1u << i)
			g_string_append_printf(out, " %s", action_names[i]);
}

static struct failover
guard_in(enum failover_role role, enum failover_state state)
{
	struct failover f;

	failover_init(&f, &(struct failover_config){ .role = role, .claim_retry_ns = RETRY }, G);
	f.state = state;
	return f;
}

static enum failover_event_type
event_of(const char *name)
{
	for (int e = 0; e < FAILOVER_EVENT_LAST; e++)
		if (strcmp(failover_event_name(e), name) == 0)
			return e;
	fail_msg("no event %s", name);
	return FAILOVER_EVENT_LAST;
}

/* Runs "event event@time ..." and gives "event > state: actions\n" per event. */
static char *
transcript(struct failover *f, const char *story)
{
	GString *out = g_string_new(NULL);
	g_auto(GStrv) words = g_strsplit(story, " ", -1);

	for (char **w = words; *w; w++) {
		char *at = strchr(*w, '@');
		uint64_t now = at ? g_ascii_strtoull(at + 1, NULL, 10) : 0;
		if (at)
			*at = '\0';
		unsigned actions = failover_step(f, now, event_of(*w), FAILOVER_REASON_NONE);
		g_string_append_printf(out, "%s > %s:", *w, failover_state_name(f->state));
		append_actions(out, actions);
		g_string_append_c(out, '\n');
	}
	return g_string_free(out, FALSE);
}

static const struct story {
	enum failover_role role;
	const char *events, *expected;
	enum failover_reason reason;
	uint64_t generation;
} stories[] = {
	{ FAILOVER_PRIMARY, "arm peer-lost granted settled qemu-died",
	  "arm > protected: persist\n"
	  "peer-lost > deciding: freeze claim\n"
	  "granted > settling: persist goodbye go-solo\n"
	  "settled > solo: persist finish\n"
	  "qemu-died > solo:\n", FAILOVER_REASON_PEER_SILENT, G + 1 },
	{ FAILOVER_STANDBY, "arm peer-abdicated peer-lost granted peer-lost settled",
	  "arm > protected: persist\n"
	  "peer-abdicated > deciding: freeze claim\n"
	  "peer-lost > deciding:\n"
	  "granted > settling: persist goodbye go-solo\n"
	  "peer-lost > settling:\n"
	  "settled > solo: persist finish\n", FAILOVER_REASON_PEER_ABDICATED, G + 1 },
	{ FAILOVER_STANDBY, "arm peer-lost denied stopped",
	  "arm > protected: persist\n"
	  "peer-lost > deciding: freeze claim\n"
	  "denied > fenced: persist stop-copy\n"
	  "stopped > fenced: finish\n", FAILOVER_REASON_CLAIM_DENIED, G },
	{ FAILOVER_PRIMARY, "arm peer-lost arbiter-silent@1000 tick@1499 tick@1500 tick@1501 arbiter-silent@9000 tick@9500 granted",
	  "arm > protected: persist\n"
	  "peer-lost > deciding: freeze claim\n"
	  "arbiter-silent > deciding:\n"
	  "tick > deciding:\n"
	  "tick > deciding: claim\n"
	  "tick > deciding:\n"
	  "arbiter-silent > deciding:\n"
	  "tick > deciding: claim\n"
	  "granted > settling: persist goodbye go-solo\n", FAILOVER_REASON_PEER_SILENT, G + 1 },
	/* a disable that the arbiter does not answer holds nothing and cannot be forgotten */
	{ FAILOVER_PRIMARY, "arm operator-disable arbiter-silent@10 operator-disable tick@510 granted settled",
	  "arm > protected: persist\n"
	  "operator-disable > asking: claim\n"
	  "arbiter-silent > asking:\n"
	  "operator-disable > asking:\n"
	  "tick > asking: claim\n"
	  "granted > settling: freeze persist goodbye go-solo\n"
	  "settled > solo: persist finish\n", FAILOVER_REASON_OPERATOR_DISABLE, G + 1 },
	/* ... and when the pair breaks meanwhile the claim that is out is the claim */
	{ FAILOVER_PRIMARY, "arm operator-disable arbiter-silent@10 peer-lost tick@510 granted",
	  "arm > protected: persist\n"
	  "operator-disable > asking: claim\n"
	  "arbiter-silent > asking:\n"
	  "peer-lost > deciding: freeze\n"
	  "tick > deciding: claim\n"
	  "granted > settling: persist goodbye go-solo\n", FAILOVER_REASON_PEER_SILENT, G + 1 },
	{ FAILOVER_STANDBY, "arm operator-failover granted",
	  "arm > protected: persist\n"
	  "operator-failover > asking: claim\n"
	  "granted > settling: freeze persist goodbye go-solo\n", FAILOVER_REASON_OPERATOR_FAILOVER, G + 1 },
	/* a switchover: the standby asks, and wins */
	{ FAILOVER_PRIMARY, "arm operator-switchover operator-disable peer-goodbye stopped",
	  "arm > protected: persist\n"
	  "operator-switchover > switching: hand-over\n"
	  "operator-disable > switching:\n"
	  "peer-goodbye > fenced: freeze persist stop-copy\n"
	  "stopped > fenced: finish\n", FAILOVER_REASON_OPERATOR_SWITCHOVER, G },
	{ FAILOVER_STANDBY, "arm operator-switchover granted settled",
	  "arm > protected: persist\n"
	  "operator-switchover > asking: claim\n"
	  "granted > settling: freeze persist goodbye go-solo\n"
	  "settled > solo: persist finish\n", FAILOVER_REASON_OPERATOR_SWITCHOVER, G + 1 },
	/* ... or does not: the pair is whole as before */
	{ FAILOVER_PRIMARY, "arm operator-switchover switchover-off operator-switchover peer-lost granted",
	  "arm > protected: persist\n"
	  "operator-switchover > switching: hand-over\n"
	  "switchover-off > protected:\n"
	  "operator-switchover > switching: hand-over\n"
	  "peer-lost > deciding: freeze claim\n"
	  "granted > settling: persist goodbye go-solo\n", FAILOVER_REASON_PEER_SILENT, G + 1 },
	{ FAILOVER_STANDBY, "arm copy-unfit operator-switchover",
	  "arm > protected: persist\n"
	  "copy-unfit > protected:\n"
	  "operator-switchover > protected:\n", FAILOVER_REASON_NONE, G },
	{ FAILOVER_PRIMARY, "arm peer-goodbye stopped",
	  "arm > protected: persist\n"
	  "peer-goodbye > fenced: freeze persist stop-copy\n"
	  "stopped > fenced: finish\n", FAILOVER_REASON_PEER_GOODBYE, G },
	{ FAILOVER_PRIMARY, "arm qemu-died stopped",
	  "arm > protected: persist\n"
	  "qemu-died > fenced: freeze persist abdicate stop-copy\n"
	  "stopped > fenced: finish\n", FAILOVER_REASON_QEMU_DIED, G },
	/* a dying host's data connections end before its heartbeats do */
	{ FAILOVER_STANDBY, "arm data-failed peer-lost granted",
	  "arm > protected: persist\n"
	  "data-failed > yielded: freeze abdicate\n"
	  "peer-lost > deciding: claim\n"
	  "granted > settling: persist goodbye go-solo\n", FAILOVER_REASON_PEER_SILENT, G + 1 },
	{ FAILOVER_STANDBY, "arm data-failed peer-goodbye",
	  "arm > protected: persist\n"
	  "data-failed > yielded: freeze abdicate\n"
	  "peer-goodbye > fenced: persist stop-copy\n", FAILOVER_REASON_PEER_GOODBYE, G },
	{ FAILOVER_PRIMARY, "arm data-failed",
	  "arm > protected: persist\n"
	  "data-failed > deciding: freeze claim\n", FAILOVER_REASON_DATA_FAILED, G },
	/* fitness */
	{ FAILOVER_STANDBY, "arm copy-unfit peer-lost stopped",
	  "arm > protected: persist\n"
	  "copy-unfit > protected:\n"
	  "peer-lost > fenced: freeze persist abdicate stop-copy\n"
	  "stopped > fenced: finish\n", FAILOVER_REASON_COPY_UNFIT, G },
	{ FAILOVER_STANDBY, "arm copy-unfit operator-failover copy-fit peer-lost",
	  "arm > protected: persist\n"
	  "copy-unfit > protected:\n"
	  "operator-failover > protected:\n"
	  "copy-fit > protected:\n"
	  "peer-lost > deciding: freeze claim\n", FAILOVER_REASON_PEER_SILENT, G },
	{ FAILOVER_STANDBY, "arm peer-lost copy-unfit granted",
	  "arm > protected: persist\n"
	  "peer-lost > deciding: freeze claim\n"
	  "copy-unfit > deciding:\n"
	  "granted > fenced: freeze persist stop-copy\n", FAILOVER_REASON_COPY_UNFIT, G + 1 },
	{ FAILOVER_STANDBY, "arm peer-lost arbiter-silent@0 copy-unfit tick@500",
	  "arm > protected: persist\n"
	  "peer-lost > deciding: freeze claim\n"
	  "arbiter-silent > deciding:\n"
	  "copy-unfit > deciding:\n"
	  "tick > fenced: freeze persist abdicate stop-copy\n", FAILOVER_REASON_COPY_UNFIT, G },
	/* the VM is ended on purpose */
	{ FAILOVER_PRIMARY, "arm guest-ended qemu-died peer-lost arbiter-silent@0 tick@500 granted stopped",
	  "arm > protected: persist\n"
	  "guest-ended > closing: freeze claim goodbye\n"
	  "qemu-died > closing:\n"
	  "peer-lost > closing:\n"
	  "arbiter-silent > closing:\n"
	  "tick > closing: claim\n"
	  "granted > ended: persist stop-copy\n"
	  "stopped > ended: finish\n", FAILOVER_REASON_GUEST_ENDED, G + 1 },
	{ FAILOVER_STANDBY, "arm guest-ended",
	  "arm > protected: persist\n"
	  "guest-ended > fenced: freeze persist abdicate stop-copy\n", FAILOVER_REASON_GUEST_ENDED, G },
	/* forming */
	{ FAILOVER_PRIMARY, "peer-lost arm stopped",
	  "peer-lost > ended: goodbye undo\n"
	  "arm > ended:\n"
	  "stopped > ended: finish\n", FAILOVER_REASON_PEER_SILENT, G },
	{ FAILOVER_STANDBY, "operator-failover peer-lost arm",
	  "operator-failover > forming:\n"
	  "peer-lost > ended: abdicate stop-copy\n"
	  "arm > ended:\n", FAILOVER_REASON_PEER_SILENT, G },
};

static void
test_stories(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(stories); i++) {
		const struct story *s = &stories[i];
		struct failover f = guard_in(s->role, FAILOVER_FORMING);
		g_autofree char *got = transcript(&f, s->events);
		assert_string_equal(got, s->expected);
		assert_string_equal(failover_reason_name(f.reason), failover_reason_name(s->reason));
		assert_int_equal(f.generation, s->generation);
	}
}

static bool
claiming(enum failover_state s)
{
	return s == FAILOVER_ASKING || s == FAILOVER_DECIDING || s == FAILOVER_CLOSING;
}

static bool
whole(enum failover_state s)
{
	return s == FAILOVER_PROTECTED || s == FAILOVER_SWITCHING || s == FAILOVER_ASKING;
}

/* What must hold for every single answer. */
static void
check_step(enum failover_state from, enum failover_event_type event, const struct failover *f, bool fit, unsigned a)
{
	bool quiet_to_end = f->state == FAILOVER_FENCED && from != FAILOVER_FENCED;
	unsigned ends = a & (FAILOVER_ACT_GO_SOLO | FAILOVER_ACT_STOP_COPY | FAILOVER_ACT_UNDO);

	assert_true((ends & (ends - 1)) == 0);
	if (a & FAILOVER_ACT_GO_SOLO) {
		assert_int_equal(event, FAILOVER_EV_GRANTED);
		assert_int_equal(f->state, FAILOVER_SETTLING);
		assert_true(a & FAILOVER_ACT_PERSIST);
		assert_true(fit);
	}
	if (a & FAILOVER_ACT_CLAIM) {
		assert_true(from != FAILOVER_FORMING && claiming(f->state) && fit);
		assert_int_equal(failover_deadline(f), UINT64_MAX);
	}
	if (quiet_to_end)
		assert_int_equal(a & (FAILOVER_ACT_PERSIST | FAILOVER_ACT_STOP_COPY), FAILOVER_ACT_PERSIST | FAILOVER_ACT_STOP_COPY);
	if (from == FAILOVER_FENCED || from == FAILOVER_ENDED || from == FAILOVER_SOLO) {
		assert_int_equal(f->state, from);
		assert_int_equal(a, event == FAILOVER_EV_STOPPED ? FAILOVER_ACT_FINISH : 0);
	}
	/* output that the rule let flow is shut on the way out of a whole pair, and a claim that is out never leads back to one */
	if (whole(from) && !whole(f->state))
		assert_true(a & FAILOVER_ACT_FREEZE);
	if (f->state == FAILOVER_PROTECTED)
		assert_true(from == FAILOVER_FORMING || from == FAILOVER_PROTECTED || from == FAILOVER_SWITCHING);
	assert_int_equal(!!(a & FAILOVER_ACT_HAND_OVER), f->state == FAILOVER_SWITCHING && from != FAILOVER_SWITCHING);
	if (f->state == FAILOVER_SETTLING && from != FAILOVER_SETTLING)
		assert_true(claiming(from) && event == FAILOVER_EV_GRANTED);
	if (f->state == FAILOVER_SOLO && from != FAILOVER_SOLO)
		assert_int_equal(from, FAILOVER_SETTLING);
	assert_int_equal(f->generation, G + (claiming(from) && event == FAILOVER_EV_GRANTED));
}

static void
walk_cell(enum failover_role role, enum failover_state state, enum failover_event_type event, bool fit)
{
	struct failover f = guard_in(role, state);

	f.fit = fit;
	f.retry_at = event == FAILOVER_EV_TICK && claiming(state) ? 10 : UINT64_MAX;
	if (failover_event_possible(role, state, event)) {
		unsigned a = failover_step(&f, 10, event, FAILOVER_REASON_NONE);
		check_step(state, event, &f, fit, a);
	}
}

static void
test_matrix(void **state)
{
	for (int role = 0; role < 2; role++)
		for (int s = 0; s < FAILOVER_STATE_LAST; s++)
			for (int e = 0; e < FAILOVER_EVENT_LAST; e++)
				for (int fit = role == FAILOVER_PRIMARY; fit < 2; fit++)
					walk_cell(role, s, e, fit);
}

/* Nothing that comes from outside this process may abort it, in any state that the role can be in. */
static void
test_outside_events_never_abort(void **state)
{
	static const enum failover_event_type outside[] = {
		FAILOVER_EV_PEER_LOST, FAILOVER_EV_PEER_ABDICATED, FAILOVER_EV_PEER_GOODBYE, FAILOVER_EV_QEMU_DIED, FAILOVER_EV_DATA_FAILED,
		FAILOVER_EV_OPERATOR_DISABLE, FAILOVER_EV_OPERATOR_FAILOVER, FAILOVER_EV_OPERATOR_SWITCHOVER, FAILOVER_EV_GUEST_ENDED, FAILOVER_EV_TICK,
	};

	for (int s = 0; s < FAILOVER_STATE_LAST; s++) {
		for (size_t i = 0; i < G_N_ELEMENTS(outside); i++) {
			assert_true(s == FAILOVER_YIELDED || failover_event_possible(FAILOVER_PRIMARY, s, outside[i]));
			assert_true(s == FAILOVER_CLOSING || s == FAILOVER_SWITCHING || failover_event_possible(FAILOVER_STANDBY, s, outside[i]));
		}
		assert_true(s == FAILOVER_CLOSING || s == FAILOVER_SWITCHING || failover_event_possible(FAILOVER_STANDBY, s, FAILOVER_EV_ARM));
		assert_true(s == FAILOVER_CLOSING || s == FAILOVER_SWITCHING || failover_event_possible(FAILOVER_STANDBY, s, FAILOVER_EV_COPY_UNFIT));
	}
}

static void
test_impossible_aborts(void **state)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct failover f = guard_in(FAILOVER_PRIMARY, FAILOVER_PROTECTED);
		if (close(STDERR_FILENO) == 0)
			failover_step(&f, 0, FAILOVER_EV_GRANTED, FAILOVER_REASON_NONE);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void
test_who_speaks_alone(void **state)
{
	for (int s = 0; s < FAILOVER_STATE_LAST; s++) {
		struct failover p = guard_in(FAILOVER_PRIMARY, s), b = guard_in(FAILOVER_STANDBY, s);
		bool owner = s == FAILOVER_SETTLING || s == FAILOVER_SOLO;
		assert_int_equal(failover_may_speak_alone(&b), owner);
		assert_int_equal(failover_may_speak_alone(&p), owner || s == FAILOVER_FORMING || s == FAILOVER_ENDED);
	}
}

/* No event leads from a state that is over to one that is not, and some event leads out of each of the others, so none is missing. */
static void
test_what_is_over_stays_so(void **state)
{
	for (int s = 0; s < FAILOVER_STATE_LAST; s++) {
		bool over = failover_is_over(failover_state_name(s)), ends = false;

		for (int role = 0; role <= FAILOVER_STANDBY; role++)
			for (int e = 0; e < FAILOVER_EVENT_LAST; e++) {
				struct failover f = guard_in(role, s);
				if (!failover_event_possible(role, s, e))
					continue;
				failover_step(&f, 0, e, FAILOVER_REASON_NONE);
				ends |= failover_is_over(failover_state_name(f.state));
				assert_true(!over || failover_is_over(failover_state_name(f.state)));
			}
		assert_true(over || ends);
	}
	assert_false(failover_is_over("protected"));
	assert_true(failover_is_over("closing"));
	assert_true(failover_is_over("solo"));
	assert_true(failover_is_over(NULL));
	assert_true(failover_is_over("running"));
}

static void
test_reasons(void **state)
{
	struct failover f = guard_in(FAILOVER_PRIMARY, FAILOVER_PROTECTED);

	failover_step(&f, 0, FAILOVER_EV_PEER_LOST, FAILOVER_REASON_PEER_CLOSED);
	assert_int_equal(f.reason, FAILOVER_REASON_PEER_CLOSED);
	failover_step(&f, 0, FAILOVER_EV_DENIED, FAILOVER_REASON_PEER_CLOSED);
	assert_int_equal(f.reason, FAILOVER_REASON_CLAIM_DENIED);
	for (int r = 0; r < FAILOVER_REASON_LAST; r++) {
		assert_non_null(failover_reason_text(r));
		for (int q = 0; q < r; q++)
			assert_string_not_equal(failover_reason_name(r), failover_reason_name(q));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_outside_events_never_abort),
		cmocka_unit_test(test_impossible_aborts),
		cmocka_unit_test(test_who_speaks_alone),
		cmocka_unit_test(test_what_is_over_stays_so),
		cmocka_unit_test(test_reasons),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
