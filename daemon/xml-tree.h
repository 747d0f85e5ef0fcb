/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small document tree for libvirt's XML: enough to look at a domain and to change some of it. Names keep their prefix ("qemu:arg"). Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define XML_MAX_DEPTH 64
#define XML_MAX_BYTES (4u << 20)

struct xml_attribute { char *name, *value; };
struct xml_node {
	char *name;			/* NULL: a text node */
	char *text;			/* of a text node */
	GArray *attributes;		/* struct xml_attribute */
	GPtrArray *children;		/* struct xml_node *, owned */
};

struct xml_node *xml_parse(const char *text, GError **error);	/* FTD_ERROR_PROTOCOL */
void xml_free(struct xml_node *n);
typedef struct xml_node xml_node;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xml_node, xml_free)
char *xml_serialize(const struct xml_node *n);

struct xml_node *xml_element_new(const char *name);
void xml_append(struct xml_node *parent, struct xml_node *child);	/* takes the child */
/* NULL-tolerant lookups, so that a path is one line: xml_attr(xml_child(disk, "driver"), "type"). */
struct xml_node *xml_child(const struct xml_node *n, const char *name);
struct xml_node *xml_next(const struct xml_node *n, const char *name, guint *position);	/* iterate from *position = 0; name NULL: every element */
const char *xml_attr(const struct xml_node *n, const char *name);	/* NULL when absent */
char *xml_text(const struct xml_node *n);				/* all direct text, stripped; "" for NULL */
void xml_set_attr(struct xml_node *n, const char *name, const char *value);	/* value NULL removes it */
void xml_remove_children(struct xml_node *n, bool (*match)(const struct xml_node *child, gpointer user_data), gpointer user_data);
