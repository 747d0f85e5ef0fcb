/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies as QEMU 11.1.2 gave them (shortened where nothing is read), and bad ones. */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-readers.h"

#define READ(text, call) ({ g_autoptr(json_object) r = parse(text); GError *e = NULL; bool ok = call; if (!ok) assert_error(e, FTD_ERROR_QMP); ok; })

static void
job(void **state)
{
	static const char ready[] = "{\"return\":[{\"device\":\"other\",\"status\":\"running\"},{\"auto-finalize\":true,\"io-status\":\"ok\",\"device\":\"ftd-mirror0\","
		"\"auto-dismiss\":false,\"busy\":false,\"len\":16777216,\"offset\":16777215,\"status\":\"ready\",\"paused\":false,\"speed\":0,\"ready\":true,"
		"\"type\":\"mirror\",\"actively-synced\":false}]}";
	static const char failed[] = "{\"return\":[{\"auto-finalize\":true,\"io-status\":\"ok\",\"device\":\"ftd-mirror0\",\"auto-dismiss\":false,\"busy\":false,"
		"\"len\":0,\"offset\":0,\"status\":\"concluded\",\"paused\":false,\"speed\":0,\"ready\":false,\"type\":\"mirror\","
		"\"error\":\"Source and target image have different sizes\",\"actively-synced\":false}]}";
	struct qmp_job j;

	assert_true(READ(ready, qmp_read_job(r, "ftd-mirror0", &j, &e)));
	assert_true(j.found && j.ready && !j.actively_synced);
	assert_int_equal(j.length, 16777216);
	assert_int_equal(j.offset, 16777215);
	assert_string_equal(j.status, "ready");
	assert_true(READ(failed, qmp_read_job(r, "ftd-mirror0", &j, &e)));
	assert_true(j.found && !j.ready);
	assert_string_equal(j.status, "concluded");
	assert_string_equal(j.error, "Source and target image have different sizes");
	/* on-target-error=stop: it stays, and says so */
	assert_true(READ("{\"return\":[{\"io-status\":\"failed\",\"device\":\"m\",\"len\":1,\"offset\":1,\"status\":\"paused\",\"ready\":false}]}",
			 qmp_read_job(r, "m", &j, &e)));
	assert_string_equal(j.error, "it reports an I/O error");
	assert_true(READ("{\"return\":[]}", qmp_read_job(r, "ftd-mirror0", &j, &e)));
	assert_false(j.found);
	/* QEMU before 8.2 */
	assert_true(READ("{\"return\":[{\"device\":\"m\",\"status\":\"ready\",\"ready\":true,\"len\":1,\"offset\":1}]}", qmp_read_job(r, "m", &j, &e)));
	assert_true(j.actively_synced);
}

static void
left_standing(void **state)
{
	bool standing = false;

	assert_true(READ("{\"return\":[{\"name\":\"ftd-rew0\",\"type\":\"child\"},{\"name\":\"ftd-stands\",\"type\":\"child\"}]}", qmp_read_left_standing(r, &standing, &e)));
	assert_true(standing);
	assert_true(READ("{\"return\":[{\"name\":\"ftd-rew0\",\"type\":\"child\"}]}", qmp_read_left_standing(r, &standing, &e)));
	assert_false(standing);
	assert_false(READ("{\"return\":{}}", qmp_read_left_standing(r, &standing, &e)));
}

static void
job_bad(void **state)
{
	static const char *const table[] = {
		"{\"return\":{}}", "{\"error\":{\"class\":\"GenericError\",\"desc\":\"x\"}}", "{\"return\":[{\"device\":\"m\"}]}",
		"{\"return\":[{\"device\":\"m\",\"status\":\"ready\",\"ready\":1,\"len\":1,\"offset\":1}]}",
		"{\"return\":[{\"device\":\"m\",\"status\":\"ready\",\"ready\":true,\"len\":-1,\"offset\":1}]}",
		"{\"return\":[{\"device\":\"m\",\"status\":\"ready\",\"ready\":true,\"len\":1}]}",
	};
	struct qmp_job j = { .offset = 77 };

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
		assert_false(READ(table[i], qmp_read_job(r, "m", &j, &e)));
	assert_int_equal(j.offset, 77);		/* untouched */
	assert_true(READ("{\"return\":[7,null,{\"device\":7}]}", qmp_read_job(r, "m", &j, &e)));
	assert_false(j.found);
}

