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
	assert_null(qmp_tlb_flush_next(&f, "", NULL));
}

#define LATCH "portl[0x0cf8] = 0x80001898\r\n"

static void
test_i440fx(void **state)
{
	assert_lines((const char *[]){ LATCH, "", "portl[0x0cfc] = 0x12378086\r\n", "", "portl[0x0cfc] = 0x11111000\r\n", "", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80000058; i /w 0xcfc; o /w 0xcfc 0x11111000; o /w 0xcf8 0x80001898; ", "");
}

static void
test_q35(void **state)
{
	assert_lines((const char *[]){ LATCH, "", "portl[0x0cfc] = 0x29c08086\r\n", "", "portl[0x0cfc] = 0x00111130\r\n", "", "" },
		"i /w 0xcf8; o /w 0xcf8 0x80000000; i /w 0xcfc; o /w 0xcf8 0x80000090; i /w 0xcfc; o /w 0xcfc 0x00111130; o /w 0xcf8 0x80001898; ", "");
}

#define SELECTED "i /w 0xcf8; o /w 0xcf8 0x80000000; "
#define PUT_BACK "o /w 0xcf8 0x80001898; "
#define LACKS "under TCG a copy would lack pages (see ftd-architecture(7)): "

/* What the guest had set is put back whatever happens. */
static void
test_what_cannot_be_done(void **state)
{
	static const char id[] = "portl[0x0cfc] = 0x12378086\r\n", pam[] = "portl[0x0cfc] = 0x11111000\r\n";

	assert_lines((const char *[]){ LATCH, "", "portl[0x0cfc] = 0xffffffff\r\n", "" }, SELECTED "i /w 0xcfc; " PUT_BACK,
		LACKS "the machine has no host bridge whose PAM registers are known");
	assert_lines((const char *[]){ LATCH, "", "?", "" }, SELECTED "i /w 0xcfc; " PUT_BACK, LACKS "the machine has no host bridge whose PAM registers are known");
	assert_lines((const char *[]){ LATCH, "", id, "", "", "" }, SELECTED "i /w 0xcfc; o /w 0xcf8 0x80000058; i /w 0xcfc; " PUT_BACK,
		LACKS "QEMU's monitor does not read the host bridge's PAM registers");
	assert_lines((const char *[]){ LATCH, "no", "" }, SELECTED PUT_BACK, LACKS "QEMU's monitor does not write to I/O ports");
	assert_lines((const char *[]){ LATCH, "", id, "", pam, "no", "" }, SELECTED "i /w 0xcfc; o /w 0xcf8 0x80000058; i /w 0xcfc; o /w 0xcfc 0x11111000; " PUT_BACK,
		LACKS "QEMU's monitor does not write to the host bridge's PAM registers");
}

/* Another architecture has no such line, or no ports. */
static void
test_no_ports(void **state)
{
	static const char *const replies[] = { "unknown command: 'i'\r\n", "portl[0x0cf8] = 0x\r\n", "portl[0x0cf8] = 0x100000000\r\n", "" };

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++)
		assert_lines(&replies[i], "i /w 0xcf8; ", LACKS "QEMU's monitor does not read I/O ports");
}

/* The monitor does not answer. */
static void
test_put_back(void **state)
{
	static const char *const replies[] = { NULL, LATCH, "", "portl[0x0cfc] = 0x12378086\r\n", "", "portl[0x0cfc] = 0x11111000\r\n", "" };

	for (size_t n = 1; n <= G_N_ELEMENTS(replies); n++) {
		struct qmp_tlb_flush f = { 0 };
		const char *line;
		for (size_t i = 0; i < n; i++)
			assert_non_null(qmp_tlb_flush_next(&f, replies[i], NULL));
		line = qmp_tlb_flush_put_back(&f);
		if (n == 1)
			assert_null(line);	/* nothing was written */
		else
			assert_string_equal(line, "o /w 0xcf8 0x80001898");
		assert_null(qmp_tlb_flush_next(&f, "", NULL));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i440fx),
		cmocka_unit_test(test_q35),
		cmocka_unit_test(test_what_cannot_be_done),
		cmocka_unit_test(test_no_ports),
		cmocka_unit_test(test_put_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
