/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer-credentials-io.h"

#include "daemon/base/error.h"
#include "daemon/peer-refusal-io.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <string.h>
#include <unistd.h>

/* AES-128 first: with AES-NI it is the fastest by far, and a checkpoint is hundreds of MB. */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"

struct peer_credentials {
	gint refs;
	char *ca, *crl;
	char *server_cert, *client_cert;
	gnutls_certificate_credentials_t server, client;
};

static bool
readable(const char *path, const char *what, GError **error)
{
	if (access(path, R_OK) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "%s %s cannot be read: %s; see ftd.conf(5), CERTIFICATES", what, path, g_strerror(errno));
	return false;
}

static bool
gnutls_ok(int code, const char *what, const char *path, GError **error)
{
	if (code >= 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "%s %s is not usable: %s", what, path, gnutls_strerror(code));
	return false;
}

static gnutls_certificate_credentials_t
load_side(const char *ca, const char *crl, const char *cert, const char *key, GError **error)
{
	gnutls_certificate_credentials_t side;
	int code;

	if (!readable(ca, "CA certificate", error) || !readable(cert, "certificate", error) || !readable(key, "private key", error))
		return NULL;
	if (gnutls_certificate_allocate_credentials(&side) < 0)
		g_error("gnutls: out of memory");
	code = gnutls_certificate_set_x509_trust_file(side, ca, GNUTLS_X509_FMT_PEM);
	if (!gnutls_ok(code ? code : GNUTLS_E_NO_CERTIFICATE_FOUND, "CA certificate", ca, error))
		goto fail;
	if (access(crl, F_OK) == 0 && !gnutls_ok(gnutls_certificate_set_x509_crl_file(side, crl, GNUTLS_X509_FMT_PEM), "revocation list", crl, error))
		goto fail;
	code = gnutls_certificate_set_x509_key_file(side, cert, key, GNUTLS_X509_FMT_PEM);
	if (code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "%s is not the private key of certificate %s", key, cert);
		goto fail;
	}
	if (!gnutls_ok(code, "certificate or private key", cert, error))
		goto fail;
	return side;
fail:
	gnutls_certificate_free_credentials(side);
	return NULL;
}

struct peer_credentials *
peer_credentials_load(const char *pki, GError **error)
{
	g_autoptr(peer_credentials) c = g_new0(struct peer_credentials, 1);
	g_autofree char *server_key = g_build_filename(pki, "ftd", "private", "serverkey.pem", NULL);
	g_autofree char *client_key = g_build_filename(pki, "ftd", "private", "clientkey.pem", NULL);

	c->refs = 1;
	c->ca = g_build_filename(pki, "CA", "cacert.pem", NULL);
	c->crl = g_build_filename(pki, "CA", "cacrl.pem", NULL);
	c->server_cert = g_build_filename(pki, "ftd", "servercert.pem", NULL);
	c->client_cert = g_build_filename(pki, "ftd", "clientcert.pem", NULL);
	if (access(c->client_cert, F_OK) != 0) {
		g_free(c->client_cert);
		c->client_cert = g_strdup(c->server_cert);
		g_free(client_key);
		client_key = g_strdup(server_key);
	}
	c->server = load_side(c->ca, c->crl, c->server_cert, server_key, error);
	if (!c->server)
		return NULL;
	c->client = load_side(c->ca, c->crl, c->client_cert, client_key, error);
	if (!c->client)
		return NULL;
	return g_steal_pointer(&c);
}

static char *
certificate_name(gnutls_x509_crt_t crt)
{
	char name[256] = "";
	size_t size = sizeof name - 1;

	/* A name with a NUL inside is no name: what follows the NUL would be invisible to whoever compares it. */
	if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size) == 0 && size > 0 && strnlen(name, size) == size)
		return g_strdup(name);
	memset(name, 0, sizeof name);
	size = sizeof name - 1;
	if (gnutls_x509_crt_get_subject_alt_name(crt, 0, name, &size, NULL) == GNUTLS_SAN_DNSNAME && strnlen(name, size) == size)
		return g_strdup(name);
	return g_strdup("");
}

static char *
own_name(gnutls_certificate_credentials_t side)
{
	gnutls_x509_crt_t *chain = NULL;
	unsigned n = 0;
	char *name;

	if (gnutls_certificate_get_x509_crt(side, 0, &chain, &n) < 0)
		return g_strdup("");
	name = certificate_name(chain[0]);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(chain[i]);
	gnutls_free(chain);
	return name;
}

