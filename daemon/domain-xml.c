/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A domain may be protected when everything it consists of is known to survive COLO: devices are a list of what is fine, and whatever is not on it
 * is named and refused (domain-check.c does the refusing). Disks and NICs get a closer look since ftd replaces what is behind them.
 *
 * The standby is started from the primary's own migratable XML, so both have the same PCI addresses and machine version. Four changes:
 * - <qemu:commandline> gets "-incoming defer" and a second monitor ("-qmp unix:...") beside libvirt's;
 * - iothread= goes away from disks: emptying the overlays at a failover aborts QEMU when the disk is in an iothread (block/replication.c);
 * - every virtio NIC gets <driver name='qemu'/>: vhost frames never pass QEMU's net filters (net/filter.c refuses vhost);
 * - <on_poweroff> becomes restart: a copy that switches itself off (its primary is about to do so, or reboots by ACPI) is reset by libvirt and mended by the
 *   next checkpoint, instead of being killed by libvirt, which would end the pair. Taken back when the copy has become the VM (standby-io.c).
 * A domain that came out of a failover carries these in its live XML; they are taken out before the XML is used again.
 */
#include "daemon/domain-xml.h"

#include "daemon/base/error.h"
#include "daemon/xml-tree.h"

#include <string.h>

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

static void
disk_free(gpointer data)
{
	struct domain_disk *d = data;

	g_free(d->type);
	g_free(d->device);
	g_free(d->path);
	g_free(d->format);
	g_free(d->target);
	g_free(d->bus);
	g_free(d->alias);
	g_free(d);
}

static void
nic_free(gpointer data)
{
	struct domain_nic *n = data;

	g_free(n->type);
	g_free(n->model);
	g_free(n->driver);
	g_free(n->alias);
	g_free(n->mac);
	g_free(n->tap);
	g_free(n);
}

void
domain_facts_free(struct domain_facts *f)
{
	if (!f)
		return;
	g_free(f->name);
	g_free(f->uuid);
	g_free(f->emulator);
	g_free(f->cpu_mode);
	g_free(f->cpu);
	g_free(f->nvram);
	g_free(f->memory_backing);
	g_clear_pointer(&f->disks, g_ptr_array_unref);
	g_clear_pointer(&f->nics, g_ptr_array_unref);
	g_clear_pointer(&f->boot_files, g_ptr_array_unref);
	g_clear_pointer(&f->unknown, g_ptr_array_unref);
	g_free(f);
}

