/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One small change to a domain, a QEMU or a peer that are fine, and the finding that it must give. */
#include "daemon/base/error.h"
#include "daemon/domain-check.h"
#include "daemon/json-util.h"

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
#define NONE (-1)

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

static void
expect(GPtrArray *findings, int code, const char *word)
{
	if (code == NONE) {
		assert_int_equal(findings->len, 0);
		return;
	}
	assert_int_equal(findings->len, 1);
	assert_int_equal(((GError *)g_ptr_array_index(findings, 0))->code, code);
	assert_non_null(strstr(((GError *)g_ptr_array_index(findings, 0))->message, word));
}

static void
test_domain(void **state)
{
	static const struct { const char *devices; enum vhost_use vhost; int code; const char *word; } cases[] = {
		{ DISK NIC, VHOST_YES, NONE, NULL },
		{ DISK "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>", VHOST_NO, NONE, NULL },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_NO, NONE, NULL },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_YES, FTD_ERROR_NIC_VHOST, "uses vhost" },
		{ "<interface type='bridge'><model type='virtio'/><alias name='net0'/></interface>", VHOST_UNKNOWN, FTD_ERROR_NIC_VHOST, "may use vhost" },
		{ "<interface type='bridge'><model type='e1000'/><alias name='net0'/></interface>", VHOST_YES, NONE, NULL },
		{ "<interface type='network'><model type='virtio'/><driver name='qemu' queues='2'/></interface>", VHOST_NO, FTD_ERROR_NIC_MULTIQUEUE, "2 queues" },
		{ "<interface type='user'><model type='e1000'/></interface>", VHOST_NO, FTD_ERROR_NIC_MODEL, "type user" },
		{ "<interface type='bridge'><model type='rtl8139'/></interface>", VHOST_NO, FTD_ERROR_NIC_MODEL, "rtl8139" },
		{ "<filesystem type='mount'/>", VHOST_NO, FTD_ERROR_DEVICE, "filesystem (mount)" },
		{ "<disk type='network' device='disk'><driver type='raw'/><target dev='vdb' bus='virtio'/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND, "image file" },
		{ "<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/x'/><target dev='vdb' bus='virtio'/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND, "vdb" },
		{ "<disk type='file' device='cdrom'><source file='/iso'/><target dev='hda' bus='ide'/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND, "eject" },
		{ "<disk type='file' device='disk'><driver type='vmdk'/><source file='/v'/><target dev='vdb' bus='virtio'/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND, "qcow2 nor raw" },
		{ "<disk type='file' device='disk'><driver type='raw'/><source file='/v'/><target dev='vdb' bus='usb'/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND, "bus" },
		{ "<disk type='file' device='disk'><driver type='raw'/><source file='/v'/><target dev='vdb' bus='virtio'/><readonly/></disk>", VHOST_NO, FTD_ERROR_DISK_KIND,
		  "read-only" },
		{ "<disk type='file' device='disk'><driver type='raw'/><source file='/v'/><target dev='vdb' bus='virtio'/><alias name='x'/></disk>", VHOST_NO,
		  FTD_ERROR_DISK_KIND, "not attached" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat(HEAD, cases[i].devices, TAIL, NULL);
		g_autoptr(domain_facts) d = domain_facts_parse(xml, NULL);
		g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, cases[i].vhost);
		g_autoptr(GPtrArray) findings = findings_new();

		domain_check_local(d, q, findings);
		expect(findings, cases[i].code, cases[i].word);
	}
}

static void
test_colo(void **state)
{
	static const struct { const char *version; bool tcg, colo; int code; } cases[] = {
		{ "11.0.0", true, true, NONE }, { "11.1.3", false, true, NONE }, { "7.2.0", false, true, NONE }, { "10.0.7", false, true, NONE }, { "10.2.0", false, true, NONE },
		{ "11.1.3", true, false, FTD_ERROR_QEMU_NO_COLO }, { "10.2.0", true, true, FTD_ERROR_QEMU_NO_COLO }, { "10.0.6", false, true, FTD_ERROR_QEMU_NO_COLO },
		{ "10.1.2", false, true, FTD_ERROR_QEMU_NO_COLO },
	};
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(qemu_facts) q = make_qemu(d, cases[i].version, cases[i].tcg, cases[i].colo, VHOST_NO);
		g_autoptr(GPtrArray) findings = findings_new();

		domain_check_local(d, q, findings);
		expect(findings, cases[i].code, cases[i].version);
	}
}

#define ANSWER(qemu, mem, dom, taken, disk, file)                                                                                                                \
	"{\"qemu_version\":\"" qemu "\",\"has_colo\":true,\"memory_available_kib\":" mem ",\"domain\":\"" dom "\",\"name_taken\":" taken ",\"disks\":[" disk "],\"files\":[" file "]}"
#define ROOM "\"directory\":true,\"writable\":true,\"free\":1000000000"

static void
test_peer(void **state)
{
	static const struct { const char *answer; int code; const char *word; } cases[] = {
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", "true"), NONE, NULL },
		{ ANSWER("11.1.3", "800000", "defined", "false", "{" ROOM ",\"exists\":true,\"size\":1073741824}", "true"), NONE, NULL },
		{ ANSWER("11.1.2", "800000", "none", "false", "{" ROOM "}", "true"), FTD_ERROR_QEMU_VERSION, "11.1.2" },
		{ ANSWER("11.1.3", "700000", "none", "false", "{" ROOM "}", "true"), FTD_ERROR_PEER_MEMORY, "768 MiB" },
		{ ANSWER("11.1.3", "800000", "running", "false", "{" ROOM "}", "true"), FTD_ERROR_PEER_UUID_RUNNING, "UUID" },
		{ ANSWER("11.1.3", "800000", "none", "true", "{" ROOM "}", "true"), FTD_ERROR_PEER_UUID_RUNNING, "name vm1" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{}", "true"), FTD_ERROR_PEER_STORAGE, "no directory /img" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{\"directory\":true}", "true"), FTD_ERROR_PEER_STORAGE, "not writable" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{\"directory\":true,\"writable\":true,\"free\":1000}", "true"), FTD_ERROR_PEER_STORAGE, "left" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"shared\":true}", "true"), FTD_ERROR_DISK_KIND, "shares" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"exists\":true,\"size\":5}", "true"), FTD_ERROR_IMAGE_SIZE, "has 5 bytes" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM ",\"exists\":true,\"error\":\"bad\"}", "true"), FTD_ERROR_IMAGE_SIZE, "(bad)" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", "false"), FTD_ERROR_PEER_STORAGE, "no file /k" },
		{ ANSWER("11.1.3", "800000", "none", "false", "{" ROOM "}", ""), FTD_ERROR_PEER_STORAGE, "no file /k" },
	};
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);
	g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, VHOST_NO);

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object_ptr) answer = parse(cases[i].answer);
		g_autoptr(GPtrArray) findings = findings_new();

		domain_check_peer(d, q, "b", answer, findings);
		expect(findings, cases[i].code, cases[i].word);
	}
}

