/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A standby on this host: making one for a peer, calling it off, and what is left to do when its pair has ended. All of it blocks: for jobs. */
#pragma once

#include "daemon/host-io.h"
#include "daemon/pair-record.h"
#include "daemon/peer-server-io.h"

/*
 * PrepareStandby: {domain, uuid, xml, token, generation, disks: [{path, format, size}], settings: {heartbeat_ms, ...}} -> {port, address}.
 * The guest's copy is there, paused and incoming, and its guard listens on the address that the caller reached us at. On failure nothing is left.
 */
struct json_object *standby_prepare(struct host *h, const struct peer_caller *caller, struct json_object *parameters, GError **error);
GPtrArray *standby_images(const struct pair_record *r);	/* char *: the images that the copy's overlays lie on */
/* Ends a standby that was never armed; one that was is left to its guard. */
void standby_call_off(struct host *h, const char *uuid, const char *why);
/* How far a copy that goes on here is let go; kept from one try to the next. */
struct standby_kept {
	bool released;		/* its guard has said that it has finished, or an earlier try has done what was left to do */
	bool told;		/* that its overlays are waited for */
};
/* Carries out pair_end_judge()'s verdict on a standby; `kept`: only for PAIR_END_KEEP. False: libvirt or QEMU did not let it, try again later. */
bool standby_end(struct host *h, const struct pair_record *r, enum pair_end end, struct standby_kept *kept);
