/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guard gives up before it reads the first byte from a guest, a peer or QEMU. It parses what a malicious guest and a malicious peer send, so whoever finds a
 * flaw in it shall hold as little as possible: the guest's own data, and nothing else of the host. ftd-security(7) tells what that is worth.
 *
 * Four stages, in this order; none can be undone. The first three while the process has one thread (capabilities and Landlock are a thread's; those made later
 * inherit them), the last one when its sockets are made, for all threads.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct isolation_paths {
	const char *const *changed;	/* directories below which it makes, writes and removes files; NULL-terminated */
	const char *const *read;	/* files and directories, besides those that libraries read */
	const guint16 *connect_ports;	/* TCP; 0-terminated; NULL: any */
	bool listens;			/* on a TCP port that the kernel chooses */
};

/* Stage 1: no descriptor that it was not given on purpose, no core dump and no tracer (guest memory would be in it), no privilege by exec. */
void isolate_process(void);
/* Stage 2: root without root's capabilities but the one to open other users' sockets and arbiter directories. */
bool isolate_privileges(GError **error);
/* Stage 3, Landlock: files and ports. *level: what the kernel has of it, 0 for nothing, which is no error. What does not exist is left out. */
bool isolate_files(const struct isolation_paths *paths, int *level, GError **error);
/* Stage 4, seccomp: the system calls of a process that moves bytes. Others do not exist (ENOSYS), which stderr is told; those that only an intruder makes end the process. */
bool isolate_syscalls(GError **error);
/* The filter of stage 4 for one of libseccomp's architectures, for a look at it where no such machine is: 0, or minus errno. */
int isolation_filter(uint32_t architecture, void **filter);
