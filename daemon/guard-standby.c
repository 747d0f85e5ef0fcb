/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The standby's side: holds checkpoints and disk writes until they may be loaded, feeds the copy (SVM) what the primary receives, and keeps what the
 * SVM sends until its twin has left.
 *
 * The disk rule: writes of epochs <= N reach the parent image before the REQUEST of the load that brings the SVM to N, writes of N+1 only after its
 * LOADED. Between the two nothing is written (QEMU empties the overlays then and aborts on a racing write). Writes of epoch 0 (the initial copy) are applied
 * as they come.
 *
 * A comparison (checkpoint/disk-compare.c) is of epoch 0 too. It finds every write that came before it with the disk, which reads and writes in the order of
 * submission where they overlap.
 *
 * Stale translations. Without KVM a load does not make QEMU drop what it has translated of the code that the load replaces (migration/colo.c,
 * colo_flush_ram_cache()), and a copy that runs old code resets itself sooner or later. While code rarely moves that hardly happens and the take-over drops them
 * all; while the guest boots it happens with every load. So for a while after a reset, or always with tcg-flush=load, the copy is refreshed before REQUEST:
 * after it QEMU would abort.
 *
 * Taking over (the arbiter granted it): load what is committed, forget writes of epochs that will never be, let the SVM run, commit its overlays, announce it here, send
 * its unsent output, leave COLO, open the SVM's own path. Output needs a disk that has what the copy has written: nobody would look for it in overlays if this host died
 * (which of them are stale is not to be seen once QEMU commits). Whoever dies before has said nothing, not even where the guest is, and gives it back. Leaving COLO can
 * wait, the clients cannot.
 */
#include "daemon/guard-internal.h"

#include <string.h>

static void
free_write(gpointer p)
{
	disk_write_clear(p);
	g_free(p);
}

struct comparison {
	struct disk_compare_request request;
	GBytes *payload;	/* holds the digests */
};

static void
free_comparison(gpointer p)
{
	g_bytes_unref(((struct comparison *)p)->payload);
	g_free(p);
}

void
standby_side_init(struct guard *g)
{
	const struct guard_config *c = g->config;
	struct standby_limits sl = {
		.max_checkpoint_bytes = c->max_checkpoint_bytes,
		/* One that is being loaded, half of one that waits to be committed, and one that was begun before that. */
		.max_held_bytes = 3 * c->max_checkpoint_bytes,
		/* The peer begins no checkpoint while half a checkpoint is not committed, and a whole one may be under way then: that is room for both. */
		.max_unloaded_bytes = c->max_checkpoint_bytes / 4,
	};
	struct standby_proxy_limits pl = {
		.max_inbound_bytes = c->max_held_bytes,
		.max_output_bytes = c->max_held_bytes,
	};

	g->s.standby = standby_new(&sl);
	g->s.proxy = standby_proxy_new(&pl);
	g->s.disks = disk_queue_new(4 * c->max_disk_bytes + GUARD_DISK_IN_FLIGHT_BYTES);
	g->s.in_flight = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, free_write);
	g->s.disk_done = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
	g->s.comparing = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, free_comparison);
	g->s.credit_due = g->s.live_due = UINT64_MAX;
	disk_queue_permit(g->s.disks, 0);
}

void
standby_side_clear(struct guard *g)
{
	standby_free(g->s.standby);
	unpacker_free(g->s.unpacker);
	standby_proxy_free(g->s.proxy);
	disk_queue_free(g->s.disks);
	g_hash_table_unref(g->s.in_flight);
	g_hash_table_unref(g->s.disk_done);
	g_hash_table_unref(g->s.comparing);
}

void
standby_side_start(struct guard *g, uint64_t now)
{
	guard_set_phase(g, GUARD_PHASE_ATTACH);
	g->env.op_start(g->ctx, GUARD_OP_STANDBY_ATTACH);
}

/* What is committed from here on can never be loaded, so this copy is not fit and no load will change that. Once it goes live it needs no loads. */
void
standby_side_spoil(struct guard *g, uint64_t now)
{
	if (g->s.live_started)
		return;
	g->s.spoiled = true;
	guard_policy(g, now, FAILOVER_EV_COPY_UNFIT, FAILOVER_REASON_COPY_UNFIT);
}

static gpointer
key_new(uint64_t v)
{
	return g_memdup2(&v, sizeof v);
}

/* -- disks ------------------------------------------------------------------------------------------------------------------- */

