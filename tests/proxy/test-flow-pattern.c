/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/proxy/cmocka-setup.h"

#include "daemon/base/error.h"
#include "proxy/flow-pattern.h"
#include "tests/proxy/frame-builder.h"

static struct flow_key
key_of(GBytes *frame)
{
	struct packet p;
	struct flow_key key;

	packet_parse(&p, frame);
	flow_key_make(&key, 0, &p);
	g_bytes_unref(frame);
	return key;
}

#define V6 .ip = { .v6 = true }

/* The guest is 10.99.0.16 or fd00::10, the client 10.99.0.1 or fd00::1. */
static void
test_matches(void **state)
{
	const struct { const char *pattern; struct flow_key key; bool matches; } table[] = {
		{ "tcp", key_of(TCP(.port = 80)), true },
		{ "tcp:80", key_of(TCP(.port = 80)), true },
		{ "tcp:4000", key_of(TCP(.port = 80)), true },			/* the client's end */
		{ "tcp:81", key_of(TCP(.port = 80)), false },
		{ "tcp:70-90", key_of(TCP(.port = 80)), true },
		{ "tcp:81-3999", key_of(TCP(.port = 80)), false },
		{ "udp:80", key_of(TCP(.port = 80)), false },
		{ "any", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.16", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.1", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.2", key_of(TCP(.port = 80)), false },
		{ "tcp:10.99.0.16:80", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.1:4000", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.1:80", key_of(TCP(.port = 80)), false },		/* one's address, the other's port */
		{ "tcp:10.0.0.0/8:80", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.0/29:4000", key_of(TCP(.port = 80)), true },
		{ "tcp:10.99.0.0/29:80", key_of(TCP(.port = 80)), false },
		{ "tcp:0.0.0.0/0", key_of(TCP(.port = 80)), true },
		{ "tcp:0.0.0.0/0", key_of(TCP(.port = 80, V6)), false },
		{ "tcp:[fd00::10]:80", key_of(TCP(.port = 80, V6)), true },
		{ "tcp:[fd00::]/64", key_of(TCP(.port = 80, V6)), true },
		{ "tcp:[fd00::]/124:4000", key_of(TCP(.port = 80, V6)), true },
		{ "tcp:[fd00::]/124:80", key_of(TCP(.port = 80, V6)), false },
		{ "tcp:[::]/0", key_of(TCP(.port = 80)), false },
		{ "udp:53", key_of(udp_frame(53, "x")), true },
		{ "icmp", key_of(icmp_frame(8, 1, 1, "", 0)), true },
		{ "icmp:10.99.0.1", key_of(icmp_frame(8, 1, 1, "", 0)), true },
		{ "udp", key_of(ip_frame(&(struct ip_options){ .protocol = 17, .fragment = 1 }, NULL, 0)), false },
		{ "any:10.99.0.1", key_of(ip_frame(&(struct ip_options){ .protocol = 17, .fragment = 1 }, NULL, 0)), true },
		{ "any", key_of(ether_frame(0x0806, "arp")), false },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
		struct flow_pattern p;
		g_autoptr(GError) error = NULL;
		if (!flow_pattern_parse(table[i].pattern, &p, &error))
			fail_msg("%s", error->message);
		if (flow_pattern_matches(&p, &table[i].key) != table[i].matches)
			fail_msg("%u: %s", i, table[i].pattern);
	}
}

static void
test_refused(void **state)
{
	const char *const texts[] = {
		"", ":", "tcp:", "tcp ", "TCP:22", "sctp:22", "tcp22", "22", "tcp:0", "tcp:65536", "tcp:99999999999", "tcp:22-", "tcp:22-21", "tcp:-22", "tcp:22x",
		"tcp:1.2.3", "tcp:1.2.3.4.5", "tcp:1.2.3.4/33", "tcp:1.2.3.4/8", "tcp:1.2.3.0/24/2", "tcp:1.2.3.4:", "tcp:22:1.2.3.4", "tcp:[::1", "tcp:::1", "tcp:[]",
		"tcp:[::1]:22:", "tcp:[::1]/129", "tcp:[1.2.3.4]", "tcp:[fd00::1]/64", "icmp:8", "any:22", "any:1.2.3.4:22", "tcp:ssh",
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		struct flow_pattern p = { .class = 77 };
		g_autoptr(GError) error = NULL;
		if (flow_pattern_parse(texts[i], &p, &error))
			fail_msg("taken: %s", texts[i]);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_CONFIG));
		assert_non_null(strstr(error->message, texts[i]));
		assert_int_equal(p.class, 77);
	}
}

static void
test_list(void **state)
{
	struct flow_patterns list = { 0 };
	struct flow_key ssh = key_of(TCP(.port = 22)), web = key_of(TCP(.port = 80)), dns = key_of(udp_frame(53, "x"));
	g_autoptr(GError) error = NULL;

	assert_int_equal(flow_patterns_treat(&list, &ssh), FLOW_COMPARE);
	assert_true(flow_patterns_add(&list, FLOW_NEVER_COMPARE, "tcp:22", NULL));
	assert_true(flow_patterns_add(&list, FLOW_BYPASS, "tcp", NULL));
	assert_false(flow_patterns_add(&list, FLOW_BYPASS, "udp:0", NULL));
	assert_int_equal(flow_patterns_treat(&list, &ssh), FLOW_NEVER_COMPARE);	/* the safer of two */
	assert_int_equal(flow_patterns_treat(&list, &web), FLOW_BYPASS);
	assert_int_equal(flow_patterns_treat(&list, &dns), FLOW_COMPARE);
	while (list.n < FLOW_PATTERNS_MAX)
		assert_true(flow_patterns_add(&list, FLOW_BYPASS, "icmp", NULL));
	assert_false(flow_patterns_add(&list, FLOW_BYPASS, "udp", &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_LIMIT));
	assert_int_equal(flow_patterns_treat(&list, &dns), FLOW_COMPARE);
	assert_string_equal(flow_treatment_name(FLOW_NEVER_COMPARE), "never-compare");
}

static void
test_comma_list(void **state)
{
	struct flow_patterns patterns = { 0 };
	g_autoptr(GError) error = NULL;

	assert_true(flow_patterns_add_list(&patterns, FLOW_BYPASS, "", NULL));
	assert_int_equal(patterns.n, 0);
	assert_true(flow_patterns_add_list(&patterns, FLOW_BYPASS, "tcp:22, udp:[fd00::]/8:53", NULL));
	assert_int_equal(patterns.n, 2);
	assert_int_equal(patterns.entry[1].pattern.first_port, 53);
	assert_false(flow_patterns_add_list(&patterns, FLOW_BYPASS, "icmp,udp:0", &error));
	assert_non_null(strstr(error->message, "\"udp:0\""));
	assert_int_equal(patterns.n, 2);
	assert_false(flow_patterns_add_list(&patterns, FLOW_BYPASS, "icmp,", NULL));
	g_autoptr(GString) many = g_string_new("icmp");
	for (unsigned i = 1; i < FLOW_PATTERNS_MAX - 1; i++)
		g_string_append(many, ",icmp");
	g_clear_error(&error);
	assert_false(flow_patterns_add_list(&patterns, FLOW_NEVER_COMPARE, many->str, &error));
	assert_int_equal(error->code, FTD_ERROR_LIMIT);
	assert_int_equal(patterns.n, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_matches), cmocka_unit_test(test_refused), cmocka_unit_test(test_list),
		cmocka_unit_test(test_comma_list) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
