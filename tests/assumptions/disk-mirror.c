/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the disk path assumes of QEMU's blockdev-mirror and NBD code, asked of a real QEMU:
 *
 *   source QEMU --blockdev-mirror, NBD--> nbd_server --> disk_queue --> disk_target --NBD--> export of a second QEMU
 *
 * FTD_TEST_QEMU is the command that runs qemu-system-x86_64 (it may be several words); qemu-img is run by the same words with
 * the last one's name replaced. Both must see the folder for temporary files (TMPDIR) under the same name. Without
 * FTD_TEST_QEMU: skipped.
 */
#include "checkpoint/disk-queue.h"
#include "checkpoint/disk-target-io.h"
#include "checkpoint/nbd-server.h"

#include <glib-unix.h>
#include <glib/gstdio.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISKS 2
#define SIZE (16 << 20)
#define PATIENCE_MS 30000	/* a busy machine under TCG */
#define MAX_LINE (1 << 20)

static const char *const op_names[] = { "READ", "WRITE", "FLUSH", "TRIM", "WRITE_ZEROES", "DISCONNECT" };

/* Processes and their monitors */

struct qemu {
	GPid pid;
	int fd;
	guint watch;
	GString *input;
	json_object *reply;		/* of the last command, once it is there */
	GPtrArray *events;		/* json_object */
};

/* One mirrored disk */

struct pair;

struct disk {
	struct pair *pair;
	unsigned index;
	char *socket;			/* where the source connects */
	int listener, fd;
	guint watch, listener_watch;
	struct nbd_server *server;
	struct disk_target *target;
	bool ready, closed;
	unsigned count[G_N_ELEMENTS(op_names)], no_hole;
	guint64 bytes[G_N_ELEMENTS(op_names)];
};

struct pair {
	char *folder;
	struct qemu source, target;
	struct disk disk[DISKS];
	struct disk_queue *queue;
	GQueue answers;			/* struct answer, as long and in the same order as `queue` */
	GQueue silent;			/* struct answer: what came while the server was to be silent */
	guint64 epoch;
	bool early;			/* answer on arrival, apply when permitted; otherwise answer when applied */
	bool mute;			/* neither answer nor apply */
	unsigned applying;
};

struct answer {
	struct disk *disk;
	struct nbd_request request;	/* without its data once it is in the queue */
	struct disk_write write;
};

static char **
command_line(const char *program, const char *const *arguments)
{
	g_auto(GStrv) prefix = NULL;
	g_autoptr(GStrvBuilder) all = g_strv_builder_new();
	int n = 0;

	g_assert(g_shell_parse_argv(g_getenv("FTD_TEST_QEMU"), &n, &prefix, NULL));
	if (program) {
		g_autofree char *folder = g_path_get_dirname(prefix[n - 1]);
		g_autofree char *path = strchr(prefix[n - 1], '/') ? g_build_filename(folder, program, NULL) : g_strdup(program);

		g_free(prefix[n - 1]);
		prefix[n - 1] = g_steal_pointer(&path);
	}
	g_strv_builder_addv(all, (const char **)prefix);
	g_strv_builder_addv(all, (const char **)arguments);
	return g_strv_builder_end(all);
}

static int
qemu_img(const char *const *arguments)
{
	g_auto(GStrv) argv = command_line("qemu-img", arguments);
	int status = -1;

	g_assert(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL));
	return status;
}

static int
unix_socket(const char *path, bool listening)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_assert(strlen(path) < sizeof(address.sun_path));
	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (listening ? bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0
		      : connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static gboolean
wake_up(gpointer data)
{
	*(bool *)data = true;
	return G_SOURCE_REMOVE;
}

/* Runs the loop until the condition holds; false after the time. */
#define wait_for(condition, ms) ({						\
	bool over_ = false;							\
	guint timer_ = g_timeout_add(ms, wake_up, &over_);			\
	while (!(condition) && !over_)						\
		g_main_context_iteration(NULL, TRUE);				\
	if (!over_)								\
		g_source_remove(timer_);					\
	(bool)(condition);							\
})

static void
got_line(struct qemu *q, const char *line)
{
	json_object *o = json_tokener_parse(line);

	g_assert(o);
	if (json_object_object_get(o, "event")) {
		g_ptr_array_add(q->events, o);
	} else {
		json_object_put(q->reply);
		q->reply = o;
	}
}

static gboolean
got_monitor_bytes(int fd, GIOCondition condition, gpointer data)
{
	struct qemu *q = data;
	char chunk[4096], *end;
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n <= 0) {
		q->watch = 0;
		return G_SOURCE_REMOVE;
	}
	g_string_append_len(q->input, chunk, n);
	g_assert(q->input->len < MAX_LINE);
	while ((end = memchr(q->input->str, '\n', q->input->len))) {
		*end = 0;
		got_line(q, q->input->str);
		g_string_erase(q->input, 0, end + 1 - q->input->str);
	}
	return G_SOURCE_CONTINUE;
}

