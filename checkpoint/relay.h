/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The primary's end of the checkpoint stream: see relay.c for the theory of operation. Pure: time comes in, actions come out. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct relay;

struct relay_limits {
	uint64_t max_epoch_ns;		/* a checkpoint is made at the latest this long after the last one ended */
	uint64_t min_epoch_ns;		/* and not earlier than this, whatever asks for it */
	uint64_t max_unacked_bytes;	/* no new checkpoint while more than this is not committed yet (a longer epoch, never a drop) */
	uint64_t max_device_state;	/* largest VMSTATE_SIZE accepted */
	uint64_t max_checkpoint_bytes;	/* one checkpoint: what the standby takes, and this side holds */
	bool return_path;		/* QEMU's way back has messages before READY, of which SHUT is the last (from QEMU 11.0 on) */
};

enum relay_want {		/* why a checkpoint is wanted; the names are what status and events show */
	RELAY_WANT_EPOCH_LIMIT,
	RELAY_WANT_DIFFERENCE,
	RELAY_WANT_TIMEOUT,
	RELAY_WANT_QUEUE_FULL,
	RELAY_WANT_DISK,
	RELAY_WANT_OUTPUT,
	RELAY_WANT_QUIET,
	RELAY_WANT_BUSY,
	RELAY_WANT_COPY_UNFIT,
	RELAY_WANT_OPERATOR,
	RELAY_WANT_LAST
};
const char *relay_want_name(enum relay_want want);

enum relay_action_type {
	RELAY_TO_QEMU,		/* `bytes` go to the primary QEMU's migration socket */
	RELAY_STREAM,		/* `bytes` of the initial migration stream go to the peer, verbatim */
	RELAY_STREAM_END,	/* that is over and the guest stands: see to it that QEMU notes what it writes from now on, then call relay_tracked() */
	RELAY_LIVE,		/* both have READY: the pair runs, epoch 1 begins */
	RELAY_PAUSED,		/* VMSTATE_SEND was seen: drain the filters, mark the disks, then call relay_boundary_done() */
	RELAY_CHECKPOINT_BEGIN,	/* checkpoint `epoch` starts */
	RELAY_CHECKPOINT_DATA,	/* `bytes` of checkpoint `epoch` */
	RELAY_CHECKPOINT_SEAL,	/* checkpoint `epoch` is whole: `length` bytes, XXH3-64 `checksum` over all DATA, `pages`, `zero_pages` */
	RELAY_RESUMED,		/* LOADED was answered: the primary runs epoch + 1; `pause_ns`, `drain_ns`, `epoch_ns`, `want` (why) */
	RELAY_FAILED,		/* QEMU or the peer broke the protocol: `reason` (owned by the relay), `offset`; nothing more will come */
};

struct relay_action {
	enum relay_action_type type;
	uint64_t epoch;
	GBytes *bytes;			/* owned by the action */
	uint64_t length, checksum, pages, zero_pages;
	uint64_t pause_ns;		/* RESUMED: from VMSTATE_SEND (the guest is stopped) to the answer LOADED */
	uint64_t drain_ns;		/* RESUMED: from REPLY to VMSTATE_SEND: QEMU stops the vCPUs and then drains its disks (system/cpus.c, do_vm_stop()) */
	uint64_t epoch_ns;		/* RESUMED: from the epoch's start to its VMSTATE_SEND */
	enum relay_want want;
	const char *reason;
	uint64_t offset;
};

struct relay *relay_new(const struct relay_limits *limits);
void relay_free(struct relay *r);
typedef struct relay relay;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(relay, relay_free)

/* Events. Each may queue actions; take them with relay_next() until it returns false. */
void relay_from_qemu(struct relay *r, uint64_t now, GBytes *bytes);		/* keeps a reference */
void relay_from_peer_return_path(struct relay *r, uint64_t now, GBytes *bytes);	/* before the peer's READY only */
void relay_tracked(struct relay *r, uint64_t now);				/* answer to RELAY_STREAM_END; nothing at another time */
void relay_peer_ready(struct relay *r, uint64_t now);				/* the standby's QEMU said READY */
void relay_want_checkpoint(struct relay *r, uint64_t now, enum relay_want want);
void relay_boundary_done(struct relay *r, uint64_t now, uint64_t epoch);	/* answer to RELAY_PAUSED */
void relay_committed(struct relay *r, uint64_t now, uint64_t epoch);		/* the peer holds it */
void relay_suspend(struct relay *r, bool suspended);				/* true: make no further checkpoint (disable, solo) */
void relay_not_before(struct relay *r, uint64_t now, uint64_t when);		/* make no checkpoint earlier, whatever asks for one; 0: take that back */
void relay_set_max_epoch(struct relay *r, uint64_t max_epoch_ns);
void relay_tick(struct relay *r, uint64_t now);

/* Moves the next action out; the caller owns what is in it (relay_action_clear). */
bool relay_next(struct relay *r, struct relay_action *out);
void relay_action_clear(struct relay_action *a);

/* When relay_tick() must be called next; UINT64_MAX when nothing waits for time. */
uint64_t relay_deadline(const struct relay *r);
uint32_t relay_page_bytes(const struct relay *r);	/* of the guest's pages; known from RELAY_LIVE on */
uint64_t relay_epoch(const struct relay *r);		/* the epoch the primary is in, 0 before RELAY_LIVE */
bool relay_waiting(const struct relay *r);		/* QEMU has sent REQUEST and runs: nothing happens before the REPLY */
/* Since when QEMU owes us the next bytes; UINT64_MAX when it does not. */
uint64_t relay_waiting_since(const struct relay *r);
bool relay_awaits_request(const struct relay *r);	/* LOADED was answered and the next REQUEST is not here */
/* The initial stream is over, and the peer's READY is missing: since QEMU's last bytes. UINT64_MAX: it is not. */
uint64_t relay_peer_due_since(const struct relay *r);
uint64_t relay_ram_bytes(const struct relay *r);	/* the guest's memory; complete once the initial stream is over */
bool relay_wanted(const struct relay *r);		/* a checkpoint is wished for, and REPLY is not out */
bool relay_uncommitted(const struct relay *r);	/* a whole checkpoint is on its way, and the peer has not committed it */
bool relay_receiving(const struct relay *r);	/* a checkpoint is coming in; false again once it is whole, though LOADED may wait for its commit */
bool relay_stopping(const struct relay *r);		/* REPLY is out and LOADED is not: QEMU drains its disks */
uint64_t relay_stopping_since(const struct relay *r);	/* the time of that REPLY; UINT64_MAX: it is not stopping */
