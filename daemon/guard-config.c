/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.json <-> struct guard_config. The members of the JSON objects are the fields of the structs, by the tables below; both directions walk the same
 * tables, so they cannot disagree. Decoding is strict (a guard that misunderstands its order would guard the wrong thing): a member that is missing,
 * unknown, of another type or out of range is an error that names it, and nothing of the result is used.
 */
#include "daemon/guard-config.h"

#include "daemon/base/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <string.h>

#define MAX_DEPTH 8
#define KIB ((guint64)1 << 10)
#define TIB ((guint64)1 << 40)

enum kind { KIND_ROLE, KIND_MODE, KIND_TEXT, KIND_UUID, KIND_TOKEN, KIND_PATTERNS, KIND_BOOL, KIND_UINT, KIND_U64 };
enum needed { NEEDED, NEEDED_PRIMARY, NEEDED_STANDBY, OPTIONAL };

struct field {
	const char *key;
	size_t offset;
	enum kind kind;
	enum needed needed;
	guint64 min, max;	/* of numbers */
};

#define FIELD(type, name, ...) { #name, offsetof(struct type, name), __VA_ARGS__ }

static const struct field config_fields[] = {
	FIELD(guard_config, role, KIND_ROLE, NEEDED),
	FIELD(guard_config, pair, KIND_UUID, NEEDED),
	FIELD(guard_config, domain, KIND_TEXT, NEEDED),
	FIELD(guard_config, self, KIND_TEXT, NEEDED),
	FIELD(guard_config, peer, KIND_TEXT, NEEDED),
	FIELD(guard_config, run_dir, KIND_TEXT, NEEDED),
	FIELD(guard_config, state_file, KIND_TEXT, NEEDED),
	FIELD(guard_config, arbiter, KIND_TEXT, NEEDED),
	FIELD(guard_config, pki, KIND_TEXT, NEEDED),
	FIELD(guard_config, libvirt_uri, KIND_TEXT, NEEDED),
	FIELD(guard_config, generation, KIND_U64, NEEDED, 0, G_MAXINT64),
	FIELD(guard_config, token, KIND_TOKEN, NEEDED),
	FIELD(guard_config, peer_address, KIND_TEXT, NEEDED_PRIMARY),
	FIELD(guard_config, peer_port, KIND_UINT, NEEDED_PRIMARY, 1, 65535),
	FIELD(guard_config, listen_address, KIND_TEXT, OPTIONAL),
	FIELD(guard_config, qmp_path, KIND_TEXT, NEEDED_STANDBY),
	FIELD(guard_config, mode, KIND_MODE, NEEDED),
	FIELD(guard_config, return_path, KIND_BOOL, NEEDED),
	FIELD(guard_config, bypass, KIND_PATTERNS, OPTIONAL),
	FIELD(guard_config, never_compare, KIND_PATTERNS, OPTIONAL),
	FIELD(guard_config, tcg_flush_load, KIND_BOOL, NEEDED),
	FIELD(guard_config, show_differences, KIND_BOOL, OPTIONAL),
	FIELD(guard_config, heartbeat_ms, KIND_UINT, NEEDED, 1, 10000),
	FIELD(guard_config, suspect_ms, KIND_UINT, NEEDED, 2, 60000),
	FIELD(guard_config, max_epoch_ms, KIND_UINT, NEEDED, 1, 60000),
	FIELD(guard_config, target_latency_ms, KIND_UINT, NEEDED, 1, 60000),
	FIELD(guard_config, compare_timeout_ms, KIND_UINT, NEEDED, 1, 60000),
	FIELD(guard_config, max_held_bytes, KIND_U64, NEEDED, 128 * KIB, TIB),
	FIELD(guard_config, max_checkpoint_bytes, KIND_U64, NEEDED, KIB * KIB, TIB),
	FIELD(guard_config, max_disk_bytes, KIND_U64, NEEDED, KIB * KIB, TIB),
	FIELD(guard_config, page_cache_bytes, KIND_U64, NEEDED, 0, TIB),
};

static const struct field nic_fields[] = {
	FIELD(guard_nic, netdev, KIND_TEXT, NEEDED),
	FIELD(guard_nic, has_rewriter, KIND_BOOL, NEEDED),
	FIELD(guard_nic, tap, KIND_TEXT, OPTIONAL),
};

