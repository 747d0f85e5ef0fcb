/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/xml-tree.h"

#include "daemon/base/error.h"

#include <string.h>

static void
attribute_clear(gpointer data)
{
	struct xml_attribute *a = data;

	g_free(a->name);
	g_free(a->value);
}

static void
node_free(gpointer data)
{
	xml_free(data);
}

struct xml_node *
xml_element_new(const char *name)
{
	struct xml_node *n = g_new0(struct xml_node, 1);

	n->name = g_strdup(name);
	n->attributes = g_array_new(FALSE, FALSE, sizeof(struct xml_attribute));
	g_array_set_clear_func(n->attributes, attribute_clear);
	n->children = g_ptr_array_new_with_free_func(node_free);
	return n;
}

void
xml_free(struct xml_node *n)
{
	if (!n)
		return;
	g_free(n->name);
	g_free(n->text);
	g_clear_pointer(&n->attributes, g_array_unref);
	g_clear_pointer(&n->children, g_ptr_array_unref);
	g_free(n);
}

void
xml_append(struct xml_node *parent, struct xml_node *child)
{
	g_ptr_array_add(parent->children, child);
}

/* The parser's state: the open elements, innermost last; the root is kept by `root`. */
struct build {
	struct xml_node *root;
	GPtrArray *open;
};

static void
on_start(GMarkupParseContext *context, const char *name, const char **keys, const char **values, gpointer user_data, GError **error)
{
	struct build *b = user_data;
	struct xml_node *n;

	if (b->open->len >= XML_MAX_DEPTH) {
		g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "elements are nested deeper than %d", XML_MAX_DEPTH);
		return;
	}
	n = xml_element_new(name);
	for (guint i = 0; keys[i]; i++)
		xml_set_attr(n, keys[i], values[i]);
	if (b->open->len)
		xml_append(g_ptr_array_index(b->open, b->open->len - 1), n);
	else
		b->root = n;
	g_ptr_array_add(b->open, n);
}

static void
on_end(GMarkupParseContext *context, const char *name, gpointer user_data, GError **error)
{
	struct build *b = user_data;

	g_ptr_array_remove_index(b->open, b->open->len - 1);
}

static void
on_text(GMarkupParseContext *context, const char *text, gsize length, gpointer user_data, GError **error)
{
	struct build *b = user_data;
	struct xml_node *n;

	if (!b->open->len)
		return;
	n = g_new0(struct xml_node, 1);
	n->text = g_strndup(text, length);
	xml_append(g_ptr_array_index(b->open, b->open->len - 1), n);
}

struct xml_node *
xml_parse(const char *text, GError **error)
{
	static const GMarkupParser parser = { .start_element = on_start, .end_element = on_end, .text = on_text };
	g_autoptr(GPtrArray) open = g_ptr_array_new();
	struct build b = { .open = open };
	g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, G_MARKUP_TREAT_CDATA_AS_TEXT, &b, NULL);
	g_autoptr(GError) local = NULL;

	if (strlen(text) > XML_MAX_BYTES) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "XML of more than %u bytes", XML_MAX_BYTES);
		return NULL;
	}
	if (!g_markup_parse_context_parse(context, text, -1, &local) || !g_markup_parse_context_end_parse(context, &local)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "not the XML of a domain: %s", local->message);
		xml_free(b.root);
		return NULL;
	}
	return b.root;
}

static void
serialize(const struct xml_node *n, GString *out)
{
	if (!n->name) {
		g_autofree char *escaped = g_markup_escape_text(n->text, -1);

		g_string_append(out, escaped);
		return;
	}
	g_string_append_printf(out, "<%s", n->name);
	for (guint i = 0; i < n->attributes->len; i++) {
		const struct xml_attribute *a = &g_array_index(n->attributes, struct xml_attribute, i);
		g_autofree char *escaped = g_markup_escape_text(a->value, -1);

		g_string_append_printf(out, " %s=\"%s\"", a->name, escaped);
	}
	if (!n->children->len) {
		g_string_append(out, "/>");
		return;
	}
	g_string_append_c(out, '>');
	for (guint i = 0; i < n->children->len; i++)
		serialize(g_ptr_array_index(n->children, i), out);
	g_string_append_printf(out, "</%s>", n->name);
}

char *
xml_serialize(const struct xml_node *n)
{
	GString *out = g_string_new(NULL);

	serialize(n, out);
	return g_string_free(out, FALSE);
}

struct xml_node *
xml_next(const struct xml_node *n, const char *name, guint *position)
{
	if (!n || !n->children)
		return NULL;
	while (*position < n->children->len) {
		struct xml_node *child = g_ptr_array_index(n->children, (*position)++);

		if (child->name && (!name || strcmp(child->name, name) == 0))
			return child;
	}
	return NULL;
}

struct xml_node *
xml_child(const struct xml_node *n, const char *name)
{
	guint position = 0;

	return xml_next(n, name, &position);
}

static struct xml_attribute *
find_attr(const struct xml_node *n, const char *name, guint *index)
{
	for (guint i = 0; n && n->attributes && i < n->attributes->len; i++) {
		struct xml_attribute *a = &g_array_index(n->attributes, struct xml_attribute, i);

		if (strcmp(a->name, name) == 0) {
			if (index)
				*index = i;
			return a;
		}
	}
	return NULL;
}

const char *
xml_attr(const struct xml_node *n, const char *name)
{
	const struct xml_attribute *a = find_attr(n, name, NULL);

	return a ? a->value : NULL;
}

void
xml_set_attr(struct xml_node *n, const char *name, const char *value)
{
	guint index;
	struct xml_attribute *a = find_attr(n, name, &index);

	if (a && !value) {
		g_array_remove_index(n->attributes, index);
	} else if (a) {
		g_free(a->value);
		a->value = g_strdup(value);
	} else if (value) {
		struct xml_attribute added = { g_strdup(name), g_strdup(value) };

		g_array_append_val(n->attributes, added);
	}
}

char *
xml_text(const struct xml_node *n)
{
	GString *out = g_string_new(NULL);

	for (guint i = 0; n && n->children && i < n->children->len; i++) {
		const struct xml_node *child = g_ptr_array_index(n->children, i);

		if (child->text)
			g_string_append(out, child->text);
	}
	return g_strstrip(g_string_free(out, FALSE));
}

void
xml_remove_children(struct xml_node *n, bool (*match)(const struct xml_node *child, gpointer user_data), gpointer user_data)
{
	for (guint i = 0; n && i < n->children->len;) {
		if (match(g_ptr_array_index(n->children, i), user_data))
			g_ptr_array_remove_index(n->children, i);
		else
			i++;
	}
}
