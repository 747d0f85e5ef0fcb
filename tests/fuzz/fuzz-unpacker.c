/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packed pieces as a peer may send them, one behind the other: be16 length and that many bytes. What comes out has the length that the piece says. */
#include <glib.h>

#include "checkpoint/unpacker.h"
#include "daemon/base/byte-reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(unpacker) u = unpacker_new(16 * PAGE_CACHE_PAGE);
	struct byte_reader in = byte_reader_init(data, size);

	while (in.left > 2) {
		size_t length = byte_reader_be16(&in);
		length = MIN(length, in.left);
		g_autofree uint8_t *exact = g_memdup2(byte_reader_bytes(&in, length), length);
		g_autoptr(GBytes) out = NULL;
		uint64_t epoch;

		if (unpacker_take(u, exact, length, &epoch, &out) != UNPACK_OK) {
			g_assert(!out);
			return 0;
		}
		struct byte_reader head = byte_reader_init(exact + 8, length - 8);
		g_assert(g_bytes_get_size(out) == byte_reader_be32(&head) && g_bytes_get_size(out) <= PACKED_MAX_LENGTH);
	}
	return 0;
}
