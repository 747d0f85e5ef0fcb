/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/isolation.h"

#include "daemon/base/error.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

static bool
failed(GError **error, const char *what, int code)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "the guard could not be confined: %s: %s", what, g_strerror(code));
	return false;
}

/* -- stage 1 -------------------------------------------------------------------------------------------------------------------- */

void
isolate_process(void)
{
	const struct rlimit none = { 0, 0 };

	close_range(3, ~0u, 0);
	umask(077);
	setrlimit(RLIMIT_CORE, &none);
	/* These two fail on no kernel that has them, and both are older than COLO. */
	g_assert(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	g_assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

/* -- stage 2 -------------------------------------------------------------------------------------------------------------------- */

bool
isolate_privileges(GError **error)
{
	int code;

	if (geteuid() != 0)	/* a test, or somebody's own build: nothing to give up */
		return true;
	capng_clear(CAPNG_SELECT_ALL);
	/* QEMU's monitor and NBD sockets belong to its user, an arbiter's directory to whom the file server says. */
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, CAP_DAC_OVERRIDE);
	code = capng_apply(CAPNG_SELECT_ALL);
	return code == 0 || failed(error, "capabilities (libcap-ng's number is the error)", -code);
}

/* -- stage 3 -------------------------------------------------------------------------------------------------------------------- */

/* linux/landlock.h as of ABI 6; the kernel takes the size, and ours may be built against older headers. */
struct ruleset {
	uint64_t files, net, scoped;
};
struct net_rule {
	uint64_t allowed, port;
};
#define RULE_NET_PORT 2
#define FILE_REFER (1ull << 13)
#define FILE_TRUNCATE (1ull << 14)
#define FILE_IOCTL_DEVICE (1ull << 15)
#define NET_BIND 1ull
#define NET_CONNECT 2ull
#define SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS 3ull

#define FILES_ABI_1 ((1ull << 13) - 1)
#define READS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITES (LANDLOCK_ACCESS_FS_WRITE_FILE | FILE_TRUNCATE)
#define CHANGES (READS | WRITES | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
		 LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define OF_A_FILE (LANDLOCK_ACCESS_FS_READ_FILE | WRITES)

/* Read by the C library (names, modules of its resolver, time zones), GnuTLS, libcurl and libvirt's client while the guard runs. A file that is replaced later is
 * another file: what must stay reachable by a new name is a directory here, or is remembered (arbiter-etcd-io.c). */
static const char *const library_files[] = {
	"/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
	"/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/passwd", "/etc/group",
	"/run/systemd/resolve", "/run/NetworkManager",
	"/etc/gnutls", "/etc/crypto-policies", "/etc/libvirt/libvirt.conf",
	"/dev/urandom", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/sys/crypto", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu", NULL,
};

static int
landlock_level(void)
{
	int level = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return MAX(level, 0);	/* ENOSYS: an old kernel; EOPNOTSUPP: switched off at boot */
}

static uint64_t
handled_files(int level)
{
	return FILES_ABI_1 | (level >= 2 ? FILE_REFER : 0) | (level >= 3 ? FILE_TRUNCATE : 0) | (level >= 5 ? FILE_IOCTL_DEVICE : 0);
}

static bool
allow_path(int ruleset, const char *path, uint64_t access, uint64_t handled, GError **error)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = open(path, O_PATH | O_CLOEXEC) };
	struct stat st;
	bool ok;

	if (rule.parent_fd < 0)
		return errno == ENOENT || errno == ENOTDIR || failed(error, path, errno);
	ok = fstat(rule.parent_fd, &st) == 0;
	rule.allowed_access = access & handled & (ok && S_ISDIR(st.st_mode) ? ~0ull : OF_A_FILE);
	ok = ok && syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
	if (!ok)
		failed(error, path, errno);
	close(rule.parent_fd);
	return ok;
}

static bool
allow_paths(int ruleset, const char *const *paths, uint64_t access, uint64_t handled, GError **error)
{
	for (; *paths; paths++)
		if (!allow_path(ruleset, *paths, access, handled, error))
			return false;
	return true;
}

static bool
allow_port(int ruleset, uint64_t access, guint16 port, GError **error)
{
	struct net_rule rule = { access, port };

	return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) == 0 || failed(error, "a port", errno);
}

