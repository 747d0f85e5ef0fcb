/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a confined guard cannot do, and what it must still be able to do: each attempt in a process that is confined like a guard. */
#include "daemon/isolation.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ALLOWED_PORT 1
#define NEVER 200	/* the exit status of a process that could not be confined */

static char *own, *foreign;	/* directories */
static int landlock;

static void
confine(void)
{
	const char *const changed[] = { own, NULL }, *const read_only[] = { NULL };
	const guint16 ports[] = { ALLOWED_PORT, 0 };
	const struct isolation_paths paths = { .changed = changed, .read = read_only, .connect_ports = ports, .listens = true };
	g_autoptr(GError) error = NULL;

	isolate_process();
	if (isolate_privileges(&error) && isolate_files(&paths, &landlock, &error) && isolate_syscalls(&error))
		return;
	fprintf(stderr, "%s\n", error->message);
	_exit(NEVER);
}

/* An attempt returns 0, or errno. */
typedef int (*attempt)(void);

/* Its answer, or minus the signal that ended it. */
static int
try(attempt a)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		confine();
		_exit(a());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int
open_it(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	return fd < 0 ? errno : 0;
}

static int
open_in(const char *dir, const char *name, int flags)
{
	g_autofree char *path = g_build_filename(dir, name, NULL);

	return open_it(path, flags);
}

/* -- files */

static int read_shadow(void) { return open_it("/etc/shadow", O_RDONLY); }
static int write_passwd(void) { return open_it("/etc/passwd", O_WRONLY); }
static int list_root(void) { return open_it("/root", O_RDONLY | O_DIRECTORY); }
static int create_foreign(void) { return open_in(foreign, "new", O_WRONLY | O_CREAT); }
static int read_foreign(void) { return open_in(foreign, "there", O_RDONLY); }
static int open_memory(void) { return open_it("/proc/1/mem", O_RDWR); }
static int open_device(void) { return open_it("/dev/zero", O_RDWR); }
static int create_own(void) { return open_in(own, "new", O_WRONLY | O_CREAT); }

static int
remove_foreign(void)
{
	g_autofree char *path = g_build_filename(foreign, "there", NULL);

	return unlink(path) < 0 ? errno : 0;
}

static int
move_in(void)
{
	g_autofree char *from = g_build_filename(foreign, "there", NULL), *to = g_build_filename(own, "taken", NULL);

	return rename(from, to) < 0 ? errno : 0;
}

/* Durable state: write beside, rename. The arbiter: link. */
static int
replace_own(void)
{
	g_autofree char *from = g_build_filename(own, "a.new", NULL), *to = g_build_filename(own, "a", NULL), *second = g_build_filename(own, "b", NULL);
	int fd = open(from, O_WRONLY | O_CREAT, 0600);

	return fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0 || link(from, second) < 0 || rename(from, to) < 0 || unlink(second) < 0 ? errno : 0;
}

static int
socket_in_own(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	g_snprintf(a.sun_path, sizeof a.sun_path, "%s/s", own);
	return fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0 ? errno : 0;
}

/* -- processes */

static int
run_program(void)
{
	execl("/bin/true", "true", NULL);
	return errno;
}

static int
fork_it(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

static int trace(void) { return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) < 0 ? errno : 0; }
static int signal_parent(void) { return kill(getppid(), SIGCONT) < 0 ? errno : 0; }
static int mount_it(void) { return mount("none", own, "tmpfs", 0, NULL) < 0 ? errno : 0; }
static int leave(void) { return unshare(CLONE_NEWUSER) < 0 ? errno : 0; }
static int make_setuid(void) { return chmod(own, 04755) < 0 ? errno : 0; }
static int become_other(void) { return setuid(1) < 0 ? errno : 0; }

static int
read_parent(void)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { own, 1 };

	return process_vm_readv(getppid(), &local, 1, &remote, 1, 0) < 0 ? errno : 0;
}

static gpointer
answer(gpointer data)
{
	return data;
}

static int
make_thread(void)
{
	GThread *t = g_thread_try_new("t", answer, own, NULL);

	return t && g_thread_join(t) == own ? 0 : EAGAIN;
}

#ifdef __X32_SYSCALL_BIT
static gpointer
call_as_x32(gpointer data)
{
	syscall(__X32_SYSCALL_BIT | SYS_getpid);
	return NULL;
}

/* In a thread: it is the process that must end. */
static int
call_other_architecture(void)
{
	GThread *t = g_thread_try_new("t", call_as_x32, NULL, NULL);

	if (t)
		g_thread_join(t);
	return t ? 0 : EAGAIN;
}
#endif

