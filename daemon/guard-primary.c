/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The primary's side. Protection is built in this order, each step started when the one before is done:
 *
 *   connect   three links to the standby's guard
 *   attach    filters into QEMU; frames pass through the comparator, which still lets everything out
 *   disk      mirror jobs, until every disk is in step. A write is answered only when the standby has applied it, so that the stop at the end of the
 *             initial migration (which drains all writes) finds both disks equal. Towards an image that was there before, what the mirror copies is compared
 *             first (checkpoint/disk-compare.c); so is what the guest writes meanwhile, which looks the same
 *   memory    the initial migration stream, passed through untouched; when it is over and QEMU is sure to note what the guest writes from then on (track) it is let go,
 *             and the guest runs on
 *   arm       READY of the standby: the gate closes, epoch 1 begins; the first commit permits the claim of the pair's record, and the grant the ARM frame
 *
 * From when it is let go a mirrored write is answered as soon as it is in the link's queue (the loss of this host takes QEMU with it, and the output that depends on
 * the write is still held), as long as less than max_disk_bytes wait for the standby. The standby applies them once a checkpoint ends their epoch, so one is asked for
 * when the buffer is half full: the other half takes what the guest writes until it is applied. At the limit writes wait; while QEMU
 * stops for a checkpoint every write is answered, because QEMU waits for them with its big lock held.
 */
#include "daemon/guard-internal.h"

#include <string.h>

static void
keep_patterns(struct guard *g, const char *bypass, const char *never_compare)
{
	g_free(g->p.bypass);
	g_free(g->p.never_compare);
	g->p.bypass = g_strdup(bypass ? bypass : "");
	g->p.never_compare = g_strdup(never_compare ? never_compare : "");
}

/* The comparator wants them with an epoch, or before the first one. */
static void
take_patterns(struct guard *g)
{
	struct guard_config lists = { .bypass = g->p.bypass, .never_compare = g->p.never_compare };
	struct flow_patterns patterns;
	bool ok = guard_config_patterns(&lists, &patterns, NULL);

	g_assert(ok);
	comparator_set_patterns(g->p.comparator, &patterns);
	g->p.patterns_new = false;
}

void
primary_init(struct guard *g, uint64_t now)
{
	const struct guard_config *c = g->config;
	struct relay_limits rl = {
		.max_epoch_ns = c->max_epoch_ms * 1000000ull,
		.min_epoch_ns = 5 * 1000000ull,
		.max_unacked_bytes = c->max_checkpoint_bytes / 2,
		.max_device_state = 64u << 20,
		.max_checkpoint_bytes = c->max_checkpoint_bytes,
		.return_path = c->return_path,
	};
	struct comparator_limits cl = {
		.hold_ns = c->compare_timeout_ms * 1000000ull,
		.absent_ns = c->compare_timeout_ms * GUARD_ABSENT_TIMES * 1000000ull,
		.max_held_bytes = c->max_held_bytes,
		.max_secondary_bytes = c->max_held_bytes,
		.max_flows = 65536,
		.flow_idle_ns = 300 * 1000000000ull,
		.seed = c->token,
		.show_differences = c->show_differences,
	};

	epoch_length_init(&g->p.epoch_length, &(struct epoch_length_limits){
		.min_ns = GUARD_EPOCH_MIN_NS,
		.max_ns = rl.max_epoch_ns,
		.target_ns = c->target_latency_ms * 1000000ull,
	});
	rl.max_epoch_ns = epoch_length_ns(&g->p.epoch_length);
	mode_init(&g->p.mode, now, c->mode);
	g->p.relay = relay_new(&rl);
	g->p.comparator = comparator_new(&cl);
	g->p.askers = askers_new(c->token);
	keep_patterns(g, c->bypass, c->never_compare);
	take_patterns(g);
	g_queue_init(&g->p.disk_pending);
	g_queue_init(&g->p.unloaded);
	g->p.compare = disk_compare_new(DISK_COMPARE_BLOCK);
	g->p.left_due = UINT64_MAX;
}

void
primary_clear(struct guard *g)
{
	relay_free(g->p.relay);
	comparator_free(g->p.comparator);
	g_queue_clear_full(&g->p.unloaded, g_free);
	askers_free(g->p.askers);
	g_free(g->p.bypass);
	g_free(g->p.never_compare);
	g_queue_clear_full(&g->p.disk_pending, g_free);
	disk_compare_free(g->p.compare);
	switchover_clear(&g->p.switchover);
	reinject_clear(g);
	g_clear_pointer(&g->p.left, g_array_unref);
}

void
primary_start(struct guard *g, uint64_t now)
{
	guard_set_phase(g, GUARD_PHASE_CONNECT);
	g->env.op_start(g->ctx, GUARD_OP_CONNECT);
}

/* -- suspend and resume -----------------------------------------------------------------------------------------------------------
 *
 * QEMU starts the guest after every checkpoint, whoever stopped it (migration/colo.c, colo_do_checkpoint_transaction(): vm_start()). So while an administrator
 * wants the guest to stand no checkpoint is made. A guest that stands sends nothing, so nothing is held for lack of one; and a guest that sends something
 * runs again, whether ftd was there to tell or not.
 *
 * A guest that runs when QEMU waits with the next REQUEST was started by a checkpoint that had begun before the stop was told: it is stopped again. If there was none,
 * somebody has resumed it already, and it goes on. And if it was started more often since that stop than checkpoints have ended, somebody has resumed it, too: before the
 * guard knew that it stood, and perhaps before it was stopped again. The next checkpoint starts it.
 */

static void
suspend_pump(struct guard *g)
{
	/* Not earlier: QEMU's vm_start() comes some time after our LOADED. */
	if (g->p.suspend != SUSPEND_WANTED || !relay_waiting(g->p.relay) || g->failover.state != FAILOVER_PROTECTED)
		return;
	g->p.suspend = SUSPEND_STOPPING;
	g->env.op_start(g->ctx, g->p.resumed_at > g->p.suspended_at ? GUARD_OP_SUSPEND : GUARD_OP_STANDS);
}

static void
suspend(struct guard *g, uint64_t now, uint64_t when)
{
	if (g->p.suspend != SUSPEND_NONE || g->failover.state != FAILOVER_PROTECTED)
		return;
	g->p.suspend = SUSPEND_WANTED;
	g->p.suspended_at = when;
	relay_suspend(g->p.relay, true);
	primary_pump(g, now);
}

/* QEMU stops the guest between our REPLY and its VMSTATE_SEND, and at no other time by itself. */
static bool
checkpoint_stopped_at(const struct guard *g, uint64_t when)
{
	for (unsigned i = 0; i < GUARD_STOPS_KEPT; i++)
		if (when + GUARD_STOP_SLACK_NS >= g->p.stops[i].from && when <= g->p.stops[i].to + GUARD_STOP_SLACK_NS)
			return true;
	return false;
}

void
primary_stopped(struct guard *g, uint64_t now, uint64_t when)
{
	if (!g->p.live || when < g->p.live_at)
		return;		/* the end of the initial migration stops the guest too */
	if (when <= g->p.own_stop_at)
		return;
	if (when + GUARD_STOP_SLACK_NS < relay_stopping_since(g->p.relay) && !checkpoint_stopped_at(g, when))
		suspend(g, now, when);
}

