/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Measuring the way to a peer's daemon: asked here, answered there. All of it blocks. */
#pragma once

#include "daemon/peer-check.h"
#include "daemon/peer-client-io.h"

bool link_measure(struct peer_client *client, struct link_facts *out, GError **error);
/* Are the ports reached that guards listen on, which the kernel chooses? Asks the peer for one and connects to it. */
bool link_port_is_open(struct peer_client *client, const char *host, GError **error);	/* FTD_ERROR_PEER_UNREACHABLE */

struct json_object *link_answer_echo(void);			/* method Echo */
struct json_object *link_answer_listen(GError **error);		/* method Listen; FTD_ERROR_LIMIT while too many are open */
