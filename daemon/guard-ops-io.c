/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard's long operations on QEMU, each a chain of plans (qmp-plan.h) and polls that ends with guard_op_done(). What the plans contain is decided in
 * qmp-commands.c; the order of the operations in guard-primary.c and guard-standby.c.
 */
#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"
#include "policy/durable-mark-io.h"
#include "qmp/qmp-events.h"
#include "qmp/qmp-json.h"

#include <string.h>

#define POLL_MS 100
#define DOWNTIME_RAISE_POLLS 50	/* 5 s of copying memory without an end: the last piece may be larger */
#define DOWNTIME_MAX_MS 2000
#define QMP_CONNECT_MS 10000
#define FLUSH_TIMEOUT_MS 600	/* the guest stands meanwhile. Both together: less than GUARD_DETACH_CHECKPOINT_NS */
#define PUT_BACK_MS 300
#define QUIT_TIMEOUT_MS 3000
#define DETACH_RETRY_MS 500
#define COMMIT_POLL_MS 2
#define COMMIT_RUNNING_NS (100 * 1000000ull)	/* then the guest stands: one that writes as fast as the job reads would keep it from its end */
#define COMMIT_TIMEOUT_MS 5000	/* of clients' patience: a guest whose disk is as slow as this is heard all the same */
#define COMMIT_FAILED_MS 50
#define FINISH_LATE_NS (120 * 1000000000ull)
#define MARK_POLL_MS 1
#define RUNS_POLL_MS 1
#define RUNS_TIMEOUT_NS (500 * 1000000ull)

static void
op_done(struct guard_io *io, enum guard_op op, const GError *error)
{
	guard_op_done(io->guard, guard_io_now(), op, error);
	guard_io_schedule(io);
}

static void
poll_later(struct guard_io *io, GSourceFunc func)
{
	g_assert(io->poll_timer == 0);
	io->poll_timer = g_timeout_add(POLL_MS, func, io);
}

static void
run(struct guard_io *io, struct qmp_plan *plan, qmp_plan_func done)
{
	qmp_client_run(io->qmp, plan, GUARD_QMP_TIMEOUT_MS, done, io);
}

static void
query(struct guard_io *io, const char *what, qmp_reply_func done)
{
	qmp_client_execute(io->qmp, qmp_query(what), -1, 0, GUARD_QMP_TIMEOUT_MS, done, io);
}

static void
on_monitor_closed(const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	log_warn("qmp", "monitor: %s", error ? error->message : "closed");
	io->monitor_closed = true;
	qemu_closed(io, true, "the monitor");
}

/* Is the step that asked still what the guard is about? It may have been called off between a question and its answer. */
static bool
forming_in(const struct guard_io *io, enum guard_phase phase)
{
	return guard_state(io->guard) == FAILOVER_FORMING && guard_current_phase(io->guard) == phase;
}

static void
nic_fill(struct guard_io *io, unsigned i, struct qmp_nic *n)
{
	memset(n, 0, sizeof *n);
	g_strlcpy(n->netdev, io->config->nics[i].netdev, sizeof n->netdev);
	n->has_rewriter = io->config->nics[i].has_rewriter;
	n->vnet_hdr = true;
	n->out_fd = n->rel_fd = n->mir_fd = n->inj_fd = n->cap_fd = n->shut_fd = -1;
}

static void
disk_fill(struct guard_io *io, unsigned i, struct qmp_disk *d)
{
	const struct guard_disk *c = &io->config->disks[i];

	memset(d, 0, sizeof *d);
	g_strlcpy(d->device, c->device ? c->device : "", sizeof d->device);
	g_strlcpy(d->node, c->node ? c->node : "", sizeof d->node);
	g_strlcpy(d->active_path, c->active ? c->active : "", sizeof d->active_path);
	g_strlcpy(d->hidden_path, c->hidden ? c->hidden : "", sizeof d->hidden_path);
	if (io->disks[i].nbd_path)
		g_strlcpy(d->nbd_path, io->disks[i].nbd_path, sizeof d->nbd_path);
	d->size = c->size;
	d->nbd_fd = -1;
}

/* -- attach (primary) ------------------------------------------------------------------------------------------------------------ */

static bool
primary_nics_plan(struct guard_io *io, struct qmp_plan *plan, GError **error)
{
	for (unsigned i = 0; i < io->config->n_nics; i++) {
		struct qmp_nic n;
		nic_fill(io, i, &n);
		/* In this order they are read: a question before its answer. */
		if ((n.mir_fd = filters_open(io, GUARD_PORT_MIR, i, error)) < 0 || (n.out_fd = filters_open(io, GUARD_PORT_OUT, i, error)) < 0 ||
		    (n.rel_fd = filters_open(io, GUARD_PORT_REL, i, error)) < 0 || (n.inj_fd = filters_open(io, GUARD_PORT_INJ, i, error)) < 0)
			return false;
		qmp_plan_append(plan, qmp_recipe_primary_nic(i, &n));
	}
	return true;
}

