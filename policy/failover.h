/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may run the VM: one guard's view. The rules in plain words and the diagram are at the head of failover.c. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum failover_role { FAILOVER_PRIMARY, FAILOVER_STANDBY };

enum failover_state {
	FAILOVER_FORMING,	/* pair is being set up: the primary runs as if unprotected, the standby may never go live */
	FAILOVER_PROTECTED,	/* armed: output only by the output commit rule; solo only by the arbiter's word */
	FAILOVER_SWITCHING,	/* primary, a switchover: its last checkpoint is made, the guest stands at its end, and the standby is asked to take over */
	FAILOVER_ASKING,	/* the operator wants it to end (disable, failover): the claim is out, the pair is whole and goes on by the rule meanwhile */
	FAILOVER_YIELDED,	/* standby: its data failed, the primary was told to go on alone; claims only if the primary is lost too */
	FAILOVER_DECIDING,	/* the pair is broken: the claim of generation + 1 is out; output held */
	/* From here on the pair is over, and its guard will leave: failover_is_over(). */
	FAILOVER_CLOSING,	/* primary: the VM was ended on purpose; the claim is out so that nobody brings it back */
	FAILOVER_SETTLING,	/* claim won, durable; the copy is being made the only one (load what is committed, detach the pair) */
	FAILOVER_SOLO,		/* the only owner: runs as an ordinary domain */
	FAILOVER_FENCED,	/* lost the claim or its QEMU: this copy never speaks again; it is being stopped */
	FAILOVER_ENDED,		/* forming was called off, or the VM itself has ended: what the pair added is being removed */
	FAILOVER_STATE_LAST
};

enum failover_event_type {
	FAILOVER_EV_ARM,		/* primary: READY passed, gate closed, first checkpoint committed; record written. standby: the primary said ARM */
	FAILOVER_EV_PEER_LOST,		/* liveness: silent past the limit, or its connection ended */
	FAILOVER_EV_PEER_ABDICATED,	/* the peer gives up: its QEMU is dead, or (a standby) its data failed */
	FAILOVER_EV_PEER_GOODBYE,	/* end by the peer: it owns generation + 1, or the VM was ended, or (a primary) forming was called off */
	FAILOVER_EV_QEMU_DIED,		/* our own copy is gone, or is to be given up (panic, disk error). A shutdown on purpose is told first, as GUEST_ENDED */
	FAILOVER_EV_COPY_UNFIT,		/* standby: the SVM must not be promoted (guest reset, failed load), and nothing committed waits that would mend it */
	FAILOVER_EV_COPY_FIT,		/* standby: a checkpoint was loaded; ends COPY_UNFIT */
	FAILOVER_EV_DATA_FAILED,	/* stream, checkpoint, disk or protocol trouble: the pair cannot go on as a pair */
	FAILOVER_EV_OPERATOR_DISABLE,	/* primary goes on alone */
	FAILOVER_EV_OPERATOR_FAILOVER,	/* standby takes over */
	FAILOVER_EV_OPERATOR_SWITCHOVER,/* primary: hand the VM over in good order. standby: the primary has, and the last checkpoint is committed */
	FAILOVER_EV_SWITCHOVER_OFF,	/* primary: the last checkpoint, or the standby's take-over, did not come about in time */
	FAILOVER_EV_GUEST_ENDED,	/* the VM was shut down or destroyed on purpose: both copies follow */
	FAILOVER_EV_GRANTED,		/* arbiter: generation + 1 is ours */
	FAILOVER_EV_DENIED,		/* arbiter: generation + 1 is somebody else's */
	FAILOVER_EV_ARBITER_SILENT,	/* no answer within the deadline */
	FAILOVER_EV_SETTLED,		/* the shell finished FAILOVER_ACT_GO_SOLO */
	FAILOVER_EV_STOPPED,		/* the shell finished FAILOVER_ACT_STOP_COPY / UNDO */
	FAILOVER_EV_TICK,
	FAILOVER_EVENT_LAST
};

