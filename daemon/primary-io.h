/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is left to do for a primary on this host when its pair has ended. It blocks: for jobs. */
#pragma once

#include "daemon/host-io.h"
#include "daemon/pair-record.h"

#include <libvirt/libvirt.h>

/*
 * Carries out pair_end_judge()'s verdict on a primary. `finished`: its guard has said so itself, and then it has left nothing behind in QEMU. False: libvirt or QEMU
 * did not let it, try again later.
 */
bool primary_end(struct host *h, const struct pair_record *r, enum pair_end end, bool finished);
/* Nothing of ours is left between the guest and its network, or on its disks. */
bool primary_check_released(virDomainPtr dom, GError **error);
/* A guard that died while it ended the mirrors left the guest standing. It had the right to go on alone then, or the pair did not count yet, so nobody is asked. */
void primary_let_go(struct host *h, const struct pair_record *r);
