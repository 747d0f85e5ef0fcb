/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard: one side of one protected domain.
 *
 *                 policy/failover   who may run                     policy/liveness   is the peer there
 *                         |                                                |
 *   events  ------->   guard.c  (routes; this file: what both sides share) ---> guard_env: what is to be done
 *                    /          \
 *     guard-primary.c            guard-standby.c
 *     relay, comparator          standby, standby-proxy, disk-queue
 *
 * Epochs. Epoch n is what the primary does between checkpoint n-1 and checkpoint n. The boundary is exact: QEMU stops the guest, puts every frame it
 * sent into the filters' sockets and has every mirrored write answered (bdrv_drain_all in do_vm_stop) before it writes VMSTATE_SEND; so when that
 * message is seen, the sockets are drained, the disk stream gets its mark, and only then is the guest let go.
 *
 * Who speaks. The comparator lets nothing out that the other side could not account for; whether this side may go on without the other is failover.c's
 * to say, by the arbiter's word. A primary that was asleep (a stopped process, a stalled host) must not wake up and send what it held while the other side
 * has taken over: it sends only while it knows, from heartbeats that came back, that the standby cannot have given it up yet. On the way from "forming" to "protected" the order is: gate closed - checkpoint GUARD_ARM_EPOCH committed - record written at the
 * arbiter - own state durable - ARM sent. A standby that was not armed never goes live, so at no time can two copies speak.
 */
#include "daemon/guard-internal.h"

#include <string.h>

const char *
guard_op_name(enum guard_op op)
{
	static const char *const names[] = {
		[GUARD_OP_CONNECT] = "connect",
		[GUARD_OP_ATTACH] = "attach",
		[GUARD_OP_DISKS] = "disks",
		[GUARD_OP_MIGRATE] = "migrate",
		[GUARD_OP_TRACK] = "track",
		[GUARD_OP_SUSPEND] = "suspend",
		[GUARD_OP_STANDS] = "stands",
		[GUARD_OP_NUDGE] = "nudge",
		[GUARD_OP_DETACH] = "detach",
		[GUARD_OP_STANDBY_ATTACH] = "standby-attach",
		[GUARD_OP_STANDBY_PAUSE] = "standby-pause",
		[GUARD_OP_STANDBY_REFRESH] = "standby-refresh",
		[GUARD_OP_STANDBY_WAKE] = "standby-wake",
		[GUARD_OP_STANDBY_COMMIT] = "standby-commit",
		[GUARD_OP_STANDBY_LIVE] = "standby-live",
		[GUARD_OP_STANDBY_OPEN] = "standby-open",
		[GUARD_OP_STANDBY_FINISH] = "standby-finish",
		[GUARD_OP_STOP_COPY] = "stop-copy",
	};
	G_STATIC_ASSERT(G_N_ELEMENTS(names) == GUARD_OP_LAST);
	return names[op];
}

const char *
guard_phase_name(enum guard_phase phase)
{
	static const char *const names[] = {
		[GUARD_PHASE_IDLE] = "idle",
		[GUARD_PHASE_CONNECT] = "connect",
		[GUARD_PHASE_ATTACH] = "attach",
		[GUARD_PHASE_DISK] = "disk",
		[GUARD_PHASE_MEMORY] = "memory",
		[GUARD_PHASE_ARM] = "arm",
		[GUARD_PHASE_RUN] = "run",
	};
	G_STATIC_ASSERT(G_N_ELEMENTS(names) == GUARD_PHASE_LAST);
	return names[phase];
}

/* -- small helpers ------------------------------------------------------------------------------------------------------- */

void
guard_send(struct guard *g, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	if (g->linked)
		g->env.peer_send(g->ctx, type, head, length, body);
}

void
guard_send_u64(struct guard *g, enum peer_type type, unsigned n, const uint64_t *values)
{
	uint8_t head[32];

	g_assert(n * 8 <= sizeof head);
	for (unsigned i = 0; i < n; i++)
		put_be64(head + 8 * i, values[i]);
	guard_send(g, type, head, n * 8, NULL);
}

