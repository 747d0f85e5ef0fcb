/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transcripts: the exact commands of each recipe, and of its undo after full success. tests/assumptions/qmp-recipes.c shows that QEMU takes them. */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-commands.h"

#include <fcntl.h>
#include <unistd.h>

#define C(name, arguments) "{\"execute\":\"" name "\",\"arguments\":{" arguments "}}"
#define GETFD(name) "fd " C("getfd", "\"fdname\":\"ftd-fd-" name "\"")
#define CLOSEFD(name) C("closefd", "\"fdname\":\"ftd-fd-" name "\"")
#define CHARDEV(name) C("chardev-add", "\"id\":\"ftd-chr-" name "\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{\"type\":\"fd\",\"data\":" \
			"{\"str\":\"ftd-fd-" name "\"}},\"server\":false}}")
#define CHARDEV_REMOVE(name) C("chardev-remove", "\"id\":\"ftd-chr-" name "\"")
#define OBJECT_DEL(name) C("object-del", "\"id\":\"ftd-" name "\"")
#define FILTER(type, name, rest) C("object-add", "\"qom-type\":\"filter-" type "\",\"id\":\"ftd-" name "\",\"netdev\":\"hostnet0\"," rest)
#define VNET ",\"vnet_hdr_support\":true"

static int
null_fd(void)
{
	return open("/dev/null", O_RDONLY);
}

/* Runs the plan; every command is answered with `reply`. */
static void
assert_transcript(struct qmp_plan *p, const char *reply, const char *const *want)
{
	g_autoptr(json_object) answer = parse(reply);
	struct json_object *command;
	unsigned flags, i = 0;
	int fd;

	for (; (command = qmp_plan_next(p, &fd, &flags)); i++) {
		g_autofree char *text = g_strconcat(fd >= 0 ? "fd " : "", json_object_to_json_string_ext(command, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), NULL);

		if (!want[i] || !g_str_equal(text, want[i]))
			fail_msg("step %u:\ngot  %s\nwant %s", i, text, want[i] ? want[i] : "the end");
		if (fd >= 0)
			close(fd);
		json_object_put(command);
		assert_true(qmp_plan_reply(p, answer, NULL));
	}
	if (want[i])
		fail_msg("missing: %s", want[i]);
}

static void
assert_recipe(struct qmp_plan *recipe, const char *const *want, const char *const *want_undo)
{
	g_autoptr(qmp_plan) p = recipe;
	g_autoptr(qmp_plan) undo = NULL;

	assert_transcript(p, "{\"return\":{}}", want);
	undo = qmp_plan_undo(p);
	if (want_undo)
		assert_transcript(undo, "{\"return\":{}}", want_undo);
	else
		assert_null(undo);
}

#define LINES(...) (const char *const[]){ __VA_ARGS__, NULL }

static struct qmp_nic
nic(bool vnet, bool rewriter)
{
	return (struct qmp_nic){ .netdev = "hostnet0", .out_fd = null_fd(), .rel_fd = null_fd(), .mir_fd = null_fd(), .inj_fd = null_fd(), .cap_fd = null_fd(),
		.shut_fd = null_fd(), .has_rewriter = rewriter, .vnet_hdr = vnet };
}

