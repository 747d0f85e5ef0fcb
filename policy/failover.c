/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may run the VM. One guard's view; the other guard has the same table and the arbiter is the only thing between them.
 *
 *  1. While the pair forms the primary is an ordinary VM and the standby may never go live. The primary arms itself before it arms the standby.
 *  2. An armed side goes on alone only after the arbiter granted it generation + 1; of two claims one is granted. No answer: it waits, held.
 *  3. Whoever is denied, or lost its QEMU, or hears that the peer owns generation + 1, stops its copy and never speaks again.
 *  4. A claim that was sent cannot be taken back: unanswered it may have been written, or be written later. So it is repeated (the same nonce finds out)
 *     until it is answered, and no state with a claim out leads back to PROTECTED: a pair that looks protected but cannot fail over would be a lie.
 *     An operator's claim therefore waits in ASKING, with output still flowing by the rule: a silent arbiter delays a disable, it never holds the VM.
 *  5. A side that cannot go on but whose peer can, abdicates instead of claiming. A standby whose data failed keeps what is committed and claims after
 *     all if the primary is lost (when a host dies its data connections often end before its heartbeats do).
 *  6. A copy that is not fit to be promoted does not claim: the generation is left to the primary.
 *  7. When the VM is ended on purpose the primary claims generation + 1, so that a standby that hears nothing is denied, and says GOODBYE at once, so
 *     that one that hears stops even if the arbiter is silent. Only if both are lost, or if it had won before, can a standby bring back a VM that was shut down.
 *  8. A switchover adds no right: the primary holds its output, or its guest at the end of a last checkpoint, and asks the standby, which claims as for an
 *     operator's failover; GOODBYE tells that it has won. Before that the pair is whole, so a primary that waits too long goes on, by the rule.
 *
 *   FORMING --ARM--> PROTECTED --operator asks---------> ASKING --GRANTED---------+
 *      |              |  |  |                              | pair breaks           |
 *      |              |  |  |                              v                       v
 *      |              |  |  +--pair breaks-------------> DECIDING --GRANTED--> SETTLING --SETTLED--> SOLO
 *      |              |  |                               ^   |                     |
 *      |              |  +--data failed---> YIELDED -----+   |                     |
 *      |              |     (standby)        peer lost       |                     |
 *      |              |                                      |                     |
 *      |              +--guest ended (primary)--> CLOSING <--+ guest ended         |
 *      | anything else                               | GRANTED                     | guest ended
 *      +-----------------------------------------> ENDED <-------------------------+
 *
 *   PROTECTED --operator's switchover (primary)--> SWITCHING --GOODBYE--> FENCED; --switchover off--> PROTECTED; anything else as from PROTECTED
 *   DENIED, GOODBYE, or our QEMU died in any armed state but SETTLING (CLOSING expects the latter) -> FENCED
 *   QEMU died or the last load failed in SETTLING -> FENCED
 *
 * Availability is given up, knowingly, in three windows: when both QEMUs end, and each side gives up for the other, nobody claims; a side that claimed and then lost
 * its QEMU before the answer may leave behind a generation that nobody runs; and so may a standby that became unfit between claim and grant. They last one round trip, to
 * the arbiter or to the peer. An operator ends them; or ftd, which claims for a primary that nobody follows, and gives back what a standby has won whose copy was never
 * heard (daemon/pair-record.c).
 *
 * Durability: ARM writes pair, generation and nonce, all that a claim needs; the end states write themselves before anything irrevocable is done.
 */
#include "policy/failover.h"

enum {	/* the table is read more often than the header */
	FREEZE = FAILOVER_ACT_FREEZE,
	PERSIST = FAILOVER_ACT_PERSIST,
	CLAIM = FAILOVER_ACT_CLAIM,
	ABDICATE = FAILOVER_ACT_ABDICATE,
	GOODBYE = FAILOVER_ACT_TELL_GOODBYE,
	GO_SOLO = FAILOVER_ACT_GO_SOLO,
	STOP_COPY = FAILOVER_ACT_STOP_COPY,
	UNDO = FAILOVER_ACT_UNDO,
	FINISH = FAILOVER_ACT_FINISH,
	HAND_OVER = FAILOVER_ACT_HAND_OVER,
};

