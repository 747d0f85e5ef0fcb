/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens to a pair and when, chosen by the seed or told by a story; and what must have come of it when the faults have stopped. */
#include "tests/sim/sim.h"

#include <string.h>

#define FORM (60 * MS)
#define TROUBLE (500 * MS)
#define QUIET (6000 * MS)
#define LOSER_GOES (4000 * MS)
#define HANG (900 * MS)		/* what stands for less is not given up: GUARD_QEMU_HANG_NS */
#define STOPPED (100 * MS)	/* ... and who is stopped for less, not either: the suspicion time, and some */
#define NOTICED (300 * MS)	/* twice the suspicion time */
#define UNDISTURBED (400 * MS)
#define MENDED (700 * MS)	/* GUARD_REPAIR_NS, and a checkpoint */

enum fault {
	FAULT_RESET_LINK, FAULT_RESET_LINKS, FAULT_CUT, FAULT_CUT_TO_STANDBY, FAULT_CUT_TO_PRIMARY, FAULT_HEAL, FAULT_CORRUPT,
	FAULT_KILL_GUARD, FAULT_CRASH_GUARD, FAULT_PAUSE_GUARD, FAULT_OP_FAILS, FAULT_KILL_QEMU, FAULT_POWER,
	FAULT_ARBITER_GONE, FAULT_ARBITER_SLOW, FAULT_ARBITER_BACK,
	FAULT_PERSIST_FAILS, FAULT_PERSIST_CRASHES, FAULT_SLOW_DISK, FAULT_DISK_ERROR, FAULT_COPY_RESET, FAULT_COPY_STREAM,
	FAULT_DISABLE, FAULT_FAILOVER, FAULT_SWITCHOVER, FAULT_GUEST_ENDS,
	FAULT_HANG_QEMU, FAULT_HICCUP_QEMU, FAULT_STALL_HOST, FAULT_STALL_GUARDS, FAULT_POWER_BACK, FAULT_ARBITER_EMPTY,
	FAULT_PANIC, FAULT_PRIMARY_DISK, FAULT_SUSPEND, FAULT_RESUME, FAULT_GUEST_RESET, FAULT_GUEST_OFF, FAULT_SET_MODE, FAULT_STALE_FRAME,
	FAULT_STOP_QEMU,
	FAULT_LAST
};

static const struct { const char *text; unsigned weight; } faults[] = {
	[FAULT_RESET_LINK] = { "one connection of the link is reset", 6 },
	[FAULT_RESET_LINKS] = { "all connections of the link are reset", 4 },
	[FAULT_CUT] = { "the link is cut", 10 },
	[FAULT_CUT_TO_STANDBY] = { "the link is cut from a to b", 4 },
	[FAULT_CUT_TO_PRIMARY] = { "the link is cut from b to a", 4 },
	[FAULT_HEAL] = { "the link heals", 5 },
	[FAULT_CORRUPT] = { "the link will damage a checkpoint", 3 },
	[FAULT_KILL_GUARD] = { "the guard is killed", 7 },
	[FAULT_CRASH_GUARD] = { "the guard will crash", 6 },
	[FAULT_OP_FAILS] = { "QEMU will refuse a command", 2 },
	[FAULT_PAUSE_GUARD] = { "the guard sleeps", 10 },
	[FAULT_KILL_QEMU] = { "QEMU is killed", 8 },
	[FAULT_POWER] = { "the host loses power", 10 },
	[FAULT_ARBITER_GONE] = { "the arbiter is out of reach", 5 },
	[FAULT_ARBITER_SLOW] = { "the arbiter is slow", 4 },
	[FAULT_ARBITER_BACK] = { "the arbiter is back", 2 },
	[FAULT_PERSIST_FAILS] = { "the guard's state cannot be written", 2 },
	[FAULT_PERSIST_CRASHES] = { "the guard will die when it writes its state", 3 },
	[FAULT_SLOW_DISK] = { "the disk is slow", 5 },
	[FAULT_DISK_ERROR] = { "the disk of the copy will fail", 4 },
	[FAULT_COPY_RESET] = { "the copy resets itself", 4 },
	[FAULT_COPY_STREAM] = { "the copy's QEMU closes its migration stream", 2 },
	[FAULT_DISABLE] = { "the operator disables protection", 4 },
	[FAULT_FAILOVER] = { "the operator asks for a failover", 4 },
	[FAULT_SWITCHOVER] = { "the operator asks for a switchover", 8 },
	[FAULT_GUEST_ENDS] = { "the guest is shut down", 1 },
	[FAULT_HANG_QEMU] = { "QEMU hangs", 3 },
	[FAULT_HICCUP_QEMU] = { "QEMU stands still for a while", 3 },
	[FAULT_STALL_HOST] = { "the host stands still for a while", 3 },
	[FAULT_STALL_GUARDS] = { "both guards sleep", 2 },
	[FAULT_POWER_BACK] = { "the host has power again", 6 },
	[FAULT_ARBITER_EMPTY] = { "the arbiter's share is not mounted", 2 },
	[FAULT_PANIC] = { "the guest panics", 2 },
	[FAULT_PRIMARY_DISK] = { "the primary's disk reports an error", 2 },
	[FAULT_SUSPEND] = { "an administrator suspends the guest", 5 },
	[FAULT_RESUME] = { "an administrator resumes the guest", 3 },
	[FAULT_GUEST_RESET] = { "the guest reboots", 2 },
	[FAULT_GUEST_OFF] = { "the guest switches itself off, to be started again", 3 },
	[FAULT_SET_MODE] = { "the operator sets another mode", 5 },
	[FAULT_STALE_FRAME] = { "a frame of an earlier generation arrives", 4 },
	[FAULT_STOP_QEMU] = { "QEMU's process is stopped", 4 },
};
G_STATIC_ASSERT(G_N_ELEMENTS(faults) == FAULT_LAST);

