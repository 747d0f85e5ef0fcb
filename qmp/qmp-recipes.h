/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recipes: the plans that attach ftd to a running QEMU and take it away again. Pure; theory of operation in qmp-recipes.c.
 *
 * Everything ftd adds to a QEMU is named "ftd-..." so that its absence can be checked. i is the index of the NIC or disk: filters ftd-rel<i> ftd-out<i> ftd-mir<i>
 * ftd-shut<i> ftd-inj<i> ftd-cap<i> ftd-rew<i>, chardevs ftd-chr-<same>, nodes ftd-nbd<i> ftd-hid<i> ftd-act<i> ftd-repl<i>, job ftd-mirror<i>, export ftd-exp<i> (NBD name ftd<i>).
 */
#pragma once

#include "qmp/qmp-plan.h"

#include <stdint.h>

/* One NIC of the domain as QEMU knows it. Every fd is QEMU's end of a stream socket; its ownership moves to the plan and -1 is left behind. */
struct qmp_nic {
	char netdev[64];	/* "hostnet0" */
	int out_fd, rel_fd, mir_fd;	/* primary */
	int inj_fd;			/* both */
	int cap_fd, shut_fd;		/* standby (rel_fd too); shut: what the standby host's LAN sends, to be read and thrown away */
	bool has_rewriter;	/* a former standby: ftd-rew<i> is there and the primary's filters go before it */
	bool vnet_hdr;
};
struct qmp_disk {
	char device[128];	/* qdev id or QOM path of the frontend: "virtio-disk0" */
	char node[64];		/* root node of the guest's disk now ("libvirt-1-format", or "ftd-repl0" on a former standby) */
	uint64_t size;
	int nbd_fd;		/* primary: QEMU's end, -1 = use nbd_path; ownership moves as above */
	char nbd_path[108];	/* primary: the guard's NBD socket */
	char active_path[512], hidden_path[512];	/* standby: overlay files, made by the caller */
};

struct qmp_plan *qmp_recipe_primary_nic(unsigned i, struct qmp_nic *nic);	/* getfd, chardev-add, object-add x3 with undo */
struct qmp_plan *qmp_recipe_primary_nic_detach(unsigned i);			/* mir, out, rel and their chardevs; all MAY_FAIL */
/* All of it, on a primary whose sockets have no far end any more: lost-heartbeat, NICs, disks, capabilities; `old`, if not NULL, is what to restore of the
 * migration parameters (a query-migrate-parameters reply's "return"). Every step MAY_FAIL: what was never attached is not there. */
struct qmp_plan *qmp_recipe_primary_detach(unsigned nics, unsigned disks, struct json_object *old, bool suspended);
struct qmp_plan *qmp_recipe_standby_nic(unsigned i, struct qmp_nic *nic);
/* Ends the SVM's isolation for good. x-colo-lost-heartbeat has switched all but rew off already, so the SVM speaks and hears from that moment: frames that must come
 * before go through rel and inj before it. This switches rel and inj on again (what was written to them meanwhile goes on then), removes cap and shut; rel and inj
 * are kept until _finish. The caller has closed no fd yet. */
struct qmp_plan *qmp_recipe_standby_nic_hear(unsigned i);
struct qmp_plan *qmp_recipe_standby_nic_open(unsigned i);
struct qmp_plan *qmp_recipe_standby_nic_finish(unsigned i);			/* rel, inj and the chardevs; ftd-rew<i> stays */

/* blockdev-add ftd-nbd<i>, blockdev-mirror job ftd-mirror<i>. No undo: the guard closes its end of the connection first, and detaches. The job's own errors (a target
 * of another size, which must be equal to the byte; an I/O error) come after the plan: qmp_read_job(). */
struct qmp_plan *qmp_recipe_primary_disk(unsigned i, struct qmp_disk *d);
/* After the guard closed its end. The guest stands while its mirrors end, marked by an object that qmp_read_left_standing() finds: what was broken off is done again.
 * suspended: it is an administrator's word that it stands, though it may run at the moment: it is left standing. */
struct qmp_plan *qmp_recipe_primary_disks_detach(unsigned first, unsigned n, bool suspended);
struct qmp_plan *qmp_recipe_primary_let_go(void);	/* of a guest that stands by the mark of such an end, and nothing else */
struct qmp_plan *qmp_recipe_standby_disk(unsigned i, const struct qmp_disk *d);	/* hid, act, replication, qom-set drive, block-export-add; the NBD server runs already */
struct qmp_plan *qmp_recipe_standby_disk_finish(unsigned i);			/* after failover: blockdev-del ftd-act<i>, ftd-hid<i>; waits up to 2 s for the commit's end */
struct qmp_plan *qmp_recipe_standby_disk_look(unsigned i);			/* the same without waiting: QEMU refuses what is in use */
struct qmp_plan *qmp_recipe_nbd_server_start(const char *path);
struct qmp_plan *qmp_recipe_nbd_server_stop(void);
/* All of a take-over that its guard began and did not end, from the loss of COLO to the last chardev; every step MAY_FAIL: it may have been done. */
struct qmp_plan *qmp_recipe_standby_release(unsigned nics, unsigned disks, bool tcg);
struct qmp_plan *qmp_recipe_refresh(bool tcg);					/* system_wakeup, cont; under TCG hmp "loadvm nosuch", then cont (hazards: S3, PRELAUNCH, stale translations after a load) */
