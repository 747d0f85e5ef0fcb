/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How ftd attaches to a QEMU.
 *
 * NIC. A netdev's filters stand in a list. A frame for the guest ("tx" of the netdev) passes it from head to tail, one from the guest ("rx") from tail to head
 * (net/net.c, filter_receive_iov), and a frame that a filter injects goes on behind that filter in its own direction (net/filter.c, qemu_netfilter_pass_to_next).
 * Without a position object-add puts a filter at the tail.
 *
 *	primary                                      standby
 *	LAN  [rel] <- released frames                LAN  [shut] tx: swallows LAN frames
 *	     [out]    swallows the guest's frames         [inj]  tx: injects the primary's
 *	     [mir]    copies frames for the guest         [rel]  rx: injects frames towards the LAN after a failover
 *	     [inj]    injects what the guest missed       [cap]  rx: swallows the SVM's frames
 *	     ([rew]   a former standby's)                 [rew]  all: sequence numbers of the primary
 *	guest                                        guest
 *
 * So rel is nearer to the LAN than out or cap, or what it injects would be swallowed again, and rew is nearest to the guest, so that everything else sees sequence
 * numbers as the client does; on a former standby the primary's filters go before it. shut and inj could be one redirector; but inj is needed for longer. rew stays for the life of the guest: connections that it has shifted need it.
 *
 * x-colo-lost-heartbeat on a standby switches off every filter but the rewriter (net/filter.c, default_handle_event): from that moment the SVM speaks and hears by
 * itself. rel and inj are then off as well, and with them their input: what is written to them waits in the socket until they are switched on again.
 *
 * Every filter is given up before its chardevs (chardev-remove of a busy one is refused), and undo runs backwards, so the same holds there.
 *
 * Disk. On the standby the guest's disk gets two overlays and a replication node on top (QEMU docs/block-replication.txt), and the plain node under them is what the
 * guard writes to through the NBD export. qom-set of `drive` to the node that is attached already aborts QEMU, so it is always asked first.
 * On the primary the mirror is kept after its end (auto-dismiss=false): libvirt's monitor shows no events, and the reason of its end would be lost.
 * No reconnect-delay on the NBD node: it would block the monitor.
 */
#include "qmp/qmp-recipes.h"

#include "qmp/qmp-commands.h"

#include <glib.h>
#include <string.h>

struct filter {
	const char *type;	/* QOM type */
	const char *name;	/* "rel" */
	const char *queue;
	const char *indev;	/* names of channels, NULL = none */
	const char *outdev;
};

static void
add_str(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void G_GNUC_PRINTF(3, 4)
add_strf(struct json_object *object, const char *key, const char *format, ...)
{
	va_list args;
	g_autofree char *value = NULL;

	va_start(args, format);
	value = g_strdup_vprintf(format, args);
	va_end(args);
	add_str(object, key, value);
}

/* QEMU's end of a socket becomes chardev ftd-chr-<name><i>. A chardev-add takes the descriptor out of QEMU's table, so closefd is for the gap between the two. */
static void
plan_channel(struct qmp_plan *p, unsigned i, const char *name, int *fd)
{
	g_autofree char *fdname = g_strdup_printf("ftd-fd-%s%u", name, i);
	g_autofree char *chardev = g_strdup_printf("ftd-chr-%s%u", name, i);

	g_assert(*fd >= 0);
	qmp_plan_add(p, qmp_getfd(fdname), qmp_closefd(fdname), *fd, QMP_STEP_MUST);
	*fd = -1;
	qmp_plan_add(p, qmp_chardev_add_fd(chardev, fdname), qmp_chardev_remove(chardev), -1, QMP_STEP_MUST);
}

/* ObjectOptions is flat: the filter's properties stand beside qom-type and id (qapi/qom.json). vnet_hdr_support has underscores. */
static void
plan_filter(struct qmp_plan *p, unsigned i, const struct qmp_nic *nic, const struct filter *f)
{
	g_autofree char *id = g_strdup_printf("ftd-%s%u", f->name, i);
	struct json_object *arguments = json_object_new_object();

	add_str(arguments, "qom-type", f->type);
	add_str(arguments, "id", id);
	add_str(arguments, "netdev", nic->netdev);
	add_str(arguments, "queue", f->queue);
	if (f->indev)
		add_strf(arguments, "indev", "ftd-chr-%s%u", f->indev, i);
	if (f->outdev)
		add_strf(arguments, "outdev", "ftd-chr-%s%u", f->outdev, i);
	if (nic->vnet_hdr)
		json_object_object_add(arguments, "vnet_hdr_support", json_object_new_boolean(true));
	if (nic->has_rewriter) {
		add_str(arguments, "insert", "before");
		add_strf(arguments, "position", "id=ftd-rew%u", i);
	}
	qmp_plan_add(p, qmp_command("object-add", arguments), qmp_object_del(id), -1, QMP_STEP_MUST);
}

static void
plan_del_filter(struct qmp_plan *p, unsigned i, const char *name, unsigned flags)
{
	g_autofree char *id = g_strdup_printf("ftd-%s%u", name, i);

	qmp_plan_add(p, qmp_object_del(id), NULL, -1, flags);
}

static void
plan_del_channel(struct qmp_plan *p, unsigned i, const char *name)
{
	g_autofree char *id = g_strdup_printf("ftd-chr-%s%u", name, i);

	qmp_plan_add(p, qmp_chardev_remove(id), NULL, -1, QMP_STEP_MAY_FAIL);
}

struct qmp_plan *
qmp_recipe_primary_nic(unsigned i, struct qmp_nic *nic)
{
	static const struct filter filters[] = {
		{ "filter-redirector", "rel", "rx", .indev = "rel" },
		{ "filter-redirector", "out", "rx", .outdev = "out" },
		{ "filter-mirror", "mir", "tx", .outdev = "mir" },
		{ "filter-redirector", "inj", "tx", .indev = "inj" },
	};
	struct qmp_plan *p = qmp_plan_new("attach the primary's NIC");

	plan_channel(p, i, "rel", &nic->rel_fd);
	plan_channel(p, i, "out", &nic->out_fd);
	plan_channel(p, i, "mir", &nic->mir_fd);
	plan_channel(p, i, "inj", &nic->inj_fd);
	for (size_t f = 0; f < G_N_ELEMENTS(filters); f++)
		plan_filter(p, i, nic, &filters[f]);
	return p;
}

/* Attach the other way round. out's removal is the moment when the guest's frames reach the LAN by themselves again. */
struct qmp_plan *
qmp_recipe_primary_nic_detach(unsigned i)
{
	static const char *const names[] = { "inj", "mir", "out", "rel" };
	struct qmp_plan *p = qmp_plan_new("detach the primary's NIC");

	for (size_t n = 0; n < G_N_ELEMENTS(names); n++) {
		plan_del_filter(p, i, names[n], QMP_STEP_MAY_FAIL);
		plan_del_channel(p, i, names[n]);
	}
	return p;
}

struct qmp_plan *
qmp_recipe_standby_nic(unsigned i, struct qmp_nic *nic)
{
	static const struct filter filters[] = {
		{ "filter-redirector", "shut", "tx", .outdev = "shut" },
		{ "filter-redirector", "inj", "tx", .indev = "inj" },
		{ "filter-redirector", "rel", "rx", .indev = "rel" },
		{ "filter-redirector", "cap", "rx", .outdev = "cap" },
		{ "filter-rewriter", "rew", "all" },
	};
	struct qmp_plan *p = qmp_plan_new("attach the standby's NIC");

	g_assert(!nic->has_rewriter);	/* a standby is a QEMU of its own, started for that */
	plan_channel(p, i, "inj", &nic->inj_fd);
	plan_channel(p, i, "shut", &nic->shut_fd);
	plan_channel(p, i, "rel", &nic->rel_fd);
	plan_channel(p, i, "cap", &nic->cap_fd);
	for (size_t f = 0; f < G_N_ELEMENTS(filters); f++)
		plan_filter(p, i, nic, &filters[f]);
	return p;
}

/* Both directions are open already; this lets out what was on its way through the guard when they opened. */
struct qmp_plan *
qmp_recipe_standby_nic_hear(unsigned i)
{
	g_autofree char *rel = g_strdup_printf("/objects/ftd-rel%u", i), *inj = g_strdup_printf("/objects/ftd-inj%u", i);
	struct qmp_plan *p = qmp_plan_new("let the standby's NIC hear");

	qmp_plan_add(p, qmp_qom_set_str(inj, "status", "on"), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_qom_set_str(rel, "status", "on"), NULL, -1, QMP_STEP_MAY_FAIL);
	return p;
}

/* Should they not be: without these two nothing is in the way. */
struct qmp_plan *
qmp_recipe_standby_nic_open(unsigned i)
{
	struct qmp_plan *p = qmp_plan_new("open the standby's NIC");

	plan_del_filter(p, i, "cap", QMP_STEP_MUST);
	plan_del_filter(p, i, "shut", QMP_STEP_MUST);
	return p;
}

struct qmp_plan *
qmp_recipe_standby_nic_finish(unsigned i)
{
	static const char *const channels[] = { "rel", "cap", "shut", "inj" };
	struct qmp_plan *p = qmp_plan_new("clean up the standby's NIC");

	plan_del_filter(p, i, "rel", QMP_STEP_MAY_FAIL);
	plan_del_filter(p, i, "inj", QMP_STEP_MAY_FAIL);
	for (size_t n = 0; n < G_N_ELEMENTS(channels); n++)
		plan_del_channel(p, i, channels[n]);
	return p;
}

static struct json_object *
nbd_server(const char *type, const char *key, const char *value)
{
	struct json_object *server = json_object_new_object();

	add_str(server, "type", type);
	add_str(server, key, value);
	return server;
}

static void
plan_nbd_node(struct qmp_plan *p, unsigned i, struct qmp_disk *d)
{
	g_autofree char *fdname = g_strdup_printf("ftd-fd-nbd%u", i);
	g_autofree char *node = g_strdup_printf("ftd-nbd%u", i);
	struct json_object *arguments = json_object_new_object();

	add_str(arguments, "driver", "nbd");
	add_str(arguments, "node-name", node);
	add_strf(arguments, "export", "ftd%u", i);
	if (d->nbd_fd >= 0) {
		qmp_plan_add(p, qmp_getfd(fdname), qmp_closefd(fdname), d->nbd_fd, QMP_STEP_MUST);
		d->nbd_fd = -1;
		json_object_object_add(arguments, "server", nbd_server("fd", "str", fdname));
	} else {
		json_object_object_add(arguments, "server", nbd_server("unix", "path", d->nbd_path));
	}
	qmp_plan_add(p, qmp_command("blockdev-add", arguments), NULL, -1, QMP_STEP_MUST);
}

#define MIRROR_JOB "ftd-mirror"
#define STANDS "ftd-stands"	/* an object in QEMU: the guest stands by our word, and whoever finds it lets it go */

static void
plan_if_marked(struct qmp_plan *p, struct json_object *command)
{
	qmp_plan_add(p, qmp_qom_get("/objects/" STANDS, "type"), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, command, NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_skip_if(p, "");
}

static void
plan_stand(struct qmp_plan *p)
{
	struct json_object *arguments = json_object_new_object();

	add_str(arguments, "qom-type", "throttle-group");
	add_str(arguments, "id", STANDS);
	qmp_plan_add(p, qmp_command("query-block-jobs", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_command("query-status", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_only_if_lists(p, "device", MIRROR_JOB);
	qmp_plan_until_settled(p);
	qmp_plan_add(p, qmp_command("object-add", arguments), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_only_if_running(p);
	plan_if_marked(p, qmp_stop());
}

static void
plan_run_again(struct qmp_plan *p, bool suspended)
{
	if (!suspended)
		plan_if_marked(p, qmp_cont());
	qmp_plan_add(p, qmp_object_del(STANDS), NULL, -1, QMP_STEP_MAY_FAIL);
}

/*
 * A job ends in its own time, and while it is there the node is in use: both wait.
 *
 * A write-blocking mirror that is cancelled, or ends with an error, frees what it knows of the guest's writes while those that are under way still use it
 * (block/mirror.c: mirror_run() waits for in_flight, which counts no active writes, and active_write_settle() clears their bits in in_flight_bitmap). QEMU dies of
 * that, at once if the disk is large. So the job does not end by itself (on-source-error, on-target-error), and the guest stands while it is cancelled: then no write
 * is under way.
 */
static void
plan_end_mirrors(struct qmp_plan *p, unsigned first, unsigned n, bool suspended)
{
	plan_stand(p);
	for (unsigned i = first; i < first + n; i++) {
		g_autofree char *job = g_strdup_printf(MIRROR_JOB "%u", i);
		qmp_plan_add(p, qmp_job_cancel_force(job), NULL, -1, QMP_STEP_MAY_FAIL);
		qmp_plan_add(p, qmp_job_dismiss(job), NULL, -1, QMP_STEP_MAY_FAIL | QMP_STEP_RETRY);
	}
	plan_run_again(p, suspended);
}

static void
plan_del_node(struct qmp_plan *p, unsigned i, const char *name)
{
	g_autofree char *node = g_strdup_printf("ftd-%s%u", name, i);

	qmp_plan_add(p, qmp_blockdev_del(node), NULL, -1, QMP_STEP_MAY_FAIL | QMP_STEP_RETRY);
}

static struct json_object *
mirror(unsigned i, const char *device)
{
	struct json_object *arguments = json_object_new_object();

	add_strf(arguments, "job-id", MIRROR_JOB "%u", i);
	add_str(arguments, "device", device);
	add_strf(arguments, "target", "ftd-nbd%u", i);
	add_str(arguments, "sync", "full");
	add_str(arguments, "copy-mode", "write-blocking");
	add_str(arguments, "on-source-error", "stop");
	add_str(arguments, "on-target-error", "stop");
	json_object_object_add(arguments, "auto-dismiss", json_object_new_boolean(false));
	return qmp_command("blockdev-mirror", arguments);
}

struct qmp_plan *
qmp_recipe_primary_disk(unsigned i, struct qmp_disk *d)
{
	struct qmp_plan *p = qmp_plan_new("attach the primary's disk");

	plan_nbd_node(p, i, d);
	qmp_plan_add(p, mirror(i, d->node), NULL, -1, QMP_STEP_MUST);
	return p;
}

struct qmp_plan *
qmp_recipe_primary_let_go(void)
{
	struct qmp_plan *p = qmp_plan_new("let the guest go");

	plan_run_again(p, false);
	return p;
}

struct qmp_plan *
qmp_recipe_primary_disks_detach(unsigned first, unsigned n, bool suspended)
{
	struct qmp_plan *p = qmp_plan_new("detach the primary's disks");

	if (n == 0)
		return p;
	plan_end_mirrors(p, first, n, suspended);
	for (unsigned i = first; i < first + n; i++)
		plan_del_node(p, i, "nbd");
	return p;
}

/* x-colo-lost-heartbeat always: without it a guest that was caught inside a checkpoint stays stopped (migration/colo-failover.c). The network before the disks: a
 * mirror job may take its time to end, and the guest's output should not. Capabilities are refused until a migration that lost its socket has ended. */
struct qmp_plan *
qmp_recipe_primary_detach(unsigned nics, unsigned disks, struct json_object *old, bool suspended)
{
	struct qmp_plan *p = qmp_plan_new("detach");

	qmp_plan_add(p, qmp_lost_heartbeat(), NULL, -1, QMP_STEP_MAY_FAIL);
	for (unsigned i = 0; i < nics; i++)
		qmp_plan_append(p, qmp_recipe_primary_nic_detach(i));
	qmp_plan_append(p, qmp_recipe_primary_disks_detach(0, disks, suspended));
	qmp_plan_add(p, qmp_set_capabilities(false, false), NULL, -1, QMP_STEP_MAY_FAIL | QMP_STEP_RETRY);
	if (old)
		qmp_plan_add(p, qmp_restore_migration_parameters(old), NULL, -1, QMP_STEP_MAY_FAIL);
	return p;
}

static void
add_no_flush(struct json_object *node)
{
	struct json_object *cache = json_object_new_object();

	json_object_object_add(cache, "no-flush", json_object_new_boolean(true));
	json_object_object_add(node, "cache", cache);
}

/* Nobody ever opens an overlay again when its QEMU is gone: what is in one at a host's end is lost, on the disk or not, and its copy was never heard. But QEMU empties
 * both with every load, and its main loop stands until the disk has taken each step (block/qcow2.c, make_completely_empty()). */
static void
plan_overlay(struct qmp_plan *p, unsigned i, const char *name, const char *path, const char *backing)
{
	g_autofree char *node = g_strdup_printf("ftd-%s%u", name, i);
	struct json_object *file = json_object_new_object(), *arguments = json_object_new_object();

	add_str(file, "driver", "file");
	add_str(file, "filename", path);
	add_no_flush(file);
	add_str(arguments, "driver", "qcow2");
	add_str(arguments, "node-name", node);
	add_no_flush(arguments);
	json_object_object_add(arguments, "file", file);
	add_str(arguments, "backing", backing);
	qmp_plan_add(p, qmp_command("blockdev-add", arguments), qmp_blockdev_del(node), -1, QMP_STEP_MUST);
}

static void
plan_replication(struct qmp_plan *p, unsigned i, const char *repl)
{
	struct json_object *arguments = json_object_new_object();

	add_str(arguments, "driver", "replication");
	add_str(arguments, "node-name", repl);
	add_str(arguments, "mode", "secondary");
	add_strf(arguments, "file", "ftd-act%u", i);
	add_str(arguments, "top-id", repl);
	qmp_plan_add(p, qmp_command("blockdev-add", arguments), qmp_blockdev_del(repl), -1, QMP_STEP_MUST);
}

static void
plan_set_drive(struct qmp_plan *p, const char *device, const char *node, unsigned flags)
{
	qmp_plan_add(p, qmp_qom_get(device, "drive"), NULL, -1, flags);
	qmp_plan_add(p, qmp_qom_set_str(device, "drive", node), NULL, -1, flags);
	qmp_plan_skip_if(p, node);
}

static void
plan_export(struct qmp_plan *p, unsigned i, const char *node)
{
	struct json_object *arguments = json_object_new_object(), *undo = json_object_new_object();

	add_str(arguments, "type", "nbd");
	add_strf(arguments, "id", "ftd-exp%u", i);
	add_str(arguments, "node-name", node);
	add_strf(arguments, "name", "ftd%u", i);
	json_object_object_add(arguments, "writable", json_object_new_boolean(true));
	add_strf(undo, "id", "ftd-exp%u", i);
	add_str(undo, "mode", "hard");
	qmp_plan_add(p, qmp_command("block-export-add", arguments), qmp_command("block-export-del", undo), -1, QMP_STEP_MUST);
}

struct qmp_plan *
qmp_recipe_standby_disk(unsigned i, const struct qmp_disk *d)
{
	g_autofree char *hid = g_strdup_printf("ftd-hid%u", i);
	g_autofree char *repl = g_strdup_printf("ftd-repl%u", i);
	struct qmp_plan *p = qmp_plan_new("attach the standby's disk"), *undo = qmp_plan_new("give the disk back");

	plan_overlay(p, i, "hid", d->hidden_path, d->node);
	plan_overlay(p, i, "act", d->active_path, hid);
	plan_replication(p, i, repl);
	plan_set_drive(p, d->device, repl, QMP_STEP_MUST);
	plan_set_drive(undo, d->device, d->node, QMP_STEP_MAY_FAIL);
	qmp_plan_set_undo(p, undo);
	plan_export(p, i, d->node);
	return p;
}

struct qmp_plan *
qmp_recipe_standby_disk_finish(unsigned i)
{
	struct qmp_plan *p = qmp_plan_new("clean up the standby's disk");

	plan_del_node(p, i, "act");
	plan_del_node(p, i, "hid");
	return p;
}

struct qmp_plan *
qmp_recipe_standby_disk_look(unsigned i)
{
	static const char *const nodes[] = { "ftd-act", "ftd-hid" };
	struct qmp_plan *p = qmp_plan_new("let go of the standby's overlays");

	for (size_t n = 0; n < G_N_ELEMENTS(nodes); n++) {
		g_autofree char *node = g_strdup_printf("%s%u", nodes[n], i);

		qmp_plan_add(p, qmp_blockdev_del(node), NULL, -1, QMP_STEP_MAY_FAIL);
	}
	return p;
}

struct qmp_plan *
qmp_recipe_nbd_server_start(const char *path)
{
	struct qmp_plan *p = qmp_plan_new("start the NBD server");
	struct json_object *addr = json_object_new_object(), *data = json_object_new_object(), *arguments = json_object_new_object();

	add_str(data, "path", path);
	add_str(addr, "type", "unix");
	json_object_object_add(addr, "data", data);
	json_object_object_add(arguments, "addr", addr);
	qmp_plan_add(p, qmp_command("nbd-server-start", arguments), qmp_command("nbd-server-stop", NULL), -1, QMP_STEP_MUST);
	return p;
}

struct qmp_plan *
qmp_recipe_nbd_server_stop(void)
{
	struct qmp_plan *p = qmp_plan_new("stop the NBD server");

	qmp_plan_add(p, qmp_command("nbd-server-stop", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	return p;
}

/* A copy that was reset while it stood is in RUN_STATE_PRELAUNCH, in which a checkpoint request aborts QEMU; from RUN_STATE_SUSPENDED (S3) it aborts at the end of the load,
 * when it is to go on as it was (system/cpus.c, vm_prepare_start()); in passive mode it stands.
 * TCG keeps its translations when COLO copies new code into RAM; it drops them on the way into RUN_STATE_RESTORE_VM (accel/tcg/tcg-all.c), where a loadvm leaves the
 * VM however it ends. Only while the VM runs: a checkpoint request in that state aborts QEMU. */
struct qmp_plan *
qmp_recipe_refresh(bool tcg)
{
	struct qmp_plan *p = qmp_plan_new("refresh");

	qmp_plan_add(p, qmp_command("system_wakeup", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_cont(), NULL, -1, QMP_STEP_MAY_FAIL);
	if (!tcg)
		return p;
	qmp_plan_add(p, qmp_hmp("loadvm nosuch"), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_cont(), NULL, -1, QMP_STEP_MAY_FAIL);
	return p;
}

static void
plan_release_nic(struct qmp_plan *p, unsigned i)
{
	static const char *const names[] = { "cap", "shut", "inj", "rel" };

	for (size_t n = 0; n < G_N_ELEMENTS(names); n++)
		plan_del_filter(p, i, names[n], QMP_STEP_MAY_FAIL);
	for (size_t n = 0; n < G_N_ELEMENTS(names); n++)
		plan_del_channel(p, i, names[n]);
}

struct qmp_plan *
qmp_recipe_standby_release(unsigned nics, unsigned disks, bool tcg)
{
	struct qmp_plan *p = qmp_recipe_nbd_server_stop();

	qmp_plan_add(p, qmp_lost_heartbeat(), NULL, -1, QMP_STEP_MAY_FAIL);
	if (tcg) {
		qmp_plan_add(p, qmp_hmp("loadvm nosuch"), NULL, -1, QMP_STEP_MAY_FAIL);
		qmp_plan_add(p, qmp_cont(), NULL, -1, QMP_STEP_MAY_FAIL);
	}
	for (unsigned i = 0; i < nics; i++)
		plan_release_nic(p, i);
	qmp_plan_add(p, qmp_announce_self(), NULL, -1, QMP_STEP_MAY_FAIL);
	for (unsigned i = 0; i < disks; i++)
		qmp_plan_append(p, qmp_recipe_standby_disk_finish(i));
	qmp_plan_add(p, qmp_set_capabilities(false, false), NULL, -1, QMP_STEP_MAY_FAIL | QMP_STEP_RETRY);
	qmp_plan_add(p, qmp_set_announce_after_load(true), NULL, -1, QMP_STEP_MAY_FAIL);
	return p;
}
