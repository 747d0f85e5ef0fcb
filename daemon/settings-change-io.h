/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes how a pair protects its domain, on the primary's host: its guard first, which may refuse; then the domain's metadata on both hosts, for the next pair,
 * whichever host makes it.
 */
#pragma once

#include "daemon/host-io.h"
#include "daemon/libvirt-io.h"
#include "daemon/pair-record.h"
#include "daemon/pair-settings.h"

/* {}. Blocks. */
struct json_object *settings_change(struct host *h, const struct pair_record *r, const struct pair_settings *change, GError **error);
/* Its guard has taken `change`, which makes `all` of `before`. Blocks. */
bool settings_store_or_undo(struct host *h, const struct pair_record *r, virDomain *dom, const struct pair_settings *change, const struct pair_settings *before,
			    const struct pair_settings *all, GError **error);
