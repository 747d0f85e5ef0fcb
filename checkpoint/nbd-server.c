/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 * ===================
 *
 * The primary's QEMU mirrors its disk to this server (blockdev-mirror, copy-mode=write-blocking). The server speaks just what
 * that needs of https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md: fixed newstyle negotiation, simple
 * replies, one export.
 *
 *   GREETING ---> OPTION_HEADER <---> OPTION_DATA          negotiation
 *                      | GO, EXPORT_NAME
 *                      v
 *                REQUEST <---> WRITE_DATA | SKIP_DATA      transmission
 *                      | DISC (or ABORT, from OPTION_DATA)
 *                      v
 *                   CLOSED
 *
 * Each phase needs a number of bytes that is known when the phase begins: enter() says how many and where they go,
 * nbd_server_input() fills that place from whatever pieces arrive, and finish_phase() acts when it is full. So the result
 * does not depend on how the input is split, and the payload of a WRITE is copied exactly once, into the buffer that becomes
 * the request's GBytes.
 *
 * Two kinds of wrong input. A request whose framing is sound but that asks for what we do not offer is answered EINVAL
 * (proto.md "Error values") and never reaches the caller; its payload is skipped. Input after which the next boundary is
 * unknown, or that runs into a limit, ends the connection: nbd_server_input() returns false, and so does every later call.
 *
 * Limits: NBD_MAX_OPTION_LENGTH and NBD_MAX_OPTIONS bound the negotiation, NBD_MAX_REQUEST one buffer, NBD_MAX_PENDING the
 * requests without an answer and, separately, the EINVAL answers that nobody has taken yet. At most one buffer is incomplete
 * at any time, so memory is never more than what was really sent plus NBD_MAX_REQUEST. To push back, the caller stops reading
 * the socket.
 */
#include "checkpoint/nbd-server.h"

#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"

/* proto.md "Newstyle negotiation" and "Fixed newstyle negotiation" */
#define NBD_MAGIC UINT64_C(0x4e42444d41474943)		/* "NBDMAGIC" */
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054)	/* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x3e889045565a9)
#define NBD_FLAG_FIXED_NEWSTYLE 1			/* the same values in the client's flags */
#define NBD_FLAG_NO_ZEROES 2

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
};

enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
};
#define NBD_REP_ERR_UNSUP (UINT32_C(1) << 31 | 1)
#define NBD_REP_ERR_INVALID (UINT32_C(1) << 31 | 3)
#define NBD_REP_ERR_UNKNOWN (UINT32_C(1) << 31 | 6)

#define NBD_INFO_EXPORT 0
#define NBD_INFO_BLOCK_SIZE 3

/* proto.md "Transmission phase" */
#define NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define NBD_SIMPLE_REPLY_MAGIC UINT32_C(0x67446698)
#define NBD_FLAG_HAS_FLAGS (1 << 0)
#define NBD_FLAG_SEND_FLUSH (1 << 2)
#define NBD_FLAG_SEND_FUA (1 << 3)
#define NBD_FLAG_SEND_TRIM (1 << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES (1 << 6)
#define TRANSMISSION_FLAGS \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES)

#define NBD_CMD_FLAG_FUA (1 << 0)
#define NBD_CMD_FLAG_NO_HOLE (1 << 1)

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_WRITE_ZEROES = 6,
};

#define NBD_EINVAL 22

#define OPTION_HEADER_LENGTH 16
#define REQUEST_HEADER_LENGTH 28
#define EXPORT_NAME_PADDING 124

enum phase {
	PHASE_GREETING,		/* the client's flags */
	PHASE_OPTION_HEADER,
	PHASE_OPTION_DATA,
	PHASE_REQUEST,		/* a request's header */
	PHASE_WRITE_DATA,	/* the payload of a WRITE that is valid */
	PHASE_SKIP_DATA,	/* the payload of a WRITE that is not: thrown away, then EINVAL */
	PHASE_CLOSED,		/* the client said goodbye; any further byte is an error */
	PHASE_FAILED,		/* nbd_server_input() has returned false */
};

