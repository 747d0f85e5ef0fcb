/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The relay answers the primary's QEMU in the secondary's place (QEMU migration/colo.c, colo_do_checkpoint_transaction()), so
 * that the guest stops only for as long as its state takes to reach this process, never for the peer's network or load.
 *
 *   INITIAL --(it is over)--> ENDED --relay_tracked()/READY--> RUNNING --REQUEST--> HELD --(a checkpoint is due)/REPLY--> REPLIED --VMSTATE_SEND--> RECEIVING
 *      ^                                                         ^                                                                                  |
 *      |  stream verbatim                                        +---(last byte and relay_boundary_done())/RECEIVED LOADED---- BOUNDARY <--last byte--+
 *
 * READY, too, is ours: the guest stands from the end of the initial migration until QEMU has it, and the peer's QEMU may need long for what is still
 * under way to it. Before that, in ENDED, the caller makes sure that QEMU notes what its guest writes from then on: what it misses is in no checkpoint.
 * Epoch 1 begins when the peer is READY as well; until then (epoch 0) the guest runs as if it were alone, and a REQUEST is held. When the
 * stream is over nobody says, but its last part does: a description of the machine in JSON, whose length precedes it (migration/savevm.c). Few machines
 * send none (the types of QEMU 2.2 and older, suppress-vmdesc=on): with them the guest waits for the peer. A guest whose devices hold something that
 * looks like it spoils its own protection: QEMU's next bytes are no COLO message, and the pair is not made.
 *
 * Pacing: QEMU asks early (x-checkpoint-delay of 1 ms) and then blocks in REQUEST with the guest running; holding the REPLY is
 * what makes an epoch as long as wanted. A checkpoint is due when all of this holds: REQUEST is held; not suspended; min_epoch
 * has passed; it is not before what relay_not_before() says; no more than max_unacked_bytes are sealed and not committed; and
 * someone wants one, or max_epoch has passed. Times count from the end of the last one.
 *
 * A wish that comes between REPLY and LOADED is fulfilled by the checkpoint that is being made: the guest either has not stopped
 * yet, or has sent nothing since it did. The first of several wishes is the one reported.
 *
 * Invariants: bytes of a checkpoint go out in order and unchanged between BEGIN and SEAL; LOADED is answered once per
 * VMSTATE_SEND, never before the caller has closed the epoch (relay_boundary_done); nothing is queued after FAILED. A checkpoint
 * can be no larger than the guest's RAM twice plus the device state: beyond that QEMU is not believed. Nor larger than the standby takes: what waits here for the
 * link is never more than max_unacked_bytes and one checkpoint.
 */
#include "checkpoint/relay.h"

#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "checkpoint/colo-message.h"
#include "checkpoint/migration-reader.h"

#define CHECKPOINT_SLACK (1u << 20)	/* headers, commands, footers of a checkpoint of little RAM */
#define DESCRIPTION_MAX (8u << 20)	/* of the machine: some 10 KiB for each of its vCPUs */
#define DESCRIPTION_HEAD 6		/* the end of the devices, the section's type, be32 length */
#define TAIL_MAX (16u << 20)		/* of what follows RAM in the initial stream, beyond the devices: the description, and what one read brought with RAM's end */

enum state {
	R_INITIAL,	/* ordinary migration; every byte is the peer's */
	R_ENDED,	/* it is over, and QEMU, which stands, has no READY yet */
	R_RUNNING,	/* READY or LOADED was answered; the next message is REQUEST */
	R_HELD,		/* REQUEST is here and not answered: the guest runs */
	R_REPLIED,	/* QEMU is stopping the guest; the next message is VMSTATE_SEND */
	R_RECEIVING,	/* the guest is stopped; the checkpoint is coming in */
	R_BOUNDARY,	/* the checkpoint is whole; the caller has not closed the epoch yet */
	R_FAILED,
	R_LAST
};

struct sealed {
	uint64_t epoch;
	uint64_t bytes;
};

struct relay {
	enum state state;
	struct relay_limits limits;
	struct migration_reader *reader;
	GQueue actions;		/* struct relay_action*; filled by one event, emptied by the caller before the next */
	char *reason;

	GByteArray *tail;	/* the last bytes of the initial stream, once its RAM is complete; NULL once it has ended */
	uint64_t opaque;	/* bytes since then */
	bool shut_due;		/* QEMU's way back has not got its end from the peer */
	bool peer_ready;

	uint8_t message[COLO_MESSAGE_BYTES];
	size_t have;		/* bytes in message */
	uint64_t offset;	/* bytes taken from QEMU */