static int
end_by_assertion(void)
{
	abort();
}

/* -- memory */

static int
code_page(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int
page_to_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return 0;
	return mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

/* -- network */

static int
tcp(bool listens, guint16 port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return errno;
	return (listens ? bind : connect)(fd, (struct sockaddr *)&a, sizeof a) < 0 ? errno : 0;
}

static int connect_elsewhere(void) { return tcp(false, ALLOWED_PORT + 1); }
static int connect_allowed(void) { return tcp(false, ALLOWED_PORT); }
static int listen_fixed(void) { return tcp(true, 4711); }
static int listen_any(void) { return tcp(true, 0); }
static int sniff(void) { return socket(AF_PACKET, SOCK_RAW, 0) < 0 ? errno : 0; }

static int
resolve(void)
{
	struct addrinfo *list = NULL;
	int code = getaddrinfo("localhost", "7768", NULL, &list);

	return code || !list ? EIO : getpwuid(0) ? 0 : ENOENT;
}

/* -- tests */

enum needs { NOTHING, FILES, PORTS };

static const struct { const char *name; attempt attempt; int expected; enum needs needs; } cases[] = {
	{ "read /etc/shadow", read_shadow, EACCES, FILES },
	{ "write /etc/passwd", write_passwd, EACCES, FILES },
	{ "list /root", list_root, EACCES, FILES },
	{ "create a file elsewhere", create_foreign, EACCES, FILES },
	{ "read a file elsewhere", read_foreign, EACCES, FILES },
	{ "remove a file elsewhere", remove_foreign, EACCES, FILES },
	{ "move a file in", move_in, EACCES, FILES },
	{ "open another process's memory", open_memory, EACCES, FILES },
	{ "open a device", open_device, EACCES, FILES },
	{ "create a file in its directory", create_own, 0, NOTHING },
	{ "replace a file in its directory", replace_own, 0, NOTHING },
	{ "make a socket in its directory", socket_in_own, 0, NOTHING },
	{ "run a program", run_program, -SIGSYS, NOTHING },
	{ "fork", fork_it, -SIGSYS, NOTHING },
	{ "trace a process", trace, -SIGSYS, NOTHING },
	{ "read a process's memory", read_parent, -SIGSYS, NOTHING },
	{ "send a signal", signal_parent, -SIGSYS, NOTHING },
	{ "mount", mount_it, -SIGSYS, NOTHING },
	{ "enter a user namespace", leave, -SIGSYS, NOTHING },
	{ "change a mode", make_setuid, -SIGSYS, NOTHING },
	{ "become another user", become_other, -SIGSYS, NOTHING },
	{ "make a thread", make_thread, 0, NOTHING },
#ifdef __X32_SYSCALL_BIT
	{ "call as another architecture", call_other_architecture, -SIGSYS, NOTHING },
#endif
	{ "end by an assertion", end_by_assertion, -SIGABRT, NOTHING },
	{ "map writable code", code_page, ENOSYS, NOTHING },
	{ "turn data into code", page_to_code, ENOSYS, NOTHING },
	{ "connect elsewhere", connect_elsewhere, EACCES, PORTS },
	{ "connect to the peer", connect_allowed, ECONNREFUSED, NOTHING },
	{ "listen on a port of its choice", listen_fixed, EACCES, PORTS },
	{ "listen on a port of the kernel's choice", listen_any, 0, NOTHING },
	{ "read the wire", sniff, ENOSYS, NOTHING },
	{ "look up names", resolve, 0, NOTHING },
};

static bool
testable(enum needs needs)
{
	int level = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

	return needs == NOTHING || level >= (needs == PORTS ? 4 : 1);
}

static void
test_attempts(void **state)
{
	int wrong = 0;

	for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
		int result;

		if (!testable(cases[i].needs)) {
			print_message("not tested, this kernel's Landlock does not have it: %s\n", cases[i].name);
			continue;
		}
		result = try(cases[i].attempt);
		if (result == cases[i].expected)
			continue;
		print_message("%s: %d (%s), expected %d\n", cases[i].name, result, g_strerror(abs(result)), cases[i].expected);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* Without confinement the same attempts work: it is not something else that forbids them. */
static void
test_unconfined(void **state)
{
	assert_int_equal(read_foreign(), 0);
	assert_int_equal(page_to_code(), 0);
	assert_int_equal(connect_elsewhere(), ECONNREFUSED);
	assert_int_equal(fork_it(), 0);
	if (geteuid() == 0)
		assert_int_equal(read_shadow(), 0);
	else
		print_message("not root: /etc/shadow is forbidden anyway\n");
}

/* 0: as it should be; else the number of the line. */
static int
look_at_status(void)
{
	g_autofree char *text = NULL;

	if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL))
		return __LINE__;
	if (!strstr(text, "\nNoNewPrivs:\t1\n"))
		return __LINE__;
	if (!strstr(text, "\nSeccomp:\t2\n"))
		return __LINE__;
	if (geteuid() != 0)
		return 0;
	/* 1 << CAP_DAC_OVERRIDE */
	if (!strstr(text, "\nCapEff:\t0000000000000002\n") || !strstr(text, "\nCapPrm:\t0000000000000002\n") || !strstr(text, "\nCapBnd:\t0000000000000002\n"))
		return __LINE__;
	return strstr(text, "\nCapInh:\t0000000000000000\n") && strstr(text, "\nCapAmb:\t0000000000000000\n") ? 0 : __LINE__;
}

