/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The vnet header is a part of it: it decides how the host cuts the frame and completes its checksum, so the same bytes under another header are another output. */
#include "proxy/compare-other.h"

#include <string.h>

enum verdict
compare_other(const struct packet *primary, const struct packet *secondary)
{
	if (primary->whole_length != secondary->whole_length)
		return VERDICT_DIFFER;
	if (primary->whole_length && memcmp(primary->whole, secondary->whole, primary->whole_length) != 0)
		return VERDICT_DIFFER;
	return VERDICT_SAME;
}
