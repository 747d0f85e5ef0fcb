/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/check-report.h"

#include "daemon/json-util.h"

#include <stdarg.h>
#include <string.h>

struct check_report {
	GPtrArray *rows;
};

static const char *const state_names[] = { [CHECK_OK] = "ok", [CHECK_WARNING] = "warning", [CHECK_REFUSED] = "refused", [CHECK_UNKNOWN] = "unknown" };
G_STATIC_ASSERT(G_N_ELEMENTS(state_names) == CHECK_STATE_LAST);

static const char *const requirement_names[] = {
	[CHECK_PAIR] = "pair", [CHECK_QEMU] = "qemu", [CHECK_CPU] = "cpu", [CHECK_MEMORY] = "memory", [CHECK_FIRMWARE] = "firmware", [CHECK_DEVICES] = "devices",
	[CHECK_INTERFACES] = "interfaces", [CHECK_DISKS] = "disks", [CHECK_PEER] = "peer", [CHECK_PEER_QEMU] = "peer-qemu", [CHECK_PEER_MEMORY] = "peer-memory",
	[CHECK_PEER_STORAGE] = "peer-storage", [CHECK_PEER_DOMAIN] = "peer-domain", [CHECK_LINK] = "link", [CHECK_PORTS] = "ports", [CHECK_CLOCK] = "clock",
	[CHECK_CERTIFICATES] = "certificates", [CHECK_HOOK] = "hook", [CHECK_ARBITER] = "arbiter",
};
G_STATIC_ASSERT(G_N_ELEMENTS(requirement_names) == CHECK_REQUIREMENT_LAST);

#define WARNS FTD_ERROR_LAST	/* in the column of errors: no refusal */

