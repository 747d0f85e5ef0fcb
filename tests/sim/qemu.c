/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU as the guard meets it: the bytes of migration with x-colo on both ends (migration/colo.c), net filters whose far ends are the guard's, a mirror of
 * the disk, an overlay under the standby. What matters is order: a stop puts every frame into the filters' sockets and has every disk write answered
 * before VMSTATE_SEND or REPLY is written; the SVM runs a little before LOADED is read.
 */
#include "tests/sim/sim.h"

#include <string.h>
#include <xxhash.h>

#include "tests/checkpoint/stream.h"

#define DEVICE_BYTES 16
#define WISH_SETTLES (300 * MS)	/* a suspension is held, a resumption known */

G_STATIC_ASSERT(RAM_BLOCK0 == 8);

void
qemu_init(struct qemu *q, struct world *w, unsigned host)
{
	q->w = w;
	q->host = host;
	q->in = g_byte_array_new();
	q->copying = g_hash_table_new(g_direct_hash, g_direct_equal);
	g_queue_init(&q->rx);
}

static void
rx_clear(struct qemu *q)
{
	g_queue_clear_full(&q->rx, (GDestroyNotify)g_bytes_unref);
}

void
qemu_clear(struct qemu *q)
{
	rx_clear(q);
	g_byte_array_unref(q->in);
	g_hash_table_unref(q->copying);
	migration_reader_free(q->reader);
}

static struct proc *
guard_of(const struct qemu *q)
{
	return &q->w->host[q->host].p;
}

static void drained(struct qemu *q);

/* -- running --------------------------------------------------------------------------------------------------------------------------- */

static void
on_run(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->kicked || e->at < q->kick_at)
		return;
	q->kicked = false;
	if (!q->alive || !q->running)
		return;
	guest_run(q);
	qemu_kick(q, 10 * MS);
}

void
qemu_kick(struct qemu *q, uint64_t delay)
{
	uint64_t at = q->w->now + delay;

	if (q->kicked && q->kick_at <= at)
		return;
	q->kicked = true;
	q->kick_at = at;
	later(q->w, delay, &(struct event){ .fn = on_run, .of_qemu = true, .host = q->host, .life = q->life });
}

static void
wake(struct qemu *q)
{
	qemu_kick(q, between(q->w, 20 * US, chance(q->w, 5) ? 10 * q->w->guest_delay : q->w->guest_delay));
}

static void
start_cpus(struct qemu *q)
{
	if (!q->running && q->net == NET_FILTERED) {
		guard_of(q)->starts[guard_of(q)->next_start++ % GUARD_STARTS_MAX] = q->w->now;
		proc_guest_started(guard_of(q));
	}
	q->running = true;
	q->machine = MACHINE_ON;
	wake(q);
}

/* The STOP event goes from QEMU through libvirt and ftd to the guard. */
static void
stop_cpus(struct qemu *q)
{
	if (q->running && q->net == NET_FILTERED && (!guard_of(q)->tell_starts || chance(q->w, 30)))
		proc_tell(guard_of(q), ITEM_STOPPED, between(q->w, 100 * US, 20 * MS), q->w->now);
	q->running = false;
}

void
qemu_stop(struct qemu *q)
{
	stop_cpus(q);
	drained(q);
}

/* Nothing has come between the wish and now that its guard could not have known of, or that ended its part in it. */
static bool
wish_counts(const struct qemu *q, uint64_t number)
{
	const struct proc *p = guard_of(q);

	return q->wish == number && q->net == NET_FILTERED && proc_live(p) && p->paused_until < q->wished_at && q->hung_until < q->wished_at &&
	       guard_state(p->g) == FAILOVER_PROTECTED && guard_current_phase(p->g) == GUARD_PHASE_RUN && p->g->p.live_at < q->wished_at;
}

/* In which case a stop cannot be told from the checkpoint's, and the checkpoint starts the guest again. */
static bool
within_checkpoint(const struct qemu *q)
{
	const struct guard_primary *p = &guard_of(q)->g->p;

	for (unsigned i = 0; i < GUARD_STOPS_KEPT; i++)
		if (q->wished_at + GUARD_STOP_SLACK_NS >= p->stops[i].from && q->wished_at <= p->stops[i].to + GUARD_STOP_SLACK_NS)
			return true;
	return false;
}