#define FAILOVER_ROLES 2

static const char *const role_names[] = {
	[FAILOVER_PRIMARY] = "primary",
	[FAILOVER_STANDBY] = "standby",
};
G_STATIC_ASSERT(G_N_ELEMENTS(role_names) == FAILOVER_ROLES);

static const char *const state_names[] = {
	[FAILOVER_FORMING] = "forming",
	[FAILOVER_PROTECTED] = "protected",
	[FAILOVER_SWITCHING] = "switching",
	[FAILOVER_ASKING] = "asking",
	[FAILOVER_YIELDED] = "yielded",
	[FAILOVER_DECIDING] = "deciding",
	[FAILOVER_CLOSING] = "closing",
	[FAILOVER_SETTLING] = "settling",
	[FAILOVER_SOLO] = "solo",
	[FAILOVER_FENCED] = "fenced",
	[FAILOVER_ENDED] = "ended",
};
G_STATIC_ASSERT(G_N_ELEMENTS(state_names) == FAILOVER_STATE_LAST);

/* name, and the reason that a state gets when the shell gives no closer one */
static const struct {
	const char *name;
	enum failover_reason reason;
} events[] = {
	[FAILOVER_EV_ARM] = { "arm", FAILOVER_REASON_NONE },
	[FAILOVER_EV_PEER_LOST] = { "peer-lost", FAILOVER_REASON_PEER_SILENT },
	[FAILOVER_EV_PEER_ABDICATED] = { "peer-abdicated", FAILOVER_REASON_PEER_ABDICATED },
	[FAILOVER_EV_PEER_GOODBYE] = { "peer-goodbye", FAILOVER_REASON_PEER_GOODBYE },
	[FAILOVER_EV_QEMU_DIED] = { "qemu-died", FAILOVER_REASON_QEMU_DIED },
	[FAILOVER_EV_COPY_UNFIT] = { "copy-unfit", FAILOVER_REASON_COPY_UNFIT },
	[FAILOVER_EV_COPY_FIT] = { "copy-fit", FAILOVER_REASON_NONE },
	[FAILOVER_EV_DATA_FAILED] = { "data-failed", FAILOVER_REASON_DATA_FAILED },
	[FAILOVER_EV_OPERATOR_DISABLE] = { "operator-disable", FAILOVER_REASON_OPERATOR_DISABLE },
	[FAILOVER_EV_OPERATOR_FAILOVER] = { "operator-failover", FAILOVER_REASON_OPERATOR_FAILOVER },
	[FAILOVER_EV_OPERATOR_SWITCHOVER] = { "operator-switchover", FAILOVER_REASON_OPERATOR_SWITCHOVER },
	[FAILOVER_EV_SWITCHOVER_OFF] = { "switchover-off", FAILOVER_REASON_NONE },
	[FAILOVER_EV_GUEST_ENDED] = { "guest-ended", FAILOVER_REASON_GUEST_ENDED },
	[FAILOVER_EV_GRANTED] = { "granted", FAILOVER_REASON_NONE },
	[FAILOVER_EV_DENIED] = { "denied", FAILOVER_REASON_CLAIM_DENIED },
	[FAILOVER_EV_ARBITER_SILENT] = { "arbiter-silent", FAILOVER_REASON_NONE },
	[FAILOVER_EV_SETTLED] = { "settled", FAILOVER_REASON_NONE },
	[FAILOVER_EV_STOPPED] = { "stopped", FAILOVER_REASON_NONE },
	[FAILOVER_EV_TICK] = { "tick", FAILOVER_REASON_NONE },
};
G_STATIC_ASSERT(G_N_ELEMENTS(events) == FAILOVER_EVENT_LAST);

