/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The primary's side of a switchover (policy/failover.c, rule 8), from HAND_OVER until the state is another one:
 *
 *   AS_IT_IS the copy may be level as it is (below)
 *   WARM    it was not: a checkpoint is made and loaded, so that the last one is small; the guest runs, output flows. Passive mode ends with its boundary
 *   CATCHUP the copy, which stood for the load, works off what has come in meanwhile: else clients would wait for that, and for the rest of this without a breath between
 *   QUIET   output is held, until QEMU has sent what it was given: it sends nothing for a guest that stands (net/net.c, qemu_can_send_packet()),
 *           and until the guest has again what it may have missed (guard-reinject.c)
 *   LAST    the last checkpoint is wanted
 *   STANDS  its boundary is here: the guest stands and is not let go, the checkpoint is on its way
 *   TOLD    the standby is asked to take over. It has what was held, if that is committed, and sends it then; it claims while it loads
 *
 * A copy that is level needs no LAST and no STANDS: nothing has left that it has not sent too, or that was not in what it has loaded, so it explains all of that, as it
 * does when this host dies, and nothing has to be loaded while clients wait. This guest runs on, unheard.
 *
 * What the guest is sent meanwhile QEMU reads and mirrors, as of the epoch that begins, or leaves in the tap; that follows when this side is fenced. So no packet is
 * lost. When nothing comes of it in time, the guest goes on where it stood, and what was handed over is sent from here too: a network may double a packet.
 */
#include "daemon/guard-internal.h"
#include "proxy/frame-queue.h"

#define LOOK_NS (500 * 1000ull)

void
switchover_clear(struct switchover *s)
{
	frame_queue_clear(&s->handed);
	frame_queue_clear(&s->late);
}

static void
tell(struct guard *g, enum peer_switchover what, uint64_t value)
{
	uint8_t payload[10];

	put_be16(payload, (uint16_t)what);
	put_be64(payload + 2, value);
	guard_send(g, PEER_SWITCHOVER, payload, sizeof payload, NULL);
}

static void
enter(struct guard *g, uint64_t now, enum switchover_step step, uint64_t patience)
{
	g->p.switchover.step = step;
	if (patience)
		g->p.switchover.deadline = now + patience;
}

/* From here on it has to show that it is level. */
static void
look_from_now(struct guard *g, uint64_t now)
{
	struct switchover *s = &g->p.switchover;

	s->level_since = now;
	comparator_stats(g->p.comparator, &s->before);
}

/* It runs, and not only the guest: some frames, such as acknowledgements, leave as equal to what the copy sent long ago. */
static bool
copy_was_heard(const struct guard *g)
{
	const struct comparator_stats *before = &g->p.switchover.before;
	struct comparator_stats s;

	comparator_stats(g->p.comparator, &s);
	return s.released_frames[RELEASE_SAME] > before->released_frames[RELEASE_SAME] &&
	       s.secondary_frames - s.secondary_stale > before->secondary_frames - before->secondary_stale;
}

/* No checkpoint since the one that is loaded, and none on its way: any difference would have asked for one. */
static bool
runs_what_was_loaded(const struct guard *g)
{
	return g->p.loaded + 1 == relay_epoch(g->p.relay) && !relay_stopping(g->p.relay) && !relay_receiving(g->p.relay);
}

static void
warm_up(struct guard *g, uint64_t now)
{
	enter(g, now, SWITCHOVER_WARM, GUARD_SWITCHOVER_WARM_NS);
	g->p.switchover.epoch = relay_epoch(g->p.relay);
	tell(g, PEER_SWITCHOVER_PREPARE, g->p.switchover.epoch);
	relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
	primary_pump(g, now);
}

void
switchover_begin(struct guard *g, uint64_t now)
{
	guard_event(g, "switchover", "handing %s over to %s", g->config->domain, g->config->peer);
	look_from_now(g, now);
	if (g->p.passive || !runs_what_was_loaded(g) || g->p.disk_epoch_bytes > GUARD_SWITCHOVER_DISK_BYTES) {
		warm_up(g, now);
		return;
	}
	enter(g, now, SWITCHOVER_AS_IT_IS, GUARD_SWITCHOVER_AS_IT_IS_NS);
	tell(g, PEER_SWITCHOVER_PREPARE, 0);
}

