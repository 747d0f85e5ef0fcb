/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-commands.h"

static void
exact_json(void **state)
{
	assert_json(qmp_command("x", NULL), "{\"execute\":\"x\"}");
	assert_json(qmp_getfd("f"), "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"f\"}}");
	assert_json(qmp_closefd("f"), "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"f\"}}");
	assert_json(qmp_chardev_add_fd("c", "f"), "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"c\",\"backend\":{\"type\":\"socket\",\"data\":"
		    "{\"addr\":{\"type\":\"fd\",\"data\":{\"str\":\"f\"}},\"server\":false}}}}");
	assert_json(qmp_chardev_remove("c"), "{\"execute\":\"chardev-remove\",\"arguments\":{\"id\":\"c\"}}");
	assert_json(qmp_object_del("o"), "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"o\"}}");
	assert_json(qmp_lost_heartbeat(), "{\"execute\":\"x-colo-lost-heartbeat\"}");
	assert_json(qmp_replication_failover(), "{\"execute\":\"xen-set-replication\",\"arguments\":{\"enable\":false,\"primary\":false,\"failover\":true}}");
	assert_json(qmp_stop(), "{\"execute\":\"stop\"}");
	assert_json(qmp_cont(), "{\"execute\":\"cont\"}");
	assert_json(qmp_quit(), "{\"execute\":\"quit\"}");
	assert_json(qmp_hmp("loadvm nosuch"), "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"loadvm nosuch\"}}");
	assert_json(qmp_query("query-status"), "{\"execute\":\"query-status\"}");
	assert_json(qmp_qom_get("/a", "p"), "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/a\",\"property\":\"p\"}}");
	assert_json(qmp_qom_set_str("/a", "p", "v"), "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/a\",\"property\":\"p\",\"value\":\"v\"}}");
	assert_json(qmp_blockdev_del("n"), "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"n\"}}");
	assert_json(qmp_job_cancel_force("j"), "{\"execute\":\"job-cancel\",\"arguments\":{\"id\":\"j\"}}");
	assert_json(qmp_job_dismiss("j"), "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"j\"}}");
	assert_json(qmp_announce_self(), "{\"execute\":\"announce-self\",\"arguments\":{\"initial\":10,\"max\":500,\"rounds\":5,\"step\":50}}");
	assert_json(qmp_set_capabilities(true, false), "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
		    "{\"capability\":\"return-path\",\"state\":false},{\"capability\":\"x-colo\",\"state\":true}]}}");
	assert_json(qmp_renew_checkpoint_timer(), "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"x-checkpoint-delay\":1}}");
	assert_json(qmp_set_migration_parameters(), "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"x-checkpoint-delay\":1,\"max-bandwidth\":10737418240,\"downtime-limit\":20}}");
	assert_json(qmp_migrate_fd("m"), "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:m\"}}");
	assert_json(qmp_migrate_incoming_fd("m"), "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:m\"}}");
}

/* What a caller puts into a string stays a string. */
static void
quoting(void **state)
{
	g_autoptr(json_object) command = qmp_object_del("a\",\"b\":\"\\c\n");
	g_autoptr(json_object) again = parse(json_object_to_json_string(command));

	assert_string_equal(json_member_string(json_member(again, "arguments", json_type_object), "id"), "a\",\"b\":\"\\c\n");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(exact_json), cmocka_unit_test(quoting) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