static void
send_with_fd(struct qemu *q, const char *line, int fd)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { (char *)line, strlen(line) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = control.buffer;
		m.msg_controllen = sizeof(control.buffer);
		control.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	g_clear_pointer(&q->reply, json_object_put);
	g_assert(sendmsg(q->fd, &m, MSG_NOSIGNAL) == (ssize_t)strlen(line));
}

/* Sends a command and gives back "return"; NULL when QEMU refused it (then its text is in q->reply). */
static json_object *
ask(struct qemu *q, const char *line)
{
	send_with_fd(q, line, -1);
	if (!wait_for(q->reply, PATIENCE_MS))
		fail_msg("no answer to %s", line);
	return json_object_object_get(q->reply, "return");
}

static json_object *
qmp(struct qemu *q, const char *format, ...) G_GNUC_PRINTF(2, 3);
static json_object *
qmp(struct qemu *q, const char *format, ...)
{
	g_autofree char *line = NULL;
	json_object *value;
	va_list ap;

	va_start(ap, format);
	line = g_strdup_vprintf(format, ap);
	va_end(ap);
	value = ask(q, line);
	if (!value)
		fail_msg("%s -> %s", line, json_object_to_json_string(q->reply));
	return value;
}

static const char *
refusal(struct qemu *q)
{
	return json_object_get_string(json_object_object_get(json_object_object_get(q->reply, "error"), "desc"));
}

/* The newest event of that name; NULL. */
static json_object *
event(struct qemu *q, const char *name)
{
	for (guint i = q->events->len; i-- > 0;)
		if (g_strcmp0(json_object_get_string(json_object_object_get(q->events->pdata[i], "event")), name) == 0)
			return q->events->pdata[i];
	return NULL;
}

static bool
dead(struct qemu *q)
{
	int status;

	if (q->pid > 0 && waitpid(q->pid, &status, WNOHANG) == q->pid)
		q->pid = 0;
	return q->pid == 0;
}

static void
event_free(gpointer data)
{
	json_object_put(data);
}

static void
start_qemu(struct qemu *q, const char *monitor, const char *const *arguments)
{
	g_auto(GStrv) argv = command_line(NULL, arguments);
	g_autoptr(GError) error = NULL;

	q->fd = -1;
	q->input = g_string_new(NULL);
	q->events = g_ptr_array_new_with_free_func(event_free);
	if (!g_spawn_async(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, &q->pid, &error))
		fail_msg("%s", error->message);
	for (int i = 0; i < PATIENCE_MS / 20 && q->fd < 0 && !dead(q); i++) {
		q->fd = unix_socket(monitor, false);
		g_usleep(20000);
	}
	assert_true(q->fd >= 0);
	q->watch = g_unix_fd_add(q->fd, G_IO_IN | G_IO_HUP, got_monitor_bytes, q);
	assert_true(wait_for(q->reply, PATIENCE_MS));	/* the greeting */
	qmp(q, "{'execute':'qmp_capabilities'}");
}

static void
stop_qemu(struct qemu *q)
{
	if (q->fd >= 0 && q->watch)
		send_with_fd(q, "{'execute':'quit'}", -1);
	for (int i = 0; i < 100 && !dead(q); i++)
		wait_for(false, 20);
	if (!dead(q)) {
		kill(q->pid, SIGKILL);
		waitpid(q->pid, NULL, 0);
	}
	if (q->watch)
		g_source_remove(q->watch);
	if (q->fd >= 0)
		close(q->fd);
	json_object_put(q->reply);
	g_string_free(q->input, TRUE);
	g_ptr_array_unref(q->events);
	*q = (struct qemu){ .fd = -1 };
}

/* The guard's part: server -> queue -> target */

static void
send_output(struct disk *d)
{
	g_autoptr(GBytes) out = nbd_server_take_output(d->server);
	gsize length = 0;
	const void *p = out ? g_bytes_get_data(out, &length) : NULL;

	if (length > 0 && d->fd >= 0)
		g_assert(send(d->fd, p, length, MSG_NOSIGNAL) == (ssize_t)length);
}

static void
reply(struct disk *d, const struct nbd_request *r)
{
	g_autoptr(GBytes) data = r->op == NBD_OP_READ ? g_bytes_new_take(g_malloc0(r->length), r->length) : NULL;

	nbd_server_reply(d->server, r->cookie, 0, data);
	send_output(d);
}