static struct json_object *
event_new(const struct guard *g, const char *type, const char *text)
{
	struct json_object *e = json_object_new_object();

	json_object_object_add(e, "type", json_object_new_string(type));
	json_object_object_add(e, "domain", json_object_new_string(g->config->domain));
	json_object_object_add(e, "role", json_object_new_string(guard_is_primary(g) ? "primary" : "standby"));
	json_object_object_add(e, "state", json_object_new_string(failover_state_name(g->failover.state)));
	json_object_object_add(e, "reason", json_object_new_string(failover_reason_name(g->failover.reason)));
	json_object_object_add(e, "generation", json_object_new_int64((int64_t)g->failover.generation));
	json_object_object_add(e, "text", json_object_new_string(text));
	return e;
}

void
guard_event(struct guard *g, const char *type, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g->env.event(g->ctx, event_new(g, type, text));
}

void
guard_set_phase(struct guard *g, enum guard_phase phase)
{
	if (g->phase == phase)
		return;
	g->phase = phase;
	guard_event(g, "phase", "%s", guard_phase_name(phase));
}

/* Answers guard_start() once; failure NULL: the pair is protected (primary) or the listener is ready (standby). */
void
guard_started(struct guard *g, const char *failure)
{
	g_autoptr(GError) error = NULL;

	if (g->start_answered)
		return;
	g->start_answered = true;
	if (failure)
		error = g_error_new_literal(FTD_ERROR, FTD_ERROR_FAILED, failure);
	g->env.started(g->ctx, error);
}

/*
 * False: what is on the disk is not this. A pair is not armed then, since a host that comes back must find that it was. What follows goes on all the same:
 * the arbiter's record is the authority and is durable, and a local disk that cannot be written must not take the VM down with it.
 */
bool
guard_persist(struct guard *g)
{
	const struct guard_config *c = g->config;
	g_autoptr(GError) error = NULL;
	struct durable_state d = {
		.role = c->role,
		.state = g->failover.state,
		.reason = g->failover.reason,
		.generation = g->failover.generation,
	};

	g_strlcpy(d.pair, c->pair, sizeof d.pair);
	g_strlcpy(d.domain, c->domain, sizeof d.domain);
	g_strlcpy(d.self, c->self, sizeof d.self);
	g_strlcpy(d.peer, c->peer, sizeof d.peer);
	g_strlcpy(d.arbiter, c->arbiter, sizeof d.arbiter);
	g_strlcpy(d.nonce, g->nonce, sizeof d.nonce);
	if (g->env.persist(g->ctx, &d, &error))
		return true;
	guard_event(g, "error", "the pair's state could not be written: %s", error->message);
	return g_error_matches(error, FTD_ERROR, FTD_ERROR_TIMEOUT);	/* a slow disk: it is being written */
}

/* -- policy: actions of failover.c, in their order ------------------------------------------------------------------------ */

/* other: the other side's name in the record, "" for a claim to be the only owner. Answered by guard_claimed(). */
void
guard_claim_generation(struct guard *g, uint64_t generation, const char *other, const char *reason)
{
	struct arbiter_record r = { .generation = generation };

	g_strlcpy(r.pair, g->config->pair, sizeof r.pair);
	g_strlcpy(r.active, g->config->self, sizeof r.active);
	g_strlcpy(r.standby, other, sizeof r.standby);
	g_strlcpy(r.nonce, g->nonce, sizeof r.nonce);
	g_strlcpy(r.reason, reason, sizeof r.reason);
	g->claim_out = true;
	g->env.claim(g->ctx, &r);
}

static void
act_freeze(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g))
		primary_freeze(g);
	else
		standby_side_freeze(g, now);
}

static void
act_tell(struct guard *g, enum peer_type type)
{
	uint8_t reason[2];

	put_be16(reason, (uint16_t)g->failover.reason);
	guard_send(g, type, reason, sizeof reason, NULL);
}

static void
act_finish(struct guard *g)
{
	g_autofree char *text = NULL;
	struct json_object *e;

	if (g->finished)
		return;
	g->finished = true;
	guard_started(g, g->failure[0] ? g->failure : failover_reason_text(g->failover.reason));
	text = g_strdup_printf("%s: %s", failover_state_name(g->failover.state), g->failure[0] ? g->failure : failover_reason_text(g->failover.reason));
	e = event_new(g, "finished", text);
	if (g->gap_ns)
		json_object_object_add(e, "gap_ms", json_object_new_int64((int64_t)(g->gap_ns / 1000000)));
	g->env.event(g->ctx, e);
	g->env.finished(g->ctx);
}

