/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assumption: QEMU takes every recipe of qmp/qmp-recipes.c as it stands, their undo leaves nothing behind, frames take the way that qmp-recipes.c says, and the
 * facts about QEMU that the recipes rest on are so. Two QEMUs without a guest, each NIC's LAN a datagram socket of ours; through the real client.
 *
 * FTD_TEST_QEMU is the command that becomes QEMU when its options are added ("qemu-system-x86_64", or one that enters another root first). It must see the folder for
 * temporary files (TMPDIR) under the same name. QEMU >= 11.0 with x-colo is needed (older ones cannot do COLO under TCG); else it is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/base/error.h"
#include "qmp/qmp-client-io.h"
#include "qmp/qmp-commands.h"
#include "qmp/qmp-events.h"
#include "qmp/qmp-json.h"
#include "qmp/qmp-tlb-flush.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISK_BYTES (16 << 20)
#define PATIENCE_MS 30000	/* a busy machine under TCG */
#define TEST_SKIPPED 77

struct qemu {
	const char *name, *machine;
	char *dir, *lan_path;
	pid_t pid;
	int lan;		/* our end of the NIC's LAN */
	struct qmp_client *client;
	bool closed;
};

/* What is waited for: a reply or a plan's end. */
struct answer {
	bool there;
	struct json_object *reply;
	GError *error;
};

static const char *tmp_dir;

/* ---- QEMU as a process ---- */

static char *
path_in(const struct qemu *q, const char *name)
{
	return g_build_filename(q->dir, name, NULL);
}

static void
on_closed(const GError *error, gpointer data)
{
	((struct qemu *)data)->closed = true;
}

static int
lan_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void
become_child(gpointer data)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void
add_argument(GPtrArray *argv, const char *format, const char *a, const char *b)
{
	g_auto(GStrv) parts = g_strsplit(format, "%", -1);	/* % stands for a, then b */

	if (!parts[1])
		g_ptr_array_add(argv, g_strdup(format));
	else
		g_ptr_array_add(argv, g_strconcat(parts[0], a, parts[1], parts[2] ? b : NULL, parts[2], NULL));
}

static void
spawn(struct qemu *q, bool incoming)
{
	static const char *const common[] = {
		"-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-netdev",
		"dgram,id=hostnet0,local.type=unix,local.path=%,remote.type=unix,remote.path=%",
		"-device", "virtio-net-pci,netdev=hostnet0,id=net0,romfile=", "-blockdev" };
	g_auto(GStrv) prefix = NULL;
	g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *disk = path_in(q, "disk.raw"), *qmp = path_in(q, "qmp"), *nic = path_in(q, "nic");
	g_autoptr(GError) error = NULL;
	int n;

	assert_true(g_shell_parse_argv(g_getenv("FTD_TEST_QEMU"), &n, &prefix, NULL));
	for (int i = 0; i < n; i++)
		g_ptr_array_add(argv, g_strdup(prefix[i]));
	g_ptr_array_add(argv, g_strdup("-M"));
	g_ptr_array_add(argv, g_strdup(q->machine));
	for (size_t i = 0; i < G_N_ELEMENTS(common); i++)
		add_argument(argv, common[i], nic, q->lan_path);
	add_argument(argv, "driver=file,node-name=file0,filename=%", disk, "");
	g_ptr_array_add(argv, g_strdup("-blockdev"));
	g_ptr_array_add(argv, g_strdup("driver=raw,node-name=disk0,file=file0"));
	g_ptr_array_add(argv, g_strdup("-device"));
	g_ptr_array_add(argv, g_strdup("virtio-blk-pci,id=vd0,drive=disk0"));
	g_ptr_array_add(argv, g_strdup("-qmp"));
	add_argument(argv, "unix:%,server=on,wait=off", qmp, "");
	if (incoming) {
		g_ptr_array_add(argv, g_strdup("-incoming"));
		g_ptr_array_add(argv, g_strdup("defer"));
	}
	g_ptr_array_add(argv, NULL);
	if (!g_spawn_async(NULL, (char **)argv->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, become_child, NULL, &q->pid, &error))
		fail_msg("%s", error->message);
	q->client = qmp_client_new_socket(qmp, PATIENCE_MS, NULL, on_closed, q);
}

