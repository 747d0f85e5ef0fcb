/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversations: each line is something that goes in, followed by all that has to come out. */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-session.h"

#include <fcntl.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}"
#define GREETING_PLAIN "{\"QMP\": {\"version\": {}, \"capabilities\": []}}"

enum input { IN, EXECUTE, EXECUTE_OOB, EXECUTE_FD, TICK, CLOSE, LIBVIRT_REPLY, LIBVIRT_FAILED, END };

struct line {
	enum input input;
	const char *text;	/* IN, LIBVIRT_REPLY: message; EXECUTE*: command name */
	uint64_t time;		/* EXECUTE*: deadline; TICK: now; LIBVIRT_*: id */
	const char *out;	/* "" = nothing */
};

static void
describe(GString *out, struct qmp_session_action *a)
{
	gsize n = 0;

	if (out->len)
		g_string_append(out, " | ");
	switch (a->type) {
	case QMP_SESSION_SEND:
		g_string_append(out, a->fd >= 0 ? "send+fd " : "send ");
		g_string_append_len(out, g_bytes_get_data(a->bytes, &n), (gssize)g_bytes_get_size(a->bytes));
		g_strchomp(out->str);
		out->len = strlen(out->str);
		break;
	case QMP_SESSION_REPLY:
		g_string_append_printf(out, "reply %u %s", (unsigned)a->id, a->error ? ftd_error_name(a->error) : "ok");
		break;
	case QMP_SESSION_EVENT:
		g_string_append_printf(out, "event %s", json_member_string(a->reply, "event"));
		break;
	case QMP_SESSION_IS_READY:
		g_string_append(out, "ready");
		break;
	case QMP_SESSION_IS_CLOSED:
		g_string_append_printf(out, "closed %s", ftd_error_name(a->error));
		break;
	}
}

static void
put_in(struct qmp_session *s, const struct line *l)
{
	g_autoptr(json_object) message = l->input == IN || l->input == LIBVIRT_REPLY ? parse(l->text) : NULL;
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_LIBVIRT, "test");
	struct json_object *command = json_object_new_object();

	json_object_object_add(command, "execute", json_object_new_string(l->text ? l->text : ""));
	if (l->input == EXECUTE || l->input == EXECUTE_OOB || l->input == EXECUTE_FD)
		qmp_session_execute(s, json_object_get(command), l->input == EXECUTE_FD ? open("/dev/null", O_RDONLY) : -1, l->input == EXECUTE_OOB, l->time);
	else if (l->input == IN)
		qmp_session_input(s, message);
	else if (l->input == TICK)
		qmp_session_tick(s, l->time);
	else if (l->input == CLOSE)
		qmp_session_close(s, error);
	else if (l->input == LIBVIRT_REPLY)
		qmp_session_libvirt_reply(s, l->time, message);
	else
		qmp_session_libvirt_failed(s, l->time, error);
	json_object_put(command);
}

static void
talk(enum qmp_session_kind kind, const struct line *lines)
{
	g_autoptr(qmp_session) s = qmp_session_new(kind, 1000);

	for (unsigned i = 0; lines[i].input != END; i++) {
		g_autoptr(GString) out = g_string_new("");
		struct qmp_session_action a;

		put_in(s, &lines[i]);
		while (qmp_session_next(s, &a)) {
			describe(out, &a);
			qmp_session_action_clear(&a);
		}
		if (!g_str_equal(out->str, lines[i].out))
			fail_msg("line %u (%s):\ngot  %s\nwant %s", i, lines[i].text ? lines[i].text : "", out->str, lines[i].out);
	}
}

#define CAPS_OOB "send {\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":"
#define OPEN { IN, GREETING, 0, CAPS_OOB "1}" }, { IN, "{\"return\": {}, \"id\": 1}", 0, "ready" }

static void
opening(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){
		{ EXECUTE, "query-status", 9000, "" },
		{ IN, GREETING, 0, CAPS_OOB "2}" },
		{ EXECUTE_OOB, "yank", 9000, "" },
		{ IN, "{\"timestamp\": {}, \"event\": \"STOP\"}", 0, "event STOP" },
		{ IN, "{\"return\": {}, \"id\": 2}", 0, "ready | send {\"execute\":\"query-status\",\"id\":1} | send {\"exec-oob\":\"yank\",\"id\":3}" },
		{ IN, "{\"return\": {}, \"id\": 3}", 0, "reply 3 ok" },
		{ IN, "{\"return\": {}, \"id\": 1}", 0, "reply 1 ok" },
		{ END } });
}

