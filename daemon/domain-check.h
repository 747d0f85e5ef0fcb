/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May this domain be protected, and can that host hold its standby? Every obstacle is one finding. Pure. */
#pragma once

#include "daemon/domain-xml.h"
#include "daemon/qemu-facts.h"

/* Findings: a GPtrArray of GError * (FTD_ERROR), each with the cause and the way out. Empty: nothing is in the way. */
GPtrArray *findings_new(void);
void findings_add(GPtrArray *findings, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);
void findings_take(GPtrArray *findings, GError *error);
struct json_object *findings_to_json(GPtrArray *findings);	/* [{error: "NicVhost", message}] */
/* All findings as one error: the first one's code; false when there is one. */
bool findings_to_error(GPtrArray *findings, GError **error);

void domain_check_local(const struct domain_facts *domain, const struct qemu_facts *qemu, GPtrArray *findings);
/* What the peer is asked (method Inspect), and the judgement on its answer; host-facts-io.c makes the answer. */
struct json_object *inspect_request(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *probe);
void domain_check_peer(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *peer, struct json_object *answer, GPtrArray *findings);
