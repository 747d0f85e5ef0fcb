/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is said to etcd and what its answers mean: the JSON of its v3 HTTP gateway (etcd's "gRPC gateway" and rpc.proto: keys and values in base64, 64-bit
 * numbers as strings, members with their default value left out). Pure; arbiter-etcd-io.c carries it there. The register's keys are
 *
 *   <prefix>/<pair>/00000000000000000007	generation 7, an arbiter_record
 *   <prefix>/probe/<nonce>			"is it the same etcd over there?"
 *   <prefix>/hosts/<name>			a host of the pool, for as long as its lease lasts
 */
#pragma once

#include "policy/arbiter.h"

#define ETCD_ANSWER_MAX (64 * 1024)
#define ETCD_ENDPOINTS_MAX 9
#define ETCD_PREFIX_MAX 128
#define ETCD_HOSTS_MAX 64

struct etcd_spec {
	char **endpoints;	/* "https://host:port", 1 to ETCD_ENDPOINTS_MAX */
	char *prefix;		/* "/ftd" */
};
/* "https://h1:2379,https://h2:2379?prefix=/ftd". FTD_ERROR_CONFIG. */
bool etcd_spec_parse(const char *location, struct etcd_spec *out, GError **error);
void etcd_spec_clear(struct etcd_spec *s);
typedef struct etcd_spec etcd_spec;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(etcd_spec, etcd_spec_clear)

/* -- requests: what follows the endpoint in the URL, and the body (JSON, g_free) -- */

#define ETCD_PATH_TXN "/v3/kv/txn"
#define ETCD_PATH_RANGE "/v3/kv/range"
#define ETCD_PATH_PUT "/v3/kv/put"
#define ETCD_PATH_DELETE "/v3/kv/deleterange"
#define ETCD_PATH_LEASE "/v3/lease/grant"

/* TXN: the records at `generation` and at the newest one, as of one moment. */
char *etcd_look_request(const char *prefix, const char *pair, uint64_t generation);
/* TXN: writes the claim if no record of its generation or of a later one is there and the one below is as it was seen (its mod_revision; 0 for the
 * first generation, below which there is none); else it looks. All of that is one atomic step. */
char *etcd_claim_request(const char *prefix, const struct arbiter_record *claim, int64_t below_revision);
/* DELETE: all records of a pair at once. */
char *etcd_forget_request(const char *prefix, const char *pair);
char *etcd_probe_put_request(const char *prefix, const char *nonce);	/* PUT */
char *etcd_probe_get_request(const char *prefix, const char *nonce);	/* RANGE */
char *etcd_probe_delete_request(const char *prefix, const char *nonce);	/* DELETE */
char *etcd_lease_request(unsigned seconds);				/* LEASE */
char *etcd_host_put_request(const char *prefix, const char *name, int64_t lease);	/* PUT */
char *etcd_hosts_request(const char *prefix);				/* RANGE */

/* -- answers: FTD_ERROR_PROTOCOL and the reason when they are not what was asked for -- */

/* In every answer: who speaks, and as of when. */
struct etcd_header {
	uint64_t cluster;
	int64_t revision;
};

struct etcd_found {
	bool found;
	struct arbiter_record record;
	int64_t mod_revision;
};

struct etcd_txn_answer {
	struct etcd_header header;
	bool claimed;			/* the claim was written just now; nothing else is told then */
	struct etcd_found standing;	/* at the generation that was asked for */
	struct etcd_found newest;
};

/* To etcd_look_request() and etcd_claim_request(); `generation` and `pair` are those of the request. */
bool etcd_look_answer(const char *text, size_t length, const char *prefix, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error);
bool etcd_claim_answer(const char *text, size_t length, const char *prefix, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error);
/* To PUT and DELETE, of which only the header matters. */
bool etcd_plain_answer(const char *text, size_t length, struct etcd_header *out, GError **error);
/* To etcd_probe_get_request(). */
bool etcd_probe_answer(const char *text, size_t length, const char *prefix, const char *nonce, struct etcd_header *out, bool *found, GError **error);
bool etcd_lease_answer(const char *text, size_t length, struct etcd_header *out, int64_t *lease, GError **error);
/* To etcd_hosts_request(): the names (g_strfreev), at most ETCD_HOSTS_MAX. */
bool etcd_hosts_answer(const char *text, size_t length, const char *prefix, struct etcd_header *out, char ***names, GError **error);
/* The text of an error answer ({"error", "code", "message"}), NULL when it is none. */
char *etcd_error_text(const char *text, size_t length);

/*
 * What a claim comes to, given what was seen. READY: the generation below is the newest, so it may be written on top of newest.mod_revision.
 * Otherwise a verdict is *out (GRANTED, DENIED with *holder) or, when SILENT, the reason is `error`.
 */
enum etcd_next { ETCD_READY, ETCD_ANSWERED };
enum etcd_next etcd_judge(const struct arbiter_record *claim, const struct etcd_txn_answer *seen, enum arbiter_verdict *out, struct arbiter_record *holder, GError **error);
