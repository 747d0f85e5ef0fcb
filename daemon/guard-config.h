/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What ftd tells a guard when it starts it: one JSON file, <run>/pairs/<uuid>/guard.json (mode 0600). Pure codec.
 * The guard's control socket is guard.sock beside it (interface org.ftd.Guard, see guard-interface.h).
 */
#pragma once

#include "policy/failover.h"
#include "policy/mode.h"
#include "proxy/flow-pattern.h"

#include <glib.h>
#include <stdbool.h>

#define GUARD_CONFIG_MAX (256 * 1024)
#define GUARD_MAX_NICS 8
#define GUARD_MAX_DISKS 16

struct guard_nic {
	char *netdev;
	bool has_rewriter;
	char *tap;		/* primary: the host's device; NULL: not known */
};
struct guard_disk {
	char *device;		/* QOM path that has the `drive` property: "/machine/peripheral/virtio-disk0/virtio-backend" or without the last part */
	char *qdev;		/* qdev id: "virtio-disk0" */
	char *node;		/* root node of the disk in this host's QEMU */
	guint64 size;
	char *active, *hidden;	/* standby: overlay files, made by ftd */
	bool compare;		/* primary: the peer's image was there before, and may be the same in many places */
};

struct guard_config {
	enum failover_role role;
	char *pair;		/* domain UUID */
	char *domain;		/* name */
	char *self, *peer;	/* host names, as in certificates and the arbiter's record */
	char *run_dir;		/* <run>/pairs/<uuid> */
	char *state_file;	/* /var/lib/ftd/pairs/<uuid>.json (durable-state) */
	char *arbiter;		/* spec */
	char *pki;
	char *libvirt_uri;
	guint64 generation;	/* the pair's: the primary writes this record when it arms the pair */
	char *token;		/* 64 hex digits: shared by the two guards of this pair, made by ftd */
	/* primary */
	char *peer_address;	/* FT link address of the peer */
	guint peer_port;	/* of its guard */
	/* standby */
	char *listen_address;	/* NULL: all */
	char *qmp_path;		/* the standby QEMU's second monitor, in <run_dir>/qemu */
	enum mode mode;		/* setting */
	bool return_path;	/* the migration capability that goes with x-colo: on from QEMU 11.0 on, off before */
	char *bypass, *never_compare;	/* primary: flow patterns (proxy/flow-pattern.h), comma separated; NULL: none */
	bool tcg_flush_load;	/* tcg-flush = load (default: live) */
	/* settings */
	guint heartbeat_ms, suspect_ms, max_epoch_ms, target_latency_ms, compare_timeout_ms;
	guint64 max_held_bytes, max_checkpoint_bytes, max_disk_bytes, page_cache_bytes;
	bool show_differences;	/* primary: bytes that differed may be shown (ftctl flows) */
	guint n_nics, n_disks;
	struct guard_nic nics[GUARD_MAX_NICS];
	struct guard_disk disks[GUARD_MAX_DISKS];
};

struct guard_config *guard_config_new(void);	/* with the defaults: 20, 150, 1000, 20 ms; 16, 512, 64 MiB */
void guard_config_free(struct guard_config *c);
typedef struct guard_config guard_config;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(guard_config, guard_config_free)
char *guard_config_encode(const struct guard_config *c);
/* FTD_ERROR_CONFIG with the key's name. Needed: everything but listen_address; peer_address and peer_port for the primary, qmp_path and the overlays of
 * each disk for the standby. What it accepts is well formed: pair is a UUID, token 64 hex digits, suspect_ms longer than heartbeat_ms. */
struct guard_config *guard_config_decode(const char *text, gsize length, GError **error);
/* Both lists in one. What was decoded is well formed; of another FTD_ERROR_CONFIG or _LIMIT. */
bool guard_config_patterns(const struct guard_config *c, struct flow_patterns *out, GError **error);
