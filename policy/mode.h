/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compare, or release by commit only? The rules are at the head of mode.c. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum mode {
	MODE_AUTO,	/* a setting only */
	MODE_COLO,	/* both copies run, equal output leaves at once */
	MODE_PASSIVE,	/* output leaves on commit, the copy stands */
	MODE_LAST
};

enum mode_reason {
	MODE_REASON_CONFIGURED,
	MODE_REASON_COMPARING_PAYS,
	MODE_REASON_TRIAL,
	MODE_REASON_SHARE,
	MODE_REASON_STORM,
	MODE_REASON_LAG,
	MODE_REASON_LAST
};

/* What has happened since the pair is live; everything only grows. */
struct mode_counts {
	uint64_t same, committed;	/* frames, by why they left */
	uint64_t forced;		/* checkpoints that held output asked for */
	uint64_t stopped_ns;		/* the copy stood for its loads */
};

struct mode_state {
	enum mode setting, mode;	/* mode: COLO or PASSIVE */
	enum mode_reason reason;
	uint64_t look_at;		/* next look at the counts; UINT64_MAX: none, the mode is configured */
	uint64_t since;			/* of the mode */
	uint64_t rest_ns;		/* how long the next passive time lasts */
	unsigned bad;			/* looks that spoke against comparing, less those that spoke for it */
	struct mode_counts last;
};

void mode_init(struct mode_state *m, uint64_t now, enum mode setting);
void mode_set(struct mode_state *m, uint64_t now, enum mode setting);
void mode_look(struct mode_state *m, uint64_t now, const struct mode_counts *counts);	/* when look_at has come; earlier it does nothing */

const char *mode_name(enum mode mode);				/* "colo" */
bool mode_from_name(const char *name, enum mode *out);
const char *mode_reason_name(enum mode_reason reason);		/* "storm" */
const char *mode_reason_text(enum mode_reason reason);		/* a sentence */