/* Frames are numbered by their order on the disk connection, on both sides; the number is the cookie and what a credit speaks of. */
static void
disks_pump(struct guard *g)
{
	struct disk_write w;

	while (disk_queue_next(g->s.disks, &w)) {
		struct disk_write *kept = g_memdup2(&w, sizeof w);
		uint64_t cookie = ++g->s.next_cookie;
		g_hash_table_insert(g->s.in_flight, key_new(cookie), kept);
		g->env.disk_submit(g->ctx, kept, cookie);
	}
}

static void
tell_credit(struct guard *g)
{
	g->s.disk_told = g->s.disk_prefix;
	g->s.untold_bytes = 0;
	g->s.credit_due = UINT64_MAX;
	guard_send_u64(g, PEER_DISK_CREDIT, 1, &g->s.disk_prefix);
}

static void
disk_credit(struct guard *g, uint64_t now, uint64_t seq, uint64_t bytes)
{
	g->s.untold_bytes += bytes;
	g_hash_table_add(g->s.disk_done, key_new(seq));
	for (;;) {
		uint64_t next = g->s.disk_prefix + 1;
		if (!g_hash_table_remove(g->s.disk_done, &next))
			break;
		g->s.disk_prefix = next;
	}
	if (g->s.disk_prefix == g->s.disk_told)
		return;
	if (!g->s.live || g->s.disk_prefix - g->s.disk_told >= GUARD_CREDIT_WRITES || g->s.untold_bytes >= g->config->max_disk_bytes / GUARD_CREDIT_DIV)
		tell_credit(g);
	else
		g->s.credit_due = MIN(g->s.credit_due, now + GUARD_CREDIT_NS);
}

/*
 * The image is of no epoch any more: writes of the next one are in it, and not all of them. The write stays in the queue as one that is not
 * applied, so nothing is loaded on top of it, and the copy is never fit again.
 */
static void
disk_failed(struct guard *g, uint64_t now, const struct disk_write *w, int nbd_errno)
{
	g_autofree char *text = g_strdup_printf("disk %u of the standby: write of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT " failed: %s", w->disk,
						w->length, w->offset, g_strerror(nbd_errno));

	guard_send(g, PEER_FAIL, text, strlen(text), NULL);
	standby_side_spoil(g, now);
	guard_data_failed(g, now, "%s", text);
}

void
guard_disk_done(struct guard *g, uint64_t now, uint64_t cookie, int nbd_errno)
{
	struct disk_write *w = g_hash_table_lookup(g->s.in_flight, &cookie);

	g_assert(w);
	if (nbd_errno) {
		disk_failed(g, now, w, nbd_errno);
		return;
	}
	uint64_t bytes = w->op == DISK_OP_WRITE ? w->length : 0;

	disk_queue_done(g->s.disks, w);
	g->s.disk_moved_at = now;
	g_hash_table_remove(g->s.in_flight, &cookie);
	disk_credit(g, now, cookie, bytes);
	standby_side_pump(g, now);
}

static void
disk_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	struct disk_write w = { .epoch = byte_reader_be64(&r), .disk = byte_reader_be32(&r) };
	g_autoptr(GError) error = NULL;

	w.may_unmap = byte_reader_be32(&r) & 1;
	w.offset = byte_reader_be64(&r);
	w.op = frame->type == PEER_DISK_WRITE ? DISK_OP_WRITE : frame->type == PEER_DISK_ZERO ? DISK_OP_ZERO : DISK_OP_TRIM;
	w.length = w.op == DISK_OP_WRITE ? r.left : byte_reader_be64(&r);
	if (r.bad || w.length == 0 || (w.op != DISK_OP_WRITE && r.left) || w.disk >= g->config->n_disks || w.length > g->config->disks[w.disk].size ||
	    w.offset > g->config->disks[w.disk].size - w.length) {
		guard_data_failed(g, now, "%s of %u bytes is not a write to a disk of this pair", peer_type_name(frame->type), frame->length);
		return;
	}
	if (w.op == DISK_OP_WRITE)
		w.data = g_bytes_new_from_bytes(payload, frame->length - r.left, r.left);
	if (!disk_queue_push(g->s.disks, &w, &error)) {
		disk_write_clear(&w);
		guard_data_failed(g, now, "%s", error->message);
	}
}

