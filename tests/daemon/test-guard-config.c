/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/guard-config.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct guard_config *
sample(enum failover_role role)
{
	struct guard_config *c = guard_config_new();
	bool standby = role == FAILOVER_STANDBY;

	c->role = role;
	c->pair = g_strdup("6a3cf7d2-33f4-4a2a-9b0e-0c2a62d1a001");
	c->domain = g_strdup("db \"1\"");
	c->self = g_strdup("a");
	c->peer = g_strdup("b");
	c->run_dir = g_strdup("/run/ftd/pairs/x");
	c->state_file = g_strdup("/var/lib/ftd/pairs/x.json");
	c->arbiter = g_strdup("file:/srv/arbiter");
	c->pki = g_strdup("/etc/pki");
	c->libvirt_uri = g_strdup("qemu:///system");
	c->generation = 7;
	c->token = g_strnfill(64, 'a');
	c->peer_address = standby ? NULL : g_strdup("192.0.2.2");
	c->peer_port = standby ? 0 : 49152;
	c->listen_address = standby ? g_strdup("192.0.2.2") : NULL;
	c->qmp_path = standby ? g_strdup("/run/ftd/pairs/x/qmp") : NULL;
	c->tcg_flush_load = standby;
	c->return_path = !standby;
	c->bypass = standby ? NULL : g_strdup("tcp:22,udp");
	c->n_nics = 2;
	for (guint i = 0; i < 2; i++)
		c->nics[i] = (struct guard_nic){ g_strdup_printf("hostnet%u", i), i == 1 };
	c->n_disks = 1;
	c->disks[0] = (struct guard_disk){ g_strdup("/machine/peripheral/virtio-disk0"), g_strdup("virtio-disk0"), g_strdup("libvirt-1-format"), G_GUINT64_CONSTANT(1) << 40,
					   standby ? g_strdup("/a") : NULL, standby ? g_strdup("/h") : NULL, !standby };
	return c;
}

static void
test_round_trip(void **state)
{
	for (enum failover_role role = FAILOVER_PRIMARY; role <= FAILOVER_STANDBY; role++) {
		g_autoptr(guard_config) c = sample(role), back = NULL;
		g_autoptr(GError) error = NULL;
		g_autofree char *text = guard_config_encode(c), *again = NULL;

		back = guard_config_decode(text, strlen(text), &error);
		assert_null(error);
		again = guard_config_encode(back);
		assert_string_equal(text, again);
		assert_int_equal(back->role, role);
		assert_string_equal(back->domain, "db \"1\"");
		assert_int_equal(back->generation, 7);
		assert_int_equal(back->n_nics, 2);
		assert_true(back->nics[1].has_rewriter && !back->nics[0].has_rewriter);
		assert_string_equal(back->disks[0].qdev, "virtio-disk0");
		assert_int_equal(back->disks[0].size, G_GUINT64_CONSTANT(1) << 40);
		assert_int_equal(back->disks[0].compare, role == FAILOVER_PRIMARY);
		assert_int_equal(back->tcg_flush_load, role == FAILOVER_STANDBY);
		assert_int_equal(back->return_path, role == FAILOVER_PRIMARY);
		assert_true(!back->qmp_path == (role == FAILOVER_PRIMARY));
		assert_int_equal(back->peer_port, role == FAILOVER_PRIMARY ? 49152 : 0);
		assert_true(!back->bypass == (role == FAILOVER_STANDBY) && !back->never_compare);
		assert_int_equal(back->max_held_bytes, 16 << 20);
		assert_int_equal(back->max_checkpoint_bytes, 512 << 20);
		assert_int_equal(back->max_disk_bytes, 64 << 20);
		assert_int_equal(back->page_cache_bytes, 32 << 20);
		assert_int_equal(back->heartbeat_ms, 20);
		assert_int_equal(back->suspect_ms, 150);
		assert_int_equal(back->max_epoch_ms, 10000);
		assert_int_equal(back->target_latency_ms, 20);
		assert_int_equal(back->compare_timeout_ms, 20);
	}
}

/* Sets `key` of the outer object (or of nics[1] / disks[0] by its prefix) to a JSON text, NULL removes it. */
static char *
changed(enum failover_role role, const char *key, const char *value)
{
	g_autoptr(guard_config) c = sample(role);
	g_autofree char *text = guard_config_encode(c);
	struct json_object *object = json_tokener_parse(text), *target = object;

	if (g_str_has_prefix(key, "nics[1]."))
		target = json_object_array_get_idx(json_object_object_get(object, "nics"), 1);
	if (g_str_has_prefix(key, "disks[0]."))
		target = json_object_array_get_idx(json_object_object_get(object, "disks"), 0);
	key = target == object ? key : strchr(key, '.') + 1;
	json_object_object_del(target, key);
	if (value)
		json_object_object_add(target, key, json_tokener_parse(value));
	char *result = g_strdup(json_object_to_json_string(object));
	json_object_put(object);
	return result;
}

