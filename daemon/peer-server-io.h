/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answering peers' daemons. Each call runs as a job; answers and the end of a connection come back to the main thread. */
#pragma once

#include "daemon/job-io.h"
#include "daemon/peer-link-io.h"

#include <json-c/json.h>

#define PEER_SERVER_MAX_CONNECTIONS 64
#define PEER_SERVER_MAX_CALLS 4		/* running at once per connection */

struct peer_caller {
	const char *name;		/* in its certificate */
	const char *local_address;	/* the one it connected to: numeric */
	guint64 connection;		/* never used twice */
	struct job *job;		/* job_report() reaches the caller; NULL: it does not want to hear of it */
};
typedef struct json_object *(*peer_method)(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error);
struct peer_method_entry { const char *name; peer_method call; };

struct peer_server;
/* methods end with a NULL name. credentials() is asked per connection (a reference), so that a reload reaches new ones.
 * ended: on the main thread, after the last call of that connection. */
struct peer_server *peer_server_new(unsigned port, struct peer_credentials *(*credentials)(gpointer user_data), const struct peer_method_entry *methods,
				    void (*ended)(guint64 connection, gpointer user_data), gpointer user_data, GError **error);
/* Who is answered, by the name in its certificate; everybody, if it is not said. Asked on the thread of each call. false + error: what the call is answered with. */
void peer_server_serve_only(struct peer_server *s, bool (*served)(const char *name, gpointer user_data, GError **error));
unsigned peer_server_port(const struct peer_server *s);
void peer_server_free(struct peer_server *s);