static void
start_machine(struct qemu *q, const char *machine, const char *name, bool incoming)
{
	g_autofree char *disk = NULL;
	FILE *f;

	*q = (struct qemu){ .name = name, .machine = machine, .dir = g_build_filename(tmp_dir, name, NULL) };
	assert_int_equal(g_mkdir(q->dir, 0700), 0);
	disk = path_in(q, "disk.raw");
	f = fopen(disk, "w");
	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), DISK_BYTES), 0);
	fclose(f);
	q->lan_path = path_in(q, "lan");
	q->lan = lan_socket(q->lan_path);
	spawn(q, incoming);
}

static void
start(struct qemu *q, const char *name, bool incoming)
{
	start_machine(q, "pc", name, incoming);
}

static void
end(struct qemu *q)
{
	g_clear_pointer(&q->client, qmp_client_free);
	if (q->pid > 0) {
		kill(q->pid, SIGKILL);
		waitpid(q->pid, NULL, 0);
	}
	if (q->lan >= 0)
		close(q->lan);
	g_free(q->lan_path);
	g_free(q->dir);
}

/* ---- asking it ---- */

static void
on_reply(struct json_object *reply, const GError *error, gpointer data)
{
	struct answer *a = data;

	a->there = true;
	a->reply = json_object_get(reply);
	a->error = error ? g_error_copy(error) : NULL;
}

static void
on_plan(struct qmp_plan *plan, const GError *error, gpointer data)
{
	on_reply(NULL, error, data);
}

static void
wait_for(struct qemu *q, struct answer *a)
{
	while (!a->there)
		g_main_context_iteration(NULL, TRUE);
}

/* The reply, which must be one. */
static struct json_object *
ask_fd(struct qemu *q, struct json_object *command, int fd)
{
	struct answer a = { 0 };

	qmp_client_execute(q->client, command, fd, 0, PATIENCE_MS, on_reply, &a);
	wait_for(q, &a);
	if (a.error)
		fail_msg("%s: %s", q->name, a.error->message);
	return a.reply;
}

static struct json_object *
ask(struct qemu *q, struct json_object *command)
{
	return ask_fd(q, command, -1);
}

static void
tell(struct qemu *q, struct json_object *command)
{
	json_object_put(ask(q, command));
}

static void
tell_fd(struct qemu *q, struct json_object *command, int fd)
{
	json_object_put(ask_fd(q, command, fd));
}

/* The refusal, which must be one. */
static char *
refusal(struct qemu *q, struct json_object *command)
{
	struct answer a = { 0 };
	char *text;

	qmp_client_execute(q->client, command, -1, 0, PATIENCE_MS, on_reply, &a);
	wait_for(q, &a);
	assert_true(g_error_matches(a.error, FTD_ERROR, FTD_ERROR_QMP));
	text = g_strdup(a.error->message);
	g_error_free(a.error);
	return text;
}

static GError *
run(struct qemu *q, struct qmp_plan *plan)
{
	struct answer a = { 0 };

	qmp_client_run(q->client, plan, PATIENCE_MS, on_plan, &a);
	wait_for(q, &a);
	return a.error;
}

static void
run_ok(struct qemu *q, struct qmp_plan *plan)
{
	g_autofree char *name = g_strdup(qmp_plan_name(plan));
	g_autoptr(GError) error = run(q, plan);

	if (error)
		fail_msg("%s: %s: %s", q->name, name, error->message);
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
add_names(struct qemu *q, GPtrArray *names, struct json_object *command, const char *key)
{
	g_autoptr(json_object) reply = ask(q, command);
	struct json_object *list = json_member(reply, "return", json_type_array);

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		const char *name = json_member_string(json_object_array_get_idx(list, i), key);

		g_ptr_array_add(names, g_strconcat(key, " ", name ? name : "?", NULL));
	}
}

/* Everything a recipe could leave behind. */
static char *
inventory(struct qemu *q)
{
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(json_object) drive = ask(q, qmp_qom_get("vd0", "drive"));

	add_names(q, names, qmp_query("query-chardev"), "label");
	add_names(q, names, qmp_command("qom-list", json_tokener_parse("{\"path\": \"/objects\"}")), "name");
	add_names(q, names, qmp_query("query-named-block-nodes"), "node-name");
	add_names(q, names, qmp_query("query-block-exports"), "id");
	add_names(q, names, qmp_query("query-jobs"), "id");
	g_ptr_array_add(names, g_strdup_printf("drive %s", json_member_string(drive, "return")));
	g_ptr_array_sort(names, compare_names);
	g_ptr_array_add(names, NULL);
	return g_strjoinv("\n", (char **)names->pdata);
}

