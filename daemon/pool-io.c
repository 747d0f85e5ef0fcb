/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The host where a domain runs unprotected, and should not, makes it a wish (pairs-io.c, when a pair has ended here with the domain alone). Wishes are fulfilled one
 * at a time, so that hosts are chosen by what they hold after the one before, and a host that comes back is not asked for fifty standbys at once. An attempt looks at
 * every host of the pool as `ftctl check` does, chooses (policy/placement.h) and enables. A wish ends when the domain has a pair again, whoever made it, or had one that
 * was ended on purpose, or libvirt does not know it here any more; else it is tried again, later and later, and at once when a host says that it is there. Of a domain
 * that is off (both its hosts were, say) the wish waits until it runs. Wishes are kept with what is told of the pair (pairs-io.c, unprotected_file()), over a restart of
 * the host too.
 *
 * With hosts=etcd each host registers in the arbiter's etcd, again and again, and takes those that it finds there for the pool. While etcd is silent the pool is what it
 * was: nothing that is protected depends on it.
 */
#include "daemon/pool-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/enable-io.h"
#include "daemon/host-facts-io.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "daemon/pairs-io.h"
#include "daemon/peer-client-io.h"
#include "policy/arbiter-io.h"
#include "policy/placement.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 5000
#define CALL_TIMEOUT_MS 5000
#define REGISTERED_S 3600	/* a host that is gone for longer is no host of the pool any more */
#define REGISTER_AGAIN_S 600
#define REGISTER_RETRY_S 10
#define LOOK_AGAIN_US G_USEC_PER_SEC
#define OFFER_AGAIN_US (LOOK_AGAIN_US + LOOK_AGAIN_US / 2)

struct pool {
	struct host *host;
	struct wishes *wishes;	/* main thread */
	guint timer;
	bool introduced;	/* the others were told once that this host is there */
	GMutex lock;		/* of the rest */
	char **registered;	/* names; NULL: etcd has not answered yet */
	gint64 looked_at, doubted_at;	/* etcd was asked: by ourselves, and for a name that was not known */
};

/* -- the hosts */

static void
on_progress(struct json_object *progress, gpointer job)
{
	job_report(job, progress);
}

struct json_object *
pool_follow(struct host *h, const char *peer, const char *method, struct json_object *parameters, unsigned timeout_ms, struct job *job, GError **error)
{
	struct peer_credentials *creds = host_credentials(h);
	g_autoptr(peer_client) client = peer_client_connect(peer, h->config->peer_port, creds, CONNECT_TIMEOUT_MS, error);

	peer_credentials_unref(creds);
	if (client)
		return peer_client_follow(client, method, parameters, timeout_ms, job ? on_progress : NULL, job, error);
	json_object_put(parameters);
	return NULL;
}

struct json_object *
pool_call(struct host *h, const char *peer, const char *method, struct json_object *parameters, unsigned timeout_ms, GError **error)
{
	return pool_follow(h, peer, method, parameters, timeout_ms, NULL, error);
}

static char *
draining_file(const struct host *h)
{
	return g_build_filename(h->config->state_dir, "draining", NULL);
}

bool
pool_is_draining(const struct host *h)
{
	g_autofree char *path = draining_file(h);

	return g_file_test(path, G_FILE_TEST_EXISTS);
}

bool
pool_set_draining(struct host *h, bool draining, GError **error)
{
	g_autofree char *path = draining_file(h);

	if (draining)
		return g_file_set_contents_full(path, "", 0, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600, error);
	if (g_unlink(path) == 0 || errno == ENOENT)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s cannot be removed: %s", path, g_strerror(errno));
	return false;
}

struct json_object *
pool_facts(struct host *h)
{
	g_autoptr(GPtrArray) list = pairs_list(h->pairs);
	struct json_object *o = json_put_str(json_put_str(json_object_new_object(), "name", h->name), "version", FTD_VERSION);
	guint64 copies = 0;

	for (guint i = 0; i < list->len; i++)
		copies += ((const struct pair_info *)g_ptr_array_index(list, i))->phase != PAIR_ENDED;
	json_put_u64(json_put_u64(o, "copies", copies), "memory_available_kib", host_memory_available_kib());
	return json_put_bool(json_put_bool(o, "draining", pool_is_draining(h)), "uplink_lost", g_atomic_int_get(&h->uplink_lost));
}

