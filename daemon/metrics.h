/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a monitoring system scrapes; ftd-metrics(7) lists it. Pure: what ftd knows in, text out. */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>

enum metrics_format {
	METRICS_PROMETHEUS,	/* text format 0.0.4 */
	METRICS_OPENMETRICS,	/* OpenMetrics 1.0.0: counters' families are named without _total, units are told, and it ends with # EOF */
};

struct metrics_source {
	const char *host, *version;
	struct json_object *domains;	/* the answer of org.ftd.Status */
	struct json_object *events;	/* {type: how many} since ftd was started */
	bool uplink_lost;
};

char *metrics_text(const struct metrics_source *source, enum metrics_format format);
const char *metrics_content_type(enum metrics_format format);

/* For the manual's test: the families in their order. */
struct metrics_family_info { const char *name, *type, *labels, *help; };	/* name as it is stored: counters end in _total */
guint metrics_families(void);
void metrics_family(guint i, struct metrics_family_info *out);
