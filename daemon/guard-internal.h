/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What guard.c, guard-primary.c, guard-standby.c and guard-status.c share. */
#pragma once

#include "checkpoint/epoch-length.h"
#include "checkpoint/passive-pace.h"
#include "checkpoint/relay.h"
#include "checkpoint/standby.h"
#include "checkpoint/unpacker.h"
#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"
#include "daemon/base/histogram.h"
#include "daemon/history.h"
#include "daemon/guard.h"
#include "policy/liveness.h"
#include "policy/mode.h"
#include "proxy/announce.h"
#include "proxy/askers.h"
#include "proxy/comparator.h"
#include "proxy/standby-proxy.h"
#include "proxy/wire-frame.h"

#define GUARD_BULK_QUEUE_MAX (1u << 20)		/* initial stream: more than this unsent and the guard stops reading QEMU */
#define GUARD_FAST_QUEUE_MAX (4u << 20)		/* frames to the peer: more than this unsent and further ones are left out, heartbeats never */
#define GUARD_LINK_TIMEOUT_NS (120 * 1000000000ull)	/* from the guard's start to the connection; preparing QEMU, or its disks, may take its time */
#define GUARD_ARM_TIMEOUT_NS (10 * 1000000000ull)	/* from LIVE to ARMED */
/* From the end of the initial stream to READY. In that time the standby's QEMU makes a second copy of all RAM, in memory that nobody has touched yet (migration/ram.c,
 * colo_init_ram_cache()), so for each byte it may take so long: 40 MB/s. The guest runs meanwhile. */
#define GUARD_READY_TIMEOUT_NS (5 * 1000000000ull)
#define GUARD_READY_NS_PER_BYTE 25
#define GUARD_CLAIM_RETRY_NS (500 * 1000000ull)
#define GUARD_UNFIT_EVENT_NS (10 * 1000000000ull)
/* Between two checkpoints that a copy which is not fit may have: one that resets itself with every load must not become a storm of them. Each side keeps to it. */
#define GUARD_REPAIR_NS (500 * 1000000ull)
/* After the copy was reset: it boots, and code comes into its RAM with every load, of which TCG has old translations; and it may have been stopped right before its reset, so
 * it has to run before a load. */
#define GUARD_REFRESH_NS (60 * 1000000000ull)
/* A guest that has switched itself off is reset and started by who manages it, if he wants it back (libvirt: src/qemu/qemu_process.c, qemuProcessFakeReboot()). In between
 * its state is PRELAUNCH, from which there is no way to COLO: a checkpoint or load that begins then aborts QEMU (system/runstate.c, runstate_transitions_def[]). So none is
 * begun once SHUTDOWN is heard, which is sent some 10 ms earlier, until it runs again. Nobody may be there to reset it: it is waited for no longer than this.
 * What is left are the milliseconds in which SHUTDOWN, or the reset of a copy that stood, is on its way to us. */
#define GUARD_OFF_NS (1000 * 1000000ull)
#define GUARD_STOPS_KEPT 2048				/* those of the last ten seconds: what libvirt tells of them may come so late */
/* Passive: how much may wait for a load. A take-over waits for it too, so it is what a host loads in some 30 ms. */
#define GUARD_LAZY_BYTES (32u << 20)
#define GUARD_LAZY_NS (1000 * 1000000ull)
#define GUARD_STOP_SLACK_NS (200 * 1000ull)		/* between the wall clock's readings and ours */
/* A QEMU that owes an answer and sends nothing for this long hangs. Far beyond any pause of a QEMU that is well. Counted only while this guard itself was awake:
 * a host that stood still tells nothing of its QEMU. */
#define GUARD_QEMU_HANG_NS (1000 * 1000000ull)
/* ... of a standby. Outputs go on with each checkpoint that its guard holds, until that is a quarter of what it may hold; and to give up the only other copy because the
 * cores of its host were taken for a second would be worse than to wait. */
