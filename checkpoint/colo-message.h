/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words of QEMU's COLO protocol (qapi/migration.json, COLOMessage; migration/colo.c): each is a be32 on the migration socket, in both
 * directions. VMSTATE_SIZE is followed by a be64.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum colo_message {
	COLO_READY = 0,			/* secondary: the initial state is loaded */
	COLO_REQUEST = 1,		/* primary: may I make a checkpoint? The guest runs until REPLY */
	COLO_REPLY = 2,			/* secondary: my guest is stopped, send */
	COLO_VMSTATE_SEND = 3,		/* primary: my guest is stopped, RAM follows */
	COLO_VMSTATE_SIZE = 4,		/* primary: RAM is over, a be64 and that many bytes of device state follow */
	COLO_VMSTATE_RECEIVED = 5,	/* secondary: I have all of it */
	COLO_VMSTATE_LOADED = 6,	/* secondary: it is loaded and my guest runs */
	COLO_MESSAGE_LAST
};

#define MIG_RP_MSG_SHUT 1		/* migration/migration.h, enum mig_rp_message_type: the last message of the initial migration's return path, before READY */
#define COLO_MESSAGE_BYTES 4
#define COLO_VMSTATE_SIZE_BYTES 12	/* the message and its value */

/* "vmstate-send"; "?" for what is not a message. */
const char *colo_message_name(uint32_t message);
void colo_message_encode(enum colo_message message, uint8_t out[static COLO_MESSAGE_BYTES]);
/* False when the be32 is no COLO message. */
bool colo_message_decode(const uint8_t in[static COLO_MESSAGE_BYTES], enum colo_message *out);
void colo_vmstate_size_encode(uint64_t size, uint8_t out[static COLO_VMSTATE_SIZE_BYTES]);
/* False when the first word is another message. */
bool colo_vmstate_size_decode(const uint8_t in[static COLO_VMSTATE_SIZE_BYTES], uint64_t *size);
