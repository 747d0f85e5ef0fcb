/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where systemd runs, a guard is a unit of its own: stopping or restarting ftd.service, and its limits, do not concern it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Moves the new process into a scope of its own. True without systemd, too; on failure the process stays where it is. */
bool guard_scope_enter(pid_t pid, const char *uuid, const char *domain, GError **error);
