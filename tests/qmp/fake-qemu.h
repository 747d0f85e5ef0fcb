/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A scripted QEMU on a monitor socket, in a thread of its own: expected command -> canned answer; anything unexpected fails the test at fake_qemu_end(). */
#pragma once

#include <glib.h>

struct fake_line {
	const char *expect;	/* command name, NULL: none, just say what follows; "EOF": the client closes */
	const char *say;	/* with %ID% for the id that came; NULL: say nothing; "CLOSE": close */
	unsigned delay_ms;	/* before that */
};

struct fake_qemu;
/* Listens on <dir>/qmp after listen_delay_ms, says `greeting`, expects qmp_capabilities, then runs the script (ends with an all-NULL line). */
struct fake_qemu *fake_qemu_new(unsigned listen_delay_ms, const char *greeting, const struct fake_line *script);
const char *fake_qemu_path(const struct fake_qemu *q);
/* Ends it. "" when all went by the script, else what was wrong. How many descriptors came: *fds (may be NULL). */
char *fake_qemu_end(struct fake_qemu *q, unsigned *fds);
