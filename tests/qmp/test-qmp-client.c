/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client against a scripted QEMU on a real socket. Every callback writes a word into `trace`. */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-client-io.h"
#include "qmp/qmp-commands.h"
#include "qmp/qmp-events.h"
#include "tests/qmp/fake-qemu.h"

#include <fcntl.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}"
#define OK "{\"return\": {}, \"id\": %ID%}"
#define NO "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": %ID%}"
#define STOP_EVENT "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}"

struct fixture {
	GString *trace;
	unsigned callbacks;
	bool closed;
	bool in_call;
	struct qmp_client *client;
	bool free_in_callback;
};

static void
note(struct fixture *f, const char *what, const GError *error)
{
	assert_false(f->in_call);	/* never from inside a call */
	f->callbacks++;
	g_string_append_printf(f->trace, "%s%s%s%s", f->trace->len ? " " : "", what, error ? ":" : "", error ? ftd_error_name(error) : "");
}

static void
on_reply(struct json_object *reply, const GError *error, gpointer data)
{
	struct fixture *f = data;

	assert_int_equal(reply == NULL, error != NULL);
	note(f, "reply", error);
	if (f->free_in_callback)
		g_clear_pointer(&f->client, qmp_client_free);
}

static void
on_plan(struct qmp_plan *plan, const GError *error, gpointer data)
{
	note(data, qmp_plan_name(plan), error);
}

static void
on_event(const struct qmp_event *event, gpointer data)
{
	note(data, event->name, NULL);
}

static void
on_closed(const GError *error, gpointer data)
{
	struct fixture *f = data;

	note(f, "closed", error);
	f->closed = true;
	g_clear_pointer(&f->client, qmp_client_free);	/* allowed here */
}

static void
start(struct fixture *f, struct fake_qemu *q, unsigned timeout_ms)
{
	*f = (struct fixture){ .trace = g_string_new("") };
	f->client = qmp_client_new_socket(fake_qemu_path(q), timeout_ms, on_event, on_closed, f);
}

static void
iterate_until(struct fixture *f, unsigned callbacks)
{
	gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

	while (f->callbacks < callbacks && g_get_monotonic_time() < end)
		if (!g_main_context_iteration(NULL, FALSE))
			g_usleep(200);
}

static void
finish(struct fixture *f, struct fake_qemu *q, const char *want, unsigned want_fds)
{
	g_autofree char *wrong = NULL;
	unsigned fds;

	g_clear_pointer(&f->client, qmp_client_free);
	wrong = fake_qemu_end(q, &fds);
	assert_string_equal(wrong, "");
	assert_string_equal(f->trace->str, want);
	assert_int_equal(fds, want_fds);
	g_string_free(f->trace, TRUE);
}

static void
ask(struct fixture *f, const char *name, unsigned flags, unsigned timeout_ms)
{
	f->in_call = true;
	qmp_client_execute(f->client, qmp_query(name), -1, flags, timeout_ms, on_reply, f);
	f->in_call = false;
}

static void
run_plan(struct fixture *f, struct qmp_plan *p)
{
	f->in_call = true;
	qmp_client_run(f->client, p, 3000, on_plan, f);
	f->in_call = false;
}

