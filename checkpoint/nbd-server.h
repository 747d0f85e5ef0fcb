/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server side of one NBD connection (fixed newstyle, simple replies;
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md), as far as QEMU's blockdev-mirror needs it of its
 * target. Pure: bytes in, requests out; the caller answers each request when its data is safe.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define NBD_MAX_REQUEST (32u << 20)	/* QEMU's own limit for one request (proto.md "Block size constraints") */
/*
 * What we ask for instead. The payload of one request is read in one recv() by the standby's QEMU, into fresh memory, and sent in one send() by this one's; a kernel without
 * preemption (CONFIG_PREEMPT_NONE) gives that CPU to nobody meanwhile, whatever their priority. A guest's page cache writes 17 MB in one request: a guard was not heard for
 * 100 to 165 ms, and its peer went on alone. QEMU splits what it writes as zeroes likewise (block/nbd.c, nbd_refresh_limits()), sixteen such at a time.
 */
#define NBD_GOOD_REQUEST (2u << 20)
#define NBD_MAX_PENDING 1024		/* requests not answered yet; beyond it the input is an error */
#define NBD_MAX_OPTIONS 64		/* options of one negotiation; beyond it the input is an error */
#define NBD_MAX_OPTION_LENGTH 8192	/* one option's payload: a name of 4096 bytes (proto.md "Terminology") and then some */

enum nbd_op { NBD_OP_READ, NBD_OP_WRITE, NBD_OP_FLUSH, NBD_OP_TRIM, NBD_OP_WRITE_ZEROES, NBD_OP_DISCONNECT };

struct nbd_request {
	enum nbd_op op;
	uint64_t cookie;
	uint64_t offset;
	uint32_t length;
	bool fua;		/* WRITE, TRIM, WRITE_ZEROES */
	bool no_hole;		/* WRITE_ZEROES: the range must stay allocated */
	GBytes *data;		/* WRITE only; owned by the request */
};

struct nbd_server;
struct nbd_server *nbd_server_new(const char *export_name, uint64_t size);
void nbd_server_free(struct nbd_server *s);
typedef struct nbd_server nbd_server;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(nbd_server, nbd_server_free)

/* Takes bytes from the client. False: protocol error (FTD_ERROR_PROTOCOL, names what was wrong); the connection must be closed. */
bool nbd_server_input(struct nbd_server *s, const uint8_t *data, size_t length, GError **error);
/*
 * Moves the next request out; out-of-range requests were already answered with EINVAL and never show up here. Every request
 * but NBD_OP_DISCONNECT is answered once with nbd_server_reply(), in any order. NBD_OP_DISCONNECT is the last one there is:
 * it wants no answer, and the caller closes the connection when the output has been sent.
 */
bool nbd_server_next_request(struct nbd_server *s, struct nbd_request *out);
void nbd_request_clear(struct nbd_request *r);
/* Queues a simple reply. nbd_errno 0 = done; data (of the length that was asked for) only for a READ that succeeded. */
void nbd_server_reply(struct nbd_server *s, uint64_t cookie, uint32_t nbd_errno, GBytes *data);
/* Bytes to be sent to the client; NULL when there are none. */
GBytes *nbd_server_take_output(struct nbd_server *s);
bool nbd_server_transmitting(const struct nbd_server *s);	/* negotiation is over */
unsigned nbd_server_pending(const struct nbd_server *s);	/* requests that wait for their answer, those not yet taken included */
