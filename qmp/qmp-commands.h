/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Builders for exactly the commands ftd sends (QEMU's qapi/ has the schema). Pure. The recipes made of them are in qmp-recipes.h, the readers of their replies in
 * qmp-readers.h; this header brings both along.
 */
#pragma once

#include "qmp/qmp-readers.h"
#include "qmp/qmp-recipes.h"

#include <json-c/json.h>

struct json_object *qmp_command(const char *name, struct json_object *arguments);	/* arguments may be NULL; taken over */

struct json_object *qmp_getfd(const char *fdname);
struct json_object *qmp_closefd(const char *fdname);
struct json_object *qmp_chardev_add_fd(const char *id, const char *fdname);
struct json_object *qmp_chardev_remove(const char *id);
struct json_object *qmp_object_del(const char *id);
struct json_object *qmp_lost_heartbeat(void);
/* Replication nodes of a standby begin to commit their overlays, as qmp_lost_heartbeat() has them do, which then finds it done (block/replication.c, replication_stop()). */
struct json_object *qmp_replication_failover(void);
struct json_object *qmp_stop(void);
struct json_object *qmp_cont(void);
struct json_object *qmp_quit(void);
struct json_object *qmp_hmp(const char *line);
struct json_object *qmp_query(const char *what);	/* "query-status" ... without arguments */
struct json_object *qmp_qom_list(const char *path);
struct json_object *qmp_qom_get(const char *path, const char *property);
struct json_object *qmp_qom_set_str(const char *path, const char *property, const char *value);
struct json_object *qmp_blockdev_del(const char *node);
struct json_object *qmp_job_cancel_force(const char *job_id);
struct json_object *qmp_job_dismiss(const char *job_id);
struct json_object *qmp_announce_self(void);		/* initial 10, max 500, rounds 5, step 50 ms */
struct json_object *qmp_set_capabilities(bool x_colo, bool return_path);
/* x-checkpoint-delay 1 ms; max-bandwidth without a limit worth the name; downtime-limit QMP_DOWNTIME_MS: with a fast link QEMU's own 300 ms are enough to send
 * a small guest's whole memory while it stands. */
#define QMP_DOWNTIME_MS 20
struct json_object *qmp_renew_checkpoint_timer(void);	/* QEMU under COLO sends its REQUEST soon */
struct json_object *qmp_set_migration_parameters(void);
struct json_object *qmp_set_downtime_limit(unsigned ms);	/* for a guest that dirties its memory faster than that allows */
/* Whether a guest is made to announce itself soon after each load of its state (hw/net/virtio-net.c, virtio_net_post_load_device()). Not: in 100 s, which the next
 * load puts off again. (No rounds at all is a NULL timer to QEMU 11.1, which it does not survive.) */
struct json_object *qmp_set_announce_after_load(bool soon);
/* Puts those parameters back to what a query-migrate-parameters reply's "return" said before. */
struct json_object *qmp_restore_migration_parameters(struct json_object *old);
struct json_object *qmp_migrate_fd(const char *fdname);
struct json_object *qmp_migrate_incoming_fd(const char *fdname);
