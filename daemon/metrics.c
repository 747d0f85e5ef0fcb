/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/metrics.h"

#include "daemon/json-util.h"

#include <string.h>

enum kind { GAUGE, COUNTER, SUMMARY, LAST_KIND };

#define PARTS_MAX 3
struct part {
	const char *member;		/* of a domain's status; an object's members become values of the label */
	const char *value;		/* of the label; NULL: no label, or the object's */
};

struct family {
	const char *name;		/* without _total */
	enum kind kind;
	const char *unit;		/* the name's ending; NULL: none */
	double scale;			/* to base units */
	const char *label;		/* beside domain and role */
	struct part parts[PARTS_MAX];	/* samples, in this order */
	const char *help;
};

#define MS 1e-3
#define QUANTILES(p50, p99, max) { { p50, "0.5" }, { p99, "0.99" }, { max, "1" } }

static const struct family families[] = {
	{ "ftd_pair_generation", GAUGE, NULL, 1, NULL, { { "generation" } }, "Generation of the pair, as the arbiter counts it." },
	{ "ftd_pair_state_seconds", GAUGE, "seconds", 1, NULL, { { "state_seconds" } }, "How long the pair has been in its state." },
	{ "ftd_guest_suspended", GAUGE, NULL, 1, NULL, { { "suspended" } }, "1 while an administrator has suspended the guest." },
	{ "ftd_epoch", GAUGE, NULL, 1, NULL, { { "epoch" } }, "Number of the epoch that runs." },
	{ "ftd_committed_epoch", GAUGE, NULL, 1, NULL, { { "committed_epoch" } }, "Newest epoch whose checkpoint the standby's guard holds." },
	{ "ftd_loaded_epoch", GAUGE, NULL, 1, NULL, { { "loaded_epoch" } }, "Newest epoch that the copy has loaded." },
	{ "ftd_epoch_duration_seconds", GAUGE, "seconds", MS, NULL, { { "epoch_ms" } }, "How long the last epoch took." },
	{ "ftd_epoch_limit_seconds", GAUGE, "seconds", MS, NULL, { { "epoch_limit_ms" } }, "How long an epoch lasts if nothing asks for a checkpoint." },
	{ "ftd_checkpoints", COUNTER, NULL, 1, NULL, { { "epochs" } }, "Checkpoints that were made." },
	{ "ftd_checkpoints_wanted", COUNTER, NULL, 1, "reason", { { "checkpoints_by_reason" } }, "Checkpoints by what asked for them." },
	{ "ftd_pause_seconds", SUMMARY, "seconds", MS, "quantile", QUANTILES("pause_p50_ms", "pause_p99_ms", "pause_max_ms"),
	  "How long checkpoints stopped the guest, since the pair was made." },
	{ "ftd_commit_lag_seconds", SUMMARY, "seconds", MS, "quantile", { { "commit_p50_ms", "0.5" } }, "From the end of a checkpoint to its commit." },
	{ "ftd_load_seconds", SUMMARY, "seconds", MS, "quantile", { { "load_p50_ms", "0.5" }, { "load_p99_ms", "0.99" } }, "How long the copy took to load a checkpoint." },
	{ "ftd_standby_stop_seconds", SUMMARY, "seconds", MS, "quantile", { { "standby_stop_p50_ms", "0.5" } }, "How long the copy stood for a load." },
	{ "ftd_round_trip_seconds", SUMMARY, "seconds", MS, "quantile", { { "round_trip_p50_ms", "0.5" }, { "round_trip_p99_ms", "0.99" } }, "Round trip between the two guards." },
	{ "ftd_dirty_pages", GAUGE, NULL, 1, NULL, { { "dirty_pages" } }, "Pages in the last checkpoint." },
	{ "ftd_checkpoint_bytes", GAUGE, "bytes", 1, NULL, { { "checkpoint_bytes" } }, "Size of the last checkpoint." },
	{ "ftd_sent_bytes", COUNTER, "bytes", 1, NULL, { { "bytes_sent" } }, "Memory and checkpoints sent to the peer." },
	{ "ftd_disk_waiting_bytes", GAUGE, "bytes", 1, NULL, { { "disk_bytes_waiting" } }, "Disk writes that are not applied on the standby's host yet." },
	{ "ftd_disk_compared_bytes", COUNTER, "bytes", 1, NULL, { { "disk_compared_bytes" } }, "What was compared with images that were there before, instead of copied." },
	{ "ftd_disk_same_bytes", COUNTER, "bytes", 1, NULL, { { "disk_same_bytes" } }, "Of this, what was the same and was not sent." },
	{ "ftd_released_packets", COUNTER, NULL, 1, "by", { { "released_same", "comparison" }, { "released_committed", "commit" } },
	  "Packets that left, because both copies sent them or because their checkpoint was committed." },
	{ "ftd_released_bytes", COUNTER, "bytes", 1, "by", { { "released_same_bytes", "comparison" }, { "released_committed_bytes", "commit" } }, "The same in bytes." },
	{ "ftd_held_packets", GAUGE, NULL, 1, NULL, { { "held_frames" } }, "Packets that wait for their twin or for a commit." },
	{ "ftd_differences", COUNTER, NULL, 1, NULL, { { "differences" } }, "How often the two copies' output differed." },
	{ "ftd_compare_timeouts", COUNTER, NULL, 1, NULL, { { "timeouts" } }, "How often a packet's twin did not come in time." },
	{ "ftd_queue_full", COUNTER, NULL, 1, NULL, { { "queue_full" } }, "How often the memory for held packets was used up." },
	{ "ftd_lease_waits", COUNTER, NULL, 1, NULL, { { "lease_waits" } }, "How often output waited for a sign of life of the peer." },
	{ "ftd_flows", GAUGE, NULL, 1, NULL, { { "flows" } }, "Flows that are compared." },
	{ "ftd_skipped_packets", COUNTER, NULL, 1, NULL, { { "frames_skipped" } }, "Packets from QEMU that were no packets." },
	{ "ftd_loads", COUNTER, NULL, 1, NULL, { { "loads" } }, "Checkpoints that the copy has loaded." },
	{ "ftd_standby_fit", GAUGE, NULL, 1, NULL, { { "fit" } }, "1 while the copy could take over." },
	{ "ftd_standby_dropped_packets", COUNTER, NULL, 1, NULL, { { "frames_dropped" } }, "Output of the copy that was dropped because nobody compared it in time." },
};

