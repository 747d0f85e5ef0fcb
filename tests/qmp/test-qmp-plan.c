/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/qmp/qmp-test.h"

#include "qmp/qmp-commands.h"

#include <unistd.h>

#define OK "{\"return\": {}}"
#define NO "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such luck\"}}"

/* Takes the next command, which must be `name`, and answers it. */
static bool
step(struct qmp_plan *p, const char *name, const char *reply, GError **error)
{
	unsigned flags;
	int fd;
	g_autoptr(json_object) command = qmp_plan_next(p, &fd, &flags), answer = parse(reply);

	assert_non_null(command);
	assert_string_equal(json_member_string(command, "execute"), name);
	if (fd >= 0)
		close(fd);
	return qmp_plan_reply(p, answer, error);
}

static void
assert_over(struct qmp_plan *p)
{
	unsigned flags;
	int fd;

	assert_null(qmp_plan_next(p, &fd, &flags));
}

/* a (undo A), b (no undo), c (undo C1, C2), d (undo D) */
static struct qmp_plan *
four(void)
{
	struct qmp_plan *p = qmp_plan_new("four"), *undo = qmp_plan_new("c");

	qmp_plan_add(p, qmp_query("a"), qmp_query("A"), -1, QMP_STEP_MUST);
	qmp_plan_add(p, qmp_query("b"), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_object_del("c-thing"), NULL, -1, QMP_STEP_MUST);
	qmp_plan_add(undo, qmp_query("C1"), NULL, -1, QMP_STEP_MUST);
	qmp_plan_add(undo, qmp_query("C2"), NULL, -1, QMP_STEP_RETRY);
	qmp_plan_set_undo(p, undo);
	qmp_plan_add(p, qmp_query("d"), qmp_query("D"), -1, QMP_STEP_MUST);
	return p;
}

static void
success(void **state)
{
	g_autoptr(qmp_plan) p = four();

	assert_true(step(p, "a", "{\"return\": 7}", NULL));
	assert_true(step(p, "b", NO, NULL));		/* MAY_FAIL */
	assert_true(step(p, "object-del", OK, NULL));
	assert_true(step(p, "d", OK, NULL));
	assert_over(p);
	assert_over(p);
	assert_int_equal(json_object_get_int(qmp_plan_result(p, 0)), 7);
	assert_null(qmp_plan_result(p, 1));
	assert_null(qmp_plan_result(p, 99));
}

static void
undo_after_success_is_everything(void **state)
{
	g_autoptr(qmp_plan) p = four();
	g_autoptr(qmp_plan) undo = NULL;

	assert_null(qmp_plan_undo(p));
	assert_true(step(p, "a", OK, NULL));
	assert_true(step(p, "b", OK, NULL));
	assert_true(step(p, "object-del", OK, NULL));
	assert_true(step(p, "d", OK, NULL));
	undo = qmp_plan_undo(p);
	assert_string_equal(qmp_plan_name(undo), "undo four");
	assert_true(step(undo, "D", NO, NULL));		/* an undo goes on whatever QEMU says */
	assert_true(step(undo, "C1", NO, NULL));
	assert_true(step(undo, "C2", OK, NULL));
	assert_true(step(undo, "A", OK, NULL));
	assert_over(undo);
	assert_null(qmp_plan_undo(p));			/* only once */
}

static void
refusal(void **state)
{
	g_autoptr(qmp_plan) p = four();
	g_autoptr(qmp_plan) undo = NULL;
	GError *error = NULL;

	assert_true(step(p, "a", OK, NULL));
	assert_true(step(p, "b", OK, NULL));
	assert_false(step(p, "object-del", NO, &error));
	assert_string_equal(error->message, "object-del c-thing: no such luck");
	assert_error(error, FTD_ERROR_QMP);
	assert_over(p);
	undo = qmp_plan_undo(p);		/* c was not done */
	assert_true(step(undo, "A", OK, NULL));
	assert_over(undo);
}

