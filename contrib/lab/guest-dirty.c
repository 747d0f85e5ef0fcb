/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-dirty MB_PER_SECOND SECONDS [WORKING_SET_MB]: writes to that much memory per second, a page at a time in random order, in slices of 5 ms, and
 * prints the pages per second it wrote. Half of every page changes: zero pages and unchanged pages are other programs' business.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096, SLICE_NS = 5000000 };

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static uint64_t
next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Random contents without the cost of making them: half a page from somewhere in a megabyte of noise. */
static uint8_t noise[(1 << 20) + PAGE];

static void
dirty_page(uint8_t *page, uint64_t *state)
{
	memcpy(page + (next(state) & 1) * PAGE / 2, noise + (next(state) & 0xffff8), PAGE / 2);
}

int
main(int argc, char **argv)
{
	double rate = argc > 2 ? atof(argv[1]) * (1 << 20) / PAGE : 0;	/* pages/s */
	size_t pages = (argc > 3 ? strtoul(argv[3], NULL, 10) : 64) * ((1 << 20) / PAGE);
	uint64_t state = 88172645463325252ULL, done = 0;
	int64_t start, now, end;
	uint8_t *memory;

	if (rate <= 0 || pages == 0) {
		fprintf(stderr, "usage: guest-dirty MB_PER_SECOND SECONDS [WORKING_SET_MB]\n");
		return 2;
	}
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (size_t i = 0; i + 8 <= sizeof noise; i += 8)
		memcpy(noise + i, &(uint64_t){ next(&state) }, 8);
	start = now = now_ns();
	end = start + (int64_t)(atof(argv[2]) * 1e9);
	while (now < end) {
		uint64_t want = (uint64_t)((double)(now - start) / 1e9 * rate);

		/* A guest that was stopped does not catch up for more than a slice. */
		if (want > done + (uint64_t)(rate / 100))
			want = done + (uint64_t)(rate / 100) + 1;
		for (; done < want; done++)
			dirty_page(memory + next(&state) % pages * PAGE, &state);
		nanosleep(&(struct timespec){ .tv_nsec = SLICE_NS }, NULL);
		now = now_ns();
	}
	printf("%.1f\n", (double)done / ((double)(now - start) / 1e9));
	return 0;
}