static void
assert_refused(const char *text, const char *part)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(guard_config) c = guard_config_decode(text, strlen(text), &error);

	if (c)
		fail_msg("accepted, although it should say %s: %s", part, text);
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_CONFIG));
	if (!strstr(error->message, part))
		fail_msg("\"%s\" does not say %s", error->message, part);
}

static void
test_every_key_is_needed(void **state)
{
	static const char *const keys[] = {
		"role", "pair", "domain", "self", "peer", "run_dir", "state_file", "arbiter", "pki", "libvirt_uri", "generation", "token", "qmp_path", "return_path", "tcg_flush_load",
		"heartbeat_ms", "suspect_ms", "max_epoch_ms", "target_latency_ms", "compare_timeout_ms", "max_held_bytes", "max_checkpoint_bytes", "max_disk_bytes", "page_cache_bytes", "nics", "disks",
		"nics[1].netdev", "nics[1].has_rewriter", "disks[0].device", "disks[0].qdev", "disks[0].node", "disks[0].size", "disks[0].active", "disks[0].hidden",
	};

	for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
		g_autofree char *text = changed(FAILOVER_STANDBY, keys[i], NULL), *quoted = g_strdup_printf("\"%s\"", keys[i]);

		assert_refused(text, quoted);
	}
	g_autofree char *no_address = changed(FAILOVER_PRIMARY, "peer_address", NULL), *no_port = changed(FAILOVER_PRIMARY, "peer_port", NULL);
	assert_refused(no_address, "\"peer_address\" is missing");
	assert_refused(no_port, "\"peer_port\" is missing");
}

static void
test_bad_values(void **state)
{
	static const struct { const char *key, *value, *text; } cases[] = {
		{ "role", "\"witness\"", "\"role\" is neither" },
		{ "role", "1", "\"role\" is neither" },
		{ "pair", "\"db1\"", "\"pair\" is not a UUID" },
		{ "token", "\"aa\"", "64 hex" },
		{ "token", "\"gaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "64 hex" },
		{ "domain", "\"\"", "\"domain\" is empty" },
		{ "domain", "\"a\\u0000b\"", "holds a NUL" },
		{ "domain", "7", "not a string" },
		{ "domain", "null", "not a string" },
		{ "tcg_flush_load", "1", "neither true nor false" },
		{ "generation", "-1", "\"generation\" is not within" },
		{ "generation", "1.5", "whole number" },
		{ "generation", "\"7\"", "whole number" },
		{ "heartbeat_ms", "0", "1 .. 10000" },
		{ "heartbeat_ms", "4294967316", "1 .. 10000" },
		{ "suspect_ms", "20", "not longer than" },
		{ "peer_port", "65536", "1 .. 65535" },
		{ "max_held_bytes", "1", "\"max_held_bytes\"" },
		{ "nics", "{}", "\"nics\" is not an array" },
		{ "nics", "[1]", "\"nics[0].\" is not an object" },
		{ "nics", "[{},{},{},{},{},{},{},{},{}]", "too many" },
		{ "disks[0].size", "0", "\"disks[0].size\"" },
		{ "nics[1].netdev", "[]", "\"nics[1].netdev\"" },
		{ "bypass", "\"tcp:22,tcp:0\"", "\"tcp:0\" is not a flow pattern" },
		{ "never_compare", "\"sctp\"", "\"sctp\" is not a flow pattern" },
		{ "bypass", "\"\"", "\"bypass\"" },
		{ "colour", "1", "\"colour\" is not known" },
		{ "disks[0].colour", "1", "\"disks[0].colour\" is not known" },
		{ "disks[0].nics", "[]", "\"disks[0].nics\" is not known" },
	};

	for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = changed(FAILOVER_STANDBY, cases[i].key, cases[i].value);

		assert_refused(text, cases[i].text);
	}
}

static void
test_not_json(void **state)
{
	g_autofree char *deep = g_strnfill(1000, '['), *good = changed(FAILOVER_STANDBY, "colour", NULL), *twice = g_strconcat(good, "{}", NULL);
	g_autofree char *cut = g_strndup(good, strlen(good) - 1), *huge = g_strnfill(GUARD_CONFIG_MAX + 1, ' ');
	const char *const texts[] = { "", "{", "[]", "7", "null", "{'a':1}", deep, twice, cut, huge };

	for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
		assert_refused(texts[i], "guard.json: ");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_key_is_needed),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_not_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
