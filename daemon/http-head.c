/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/http-head.h"

#include <string.h>

static const char *
reason_phrase(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	default:
		return "Service Unavailable";
	}
}

static bool
names_openmetrics(const char *line)
{
	g_autofree char *lower = g_ascii_strdown(line, -1);

	return g_str_has_prefix(lower, "accept:") && strstr(lower, "application/openmetrics-text");
}

/* "GET /metrics HTTP/1.1": a query is not looked at; "/" will do too. */
static unsigned
status_of(const char *line, bool *head_only)
{
	g_auto(GStrv) words = g_strsplit(line, " ", -1);
	size_t path;

	if (g_strv_length(words) != 3 || !g_str_has_prefix(words[2], "HTTP/1."))
		return 400;
	*head_only = strcmp(words[0], "HEAD") == 0;
	if (!*head_only && strcmp(words[0], "GET") != 0)
		return 405;
	path = strcspn(words[1], "?");
	if ((path == 1 && words[1][0] == '/') || (path == strlen("/metrics") && strncmp(words[1], "/metrics", path) == 0))
		return 200;
	return 404;
}

enum http_progress
http_head_parse(const char *data, gsize length, struct http_head *out)
{
	const char *end = memmem(data, length, "\r\n\r\n", 4);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	*out = (struct http_head){ .status = 400 };
	if (!end && length < HTTP_HEAD_MAX)
		return HTTP_MORE;
	if (!end || end - data > HTTP_HEAD_MAX) {
		out->status = 431;
		return HTTP_COMPLETE;
	}
	if (memchr(data, '\0', (gsize)(end - data)))
		return HTTP_COMPLETE;
	text = g_strndup(data, (gsize)(end - data));
	lines = g_strsplit(text, "\r\n", -1);
	if (!lines[0])
		return HTTP_COMPLETE;
	out->status = status_of(lines[0], &out->head_only);
	for (guint i = 1; lines[i]; i++)
		out->openmetrics |= names_openmetrics(lines[i]);
	return HTTP_COMPLETE;
}

GString *
http_answer(const struct http_head *head, const char *content_type, const char *body)
{
	const char *phrase = reason_phrase(head->status);
	g_autofree char *line = g_strconcat(phrase, "\n", NULL);
	GString *out = g_string_new(NULL);

	if (!body)
		body = line;
	g_string_append_printf(out, "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", head->status, phrase,
			       content_type ? content_type : "text/plain; charset=utf-8", strlen(body), head->status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (!head->head_only)
		g_string_append(out, body);
	return out;
}
