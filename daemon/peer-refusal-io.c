/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A certificate's subject is what its owner wrote, and the name in a client's first message is what anybody wrote: both are shown with what a terminal would obey
 * taken out, and not longer than TEXT_MAX.
 */
#include "daemon/peer-refusal-io.h"

#include "daemon/base/error.h"

#include <gio/gio.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 200

enum fault {
	FAULT_REVOKED,
	FAULT_EXPIRED,		/* it, or its authority's certificate */
	FAULT_EARLY,
	FAULT_AUTHORITY,
	FAULT_NAME,
	FAULT_OTHER,
	FAULT_LAST
};

/* The first that fits is told. One alert for both ends of a validity: RFC 8446 section 6.2, "has expired or is not currently valid". None is for a wrong name; "a valid
 * certificate was received, but when access control was applied, the sender decided not to proceed" comes next to it. */
static const struct { unsigned status; gnutls_alert_description_t alert; } faults[] = {
	[FAULT_REVOKED] = { GNUTLS_CERT_REVOKED, GNUTLS_A_CERTIFICATE_REVOKED },
	[FAULT_EXPIRED] = { GNUTLS_CERT_EXPIRED, GNUTLS_A_CERTIFICATE_EXPIRED },
	[FAULT_EARLY] = { GNUTLS_CERT_NOT_ACTIVATED, GNUTLS_A_CERTIFICATE_EXPIRED },
	[FAULT_AUTHORITY] = { GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA, GNUTLS_A_UNKNOWN_CA },
	[FAULT_NAME] = { GNUTLS_CERT_UNEXPECTED_OWNER, GNUTLS_A_ACCESS_DENIED },
	[FAULT_OTHER] = { ~0u, GNUTLS_A_BAD_CERTIFICATE },
};
G_STATIC_ASSERT(G_N_ELEMENTS(faults) == FAULT_LAST);

static enum fault
fault_of(unsigned status)
{
	enum fault f = FAULT_REVOKED;

	while (f < FAULT_OTHER && !(status & faults[f].status))
		f++;
	return f;
}

void
peer_refusal_send_alert(gnutls_session_t session, int code)
{
	if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		gnutls_alert_send(session, GNUTLS_AL_FATAL, faults[fault_of(gnutls_session_get_verify_cert_status(session))].alert);
	else
		gnutls_alert_send_appropriate(session, code);
}

/* -- what is known of a certificate; every text is "?" where it cannot be had */

struct facts {
	char *subject, *issuer, *names, *from, *to;
	bool over, early;
};

static void
facts_clear(struct facts *f)
{
	g_free(f->subject);
	g_free(f->issuer);
	g_free(f->names);
	g_free(f->from);
	g_free(f->to);
}
typedef struct facts facts;
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(facts, facts_clear)

static char *
shown(const char *text, size_t length)
{
	g_autofree char *valid = g_utf8_make_valid(text, (gssize)MIN(length, TEXT_MAX));
	GString *s = g_string_new(NULL);

	for (const char *c = valid; *c; c = g_utf8_next_char(c))
		g_string_append_unichar(s, g_unichar_isprint(g_utf8_get_char(c)) ? g_utf8_get_char(c) : '?');
	return g_string_free(s, FALSE);
}

static char *
shown_datum(int code, gnutls_datum_t *text)
{
	char *s = code >= 0 && text->size ? shown((const char *)text->data, text->size) : g_strdup("?");

	gnutls_free(text->data);
	return s;
}

static char *
day_of(time_t t)
{
	g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(t);

	return date ? g_date_time_format(date, "%Y-%m-%d %H:%M") : g_strdup("?");
}