static bool
is_one_of(const char *word, const char *const list[])
{
	for (; word && *list; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

static enum disk_flaw
disk_flaw(const struct xml_node *disk)
{
	if (xml_child(xml_child(disk, "backingStore"), "source"))
		return DISK_FLAW_CHAIN;
	if (xml_child(disk, "shareable"))
		return DISK_FLAW_SHAREABLE;
	if (xml_child(disk, "mirror"))
		return DISK_FLAW_JOB;
	if (xml_child(disk, "transient"))
		return DISK_FLAW_TRANSIENT;
	if (xml_child(xml_child(disk, "source"), "encryption") || xml_child(disk, "encryption"))
		return DISK_FLAW_ENCRYPTED;
	return xml_child(xml_child(disk, "source"), "slices") ? DISK_FLAW_SLICE : DISK_FLAW_NONE;
}

static struct domain_disk *
parse_disk(const struct xml_node *n)
{
	struct domain_disk *d = g_new0(struct domain_disk, 1);
	const struct xml_node *source = xml_child(n, "source");
	const char *type = xml_attr(n, "type"), *device = xml_attr(n, "device"), *format = xml_attr(xml_child(n, "driver"), "type");
	const char *path = xml_attr(source, "file");

	d->type = g_strdup(type ? type : "file");
	d->device = g_strdup(device ? device : "disk");
	d->path = g_strdup(path ? path : xml_attr(source, "dev"));
	d->format = g_strdup(format ? format : "raw");
	d->target = g_strdup(xml_attr(xml_child(n, "target"), "dev"));
	d->bus = g_strdup(xml_attr(xml_child(n, "target"), "bus"));
	d->alias = g_strdup(xml_attr(xml_child(n, "alias"), "name"));
	d->flaw = disk_flaw(n);
	d->iothread = xml_attr(xml_child(n, "driver"), "iothread") || xml_child(xml_child(n, "driver"), "iothreads");
	d->readonly = xml_child(n, "readonly") != NULL;
	return d;
}

static struct domain_nic *
parse_nic(const struct xml_node *n)
{
	struct domain_nic *nic = g_new0(struct domain_nic, 1);
	const struct xml_node *driver = xml_child(n, "driver");
	const char *queues = xml_attr(driver, "queues");

	nic->type = g_strdup(xml_attr(n, "type"));
	nic->model = g_strdup(xml_attr(xml_child(n, "model"), "type"));
	nic->driver = g_strdup(xml_attr(driver, "name"));
	nic->alias = g_strdup(xml_attr(xml_child(n, "alias"), "name"));
	nic->mac = g_strdup(xml_attr(xml_child(n, "mac"), "address"));
	nic->tap = g_strdup(xml_attr(xml_child(n, "target"), "dev"));
	nic->queues = queues ? (guint)g_ascii_strtoull(queues, NULL, 10) : 1;
	return nic;
}

/* Devices that are fine whatever their attributes say, and those of which only some types are. */
static const char *const plain_devices[] = { "emulator", "input", "graphics", "video", "sound", "audio", "memballoon", "panic", "hub", NULL };
static const struct { const char *element, *types[12]; } typed_devices[] = {
	{ "controller", { "usb", "pci", "virtio-serial", "scsi", "ide", "sata", "fdc" } },
	{ "serial", { "pty", "file", "null", "unix", "tcp", "pipe", "vc", "spicevmc" } },
	{ "parallel", { "pty", "file", "null", "unix" } },
	{ "console", { "pty", "file", "null", "unix", "tcp", "pipe", "vc" } },
	{ "channel", { "unix", "spicevmc", "qemu-vdagent", "pty", "null" } },
};

static bool
device_is_fine(const struct xml_node *n)
{
	if (is_one_of(n->name, plain_devices))
		return true;
	if (strcmp(n->name, "rng") == 0)
		return is_one_of(xml_attr(xml_child(n, "backend"), "model"), (const char *const[]){ "random", "builtin", NULL });
	if (strcmp(n->name, "watchdog") == 0)
		return is_one_of(xml_attr(n, "model"), (const char *const[]){ "i6300esb", "itco", NULL });
	for (guint i = 0; i < G_N_ELEMENTS(typed_devices); i++)
		if (strcmp(n->name, typed_devices[i].element) == 0)
			return is_one_of(xml_attr(n, "type"), typed_devices[i].types);
	return false;
}

static char *
describe_device(const struct xml_node *n)
{
	const char *model = xml_attr(n, "model"), *type = xml_attr(n, "type");
	const char *detail = type ? type : model ? model : xml_attr(xml_child(n, "backend"), "type");

	if (!detail)
		detail = xml_attr(xml_child(n, "backend"), "model");
	return detail ? g_strdup_printf("%s (%s)", n->name, detail) : g_strdup(n->name);
}

static void
parse_devices(struct domain_facts *f, const struct xml_node *devices)
{
	guint position = 0;

	for (struct xml_node *n; (n = xml_next(devices, NULL, &position));) {
		if (strcmp(n->name, "disk") == 0)
			g_ptr_array_add(f->disks, parse_disk(n));
		else if (strcmp(n->name, "interface") == 0)
			g_ptr_array_add(f->nics, parse_nic(n));
		else if (!device_is_fine(n))
			g_ptr_array_add(f->unknown, describe_device(n));
	}
	f->emulator = xml_text(xml_child(devices, "emulator"));
}

static void
parse_boot_files(struct domain_facts *f, const struct xml_node *os)
{
	static const char *const elements[] = { "kernel", "initrd", "dtb", "loader" };

	for (guint i = 0; i < G_N_ELEMENTS(elements); i++) {
		g_autofree char *path = xml_text(xml_child(os, elements[i]));

		if (*path)
			g_ptr_array_add(f->boot_files, g_steal_pointer(&path));
	}
}

/* libvirt's dumpxml always says KiB, whatever the definition said; anything else would be a document of somebody else. */
static bool
parse_memory(const struct xml_node *root, guint64 *kib)
{
	const struct xml_node *memory = xml_child(root, "memory");
	const char *unit = xml_attr(memory, "unit");
	g_autofree char *text = xml_text(memory);

	return g_strcmp0(unit, "KiB") == 0 && g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT64 >> 12, kib, NULL);
}

static char *
parse_memory_backing(const struct xml_node *backing)
{
	const char *source = xml_attr(xml_child(backing, "source"), "type"), *access = xml_attr(xml_child(backing, "access"), "mode");
	g_autoptr(GPtrArray) words = g_ptr_array_new();

	if (xml_child(backing, "hugepages"))
		g_ptr_array_add(words, (gpointer) "hugepages");
	if (xml_child(backing, "locked"))
		g_ptr_array_add(words, (gpointer) "locked");
	if (source && strcmp(source, "anonymous") != 0)
		g_ptr_array_add(words, (gpointer)source);
	if (access && strcmp(access, "private") != 0)
		g_ptr_array_add(words, (gpointer)access);
	if (!words->len)
		return NULL;
	g_ptr_array_add(words, NULL);
	return g_strjoinv(", ", (char **)words->pdata);
}

static void
parse_machine(struct domain_facts *f, const struct xml_node *root)
{
	const struct xml_node *cpu = xml_child(root, "cpu");
	g_autofree char *nvram = xml_text(xml_child(xml_child(root, "os"), "nvram"));

	f->cpu_mode = cpu ? g_strdup(xml_attr(cpu, "mode") ? xml_attr(cpu, "mode") : "custom") : NULL;
	f->cpu = cpu ? xml_serialize(cpu) : NULL;
	f->nvram = *nvram ? g_steal_pointer(&nvram) : NULL;
	f->memory_backing = parse_memory_backing(xml_child(root, "memoryBacking"));
}

static struct xml_node *
parse_domain(const char *xml, GError **error)
{
	g_autoptr(xml_node) root = xml_parse(xml, error);

	if (root && strcmp(root->name, "domain") != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "not the XML of a domain: the root element is <%s>", root->name);
		return NULL;
	}
	return g_steal_pointer(&root);
}

