/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy's clock is behind the primary's by the time that a commit and a load take. A client has seen the primary's time stamps; those of a copy that takes over
 * would be older, and the client would throw its segments away (RFC 7323, 5, PAWS) until the copy's clock is beyond what it has seen: an answer that is there at
 * once is not taken, and the next one is a retransmission. So what leaves by comparison carries the time of the copy's own twin. What leaves by commit may keep
 * the primary's: the copy that is loaded then has its clock.
 */
#include "proxy/tcp-timestamp.h"

#include "daemon/base/byte-reader.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_TIMESTAMP 8
#define TIMESTAMP_LENGTH 10
#define VNET_NEEDS_CHECKSUM 1	/* virtio 1.2, 5.1.6: the device completes it, so what is there does not cover the options */
#define VNET_LEAST 10
#define CHECKSUM_AT 16		/* in the TCP header */

/* Where the option's value stands, or NULL. */
static const uint8_t *
find(const struct packet *p)
{
	for (size_t at = 0; at < p->options_length;) {
		const uint8_t *o = p->options + at;
		size_t left = p->options_length - at;

		if (o[0] == OPTION_END)
			return NULL;
		if (o[0] == OPTION_NOP) {
			at++;
			continue;
		}
		if (left < 2 || o[1] < 2 || o[1] > left)
			return NULL;
		if (o[0] == OPTION_TIMESTAMP)
			return o[1] == TIMESTAMP_LENGTH ? o + 2 : NULL;
		at += o[1];
	}
	return NULL;
}

static uint32_t
get_be32(const uint8_t *p)
{
	struct byte_reader r = byte_reader_init(p, 4);

	return byte_reader_be32(&r);
}

bool
tcp_timestamp(const struct packet *p, uint32_t *value)
{
	const uint8_t *at = p->class == PACKET_TCP ? find(p) : NULL;

	if (at)
		*value = get_be32(at);
	return at != NULL;
}

/* Of the four bytes at `at`, as they weigh in the checksum: which of two bytes is the high one depends on where they stand. */
static uint32_t
weight(const uint8_t *at, bool odd)
{
	uint32_t sum = (uint32_t)(at[0] << 8 | at[1]) + (uint32_t)(at[2] << 8 | at[3]);

	if (odd)
		sum = ((uint32_t)at[1] << 8 | at[0]) + ((uint32_t)at[3] << 8 | at[2]);
	return sum;
}

/* RFC 1624, 3: HC' = ~(~HC + ~m + m') */
static void
mend_checksum(uint8_t *checksum, uint32_t before, uint32_t after)
{
	uint32_t sum = (uint16_t)~(checksum[0] << 8 | checksum[1]);

	sum += (uint16_t)~(before & 0xffff) + (uint16_t)~(before >> 16);
	sum += (after & 0xffff) + (after >> 16);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put_be16(checksum, (uint16_t)~sum);
}

void
tcp_timestamp_set(const struct packet *p, uint32_t value)
{
	uint8_t *at = (uint8_t *)find(p), *l4 = (uint8_t *)p->l4;
	size_t vnet = (size_t)(p->ethernet - p->whole);
	bool odd;
	uint32_t before;

	g_assert(at);
	odd = (at - l4) & 1;
	before = weight(at, odd);
	put_be32(at, value);
	if (vnet < VNET_LEAST || !(p->whole[0] & VNET_NEEDS_CHECKSUM))
		mend_checksum(l4 + CHECKSUM_AT, before, weight(at, odd));
}
