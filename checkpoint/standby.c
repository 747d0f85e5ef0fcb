/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * To the secondary's QEMU the standby is a COLO primary (QEMU migration/colo.c, colo_incoming_process_checkpoint()); to the peer
 * it is the place where checkpoints are safe. The two sides run at their own pace, so there are two state machines and a store
 * between them.
 *
 *   peer:  STREAM --standby_live()--> LIVE <--begin/seal--> OPEN                  any --lost, or a fault of the peer--> ENDED
 *   store: open -> sealed (whole, checksum right) -> committed (disk mark there) -> merged -> loaded
 *   qemu:  INITIAL --READY--> IDLE --(something merged)/LOAD_WANTED--> WANTED --disk applied/REQUEST--> REQUESTED --REPLY/the checkpoint-->
 *          SENT --RECEIVED--> LOADING --LOADED--> IDLE                            any --a fault of QEMU--> BROKEN
 *
 * The epoch that LOAD_WANTED names is exactly the one that is loaded: what is committed while the caller applies the disk writes
 * for it waits in `later`, because merging it would mix pages of a later epoch with disks of an earlier one. It is asked for with
 * the next load. From REQUEST on the output is fixed and commits are merged for the next load again. A caller that wants few
 * loads of many checkpoints sets `lazy` and says when (standby_load_now).
 *
 * Memory. A copy that loads more slowly than its primary writes holds more and more. From max_unloaded_bytes on commits wait for a load, which is made at once, lazy
 * or not: the primary's output waits with them, and its epochs get longer. So max_held_bytes is met only by a peer that does not keep its own limits.
 *
 * Two kinds of failure, both end in STANDBY_FAILED:
 *   a fault of the peer (bad checkpoint, checksum, order, limit) is taken as its loss: what is open or only sealed is dropped, nothing more is
 *   taken, and what is committed is still loaded, since the peer may have released output that depends on it;
 *   a fault of QEMU ends everything: the SVM's state is not known, standby_settled() never becomes true.
 *
 * Invariants: COMMITTED is said only of a checkpoint that is whole and parsed to its last byte, in order of epochs; nothing goes
 * to QEMU between READY and REQUEST, nor between the checkpoint's last byte and LOADED; memory held is never above max_held_bytes
 * by more than one piece and its index.
 */
#include "checkpoint/standby.h"

#include <string.h>
#include <xxhash.h>

#include "checkpoint/checkpoint-merge.h"
#include "checkpoint/colo-message.h"
#include "checkpoint/migration-reader.h"

#define RP_HEADER 4		/* be16 type, be16 length */

enum peer_state {
	P_STREAM,	/* the initial stream; no checkpoints */
	P_LIVE,		/* between checkpoints */
	P_OPEN,		/* inside one */
	P_ENDED,	/* lost or refused: everything it still sends is ignored */
};

enum qemu_state {
	Q_INITIAL,	/* return path messages, then READY */
	Q_IDLE,		/* the SVM runs (or was stopped by the caller); no message may come */
	Q_WANTED,	/* the caller applies disk writes */
	Q_REQUESTED,	/* REQUEST is out; REPLY comes */
	Q_SENT,		/* the checkpoint is out; RECEIVED comes */
	Q_LOADING,	/* LOADED comes */
	Q_BROKEN,
};

struct standby {
	enum peer_state peer;
	enum qemu_state qemu;
	struct standby_limits limits;
	struct migration_reader *reader;
	GQueue actions;		/* struct standby_action*; filled by one event, emptied by the caller before the next */
	char *peer_reason, *qemu_reason;

	/* From QEMU. */
	uint8_t head[COLO_MESSAGE_BYTES];
	size_t have;
	size_t rp_left;		/* payload bytes of a return path message still to come */
	bool rp_shut;		/* SHUT was seen: only READY may follow */
	GByteArray *rp;		/* return path bytes of this event, for the peer */
	uint64_t qemu_offset;

