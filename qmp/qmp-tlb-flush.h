/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCG only: makes QEMU notice each first write of its guest from now on. Pure; why, and how, in qmp-tlb-flush.c.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

struct qmp_tlb_flush {		/* all zero: at the beginning */
	unsigned step;
	uint32_t latch;
	const char *failure;
	char line[32];
};

/*
 * The next line for the human monitor (qmp_hmp()), to be used before the next call; NULL when there is none any more: it is done, or error says why it is not.
 * reply: what the last line brought; NULL at the beginning. Once a line was sent the rest must be, too: they put back what the guest sees.
 */
const char *qmp_tlb_flush_next(struct qmp_tlb_flush *f, const char *reply, GError **error);
/* The monitor failed, or did not answer in time: the line that puts back what the guest had set; NULL: nothing was changed. It is over then. */
const char *qmp_tlb_flush_put_back(struct qmp_tlb_flush *f);