struct domain_facts *
domain_facts_parse(const char *xml, GError **error)
{
	g_autoptr(xml_node) root = parse_domain(xml, error);
	g_autoptr(domain_facts) f = NULL;

	if (!root)
		return NULL;
	f = g_new0(struct domain_facts, 1);
	f->disks = g_ptr_array_new_with_free_func(disk_free);
	f->nics = g_ptr_array_new_with_free_func(nic_free);
	f->boot_files = g_ptr_array_new_with_free_func(g_free);
	f->unknown = g_ptr_array_new_with_free_func(g_free);
	f->name = xml_text(xml_child(root, "name"));
	f->uuid = xml_text(xml_child(root, "uuid"));
	f->tcg = g_strcmp0(xml_attr(root, "type"), "qemu") == 0;
	if (!*f->name || !g_uuid_string_is_valid(f->uuid) || !parse_memory(root, &f->memory_kib)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the domain's XML has no name, no UUID or no memory size");
		return NULL;
	}
	parse_machine(f, root);
	parse_boot_files(f, xml_child(root, "os"));
	parse_devices(f, xml_child(root, "devices"));
	return g_steal_pointer(&f);
}

/* -- the standby's XML */

static bool
named(const struct xml_node *child, gpointer name)
{
	return child->name && strcmp(child->name, name) == 0;
}

static bool
is_our_monitor(const char *value)
{
	return value && g_str_has_prefix(value, "unix:") && strstr(value, "/pairs/") && strstr(value, "/qmp.sock");
}

/* Takes "-incoming X" and the pairs' "-qmp unix:.../pairs/<uuid>/qmp.sock,..." out of <qemu:commandline>; the user's own arguments stay. */
static void
strip_commandline(struct xml_node *root)
{
	struct xml_node *line = xml_child(root, "qemu:commandline");
	g_autoptr(GPtrArray) drop = g_ptr_array_new();
	guint position = 0;

	for (struct xml_node *n; (n = xml_next(line, "qemu:arg", &position));) {
		const char *value = xml_attr(n, "value");
		guint after = position;
		struct xml_node *operand = xml_next(line, "qemu:arg", &after);

		if (g_strcmp0(value, "-incoming") == 0 || (g_strcmp0(value, "-qmp") == 0 && is_our_monitor(xml_attr(operand, "value")))) {
			g_ptr_array_add(drop, n);
			g_ptr_array_add(drop, operand);
			position = after;
		}
	}
	for (guint i = 0; i < drop->len; i++)
		g_ptr_array_remove(line->children, g_ptr_array_index(drop, i));
	if (line && !xml_child(line, NULL))
		xml_remove_children(root, named, (gpointer) "qemu:commandline");
}

char *
domain_xml_clean(const char *xml, GError **error)
{
	g_autoptr(xml_node) root = parse_domain(xml, error);

	if (!root)
		return NULL;
	strip_commandline(root);
	return xml_serialize(root);
}

static void
add_args(struct xml_node *root, const char *const args[])
{
	struct xml_node *line = xml_child(root, "qemu:commandline");

	if (!line) {
		line = xml_element_new("qemu:commandline");
		xml_append(root, line);
	}
	for (; *args; args++) {
		struct xml_node *arg = xml_element_new("qemu:arg");

		xml_set_attr(arg, "value", *args);
		xml_append(line, arg);
	}
	xml_set_attr(root, "xmlns:qemu", QEMU_NAMESPACE);
}

