/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Varlink messages (varlink.org, "Method Call"): JSON objects ended by NUL. Pure codec; varlink-io.h has server and client. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#define VARLINK_MAX_MESSAGE (4u << 20)

struct varlink_splitter;
struct varlink_splitter *varlink_splitter_new(void);
void varlink_splitter_free(struct varlink_splitter *s);
bool varlink_splitter_input(struct varlink_splitter *s, const void *data, size_t length, GError **error);	/* FTD_ERROR_LIMIT past the maximum */
/* The next message: 1 and *out (owned), 0 none, -1 error (not JSON, not an object, nested deeper than 32). */
int varlink_splitter_next(struct varlink_splitter *s, struct json_object **out, GError **error);

struct varlink_call { const char *method; struct json_object *parameters; bool more, oneway; };	/* borrowed from the message; parameters never NULL in a decoded call */
bool varlink_call_decode(struct json_object *message, struct varlink_call *out, GError **error);
struct json_object *varlink_call_encode(const char *method, struct json_object *parameters, bool more);
struct json_object *varlink_reply(struct json_object *parameters, bool continues);
/* {"error": "org.ftd.<Name>", "parameters": {"message": ...}} */
struct json_object *varlink_error(const GError *error);
/* An error reply as GError (FTD_ERROR_*), or NULL when it is no error. */
GError *varlink_reply_error(struct json_object *message);
