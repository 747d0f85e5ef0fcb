/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/guard-process-io.h"

#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-scope-io.h"
#include "daemon/varlink-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_TIMEOUT_MS 5000
#define POLL_US 20000
#define KILL_PATIENCE_MS 3000

static bool
system_error(const char *what, GError **error)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s: %s", what, g_strerror(errno));
	return false;
}

static void
remove_dir(const char *dir)
{
	g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);

	for (const char *name; entries && (name = g_dir_read_name(entries));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);

		g_unlink(path);
	}
	g_rmdir(dir);
}

void
guard_remove_dir(const struct host *h, const char *uuid)
{
	g_autofree char *dir = host_pair_dir(h, uuid), *of_qemu = host_pair_file(h, uuid, PAIR_QEMU_DIR);

	remove_dir(of_qemu);
	remove_dir(dir);
}

bool
guard_prepare_dir(const struct host *h, const char *uuid, const struct qemu_user *user, GError **error)
{
	g_autofree char *dir = host_pair_dir(h, uuid), *of_qemu = host_pair_file(h, uuid, PAIR_QEMU_DIR);

	guard_remove_dir(h, uuid);
	if (g_mkdir(dir, 0711) < 0 || chmod(dir, 0711) < 0)
		return system_error(dir, error);
	return (g_mkdir(of_qemu, 0700) == 0 && chown(of_qemu, user->uid, user->gid) == 0) || system_error(of_qemu, error);
}

/* Beside ftd in a build directory, in libexec when both are installed. */
static char *
guard_program(const struct host *h)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *dir = g_path_get_dirname(self ? self : "/");
	g_autofree char *beside = g_build_filename(dir, "ftd-guard", NULL);

	if (h->config->guard_path)
		return g_strdup(h->config->guard_path);
	return g_strdup(self && access(beside, X_OK) == 0 ? beside : FTD_LIBEXECDIR "/ftd-guard");
}

/* The grandchild: only async-signal-safe calls, since other threads may have held any lock at fork(). */
static G_NORETURN void
become_guard(const char *program, char *const argv[], int log_fd, int null_fd)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(null_fd, 0);
	dup2(log_fd, 1);
	dup2(log_fd, 2);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);	/* the report pipe too: its end tells the daemon that execv() is done */
	execv(program, argv);
	_exit(127);
}

/* Forks twice, so that the guard is nobody's child, in a session of its own. *pid: the guard's. */
static bool
spawn_detached(const char *program, char *const argv[], int log_fd, int null_fd, pid_t *pid, GError **error)
{
	int report[2];
	pid_t child;
	char ended;
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return system_error("pipe", error);
	child = fork();
	if (child == 0) {
		pid_t guard;

		setsid();
		guard = fork();
		if (guard == 0)
			become_guard(program, argv, log_fd, null_fd);
		_exit(guard > 0 && write(report[1], &guard, sizeof(guard)) == sizeof(guard) ? 0 : 1);
	}
	close(report[1]);
	n = child > 0 ? TEMP_FAILURE_RETRY(read(report[0], pid, sizeof(*pid))) : -1;
	while (n > 0 && TEMP_FAILURE_RETRY(read(report[0], &ended, sizeof(ended))) > 0)
		;
	close(report[0]);
	if (child > 0)
		TEMP_FAILURE_RETRY(waitpid(child, NULL, 0));
	return n == sizeof(*pid) || system_error("fork", error);
}

