/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assumption: two stock QEMUs with x-colo believe the relay and the standby to be each other, through many checkpoints, merged ones too, and
 * the secondary's RAM is then the primary's, byte for byte; packed and unpacked on the way, with a cache that is too small for the guest.
 *
 * FTD_TEST_QEMU is the command that becomes QEMU when its options are added ("qemu-system-x86_64", or one that enters another root first);
 * /proc has to be mounted there. No path is shared with it: QEMU gets its firmware, its monitor, its migration sockets and the files it dumps
 * RAM into as file descriptors. QEMU >= 11.0 is needed (older ones cannot do COLO under TCG).
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/packer.h"
#include "checkpoint/relay.h"
#include "checkpoint/standby.h"
#include "checkpoint/unpacker.h"

#define RAM_BYTES (32u << 20)
#define ROM_BYTES 65536
#define CACHE_BYTES (1u << 20)
#define EAGER 10	/* checkpoints that are each loaded */
#define LAZY 10		/* checkpoints that are loaded in batches of LAZY_BATCH */
#define LAZY_BATCH 5
#define DEADLINE_NS (60 * 1000000000ull)

/*
 * The guest is its own firmware, mapped at 0xf0000. It writes to random pages of 1-17 MB (a number, or 0 so that the page is all zeros again) and of
 * video memory, about 10000 a second, until a key is pressed, and then halts for good: from there on RAM stands still and can be compared. TSC makes
 * the two copies of the guest diverge.
 *
 *		cli
 *		mov $0x3c4, %dx; mov $0x0f02, %ax; out %ax, %dx		# VGA: all planes may be written
 *		lgdtl %cs:gdtr						# %ds gets a limit of 4 GB, then back to real mode
 *		mov %cr0, %eax; or $1, %al; mov %eax, %cr0
 *		mov $8, %bx; mov %bx, %ds
 *		and $0xfe, %al; mov %eax, %cr0
 *		xor %bx, %bx; mov %bx, %ds
 *		xor %esi, %esi
 *	loop:	rdtsc; xor %eax, %esi
 *		imul $1664525, %esi, %esi; add $1013904223, %esi
 *		mov %esi, %edi; shr $8, %edi; and $0xfff000, %edi	# a page
 *		xor %eax, %eax; test $4, %esi; jz 1f; mov %esi, %eax	# its content
 *	1:	mov %eax, 0x100000(%edi)
 *		shr $8, %edi; mov %al, 0xa0000(%edi)
 *		mov $20000, %cx
 *	2:	dec %cx; jnz 2b
 *		in $0x64, %al; test $1, %al; jz loop			# keyboard controller: output buffer full
 *	halt:	hlt; jmp halt
 *		.balign 8
 *	gdtr:	.word 15; .long 0xf0000 + gdt
 *		.balign 8
 *	gdt:	.quad 0; .quad 0x00cf92000000ffff
 */
static const uint8_t guest[] = {
	0xfa, 0xba, 0xc4, 0x03, 0xb8, 0x02, 0x0f, 0xef, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0x80, 0x00, 0x0f,
	0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0xbb, 0x08, 0x00, 0x8e, 0xdb, 0x24, 0xfe, 0x0f, 0x22,
	0xc0, 0x31, 0xdb, 0x8e, 0xdb, 0x66, 0x31, 0xf6, 0x0f, 0x31, 0x66, 0x31, 0xc6, 0x66, 0x69, 0xf6,
	0x0d, 0x66, 0x19, 0x00, 0x66, 0x81, 0xc6, 0x5f, 0xf3, 0x6e, 0x3c, 0x66, 0x89, 0xf7, 0x66, 0xc1,
	0xef, 0x08, 0x66, 0x81, 0xe7, 0x00, 0xf0, 0xff, 0x00, 0x66, 0x31, 0xc0, 0x66, 0xf7, 0xc6, 0x04,
	0x00, 0x00, 0x00, 0x74, 0x03, 0x66, 0x89, 0xf0, 0x67, 0x66, 0x89, 0x87, 0x00, 0x00, 0x10, 0x00,
	0x66, 0xc1, 0xef, 0x08, 0x67, 0x88, 0x87, 0x00, 0x00, 0x0a, 0x00, 0xb9, 0x20, 0x4e, 0x49, 0x75,
	0xfd, 0xe4, 0x64, 0xa8, 0x01, 0x74, 0xb1, 0xf4, 0xeb, 0xfd, 0x8d, 0xb4, 0x00, 0x00, 0x66, 0x90,
	0x0f, 0x00, 0x88, 0x00, 0x0f, 0x00, 0x66, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00,
};
static const uint8_t reset_vector[] = { 0xea, 0x00, 0x00, 0x00, 0xf0 };	/* ljmp $0xf000, $0 */

