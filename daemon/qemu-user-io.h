/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As whom libvirt runs QEMU, which must get at its sockets and overlays. Blocks. */
#pragma once

#include <glib.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <sys/types.h>

struct qemu_user {
	uid_t uid;
	gid_t gid;
};

/* Of a domain that runs. Root where libvirt does not say, which it does unless it is not root itself. */
bool qemu_user_of_running(virDomainPtr domain, struct qemu_user *user, GError **error);
/* Of one that it will start from this XML. */
bool qemu_user_of_next(virConnectPtr conn, const char *xml, struct qemu_user *user, GError **error);