static void
note_stop(struct guard *g, uint64_t now, const struct relay_action *resumed)
{
	uint64_t to = now - resumed->pause_ns;
	unsigned i = g->p.next_stop++ % GUARD_STOPS_KEPT;

	g->p.stops[i].from = to - resumed->drain_ns;
	g->p.stops[i].to = to;
	g->p.stops[i].gone = now;
	g->p.resumed_at = now;
}

void
primary_resume(struct guard *g, uint64_t now)
{
	if (g->p.suspend == SUSPEND_NONE)
		return;
	g->p.suspend = SUSPEND_NONE;
	guard_event(g, "resumed", "%s runs again", g->config->domain);
	if (g->failover.state != FAILOVER_PROTECTED && g->failover.state != FAILOVER_ASKING)
		return;		/* frozen */
	relay_suspend(g->p.relay, false);
	relay_tick(g->p.relay, now);
	primary_pump(g, now);
}

void
primary_started(struct guard *g, uint64_t now, const uint64_t *starts, size_t n)
{
	unsigned started = 0, by_checkpoints = 0;

	for (size_t i = 0; i < n; i++)
		started += starts[i] > g->p.suspended_at + GUARD_STOP_SLACK_NS;
	for (unsigned i = 0; i < GUARD_STOPS_KEPT; i++)
		by_checkpoints += g->p.stops[i].gone > g->p.suspended_at;
	if (g->p.suspend == SUSPEND_NONE || started <= by_checkpoints)
		return;
	primary_resume(g, now);
	relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
	primary_pump(g, now);
}

void
primary_suspend_done(struct guard *g, uint64_t now, const GError *error)
{
	g->p.own_stop_at = now;
	if (g->p.suspend != SUSPEND_STOPPING)
		return;		/* resumed meanwhile */
	g->env.filters_drain(g->ctx);
	if (error) {
		primary_resume(g, now);
		return;
	}
	g->p.suspend = SUSPEND_DONE;
	guard_event(g, "suspended", "%s is suspended: no checkpoints until it is resumed", g->config->domain);
}

static void
epoch_begins(struct guard *g, uint64_t now)
{
	g->p.epoch_since = now;
	g->p.epoch_events = 0;
	g->p.epoch_worked_from_ns = g->p.worked_ns;
}

static uint64_t
epoch_work_ns(const struct guard *g)
{
	return g->p.worked_ns - g->p.epoch_worked_from_ns;
}

static void
end_if_busy(struct guard *g, uint64_t now)
{
	if (!g->p.live || g->p.passive)
		return;
	if (epoch_length_outdated(&g->p.epoch_length, now - g->p.epoch_since, g->p.epoch_events, epoch_work_ns(g)))
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_BUSY);
}

/* QEMU has sent something that it sends only while the guest runs. */
static void
heard_guest(struct guard *g, uint64_t now)
{
	g->p.heard_qemu = now;
	if (g->p.suspend == SUSPEND_DONE && g->failover.state == FAILOVER_PROTECTED)
		primary_resume(g, now);
	g->p.epoch_events++;
	end_if_busy(g, now);
}

/* CPU time that QEMU has taken since it was started. */
void
primary_worked(struct guard *g, uint64_t now, uint64_t cpu_ns)
{
	if (cpu_ns < g->p.worked_ns)
		return;		/* its process is gone */
	if (!g->p.worked_ns)
		g->p.epoch_worked_from_ns = cpu_ns;
	g->p.worked_ns = cpu_ns;
	end_if_busy(g, now);
	primary_pump(g, now);
}

/* For a checkpoint that has begun a reset is harmless, and QEMU starts the guest after it. One that is about to begin waits. */
void
primary_off(struct guard *g, uint64_t now, bool off)
{
	g->p.off = off;
	relay_not_before(g->p.relay, now, off ? now + GUARD_OFF_NS : 0);
	primary_pump(g, now);
}

/* -- disks -------------------------------------------------------------------------------------------------------------------- */

/*
 * QEMU stops, for a checkpoint, by an administrator's word or because the guest has switched itself off, and waits for every write with its big lock held. What comes then
 * is bounded by the guest's queues, and a suspended guest gets no checkpoint that would make room.
 */
static bool
disk_is_awaited(const struct guard *g)
{
	return relay_stopping(g->p.relay) || g->p.suspend != SUSPEND_NONE || g->p.off;
}

/*
 * From when the guest runs until the standby's QEMU is ready nothing may reach the disk there: that QEMU empties its overlays then as it does at a load
 * (block/replication.c, replication_start()). So these writes wait there for checkpoint 1, as its own do, and are answered as those are: nothing counts yet.
 */
static uint64_t
disk_epoch(const struct guard *g)
{
	return MAX(relay_epoch(g->p.relay), g->p.let_go ? 1 : 0);
}

static bool
disk_may_answer(const struct guard *g)
{
	if (!g->p.let_go)
		return false;
	return g->p.disk_outstanding <= g->config->max_disk_bytes || disk_is_awaited(g);
}

/* Answers, oldest first, what may be answered now. All before disk_unanswered has been: a whole epoch's writes may lie there until its load. */
static void
disk_answer(struct guard *g)
{
	for (; g->p.disk_unanswered; g->p.disk_unanswered = g->p.disk_unanswered->next) {
		struct disk_pending *w = g->p.disk_unanswered->data;
		if (w->answered)
			continue;
		if (w->seq > g->p.disk_applied && !disk_may_answer(g))
			break;
		w->answered = true;
		g->env.nbd_reply(g->ctx, w->disk, w->cookie, 0);
	}
	while (g->p.disk_pending.head) {
		struct disk_pending *w = g->p.disk_pending.head->data;
		if (w->seq > g->p.disk_applied)
			break;
		g->p.disk_outstanding -= w->bytes;
		g_free(g_queue_pop_head(&g->p.disk_pending));
	}
}