static const struct field disk_fields[] = {
	FIELD(guard_disk, device, KIND_TEXT, NEEDED),
	FIELD(guard_disk, qdev, KIND_TEXT, NEEDED),
	FIELD(guard_disk, node, KIND_TEXT, NEEDED),
	FIELD(guard_disk, size, KIND_U64, NEEDED, 1, G_MAXINT64),
	FIELD(guard_disk, active, KIND_TEXT, NEEDED_STANDBY),
	FIELD(guard_disk, hidden, KIND_TEXT, NEEDED_STANDBY),
	FIELD(guard_disk, compare, KIND_BOOL, OPTIONAL),
};

/* One struct's table, and how it is called in errors: "", "nics[0]." */
struct shape {
	const struct field *fields;
	gsize n;
	const char *where;
};

static const char *const role_names[] = { [FAILOVER_PRIMARY] = "primary", [FAILOVER_STANDBY] = "standby" };

static const char *const mode_names[] = { [MODE_AUTO] = "auto", [MODE_COLO] = "colo", [MODE_PASSIVE] = "passive" };
G_STATIC_ASSERT(G_N_ELEMENTS(mode_names) == MODE_LAST);

static bool
is_text(enum kind kind)
{
	return kind == KIND_TEXT || kind == KIND_UUID || kind == KIND_TOKEN || kind == KIND_PATTERNS;
}

struct guard_config *
guard_config_new(void)
{
	struct guard_config *c = g_new0(struct guard_config, 1);

	c->mode = MODE_COLO;
	c->heartbeat_ms = 20;
	c->suspect_ms = 150;
	c->max_epoch_ms = 10000;
	c->target_latency_ms = 20;
	c->compare_timeout_ms = 20;
	c->max_held_bytes = 16 * KIB * KIB;
	c->max_checkpoint_bytes = 512 * KIB * KIB;
	c->max_disk_bytes = 64 * KIB * KIB;
	c->page_cache_bytes = 32 * KIB * KIB;
	return c;
}

static void
free_texts(const struct field *fields, gsize n, void *base)
{
	for (gsize i = 0; i < n; i++)
		if (is_text(fields[i].kind))
			g_free(*(char **)((char *)base + fields[i].offset));
}

void
guard_config_free(struct guard_config *c)
{
	if (!c)
		return;
	for (guint i = 0; i < GUARD_MAX_NICS; i++)
		free_texts(nic_fields, G_N_ELEMENTS(nic_fields), &c->nics[i]);
	for (guint i = 0; i < GUARD_MAX_DISKS; i++)
		free_texts(disk_fields, G_N_ELEMENTS(disk_fields), &c->disks[i]);
	free_texts(config_fields, G_N_ELEMENTS(config_fields), c);
	g_free(c);
}

/* ---- encode ---- */

/* NULL: the member is left out. */
static struct json_object *
encode_value(const struct field *f, const void *at)
{
	const char *text;

	switch (f->kind) {
	case KIND_ROLE:
		return json_object_new_string(role_names[*(const enum failover_role *)at]);
	case KIND_MODE:
		return json_object_new_string(mode_names[*(const enum mode *)at]);
	case KIND_TEXT:
	case KIND_UUID:
	case KIND_TOKEN:
	case KIND_PATTERNS:
		text = *(char *const *)at;
		return text ? json_object_new_string(text) : NULL;
	case KIND_BOOL:
		return json_object_new_boolean(*(const bool *)at);
	case KIND_UINT:
		return f->needed == NEEDED_PRIMARY && *(const guint *)at == 0 ? NULL : json_object_new_int64(*(const guint *)at);
	case KIND_U64:
		return json_object_new_int64((gint64)*(const guint64 *)at);
	}
	g_assert_not_reached();
}

static struct json_object *
encode_struct(const struct field *fields, gsize n, const void *base)
{
	struct json_object *object = json_object_new_object(), *value;

	for (gsize i = 0; i < n; i++)
		if ((value = encode_value(&fields[i], (const char *)base + fields[i].offset)))
			json_object_object_add(object, fields[i].key, value);
	return object;
}

