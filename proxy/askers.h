/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has asked the guest something and waits for its answer, as far as frames tell: see askers.c. Pure. */
#pragma once

#include <glib.h>
#include <stdint.h>

#define ASKERS_MAX 4096			/* flows; beyond it the one that was answered longest ago is forgotten */
#define ASKERS_PATIENCE_NS (100 * 1000000ull)	/* an answer that takes longer is nothing that a guest is about to give */

struct askers;

struct askers *askers_new(const char *seed);	/* of the table's hash (flow-key.h) */
void askers_free(struct askers *a);
/* Frames in wire-frame.h format, of NIC `nic`: from the LAN, from the guest. */
void askers_inbound(struct askers *a, uint64_t now, unsigned nic, GBytes *frame);
void askers_outbound(struct askers *a, unsigned nic, GBytes *frame);
unsigned askers_count(struct askers *a, uint64_t now);
