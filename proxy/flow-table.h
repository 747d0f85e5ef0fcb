/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The flows that are known: found by hash, bounded, aged by the time of events. Pure. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/compare-tcp.h"
#include "proxy/flow-key.h"
#include "proxy/flow-pattern.h"

struct flow {
	struct flow_key key;
	guint hash;		/* of the key */
	uint64_t used;		/* time of the last frame */
	bool spent;		/* its connection has ended (FIN or RST left): the first to go when room is needed */
	GList age;		/* in the table's live or spent queue, oldest first */

	/* The comparator's. A flow with held or kept frames does not age. */
	uint64_t epoch;		/* that the state below is of */
	uint64_t blind_until;	/* older frames of it may be held outside of the flow up to this epoch: nothing is compared */
	enum flow_treatment treatment;
	bool differs;		/* commit only, for this epoch */
	GQueue held;		/* PVM frames, in the order sent */
	GQueue kept;		/* SVM frames whose twins have not left, in the order sent */
	GList *next_kept;	/* in `kept`: the first one that has datagrams which were not compared yet. Not TCP */
	GList keeping;		/* in the comparator's list of flows that keep SVM frames */
	struct tcp_compare tcp;
	struct seq_mark syn_answered;	/* TCP: what the last SYN-ACK that left acknowledges */
	bool svm_clock_known;	/* TCP, for this epoch: */
	uint32_t svm_clock;	/* the time stamp that the SVM sent last */

	/* For `ftctl flows` */
	uint64_t frames[RELEASE_LAST], bytes[RELEASE_LAST];
	uint64_t differences;
	struct difference *first;	/* the first difference found, owned; its windows are empty unless they were asked for */
};

struct flow_table;
struct flow_table *flow_table_new(unsigned max_flows, uint64_t idle_ns, const char *seed);	/* seed: flow-key.h */
void flow_table_free(struct flow_table *t);
typedef struct flow_table flow_table;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(flow_table, flow_table_free)

struct flow *flow_table_find(struct flow_table *t, const struct flow_key *key);
/*
 * Finds or adds, and notes the use. At the bound a flow without frames is forgotten for the new one: the longest unused spent one, or else the longest
 * unused one if it is idle. NULL when there is none.
 */
struct flow *flow_table_get(struct flow_table *t, const struct flow_key *key, uint64_t now, bool *added);
/* The connection has ended, or begun anew. */
void flow_table_set_spent(struct flow_table *t, struct flow *flow, bool spent);
/* Forgets flows unused for idle_ns. */
void flow_table_age(struct flow_table *t, uint64_t now);
/* Forgets all flows; none has frames. */
void flow_table_clear(struct flow_table *t);
void flow_table_foreach(struct flow_table *t, void (*visit)(struct flow *flow, void *data), void *data);
unsigned flow_table_size(const struct flow_table *t);
