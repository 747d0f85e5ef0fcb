/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains that are defined on this host and whose copy here is not the newest, for libvirt's hook (contrib/hooks/qemu), which refuses their start:
 * <state-dir>/stale/<uuid>.json.
 *
 * What is here may be the newest after all, and the arbiter tells (stale_judge()): a host that has won and died before its copy was heard gives the guest back when it is
 * there again (pairs-io.c), and a standby whose QEMU ended when this host's did never claims what was given up for it.
 */
#pragma once

#include "daemon/host-io.h"
#include "policy/failover.h"

struct stale {
	const char *uuid, *domain;
	enum failover_role role;	/* of the copy here in the pair */
	const char *runs_on;		/* the host that has the newest state */
	const char *arbiter;		/* its spec; NULL: none is known, and nobody asks */
	guint64 generation;		/* the one with which the copy here ended */
};

/* Durable when it returns true. */
bool stale_mark(const struct host *h, const struct stale *s, GError **error);
void stale_clear(const struct host *h, const char *uuid);
/* By UUID or name; FTD_ERROR_NO_DOMAIN when nothing is known of it. */
bool stale_forget(const struct host *h, const char *domain, GError **error);
/* From now on asks the arbiters of those that are marked, every few seconds; a copy that is the newest after all is cleared, with an event. */
void stale_watch(struct host *h);
