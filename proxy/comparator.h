/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The primary's proxy: what both copies send comes in, what may leave for the LAN comes out (through output-gate.c, the one place that lets a frame go).
 * Theory of operation in comparator.c. Pure.
 *
 * Epochs: a frame the PVM sent between checkpoint n-1 and checkpoint n is of epoch n; so is what the SVM sends between LOADED(n-1) and the stop for its next load.
 * Only outputs of the same epoch are compared.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/difference.h"
#include "proxy/flow-pattern.h"
#include "proxy/output-gate.h"

struct comparator;

struct comparator_limits {
	uint64_t absent_ns;		/* the same while the SVM cannot answer: it is stopped, loads, or is an epoch behind; or lets others leave */
	uint64_t hold_ns;		/* compare timeout: a frame held longer asks for a checkpoint (runs only while the SVM runs in the frame's epoch) */
	size_t max_held_bytes;		/* PVM frames of one epoch waiting; at it a checkpoint is asked for (nothing is dropped: the caller stops reading f_out at 2x) */
	size_t max_secondary_bytes;	/* SVM bytes waiting for their twin; beyond it the flow is marked differing until the next load */
	unsigned max_flows;		/* beyond it new flows are released by commit only */
	uint64_t flow_idle_ns;
	const char *seed;		/* of the flow table's hash (flow-key.h); NULL: "" */
	bool show_differences;		/* remember some of the bytes that differed (comparator_flows); they are the guest's, so not without being asked for */
};

enum comparator_want { COMPARATOR_WANT_NONE, COMPARATOR_WANT_DIFFERENCE, COMPARATOR_WANT_TIMEOUT, COMPARATOR_WANT_QUEUE_FULL };

/* Why a frame left by commit and not by comparison. */
enum commit_cause {
	COMMIT_DIFFERS,		/* its flow was found differing in its epoch */
	COMMIT_WAITED,		/* the SVM had not sent the same yet */
	COMMIT_NOT_COMPARED,	/* its epoch was committed before it became the compared one */
	COMMIT_NEVER_COMPARE,	/* by the administrator's word */
	COMMIT_NO_ROOM,		/* the flow table was full, or a limit had been passed earlier in its epoch */
	COMMIT_LAST
};
const char *commit_cause_name(enum commit_cause cause);

struct comparator_stats {
	uint64_t released_frames[RELEASE_LAST], released_bytes[RELEASE_LAST];	/* bytes of wire frames, header and vnet header included */
	uint64_t differences;			/* flows found differing, once per flow and epoch, whether or not they asked for a checkpoint */
	uint64_t differences_by[DIFFERENCE_LAST];
	uint64_t committed_by[COMMIT_LAST];	/* frames */
	uint64_t timeouts, queue_full;		/* checkpoints asked for because of them */
	uint64_t held_frames, held_bytes, held_peak_bytes;
	uint64_t flows, flows_refused;		/* flows known now; frames of either copy that came when there was no room for their flow */
	uint64_t secondary_frames, secondary_stale;	/* SVM frames, and those of them that were of an epoch that is committed */
	uint64_t secondary_unused;		/* SVM frames that released nothing: their twin had not left when their epoch was committed or their flow found differing; their
						   flow is not compared, or has no room; too many were early; the peer is lost */
};

struct comparator *comparator_new(const struct comparator_limits *limits);
void comparator_free(struct comparator *c);
typedef struct comparator comparator;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(comparator, comparator_free)

/* Which flows are not compared. Copied. While protecting only between comparator_boundary() and the first frame after it. */
void comparator_set_patterns(struct comparator *c, const struct flow_patterns *patterns);

/* Starts protecting: from now on frames are held until they may go. The current epochs of both copies are `epoch`, and the SVM runs. Not while protecting. */
void comparator_protect(struct comparator *c, uint64_t now, uint64_t epoch);
/* Ends protecting: this side is the only one by the arbiter's word. Everything held is released (RELEASE_UNPROTECTED), and all later frames at once. */
void comparator_unprotect(struct comparator *c, uint64_t now);
/* The peer is lost and the arbiter has not spoken: nothing is released by comparison any more, nothing is asked for. Commits that are already in still count. */
void comparator_freeze(struct comparator *c);

