/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversations with the NBD server core: what a client sends, as hex with blanks for reading, and what must come back. */
#include "checkpoint/nbd-server.h"

#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SIZE 0x10000000	/* 256 MiB */

/* client */
#define FLAGS "00000003 "
#define OPTION "49484156454f5054 "
#define GO OPTION "00000007 00000008 00000002 7630 0000 "	/* export "v0", no information asked for */
#define REQUEST "25609513 "
#define C1 "0000000000000001 "
#define C2 "0000000000000002 "
/* server */
#define GREETING "4e42444d41474943 49484156454f5054 0003 "
#define REP "0003e889045565a9 "
#define INFO_OF(option) REP option "00000003 0000000c 0000 0000000010000000 006d " REP option "00000003 0000000e 0003 00000001 00001000 00200000 " \
	REP option "00000001 00000000 "
#define OK1 "67446698 00000000 " C1
#define EINVAL1 "67446698 00000016 " C1

static GByteArray *
unhex(const char *hex)
{
	GByteArray *out = g_byte_array_new();

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		guint8 byte = (guint8)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));

		g_byte_array_append(out, &byte, 1);
		hex++;
	}
	return out;
}

static void
assert_output(struct nbd_server *s, const char *hex)
{
	g_autoptr(GByteArray) want = unhex(hex);
	g_autoptr(GBytes) got = nbd_server_take_output(s);
	gsize length = got ? g_bytes_get_size(got) : 0;

	assert_int_equal(length, want->len);
	if (length > 0)
		assert_memory_equal(g_bytes_get_data(got, NULL), want->data, length);
}

static bool
feed(struct nbd_server *s, const char *hex, size_t piece, GError **error)
{
	g_autoptr(GByteArray) in = unhex(hex);

	for (size_t at = 0; at < in->len; at += piece)
		if (!nbd_server_input(s, in->data + at, MIN(piece, in->len - at), error))
			return false;
	return true;
}

static void
say(struct nbd_server *s, const char *hex)
{
	g_autoptr(GError) error = NULL;

	if (!feed(s, hex, SIZE_MAX, &error))
		fail_msg("%s", error->message);
}

static struct nbd_server *
transmitting(void)
{
	struct nbd_server *s = nbd_server_new("v0", SIZE);

	say(s, FLAGS GO);
	g_bytes_unref(nbd_server_take_output(s));
	assert_true(nbd_server_transmitting(s));
	return s;
}

static struct nbd_request
take(struct nbd_server *s)
{
	struct nbd_request r;

	assert_true(nbd_server_next_request(s, &r));
	return r;
}

/*
 * Whole conversations, replayed with every piece size; the caller's part is to answer each request with 0 (a READ with 0xee
 * bytes).
 */
static const struct {
	const char *name, *input, *output;
	bool transmitting;
} conversations[] = {
	{ "go", FLAGS GO, GREETING INFO_OF("00000007 "), true },
	{ "information types asked for", FLAGS OPTION "00000007 0000000c 00000002 7630 0002 0000 0003", GREETING INFO_OF("00000007 "), true },
	{ "info, then go", FLAGS OPTION "00000006 00000008 00000002 7630 0000" GO, GREETING INFO_OF("00000006 ") INFO_OF("00000007 "), true },
	{ "another export, then ours", FLAGS OPTION "00000007 00000008 00000002 7631 0000" GO,
	  GREETING REP "00000007 80000006 00000000" INFO_OF("00000007 "), true },
	{ "a prefix of our name", FLAGS OPTION "00000007 00000007 00000001 76 0000", GREETING REP "00000007 80000006 00000000" },
	{ "go with a name longer than the option", FLAGS OPTION "00000007 00000008 ffffffff 7630 0000", GREETING REP "00000007 80000003 00000000" },
	{ "go with bytes left over", FLAGS OPTION "00000007 00000009 00000002 7630 0000 00", GREETING REP "00000007 80000003 00000000" },
	{ "go without data", FLAGS OPTION "00000007 00000000", GREETING REP "00000007 80000003 00000000" },
	{ "list", FLAGS OPTION "00000003 00000000", GREETING REP "00000003 00000002 00000006 00000002 7630" REP "00000003 00000001 00000000" },
	{ "list with data", FLAGS OPTION "00000003 00000001 00", GREETING REP "00000003 80000003 00000000" },
	{ "structured replies are refused", FLAGS OPTION "00000008 00000000" GO, GREETING REP "00000008 80000001 00000000" INFO_OF("00000007 "), true },
	{ "TLS and unknown options are refused", FLAGS OPTION "00000005 00000000" OPTION "12345678 00000003 aabbcc",
	  GREETING REP "00000005 80000001 00000000" REP "12345678 80000001 00000000" },
	{ "export name", FLAGS OPTION "00000001 00000002 7630", GREETING "0000000010000000 006d", true },
	{ "abort", FLAGS OPTION "00000002 00000000", GREETING REP "00000002 00000001 00000000" },
	{ "flush", FLAGS GO REQUEST "0000 0003" C1 "0000000000000000 00000000", GREETING INFO_OF("00000007 ") OK1, true },
	{ "read", FLAGS GO REQUEST "0000 0000" C1 "000000000ffffffe 00000002", GREETING INFO_OF("00000007 ") OK1 "eeee", true },
	{ "write, trim, zeroes", FLAGS GO REQUEST "0001 0001" C1 "0000000000000200 00000003 aabbcc" REQUEST "0000 0004" C2 "0000000000000000 10000000"
	  REQUEST "0002 0006" C1 "0000000000001000 00000001", GREETING INFO_OF("00000007 ") OK1 "67446698 00000000" C2 OK1, true },
	{ "a refused write is skipped", FLAGS GO REQUEST "0000 0001" C1 "0000000010000000 00000002 2560" REQUEST "0000 0003" C1 "0000000000000000 00000000",
	  GREETING INFO_OF("00000007 ") EINVAL1 OK1, true },
	{ "disconnect", FLAGS GO REQUEST "0000 0002" C1 "0000000000000000 00000000", GREETING INFO_OF("00000007 ") },
};

