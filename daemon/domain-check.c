/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The check is a list of rules, each of which looks at facts and may add a finding; none stops the others, so one run of `ftctl check` shows all
 * that has to be changed. A device that is not known to survive COLO is refused. A fact that QEMU does not tell counts as the bad case.
 *
 * Inspect, between the daemons: {name, uuid, emulator, probe, disks: [{path, size, format}], files: [path]}
 * -> {host, qemu_version, has_colo, emulator_error?, memory_available_kib, domain: none|defined|running, name_taken,
 *     disks: [{exists, size?, error?, directory, writable, free, shared}], files: [bool]}
 * `probe` is the suffix of an empty file that the asking host keeps beside each image meanwhile: a peer that sees it shares the storage.
 */
#include "daemon/domain-check.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <stdarg.h>
#include <string.h>

#define MIB_IN_KIB 1024
#define STANDBY_OVERHEAD_KIB (256 * MIB_IN_KIB)		/* QEMU itself, the guard's buffers */
#define ROOM_MARGIN (64ull << 20)			/* overlays while they are small, qcow2 tables */

static void
free_finding(gpointer data)
{
	g_error_free(data);
}

GPtrArray *
findings_new(void)
{
	return g_ptr_array_new_with_free_func(free_finding);
}

void
findings_take(GPtrArray *findings, GError *error)
{
	g_ptr_array_add(findings, error);
}

void
findings_add(GPtrArray *findings, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	findings_take(findings, g_error_new_valist(FTD_ERROR, code, format, args));
	va_end(args);
}

struct json_object *
findings_to_json(GPtrArray *findings)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < findings->len; i++) {
		const GError *e = g_ptr_array_index(findings, i);

		json_object_array_add(list, json_put_str(json_put_str(json_object_new_object(), "error", ftd_error_name(e)), "message", e->message));
	}
	return list;
}

bool
findings_to_error(GPtrArray *findings, GError **error)
{
	const GError *first;

	if (!findings->len)
		return true;
	first = g_ptr_array_index(findings, 0);
	if (findings->len == 1)
		g_propagate_error(error, g_error_copy(first));
	else
		g_set_error(error, first->domain, first->code, "%s (and %u more: see ftctl check)", first->message, findings->len - 1);
	return false;
}

/* -- the domain and its QEMU */

static void
check_nic(const struct domain_nic *nic, const struct qemu_nic *q, GPtrArray *findings)
{
	static const char *const types[] = { "bridge", "network", "ethernet" };
	static const char *const models[] = { "virtio", "virtio-transitional", "virtio-non-transitional", "e1000", "e1000e" };
	const char *name = nic->alias ? nic->alias : nic->mac ? nic->mac : "?";
	bool type_ok = false, model_ok = false;

	for (guint i = 0; i < G_N_ELEMENTS(types); i++)
		type_ok |= g_strcmp0(nic->type, types[i]) == 0;
	for (guint i = 0; i < G_N_ELEMENTS(models); i++)
		model_ok |= g_strcmp0(nic->model, models[i]) == 0;
	if (!type_ok)
		findings_add(findings, FTD_ERROR_NIC_MODEL, "interface %s is of type %s; only bridge, network and ethernet (a tap device) pass QEMU's filters",
			     name, nic->type ? nic->type : "?");
	if (!model_ok)
		findings_add(findings, FTD_ERROR_NIC_MODEL, "interface %s has model %s; use virtio or e1000", name, nic->model ? nic->model : "?");
	if (nic->queues > 1)
		findings_add(findings, FTD_ERROR_NIC_MULTIQUEUE, "interface %s has %u queues; remove queues= from its <driver> and start the domain anew", name, nic->queues);
	if (!type_ok || !model_ok || !g_str_has_prefix(nic->model, "virtio") || g_strcmp0(nic->driver, "qemu") == 0)
		return;
	if (q->vhost == VHOST_YES)
		findings_add(findings, FTD_ERROR_NIC_VHOST, "interface %s uses vhost, its packets never pass QEMU; give it <driver name='qemu'/> and start the domain anew", name);
	else if (q->vhost == VHOST_UNKNOWN)
		findings_add(findings, FTD_ERROR_NIC_VHOST, "interface %s may use vhost (QEMU's process was not found to look at); give it <driver name='qemu'/> and start the "
			     "domain anew", name);
}