static void
close_rest(struct qmp_nic *n)
{
	int fds[] = { n->out_fd, n->rel_fd, n->mir_fd, n->inj_fd, n->cap_fd, n->shut_fd };

	for (size_t i = 0; i < G_N_ELEMENTS(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void
primary_nic(void **state)
{
	struct qmp_nic n = nic(true, false);

	assert_recipe(qmp_recipe_primary_nic(0, &n),
		LINES(GETFD("rel0"), CHARDEV("rel0"), GETFD("out0"), CHARDEV("out0"), GETFD("mir0"), CHARDEV("mir0"), GETFD("inj0"), CHARDEV("inj0"),
		      FILTER("redirector", "rel0", "\"queue\":\"rx\",\"indev\":\"ftd-chr-rel0\"" VNET),
		      FILTER("redirector", "out0", "\"queue\":\"rx\",\"outdev\":\"ftd-chr-out0\"" VNET),
		      FILTER("mirror", "mir0", "\"queue\":\"tx\",\"outdev\":\"ftd-chr-mir0\"" VNET),
		      FILTER("redirector", "inj0", "\"queue\":\"tx\",\"indev\":\"ftd-chr-inj0\"" VNET)),
		LINES(OBJECT_DEL("inj0"), OBJECT_DEL("mir0"), OBJECT_DEL("out0"), OBJECT_DEL("rel0"), CHARDEV_REMOVE("inj0"), CLOSEFD("inj0"), CHARDEV_REMOVE("mir0"), CLOSEFD("mir0"), CHARDEV_REMOVE("out0"), CLOSEFD("out0"),
		      CHARDEV_REMOVE("rel0"), CLOSEFD("rel0")));
	assert_int_equal(n.rel_fd, -1);
	assert_int_equal(n.out_fd, -1);
	assert_int_equal(n.mir_fd, -1);
	close_rest(&n);
	assert_recipe(qmp_recipe_primary_nic_detach(0),
		LINES(OBJECT_DEL("inj0"), CHARDEV_REMOVE("inj0"), OBJECT_DEL("mir0"), CHARDEV_REMOVE("mir0"), OBJECT_DEL("out0"), CHARDEV_REMOVE("out0"), OBJECT_DEL("rel0"), CHARDEV_REMOVE("rel0")), NULL);
}

static void
primary_nic_of_a_former_standby(void **state)
{
	struct qmp_nic n = nic(false, true);
#define BEFORE ",\"insert\":\"before\",\"position\":\"id=ftd-rew3\""

	assert_recipe(qmp_recipe_primary_nic(3, &n),
		LINES(GETFD("rel3"), CHARDEV("rel3"), GETFD("out3"), CHARDEV("out3"), GETFD("mir3"), CHARDEV("mir3"), GETFD("inj3"), CHARDEV("inj3"),
		      FILTER("redirector", "rel3", "\"queue\":\"rx\",\"indev\":\"ftd-chr-rel3\"" BEFORE),
		      FILTER("redirector", "out3", "\"queue\":\"rx\",\"outdev\":\"ftd-chr-out3\"" BEFORE),
		      FILTER("mirror", "mir3", "\"queue\":\"tx\",\"outdev\":\"ftd-chr-mir3\"" BEFORE),
		      FILTER("redirector", "inj3", "\"queue\":\"tx\",\"indev\":\"ftd-chr-inj3\"" BEFORE)),
		LINES(OBJECT_DEL("inj3"), OBJECT_DEL("mir3"), OBJECT_DEL("out3"), OBJECT_DEL("rel3"), CHARDEV_REMOVE("inj3"), CLOSEFD("inj3"), CHARDEV_REMOVE("mir3"), CLOSEFD("mir3"), CHARDEV_REMOVE("out3"), CLOSEFD("out3"),
		      CHARDEV_REMOVE("rel3"), CLOSEFD("rel3")));
	close_rest(&n);
}

static void
standby_nic(void **state)
{
	struct qmp_nic n = nic(true, false);

	assert_recipe(qmp_recipe_standby_nic(1, &n),
		LINES(GETFD("inj1"), CHARDEV("inj1"), GETFD("shut1"), CHARDEV("shut1"), GETFD("rel1"), CHARDEV("rel1"), GETFD("cap1"), CHARDEV("cap1"),
		      FILTER("redirector", "shut1", "\"queue\":\"tx\",\"outdev\":\"ftd-chr-shut1\"" VNET),
		      FILTER("redirector", "inj1", "\"queue\":\"tx\",\"indev\":\"ftd-chr-inj1\"" VNET),
		      FILTER("redirector", "rel1", "\"queue\":\"rx\",\"indev\":\"ftd-chr-rel1\"" VNET),
		      FILTER("redirector", "cap1", "\"queue\":\"rx\",\"outdev\":\"ftd-chr-cap1\"" VNET),
		      FILTER("rewriter", "rew1", "\"queue\":\"all\"" VNET)),
		LINES(OBJECT_DEL("rew1"), OBJECT_DEL("cap1"), OBJECT_DEL("rel1"), OBJECT_DEL("inj1"), OBJECT_DEL("shut1"), CHARDEV_REMOVE("cap1"), CLOSEFD("cap1"),
		      CHARDEV_REMOVE("rel1"), CLOSEFD("rel1"), CHARDEV_REMOVE("shut1"), CLOSEFD("shut1"), CHARDEV_REMOVE("inj1"), CLOSEFD("inj1")));
	close_rest(&n);
	assert_recipe(qmp_recipe_standby_nic_hear(1),
		LINES(C("qom-set", "\"path\":\"/objects/ftd-inj1\",\"property\":\"status\",\"value\":\"on\""),
		      C("qom-set", "\"path\":\"/objects/ftd-rel1\",\"property\":\"status\",\"value\":\"on\"")), NULL);
	assert_recipe(qmp_recipe_standby_nic_open(1), LINES(OBJECT_DEL("cap1"), OBJECT_DEL("shut1")), NULL);
	assert_recipe(qmp_recipe_standby_nic_finish(1),
		LINES(OBJECT_DEL("rel1"), OBJECT_DEL("inj1"), CHARDEV_REMOVE("rel1"), CHARDEV_REMOVE("cap1"), CHARDEV_REMOVE("shut1"), CHARDEV_REMOVE("inj1")), NULL);
}

#define MIRROR(node) C("blockdev-mirror", "\"job-id\":\"ftd-mirror2\",\"device\":\"" node "\",\"target\":\"ftd-nbd2\",\"sync\":\"full\"," \
		       "\"copy-mode\":\"write-blocking\",\"on-source-error\":\"stop\",\"on-target-error\":\"stop\",\"auto-dismiss\":false")
/* What the answers to the queries skip is in it: the plan as it is when every reply is an empty one. */
#define MARK C("qom-get", "\"path\":\"/objects/ftd-stands\",\"property\":\"type\"")
#define STAND "{\"execute\":\"query-block-jobs\"}", MARK
#define RUN_AGAIN MARK, OBJECT_DEL("stands")
#define JOB(command) C(command, "\"id\":\"ftd-mirror2\"")
#define BLOCKDEV_DEL(node) C("blockdev-del", "\"node-name\":\"" node "\"")

static void
primary_disk(void **state)
{
	struct qmp_disk d = { .device = "virtio-disk0", .node = "libvirt-1-format", .size = 1 << 20, .nbd_fd = -1, .nbd_path = "/run/x" };

	assert_recipe(qmp_recipe_primary_disk(2, &d),
		LINES(C("blockdev-add", "\"driver\":\"nbd\",\"node-name\":\"ftd-nbd2\",\"export\":\"ftd2\",\"server\":{\"type\":\"unix\",\"path\":\"/run/x\"}"),
		      MIRROR("libvirt-1-format")), NULL);
	d.nbd_fd = null_fd();
	assert_recipe(qmp_recipe_primary_disk(2, &d),
		LINES(GETFD("nbd2"), C("blockdev-add", "\"driver\":\"nbd\",\"node-name\":\"ftd-nbd2\",\"export\":\"ftd2\",\"server\":{\"type\":\"fd\",\"str\":\"ftd-fd-nbd2\"}"),
		      MIRROR("libvirt-1-format")),
		LINES(CLOSEFD("nbd2")));
	assert_int_equal(d.nbd_fd, -1);
	assert_recipe(qmp_recipe_primary_disks_detach(2, 1, false), LINES(STAND, JOB("job-cancel"), JOB("job-dismiss"), RUN_AGAIN, BLOCKDEV_DEL("ftd-nbd2")), NULL);
}

/* QEMU as it answers here: the guest runs, or stands; the mark is there once it was made. */
static struct json_object *
answer_of(const char *command, bool running, bool *marked)
{
	if (strstr(command, "query-block-jobs"))
		return parse("{\"return\":[{\"device\":\"other\"},{\"device\":\"ftd-mirror0\"}]}");
	if (strstr(command, "query-status"))
		return parse(running ? "{\"return\":{\"running\":true}}" : "{\"return\":{\"running\":false}}");
	if (strstr(command, "qom-get"))
		return parse(*marked ? "{\"return\":\"throttle-group\"}" : "{\"error\":{\"desc\":\"not found\"}}");
	*marked = (*marked || strstr(command, "object-add")) && !strstr(command, "object-del");
	return parse("{\"return\":{}}");
}

static char *
names_of_commands(struct qmp_plan *recipe, bool running, bool marked)
{
	g_autoptr(qmp_plan) p = recipe;
	GString *names = g_string_new(NULL);
	struct json_object *command;
	unsigned flags;
	int fd;

	while ((command = qmp_plan_next(p, &fd, &flags))) {
		const char *name = json_object_get_string(json_object_object_get(command, "execute"));
		g_autoptr(json_object) answer = answer_of(json_object_to_json_string(command), running, &marked);

		if (!g_str_has_prefix(name, "query-") && !g_str_equal(name, "qom-get"))
			g_string_append_printf(names, "%s ", name);
		json_object_put(command);
		assert_true(qmp_plan_reply(p, answer, NULL));
	}
	return g_string_free(names, FALSE);
}

static void
a_guest_stands_while_its_mirrors_end(void **state)
{
	g_autofree char *running = names_of_commands(qmp_recipe_primary_disks_detach(0, 2, false), true, false);
	g_autofree char *standing = names_of_commands(qmp_recipe_primary_disks_detach(0, 1, false), false, false);
	g_autofree char *broken_off = names_of_commands(qmp_recipe_primary_disks_detach(0, 1, false), false, true);
	g_autofree char *suspended = names_of_commands(qmp_recipe_primary_disks_detach(0, 1, true), true, false);
	g_autofree char *let_go = names_of_commands(qmp_recipe_primary_let_go(), false, true);
	g_autofree char *nothing_to_let_go = names_of_commands(qmp_recipe_primary_let_go(), false, false);

	assert_string_equal(running, "object-add stop job-cancel job-dismiss job-cancel job-dismiss cont object-del blockdev-del blockdev-del ");
	assert_string_equal(standing, "job-cancel job-dismiss object-del blockdev-del ");
	assert_string_equal(broken_off, "stop job-cancel job-dismiss cont object-del blockdev-del ");
	assert_string_equal(suspended, "object-add stop job-cancel job-dismiss object-del blockdev-del ");
	assert_string_equal(let_go, "cont object-del ");
	assert_string_equal(nothing_to_let_go, "object-del ");
}

static void
primary_all(void **state)
{
	g_autoptr(json_object) old = parse("{\"max-bandwidth\":7,\"x-checkpoint-delay\":20000,\"downtime-limit\":300}");
#define LOST_HEARTBEAT "{\"execute\":\"x-colo-lost-heartbeat\"}"
#define CAPABILITIES_OFF C("migrate-set-capabilities", "\"capabilities\":[{\"capability\":\"return-path\",\"state\":false},{\"capability\":\"x-colo\",\"state\":false}]")
#define NIC_OFF(i) OBJECT_DEL("inj" i), CHARDEV_REMOVE("inj" i), OBJECT_DEL("mir" i), CHARDEV_REMOVE("mir" i), OBJECT_DEL("out" i), CHARDEV_REMOVE("out" i), OBJECT_DEL("rel" i), CHARDEV_REMOVE("rel" i)

	assert_recipe(qmp_recipe_primary_detach(2, 0, old, false),
		LINES(LOST_HEARTBEAT, NIC_OFF("0"), NIC_OFF("1"), CAPABILITIES_OFF, C("migrate-set-parameters", "\"x-checkpoint-delay\":20000,\"max-bandwidth\":7,\"downtime-limit\":300")), NULL);
	assert_recipe(qmp_recipe_primary_detach(0, 1, NULL, false),
		LINES(LOST_HEARTBEAT, STAND, C("job-cancel", "\"id\":\"ftd-mirror0\""), C("job-dismiss", "\"id\":\"ftd-mirror0\""), RUN_AGAIN, BLOCKDEV_DEL("ftd-nbd0"),
		      CAPABILITIES_OFF), NULL);
}

#define NO_FLUSH "\"cache\":{\"no-flush\":true}"
#define OVERLAY(name, path, backing) C("blockdev-add", "\"driver\":\"qcow2\",\"node-name\":\"" name "\"," NO_FLUSH ",\"file\":{\"driver\":\"file\",\"filename\":\"" path "\"," NO_FLUSH "}," \
				       "\"backing\":\"" backing "\"")
#define DRIVE_GET C("qom-get", "\"path\":\"vd0\",\"property\":\"drive\"")
#define DRIVE_SET(node) C("qom-set", "\"path\":\"vd0\",\"property\":\"drive\",\"value\":\"" node "\"")

static void
standby_disk(void **state)
{
	static const struct qmp_disk d = { .device = "vd0", .node = "libvirt-1-format", .nbd_fd = -1, .active_path = "/a", .hidden_path = "/h" };

	assert_recipe(qmp_recipe_standby_disk(0, &d),
		LINES(OVERLAY("ftd-hid0", "/h", "libvirt-1-format"), OVERLAY("ftd-act0", "/a", "ftd-hid0"),
		      C("blockdev-add", "\"driver\":\"replication\",\"node-name\":\"ftd-repl0\",\"mode\":\"secondary\",\"file\":\"ftd-act0\",\"top-id\":\"ftd-repl0\""),
		      /* the replies here are no strings, so the set is left out: nobody knows what is attached */
		      DRIVE_GET,
		      C("block-export-add", "\"type\":\"nbd\",\"id\":\"ftd-exp0\",\"node-name\":\"libvirt-1-format\",\"name\":\"ftd0\",\"writable\":true")),
		LINES(C("block-export-del", "\"id\":\"ftd-exp0\",\"mode\":\"hard\""), BLOCKDEV_DEL("ftd-repl0"), BLOCKDEV_DEL("ftd-act0"), BLOCKDEV_DEL("ftd-hid0")));
	assert_recipe(qmp_recipe_standby_disk_finish(0), LINES(BLOCKDEV_DEL("ftd-act0"), BLOCKDEV_DEL("ftd-hid0")), NULL);
	assert_recipe(qmp_recipe_standby_disk_look(1), LINES(BLOCKDEV_DEL("ftd-act1"), BLOCKDEV_DEL("ftd-hid1")), NULL);
	assert_recipe(qmp_recipe_nbd_server_start("/n"), LINES(C("nbd-server-start", "\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"/n\"}}")),
		LINES("{\"execute\":\"nbd-server-stop\"}"));
	assert_recipe(qmp_recipe_nbd_server_stop(), LINES("{\"execute\":\"nbd-server-stop\"}"), NULL);
}

/* What a guard that died in the middle may have done already must not stop the rest: an error to every step, and all of them are said. */
static void
standby_release(void **state)
{
	static const char not_there[] = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"it was not found\"}}";
	g_autoptr(qmp_plan) p = qmp_recipe_standby_release(1, 1, true);

	assert_transcript(p, not_there,
		LINES("{\"execute\":\"nbd-server-stop\"}", LOST_HEARTBEAT, C("human-monitor-command", "\"command-line\":\"loadvm nosuch\""), "{\"execute\":\"cont\"}",
		      OBJECT_DEL("cap0"), OBJECT_DEL("shut0"), OBJECT_DEL("inj0"), OBJECT_DEL("rel0"), CHARDEV_REMOVE("cap0"), CHARDEV_REMOVE("shut0"),
		      CHARDEV_REMOVE("inj0"), CHARDEV_REMOVE("rel0"), C("announce-self", "\"initial\":10,\"max\":500,\"rounds\":5,\"step\":50"),
		      BLOCKDEV_DEL("ftd-act0"), BLOCKDEV_DEL("ftd-hid0"), CAPABILITIES_OFF,
		      C("migrate-set-parameters", "\"announce-initial\":50,\"announce-max\":550,\"announce-rounds\":5")));
}

/* qom-set of the node that is attached already aborts QEMU: neither the recipe nor its undo may do that. */
static void
standby_disk_drive(void **state)
{
	static const struct { const char *attached, *attached_at_undo; bool set, set_back; } table[] = {
		{ "libvirt-1-format", "ftd-repl0", true, true },
		{ "libvirt-1-format", "libvirt-1-format", true, false },	/* the set never happened although nobody said so */
		{ "ftd-repl0", NULL, false, false },
	};
	static const struct qmp_disk d = { .device = "vd0", .node = "libvirt-1-format", .nbd_fd = -1, .active_path = "/a", .hidden_path = "/h" };

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(qmp_plan) p = qmp_recipe_standby_disk(0, &d);
		g_autoptr(qmp_plan) undo = NULL;
		g_autofree char *reply = g_strdup_printf("{\"return\":\"%s\"}", table[i].attached);
		g_autoptr(GString) seen = g_string_new("");

		for (int phase = 0; phase < 2; phase++) {
			struct qmp_plan *now = phase ? undo : p;
			struct json_object *command;
			unsigned flags;
			int fd;

			while ((command = qmp_plan_next(now, &fd, &flags))) {
				g_autoptr(json_object) answer = parse(reply);

				if (g_str_equal(json_member_string(command, "execute"), "qom-set"))
					g_string_append_printf(seen, "%d%s ", phase, json_member_string(json_member(command, "arguments", json_type_object), "value"));
				json_object_put(command);
				assert_true(qmp_plan_reply(now, answer, NULL));
			}
			undo = phase ? undo : qmp_plan_undo(p);
			g_free(reply);
			reply = g_strdup_printf("{\"return\":\"%s\"}", table[i].attached_at_undo ? table[i].attached_at_undo : "");
		}
		assert_int_equal(strstr(seen->str, "0ftd-repl0 ") != NULL, table[i].set);
		assert_int_equal(strstr(seen->str, "1libvirt-1-format ") != NULL, table[i].set_back);
	}
}

static void
translations(void **state)
{
	assert_recipe(qmp_recipe_refresh(true), LINES("{\"execute\":\"system_wakeup\"}", "{\"execute\":\"cont\"}", C("human-monitor-command", "\"command-line\":\"loadvm nosuch\""), "{\"execute\":\"cont\"}"), NULL);
	assert_recipe(qmp_recipe_refresh(false), LINES("{\"execute\":\"system_wakeup\"}", "{\"execute\":\"cont\"}"), NULL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(primary_nic), cmocka_unit_test(primary_nic_of_a_former_standby), cmocka_unit_test(standby_nic), cmocka_unit_test(primary_disk),
		cmocka_unit_test(primary_all), cmocka_unit_test(a_guest_stands_while_its_mirrors_end),
		cmocka_unit_test(standby_disk), cmocka_unit_test(standby_disk_drive), cmocka_unit_test(standby_release), cmocka_unit_test(translations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
