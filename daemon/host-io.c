/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/event-kinds.h"
#include "daemon/event-ring.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"

#include <stdarg.h>
#include <string.h>

#define CERTIFICATE_WARNING_S (30 * 24 * 3600)
#define CERTIFICATE_CHECK_S (12 * 3600)

struct follower {
	event_follower call;
	gpointer user_data;
};

struct event_log {
	struct event_ring *ring;
	GArray *followers;
};

struct peer_credentials *
host_credentials(struct host *h)
{
	struct peer_credentials *c;

	g_mutex_lock(&h->lock);
	c = peer_credentials_ref(h->credentials);
	g_mutex_unlock(&h->lock);
	return c;
}

bool
host_check_name(const struct host *h, const struct peer_credentials *c, GError **error)
{
	const char *path;
	g_autofree char *certified = peer_credentials_other_name(c, h->name, &path);

	if (!certified)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "this host calls itself %s, its certificate %s is that of %s; issue a certificate for %s"
		    " (name= in ftd.conf may be changed only while no domain is protected)", h->name, path, *certified ? certified : "nobody", h->name);
	return false;
}

void
host_look_at_certificates(struct host *h)
{
	g_autoptr(peer_credentials) c = host_credentials(h);
	const char *path;
	gint64 end = peer_credentials_end(c, &path), left = end - g_get_real_time() / G_USEC_PER_SEC;
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(end);
	g_autofree char *day = date ? g_date_time_format(date, "%Y-%m-%d %H:%M") : g_strdup("?");

	if (left <= 0)
		host_event(h, NULL, "certificate", "%s has ended, on %s: no pair can be made; install a new one, then systemctl reload ftd", path, day);
	else if (left < CERTIFICATE_WARNING_S)
		host_event(h, NULL, "certificate", "%s ends on %s, and no pair can be made then; install a new one, then systemctl reload ftd", path, day);
}

bool
host_reload_credentials(struct host *h, GError **error)
{
	struct peer_credentials *fresh = peer_credentials_load(h->config->pki, error), *old;
	g_autoptr(GError) other = NULL;

	if (!fresh)
		return false;
	if (!host_check_name(h, fresh, &other))
		log_warn("ftd", "%s; no domain can be protected", other->message);
	g_mutex_lock(&h->lock);
	old = h->credentials;
	h->credentials = fresh;
	g_mutex_unlock(&h->lock);
	if (old)
		peer_credentials_unref(old);
	return true;
}

static gboolean
on_certificate_check(gpointer data)
{
	host_look_at_certificates(data);
	return G_SOURCE_CONTINUE;
}

void
host_watch_certificates(struct host *h)
{
	host_look_at_certificates(h);
	g_timeout_add_seconds(CERTIFICATE_CHECK_S, on_certificate_check, h);
}

char *
host_pair_dir(const struct host *h, const char *uuid)
{
	return g_strdup_printf("%s/pairs/%s", h->config->run_dir, uuid);
}

char *
host_pair_file(const struct host *h, const char *uuid, const char *name)
{
	return g_strdup_printf("%s/pairs/%s/%s", h->config->run_dir, uuid, name);
}

char *
host_state_file(const struct host *h, const char *uuid, const char *suffix)
{
	return g_strdup_printf("%s/pairs/%s%s", h->config->state_dir, uuid, suffix);
}

/* -- events */

struct event_log *
event_log_new(void)
{
	struct event_log *l = g_new0(struct event_log, 1);

	l->ring = event_ring_new();
	l->followers = g_array_new(FALSE, FALSE, sizeof(struct follower));
	return l;
}

void
event_log_replay(struct event_log *l, event_follower follower, gpointer user_data)
{
	for (guint i = 0; i < event_ring_length(l->ring); i++)
		if (!follower(event_ring_at(l->ring, i), user_data))
			return;
}

bool
event_log_has(const struct event_log *l, const char *domain)
{
	return event_ring_has(l->ring, domain);
}

void
event_log_follow(struct event_log *l, event_follower follower, gpointer user_data)
{
	struct follower f = { follower, user_data };

	g_array_append_val(l->followers, f);
}

void
event_log_unfollow(struct event_log *l, gpointer user_data)
{
	for (guint i = 0; i < l->followers->len; i++) {
		if (g_array_index(l->followers, struct follower, i).user_data == user_data) {
			g_array_remove_index(l->followers, i);
			return;
		}
	}
}

struct pending_event {
	struct host *host;
	char *domain, *type, *text;
	struct json_object *object;
	gint64 now_us;
};

static void
publish(gpointer data)
{
	struct pending_event *p = data;
	struct event_log *l = p->host->events;
	struct json_object *event = event_ring_add(l->ring, p->object, p->now_us, p->domain, p->type, p->text);
	const struct event_kind *kind = event_kind_of(json_get_str(event, "type"));

	log_event(kind->priority, kind->message_id, json_get_str(event, "type"), p->domain, json_get_str(event, "text"));
	for (guint i = l->followers->len; i-- > 0;) {
		struct follower f = g_array_index(l->followers, struct follower, i);

		if (!f.call(event, f.user_data))
			event_log_unfollow(l, f.user_data);
	}
	g_free(p->domain);
	g_free(p->type);
	g_free(p->text);
	g_free(p);
}

void
host_event(struct host *h, const char *domain, const char *type, const char *format, ...)
{
	struct pending_event *p = g_new0(struct pending_event, 1);
	va_list args;

	va_start(args, format);
	p->text = g_strdup_vprintf(format, args);
	va_end(args);
	p->host = h;
	p->domain = g_strdup(domain);
	p->type = g_strdup(type);
	p->now_us = g_get_real_time();
	main_invoke(publish, p);
}

void
host_event_take(struct host *h, const char *domain, struct json_object *event)
{
	struct pending_event *p = g_new0(struct pending_event, 1);

	*p = (struct pending_event){ .host = h, .domain = g_strdup(domain), .object = event, .now_us = g_get_real_time() };
	main_invoke(publish, p);
}
