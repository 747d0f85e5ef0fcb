/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calling a peer's daemon, blocking: for jobs. The connection belongs to the thread that opened it. */
#pragma once

#include "daemon/peer-link-io.h"

#include <json-c/json.h>

struct peer_client;
struct peer_client *peer_client_connect(const char *host, unsigned port, struct peer_credentials *creds, unsigned timeout_ms, GError **error);
void peer_client_close(struct peer_client *c);
typedef struct peer_client peer_client;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peer_client, peer_client_close)
const char *peer_client_name(const struct peer_client *c);	/* in the peer's certificate */
/* Takes parameters. The answer's parameters, owned. An error answer keeps its code; its message begins with the peer's name. */
struct json_object *peer_client_call(struct peer_client *c, const char *method, struct json_object *parameters, unsigned timeout_ms, GError **error);
/* The same; meanwhile `progress` gets what the peer tells of its progress (peer_progress_read(), taken), and only a silence of timeout_ms is too long. A peer of an older
 * version tells nothing. */
typedef void (*peer_client_progress)(struct json_object *progress, gpointer user_data);
struct json_object *peer_client_follow(struct peer_client *c, const char *method, struct json_object *parameters, unsigned timeout_ms, peer_client_progress progress,
				       gpointer user_data, GError **error);