/* A PVM frame (wire-frame.h format) of NIC `nic`; keeps a reference. Its epoch is the current one. */
void comparator_primary_frame(struct comparator *c, uint64_t now, unsigned nic, GBytes *frame);
/* An SVM frame with the standby's id (ascending) and epoch. */
void comparator_secondary_frame(struct comparator *c, uint64_t now, unsigned nic, uint64_t id, uint64_t epoch, GBytes *frame);
/* The PVM stopped and its filter sockets are drained: epoch n is over, later PVM frames are of epoch n + 1. */
void comparator_boundary(struct comparator *c, uint64_t now, uint64_t epoch);
/* Passive: from the current epoch on, which must have no frame yet (call it right after comparator_boundary()), frames leave by commit only and nothing is asked for
 * but by their amount. Off: from the current epoch on they are compared again. So an epoch is wholly the one or the other. */
void comparator_set_passive(struct comparator *c, bool passive);
/* An epoch that is not over, or that was committed before, is not a commit of anything: ignored. */
void comparator_committed(struct comparator *c, uint64_t now, uint64_t epoch);
/* The SVM runs epoch + 1 / has been stopped for a load (hold clocks rest). */
void comparator_loaded(struct comparator *c, uint64_t now, uint64_t epoch);
void comparator_secondary_stopped(struct comparator *c, uint64_t now);
void comparator_tick(struct comparator *c, uint64_t now);
/* When comparator_tick() has something to ask for; UINT64_MAX: not before the next event. */
uint64_t comparator_deadline(const struct comparator *c);

/* Output: the next frame to be written to f_rel of `nic`, in the order the PVM sent them per flow. The caller owns it. NULL when there is none. */
GBytes *comparator_next_release(struct comparator *c, unsigned *nic);
/* When this side gives up, frozen: frames of finished epochs that have not left. The other side may send those whose epoch's checkpoint it has loaded: no copy will
 * send them again. The caller owns it; NULL when there are no more. */
GBytes *comparator_next_unsent(struct comparator *c, uint64_t *epoch, unsigned *nic);
/* Ids of SVM frames whose twins have left (the standby may forget them); the array is emptied by the call that returns it. NULL when there are none. */
GArray *comparator_take_matched(struct comparator *c);	/* of uint64_t */
/* Why a checkpoint is wanted, once per epoch; reset by the call. */
enum comparator_want comparator_take_want(struct comparator *c);
/* May the client that has sent this SYN have its answer, so that its connection is open? False only when it is sure that none has left. */
bool comparator_may_be_open(const struct comparator *c, unsigned nic, const struct packet *syn);
bool comparator_holds_current(const struct comparator *c);	/* a frame of the current epoch may not leave yet */
uint64_t comparator_held_for(const struct comparator *c, uint64_t now);	/* ns that the oldest frame has waited; 0: none does */
uint64_t comparator_kept_bytes(const struct comparator *c);	/* held, or released and not fetched */
bool comparator_full(const struct comparator *c);	/* held bytes at 2 x max_held_bytes: stop reading f_out */
/* One flow, as far as it is known now. */
struct comparator_flow {
	struct flow_key key;
	enum flow_treatment treatment;
	uint64_t released_frames[RELEASE_LAST], released_bytes[RELEASE_LAST];
	uint64_t held_frames, differences;
	struct difference first;	/* difference; its windows are empty without show_differences */
};
#define COMPARATOR_FLOWS_MAX 256
/* At most `max` (and COMPARATOR_FLOWS_MAX) of the flows, those with the most bytes released, most first. */
GArray *comparator_flows(const struct comparator *c, unsigned max);	/* of struct comparator_flow */
void comparator_stats(const struct comparator *c, struct comparator_stats *out);
