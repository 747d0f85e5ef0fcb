/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The last events of this daemon, oldest first; a full ring forgets its oldest. Pure. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#define EVENT_RING_MAX 1000

struct event_ring;
struct event_ring *event_ring_new(void);
void event_ring_free(struct event_ring *r);
/* Takes `event`; {time (unix seconds, fraction), domain, type, text} are filled in where they are missing. Returns it, borrowed. */
struct json_object *event_ring_add(struct event_ring *r, struct json_object *event, gint64 now_us, const char *domain, const char *type, const char *text);
guint event_ring_length(const struct event_ring *r);
bool event_ring_has(const struct event_ring *r, const char *domain);	/* one of that domain */
struct json_object *event_ring_at(const struct event_ring *r, guint i);	/* borrowed */
