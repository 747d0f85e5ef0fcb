/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint/colo-message.h"

#include <glib.h>

#include "daemon/base/byte-reader.h"

/* The names are those of QAPI's COLOMessage. */
static const char *const names[] = {
	[COLO_READY] = "checkpoint-ready",
	[COLO_REQUEST] = "checkpoint-request",
	[COLO_REPLY] = "checkpoint-reply",
	[COLO_VMSTATE_SEND] = "vmstate-send",
	[COLO_VMSTATE_SIZE] = "vmstate-size",
	[COLO_VMSTATE_RECEIVED] = "vmstate-received",
	[COLO_VMSTATE_LOADED] = "vmstate-loaded",
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == COLO_MESSAGE_LAST);

const char *
colo_message_name(uint32_t message)
{
	return message < COLO_MESSAGE_LAST ? names[message] : "?";
}

void
colo_message_encode(enum colo_message message, uint8_t out[static COLO_MESSAGE_BYTES])
{
	put_be32(out, message);
}

bool
colo_message_decode(const uint8_t in[static COLO_MESSAGE_BYTES], enum colo_message *out)
{
	struct byte_reader r = byte_reader_init(in, COLO_MESSAGE_BYTES);
	uint32_t word = byte_reader_be32(&r);

	if (word >= COLO_MESSAGE_LAST)
		return false;
	*out = word;
	return true;
}

void
colo_vmstate_size_encode(uint64_t size, uint8_t out[static COLO_VMSTATE_SIZE_BYTES])
{
	put_be32(out, COLO_VMSTATE_SIZE);
	put_be64(out + COLO_MESSAGE_BYTES, size);
}

bool
colo_vmstate_size_decode(const uint8_t in[static COLO_VMSTATE_SIZE_BYTES], uint64_t *size)
{
	struct byte_reader r = byte_reader_init(in, COLO_VMSTATE_SIZE_BYTES);

	if (byte_reader_be32(&r) != COLO_VMSTATE_SIZE)
		return false;
	*size = byte_reader_be64(&r);
	return true;
}
