/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why two outputs are not the same, and where: what `ftctl flows` shows. Pure. */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

enum difference_reason {
	DIFFERENCE_NONE,
	DIFFERENCE_CONTENT,	/* a byte */
	DIFFERENCE_LENGTH,	/* one is longer, and the same up to there */
	DIFFERENCE_HEADER,	/* headers that count: how the host will cut it, IPv6 extension headers, ICMP type */
	DIFFERENCE_SYN,		/* initial sequence number, flags or options of a connection that begins */
	DIFFERENCE_FIN,		/* one copy ends its stream where the other has data */
	DIFFERENCE_RST,		/* a RST that carries anything: nothing to compare it with */
	DIFFERENCE_OPTION,	/* a TCP option that may say more than the stream does, or lies about its length */
	DIFFERENCE_PLACE,	/* a segment too far from the stream, or too far out of order, to be compared */
	DIFFERENCE_CONNECTION,	/* ports used again while frames of the connection before are held */
	DIFFERENCE_LIMIT,	/* too much of the SVM's output waits for its twin */
	DIFFERENCE_LAST
};
const char *difference_reason_name(enum difference_reason reason);

#define DIFFERENCE_WINDOW 16

struct difference {
	enum difference_reason reason;
	uint64_t at;		/* CONTENT, LENGTH: which byte, counted in the stream from the SYN (its sequence number when that is not known), the datagram, the frame */
	uint8_t primary_length, secondary_length;
	uint8_t primary[DIFFERENCE_WINDOW], secondary[DIFFERENCE_WINDOW];	/* what both have from there on */
};

/* Compares two pieces; NONE when they are equal. */
struct difference difference_find(const uint8_t *primary, size_t primary_length, const uint8_t *secondary, size_t secondary_length);