struct pending {
	uint64_t cookie;
	enum nbd_op op;
	uint32_t length;
};

struct nbd_server {
	char *export_name;
	uint64_t size;

	enum phase phase;
	uint8_t *to;			/* where this phase's bytes go; NULL: thrown away */
	size_t need, have;
	uint8_t header[REQUEST_HEADER_LENGTH];
	uint8_t option_data[NBD_MAX_OPTION_LENGTH];

	uint32_t option, option_length;
	unsigned options;		/* seen so far */
	bool no_zeroes;

	struct nbd_request request;	/* in WRITE_DATA and SKIP_DATA: the one whose payload arrives */
	uint8_t *write_buffer;		/* in WRITE_DATA, becomes request.data */

	GQueue ready;			/* struct nbd_request: for nbd_server_next_request() */
	GHashTable *pending;		/* struct pending by cookie; in `ready` or with the caller */
	unsigned refused;		/* EINVAL answers in `output` */
	GByteArray *output;
};

static void
enter(struct nbd_server *s, enum phase phase, uint8_t *to, size_t need)
{
	s->phase = phase;
	s->to = to;
	s->need = need;
	s->have = 0;
}

static void
put(struct nbd_server *s, uint64_t value, unsigned bytes)
{
	uint8_t be[8];

	put_be64(be, value);
	g_byte_array_append(s->output, be + 8 - bytes, bytes);
}

static bool
wrong(GError **error, const char *what)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "NBD client: %s", what);
	return false;
}

struct nbd_server *
nbd_server_new(const char *export_name, uint64_t size)
{
	struct nbd_server *s = g_new0(struct nbd_server, 1);

	s->export_name = g_strdup(export_name);
	s->size = size;
	s->output = g_byte_array_new();
	g_queue_init(&s->ready);
	s->pending = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);

	put(s, NBD_MAGIC, 8);
	put(s, NBD_OPTION_MAGIC, 8);
	put(s, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 2);
	enter(s, PHASE_GREETING, s->header, 4);
	return s;
}

void
nbd_request_clear(struct nbd_request *r)
{
	g_clear_pointer(&r->data, g_bytes_unref);
}

static void
request_free(gpointer data)
{
	nbd_request_clear(data);
	g_free(data);
}

void
nbd_server_free(struct nbd_server *s)
{
	if (!s)
		return;
	g_queue_clear_full(&s->ready, request_free);
	g_hash_table_unref(s->pending);
	g_byte_array_unref(s->output);
	g_free(s->write_buffer);
	g_free(s->export_name);
	g_free(s);
}

/* Negotiation */

static void
option_reply(struct nbd_server *s, uint32_t type, uint32_t length)
{
	put(s, NBD_OPTION_REPLY_MAGIC, 8);
	put(s, s->option, 4);
	put(s, type, 4);
	put(s, length, 4);
}

static void
start_transmission(struct nbd_server *s)
{
	enter(s, PHASE_REQUEST, s->header, REQUEST_HEADER_LENGTH);
}

static void
say_goodbye(struct nbd_server *s)
{
	struct nbd_request *r = g_new0(struct nbd_request, 1);

	r->op = NBD_OP_DISCONNECT;
	g_queue_push_tail(&s->ready, r);
	enter(s, PHASE_CLOSED, NULL, 1);
}

static bool
is_our_export(const struct nbd_server *s, const uint8_t *name, size_t length)
{
	return strlen(s->export_name) == length && memcmp(s->export_name, name, length) == 0;
}

/* EXPORT_NAME has no error reply: an unknown name ends the connection (proto.md "Option types"). */
static bool
option_export_name(struct nbd_server *s, GError **error)
{
	static const uint8_t zeroes[EXPORT_NAME_PADDING];

	if (!is_our_export(s, s->option_data, s->option_length))
		return wrong(error, "EXPORT_NAME asks for an export that is not offered");
	put(s, s->size, 8);
	put(s, TRANSMISSION_FLAGS, 2);
	if (!s->no_zeroes)
		g_byte_array_append(s->output, zeroes, sizeof(zeroes));
	start_transmission(s);
	return true;
}