/* -- one fault ------------------------------------------------------------------------------------------------------------------------ */

static void
tell(struct world *w, unsigned host, enum item_kind what, uint64_t delay)
{
	proc_tell(&w->host[host].p, what, delay, 0);
}

static void
kill_qemu(struct world *w, unsigned host)
{
	w->host[host].damaged = w->host[host].copy_lost = true;
	qemu_kill(&w->host[host].q);
	tell(w, host, ITEM_QEMU_GONE, rnd(w, 2 * MS));
}

static void
reset_copy(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	if (h->q.alive && h->q.colo == COLO_IN_IDLE && !h->p.live)
		qemu_reset_copy(&h->q);
}

static void
close_stream(struct world *w, unsigned host)
{
	struct qemu *q = &w->host[host].q;

	if (!q->alive || !w->host[host].p.migration_open)
		return;
	w->host[host].damaged = true;
	q->colo = COLO_NONE;
	w->host[host].p.migration_open = false;
	tell(w, host, ITEM_QEMU_CLOSED, 60 * MS);
}

static void
end_guest(struct world *w)
{
	struct host *h = &w->host[w->primary];

	if (!h->q.alive || w->host[STANDBY(w)].p.live)
		return;
	w->guest_ended = true;
	tell(w, w->primary, ITEM_GUEST_ENDED, 0);
	kill_qemu(w, w->primary);
}

/* For good: what a signal stopped stays stopped until somebody kills it. */
static void
hang_qemu(struct world *w, unsigned host, uint64_t for_ns, bool by_signal)
{
	struct qemu *q = &w->host[host].q;

	if (!q->alive || q->suspended || guard_is_suspended(w->host[host].p.g))	/* nobody waits for a guest that is to stand */
		return;
	if (q->hung_until <= w->now) {
		q->hung_since = w->now;
		q->stopped = by_signal;
	}
	q->hung_until = for_ns == UINT64_MAX ? UINT64_MAX : MAX(q->hung_until, w->now + for_ns);
	if (q->hung_until - q->hung_since > (q->stopped ? STOPPED : HANG))
		w->host[host].damaged = w->host[host].copy_lost = true;
}

static void
stop_qemu(struct world *w, unsigned host)
{
	hang_qemu(w, host, (uint64_t[]){ between(w, MS, STOPPED), between(w, STOPPED, 2000 * MS), UINT64_MAX }[rnd(w, 3)], true);
}

static void
lose_power(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	h->power = h->p.alive = false;
	h->off_since = w->now;
	h->damaged = true;
	qemu_kill(&h->q);
}

static void
power_back(struct world *w, unsigned host)
{
	struct host *h = &w->host[host];

	if (h->power)
		return;
	h->power = true;
	link_finish(w, host);	/* what is sent to connections of before is answered with a reset */
	ftd_guard_gone(w, host);
}

/* The guest on the primary stops for good, and QEMU says why. */
static void
fail_guest(struct world *w, enum item_kind why)
{
	struct host *h = &w->host[w->primary];

	if (!h->q.alive || !proc_live(&h->p) || guard_state(h->p.g) != FAILOVER_PROTECTED)
		return;
	h->damaged = h->copy_lost = true;
	h->q.hung_until = UINT64_MAX;
	tell(w, w->primary, why, between(w, 0, 50 * MS));
}

/* Both copies, each in its time. The primary's comes up with what it had; the copy's does not. */
static void
reboot_guest(struct world *w)
{
	struct qemu *q = &w->host[w->primary].q;

	if (!q->alive)
		return;
	for (unsigned p = RAM_BLOCK0; p < RAM_PAGES; p++)
		memset(q->guest.page[p], (int)rnd(w, 256), 64);
	hang_qemu(w, w->primary, between(w, MS, 20 * MS), false);
	reset_copy(w, STANDBY(w));
}

/* COMMITTED of the pair that was, for an epoch of this one. */
static void
send_stale(struct world *w)
{
	struct proc *p = &w->host[w->primary].p;
	uint8_t epoch[8];

	if (!proc_live(p) || p->generation == 0)
		return;
	put_be64(epoch, relay_epoch(p->g->p.relay) - 1);
	proc_push(p, SRC_FAST, ITEM_DATA, g_bytes_new(epoch, sizeof epoch), PEER_COMMITTED, w->generation - 1);
}