	uint64_t epoch;
	uint64_t epoch_start, replied_at, paused_at;
	uint64_t heard_at;	/* the last bytes from QEMU, or our last answer to it */
	bool wanted, suspended, boundary_done;
	uint64_t not_before;
	enum relay_want want;

	XXH3_state_t *hash;
	uint64_t length, pages, zero_pages;	/* of the checkpoint coming in */
	GQueue unacked;		/* struct sealed*, oldest first */
	uint64_t unacked_bytes;
	uint64_t sealed_epoch;
};

static const char *const want_names[] = {
	[RELAY_WANT_EPOCH_LIMIT] = "epoch-limit",
	[RELAY_WANT_DIFFERENCE] = "difference",
	[RELAY_WANT_TIMEOUT] = "timeout",
	[RELAY_WANT_QUEUE_FULL] = "queue-full",
	[RELAY_WANT_DISK] = "disk",
	[RELAY_WANT_OUTPUT] = "output",
	[RELAY_WANT_QUIET] = "quiet",
	[RELAY_WANT_BUSY] = "busy",
	[RELAY_WANT_COPY_UNFIT] = "copy-unfit",
	[RELAY_WANT_OPERATOR] = "operator",
};
G_STATIC_ASSERT(G_N_ELEMENTS(want_names) == RELAY_WANT_LAST);

const char *
relay_want_name(enum relay_want want)
{
	return want < RELAY_WANT_LAST ? want_names[want] : "?";
}

struct relay *
relay_new(const struct relay_limits *limits)
{
	struct relay *r = g_new0(struct relay, 1);

	r->limits = *limits;
	r->reader = migration_reader_new(limits->max_device_state);
	r->hash = XXH3_createState();
	r->tail = g_byte_array_new();
	g_queue_init(&r->actions);
	g_queue_init(&r->unacked);
	return r;
}

static void
action_free(void *p)
{
	relay_action_clear(p);
	g_free(p);
}

void
relay_free(struct relay *r)
{
	if (!r)
		return;
	g_queue_clear_full(&r->actions, action_free);
	g_queue_clear_full(&r->unacked, g_free);
	migration_reader_free(r->reader);
	XXH3_freeState(r->hash);
	g_clear_pointer(&r->tail, g_byte_array_unref);
	g_free(r->reason);
	g_free(r);
}

void
relay_action_clear(struct relay_action *a)
{
	g_clear_pointer(&a->bytes, g_bytes_unref);
}

bool
relay_next(struct relay *r, struct relay_action *out)
{
	g_autofree struct relay_action *a = g_queue_pop_head(&r->actions);

	if (!a)
		return false;
	*out = *a;
	return true;
}

static struct relay_action *
act(struct relay *r, enum relay_action_type type)
{
	struct relay_action *a = g_new0(struct relay_action, 1);

	a->type = type;
	a->epoch = r->epoch;
	g_queue_push_tail(&r->actions, a);
	return a;
}

static void G_GNUC_PRINTF(3, 4)
fail(struct relay *r, uint64_t offset, const char *format, ...)
{
	va_list args;

	if (r->state == R_FAILED)
		return;
	va_start(args, format);
	r->reason = g_strdup_vprintf(format, args);
	va_end(args);
	r->state = R_FAILED;
	struct relay_action *a = act(r, RELAY_FAILED);
	a->reason = r->reason;
	a->offset = offset;
}

static void
to_qemu(struct relay *r, const enum colo_message *messages, unsigned n)
{
	uint8_t bytes[2 * COLO_MESSAGE_BYTES];

	g_assert(n <= 2);
	for (unsigned i = 0; i < n; i++)
		colo_message_encode(messages[i], bytes + i * COLO_MESSAGE_BYTES);
	act(r, RELAY_TO_QEMU)->bytes = g_bytes_new(bytes, n * COLO_MESSAGE_BYTES);
}

/* Time from which a checkpoint may be made; UINT64_MAX when no passing of time can bring it. */
static uint64_t
due(const struct relay *r)
{
	uint64_t wait = r->wanted ? r->limits.min_epoch_ns : MAX(r->limits.max_epoch_ns, r->limits.min_epoch_ns);

	if (r->state != R_HELD || r->epoch == 0 || r->suspended || r->unacked_bytes > r->limits.max_unacked_bytes)
		return UINT64_MAX;
	return wait > UINT64_MAX - r->epoch_start ? UINT64_MAX : MAX(r->epoch_start + wait, r->not_before);
}