/*
 * The block size is sent unasked, as proto.md "Block size constraints" allows: with a minimum of 1 QEMU has no reason to read
 * the rest of a sector before it writes (block/nbd.c nbd_refresh_limits() would guess 512 or 1 from the size), and it splits what is larger than the maximum. One who
 * asks for more is served all the same, up to NBD_MAX_REQUEST.
 */
static void
send_export_info(struct nbd_server *s)
{
	option_reply(s, NBD_REP_INFO, 12);
	put(s, NBD_INFO_EXPORT, 2);
	put(s, s->size, 8);
	put(s, TRANSMISSION_FLAGS, 2);
	option_reply(s, NBD_REP_INFO, 14);
	put(s, NBD_INFO_BLOCK_SIZE, 2);
	put(s, 1, 4);
	put(s, 4096, 4);
	put(s, NBD_GOOD_REQUEST, 4);
	option_reply(s, NBD_REP_ACK, 0);
}

/* be32 length, name, be16 count, count * be16 information types (which we answer with what there is, whatever was asked for) */
static void
option_info_or_go(struct nbd_server *s)
{
	struct byte_reader r = byte_reader_init(s->option_data, s->option_length);
	uint32_t length = byte_reader_be32(&r);
	const uint8_t *name = byte_reader_bytes(&r, length);
	uint16_t count = byte_reader_be16(&r);

	byte_reader_bytes(&r, (size_t)count * 2);
	if (!byte_reader_done(&r)) {
		option_reply(s, NBD_REP_ERR_INVALID, 0);
		return;
	}
	if (!is_our_export(s, name, length)) {
		option_reply(s, NBD_REP_ERR_UNKNOWN, 0);
		return;
	}
	send_export_info(s);
	if (s->option == NBD_OPT_GO)
		start_transmission(s);
}

static void
option_list(struct nbd_server *s)
{
	uint32_t length = (uint32_t)strlen(s->export_name);

	if (s->option_length != 0) {
		option_reply(s, NBD_REP_ERR_INVALID, 0);
		return;
	}
	option_reply(s, NBD_REP_SERVER, length + 4);
	put(s, length, 4);
	g_byte_array_append(s->output, (const guint8 *)s->export_name, length);
	option_reply(s, NBD_REP_ACK, 0);
}

static bool
answer_option(struct nbd_server *s, GError **error)
{
	enter(s, PHASE_OPTION_HEADER, s->header, OPTION_HEADER_LENGTH);
	switch (s->option) {
	case NBD_OPT_EXPORT_NAME:
		return option_export_name(s, error);
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		option_info_or_go(s);
		return true;
	case NBD_OPT_LIST:
		option_list(s);
		return true;
	case NBD_OPT_ABORT:
		option_reply(s, NBD_REP_ACK, 0);
		say_goodbye(s);
		return true;
	default:	/* STARTTLS, STRUCTURED_REPLY, EXTENDED_HEADERS, meta contexts: a client goes on without them */
		option_reply(s, NBD_REP_ERR_UNSUP, 0);
		return true;
	}
}

static bool
read_option_header(struct nbd_server *s, GError **error)
{
	struct byte_reader r = byte_reader_init(s->header, OPTION_HEADER_LENGTH);

	if (byte_reader_be64(&r) != NBD_OPTION_MAGIC)
		return wrong(error, "an option without its magic number");
	s->option = byte_reader_be32(&r);
	s->option_length = byte_reader_be32(&r);
	if (s->option_length > NBD_MAX_OPTION_LENGTH)
		return wrong(error, "an option that is too long");
	if (++s->options > NBD_MAX_OPTIONS)
		return wrong(error, "too many options");
	enter(s, PHASE_OPTION_DATA, s->option_data, s->option_length);
	return true;
}

/*
 * Unknown client flags must end the connection (proto.md "Client flags"); without FIXED_NEWSTYLE most options could not be
 * answered.
 */