static const char *const kinds[] = { [GAUGE] = "gauge", [COUNTER] = "counter", [SUMMARY] = "summary" };
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == LAST_KIND);

/* Those that are not one member of each domain. */
enum special { BUILD_INFO, PAIRS, PAIR_INFO, PAIR_STATE, PAIR_PROTECTED, EVENTS, UPLINK_LOST, SPECIAL_LAST };
static const struct { const char *name; enum kind kind; const char *labels, *help; } specials[] = {
	[BUILD_INFO] = { "ftd_build_info", GAUGE, "host, version", "1; what runs here." },
	[PAIRS] = { "ftd_pairs", GAUGE, "", "Pairs that this host has a side of." },
	[PAIR_INFO] = { "ftd_pair_info", GAUGE, "domain, role, uuid, peer, mode", "1 for each pair, also one that has ended." },
	[PAIR_STATE] = { "ftd_pair_state", GAUGE, "domain, role, state, reason", "1 for the state that the pair is in, and why." },
	[PAIR_PROTECTED] = { "ftd_pair_protected", GAUGE, "domain, role", "1 while the domain is protected, 0 while its pair exists and it is not." },
	[EVENTS] = { "ftd_events", COUNTER, "type", "Events since ftd was started." },
	[UPLINK_LOST] = { "ftd_uplink_lost", GAUGE, "", "1 while no interface of the setting uplink has a carrier." },
};
G_STATIC_ASSERT(G_N_ELEMENTS(specials) == SPECIAL_LAST);

