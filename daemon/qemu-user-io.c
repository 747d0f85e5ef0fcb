/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/qemu-user-io.h"

#include "daemon/base/error.h"
#include "daemon/domain-xml.h"
#include "daemon/libvirt-io.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>

#define ENTRY_BYTES 65536	/* of the user database; a group may have many members */

/* A '+' says that it is a number; without it a name is tried first. (Several jobs may be here at once.) */
static bool
parse_uid(const char *text, uid_t *uid)
{
	g_autofree char *buffer = g_malloc(ENTRY_BYTES);
	struct passwd entry, *p = NULL;
	guint64 number;

	if (*text != '+' && getpwnam_r(text, &entry, buffer, ENTRY_BYTES, &p) == 0 && p)
		*uid = p->pw_uid;
	else if (g_ascii_string_to_unsigned(text + (*text == '+'), 10, 0, G_MAXUINT32 - 1, &number, NULL))
		*uid = (uid_t)number;
	else
		return false;
	return true;
}

static bool
parse_gid(const char *text, gid_t *gid)
{
	g_autofree char *buffer = g_malloc(ENTRY_BYTES);
	struct group entry, *g = NULL;
	guint64 number;

	if (*text != '+' && getgrnam_r(text, &entry, buffer, ENTRY_BYTES, &g) == 0 && g)
		*gid = g->gr_gid;
	else if (g_ascii_string_to_unsigned(text + (*text == '+'), 10, 0, G_MAXUINT32 - 1, &number, NULL))
		*gid = (gid_t)number;
	else
		return false;
	return true;
}

static bool
parse_label(const char *label, struct qemu_user *user, GError **error)
{
	g_auto(GStrv) parts = g_strsplit(label ? label : "+0:+0", ":", 2);

	if (g_strv_length(parts) == 2 && parse_uid(parts[0], &user->uid) && parse_gid(parts[1], &user->gid))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_LIBVIRT, "libvirt runs QEMU as \"%s\", and there is no such user and group", label);
	return false;
}

bool
qemu_user_of_running(virDomainPtr domain, struct qemu_user *user, GError **error)
{
	g_autofree char *xml = libvirt_xml(domain, 0, error), *label = xml ? domain_xml_owner(xml, false) : NULL;

	return xml && parse_label(label, user, error);
}

bool
qemu_user_of_next(virConnectPtr conn, const char *xml, struct qemu_user *user, GError **error)
{
	g_autofree char *label = domain_xml_owner(xml, true);
	char *capabilities = label ? NULL : virConnectGetCapabilities(conn);

	if (!label && !capabilities) {
		libvirt_set_error(error, "asking for its capabilities");
		return false;
	}
	if (capabilities)
		label = capabilities_xml_owner(capabilities, xml);
	free(capabilities);
	return parse_label(label, user, error);
}
