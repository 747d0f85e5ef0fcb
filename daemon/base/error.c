/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"

#include <string.h>

G_DEFINE_QUARK(ftd-error-quark, ftd_error)

static const char *const names[] = {
	[FTD_ERROR_FAILED] = "Failed",
	[FTD_ERROR_USAGE] = "Usage",
	[FTD_ERROR_NO_DAEMON] = "NoDaemon",
	[FTD_ERROR_DENIED] = "Denied",
	[FTD_ERROR_NO_DOMAIN] = "NoDomain",
	[FTD_ERROR_NOT_RUNNING] = "NotRunning",
	[FTD_ERROR_NOT_PROTECTED] = "NotProtected",
	[FTD_ERROR_ALREADY_PROTECTED] = "AlreadyProtected",
	[FTD_ERROR_NIC_VHOST] = "NicVhost",
	[FTD_ERROR_NIC_MULTIQUEUE] = "NicMultiqueue",
	[FTD_ERROR_NIC_MODEL] = "NicModel",
	[FTD_ERROR_DEVICE] = "Device",
	[FTD_ERROR_DISK_KIND] = "DiskKind",
	[FTD_ERROR_QEMU_NO_COLO] = "QemuNoColo",
	[FTD_ERROR_QEMU_VERSION] = "QemuVersion",
	[FTD_ERROR_PEER_UNREACHABLE] = "PeerUnreachable",
	[FTD_ERROR_PEER_CERTIFICATE] = "PeerCertificate",
	[FTD_ERROR_PEER_MEMORY] = "PeerMemory",
	[FTD_ERROR_PEER_STORAGE] = "PeerStorage",
	[FTD_ERROR_IMAGE_SIZE] = "ImageSize",
	[FTD_ERROR_PEER_UUID_RUNNING] = "PeerUuidRunning",
	[FTD_ERROR_ARBITER_NOT_SHARED] = "ArbiterNotShared",
	[FTD_ERROR_ARBITER_SILENT] = "ArbiterSilent",
	[FTD_ERROR_ARBITER_DENIED] = "ArbiterDenied",
	[FTD_ERROR_PROTOCOL] = "Protocol",
	[FTD_ERROR_TIMEOUT] = "Timeout",
	[FTD_ERROR_QMP] = "Qmp",
	[FTD_ERROR_LIBVIRT] = "Libvirt",
	[FTD_ERROR_LIMIT] = "Limit",
	[FTD_ERROR_CONFIG] = "Config",
	[FTD_ERROR_PEER_CPU] = "PeerCpu",
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == FTD_ERROR_LAST);

const char *
ftd_error_name(const GError *error)
{
	if (!error || error->domain != FTD_ERROR || error->code < 0 || error->code >= FTD_ERROR_LAST)
		return names[FTD_ERROR_FAILED];
	return names[error->code];
}

enum ftd_error_code
ftd_error_from_name(const char *name)
{
	for (int i = 0; i < FTD_ERROR_LAST; i++)
		if (g_strcmp0(names[i], name) == 0)
			return i;
	return FTD_ERROR_FAILED;
}

int
ftd_error_exit_status(enum ftd_error_code code)
{
	if (code == FTD_ERROR_FAILED)
		return 1;
	if (code == FTD_ERROR_USAGE)
		return 2;
	return 8 + (int)code;
}