static const struct {
	const char *name;
	enum check_requirement requirement;
	enum ftd_error_code error;
	bool could;	/* be supported */
	const char *text;
} reasons[] = {
	[CHECK_REASON_NONE] = { "none", CHECK_REQUIREMENT_LAST, WARNS, false, "nothing is in the way" },
	[CHECK_ALREADY_PROTECTED] = { "already-protected", CHECK_PAIR, FTD_ERROR_ALREADY_PROTECTED, false, "the domain has a pair" },
	[CHECK_TOO_MANY_DEVICES] = { "too-many-devices", CHECK_PAIR, FTD_ERROR_LIMIT, false, "more disks or interfaces than a guard can carry" },
	[CHECK_QEMU_NO_COLO] = { "qemu-no-colo", CHECK_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "its QEMU was built without x-colo" },
	[CHECK_QEMU_NEEDS_KVM] = { "qemu-needs-kvm", CHECK_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "a QEMU before 11.0 that emulates the CPU" },
	[CHECK_QEMU_BROKEN] = { "qemu-broken", CHECK_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "a version of QEMU whose COLO does not work" },
	[CHECK_QEMU_INTERFACE] = { "qemu-interface", CHECK_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "its QEMU lacks a command or a filter that is needed" },
	[CHECK_CPU_DIFFERS] = { "cpu-differs", CHECK_CPU, FTD_ERROR_PEER_CPU, false, "the peer's CPU cannot run what the guest was shown" },
	[CHECK_CPU_NOT_COMPARED] = { "cpu-not-compared", CHECK_CPU, WARNS, false, "libvirt on the peer cannot tell whether its CPU will do" },
	[CHECK_MEMORY_BACKING] = { "memory-backing", CHECK_MEMORY, FTD_ERROR_DEVICE, true, "huge pages, shared, locked or file-backed memory" },
	[CHECK_FIRMWARE_NVRAM] = { "firmware-nvram", CHECK_FIRMWARE, FTD_ERROR_DEVICE, true, "UEFI with a file for its variables" },
	[CHECK_DEVICE_HOST] = { "device-host", CHECK_DEVICES, FTD_ERROR_DEVICE, false, "a device of the host was passed through" },
	[CHECK_DEVICE_TPM] = { "device-tpm", CHECK_DEVICES, FTD_ERROR_DEVICE, true, "a TPM" },
	[CHECK_DEVICE_UNKNOWN] = { "device-unknown", CHECK_DEVICES, FTD_ERROR_DEVICE, true, "a device that is not known to survive a failover" },
	[CHECK_NIC_TYPE] = { "nic-type", CHECK_INTERFACES, FTD_ERROR_NIC_MODEL, true, "an interface that is not on a tap" },
	[CHECK_NIC_MODEL] = { "nic-model", CHECK_INTERFACES, FTD_ERROR_NIC_MODEL, true, "an interface of a model that was not tested" },
	[CHECK_NIC_VHOST] = { "nic-vhost", CHECK_INTERFACES, FTD_ERROR_NIC_VHOST, true, "an interface whose packets do not pass QEMU" },
	[CHECK_NIC_MULTIQUEUE] = { "nic-multiqueue", CHECK_INTERFACES, FTD_ERROR_NIC_MULTIQUEUE, true, "an interface with more than one queue" },
	[CHECK_DISK_MEDIUM] = { "disk-medium", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a medium in a CD-ROM or floppy drive, or a LUN" },
	[CHECK_DISK_SOURCE] = { "disk-source", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a disk that is not an image file" },
	[CHECK_DISK_FORMAT] = { "disk-format", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "an image that is neither qcow2 nor raw" },
	[CHECK_DISK_READ_ONLY] = { "disk-read-only", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a read-only disk" },
	[CHECK_DISK_SHAREABLE] = { "disk-shareable", CHECK_DISKS, FTD_ERROR_DISK_KIND, false, "a disk that several domains may write" },
	[CHECK_DISK_CHAIN] = { "disk-chain", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a disk with a backing file or with snapshots" },
	[CHECK_DISK_BLOCK_JOB] = { "disk-block-job", CHECK_DISKS, FTD_ERROR_DISK_KIND, false, "a block job is running" },
	[CHECK_DISK_TRANSIENT] = { "disk-transient", CHECK_DISKS, FTD_ERROR_DISK_KIND, false, "a disk whose changes are thrown away" },
	[CHECK_DISK_ENCRYPTED] = { "disk-encrypted", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a disk that QEMU encrypts" },
	[CHECK_DISK_SLICE] = { "disk-slice", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a disk that is a part of a file" },
	[CHECK_DISK_BUS] = { "disk-bus", CHECK_DISKS, FTD_ERROR_DISK_KIND, true, "a disk on another bus than virtio, SCSI, SATA or IDE" },
	[CHECK_DISK_NOT_ATTACHED] = { "disk-not-attached", CHECK_DISKS, FTD_ERROR_DISK_KIND, false, "a disk that the running QEMU does not have" },
	[CHECK_DISK_IOTHREAD] = { "disk-iothread", CHECK_DISKS, WARNS, false, "a disk with an I/O thread, which the copy runs without" },
	[CHECK_PEER_IS_SELF] = { "peer-is-self", CHECK_PEER, FTD_ERROR_USAGE, false, "the peer is this host" },
	[CHECK_PEER_UNREACHABLE] = { "peer-unreachable", CHECK_PEER, FTD_ERROR_PEER_UNREACHABLE, false, "no connection to ftd on the peer" },
	[CHECK_PEER_CERTIFICATE] = { "peer-certificate", CHECK_PEER, FTD_ERROR_PEER_CERTIFICATE, false, "a certificate was not accepted" },
	[CHECK_PEER_FAILED] = { "peer-failed", CHECK_PEER, FTD_ERROR_FAILED, false, "the peer, or its libvirt, gave no answer to go by" },
	[CHECK_PEER_QEMU_MISSING] = { "peer-qemu-missing", CHECK_PEER_QEMU, FTD_ERROR_QEMU_VERSION, false, "the domain's emulator does not run on the peer" },
	[CHECK_PEER_QEMU_VERSION] = { "peer-qemu-version", CHECK_PEER_QEMU, FTD_ERROR_QEMU_VERSION, false, "the peer has another version of QEMU" },
	[CHECK_PEER_QEMU_NO_COLO] = { "peer-qemu-no-colo", CHECK_PEER_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "the peer's QEMU was built without x-colo" },
	[CHECK_PEER_QEMU_INTERFACE] = { "peer-qemu-interface", CHECK_PEER_QEMU, FTD_ERROR_QEMU_NO_COLO, false, "the peer's QEMU lacks a command or a filter" },
	[CHECK_PEER_MEMORY_SHORT] = { "peer-memory-short", CHECK_PEER_MEMORY, FTD_ERROR_PEER_MEMORY, false, "the peer has too little memory available" },
	[CHECK_STORAGE_SHARED] = { "storage-shared", CHECK_PEER_STORAGE, FTD_ERROR_DISK_KIND, true, "an image on storage that both hosts share" },
	[CHECK_STORAGE_MISSING] = { "storage-missing", CHECK_PEER_STORAGE, FTD_ERROR_PEER_STORAGE, false, "the peer does not have an image's directory" },
	[CHECK_STORAGE_READ_ONLY] = { "storage-read-only", CHECK_PEER_STORAGE, FTD_ERROR_PEER_STORAGE, false, "an image's directory cannot be written on the peer" },
	[CHECK_STORAGE_SHORT] = { "storage-short", CHECK_PEER_STORAGE, FTD_ERROR_PEER_STORAGE, false, "the peer has too little room for an image" },
	[CHECK_IMAGE_SIZE] = { "image-size", CHECK_PEER_STORAGE, FTD_ERROR_IMAGE_SIZE, false, "an image on the peer has another size" },
	[CHECK_IMAGE_FORMAT] = { "image-format", CHECK_PEER_STORAGE, FTD_ERROR_IMAGE_SIZE, false, "a file on the peer is no image of that format" },
	[CHECK_BOOT_FILE_MISSING] = { "boot-file-missing", CHECK_PEER_STORAGE, FTD_ERROR_PEER_STORAGE, false, "the peer lacks a file that the domain boots from" },
	[CHECK_PEER_DOMAIN_RUNS] = { "peer-domain-runs", CHECK_PEER_DOMAIN, FTD_ERROR_PEER_UUID_RUNNING, false, "the same domain runs on the peer" },
	[CHECK_PEER_NAME_TAKEN] = { "peer-name-taken", CHECK_PEER_DOMAIN, FTD_ERROR_PEER_UUID_RUNNING, false, "the peer has another domain of that name" },
	[CHECK_LINK_SLOW] = { "link-slow", CHECK_LINK, WARNS, false, "the round trip to the peer is long" },
	[CHECK_LINK_NARROW] = { "link-narrow", CHECK_LINK, WARNS, false, "the link to the peer carries little" },
	[CHECK_LINK_NOT_MEASURED] = { "link-not-measured", CHECK_LINK, WARNS, false, "the link to the peer could not be measured" },
	[CHECK_PORT_CLOSED] = { "port-closed", CHECK_PORTS, FTD_ERROR_PEER_UNREACHABLE, false, "the ports that guards listen on are not reached" },
	[CHECK_CLOCK_DIFFERS] = { "clock-differs", CHECK_CLOCK, WARNS, false, "the hosts' clocks do not agree" },
	[CHECK_CERTIFICATE_ENDS] = { "certificate-ends", CHECK_CERTIFICATES, WARNS, false, "a certificate of one of the hosts ends soon" },
	[CHECK_ARBITER_MISSING] = { "arbiter-missing", CHECK_ARBITER, FTD_ERROR_CONFIG, false, "no arbiter is configured, or not rightly" },
	[CHECK_ARBITER_SILENT] = { "arbiter-silent", CHECK_ARBITER, FTD_ERROR_ARBITER_SILENT, false, "the arbiter does not answer" },
	[CHECK_ARBITER_DENIED] = { "arbiter-denied", CHECK_ARBITER, FTD_ERROR_ARBITER_DENIED, false, "the arbiter says that the domain is another host's" },
	[CHECK_ARBITER_NOT_SHARED] = { "arbiter-not-shared", CHECK_ARBITER, FTD_ERROR_ARBITER_NOT_SHARED, false, "the peer asks another arbiter" },
	[CHECK_ARBITER_MANUAL] = { "arbiter-manual", CHECK_ARBITER, WARNS, false, "an operator decides" },
	[CHECK_ARBITER_FAILED] = { "arbiter-failed", CHECK_ARBITER, FTD_ERROR_FAILED, false, "the arbiter could not be asked" },
	[CHECK_HOOK_MISSING] = { "hook-missing", CHECK_HOOK, WARNS, false, "on one of the hosts libvirt does not have the hook that refuses the start of a stale copy" },
};
G_STATIC_ASSERT(G_N_ELEMENTS(reasons) == CHECK_REASON_LAST);

const char *
check_state_name(enum check_state s)
{
	return s < CHECK_STATE_LAST ? state_names[s] : "?";
}

const char *
check_requirement_name(enum check_requirement r)
{
	return r < CHECK_REQUIREMENT_LAST ? requirement_names[r] : "?";
}

const char *
check_reason_name(enum check_reason r)
{
	return r < CHECK_REASON_LAST ? reasons[r].name : "?";
}

const char *
check_reason_text(enum check_reason r)
{
	return r < CHECK_REASON_LAST ? reasons[r].text : "?";
}

enum check_state
check_reason_state(enum check_reason r)
{
	return reasons[r].error == WARNS ? CHECK_WARNING : CHECK_REFUSED;
}

enum check_requirement
check_reason_requirement(enum check_reason r)
{
	return reasons[r].requirement;
}

enum ftd_error_code
check_reason_error(enum check_reason r)
{
	return reasons[r].error;
}

bool
check_reason_could_be_supported(enum check_reason r)
{
	return reasons[r].could;
}

/* -- rows */

static void
row_free(gpointer data)
{
	struct check_row *row = data;

	g_free(row->found);
	g_free(row->mend);
	g_free(row);
}

struct check_report *
check_report_new(void)
{
	struct check_report *r = g_new0(struct check_report, 1);

	r->rows = g_ptr_array_new_with_free_func(row_free);
	return r;
}

void
check_report_free(struct check_report *r)
{
	if (!r)
		return;
	g_ptr_array_unref(r->rows);
	g_free(r);
}

/* Takes the texts. Before the first row of a later requirement. */
static void
insert_row(struct check_report *r, enum check_requirement requirement, enum check_state state, enum check_reason reason, enum ftd_error_code error, char *found, char *mend)
{
	struct check_row *row = g_new0(struct check_row, 1);
	guint at = 0;

	*row = (struct check_row){ requirement, state, reason, error, found, mend };
	while (at < r->rows->len && check_report_row(r, at)->requirement <= requirement)
		at++;
	g_ptr_array_insert(r->rows, (gint)at, row);
}

void
check_object(struct check_report *r, enum check_reason reason, const char *mend, const char *found, ...)
{
	va_list args;
	char *text;

	va_start(args, found);
	text = g_strdup_vprintf(found, args);
	va_end(args);
	insert_row(r, reasons[reason].requirement, check_reason_state(reason), reason, reasons[reason].error, text, g_strdup(mend));
}

static bool
has_row(const struct check_report *r, enum check_requirement requirement)
{
	for (guint i = 0; i < r->rows->len; i++)
		if (check_report_row(r, i)->requirement == requirement)
			return true;
	return false;
}

void
check_fine(struct check_report *r, enum check_requirement requirement, const char *found, ...)
{
	va_list args;
	char *text;

	if (has_row(r, requirement))
		return;
	va_start(args, found);
	text = g_strdup_vprintf(found, args);
	va_end(args);
	insert_row(r, requirement, CHECK_OK, CHECK_REASON_NONE, FTD_ERROR_FAILED, text, NULL);
}

static enum check_reason
reason_of_error(enum check_requirement requirement, enum ftd_error_code code)
{
	enum check_reason last = CHECK_REASON_NONE;

	for (enum check_reason i = CHECK_REASON_NONE + 1; i < CHECK_REASON_LAST; i++) {
		if (reasons[i].requirement != requirement)
			continue;
		last = i;
		if (reasons[i].error == code)
			return i;
	}
	return last;
}

void
check_failed(struct check_report *r, enum check_requirement requirement, GError *error)
{
	enum ftd_error_code code = ftd_error_from_name(ftd_error_name(error));
	enum check_reason reason = reason_of_error(requirement, code);

	insert_row(r, requirement, check_reason_state(reason), reason, code, g_strdup(error->message), NULL);
	g_error_free(error);
}

void
check_unknown(struct check_report *r, enum check_requirement requirement, GError *error)
{
	insert_row(r, requirement, CHECK_UNKNOWN, CHECK_REASON_NONE, FTD_ERROR_FAILED, g_strdup_printf("not looked at: %s", error->message), NULL);
	g_error_free(error);
}

void
check_close(struct check_report *r, const char *why)
{
	for (enum check_requirement i = 0; i < CHECK_REQUIREMENT_LAST; i++)
		if (!has_row(r, i))
			insert_row(r, i, CHECK_UNKNOWN, CHECK_REASON_NONE, FTD_ERROR_FAILED, g_strdup(why), NULL);
}

guint
check_report_length(const struct check_report *r)
{
	return r->rows->len;
}

const struct check_row *
check_report_row(const struct check_report *r, guint i)
{
	return g_ptr_array_index(r->rows, i);
}

bool
check_report_verdict(const struct check_report *r, GError **error)
{
	const struct check_row *first = NULL;
	g_autofree char *text = NULL;
	guint more = 0;

	for (guint i = 0; i < r->rows->len; i++) {
		const struct check_row *row = check_report_row(r, i);

		if (row->state != CHECK_REFUSED)
			continue;
		if (first)
			more++;
		else
			first = row;
	}
	if (!first)
		return true;
	text = g_strdup_printf("%s%s%s", first->found, first->mend ? "; " : "", first->mend ? first->mend : "");
	if (more)
		g_set_error(error, FTD_ERROR, (int)first->error, "%s (and %u more: see ftctl check)", text, more);
	else
		g_set_error_literal(error, FTD_ERROR, (int)first->error, text);
	return false;
}

struct json_object *
check_report_to_json(const struct check_report *r)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < r->rows->len; i++) {
		const struct check_row *row = check_report_row(r, i);
		struct json_object *o = json_put_str(json_object_new_object(), "requirement", check_requirement_name(row->requirement));

		json_put_str(o, "state", check_state_name(row->state));
		if (row->reason != CHECK_REASON_NONE)
			json_put_str(o, "reason", check_reason_name(row->reason));
		if (row->state == CHECK_REFUSED) {
			g_autoptr(GError) error = g_error_new_literal(FTD_ERROR, (int)row->error, "");

			json_put_str(o, "error", ftd_error_name(error));
		}
		json_object_array_add(list, json_put_str(json_put_str(o, "found", row->found), "mend", row->mend));
	}
	return list;
}
