/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sender's clock in a TCP segment (RFC 7323, 3.2), and setting it back: see tcp-timestamp.c for why. Pure. */
#pragma once

#include "proxy/packet.h"

/* False: the segment has none. */
bool tcp_timestamp(const struct packet *p, uint32_t *value);
/* Writes another value into a segment that has one, and mends the checksum where there is one already. Changes the frame that `p` is a view of. */
void tcp_timestamp_set(const struct packet *p, uint32_t value);
