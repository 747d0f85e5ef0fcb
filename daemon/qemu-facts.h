/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a running QEMU says of itself, read from QMP replies ({"return": ...}). Pure; qemu-facts-io.h does the asking. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

enum vhost_use {
	VHOST_NO,		/* the device runs without it */
	VHOST_YES,
	VHOST_UNKNOWN,		/* QEMU's process was not found */
};

struct qemu_disk {
	char *qom;		/* QOM path of the device that has the `drive` property */
	char *node;		/* root node */
	guint64 virtual_size, allocated;
	bool has_backing, has_snapshots;	/* snapshots inside of the image */
};

struct qemu_nic {
	enum vhost_use vhost;
	bool has_rewriter;	/* ftd-rew<i> is there: this QEMU was a standby once */
};

struct qemu_facts {
	char version[32];	/* "11.1.3" */
	unsigned major, minor, micro;
	bool tcg, has_colo;
	bool block_jobs, pair_jobs;	/* somebody else's; a pair's mirrors (qmp-recipes.h) */
	bool wants_return_path;	/* x-colo takes the capability return-path; of an emulator that was probed */
	GPtrArray *disks;	/* struct qemu_disk *, NULL where the domain's disk i is not found in QEMU */
	GPtrArray *nics;	/* struct qemu_nic *, in the order of the domain's */
	const char *missing;	/* the first command or filter that ftd needs and QEMU does not have; NULL: none */
};

struct qemu_facts *qemu_facts_new(void);
void qemu_facts_free(struct qemu_facts *q);
typedef struct qemu_facts qemu_facts;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(qemu_facts, qemu_facts_free)

/* One reader per reply; false + FTD_ERROR_QMP when the reply is not what QAPI promises. */
bool qemu_facts_read_version(struct qemu_facts *q, struct json_object *reply, GError **error);		/* query-version */
bool qemu_facts_read_kvm(struct qemu_facts *q, struct json_object *reply, GError **error);		/* query-kvm */
bool qemu_facts_read_capabilities(struct qemu_facts *q, struct json_object *reply, GError **error);	/* query-migrate-capabilities */
bool qemu_facts_read_return_path(struct qemu_facts *q, struct json_object *reply, GError **error);	/* migrate-set-capabilities, x-colo without return-path */
bool qemu_facts_read_jobs(struct qemu_facts *q, struct json_object *reply, GError **error);		/* query-block-jobs */
bool qemu_facts_read_commands(struct qemu_facts *q, struct json_object *reply, GError **error);		/* query-commands */
bool qemu_facts_read_filters(struct qemu_facts *q, struct json_object *reply, GError **error);		/* qom-list-types, implements=netfilter */
/* query-block: the disk whose libvirt alias is `alias`; NULL when it is not there or has no medium. */
struct qemu_disk *qemu_facts_find_disk(struct json_object *reply, const char *alias);
/* Does a command line (/proc/PID/cmdline) belong to the QEMU of that domain? libvirt always passes -uuid. */
bool qemu_facts_is_process(const char *cmdline, gsize length, const char *uuid);
/* qom-list: is there a child of that name? */
bool qemu_facts_has_child(struct json_object *reply, const char *name);