static const struct {
	const char *name, *text;
} reasons[] = {
	[FAILOVER_REASON_NONE] = { "none", "nothing happened" },
	[FAILOVER_REASON_PEER_SILENT] = { "peer-silent", "the other host was silent for longer than the suspicion time" },
	[FAILOVER_REASON_PEER_CLOSED] = { "peer-closed", "the connection to the other host ended" },
	[FAILOVER_REASON_PEER_ABDICATED] = { "peer-abdicated", "the other side gave up its copy" },
	[FAILOVER_REASON_PEER_GOODBYE] = { "peer-goodbye", "the other side ended the pair" },
	[FAILOVER_REASON_QEMU_DIED] = { "qemu-died", "QEMU on this host has ended" },
	[FAILOVER_REASON_COPY_UNFIT] = { "copy-unfit", "the standby's copy is not fit to take over" },
	[FAILOVER_REASON_DATA_FAILED] = { "data-failed", "checkpoints, disk writes or packets can no longer be carried" },
	[FAILOVER_REASON_OPERATOR_DISABLE] = { "operator-disable", "protection was disabled" },
	[FAILOVER_REASON_OPERATOR_FAILOVER] = { "operator-failover", "a failover was asked for" },
	[FAILOVER_REASON_GUEST_ENDED] = { "guest-ended", "the VM was shut down or destroyed on purpose" },
	[FAILOVER_REASON_CLAIM_DENIED] = { "claim-denied", "the arbiter gave the VM to the other side" },
	[FAILOVER_REASON_SETUP_FAILED] = { "setup-failed", "the pair could not be formed" },
	[FAILOVER_REASON_GUEST_PANICKED] = { "guest-panicked", "the guest's kernel panicked on this host" },
	[FAILOVER_REASON_DISK_ERROR] = { "disk-error", "a disk of this host reported an error" },
	[FAILOVER_REASON_QEMU_HUNG] = { "qemu-hung", "QEMU on this host does not answer" },
	[FAILOVER_REASON_OPERATOR_SWITCHOVER] = { "operator-switchover", "a switchover was asked for" },
};
G_STATIC_ASSERT(G_N_ELEMENTS(reasons) == FAILOVER_REASON_LAST);

enum answer_kind {
	UNANSWERED,		/* a hole in the table: the matrix test finds it */
	ANSWER_GO,		/* change to `next` (may be the same state), carry out `actions` */
	ANSWER_IGNORE,		/* the event is possible here and changes nothing */
	ANSWER_NOTE_FITNESS,	/* remembered in `fit`, which guards every claim */
	ANSWER_ASK_LATER,	/* the arbiter was silent: set the time of the next claim */
	ANSWER_ASK_AGAIN,	/* claim if that time has come */
	ANSWER_IMPOSSIBLE,	/* our own shell broke its contract: abort, which closes every socket and thereby shuts the output */
};

struct answer {
	enum answer_kind kind;
	enum failover_state next;
	unsigned actions;
	enum failover_reason reason;	/* NONE: that of the event */
};

#define GO(next, actions) { ANSWER_GO, FAILOVER_##next, actions }
#define IGNORE { ANSWER_IGNORE }
#define NOTE { ANSWER_NOTE_FITNESS }
#define LATER { ANSWER_ASK_LATER }
#define AGAIN { ANSWER_ASK_AGAIN }
#define IMPOSSIBLE { ANSWER_IMPOSSIBLE }
#define BOTH(...) { __VA_ARGS__, __VA_ARGS__ }

/* A standby that is forming says ABDICATE, never GOODBYE: to a primary that armed a moment ago GOODBYE would mean "I own the VM". */
#define CALL_OFF { GO(ENDED, GOODBYE | UNDO), GO(ENDED, ABDICATE | STOP_COPY) }
#define ABDICATED(more) GO(FENCED, PERSIST | ABDICATE | STOP_COPY | (more))
#define FENCED(more) GO(FENCED, PERSIST | STOP_COPY | (more))
#define SWITCHED_OVER { ANSWER_GO, FAILOVER_FENCED, FREEZE | PERSIST | STOP_COPY, FAILOVER_REASON_OPERATOR_SWITCHOVER }

