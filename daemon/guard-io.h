/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's shell: what guard-*-io.c share. Each file implements a part of struct guard_env and feeds the events of its sockets to the guard. */
#pragma once

#include "checkpoint/disk-target-io.h"
#include "daemon/bulk-packer-io.h"
#include "daemon/fd-stream-io.h"
#include "daemon/guard.h"
#include "daemon/peer-link-io.h"
#include "daemon/varlink-io.h"
#include "policy/arbiter-io.h"
#include "proxy/wire-frame.h"
#include "qmp/qmp-client-io.h"
#include "qmp/qmp-commands.h"
#include "qmp/qmp-tlb-flush.h"

#define GUARD_EVENTS_KEPT 1000
#define GUARD_SUBSCRIBERS_MAX 16
#define GUARD_FRAME_QUEUE_MAX (64u << 20)	/* bytes QEMU has not read from rel/inj; beyond it frames are dropped and counted */
#define GUARD_HELD_INJECTIONS_MAX 4096	/* frames; beyond it they are dropped and counted */
#define GUARD_QMP_TIMEOUT_MS 10000
#define GUARD_CLAIM_TIMEOUT_MS 3000
#define GUARD_PERSIST_WAIT_MS 100	/* less than any suspicion time that makes sense: a dead disk must not look like a dead guard */

struct guard_io;

struct port_io {		/* our end of one filter's socket */
	struct guard_io *io;
	enum guard_port port;
	unsigned nic;
	struct fd_stream *stream;
	struct wire_splitter *splitter;
	int far_end;		/* REL of a primary: QEMU's end once more, to see what it has not read; else -1 */
	uint64_t written;	/* bytes, with those that the stream still queues */
	GQueue unread;		/* of struct sent_frame: what QEMU may not have read yet */
};

struct tap_io {			/* a second descriptor of the guest's tap */
	struct guard_io *io;
	unsigned nic;
	int fd;			/* or -1, or 0 before taps_open() */
	int vnet_length;	/* of the virtio-net header in front of each frame */
	GSource *source;	/* reading: QEMU is dead */
};

struct disk_io {
	struct guard_io *io;
	unsigned disk;
	/* primary */
	char *nbd_path;
	int listen_fd;
	GSource *listen_source;
	struct fd_stream *stream;
	struct nbd_server *server;
	/* standby */
	struct disk_target *target;
	bool ready;
};

struct link_io {
	struct guard_io *io;
	enum peer_channel channel;
	struct peer_link *link;
	bool up;
};

struct guard_io {
	struct guard_config *config;
	struct guard *guard;
	GMainLoop *loop;
	GSource *timer;
	uint64_t armed_for;	/* ns; UINT64_MAX: not armed */
	uint64_t ticked_at;	/* ns: the last tick by the timer */
	unsigned handled;	/* frames of QEMU and of the peer */
	GError *fatal;

	struct port_io ports[GUARD_PORT_LAST][GUARD_MAX_NICS];
	struct disk_io disks[GUARD_MAX_DISKS];
	struct fd_stream *migration;
	struct fd_stream_pool *buffers;	/* primary: for checkpoints */
	guint gone_timer;	/* QEMU closed a socket: is it dead or unhappy? */
	char *gone_why;
	bool dead;		/* QEMU is gone for sure */
	bool leaving;		/* we remove filters ourselves: their sockets close */
	uint64_t frames_dropped;
	bool injection_held;	/* standby: the SVM stands for a moment by our own doing */
	GQueue held_injections;	/* frame-queue.h */
	struct tap_io taps[GUARD_MAX_NICS];	/* primary */
	guint taps_timer;
	int qemu_stat_fd;	/* /proc/PID/stat, or -1, or 0 before qemu_look_open() */
	clockid_t qemu_cpu_clock;
	GSource *qemu_look;

	struct peer_credentials *credentials;
	struct link_io links[PEER_CHANNEL_LAST];
	struct bulk_packer *packer;	/* primary; NULL: checkpoints go as they are */
	struct peer_listener *listener;
	GPtrArray *strangers;	/* of struct link_io: accepted, not introduced yet */

	struct qmp_client *qmp;
	bool monitor_closed;
	bool tcg;
	/* primary: GUARD_OP_TRACK */
	struct qmp_tlb_flush tlb_flush;
	gint64 flush_by;		/* us */
	GError *flush_error;
	guint flush_timer;
	struct json_object *old_parameters;	/* migration parameters as they were before */
	guint poll_timer;
	bool detaching, stays_suspended;	/* GUARD_OP_DETACH has begun, for a guest that an administrator had suspended */
	/* GUARD_OP_STANDBY_COMMIT; what is answered after its end is of no interest */
	bool committing, commit_stopped;	/* ... and the guest stands until it is done */
	uint64_t commit_began;
	guint commit_timer;
	GError *commit_error;
	uint64_t finish_late;		/* GUARD_OP_STANDBY_FINISH: when it is told that the overlays are waited for; UINT64_MAX: told */
	guint64 runs_by;		/* going live: after this time the guest need not run */
	unsigned memory_polls, downtime_ms;	/* of the initial migration */

