/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/event-ring.h"

#include "daemon/json-util.h"

struct event_ring {
	GQueue events;
};

struct event_ring *
event_ring_new(void)
{
	struct event_ring *r = g_new0(struct event_ring, 1);

	g_queue_init(&r->events);
	return r;
}

static void
put_event(gpointer event)
{
	json_object_put(event);
}

void
event_ring_free(struct event_ring *r)
{
	if (!r)
		return;
	g_queue_clear_full(&r->events, put_event);
	g_free(r);
}

struct json_object *
event_ring_add(struct event_ring *r, struct json_object *event, gint64 now_us, const char *domain, const char *type, const char *text)
{
	if (!event)
		event = json_object_new_object();
	if (!json_get(event, "time"))
		json_put_value(event, "time", json_object_new_double((double)now_us / G_USEC_PER_SEC));
	if (!json_get(event, "domain"))
		json_put_str(event, "domain", domain);
	if (!json_get(event, "type"))
		json_put_str(event, "type", type ? type : "note");
	if (!json_get(event, "text"))
		json_put_str(event, "text", text ? text : json_get_str(event, "type"));
	g_queue_push_tail(&r->events, event);
	if (r->events.length > EVENT_RING_MAX)
		json_object_put(g_queue_pop_head(&r->events));
	return event;
}

guint
event_ring_length(const struct event_ring *r)
{
	return r->events.length;
}

bool
event_ring_has(const struct event_ring *r, const char *domain)
{
	for (const GList *at = r->events.head; at; at = at->next)
		if (g_strcmp0(json_get_str(at->data, "domain"), domain) == 0)
			return true;
	return false;
}

struct json_object *
event_ring_at(const struct event_ring *r, guint i)
{
	return g_queue_peek_nth((GQueue *)&r->events, i);
}