static void
test_privileges(void **state)
{
	assert_int_equal(try(look_at_status), 0);
}

/* A call that is on no list is told by name, once. */
static int
refused_is_told(void)
{
	static const char expected[] = "ftd-guard: confined: the system call acct was refused; it is not on isolation.c's list\n";
	char text[2 * sizeof expected] = "";
	int fds[2];

	if (pipe2(fds, O_NONBLOCK) < 0 || dup2(fds[1], STDERR_FILENO) < 0)
		return __LINE__;
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_acct, "/nowhere") == 0 || errno != ENOSYS)
			return __LINE__;
	if (read(fds[0], text, sizeof text - 1) != sizeof expected - 1)
		return __LINE__;
	return strcmp(text, expected) == 0 ? 0 : __LINE__;
}

static void
test_refused(void **state)
{
	assert_int_equal(try(refused_is_told), 0);
}

/* -- the filter of each architecture, run by hand: what the kernel would answer where this machine is another one */

static GArray *
program_of(uint32_t architecture)
{
	GArray *program = g_array_new(FALSE, FALSE, sizeof(struct sock_filter));
	int fd = memfd_create("filter", MFD_CLOEXEC);
	struct sock_filter line;
	void *filter;

	assert_int_equal(isolation_filter(architecture, &filter), 0);
	assert_int_equal(seccomp_export_bpf(filter, fd), 0);
	seccomp_release(filter);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	while (read(fd, &line, sizeof line) == sizeof line)
		g_array_append_val(program, line);
	close(fd);
	assert_true(program->len > 0);
	return program;
}

/* Those instructions of classic BPF that libseccomp makes (linux/filter.h, Documentation/networking/filter.rst). */
static uint32_t
run(const GArray *program, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (guint pc = 0; pc < program->len; pc++) {
		const struct sock_filter *i = &g_array_index(program, struct sock_filter, pc);

		if (i->code == (BPF_LD | BPF_W | BPF_ABS))
			memcpy(&a, (const char *)data + i->k, sizeof a);
		else if (i->code == (BPF_ALU | BPF_AND | BPF_K))
			a &= i->k;
		else if (i->code == (BPF_JMP | BPF_JA))
			pc += i->k;
		else if (i->code == (BPF_JMP | BPF_JEQ | BPF_K))
			pc += a == i->k ? i->jt : i->jf;
		else if (i->code == (BPF_JMP | BPF_JGT | BPF_K))
			pc += a > i->k ? i->jt : i->jf;
		else if (i->code == (BPF_JMP | BPF_JGE | BPF_K))
			pc += a >= i->k ? i->jt : i->jf;
		else if (i->code == (BPF_RET | BPF_K))
			return i->k;
		else
			fail_msg("instruction %#x is not known", i->code);
	}
	fail_msg("the program has no end");
	return 0;
}

#define ENOSYS_ALONE (SECCOMP_RET_ERRNO | ENOSYS)

