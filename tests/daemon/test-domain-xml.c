/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"
#include "daemon/domain-xml.h"
#include "daemon/xml-tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UUID "ef723547-8d90-4100-9621-92fa522b6f05"
#define QMP "/run/ftd/pairs/" UUID "/qemu/qmp.sock"
#define HEAD "<domain type='qemu'><name>vm1</name><uuid>" UUID "</uuid><memory unit='KiB'>262144</memory>"

static const char typical[] =
	"<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>vm&amp;1</name><uuid>" UUID "</uuid>\n"
	"<memory unit='KiB'>262144</memory><os><type machine='pc-i440fx-11.0'>hvm</type><kernel>/boot/k</kernel><initrd>/boot/i</initrd></os>\n"
	"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
	"<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' iothread='1'><iothreads><iothread id='1'/></iothreads></driver>\n"
	"<source file='/img/a.qcow2'/><backingStore/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk>\n"
	"<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>\n"
	"<controller type='usb'/><controller type='nvme'/>\n"
	"<interface type='bridge'><mac address='52:54:00:00:00:01'/><model type='virtio'/><driver queues='4'/><alias name='net0'/></interface>\n"
	"<interface type='bridge'><model type='e1000'/></interface>\n"
	"<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='virtio'/>\n"
	"<hostdev mode='subsystem' type='pci'/><vsock model='virtio'/><tpm model='tpm-crb'><backend type='emulator'/></tpm></devices>\n"
	"<qemu:commandline><qemu:arg value='-incoming'/><qemu:arg value='defer'/><qemu:arg value='-fw_cfg'/><qemu:arg value='x'/>\n"
	"<qemu:arg value='-qmp'/><qemu:arg value='unix:" QMP ",server=on,wait=off'/><qemu:arg value='-qmp'/><qemu:arg value='unix:/tmp/mine'/></qemu:commandline>\n"
	"</domain>";

static void
test_facts(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(domain_facts) f = domain_facts_parse(typical, &error);
	const struct domain_disk *disk;
	const struct domain_nic *nic;

	assert_null(error);
	assert_string_equal(f->name, "vm&1");
	assert_string_equal(f->uuid, UUID);
	assert_false(f->tcg);
	assert_int_equal(f->memory_kib, 262144);
	assert_int_equal(f->boot_files->len, 2);
	assert_string_equal(g_ptr_array_index(f->boot_files, 1), "/boot/i");
	assert_int_equal(f->disks->len, 2);
	disk = g_ptr_array_index(f->disks, 0);
	assert_string_equal(disk->path, "/img/a.qcow2");
	assert_string_equal(disk->format, "qcow2");
	assert_string_equal(disk->alias, "virtio-disk0");
	assert_int_equal(disk->flaw, DISK_FLAW_NONE);
	assert_true(disk->iothread);
	disk = g_ptr_array_index(f->disks, 1);
	assert_null(disk->path);
	assert_true(disk->readonly);
	assert_int_equal(f->nics->len, 2);
	nic = g_ptr_array_index(f->nics, 0);
	assert_int_equal(nic->queues, 4);
	assert_null(nic->driver);
	assert_int_equal(f->unknown->len, 4);
	assert_string_equal(g_ptr_array_index(f->unknown, 0), "controller (nvme)");
	assert_string_equal(g_ptr_array_index(f->unknown, 1), "hostdev (pci)");
	assert_string_equal(g_ptr_array_index(f->unknown, 2), "vsock (virtio)");
	assert_string_equal(g_ptr_array_index(f->unknown, 3), "tpm (tpm-crb)");
}

static void
test_disk_flaws(void **state)
{
	static const struct { const char *inner; enum disk_flaw flaw; } cases[] = {
		{ "<backingStore type='file'><source file='/base'/></backingStore>", DISK_FLAW_CHAIN },
		{ "<shareable/>", DISK_FLAW_SHAREABLE },
		{ "<mirror type='file'/>", DISK_FLAW_JOB },
		{ "<transient/>", DISK_FLAW_TRANSIENT },
		{ "<encryption format='luks'/>", DISK_FLAW_ENCRYPTED },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strdup_printf(HEAD "<devices><disk type='file'><source file='/a'/>%s</disk></devices></domain>", cases[i].inner);
		g_autoptr(domain_facts) f = domain_facts_parse(xml, NULL);

		assert_non_null(f);
		assert_int_equal(((struct domain_disk *)g_ptr_array_index(f->disks, 0))->flaw, cases[i].flaw);
	}
}

static void
test_machine(void **state)
{
	static const struct { const char *inner, *cpu_mode, *nvram, *backing; } cases[] = {
		{ "", NULL, NULL, NULL },
		{ "<cpu mode='host-passthrough'/>", "host-passthrough", NULL, NULL },
		{ "<cpu match='exact'><model>EPYC</model></cpu>", "custom", NULL, NULL },
		{ "<os><loader type='pflash'>/l</loader><nvram>/v</nvram></os>", NULL, "/v", NULL },
		{ "<memoryBacking><hugepages/><locked/><source type='memfd'/><access mode='shared'/></memoryBacking>", NULL, NULL, "hugepages, locked, memfd, shared" },
		{ "<memoryBacking><nosharepages/><source type='anonymous'/><access mode='private'/></memoryBacking>", NULL, NULL, NULL },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strconcat(HEAD, cases[i].inner, "</domain>", NULL);
		g_autoptr(domain_facts) f = domain_facts_parse(xml, NULL);

		assert_int_equal(g_strcmp0(f->cpu_mode, cases[i].cpu_mode), 0);
		assert_int_equal(g_strcmp0(f->nvram, cases[i].nvram), 0);
		assert_int_equal(g_strcmp0(f->memory_backing, cases[i].backing), 0);
		assert_true(!f->cpu == !f->cpu_mode);
	}
}

