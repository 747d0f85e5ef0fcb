/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server and the asynchronous client share the main loop; the blocking client gets a thread of its own, raw sockets say what no client would. */
#include "daemon/base/error.h"
#include "daemon/varlink-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define INTERFACE "org.ftd.Test"
#define NOBODY 65534

struct fixture {
	char *dir, *path;
	varlink_server *server;
	struct varlink_request *held;	/* by Hold, until the test ends it */
	unsigned gone, calls;
	GString *order;
};

/* ---- methods ---- */

static void
echo(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct fixture *f = user_data;
	struct json_object *text;

	f->calls++;
	assert_true(g_str_has_prefix(varlink_request_caller(r), "uid "));
	if (json_object_object_get_ex(parameters, "text", &text))
		g_string_append(f->order, json_object_get_string(text));
	varlink_request_finish(r, json_object_get(parameters));
}

static void
count(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	assert_true(varlink_request_wants_more(r));
	for (int i = 0; i < 3; i++) {
		struct json_object *p = json_object_new_object();

		json_object_object_add(p, "n", json_object_new_int(i));
		varlink_request_notify(r, p);	/* the caller may have had enough */
	}
	varlink_request_finish(r, NULL);
}

static void
fail_call(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_NIC_VHOST, "net0 uses vhost");

	varlink_request_fail(r, error);
}

static void
on_gone(struct varlink_request *r, gpointer user_data)
{
	struct fixture *f = user_data;

	assert_ptr_equal(f->held, r);
	f->held = NULL;
	f->gone++;
}

static void
hold(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct fixture *f = user_data;

	assert_null(f->held);
	f->held = r;
	if (!json_object_object_get_ex(parameters, "detached", NULL))
		varlink_request_on_gone(r, on_gone, f);
}

static void
end_server(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct fixture *f = user_data;

	varlink_request_finish(r, NULL);
	g_clear_pointer(&f->server, varlink_server_free);
}

static const struct varlink_method_entry methods[] = {
	{ "Echo", echo, false },
	{ "Count", count, false },
	{ "Fail", fail_call, false },
	{ "Hold", hold, false },
	{ "Change", echo, true },
	{ "End", end_server, false },
	{ NULL },
};

/* "METHOD PARAMETERS uid N[ refused];" */
static void
note(const char *method, struct json_object *parameters, const char *caller, bool refused, gpointer user_data)
{
	struct fixture *f = user_data;
	const char *end = strstr(caller, " pid ");

	assert_non_null(end);
	g_string_append_printf(f->order, "%s %s %.*s%s;", method, json_object_to_json_string_ext(parameters, JSON_C_TO_STRING_PLAIN), (int)(end - caller), caller,
			       refused ? " refused" : "");
}

/* ---- frame ---- */

static int
setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_autoptr(GError) error = NULL;

	f->dir = g_dir_make_tmp("ftd-varlink-XXXXXX", NULL);
	f->path = g_build_filename(f->dir, "sock", NULL);
	f->order = g_string_new(NULL);
	f->server = varlink_server_new(f->path, 0660, NULL, INTERFACE, "interface " INTERFACE "\n", methods, f, &error);
	assert_null(error);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	varlink_server_free(f->server);
	assert_false(g_file_test(f->path, G_FILE_TEST_EXISTS));
	g_rmdir(f->dir);
	g_string_free(f->order, TRUE);
	g_free(f->path);
	g_free(f->dir);
	g_free(f);
	return 0;
}

static gboolean
give_up(gpointer late)
{
	*(bool *)late = true;
	return G_SOURCE_REMOVE;
}

#define run_until(condition) do { \
	bool late = false; \
	guint timer = g_timeout_add(5000, give_up, &late); \
	while (!(condition) && !late) \
		g_main_context_iteration(NULL, TRUE); \
	if (!late) \
		g_source_remove(timer); \
	else \
		fail_msg("never came: %s", #condition); \
} while (0)

static void
assert_error_text(const GError *error, enum ftd_error_code code, const char *part)
{
	assert_non_null(error);
	if (!g_error_matches(error, FTD_ERROR, (gint)code) || !strstr(error->message, part))
		fail_msg("unexpected error %s: %s", ftd_error_name(error), error->message);
}

/* ---- asynchronous client ---- */

struct answer {
	unsigned done, progress;
	char *text;
	GError *error;
	struct varlink_pending *cancel_in_progress;
};

static void
on_progress(struct json_object *parameters, gpointer user_data)
{
	struct answer *a = user_data;

	a->progress++;
	if (a->cancel_in_progress)
		varlink_call_cancel(a->cancel_in_progress);
}