static void
on_suspension_due(struct world *w, struct event *e)
{
	const struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !wish_counts(q, e->a) || within_checkpoint(q))
		return;
	if (q->running || !guard_is_suspended(guard_of(q)->g))
		violated(w, "suspended", "the guest on %c was suspended %d ms ago, and %s", NAME(q->host), (int)(e->b / MS),
			 q->running ? "runs" : "its guard does not know");
}

static void
on_resumption_due(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;
	const struct guard_primary *p = &guard_of(q)->g->p;
	bool stands = !q->running && (q->colo == COLO_OUT_RUNNING || q->colo == COLO_OUT_REQUESTED);

	if (e->life != q->life || !wish_counts(q, e->a) || !(stands || p->suspend != SUSPEND_NONE))
		return;
	/* A checkpoint had begun when the guard heard of the suspension: whoever started the guest, it was stopped again. */
	if (p->own_stop_at > q->wished_at && p->resumed_at > p->suspended_at)
		q->wish_lost = true;
	else
		violated(w, "suspended", "the guest on %c was resumed %d ms ago, and %s", NAME(q->host), (int)(e->b / MS), stands ? "stands" : "its guard does not know");
}

static void
wish_for(struct qemu *q, bool to_stand)
{
	const struct proc *p = guard_of(q);

	/* One upon the other, and while the guard sleeps or QEMU has just hung: there is no telling in which order it hears of them. */
	if ((to_stand && q->wish && q->w->now < q->wished_at + WISH_SETTLES) || p->paused_until > q->wished_at || q->hung_until + WISH_SETTLES > q->w->now)
		q->wish_lost = true;
	q->suspended = to_stand;
	q->wished_at = q->w->now;
	q->wish++;
	if (!q->wish_lost && proc_live(p) && guard_state(p->g) == FAILOVER_PROTECTED)
		later(q->w, WISH_SETTLES, &(struct event){ .fn = to_stand ? on_suspension_due : on_resumption_due, .host = q->host, .life = q->life,
			.a = q->wish, .b = WISH_SETTLES });
}

static void
on_suspend(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || q->suspended || !q->running)	/* libvirt does nothing to a domain that is paused, a checkpoint's included */
		return;
	wish_for(q, true);
	qemu_stop(q);
}

/* A wish that comes while the guard takes leave of QEMU is lost, and one that a checkpoint has made ambiguous. */
void
qemu_look_after(struct qemu *q)
{
	if (!q->alive || q->running || q->hung_until > q->w->now)
		return;
	if (q->net == NET_DIRECT || (q->wish_lost && q->net == NET_FILTERED && guard_of(q)->alive && guard_is_suspended(guard_of(q)->g))) {
		say(q->w, (int)q->host, "an administrator finds the guest suspended, and resumes it");
		q->suspended = false;
		start_cpus(q);
	}
}

/* In a checkpoint's stop the command is taken, and it is vm_start() that starts the guest. */
static void
on_resume(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->suspended)
		return;
	/* Its guard does not know yet that the guest stands, and a checkpoint has been made since: whoever started it, it will be stopped. */
	q->wish_lost |= q->net == NET_FILTERED && proc_live(guard_of(q)) && guard_of(q)->g->p.suspend != SUSPEND_DONE && guard_of(q)->g->p.resumed_at > q->wished_at;
	wish_for(q, false);
	if (q->running)
		return;
	if (q->colo == COLO_OUT_STOPPING || q->colo == COLO_OUT_SENT || q->colo == COLO_OUT_INITIAL)
		proc_guest_started(guard_of(q));
	else
		start_cpus(q);
}

void
qemu_suspend(struct qemu *q)
{
	later(q->w, 0, &(struct event){ .fn = on_suspend, .of_qemu = true, .host = q->host, .life = q->life });
}

void
qemu_resume(struct qemu *q)
{
	later(q->w, 0, &(struct event){ .fn = on_resume, .of_qemu = true, .host = q->host, .life = q->life });
}

/* -- off and on again --------------------------------------------------------------------------------------------------------------------------- */

/*
 * A reboot by libvirt (qemuProcessFakeReboot()): the guest switches itself off, is reset, and is started. In between its state is PRELAUNCH, from which there is no way to
 * COLO: a checkpoint or a load that begins then aborts QEMU. A guard hears of the first step long before the second one; the shell of a standby's hears of all three.
 */

