/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames of several NICs in one order, in a GQueue that its owner initialises and bounds. */
#pragma once

#include <glib.h>

void frame_queue_push(GQueue *q, unsigned nic, GBytes *frame);	/* keeps a reference */
GBytes *frame_queue_pop(GQueue *q, unsigned *nic);		/* the oldest; the caller owns it. NULL when there is none */
void frame_queue_clear(GQueue *q);