static void
disk_credit(struct guard *g, uint64_t now, uint64_t applied)
{
	if (applied < g->p.disk_applied || applied > g->p.disk_sent) {
		guard_data_failed(g, now, "the standby acknowledged disk write %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT, applied, g->p.disk_sent);
		return;
	}
	g->p.disk_applied = applied;
	g->p.disk_moved_at = now;
	disk_answer(g);
}

/* The standby has something to do for the first time, or again. */
static void
disk_expects(struct guard *g, uint64_t now)
{
	if (g_queue_is_empty(&g->p.disk_pending) && disk_compare_pending(g->p.compare) == 0)
		g->p.disk_moved_at = now;
}

/* last: QEMU's request is answered with this one. */
static void
disk_ship(struct guard *g, uint64_t now, unsigned disk, const struct nbd_request *r, bool last)
{
	uint8_t head[32];
	size_t n = 24;
	enum peer_type type = r->op == NBD_OP_WRITE ? PEER_DISK_WRITE : r->op == NBD_OP_TRIM ? PEER_DISK_TRIM : PEER_DISK_ZERO;
	struct disk_pending *w = g_new0(struct disk_pending, 1);

	put_be64(head, disk_epoch(g));
	put_be32(head + 8, disk);
	put_be32(head + 12, r->op == NBD_OP_WRITE_ZEROES && !r->no_hole ? 1 : 0);
	put_be64(head + 16, r->offset);
	if (type != PEER_DISK_WRITE) {
		put_be64(head + 24, r->length);
		n = 32;
	}
	w->seq = ++g->p.disk_sent;
	w->disk = disk;
	w->cookie = r->cookie;
	w->answered = !last;
	w->bytes = (type == PEER_DISK_WRITE ? r->length : 0) + DISK_WRITE_COST;	/* as the standby counts: its limit is a multiple of ours */
	g->p.disk_outstanding += w->bytes;
	g->p.disk_epoch_bytes += w->bytes;
	disk_expects(g, now);
	g_queue_push_tail(&g->p.disk_pending, w);
	if (!g->p.disk_unanswered)
		g->p.disk_unanswered = g->p.disk_pending.tail;
	guard_send(g, type, head, n, r->data);
}

static uint64_t
kept_cost(uint64_t length)
{
	return length + DISK_WRITE_COST;
}

static bool
disk_to_compare(const struct guard *g, unsigned disk, const struct nbd_request *r)
{
	return r->op == NBD_OP_WRITE && g->phase == GUARD_PHASE_DISK && g->config->disks[disk].compare && disk_compare_takes(g->p.compare, r->length);
}

static void
disk_ask(struct guard *g, uint64_t now, unsigned disk, const struct nbd_request *r)
{
	g_autoptr(GBytes) request = NULL;

	G_STATIC_ASSERT(PEER_MAX_COMPARE == DISK_COMPARE_MAX_PAYLOAD);
	disk_expects(g, now);
	g->p.disk_outstanding += kept_cost(r->length);
	request = disk_compare_ask(g->p.compare, disk, r->cookie, r->offset, r->data, g->env.digest);
	guard_send(g, PEER_DISK_COMPARE, NULL, 0, request);
}

/* What is wanted of a write that was kept. QEMU's request is answered with the last piece of it, or at once: then all of it is on the standby's disk. */
static void
disk_ship_kept(struct guard *g, uint64_t now, struct disk_compared *w)
{
	struct nbd_request piece = { .op = NBD_OP_WRITE, .cookie = w->cookie };

	g->p.disk_outstanding -= kept_cost(g_bytes_get_size(w->data));
	if (!w->wanted)
		g->env.nbd_reply(g->ctx, w->disk, w->cookie, 0);
	while (disk_compared_next(w, &piece.offset, &piece.data)) {
		piece.length = (uint32_t)g_bytes_get_size(piece.data);
		disk_ship(g, now, w->disk, &piece, !w->wanted);
		nbd_request_clear(&piece);
	}
	disk_compared_clear(w);
}

/* Nothing passes a write that is kept. */
static void
disk_overtake(struct guard *g, uint64_t now, unsigned disk, uint64_t offset, uint64_t length)
{
	struct disk_compared w;

	while (disk_compare_overtaken(g->p.compare, disk, offset, length, &w))
		disk_ship_kept(g, now, &w);
}

static void
on_disk_wanted(struct guard *g, uint64_t now, uint64_t number, uint64_t wanted)
{
	struct disk_compared w;
	uint64_t length;

	switch (disk_compare_answer(g->p.compare, number, wanted, &w)) {
	case DISK_ANSWER_BAD:
		guard_data_failed(g, now, "the standby answered comparison %" G_GUINT64_FORMAT " with blocks %" G_GINT64_MODIFIER "x: it was not asked for that", number, wanted);
		return;
	case DISK_ANSWER_TAKEN:
		length = g_bytes_get_size(w.data);
		g->p.disk_compared_bytes += length;
		g->p.disk_same_bytes += length - disk_compared_wanted_bytes(&w);
		disk_ship_kept(g, now, &w);
		break;
	case DISK_ANSWER_OVERTAKEN:
		break;
	}
	g->p.disk_moved_at = now;
}

uint64_t
guard_disk_compared(const struct guard *g, uint64_t *same)
{
	*same = g->p.disk_same_bytes;
	return g->p.disk_compared_bytes;
}

void
guard_disk_request(struct guard *g, uint64_t now, unsigned disk, struct nbd_request *r)
{
	switch (r->op) {
	case NBD_OP_WRITE:
	case NBD_OP_TRIM:
	case NBD_OP_WRITE_ZEROES:
		heard_guest(g, now);
		disk_overtake(g, now, disk, r->offset, r->length);
		if (disk_to_compare(g, disk, r))
			disk_ask(g, now, disk, r);
		else
			disk_ship(g, now, disk, r, true);
		disk_answer(g);
		if (g->p.live && g->p.disk_epoch_bytes > g->config->max_disk_bytes / 2)
			relay_want_checkpoint(g->p.relay, now, RELAY_WANT_DISK);
		if (relay_stopping(g->p.relay))		/* by this, or by what was heard of the guest */
			primary_pump(g, now);
		break;
	case NBD_OP_FLUSH:
		/* The copy's durability is the standby host's page cache, as for any mirror; QEMU does not even send it. */
		g->env.nbd_reply(g->ctx, disk, r->cookie, 0);
		break;
	case NBD_OP_READ:
		/* A write-blocking mirror never reads its target; whoever does is told so. */
		g->env.nbd_reply(g->ctx, disk, r->cookie, 22);
		break;
	case NBD_OP_DISCONNECT:
		g->p.took_leave = g->p.mirror_gone = true;
		break;
	}
	nbd_request_clear(r);
}

void
guard_mirror_gone(struct guard *g)
{
	g->p.mirror_gone = true;
}

bool
guard_disk_reading(const struct guard *g)
{
	if (!guard_is_primary(g))
		return true;
	/* Past twice the limit nothing more is read, nor while no more can be compared. */
	return (g->p.disk_outstanding <= 2 * g->config->max_disk_bytes && !disk_compare_full(g->p.compare)) || disk_is_awaited(g);
}

/* -- packets --------------------------------------------------------------------------------------------------------------------- */

void
primary_tell_left(struct guard *g)
{
	g_autoptr(GArray) ids = g_steal_pointer(&g->p.left);

	g->p.left_due = UINT64_MAX;
	for (guint i = 0; ids && i < ids->len; i += 1000) {
		guint n = MIN(1000, ids->len - i);
		g_autofree uint8_t *head = g_malloc(8 * (gsize)n);
		for (guint k = 0; k < n; k++)
			put_be64(head + 8 * k, g_array_index(ids, uint64_t, i + k));
		guard_send(g, PEER_TWIN_LEFT, head, 8 * (gsize)n, NULL);
	}
}

/* Not at once: a frame by itself costs both guards as much as one with a packet in it, and the next packet comes soon. */
static void
note_left(struct guard *g, uint64_t now)
{
	g_autoptr(GArray) ids = comparator_take_matched(g->p.comparator);

	if (!ids)
		return;
	if (g->p.left) {
		g_array_append_vals(g->p.left, ids->data, ids->len);
	} else {
		g->p.left = g_steal_pointer(&ids);
		g->p.left_due = now + GUARD_TWIN_LEFT_NS;
	}
}

/* The comparator says what may leave; this says whether it may leave *now*: alone by the arbiter's word, or while the standby surely still counts on us. */
static bool
may_send(struct guard *g, uint64_t now)
{
	bool may = failover_may_speak_alone(&g->failover) || (g->failover.state != FAILOVER_FENCED && now < g->p.lease_until);

	if (switchover_holds(g))
		return false;

	if (!may && !g->p.lease_waiting)
		g->p.lease_waits++;
	g->p.lease_waiting = !may;
	return may;
}

static void
pump_releases(struct guard *g, uint64_t now)
{
	unsigned nic;
	GBytes *frame;

	if (!may_send(g, now))
		return;
	switchover_give_back(g);
	while ((frame = comparator_next_release(g->p.comparator, &nic))) {
		g->env.frame_write(g->ctx, GUARD_PORT_REL, nic, frame);
		g_bytes_unref(frame);
	}
	note_left(g, now);
}

/* A mode begins with an epoch; the one that is configured with the first that is protected. A copy that stands hands over to nobody. */
static void
want_mode(struct guard *g, uint64_t now)
{
	bool passive = g->p.mode.mode == MODE_PASSIVE && g->failover.state == FAILOVER_PROTECTED;

	if ((g->failover.state == FAILOVER_PROTECTED || (g->failover.state == FAILOVER_SWITCHING && g->p.passive)) && passive != g->p.passive)
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
}

/* A checkpoint under way may have passed its boundary already: asked for until it is there. */
static void
want_patterns(struct guard *g, uint64_t now)
{
	if (g->p.patterns_new && g->failover.state == FAILOVER_PROTECTED)
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
}

static void
pump_wants(struct guard *g, uint64_t now)
{
	static const enum relay_want wants[] = {
		[COMPARATOR_WANT_DIFFERENCE] = RELAY_WANT_DIFFERENCE,
		[COMPARATOR_WANT_TIMEOUT] = RELAY_WANT_TIMEOUT,
		[COMPARATOR_WANT_QUEUE_FULL] = RELAY_WANT_QUEUE_FULL,
	};
	enum comparator_want want = comparator_take_want(g->p.comparator);

	if (want != COMPARATOR_WANT_NONE && g->p.live)
		relay_want_checkpoint(g->p.relay, now, wants[want]);
	want_mode(g, now);
	want_patterns(g, now);
	switchover_want(g, now);
}

/* A frame the guest receives: the standby's copy gets it in the same epoch. */
void
primary_mirror_inbound(struct guard *g, unsigned nic, GBytes *frame)
{
	uint8_t head[10];

	if (!g->p.live)
		return;
	if (g->env.peer_queued(g->ctx, PEER_CHANNEL_FAST) > GUARD_FAST_QUEUE_MAX) {
		g->frames_skipped++;	/* the copy misses a frame, as on a bad network; where that makes it differ a checkpoint mends it */
		return;
	}
	primary_tell_left(g);
	/* QEMU keeps what comes for a guest that stands: the guest has it in the epoch that begins. */
	put_be64(head, relay_epoch(g->p.relay) + g->p.closing_epoch);
	put_be16(head + 8, (uint16_t)nic);
	guard_send(g, PEER_INBOUND, head, sizeof head, frame);
}

/* A frame for the guest that its dead QEMU has not read. The standby has seen nothing of it, and its sender waits for an answer. */
static void
pass_on_stray(struct guard *g, unsigned nic, GBytes *frame)
{
	uint8_t head[2];

	if (!g->p.live || failover_may_speak_alone(&g->failover))
		return;
	if (g->env.peer_queued(g->ctx, PEER_CHANNEL_FAST) > GUARD_FAST_QUEUE_MAX) {
		g->frames_skipped++;
		return;
	}
	put_be16(head, (uint16_t)nic);
	guard_send(g, PEER_STRAY, head, sizeof head, frame);
}

void
primary_pass_on_unsent(struct guard *g, uint64_t epoch, unsigned nic, GBytes *frame)
{
	uint8_t head[10];

	if (g->env.peer_queued(g->ctx, PEER_CHANNEL_FAST) > GUARD_FAST_QUEUE_MAX) {
		g->frames_skipped++;
		return;
	}
	put_be64(head, epoch);
	put_be16(head + 8, (uint16_t)nic);
	guard_send(g, PEER_UNSENT, head, sizeof head, frame);
}

/* Passive mode. The guest has sent something, which leaves by commit only but for what is not held at all. */
static void
note_output(struct guard *g, uint64_t now, unsigned nic, GBytes *frame)
{
	askers_outbound(g->p.askers, nic, frame);
	if (comparator_holds_current(g->p.comparator))
		passive_pace_output(&g->p.pace, now, askers_count(g->p.askers, now) == 0);
}

void
primary_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame)
{
	if (port == GUARD_PORT_TAP) {
		pass_on_stray(g, nic, frame);
		return;
	}
	if (port == GUARD_PORT_REL) {
		primary_pass_on_unsent(g, 0, nic, frame);	/* it was free to leave: whoever goes on has sent it too */
		return;
	}
	if (port == GUARD_PORT_MIR) {
		g->p.heard_qemu = now;
		primary_mirror_inbound(g, nic, frame);
		if (g->p.passive)
			askers_inbound(g->p.askers, now, nic, frame);
		switchover_note_inbound(g, nic, frame);
		reinject_note(g, now, nic, frame);
		return;
	}
	if (port != GUARD_PORT_OUT)
		return;
	heard_guest(g, now);
	comparator_primary_frame(g->p.comparator, now, nic, frame);
	if (g->p.passive)
		note_output(g, now, nic, frame);
	switchover_mind_limit(g, now);
	primary_pump(g, now);
}

