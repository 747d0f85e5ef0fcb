/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two ends of a link over loopback in one main loop, with certificates made for the test. */
#include "daemon/base/byte-reader.h"
#include "daemon/base/error.h"
#include "daemon/peer-link-io.h"
#include "tests/daemon/test-pki.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 3000

/* What one end saw. */
struct end {
	struct peer_link *link;
	bool established, closed;
	char *peer_name;
	GError *error;
	unsigned frames, writable;
	GPtrArray *payloads;	/* GBytes, when kept */
	uint64_t bytes, generation;
	uint32_t checksum;
	unsigned close_after, pause_after, slow_us;
	size_t writable_at;	/* what was queued when writable() was called for the first time */
};

struct fixture {
	char *dir;
	struct test_ca ca, other_ca, old_ca;
	char *a, *b, *foreign, *trusts_foreign, *expired, *early, *revoked, *wary, *old_list, *of_old, *trusts_old;
	struct end client, server;
	struct peer_listener *listener;
	struct peer_credentials *server_creds, *client_creds;
	enum peer_channel channel;
	unsigned handshake_ms;
	int raw;	/* an accepted socket that the test keeps to itself */
	bool keep_raw;
};

static void
end_clear(struct end *e)
{
	g_clear_pointer(&e->link, peer_link_close);
	g_clear_pointer(&e->payloads, g_ptr_array_unref);
	g_clear_error(&e->error);
	g_free(e->peer_name);
	*e = (struct end){ 0 };
}

static void
on_established(struct peer_link *link, const char *peer_name, gpointer user_data)
{
	struct end *e = user_data;

	assert_false(e->established);
	e->established = true;
	e->peer_name = g_strdup(peer_name);
}

static void
on_frame(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct end *e = user_data;

	assert_int_equal(frame->length, g_bytes_get_size(payload));
	assert_ptr_equal(frame->payload, g_bytes_get_data(payload, NULL));
	e->frames++;
	e->bytes += frame->length;
	e->generation = frame->generation;
	if (e->payloads)
		g_ptr_array_add(e->payloads, g_bytes_ref(payload));
	if (e->slow_us)
		g_usleep(e->slow_us);
	if (e->pause_after && e->frames == e->pause_after)
		peer_link_pause_reading(link, true);
	if (e->close_after && e->frames == e->close_after)
		g_clear_pointer(&e->link, peer_link_close);
}

static void
on_writable(struct peer_link *link, gpointer user_data)
{
	struct end *e = user_data;

	if (e->writable++ == 0)
		e->writable_at = peer_link_queued(link);
}

static void
on_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	struct end *e = user_data;

	assert_false(e->closed);
	e->closed = true;
	e->error = error ? g_error_copy(error) : NULL;
}

static const struct peer_link_callbacks callbacks = { on_established, on_frame, on_writable, on_closed };

static void
on_accepted(int fd, const char *from, gpointer user_data)
{
	struct fixture *f = user_data;

	assert_true(g_str_has_prefix(from, "127.0.0.1:"));
	if (f->keep_raw) {
		f->raw = fd;
		return;
	}
	assert_null(f->server.link);
	f->server.link = peer_link_accept(fd, f->server_creds, f->handshake_ms, &callbacks, &f->server);
	peer_link_set_channel(f->server.link, f->channel);
}

static int
setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	const long hour = 3600;

	f->dir = g_dir_make_tmp("ftd-peer-link-XXXXXX", NULL);
	test_ca_init(&f->ca, "test authority", 100 * hour);
	test_ca_init(&f->other_ca, "another authority", 100 * hour);
	test_ca_init(&f->old_ca, "an old authority", -hour);
	f->a = test_pki_make(f->dir, "a", "a.test", &f->ca, &f->ca, -hour, hour);
	f->b = test_pki_make(f->dir, "b", "b.test", &f->ca, &f->ca, -hour, hour);
	f->foreign = test_pki_make(f->dir, "foreign", "b.test", &f->other_ca, &f->other_ca, -hour, hour);
	f->trusts_foreign = test_pki_make(f->dir, "trusts-foreign", "a.test", &f->other_ca, &f->ca, -hour, hour);
	f->expired = test_pki_make(f->dir, "expired", "b.test", &f->ca, &f->ca, -2 * hour, -hour);
	f->early = test_pki_make(f->dir, "early", "b.test", &f->ca, &f->ca, hour, 2 * hour);
	f->revoked = test_pki_make(f->dir, "revoked", "b.test", &f->ca, &f->ca, -hour, hour);
	f->wary = test_pki_make(f->dir, "wary", "a.test", &f->ca, &f->ca, -hour, hour);
	test_pki_revoke(f->wary, f->revoked, &f->ca, hour);
	f->old_list = test_pki_make(f->dir, "old-list", "a.test", &f->ca, &f->ca, -hour, hour);
	test_pki_revoke(f->old_list, f->revoked, &f->ca, -hour);
	f->of_old = test_pki_make(f->dir, "of-old", "b.test", &f->old_ca, &f->ca, -hour, hour);
	f->trusts_old = test_pki_make(f->dir, "trusts-old", "a.test", &f->ca, &f->old_ca, -hour, hour);
	f->raw = -1;
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	test_remove_tree(f->dir);
	test_ca_clear(&f->ca);
	test_ca_clear(&f->other_ca);
	test_ca_clear(&f->old_ca);
	g_free(f->dir);
	g_free(f->a);
	g_free(f->b);
	g_free(f->foreign);
	g_free(f->trusts_foreign);
	g_free(f->expired);
	g_free(f->early);
	g_free(f->revoked);
	g_free(f->wary);
	g_free(f->old_list);
	g_free(f->of_old);
	g_free(f->trusts_old);
	g_free(f);
	return 0;
}

