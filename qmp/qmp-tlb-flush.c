/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Under TCG a vCPU's first write to a page that is clean takes a slow path, which marks the page as dirty and drops TLB_NOTDIRTY from its TLB entry (accel/tcg/cputlb.c,
 * notdirty_write()). When the migration collects the dirty bits it gives the TLBs that flag back, but only if it has found a page that was not known to be dirty already
 * (migration/ram.c, physical_memory_sync_dirty_bitmap(): num_dirty). The last two collections of a migration follow each other closely: the guest has written what it
 * always writes, all of it is known, and no flag comes back. An ordinary migration ends there. A guest that goes on under COLO writes these pages unseen until its TLB is
 * flushed for another reason, and the first checkpoint lacks them: the copy's kernel was then found to be damaged in one of twenty pairs.
 *
 * So all TLBs are flushed while the guest stands there. No command does that, but a change of the memory map does (tcg_commit()), and on a PC each write to the
 * bridge's PAM registers is one, with the value that they have as well (hw/pci-host/pam.c, pam_update() switches the alias off and on). They are reached by two ports,
 * the first of which has an address that the guest may have set just now: it is put back. KVM keeps its dirty bits elsewhere and has no such thing.
 */
#include "qmp/qmp-tlb-flush.h"

#include "daemon/base/error.h"

#include <stdbool.h>
#include <string.h>

#define PORT_ADDRESS "0xcf8"
#define PORT_DATA "0xcfc"
#define ENABLE 0x80000000u
#define I440FX 0x12378086u
#define I440FX_PAM 0x58u	/* the dword that has PAM0 */
#define Q35 0x29c08086u
#define Q35_PAM 0x90u

enum step { READ_LATCH, SELECT_ID, READ_ID, SELECT_PAM, READ_PAM, WRITE_PAM, PUT_BACK, DONE };

static const char *
in(struct qmp_tlb_flush *f, const char *port)
{
	g_snprintf(f->line, sizeof f->line, "i /w %s", port);
	return f->line;
}

static const char *
out(struct qmp_tlb_flush *f, const char *port, uint32_t value)
{
	g_snprintf(f->line, sizeof f->line, "o /w %s 0x%08x", port, value);
	return f->line;
}

/* "portl[0x0cf8] = 0x80000000" (hw/core/machine-hmp-cmds.c, hmp_ioport_read()) */
static bool
read_value(const char *reply, uint32_t *value)
{
	const char *at = reply ? strstr(reply, "= 0x") : NULL;
	char *end = NULL;
	guint64 v = at ? g_ascii_strtoull(at + 4, &end, 16) : 0;

	*value = (uint32_t)v;
	return at && end > at + 4 && v <= UINT32_MAX;
}

static uint32_t
pam_of(uint32_t bridge)
{
	return bridge == I440FX ? I440FX_PAM : bridge == Q35 ? Q35_PAM : 0;
}

/* What the guest had set is put back first. */
static const char *
give_up(struct qmp_tlb_flush *f, const char *failure)
{
	f->failure = failure;
	f->step = DONE;
	return out(f, PORT_ADDRESS, f->latch);
}

/* Whoever writes to a port is answered with nothing. */
static bool
refused(const char *reply)
{
	return reply && *reply;
}

const char *
qmp_tlb_flush_next(struct qmp_tlb_flush *f, const char *reply, GError **error)
{
	uint32_t value;

	switch (f->step++) {
	case READ_LATCH:
		return in(f, PORT_ADDRESS);
	case SELECT_ID:
		if (read_value(reply, &f->latch))
			return out(f, PORT_ADDRESS, ENABLE);
		f->failure = "QEMU's monitor does not read I/O ports";
		break;
	case READ_ID:
		return refused(reply) ? give_up(f, "QEMU's monitor does not write to I/O ports") : in(f, PORT_DATA);
	case SELECT_PAM:
		if (read_value(reply, &value) && pam_of(value))
			return out(f, PORT_ADDRESS, ENABLE | pam_of(value));
		return give_up(f, "the machine has no host bridge whose PAM registers are known");
	case READ_PAM:
		return in(f, PORT_DATA);
	case WRITE_PAM:
		return read_value(reply, &value) ? out(f, PORT_DATA, value) : give_up(f, "QEMU's monitor does not read the host bridge's PAM registers");
	case PUT_BACK:
		return refused(reply) ? give_up(f, "QEMU's monitor does not write to the host bridge's PAM registers") : out(f, PORT_ADDRESS, f->latch);
	}
	f->step = DONE;
	if (f->failure)
		g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "under TCG a copy would lack pages (see ftd-architecture(7)): %s", f->failure);
	return NULL;
}

const char *
qmp_tlb_flush_put_back(struct qmp_tlb_flush *f)
{
	bool changed = f->step > SELECT_ID;

	f->step = DONE;
	return changed ? out(f, PORT_ADDRESS, f->latch) : NULL;
}
