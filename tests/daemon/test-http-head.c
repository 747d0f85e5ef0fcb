/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/http-head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_heads(void **state)
{
	static const struct { const char *head; unsigned status; bool head_only, openmetrics; } cases[] = {
		{ "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, false, false },
		{ "GET / HTTP/1.0\r\n\r\n", 200, false, false },
		{ "GET /metrics?name=x HTTP/1.1\r\n\r\n", 200, false, false },
		{ "HEAD /metrics HTTP/1.1\r\n\r\n", 200, true, false },
		{ "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n", 200, false, true },
		{ "GET /metrics HTTP/1.1\r\nX-Accept: application/openmetrics-text\r\n\r\n", 200, false, false },
		{ "GET /metricsx HTTP/1.1\r\n\r\n", 404, false, false },
		{ "GET /../etc/shadow HTTP/1.1\r\n\r\n", 404, false, false },
		{ "POST /metrics HTTP/1.1\r\n\r\n", 405, false, false },
		{ "GET /metrics\r\n\r\n", 400, false, false },
		{ "GET  /metrics HTTP/1.1\r\n\r\n", 400, false, false },
		{ "GET /metrics SMTP/1.1\r\n\r\n", 400, false, false },
		{ "\r\n\r\n", 400, false, false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		size_t length = strlen(cases[i].head);
		struct http_head h;

		for (size_t n = 0; n < length; n++)	/* every split */
			assert_int_equal(http_head_parse(cases[i].head, n, &h), HTTP_MORE);
		assert_int_equal(http_head_parse(cases[i].head, length, &h), HTTP_COMPLETE);
		assert_int_equal(h.status, cases[i].status);
		assert_int_equal(h.head_only, cases[i].head_only);
		assert_int_equal(h.openmetrics, cases[i].openmetrics);
	}
}

static void
test_limits(void **state)
{
	static const char zero[] = "GET /metrics HTTP/1.1\r\nA: \0\r\n\r\n";
	g_autofree char *endless = g_strnfill(HTTP_HEAD_MAX, 'x');
	struct http_head h;

	assert_int_equal(http_head_parse(endless, HTTP_HEAD_MAX - 1, &h), HTTP_MORE);
	assert_int_equal(http_head_parse(endless, HTTP_HEAD_MAX, &h), HTTP_COMPLETE);
	assert_int_equal(h.status, 431);
	assert_int_equal(http_head_parse(zero, sizeof zero - 1, &h), HTTP_COMPLETE);
	assert_int_equal(h.status, 400);
}

static void
test_answers(void **state)
{
	static const struct { struct http_head head; const char *body, *text; } cases[] = {
		{ { 200, false, false }, "x 1\n", "HTTP/1.1 200 OK\r\nContent-Type: t\r\nContent-Length: 4\r\nConnection: close\r\n\r\nx 1\n" },
		{ { 200, true, false }, "x 1\n", "HTTP/1.1 200 OK\r\nContent-Type: t\r\nContent-Length: 4\r\nConnection: close\r\n\r\n" },
		{ { 405, false, false }, NULL,
		  "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: t\r\nContent-Length: 19\r\nConnection: close\r\nAllow: GET, HEAD\r\n\r\nMethod Not Allowed\n" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		GString *answer = http_answer(&cases[i].head, "t", cases[i].body);

		assert_string_equal(answer->str, cases[i].text);
		g_string_free(answer, TRUE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_heads), cmocka_unit_test(test_limits), cmocka_unit_test(test_answers) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
