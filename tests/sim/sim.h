/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated world: what its parts share. Theory of operation in world.c.
 *
 *   client.c   the ledger's client and the LAN            register.c  the arbiter
 *   guest.c    the guest: TCP server, ledger, disk        process.c   a guard: real cores, its sockets, struct guard_env
 *   qemu.c     QEMU around it: COLO stream, filters       link.c      the three connections of a pair
 *   check.c    what must hold after every step            faults.c    what happens to it, and when
 *   ftd.c      what becomes of a copy without a guard     breaks.c    rules that can be switched off
 *                                                         sim.c       seeds, command line
 */
#pragma once

#include "daemon/guard-internal.h"

#include <glib.h>
#include <setjmp.h>
#include <stdio.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

#define RAM_PAGES 12
#define RAM_BLOCK0 8		/* pages of the first RAM block (tests/checkpoint/stream.h) */
#define LEDGER_MAX 3000		/* numbers; three pages */
#define REQUEST_BYTES 8
#define REPLY_BYTES 8
#define SECTOR 16
#define SECTORS 64
#define DISK_BYTES (SECTOR * SECTORS)
#define COMPARE_BLOCK (4 * SECTOR)	/* a guard's is larger than this disk */
#define CLIENT_ISN 1000u
#define GUEST_ISN 5000u

struct world;

/* -- breaks ---------------------------------------------------------------------------------------------------------------- */

enum sim_break {
	BREAK_NONE,
	BREAK_DRAIN,
	BREAK_BOUNDARY,
	BREAK_HOLD,
	BREAK_SEAL,
	BREAK_WHOLE,
	BREAK_DISK_MARK,
	BREAK_DISK_EPOCH,
	BREAK_DISK_DISCARD,
	BREAK_DISK_BEFORE_LOAD,
	BREAK_MIRROR_ERROR,
	BREAK_ACK,
	BREAK_COMPARE,
	BREAK_EPOCH_TAG,
	BREAK_CHECKSUM,
	BREAK_FREEZE,
	BREAK_GRANT,
	BREAK_SILENCE,
	BREAK_NONCE,
	BREAK_ARM,
	BREAK_PERSIST,
	BREAK_FITNESS,
	BREAK_KEPT_OUTPUT,
	BREAK_TWIN_LEFT,
	BREAK_FAIL_CLOSED,
	BREAK_FENCE,
	BREAK_GENERATION,
	BREAK_FRAME_GENERATION,
	BREAK_COMPARE_TCP,
	BREAK_LOAD_OUTPUT,
	BREAK_MERGE,
	BREAK_SETTLED,
	BREAK_DISK_ERROR,
	BREAK_STOP_ANSWERS,
	BREAK_LEASE,
	BREAK_SUSPICION,
	BREAK_HANG,
	BREAK_AWAKE,
	BREAK_READY_WAIT,
	BREAK_DISK_WAIT,
	BREAK_SUSPEND,
	BREAK_RESET_IN_LOAD,
	BREAK_SPOIL,
	BREAK_ARMED,
	BREAK_ASK_AGAIN,
	BREAK_TAKE_BACK,
	BREAK_YIELD,
	BREAK_DENIED,
	BREAK_CLOSING,
	BREAK_ORPHAN_CLAIM,
	BREAK_FOLLOWED,
	BREAK_GIVEN_UP,
	BREAK_EMPTY_ARBITER,
	BREAK_REPAIR,
	BREAK_STOPPED,
	BREAK_STANDS,
	BREAK_SWITCHOVER,
	BREAK_SWITCHED,
	BREAK_HANDED,
	BREAK_OVERLAYS,
	BREAK_HEARD,
	BREAK_OVERTAKEN,
	BREAK_SAME,
	BREAK_OFF,
	BREAK_LAST
};
extern const struct break_info { const char *name, *text; } break_infos[BREAK_LAST];
extern enum sim_break broken;	/* one for the process: the seams in breaks.c have no other way to know */

/* -- time --------------------------------------------------------------------------------------------------------------------- */