static void
apply_permitted(struct pair *p)
{
	struct disk_write w;

	while (disk_queue_next(p->queue, &w)) {
		struct answer *a = g_queue_pop_head(&p->answers);

		a->write = w;
		disk_target_submit(a->disk->target, &w, (guint64)(uintptr_t)a);
		disk_write_clear(&a->write);
		p->applying++;
	}
}

static void
on_done(guint64 cookie, int error, void *user_data)
{
	struct answer *a = (struct answer *)(uintptr_t)cookie;
	struct pair *p = a->disk->pair;

	assert_int_equal(error, 0);
	p->applying--;
	disk_queue_done(p->queue, &a->write);
	if (!p->early)
		reply(a->disk, &a->request);
	g_free(a);
}

static void
on_ready(void *user_data)
{
	((struct disk *)user_data)->ready = true;
}

static void
on_closed(const GError *error, void *user_data)
{
	print_message("target closed: %s\n", error->message);
	((struct disk *)user_data)->closed = true;
}

static const struct disk_target_callbacks target_callbacks = { .ready = on_ready, .done = on_done, .closed = on_closed };

static void
take_write(struct pair *p, struct disk *d, struct nbd_request *r)
{
	struct answer *a = g_new0(struct answer, 1);
	struct disk_write w = { .epoch = p->epoch, .disk = d->index, .may_unmap = !r->no_hole, .offset = r->offset, .length = r->length,
				.data = g_steal_pointer(&r->data) };

	w.op = r->op == NBD_OP_WRITE ? DISK_OP_WRITE : r->op == NBD_OP_TRIM ? DISK_OP_TRIM : DISK_OP_ZERO;
	a->disk = d;
	a->request = *r;
	if (p->early)
		reply(d, r);
	assert_true(disk_queue_push(p->queue, &w, NULL));
	g_queue_push_tail(&p->answers, a);
	apply_permitted(p);
}

static void
take_request(struct pair *p, struct disk *d, struct nbd_request *r)
{
	if (r->op == NBD_OP_DISCONNECT)
		return;
	if (p->mute) {
		struct answer *a = g_new0(struct answer, 1);

		a->disk = d;
		a->request = *r;
		g_queue_push_tail(&p->silent, a);
	} else if (r->op == NBD_OP_FLUSH || r->op == NBD_OP_READ) {
		reply(d, r);
	} else {
		take_write(p, d, r);
	}
}

static gboolean
got_nbd_bytes(int fd, GIOCondition condition, gpointer data)
{
	struct disk *d = data;
	static uint8_t chunk[1 << 18];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	g_autoptr(GError) error = NULL;
	struct nbd_request r;

	if (n <= 0) {
		d->watch = 0;
		return G_SOURCE_REMOVE;
	}
	if (!nbd_server_input(d->server, chunk, (size_t)n, &error))
		fail_msg("%s", error->message);
	send_output(d);
	while (nbd_server_next_request(d->server, &r)) {
		d->count[r.op]++;
		d->bytes[r.op] += r.length;
		d->no_hole += r.no_hole;
		take_request(d->pair, d, &r);
	}
	return G_SOURCE_CONTINUE;
}

static void
serve(struct disk *d, int fd)
{
	d->fd = fd;
	send_output(d);
	d->watch = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP, got_nbd_bytes, d);
}

static gboolean
got_nbd_client(int fd, GIOCondition condition, gpointer data)
{
	struct disk *d = data;

	serve(d, accept(fd, NULL, NULL));
	d->listener_watch = 0;
	return G_SOURCE_REMOVE;	/* one client */
}

static void
speak_again(struct pair *p)
{
	struct answer *a;

	p->mute = false;
	while ((a = g_queue_pop_head(&p->silent))) {
		take_request(p, a->disk, &a->request);
		g_free(a);
	}
}

static void
hang_up(struct disk *d)
{
	if (d->watch)
		g_source_remove(d->watch);
	if (d->fd >= 0)
		close(d->fd);
	d->watch = 0;
	d->fd = -1;
}

/*
 * Fixture: both QEMUs, images, and the targets connected; no mirror yet. Disk 0 is qcow2 on the source, disk 1 raw; the
 * copies are raw.
 */

static char *
image(const struct pair *p, const char *side, unsigned i)
{
	g_autofree char *name = g_strdup_printf("%s%u", side, i);

	return g_build_filename(p->folder, name, NULL);
}

static const char *
source_format(unsigned i)
{
	return i == 0 ? "qcow2" : "raw";
}

static void
create_image(const char *format, const char *path)
{
	g_autofree char *size = g_strdup_printf("%d", SIZE);

	assert_int_equal(qemu_img((const char *[]){ "create", "-q", "-f", format, path, size, NULL }), 0);
}