	/* From the peer. */
	struct held_checkpoint *open;
	bool open_complete;	/* the reader saw its last byte */
	XXH3_state_t *hash;
	uint64_t begun_epoch, marked_epoch, committed_epoch;

	GQueue sealed;		/* struct held_checkpoint*: not committed */
	GQueue later;		/* committed after LOAD_WANTED named an older epoch */
	struct checkpoint_merge *merge;
	uint64_t queued_cost, merge_cost, load_cost;

	/* The load. */
	bool lazy, load_now;
	GPtrArray *load;	/* GBytes: the checkpoint for QEMU, from REQUEST to REPLY */
	uint64_t load_epoch, load_pages, loaded_epoch;
	uint64_t requested_at, stopped_at;
	uint64_t heard_at;	/* QEMU's last bytes, or REQUEST */
};

G_STATIC_ASSERT(RP_HEADER == COLO_MESSAGE_BYTES);

struct standby *
standby_new(const struct standby_limits *limits)
{
	struct standby *s = g_new0(struct standby, 1);

	s->limits = *limits;
	s->reader = migration_reader_new(limits->max_checkpoint_bytes);
	s->hash = XXH3_createState();
	s->merge = checkpoint_merge_new();
	s->rp = g_byte_array_new();
	g_queue_init(&s->actions);
	g_queue_init(&s->sealed);
	g_queue_init(&s->later);
	return s;
}

static void
held_free(void *p)
{
	held_checkpoint_free(p);
}

static void
action_free(void *p)
{
	standby_action_clear(p);
	g_free(p);
}

void
standby_free(struct standby *s)
{
	if (!s)
		return;
	g_queue_clear_full(&s->actions, action_free);
	g_queue_clear_full(&s->sealed, held_free);
	g_queue_clear_full(&s->later, held_free);
	held_checkpoint_free(s->open);
	checkpoint_merge_free(s->merge);
	g_clear_pointer(&s->load, g_ptr_array_unref);
	g_byte_array_unref(s->rp);
	migration_reader_free(s->reader);
	XXH3_freeState(s->hash);
	g_free(s->peer_reason);
	g_free(s->qemu_reason);
	g_free(s);
}

void
standby_action_clear(struct standby_action *a)
{
	g_clear_pointer(&a->bytes, g_bytes_unref);
}

bool
standby_next(struct standby *s, struct standby_action *out)
{
	g_autofree struct standby_action *a = g_queue_pop_head(&s->actions);

	if (!a)
		return false;
	*out = *a;
	return true;
}

static struct standby_action *
act(struct standby *s, enum standby_action_type type, uint64_t epoch)
{
	struct standby_action *a = g_new0(struct standby_action, 1);

	a->type = type;
	a->epoch = epoch;
	g_queue_push_tail(&s->actions, a);
	return a;
}

static void
failed(struct standby *s, const char *reason, uint64_t offset)
{
	struct standby_action *a = act(s, STANDBY_FAILED, s->begun_epoch);

	a->reason = reason;
	a->offset = offset;
}

/* Drops everything that is not committed and takes no more. */
static void
end_peer(struct standby *s)
{
	struct held_checkpoint *c;

	g_clear_pointer(&s->open, held_checkpoint_free);
	while ((c = g_queue_pop_head(&s->sealed))) {
		s->queued_cost -= held_checkpoint_cost(c);
		held_checkpoint_free(c);
	}
	s->peer = P_ENDED;
}

/* Asks for a load when QEMU is free, something is committed, and loads are not being put off. */
static void
want_load(struct standby *s)
{
	uint64_t epoch = checkpoint_merge_epoch(s->merge);

	if (s->qemu != Q_IDLE || epoch == 0 || (s->lazy && !s->load_now && s->peer != P_ENDED))
		return;
	s->qemu = Q_WANTED;
	s->load_epoch = epoch;
	s->load_now = false;
	act(s, STANDBY_LOAD_WANTED, epoch);
}

