/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Understands QEMU's migration stream as far as the checkpoints of a COLO pair need it: theory of operation in migration-reader.c. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/byte-reader.h"

/* Section types (QEMU migration/savevm.h) and RAM record flags (migration/ram.c); those not named here are refused. */
enum {
	QEMU_VM_EOF = 0x00,
	QEMU_VM_SECTION_START = 0x01,
	QEMU_VM_SECTION_PART = 0x02,
	QEMU_VM_SECTION_END = 0x03,
	QEMU_VM_SECTION_FULL = 0x04,
	QEMU_VM_SUBSECTION = 0x05,
	QEMU_VM_VMDESCRIPTION = 0x06,
	QEMU_VM_CONFIGURATION = 0x07,
	QEMU_VM_COMMAND = 0x08,
	QEMU_VM_SECTION_FOOTER = 0x7e,
};

enum {
	RAM_FLAG_ZERO = 0x02,
	RAM_FLAG_MEM_SIZE = 0x04,
	RAM_FLAG_PAGE = 0x08,
	RAM_FLAG_EOS = 0x10,
	RAM_FLAG_CONTINUE = 0x20,
	RAM_FLAG_MULTIFD_FLUSH = 0x200,
};

#define MIGRATION_MAX_BLOCKS 1024	/* RAM blocks of one machine: RAM, ROMs, video memory, one per DIMM */
#define MIGRATION_MAX_HEADER (8 + 1 + 255)	/* the longest page header: be64, u8 length, name */

enum migration_event_type {
	MIGRATION_NEED_MORE,		/* the input is used up */
	MIGRATION_BLOCK,		/* `block` was added to the list of RAM blocks */
	MIGRATION_RAM_COMPLETE,		/* the initial stream's RAM is over; what follows is not read */
	MIGRATION_PAGE,			/* the header of a page is complete; `payload` bytes follow it, not necessarily in this input */
	MIGRATION_DEVICE_STATE,		/* `payload` bytes of device state follow */
	MIGRATION_CHECKPOINT_END,	/* the last byte of the checkpoint was read */
	MIGRATION_ERROR,		/* migration_reader_error() tells why; the reader stays here for good */
};

struct migration_event {
	enum migration_event_type type;
	uint64_t offset;	/* of the header's first byte (ERROR: of the bad element), from the start of the stream or of the checkpoint */
	uint32_t header;	/* bytes of the header */
	uint64_t payload;	/* bytes that belong to it and follow it */
	unsigned block;		/* index: migration_reader_block() */
	uint64_t address;	/* of the page within the block */
	bool zero;		/* the page is all zeros (its payload is one byte, the fill value 0) */
	bool named;		/* the header names its block; otherwise it relies on the page before it (CONTINUE) */
};

struct migration_block {
	const char *name;
	unsigned name_length;
	uint64_t length;
};

struct migration_reader;
struct migration_reader *migration_reader_new(uint64_t max_device_state);
void migration_reader_free(struct migration_reader *r);
typedef struct migration_reader migration_reader;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migration_reader, migration_reader_free)

/*
 * Takes bytes off `in` until there is an event; any split of the stream gives the same events. After CHECKPOINT_END nothing is taken until
 * migration_reader_begin_checkpoint(), so that in->p is exactly the end of the checkpoint.
 */
enum migration_event_type migration_reader_next(struct migration_reader *r, struct byte_reader *in, struct migration_event *event);

/* The next byte is the first one after VMSTATE_SEND; offsets count from it. Legal after RAM_COMPLETE and after CHECKPOINT_END. */
void migration_reader_begin_checkpoint(struct migration_reader *r);

const char *migration_reader_error(const struct migration_reader *r);	/* NULL when there is none */
bool migration_reader_ram_complete(const struct migration_reader *r);	/* RAM_COMPLETE has been */
uint64_t migration_reader_offset(const struct migration_reader *r);	/* bytes taken since the start of the stream or of the checkpoint */

/* What the initial stream told; complete once RAM_COMPLETE has been. */
unsigned migration_reader_blocks(const struct migration_reader *r);
struct migration_block migration_reader_block(const struct migration_reader *r, unsigned index);
uint64_t migration_reader_ram_bytes(const struct migration_reader *r);
uint32_t migration_reader_page_size(const struct migration_reader *r);
uint32_t migration_reader_ram_section(const struct migration_reader *r);	/* the section id of "ram" */
bool migration_reader_has_footers(const struct migration_reader *r);	/* sections end with a footer (machine types >= 2.4) */