/*
 * { primary, standby }. What is IMPOSSIBLE, and why; all of it is this process's own doing, nothing the peer, the guest, libvirt or an operator sends is:
 *  - ARM at a primary that is armed: its shell arms once. (At a standby ARM is the peer's frame, so a repeated one is ignored. At a primary that ENDED
 *    the record's claim may come back late, so that is ignored too.)
 *  - COPY_UNFIT and COPY_FIT at a primary: only a standby's guard watches a copy.
 *  - GRANTED, DENIED, ARBITER_SILENT without a claim: CLAIM is answered exactly once, and no second one goes out before. FENCED may be reached with
 *    the answer outstanding; SETTLING, SOLO and ENDED only by an answer or without a claim.
 *  - SETTLED without GO_SOLO, STOPPED without STOP_COPY or UNDO. (FENCED and ENDED may be reached while GO_SOLO is under way.)
 *  - anything in YIELDED at a primary or in SWITCHING or CLOSING at a standby: these states belong to one role.
 *  - SWITCHOVER_OFF but in SWITCHING: it answers HAND_OVER, and the shell forgets it with that state.
 */
static const struct answer table[FAILOVER_STATE_LAST][FAILOVER_EVENT_LAST][FAILOVER_ROLES] = {
	[FAILOVER_FORMING] = {
		[FAILOVER_EV_ARM] = BOTH(GO(PROTECTED, PERSIST)),
		[FAILOVER_EV_PEER_LOST] = CALL_OFF,
		[FAILOVER_EV_PEER_ABDICATED] = CALL_OFF,
		[FAILOVER_EV_PEER_GOODBYE] = CALL_OFF,
		[FAILOVER_EV_QEMU_DIED] = CALL_OFF,
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = CALL_OFF,
		[FAILOVER_EV_OPERATOR_DISABLE] = CALL_OFF,
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = CALL_OFF,
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
	[FAILOVER_PROTECTED] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(GO(DECIDING, FREEZE | CLAIM)),
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(GO(DECIDING, FREEZE | CLAIM)),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(FENCED(FREEZE)),
		[FAILOVER_EV_QEMU_DIED] = BOTH(ABDICATED(FREEZE)),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = { GO(DECIDING, FREEZE | CLAIM), GO(YIELDED, FREEZE | ABDICATE) },
		[FAILOVER_EV_OPERATOR_DISABLE] = { GO(ASKING, CLAIM), IGNORE },
		[FAILOVER_EV_OPERATOR_FAILOVER] = { IGNORE, GO(ASKING, CLAIM) },
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = { GO(SWITCHING, HAND_OVER), GO(ASKING, CLAIM) },
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		/* The SVM's own end is not the VM's: the primary's guest follows, or goes on alone. */
		[FAILOVER_EV_GUEST_ENDED] = { GO(CLOSING, FREEZE | CLAIM | GOODBYE), ABDICATED(FREEZE) },
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
	[FAILOVER_SWITCHING] = {
		[FAILOVER_EV_ARM] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_PEER_LOST] = { GO(DECIDING, FREEZE | CLAIM), IMPOSSIBLE },
		[FAILOVER_EV_PEER_ABDICATED] = { GO(DECIDING, FREEZE | CLAIM), IMPOSSIBLE },
		[FAILOVER_EV_PEER_GOODBYE] = { SWITCHED_OVER, IMPOSSIBLE },
		[FAILOVER_EV_QEMU_DIED] = { ABDICATED(FREEZE), IMPOSSIBLE },
		[FAILOVER_EV_COPY_UNFIT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_COPY_FIT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DATA_FAILED] = { GO(DECIDING, FREEZE | CLAIM), IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_DISABLE] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_FAILOVER] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_SWITCHOVER_OFF] = { GO(PROTECTED, 0), IMPOSSIBLE },
		[FAILOVER_EV_GUEST_ENDED] = { GO(CLOSING, FREEZE | CLAIM | GOODBYE), IMPOSSIBLE },
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),			/* the claim is the standby's */
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = { IGNORE, IMPOSSIBLE },
	},
	[FAILOVER_ASKING] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(GO(DECIDING, FREEZE)),		/* the claim is out already */
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(GO(DECIDING, FREEZE)),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(FENCED(FREEZE)),
		[FAILOVER_EV_QEMU_DIED] = BOTH(ABDICATED(FREEZE)),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(GO(DECIDING, FREEZE)),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = { GO(CLOSING, FREEZE | GOODBYE), ABDICATED(FREEZE) },
		[FAILOVER_EV_GRANTED] = BOTH(GO(SETTLING, FREEZE | PERSIST | GOODBYE | GO_SOLO)),
		[FAILOVER_EV_DENIED] = BOTH(FENCED(FREEZE)),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(LATER),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(AGAIN),
	},
	[FAILOVER_YIELDED] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = { IMPOSSIBLE, GO(DECIDING, CLAIM) },
		[FAILOVER_EV_PEER_ABDICATED] = { IMPOSSIBLE, GO(DECIDING, CLAIM) },
		[FAILOVER_EV_PEER_GOODBYE] = { IMPOSSIBLE, FENCED(0) },
		[FAILOVER_EV_QEMU_DIED] = { IMPOSSIBLE, FENCED(0) },		/* the peer was told already */
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_OPERATOR_DISABLE] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_OPERATOR_FAILOVER] = { IMPOSSIBLE, GO(DECIDING, CLAIM) },
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = { IMPOSSIBLE, FENCED(0) },
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = { IMPOSSIBLE, IGNORE },
	},
	[FAILOVER_DECIDING] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(IGNORE),				/* whatever the peer does now, a claim is answered by the arbiter */
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(FENCED(0)),			/* ... but this says how it was, or that the VM has ended */
		[FAILOVER_EV_QEMU_DIED] = BOTH(ABDICATED(0)),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = { GO(CLOSING, GOODBYE), ABDICATED(0) },
		[FAILOVER_EV_GRANTED] = BOTH(GO(SETTLING, PERSIST | GOODBYE | GO_SOLO)),
		[FAILOVER_EV_DENIED] = BOTH(FENCED(0)),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(LATER),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(AGAIN),
	},
	[FAILOVER_CLOSING] = {
		[FAILOVER_EV_ARM] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_PEER_LOST] = { IGNORE, IMPOSSIBLE },		/* a standby that heard GOODBYE ends */
		[FAILOVER_EV_PEER_ABDICATED] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_PEER_GOODBYE] = { FENCED(0), IMPOSSIBLE },
		[FAILOVER_EV_QEMU_DIED] = { IGNORE, IMPOSSIBLE },		/* that is how a VM ends */
		[FAILOVER_EV_COPY_UNFIT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_COPY_FIT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DATA_FAILED] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_DISABLE] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_FAILOVER] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = { IGNORE, IMPOSSIBLE },
		[FAILOVER_EV_GRANTED] = { GO(ENDED, PERSIST | STOP_COPY), IMPOSSIBLE },
		[FAILOVER_EV_DENIED] = { FENCED(0), IMPOSSIBLE },
		[FAILOVER_EV_ARBITER_SILENT] = { LATER, IMPOSSIBLE },
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = { AGAIN, IMPOSSIBLE },
	},
	[FAILOVER_SETTLING] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(IGNORE),				/* there is no peer any more */
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(IGNORE),
		[FAILOVER_EV_QEMU_DIED] = BOTH(FENCED(0)),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, FENCED(0) },		/* the last load failed */
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, NOTE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = BOTH(GO(ENDED, PERSIST | STOP_COPY)),
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(GO(SOLO, PERSIST | FINISH)),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
	[FAILOVER_SOLO] = {	/* an ordinary domain: what happens to it is no business of a pair */
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(IGNORE),
		[FAILOVER_EV_QEMU_DIED] = BOTH(IGNORE),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = BOTH(IGNORE),
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_STOPPED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
	[FAILOVER_FENCED] = {
		[FAILOVER_EV_ARM] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_PEER_LOST] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(IGNORE),
		[FAILOVER_EV_QEMU_DIED] = BOTH(IGNORE),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = BOTH(IGNORE),
		[FAILOVER_EV_GRANTED] = BOTH(IGNORE),				/* too late: the copy is gone */
		[FAILOVER_EV_DENIED] = BOTH(IGNORE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IGNORE),
		[FAILOVER_EV_SETTLED] = BOTH(IGNORE),
		[FAILOVER_EV_STOPPED] = BOTH(GO(FENCED, FINISH)),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
	[FAILOVER_ENDED] = {
		[FAILOVER_EV_ARM] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_LOST] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_ABDICATED] = BOTH(IGNORE),
		[FAILOVER_EV_PEER_GOODBYE] = BOTH(IGNORE),
		[FAILOVER_EV_QEMU_DIED] = BOTH(IGNORE),
		[FAILOVER_EV_COPY_UNFIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_COPY_FIT] = { IMPOSSIBLE, IGNORE },
		[FAILOVER_EV_DATA_FAILED] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_DISABLE] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_FAILOVER] = BOTH(IGNORE),
		[FAILOVER_EV_OPERATOR_SWITCHOVER] = BOTH(IGNORE),
		[FAILOVER_EV_SWITCHOVER_OFF] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_GUEST_ENDED] = BOTH(IGNORE),
		[FAILOVER_EV_GRANTED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_DENIED] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_ARBITER_SILENT] = BOTH(IMPOSSIBLE),
		[FAILOVER_EV_SETTLED] = BOTH(IGNORE),
		[FAILOVER_EV_STOPPED] = BOTH(GO(ENDED, FINISH)),
		[FAILOVER_EV_TICK] = BOTH(IGNORE),
	},
};