static bool
read_greeting(struct nbd_server *s, GError **error)
{
	struct byte_reader r = byte_reader_init(s->header, 4);
	uint32_t flags = byte_reader_be32(&r);

	if ((flags & ~(uint32_t)NBD_FLAG_NO_ZEROES) != NBD_FLAG_FIXED_NEWSTYLE)
		return wrong(error, "flags of another protocol than fixed newstyle");
	s->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
	enter(s, PHASE_OPTION_HEADER, s->header, OPTION_HEADER_LENGTH);
	return true;
}

/* Transmission */

static void
simple_reply(struct nbd_server *s, uint64_t cookie, uint32_t nbd_errno)
{
	put(s, NBD_SIMPLE_REPLY_MAGIC, 4);
	put(s, nbd_errno, 4);
	put(s, cookie, 8);
}

static bool
refuse(struct nbd_server *s, uint64_t cookie, GError **error)
{
	if (++s->refused > NBD_MAX_PENDING)
		return wrong(error, "too many invalid requests, and the answers are not read");
	simple_reply(s, cookie, NBD_EINVAL);
	start_transmission(s);
	return true;
}

static bool
accept_request(struct nbd_server *s, struct nbd_request *r, GError **error)
{
	struct pending *p;

	if (g_hash_table_size(s->pending) >= NBD_MAX_PENDING)
		return wrong(error, "too many requests in flight");
	if (g_hash_table_contains(s->pending, &r->cookie))
		return wrong(error, "a cookie that is already in use");
	p = g_new(struct pending, 1);
	*p = (struct pending){ .cookie = r->cookie, .op = r->op, .length = r->length };
	g_hash_table_insert(s->pending, &p->cookie, p);
	g_queue_push_tail(&s->ready, g_memdup2(r, sizeof(*r)));
	r->data = NULL;
	start_transmission(s);
	return true;
}

static bool
map_command(uint16_t type, enum nbd_op *op)
{
	switch (type) {
	case NBD_CMD_READ:
		*op = NBD_OP_READ;
		return true;
	case NBD_CMD_WRITE:
		*op = NBD_OP_WRITE;
		return true;
	case NBD_CMD_FLUSH:
		*op = NBD_OP_FLUSH;
		return true;
	case NBD_CMD_TRIM:
		*op = NBD_OP_TRIM;
		return true;
	case NBD_CMD_WRITE_ZEROES:
		*op = NBD_OP_WRITE_ZEROES;
		return true;
	default:
		return false;
	}
}

/* proto.md "Command flags": FUA is legal with every command once it was offered, anything that was not offered is EINVAL. */
static bool
flags_are_valid(enum nbd_op op, uint16_t flags)
{
	uint16_t known = NBD_CMD_FLAG_FUA;

	if (op == NBD_OP_WRITE_ZEROES)
		known |= NBD_CMD_FLAG_NO_HOLE;
	return (flags & ~known) == 0;
}

/*
 * The length of zero is unspecified by proto.md; nbdkit (server/protocol.c validate_request()) refuses it as well, and QEMU
 * never sends it.
 */
static bool
range_is_valid(const struct nbd_server *s, const struct nbd_request *r)
{
	if (r->op == NBD_OP_FLUSH)
		return r->offset == 0 && r->length == 0;
	if ((r->op == NBD_OP_READ || r->op == NBD_OP_WRITE) && r->length > NBD_MAX_REQUEST)
		return false;
	return r->length != 0 && r->offset <= s->size && r->length <= s->size - r->offset;
}

static void
expect_write_data(struct nbd_server *s, const struct nbd_request *r, bool valid)
{
	s->request = *r;
	if (valid)
		s->write_buffer = g_malloc(r->length);
	enter(s, valid ? PHASE_WRITE_DATA : PHASE_SKIP_DATA, s->write_buffer, r->length);
}

