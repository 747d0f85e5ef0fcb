/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damages every piece of a checkpoint that a guard holds: flip-pages PID [SECONDS]
 *
 * Looks into the memory of a running guard for packed pieces (checkpoint/packed-frame.h) that hold some pages; again and again, for most of what is found was sent
 * already and its memory given back. Ends with the process or after the time. Prints how many; status 1 when none.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/packed-frame.h"

enum { REGION_MAX = 256 << 20, PAGES_MIN = 3, BODY_MIN = 64, PIECE_MIN = PACKED_HEAD + PACKED_MAX_PAGES * PACKED_ENTRY + BODY_MIN };

static const char damage[8] = "DAMAGED";

static uint32_t
read_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

/* The length of a piece's head with its page entries; 0: these bytes are none. */
static size_t
piece_head(const uint8_t *p)
{
	uint32_t epoch_high = read_be32(p), length = read_be32(p + 8), n = (uint32_t)p[13] << 8 | p[14];
	int64_t before = -(int64_t)PAGE_CACHE_PAGE;

	if (epoch_high != 0 || length > PACKED_MAX_LENGTH || p[12] >= PACKED_METHODS || n < PAGES_MIN || n > PACKED_MAX_PAGES)
		return 0;
	for (const uint8_t *e = p + PACKED_HEAD; e < p + PACKED_HEAD + n * PACKED_ENTRY; e += PACKED_ENTRY) {
		uint32_t at = read_be32(e);

		if (at < before + PAGE_CACHE_PAGE || at + PAGE_CACHE_PAGE > length || read_be32(e + 4) >> PACKED_SLOT_BITS >= PACKED_KINDS)
			return 0;
		before = at;
	}
	return PACKED_HEAD + n * PACKED_ENTRY;
}

static unsigned
flip_region(int memory, uint64_t from, size_t size, uint8_t *buffer)
{
	ssize_t n = pread(memory, buffer, size, (off_t)from);
	unsigned flipped = 0;

	for (const uint8_t *p = buffer, *end = buffer + MAX(n - PIECE_MIN, 0); p < end; p++) {
		size_t head = piece_head(p);
		const uint8_t *victim = p + head + BODY_MIN - sizeof damage;

		if (head && memcmp(victim, damage, sizeof damage) != 0)
			flipped += pwrite(memory, damage, sizeof damage, (off_t)(from + (uint64_t)(victim - buffer))) == sizeof damage;
	}
	return flipped;
}

static unsigned
flip_all(int memory, const char *maps_path, uint8_t *buffer)
{
	FILE *maps = fopen(maps_path, "re");
	unsigned long long from, to, inode;
	unsigned flipped = 0;
	char line[512], mode[5];

	while (maps && fgets(line, sizeof line, maps))
		if (sscanf(line, "%llx-%llx %4s %*s %*s %llu", &from, &to, mode, &inode) == 4 && mode[1] == 'w' && !inode && to - from <= REGION_MAX)
			flipped += flip_region(memory, from, to - from, buffer);
	if (maps)
		fclose(maps);
	return flipped;
}

int
main(int argc, char **argv)
{
	int pid = argc > 1 ? atoi(argv[1]) : 0, seconds = argc > 2 ? atoi(argv[2]) : 10, memory;
	uint8_t *buffer = malloc(REGION_MAX);
	char maps[64], mem[64];
	unsigned flipped = 0;

	snprintf(maps, sizeof maps, "/proc/%d/maps", pid);
	snprintf(mem, sizeof mem, "/proc/%d/mem", pid);
	memory = pid > 0 ? open(mem, O_RDWR | O_CLOEXEC) : -1;
	if (memory < 0 || !buffer) {
		fprintf(stderr, "usage: flip-pages PID [SECONDS]: %s\n", strerror(errno));
		return 2;
	}
	for (time_t end = time(NULL) + seconds; kill(pid, 0) == 0 && time(NULL) < end; usleep(50000))
		flipped += flip_all(memory, maps, buffer);
	printf("%u\n", flipped);
	return flipped ? 0 : 1;
}
