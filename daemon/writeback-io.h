/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copy that takes over is not heard before its images are flushed (guard-standby.c), and clients wait for that. The kernel would keep what the primary writes for half
 * a minute, gigabytes of it, and write it all then. So while a copy stands by its images are written out every second; nobody waits for it.
 */
#pragma once

#include "daemon/host-io.h"

void writeback_start(struct host *h);	/* main thread, once */