static const char *
disk_objection(const struct domain_disk *d, const struct qemu_disk *q)
{
	static const char *const buses[] = { "virtio", "scsi", "sata", "ide" };
	bool bus_ok = false;

	for (guint i = 0; i < G_N_ELEMENTS(buses); i++)
		bus_ok |= g_strcmp0(d->bus, buses[i]) == 0;
	if (strcmp(d->device, "disk") != 0)
		return "is neither a disk nor an empty drive; eject its medium or remove it";
	if (strcmp(d->type, "file") != 0)
		return "is not an image file; ftd replicates files only";
	if (strcmp(d->format, "qcow2") != 0 && strcmp(d->format, "raw") != 0)
		return "is neither qcow2 nor raw";
	if (d->readonly)
		return "is read-only; ftd replicates writable disks only: remove it or make it writable";
	if (d->flaw)
		return d->flaw;
	if (!bus_ok)
		return "is on a bus that is not supported; use virtio";
	if (!q)
		return "is not attached to the running QEMU";
	if (q->has_backing)
		return "has a backing file (commit its snapshots first: virsh blockcommit)";
	return NULL;
}

static void
check_disk(const struct domain_disk *d, const struct qemu_disk *q, GPtrArray *findings)
{
	bool removable = strcmp(d->device, "cdrom") == 0 || strcmp(d->device, "floppy") == 0;
	const char *objection;

	if (removable && !d->path)
		return;
	objection = disk_objection(d, q);
	if (objection)
		findings_add(findings, FTD_ERROR_DISK_KIND, "disk %s %s", d->target ? d->target : "?", objection);
}

/* QEMU < 11.0 takes the checkpoint's run_on_cpu without the big lock and deadlocks under TCG; 10.0.0 to 10.0.6 and 10.1 hand the stream over wrongly. */
static void
check_colo(const struct qemu_facts *q, GPtrArray *findings)
{
	bool broken = (q->major == 10 && q->minor == 0 && q->micro < 7) || (q->major == 10 && q->minor == 1);

	if (!q->has_colo)
		findings_add(findings, FTD_ERROR_QEMU_NO_COLO, "this QEMU (%s) was built without COLO (x-colo); use one configured with replication", q->version);
	else if (q->tcg && q->major < 11)
		findings_add(findings, FTD_ERROR_QEMU_NO_COLO, "QEMU %s cannot do COLO without KVM; it takes QEMU 11.0 or newer, or a KVM guest", q->version);
	else if (broken)
		findings_add(findings, FTD_ERROR_QEMU_NO_COLO, "COLO is broken in QEMU %s; 10.0.7, 10.2 and 11.0 have it repaired", q->version);
}

void
domain_check_local(const struct domain_facts *domain, const struct qemu_facts *qemu, GPtrArray *findings)
{
	check_colo(qemu, findings);
	for (guint i = 0; i < domain->nics->len; i++)
		check_nic(g_ptr_array_index(domain->nics, i), g_ptr_array_index(qemu->nics, i), findings);
	for (guint i = 0; i < domain->disks->len; i++)
		check_disk(g_ptr_array_index(domain->disks, i), g_ptr_array_index(qemu->disks, i), findings);
	for (guint i = 0; i < domain->unknown->len; i++)
		findings_add(findings, FTD_ERROR_DEVICE, "device %s is not known to survive a failover; remove it from the domain",
			     (const char *)g_ptr_array_index(domain->unknown, i));
	if (qemu->block_jobs)
		findings_add(findings, FTD_ERROR_DISK_KIND, "a block job is running on the domain; wait for its end or cancel it (virsh blockjob)");
}

/* -- the peer */

struct json_object *
inspect_request(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *probe)
{
	struct json_object *request = json_object_new_object(), *disks = json_object_new_array(), *files = json_object_new_array();

	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);
		const struct qemu_disk *q = g_ptr_array_index(qemu->disks, i);

		if (q && d->path)
			json_object_array_add(disks, json_put_u64(json_put_str(json_put_str(json_object_new_object(), "path", d->path), "format", d->format),
								  "size", q->virtual_size));
	}
	for (guint i = 0; i < domain->boot_files->len; i++)
		json_object_array_add(files, json_object_new_string(g_ptr_array_index(domain->boot_files, i)));
	json_put_str(json_put_str(request, "name", domain->name), "uuid", domain->uuid);
	json_put_str(json_put_str(request, "emulator", domain->emulator), "probe", probe);
	return json_put_value(json_put_value(request, "disks", disks), "files", files);
}