static bool
comparison_is_sound(const struct guard *g, const struct disk_compare_request *r)
{
	return r->disk < g->config->n_disks && r->length <= g->config->disks[r->disk].size && r->offset <= g->config->disks[r->disk].size - r->length;
}

static void
comparison_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	struct comparison c = { 0 };

	if (!disk_compare_parse(frame->payload, frame->length, &c.request) || !comparison_is_sound(g, &c.request) || g->s.live) {
		guard_data_failed(g, now, "DISK_COMPARE of %u bytes %s", frame->length, g->s.live ? "after LIVE" : "is not one of a disk of this pair");
		return;
	}
	if (g_hash_table_size(g->s.comparing) >= DISK_COMPARE_MAX_REQUESTS || c.request.length > DISK_COMPARE_MAX_BYTES - g->s.comparing_bytes) {
		guard_data_failed(g, now, "more than %u comparisons, or of more than %u bytes, before the first was answered", DISK_COMPARE_MAX_REQUESTS, DISK_COMPARE_MAX_BYTES);
		return;
	}
	disks_pump(g);		/* what is permitted is with the disk before the read is */
	c.payload = g_bytes_ref(payload);
	g->s.comparing_bytes += c.request.length;
	g_hash_table_insert(g->s.comparing, key_new(++g->s.comparisons), g_memdup2(&c, sizeof c));
	g->env.disk_read(g->ctx, c.request.disk, c.request.offset, c.request.length, g->s.comparisons);
}

/* What cannot be read is wanted: the write mends it, or fails as any write may. */
void
guard_disk_read_done(struct guard *g, uint64_t now, uint64_t cookie, int nbd_errno, GBytes *data)
{
	const struct comparison *c = g_hash_table_lookup(g->s.comparing, &cookie);
	uint64_t wanted;

	g_assert(c && (nbd_errno || g_bytes_get_size(data) == c->request.length));
	wanted = disk_compare_wanted(&c->request, nbd_errno ? NULL : g_bytes_get_data(data, NULL), g->env.digest);
	g->s.comparing_bytes -= c->request.length;
	g_hash_table_remove(g->s.comparing, &cookie);
	guard_send_u64(g, PEER_DISK_WANTED, 2, (uint64_t[]){ cookie, wanted });
}

/* -- packets -------------------------------------------------------------------------------------------------------------------- */

static void
output_to_peer(struct guard *g, const struct standby_proxy_action *a)
{
	uint8_t head[18];

	if (g->env.peer_queued(g->ctx, PEER_CHANNEL_FAST) > GUARD_FAST_QUEUE_MAX) {
		g->frames_skipped++;	/* not compared, so its twin leaves by commit */
		return;
	}
	put_be64(head, a->id);
	put_be64(head + 8, a->epoch);
	put_be16(head + 16, (uint16_t)a->nic);
	guard_send(g, PEER_OUTPUT, head, sizeof head, a->frame);
}

static void
proxy_pump(struct guard *g)
{
	struct standby_proxy_action a;

	while (standby_proxy_next(g->s.proxy, &a)) {
		switch (a.type) {
		case STANDBY_PROXY_INJECT:
			g->env.frame_write(g->ctx, GUARD_PORT_INJ, a.nic, a.frame);
			break;
		case STANDBY_PROXY_TO_PEER:
			output_to_peer(g, &a);
			break;
		case STANDBY_PROXY_TO_LAN:
			g_assert(g->s.speaks);
			/* Fenced or ended after it went live: what the copy's sockets still hold goes nowhere. */
			if (failover_may_speak_alone(&g->failover))
				g->env.frame_write(g->ctx, GUARD_PORT_REL, a.nic, a.frame);
			break;
		}
		standby_proxy_action_clear(&a);
	}
}

void
standby_side_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame)
{
	/* SHUT: what this host's LAN sends. Not for a copy that stands by; for the VM it is. */
	if (port == GUARD_PORT_SHUT && g->s.live_started)
		g->env.frame_write(g->ctx, GUARD_PORT_INJ, nic, frame);
	if (port != GUARD_PORT_CAP)
		return;
	announcer_learn(&g->s.announcers[nic], frame);
	standby_proxy_output(g->s.proxy, nic, frame);
	proxy_pump(g);
}

/* What is of a later epoch than the last checkpoint no guest has got that is heard: the old one stands, or runs on unheard. */
static bool
after_switchover(const struct guard *g, uint64_t epoch)
{
	return g->s.going_live && g->failover.reason == FAILOVER_REASON_OPERATOR_SWITCHOVER && epoch > standby_committed_epoch(g->s.standby);
}