static void
status(void **state)
{
	char name[32] = "old";
	bool running;

	assert_true(READ("{\"return\":{\"status\":\"inmigrate\",\"running\":false}}", qmp_read_status(r, name, &running, &e)));
	assert_string_equal(name, "inmigrate");
	assert_false(running);
	assert_true(READ("{\"return\":{\"status\":\"running\",\"running\":true}}", qmp_read_status(r, name, &running, &e)));
	assert_true(running);
	assert_false(READ("{\"return\":{\"status\":\"paused\"}}", qmp_read_status(r, name, &running, &e)));
	assert_false(READ("{\"return\":[]}", qmp_read_status(r, name, &running, &e)));
	assert_true(qmp_status_stands("paused") && qmp_status_stands("prelaunch") && qmp_status_stands("guest-panicked") && qmp_status_stands("suspended"));
	assert_false(qmp_status_stands("running") || qmp_status_stands("shutdown") || qmp_status_stands("colo") || qmp_status_stands("finish-migrate"));
	assert_string_equal(name, "running");
}

static void
left_stopped(void **state)
{
	static const struct { const char *reply; bool ours; } cases[] = {
		{ "{\"return\":{\"status\":\"finish-migrate\",\"running\":false}}", true },
		{ "{\"return\":{\"status\":\"postmigrate\",\"running\":false}}", true },
		{ "{\"return\":{\"status\":\"colo\",\"running\":false}}", true },
		{ "{\"return\":{\"status\":\"running\",\"running\":true}}", false },
		{ "{\"return\":{\"status\":\"paused\",\"running\":false}}", false },
		{ "{\"return\":{\"status\":\"io-error\",\"running\":false}}", false },
		{ "{\"return\":{}}", false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(json_object) r = parse(cases[i].reply);

		assert_int_equal(qmp_read_left_stopped(r), cases[i].ours);
	}
}

static void
migration(void **state)
{
	static const char active[] = "{\"return\":{\"status\":\"active\",\"setup-time\":1,\"total-time\":9,\"ram\":{\"total\":84680704,\"postcopy-requests\":0,"
		"\"dirty-sync-count\":1,\"multifd-bytes\":0,\"pages-per-second\":0,\"page-size\":4096,\"remaining\":70000000,\"postcopy-bytes\":0,\"mbps\":0,"
		"\"transferred\":81301,\"dirty-pages-rate\":0,\"duplicate\":20669,\"dirty-sync-missed-zero-copy\":0}}}";
	struct qmp_migration m;

	assert_true(READ("{\"return\":{}}", qmp_read_migration(r, &m, &e)));
	assert_string_equal(m.status, "none");
	assert_true(READ("{\"return\":{\"status\":\"colo\"}}", qmp_read_migration(r, &m, &e)));
	assert_string_equal(m.status, "colo");
	assert_true(READ(active, qmp_read_migration(r, &m, &e)));
	assert_int_equal(m.total, 84680704);
	assert_int_equal(m.transferred, 81301);
	assert_int_equal(m.remaining, 70000000);
	assert_true(READ("{\"return\":{\"status\":\"failed\",\"error-desc\":\"no route\"}}", qmp_read_migration(r, &m, &e)));
	assert_string_equal(m.error, "no route");
	assert_false(READ("{\"return\":\"x\"}", qmp_read_migration(r, &m, &e)));
	assert_false(READ("{\"return\":{\"status\":\"active\",\"ram\":{\"total\":1}}}", qmp_read_migration(r, &m, &e)));
}

static void
channels(void **state)
{
	bool has;

	assert_true(READ("{\"return\":[{\"label\":\"charmonitor\"},{\"label\":\"ftd-chr-out0\"}]}", qmp_read_has_channels(r, &has, &e)));
	assert_true(has);
	assert_true(READ("{\"return\":[{\"label\":\"charmonitor\"},{}]}", qmp_read_has_channels(r, &has, &e)));
	assert_false(has);
	assert_false(READ("{\"return\":{}}", qmp_read_has_channels(r, &has, &e)));
}

static void
probes(void **state)
{
	char version[64];
	unsigned major;
	bool tcg, has;

	assert_true(READ("{\"return\":{\"enabled\":false,\"present\":true}}", qmp_read_tcg(r, &tcg, &e)));
	assert_true(tcg);
	assert_true(READ("{\"return\":{\"enabled\":true,\"present\":true}}", qmp_read_tcg(r, &tcg, &e)));
	assert_false(tcg);
	assert_false(READ("{\"return\":{}}", qmp_read_tcg(r, &tcg, &e)));

	assert_true(READ("{\"return\":{\"qemu\":{\"micro\":2,\"minor\":1,\"major\":11},\"package\":\"Debian 1:11.1.2+ds-3\"}}", qmp_read_version(r, version, &major, &e)));
	assert_string_equal(version, "11.1.2 (Debian 1:11.1.2+ds-3)");
	assert_int_equal(major, 11);
	assert_true(READ("{\"return\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\":12},\"package\":\"\"}}", qmp_read_version(r, version, &major, &e)));
	assert_string_equal(version, "12.0.0");
	assert_false(READ("{\"return\":{\"qemu\":{\"micro\":0,\"minor\":0}}}", qmp_read_version(r, version, &major, &e)));
	assert_false(READ("{\"return\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\":-1}}}", qmp_read_version(r, version, &major, &e)));

	assert_true(READ("{\"return\":[{\"state\":false,\"capability\":\"xbzrle\"},{\"state\":false,\"capability\":\"x-colo\"}]}", qmp_read_has_colo(r, &has, &e)));
	assert_true(has);
	assert_true(READ("{\"return\":[{\"state\":false,\"capability\":\"xbzrle\"}]}", qmp_read_has_colo(r, &has, &e)));
	assert_false(has);
	assert_false(READ("{\"return\":{}}", qmp_read_has_colo(r, &has, &e)));
}

#define REPL(children) "{\"drv\":\"replication\",\"node-name\":\"ftd-repl0\"," children "}"
#define ACT "{\"drv\":\"qcow2\",\"node-name\":\"ftd-act0\",\"file\":\"/w/act.qcow2\"}"

/* Each disk's by itself: another's that cannot be committed keeps nothing of it. */
static void
overlays_left(void **state)
{
	static const char reply[] = "{\"return\":[{\"node-name\":\"ftd-repl0\"},{\"node-name\":\"libvirt-1-format\"},{\"node-name\":\"ftd-repl1\"},{\"node-name\":\"ftd-act1\"},"
				    "{\"node-name\":\"ftd-hid2\"},{\"node-name\":\"ftd-act31\"}]}";
	static const bool expected[] = { false, true, true, false };
	bool left;

	for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
		left = !expected[i];
		assert_true(READ(reply, qmp_read_overlays_left(r, i, "/w/hid.qcow2", &left, &e)));
		assert_int_equal(left, expected[i]);
	}
	/* By its file, should the disks be in another order. */
	assert_true(READ("{\"return\":[" ACT "]}", qmp_read_overlays_left(r, 1, "/w/act.qcow2", &left, &e)));
	assert_true(left);
	assert_true(READ("{\"return\":[" ACT "]}", qmp_read_overlays_left(r, 1, "/w/hid.qcow2", &left, &e)));
	assert_false(left);
	assert_false(READ("{\"return\":{}}", qmp_read_overlays_left(r, 0, "/w/act.qcow2", &left, &e)));
}

