/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pair-settings.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "daemon/xml-tree.h"
#include "policy/mode.h"
#include "proxy/flow-pattern.h"

#include <string.h>

/* One setting: its member in a call, its attribute in the metadata. */
static const struct setting {
	const char *member, *attribute;
	size_t offset;
} settings[] = {
	{ "mode", "mode", offsetof(struct pair_settings, mode) },
	{ "bypass", "bypass", offsetof(struct pair_settings, bypass) },
	{ "never_compare", "never-compare", offsetof(struct pair_settings, never_compare) },
};

static char **
field(const struct setting *setting, const struct pair_settings *s)
{
	return (char **)((char *)s + setting->offset);
}

void
pair_settings_clear(struct pair_settings *s)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		g_clear_pointer(field(&settings[i], s), g_free);
}

bool
pair_settings_empty(const struct pair_settings *s)
{
	return !s->mode && !s->bypass && !s->never_compare;
}

bool
pair_settings_same(const struct pair_settings *a, const struct pair_settings *b)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		if (g_strcmp0(*field(&settings[i], a), *field(&settings[i], b)) != 0)
			return false;
	return true;
}

static bool
check(const struct pair_settings *s, GError **error)
{
	struct flow_patterns patterns = { 0 };
	enum mode mode;

	if (s->mode && *s->mode && !mode_from_name(s->mode, &mode)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "\"%s\" is not a mode: auto, colo or passive", s->mode);
		return false;
	}
	if (!flow_patterns_add_list(&patterns, FLOW_BYPASS, s->bypass ? s->bypass : "", error)) {
		g_prefix_error(error, "bypass: ");
		return false;
	}
	if (!flow_patterns_add_list(&patterns, FLOW_NEVER_COMPARE, s->never_compare ? s->never_compare : "", error)) {
		g_prefix_error(error, "never-compare: ");
		return false;
	}
	return true;
}

bool
pair_settings_read(struct pair_settings *out, struct json_object *parameters, GError **error)
{
	g_auto(pair_settings) s = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		*field(&settings[i], &s) = g_strdup(json_get_str(parameters, settings[i].member));
	if (!check(&s, error))
		return false;
	*out = s;
	s = (struct pair_settings){ 0 };
	return true;
}

struct json_object *
pair_settings_write(const struct pair_settings *s, struct json_object *o)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		json_put_str(o, settings[i].member, *field(&settings[i], s));
	return o;
}

bool
pair_settings_change(struct pair_settings *s, const struct pair_settings *change, GError **error)
{
	g_auto(pair_settings) all = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++) {
		const char *old = *field(&settings[i], s), *new = *field(&settings[i], change), *value = new ? new : old;

		*field(&settings[i], &all) = value && *value ? g_strdup(value) : NULL;
	}
	if (!check(&all, error))
		return false;
	pair_settings_clear(s);
	*s = all;
	all = (struct pair_settings){ 0 };
	return true;
}

char *
pair_settings_to_xml(const struct pair_settings *s)
{
	g_autoptr(xml_node) element = xml_element_new("settings");

	if (pair_settings_empty(s))
		return NULL;
	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		xml_set_attr(element, settings[i].attribute, *field(&settings[i], s));
	return xml_serialize(element);
}

bool
pair_settings_from_xml(struct pair_settings *out, const char *xml, GError **error)
{
	g_autoptr(xml_node) element = xml_parse(xml, error);
	g_auto(pair_settings) s = { 0 };

	if (!element)
		return false;
	for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
		*field(&settings[i], &s) = g_strdup(xml_attr(element, settings[i].attribute));
	if (!check(&s, error)) {
		g_prefix_error(error, "the domain's metadata (virsh metadata DOMAIN %s): ", PAIR_SETTINGS_URI);
		return false;
	}
	*out = s;
	s = (struct pair_settings){ 0 };
	return true;
}