#define GUARD_COPY_HANG_NS (3000 * 1000000ull)
/* ... of a primary whose standby's copy is not fit: nobody would go on, and a disk that takes its time is no reason to end the guest. */
#define GUARD_QEMU_ALONE_NS (10000 * 1000000ull)
/* A QEMU that was busy and says nothing for this long is asked for a checkpoint: it owes an answer then, and a hang is found out without waiting for the epoch's end. */
#define GUARD_QEMU_QUIET_NS (250 * 1000000ull)
#define GUARD_QUIET_AGAIN_NS (2000 * 1000000ull)	/* ... but a guest that says something now and then is not to have a checkpoint for each */
/* QEMU's REQUEST comes by a timer on the host's wall clock (migration/colo.c, colo_delay_timer on QEMU_CLOCK_HOST): after that was set back it is due in the far future. */
#define GUARD_NUDGE_NS (150 * 1000000ull)
/* Leaving COLO, QEMU's main loop stands while it frees its second copy of the RAM (0.1 ms per MiB of small pages). Clients get their answers before it. */
#define GUARD_LIVE_DELAY_NS (100 * 1000000ull)
#define GUARD_CAUSE_NS (200 * 1000000ull)		/* what libvirt tells of a QEMU's end takes some milliseconds through ftd */
#define GUARD_FAST_SILENT_NS (5 * 1000000000ull)	/* more than a full queue on a slow link holds up what is behind it */
#define GUARD_DETACH_CHECKPOINT_NS (1 * 1000000000ull)	/* going solo: for as long QEMU may take to end the checkpoint that it is in */
#define GUARD_LOOKS_STOPPED 3			/* as many looks at QEMU's process find it stopped, and for suspect_ms: it is given up as a host would be */
#define GUARD_ASLEEP_NS (300 * 1000000ull)		/* no look at the time for this long: we slept */
#define GUARD_DISK_HANG_NS (5 * 1000000000ull)		/* the standby's disk completes nothing for this long, and a load or the guest waits for it */
/* The pair counts from this checkpoint on. Not from the first: under TCG about one copy in ten does not survive what the first load after the initial migration leaves
 * (its kernel finds broken lists and pointers within 50 ms; not one after the second load in some 300 pairs). That was before READY waited for GUARD_OP_TRACK, which
 * mends the cause that is known (qmp/qmp-tlb-flush.c); whether it was the only one has not been measured. */
#define GUARD_ARM_EPOCH 2
#define GUARD_EPOCH_MIN_NS (100 * 1000000ull)		/* shorter epochs come only when somebody asks for a checkpoint */
/* For this long at most the standby is not told what has left: with the guest's next frame it costs nothing. After a failover a client may hear that much twice. */
#define GUARD_TWIN_LEFT_NS (5 * 1000000ull)
/* Once the pair is live the primary waits for no single write: it is told of applied ones when they are so many, or so much of its limit, or after so long. */
#define GUARD_CREDIT_WRITES 64
#define GUARD_CREDIT_DIV 16
#define GUARD_CREDIT_NS (5 * 1000000ull)
#define GUARD_ABSENT_TIMES 10				/* compare time-outs that a frame waits for a SVM that is loading or hangs */
#define GUARD_MISSED_MAX 256				/* segments that came while the guest was being stopped */
#define GUARD_SYNS_AGAIN_BYTES 4096			/* ... of which SYNs: QEMU reads them in one piece (guard-reinject.c) */
#define GUARD_RECENT_NS (300 * 1000000ull)		/* the end of the initial migration stops the guest for less, mostly; what takes longer clients have sent again themselves */
#define GUARD_SWITCHOVER_AS_IT_IS_NS (200 * 1000000ull)	/* for the copy to show that it is level without a checkpoint */
#define GUARD_SWITCHOVER_DISK_BYTES (8u << 20)	/* ... unless the guest has written more since: the copy keeps that in overlays, and has to commit it before it speaks */
#define GUARD_SWITCHOVER_WARM_NS (10 * 1000000000ull)	/* for the checkpoint before the last to be loaded; the guest runs */
#define GUARD_SWITCHOVER_CATCHUP_NS (500 * 1000000ull)	/* for the copy to catch up after it; without it clients wait longer, and nothing else is lost */
#define GUARD_SWITCHOVER_CAUGHT_UP_NS (3 * 1000000ull)	/* no output has waited for longer: it has caught up */
#define GUARD_SWITCHOVER_LEVEL_NS (30 * 1000000ull)	/* ... and for so long: it needs no last checkpoint */
#define GUARD_SWITCHOVER_HOLD_NS (1000 * 1000000ull)	/* from then on until the standby is the owner: output is held, or the guest stands */
#define GUARD_SWITCHOVER_LATE_MAX 1000	/* frames; further ones are lost if the guest did not get them, as on a bad network */
#define GUARD_LEASE_MARGIN_DIV 5			/* a fifth of the suspicion time: for clocks that run at different speeds, and for frames on their way */