char *
peer_credentials_other_name(const struct peer_credentials *c, const char *name, const char **path)
{
	g_autofree char *server = own_name(c->server), *client = own_name(c->client);

	*path = strcmp(server, name) != 0 ? c->server_cert : c->client_cert;
	if (strcmp(server, name) != 0)
		return g_steal_pointer(&server);
	return strcmp(client, name) != 0 ? g_steal_pointer(&client) : NULL;
}

static gint64
end_of_own(gnutls_certificate_credentials_t side)
{
	gnutls_x509_crt_t *chain = NULL;
	unsigned n = 0;
	gint64 end = G_MAXINT64;

	if (gnutls_certificate_get_x509_crt(side, 0, &chain, &n) < 0)
		return end;
	for (unsigned i = 0; i < n; i++) {
		end = MIN(end, (gint64)gnutls_x509_crt_get_expiration_time(chain[i]));
		gnutls_x509_crt_deinit(chain[i]);
	}
	gnutls_free(chain);
	return end;
}

static gint64
end_of_authorities(gnutls_certificate_credentials_t side)
{
	gnutls_x509_trust_list_t list;
	gnutls_x509_trust_list_iter_t at = NULL;
	gnutls_x509_crt_t crt;
	gint64 end = G_MAXINT64;

	gnutls_certificate_get_trust_list(side, &list);
	while (gnutls_x509_trust_list_iter_get_ca(list, &at, &crt) == 0) {
		end = MIN(end, (gint64)gnutls_x509_crt_get_expiration_time(crt));
		gnutls_x509_crt_deinit(crt);
	}
	return end;
}

gint64
peer_credentials_end(const struct peer_credentials *c, const char **path)
{
	const struct { gint64 end; const char *path; } all[] = {
		{ end_of_own(c->server), c->server_cert }, { end_of_own(c->client), c->client_cert }, { end_of_authorities(c->server), c->ca },
	};
	guint first = 0;

	for (guint i = 1; i < G_N_ELEMENTS(all); i++)
		if (all[i].end < all[first].end)
			first = i;
	*path = all[first].path;
	return all[first].end;
}

struct peer_credentials *
peer_credentials_ref(struct peer_credentials *c)
{
	g_atomic_int_inc(&c->refs);
	return c;
}

void
peer_credentials_unref(struct peer_credentials *c)
{
	if (!c || !g_atomic_int_dec_and_test(&c->refs))
		return;
	g_clear_pointer(&c->server, gnutls_certificate_free_credentials);
	g_clear_pointer(&c->client, gnutls_certificate_free_credentials);
	g_free(c->ca);
	g_free(c->crl);
	g_free(c->server_cert);
	g_free(c->client_cert);
	g_free(c);
}

gnutls_session_t
peer_credentials_session(struct peer_credentials *c, bool client, const char *verify_host)
{
	gnutls_session_t session;
	/* No tickets: links are few and long, and a ticket would be the first thing a client reads. SIGPIPE is avoided by the transport.
	 * Our certificate is sent even if the server does not list its authority: "unknown authority" is the truth then, "no certificate" is not. */
	unsigned flags = (client ? GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT : GNUTLS_SERVER) | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS;

	if (gnutls_init(&session, flags) < 0)
		g_error("gnutls: out of memory");
	if (gnutls_priority_set_direct(session, PRIORITY, NULL) < 0)
		g_error("gnutls does not know the priority string " PRIORITY);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, client ? c->client : c->server);
	if (!client)
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert(session, verify_host, 0);
	/* So that the other end can say which name its certificate lacks. Not for addresses: RFC 6066 section 3. A name that cannot be sent is not sent. */
	if (verify_host && !g_hostname_is_ip_address(verify_host))
		gnutls_server_name_set(session, GNUTLS_NAME_DNS, verify_host, strlen(verify_host));
	return session;
}

GError *
peer_credentials_explain(struct peer_credentials *c, gnutls_session_t session, bool client, const char *peer, const char *verify_host, int code)
{
	const struct peer_refusal r = {
		.session = session, .client = client, .peer = peer, .verify_host = verify_host, .ca = c->ca, .crl = c->crl, .own = client ? c->client_cert : c->server_cert,
	};

	return peer_refusal_explain(&r, code);
}

char *
peer_credentials_peer_name(gnutls_session_t session)
{
	unsigned count = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
	gnutls_x509_crt_t crt;
	char *name;

	if (!chain || count == 0 || gnutls_x509_crt_init(&crt) < 0)
		return g_strdup("");
	name = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0 ? certificate_name(crt) : g_strdup("");
	gnutls_x509_crt_deinit(crt);
	return name;
}
