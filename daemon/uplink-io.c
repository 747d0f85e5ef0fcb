/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel tells of every change of a link (rtnetlink(7), RTMGRP_LINK); what changed is not read from the message, which may be lost, but asked for. */
#include "daemon/uplink-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "policy/uplink.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_MS 5000

struct uplink_watch {
	struct host *host;
	struct uplink uplink;
	char **interfaces;
	int ask, news;		/* sockets */
	guint timer;
	bool lost_said;
	void (*lost)(gpointer user_data);
	gpointer user_data;
};

static uint64_t
now_ns(void)
{
	return (uint64_t)g_get_monotonic_time() * 1000;
}

bool
uplink_lost_here(const struct host *h)
{
	return g_atomic_int_get(&h->uplink_lost);
}

/* IFF_RUNNING: up, and with a carrier (netdevice(7)). */
static bool
any_carrier(const struct uplink_watch *w)
{
	for (char **name = w->interfaces; *name; name++) {
		struct ifreq r = { 0 };

		g_strlcpy(r.ifr_name, *name, sizeof r.ifr_name);
		if (ioctl(w->ask, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_RUNNING))
			return true;
	}
	return false;
}

static gboolean on_timer(gpointer user_data);

static void
schedule(struct uplink_watch *w)
{
	uint64_t now = now_ns(), at = uplink_deadline(&w->uplink);

	g_clear_handle_id(&w->timer, g_source_remove);
	if (at != UINT64_MAX)
		w->timer = g_timeout_add(at > now ? (guint)((at - now + 999999) / 1000000) : 0, on_timer, w);
}

static void
look(struct uplink_watch *w)
{
	uint64_t now = now_ns();
	bool lost, ask;

	uplink_carrier(&w->uplink, now, any_carrier(w));
	ask = uplink_tick(&w->uplink, now);
	lost = uplink_is_lost(&w->uplink, now);
	g_atomic_int_set(&w->host->uplink_lost, lost);
	if (lost != w->lost_said)
		log_warn("uplink", "%s: %s", w->host->config->uplink, lost ? "no carrier any more" : "a carrier again");
	w->lost_said = lost;
	if (ask)
		w->lost(w->user_data);
	schedule(w);
}

static gboolean
on_timer(gpointer user_data)
{
	struct uplink_watch *w = user_data;

	w->timer = 0;
	look(w);
	return G_SOURCE_REMOVE;
}

static gboolean
on_news(gint fd, GIOCondition condition, gpointer user_data)
{
	char buffer[16384];

	while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
	look(user_data);
	return G_SOURCE_CONTINUE;
}

static bool
open_sockets(struct uplink_watch *w, GError **error)
{
	struct sockaddr_nl links = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	w->ask = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	w->news = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (w->ask >= 0 && w->news >= 0 && bind(w->news, (struct sockaddr *)&links, sizeof links) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "cannot watch the uplink %s: %s", w->host->config->uplink, g_strerror(errno));
	return false;
}

bool
uplink_start(struct host *h, void (*lost)(gpointer user_data), gpointer user_data, GError **error)
{
	struct uplink_watch *w;

	if (!h->config->uplink)
		return true;
	w = g_new0(struct uplink_watch, 1);	/* as long as the process */
	*w = (struct uplink_watch){ .host = h, .interfaces = g_strsplit(h->config->uplink, ",", -1), .lost = lost, .user_data = user_data };
	uplink_init(&w->uplink, h->config->uplink_ms * 1000000ull, RETRY_MS * 1000000ull);
	if (!open_sockets(w, error))
		return false;
	g_unix_fd_add(w->news, G_IO_IN, on_news, w);
	look(w);
	if (!any_carrier(w))
		log_warn("uplink", "%s: no carrier; it is watched from when there is one", h->config->uplink);
	return true;
}