static void
heal(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (w->link.cut[i])
			link_set_cut(w, i, false);
}

static enum mode
random_mode(struct world *w)
{
	return (enum mode[]){ MODE_PASSIVE, MODE_AUTO, MODE_COLO }[rnd(w, 3)];
}

static void
happen(struct world *w, enum fault f, unsigned host)
{
	struct host *h = &w->host[host];
	bool of_copy = f == FAULT_DISK_ERROR || f == FAULT_COPY_RESET || f == FAULT_COPY_STREAM || f == FAULT_FAILOVER;
	bool of_pair = f <= FAULT_CORRUPT || f == FAULT_ARBITER_SLOW || f == FAULT_ARBITER_BACK || f == FAULT_STALL_GUARDS;
	bool of_primary = f == FAULT_DISABLE || f == FAULT_SWITCHOVER || f == FAULT_GUEST_ENDS || (f >= FAULT_PANIC && f <= FAULT_STALE_FRAME);
	bool of_arbiter = (f >= FAULT_ARBITER_GONE && f <= FAULT_ARBITER_BACK) || f == FAULT_ARBITER_EMPTY;
	uint64_t while_ns;

	if (of_copy)
		h = &w->host[host = STANDBY(w)];
	if (of_primary)
		h = &w->host[host = w->primary];
	if (!of_arbiter && h->power == (f == FAULT_POWER_BACK))
		return;
	say(w, of_pair ? -1 : (int)host, "*** %s", faults[f].text);
	if (of_arbiter)
		w->ended_due = 0;
	w->image_found = !w->story && chance(w, 50);
	switch (f) {
	case FAULT_RESET_LINK: link_break(w, (enum peer_channel)between(w, PEER_CHANNEL_FAST, PEER_CHANNEL_DISK)); break;
	case FAULT_RESET_LINKS:
		for (enum peer_channel c = PEER_CHANNEL_FAST; c < PEER_CHANNEL_LAST; c++)
			link_break(w, c);
		break;
	case FAULT_CUT: link_set_cut(w, 0, true); link_set_cut(w, 1, true); break;
	case FAULT_CUT_TO_STANDBY: link_set_cut(w, 0, true); break;
	case FAULT_CUT_TO_PRIMARY: link_set_cut(w, 1, true); break;
	case FAULT_HEAL: heal(w); break;
	case FAULT_CORRUPT: w->link.corrupt = true; break;
	case FAULT_KILL_GUARD:
		if (proc_live(&h->p)) {
			h->damaged = true;
			proc_kill(&h->p);
		}
		break;
	case FAULT_CRASH_GUARD:
		h->damaged = true;
		h->p.crash_in = (unsigned)between(w, 1, chance(w, 50) ? 8 : 100);
		break;
	case FAULT_OP_FAILS: h->p.op_fails = true; break;
	case FAULT_PAUSE_GUARD: proc_pause(&h->p, w->story ? 1000 * MS : between(w, 20 * MS, chance(w, 50) ? 300 * MS : 2500 * MS)); break;
	case FAULT_KILL_QEMU: kill_qemu(w, host); break;
	case FAULT_POWER: lose_power(w, host); break;
	case FAULT_POWER_BACK: power_back(w, host); break;
	case FAULT_ARBITER_GONE: w->reg.cut[host] = true; if (chance(w, 50)) w->reg.cut[!host] = true; break;
	case FAULT_ARBITER_SLOW: w->reg.delay = between(w, 50 * MS, 900 * MS); break;
	case FAULT_ARBITER_BACK: w->reg.cut[0] = w->reg.cut[1] = w->reg.empty[0] = w->reg.empty[1] = false; break;
	case FAULT_ARBITER_EMPTY: w->reg.empty[host] = true; break;
	case FAULT_PERSIST_FAILS: h->p.persist_fails = true; break;
	case FAULT_PERSIST_CRASHES: h->p.persist_crashes = h->damaged = true; break;
	case FAULT_SLOW_DISK: h->disk_ns = between(w, 5 * MS, 60 * MS); break;
	case FAULT_DISK_ERROR: h->disk_fail = between(w, 1, 6); break;
	case FAULT_COPY_RESET:
		if (chance(w, 60))
			reset_copy(w, host);
		else
			h->q.reset_at_load = true;
		break;
	case FAULT_COPY_STREAM: close_stream(w, host); break;
	case FAULT_DISABLE: tell(w, host, ITEM_DISABLE, 0); break;
	case FAULT_FAILOVER: tell(w, host, ITEM_FAILOVER, 0); break;
	case FAULT_SWITCHOVER: tell(w, host, ITEM_SWITCHOVER, 0); break;
	case FAULT_GUEST_ENDS: end_guest(w); break;
	case FAULT_HANG_QEMU: hang_qemu(w, host, UINT64_MAX, false); break;
	case FAULT_HICCUP_QEMU: hang_qemu(w, host, between(w, 5 * MS, HANG), false); break;
	case FAULT_STALL_HOST:
		while_ns = between(w, 20 * MS, chance(w, 50) ? 300 * MS : 2500 * MS);
		proc_pause(&h->p, while_ns);
		hang_qemu(w, host, while_ns, false);
		break;
	case FAULT_STALL_GUARDS:
		while_ns = between(w, 50 * MS, 2500 * MS);
		proc_pause(&w->host[0].p, while_ns);
		proc_pause(&w->host[1].p, while_ns + rnd(w, 5 * MS));
		break;
	case FAULT_PANIC: fail_guest(w, ITEM_PANICKED); break;
	case FAULT_PRIMARY_DISK: fail_guest(w, ITEM_DISK_ERROR); break;
	case FAULT_SUSPEND:
		if (h->q.alive)
			qemu_suspend(&h->q);
		break;
	case FAULT_RESUME: qemu_resume(&h->q); break;
	case FAULT_GUEST_RESET: reboot_guest(w); break;
	case FAULT_GUEST_OFF:
		qemu_switch_off(&h->q);
		if (chance(w, 80) && !w->host[STANDBY(w)].p.live)
			qemu_switch_off(&w->host[STANDBY(w)].q);
		break;
	case FAULT_SET_MODE:
		proc_tell(&h->p, ITEM_SET_MODE, 0, random_mode(w));
		break;
	case FAULT_STALE_FRAME: send_stale(w); break;
	case FAULT_STOP_QEMU: stop_qemu(w, host); break;
	case FAULT_LAST: g_assert_not_reached();
	}
}

