/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/guard-release-io.h"

#include "daemon/base/error.h"
#include "daemon/guard-config.h"
#include "qmp/qmp-client-io.h"
#include "qmp/qmp-commands.h"
#include "qmp/qmp-readers.h"

#include <string.h>

#define RELEASE_QMP_MS 5000

struct release {
	GMainLoop *loop;
	struct qmp_client *qmp;
	GError *error;
};

static void
end(struct release *r, const GError *error)
{
	if (error && !r->error)
		r->error = g_error_copy(error);
	g_main_loop_quit(r->loop);
}

static void
on_closed(const GError *error, gpointer user_data)
{
	end(user_data, error);
}

static void
on_channels(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct release *r = user_data;
	g_autoptr(GError) local = NULL;
	bool has = false;

	if (!error && !qmp_read_has_channels(reply, &has, &local))
		error = local;
	if (has)
		error = local = g_error_new_literal(FTD_ERROR, FTD_ERROR_QMP, "the filters of a guard that is gone are still in QEMU");
	end(r, error);
}

static void
on_continued(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct release *r = user_data;

	qmp_client_execute(r->qmp, qmp_query("query-chardev"), -1, 0, RELEASE_QMP_MS, on_channels, r);
}

/* Stopped by the guard's doings, not by an administrator. */
static void
on_status(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct release *r = user_data;
	char status[32];
	bool running = true;

	if (error)
		end(r, error);
	else if (qmp_read_status(reply, status, &running, NULL) && !running &&
		 (strcmp(status, "finish-migrate") == 0 || strcmp(status, "postmigrate") == 0 || strcmp(status, "colo") == 0))
		qmp_client_execute(r->qmp, qmp_cont(), -1, 0, RELEASE_QMP_MS, on_continued, r);
	else
		on_continued(NULL, NULL, r);
}

static void
on_removed(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct release *r = user_data;

	if (error)
		end(r, error);
	else
		qmp_client_execute(r->qmp, qmp_query("query-status"), -1, 0, RELEASE_QMP_MS, on_status, r);
}

/* Nobody knows how far the guard was: whatever it can have put there is taken out, and what is not there is no error. */
static struct qmp_plan *
removal(void)
{
	struct qmp_plan *plan = qmp_plan_new("release");

	qmp_plan_add(plan, qmp_lost_heartbeat(), NULL, -1, QMP_STEP_MAY_FAIL);
	for (unsigned i = 0; i < GUARD_MAX_NICS; i++)
		qmp_plan_append(plan, qmp_recipe_primary_nic_detach(i));
	for (unsigned i = 0; i < GUARD_MAX_DISKS; i++)
		qmp_plan_append(plan, qmp_recipe_primary_disk_detach(i));
	qmp_plan_add(plan, qmp_set_capabilities(false, false), NULL, -1, QMP_STEP_MAY_FAIL);
	return plan;
}

bool
guard_release_qemu(const char *libvirt_uri, const char *uuid, GError **error)
{
	struct release r = { .loop = g_main_loop_new(g_main_context_get_thread_default(), FALSE) };

	r.qmp = qmp_client_new_libvirt(libvirt_uri, uuid, on_closed, &r);
	qmp_client_run(r.qmp, removal(), RELEASE_QMP_MS, on_removed, &r);
	g_main_loop_run(r.loop);
	qmp_client_free(r.qmp);
	g_main_loop_unref(r.loop);
	/* A domain that ended meanwhile needs nothing any more. */
	if (g_error_matches(r.error, FTD_ERROR, FTD_ERROR_NOT_RUNNING))
		g_clear_error(&r.error);
	if (!r.error)
		return true;
	g_propagate_error(error, r.error);
	return false;
}