static uint64_t
word_takes(const struct qemu *q)
{
	return q->net == NET_FILTERED ? between(q->w, 100 * US, 5 * MS) : between(q->w, 10 * US, 200 * US);
}

static bool
in_colo_step(const struct qemu *q)
{
	return q->colo == COLO_OUT_INITIAL || q->colo == COLO_OUT_STOPPING || q->colo == COLO_OUT_SENT || qemu_loading(q);
}

static void
on_machine_start(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || q->machine != MACHINE_PRELAUNCH)
		return;
	start_cpus(q);
	proc_tell(guard_of(q), ITEM_ON, word_takes(q), 0);
}

static void
on_machine_reset(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || q->machine != MACHINE_OFF || in_colo_step(q))
		return;
	q->machine = MACHINE_PRELAUNCH;
	if (q->net == NET_STANDBY) {
		qemu_reset_copy(q);
		proc_tell(guard_of(q), ITEM_PRELAUNCH, word_takes(q), 0);
	}
	later(w, between(w, MS, 20 * MS), &(struct event){ .fn = on_machine_start, .of_qemu = true, .host = q->host, .life = q->life });
}

void
qemu_switch_off(struct qemu *q)
{
	if (!q->alive || !q->running || q->suspended || q->hung_until > q->w->now || (q->net == NET_STANDBY && q->colo != COLO_IN_IDLE))
		return;
	q->machine = MACHINE_OFF;
	q->running = false;
	if (!guard_of(q)->live && q->net == NET_STANDBY)
		q->w->host[q->host].damaged = true;	/* as when it is reset, which follows: not fit from now on */
	proc_tell(guard_of(q), ITEM_OFF, word_takes(q), 0);
	later(q->w, between(q->w, 6 * MS, 30 * MS), &(struct event){ .fn = on_machine_reset, .of_qemu = true, .host = q->host, .life = q->life });
	drained(q);
}

void
qemu_let_run(struct qemu *q)
{
	if (q->alive && q->machine == MACHINE_PRELAUNCH)
		start_cpus(q);
}

/* A checkpoint or a load begins. False: QEMU ends. */
static bool
may_begin(struct qemu *q)
{
	if (q->machine == MACHINE_PRELAUNCH) {
		say(q->w, (int)q->host, "QEMU aborts: from PRELAUNCH there is no way to COLO");
		q->w->host[q->host].damaged = q->w->host[q->host].copy_lost = true;
		qemu_kill(q);
		proc_tell(guard_of(q), ITEM_QEMU_GONE, rnd(q->w, 2 * MS), 0);
		return false;
	}
	q->machine = MACHINE_ON;	/* it is started at the end, off or not */
	return true;
}

/* -- network ------------------------------------------------------------------------------------------------------------------------------- */

static void
on_lan(struct world *w, struct event *e)
{
	if (w->host[e->host].power && e->life == w->host[e->host].q.life)
		lan_enter(w, e->host, e->bytes);
}

void
lan_from_host(struct world *w, unsigned host, GBytes *frame, uint64_t life)
{
	struct qemu *q = &w->host[host].q;
	uint64_t at = w->now + between(w, 10 * US, 60 * US);

	q->lan_last = at = MAX(at, q->lan_last + 1);
	later(w, at - w->now, &(struct event){ .fn = on_lan, .host = host, .life = life, .bytes = frame });
}

void
qemu_transmit(struct qemu *q, GBytes *frame)
{
	switch (q->net) {
	case NET_DIRECT:
		lan_from_host(q->w, q->host, frame, q->life);
		return;
	case NET_FILTERED:
		if (broken == BREAK_HOLD)
			lan_from_host(q->w, q->host, g_bytes_ref(frame), q->life);
		proc_push(guard_of(q), SRC_OUT, ITEM_DATA, frame, 0, 0);
		return;
	case NET_STANDBY:
		proc_push(guard_of(q), SRC_CAP, ITEM_DATA, frame, 0, 0);
		return;
	case NET_SHUT:
		break;
	}
	g_bytes_unref(frame);
}

static void
receive(struct qemu *q, GBytes *frame)
{
	g_queue_push_tail(&q->rx, g_bytes_ref(frame));
	if (q->running)
		wake(q);
}