static void
on_fault(struct world *w, struct event *e)
{
	if (!w->calm)
		happen(w, (enum fault)e->a, e->host);
}

/* -- rounds --------------------------------------------------------------------------------------------------------------------------- */

static void
run_until(struct world *w, uint64_t t)
{
	while (world_step(w, t))
		;
}

static void
start_pair(struct world *w)
{
	struct host *a = &w->host[w->primary], *b = &w->host[STANDBY(w)];

	w->generation = broken == BREAK_GENERATION ? 1 : register_newest(w) + 1;
	g_ptr_array_set_size(w->snapshots, 0);
	link_reset(w);
	a->off_since = b->off_since = 0;
	w->ended_due = 0;
	w->arm_sent = w->calm = false;
	a->q.wish_lost = b->q.wish_lost = false;
	a->damaged = b->damaged = a->copy_lost = b->copy_lost = false;
	ftd_forget(w, 0);
	ftd_forget(w, 1);
	b->disk_ns = between(w, 50 * US, 500 * US);
	a->disk_ns = between(w, 50 * US, 500 * US);
	a->disk_fail = b->disk_fail = 0;
	qemu_commit_overlay(&a->q);	/* a guard that died after the take-over left the overlay to QEMU */
	qemu_kill(&b->q);
	b->q.net = NET_SHUT;
	proc_start(&b->p, w, STANDBY(w), FAILOVER_STANDBY, w->generation);
	proc_start(&a->p, w, w->primary, FAILOVER_PRIMARY, w->generation);
	say(w, -1, "a pair is made: %c protected by %c, generation %" G_GUINT64_FORMAT, NAME(w->primary), NAME(STANDBY(w)), w->generation);
	proc_push(&b->p, SRC_QMP, ITEM_START, NULL, 0, 0);
}

static bool
is_protected(const struct world *w)
{
	return proc_live(&w->host[0].p) && proc_live(&w->host[1].p) && guard_state(w->host[0].p.g) == FAILOVER_PROTECTED &&
	       guard_state(w->host[1].p.g) == FAILOVER_PROTECTED;
}

/* An ordinary domain: nobody's guard has a hand in it. */
static bool
is_solo(const struct world *w, unsigned host)
{
	const struct host *h = &w->host[host];

	return h->power && h->q.alive && h->q.running && h->q.hung_until <= w->now && h->q.net == NET_DIRECT && !h->p.alive;
}

static bool
somebody_runs(const struct world *w)
{
	return is_protected(w) || is_solo(w, 0) || is_solo(w, 1);
}

static bool
settled(const struct world *w)
{
	return somebody_runs(w) || w->host[0].startable || w->host[1].startable;
}

/* Why nobody has to be alive; NULL: somebody has to. */
static const char *
excuse(const struct world *w)
{
	const struct host *a = &w->host[w->primary], *b = &w->host[STANDBY(w)];
	int owner = register_newest(w) > w->generation ? register_owner(w) : -1;

	if (w->guest_ended)
		return "the guest was shut down";
	if (owner >= 0 && w->host[owner].copy_lost)
		return "the owner's copy is lost";
	if (owner == (int)STANDBY(w) && b->damaged)
		return "the owner's guard is gone";
	if (owner == (int)w->primary && register_newest(w) > w->generation + 1 && !a->q.alive)
		return "it was given back to a side that had stopped its copy";
	if (owner >= 0)
		return NULL;
	if (a->copy_lost && !b->p.has_durable)
		return "the primary's copy was lost before the pair was armed";
	return NULL;
}

