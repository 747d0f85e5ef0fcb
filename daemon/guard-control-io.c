/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's control socket: org.ftd.Guard, for ftd on the same host. */
#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-io.h"

#include <string.h>

#define CLOCKS_APART_NS 50000
#define STOPPED_AGO_MAX_US (10 * G_USEC_PER_SEC)	/* what is older tells that the clock was set */

static void
put(gpointer object)
{
	json_object_put(object);
}

/* -- events -------------------------------------------------------------------------------------------------------------------- */

static struct json_object *
wrap(const char *key, struct json_object *value)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, key, value);
	return o;
}

void
control_env_event(void *ctx, struct json_object *event)
{
	struct guard_io *io = ctx;
	struct json_object *type = json_object_object_get(event, "type"), *text = json_object_object_get(event, "text");
	bool bad = strcmp(json_object_get_string(type), "error") == 0;

	json_object_object_add(event, "time", json_object_new_double((double)g_get_real_time() / G_USEC_PER_SEC));
	log_line(bad ? 4 : 6, json_object_get_string(type), NULL, "%s", json_object_get_string(text));
	g_queue_push_tail(&io->events, event);
	if (g_queue_get_length(&io->events) > GUARD_EVENTS_KEPT)
		json_object_put(g_queue_pop_head(&io->events));
	for (guint i = 0; i < io->subscribers->len; i++)
		varlink_request_notify(g_ptr_array_index(io->subscribers, i), wrap("event", json_object_get(event)));
}

static void
on_subscriber_gone(struct varlink_request *r, gpointer user_data)
{
	struct guard_io *io = user_data;

	g_ptr_array_remove(io->subscribers, r);
}

static void
call_events(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (!varlink_request_wants_more(r) || io->subscribers->len >= GUARD_SUBSCRIBERS_MAX) {
		g_autoptr(GError) error = g_error_new_literal(FTD_ERROR, FTD_ERROR_USAGE, "Events wants `more`, and at most 16 may listen");
		varlink_request_fail(r, error);
		return;
	}
	g_ptr_array_add(io->subscribers, r);
	varlink_request_on_gone(r, on_subscriber_gone, io);
	for (GList *l = io->events.head; l; l = l->next)
		if (!varlink_request_notify(r, wrap("event", json_object_get(l->data))))
			return;
}

/* -- the verbs --------------------------------------------------------------------------------------------------------------------- */

static void
call_status(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	struct json_object *status = guard_status(io->guard, guard_io_now());

	json_object_object_add(status, "frames_not_written", json_object_new_int64((int64_t)io->frames_dropped));
	varlink_request_finish(r, wrap("status", status));
}

static void
call_flows(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	varlink_request_finish(r, wrap("flows", guard_flows(io->guard)));
}

static void
call_history(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	varlink_request_finish(r, wrap("history", guard_history(io->guard, guard_io_now())));
}

static void
on_request_gone(struct varlink_request *r, gpointer user_data)
{
	struct guard_io *io = user_data;

	if (io->start_request == r)
		io->start_request = NULL;
	if (io->disable_request == r)
		io->disable_request = NULL;
	if (io->failover_request == r)
		io->failover_request = NULL;
	if (io->switchover_request == r)
		io->switchover_request = NULL;
}

/* Takes r into *slot; false (and r is answered) when one waits there already or this side is not in the right state. */
static bool
keep(struct guard_io *io, struct varlink_request **slot, struct varlink_request *r, const GError *refusal)
{
	g_autoptr(GError) twice = *slot ? g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "this was asked for already") : NULL;

	if (!twice && !refusal) {
		*slot = r;
		varlink_request_on_gone(r, on_request_gone, io);
		return true;
	}
	varlink_request_fail(r, twice ? twice : refusal);
	return false;
}

static void
call_start(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) refusal = NULL;

	if (guard_current_phase(io->guard) != GUARD_PHASE_IDLE)
		g_set_error(&refusal, FTD_ERROR, FTD_ERROR_FAILED, "this guard was started already");
	if (!keep(io, &io->start_request, r, refusal))
		return;
	guard_start(io->guard, guard_io_now());
	guard_io_schedule(io);
}

static void
call_disable(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) refusal = NULL;

	if (io->config->role != FAILOVER_PRIMARY)
		g_set_error(&refusal, FTD_ERROR, FTD_ERROR_FAILED, "protection is ended on the primary's host");
	if (!keep(io, &io->disable_request, r, refusal))
		return;
	guard_disable(io->guard, guard_io_now());
	guard_io_schedule(io);
}

static bool
needs_protection(const struct guard_io *io, GError **error)
{
	enum failover_state state = guard_state(io->guard);

	if (state == FAILOVER_PROTECTED)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "the pair is not protected, it is %s", failover_state_name(state));
	return false;
}

