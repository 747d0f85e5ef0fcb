/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Framing: the first byte chooses how the rest is cut; the frames must be those of the uncut stream, and all of them valid. */
#include "proxy/wire-frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static GByteArray *
frames_of(const uint8_t *data, size_t size, size_t piece, bool *whole)
{
	g_autoptr(wire_splitter) s = wire_splitter_new();
	GByteArray *all = g_byte_array_new();
	GBytes *frame;

	*whole = true;
	for (size_t at = 0; *whole && at < size; at += piece) {
		*whole = wire_splitter_input(s, data + at, MIN(piece, size - at), NULL);
		while ((frame = wire_splitter_next(s))) {
			gsize n;
			const uint8_t *bytes = g_bytes_get_data(frame, &n);
			g_assert(wire_frame_valid(bytes, n));
			g_byte_array_append(all, bytes, (guint)n);
			g_bytes_unref(frame);
		}
	}
	return all;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool whole, cut_whole;

	if (size < 1)
		return 0;
	g_autoptr(GByteArray) frames = frames_of(data + 1, size - 1, size, &whole);
	g_autoptr(GByteArray) cut = frames_of(data + 1, size - 1, 1 + data[0], &cut_whole);
	g_assert(whole == cut_whole && frames->len == cut->len);
	if (frames->len) {
		g_assert(memcmp(frames->data, cut->data, cut->len) == 0);
		g_assert(memcmp(frames->data, data + 1, frames->len) == 0);	/* nothing added, nothing left out */
	}
	return 0;
}