static void
test_an_empty_answer_is_not_a_yes(void **state)
{
	g_autoptr(domain_facts) d = domain_facts_parse(HEAD DISK TAIL, NULL);
	g_autoptr(qemu_facts) q = make_qemu(d, "11.1.3", true, true, VHOST_NO);
	g_autoptr(json_object_ptr) answer = json_object_new_object();
	g_autoptr(GPtrArray) findings = findings_new();

	domain_check_peer(d, q, "b", answer, findings);
	assert_int_equal(findings->len, 4);	/* QEMU, memory, directory, kernel */
}

static void
test_findings_as_error(void **state)
{
	g_autoptr(GPtrArray) findings = findings_new();
	g_autoptr(json_object_ptr) list = NULL;
	g_autoptr(GError) error = NULL;

	assert_true(findings_to_error(findings, &error));
	findings_add(findings, FTD_ERROR_DEVICE, "one");
	findings_add(findings, FTD_ERROR_LIMIT, "two");
	assert_false(findings_to_error(findings, &error));
	assert_int_equal(error->code, FTD_ERROR_DEVICE);
	assert_string_equal(error->message, "one (and 1 more: see ftctl check)");
	list = findings_to_json(findings);
	assert_string_equal(json_get_str(json_at(list, 1), "error"), "Limit");
}

static void
test_qemu_replies(void **state)
{
	g_autoptr(json_object_ptr) version = parse("{\"return\":{\"qemu\":{\"major\":11,\"minor\":1,\"micro\":3},\"package\":\"\"}}"), odd = parse("{\"return\":{}}");
	g_autoptr(json_object_ptr) caps = parse("{\"return\":[{\"capability\":\"xbzrle\",\"state\":false},{\"capability\":\"x-colo\",\"state\":false}]}");
	g_autoptr(json_object_ptr) kvm = parse("{\"return\":{\"enabled\":false,\"present\":true}}"), blocks = parse(query_block);
	g_autoptr(qemu_facts) q = qemu_facts_new();
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
		cmocka_unit_test(test_colo),
		cmocka_unit_test(test_peer),
		cmocka_unit_test(test_an_empty_answer_is_not_a_yes),
		cmocka_unit_test(test_findings_as_error),
		cmocka_unit_test(test_qemu_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