static void
reply_if_due(struct relay *r, uint64_t now)
{
	if (r->state != R_HELD || now < due(r))
		return;
	if (!r->wanted)
		r->want = RELAY_WANT_EPOCH_LIMIT;
	to_qemu(r, &(enum colo_message){ COLO_REPLY }, 1);
	r->state = R_REPLIED;
	r->replied_at = r->heard_at = now;
	r->wanted = false;
}

/* Answers QEMU once both conditions hold: the checkpoint is whole and its epoch is closed. */
static void
resume_if_complete(struct relay *r, uint64_t now)
{
	if (r->state != R_BOUNDARY || !r->boundary_done)
		return;
	to_qemu(r, (enum colo_message[]){ COLO_VMSTATE_RECEIVED, COLO_VMSTATE_LOADED }, 2);
	struct relay_action *a = act(r, RELAY_RESUMED);
	a->pause_ns = now - r->paused_at;
	a->drain_ns = r->paused_at - r->replied_at;
	a->epoch_ns = r->paused_at - r->epoch_start;
	a->want = r->want;
	r->state = R_RUNNING;
	r->epoch++;
	r->epoch_start = r->heard_at = now;
}

static void
seal(struct relay *r, uint64_t now)
{
	struct sealed *s = g_new(struct sealed, 1);
	struct relay_action *a = act(r, RELAY_CHECKPOINT_SEAL);

	a->length = r->length;
	a->checksum = XXH3_64bits_digest(r->hash);
	a->pages = r->pages;
	a->zero_pages = r->zero_pages;
	*s = (struct sealed){ .epoch = r->epoch, .bytes = r->length };
	g_queue_push_tail(&r->unacked, s);
	r->unacked_bytes += r->length;
	r->sealed_epoch = r->epoch;
	r->state = R_BOUNDARY;
	resume_if_complete(r, now);
}

static void
begin_checkpoint(struct relay *r, uint64_t now)
{
	r->state = R_RECEIVING;
	r->paused_at = now;
	r->boundary_done = false;
	r->length = r->pages = r->zero_pages = 0;
	XXH3_64bits_reset(r->hash);
	migration_reader_begin_checkpoint(r->reader);
	act(r, RELAY_PAUSED);
	act(r, RELAY_CHECKPOINT_BEGIN);
}

static void
take_message(struct relay *r, uint64_t now)
{
	struct byte_reader b = byte_reader_init(r->message, sizeof r->message);
	uint32_t got = byte_reader_be32(&b);
	enum colo_message expected = r->state == R_REPLIED ? COLO_VMSTATE_SEND : COLO_REQUEST;

	if (r->state != R_RUNNING && r->state != R_REPLIED)
		fail(r, r->offset - COLO_MESSAGE_BYTES, "QEMU sent something (0x%08x) while it waits for an answer", got);
	else if (got != expected)
		fail(r, r->offset - COLO_MESSAGE_BYTES, "QEMU sent 0x%08x (%s) instead of %s", got, colo_message_name(got),
		     colo_message_name(expected));
	else if (r->state == R_REPLIED)
		begin_checkpoint(r, now);
	else {
		r->state = R_HELD;
		reply_if_due(r, now);
	}
}

static void
message_bytes(struct relay *r, uint64_t now, struct byte_reader *in)
{
	size_t n = MIN(sizeof r->message - r->have, in->left);

	memcpy(r->message + r->have, byte_reader_bytes(in, n), n);
	r->have += n;
	r->offset += n;
	if (r->have < sizeof r->message)
		return;
	r->have = 0;
	take_message(r, now);
}

static void
count_page(struct relay *r, const struct migration_event *e)
{
	r->pages++;
	r->zero_pages += e->zero;
}

/* Walks the reader over the input. True: the checkpoint ended within it. False with the input used up: more is needed, or it failed. */
static bool
read_on(struct relay *r, struct byte_reader *in)
{
	struct migration_event e;
	uint64_t base = r->offset - migration_reader_offset(r->reader);

	for (;;) {
		enum migration_event_type type = migration_reader_next(r->reader, in, &e);
		if (type == MIGRATION_PAGE)
			count_page(r, &e);
		else if (type == MIGRATION_CHECKPOINT_END)
			return true;
		else if (type == MIGRATION_NEED_MORE)
			return false;
		else if (type == MIGRATION_ERROR) {
			fail(r, base + e.offset, "%s", migration_reader_error(r->reader));
			return false;
		}
	}
}

