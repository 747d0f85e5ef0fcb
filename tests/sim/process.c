/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guard's process: its main loop, its sockets, and struct guard_env. The loop takes what is ready in any order, one thing at a time, as a main loop
 * that was kept waiting may; a paused process finds everything at once when it wakes.
 */
#include "tests/sim/sim.h"

#include <string.h>

#include "checkpoint/colo-message.h"

#define LINGER (5 * MS)		/* shorter than the shell's, both */
#define OP_TIMEOUT (1000 * MS)
#define LOOK (30 * MS)

static void
item_free(gpointer data)
{
	struct item *i = data;

	if (i->bytes)
		g_bytes_unref(i->bytes);
	g_free(i);
}

bool
proc_live(const struct proc *p)
{
	return p->alive && p->w->host[p->host].power;
}

bool
proc_may_speak(const struct proc *p)
{
	return proc_live(p) && failover_may_speak_alone(&p->g->failover);
}

/* Does the process still run when it makes this call? A crash may come between any two of them. */
static bool
calls(struct proc *p)
{
	if (p->alive && p->crash_in && --p->crash_in == 0) {
		say(p->w, (int)p->host, "the guard crashes");
		proc_kill(p);
	}
	return p->alive;
}

static struct qemu *
qemu_of(const struct proc *p)
{
	return &p->w->host[p->host].q;
}

/* -- the main loop ----------------------------------------------------------------------------------------------------------------- */

static void
frame_item(struct proc *p, enum source s, const struct item *i)
{
	static const enum guard_port ports[] = { [SRC_MIR] = GUARD_PORT_MIR, [SRC_OUT] = GUARD_PORT_OUT, [SRC_CAP] = GUARD_PORT_CAP };

	if (p->ports_open)
		guard_frame(p->g, p->w->now, ports[s], 0, i->bytes);
}

static void
link_item(struct proc *p, enum source s, const struct item *i)
{
	enum peer_channel c = s == SRC_FAST ? PEER_CHANNEL_FAST : s == SRC_BULK ? PEER_CHANNEL_BULK : PEER_CHANNEL_DISK;
	struct peer_frame f = { .type = (enum peer_type)i->a, .channel = c, .generation = i->b };

	if (i->kind == ITEM_CLOSED) {
		guard_peer_closed(p->g, p->w->now, c, "closed");
		return;
	}
	if (broken == BREAK_FRAME_GENERATION)
		f.generation = guard_generation(p->g);
	f.payload = g_bytes_get_data(i->bytes, NULL);
	f.length = (uint32_t)g_bytes_get_size(i->bytes);
	guard_peer_frame(p->g, p->w->now, &f, i->bytes);
}

static void
op_item(struct proc *p, const struct item *i)
{
	g_autoptr(GError) error = i->b ? g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "it failed") : NULL;

	if (i->a == GUARD_OP_CONNECT && !error) {
		struct proc *peer = &p->w->host[!p->host].p;
		if (!proc_live(peer)) {
			error = g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "nobody answers");
		} else {
			link_open(p->w);
			guard_peer_linked(peer->g, p->w->now);
			guard_peer_linked(p->g, p->w->now);
		}
	}
	guard_op_done(p->g, p->w->now, (enum guard_op)i->a, error);
	if (i->a != GUARD_OP_STANDBY_COMMIT)
		return;
	check_kept(p->w, p->host);
	check_handed(p->w, p->host);
}

/* libvirt-events-io.c; of a standby, guard-ops-io.c, on_qmp_event(). */
static void
machine_item(struct proc *p, enum item_kind what)
{
	uint64_t now = p->w->now;

	p->knows_off = what != ITEM_ON;
	if (broken == BREAK_OFF)
		return;
	if (guard_is_primary(p->g))
		guard_guest_off(p->g, now, what == ITEM_OFF);
	else if (what == ITEM_OFF)
		guard_copy_off(p->g, now);
	else if (what == ITEM_PRELAUNCH)
		guard_copy_prelaunch(p->g, now);
	else
		guard_copy_runs(p->g, now);
}

