/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/checkpoint/stream.h"

#include "checkpoint/unpacker.h"
#include "daemon/bulk-packer-io.h"

#define CACHE (64 * PAGE_CACHE_PAGE)

/* The bulk connection and what is at its other end. */
struct other_end {
	GString *frames;	/* their names; of several packed ones in a row the first */
	GByteArray *stream;	/* of the open checkpoint, unpacked */
	struct unpacker *unpacker;
	unsigned packed, in_dispatch;
	bool busy;
};

static void
on_send(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	struct other_end *o = ctx;
	uint64_t epoch;
	g_autoptr(GBytes) bytes = NULL;

	if (type != PEER_CHECKPOINT_PACKED) {
		g_string_append_printf(o->frames, "%s; ", peer_type_name(type));
		return;
	}
	if (!g_str_has_suffix(o->frames->str, "PACKED; "))
		g_string_append(o->frames, "PACKED; ");
	o->packed++;
	o->in_dispatch++;
	assert_int_equal(unpacker_take(o->unpacker, g_bytes_get_data(body, NULL), g_bytes_get_size(body), &epoch, &bytes), UNPACK_OK);
	g_byte_array_append(o->stream, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
}

static bool
on_may_work(void *ctx)
{
	return !((struct other_end *)ctx)->busy;
}

/* Until nothing is left to do; each time round at most one piece goes. */
static void
run(struct other_end *o)
{
	do
		o->in_dispatch = 0;
	while (g_main_context_iteration(NULL, FALSE) && (assert_in_range(o->in_dispatch, 0, 1), true));
}

static struct bulk_packer *
new_packer(struct other_end *o)
{
	static const struct bulk_packer_callbacks cb = { .send = on_send, .may_work = on_may_work };
	g_autoptr(GByteArray) initial = initial_stream();
	g_autoptr(GBytes) bytes = piece(initial, 0, initial->len);
	struct bulk_packer *b;

	*o = (struct other_end){ .frames = g_string_new(NULL), .stream = g_byte_array_new(), .unpacker = unpacker_new(CACHE) };
	b = bulk_packer_new(CACHE, &cb, o);
	bulk_packer_put(b, PEER_STREAM, NULL, 0, bytes);
	assert_string_equal(o->frames->str, "STREAM; ");	/* at once */
	g_string_truncate(o->frames, 0);
	return b;
}

static void
other_end_clear(struct other_end *o)
{
	g_string_free(o->frames, TRUE);
	g_byte_array_unref(o->stream);
	unpacker_free(o->unpacker);
}

static GByteArray *
checkpoint(uint8_t fill)
{
	GByteArray *b = g_byte_array_new();

	put_section(b, QEMU_VM_SECTION_END);
	for (unsigned i = 0; i < 100; i++)
		put_page(b, 0, i % 8, i == 0, (uint8_t)(fill + i));
	put_section_end(b);
	put_device_state(b, fill, 100000);
	return b;
}

static void
put_checkpoint(struct bulk_packer *b, uint64_t epoch, const GByteArray *c, size_t step)
{
	uint8_t head[24];

	put_be64(head, epoch);
	bulk_packer_put(b, PEER_CHECKPOINT_BEGIN, head, 8, NULL);
	for (size_t at = 0; at < c->len; at += step) {
		g_autoptr(GBytes) bytes = piece(c, at, MIN(at + step, c->len));
		bulk_packer_put(b, PEER_CHECKPOINT_DATA, head, 8, bytes);
	}
	memset(head + 8, 0, 16);
	bulk_packer_put(b, PEER_CHECKPOINT_SEAL, head, 24, NULL);
}

static void
frames_keep_their_order(void **state)
{
	struct other_end o;
	struct bulk_packer *b = new_packer(&o);
	g_autoptr(GByteArray) one = checkpoint(1), two = checkpoint(2);

	put_checkpoint(b, 1, one, 50000);
	put_checkpoint(b, 2, two, two->len);
	assert_int_equal(bulk_packer_queued(b), one->len + two->len + (11 + 1) * 8 + 2 * (8 + 24));
	run(&o);
	assert_string_equal(o.frames->str, "CHECKPOINT_BEGIN; PACKED; CHECKPOINT_SEAL; CHECKPOINT_BEGIN; PACKED; CHECKPOINT_SEAL; ");
	assert_int_equal(bulk_packer_queued(b), 0);
	assert_int_equal(o.stream->len, one->len + two->len);
	assert_memory_equal(o.stream->data, one->data, one->len);
	assert_memory_equal(o.stream->data + one->len, two->data, two->len);
	assert_in_range(o.packed, 16, 20);
	bulk_packer_free(b);
	other_end_clear(&o);
}

static void
nothing_is_packed_while_it_may_not_work(void **state)
{
	struct other_end o;
	struct bulk_packer *b = new_packer(&o);
	g_autoptr(GByteArray) one = checkpoint(1);

	o.busy = true;
	put_checkpoint(b, 1, one, 70000);
	run(&o);
	assert_string_equal(o.frames->str, "");
	o.busy = false;
	run(&o);
	assert_string_equal(o.frames->str, "CHECKPOINT_BEGIN; PACKED; CHECKPOINT_SEAL; ");
	bulk_packer_free(b);
	other_end_clear(&o);
}

static void
what_waits_goes_with_it(void **state)
{
	struct other_end o;
	struct bulk_packer *b = new_packer(&o);
	g_autoptr(GByteArray) one = checkpoint(1);

	put_checkpoint(b, 1, one, 1000);
	g_main_context_iteration(NULL, FALSE);
	bulk_packer_free(b);
	run(&o);
	assert_int_equal(o.packed, 1);
	other_end_clear(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_keep_their_order),
		cmocka_unit_test(nothing_is_packed_while_it_may_not_work),
		cmocka_unit_test(what_waits_goes_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
