/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer-client-io.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"
#include "daemon/peer-api.h"

#define PROGRESS_PER_S 100	/* more is dropped: what is told goes on to the main thread's queue, and a peer must not fill that */

struct peer_client {
	GMainContext *context;		/* the thread's own */
	struct peer_link *link;		/* NULL once it is closed */
	char *host, *name;		/* name: NULL until TLS is done */
	GError *error;			/* why it is closed */
	guint64 next_id, waiting_id;
	struct peer_message answer;	/* object NULL: none yet */
	peer_client_progress progress;	/* NULL: the call is not followed */
	gpointer progress_data;
	gint64 second;			/* monotonic: when the counting of `heard` began */
	unsigned heard;
	GSource *deadline;		/* of what is waited for; NULL: nothing */
	gint64 timeout_us;
	bool expired;
};

static void
on_established(struct peer_link *link, const char *peer_name, gpointer user_data)
{
	struct peer_client *c = user_data;

	c->name = g_strdup(peer_name);
}

static void
hear_progress(struct peer_client *c, const struct peer_message *m)
{
	gint64 now = g_get_monotonic_time();
	struct json_object *progress;

	if (m->id != c->waiting_id || !c->progress)
		return;
	if (now - c->second >= G_USEC_PER_SEC) {
		c->second = now;
		c->heard = 0;
	}
	if (c->deadline)
		g_source_set_ready_time(c->deadline, now + c->timeout_us);	/* it is at work: what is limited is its silence */
	progress = c->heard++ < PROGRESS_PER_S ? peer_progress_read(m->parameters) : NULL;
	if (progress)
		c->progress(progress, c->progress_data);
}

static void
on_frame(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct peer_client *c = user_data;
	struct peer_message m = { 0 };

	if (frame->type != PEER_JSON || !peer_message_decode(frame->payload, frame->length, &m, NULL))
		return;			/* nothing that answers a call: its deadline says so */
	if (!m.method && !m.continues && c->waiting_id && m.id == c->waiting_id && !c->answer.object) {
		c->answer = m;
		return;
	}
	if (m.continues)
		hear_progress(c, &m);
	peer_message_clear(&m);
}

static void
on_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	struct peer_client *c = user_data;

	c->link = NULL;
	if (error)
		c->error = g_error_copy(error);
	else
		c->error = g_error_new(FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE, "%s closed the connection", c->host);
	peer_link_close(link);
}

static gboolean
on_expired(gpointer user_data)
{
	((struct peer_client *)user_data)->expired = true;
	return G_SOURCE_REMOVE;
}

/* Turns the thread's main context until `ready`, the connection's end or the deadline. */
static bool
wait_for(struct peer_client *c, bool (*ready)(const struct peer_client *c), unsigned timeout_ms, GError **error)
{
	c->expired = false;
	c->timeout_us = timeout_ms * (gint64)1000;
	c->deadline = g_timeout_source_new(timeout_ms);
	g_source_set_callback(c->deadline, on_expired, c, NULL);
	g_source_attach(c->deadline, c->context);
	while (!ready(c) && c->link && !c->expired)
		g_main_context_iteration(c->context, TRUE);
	g_source_destroy(c->deadline);
	g_clear_pointer(&c->deadline, g_source_unref);
	if (ready(c))
		return true;
	if (c->error)
		g_propagate_error(error, g_error_copy(c->error));
	else
		g_set_error(error, FTD_ERROR, FTD_ERROR_TIMEOUT, "%s did not answer within %u ms", c->host, timeout_ms);
	return false;
}

static bool
is_established(const struct peer_client *c)
{
	return c->name != NULL;
}

static bool
is_answered(const struct peer_client *c)
{
	return c->answer.object != NULL;
}

static void
explain(GError **error, unsigned port)
{
	g_autofree char *text = NULL;

	if (!error || !g_error_matches(*error, FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE))
		return;
	text = g_steal_pointer(&(*error)->message);
	(*error)->message = g_strdup_printf("%s; is the host up and its name right, does ftd run there, and is its peer-port %u too?", text, port);
}

struct peer_client *
peer_client_connect(const char *host, unsigned port, struct peer_credentials *creds, unsigned timeout_ms, GError **error)
{
	static const struct peer_link_callbacks callbacks = { .established = on_established, .frame = on_frame, .closed = on_closed };
	g_autoptr(peer_client) c = g_new0(struct peer_client, 1);

	c->context = g_main_context_ref_thread_default();
	c->host = g_strdup(host);
	c->link = peer_link_connect(host, port, NULL, PEER_CHANNEL_CONTROL, creds, timeout_ms, &callbacks, c);
	peer_link_set_dead_after(c->link, PEER_LINK_DEAD_AFTER_S);
	if (!wait_for(c, is_established, timeout_ms + 500, error)) {
		explain(error, port);
		return NULL;
	}
	return g_steal_pointer(&c);
}

void
peer_client_close(struct peer_client *c)
{
	if (!c)
		return;
	g_clear_pointer(&c->link, peer_link_close);
	g_main_context_unref(c->context);
	peer_message_clear(&c->answer);
	g_clear_error(&c->error);
	g_free(c->host);
	g_free(c->name);
	g_free(c);
}

const char *
peer_client_name(const struct peer_client *c)
{
	return c->name;
}

struct json_object *
peer_client_follow(struct peer_client *c, const char *method, struct json_object *parameters, unsigned timeout_ms, peer_client_progress progress, gpointer user_data,
		   GError **error)
{
	g_autoptr(GBytes) call = peer_message_bytes(peer_call_new(++c->next_id, method, parameters, progress != NULL));
	struct json_object *result = NULL;

	peer_message_clear(&c->answer);
	c->progress = progress;
	c->progress_data = user_data;
	c->waiting_id = c->next_id;
	if (c->link)
		peer_link_send(c->link, PEER_JSON, NULL, 0, call);
	if (!wait_for(c, is_answered, timeout_ms, error)) {
		g_prefix_error(error, "%s: ", method);
	} else if (c->answer.error) {
		g_propagate_prefixed_error(error, g_steal_pointer(&c->answer.error), "%s: ", c->name);
	} else {
		result = json_object_get(c->answer.parameters);
	}
	peer_message_clear(&c->answer);
	c->waiting_id = 0;
	c->progress = NULL;
	return result;
}

struct json_object *
peer_client_call(struct peer_client *c, const char *method, struct json_object *parameters, unsigned timeout_ms, GError **error)
{
	return peer_client_follow(c, method, parameters, timeout_ms, NULL, NULL, error);
}