static void
word_item(struct proc *p, const struct item *i)
{
	uint64_t now = p->w->now;

	switch (i->kind) {
	case ITEM_QEMU_GONE: guard_qemu_gone(p->g, now); break;
	case ITEM_QEMU_CLOSED:
		p->known_unfit = true;
		guard_qemu_failed(p->g, now, "the migration stream");
		break;
	case ITEM_RESET: guard_copy_reset(p->g, now); break;
	case ITEM_DISABLE: guard_disable(p->g, now); break;
	case ITEM_FAILOVER: guard_failover(p->g, now); break;
	case ITEM_SWITCHOVER:	/* guard-control-io.c refuses the rest */
		if (guard_state(p->g) == FAILOVER_PROTECTED && !guard_is_suspended(p->g))
			guard_switchover(p->g, now);
		break;
	case ITEM_GUEST_ENDED:
		if (guard_state(p->g) == FAILOVER_PROTECTED && !p->w->reg.cut[p->host] && !p->w->reg.empty[p->host] && !p->crash_in)
			p->w->ended_due = now + p->w->reg.delay;
		guard_guest_ended(p->g, now);
		break;
	case ITEM_START: guard_start(p->g, now); break;
	case ITEM_STOPPED: guard_guest_stopped(p->g, now, i->a); break;
	case ITEM_SET_MODE: guard_set_mode(p->g, now, (enum mode)i->a); break;
	case ITEM_STARTED: guard_guest_started(p->g, now, p->starts, MIN(p->next_start, GUARD_STARTS_MAX)); break;
	case ITEM_RESUMED: guard_guest_resumed(p->g, now); break;
	case ITEM_PANICKED: guard_guest_failed(p->g, now, FAILOVER_REASON_GUEST_PANICKED); break;
	case ITEM_DISK_ERROR: guard_guest_failed(p->g, now, FAILOVER_REASON_DISK_ERROR); break;
	case ITEM_OFF:
	case ITEM_PRELAUNCH:
	case ITEM_ON:
		machine_item(p, i->kind);
		break;
	case ITEM_DATA:
	case ITEM_CLOSED:
		g_assert_not_reached();
	}
}

static void
dispatch_item(struct proc *p, enum source s)
{
	struct item *i = g_queue_pop_head(&p->src[s]);
	uint64_t now = p->w->now;

	switch (s) {
	case SRC_MIR:
	case SRC_OUT:
	case SRC_CAP:
		frame_item(p, s, i);
		break;
	case SRC_MIG:
		if (p->migration_open)
			guard_migration_bytes(p->g, now, i->bytes);
		break;
	case SRC_NBD:
		if (p->disks_open)
			guard_disk_request(p->g, now, 0, &(struct nbd_request){ .op = NBD_OP_WRITE, .cookie = i->a, .offset = i->b,
				.length = (uint32_t)g_bytes_get_size(i->bytes), .data = g_bytes_ref(i->bytes) });
		break;
	case SRC_FAST:
	case SRC_BULK:
	case SRC_DISK:
		link_item(p, s, i);
		break;
	case SRC_CLAIM:
		p->asked &= i->a == ARBITER_SILENT;
		guard_claimed(p->g, now, (enum arbiter_verdict)i->a, register_newest(p->w) ? register_record(p->w) : NULL, "timed out");
		break;
	case SRC_OPS:
		op_item(p, i);
		break;
	case SRC_DONE:
		p->known_unfit |= i->b != 0;
		guard_disk_done(p->g, now, i->a, (int)i->b);
		break;
	case SRC_READ:
		guard_disk_read_done(p->g, now, i->a, 0, i->bytes);
		break;
	case SRC_QMP:
		word_item(p, i);
		break;
	case SRC_LAST:
		g_assert_not_reached();
	}
	item_free(i);
}

static bool
ready(const struct proc *p, enum source s)
{
	if (p->src[s].length == 0)
		return false;
	if (s == SRC_MIG)
		return guard_migration_reading(p->g);
	if (s == SRC_NBD)
		return guard_disk_reading(p->g);
	return true;
}

static void schedule(struct proc *p, uint64_t delay);
static void on_timer(struct world *w, struct event *e);

static void
arm(struct proc *p)
{
	uint64_t t = guard_deadline(p->g);

	if (t >= p->armed_for)
		return;
	p->armed_for = t;
	later(p->w, t > p->w->now ? t - p->w->now : 0, &(struct event){ .fn = on_timer, .host = p->host, .life = p->life, .a = t });
}

static void
after(struct proc *p)
{
	if (!proc_live(p))
		return;
	check_release(p->w, p);
	check_claim(p->w, p);
	arm(p);
	for (enum source s = 0; s < SRC_LAST; s++)
		if (ready(p, s)) {
			schedule(p, between(p->w, 1 * US, 10 * US));
			return;
		}
}