struct vm {
	const char *name;
	pid_t pid;
	int qmp, migration;
	int dump;		/* QEMU has it under the same number and writes its RAM there */
	GString *in;		/* of the monitor */
	char *reply;
	GQueue out;		/* GBytes for the migration socket */
};

struct pair {
	struct vm a, b;
	struct relay *relay;
	struct standby *standby;
	struct packer *packer;
	struct unpacker *unpacker;
	uint64_t bytes, packed_bytes;	/* of all checkpoints */
	uint64_t deadline;
	bool live;
	bool ended;		/* x-colo-lost-heartbeat was sent: QEMU closes its migration socket */
	unsigned made, loads;
	uint64_t pages_made, pages_loaded, pause_ns, last_pages;
};

static uint64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void G_GNUC_NORETURN G_GNUC_PRINTF(1, 2)
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static int
memory_file(const char *name, const void *data, size_t length)
{
	int fd = memfd_create(name, 0);

	if (fd < 0 || (data && write(fd, data, length) != (ssize_t)length))
		die("memory file: %s", g_strerror(errno));
	return fd;
}

static int
firmware(void)
{
	uint8_t rom[ROM_BYTES] = { 0 };

	memcpy(rom, guest, sizeof guest);
	memcpy(rom + 0xfff0, reset_vector, sizeof reset_vector);
	return memory_file("firmware", rom, sizeof rom);
}

static void
start(struct vm *vm, const char *name, const char *prefix, const char *more)
{
	int s[2], rom = firmware();
	g_autofree char *command = NULL;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		die("socketpair: %s", g_strerror(errno));
	*vm = (struct vm){ .name = name, .qmp = s[0], .migration = -1, .dump = memory_file("ram", NULL, 0), .in = g_string_new(NULL) };
	g_queue_init(&vm->out);
	command = g_strdup_printf("exec %s -accel tcg -M pc -m 32 -nodefaults -display none -vga std -bios /proc/self/fd/%d "
				  "-chardev socket,id=qmp,fd=%d -mon chardev=qmp,mode=control %s", prefix, rom, s[1], more);
	vm->pid = fork();
	if (vm->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fcntl(s[1], F_SETFD, 0);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(s[1]);
	close(rom);
}

static void
stop(struct vm *vm)
{
	GBytes *b;

	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	close(vm->qmp);
	close(vm->dump);
	if (vm->migration >= 0)
		close(vm->migration);
	while ((b = g_queue_pop_head(&vm->out)))
		g_bytes_unref(b);
	g_string_free(vm->in, TRUE);
	g_free(vm->reply);
}

static void
take_lines(struct vm *vm)
{
	char *end;

	while ((end = strchr(vm->in->str, '\n'))) {
		g_autofree char *line = g_strndup(vm->in->str, (gsize)(end - vm->in->str));
		g_string_erase(vm->in, 0, end + 1 - vm->in->str);
		if (g_str_has_prefix(line, "{\"error\""))
			die("%s: %s", vm->name, line);
		if (g_str_has_prefix(line, "{\"return\"") || g_str_has_prefix(line, "{\"QMP\"")) {
			g_free(vm->reply);
			vm->reply = g_steal_pointer(&line);
		}
	}
}

static void
read_monitor(struct vm *vm)
{
	char buffer[4096];
	ssize_t n = recv(vm->qmp, buffer, sizeof buffer, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		die("%s: QEMU has gone", vm->name);
	if (n > 0)
		g_string_append_len(vm->in, buffer, n);
	take_lines(vm);
}

/* Small reads on purpose: records and messages then straddle pieces. */
static GBytes *
read_migration(struct vm *vm)
{
	uint8_t *buffer = g_malloc(20000);
	ssize_t n = recv(vm->migration, buffer, 20000, MSG_DONTWAIT);

	if (n <= 0) {
		g_free(buffer);
		close(vm->migration);
		vm->migration = -1;
		return NULL;
	}
	return g_bytes_new_take(buffer, (gsize)n);
}

static void
write_migration(struct vm *vm)
{
	struct iovec iov[64];
	int n = 0;

	for (GList *l = vm->out.head; l && n < 64; l = l->next, n++)
		iov[n].iov_base = (void *)g_bytes_get_data(l->data, &iov[n].iov_len);
	ssize_t done = sendmsg(vm->migration, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)n }, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done < 0 && errno != EAGAIN)
		die("%s: migration socket: %s", vm->name, g_strerror(errno));
	while (done > 0) {
		GBytes *b = g_queue_pop_head(&vm->out);
		size_t length = g_bytes_get_size(b);
		if ((size_t)done < length)
			g_queue_push_head(&vm->out, g_bytes_new_from_bytes(b, (size_t)done, length - (size_t)done));
		done -= (ssize_t)MIN((size_t)done, length);
		g_bytes_unref(b);
	}
}

