/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one checked accessor for bytes from outside (big endian). A read past the end sets `bad` and returns zeros from then on, so a decoder
 * reads a whole structure and asks once: `if (!byte_reader_done(&r))`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct byte_reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline struct byte_reader
byte_reader_init(const void *data, size_t length)
{
	return (struct byte_reader){ .p = data, .left = length };
}

/* A view of n bytes, NULL (and bad) when there are fewer. */
static inline const uint8_t *
byte_reader_bytes(struct byte_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || r->left < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static inline uint64_t
byte_reader_be(struct byte_reader *r, unsigned n)
{
	const uint8_t *p = byte_reader_bytes(r, n);
	uint64_t v = 0;

	for (unsigned i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static inline uint8_t byte_reader_u8(struct byte_reader *r) { return (uint8_t)byte_reader_be(r, 1); }
static inline uint16_t byte_reader_be16(struct byte_reader *r) { return (uint16_t)byte_reader_be(r, 2); }
static inline uint32_t byte_reader_be32(struct byte_reader *r) { return (uint32_t)byte_reader_be(r, 4); }
static inline uint64_t byte_reader_be64(struct byte_reader *r) { return byte_reader_be(r, 8); }

/* True when everything was read and nothing was missing. */
static inline bool
byte_reader_done(const struct byte_reader *r)
{
	return !r->bad && r->left == 0;
}

static inline void
put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void
put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static inline void
put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}
