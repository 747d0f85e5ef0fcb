/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One small change to a domain, a QEMU or a peer that are fine, and the row that it must give. */
#include "daemon/base/error.h"
#include "daemon/domain-check.h"
#include "daemon/json-util.h"
#include "daemon/peer-check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "<domain type='qemu'><name>vm1</name><uuid>ef723547-8d90-4100-9621-92fa522b6f05</uuid><memory unit='KiB'>262144</memory><os><kernel>/k</kernel></os><devices>"
#define DISK "<disk type='file' device='disk'><driver type='qcow2'/><source file='/img/a'/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>"
#define NIC "<interface type='bridge'><model type='virtio'/><driver name='qemu'/><alias name='net0'/></interface>"
#define TAIL "</devices></domain>"
#define NONE CHECK_REASON_NONE

static const char query_block[] = "{\"return\":[{\"qdev\":\"/machine/peripheral/virtio-disk0/virtio-backend\",\"inserted\":{\"node-name\":\"libvirt-1-format\","
				  "\"image\":{\"virtual-size\":1073741824,\"actual-size\":1048576}}}]}";

static struct json_object *
parse(const char *text)
{
	struct json_object *o = json_parse(text, strlen(text), NULL);

	assert_non_null(o);
	return o;
}

static struct qemu_facts *
make_qemu(const struct domain_facts *d, const char *version, bool tcg, bool colo, enum vhost_use vhost)
{
	struct qemu_facts *q = qemu_facts_new();
	g_autoptr(json_object_ptr) blocks = parse(query_block);

	assert_int_equal(sscanf(version, "%u.%u.%u", &q->major, &q->minor, &q->micro), 3);
	g_strlcpy(q->version, version, sizeof(q->version));
	q->tcg = tcg;
	q->has_colo = colo;
	for (guint i = 0; i < d->disks->len; i++) {
		const char *alias = ((struct domain_disk *)g_ptr_array_index(d->disks, i))->alias;

		g_ptr_array_add(q->disks, alias ? qemu_facts_find_disk(blocks, alias) : NULL);
	}
	for (guint i = 0; i < d->nics->len; i++) {
		struct qemu_nic *nic = g_new0(struct qemu_nic, 1);

		nic->vhost = vhost;
		g_ptr_array_add(q->nics, nic);
	}
	return q;
}

static bool seen[CHECK_REASON_LAST];

/* The one objection, or none; and all requirements that were looked at have a row. */
static void
expect(const struct check_report *report, enum check_reason reason, const char *word)
{
	const struct check_row *objection = NULL;
	g_autofree char *text = NULL;

	for (guint i = 0; i < check_report_length(report); i++) {
		const struct check_row *row = check_report_row(report, i);

		assert_true(i == 0 || check_report_row(report, i - 1)->requirement <= row->requirement);
		assert_true(row->found && *row->found);
		if (row->state == CHECK_OK)
			continue;
		assert_null(objection);
		objection = row;
	}
	if (reason == NONE) {
		assert_null(objection);
		return;
	}
	assert_non_null(objection);
	assert_string_equal(check_reason_name(objection->reason), check_reason_name(reason));
	assert_int_equal(objection->state, check_reason_state(reason));
	assert_int_equal(objection->requirement, check_reason_requirement(reason));
	assert_true(objection->mend && *objection->mend);
	text = g_strconcat(objection->found, "; ", objection->mend, NULL);
	assert_non_null(strstr(text, word));
	seen[reason] = true;
}

#define VDB(attributes, source, target, more) "<disk " attributes "><driver type='raw'/><source " source "/><target " target "/>" more "</disk>"