static void
describe(struct world *w, const char *what)
{
	const struct host *a = &w->host[0], *b = &w->host[1];

	violated(w, "liveness", "%s (a: %s%s, guard %s%s; b: %s%s, guard %s%s; generation %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT ")", what,
		 failover_state_name(guard_state(a->p.g)), a->damaged ? ", hit" : "", proc_live(&a->p) ? "runs" : "gone", a->q.alive ? "" : ", no QEMU",
		 failover_state_name(guard_state(b->p.g)), b->damaged ? ", hit" : "", proc_live(&b->p) ? "runs" : "gone", b->q.alive ? "" : ", no QEMU",
		 register_newest(w), w->generation);
}

/* How much longer a primary's QEMU may hang: nobody could go on in its place. */
static uint64_t
sat_out(const struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct guard *g = w->host[i].p.g;
		if (g && guard_is_primary(g) && g->p.loaded < g->p.fit_from)
			return GUARD_QEMU_ALONE_NS;
	}
	return 0;
}

/* Whoever counts on a host that has no power any more, or on a QEMU that is stopped, has found out. */
static void
check_noticed(struct world *w)
{
	const struct host *h = &w->host[w->primary];

	if (h->q.stopped && h->q.hung_until > w->now && w->now > h->q.hung_since + NOTICED + sat_out(w) && proc_live(&h->p) && w->now > h->p.paused_until + NOTICED &&
	    guard_state(h->p.g) == FAILOVER_PROTECTED && !guard_is_suspended(h->p.g))
		describe(w, "a QEMU that is stopped is still counted on");
	for (unsigned i = 0; i < 2; i++) {
		const struct proc *p = &w->host[!i].p;
		if (!w->host[i].power && w->now > w->host[i].off_since + NOTICED && proc_live(p) && w->now > p->paused_until + NOTICED &&
		    guard_state(p->g) == FAILOVER_PROTECTED)
			describe(w, "a host without power is still counted on");
	}
}

static void
stop_faults(struct world *w)
{
	w->calm = true;
	check_noticed(w);
	heal(w);
	w->link.corrupt = false;
	w->reg.cut[0] = w->reg.cut[1] = w->reg.empty[0] = w->reg.empty[1] = false;
	w->reg.delay = MIN(w->reg.delay, 2 * MS);
	for (unsigned i = 0; i < 2; i++) {
		power_back(w, i);
		qemu_resume(&w->host[i].q);
		w->host[i].disk_ns = MIN(w->host[i].disk_ns, 500 * US);
		w->host[i].p.persist_crashes = w->host[i].p.op_fails = false;
		w->host[i].p.crash_in = 0;
	}
	say(w, -1, "the faults stop");
}

/* The ftd that enables protection ends its guard when the peer's part fails before there is anything to undo; the peer's ends a standby that nobody has use for. */
static void
call_off(struct world *w)
{
	struct host *a = &w->host[w->primary], *b = &w->host[STANDBY(w)];

	if (!proc_live(&b->p) && guard_current_phase(a->p.g) == GUARD_PHASE_IDLE)
		a->p.alive = false;
	if (!proc_live(&a->p) && proc_live(&b->p) && guard_state(b->p.g) == FAILOVER_FORMING && !b->p.g->linked) {
		b->p.alive = false;
		qemu_kill(&b->q);
	}
}

static void
look_after(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		qemu_look_after(&w->host[i].q);
}

/* True: somebody answers the client. */
static bool
check_liveness(struct world *w)
{
	uint64_t end = w->now + QUIET + sat_out(w), quiet = end - w->now;
	uint32_t acked;

	run_until(w, MAX(w->now, MAX(w->host[0].p.paused_until, w->host[1].p.paused_until)) + 400 * MS);
	end = w->now + quiet;
	while (w->now < end && !settled(w) && !w->violation[0]) {
		run_until(w, w->now + 20 * MS);
		call_off(w);
		look_after(w);
		if (excuse(w) && w->now + QUIET / 2 > end)
			break;
	}
	if (w->violation[0])
		return false;
	if (!settled(w)) {
		if (excuse(w)) {
			say(w, -1, "nobody is left: %s", excuse(w));
			return false;
		}
		describe(w, "nobody is protected or alone");
		return false;
	}
	if (!somebody_runs(w))
		return false;
	acked = w->client.n_acked;
	end = w->now + (2000 + w->max_epoch_ms) * MS;	/* a QEMU that hangs and owes nothing is found out at its epoch's end */
	/* Of a copy's reset the primary may hear in the middle of this. */
	while (w->now < end + sat_out(w) && w->client.n_acked < acked + 5 && !w->violation[0]) {
		run_until(w, w->now + 10 * MS);
		look_after(w);
	}
	if (!w->violation[0] && w->client.n_acked < acked + 5 && !excuse(w))
		describe(w, "the client gets no answer");
	return !w->violation[0] && w->client.n_acked >= acked + 5;
}

