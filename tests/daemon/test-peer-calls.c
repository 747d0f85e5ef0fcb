/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon that is called and one that calls, over TLS on loopback, in one process: the server in the main loop, each caller in a job as in ftd. */
#include "daemon/base/error.h"
#include "daemon/job-io.h"
#include "daemon/json-util.h"
#include "daemon/peer-api.h"
#include "daemon/peer-client-io.h"
#include "daemon/peer-server-io.h"
#include "daemon/pool-io.h"
#include "tests/daemon/test-pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT_MS 5000
#define SILENCE_MS 1000
#define STEPS 3
#define FLOOD 20000
#define FLOOD_KEPT 2000	/* twice 64 KiB of them are less */

struct fixture {
	char *dir, *pki;
	struct test_ca ca;
	struct peer_server *server;
	struct peer_credentials *creds;
	unsigned port;
	gint told;	/* Flood has told all, atomic */
	gint slow;	/* calls of Slowly that have ended, atomic */
	gint doubts, offers;	/* calls that are still refused; offers that were heard; atomic */
};

/* One call, in a job. */
struct ask {
	struct fixture *f;
	const char *method;
	bool follow;
	unsigned timeout_ms;
	GString *heard;		/* "phase done/total," for each; written by the thread, read when it is over */
	struct json_object *reply;
	GError *error;
	bool over;
};

/* -- the methods */

static void
tell(const struct peer_caller *caller, struct json_object *progress)
{
	if (caller->job)
		job_report(caller->job, progress);
	else
		json_object_put(progress);
}

static struct json_object *
progress_of(const char *phase, guint64 done, guint64 total)
{
	return json_put_u64(json_put_u64(json_put_str(json_object_new_object(), "phase", phase), "done", done), "total", total);
}

static struct json_object *
do_work(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	for (guint i = 0; i < STEPS; i++)
		tell(caller, progress_of("disk", i, STEPS));
	return json_put_str(json_put_bool(json_object_new_object(), "followed", caller->job != NULL), "for", caller->name);
}

/* Longer in all than it may be silent. */
static struct json_object *
do_slowly(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	struct fixture *f = user_data;

	for (guint i = 0; i < STEPS; i++) {
		tell(caller, progress_of("disk", i, STEPS));
		g_usleep(SILENCE_MS * 1000 / 2);
	}
	g_atomic_int_inc(&f->slow);
	return json_object_new_object();
}

static struct json_object *
do_fail(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	tell(caller, progress_of("check", 0, 0));
	tell(caller, json_put_str(json_object_new_object(), "phase", "not a phase"));
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "no room");
	return NULL;
}

static void
hold(gpointer data)
{
	struct fixture *f = data;

	while (!g_atomic_int_get(&f->told))
		g_usleep(1000);
}

/* All of it waits before the first of it can be sent. */
static struct json_object *
do_flood(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	struct fixture *f = user_data;

	main_invoke(hold, f);
	for (guint i = 0; i < FLOOD; i++)
		tell(caller, progress_of("disk", i, FLOOD));
	g_atomic_int_set(&f->told, 1);
	return json_object_new_object();
}

/* It passes the call on, as the host of a standby does, and what it is told. */
static void
pass(struct json_object *progress, gpointer job)
{
	job_report(job, progress);
}

static struct json_object *
do_pass(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	struct fixture *f = user_data;
	g_autoptr(peer_client) c = peer_client_connect("localhost", f->port, f->creds, TIMEOUT_MS, error);

	return c ? peer_client_follow(c, "Work", NULL, TIMEOUT_MS, caller->job ? pass : NULL, caller->job, error) : NULL;
}

static bool
served_never(const char *name, gpointer user_data, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_DENIED, "%s is no host", name);
	return false;
}

/* As a host that has just looked into etcd, and does not look again so soon. */
static bool
served_later(const char *name, gpointer user_data, GError **error)
{
	return g_atomic_int_add(&((struct fixture *)user_data)->doubts, -1) <= 0 || served_never(name, user_data, error);
}

static struct json_object *
do_offer(const struct peer_caller *caller, struct json_object *parameters, gpointer user_data, GError **error)
{
	g_atomic_int_inc(&((struct fixture *)user_data)->offers);
	return json_object_new_object();
}

static const struct peer_method_entry methods[] = { { "Offer", do_offer }, { "Work", do_work }, { "Slowly", do_slowly }, { "Fail", do_fail }, { "Pass", do_pass }, { "Flood", do_flood }, { NULL, NULL } };

