/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Goal: let each frame of the PVM leave as soon as the output commit rule (output-gate.c) allows, ask for a checkpoint when only that will help.
 *
 * Epochs. `committed` is the newest one whose checkpoint the standby holds; the *compared* epoch is the one after it, and the PVM may be further on:
 *
 *     committed | compared = committed + 1 ... epoch (the PVM's, now)
 *
 * Only the compared epoch's frames are compared: for older ones there is nothing left to decide, and of later ones the SVM cannot have sent anything
 * that counts yet, because it gets there by loading checkpoint `committed`. So each flow has one comparison at a time. PVM frames of later epochs
 * are held unread; their turn comes with the commit that makes their epoch the compared one, and until then no reset can lose them. SVM frames
 * that are early wait likewise (bounded); SVM frames of committed epochs are stale.
 *
 * Order. `held` has all held frames as the PVM sent them, so its epochs never decrease; each flow's `held` has the same frames of that flow. By
 * comparison a frame leaves from the head of its flow, whatever other flows wait for. By commit frames leave from the head of the whole.
 *
 * Asking. Only a checkpoint that ends the PVM's current epoch can be asked for, once per epoch, and only a frame of that epoch is a reason: one of an
 * earlier epoch has its checkpoint on the way. The hold clock of a frame runs while the SVM runs in the frame's epoch: one that is stopped, or loads, or
 * is an epoch behind, cannot answer, and its load must not look like a time-out. It has absent_ns for that; a SVM that never comes back must not
 * hold the PVM's output for a whole epoch. Nor is it late while it works off what has come in meanwhile: the clock begins anew whenever its output lets a frame leave,
 * within absent_ns. Otherwise each load of a busy guest ends in a time-out, which asks for the next checkpoint, which ends in a load.
 *
 * Limits. PVM frames: nothing is dropped, comparator_full() makes the caller stop reading. SVM bytes: the flow that goes beyond max_secondary_bytes
 * differs until the next commit. Flows: a new one beyond max_flows is released by commit only - also later in that epoch, when there is room again,
 * because its frames would overtake those that are held without a flow. Early SVM frames beyond the limit: their epoch is not compared at all.
 *
 * Patterns. A bypassed flow's frames leave at once while both copies are there; its SVM frames count as matched when they come, because nobody waits for
 * them. A flow that is never compared differs in every epoch, and its frames ask for the checkpoint that releases them. Both are decided when the flow
 * becomes known; without room for the flow it is released by commit. Patterns change with an epoch: what a known flow that they treat in another way has still held
 * leaves by commit, and it goes on in the new way behind that.
 *
 * Failure modes: wrong or missing SVM output never releases anything, it only costs checkpoints; a commit of an epoch that is not over is ignored.
 */
#include "proxy/comparator.h"

#include <string.h>

#include "proxy/compare-other.h"
#include "proxy/compare-udp.h"
#include "proxy/flow-table.h"
#include "proxy/frame.h"
#include "proxy/sequence.h"
#include "proxy/tcp-timestamp.h"

struct comparator {
	struct comparator_limits limits;
	struct output_gate gate;
	struct flow_table *flows;
	struct frame_pool pool;
	bool frozen;

	uint64_t epoch;			/* the PVM's */
	GQueue held;			/* PVM frames, in the order sent */
	uint64_t held_bytes, held_bytes_now;	/* all, and those of the PVM's current epoch */

	bool svm_runs;
	uint64_t svm_epoch, svm_since;
	uint64_t svm_moved;		/* when its output let a frame leave */
	GQueue early;			/* SVM frames of epochs after the compared one */
	struct flow_patterns patterns;
	GQueue keeping;			/* flows that keep SVM frames */
	size_t secondary_bytes;		/* kept and early */
	bool passive;
	uint64_t passive_from, passive_until;	/* the epochs that are passive now, the last one that was */
	uint64_t blind_until;		/* early frames up to this epoch were lost: nothing is compared */
	uint64_t refused_until;		/* newest epoch of a frame that is held without a flow */

	bool asked;			/* in the PVM's current epoch */
	enum comparator_want want;
	GArray *matched;		/* of uint64_t */
	struct comparator_stats stats;	/* counters; the rest is filled in by comparator_stats() */
};

static const char *const cause_names[] = {
	[COMMIT_DIFFERS] = "differs",
	[COMMIT_WAITED] = "waited",
	[COMMIT_NOT_COMPARED] = "not-compared",
	[COMMIT_NEVER_COMPARE] = "never-compare",
	[COMMIT_NO_ROOM] = "no-room",
};
G_STATIC_ASSERT(G_N_ELEMENTS(cause_names) == COMMIT_LAST);

const char *
commit_cause_name(enum commit_cause cause)
{
	g_assert(cause < COMMIT_LAST);
	return cause_names[cause];
}

static uint64_t
compared_epoch(const struct comparator *c)
{
	return c->gate.committed + 1;
}

static bool
comparing(const struct comparator *c)
{
	return c->gate.protecting && !c->frozen;
}

struct comparator *
comparator_new(const struct comparator_limits *limits)
{
	struct comparator *c = g_new0(struct comparator, 1);

	c->limits = *limits;
	c->flows = flow_table_new(limits->max_flows, limits->flow_idle_ns, limits->seed ? limits->seed : "");
	c->matched = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	c->gate.patterns = &c->patterns;
	return c;
}

/* Nothing of this epoch is compared: it is a passive one, or not all of its frames are where they would be compared. */
static bool
is_blind(const struct comparator *c, const struct flow *flow, uint64_t epoch)
{
	if (epoch <= c->passive_until || (c->passive && epoch >= c->passive_from))
		return true;
	return epoch <= MAX(flow->blind_until, c->blind_until);
}

/* -- asking ---------------------------------------------------------------------------------------------------------------------------- */

/* True when this became the reason. */
static bool
ask(struct comparator *c, uint64_t epoch, enum comparator_want want)
{
	if (!comparing(c) || c->asked || epoch != c->epoch)
		return false;
	c->asked = true;
	c->want = want;
	return true;
}

static uint64_t
later(uint64_t since, uint64_t by)
{
	return since > UINT64_MAX - by ? UINT64_MAX : since + by;
}

/* When the oldest frame has been held for too long. */
static uint64_t
hold_deadline(const struct comparator *c)
{
	const struct frame *f = c->held.head ? c->held.head->data : NULL;

	if (!f || !comparing(c) || c->asked || c->passive || f->epoch != c->epoch)
		return UINT64_MAX;
	if (!c->svm_runs || c->svm_epoch != f->epoch)
		return later(f->time, c->limits.absent_ns);
	return MIN(later(f->time, c->limits.absent_ns), later(MAX(f->time, MAX(c->svm_since, c->svm_moved)), c->limits.hold_ns));
}

/* -- SVM frames ------------------------------------------------------------------------------------------------------------------------ */

static void
charge(struct comparator *c, struct frame *f, size_t bytes)
{
	c->secondary_bytes += bytes - f->charge;
	f->charge = bytes;
}

static void
secondary_free(struct comparator *c, struct frame *f)
{
	charge(c, f, 0);
	frame_free(&c->pool, f);
}

static void
keep(struct comparator *c, struct flow *flow, struct frame *f)
{
	if (flow->kept.length == 0)
		g_queue_push_tail_link(&c->keeping, &flow->keeping);
	g_queue_push_tail_link(&flow->kept, &f->in_flow);
	if (!flow->next_kept)
		flow->next_kept = &f->in_flow;
	f->flow = flow;
}

static void
unkeep_head(struct comparator *c, struct flow *flow)
{
	struct frame *f = flow->kept.head->data;

	if (flow->next_kept == &f->in_flow)
		flow->next_kept = f->in_flow.next;
	g_queue_unlink(&flow->kept, &f->in_flow);
	if (f->packet.class == PACKET_TCP)
		tcp_forget(&flow->tcp, &f->segment);
	secondary_free(c, f);
	if (flow->kept.length == 0)
		g_queue_unlink(&c->keeping, &flow->keeping);
}

static void
unkeep_all(struct comparator *c, struct flow *flow)
{
	c->stats.secondary_unused += flow->kept.length;
	while (flow->kept.length)
		unkeep_head(c, flow);
}

static void
treat_anew(struct flow *flow, void *data)
{
	struct comparator *c = data;
	enum flow_treatment treatment = flow_patterns_treat(&c->patterns, &flow->key);

	if (treatment == flow->treatment)
		return;
	unkeep_all(c, flow);
	/* Segments that left unseen would count as missing: the connection is met half way. */
	if (flow->treatment == FLOW_BYPASS && flow->held.length == 0)
		flow->tcp = (struct tcp_compare){ .waiting = 0 };
	flow->treatment = treatment;
	flow->differs = true;	/* what is held: the SVM's part may be gone */
}

void
comparator_set_patterns(struct comparator *c, const struct flow_patterns *patterns)
{
	g_assert(!c->held.tail || ((struct frame *)c->held.tail->data)->epoch < c->epoch);
	c->patterns = *patterns;
	if (c->gate.protecting)
		flow_table_foreach(c->flows, treat_anew, c);
}

/* The head's content has left: the standby need not keep it either. */
static void
match_head(struct comparator *c, struct flow *flow)
{
	const struct frame *f = flow->kept.head->data;

	g_array_append_val(c->matched, f->id);
	unkeep_head(c, flow);
}

/* All SVM frames before next_kept are of datagrams that have left. */
static void
match_datagrams(struct comparator *c, struct flow *flow)
{
	while (flow->kept.head && flow->kept.head != flow->next_kept)
		match_head(c, flow);
}

static void
match_tcp(struct comparator *c, struct flow *flow)
{
	while (flow->kept.head) {
		const struct frame *f = flow->kept.head->data;
		if (!tcp_matched(&flow->tcp, &f->segment))
			break;
		match_head(c, flow);
	}
}

/* -- releasing ------------------------------------------------------------------------------------------------------------------------- */

/* A connection's last words: its flow is the first to go when room is needed. A SYN brings it to life again. */
static void
note_end(struct comparator *c, struct flow *flow, const struct packet *p)
{
	if (p->class != PACKET_TCP)
		return;
	if (p->flags & (PACKET_TCP_FIN | PACKET_TCP_RST))
		flow_table_set_spent(c->flows, flow, true);
	else if (p->flags & PACKET_TCP_SYN)
		flow_table_set_spent(c->flows, flow, false);
}

static void
count_release(struct comparator *c, struct flow *flow, const struct frame *f, enum release_reason reason)
{
	const uint8_t syn_ack = PACKET_TCP_SYN | PACKET_TCP_ACK;

	flow->frames[reason]++;
	flow->bytes[reason] += f->size;
	if (f->packet.class == PACKET_TCP && (f->packet.flags & syn_ack) == syn_ack)
		seq_mark_set(&flow->syn_answered, f->packet.ack);
	note_end(c, flow, &f->packet);
}

static void
unhold(struct comparator *c, struct frame *f)
{
	g_queue_unlink(&c->held, &f->order);
	c->held_bytes -= f->size;
	if (f->epoch == c->epoch)
		c->held_bytes_now -= f->size;
	if (f->flow)
		g_queue_unlink(&f->flow->held, &f->in_flow);
}

static void
release(struct comparator *c, struct frame *f, const struct release_evidence *evidence)
{
	unhold(c, f);
	if (f->flow)
		count_release(c, f->flow, f, evidence->reason);
	output_gate_release(&c->gate, f, evidence);
}

/* A client must not see a later time than the copy that may take over will tell it (tcp-timestamp.c). The frame is ours alone from here on. */
static void
set_clock_back(const struct flow *flow, const struct frame *f)
{
	uint32_t clock;

	if (flow->svm_clock_known && tcp_timestamp(&f->packet, &clock) && seq_after(clock, flow->svm_clock) > 0)
		tcp_timestamp_set(&f->packet, flow->svm_clock);
}

static void
release_same(struct comparator *c, struct frame *f, struct release_evidence *evidence)
{
	struct flow *flow = f->flow;

	evidence->epoch = compared_epoch(c);
	if (f->packet.class == PACKET_TCP) {
		set_clock_back(flow, f);
		tcp_released(&flow->tcp, &f->segment);
		tcp_forget(&flow->tcp, &f->segment);
	} else {
		match_datagrams(c, flow);
	}
	release(c, f, evidence);
}

static enum commit_cause
cause_of(const struct comparator *c, const struct frame *f)
{
	if (!f->flow)
		return COMMIT_NO_ROOM;
	if (f->flow->treatment != FLOW_COMPARE)
		return COMMIT_NEVER_COMPARE;
	if (!f->compared)
		return COMMIT_NOT_COMPARED;
	if (is_blind(c, f->flow, f->epoch))
		return COMMIT_NO_ROOM;
	return f->flow->differs ? COMMIT_DIFFERS : COMMIT_WAITED;
}

/* Its place in the comparison goes; the position that the PVM has reached with it stays. */
static void
leave_comparison(struct frame *f)
{
	if (!f->flow || f->packet.class != PACKET_TCP)
		return;
	if (!f->compared)
		tcp_absorb(&f->flow->tcp, &f->segment);
	tcp_forget(&f->flow->tcp, &f->segment);
}

static void
release_committed(struct comparator *c, struct frame *f)
{
	const struct release_evidence evidence = { .reason = RELEASE_COMMITTED };

	c->stats.committed_by[cause_of(c, f)]++;
	leave_comparison(f);
	release(c, f, &evidence);
}

/* -- comparing ------------------------------------------------------------------------------------------------------------------------- */

/* Brings a flow that was last used in an earlier epoch to the beginning of the compared one. */
static void
sync_epoch(struct comparator *c, struct flow *flow)
{
	uint64_t epoch = compared_epoch(c);

	if (flow->epoch == epoch)
		return;
	g_assert(flow->kept.length == 0);
	flow->epoch = epoch;
	flow->svm_clock_known = false;
	flow->differs = flow->treatment == FLOW_NEVER_COMPARE || is_blind(c, flow, epoch);
	if (flow->key.class == PACKET_TCP)
		tcp_boundary(&flow->tcp);
}

static void
found_difference(struct comparator *c, struct flow *flow, const struct difference *d)
{
	flow->differs = true;
	unkeep_all(c, flow);
	c->stats.differences++;
	c->stats.differences_by[d->reason]++;
	if (flow->differences++ == 0) {
		flow->first = g_memdup2(d, sizeof *d);
		if (!c->limits.show_differences)
			*flow->first = (struct difference){ .reason = d->reason, .at = d->at };
	}
	ask(c, flow->epoch, COMPARATOR_WANT_DIFFERENCE);
}

static struct difference
difference_of(const struct packet *p, const struct packet *s)
{
	struct difference d;

	if (p->class >= PACKET_FRAGMENT)
		d = difference_find(p->ethernet, p->ethernet_length, s->ethernet, s->ethernet_length);
	else
		d = difference_find(p->payload, p->payload_length, s->payload, s->payload_length);
	if (d.reason == DIFFERENCE_NONE)
		d.reason = DIFFERENCE_HEADER;
	return d;
}

static bool
is_datagrams(const struct packet *p)
{
	return p->class == PACKET_UDP || p->class == PACKET_ICMP;
}

/* The next datagram of both (or the whole frame, when it is not one), and moves on in both when they are the same. */
static enum verdict
compare_next(struct comparator *c, struct flow *flow, struct frame *p, struct frame *s)
{
	struct packet p_view, s_view;
	const struct packet *a = &p->packet, *b = &s->packet;
	enum verdict v;

	if (is_datagrams(a)) {
		a = udp_datagram(a, p->datagram, &p_view);
		b = udp_datagram(b, s->datagram, &s_view);
		v = compare_udp(a, b);
	} else {
		v = compare_other(a, b);
	}
	if (v == VERDICT_DIFFER) {
		const struct difference d = difference_of(a, b);
		found_difference(c, flow, &d);
	}
	return v;
}

static unsigned
datagrams_in(const struct frame *f)
{
	return is_datagrams(&f->packet) ? udp_datagrams(&f->packet) : 1;
}

/* Datagrams and whole frames: the oldest of one copy against the oldest of the other. */
static enum verdict
compare_heads(struct comparator *c, struct flow *flow, struct frame *p, struct release_evidence *evidence)
{
	while (flow->next_kept) {
		struct frame *s = flow->next_kept->data;
		enum verdict v = compare_next(c, flow, p, s);

		if (v != VERDICT_SAME)
			return v;
		if (++s->datagram == datagrams_in(s))
			flow->next_kept = flow->next_kept->next;
		if (++p->datagram < datagrams_in(p))
			continue;
		*evidence = (struct release_evidence){ .reason = RELEASE_SAME, .same = true };
		return VERDICT_SAME;
	}
	return VERDICT_WAIT;
}

static enum verdict
verdict_on(struct comparator *c, struct flow *flow, struct frame *p, struct release_evidence *evidence)
{
	if (p->packet.class == PACKET_TCP)
		return tcp_verdict(&flow->tcp, &p->segment, evidence);
	return compare_heads(c, flow, p, evidence);
}

/* Releases from the head of the flow what may leave by comparison. */
static void
run(struct comparator *c, struct flow *flow)
{
	struct release_evidence evidence;

	while (comparing(c) && !flow->differs && flow->held.head) {
		struct frame *f = flow->held.head->data;
		if (!f->compared || verdict_on(c, flow, f, &evidence) != VERDICT_SAME)
			break;
		release_same(c, f, &evidence);
	}
	if (flow->key.class == PACKET_TCP)
		match_tcp(c, flow);
}

/* A PVM frame of the compared epoch. */
static void
compare_primary(struct comparator *c, struct frame *f)
{
	struct flow *flow = f->flow;

	sync_epoch(c, flow);
	f->compared = true;
	if (f->packet.class == PACKET_TCP) {
		if (flow->differs)
			tcp_absorb(&flow->tcp, &f->segment);
		else if (tcp_primary(&flow->tcp, &f->segment) == VERDICT_DIFFER)
			found_difference(c, flow, &flow->tcp.difference);
	}
	if (flow->treatment == FLOW_NEVER_COMPARE)
		ask(c, f->epoch, COMPARATOR_WANT_DIFFERENCE);
	run(c, flow);
}

/* A SVM segment without content is its numbers: the bytes are not needed. */
static void
lighten(struct comparator *c, struct frame *f)
{
	if (f->packet.class == PACKET_TCP && f->segment.end == f->packet.seq) {
		charge(c, f, sizeof *f);
		g_clear_pointer(&f->bytes, g_bytes_unref);
	}
}

static struct flow *
flow_of(struct comparator *c, uint64_t now, const struct frame *f)
{
	struct flow_key key;
	bool added;

	flow_key_make(&key, f->nic, &f->packet);
	struct flow *flow = flow_table_get(c->flows, &key, now, &added);
	if (!flow)
		c->stats.flows_refused++;
	else if (added) {
		flow->blind_until = c->refused_until;
		flow->treatment = flow_patterns_treat(&c->patterns, &key);
	}
	return flow;
}

/* An SVM frame of the compared epoch; takes it. */
static void
compare_secondary(struct comparator *c, uint64_t now, struct frame *f)
{
	frame_parse(f);
	struct flow *flow = flow_of(c, now, f);
	unsigned held = c->held.length;

	if (flow)
		sync_epoch(c, flow);
	if (!flow || flow->differs || flow->treatment == FLOW_BYPASS) {
		if (flow && flow->treatment == FLOW_BYPASS)
			g_array_append_val(c->matched, f->id);
		c->stats.secondary_unused++;
		secondary_free(c, f);
		return;
	}
	flow->svm_clock_known |= tcp_timestamp(&f->packet, &flow->svm_clock);
	charge(c, f, f->size);
	keep(c, flow, f);
	if (c->secondary_bytes > c->limits.max_secondary_bytes)
		found_difference(c, flow, &(const struct difference){ .reason = DIFFERENCE_LIMIT });
	else if (f->packet.class == PACKET_TCP && tcp_secondary(&flow->tcp, &f->segment) == VERDICT_DIFFER)
		found_difference(c, flow, &flow->tcp.difference);
	else
		lighten(c, f);
	run(c, flow);
	if (c->held.length < held)
		c->svm_moved = now;
}

static void
keep_early(struct comparator *c, struct frame *f)
{
	if (c->secondary_bytes + f->size > c->limits.max_secondary_bytes) {
		c->blind_until = MAX(c->blind_until, f->epoch);
		c->stats.secondary_unused++;
		secondary_free(c, f);
		return;
	}
	charge(c, f, f->size);
	g_queue_push_tail_link(&c->early, &f->order);
}

/* -- commits --------------------------------------------------------------------------------------------------------------------------- */

static void
drop_kept(struct comparator *c)
{
	while (c->keeping.head)
		unkeep_all(c, c->keeping.head->data);
}

static void
compare_held(struct comparator *c)
{
	for (GList *l = c->held.head, *next; l; l = next) {
		struct frame *f = l->data;

		next = l->next;
		if (f->epoch != compared_epoch(c))
			break;
		if (f->flow)
			compare_primary(c, f);
	}
}

static void
compare_early(struct comparator *c, uint64_t now)
{
	for (GList *l = c->early.head, *next; l; l = next) {
		struct frame *f = l->data;

		next = l->next;
		if (f->epoch > compared_epoch(c))
			continue;
		g_queue_unlink(&c->early, l);
		if (f->epoch == compared_epoch(c)) {
			compare_secondary(c, now, f);
		} else {
			c->stats.secondary_stale++;
			secondary_free(c, f);
		}
	}
}

/* Not past frames of its flow that are held: since the peer was lost, since there was no room for the flow, or since it was treated in another way. */
static bool
may_bypass(const struct comparator *c, const struct flow *flow)
{
	return flow && flow->treatment == FLOW_BYPASS && comparing(c) && flow->blind_until <= c->gate.committed;
}

/* What a bypassed flow had to wait for has left: without this its frames would queue behind each other for ever. */
static void
bypass_held(struct comparator *c)
{
	const struct release_evidence bypass = { .reason = RELEASE_BYPASS };

	for (GList *l = c->patterns.n ? c->held.head : NULL, *next; l; l = next) {
		struct frame *f = l->data;

		next = l->next;
		if (!may_bypass(c, f->flow))
			continue;
		leave_comparison(f);
		release(c, f, &bypass);
	}
}

void
comparator_committed(struct comparator *c, uint64_t now, uint64_t epoch)
{
	if (!c->gate.protecting || epoch >= c->epoch || epoch <= c->gate.committed)
		return;
	drop_kept(c);
	output_gate_commit(&c->gate, epoch);
	while (c->held.head) {
		struct frame *f = c->held.head->data;
		if (f->epoch > epoch)
			break;
		release_committed(c, f);
	}
	bypass_held(c);
	compare_held(c);
	compare_early(c, now);
}

/* -- frames ---------------------------------------------------------------------------------------------------------------------------- */

static void
hold(struct comparator *c, struct frame *f)
{
	g_queue_push_tail_link(&c->held, &f->order);
	if (f->flow)
		g_queue_push_tail_link(&f->flow->held, &f->in_flow);
	else
		c->refused_until = f->epoch;
	c->held_bytes += f->size;
	c->held_bytes_now += f->size;
	c->stats.held_peak_bytes = MAX(c->stats.held_peak_bytes, c->held_bytes);
}

void
comparator_primary_frame(struct comparator *c, uint64_t now, unsigned nic, GBytes *bytes)
{
	const struct release_evidence unprotected = { .reason = RELEASE_UNPROTECTED }, bypass = { .reason = RELEASE_BYPASS };
	struct frame *f = frame_new(&c->pool, nic, c->epoch, bytes);

	if (!c->gate.protecting) {
		output_gate_release(&c->gate, f, &unprotected);
		return;
	}
	f->time = now;
	frame_parse(f);
	f->flow = flow_of(c, now, f);
	if (may_bypass(c, f->flow) && f->flow->held.length == 0) {
		count_release(c, f->flow, f, RELEASE_BYPASS);
		output_gate_release(&c->gate, f, &bypass);
		return;
	}
	hold(c, f);
	if (f->flow && f->epoch == compared_epoch(c))
		compare_primary(c, f);
	if (c->held_bytes_now >= c->limits.max_held_bytes && ask(c, c->epoch, COMPARATOR_WANT_QUEUE_FULL))
		c->stats.queue_full++;
}

void
comparator_secondary_frame(struct comparator *c, uint64_t now, unsigned nic, uint64_t id, uint64_t epoch, GBytes *bytes)
{
	c->stats.secondary_frames++;
	if (!comparing(c)) {
		c->stats.secondary_unused++;
		return;
	}
	if (epoch < compared_epoch(c)) {
		c->stats.secondary_stale++;
		return;
	}
	struct frame *f = frame_new(&c->pool, nic, epoch, bytes);
	f->id = id;
	if (epoch == compared_epoch(c))
		compare_secondary(c, now, f);
	else
		keep_early(c, f);
}

/* -- the course of epochs -------------------------------------------------------------------------------------------------------------- */

void
comparator_protect(struct comparator *c, uint64_t now, uint64_t epoch)
{
	g_assert(epoch > 0 && c->held.length == 0);
	output_gate_protect(&c->gate, epoch - 1);
	c->epoch = c->svm_epoch = epoch;
	c->svm_runs = true;
	c->svm_since = now;
	c->frozen = c->asked = false;
	c->want = COMPARATOR_WANT_NONE;
	c->blind_until = c->refused_until = 0;
	c->passive = false;
	c->passive_until = 0;
}

static void
drop_early(struct comparator *c)
{
	GList *link;

	while ((link = g_queue_pop_head_link(&c->early)))
		secondary_free(c, link->data);
}

void
comparator_unprotect(struct comparator *c, uint64_t now)
{
	const struct release_evidence unprotected = { .reason = RELEASE_UNPROTECTED };

	drop_kept(c);
	drop_early(c);
	output_gate_unprotect(&c->gate);
	while (c->held.head)
		release(c, c->held.head->data, &unprotected);
	flow_table_clear(c->flows);
	c->frozen = c->asked = false;
	c->want = COMPARATOR_WANT_NONE;
}

void
comparator_freeze(struct comparator *c)
{
	c->frozen = true;
	c->want = COMPARATOR_WANT_NONE;
	output_gate_freeze(&c->gate);
	drop_kept(c);
	drop_early(c);
}

void
comparator_boundary(struct comparator *c, uint64_t now, uint64_t epoch)
{
	g_assert(!c->gate.protecting || epoch >= c->epoch);
	c->epoch = epoch + 1;
	c->held_bytes_now = 0;
	c->asked = false;
	c->want = COMPARATOR_WANT_NONE;
}

void
comparator_set_passive(struct comparator *c, bool passive)
{
	g_assert(!c->held.tail || ((struct frame *)c->held.tail->data)->epoch < c->epoch);
	if (passive && !c->passive)
		c->passive_from = c->epoch;
	if (!passive && c->passive)
		c->passive_until = c->epoch - 1;
	c->passive = passive;
}

void
comparator_loaded(struct comparator *c, uint64_t now, uint64_t epoch)
{
	c->svm_epoch = epoch + 1;
	c->svm_since = now;
	c->svm_runs = true;
}

void
comparator_secondary_stopped(struct comparator *c, uint64_t now)
{
	c->svm_runs = false;
}

void
comparator_tick(struct comparator *c, uint64_t now)
{
	if (hold_deadline(c) <= now && ask(c, c->epoch, COMPARATOR_WANT_TIMEOUT))
		c->stats.timeouts++;
	flow_table_age(c->flows, now);
}

uint64_t
comparator_deadline(const struct comparator *c)
{
	return hold_deadline(c);
}

/* -- output ---------------------------------------------------------------------------------------------------------------------------- */

GBytes *
comparator_next_release(struct comparator *c, unsigned *nic)
{
	struct frame *f = output_gate_next(&c->gate);

	if (!f)
		return NULL;
	GBytes *bytes = g_steal_pointer(&f->bytes);
	*nic = f->nic;
	frame_free(&c->pool, f);
	return bytes;
}

/* Released frames first: they are the older ones. What the current epoch sent is in no checkpoint, so nobody may ever send it. */
GBytes *
comparator_next_unsent(struct comparator *c, uint64_t *epoch, unsigned *nic)
{
	struct frame *f = output_gate_next(&c->gate);
	GBytes *bytes;

	g_assert(c->frozen);
	if (!f && c->held.head) {
		f = c->held.head->data;
		if (f->epoch >= c->epoch)
			return NULL;
		leave_comparison(f);
		unhold(c, f);
	}
	if (!f)
		return NULL;
	bytes = g_steal_pointer(&f->bytes);
	*epoch = f->epoch;
	*nic = f->nic;
	frame_free(&c->pool, f);
	return bytes;
}

GArray *
comparator_take_matched(struct comparator *c)
{
	if (c->matched->len == 0)
		return NULL;
	GArray *taken = c->matched;
	c->matched = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	return taken;
}

enum comparator_want
comparator_take_want(struct comparator *c)
{
	enum comparator_want want = c->want;

	c->want = COMPARATOR_WANT_NONE;
	return want;
}

/* A flow that is not known may have been without room once. */
bool
comparator_may_be_open(const struct comparator *c, unsigned nic, const struct packet *syn)
{
	struct packet answer = *syn;
	struct flow_key key;
	const struct flow *flow;

	if (!c->gate.protecting)
		return true;
	packet_turn(&answer);
	flow_key_make(&key, nic, &answer);
	flow = flow_table_find(c->flows, &key);
	if (!flow)
		return c->refused_until > 0;
	return flow->syn_answered.known && flow->syn_answered.at == syn->seq + 1;
}

bool
comparator_holds_current(const struct comparator *c)
{
	const struct frame *last = c->held.tail ? c->held.tail->data : NULL;

	return last && last->epoch == c->epoch;
}

uint64_t
comparator_held_for(const struct comparator *c, uint64_t now)
{
	const struct frame *f = c->held.head ? c->held.head->data : NULL;

	return f && f->time < now ? now - f->time : 0;
}

uint64_t
comparator_kept_bytes(const struct comparator *c)
{
	return c->held_bytes + c->gate.out_bytes;
}

bool
comparator_full(const struct comparator *c)
{
	return c->held_bytes >= 2 * (uint64_t)c->limits.max_held_bytes;
}

/* -- what is shown --------------------------------------------------------------------------------------------------------------------- */

static uint64_t
bytes_of(const uint64_t bytes[RELEASE_LAST])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < RELEASE_LAST; i++)
		sum += bytes[i];
	return sum;
}

