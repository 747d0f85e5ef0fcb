/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The check is a list of rules, each of which looks at facts and may object; none stops the others, so one run of `ftctl check` shows all that has to be
 * changed. A device that is not known to survive COLO is refused. A fact that QEMU does not tell counts as the bad case.
 */
#include "daemon/domain-check.h"

#include <string.h>

#define START_ANEW " and start the domain anew"

static bool
is_one_of(const char *word, const char *const *list)
{
	for (; word && *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* -- interfaces */

static void
check_vhost(const char *name, const struct domain_nic *nic, enum vhost_use use, struct check_report *report)
{
	static const char mend[] = "give it <driver name='qemu'/>" START_ANEW;

	if (!g_str_has_prefix(nic->model, "virtio") || g_strcmp0(nic->driver, "qemu") == 0)
		return;
	if (use == VHOST_YES)
		check_object(report, CHECK_NIC_VHOST, mend, "interface %s uses vhost, its packets never pass QEMU", name);
	else if (use == VHOST_UNKNOWN)
		check_object(report, CHECK_NIC_VHOST, mend, "interface %s may use vhost (QEMU's process was not found to look at)", name);
}

static void
check_nic(const struct domain_nic *nic, const struct qemu_nic *q, struct check_report *report)
{
	static const char *const types[] = { "bridge", "network", "ethernet", NULL };
	static const char *const models[] = { "virtio", "virtio-transitional", "virtio-non-transitional", "e1000", "e1000e", NULL };
	const char *name = nic->alias ? nic->alias : nic->mac ? nic->mac : "?";
	bool type_ok = is_one_of(nic->type, types), model_ok = is_one_of(nic->model, models);

	if (!type_ok)
		check_object(report, CHECK_NIC_TYPE, "only bridge, network and ethernet (a tap device) pass QEMU's filters", "interface %s is of type %s", name,
			     nic->type ? nic->type : "?");
	if (!model_ok)
		check_object(report, CHECK_NIC_MODEL, "use virtio or e1000", "interface %s has model %s", name, nic->model ? nic->model : "?");
	if (nic->queues > 1)
		check_object(report, CHECK_NIC_MULTIQUEUE, "remove queues= from its <driver>" START_ANEW, "interface %s has %u queues", name, nic->queues);
	if (type_ok && model_ok)
		check_vhost(name, nic, q->vhost, report);
}

/* -- disks */

static const struct { enum check_reason reason; const char *found, *mend; } flaws[] = {
	[DISK_FLAW_CHAIN] = { CHECK_DISK_CHAIN, "has a backing file", "commit its snapshots first (virsh blockcommit)" },
	[DISK_FLAW_SHAREABLE] = { CHECK_DISK_SHAREABLE, "is shareable", "each host needs a copy of its own: remove <shareable/>" },
	[DISK_FLAW_JOB] = { CHECK_DISK_BLOCK_JOB, "has a block job running", "wait for it or end it (virsh blockjob --abort)" },
	[DISK_FLAW_TRANSIENT] = { CHECK_DISK_TRANSIENT, "is transient", "remove <transient/>" },
	[DISK_FLAW_ENCRYPTED] = { CHECK_DISK_ENCRYPTED, "is encrypted by QEMU", "encrypt in the guest, or the file system that the image is on" },
	[DISK_FLAW_SLICE] = { CHECK_DISK_SLICE, "is a slice of its file", "give it a file of its own" },
};

static bool
disk_source_ok(const struct domain_disk *d, const char *name, struct check_report *report)
{
	if (strcmp(d->device, "disk") != 0)
		check_object(report, CHECK_DISK_MEDIUM, "eject its medium or remove it", "disk %s is neither a disk nor an empty drive", name);
	else if (strcmp(d->type, "file") != 0)
		check_object(report, CHECK_DISK_SOURCE, "ftd replicates files only", "disk %s is not an image file", name);
	else if (strcmp(d->format, "qcow2") != 0 && strcmp(d->format, "raw") != 0)
		check_object(report, CHECK_DISK_FORMAT, "convert it (qemu-img convert)", "disk %s is neither qcow2 nor raw", name);
	else if (d->readonly)
		check_object(report, CHECK_DISK_READ_ONLY, "ftd replicates writable disks only: remove it or make it writable", "disk %s is read-only", name);
	else
		return true;
	return false;
}

static void
check_disk(const struct domain_disk *d, const struct qemu_disk *q, struct check_report *report)
{
	static const char *const buses[] = { "virtio", "scsi", "sata", "ide", NULL };
	bool removable = strcmp(d->device, "cdrom") == 0 || strcmp(d->device, "floppy") == 0;
	const char *name = d->target ? d->target : "?";

	if ((removable && !d->path) || !disk_source_ok(d, name, report))
		return;
	if (d->flaw != DISK_FLAW_NONE)
		check_object(report, flaws[d->flaw].reason, flaws[d->flaw].mend, "disk %s %s", name, flaws[d->flaw].found);
	else if (!is_one_of(d->bus, buses))
		check_object(report, CHECK_DISK_BUS, "use virtio", "disk %s is on a bus that is not supported", name);
	else if (!q)
		check_object(report, CHECK_DISK_NOT_ATTACHED, "attach it, or take it out of the definition", "disk %s is not attached to the running QEMU", name);
	else if (q->has_backing)
		check_object(report, CHECK_DISK_CHAIN, flaws[DISK_FLAW_CHAIN].mend, "disk %s has a backing file", name);
	else if (q->has_snapshots)
		check_object(report, CHECK_DISK_CHAIN, "delete them first (virsh snapshot-delete)", "disk %s has snapshots inside of its image, which would not be copied", name);
	else if (d->iothread)
		check_object(report, CHECK_DISK_IOTHREAD, "nothing has to be done; after a failover the disk may be slower until the domain is started anew",
			     "disk %s has an I/O thread, and the copy's runs without", name);
}

/* -- QEMU and the machine */

/* QEMU < 11.0 takes the checkpoint's run_on_cpu without the big lock and deadlocks under TCG; 10.0.0 to 10.0.6 and 10.1 hand the stream over wrongly. */
static void
check_qemu(const struct qemu_facts *q, struct check_report *report)
{
	bool broken = (q->major == 10 && q->minor == 0 && q->micro < 7) || (q->major == 10 && q->minor == 1);

	if (!q->has_colo)
		check_object(report, CHECK_QEMU_NO_COLO, "use one configured with replication", "this QEMU (%s) was built without COLO (x-colo)", q->version);
	else if (q->tcg && q->major < 11)
		check_object(report, CHECK_QEMU_NEEDS_KVM, "it takes QEMU 11.0 or newer, or a KVM guest", "QEMU %s cannot do COLO without KVM", q->version);
	else if (broken)
		check_object(report, CHECK_QEMU_BROKEN, "10.0.7, 10.2 and 11.0 have it repaired", "COLO is broken in QEMU %s", q->version);
	else if (q->missing)
		check_object(report, CHECK_QEMU_INTERFACE, "use one that was built with it", "QEMU %s does not have %s", q->version, q->missing);
	check_fine(report, CHECK_QEMU, "QEMU %s with COLO, %s", q->version, q->tcg ? "TCG" : "KVM");
}

static void
check_machine(const struct domain_facts *domain, struct check_report *report)
{
	if (domain->memory_backing)
		check_object(report, CHECK_MEMORY_BACKING, "remove it from <memoryBacking>" START_ANEW, "the guest's memory is not plain memory: %s", domain->memory_backing);
	check_fine(report, CHECK_MEMORY, "%" G_GUINT64_FORMAT " MiB", domain->memory_kib / 1024);
	if (domain->nvram)
		check_object(report, CHECK_FIRMWARE_NVRAM, "use BIOS, or a <loader> with stateless='yes'", "UEFI keeps variables in %s, which is not replicated", domain->nvram);
	check_fine(report, CHECK_FIRMWARE, "nothing that is written");
}

static void
check_device(const char *device, struct check_report *report)
{
	if (g_str_has_prefix(device, "hostdev") || g_str_has_prefix(device, "redirdev"))
		check_object(report, CHECK_DEVICE_HOST, "remove it from the domain", "device %s belongs to this host", device);
	else if (g_str_has_prefix(device, "tpm"))
		check_object(report, CHECK_DEVICE_TPM, "remove it from the domain", "device %s keeps its state outside of QEMU", device);
	else
		check_object(report, CHECK_DEVICE_UNKNOWN, "remove it from the domain", "device %s is not known to survive a failover", device);
}

void
domain_check(const struct domain_facts *domain, const struct qemu_facts *qemu, bool paired, struct check_report *report)
{
	check_qemu(qemu, report);
	check_machine(domain, report);
	for (guint i = 0; i < domain->nics->len; i++)
		check_nic(g_ptr_array_index(domain->nics, i), g_ptr_array_index(qemu->nics, i), report);
	check_fine(report, CHECK_INTERFACES, "%u, on taps without vhost", domain->nics->len);
	for (guint i = 0; i < domain->disks->len; i++)
		check_disk(g_ptr_array_index(domain->disks, i), g_ptr_array_index(qemu->disks, i), report);
	if (qemu->block_jobs || (qemu->pair_jobs && !paired))
		check_object(report, CHECK_DISK_BLOCK_JOB, "wait for its end or cancel it (virsh blockjob)", "a block job is running on the domain");
	check_fine(report, CHECK_DISKS, "%u, with nothing against them", domain->disks->len);
	for (guint i = 0; i < domain->unknown->len; i++)
		check_device(g_ptr_array_index(domain->unknown, i), report);
	check_fine(report, CHECK_DEVICES, "all are known to survive a failover");
}
