/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `ftctl flows` shows of the primary's side; members are listed in ftctl(1), FLOWS. Pure. */
#include "daemon/guard-internal.h"

#include <arpa/inet.h>

static char *
mac_text(const uint8_t *mac)
{
	return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* One end of the flow. Of whole frames that are compared as such: the MAC address, destination first in the frame. */
static char *
end_text(const struct flow_key *k, bool source)
{
	bool v6 = k->ethertype == PACKET_TYPE_IPV6, ports = k->class == PACKET_TCP || k->class == PACKET_UDP;
	char address[INET6_ADDRSTRLEN];

	if (k->class == PACKET_OTHER)
		return mac_text(k->addresses + (source ? 6 : 0));
	inet_ntop(v6 ? AF_INET6 : AF_INET, k->addresses + (source ? 0 : v6 ? 16 : 4), address, sizeof address);
	if (!ports)
		return g_strdup(address);
	return g_strdup_printf(v6 ? "[%s]:%u" : "%s:%u", address, source ? k->source_port : k->destination_port);
}

static void
add_text(struct json_object *o, const char *key, char *taken)
{
	json_object_object_add(o, key, json_object_new_string(taken));
	g_free(taken);
}

static void
add_u64(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)value));
}

static char *
hex(const uint8_t *bytes, unsigned n)
{
	GString *s = g_string_new(NULL);

	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(s, "%02x", bytes[i]);
	return g_string_free(s, FALSE);
}

static struct json_object *
difference(const struct difference *d)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "reason", json_object_new_string(difference_reason_name(d->reason)));
	if (d->reason == DIFFERENCE_CONTENT || d->reason == DIFFERENCE_LENGTH)
		add_u64(o, "byte", d->at);
	if (d->primary_length || d->secondary_length) {
		add_text(o, "primary", hex(d->primary, d->primary_length));
		add_text(o, "standby", hex(d->secondary, d->secondary_length));
	}
	return o;
}

static struct json_object *
vlans(const struct flow_key *k)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < PACKET_VLAN_TAGS && k->vlan[i]; i++)
		json_object_array_add(a, json_object_new_int(k->vlan[i] & (PACKET_VLAN_TAGGED - 1)));
	return a;
}

static struct json_object *
row(const struct comparator_flow *f)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "protocol", json_object_new_string(packet_class_name((enum packet_class)f->key.class)));
	if (f->key.class == PACKET_OTHER)
		add_text(o, "ethertype", g_strdup_printf("%04x", f->key.ethertype));
	add_text(o, "source", end_text(&f->key, true));
	add_text(o, "destination", end_text(&f->key, false));
	add_u64(o, "nic", f->key.nic);
	json_object_object_add(o, "vlans", vlans(&f->key));
	json_object_object_add(o, "treatment", json_object_new_string(flow_treatment_name(f->treatment)));
	add_u64(o, "same", f->released_frames[RELEASE_SAME]);
	add_u64(o, "committed", f->released_frames[RELEASE_COMMITTED]);
	add_u64(o, "bypassed", f->released_frames[RELEASE_BYPASS]);
	add_u64(o, "same_bytes", f->released_bytes[RELEASE_SAME]);
	add_u64(o, "committed_bytes", f->released_bytes[RELEASE_COMMITTED]);
	add_u64(o, "bypassed_bytes", f->released_bytes[RELEASE_BYPASS]);
	add_u64(o, "held", f->held_frames);
	add_u64(o, "differences", f->differences);
	if (f->differences)
		json_object_object_add(o, "first_difference", difference(&f->first));
	return o;
}

struct json_object *
guard_flows(const struct guard *g)
{
	struct json_object *list = json_object_new_array();

	if (!guard_is_primary(g))
		return list;
	g_autoptr(GArray) flows = comparator_flows(g->p.comparator, COMPARATOR_FLOWS_MAX);
	for (guint i = 0; i < flows->len; i++)
		json_object_array_add(list, row(&g_array_index(flows, struct comparator_flow, i)));
	return list;
}
