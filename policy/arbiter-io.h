/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking an arbiter. All calls block and are made on a worker thread; a hung NFS server hangs nobody but that thread (arbiter_claim_async). Thread safe. */
#pragma once

#include "policy/arbiter.h"

struct arbiter;
/* spec: "file:/absolute/directory", "etcd:https://host:port,...[?prefix=/keys]", "manual:/absolute/directory". FTD_ERROR_CONFIG on anything else. `pki` is the
 * directory of the certificates (ftd.conf(5)), for the kinds that speak TLS. */
struct arbiter *arbiter_open(const char *spec, const char *pki, GError **error);
struct arbiter *arbiter_ref(struct arbiter *a);
void arbiter_unref(struct arbiter *a);
typedef struct arbiter arbiter;	/* for g_autoptr(arbiter) only */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(arbiter, arbiter_unref)
const char *arbiter_kind(const struct arbiter *a);	/* "file" */
const char *arbiter_spec(const struct arbiter *a);
/* Resolves what has a name now; later, where that fails, the addresses of now are used. Before the first call on it. Blocks. */
void arbiter_remember_names(struct arbiter *a);
/* The threads of arbiter_claim_async() get the scheduling of the thread that calls this, instead of their caller's. Once, before the first claim. */
void arbiter_keep_priority(struct arbiter *a);
const char *arbiter_directory(const struct arbiter *a);	/* that it reads and writes; NULL: none */

/*
 * Writes `claim` if it is the newest generation + 1. GRANTED: it stands, durably, now or from an earlier claim with the same nonce. DENIED: that
 * generation, or a later one, is somebody else's; *holder is the record that stands. SILENT (error set): nothing is known; also when generations are
 * missing below the claim, because then this is not the arbiter that the pair was formed with (an NFS share that is not mounted looks empty).
 */
enum arbiter_verdict arbiter_claim(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error);
/* Does a claim to go on alone wait for a person's word, which only this host knows? */
bool arbiter_is_manual(const struct arbiter *a);
/* That word: who has the pair's domain from that generation on (standby is ""). FTD_ERROR_ARBITER_DENIED when another word stands, FTD_ERROR_USAGE when the
 * arbiter decides by itself. */
bool arbiter_decide(struct arbiter *a, const struct arbiter_record *decision, GError **error);
/* The newest record of a pair: 1 found, 0 none, -1 no answer (error set). */
int arbiter_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error);
/* Removes all records of a pair that ended for good. */
bool arbiter_forget(struct arbiter *a, const char *pair, GError **error);
/* Is it the same arbiter on both hosts? One side writes a nonce, the other must read it. */
bool arbiter_probe_write(struct arbiter *a, const char *nonce, GError **error);
bool arbiter_probe_read(struct arbiter *a, const char *nonce, GError **error);	/* false + FTD_ERROR_ARBITER_NOT_SHARED when it is not there */
void arbiter_probe_remove(struct arbiter *a, const char *nonce);
/* The hosts that share it, where the kind keeps them (etcd); FTD_ERROR_USAGE where it does not. A registration that is not repeated ends by itself. */
bool arbiter_register_host(struct arbiter *a, const char *name, unsigned seconds, GError **error);
char **arbiter_hosts(struct arbiter *a, GError **error);	/* g_strfreev; NULL: no answer */

/*
 * arbiter_claim() on a thread of its own with a deadline; `done` runs exactly once, later, in the thread-default main context of the caller. Past the
 * deadline the verdict is ARBITER_SILENT and a late answer is ignored (a late grant shows as GRANTED when the same nonce claims again). A thread that
 * hangs in a dead NFS server cannot be ended: it is left behind on purpose, at most ARBITER_MAX_THREADS of them; beyond that the verdict is SILENT
 * (FTD_ERROR_LIMIT) without a new thread.
 */
#define ARBITER_MAX_THREADS 8
typedef void (*arbiter_done)(enum arbiter_verdict verdict, const struct arbiter_record *holder, const GError *error, gpointer user_data);
void arbiter_claim_async(struct arbiter *a, const struct arbiter_record *claim, unsigned timeout_ms, arbiter_done done, gpointer user_data);