static bool
fill_ruleset(int ruleset, const struct isolation_paths *p, const struct ruleset *handled, GError **error)
{
	static const char *const null_device[] = { "/dev/null", NULL };

	if (!allow_paths(ruleset, p->changed, CHANGES, handled->files, error) || !allow_paths(ruleset, p->read, READS, handled->files, error) ||
	    !allow_paths(ruleset, library_files, READS, handled->files, error) || !allow_paths(ruleset, null_device, OF_A_FILE, handled->files, error))
		return false;
	if ((handled->net & NET_BIND) && p->listens && !allow_port(ruleset, NET_BIND, 0, error))
		return false;
	for (const guint16 *port = p->connect_ports; (handled->net & NET_CONNECT) && *port; port++)
		if (!allow_port(ruleset, NET_CONNECT, *port, error))
			return false;
	return true;
}

bool
isolate_files(const struct isolation_paths *paths, int *level, GError **error)
{
	struct ruleset handled = { 0 };
	size_t size;
	int ruleset;
	bool ok;

	*level = landlock_level();
	if (*level == 0)
		return true;
	handled.files = handled_files(*level);
	handled.net = *level >= 4 ? NET_BIND | (paths->connect_ports ? NET_CONNECT : 0) : 0;
	handled.scoped = *level >= 6 ? SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS : 0;
	size = *level >= 6 ? sizeof handled : *level >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
	if (ruleset < 0)
		return failed(error, "Landlock", errno);
	ok = fill_ruleset(ruleset, paths, &handled, error);
	if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		ok = failed(error, "Landlock", errno);
	close(ruleset);
	return ok;
}

/* -- stage 4 -------------------------------------------------------------------------------------------------------------------- */

static const char *const allowed_calls[] = {
	/* bytes and descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "pipe2", "poll",
	"ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime",
	"timerfd_gettime", "signalfd4", "memfd_create", "sendfile", "splice",
	/* sockets (socket and socketpair by family, below) */
	"connect", "bind", "listen", "accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown", "sendto", "recvfrom", "sendmsg", "recvmsg",
	"sendmmsg", "recvmmsg",
	/* files: which ones is Landlock's business */
	"open", "openat", "openat2", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
	"getcwd", "getdents64", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "link", "linkat", "rename", "renameat", "renameat2", "ftruncate", "fallocate", "fsync",
	"fdatasync", "sync_file_range", "fadvise64", "flock", "umask",
	/* memory (mmap and mprotect without code to be written, below) */
	"brk", "munmap", "mremap", "madvise", "mlock", "munlock", "mincore", "membarrier", "get_mempolicy",
	/* threads (clone for threads only, below), time, signals to itself */
	"futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "arch_prctl", "sched_yield", "sched_getaffinity", "sched_setaffinity",
	"sched_getparam", "sched_getscheduler", "sched_getattr", "getcpu", "getpriority", "setpriority", "gettid", "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrusage", "getrlimit", "prlimit64", "sysinfo",
	"uname", "times", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getitimer", "setitimer", "alarm", "rt_sigaction",
	"rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend", "sigaltstack", "tgkill", "restart_syscall", "getrandom", "exit", "exit_group",
};

/* No flaw of ours makes these: the guard ends, and by that nothing leaves past it (fail closed). */
static const char *const hostile_calls[] = {
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kill", "tkill", "pidfd_open", "pidfd_getfd", "pidfd_send_signal",
	"mount", "umount2", "pivot_root", "chroot", "move_mount", "fsopen", "open_tree", "mount_setattr", "unshare", "setns", "init_module", "finit_module", "delete_module",
	"kexec_load", "kexec_file_load", "reboot", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key", "request_key", "setuid", "setgid",
	"setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown",
	"lchown", "fchownat", "open_by_handle_at", "name_to_handle_at", "personality", "swapon", "swapoff", "settimeofday", "clock_settime", "adjtimex", "sethostname",
};

static int
add_calls(scmp_filter_ctx filter, uint32_t action, const char *const *names, guint n)
{
	for (guint i = 0; i < n; i++) {
		int call = seccomp_syscall_resolve_name(names[i]);
		/* Not on this architecture, or newer than the library: it stays forbidden. */
		int code = call == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(filter, action, call, 0);

		if (code < 0)
			return code;
	}
	return 0;
}

static int
add_families(scmp_filter_ctx filter)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };	/* netlink: getaddrinfo() asks which addresses there are */
	int code = 0;

	for (guint i = 0; i < G_N_ELEMENTS(families) && code == 0; i++)
		code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, families[i]));
	return code ? code : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
}

