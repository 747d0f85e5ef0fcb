/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first byte is the size of the pieces the rest comes in. Whatever is asked for is answered, so that the replies are
 * walked as well.
 */
#include "checkpoint/nbd-server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
answer(struct nbd_server *s)
{
	struct nbd_request r;

	while (nbd_server_next_request(s, &r)) {
		g_autoptr(GBytes) read = r.op == NBD_OP_READ ? g_bytes_new_take(g_malloc0(r.length), r.length) : NULL;

		g_assert(!r.data || g_bytes_get_size(r.data) == r.length);
		if (r.op != NBD_OP_DISCONNECT)
			nbd_server_reply(s, r.cookie, 0, read);
		nbd_request_clear(&r);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(nbd_server) s = nbd_server_new("v0", 1 << 16);
	size_t piece = size > 0 ? data[0] + 1 : 1;

	for (size_t at = 1; at < size; at += piece) {
		g_autoptr(GBytes) output = NULL;

		if (!nbd_server_input(s, data + at, MIN(piece, size - at), NULL))
			break;
		answer(s);
		output = nbd_server_take_output(s);
	}
	return 0;
}