static void
on_attached(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	if (!error)
		qemu_look_start(user_data);
	op_done(user_data, GUARD_OP_ATTACH, error);
}

/* What detaching has to restore. */
static void
on_parameters(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	struct qmp_plan *plan;
	struct json_object *r;

	if (error) {
		op_done(io, GUARD_OP_ATTACH, error);
		return;
	}
	if (json_object_object_get_ex(reply, "return", &r))
		io->old_parameters = json_object_get(r);
	plan = qmp_plan_new("attach");
	if (!primary_nics_plan(io, plan, &local)) {
		qmp_plan_free(plan);
		op_done(io, GUARD_OP_ATTACH, local);
		return;
	}
	qmp_plan_add(plan, qmp_set_capabilities(true, io->config->return_path), qmp_set_capabilities(false, false), -1, 0);
	qmp_plan_add(plan, qmp_set_migration_parameters(), NULL, -1, 0);
	run(io, plan, on_attached);
}

static void
on_primary_kvm(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;

	if (error || !qmp_read_tcg(reply, &io->tcg, &local))
		op_done(io, GUARD_OP_ATTACH, error ? error : local);
	else
		query(io, "query-migrate-parameters", on_parameters);
}

static void
op_attach(struct guard_io *io)
{
	io->qmp = qmp_client_new_libvirt(io->config->libvirt_uri, io->config->pair, on_monitor_closed, io);
	query(io, "query-kvm", on_primary_kvm);
}

/* -- disks (primary) --------------------------------------------------------------------------------------------------------------- */

static gboolean poll_jobs(gpointer user_data);

static void
on_jobs(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	uint64_t done = 0, total = 0, same;
	bool ready = true;

	if (!forming_in(io, GUARD_PHASE_DISK))
		return;
	for (unsigned i = 0; i < io->config->n_disks && !error; i++) {
		g_autofree char *id = g_strdup_printf("ftd-mirror%u", i);
		struct qmp_job job;
		if (!qmp_read_job(reply, id, &job, &local))
			error = local;
		else if (!job.found || job.error[0])
			error = local = g_error_new(FTD_ERROR, FTD_ERROR_QMP, "the copy of disk %u ended: %s", i, job.error[0] ? job.error : "the mirror job is gone");
		ready = ready && job.ready && job.actively_synced;
		done += job.offset;
		total += job.length;
	}
	if (error || ready) {
		op_done(io, GUARD_OP_DISKS, error);
		return;
	}
	control_progress(io, "disk", done, total, guard_disk_compared(io->guard, &same) ? &same : NULL);
	poll_later(io, poll_jobs);
}

static gboolean
poll_jobs(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	query(io, "query-block-jobs", on_jobs);
	return G_SOURCE_REMOVE;
}

static void
on_disks_attached(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (error)
		op_done(io, GUARD_OP_DISKS, error);
	else if (forming_in(io, GUARD_PHASE_DISK))
		poll_jobs(io);
}

static void
op_disks(struct guard_io *io)
{
	g_autoptr(GError) error = NULL;
	struct qmp_plan *plan;

	if (io->config->n_disks == 0 || !disks_listen(io, &error)) {
		op_done(io, GUARD_OP_DISKS, error);
		return;
	}
	plan = qmp_plan_new("disks");
	for (unsigned i = 0; i < io->config->n_disks; i++) {
		struct qmp_disk d;
		disk_fill(io, i, &d);
		qmp_plan_append(plan, qmp_recipe_primary_disk(i, &d));
	}
	run(io, plan, on_disks_attached);
}

/* -- migrate (primary) -------------------------------------------------------------------------------------------------------------- */

static gboolean poll_migration(gpointer user_data);

static void
on_migration(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	struct qmp_migration m;

	if (!forming_in(io, GUARD_PHASE_MEMORY))
		return;
	if (!error && !qmp_read_migration(reply, &m, &local))
		error = local;
	if (error || strcmp(m.status, "failed") == 0) {
		guard_data_failed(io->guard, guard_io_now(), "the memory could not be copied: %s", error ? error->message : m.error);
		guard_io_schedule(io);
		return;
	}
	control_progress(io, "memory", m.total - m.remaining, m.total, NULL);
	if (strcmp(m.status, "active") == 0 && ++io->memory_polls % DOWNTIME_RAISE_POLLS == 0 && io->downtime_ms < DOWNTIME_MAX_MS) {
		io->downtime_ms *= 2;
		log_info("memory", "the guest dirties its memory fast: allowing it to stand for %u ms once", io->downtime_ms);
		qmp_client_execute(io->qmp, qmp_set_downtime_limit(io->downtime_ms), -1, 0, GUARD_QMP_TIMEOUT_MS, NULL, NULL);
	}
	poll_later(io, poll_migration);
}

