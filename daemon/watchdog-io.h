/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ends guards that hang. The other side takes a silent guard for lost and settles at the arbiter who goes on; but QEMU here, whose sockets end in the guard,
 * stays stuck, and this side's end would never be carried out.
 */
#pragma once

#include "daemon/host-io.h"

void watchdog_start(struct host *h);	/* main thread; after pairs_load() */