static void
act_undo(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g))
		primary_undo(g, now);
	else
		g->env.op_start(g->ctx, GUARD_OP_STOP_COPY);
}

static void
act_go_solo(struct guard *g, uint64_t now)
{
	g_assert(failover_may_speak_alone(&g->failover));
	if (guard_is_primary(g))
		primary_go_solo(g, now);
	else
		standby_side_go_solo(g, now);
}

void
guard_policy(struct guard *g, uint64_t now, enum failover_event_type event, enum failover_reason reason)
{
	enum failover_state before = g->failover.state;
	unsigned actions = failover_step(&g->failover, now, event, reason);

	if (g->failover.state != before) {
		bool plain = g->failover.reason == FAILOVER_REASON_NONE;

		g->state_since = now;
		guard_event(g, "state", "%s -> %s on %s%s%s", failover_state_name(before), failover_state_name(g->failover.state), failover_event_name(event),
			    plain ? "" : ": ", plain ? "" : failover_reason_text(g->failover.reason));
	}
	if (before == FAILOVER_FORMING && g->failover.state == FAILOVER_PROTECTED)
		g->env.formed(g->ctx);
	if (actions & FAILOVER_ACT_FREEZE)
		act_freeze(g, now);
	if (actions & FAILOVER_ACT_PERSIST)
		g->written = guard_persist(g);
	if (event == FAILOVER_EV_GRANTED)
		g->env.generation_changed(g->ctx, g->failover.generation);
	if (actions & FAILOVER_ACT_CLAIM)
		guard_claim_generation(g, g->failover.generation + 1, "", failover_reason_name(g->failover.reason));
	if (actions & FAILOVER_ACT_HAND_OVER)
		switchover_begin(g, now);
	if (before == FAILOVER_SWITCHING && g->failover.state == FAILOVER_FENCED)
		switchover_ended(g, now);
	if (actions & FAILOVER_ACT_ABDICATE) {
		if (guard_is_primary(g) && g->p.live)
			primary_hand_over(g);
		act_tell(g, PEER_ABDICATE);
	}
	if (actions & FAILOVER_ACT_TELL_GOODBYE)
		act_tell(g, PEER_GOODBYE);
	if (actions & FAILOVER_ACT_GO_SOLO)
		act_go_solo(g, now);
	if (actions & FAILOVER_ACT_STOP_COPY)
		g->env.op_start(g->ctx, GUARD_OP_STOP_COPY);
	if (actions & FAILOVER_ACT_UNDO)
		act_undo(g, now);
	if (actions & FAILOVER_ACT_FINISH)
		act_finish(g);
	if (before == FAILOVER_SWITCHING && g->failover.state != before && g->failover.state != FAILOVER_FENCED)
		switchover_ended(g, now);
}

static void
remember_failure(struct guard *g, const char *text)
{
	if (!g->failure[0])
		g_strlcpy(g->failure, text, sizeof g->failure);
}

/* -- the operator's words -------------------------------------------------------------------------------------------------- */

void
guard_start(struct guard *g, uint64_t now)
{
	if (g->phase != GUARD_PHASE_IDLE)
		return;
	if (guard_is_primary(g))
		primary_start(g, now);
	else
		standby_side_start(g, now);
}

void
guard_disable(struct guard *g, uint64_t now)
{
	guard_policy(g, now, FAILOVER_EV_OPERATOR_DISABLE, FAILOVER_REASON_OPERATOR_DISABLE);
}

void
guard_failover(struct guard *g, uint64_t now)
{
	guard_policy(g, now, FAILOVER_EV_OPERATOR_FAILOVER, FAILOVER_REASON_OPERATOR_FAILOVER);
}

void
guard_switchover(struct guard *g, uint64_t now)
{
	g_assert(guard_is_primary(g) && !guard_is_suspended(g));
	guard_policy(g, now, FAILOVER_EV_OPERATOR_SWITCHOVER, FAILOVER_REASON_OPERATOR_SWITCHOVER);
}