static struct peer_credentials *
credentials(gpointer user_data)
{
	return peer_credentials_ref(((struct fixture *)user_data)->creds);
}

static void
ended(guint64 connection, gpointer user_data)
{
}

/* -- the caller */

static void
hear(struct json_object *progress, gpointer user_data)
{
	struct ask *a = user_data;

	g_string_append_printf(a->heard, "%s %d/%d,", json_get_str(progress, "phase"), (int)json_get_u64(progress, "done"), (int)json_get_u64(progress, "total"));
	json_object_put(progress);
}

static struct json_object *
ask_work(struct job *job, gpointer data, GError **error)
{
	struct ask *a = data;
	g_autoptr(peer_client) c = peer_client_connect("localhost", a->f->port, a->f->creds, TIMEOUT_MS, error);

	if (!c)
		return NULL;
	return a->follow ? peer_client_follow(c, a->method, NULL, a->timeout_ms, hear, a, error) : peer_client_call(c, a->method, NULL, a->timeout_ms, error);
}

static void
ask_done(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct ask *a = user_data;

	a->reply = json_object_get(reply);
	a->error = error ? g_error_copy(error) : NULL;
	a->over = true;
}

static struct ask
ask_for(struct fixture *f, const char *method, bool follow, unsigned timeout_ms)
{
	struct ask a = { .f = f, .method = method, .follow = follow, .timeout_ms = timeout_ms, .heard = g_string_new(NULL) };

	job_start(ask_work, &a, NULL, NULL, ask_done, &a);
	while (!a.over)
		g_main_context_iteration(NULL, TRUE);
	return a;
}

static struct ask
ask(struct fixture *f, const char *method, bool follow)
{
	return ask_for(f, method, follow, TIMEOUT_MS);
}

static void
ask_clear(struct ask *a)
{
	g_string_free(a->heard, TRUE);
	json_object_put(a->reply);
	g_clear_error(&a->error);
}

static int
set_up(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->dir = g_dir_make_tmp("ftd-peer-calls-XXXXXX", NULL);
	test_ca_init(&f->ca, "test authority", 3600);
	f->pki = test_pki_make(f->dir, "a", "localhost", &f->ca, &f->ca, -3600, 3600);
	f->creds = peer_credentials_load(f->pki, NULL);
	f->server = peer_server_new(0, credentials, methods, ended, f, NULL);
	f->port = f->server ? peer_server_port(f->server) : 0;
	*state = f;
	return f->creds && f->port ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	while (g_main_context_iteration(NULL, FALSE))	/* the server hears that its callers are gone */
		;
	peer_server_free(f->server);
	peer_credentials_unref(f->creds);
	test_remove_tree(f->dir);
	test_ca_clear(&f->ca);
	g_free(f->dir);
	g_free(f->pki);
	g_free(f);
	return 0;
}

/* -- tests */

static void
test_followed(void **state)
{
	struct ask a = ask(*state, "Work", true);

	assert_null(a.error);
	assert_string_equal(a.heard->str, "disk 0/3,disk 1/3,disk 2/3,");
	assert_true(json_get_bool(a.reply, "followed"));
	assert_string_equal(json_get_str(a.reply, "for"), "localhost");
	ask_clear(&a);
}

/* What tells of its progress is not silent. */
static void
test_long(void **state)
{
	struct fixture *f = *state;
	struct ask told = ask_for(f, "Slowly", true, SILENCE_MS), silent = ask_for(f, "Slowly", false, SILENCE_MS);
	gint64 end;

	assert_null(told.error);
	assert_true(g_error_matches(silent.error, FTD_ERROR, FTD_ERROR_TIMEOUT));
	while (g_atomic_int_get(&f->slow) < 2)	/* nobody waits for it, but the server may not go before it */
		g_usleep(1000);
	for (end = g_get_monotonic_time() + G_USEC_PER_SEC / 5; g_get_monotonic_time() < end; g_usleep(1000))
		g_main_context_iteration(NULL, FALSE);
	ask_clear(&told);
	ask_clear(&silent);
}

/* As every caller of before: no message but the answer. */
static void
test_not_followed(void **state)
{
	struct ask a = ask(*state, "Work", false);

	assert_null(a.error);
	assert_string_equal(a.heard->str, "");
	assert_false(json_get_bool(a.reply, "followed"));
	ask_clear(&a);
}