static void
assert_inventory(struct qemu *q, const char *before)
{
	g_autofree char *now = inventory(q);

	assert_string_equal(now, before);
}

static bool
is_status(struct qemu *q, const char *want)
{
	g_autoptr(json_object) reply = ask(q, qmp_query("query-status"));
	char status[32];
	bool running;

	assert_true(qmp_read_status(reply, status, &running, NULL));
	return g_str_equal(status, want);
}

static void
wait_colo(struct qemu *q)
{
	gint64 until = g_get_monotonic_time() + PATIENCE_MS * 1000;
	struct qmp_migration m = { 0 };

	while (!g_str_equal(m.status, "colo")) {
		g_autoptr(json_object) reply = ask(q, qmp_query("query-migrate"));

		assert_true(qmp_read_migration(reply, &m, NULL));
		if (g_str_equal(m.status, "failed") || g_get_monotonic_time() > until)
			fail_msg("%s: migration %s %s", q->name, m.status, m.error);
		g_usleep(20000);
	}
}

static struct qmp_job
wait_job(struct qemu *q, const char *status)
{
	gint64 until = g_get_monotonic_time() + PATIENCE_MS * 1000;
	struct qmp_job job = { 0 };

	while (!g_str_equal(job.status, status)) {
		g_autoptr(json_object) reply = ask(q, qmp_query("query-block-jobs"));

		assert_true(qmp_read_job(reply, "ftd-mirror0", &job, NULL));
		if (!job.found || g_get_monotonic_time() > until)
			fail_msg("%s: the job is %s, not %s", q->name, job.found ? job.status : "gone", status);
		g_usleep(2000);
	}
	return job;
}

/* ---- frames ---- */

struct wires {
	int rel, out, mir, inj, cap, shut;	/* our ends, -1 = none */
};

static int
wire(int *ours)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*ours = fds[0];
	return fds[1];
}

static void
close_wires(struct wires *w)
{
	int *fds[] = { &w->rel, &w->out, &w->mir, &w->inj, &w->cap, &w->shut };

	for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static struct qmp_plan *
primary_nic(struct wires *w, bool has_rewriter)
{
	struct qmp_nic nic = { .netdev = "hostnet0", .has_rewriter = has_rewriter, .vnet_hdr = true };

	*w = (struct wires){ -1, -1, -1, -1, -1, -1 };
	nic.rel_fd = wire(&w->rel);
	nic.out_fd = wire(&w->out);
	nic.mir_fd = wire(&w->mir);
	nic.inj_fd = wire(&w->inj);
	return qmp_recipe_primary_nic(0, &nic);
}

static struct qmp_plan *
standby_nic(struct wires *w)
{
	struct qmp_nic nic = { .netdev = "hostnet0", .vnet_hdr = true };

	*w = (struct wires){ -1, -1, -1, -1, -1, -1 };
	nic.rel_fd = wire(&w->rel);
	nic.inj_fd = wire(&w->inj);
	nic.cap_fd = wire(&w->cap);
	nic.shut_fd = wire(&w->shut);
	return qmp_recipe_standby_nic(0, &nic);
}

/* A broadcast frame of an EtherType for local experiments (IEEE 802), with `mark` in it. */
#define FRAME 60
static void
make_frame(uint8_t frame[FRAME], const char *mark)
{
	memset(frame, 0, FRAME);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, "\x52\x54\x00\x99\x00\x01\x88\xb5", 8);
	g_strlcpy((char *)frame + 14, mark, FRAME - 14);
}

static void
say_on_lan(struct qemu *q, const char *mark)
{
	g_autofree char *nic = path_in(q, "nic");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint8_t frame[FRAME];

	make_frame(frame, mark);
	g_strlcpy(address.sun_path, nic, sizeof address.sun_path);
	assert_int_equal(sendto(q->lan, frame, FRAME, 0, (struct sockaddr *)&address, sizeof address), FRAME);
}

static void
say_on_wire(int fd, const char *mark)
{
	uint8_t message[8 + FRAME] = { 0, 0, 0, FRAME, 0, 0, 0, 0 };

	make_frame(message + 8, mark);
	assert_int_equal(send(fd, message, sizeof message, MSG_NOSIGNAL), sizeof message);
}

