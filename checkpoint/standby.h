/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The standby's end of the checkpoint stream: plays the primary's role to QEMU B. Theory of operation in standby.c. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct standby;

struct standby_limits {
	uint64_t max_checkpoint_bytes;	/* one checkpoint */
	uint64_t max_held_bytes;	/* all checkpoints held; beyond it: STANDBY_FAILED (the primary's max_unacked_bytes is far below) */
	uint64_t max_unloaded_bytes;	/* beyond it a further commit waits for a load */
};

enum standby_action_type {
	STANDBY_TO_QEMU,	/* `bytes` go to QEMU B's incoming migration socket */
	STANDBY_RETURN_PATH,	/* `bytes` go back to the peer (initial migration only) */
	STANDBY_READY,		/* QEMU B said READY: tell the peer */
	STANDBY_COMMITTED,	/* checkpoint `epoch` is whole and checked, and the disk mark is there: tell the peer */
	STANDBY_LOAD_WANTED,	/* apply disk writes of epochs <= `epoch`, then call standby_disk_applied() */
	STANDBY_STOPPED,	/* QEMU B answered REPLY: the SVM is stopped; what it sent so far belongs to its old epoch */
	STANDBY_LOADED,		/* the SVM runs epoch `epoch` + 1; `load_ns` from REQUEST to LOADED, `stop_ns` from REPLY */
	STANDBY_FAILED,		/* `reason`, `offset`: a protocol error, a checksum that does not match, a limit; see standby.c what still works then */
};

struct standby_action {
	enum standby_action_type type;
	uint64_t epoch;
	GBytes *bytes;
	uint64_t load_ns, stop_ns, pages;	/* LOADED: `pages` that were sent, of all checkpoints in this load */
	const char *reason;		/* FAILED: owned by the standby */
	uint64_t offset;
};

struct standby *standby_new(const struct standby_limits *limits);
void standby_free(struct standby *s);
typedef struct standby standby;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(standby, standby_free)

void standby_stream(struct standby *s, uint64_t now, GBytes *bytes);		/* the initial stream, verbatim to QEMU B; the reader learns the RAM blocks */
void standby_from_qemu(struct standby *s, uint64_t now, GBytes *bytes);		/* return path, READY, then COLO answers */
void standby_live(struct standby *s, uint64_t now);				/* the peer passed READY to its QEMU: checkpoints may come */
void standby_checkpoint_begin(struct standby *s, uint64_t now, uint64_t epoch);
void standby_checkpoint_data(struct standby *s, uint64_t now, uint64_t epoch, GBytes *bytes);
void standby_checkpoint_damaged(struct standby *s, uint64_t now, const char *reason);	/* a piece of it could not be unpacked: the peer's fault */
void standby_checkpoint_seal(struct standby *s, uint64_t now, uint64_t epoch, uint64_t length, uint64_t checksum);
void standby_disk_mark(struct standby *s, uint64_t now, uint64_t epoch);	/* every disk write of epochs <= epoch is held here */
void standby_disk_applied(struct standby *s, uint64_t now, uint64_t epoch);	/* answer to STANDBY_LOAD_WANTED: the epoch it named, which is the one loaded */
/* Lazy: no load is asked for until standby_load_now() or the peer's loss; what is committed meanwhile is merged. Off at first. */
void standby_set_lazy(struct standby *s, uint64_t now, bool lazy);
void standby_load_now(struct standby *s, uint64_t now);	/* asks for a load of what is committed and not loaded, now or after the running load */
/* The peer is lost: drop a checkpoint that is not whole, take no more; what is committed is loaded first. */
void standby_peer_lost(struct standby *s, uint64_t now);
/* True when nothing committed waits to be loaded and no load is running: x-colo-lost-heartbeat may be sent. */
bool standby_settled(const struct standby *s);
bool standby_can_load(const struct standby *s);		/* something committed waits, and QEMU is idle: standby_load_now() has an effect */
bool standby_broken(const struct standby *s);		/* a fault of QEMU: its state is not known */
bool standby_loading(const struct standby *s);		/* REQUEST is out, LOADED is not in */
bool standby_busy(const struct standby *s);		/* a checkpoint is coming in, is not committed, is to be loaded, or is being loaded */
uint64_t standby_waiting_since(const struct standby *s);	/* since when QEMU B owes us an answer; UINT64_MAX when it does not */
uint64_t standby_loaded_epoch(const struct standby *s);
uint64_t standby_committed_epoch(const struct standby *s);
uint64_t standby_held_bytes(const struct standby *s);	/* memory that checkpoints take */

bool standby_next(struct standby *s, struct standby_action *out);
void standby_action_clear(struct standby_action *a);
