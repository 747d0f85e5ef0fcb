/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ftd needs to know of a domain, read from libvirt's XML, and the XML of its standby. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

enum disk_flaw {		/* properties of the XML that rule replication out */
	DISK_FLAW_NONE, DISK_FLAW_CHAIN, DISK_FLAW_SHAREABLE, DISK_FLAW_JOB, DISK_FLAW_TRANSIENT, DISK_FLAW_ENCRYPTED, DISK_FLAW_SLICE,
};

struct domain_disk {
	char *type;		/* "file", "block", "network" ... */
	char *device;		/* "disk", "cdrom", "floppy", "lun" */
	char *path;		/* NULL: no medium */
	char *format;		/* "qcow2", "raw"; "raw" when the XML does not say */
	char *target, *bus;	/* "vda", "virtio" */
	char *alias;		/* "virtio-disk0"; NULL for a domain that does not run */
	enum disk_flaw flaw;
	bool readonly, iothread;
};

struct domain_nic {
	char *type;		/* "bridge", "network", "ethernet" ... */
	char *model, *driver;	/* driver: "qemu", "vhost" or NULL */
	char *alias, *mac;
	char *tap;		/* the host's device, of a running domain; or NULL */
	guint queues;		/* 1 unless the XML says more */
};

struct domain_facts {
	char *name, *uuid;
	bool tcg;		/* <domain type='qemu'> */
	guint64 memory_kib;
	char *emulator;
	char *cpu_mode, *cpu;	/* "custom", "host-passthrough", "maximum" ...; the <cpu> element; NULL: none */
	char *nvram;		/* the file of UEFI's variables; NULL: none */
	char *memory_backing;	/* what is not plain memory of the process, as libvirt's elements: "hugepages"; NULL: nothing */
	GPtrArray *disks;	/* struct domain_disk * */
	GPtrArray *nics;	/* struct domain_nic * */
	GPtrArray *boot_files;	/* char *: kernel, initrd, dtb, loader: must exist on the standby's host */
	GPtrArray *unknown;	/* char *: devices that are not known to be safe, described: "hostdev (pci)" */
};

struct domain_facts *domain_facts_parse(const char *xml, GError **error);	/* FTD_ERROR_PROTOCOL */
void domain_facts_free(struct domain_facts *f);
typedef struct domain_facts domain_facts;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(domain_facts, domain_facts_free)

/*
 * Two forms of the primary's migratable XML for the standby's host: `clean` is the persistent definition (no trace of ftd), `standby` is started
 * once: incoming, with a monitor of its own on qmp_path, no iothreads on disks, no vhost on NICs, and it survives its own poweroff.
 */
char *domain_xml_clean(const char *xml, GError **error);
char *domain_xml_standby(const char *xml, const char *qmp_path, GError **error);
char *domain_xml_on_poweroff(const char *xml);	/* "destroy" where it says nothing */
/* The label of libvirt's DAC security model, "+64055:+64055" or "qemu:kvm"; NULL: it says nothing. Of the domain that runs, or `next` time it is started. */
char *domain_xml_owner(const char *xml, bool next);
/* What libvirt's capabilities have for domains of this one's type. */
char *capabilities_xml_owner(const char *capabilities, const char *domain_xml);
/* Was this (live) domain started as the standby whose monitor is qmp_path? */
bool domain_xml_is_standby(const char *xml, const char *qmp_path);
