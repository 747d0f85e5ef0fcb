/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/difference.h"

#include <string.h>

static const char *const reason_names[] = {
	[DIFFERENCE_NONE] = "none",
	[DIFFERENCE_CONTENT] = "content",
	[DIFFERENCE_LENGTH] = "length",
	[DIFFERENCE_HEADER] = "header",
	[DIFFERENCE_SYN] = "syn",
	[DIFFERENCE_FIN] = "fin",
	[DIFFERENCE_RST] = "rst",
	[DIFFERENCE_OPTION] = "option",
	[DIFFERENCE_PLACE] = "place",
	[DIFFERENCE_CONNECTION] = "connection",
	[DIFFERENCE_LIMIT] = "limit",
};
G_STATIC_ASSERT(G_N_ELEMENTS(reason_names) == DIFFERENCE_LAST);

const char *
difference_reason_name(enum difference_reason reason)
{
	g_assert(reason < DIFFERENCE_LAST);
	return reason_names[reason];
}

static uint8_t
copy_window(uint8_t *out, const uint8_t *data, size_t length, size_t at)
{
	size_t n = MIN(length - at, DIFFERENCE_WINDOW);

	if (n)
		memcpy(out, data + at, n);
	return (uint8_t)n;
}

struct difference
difference_find(const uint8_t *primary, size_t primary_length, const uint8_t *secondary, size_t secondary_length)
{
	struct difference d = { .reason = DIFFERENCE_NONE };
	size_t common = MIN(primary_length, secondary_length), at = 0;

	while (at < common && primary[at] == secondary[at])
		at++;
	if (at == common && primary_length == secondary_length)
		return d;
	d.reason = at < common ? DIFFERENCE_CONTENT : DIFFERENCE_LENGTH;
	d.at = at;
	d.primary_length = copy_window(d.primary, primary, primary_length, at);
	d.secondary_length = copy_window(d.secondary, secondary, secondary_length, at);
	return d;
}
