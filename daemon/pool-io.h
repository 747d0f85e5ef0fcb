/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hosts of the pool (ftd.conf(5), hosts): who they are, where a standby goes, and protection that rebuilds itself. Theory of operation in pool-io.c. */
#pragma once

#include "daemon/host-io.h"
#include "daemon/job-io.h"
#include "daemon/pair-record.h"
#include "daemon/wishes.h"

struct pool;
void pool_start(struct host *host);			/* main thread; sets host->pool, tells the others that this host is there */
bool pool_heals(const struct host *h);			/* a domain that has lost its other side is protected again by itself: there is a pool, and not self-heal=no */
/* Any thread: that domain runs here unprotected, and its other copy was with that host. Nothing where nothing heals. */
void pool_heal(struct host *h, const char *uuid, const char *domain, const char *peer);
bool pool_has(const struct host *h, const char *name);	/* blocks where hosts register: may ask there */
enum wish_dismissal pool_dismiss(struct host *h, const char *uuid);	/* blocks; not the main thread: nobody wants that domain protected again any more */
void pool_kick(struct host *h);				/* any thread: a host is back, try at once */

/* Blocks. A host for the standby of a domain that runs here, `had_it` if it may; never one of `not_on`. NULL: FTD_ERROR_FAILED with what is in the way on each. */
char *pool_place(struct host *h, const char *uuid, const char *had_it, const char *not_on, GError **error);
struct json_object *pool_facts(struct host *h);		/* of this host, for the others: {name, version, copies, memory_available_kib, draining, uplink_lost} */
struct json_object *pool_hosts(struct host *h);		/* blocks: {hosts: [facts, and reachable, why]} */
bool pool_set_draining(struct host *h, bool draining, GError **error);
bool pool_is_draining(const struct host *h);

/* Blocks. A call of another host's daemon; takes parameters. */
struct json_object *pool_call(struct host *h, const char *peer, const char *method, struct json_object *parameters, unsigned timeout_ms, GError **error);
/* The same; what the peer tells of its progress is reported by `job`, where there is one. */
struct json_object *pool_follow(struct host *h, const char *peer, const char *method, struct json_object *parameters, unsigned timeout_ms, struct job *job, GError **error);