/* Does a frame with the mark come within the time? Other traffic (none is expected without a guest) is passed over. */
static bool
hears(int fd, const char *mark, int timeout_ms)
{
	gint64 until = g_get_monotonic_time() + timeout_ms * 1000;
	gint64 left;

	while ((left = until - g_get_monotonic_time()) > 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char buffer[4096];
		ssize_t n;

		if (poll(&p, 1, (int)(left / 1000) + 1) <= 0 || (n = recv(fd, buffer, sizeof buffer, 0)) <= 0)
			return false;
		if (memmem(buffer, (size_t)n, mark, strlen(mark)))
			return true;
	}
	return false;
}

#define HEARD 5000
#define SILENT 100

/* ---- disks ---- */

/* By a QEMU that runs: an incoming one keeps its nodes inactive. */
static void
make_overlay(struct qemu *q, const char *path)
{
	struct json_object *arguments = json_object_new_object();
	struct qmp_plan *p = qmp_plan_new("make an overlay");
	g_autofree char *options = g_strdup_printf("{\"job-id\":\"create\",\"options\":{\"driver\":\"qcow2\",\"file\":\"new-file\",\"size\":%d}}", DISK_BYTES);
	int fd = g_creat(path, 0600);

	assert_true(fd >= 0);
	close(fd);
	json_object_object_add(arguments, "driver", json_object_new_string("file"));
	json_object_object_add(arguments, "node-name", json_object_new_string("new-file"));
	json_object_object_add(arguments, "filename", json_object_new_string(path));
	qmp_plan_add(p, qmp_command("blockdev-add", arguments), NULL, -1, QMP_STEP_MUST);
	qmp_plan_add(p, qmp_command("blockdev-create", json_tokener_parse(options)), NULL, -1, QMP_STEP_MUST);
	qmp_plan_add(p, qmp_job_dismiss("create"), NULL, -1, QMP_STEP_RETRY);
	qmp_plan_add(p, qmp_blockdev_del("new-file"), NULL, -1, QMP_STEP_RETRY);
	run_ok(q, p);
}

static struct qmp_disk
disk_of(struct qemu *q, const char *node, const char *nbd_path)
{
	g_autofree char *act = path_in(q, "act.qcow2"), *hid = path_in(q, "hid.qcow2");
	struct qmp_disk d = { .device = "vd0", .size = DISK_BYTES, .nbd_fd = -1 };

	g_strlcpy(d.node, node, sizeof d.node);
	g_strlcpy(d.nbd_path, nbd_path, sizeof d.nbd_path);
	g_strlcpy(d.active_path, act, sizeof d.active_path);
	g_strlcpy(d.hidden_path, hid, sizeof d.hidden_path);
	return d;
}

static struct qmp_plan *
standby_plan(struct qemu *q, struct wires *w, const char *nbd_path)
{
	struct qmp_disk d = disk_of(q, "disk0", "");
	struct qmp_plan *p = qmp_recipe_nbd_server_start(nbd_path);

	qmp_plan_append(p, qmp_recipe_standby_disk(0, &d));
	qmp_plan_append(p, standby_nic(w));
	return p;
}

/* The recipe with an end that QEMU refuses: its undo is then up to the client. */
static struct qmp_plan *
spoilt(struct qmp_plan *p)
{
	qmp_plan_add(p, qmp_object_del("nosuch"), NULL, -1, QMP_STEP_MUST);
	return p;
}

static void
run_spoilt(struct qemu *q, struct qmp_plan *p)
{
	g_autoptr(GError) error = run(q, spoilt(p));

	assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_QMP));
	if (!strstr(error->message, "object-del nosuch"))
		fail_msg("%s: %s", q->name, error->message);
}

/* ---- the assumptions ---- */

static bool
usable(struct qemu *q)
{
	g_autoptr(json_object) version = ask(q, qmp_query("query-version")), capabilities = ask(q, qmp_query("query-migrate-capabilities"));
	g_autoptr(json_object) kvm = ask(q, qmp_query("query-kvm"));
	char text[64];
	unsigned major;
	bool colo, tcg;

	assert_true(qmp_read_version(version, text, &major, NULL));
	assert_true(qmp_read_has_colo(capabilities, &colo, NULL));
	assert_true(qmp_read_tcg(kvm, &tcg, NULL));
	assert_true(tcg);
	assert_true(qmp_client_has_oob(q->client));
	print_message("QEMU %s, x-colo: %s\n", text, colo ? "yes" : "no");
	return major >= 11 && colo;
}