struct unloaded {		/* a checkpoint that was sealed, and that the copy has not loaded yet */
	uint64_t epoch, sealed_at;
	struct epoch_cost cost;		/* known when the guest runs again and the standby has committed it, whichever is first */
	bool resumed, committed;
};

struct disk_pending {		/* a mirrored write the standby has not applied yet */
	uint64_t seq;
	unsigned disk;
	uint64_t cookie;
	uint64_t bytes;
	bool answered;
};

enum guard_suspend {
	SUSPEND_NONE,
	SUSPEND_WANTED,			/* no further checkpoint; when QEMU waits with its next REQUEST */
	SUSPEND_STOPPING,		/* ... it is told to stop, or asked whether it stands */
	SUSPEND_DONE,			/* the guest stands: whatever it sends or writes tells that it was resumed */
};

enum switchover_step { SWITCHOVER_NONE, SWITCHOVER_AS_IT_IS, SWITCHOVER_WARM, SWITCHOVER_CATCHUP, SWITCHOVER_QUIET, SWITCHOVER_LAST, SWITCHOVER_STANDS, SWITCHOVER_TOLD };

struct switchover {			/* guard-switchover.c */
	enum switchover_step step;
	uint64_t epoch;			/* WARM: whose load is waited for. From STANDS on: the last one */
	uint64_t deadline;
	uint64_t since;			/* the guest is not heard: its output is held, or it stands */
	uint64_t level_since;		/* AS_IT_IS, CATCHUP: the copy has not been behind */
	struct comparator_stats before;	/* ... what had been heard of it before */
	bool level;			/* from QUIET on: it takes over as it runs */
	GQueue late;			/* frame-queue.h: read by QEMU between the last REPLY and the boundary */
	GQueue handed;			/* frame-queue.h: what the standby is to send, and we do if nothing comes of it; as much as the comparator may hold */
};