/* A frame of the primary's, for the guest or (UNSENT) from it. A stray has no epoch: the primary's guest has not got it. */
static void
primarys_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	bool stray = frame->type == PEER_STRAY;
	uint64_t epoch = stray ? 0 : byte_reader_be64(&r);
	uint16_t nic = byte_reader_be16(&r);
	g_autoptr(GBytes) wire = NULL;

	if (r.bad || nic >= g->config->n_nics || !wire_frame_valid(r.p, r.left)) {
		guard_data_failed(g, now, "the primary sent %s of %u bytes that holds no frame", peer_type_name(frame->type), frame->length);
		return;
	}
	wire = g_bytes_new_from_bytes(payload, frame->length - r.left, r.left);
	if (frame->type == PEER_INBOUND && g->s.going_live && !after_switchover(g, epoch))
		return;
	if (stray || (frame->type == PEER_INBOUND && after_switchover(g, epoch)))
		standby_proxy_stray(g->s.proxy, nic, wire);
	else if (frame->type == PEER_UNSENT)
		standby_proxy_unsent(g->s.proxy, epoch, nic, wire);
	else
		standby_proxy_inbound(g->s.proxy, epoch, nic, wire);
	proxy_pump(g);
}

static void
twin_left(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	size_t n = frame->length / 8;
	g_autofree uint64_t *ids = g_new(uint64_t, n + 1);

	for (size_t i = 0; i < n; i++)
		ids[i] = byte_reader_be64(&r);
	if (!byte_reader_done(&r))
		guard_data_failed(g, now, "TWIN_LEFT of %u bytes", frame->length);
	else
		standby_proxy_twin_left(g->s.proxy, ids, n);
}

/* -- checkpoints --------------------------------------------------------------------------------------------------------------------- */

static void
mended(struct guard *g, uint64_t now)
{
	guard_policy(g, now, FAILOVER_EV_COPY_FIT, FAILOVER_REASON_NONE);
	if (g->s.told_unfit)
		guard_event(g, "copy-fit", "the copy is fit to take over again: checkpoint %" G_GUINT64_FORMAT " was loaded", standby_loaded_epoch(g->s.standby));
	g->s.told_unfit = false;
}

/* QEMU starts the copy after every load, and before the first one (migration/colo.c, colo_process_incoming_thread()). */
static void
pause_copy(struct guard *g)
{
	g->s.pausing = true;
	g->env.op_start(g->ctx, GUARD_OP_STANDBY_PAUSE);
}

static void
on_loaded(struct guard *g, uint64_t now, const struct standby_action *a)
{
	/* What the SVM sent before it answered LOADED is of the new epoch: it was stopped (and drained) at REPLY. */
	standby_proxy_loaded(g->s.proxy, a->epoch);
	proxy_pump(g);
	g->s.loads++;
	g->s.loaded_at = now;
	if (g->failover.state == FAILOVER_FORMING || (g->s.passive && g->failover.state == FAILOVER_PROTECTED))
		pause_copy(g);
	/* The monitor's events and the stream come through two sockets: whether this load mended the reset cannot be told. The next one does. */
	if (!g->s.spoiled && !g->s.reset_in_load)
		mended(g, now);
	g->s.reset_in_load = false;
	histogram_record(&g->s.load, a->load_ns);
	guard_note_epoch(g, now, a->stop_ns);
	history_lag(&g->history, now, a->load_ns);
	histogram_record(&g->s.svm_stop, a->stop_ns);
	guard_send_u64(g, PEER_SVM_LOADED, 3, (uint64_t[]){ a->epoch, a->load_ns, a->stop_ns });
}

static void
on_stopped(struct guard *g, const struct standby_action *a)
{
	g->env.filters_drain(g->ctx);
	standby_proxy_stopped(g->s.proxy);
	guard_send_u64(g, PEER_SVM_STOPPED, 1, &a->epoch);
}

