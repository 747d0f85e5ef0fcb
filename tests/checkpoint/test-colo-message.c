/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/checkpoint/stream.h"

static void
every_message_survives_the_wire(void **state)
{
	for (uint32_t i = 0; i < COLO_MESSAGE_LAST; i++) {
		uint8_t wire[COLO_MESSAGE_BYTES];
		enum colo_message back = COLO_MESSAGE_LAST;

		colo_message_encode(i, wire);
		assert_memory_equal(wire, ((uint8_t[]){ 0, 0, 0, (uint8_t)i }), sizeof wire);
		assert_true(colo_message_decode(wire, &back));
		assert_int_equal(back, i);
		assert_string_not_equal(colo_message_name(i), "?");
	}
}

static void
other_words_are_refused(void **state)
{
	enum colo_message back = COLO_REPLY;

	assert_false(colo_message_decode((uint8_t[]){ 0, 0, 0, 7 }, &back));
	assert_false(colo_message_decode((uint8_t[]){ 1, 0, 0, 1 }, &back));
	assert_int_equal(back, COLO_REPLY);
	assert_string_equal(colo_message_name(7), "?");
}

static void
size_survives_the_wire(void **state)
{
	uint8_t wire[COLO_VMSTATE_SIZE_BYTES];
	uint64_t size = 0;

	colo_vmstate_size_encode(0x0102030405060708, wire);
	assert_memory_equal(wire, ((uint8_t[]){ 0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8 }), sizeof wire);
	assert_true(colo_vmstate_size_decode(wire, &size));
	assert_true(size == 0x0102030405060708);
	wire[3] = COLO_VMSTATE_SEND;
	assert_false(colo_vmstate_size_decode(wire, &size));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_survives_the_wire),
		cmocka_unit_test(other_words_are_refused),
		cmocka_unit_test(size_survives_the_wire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