/* Rule 6. What an unfit standby does where a fit one would claim, and when a claim sent while it was fit is granted. */
static const struct answer unfit_claim = { ANSWER_GO, FAILOVER_FENCED, FREEZE | PERSIST | ABDICATE | STOP_COPY, FAILOVER_REASON_COPY_UNFIT };
static const struct answer unfit_granted = { ANSWER_GO, FAILOVER_FENCED, FREEZE | PERSIST | STOP_COPY, FAILOVER_REASON_COPY_UNFIT };
static const struct answer unfit_asked = IGNORE;	/* the operator is refused, the pair stays as it is */

static bool
has_claim_out(enum failover_state state)
{
	return state == FAILOVER_ASKING || state == FAILOVER_DECIDING || state == FAILOVER_CLOSING;
}

bool
failover_event_possible(enum failover_role role, enum failover_state state, enum failover_event_type event)
{
	const struct answer *a = &table[state][event][role];

	g_assert(a->kind != UNANSWERED);
	return a->kind != ANSWER_IMPOSSIBLE;
}

/* The table's answer, with rules 4 (time of the next claim) and 6 (fitness) applied: GO or IGNORE. */
static struct answer
answer_of(struct failover *f, uint64_t now, enum failover_event_type event)
{
	struct answer a = table[f->state][event][f->config.role];

	g_assert(failover_event_possible(f->config.role, f->state, event));
	if (a.kind == ANSWER_NOTE_FITNESS)
		f->fit = event == FAILOVER_EV_COPY_FIT;
	if (a.kind == ANSWER_ASK_LATER)
		f->retry_at = now > UINT64_MAX - 1 - f->config.claim_retry_ns ? UINT64_MAX - 1 : now + f->config.claim_retry_ns;
	if (a.kind == ANSWER_ASK_AGAIN && now >= f->retry_at)
		a = (struct answer){ ANSWER_GO, f->state, CLAIM };
	if (a.kind != ANSWER_GO || f->fit)
		return a;
	if (a.actions & CLAIM)
		return event == FAILOVER_EV_OPERATOR_FAILOVER || event == FAILOVER_EV_OPERATOR_SWITCHOVER ? unfit_asked : unfit_claim;
	return a.actions & GO_SOLO ? unfit_granted : a;
}