static gboolean
poll_migration(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	query(io, "query-migrate", on_migration);
	return G_SOURCE_REMOVE;
}

static void
on_migrating(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	op_done(io, GUARD_OP_MIGRATE, error);
	if (!error && forming_in(io, GUARD_PHASE_MEMORY) && !io->poll_timer)
		poll_later(io, poll_migration);
}

static void
op_migrate(struct guard_io *io)
{
	g_autoptr(GError) error = NULL;
	struct qmp_plan *plan;
	int fd = migration_open(io, &error);

	io->memory_polls = 0;
	io->downtime_ms = QMP_DOWNTIME_MS;
	if (fd < 0) {
		op_done(io, GUARD_OP_MIGRATE, error);
		return;
	}
	plan = qmp_plan_new("migrate");
	qmp_plan_add(plan, qmp_getfd("ftd-migration"), NULL, fd, 0);
	qmp_plan_add(plan, qmp_migrate_fd("ftd-migration"), NULL, -1, 0);
	run(io, plan, on_migrating);
}

/* -- track (primary): qmp-tlb-flush.c -------------------------------------------------------------------------------------------------- */

static void flush_on(struct guard_io *io, const char *reply);

static void
flush_failed(struct guard_io *io)
{
	g_autoptr(GError) why = g_steal_pointer(&io->flush_error);

	g_clear_handle_id(&io->flush_timer, g_source_remove);
	if (why)
		op_done(io, GUARD_OP_TRACK, why);
}

static void
on_put_back(struct json_object *reply, const GError *error, gpointer user_data)
{
	flush_failed(user_data);
}

static gboolean
on_put_back_late(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->flush_timer = 0;
	flush_failed(io);
	return G_SOURCE_REMOVE;
}

/* The monitor does not answer in time, and does what it was told all the same, later; this waits for its turn behind that, also when nobody waits for it any more. */
static void
flush_fails(struct guard_io *io, const GError *error)
{
	const char *line = qmp_tlb_flush_put_back(&io->tlb_flush);

	if (!line) {
		op_done(io, GUARD_OP_TRACK, error);
		return;
	}
	io->flush_error = g_error_copy(error);
	io->flush_timer = g_timeout_add(PUT_BACK_MS, on_put_back_late, io);
	qmp_client_execute(io->qmp, qmp_hmp(line), -1, 0, GUARD_QMP_TIMEOUT_MS, on_put_back, io);
}

static void
on_flush_line(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct json_object *text = error ? NULL : json_member(reply, "return", json_type_string);

	if (error)
		flush_fails(user_data, error);
	else
		flush_on(user_data, text ? json_object_get_string(text) : "");
}

static void
flush_on(struct guard_io *io, const char *reply)
{
	g_autoptr(GError) error = NULL;
	const char *line = qmp_tlb_flush_next(&io->tlb_flush, reply, &error);
	gint64 left_ms = (io->flush_by - g_get_monotonic_time()) / 1000;

	if (line)
		qmp_client_execute(io->qmp, qmp_hmp(line), -1, 0, (unsigned)MAX(left_ms, 1), on_flush_line, io);
	else
		op_done(io, GUARD_OP_TRACK, error);
}

static void
op_track(struct guard_io *io)
{
	io->tlb_flush = (struct qmp_tlb_flush){ 0 };
	io->flush_by = g_get_monotonic_time() + FLUSH_TIMEOUT_MS * 1000;
	if (io->tcg)
		flush_on(io, NULL);
	else
		op_done(io, GUARD_OP_TRACK, NULL);
}

/* -- detach (primary) ------------------------------------------------------------------------------------------------------------------ */

static void op_detach(struct guard_io *io);

static gboolean
on_detach_again(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	op_detach(io);
	return G_SOURCE_REMOVE;
}

static bool
detach_again(struct guard_io *io, const char *why)
{
	if (io->monitor_closed)
		return false;
	log_warn("qmp", "detach: %s; trying again", why);
	g_assert(io->poll_timer == 0);
	io->poll_timer = g_timeout_add(DETACH_RETRY_MS, on_detach_again, io);
	return true;
}

