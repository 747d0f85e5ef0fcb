/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/process-stat.h"

#include <stdio.h>
#include <string.h>

/* Of field 9, flags (the kernel's include/linux/sched.h; these have not changed since 2.6). PF_POSTCOREDUMP had another use before 5.16, in an exit as well. */
#define PF_EXITING 0x4u
#define PF_POSTCOREDUMP 0x8u
#define PF_DUMPCORE 0x200u

/* "1234 (qemu-system-x86) S 1 2 3 4 5 FLAGS ...": the name may have parentheses in it, too. */
enum process_look
process_look(const char *text)
{
	const char *name_end = strrchr(text, ')');
	unsigned flags;
	char state;

	if (!name_end || sscanf(name_end + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return PROCESS_GONE;
	if (state == 'Z' || state == 'X' || (flags & (PF_EXITING | PF_POSTCOREDUMP | PF_DUMPCORE)))
		return PROCESS_ENDS;
	return state == 'T' ? PROCESS_STOPPED : PROCESS_RUNS;
}
