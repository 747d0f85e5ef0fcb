/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's settings in libvirt's metadata. For jobs: every call may block. */
#pragma once

#include "daemon/libvirt-io.h"
#include "daemon/pair-settings.h"

/* Of a running domain; a domain without any has empty ones. */
bool pair_settings_load(virDomainPtr domain, struct pair_settings *out, GError **error);
/* In the running domain and, if it has one, in its definition; in neither when it fails. */
bool pair_settings_store(virDomainPtr domain, const struct pair_settings *s, GError **error);
