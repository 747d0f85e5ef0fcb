/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds migration streams as QEMU writes them (migration/savevm.c, ram.c), for the tests of this folder. */
#pragma once

#include <glib.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "checkpoint/colo-message.h"
#include "checkpoint/migration-reader.h"

#define PAGE_BYTES 4096u
#define RAM_SECTION_ID 2

/* The test machine: two blocks, the second one with a name of another length. */
static const struct test_block {
	const char *name;
	unsigned pages;
} test_blocks[] = { { "pc.ram", 8 }, { "0000:00:02.0/vga.vram", 4 } };

static inline void
put(GByteArray *b, uint64_t value, unsigned bytes)
{
	uint8_t be[8];

	put_be64(be, value);
	g_byte_array_append(b, be + 8 - bytes, bytes);
}

static inline void
put_name(GByteArray *b, const char *name)
{
	put(b, strlen(name), 1);
	g_byte_array_append(b, (const uint8_t *)name, (guint)strlen(name));
}

/* Magic, configuration, commands, the RAM section's start with the list of blocks. */
static inline void
put_head(GByteArray *b)
{
	uint64_t total = 0;

	put(b, 0x5145564d00000003, 8);
	put(b, QEMU_VM_CONFIGURATION, 1);
	put(b, 14, 4);
	g_byte_array_append(b, (const uint8_t *)"pc-i440fx-11.1", 14);
	put(b, 0x0800010000, 5);		/* MIG_CMD_OPEN_RETURN_PATH */
	put(b, 0x0800020004, 5);		/* MIG_CMD_PING and its be32 */
	put(b, 1, 4);
	put(b, QEMU_VM_SECTION_START, 1);
	put(b, RAM_SECTION_ID, 4);
	put_name(b, "ram");
	put(b, 0, 4);
	put(b, 4, 4);
	for (unsigned i = 0; i < G_N_ELEMENTS(test_blocks); i++)
		total += test_blocks[i].pages * PAGE_BYTES;
	put(b, total | RAM_FLAG_MEM_SIZE, 8);
	for (unsigned i = 0; i < G_N_ELEMENTS(test_blocks); i++) {
		put_name(b, test_blocks[i].name);
		put(b, test_blocks[i].pages * PAGE_BYTES, 8);
	}
}

/* Page `page` of `block`, all bytes `fill`; 0 is sent as a zero page. Without `named` it continues the block before. */
static inline void
put_page(GByteArray *b, unsigned block, unsigned page, bool named, uint8_t fill)
{
	uint8_t data[PAGE_BYTES];

	put(b, page * PAGE_BYTES | (fill ? RAM_FLAG_PAGE : RAM_FLAG_ZERO) | (named ? 0u : RAM_FLAG_CONTINUE), 8);
	if (named)
		put_name(b, test_blocks[block].name);
	memset(data, fill, sizeof data);
	g_byte_array_append(b, data, fill ? PAGE_BYTES : 1);
}

static inline void
put_section(GByteArray *b, uint8_t type)
{
	put(b, type, 1);
	put(b, RAM_SECTION_ID, 4);
}

static inline void
put_section_end(GByteArray *b)
{
	put(b, RAM_FLAG_EOS, 8);
	put(b, QEMU_VM_SECTION_FOOTER, 1);
	put(b, RAM_SECTION_ID, 4);
}

/* EOF, VMSTATE_SIZE and the device state, which is `fill` all over. */
static inline void
put_device_state(GByteArray *b, uint8_t fill, unsigned length)
{
	put(b, QEMU_VM_EOF, 1);
	put(b, COLO_VMSTATE_SIZE, 4);
	put(b, length, 8);
	for (unsigned i = 0; i < length; i++)
		put(b, fill, 1);
}

#define DESCRIPTION_BYTES 23

/* What newer machines end the initial stream with. */
static inline void
put_description(GByteArray *b)
{
	static const char description[] = "{\"devices\": [{}]}";

	G_STATIC_ASSERT(sizeof description - 1 + 6 == DESCRIPTION_BYTES);
	put(b, QEMU_VM_EOF, 1);
	put(b, QEMU_VM_VMDESCRIPTION, 1);
	put(b, sizeof description - 1, 4);
	g_byte_array_append(b, (const uint8_t *)description, sizeof description - 1);
}

/* The whole initial stream: page p of each block holds p, page 0 is zero; the last one sent is in block 1. */
static inline GByteArray *
initial_stream(void)
{
	GByteArray *b = g_byte_array_new();

	put_head(b);
	put_section_end(b);
	put_section(b, QEMU_VM_SECTION_PART);
	for (unsigned i = 0; i < G_N_ELEMENTS(test_blocks); i++)
		for (unsigned p = 0; p < test_blocks[i].pages; p++)
			put_page(b, i, p, p == 0, (uint8_t)p);
	put_section_end(b);
	put_section(b, QEMU_VM_SECTION_END);
	put_page(b, 1, 1, false, 1);
	put_section_end(b);
	g_byte_array_append(b, (const uint8_t *)"devices, which nobody here can read", 35);
	return b;
}

static inline GBytes *
piece(const GByteArray *b, size_t from, size_t to)
{
	return g_bytes_new(b->data + from, to - from);
}
