/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ends of the lab's test traffic agree on. */
#pragma once
#include <stddef.h>

enum {
	PORT_AGENT = 2,
	PORT_ECHO = 7,
	PORT_HTTP = 80,
	PORT_LEDGER = 1000,
	SMALL_SIZE = 20,
};

/* Byte `i` of every HTTP body: period far above a packet, so that a piece at the wrong place shows. */
static inline unsigned char
pattern_byte(size_t i)
{
	return 'a' + (i * 31 + (i >> 8) * 17 + (i >> 16)) % 26;
}