char *
guard_config_encode(const struct guard_config *c)
{
	struct json_object *object = encode_struct(config_fields, G_N_ELEMENTS(config_fields), c);
	struct json_object *nics = json_object_new_array(), *disks = json_object_new_array();
	char *text;

	for (guint i = 0; i < c->n_nics; i++)
		json_object_array_add(nics, encode_struct(nic_fields, G_N_ELEMENTS(nic_fields), &c->nics[i]));
	for (guint i = 0; i < c->n_disks; i++)
		json_object_array_add(disks, encode_struct(disk_fields, G_N_ELEMENTS(disk_fields), &c->disks[i]));
	json_object_object_add(object, "nics", nics);
	json_object_object_add(object, "disks", disks);
	text = g_strconcat(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
	json_object_put(object);
	return text;
}

/* ---- decode ---- */

static bool
fault(GError **error, const char *where, const char *key, const char *what)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "guard.json: \"%s%s\" %s", where, key, what);
	return false;
}

static bool
is_hex(const char *text, gsize length)
{
	return strspn(text, "0123456789abcdefABCDEF") == length && strlen(text) == length;
}

static bool
decode_text(const struct shape *shape, const struct field *f, struct json_object *value, char **at, GError **error)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return fault(error, shape->where, f->key, "is not a string");
	if (strlen(text) != (size_t)json_object_get_string_len(value) || !*text)
		return fault(error, shape->where, f->key, "is empty or holds a NUL");
	if (f->kind == KIND_UUID && !g_uuid_string_is_valid(text))
		return fault(error, shape->where, f->key, "is not a UUID");
	if (f->kind == KIND_TOKEN && !is_hex(text, 64))
		return fault(error, shape->where, f->key, "is not 64 hex digits");
	*at = g_strdup(text);
	return true;
}

static bool
decode_role(const struct shape *shape, const struct field *f, struct json_object *value, enum failover_role *at, GError **error)
{
	for (guint i = 0; i < G_N_ELEMENTS(role_names); i++)
		if (json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), role_names[i]) == 0) {
			*at = i;
			return true;
		}
	return fault(error, shape->where, f->key, "is neither \"primary\" nor \"standby\"");
}

static bool
decode_mode(const struct shape *shape, const struct field *f, struct json_object *value, enum mode *at, GError **error)
{
	for (guint i = 0; i < G_N_ELEMENTS(mode_names); i++)
		if (json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), mode_names[i]) == 0) {
			*at = i;
			return true;
		}
	return fault(error, shape->where, f->key, "is not \"auto\", \"colo\" or \"passive\"");
}

static bool
decode_number(const struct shape *shape, const struct field *f, struct json_object *value, guint64 *out, GError **error)
{
	g_autofree char *range = g_strdup_printf("is not within %" G_GUINT64_FORMAT " .. %" G_GUINT64_FORMAT, f->min, f->max);
	gint64 n = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int))
		return fault(error, shape->where, f->key, "is not a whole number");
	if (n < 0 || (guint64)n < f->min || (guint64)n > f->max)
		return fault(error, shape->where, f->key, range);
	*out = (guint64)n;
	return true;
}

static bool
decode_value(const struct shape *shape, const struct field *f, struct json_object *value, void *at, GError **error)
{
	guint64 n;

	switch (f->kind) {
	case KIND_ROLE:
		return decode_role(shape, f, value, at, error);
	case KIND_MODE:
		return decode_mode(shape, f, value, at, error);
	case KIND_TEXT:
	case KIND_UUID:
	case KIND_TOKEN:
	case KIND_PATTERNS:
		return decode_text(shape, f, value, at, error);
	case KIND_BOOL:
		if (!json_object_is_type(value, json_type_boolean))
			return fault(error, shape->where, f->key, "is neither true nor false");
		*(bool *)at = json_object_get_boolean(value);
		return true;
	case KIND_UINT:
		if (!decode_number(shape, f, value, &n, error))
			return false;
		*(guint *)at = (guint)n;
		return true;
	case KIND_U64:
		return decode_number(shape, f, value, at, error);
	}
	g_assert_not_reached();
}

static bool
is_needed(const struct field *f, enum failover_role role)
{
	return f->needed == NEEDED || (f->needed == NEEDED_PRIMARY && role == FAILOVER_PRIMARY) || (f->needed == NEEDED_STANDBY && role == FAILOVER_STANDBY);
}

static bool
is_known(const struct shape *shape, const char *key)
{
	/* The two arrays belong to the outermost object and are no table fields. */
	if (!*shape->where && (strcmp(key, "nics") == 0 || strcmp(key, "disks") == 0))
		return true;
	for (gsize i = 0; i < shape->n; i++)
		if (strcmp(shape->fields[i].key, key) == 0)
			return true;
	return false;
}

