/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the journal knows of an event besides its text: a MESSAGE_ID (systemd.journal-fields(7)), by which it is found whatever the text, and how much it
 * matters. The identifiers are for ever: alert rules and the catalog (contrib/systemd/ftd.catalog) have them. Pure.
 */
#pragma once

#include <glib.h>

struct event_kind {
	const char *type;		/* as in the event */
	int priority;			/* syslog's: 3 an error .. 6 for information */
	const char *message_id;		/* 32 hexadecimal digits; NULL: of no interest to machines */
};

/* An unknown type is information without an identifier. */
const struct event_kind *event_kind_of(const char *type);
/* The kinds by number, NULL after the last. */
const struct event_kind *event_kind_at(guint i);
