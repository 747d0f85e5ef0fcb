/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Two things have to be known about the bytes that QEMU sends for a checkpoint: where it ends, and which page of which RAM block
 * each record holds. Payloads (pages, device state) are never looked at and never copied: a header is collected in `head` until
 * it has the `need` bytes that its state asks for, its step says what comes next, and payloads are left behind with `skip`. So a
 * split of the input anywhere changes nothing, and the cost is per header, not per byte.
 *
 *   initial stream:  MAGIC [CONFIG [SUBSECTION]...]  { COMMAND | START "ram" | PART | END | FOOTER }...  OPAQUE
 *   checkpoint:      { COMMAND | PART | END | FOOTER }...  EOF  VMSTATE_SIZE n  n bytes  DONE
 *   RAM section:     RECORD... EOS        (the first one opens with MEM_SIZE and the list of blocks)
 *
 * Why the initial stream is read at all: a record with CONTINUE means "the block of the record before", and that carries over
 * from section to section and from precopy into the first checkpoint (QEMU keeps it in RAMState.last_sent_block and per channel
 * in last_recv_block). What comes after the RAM section's END (devices, VM description) has no framing that can be read without
 * the device models, and needs none: nothing but it comes before the first COLO message, so the caller knows its end
 * (relay.c; COLO_READY).
 *
 * Invariants: a PAGE event lies within its block and is aligned; `skip` never exceeds what a limit allowed; after an error
 * nothing is read. What is refused: sections of other devices before the end of RAM (their length cannot be known), XBZRLE,
 * mapped-ram, ignored shared blocks, packaged commands (postcopy): none occurs with the capabilities that a COLO pair uses.
 */
#include "checkpoint/migration-reader.h"

#include <string.h>

#include "checkpoint/colo-message.h"

#define QEMU_VM_FILE_MAGIC 0x5145564d	/* "QEVM" */
#define QEMU_VM_FILE_VERSION 3
#define RAM_SECTION_VERSION 4
#define MIG_CMD_PACKAGED 7	/* savevm.c: its payload is a length, the package follows outside of the command */
#define MAX_MACHINE_NAME 1024
#define UUID_BYTES 16
#define MAX_HEAD (4 + 1 + 255 + 4 + 4)	/* the longest element: START's id, u8 length, name, instance id, version */
G_STATIC_ASSERT(MAX_HEAD >= MIGRATION_MAX_HEADER);

enum state {
	S_MAGIC,
	S_SECTION,		/* the type byte of a section */
	S_CONFIG,		/* length of the machine's name, skipped */
	S_SUBSECTION,		/* length of the name of a part of the configuration */
	S_SUBSECTION_NAME,	/* the name and its version */
	S_PAGE_BITS,		/* value of configuration/target-page-bits */
	S_START,		/* section id and the length of the section's name */
	S_START_NAME,		/* the name, instance id, version */
	S_PART,			/* section id */
	S_RECORD,		/* the be64 of a RAM record */
	S_RECORD_NAME_LENGTH,
	S_RECORD_NAME,
	S_BLOCK,		/* length of a name in the list of blocks */
	S_BLOCK_NAME,		/* the name and the block's length */
	S_COMMAND,
	S_FOOTER,
	S_OPAQUE,		/* the rest of the initial stream: everything is skipped */
	S_VMSTATE_SIZE,
	S_DEVICE_STATE,		/* the device state is being skipped; DONE comes after it */
	S_DONE,			/* between checkpoints: nothing may be read */
	S_ERROR,
	S_LAST
};

struct block {
	char name[256];
	uint8_t name_length;
	uint64_t length;
};

struct migration_reader {
	enum state state;
	uint8_t head[MAX_HEAD];
	size_t have, need;	/* bytes in head; bytes that the state wants there */
	uint64_t skip;		/* payload bytes still to pass */
	uint64_t offset;	/* of the next byte */
	uint64_t element;	/* offset of the first byte of what is being read */
	uint64_t max_device_state;

	GArray *blocks;		/* struct block */
	uint64_t ram_bytes;
	uint64_t list_left;	/* bytes of RAM that the list of blocks has not named yet */
	uint32_t page_size;
	uint32_t ram_section;
	bool ram_started, ram_complete, footers;
	bool in_checkpoint;
	bool last_part;		/* the open section is an END */
	bool list_allowed;	/* the open section is the START: MEM_SIZE may come first */
	bool footer_allowed;	/* a section has just ended */
	bool config_open;	/* the configuration was the last thing read: its subsections may follow */