static void
test_passed_on(void **state)
{
	struct ask a = ask(*state, "Pass", true);

	assert_null(a.error);
	assert_string_equal(a.heard->str, "disk 0/3,disk 1/3,disk 2/3,");
	ask_clear(&a);
	a = ask(*state, "Pass", false);
	assert_null(a.error);
	assert_string_equal(a.heard->str, "");
	assert_false(json_get_bool(a.reply, "followed"));
	ask_clear(&a);
}

/* By whoever has a certificate of the authority, and is no host of the pool. */
static void
test_not_served(void **state)
{
	struct fixture *f = *state;
	struct ask a;

	peer_server_serve_only(f->server, served_never);
	a = ask(f, "Work", true);
	assert_null(a.reply);
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_DENIED));
	assert_non_null(strstr(a.error->message, "localhost is no host"));
	assert_string_equal(a.heard->str, "");
	ask_clear(&a);
}

/* What is no progress is dropped; the error that ends it comes after what was told. */
static void
test_failed(void **state)
{
	struct ask a = ask(*state, "Fail", true);

	assert_null(a.reply);
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_PEER_STORAGE));
	assert_string_equal(a.heard->str, "check 0/0,");
	ask_clear(&a);
}

/* A caller that counts what comes: more than may wait for somebody who does not read is left out, in order, and the answer comes. The loop may send in between once, when
 * it was about to turn as the first was told. */
struct raw {
	struct peer_link *link;
	unsigned told;
	int last;
	bool answered;
};

static void
raw_established(struct peer_link *link, const char *name, gpointer user_data)
{
	g_autoptr(GBytes) call = peer_message_bytes(peer_call_new(7, "Flood", NULL, true));

	peer_link_send(link, PEER_JSON, NULL, 0, call);
}

static void
raw_frame(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct raw *r = user_data;
	struct peer_message m;

	assert_true(peer_message_decode(frame->payload, frame->length, &m, NULL));
	assert_int_equal(m.id, 7);
	assert_false(r->answered);
	if (m.continues) {
		assert_true((int)json_get_u64(m.parameters, "done") > r->last);
		r->last = (int)json_get_u64(m.parameters, "done");
		r->told++;
	} else {
		assert_null(m.error);
		r->answered = true;
	}
	peer_message_clear(&m);
}

static void
raw_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	fail_msg("closed: %s", error ? error->message : "in order");
}

static void
test_flood(void **state)
{
	static const struct peer_link_callbacks callbacks = { .established = raw_established, .frame = raw_frame, .closed = raw_closed };
	struct fixture *f = *state;
	struct raw r = { .last = -1 };

	r.link = peer_link_connect("localhost", f->port, NULL, PEER_CHANNEL_CONTROL, f->creds, TIMEOUT_MS, &callbacks, &r);
	while (!r.answered)
		g_main_context_iteration(NULL, TRUE);
	assert_in_range(r.told, 100, FLOOD_KEPT);
	peer_link_close(r.link);
}

/* What a peer tells too fast is not passed on: it would wait on the main thread. */
static void
test_hurry(void **state)
{
	struct ask a = ask(*state, "Flood", true);
	unsigned heard = 0;

	assert_null(a.error);
	assert_non_null(a.reply);
	for (const char *at = a.heard->str; *at; at = strchr(at, ',') + 1)
		heard++;
	assert_in_range(heard, 100, 300);	/* 100 for each second that it took */
	ask_clear(&a);
}

/* A host that is there says so again to one that did not know it yet; once is enough for one that does. */
static void
test_offer(void **state)
{
	static struct ftd_config config = { .hosts = (char *)"a,localhost" };
	static struct host hosts[2];	/* a pool lasts as long as ftd does */

	for (int doubts = 0; doubts < 2; doubts++) {
		struct fixture *f = *state;
		gint64 end = g_get_monotonic_time() + 3 * G_USEC_PER_SEC;

		f->doubts = doubts;
		f->offers = 0;
		peer_server_serve_only(f->server, served_later);
		config.peer_port = f->port;
		hosts[doubts] = (struct host){ .config = &config, .name = "a", .credentials = f->creds };
		pool_start(&hosts[doubts]);
		for (; g_get_monotonic_time() < end; g_usleep(1000))
			g_main_context_iteration(NULL, FALSE);
		assert_int_equal(g_atomic_int_get(&f->offers), 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_followed, set_up, tear_down), cmocka_unit_test_setup_teardown(test_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_passed_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_served, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_offer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flood, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hurry, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
