/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc/PID/task/TID/stat says of a thread (proc_pid_stat(5)). Pure. */
#pragma once

enum process_look {
	PROCESS_RUNS,		/* or waits for something */
	PROCESS_STOPPED,	/* "T": SIGSTOP; not "t", a tracer's stop, which comes and goes with each system call under strace(1) */
	PROCESS_ENDS,		/* it will never run an instruction of its program again, but the kernel still frees what it has, or writes its core */
	PROCESS_GONE,		/* nothing was read, or nothing that makes sense */
};

/* `text`: what was read, nul-terminated. */
enum process_look process_look(const char *text);