static void
on_timer(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;

	if (e->life != p->life || !proc_live(p) || e->a != p->armed_for)
		return;
	if (p->paused_until > w->now) {
		later(w, p->paused_until - w->now, &(struct event){ .fn = on_timer, .host = p->host, .life = p->life, .a = e->a });
		return;
	}
	p->armed_for = UINT64_MAX;
	breaks_before_tick(p);
	guard_tick(p->g, w->now);
	if (proc_live(p) && guard_deadline(p->g) <= w->now)
		violated(w, "deadline", "the guard on %c wants to be looked at again at once, and that would not end", NAME(p->host));
	after(p);
}

/* guard-qemu-io.c */
static void
on_look(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;
	const struct qemu *q = qemu_of(p);
	uint64_t next = w->now + LOOK;

	if (e->life != p->life || !proc_live(p) || !q->alive)
		return;
	if (p->paused_until > w->now) {
		next = p->paused_until;
	} else if (broken != BREAK_STOPPED) {
		guard_qemu_looked(p->g, w->now, q->stopped && q->hung_until > w->now, w->now / 20);
		after(p);
	}
	later(w, next - w->now, &(struct event){ .fn = on_look, .host = p->host, .life = p->life });
}

static void
on_dispatch(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;
	enum source list[SRC_LAST];
	unsigned n = 0;

	if (e->life != p->life || !proc_live(p))
		return;
	p->scheduled = false;
	if (p->paused_until > w->now) {
		schedule(p, p->paused_until - w->now);
		return;
	}
	for (enum source s = 0; s < SRC_LAST; s++)
		if (ready(p, s))
			list[n++] = s;
	if (ready(p, SRC_QMP)) {	/* qmp-transport-io.h, QMP_SOURCE_PRIORITY */
		list[0] = SRC_QMP;
		n = 1;
	}
	if (n)
		dispatch_item(p, list[rnd(w, n)]);
	after(p);
}

static void
schedule(struct proc *p, uint64_t delay)
{
	if (p->scheduled)
		return;
	p->scheduled = true;
	later(p->w, delay, &(struct event){ .fn = on_dispatch, .host = p->host, .life = p->life });
}

void
proc_push(struct proc *p, enum source source, enum item_kind kind, GBytes *bytes, uint64_t a, uint64_t b)
{
	struct item *i;

	if (!proc_live(p)) {
		if (bytes)
			g_bytes_unref(bytes);
		return;
	}
	i = g_new(struct item, 1);
	*i = (struct item){ .kind = kind, .bytes = bytes, .a = a, .b = b };
	g_queue_push_tail(&p->src[source], i);
	schedule(p, between(p->w, 1 * US, p->w->loop_delay));
}

/* e->a: what, e->b: its argument */
static void
on_word(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;

	if (e->life == p->life)
		proc_push(p, SRC_QMP, (enum item_kind)e->a, NULL, e->b, 0);
}

void
proc_tell(struct proc *p, enum item_kind what, uint64_t delay, uint64_t a)
{
	later(p->w, delay, &(struct event){ .fn = on_word, .host = p->host, .life = p->life, .a = what, .b = a });
}

static void
drop(struct proc *p, enum source s)
{
	g_queue_clear_full(&p->src[s], item_free);
}

/* -- struct guard_env -------------------------------------------------------------------------------------------------------------------- */

static void
env_peer_send(void *ctx, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	struct proc *p = ctx;

	if (!calls(p))
		return;
	if (type == PEER_ARM && (!p->has_durable || p->durable.state != FAILOVER_PROTECTED))
		violated(p->w, "durable", "%c arms the standby before its own state is durable", NAME(p->host));
	if (type == PEER_ARM)
		p->w->arm_sent = true;
	link_send(p->w, p->host, type, p->generation, head, length, body);
}

static size_t
env_peer_queued(void *ctx, enum peer_channel channel)
{
	struct proc *p = ctx;

	return p->w->link.d[channel][p->host].queued;
}

static void
on_inject(struct world *w, struct event *e)
{
	if (e->life == w->host[e->host].q.life)
		qemu_inject(&w->host[e->host].q, e->bytes);
}