static void
secondary_output(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint64_t id = byte_reader_be64(&r), epoch = byte_reader_be64(&r);
	uint16_t nic = byte_reader_be16(&r);
	g_autoptr(GBytes) wire = NULL;

	if (r.bad || nic >= g->config->n_nics || !wire_frame_valid(r.p, r.left)) {
		guard_data_failed(g, now, "the standby sent an output frame of %u bytes that is none", frame->length);
		return;
	}
	wire = g_bytes_new_from_bytes(payload, frame->length - r.left, r.left);
	comparator_secondary_frame(g->p.comparator, now, nic, id, epoch, wire);
	primary_pump(g, now);
}

/* -- checkpoints ------------------------------------------------------------------------------------------------------------------- */

void
primary_boundary_finish(struct guard *g, uint64_t now, uint64_t epoch)
{
	g->p.boundary_held = 0;
	relay_boundary_done(g->p.relay, now, epoch);
}

uint64_t
primary_epoch_limit_ns(const struct guard *g)
{
	if (!g->p.passive)
		return epoch_length_ns(&g->p.epoch_length);
	return MIN(passive_pace_limit_ns(&g->p.pace), g->config->max_epoch_ms * 1000000ull);
}

static void
set_pace(struct guard *g)
{
	relay_set_max_epoch(g->p.relay, primary_epoch_limit_ns(g));
}

/*
 * Only here, so that no epoch has output that left by comparison and output that did not wait for it. Nothing has to be agreed with the standby: what it does not
 * send is not compared, what it sends too much is stale.
 */