static void
on_hear(struct world *w, struct event *e)
{
	if (e->life == w->host[e->host].q.life)
		qemu_hear(&w->host[e->host].q, e->bytes);
}

void
qemu_hear(struct qemu *q, GBytes *frame)
{
	if (!q->alive)
		return;
	if (q->hung_until > q->w->now) {	/* the tap keeps it */
		later(q->w, 0, &(struct event){ .fn = on_hear, .of_qemu = true, .host = q->host, .life = q->life, .bytes = g_bytes_ref(frame) });
		return;
	}
	if (q->net == NET_FILTERED)
		proc_push(guard_of(q), SRC_MIR, ITEM_DATA, g_bytes_ref(frame), 0, 0);
	if (q->net == NET_DIRECT || q->net == NET_FILTERED)
		receive(q, frame);
}

void
qemu_inject(struct qemu *q, GBytes *frame)
{
	if (q->alive && q->net != NET_SHUT)
		receive(q, frame);
}

/* -- disk ---------------------------------------------------------------------------------------------------------------------------------- */

void
qemu_disk_view(const struct qemu *q, uint8_t out[DISK_BYTES])
{
	memcpy(out, q->disk, DISK_BYTES);
	for (unsigned s = 0; s < SECTORS && q->has_overlay; s++)
		if (q->in_overlay[s])
			memcpy(out + s * SECTOR, q->overlay + s * SECTOR, SECTOR);
}

void
qemu_commit_overlay(struct qemu *q)
{
	qemu_disk_view(q, q->disk);
	q->has_overlay = false;
}

static void
write_ends(struct qemu *q)
{
	if (!q->write_out || !q->write_local || !q->write_remote)
		return;
	q->write_out = false;
	guest_core(&q->guest)->n_done = q->write_n;
	if (q->running)
		wake(q);
	drained(q);
}

static void
on_local_write(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;
	uint8_t *disk = q->has_overlay ? q->overlay : q->disk;

	if (e->life != q->life || !q->alive)
		return;
	memcpy(disk + e->a * SECTOR, g_bytes_get_data(e->bytes, NULL), SECTOR);
	if (q->has_overlay)
		q->in_overlay[e->a] = true;
	q->write_local = true;
	write_ends(q);
}

static void
mirror(struct qemu *q, uint64_t offset, GBytes *data)
{
	proc_push(guard_of(q), SRC_NBD, ITEM_DATA, data, ++q->cookie, offset);
}

void
qemu_disk_write(struct qemu *q, uint32_t n, uint32_t value)
{
	uint8_t data[SECTOR];
	uint64_t sector = n % SECTORS;
	GBytes *bytes;

	sector_fill(data, n, value);
	bytes = g_bytes_new(data, SECTOR);
	q->write_out = true;
	q->write_n = n;
	q->write_local = false;
	q->write_remote = !q->mirror;
	if (broken == BREAK_MIRROR_ERROR && q->mirror && q->epoch > 1 && chance(q->w, 2))
		q->mirror_broken = true;
	if (q->mirror && q->mirror_broken) {
		q->write_remote = true;
	} else if (q->mirror) {
		mirror(q, sector * SECTOR, g_bytes_ref(bytes));
		q->write_cookie = q->cookie;
	}
	later(q->w, between(q->w, 20 * US, q->w->host[q->host].disk_ns), &(struct event){ .fn = on_local_write, .of_qemu = true, .host = q->host, .life = q->life, .bytes = bytes, .a = sector });
}

static void
copy_ends(struct qemu *q)
{
	if (g_hash_table_size(q->copying) != 0)
		return;
	guard_of(q)->ops_open &= ~(1u << GUARD_OP_DISKS);
	proc_push(guard_of(q), SRC_OPS, ITEM_DATA, NULL, GUARD_OP_DISKS, 0);
}

void
qemu_nbd_reply(struct qemu *q, uint64_t cookie)
{
	if (g_hash_table_remove(q->copying, GSIZE_TO_POINTER(cookie)))
		copy_ends(q);
	if (q->write_out && q->write_cookie == cookie) {
		q->write_remote = true;
		write_ends(q);
	}
}

