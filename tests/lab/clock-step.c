/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A wall clock of one lab host's own: a library for its /etc/ld.so.preload. Linux has no namespace for CLOCK_REALTIME; this shifts what programs read of it
 * by the seconds in CLOCK_STEP_FILE (a little-endian int64, mapped, so that writing there is the step). The monotonic clocks, files' times and timers that
 * the kernel runs by the wall clock are not shifted.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_STEP_FILE "/etc/ftd-lab-clock"

static int (*real_clock_gettime)(clockid_t clock, struct timespec *ts);
static const volatile int64_t *shift;

static void __attribute__((constructor))
init(void)
{
	int fd = open(CLOCK_STEP_FILE, O_RDONLY | O_CLOEXEC);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (map != MAP_FAILED)
		shift = map;
	real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r;

	if (!real_clock_gettime)	/* another library's constructor, before ours */
		init();
	r = real_clock_gettime(clock, ts);
	if (r == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += *shift;
	return r;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){ .tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000 };
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}
