/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `ftctl status` shows of one side; members are listed in ftctl(1), STATUS. Pure. */
#include "daemon/guard-internal.h"

static void
add_str(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

static void
add_u64(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)value));
}

static void
add_ms(struct json_object *o, const char *key, double ms)
{
	g_autofree char *text = g_strdup_printf("%.3f", ms);

	json_object_object_add(o, key, json_object_new_double_s(ms, text));
}

static void
primary_status(const struct guard *g, struct json_object *o)
{
	const struct guard_primary *p = &g->p;
	struct json_object *wants = json_object_new_object();
	struct comparator_stats s;

	comparator_stats(p->comparator, &s);
	add_u64(o, "epoch", relay_epoch(p->relay));
	add_ms(o, "epoch_ms", (double)p->cost.epoch_ns / 1e6);
	add_ms(o, "epoch_limit_ms", (double)primary_epoch_limit_ns(g) / 1e6);
	add_u64(o, "epochs", p->pause.count);
	json_object_object_add(o, "suspended", json_object_new_boolean(guard_is_suspended(g)));
	add_ms(o, "pause_p50_ms", histogram_percentile_ms(&p->pause, 50));
	add_ms(o, "pause_p99_ms", histogram_percentile_ms(&p->pause, 99));
	add_ms(o, "pause_max_ms", (double)p->pause.max_ns / 1e6);
	add_ms(o, "commit_p50_ms", histogram_percentile_ms(&p->commit_lag, 50));
	add_ms(o, "load_p50_ms", histogram_percentile_ms(&p->load, 50));
	add_ms(o, "standby_stop_p50_ms", histogram_percentile_ms(&p->svm_stop, 50));
	add_u64(o, "committed_epoch", p->committed);
	add_u64(o, "loaded_epoch", p->loaded);
	add_u64(o, "dirty_pages", p->checkpoint_pages + p->checkpoint_zero_pages);
	add_u64(o, "checkpoint_bytes", p->checkpoint_bytes);
	add_u64(o, "bytes_sent", p->bytes_total);
	add_u64(o, "disk_bytes_waiting", p->disk_outstanding);
	add_u64(o, "disk_compared_bytes", p->disk_compared_bytes);
	add_u64(o, "disk_same_bytes", p->disk_same_bytes);
	add_u64(o, "released_same", s.released_frames[RELEASE_SAME]);
	add_u64(o, "released_committed", s.released_frames[RELEASE_COMMITTED]);
	add_u64(o, "released_same_bytes", s.released_bytes[RELEASE_SAME]);
	add_u64(o, "released_committed_bytes", s.released_bytes[RELEASE_COMMITTED]);
	add_u64(o, "differences", s.differences);
	add_u64(o, "timeouts", s.timeouts);
	add_u64(o, "queue_full", s.queue_full);
	add_u64(o, "held_frames", s.held_frames);
	add_u64(o, "lease_waits", p->lease_waits);
	add_u64(o, "flows", s.flows);
	for (unsigned i = 0; i < RELAY_WANT_LAST; i++)
		add_u64(wants, relay_want_name(i), p->wants[i]);
	json_object_object_add(o, "checkpoints_by_reason", wants);
}

static void
standby_status(const struct guard *g, struct json_object *o)
{
	const struct guard_standby *s = &g->s;

	add_u64(o, "epoch", standby_loaded_epoch(s->standby) + 1);
	add_u64(o, "committed_epoch", standby_committed_epoch(s->standby));
	add_u64(o, "loaded_epoch", standby_loaded_epoch(s->standby));
	add_u64(o, "loads", s->loads);
	json_object_object_add(o, "fit", json_object_new_boolean(g->failover.fit));
	add_ms(o, "load_p50_ms", histogram_percentile_ms(&s->load, 50));
	add_ms(o, "load_p99_ms", histogram_percentile_ms(&s->load, 99));
	add_ms(o, "standby_stop_p50_ms", histogram_percentile_ms(&s->svm_stop, 50));
	add_u64(o, "disk_bytes_waiting", disk_queue_bytes(s->disks));
	add_u64(o, "frames_dropped", standby_proxy_dropped(s->proxy));
}

struct json_object *
guard_status(const struct guard *g, uint64_t now)
{
	struct json_object *o = json_object_new_object();
	bool primary = guard_is_primary(g);

	add_str(o, "domain", g->config->domain);
	add_str(o, "uuid", g->config->pair);
	add_str(o, "state", failover_state_name(g->failover.state));
	add_str(o, "phase", guard_phase_name(g->phase));
	add_str(o, "reason", failover_reason_name(g->failover.reason));
	add_str(o, "reason_text", g->failure[0] ? g->failure : failover_reason_text(g->failover.reason));
	add_ms(o, "state_seconds", (double)(now - g->state_since) / 1e9);
	add_str(o, "role", primary ? "primary" : "standby");
	add_str(o, "host", g->config->self);
	add_str(o, "peer", g->config->peer);
	if (primary) {
		add_str(o, "mode", g->p.passive ? "passive" : "colo");
		add_str(o, "mode_setting", mode_name(g->p.mode.setting));
		add_str(o, "mode_reason", mode_reason_name(g->p.mode.reason));
		add_str(o, "mode_reason_text", mode_reason_text(g->p.mode.reason));
		add_str(o, "bypass", g->p.bypass);
		add_str(o, "never_compare", g->p.never_compare);
	} else {
		add_str(o, "mode", g->s.passive ? "passive" : "colo");
	}
	add_u64(o, "generation", g->failover.generation);
	add_str(o, "arbiter", g->config->arbiter);
	add_ms(o, "round_trip_p50_ms", histogram_percentile_ms(&g->round_trip, 50));
	add_ms(o, "round_trip_p99_ms", histogram_percentile_ms(&g->round_trip, 99));
	add_u64(o, "frames_skipped", g->frames_skipped);
	if (primary)
		primary_status(g, o);
	else
		standby_status(g, o);
	return o;
}
