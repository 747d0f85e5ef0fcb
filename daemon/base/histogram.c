/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/histogram.h"

#include <math.h>
#include <string.h>

static unsigned
bucket_of(uint64_t ns)
{
	uint64_t us16 = ns / 1000 * 16 + ns % 1000 * 16 / 1000;	/* sixteenths of a microsecond, without overflow */
	if (us16 < 16)
		return 0;
	unsigned octave = 63 - (unsigned)__builtin_clzll(us16) - 4;	/* 0 for 1..2 us */
	unsigned sub = (unsigned)(us16 >> octave) & 15;
	unsigned b = octave * 16 + sub;
	return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

static double
bucket_top_ms(unsigned b)
{
	return ldexp(1.0 + (b % 16 + 1) / 16.0, (int)(b / 16)) / 1000.0;
}

void
histogram_record(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->bucket[bucket_of(ns)]++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

double
histogram_percentile_ms(const struct histogram *h, double percent)
{
	uint64_t want = (uint64_t)ceil((double)h->count * percent / 100.0);
	uint64_t seen = 0;

	if (h->count == 0)
		return 0;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		seen += h->bucket[b];
		if (seen >= want)
			return fmin(bucket_top_ms(b), (double)h->max_ns / 1e6);
	}
	return (double)h->max_ns / 1e6;
}

void
histogram_reset(struct histogram *h)
{
	memset(h, 0, sizeof *h);
}