struct guard_primary {
	struct mode_state mode;		/* what it is to be */
	bool passive;			/* what it is, since the last boundary */
	struct passive_pace pace;	/* of it */
	struct askers *askers;		/* ... */
	char *bypass, *never_compare;	/* what is to leave uncompared, and by commit only */
	bool patterns_new;		/* ... from the next boundary on; forming a pair ends with one */
	uint64_t stopped_ns;		/* the copy stood for loads */
	struct relay *relay;
	struct comparator *comparator;
	bool let_go;			/* the initial migration is over: QEMU has READY, or will have it; what the guest writes then is of epoch 1 */
	bool tracking;			/* GUARD_OP_TRACK is under way: the guest stands */
	bool live;			/* the standby is READY: epochs count */
	uint64_t live_at;
	bool armed_wanted;		/* the record's claim is out */
	uint64_t arm_after;		/* epoch whose commit arms the pair */
	uint64_t arm_deadline;
	bool closing_epoch;		/* from the boundary until the guest goes on: QEMU reads for the next epoch */
	uint64_t detach_by;		/* GUARD_OP_DETACH waits for the end of a checkpoint, until then; 0: it does not wait */
	uint64_t boundary_held;		/* epoch whose boundary waits for its commit (held output at its limit); 0: none */
	uint64_t disk_sent, disk_applied;	/* sequence numbers */
	uint64_t disk_outstanding;	/* bytes */
	uint64_t disk_epoch_bytes;	/* of writes of this epoch */
	uint64_t disk_moved_at;		/* since the first write came that the standby has to do something for, or its last sign that it has */
	GQueue disk_pending;		/* of struct disk_pending */
	GList *disk_unanswered;		/* in it: all before this are answered; NULL: all are */
	struct disk_compare *compare;
	uint64_t disk_compared_bytes, disk_same_bytes;
	uint64_t committed, loaded;
	uint64_t checkpoint_pages, checkpoint_zero_pages, checkpoint_bytes, bytes_total;
	struct epoch_length epoch_length;
	struct epoch_cost cost;		/* of the last checkpoint after which the guest runs again; what its commit took is not in it */
	GQueue unloaded;		/* of struct unloaded, oldest first */
	uint64_t epoch_since, epoch_events;	/* this epoch's: its start, and what was seen of the guest */
	uint64_t worked_ns, epoch_worked_from_ns;	/* QEMU's CPU time: as of the last look, and of that before this epoch */
	uint64_t last_load_ns;
	uint64_t wants[RELAY_WANT_LAST];
	struct histogram pause, epoch, commit_lag, load, svm_stop;
	uint64_t lease_until;		/* before this time the standby cannot have taken our silence for death */
	uint64_t lease_waits;		/* times that output had to wait for it */
	bool lease_waiting;
	GArray *left;			/* of uint64_t: output of the copy whose twin has left, and the standby is not told yet; NULL: none */
	uint64_t left_due;
	enum guard_suspend suspend;
	bool off;			/* it has switched itself off, and no checkpoint was made since */
	uint64_t suspended_at;		/* the stop that no checkpoint made */
	uint64_t resumed_at;		/* the last checkpoint let the guest go */
	uint64_t own_stop_at;		/* GUARD_OP_SUSPEND was done: of stops until then nothing new is learnt, however late they are told */
	struct { uint64_t from, to, gone; } stops[GUARD_STOPS_KEPT];	/* the times in which our checkpoints stopped the guest, and when they let it go; a ring */
	unsigned next_stop;
	uint64_t heard_qemu;		/* its last frame or disk write that no checkpoint was asked for since; 0: there is none */
	uint64_t quiet_after;		/* not earlier is it asked for one because it is silent */
	bool nudging;			/* GUARD_OP_NUDGE is under way */
	uint64_t nudged;		/* the epoch in which it was tried */
	bool repair_wanted;		/* the standby has asked for a checkpoint that is not asked for yet */
	uint64_t repair_after;		/* ... and will be from this time on */
	uint64_t fit_from;		/* the copy reset itself: not fit to take over before it has loaded this epoch */
	struct switchover switchover;
	GQueue missed;			/* frame-queue.h: the guest may have missed these, and is given them again */
	GQueue given_again;		/* ... has been, since the last checkpoint */
	GQueue recent, older;		/* while memory is copied: what came in the last GUARD_RECENT_NS, or somewhat more */
	uint64_t recent_since;
	uint64_t ended_due;		/* QEMU has ended in good order: that was on purpose, unless another cause is told until then; 0: it has not; UINT64_MAX: judged */
	bool mirror_gone;		/* a disk's mirror has ended: what the guest writes now no checkpoint may count on */
	bool took_leave;		/* QEMU said NBD_CMD_DISC: it ends in good order, or the mirror was taken away */
};