static void
no_answer_may_have_been_done(void **state)
{
	g_autoptr(qmp_plan) p = four();
	g_autoptr(qmp_plan) undo = NULL;
	g_autoptr(GError) timeout = g_error_new(FTD_ERROR, FTD_ERROR_TIMEOUT, "QEMU did not answer in time");
	GError *error = NULL;
	unsigned flags;
	int fd;

	assert_true(step(p, "a", OK, NULL));
	json_object_put(qmp_plan_next(p, &fd, &flags));
	assert_int_equal(flags, QMP_STEP_MAY_FAIL);
	assert_false(qmp_plan_failed(p, timeout, &error));	/* although b may fail */
	assert_string_equal(error->message, "b: QEMU did not answer in time");
	assert_error(error, FTD_ERROR_TIMEOUT);
	assert_over(p);
	undo = qmp_plan_undo(p);
	assert_true(step(undo, "A", OK, NULL));
	assert_over(undo);
}

static void
no_answer_undoes_the_step_itself(void **state)
{
	g_autoptr(qmp_plan) p = four();
	g_autoptr(qmp_plan) undo = NULL;
	g_autoptr(GError) timeout = g_error_new(FTD_ERROR, FTD_ERROR_TIMEOUT, "late");
	GError *error = NULL;
	unsigned flags;
	int fd;

	json_object_put(qmp_plan_next(p, &fd, &flags));
	assert_false(qmp_plan_failed(p, timeout, &error));
	assert_error(error, FTD_ERROR_TIMEOUT);
	undo = qmp_plan_undo(p);
	assert_true(step(undo, "A", OK, NULL));
}

static void
retry(void **state)
{
	g_autoptr(qmp_plan) p = qmp_plan_new("retry");
	GError *error = NULL;

	qmp_plan_add(p, qmp_blockdev_del("n"), NULL, -1, QMP_STEP_RETRY);
	qmp_plan_add(p, qmp_query("x"), NULL, -1, QMP_STEP_MUST);
	assert_true(step(p, "blockdev-del", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Node n is in use\"}}", NULL));
	assert_int_equal(qmp_plan_pause_ms(p), QMP_PLAN_RETRY_MS);
	assert_true(step(p, "blockdev-del", OK, NULL));
	assert_int_equal(qmp_plan_pause_ms(p), 0);
	assert_false(step(p, "x", NO, &error));
	assert_error(error, FTD_ERROR_QMP);
}

static void
retry_ends(void **state)
{
	g_autoptr(qmp_plan) p = qmp_plan_new("retry");
	GError *error = NULL;

	qmp_plan_add(p, qmp_blockdev_del("n"), NULL, -1, QMP_STEP_RETRY);
	for (int i = 0; i < QMP_PLAN_RETRIES; i++)
		assert_true(step(p, "blockdev-del", NO, NULL));
	assert_false(step(p, "blockdev-del", NO, &error));
	assert_string_equal(error->message, "blockdev-del n: no such luck");
	assert_error(error, FTD_ERROR_QMP);
}

/* What is gone need not be waited for. Replies as QEMU 11.1 words them. */
static void
retry_not_there(void **state)
{
	static const char *const replies[] = {
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Failed to find node with node-name='n'\"}}",
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"Job not found\"}}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(replies); i++) {
		g_autoptr(qmp_plan) p = qmp_plan_new("retry");

		qmp_plan_add(p, qmp_query("x"), NULL, -1, QMP_STEP_RETRY | QMP_STEP_MAY_FAIL);
		assert_true(step(p, "x", replies[i], NULL));
		assert_over(p);
	}
}