/* Descriptors are read sizes of and made non-blocking; terminals are asked whether they are one. */
static int
add_ioctls(scmp_filter_ctx filter)
{
	static const unsigned long requests[] = { FIONREAD, FIONBIO, FIOCLEX, TIOCOUTQ, TCGETS };
	int code = 0;

	for (guint i = 0; i < G_N_ELEMENTS(requests) && code == 0; i++)
		code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, requests[i]));
	return code;
}

/* Modules of the resolver are still loaded later, so a file may be mapped as code; memory that was written never becomes code. */
static int
add_memory(scmp_filter_ctx filter)
{
	int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (code == 0)
		code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC));
	return code ? code : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* clone3() keeps its flags in memory, where no filter can look: it does not exist here, which is nothing to tell, and the C library falls back to clone(). */
static int
add_threads(scmp_filter_ctx filter)
{
	int code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	static const int options[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS };

	if (code == 0)
		code = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (code == 0)
		code = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	for (guint i = 0; i < G_N_ELEMENTS(options) && code == 0; i++)
		code = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, options[i]));
	return code;
}

/* Of the calling thread, to leave the real-time class; not of other processes, some of which are root's as well. */
static int
add_priority(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sched_setscheduler), 2, SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A1(SCMP_CMP_EQ, SCHED_OTHER));
}

#define CALLS_MAX 512		/* more than any number today */

static char *call_names[CALLS_MAX];
static unsigned char told[CALLS_MAX];

/* The kernel has put the program behind the call already; the result is a register of the place where it goes on. */
static void
set_result(ucontext_t *c, int result)
{
#if defined(__x86_64__)
	c->uc_mcontext.gregs[REG_RAX] = result;
#elif defined(__aarch64__)
	c->uc_mcontext.regs[0] = (uint64_t)(int64_t)result;
#else
#error "meson.build refuses this architecture, and says why"
#endif
}

/*
 * A call that is on no list: a library that was renewed, or a hole in our knowledge. It is told once, by name, on stderr (the pair's guard.log), and does not exist:
 * ENOSYS and not EPERM, because libraries fall back to an older call when a newer one does not exist. Only what is safe in a signal handler.
 */
static void
on_refused(int number, siginfo_t *info, void *context)
{
	unsigned call = (unsigned)info->si_syscall;
	const char *name = call < CALLS_MAX && call_names[call] ? call_names[call] : "?";
	static const char before[] = "ftd-guard: confined: the system call ", after[] = " was refused; it is not on isolation.c's list\n";
	const struct iovec text[] = { { (void *)before, sizeof before - 1 }, { (void *)name, strlen(name) }, { (void *)after, sizeof after - 1 } };

	if (call >= CALLS_MAX || __atomic_exchange_n(&told[call], 1, __ATOMIC_RELAXED) == 0)
		(void)!writev(STDERR_FILENO, text, G_N_ELEMENTS(text));
	set_result(context, -ENOSYS);
}

static int
tell_refusals(void)
{
	struct sigaction action = { .sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_RESTART };

	for (int i = 0; i < CALLS_MAX; i++)
		call_names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
	return sigaction(SIGSYS, &action, NULL) == 0 ? 0 : -errno;
}

static int
add_all(scmp_filter_ctx filter)
{
	int code = add_calls(filter, SCMP_ACT_ALLOW, allowed_calls, G_N_ELEMENTS(allowed_calls));

	if (code == 0)
		code = add_calls(filter, SCMP_ACT_KILL_PROCESS, hostile_calls, G_N_ELEMENTS(hostile_calls));
	if (code == 0)
		code = add_families(filter);
	if (code == 0)
		code = add_ioctls(filter);
	if (code == 0)
		code = add_memory(filter);
	if (code == 0)
		code = add_priority(filter);
	return code ? code : add_threads(filter);
}

/* The kernel takes calls of a second architecture from the same process (i386 and x32, 32-bit ARM): no library of ours makes one. */
int
isolation_filter(uint32_t architecture, void **out)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int code = filter ? seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) : -ENOMEM;

	if (code == 0 && architecture != seccomp_arch_native())
		code = seccomp_arch_add(filter, architecture);
	if (code == 0 && architecture != seccomp_arch_native())
		code = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
	if (code == 0)
		code = add_all(filter);
	if (code == 0)
		*out = filter;
	else if (filter)
		seccomp_release(filter);
	return code;
}

bool
isolate_syscalls(GError **error)
{
	scmp_filter_ctx filter = NULL;
	int code = isolation_filter(seccomp_arch_native(), &filter);

	if (code == 0)
		code = tell_refusals();
	if (code == 0)
		code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (code == 0)
		code = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return code == 0 || failed(error, "seccomp", -code);
}
