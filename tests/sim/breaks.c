/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that can be switched off, to show that the simulator would notice. The product knows nothing of it: most are broken in the simulated world
 * (what the guard asks for is not done, or done differently); for the rest the linker puts a wrapper between two of its files (--wrap).
 */
#include "tests/sim/sim.h"

#include <string.h>
#include <xxhash.h>

#include "checkpoint/checkpoint-merge.h"
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

#define OUTPUT_IP (18 + 8 + 12 + 14)
#define OUTPUT_ACK (OUTPUT_IP + 20 + 8)

static void
rewrite(struct world *w, GBytes **payload)
{
	gsize n;
	uint8_t *d = g_bytes_unref_to_data(*payload, &n);

	if (broken == BREAK_ACK && n > OUTPUT_ACK + 4 && d[OUTPUT_IP + 9] == 6)
		put_be32(d + OUTPUT_ACK, w->client.snd_nxt);
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
	case BREAK_ACK:
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

SEAM(void, standby_proxy_take_over, struct standby_proxy *p)
{
	struct standby_proxy_action a;

	__real_standby_proxy_take_over(p);
	while (broken == BREAK_KEPT_OUTPUT && standby_proxy_next(p, &a))
		standby_proxy_action_clear(&a);
}