static void
answer_all(struct nbd_server *s)
{
	struct nbd_request r;

	while (nbd_server_next_request(s, &r)) {
		g_autoptr(GBytes) data = NULL;

		if (r.op == NBD_OP_READ) {
			guint8 *p = g_malloc(r.length);

			memset(p, 0xee, r.length);
			data = g_bytes_new_take(p, r.length);
		}
		if (r.op != NBD_OP_DISCONNECT)
			nbd_server_reply(s, r.cookie, 0, data);
		nbd_request_clear(&r);
	}
}

static void
play(const char *name, const char *input, const char *output, bool is_transmitting, size_t piece)
{
	g_autoptr(nbd_server) s = NULL;
	g_autoptr(GByteArray) in = unhex(input);
	g_autoptr(GError) error = NULL;

	s = nbd_server_new("v0", SIZE);
	for (size_t at = 0; at < in->len; at += piece) {
		if (!nbd_server_input(s, in->data + at, MIN(piece, in->len - at), &error))
			fail_msg("%s, in pieces of %zu: %s", name, piece, error->message);
		answer_all(s);
	}
	assert_output(s, output);
	assert_int_equal(nbd_server_transmitting(s), is_transmitting);
	assert_int_equal(nbd_server_pending(s), 0);
}

static void
test_conversations(void **state)
{
	/* From 28 bytes on, one request's answers could come after the next one's refusal; sizes below that keep them in order. */
	for (size_t i = 0; i < G_N_ELEMENTS(conversations); i++)
		for (size_t piece = 1; piece <= 28; piece++)
			play(conversations[i].name, conversations[i].input, conversations[i].output, conversations[i].transmitting, piece);
}

static void
test_zeroes_after_export_name(void **state)
{
	g_autoptr(nbd_server) s = nbd_server_new("v0", SIZE);
	g_autoptr(GBytes) out = NULL;

	say(s, "00000001" OPTION "00000001 00000002 7630");
	out = nbd_server_take_output(s);
	assert_int_equal(g_bytes_get_size(out), 18 + 10 + 124);
}

/* The end of the connection: what was wrong is named. */
static const struct {
	const char *input, *message;
} errors[] = {
	{ "00000000", "NBD client: flags of another protocol than fixed newstyle" },
	{ "00000007", "NBD client: flags of another protocol than fixed newstyle" },
	{ FLAGS "49484156454f5055 00000007 00000000", "NBD client: an option without its magic number" },
	{ FLAGS OPTION "00000007 00002001", "NBD client: an option that is too long" },
	{ FLAGS OPTION "00000001 00000002 7631", "NBD client: EXPORT_NAME asks for an export that is not offered" },
	{ FLAGS GO "25609514 0000 0003" C1 "0000000000000000 00000000", "NBD client: a request without its magic number" },
	{ FLAGS GO REQUEST "0000 0003" C1 "0000000000000000 00000000" REQUEST "0000 0003" C1 "0000000000000000 00000000",
	  "NBD client: a cookie that is already in use" },
	{ FLAGS GO REQUEST "0000 0003" C1 "0000000000000000 00000000" REQUEST "0000 0001" C1 "0000000000000000 00000001 00",
	  "NBD client: a cookie that is already in use" },
	{ FLAGS GO REQUEST "0000 0002" C1 "0000000000000000 00000000 00", "NBD client: bytes after its goodbye" },
	{ FLAGS OPTION "00000002 00000000 00", "NBD client: bytes after its goodbye" },
};