static void
test_not_a_domain(void **state)
{
	static const char *const cases[] = {
		"", "<domain>", "<network/>", "<domain type='qemu'><name>x</name></domain>", HEAD "</domains>",
		"<domain><name>vm1</name><uuid>" UUID "</uuid><memory unit='GiB'>1</memory></domain>",
		"<domain><name>vm1</name><uuid>../../x</uuid><memory unit='KiB'>1</memory></domain>",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		assert_null(domain_facts_parse(cases[i], &error));
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
	}
}

static void
test_depth_is_limited(void **state)
{
	GString *xml = g_string_new(NULL);
	g_autoptr(GError) error = NULL;

	for (int i = 0; i < XML_MAX_DEPTH + 1; i++)
		g_string_append(xml, "<a>");
	assert_null(xml_parse(xml->str, &error));
	assert_non_null(strstr(error->message, "nested deeper"));
	g_string_free(xml, TRUE);
}

static void
test_clean(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *clean = domain_xml_clean(typical, &error);

	assert_null(error);
	assert_null(strstr(clean, "-incoming"));
	assert_null(strstr(clean, QMP));
	assert_non_null(strstr(clean, "unix:/tmp/mine"));
	assert_non_null(strstr(clean, "-fw_cfg"));
	assert_non_null(strstr(clean, "iothread=\"1\""));
	assert_non_null(strstr(clean, "vm&amp;1"));
	assert_false(domain_xml_is_standby(clean, QMP));
}

static unsigned
count(const char *text, const char *word)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
		n++;
	return n;
}

static void
test_standby(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *standby = domain_xml_standby(typical, QMP, &error), *again = NULL;

	assert_null(error);
	assert_int_equal(count(standby, "-incoming"), 1);
	assert_int_equal(count(standby, QMP), 1);
	assert_null(strstr(standby, "iothread="));
	assert_null(strstr(standby, "<iothreads>"));
	assert_int_equal(count(standby, "name=\"qemu\""), 2);	/* the disk's driver and the virtio NIC's, not the e1000's */
	assert_int_equal(count(standby, "<on_poweroff>restart</on_poweroff>"), 1);
	assert_true(domain_xml_is_standby(standby, QMP));
	assert_false(domain_xml_is_standby(standby, "/run/ftd/pairs/other/qemu/qmp.sock"));
	again = domain_xml_standby(standby, QMP, &error);
	assert_string_equal(again, standby);
}

static void
test_standby_of_a_plain_domain(void **state)
{
	g_autofree char *standby = domain_xml_standby(HEAD "<devices/></domain>", QMP, NULL), *clean = domain_xml_clean(standby, NULL);

	assert_non_null(strstr(standby, "xmlns:qemu="));
	assert_true(domain_xml_is_standby(standby, QMP));
	assert_null(strstr(clean, "qemu:commandline"));
}

static void
test_owner(void **state)
{
	static const char dynamic[] = HEAD "<devices/><seclabel type='dynamic' model='apparmor'><label>libvirt-x</label></seclabel>"
		"<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+109</label></seclabel></domain>";
	static const char fixed[] = HEAD "<devices/><seclabel type='static' model='dac'><label>guest:kvm</label></seclabel></domain>";
	static const char capabilities[] = "<capabilities><host><secmodel><model>apparmor</model><baselabel type='kvm'>libvirt-y</baselabel></secmodel>"
		"<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+1:+2</baselabel><baselabel type='qemu'>+3:+4</baselabel></secmodel></host></capabilities>";
	g_autofree char *now = domain_xml_owner(dynamic, false), *next = domain_xml_owner(dynamic, true), *always = domain_xml_owner(fixed, true);
	g_autofree char *of_host = capabilities_xml_owner(capabilities, dynamic), *of_none = capabilities_xml_owner("<capabilities><host/></capabilities>", dynamic);

	assert_string_equal(now, "+64055:+109");
	assert_null(next);
	assert_string_equal(always, "guest:kvm");
	assert_string_equal(of_host, "+3:+4");
	assert_null(of_none);
	assert_null(domain_xml_owner("garbage", false));
	assert_null(capabilities_xml_owner("garbage", dynamic));
}

static void
test_poweroff_of_a_copy(void **state)
{
	static const char fragile[] = HEAD "<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><devices/></domain>";
	g_autofree char *changed = domain_xml_standby(HEAD "<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><devices/></domain>", QMP, NULL);
	g_autofree char *kept = domain_xml_standby(fragile, QMP, NULL);	/* libvirt refuses the other combination */
	g_autofree char *action = domain_xml_on_poweroff(changed), *silent = domain_xml_on_poweroff(HEAD "<devices/></domain>");

	assert_string_equal(action, "restart");
	assert_non_null(strstr(kept, "<on_poweroff>destroy</on_poweroff>"));
	assert_string_equal(silent, "destroy");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_disk_flaws),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_not_a_domain),
		cmocka_unit_test(test_depth_is_limited),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_standby),
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_poweroff_of_a_copy),
		cmocka_unit_test(test_standby_of_a_plain_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
