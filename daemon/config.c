/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/config.h"

#include "daemon/base/error.h"
#include "policy/etcd-protocol.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>

enum key_type { KEY_NAME, KEY_TEXT, KEY_ARBITER, KEY_PATH, KEY_UINT, KEY_MIB, KEY_TCG_FLUSH, KEY_FOLLOW, KEY_INTERFACES, KEY_MODE, KEY_SHOW, KEY_LOOPBACK, KEY_HOSTS, KEY_YES };

struct key {
	const char *group, *name;
	enum key_type type;
	size_t offset;
	guint64 min, max;
};

#define AT(field) offsetof(struct ftd_config, field)
static const struct key keys[] = {
	{ "ftd", "name", KEY_NAME, AT(name) },
	{ "ftd", "peer-port", KEY_UINT, AT(peer_port), 1, 65535 },
	{ "ftd", "arbiter", KEY_ARBITER, AT(arbiter) },
	{ "ftd", "pki", KEY_PATH, AT(pki) },
	{ "ftd", "libvirt-uri", KEY_TEXT, AT(libvirt_uri) },
	{ "ftd", "run-dir", KEY_PATH, AT(run_dir) },
	{ "ftd", "state-dir", KEY_PATH, AT(state_dir) },
	{ "ftd", "group", KEY_TEXT, AT(group) },
	{ "ftd", "uplink", KEY_INTERFACES, AT(uplink) },
	{ "ftd", "uplink-ms", KEY_UINT, AT(uplink_ms), 0, 60000 },
	{ "ftd", "metrics-listen", KEY_LOOPBACK, AT(metrics_listen) },
	{ "ftd", "hosts", KEY_HOSTS, AT(hosts) },
	{ "ftd", "self-heal", KEY_YES, AT(self_heal) },
	{ "guard", "guard-path", KEY_PATH, AT(guard_path) },
	{ "guard", "watchdog-ms", KEY_UINT, AT(watchdog_ms), 0, 600000 },
	{ "guard", "on-panic", KEY_FOLLOW, AT(panic_follow) },
	{ "guard", "on-disk-error", KEY_FOLLOW, AT(disk_error_follow) },
	{ "guard", "heartbeat-ms", KEY_UINT, AT(heartbeat_ms), 5, 1000 },
	{ "guard", "suspect-ms", KEY_UINT, AT(suspect_ms), 20, 60000 },
	{ "guard", "max-epoch-ms", KEY_UINT, AT(max_epoch_ms), 5, 60000 },
	{ "guard", "target-latency-ms", KEY_UINT, AT(target_latency_ms), 1, 10000 },
	{ "guard", "compare-timeout-ms", KEY_UINT, AT(compare_timeout_ms), 1, 10000 },
	{ "guard", "held-buffer-mib", KEY_MIB, AT(max_held_bytes), 1, 4096 },
	{ "guard", "checkpoint-buffer-mib", KEY_MIB, AT(max_checkpoint_bytes), 16, 1048576 },
	{ "guard", "disk-buffer-mib", KEY_MIB, AT(max_disk_bytes), 33, 65536 },
	{ "guard", "page-cache-mib", KEY_MIB, AT(page_cache_bytes), 0, 65536 },
	{ "guard", "mode", KEY_MODE, AT(mode) },
	{ "guard", "show-differences", KEY_SHOW, AT(show_differences) },
	{ "guard", "tcg-flush", KEY_TCG_FLUSH, AT(tcg_flush_load) },
};

struct ftd_config *
ftd_config_new(void)
{
	struct ftd_config *c = g_new0(struct ftd_config, 1);

	c->peer_port = 7768;
	c->pki = g_strdup("/etc/pki");
	c->libvirt_uri = g_strdup("qemu:///system");
	c->run_dir = g_strdup("/run/ftd");
	c->state_dir = g_strdup("/var/lib/ftd");
	c->group = g_strdup("ftd");
	c->uplink_ms = 200;
	c->self_heal = true;
	c->mode = g_strdup("colo");
	c->watchdog_ms = 3000;
	c->heartbeat_ms = 20;
	c->suspect_ms = 150;
	c->max_epoch_ms = 10000;
	c->target_latency_ms = 20;
	c->compare_timeout_ms = 20;
	c->max_held_bytes = 16u << 20;
	c->max_checkpoint_bytes = 512u << 20;
	c->max_disk_bytes = 64u << 20;
	c->page_cache_bytes = 32u << 20;
	return c;
}