static void
take_mode(struct guard *g, uint64_t now, uint64_t epoch)
{
	uint8_t payload[2];
	bool stays = g->failover.state == FAILOVER_ASKING && g->p.passive;	/* a disable that the arbiter keeps waiting */
	bool passive = g->p.mode.mode == MODE_PASSIVE && (g->failover.state == FAILOVER_PROTECTED || stays);

	if (passive == g->p.passive || g->detaching)
		return;
	g->p.passive = passive;
	comparator_set_passive(g->p.comparator, passive);
	set_pace(g);
	put_be16(payload, passive);
	guard_send(g, PEER_MODE, payload, sizeof payload, NULL);
	guard_event(g, "mode", "%s from epoch %" G_GUINT64_FORMAT " on: %s", mode_name(passive ? MODE_PASSIVE : MODE_COLO), epoch + 1,
		    g->failover.state == FAILOVER_SWITCHING ? "a switchover" : mode_reason_text(g->p.mode.reason));
}

/* The guest stands, QEMU has put all it sent into our sockets: close the epoch everywhere. */
static void
on_paused(struct guard *g, uint64_t now, uint64_t epoch)
{
	g->env.filters_drain(g->ctx);
	comparator_boundary(g->p.comparator, now, epoch);
	g->p.disk_epoch_bytes = 0;
	take_mode(g, now, epoch);
	if (g->p.patterns_new)
		take_patterns(g);
	disk_answer(g);
	if (!g->p.mirror_gone)		/* without its mark it is not committed, and we are about to end */
		guard_send_u64(g, PEER_DISK_MARK, 1, &epoch);
	g->p.closing_epoch = true;
	if (switchover_stands(g, now, epoch))
		return;
	if (comparator_full(g->p.comparator))
		g->p.boundary_held = epoch;	/* back-pressure: the guest stands until this checkpoint is committed */
	else
		primary_boundary_finish(g, now, epoch);
}

#define UNLOADED_MAX 256

/* What QEMU had to go through for the last checkpoint. */
static uint64_t
checkpoint_memory(const struct guard *g)
{
	return g->p.checkpoint_bytes + g->p.checkpoint_zero_pages * relay_page_bytes(g->p.relay);
}

/* A copy that is not stopped to load (passive mode) is told of many; how much the oldest were is of no interest. */
static void
to_be_loaded(struct guard *g, uint64_t now, uint64_t epoch)
{
	struct unloaded *u = g_new(struct unloaded, 1);

	*u = (struct unloaded){ .epoch = epoch, .sealed_at = now, .cost.bytes = checkpoint_memory(g) };
	g_queue_push_tail(&g->p.unloaded, u);
	if (g->p.unloaded.length > UNLOADED_MAX)
		g_free(g_queue_pop_head(&g->p.unloaded));
}

static void
count_cost(struct guard *g, const struct unloaded *u)
{
	if (u->resumed && u->committed)
		epoch_length_checkpoint(&g->p.epoch_length, &u->cost);
}

/* The guest runs again after that checkpoint, which may have been committed already: its epoch is closed when what was sent in it is. */
static void
cost_resumed(struct guard *g, const struct relay_action *a)
{
	struct unloaded *u = g_queue_peek_tail(&g->p.unloaded);

	g->p.cost = (struct epoch_cost){ .epoch_ns = a->epoch_ns, .pause_ns = a->pause_ns, .bytes = checkpoint_memory(g), .events = g->p.epoch_events, .work_ns = epoch_work_ns(g) };
	if (!u || u->resumed)
		return;
	g->p.cost.commit_ns = u->cost.commit_ns;
	u->cost = g->p.cost;
	u->resumed = true;
	count_cost(g, u);
}

/* All up to this epoch are committed; how long the last one of them took, or 0. */
static uint64_t
cost_committed(struct guard *g, uint64_t now, uint64_t epoch)
{
	GList *l = g->p.unloaded.tail;
	uint64_t took = 0;

	/* In passive mode many are committed and not loaded: the first that is not committed is sought from the end. */
	while (l && !((struct unloaded *)l->data)->committed)
		l = l->prev;
	for (l = l ? l->next : g->p.unloaded.head; l; l = l->next) {
		struct unloaded *u = l->data;
		if (u->epoch > epoch)
			break;
		u->committed = true;
		u->cost.commit_ns = took = now - u->sealed_at;
		count_cost(g, u);
	}
	return took;
}

/* It has loaded all up to this epoch: so many bytes. */
static uint64_t
loaded_bytes(struct guard *g, uint64_t epoch)
{
	uint64_t bytes = 0;

	while (g->p.unloaded.head && ((struct unloaded *)g->p.unloaded.head->data)->epoch <= epoch) {
		g_autofree struct unloaded *u = g_queue_pop_head(&g->p.unloaded);
		bytes += u->cost.bytes;
	}
	return bytes;
}

static void
on_seal(struct guard *g, uint64_t now, const struct relay_action *a)
{
	guard_send_u64(g, PEER_CHECKPOINT_SEAL, 3, (uint64_t[]){ a->epoch, a->length, a->checksum });
	g->p.checkpoint_pages = a->pages;
	g->p.checkpoint_zero_pages = a->zero_pages;
	g->p.checkpoint_bytes = a->length;
	g->p.bytes_total += a->length;
	to_be_loaded(g, now, a->epoch);
}

static void
on_live(struct guard *g, uint64_t now)
{
	g->p.live = true;
	g->p.live_at = now;
	epoch_begins(g, now);
	g->p.arm_deadline = now + GUARD_ARM_TIMEOUT_NS;
	g->p.arm_after = GUARD_ARM_EPOCH;
	guard_set_phase(g, GUARD_PHASE_ARM);
	guard_send(g, PEER_LIVE, NULL, 0, NULL);
	disk_answer(g);
	relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
}

/* The guest stands, and QEMU has drained its writes, so none is kept. Should one be, it is of epoch 0. */
static void
let_go(struct guard *g, uint64_t now)
{
	g->env.filters_drain(g->ctx);
	for (unsigned i = 0; i < g->config->n_disks; i++)
		disk_overtake(g, now, i, 0, UINT64_MAX);
	g->p.let_go = true;
	reinject_let_go(g, now);
}

static void
relay_action_route(struct guard *g, uint64_t now, struct relay_action *a)
{
	switch (a->type) {
	case RELAY_TO_QEMU:
		g->env.migration_write(g->ctx, a->bytes);
		break;
	case RELAY_STREAM:
		g->p.bytes_total += g_bytes_get_size(a->bytes);
		guard_send(g, PEER_STREAM, NULL, 0, a->bytes);
		break;
	case RELAY_STREAM_END:
		if (!g->p.let_go)
			let_go(g, now);
		if (g->failover.state != FAILOVER_FORMING)
			break;		/* called off: it gets no READY, but the end of its migration */
		g->p.tracking = true;
		g->env.op_start(g->ctx, GUARD_OP_TRACK);
		break;
	case RELAY_LIVE:
		on_live(g, now);
		break;
	case RELAY_PAUSED:
		g->p.off = false;
		on_paused(g, now, a->epoch);
		break;
	case RELAY_CHECKPOINT_BEGIN:
		guard_send_u64(g, PEER_CHECKPOINT_BEGIN, 1, &a->epoch);
		break;
	case RELAY_CHECKPOINT_DATA: {
		uint8_t head[8];
		put_be64(head, a->epoch);
		guard_send(g, PEER_CHECKPOINT_DATA, head, sizeof head, a->bytes);
		break;
	}
	case RELAY_CHECKPOINT_SEAL:
		on_seal(g, now, a);
		break;
	case RELAY_RESUMED:
		g->p.closing_epoch = false;
		/* One that was busy may hang right after the checkpoint, too. */
		if (g->p.heard_qemu)
			g->p.heard_qemu = now;
		note_stop(g, now, a);
		histogram_record(&g->p.pause, a->pause_ns);
		guard_note_epoch(g, now, a->pause_ns);
		histogram_record(&g->p.epoch, a->epoch_ns);
		cost_resumed(g, a);
		/* The guest stands while QEMU drains its disks, too, which is most of the time from REPLY to VMSTATE_SEND (QEMU system/cpus.c, do_vm_stop()). */
		passive_pace_resumed(&g->p.pace, now, a->drain_ns + a->pause_ns, a->epoch_ns, g->p.cost.bytes);
		if (g->p.passive)
			set_pace(g);
		epoch_begins(g, now);
		g->p.wants[a->want]++;
		break;
	case RELAY_FAILED:
		guard_data_failed(g, now, "checkpoint stream from QEMU: %s (at byte %" G_GUINT64_FORMAT ")", a->reason, a->offset);
		break;
	}
}

