/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two faces of the daemon: org.ftd for people (Varlink) and the calls of peers' daemons. Main thread. */
#pragma once

#include "daemon/host-io.h"

struct service;
struct service *service_new(struct host *host, GError **error);
void service_free(struct service *s);
/* The pairs whose primary is here are switched over to hosts that have not lost their uplink too. */
void service_uplink_lost(struct service *s);
/* Blocks: the answer of org.ftd.Status for all domains. */
struct json_object *service_status(struct host *h);