static void G_GNUC_PRINTF(3, 4)
peer_fault(struct standby *s, uint64_t offset, const char *format, ...)
{
	va_list args;

	if (s->peer == P_ENDED)
		return;
	va_start(args, format);
	s->peer_reason = g_strdup_vprintf(format, args);
	va_end(args);
	end_peer(s);
	failed(s, s->peer_reason, offset);
	want_load(s);
}

static void G_GNUC_PRINTF(2, 3)
qemu_fault(struct standby *s, const char *format, ...)
{
	va_list args;

	if (s->qemu == Q_BROKEN)
		return;
	va_start(args, format);
	s->qemu_reason = g_strdup_vprintf(format, args);
	va_end(args);
	s->qemu = Q_BROKEN;
	end_peer(s);
	failed(s, s->qemu_reason, s->qemu_offset);
}

static void
send_message(struct standby *s, enum colo_message message)
{
	uint8_t bytes[COLO_MESSAGE_BYTES];

	colo_message_encode(message, bytes);
	act(s, STANDBY_TO_QEMU, s->load_epoch)->bytes = g_bytes_new(bytes, sizeof bytes);
}

static void
merge_one(struct standby *s, struct held_checkpoint *c)
{
	checkpoint_merge_add(s->merge, c);
	s->merge_cost = checkpoint_merge_cost(s->merge);
}

static void
commit(struct standby *s, struct held_checkpoint *c)
{
	s->committed_epoch = held_checkpoint_epoch(c);
	act(s, STANDBY_COMMITTED, s->committed_epoch);
	if (s->qemu == Q_WANTED) {
		g_queue_push_tail(&s->later, c);
		return;
	}
	s->queued_cost -= held_checkpoint_cost(c);
	merge_one(s, c);
	want_load(s);
}

/* A checkpoint that is whole waits for its commit while much is committed and not loaded: with its output held, the peer makes longer epochs (relay.c). */
static bool
crowded(const struct standby *s)
{
	bool unloaded = s->qemu != Q_IDLE || checkpoint_merge_epoch(s->merge) != 0;

	return unloaded && standby_held_bytes(s) > s->limits.max_unloaded_bytes;
}

static void
commit_marked(struct standby *s)
{
	struct held_checkpoint *c;

	while ((c = g_queue_peek_head(&s->sealed)) && held_checkpoint_epoch(c) <= s->marked_epoch) {
		if (crowded(s)) {
			s->load_now = true;
			want_load(s);
			return;
		}
		commit(s, g_queue_pop_head(&s->sealed));
	}
}

/* Fixes what this load brings and starts the next merge. */
static void
take_merge(struct standby *s)
{
	struct held_checkpoint *c;

	s->load = checkpoint_merge_output(s->merge, s->reader);
	s->load_pages = checkpoint_merge_pages(s->merge);
	s->load_cost = s->merge_cost;
	checkpoint_merge_free(s->merge);
	s->merge = checkpoint_merge_new();
	s->merge_cost = 0;
	while ((c = g_queue_pop_head(&s->later))) {
		s->queued_cost -= held_checkpoint_cost(c);
		merge_one(s, c);
	}
}

void
standby_disk_applied(struct standby *s, uint64_t now, uint64_t epoch)
{
	if (s->qemu == Q_BROKEN)
		return;
	g_assert(s->qemu == Q_WANTED && epoch == s->load_epoch);
	take_merge(s);
	s->qemu = Q_REQUESTED;
	s->requested_at = s->heard_at = now;
	send_message(s, COLO_REQUEST);
}

static void
take_reply(struct standby *s, uint64_t now)
{
	act(s, STANDBY_STOPPED, s->load_epoch);
	for (unsigned i = 0; i < s->load->len; i++)
		act(s, STANDBY_TO_QEMU, s->load_epoch)->bytes = g_bytes_ref(g_ptr_array_index(s->load, i));
	g_clear_pointer(&s->load, g_ptr_array_unref);
	s->qemu = Q_SENT;
	s->stopped_at = now;
}

