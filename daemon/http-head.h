/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As much of HTTP/1.1 (RFC 9112) as it takes to be scraped: the head of a GET in, a whole answer out, one per connection. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define HTTP_HEAD_MAX 8192	/* more is answered with 431 */

enum http_progress { HTTP_MORE, HTTP_COMPLETE };
struct http_head {
	unsigned status;	/* 200: to be answered; anything else: what to answer */
	bool head_only;		/* HEAD: the answer is without its body */
	bool openmetrics;	/* what the client prefers */
};

/* Looks at all that has arrived so far. A client that ends before its head does is cut off by the caller. */
enum http_progress http_head_parse(const char *data, gsize length, struct http_head *out);
/* The answer, with `Connection: close`. body NULL: a line that says what the status means. */
GString *http_answer(const struct http_head *head, const char *content_type, const char *body);