/* libvirtd may have gone between the stop for the mirrors' end and the cont after it. */
static void
on_objects_after(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	bool standing = true;

	if (!error && !qmp_read_left_standing(reply, &standing, &local))
		error = local;
	if (standing && detach_again(io, error ? error->message : "the guest still stands"))
		return;
	filters_close(io);
	op_done(io, GUARD_OP_DETACH, error);
}

/*
 * As long as the filters are in QEMU this process is the guest's network: it stays and passes everything on, until libvirtd is back (it may be stopped,
 * or be upgraded) and they can be removed.
 */
static void
on_channels_after(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	bool has = true;

	if (!error && !qmp_read_has_channels(reply, &has, &local))
		error = local;
	if (has && detach_again(io, error ? error->message : "the filters are still there"))
		return;
	qmp_client_execute(io->qmp, qmp_qom_list("/objects"), -1, 0, GUARD_QMP_TIMEOUT_MS, on_objects_after, io);
}

static void
on_suspended(struct json_object *reply, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_SUSPEND, error);
}

/* Running: a checkpoint has started it after somebody stopped it. */
static void
on_status_stopped(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	char status[32] = "?";
	bool running = true;

	if (error || !qmp_read_status(reply, status, &running, &local))
		op_done(io, GUARD_OP_SUSPEND, error ? error : local);
	else if (running)
		qmp_client_execute(io->qmp, qmp_stop(), -1, 0, GUARD_QMP_TIMEOUT_MS, on_suspended, io);
	else if (!qmp_status_stands(status))
		local = g_error_new(FTD_ERROR, FTD_ERROR_QMP, "the guest is in state %s, which is no suspension", status);
	if (!error && !running)
		op_done(io, GUARD_OP_SUSPEND, local);
}

static void
on_status_stands(struct json_object *reply, const GError *error, gpointer user_data)
{
	g_autoptr(GError) local = NULL;
	char status[32] = "?";
	bool running = true;

	if (!error && qmp_read_status(reply, status, &running, &local) && (running || !qmp_status_stands(status)))
		local = g_error_new(FTD_ERROR, FTD_ERROR_QMP, "the guest is in state %s, which is no suspension", status);
	op_done(user_data, GUARD_OP_STANDS, error ? error : local);
}

static void
op_stands(struct guard_io *io)
{
	query(io, "query-status", on_status_stands);
}

static void
op_suspend(struct guard_io *io)
{
	query(io, "query-status", on_status_stopped);
}

/* A guest that our own doings left stopped runs again; one that an administrator suspended does not, though leaving COLO starts it (migration.c,
 * migration_iteration_finish()). */
static void
on_status_after(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	char status[32];
	bool running = false;

	if (!error && qmp_read_left_stopped(reply))
		qmp_client_execute(io->qmp, qmp_cont(), -1, 0, GUARD_QMP_TIMEOUT_MS, NULL, NULL);
	if (!error && qmp_read_status(reply, status, &running, NULL) && running && io->stays_suspended)
		qmp_client_execute(io->qmp, qmp_stop(), -1, 0, GUARD_QMP_TIMEOUT_MS, NULL, NULL);
	query(io, "query-chardev", on_channels_after);
}

static void
on_detached(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	query(user_data, "query-status", on_status_after);
}

/* Our ends of QEMU's sockets first: that un-sticks whatever waits on them. */
static void
op_detach(struct guard_io *io)
{
	if (!io->detaching)
		io->stays_suspended = guard_is_suspended(io->guard);	/* QEMU starts it when it leaves COLO, and then it looks resumed */
	io->detaching = true;
	taps_close(io);
	qemu_look_end(io);
	disks_close(io);
	migration_close(io);
	if (io->qmp)
		run(io, qmp_recipe_primary_detach(io->config->n_nics, io->config->n_disks, io->old_parameters, io->stays_suspended), on_detached);
	else
		op_done(io, GUARD_OP_DETACH, NULL);
}

/* -- nudge (primary) --------------------------------------------------------------------------------------------------------------------- */

static void
on_nudged(struct json_object *reply, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_NUDGE, error);
}

static void
op_nudge(struct guard_io *io)
{
	log_info("qmp", "QEMU asks for no checkpoint; was the clock of this host set back? Its timer is set anew");
	qmp_client_execute(io->qmp, qmp_renew_checkpoint_timer(), -1, 0, GUARD_QMP_TIMEOUT_MS, on_nudged, io);
}

/* -- standby: attach -------------------------------------------------------------------------------------------------------------------- */