enum failover_reason {		/* why the state is what it is; the text is shown unchanged in logs, events, status and tests */
	FAILOVER_REASON_NONE,
	FAILOVER_REASON_PEER_SILENT,
	FAILOVER_REASON_PEER_CLOSED,
	FAILOVER_REASON_PEER_ABDICATED,
	FAILOVER_REASON_PEER_GOODBYE,
	FAILOVER_REASON_QEMU_DIED,
	FAILOVER_REASON_COPY_UNFIT,
	FAILOVER_REASON_DATA_FAILED,
	FAILOVER_REASON_OPERATOR_DISABLE,
	FAILOVER_REASON_OPERATOR_FAILOVER,
	FAILOVER_REASON_GUEST_ENDED,
	FAILOVER_REASON_CLAIM_DENIED,
	FAILOVER_REASON_SETUP_FAILED,
	FAILOVER_REASON_GUEST_PANICKED,
	FAILOVER_REASON_DISK_ERROR,
	FAILOVER_REASON_QEMU_HUNG,
	FAILOVER_REASON_OPERATOR_SWITCHOVER,
	FAILOVER_REASON_LAST
};

/* Actions, to be carried out in this order. STOP_COPY, UNDO and GO_SOLO exclude each other; each is answered by STOPPED, STOPPED, SETTLED. */
enum failover_action {
	FAILOVER_ACT_FREEZE = 1 << 0,		/* output gate: nothing leaves by comparison from here on; the standby takes no further checkpoint */
	FAILOVER_ACT_PERSIST = 1 << 1,		/* write state + generation durably *before* the actions below */
	FAILOVER_ACT_CLAIM = 1 << 2,		/* ask the arbiter for generation + 1 with us as the only owner; answered once by GRANTED, DENIED or ARBITER_SILENT */
	FAILOVER_ACT_ABDICATE = 1 << 3,		/* tell the peer that we give up (best effort) */
	FAILOVER_ACT_TELL_GOODBYE = 1 << 4,	/* tell the peer that it is over (best effort) */
	FAILOVER_ACT_GO_SOLO = 1 << 5,		/* primary: detach the pair, then release what is held; standby: load, commit the copy's disks, announce it, release what is held */
	FAILOVER_ACT_STOP_COPY = 1 << 6,	/* destroy our copy without a word on the LAN */
	FAILOVER_ACT_UNDO = 1 << 7,		/* primary, forming called off: leave the domain as it was */
	FAILOVER_ACT_FINISH = 1 << 8,		/* report the end; the guard may exit */
	FAILOVER_ACT_HAND_OVER = 1 << 9,	/* primary: make a last checkpoint, keep the guest standing at its end, ask the standby to take over; or SWITCHOVER_OFF */
};

struct failover_config {
	enum failover_role role;
	uint64_t claim_retry_ns;	/* silence of the arbiter: ask again after this */
};

struct failover {
	struct failover_config config;
	enum failover_state state;
	enum failover_reason reason;
	uint64_t generation;		/* of the pair's record that both hold; after a won claim the new one */
	uint64_t retry_at;		/* next claim after silence; UINT64_MAX: none */
	bool fit;			/* standby: the SVM may be promoted */
};

void failover_init(struct failover *f, const struct failover_config *config, uint64_t generation);
/*
 * One step: changes the state and returns a set of failover_action. Every (state, event) pair has an answer; the operator's words are ignored where
 * they make no sense (the state does not change, and the caller says so). `reason` is the detail behind the event, NONE for the event's own.
 */
unsigned failover_step(struct failover *f, uint64_t now, enum failover_event_type event, enum failover_reason reason);
/* When FAILOVER_EV_TICK is due; UINT64_MAX: never. */
uint64_t failover_deadline(const struct failover *f);
/* False: raising this event there is a bug of the shell, and failover_step() aborts; the table in failover.c says why. */
bool failover_event_possible(enum failover_role role, enum failover_state state, enum failover_event_type event);
/* May this side's copy reach the LAN without the pair's consent? True in SOLO, in SETTLING, and for a primary in FORMING or ENDED (it never was
 * protected, or owns the generation). */
bool failover_may_speak_alone(const struct failover *f);

/* Of a state's name, as a guard tells it: the pair is over, and its guard will leave. A name that is none: true. */
bool failover_is_over(const char *state_name);

const char *failover_role_name(enum failover_role role);	/* "primary" */
const char *failover_state_name(enum failover_state state);
const char *failover_event_name(enum failover_event_type event);
const char *failover_reason_name(enum failover_reason reason);	/* short id: "peer-silent" */
const char *failover_reason_text(enum failover_reason reason);	/* a sentence */