static void
start(struct fixture *f, const char *client_pki, const char *server_pki, enum peer_channel channel, const char *verify_host)
{
	g_autoptr(GError) error = NULL;

	f->channel = channel;
	f->handshake_ms = f->handshake_ms ? f->handshake_ms : TIMEOUT_MS;
	f->client_creds = peer_credentials_load(client_pki, &error);
	assert_null(error);
	f->server_creds = peer_credentials_load(server_pki, &error);
	assert_null(error);
	f->listener = peer_listener_new("127.0.0.1", 0, on_accepted, f, &error);
	assert_null(error);
	f->client.link = peer_link_connect("127.0.0.1", peer_listener_port(f->listener), verify_host, channel, f->client_creds, f->handshake_ms, &callbacks, &f->client);
}

static int
stop(void **state)
{
	struct fixture *f = *state;

	end_clear(&f->client);
	end_clear(&f->server);
	g_clear_pointer(&f->listener, peer_listener_free);
	g_clear_pointer(&f->client_creds, peer_credentials_unref);
	g_clear_pointer(&f->server_creds, peer_credentials_unref);
	if (f->raw >= 0)
		close(f->raw);
	f->raw = -1;
	f->keep_raw = false;
	f->handshake_ms = 0;
	return 0;
}

static gboolean
give_up(gpointer late)
{
	*(bool *)late = true;
	return G_SOURCE_REMOVE;
}

/* Runs the loop until the condition holds; fails the test after 5 s. */
#define run_until(condition) do { \
	bool late = false; \
	guint timer = g_timeout_add(5000, give_up, &late); \
	while (!(condition) && !late) \
		g_main_context_iteration(NULL, TRUE); \
	if (!late) \
		g_source_remove(timer); \
	else \
		fail_msg("never came: %s", #condition); \
} while (0)

static GBytes *
pattern(size_t length, uint32_t seed)
{
	uint8_t *data = g_malloc(length + 8);

	for (size_t i = 0; i < length; i += 4) {
		seed = seed * 1664525 + 1013904223;
		put_be32(data + i, seed);
	}
	return g_bytes_new_take(data, length);
}

static void
assert_error_text(const GError *error, enum ftd_error_code code, const char *part)
{
	assert_non_null(error);
	if (!g_error_matches(error, FTD_ERROR, (gint)code) || !strstr(error->message, part))
		fail_msg("unexpected error %s: %s", ftd_error_name(error), error->message);
}

/* ---- a good pair ---- */

static void
test_good_pair(void **state)
{
	struct fixture *f = *state;

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	run_until(f->client.established && f->server.established);
	assert_string_equal(f->client.peer_name, "b.test");
	assert_string_equal(f->server.peer_name, "a.test");
	assert_string_equal(peer_link_name(f->client.link) + strlen("127.0.0.1:"), g_strrstr(peer_link_name(f->client.link), ":") + 1);
	g_clear_pointer(&f->client.link, peer_link_close);
	run_until(f->server.closed);
	assert_null(f->server.error);
}

static const size_t sizes[] = { 0, 1, 2, 23, 24, 25, 4071, 4072, 4073, 4095, 4096, 4097, 8192, 16359, 16360, 16361, 16383, 16384, 16385, 32743, 32744, 32745, 65535,
				65536, 262143, 262144, 262145, 1048575, 1048576 };

static void
send_all_sizes(struct peer_link *l)
{
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autoptr(GBytes) body = pattern(sizes[i], (uint32_t)i);
		size_t head = MIN(sizes[i], i % 3 * 8);
		g_autoptr(GBytes) rest = g_bytes_new_from_bytes(body, head, sizes[i] - head);

		peer_link_set_generation(l, i);
		peer_link_send(l, PEER_CHECKPOINT_DATA, g_bytes_get_data(body, NULL), head, rest);
	}
}

