/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that can be switched off, to show that the simulator would notice. The product knows nothing of it: most are broken in the simulated world
 * (what the guard asks for is not done, or done differently); for the rest the linker puts a wrapper between two of its files (--wrap).
 */
#include "tests/sim/sim.h"

#include <string.h>
#include <xxhash.h>

#include "checkpoint/checkpoint-merge.h"
#include "daemon/pair-record.h"
#include "proxy/compare-tcp.h"
#include "proxy/compare-udp.h"

enum sim_break broken;

const struct break_info break_infos[BREAK_LAST] = {
	[BREAK_NONE] = { "none", "" },
	[BREAK_DRAIN] = { "drain", "at a boundary the filters' sockets are not emptied first" },
	[BREAK_BOUNDARY] = { "boundary", "the guest goes on while its epoch is being closed" },
	[BREAK_HOLD] = { "hold", "the primary's output leaves before it is compared or committed" },
	[BREAK_SEAL] = { "commit", "a checkpoint counts as committed when it was sent, not when it is held" },
	[BREAK_WHOLE] = { "whole", "a checkpoint is loaded although a page of it is missing" },
	[BREAK_DISK_MARK] = { "disk-mark", "a checkpoint is committed before the disk writes of its epoch are there" },
	[BREAK_DISK_EPOCH] = { "disk-epoch", "disk writes are applied as they come, whatever their epoch" },
	[BREAK_DISK_DISCARD] = { "disk-discard", "a take-over applies the disk writes of epochs that will never be" },
	[BREAK_DISK_BEFORE_LOAD] = { "disk-before-load", "a checkpoint is loaded before the disk writes of its epoch are applied" },
	[BREAK_MIRROR_ERROR] = { "mirror-error", "the mirror fails and the pair still counts as protected" },
	[BREAK_ACK] = { "ack", "the client's bytes are acknowledged before the copy has them" },
	[BREAK_COMPARE] = { "compare", "different output counts as the same" },
	[BREAK_EPOCH_TAG] = { "epoch-tag", "output of different epochs is compared" },
	[BREAK_CHECKSUM] = { "checksum", "a damaged checkpoint is taken" },
	[BREAK_FREEZE] = { "freeze", "a broken pair goes on comparing" },
	[BREAK_GRANT] = { "one-grant", "the arbiter grants a generation twice" },
	[BREAK_SILENCE] = { "silence", "an arbiter's silence counts as its consent" },
	[BREAK_NONCE] = { "nonce", "the arbiter does not tell a repeated claim from another side's" },
	[BREAK_ARM] = { "arm-order", "the standby is armed before the primary" },
	[BREAK_PERSIST] = { "persist", "states are not written before what they permit" },
	[BREAK_FITNESS] = { "fitness", "a copy that has reset itself is promoted" },
	[BREAK_KEPT_OUTPUT] = { "kept-output", "a take-over forgets what the copy had sent" },
	[BREAK_TWIN_LEFT] = { "twin-left", "the standby forgets output before its twin has left" },
	[BREAK_FAIL_CLOSED] = { "fail-closed", "a guest without a guard reaches the LAN" },
	[BREAK_FENCE] = { "fence", "who lost the claim goes on" },
	[BREAK_GENERATION] = { "generation", "a pair that is made anew uses a generation and a token again" },
	[BREAK_FRAME_GENERATION] = { "frame-generation", "a frame counts, whatever generation it is of" },
	[BREAK_COMPARE_TCP] = { "compare-tcp", "different bytes of a stream count as the same" },
	[BREAK_LOAD_OUTPUT] = { "load-output", "what the copy sends while it is loaded counts for the epoch before" },
	[BREAK_MERGE] = { "merge", "of checkpoints that wait for a load the later ones are forgotten" },
	[BREAK_SETTLED] = { "settled", "a take-over does not load what is committed first" },
	[BREAK_DISK_ERROR] = { "disk-error", "a write that the copy's disk refused counts as done" },
	[BREAK_STOP_ANSWERS] = { "stop-answers", "while QEMU stops for a checkpoint, writes go on waiting at the limit" },
	[BREAK_LEASE] = { "lease", "a primary speaks however long nobody has heard it" },
	[BREAK_SUSPICION] = { "suspicion", "silence is never taken for loss" },
	[BREAK_HANG] = { "hang", "a QEMU that hangs is waited for" },
	[BREAK_AWAKE] = { "awake", "a guard that slept takes it for its QEMU's hanging" },
	[BREAK_READY_WAIT] = { "ready-wait", "the guest stands until the standby's QEMU is ready, however long" },
	[BREAK_DISK_WAIT] = { "disk-wait", "while the pair forms a write waits for the copy's disk, however long" },
	[BREAK_SUSPEND] = { "suspend", "checkpoints go on while the guest is suspended" },
	[BREAK_RESET_IN_LOAD] = { "reset-in-load", "a copy that has reset itself at a load counts as mended by it" },
	[BREAK_SPOIL] = { "spoil", "a copy that can load nothing any more counts as fit" },
	[BREAK_ARMED] = { "armed", "a standby that was never told that it counts claims" },
	[BREAK_ASK_AGAIN] = { "ask-again", "a claim that was not answered is not repeated" },
	[BREAK_TAKE_BACK] = { "take-back", "a claim that was not answered is taken for one that was never sent" },
	[BREAK_YIELD] = { "yield", "a standby whose data failed gives up what is committed" },
	[BREAK_DENIED] = { "denied", "the arbiter's no counts as silence" },
	[BREAK_CLOSING] = { "closing", "a VM that was shut down is given up without a claim" },
	[BREAK_ORPHAN_CLAIM] = { "orphan-claim", "a copy whose guard is gone goes on without a claim" },
	[BREAK_FOLLOWED] = { "followed", "a copy that was given up for a standby which has ended as well stays so" },
	[BREAK_GIVEN_UP] = { "given-up", "a copy that was given up may be started again without a claim" },
	[BREAK_REPAIR] = { "repair", "nobody hears that a copy is not fit to take over" },
	[BREAK_STOPPED] = { "stopped", "nobody sees that a QEMU's process is stopped" },
	[BREAK_STANDS] = { "stands", "a guest that was suspended and resumed at once is stopped again, and nobody counts how often it was started" },
	[BREAK_SWITCHOVER] = { "switchover", "the standby goes live when it is asked to, before the arbiter has granted it" },
	[BREAK_SWITCHED] = { "switched", "a primary that has handed over goes on speaking" },
	[BREAK_HANDED] = { "handed", "a primary that hands over forgets what it has not let go" },
	[BREAK_OVERLAYS] = { "overlays", "a copy is heard before its overlays are committed" },
	[BREAK_HEARD] = { "heard", "after a reboot nobody knows that a copy was never heard" },
	[BREAK_OVERTAKEN] = { "overtaken", "what is compared is sent after a later write of the same place" },
	[BREAK_SAME] = { "same", "of disks that are compared nothing differs" },
	[BREAK_OFF] = { "off", "checkpoints and loads go on while the guest is switched off and on" },
	[BREAK_EMPTY_ARBITER] = { "empty-arbiter", "an arbiter that knows nothing of the pair is believed" },
};