static struct json_object *
facts_of(struct host *h, const char *name)
{
	g_autoptr(GError) error = NULL;
	struct json_object *facts = strcmp(name, h->name) == 0 ? pool_facts(h) : pool_call(h, name, "Pool", json_object_new_object(), CALL_TIMEOUT_MS, &error);

	if (facts)
		return json_put_bool(facts, "reachable", true);
	return json_put_str(json_put_bool(json_put_str(json_object_new_object(), "name", name), "reachable", false), "why", error->message);
}

struct question {
	struct host *host;
	const char *name;
	GThread *thread;	/* NULL: none could be started */
	struct json_object *facts;
};

/* A connection to a peer turns the main context of its thread. */
static gpointer
ask_facts(gpointer data)
{
	struct question *q = data;
	GMainContext *context = g_main_context_new();

	g_main_context_push_thread_default(context);
	q->facts = facts_of(q->host, q->name);
	g_main_context_pop_thread_default(context);
	g_main_context_unref(context);
	return NULL;
}

static void
put_facts(gpointer facts)
{
	json_object_put(facts);
}

/* struct json_object *, one for each name. All are asked at once: one that is off takes its time to be found so, and a pool may have many. */
static GPtrArray *
facts_of_all(struct host *h, char **names)
{
	guint n = g_strv_length(names);
	g_autofree struct question *questions = g_new0(struct question, n);
	GPtrArray *all = g_ptr_array_new_with_free_func(put_facts);

	for (guint i = 0; i < n; i++) {
		questions[i] = (struct question){ .host = h, .name = names[i] };
		questions[i].thread = g_thread_try_new("pool", ask_facts, &questions[i], NULL);
	}
	for (guint i = 0; i < n; i++) {
		if (questions[i].thread)
			g_thread_join(questions[i].thread);
		else
			ask_facts(&questions[i]);
		g_ptr_array_add(all, questions[i].facts);
	}
	return all;
}

/* This one too, whether it could register or not. */
static char **
registered_names(struct pool *p)
{
	g_autoptr(GStrvBuilder) b = g_strv_builder_new();
	bool here = false;

	g_mutex_lock(&p->lock);
	for (char **name = p->registered; name && *name; name++) {
		here = here || strcmp(*name, p->host->name) == 0;
		g_strv_builder_add(b, *name);
	}
	g_mutex_unlock(&p->lock);
	if (!here)
		g_strv_builder_add(b, p->host->name);
	return g_strv_builder_end(b);
}

static char **
names_of(const struct host *h)
{
	if (ftd_config_hosts_register(h->config))
		return registered_names(h->pool);
	return g_strsplit(h->config->hosts ? h->config->hosts : h->name, ",", -1);
}

/* Blocks. */
static bool
ask_register(struct pool *p, bool register_us, GError **error)
{
	const struct ftd_config *c = p->host->config;
	g_autoptr(arbiter) a = arbiter_open(c->arbiter, c->pki, error);
	char **names;

	if (!a || (register_us && !arbiter_register_host(a, p->host->name, REGISTERED_S, error)))
		return false;
	names = arbiter_hosts(a, error);
	if (!names)
		return false;
	g_mutex_lock(&p->lock);
	g_strfreev(p->registered);
	p->registered = names;
	g_mutex_unlock(&p->lock);
	return true;
}

/* Blocks: who is in the pool now. `at`: when it was last asked for that, answer or not; so nobody makes it ask all the time. */
static void
look_again(struct pool *p, gint64 *at)
{
	g_autoptr(GError) error = NULL;
	gint64 now = g_get_monotonic_time(), age;

	if (!ftd_config_hosts_register(p->host->config))
		return;
	g_mutex_lock(&p->lock);
	age = now - *at;
	if (age > LOOK_AGAIN_US)
		*at = now;
	g_mutex_unlock(&p->lock);
	if (age > LOOK_AGAIN_US && !ask_register(p, false, &error))
		log_warn("pool", "who is in it is not known anew: %s", error->message);
}