static void
test_domain(void **state)
{
	static const struct { const char *devices; enum vhost_use vhost; enum check_reason reason; const char *word; } cases[] = {
		{ DISK NIC, VHOST_YES, NONE, NULL },
		{ DISK "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>", VHOST_NO, NONE, NULL },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_NO, NONE, NULL },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_YES, CHECK_NIC_VHOST, "uses vhost" },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_UNKNOWN, CHECK_NIC_VHOST, "may use vhost" },
		{ "<interface type='bridge'><model type='e1000'/><alias name='net0'/></interface>", VHOST_YES, NONE, NULL },
		{ "<interface type='network'><model type='virtio'/><driver name='qemu' queues='2'/></interface>", VHOST_NO, CHECK_NIC_MULTIQUEUE, "2 queues" },
		{ "<interface type='user'><model type='e1000'/></interface>", VHOST_NO, CHECK_NIC_TYPE, "type user" },
		{ "<interface type='bridge'><model type='rtl8139'/></interface>", VHOST_NO, CHECK_NIC_MODEL, "rtl8139" },
		{ "<filesystem type='mount'/>", VHOST_NO, CHECK_DEVICE_UNKNOWN, "filesystem (mount)" },
		{ "<hostdev mode='subsystem' type='pci'/>", VHOST_NO, CHECK_DEVICE_HOST, "hostdev (pci)" },
		{ "<redirdev bus='usb' type='spicevmc'/>", VHOST_NO, CHECK_DEVICE_HOST, "redirdev" },
		{ "<tpm model='tpm-crb'><backend type='emulator'/></tpm>", VHOST_NO, CHECK_DEVICE_TPM, "tpm" },
		{ VDB("type='network' device='disk'", "", "dev='vdb' bus='virtio'", ""), VHOST_NO, CHECK_DISK_SOURCE, "image file" },
		{ VDB("type='block' device='disk'", "dev='/dev/x'", "dev='vdb' bus='virtio'", ""), VHOST_NO, CHECK_DISK_SOURCE, "vdb" },
		{ VDB("type='file' device='cdrom'", "file='/iso'", "dev='hda' bus='ide'", ""), VHOST_NO, CHECK_DISK_MEDIUM, "eject" },
		{ "<disk type='file' device='disk'><driver type='vmdk'/><source file='/v'/><target dev='vdb' bus='virtio'/></disk>", VHOST_NO, CHECK_DISK_FORMAT, "qcow2 nor raw" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='usb'", ""), VHOST_NO, CHECK_DISK_BUS, "bus" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<readonly/>"), VHOST_NO, CHECK_DISK_READ_ONLY, "read-only" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<alias name='x'/>"), VHOST_NO, CHECK_DISK_NOT_ATTACHED, "not attached" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<shareable/>"), VHOST_NO, CHECK_DISK_SHAREABLE, "vdb is shareable" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<backingStore><source file='/w'/></backingStore>"), VHOST_NO, CHECK_DISK_CHAIN,
		  "virsh blockcommit" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<mirror/>"), VHOST_NO, CHECK_DISK_BLOCK_JOB, "wait" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<transient/>"), VHOST_NO, CHECK_DISK_TRANSIENT, "transient" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<encryption/>"), VHOST_NO, CHECK_DISK_ENCRYPTED, "encrypted" },
		{ "<disk type='file' device='disk'><source file='/v'><slices/></source><target dev='vdb' bus='virtio'/></disk>", VHOST_NO, CHECK_DISK_SLICE, "slice" },
		{ "<disk type='file' device='disk'><driver type='qcow2' iothread='1'/><source file='/a'/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>",
		  VHOST_NO, CHECK_DISK_IOTHREAD, "I/O thread" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat(HEAD, cases[i].devices, TAIL, NULL);
		g_autoptr(domain_facts) d = domain_facts_parse(xml, NULL);
		g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, cases[i].vhost);
		g_autoptr(check_report) report = check_report_new();

		domain_check(d, q, false, report);
		expect(report, cases[i].reason, cases[i].word);
		assert_true(check_report_length(report) == 6);
	}
}

static void
test_machine(void **state)
{
	static const struct { const char *inner; enum check_reason reason; const char *word; } cases[] = {
		{ "<memoryBacking><hugepages/></memoryBacking>", CHECK_MEMORY_BACKING, "hugepages" },
		{ "<os><nvram>/v</nvram></os>", CHECK_FIRMWARE_NVRAM, "in /v" },
		{ "<os><loader>/usr/share/seabios</loader></os>", NONE, NULL },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat("<domain type='kvm'><name>vm1</name><uuid>ef723547-8d90-4100-9621-92fa522b6f05</uuid><memory unit='KiB'>1024</memory>", cases[i].inner,
						   "<devices/></domain>", NULL);
		g_autoptr(domain_facts) d = domain_facts_parse(xml, NULL);
		g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", false, true, VHOST_NO);
		g_autoptr(check_report) report = check_report_new();

		domain_check(d, q, false, report);
		expect(report, cases[i].reason, cases[i].word);
	}
}

