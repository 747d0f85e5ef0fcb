/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The register that decides (ftd-architecture(7)): per pair a sequence of generations, each written once. Pure part: the record and the verdict;
 * arbiter-io.h does the asking.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define ARBITER_RECORD_MAX 4096
#define ARBITER_GENERATION_MAX (UINT64_C(1) << 62)

struct arbiter_record {
	char pair[37];		/* domain UUID, lower case */
	uint64_t generation;	/* from 1 */
	char active[256];	/* host that owns the VM */
	char standby[256];	/* the other host of the pair, "" = solo */
	char nonce[33];		/* of the claimant, [0-9A-Za-z-]+: tells a repeated claim after a crash from somebody else's */
	char reason[64];
	int64_t written_at;	/* unix time, for people */
};

/* Letters that are safe in file names and keys, for a pair's UUID and a nonce. */
bool arbiter_pair_valid(const char *pair);
bool arbiter_nonce_valid(const char *nonce);
/* FTD_ERROR_PROTOCOL and the member that is wrong. */
bool arbiter_record_valid(const struct arbiter_record *r, GError **error);
char *arbiter_record_encode(const struct arbiter_record *r);	/* JSON, one line; of a valid record */
/* FTD_ERROR_PROTOCOL and the reason when the text is not a record; nothing else than a record, with nothing missing and nothing more, is one. */
bool arbiter_record_decode(const char *text, size_t length, struct arbiter_record *out, GError **error);

enum arbiter_verdict {
	ARBITER_GRANTED,	/* the generation is ours (now, or already: same nonce) */
	ARBITER_DENIED,		/* somebody else has it; *holder tells who */
	ARBITER_SILENT,		/* no answer: nothing is known */
};
/* What a claim means, given the record that stands at its generation (NULL: ours was just created). */
enum arbiter_verdict arbiter_judge(const struct arbiter_record *claim, const struct arbiter_record *standing);
