/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/checkpoint/stream.h"

#define MAX_STATE 1000

/* The initial stream and two checkpoints as one input; `initial` and `first` are where a new checkpoint begins. */
struct input {
	GByteArray *bytes;
	size_t boundary[2];
};

static struct input
example(void)
{
	struct input in = { .bytes = initial_stream() };

	in.boundary[0] = in.bytes->len;
	put_section(in.bytes, QEMU_VM_SECTION_END);
	put_page(in.bytes, 1, 2, false, 0x21);	/* CONTINUE from the initial stream */
	put_page(in.bytes, 0, 3, true, 0);
	put_page(in.bytes, 0, 4, false, 0x22);
	put(in.bytes, RAM_FLAG_MULTIFD_FLUSH, 8);
	put_section_end(in.bytes);
	put_device_state(in.bytes, 0xd1, 7);
	in.boundary[1] = in.bytes->len;
	put(in.bytes, 0x0800030000, 5);	/* a command */
	put_section(in.bytes, QEMU_VM_SECTION_PART);
	put_page(in.bytes, 0, 5, false, 0x23);	/* CONTINUE from the first checkpoint */
	put(in.bytes, RAM_FLAG_EOS, 8);		/* no footer */
	put_section(in.bytes, QEMU_VM_SECTION_END);
	put_section_end(in.bytes);
	put_device_state(in.bytes, 0xd2, 1);
	return in;
}

static void
describe(const struct migration_reader *r, const struct migration_event *e, GString *out)
{
	struct migration_block b = { 0 };

	if (e->type == MIGRATION_BLOCK || e->type == MIGRATION_PAGE)
		b = migration_reader_block(r, e->block);
	switch (e->type) {
	case MIGRATION_NEED_MORE:
		break;
	case MIGRATION_BLOCK:
		g_string_append_printf(out, "block %s %d\n", b.name, (int)b.length);
		break;
	case MIGRATION_RAM_COMPLETE:
		g_string_append(out, "ram complete\n");
		break;
	case MIGRATION_PAGE:
		g_string_append_printf(out, "%d: %spage %s %d%s +%d+%d\n", (int)e->offset, e->zero ? "zero " : "", b.name, (int)(e->address / PAGE_BYTES),
				       e->named ? " named" : "", (int)e->header, (int)e->payload);
		break;
	case MIGRATION_DEVICE_STATE:
		g_string_append_printf(out, "%d: state +%d+%d\n", (int)e->offset, (int)e->header, (int)e->payload);
		break;
	case MIGRATION_CHECKPOINT_END:
		g_string_append(out, "end\n");
		break;
	case MIGRATION_ERROR:
		g_string_append_printf(out, "%d: %s\n", (int)e->offset, migration_reader_error(r));
		break;
	}
}

/* Events of one piece; returns false at an error. */
static bool
feed(struct migration_reader *r, const uint8_t *data, size_t length, GString *out)
{
	struct byte_reader in = byte_reader_init(data, length);
	struct migration_event e;

	do {
		migration_reader_next(r, &in, &e);
		describe(r, &e, out);
	} while (e.type != MIGRATION_NEED_MORE && e.type != MIGRATION_ERROR);
	if (e.type == MIGRATION_NEED_MORE)
		assert_int_equal(in.left, 0);
	return e.type != MIGRATION_ERROR;
}

/* The input in pieces of `size`, the first one of `first`; pieces end at checkpoints too. */
static char *
transcript(const struct input *input, size_t first, size_t size)
{
	g_autoptr(migration_reader) r = migration_reader_new(MAX_STATE);
	GString *out = g_string_new(NULL);
	size_t end, n = first;

	for (size_t at = 0; at < input->bytes->len; at = end) {
		end = MIN(at + n, input->bytes->len);
		for (unsigned i = 0; i < 2; i++)
			if (at < input->boundary[i] && end > input->boundary[i])
				end = input->boundary[i];
		if (at == input->boundary[0] || at == input->boundary[1])
			migration_reader_begin_checkpoint(r);
		if (!feed(r, input->bytes->data + at, end - at, out))
			break;
		n = size;
	}
	return g_string_free(out, FALSE);
}

