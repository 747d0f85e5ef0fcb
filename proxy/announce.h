/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moves a guest's addresses to this host's switch port before the guest itself has said a word, when it may be heard after a take-over: a RARP request that names
 * the MAC and nothing else, as QEMU's announce-self sends (net/announce.c), and for networks that follow IP addresses a gratuitous ARP (RFC 5227, 3) and an
 * unsolicited neighbour advertisement (RFC 4861, 7.2.6) for each address that the guest was heard to call its own. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define ANNOUNCER_ADDRESSES 4	/* of each family and NIC; a new one takes the place of the oldest */

/* What must be known of a NIC; learned from what the guest sends. */
struct announcer {
	bool known;
	uint8_t mac[6];
	uint8_t vnet_length;	/* of the virtio-net header in front of each frame: fixed by the driver's features */
	uint64_t n4, n6;	/* addresses heard so far; the last ANNOUNCER_ADDRESSES are kept */
	uint8_t ipv4[ANNOUNCER_ADDRESSES][4], ipv6[ANNOUNCER_ADDRESSES][16];
};

/*
 * A whole wire frame (wire-frame.h) that the guest sent. Group addresses and frames too short to have one teach nothing. An IP address is the guest's
 * own when it asks for a neighbour from it; what it answers, or forwards, may be for others.
 */
void announcer_learn(struct announcer *a, GBytes *frame);
/* The nth announcement as a wire frame; NULL when there are no more. */
GBytes *announcer_frame(const struct announcer *a, unsigned n);
