/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/qemu-facts-io.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <gio/gio.h>
#include <string.h>

#define EMULATOR_TIMEOUT_S 10

typedef bool (*reader)(struct qemu_facts *q, struct json_object *reply, GError **error);

static bool
collect_one(virDomainPtr dom, const char *command, reader read, struct qemu_facts *q, GError **error)
{
	g_autoptr(json_object_ptr) reply = libvirt_qmp(dom, command, NULL, error);

	return reply && read(q, reply, error);
}

static bool
collect_disks(virDomainPtr dom, const struct domain_facts *domain, struct qemu_facts *q, GError **error)
{
	g_autoptr(json_object_ptr) reply = libvirt_qmp(dom, "query-block", NULL, error);

	if (!reply)
		return false;
	for (guint i = 0; i < domain->disks->len; i++) {
		const struct domain_disk *d = g_ptr_array_index(domain->disks, i);

		g_ptr_array_add(q->disks, d->alias ? qemu_facts_find_disk(reply, d->alias) : NULL);
	}
	return true;
}

/* A QEMU that has no x-query-virtio-status, or a device that is not virtio: VHOST_UNKNOWN, which only matters where the XML leaves it open. */
static enum vhost_use
ask_vhost(virDomainPtr dom, const char *alias)
{
	g_autofree char *path = g_strdup_printf("/machine/peripheral/%s/virtio-backend", alias);
	g_autoptr(json_object_ptr) reply = libvirt_qmp(dom, "x-query-virtio-status", json_put_str(json_object_new_object(), "path", path), NULL);

	return reply ? qemu_facts_vhost(reply) : VHOST_UNKNOWN;
}

static bool
collect_nics(virDomainPtr dom, const struct domain_facts *domain, struct qemu_facts *q, GError **error)
{
	g_autoptr(json_object_ptr) objects = libvirt_qmp(dom, "qom-list", json_put_str(json_object_new_object(), "path", "/objects"), error);

	if (!objects)
		return false;
	for (guint i = 0; i < domain->nics->len; i++) {
		const struct domain_nic *d = g_ptr_array_index(domain->nics, i);
		struct qemu_nic *nic = g_new0(struct qemu_nic, 1);
		g_autofree char *rewriter = g_strdup_printf("ftd-rew%u", i);

		nic->has_rewriter = qemu_facts_has_child(objects, rewriter);
		nic->vhost = d->alias ? ask_vhost(dom, d->alias) : VHOST_UNKNOWN;
		g_ptr_array_add(q->nics, nic);
	}
	return true;
}

struct qemu_facts *
qemu_facts_collect(virDomainPtr dom, const struct domain_facts *domain, GError **error)
{
	g_autoptr(qemu_facts) q = qemu_facts_new();

	if (!collect_one(dom, "query-version", qemu_facts_read_version, q, error) ||
	    !collect_one(dom, "query-kvm", qemu_facts_read_kvm, q, error) ||
	    !collect_one(dom, "query-migrate-capabilities", qemu_facts_read_capabilities, q, error) ||
	    !collect_one(dom, "query-block-jobs", qemu_facts_read_jobs, q, error) ||
	    !collect_disks(dom, domain, q, error) || !collect_nics(dom, domain, q, error)) {
		g_prefix_error(error, "asking the domain's QEMU: ");
		return NULL;
	}
	return g_steal_pointer(&q);
}

/* -- an emulator without a domain */

static gboolean
on_deadline(gpointer process)
{
	g_subprocess_force_exit(process);
	return G_SOURCE_REMOVE;
}

static void
on_communicated(GObject *source, GAsyncResult *result, gpointer user_data)
{
	*(GAsyncResult **)user_data = g_object_ref(result);
}

/* Runs it with a script on its standard input, in a main context of this thread's own so that a deadline can be kept. */
static char *
converse(const char *const argv[], const char *input, GError **error)
{
	g_autoptr(GMainContext) context = g_main_context_new();
	g_autoptr(GSubprocess) process = NULL;
	g_autoptr(GSource) deadline = g_timeout_source_new_seconds(EMULATOR_TIMEOUT_S);
	g_autoptr(GAsyncResult) result = NULL;
	char *output = NULL;

	g_main_context_push_thread_default(context);
	process = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, error);
	if (process) {
		g_source_set_callback(deadline, on_deadline, process, NULL);
		g_source_attach(deadline, context);
		g_subprocess_communicate_utf8_async(process, input, NULL, on_communicated, &result);
		while (!result)
			g_main_context_iteration(context, TRUE);
		g_source_destroy(deadline);
		g_subprocess_communicate_utf8_finish(process, result, &output, NULL, error);
	}
	g_main_context_pop_thread_default(context);
	return output;
}

struct json_object *
emulator_probe(const char *emulator, GError **error)
{
	static const char script[] = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-version\"}\n"
				     "{\"execute\":\"query-migrate-capabilities\"}\n{\"execute\":\"quit\"}\n";
	const char *const argv[] = { emulator, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=tcg:kvm", "-qmp", "stdio", NULL };
	g_autofree char *output = converse(argv, script, error);
	g_auto(GStrv) lines = g_strsplit(output ? output : "", "\n", -1);
	g_autoptr(qemu_facts) q = qemu_facts_new();

	if (!output)
		return NULL;
	for (guint i = 0; lines[i]; i++) {
		g_autoptr(json_object_ptr) reply = json_parse(lines[i], strlen(lines[i]), NULL);
		struct json_object *value = json_get(reply, "return");

		if (json_get(value, "qemu"))
			qemu_facts_read_version(q, reply, NULL);
		else if (json_length(value))
			qemu_facts_read_capabilities(q, reply, NULL);
	}
	if (!*q->version) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "%s gave no answer within %d s", emulator, EMULATOR_TIMEOUT_S);
		return NULL;
	}
	return json_put_bool(json_put_str(json_object_new_object(), "version", q->version), "has_colo", q->has_colo);
}
