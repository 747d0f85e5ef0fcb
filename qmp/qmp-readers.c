/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp/qmp-readers.h"

#include "daemon/base/error.h"
#include "qmp/qmp-json.h"

#include <string.h>

static bool
bad(GError **error, const char *command, const char *what)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "%s: the reply has no usable %s", command, what);
	return false;
}

static void
copy(char *out, size_t size, const char *text)
{
	g_strlcpy(out, text ? text : "", size);
}

/* The array's member whose `key` is `value`. */
static struct json_object *
find(struct json_object *array, const char *key, const char *value)
{
	for (size_t i = 0; array && i < json_object_array_length(array); i++) {
		struct json_object *item = json_object_array_get_idx(array, i);

		if (g_strcmp0(json_member_string(item, key), value) == 0)
			return item;
	}
	return NULL;
}

/*
 * BlockJobInfo (qapi/block-core.json). QEMU before 8.2 does not show actively-synced; there a write-blocking mirror becomes ready and actively synced in the same
 * step (block/mirror.c, mirror_run), so ready says as much.
 */
bool
qmp_read_job(struct json_object *reply, const char *job_id, struct qmp_job *out, GError **error)
{
	struct json_object *list = json_member(reply, "return", json_type_array), *info;
	struct qmp_job job = { 0 };

	if (!list)
		return bad(error, "query-block-jobs", "list");
	info = find(list, "device", job_id);
	if (info) {
		const char *io_status = json_member_string(info, "io-status");

		job.found = true;
		copy(job.status, sizeof job.status, json_member_string(info, "status"));
		copy(job.error, sizeof job.error, json_member_string(info, "error"));
		if (!job.status[0] || !json_member_bool(info, "ready", &job.ready))
			return bad(error, "query-block-jobs", "status");
		if (!json_member_uint64(info, "len", &job.length) || !json_member_uint64(info, "offset", &job.offset))
			return bad(error, "query-block-jobs", "progress");
		if (!job.error[0] && io_status && strcmp(io_status, "ok") != 0)
			copy(job.error, sizeof job.error, "it reports an I/O error");
		if (!json_member_bool(info, "actively-synced", &job.actively_synced))
			job.actively_synced = job.ready;
	}
	*out = job;
	return true;
}

bool
qmp_read_has_channels(struct json_object *reply, bool *has, GError **error)
{
	struct json_object *list = json_member(reply, "return", json_type_array);
	bool found = false;

	if (!list)
		return bad(error, "query-chardev", "list");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		const char *label = json_member_string(json_object_array_get_idx(list, i), "label");

		found = found || (label && g_str_has_prefix(label, "ftd-chr-"));
	}
	*has = found;
	return true;
}

bool
qmp_read_status(struct json_object *reply, char status[32], bool *running, GError **error)
{
	struct json_object *info = json_member(reply, "return", json_type_object);
	const char *name = json_member_string(info, "status");
	bool runs;

	if (!name || !json_member_bool(info, "running", &runs))
		return bad(error, "query-status", "status");
	copy(status, 32, name);
	*running = runs;
	return true;
}

/* A checkpoint would start it; and from most of these states there is no way to COLO, so it would abort QEMU (system/runstate.c, runstate_transitions_def[]). */
bool
qmp_status_stands(const char *status)
{
	static const char *const states[] = { "paused", "prelaunch", "guest-panicked", "io-error", "internal-error", "debug", "watchdog", "suspended", NULL };

	return g_strv_contains(states, status);
}

bool
qmp_read_left_stopped(struct json_object *reply)
{
	char status[32];
	bool running;

	return qmp_read_status(reply, status, &running, NULL) && !running &&
	       (strcmp(status, "finish-migrate") == 0 || strcmp(status, "postmigrate") == 0 || strcmp(status, "colo") == 0);
}

bool
qmp_read_left_standing(struct json_object *reply, bool *standing, GError **error)
{
	struct json_object *list = json_member(reply, "return", json_type_array);

	if (!list)
		return bad(error, "qom-list", "list");
	*standing = find(list, "name", "ftd-stands") != NULL;
	return true;
}

