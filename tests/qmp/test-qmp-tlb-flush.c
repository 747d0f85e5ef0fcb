/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-test.h"

#include "qmp/qmp-tlb-flush.h"

/* Replies, each to the line before it. */
static void
assert_lines(const char *const *replies, const char *lines, const char *failure)
{
	g_autoptr(GString) got = g_string_new(NULL);
	g_autoptr(GError) error = NULL;
	struct qmp_tlb_flush f = { 0 };
	const char *line, *reply = NULL;

	while ((line = qmp_tlb_flush_next(&f, reply, &error))) {
		g_string_append_printf(got, "%s; ", line);
		assert_null(error);
		reply = *replies++;
	}
	assert_string_equal(got->str, lines);
	assert_string_equal(error ? error->message : "", failure);
	g_clear_error(&error);
	assert_null(qmp_tlb_flush_next(&f, "", &error));
}

#define LATCH "portw[0x0cf8] = 0x80001898\r\n"

static void
test_i440fx(void **state)
{
	assert_lines((const char *[]){ LATCH, "", "portw[0x0cfc] = 0x12378086\r\n", "", "portw[0x0cfc] = 0x11111000\r\n", "", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80000058; i /w 0xcfc; o /w 0xcfc 0x11111000; o /w 0xcf8 0x80001898; ", "");
}

static void
test_q35(void **state)
{
	assert_lines((const char *[]){ LATCH, "", "portw[0x0cfc] = 0x29c08086\r\n", "", "portw[0x0cfc] = 0x00111130\r\n", "", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80000090; i /w 0xcfc; o /w 0xcfc 0x00111130; o /w 0xcf8 0x80001898; ", "");
}

/* What the guest had set is put back whatever happens. */
static void
test_unknown_bridge(void **state)
{
	static const char unknown[] = "the machine has no bridge whose PAM registers are known";

	assert_lines((const char *[]){ LATCH, "", "portw[0x0cfc] = 0xffffffff\r\n", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80001898; ", unknown);
	assert_lines((const char *[]){ LATCH, "", "?", "" }, "i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80001898; ", unknown);
	assert_lines((const char *[]){ LATCH, "", "portw[0x0cfc] = 0x12378086\r\n", "", "", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80000058; i /w 0xcfc; o /w 0xcf8 0x80001898; ", unknown);
}

/* Another architecture has no such line, or no ports. */
static void
test_no_ports(void **state)
{
	static const char *const replies[] = { "unknown command: 'i'\r\n", "portw[0x0cf8] = 0x\r\n", "portw[0x0cf8] = 0x100000000\r\n", "" };

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		g_autofree char *failure = g_strdup_printf("QEMU's monitor says \"%.*s\" of an I/O port", (int)strcspn(replies[i], "\r\n"), replies[i]);
		assert_lines(&replies[i], "i /w 0xcf8; ", failure);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i440fx),
		cmocka_unit_test(test_q35),
		cmocka_unit_test(test_unknown_bridge),
		cmocka_unit_test(test_no_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