/*
 * The guest halts at once: cli; hlt; jmp. A real firmware resets the virtio disks when it likes, which drains them
 * (hw/block/virtio-blk.c virtio_blk_reset()) and would get between the steps of these tests.
 */
static char *
create_firmware(const struct pair *p)
{
	static const uint8_t halt[] = { 0xfa, 0xf4, 0xeb, 0xfd };
	g_autofree char *rom = g_malloc0(65536);
	char *path = g_build_filename(p->folder, "firmware", NULL);

	memcpy(rom + 0xfff0, halt, sizeof(halt));
	assert_true(g_file_set_contents(path, rom, 65536, NULL));
	return path;
}

static void
start_source(struct pair *p)
{
	g_autofree char *monitor = g_build_filename(p->folder, "source.qmp", NULL);
	g_autofree char *qmp_option = g_strdup_printf("unix:%s,server=on,wait=off", monitor);
	g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
	static const char *const machine[] = { "-S", "-machine", "pc,accel=tcg", "-m", "32", "-nodefaults", "-display", "none", "-qmp" };

	for (unsigned i = 0; i < G_N_ELEMENTS(machine); i++)
		g_ptr_array_add(arguments, g_strdup(machine[i]));
	g_ptr_array_add(arguments, g_strdup(qmp_option));
	g_ptr_array_add(arguments, g_strdup("-bios"));
	g_ptr_array_add(arguments, create_firmware(p));
	for (unsigned i = 0; i < DISKS; i++) {
		g_autofree char *path = image(p, "source", i);

		create_image(source_format(i), path);
		g_ptr_array_add(arguments, g_strdup("-blockdev"));
		g_ptr_array_add(arguments, g_strdup_printf("driver=%s,node-name=disk%u,discard=unmap,file.driver=file,file.filename=%s",
							   source_format(i), i, path));
		g_ptr_array_add(arguments, g_strdup("-device"));
		g_ptr_array_add(arguments, g_strdup_printf("virtio-blk-pci,id=vd%u,drive=disk%u", i, i));
	}
	g_ptr_array_add(arguments, NULL);
	start_qemu(&p->source, monitor, (const char *const *)arguments->pdata);
}

static void
start_target(struct pair *p)
{
	g_autofree char *monitor = g_build_filename(p->folder, "target.qmp", NULL);
	g_autofree char *qmp_option = g_strdup_printf("unix:%s,server=on,wait=off", monitor);
	g_autofree char *nbd = g_build_filename(p->folder, "target.nbd", NULL);

	start_qemu(&p->target, monitor, (const char *[]){ "-machine", "none", "-nodefaults", "-display", "none", "-qmp", qmp_option, NULL });
	qmp(&p->target, "{'execute':'nbd-server-start','arguments':{'addr':{'type':'unix','data':{'path':'%s'}}}}", nbd);
	for (unsigned i = 0; i < DISKS; i++) {
		g_autofree char *path = image(p, "target", i);
		g_autofree char *name = g_strdup_printf("parent%u", i);

		create_image("raw", path);
		qmp(&p->target, "{'execute':'blockdev-add','arguments':{'driver':'raw','node-name':'%s','discard':'unmap',"
		    "'file':{'driver':'file','filename':'%s'}}}", name, path);
		qmp(&p->target, "{'execute':'block-export-add','arguments':{'type':'nbd','id':'%s','node-name':'%s','name':'%s','writable':true}}",
		    name, name, name);
		p->disk[i].target = disk_target_connect(nbd, name, SIZE, PATIENCE_MS, &target_callbacks, &p->disk[i]);
		assert_true(wait_for(p->disk[i].ready, PATIENCE_MS));
	}
}

static void
listen_for_mirror(struct disk *d, uint64_t size)
{
	g_autofree char *name = g_strdup_printf("mirror%u", d->index);

	d->socket = g_build_filename(d->pair->folder, name, NULL);
	d->fd = -1;
	d->server = nbd_server_new("v", size);
	d->listener = unix_socket(d->socket, true);
	g_assert(d->listener >= 0);
	d->listener_watch = g_unix_fd_add(d->listener, G_IO_IN, got_nbd_client, d);
}

static int
setup(void **state)
{
	struct pair *p = g_new0(struct pair, 1);

	*state = p;
	p->folder = g_dir_make_tmp("ftd-mirror-XXXXXX", NULL);
	p->source.fd = p->target.fd = -1;
	p->queue = disk_queue_new(64 << 20);
	disk_queue_permit(p->queue, 0);
	for (unsigned i = 0; i < DISKS; i++) {
		p->disk[i].pair = p;
		p->disk[i].index = i;
		listen_for_mirror(&p->disk[i], SIZE);
	}
	start_source(p);
	start_target(p);
	return 0;
}