/* Its log and pid, in the pair's directory. */
static bool
spawn_guard(const struct host *h, const char *uuid, pid_t *pid, GError **error)
{
	g_autofree char *program = guard_program(h), *config = host_pair_file(h, uuid, "guard.json");
	g_autofree char *log = host_pair_file(h, uuid, "guard.log"), *pid_file = host_pair_file(h, uuid, "guard.pid");
	char *argv[] = { program, (char *)"--config", config, NULL };
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	g_autofree char *text = NULL;
	bool ok = access(program, X_OK) == 0 && log_fd >= 0 && null_fd >= 0;

	if (!ok)
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "%s: %s", access(program, X_OK) == 0 ? log : program, g_strerror(errno));
	else
		ok = spawn_detached(program, argv, log_fd, null_fd, pid, error);
	if (log_fd >= 0)
		close(log_fd);
	if (null_fd >= 0)
		close(null_fd);
	text = g_strdup_printf("%d\n", *pid);
	return ok && g_file_set_contents_full(pid_file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

/* The pid in guard.pid, whoever has it now; 0: there is none. */
static pid_t
recorded_pid(const struct host *h, const char *uuid)
{
	g_autofree char *pid_file = host_pair_file(h, uuid, "guard.pid"), *text = NULL;
	guint64 pid;

	if (!g_file_get_contents(pid_file, &text, NULL, NULL) || !g_ascii_string_to_unsigned(g_strchomp(text), 10, 2, G_MAXINT, &pid, NULL))
		return 0;
	return (pid_t)pid;
}

/* That pid if it is still the guard: its command line names this pair's guard.json. */
static pid_t
guard_pid(const struct host *h, const char *uuid)
{
	pid_t pid = recorded_pid(h, uuid);
	g_autofree char *config = host_pair_file(h, uuid, "guard.json"), *proc = g_strdup_printf("/proc/%d/cmdline", pid), *command = NULL;
	gsize length = 0;

	if (!pid || !g_file_get_contents(proc, &command, &length, NULL))
		return 0;
	return memmem(command, length, config, strlen(config)) ? pid : 0;
}

bool
guard_is_running(const struct host *h, const char *uuid)
{
	return guard_pid(h, uuid) != 0;
}

bool
guard_kill(const struct host *h, const char *uuid)
{
	pid_t pid = guard_pid(h, uuid);
	int fd = pid ? pidfd_open(pid, 0) : -1;
	/* Looked at again with the descriptor in hand: from here on the number cannot be another process's. */
	bool ok = fd >= 0 && guard_pid(h, uuid) == pid && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
await_exit(const struct host *h, const char *uuid, unsigned patience_ms)
{
	for (gint64 end = g_get_monotonic_time() + patience_ms * (gint64)1000; guard_is_running(h, uuid); g_usleep(POLL_US))
		if (g_get_monotonic_time() > end)
			return false;
	return true;
}

void
guard_await_end(const struct host *h, const char *uuid, unsigned patience_ms)
{
	if (await_exit(h, uuid, patience_ms))
		return;
	guard_kill(h, uuid);
	await_exit(h, uuid, KILL_PATIENCE_MS);
}

/* The last line of guard.log: what a guard that did not come up said. */
static char *
last_words(const struct host *h, const char *uuid)
{
	g_autofree char *log = host_pair_file(h, uuid, "guard.log"), *text = NULL;
	char *line;

	if (!g_file_get_contents(log, &text, NULL, NULL) || !*g_strchomp(text))
		return g_strdup("it said nothing");
	line = strrchr(text, '\n');
	return g_utf8_make_valid(line ? line + 1 : text, -1);
}

/* bind() makes the file, listen() comes after it. */
static bool
accepts_connections(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	ok = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
await_socket(const struct host *h, const char *uuid, GError **error)
{
	g_autofree char *socket_path = host_pair_file(h, uuid, "guard.sock");

	for (gint64 end = g_get_monotonic_time() + SOCKET_TIMEOUT_MS * (gint64)1000; g_get_monotonic_time() < end; g_usleep(POLL_US)) {
		if (accepts_connections(socket_path))
			return true;
		/* By its pid, not its command line: execve() closes our report pipe a moment before /proc shows the new one. */
		if (kill(recorded_pid(h, uuid), 0) < 0)
			break;
	}
	g_autofree char *words = last_words(h, uuid);

	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "the guard did not come up: %s", words);
	return false;
}

bool
guard_start(const struct host *h, const struct guard_config *config, GError **error)
{
	g_autofree char *path = host_pair_file(h, config->pair, "guard.json"), *text = guard_config_encode(config);
	g_autoptr(GError) no_scope = NULL;
	pid_t pid = 0;

	if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error) || !spawn_guard(h, config->pair, &pid, error))
		return false;
	if (!guard_scope_enter(pid, config->pair, config->domain, &no_scope))
		log_warn("guard", "%s; the guard of %s stays in ftd's own unit", no_scope->message, config->domain);
	return await_socket(h, config->pair, error);
}

/* For whoever asked, "no daemon" would be ftd itself. */
static void
explain_cut(const struct host *h, const char *uuid, GError **error)
{
	g_autofree char *words = NULL;

	if (!error || !g_error_matches(*error, FTD_ERROR, FTD_ERROR_NO_DAEMON))
		return;
	words = last_words(h, uuid);
	g_clear_error(error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "the guard on %s is gone without an answer; the last line of its log: %s", h->name, words);
}

struct json_object *
guard_call(const struct host *h, const char *uuid, const char *method, bool more, bool (*progress)(struct json_object *parameters, gpointer user_data),
	   gpointer user_data, int timeout_ms, GError **error)
{
	g_autofree char *socket = host_pair_file(h, uuid, "guard.sock"), *full = g_strconcat(GUARD_INTERFACE ".", method, NULL);
	struct json_object *reply = varlink_call_sync(socket, full, NULL, more, progress, user_data, timeout_ms, error);

	if (!reply)
		explain_cut(h, uuid, error);
	return reply;
}