static void
check_durable(struct proc *p)
{
	if (!p->persist_failed && (!p->has_durable || p->durable.state != FAILOVER_SETTLING || p->durable.generation != guard_generation(p->g)))
		violated(p->w, "durable", "%c goes on alone before that is durable", NAME(p->host));
}

/* The first thing that a standby does as the only owner. */
static void
goes_live(struct proc *p)
{
	if (p->live)
		return;
	check_durable(p);
	if (!p->w->arm_sent)
		violated(p->w, "armed", "%c goes live, and its peer never told it that it counts", NAME(p->host));
	p->live = true;
	p->live_by_silence = p->g->failover.reason == FAILOVER_REASON_PEER_SILENT;
	p->w->takeovers++;
	check_takeover(p->w, p->host);
}

static void
env_frame_write(void *ctx, enum guard_port port, unsigned nic, GBytes *frame)
{
	struct proc *p = ctx;
	struct qemu *q = qemu_of(p);
	enum failover_state s = guard_state(p->g);

	if (!calls(p) || !p->ports_open)
		return;
	if (port == GUARD_PORT_INJ) {
		later(p->w, between(p->w, 10 * US, 11 * US), &(struct event){ .fn = on_inject, .of_qemu = true, .host = p->host, .life = q->life, .bytes = g_bytes_ref(frame) });
		return;
	}
	if (s == FAILOVER_FENCED || (s == FAILOVER_ENDED && !guard_is_primary(p->g)))
		violated(p->w, "fenced", "%c speaks, and it is %s", NAME(p->host), failover_state_name(s));
	if (!guard_is_primary(p->g))
		goes_live(p);
	else if (p->w->host[!p->host].p.live_by_silence && proc_live(&p->w->host[!p->host].p))
		violated(p->w, "two", "%c speaks, and %c has taken its silence for its death", NAME(p->host), NAME(!p->host));
	check_heard(p);
	note_release(p->w, frame);
	lan_from_host(p->w, p->host, g_bytes_ref(frame), q->life);
}

static void
env_speaks(void *ctx)
{
	((struct proc *)ctx)->spoke = true;
}

static void
env_drain(void *ctx)
{
	struct proc *p = ctx;

	if (!calls(p) || broken == BREAK_DRAIN)
		return;
	if (broken == BREAK_BOUNDARY && guard_is_primary(p->g) && qemu_of(p)->alive)
		guest_run(qemu_of(p));
	for (enum source s = SRC_MIR; s <= SRC_CAP; s++)
		while (p->src[s].length)
			dispatch_item(p, s);
}

static void
on_migration(struct world *w, struct event *e)
{
	if (e->life == w->host[e->host].q.life)
		qemu_migration_input(&w->host[e->host].q, e->bytes);
}

/* REPLY to the primary's QEMU; the first word to an idle standby's is REQUEST. */
static bool
begins_step(const struct proc *p, GBytes *bytes)
{
	struct byte_reader r = byte_reader_init(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));

	if (!guard_is_primary(p->g))
		return p->w->host[p->host].q.colo == COLO_IN_IDLE;
	return byte_reader_be32(&r) == COLO_REPLY && byte_reader_done(&r);
}

static void
env_migration_write(void *ctx, GBytes *bytes)
{
	struct proc *p = ctx;

	if (calls(p) && p->migration_open && p->knows_off && qemu_of(p)->machine != MACHINE_ON && begins_step(p, bytes))
		violated(p->w, "off", "the guard on %c begins a %s, and knows that the guest is switched off", NAME(p->host), guard_is_primary(p->g) ? "checkpoint" : "load");
	if (calls(p) && p->migration_open)
		later(p->w, 10 * US, &(struct event){ .fn = on_migration, .of_qemu = true, .host = p->host, .life = qemu_of(p)->life, .bytes = g_bytes_ref(bytes) });
}

static void
on_nbd_reply(struct world *w, struct event *e)
{
	if (e->life == w->host[e->host].q.life)
		qemu_nbd_reply(&w->host[e->host].q, e->a);
}

static void
env_nbd_reply(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno)
{
	struct proc *p = ctx;

	if (calls(p) && p->disks_open)
		later(p->w, 10 * US, &(struct event){ .fn = on_nbd_reply, .of_qemu = true, .host = p->host, .life = qemu_of(p)->life, .a = cookie });
}