static void
free_disk(struct disk *d)
{
	hang_up(d);
	if (d->listener_watch)
		g_source_remove(d->listener_watch);
	close(d->listener);
	disk_target_free(d->target);
	nbd_server_free(d->server);
	g_unlink(d->socket);
	g_free(d->socket);
}

static void
remove_files(const struct pair *p)
{
	g_autoptr(GDir) dir = g_dir_open(p->folder, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(p->folder, name, NULL);

		g_unlink(path);
	}
	g_rmdir(p->folder);
}

static int
teardown(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < DISKS; i++)
		free_disk(&p->disk[i]);
	if (p->source.events)
		stop_qemu(&p->source);
	if (p->target.events)
		stop_qemu(&p->target);
	remove_files(p);
	g_queue_clear_full(&p->answers, g_free);
	g_queue_clear_full(&p->silent, g_free);
	disk_queue_free(p->queue);
	g_free(p->folder);
	g_free(p);
	return 0;
}

/* Steps */

/* discard=unmap, or every zero of the initial copy is written with NO_HOLE and the standby's image is not sparse any more. */
static void
add_nbd_node(struct disk *d)
{
	qmp(&d->pair->source, "{'execute':'blockdev-add','arguments':{'driver':'nbd','node-name':'nbd%u','export':'v','discard':'unmap',"
	    "'server':{'type':'unix','path':'%s'}}}", d->index, d->socket);
}

static char *
mirror_command(unsigned i)
{
	return g_strdup_printf("{'execute':'blockdev-mirror','arguments':{'job-id':'job%u','device':'disk%u','target':'nbd%u','sync':'full',"
			       "'copy-mode':'write-blocking','on-target-error':'stop','on-source-error':'stop'}}", i, i, i);
}

static json_object *
job(struct pair *p, unsigned i)
{
	g_autofree char *name = g_strdup_printf("job%u", i);
	json_object *jobs = qmp(&p->source, "{'execute':'query-block-jobs'}");

	for (size_t n = 0; n < json_object_array_length(jobs); n++) {
		json_object *o = json_object_array_get_idx(jobs, n);

		if (g_strcmp0(json_object_get_string(json_object_object_get(o, "device")), name) == 0)
			return o;
	}
	return NULL;
}

static bool
actively_synced(struct pair *p, unsigned i)
{
	json_object *o = job(p, i);

	return o && json_object_get_boolean(json_object_object_get(o, "ready"))
		&& json_object_get_boolean(json_object_object_get(o, "actively-synced"));
}

static void
start_mirror(struct pair *p, unsigned i)
{
	g_autofree char *command = mirror_command(i);

	add_nbd_node(&p->disk[i]);
	qmp(&p->source, "%s", command);
}

static void
mirror_all(struct pair *p)
{
	for (unsigned i = 0; i < DISKS; i++)
		start_mirror(p, i);
	for (unsigned i = 0; i < DISKS; i++) {
		bool synced = false;

		for (int tries = 0; tries < 500 && !(synced = actively_synced(p, i)); tries++)
			wait_for(false, 10);
		assert_true(synced);
	}
	assert_non_null(event(&p->source, "BLOCK_JOB_READY"));
}

/* The device's own backend, as the guest uses it: a node name would go below the mirror's filter. */
static const char *
guest_io(struct pair *p, unsigned i, const char *command)
{
	return json_object_get_string(qmp(&p->source, "{'execute':'human-monitor-command','arguments':{'command-line':"
					  "'qemu-io -d /machine/peripheral/vd%u/virtio-backend \\\"%s\\\"'}}", i, command));
}

static void
assert_guest_io(struct pair *p, unsigned i, const char *command)
{
	const char *said = guest_io(p, i, command);

	if (strstr(said, "failed") || strstr(said, "rror"))
		fail_msg("%s: %s", command, said);
}

static void
some_guest_writes(struct pair *p, unsigned i)
{
	static const char *const commands[] = {
		"write -P 0xaa 0 64k", "write -P 0xbb 4k 512", "write -P 0xcc 1M 3M", "write -z 1M 128k", "write -z -u 2M 64k", "discard 3M 512k",
		"write -P 0xdd 15M 1M", "write -P 0xee 65024 1k", "flush", "writev -P 0x11 8M 512 512 4096",
	};

	for (unsigned n = 0; n < G_N_ELEMENTS(commands); n++)
		assert_guest_io(p, i, commands[n]);
}