static bool
read_request_header(struct nbd_server *s, GError **error)
{
	struct byte_reader in = byte_reader_init(s->header, REQUEST_HEADER_LENGTH);
	struct nbd_request r = { 0 };
	uint16_t flags, type;
	bool valid;

	if (byte_reader_be32(&in) != NBD_REQUEST_MAGIC)
		return wrong(error, "a request without its magic number");
	flags = byte_reader_be16(&in);
	type = byte_reader_be16(&in);
	r.cookie = byte_reader_be64(&in);
	r.offset = byte_reader_be64(&in);
	r.length = byte_reader_be32(&in);
	if (type == NBD_CMD_DISC) {
		say_goodbye(s);
		return true;
	}
	valid = map_command(type, &r.op) && flags_are_valid(r.op, flags) && range_is_valid(s, &r);
	r.fua = flags & NBD_CMD_FLAG_FUA;
	r.no_hole = flags & NBD_CMD_FLAG_NO_HOLE;
	if (type == NBD_CMD_WRITE && r.length > 0) {
		expect_write_data(s, &r, valid);
		return true;
	}
	return valid ? accept_request(s, &r, error) : refuse(s, r.cookie, error);
}

static bool
finish_write(struct nbd_server *s, GError **error)
{
	s->request.data = g_bytes_new_take(g_steal_pointer(&s->write_buffer), s->request.length);
	if (accept_request(s, &s->request, error))
		return true;
	nbd_request_clear(&s->request);
	return false;
}

static bool
finish_phase(struct nbd_server *s, GError **error)
{
	switch (s->phase) {
	case PHASE_GREETING:
		return read_greeting(s, error);
	case PHASE_OPTION_HEADER:
		return read_option_header(s, error);
	case PHASE_OPTION_DATA:
		return answer_option(s, error);
	case PHASE_REQUEST:
		return read_request_header(s, error);
	case PHASE_WRITE_DATA:
		return finish_write(s, error);
	case PHASE_SKIP_DATA:
		return refuse(s, s->request.cookie, error);
	case PHASE_CLOSED:
		return wrong(error, "bytes after its goodbye");
	case PHASE_FAILED:
		return wrong(error, "bytes after an error");
	}
	g_assert_not_reached();
}

static size_t
fill(struct nbd_server *s, const uint8_t *data, size_t length)
{
	size_t n = MIN(length, s->need - s->have);

	if (s->to && n > 0)
		memcpy(s->to + s->have, data, n);
	s->have += n;
	return n;
}

bool
nbd_server_input(struct nbd_server *s, const uint8_t *data, size_t length, GError **error)
{
	while (length > 0) {
		size_t n = fill(s, data, length);

		data += n;
		length -= n;
		/* A phase may need no bytes at all (an option without data): it is over before more input comes. */
		while (s->have == s->need) {
			if (!finish_phase(s, error)) {
				enter(s, PHASE_FAILED, NULL, 1);
				return false;
			}
		}
	}
	return true;
}

bool
nbd_server_next_request(struct nbd_server *s, struct nbd_request *out)
{
	g_autofree struct nbd_request *r = g_queue_pop_head(&s->ready);

	if (!r)
		return false;
	*out = *r;
	return true;
}

void
nbd_server_reply(struct nbd_server *s, uint64_t cookie, uint32_t nbd_errno, GBytes *data)
{
	const struct pending *p = g_hash_table_lookup(s->pending, &cookie);
	gsize length = data ? g_bytes_get_size(data) : 0;

	g_assert(p);
	g_assert(length == (p->op == NBD_OP_READ && nbd_errno == 0 ? p->length : 0));
	simple_reply(s, cookie, nbd_errno);
	if (length > 0)
		g_byte_array_append(s->output, g_bytes_get_data(data, NULL), (guint)length);
	g_hash_table_remove(s->pending, &cookie);
}

GBytes *
nbd_server_take_output(struct nbd_server *s)
{
	GBytes *bytes;

	if (s->output->len == 0)
		return NULL;
	bytes = g_byte_array_free_to_bytes(s->output);
	s->output = g_byte_array_new();
	s->refused = 0;
	return bytes;
}

bool
nbd_server_transmitting(const struct nbd_server *s)
{
	return s->phase == PHASE_REQUEST || s->phase == PHASE_WRITE_DATA || s->phase == PHASE_SKIP_DATA;
}

unsigned
nbd_server_pending(const struct nbd_server *s)
{
	return g_hash_table_size(s->pending);
}