struct event {
	uint64_t at, order;
	void (*fn)(struct world *w, struct event *e);
	unsigned host;
	uint64_t life;		/* of whom it is for: an event for somebody who is gone is dropped */
	bool of_qemu;		/* QEMU does it: not while it hangs */
	GBytes *bytes;		/* owned */
	uint64_t a, b;
};

/* -- guest -------------------------------------------------------------------------------------------------------------------- */

struct guest_core {		/* page 0 */
	uint32_t rcv_nxt, snd_nxt, snd_una, ack_sent;
	uint32_t n_recv, n_done, udp_sent;
	uint32_t part_length;
	uint64_t sent_at;
	uint8_t part[REQUEST_BYTES];
};

struct guest {
	_Alignas(16) uint8_t page[RAM_PAGES][4096];	/* the first begin with structs */
};

static inline struct guest_core *
guest_core(struct guest *g)
{
	return (void *)g->page[0];
}

static inline const struct guest_core *
guest_core_const(const struct guest *g)
{
	return (const void *)g->page[0];
}

static inline uint32_t *
guest_value(struct guest *g, uint32_t n)	/* what the ledger holds at n */
{
	return (uint32_t *)(void *)g->page[1] + n;
}

static inline uint32_t
guest_value_of(const struct guest *g, uint32_t n)
{
	return ((const uint32_t *)(const void *)g->page[1])[n];
}

/* -- QEMU ------------------------------------------------------------------------------------------------------------------------- */

enum machine { MACHINE_ON, MACHINE_OFF, MACHINE_PRELAUNCH };	/* it has switched itself off; libvirt has reset it, and starts it in a moment */
enum net { NET_DIRECT, NET_FILTERED, NET_STANDBY, NET_SHUT };
enum colo { COLO_NONE, COLO_OUT_INITIAL, COLO_OUT_REQUESTED, COLO_OUT_STOPPING, COLO_OUT_SENT, COLO_OUT_RUNNING, COLO_IN_INITIAL, COLO_IN_STARTING, COLO_IN_IDLE, COLO_IN_REPLIED, COLO_IN_LOADING };

struct qemu {
	struct world *w;
	unsigned host;
	bool alive, running, kicked;
	bool suspended;			/* an administrator wants the guest to stand */
	uint64_t wish, wished_at;	/* number and time of an administrator's last wish */
	bool wish_lost;			/* what ftd(8) says of such wishes: somebody has to look after the guest */
	uint64_t life, kick_at;
	uint64_t hung_since, hung_until;	/* stopped by SIGSTOP, or stuck */
	bool restoring;				/* standby: GUARD_OP_STANDBY_REFRESH is under way: RUN_STATE_RESTORE_VM */
	bool stopped;			/* ... by SIGSTOP, which its guard sees */
	enum machine machine;
	struct guest guest;
	struct guest shadow;		/* PVM: as last sent, what differs is dirty. SVM: as last loaded (QEMU's colo_cache) */
	enum net net;
	GQueue rx;			/* GBytes: frames the guest has not taken */
	uint64_t lan_last;

	uint8_t disk[DISK_BYTES], overlay[DISK_BYTES];
	bool has_overlay, in_overlay[SECTORS];
	bool mirror, mirror_broken;
	uint64_t cookie;		/* NBD */
	GHashTable *copying;		/* cookies of the initial copy */
	bool write_out, write_local, write_remote;
	uint32_t write_n;
	uint64_t write_cookie;

	enum colo colo;
	unsigned last_block;
	uint64_t epoch;			/* PVM: as the guard counts. SVM: loaded + 1 */
	GByteArray *in;			/* bytes from the guard */
	struct migration_reader *reader;
	uint32_t emitted_from;		/* SVM: snd_nxt as it was loaded */
	bool was_reset;			/* SVM: since the last load */
	bool reset_at_load;		/* SVM: it will, as soon as the next load lets it run */
};

/* -- guard process -------------------------------------------------------------------------------------------------------------------- */