static void
small_facts(struct qemu *q)
{
	g_autofree char *lost = refusal(q, qmp_lost_heartbeat());
	g_autofree char *del = refusal(q, qmp_object_del("nosuch")), *node = refusal(q, qmp_blockdev_del("nosuch")), *job = refusal(q, qmp_job_dismiss("nosuch"));

	assert_non_null(strstr(lost, "COLO"));
	/* these end a retry early (qmp-plan.c) */
	assert_non_null(strstr(del, "not found"));
	assert_non_null(strstr(node, "Failed to find node"));
	assert_non_null(strstr(job, "not found"));
	run_ok(q, qmp_recipe_refresh(true));
	assert_true(is_status(q, "running"));
}

/* net/net.c, qemu_can_send_packet: while the VM is stopped a released frame waits in QEMU; it leaves when the VM runs again. The mirror works all the time. */
static void
while_stopped(struct qemu *q, struct wires *w)
{
	tell(q, qmp_stop());
	say_on_wire(w->rel, "while stopped");
	assert_false(hears(q->lan, "while stopped", SILENT));
	say_on_lan(q, "to a stopped guest");
	assert_true(hears(w->mir, "to a stopped guest", HEARD));
	tell(q, qmp_cont());
	assert_true(hears(q->lan, "while stopped", HEARD));
}

/* QEMU speaking for the guest: a RARP frame (EtherType 0x8035) that passes the filters as the guest's would. */
#define RARP "\x80\x35"
static void
announce(struct qemu *q)
{
	tell(q, qmp_command("announce-self", json_tokener_parse("{\"initial\": 10, \"max\": 10, \"rounds\": 1, \"step\": 10}")));
}

/* out swallows, and goes on swallowing when nobody holds its far end any more: without a guard there is no output. */
static void
fails_closed(struct qemu *q, struct wires *w)
{
	announce(q);
	assert_true(hears(w->out, RARP, HEARD));
	assert_false(hears(q->lan, RARP, SILENT));
	close(w->out);
	w->out = -1;
	announce(q);
	assert_false(hears(q->lan, RARP, SILENT));
}

/* A chardev in use cannot be removed; a closefd after chardev-add finds nothing. Then the recipe, undone and detached. */
static void
primary_nic_comes_and_goes(struct qemu *q)
{
	g_autofree char *before = inventory(q), *busy = NULL, *taken = NULL;
	struct wires w;

	run_spoilt(q, primary_nic(&w, false));
	assert_inventory(q, before);
	close_wires(&w);

	run_ok(q, primary_nic(&w, false));
	busy = refusal(q, qmp_chardev_remove("ftd-chr-out0"));
	assert_non_null(strstr(busy, "busy"));
	taken = refusal(q, qmp_closefd("ftd-fd-out0"));
	say_on_lan(q, "to the guest");
	assert_true(hears(w.mir, "to the guest", HEARD));
	say_on_wire(w.rel, "released");
	assert_true(hears(q->lan, "released", HEARD));
	assert_false(hears(w.out, "released", SILENT));
	while_stopped(q, &w);
	fails_closed(q, &w);
	run_ok(q, qmp_recipe_primary_nic_detach(0));
	announce(q);
	assert_true(hears(q->lan, RARP, HEARD));
	assert_inventory(q, before);
	run_ok(q, qmp_recipe_primary_nic_detach(0));	/* what is gone is gone */
	close_wires(&w);
}

static void
standby_attaches(struct qemu *q, struct qemu *maker, struct wires *w, const char *nbd_path)
{
	g_autofree char *act = path_in(q, "act.qcow2"), *hid = path_in(q, "hid.qcow2"), *before = NULL;

	make_overlay(maker, act);
	make_overlay(maker, hid);
	before = inventory(q);
	run_spoilt(q, standby_plan(q, w, nbd_path));
	assert_inventory(q, before);
	close_wires(w);

	run_ok(q, standby_plan(q, w, nbd_path));
	say_on_lan(q, "standby LAN");
	assert_true(hears(w->shut, "standby LAN", HEARD));
}

