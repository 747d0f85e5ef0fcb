/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host-facts-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/json-util.h"
#include "daemon/libvirt-io.h"
#include "daemon/peer-check.h"
#include "daemon/qemu-facts-io.h"

#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define INSPECT_MAX_FILES 64

bool
path_is_plain(const char *path)
{
	g_autofree char *canonical = path && path[0] == '/' ? g_canonicalize_filename(path, "/") : NULL;

	return canonical && strcmp(canonical, path) == 0 && strlen(path) < 4000;
}

static bool
run_qemu_img(const char *const argv[], char **output, GError **error)
{
	g_autoptr(GError) local = NULL;
	g_autoptr(GSubprocess) process = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &local);
	g_autofree char *out = NULL, *err = NULL;

	if (!process || !g_subprocess_communicate_utf8(process, NULL, NULL, &out, &err, &local)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "qemu-img does not run: %s", local->message);
		return false;
	}
	if (!g_subprocess_get_successful(process)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "qemu-img %s: %s", argv[1], err ? g_strstrip(err) : "failed");
		return false;
	}
	if (output)
		*output = g_steal_pointer(&out);
	return true;
}

bool
image_size(const char *path, const char *format, guint64 *size, GError **error)
{
	g_autofree char *text = NULL;
	g_autoptr(json_object_ptr) info = NULL;

	if (!run_qemu_img((const char *const[]){ "qemu-img", "info", "-U", "--output=json", "-f", format, path, NULL }, &text, error))
		return false;
	info = json_parse(text, strlen(text), error);
	if (!info)
		return false;
	if (json_get_str(info, "backing-filename")) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_STORAGE, "%s has a backing file", path);
		return false;
	}
	*size = json_get_u64(info, "virtual-size");
	return true;
}

bool
image_create(const char *path, const char *format, guint64 size, GError **error)
{
	g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, size);

	return run_qemu_img((const char *const[]){ "qemu-img", "create", "-q", "-f", format, path, bytes, NULL }, NULL, error);
}

void
image_give(const char *path, uid_t uid, gid_t gid)
{
	if (chown(path, uid, gid) < 0)
		log_debug("image", "chown %s: %s", path, g_strerror(errno));
}

void
image_share_owner(const char *path, const char *like)
{
	struct stat st;

	if (stat(like, &st) == 0 && chown(path, st.st_uid, st.st_gid) == 0)
		chmod(path, st.st_mode & 07777);
}

bool
probe_file_make(const char *image, const char *suffix, GError **error)
{
	g_autofree char *path = g_strconcat(image, suffix, NULL);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s: %s; the directory of an image must be writable", path, g_strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

void
probe_file_remove(const char *image, const char *suffix)
{
	g_autofree char *path = g_strconcat(image, suffix, NULL);

	unlink(path);
}

static struct json_object *
inspect_image(struct json_object *disk, const char *probe)
{
	const char *path = json_get_str(disk, "path"), *format = json_get_str(disk, "format");
	struct json_object *answer = json_object_new_object();
	g_autofree char *directory = NULL, *probed = NULL;
	g_autoptr(GError) error = NULL;
	struct statvfs fs;
	guint64 size = 0;

	if (!path_is_plain(path) || !format)
		return answer;
	directory = g_path_get_dirname(path);
	probed = g_strconcat(path, probe ? probe : ".", NULL);
	json_put_bool(answer, "directory", g_file_test(directory, G_FILE_TEST_IS_DIR));
	json_put_bool(answer, "writable", access(directory, W_OK) == 0);
	json_put_bool(answer, "shared", probe && access(probed, F_OK) == 0);
	json_put_u64(answer, "free", statvfs(directory, &fs) == 0 ? (guint64)fs.f_bavail * fs.f_frsize : 0);
	json_put_bool(answer, "exists", access(path, F_OK) == 0);
	if (!json_get_bool(answer, "exists"))
		return answer;
	if (image_size(path, format, &size, &error))
		return json_put_u64(answer, "size", size);
	return json_put_str(answer, "error", error->message);
}

guint64
host_memory_available_kib(void)
{
	g_autofree char *text = NULL;
	const char *line;

	if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
		return 0;
	line = strstr(text, "MemAvailable:");
	return line ? g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10) : 0;
}

/* Of the first CPU: what QEMU's "host" model shows a guest follows from these. */
char *
host_cpu_id(void)
{
	static const char *const keys[] = { "vendor_id", "cpu family", "model", "stepping", "flags", "CPU implementer", "CPU part", "Features" };
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_autofree char *text = NULL, *name = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; lines[i] && *lines[i]; i++) {
		const char *value = strchr(lines[i], ':');
		g_autofree char *key = value ? g_strchomp(g_strndup(lines[i], (gsize)(value - lines[i]))) : NULL;

		for (guint k = 0; key && k < G_N_ELEMENTS(keys); k++)
			if (strcmp(key, keys[k]) == 0)
				g_checksum_update(sum, (const guchar *)lines[i], -1);
		if (key && strcmp(key, "model name") == 0 && !name)
			name = g_strstrip(g_strdup(value + 1));
	}
	return g_strdup_printf("%s (%.8s)", name ? name : "a CPU", g_checksum_get_string(sum));
}