static enum failover_reason
reason_of(const struct failover *f, const struct answer *a, enum failover_event_type event, enum failover_reason given)
{
	if (a->reason != FAILOVER_REASON_NONE)
		return a->reason;
	if (event == FAILOVER_EV_GRANTED || event == FAILOVER_EV_SETTLED)
		return f->reason;	/* why it began is what people want to know */
	if (event == FAILOVER_EV_ARM || event == FAILOVER_EV_DENIED || given == FAILOVER_REASON_NONE)
		return events[event].reason;
	return given;
}

static void
check_invariant(const struct failover *f, unsigned actions)
{
	unsigned ends = actions & (GO_SOLO | STOP_COPY | UNDO);

	g_assert((ends & (ends - 1)) == 0);
	g_assert(!(actions & GO_SOLO) || f->state == FAILOVER_SETTLING);
	g_assert(!(actions & HAND_OVER) || f->state == FAILOVER_SWITCHING);
	g_assert(!(actions & STOP_COPY) || f->state == FAILOVER_FENCED || f->state == FAILOVER_ENDED);
	g_assert(!(actions & CLAIM) || (has_claim_out(f->state) && f->fit));
	g_assert(f->retry_at == UINT64_MAX || has_claim_out(f->state));
}

unsigned
failover_step(struct failover *f, uint64_t now, enum failover_event_type event, enum failover_reason reason)
{
	struct answer a;

	g_assert((unsigned)event < FAILOVER_EVENT_LAST && (unsigned)reason < FAILOVER_REASON_LAST);
	a = answer_of(f, now, event);
	if (a.kind != ANSWER_GO)
		return 0;
	if (a.next != f->state)
		f->reason = reason_of(f, &a, event, reason);
	if (event == FAILOVER_EV_GRANTED)
		f->generation++;
	if ((a.actions & CLAIM) || !has_claim_out(a.next))
		f->retry_at = UINT64_MAX;
	f->state = a.next;
	check_invariant(f, a.actions);
	return a.actions;
}