void
ftd_config_free(struct ftd_config *c)
{
	if (!c)
		return;
	g_free(c->name);
	g_free(c->arbiter);
	g_free(c->pki);
	g_free(c->libvirt_uri);
	g_free(c->run_dir);
	g_free(c->state_dir);
	g_free(c->group);
	g_free(c->uplink);
	g_free(c->metrics_listen);
	g_free(c->hosts);
	g_free(c->guard_path);
	g_free(c->mode);
	g_free(c);
}

static bool
arbiter_is_valid(const char *value, GError **error)
{
	g_auto(etcd_spec) spec = { 0 };

	if (g_str_has_prefix(value, "etcd:"))
		return etcd_spec_parse(value + strlen("etcd:"), &spec, error);
	if (g_str_has_prefix(value, "file:/") || g_str_has_prefix(value, "manual:/") || strcmp(value, "manual:") == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not an arbiter; write file:/directory that both hosts can write, etcd:https://host:2379,... or manual:", value);
	return false;
}

static bool
set_text(const struct key *k, const char *value, char **field, GError **error)
{
	if (!*value) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "the value is empty");
		return false;
	}
	if (k->type == KEY_PATH && value[0] != '/') {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not an absolute path", value);
		return false;
	}
	if (k->type == KEY_NAME && (strlen(value) > 255 || strpbrk(value, " \t/"))) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not a host name", value);
		return false;
	}
	if (k->type == KEY_ARBITER && !arbiter_is_valid(value, error))
		return false;
	g_free(*field);
	*field = g_strdup(value);
	return true;
}

/* "eth0,eth1", with or without blanks; kept without. */
static bool
set_interfaces(const char *value, char **field, GError **error)
{
	g_auto(GStrv) names = g_strsplit(value, ",", -1);

	for (guint i = 0; names[i]; i++) {
		g_strstrip(names[i]);
		if (*names[i] && strlen(names[i]) < IF_NAMESIZE && !strpbrk(names[i], " \t/"))
			continue;
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not the name of a network interface", names[i]);
		return false;
	}
	g_free(*field);
	*field = g_strjoinv(",", names);
	return true;
}

/* "a,b,c", with or without blanks; kept without. */
static bool
set_hosts(const char *value, char **field, GError **error)
{
	g_auto(GStrv) names = g_strsplit(value, ",", -1);

	if (g_strv_length(names) > FTD_HOSTS_MAX) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "more than %d hosts", FTD_HOSTS_MAX);
		return false;
	}
	for (guint i = 0; names[i]; i++) {
		g_strstrip(names[i]);
		if (!*names[i] || strlen(names[i]) > 255 || strpbrk(names[i], " \t/")) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not a host name", names[i]);
			return false;
		}
		for (guint k = 0; k < i; k++) {
			if (strcmp(names[i], names[k]) == 0) {
				g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s is named twice", names[i]);
				return false;
			}
		}
	}
	g_free(*field);
	*field = g_strjoinv(",", names);
	return true;
}

/* "127.0.0.1:9768", "[::1]:9768". What is told there is for everybody on this host, so it must not be told to others. */
static bool
set_loopback(const char *value, char **field, GError **error)
{
	const char *colon = strrchr(value, ':');
	g_autofree char *host = colon ? g_strndup(value, (gsize)(colon - value)) : NULL;
	struct in_addr v4;
	guint64 port;
	bool local = host && (strcmp(host, "[::1]") == 0 || (inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127));

	if (!local || !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not a loopback address and a port, such as 127.0.0.1:9768 or [::1]:9768", value);
		return false;
	}
	g_free(*field);
	*field = g_strdup(value);
	return true;
}

static bool
set_number(const struct key *k, const char *value, void *field, GError **error)
{
	g_autoptr(GError) local = NULL;
	guint64 n;

	if (!g_ascii_string_to_unsigned(value, 10, k->min, k->max, &n, &local)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
			    value, k->min, k->max);
		return false;
	}
	if (k->type == KEY_MIB)
		*(guint64 *)field = n << 20;
	else
		*(guint *)field = (guint)n;
	return true;
}

static bool
set_choice(const char *value, const char *no, const char *yes, bool *field, GError **error)
{
	if (strcmp(value, no) != 0 && strcmp(value, yes) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is neither \"%s\" nor \"%s\"", value, no, yes);
		return false;
	}
	*field = strcmp(value, yes) == 0;
	return true;
}

static bool
set_mode(const char *value, char **field, GError **error)
{
	if (strcmp(value, "auto") != 0 && strcmp(value, "colo") != 0 && strcmp(value, "passive") != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "\"%s\" is not \"auto\", \"colo\" or \"passive\"", value);
		return false;
	}
	g_free(*field);
	*field = g_strdup(value);
	return true;
}