static void
standby_action_route(struct guard *g, uint64_t now, struct standby_action *a)
{
	switch (a->type) {
	case STANDBY_TO_QEMU:
		g->env.migration_write(g->ctx, a->bytes);
		break;
	case STANDBY_RETURN_PATH:
		guard_send(g, PEER_RETURN_PATH, NULL, 0, a->bytes);
		break;
	case STANDBY_READY:
		pause_copy(g);
		guard_set_phase(g, GUARD_PHASE_ARM);
		guard_send(g, PEER_READY, NULL, 0, NULL);
		break;
	case STANDBY_COMMITTED:
		guard_send_u64(g, PEER_COMMITTED, 1, &a->epoch);
		if (a->epoch <= g->s.eager_to)
			standby_load_now(g->s.standby, now);
		if (g->s.passive)
			standby_proxy_committed(g->s.proxy, a->epoch);
		break;
	case STANDBY_LOAD_WANTED:
		g->s.load_wanted = a->epoch;
		g->s.disk_moved_at = now;
		disk_queue_permit(g->s.disks, a->epoch);
		break;
	case STANDBY_STOPPED:
		on_stopped(g, a);
		break;
	case STANDBY_LOADED:
		on_loaded(g, now, a);
		break;
	case STANDBY_FAILED: {
		g_autofree char *text = g_strdup_printf("checkpoint stream on the standby: %s (at byte %" G_GUINT64_FORMAT ")", a->reason, a->offset);
		guard_send(g, PEER_FAIL, text, strlen(text), NULL);
		if (standby_broken(g->s.standby))
			standby_side_spoil(g, now);
		guard_data_failed(g, now, "%s", text);
		break;
	}
	}
}

/* From here on the LAN's frames for the guest come to this host: those that still go to the old one are lost, and each costs a client a retransmission time-out. */
static void
announce(struct guard *g)
{
	GBytes *frame;

	for (unsigned nic = 0; nic < g->config->n_nics; nic++) {
		for (unsigned n = 0; (frame = announcer_frame(&g->s.announcers[nic], n)); n++) {
			g->env.frame_write(g->ctx, GUARD_PORT_REL, nic, frame);
			g_bytes_unref(frame);
		}
	}
}

static void
try_take_over(struct guard *g, uint64_t now)
{
	uint64_t loaded = standby_loaded_epoch(g->s.standby);
	unsigned discarded;

	if (!g->s.going_live || g->s.live_started || g->failover.state != FAILOVER_SETTLING || !standby_settled(g->s.standby) || !disk_queue_applied(g->s.disks, loaded))
		return;
	g->s.live_started = true;
	discarded = disk_queue_discard_after(g->s.disks, loaded);
	guard_event(g, "take-over", "%s continues from checkpoint %" G_GUINT64_FORMAT " (%u disk writes of an unfinished epoch forgotten)", g->config->domain, loaded, discarded);
	standby_proxy_take_over(g->s.proxy);
	proxy_pump(g);
	g->env.op_start(g->ctx, GUARD_OP_STANDBY_WAKE);
}

static bool
wants_refresh(const struct guard *g, uint64_t now)
{
	return g->s.prelaunch || (!g->s.refreshed && (g->config->tcg_flush_load || now < g->s.refresh_until));
}

static void
refresh(struct guard *g)
{
	g->s.refreshing = true;
	g->s.prelaunch = false;		/* unless it is reset once more before the end */
	g->env.op_start(g->ctx, GUARD_OP_STANDBY_REFRESH);
}

static bool
may_load(const struct guard *g, uint64_t now)
{
	return g->s.load_wanted && !g->s.pausing && !g->s.refreshing && now >= g->s.off_until && disk_queue_applied(g->s.disks, g->s.load_wanted);
}

/* The disks are where the load needs them. */
static void
load(struct guard *g, uint64_t now)
{
	uint64_t epoch = g->s.load_wanted;

	g->s.load_wanted = 0;
	g->s.refreshed = false;
	standby_disk_applied(g->s.standby, now, epoch);
}

/* Moves what the cores have to say until they are quiet. */
void
standby_side_pump(struct guard *g, uint64_t now)
{
	struct standby_action a;
	bool again;

	do {
		while (standby_next(g->s.standby, &a)) {
			standby_action_route(g, now, &a);
			standby_action_clear(&a);
		}
		disks_pump(g);
		if (!may_load(g, now))
			break;
		again = !wants_refresh(g, now);
		if (again)
			load(g, now);
		else
			refresh(g);
	} while (again);
	try_take_over(g, now);
}

/* Only a pair that counts on the copy can lose it; one that takes over has nobody else. */
static uint64_t
hang_deadline(const struct guard *g)
{
	uint64_t since = standby_waiting_since(g->s.standby);

	if (g->failover.state != FAILOVER_PROTECTED)
		return UINT64_MAX;
	if (since != UINT64_MAX)
		return MAX(since, g->awake_since) + GUARD_COPY_HANG_NS + standby_held_bytes(g->s.standby) * GUARD_LOAD_NS_PER_BYTE;
	return g->s.load_wanted ? MAX(g->s.disk_moved_at, g->awake_since) + GUARD_DISK_HANG_NS : UINT64_MAX;
}

