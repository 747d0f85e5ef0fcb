/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Protection that an operator has suspended: by which host a domain of this host is to be protected again, kept over restarts. */
#pragma once

#include "daemon/host-io.h"

#include <stdbool.h>

bool suspended_write(const struct host *h, const char *uuid, const char *peer, GError **error);
char *suspended_read(const struct host *h, const char *uuid);	/* the host; NULL: it is not suspended here */
void suspended_clear(const struct host *h, const char *uuid);
