/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/link-probe-io.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <gio/gio.h>

#define CALL_TIMEOUT_MS 5000
#define CONNECT_TIMEOUT_S 3
#define ROUND_TRIPS 10
#define FIRST_PAD (128 * 1024)		/* 100 ms at 10 Mbit/s: on a link below that nothing more is sent */
#define PAD (1024 * 1024)
#define PADS_MAX 12
#define LONG_ENOUGH_US (250 * 1000)
#define LISTEN_OPEN_S 10
#define LISTEN_MAX 8

/* -- asked */

static bool
echo(struct peer_client *client, gsize pad, gint64 *took_us, gint64 *clock_us, GError **error)
{
	g_autofree char *text = pad ? g_strnfill(pad, 'x') : NULL;
	struct json_object *parameters = json_put_str(json_object_new_object(), "pad", text);
	gint64 begin = g_get_monotonic_time();
	g_autoptr(json_object_ptr) reply = peer_client_call(client, "Echo", parameters, CALL_TIMEOUT_MS, error);

	if (!reply)
		return false;
	*took_us = g_get_monotonic_time() - begin;
	if (clock_us)
		*clock_us = (gint64)json_get_u64(reply, "time_us") + *took_us / 2 - g_get_real_time();
	return true;
}

/* The text is made and parsed within the time that is measured, so this is what the link carries at least. */
static bool
measure_width(struct peer_client *client, struct link_facts *out, GError **error)
{
	gint64 total_us = 0, took_us = 0;
	guint64 bytes = 0;

	for (guint i = 0; i < PADS_MAX && total_us < LONG_ENOUGH_US; i++) {
		gsize pad = i ? PAD : FIRST_PAD;

		if (!echo(client, pad, &took_us, NULL, error))
			return false;
		bytes += pad;
		total_us += MAX(1, took_us - (gint64)out->round_trip_us);
	}
	out->bytes_per_s = bytes * G_USEC_PER_SEC / (guint64)total_us;
	return true;
}

bool
link_measure(struct peer_client *client, struct link_facts *out, GError **error)
{
	*out = (struct link_facts){ .round_trip_us = G_MAXUINT64 };
	for (guint i = 0; i < ROUND_TRIPS; i++) {
		gint64 took_us, clock_us;

		if (!echo(client, 0, &took_us, &clock_us, error))
			return false;
		if ((guint64)took_us >= out->round_trip_us)
			continue;
		out->round_trip_us = (guint64)took_us;
		out->clock_offset_us = clock_us;
	}
	return measure_width(client, out, error);
}

bool
link_port_is_open(struct peer_client *client, const char *host, GError **error)
{
	g_autoptr(json_object_ptr) reply = peer_client_call(client, "Listen", NULL, CALL_TIMEOUT_MS, error);
	g_autoptr(GSocketClient) dial = g_socket_client_new();
	g_autoptr(GSocketConnection) connection = NULL;
	g_autoptr(GError) local = NULL;
	guint port = (guint)json_get_u64(reply, "port");

	if (!reply)
		return false;
	g_socket_client_set_timeout(dial, CONNECT_TIMEOUT_S);
	g_socket_client_set_enable_proxy(dial, FALSE);
	if (port && port <= G_MAXUINT16)
		connection = g_socket_client_connect_to_host(dial, host, (guint16)port, NULL, &local);
	if (connection)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE, "port %u of %s is not reached (%s); guards listen on ports that the kernel chooses "
		    "(net.ipv4.ip_local_port_range): let the firewalls pass TCP between the hosts", port, host, local ? local->message : "no port");
	return false;
}

/* -- answered */

struct json_object *
link_answer_echo(void)
{
	return json_put_u64(json_object_new_object(), "time_us", (guint64)g_get_real_time());
}

static gint listening;	/* atomic */

static gboolean
listen_over(gpointer listener)
{
	g_object_unref(listener);
	g_atomic_int_dec_and_test(&listening);
	return G_SOURCE_REMOVE;
}

struct json_object *
link_answer_listen(GError **error)
{
	g_autoptr(GSocketListener) listener = g_socket_listener_new();
	g_autoptr(GError) local = NULL;
	guint16 port;

	if (g_atomic_int_add(&listening, 1) >= LISTEN_MAX) {
		g_atomic_int_dec_and_test(&listening);
		g_set_error(error, FTD_ERROR, FTD_ERROR_LIMIT, "%d ports are being tried already; ask again in %d s", LISTEN_MAX, LISTEN_OPEN_S);
		return NULL;
	}
	port = g_socket_listener_add_any_inet_port(listener, NULL, &local);
	if (!port) {
		g_atomic_int_dec_and_test(&listening);
		g_set_error(error, FTD_ERROR, FTD_ERROR_FAILED, "no port to listen on: %s", local->message);
		return NULL;
	}
	/* Nobody accepts: that the kernel answers is all that is asked for. */
	g_timeout_add_seconds(LISTEN_OPEN_S, listen_over, g_steal_pointer(&listener));
	return json_put_u64(json_object_new_object(), "port", port);
}