/* Passive: loads are put off, but what waits for one is time that a take-over would take. */
static uint64_t
lazy_deadline(const struct guard *g)
{
	const struct guard_config *c = g->config;
	uint64_t limit = MIN(GUARD_LAZY_BYTES, c->max_checkpoint_bytes / 2);

	if (!g->s.passive || g->s.load_wanted || !standby_can_load(g->s.standby))
		return UINT64_MAX;
	if (standby_held_bytes(g->s.standby) > limit || disk_queue_bytes(g->s.disks) > MIN(GUARD_LAZY_BYTES, c->max_disk_bytes / 2))
		return 0;
	return g->s.loaded_at + GUARD_LAZY_NS;
}

/*
 * A copy that has reset itself is mended by the next load. Until then there is nobody to take over, so it is not left to the end of the epoch: what waits for a
 * load is loaded, and if nothing does the peer is asked for a checkpoint. While a load is on its way that one is waited for.
 */
static uint64_t
repair_deadline(const struct guard *g)
{
	if (g->failover.state != FAILOVER_PROTECTED || g->failover.fit || g->s.spoiled || g->s.load_wanted || standby_loading(g->s.standby))
		return UINT64_MAX;
	if (standby_settled(g->s.standby))
		return g->s.repair_after;
	return standby_can_load(g->s.standby) ? 0 : UINT64_MAX;
}

void
standby_side_repair(struct guard *g, uint64_t now)
{
	uint64_t loaded = standby_loaded_epoch(g->s.standby);

	if (now < repair_deadline(g))
		return;
	if (!standby_settled(g->s.standby)) {
		standby_load_now(g->s.standby, now);
	} else {
		g->s.repair_after = now + GUARD_REPAIR_NS;
		guard_send_u64(g, PEER_COPY_UNFIT, 1, &loaded);
	}
}

uint64_t
standby_side_deadline(const struct guard *g)
{
	uint64_t off = g->s.load_wanted && g->s.off_until ? g->s.off_until : UINT64_MAX;

	return MIN(MIN(MIN(hang_deadline(g), g->s.credit_due), MIN(lazy_deadline(g), repair_deadline(g))), MIN(g->s.live_due, off));
}

void
standby_side_tick(struct guard *g, uint64_t now)
{
	if (now >= g->s.off_until)
		g->s.off_until = 0;
	if (now >= hang_deadline(g))
		guard_qemu_hung(g, now);
	if (now >= lazy_deadline(g))
		standby_load_now(g->s.standby, now);
	if (now >= g->s.credit_due)
		tell_credit(g);
	if (now >= g->s.live_due) {
		g->s.live_due = UINT64_MAX;
		if (failover_may_speak_alone(&g->failover))
			g->env.op_start(g->ctx, GUARD_OP_STANDBY_LIVE);
	}
	standby_side_repair(g, now);
	standby_side_pump(g, now);
}

/* Said by LIVE on the fast connection and by the first BEGIN on the bulk one, whichever is here first. */
static void
went_live(struct guard *g, uint64_t now)
{
	if (!g->s.live)
		standby_live(g->s.standby, now);
	g->s.live = true;
}

/* The cache is as large as the primary's, by ftd's word to both; a guard that gets no packed pieces needs none. */
static void
packed_frame(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	enum unpack_fault fault;
	uint64_t epoch;
	g_autoptr(GBytes) data = NULL;

	if (!g->s.unpacker)
		g->s.unpacker = unpacker_new(g->config->page_cache_bytes);
	fault = unpacker_take(g->s.unpacker, frame->payload, frame->length, &epoch, &data);
	if (fault)
		standby_checkpoint_damaged(g->s.standby, now, unpack_fault_text(fault));
	else
		standby_checkpoint_data(g->s.standby, now, epoch, data);
}

