/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/settings-change-io.h"

#include "daemon/guard-interface.h"
#include "daemon/json-util.h"
#include "daemon/pair-settings-io.h"
#include "daemon/pair-verbs-io.h"
#include "daemon/varlink-io.h"

#define SET_TIMEOUT_MS 1000

static GMutex settings_lock;	/* from the look at what is set to the end of the change */

static bool
set_at_guard(struct host *h, const struct pair_record *r, const struct pair_settings *change, const struct pair_settings *all, GError **error)
{
	g_autoptr(json_object_ptr) parameters = json_object_new_object(), reply = NULL;
	g_autofree char *socket = host_pair_file(h, r->uuid, "guard.sock");

	if (change->mode)
		json_put_str(parameters, "mode", all->mode ? all->mode : h->config->mode);
	json_put_str(parameters, "bypass", all->bypass ? all->bypass : "");
	json_put_str(parameters, "never_compare", all->never_compare ? all->never_compare : "");
	reply = varlink_call_sync(socket, GUARD_INTERFACE ".Set", parameters, false, NULL, NULL, SET_TIMEOUT_MS, error);
	return reply != NULL;
}

static bool
keep_at_peer(struct host *h, const struct pair_record *r, const struct pair_settings *all, GError **error)
{
	g_autoptr(json_object_ptr) reply = pair_verb_call(h, r, "KeepSettings", pair_settings_write(all, json_object_new_object()), error);

	if (!reply)
		g_prefix_error(error, "it holds on %s, but after a failover it would not; say it again when this is mended: ", h->name);
	return reply != NULL;
}

static void
tell_settings(struct host *h, const struct pair_record *r, const struct pair_settings *s)
{
	host_event(h, r->domain, "operator", "settings of %s: mode %s, bypass %s, never-compare %s", r->domain, s->mode ? s->mode : h->config->mode, s->bypass ? s->bypass : "nothing",
		   s->never_compare ? s->never_compare : "nothing");
}

/* What the next pair would not know this one does not do either. */
bool
settings_store_or_undo(struct host *h, const struct pair_record *r, virDomain *dom, const struct pair_settings *change, const struct pair_settings *before,
		       const struct pair_settings *all, GError **error)
{
	if (pair_settings_store(dom, all, error))
		return true;
	if (set_at_guard(h, r, change, before, NULL))
		g_prefix_error(error, "nothing is changed: ");
	else
		g_prefix_error(error, "it holds for the running pair, but not for the next; say it again: ");
	return false;
}

static bool
change_locked(struct host *h, const struct pair_record *r, const struct pair_settings *change, GError **error)
{
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, error);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, r->uuid, error) : NULL;
	g_auto(pair_settings) before = { 0 }, all = { 0 };

	if (!dom || !pair_settings_load(dom, &before, error) || !pair_settings_load(dom, &all, error) || !pair_settings_change(&all, change, error) ||
	    !set_at_guard(h, r, change, &all, error) || !settings_store_or_undo(h, r, dom, change, &before, &all, error))
		return false;
	tell_settings(h, r, &all);
	return keep_at_peer(h, r, &all, error);
}

struct json_object *
settings_change(struct host *h, const struct pair_record *r, const struct pair_settings *change, GError **error)
{
	bool ok;

	g_mutex_lock(&settings_lock);
	ok = change_locked(h, r, change, error);
	g_mutex_unlock(&settings_lock);
	return ok ? json_object_new_object() : NULL;
}