static const char expected[] =
	"block pc.ram 32768\n"
	"block 0000:00:02.0/vga.vram 16384\n"
	"129: zero page pc.ram 0 named +15+1\n"
	"145: page pc.ram 1 +8+4096\n"
	"4249: page pc.ram 2 +8+4096\n"
	"8353: page pc.ram 3 +8+4096\n"
	"12457: page pc.ram 4 +8+4096\n"
	"16561: page pc.ram 5 +8+4096\n"
	"20665: page pc.ram 6 +8+4096\n"
	"24769: page pc.ram 7 +8+4096\n"
	"28873: zero page 0000:00:02.0/vga.vram 0 named +30+1\n"
	"28904: page 0000:00:02.0/vga.vram 1 +8+4096\n"
	"33008: page 0000:00:02.0/vga.vram 2 +8+4096\n"
	"37112: page 0000:00:02.0/vga.vram 3 +8+4096\n"
	"41234: page 0000:00:02.0/vga.vram 1 +8+4096\n"
	"ram complete\n"
	"5: page 0000:00:02.0/vga.vram 2 +8+4096\n"
	"4109: zero page pc.ram 3 named +15+1\n"
	"4125: page pc.ram 4 +8+4096\n"
	"8251: state +12+7\n"
	"end\n"
	"10: page pc.ram 5 +8+4096\n"
	"4141: state +12+1\n"
	"end\n";

static void
events_are_right(void **state)
{
	struct input in = example();
	g_autofree char *got = transcript(&in, SIZE_MAX / 2, SIZE_MAX / 2);

	assert_string_equal(got, expected);
	g_byte_array_unref(in.bytes);
}

static void
any_split_gives_the_same_events(void **state)
{
	struct input in = example();

	for (size_t split = 1; split < in.bytes->len; split++) {
		g_autofree char *got = transcript(&in, split, SIZE_MAX / 2);
		assert_string_equal(got, expected);
	}
	for (size_t size = 1; size < 20; size++) {
		g_autofree char *got = transcript(&in, size, size);
		assert_string_equal(got, expected);
	}
	g_byte_array_unref(in.bytes);
}

static void
nothing_is_taken_after_the_end_of_a_checkpoint(void **state)
{
	struct input in = example();
	g_autoptr(migration_reader) r = migration_reader_new(MAX_STATE);
	struct byte_reader bytes = byte_reader_init(in.bytes->data, in.boundary[0]);
	struct migration_event e;

	while (migration_reader_next(r, &bytes, &e) != MIGRATION_NEED_MORE) {
		assert_int_not_equal(e.type, MIGRATION_ERROR);
	}
	migration_reader_begin_checkpoint(r);
	bytes = byte_reader_init(in.bytes->data + in.boundary[0], in.bytes->len - in.boundary[0]);
	while (migration_reader_next(r, &bytes, &e) != MIGRATION_CHECKPOINT_END) {
		assert_int_not_equal(e.type, MIGRATION_ERROR);
		assert_int_not_equal(e.type, MIGRATION_NEED_MORE);
	}
	assert_ptr_equal(bytes.p, in.bytes->data + in.boundary[1]);
	assert_int_equal(migration_reader_offset(r), in.boundary[1] - in.boundary[0]);
	assert_int_equal(migration_reader_next(r, &bytes, &e), MIGRATION_NEED_MORE);
	assert_ptr_equal(bytes.p, in.bytes->data + in.boundary[1]);
	g_byte_array_unref(in.bytes);
}

/* Bad input: `prefix` builds what is good, then come the bytes in hex, then the error and where. */
struct bad {
	const char *name;
	enum { AT_START, IN_LIST, IN_RAM, AFTER_RAM_SECTION, IN_CHECKPOINT, IN_CHECKPOINT_RAM } place;
	const char *hex;
	const char *error;
};