enum source { SRC_MIR, SRC_OUT, SRC_CAP, SRC_MIG, SRC_NBD, SRC_FAST, SRC_BULK, SRC_DISK, SRC_CLAIM, SRC_OPS, SRC_DONE, SRC_QMP, SRC_READ, SRC_LAST };
enum item_kind { ITEM_DATA, ITEM_CLOSED, ITEM_QEMU_GONE, ITEM_QEMU_CLOSED, ITEM_RESET, ITEM_DISABLE, ITEM_FAILOVER, ITEM_SWITCHOVER, ITEM_GUEST_ENDED, ITEM_START,
	ITEM_STOPPED, ITEM_STARTED, ITEM_RESUMED, ITEM_PANICKED, ITEM_DISK_ERROR, ITEM_SET_MODE, ITEM_OFF, ITEM_PRELAUNCH, ITEM_ON };

struct item {
	enum item_kind kind;
	GBytes *bytes;
	uint64_t a, b;
};

struct proc {
	struct world *w;
	unsigned host;
	bool alive, exiting;
	uint64_t life, paused_until;
	struct guard *g;
	struct guard_config *config;
	GQueue src[SRC_LAST];
	bool dispatching, scheduled;
	uint64_t armed_for, generation, disk_last, op_round;
	uint64_t claim_seq;
	bool claim_open;
	bool ports_open, disks_open, migration_open;
	struct durable_state durable;
	bool has_durable, persist_fails, persist_crashes, persist_failed;
	unsigned ops_open;		/* bits of enum guard_op */
	bool op_fails;			/* the next operation while the pair forms */
	unsigned crash_in;		/* calls of struct guard_env until it crashes; 0: it does not */
	uint64_t released_same;		/* when it should have stopped */
	bool held;
	uint64_t starts[GUARD_STARTS_MAX];	/* primary: when QEMU started the guest last, a ring */
	unsigned next_start;
	bool tell_starts;		/* primary: its guard has said that the guest stands, and wants to know when it runs */
	bool knows_off;			/* it was told that its guest is switched off, and not yet that it runs */
	bool known_unfit;		/* standby: it was told that its copy cannot go live */
	bool asked;			/* it has claimed the VM for itself, and was not answered */
	bool live;			/* standby: GUARD_OP_STANDBY_WAKE was started: the copy is the VM */
	bool spoke;			/* ... and may have been heard: guard_env.speaks, durable */
	bool live_by_silence;		/* ... because the primary was silent for too long */
	uint32_t kept_to;		/* standby: sequence number up to which it had sent at the take-over */
};

struct host {
	bool power;
	bool damaged;			/* something happened that its guard, or its copy, does not recover from in this round */
	bool copy_lost;			/* ... its copy, by something else than a loss of power */
	bool startable;			/* its domain is off and may be started: whoever does finds what is on the disk */
	char *state_file;		/* the guard's durable state; NULL: there is none */
	struct {
		uint64_t life, orphan_since;
		uint64_t stale_since;		/* its copy was given up, and may be the newest after all; 0: not */
		const char *finished;		/* what its guard has said in the end; NULL: nothing */
	} ftd;
	uint64_t off_since;		/* when it lost power */
	uint64_t disk_ns, disk_fail;	/* slowness of its disk; the nth write to the copy fails */
	struct qemu q;
	struct proc p;
};

/* -- link ------------------------------------------------------------------------------------------------------------------------------- */

struct direction {
	uint64_t last_at;
	GQueue pending;			/* struct item: arrived while it was cut */
	uint64_t queued;
};

struct link {
	uint64_t life[PEER_CHANNEL_LAST];
	bool open[PEER_CHANNEL_LAST];
	bool cut[2];			/* by sender */
	struct direction d[PEER_CHANNEL_LAST][2];
	bool corrupt;			/* the next piece of a checkpoint gets a wrong byte */
	uint64_t latency, jitter, ns_per_kb;
	unsigned loss;			/* per mille of messages that wait for a retransmission, and all behind them */
};

struct reg {
	GArray *records;		/* struct arbiter_record by generation */
	bool cut[2], empty[2];		/* out of reach; a share that is not mounted */
	uint64_t delay, claims;
};