static void
on_qmp_event(const struct qmp_event *event, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (event->type == QMP_EVENT_SHUTDOWN)
		guard_copy_off(io->guard, guard_io_now());
	else if (event->type == QMP_EVENT_SUSPEND || (event->type == QMP_EVENT_RESET && !event->guest))
		guard_copy_prelaunch(io->guard, guard_io_now());
	else if (event->type == QMP_EVENT_RESET || event->type == QMP_EVENT_GUEST_PANICKED)
		guard_copy_reset(io->guard, guard_io_now());
	if (event->type == QMP_EVENT_RESUME)
		guard_copy_runs(io->guard, guard_io_now());
	/* What the copy wrote and could not is in its overlays only; but what the primary writes goes to the same disk. */
	if (event->type == QMP_EVENT_BLOCK_IO_ERROR)
		guard_data_failed(io->guard, guard_io_now(), "the standby's disk %s reports an error", event->reason);
	if (event->type == QMP_EVENT_COLO_EXIT || event->type == QMP_EVENT_SHUTDOWN || event->type == QMP_EVENT_GUEST_PANICKED || event->type == QMP_EVENT_BLOCK_IO_ERROR)
		log_info("qmp", "%s %s", event->name, event->reason);
	guard_io_schedule(io);
}

static void
on_incoming(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;

	if (!error && !links_listen(io, &local))
		error = local;
	op_done(io, GUARD_OP_STANDBY_ATTACH, error);
}

void
ops_targets_ready(struct guard_io *io)
{
	g_autoptr(GError) error = NULL;
	struct qmp_plan *plan;
	int fd = migration_open(io, &error);

	if (fd < 0) {
		op_done(io, GUARD_OP_STANDBY_ATTACH, error);
		return;
	}
	plan = qmp_plan_new("incoming");
	qmp_plan_add(plan, qmp_getfd("ftd-migration"), NULL, fd, 0);
	qmp_plan_add(plan, qmp_migrate_incoming_fd("ftd-migration"), NULL, -1, 0);
	run(io, plan, on_incoming);
}

static char *
export_path(const struct guard_io *io)
{
	return g_strdup_printf("%s/qemu/export.sock", io->config->run_dir);
}

static void
on_standby_attached(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autofree char *path = export_path(io);

	if (error) {
		op_done(io, GUARD_OP_STANDBY_ATTACH, error);
		return;
	}
	qemu_look_start(io);
	disks_connect_targets(io, path);
}

static bool
standby_plan(struct guard_io *io, struct qmp_plan *plan, GError **error)
{
	g_autofree char *path = export_path(io);

	for (unsigned i = 0; i < io->config->n_nics; i++) {
		struct qmp_nic n;
		nic_fill(io, i, &n);
		if ((n.inj_fd = filters_open(io, GUARD_PORT_INJ, i, error)) < 0 || (n.shut_fd = filters_open(io, GUARD_PORT_SHUT, i, error)) < 0 ||
		    (n.rel_fd = filters_open(io, GUARD_PORT_REL, i, error)) < 0 || (n.cap_fd = filters_open(io, GUARD_PORT_CAP, i, error)) < 0)
			return false;
		qmp_plan_append(plan, qmp_recipe_standby_nic(i, &n));
	}
	if (io->config->n_disks)
		qmp_plan_append(plan, qmp_recipe_nbd_server_start(path));
	for (unsigned i = 0; i < io->config->n_disks; i++) {
		struct qmp_disk d;
		disk_fill(io, i, &d);
		qmp_plan_append(plan, qmp_recipe_standby_disk(i, &d));
	}
	qmp_plan_add(plan, qmp_set_capabilities(true, io->config->return_path), NULL, -1, 0);
	/* Else the copy spends each load's first milliseconds on a dozen announcements that nobody hears. */
	qmp_plan_add(plan, qmp_set_announce_after_load(false), NULL, -1, QMP_STEP_MAY_FAIL);
	return true;
}

static void
on_kvm(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) local = NULL;
	struct qmp_plan *plan = qmp_plan_new("standby-attach");

	if (error || !qmp_read_tcg(reply, &io->tcg, &local) || !standby_plan(io, plan, &local)) {
		qmp_plan_free(plan);
		op_done(io, GUARD_OP_STANDBY_ATTACH, error ? error : local);
		return;
	}
	run(io, plan, on_standby_attached);
}

static void
op_standby_attach(struct guard_io *io)
{
	io->qmp = qmp_client_new_socket(io->config->qmp_path, QMP_CONNECT_MS, on_qmp_event, on_monitor_closed, io);
	query(io, "query-kvm", on_kvm);
}

/* -- standby: passive mode ------------------------------------------------------------------------------------------------------------------- */

static void
on_standing(struct json_object *reply, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_STANDBY_PAUSE, error);
}

