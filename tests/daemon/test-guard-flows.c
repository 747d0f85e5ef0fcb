/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "daemon/guard-internal.h"
#include "tests/proxy/frame-builder.h"

static const struct guard_env env;

static struct guard *
guard_of(struct guard_config *config, enum failover_role role, bool show)
{
	config->role = role;
	config->token = g_strnfill(64, '0');
	config->show_differences = show;
	return guard_new(config, 1, &env, NULL);
}

static void
both(struct guard *g, GBytes *pvm, GBytes *svm)
{
	comparator_primary_frame(g->p.comparator, 0, 1, pvm);
	comparator_secondary_frame(g->p.comparator, 0, 1, 1, 1, svm);
	g_bytes_unref(pvm);
	g_bytes_unref(svm);
}

static void
expect(struct json_object *flow, const char *text)
{
	assert_string_equal(json_object_to_json_string_ext(flow, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), text);
}

static void
test_members(void **state)
{
	g_autoptr(guard_config) config = guard_config_new();
	struct guard *g = guard_of(config, FAILOVER_PRIMARY, true);

	comparator_protect(g->p.comparator, 0, 1);
	both(g, TCP(.seq = 1, .text = "a long line of text", .ip = { .v6 = true, .tags = "\x88\xa8\0\2\x81\0\0\7", .tags_length = 8 }),
	     TCP(.seq = 1, .text = "a long line of text", .ip = { .v6 = true, .tags = "\x88\xa8\0\2\x81\0\0\7", .tags_length = 8 }));
	both(g, udp_frame(53, "hello"), udp_frame(53, "heLlo"));
	both(g, ether_frame(0x0806, "arp"), ether_frame(0x0806, "arp"));
	comparator_boundary(g->p.comparator, 0, 1);
	comparator_committed(g->p.comparator, 0, 1);

	struct json_object *flows = guard_flows(g);
	assert_int_equal(json_object_array_length(flows), 3);
	expect(json_object_array_get_idx(flows, 0),
	       "{\"protocol\":\"tcp\",\"source\":\"[fd00::10]:80\",\"destination\":\"[fd00::1]:4000\",\"nic\":1,\"vlans\":[2,7],\"treatment\":\"compare\","
	       "\"same\":1,\"committed\":0,\"bypassed\":0,\"same_bytes\":121,\"committed_bytes\":0,\"bypassed_bytes\":0,\"held\":0,\"differences\":0}");
	expect(json_object_array_get_idx(flows, 1),
	       "{\"protocol\":\"udp\",\"source\":\"10.99.0.16:53\",\"destination\":\"10.99.0.1:5000\",\"nic\":1,\"vlans\":[],\"treatment\":\"compare\","
	       "\"same\":0,\"committed\":1,\"bypassed\":0,\"same_bytes\":0,\"committed_bytes\":67,\"bypassed_bytes\":0,\"held\":0,\"differences\":1,"
	       "\"first_difference\":{\"reason\":\"content\",\"byte\":2,\"primary\":\"6c6c6f\",\"standby\":\"4c6c6f\"}}");
	expect(json_object_array_get_idx(flows, 2),
	       "{\"protocol\":\"other\",\"ethertype\":\"0806\",\"source\":\"52:54:00:00:00:02\",\"destination\":\"ff:ff:ff:ff:ff:ff\",\"nic\":1,\"vlans\":[],"
	       "\"treatment\":\"compare\",\"same\":1,\"committed\":0,\"bypassed\":0,\"same_bytes\":37,\"committed_bytes\":0,\"bypassed_bytes\":0,\"held\":0,"
	       "\"differences\":0}");
	json_object_put(flows);
	guard_free(g);
}

/* The guest's bytes are shown when the administrator has said so, and not otherwise. */
static void
test_privacy(void **state)
{
	g_autoptr(guard_config) config = guard_config_new();
	struct guard *g = guard_of(config, FAILOVER_PRIMARY, false);

	comparator_protect(g->p.comparator, 0, 1);
	both(g, udp_frame(53, "hello"), udp_frame(53, "heLlo"));
	struct json_object *flows = guard_flows(g);
	expect(json_object_object_get(json_object_array_get_idx(flows, 0), "first_difference"), "{\"reason\":\"content\",\"byte\":2}");
	json_object_put(flows);
	guard_free(g);
}

static void
test_standby(void **state)
{
	g_autoptr(guard_config) config = guard_config_new();
	struct guard *g = guard_of(config, FAILOVER_STANDBY, false);
	struct json_object *flows = guard_flows(g);

	assert_int_equal(json_object_array_length(flows), 0);
	json_object_put(flows);
	guard_free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_members), cmocka_unit_test(test_privacy), cmocka_unit_test(test_standby) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
