/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP handshakes that a load may split.
 *
 * filter-rewriter on the standby learns how far the SVM's sequence numbers are from the PVM's when the client acknowledges the SYN: from the SYN-ACK that the SVM has sent
 * and from the number that the client acknowledges, which is the PVM's. A load gives the SVM the PVM's numbers, so the rewriter sets its offsets to 0
 * (net/filter-rewriter.c, reset_seq_offset()), but it still waits for that acknowledgement (tcp_state stays TCPS_SYN_RECEIVED). What it makes of it depends on where
 * the load has split the handshake:
 *
 *   the SYN was in the loaded state, but not answered    the SVM sends a SYN-ACK with a number of its own: the offset is right
 *   the SYN-ACK was in it, not yet on the wire           the SVM sends it, with the PVM's number: the offset becomes 0, which is right
 *   the SYN-ACK had been sent                            the SVM sends nothing, and the offset is made of 0 and the PVM's number: wrong
 *
 * From a wrong offset on the SVM is told of numbers that it has never had, and answers with a RST. While both copies run that costs a checkpoint. After a take-over it
 * is the client that gets it. Only in the last case is the rewriter to be shown an acknowledgement of ours: it acknowledges 1, of which the offset is 0, and ends the
 * wait. In the first case that would be the fault itself. So we wait until it is clear which one it is:
 *
 *   the SVM sends a SYN-ACK after the load               one of the first two, nothing to do
 *   the client acknowledges before that                  the last one: our acknowledgement goes first
 *   a take-over before either                            our acknowledgement; if it is the first case after all, then no SYN-ACK of the PVM has reached the client
 *                                                        (it leaves when the SVM's has been compared), and the SVM's own, with offset 0, is right
 *
 * To the guest our acknowledgement is nothing: its IP checksum is wrong (RFC 1122, 3.2.1.2: a host must silently discard it).
 *
 * Pure.
 */
#pragma once

#include <glib.h>

#define HALF_OPEN_MAX 1024	/* in a flood of SYNs the oldest are forgotten, and one of them that a load splits may be reset if a failover comes right then */

struct half_open;
struct half_open *half_open_new(void);
void half_open_free(struct half_open *h);

/* A wire frame that is about to be given to the SVM. Returns the one that it is to be given before it, or NULL. */
GBytes *half_open_inbound(struct half_open *h, unsigned nic, GBytes *frame);
/* A wire frame that the SVM has sent. */
void half_open_output(struct half_open *h, unsigned nic, GBytes *frame);
/* The SVM stands for a load: what it sends from here on it sends after it. */
void half_open_stopped(struct half_open *h);
void half_open_loaded(struct half_open *h);
/* The SVM has taken over. The next frame that it is to be given before what the LAN sends it, and its NIC; NULL: that was all. */
GBytes *half_open_next(struct half_open *h, unsigned *nic);
/*
 * What TCP filter-rewriter gets for a guest that stands it keeps, and lets go behind the next one that comes (its incoming_queue). Returns one that it takes for TCP, that
 * changes none of its connections, and that the guest discards; NULL when no data was seen on that NIC. After a failover the rewriter keeps only packets of connections
 * that it knows, and only such a one pushes: so it is like the last data that the SVM was given.
 */
GBytes *half_open_push(const struct half_open *h, unsigned nic);