bool
host_has_hook(void)
{
	return access(LIBVIRT_HOOK, X_OK) == 0;
}

/* Would this host's KVM run a guest that was shown that CPU? */
static const char *
cpu_fit(virConnectPtr conn, const char *emulator, const char *cpu)
{
	switch (virConnectCompareHypervisorCPU(conn, emulator, NULL, NULL, "kvm", cpu, 0)) {
	case VIR_CPU_COMPARE_INCOMPATIBLE:
		return "incompatible";
	case VIR_CPU_COMPARE_IDENTICAL:
	case VIR_CPU_COMPARE_SUPERSET:
		return "fits";
	default:
		return "unknown";
	}
}

static void
inspect_domain(virConnectPtr conn, const char *name, const char *uuid, struct json_object *answer)
{
	g_autoptr(virDomain) by_uuid = virDomainLookupByUUIDString(conn, uuid);
	g_autoptr(virDomain) by_name = virDomainLookupByName(conn, name);
	char found[VIR_UUID_STRING_BUFLEN];

	json_put_str(answer, "domain", !by_uuid ? "none" : libvirt_is_running(by_uuid) ? "running" : "defined");
	json_put_bool(answer, "name_taken", by_name && virDomainGetUUIDString(by_name, found) == 0 && g_ascii_strcasecmp(found, uuid) != 0);
}

/* It is started, as root, because a peer has named it: not whatever program there is. */
static bool
is_emulator(const char *path)
{
	const char *name = path_is_plain(path) ? strrchr(path, '/') + 1 : "";

	return g_str_has_prefix(name, "qemu") || strcmp(name, "kvm") == 0;
}

static void
inspect_emulator(const char *emulator, struct json_object *answer)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(json_object_ptr) probe = is_emulator(emulator) ? emulator_probe(emulator, &error) : NULL;

	if (!probe) {
		json_put_str(answer, "emulator_error", error ? error->message : "it is not an absolute path, or called neither qemu... nor kvm");
		return;
	}
	json_put_str(answer, "qemu_version", json_get_str(probe, "version"));
	json_put_bool(answer, "has_colo", json_get_bool(probe, "has_colo"));
	json_put_bool(answer, "wants_return_path", json_get_bool(probe, "wants_return_path"));
	json_put_str(answer, "qemu_missing", json_get_str(probe, "missing"));
}

static struct json_object *
inspect_lists(struct json_object *request, struct json_object *answer)
{
	struct json_object *disks = json_get(request, "disks"), *files = json_get(request, "files");
	struct json_object *images = json_object_new_array(), *present = json_object_new_array();

	for (size_t i = 0; i < MIN(json_length(disks), INSPECT_MAX_FILES); i++)
		json_object_array_add(images, inspect_image(json_at(disks, i), json_get_str(request, "probe")));
	for (size_t i = 0; i < MIN(json_length(files), INSPECT_MAX_FILES); i++) {
		const char *path = json_object_get_string(json_at(files, i));

		json_object_array_add(present, json_object_new_boolean(path_is_plain(path) && access(path, R_OK) == 0));
	}
	return json_put_value(json_put_value(answer, "disks", images), "files", present);
}

struct json_object *
host_inspect(const char *host_name, const char *libvirt_uri, struct json_object *request, GError **error)
{
	const char *name = json_get_str(request, "name"), *uuid = json_get_str(request, "uuid");
	g_autofree char *cpu = host_cpu_id();
	g_autoptr(virConnect) conn = NULL;
	struct json_object *answer;
	unsigned long version = 0;

	if (!name || !uuid || !g_uuid_string_is_valid(uuid)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "Inspect without a domain");
		return NULL;
	}
	conn = libvirt_open(libvirt_uri, error);
	if (!conn)
		return NULL;
	answer = json_put_str(json_object_new_object(), "host", host_name);
	virConnectGetLibVersion(conn, &version);
	json_put_u64(answer, "libvirt_version", version);
	json_put_u64(answer, "memory_available_kib", host_memory_available_kib());
	json_put_bool(answer, "hook", host_has_hook());
	inspect_domain(conn, name, uuid, answer);
	inspect_emulator(json_get_str(request, "emulator"), answer);
	json_put_str(answer, "cpu", cpu);
	if (json_get_str(request, "cpu"))
		json_put_str(answer, "cpu_fit", cpu_fit(conn, json_get_str(request, "emulator"), json_get_str(request, "cpu")));
	return inspect_lists(request, answer);
}
