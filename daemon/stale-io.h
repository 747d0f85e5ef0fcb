/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains that are defined on this host and whose copy here is not the newest, for libvirt's hook (contrib/hooks/qemu), which refuses their start:
 * <state-dir>/stale/<uuid>.json.
 */
#pragma once

#include "daemon/host-io.h"

/* Durable when it returns true. `runs_on`: the host that has the newest state. */
bool stale_mark(const struct host *h, const char *uuid, const char *domain, const char *runs_on, GError **error);
void stale_clear(const struct host *h, const char *uuid);
/* By UUID or name; FTD_ERROR_NO_DOMAIN when nothing is known of it. */
bool stale_forget(const struct host *h, const char *domain, GError **error);