void
guard_guest_ended(struct guard *g, uint64_t now)
{
	guard_policy(g, now, FAILOVER_EV_GUEST_ENDED, FAILOVER_REASON_GUEST_ENDED);
}

bool
guard_end_standby(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g) || (g->failover.state != FAILOVER_FORMING && g->failover.state != FAILOVER_PROTECTED))
		return false;
	guard_guest_ended(g, now);
	return true;
}

void
guard_guest_failed(struct guard *g, uint64_t now, enum failover_reason reason)
{
	if (!guard_is_primary(g) || (g->failover.state != FAILOVER_PROTECTED && g->failover.state != FAILOVER_SWITCHING))
		return;
	g->p.ended_due = UINT64_MAX;
	remember_failure(g, failover_reason_text(reason));
	guard_policy(g, now, FAILOVER_EV_QEMU_DIED, reason);
}

void
guard_guest_stopped(struct guard *g, uint64_t now, uint64_t when)
{
	if (guard_is_primary(g))
		primary_stopped(g, now, when);
}

void
guard_guest_started(struct guard *g, uint64_t now, const uint64_t *starts, size_t n)
{
	if (guard_is_primary(g))
		primary_started(g, now, starts, n);
}

void
guard_guest_resumed(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g))
		primary_resume(g, now);
}

void
guard_guest_off(struct guard *g, uint64_t now, bool off)
{
	if (guard_is_primary(g))
		primary_off(g, now, off);
}

bool
guard_is_suspended(const struct guard *g)
{
	return guard_is_primary(g) && g->p.suspend != SUSPEND_NONE;
}

/* -- trouble --------------------------------------------------------------------------------------------------------------- */

void
guard_data_failed(struct guard *g, uint64_t now, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	if (failover_may_speak_alone(&g->failover) && g->failover.state != FAILOVER_FORMING)
		return;		/* the pair is dissolved: its sockets are expected to break */
	remember_failure(g, text);
	guard_event(g, "error", "%s", text);
	guard_policy(g, now, FAILOVER_EV_DATA_FAILED, g->failover.state == FAILOVER_FORMING ? FAILOVER_REASON_SETUP_FAILED : FAILOVER_REASON_DATA_FAILED);
}

/*
 * A QEMU that ends in good order (SIGTERM by `virsh destroy`, a guest that was shut down, `quit`) takes its leave of every disk first: qemu_cleanup() closes
 * all block nodes, and block/nbd.c says NBD_CMD_DISC then. One that crashed or was killed says nothing. libvirt's own event would tell the same, up to
 * 200 ms later (virProcessKillPainfully polls), and only if ftd runs.
 */
void
guard_qemu_failed(struct guard *g, uint64_t now, const char *what)
{
	if (!guard_is_primary(g))
		standby_side_spoil(g, now);
	guard_data_failed(g, now, "QEMU closed %s", what);
}

/* A guest that panicked is ended by libvirt in good order as well, and who tells of the panic has a longer way. Nobody waits for a guest that was ended on purpose. */
static bool
cause_may_come(const struct guard *g)
{
	return guard_is_primary(g) && g->p.took_leave && (g->failover.state == FAILOVER_PROTECTED || g->failover.state == FAILOVER_SWITCHING);
}

void
guard_qemu_gone(struct guard *g, uint64_t now)
{
	if (g->detaching || g->finished)
		return;
	if (cause_may_come(g)) {
		if (!g->p.ended_due)
			g->p.ended_due = now + GUARD_CAUSE_NS;
		if (now < g->p.ended_due)
			return;
	}
	if (guard_is_primary(g) && g->p.took_leave)
		guard_policy(g, now, FAILOVER_EV_GUEST_ENDED, FAILOVER_REASON_GUEST_ENDED);
	if (g->finished || g->failover.state == FAILOVER_CLOSING)
		return;
	remember_failure(g, "QEMU on this host has ended");
	guard_policy(g, now, FAILOVER_EV_QEMU_DIED, FAILOVER_REASON_QEMU_DIED);
}

