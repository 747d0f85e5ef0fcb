/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The output commit rule. The only way out for a PVM frame; see output-gate.c. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/flow-pattern.h"

struct frame;

enum release_reason {
	RELEASE_UNPROTECTED,	/* no pair (forming, solo) */
	RELEASE_SAME,		/* the SVM sent the same, and the ACK is safe */
	RELEASE_COMMITTED,	/* its epoch's checkpoint is committed */
	RELEASE_BYPASS,		/* its flow need not be compared, by the administrator's word */
	RELEASE_LAST
};
const char *release_reason_name(enum release_reason reason);

/* Why a frame may leave, in facts that the gate can check, not as a claim. */
struct release_evidence {
	enum release_reason reason;

	/* RELEASE_SAME */
	uint64_t epoch;			/* in which the SVM sent it (or has nothing to send: all of it had left before) */
	bool same;			/* the compare-*.c file's verdict on the content */
	bool in_stream;			/* TCP with content: */
	uint32_t end, compared;		/* where the segment ends, up to where both streams were found equal */
	bool acknowledges;		/* TCP with an ACK: */
	uint32_t ack, acknowledged;	/* its number, and the highest one that the SVM sent or a commit covers */
	bool marks;			/* TCP with urgent data: */
	uint32_t mark, marked;		/* likewise */
};

struct output_gate {
	bool protecting;	/* set by output_gate_protect, cleared by output_gate_unprotect */
	bool comparing;		/* evidence of the SVM counts; cleared by output_gate_freeze */
	uint64_t committed;	/* newest committed epoch */
	const struct flow_patterns *patterns;	/* which flows are bypassed; NULL: none */
	GQueue out;		/* of struct frame, released and not fetched yet */
	uint64_t out_bytes;	/* of those */
	uint64_t frames[RELEASE_LAST], bytes[RELEASE_LAST];
};

/* Epochs <= committed are safe from the start. */
void output_gate_protect(struct output_gate *gate, uint64_t committed);
void output_gate_commit(struct output_gate *gate, uint64_t epoch);
void output_gate_freeze(struct output_gate *gate);
void output_gate_unprotect(struct output_gate *gate);

/* Lets the frame go; the gate owns it until it is fetched. Aborts when the evidence does not cover the frame: better no VM than a wrong byte. */
void output_gate_release(struct output_gate *gate, struct frame *frame, const struct release_evidence *evidence);
/* The next released frame, in the order of release; NULL when there is none. The caller owns it. */
struct frame *output_gate_next(struct output_gate *gate);