static const struct bad bad[] = {
	{ "magic", AT_START, "5145564e00000003", "0: not a QEMU migration stream" },
	{ "version", AT_START, "5145564d00000002", "0: migration stream of an unknown version" },
	{ "machine name", AT_START, "5145564d0000000307ffffffff", "9: machine name of 4294967295 bytes" },
	{ "config part", AT_START, "5145564d000000030700000000" "0503616263" "00000001", "14: configuration has an unknown part \"abc\"" },
	{ "page bits", AT_START, "5145564d000000030700000000" "05" "1e" "636f6e66696775726174696f6e2f7461726765742d706167652d62697473" "00000001" "00000020",
	  "49: pages of 2^32 bytes" },
	{ "part before start", AT_START, "5145564d0000000302", "8: section continues that was never started" },
	{ "eof before ram", AT_START, "5145564d0000000300", "8: section type 0x00 is not expected before the end of RAM" },
	{ "footer alone", AT_START, "5145564d000000037e", "8: section footer without a section" },
	{ "device first", AT_START, "5145564d0000000301" "00000001" "03" "666f6f" "00000000" "00000001",
	  "9: device \"foo\" sends state while RAM is copied: it cannot be followed" },
	{ "unprintable", AT_START, "5145564d0000000301" "00000001" "02" "0aff" "00000000" "00000001",
	  "9: device \"??\" sends state while RAM is copied: it cannot be followed" },
	{ "ram version", AT_START, "5145564d0000000301" "00000001" "03" "72616d" "00000000" "00000005", "9: RAM section of version 5" },
	{ "no ram", AT_START, "5145564d0000000301" "00000001" "03" "72616d" "00000000" "00000004" "0000000000000004", "25: machine without RAM" },
	{ "packaged", AT_START, "5145564d0000000308" "00070004", "9: packaged command (postcopy)" },
	{ "empty name in list", IN_LIST, "00", "33: RAM block without a name" },
	{ "empty block", IN_LIST, "0161" "0000000000000000", "33: length of RAM block \"a\" is not plausible" },
	{ "block too long", IN_LIST, "0161" "0000000000003000", "33: length of RAM block \"a\" is not plausible" },
	{ "odd block", IN_LIST, "0161" "0000000000000800", "33: length of RAM block \"a\" is not plausible" },
	{ "twice", IN_LIST, "0161" "0000000000001000" "0161" "0000000000001000", "43: RAM block \"a\" is listed twice" },
	{ "never named", IN_LIST, "0161" "0000000000002000" "0000000000000028", "43: page continues a block that was never named" },
	{ "second list", AFTER_RAM_SECTION, "02" "00000002" "0000000000001004", "134: RAM record with flags 0x4" },
	{ "other section", AFTER_RAM_SECTION, "02" "00000003", "130: section 3 is not RAM (2)" },
	{ "second footer", AFTER_RAM_SECTION, "7e", "129: section footer without a section" },
	{ "unknown block", IN_RAM, "0000000000000008" "0161", "111: RAM block \"a\" is not in the list of blocks" },
	{ "no name", IN_RAM, "0000000000000008" "00", "111: RAM block without a name" },
	{ "outside", IN_RAM, "0000000000008008" "0670632e72616d", "111: page at 0x8000 is outside of block \"pc.ram\"" },
	{ "xbzrle", IN_RAM, "0000000000000040", "111: RAM record with flags 0x40" },
	{ "zero and page", IN_RAM, "000000000000000a", "111: RAM record with flags 0xa" },
	{ "eos and more", IN_RAM, "0000000000000018", "111: RAM record with flags 0x18" },
	{ "wrong footer", IN_RAM, "0000000000000010" "7e" "00000007", "120: footer of section 7 after section 2" },
	{ "full in checkpoint", IN_CHECKPOINT, "04", "0: section type 0x04 is not expected in a checkpoint" },
	{ "start in checkpoint", IN_CHECKPOINT, "01", "0: section type 0x01 is not expected in a checkpoint" },
	{ "footer first", IN_CHECKPOINT, "7e", "0: section footer without a section" },
	{ "no size", IN_CHECKPOINT, "00" "00000001" "0000000000000001", "1: no vmstate-size after RAM" },
	{ "no state", IN_CHECKPOINT, "00" "00000004" "0000000000000000", "1: device state of 0 bytes (the limit is 1000)" },
	{ "huge state", IN_CHECKPOINT, "00" "00000004" "ffffffffffffffff", "1: device state of 18446744073709551615 bytes (the limit is 1000)" },
	{ "list in checkpoint", IN_CHECKPOINT_RAM, "0000000000001004", "5: RAM record with flags 0x4" },
};

