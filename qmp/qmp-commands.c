/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp/qmp-commands.h"

#include <glib.h>

#define MAX_BANDWIDTH (G_GINT64_CONSTANT(10) << 30)	/* bytes/s: 80 Gbit/s; the guard paces the stream, not QEMU */
#define CHECKPOINT_DELAY_MS 1				/* QEMU asks for the next checkpoint at once; the guard holds the answer */

struct json_object *
qmp_command(const char *name, struct json_object *arguments)
{
	struct json_object *command = json_object_new_object();

	json_object_object_add(command, "execute", json_object_new_string(name));
	if (arguments)
		json_object_object_add(command, "arguments", arguments);
	return command;
}

/* Most commands take one string. */
static struct json_object *
command_str(const char *name, const char *key, const char *value)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, key, json_object_new_string(value));
	return qmp_command(name, arguments);
}

struct json_object *
qmp_getfd(const char *fdname)
{
	return command_str("getfd", "fdname", fdname);
}

struct json_object *
qmp_closefd(const char *fdname)
{
	return command_str("closefd", "fdname", fdname);
}

static struct json_object *
wrap(const char *key, struct json_object *value)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, key, value);
	return object;
}

/* ChardevBackend and SocketAddressLegacy: every union has its own "type" + "data" (qapi/char.json). */
struct json_object *
qmp_chardev_add_fd(const char *id, const char *fdname)
{
	struct json_object *addr = json_object_new_object(), *socket = json_object_new_object();
	struct json_object *backend = json_object_new_object(), *arguments = json_object_new_object();

	json_object_object_add(addr, "type", json_object_new_string("fd"));
	json_object_object_add(addr, "data", wrap("str", json_object_new_string(fdname)));
	json_object_object_add(socket, "addr", addr);
	json_object_object_add(socket, "server", json_object_new_boolean(false));
	json_object_object_add(backend, "type", json_object_new_string("socket"));
	json_object_object_add(backend, "data", socket);
	json_object_object_add(arguments, "id", json_object_new_string(id));
	json_object_object_add(arguments, "backend", backend);
	return qmp_command("chardev-add", arguments);
}

struct json_object *
qmp_chardev_remove(const char *id)
{
	return command_str("chardev-remove", "id", id);
}

struct json_object *
qmp_object_del(const char *id)
{
	return command_str("object-del", "id", id);
}

struct json_object *
qmp_lost_heartbeat(void)
{
	return qmp_command("x-colo-lost-heartbeat", NULL);
}

/* migration/colo.c, qmp_xen_set_replication(): nothing in it is of Xen. */
struct json_object *
qmp_replication_failover(void)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "enable", json_object_new_boolean(false));
	json_object_object_add(arguments, "primary", json_object_new_boolean(false));
	json_object_object_add(arguments, "failover", json_object_new_boolean(true));
	return qmp_command("xen-set-replication", arguments);
}

struct json_object *
qmp_stop(void)
{
	return qmp_command("stop", NULL);
}

struct json_object *
qmp_cont(void)
{
	return qmp_command("cont", NULL);
}

struct json_object *
qmp_quit(void)
{
	return qmp_command("quit", NULL);
}

struct json_object *
qmp_hmp(const char *line)
{
	return command_str("human-monitor-command", "command-line", line);
}

struct json_object *
qmp_query(const char *what)
{
	return qmp_command(what, NULL);
}

static struct json_object *
qom_arguments(const char *path, const char *property)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "path", json_object_new_string(path));
	json_object_object_add(arguments, "property", json_object_new_string(property));
	return arguments;
}

struct json_object *
qmp_qom_list(const char *path)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "path", json_object_new_string(path));
	return qmp_command("qom-list", arguments);
}

struct json_object *
qmp_qom_get(const char *path, const char *property)
{
	return qmp_command("qom-get", qom_arguments(path, property));
}

struct json_object *
qmp_qom_set_str(const char *path, const char *property, const char *value)
{
	struct json_object *arguments = qom_arguments(path, property);

	json_object_object_add(arguments, "value", json_object_new_string(value));
	return qmp_command("qom-set", arguments);
}