static struct qmp_plan *
conditional(void)
{
	struct qmp_plan *p = qmp_plan_new("conditional");

	qmp_plan_add(p, qmp_qom_get("vd0", "drive"), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(p, qmp_qom_set_str("vd0", "drive", "n"), qmp_query("UNDO"), -1, QMP_STEP_MUST);
	qmp_plan_skip_if(p, "n");
	qmp_plan_add(p, qmp_query("last"), NULL, -1, QMP_STEP_MUST);
	return p;
}

static void
skipping(void **state)
{
	static const struct { const char *reply; bool skipped; } table[] = {
		{ "{\"return\": \"n\"}", true }, { NO, true }, { "{\"return\": \"other\"}", false }, { "{\"return\": \"\"}", false },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
		g_autoptr(qmp_plan) p = conditional();
		g_autoptr(qmp_plan) undo = NULL;

		assert_true(step(p, "qom-get", table[i].reply, NULL));
		if (!table[i].skipped)
			assert_true(step(p, "qom-set", OK, NULL));
		assert_true(step(p, "last", OK, NULL));
		assert_over(p);
		undo = qmp_plan_undo(p);
		assert_int_equal(undo == NULL, table[i].skipped);
	}
}

static void
append(void **state)
{
	g_autoptr(qmp_plan) p = conditional();

	qmp_plan_append(p, conditional());
	assert_int_equal(qmp_plan_length(p), 6);
	assert_true(step(p, "qom-get", "{\"return\": \"o\"}", NULL));
	assert_true(step(p, "qom-set", OK, NULL));
	assert_true(step(p, "last", OK, NULL));
	assert_true(step(p, "qom-get", "{\"return\": \"n\"}", NULL));	/* skip_if still looks at the step before it */
	assert_true(step(p, "last", OK, NULL));
	assert_over(p);
}

static void
fds(void **state)
{
	int used[2], unused[2], fd;
	unsigned flags;
	char c;
	struct qmp_plan *p = qmp_plan_new("fds");

	assert_int_equal(pipe(used), 0);
	assert_int_equal(pipe(unused), 0);
	qmp_plan_add(p, qmp_getfd("a"), NULL, used[1], QMP_STEP_MUST);
	qmp_plan_add(p, qmp_getfd("b"), NULL, unused[1], QMP_STEP_MUST);
	json_object_put(qmp_plan_next(p, &fd, &flags));
	assert_int_equal(fd, used[1]);
	qmp_plan_free(p);
	assert_int_equal(read(unused[0], &c, 1), 0);	/* closed with the plan */
	assert_int_equal(write(used[1], "x", 1), 1);	/* the caller's */
	close(used[0]);
	close(used[1]);
	close(unused[0]);
}

/* QEMU is about to start the guest: asked again until it has, but not for ever. */
static void
a_status_that_settles(void **state)
{
	g_autoptr(qmp_plan) p = qmp_plan_new("p");
	unsigned flags, asked = 0;
	struct json_object *command;
	int fd;

	qmp_plan_add(p, qmp_command("query-status", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_until_settled(p);
	qmp_plan_add(p, qmp_command("stop", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_only_if_running(p);
	while ((command = qmp_plan_next(p, &fd, &flags))) {
		g_autoptr(json_object) reply = parse("{\"return\":{\"running\":false,\"status\":\"colo\"}}");

		json_object_put(command);
		assert_true(qmp_plan_reply(p, reply, NULL));
		asked++;
	}
	assert_int_equal(asked, 1 + QMP_PLAN_SETTLE_RETRIES);
}

static void
a_step_for_what_is_listed(void **state)
{
	static const char *const lists[] = { "[{\"device\":\"ftd-mirror1\"}]", "[{\"device\":\"other\"},{}]", "[]", "{}" };

	for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
		g_autoptr(qmp_plan) p = qmp_plan_new("p");
		g_autofree char *text = g_strdup_printf("{\"return\":%s}", lists[i]);
		g_autoptr(json_object) reply = parse(text);
		struct json_object *command;
		unsigned flags;
		int fd;

		qmp_plan_add(p, qmp_command("query-block-jobs", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
		qmp_plan_add(p, qmp_command("stop", NULL), NULL, -1, QMP_STEP_MAY_FAIL);
		qmp_plan_only_if_lists(p, "device", "ftd-mirror");
		command = qmp_plan_next(p, &fd, &flags);
		json_object_put(command);
		assert_true(qmp_plan_reply(p, reply, NULL));
		command = qmp_plan_next(p, &fd, &flags);
		assert_int_equal(command != NULL, i == 0);
		json_object_put(command);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_status_that_settles), cmocka_unit_test(a_step_for_what_is_listed),
		cmocka_unit_test(success), cmocka_unit_test(undo_after_success_is_everything), cmocka_unit_test(refusal),
		cmocka_unit_test(no_answer_may_have_been_done), cmocka_unit_test(no_answer_undoes_the_step_itself), cmocka_unit_test(retry),
		cmocka_unit_test(retry_ends), cmocka_unit_test(retry_not_there), cmocka_unit_test(skipping), cmocka_unit_test(append), cmocka_unit_test(fds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