void
qemu_start_mirror(struct qemu *q)
{
	const size_t piece = DISK_BYTES / 4;

	q->mirror = true;
	q->mirror_broken = false;
	for (unsigned i = 0; i < 4; i++) {
		mirror(q, i * piece, g_bytes_new(q->disk + i * piece, piece));
		g_hash_table_add(q->copying, GSIZE_TO_POINTER(q->cookie));
	}
	/* A write under way that reaches the disk after this copy of it: the mirror's dirty bitmap would send it again. */
	if (q->write_out && !q->write_local) {
		uint8_t data[SECTOR];
		sector_fill(data, q->write_n, guest_value_of(&q->guest, q->write_n));
		mirror(q, q->write_n % SECTORS * SECTOR, g_bytes_new(data, SECTOR));
		g_hash_table_add(q->copying, GSIZE_TO_POINTER(q->cookie));
	}
}

/* -- the migration stream, both ways ----------------------------------------------------------------------------------------------------------- */

static void
to_guard(struct qemu *q, GByteArray *b)
{
	for (guint at = 0; at < b->len;) {
		guint n = b->len - at;
		if (n > 8 && chance(q->w, 30))
			n = (guint)between(q->w, 1, n);
		proc_push(guard_of(q), SRC_MIG, ITEM_DATA, g_bytes_new(b->data + at, n), 0, 0);
		at += n;
	}
	g_byte_array_unref(b);
}

static void
message_to_guard(struct qemu *q, enum colo_message m)
{
	GByteArray *b = g_byte_array_new();

	put(b, m, 4);
	to_guard(q, b);
}

static void
put_ram_page(struct qemu *q, GByteArray *b, unsigned page, bool named)
{
	static const uint8_t zero[PAGE_BYTES];
	unsigned block = page >= RAM_BLOCK0;
	const uint8_t *data = q->guest.page[page];
	bool empty = memcmp(data, zero, PAGE_BYTES) == 0;

	named = named || block != q->last_block;
	put(b, (page - block * RAM_BLOCK0) * PAGE_BYTES | (empty ? RAM_FLAG_ZERO : RAM_FLAG_PAGE) | (named ? 0u : RAM_FLAG_CONTINUE), 8);
	if (named)
		put_name(b, test_blocks[block].name);
	g_byte_array_append(b, data, empty ? 1 : PAGE_BYTES);
	q->last_block = block;
	memcpy(q->shadow.page[page], data, PAGE_BYTES);
}

static void
put_devices(struct qemu *q, GByteArray *b)
{
	put(b, q->epoch, 8);
	put(b, XXH3_64bits(&q->guest, sizeof q->guest), 8);
}

static void
remember(struct qemu *q)
{
	struct world *w = q->w;

	if (w->snapshots->len <= q->epoch)
		g_ptr_array_set_size(w->snapshots, (gint)q->epoch + 1);
	g_free(w->snapshots->pdata[q->epoch]);
	w->snapshots->pdata[q->epoch] = g_memdup2(&q->guest, sizeof q->guest);
	if (q->epoch > 100) {
		g_free(w->snapshots->pdata[q->epoch - 100]);
		w->snapshots->pdata[q->epoch - 100] = NULL;
	}
}

static void
send_initial(struct qemu *q)
{
	GByteArray *b = g_byte_array_new();

	q->epoch = 0;
	put_head(b);
	put_section_end(b);
	put_section(b, QEMU_VM_SECTION_END);
	for (unsigned p = 0; p < RAM_PAGES; p++)
		put_ram_page(q, b, p, p == 0);
	put_section_end(b);
	put_devices(q, b);
	if (q->w->described)
		put_description(b);
	remember(q);
	to_guard(q, b);
}

static void
send_checkpoint(struct qemu *q)
{
	GByteArray *b = g_byte_array_new();

	q->colo = COLO_OUT_SENT;
	put(b, COLO_VMSTATE_SEND, 4);
	put_section(b, QEMU_VM_SECTION_END);
	for (unsigned p = 0; p < RAM_PAGES; p++)
		if (memcmp(q->guest.page[p], q->shadow.page[p], PAGE_BYTES) != 0)
			put_ram_page(q, b, p, false);
	put_section_end(b);
	put(b, QEMU_VM_EOF, 1);
	put(b, COLO_VMSTATE_SIZE, 4);
	put(b, DEVICE_BYTES, 8);
	put_devices(q, b);
	remember(q);
	to_guard(q, b);
}