struct client {
	uint32_t snd_una, snd_nxt, rcv_nxt;
	uint32_t n_sent, n_acked, window;
	uint64_t sent_at, rto, think;
	bool kicked;
	bool silent;			/* asks nothing new */
};

/* What has reached the LAN. */
struct witness {
	uint32_t max_ack, max_end;
	bool known[LEDGER_MAX * REPLY_BYTES];
	uint8_t stream[LEDGER_MAX * REPLY_BYTES];
	uint32_t udp_max;
	bool udp_known[LEDGER_MAX / 4 + 1];
	uint32_t udp[LEDGER_MAX / 4 + 1];
};

struct world {
	uint64_t seed, now, order, rng;
	struct event *heap;
	size_t heap_n, heap_size;
	bool verbose, story;
	char violation[512];
	struct host host[2];
	struct link link;
	struct reg reg;
	struct client client;
	struct witness lan;
	GPtrArray *snapshots;		/* struct guest by epoch of this round */
	unsigned primary, round;
	uint64_t generation;		/* of this round's pair */
	unsigned max_epoch_ms, compare_ms;
	uint64_t max_held, max_disk;
	bool reached_rel[LEDGER_MAX * REPLY_BYTES];	/* stream bytes that a guard has let go */
	unsigned diverge;		/* percent */
	unsigned loss;			/* per mille of LAN frames */
	uint64_t guest_delay, load_ns, loop_delay;
	bool guest_ended, flush_load;
	enum mode mode;			/* as configured; an operator may set another */
	bool described;			/* the machine is: the initial stream tells its end */
	bool image_found;		/* this round's standby has the image that the host had before */
	uint64_t ended_due;		/* by then the primary's claim for a VM that was shut down is written; 0: it need not be */
	bool arm_sent;			/* in this round */
	bool calm;			/* the faults of this round have stopped */
	uint64_t steps;
	uint64_t released;
	unsigned loads, takeovers, solos;
	FILE *out;
};

#define NAME(host) ((host) ? 'b' : 'a')
#define STANDBY(w) (!(w)->primary)

/* world.c */
uint64_t rnd(struct world *w, uint64_t n);		/* below n */
uint64_t between(struct world *w, uint64_t low, uint64_t high);
bool chance(struct world *w, unsigned percent);
void later(struct world *w, uint64_t delay, const struct event *e);	/* takes what is in it */
void say(struct world *w, int host, const char *format, ...) G_GNUC_PRINTF(3, 4);
void violated(struct world *w, const char *rule, const char *format, ...) G_GNUC_PRINTF(3, 4);
bool world_step(struct world *w, uint64_t until);		/* false: nothing left before `until` */
struct world *world_new(uint64_t seed, bool verbose, FILE *out);
void world_free(struct world *w);

/* guest.c */
void guest_boot(struct guest *g);
void guest_run(struct qemu *q);
bool guest_stream_byte(const struct guest *g, uint32_t offset, uint8_t *out);	/* of its side of the connection; false: not said yet */
uint8_t client_stream_byte(uint32_t offset);
GBytes *frame_from_client(uint32_t seq, uint32_t ack, const uint8_t *data, size_t length);
void sector_fill(uint8_t out[SECTOR], uint32_t n, uint32_t value);

/* qemu.c */
void qemu_init(struct qemu *q, struct world *w, unsigned host);
void qemu_clear(struct qemu *q);
void qemu_kick(struct qemu *q, uint64_t delay);
void qemu_transmit(struct qemu *q, GBytes *frame);		/* takes it */
void qemu_disk_write(struct qemu *q, uint32_t n, uint32_t value);
void qemu_hear(struct qemu *q, GBytes *frame);			/* from the LAN */
void qemu_inject(struct qemu *q, GBytes *frame);
void qemu_migration_input(struct qemu *q, GBytes *bytes);
void qemu_start_mirror(struct qemu *q);
void qemu_start_migration(struct qemu *q);
void qemu_nbd_reply(struct qemu *q, uint64_t cookie);
void qemu_leave(struct qemu *q);				/* primary: everything the pair added is gone */
void qemu_prepare_standby(struct qemu *q);
void qemu_commit_overlay(struct qemu *q);
void qemu_disk_view(const struct qemu *q, uint8_t out[DISK_BYTES]);
bool qemu_loading(const struct qemu *q);
void qemu_stop(struct qemu *q);					/* the monitor's command */
void qemu_suspend(struct qemu *q);				/* an administrator's wish, and the command */
void qemu_resume(struct qemu *q);
void qemu_look_after(struct qemu *q);
void qemu_reset_copy(struct qemu *q);
void qemu_let_run(struct qemu *q);				/* the monitor's `cont`, from PRELAUNCH */
void qemu_switch_off(struct qemu *q);				/* the guest does it, to be started again by libvirt */
void qemu_kill(struct qemu *q);
void qemu_guard_gone(struct qemu *q);			/* the far ends of its sockets are closed */
void lan_from_host(struct world *w, unsigned host, GBytes *frame, uint64_t life);