static void
test_running_disks(void **state)
{
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);
	g_autoptr(qemu_facts) chain = make_qemu(d, "11.1.3", true, true, VHOST_NO), job = make_qemu(d, "11.1.3", true, true, VHOST_NO), inside = make_qemu(d, "11.1.3", true, true, VHOST_NO);
	g_autoptr(check_report) one = check_report_new(), two = check_report_new(), three = check_report_new();

	((struct qemu_disk *)g_ptr_array_index(chain->disks, 0))->has_backing = true;
	domain_check(d, chain, false, one);
	expect(one, CHECK_DISK_CHAIN, "vda has a backing file");
	((struct qemu_disk *)g_ptr_array_index(inside->disks, 0))->has_snapshots = true;
	domain_check(d, inside, false, three);
	expect(three, CHECK_DISK_CHAIN, "vda has snapshots inside");
	job->block_jobs = true;
	domain_check(d, job, false, two);
	expect(two, CHECK_DISK_BLOCK_JOB, "a block job");
}

/* A domain that has a pair: what the pair does is no obstacle to another one, what was done to the domain meanwhile is. */
static void
test_protected(void **state)
{
#define JOB(name) "{\"type\":\"mirror\",\"device\":\"" name "\"}"
	static const struct { const char *devices, *jobs; bool paired; enum check_reason reason; const char *word; } cases[] = {
		{ "", "", true, NONE, NULL },
		{ "", JOB("ftd-mirror0") "," JOB("ftd-mirror1"), true, NONE, NULL },
		{ "", JOB("ftd-mirror0"), false, CHECK_DISK_BLOCK_JOB, "a block job" },
		{ "", JOB("ftd-mirror0") "," JOB("copy-vda-libvirt-1-format"), true, CHECK_DISK_BLOCK_JOB, "cancel it" },
		{ VDB("type='file' device='cdrom'", "file='/iso'", "dev='hda' bus='ide'", ""), JOB("ftd-mirror0"), true, CHECK_DISK_MEDIUM, "disk hda is neither a disk nor an empty drive; eject" },
		{ VDB("type='network' device='disk'", "", "dev='vdb' bus='virtio'", ""), JOB("ftd-mirror0"), true, CHECK_DISK_SOURCE, "vdb" },
		{ VDB("type='file' device='disk'", "file='/v'", "dev='vdb' bus='virtio'", "<backingStore><source file='/w'/></backingStore>"), JOB("ftd-mirror0"), true, CHECK_DISK_CHAIN,
		  "virsh blockcommit" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat(HEAD DISK NIC, cases[i].devices, TAIL, NULL), *jobs = g_strconcat("{\"return\":[", cases[i].jobs, "]}", NULL);
		g_autoptr(domain_facts) d = domain_facts_parse(xml, NULL);
		g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, VHOST_NO);
		g_autoptr(json_object_ptr) reply = parse(jobs);
		g_autoptr(check_report) report = check_report_new();

		assert_true(qemu_facts_read_jobs(q, reply, NULL));
		domain_check(d, q, cases[i].paired, report);
		expect(report, cases[i].reason, cases[i].word);
	}
#undef JOB
}

static void
test_colo(void **state)
{
	static const struct { const char *version; bool tcg, colo; const char *missing; enum check_reason reason; } cases[] = {
		{ "11.0.0", true, true, NULL, NONE }, { "11.1.3", false, true, NULL, NONE }, { "7.2.0", false, true, NULL, NONE }, { "10.0.7", false, true, NULL, NONE },
		{ "10.2.0", false, true, NULL, NONE },
		{ "11.1.3", true, false, NULL, CHECK_QEMU_NO_COLO }, { "10.2.0", true, true, NULL, CHECK_QEMU_NEEDS_KVM }, { "10.0.6", false, true, NULL, CHECK_QEMU_BROKEN },
		{ "10.1.2", false, true, NULL, CHECK_QEMU_BROKEN }, { "11.1.3", true, true, "filter-rewriter", CHECK_QEMU_INTERFACE },
	};
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(qemu_facts) q = make_qemu(d, cases[i].version, cases[i].tcg, cases[i].colo, VHOST_NO);
		g_autoptr(check_report) report = check_report_new();

		q->missing = cases[i].missing;
		domain_check(d, q, false, report);
		expect(report, cases[i].reason, cases[i].missing ? cases[i].missing : cases[i].version);
	}
}

