/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of etcd that misbehave: each is a thread that answers every request with one text (or none), on loopback. */
#include "daemon/base/error.h"
#include "policy/arbiter-io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"
#define TOTAL_MS 2500	/* of a claim, arbiter-etcd-io.c */
#define SLACK_MS 400

#define ANSWER(cluster, revision, rest) "{\"header\":{\"cluster_id\":\"" cluster "\",\"member_id\":\"1\",\"revision\":\"" revision "\",\"raft_term\":\"2\"}" rest "}"
#define EMPTY ",\"succeeded\":true,\"responses\":[{\"response_range\":{}},{\"response_range\":{}}]"
#define WRITTEN ",\"succeeded\":true,\"responses\":[{\"response_put\":{}}]"

struct server {
	int fd;
	guint16 port;
	const char *status;		/* NULL: it never answers */
	const char *const *bodies;	/* one per request, the last one again and again */
	gint requests;
	size_t padding;			/* bytes of white space behind the body */
	GThread *thread;
};

/* Reads a request with its body: both our requests and their Content-Length are short. */
static bool
read_request(int fd)
{
	char text[8192];
	size_t n = 0;

	for (;;) {
		ssize_t got = read(fd, text + n, sizeof text - 1 - n);
		const char *end, *length;

		if (got <= 0)
			return false;
		n += (size_t)got;
		text[n] = '\0';
		end = strstr(text, "\r\n\r\n");
		length = strstr(text, "Content-Length: ");
		if (end && length && strlen(end + 4) >= g_ascii_strtoull(length + 16, NULL, 10))
			return true;
	}
}

static void
answer(struct server *s, int fd)
{
	int n = g_atomic_int_add(&s->requests, 1);
	const char *const *body = s->bodies;
	g_autofree char *padding = g_strnfill(s->padding, ' '), *text = NULL;
	size_t done = 0;

	while (n-- > 0 && body[1])
		body++;
	text = g_strdup_printf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s%s", s->status, strlen(*body) + s->padding, *body, padding);
	while (done < strlen(text)) {
		ssize_t w = send(fd, text + done, strlen(text) - done, MSG_NOSIGNAL);

		if (w <= 0)
			return;
		done += (size_t)w;
	}
}

static gpointer
serve(gpointer data)
{
	struct server *s = data;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		while (read_request(fd))
			if (s->status)
				answer(s, fd);
		close(fd);
	}
	return NULL;
}

static void
server_start(struct server *s)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;

	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(s->fd, 8), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &length), 0);
	s->port = ntohs(address.sin_port);
	s->thread = g_thread_new("server", serve, s);
}

static void
server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	g_thread_join(s->thread);
	close(s->fd);
}

static enum arbiter_verdict
claim(struct arbiter *a, struct arbiter_record *holder, GError **error)
{
	struct arbiter_record c = { .pair = PAIR, .generation = 1, .active = "a", .standby = "b", .nonce = "n1", .reason = "protect", .written_at = 1 };

	return arbiter_claim(a, &c, holder, error);
}

static struct arbiter *
open_at(guint16 port, guint16 other)
{
	g_autofree char *spec = other ? g_strdup_printf("etcd:http://127.0.0.1:%u,http://127.0.0.1:%u", port, other) : g_strdup_printf("etcd:http://127.0.0.1:%u", port);
	struct arbiter *a = arbiter_open(spec, "/nonexistent", NULL);

	assert_non_null(a);
	return a;
}

#define BODIES(...) (const char *const[]){ __VA_ARGS__, NULL }

static void
test_no_answers(void **state)
{
	const struct { struct server server; const char *reason; } cases[] = {
		{ { .status = "200 OK", .bodies = BODIES("<html>It works!</html>") }, "not a whole JSON object" },
		{ { .status = "200 OK", .bodies = BODIES("") }, "0 bytes" },
		{ { .status = "200 OK", .bodies = BODIES("{}") }, "header" },
		{ { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", "")) }, "succeeded" },
		{ { .status = "404 Not Found", .bodies = BODIES("Not Found") }, "404" },
		{ { .status = "301 Moved\r\nLocation: http://127.0.0.1:1/", .bodies = BODIES("") }, "301" },
		{ { .status = "503 Unavailable", .bodies = BODIES("{\"error\":\"etcdserver: request timed out\",\"code\":14}") }, "request timed out" },
		{ { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY)), .padding = 100000 }, "too long" },
		{ { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY), ANSWER("8", "2", WRITTEN)) }, "another cluster" },
		{ { .status = "200 OK", .bodies = BODIES(ANSWER("7", "5", EMPTY), ANSWER("7", "4", WRITTEN)) }, "behind" },
		{ { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY), ANSWER("7", "2", EMPTY)) }, "not one" },
		{ { .status = NULL }, "timed out" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct server s = cases[i].server;
		g_autoptr(arbiter) a = NULL;
		g_autoptr(GError) error = NULL;
		gint64 begin = g_get_monotonic_time();

		server_start(&s);
		a = open_at(s.port, 0);
		assert_int_equal(claim(a, NULL, &error), ARBITER_SILENT);
		assert_true(g_get_monotonic_time() - begin < (TOTAL_MS + SLACK_MS) * 1000);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT));
		if (!strstr(error->message, cases[i].reason))
			fail_msg("case %zu (%s): %s", i, cases[i].reason, error->message);
		server_stop(&s);
	}
}