/* The target must have the source's size; that comes as the error of a concluded job, which is kept for us. */
static void
other_size(struct qemu *q, struct qemu *target, const char *nbd_path)
{
	g_autofree char *before = inventory(q), *file = path_in(target, "big.raw");
	g_autofree char *add = g_strdup_printf("{\"driver\":\"file\",\"node-name\":\"big\",\"filename\":\"%s\"}", file);
	struct qmp_disk d = disk_of(q, "disk0", nbd_path);
	struct qmp_job job;
	int fd = g_creat(file, 0600);

	assert_int_equal(ftruncate(fd, DISK_BYTES + (1 << 20)), 0);
	close(fd);
	tell(target, qmp_command("blockdev-add", json_tokener_parse(add)));
	tell(target, qmp_command("block-export-add", json_tokener_parse("{\"type\":\"nbd\",\"id\":\"big\",\"node-name\":\"big\",\"name\":\"ftd7\",\"writable\":true}")));
	/* recipe 7 finds the export ftd7; its job is ftd-mirror7 */
	run_ok(q, qmp_recipe_primary_disk(7, &d));
	for (;;) {
		g_autoptr(json_object) reply = ask(q, qmp_query("query-block-jobs"));

		assert_true(qmp_read_job(reply, "ftd-mirror7", &job, NULL));
		assert_true(job.found);
		if (g_str_equal(job.status, "concluded"))
			break;
		g_usleep(2000);
	}
	assert_non_null(strstr(job.error, "different sizes"));
	run_ok(q, qmp_recipe_primary_disks_detach(7, 1, false));
	assert_inventory(q, before);
	tell(target, qmp_command("block-export-del", json_tokener_parse("{\"id\":\"big\",\"mode\":\"hard\"}")));
	{
		struct qmp_plan *p = qmp_plan_new("remove big");

		qmp_plan_add(p, qmp_blockdev_del("big"), NULL, -1, QMP_STEP_RETRY);
		run_ok(target, p);
	}
}

static void
primary_disk_comes_and_goes(struct qemu *q, const char *nbd_path)
{
	g_autofree char *before = inventory(q), *in_use = NULL;
	struct qmp_disk d = disk_of(q, "disk0", nbd_path);
	struct qmp_job job;

	run_spoilt(q, qmp_recipe_primary_disk(0, &d));
	run_ok(q, qmp_recipe_primary_disks_detach(0, 1, false));
	assert_inventory(q, before);
	run_ok(q, qmp_recipe_primary_disk(0, &d));
	job = wait_job(q, "ready");
	assert_true(job.ready);
	assert_int_equal(job.length, DISK_BYTES);
	in_use = refusal(q, qmp_blockdev_del("ftd-nbd0"));
	run_ok(q, qmp_recipe_primary_disks_detach(0, 1, false));
	assert_inventory(q, before);
}

static void
attach_primary(struct qemu *q, const char *node, struct wires *w, const char *nbd_path)
{
	struct qmp_disk d = disk_of(q, node, nbd_path);

	run_ok(q, qmp_recipe_primary_disk(0, &d));
	wait_job(q, "ready");
	run_ok(q, primary_nic(w, g_str_has_prefix(node, "ftd-repl")));
}

static void
protect(struct qemu *a, struct qemu *b)
{
	int fds[2];

	tell(a, qmp_set_capabilities(true, true));
	tell(a, qmp_set_migration_parameters());
	tell(b, qmp_set_capabilities(true, true));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	tell_fd(b, qmp_getfd("ftd-mig"), fds[0]);
	tell(b, qmp_migrate_incoming_fd("ftd-mig"));
	tell_fd(a, qmp_getfd("ftd-mig"), fds[1]);
	tell(a, qmp_migrate_fd("ftd-mig"));
	wait_colo(a);
	wait_colo(b);
	g_usleep(300000);	/* some checkpoints */
}

static void
wait_overlay_done(struct qemu *q)
{
	gint64 until = g_get_monotonic_time() + PATIENCE_MS * 1000;
	bool done = false;

	while (!done && g_get_monotonic_time() < until) {
		g_autoptr(json_object) reply = ask(q, qmp_query("query-named-block-nodes"));

		assert_true(qmp_read_overlay_done(reply, 0, "disk0", &done, NULL));
	}
	assert_true(done);
}

static bool
overlay_done(struct qemu *q)
{
	g_autoptr(json_object) reply = ask(q, qmp_query("query-named-block-nodes"));
	bool done;

	assert_true(qmp_read_overlay_done(reply, 0, "disk0", &done, NULL));
	return done;
}

static void
lose(struct qemu *q)
{
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	q->pid = 0;
	while (!q->closed)
		g_main_context_iteration(NULL, TRUE);
}