static void
assert_all_sizes(const struct end *e)
{
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_autoptr(GBytes) want = pattern(sizes[i], (uint32_t)i);

		assert_true(g_bytes_equal(want, e->payloads->pdata[i]));
	}
	assert_int_equal(e->generation, G_N_ELEMENTS(sizes) - 1);
}

static void
test_all_sizes_both_ways(void **state)
{
	struct fixture *f = *state;

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	f->client.payloads = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	f->server.payloads = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	send_all_sizes(f->client.link);	/* queued before there is a connection */
	run_until(f->server.established);
	send_all_sizes(f->server.link);
	run_until(f->server.frames == G_N_ELEMENTS(sizes) && f->client.frames == G_N_ELEMENTS(sizes));
	assert_all_sizes(&f->client);
	assert_all_sizes(&f->server);
	run_until(peer_link_queued(f->client.link) == 0 && peer_link_queued(f->server.link) == 0);
	assert_int_equal(peer_link_bytes_sent(f->client.link), peer_link_bytes_received(f->server.link));
	assert_true(f->client.writable > 0);
}

static void
test_default_name_is_the_host(void **state)
{
	struct fixture *f = *state;

	start(f, f->a, f->b, PEER_CHANNEL_FAST, NULL);	/* b.test's certificate does not carry 127.0.0.1 */
	run_until(f->client.closed && f->server.closed);
	assert_error_text(f->client.error, FTD_ERROR_PEER_CERTIFICATE, "\"127.0.0.1\"");
}

/* ---- certificates ---- */

/* All of it in one text: which fault, the subject, the way out. */
static void
assert_told(const GError *error, const char *const *parts)
{
	for (; *parts; parts++)
		assert_error_text(error, FTD_ERROR_PEER_CERTIFICATE, *parts);
}

static void
test_client_rejects(void **state)
{
	struct fixture *f = *state;
	const struct { const char *client, *server, *verify_host, *judge[5], *judged[6]; } cases[] = {
		{ f->a, f->b, "c.test", { "(CN=b.test)", "does not carry the name \"c.test\"", "dns_name or ip_address", "(b.test)" },
		  { "did not accept our certificate ", "(CN=b.test)", "does not carry the name \"c.test\"", "dns_name or ip_address", "(b.test)" } },
		{ f->a, f->b, NULL, { "does not carry the name \"127.0.0.1\"" }, { "(CN=b.test)", "does not carry the address by which" } },
		{ f->a, f->foreign, "b.test", { "(CN=b.test)", "signed by an unknown authority (CN=another authority)", "/a/CA/cacert.pem", "check CA/cacert.pem" },
		  { "(CN=b.test)", "signed by an authority unknown there (CN=another authority)", "check CA/cacert.pem" } },
		{ f->a, f->expired, "b.test", { "(CN=b.test)", "has expired, on 20", "install a new one there" }, { "(CN=b.test)", "has expired, on 20", "install a new one here" } },
		{ f->a, f->early, "b.test", { "(CN=b.test)", "not valid yet, but from 20", "compare the clocks" },
		  { "(CN=b.test)", "not valid yet, but from 20", "compare the clocks" } },
		{ f->wary, f->revoked, "b.test", { "(CN=b.test)", "is revoked, says ", "/wary/CA/cacrl.pem", "install a new one there" },
		  { "(CN=b.test)", "on the revocation list", "install a new one here" } },
		{ f->trusts_old, f->of_old, "b.test", { "(CN=b.test)", "an authority whose own certificate has expired", "renew it" },
		  { "(CN=b.test)", "or its authority's, for expired", "valid from 20", "compare the clocks", "cacert.pem" } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		start(f, cases[i].client, cases[i].server, PEER_CHANNEL_FAST, cases[i].verify_host);
		run_until(f->client.closed && f->server.closed);
		assert_told(f->client.error, cases[i].judge);
		assert_told(f->server.error, cases[i].judged);
		assert_error_text(f->server.error, FTD_ERROR_PEER_CERTIFICATE, "servercert.pem");
		assert_false(f->server.established);
		stop(state);
	}
}

/* The client has its frames on the way when the server judges its certificate: the alert must come through all the same. */
static void
test_server_rejects(void **state)
{
	struct fixture *f = *state;
	const struct { const char *client, *server, *name, *judge[4], *judged[5]; } cases[] = {
		{ f->trusts_foreign, f->b, "b.test", { "(CN=a.test)", "signed by an unknown authority (CN=another authority)" },
		  { "(CN=a.test)", "signed by an authority unknown there (CN=another authority)" } },
		{ f->expired, f->b, "b.test", { "(CN=b.test)", "has expired, on 20" }, { "(CN=b.test)", "has expired, on 20", "servercert.pem", "install a new one here" } },
		{ f->early, f->b, "b.test", { "not valid yet, but from 20" }, { "not valid yet, but from 20", "compare the clocks" } },
		{ f->revoked, f->wary, "a.test", { "(CN=b.test)", "is revoked, says ", "/wary/CA/cacrl.pem" }, { "(CN=b.test)", "on the revocation list" } },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GBytes) body = pattern(1 << 20, 1);

		start(f, cases[i].client, cases[i].server, PEER_CHANNEL_BULK, cases[i].name);
		for (unsigned k = 0; k < 8; k++)
			peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
		run_until(f->client.closed && f->server.closed);
		assert_told(f->server.error, cases[i].judge);
		assert_told(f->client.error, cases[i].judged);
		assert_error_text(f->client.error, FTD_ERROR_PEER_CERTIFICATE, "did not accept our certificate");
		assert_int_equal(f->server.frames, 0);
		stop(state);
	}
}