/* process.c */
void proc_start(struct proc *p, struct world *w, unsigned host, enum failover_role role, uint64_t generation);
void proc_clear(struct proc *p);
void proc_push(struct proc *p, enum source source, enum item_kind kind, GBytes *bytes, uint64_t a, uint64_t b);	/* takes bytes */
void proc_tell(struct proc *p, enum item_kind what, uint64_t delay, uint64_t a);	/* by ftd, by QEMU's monitor */
void proc_guest_started(struct proc *p);
void proc_kill(struct proc *p);
void proc_pause(struct proc *p, uint64_t for_ns);
bool proc_live(const struct proc *p);
bool proc_may_speak(const struct proc *p);

/* link.c */
void link_reset(struct world *w);		/* a new pair's */
void link_clear(struct world *w);
void link_open(struct world *w);
void link_send(struct world *w, unsigned from, enum peer_type type, uint64_t generation, const void *head, size_t length, GBytes *body);
void link_finish(struct world *w, unsigned from);	/* the process ended: what it sent arrives, then the end of the connections */
void link_break(struct world *w, enum peer_channel channel);	/* reset: what is under way is lost, both ends hear of it */
void link_set_cut(struct world *w, unsigned from, bool cut);

/* register.c */
void register_claim(struct world *w, unsigned host, const struct arbiter_record *record);
uint64_t register_newest(const struct world *w);
const struct arbiter_record *register_record(const struct world *w);	/* the newest */
int register_known(const struct world *w, unsigned host);	/* 1: it has records, 0: none, -1: no answer */
enum arbiter_verdict register_claim_now(struct world *w, unsigned host, const struct arbiter_record *record);
int register_owner(const struct world *w);	/* host that owns alone the newest generation, -1: nobody */

/* ftd.c */
void ftd_guard_gone(struct world *w, unsigned host);	/* without a word, or its host is up again */
void ftd_guard_finished(struct world *w, unsigned host);
void ftd_forget(struct world *w, unsigned host);	/* the pair that was */

/* client.c */
void client_start(struct world *w);
void client_clear(struct world *w);
void lan_enter(struct world *w, unsigned host, GBytes *frame);

/* check.c */
const struct guest *survivor(const struct world *w);	/* state of the copy that would take over now; NULL: none could */
void check_step(struct world *w);
void check_frame(struct world *w, unsigned host, GBytes *frame);
void check_takeover(struct world *w, unsigned host);
void check_startable(struct world *w, unsigned host);
void check_followed(struct world *w, unsigned host);
void check_kept(struct world *w, unsigned host);
void check_handed(struct world *w, unsigned host);
void check_release(struct world *w, struct proc *p);
void check_given_up(struct proc *p);
void check_claim(struct world *w, const struct proc *p);
void check_heard(const struct proc *p);
void note_release(struct world *w, GBytes *frame);

/* faults.c */
void faults_run(struct world *w);		/* the whole story of one seed */
const char *story_name(unsigned i);		/* NULL: there are no more */
bool story_run(struct world *w, const char *name);

/* breaks.c */
int break_find(const char *name);
bool breaks_message(struct world *w, unsigned from, enum peer_type type, GBytes **payload);	/* false: the message is swallowed */
void breaks_before_tick(struct proc *p);