struct guard_standby {
	struct standby *standby;
	struct unpacker *unpacker;	/* NULL: no packed piece has come */
	struct standby_proxy *proxy;
	struct announcer announcers[GUARD_MAX_NICS];
	struct disk_queue *disks;
	GHashTable *in_flight;		/* cookie -> struct disk_write */
	uint64_t next_cookie;
	uint64_t disk_received;		/* writes, = sequence number of the last one */
	uint64_t disk_prefix;		/* every write up to here is applied */
	uint64_t disk_told;		/* ... and of those up to here the primary knows */
	uint64_t untold_bytes, credit_due;	/* applied since; when it is told at the latest, UINT64_MAX: there is nothing to tell */
	GHashTable *disk_done;		/* sequence numbers applied beyond the prefix */
	GHashTable *comparing;		/* number -> struct comparison: its range is being read */
	uint64_t comparisons, comparing_bytes;	/* requests that came; of those in `comparing` */
	bool live;			/* the peer passed READY to its QEMU */
	bool passive;			/* from the next load on: it stands, and loads are put off */
	bool pausing;			/* GUARD_OP_STANDBY_PAUSE is under way: no REQUEST, or it would stop what the load has started */
	uint64_t loaded_at;
	uint64_t load_wanted;		/* epoch; 0: none */
	uint64_t disk_moved_at;		/* since load_wanted, or a write's end */
	bool going_live;		/* GO_SOLO was asked for */
	bool live_started;		/* ... and the copy is the VM: it hears through us until it can by itself */
	bool speaks;			/* ... and speaks: its disk is its images' */
	uint64_t live_due;		/* when GUARD_OP_STANDBY_LIVE begins */
	bool reset_in_load;		/* the SVM reset itself between REQUEST and LOADED as we see them: before its stop, or after the load */
	bool refreshing, refreshed;	/* GUARD_OP_STANDBY_REFRESH is under way, is done, for load_wanted */
	uint64_t refresh_until;		/* before this time GUARD_OP_STANDBY_REFRESH comes before each load */
	uint64_t off_until;		/* the copy has switched itself off: no load before this time, see GUARD_OFF_NS; 0: it has not */
	bool prelaunch;			/* it was reset from outside, maybe while it stood, or is in S3: it has to run before the next load */
	bool spoiled;			/* nothing can be loaded any more: its disk or its stream has failed */
	uint64_t loads;
	uint64_t repair_after;		/* while the copy is not fit, the peer is asked for a checkpoint, not before this time */
	bool told_unfit;		/* by an event: its end is told, too */
	bool handed_over;		/* a switchover is under way */
	uint64_t eager_to;		/* ... up to this epoch loads are not put off, whatever the mode */
	uint64_t unfit_event_after;	/* a copy may reset itself many times a second */
	struct histogram load, svm_stop;
};

struct guard {
	const struct guard_config *config;
	struct guard_env env;
	void *ctx;
	struct failover failover;
	struct liveness liveness;
	uint64_t looked_at, awake_since;
	unsigned looks_stopped;		/* without a break; since then: */
	uint64_t stopped_since;
	bool linked;			/* all channels are up: heartbeats flow */
	enum guard_phase phase;
	bool start_answered;
	bool finished;
	bool detaching;			/* primary: GUARD_OP_DETACH is under way */
	bool claim_out;
	char nonce[33];
	char failure[256];		/* the first cause, for people */
	bool written;			/* the last state that had to be durable is, or will be as soon as the disk answers */
	uint64_t fast_heard_at;		/* a frame over that connection */
	uint64_t peer_clock, peer_clock_at;	/* the peer's clock in its last heartbeat, and when that came */
	uint64_t state_since;
	uint64_t gap_from, gap_ns;	/* standby: the last sign of the primary's guest, and how long after it the copy was heard */
	uint64_t frames_skipped;	/* for GUARD_FAST_QUEUE_MAX */
	struct histogram round_trip;
	struct history history;
	struct guard_primary p;
	struct guard_standby s;
};

static inline bool
guard_is_primary(const struct guard *g)
{
	return g->config->role == FAILOVER_PRIMARY;
}

/* guard.c */
void guard_policy(struct guard *g, uint64_t now, enum failover_event_type event, enum failover_reason reason);
void guard_claim_generation(struct guard *g, uint64_t generation, const char *other, const char *reason);
void guard_send(struct guard *g, enum peer_type type, const void *head, size_t length, GBytes *body);
void guard_send_u64(struct guard *g, enum peer_type type, unsigned n, const uint64_t *values);
void guard_note_epoch(struct guard *g, uint64_t now, uint64_t pause_ns);	/* guard-history.c */
void guard_event(struct guard *g, const char *type, const char *format, ...) G_GNUC_PRINTF(3, 4);
void guard_started(struct guard *g, const char *failure);
void guard_set_phase(struct guard *g, enum guard_phase phase);
bool guard_persist(struct guard *g);
void guard_qemu_hung(struct guard *g, uint64_t now);

