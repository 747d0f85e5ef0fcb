/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inspect, between the daemons: {name, uuid, emulator, cpu?, probe, disks: [{path, size, format}], files: [path]}
 * -> {host, qemu_version, has_colo, wants_return_path, qemu_missing?, emulator_error?, cpu, cpu_fit?: fits|incompatible|unknown, memory_available_kib,
 *     hook, domain: none|defined|running, name_taken, disks: [{exists, size?, error?, directory, writable, free, shared}], files: [bool]}
 * `probe` is the suffix of an empty file that the asking host keeps beside each image meanwhile: a peer that sees it shares the storage.
 */
#include "daemon/peer-check.h"

#include "daemon/json-util.h"

#include <string.h>

#define MIB_IN_KIB 1024
#define STANDBY_OVERHEAD_KIB (256 * MIB_IN_KIB)		/* QEMU itself, the guard's buffers */
#define ROOM_MARGIN (64ull << 20)			/* overlays while they are small, qcow2 tables */
#define ROUND_TRIP_LONG_US 5000				/* each output that is compared waits for at least one */
#define LINK_NARROW_BYTES (40ull << 20)			/* a guest that dirties 400 MB/s, of which a tenth is sent after compression */
#define CERTIFICATE_WARNING_DAYS 30
#define CLOCK_TOLERATED_US (2 * G_USEC_PER_SEC)

/* Shown to a guest by KVM as the host has it: both hosts must have the same one. */
static bool
is_hosts_cpu(const struct domain_facts *domain)
{
	return g_strcmp0(domain->cpu_mode, "host-passthrough") == 0 || g_strcmp0(domain->cpu_mode, "maximum") == 0;
}

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
	if (!qemu->tcg && !is_hosts_cpu(domain))
		json_put_str(request, "cpu", domain->cpu);
	return json_put_value(json_put_value(request, "disks", disks), "files", files);
}

/* -- the answer */

static void
check_qemu(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *peer, struct json_object *answer, struct check_report *report)
{
	const char *version = json_get_str(answer, "qemu_version"), *trouble = json_get_str(answer, "emulator_error"), *missing = json_get_str(answer, "qemu_missing");

	if (trouble || !version)
		check_object(report, CHECK_PEER_QEMU_MISSING, "install the QEMU of this host there", "%s: %s does not run there: %s", peer, domain->emulator, trouble ? trouble : "no version");
	else if (strcmp(version, qemu->version) != 0)
		check_object(report, CHECK_PEER_QEMU_VERSION, "install the same version on both hosts", "%s has QEMU %s, the domain runs in QEMU %s", peer, version, qemu->version);
	else if (!json_get_bool(answer, "has_colo"))
		check_object(report, CHECK_PEER_QEMU_NO_COLO, "install the one of this host", "%s: its QEMU was built without COLO (x-colo)", peer);
	else if (missing)
		check_object(report, CHECK_PEER_QEMU_INTERFACE, "install the one of this host", "%s: its QEMU does not have %s", peer, missing);
	check_fine(report, CHECK_PEER_QEMU, "QEMU %s with COLO, which takes return-path %s", version, json_get_bool(answer, "wants_return_path") ? "on" : "off");
}

static void
check_hosts_cpu(const char *here, const char *there, const char *peer, struct check_report *report)
{
	if (!here || !there)
		check_object(report, CHECK_CPU_NOT_COMPARED, "compare the hosts' CPUs by hand (lscpu)", "the guest is shown this host's CPU, and %s does not tell its own", peer);
	else if (strcmp(here, there) != 0)
		check_object(report, CHECK_CPU_DIFFERS, "give the domain a CPU model that both have (virsh hypervisor-cpu-baseline) and start it anew",
			     "the guest is shown this host's CPU, %s, and %s has %s", here, peer, there);
	check_fine(report, CHECK_CPU, "%s on both hosts", here);
}

static void
check_cpu(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *here, const char *peer, struct json_object *answer, struct check_report *report)
{
	const char *fit = json_get_str(answer, "cpu_fit");

	if (qemu->tcg) {
		check_fine(report, CHECK_CPU, "emulated, so the same everywhere");
		return;
	}
	if (is_hosts_cpu(domain)) {
		check_hosts_cpu(here, json_get_str(answer, "cpu"), peer, report);
		return;
	}
	if (!domain->cpu) {
		check_fine(report, CHECK_CPU, "QEMU's default model");
		return;
	}
	if (g_strcmp0(fit, "incompatible") == 0)
		check_object(report, CHECK_CPU_DIFFERS, "give the domain a CPU model that both have (virsh hypervisor-cpu-baseline) and start it anew",
			     "the CPU of %s cannot run what the guest was shown", peer);
	else if (g_strcmp0(fit, "fits") != 0)
		check_object(report, CHECK_CPU_NOT_COMPARED, "compare by hand (virsh hypervisor-cpu-compare there)", "libvirt on %s does not tell whether its CPU will do", peer);
	check_fine(report, CHECK_CPU, "%s can run the guest's model", peer);
}