/* e->a: cookie, e->b: offset */
static void
on_copy_written(struct world *w, struct event *e)
{
	struct host *h = &w->host[e->host];
	bool fails = h->disk_fail && --h->disk_fail == 0;

	if (e->life != h->q.life || !h->power)
		return;
	if (fails) {
		say(w, (int)e->host, "the disk of the copy fails");
		h->damaged = true;
	} else {
		memcpy(h->q.disk + e->b, g_bytes_get_data(e->bytes, NULL), g_bytes_get_size(e->bytes));
	}
	proc_push(&h->p, SRC_DONE, ITEM_DATA, NULL, e->a, fails && broken != BREAK_DISK_ERROR ? 5 : 0);
}

static void
env_disk_submit(void *ctx, const struct disk_write *write, uint64_t cookie)
{
	struct proc *p = ctx;
	struct qemu *q = qemu_of(p);
	uint64_t at;

	if (!calls(p) || !p->disks_open || !q->alive)
		return;
	if (p->live)
		violated(p->w, "disk", "a write that came from the primary reaches %c after it went live", NAME(p->host));
	if (qemu_loading(q))
		violated(p->w, "disk", "a write reaches %c while QEMU empties the overlays there, at its start or in a load", NAME(p->host));
	/* disk-target-io.c keeps the order of writes that overlap; here all keep it. */
	at = p->w->now + between(p->w, 20 * US, p->w->host[p->host].disk_ns);
	p->disk_last = MAX(at, p->disk_last + 1);
	later(p->w, p->disk_last - p->w->now, &(struct event){ .fn = on_copy_written, .of_qemu = true, .host = p->host, .life = q->life, .bytes = g_bytes_ref(write->data), .a = cookie, .b = write->offset });
}

/* e->a: cookie, e->b: offset */
static void
on_copy_read(struct world *w, struct event *e)
{
	struct host *h = &w->host[e->host];

	if (e->life == h->q.life && h->power)
		proc_push(&h->p, SRC_READ, ITEM_DATA, g_bytes_new(h->q.disk + e->b, g_bytes_get_size(e->bytes)), e->a, 0);
}

static void
env_disk_read(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie)
{
	struct proc *p = ctx;
	struct qemu *q = qemu_of(p);

	if (!calls(p) || !p->disks_open || !q->alive)
		return;
	p->disk_last = MAX(p->w->now + between(p->w, 20 * US, p->w->host[p->host].disk_ns), p->disk_last + 1);
	later(p->w, p->disk_last - p->w->now, &(struct event){ .fn = on_copy_read, .of_qemu = true, .host = p->host, .life = q->life,
		.bytes = g_bytes_new_take(g_malloc0(length), length), .a = cookie, .b = offset });
}

static void
env_digest(const void *data, size_t length, uint8_t out[DISK_DIGEST])
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize n = DISK_DIGEST;

	g_checksum_update(sum, data, (gssize)length);
	g_checksum_get_digest(sum, out, &n);
}

static void
env_claim(void *ctx, const struct arbiter_record *record)
{
	struct proc *p = ctx;

	if (!calls(p))
		return;
	if (p->known_unfit && !record->standby[0])
		violated(p->w, "fitness", "%c claims the VM for a copy that cannot go live", NAME(p->host));
	p->asked |= !record->standby[0];
	if (broken == BREAK_ARM && record->standby[0])
		link_send(p->w, p->host, PEER_ARM, p->generation, NULL, 0, NULL);
	register_claim(p->w, p->host, record);
}

static void
write_state(struct proc *p, char *text)
{
	char **file = &p->w->host[p->host].state_file;

	g_free(*file);
	*file = text;
}

/* The old content or the new (durable-state-io.c); or half of it, by a disk that does not keep what it promised. */
static void
tear_state(struct proc *p, const struct durable_state *state)
{
	unsigned draw = (unsigned)rnd(p->w, 3);

	if (draw == 0)
		return;
	write_state(p, durable_state_encode(state));
	if (draw == 2)
		p->w->host[p->host].state_file[strlen(p->w->host[p->host].state_file) / 2] = '\0';
}

static bool
env_persist(void *ctx, const struct durable_state *state, GError **error)
{
	struct proc *p = ctx;

	if (!calls(p)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "it is dead");
		return false;
	}
	if (p->persist_crashes) {
		p->persist_crashes = false;
		say(p->w, (int)p->host, "dies while it writes its state");
		tear_state(p, state);
		proc_kill(p);
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "it is dead");
		return false;
	}
	if (p->persist_fails) {
		p->persist_failed = true;
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "the disk is full");
		return false;
	}
	if (broken != BREAK_PERSIST) {
		write_state(p, durable_state_encode(state));
		p->durable = *state;
		p->has_durable = true;
	}
	return true;
}