static void
put_hex(GByteArray *b, const char *hex)
{
	for (; *hex; hex += 2)
		put(b, (uint64_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1])), 1);
}

static struct input
bad_input(const struct bad *t)
{
	struct input in = { .bytes = g_byte_array_new(), .boundary = { SIZE_MAX, SIZE_MAX } };

	if (t->place == IN_LIST)
		put_hex(in.bytes, "5145564d0000000301" "00000001" "03" "72616d" "00000000" "00000004" "0000000000002004");
	if (t->place == IN_RAM || t->place == AFTER_RAM_SECTION)
		put_head(in.bytes);
	if (t->place == AFTER_RAM_SECTION) {
		put_section_end(in.bytes);
		put_hex(in.bytes, "0800030000");
	}
	if (t->place >= IN_CHECKPOINT) {
		g_byte_array_unref(in.bytes);
		in.bytes = initial_stream();
		in.boundary[0] = in.bytes->len;
	}
	if (t->place == IN_CHECKPOINT_RAM)
		put_section(in.bytes, QEMU_VM_SECTION_END);
	put_hex(in.bytes, t->hex);
	return in;
}

static void
bad_streams_are_refused(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct input in = bad_input(&bad[i]);
		for (size_t size = 1; size <= in.bytes->len; size += size < 20 ? 1 : in.bytes->len - 20 ? in.bytes->len - 20 : 1) {
			g_autofree char *got = transcript(&in, size, size);
			g_autofree char *want = g_strconcat(bad[i].error, "\n", NULL);
			if (!g_str_has_suffix(got, want))
				fail_msg("%s: got %s, want %s", bad[i].name, got, want);
		}
		g_byte_array_unref(in.bytes);
	}
}

/* The longest element there is; found by the fuzzer. */
static void
the_longest_name_is_refused_politely(void **state)
{
	struct input in = { .bytes = g_byte_array_new(), .boundary = { SIZE_MAX, SIZE_MAX } };

	put_hex(in.bytes, "5145564d0000000301" "00000001" "ff");
	for (unsigned i = 0; i < 255; i++)
		put(in.bytes, 'n', 1);
	put_hex(in.bytes, "00000000" "00000001");
	g_autofree char *got = transcript(&in, 1, 1);
	assert_true(g_str_has_prefix(got, "9: device \"nnnn"));
	g_byte_array_unref(in.bytes);
}

static void
large_pages_are_understood(void **state)
{
	struct input in = { .bytes = g_byte_array_new(), .boundary = { SIZE_MAX, SIZE_MAX } };

	put_hex(in.bytes, "5145564d000000030700000000" "05" "1e" "636f6e66696775726174696f6e2f7461726765742d706167652d62697473" "00000001" "00000010");
	put_hex(in.bytes, "01" "00000001" "03" "72616d" "00000000" "00000004" "0000000000020004" "0161" "0000000000020000");
	put_hex(in.bytes, "0000000000010008" "0161");
	g_autofree char *got = transcript(&in, SIZE_MAX / 2, SIZE_MAX / 2);
	assert_string_equal(got, "block a 131072\n" "88: page a 16 named +10+65536\n");
	g_byte_array_unref(in.bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_right),
		cmocka_unit_test(any_split_gives_the_same_events),
		cmocka_unit_test(nothing_is_taken_after_the_end_of_a_checkpoint),
		cmocka_unit_test(bad_streams_are_refused),
		cmocka_unit_test(the_longest_name_is_refused_politely),
		cmocka_unit_test(large_pages_are_understood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