	unsigned last_block;	/* what CONTINUE means; UINT_MAX = no block was named yet */
	uint64_t word;		/* the record being read */
	char *error;
};

struct migration_reader *
migration_reader_new(uint64_t max_device_state)
{
	struct migration_reader *r = g_new0(struct migration_reader, 1);

	r->max_device_state = max_device_state;
	r->blocks = g_array_new(FALSE, TRUE, sizeof(struct block));
	r->page_size = 4096;
	r->last_block = UINT_MAX;
	r->state = S_MAGIC;
	r->need = 8;
	return r;
}

void
migration_reader_free(struct migration_reader *r)
{
	if (!r)
		return;
	g_array_unref(r->blocks);
	g_free(r->error);
	g_free(r);
}

/* Names come from the stream: an error that quotes one must still be one line of ASCII. */
static bool G_GNUC_PRINTF(2, 3)
fail(struct migration_reader *r, const char *format, ...)
{
	va_list args;

	g_assert(!r->error);
	va_start(args, format);
	r->error = g_strdup_vprintf(format, args);
	va_end(args);
	for (char *c = r->error; *c; c++)
		if (!g_ascii_isprint(*c))
			*c = '?';
	r->state = S_ERROR;
	r->skip = 0;
	return false;
}

/* The next header continues the same element: its bytes are added to those in head. */
static bool
more(struct migration_reader *r, enum state state, size_t bytes)
{
	g_assert(r->have + bytes <= sizeof r->head);
	r->state = state;
	r->need = r->have + bytes;
	return false;
}

/* The next header starts a new element. */
static bool
next(struct migration_reader *r, enum state state, size_t bytes)
{
	r->have = 0;
	return more(r, state, bytes);
}

static bool
section_over(struct migration_reader *r)
{
	return next(r, S_SECTION, 1);
}

static struct byte_reader
head_from(const struct migration_reader *r, size_t from)
{
	return byte_reader_init(r->head + from, r->have - from);
}

static struct block *
block_at(const struct migration_reader *r, unsigned i)
{
	return &g_array_index(r->blocks, struct block, i);
}

static bool
step_magic(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);

	if (byte_reader_be32(&b) != QEMU_VM_FILE_MAGIC)
		return fail(r, "not a QEMU migration stream");
	if (byte_reader_be32(&b) != QEMU_VM_FILE_VERSION)
		return fail(r, "migration stream of an unknown version");
	return section_over(r);
}

/* Types that may come in both modes; RAM must have been started for PART and END. */
static bool
step_section_common(struct migration_reader *r, uint8_t type, bool footer)
{
	switch (type) {
	case QEMU_VM_SECTION_PART:
	case QEMU_VM_SECTION_END:
		if (!r->ram_started)
			return fail(r, "section continues that was never started");
		r->last_part = type == QEMU_VM_SECTION_END;
		return next(r, S_PART, 4);
	case QEMU_VM_COMMAND:
		return next(r, S_COMMAND, 4);
	case QEMU_VM_SECTION_FOOTER:
		if (!footer)
			return fail(r, "section footer without a section");
		return next(r, S_FOOTER, 4);
	default:
		return fail(r, "section type 0x%02x is not expected %s", type, r->in_checkpoint ? "in a checkpoint" : "before the end of RAM");
	}
}

static bool
step_section(struct migration_reader *r, struct migration_event *event)
{
	uint8_t type = r->head[0];
	bool config = r->config_open, footer = r->footer_allowed;

	r->config_open = r->footer_allowed = false;
	if (r->in_checkpoint && type == QEMU_VM_EOF)
		return next(r, S_VMSTATE_SIZE, COLO_VMSTATE_SIZE_BYTES);
	if (!r->in_checkpoint && type == QEMU_VM_CONFIGURATION && !r->ram_started)
		return next(r, S_CONFIG, 4);
	if (config && type == QEMU_VM_SUBSECTION)
		return next(r, S_SUBSECTION, 1);
	if (!r->in_checkpoint && type == QEMU_VM_SECTION_START && !r->ram_started)
		return next(r, S_START, 5);
	return step_section_common(r, type, footer);
}