	struct arbiter *arbiter;
	struct durable_writer *durable;
	struct durable_mark *silent;	/* standby: GUARD_SILENT_SUFFIX is there; NULL: this copy has spoken, or may have */

	struct varlink_server *control;
	struct varlink_request *start_request, *disable_request, *failover_request, *switchover_request;
	GQueue events;		/* of json_object */
	GPtrArray *subscribers;	/* of varlink_request */
};

static inline uint64_t
guard_io_now(void)
{
	return (uint64_t)g_get_monotonic_time() * 1000;
}

/* guard-io.c */
void guard_io_schedule(struct guard_io *io);	/* after every event: the next deadline may have moved */

/* guard-confine-io.c */
bool guard_confine_files(const struct guard_io *io, int *level, GError **error);	/* isolate_files() with what this guard needs */

/* guard-filters-io.c */
int filters_open(struct guard_io *io, enum guard_port port, unsigned nic, GError **error);	/* QEMU's end; ours is read from now on */
void filters_close(struct guard_io *io);
void filters_close_but(struct guard_io *io, enum guard_port kept);
void filters_env_write(void *ctx, enum guard_port port, unsigned nic, GBytes *frame);
void filters_env_drain(void *ctx);
void filters_env_take_back(void *ctx);
bool filters_env_unread(void *ctx, enum guard_port port);
void filters_hold_injection(struct guard_io *io, bool held);
int migration_open(struct guard_io *io, GError **error);
void migration_close(struct guard_io *io);
void migration_env_write(void *ctx, GBytes *bytes);
void qemu_closed(struct guard_io *io, bool surely_dead, const char *what);

/* guard-priority-io.c */
void priority_init(void);			/* before the privileges go, and the threads are made */
void priority_take_turns(void);		/* after each piece of work of which there may be much: other guards get this processor now */
void priority_moderate(struct guard_io *io);	/* just before the main loop runs */

/* guard-taps-io.c */
void taps_open(struct guard_io *io);	/* QEMU runs, and we may still look into other processes; what cannot be had is logged, and only costs time after a failover */
void taps_read(struct guard_io *io);	/* QEMU is dead */
void taps_close(struct guard_io *io);

/* guard-qemu-io.c */
int qemu_pid(const struct guard_io *io);	/* or -1 */
void qemu_look_open(struct guard_io *io);	/* before the guard is confined; what cannot be seen is logged */
void qemu_look_start(struct guard_io *io);	/* QEMU runs: guard_qemu_looked() from now on */
void qemu_look_end(struct guard_io *io);

/* guard-disks-io.c */
bool disks_listen(struct guard_io *io, GError **error);
void disks_close(struct guard_io *io);
void disks_drain(struct guard_io *io);	/* takes in what QEMU has written */
void disks_env_reply(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno);
void disks_env_submit(void *ctx, const struct disk_write *w, uint64_t cookie);
void disks_env_read(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie);
void disks_env_digest(const void *data, size_t length, uint8_t out[DISK_DIGEST]);
void disks_connect_targets(struct guard_io *io, const char *nbd_path);	/* guard_ops_targets_ready() when all are there */
void disks_resume_reading(struct guard_io *io);

/* guard-links-io.c */
bool links_init(struct guard_io *io, GError **error);
void links_connect(struct guard_io *io);
bool links_listen(struct guard_io *io, GError **error);
void links_close(struct guard_io *io);
void links_flush(struct guard_io *io);	/* heartbeats do not wait for the main loop's next turn */
void links_pause_bulk(struct guard_io *io, bool paused);	/* back-pressure on the peer */
void links_env_send(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body);
size_t links_env_queued(void *ctx, enum peer_channel channel);
void links_env_formed(void *ctx);
void links_env_generation(void *ctx, uint64_t generation);

/* guard-ops-io.c */
void ops_env_start(void *ctx, enum guard_op op);
void ops_targets_ready(struct guard_io *io);
void ops_clear(struct guard_io *io);

/* guard-control-io.c */
bool control_init(struct guard_io *io, GError **error);
void control_clear(struct guard_io *io);
void control_progress(struct guard_io *io, const char *phase, uint64_t done, uint64_t total, const uint64_t *same);	/* same: of what was compared; NULL: nothing was */
void control_env_event(void *ctx, struct json_object *event);
void control_env_started(void *ctx, const GError *error);
void control_env_switchover_off(void *ctx, const char *why);
void control_finished(struct guard_io *io);
void control_claim_silent(struct guard_io *io, const char *why);
