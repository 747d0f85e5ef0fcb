/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all parts of one daemon share: its configuration, its name, its certificates, its events. Everything here may be called from any thread. */
#pragma once

#include "daemon/config.h"
#include "daemon/peer-link-io.h"

#include <json-c/json.h>

struct host {
	const struct ftd_config *config;
	const char *name;			/* of this host, as in its certificate */
	struct pairs *pairs;			/* pairs-io.h */
	struct pool *pool;			/* pool-io.h */
	struct event_log *events;
	gint uplink_lost;			/* atomic: this host has lost the guests' LAN (uplink-io.h) */
	GMutex lock;
	struct peer_credentials *credentials;	/* under the lock */
};

struct peer_credentials *host_credentials(struct host *h);	/* a reference */
bool host_check_name(const struct host *h, const struct peer_credentials *c, GError **error);	/* is the certificate this host's, by its name? */
bool host_reload_credentials(struct host *h, GError **error);	/* keeps the old ones on failure */
void host_look_at_certificates(struct host *h);		/* main thread: an event when one ends soon */
void host_watch_certificates(struct host *h);			/* the same, now and twice a day */
char *host_pair_dir(const struct host *h, const char *uuid);	/* <run>/pairs/<uuid> */
char *host_pair_file(const struct host *h, const char *uuid, const char *name);
char *host_state_file(const struct host *h, const char *uuid, const char *suffix);	/* <state>/pairs/<uuid><suffix> */

/* Remembers and logs an event. event_take keeps what a guard says in its event object (taken) and adds the domain. */
void host_event(struct host *h, const char *domain, const char *type, const char *format, ...) G_GNUC_PRINTF(4, 5);
void host_event_take(struct host *h, const char *domain, struct json_object *event);

/* Main thread: the events kept, and those to come. The follower is called until it returns false. */
typedef bool (*event_follower)(struct json_object *event, gpointer user_data);
struct event_log *event_log_new(void);
void event_log_replay(struct event_log *l, event_follower follower, gpointer user_data);
bool event_log_has(const struct event_log *l, const char *domain);
void event_log_follow(struct event_log *l, event_follower follower, gpointer user_data);
void event_log_unfollow(struct event_log *l, gpointer user_data);