static void
assert_job_failed(struct pair *p, const char *error)
{
	json_object *completed;

	assert_true(wait_for(event(&p->source, "BLOCK_JOB_COMPLETED"), PATIENCE_MS));
	completed = json_object_object_get(event(&p->source, "BLOCK_JOB_COMPLETED"), "data");
	assert_string_equal(json_object_get_string(json_object_object_get(completed, "device")), "job0");
	assert_string_equal(json_object_get_string(json_object_object_get(completed, "error")), error);
}

static void
assert_no_trouble(struct pair *p)
{
	assert_null(event(&p->source, "BLOCK_JOB_ERROR"));
	assert_null(event(&p->source, "BLOCK_JOB_COMPLETED"));
	assert_null(event(&p->source, "BLOCK_IO_ERROR"));
	for (unsigned i = 0; i < DISKS; i++)
		assert_non_null(job(p, i));
}

static void
log_commands(const struct pair *p, const char *when)
{
	for (unsigned i = 0; i < DISKS; i++) {
		g_autoptr(GString) s = g_string_new(NULL);

		for (unsigned op = 0; op < G_N_ELEMENTS(op_names); op++)
			if (p->disk[i].count[op] > 0)
				g_string_append_printf(s, " %s %u (%" G_GUINT64_FORMAT " bytes)", op_names[op], p->disk[i].count[op],
						       p->disk[i].bytes[op]);
		print_message("  %s, %s:%s, %u of them NO_HOLE\n", when, source_format(i), s->str, p->disk[i].no_hole);
	}
}

static void
assert_same_images(struct pair *p)
{
	assert_true(wait_for(p->applying == 0, PATIENCE_MS));
	assert_int_equal(disk_queue_bytes(p->queue), 0);
	for (unsigned i = 0; i < DISKS; i++) {
		g_clear_pointer(&p->disk[i].target, disk_target_free);
		hang_up(&p->disk[i]);
	}
	stop_qemu(&p->source);
	stop_qemu(&p->target);
	for (unsigned i = 0; i < DISKS; i++) {
		g_autofree char *source = image(p, "source", i), *target = image(p, "target", i);

		assert_int_equal(qemu_img((const char *[]){ "compare", "-q", "-f", source_format(i), "-F", "raw", source, target, NULL }), 0);
	}
}

/* The assumptions */

static void
test_copy_and_follow(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < DISKS; i++)
		assert_guest_io(p, i, "write -P 0x77 512k 5M");
	mirror_all(p);
	log_commands(p, "initial copy");
	for (unsigned i = 0; i < DISKS; i++)
		some_guest_writes(p, i);
	assert_true(actively_synced(p, 0) && actively_synced(p, 1));
	log_commands(p, "and guest writes");
	assert_no_trouble(p);
	/* The copy is write-only: the target is never read. The one FLUSH is mirror_flush() before READY (block/mirror.c mirror_run()). */
	for (unsigned i = 0; i < DISKS; i++) {
		assert_int_equal(p->disk[i].count[NBD_OP_READ], 0);
		assert_int_equal(p->disk[i].count[NBD_OP_FLUSH], 1);
	}
	assert_same_images(p);
}

static blkcnt_t
allocated(const struct pair *p, unsigned i)
{
	g_autofree char *path = image(p, "target", i);
	GStatBuf st;

	assert_int_equal(g_stat(path, &st), 0);
	return st.st_blocks * 512;
}

/* The standby's images stay sparse. */
static void
test_copy_is_sparse(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < DISKS; i++)
		assert_guest_io(p, i, "write -P 0x77 512k 1M");
	mirror_all(p);
	for (unsigned i = 0; i < DISKS; i++) {
		assert_int_equal(p->disk[i].no_hole, 0);
		assert_in_range(allocated(p, i), 1 << 20, 2 << 20);
	}
	assert_same_images(p);
}

/*
 * While a disk is mirrored, QEMU drops its guest's discards: the mirror's filter node is opened without BDRV_O_UNMAP
 * (block/mirror.c mirror_start_job()), and bdrv_co_pdiscard() ends there. So no TRIM comes, and the images grow on both
 * sides.
 */
static void
test_discard_is_dropped(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < DISKS; i++) {
		assert_guest_io(p, i, "write -P 0xcc 0 2M");
		assert_guest_io(p, i, "discard 0 1M");
		assert_guest_io(p, i, "read -P 0 0 1M");
	}
	mirror_all(p);
	for (unsigned i = 0; i < DISKS; i++) {
		assert_guest_io(p, i, "discard 1M 1M");
		assert_guest_io(p, i, "read -P 0xcc 1M 1M");
		assert_int_equal(p->disk[i].count[NBD_OP_TRIM], 0);
	}
	assert_same_images(p);
}