/* A process that hangs may wake up at any time: it is given up like one that died, before anybody else goes on. */
void
guard_qemu_hung(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g)) {
		remember_failure(g, "QEMU on this host does not answer");
		guard_event(g, "error", "QEMU does not answer: it is given up");
		guard_policy(g, now, FAILOVER_EV_QEMU_DIED, FAILOVER_REASON_QEMU_HUNG);
	} else {
		guard_policy(g, now, FAILOVER_EV_COPY_UNFIT, FAILOVER_REASON_QEMU_HUNG);
		guard_data_failed(g, now, "the copy's QEMU does not answer");
	}
}

/* Nobody waits for a guest that is to stand; and a copy that stands still costs nobody anything before it is to take over. */
static uint64_t
stopped_patience(const struct guard *g)
{
	if (guard_is_suspended(g) || g->failover.state != FAILOVER_PROTECTED)
		return UINT64_MAX;
	return guard_is_primary(g) ? primary_hang_patience(g, g->config->suspect_ms * 1000000ull) : GUARD_QEMU_HANG_NS;
}

void
guard_qemu_looked(struct guard *g, uint64_t now, bool stopped, uint64_t cpu_ns)
{
	uint64_t since = MAX(g->stopped_since, g->awake_since);

	if (guard_is_primary(g))
		primary_worked(g, now, cpu_ns);
	if (!stopped) {
		g->looks_stopped = 0;
		return;
	}
	if (g->looks_stopped++ == 0)
		g->stopped_since = since = now;
	if (g->looks_stopped <= GUARD_LOOKS_STOPPED || now - MIN(since, now) < stopped_patience(g))
		return;
	guard_event(g, "error", "QEMU's process is stopped, since %d ms", (int)((now - since) / 1000000));
	guard_qemu_hung(g, now);
}

void
guard_copy_reset(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g) || g->s.going_live)
		return;
	if (g->failover.fit && now >= g->s.unfit_event_after) {
		g->s.unfit_event_after = now + GUARD_UNFIT_EVENT_NS;
		g->s.told_unfit = true;
		guard_event(g, "copy-unfit", "the copy was reset or switched off: not fit to take over before the next checkpoint is loaded");
	}
	g->s.reset_in_load = standby_loading(g->s.standby);
	g->s.refresh_until = now + GUARD_REFRESH_NS;
	guard_policy(g, now, FAILOVER_EV_COPY_UNFIT, FAILOVER_REASON_COPY_UNFIT);
	standby_side_repair(g, now);
	standby_side_pump(g, now);
}

void
guard_copy_off(struct guard *g, uint64_t now)
{
	if (!guard_is_primary(g))
		g->s.off_until = now + GUARD_OFF_NS;
	guard_copy_reset(g, now);
}

void
guard_copy_prelaunch(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g))
		return;
	g->s.prelaunch = true;
	guard_copy_reset(g, now);
}

/* Who has reset it starts it, too: in the middle of a load that would let it run on half of one. Before the reset RESUME is the end of a load. */
void
guard_copy_runs(struct guard *g, uint64_t now)
{
	if (guard_is_primary(g) || !g->s.prelaunch)
		return;
	g->s.off_until = 0;
	standby_side_pump(g, now);
}

void
guard_overlays_late(struct guard *g)
{
	guard_event(g, "error", "what %s wrote here is still not in its images, and its overlays are in use: they are waited for; see ftd(8), Overlays that stay", g->config->domain);
}

void
guard_peer_closed(struct guard *g, uint64_t now, enum peer_channel channel, const char *why)
{
	static const char *const names[] = { "control", "fast", "bulk", "disk" };

	if (g->finished)
		return;
	g->linked = false;
	if (g->failover.state == FAILOVER_FORMING) {
		g_autofree char *text = g_strdup_printf("the %s connection to %s ended: %s", names[channel], g->config->peer, why);
		remember_failure(g, text);
	}
	guard_policy(g, now, FAILOVER_EV_PEER_LOST, FAILOVER_REASON_PEER_CLOSED);
}