struct writer {
	GString *out;
	enum metrics_format format;
};

static void
head(struct writer *w, const char *name, enum kind kind, const char *unit, const char *help)
{
	const char *total = kind == COUNTER && w->format == METRICS_PROMETHEUS ? "_total" : "";

	g_string_append_printf(w->out, "# TYPE %s%s %s\n", name, total, kinds[kind]);
	if (unit && w->format == METRICS_OPENMETRICS)
		g_string_append_printf(w->out, "# UNIT %s %s\n", name, unit);
	g_string_append_printf(w->out, "# HELP %s%s %s\n", name, total, help);
}

/* A label's value may be any UTF-8; what is none is not passed on. */
static void
label(struct writer *w, const char *name, const char *value)
{
	g_autofree char *valid = g_utf8_make_valid(value ? value : "", -1);

	g_string_append_printf(w->out, "%s%s=\"", w->out->str[w->out->len - 1] == '{' ? "" : ",", name);
	for (const char *c = valid; *c; c++) {
		if (*c == '\n') {
			g_string_append(w->out, "\\n");
			continue;
		}
		if (*c == '"' || *c == '\\')
			g_string_append_c(w->out, '\\');
		g_string_append_c(w->out, *c);
	}
	g_string_append_c(w->out, '"');
}

static void
begin(struct writer *w, const char *name, enum kind kind)
{
	g_string_append_printf(w->out, "%s%s{", name, kind == COUNTER ? "_total" : "");
}

static void
end(struct writer *w, double value)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	if (w->out->str[w->out->len - 1] == '{')
		g_string_truncate(w->out, w->out->len - 1);
	else
		g_string_append_c(w->out, '}');
	g_string_append_printf(w->out, " %s\n", g_ascii_formatd(text, sizeof text, "%.15g", value));
}

static void
pair_labels(struct writer *w, struct json_object *d)
{
	label(w, "domain", json_get_str(d, "domain"));
	label(w, "role", json_get_str(d, "role"));
}

static bool
read_number(struct json_object *value, double *out)
{
	switch (json_object_get_type(value)) {
	case json_type_boolean:
		*out = json_object_get_boolean(value);
		return true;
	case json_type_int:
	case json_type_double:
		*out = json_object_get_double(value);
		return true;
	case json_type_null:
	case json_type_object:
	case json_type_array:
	case json_type_string:
	default:
		return false;
	}
}

static void
sample(struct writer *w, const struct family *f, const char *value_of_label, struct json_object *d, struct json_object *value)
{
	double number;

	if (!read_number(value, &number))
		return;
	begin(w, f->name, f->kind);
	pair_labels(w, d);
	if (f->label)
		label(w, f->label, value_of_label);
	end(w, number * f->scale);
}

static void
samples_of(struct writer *w, const struct family *f, struct json_object *d)
{
	for (guint i = 0; i < PARTS_MAX && f->parts[i].member; i++) {
		struct json_object *value = json_get(d, f->parts[i].member);

		if (!json_object_is_type(value, json_type_object)) {
			sample(w, f, f->parts[i].value, d, value);
			continue;
		}
		json_object_object_foreach(value, key, inner)
			sample(w, f, key, d, inner);
	}
}

/* A pair that has ended is told of by its state alone: its last figures would look like those of a pair that stands still. */
static bool
has_ended(struct json_object *d)
{
	return json_get(d, "ended_at") != NULL;
}

static void
write_family(struct writer *w, const struct family *f, struct json_object *domains)
{
	head(w, f->name, f->kind, f->unit, f->help);
	for (size_t i = 0; i < json_length(domains); i++)
		if (!has_ended(json_at(domains, i)))
			samples_of(w, f, json_at(domains, i));
}

