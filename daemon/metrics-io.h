/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Serves metrics.c over HTTP on <run>/metrics.sock, and on a loopback address where metrics-listen says so. Main thread. */
#pragma once

#include "daemon/host-io.h"

struct metrics_server;
/* `collect` blocks and runs in a job: the answer of org.ftd.Status for all domains. */
struct metrics_server *metrics_server_new(struct host *host, struct json_object *(*collect)(struct host *host), GError **error);
void metrics_server_free(struct metrics_server *s);