void
guard_claimed(struct guard *g, uint64_t now, enum arbiter_verdict verdict, const struct arbiter_record *holder, const char *error)
{
	static const enum failover_event_type events[] = {
		[ARBITER_GRANTED] = FAILOVER_EV_GRANTED,
		[ARBITER_DENIED] = FAILOVER_EV_DENIED,
		[ARBITER_SILENT] = FAILOVER_EV_ARBITER_SILENT,
	};

	g->claim_out = false;
	if (verdict == ARBITER_SILENT)
		guard_event(g, "error", "the arbiter gave no answer: %s", error ? error : "timed out");
	if (verdict == ARBITER_DENIED)
		guard_event(g, "denied", "generation %" G_GUINT64_FORMAT " belongs to %s", holder ? holder->generation : 0, holder ? holder->active : "somebody else");
	if (g->p.armed_wanted) {
		primary_arm_verdict(g, now, verdict, error);
		return;
	}
	guard_policy(g, now, events[verdict], g->failover.reason);
}

/* -- events of the shell ----------------------------------------------------------------------------------------------------- */

static void
setup_failed(struct guard *g, uint64_t now, const GError *error)
{
	remember_failure(g, error->message);
	guard_policy(g, now, FAILOVER_EV_DATA_FAILED, FAILOVER_REASON_SETUP_FAILED);
}

void
guard_op_done(struct guard *g, uint64_t now, enum guard_op op, const GError *error)
{
	if (error && op != GUARD_OP_STANDS)
		guard_event(g, "error", "%s: %s", guard_op_name(op), error->message);
	switch (op) {
	case GUARD_OP_CONNECT:
	case GUARD_OP_ATTACH:
	case GUARD_OP_DISKS:
	case GUARD_OP_MIGRATE:
	case GUARD_OP_STANDBY_ATTACH:
		if (g->failover.state != FAILOVER_FORMING)
			return;		/* called off meanwhile */
		if (error) {
			setup_failed(g, now, error);
			return;
		}
		break;
	case GUARD_OP_TRACK:
		if (error && g->failover.state == FAILOVER_FORMING)
			setup_failed(g, now, error);
		break;
	case GUARD_OP_STOP_COPY:
		guard_policy(g, now, FAILOVER_EV_STOPPED, g->failover.reason);
		return;
	case GUARD_OP_SUSPEND:
	case GUARD_OP_STANDS:
		primary_suspend_done(g, now, error);
		return;
	case GUARD_OP_STANDBY_PAUSE:
	case GUARD_OP_STANDBY_REFRESH:
		break;		/* a copy that cannot run cannot be refreshed; what it is worth its own events tell */
	case GUARD_OP_NUDGE:
		g->p.nudging = false;
		return;
	case GUARD_OP_DETACH:
	case GUARD_OP_STANDBY_WAKE:
	case GUARD_OP_STANDBY_COMMIT:
	case GUARD_OP_STANDBY_LIVE:
	case GUARD_OP_STANDBY_OPEN:
	case GUARD_OP_STANDBY_FINISH:
	case GUARD_OP_LAST:
		break;		/* this side is the only one: go on whatever clean-up failed */
	}
	if (guard_is_primary(g))
		primary_op_done(g, now, op);
	else
		standby_side_op_done(g, now, op);
}

void
guard_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame)
{
	if (guard_is_primary(g))
		primary_frame(g, now, port, nic, frame);
	else
		standby_side_frame(g, now, port, nic, frame);
}

static void
send_heartbeat(struct guard *g, uint64_t now)
{
	guard_send_u64(g, PEER_HEARTBEAT, 3, (uint64_t[]){ now, g->peer_clock, now - g->peer_clock_at });
}

static void
heartbeat_received(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint64_t theirs = byte_reader_be64(&r), echo = byte_reader_be64(&r), waited = byte_reader_be64(&r);

	if (!byte_reader_done(&r)) {
		guard_data_failed(g, now, "a heartbeat of %u bytes", frame->length);
		return;
	}
	if (theirs <= g->peer_clock)
		return;		/* it came over the other connection already */
	g->peer_clock = theirs;
	g->peer_clock_at = now;
	if (g->linked && !g->finished && liveness_answer_due(&g->liveness, now))
		send_heartbeat(g, now);
	if (echo == 0 || echo > now)
		return;
	histogram_record(&g->round_trip, now - echo - MIN(waited, now - echo));
	if (guard_is_primary(g))
		primary_lease(g, now, echo);
}

