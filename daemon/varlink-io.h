/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink over unix sockets: the server in ftd and in each guard, a blocking client for ftctl, an asynchronous one for ftd.
 * JSON parameters given to a function are borrowed unless its comment says "takes"; NULL is {}. Those given to a callback are valid during it.
 */
#pragma once

#include "daemon/varlink.h"

#include <sys/types.h>

/*
 * Server: org.varlink.service.GetInfo and GetInterfaceDescription are answered by it. Runs in the thread-default main context. At most 64 connections,
 * one call at a time on each (pipelined ones wait), at most 4 MiB of replies that a slow reader has not taken: then it is disconnected.
 * Methods with changes_state are for root, the server's own user and members of the socket's group (SO_PEERCRED, SO_PEERGROUPS); others get FTD_ERROR_DENIED.
 */
struct varlink_server;
struct varlink_request;		/* one call; alive until its final reply, or, with varlink_request_on_gone(), until its connection goes away */
typedef void (*varlink_method)(struct varlink_request *request, struct json_object *parameters, gpointer user_data);
struct varlink_method_entry { const char *name; varlink_method call; bool changes_state; };	/* name: "Enable" */

struct varlink_server *varlink_server_new(const char *socket_path, mode_t mode, const char *group, const char *interface_name, const char *interface_description,
					  const struct varlink_method_entry *methods, gpointer user_data, GError **error);
/* Called for each call of a method that changes state, before the method and also when it is refused. `refused`: the caller may not. */
typedef void (*varlink_note)(const char *method, struct json_object *parameters, const char *caller, bool refused, gpointer user_data);
void varlink_server_note_changes(struct varlink_server *s, varlink_note note);
void varlink_server_free(struct varlink_server *s);	/* unfinished requests are gone with it */
typedef struct varlink_server varlink_server;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(varlink_server, varlink_server_free)
const char *varlink_request_caller(const struct varlink_request *r);	/* "uid 0 pid 123", for the log */
bool varlink_request_wants_more(const struct varlink_request *r);
/* A reply that is followed by others (left out when the caller did not ask for more); false when the caller is gone. Takes parameters. */
bool varlink_request_notify(struct varlink_request *r, struct json_object *parameters);
void varlink_request_finish(struct varlink_request *r, struct json_object *parameters);	/* takes parameters; r is gone after it */
void varlink_request_fail(struct varlink_request *r, const GError *error);			/* r is gone after it */
/* Called when the connection of an unfinished request goes away; r is invalid after it. Without it r stays valid and its replies go nowhere. */
void varlink_request_on_gone(struct varlink_request *r, void (*gone)(struct varlink_request *r, gpointer user_data), gpointer user_data);

/* Client, blocking (ftctl) ... */
/* For each reply with "continues" `progress` is called; the final parameters are returned (owned). FTD_ERROR_NO_DAEMON when nobody listens.
 * progress returns false to end the call early: {} is returned then. timeout_ms: longest silence before each reply, < 0: none. */
struct json_object *varlink_call_sync(const char *socket_path, const char *method, struct json_object *parameters, bool more,
				      bool (*progress)(struct json_object *parameters, gpointer user_data), gpointer user_data, int timeout_ms, GError **error);
/* ... and asynchronous (ftd to its guards). `done` exactly once unless the call is cancelled, and never from inside of varlink_call_async();
 * with `more`, `progress` before it. The handle is gone with done (also while it runs: do not cancel there). timeout_ms: longest silence before each reply, 0: none. */
struct varlink_pending;
struct varlink_pending *varlink_call_async(const char *socket_path, const char *method, struct json_object *parameters, bool more, unsigned timeout_ms,
					   void (*progress)(struct json_object *parameters, gpointer user_data),
					   void (*done)(struct json_object *parameters, const GError *error, gpointer user_data), gpointer user_data);
void varlink_call_cancel(struct varlink_pending *p);	/* frees p; allowed inside of progress; NULL is ignored */