/*
 * In a checkpoint the guest stands, and QEMU whose migration socket is closed then leaves it so until a monitor says "cont": libvirt's, which may not answer. The
 * checkpoint's end needs nobody but QEMU and us. A millisecond later the guest gets what it may have missed, with filters that go with the pair.
 * And what is done to a guest that stands at the end of the initial migration must not be done to one that runs.
 */
static bool
detach_waits(const struct guard *g)
{
	return g->p.tracking || relay_stopping(g->p.relay) || (reinject_waits(g) && relay_awaits_request(g->p.relay) && g->p.suspend == SUSPEND_NONE);
}

static void
detach_if_due(struct guard *g, uint64_t now)
{
	if (!g->p.detach_by || (detach_waits(g) && now < g->p.detach_by))
		return;
	g->p.detach_by = 0;
	g->env.op_start(g->ctx, GUARD_OP_DETACH);
}

/* Moves what the cores have to say until they are quiet. */
void
primary_pump(struct guard *g, uint64_t now)
{
	struct relay_action a;

	pump_releases(g, now);
	pump_wants(g, now);
	while (relay_next(g->p.relay, &a)) {
		relay_action_route(g, now, &a);
		relay_action_clear(&a);
		pump_releases(g, now);
		pump_wants(g, now);
	}
	/* After REPLY QEMU waits for every write that is under way, those that were kept waiting at the limit too. */
	if (disk_is_awaited(g))
		disk_answer(g);
	suspend_pump(g);
	reinject_pump(g);
	detach_if_due(g, now);
}

void
guard_migration_bytes(struct guard *g, uint64_t now, GBytes *bytes)
{
	if (guard_is_primary(g)) {
		relay_from_qemu(g->p.relay, now, bytes);
		primary_pump(g, now);
	} else {
		standby_from_qemu(g->s.standby, now, bytes);
		standby_side_pump(g, now);
	}
}

bool
guard_checkpoint_arriving(const struct guard *g)
{
	return guard_is_primary(g) && relay_receiving(g->p.relay);
}

bool
guard_migration_reading(const struct guard *g)
{
	/* As fast as it comes, when the guest stands for it: a checkpoint, and the devices behind the initial copy of RAM. The relay's limits bound what is queued. */
	if (!guard_is_primary(g) || g->p.live || relay_peer_due_since(g->p.relay) != UINT64_MAX)
		return true;
	return g->env.peer_queued(g->ctx, PEER_CHANNEL_BULK) < GUARD_BULK_QUEUE_MAX;
}

static void
on_committed(struct guard *g, uint64_t now, uint64_t epoch)
{
	uint64_t took;

	if (epoch <= g->p.committed || epoch >= relay_epoch(g->p.relay) + 1) {
		guard_data_failed(g, now, "the standby committed epoch %" G_GUINT64_FORMAT " in epoch %" G_GUINT64_FORMAT, epoch, relay_epoch(g->p.relay));
		return;
	}
	g->p.committed = epoch;
	took = cost_committed(g, now, epoch);
	if (took) {
		histogram_record(&g->p.commit_lag, took);
		history_lag(&g->history, now, took);
	}
	relay_committed(g->p.relay, now, epoch);
	comparator_committed(g->p.comparator, now, epoch);
	switchover_committed(g, now, epoch);
	if (g->p.boundary_held && g->p.boundary_held <= epoch)
		primary_boundary_finish(g, now, g->p.boundary_held);
	if (g->p.arm_after && epoch >= g->p.arm_after && g->failover.state == FAILOVER_FORMING) {
		g->p.arm_after = 0;
		g->p.armed_wanted = true;
		guard_claim_generation(g, g->failover.generation, g->config->peer, "protect");
	}
	primary_pump(g, now);
}

/* -- arming -------------------------------------------------------------------------------------------------------------------------- */

/* The pair's own record is written (or not): only now may the standby be told that it counts. */
void
primary_arm_verdict(struct guard *g, uint64_t now, enum arbiter_verdict verdict, const char *error)
{
	g->p.armed_wanted = false;
	if (g->failover.state != FAILOVER_FORMING)
		return;
	if (verdict != ARBITER_GRANTED) {
		g_snprintf(g->failure, sizeof g->failure, "the arbiter %s did not take the pair's record: %s", g->config->arbiter, error ? error : "somebody else wrote this generation");
		guard_policy(g, now, FAILOVER_EV_DATA_FAILED, FAILOVER_REASON_SETUP_FAILED);
		return;
	}
	guard_policy(g, now, FAILOVER_EV_ARM, FAILOVER_REASON_NONE);
	if (!g->written) {
		guard_data_failed(g, now, "a pair whose state cannot be written on this host is not armed");
		return;
	}
	g->env.generation_changed(g->ctx, g->failover.generation);
	guard_send(g, PEER_ARM, NULL, 0, NULL);
}

static void
on_armed(struct guard *g, uint64_t now)
{
	if (g->failover.state != FAILOVER_PROTECTED || g->phase == GUARD_PHASE_RUN)
		return;
	g->p.arm_deadline = UINT64_MAX;
	guard_set_phase(g, GUARD_PHASE_RUN);
	guard_event(g, "protected", "%s protects %s", g->config->peer, g->config->domain);
	mode_init(&g->p.mode, now, g->p.mode.setting);
	guard_started(g, NULL);
	primary_pump(g, now);
}

/* -- the peer ------------------------------------------------------------------------------------------------------------------------- */

/* Reads n be64 values; anything else is a protocol error. */
static bool
read_u64(struct guard *g, uint64_t now, const struct peer_frame *frame, unsigned n, uint64_t *out)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);

	for (unsigned i = 0; i < n; i++)
		out[i] = byte_reader_be64(&r);
	if (byte_reader_done(&r))
		return true;
	guard_data_failed(g, now, "%s of %u bytes", peer_type_name(frame->type), frame->length);
	return false;
}

static void
on_svm_loaded(struct guard *g, uint64_t now, const uint64_t v[3])
{
	g->p.loaded = v[0];
	if (g->failover.state == FAILOVER_FORMING && v[0] < g->p.arm_after)
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OPERATOR);
	switchover_loaded(g, now, v[0]);
	g->p.last_load_ns = v[1];
	epoch_length_loaded(&g->p.epoch_length, loaded_bytes(g, v[0]), v[2]);
	set_pace(g);
	g->p.stopped_ns += v[2];
	histogram_record(&g->p.load, v[1]);
	histogram_record(&g->p.svm_stop, v[2]);
	comparator_loaded(g->p.comparator, now, v[0]);
	primary_pump(g, now);
}

