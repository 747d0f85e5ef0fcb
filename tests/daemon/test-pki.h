/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Certificates made at run time, laid out as peer_credentials_load() wants them. */
#pragma once

#include <glib.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

struct test_ca {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
};

/* Valid to now + `to` seconds. */
void test_ca_init(struct test_ca *ca, const char *name, long to);
void test_ca_clear(struct test_ca *ca);
/* Makes <dir>/<name>/{CA,ftd,ftd/private} with a certificate for `host` valid from now + from to now + to seconds, signed by `signer`, that trusts `trusted`. */
char *test_pki_make(const char *dir, const char *name, const char *host, const struct test_ca *signer, const struct test_ca *trusted, long from, long to);
/* The same with a common name of its own and without a DNS name where that is NULL. */
char *test_pki_make_named(const char *dir, const char *name, const char *cn, const char *dns_name, const struct test_ca *signer, const struct test_ca *trusted, long from,
			  long to);
/* From now on what is in `base` takes the certificate in `revoked` for revoked by `ca`, whose list holds to now + `to` seconds. */
void test_pki_revoke(const char *base, const char *revoked, const struct test_ca *ca, long to);
void test_remove_tree(const char *dir);
