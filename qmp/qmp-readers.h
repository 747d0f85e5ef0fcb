/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers for exactly the replies ftd uses. Each takes the whole {"return": ...}; false + FTD_ERROR_QMP when the reply is not what QAPI promises, with the outputs
 * untouched. Pure.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct qmp_job {
	bool found, ready, actively_synced;
	uint64_t offset, length;
	char status[16];	/* "concluded": over, `error` says why ("" = cancelled or done) */
	char error[256];
};
bool qmp_read_job(struct json_object *query_block_jobs_reply, const char *job_id, struct qmp_job *out, GError **error);
bool qmp_read_status(struct json_object *query_status_reply, char status[32], bool *running, GError **error);
bool qmp_status_stands(const char *status);	/* the guest stands until somebody starts it: an administrator has stopped it, or QEMU, for what happened to it */
/* Is the guest stopped by our own doings (a migration that ended, COLO)? Then it is ours to continue; one that an administrator suspended is not. */
bool qmp_read_left_stopped(struct json_object *query_status_reply);
/* Was the end of the mirrors broken off (qmp-recipes.h)? From qom-list of /objects. */
bool qmp_read_left_standing(struct json_object *qom_list_reply, bool *standing, GError **error);
struct qmp_migration { char status[24]; uint64_t transferred, total, remaining; char error[256]; };	/* status "none" before the first migration */
bool qmp_read_migration(struct json_object *query_migrate_reply, struct qmp_migration *out, GError **error);
bool qmp_read_tcg(struct json_object *query_kvm_reply, bool *tcg, GError **error);		/* "enabled": false means TCG */
bool qmp_read_version(struct json_object *query_version_reply, char version[64], unsigned *major, GError **error);
/* Has this QEMU x-colo? From query-migrate-capabilities. */
bool qmp_read_has_colo(struct json_object *query_migrate_capabilities_reply, bool *has, GError **error);
/* Does a NIC's traffic still pass our sockets? From query-chardev: one of the channels of qmp-recipes.c is there. */
bool qmp_read_has_channels(struct json_object *query_chardev_reply, bool *has, GError **error);
/* Is repl<i>'s overlay chain gone (failover commit done)? From query-named-block-nodes: ftd-repl<i>'s file child is `parent_node`. */
bool qmp_read_overlay_done(struct json_object *query_named_block_nodes_reply, unsigned i, const char *parent_node, bool *done, GError **error);
/* Does QEMU still have an overlay of disk i, or the file `path` in any node? It lets go of none before the commit is done. From the same. */
bool qmp_read_overlays_left(struct json_object *query_named_block_nodes_reply, unsigned i, const char *path, bool *left, GError **error);
