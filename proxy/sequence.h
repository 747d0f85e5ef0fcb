/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP sequence arithmetic modulo 2^32 (RFC 9293, 3.4), and a number that may not be known yet. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* How far a is after b; negative when it is before. */
static inline int32_t
seq_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

/* The highest sequence number of some kind so far. */
struct seq_mark {
	bool known;
	uint32_t at;
};

static inline void
seq_mark_set(struct seq_mark *m, uint32_t to)
{
	*m = (struct seq_mark){ .known = true, .at = to };
}

static inline void
seq_mark_raise(struct seq_mark *m, uint32_t to)
{
	if (!m->known || seq_after(to, m->at) > 0)
		seq_mark_set(m, to);
}

static inline bool
seq_mark_covers(const struct seq_mark *m, uint32_t n)
{
	return m->known && seq_after(n, m->at) <= 0;
}