static void
check_peer_qemu(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *peer, struct json_object *answer, GPtrArray *findings)
{
	const char *version = json_get_str(answer, "qemu_version"), *trouble = json_get_str(answer, "emulator_error");

	if (trouble || !version)
		findings_add(findings, FTD_ERROR_QEMU_VERSION, "%s: %s does not run there: %s", peer, domain->emulator, trouble ? trouble : "no version");
	else if (strcmp(version, qemu->version) != 0)
		findings_add(findings, FTD_ERROR_QEMU_VERSION, "%s has QEMU %s, the domain runs in QEMU %s; install the same version on both hosts", peer, version, qemu->version);
	else if (!json_get_bool(answer, "has_colo"))
		findings_add(findings, FTD_ERROR_QEMU_NO_COLO, "%s: its QEMU was built without COLO (x-colo); install the one of this host", peer);
}

static void
check_peer_memory(const struct domain_facts *domain, const char *peer, struct json_object *answer, GPtrArray *findings)
{
	guint64 needed = 2 * domain->memory_kib + STANDBY_OVERHEAD_KIB, available = json_get_u64(answer, "memory_available_kib");

	if (available < needed)
		findings_add(findings, FTD_ERROR_PEER_MEMORY, "%s has %" G_GUINT64_FORMAT " MiB of memory available, the standby takes twice the guest's: %" G_GUINT64_FORMAT " MiB; free "
			     "some there or choose another host", peer, available / MIB_IN_KIB, needed / MIB_IN_KIB);
}

static void
check_peer_domain(const struct domain_facts *domain, const char *peer, struct json_object *answer, GPtrArray *findings)
{
	if (g_strcmp0(json_get_str(answer, "domain"), "running") == 0)
		findings_add(findings, FTD_ERROR_PEER_UUID_RUNNING, "a domain with the UUID of %s runs on %s; destroy it there if it is not wanted", domain->name, peer);
	else if (json_get_bool(answer, "name_taken"))
		findings_add(findings, FTD_ERROR_PEER_UUID_RUNNING, "%s has another domain of the name %s; rename or undefine it", peer, domain->name);
}

static void
check_peer_image(const char *path, const struct qemu_disk *q, const char *peer, struct json_object *image, GPtrArray *findings)
{
	g_autofree char *directory = g_path_get_dirname(path);
	guint64 free_bytes = json_get_u64(image, "free"), needed = q->allocated + ROOM_MARGIN;

	if (json_get_bool(image, "shared"))
		findings_add(findings, FTD_ERROR_DISK_KIND, "%s is on storage that %s shares with this host; each host needs a copy of its own", path, peer);
	else if (!json_get_bool(image, "directory"))
		findings_add(findings, FTD_ERROR_PEER_STORAGE, "%s has no directory %s; create it", peer, directory);
	else if (!json_get_bool(image, "writable"))
		findings_add(findings, FTD_ERROR_PEER_STORAGE, "%s: %s is not writable; make it so", peer, directory);
	else if (json_get_bool(image, "exists") && json_get_str(image, "error"))
		findings_add(findings, FTD_ERROR_IMAGE_SIZE, "%s: %s is there but is not an image of this format (%s); move it away", peer, path, json_get_str(image, "error"));
	else if (json_get_bool(image, "exists") && json_get_u64(image, "size") != q->virtual_size)
		findings_add(findings, FTD_ERROR_IMAGE_SIZE, "%s: %s has %" G_GUINT64_FORMAT " bytes, here it has %" G_GUINT64_FORMAT "; move the file away or resize it",
			     peer, path, json_get_u64(image, "size"), q->virtual_size);
	else if (free_bytes < needed && !json_get_bool(image, "exists"))
		findings_add(findings, FTD_ERROR_PEER_STORAGE, "%s: %s has %" G_GUINT64_FORMAT " MiB left, the image takes %" G_GUINT64_FORMAT " MiB; make room",
			     peer, directory, free_bytes >> 20, needed >> 20);
}

void
domain_check_peer(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *peer, struct json_object *answer, GPtrArray *findings)
{
	struct json_object *images = json_get(answer, "disks"), *files = json_get(answer, "files");
	size_t image = 0;

	check_peer_qemu(domain, qemu, peer, answer, findings);
	check_peer_memory(domain, peer, answer, findings);
	check_peer_domain(domain, peer, answer, findings);
	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);
		const struct qemu_disk *q = g_ptr_array_index(qemu->disks, i);

		if (q && d->path)
			check_peer_image(d->path, q, peer, json_at(images, image++), findings);
	}
	for (guint i = 0; i < domain->boot_files->len; i++)
		if (!json_object_get_boolean(json_at(files, i)))
			findings_add(findings, FTD_ERROR_PEER_STORAGE, "%s has no file %s, which the domain boots from; copy it there",
				     peer, (const char *)g_ptr_array_index(domain->boot_files, i));
}