static void
take_loaded(struct standby *s, uint64_t now)
{
	struct standby_action *a = act(s, STANDBY_LOADED, s->load_epoch);

	a->load_ns = now - s->requested_at;
	a->stop_ns = now - s->stopped_at;
	a->pages = s->load_pages;
	s->loaded_epoch = s->load_epoch;
	s->load_cost = 0;
	s->qemu = Q_IDLE;
	want_load(s);
	commit_marked(s);
}

/* What QEMU may say in each state; -1 = nothing. */
static int
expected(const struct standby *s)
{
	switch (s->qemu) {
	case Q_REQUESTED:
		return COLO_REPLY;
	case Q_SENT:
		return COLO_VMSTATE_RECEIVED;
	case Q_LOADING:
		return COLO_VMSTATE_LOADED;
	case Q_INITIAL:
	case Q_IDLE:
	case Q_WANTED:
	case Q_BROKEN:
		break;
	}
	return -1;
}

static void
take_message(struct standby *s, uint64_t now)
{
	struct byte_reader b = byte_reader_init(s->head, sizeof s->head);
	uint32_t got = byte_reader_be32(&b);
	int want = expected(s);

	if (want < 0)
		qemu_fault(s, "QEMU sent 0x%08x (%s) without being asked", got, colo_message_name(got));
	else if (got != (uint32_t)want)
		qemu_fault(s, "QEMU sent 0x%08x (%s) instead of %s", got, colo_message_name(got), colo_message_name((uint32_t)want));
	else if (want == COLO_REPLY)
		take_reply(s, now);
	else if (want == COLO_VMSTATE_RECEIVED)
		s->qemu = Q_LOADING;
	else
		take_loaded(s, now);
}

static bool
collect_head(struct standby *s, struct byte_reader *in)
{
	size_t n = MIN(sizeof s->head - s->have, in->left);

	memcpy(s->head + s->have, byte_reader_bytes(in, n), n);
	s->have += n;
	s->qemu_offset += n;
	if (s->have < sizeof s->head)
		return false;
	s->have = 0;
	return true;
}

static void
flush_return_path(struct standby *s)
{
	if (s->rp->len == 0)
		return;
	act(s, STANDBY_RETURN_PATH, 0)->bytes = g_bytes_new(s->rp->data, s->rp->len);
	g_byte_array_set_size(s->rp, 0);
}

static void
take_ready(struct standby *s)
{
	flush_return_path(s);
	if (!migration_reader_ram_complete(s->reader)) {
		qemu_fault(s, "QEMU says READY before the end of RAM");
		return;
	}
	s->qemu = Q_IDLE;
	act(s, STANDBY_READY, 0);
}

/* No return path message has type 0 (MIG_RP_MSG_INVALID), so a be16 of 0 opens the be32 of READY. */
static void
take_return_path_header(struct standby *s)
{
	struct byte_reader b = byte_reader_init(s->head, sizeof s->head);
	uint16_t type = byte_reader_be16(&b), length = byte_reader_be16(&b);

	if (type == 0 && length == COLO_READY) {
		take_ready(s);
	} else if (type == 0 || s->rp_shut) {
		flush_return_path(s);
		qemu_fault(s, "return path message of type %u and %u bytes where READY was expected", type, length);
	} else {
		s->rp_shut = type == MIG_RP_MSG_SHUT;
		s->rp_left = length;
		g_byte_array_append(s->rp, s->head, sizeof s->head);
	}
}

/* Until READY everything is for the peer's QEMU. A partial header is kept back, since it may turn out to be READY. */
static void
return_path_bytes(struct standby *s, struct byte_reader *in)
{
	size_t n = MIN(s->rp_left, in->left);

	if (n > 0) {
		g_byte_array_append(s->rp, byte_reader_bytes(in, n), (guint)n);
		s->rp_left -= n;
		s->qemu_offset += n;
	} else if (collect_head(s, in)) {
		take_return_path_header(s);
	}
}