static uint64_t
max_checkpoint(const struct relay *r)
{
	return MIN(2 * migration_reader_ram_bytes(r->reader) + r->limits.max_device_state + CHECKPOINT_SLACK, r->limits.max_checkpoint_bytes);
}

static void
checkpoint_bytes(struct relay *r, uint64_t now, GBytes *bytes, struct byte_reader *in)
{
	const uint8_t *start = in->p;
	bool end = read_on(r, in);

	if (r->state == R_FAILED)
		return;
	size_t n = (size_t)(in->p - start);
	struct relay_action *a = act(r, RELAY_CHECKPOINT_DATA);
	a->bytes = g_bytes_new_from_bytes(bytes, (size_t)(start - (const uint8_t *)g_bytes_get_data(bytes, NULL)), n);
	XXH3_64bits_update(r->hash, start, n);
	r->offset += n;
	r->length += n;
	if (r->length > max_checkpoint(r))
		fail(r, r->offset, "a checkpoint of more than %" G_GUINT64_FORMAT " bytes", max_checkpoint(r));
	else if (end)
		seal(r, now);
}

/* QEMU_VM_EOF, then a whole description and nothing more (migration/savevm.c, qemu_savevm_state_complete_precopy_non_iterable()). */
static bool
ends_with_description(const uint8_t *d, size_t n)
{
	size_t first = n > DESCRIPTION_MAX ? n - DESCRIPTION_MAX : 0;

	if (n < DESCRIPTION_HEAD + 2 || d[n - 1] != '}')
		return false;
	for (size_t at = n - DESCRIPTION_HEAD - 1; at-- > first;) {
		struct byte_reader length = byte_reader_init(d + at + 2, 4);
		if (d[at] == QEMU_VM_EOF && d[at + 1] == QEMU_VM_VMDESCRIPTION && d[at + DESCRIPTION_HEAD] == '{' && byte_reader_be32(&length) == n - at - DESCRIPTION_HEAD)
			return true;
	}
	return false;
}

static void
stream_ends(struct relay *r, bool shut_due)
{
	r->state = R_ENDED;
	r->shut_due = shut_due && r->limits.return_path;
	g_clear_pointer(&r->tail, g_byte_array_unref);
	act(r, RELAY_STREAM_END);
}

static void
go_live(struct relay *r, uint64_t now)
{
	r->epoch = 1;
	r->epoch_start = now;
	act(r, RELAY_LIVE);
}

/* The bytes that end the way back of the initial migration, and READY. */
void
relay_tracked(struct relay *r, uint64_t now)
{
	static const uint8_t shut[] = { 0, MIG_RP_MSG_SHUT, 0, 4, 0, 0, 0, 0 };

	if (r->state != R_ENDED)
		return;
	if (r->shut_due)
		act(r, RELAY_TO_QEMU)->bytes = g_bytes_new_static(shut, sizeof shut);
	to_qemu(r, &(enum colo_message){ COLO_READY }, 1);
	r->state = R_RUNNING;
	r->heard_at = now;
	if (r->peer_ready)
		go_live(r, now);
}

static void
note_tail(struct relay *r, const uint8_t *data, size_t n)
{
	r->opaque += n;
	if (r->opaque > r->limits.max_device_state + TAIL_MAX) {
		fail(r, r->offset, "more than %" G_GUINT64_FORMAT " bytes of devices", r->limits.max_device_state);
		return;
	}
	if (r->tail->len > 2 * DESCRIPTION_MAX)
		g_byte_array_remove_range(r->tail, 0, r->tail->len - DESCRIPTION_MAX);
	g_byte_array_append(r->tail, data, (guint)n);
	if (ends_with_description(r->tail->data, r->tail->len))
		stream_ends(r, true);
}

static void
stream_bytes(struct relay *r, GBytes *bytes, struct byte_reader *in)
{
	const uint8_t *data = in->p;
	size_t n = in->left;

	read_on(r, in);
	if (r->state == R_FAILED)
		return;
	r->offset += n;
	act(r, RELAY_STREAM)->bytes = g_bytes_ref(bytes);
	if (migration_reader_ram_complete(r->reader))
		note_tail(r, data, n);
}

void
relay_from_qemu(struct relay *r, uint64_t now, GBytes *bytes)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(bytes, &length);
	struct byte_reader in = byte_reader_init(data, length);

	r->heard_at = now;
	while (in.left > 0 && r->state != R_FAILED) {
		if (r->state == R_INITIAL)
			stream_bytes(r, bytes, &in);
		else if (r->state == R_RECEIVING)
			checkpoint_bytes(r, now, bytes, &in);
		else
			message_bytes(r, now, &in);
	}
}

