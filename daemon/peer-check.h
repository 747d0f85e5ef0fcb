/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Can that host hold the domain's standby, over this link? Judgements on what it answered and what was measured. Pure. */
#pragma once

#include "daemon/check-report.h"
#include "daemon/domain-xml.h"
#include "daemon/qemu-facts.h"

#define LIBVIRT_HOOK "/etc/libvirt/hooks/qemu.d/ftd"	/* contrib/hooks/qemu, executable */

/* What the peer is asked (method Inspect); host-facts-io.c makes the answer. */
struct json_object *inspect_request(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *probe);
/* cpu_here: host_cpu_id() of this host; NULL: not known. */
void peer_check_answer(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *cpu_here, const char *peer, struct json_object *answer,
		       struct check_report *report);

/* here: LIBVIRT_HOOK is on this host. */
void peer_check_hook(bool here, const char *peer, struct json_object *answer, struct check_report *report);

struct link_facts {			/* link-probe-io.c measures them */
	guint64 round_trip_us;		/* the shortest of some; the text's way through both daemons is in it */
	guint64 bytes_per_s;		/* at least */
	gint64 clock_offset_us;		/* the peer's clock is ahead by that much, give or take half a round trip */
};
/* When the first of each host's certificates ends, unix seconds; 0: not known. `path` is that of this host's. */
void peer_check_certificates(gint64 end_here, const char *path, gint64 end_there, const char *peer, gint64 now_s, struct check_report *report);
void peer_check_link(const struct link_facts *link, guint suspect_ms, const char *peer, struct check_report *report);
