/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames that nothing else understands: vnet header and Ethernet frame byte by byte, in the order of their flow. Pure. */
#pragma once

#include "proxy/packet.h"
#include "proxy/verdict.h"

/* Never VERDICT_WAIT. */
enum verdict compare_other(const struct packet *primary, const struct packet *secondary);
