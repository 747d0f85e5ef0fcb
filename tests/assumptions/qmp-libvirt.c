/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assumption: libvirt passes commands, descriptors, replies and refusals through as they are, a restarted libvirtd costs nothing, and the end of the domain is seen.
 *
 * FTD_TEST_LIBVIRT_URI names a libvirtd that may be played with: the test runs a transient domain without disks in it, and ends it. FTD_TEST_LIBVIRT_RESTART, if set, is
 * a shell command that restarts that libvirtd. Without the URI it is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/error.h"
#include "qmp/qmp-client-io.h"
#include "qmp/qmp-commands.h"
#include "qmp/qmp-json.h"

#include <gio/gunixsocketaddress.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UUID "6c7e1f0a-5a52-4d0c-9d0e-0f7464716d70"
#define TIMEOUT_MS 15000
#define TEST_SKIPPED 77

static const char domain_xml[] =
	"<domain type='qemu'><name>ftd-qmp-test</name><uuid>" UUID "</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
	"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
	"<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>";

struct answer {
	bool there;
	char *text;	/* the reply */
	GError *error;
};

static void
on_reply(struct json_object *reply, const GError *error, gpointer data)
{
	struct answer *a = data;

	a->there = true;
	a->text = reply ? g_strdup(json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN)) : NULL;
	a->error = error ? g_error_copy(error) : NULL;
}

static void
on_plan(struct qmp_plan *plan, const GError *error, gpointer data)
{
	on_reply(NULL, error, data);
}

static void
on_closed(const GError *error, gpointer data)
{
	on_reply(NULL, error, data);
}

static void
wait_for(struct answer *a)
{
	while (!a->there)
		g_main_context_iteration(NULL, TRUE);
}

static void
clear(struct answer *a)
{
	g_free(a->text);
	g_clear_error(&a->error);
	*a = (struct answer){ 0 };
}

static struct answer
ask(struct qmp_client *c, struct json_object *command)
{
	struct answer a = { 0 };

	qmp_client_execute(c, command, -1, 0, TIMEOUT_MS, on_reply, &a);
	assert_false(a.there);
	wait_for(&a);
	return a;
}

static void
assert_running(struct qmp_client *c)
{
	struct answer a = ask(c, qmp_query("query-status"));

	if (a.error)
		fail_msg("%s", a.error->message);
	assert_non_null(strstr(a.text, "\"running\":true"));
	clear(&a);
}

static void
refusal(struct qmp_client *c)
{
	struct answer a = ask(c, qmp_object_del("nosuch"));

	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_QMP));
	assert_non_null(strstr(a.error->message, "not found"));
	clear(&a);
}

static void
descriptors(struct qmp_client *c)
{
	struct qmp_plan *p = qmp_plan_new("chardev");
	struct answer a = { 0 };
	int fds[2];
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	qmp_plan_add(p, qmp_getfd("ftd-test"), NULL, fds[1], QMP_STEP_MUST);
	qmp_plan_add(p, qmp_chardev_add_fd("ftd-test", "ftd-test"), NULL, -1, QMP_STEP_MUST);
	qmp_plan_add(p, qmp_chardev_remove("ftd-test"), NULL, -1, QMP_STEP_MUST);
	qmp_client_run(c, p, TIMEOUT_MS, on_plan, &a);
	wait_for(&a);
	if (a.error)
		fail_msg("%s", a.error->message);
	assert_int_equal(read(fds[0], &byte, 1), 0);	/* nobody holds the other end: not QEMU, not libvirtd, not we */
	close(fds[0]);
}

static void
restart_libvirtd(struct qmp_client *c)
{
	const char *command = g_getenv("FTD_TEST_LIBVIRT_RESTART");

	if (!command) {
		print_message("FTD_TEST_LIBVIRT_RESTART is not set: no restart\n");
		return;
	}
	assert_int_equal(system(command), 0);
	assert_running(c);
}

static void
through_libvirt(void **state)
{
	const char *uri = g_getenv("FTD_TEST_LIBVIRT_URI");
	virConnectPtr conn = virConnectOpen(uri);
	virDomainPtr domain = conn ? virDomainCreateXML(conn, domain_xml, 0) : NULL;
	struct answer closed = { 0 }, a;
	struct qmp_client *c;

	assert_non_null(domain);
	c = qmp_client_new_libvirt(uri, UUID, on_closed, &closed);
	assert_running(c);
	refusal(c);
	descriptors(c);
	virDomainFree(domain);
	virConnectClose(conn);
	restart_libvirtd(c);
	conn = virConnectOpen(uri);
	domain = virDomainLookupByUUIDString(conn, UUID);
	assert_int_equal(virDomainDestroy(domain), 0);
	virDomainFree(domain);
	virConnectClose(conn);
	assert_false(closed.there);
	a = ask(c, qmp_query("query-status"));
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_NOT_RUNNING));
	clear(&a);
	wait_for(&closed);
	assert_true(g_error_matches(closed.error, FTD_ERROR, FTD_ERROR_NOT_RUNNING));
	clear(&closed);
	qmp_client_free(c);
}

/* The owner goes on while libvirt does not answer at all, and may leave. */
static void
deaf_libvirtd(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("ftd-deaf-XXXXXX", NULL), *path = g_build_filename(dir, "sock", NULL);
	g_autofree char *uri = g_strdup_printf("qemu+unix:///system?socket=%s", path);
	g_autoptr(GSocket) listener = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, 0, NULL);
	g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
	struct answer closed = { 0 }, a = { 0 };
	struct qmp_client *c;

	assert_true(g_socket_bind(listener, address, TRUE, NULL) && g_socket_listen(listener, NULL));
	c = qmp_client_new_libvirt(uri, UUID, on_closed, &closed);
	qmp_client_execute(c, qmp_query("query-status"), -1, 0, 100, on_reply, &a);
	wait_for(&a);
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_TIMEOUT));
	clear(&a);
	qmp_client_free(c);
	assert_false(closed.there);
	unlink(path);
	rmdir(dir);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(through_libvirt), cmocka_unit_test(deaf_libvirtd) };

	if (!g_getenv("FTD_TEST_LIBVIRT_URI")) {
		g_print("skipped: FTD_TEST_LIBVIRT_URI is not set to a libvirtd that may be played with\n");
		return TEST_SKIPPED;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