static void
test_errors(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		for (size_t piece = 1; piece < 70; piece++) {
			g_autoptr(nbd_server) s = nbd_server_new("v0", SIZE);
			g_autoptr(GError) error = NULL, again = NULL;

			assert_false(feed(s, errors[i].input, piece, &error));
			assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
			assert_string_equal(error->message, errors[i].message);
			assert_false(feed(s, "00", 1, &again));
			assert_string_equal(again->message, "NBD client: bytes after an error");
		}
	}
}

/* flags, command, offset, length: answered EINVAL, never handed out */
static const char *const refused[] = {
	"0000 0000" C1 "0000000010000000 00000001",	/* READ past the end */
	"0000 0000" C1 "0000000000000001 10000000",
	"0000 0000" C1 "ffffffffffffffff 00000002",	/* wraps */
	"0000 0000" C1 "0000000000000000 02000001",	/* more than 32 MiB of data */
	"0000 0000" C1 "0000000000000000 00000000",	/* nothing */
	"0000 0001" C1 "0000000000000000 00000000",
	"0000 0004" C1 "0000000000000000 10000001",	/* TRIM past the end */
	"0000 0004" C1 "0000000000000000 ffffffff",
	"0000 0006" C1 "000000000fffffff 00000002",	/* WRITE_ZEROES past the end */
	"0004 0000" C1 "0000000000000000 00000001",	/* DF without structured replies */
	"0010 0006" C1 "0000000000000000 00000001",	/* FAST_ZERO was not offered */
	"0002 0004" C1 "0000000000000000 00000001",	/* NO_HOLE with TRIM */
	"0000 0003" C1 "0000000000000001 00000000",	/* FLUSH of a range */
	"0000 0003" C1 "0000000000000000 00000001",
	"0000 0005" C1 "0000000000000000 00000001",	/* CACHE */
	"0000 0007" C1 "0000000000000000 00000001",	/* BLOCK_STATUS */
	"0000 ffff" C1 "0000000000000000 00000001",
	"0002 0001" C1 "0000000000000000 00000002 abcd",	/* NO_HOLE with WRITE, payload skipped */
};

static void
test_refused(void **state)
{
	g_autoptr(nbd_server) s = transmitting();

	for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
		struct nbd_request r;
		g_autofree char *input = g_strconcat(REQUEST, refused[i], NULL);

		say(s, input);
		assert_false(nbd_server_next_request(s, &r));
		assert_output(s, EINVAL1);
	}
	/* the boundary was kept */
	say(s, REQUEST "0000 0003" C2 "0000000000000000 00000000");
	assert_int_equal(take(s).cookie, 2);
}

/* A WRITE of more than NBD_MAX_REQUEST bytes is skipped without being buffered. */
static void
test_huge_write_is_skipped(void **state)
{
	g_autoptr(nbd_server) s = transmitting();
	static const uint8_t megabyte[1 << 20];
	struct nbd_request r;

	say(s, REQUEST "0000 0001" C1 "0000000000000000 08000000");
	for (int i = 0; i < 128; i++) {
		assert_output(s, "");
		assert_true(nbd_server_input(s, megabyte, sizeof(megabyte), NULL));
	}
	assert_output(s, EINVAL1);
	assert_false(nbd_server_next_request(s, &r));
}

static void
test_request_fields(void **state)
{
	g_autoptr(nbd_server) s = transmitting();
	struct nbd_request r;

	say(s, REQUEST "0001 0001 1122334455667788 0000000000000200 00000003 aabb");
	assert_false(nbd_server_next_request(s, &r));
	say(s, "cc" REQUEST "0002 0006" C1 "0000000000001000 00002000" REQUEST "0001 0004" C2 "0000000000000001 00000002");
	assert_int_equal(nbd_server_pending(s), 3);

	r = take(s);
	assert_int_equal(r.op, NBD_OP_WRITE);
	assert_int_equal(r.cookie, 0x1122334455667788);
	assert_int_equal(r.offset, 0x200);
	assert_int_equal(r.length, 3);
	assert_true(r.fua);
	assert_int_equal(g_bytes_get_size(r.data), 3);
	assert_memory_equal(g_bytes_get_data(r.data, NULL), "\xaa\xbb\xcc", 3);
	nbd_request_clear(&r);

	r = take(s);
	assert_int_equal(r.op, NBD_OP_WRITE_ZEROES);
	assert_true(r.no_hole && !r.fua);
	assert_int_equal(r.length, 0x2000);
	assert_null(r.data);
	r = take(s);
	assert_int_equal(r.op, NBD_OP_TRIM);
	assert_true(r.fua && !r.no_hole);

	/* Answers in any order, an error among them. */
	nbd_server_reply(s, 2, 5, NULL);
	nbd_server_reply(s, 0x1122334455667788, 0, NULL);
	assert_output(s, "67446698 00000005" C2 "67446698 00000000 1122334455667788");
	assert_int_equal(nbd_server_pending(s), 1);
}