static void
call_failover(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) refusal = NULL;

	if (io->config->role != FAILOVER_STANDBY)
		g_set_error(&refusal, FTD_ERROR, FTD_ERROR_FAILED, "the standby takes over, not the primary: ask its host");
	else
		needs_protection(io, &refusal);
	if (!keep(io, &io->failover_request, r, refusal))
		return;
	guard_failover(io->guard, guard_io_now());
	guard_io_schedule(io);
}

/* What is not named stays. */
static bool
read_settings(const struct guard_io *io, struct json_object *parameters, enum mode *mode, struct guard_config *lists, GError **error)
{
	const char *name = json_object_get_string(json_object_object_get(parameters, "mode"));
	struct flow_patterns unused;

	lists->bypass = (char *)json_object_get_string(json_object_object_get(parameters, "bypass"));
	lists->never_compare = (char *)json_object_get_string(json_object_object_get(parameters, "never_compare"));
	*mode = MODE_LAST;
	if (io->config->role != FAILOVER_PRIMARY)
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "the settings are those of the primary's host, %s", io->config->peer);
	else if (name && !mode_from_name(name, mode))
		g_set_error(error, FTD_ERROR, FTD_ERROR_USAGE, "\"%s\" is not auto, colo or passive", name);
	else
		return guard_config_patterns(lists, &unused, error);
	return false;
}

static void
call_switchover(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) refusal = NULL;

	if (io->config->role != FAILOVER_PRIMARY)
		g_set_error(&refusal, FTD_ERROR, FTD_ERROR_FAILED, "the primary hands over, not the standby: ask its host");
	else if (needs_protection(io, &refusal) && guard_is_suspended(io->guard))
		g_set_error(&refusal, FTD_ERROR, FTD_ERROR_FAILED, "the domain is suspended: resume it first (virsh resume)");
	if (!keep(io, &io->switchover_request, r, refusal))
		return;
	guard_switchover(io->guard, guard_io_now());
	guard_io_schedule(io);
}