/* The guest stands and nothing of it is under way any more. */
static void
drained(struct qemu *q)
{
	if (q->running || q->write_out)
		return;
	if (q->colo == COLO_OUT_INITIAL && q->in->len == 0 && q->epoch == UINT64_MAX)
		send_initial(q);
	else if (q->colo == COLO_OUT_STOPPING)
		send_checkpoint(q);
	else if (q->colo == COLO_IN_IDLE && q->machine == MACHINE_ON) {
		q->colo = COLO_IN_REPLIED;
		migration_reader_begin_checkpoint(q->reader);
		message_to_guard(q, COLO_REPLY);
	}
}

static void
on_stop(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->alive || (q->colo != COLO_OUT_INITIAL && q->colo != COLO_OUT_STOPPING && q->colo != COLO_IN_IDLE))
		return;
	if (!q->running && q->write_out && q->suspended) {	/* somebody else's stop waits for it, and has the big lock */
		later(w, MS, &(struct event){ .fn = on_stop, .of_qemu = true, .host = q->host, .life = q->life });
		return;
	}
	stop_cpus(q);
	drained(q);
}

static void
stop_soon(struct qemu *q)
{
	later(q->w, between(q->w, 50 * US, 500 * US), &(struct event){ .fn = on_stop, .of_qemu = true, .host = q->host, .life = q->life });
}

void
qemu_start_migration(struct qemu *q)
{
	q->colo = COLO_OUT_INITIAL;
	q->w->described = q->w->story || chance(q->w, 80);
	q->epoch = UINT64_MAX;
	q->last_block = UINT_MAX;
	g_byte_array_set_size(q->in, 0);
	stop_soon(q);
}

static void
on_request_due(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->alive || q->colo != COLO_OUT_RUNNING)
		return;
	q->colo = COLO_OUT_REQUESTED;
	message_to_guard(q, COLO_REQUEST);
}

static void
run_epoch(struct qemu *q)
{
	if (q->suspended && guard_of(q)->alive && guard_of(q)->g->p.suspend == SUSPEND_DONE)
		violated(q->w, "suspended", "the guest on %c is to stand, and a checkpoint starts it", NAME(q->host));
	q->colo = COLO_OUT_RUNNING;
	q->epoch++;
	start_cpus(q);
	later(q->w, MS, &(struct event){ .fn = on_request_due, .of_qemu = true, .host = q->host, .life = q->life });
}

/* The way back of the initial migration, then READY and the answers. */
static void
primary_input(struct qemu *q)
{
	guint at = 0;

	while (q->in->len - at >= 4) {
		struct byte_reader r = byte_reader_init(q->in->data + at, q->in->len - at);
		uint16_t type = byte_reader_be16(&r), value = byte_reader_be16(&r);
		if (q->colo == COLO_OUT_INITIAL && type) {
			if (r.left < value)
				break;
			at += 4u + value;
			continue;
		}
		at += 4;
		if ((q->colo == COLO_OUT_INITIAL && value == COLO_READY) || (q->colo == COLO_OUT_SENT && value == COLO_VMSTATE_LOADED)) {
			run_epoch(q);
		} else if (q->colo == COLO_OUT_REQUESTED && value == COLO_REPLY) {
			if (!may_begin(q))
				break;
			q->colo = COLO_OUT_STOPPING;
			stop_soon(q);
		} else if (q->colo != COLO_OUT_SENT || value != COLO_VMSTATE_RECEIVED) {
			violated(q->w, "protocol", "QEMU on %c got message %u in state %d", NAME(q->host), value, q->colo);
		}
	}
	g_byte_array_remove_range(q->in, 0, at);
}

static void
load_pages(struct qemu *q, struct byte_reader in, uint64_t base)
{
	struct migration_event e;

	for (;;) {
		switch (migration_reader_next(q->reader, &in, &e)) {
		case MIGRATION_PAGE: {
			uint8_t *page = q->shadow.page[e.block * RAM_BLOCK0 + e.address / PAGE_BYTES];
			const uint8_t *data = q->in->data + base + e.offset + e.header;
			if (e.zero)
				memset(page, 0, PAGE_BYTES);
			else
				memcpy(page, data, PAGE_BYTES);
			break;
		}
		case MIGRATION_ERROR:
			violated(q->w, "load", "QEMU on %c cannot read a checkpoint: %s", NAME(q->host), migration_reader_error(q->reader));
			return;
		case MIGRATION_CHECKPOINT_END:
		case MIGRATION_NEED_MORE:
			return;
		case MIGRATION_BLOCK:
		case MIGRATION_RAM_COMPLETE:
		case MIGRATION_DEVICE_STATE:
			break;
		}
	}
}