static void
test_failed_read_has_no_data(void **state)
{
	g_autoptr(nbd_server) s = transmitting();

	say(s, REQUEST "0000 0000" C1 "0000000000000000 00000010");
	assert_int_equal(take(s).op, NBD_OP_READ);
	nbd_server_reply(s, 1, 5, NULL);
	assert_output(s, "67446698 00000005" C1);
}

static void
test_goodbye_is_last(void **state)
{
	g_autoptr(nbd_server) s = transmitting();
	struct nbd_request r;

	say(s, REQUEST "0000 0003" C1 "0000000000000000 00000000" REQUEST "0000 0002" C2 "0000000000000000 00000000");
	assert_int_equal(take(s).op, NBD_OP_FLUSH);
	assert_int_equal(take(s).op, NBD_OP_DISCONNECT);
	assert_false(nbd_server_next_request(s, &r));
	nbd_server_reply(s, 1, 0, NULL);
	assert_output(s, OK1);
}

static bool
send_flush(struct nbd_server *s, uint64_t cookie, uint64_t offset, GError **error)
{
	uint8_t header[28] = { 0 };

	put_be32(header, 0x25609513);
	put_be16(header + 6, 3);
	put_be64(header + 8, cookie);
	put_be64(header + 16, offset);
	return nbd_server_input(s, header, sizeof(header), error);
}

static void
test_limit_of_pending(void **state)
{
	g_autoptr(nbd_server) s = transmitting();
	g_autoptr(GError) error = NULL;

	for (unsigned i = 0; i < NBD_MAX_PENDING; i++)
		assert_true(send_flush(s, i, 0, NULL));
	/* taking is not answering */
	for (unsigned i = 0; i < NBD_MAX_PENDING; i++)
		take(s);
	nbd_server_reply(s, 7, 0, NULL);
	assert_true(send_flush(s, 7, 0, NULL));
	assert_false(send_flush(s, NBD_MAX_PENDING, 0, &error));
	assert_string_equal(error->message, "NBD client: too many requests in flight");
}

static void
test_limit_of_refusals(void **state)
{
	g_autoptr(nbd_server) s = transmitting();
	g_autoptr(GError) error = NULL;

	for (unsigned i = 0; i < NBD_MAX_PENDING; i++)
		assert_true(send_flush(s, 1, 1, NULL));
	g_bytes_unref(nbd_server_take_output(s));
	for (unsigned i = 0; i < NBD_MAX_PENDING; i++)
		assert_true(send_flush(s, 1, 1, NULL));
	assert_false(send_flush(s, 1, 1, &error));
}

static void
test_limit_of_options(void **state)
{
	g_autoptr(nbd_server) s = nbd_server_new("v0", SIZE);
	g_autoptr(GError) error = NULL;

	say(s, FLAGS);
	for (unsigned i = 0; i < NBD_MAX_OPTIONS; i++)
		say(s, OPTION "00000003 00000000");
	assert_false(feed(s, OPTION "00000003 00000000", 16, &error));
	assert_string_equal(error->message, "NBD client: too many options");
}

/* Freed in the middle of everything: for the leak checker. */
static void
test_free_half_way(void **state)
{
	g_autoptr(nbd_server) s = transmitting();

	say(s, REQUEST "0000 0001" C1 "0000000000000000 00000001 aa" REQUEST "0000 0001" C2 "0000000000000000 00001000 aa");
	assert_int_equal(nbd_server_pending(s), 1);
	nbd_server_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversations), cmocka_unit_test(test_zeroes_after_export_name), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_huge_write_is_skipped), cmocka_unit_test(test_request_fields),
		cmocka_unit_test(test_failed_read_has_no_data), cmocka_unit_test(test_goodbye_is_last), cmocka_unit_test(test_limit_of_pending),
		cmocka_unit_test(test_limit_of_refusals), cmocka_unit_test(test_limit_of_options), cmocka_unit_test(test_free_half_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