void
guard_peer_linked(struct guard *g, uint64_t now)
{
	g->linked = true;
	liveness_heard(&g->liveness, now);
	g->fast_heard_at = now;
	guard_event(g, "linked", "connected to %s", g->config->peer);
}

static enum failover_reason
reason_of(const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint16_t v = byte_reader_be16(&r);

	return byte_reader_done(&r) && v < FAILOVER_REASON_LAST ? (enum failover_reason)v : FAILOVER_REASON_NONE;
}

/*
 * Each frame tells the generation of its sender. They differ when one side was granted the next: an older frame was sent before the peer heard of it, and a
 * later one says that the next one is the peer's, whether its GOODBYE is here or still under way on another connection. Anything else is not of this pair.
 * STRAY and INBOUND are packets of the LAN's, whoever sends them on, and after a switchover they come late.
 */
static bool
of_this_generation(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	uint64_t ours = g->failover.generation, made = g->config->generation;
	bool won = frame->generation == made + 1 && ours == made && g->failover.state != FAILOVER_FORMING;
	bool late = frame->generation == made && ours == made + 1 && (frame->type == PEER_STRAY || frame->type == PEER_INBOUND);

	if (frame->generation == ours || (won && frame->type == PEER_GOODBYE) || late)
		return true;
	if (won)
		guard_policy(g, now, FAILOVER_EV_PEER_GOODBYE, FAILOVER_REASON_PEER_GOODBYE);
	else if (frame->generation != made)
		guard_data_failed(g, now, "%s of generation %" G_GUINT64_FORMAT " in a pair of generation %" G_GUINT64_FORMAT, peer_type_name(frame->type),
				  frame->generation, made);
	return false;
}

void
guard_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	if (!of_this_generation(g, now, frame))
		return;
	liveness_heard(&g->liveness, now);
	if (frame->channel == PEER_CHANNEL_FAST)
		g->fast_heard_at = now;
	switch ((int)frame->type) {
	case PEER_HEARTBEAT:
		heartbeat_received(g, now, frame);
		return;
	case PEER_ABDICATE:
		guard_event(g, "abdicated", "%s: %s", g->config->peer, failover_reason_text(reason_of(frame)));
		guard_policy(g, now, FAILOVER_EV_PEER_ABDICATED, FAILOVER_REASON_PEER_ABDICATED);
		return;
	case PEER_GOODBYE:
		guard_event(g, "goodbye", "%s: %s", g->config->peer, failover_reason_text(reason_of(frame)));
		guard_policy(g, now, FAILOVER_EV_PEER_GOODBYE, FAILOVER_REASON_PEER_GOODBYE);
		return;
	case PEER_FAIL: {
		g_autofree char *text = g_strndup((const char *)frame->payload, MIN(frame->length, 200));
		g_autofree char *valid = g_utf8_make_valid(text, -1);
		g_autofree char *whole = g_strdup_printf("%s: %s", g->config->peer, valid);
		remember_failure(g, whole);
		guard_event(g, "peer-error", "%s", whole);
		return;
	}
	default:
		if (guard_is_primary(g))
			primary_peer_frame(g, now, frame, payload);
		else
			standby_side_peer_frame(g, now, frame, payload);
	}
}

/* -- time ---------------------------------------------------------------------------------------------------------------------- */

/* Its heartbeats may come over the disk connection while the one that decisions come over stands still, until TCP gives it up after a quarter of an hour. */
static uint64_t
fast_deadline(const struct guard *g)
{
	return MAX(g->fast_heard_at, g->awake_since) + MAX(GUARD_FAST_SILENT_NS, 5 * g->liveness.limit_ns);
}

/* A pair that is not formed, and whose other side never came: whoever made this guard may have ended meanwhile, and cleans up once it has ended too. */
static uint64_t
link_deadline(const struct guard *g)
{
	return g->failover.state == FAILOVER_FORMING && !g->linked && !g->finished ? g->state_since + GUARD_LINK_TIMEOUT_NS : UINT64_MAX;
}

