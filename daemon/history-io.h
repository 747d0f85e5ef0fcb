/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guard keeps its pair's history and takes it along when it ends; ftd asks for it now and then, so that a report can be made of a pair that is no more. */
#pragma once

#include "daemon/host-io.h"

void history_start(struct host *h);	/* main thread, once */
/* {history}: from the guard, or what was known of it last. Blocks. FTD_ERROR_NOT_PROTECTED. */
struct json_object *history_of(struct host *h, const char *domain, GError **error);