/* The same servers answering well are granted from: so the cases above fail for the reason they name. */
static void
test_good(void **state)
{
	struct server s = { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY), ANSWER("7", "2", WRITTEN)) };
	g_autoptr(arbiter) a = NULL;
	struct arbiter_record holder;

	server_start(&s);
	a = open_at(s.port, 0);
	assert_int_equal(claim(a, &holder, NULL), ARBITER_GRANTED);
	assert_string_equal(holder.active, "a");
	assert_int_equal(s.requests, 2);
	server_stop(&s);
}

/* A member that refuses, hangs or talks nonsense is passed over, and not asked first again. */
static void
test_next_member(void **state)
{
	struct server good = { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY), ANSWER("7", "2", WRITTEN)) }, hung = { .status = NULL };
	struct server nonsense = { .status = "200 OK", .bodies = BODIES("nonsense") };
	struct server *const bad[] = { NULL, &hung, &nonsense };

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autoptr(arbiter) a = NULL;
		g_autoptr(GError) error = NULL;

		g_atomic_int_set(&good.requests, 0);
		server_start(&good);
		if (bad[i])
			server_start(bad[i]);
		a = open_at(bad[i] ? bad[i]->port : 1, good.port);
		assert_int_equal(claim(a, NULL, &error), ARBITER_GRANTED);
		assert_int_equal(good.requests, 2);
		if (bad[i])
			server_stop(bad[i]);
		server_stop(&good);
	}
	assert_int_equal(nonsense.requests, 1);
}

static void
test_all_down(void **state)
{
	g_autoptr(arbiter) a = open_at(1, 2);
	g_autoptr(GError) error = NULL;
	struct arbiter_record r;

	assert_int_equal(claim(a, NULL, &error), ARBITER_SILENT);
	assert_non_null(strstr(error->message, "127.0.0.1:1: "));
	assert_non_null(strstr(error->message, "127.0.0.1:2: "));
	assert_int_equal(arbiter_read(a, PAIR, &r, NULL), -1);
	assert_false(arbiter_forget(a, PAIR, NULL));
	assert_false(arbiter_probe_write(a, "n1", NULL));
	assert_false(arbiter_probe_read(a, "n1", NULL));
	arbiter_probe_remove(a, "n1");
	assert_false(arbiter_register_host(a, "a", 60, NULL));
	assert_null(arbiter_hosts(a, NULL));
}

#define HOSTS ",\"kvs\":[{\"key\":\"L2Z0ZC9ob3N0cy9h\"},{\"key\":\"L2Z0ZC9ob3N0cy9i\"}]"

static void
test_hosts(void **state)
{
	struct server s = { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", ",\"ID\":\"5\""), ANSWER("7", "2", ""), ANSWER("7", "2", HOSTS)) };
	struct server other = { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", ",\"ID\":\"5\""), ANSWER("7", "2", ""), ANSWER("8", "2", HOSTS)) };
	g_autoptr(arbiter) a = NULL, b = NULL, file = arbiter_open("file:/nonexistent", "/nonexistent", NULL);
	g_autoptr(GError) error = NULL;
	g_auto(GStrv) names = NULL;

	server_start(&s);
	server_start(&other);
	a = open_at(s.port, 0);
	assert_true(arbiter_register_host(a, "a", 60, NULL));
	names = arbiter_hosts(a, NULL);
	assert_int_equal(g_strv_length(names), 2);
	assert_string_equal(names[1], "b");
	b = open_at(other.port, 0);
	assert_true(arbiter_register_host(b, "a", 60, NULL));
	assert_null(arbiter_hosts(b, &error));
	assert_non_null(strstr(error->message, "another cluster"));
	g_clear_error(&error);
	assert_null(arbiter_hosts(file, &error));
	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_USAGE));
	server_stop(&s);
	server_stop(&other);
}

/* Without certificates no https member is asked anything. */
static void
test_no_certificates(void **state)
{
	struct server s = { .status = "200 OK", .bodies = BODIES(ANSWER("7", "1", EMPTY)) };
	g_autofree char *spec = NULL;
	g_autoptr(arbiter) a = NULL;
	g_autoptr(GError) error = NULL;

	server_start(&s);
	spec = g_strdup_printf("etcd:https://127.0.0.1:%u", s.port);
	a = arbiter_open(spec, "/nonexistent", NULL);
	assert_int_equal(claim(a, NULL, &error), ARBITER_SILENT);
	assert_int_equal(s.requests, 0);
	server_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_no_answers), cmocka_unit_test(test_next_member), cmocka_unit_test(test_all_down),
		cmocka_unit_test(test_no_certificates), cmocka_unit_test(test_hosts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