/* Nothing of the other copy stays. */
static void
check_loser(struct world *w, unsigned host)
{
	const struct host *h = &w->host[host];
	uint64_t end = w->now + LOSER_GOES;

	while (h->q.alive && w->now < end && !w->violation[0]) {
		run_until(w, w->now + 20 * MS);
		call_off(w);
	}
	if (h->q.alive)
		describe(w, "the copy that lost is still there");
}

/* A copy that has reset itself is fit to take over soon, however long an epoch may be, and although nobody asks the guest for anything. */
static void
check_mended(struct world *w)
{
	struct proc *p = &w->host[STANDBY(w)].p;
	uint64_t end;

	w->client.silent = true;
	run_until(w, w->now + GUARD_QEMU_QUIET_NS + 100 * MS);	/* the checkpoint that its silence causes comes first */
	reset_copy(w, STANDBY(w));
	end = w->now + MENDED;
	run_until(w, w->now + 10 * MS);
	while (is_protected(w) && !p->g->failover.fit && w->now < end && !w->violation[0])
		run_until(w, w->now + 10 * MS);
	if (is_protected(w) && !p->g->failover.fit)
		describe(w, "a copy that reset itself stays unfit");
	w->client.silent = false;
}

static void
check_round(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (is_solo(w, i)) {
			w->solos++;
			say(w, (int)i, "is alone, and answers");
			check_takeover(w, i);
			check_loser(w, !i);
		}
	if (is_protected(w) && !w->story && w->host[STANDBY(w)].q.hung_until <= w->now && chance(w, 20))
		check_mended(w);
	if (is_protected(w))
		say(w, -1, "the pair is protected, and answers");
}

static void
setup(struct world *w)
{
	struct host *a = &w->host[0];

	guest_boot(&a->q.guest);
	a->q.alive = a->q.running = true;
	a->q.net = NET_DIRECT;
	a->disk_ns = 200 * US;
	a->q.life = 1;
	w->reg.delay = between(w, 300 * US, 5 * MS);
	w->max_epoch_ms = (unsigned)between(w, 10, 200);
	if (w->seed % 5 == 4)
		w->max_epoch_ms = 10000;
	w->compare_ms = (unsigned)between(w, 2, 20);
	w->max_held = chance(w, 20) ? 4000 : 16 << 20;
	w->max_disk = chance(w, 20) ? 1000 : 64 << 20;
	w->diverge = (unsigned[]){ 0, 2, 20 }[rnd(w, 3)];
	w->loss = chance(w, 40) ? 20 : 0;
	w->guest_delay = between(w, 100 * US, chance(w, 20) ? 5 * MS : 800 * US);
	w->load_ns = between(w, MS, chance(w, 20) ? 60 * MS : 8 * MS);
	w->loop_delay = chance(w, 25) ? 2 * MS : 40 * US;
	w->flush_load = chance(w, 20);
	w->mode = random_mode(w);
	client_start(w);
	qemu_kick(&a->q, MS);
	run_until(w, 20 * MS);
}

static enum fault
pick(struct world *w)
{
	unsigned total = 0, at;

	for (unsigned i = 0; i < FAULT_LAST; i++)
		total += faults[i].weight;
	at = (unsigned)rnd(w, total);
	for (unsigned i = 0; i < FAULT_LAST; i++) {
		if (at < faults[i].weight)
			return (enum fault)i;
		at -= faults[i].weight;
	}
	g_assert_not_reached();
}