#define ANSWER(qemu, mem, dom, taken, disk, file)                                                                                                                \
	"{\"qemu_version\":\"" qemu "\",\"has_colo\":true,\"memory_available_kib\":" mem ",\"domain\":\"" dom "\",\"name_taken\":" taken ",\"disks\":[" disk "],\"files\":[" file "]}"
#define ROOM "\"directory\":true,\"writable\":true,\"free\":1000000000"

static void
test_peer(void **state)
{
	static const struct { const char *answer; enum check_reason reason; const char *word; } cases[] = {
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", "true"), NONE, NULL },
		{ ANSWER("11.1.3", "800000", "defined", "false", "{" ROOM ",\"exists\":true,\"size\":1073741824}", "true"), NONE, NULL },
		{ ANSWER("11.1.2", "800000", "none", "false", "{" ROOM "}", "true"), CHECK_PEER_QEMU_VERSION, "11.1.2" },
		{ ANSWER("11.1.3\",\"emulator_error\":\"odd", "800000", "none", "false", "{" ROOM "}", "true"), CHECK_PEER_QEMU_MISSING, "does not run there: odd" },
		{ ANSWER("11.1.3\",\"qemu_missing\":\"yank", "800000", "none", "false", "{" ROOM "}", "true"), CHECK_PEER_QEMU_INTERFACE, "yank" },
		{ ANSWER("11.1.3", "800000,\"has_colo\":false", "none", "false", "{" ROOM "}", "true"), CHECK_PEER_QEMU_NO_COLO, "without COLO" },
		{ ANSWER("11.1.3", "700000", "none", "false", "{" ROOM "}", "true"), CHECK_PEER_MEMORY_SHORT, "768 MiB" },
		{ ANSWER("11.1.3", "800000", "running", "false", "{" ROOM "}", "true"), CHECK_PEER_DOMAIN_RUNS, "UUID" },
		{ ANSWER("11.1.3", "800000", "none", "true", "{" ROOM "}", "true"), CHECK_PEER_NAME_TAKEN, "name vm1" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{}", "true"), CHECK_STORAGE_MISSING, "no directory /img" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{\"directory\":true}", "true"), CHECK_STORAGE_READ_ONLY, "not writable" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{\"directory\":true,\"writable\":true,\"free\":1000}", "true"), CHECK_STORAGE_SHORT, "left" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"shared\":true}", "true"), CHECK_STORAGE_SHARED, "shares" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"exists\":true,\"size\":5}", "true"), CHECK_IMAGE_SIZE, "has 5 bytes" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"exists\":true,\"error\":\"bad\"}", "true"), CHECK_IMAGE_FORMAT, "(bad)" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", "false"), CHECK_BOOT_FILE_MISSING, "no file /k" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", ""), CHECK_BOOT_FILE_MISSING, "no file /k" },
	};
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);
	g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, VHOST_NO);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) answer = parse(cases[i].answer);
		g_autoptr(check_report) report = check_report_new();

		peer_check_answer(d, q, NULL, "b", answer, report);
		expect(report, cases[i].reason, cases[i].word);
	}
}

/* -- CPUs count with KVM only */

#define CPU_ANSWER(more) "{\"qemu_version\":\"11.1.3\",\"has_colo\":true,\"memory_available_kib\":800000" more "}"

