/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proxy/flow-pattern.h"

#include <arpa/inet.h>
#include <string.h>

#include "daemon/base/error.h"

static const char *const treatment_names[] = {
	[FLOW_COMPARE] = "compare",
	[FLOW_BYPASS] = "bypass",
	[FLOW_NEVER_COMPARE] = "never-compare",
};
G_STATIC_ASSERT(G_N_ELEMENTS(treatment_names) == FLOW_TREATMENT_LAST);

static const struct { const char *name; uint8_t class; } protocols[] = {
	{ "tcp", PACKET_TCP },
	{ "udp", PACKET_UDP },
	{ "icmp", PACKET_ICMP },
	{ "any", PACKET_LAST },
};

const char *
flow_treatment_name(enum flow_treatment treatment)
{
	g_assert(treatment < FLOW_TREATMENT_LAST);
	return treatment_names[treatment];
}

/* Each of these takes its part off the front of *at; false: it is not well formed. */

static bool
take_protocol(const char **at, struct flow_pattern *p)
{
	size_t n = strcspn(*at, ":");

	for (unsigned i = 0; i < G_N_ELEMENTS(protocols); i++) {
		if (strlen(protocols[i].name) != n || strncmp(*at, protocols[i].name, n) != 0)
			continue;
		p->class = protocols[i].class;
		*at += n;
		return true;
	}
	return false;
}

static bool
take_number(const char **at, unsigned max, unsigned *out)
{
	size_t n = strspn(*at, "0123456789");

	*out = 0;
	if (n == 0 || n > 5)
		return false;
	while (n--)
		*out = *out * 10 + (unsigned)(*(*at)++ - '0');
	return *out <= max;
}

/* The bits behind the prefix must be 0: who writes 10.1.2.3/8 has meant something else. */
static bool
prefix_fits(const struct flow_pattern *p)
{
	for (unsigned i = p->prefix; i < p->address_length * 8u; i++)
		if (p->address[i / 8] & 0x80 >> i % 8)
			return false;
	return true;
}

static bool
take_address(const char **at, struct flow_pattern *p)
{
	bool v6 = **at == '[';
	size_t n = v6 ? strcspn(*at, "]") : strcspn(*at, "/:");
	g_autofree char *text = g_strndup(*at + v6, n - v6);
	unsigned prefix;

	if (v6 && (*at)[n] != ']')
		return false;
	p->address_length = v6 ? 16 : 4;
	prefix = p->address_length * 8u;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, text, p->address) != 1)
		return false;
	*at += n + v6;
	if (**at == '/') {
		(*at)++;
		if (!take_number(at, p->address_length * 8u, &prefix))
			return false;
	}
	p->prefix = (uint8_t)prefix;
	return prefix_fits(p);
}

static bool
take_ports(const char **at, struct flow_pattern *p)
{
	unsigned first, last;

	if (!take_number(at, UINT16_MAX, &first))
		return false;
	last = first;
	if (**at == '-') {
		(*at)++;
		if (!take_number(at, UINT16_MAX, &last))
			return false;
	}
	p->first_port = (uint16_t)first;
	p->last_port = (uint16_t)last;
	return first > 0 && first <= last && (p->class == PACKET_TCP || p->class == PACKET_UDP);
}

static bool
is_address(const char *at)
{
	return *at == '[' || at[strspn(at, "0123456789")] == '.';
}

static bool
parse(const char *at, struct flow_pattern *p)
{
	if (!take_protocol(&at, p))
		return false;
	if (*at == ':' && is_address(at + 1)) {
		at++;
		if (!take_address(&at, p))
			return false;
	}
	if (*at == ':') {
		at++;
		if (!take_ports(&at, p))
			return false;
	}
	return *at == '\0';
}

bool
flow_pattern_parse(const char *text, struct flow_pattern *out, GError **error)
{
	struct flow_pattern p = { .last_port = UINT16_MAX };

	if (!parse(text, &p)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG,
			    "\"%s\" is not a flow pattern: PROTOCOL[:ADDRESS[/PREFIX]][:PORT[-PORT]] with tcp, udp, icmp or any, such as tcp:22, "
			    "udp:10.0.0.1:53 or tcp:[2001:db8::1]:80", text);
		return false;
	}
	*out = p;
	return true;
}

static bool
address_matches(const struct flow_pattern *p, const uint8_t *address)
{
	unsigned whole = p->prefix / 8, rest = p->prefix % 8;

	if (memcmp(p->address, address, whole) != 0)
		return false;
	return rest == 0 || !((p->address[whole] ^ address[whole]) & 0xff00 >> rest);
}

static bool
end_matches(const struct flow_pattern *p, const uint8_t *address, unsigned port)
{
	if (port < p->first_port || port > p->last_port)
		return false;
	return !p->address_length || address_matches(p, address);
}

bool
flow_pattern_matches(const struct flow_pattern *p, const struct flow_key *key)
{
	uint8_t length = key->ethertype == PACKET_TYPE_IPV4 ? 4 : 16;

	if (key->class == PACKET_OTHER || (p->class != PACKET_LAST && p->class != key->class))
		return false;
	if (p->address_length && p->address_length != length)
		return false;
	return end_matches(p, key->addresses, key->source_port) || end_matches(p, key->addresses + length, key->destination_port);
}

bool
flow_patterns_add(struct flow_patterns *patterns, enum flow_treatment treatment, const char *text, GError **error)
{
	struct flow_pattern p;

	if (!flow_pattern_parse(text, &p, error))
		return false;
	if (patterns->n == FLOW_PATTERNS_MAX) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "more than %d flow patterns", FLOW_PATTERNS_MAX);
		return false;
	}
	patterns->entry[patterns->n].pattern = p;
	patterns->entry[patterns->n++].treatment = treatment;
	return true;
}

bool
flow_patterns_add_list(struct flow_patterns *patterns, enum flow_treatment treatment, const char *list, GError **error)
{
	g_auto(GStrv) items = g_strsplit(list, ",", -1);
	struct flow_patterns all = *patterns;

	for (unsigned i = 0; items[i]; i++)
		if (!flow_patterns_add(&all, treatment, g_strstrip(items[i]), error))
			return false;
	*patterns = all;
	return true;
}

enum flow_treatment
flow_patterns_treat(const struct flow_patterns *patterns, const struct flow_key *key)
{
	enum flow_treatment treatment = FLOW_COMPARE;

	for (unsigned i = 0; i < patterns->n; i++)
		if (flow_pattern_matches(&patterns->entry[i].pattern, key))
			treatment = MAX(treatment, patterns->entry[i].treatment);
	return treatment;
}