/* role is read after the field of that name was decoded: it is the first of the table. */
static bool
decode_struct(const struct shape *shape, struct json_object *object, void *base, const enum failover_role *role, GError **error)
{
	for (gsize i = 0; i < shape->n; i++) {
		const struct field *f = &shape->fields[i];
		struct json_object *value = NULL;

		if (json_object_object_get_ex(object, f->key, &value)) {
			if (!decode_value(shape, f, value, (char *)base + f->offset, error))
				return false;
		} else if (is_needed(f, *role)) {
			return fault(error, shape->where, f->key, "is missing");
		}
	}
	json_object_object_foreach(object, key, unused) {
		(void)unused;
		if (!is_known(shape, key))
			return fault(error, shape->where, key, "is not known");
	}
	return true;
}

/* An array of objects into base[max] of `size` bytes each. */
static bool
decode_array(struct json_object *object, const char *key, const struct shape *element, void *base, gsize size, gsize max, guint *count,
	     const enum failover_role *role, GError **error)
{
	struct json_object *array = NULL;

	if (!json_object_object_get_ex(object, key, &array))
		return fault(error, "", key, "is missing");
	if (!json_object_is_type(array, json_type_array))
		return fault(error, "", key, "is not an array");
	if (json_object_array_length(array) > max)
		return fault(error, "", key, "has too many members");
	for (gsize i = 0; i < json_object_array_length(array); i++) {
		g_autofree char *where = g_strdup_printf("%s[%" G_GSIZE_FORMAT "].", key, i);
		struct shape shape = { element->fields, element->n, where };
		struct json_object *member = json_object_array_get_idx(array, i);

		if (!json_object_is_type(member, json_type_object))
			return fault(error, where, "", "is not an object");
		if (!decode_struct(&shape, member, (char *)base + i * size, role, error))
			return false;
	}
	*count = (guint)json_object_array_length(array);
	return true;
}

bool
guard_config_patterns(const struct guard_config *c, struct flow_patterns *out, GError **error)
{
	*out = (struct flow_patterns){ 0 };
	return flow_patterns_add_list(out, FLOW_BYPASS, c->bypass ? c->bypass : "", error) &&
	       flow_patterns_add_list(out, FLOW_NEVER_COMPARE, c->never_compare ? c->never_compare : "", error);
}

static bool
decode_patterns(const struct guard_config *c, GError **error)
{
	g_autoptr(GError) bad = NULL;
	struct flow_patterns unused;

	if (guard_config_patterns(c, &unused, &bad))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "guard.json: %s", bad->message);
	return false;
}

static bool
decode_config(struct json_object *object, struct guard_config *c, GError **error)
{
	const struct shape outer = { config_fields, G_N_ELEMENTS(config_fields), "" };
	const struct shape nic = { nic_fields, G_N_ELEMENTS(nic_fields), NULL };
	const struct shape disk = { disk_fields, G_N_ELEMENTS(disk_fields), NULL };

	if (!decode_struct(&outer, object, c, &c->role, error) ||
	    !decode_array(object, "nics", &nic, c->nics, sizeof c->nics[0], GUARD_MAX_NICS, &c->n_nics, &c->role, error) ||
	    !decode_array(object, "disks", &disk, c->disks, sizeof c->disks[0], GUARD_MAX_DISKS, &c->n_disks, &c->role, error))
		return false;
	if (c->suspect_ms <= c->heartbeat_ms)
		return fault(error, "", "suspect_ms", "is not longer than \"heartbeat_ms\"");
	return decode_patterns(c, error);
}

static struct json_object *
parse(const char *text, gsize length, GError **error)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *object = NULL;
	enum json_tokener_error code;
	size_t end;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, (int)length);
	code = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (end < length && memchr(" \t\r\n", text[end], 4))
		end++;
	if (code == json_tokener_success && end == length && json_object_is_type(object, json_type_object))
		return object;
	json_object_put(object);
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "guard.json: %s", code == json_tokener_success ? "not one JSON object" : json_tokener_error_desc(code));
	return NULL;
}

struct guard_config *
guard_config_decode(const char *text, gsize length, GError **error)
{
	g_autoptr(guard_config) c = guard_config_new();
	struct json_object *object;
	bool ok;

	if (length > GUARD_CONFIG_MAX) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "guard.json: longer than %d bytes", GUARD_CONFIG_MAX);
		return NULL;
	}
	object = parse(text, length, error);
	ok = object && decode_config(object, c, error);
	json_object_put(object);
	return ok ? g_steal_pointer(&c) : NULL;
}