/* Once per GUARD_REPAIR_NS: that the standby keeps to it is not relied on. */
static void
repair_if_due(struct guard *g, uint64_t now)
{
	if (!g->p.repair_wanted || now < g->p.repair_after)
		return;
	g->p.repair_wanted = false;
	g->p.repair_after = now + GUARD_REPAIR_NS;
	relay_want_checkpoint(g->p.relay, now, RELAY_WANT_COPY_UNFIT);
}

static void
on_copy_unfit(struct guard *g, uint64_t now, uint64_t loaded)
{
	if (loaded >= relay_epoch(g->p.relay)) {
		guard_data_failed(g, now, "the standby has loaded epoch %" G_GUINT64_FORMAT " in epoch %" G_GUINT64_FORMAT, loaded, relay_epoch(g->p.relay));
		return;
	}
	g->p.fit_from = loaded + 1;
	/* A checkpoint that is on its way to it, or is being made, mends the copy; if not, it asks again. */
	if (loaded + 1 < relay_epoch(g->p.relay) || relay_stopping(g->p.relay))
		return;
	g->p.repair_wanted = true;
	repair_if_due(g, now);
	primary_pump(g, now);
}

uint64_t
primary_hang_patience(const struct guard *g, uint64_t usual)
{
	return g->p.loaded < g->p.fit_from ? MAX(usual, GUARD_QEMU_ALONE_NS) : usual;
}

static void
on_standby_ready(struct guard *g, uint64_t now)
{
	if (g->phase != GUARD_PHASE_MEMORY || g->failover.state != FAILOVER_FORMING)
		return;		/* too late */
	/* What was read of the guest's output left as unprotected; what is read from here on is held. */
	if (!g->p.let_go)
		let_go(g, now);
	comparator_protect(g->p.comparator, now, 1);
	relay_peer_ready(g->p.relay, now);
	primary_pump(g, now);
}

void
primary_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	uint64_t v[3];

	switch ((int)frame->type) {
	case PEER_RETURN_PATH:
		relay_from_peer_return_path(g->p.relay, now, payload);
		primary_pump(g, now);
		break;
	case PEER_READY:
		on_standby_ready(g, now);
		break;
	case PEER_ARMED:
		on_armed(g, now);
		break;
	case PEER_COMMITTED:
		if (read_u64(g, now, frame, 1, v))
			on_committed(g, now, v[0]);
		break;
	case PEER_SVM_STOPPED:
		if (read_u64(g, now, frame, 1, v))
			comparator_secondary_stopped(g->p.comparator, now);
		break;
	case PEER_SVM_LOADED:
		if (read_u64(g, now, frame, 3, v))
			on_svm_loaded(g, now, v);
		break;
	case PEER_OUTPUT:
		secondary_output(g, now, frame, payload);
		break;
	case PEER_SWITCHOVER:
		switchover_refused(g, now);
		break;
	case PEER_DISK_CREDIT:
		if (read_u64(g, now, frame, 1, v))
			disk_credit(g, now, v[0]);
		break;
	case PEER_DISK_WANTED:
		if (read_u64(g, now, frame, 2, v))
			on_disk_wanted(g, now, v[0], v[1]);
		break;
	case PEER_COPY_UNFIT:
		if (read_u64(g, now, frame, 1, v))
			on_copy_unfit(g, now, v[0]);
		break;
	default:
		guard_data_failed(g, now, "the standby sent %s", peer_type_name(frame->type));
	}
}

/* -- the ends --------------------------------------------------------------------------------------------------------------------------- */

void
primary_freeze(struct guard *g)
{
	relay_suspend(g->p.relay, true);
	comparator_freeze(g->p.comparator);
}

/*
 * Before this side gives up: what its QEMU has read is with the standby already; what it has not, and what it was not let say, follows. The standby has, or will
 * load, the state in which the latter was sent, so no copy would send it again before its retransmission time-outs.
 */
void
primary_hand_over(struct guard *g)
{
	uint64_t epoch;
	unsigned nic;
	GBytes *frame;

	primary_tell_left(g);
	g->env.frames_take_back(g->ctx);
	while ((frame = comparator_next_unsent(g->p.comparator, &epoch, &nic))) {
		primary_pass_on_unsent(g, epoch, nic, frame);
		g_bytes_unref(frame);
	}
}

static void
detach(struct guard *g, uint64_t now)
{
	g->detaching = true;
	g->p.detach_by = now + GUARD_DETACH_CHECKPOINT_NS;
	relay_suspend(g->p.relay, true);
	comparator_unprotect(g->p.comparator, now);
	if (g->p.boundary_held)
		primary_boundary_finish(g, now, g->p.boundary_held);
	primary_pump(g, now);
}

/* The arbiter has spoken: what is held may go, and the domain becomes an ordinary one again. */
void
primary_go_solo(struct guard *g, uint64_t now)
{
	guard_event(g, "solo", "%s goes on alone", g->config->domain);
	detach(g, now);
}

void
primary_undo(struct guard *g, uint64_t now)
{
	detach(g, now);
}

void
primary_op_done(struct guard *g, uint64_t now, enum guard_op op)
{
	switch ((int)op) {
	case GUARD_OP_CONNECT:
		guard_set_phase(g, GUARD_PHASE_ATTACH);
		g->env.op_start(g->ctx, GUARD_OP_ATTACH);
		break;
	case GUARD_OP_ATTACH:
		guard_set_phase(g, GUARD_PHASE_DISK);
		g->env.op_start(g->ctx, GUARD_OP_DISKS);
		break;
	case GUARD_OP_DISKS:
		if (g->p.disk_compared_bytes)
			guard_event(g, "disks-compared", "of %" G_GUINT64_FORMAT " MiB that were compared with the images on %s %" G_GUINT64_FORMAT " MiB were the same",
				    g->p.disk_compared_bytes >> 20, g->config->peer, g->p.disk_same_bytes >> 20);
		guard_set_phase(g, GUARD_PHASE_MEMORY);
		g->env.op_start(g->ctx, GUARD_OP_MIGRATE);
		break;
	case GUARD_OP_MIGRATE:
		break;		/* the end of the stream, and the standby's READY, come of themselves */
	case GUARD_OP_TRACK:
		g->p.tracking = false;
		if (g->failover.state == FAILOVER_FORMING)
			relay_tracked(g->p.relay, now);
		primary_pump(g, now);
		break;
	case GUARD_OP_DETACH:
		guard_policy(g, now, g->failover.state == FAILOVER_SETTLING ? FAILOVER_EV_SETTLED : FAILOVER_EV_STOPPED, g->failover.reason);
		break;
	default:
		g_assert_not_reached();
	}
}

void
primary_lease(struct guard *g, uint64_t now, uint64_t heard)
{
	uint64_t suspect = g->config->suspect_ms * 1000000ull;

	/* The standby counts our silence from when it heard us, which is after we sent. */
	g->p.lease_until = MAX(g->p.lease_until, heard + suspect - suspect / GUARD_LEASE_MARGIN_DIV);
	primary_pump(g, now);
}