static void
without_oob(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){
		{ EXECUTE_OOB, "yank", 9000, "" },
		{ IN, GREETING_PLAIN, 0, "send {\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]},\"id\":2}" },
		{ IN, "{\"return\": {}, \"id\": 2}", 0, "ready | send {\"execute\":\"yank\",\"id\":1}" },
		{ EXECUTE_OOB, "yank", 9000, "" },
		{ IN, "{\"return\": {}, \"id\": 1}", 0, "reply 1 ok | send {\"execute\":\"yank\",\"id\":3}" },
		{ END } });
}

static void
one_in_band_at_a_time(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){
		OPEN,
		{ EXECUTE_FD, "getfd", 9000, "send+fd {\"execute\":\"getfd\",\"id\":2}" },
		{ EXECUTE_FD, "getfd", 9000, "" },
		{ EXECUTE_OOB, "yank", 9000, "send {\"exec-oob\":\"yank\",\"id\":4}" },
		{ IN, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 2}", 0, "reply 2 Qmp | send+fd {\"execute\":\"getfd\",\"id\":3}" },
		{ IN, "{\"return\": {}, \"id\": 3}", 0, "reply 3 ok" },
		{ IN, "{\"return\": {}, \"id\": 4}", 0, "reply 4 ok" },
		{ END } });
}

static void
deadlines(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){
		OPEN,
		{ EXECUTE, "a", 2000, "send {\"execute\":\"a\",\"id\":2}" },
		{ EXECUTE, "b", 2500, "" },
		{ EXECUTE, "c", 9000, "" },
		{ TICK, NULL, 1999, "" },
		{ TICK, NULL, 2000, "reply 2 Timeout" },
		{ TICK, NULL, 2600, "reply 3 Timeout" },	/* b was never sent and never will be */
		{ TICK, NULL, 2700, "" },
		{ IN, "{\"return\": {}, \"id\": 2}", 0, "send {\"execute\":\"c\",\"id\":4}" },	/* the late answer frees the line and is dropped */
		{ IN, "{\"return\": {}, \"id\": 4}", 0, "reply 4 ok" },
		{ END } });
}

static void
greeting_deadline(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){
		{ EXECUTE, "a", 9000, "" }, { TICK, NULL, 999, "" }, { TICK, NULL, 1000, "reply 1 Timeout | closed Timeout" },
		{ EXECUTE, "b", 9000, "reply 2 Timeout" }, { IN, GREETING, 0, "" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){ { IN, GREETING, 0, CAPS_OOB "1}" }, { TICK, NULL, 1000, "closed Timeout" }, { END } });
}

