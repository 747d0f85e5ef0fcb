/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/qemu-facts.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <string.h>

#define PAIR_JOB "ftd-mirror"

static void
disk_free(gpointer data)
{
	struct qemu_disk *d = data;

	if (!d)
		return;
	g_free(d->qom);
	g_free(d->node);
	g_free(d);
}

struct qemu_facts *
qemu_facts_new(void)
{
	struct qemu_facts *q = g_new0(struct qemu_facts, 1);

	q->disks = g_ptr_array_new_with_free_func(disk_free);
	q->nics = g_ptr_array_new_with_free_func(g_free);
	return q;
}

void
qemu_facts_free(struct qemu_facts *q)
{
	if (!q)
		return;
	g_clear_pointer(&q->disks, g_ptr_array_unref);
	g_clear_pointer(&q->nics, g_ptr_array_unref);
	g_free(q);
}

static bool
unexpected(const char *command, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "QEMU's answer to %s is not what QAPI promises", command);
	return false;
}

bool
qemu_facts_read_version(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	struct json_object *v = json_get(json_get(reply, "return"), "qemu");

	if (!json_get(v, "major"))
		return unexpected("query-version", error);
	q->major = (unsigned)json_get_u64(v, "major");
	q->minor = (unsigned)json_get_u64(v, "minor");
	q->micro = (unsigned)json_get_u64(v, "micro");
	g_snprintf(q->version, sizeof(q->version), "%u.%u.%u", q->major, q->minor, q->micro);
	return true;
}

bool
qemu_facts_read_kvm(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	struct json_object *kvm = json_get(reply, "return");

	if (!json_get(kvm, "enabled"))
		return unexpected("query-kvm", error);
	q->tcg = !json_get_bool(kvm, "enabled");
	return true;
}

bool
qemu_facts_read_capabilities(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	struct json_object *list = json_get(reply, "return");

	if (!json_object_is_type(list, json_type_array))
		return unexpected("query-migrate-capabilities", error);
	for (size_t i = 0; i < json_length(list); i++)
		if (g_strcmp0(json_get_str(json_at(list, i), "capability"), "x-colo") == 0)
			q->has_colo = true;
	return true;
}

/* QEMU >= 11.0 refuses x-colo without return-path (migration/options.c, migrate_caps_check()); before, the two together break the stream. */
bool
qemu_facts_read_return_path(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	if (!json_get(reply, "return") && !json_get(reply, "error"))
		return unexpected("migrate-set-capabilities", error);
	q->wants_return_path = json_get(reply, "error") != NULL;
	return true;
}

bool
qemu_facts_read_jobs(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	struct json_object *list = json_get(reply, "return");

	if (!json_object_is_type(list, json_type_array))
		return unexpected("query-block-jobs", error);
	for (size_t i = 0; i < json_length(list); i++) {
		const char *job = json_get_str(json_at(list, i), "device");
		bool ours = job && g_str_has_prefix(job, PAIR_JOB);

		q->pair_jobs = q->pair_jobs || ours;
		q->block_jobs = q->block_jobs || !ours;
	}
	return true;
}

/* Every one of `needed` is the name of an entry. */
static bool
read_names(struct qemu_facts *q, struct json_object *reply, const char *command, const char *const needed[], GError **error)
{
	if (!json_object_is_type(json_get(reply, "return"), json_type_array))
		return unexpected(command, error);
	for (; *needed; needed++)
		if (!qemu_facts_has_child(reply, *needed) && !q->missing)
			q->missing = *needed;
	return true;
}

bool
qemu_facts_read_commands(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	static const char *const needed[] = { "blockdev-mirror", "blockdev-add", "nbd-server-start", "block-export-add", "chardev-add", "object-add", "qom-set", "migrate-incoming",
					      "x-colo-lost-heartbeat", "announce-self", NULL };

	return read_names(q, reply, "query-commands", needed, error);
}

bool
qemu_facts_read_filters(struct qemu_facts *q, struct json_object *reply, GError **error)
{
	static const char *const needed[] = { "filter-mirror", "filter-redirector", "filter-rewriter", NULL };

	return read_names(q, reply, "qom-list-types", needed, error);
}

/* "qdev" is the device's id or, for a device without one, its QOM path: virtio-blk sits in the id-less child "virtio-backend" of its PCI device. */
static char *
qom_path_of(const char *qdev, const char *alias)
{
	g_autofree char *path = g_strconcat("/machine/peripheral/", alias, NULL);
	size_t length = strlen(path);

	if (g_strcmp0(qdev, alias) == 0)
		return g_steal_pointer(&path);
	if (qdev && g_str_has_prefix(qdev, path) && (qdev[length] == '\0' || qdev[length] == '/'))
		return g_strdup(qdev);
	return NULL;
}

struct qemu_disk *
qemu_facts_find_disk(struct json_object *reply, const char *alias)
{
	struct json_object *list = json_get(reply, "return");

	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *entry = json_at(list, i), *inserted = json_get(entry, "inserted"), *image = json_get(inserted, "image");
		g_autofree char *qom = qom_path_of(json_get_str(entry, "qdev"), alias);
		struct qemu_disk *d;

		if (!qom || !json_get_str(inserted, "node-name"))
			continue;
		d = g_new0(struct qemu_disk, 1);
		d->qom = g_steal_pointer(&qom);
		d->node = g_strdup(json_get_str(inserted, "node-name"));
		d->virtual_size = json_get_u64(image, "virtual-size");
		d->allocated = json_get_u64(image, "actual-size");
		/* A former standby's disk sits under a pass-through replication node, whose file QEMU reports as a backing image. */
		if (g_strcmp0(json_get_str(inserted, "drv"), "replication") == 0)
			image = json_get(image, "backing-image");
		d->has_backing = json_get(image, "backing-image") != NULL;
		d->has_snapshots = json_length(json_get(image, "snapshots")) > 0;
		return d;
	}
	return NULL;
}

bool
qemu_facts_has_child(struct json_object *reply, const char *name)
{
	struct json_object *list = json_get(reply, "return");

	for (size_t i = 0; i < json_length(list); i++)
		if (g_strcmp0(json_get_str(json_at(list, i), "name"), name) == 0)
			return true;
	return false;
}

bool
qemu_facts_is_process(const char *cmdline, gsize length, const char *uuid)
{
	const char *end = cmdline + length;
	bool expected = false;

	for (const char *word = cmdline; word < end; word += strnlen(word, (size_t)(end - word)) + 1) {
		if (expected && strncmp(word, uuid, (size_t)(end - word)) == 0)
			return true;
		expected = strncmp(word, "-uuid", (size_t)(end - word)) == 0;
	}
	return false;
}