static void
on_done(struct json_object *parameters, const GError *error, gpointer user_data)
{
	struct answer *a = user_data;

	assert_int_equal(a->done++, 0);
	assert_true(!parameters != !error);
	a->text = g_strdup(parameters ? json_object_to_json_string_ext(parameters, JSON_C_TO_STRING_PLAIN) : NULL);
	a->error = error ? g_error_copy(error) : NULL;
}

static void
answer_clear(struct answer *a)
{
	g_free(a->text);
	g_clear_error(&a->error);
	*a = (struct answer){ 0 };
}

static void
call(struct fixture *f, struct answer *a, const char *method, const char *parameters, bool more)
{
	struct json_object *p = parameters ? json_tokener_parse(parameters) : NULL;

	*a = (struct answer){ 0 };
	varlink_call_async(f->path, method, p, more, 3000, on_progress, on_done, a);
	json_object_put(p);
	assert_int_equal(a->done, 0);
	run_until(a->done);
}

static void
test_answers(void **state)
{
	struct fixture *f = *state;
	static const struct { const char *method, *parameters; bool more; unsigned progress; const char *reply; enum ftd_error_code code; const char *error; } cases[] = {
		{ INTERFACE ".Echo", "{\"a\":[1,2]}", false, 0, "{\"a\":[1,2]}" },
		{ INTERFACE ".Echo", NULL, false, 0, "{}" },
		{ INTERFACE ".Count", NULL, true, 3, "{}" },
		{ INTERFACE ".Fail", NULL, false, 0, NULL, FTD_ERROR_NIC_VHOST, "net0 uses vhost" },
		{ INTERFACE ".None", NULL, false, 0, NULL, FTD_ERROR_PROTOCOL, INTERFACE ".None" },
		{ "org.other.None", NULL, false, 0, NULL, FTD_ERROR_PROTOCOL, "org.other" },
		{ "org.varlink.service.None", NULL, false, 0, NULL, FTD_ERROR_PROTOCOL, "service.None" },
		{ "org.varlink.service.GetInfo", NULL, false, 0, "{\"vendor\":\"ftd\",\"product\":\"ftd\",\"version\":\"" FTD_VERSION "\",\"url\":\"\","
		  "\"interfaces\":[\"org.varlink.service\",\"" INTERFACE "\"]}" },
		{ "org.varlink.service.GetInterfaceDescription", "{\"interface\":\"" INTERFACE "\"}", false, 0, "{\"description\":\"interface " INTERFACE "\\n\"}" },
		{ "org.varlink.service.GetInterfaceDescription", NULL, false, 0, NULL, FTD_ERROR_USAGE, "\"interface\"" },
		{ "org.varlink.service.GetInterfaceDescription", "{\"interface\":\"x\"}", false, 0, NULL, FTD_ERROR_PROTOCOL, "offer x" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct answer a;

		call(f, &a, cases[i].method, cases[i].parameters, cases[i].more);
		assert_int_equal(a.progress, cases[i].progress);
		if (cases[i].reply) {
			assert_null(a.error);
			assert_string_equal(a.text, cases[i].reply);
		} else {
			assert_error_text(a.error, cases[i].code, cases[i].error);
		}
		answer_clear(&a);
	}
}

static void
test_nobody_listens(void **state)
{
	struct fixture *f = *state;
	struct answer a;

	g_clear_pointer(&f->server, varlink_server_free);
	call(f, &a, INTERFACE ".Echo", NULL, false);
	assert_error_text(a.error, FTD_ERROR_NO_DAEMON, f->path);
	answer_clear(&a);
}

static void
test_silence(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };

	varlink_call_async(f->path, INTERFACE ".Hold", NULL, false, 100, NULL, on_done, &a);
	run_until(a.done);
	assert_error_text(a.error, FTD_ERROR_TIMEOUT, "100 ms");
	answer_clear(&a);
	run_until(f->gone == 1);
}

static void
test_cancel(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	struct varlink_pending *p = varlink_call_async(f->path, INTERFACE ".Hold", NULL, false, 0, NULL, on_done, &a);

	varlink_call_cancel(p);	/* before anything happened */
	p = varlink_call_async(f->path, INTERFACE ".Hold", NULL, false, 0, NULL, on_done, &a);
	run_until(f->held);
	varlink_call_cancel(p);
	run_until(f->gone == 1);
	a.cancel_in_progress = varlink_call_async(f->path, INTERFACE ".Count", NULL, true, 0, on_progress, on_done, &a);
	run_until(a.progress == 1);
	for (unsigned i = 0; i < 20; i++)
		g_main_context_iteration(NULL, FALSE);
	assert_int_equal(a.progress, 1);
	assert_int_equal(a.done, 0);
}

