/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `ftctl check` says: rows of requirement, state, reason, what was found and how to mend it. Reasons are stable names, like vSphere's: scripts may
 * match them, and ftctl(1), CHECKS lists all of them. Pure.
 */
#pragma once

#include "daemon/base/error.h"

#include <json-c/json.h>
#include <stdbool.h>

enum check_state { CHECK_OK, CHECK_WARNING, CHECK_REFUSED, CHECK_UNKNOWN, CHECK_STATE_LAST };	/* UNKNOWN: not looked at */

enum check_requirement {	/* in the order of the table */
	CHECK_PAIR, CHECK_QEMU, CHECK_CPU, CHECK_MEMORY, CHECK_FIRMWARE, CHECK_DEVICES, CHECK_INTERFACES, CHECK_DISKS,
	CHECK_PEER, CHECK_PEER_QEMU, CHECK_PEER_MEMORY, CHECK_PEER_STORAGE, CHECK_PEER_DOMAIN, CHECK_LINK, CHECK_PORTS, CHECK_CLOCK, CHECK_CERTIFICATES,
	CHECK_HOOK, CHECK_ARBITER, CHECK_REQUIREMENT_LAST
};

enum check_reason {	/* appended only; check-report.c has name, requirement, error and text of each */
	CHECK_REASON_NONE,
	CHECK_ALREADY_PROTECTED, CHECK_TOO_MANY_DEVICES,
	CHECK_QEMU_NO_COLO, CHECK_QEMU_NEEDS_KVM, CHECK_QEMU_BROKEN, CHECK_QEMU_INTERFACE,
	CHECK_CPU_DIFFERS, CHECK_CPU_NOT_COMPARED,
	CHECK_MEMORY_BACKING,
	CHECK_FIRMWARE_NVRAM,
	CHECK_DEVICE_HOST, CHECK_DEVICE_TPM, CHECK_DEVICE_UNKNOWN,
	CHECK_NIC_TYPE, CHECK_NIC_MODEL, CHECK_NIC_VHOST, CHECK_NIC_MULTIQUEUE,
	CHECK_DISK_MEDIUM, CHECK_DISK_SOURCE, CHECK_DISK_FORMAT, CHECK_DISK_READ_ONLY, CHECK_DISK_SHAREABLE, CHECK_DISK_CHAIN, CHECK_DISK_BLOCK_JOB,
	CHECK_DISK_TRANSIENT, CHECK_DISK_ENCRYPTED, CHECK_DISK_SLICE, CHECK_DISK_BUS, CHECK_DISK_NOT_ATTACHED, CHECK_DISK_IOTHREAD,
	CHECK_PEER_IS_SELF, CHECK_PEER_UNREACHABLE, CHECK_PEER_CERTIFICATE, CHECK_PEER_FAILED,
	CHECK_PEER_QEMU_MISSING, CHECK_PEER_QEMU_VERSION, CHECK_PEER_QEMU_NO_COLO, CHECK_PEER_QEMU_INTERFACE,
	CHECK_PEER_MEMORY_SHORT,
	CHECK_STORAGE_SHARED, CHECK_STORAGE_MISSING, CHECK_STORAGE_READ_ONLY, CHECK_STORAGE_SHORT, CHECK_IMAGE_SIZE, CHECK_IMAGE_FORMAT, CHECK_BOOT_FILE_MISSING,
	CHECK_PEER_DOMAIN_RUNS, CHECK_PEER_NAME_TAKEN,
	CHECK_LINK_SLOW, CHECK_LINK_NARROW, CHECK_LINK_NOT_MEASURED,
	CHECK_PORT_CLOSED,
	CHECK_CLOCK_DIFFERS,
	CHECK_CERTIFICATE_ENDS,
	CHECK_ARBITER_MISSING, CHECK_ARBITER_SILENT, CHECK_ARBITER_DENIED, CHECK_ARBITER_NOT_SHARED, CHECK_ARBITER_MANUAL, CHECK_ARBITER_FAILED,
	CHECK_HOOK_MISSING,
	CHECK_REASON_LAST
};

struct check_row {
	enum check_requirement requirement;
	enum check_state state;
	enum check_reason reason;	/* NONE: ok, or not looked at */
	enum ftd_error_code error;	/* of a refusal: ftctl's exit status */
	char *found, *mend;		/* mend NULL: nothing to do, or `found` says it */
};

struct check_report;
struct check_report *check_report_new(void);
void check_report_free(struct check_report *r);
typedef struct check_report check_report;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(check_report, check_report_free)

/* A warning or a refusal, as the reason has it. */
void check_object(struct check_report *r, enum check_reason reason, const char *mend, const char *found, ...) G_GNUC_PRINTF(4, 5);
/* Nothing was objected: what was found. Does nothing when a row of that requirement stands already. */
void check_fine(struct check_report *r, enum check_requirement requirement, const char *found, ...) G_GNUC_PRINTF(3, 4);
/* A step that failed, or could not be made (takes error): the reason of that requirement with the error's code, or its last one. */
void check_failed(struct check_report *r, enum check_requirement requirement, GError *error);
/* Requirements without a row are not looked at, because of that. */
void check_unknown(struct check_report *r, enum check_requirement requirement, GError *error);	/* takes the error, for which it could not be looked at */
void check_close(struct check_report *r, const char *why);

guint check_report_length(const struct check_report *r);
const struct check_row *check_report_row(const struct check_report *r, guint i);	/* sorted by requirement, in the order they were found */
/* All refusals as one error: the first one's code and text; false when there is one. */
bool check_report_verdict(const struct check_report *r, GError **error);
struct json_object *check_report_to_json(const struct check_report *r);	/* [{requirement, state, reason, error, found, mend}] */

const char *check_state_name(enum check_state s);
const char *check_requirement_name(enum check_requirement r);
const char *check_reason_name(enum check_reason r);
const char *check_reason_text(enum check_reason r);		/* what it means, in half a sentence */
enum check_state check_reason_state(enum check_reason r);
enum check_requirement check_reason_requirement(enum check_reason r);
enum ftd_error_code check_reason_error(enum check_reason r);
bool check_reason_could_be_supported(enum check_reason r);	/* ftd(8), NOT SUPPORTED says why it is not */