/* -- the special ones */

static void
write_build(struct writer *w, const struct metrics_source *s)
{
	begin(w, specials[BUILD_INFO].name, GAUGE);
	label(w, "host", s->host);
	label(w, "version", s->version);
	end(w, 1);
}

static void
write_pairs(struct writer *w, const struct metrics_source *s)
{
	guint n = 0;

	for (size_t i = 0; i < json_length(s->domains); i++)
		n += !has_ended(json_at(s->domains, i));
	begin(w, specials[PAIRS].name, GAUGE);
	end(w, n);
}

static void
write_pair(struct writer *w, enum special which, struct json_object *d)
{
	if (which == PAIR_PROTECTED && has_ended(d))
		return;
	begin(w, specials[which].name, GAUGE);
	pair_labels(w, d);
	if (which == PAIR_INFO) {
		label(w, "uuid", json_get_str(d, "uuid"));
		label(w, "peer", json_get_str(d, "peer"));
		label(w, "mode", json_get_str(d, "mode"));
	} else if (which == PAIR_STATE) {
		label(w, "state", json_get_str(d, "state"));
		label(w, "reason", json_get_str(d, "reason"));
	}
	end(w, which != PAIR_PROTECTED || g_strcmp0(json_get_str(d, "state"), "protected") == 0);
}

static void
write_events(struct writer *w, const struct metrics_source *s)
{
	if (!json_object_is_type(s->events, json_type_object))
		return;
	json_object_object_foreach(s->events, type, count) {
		begin(w, specials[EVENTS].name, COUNTER);
		label(w, "type", type);
		end(w, json_object_get_double(count));
	}
}

static void
write_special(struct writer *w, enum special which, const struct metrics_source *s)
{
	head(w, specials[which].name, specials[which].kind, NULL, specials[which].help);
	switch (which) {
	case BUILD_INFO:
		write_build(w, s);
		break;
	case PAIRS:
		write_pairs(w, s);
		break;
	case PAIR_INFO:
	case PAIR_STATE:
	case PAIR_PROTECTED:
		for (size_t i = 0; i < json_length(s->domains); i++)
			write_pair(w, which, json_at(s->domains, i));
		break;
	case EVENTS:
		write_events(w, s);
		break;
	case UPLINK_LOST:
		begin(w, specials[which].name, GAUGE);
		end(w, s->uplink_lost);
		break;
	case SPECIAL_LAST:
	default:
		g_assert_not_reached();
	}
}

char *
metrics_text(const struct metrics_source *source, enum metrics_format format)
{
	struct writer w = { g_string_new(NULL), format };

	for (enum special i = 0; i < SPECIAL_LAST; i++)
		write_special(&w, i, source);
	for (guint i = 0; i < G_N_ELEMENTS(families); i++)
		write_family(&w, &families[i], source->domains);
	if (format == METRICS_OPENMETRICS)
		g_string_append(w.out, "# EOF\n");
	return g_string_free(w.out, FALSE);
}

const char *
metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8" : "text/plain; version=0.0.4; charset=utf-8";
}

guint
metrics_families(void)
{
	return SPECIAL_LAST + G_N_ELEMENTS(families);
}

static const char *
stored_name(const char *name, enum kind kind)
{
	g_autofree char *full = g_strconcat(name, kind == COUNTER ? "_total" : "", NULL);

	return g_intern_string(full);
}

void
metrics_family(guint i, struct metrics_family_info *out)
{
	if (i < SPECIAL_LAST) {
		*out = (struct metrics_family_info){ stored_name(specials[i].name, specials[i].kind), kinds[specials[i].kind], specials[i].labels, specials[i].help };
	} else {
		const struct family *f = &families[i - SPECIAL_LAST];

		*out = (struct metrics_family_info){ stored_name(f->name, f->kind), kinds[f->kind], f->label ? f->label : "", f->help };
	}
}