static void
test_server_goes_away(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };

	varlink_call_async(f->path, INTERFACE ".Hold", NULL, false, 0, NULL, on_done, &a);
	run_until(f->held);
	g_clear_pointer(&f->server, varlink_server_free);
	assert_int_equal(f->gone, 1);
	run_until(a.done);
	assert_error_text(a.error, FTD_ERROR_NO_DAEMON, "ended before");
	answer_clear(&a);
}

static void
test_server_freed_by_method(void **state)
{
	struct fixture *f = *state;
	struct answer a;

	call(f, &a, INTERFACE ".End", NULL, false);
	assert_string_equal(a.text, "{}");
	assert_null(f->server);
	answer_clear(&a);
}

/* Without a gone handler a request outlives its connection. */
static void
test_detached_request(void **state)
{
	struct fixture *f = *state;
	struct answer a = { 0 };
	struct json_object *p = json_tokener_parse("{\"detached\":true}");

	varlink_call_async(f->path, INTERFACE ".Hold", p, false, 50, NULL, on_done, &a);
	json_object_put(p);
	run_until(a.done);
	answer_clear(&a);
	run_until(!varlink_request_notify(f->held, NULL));
	varlink_request_finish(f->held, NULL);
	f->held = NULL;
}

/* ---- blocking client ---- */

struct sync_job {
	struct fixture *f;
	const char *method;
	int timeout_ms, stop_after, progress;
	struct json_object *reply;
	GError *error;
	gint finished;
};

static bool
on_sync_progress(struct json_object *parameters, gpointer user_data)
{
	struct sync_job *j = user_data;

	return ++j->progress != j->stop_after;
}

static gpointer
sync_thread(gpointer user_data)
{
	struct sync_job *j = user_data;

	j->reply = varlink_call_sync(j->f->path, j->method, NULL, true, on_sync_progress, j, j->timeout_ms, &j->error);
	g_atomic_int_set(&j->finished, 1);
	g_main_context_wakeup(NULL);
	return NULL;
}

static void
call_sync(struct sync_job *j)
{
	GThread *thread;

	thread = g_thread_new("client", sync_thread, j);
	run_until(g_atomic_int_get(&j->finished));
	g_thread_join(thread);
	assert_true(!j->reply != !j->error);
}

