/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One step of an existing pair's life, asked for by people or by the peer's daemon. All of it blocks: for jobs. */
#pragma once

#include "daemon/pairs-io.h"

enum pair_verb { VERB_DISABLE, VERB_FAILOVER, VERB_SWITCHOVER };
struct pair_verb_info { const char *method; enum failover_role role; };	/* of org.ftd.Guard, and the side that carries it out */
extern const struct pair_verb_info pair_verbs[];

/* The pair of that domain, if it is there and well enough to be asked for something. */
struct pair_info *pair_verb_find(struct host *h, const char *domain, GError **error);
struct json_object *pair_verb_here(struct host *h, const struct pair_record *r, const char *method, GError **error);
struct json_object *pair_verb_call(struct host *h, const struct pair_record *r, const char *method, struct json_object *parameters, GError **error);	/* of the peer's daemon; takes parameters */
struct json_object *pair_verb_at_peer(struct host *h, const struct pair_record *r, const char *method, const char *why, GError **error);
struct json_object *pair_verb_run(struct host *h, const char *domain, enum pair_verb verb, GError **error);	/* here or there */
/* `failover --force`: this host's copy goes on alone by the operator's word. */
struct json_object *pair_verb_force(struct host *h, const char *domain, GError **error);