static bool
counts_on_qemu(const struct guard *g)
{
	return g->failover.state == FAILOVER_PROTECTED || g->failover.state == FAILOVER_SWITCHING;
}

static uint64_t
hang_deadline(const struct guard *g)
{
	uint64_t since = relay_waiting_since(g->p.relay);

	return counts_on_qemu(g) && since != UINT64_MAX ? MAX(since, g->awake_since) + primary_hang_patience(g, GUARD_QEMU_HANG_NS) : UINT64_MAX;
}

/* Once per silence: what an idle guest's QEMU has to say to the checkpoint is no news. */
static uint64_t
quiet_deadline(const struct guard *g)
{
	if (g->failover.state != FAILOVER_PROTECTED || !g->p.heard_qemu || !relay_waiting(g->p.relay))
		return UINT64_MAX;
	return MAX(g->p.heard_qemu + GUARD_QEMU_QUIET_NS, g->p.quiet_after);
}

/* Passive mode. Once a checkpoint is asked for the relay knows when it comes. One at a time: what the link or the standby cannot follow makes epochs longer. */
static uint64_t
output_deadline(const struct guard *g)
{
	bool commits = g->failover.state == FAILOVER_PROTECTED || g->failover.state == FAILOVER_SWITCHING || g->failover.state == FAILOVER_ASKING;
	bool asks = commits && relay_waiting(g->p.relay) && !relay_wanted(g->p.relay) && !relay_uncommitted(g->p.relay);

	return g->p.passive && asks ? passive_pace_due(&g->p.pace) : UINT64_MAX;
}

/* Once per epoch; whoever is silent after that hangs. */
static uint64_t
nudge_deadline(const struct guard *g)
{
	if (!counts_on_qemu(g) || !relay_awaits_request(g->p.relay) || g->p.nudging || g->p.nudged == relay_epoch(g->p.relay))
		return UINT64_MAX;
	return relay_waiting_since(g->p.relay) + GUARD_NUDGE_NS;
}

static uint64_t
ready_patience(const struct guard *g)
{
	return GUARD_READY_TIMEOUT_NS + relay_ram_bytes(g->p.relay) * GUARD_READY_NS_PER_BYTE;
}

static uint64_t
ready_deadline(const struct guard *g)
{
	uint64_t since = relay_peer_due_since(g->p.relay);

	return g->failover.state == FAILOVER_FORMING && since != UINT64_MAX ? MAX(since, g->awake_since) + ready_patience(g) : UINT64_MAX;
}

static uint64_t
forming_disk_deadline(const struct guard *g)
{
	bool waits = g->p.disk_pending.length > 0 || disk_compare_pending(g->p.compare) > 0;

	return g->failover.state == FAILOVER_FORMING && !g->p.let_go && waits ? MAX(g->p.disk_moved_at, g->awake_since) + GUARD_DISK_HANG_NS : UINT64_MAX;
}

/* While memory is copied the guest's writes wait for the standby's disk, and at the end maybe the guest itself for the standby's QEMU: neither for ever. */
static uint64_t
forming_deadline(const struct guard *g)
{
	return MIN(ready_deadline(g), forming_disk_deadline(g));
}

static void
check_forming(struct guard *g, uint64_t now)
{
	if (now >= ready_deadline(g))
		guard_data_failed(g, now, "the standby's QEMU on %s did not become ready in %" G_GUINT64_FORMAT " s", g->config->peer, ready_patience(g) / 1000000000u);
	else if (now >= forming_disk_deadline(g))
		guard_data_failed(g, now, "the disk of the copy on %s took no write, and answered no comparison, for %llu s", g->config->peer, GUARD_DISK_HANG_NS / 1000000000ull);
}

void
guard_set_mode(struct guard *g, uint64_t now, enum mode mode)
{
	if (!guard_is_primary(g))
		return;
	mode_set(&g->p.mode, now, mode);
	primary_pump(g, now);
}

void
guard_set_patterns(struct guard *g, uint64_t now, const char *bypass, const char *never_compare)
{
	if (!guard_is_primary(g))
		return;
	keep_patterns(g, bypass, never_compare);
	g->p.patterns_new = true;
	primary_pump(g, now);
}

static void
mode_tick(struct guard *g, uint64_t now)
{
	struct comparator_stats s;

	if (g->failover.state != FAILOVER_PROTECTED || now < g->p.mode.look_at)
		return;
	comparator_stats(g->p.comparator, &s);
	mode_look(&g->p.mode, now, &(struct mode_counts){
		.same = s.released_frames[RELEASE_SAME],
		.committed = s.released_frames[RELEASE_COMMITTED],
		.forced = g->p.wants[RELAY_WANT_TIMEOUT] + g->p.wants[RELAY_WANT_DIFFERENCE],
		.stopped_ns = g->p.stopped_ns,
	});
}

void
primary_tick(struct guard *g, uint64_t now)
{
	check_forming(g, now);
	if (g->p.ended_due && now >= g->p.ended_due) {
		guard_qemu_gone(g, now);
		g->p.ended_due = UINT64_MAX;
	}
	if (g->p.live && g->phase == GUARD_PHASE_ARM && now >= g->p.arm_deadline) {
		g->p.arm_deadline = UINT64_MAX;
		guard_data_failed(g, now, "the pair did not come up: no first commit from %s in %llu s", g->config->peer, GUARD_ARM_TIMEOUT_NS / 1000000000ull);
	}
	if (now >= quiet_deadline(g)) {
		g->p.heard_qemu = 0;
		g->p.quiet_after = now + GUARD_QUIET_AGAIN_NS;
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_QUIET);
	}
	if (now >= nudge_deadline(g)) {
		g->p.nudging = true;
		g->p.nudged = relay_epoch(g->p.relay);
		g->env.op_start(g->ctx, GUARD_OP_NUDGE);
	}
	if (now >= hang_deadline(g))
		guard_qemu_hung(g, now);
	if (now >= output_deadline(g))
		relay_want_checkpoint(g->p.relay, now, RELAY_WANT_OUTPUT);
	repair_if_due(g, now);
	switchover_tick(g, now);
	if (now >= g->p.left_due)
		primary_tell_left(g);
	mode_tick(g, now);
	relay_tick(g->p.relay, now);
	comparator_tick(g->p.comparator, now);
	primary_pump(g, now);
}

uint64_t
primary_deadline(const struct guard *g)
{
	uint64_t t = MIN(relay_deadline(g->p.relay), comparator_deadline(g->p.comparator));

	t = MIN(t, MIN(hang_deadline(g), MIN(quiet_deadline(g), nudge_deadline(g))));
	t = MIN(t, output_deadline(g));
	t = MIN(t, MIN(forming_deadline(g), MIN(switchover_deadline(g), g->p.left_due)));
	if (g->p.repair_wanted)
		t = MIN(t, g->p.repair_after);
	if (g->p.detach_by)
		t = MIN(t, g->p.detach_by);
	if (g->p.ended_due)
		t = MIN(t, g->p.ended_due);
	if (g->failover.state == FAILOVER_PROTECTED)
		t = MIN(t, g->p.mode.look_at);
	if (g->p.live && g->phase == GUARD_PHASE_ARM)
		t = MIN(t, g->p.arm_deadline);
	return t;
}