/* NULL: no DNS name and no address. */
static char *
alternative_name(gnutls_x509_crt_t crt, unsigned i, bool *more)
{
	char name[256];
	size_t size = sizeof name;
	int type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &size, NULL);
	g_autoptr(GInetAddress) ip = NULL;

	*more = type >= 0;
	if (type == GNUTLS_SAN_DNSNAME)
		return shown(name, strnlen(name, size));
	if (type != GNUTLS_SAN_IPADDRESS || (size != 4 && size != 16))
		return NULL;
	ip = g_inet_address_new_from_bytes((const guint8 *)name, size == 4 ? G_SOCKET_FAMILY_IPV4 : G_SOCKET_FAMILY_IPV6);
	return g_inet_address_to_string(ip);
}

static char *
names_in(gnutls_x509_crt_t crt)
{
	GString *s = g_string_new(NULL);
	bool more = true;

	for (unsigned i = 0; more && s->len < TEXT_MAX; i++) {
		g_autofree char *name = alternative_name(crt, i, &more);

		if (name)
			g_string_append_printf(s, "%s%s", s->len ? ", " : "", name);
	}
	return g_string_free(s, FALSE);
}

static void
facts_fill(struct facts *f, gnutls_x509_crt_t crt)
{
	time_t now = time(NULL), from = gnutls_x509_crt_get_activation_time(crt), to = gnutls_x509_crt_get_expiration_time(crt);
	gnutls_datum_t subject = { NULL, 0 }, issuer = { NULL, 0 };
	int code = gnutls_x509_crt_get_dn3(crt, &subject, 0);

	f->subject = shown_datum(code, &subject);
	code = gnutls_x509_crt_get_issuer_dn3(crt, &issuer, 0);
	f->issuer = shown_datum(code, &issuer);
	f->names = names_in(crt);
	f->from = day_of(from);
	f->to = day_of(to);
	f->over = to != (time_t)-1 && now > to;
	f->early = from != (time_t)-1 && now < from;
}

static void
facts_of(struct facts *f, const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;

	if (der && gnutls_x509_crt_init(&crt) == 0) {
		if (gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) == 0)
			facts_fill(f, crt);
		gnutls_x509_crt_deinit(crt);
	}
	if (!f->subject)
		*f = (struct facts){ g_strdup("?"), g_strdup("?"), g_strdup("?"), g_strdup("?"), g_strdup("?"), false, false };
}

/* -- we judged */

static char *
what_is_wrong(const struct peer_refusal *r, unsigned status, const struct facts *f)
{
	g_autofree char *others = NULL;
	gnutls_datum_t text = { NULL, 0 };
	int code;

	switch (fault_of(status)) {
	case FAULT_REVOKED:
		return g_strdup_printf("is revoked, says %s: install a new one there", r->crl);
	case FAULT_EXPIRED:
		return f->over ? g_strdup_printf("has expired, on %s: install a new one there (and compare the clocks of both hosts)", f->to)
			       : g_strdup("is signed by an authority whose own certificate has expired: renew it, in CA/cacert.pem of both hosts");
	case FAULT_EARLY:
		return f->early ? g_strdup_printf("is not valid yet, but from %s on: compare the clocks of both hosts", f->from)
				: g_strdup("is signed by an authority whose own certificate is not valid yet: compare the clocks of both hosts");
	case FAULT_AUTHORITY:
		return g_strdup_printf("is signed by an unknown authority (%s), not by the one in %s: check CA/cacert.pem on both hosts", f->issuer, r->ca);
	case FAULT_NAME:
		return g_strdup_printf("does not carry the name \"%s\": issue it with that name as dns_name or ip_address, or use a name it has (%s)", r->verify_host,
				       *f->names ? f->names : "it has none");
	case FAULT_OTHER:
	case FAULT_LAST:
		break;
	}
	code = gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
	others = shown_datum(code, &text);
	return g_strdup_printf("is not accepted: %s", others);
}

static GError *
explain_status(const struct peer_refusal *r, unsigned status)
{
	unsigned count = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(r->session, &count);
	g_auto(facts) f = { 0 };
	g_autofree char *wrong = NULL;

	facts_of(&f, count ? chain : NULL);
	wrong = what_is_wrong(r, status, &f);
	return g_error_new(FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "the certificate of %s (%s) %s", r->peer, f.subject, wrong);
}

/* -- we were judged */