static void
from_migration(struct pair *p, struct vm *vm)
{
	g_autoptr(GBytes) bytes = read_migration(vm);

	if (!bytes && !p->ended)
		die("%s: QEMU closed its migration socket", vm->name);
	if (bytes && vm == &p->a)
		relay_from_qemu(p->relay, now(), bytes);
	else if (bytes)
		standby_from_qemu(p->standby, now(), bytes);
}

/* The checkpoint's bytes on their way over the FT link. */
static void
packed(struct pair *p, GBytes *bytes)
{
	size_t length;
	const uint8_t *data = g_bytes_get_data(bytes, &length);
	struct byte_reader in = byte_reader_init(data, length);

	p->bytes += length;
	while (in.left > 0) {
		g_autoptr(GBytes) piece = packer_add(p->packer, &in), out = NULL;
		uint64_t epoch;
		if (!piece)
			continue;
		p->packed_bytes += g_bytes_get_size(piece);
		g_assert(unpacker_take(p->unpacker, g_bytes_get_data(piece, NULL), g_bytes_get_size(piece), &epoch, &out) == UNPACK_OK);
		standby_checkpoint_data(p->standby, now(), epoch, out);
	}
}

static void
do_relay(struct pair *p, struct relay_action *a)
{
	switch (a->type) {
	case RELAY_TO_QEMU:
		g_queue_push_tail(&p->a.out, g_bytes_ref(a->bytes));
		break;
	case RELAY_STREAM:
		packer_stream(p->packer, a->bytes);
		standby_stream(p->standby, now(), a->bytes);
		break;
	case RELAY_STREAM_END:
		relay_tracked(p->relay, now());
		break;
	case RELAY_LIVE:
		p->live = true;
		standby_live(p->standby, now());
		break;
	case RELAY_PAUSED:
		relay_boundary_done(p->relay, now(), a->epoch);
		standby_disk_mark(p->standby, now(), a->epoch);
		break;
	case RELAY_CHECKPOINT_BEGIN:
		packer_begin(p->packer, a->epoch);
		standby_checkpoint_begin(p->standby, now(), a->epoch);
		break;
	case RELAY_CHECKPOINT_DATA:
		packed(p, a->bytes);
		break;
	case RELAY_CHECKPOINT_SEAL:
		p->pages_made += p->last_pages = a->pages;
		standby_checkpoint_seal(p->standby, now(), a->epoch, a->length, a->checksum);
		break;
	case RELAY_RESUMED:
		p->made++;
		p->pause_ns += a->pause_ns;
		break;
	case RELAY_FAILED:
		die("relay: %s at %lu", a->reason, (unsigned long)a->offset);
	}
}

static void
do_standby(struct pair *p, struct standby_action *a)
{
	switch (a->type) {
	case STANDBY_TO_QEMU:
		g_queue_push_tail(&p->b.out, g_bytes_ref(a->bytes));
		break;
	case STANDBY_RETURN_PATH:
		relay_from_peer_return_path(p->relay, now(), a->bytes);
		break;
	case STANDBY_READY:
		if (relay_epoch(p->relay) != 0 || (!relay_awaits_request(p->relay) && !relay_waiting(p->relay)))
			die("the end of the initial stream was not recognized");
		relay_peer_ready(p->relay, now());
		break;
	case STANDBY_COMMITTED:
		relay_committed(p->relay, now(), a->epoch);
		break;
	case STANDBY_LOAD_WANTED:
		standby_disk_applied(p->standby, now(), a->epoch);
		break;
	case STANDBY_STOPPED:
		break;
	case STANDBY_LOADED:
		p->loads++;
		p->pages_loaded += a->pages;
		break;
	case STANDBY_FAILED:
		die("standby: %s at %lu", a->reason, (unsigned long)a->offset);
	}
}