static void
overlay(void **state)
{
	bool done = true;

	assert_true(READ("{\"return\":[" REPL("\"children\":[{\"node-name\":\"ftd-act0\",\"child\":\"file\"}]") "]}", qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_false(done);
	assert_true(READ("{\"return\":[{\"node-name\":\"pdisk\"}," REPL("\"children\":[{\"node-name\":\"pdisk\",\"child\":\"file\"}]") "]}",
			 qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_true(done);
	/* without "children": by the names of the files */
	assert_true(READ("{\"return\":[" ACT "," REPL("\"file\":\"json:{\\\"file\\\":{\\\"driver\\\":\\\"qcow2\\\",\\\"file\\\":{\\\"filename\\\":\\\"/w/act.qcow2\\\"}}}\"") "]}",
			 qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_false(done);
	assert_true(READ("{\"return\":[" ACT "," REPL("\"file\":\"json:{\\\"file\\\":{\\\"driver\\\":\\\"raw\\\"}}\"") "]}", qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_true(done);
	assert_false(READ("{\"return\":[]}", qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_false(READ("{\"return\":[" REPL("\"children\":[]") "]}", qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
	assert_false(READ("{\"return\":[" REPL("\"x\":1") "]}", qmp_read_overlay_done(r, 0, "pdisk", &done, &e)));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(job), cmocka_unit_test(job_bad), cmocka_unit_test(left_standing), cmocka_unit_test(status), cmocka_unit_test(left_stopped), cmocka_unit_test(migration), cmocka_unit_test(probes), cmocka_unit_test(channels), cmocka_unit_test(overlay), cmocka_unit_test(overlays_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