static bool
is_named(const struct host *h, const char *name)
{
	g_auto(GStrv) names = names_of(h);

	return g_strv_contains((const char *const *)names, name);
}

bool
pool_has(const struct host *h, const char *name)
{
	if (is_named(h, name))
		return true;
	look_again(h->pool, &h->pool->doubted_at);
	return is_named(h, name);
}

struct json_object *
pool_hosts(struct host *h)
{
	g_auto(GStrv) names = NULL;
	g_autoptr(GPtrArray) all = NULL;
	struct json_object *hosts = json_object_new_array();

	look_again(h->pool, &h->pool->looked_at);
	names = names_of(h);
	all = facts_of_all(h, names);
	for (guint i = 0; i < all->len; i++)
		json_object_array_add(hosts, json_object_get(g_ptr_array_index(all, i)));
	return json_put_value(json_object_new_object(), "hosts", hosts);
}

/* -- placing */

/* What is in the way there goes into `why`. */
static bool
fits(struct host *h, const char *uuid, const char *name, GString *why)
{
	g_autoptr(GError) error = NULL;

	if (enable_check_other(h, uuid, name, NULL, &error))
		return true;
	g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "", name, error->message);
	return false;
}

static struct placement_host
look_at(struct host *h, const char *uuid, const char *name, struct json_object *facts, const char *had_it, GString *why)
{
	struct placement_host p = {
		.name = name,
		.reachable = json_get_bool(facts, "reachable"),
		.draining = json_get_bool(facts, "draining") || json_get_bool(facts, "uplink_lost"),
		.had_it = g_strcmp0(name, had_it) == 0,
		.copies = (unsigned)json_get_u64(facts, "copies"),
		.memory_free = json_get_u64(facts, "memory_available_kib") << 10,
	};

	if (!p.reachable || p.draining)
		g_string_append_printf(why, "%s%s: %s", why->len ? "; " : "", name, !p.reachable ? json_get_str(facts, "why") : json_get_bool(facts, "draining") ? "it is being drained" : "it has lost its uplink");
	else
		p.fits = fits(h, uuid, name, why);
	return p;
}

char *
pool_place(struct host *h, const char *uuid, const char *had_it, const char *not_on, GError **error)
{
	g_auto(GStrv) names = NULL;
	g_autofree struct placement_host *hosts = NULL;
	g_autoptr(GPtrArray) all = NULL;
	GString *why;
	unsigned n = 0;
	int chosen;

	if (!enable_check_again(h, uuid, error))
		return NULL;
	why = g_string_new(NULL);
	look_again(h->pool, &h->pool->looked_at);
	names = names_of(h);
	all = facts_of_all(h, names);
	hosts = g_new0(struct placement_host, all->len);
	for (guint i = 0; names[i]; i++)
		if (strcmp(names[i], h->name) != 0 && g_strcmp0(names[i], not_on) != 0)
			hosts[n++] = look_at(h, uuid, names[i], g_ptr_array_index(all, i), had_it, why);
	chosen = placement_choose(hosts, n);
	if (chosen < 0)
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "no host of the pool can take the standby: %s", why->len ? why->str : "there is no other");
	g_string_free(why, TRUE);
	return chosen < 0 ? NULL : g_strdup(hosts[chosen].name);
}

/* -- fulfilling wishes */

struct attempt {
	struct host *host;
	char *uuid, *domain, *peer;
};

static void
attempt_free(gpointer data)
{
	struct attempt *a = data;

	g_free(a->uuid);
	g_free(a->domain);
	g_free(a->peer);
	g_free(a);
}

enum here { HERE_RUNS, HERE_OFF, HERE_NOT };