void
failover_init(struct failover *f, const struct failover_config *config, uint64_t generation)
{
	*f = (struct failover){
		.config = *config,
		.state = FAILOVER_FORMING,
		.generation = generation,
		.retry_at = UINT64_MAX,
		.fit = true,
	};
}

uint64_t
failover_deadline(const struct failover *f)
{
	return f->retry_at;
}

bool
failover_may_speak_alone(const struct failover *f)
{
	if (f->state == FAILOVER_SOLO || f->state == FAILOVER_SETTLING)
		return true;
	return f->config.role == FAILOVER_PRIMARY && (f->state == FAILOVER_FORMING || f->state == FAILOVER_ENDED);
}

bool
failover_is_over(const char *state_name)
{
	for (enum failover_state s = 0; s < FAILOVER_CLOSING; s++)
		if (g_strcmp0(state_name, state_names[s]) == 0)
			return false;
	return true;
}

const char *
failover_role_name(enum failover_role role)
{
	g_assert((unsigned)role < FAILOVER_ROLES);
	return role_names[role];
}

const char *
failover_state_name(enum failover_state state)
{
	g_assert((unsigned)state < FAILOVER_STATE_LAST);
	return state_names[state];
}

const char *
failover_event_name(enum failover_event_type event)
{
	g_assert((unsigned)event < FAILOVER_EVENT_LAST);
	return events[event].name;
}

const char *
failover_reason_name(enum failover_reason reason)
{
	g_assert((unsigned)reason < FAILOVER_REASON_LAST);
	return reasons[reason].name;
}

const char *
failover_reason_text(enum failover_reason reason)
{
	g_assert((unsigned)reason < FAILOVER_REASON_LAST);
	return reasons[reason].text;
}
