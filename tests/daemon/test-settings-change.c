/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A setting that a guard has taken and libvirt does not keep. libvirt is its own test driver; the guard, which answers in the main loop, is ours; the caller is a job, as in ftd. */
#include "daemon/guard-interface.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/pair-settings-io.h"
#include "daemon/settings-change-io.h"
#include "daemon/varlink-io.h"
#include "policy/failover.h"
#include "tests/daemon/test-pki.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UUID "6695eb01-f6a4-8304-79aa-97f2502e193f"	/* of the test driver's only domain */

static bool refuse_live;

/* libvirt's own, but for the running domain when the test says so. */
int
virDomainSetMetadata(virDomainPtr dom, int type, const char *metadata, const char *key, const char *uri, unsigned flags)
{
	static int (*real)(virDomainPtr, int, const char *, const char *, const char *, unsigned);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "virDomainSetMetadata");
	if (refuse_live && (flags & VIR_DOMAIN_AFFECT_LIVE))
		return -1;
	return real(dom, type, metadata, key, uri, flags);
}

struct fixture {
	struct ftd_config config;
	struct host host;
	struct varlink_server *guard;
	struct pair_record *record;
	virConnectPtr conn;
	virDomainPtr dom;
	GString *heard;		/* by the guard: "mode bypass;" for each change */
	bool ok, over;
	char *why;
};

static void
on_set(struct varlink_request *request, struct json_object *parameters, gpointer user_data)
{
	struct fixture *f = user_data;

	g_string_append_printf(f->heard, "%s %s;", json_get_str(parameters, "mode"), json_get_str(parameters, "bypass"));
	varlink_request_finish(request, json_object_new_object());
}

static const struct varlink_method_entry methods[] = { { "Set", on_set, false }, { NULL, NULL, false } };

static int
set_up(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_autofree char *dir = NULL, *socket = NULL;

	f->config.run_dir = g_dir_make_tmp("ftd-settings-XXXXXX", NULL);
	f->config.mode = (char *)"auto";
	f->host = (struct host){ .config = &f->config, .name = "a" };
	dir = host_pair_dir(&f->host, UUID);
	g_mkdir_with_parents(dir, 0700);
	socket = host_pair_file(&f->host, UUID, "guard.sock");
	f->guard = varlink_server_new(socket, 0600, NULL, GUARD_INTERFACE, "", methods, f, NULL);
	f->record = pair_record_new(UUID, "test", "b", FAILOVER_PRIMARY, 1);
	f->heard = g_string_new(NULL);
	*state = f;
	return f->guard ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	g_clear_pointer(&f->dom, virDomainFree);
	g_clear_pointer(&f->conn, virConnectClose);
	g_clear_pointer(&f->guard, varlink_server_free);
	pair_record_free(f->record);
	g_string_free(f->heard, TRUE);
	test_remove_tree(f->config.run_dir);
	g_free(f->config.run_dir);
	g_free(f->why);
	g_free(f);
	return 0;
}

static struct json_object *
work(struct job *job, gpointer data, GError **error)
{
	struct fixture *f = data;
	const struct pair_settings before = { .bypass = (char *)"tcp:22" }, change = { .mode = (char *)"passive", .bypass = (char *)"" }, all = { .mode = (char *)"passive" };

	f->ok = settings_store_or_undo(&f->host, f->record, f->dom, &change, &before, &all, error);
	return f->ok ? json_object_new_object() : NULL;
}

static void
done(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct fixture *f = user_data;

	f->why = error ? g_strdup(error->message) : NULL;
	f->over = true;
}

static void
store(struct fixture *f, bool writable)
{
	f->conn = writable ? virConnectOpen("test:///default") : virConnectOpenReadOnly("test:///default");
	f->dom = f->conn ? virDomainLookupByUUIDString(f->conn, UUID) : NULL;
	if (!f->dom)
		skip();		/* a libvirt without its test driver */
	job_start(work, f, NULL, NULL, done, f);
	while (!f->over)
		g_main_context_iteration(NULL, TRUE);
}

static void
test_kept(void **state)
{
	struct fixture *f = *state;

	store(f, true);
	assert_true(f->ok);
	assert_null(f->why);
	assert_string_equal(f->heard->str, "");
}

/* What was not said before is the configuration's. */
static void
test_undone(void **state)
{
	struct fixture *f = *state;

	store(f, false);
	assert_false(f->ok);
	assert_string_equal(f->heard->str, "auto tcp:22;");
	assert_true(g_str_has_prefix(f->why, "nothing is changed: "));
}

static char *
definition(virDomainPtr dom)
{
	char *xml = virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, PAIR_SETTINGS_URI, VIR_DOMAIN_AFFECT_CONFIG), *copy = g_strdup(xml);

	free(xml);
	return copy;
}

/* The definition is written first: it gets back what it had, nothing or something. */
static void
test_definition_undone(void **state)
{
	struct fixture *f = *state;
	const struct pair_settings before = { .bypass = (char *)"tcp:22" };
	g_autofree char *none = NULL, *some = NULL, *same = NULL;

	refuse_live = true;
	store(f, true);
	assert_false(f->ok);
	assert_true(g_str_has_prefix(f->why, "nothing is changed: "));
	none = definition(f->dom);
	assert_null(none);
	refuse_live = false;
	assert_true(pair_settings_store(f->dom, &before, NULL));
	some = definition(f->dom);
	assert_non_null(some);
	refuse_live = true;
	assert_false(pair_settings_store(f->dom, &(struct pair_settings){ .mode = (char *)"passive" }, NULL));
	same = definition(f->dom);
	assert_string_equal(same, some);
	refuse_live = false;
}

static void
test_not_undone(void **state)
{
	struct fixture *f = *state;

	g_clear_pointer(&f->guard, varlink_server_free);
	store(f, false);
	assert_false(f->ok);
	assert_true(g_str_has_prefix(f->why, "it holds for the running pair, but not for the next"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_undone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_definition_undone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_undone, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