/* Every mirrored write is answered at once and applied a whole epoch later: QEMU sees no difference. */
static void
test_early_answers(void **state)
{
	struct pair *p = *state;

	p->early = true;
	mirror_all(p);
	assert_true(wait_for(p->applying == 0, PATIENCE_MS));
	p->epoch = 1;
	for (unsigned i = 0; i < DISKS; i++)
		some_guest_writes(p, i);
	assert_true(actively_synced(p, 0) && actively_synced(p, 1));
	assert_int_equal(p->applying, 0);
	assert_true(disk_queue_bytes(p->queue) > 0);
	assert_no_trouble(p);
	disk_queue_permit(p->queue, 1);
	apply_permitted(p);
	assert_same_images(p);
}

/* `stop` returns only when every mirrored write was answered: bdrv_drain_all() in vm_stop() (system/cpus.c do_vm_stop()). */
static void
test_stop_waits_for_answers(void **state)
{
	struct pair *p = *state;

	mirror_all(p);
	qmp(&p->source, "{'execute':'cont'}");
	p->mute = true;
	for (unsigned i = 0; i < DISKS; i++)
		assert_guest_io(p, i, "aio_write -P 0xaa 0 64k");
	assert_true(wait_for(p->silent.length >= DISKS, PATIENCE_MS));
	send_with_fd(&p->source, "{'execute':'stop'}", -1);
	assert_false(wait_for(p->source.reply, 500));
	speak_again(p);
	assert_true(wait_for(p->source.reply, PATIENCE_MS));
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(nbd_server_pending(p->disk[i].server), 0);
	/* and while it is stopped nothing new comes */
	p->mute = true;
	assert_false(wait_for(p->silent.length > 0, 500));
	assert_no_trouble(p);
	assert_same_images(p);
}

/* The same with `stop` racing against a stream of writes, many times, and late answers. */
static void
test_nothing_unanswered_after_stop(void **state)
{
	struct pair *p = *state;

	mirror_all(p);
	for (unsigned round = 0; round < 50; round++) {
		g_autofree char *command = g_strdup_printf("aio_write -P %u %uk 256k", round + 1, round * 64);

		qmp(&p->source, "{'execute':'cont'}");
		for (unsigned i = 0; i < DISKS; i++)
			assert_guest_io(p, i, command);
		send_with_fd(&p->source, "{'execute':'stop'}", -1);
		assert_true(wait_for(p->source.reply, PATIENCE_MS));
		for (unsigned i = 0; i < DISKS; i++)
			assert_int_equal(nbd_server_pending(p->disk[i].server), 0);
	}
	assert_no_trouble(p);
	assert_same_images(p);
}

/*
 * Silence of the server is not an error: no event, the job stays, the guest waits, and all goes on when the answers come. The
 * monitor answers all that time, but only as long as nothing drains the disk under the BQL. That is vm_stop(), and also a
 * guest that resets its virtio disk.
 */
static void
test_silence_is_no_error(void **state)
{
	struct pair *p = *state;

	mirror_all(p);
	qmp(&p->source, "{'execute':'cont'}");
	p->mute = true;
	assert_guest_io(p, 0, "aio_write -P 0xaa 0 64k");
	assert_true(wait_for(p->silent.length > 0, PATIENCE_MS));
	assert_false(wait_for(event(&p->source, "BLOCK_JOB_ERROR") || event(&p->source, "BLOCK_IO_ERROR"), 5000));
	assert_no_trouble(p);
	speak_again(p);
	assert_true(wait_for(nbd_server_pending(p->disk[0].server) == 0, PATIENCE_MS));
	assert_guest_io(p, 0, "write -P 0xbb 1M 64k");
	assert_no_trouble(p);
	assert_same_images(p);
}

static void
assert_job_stands(struct pair *p, unsigned i)
{
	assert_true(wait_for(event(&p->source, "BLOCK_JOB_ERROR"), PATIENCE_MS));
	assert_null(event(&p->source, "BLOCK_JOB_COMPLETED"));
	assert_non_null(job(p, i));
	assert_string_equal(json_object_get_string(json_object_object_get(job(p, i), "io-status")), "failed");
}

/* As qmp-recipes.c ends it: with writes under way QEMU would clear bits in memory that it has freed. */
static void
end_job_of_standing_guest(struct pair *p, unsigned i)
{
	qmp(&p->source, "{'execute':'stop'}");
	qmp(&p->source, "{'execute':'job-cancel','arguments':{'id':'job%u'}}", i);
	assert_true(wait_for(event(&p->source, "BLOCK_JOB_CANCELLED") || event(&p->source, "BLOCK_JOB_COMPLETED"), PATIENCE_MS));
	qmp(&p->source, "{'execute':'cont'}");
}