/* The devices are the last thing there is, but for so many bytes. RAM is what colo_cache holds (migration/ram.c, colo_flush_ram_cache()): pages that the SVM wrote go back to it, too. */
static void
take_cache(struct qemu *q, size_t behind)
{
	struct byte_reader r = byte_reader_init(q->in->data + q->in->len - behind - DEVICE_BYTES, DEVICE_BYTES);
	uint64_t epoch = byte_reader_be64(&r), hash = byte_reader_be64(&r);

	memcpy(&q->guest, &q->shadow, sizeof q->guest);
	if (hash != XXH3_64bits(&q->guest, sizeof q->guest))
		violated(q->w, "load", "what %c loaded of epoch %" G_GUINT64_FORMAT " is not what the primary's RAM was", NAME(q->host), epoch);
	q->epoch = epoch + 1;
	q->emitted_from = guest_core(&q->guest)->snd_nxt;
	q->was_reset = false;
	g_byte_array_set_size(q->in, 0);
}

void
qemu_reset_copy(struct qemu *q)
{
	struct proc *p = guard_of(q);

	q->reset_at_load = false;
	if (proc_live(p) && p->g->s.going_live)
		return;		/* that is the VM's own reboot */
	q->w->host[q->host].damaged = true;
	guest_boot(&q->guest);
	q->was_reset = true;
	if (broken != BREAK_FITNESS)
		proc_push(p, SRC_QMP, ITEM_RESET, NULL, 0, 0);
}

static void
on_loaded_message(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->alive || q->colo != COLO_IN_LOADING)
		return;
	q->colo = COLO_IN_IDLE;
	w->loads++;
	message_to_guard(q, COLO_VMSTATE_LOADED);
}

static void
on_load(struct world *w, struct event *e)
{
	struct qemu *q = &w->host[e->host].q;

	if (e->life != q->life || !q->alive || q->colo != COLO_IN_LOADING)
		return;
	load_pages(q, byte_reader_init(q->in->data + 4, q->in->len - 4), 4);
	rx_clear(q);
	memset(q->in_overlay, 0, sizeof q->in_overlay);
	take_cache(q, 0);
	start_cpus(q);
	if (q->reset_at_load)
		qemu_reset_copy(q);
	later(w, between(w, 0, 400 * US), &(struct event){ .fn = on_loaded_message, .of_qemu = true, .host = q->host, .life = q->life });
}

/* Is all of it here? A reader of its own: the real one reads when it is loaded. */
static bool
checkpoint_whole(const struct qemu *q)
{
	size_t n = q->in->len;
	static const uint8_t tail[] = { 0, 0, 0, COLO_VMSTATE_SIZE, 0, 0, 0, 0, 0, 0, 0, DEVICE_BYTES };

	return n > 4 + DEVICE_BYTES + sizeof tail && memcmp(q->in->data + n - DEVICE_BYTES - sizeof tail, tail, sizeof tail) == 0;
}

static void
on_started(struct world *w, struct event *e)
{
	static const uint8_t way_back[] = { 0, 1, 0, 4, 0, 0, 0, 0 };
	struct qemu *q = &w->host[e->host].q;
	GByteArray *b;

	if (e->life != q->life || !q->alive || q->colo != COLO_IN_STARTING)
		return;
	b = g_byte_array_new();
	g_byte_array_append(b, way_back, sizeof way_back);
	put(b, COLO_READY, 4);
	to_guard(q, b);
	q->colo = COLO_IN_IDLE;
	start_cpus(q);
}

