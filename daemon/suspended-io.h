/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Protection that an operator has suspended: by whom and how a domain of this host is to be protected again, kept over restarts. */
#pragma once

#include "daemon/host-io.h"

#include <stdbool.h>

bool suspended_write(const struct host *h, const char *uuid, const char *peer, const char *mode, GError **error);
bool suspended_read(const struct host *h, const char *uuid, char **peer, char **mode);	/* false: it is not suspended here */
void suspended_clear(const struct host *h, const char *uuid);