/* A list is about its certificates alone, and one that nobody renewed is no reason to be without a peer; what it says still holds. */
static void
test_lists(void **state)
{
	struct fixture *f = *state;

	start(f, f->wary, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	stop(state);
	start(f, f->old_list, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	stop(state);
	start(f, f->old_list, f->revoked, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.closed && f->server.closed);
	assert_error_text(f->client.error, FTD_ERROR_PEER_CERTIFICATE, "is revoked, says ");
}

/* What a stranger put into a certificate reaches a log and a terminal. */
static void
test_ugly_subject(void **state)
{
	struct fixture *f = *state;
	g_autofree char *name = g_strdup_printf("x\033[2J\n%0300d", 1), *pki = test_pki_make_named(f->dir, "ugly", name, NULL, &f->other_ca, &f->ca, -1, 3600);
	char *text;

	start(f, pki, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.closed && f->server.closed);
	assert_error_text(f->server.error, FTD_ERROR_PEER_CERTIFICATE, "(CN=x");
	text = f->server.error->message;
	for (; *text; text++)
		assert_true(g_ascii_isprint(*text));
	assert_true(strlen(f->server.error->message) < 600);
}

static void
test_end(void **state)
{
	struct fixture *f = *state;
	gint64 now = g_get_real_time() / G_USEC_PER_SEC;
	g_autoptr(peer_credentials) good = peer_credentials_load(f->a, NULL), old = peer_credentials_load(f->expired, NULL);
	g_autofree char *long_lived = test_pki_make(f->dir, "long-lived", "x", &f->ca, &f->ca, -1, 1000 * 3600);
	g_autoptr(peer_credentials) beyond = peer_credentials_load(long_lived, NULL);
	const char *path;

	assert_true(ABS(peer_credentials_end(good, &path) - now - 3600) < 60);
	assert_true(g_str_has_suffix(path, "/servercert.pem"));
	assert_true(ABS(peer_credentials_end(old, &path) - now + 3600) < 60);
	assert_true(ABS(peer_credentials_end(beyond, &path) - now - 100 * 3600) < 60);	/* the authority's */
	assert_true(g_str_has_suffix(path, "/cacert.pem"));
}

static void
copy_pem(const char *from, const char *to)
{
	g_autofree char *pem = NULL;
	gsize length;

	assert_true(g_file_get_contents(from, &pem, &length, NULL));
	assert_true(g_file_set_contents(to, pem, (gssize)length, NULL));
}

/* With a certificate of its own for outgoing connections either may be somebody else's. */
static void
test_own_name(void **state)
{
	struct fixture *f = *state;
	g_autoptr(peer_credentials) good = peer_credentials_load(f->a, NULL), both = NULL;
	g_autofree char *pki = test_pki_make(f->dir, "two-names", "s.test", &f->ca, &f->ca, -1, 3600);
	g_autofree char *cert = g_build_filename(f->a, "ftd/servercert.pem", NULL), *key = g_build_filename(f->a, "ftd/private/serverkey.pem", NULL);
	g_autofree char *client_cert = g_build_filename(pki, "ftd/clientcert.pem", NULL), *client_key = g_build_filename(pki, "ftd/private/clientkey.pem", NULL);
	g_autofree char *other = NULL, *server = NULL, *client = NULL;
	const char *path;

	assert_null(peer_credentials_other_name(good, "a.test", &path));
	other = peer_credentials_other_name(good, "b.test", &path);
	assert_string_equal(other, "a.test");
	assert_true(g_str_has_suffix(path, "/servercert.pem"));
	copy_pem(cert, client_cert);
	copy_pem(key, client_key);
	both = peer_credentials_load(pki, NULL);
	assert_non_null(both);
	server = peer_credentials_other_name(both, "a.test", &path);
	assert_string_equal(server, "s.test");
	assert_true(g_str_has_suffix(path, "/servercert.pem"));
	client = peer_credentials_other_name(both, "s.test", &path);
	assert_string_equal(client, "a.test");
	assert_true(g_str_has_suffix(path, "/clientcert.pem"));
}

static void
test_credentials_name_the_file(void **state)
{
	struct fixture *f = *state;
	g_autofree char *missing = test_pki_make(f->dir, "missing", "x", &f->ca, &f->ca, -1, 60);
	g_autofree char *key = g_build_filename(missing, "ftd/private/serverkey.pem", NULL);
	g_autofree char *ca = g_build_filename(missing, "CA/cacert.pem", NULL);
	g_autofree char *other_key = g_build_filename(f->a, "ftd/private/serverkey.pem", NULL);
	g_autofree char *contents = NULL;
	g_autoptr(GError) error = NULL;

	assert_true(g_file_get_contents(other_key, &contents, NULL, NULL));
	assert_true(g_file_set_contents(key, contents, -1, NULL));
	assert_null(peer_credentials_load(missing, &error));
	assert_error_text(error, FTD_ERROR_PEER_CERTIFICATE, "is not the private key");
	g_clear_error(&error);
	unlink(key);
	assert_null(peer_credentials_load(missing, &error));
	assert_error_text(error, FTD_ERROR_PEER_CERTIFICATE, "serverkey.pem");
	g_clear_error(&error);
	assert_true(g_file_set_contents(ca, "nothing", -1, NULL));
	assert_true(g_file_set_contents(key, contents, -1, NULL));
	assert_null(peer_credentials_load(missing, &error));
	assert_error_text(error, FTD_ERROR_PEER_CERTIFICATE, "cacert.pem");
}

/* ---- trouble below TLS ---- */

static void
test_refused(void **state)
{
	struct fixture *f = *state;

	f->keep_raw = true;
	start(f, f->a, f->b, PEER_CHANNEL_FAST, NULL);
	unsigned port = peer_listener_port(f->listener);
	end_clear(&f->client);
	g_clear_pointer(&f->listener, peer_listener_free);
	f->client.link = peer_link_connect("localhost", port, NULL, PEER_CHANNEL_FAST, f->client_creds, 1000, &callbacks, &f->client);
	assert_false(f->client.closed);	/* never from inside of the call */
	run_until(f->client.closed);
	assert_error_text(f->client.error, FTD_ERROR_PEER_UNREACHABLE, "Connection refused");
	assert_non_null(strstr(f->client.error->message, "localhost"));
}

static void
test_unknown_name(void **state)
{
	struct fixture *f = *state;

	f->client_creds = peer_credentials_load(f->a, NULL);
	f->client.link = peer_link_connect("no-such-host.invalid", 1, NULL, PEER_CHANNEL_FAST, f->client_creds, 1000, &callbacks, &f->client);
	run_until(f->client.closed);
	assert_error_text(f->client.error, FTD_ERROR_PEER_UNREACHABLE, "no-such-host.invalid");
}

static void
test_close_while_resolving(void **state)
{
	struct fixture *f = *state;

	f->client_creds = peer_credentials_load(f->a, NULL);
	f->client.link = peer_link_connect("no-such-host.invalid", 1, NULL, PEER_CHANNEL_FAST, f->client_creds, 1000, &callbacks, &f->client);
	g_clear_pointer(&f->client.link, peer_link_close);
	for (unsigned i = 0; i < 50; i++) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(1000);
	}
	assert_false(f->client.closed);
}

static void
test_stalled_handshake(void **state)
{
	struct fixture *f = *state;

	f->keep_raw = true;
	f->handshake_ms = 200;
	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.closed);
	assert_error_text(f->client.error, FTD_ERROR_PEER_UNREACHABLE, "within 200 ms");
}