void
standby_from_qemu(struct standby *s, uint64_t now, GBytes *bytes)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(bytes, &length);
	struct byte_reader in = byte_reader_init(data, length);

	s->heard_at = now;
	while (in.left > 0 && s->qemu == Q_INITIAL)
		return_path_bytes(s, &in);
	flush_return_path(s);
	while (in.left > 0 && s->qemu != Q_BROKEN)
		if (collect_head(s, &in))
			take_message(s, now);
}

/* Feeds the reader; with an open checkpoint its pages are noted. False: the peer is at fault. */
static bool
read_on(struct standby *s, struct byte_reader *in)
{
	struct migration_event e;

	for (;;) {
		switch (migration_reader_next(s->reader, in, &e)) {
		case MIGRATION_NEED_MORE:
			return true;
		case MIGRATION_ERROR:
			peer_fault(s, e.offset, "%s", migration_reader_error(s->reader));
			return false;
		case MIGRATION_PAGE:
		case MIGRATION_DEVICE_STATE:
			if (s->open)
				held_checkpoint_note(s->open, &e);
			break;
		case MIGRATION_CHECKPOINT_END:
			s->open_complete = true;
			return true;
		case MIGRATION_BLOCK:
		case MIGRATION_RAM_COMPLETE:
			break;
		}
	}
}

void
standby_stream(struct standby *s, uint64_t now, GBytes *bytes)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(bytes, &length);
	struct byte_reader in = byte_reader_init(data, length);

	if (s->peer == P_ENDED)
		return;
	if (s->peer != P_STREAM || s->qemu != Q_INITIAL) {
		peer_fault(s, 0, "the peer sent migration stream after READY");
		return;
	}
	if (read_on(s, &in))
		act(s, STANDBY_TO_QEMU, 0)->bytes = g_bytes_ref(bytes);
}

void
standby_live(struct standby *s, uint64_t now)
{
	if (s->peer == P_ENDED)
		return;
	if (s->peer != P_STREAM || s->qemu == Q_INITIAL)
		peer_fault(s, 0, "the peer went live %s", s->peer == P_STREAM ? "before READY" : "a second time");
	else
		s->peer = P_LIVE;
}

void
standby_checkpoint_begin(struct standby *s, uint64_t now, uint64_t epoch)
{
	if (s->peer == P_ENDED)
		return;
	if (s->peer != P_LIVE || epoch != s->begun_epoch + 1) {
		peer_fault(s, 0, "checkpoint %" G_GUINT64_FORMAT " begins after %" G_GUINT64_FORMAT "%s", epoch, s->begun_epoch,
			   s->peer == P_OPEN ? ", which is not sealed" : "");
		return;
	}
	s->begun_epoch = epoch;
	s->open = held_checkpoint_new(epoch);
	s->open_complete = false;
	s->peer = P_OPEN;
	XXH3_64bits_reset(s->hash);
	migration_reader_begin_checkpoint(s->reader);
}

/* Limits come first: a piece that is not allowed is neither kept nor read. */
static bool
may_take(struct standby *s, uint64_t epoch, size_t length)
{
	if (s->peer != P_OPEN || epoch != s->begun_epoch)
		peer_fault(s, 0, "data of checkpoint %" G_GUINT64_FORMAT ", which is not open", epoch);
	else if (length > s->limits.max_checkpoint_bytes - held_checkpoint_length(s->open))
		peer_fault(s, held_checkpoint_length(s->open), "a checkpoint of more than %" G_GUINT64_FORMAT " bytes",
			   s->limits.max_checkpoint_bytes);
	else if (standby_held_bytes(s) + length > s->limits.max_held_bytes)
		peer_fault(s, held_checkpoint_length(s->open), "checkpoints not loaded yet take more than %" G_GUINT64_FORMAT " bytes",
			   s->limits.max_held_bytes);
	return s->peer == P_OPEN;
}

