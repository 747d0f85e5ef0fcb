/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one side of a pair must remember over a crash: encode/decode only; durable-state-io.h writes it (write, fsync, rename, fsync directory). */
#pragma once

#include "policy/failover.h"

struct durable_state {
	char pair[37];
	char domain[256];
	enum failover_role role;
	enum failover_state state;
	enum failover_reason reason;
	uint64_t generation;
	char self[256], peer[256];	/* host names as in the arbiter's record */
	char arbiter[512];		/* spec */
	char nonce[33];
};
#define DURABLE_STATE_MAX 8192

/* FTD_ERROR_PROTOCOL and the member that is wrong. */
bool durable_state_valid(const struct durable_state *s, GError **error);
/* JSON, one member per line, for people too. */
char *durable_state_encode(const struct durable_state *s);
/* FTD_ERROR_PROTOCOL; *out is untouched unless the whole text is a state. */
bool durable_state_decode(const char *text, size_t length, struct durable_state *out, GError **error);
