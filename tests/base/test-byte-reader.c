/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/byte-reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18 };

static void
test_reads(void **state)
{
	struct byte_reader r = byte_reader_init(bytes, sizeof bytes);

	assert_int_equal(byte_reader_u8(&r), 0x01);
	assert_int_equal(byte_reader_be16(&r), 0x0203);
	assert_int_equal(byte_reader_be32(&r), 0x04050607);
	assert_int_equal(byte_reader_be64(&r), 0x08090a0b0c0d0e0f);
	assert_false(byte_reader_done(&r));	/* not everything was read */
	assert_ptr_equal(byte_reader_bytes(&r, 3), bytes + 15);
	assert_true(byte_reader_done(&r));
	assert_ptr_equal(byte_reader_bytes(&r, 0), bytes + 18);
	assert_true(byte_reader_done(&r));
}

/* A structure read from every shorter length: bad, zeros from the first missing field on, and no byte beyond the end touched (the copy is exact for ASan). */
static void
test_every_truncation(void **state)
{
	for (size_t n = 0; n < 15; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		struct byte_reader r = byte_reader_init(memcpy(copy, bytes, n), n);
		uint8_t a = byte_reader_u8(&r);
		uint16_t b = byte_reader_be16(&r);
		uint32_t c = byte_reader_be32(&r);
		uint64_t d = byte_reader_be64(&r);

		assert_int_equal(a, n >= 1 ? 0x01 : 0);
		assert_int_equal(b, n >= 3 ? 0x0203 : 0);
		assert_int_equal(c, n >= 7 ? 0x04050607 : 0);
		assert_int_equal(d, 0);
		assert_true(r.bad);
		assert_false(byte_reader_done(&r));
		free(copy);
	}
}

/* Once bad, always bad: a shorter read that would fit gives nothing. */
static void
test_bad_is_final(void **state)
{
	struct byte_reader r = byte_reader_init(bytes, 4);

	assert_null(byte_reader_bytes(&r, 5));
	assert_null(byte_reader_bytes(&r, 1));
	assert_null(byte_reader_bytes(&r, 0));
	assert_int_equal(byte_reader_u8(&r), 0);
	assert_false(byte_reader_done(&r));
}

static void
test_huge_lengths(void **state)
{
	struct byte_reader r = byte_reader_init(bytes, sizeof bytes);

	assert_null(byte_reader_bytes(&r, SIZE_MAX));
	assert_true(r.bad);
}

static void
test_writes(void **state)
{
	uint8_t out[14];
	struct byte_reader r = byte_reader_init(out, sizeof out);

	put_be16(out, 0xfedc);
	put_be32(out + 2, 0xba987654);
	put_be64(out + 6, 0x8123456789abcdef);
	assert_int_equal(out[0], 0xfe);
	assert_int_equal(out[6], 0x81);
	assert_int_equal(byte_reader_be16(&r), 0xfedc);
	assert_int_equal(byte_reader_be32(&r), 0xba987654);
	assert_true(byte_reader_be64(&r) == 0x8123456789abcdef);
	assert_true(byte_reader_done(&r));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_bad_is_final),
		cmocka_unit_test(test_huge_lengths),
		cmocka_unit_test(test_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
