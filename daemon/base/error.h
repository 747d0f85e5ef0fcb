/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one GError domain of the product. A code is a cause that a person can act on; every code has a name (Varlink error
 * org.ftd.<Name>), and an exit status of ftctl (ftctl(1), EXIT STATUS). Codes are appended, never renumbered.
 */
#pragma once

#include <glib.h>

enum ftd_error_code {
	FTD_ERROR_FAILED,		/* anything without a code of its own */
	FTD_ERROR_USAGE,		/* the caller's words are wrong */
	FTD_ERROR_NO_DAEMON,		/* ftd does not answer on its socket */
	FTD_ERROR_DENIED,		/* the caller may not do this */
	FTD_ERROR_NO_DOMAIN,		/* libvirt does not know the domain */
	FTD_ERROR_NOT_RUNNING,		/* the domain is not running */
	FTD_ERROR_NOT_PROTECTED,	/* the verb needs a protected domain */
	FTD_ERROR_ALREADY_PROTECTED,	/* the domain has a pair already */
	FTD_ERROR_NIC_VHOST,		/* a NIC uses vhost: packets never pass QEMU */
	FTD_ERROR_NIC_MULTIQUEUE,	/* a NIC has more than one queue */
	FTD_ERROR_NIC_MODEL,		/* a NIC of a type that filters cannot sit on */
	FTD_ERROR_DEVICE,		/* a host device or another device that cannot migrate */
	FTD_ERROR_DISK_KIND,		/* shared, read-only-shared, network, block-job-bearing disk ... */
	FTD_ERROR_QEMU_NO_COLO,		/* QEMU built without x-colo, or one that cannot do it with this accelerator */
	FTD_ERROR_QEMU_VERSION,		/* the two hosts run different QEMU versions */
	FTD_ERROR_PEER_UNREACHABLE,	/* no connection to the peer's ftd */
	FTD_ERROR_PEER_CERTIFICATE,	/* TLS: the peer's or our certificate is not accepted */
	FTD_ERROR_PEER_MEMORY,		/* too little memory on the peer */
	FTD_ERROR_PEER_STORAGE,		/* too little disk room on the peer, or its directory is missing */
	FTD_ERROR_IMAGE_SIZE,		/* an image on the peer has another size */
	FTD_ERROR_PEER_UUID_RUNNING,	/* a domain with this UUID or name runs on the peer */
	FTD_ERROR_ARBITER_NOT_SHARED,	/* the arbiter directory is not the same one on both hosts */
	FTD_ERROR_ARBITER_SILENT,	/* the arbiter did not answer in time */
	FTD_ERROR_ARBITER_DENIED,	/* the other side owns the next generation */
	FTD_ERROR_PROTOCOL,		/* a peer, a socket or QEMU sent something that is not in the protocol */
	FTD_ERROR_TIMEOUT,		/* a deadline passed */
	FTD_ERROR_QMP,			/* QEMU refused a command */
	FTD_ERROR_LIBVIRT,		/* libvirt refused a call */
	FTD_ERROR_LIMIT,		/* a named limit was reached */
	FTD_ERROR_CONFIG,		/* ftd.conf or the domain's settings are not valid */
	FTD_ERROR_PEER_CPU,		/* the peer's CPU cannot run what the guest was shown */
	FTD_ERROR_LAST
};

#define FTD_ERROR (ftd_error_quark())
GQuark ftd_error_quark(void);

/* The name used in Varlink errors and --json ("NicVhost"); "Failed" for a foreign domain. */
const char *ftd_error_name(const GError *error);
/* The code behind a name, FTD_ERROR_FAILED for an unknown one. */
enum ftd_error_code ftd_error_from_name(const char *name);
/* The exit status of ftctl for a code: FTD_ERROR_FAILED is 1, USAGE 2, the others from 10 on. */
int ftd_error_exit_status(enum ftd_error_code code);
