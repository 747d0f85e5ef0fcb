/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_empty_is_default(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(ftd_config) c = ftd_config_parse("", "f", &error);

	assert_null(error);
	assert_non_null(c);
	assert_null(c->name);
	assert_null(c->arbiter);
	assert_int_equal(c->peer_port, 7768);
	assert_string_equal(c->libvirt_uri, "qemu:///system");
	assert_int_equal(c->suspect_ms, 150);
	assert_int_equal(c->watchdog_ms, 3000);
	assert_null(c->uplink);
	assert_int_equal(c->uplink_ms, 200);
	assert_null(c->hosts);
	assert_true(c->self_heal);
	assert_false(c->tcg_flush_load);
}

static void
test_every_key(void **state)
{
	static const char text[] =
		"# comment\n[ftd]\n name = a \npeer-port=1234\narbiter=file:/srv/x=y\npki=/p\nlibvirt-uri=test:///default\nrun-dir=/r\nstate-dir=/s\ngroup=g\nuplink=eth0, bond1\nuplink-ms=0\nhosts=a, b,c\nself-heal=no\nmetrics-listen=[::1]:9768\n\n"
		"[guard]\nguard-path=/bin/guard\nwatchdog-ms=900\non-panic=follow\non-disk-error=failover\nheartbeat-ms=10\nsuspect-ms=100\nmax-epoch-ms=500\ntarget-latency-ms=7\ncompare-timeout-ms=30\n"
		"held-buffer-mib=8\ncheckpoint-buffer-mib=256\ndisk-buffer-mib=40\npage-cache-mib=0\ntcg-flush=load\n";
	g_autoptr(GError) error = NULL;
	g_autoptr(ftd_config) c = ftd_config_parse(text, "f", &error);

	assert_null(error);
	assert_string_equal(c->name, "a");
	assert_int_equal(c->peer_port, 1234);
	assert_string_equal(c->arbiter, "file:/srv/x=y");
	assert_string_equal(c->pki, "/p");
	assert_string_equal(c->run_dir, "/r");
	assert_string_equal(c->state_dir, "/s");
	assert_string_equal(c->group, "g");
	assert_string_equal(c->uplink, "eth0,bond1");
	assert_string_equal(c->metrics_listen, "[::1]:9768");
	assert_int_equal(c->uplink_ms, 0);
	assert_string_equal(c->hosts, "a,b,c");
	assert_false(c->self_heal);
	assert_string_equal(c->guard_path, "/bin/guard");
	assert_int_equal(c->watchdog_ms, 900);
	assert_true(c->panic_follow);
	assert_false(c->disk_error_follow);
	assert_int_equal(c->heartbeat_ms, 10);
	assert_int_equal(c->suspect_ms, 100);
	assert_int_equal(c->max_epoch_ms, 500);
	assert_int_equal(c->target_latency_ms, 7);
	assert_int_equal(c->compare_timeout_ms, 30);
	assert_int_equal(c->max_held_bytes, 8u << 20);
	assert_int_equal(c->max_checkpoint_bytes, 256u << 20);
	assert_int_equal(c->max_disk_bytes, 40u << 20);
	assert_int_equal(c->page_cache_bytes, 0);
	assert_true(c->tcg_flush_load);
}

