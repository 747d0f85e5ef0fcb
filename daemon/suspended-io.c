/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/suspended-io.h"

#include "daemon/json-util.h"

#include <glib/gstdio.h>

#define SUFFIX ".suspended"	/* beside the records of pairs */

bool
suspended_write(const struct host *h, const char *uuid, const char *peer, GError **error)
{
	g_autofree char *path = host_state_file(h, uuid, SUFFIX);
	g_autoptr(json_object_ptr) o = json_put_str(json_object_new_object(), "peer", peer);

	return g_file_set_contents_full(path, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
					0600, error);
}

char *
suspended_read(const struct host *h, const char *uuid)
{
	g_autofree char *path = host_state_file(h, uuid, SUFFIX), *text = NULL;
	g_autoptr(json_object_ptr) o = NULL;
	gsize length;

	if (g_file_get_contents(path, &text, &length, NULL))
		o = json_parse(text, length, NULL);
	return g_strdup(json_get_str(o, "peer"));
}

void
suspended_clear(const struct host *h, const char *uuid)
{
	g_autofree char *path = host_state_file(h, uuid, SUFFIX);

	g_unlink(path);
}