/* guard-primary.c */
void primary_init(struct guard *g, uint64_t now);
void primary_clear(struct guard *g);
void primary_start(struct guard *g, uint64_t now);
void primary_op_done(struct guard *g, uint64_t now, enum guard_op op);
void primary_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame);
void primary_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload);
void primary_freeze(struct guard *g);
void primary_worked(struct guard *g, uint64_t now, uint64_t cpu_ns);
void primary_hand_over(struct guard *g);
void primary_go_solo(struct guard *g, uint64_t now);
void primary_undo(struct guard *g, uint64_t now);
void primary_arm_verdict(struct guard *g, uint64_t now, enum arbiter_verdict verdict, const char *error);
void primary_lease(struct guard *g, uint64_t now, uint64_t heard);	/* the standby has heard what we sent at `heard` */
void primary_tick(struct guard *g, uint64_t now);
uint64_t primary_deadline(const struct guard *g);
uint64_t primary_epoch_limit_ns(const struct guard *g);	/* how long an epoch lasts when nothing asks for a checkpoint */
void primary_pump(struct guard *g, uint64_t now);
uint64_t primary_hang_patience(const struct guard *g, uint64_t usual);	/* ns; longer while nobody could take over */
void primary_stopped(struct guard *g, uint64_t now, uint64_t when);
void primary_off(struct guard *g, uint64_t now, bool off);
void primary_started(struct guard *g, uint64_t now, const uint64_t *starts, size_t n);
void primary_resume(struct guard *g, uint64_t now);
void primary_boundary_finish(struct guard *g, uint64_t now, uint64_t epoch);
void primary_mirror_inbound(struct guard *g, unsigned nic, GBytes *frame);
void primary_tell_left(struct guard *g);
void primary_pass_on_unsent(struct guard *g, uint64_t epoch, unsigned nic, GBytes *frame);
void primary_suspend_done(struct guard *g, uint64_t now, const GError *error);

/* guard-reinject.c */
void reinject_note(struct guard *g, uint64_t now, unsigned nic, GBytes *frame);
void reinject_let_go(struct guard *g, uint64_t now);	/* the end of the initial migration: QEMU gets READY */
bool reinject_waits(const struct guard *g);
void reinject_pump(struct guard *g);
void reinject_clear(struct guard *g);

/* guard-switchover.c */
void switchover_begin(struct guard *g, uint64_t now);
void switchover_ended(struct guard *g, uint64_t now);
void switchover_refused(struct guard *g, uint64_t now);
bool switchover_holds(const struct guard *g);		/* output waits, released or not */
bool switchover_stands(struct guard *g, uint64_t now, uint64_t epoch);	/* this boundary is the last one: the guest is not let go */
void switchover_mind_limit(struct guard *g, uint64_t now);	/* the guest has sent something */
void switchover_note_inbound(struct guard *g, unsigned nic, GBytes *frame);
void switchover_loaded(struct guard *g, uint64_t now, uint64_t epoch);
void switchover_committed(struct guard *g, uint64_t now, uint64_t epoch);
void switchover_give_back(struct guard *g);
void switchover_tick(struct guard *g, uint64_t now);
uint64_t switchover_deadline(const struct guard *g);
void switchover_want(struct guard *g, uint64_t now);
void switchover_clear(struct switchover *s);

/* guard-standby.c */
void standby_side_init(struct guard *g);
void standby_side_clear(struct guard *g);
void standby_side_start(struct guard *g, uint64_t now);
void standby_side_op_done(struct guard *g, uint64_t now, enum guard_op op);
void standby_side_frame(struct guard *g, uint64_t now, enum guard_port port, unsigned nic, GBytes *frame);
void standby_side_peer_frame(struct guard *g, uint64_t now, const struct peer_frame *frame, GBytes *payload);
void standby_side_freeze(struct guard *g, uint64_t now);
void standby_side_go_solo(struct guard *g, uint64_t now);
void standby_side_pump(struct guard *g, uint64_t now);
void standby_side_spoil(struct guard *g, uint64_t now);
void standby_side_repair(struct guard *g, uint64_t now);
void standby_side_tick(struct guard *g, uint64_t now);
uint64_t standby_side_deadline(const struct guard *g);