/* What the client called us; it sends no address. */
static char *
called(gnutls_session_t session)
{
	char name[256];
	size_t size = sizeof name;
	g_autofree char *text = NULL;
	unsigned type;

	if (gnutls_server_name_get(session, name, &size, &type, 0) < 0 || type != GNUTLS_NAME_DNS)
		return g_strdup("the address");
	text = shown(name, strnlen(name, size));
	return g_strdup_printf("the name \"%s\"", text);
}

static char *
why_refused(const struct peer_refusal *r, gnutls_alert_description_t alert, const struct facts *f)
{
	g_autofree char *name = NULL;

	/* Alert descriptions: RFC 8446 section 6.2. */
	if (alert == GNUTLS_A_CERTIFICATE_REVOKED)
		return g_strdup("it is on the revocation list of that host (CA/cacrl.pem there): install a new one here");
	if (alert == GNUTLS_A_CERTIFICATE_EXPIRED && f->over)
		return g_strdup_printf("it has expired, on %s: install a new one here", f->to);
	if (alert == GNUTLS_A_CERTIFICATE_EXPIRED && f->early)
		return g_strdup_printf("it is not valid yet, but from %s on: compare the clocks of both hosts", f->from);
	if (alert == GNUTLS_A_CERTIFICATE_EXPIRED)
		return g_strdup_printf("that host takes it, or its authority's, for expired or not valid yet; by this host's clock it is valid from %s to %s: "
				       "compare the clocks of both hosts, and the dates in CA/cacert.pem", f->from, f->to);
	if (alert == GNUTLS_A_UNKNOWN_CA)
		return g_strdup_printf("it is signed by an authority unknown there (%s): check CA/cacert.pem on both hosts", f->issuer);
	if (alert == GNUTLS_A_ACCESS_DENIED && !r->client) {
		name = called(r->session);
		return g_strdup_printf("it does not carry %s by which that host calls this one: issue it with that as dns_name or ip_address, or use there a name it has (%s)",
				       name, *f->names ? f->names : "it has none");
	}
	if (alert == GNUTLS_A_CERTIFICATE_REQUIRED)
		return g_strdup("none was sent");
	if (alert == GNUTLS_A_BAD_CERTIFICATE || alert == GNUTLS_A_UNSUPPORTED_CERTIFICATE || alert == GNUTLS_A_CERTIFICATE_UNKNOWN || alert == GNUTLS_A_ACCESS_DENIED ||
	    alert == GNUTLS_A_DECRYPT_ERROR)
		return g_strdup_printf("%s; that host's log tells why", gnutls_alert_get_name(alert));
	return NULL;
}

static GError *
explain_alert(const struct peer_refusal *r)
{
	gnutls_alert_description_t alert = gnutls_alert_get(r->session);
	g_auto(facts) f = { 0 };
	g_autofree char *why = NULL;

	facts_of(&f, gnutls_certificate_get_ours(r->session));
	why = why_refused(r, alert, &f);
	if (!why)
		return NULL;
	return g_error_new(FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "%s did not accept our certificate %s (%s): %s", r->peer, r->own, f.subject, why);
}

GError *
peer_refusal_explain(const struct peer_refusal *r, int code)
{
	switch (code) {
	case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR:
		return explain_status(r, gnutls_session_get_verify_cert_status(r->session));
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		return explain_alert(r);
	case GNUTLS_E_NO_CERTIFICATE_FOUND:
	case GNUTLS_E_CERTIFICATE_REQUIRED:
		return g_error_new(FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "%s showed no certificate", r->peer);
	case GNUTLS_E_CERTIFICATE_ERROR:
	case GNUTLS_E_PK_SIG_VERIFY_FAILED:
	case GNUTLS_E_KEY_USAGE_VIOLATION:
		return g_error_new(FTD_ERROR, FTD_ERROR_PEER_CERTIFICATE, "the certificate of %s is not accepted: %s", r->peer, gnutls_strerror(code));
	default:
		return NULL;
	}
}