static void
test_silent_client(void **state)
{
	struct fixture *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	f->server_creds = peer_credentials_load(f->b, NULL);
	f->server.link = peer_link_accept(pair[0], f->server_creds, 100, &callbacks, &f->server);
	run_until(f->server.closed);
	assert_error_text(f->server.error, FTD_ERROR_PEER_UNREACHABLE, "within 100 ms");
	close(pair[1]);
}

static void
test_not_tls(void **state)
{
	struct fixture *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	f->server_creds = peer_credentials_load(f->b, NULL);
	f->server.link = peer_link_accept(pair[0], f->server_creds, 1000, &callbacks, &f->server);
	assert_int_equal(write(pair[1], "GET / HTTP/1.1\r\n\r\n", 18), 18);
	run_until(f->server.closed);
	assert_error_text(f->server.error, FTD_ERROR_PROTOCOL, "TLS with");
	close(pair[1]);
}

/* A peer that vanishes (its process was killed: FIN without close_notify) is "lost", not an orderly end. */
static void
test_lost(void **state)
{
	struct fixture *f = *state;

	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	for (int fd = 3; fd < 64; fd++) {
		struct sockaddr_in peer, own;
		socklen_t length = sizeof peer;

		/* the client's socket: the one whose peer is the listener's port */
		if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 && peer.sin_family == AF_INET && ntohs(peer.sin_port) == peer_listener_port(f->listener) &&
		    (length = sizeof own, getsockname(fd, (struct sockaddr *)&own, &length) == 0))
			shutdown(fd, SHUT_WR);
	}
	run_until(f->server.closed);
	assert_error_text(f->server.error, FTD_ERROR_PEER_UNREACHABLE, "lost");
}