static void
test_cpu(void **state)
{
	static const char host[] = "<cpu mode='host-passthrough'/>", model[] = "<cpu mode='custom'><model>EPYC</model></cpu>";
	static const struct { const char *cpu, *here, *answer; bool tcg; enum check_reason reason; const char *word; } cases[] = {
		{ host, "X (1)", CPU_ANSWER(",\"cpu\":\"X (1)\""), false, NONE, NULL },
		{ host, "X (1)", CPU_ANSWER(",\"cpu\":\"Y (2)\""), false, CHECK_CPU_DIFFERS, "b has Y (2)" },
		{ host, "X (1)", CPU_ANSWER(""), false, CHECK_CPU_NOT_COMPARED, "lscpu" },
		{ host, NULL, CPU_ANSWER(",\"cpu\":\"X (1)\""), false, CHECK_CPU_NOT_COMPARED, "lscpu" },
		{ host, "X (1)", CPU_ANSWER(",\"cpu\":\"Y (2)\""), true, NONE, NULL },
		{ model, "X (1)", CPU_ANSWER(",\"cpu\":\"Y (2)\",\"cpu_fit\":\"fits\""), false, NONE, NULL },
		{ model, "X (1)", CPU_ANSWER(",\"cpu_fit\":\"incompatible\""), false, CHECK_CPU_DIFFERS, "cannot run" },
		{ model, "X (1)", CPU_ANSWER(",\"cpu_fit\":\"unknown\""), false, CHECK_CPU_NOT_COMPARED, "hypervisor-cpu-compare" },
		{ "", "X (1)", CPU_ANSWER(""), false, NONE, NULL },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat("<domain type='kvm'><name>vm1</name><uuid>ef723547-8d90-4100-9621-92fa522b6f05</uuid><memory unit='KiB'>1024</memory>", cases[i].cpu,
						   "<devices/></domain>", NULL);
		g_autoptr(domain_facts) d = domain_facts_parse(xml, NULL);
		g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", cases[i].tcg, true, VHOST_NO);
		g_autoptr(json_object_ptr) answer = parse(cases[i].answer), request = inspect_request(d, q, "p");
		g_autoptr(check_report) report = check_report_new();

		assert_true((json_get_str(request, "cpu") != NULL) == (!cases[i].tcg && cases[i].cpu == model));
		peer_check_answer(d, q, cases[i].here, "b", answer, report);
		expect(report, cases[i].reason, cases[i].word);
	}
}

static void
test_hook(void **state)
{
	static const struct { bool here; const char *answer; enum check_reason reason; const char *word; } cases[] = {
		{ true, "{\"hook\":true}", NONE, NULL },
		{ true, "{}", NONE, NULL },
		{ false, "{\"hook\":true}", CHECK_HOOK_MISSING, "this host has no /etc/libvirt" },
		{ true, "{\"hook\":false}", CHECK_HOOK_MISSING, "b has no /etc/libvirt" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) answer = parse(cases[i].answer);
		g_autoptr(check_report) report = check_report_new();

		peer_check_hook(cases[i].here, "b", answer, report);
		expect(report, cases[i].reason, cases[i].word);
		assert_int_equal(check_report_length(report), 1);
	}
}

static void
test_link(void **state)
{
	static const struct { struct link_facts link; guint suspect_ms; enum check_reason reason; const char *word; } cases[] = {
		{ { 300, 100ull << 20, 0 }, 150, NONE, NULL },
		{ { 5000, 100ull << 20, 0 }, 150, CHECK_LINK_SLOW, "5.0 ms" },
		{ { 4000, 100ull << 20, 0 }, 20, NONE, NULL },
		{ { 4000, 100ull << 20, 0 }, 11, CHECK_LINK_SLOW, "4.0 ms" },
		{ { 300, 40ull << 20, 0 }, 150, NONE, NULL },
		{ { 300, 39ull << 20, 0 }, 150, CHECK_LINK_NARROW, "39 MiB/s" },
		{ { 300, 100ull << 20, 2000000 }, 150, NONE, NULL },
		{ { 300, 100ull << 20, 3000000 }, 150, CHECK_CLOCK_DIFFERS, "3.0 s ahead" },
		{ { 300, 100ull << 20, -3600000000 }, 150, CHECK_CLOCK_DIFFERS, "3600.0 s behind" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(check_report) report = check_report_new();

		peer_check_link(&cases[i].link, cases[i].suspect_ms, "b", report);
		expect(report, cases[i].reason, cases[i].word);
		assert_int_equal(check_report_length(report), 2);
	}
}

static void
test_certificates(void **state)
{
	const gint64 day = 24 * 3600, now = 1000000;
	static const struct { gint64 here_days, there_days; enum check_reason reason; const char *word; } cases[] = {
		{ 365, 31, NONE, NULL },
		{ 29, 365, CHECK_CERTIFICATE_ENDS, "/pki/server ends in 29 days" },
		{ 365, 2, CHECK_CERTIFICATE_ENDS, "certificate of b ends in 2 days" },
	};
	g_autoptr(check_report) silent = check_report_new();

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(check_report) report = check_report_new();

		peer_check_certificates(now + cases[i].here_days * day, "/pki/server", now + cases[i].there_days * day, "b", now, report);
		expect(report, cases[i].reason, cases[i].word);
		assert_int_equal(check_report_length(report), 1);
	}
	peer_check_certificates(now + 365 * day, "/pki/server", 0, "b", now, silent);
	assert_int_equal(check_report_length(silent), 0);	/* half of it is not known: no "ok" */
}