static bool
filter_is_on(struct qemu *q, const char *id)
{
	g_autofree char *path = g_strconcat("/objects/", id, NULL);
	g_autoptr(json_object) reply = ask(q, qmp_qom_get(path, "status"));

	return g_strcmp0(json_member_string(reply, "return"), "on") == 0;
}

/* Some time after lost-heartbeat is answered QEMU starts the guest (migration/migration.c, process_incoming_migration_bh()). */
static void
wait_running(struct qemu *q)
{
	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		if (is_status(q, "running"))
			return;
		g_usleep(10000);
	}
	fail_msg("%s does not run after it lost its primary", q->name);
}

/* block/replication.c, replication_stop(): the overlays are committed while QEMU is still in COLO.
 * net/filter.c, default_handle_event: lost-heartbeat opens the standby's NIC by itself, and takes rel away. */
static void
fail_over(struct qemu *a, struct qemu *b, struct wires *w)
{
	assert_false(overlay_done(b));
	assert_true(filter_is_on(b, "ftd-cap0"));
	lose(a);
	run_ok(b, qmp_recipe_nbd_server_stop());
	tell(b, qmp_replication_failover());
	assert_true(filter_is_on(b, "ftd-cap0"));	/* whether it runs depends on whether a died in a checkpoint */
	wait_overlay_done(b);
	tell(b, qmp_lost_heartbeat());
	wait_running(b);
	assert_false(filter_is_on(b, "ftd-inj0"));
	assert_false(filter_is_on(b, "ftd-shut0"));
	assert_false(filter_is_on(b, "ftd-cap0"));
	assert_false(filter_is_on(b, "ftd-rel0"));
	assert_true(filter_is_on(b, "ftd-rew0"));
	say_on_wire(w->rel, "held until now");
	assert_false(hears(b->lan, "held until now", SILENT));
	run_ok(b, qmp_recipe_standby_nic_hear(0));
	run_ok(b, qmp_recipe_standby_nic_open(0));
	assert_true(hears(b->lan, "held until now", HEARD));
	say_on_wire(w->rel, "still there");
	assert_true(hears(b->lan, "still there", HEARD));
	say_on_lan(b, "open");
	assert_false(hears(w->shut, "open", SILENT));
	tell(b, qmp_announce_self());
	run_ok(b, qmp_recipe_standby_nic_finish(0));
	assert_true(overlay_done(b));
	run_ok(b, qmp_recipe_standby_disk_finish(0));
	close_wires(w);
}

/* The primary's filters stay on: it speaks when they are removed. The mirror has failed by then; its job is kept for us, and goes. */
static void
lose_the_standby(struct qemu *q, struct qemu *standby, struct wires *w)
{
	lose(standby);
	tell(q, qmp_lost_heartbeat());
	assert_true(is_status(q, "running"));
	assert_true(filter_is_on(q, "ftd-out0"));
	assert_true(filter_is_on(q, "ftd-rel0"));
	say_on_wire(w->rel, "last words");
	assert_true(hears(q->lan, "last words", HEARD));
	run_ok(q, qmp_recipe_primary_nic_detach(0));
	run_ok(q, qmp_recipe_primary_disks_detach(0, 1, false));
}

/* The survivor keeps the rewriter and the replication node, and can be a primary with them. */
static void
former_standby_is_protected(struct qemu *b, struct qemu *c, const char *nbd_path)
{
	g_autofree char *before = inventory(b);
	struct wires w, wc;

	assert_non_null(strstr(before, "name ftd-rew0"));
	assert_non_null(strstr(before, "drive ftd-repl0"));
	assert_null(strstr(before, "ftd-chr-"));
	assert_null(strstr(before, "ftd-act0"));
	assert_null(strstr(before, "ftd-hid0"));
	standby_attaches(c, b, &wc, nbd_path);
	attach_primary(b, "ftd-repl0", &w, nbd_path);
	tell(b, qmp_stop());	/* without a driver in the guest one frame blocks the NIC; a stop throws it away */
	tell(b, qmp_cont());
	say_on_lan(b, "again");
	assert_true(hears(w.mir, "again", HEARD));
	say_on_wire(w.rel, "released again");
	assert_true(hears(b->lan, "released again", HEARD));
	assert_false(hears(w.out, "released again", SILENT));
	protect(b, c);
	lose_the_standby(b, c, &w);
	assert_inventory(b, before);
	close_wires(&w);
	close_wires(&wc);
}

