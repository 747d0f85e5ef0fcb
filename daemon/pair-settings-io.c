/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pair-settings-io.h"

#include <libvirt/virterror.h>
#include <stdlib.h>

bool
pair_settings_load(virDomainPtr domain, struct pair_settings *out, GError **error)
{
	char *xml = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, PAIR_SETTINGS_URI, VIR_DOMAIN_AFFECT_CURRENT);
	bool ok;

	*out = (struct pair_settings){ 0 };
	if (!xml && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA)
		return true;
	if (!xml) {
		libvirt_set_error(error, "reading the domain's metadata");
		return false;
	}
	ok = pair_settings_from_xml(out, xml, error);
	free(xml);
	return ok;
}

static bool
store(virDomainPtr domain, const char *xml, unsigned flags, GError **error)
{
	if (virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, xml, PAIR_SETTINGS_KEY, PAIR_SETTINGS_URI, flags) == 0 ||
	    (!xml && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA))
		return true;
	libvirt_set_error(error, "writing the domain's metadata");
	return false;
}

/* As libvirt has it; *xml NULL: nothing. */
static bool
read_definition(virDomainPtr domain, char **xml, GError **error)
{
	*xml = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, PAIR_SETTINGS_URI, VIR_DOMAIN_AFFECT_CONFIG);
	if (*xml || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA)
		return true;
	libvirt_set_error(error, "reading the domain's metadata");
	return false;
}

/* The definition first: a full disk shows there. What one of the two does not take the other does not keep. */
bool
pair_settings_store(virDomainPtr domain, const struct pair_settings *s, GError **error)
{
	g_autofree char *xml = pair_settings_to_xml(s);
	bool defined = virDomainIsPersistent(domain) == 1, ok;
	char *before = NULL;

	if (defined && !read_definition(domain, &before, error))
		return false;
	ok = !defined || store(domain, xml, VIR_DOMAIN_AFFECT_CONFIG, error);
	if (ok && libvirt_is_running(domain) && !store(domain, xml, VIR_DOMAIN_AFFECT_LIVE, error)) {
		ok = false;
		if (defined && !store(domain, before, VIR_DOMAIN_AFFECT_CONFIG, NULL))
			g_prefix_error(error, "only the domain's definition has them now: ");
	}
	free(before);
	return ok;
}
