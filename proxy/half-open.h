/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP handshakes that a load may split.
 *
 * filter-rewriter on the standby learns how far the SVM's sequence numbers are from the PVM's when the client acknowledges the SYN: from the SYN-ACK that the SVM has sent
 * and from the number that the client acknowledges, which is the PVM's. A load gives the SVM the PVM's numbers, so the rewriter sets its offsets to 0
 * (net/filter-rewriter.c, reset_seq_offset()), but it still waits for that acknowledgement (tcp_state stays TCPS_SYN_RECEIVED), and makes an offset out of
 * 0 and the PVM's number. From then on the SVM is told of numbers that it has never had, and answers with a RST. While both copies run that costs a checkpoint. After
 * a take-over it is the client that gets it.
 *
 * So when a load comes in between, the rewriter is shown an acknowledgement of ours first: it acknowledges 1, of which the offset is 0, and ends the wait. To the guest
 * it is nothing: its IP checksum is wrong (RFC 1122, 3.2.1.2: a host must silently discard it).
 *
 * Pure.
 */
#pragma once

#include <glib.h>

#define HALF_OPEN_MAX 1024	/* a flood of SYNs: of handshakes beyond it nothing is known, and one that a load splits may be reset if a failover comes right then */

struct half_open;
struct half_open *half_open_new(void);
void half_open_free(struct half_open *h);

/* A wire frame that is given to the SVM. */
void half_open_inbound(struct half_open *h, unsigned nic, GBytes *frame);
/* The SVM was loaded. The next frame that it is to be given before any other, and its NIC; NULL: that was all. */
GBytes *half_open_next(struct half_open *h, unsigned *nic);