/* The devices are loaded, and replication is started (migration/colo.c, colo_process_incoming_thread()). */
static void
initial_input(struct qemu *q)
{
	g_autoptr(migration_reader) look = migration_reader_new(DEVICE_BYTES);
	struct byte_reader in = byte_reader_init(q->in->data, q->in->len);
	size_t description = q->w->described ? DESCRIPTION_BYTES : 0;
	struct migration_event e;
	enum migration_event_type t;

	while ((t = migration_reader_next(look, &in, &e)) != MIGRATION_NEED_MORE && t != MIGRATION_ERROR && t != MIGRATION_RAM_COMPLETE)
		;
	if (t != MIGRATION_RAM_COMPLETE || in.left < 5 + DEVICE_BYTES + description)
		return;
	load_pages(q, byte_reader_init(q->in->data, q->in->len), 0);
	take_cache(q, description);
	q->colo = COLO_IN_STARTING;
	later(q->w, q->w->story ? 200 * US : between(q->w, 200 * US, 4 * q->w->load_ns), &(struct event){ .fn = on_started, .of_qemu = true, .host = q->host, .life = q->life });
}

void
qemu_migration_input(struct qemu *q, GBytes *bytes)
{
	if (!q->alive)
		return;
	g_byte_array_append(q->in, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
	if (q->colo == COLO_IN_INITIAL) {
		initial_input(q);
	} else if (q->colo == COLO_IN_IDLE) {
		g_byte_array_set_size(q->in, 0);	/* REQUEST */
		if (q->restoring)
			violated(q->w, "protocol", "QEMU on %c got REQUEST while it drops translations: it aborts", NAME(q->host));
		if (may_begin(q))
			stop_soon(q);
	} else if (q->colo == COLO_IN_REPLIED) {
		if (!checkpoint_whole(q))
			return;
		q->colo = COLO_IN_LOADING;
		message_to_guard(q, COLO_VMSTATE_RECEIVED);
		later(q->w, between(q->w, 200 * US, q->w->load_ns), &(struct event){ .fn = on_load, .of_qemu = true, .host = q->host, .life = q->life });
	} else if (q->colo != COLO_NONE) {
		primary_input(q);
	}
}

bool
qemu_loading(const struct qemu *q)
{
	return q->colo == COLO_IN_STARTING || q->colo == COLO_IN_REPLIED || q->colo == COLO_IN_LOADING;
}

/* -- life --------------------------------------------------------------------------------------------------------------------------------------- */

void
qemu_leave(struct qemu *q)
{
	q->colo = COLO_NONE;
	q->mirror = false;
	q->write_remote = true;
	g_hash_table_remove_all(q->copying);
	write_ends(q);
	if (!q->running)
		start_cpus(q);	/* migration_iteration_finish(), whoever stopped it */
}

void
qemu_prepare_standby(struct qemu *q)
{
	uint64_t noise = rnd(q->w, UINT32_MAX);

	q->alive = true;
	q->life++;
	q->running = q->suspended = q->reset_at_load = false;
	q->machine = MACHINE_ON;
	q->hung_until = 0;
	q->restoring = false;
	q->kicked = false;
	q->net = NET_STANDBY;
	q->colo = COLO_IN_INITIAL;
	q->has_overlay = true;
	q->mirror = q->write_out = false;
	memset(q->in_overlay, 0, sizeof q->in_overlay);
	memset(&q->guest, 0, sizeof q->guest);
	memset(&q->shadow, 0, sizeof q->shadow);
	for (unsigned i = 0; i < DISK_BYTES && !q->w->image_found; i++)
		q->disk[i] = (uint8_t)(noise >> i % 32);
	rx_clear(q);
	g_byte_array_set_size(q->in, 0);
	migration_reader_free(q->reader);
	q->reader = migration_reader_new(DEVICE_BYTES);
}

void
qemu_kill(struct qemu *q)
{
	if (!q->alive)
		return;
	q->alive = q->running = q->suspended = false;
	q->machine = MACHINE_ON;
	q->life++;
	q->hung_until = 0;
	q->restoring = false;
	q->colo = COLO_NONE;
	rx_clear(q);
}

void
qemu_guard_gone(struct qemu *q)
{
	if (!q->alive || q->net == NET_DIRECT)
		return;
	q->net = broken == BREAK_FAIL_CLOSED ? NET_DIRECT : NET_SHUT;
	q->colo = COLO_NONE;	/* COLO_EXIT: it stays as it is, running or stopped */
	q->mirror = false;
	q->write_remote = true;
	write_ends(q);
}
