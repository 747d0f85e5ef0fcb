/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's socket framing of net filters with vnet_hdr_support: be32 length, be32 vnet header length, then vnet header + frame (net/filter-mirror.c). Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define WIRE_FRAME_HEADER 8
#define WIRE_FRAME_MAX (68 * 1024)	/* QEMU's NET_BUFSIZE is 4096 + 65536 (include/net/net.h) */
#define WIRE_FRAME_MAX_VNET 64

struct wire_splitter;
struct wire_splitter *wire_splitter_new(void);
void wire_splitter_free(struct wire_splitter *s);
typedef struct wire_splitter wire_splitter;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(wire_splitter, wire_splitter_free)
/* Bytes as they came from the socket, in any split. False: the framing is broken (FTD_ERROR_PROTOCOL). */
bool wire_splitter_input(struct wire_splitter *s, const uint8_t *data, size_t length, GError **error);
/* The next whole frame *including* its 8-byte header, so that it can be written to another filter as it is; NULL when there is none. */
GBytes *wire_splitter_next(struct wire_splitter *s);

/* Checks a whole frame as above that came over the FT link: lengths agree and are in range. */
bool wire_frame_valid(const uint8_t *data, size_t length);
/* The Ethernet part of a valid frame. */
const uint8_t *wire_frame_ethernet(GBytes *frame, size_t *length);
const uint8_t *wire_frame_vnet(GBytes *frame, size_t *length);
