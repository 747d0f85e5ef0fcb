/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which mode a pair is in when the operator leaves it to ftd (auto):
 *
 *  1. Comparing is tried first. It is given up when for two seconds on balance it did not pay: most output waited for a checkpoint all the same (share), or
 *     checkpoint after checkpoint was asked for by output that waited (storm), or the copy stood for its loads most of the time (lag).
 *  2. A guest that says little proves nothing: such a look does not count.
 *  3. In passive mode there is nothing to see, so after a rest comparing is tried again. A trial that fails soon makes the next rest twice as long, one that lasts
 *     forgets the rests before. So a guest that never compares costs a trial of two seconds every few minutes, and nothing flaps.
 *
 * A cold copy (the first seconds of a pair, or of a trial) answers late and looks like a storm: it is one, and passive mode is the way out of it.
 */
#include "policy/mode.h"

#include <glib.h>
#include <string.h>

#define SECOND 1000000000ull
#define LOOK_NS (SECOND / 2)
#define ENOUGH_FRAMES 10	/* a look at fewer says nothing about the share */
#define STORM_CHECKPOINTS 5	/* in one look: ten a second */
#define BAD_ENOUGH 4		/* looks */
#define REST_MIN_NS (10 * SECOND)
#define REST_MAX_NS (320 * SECOND)
#define TRIAL_PASSED_NS (30 * SECOND)

static const char *const mode_names[] = {
	[MODE_AUTO] = "auto",
	[MODE_COLO] = "colo",
	[MODE_PASSIVE] = "passive",
};
G_STATIC_ASSERT(G_N_ELEMENTS(mode_names) == MODE_LAST);

static const struct {
	const char *name, *text;
} reasons[] = {
	[MODE_REASON_CONFIGURED] = { "configured", "the mode is configured" },
	[MODE_REASON_COMPARING_PAYS] = { "comparing-pays", "nothing speaks against comparing" },
	[MODE_REASON_TRIAL] = { "trial", "comparing is tried again" },
	[MODE_REASON_SHARE] = { "share", "most output waited for a checkpoint although it was compared" },
	[MODE_REASON_STORM] = { "storm", "output that waited asked for one checkpoint after the other" },
	[MODE_REASON_LAG] = { "lag", "the copy stood for its loads most of the time" },
};
G_STATIC_ASSERT(G_N_ELEMENTS(reasons) == MODE_REASON_LAST);

static void
enter(struct mode_state *m, uint64_t now, enum mode mode, enum mode_reason reason)
{
	m->mode = mode;
	m->reason = reason;
	m->since = now;
	m->bad = 0;
}

void
mode_set(struct mode_state *m, uint64_t now, enum mode setting)
{
	g_assert(setting < MODE_LAST);
	m->setting = setting;
	m->rest_ns = REST_MIN_NS;
	m->look_at = setting == MODE_AUTO ? now + LOOK_NS : UINT64_MAX;
	if (setting == MODE_AUTO)
		enter(m, now, MODE_COLO, MODE_REASON_COMPARING_PAYS);
	else
		enter(m, now, setting, MODE_REASON_CONFIGURED);
}

void
mode_init(struct mode_state *m, uint64_t now, enum mode setting)
{
	*m = (struct mode_state){ 0 };
	mode_set(m, now, setting);
}

/* What one look says: against comparing (and why), for it, or nothing. */
enum look { LOOK_NOTHING, LOOK_GOOD, LOOK_BAD };

static enum look
judge(const struct mode_counts *d, uint64_t period_ns, enum mode_reason *why)
{
	uint64_t frames = d->same + d->committed;

	if (d->stopped_ns > period_ns / 2) {
		*why = MODE_REASON_LAG;
		return LOOK_BAD;
	}
	if (d->forced >= STORM_CHECKPOINTS && d->committed > frames / 4) {
		*why = MODE_REASON_STORM;
		return LOOK_BAD;
	}
	if (frames < ENOUGH_FRAMES)
		return LOOK_NOTHING;
	*why = MODE_REASON_SHARE;
	return d->committed > frames / 2 ? LOOK_BAD : LOOK_GOOD;
}

static void
look_at_comparing(struct mode_state *m, uint64_t now, const struct mode_counts *d, uint64_t period_ns)
{
	enum mode_reason why = MODE_REASON_SHARE;
	enum look look = judge(d, period_ns, &why);

	if (look == LOOK_BAD)
		m->bad++;
	else if (look == LOOK_GOOD && m->bad > 0)
		m->bad--;
	if (m->bad >= BAD_ENOUGH) {
		enter(m, now, MODE_PASSIVE, why);
	} else if (now - m->since >= TRIAL_PASSED_NS && m->bad == 0) {
		m->reason = MODE_REASON_COMPARING_PAYS;
		m->rest_ns = REST_MIN_NS;
	}
}

void
mode_look(struct mode_state *m, uint64_t now, const struct mode_counts *counts)
{
	struct mode_counts d = { counts->same - m->last.same, counts->committed - m->last.committed, counts->forced - m->last.forced,
		counts->stopped_ns - m->last.stopped_ns };

	if (now < m->look_at)
		return;
	if (m->mode == MODE_COLO) {
		look_at_comparing(m, now, &d, now - m->look_at + LOOK_NS);
	} else if (now - m->since >= m->rest_ns) {
		m->rest_ns = MIN(2 * m->rest_ns, REST_MAX_NS);
		enter(m, now, MODE_COLO, MODE_REASON_TRIAL);
	}
	m->last = *counts;
	m->look_at = now + LOOK_NS;
}

const char *
mode_name(enum mode mode)
{
	g_assert(mode < MODE_LAST);
	return mode_names[mode];
}

bool
mode_from_name(const char *name, enum mode *out)
{
	for (unsigned i = 0; i < MODE_LAST; i++)
		if (strcmp(name, mode_names[i]) == 0) {
			*out = i;
			return true;
		}
	return false;
}

const char *
mode_reason_name(enum mode_reason reason)
{
	g_assert(reason < MODE_REASON_LAST);
	return reasons[reason].name;
}

const char *
mode_reason_text(enum mode_reason reason)
{
	g_assert(reason < MODE_REASON_LAST);
	return reasons[reason].text;
}
