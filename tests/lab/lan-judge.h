/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Did two hosts speak as one guest? Judged from what left their ports, with none of the product's own code.
 *
 * Something is new when no port has said it before: TCP payload past the highest sequence number said on that connection, a SYN, FIN or RST or an
 * acknowledgement past the highest one; any other frame whose bytes (without IP id, TTL and header checksum) were not seen before. Whoever said the
 * last new thing is the speaker. The guest was active twice when either of these is seen:
 *
 *   difference    a byte of a TCP connection was said in two ways, by whichever ports
 *   resurrection  a port that another one has succeeded says something new, less than 2 s after what it said last
 *
 * The same thing said again by the successor is no contradiction: a take-over sends what the other host may or may not have sent. Nor are late
 * repetitions by the host that was succeeded, which the wire may still have held; they are counted.
 *
 * A port that has been silent for 2 s may be the successor's successor: protection was made anew, which takes longer, and its host took over in turn.
 * Were it a copy that wakes up after a long sleep instead, the guest would be spoken for by both from then on, and the other's next word is the
 * resurrection. So this must be judged under a load that makes every copy that is active say something much more often than every 2 s.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define LAN_JUDGE_PORTS 8

struct lan_port {
	uint64_t frames, late;		/* late: repetitions after it was succeeded */
	uint64_t first_ns, last_ns;	/* of the frames since the mark */
	uint64_t spoke_ns;		/* when it said something new the last time */
	bool succeeded;
};

struct lan_judge {
	struct lan_port ports[LAN_JUDGE_PORTS];
	int speaker;			/* or -1 */
	unsigned handovers;
	bool two_active;
	char why[200];			/* of the first contradiction */
	GHashTable *connections;
	GHashTable *said;		/* hashes of frames that are not TCP */
};

void lan_judge_init(struct lan_judge *j);
void lan_judge_clear(struct lan_judge *j);
void lan_judge_frame(struct lan_judge *j, unsigned port, uint64_t now, const uint8_t *frame, size_t length);

/* Counts and times of the ports begin anew; what was said stays said. */
void lan_judge_mark(struct lan_judge *j);