static bool
step_config(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	uint32_t length = byte_reader_be32(&b);

	if (length > MAX_MACHINE_NAME)
		return fail(r, "machine name of %u bytes", length);
	r->skip = length;
	r->config_open = true;
	return section_over(r);
}

static bool
step_subsection(struct migration_reader *r, struct migration_event *event)
{
	return more(r, S_SUBSECTION_NAME, r->head[0] + 4u);
}

static bool
name_is(const struct migration_reader *r, size_t from, size_t length, const char *name)
{
	return length == strlen(name) && memcmp(r->head + from, name, length) == 0;
}

/* savevm.c, vmstate_configuration: subsections target-page-bits, capabilities (only with x-ignore-shared, mapped-ram), uuid. */
static bool
step_subsection_name(struct migration_reader *r, struct migration_event *event)
{
	size_t length = r->head[0];

	r->config_open = true;
	if (name_is(r, 1, length, "configuration/target-page-bits"))
		return next(r, S_PAGE_BITS, 4);
	if (!name_is(r, 1, length, "configuration/uuid"))
		return fail(r, "configuration has an unknown part \"%.*s\"", (int)length, (const char *)r->head + 1);
	r->skip = UUID_BYTES;
	return section_over(r);
}

static bool
step_page_bits(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	uint32_t bits = byte_reader_be32(&b);

	if (bits < 12 || bits > 16)
		return fail(r, "pages of 2^%u bytes", bits);
	r->page_size = 1u << bits;
	return section_over(r);
}

static bool
step_start(struct migration_reader *r, struct migration_event *event)
{
	return more(r, S_START_NAME, r->head[4] + 8u);
}

static bool
step_start_name(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	uint32_t id = byte_reader_be32(&b);
	size_t length = byte_reader_u8(&b);
	const uint8_t *name = byte_reader_bytes(&b, length);
	byte_reader_be32(&b);	/* instance id */
	uint32_t version = byte_reader_be32(&b);

	if (!name_is(r, 5, length, "ram"))
		return fail(r, "device \"%.*s\" sends state while RAM is copied: it cannot be followed", (int)length, (const char *)name);
	if (version != RAM_SECTION_VERSION)
		return fail(r, "RAM section of version %u", version);
	r->ram_section = id;
	r->ram_started = r->list_allowed = true;
	r->last_part = false;
	return next(r, S_RECORD, 8);
}

static bool
step_part(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	uint32_t id = byte_reader_be32(&b);

	if (id != r->ram_section)
		return fail(r, "section %u is not RAM (%u)", id, r->ram_section);
	return next(r, S_RECORD, 8);
}

/* Also the place where the initial stream stops being read: the END's footer is part of what is passed unread. */
static bool
end_of_section(struct migration_reader *r, struct migration_event *event)
{
	r->footer_allowed = true;
	if (r->in_checkpoint || !r->last_part)
		return section_over(r);
	r->ram_complete = true;
	event->type = MIGRATION_RAM_COMPLETE;
	next(r, S_OPAQUE, 0);
	return true;
}

static bool
start_block_list(struct migration_reader *r)
{
	r->ram_bytes = r->list_left = r->word & ~(uint64_t)(r->page_size - 1);
	if (r->ram_bytes == 0)
		return fail(r, "machine without RAM");
	return next(r, S_BLOCK, 1);
}

static bool
page(struct migration_reader *r, struct migration_event *event)
{
	uint64_t address = r->word & ~(uint64_t)(r->page_size - 1);
	bool zero = r->word & RAM_FLAG_ZERO;

	if (r->last_block >= r->blocks->len)
		return fail(r, "page continues a block that was never named");
	if (address >= block_at(r, r->last_block)->length)
		return fail(r, "page at 0x%" G_GINT64_MODIFIER "x is outside of block \"%s\"", address, block_at(r, r->last_block)->name);
	event->type = MIGRATION_PAGE;
	event->header = (uint32_t)r->have;
	event->payload = r->skip = zero ? 1 : r->page_size;
	event->block = r->last_block;
	event->address = address;
	event->zero = zero;
	event->named = !(r->word & RAM_FLAG_CONTINUE);
	next(r, S_RECORD, 8);
	return true;
}