static void
link_tick(struct guard *g, uint64_t now)
{
	if (now < link_deadline(g))
		return;
	remember_failure(g, "the other side did not connect");
	guard_policy(g, now, FAILOVER_EV_PEER_LOST, FAILOVER_REASON_PEER_SILENT);
}

static void
liveness_tick(struct guard *g, uint64_t now)
{
	if (!g->linked || g->finished)
		return;
	if (liveness_beat_due(&g->liveness, now))
		send_heartbeat(g, now);
	if (liveness_check(&g->liveness, now) == LIVENESS_LOST || now >= fast_deadline(g)) {
		g->linked = false;
		if (g->failover.state == FAILOVER_FORMING)
			remember_failure(g, failover_reason_text(FAILOVER_REASON_PEER_SILENT));
		guard_policy(g, now, FAILOVER_EV_PEER_LOST, FAILOVER_REASON_PEER_SILENT);
	}
}

void
guard_tick(struct guard *g, uint64_t now)
{
	if (now > g->looked_at + GUARD_ASLEEP_NS)
		g->awake_since = now;
	g->looked_at = now;
	link_tick(g, now);
	liveness_tick(g, now);
	if (failover_deadline(&g->failover) <= now && !g->claim_out)
		guard_policy(g, now, FAILOVER_EV_TICK, g->failover.reason);
	if (guard_is_primary(g))
		primary_tick(g, now);
	else
		standby_side_tick(g, now);
}

bool
guard_is_urgent(const struct guard *g)
{
	if (g->failover.state != FAILOVER_PROTECTED)
		return true;
	if (guard_is_primary(g))
		return g->p.passive || g->p.lease_waiting || relay_wanted(g->p.relay) || relay_stopping(g->p.relay) || relay_uncommitted(g->p.relay) || reinject_waits(g) ||
		       g->p.disk_outstanding > g->config->max_disk_bytes;
	return g->s.passive || g->s.handed_over || standby_busy(g->s.standby) || disk_queue_bytes(g->s.disks) > g->config->max_disk_bytes;
}

uint64_t
guard_deadline(const struct guard *g)
{
	uint64_t t = g->claim_out ? UINT64_MAX : failover_deadline(&g->failover);

	if (g->finished)
		return UINT64_MAX;
	t = MIN(t, link_deadline(g));
	if (g->linked)		/* and so often that nothing but sleep makes looked_at so old */
		t = MIN(MIN(t, g->looked_at + GUARD_ASLEEP_NS / 2), MIN(liveness_deadline(&g->liveness), fast_deadline(g)));
	return MIN(t, guard_is_primary(g) ? primary_deadline(g) : standby_side_deadline(g));
}

/* -- life ------------------------------------------------------------------------------------------------------------------------ */

struct guard *
guard_new(const struct guard_config *config, uint64_t now, const struct guard_env *env, void *ctx)
{
	struct guard *g = g_new0(struct guard, 1);
	g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, config->token, -1);

	g->config = config;
	g->env = *env;
	g->ctx = ctx;
	/* The claimant's nonce: the same after a restart of this guard, another one for the peer's side. */
	g_snprintf(g->nonce, sizeof g->nonce, "%.31s%c", digest, config->role == FAILOVER_PRIMARY ? 'a' : 'b');
	failover_init(&g->failover, &(struct failover_config){ .role = config->role, .claim_retry_ns = GUARD_CLAIM_RETRY_NS }, config->generation);
	liveness_init(&g->liveness, now, config->heartbeat_ms * 1000000ull, config->suspect_ms * 1000000ull);
	g->state_since = now;
	history_init(&g->history, now);
	if (guard_is_primary(g))
		primary_init(g, now);
	else
		standby_side_init(g);
	return g;
}

void
guard_free(struct guard *g)
{
	if (!g)
		return;
	if (guard_is_primary(g))
		primary_clear(g);
	else
		standby_side_clear(g);
	g_free(g);
}

enum failover_state
guard_state(const struct guard *g)
{
	return g->failover.state;
}

enum failover_reason
guard_reason(const struct guard *g)
{
	return g->failover.reason;
}

enum guard_phase
guard_current_phase(const struct guard *g)
{
	return g->phase;
}

uint64_t
guard_generation(const struct guard *g)
{
	return g->failover.generation;
}
