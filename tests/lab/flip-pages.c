/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damages every page of a checkpoint that a process holds: flip-pages PID [SECONDS]
 *
 * Looks into the memory of a running guard for what QEMU's stream looks like: page records (be64 offset with the flags PAGE and CONTINUE, then 4096 bytes), three in a
 * row; again and again, for most of what is found was sent already and its memory given back. Ends with the process or after the time. Prints how many; status 1 when none.
 */
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

enum { RECORD = 8 + 4096, ROW = 3, REGION_MAX = 256 << 20, FLAGS = 0x28 };

static const char damage[8] = "DAMAGED";

static bool
is_header(const uint8_t *p)
{
	/* be64, below 1 TiB, and the low 12 bits are PAGE | CONTINUE */
	return p[0] == 0 && p[1] == 0 && p[2] == 0 && (p[6] & 0x0f) == 0 && p[7] == FLAGS;
}

static unsigned
flip_region(int memory, uint64_t from, size_t size, uint8_t *buffer)
{
	ssize_t n = pread(memory, buffer, size, (off_t)from);
	unsigned flipped = 0;

	if (n <= ROW * RECORD)
		return 0;
	for (const uint8_t *p = buffer + 7, *end = buffer + n - ROW * RECORD; p < end && (p = memchr(p, FLAGS, (size_t)(end - p))); p++) {
		const uint8_t *record = p - 7, *victim = record + 2000;

		if (!is_header(record) || !is_header(record + RECORD) || !is_header(record + 2 * RECORD) || memcmp(victim, damage, sizeof damage) == 0)
			continue;
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