static bool
step_record(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	bool list = r->list_allowed;
	uint32_t flags;

	r->word = byte_reader_be64(&b);
	r->list_allowed = false;
	flags = (uint32_t)(r->word & (r->page_size - 1));
	if (list && flags == RAM_FLAG_MEM_SIZE)
		return start_block_list(r);
	switch (flags) {
	case RAM_FLAG_EOS:
		return end_of_section(r, event);
	case RAM_FLAG_MULTIFD_FLUSH:
		return next(r, S_RECORD, 8);
	case RAM_FLAG_ZERO:
	case RAM_FLAG_PAGE:
		return more(r, S_RECORD_NAME_LENGTH, 1);
	case RAM_FLAG_ZERO | RAM_FLAG_CONTINUE:
	case RAM_FLAG_PAGE | RAM_FLAG_CONTINUE:
		return page(r, event);
	default:
		return fail(r, "RAM record with flags 0x%x", flags);
	}
}

static bool
step_record_name_length(struct migration_reader *r, struct migration_event *event)
{
	if (r->head[8] == 0)
		return fail(r, "RAM block without a name");
	return more(r, S_RECORD_NAME, r->head[8]);
}

static bool
block_is(const struct block *b, const void *name, size_t length)
{
	return b->name_length == length && memcmp(b->name, name, length) == 0;
}

static bool
find_block(const struct migration_reader *r, const void *name, size_t length, unsigned *out)
{
	for (unsigned i = 0; i < r->blocks->len; i++)
		if (block_is(block_at(r, i), name, length)) {
			*out = i;
			return true;
		}
	return false;
}

static bool
step_record_name(struct migration_reader *r, struct migration_event *event)
{
	if (!find_block(r, r->head + 9, r->head[8], &r->last_block))
		return fail(r, "RAM block \"%.*s\" is not in the list of blocks", r->head[8], (const char *)r->head + 9);
	return page(r, event);
}

static bool
step_block(struct migration_reader *r, struct migration_event *event)
{
	if (r->head[0] == 0)
		return fail(r, "RAM block without a name");
	return more(r, S_BLOCK_NAME, r->head[0] + 8u);
}

/* ram_save_setup(): the list ends when the lengths add up to the MEM_SIZE record's total. */
static bool
step_block_name(struct migration_reader *r, struct migration_event *event)
{
	struct block block = { .name_length = r->head[0] };
	struct byte_reader b = head_from(r, 1u + block.name_length);
	unsigned found;

	memcpy(block.name, r->head + 1, block.name_length);
	block.length = byte_reader_be64(&b);
	if (block.length == 0 || block.length > r->list_left || block.length % r->page_size != 0)
		return fail(r, "length of RAM block \"%s\" is not plausible", block.name);
	if (find_block(r, block.name, block.name_length, &found))
		return fail(r, "RAM block \"%s\" is listed twice", block.name);
	if (r->blocks->len == MIGRATION_MAX_BLOCKS)
		return fail(r, "more than %d RAM blocks", MIGRATION_MAX_BLOCKS);
	event->type = MIGRATION_BLOCK;
	event->block = r->blocks->len;
	g_array_append_val(r->blocks, block);
	r->list_left -= block.length;
	if (r->list_left > 0)
		next(r, S_BLOCK, 1);
	else
		next(r, S_RECORD, 8);
	return true;
}

static bool
step_command(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);

	if (byte_reader_be16(&b) == MIG_CMD_PACKAGED)
		return fail(r, "packaged command (postcopy)");
	r->skip = byte_reader_be16(&b);
	return section_over(r);
}

static bool
step_footer(struct migration_reader *r, struct migration_event *event)
{
	struct byte_reader b = head_from(r, 0);
	uint32_t id = byte_reader_be32(&b);

	if (id != r->ram_section)
		return fail(r, "footer of section %u after section %u", id, r->ram_section);
	r->footers = true;
	return section_over(r);
}

static bool
step_vmstate_size(struct migration_reader *r, struct migration_event *event)
{
	uint64_t size;

	if (!colo_vmstate_size_decode(r->head, &size))
		return fail(r, "no vmstate-size after RAM");
	if (size == 0 || size > r->max_device_state)
		return fail(r, "device state of %" G_GUINT64_FORMAT " bytes (the limit is %" G_GUINT64_FORMAT ")", size, r->max_device_state);
	event->type = MIGRATION_DEVICE_STATE;
	event->header = (uint32_t)r->have;
	event->payload = r->skip = size;
	next(r, S_DEVICE_STATE, 0);
	return true;
}