/* A libvirt that does not answer is no reason to give up. */
static enum here
is_here(struct host *h, const char *uuid)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(virConnect) conn = libvirt_open(h->config->libvirt_uri, NULL);
	g_autoptr(virDomain) dom = conn ? libvirt_find(conn, uuid, &error) : NULL;

	if (dom)
		return libvirt_is_off(dom) ? HERE_OFF : HERE_RUNS;
	return g_error_matches(error, FTD_ERROR, FTD_ERROR_NO_DOMAIN) ? HERE_NOT : HERE_RUNS;
}

/* The pair that was made by hand while the wish waited for its turn, and ended since, counts too. */
static bool
ends_wish(const struct pair_info *info)
{
	struct json_object *last = info->phase == PAIR_ENDED ? info->last : NULL;

	return pair_ends_wish(info->phase == PAIR_ACTIVE, json_get_str(last, "state"), json_get_str(last, "reason"));
}

/* {done}, {off}, {busy}, or an error: it is to be tried again. */
static struct json_object *
fulfil(struct job *job, gpointer data, GError **error)
{
	const struct attempt *a = data;
	g_autoptr(pair_info) info = pairs_find(a->host->pairs, a->uuid);
	g_autoptr(json_object_ptr) enabled = NULL;
	g_autofree char *host = NULL;
	enum here here = is_here(a->host, a->uuid);

	if (here == HERE_NOT)
		pairs_retell_end(a->host->pairs, a->uuid, "ended", failover_reason_name(FAILOVER_REASON_GUEST_ENDED));
	if ((info && ends_wish(info)) || here == HERE_NOT)
		return json_put_bool(json_object_new_object(), "done", true);
	if (here == HERE_OFF)
		return json_put_bool(json_object_new_object(), "off", true);
	if (info && info->phase != PAIR_ENDED)
		return json_put_bool(json_object_new_object(), "busy", true);
	host = pool_place(a->host, a->uuid, a->peer, NULL, error);
	if (!host)
		return NULL;
	host_event(a->host, a->domain, "self-heal", "%s is unprotected since it lost %s; it is protected again by %s", a->domain, a->peer, host);
	enabled = enable_domain(a->host, a->uuid, host, &(struct pair_settings){ 0 }, NULL, error);
	return enabled ? json_put_bool(json_object_new_object(), "done", true) : NULL;
}

static void schedule(struct pool *p);

static void
fulfilled(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct pool *p = user_data;
	g_autofree char *domain = g_strdup(wishes_current(p->wishes)->domain);
	enum wish_end end = !reply ? WISH_FAILED : json_get_bool(reply, "done") ? WISH_OVER : json_get_bool(reply, "off") ? WISH_OFF : WISH_NOT_YET;
	gint64 wait = wishes_end(p->wishes, end, g_get_monotonic_time());

	if (!reply)
		host_event(p->host, domain, "self-heal-failed", "%s cannot be protected again; next attempt in %d s: %s", domain, (int)(wait / G_USEC_PER_SEC), error->message);
	schedule(p);
}

static gboolean
on_due(gpointer user_data)
{
	struct pool *p = user_data;
	const struct wish *w = wishes_begin(p->wishes);
	struct attempt *a = g_new0(struct attempt, 1);

	p->timer = 0;
	*a = (struct attempt){ p->host, g_strdup(w->uuid), g_strdup(w->domain), g_strdup(w->peer) };
	job_start(fulfil, a, attempt_free, NULL, fulfilled, p);
	return G_SOURCE_REMOVE;
}

/* After every change of the wishes: the timer runs only while there is one, and none is being fulfilled. */
static void
schedule(struct pool *p)
{
	gint64 due = wishes_due(p->wishes);

	g_clear_handle_id(&p->timer, g_source_remove);
	if (due >= 0)
		p->timer = g_timeout_add((guint)(MAX(0, due - g_get_monotonic_time()) / 1000), on_due, p);
}

static void
kick(gpointer data)
{
	struct pool *p = data;

	wishes_hurry(p->wishes, g_get_monotonic_time());
	schedule(p);
}

void
pool_kick(struct host *h)
{
	if (h->pool)
		main_invoke(kick, h->pool);
}

