/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guard makes of its QEMU's line in /proc: made-up ones, and those of a child of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/process-stat.h"

static void
lines(void **state)
{
	assert_int_equal(process_look("31 (qemu-system-x86) S 1 31 31 0 -1 4194560 5 6"), PROCESS_RUNS);
	assert_int_equal(process_look("31 (a) T (b) R 1 31 31 0 -1 4194560 5 6"), PROCESS_RUNS);
	assert_int_equal(process_look("31 (qemu-system-x86) T 1 31 31 0 -1 4194560 5 6"), PROCESS_STOPPED);
	assert_int_equal(process_look("31 (qemu-system-x86) t 1 31 31 0 -1 4194560 5 6"), PROCESS_RUNS);
	assert_int_equal(process_look("31 (qemu-system-x86) R 1 31 31 0 -1 4194564 5 6"), PROCESS_ENDS);	/* frees its memory */
	assert_int_equal(process_look("31 (qemu-system-x86) D 1 31 31 0 -1 4195072 5 6"), PROCESS_ENDS);	/* writes its core */
	assert_int_equal(process_look("31 (qemu-system-x86) S 1 31 31 0 -1 4194568 5 6"), PROCESS_ENDS);	/* another thread writes it */
	assert_int_equal(process_look("31 (qemu-system-x86) Z 1 31 31 0 -1 4227084 5 6"), PROCESS_ENDS);
}

static void
nonsense(void **state)
{
	static const char *const bad[] = { "", "31", "31 (qemu", "31 (qemu)", "31 (qemu) ", "31 (qemu) S 1 31 31 0 -1", "31 (qemu) S 1 31 31 0 -1 x" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(process_look(bad[i]), PROCESS_GONE);
}

static enum process_look
look(int fd)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return process_look(text);
}

/* The kernel's own words. Of the time in which a process ends only its last, the zombie, can be waited for. */
static void
a_child(void **state)
{
	pid_t pid = fork();
	char path[64];
	int fd, status;

	if (pid == 0)
		for (;;)
			pause();
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(look(fd), PROCESS_RUNS);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_int_equal(look(fd), PROCESS_STOPPED);
	kill(pid, SIGKILL);
	for (unsigned i = 0; i < 5000 && look(fd) != PROCESS_ENDS; i++)
		usleep(1000);	/* it has to be woken up to die */
	assert_int_equal(look(fd), PROCESS_ENDS);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(look(fd), PROCESS_GONE);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(a_child),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