/* ---- frames that are not in the protocol: a peer with a good certificate and a bad mind ---- */

struct rogue {
	gnutls_session_t session;
	gnutls_certificate_credentials_t creds;
	int fd;
};

static gpointer
rogue_handshake(gpointer p)
{
	struct rogue *r = p;
	int code;

	do
		code = gnutls_handshake(r->session);
	while (code < 0 && !gnutls_error_is_fatal(code));
	return GINT_TO_POINTER(code == 0);
}

static void
rogue_start(struct rogue *r, struct fixture *f)
{
	g_autofree char *cert = g_build_filename(f->a, "ftd/servercert.pem", NULL);
	g_autofree char *key = g_build_filename(f->a, "ftd/private/serverkey.pem", NULL);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	gnutls_certificate_allocate_credentials(&r->creds);
	assert_int_equal(gnutls_certificate_set_x509_key_file(r->creds, cert, key, GNUTLS_X509_FMT_PEM), 0);
	gnutls_init(&r->session, GNUTLS_CLIENT);
	gnutls_set_default_priority(r->session);
	gnutls_credentials_set(r->session, GNUTLS_CRD_CERTIFICATE, r->creds);
	gnutls_transport_set_int(r->session, pair[1]);
	r->fd = pair[1];
	f->server_creds = peer_credentials_load(f->b, NULL);
	f->server.link = peer_link_accept(pair[0], f->server_creds, TIMEOUT_MS, &callbacks, &f->server);
	peer_link_set_channel(f->server.link, PEER_CHANNEL_DISK);
	GThread *thread = g_thread_new("rogue", rogue_handshake, r);
	run_until(f->server.established);
	assert_true(GPOINTER_TO_INT(g_thread_join(thread)));
}

static void
rogue_stop(struct rogue *r)
{
	gnutls_deinit(r->session);
	gnutls_certificate_free_credentials(r->creds);
	close(r->fd);
}

static void
test_bad_frames(void **state)
{
	struct fixture *f = *state;
	static const struct { uint32_t magic; uint16_t type, flags; uint32_t length, reserved; const char *text; } cases[] = {
		{ 0x46544432, PEER_DISK_MARK, 0, 8, 0, "does not speak" },
		{ PEER_MAGIC, 999, 0, 8, 0, "type 999" },
		{ PEER_MAGIC, PEER_ARM, 0, 0, 0, "does not belong on the disk channel" },
		{ PEER_MAGIC, PEER_DISK_MARK, 1, 8, 0, "flags" },
		{ PEER_MAGIC, PEER_DISK_MARK, 0, 8, 1, "flags" },
		{ PEER_MAGIC, PEER_DISK_MARK, 0, PEER_MAX_CONTROL + 1, 0, "at most" },
		{ PEER_MAGIC, PEER_DISK_WRITE, 0, UINT32_MAX, 0, "at most" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct rogue r;
		uint8_t bytes[2 * PEER_HEADER];

		rogue_start(&r, f);
		peer_header_encode(bytes, PEER_GOODBYE, 0, 7);	/* a good one first */
		put_be32(bytes + PEER_HEADER, cases[i].magic);
		put_be16(bytes + PEER_HEADER + 4, cases[i].type);
		put_be16(bytes + PEER_HEADER + 6, cases[i].flags);
		put_be32(bytes + PEER_HEADER + 8, cases[i].length);
		put_be32(bytes + PEER_HEADER + 12, cases[i].reserved);
		put_be64(bytes + PEER_HEADER + 16, 0);
		assert_int_equal(gnutls_record_send(r.session, bytes, sizeof bytes), sizeof bytes);
		run_until(f->server.closed);
		assert_error_text(f->server.error, FTD_ERROR_PROTOCOL, cases[i].text);
		assert_int_equal(f->server.frames, 1);
		rogue_stop(&r);
		stop(state);
	}
}

static void
test_truncated(void **state)
{
	struct fixture *f = *state;
	const size_t cuts[] = { 1, PEER_HEADER - 1, PEER_HEADER, PEER_HEADER + 100 };

	for (size_t i = 0; i < G_N_ELEMENTS(cuts); i++) {
		struct rogue r;
		uint8_t bytes[PEER_HEADER + 100] = { 0 };

		rogue_start(&r, f);
		peer_header_encode(bytes, PEER_DISK_WRITE, 1 << 20, 7);
		assert_int_equal(gnutls_record_send(r.session, bytes, cuts[i]), cuts[i]);
		gnutls_bye(r.session, GNUTLS_SHUT_WR);
		run_until(f->server.closed);
		assert_error_text(f->server.error, FTD_ERROR_PROTOCOL, "middle of a frame");
		assert_int_equal(f->server.frames, 0);
		rogue_stop(&r);
		stop(state);
	}
}

/* ---- back-pressure, limits, re-entrancy ---- */

static void
settle(void)
{
	for (unsigned i = 0; i < 100; i++) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(200);
	}
}

