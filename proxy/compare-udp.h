/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UDP datagrams and ICMP messages, one against one, in the order of their flow. Pure. */
#pragma once

#include "proxy/packet.h"
#include "proxy/verdict.h"

/* Both of one flow (flow-key.h), so of one class, with the same addresses and ports. Never VERDICT_WAIT. */
enum verdict compare_udp(const struct packet *primary, const struct packet *secondary);
