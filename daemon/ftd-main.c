/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/history-io.h"
#include "daemon/host-io.h"
#include "daemon/libvirt-events-io.h"
#include "daemon/libvirt-io.h"
#include "daemon/metrics-io.h"
#include "daemon/pairs-io.h"
#include "daemon/pool-io.h"
#include "daemon/service-io.h"
#include "daemon/stale-io.h"
#include "daemon/uplink-io.h"
#include "daemon/watchdog-io.h"
#include "daemon/writeback-io.h"

#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define CONFIG_FILE "/etc/ftd/ftd.conf"
#define EXIT_UNUSABLE 78	/* sysexits(3): EX_CONFIG; ftd.service does not try again */

struct daemon {
	GMainLoop *loop;
	struct host host;
	struct service *service;
	struct metrics_server *metrics;
};

static struct ftd_config *
load_config(const char *path, GError **error)
{
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, error))
		return NULL;
	return ftd_config_parse(text, path, error);
}

/* The directories exist from here on, and only root looks into them; ftd.sock's own mode says who may talk to it. QEMU passes through pairs/ on its way to its sockets. */
static bool
make_directories(const struct ftd_config *c, GError **error)
{
	const struct { const char *parent, *name; mode_t mode; } dirs[] = {
		{ c->run_dir, "", 0755 }, { c->run_dir, "pairs", 0711 }, { c->run_dir, "ended", 0700 }, { c->state_dir, "", 0700 }, { c->state_dir, "pairs", 0700 },
		{ c->state_dir, "stale", 0700 }, { c->state_dir, "unprotected", 0700 },
	};

	for (guint i = 0; i < G_N_ELEMENTS(dirs); i++) {
		g_autofree char *path = g_build_filename(dirs[i].parent, dirs[i].name, NULL);

		if (g_mkdir_with_parents(path, 0755) < 0 || chmod(path, dirs[i].mode) < 0) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "%s: %s", path, g_strerror(errno));
			return false;
		}
	}
	return true;
}

static gboolean
on_terminate(gpointer user_data)
{
	struct daemon *d = user_data;

	log_info("ftd", "stopping; the guards go on");
	g_main_loop_quit(d->loop);
	return G_SOURCE_CONTINUE;
}

/* A main loop that does not turn any more is restarted by systemd (WatchdogSec=); the guards do not notice. */
static gboolean
on_alive(gpointer user_data)
{
	sd_notify(0, "WATCHDOG=1");
	return G_SOURCE_CONTINUE;
}

static void
tell_systemd(void)
{
	uint64_t patience_us = 0;

	sd_notify(0, "READY=1");
	if (sd_watchdog_enabled(0, &patience_us) > 0)
		g_timeout_add((guint)(patience_us / 3000) + 1, on_alive, NULL);
}

static gboolean
on_reload(gpointer user_data)
{
	struct daemon *d = user_data;
	g_autoptr(GError) error = NULL;

	if (host_reload_credentials(&d->host, &error)) {
		host_event(&d->host, NULL, "operator", "SIGHUP: certificates were read again");
		host_look_at_certificates(&d->host);
	} else {
		log_error("ftd", "%s; the old certificates stay in use", error->message);
	}
	return G_SOURCE_CONTINUE;
}

static bool
cares(const char *uuid, void *user_data)
{
	struct daemon *d = user_data;

	return pairs_is_primary(d->host.pairs, uuid);
}

static void
on_news(const char *uuid, enum domain_news news, const char *detail, void *user_data)
{
	struct daemon *d = user_data;

	pairs_domain_news(d->host.pairs, uuid, news, detail);
}

static const struct domain_watcher watcher = { .cares = cares, .news = on_news };

static void
on_uplink_lost(gpointer user_data)
{
	struct daemon *d = user_data;

	service_uplink_lost(d->service);
}

static bool
start(struct daemon *d, const struct ftd_config *config, GError **error)
{
	d->host.config = config;
	d->host.name = config->name ? config->name : g_get_host_name();
	g_mutex_init(&d->host.lock);
	if (!make_directories(config, error) || !host_reload_credentials(&d->host, error))
		return false;
	d->host.events = event_log_new();
	d->host.pairs = pairs_new(&d->host);
	libvirt_init();
	libvirt_events_start(config->libvirt_uri, &watcher, d);
	d->service = service_new(&d->host, error);
	if (!d->service)
		return false;
	host_watch_certificates(&d->host);
	d->metrics = metrics_server_new(&d->host, service_status, error);
	if (!d->metrics)
		return false;
	pool_start(&d->host);
	pairs_load(d->host.pairs);
	history_start(&d->host);
	stale_watch(&d->host);
	writeback_start(&d->host);
	watchdog_start(&d->host);
	return uplink_start(&d->host, on_uplink_lost, d, error);
}

static int
run(const struct ftd_config *config)
{
	struct daemon d = { .loop = g_main_loop_new(NULL, FALSE) };
	g_autoptr(GError) error = NULL;

	if (!start(&d, config, &error)) {
		log_error("ftd", "%s", error->message);
		return g_error_matches(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE) ? EXIT_UNUSABLE : 1;
	}
	g_unix_signal_add(SIGTERM, on_terminate, &d);
	g_unix_signal_add(SIGINT, on_terminate, &d);
	g_unix_signal_add(SIGHUP, on_reload, &d);
	tell_systemd();
	log_info("ftd", "version %s, host %s, peers on port %u, arbiter %s", FTD_VERSION, d.host.name, config->peer_port,
		 config->arbiter ? config->arbiter : "none: no domain can be protected until arbiter= is set in ftd.conf(5)");
	g_main_loop_run(d.loop);
	sd_notify(0, "STOPPING=1");
	metrics_server_free(d.metrics);
	service_free(d.service);
	_exit(0);	/* jobs may still run on their threads; what they use stays until the process is gone */
}

int
main(int argc, char **argv)
{
	g_autofree char *path = NULL;
	gboolean version = FALSE, check = FALSE;
	const GOptionEntry options[] = {
		{ "config", 0, 0, G_OPTION_ARG_FILENAME, &path, "Configuration file (default " CONFIG_FILE ")", "FILE" },
		{ "check-config", 0, 0, G_OPTION_ARG_NONE, &check, "Read the configuration, say what is wrong with it, and end", NULL },
		{ "version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL },
		{ NULL },
	};
	g_autoptr(GOptionContext) context = g_option_context_new("- fault tolerance for libvirt domains, one per host");
	g_autoptr(GError) error = NULL;
	g_autoptr(ftd_config) config = NULL;

	g_option_context_add_main_entries(context, options, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
		fprintf(stderr, "ftd: %s (see ftd --help)\n", error ? error->message : "arguments are not understood");
		return 2;
	}
	if (version) {
		printf("ftd %s\n", FTD_VERSION);
		return 0;
	}
	config = load_config(path ? path : CONFIG_FILE, &error);
	if (!config) {
		fprintf(stderr, "ftd: %s\n", error->message);
		return check ? 1 : EXIT_UNUSABLE;
	}
	if (check)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	log_init("ftd", NULL);
	return run(config);
}