static void
the_life_of_a_pair(void **state)
{
	g_autofree char *nbd = g_build_filename(tmp_dir, "nbd", NULL), *nbd2 = g_build_filename(tmp_dir, "nbd2", NULL);
	struct qemu a, b, c;
	struct wires wa, wb;

	start(&a, "a", false);
	start(&b, "b", true);
	if (!usable(&a)) {
		end(&a);
		end(&b);
		skip();
	}
	small_facts(&a);
	primary_nic_comes_and_goes(&a);
	standby_attaches(&b, &a, &wb, nbd);
	other_size(&a, &b, nbd);
	primary_disk_comes_and_goes(&a, nbd);
	attach_primary(&a, "disk0", &wa, nbd);
	protect(&a, &b);
	fail_over(&a, &b, &wb);
	close_wires(&wa);
	start(&c, "c", true);
	former_standby_is_protected(&b, &c, nbd2);
	assert_false(b.closed);
	end(&a);
	end(&b);
	end(&c);
}

/* ---- GUARD_OP_TRACK: qmp-tlb-flush.c ---- */

static char *
monitor(struct qemu *q, const char *line)
{
	struct json_object *reply = ask(q, qmp_hmp(line)), *text = json_member(reply, "return", json_type_string);
	char *said;

	assert_non_null(text);
	said = g_strdup(json_object_get_string(text));
	json_object_put(reply);
	return said;
}

static unsigned
flushes(struct qemu *q)
{
	static const char *const kinds[] = { "TLB full flushes", "TLB partial flushes", "TLB elided flushes" };
	g_autofree char *said = monitor(q, "info jit");
	unsigned sum = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		const char *at = strstr(said, kinds[i]);
		assert_non_null(at);
		sum += (unsigned)g_ascii_strtoull(at + strlen(kinds[i]), NULL, 10);
	}
	return sum;
}

/* All that the host bridge shows, by the guest's own ports. */
static char *
bridge(struct qemu *q)
{
	g_autoptr(GString) all = g_string_new(NULL);

	for (unsigned at = 0; at < 256; at += 4) {
		g_autofree char *select = g_strdup_printf("o /w 0xcf8 0x%08x", 0x80000000u | at), *nothing = monitor(q, select), *value = monitor(q, "i /w 0xcfc");
		g_string_append(all, value);
	}
	return g_string_free(g_steal_pointer(&all), FALSE);
}

static void
flush(struct qemu *q)
{
	struct qmp_tlb_flush f = { 0 };
	g_autofree char *reply = NULL;
	g_autoptr(GError) error = NULL;
	const char *line;

	while ((line = qmp_tlb_flush_next(&f, reply, &error))) {
		g_free(reply);
		reply = monitor(q, line);
	}
	if (error)
		fail_msg("%s: %s", q->machine, error->message);
}

static void
tlbs_are_flushed_and_the_guest_sees_nothing(void **state)
{
	static const char *const machines[] = { "pc", "q35" };

	for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
		g_autofree char *before = NULL, *after = NULL, *select = NULL, *latch = NULL;
		unsigned n;
		struct qemu q;

		start_machine(&q, machines[i], machines[i], false);
		tell(&q, qmp_stop());
		before = bridge(&q);
		select = monitor(&q, "o /w 0xcf8 0x80001804");
		n = flushes(&q);
		g_usleep(50000);
		assert_int_equal(flushes(&q), n);	/* nothing else flushes them in a guest that stands */
		flush(&q);
		assert_true(flushes(&q) > n);
		latch = monitor(&q, "i /w 0xcf8");
		assert_string_equal(latch, "portl[0x0cf8] = 0x80001804\r\n");
		after = bridge(&q);
		assert_string_equal(before, after);
		end(&q);
	}
}

static void
remove_tree(const char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *child = g_build_filename(path, name, NULL);

		if (g_file_test(child, G_FILE_TEST_IS_DIR))
			remove_tree(child);
		else
			g_unlink(child);
	}
	g_rmdir(path);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(the_life_of_a_pair), cmocka_unit_test(tlbs_are_flushed_and_the_guest_sees_nothing) };
	g_autofree char *dir = NULL;
	int failed;

	if (!g_getenv("FTD_TEST_QEMU")) {
		g_print("skipped: FTD_TEST_QEMU is not set to the command of a QEMU >= 11.0\n");
		return TEST_SKIPPED;
	}
	dir = g_dir_make_tmp("ftd-qmp-XXXXXX", NULL);
	tmp_dir = dir;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	remove_tree(dir);
	return failed;
}
