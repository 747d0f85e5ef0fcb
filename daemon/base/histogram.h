/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Latency percentiles in constant memory: buckets of 1/16 octave from 1 us to 64 s, so any percentile is right to 6 %.
 * (Debian 12 has no libhdr-histogram; the interface is kept close to its so that it can take over.)
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_BUCKETS (27 * 16)

struct histogram {
	uint64_t count;
	uint64_t max_ns;
	uint32_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t ns);
/* percent in (0, 100]; milliseconds; 0 when nothing was recorded. */
double histogram_percentile_ms(const struct histogram *h, double percent);
void histogram_reset(struct histogram *h);