/* What holds on each: among it the calls that aarch64's C library makes for open(), fork(), chmod() and others that do not exist there. */
static const struct verdict { const char *call; uint64_t args[3]; uint32_t expected; } verdicts[] = {
	{ "read", { 0 }, SECCOMP_RET_ALLOW },
	{ "openat", { 0 }, SECCOMP_RET_ALLOW },
	{ "newfstatat", { 0 }, SECCOMP_RET_ALLOW },
	{ "readlinkat", { 0 }, SECCOMP_RET_ALLOW },
	{ "faccessat", { 0 }, SECCOMP_RET_ALLOW },
	{ "mkdirat", { 0 }, SECCOMP_RET_ALLOW },
	{ "linkat", { 0 }, SECCOMP_RET_ALLOW },
	{ "unlinkat", { 0 }, SECCOMP_RET_ALLOW },
	{ "renameat", { 0 }, SECCOMP_RET_ALLOW },
	{ "dup3", { 0 }, SECCOMP_RET_ALLOW },
	{ "pipe2", { 0 }, SECCOMP_RET_ALLOW },
	{ "ppoll", { 0 }, SECCOMP_RET_ALLOW },
	{ "pselect6", { 0 }, SECCOMP_RET_ALLOW },
	{ "epoll_pwait", { 0 }, SECCOMP_RET_ALLOW },
	{ "rt_sigreturn", { 0 }, SECCOMP_RET_ALLOW },
	{ "exit_group", { 0 }, SECCOMP_RET_ALLOW },
	{ "acct", { 0 }, SECCOMP_RET_TRAP },
	{ "execve", { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "kill", { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "fchmodat", { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "fchownat", { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "mknodat", { 0 }, SECCOMP_RET_KILL_PROCESS },
	{ "clone", { CLONE_VM | CLONE_SIGHAND | CLONE_THREAD }, SECCOMP_RET_ALLOW },
	{ "clone", { SIGCHLD }, SECCOMP_RET_KILL_PROCESS },
	{ "clone", { CLONE_VM | CLONE_VFORK | SIGCHLD }, SECCOMP_RET_KILL_PROCESS },
	{ "clone3", { 0 }, ENOSYS_ALONE },
	{ "mmap", { 0, 4096, PROT_READ | PROT_WRITE }, SECCOMP_RET_ALLOW },
	{ "mmap", { 0, 4096, PROT_READ | PROT_EXEC }, SECCOMP_RET_ALLOW },
	{ "mmap", { 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC }, SECCOMP_RET_TRAP },
	{ "mprotect", { 0, 4096, PROT_READ }, SECCOMP_RET_ALLOW },
	{ "mprotect", { 0, 4096, PROT_READ | PROT_EXEC }, SECCOMP_RET_TRAP },
	{ "socket", { AF_INET6 }, SECCOMP_RET_ALLOW },
	{ "socket", { AF_PACKET }, SECCOMP_RET_TRAP },
	{ "ioctl", { 0, FIONREAD }, SECCOMP_RET_ALLOW },
	{ "ioctl", { 0, TIOCSTI }, SECCOMP_RET_TRAP },
	{ "sched_setscheduler", { 0, SCHED_OTHER }, SECCOMP_RET_ALLOW },
	{ "sched_setscheduler", { 0, SCHED_RR }, SECCOMP_RET_TRAP },
	{ "sched_setscheduler", { 1, SCHED_OTHER }, SECCOMP_RET_TRAP },
};

static guint
judge(const GArray *program, uint32_t architecture, uint32_t audit)
{
	guint wrong = 0;

	for (guint i = 0; i < G_N_ELEMENTS(verdicts); i++) {
		const struct verdict *v = &verdicts[i];
		struct seccomp_data data = { .arch = audit, .nr = seccomp_syscall_resolve_name_arch(architecture, v->call) };
		uint32_t action;

		assert_true(data.nr >= 0);
		for (guint n = 0; n < G_N_ELEMENTS(v->args); n++)
			data.args[n] = v->args[n];
		action = run(program, &data);
		if (action == v->expected)
			continue;
		print_message("%#x: %s, case %u: %#x, expected %#x\n", audit, v->call, i, action, v->expected);
		wrong++;
	}
	return wrong;
}

static void
test_filters(void **state)
{
	static const struct { uint32_t architecture, audit, second; } all[] = {
		{ SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 }, { SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM },
	};

	for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
		g_autoptr(GArray) program = program_of(all[i].architecture);
		struct seccomp_data second = { .arch = all[i].second, .nr = 3 };	/* read() of i386 and of ARM */

		assert_int_equal(judge(program, all[i].architecture, all[i].audit), 0);
		assert_int_equal(run(program, &second), SECCOMP_RET_KILL_PROCESS);
	}
}

static int
set_up(void **state)
{
	g_autofree char *file = NULL;

	own = g_dir_make_tmp("ftd-isolation-XXXXXX", NULL);
	foreign = g_dir_make_tmp("ftd-isolation-XXXXXX", NULL);
	file = g_build_filename(foreign, "there", NULL);
	return own && foreign && g_file_set_contents(file, "x", 1, NULL) ? 0 : -1;
}

static void
empty(const char *dir)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(dir);
}

static int
tear_down(void **state)
{
	empty(own);
	empty(foreign);
	g_free(own);
	g_free(foreign);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unconfined),
		cmocka_unit_test(test_privileges),
		cmocka_unit_test(test_attempts),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_filters),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
