/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a comparison says. It only says: nothing is released, asked for or dropped by the compare-*.c files. */
enum verdict {
	VERDICT_WAIT,	/* the other copy has not sent its part yet */
	VERDICT_SAME,
	VERDICT_DIFFER	/* will not become the same in this epoch: only a commit releases it */
};
