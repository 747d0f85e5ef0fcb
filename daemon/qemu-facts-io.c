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
collect_filters(virDomainPtr dom, struct qemu_facts *q, GError **error)
{
	g_autoptr(json_object_ptr) reply = libvirt_qmp(dom, "qom-list-types", json_put_str(json_object_new_object(), "implements", "netfilter"), error);

	return reply && qemu_facts_read_filters(q, reply, error);
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

/*
 * vhost cannot be seen over QMP: `info network` shows a tap that was passed as an fd without it (net/tap.c), and x-query-virtio-status aborts QEMU 11.1 on a
 * device without vhost (qapi-visit-core.c: visit_start_struct). The kernel's back end shows in QEMU's open files: one /dev/vhost-net per queue.
 */
static enum vhost_use
process_vhost(const char *pid)
{
	g_autofree char *fds = g_strdup_printf("/proc/%s/fd", pid);
	g_autoptr(GDir) dir = g_dir_open(fds, 0, NULL);

	if (!dir)
		return VHOST_UNKNOWN;
	for (const char *name; (name = g_dir_read_name(dir));) {
		g_autofree char *path = g_build_filename(fds, name, NULL), *target = g_file_read_link(path, NULL);

		if (g_strcmp0(target, "/dev/vhost-net") == 0)
			return VHOST_YES;
	}
	return VHOST_NO;
}

static enum vhost_use
find_vhost(const char *uuid)
{
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);

	for (const char *pid; dir && (pid = g_dir_read_name(dir));) {
		g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", pid), *cmdline = NULL;
		gsize length;

		if (g_ascii_isdigit(*pid) && g_file_get_contents(path, &cmdline, &length, NULL) && qemu_facts_is_process(cmdline, length, uuid))
			return process_vhost(pid);
	}
	return VHOST_UNKNOWN;
}

static bool
collect_nics(virDomainPtr dom, const struct domain_facts *domain, struct qemu_facts *q, GError **error)
{
	g_autoptr(json_object_ptr) objects = libvirt_qmp(dom, "qom-list", json_put_str(json_object_new_object(), "path", "/objects"), error);
	enum vhost_use vhost;

	if (!objects)
		return false;
	vhost = find_vhost(domain->uuid);
	for (guint i = 0; i < domain->nics->len; i++) {
		struct qemu_nic *nic = g_new0(struct qemu_nic, 1);
		g_autofree char *rewriter = g_strdup_printf("ftd-rew%u", i);

		nic->has_rewriter = qemu_facts_has_child(objects, rewriter);
		nic->vhost = vhost;
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
	    !collect_one(dom, "query-commands", qemu_facts_read_commands, q, error) || !collect_filters(dom, q, error) ||
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

/* One line per reply, in the order of `script` below; the greeting and events come in between. */
static void
read_replies(char *const *lines, struct qemu_facts *q)
{
	static const reader readers[] = { NULL, qemu_facts_read_version, qemu_facts_read_capabilities, qemu_facts_read_commands, qemu_facts_read_filters };
	guint at = 0;

	for (; *lines && at < G_N_ELEMENTS(readers); lines++) {
		g_autoptr(json_object_ptr) reply = json_parse(*lines, strlen(*lines), NULL);

		if (!json_get(reply, "return") && !json_get(reply, "error"))
			continue;
		if (readers[at])
			readers[at](q, reply, NULL);
		at++;
	}
}

struct json_object *
emulator_probe(const char *emulator, GError **error)
{
	static const char script[] = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-version\"}\n{\"execute\":\"query-migrate-capabilities\"}\n"
				     "{\"execute\":\"query-commands\"}\n{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"netfilter\"}}\n{\"execute\":\"quit\"}\n";
	const char *const argv[] = { emulator, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=tcg:kvm", "-qmp", "stdio", NULL };
	g_autofree char *output = converse(argv, script, error);
	g_auto(GStrv) lines = g_strsplit(output ? output : "", "\n", -1);
	g_autoptr(qemu_facts) q = qemu_facts_new();

	if (!output)
		return NULL;
	read_replies(lines, q);
	if (!*q->version) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_QMP, "%s gave no answer within %d s", emulator, EMULATOR_TIMEOUT_S);
		return NULL;
	}
	return json_put_str(json_put_bool(json_put_str(json_object_new_object(), "version", q->version), "has_colo", q->has_colo), "missing", q->missing);
}
