/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The output commit rule: a frame of the PVM leaves for the LAN only when the copy that would take over could have sent it too:
 *
 *   same:        the SVM has sent the same content in the same epoch, and a TCP ACK goes no further than what the SVM has acknowledged itself
 *                (or a commit covers) - otherwise the client frees bytes that only the dying host had;
 *   committed:   the frame's epoch ended in a checkpoint that the standby holds as a whole;
 *   unprotected: there is no other copy;
 *   bypass:      the administrator has named its flow as one whose loss of a byte, or contradiction, at a failover does not matter. Only while the pair is
 *                whole: when the peer is lost and the arbiter has not spoken, the other copy may be the one that speaks for this address.
 *
 * The gate keeps its own record of what is protected and committed, and checks each frame against it. A frame that fails the check is a bug
 * in the proxy; the guard aborts then, which closes every socket of the VM's filters: no output is better than wrong output.
 */
#include "proxy/output-gate.h"

#include "proxy/frame.h"
#include "proxy/sequence.h"

static const char *const reason_names[] = {
	[RELEASE_UNPROTECTED] = "unprotected",
	[RELEASE_SAME] = "same",
	[RELEASE_COMMITTED] = "committed",
	[RELEASE_BYPASS] = "bypass",
};
G_STATIC_ASSERT(G_N_ELEMENTS(reason_names) == RELEASE_LAST);

const char *
release_reason_name(enum release_reason reason)
{
	g_assert(reason < RELEASE_LAST);
	return reason_names[reason];
}

void
output_gate_protect(struct output_gate *gate, uint64_t committed)
{
	g_assert(!gate->protecting);
	gate->protecting = gate->comparing = true;
	gate->committed = committed;
}

void
output_gate_commit(struct output_gate *gate, uint64_t epoch)
{
	g_assert(gate->protecting && epoch > gate->committed);
	gate->committed = epoch;
}

void
output_gate_freeze(struct output_gate *gate)
{
	gate->comparing = false;
}

void
output_gate_unprotect(struct output_gate *gate)
{
	gate->protecting = gate->comparing = false;
}

static bool
same_covers(const struct output_gate *gate, const struct frame *frame, const struct release_evidence *e)
{
	if (!gate->protecting || !gate->comparing || !e->same || e->epoch != frame->epoch)
		return false;
	if (e->in_stream && seq_after(e->end, e->compared) > 0)
		return false;
	if (e->marks && seq_after(e->mark, e->marked) > 0)
		return false;
	return !e->acknowledges || seq_after(e->ack, e->acknowledged) <= 0;
}

/* Asks the patterns again: a flow's remembered treatment is no evidence. */
static bool
bypass_covers(const struct output_gate *gate, const struct frame *frame)
{
	struct flow_key key;

	if (!gate->protecting || !gate->comparing || !gate->patterns)
		return false;
	flow_key_make(&key, frame->nic, &frame->packet);
	return flow_patterns_treat(gate->patterns, &key) == FLOW_BYPASS;
}

static bool
covers(const struct output_gate *gate, const struct frame *frame, const struct release_evidence *e)
{
	switch (e->reason) {
	case RELEASE_UNPROTECTED:
		return !gate->protecting;
	case RELEASE_SAME:
		return same_covers(gate, frame, e);
	case RELEASE_COMMITTED:
		return gate->protecting && frame->epoch <= gate->committed;
	case RELEASE_BYPASS:
		return bypass_covers(gate, frame);
	case RELEASE_LAST:
		break;
	}
	return false;
}

void
output_gate_release(struct output_gate *gate, struct frame *frame, const struct release_evidence *e)
{
	g_assert(covers(gate, frame, e));
	gate->frames[e->reason]++;
	gate->bytes[e->reason] += frame->size;
	gate->out_bytes += frame->size;
	g_queue_push_tail_link(&gate->out, &frame->order);
}

struct frame *
output_gate_next(struct output_gate *gate)
{
	GList *link = g_queue_pop_head_link(&gate->out);
	struct frame *frame = link ? link->data : NULL;

	gate->out_bytes -= frame ? frame->size : 0;
	return frame;
}