static void
call_off(struct guard *g, uint64_t now, const char *why)
{
	guard_event(g, "switchover-off", "%s stays here: %s", g->config->domain, why);
	tell(g, PEER_SWITCHOVER_OFF, 0);
	guard_policy(g, now, FAILOVER_EV_SWITCHOVER_OFF, FAILOVER_REASON_NONE);
	g->env.switchover_off(g->ctx, why);
}

/* While it is held nothing makes room, as a commit does: what a guest may send in that time has its limit as ever. */
void
switchover_mind_limit(struct guard *g, uint64_t now)
{
	if (g->failover.state == FAILOVER_SWITCHING && switchover_holds(g) && comparator_kept_bytes(g->p.comparator) > 2 * g->config->max_held_bytes)
		call_off(g, now, "it sends more than can be held meanwhile");
}

bool
switchover_holds(const struct guard *g)
{
	return g->p.switchover.step >= SWITCHOVER_QUIET;
}

void
switchover_loaded(struct guard *g, uint64_t now, uint64_t epoch)
{
	if (g->p.switchover.step == SWITCHOVER_WARM && epoch >= g->p.switchover.epoch)
		enter(g, now, SWITCHOVER_CATCHUP, GUARD_SWITCHOVER_CATCHUP_NS);
	look_from_now(g, now);
}

/* Nothing waits for a copy that stands, in passive mode, and it is not level. Nor is one that was not heard: it may hang. */
static void
catch_up(struct guard *g, uint64_t now)
{
	struct switchover *s = &g->p.switchover;

	if (comparator_held_for(g->p.comparator, now) >= GUARD_SWITCHOVER_CAUGHT_UP_NS)
		s->level_since = now;
	s->level = now - s->level_since >= GUARD_SWITCHOVER_LEVEL_NS && runs_what_was_loaded(g) && copy_was_heard(g);
	if (!s->level && s->step == SWITCHOVER_AS_IT_IS && (now >= s->deadline || !runs_what_was_loaded(g))) {
		warm_up(g, now);
		return;
	}
	if (!s->level && now < s->deadline)
		return;
	if (s->level)
		relay_suspend(g->p.relay, true);
	s->since = now;
	enter(g, now, SWITCHOVER_QUIET, GUARD_SWITCHOVER_HOLD_NS);
}

/* Whether the guest got these before it stood cannot be told. So the copy gets them in either epoch: a network may double a packet. */
void
switchover_note_inbound(struct guard *g, unsigned nic, GBytes *frame)
{
	struct switchover *s = &g->p.switchover;

	if (s->step == SWITCHOVER_LAST && relay_stopping(g->p.relay) && s->late.length < GUARD_SWITCHOVER_LATE_MAX)
		frame_queue_push(&s->late, nic, frame);
}

static void
mirror_late(struct guard *g)
{
	unsigned nic;
	GBytes *frame;

	while ((frame = frame_queue_pop(&g->p.switchover.late, &nic))) {
		primary_mirror_inbound(g, nic, frame);
		g_bytes_unref(frame);
	}
}

/* At a boundary, which stays open then. */
bool
switchover_stands(struct guard *g, uint64_t now, uint64_t epoch)
{
	struct switchover *s = &g->p.switchover;

	if (s->step != SWITCHOVER_LAST)
		return false;
	enter(g, now, SWITCHOVER_STANDS, 0);
	s->epoch = epoch;
	mirror_late(g);
	return true;
}

static void
ask_standby(struct guard *g, uint64_t now)
{
	enter(g, now, SWITCHOVER_TOLD, 0);
	primary_tell_left(g);
	tell(g, PEER_SWITCHOVER_TAKE_OVER, now - g->p.switchover.since);
}

static void
hand_over(struct guard *g, uint64_t epoch)
{
	unsigned nic;
	GBytes *frame;

	while ((frame = comparator_next_release(g->p.comparator, &nic))) {
		frame_queue_push(&g->p.switchover.handed, nic, frame);
		primary_pass_on_unsent(g, epoch, nic, frame);
		g_bytes_unref(frame);
	}
}