void
standby_checkpoint_data(struct standby *s, uint64_t now, uint64_t epoch, GBytes *bytes)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(bytes, &length);
	struct byte_reader in = byte_reader_init(data, length);

	if (s->peer == P_ENDED || !may_take(s, epoch, length) || length == 0)
		return;
	held_checkpoint_add(s->open, bytes);
	XXH3_64bits_update(s->hash, data, length);
	if (read_on(s, &in) && in.left > 0)
		peer_fault(s, migration_reader_offset(s->reader), "bytes after the end of the checkpoint");
}

void
standby_checkpoint_damaged(struct standby *s, uint64_t now, const char *reason)
{
	peer_fault(s, s->open ? held_checkpoint_length(s->open) : 0, "%s", reason);
}

void
standby_checkpoint_seal(struct standby *s, uint64_t now, uint64_t epoch, uint64_t length, uint64_t checksum)
{
	if (s->peer == P_ENDED)
		return;
	if (s->peer != P_OPEN || epoch != s->begun_epoch) {
		peer_fault(s, 0, "seal of checkpoint %" G_GUINT64_FORMAT ", which is not open", epoch);
	} else if (length != held_checkpoint_length(s->open)) {
		peer_fault(s, held_checkpoint_length(s->open), "checkpoint of %" G_GUINT64_FORMAT " bytes is sealed with %" G_GUINT64_FORMAT,
			   held_checkpoint_length(s->open), length);
	} else if (checksum != XXH3_64bits_digest(s->hash)) {
		peer_fault(s, length, "checksum of checkpoint %" G_GUINT64_FORMAT " is wrong", epoch);
	} else if (!s->open_complete) {
		peer_fault(s, length, "checkpoint %" G_GUINT64_FORMAT " is sealed before its end", epoch);
	} else {
		held_checkpoint_close(s->open);
		s->queued_cost += held_checkpoint_cost(s->open);
		g_queue_push_tail(&s->sealed, g_steal_pointer(&s->open));
		s->peer = P_LIVE;
		commit_marked(s);
	}
}

void
standby_disk_mark(struct standby *s, uint64_t now, uint64_t epoch)
{
	if (s->peer == P_ENDED || epoch <= s->marked_epoch)
		return;
	s->marked_epoch = epoch;
	commit_marked(s);
}

void
standby_set_lazy(struct standby *s, uint64_t now, bool lazy)
{
	s->lazy = lazy;
	want_load(s);
}

void
standby_load_now(struct standby *s, uint64_t now)
{
	s->load_now = s->committed_epoch > MAX(s->load_epoch, s->loaded_epoch);
	want_load(s);
}

void
standby_peer_lost(struct standby *s, uint64_t now)
{
	end_peer(s);
	want_load(s);
}

bool
standby_settled(const struct standby *s)
{
	return s->qemu == Q_IDLE && checkpoint_merge_epoch(s->merge) == 0 && g_queue_is_empty((GQueue *)&s->later);
}

bool
standby_can_load(const struct standby *s)
{
	return s->qemu == Q_IDLE && checkpoint_merge_epoch(s->merge) != 0;
}

bool
standby_broken(const struct standby *s)
{
	return s->qemu == Q_BROKEN;
}

bool
standby_loading(const struct standby *s)
{
	return s->qemu == Q_REQUESTED || s->qemu == Q_SENT || s->qemu == Q_LOADING;
}

bool
standby_busy(const struct standby *s)
{
	return s->peer == P_OPEN || s->sealed.length > 0 || s->qemu != Q_IDLE;
}

uint64_t
standby_waiting_since(const struct standby *s)
{
	return standby_loading(s) ? s->heard_at : UINT64_MAX;
}

uint64_t
standby_loaded_epoch(const struct standby *s)
{
	return s->loaded_epoch;
}

uint64_t
standby_committed_epoch(const struct standby *s)
{
	return s->committed_epoch;
}

uint64_t
standby_held_bytes(const struct standby *s)
{
	return s->queued_cost + s->merge_cost + s->load_cost + (s->open ? held_checkpoint_cost(s->open) : 0);
}