static void
test_complaints(void **state)
{
	static const struct { const char *text, *message; } cases[] = {
		{ "[ftd]\nname=a\nnmae=b\n", "f:3: nmae: not a key of group [ftd], see ftd.conf(5)" },
		{ "[ftd]\nheartbeat-ms=20\n", "f:2: heartbeat-ms: not a key of group [ftd], see ftd.conf(5)" },
		{ "[ftd]\npeer-port=0\n", "f:2: peer-port: \"0\" is not a number from 1 to 65535" },
		{ "[ftd]\npeer-port=77x\n", "f:2: peer-port: \"77x\" is not a number from 1 to 65535" },
		{ "[ftd]\npeer-port=-1\n", "f:2: peer-port: \"-1\" is not a number from 1 to 65535" },
		{ "[ftd]\n\npki=etc\n", "f:3: pki: \"etc\" is not an absolute path" },
		{ "[ftd]\nname=\n", "f:2: name: the value is empty" },
		{ "[ftd]\nname=a b\n", "f:2: name: \"a b\" is not a host name" },
		{ "[ftd]\nname=a\nname=b\n", "f:3: name: set twice" },
		{ "[ftd]\narbiter=/srv/x\n", "f:2: arbiter: \"/srv/x\" is not an arbiter; write file:/directory that both hosts can write, etcd:https://host:2379,... or manual:" },
		{ "[ftd]\narbiter=manual:x\n", "f:2: arbiter: \"manual:x\" is not an arbiter; write file:/directory that both hosts can write, etcd:https://host:2379,... or manual:" },
		{ "[ftd]\narbiter=etcd:e1:2379\n", "f:2: arbiter: 'e1:2379' is not an etcd endpoint; write etcd:https://host:2379,https://host:2379[?prefix=/ftd]" },
		{ "[ftd]\narbiter=etcd:http://e1:2379\n", "f:2: arbiter: 'http://e1:2379' is not an https endpoint; write etcd:https://host:2379,https://host:2379[?prefix=/ftd]" },
		{ "[ftd]\narbiter=file:x\n", "f:2: arbiter: \"file:x\" is not an arbiter; write file:/directory that both hosts can write, etcd:https://host:2379,... or manual:" },
		{ "[ftd]\nuplink=eth0,\n", "f:2: uplink: \"\" is not the name of a network interface" },
		{ "[ftd]\nuplink=a-name-that-is-too-long\n", "f:2: uplink: \"a-name-that-is-too-long\" is not the name of a network interface" },
		{ "[ftd]\nuplink=../x\n", "f:2: uplink: \"../x\" is not the name of a network interface" },
		{ "[ftd]\nmetrics-listen=0.0.0.0:9768\n", "f:2: metrics-listen: \"0.0.0.0:9768\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=127.0.0.1\n", "f:2: metrics-listen: \"127.0.0.1\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=127.0.0.1:0\n", "f:2: metrics-listen: \"127.0.0.1:0\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=127.0.0.1:65536\n", "f:2: metrics-listen: \"127.0.0.1:65536\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=localhost:9768\n", "f:2: metrics-listen: \"localhost:9768\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=[::2]:1\n", "f:2: metrics-listen: \"[::2]:1\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nmetrics-listen=10.127.0.1:80\n", "f:2: metrics-listen: \"10.127.0.1:80\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768" },
		{ "[ftd]\nuplink-ms=60001\n", "f:2: uplink-ms: \"60001\" is not a number from 0 to 60000" },
		{ "[ftd]\nhosts=a,,b\n", "f:2: hosts: \"\" is not a host name" },
		{ "[ftd]\nhosts=a,b c\n", "f:2: hosts: \"b c\" is not a host name" },
		{ "[ftd]\nhosts=a, b,a\n", "f:2: hosts: a is named twice" },
		{ "[ftd]\nself-heal=maybe\n", "f:2: self-heal: \"maybe\" is neither \"no\" nor \"yes\"" },
		{ "[daemon]\n", "f:1: [daemon] is not a group of ftd.conf(5)" },
		{ "[ftd\n", "f:1: the group has no closing bracket" },
		{ "name=a\n", "f:1: this key is in no group" },
		{ "[ftd]\nname\n", "f:2: this is not \"key = value\", a [group] or a # comment" },
		{ "[guard]\non-panic=cry\n", "f:2: on-panic: \"cry\" is neither \"failover\" nor \"follow\"" },
		{ "[guard]\ntcg-flush=never\n", "f:2: tcg-flush: \"never\" is neither \"live\" nor \"load\"" },
		{ "[ftd]\nhosts=etcd\narbiter=file:/srv/x\n", "f: hosts=etcd takes an arbiter=etcd:..., where they register" },
		{ "[ftd]\nhosts=etcd\n", "f: hosts=etcd takes an arbiter=etcd:..., where they register" },
		{ "[guard]\nheartbeat-ms=100\n", "f: suspect-ms (150) must be at least four times heartbeat-ms (100)" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		assert_null(ftd_config_parse(cases[i].text, "f", &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_CONFIG));
		assert_string_equal(error->message, cases[i].message);
	}
}

/* An operator's word is kept below the state directory, wherever in the file that is set. */
static void
test_manual(void **state)
{
	g_autoptr(ftd_config) c = ftd_config_parse("[ftd]\narbiter=manual:\nstate-dir=/s\n", "f", NULL);
	g_autoptr(ftd_config) d = ftd_config_parse("[ftd]\narbiter=manual:\n", "f", NULL);

	assert_string_equal(c->arbiter, "manual:/s/manual");
	assert_string_equal(d->arbiter, "manual:/var/lib/ftd/manual");
}

static void
test_hosts(void **state)
{
	g_autoptr(ftd_config) asked = ftd_config_parse("[ftd]\nhosts=etcd\narbiter=etcd:https://e1\n", "f", NULL);
	g_autoptr(ftd_config) named = ftd_config_parse("[ftd]\nhosts=etcd,b\narbiter=file:/srv/x\n", "f", NULL);

	assert_true(ftd_config_hosts_register(asked));
	assert_false(ftd_config_hosts_register(named));	/* a host of that name */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_is_default),
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_manual), cmocka_unit_test(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