static void
adapt_nic(struct xml_node *nic)
{
	const char *model = xml_attr(xml_child(nic, "model"), "type");
	struct xml_node *driver = xml_child(nic, "driver");

	if (!model || !g_str_has_prefix(model, "virtio"))
		return;
	if (!driver) {
		driver = xml_element_new("driver");
		xml_append(nic, driver);
	}
	xml_set_attr(driver, "name", "qemu");
}

static void
adapt_devices(const struct xml_node *devices)
{
	guint position = 0;

	for (struct xml_node *n; (n = xml_next(devices, NULL, &position));) {
		if (strcmp(n->name, "disk") == 0 && xml_child(n, "driver")) {
			xml_set_attr(xml_child(n, "driver"), "iothread", NULL);
			xml_remove_children(xml_child(n, "driver"), named, (gpointer) "iothreads");
		} else if (strcmp(n->name, "interface") == 0) {
			adapt_nic(n);
		}
	}
}

static void
set_text(struct xml_node *n, const char *text)
{
	struct xml_node *t = g_new0(struct xml_node, 1);

	g_ptr_array_set_size(n->children, 0);
	t->text = g_strdup(text);
	xml_append(n, t);
}

/* libvirt refuses on_poweroff=restart together with on_reboot=destroy (src/conf/domain_validate.c). */
static void
survive_poweroff(struct xml_node *root)
{
	struct xml_node *action = xml_child(root, "on_poweroff");
	g_autofree char *reboot = xml_text(xml_child(root, "on_reboot"));

	if (strcmp(reboot, "destroy") == 0)
		return;
	if (!action) {
		action = xml_element_new("on_poweroff");
		xml_append(root, action);
	}
	set_text(action, "restart");
}

char *
domain_xml_on_poweroff(const char *xml)
{
	g_autoptr(xml_node) root = parse_domain(xml, NULL);
	g_autofree char *action = root ? xml_text(xml_child(root, "on_poweroff")) : g_strdup("");

	return g_strdup(*action ? action : "destroy");
}

char *
domain_xml_standby(const char *xml, const char *qmp_path, GError **error)
{
	g_autoptr(xml_node) root = parse_domain(xml, error);
	g_autofree char *monitor = g_strdup_printf("unix:%s,server=on,wait=off", qmp_path);

	if (!root)
		return NULL;
	strip_commandline(root);
	adapt_devices(xml_child(root, "devices"));
	survive_poweroff(root);
	add_args(root, (const char *const[]){ "-incoming", "defer", "-qmp", monitor, NULL });
	return xml_serialize(root);
}

bool
domain_xml_is_standby(const char *xml, const char *qmp_path)
{
	g_autoptr(xml_node) root = parse_domain(xml, NULL);
	g_autofree char *prefix = g_strdup_printf("unix:%s,", qmp_path);
	const struct xml_node *line;
	guint position = 0;

	if (!root)
		return false;
	line = xml_child(root, "qemu:commandline");
	for (struct xml_node *n; (n = xml_next(line, "qemu:arg", &position));)
		if (g_str_has_prefix(xml_attr(n, "value") ? xml_attr(n, "value") : "", prefix))
			return true;
	return false;
}

/* -- whom it runs as (https://libvirt.org/formatdomain.html#security-label) */

char *
domain_xml_owner(const char *xml, bool next)
{
	g_autoptr(xml_node) root = parse_domain(xml, NULL);
	guint position = 0;

	for (struct xml_node *n; (n = xml_next(root, "seclabel", &position));) {
		g_autofree char *label = xml_text(xml_child(n, "label"));

		/* A dynamic one is made anew at each start. */
		if (g_strcmp0(xml_attr(n, "model"), "dac") == 0 && *label && (!next || g_strcmp0(xml_attr(n, "type"), "static") == 0))
			return g_steal_pointer(&label);
	}
	return NULL;
}

static char *
base_label(const struct xml_node *model, const char *type)
{
	guint position = 0;

	for (struct xml_node *n; (n = xml_next(model, "baselabel", &position));)
		if (g_strcmp0(xml_attr(n, "type"), type) == 0)
			return xml_text(n);
	return NULL;
}

char *
capabilities_xml_owner(const char *capabilities, const char *domain_xml)
{
	g_autoptr(xml_node) root = xml_parse(capabilities, NULL), domain = parse_domain(domain_xml, NULL);
	const struct xml_node *host = xml_child(root, "host");
	const char *type = xml_attr(domain, "type");
	guint position = 0;

	for (struct xml_node *n; type && (n = xml_next(host, "secmodel", &position));) {
		g_autofree char *model = xml_text(xml_child(n, "model"));

		if (strcmp(model, "dac") == 0)
			return base_label(n, type);
	}
	return NULL;
}