static bool
set_value(struct ftd_config *c, const struct key *k, const char *value, GError **error)
{
	void *field = (char *)c + k->offset;

	switch (k->type) {
	case KEY_NAME:
	case KEY_TEXT:
	case KEY_ARBITER:
	case KEY_PATH:
		return set_text(k, value, field, error);
	case KEY_UINT:
	case KEY_MIB:
		return set_number(k, value, field, error);
	case KEY_TCG_FLUSH:
		return set_choice(value, "live", "load", field, error);
	case KEY_INTERFACES:
		return set_interfaces(value, field, error);
	case KEY_MODE:
		return set_mode(value, field, error);
	case KEY_FOLLOW:
		return set_choice(value, "failover", "follow", field, error);
	case KEY_LOOPBACK:
		return set_loopback(value, field, error);
	case KEY_HOSTS:
		return set_hosts(value, field, error);
	case KEY_YES:
	case KEY_SHOW:
		return set_choice(value, "no", "yes", field, error);
	default:
		g_assert_not_reached();
	}
}

static const struct key *
find_key(const char *group, const char *name)
{
	for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
		if (strcmp(keys[i].group, group) == 0 && strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool
known_group(const char *group)
{
	for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
		if (strcmp(keys[i].group, group) == 0)
			return true;
	return false;
}

/* "[group]": the new group into *group. */
static bool
parse_group(char *line, const char **group, GError **error)
{
	size_t length = strlen(line);

	if (line[length - 1] != ']') {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "the group has no closing bracket");
		return false;
	}
	line[length - 1] = '\0';
	if (!known_group(line + 1)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "[%s] is not a group of ftd.conf(5)", line + 1);
		return false;
	}
	*group = line + 1;
	return true;
}

static bool
parse_line(struct ftd_config *c, char *line, const char **group, bool seen[], GError **error)
{
	const struct key *k;
	char *value;

	if (!*line || *line == '#')
		return true;
	if (*line == '[')
		return parse_group(line, group, error);
	value = strchr(line, '=');
	if (!value || !*group) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, value ? "this key is in no group" : "this is not \"key = value\", a [group] or a # comment");
		return false;
	}
	*value++ = '\0';
	g_strchomp(line);
	k = find_key(*group, line);
	if (!k || seen[k - keys]) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, k ? "%s: set twice" : "%s: not a key of group [%s], see ftd.conf(5)", line, *group);
		return false;
	}
	seen[k - keys] = true;
	if (!set_value(c, k, g_strstrip(value), error)) {
		g_prefix_error(error, "%s: ", line);
		return false;
	}
	return true;
}

bool
ftd_config_hosts_register(const struct ftd_config *c)
{
	return g_strcmp0(c->hosts, "etcd") == 0;
}

/* A peer may be suspected only after some of its heartbeats are missing, or every scheduling hiccup is a failover. */
static bool
check_together(const struct ftd_config *c, const char *where, GError **error)
{
	if (c->suspect_ms < 4 * c->heartbeat_ms)
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s: suspect-ms (%u) must be at least four times heartbeat-ms (%u)", where, c->suspect_ms, c->heartbeat_ms);
	else if (ftd_config_hosts_register(c) && !(c->arbiter && g_str_has_prefix(c->arbiter, "etcd:")))
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s: hosts=etcd takes an arbiter=etcd:..., where they register", where);
	else
		return true;
	return false;
}

/* What an operator decides is kept below the state directory; from here on the spec says where. */
static void
complete_arbiter(struct ftd_config *c)
{
	if (g_strcmp0(c->arbiter, "manual:") != 0)
		return;
	g_free(c->arbiter);
	c->arbiter = g_strdup_printf("manual:%s/manual", c->state_dir);
}

struct ftd_config *
ftd_config_parse(const char *text, const char *where, GError **error)
{
	g_autoptr(ftd_config) c = NULL;
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	bool seen[G_N_ELEMENTS(keys)] = { false };
	const char *group = NULL;

	c = ftd_config_new();
	for (guint i = 0; lines[i]; i++) {
		if (!parse_line(c, g_strstrip(lines[i]), &group, seen, error)) {
			g_prefix_error(error, "%s:%u: ", where, i + 1);
			return NULL;
		}
	}
	if (!check_together(c, where, error))
		return NULL;
	complete_arbiter(c);
	return g_steal_pointer(&c);
}