struct dismissal {
	struct pool *pool;
	const char *uuid;
	GMutex lock;
	GCond cond;
	bool over;
	enum wish_dismissal answer;
};

static void
dismiss(gpointer data)
{
	struct dismissal *d = data;

	g_mutex_lock(&d->lock);
	d->answer = wishes_dismiss(d->pool->wishes, d->uuid);
	schedule(d->pool);
	d->over = true;
	g_cond_signal(&d->cond);
	g_mutex_unlock(&d->lock);
}

enum wish_dismissal
pool_dismiss(struct host *h, const char *uuid)
{
	struct dismissal d = { .pool = h->pool, .uuid = uuid };

	if (!h->pool)
		return WISH_NONE;
	g_mutex_init(&d.lock);
	g_cond_init(&d.cond);
	main_invoke(dismiss, &d);
	g_mutex_lock(&d.lock);
	while (!d.over)
		g_cond_wait(&d.cond, &d.lock);
	g_mutex_unlock(&d.lock);
	g_cond_clear(&d.cond);
	g_mutex_clear(&d.lock);
	return d.answer;
}

static void
add_wish(gpointer data)
{
	struct attempt *a = data;
	struct pool *p = a->host->pool;

	wishes_add(p->wishes, a->uuid, a->domain, a->peer, g_get_monotonic_time());
	attempt_free(a);
	schedule(p);
}

bool
pool_heals(const struct host *h)
{
	return h->config->hosts && h->config->self_heal;
}

void
pool_heal(struct host *h, const char *uuid, const char *domain, const char *peer)
{
	struct attempt *a;

	if (!h->pool || !pool_heals(h))
		return;
	a = g_new0(struct attempt, 1);
	*a = (struct attempt){ h, g_strdup(uuid), g_strdup(domain), g_strdup(peer) };
	main_invoke(add_wish, a);
}

/* -- this host is there (again) */

static bool
offer_is_refused(struct host *h, const char *name)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(json_object_ptr) heard = pool_call(h, name, "Offer", json_object_new_object(), CALL_TIMEOUT_MS, &error);

	return g_error_matches(error, FTD_ERROR, FTD_ERROR_DENIED);
}

/* Who looked into etcd right before we were there refuses us until he looks again, which he does for the first who asks after that while. */
static void
offer(struct host *h)
{
	g_auto(GStrv) names = names_of(h);
	g_autoptr(GPtrArray) again = g_ptr_array_new();

	for (guint i = 0; names[i]; i++)
		if (strcmp(names[i], h->name) != 0 && offer_is_refused(h, names[i]))
			g_ptr_array_add(again, names[i]);
	if (again->len)
		g_usleep(OFFER_AGAIN_US);
	for (guint i = 0; i < again->len; i++)
		offer_is_refused(h, g_ptr_array_index(again, i));
}

static struct json_object *
introduce(struct job *job, gpointer data, GError **error)
{
	struct pool *p = data;

	if (ftd_config_hosts_register(p->host->config) && !ask_register(p, true, error))
		return NULL;
	if (!p->introduced)
		offer(p->host);
	return json_object_new_object();
}

static gboolean on_register(gpointer user_data);

static void
on_introduced(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct pool *p = user_data;

	if (error)
		log_warn("pool", "%s is not registered, trying again in %d s: %s", p->host->name, REGISTER_RETRY_S, error->message);
	p->introduced = p->introduced || !error;
	if (ftd_config_hosts_register(p->host->config))
		g_timeout_add_seconds(error ? REGISTER_RETRY_S : REGISTER_AGAIN_S, on_register, p);
}

static gboolean
on_register(gpointer user_data)
{
	job_start(introduce, user_data, NULL, NULL, on_introduced, user_data);
	return G_SOURCE_REMOVE;
}

void
pool_start(struct host *host)
{
	struct pool *p = g_new0(struct pool, 1);

	p->host = host;
	p->wishes = wishes_new();
	g_mutex_init(&p->lock);
	host->pool = p;
	if (host->config->hosts)
		on_register(p);
}