/*
 * Closing the connection with a write unanswered: the guest's write succeeds (its own disk has it), the job stays but copies no more, the guest runs on, also while
 * the job is ended. This is what the guard does only after the arbiter has spoken, and what its death does.
 */
static void
test_close_releases_the_guest(void **state)
{
	struct pair *p = *state;

	mirror_all(p);
	qmp(&p->source, "{'execute':'cont'}");
	p->mute = true;
	assert_guest_io(p, 0, "aio_write -P 0xaa 0 64k");
	assert_true(wait_for(p->silent.length > 0, PATIENCE_MS));
	hang_up(&p->disk[0]);
	assert_job_stands(p, 0);
	p->mute = false;
	assert_null(event(&p->source, "BLOCK_IO_ERROR"));
	assert_guest_io(p, 0, "read -P 0xaa 0 64k");
	assert_guest_io(p, 0, "write -P 0xbb 0 64k");
	assert_string_equal(json_object_get_string(json_object_object_get(qmp(&p->source, "{'execute':'query-status'}"), "status")), "running");
	for (unsigned n = 0; n < 64; n++) {
		g_autofree char *command = g_strdup_printf("aio_write -P %u %uk 64k", n + 1, n * 64);

		assert_guest_io(p, 0, command);
	}
	end_job_of_standing_guest(p, 0);
	assert_guest_io(p, 0, "read -P 64 4032k 64k");
	assert_guest_io(p, 0, "write -P 0xcc 0 64k");
	assert_null(event(&p->source, "BLOCK_IO_ERROR"));
	assert_non_null(job(p, 1));
	qmp(&p->source, "{'execute':'blockdev-del','arguments':{'node-name':'nbd0'}}");
}

/* An idle mirror does not notice a closed connection before its next write. */
static void
test_close_when_idle(void **state)
{
	struct pair *p = *state;

	mirror_all(p);
	hang_up(&p->disk[0]);
	assert_false(wait_for(event(&p->source, "BLOCK_JOB_COMPLETED"), 1000));
	assert_guest_io(p, 0, "write -P 0xaa 0 64k");
	assert_job_stands(p, 0);
}

/* A target of another size is refused by QEMU itself, before the first byte is copied. */
static void
mirror_to_size(struct pair *p, uint64_t size)
{
	struct disk *d = &p->disk[0];

	nbd_server_free(d->server);
	d->server = nbd_server_new("v", size);
	start_mirror(p, 0);
	assert_job_failed(p, "Source and target image have different sizes");
	assert_int_equal(d->bytes[NBD_OP_WRITE] + d->bytes[NBD_OP_WRITE_ZEROES], 0);
}

static void
test_smaller_target(void **state)
{
	mirror_to_size(*state, SIZE - 65536);
}

static void
test_larger_target(void **state)
{
	mirror_to_size(*state, SIZE + 65536);
}

/* A connected socket handed over with getfd serves as the NBD connection: no path in a file system is needed. */
static void
test_passed_socket(void **state)
{
	struct pair *p = *state;
	g_autofree char *command = mirror_command(0);
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	serve(&p->disk[0], ends[0]);
	send_with_fd(&p->source, "{'execute':'getfd','arguments':{'fdname':'disk0-nbd'}}", ends[1]);
	assert_true(wait_for(p->source.reply, PATIENCE_MS));
	close(ends[1]);
	if (!ask(&p->source, "{'execute':'blockdev-add','arguments':{'driver':'nbd','node-name':'nbd0','export':'v',"
		 "'server':{'type':'fd','str':'disk0-nbd'}}}"))
		fail_msg("blockdev-add: %s", refusal(&p->source));
	qmp(&p->source, "%s", command);
	assert_true(wait_for(event(&p->source, "BLOCK_JOB_READY"), PATIENCE_MS));
	some_guest_writes(p, 0);
	assert_true(actively_synced(p, 0));
}

#define test_on_pair(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test_on_pair(test_copy_and_follow), test_on_pair(test_copy_is_sparse), test_on_pair(test_discard_is_dropped),
		test_on_pair(test_early_answers), test_on_pair(test_stop_waits_for_answers),
		test_on_pair(test_nothing_unanswered_after_stop), test_on_pair(test_silence_is_no_error),
		test_on_pair(test_close_releases_the_guest), test_on_pair(test_close_when_idle), test_on_pair(test_smaller_target),
		test_on_pair(test_larger_target), test_on_pair(test_passed_socket),
	};

	if (!g_getenv("FTD_TEST_QEMU")) {
		g_print("skipped: FTD_TEST_QEMU does not name the command that runs qemu-system-x86_64\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