static void
test_sync(void **state)
{
	struct fixture *f = *state;
	static const struct { const char *method; int stop_after, timeout_ms, progress; enum ftd_error_code code; const char *error; } cases[] = {
		{ INTERFACE ".Echo", 0, -1, 0 },
		{ INTERFACE ".Count", 0, 2000, 3 },
		{ INTERFACE ".Count", 2, -1, 2 },
		{ INTERFACE ".Fail", 0, 2000, 0, FTD_ERROR_NIC_VHOST, "net0 uses vhost" },
		{ INTERFACE ".None", 0, 2000, 0, FTD_ERROR_PROTOCOL, "None" },
		{ INTERFACE ".Hold", 0, 100, 0, FTD_ERROR_TIMEOUT, "100 ms" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct sync_job j = { .f = f, .method = cases[i].method, .stop_after = cases[i].stop_after, .timeout_ms = cases[i].timeout_ms };

		call_sync(&j);
		assert_int_equal(j.progress, cases[i].progress);
		if (cases[i].error)
			assert_error_text(j.error, cases[i].code, cases[i].error);
		else
			assert_non_null(j.reply);
		json_object_put(j.reply);
		g_clear_error(&j.error);
	}
	run_until(f->gone == 1);
}

static void
test_sync_nobody(void **state)
{
	g_autoptr(GError) error = NULL;

	assert_null(varlink_call_sync("/nowhere/sock", INTERFACE ".Echo", NULL, false, NULL, NULL, 100, &error));
	assert_error_text(error, FTD_ERROR_NO_DAEMON, "/nowhere/sock");
}

/* ---- raw callers ---- */

static int
raw_connect(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	g_strlcpy(address.sun_path, f->path, sizeof address.sun_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void
raw_send(int fd, const char *text, size_t length)
{
	assert_int_equal(send(fd, text, length, MSG_NOSIGNAL), length);
}

#define RAW(fd, text) raw_send(fd, text "\0", sizeof text)

/* Everything that comes until the other side closes (the NULs as newlines), or until `messages` have come. */
static char *
raw_receive(int fd, unsigned messages)
{
	GString *got = g_string_new(NULL);
	gint64 end = g_get_monotonic_time() + 5000000;

	while (messages && g_get_monotonic_time() < end) {
		char c;
		ssize_t n = recv(fd, &c, 1, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n < 0)
			g_main_context_iteration(NULL, FALSE);
		else
			g_string_append_c(got, c ? c : '\n');
		messages -= n == 1 && c == 0;
	}
	return g_string_free(got, FALSE);
}

static void
test_pipelined_in_order(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	g_autofree char *first = NULL, *rest = NULL;

	RAW(fd, "{\"method\":\"" INTERFACE ".Echo\",\"parameters\":{\"text\":\"a\"}}\0{\"method\":\"" INTERFACE ".Hold\"}\0"
		"{\"method\":\"" INTERFACE ".Echo\",\"parameters\":{\"text\":\"b\"},\"oneway\":true}\0{\"method\":\"" INTERFACE ".Echo\",\"parameters\":{\"text\":\"c\"}}");
	run_until(f->held);
	for (unsigned i = 0; i < 20; i++)
		g_main_context_iteration(NULL, FALSE);
	assert_string_equal(f->order->str, "a");	/* what is behind Hold waits */
	varlink_request_finish(f->held, NULL);
	f->held = NULL;
	first = raw_receive(fd, 3);
	assert_string_equal(first, "{\"parameters\":{\"text\":\"a\"}}\n{\"parameters\":{}}\n{\"parameters\":{\"text\":\"c\"}}\n");	/* nothing for oneway */
	assert_string_equal(f->order->str, "abc");
	shutdown(fd, SHUT_WR);
	rest = raw_receive(fd, 1);
	assert_string_equal(rest, "");
	close(fd);
}

static void
test_half_closed_caller_gets_its_answer(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	g_autofree char *reply = NULL;

	RAW(fd, "{\"method\":\"" INTERFACE ".Hold\"}");
	shutdown(fd, SHUT_WR);
	run_until(f->held);
	for (unsigned i = 0; i < 20; i++)
		g_main_context_iteration(NULL, FALSE);
	assert_int_equal(f->gone, 0);
	varlink_request_finish(f->held, NULL);
	f->held = NULL;
	reply = raw_receive(fd, 2);
	assert_string_equal(reply, "{\"parameters\":{}}\n");
	close(fd);
}

static void
test_nonsense_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	static const char *const cases[] = { "nonsense", "[]", "{\"method\":1}", "{\"method\":\"Echo\"}", "{\"method\":\"a.b\",\"parameters\":[]}", "" };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		int fd = raw_connect(f);
		g_autofree char *reply = NULL;

		raw_send(fd, cases[i], strlen(cases[i]) + 1);
		reply = raw_receive(fd, 1);
		assert_string_equal(reply, "");
		close(fd);
	}
}

static void
test_too_long_a_call(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	g_autofree char *spaces = g_strnfill(65536, ' ');
	size_t sent = 0;

	for (gint64 end = g_get_monotonic_time() + 5000000; g_get_monotonic_time() < end;) {
		ssize_t n = send(fd, spaces, 65536, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		g_main_context_iteration(NULL, FALSE);
	}
	assert_true(sent > VARLINK_MAX_MESSAGE && sent < VARLINK_MAX_MESSAGE + (2u << 20));
	close(fd);
}

static void
test_slow_reader_is_cut_off(void **state)
{
	struct fixture *f = *state;
	int fd = raw_connect(f);
	g_autofree char *text = g_strnfill(100000, 'x');
	unsigned sent = 0;

	RAW(fd, "{\"method\":\"" INTERFACE ".Hold\",\"more\":true}");
	run_until(f->held);
	for (bool there = true; there && sent < 1000; sent++) {
		struct json_object *p = json_object_new_object();

		json_object_object_add(p, "text", json_object_new_string(text));
		there = varlink_request_notify(f->held, p);
	}
	assert_in_range(sent, 40, 60);
	run_until(f->gone == 1);
	close(fd);
}

static void
test_connection_limit(void **state)
{
	struct fixture *f = *state;
	int fds[65];
	g_autofree char *reply = NULL;
	struct answer a;

	for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
		fds[i] = raw_connect(f);
		while (g_main_context_iteration(NULL, FALSE))
			;
	}
	reply = raw_receive(fds[64], 2);
	assert_non_null(strstr(reply, "org.ftd.Limit"));
	call(f, &a, INTERFACE ".Echo", NULL, false);
	assert_error_text(a.error, FTD_ERROR_LIMIT, "64");
	answer_clear(&a);
	for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
		close(fds[i]);
	while (g_main_context_iteration(NULL, FALSE))
		;
	call(f, &a, INTERFACE ".Echo", NULL, false);
	assert_null(a.error);
	answer_clear(&a);
}

/* ---- who may ---- */

static void
call_as(struct fixture *f, const gid_t *groups, size_t n, struct answer *a, const char *method)
{
	/* cmocka's process must stay root: another process connects and hands its socket's fate to this loop. */
	int pipe_fds[2];
	char code = 0;
	pid_t pid;

	*a = (struct answer){ 0 };
	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	if (pid == 0) {
		g_autoptr(GError) error = NULL;

		if (setgroups(n, groups) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(1);
		json_object_put(varlink_call_sync(f->path, method, NULL, false, NULL, NULL, 3000, &error));
		code = error ? (char)error->code : -1;
		if (write(pipe_fds[1], &code, 1) != 1)
			_exit(1);
		_exit(0);
	}
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	for (gint64 end = g_get_monotonic_time() + 5000000; read(pipe_fds[0], &code, 1) != 1 && g_get_monotonic_time() < end;)
		g_main_context_iteration(NULL, FALSE);
	waitpid(pid, NULL, 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	a->done = code == -1;
	a->error = code == -1 ? NULL : g_error_new(FTD_ERROR, code, "-");
}

static void
test_denied(void **state)
{
	struct fixture *f = *state;
	struct answer a;
	struct group *group = getgrnam("daemon");
	const gid_t other = 4242;

	if (geteuid() != 0 || !group)
		skip();
	g_clear_pointer(&f->server, varlink_server_free);
	g_chmod(f->dir, 0755);
	f->server = varlink_server_new(f->path, 0666, "daemon", INTERFACE, "", methods, f, NULL);
	assert_non_null(f->server);
	varlink_server_note_changes(f->server, note);
	call_as(f, &other, 1, &a, INTERFACE ".Echo");
	assert_null(a.error);
	assert_int_equal(f->calls, 1);
	assert_string_equal(f->order->str, "");	/* what changes nothing is nobody's business */
	call_as(f, &other, 1, &a, INTERFACE ".Change");
	assert_error_text(a.error, FTD_ERROR_DENIED, "-");
	assert_int_equal(f->calls, 1);
	answer_clear(&a);
	call_as(f, &group->gr_gid, 1, &a, INTERFACE ".Change");
	assert_null(a.error);
	assert_int_equal(f->calls, 2);
	assert_string_equal(f->order->str, "Change {} uid 65534 refused;Change {} uid 65534;");
	call(f, &a, INTERFACE ".Change", NULL, false);	/* root */
	assert_null(a.error);
	answer_clear(&a);
}

/* ---- the socket file ---- */

static void
test_socket_file(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;
	struct stat st;
	g_autofree char *aside = g_strconcat(f->path, ".aside", NULL);
	struct answer a;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_null(varlink_server_new(f->path, 0660, NULL, INTERFACE, "", methods, f, &error));
	assert_error_text(error, FTD_ERROR_CONFIG, "another process");
	g_clear_error(&error);
	assert_null(varlink_server_new(f->path, 0660, "no-such-group", INTERFACE, "", methods, f, &error));
	assert_error_text(error, FTD_ERROR_CONFIG, "no-such-group");
	g_clear_error(&error);
	/* A socket file that nobody listens on: what a crash leaves. */
	assert_int_equal(rename(f->path, aside), 0);
	g_clear_pointer(&f->server, varlink_server_free);
	assert_int_equal(rename(aside, f->path), 0);
	f->server = varlink_server_new(f->path, 0600, NULL, INTERFACE, "", methods, f, &error);
	assert_null(error);
	call(f, &a, INTERFACE ".Echo", NULL, false);
	assert_null(a.error);
	answer_clear(&a);
}

#define IO_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IO_TEST(test_answers),
		IO_TEST(test_nobody_listens),
		IO_TEST(test_silence),
		IO_TEST(test_cancel),
		IO_TEST(test_server_goes_away),
		IO_TEST(test_server_freed_by_method),
		IO_TEST(test_detached_request),
		IO_TEST(test_sync),
		IO_TEST(test_sync_nobody),
		IO_TEST(test_pipelined_in_order),
		IO_TEST(test_half_closed_caller_gets_its_answer),
		IO_TEST(test_nonsense_ends_the_connection),
		IO_TEST(test_too_long_a_call),
		IO_TEST(test_slow_reader_is_cut_off),
		IO_TEST(test_connection_limit),
		IO_TEST(test_denied),
		IO_TEST(test_socket_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
