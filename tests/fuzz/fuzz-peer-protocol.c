/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* First byte: channel. Then headers one behind the other, and the whole as HELLO. What is accepted must be within the limits and encode to the same bytes. */
#include "daemon/peer-protocol.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
header(const uint8_t *data, enum peer_channel channel)
{
	struct peer_frame frame;
	uint8_t again[PEER_HEADER];
	uint32_t max;

	if (!peer_header_decode(data, channel, &frame, NULL))
		return;
	g_assert(peer_type_allowed(frame.type, channel, &max) && frame.length <= max);
	peer_header_encode(again, frame.type, frame.length, frame.generation);
	g_assert(memcmp(again, data, PEER_HEADER) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[PEER_HELLO_LENGTH];
	struct peer_hello hello;

	if (size == 0)
		return 0;
	if (peer_hello_decode(data + 1, size - 1, &hello, NULL)) {
		peer_hello_encode(again, &hello);
		g_assert(size - 1 == sizeof again && memcmp(again, data + 1, sizeof again) == 0);
	}
	for (size_t i = 1; i + PEER_HEADER <= size; i += PEER_HEADER)
		header(data + i, data[0] % (PEER_CHANNEL_LAST + 1));
	return 0;
}
