/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink messages (varlink.org, "Method Call"): JSON objects ended by NUL. Pure codec; varlink-io.h has server and client.
 * `parameters` given to a function are borrowed (a reference is taken) unless its comment says "takes"; NULL is {}.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#define VARLINK_MAX_MESSAGE (4u << 20)

struct varlink_splitter;
struct varlink_splitter *varlink_splitter_new(void);
void varlink_splitter_free(struct varlink_splitter *s);
typedef struct varlink_splitter varlink_splitter;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(varlink_splitter, varlink_splitter_free)
/* FTD_ERROR_LIMIT when the message that is still open grows past the maximum. The caller bounds what it feeds before it takes whole messages out. */
bool varlink_splitter_input(struct varlink_splitter *s, const void *data, size_t length, GError **error);
size_t varlink_splitter_buffered(const struct varlink_splitter *s);
/* The next message: 1 and *out (owned), 0 none, -1 error (not JSON, not an object, nested deeper than 32). */
int varlink_splitter_next(struct varlink_splitter *s, struct json_object **out, GError **error);

struct varlink_call { const char *method; struct json_object *parameters; bool more, oneway; };	/* borrowed from the message; parameters never NULL in a decoded call */
bool varlink_call_decode(struct json_object *message, struct varlink_call *out, GError **error);
struct json_object *varlink_call_encode(const char *method, struct json_object *parameters, bool more);
struct json_object *varlink_reply(struct json_object *parameters, bool continues);
/* {"error": "org.ftd.<Name>", "parameters": {"message": ...}} */
struct json_object *varlink_error(const GError *error);
/* The same with any full name and parameters, for org.varlink.service's own errors. */
struct json_object *varlink_error_named(const char *name, struct json_object *parameters);
/* The bytes of a message with its NUL, to be freed with g_free(). */
char *varlink_serialize(struct json_object *message, size_t *length);
/* {"error": ...} or {"parameters": ..., "continues": ...}: the reply's parameters (borrowed, never NULL), or NULL and an FTD_ERROR_*. */
struct json_object *varlink_reply_decode(struct json_object *message, bool *continues, GError **error);
/* An error reply as GError (FTD_ERROR_*), or NULL when it is no error. */
GError *varlink_reply_error(struct json_object *message);