static void
op_standby_pause(struct guard_io *io)
{
	qmp_client_execute(io->qmp, qmp_stop(), -1, 0, GUARD_QMP_TIMEOUT_MS, on_standing, io);
}

/* -- standby: before a load ------------------------------------------------------------------------------------------------------------------ */

static void
on_refreshed(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_STANDBY_REFRESH, error);
}

static void
op_standby_refresh(struct guard_io *io)
{
	run(io, qmp_recipe_refresh(io->tcg), on_refreshed);
}

/* -- standby: going live --------------------------------------------------------------------------------------------------------------------- */

static void
on_live(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	migration_close(io);
	op_done(io, GUARD_OP_STANDBY_LIVE, error);
}

static void
open_nics(struct guard_io *io)
{
	struct qmp_plan *plan = qmp_plan_new("open");

	filters_hold_injection(io, false);
	for (unsigned i = 0; i < io->config->n_nics; i++)
		qmp_plan_append(plan, qmp_recipe_standby_nic_open(i));
	run(io, plan, on_live);
}

static gboolean poll_runs(gpointer user_data);

/* QEMU starts the guest on its own some time after x-colo-lost-heartbeat is answered (migration.c, process_incoming_migration_bh()). */
static void
on_status_live(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	char status[32];
	bool running = false;

	if (error || !qmp_read_status(reply, status, &running, NULL) || running || guard_io_now() >= io->runs_by)
		open_nics(io);
	else
		io->poll_timer = g_timeout_add(RUNS_POLL_MS, poll_runs, io);
}

static gboolean
poll_runs(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	query(io, "query-status", on_status_live);
	return G_SOURCE_REMOVE;
}

static void
on_left(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	io->runs_by = guard_io_now() + RUNS_TIMEOUT_NS;
	poll_runs(io);
}

static void
leave_colo(struct guard_io *io)
{
	struct qmp_plan *plan = qmp_plan_new("go-live");

	qmp_plan_add(plan, qmp_lost_heartbeat(), NULL, -1, QMP_STEP_MAY_FAIL);
	for (unsigned i = 0; i < io->config->n_nics; i++)
		qmp_plan_append(plan, qmp_recipe_standby_nic_hear(i));
	run(io, plan, on_left);
}

/* x-colo-lost-heartbeat stops the guest for a moment (migration/colo.c, colo_do_failover()). */
static void
op_standby_live(struct guard_io *io)
{
	filters_hold_injection(io, true);
	leave_colo(io);
}

static void
on_awake(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	filters_hold_injection(user_data, false);
	op_done(user_data, GUARD_OP_STANDBY_WAKE, error);
}

/* Nothing is loaded any more, so translations that are dropped now stay right; and before the overlays' commit begins, for which the stop that this is would wait. */
static void
op_standby_wake(struct guard_io *io)
{
	disks_close(io);
	filters_hold_injection(io, true);
	run(io, qmp_recipe_refresh(io->tcg), on_awake);
}

/*
 * The end of COMMIT. A monitor that has closed says so in its answers before it says that it is closed, and then there is no copy to be heard: what failed is told when
 * that would have been known.
 */
static void
commit_ends(struct guard_io *io)
{
	g_autoptr(GError) error = g_steal_pointer(&io->commit_error);

	io->committing = false;
	g_clear_handle_id(&io->commit_timer, g_source_remove);
	g_clear_handle_id(&io->poll_timer, g_source_remove);
	filters_hold_injection(io, false);
	op_done(io, GUARD_OP_STANDBY_COMMIT, error);
}

static gboolean
on_commit_failed(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->commit_timer = 0;
	commit_ends(io);
	return G_SOURCE_REMOVE;
}

static void
commit_fails(struct guard_io *io, const GError *error)
{
	if (!io->committing || io->commit_error)
		return;
	io->commit_error = g_error_copy(error);
	g_clear_handle_id(&io->commit_timer, g_source_remove);
	g_clear_handle_id(&io->poll_timer, g_source_remove);
	if (io->commit_stopped)
		qmp_client_execute(io->qmp, qmp_cont(), -1, 0, GUARD_QMP_TIMEOUT_MS, NULL, NULL);
	io->commit_timer = g_timeout_add(COMMIT_FAILED_MS, on_commit_failed, io);
}

static gboolean
on_commit_late(gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) late = g_error_new(FTD_ERROR, FTD_ERROR_TIMEOUT, "what the copy wrote is not on this host's disk after %u s: if the host dies now, it is lost",
					     COMMIT_TIMEOUT_MS / 1000);

	io->commit_timer = 0;
	commit_fails(io, late);
	return G_SOURCE_REMOVE;
}

