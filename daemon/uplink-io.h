/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watches the carriers of the guests' LAN on this host (policy/uplink.h); nothing when ftd.conf names none. Main thread. */
#pragma once

#include "daemon/host-io.h"

/* `lost` is called, and again while it lasts, when the pairs whose primary is here had better be elsewhere. */
bool uplink_start(struct host *h, void (*lost)(gpointer user_data), gpointer user_data, GError **error);
/* Any thread. */
bool uplink_lost_here(const struct host *h);
