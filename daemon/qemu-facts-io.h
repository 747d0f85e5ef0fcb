/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/domain-xml.h"
#include "daemon/libvirt-io.h"
#include "daemon/qemu-facts.h"

/* Asks the domain's QEMU; changes nothing. Blocks. */
struct qemu_facts *qemu_facts_collect(virDomainPtr dom, const struct domain_facts *domain, GError **error);
/* Asks an emulator that is not running a domain: {version, has_colo, missing?}. It is started without a machine and ends at once. */
struct json_object *emulator_probe(const char *emulator, GError **error);
