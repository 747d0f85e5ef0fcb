/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moves a guest's address to this host's switch port before the guest itself has said a word: a RARP request that names the MAC and nothing else, as QEMU's
 * announce-self sends (net/announce.c), but at the instant of the take-over. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* What must be known of a NIC; learned from what the guest sends. */
struct announcer {
	bool known;
	uint8_t mac[6];
	uint8_t vnet_length;	/* of the virtio-net header in front of each frame: fixed by the driver's features */
};

/* A whole wire frame (wire-frame.h) that the guest sent. Group addresses and frames too short to have one teach nothing. */
void announcer_learn(struct announcer *a, GBytes *frame);
/* The announcement as a wire frame; NULL while nothing is known. */
GBytes *announcer_frame(const struct announcer *a);
