/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/check-report.h"
#include "daemon/ftctl-format.h"
#include "daemon/json-util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_reasons_are_told_apart(void **state)
{
	for (enum check_reason i = 0; i < CHECK_REASON_LAST; i++) {
		assert_non_null(check_reason_name(i));
		assert_true(strlen(check_reason_text(i)) > 4);
		for (enum check_reason j = 0; j < i; j++)
			assert_string_not_equal(check_reason_name(i), check_reason_name(j));
		if (check_reason_could_be_supported(i))
			assert_int_equal(check_reason_state(i), CHECK_REFUSED);
	}
	assert_string_equal(check_reason_name(CHECK_REASON_LAST), "?");
	assert_string_equal(check_requirement_name(CHECK_REQUIREMENT_LAST), "?");
	assert_string_equal(check_state_name(CHECK_STATE_LAST), "?");
}

static void
test_order(void **state)
{
	g_autoptr(check_report) r = check_report_new();
	g_autoptr(json_object_ptr) rows = NULL;

	check_object(r, CHECK_DISK_CHAIN, "m1", "one");
	check_object(r, CHECK_NIC_VHOST, "m2", "two");
	check_object(r, CHECK_DISK_IOTHREAD, "m3", "three");
	check_fine(r, CHECK_DISKS, "never said");
	check_fine(r, CHECK_QEMU, "four");
	check_close(r, "why");
	rows = check_report_to_json(r);
	assert_int_equal(json_length(rows), CHECK_REQUIREMENT_LAST + 1);
	for (guint i = 0, disks = 0; i < check_report_length(r); i++) {
		const struct check_row *row = check_report_row(r, i);

		assert_true(row->requirement == i - disks);
		if (row->requirement == CHECK_DISKS)
			assert_string_equal(row->found, disks++ ? "three" : "one");
		disks -= row->requirement == CHECK_DISKS && disks == 2;
	}
	assert_string_equal(json_get_str(json_at(rows, CHECK_QEMU), "state"), "ok");
	assert_string_equal(json_get_str(json_at(rows, CHECK_CPU), "state"), "unknown");
	assert_string_equal(json_get_str(json_at(rows, CHECK_CPU), "found"), "why");
	assert_string_equal(json_get_str(json_at(rows, CHECK_INTERFACES), "reason"), "nic-vhost");
	assert_string_equal(json_get_str(json_at(rows, CHECK_INTERFACES), "error"), "NicVhost");
	assert_string_equal(json_get_str(json_at(rows, CHECK_INTERFACES), "mend"), "m2");
}

static void
test_verdict(void **state)
{
	g_autoptr(check_report) r = check_report_new();
	g_autoptr(GError) error = NULL;

	check_object(r, CHECK_DISK_IOTHREAD, "m", "a warning");
	assert_true(check_report_verdict(r, &error));
	check_object(r, CHECK_DISK_CHAIN, "commit", "a chain");
	check_object(r, CHECK_NIC_VHOST, "qemu", "vhost");
	assert_false(check_report_verdict(r, &error));
	assert_int_equal(error->code, FTD_ERROR_NIC_VHOST);
	assert_string_equal(error->message, "vhost; qemu (and 1 more: see ftctl check)");
}

/* A failed step has the reason of its requirement that has that error; else its last one, with the error's own code. */
static void
test_failed_steps(void **state)
{
	static const struct { enum check_requirement requirement; enum ftd_error_code code; enum check_reason reason; enum check_state state; } cases[] = {
		{ CHECK_PEER, FTD_ERROR_PEER_UNREACHABLE, CHECK_PEER_UNREACHABLE, CHECK_REFUSED },
		{ CHECK_PEER, FTD_ERROR_PEER_CERTIFICATE, CHECK_PEER_CERTIFICATE, CHECK_REFUSED },
		{ CHECK_PEER, FTD_ERROR_USAGE, CHECK_PEER_IS_SELF, CHECK_REFUSED },
		{ CHECK_PEER, FTD_ERROR_LIBVIRT, CHECK_PEER_FAILED, CHECK_REFUSED },
		{ CHECK_ARBITER, FTD_ERROR_ARBITER_NOT_SHARED, CHECK_ARBITER_NOT_SHARED, CHECK_REFUSED },
		{ CHECK_ARBITER, FTD_ERROR_ARBITER_DENIED, CHECK_ARBITER_DENIED, CHECK_REFUSED },
		{ CHECK_ARBITER, FTD_ERROR_ARBITER_SILENT, CHECK_ARBITER_SILENT, CHECK_REFUSED },
		{ CHECK_ARBITER, FTD_ERROR_CONFIG, CHECK_ARBITER_MISSING, CHECK_REFUSED },
		{ CHECK_ARBITER, FTD_ERROR_TIMEOUT, CHECK_ARBITER_FAILED, CHECK_REFUSED },
		{ CHECK_PORTS, FTD_ERROR_LIMIT, CHECK_PORT_CLOSED, CHECK_REFUSED },
		{ CHECK_LINK, FTD_ERROR_TIMEOUT, CHECK_LINK_NOT_MEASURED, CHECK_WARNING },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(check_report) r = check_report_new();
		const struct check_row *row;

		check_failed(r, cases[i].requirement, g_error_new_literal(FTD_ERROR, (int)cases[i].code, "text"));
		row = check_report_row(r, 0);
		assert_int_equal(row->reason, cases[i].reason);
		assert_int_equal(row->state, cases[i].state);
		assert_int_equal(row->error, cases[i].code);
		assert_string_equal(row->found, "text");
	}
}

/* It is no obstacle, and says why. */
static void
test_unknown(void **state)
{
	g_autoptr(check_report) r = check_report_new();
	g_autoptr(GError) error = NULL;

	check_unknown(r, CHECK_PORTS, g_error_new_literal(FTD_ERROR, FTD_ERROR_LIMIT, "too many ask"));
	check_close(r, "something else");
	assert_true(check_report_verdict(r, &error));
	for (guint i = 0; i < check_report_length(r); i++)
		if (check_report_row(r, i)->requirement == CHECK_PORTS)
			assert_string_equal(check_report_row(r, i)->found, "not looked at: too many ask");
}

static void
test_text(void **state)
{
	g_autoptr(check_report) r = check_report_new();
	g_autoptr(json_object_ptr) rows = NULL;
	g_autofree char *wide = NULL, *narrow = NULL;

	check_fine(r, CHECK_QEMU, "QEMU 11.1.3 with COLO, TCG");
	check_object(r, CHECK_NIC_VHOST, "give it <driver name='qemu'/>", "interface net0 uses vhost, its packets never pass QEMU");
	rows = check_report_to_json(r);
	wide = format_check(rows, 0);
	narrow = format_check(rows, 60);
	assert_string_equal(wide, "REQUIREMENT   STATE    FOUND\n"
				  "qemu          ok       QEMU 11.1.3 with COLO, TCG\n"
				  "interfaces    refused  nic-vhost: interface net0 uses vhost, its packets never pass QEMU; give it <driver name='qemu'/>\n");
	assert_string_equal(narrow, "REQUIREMENT   STATE    FOUND\n"
				    "qemu          ok       QEMU 11.1.3 with COLO, TCG\n"
				    "interfaces    refused  nic-vhost: interface net0 uses vhost,\n"
				    "                       its packets never pass QEMU\n"
				    "                       -> give it <driver name='qemu'/>\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasons_are_told_apart),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_failed_steps),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