static void
do_actions(struct pair *p)
{
	struct relay_action r;
	struct standby_action s;
	bool more = true;

	while (more) {
		more = false;
		while (relay_next(p->relay, &r)) {
			do_relay(p, &r);
			relay_action_clear(&r);
			more = true;
		}
		while (standby_next(p->standby, &s)) {
			do_standby(p, &s);
			standby_action_clear(&s);
			more = true;
		}
	}
}

static struct pollfd
watch(const struct vm *vm)
{
	return (struct pollfd){ .fd = vm->migration, .events = (short)(POLLIN | (vm->out.length ? POLLOUT : 0)) };
}

/* One turn of the loop. */
static void
pump(struct pair *p)
{
	struct pollfd fds[] = { { p->a.qmp, POLLIN }, { p->b.qmp, POLLIN }, watch(&p->a), watch(&p->b) };

	if (now() > p->deadline)
		die("nothing more happens (%u checkpoints, %u loads)", p->made, p->loads);
	poll(fds, G_N_ELEMENTS(fds), 2);
	if (fds[0].revents)
		read_monitor(&p->a);
	if (fds[1].revents)
		read_monitor(&p->b);
	if (fds[2].revents & (POLLIN | POLLHUP))
		from_migration(p, &p->a);
	if (fds[3].revents & (POLLIN | POLLHUP))
		from_migration(p, &p->b);
	relay_tick(p->relay, now());
	do_actions(p);
	if (p->a.out.length)
		write_migration(&p->a);
	if (p->b.out.length)
		write_migration(&p->b);
}

/* Sends a command, with a file descriptor if there is one, and pumps until the answer is there. */
static const char *
qmp_fd(struct pair *p, struct vm *vm, int fd, const char *command)
{
	struct iovec iov = { (void *)(uintptr_t)command, strlen(command) };
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	}
	g_clear_pointer(&vm->reply, g_free);
	if (sendmsg(vm->qmp, &m, MSG_NOSIGNAL) < 0)
		die("%s: monitor: %s", vm->name, g_strerror(errno));
	while (!vm->reply)
		pump(p);
	return vm->reply;
}

static const char *
qmp(struct pair *p, struct vm *vm, const char *command)
{
	return qmp_fd(p, vm, -1, command);
}

static void
negotiate(struct pair *p, struct vm *vm)
{
	while (!vm->reply)
		pump(p);
	qmp(p, vm, "{\"execute\":\"qmp_capabilities\"}");
	qmp(p, vm, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
	    "{\"capability\":\"return-path\",\"state\":true},{\"capability\":\"x-colo\",\"state\":true}]}}");
}

static void
connect_migration(struct pair *p, struct vm *vm, const char *command)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		die("socketpair: %s", g_strerror(errno));
	qmp_fd(p, vm, s[1], "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"mig\"}}");
	close(s[1]);
	vm->migration = s[0];
	qmp(p, vm, command);
}

static void
go_live(struct pair *p)
{
	negotiate(p, &p->a);
	negotiate(p, &p->b);
	qmp(p, &p->a, "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"x-checkpoint-delay\":1,\"max-bandwidth\":10000000000}}");
	connect_migration(p, &p->b, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:mig\"}}");
	connect_migration(p, &p->a, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:mig\"}}");
	while (!p->live)
		pump(p);
}

static void
make_checkpoint(struct pair *p)
{
	unsigned before = p->made;

	while (p->made == before) {
		relay_want_checkpoint(p->relay, now(), RELAY_WANT_OPERATOR);
		pump(p);
	}
}

static void
load_all(struct pair *p)
{
	uint64_t epoch = standby_committed_epoch(p->standby);

	standby_load_now(p->standby, now());
	while (standby_loaded_epoch(p->standby) < epoch || standby_loading(p->standby))
		pump(p);
}