/* Coincidences that chance alone brings too seldom; times are from the one before. The host is the primary (0) or the standby (1). */
#define COINCIDENCE 4
static const struct coincidence {
	struct { enum fault fault; unsigned standby; unsigned from_ms, to_ms; } f[COINCIDENCE];
} coincidences[] = {
	/* What is between the data's failing and the primary's going on alone. */
	{ { { FAULT_ARBITER_GONE, 0, 60, 300 }, { FAULT_CORRUPT, 0, 0, 5 }, { FAULT_KILL_QEMU, 0, 50, 250 }, { FAULT_ARBITER_BACK, 0, 100, 200 } } },
	{ { { FAULT_ARBITER_SLOW, 0, 60, 300 }, { FAULT_DISK_ERROR, 1, 0, 5 }, { FAULT_KILL_QEMU, 0, 5, 200 } } },
	/* The pair's record is written, its primary is not told yet. */
	{ { { FAULT_ARBITER_SLOW, 0, 1, 3 }, { FAULT_RESET_LINKS, 0, 20, 600 } } },
	{ { { FAULT_ARBITER_SLOW, 0, 1, 3 }, { FAULT_KILL_GUARD, 0, 20, 600 } } },
	/* An operator's word, and nobody who answers. */
	{ { { FAULT_ARBITER_GONE, 0, 60, 300 }, { FAULT_DISABLE, 0, 0, 20 }, { FAULT_ARBITER_BACK, 0, 350, 600 }, { FAULT_POWER, 0, 0, 100 } } },
	{ { { FAULT_ARBITER_GONE, 1, 60, 300 }, { FAULT_FAILOVER, 1, 0, 20 }, { FAULT_CUT, 0, 50, 400 } } },
	/* A host that comes back before the other side could claim, or does not see the arbiter's directory. */
	{ { { FAULT_ARBITER_GONE, 1, 60, 200 }, { FAULT_POWER, 0, 0, 50 }, { FAULT_ARBITER_GONE, 1, 1, 5 }, { FAULT_POWER_BACK, 0, 10, 300 } } },
	{ { { FAULT_POWER, 0, 60, 200 }, { FAULT_ARBITER_EMPTY, 0, 200, 300 }, { FAULT_POWER_BACK, 0, 1, 50 } } },
	{ { { FAULT_POWER, 0, 60, 150 }, { FAULT_POWER, 1, 160, 250 }, { FAULT_ARBITER_EMPTY, 1, 1, 5 }, { FAULT_POWER_BACK, 1, 1, 50 } } },
	/* A switchover that something comes into. */
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_POWER, 0, 0, 40 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_POWER, 1, 0, 40 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_CUT, 0, 0, 40 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_CUT_TO_PRIMARY, 0, 0, 40 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_KILL_QEMU, 0, 0, 40 } } },
	{ { { FAULT_ARBITER_GONE, 1, 60, 300 }, { FAULT_SWITCHOVER, 0, 0, 40 }, { FAULT_ARBITER_BACK, 0, 100, 1500 } } },
	{ { { FAULT_ARBITER_SLOW, 1, 60, 300 }, { FAULT_SWITCHOVER, 0, 0, 40 }, { FAULT_KILL_QEMU, 1, 0, 1200 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_PAUSE_GUARD, 0, 0, 40 } } },
	{ { { FAULT_SWITCHOVER, 0, 60, 300 }, { FAULT_GUEST_ENDS, 0, 0, 40 } } },
	/* Both sides' guards, or neither of them, notice something. */
	{ { { FAULT_STALL_GUARDS, 0, 60, 300 }, { FAULT_STALL_GUARDS, 0, 100, 300 } } },
	{ { { FAULT_PAUSE_GUARD, 0, 60, 300 }, { FAULT_PAUSE_GUARD, 0, 0, 100 } } },
	{ { { FAULT_CUT_TO_STANDBY, 0, 60, 300 } } },
	{ { { FAULT_PAUSE_GUARD, 0, 60, 300 }, { FAULT_CUT_TO_STANDBY, 0, 0, 100 } } },
	{ { { FAULT_CUT_TO_PRIMARY, 0, 60, 300 } } },
	{ { { FAULT_KILL_GUARD, 0, 60, 300 }, { FAULT_KILL_GUARD, 1, 0, 100 } } },
	{ { { FAULT_CUT_TO_PRIMARY, 0, 60, 300 }, { FAULT_ARBITER_SLOW, 0, 0, 150 }, { FAULT_HEAL, 0, 100, 400 } } },
	/* A QEMU that hangs while the pair forms. */
	{ { { FAULT_HANG_QEMU, 1, 5, 30 } } },
	{ { { FAULT_SLOW_DISK, 1, 60, 200 }, { FAULT_KILL_QEMU, 0, 5, 200 } } },
	/* The guest is shut down, and the other side loses its primary at that moment. */
	{ { { FAULT_GUEST_ENDS, 0, 60, 300 }, { FAULT_RESET_LINKS, 0, 0, 10 } } },
	{ { { FAULT_CUT, 0, 60, 300 }, { FAULT_GUEST_ENDS, 0, 0, 140 } } },
	/* A suspension that is over before anybody knows, and one at the time of something worse. */
	{ { { FAULT_SUSPEND, 0, 60, 300 }, { FAULT_RESUME, 0, 0, 30 } } },
	{ { { FAULT_SUSPEND, 0, 60, 200 }, { FAULT_RESUME, 0, 40, 100 }, { FAULT_SUSPEND, 0, 20, 100 }, { FAULT_RESUME, 0, 0, 60 } } },
	{ { { FAULT_SUSPEND, 0, 60, 300 }, { FAULT_POWER, 0, 0, 60 } } },
	{ { { FAULT_SUSPEND, 0, 60, 200 }, { FAULT_CUT, 0, 0, 60 }, { FAULT_RESUME, 0, 0, 300 } } },
	{ { { FAULT_SUSPEND, 0, 60, 200 }, { FAULT_DISABLE, 0, 0, 60 }, { FAULT_RESUME, 0, 0, 60 } } },
	/* A copy that resets itself while it is loaded. */
	{ { { FAULT_COPY_RESET, 1, 60, 200 }, { FAULT_COPY_RESET, 1, 1, 100 }, { FAULT_COPY_RESET, 1, 1, 100 }, { FAULT_KILL_QEMU, 0, 0, 30 } } },
};

