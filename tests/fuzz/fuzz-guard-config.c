/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is accepted must encode to a text that decodes to the same. */
#include "daemon/guard-config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(guard_config) c = guard_config_decode((const char *)data, size, &error), back = NULL;

	g_assert(!c == !!error);
	if (!c)
		return 0;
	g_autofree char *text = guard_config_encode(c), *again = NULL;
	back = guard_config_decode(text, strlen(text), NULL);
	g_assert(back);
	again = guard_config_encode(back);
	g_assert(strcmp(text, again) == 0);
	return 0;
}