/* MigrationInfo: everything is optional; an empty object before the first migration, no "ram" before the set-up is done. */
bool
qmp_read_migration(struct json_object *reply, struct qmp_migration *out, GError **error)
{
	struct json_object *info = json_member(reply, "return", json_type_object), *ram;
	struct qmp_migration m = { 0 };
	const char *status;

	if (!info)
		return bad(error, "query-migrate", "object");
	status = json_member_string(info, "status");
	copy(m.status, sizeof m.status, status ? status : "none");
	copy(m.error, sizeof m.error, json_member_string(info, "error-desc"));
	ram = json_member(info, "ram", json_type_object);
	if (ram && (!json_member_uint64(ram, "transferred", &m.transferred) || !json_member_uint64(ram, "total", &m.total) ||
		    !json_member_uint64(ram, "remaining", &m.remaining)))
		return bad(error, "query-migrate", "ram progress");
	*out = m;
	return true;
}

bool
qmp_read_tcg(struct json_object *reply, bool *tcg, GError **error)
{
	bool enabled;

	if (!json_member_bool(json_member(reply, "return", json_type_object), "enabled", &enabled))
		return bad(error, "query-kvm", "\"enabled\"");
	*tcg = !enabled;
	return true;
}

bool
qmp_read_version(struct json_object *reply, char version[64], unsigned *major, GError **error)
{
	struct json_object *info = json_member(reply, "return", json_type_object);
	struct json_object *qemu = json_member(info, "qemu", json_type_object);
	const char *package = json_member_string(info, "package");
	guint64 n[3];

	if (!json_member_uint64(qemu, "major", &n[0]) || !json_member_uint64(qemu, "minor", &n[1]) || !json_member_uint64(qemu, "micro", &n[2]))
		return bad(error, "query-version", "version");
	if (n[0] > 9999 || n[1] > 9999 || n[2] > 9999)
		return bad(error, "query-version", "version");
	g_snprintf(version, 64, "%u.%u.%u%s%s%s", (unsigned)n[0], (unsigned)n[1], (unsigned)n[2],
		   package && *package ? " (" : "", package ? package : "", package && *package ? ")" : "");
	*major = (unsigned)n[0];
	return true;
}

bool
qmp_read_has_colo(struct json_object *reply, bool *has, GError **error)
{
	struct json_object *list = json_member(reply, "return", json_type_array);

	if (!list)
		return bad(error, "query-migrate-capabilities", "list");
	*has = find(list, "capability", "x-colo") != NULL;
	return true;
}

/*
 * QEMU without "children" in BlockDeviceInfo: the replication node's file name spells out its whole chain, and while the active overlay is part of it the
 * overlay's own file name is in there (block/replication.c swaps the child when the commit is done).
 */
static bool
overlay_done_by_name(struct json_object *list, struct json_object *repl, unsigned i, bool *done, GError **error)
{
	g_autofree char *act_name = g_strdup_printf("ftd-act%u", i);
	const char *chain = json_member_string(repl, "file"), *overlay = json_member_string(find(list, "node-name", act_name), "file");

	if (!chain)
		return bad(error, "query-named-block-nodes", "file of the replication node");
	*done = !overlay || !strstr(chain, overlay);
	return true;
}

bool
qmp_read_overlay_done(struct json_object *reply, unsigned i, const char *parent_node, bool *done, GError **error)
{
	g_autofree char *repl_name = g_strdup_printf("ftd-repl%u", i);
	struct json_object *list = json_member(reply, "return", json_type_array);
	struct json_object *repl = find(list, "node-name", repl_name), *children;
	const char *file;

	if (!repl)
		return bad(error, "query-named-block-nodes", "replication node");
	children = json_member(repl, "children", json_type_array);
	if (!children)
		return overlay_done_by_name(list, repl, i, done, error);
	file = json_member_string(find(children, "child", "file"), "node-name");
	if (!file)
		return bad(error, "query-named-block-nodes", "child of the replication node");
	*done = g_str_equal(file, parent_node);
	return true;
}

bool
qmp_read_overlays_left(struct json_object *reply, unsigned i, const char *path, bool *left, GError **error)
{
	g_autofree char *active = g_strdup_printf("ftd-act%u", i), *hidden = g_strdup_printf("ftd-hid%u", i);
	struct json_object *list = json_member(reply, "return", json_type_array);
	bool found;

	if (!list)
		return bad(error, "query-named-block-nodes", "list");
	found = find(list, "node-name", active) || find(list, "node-name", hidden);
	for (size_t n = 0; n < json_object_array_length(list); n++) {
		const char *file = json_member_string(json_object_array_get_idx(list, n), "file");

		found = found || (file && strstr(file, path));
	}
	*left = found;
	return true;
}
