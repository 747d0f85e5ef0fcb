/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Patterns: any text is taken or refused, and one that is taken asks no flow for more than its key has. */
#include "proxy/flow-pattern.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flow_key key = { 0 };
	struct flow_pattern p;

	if (size < sizeof key)
		return 0;
	memcpy(&key, data, sizeof key);
	key.class %= PACKET_LAST;
	g_autofree char *text = g_strndup((const char *)data + sizeof key, size - sizeof key);
	if (flow_pattern_parse(text, &p, NULL)) {
		g_assert(p.prefix <= 8 * p.address_length && p.first_port <= p.last_port);
		flow_pattern_matches(&p, &key);
	}
	return 0;
}
