/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One side of one protected domain: owns one instance of each core and routes events to them and their actions out. It decides nothing that a core
 * decides and touches nothing outside: everything it wants done goes through struct guard_env, which guard-io.c implements with sockets and QMP
 * (and a simulator may implement with queues). Theory of operation in guard.c.
 */
#pragma once

#include "checkpoint/disk-compare.h"
#include "checkpoint/disk-queue.h"
#include "checkpoint/nbd-server.h"
#include "daemon/guard-config.h"
#include "daemon/peer-protocol.h"
#include "policy/arbiter.h"
#include "policy/durable-state.h"

#include <json-c/json.h>

struct guard;

/* Where a frame is read from or written to: QEMU's net filters, and the guest's tap once there is no QEMU any more. */
enum guard_port { GUARD_PORT_OUT, GUARD_PORT_MIR, GUARD_PORT_REL, GUARD_PORT_INJ, GUARD_PORT_CAP, GUARD_PORT_SHUT, GUARD_PORT_TAP, GUARD_PORT_LAST };

/* Long operations of the shell: each is started once and ends with guard_op_done(). */
enum guard_op {
	/* primary */
	GUARD_OP_CONNECT,		/* the three links to the standby's guard */
	GUARD_OP_ATTACH,		/* filters, capabilities */
	GUARD_OP_DISKS,			/* NBD nodes and mirror jobs, until all are in step */
	GUARD_OP_MIGRATE,		/* start the migration stream (done = QEMU accepted it) */
	GUARD_OP_TRACK,			/* the guest stands at the end of that: QEMU notes each page that it writes from now on */
	GUARD_OP_SUSPEND,		/* stop the guest, which an administrator suspended, for as long as no checkpoint is made */
	GUARD_OP_STANDS,		/* ask whether it stands: an error if it does not */
	GUARD_OP_NUDGE,			/* make QEMU send its REQUEST, which it has forgotten */
	GUARD_OP_DETACH,		/* close our ends, leave COLO, remove everything we added */
	/* standby */
	GUARD_OP_STANDBY_ATTACH,	/* filters, disks, NBD export and our connection to it, incoming migration */
	GUARD_OP_STANDBY_PAUSE,		/* passive mode, after a load: the copy stands */
	GUARD_OP_STANDBY_REFRESH,	/* before a load: let the copy run, so that it is no longer in PRELAUNCH; and under TCG drop translations of code that the load may replace */
	GUARD_OP_STANDBY_WAKE,		/* after the take-over: the copy runs (in passive mode it stood), without stale translations */
	GUARD_OP_STANDBY_COMMIT,	/* what its overlays have is in its images, and on the disk, and so is that it may be heard now; an error: not, or too late */
	GUARD_OP_STANDBY_LIVE,		/* leave COLO, remove the isolating filters: the SVM needs no guard any more */
	GUARD_OP_STANDBY_OPEN,		/* announce, again and again for a while */
	GUARD_OP_STANDBY_FINISH,	/* remove the overlays, once they are committed, and the rest */
	/* both */
	GUARD_OP_STOP_COPY,		/* end this host's QEMU */
	GUARD_OP_LAST
};
const char *guard_op_name(enum guard_op op);

#define GUARD_DISK_IN_FLIGHT_BYTES ((size_t)1 << 30)	/* of a guest's queues, which QEMU empties when it stops: of one virtio disk 256 requests of 1 MiB */
#define GUARD_LOAD_NS_PER_BYTE 10			/* loading a large checkpoint is no hang: 100 MB/s */

struct guard_env {
	void (*peer_send)(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body);
	size_t (*peer_queued)(void *ctx, enum peer_channel channel);
	void (*frame_write)(void *ctx, enum guard_port port, unsigned nic, GBytes *frame);
	void (*filters_drain)(void *ctx);	/* reads every filter socket until it would block; frames come in through guard_frame() before it returns */
	/* QEMU is dead or given up. What it has not read yet comes in through guard_frame() before this returns: of REL, and of TAP, of which more may come later. */
	void (*frames_take_back)(void *ctx);
	bool (*writes_unread)(void *ctx, enum guard_port port);	/* primary: QEMU has not read yet what was written there: REL or INJ */
	void (*speaks)(void *ctx);	/* right before the first frame of the standby's copy goes to the LAN: whoever comes after this guard must know that it may */
	void (*migration_write)(void *ctx, GBytes *bytes);
	void (*nbd_reply)(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno);
	void (*disk_submit)(void *ctx, const struct disk_write *w, uint64_t cookie);
	void (*disk_read)(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie);	/* behind all that was submitted before and overlaps */
	disk_digest_func digest;	/* SHA-256 */
	void (*op_start)(void *ctx, enum guard_op op);
	void (*claim)(void *ctx, const struct arbiter_record *record);	/* answered by guard_claimed() */
	bool (*persist)(void *ctx, const struct durable_state *state, GError **error);
	void (*generation_changed)(void *ctx, uint64_t generation);
	void (*formed)(void *ctx);	/* protected: whatever takes its time while a pair is formed is over, and a connection that stands still is a lost one */
	void (*event)(void *ctx, struct json_object *event);	/* takes it; logged, kept, sent to ftd */
	void (*started)(void *ctx, const GError *error);		/* the answer to guard_start() */
	void (*switchover_off)(void *ctx, const char *why);	/* the answer to guard_switchover() when nothing came of it */
	void (*finished)(void *ctx);				/* nothing more will come: the process may end */
};