int
break_find(const char *name)
{
	for (int i = BREAK_NONE + 1; i < BREAK_LAST; i++)
		if (strcmp(break_infos[i].name, name) == 0)
			return i;
	return -1;
}

/* -- on the link ------------------------------------------------------------------------------------------------------------------- */

/* Said to the guard on `host` as if by its peer, at once. */
static void
forge(struct world *w, unsigned host, enum source source, enum peer_type type, const uint8_t *data, size_t length)
{
	proc_push(&w->host[host].p, source, ITEM_DATA, g_bytes_new(data, length), type, w->host[host].p.generation);
}

void
breaks_before_tick(struct proc *p)
{
	if (broken == BREAK_AWAKE)
		p->g->looked_at = p->w->now;
	if (broken == BREAK_DISK_WAIT)
		p->g->p.disk_moved_at = p->w->now;
}

#define OUTPUT_IP (18 + 8 + 12 + 14)
#define OUTPUT_ACK (OUTPUT_IP + 20 + 8)

#define OUTPUT_SEQ (OUTPUT_IP + 20 + 4)
#define OUTPUT_DATA (OUTPUT_IP + 20 + 20)

/* The copy's bytes become the primary's, where that has said them. */
static void
agree(const struct guest *primary, uint8_t *d, gsize n)
{
	struct byte_reader r = byte_reader_init(d + OUTPUT_SEQ, 4);
	uint32_t at = byte_reader_be32(&r) - GUEST_ISN;

	for (gsize i = OUTPUT_DATA; i < n; i++)
		guest_stream_byte(primary, at++, d + i);
}

static void
rewrite(struct world *w, GBytes **payload)
{
	gsize n;
	uint8_t *d = g_bytes_unref_to_data(*payload, &n);

	if (broken == BREAK_ACK && n > OUTPUT_ACK + 4 && d[OUTPUT_IP + 9] == 6)
		put_be32(d + OUTPUT_ACK, w->client.snd_nxt);
	if (broken == BREAK_COMPARE_TCP && n > OUTPUT_DATA && d[OUTPUT_IP + 9] == 6)
		agree(&w->host[w->primary].q.guest, d, n);
	if (broken == BREAK_EPOCH_TAG)
		put_be64(d + 8, relay_epoch(w->host[w->primary].p.g->p.relay));
	*payload = g_bytes_new_take(d, n);
}

