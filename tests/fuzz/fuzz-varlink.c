/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* First byte: how the rest is cut into pieces. Every message is read as a call and as a reply; one piece or many must give the same messages. */
#include "daemon/varlink.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
judge(struct json_object *message, GString *seen)
{
	struct varlink_call call;
	bool continues = false;
	size_t length;
	g_autofree char *text = varlink_serialize(message, &length);

	g_assert(text[length - 1] == '\0');
	g_string_append(seen, text);
	if (varlink_call_decode(message, &call, NULL))
		g_assert(strchr(call.method, '.') && json_object_is_type(call.parameters, json_type_object) && !(call.more && call.oneway));
	g_autoptr(GError) error = varlink_reply_error(message);
	struct json_object *parameters = varlink_reply_decode(message, &continues, NULL);
	g_assert(!error || !parameters);
	g_assert(!parameters || json_object_is_type(parameters, json_type_object));
}

static char *
run(const uint8_t *data, size_t size, size_t piece)
{
	g_autoptr(varlink_splitter) s = varlink_splitter_new();
	GString *seen = g_string_new(NULL);
	struct json_object *message;
	int code = 0;

	for (size_t i = 0; i < size && code == 0; i += piece) {
		g_assert(varlink_splitter_input(s, data + i, MIN(piece, size - i), NULL));
		while ((code = varlink_splitter_next(s, &message, NULL)) == 1) {
			judge(message, seen);
			json_object_put(message);
		}
	}
	g_string_append_c(seen, code < 0 ? '!' : '.');
	return g_string_free(seen, FALSE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	g_autofree char *whole = run(data + 1, size - 1, size), *pieces = run(data + 1, size - 1, data[0] % 16 + 1);
	g_assert(strcmp(whole, pieces) == 0);
	return 0;
}