static void
conversation(void **state)
{
	static const struct fake_line script[] = {
		{ "a", STOP_EVENT }, { NULL, OK }, { "b", NO }, { "c", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(60, GREETING, script);	/* the socket comes later than the client */
	struct fixture f;

	start(&f, q, 3000);
	ask(&f, "a", 0, 3000);
	ask(&f, "b", 0, 3000);
	iterate_until(&f, 3);
	assert_true(qmp_client_has_oob(f.client));
	ask(&f, "c", QMP_STEP_OOB, 3000);
	iterate_until(&f, 4);
	finish(&f, q, "STOP reply reply:Qmp reply", 0);
}

static struct qmp_plan *
plan(const char *name, unsigned third_flags)
{
	struct qmp_plan *p = qmp_plan_new(name);

	qmp_plan_add(p, qmp_getfd("x"), qmp_closefd("x"), open("/dev/null", O_RDONLY), QMP_STEP_MUST);
	qmp_plan_add(p, qmp_query("second"), qmp_query("undo-second"), -1, QMP_STEP_MUST);
	qmp_plan_add(p, qmp_query("third"), NULL, -1, third_flags);
	return p;
}

static void
plan_succeeds(void **state)
{
	static const struct fake_line script[] = {
		{ "getfd", OK }, { "second", OK }, { "third", NO }, { "third", OK }, { "getfd", OK }, { "second", OK }, { "third", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	run_plan(&f, plan("one", QMP_STEP_RETRY));
	run_plan(&f, plan("two", QMP_STEP_MAY_FAIL));	/* after the first, not among it */
	run_plan(&f, qmp_plan_new("empty"));
	iterate_until(&f, 3);
	finish(&f, q, "one two empty", 2);
}

static void
plan_is_undone(void **state)
{
	static const struct fake_line script[] = {
		{ "getfd", OK }, { "second", OK }, { "third", NO }, { "undo-second", NO }, { "closefd", OK }, { "after", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	run_plan(&f, plan("one", QMP_STEP_MUST));
	iterate_until(&f, 1);
	ask(&f, "after", 0, 3000);
	iterate_until(&f, 2);
	finish(&f, q, "one:Qmp reply", 1);
}

static void
timeout(void **state)
{
	static const struct fake_line script[] = { { "a", OK, 80 }, { "b", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	while (!qmp_client_has_oob(f.client))
		g_main_context_iteration(NULL, TRUE);
	ask(&f, "a", 0, 20);
	iterate_until(&f, 1);
	ask(&f, "b", 0, 3000);		/* waits for the late answer to a */
	iterate_until(&f, 2);
	finish(&f, q, "reply:Timeout reply", 0);
}

static void
qemu_dies(void **state)
{
	static const struct fake_line script[] = { { "getfd", OK }, { "second", "CLOSE" }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	run_plan(&f, plan("one", QMP_STEP_MUST));
	run_plan(&f, plan("two", QMP_STEP_MUST));
	iterate_until(&f, 3);
	finish(&f, q, "one:Qmp two:Qmp closed:Qmp", 1);
}

static void
garbage(void **state)
{
	static const struct fake_line script[] = { { "a", "(qemu) hello" }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	ask(&f, "a", 0, 3000);
	iterate_until(&f, 2);
	finish(&f, q, "reply:Protocol closed:Protocol", 0);
}

/* The session, not the socket, finds this one: the far end has to see the end all the same. */
static void
wrong_reply(void **state)
{
	static const struct fake_line script[] = { { "a", "{\"return\": {}, \"id\": 4711}" }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	ask(&f, "a", 0, 3000);
	iterate_until(&f, 2);
	finish(&f, q, "reply:Protocol closed:Protocol", 0);
}

static void
nobody_there(void **state)
{
	struct fixture f = { .trace = g_string_new("") };

	f.client = qmp_client_new_socket("/nonexistent/qmp", 60, on_event, on_closed, &f);
	ask(&f, "a", 0, 3000);
	iterate_until(&f, 2);
	assert_string_equal(f.trace->str, "reply:Qmp closed:Qmp");
	g_string_free(f.trace, TRUE);
}

static void
no_greeting(void **state)
{
	struct fake_qemu *q = fake_qemu_new(0, NULL, NULL);	/* accepts and is silent */
	struct fixture f;

	start(&f, q, 80);
	iterate_until(&f, 1);
	finish(&f, q, "closed:Timeout", 0);
}

static void
freed_in_a_callback(void **state)
{
	static const struct fake_line script[] = { { "a", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	struct fixture f;

	start(&f, q, 3000);
	f.free_in_callback = true;
	ask(&f, "a", 0, 3000);
	ask(&f, "b", 0, 3000);
	run_plan(&f, plan("never", 0));
	iterate_until(&f, 1);
	for (int i = 0; i < 20; i++)
		g_main_context_iteration(NULL, FALSE);
	finish(&f, q, "reply", 0);
}

/* More than a socket buffer holds, to a QEMU that does not read for a while: nothing blocks, nothing is lost. */
static void
full_socket(void **state)
{
	static const struct fake_line script[] = { { "big", OK }, { "EOF", NULL }, { NULL, NULL } };
	struct fake_qemu *q = fake_qemu_new(0, GREETING, script);
	g_autofree char *text = g_strnfill(4 << 20, 'x');
	struct json_object *arguments = json_object_new_object();
	struct fixture f;

	start(&f, q, 3000);
	json_object_object_add(arguments, "text", json_object_new_string(text));
	qmp_client_execute(f.client, qmp_command("big", arguments), open("/dev/null", O_RDONLY), 0, 3000, on_reply, &f);
	iterate_until(&f, 1);
	finish(&f, q, "reply", 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversation), cmocka_unit_test(plan_succeeds), cmocka_unit_test(plan_is_undone), cmocka_unit_test(timeout),
		cmocka_unit_test(qemu_dies), cmocka_unit_test(garbage), cmocka_unit_test(wrong_reply), cmocka_unit_test(nobody_there), cmocka_unit_test(no_greeting),
		cmocka_unit_test(freed_in_a_callback), cmocka_unit_test(full_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