static void
env_generation(void *ctx, uint64_t generation)
{
	((struct proc *)ctx)->generation = generation;
}

/* pairs-io.c, on_guard_event() */
static void
note_suspension(struct proc *p, const char *type)
{
	if (strcmp(type, "suspended") == 0) {
		p->tell_starts = true;
		if (broken != BREAK_STANDS)
			proc_tell(p, ITEM_STARTED, between(p->w, 20 * MS, 25 * MS), 0);	/* behind what QEMU has told by then */
	}
	if (strcmp(type, "resumed") == 0)
		p->tell_starts = false;
}

/* libvirt-events-io.c, answer(); pairs_domain_news() */
static void
on_state_asked(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;

	if (e->life == p->life && p->tell_starts && qemu_of(p)->running)
		proc_tell(p, ITEM_RESUMED, between(w, 100 * US, 5 * MS), 0);
}

void
proc_guest_started(struct proc *p)
{
	later(p->w, between(p->w, 100 * US, 15 * MS), &(struct event){ .fn = on_state_asked, .host = p->host, .life = p->life });
}

static void
env_event(void *ctx, struct json_object *event)
{
	struct proc *p = ctx;
	struct json_object *type, *text;

	if (p->alive && json_object_object_get_ex(event, "type", &type) && json_object_object_get_ex(event, "text", &text)) {
		say(p->w, (int)p->host, "%s: %s", json_object_get_string(type), json_object_get_string(text));
		note_suspension(p, json_object_get_string(type));
	}
	json_object_put(event);
}

static void
env_started(void *ctx, const GError *error)
{
	struct proc *p = ctx;

	if (!error && p->config->role == FAILOVER_STANDBY)
		proc_push(&p->w->host[!p->host].p, SRC_QMP, ITEM_START, NULL, 0, 0);
}

static void
on_exit_due(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;

	if (e->life != p->life || !proc_live(p))
		return;
	say(w, (int)e->host, "the guard ends");
	link_finish(w, e->host);
	p->alive = false;
	ftd_guard_finished(w, e->host);
}

static void
env_finished(void *ctx)
{
	struct proc *p = ctx;

	if (p->alive)
		later(p->w, LINGER, &(struct event){ .fn = on_exit_due, .host = p->host, .life = p->life });
}

/* -- operations ------------------------------------------------------------------------------------------------------------------------------ */

static void
op_ends(struct proc *p, enum guard_op op, bool failed)
{
	p->ops_open &= ~(1u << op);
	proc_push(p, SRC_OPS, ITEM_DATA, NULL, op, failed);
}

static void
close_ends(struct proc *p)
{
	p->disks_open = p->migration_open = false;
	drop(p, SRC_NBD);
	drop(p, SRC_MIG);
	drop(p, SRC_DONE);
	drop(p, SRC_READ);
}

static void
stop_copy(struct proc *p)
{
	struct qemu *q = qemu_of(p);

	if (broken == BREAK_FENCE && guard_is_primary(p->g) && q->alive) {
		q->net = NET_DIRECT;
		qemu_leave(q);
		return;
	}
	p->ports_open = false;
	drop(p, SRC_OUT);
	drop(p, SRC_MIR);
	drop(p, SRC_CAP);
	qemu_kill(q);
}

/* do_vm_stop() returns when everything is written, and nothing else is answered before. */
static void
on_stop_ends(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;
	const struct qemu *q = qemu_of(p);

	if (e->life != p->life || !proc_live(p) || e->b != p->op_round)
		return;
	if (q->alive && !q->running && q->write_out)
		later(w, MS, &(struct event){ .fn = on_stop_ends, .of_qemu = true, .host = e->host, .life = e->life, .a = e->a, .b = e->b });
	else
		op_ends(p, (enum guard_op)e->a, q->running);
}

