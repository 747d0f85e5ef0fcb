/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames of the FT link, for both guard-to-guard connections and daemon-to-daemon calls. ftd-protocol(7) is the specification. Pure codec.
 *
 *   be32 magic "FTD1" | be16 type | be16 flags (0) | be32 length of the payload | be32 reserved (0) | be64 generation | payload
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define PEER_MAGIC 0x46544431u
#define PEER_VERSION 4
#define PEER_HEADER 24
#define PEER_MAX_CONTROL (80 * 1024)		/* payload of anything but bulk, disk and JSON frames; INBOUND and OUTPUT carry up to QEMU's NET_BUFSIZE (68 KiB) */
#define PEER_MAX_BULK (1024 * 1024 + 64)	/* CHECKPOINT_DATA, STREAM, RETURN_PATH: 1 MiB of data behind the fixed fields */
#define PEER_MAX_PACKED (66 * 1024)		/* CHECKPOINT_PACKED: 64 KiB of the stream, what is known of its pages, its head */
#define PEER_MAX_DISK ((32u << 20) + 64)	/* DISK_WRITE: NBD's largest request + header */
#define PEER_MAX_COMPARE 2072			/* DISK_COMPARE: 64 digests of 32 bytes behind the fixed fields */
#define PEER_MAX_JSON (4u << 20)

enum peer_channel { PEER_CHANNEL_CONTROL, PEER_CHANNEL_FAST, PEER_CHANNEL_BULK, PEER_CHANNEL_DISK, PEER_CHANNEL_LAST };

enum peer_type {
	PEER_HELLO = 1,		/* be16 version, u8 channel, 16 bytes pair uuid, 32 bytes token; first frame of the connecting side */
	PEER_WELCOME,		/* be16 version; the answer */
	PEER_JSON,		/* one JSON text (daemon to daemon) */
	/* fast */
	PEER_HEARTBEAT = 16,	/* be64 sender's clock ns, be64 last clock heard from the other side, be64 ns since it was heard (round trip) */
	PEER_ARM,		/* the pair is protected from now on; generation in the header is the register's */
	PEER_ARMED,
	PEER_ABDICATE,		/* be16 reason: this side gives up its copy, or cannot go on as a standby */
	PEER_GOODBYE,		/* be16 reason: this side owns the next generation, or the VM was ended, or (a primary) forming is called off; any channel */
	PEER_READY,		/* the standby's QEMU said READY; on bulk: it must not overtake the RETURN_PATH bytes that came before it */
	PEER_LIVE,		/* both QEMUs have READY: epoch 1 begins */
	PEER_COMMITTED,		/* be64 epoch */
	PEER_SVM_STOPPED,	/* be64 epoch being loaded */
	PEER_SVM_LOADED,	/* be64 epoch, be64 load ns, be64 stop ns */
	PEER_INBOUND,		/* be64 epoch, be16 nic, wire frame */
	PEER_OUTPUT,		/* be64 id, be64 epoch, be16 nic, wire frame: SVM output */
	PEER_TWIN_LEFT,		/* be64 id, repeated */
	PEER_DISK_CREDIT,	/* be64 number of the last disk frame (all but MARK and COMPARE, counted from 1) up to which all are applied */
	PEER_FAIL,		/* utf-8 text: why this side calls the pair off; any channel (also the answer to a HELLO that is not accepted) */
	PEER_UNSENT,		/* be64 epoch, be16 nic, wire frame: output of a finished epoch that the primary, which gives up, has not sent */
	PEER_STRAY,		/* be16 nic, wire frame: for the guest, and the primary's QEMU died without having read it */
	PEER_MODE,		/* be16: 1 output leaves by commit only from the next epoch on, the copy need not run; 0 it is compared again */
	PEER_COPY_UNFIT,	/* be64 epoch last loaded: the copy is not fit to take over, and the next checkpoint makes it so */
	PEER_SWITCHOVER,	/* be16 enum peer_switchover, be64 ns since the guest was last heard (TAKE_OVER); from the standby: OFF, it cannot */
	PEER_DISK_WANTED,	/* be64 number of a DISK_COMPARE (counted from 1), be64 one bit for each of its blocks, the first in bit 0: 1 it is not the same */
	/* bulk */
	PEER_STREAM = 48,	/* initial migration stream, primary to standby */
	PEER_RETURN_PATH,	/* standby to primary */
	PEER_CHECKPOINT_BEGIN,	/* be64 epoch */
	PEER_CHECKPOINT_DATA,	/* be64 epoch, bytes */
	PEER_CHECKPOINT_SEAL,	/* be64 epoch, be64 length, be64 checksum */
	PEER_CHECKPOINT_PACKED,	/* be64 epoch, a packed piece (checkpoint/packed-frame.h): in the place of DATA */
	/* disk */
	PEER_DISK_WRITE = 80,	/* be64 epoch, be32 disk, be32 flags, be64 offset, bytes */
	PEER_DISK_ZERO,		/* be64 epoch, be32 disk, be32 flags (1: may unmap), be64 offset, be64 length */
	PEER_DISK_TRIM,		/* as ZERO */
	PEER_DISK_MARK,		/* be64 epoch: every write of epochs <= epoch was sent before this frame */
	PEER_DISK_COMPARE,	/* be64 offset, be64 length, be32 disk, be32 block, digests (checkpoint/disk-compare.h) */
};

enum peer_switchover { PEER_SWITCHOVER_OFF, PEER_SWITCHOVER_PREPARE, PEER_SWITCHOVER_TAKE_OVER };

struct peer_frame {
	enum peer_type type;
	enum peer_channel channel;	/* that it came over */
	uint64_t generation;
	const uint8_t *payload;		/* valid during the callback; see peer_link for keeping it */
	uint32_t length;
};

const char *peer_type_name(unsigned type);	/* "CHECKPOINT_SEAL", or "unknown" */
const char *peer_channel_name(enum peer_channel channel);	/* "bulk" */
/* Largest payload allowed for a type (max_length may be NULL), and whether it may travel on that channel. False: unknown type or wrong channel. */
bool peer_type_allowed(unsigned type, enum peer_channel channel, uint32_t *max_length);
void peer_header_encode(uint8_t out[PEER_HEADER], enum peer_type type, uint32_t length, uint64_t generation);
/* Checks magic, flags, reserved, type on this channel and the length limit, before anything is allocated. */
bool peer_header_decode(const uint8_t in[PEER_HEADER], enum peer_channel channel, struct peer_frame *out, GError **error);

struct peer_hello { uint16_t version; enum peer_channel channel; uint8_t pair[16]; uint8_t token[32]; };
#define PEER_HELLO_LENGTH 51
void peer_hello_encode(uint8_t out[PEER_HELLO_LENGTH], const struct peer_hello *h);
bool peer_hello_other_version(const uint8_t *data, size_t length);	/* whatever else is in it */
bool peer_hello_decode(const uint8_t *data, size_t length, struct peer_hello *out, GError **error);