static void
checkpoint_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint64_t epoch = byte_reader_be64(&r);

	if (frame->type == PEER_CHECKPOINT_DATA && !r.bad && r.left) {
		g_autoptr(GBytes) data = g_bytes_new_from_bytes(payload, 8, r.left);
		standby_checkpoint_data(g->s.standby, now, epoch, data);
		return;
	}
	if (frame->type == PEER_CHECKPOINT_BEGIN && byte_reader_done(&r)) {
		went_live(g, now);
		standby_checkpoint_begin(g->s.standby, now, epoch);
		return;
	}
	if (frame->type == PEER_CHECKPOINT_SEAL) {
		uint64_t length = byte_reader_be64(&r), checksum = byte_reader_be64(&r);
		if (byte_reader_done(&r)) {
			standby_checkpoint_seal(g->s.standby, now, epoch, length, checksum);
			return;
		}
	}
	guard_data_failed(g, now, "%s of %u bytes", peer_type_name(frame->type), frame->length);
}

static void
on_arm(struct guard *g, uint64_t now)
{
	static const char text[] = "a standby whose state cannot be written does not count as one";

	guard_policy(g, now, FAILOVER_EV_ARM, FAILOVER_REASON_NONE);
	if (!g->written) {
		guard_send(g, PEER_FAIL, text, strlen(text), NULL);
		guard_policy(g, now, FAILOVER_EV_QEMU_DIED, FAILOVER_REASON_DISK_ERROR);
		return;
	}
	guard_set_phase(g, GUARD_PHASE_RUN);
	guard_send(g, PEER_ARMED, NULL, 0, NULL);
	guard_event(g, "protected", "%s stands by for %s", g->config->self, g->config->domain);
}

static void
disk_mark(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint64_t epoch = byte_reader_be64(&r);

	if (!byte_reader_done(&r))
		guard_data_failed(g, now, "DISK_MARK of %u bytes", frame->length);
	else
		standby_disk_mark(g->s.standby, now, epoch);
}

/* Whenever it comes: until the next load the copy goes on as before. */
static void
on_mode(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint16_t passive = byte_reader_be16(&r);

	if (!byte_reader_done(&r) || passive > 1) {
		guard_data_failed(g, now, "MODE of %u bytes", frame->length);
		return;
	}
	g->s.passive = passive;
	standby_proxy_set_passive(g->s.proxy, passive);
	standby_set_lazy(g->s.standby, now, passive);
}

static void
refuse_switchover(struct guard *g)
{
	uint8_t payload[10] = { 0 };

	G_STATIC_ASSERT(PEER_SWITCHOVER_OFF == 0);
	guard_send(g, PEER_SWITCHOVER, payload, sizeof payload, NULL);
}

/* The primary hands over. PREPARE: what is committed up to an epoch is loaded at once; what follows is loaded with the last checkpoint, in one go. TAKE_OVER: either its
 * guest stands at the end of that one, which is here, or nothing was committed since, and the copy goes on as it runs. */
static void
on_switchover(struct guard *g, uint64_t now, const struct peer_frame *frame)
{
	struct byte_reader r = byte_reader_init(frame->payload, frame->length);
	uint16_t what = byte_reader_be16(&r);
	uint64_t value = byte_reader_be64(&r);

	if (!byte_reader_done(&r) || what > PEER_SWITCHOVER_TAKE_OVER) {
		guard_data_failed(g, now, "SWITCHOVER of %u bytes", frame->length);
		return;
	}
	g->s.eager_to = what == PEER_SWITCHOVER_PREPARE ? value : 0;
	g->s.handed_over = what != PEER_SWITCHOVER_OFF;
	if (what != PEER_SWITCHOVER_OFF)
		standby_load_now(g->s.standby, now);
	if (what == PEER_SWITCHOVER_PREPARE && (g->failover.state != FAILOVER_PROTECTED || !g->failover.fit))
		refuse_switchover(g);
	if (what != PEER_SWITCHOVER_TAKE_OVER)
		return;
	g->gap_from = now - MIN(value, now);
	guard_policy(g, now, FAILOVER_EV_OPERATOR_SWITCHOVER, FAILOVER_REASON_OPERATOR_SWITCHOVER);
	if (g->failover.state != FAILOVER_ASKING)
		refuse_switchover(g);
}