static void
on_commit_cont(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (!io->committing || io->commit_error)
		return;
	if (error)
		commit_fails(io, error);
	else
		commit_ends(io);
}

/* The copy's disk is whole, and that it is silent is no longer true on the disk either. */
static gboolean
poll_mark(gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) error = NULL;

	if (io->silent && !durable_mark_cleared(io->silent, &error))
		return G_SOURCE_CONTINUE;
	io->poll_timer = 0;
	if (error)
		g_error("%s", error->message);	/* fail closed: what cannot be unsaid must not be denied either */
	if (io->commit_stopped)
		qmp_client_execute(io->qmp, qmp_cont(), -1, 0, GUARD_QMP_TIMEOUT_MS, on_commit_cont, io);
	else
		commit_ends(io);
	return G_SOURCE_REMOVE;
}

static bool
overlays_done(const struct guard_io *io, struct json_object *nodes)
{
	bool all = true;

	for (unsigned i = 0; i < io->config->n_disks; i++) {
		bool done = false;
		all = qmp_read_overlay_done(nodes, i, io->config->disks[i].node, &done, NULL) && done && all;
	}
	return all;
}

static void
commit_is_whole(struct guard_io *io)
{
	if (io->silent)
		durable_mark_clear(io->silent);
	io->poll_timer = g_timeout_add(MARK_POLL_MS, poll_mark, io);
}

static void
stand_for_commit(struct guard_io *io)
{
	io->commit_stopped = true;
	filters_hold_injection(io, true);
	qmp_client_execute(io->qmp, qmp_stop(), -1, 0, GUARD_QMP_TIMEOUT_MS, NULL, NULL);
}

static gboolean poll_commit(gpointer user_data);

static void
on_commit_nodes(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (!io->committing || io->commit_error)
		return;
	if (error) {
		commit_fails(io, error);
		return;
	}
	if (overlays_done(io, reply)) {
		commit_is_whole(io);
		return;
	}
	if (guard_io_now() >= io->commit_began + COMMIT_RUNNING_NS && !io->commit_stopped)
		stand_for_commit(io);
	io->poll_timer = g_timeout_add(COMMIT_POLL_MS, poll_commit, io);
}

static gboolean
poll_commit(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	query(io, "query-named-block-nodes", on_commit_nodes);
	return G_SOURCE_REMOVE;
}

static void
on_committing(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (!io->committing || io->commit_error)
		return;
	if (error)
		commit_fails(io, error);
	else
		poll_commit(io);
}

/* QEMU's job ends with a flush of the image, and only then is the image the node that the guest writes to (block/mirror.c, mirror_run()). */
static void
op_standby_commit(struct guard_io *io)
{
	struct qmp_plan *plan;

	io->committing = true;
	io->commit_began = guard_io_now();
	io->commit_timer = g_timeout_add(COMMIT_TIMEOUT_MS, on_commit_late, io);
	if (!io->config->n_disks) {
		commit_is_whole(io);
		return;
	}
	plan = qmp_recipe_nbd_server_stop();
	qmp_plan_add(plan, qmp_replication_failover(), NULL, -1, QMP_STEP_MUST);
	run(io, plan, on_committing);
}

static void
on_open(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_STANDBY_OPEN, error);
}

static void
op_standby_open(struct guard_io *io)
{
	struct qmp_plan *plan = qmp_plan_new("open");

	qmp_plan_add(plan, qmp_announce_self(), NULL, -1, QMP_STEP_MAY_FAIL);
	run(io, plan, on_open);
}

static gboolean poll_overlays(gpointer user_data);

static void
on_finished(struct qmp_plan *plan, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	filters_close(io);
	op_done(io, GUARD_OP_STANDBY_FINISH, error);
}

/* A commit that has failed looks like one that is not done (block/replication.c, replication_done()), so there is no end of waiting for it. */
static void
say_finish_late(struct guard_io *io)
{
	if (guard_io_now() < io->finish_late)
		return;
	io->finish_late = UINT64_MAX;
	guard_overlays_late(io->guard);
}

static void
on_block_nodes(struct json_object *reply, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;
	struct qmp_plan *plan;

	if (!error && !overlays_done(io, reply)) {
		say_finish_late(io);
		poll_later(io, poll_overlays);
		return;
	}
	plan = qmp_plan_new("finish");
	for (unsigned i = 0; i < io->config->n_disks; i++)
		qmp_plan_append(plan, qmp_recipe_standby_disk_finish(i));
	for (unsigned i = 0; i < io->config->n_nics; i++)
		qmp_plan_append(plan, qmp_recipe_standby_nic_finish(i));
	qmp_plan_add(plan, qmp_set_capabilities(false, false), NULL, -1, QMP_STEP_MAY_FAIL);
	qmp_plan_add(plan, qmp_set_announce_after_load(true), NULL, -1, QMP_STEP_MAY_FAIL);
	run(io, plan, on_finished);
}