static void
test_an_empty_answer_is_not_a_yes(void **state)
{
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);
	g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, VHOST_NO);
	g_autoptr(json_object_ptr) answer = json_object_new_object();
	g_autoptr(check_report) report = check_report_new();
	guint refused = 0;

	peer_check_answer(d, q, NULL, "b", answer, report);
	for (guint i = 0; i < check_report_length(report); i++)
		refused += check_report_row(report, i)->state == CHECK_REFUSED;
	assert_int_equal(refused, 4);	/* QEMU, memory, directory, kernel */
}

/* Every reason that these two files can give was given above. The others are those of failed steps, below. */
static void
test_every_reason_was_seen(void **state)
{
	for (enum check_reason i = CHECK_QEMU_NO_COLO; i <= CHECK_DISK_IOTHREAD; i++)
		if (!seen[i])
			fail_msg("no case for %s", check_reason_name(i));
	for (enum check_reason i = CHECK_PEER_QEMU_MISSING; i <= CHECK_LINK_NARROW; i++)
		if (!seen[i])
			fail_msg("no case for %s", check_reason_name(i));
	assert_true(seen[CHECK_CLOCK_DIFFERS] && seen[CHECK_CERTIFICATE_ENDS]);
}

static void
test_qemu_replies(void **state)
{
	g_autoptr(json_object_ptr) version = parse("{\"return\":{\"qemu\":{\"major\":11,\"minor\":1,\"micro\":3},\"package\":\"\"}}"), odd = parse("{\"return\":{}}");
	g_autoptr(json_object_ptr) caps = parse("{\"return\":[{\"capability\":\"xbzrle\",\"state\":false},{\"capability\":\"x-colo\",\"state\":false}]}");
	g_autoptr(json_object_ptr) kvm = parse("{\"return\":{\"enabled\":false,\"present\":true}}"), blocks = parse(query_block);
	g_autoptr(json_object_ptr) filters = parse("{\"return\":[{\"name\":\"filter-mirror\"},{\"name\":\"filter-rewriter\"}]}");
	g_autoptr(qemu_facts) q = qemu_facts_new();
	g_autoptr(json_object_ptr) refused = parse("{\"error\":{\"class\":\"GenericError\",\"desc\":\"Capability 'x-colo' requires capability 'return-path'\"}}");
	static const char cmdline[] = "qemu\0-uuid\0ef72\0-x";

	assert_true(qemu_facts_read_version(q, version, NULL));
	assert_string_equal(q->version, "11.1.3");
	assert_true(qemu_facts_read_capabilities(q, caps, NULL));
	assert_true(q->has_colo);
	assert_true(qemu_facts_read_kvm(q, kvm, NULL));
	assert_true(q->tcg);
	assert_false(qemu_facts_read_version(q, odd, NULL));
	assert_false(qemu_facts_read_kvm(q, odd, NULL));
	assert_false(qemu_facts_read_capabilities(q, odd, NULL));
	assert_false(qemu_facts_read_jobs(q, odd, NULL));
	assert_false(qemu_facts_read_commands(q, odd, NULL));
	assert_false(qemu_facts_read_filters(q, odd, NULL));
	assert_true(qemu_facts_read_return_path(q, refused, NULL));
	assert_true(q->wants_return_path);
	assert_true(qemu_facts_read_return_path(q, odd, NULL));
	assert_false(q->wants_return_path);
	assert_false(qemu_facts_read_return_path(q, NULL, NULL));
	assert_null(q->missing);
	assert_true(qemu_facts_read_filters(q, filters, NULL));
	assert_string_equal(q->missing, "filter-redirector");
	assert_null(qemu_facts_find_disk(blocks, "virtio-disk"));
	assert_true(qemu_facts_is_process(cmdline, sizeof(cmdline), "ef72"));
	assert_false(qemu_facts_is_process(cmdline, sizeof(cmdline), "ef7"));
	assert_false(qemu_facts_is_process(cmdline, 10, "ef72"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_running_disks),
		cmocka_unit_test(test_protected),
		cmocka_unit_test(test_colo),
		cmocka_unit_test(test_peer),
		cmocka_unit_test(test_cpu),
		cmocka_unit_test(test_hook),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_an_empty_answer_is_not_a_yes),
		cmocka_unit_test(test_every_reason_was_seen),
		cmocka_unit_test(test_qemu_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