struct top {
	GArray *rows;		/* of struct comparator_flow, most bytes first */
	unsigned max;
};

static void
visit(struct flow *flow, void *data)
{
	struct top *top = data;
	struct comparator_flow row = { .key = flow->key, .treatment = flow->treatment, .held_frames = flow->held.length, .differences = flow->differences };
	uint64_t bytes = bytes_of(flow->bytes);
	guint at = top->rows->len;

	while (at > 0 && bytes_of(g_array_index(top->rows, struct comparator_flow, at - 1).released_bytes) < bytes)
		at--;
	if (at >= top->max)
		return;
	memcpy(row.released_frames, flow->frames, sizeof row.released_frames);
	memcpy(row.released_bytes, flow->bytes, sizeof row.released_bytes);
	if (flow->first)
		row.first = *flow->first;
	g_array_insert_val(top->rows, at, row);
	if (top->rows->len > top->max)
		g_array_set_size(top->rows, top->max);
}

GArray *
comparator_flows(const struct comparator *c, unsigned max)
{
	struct top top = { .rows = g_array_new(FALSE, FALSE, sizeof(struct comparator_flow)), .max = MIN(max, COMPARATOR_FLOWS_MAX) };

	flow_table_foreach(c->flows, visit, &top);
	return top.rows;
}

void
comparator_stats(const struct comparator *c, struct comparator_stats *out)
{
	*out = c->stats;
	for (unsigned i = 0; i < RELEASE_LAST; i++) {
		out->released_frames[i] = c->gate.frames[i];
		out->released_bytes[i] = c->gate.bytes[i];
	}
	out->held_frames = c->held.length;
	out->held_bytes = c->held_bytes;
	out->flows = flow_table_size(c->flows);
}

void
comparator_free(struct comparator *c)
{
	unsigned nic;
	GBytes *bytes;

	if (!c)
		return;
	comparator_unprotect(c, 0);
	while ((bytes = comparator_next_release(c, &nic)))
		g_bytes_unref(bytes);
	flow_table_free(c->flows);
	frame_pool_clear(&c->pool);
	g_array_unref(c->matched);
	g_free(c);
}