static void
test_back_pressure(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) body = pattern(1 << 20, 3);
	const unsigned n = 32;

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	run_until(f->client.established && f->server.established);
	peer_link_pause_reading(f->server.link, true);
	settle();
	f->client.writable = 0;
	for (unsigned i = 0; i < n; i++)
		peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
	settle();
	assert_true(peer_link_queued(f->client.link) > 8u << 20);
	assert_int_equal(f->client.writable, 0);
	assert_int_equal(f->server.frames, 0);
	peer_link_pause_reading(f->server.link, false);
	run_until(f->server.frames == n);
	run_until(peer_link_queued(f->client.link) == 0);
	assert_true(f->client.writable >= 2);	/* half empty, then empty */
	assert_in_range(f->client.writable_at, 1, PEER_LINK_QUEUE_SOFT / 2);
	assert_int_equal(f->server.bytes, (uint64_t)n << 20);
}

/* What has been flushed is on its way before the main loop turns again; what the socket does not take waits for it, as ever. */
static void
test_flush(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) body = pattern(1 << 20, 1);
	uint64_t before;

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
	peer_link_flush(f->client.link);
	assert_int_equal(peer_link_queued(f->client.link), PEER_HEADER + (1 << 20));	/* there is no connection yet */
	run_until(f->client.established && f->server.frames == 1);
	settle();
	before = peer_link_bytes_sent(f->client.link);
	f->client.writable = 0;
	peer_link_send(f->client.link, PEER_STREAM, "beat", 4, NULL);
	assert_int_equal(peer_link_bytes_sent(f->client.link), before);
	peer_link_flush(f->client.link);
	assert_true(peer_link_bytes_sent(f->client.link) > before);
	assert_int_equal(peer_link_queued(f->client.link), 0);
	assert_int_equal(f->client.writable, 1);
	run_until(f->server.frames == 2);

	for (unsigned i = 0; i < 64; i++)
		peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
	for (unsigned i = 0; i < 300; i++)
		peer_link_flush(f->client.link);
	assert_true(peer_link_queued(f->client.link) > 0);
	run_until(f->server.frames == 66);
}

/* A pause inside of a callback leaves whole frames in this side's buffers: no poll will ever tell of them. */
static void
test_pause_in_frame_callback(void **state)
{
	struct fixture *f = *state;

	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	f->server.pause_after = 3;
	for (unsigned i = 0; i < 10; i++)
		peer_link_send(f->client.link, PEER_HEARTBEAT, NULL, 0, NULL);
	run_until(f->server.frames == 3);
	settle();
	assert_int_equal(f->server.frames, 3);
	peer_link_pause_reading(f->server.link, false);
	run_until(f->server.frames == 10);
}

static gboolean
count_turn(gpointer user_data)
{
	(*(unsigned *)user_data)++;
	return G_SOURCE_CONTINUE;
}

/* A frame of some bytes may be work for a millisecond, and hundreds of them come with one read. */
static void
test_slow_frames_leave_others_their_turn(void **state)
{
	struct fixture *f = *state;
	unsigned turns = 0, before, id;

	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	peer_link_pause_reading(f->server.link, true);
	for (unsigned i = 0; i < 200; i++)
		peer_link_send(f->client.link, PEER_HEARTBEAT, NULL, 0, NULL);
	run_until(peer_link_queued(f->client.link) == 0);
	settle();
	f->server.slow_us = 1000;
	id = g_timeout_add_full(G_PRIORITY_DEFAULT, 0, count_turn, &turns, NULL);
	before = f->server.frames;
	peer_link_pause_reading(f->server.link, false);
	run_until(f->server.frames == before + 200);
	g_source_remove(id);
	assert_true(turns >= 20);	/* 200 ms of work, 3 in each turn */
}

static void
test_queue_limit(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) body = pattern(1 << 20, 3);

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	peer_link_set_queue_limit(f->client.link, 1 << 20, 4 << 20);
	run_until(f->client.established && f->server.established);
	for (unsigned i = 0; i < 8; i++)
		peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
	assert_true(peer_link_queued(f->client.link) <= 4u << 20);
	assert_false(f->client.closed);	/* never from inside of the call */
	run_until(f->client.closed && f->server.closed);
	assert_error_text(f->client.error, FTD_ERROR_LIMIT, "4 MiB");
}

