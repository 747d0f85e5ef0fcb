/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Builders for exactly the commands ftd sends, readers for exactly the replies it uses, and the recipes (plans) made of them: the sequences of
 * docs in man ftd-architecture(7), "QEMU". Ids: everything ftd adds to a QEMU is named "ftd-..." so that its absence can be checked.
 */
#pragma once

#include "qmp/qmp-plan.h"

#include <stdint.h>

struct json_object *qmp_command(const char *name, struct json_object *arguments);	/* arguments may be NULL; taken over */

struct json_object *qmp_getfd(const char *fdname);
struct json_object *qmp_closefd(const char *fdname);
struct json_object *qmp_chardev_add_fd(const char *id, const char *fdname);
struct json_object *qmp_chardev_remove(const char *id);
struct json_object *qmp_object_del(const char *id);
struct json_object *qmp_lost_heartbeat(void);
struct json_object *qmp_stop(void);
struct json_object *qmp_cont(void);
struct json_object *qmp_quit(void);
struct json_object *qmp_hmp(const char *line);
struct json_object *qmp_query(const char *what);	/* "query-status" ... without arguments */
struct json_object *qmp_qom_get(const char *path, const char *property);
struct json_object *qmp_qom_set_str(const char *path, const char *property, const char *value);
struct json_object *qmp_blockdev_del(const char *node);
struct json_object *qmp_job_cancel_force(const char *job_id);
struct json_object *qmp_announce_self(void);		/* initial 10, max 500, rounds 5, step 50 ms */
struct json_object *qmp_set_capabilities(bool x_colo, bool return_path);
struct json_object *qmp_set_migration_parameters(void);	/* x-checkpoint-delay 1 ms, max-bandwidth without a limit worth the name */
struct json_object *qmp_migrate_fd(const char *fdname);
struct json_object *qmp_migrate_incoming_fd(const char *fdname);

/* One NIC of the domain as QEMU knows it. */
struct qmp_nic {
	char netdev[64];	/* "hostnet0" */
	int out_fd, rel_fd, mir_fd;	/* primary; QEMU's ends, ownership moves to the plan */
	int inj_fd, cap_fd;		/* standby (rel_fd too) */
	bool has_rewriter;	/* a former standby: ftd-rew<i> is there and the primary's filters go before it */
	bool vnet_hdr;
};
struct qmp_disk {
	char device[128];	/* qdev id or QOM path of the frontend: "virtio-disk0" */
	char node[64];		/* root node of the guest's disk now ("libvirt-1-format", or "ftd-repl0" on a former standby) */
	uint64_t size;
	int nbd_fd;		/* primary: QEMU's end, -1 = use nbd_path */
	char nbd_path[108];	/* primary: the guard's NBD socket */
	char active_path[512], hidden_path[512];	/* standby: overlay files, made by the caller */
};

/* Recipes. i is the index of the NIC or disk. Filters are named ftd-rel<i>, ftd-out<i>, ftd-mir<i>, ftd-inj<i>, ftd-cap<i>, ftd-rew<i>; chardevs ftd-chr-<same>. */
struct qmp_plan *qmp_recipe_primary_nic(unsigned i, struct qmp_nic *nic);	/* getfd, chardev-add, object-add x3 with undo */
struct qmp_plan *qmp_recipe_primary_nic_detach(unsigned i);			/* mir, out, rel and their chardevs; all MAY_FAIL */
struct qmp_plan *qmp_recipe_standby_nic(unsigned i, struct qmp_nic *nic);
/* Ends the SVM's isolation. The caller has closed no fd yet: cap is removed first, then inj, then rel is kept until _finish. */
struct qmp_plan *qmp_recipe_standby_nic_open(unsigned i);
struct qmp_plan *qmp_recipe_standby_nic_finish(unsigned i);			/* rel and the chardevs */
struct qmp_plan *qmp_recipe_primary_disk(unsigned i, const struct qmp_disk *d);	/* blockdev-add ftd-nbd<i>, blockdev-mirror job ftd-mirror<i>; undo cancels and removes */
struct qmp_plan *qmp_recipe_primary_disk_detach(unsigned i);			/* after the guard closed its end: job-cancel force, blockdev-del */
struct qmp_plan *qmp_recipe_standby_disk(unsigned i, const struct qmp_disk *d);	/* hid, act, replication, qom-set drive, block-export-add */
struct qmp_plan *qmp_recipe_standby_disk_finish(unsigned i);			/* after failover: blockdev-del ftd-act<i>, ftd-hid<i> */
struct qmp_plan *qmp_recipe_nbd_server_start(const char *path);
struct qmp_plan *qmp_recipe_nbd_server_stop(void);
struct qmp_plan *qmp_recipe_drop_translations(void);				/* TCG only: hmp "loadvm nosuch", then cont (hazard: stale translations after a load) */

/* Readers. False + FTD_ERROR_QMP when the reply is not what QAPI promises. */
struct qmp_job { bool found, ready, actively_synced; uint64_t offset, length; char status[16]; char error[256]; };
bool qmp_read_job(struct json_object *query_block_jobs_reply, const char *job_id, struct qmp_job *out, GError **error);
bool qmp_read_status(struct json_object *query_status_reply, char status[32], bool *running, GError **error);
struct qmp_migration { char status[24]; uint64_t transferred, total, remaining; char error[256]; };
bool qmp_read_migration(struct json_object *query_migrate_reply, struct qmp_migration *out, GError **error);
bool qmp_read_tcg(struct json_object *query_kvm_reply, bool *tcg, GError **error);		/* "enabled": false means TCG */
bool qmp_read_version(struct json_object *query_version_reply, char version[64], unsigned *major, GError **error);
/* Has this QEMU x-colo? From query-migrate-capabilities. */
bool qmp_read_has_colo(struct json_object *query_migrate_capabilities_reply, bool *has, GError **error);
/* Is repl<i>'s overlay chain gone (failover commit done)? From query-named-block-nodes: ftd-repl<i>'s file child is `parent_node`. */
bool qmp_read_overlay_done(struct json_object *query_named_block_nodes_reply, unsigned i, const char *parent_node, bool *done, GError **error);