static void
call_set(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) error = NULL;
	struct guard_config lists = { 0 };
	enum mode mode;

	if (!read_settings(io, parameters, &mode, &lists, &error)) {
		varlink_request_fail(r, error);
		return;
	}
	if (mode != MODE_LAST)
		guard_set_mode(io->guard, guard_io_now(), mode);
	if (lists.bypass && lists.never_compare)
		guard_set_patterns(io->guard, guard_io_now(), lists.bypass, lists.never_compare);
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_guest_ended(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_guest_ended(io->guard, guard_io_now());
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_end_standby(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	g_autoptr(GError) error = NULL;

	if (!guard_end_standby(io->guard, guard_io_now())) {
		g_set_error(&error, FTD_ERROR, FTD_ERROR_NOT_PROTECTED, "%s has no standby here any more that could be ended", io->config->domain);
		varlink_request_fail(r, error);
		return;
	}
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_guest_panicked(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_guest_failed(io->guard, guard_io_now(), FAILOVER_REASON_GUEST_PANICKED);
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_disk_failed(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_guest_failed(io->guard, guard_io_now(), FAILOVER_REASON_DISK_ERROR);
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

/* A time of the wall clock in guard_io_now()'s; 0: it is not of the last seconds, so the clock was set. Both clocks are read at one moment, or the difference
 * would make a checkpoint's stop look like somebody's. */
static uint64_t
since_start(gint64 wall_us)
{
	uint64_t before, after;
	gint64 ago;

	do {
		before = guard_io_now();
		ago = g_get_real_time() - wall_us;
		after = guard_io_now();
	} while (after - before > CLOCKS_APART_NS);
	return ago >= 0 && ago < STOPPED_AGO_MAX_US ? before - (uint64_t)ago * 1000 : 0;
}

static void
call_guest_stopped(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	uint64_t when = since_start(json_object_get_int64(json_object_object_get(parameters, "time_us")));

	if (when)
		guard_guest_stopped(io->guard, guard_io_now(), when);
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_guest_started(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;
	struct json_object *times = json_object_object_get(parameters, "times_us");
	uint64_t starts[GUARD_STARTS_MAX];
	size_t n = 0;

	for (size_t i = 0; json_object_is_type(times, json_type_array) && i < json_object_array_length(times) && n < G_N_ELEMENTS(starts); i++)
		if ((starts[n] = since_start(json_object_get_int64(json_object_array_get_idx(times, i)))) != 0)
			n++;
	guard_guest_started(io->guard, guard_io_now(), starts, n);
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_guest_resumed(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_guest_resumed(io->guard, guard_io_now());
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

static void
call_guest_off(struct varlink_request *r, struct json_object *parameters, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_guest_off(io->guard, guard_io_now(), json_object_get_boolean(json_object_object_get(parameters, "off")));
	guard_io_schedule(io);
	varlink_request_finish(r, NULL);
}

/* -- answers ------------------------------------------------------------------------------------------------------------------------- */

void
control_progress(struct guard_io *io, const char *phase, uint64_t done, uint64_t total, const uint64_t *same)
{
	struct json_object *o;

	if (!io->start_request || !varlink_request_wants_more(io->start_request))
		return;
	o = wrap("phase", json_object_new_string(phase));
	json_object_object_add(o, "done", json_object_new_int64((int64_t)done));
	json_object_object_add(o, "total", json_object_new_int64((int64_t)total));
	if (same)
		json_object_object_add(o, "same", json_object_new_int64((int64_t)*same));
	varlink_request_notify(io->start_request, o);
}

void
control_env_started(void *ctx, const GError *error)
{
	struct guard_io *io = ctx;
	struct varlink_request *r = g_steal_pointer(&io->start_request);

	if (!r)
		return;
	if (error)
		varlink_request_fail(r, error);
	else if (io->listener)
		varlink_request_finish(r, wrap("port", json_object_new_int64(peer_listener_port(io->listener))));
	else
		varlink_request_finish(r, wrap("phase", json_object_new_string("protected")));
}

static void
answer(struct varlink_request **slot, const GError *error)
{
	struct varlink_request *r = g_steal_pointer(slot);

	if (r && error)
		varlink_request_fail(r, error);
	else if (r)
		varlink_request_finish(r, NULL);
}

void
control_env_switchover_off(void *ctx, const char *why)
{
	struct guard_io *io = ctx;
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "nothing came of the switchover, %s goes on here: %s", io->config->domain, why);

	answer(&io->switchover_request, error);
}

void
control_finished(struct guard_io *io)
{
	enum failover_state state = guard_state(io->guard);
	g_autoptr(GError) error = NULL;

	if (state == FAILOVER_FENCED)
		error = g_error_new(FTD_ERROR, FTD_ERROR_ARBITER_DENIED, "the other side runs the domain now");
	else if (state == FAILOVER_ENDED && io->failover_request)
		error = g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "the pair ended before this side could take over");
	answer(&io->disable_request, error);
	answer(&io->failover_request, error);
	if (state != FAILOVER_FENCED && !error)
		error = g_error_new(FTD_ERROR, FTD_ERROR_FAILED, "nothing came of the switchover, the pair ended before the standby could take over");
	else if (guard_reason(io->guard) == FAILOVER_REASON_OPERATOR_SWITCHOVER)
		g_clear_error(&error);
	answer(&io->switchover_request, error);
}

void
control_claim_silent(struct guard_io *io, const char *why)
{
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "the arbiter gives no answer to %s yet, the claim is repeated until it does: %s",
					      io->config->self, why);

	if (guard_state(io->guard) != FAILOVER_ASKING)
		return;
	answer(&io->disable_request, error);
	answer(&io->failover_request, error);
}

bool
control_init(struct guard_io *io, GError **error)
{
	static const struct varlink_method_entry methods[] = {
		{ "Status", call_status, false },
		{ "Flows", call_flows, false },
		{ "History", call_history, false },
		{ "Start", call_start, true },
		{ "Disable", call_disable, true },
		{ "Failover", call_failover, true },
		{ "Set", call_set, true },
		{ "Switchover", call_switchover, true },
		{ "GuestEnded", call_guest_ended, true },
		{ "EndStandby", call_end_standby, true },
		{ "GuestPanicked", call_guest_panicked, true },
		{ "DiskFailed", call_disk_failed, true },
		{ "GuestStopped", call_guest_stopped, true },
		{ "GuestStarted", call_guest_started, true },
		{ "GuestResumed", call_guest_resumed, true },
		{ "GuestOff", call_guest_off, true },
		{ "Events", call_events, false },
		{ NULL }
	};
	g_autofree char *path = g_strdup_printf("%s/guard.sock", io->config->run_dir);

	io->subscribers = g_ptr_array_new();
	g_queue_init(&io->events);
	io->control = varlink_server_new(path, 0600, NULL, GUARD_INTERFACE, GUARD_INTERFACE_DESCRIPTION, methods, io, error);
	return io->control != NULL;
}

void
control_clear(struct guard_io *io)
{
	g_clear_pointer(&io->control, varlink_server_free);
	g_clear_pointer(&io->subscribers, g_ptr_array_unref);
	g_queue_clear_full(&io->events, put);
}