void
switchover_committed(struct guard *g, uint64_t now, uint64_t epoch)
{
	struct switchover *s = &g->p.switchover;

	if (s->step != SWITCHOVER_STANDS || epoch < s->epoch)
		return;
	hand_over(g, epoch);
	ask_standby(g, now);
}

/* What was handed over and came back to us; it is committed. */
void
switchover_give_back(struct guard *g)
{
	unsigned nic;
	GBytes *frame;

	while (g->p.switchover.step == SWITCHOVER_NONE && (frame = frame_queue_pop(&g->p.switchover.handed, &nic))) {
		g->env.frame_write(g->ctx, GUARD_PORT_REL, nic, frame);
		g_bytes_unref(frame);
	}
}

/* The state is another one. Fenced: the guest is not heard until it is gone, and what it was sent is the other side's. */
void
switchover_ended(struct guard *g, uint64_t now)
{
	struct switchover *s = &g->p.switchover;
	bool stood = s->step >= SWITCHOVER_STANDS && !s->level;

	if (g->failover.state == FAILOVER_FENCED) {
		if (g->failover.reason == FAILOVER_REASON_OPERATOR_SWITCHOVER) {
			g->env.filters_drain(g->ctx);
			primary_hand_over(g);
		}
		return;
	}
	s->step = SWITCHOVER_NONE;
	frame_queue_clear(&s->late);
	if (s->level && g->failover.state == FAILOVER_PROTECTED) {
		relay_suspend(g->p.relay, false);
		relay_tick(g->p.relay, now);
	}
	s->level = false;
	if (stood)
		primary_boundary_finish(g, now, s->epoch);
	primary_pump(g, now);
}

static bool
is_quiet(const struct guard *g)
{
	return !reinject_waits(g) && !g->env.writes_unread(g->ctx, GUARD_PORT_REL) && !g->env.writes_unread(g->ctx, GUARD_PORT_INJ);
}

void
switchover_tick(struct guard *g, uint64_t now)
{
	struct switchover *s = &g->p.switchover;

	if (g->failover.state != FAILOVER_SWITCHING)
		return;
	if (s->step == SWITCHOVER_AS_IT_IS || s->step == SWITCHOVER_CATCHUP)
		catch_up(g, now);
	if (s->step == SWITCHOVER_QUIET && is_quiet(g)) {
		if (s->level)
			ask_standby(g, now);
		else
			enter(g, now, SWITCHOVER_LAST, 0);
	}
	if (now < s->deadline)
		return;
	if (s->step == SWITCHOVER_WARM)
		call_off(g, now, "its memory changes too fast, or its standby is too slow: a checkpoint was not loaded in time");
	else if (s->step == SWITCHOVER_TOLD)
		call_off(g, now, "the standby did not take over in time; it may still do so, if the arbiter was slow");
	else
		call_off(g, now, "QEMU did not send what it was given, or make the last checkpoint, in time");
}

/* Again and again: a checkpoint that was made already when it was asked for is not the last one. */
void
switchover_want(struct guard *g, uint64_t now)
{
	if (g->failover.state == FAILOVER_SWITCHING && g->p.switchover.step == SWITCHOVER_LAST)
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
}

uint64_t
switchover_deadline(const struct guard *g)
{
	const struct switchover *s = &g->p.switchover;

	if (g->failover.state != FAILOVER_SWITCHING)
		return UINT64_MAX;
	return s->step == SWITCHOVER_AS_IT_IS || s->step == SWITCHOVER_CATCHUP || s->step == SWITCHOVER_QUIET ? MIN(s->deadline, g->looked_at + LOOK_NS) : s->deadline;
}

/* The standby's word. */
void
switchover_refused(struct guard *g, uint64_t now)
{
	g_autofree char *why = g_strdup_printf("the copy on %s cannot take over just now", g->config->peer);

	if (g->failover.state == FAILOVER_SWITCHING)
		call_off(g, now, why);
}