bool
breaks_message(struct world *w, unsigned from, enum peer_type type, GBytes **payload)
{
	const uint8_t *d = g_bytes_get_data(*payload, NULL);

	switch ((int)broken) {
	case BREAK_SEAL:
		if (type == PEER_CHECKPOINT_SEAL)
			forge(w, from, SRC_FAST, PEER_COMMITTED, d, 8);
		return type != PEER_COMMITTED;
	case BREAK_DISK_MARK:
		if (type == PEER_DISK_MARK)
			forge(w, !from, SRC_DISK, PEER_DISK_MARK, d, 8);
		return type != PEER_DISK_MARK;
	case BREAK_TWIN_LEFT:
		if (type == PEER_OUTPUT)
			forge(w, from, SRC_FAST, PEER_TWIN_LEFT, d, 8);
		return true;
	case BREAK_REPAIR:
		return type != PEER_COPY_UNFIT;
	case BREAK_HANDED:
		return type != PEER_UNSENT;
	case BREAK_ACK:
	case BREAK_COMPARE_TCP:
	case BREAK_EPOCH_TAG:
		if (type == PEER_OUTPUT)
			rewrite(w, payload);
		return true;
	default:
		return true;
	}
}

/* -- between the product's files --------------------------------------------------------------------------------------------------------- */

#define SEAM(type, name, ...) type __real_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__)

SEAM(void, comparator_freeze, struct comparator *c)
{
	if (broken != BREAK_FREEZE)
		__real_comparator_freeze(c);
}

SEAM(void, disk_queue_permit, struct disk_queue *q, uint64_t epoch)
{
	__real_disk_queue_permit(q, broken == BREAK_DISK_EPOCH ? UINT64_MAX : epoch);
}

SEAM(bool, disk_queue_applied, const struct disk_queue *q, uint64_t epoch)
{
	return broken == BREAK_DISK_BEFORE_LOAD || __real_disk_queue_applied(q, epoch);
}

SEAM(unsigned, disk_queue_discard_after, struct disk_queue *q, uint64_t epoch)
{
	if (broken != BREAK_DISK_DISCARD)
		return __real_disk_queue_discard_after(q, epoch);
	__real_disk_queue_permit(q, UINT64_MAX);
	return 0;
}

SEAM(bool, disk_compare_overtaken, struct disk_compare *c, uint32_t disk, uint64_t offset, uint64_t length, struct disk_compared *out)
{
	return broken != BREAK_OVERTAKEN && __real_disk_compare_overtaken(c, disk, offset, length, out);
}

SEAM(uint64_t, disk_compare_wanted, const struct disk_compare_request *r, const uint8_t *data, disk_digest_func digest)
{
	return broken == BREAK_SAME ? 0 : __real_disk_compare_wanted(r, data, digest);
}

SEAM(XXH64_hash_t, XXH3_64bits_digest, const XXH3_state_t *state)
{
	return broken == BREAK_CHECKSUM ? 1 : __real_XXH3_64bits_digest(state);
}

SEAM(void, held_checkpoint_note, struct held_checkpoint *c, const struct migration_event *event)
{
	if (broken != BREAK_WHOLE || event->type != MIGRATION_PAGE || event->address == 0)
		__real_held_checkpoint_note(c, event);
}

SEAM(enum verdict, compare_udp, const struct packet *primary, const struct packet *secondary)
{
	return broken == BREAK_COMPARE ? VERDICT_SAME : __real_compare_udp(primary, secondary);
}

SEAM(void, standby_proxy_speak, struct standby_proxy *p)
{
	struct standby_proxy_action a;

	__real_standby_proxy_speak(p);
	while (broken == BREAK_KEPT_OUTPUT && standby_proxy_next(p, &a))
		standby_proxy_action_clear(&a);
}

SEAM(void, standby_proxy_stopped, struct standby_proxy *p)
{
	if (broken != BREAK_LOAD_OUTPUT)
		__real_standby_proxy_stopped(p);
}

SEAM(void, checkpoint_merge_add, struct checkpoint_merge *m, struct held_checkpoint *c)
{
	if (broken == BREAK_MERGE && checkpoint_merge_epoch(m))
		held_checkpoint_free(c);
	else
		__real_checkpoint_merge_add(m, c);
}

SEAM(bool, standby_settled, const struct standby *s)
{
	return broken == BREAK_SETTLED ? !standby_loading(s) && !standby_broken(s) : __real_standby_settled(s);
}