static void
plan_coincidence(struct world *w)
{
	const struct coincidence *c = &coincidences[rnd(w, G_N_ELEMENTS(coincidences))];
	uint64_t at = 0;

	for (unsigned i = 0; i < COINCIDENCE && c->f[i].to_ms; i++) {
		at += between(w, c->f[i].from_ms * MS, c->f[i].to_ms * MS);
		later(w, at, &(struct event){ .fn = on_fault, .host = w->primary ^ c->f[i].standby, .a = c->f[i].fault });
	}
}

static void
plan(struct world *w)
{
	if (chance(w, 25)) {
		plan_coincidence(w);
		if (chance(w, 60))
			return;
	}
	for (uint64_t n = between(w, 1, 4), i = 0; i < n; i++) {
		enum fault f = pick(w);
		/* Most come while the pair stands; some find it in the making, some close after another. */
		uint64_t at = chance(w, 20) ? between(w, 0, FORM) : between(w, FORM, TROUBLE);
		later(w, at, &(struct event){ .fn = on_fault, .host = (unsigned)rnd(w, 2), .a = f });
		if (chance(w, 30))
			later(w, at + between(w, 0, 220 * MS), &(struct event){ .fn = on_fault, .host = (unsigned)rnd(w, 2), .a = pick(w) });
	}
}

/* The survivor, or whoever runs unprotected, is the next pair's primary. False: nobody is there. */
static bool
next_round(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (is_solo(w, i)) {
			w->primary = i;
			w->round++;
			return true;
		}
	return false;
}

static void
play_round(struct world *w, bool with_faults)
{
	uint64_t start = w->now;

	start_pair(w);
	if (with_faults) {
		plan(w);
		run_until(w, start + TROUBLE + 250 * MS);
	} else {
		run_until(w, start + 2 * FORM);
	}
	if (!w->violation[0])
		stop_faults(w);
	if (check_liveness(w))
		check_round(w);
	if (!with_faults && is_protected(w)) {
		run_until(w, w->now + UNDISTURBED);
		if (!is_protected(w))
			describe(w, "protection was lost without a fault");
	}
}

static bool
may_go_on(struct world *w)
{
	return !w->violation[0] && !w->guest_ended && next_round(w);
}

void
faults_run(struct world *w)
{
	setup(w);
	play_round(w, true);
	for (unsigned i = 0; i < 2 && chance(w, 40) && may_go_on(w); i++)
		play_round(w, true);
	/* An old claim that is written now makes the first attempt fail; it cannot do so twice. */
	for (unsigned i = 0; i < 2 && !is_protected(w) && may_go_on(w); i++)
		play_round(w, false);
	if (!w->violation[0] && !w->guest_ended && somebody_runs(w) && !is_protected(w))
		describe(w, "without a fault the pair was not formed");
}

/* -- stories ---------------------------------------------------------------------------------------------------------------------------- */

static const struct story {
	const char *name;
	struct { uint64_t at; enum fault fault; unsigned host; } happens[4];
} stories[] = {
	{ "power-loss", { { 200 * MS, FAULT_POWER, 0 } } },
	{ "link-cut", { { 200 * MS, FAULT_CUT, 0 } } },
	{ "silent-arbiter", { { 150 * MS, FAULT_ARBITER_GONE, 0 }, { 160 * MS, FAULT_ARBITER_GONE, 1 }, { 200 * MS, FAULT_KILL_QEMU, 0 } } },
	{ "sleeping-primary", { { 200 * MS, FAULT_PAUSE_GUARD, 0 } } },
	{ "hung-qemu", { { 200 * MS, FAULT_HANG_QEMU, 0 } } },
	{ "power-loss-of-both", { { 200 * MS, FAULT_POWER, 0 }, { 210 * MS, FAULT_POWER, 1 } } },
	{ "failover", { { 200 * MS, FAULT_FAILOVER, 1 } } },
	{ "switchover", { { 200 * MS, FAULT_SWITCHOVER, 0 } } },
	{ "switchover-refused", { { 150 * MS, FAULT_ARBITER_GONE, 1 }, { 160 * MS, FAULT_ARBITER_GONE, 0 }, { 200 * MS, FAULT_SWITCHOVER, 0 } } },
};

const char *
story_name(unsigned i)
{
	return i < G_N_ELEMENTS(stories) ? stories[i].name : NULL;
}

bool
story_run(struct world *w, const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(stories); i++) {
		const struct story *s = &stories[i];
		if (strcmp(s->name, name) != 0)
			continue;
		w->story = true;
		setup(w);
		w->loss = w->diverge = 0;
		w->flush_load = false;
		w->mode = MODE_COLO;
		w->loop_delay = 40 * US;
		start_pair(w);
		w->link.loss = 0;
		for (unsigned k = 0; k < G_N_ELEMENTS(s->happens) && s->happens[k].at; k++)
			later(w, s->happens[k].at, &(struct event){ .fn = on_fault, .host = s->happens[k].host, .a = s->happens[k].fault });
		run_until(w, w->now + TROUBLE + 250 * MS);
		stop_faults(w);
		if (check_liveness(w))
			check_round(w);
		if (next_round(w))
			play_round(w, false);
		return true;
	}
	return false;
}