struct json_object *
qmp_blockdev_del(const char *node)
{
	return command_str("blockdev-del", "node-name", node);
}

/* job-cancel always forces (job-qmp.c, qmp_job_cancel); block-job-cancel, which can, is deprecated. */
struct json_object *
qmp_job_cancel_force(const char *job_id)
{
	return command_str("job-cancel", "id", job_id);
}

struct json_object *
qmp_job_dismiss(const char *job_id)
{
	return command_str("job-dismiss", "id", job_id);
}

static void
add_int(struct json_object *object, const char *key, gint64 value)
{
	json_object_object_add(object, key, json_object_new_int64(value));
}

struct json_object *
qmp_announce_self(void)
{
	struct json_object *arguments = json_object_new_object();

	add_int(arguments, "initial", 10);
	add_int(arguments, "max", 500);
	add_int(arguments, "rounds", 5);
	add_int(arguments, "step", 50);
	return qmp_command("announce-self", arguments);
}

static struct json_object *
capability(const char *name, bool state)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "capability", json_object_new_string(name));
	json_object_object_add(object, "state", json_object_new_boolean(state));
	return object;
}

struct json_object *
qmp_set_capabilities(bool x_colo, bool return_path)
{
	struct json_object *list = json_object_new_array();

	json_object_array_add(list, capability("return-path", return_path));
	json_object_array_add(list, capability("x-colo", x_colo));
	return qmp_command("migrate-set-capabilities", wrap("capabilities", list));
}

/* To what it is; what counts is that it is set (migration/options.c, migrate_params_apply(): colo_checkpoint_delay_set()). */
struct json_object *
qmp_renew_checkpoint_timer(void)
{
	struct json_object *arguments = json_object_new_object();

	add_int(arguments, "x-checkpoint-delay", CHECKPOINT_DELAY_MS);
	return qmp_command("migrate-set-parameters", arguments);
}

struct json_object *
qmp_set_migration_parameters(void)
{
	struct json_object *arguments = json_object_new_object();

	add_int(arguments, "x-checkpoint-delay", CHECKPOINT_DELAY_MS);
	add_int(arguments, "max-bandwidth", MAX_BANDWIDTH);
	add_int(arguments, "downtime-limit", QMP_DOWNTIME_MS);
	return qmp_command("migrate-set-parameters", arguments);
}

struct json_object *
qmp_set_downtime_limit(unsigned ms)
{
	struct json_object *arguments = json_object_new_object();

	add_int(arguments, "downtime-limit", ms);
	return qmp_command("migrate-set-parameters", arguments);
}

static struct json_object *
migrate_uri(const char *command, const char *fdname)
{
	g_autofree char *uri = g_strconcat("fd:", fdname, NULL);

	return command_str(command, "uri", uri);
}

struct json_object *
qmp_set_announce_after_load(bool soon)
{
	struct json_object *arguments = json_object_new_object();

	/* QEMU's own values, and the largest it takes (migration/options.c) */
	add_int(arguments, "announce-initial", soon ? 50 : 100000);
	add_int(arguments, "announce-max", soon ? 550 : 100000);
	add_int(arguments, "announce-rounds", soon ? 5 : 1);
	return qmp_command("migrate-set-parameters", arguments);
}

struct json_object *
qmp_restore_migration_parameters(struct json_object *old)
{
	static const char *const names[] = { "x-checkpoint-delay", "max-bandwidth", "downtime-limit" };	/* those of qmp_set_migration_parameters() */
	struct json_object *arguments = json_object_new_object(), *value;

	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
		if (json_object_object_get_ex(old, names[i], &value))
			json_object_object_add(arguments, names[i], json_object_get(value));
	return qmp_command("migrate-set-parameters", arguments);
}

struct json_object *
qmp_migrate_fd(const char *fdname)
{
	return migrate_uri("migrate", fdname);
}

struct json_object *
qmp_migrate_incoming_fd(const char *fdname)
{
	return migrate_uri("migrate-incoming", fdname);
}
