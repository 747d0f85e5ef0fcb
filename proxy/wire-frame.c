/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cuts a filter socket's byte stream into frames. Only three things can be wrong with the framing, and all of them end the stream for good,
 * because nothing after a wrong length can be trusted: a frame larger than QEMU's own buffer, a vnet header larger than any that exists, a vnet
 * header larger than its frame. What the guest puts into the frame (a runt, nothing at all) is not the framing's business: a guest must not be
 * able to end its own protection.
 *
 * Memory: one partial frame at most, and the whole frames of the input call before; the caller empties the splitter after each input.
 */
#include "proxy/wire-frame.h"

#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"

struct wire_splitter {
	GByteArray *partial;	/* the beginning of a frame, never a whole one */
	size_t want;		/* its whole length once the header is in, WIRE_FRAME_HEADER before */
	GQueue ready;		/* of GBytes */
	bool broken;
};

static bool
lengths_valid(uint32_t length, uint32_t vnet)
{
	return length <= WIRE_FRAME_MAX && vnet <= WIRE_FRAME_MAX_VNET && vnet <= length;
}

struct wire_splitter *
wire_splitter_new(void)
{
	struct wire_splitter *s = g_new0(struct wire_splitter, 1);

	s->partial = g_byte_array_new();
	s->want = WIRE_FRAME_HEADER;
	return s;
}

void
wire_splitter_free(struct wire_splitter *s)
{
	if (!s)
		return;
	g_byte_array_unref(s->partial);
	g_queue_clear_full(&s->ready, (GDestroyNotify)g_bytes_unref);
	g_free(s);
}

/* The whole length of the frame whose header is at `header`, 0 when it cannot be one. */
static size_t
whole_length(const uint8_t *header)
{
	struct byte_reader r = byte_reader_init(header, WIRE_FRAME_HEADER);
	uint32_t length = byte_reader_be32(&r);
	uint32_t vnet = byte_reader_be32(&r);

	return lengths_valid(length, vnet) ? WIRE_FRAME_HEADER + (size_t)length : 0;
}

static bool
fail(struct wire_splitter *s, const uint8_t *header, GError **error)
{
	struct byte_reader r = byte_reader_init(header, WIRE_FRAME_HEADER);
	uint32_t length = byte_reader_be32(&r);
	uint32_t vnet = byte_reader_be32(&r);

	s->broken = true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL,
		    "a filter socket sent a frame of %u bytes with a vnet header of %u (at most %d and %d): "
		    "both filters of a socket need the same vnet_hdr_support", length, vnet, WIRE_FRAME_MAX, WIRE_FRAME_MAX_VNET);
	return false;
}

/* Moves bytes into the partial frame until it is as long as it wants to be. */
static void
fill_partial(struct wire_splitter *s, const uint8_t **data, size_t *length)
{
	size_t n = MIN(s->want - s->partial->len, *length);

	g_byte_array_append(s->partial, *data, (guint)n);
	*data += n;
	*length -= n;
}

/* Whole frames that lie in the input as they are: one copy each, nothing goes through the partial buffer. */
static bool
take_whole(struct wire_splitter *s, const uint8_t **data, size_t *length, GError **error)
{
	while (*length >= WIRE_FRAME_HEADER) {
		size_t n = whole_length(*data);

		if (n == 0)
			return fail(s, *data, error);
		if (*length < n)
			return true;
		g_queue_push_tail(&s->ready, g_bytes_new(*data, n));
		*data += n;
		*length -= n;
	}
	return true;
}

bool
wire_splitter_input(struct wire_splitter *s, const uint8_t *data, size_t length, GError **error)
{
	if (s->broken) {
		g_set_error_literal(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "a filter socket's framing was broken before");
		return false;
	}
	while (length > 0) {
		if (s->partial->len == 0 && !take_whole(s, &data, &length, error))
			return false;
		fill_partial(s, &data, &length);
		if (s->partial->len < s->want)
			break;
		if (s->want == WIRE_FRAME_HEADER) {
			s->want = whole_length(s->partial->data);
			if (s->want == 0)
				return fail(s, s->partial->data, error);
		}
		if (s->partial->len == s->want) {
			g_queue_push_tail(&s->ready, g_bytes_new(s->partial->data, s->want));
			g_byte_array_set_size(s->partial, 0);
			s->want = WIRE_FRAME_HEADER;
		}
	}
	return true;
}

GBytes *
wire_splitter_next(struct wire_splitter *s)
{
	return g_queue_pop_head(&s->ready);
}

bool
wire_frame_valid(const uint8_t *data, size_t length)
{
	return length >= WIRE_FRAME_HEADER && whole_length(data) == length;
}

const uint8_t *
wire_frame_vnet(GBytes *frame, size_t *length)
{
	size_t size;
	const uint8_t *data = g_bytes_get_data(frame, &size);
	struct byte_reader r = byte_reader_init(data, size);

	byte_reader_be32(&r);
	*length = byte_reader_be32(&r);
	return byte_reader_bytes(&r, *length);
}

const uint8_t *
wire_frame_ethernet(GBytes *frame, size_t *length)
{
	size_t vnet;
	const uint8_t *p = wire_frame_vnet(frame, &vnet);

	*length = g_bytes_get_size(frame) - WIRE_FRAME_HEADER - vnet;
	return p + vnet;
}
