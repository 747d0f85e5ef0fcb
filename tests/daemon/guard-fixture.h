/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A real guard whose surroundings are a list of what it asked for. Its events are put in by the test; times are milliseconds. */
#pragma once

#include "daemon/guard-internal.h"
#include "tests/checkpoint/stream.h"

#include <xxhash.h>

#define MS UINT64_C(1000000)

struct fixture {
	struct guard_config *config;
	struct guard *g;
	uint64_t now;		/* ns */
	GString *did;
	bool unread;		/* what was written to QEMU */
	unsigned heartbeats;	/* sent to the peer */
	uint64_t heartbeat_echo;	/* the peer's clock in the last one */
};

static void
fixture_peer_send(void *ctx, enum peer_type type, const void *head, size_t length, GBytes *body)
{
	struct fixture *f = ctx;
	struct byte_reader r = byte_reader_init(head, length);

	if (type == PEER_HEARTBEAT) {
		byte_reader_be64(&r);
		f->heartbeat_echo = byte_reader_be64(&r);
		f->heartbeats++;
		return;
	}
	g_string_append_printf(f->did, "send %s", peer_type_name(type));
	if (length == 8)
		g_string_append_printf(f->did, " %d", (int)byte_reader_be64(&r));
	if (length == 2)
		g_string_append_printf(f->did, " %d", byte_reader_be16(&r));
	g_string_append(f->did, "; ");
}

static size_t
fixture_peer_queued(void *ctx, enum peer_channel channel)
{
	return 0;
}

static void
fixture_frame_write(void *ctx, enum guard_port port, unsigned nic, GBytes *frame)
{
	if (port == GUARD_PORT_INJ && guard_is_primary(((struct fixture *)ctx)->g))
		g_string_append(((struct fixture *)ctx)->did, "inject; ");
}

static void
fixture_nothing(void *ctx)
{
}

static bool
fixture_unread(void *ctx, enum guard_port port)
{
	return ((struct fixture *)ctx)->unread;
}

static void
fixture_speaks(void *ctx)
{
	g_string_append(((struct fixture *)ctx)->did, "speaks; ");
}

/* COLO messages have four bytes; everything else is "bytes". */
static void
fixture_migration_write(void *ctx, GBytes *bytes)
{
	struct fixture *f = ctx;
	gsize n;
	const uint8_t *d = g_bytes_get_data(bytes, &n);

	g_string_append(f->did, "qemu");
	for (gsize i = 0; n <= 8 && i + 4 <= n; i += 4)
		g_string_append_printf(f->did, " %s", colo_message_name(d[i + 3]));
	g_string_append(f->did, n <= 8 ? "; " : " bytes; ");
}

static void
fixture_nbd_reply(void *ctx, unsigned disk, uint64_t cookie, uint32_t nbd_errno)
{
}

static void
fixture_disk_submit(void *ctx, const struct disk_write *w, uint64_t cookie)
{
}

static void
fixture_disk_read(void *ctx, unsigned disk, uint64_t offset, uint64_t length, uint64_t cookie)
{
	g_string_append_printf(((struct fixture *)ctx)->did, "read %d+%d; ", (int)offset, (int)length);
}

static void
fixture_digest(const void *data, size_t length, uint8_t out[DISK_DIGEST])
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	gsize n = DISK_DIGEST;

	g_checksum_update(sum, data, (gssize)length);
	g_checksum_get_digest(sum, out, &n);
}

static void
fixture_op_start(void *ctx, enum guard_op op)
{
	g_string_append_printf(((struct fixture *)ctx)->did, "op %s; ", guard_op_name(op));
}

static void
fixture_claim(void *ctx, const struct arbiter_record *record)
{
	g_string_append_printf(((struct fixture *)ctx)->did, "claim %d %s; ", (int)record->generation, record->standby[0] ? "pair" : "alone");
}

static bool
fixture_persist(void *ctx, const struct durable_state *state, GError **error)
{
	return true;
}

static void
fixture_generation(void *ctx, uint64_t generation)
{
}

/* Only those that a test of this folder is about. */
static void
fixture_event(void *ctx, struct json_object *event)
{
	struct json_object *type;

	if (json_object_object_get_ex(event, "type", &type) && strchr("ce", json_object_get_string(type)[0]))
		g_string_append_printf(((struct fixture *)ctx)->did, "event %s; ", json_object_get_string(type));
	json_object_put(event);
}

static void
fixture_started(void *ctx, const GError *error)
{
}

static void
fixture_switchover_off(void *ctx, const char *why)
{
	g_string_append(((struct fixture *)ctx)->did, "off; ");
}