static void
protocol_errors(void **state)
{
	static const char *const wrong[] = {
		"{\"return\": {}, \"id\": 99}", "{\"return\": {}, \"id\": \"2\"}", "{\"return\": {}}", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON\"}}",
		"{\"return\": {}, \"id\": 3}" /* not sent yet */, "{\"hello\": 1}", "{}", GREETING, "{\"return\": {}, \"id\": -2}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
		talk(QMP_SESSION_SOCKET, (struct line[]){
			OPEN,
			{ EXECUTE, "a", 9000, "send {\"execute\":\"a\",\"id\":2}" }, { EXECUTE_FD, "b", 9000, "" },
			{ IN, wrong[i], 0, "reply 2 Protocol | reply 3 Protocol | closed Protocol" },
			{ IN, "{\"return\": {}, \"id\": 2}", 0, "" }, { CLOSE, NULL, 0, "" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){ { IN, "{\"return\": {}}", 0, "closed Protocol" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){ { IN, "{\"event\": \"STOP\"}", 0, "closed Protocol" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){
		{ IN, GREETING, 0, CAPS_OOB "1}" }, { IN, "{\"error\": {\"desc\": \"no\"}, \"id\": 1}", 0, "closed Qmp" }, { END } });
}

static void
closing(void **state)
{
	talk(QMP_SESSION_SOCKET, (struct line[]){ { EXECUTE, "a", 9000, "" }, { CLOSE, NULL, 0, "reply 1 Libvirt | closed Libvirt" }, { CLOSE, NULL, 0, "" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){ { IN, GREETING, 0, CAPS_OOB "1}" }, { CLOSE, NULL, 0, "closed Libvirt" }, { END } });
	talk(QMP_SESSION_SOCKET, (struct line[]){
		OPEN, { EXECUTE, "a", 2000, "send {\"execute\":\"a\",\"id\":2}" }, { TICK, NULL, 2000, "reply 2 Timeout" },
		{ CLOSE, NULL, 0, "closed Libvirt" }, { EXECUTE_FD, "b", 9000, "reply 3 Libvirt" }, { END } });
}

static void
through_libvirt(void **state)
{
	talk(QMP_SESSION_LIBVIRT, (struct line[]){
		{ EXECUTE_FD, "getfd", 9000, "send+fd {\"execute\":\"getfd\"}" },	/* no id: libvirt has its own */
		{ EXECUTE_OOB, "yank", 9000, "" },
		{ LIBVIRT_REPLY, "{\"return\": {}, \"id\": \"libvirt-7\"}", 1, "reply 1 ok | send {\"execute\":\"yank\"}" },
		{ LIBVIRT_FAILED, NULL, 2, "reply 2 Libvirt" },
		{ EXECUTE, "a", 2000, "send {\"execute\":\"a\"}" },
		{ TICK, NULL, 3000, "reply 3 Timeout" },
		{ EXECUTE, "b", 9000, "" },
		{ LIBVIRT_FAILED, NULL, 3, "send {\"execute\":\"b\"}" },
		{ LIBVIRT_REPLY, "{\"error\": {\"desc\": \"no\"}}", 4, "reply 4 Qmp" },
		{ LIBVIRT_REPLY, "{\"return\": {}}", 4, "" },
		{ END } });
}

static struct json_object *
some_command(void)
{
	return parse("{\"execute\": \"a\"}");
}

static void
too_many_pending(void **state)
{
	g_autoptr(qmp_session) s = qmp_session_new(QMP_SESSION_SOCKET, 1000);
	struct qmp_session_action a;

	for (int i = 0; i < QMP_SESSION_MAX_PENDING; i++)
		qmp_session_execute(s, some_command(), -1, false, 9000);
	assert_false(qmp_session_next(s, &a));
	assert_int_equal(qmp_session_execute(s, some_command(), -1, false, 9000), QMP_SESSION_MAX_PENDING + 1);
	assert_true(qmp_session_next(s, &a));
	assert_int_equal(a.type, QMP_SESSION_REPLY);
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_LIMIT));
	qmp_session_action_clear(&a);
}

static void
too_many_events(void **state)
{
	g_autoptr(qmp_session) s = qmp_session_new(QMP_SESSION_SOCKET, 1000);
	g_autoptr(json_object) greeting = parse(GREETING), event = parse("{\"event\": \"STOP\"}");

	qmp_session_input(s, greeting);
	for (int i = 0; i < QMP_SESSION_MAX_EVENTS_WAITING; i++)
		qmp_session_input(s, event);
	assert_int_equal(qmp_session_dropped_events(s), 1);	/* the SEND of qmp_capabilities is waiting too */
	assert_int_equal(qmp_session_state(s), QMP_SESSION_NEGOTIATING);
}

static void
fds_are_closed(void **state)
{
	int fds[2];
	char c;
	struct qmp_session *s = qmp_session_new(QMP_SESSION_SOCKET, 1000);

	assert_int_equal(pipe(fds), 0);
	qmp_session_execute(s, some_command(), fds[1], false, 500);
	assert_int_equal(qmp_session_deadline(s), 500);
	qmp_session_tick(s, 500);
	assert_int_equal(read(fds[0], &c, 1), 0);	/* EOF: the write end is gone */
	assert_int_equal(qmp_session_deadline(s), 1000);
	qmp_session_free(s);
	close(fds[0]);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening), cmocka_unit_test(without_oob), cmocka_unit_test(one_in_band_at_a_time), cmocka_unit_test(deadlines),
		cmocka_unit_test(greeting_deadline), cmocka_unit_test(protocol_errors), cmocka_unit_test(closing), cmocka_unit_test(through_libvirt),
		cmocka_unit_test(too_many_pending), cmocka_unit_test(too_many_events), cmocka_unit_test(fds_are_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
