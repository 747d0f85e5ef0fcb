/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How one domain is to be protected, by the administrator's word. Kept in libvirt's metadata of the domain, on both hosts of a pair, so that it is there wherever the
 * domain goes on:
 *
 *   <ftd:settings xmlns:ftd="urn:org.ftd:settings:1" mode="auto" bypass="tcp:22,udp:161" never-compare="tcp:5432"/>
 *
 * Pure.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

#define PAIR_SETTINGS_KEY "ftd"
#define PAIR_SETTINGS_URI "urn:org.ftd:settings:1"

/* Of a domain NULL is "not set". Of a change NULL is "as it is", and "" takes the setting away. */
struct pair_settings {
	char *mode;			/* auto, colo, passive */
	char *bypass, *never_compare;	/* flow patterns (proxy/flow-pattern.h), comma separated */
};
void pair_settings_clear(struct pair_settings *s);
typedef struct pair_settings pair_settings;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(pair_settings, pair_settings_clear)

bool pair_settings_same(const struct pair_settings *a, const struct pair_settings *b);
bool pair_settings_empty(const struct pair_settings *s);
/* A change, from the members "mode", "bypass" and "never_compare" of a call. FTD_ERROR_USAGE, FTD_ERROR_CONFIG or FTD_ERROR_LIMIT with what is wrong. */
bool pair_settings_read(struct pair_settings *out, struct json_object *parameters, GError **error);
/* Adds the members that are not NULL to o. */
struct json_object *pair_settings_write(const struct pair_settings *s, struct json_object *o);
/* *s with the change. Together they may be too many: FTD_ERROR_LIMIT, and *s is untouched. */
bool pair_settings_change(struct pair_settings *s, const struct pair_settings *change, GError **error);

/* The metadata element, without its namespace, which is libvirt's to add; NULL: there is nothing to keep. */
char *pair_settings_to_xml(const struct pair_settings *s);
/* What somebody wrote there by hand is checked like a call. */
bool pair_settings_from_xml(struct pair_settings *out, const char *xml, GError **error);