/* The end of the operation that e->a names. */
static void
on_op(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;
	struct qemu *q = qemu_of(p);
	enum guard_op op = (enum guard_op)e->a;

	if (e->life != p->life || !proc_live(p) || e->b != p->op_round)
		return;
	if (op == GUARD_OP_STANDBY_REFRESH) {
		q->restoring = false;
		qemu_let_run(q);
	}
	if (p->op_fails && guard_state(p->g) == FAILOVER_FORMING) {
		p->op_fails = false;
		op_ends(p, op, true);
		return;
	}
	switch (op) {
	case GUARD_OP_ATTACH:
		q->net = NET_FILTERED;
		p->ports_open = true;
		break;
	case GUARD_OP_DISKS:
		p->disks_open = true;
		if (q->alive)
			qemu_start_mirror(q);
		return;		/* ends when the copy is in step */
	case GUARD_OP_MIGRATE:
		p->migration_open = true;
		if (q->alive)
			qemu_start_migration(q);
		break;
	case GUARD_OP_DETACH:
		if (q->alive)
			q->net = NET_DIRECT;
		if (guard_is_suspended(p->g))
			qemu_stop(q);
		p->ports_open = false;
		drop(p, SRC_OUT);
		drop(p, SRC_MIR);
		break;
	case GUARD_OP_STANDBY_ATTACH:
		qemu_prepare_standby(q);
		p->ports_open = p->disks_open = p->migration_open = true;
		break;
	case GUARD_OP_STANDBY_LIVE:
		p->migration_open = false;
		q->colo = COLO_NONE;
		break;
	case GUARD_OP_STANDBY_OPEN:
		if (q->alive)
			q->net = NET_DIRECT;
		break;
	case GUARD_OP_STANDBY_COMMIT:
		if (broken != BREAK_OVERLAYS)
			qemu_commit_overlay(q);
		break;
	case GUARD_OP_STANDBY_FINISH:
		qemu_commit_overlay(q);
		p->ports_open = false;
		break;
	case GUARD_OP_STOP_COPY:
		stop_copy(p);
		break;
	case GUARD_OP_SUSPEND:
	case GUARD_OP_STANDS:
		if (q->alive && (op == GUARD_OP_SUSPEND || broken == BREAK_STANDS))
			qemu_stop(q);
		on_stop_ends(w, e);
		return;
	case GUARD_OP_CONNECT:
	case GUARD_OP_STANDBY_REFRESH:
	case GUARD_OP_STANDBY_PAUSE:
	case GUARD_OP_STANDBY_WAKE:
	case GUARD_OP_TRACK:	/* the model's QEMU misses nothing */
	case GUARD_OP_NUDGE:	/* no wall clocks either */
	case GUARD_OP_LAST:
		break;
	}
	op_ends(p, op, false);
}

/* A command that QEMU does not answer; guard-ops-io.c has a deadline for each. */
static void
on_op_due(struct world *w, struct event *e)
{
	struct proc *p = &w->host[e->host].p;

	if (e->life != p->life || !proc_live(p) || e->b != p->op_round || !(p->ops_open & 1u << e->a))
		return;
	if (w->host[e->host].q.hung_until <= w->now || guard_state(p->g) != FAILOVER_FORMING)
		return;
	p->op_round++;
	op_ends(p, (enum guard_op)e->a, true);
}

static void
env_op_start(void *ctx, enum guard_op op)
{
	struct proc *p = ctx;
	struct qemu *q = qemu_of(p);

	if (!calls(p))
		return;
	if (op == GUARD_OP_DETACH || op == GUARD_OP_STOP_COPY)
		p->op_round++;		/* an end replaces what was under way */
	if (op == GUARD_OP_DETACH) {
		if (guard_state(p->g) == FAILOVER_SETTLING)
			check_durable(p);
		close_ends(p);
		if (q->alive)
			qemu_leave(q);
	}
	if (op == GUARD_OP_STANDBY_REFRESH)
		q->restoring = true;
	if (op == GUARD_OP_STANDBY_WAKE) {
		if (broken != BREAK_DISK_DISCARD)
			p->disks_open = false;
		drop(p, SRC_DONE);
		drop(p, SRC_READ);
		goes_live(p);
		p->kept_to = guest_core(&q->guest)->snd_nxt;
	}
	if (op == GUARD_OP_STOP_COPY)
		close_ends(p);
	if (op == GUARD_OP_ATTACH || op == GUARD_OP_STANDBY_ATTACH)
		later(p->w, LOOK, &(struct event){ .fn = on_look, .host = p->host, .life = p->life });
	p->ops_open |= 1u << op;
	if (op == GUARD_OP_ATTACH || op == GUARD_OP_DISKS || op == GUARD_OP_STANDBY_ATTACH)
		later(p->w, OP_TIMEOUT, &(struct event){ .fn = on_op_due, .host = p->host, .life = p->life, .a = op, .b = p->op_round });
	later(p->w, between(p->w, 100 * US, 4 * MS), &(struct event){ .fn = on_op, .of_qemu = op != GUARD_OP_CONNECT && op != GUARD_OP_STOP_COPY,
		.host = p->host, .life = p->life, .a = op, .b = p->op_round });
}

