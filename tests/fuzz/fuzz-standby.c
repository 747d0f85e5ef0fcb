/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a peer may send as checkpoints, with seals that are right: be16 length and that many bytes per checkpoint; the first byte is the size of
 * the pieces. Whatever is committed is loaded in one go at the end, and what goes to QEMU reads as one checkpoint again.
 */
#include <glib.h>
#include <xxhash.h>

#include "checkpoint/standby.h"
#include "tests/checkpoint/stream.h"

static void
drain(struct standby *s, GByteArray *to_qemu)
{
	struct standby_action a;

	while (standby_next(s, &a)) {
		if (a.type == STANDBY_TO_QEMU)
			g_byte_array_append(to_qemu, g_bytes_get_data(a.bytes, NULL), (guint)g_bytes_get_size(a.bytes));
		standby_action_clear(&a);
		if (a.type == STANDBY_LOAD_WANTED)
			standby_disk_applied(s, 0, a.epoch);
	}
}

static void
say(struct standby *s, const char *data, size_t length)
{
	g_autoptr(GBytes) bytes = g_bytes_new(data, length);

	standby_from_qemu(s, 0, bytes);
}

static void
receive(struct standby *s, uint64_t epoch, const uint8_t *data, size_t length, size_t step)
{
	standby_checkpoint_begin(s, 0, epoch);
	for (size_t at = 0; at < length; at += step) {
		g_autoptr(GBytes) bytes = g_bytes_new(data + at, MIN(step, length - at));
		standby_checkpoint_data(s, 0, epoch, bytes);
	}
	standby_checkpoint_seal(s, 0, epoch, length, XXH3_64bits(data, length));
	standby_disk_mark(s, 0, epoch);
}

static void
check_sent(const GByteArray *initial, const GByteArray *sent)
{
	g_autoptr(migration_reader) r = migration_reader_new(UINT64_MAX);
	struct byte_reader in = byte_reader_init(initial->data, initial->len);
	struct migration_event e;

	while (migration_reader_next(r, &in, &e) != MIGRATION_NEED_MORE)
		;
	migration_reader_begin_checkpoint(r);
	in = byte_reader_init(sent->data + 8, sent->len - 8);	/* REQUEST, VMSTATE_SEND */
	while (migration_reader_next(r, &in, &e) != MIGRATION_CHECKPOINT_END)
		g_assert(e.type != MIGRATION_NEED_MORE && e.type != MIGRATION_ERROR);
	g_assert(in.left == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct standby_limits limits = { .max_checkpoint_bytes = 1 << 20, .max_held_bytes = 4 << 20, .max_unloaded_bytes = 1 << 16 };
	g_autoptr(standby) s = standby_new(&limits);
	g_autoptr(GByteArray) initial = initial_stream(), sent = g_byte_array_new();
	g_autoptr(GBytes) stream = piece(initial, 0, initial->len);
	struct byte_reader in = byte_reader_init(data, size);
	size_t step = byte_reader_u8(&in) + 1u;

	standby_stream(s, 0, stream);
	say(s, "\0\0\0\0", 4);
	standby_live(s, 0);
	standby_set_lazy(s, 0, true);
	drain(s, sent);
	g_byte_array_set_size(sent, 0);
	for (uint64_t epoch = 1; in.left > 2; epoch++) {
		size_t length = byte_reader_be16(&in);
		length = MIN(length, in.left);
		receive(s, epoch, byte_reader_bytes(&in, length), length, step);
	}
	standby_peer_lost(s, 0);
	drain(s, sent);
	if (sent->len == 0)
		return 0;
	say(s, "\0\0\0\2", 4);
	drain(s, sent);
	say(s, "\0\0\0\5\0\0\0\6", 8);
	drain(s, sent);
	g_assert(standby_settled(s) && standby_held_bytes(s) == 0);
	check_sent(initial, sent);
	return 0;
}
