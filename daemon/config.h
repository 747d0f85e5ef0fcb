/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ftd.conf(5): text to struct. The syntax is that of desktop entry files ([group], key=value, # comment); every complaint carries its line. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define FTD_HOSTS_MAX 64

struct ftd_config {
	/* [ftd] */
	char *name;		/* this host's name, as in its certificate and in the arbiter's records; NULL: the host name */
	guint peer_port;
	char *arbiter;		/* NULL: not set, nothing can be protected */
	char *pki;
	char *libvirt_uri;
	char *run_dir, *state_dir;
	char *group;
	char *uplink;		/* interfaces, separated by commas; NULL: not watched */
	guint uplink_ms;
	char *metrics_listen;	/* "127.0.0.1:9768": loopback only; NULL: the unix socket alone */
	char *hosts;		/* the pool, separated by commas, this host too; or "etcd"; NULL: there is none */
	bool self_heal;		/* without a pool nothing comes of it */
	/* [guard] */
	char *guard_path;	/* NULL: beside the running ftd, or else where it was installed */
	bool panic_follow, disk_error_follow;	/* false: fail over */
	guint watchdog_ms;	/* 0: off */
	guint heartbeat_ms, suspect_ms, max_epoch_ms, target_latency_ms, compare_timeout_ms;
	guint64 max_held_bytes, max_checkpoint_bytes, max_disk_bytes, page_cache_bytes;
	char *mode;		/* "auto", "colo", "passive" */
	bool tcg_flush_load;
	bool show_differences;
};

struct ftd_config *ftd_config_new(void);	/* the defaults */
/* `where` names the file in errors: "ftd.conf:7: peer-port: ..." (FTD_ERROR_CONFIG). */
bool ftd_config_hosts_register(const struct ftd_config *c);	/* hosts=etcd: the pool is who has registered there */
struct ftd_config *ftd_config_parse(const char *text, const char *where, GError **error);
void ftd_config_free(struct ftd_config *c);
typedef struct ftd_config ftd_config;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ftd_config, ftd_config_free)