static void
op_standby_finish(struct guard_io *io)
{
	io->finish_late = guard_io_now() + FINISH_LATE_NS;
	poll_overlays(io);
}

static gboolean
poll_overlays(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	query(io, "query-named-block-nodes", on_block_nodes);
	return G_SOURCE_REMOVE;
}

/* -- the end of a copy -------------------------------------------------------------------------------------------------------------------------- */

static void
on_quit(struct json_object *reply, const GError *error, gpointer user_data)
{
	op_done(user_data, GUARD_OP_STOP_COPY, NULL);
}

static gboolean
on_no_copy(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->poll_timer = 0;
	op_done(io, GUARD_OP_STOP_COPY, NULL);
	return G_SOURCE_REMOVE;
}

/*
 * Our ends first: nothing of this copy passes them any more, whatever QEMU does until it is gone (ftd destroys the domain after us). What it still reads for its guest
 * is told to the other side: after a switchover that is where the guest is.
 */
static void
op_stop_copy(struct guard_io *io)
{
	disks_close(io);
	migration_close(io);
	filters_close_but(io, GUARD_PORT_MIR);
	if (io->qmp)
		qmp_client_execute(io->qmp, qmp_quit(), -1, 0, QUIT_TIMEOUT_MS, on_quit, io);
	else
		io->poll_timer = g_timeout_add(0, on_no_copy, io);
}

/* -- dispatch ------------------------------------------------------------------------------------------------------------------------------------- */

/* An operation never ends inside the call that starts it. */
struct op_call { struct guard_io *io; enum guard_op op; };

static gboolean
on_start(gpointer user_data)
{
	static void (*const start[])(struct guard_io *io) = {
		[GUARD_OP_CONNECT] = links_connect,
		[GUARD_OP_ATTACH] = op_attach,
		[GUARD_OP_DISKS] = op_disks,
		[GUARD_OP_MIGRATE] = op_migrate,
		[GUARD_OP_TRACK] = op_track,
		[GUARD_OP_SUSPEND] = op_suspend,
		[GUARD_OP_STANDS] = op_stands,
		[GUARD_OP_NUDGE] = op_nudge,
		[GUARD_OP_DETACH] = op_detach,
		[GUARD_OP_STANDBY_ATTACH] = op_standby_attach,
		[GUARD_OP_STANDBY_PAUSE] = op_standby_pause,
		[GUARD_OP_STANDBY_REFRESH] = op_standby_refresh,
		[GUARD_OP_STANDBY_WAKE] = op_standby_wake,
		[GUARD_OP_STANDBY_COMMIT] = op_standby_commit,
		[GUARD_OP_STANDBY_LIVE] = op_standby_live,
		[GUARD_OP_STANDBY_OPEN] = op_standby_open,
		[GUARD_OP_STANDBY_FINISH] = op_standby_finish,
		[GUARD_OP_STOP_COPY] = op_stop_copy,
	};
	struct op_call *c = user_data;

	log_debug("op", "%s", guard_op_name(c->op));
	c->io->leaving = c->op == GUARD_OP_DETACH || c->op == GUARD_OP_STANDBY_FINISH || c->op == GUARD_OP_STOP_COPY;
	start[c->op](c->io);
	return G_SOURCE_REMOVE;
}

static void
poll_ends(struct guard_io *io)
{
	io->committing = false;
	g_clear_handle_id(&io->poll_timer, g_source_remove);
	g_clear_handle_id(&io->commit_timer, g_source_remove);
	g_clear_error(&io->commit_error);
}

void
ops_env_start(void *ctx, enum guard_op op)
{
	struct guard_io *io = ctx;
	struct op_call *c = g_new0(struct op_call, 1);

	/* An end replaces whatever was being polled for. */
	if (op == GUARD_OP_DETACH || op == GUARD_OP_STOP_COPY)
		poll_ends(io);
	*c = (struct op_call){ .io = io, .op = op };
	g_idle_add_full(G_PRIORITY_HIGH, on_start, c, g_free);
}

void
ops_clear(struct guard_io *io)
{
	poll_ends(io);
	g_clear_handle_id(&io->gone_timer, g_source_remove);
	g_clear_pointer(&io->qmp, qmp_client_free);
	g_clear_pointer(&io->old_parameters, json_object_put);
	g_clear_pointer(&io->gone_why, g_free);
	g_clear_error(&io->flush_error);
	g_clear_handle_id(&io->flush_timer, g_source_remove);
}