SEAM(bool, relay_stopping, const struct relay *r)
{
	return broken != BREAK_STOP_ANSWERS && __real_relay_stopping(r);
}

SEAM(uint64_t, relay_peer_due_since, const struct relay *r)
{
	return broken == BREAK_READY_WAIT ? UINT64_MAX : __real_relay_peer_due_since(r);
}

SEAM(void, relay_suspend, struct relay *r, bool suspended)
{
	if (broken != BREAK_SUSPEND)
		__real_relay_suspend(r, suspended);
}

SEAM(void, primary_lease, struct guard *g, uint64_t now, uint64_t heard)
{
	if (broken == BREAK_LEASE)
		g->p.lease_until = UINT64_MAX;
	__real_primary_lease(g, now, heard);
}

SEAM(enum liveness_state, liveness_check, struct liveness *l, uint64_t now)
{
	if (broken == BREAK_SUSPICION)
		liveness_heard(l, now);
	return __real_liveness_check(l, now);
}

SEAM(void, guard_qemu_hung, struct guard *g, uint64_t now)
{
	if (broken == BREAK_HANG) {
		g->awake_since = now;
		return;
	}
	check_given_up(g->ctx);
	__real_guard_qemu_hung(g, now);
}

SEAM(void, guard_copy_reset, struct guard *g, uint64_t now)
{
	__real_guard_copy_reset(g, now);
	if (broken == BREAK_RESET_IN_LOAD)
		g->s.reset_in_load = false;
}

SEAM(void, standby_side_spoil, struct guard *g, uint64_t now)
{
	if (broken != BREAK_SPOIL)
		__real_standby_side_spoil(g, now);
}

SEAM(uint64_t, failover_deadline, const struct failover *f)
{
	return broken == BREAK_ASK_AGAIN ? UINT64_MAX : __real_failover_deadline(f);
}

SEAM(unsigned, failover_step, struct failover *f, uint64_t now, enum failover_event_type event, enum failover_reason reason)
{
	bool is_standby = f->config.role == FAILOVER_STANDBY;

	if (broken == BREAK_ARMED && is_standby && f->state == FAILOVER_FORMING && event == FAILOVER_EV_PEER_LOST)
		f->state = FAILOVER_PROTECTED;
	if (broken == BREAK_YIELD && is_standby && f->state == FAILOVER_PROTECTED && event == FAILOVER_EV_DATA_FAILED)
		event = FAILOVER_EV_QEMU_DIED;
	if (broken == BREAK_CLOSING && !is_standby && f->state == FAILOVER_PROTECTED && event == FAILOVER_EV_GUEST_ENDED)
		event = FAILOVER_EV_QEMU_DIED;
	if (broken == BREAK_SWITCHOVER && is_standby && f->state == FAILOVER_PROTECTED && event == FAILOVER_EV_OPERATOR_SWITCHOVER) {
		__real_failover_step(f, now, event, reason);
		event = FAILOVER_EV_GRANTED;
	}
	if (broken == BREAK_SWITCHED && f->state == FAILOVER_SWITCHING && event == FAILOVER_EV_PEER_GOODBYE) {
		f->state = FAILOVER_ASKING;
		event = FAILOVER_EV_GRANTED;
	}
	if (broken == BREAK_DENIED && event == FAILOVER_EV_DENIED)
		event = FAILOVER_EV_ARBITER_SILENT;
	if (broken == BREAK_TAKE_BACK && f->state == FAILOVER_ASKING && event == FAILOVER_EV_ARBITER_SILENT) {
		f->state = FAILOVER_PROTECTED;
		return 0;
	}
	return __real_failover_step(f, now, event, reason);
}

SEAM(enum pair_end, pair_end_judge, const struct pair_end_facts *f)
{
	struct pair_end_facts facts = *f;
	enum pair_end end;

	facts.armed &= broken != BREAK_EMPTY_ARBITER;
	facts.silent &= broken != BREAK_HEARD || f->domain_runs;
	end = __real_pair_end_judge(&facts);
	if (broken == BREAK_ORPHAN_CLAIM && f->role == FAILOVER_PRIMARY && f->register_known > 0 && f->newest->generation == f->generation)
		return PAIR_END_KEEP;
	return end;
}

SEAM(enum stale_verdict, stale_judge, const struct stale_facts *f)
{
	enum stale_verdict verdict = __real_stale_judge(f);

	if (broken == BREAK_FOLLOWED && verdict == STALE_CLAIM)
		return STALE_STAYS;
	return broken == BREAK_GIVEN_UP && f->waited ? STALE_OVER : verdict;
}