static void
test_close_in_frame_callback(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) big = pattern(100000, 1);

	for (unsigned after = 1; after <= 4; after++) {
		start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
		f->server.close_after = after;
		for (unsigned i = 0; i < 4; i++)
			peer_link_send(f->client.link, PEER_STREAM, "x", 1, i >= 2 ? big : NULL);
		run_until(f->client.closed);
		assert_null(f->client.error);
		assert_int_equal(f->server.frames, after);
		assert_false(f->server.closed);
		stop(state);
	}
}

/* GOODBYE and close at once, with unread bytes on this side: it must arrive. */
static void
test_last_frame_arrives(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) body = pattern(1000, 1);

	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	peer_link_pause_reading(f->server.link, true);
	for (unsigned i = 0; i < 20; i++)
		peer_link_send(f->client.link, PEER_INBOUND, NULL, 0, body);
	run_until(peer_link_queued(f->client.link) == 0);
	f->client.payloads = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	peer_link_send(f->server.link, PEER_GOODBYE, "\0\1", 2, NULL);
	g_clear_pointer(&f->server.link, peer_link_close);
	run_until(f->client.closed);
	assert_int_equal(f->client.frames, 1);
	assert_null(f->client.error);
}

/* ---- speed ---- */

static void
test_throughput(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GBytes) body = pattern(1 << 20, 9);
	const unsigned n = 64;

	start(f, f->a, f->b, PEER_CHANNEL_BULK, "b.test");
	run_until(f->client.established && f->server.established);
	f->server.payloads = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
	gint64 begin = g_get_monotonic_time();
	for (unsigned i = 0; i < n; i++)
		peer_link_send(f->client.link, PEER_STREAM, NULL, 0, body);
	run_until(f->server.frames == n);
	gint64 us = MAX(g_get_monotonic_time() - begin, 1);
	for (unsigned i = 0; i < n; i++)
		assert_true(g_bytes_equal(body, f->server.payloads->pdata[i]));
	print_message("64 MiB in %.1f ms, both ends on one thread: %.0f MiB/s\n", (double)us / 1e3, n * 1e6 / (double)us);
}

static void
test_round_trip(void **state)
{
	struct fixture *f = *state;
	const unsigned n = 2000;

	start(f, f->a, f->b, PEER_CHANNEL_FAST, "b.test");
	run_until(f->client.established && f->server.established);
	gint64 begin = g_get_monotonic_time();
	for (unsigned i = 1; i <= n; i++) {
		peer_link_send(f->client.link, PEER_HEARTBEAT, "01234567", 8, NULL);
		while (f->server.frames < i)
			g_main_context_iteration(NULL, TRUE);
		peer_link_send(f->server.link, PEER_HEARTBEAT, "01234567", 8, NULL);
		while (f->client.frames < i)
			g_main_context_iteration(NULL, TRUE);
	}
	gint64 us = g_get_monotonic_time() - begin;
	print_message("round trip of a small frame: %.1f us\n", (double)us / n);
	begin = g_get_monotonic_time();
	for (unsigned i = 0; i < 100000; i++)
		peer_link_send(f->client.link, PEER_HEARTBEAT, "01234567", 8, NULL);
	run_until(f->server.frames == n + 100000);
	us = g_get_monotonic_time() - begin;
	print_message("small frames: %.2f us each\n", (double)us / 100000);
}

#define LINK_TEST(name) cmocka_unit_test_teardown(name, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		LINK_TEST(test_good_pair),
		LINK_TEST(test_all_sizes_both_ways),
		LINK_TEST(test_default_name_is_the_host),
		LINK_TEST(test_client_rejects),
		LINK_TEST(test_server_rejects),
		LINK_TEST(test_lists),
		LINK_TEST(test_ugly_subject),
		LINK_TEST(test_end),
		LINK_TEST(test_own_name),
		LINK_TEST(test_credentials_name_the_file),
		LINK_TEST(test_refused),
		LINK_TEST(test_unknown_name),
		LINK_TEST(test_close_while_resolving),
		LINK_TEST(test_stalled_handshake),
		LINK_TEST(test_silent_client),
		LINK_TEST(test_not_tls),
		LINK_TEST(test_lost),
		LINK_TEST(test_bad_frames),
		LINK_TEST(test_truncated),
		LINK_TEST(test_back_pressure),
		LINK_TEST(test_flush),
		LINK_TEST(test_pause_in_frame_callback),
		LINK_TEST(test_slow_frames_leave_others_their_turn),
		LINK_TEST(test_queue_limit),
		LINK_TEST(test_close_in_frame_callback),
		LINK_TEST(test_last_frame_arrives),
		LINK_TEST(test_throughput),
		LINK_TEST(test_round_trip),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
