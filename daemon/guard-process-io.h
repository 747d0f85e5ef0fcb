/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a guard so that it outlives this daemon, and ending one that does not end by itself. Blocks. */
#pragma once

#include "daemon/guard-config.h"
#include "daemon/host-io.h"
#include "daemon/qemu-user-io.h"

#define PAIR_QEMU_DIR "qemu"	/* in a pair's directory: the sockets that QEMU makes and opens, and its user's */

/* Makes <run>/pairs/<uuid> anew, without what an earlier pair left there: only root reads it and looks into it, but for QEMU's own directory. */
bool guard_prepare_dir(const struct host *h, const char *uuid, const struct qemu_user *user, GError **error);
void guard_remove_dir(const struct host *h, const char *uuid);
/* Writes guard.json, starts the guard with it and waits for its guard.sock. Its standard error goes to guard.log beside. */
bool guard_start(const struct host *h, const struct guard_config *config, GError **error);
bool guard_is_running(const struct host *h, const char *uuid);
/* Waits for the guard's end; past `patience_ms` SIGKILL (it ignores SIGTERM): with the guard its sockets go, and no packet of the domain's copy passes any more. */
void guard_await_end(const struct host *h, const char *uuid, unsigned patience_ms);
/* SIGKILL at once; false when there is none. */
bool guard_kill(const struct host *h, const char *uuid);
/* A call on its control socket. */
struct json_object *guard_call(const struct host *h, const char *uuid, const char *method, bool more,
			       bool (*progress)(struct json_object *parameters, gpointer user_data), gpointer user_data, int timeout_ms, GError **error);
