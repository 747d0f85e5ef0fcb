/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UDP datagrams and ICMP messages, one against one, in the order of their flow. Theory of operation in compare-udp.c. Pure. */
#pragma once

#include "proxy/packet.h"
#include "proxy/verdict.h"

/* How many datagrams a PACKET_UDP or PACKET_ICMP frame is on the wire, and the view of one of them (into *view, or the packet itself when it is just one). */
unsigned udp_datagrams(const struct packet *packet);
const struct packet *udp_datagram(const struct packet *packet, unsigned n, struct packet *view);

/* One datagram each, both of one flow (flow-key.h), so of one class, with the same addresses and ports. Never VERDICT_WAIT. */
enum verdict compare_udp(const struct packet *primary, const struct packet *secondary);