static bool
step_device_state(struct migration_reader *r, struct migration_event *event)
{
	event->type = MIGRATION_CHECKPOINT_END;
	next(r, S_DONE, 0);
	return true;
}

typedef bool (*step_fn)(struct migration_reader *r, struct migration_event *event);

/* What is done when the bytes that a state needs are there; true when there is an event. OPAQUE takes everything, DONE and ERROR nothing. */
static const step_fn steps[] = {
	[S_MAGIC] = step_magic,
	[S_SECTION] = step_section,
	[S_CONFIG] = step_config,
	[S_SUBSECTION] = step_subsection,
	[S_SUBSECTION_NAME] = step_subsection_name,
	[S_PAGE_BITS] = step_page_bits,
	[S_START] = step_start,
	[S_START_NAME] = step_start_name,
	[S_PART] = step_part,
	[S_RECORD] = step_record,
	[S_RECORD_NAME_LENGTH] = step_record_name_length,
	[S_RECORD_NAME] = step_record_name,
	[S_BLOCK] = step_block,
	[S_BLOCK_NAME] = step_block_name,
	[S_COMMAND] = step_command,
	[S_FOOTER] = step_footer,
	[S_OPAQUE] = NULL,
	[S_VMSTATE_SIZE] = step_vmstate_size,
	[S_DEVICE_STATE] = step_device_state,
	[S_DONE] = NULL,
	[S_ERROR] = NULL,
};
G_STATIC_ASSERT(G_N_ELEMENTS(steps) == S_LAST);

/* Takes up to n bytes off the input. */
static size_t
take(struct migration_reader *r, struct byte_reader *in, uint64_t n)
{
	size_t bytes = (size_t)MIN(n, in->left);

	byte_reader_bytes(in, bytes);
	r->offset += bytes;
	return bytes;
}

/* True when the state has the bytes it needs and no payload is left to pass. */
static bool
collect(struct migration_reader *r, struct byte_reader *in)
{
	r->skip -= take(r, in, r->skip);
	if (r->skip > 0)
		return false;
	if (r->have == 0)
		r->element = r->offset;
	const uint8_t *from = in->p;
	size_t got = take(r, in, r->need - r->have);
	if (got > 0)
		memcpy(r->head + r->have, from, got);
	r->have += got;
	return r->have == r->need;
}

enum migration_event_type
migration_reader_next(struct migration_reader *r, struct byte_reader *in, struct migration_event *event)
{
	*event = (struct migration_event){ .type = MIGRATION_NEED_MORE };
	while (steps[r->state] && collect(r, in)) {
		event->offset = r->element;
		if (steps[r->state](r, event))
			return event->type;
	}
	if (r->state == S_OPAQUE)
		take(r, in, in->left);
	if (r->state == S_ERROR)
		*event = (struct migration_event){ .type = MIGRATION_ERROR, .offset = r->element };
	return event->type;
}

void
migration_reader_begin_checkpoint(struct migration_reader *r)
{
	g_assert(r->state == S_OPAQUE || r->state == S_DONE);
	r->in_checkpoint = true;
	r->footer_allowed = r->config_open = false;
	r->offset = 0;
	section_over(r);
}

const char *
migration_reader_error(const struct migration_reader *r)
{
	return r->error;
}

bool
migration_reader_ram_complete(const struct migration_reader *r)
{
	return r->ram_complete;
}

uint64_t
migration_reader_offset(const struct migration_reader *r)
{
	return r->offset;
}

unsigned
migration_reader_blocks(const struct migration_reader *r)
{
	return r->blocks->len;
}

struct migration_block
migration_reader_block(const struct migration_reader *r, unsigned index)
{
	g_assert(index < r->blocks->len);
	const struct block *b = block_at(r, index);

	return (struct migration_block){ .name = b->name, .name_length = b->name_length, .length = b->length };
}

uint64_t
migration_reader_ram_bytes(const struct migration_reader *r)
{
	return r->ram_bytes;
}

uint32_t
migration_reader_page_size(const struct migration_reader *r)
{
	return r->page_size;
}

uint32_t
migration_reader_ram_section(const struct migration_reader *r)
{
	return r->ram_section;
}

bool
migration_reader_has_footers(const struct migration_reader *r)
{
	return r->footers;
}