enum guard_phase { GUARD_PHASE_IDLE, GUARD_PHASE_CONNECT, GUARD_PHASE_ATTACH, GUARD_PHASE_DISK, GUARD_PHASE_MEMORY, GUARD_PHASE_ARM, GUARD_PHASE_RUN, GUARD_PHASE_LAST };
const char *guard_phase_name(enum guard_phase phase);

struct guard *guard_new(const struct guard_config *config, uint64_t now, const struct guard_env *env, void *ctx);	/* config stays the caller's and must outlive it */
void guard_free(struct guard *g);

/* The operator's (ftd's) words. */
void guard_start(struct guard *g, uint64_t now);
void guard_disable(struct guard *g, uint64_t now);
void guard_failover(struct guard *g, uint64_t now);
void guard_switchover(struct guard *g, uint64_t now);	/* primary, not suspended: answered by switchover_off(), or this side is fenced or goes on alone */
void guard_set_mode(struct guard *g, uint64_t now, enum mode mode);	/* primary */
void guard_set_patterns(struct guard *g, uint64_t now, const char *bypass, const char *never_compare);	/* primary; lists that are well formed */
void guard_guest_ended(struct guard *g, uint64_t now);
/* The primary's host wants this standby to end. False: it is none any more, it takes over or has done so, and may be the only copy there is. */
bool guard_end_standby(struct guard *g, uint64_t now);
void guard_guest_failed(struct guard *g, uint64_t now, enum failover_reason reason);	/* primary: panicked, or its disk is bad: the other copy may be better */
void guard_guest_stopped(struct guard *g, uint64_t now, uint64_t when);	/* primary: its CPUs stopped at `when`: by a checkpoint, or by somebody */
#define GUARD_STARTS_MAX 16
/* Primary: its CPUs were started at these times, among others; those of its checkpoints are among them. */
void guard_guest_started(struct guard *g, uint64_t now, const uint64_t *starts, size_t n);
void guard_guest_resumed(struct guard *g, uint64_t now);
void guard_guest_off(struct guard *g, uint64_t now, bool off);	/* primary: it has switched itself off or panicked; false: it was started again */

/* Events of the shell. */
void guard_op_done(struct guard *g, uint64_t now, enum guard_op op, const GError *error);
void guard_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame);
void guard_migration_bytes(struct guard *g, uint64_t now, GBytes *bytes);
void guard_mirror_gone(struct guard *g);	/* primary: a disk's mirror closed its connection; whether QEMU has ended is told by guard_qemu_gone(), or guard_qemu_failed() */
void guard_disk_request(struct guard *g, uint64_t now, unsigned disk, struct nbd_request *request);	/* takes what is in it */
void guard_disk_done(struct guard *g, uint64_t now, uint64_t cookie, int nbd_errno);
void guard_disk_read_done(struct guard *g, uint64_t now, uint64_t cookie, int nbd_errno, GBytes *data);	/* data NULL after an error */
void guard_peer_linked(struct guard *g, uint64_t now);				/* all three connections are up */
void guard_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload);
void guard_peer_closed(struct guard *g, uint64_t now, enum peer_channel channel, const char *why);
void guard_qemu_gone(struct guard *g, uint64_t now);					/* our QEMU is dead */
void guard_qemu_failed(struct guard *g, uint64_t now, const char *what);		/* our QEMU lives, and has closed one of the sockets it had from us */
/* Asked again and again: is our QEMU's process stopped, and how much CPU time has it taken so far? */
void guard_qemu_looked(struct guard *g, uint64_t now, bool stopped, uint64_t cpu_ns);
void guard_data_failed(struct guard *g, uint64_t now, const char *format, ...) G_GNUC_PRINTF(3, 4);	/* a socket of a living QEMU, or its content, is bad */
void guard_copy_reset(struct guard *g, uint64_t now);					/* standby: the SVM reset itself */
void guard_copy_off(struct guard *g, uint64_t now);					/* standby: the SVM switched itself off; it may be reset from outside at any time */
void guard_copy_prelaunch(struct guard *g, uint64_t now);				/* standby: the SVM was reset from outside, or has suspended itself to RAM */
void guard_copy_runs(struct guard *g, uint64_t now);					/* standby: QEMU said RESUME */
void guard_overlays_late(struct guard *g);						/* standby: what the copy wrote is still not in its images */
void guard_claimed(struct guard *g, uint64_t now, enum arbiter_verdict verdict, const struct arbiter_record *holder, const char *error);
void guard_tick(struct guard *g, uint64_t now);
bool guard_is_urgent(const struct guard *g);	/* the guest, or its output, waits for each of our steps */
uint64_t guard_deadline(const struct guard *g);	/* when guard_tick() is due; UINT64_MAX: never */

/* What the shell may ask. */
bool guard_checkpoint_arriving(const struct guard *g);	/* primary: QEMU sends one, and the guest stands */
bool guard_migration_reading(const struct guard *g);	/* false: leave the bytes in the socket (back-pressure) */
bool guard_disk_reading(const struct guard *g);
uint64_t guard_disk_compared(const struct guard *g, uint64_t *same);	/* primary: bytes that were compared, and were the same, so far */
bool guard_is_suspended(const struct guard *g);		/* by an administrator: the guest is to stand */
enum failover_state guard_state(const struct guard *g);
enum guard_phase guard_current_phase(const struct guard *g);
enum failover_reason guard_reason(const struct guard *g);
uint64_t guard_generation(const struct guard *g);
struct json_object *guard_status(const struct guard *g, uint64_t now);	/* ftctl(1) STATUS */
struct json_object *guard_history(const struct guard *g, uint64_t now);	/* ftctl(1) TIMELINE */
struct json_object *guard_flows(const struct guard *g);			/* ftctl(1) FLOWS: an array; empty on the standby's side */
