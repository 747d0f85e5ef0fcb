/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/durable-state.h"

/* Replaces the file atomically and durably. */
bool durable_state_write(const char *path, const struct durable_state *s, GError **error);
/* FTD_ERROR_PROTOCOL for a torn or foreign file, G_FILE_ERROR_NOENT when there is none. */
bool durable_state_read(const char *path, struct durable_state *out, GError **error);