static uint8_t *
dump(struct pair *p, struct vm *vm)
{
	g_autofree char *command = g_strdup_printf("{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":%u,\"filename\":\"/proc/self/fd/%d\"}}",
						   RAM_BYTES, vm->dump);

	qmp(p, vm, command);
	void *data = mmap(NULL, RAM_BYTES, PROT_READ, MAP_SHARED, vm->dump, 0);
	if (data == MAP_FAILED || lseek(vm->dump, 0, SEEK_END) != RAM_BYTES)
		die("%s: RAM was not dumped", vm->name);
	return data;
}

static void
compare_ram(struct pair *p)
{
	uint8_t *a = dump(p, &p->a), *b = dump(p, &p->b);
	unsigned differ = 0, used = 0;

	for (unsigned at = 0; at < RAM_BYTES; at += 4096) {
		static const uint8_t zero[4096];
		used += memcmp(a + at, zero, 4096) != 0;
		if (memcmp(a + at, b + at, 4096) != 0 && differ++ < 8)
			fprintf(stderr, "RAM differs at 0x%x\n", at);
	}
	munmap(a, RAM_BYTES);
	munmap(b, RAM_BYTES);
	printf("%u pages in use, %u differ\n", used, differ);
	if (differ > 0 || used < 100)
		die("the secondary's RAM is not the primary's");
}

static void
expect_running(struct pair *p, struct vm *vm)
{
	const char *reply = qmp(p, vm, "{\"execute\":\"query-status\"}");

	if (!strstr(reply, "\"running\": true"))
		die("%s does not run: %s", vm->name, reply);
}

static void
run(struct pair *p)
{
	go_live(p);
	for (unsigned i = 0; i < EAGER; i++)
		make_checkpoint(p);
	while (!standby_settled(p->standby))
		pump(p);
	printf("%u checkpoints, %u loads, %lu pages made, %lu loaded\n", p->made, p->loads, (unsigned long)p->pages_made, (unsigned long)p->pages_loaded);
	standby_set_lazy(p->standby, now(), true);
	for (unsigned i = 1; i <= LAZY; i++) {
		make_checkpoint(p);
		if (i % LAZY_BATCH == 0)
			load_all(p);
	}
	expect_running(p, &p->a);
	qmp(p, &p->a, "{\"execute\":\"send-key\",\"arguments\":{\"keys\":[{\"type\":\"qcode\",\"data\":\"a\"}]}}");
	for (unsigned i = 0; i == 0 || p->last_pages > 0; i++)
		make_checkpoint(p);
	load_all(p);
	printf("%u checkpoints, %u loads, %lu pages made, %lu loaded, mean pause %.2f ms, %lu bytes packed to %lu\n", p->made, p->loads, (unsigned long)p->pages_made,
	       (unsigned long)p->pages_loaded, (double)p->pause_ns / p->made / 1e6, (unsigned long)p->bytes, (unsigned long)p->packed_bytes);
	if (p->loads >= p->made || p->pages_loaded >= p->pages_made)
		die("nothing was merged");
	compare_ram(p);
	p->ended = true;
	standby_peer_lost(p->standby, now());
	if (!standby_settled(p->standby))
		die("the standby is not settled");
	qmp(p, &p->b, "{\"execute\":\"x-colo-lost-heartbeat\"}");
	expect_running(p, &p->b);
}

int
main(void)
{
	const char *prefix = getenv("FTD_TEST_QEMU");
	struct relay_limits rl = { .max_epoch_ns = UINT64_MAX, .min_epoch_ns = 5000000, .max_unacked_bytes = 1 << 30, .max_device_state = 64 << 20, .max_checkpoint_bytes = 512 << 20,
				   .return_path = true };
	struct standby_limits sl = { .max_checkpoint_bytes = 256 << 20, .max_held_bytes = 512 << 20, .max_unloaded_bytes = 256 << 20 };
	struct pair p = { .deadline = now() + DEADLINE_NS };

	if (!prefix) {
		puts("FTD_TEST_QEMU is not set: no QEMU to try");
		return 77;
	}
	p.relay = relay_new(&rl);
	p.standby = standby_new(&sl);
	p.packer = packer_new(CACHE_BYTES);
	p.unpacker = unpacker_new(CACHE_BYTES);
	start(&p.a, "primary", prefix, "");
	start(&p.b, "secondary", prefix, "-incoming defer");
	run(&p);
	stop(&p.a);
	stop(&p.b);
	relay_free(p.relay);
	standby_free(p.standby);
	packer_free(p.packer);
	unpacker_free(p.unpacker);
	return 0;
}
