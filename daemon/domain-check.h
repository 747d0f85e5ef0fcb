/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May this domain be protected at all? Every obstacle is one row of the report. Pure. */
#pragma once

#include "daemon/check-report.h"
#include "daemon/domain-xml.h"
#include "daemon/qemu-facts.h"

/* paired: it has a pair, and what that has put into QEMU is no obstacle. */
void domain_check(const struct domain_facts *domain, const struct qemu_facts *qemu, bool paired, struct check_report *report);