static void
check_memory(const struct domain_facts *domain, const char *peer, struct json_object *answer, struct check_report *report)
{
	guint64 needed = 2 * domain->memory_kib + STANDBY_OVERHEAD_KIB, available = json_get_u64(answer, "memory_available_kib");

	if (available < needed)
		check_object(report, CHECK_PEER_MEMORY_SHORT, "free some there or choose another host",
			     "%s has %" G_GUINT64_FORMAT " MiB of memory available, the standby takes twice the guest's: %" G_GUINT64_FORMAT " MiB", peer, available / MIB_IN_KIB,
			     needed / MIB_IN_KIB);
	check_fine(report, CHECK_PEER_MEMORY, "%" G_GUINT64_FORMAT " MiB available, %" G_GUINT64_FORMAT " MiB needed", available / MIB_IN_KIB, needed / MIB_IN_KIB);
}

static void
check_domain(const struct domain_facts *domain, const char *peer, struct json_object *answer, struct check_report *report)
{
	if (g_strcmp0(json_get_str(answer, "domain"), "running") == 0)
		check_object(report, CHECK_PEER_DOMAIN_RUNS, "destroy it there if it is not wanted", "a domain with the UUID of %s runs on %s", domain->name, peer);
	else if (json_get_bool(answer, "name_taken"))
		check_object(report, CHECK_PEER_NAME_TAKEN, "rename or undefine it", "%s has another domain of the name %s", peer, domain->name);
	check_fine(report, CHECK_PEER_DOMAIN, "none of this name or UUID runs there");
}

static void
check_directory(const char *path, const struct qemu_disk *q, const char *peer, struct json_object *image, struct check_report *report)
{
	g_autofree char *directory = g_path_get_dirname(path);
	guint64 free_bytes = json_get_u64(image, "free"), needed = q->allocated + ROOM_MARGIN;

	if (!json_get_bool(image, "directory"))
		check_object(report, CHECK_STORAGE_MISSING, "create it", "%s has no directory %s", peer, directory);
	else if (!json_get_bool(image, "writable"))
		check_object(report, CHECK_STORAGE_READ_ONLY, "make it so", "%s: %s is not writable", peer, directory);
	else if (free_bytes < needed && !json_get_bool(image, "exists"))
		check_object(report, CHECK_STORAGE_SHORT, "make room", "%s: %s has %" G_GUINT64_FORMAT " MiB left, the image takes %" G_GUINT64_FORMAT " MiB", peer, directory,
			     free_bytes >> 20, needed >> 20);
}

static void
check_image(const char *path, const struct qemu_disk *q, const char *peer, struct json_object *image, struct check_report *report)
{
	const char *trouble = json_get_str(image, "error");
	bool exists = json_get_bool(image, "exists") && json_get_bool(image, "directory") && json_get_bool(image, "writable");

	if (json_get_bool(image, "shared"))
		check_object(report, CHECK_STORAGE_SHARED, "each host needs a copy of its own", "%s is on storage that %s shares with this host", path, peer);
	else if (exists && trouble)
		check_object(report, CHECK_IMAGE_FORMAT, "move it away", "%s: %s is there but is not an image of this format (%s)", peer, path, trouble);
	else if (exists && json_get_u64(image, "size") != q->virtual_size)
		check_object(report, CHECK_IMAGE_SIZE, "move the file away or resize it", "%s: %s has %" G_GUINT64_FORMAT " bytes, here it has %" G_GUINT64_FORMAT, peer, path,
			     json_get_u64(image, "size"), q->virtual_size);
	else
		check_directory(path, q, peer, image, report);
}

