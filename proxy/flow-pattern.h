/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flows that are not compared, by the administrator's word:
 *
 *   PROTOCOL[:ADDRESS[/PREFIX]][:PORT[-PORT]]
 *
 *   tcp:22  udp:10.0.0.1:53  tcp:[2001:db8::1]:80  udp:10.0.0.0/8  icmp  any:[fd00::]/8
 *
 * PROTOCOL is tcp, udp, icmp (ICMPv6 too) or any; the last one takes fragments in as well, which have no ports and so match nothing else. A flow matches
 * when one of its ends - the guest or who it talks to - has the address and the port that are given. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/flow-key.h"

#define FLOW_PATTERNS_MAX 64

struct flow_pattern {
	uint8_t class;			/* PACKET_LAST: any */
	uint8_t address_length;		/* 0: any address */
	uint8_t prefix;			/* bits */
	uint8_t address[PACKET_ADDRESS_MAX];
	uint16_t first_port, last_port;	/* 0 and 65535: any, and flows without ports */
};

/* FTD_ERROR_CONFIG with a text that names the pattern; *out is untouched then. */
bool flow_pattern_parse(const char *text, struct flow_pattern *out, GError **error);
bool flow_pattern_matches(const struct flow_pattern *pattern, const struct flow_key *key);

enum flow_treatment {
	FLOW_COMPARE,
	FLOW_BYPASS,		/* leaves at once: neither compared nor committed */
	FLOW_NEVER_COMPARE,	/* leaves by commit only */
	FLOW_TREATMENT_LAST
};
const char *flow_treatment_name(enum flow_treatment treatment);

struct flow_patterns {
	unsigned n;
	struct { struct flow_pattern pattern; enum flow_treatment treatment; } entry[FLOW_PATTERNS_MAX];
};

bool flow_patterns_add(struct flow_patterns *patterns, enum flow_treatment treatment, const char *text, GError **error);
/* "tcp:22, udp:53"; "" is no pattern. On an error, which names the bad one, *patterns is untouched. */
bool flow_patterns_add_list(struct flow_patterns *patterns, enum flow_treatment treatment, const char *list, GError **error);
/* Of two that match the safer one counts: never-compare before bypass. */
enum flow_treatment flow_patterns_treat(const struct flow_patterns *patterns, const struct flow_key *key);