static const struct guard_env fixture_env = {
	.switchover_off = fixture_switchover_off,
	.peer_send = fixture_peer_send,
	.peer_queued = fixture_peer_queued,
	.frame_write = fixture_frame_write,
	.filters_drain = fixture_nothing,
	.formed = fixture_nothing,
	.frames_take_back = fixture_nothing,
	.writes_unread = fixture_unread,
	.speaks = fixture_speaks,
	.migration_write = fixture_migration_write,
	.nbd_reply = fixture_nbd_reply,
	.disk_submit = fixture_disk_submit,
	.disk_read = fixture_disk_read,
	.digest = fixture_digest,
	.op_start = fixture_op_start,
	.claim = fixture_claim,
	.persist = fixture_persist,
	.generation_changed = fixture_generation,
	.event = fixture_event,
	.started = fixture_started,
	.finished = fixture_nothing,
};

static inline void
fixture_clear(struct fixture *f)
{
	guard_free(f->g);
	guard_config_free(f->config);
	g_string_free(f->did, TRUE);
}
typedef struct fixture fixture;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(fixture, fixture_clear)

#define expect(f, text) expect_at(f, text, __LINE__)
static inline void
expect_at(struct fixture *f, const char *text, int line)
{
	if (strcmp(f->did->str, text) != 0)
		fail_msg("line %d:\n got  %s\n want %s", line, f->did->str, text);
	g_string_truncate(f->did, 0);
}

/* -- events ----------------------------------------------------------------------------------------------------------------- */

static inline void
peer_says(struct fixture *f, enum peer_type type, const void *data, size_t length)
{
	g_autoptr(GBytes) payload = g_bytes_new(data, length);
	struct peer_frame frame = { .type = type, .channel = PEER_CHANNEL_FAST, .generation = guard_generation(f->g), .payload = g_bytes_get_data(payload, NULL), .length = (uint32_t)length };

	guard_peer_frame(f->g, f->now, &frame, payload);
}

static inline void
peer_says_u64(struct fixture *f, enum peer_type type, unsigned n, const uint64_t *values)
{
	uint8_t data[32];

	for (unsigned i = 0; i < n; i++)
		put_be64(data + 8 * i, values[i]);
	peer_says(f, type, data, 8 * n);
}

static inline void
qemu_says(struct fixture *f, const GByteArray *b)
{
	g_autoptr(GBytes) bytes = piece(b, 0, b->len);

	guard_migration_bytes(f->g, f->now, bytes);
}

static inline void
qemu_says_message(struct fixture *f, enum colo_message message)
{
	g_autoptr(GByteArray) b = g_byte_array_new();

	put(b, message, 4);
	qemu_says(f, b);
}

static inline GByteArray *
small_checkpoint(void)
{
	GByteArray *b = g_byte_array_new();

	put_section(b, QEMU_VM_SECTION_END);
	put_page(b, 1, 2, true, 0x21);
	put_section_end(b);
	put_device_state(b, 0xd1, 7);
	return b;
}

/* The guard is ticked when it wants to be, and its peer is heard every 20 ms. */
static inline void
pass(struct fixture *f, unsigned ms)
{
	uint64_t until = f->now + ms * MS, beat = f->now + 20 * MS;

	while (f->now < until) {
		f->now = MIN(MIN(MAX(guard_deadline(f->g), f->now + 1), beat), until);
		if (f->now == beat) {
			peer_says_u64(f, PEER_HEARTBEAT, 3, (uint64_t[]){ f->now, f->now, 0 });
			beat += 20 * MS;
		}
		if (guard_deadline(f->g) <= f->now) {
			guard_tick(f->g, f->now);
			assert_true(guard_deadline(f->g) > f->now);	/* whatever it was for is done, or will not be */
		}
	}
}

/* What the shell sees of QEMU's process, every 30 ms. */
static inline void
pass_looking(struct fixture *f, unsigned ms, bool stopped)
{
	for (unsigned i = 0; i < ms; i += 30) {
		pass(f, 30);
		guard_qemu_looked(f->g, f->now, stopped, 0);
	}
}

static inline void
fixture_init(struct fixture *f, enum failover_role role)
{
	struct guard_config *c = guard_config_new();

	c->role = role;
	c->pair = g_strdup("00000000-0000-4000-8000-000000000001");
	c->domain = g_strdup("vm1");
	c->self = g_strdup("a");
	c->peer = g_strdup("b");
	c->arbiter = g_strdup("file:/arbiter");
	c->token = g_strnfill(64, '0');
	c->generation = 1;
	c->n_nics = c->n_disks = 1;
	c->disks[0].size = 1 << 20;
	c->mode = MODE_COLO;
	*f = (struct fixture){ .config = c, .now = 1000 * MS, .did = g_string_new(NULL) };
	f->g = guard_new(c, f->now, &fixture_env, f);
}
