/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an operator does with a pair in several steps, over both of its hosts. Each blocks: for jobs. Theory of operation in operations-io.c. */
#pragma once

#include "daemon/job-io.h"
#include "daemon/peer-server-io.h"
#include "daemon/pairs-io.h"

enum operation { OPERATION_SWITCHOVER, OPERATION_TEST_FAILOVER, OPERATION_TEST_RESTART, OPERATION_MIGRATE_STANDBY, OPERATION_SUSPEND, OPERATION_RESUME, OPERATION_LAST };

/* peer: the new standby's host (MIGRATE_STANDBY). job may be NULL. The answer: {host, gap_ms}, see ftctl(1). */
struct json_object *operation_run(struct host *h, enum operation what, const char *domain, const char *peer, struct job *job, GError **error);
/* Every pair of this host moves away, and none comes; undo: they may come. Answers {moved}. */
struct json_object *operation_drain(struct host *h, bool undo, struct job *job, GError **error);
/* The peer's daemon asks: for an operation on the primary's host; to protect again what it has lost or given away; to end the standby that is here. */
struct json_object *operation_for_peer(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error);
struct json_object *operation_protect(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error);
struct json_object *operation_end_standby(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error);