void
standby_side_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload)
{
	if (frame->type == PEER_STRAY || frame->type == PEER_UNSENT || (frame->type == PEER_INBOUND && g->s.going_live)) {
		primarys_frame(g, now, frame, payload);	/* their time is just now: while this side decides, and after */
		return;
	}
	if (g->s.going_live || g->failover.state == FAILOVER_DECIDING || g->failover.state == FAILOVER_YIELDED)
		return;		/* the pair is being dissolved: nothing more is taken from the other side */
	switch ((int)frame->type) {
	case PEER_STREAM:
		guard_set_phase(g, GUARD_PHASE_MEMORY);
		standby_stream(g->s.standby, now, payload);
		break;
	case PEER_LIVE:
		went_live(g, now);
		break;
	case PEER_ARM:
		on_arm(g, now);
		break;
	case PEER_MODE:
		on_mode(g, now, frame);
		break;
	case PEER_SWITCHOVER:
		on_switchover(g, now, frame);
		break;
	case PEER_INBOUND:
		primarys_frame(g, now, frame, payload);
		return;
	case PEER_TWIN_LEFT:
		twin_left(g, now, frame);
		return;
	case PEER_CHECKPOINT_BEGIN:
	case PEER_CHECKPOINT_DATA:
	case PEER_CHECKPOINT_SEAL:
		checkpoint_frame(g, now, frame, payload);
		break;
	case PEER_CHECKPOINT_PACKED:
		packed_frame(g, now, frame);
		break;
	case PEER_DISK_WRITE:
	case PEER_DISK_ZERO:
	case PEER_DISK_TRIM:
		disk_frame(g, now, frame, payload);
		break;
	case PEER_DISK_MARK:
		disk_mark(g, now, frame);
		break;
	case PEER_DISK_COMPARE:
		comparison_frame(g, now, frame, payload);
		break;
	default:
		guard_data_failed(g, now, "the primary sent %s", peer_type_name(frame->type));
		return;
	}
	standby_side_pump(g, now);
}

/* -- the ends ------------------------------------------------------------------------------------------------------------------------------ */

void
standby_side_freeze(struct guard *g, uint64_t now)
{
	standby_peer_lost(g->s.standby, now);
	standby_side_pump(g, now);
}

void
standby_side_go_solo(struct guard *g, uint64_t now)
{
	g->s.going_live = true;
	if (!g->gap_from || g->failover.reason != FAILOVER_REASON_OPERATOR_SWITCHOVER)
		g->gap_from = g->liveness.heard_at;
	standby_side_pump(g, now);
}

static void
push(struct guard *g)
{
	for (unsigned nic = 0; nic < g->config->n_nics; nic++)
		standby_proxy_push(g->s.proxy, nic);
	proxy_pump(g);
}

static void
speak(struct guard *g, uint64_t now)
{
	g->env.speaks(g->ctx);
	g->s.speaks = true;
	g->gap_ns = now - g->gap_from;
	announce(g);
	standby_proxy_speak(g->s.proxy);
	push(g);
	g->s.live_due = now + GUARD_LIVE_DELAY_NS;
}

/* Once its QEMU has died, and it is fenced, nothing of a take-over goes on. */
static void
take_over_goes_on(struct guard *g, uint64_t now, enum guard_op done)
{
	if (!failover_may_speak_alone(&g->failover))
		return;
	switch ((int)done) {
	case GUARD_OP_STANDBY_WAKE:
		g->env.op_start(g->ctx, GUARD_OP_STANDBY_COMMIT);
		break;
	case GUARD_OP_STANDBY_COMMIT:
		speak(g, now);
		break;
	case GUARD_OP_STANDBY_LIVE:
		push(g);
		g->env.op_start(g->ctx, GUARD_OP_STANDBY_OPEN);
		break;
	case GUARD_OP_STANDBY_OPEN:
		g->env.filters_drain(g->ctx);
		guard_event(g, "took-over", "%s runs on %s", g->config->domain, g->config->self);
		g->env.op_start(g->ctx, GUARD_OP_STANDBY_FINISH);
		break;
	case GUARD_OP_STANDBY_FINISH:
		guard_policy(g, now, FAILOVER_EV_SETTLED, g->failover.reason);
		break;
	default:
		g_assert_not_reached();
	}
}

void
standby_side_op_done(struct guard *g, uint64_t now, enum guard_op op)
{
	switch ((int)op) {
	case GUARD_OP_STANDBY_ATTACH:
		guard_started(g, NULL);
		break;
	case GUARD_OP_STANDBY_PAUSE:
		g->s.pausing = false;
		standby_side_pump(g, now);
		break;
	case GUARD_OP_STANDBY_REFRESH:
		g->s.refreshing = false;
		g->s.refreshed = true;
		standby_side_pump(g, now);
		break;
	default:
		take_over_goes_on(g, now, op);
	}
}