static void
check_storage(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *peer, struct json_object *answer, struct check_report *report)
{
	struct json_object *images = json_get(answer, "disks"), *files = json_get(answer, "files");
	size_t image = 0;

	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);
		const struct qemu_disk *q = g_ptr_array_index(qemu->disks, i);

		if (q && d->path)
			check_image(d->path, q, peer, json_at(images, image++), report);
	}
	for (guint i = 0; i < domain->boot_files->len; i++)
		if (!json_object_get_boolean(json_at(files, i)))
			check_object(report, CHECK_BOOT_FILE_MISSING, "copy it there", "%s has no file %s, which the domain boots from", peer,
				     (const char *)g_ptr_array_index(domain->boot_files, i));
	check_fine(report, CHECK_PEER_STORAGE, "room for %zu image%s", image, image == 1 ? "" : "s");
}

void
peer_check_answer(const struct domain_facts *domain, const struct qemu_facts *qemu, const char *cpu_here, const char *peer, struct json_object *answer,
		  struct check_report *report)
{
	check_qemu(domain, qemu, peer, answer, report);
	check_cpu(domain, qemu, cpu_here, peer, answer, report);
	check_memory(domain, peer, answer, report);
	check_storage(domain, qemu, peer, answer, report);
	check_domain(domain, peer, answer, report);
}

void
peer_check_hook(bool here, const char *peer, struct json_object *answer, struct check_report *report)
{
	static const char mend[] = "install ftd there anew, or copy the file from the other host, then restart libvirt's daemon";
	bool there = !json_get(answer, "hook") || json_get_bool(answer, "hook");	/* an older ftd does not tell */

	if (!here)
		check_object(report, CHECK_HOOK_MISSING, mend, "this host has no " LIBVIRT_HOOK ": nothing refuses the start of a stale copy");
	if (!there)
		check_object(report, CHECK_HOOK_MISSING, mend, "%s has no " LIBVIRT_HOOK ": nothing refuses the start of a stale copy there", peer);
	check_fine(report, CHECK_HOOK, "both hosts refuse the start of a stale copy");
}

/* -- certificates: one that has ended was refused before, when the connection was made */

static gint64
days_left(gint64 end, gint64 now_s)
{
	return (end - now_s) / (24 * 3600);
}

void
peer_check_certificates(gint64 end_here, const char *path, gint64 end_there, const char *peer, gint64 now_s, struct check_report *report)
{
	static const char mend[] = "install a new one, then systemctl reload ftd; without it no pair can be made after that";

	if (end_here && days_left(end_here, now_s) < CERTIFICATE_WARNING_DAYS)
		check_object(report, CHECK_CERTIFICATE_ENDS, mend, "%s ends in %" G_GINT64_FORMAT " days", path, days_left(end_here, now_s));
	if (end_there && days_left(end_there, now_s) < CERTIFICATE_WARNING_DAYS)
		check_object(report, CHECK_CERTIFICATE_ENDS, mend, "a certificate of %s ends in %" G_GINT64_FORMAT " days", peer, days_left(end_there, now_s));
	if (end_here && end_there)
		check_fine(report, CHECK_CERTIFICATES, "the first ends in %" G_GINT64_FORMAT " days", days_left(MIN(end_here, end_there), now_s));
}

/* -- what was measured */

void
peer_check_link(const struct link_facts *link, guint suspect_ms, const char *peer, struct check_report *report)
{
	double round_trip_ms = (double)link->round_trip_us / 1000, mib = (double)link->bytes_per_s / (1 << 20), offset_s = (double)link->clock_offset_us / G_USEC_PER_SEC;

	if (link->round_trip_us >= ROUND_TRIP_LONG_US || round_trip_ms * 3 > suspect_ms)
		check_object(report, CHECK_LINK_SLOW, "the guest's answers take as much longer; a link of their own for the two hosts helps",
			     "the round trip to %s takes %.1f ms", peer, round_trip_ms);
	if (link->bytes_per_s < LINK_NARROW_BYTES)
		check_object(report, CHECK_LINK_NARROW, "a guest that writes much memory will be held up; 10 Gbit/s is what a busy one wants",
			     "the link to %s carries %.0f MiB/s", peer, mib);
	check_fine(report, CHECK_LINK, "round trip %.2f ms, at least %.0f MiB/s", round_trip_ms, mib);
	if (ABS(link->clock_offset_us) > CLOCK_TOLERATED_US + (gint64)link->round_trip_us)
		check_object(report, CHECK_CLOCK_DIFFERS, "let both hosts follow the same time server; certificates and the times of events go by it",
			     "the clock of %s is %.1f s %s", peer, ABS(offset_s), offset_s > 0 ? "ahead" : "behind");
	check_fine(report, CHECK_CLOCK, "within %.1f s of this host's", CLOCK_TOLERATED_US / 1e6);
}