/* A frame that QEMU is given is on the LAN at once here, and what the LAN brings is with QEMU: nothing lies between. */
static void
env_take_back(void *ctx)
{
}

static bool
env_unread(void *ctx, enum guard_port port)
{
	return between(((struct proc *)ctx)->w, 0, 3) == 0;
}

/* The model's connections end, or all stand still together. */
static void
env_formed(void *ctx)
{
}

static void
env_switchover_off(void *ctx, const char *why)
{
}

static const struct guard_env env = {
	.peer_send = env_peer_send,
	.peer_queued = env_peer_queued,
	.frame_write = env_frame_write,
	.filters_drain = env_drain,
	.formed = env_formed,
	.frames_take_back = env_take_back,
	.writes_unread = env_unread,
	.switchover_off = env_switchover_off,
	.speaks = env_speaks,
	.migration_write = env_migration_write,
	.nbd_reply = env_nbd_reply,
	.disk_submit = env_disk_submit,
	.disk_read = env_disk_read,
	.digest = env_digest,
	.op_start = env_op_start,
	.claim = env_claim,
	.persist = env_persist,
	.generation_changed = env_generation,
	.event = env_event,
	.started = env_started,
	.finished = env_finished,
};

/* -- life ----------------------------------------------------------------------------------------------------------------------------------------- */

static struct guard_config *
config_new(struct world *w, unsigned host, enum failover_role role, uint64_t generation)
{
	struct guard_config *c = guard_config_new();

	c->role = role;
	c->pair = g_strdup("00000000-0000-4000-8000-000000000001");
	c->domain = g_strdup("vm1");
	c->self = g_strdup(host ? "b" : "a");
	c->peer = g_strdup(host ? "a" : "b");
	c->run_dir = g_strdup("/run");
	c->arbiter = g_strdup("file:/arbiter");
	c->token = g_strdup_printf("%064x", broken == BREAK_GENERATION ? 1 : w->round + 1);
	c->generation = generation;
	c->n_nics = c->n_disks = 1;
	c->max_epoch_ms = w->max_epoch_ms;
	c->mode = w->mode;
	c->compare_timeout_ms = w->compare_ms;
	c->return_path = true;
	c->tcg_flush_load = w->flush_load;
	c->max_held_bytes = w->max_held;
	c->max_disk_bytes = w->max_disk;
	c->disks[0].size = DISK_BYTES;
	c->disks[0].compare = w->image_found && role == FAILOVER_PRIMARY;
	return c;
}

void
proc_start(struct proc *p, struct world *w, unsigned host, enum failover_role role, uint64_t generation)
{
	uint64_t life = p->life + 1;

	proc_clear(p);
	*p = (struct proc){ .w = w, .host = host, .life = life, .alive = true, .armed_for = UINT64_MAX, .generation = generation };
	p->config = config_new(w, host, role, generation);
	p->g = guard_new(p->config, w->now, &env, p);
	if (role == FAILOVER_PRIMARY) {
		disk_compare_free(p->g->p.compare);
		p->g->p.compare = disk_compare_new(COMPARE_BLOCK);
	}
	for (enum source s = 0; s < SRC_LAST; s++)
		g_queue_init(&p->src[s]);
}

void
proc_clear(struct proc *p)
{
	if (!p->g)
		return;
	for (enum source s = 0; s < SRC_LAST; s++)
		drop(p, s);
	g_clear_pointer(&p->g, guard_free);
	g_clear_pointer(&p->config, guard_config_free);
	p->alive = false;
}

void
proc_kill(struct proc *p)
{
	if (!proc_live(p))
		return;
	p->alive = false;
	link_finish(p->w, p->host);
	qemu_guard_gone(qemu_of(p));
	ftd_guard_gone(p->w, p->host);
}

void
proc_pause(struct proc *p, uint64_t for_ns)
{
	p->paused_until = MAX(p->paused_until, p->w->now + for_ns);
}
