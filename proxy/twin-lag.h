/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far the SVM's output is behind the PVM's, and so from when on a twin that has not come is late: half as long again as the longest wait of late. A wait is
 * forgotten by an eighth in each tenth of a second, and by half when another one was in vain.
 */
#pragma once

#include <stdint.h>

struct twin_lag {	/* all 0: nothing seen */
	uint64_t at, lag;
};

/* A frame's twin came, `lag` ns after the frame began to wait for it. */
void twin_lag_sample(struct twin_lag *l, uint64_t now, uint64_t lag);
/* A twin did not come. */
void twin_lag_in_vain(struct twin_lag *l);
/* ns; 0: nothing is known. */
uint64_t twin_lag_late(const struct twin_lag *l);