/* The end of QEMU's way back is ours once we know that its stream is over. */
void
relay_from_peer_return_path(struct relay *r, uint64_t now, GBytes *bytes)
{
	if (r->state == R_INITIAL)
		act(r, RELAY_TO_QEMU)->bytes = g_bytes_ref(bytes);
	else if (r->peer_ready)
		fail(r, r->offset, "the peer sent return path bytes after it was ready");
}

/*
 * The standby's QEMU says READY after it has loaded the initial state, so all of that state has passed here, and QEMU sends nothing before it has
 * READY (colo_process_checkpoint()): the next byte is a COLO message.
 */
void
relay_peer_ready(struct relay *r, uint64_t now)
{
	if (r->state == R_FAILED)
		return;
	if (r->peer_ready || !migration_reader_ram_complete(r->reader)) {
		fail(r, r->offset, "the peer says READY %s", r->peer_ready ? "a second time" : "before the end of RAM");
		return;
	}
	r->peer_ready = true;
	if (r->state == R_INITIAL)
		stream_ends(r, false);
	else if (r->state != R_ENDED)
		go_live(r, now);
}

void
relay_want_checkpoint(struct relay *r, uint64_t now, enum relay_want want)
{
	if ((r->state != R_RUNNING && r->state != R_HELD) || r->epoch == 0 || r->wanted)
		return;
	r->wanted = true;
	r->want = want;
	reply_if_due(r, now);
}

void
relay_boundary_done(struct relay *r, uint64_t now, uint64_t epoch)
{
	if (r->state == R_FAILED)
		return;
	g_assert(epoch == r->epoch && (r->state == R_RECEIVING || r->state == R_BOUNDARY));
	r->boundary_done = true;
	resume_if_complete(r, now);
}

void
relay_committed(struct relay *r, uint64_t now, uint64_t epoch)
{
	struct sealed *s;

	if (epoch > r->sealed_epoch)
		fail(r, r->offset, "the peer committed epoch %" G_GUINT64_FORMAT ", which was not sealed", epoch);
	while ((s = g_queue_peek_head(&r->unacked)) && s->epoch <= epoch) {
		r->unacked_bytes -= s->bytes;
		g_free(g_queue_pop_head(&r->unacked));
	}
	reply_if_due(r, now);
}

void
relay_suspend(struct relay *r, bool suspended)
{
	r->suspended = suspended;
}

void
relay_not_before(struct relay *r, uint64_t now, uint64_t when)
{
	r->not_before = when;
	reply_if_due(r, now);
}

void
relay_set_max_epoch(struct relay *r, uint64_t max_epoch_ns)
{
	r->limits.max_epoch_ns = max_epoch_ns;
}

void
relay_tick(struct relay *r, uint64_t now)
{
	reply_if_due(r, now);
}

uint64_t
relay_deadline(const struct relay *r)
{
	return due(r);
}

uint32_t
relay_page_bytes(const struct relay *r)
{
	return migration_reader_page_size(r->reader);
}

uint64_t
relay_epoch(const struct relay *r)
{
	return r->epoch;
}

uint64_t
relay_waiting_since(const struct relay *r)
{
	return r->state == R_RUNNING || r->state == R_REPLIED || r->state == R_RECEIVING ? r->heard_at : UINT64_MAX;
}

uint64_t
relay_peer_due_since(const struct relay *r)
{
	return !r->peer_ready && r->state != R_FAILED && migration_reader_ram_complete(r->reader) ? r->heard_at : UINT64_MAX;
}

uint64_t
relay_ram_bytes(const struct relay *r)
{
	return migration_reader_ram_bytes(r->reader);
}

bool
relay_waiting(const struct relay *r)
{
	return r->state == R_HELD;
}

bool
relay_wanted(const struct relay *r)
{
	return r->wanted;
}

bool
relay_uncommitted(const struct relay *r)
{
	return r->unacked.length > 0;
}

bool
relay_receiving(const struct relay *r)
{
	return r->state == R_RECEIVING;
}

bool
relay_stopping(const struct relay *r)
{
	return r->state == R_REPLIED || r->state == R_RECEIVING || r->state == R_BOUNDARY;
}

uint64_t
relay_stopping_since(const struct relay *r)
{
	return r->state == R_REPLIED || r->state == R_RECEIVING || r->state == R_BOUNDARY ? r->replied_at : UINT64_MAX;
}

bool
relay_awaits_request(const struct relay *r)
{
	return r->state == R_RUNNING;
}
