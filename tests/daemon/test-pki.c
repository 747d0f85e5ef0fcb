/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/daemon/test-pki.h"

#include <ftw.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HOUR 3600

static void
ok(int code)
{
	if (code < 0)
		g_error("gnutls: %s", gnutls_strerror(code));
}

static gnutls_x509_privkey_t
new_key(void)
{
	gnutls_x509_privkey_t key;

	ok(gnutls_x509_privkey_init(&key));
	ok(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	return key;
}

static gnutls_x509_crt_t
new_crt(gnutls_x509_privkey_t key, const char *cn, long from, long to)
{
	static unsigned serial;
	gnutls_x509_crt_t crt;
	unsigned char number[4] = { 1, 0, 0, (unsigned char)++serial };

	ok(gnutls_x509_crt_init(&crt));
	ok(gnutls_x509_crt_set_version(crt, 3));
	ok(gnutls_x509_crt_set_serial(crt, number, sizeof number));
	ok(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, cn, (unsigned)strlen(cn)));
	ok(gnutls_x509_crt_set_activation_time(crt, time(NULL) + from));
	ok(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + to));
	ok(gnutls_x509_crt_set_key(crt, key));
	return crt;
}

void
test_ca_init(struct test_ca *ca, const char *name, long to)
{
	ca->key = new_key();
	ca->crt = new_crt(ca->key, name, -100 * HOUR, to);
	ok(gnutls_x509_crt_set_basic_constraints(ca->crt, 1, 0));
	ok(gnutls_x509_crt_set_key_usage(ca->crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
	ok(gnutls_x509_crt_sign2(ca->crt, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0));
}

void
test_ca_clear(struct test_ca *ca)
{
	gnutls_x509_crt_deinit(ca->crt);
	gnutls_x509_privkey_deinit(ca->key);
}

static void
write_datum(const char *base, const char *path, gnutls_datum_t *pem)
{
	g_autofree char *file = g_build_filename(base, path, NULL);

	if (!g_file_set_contents(file, (char *)pem->data, (gssize)pem->size, NULL))
		g_error("cannot write %s", file);
	gnutls_free(pem->data);
}

static void
write_crt(const char *base, const char *path, gnutls_x509_crt_t crt)
{
	gnutls_datum_t pem;

	ok(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem));
	write_datum(base, path, &pem);
}

char *
test_pki_make_named(const char *dir, const char *name, const char *cn, const char *dns_name, const struct test_ca *signer, const struct test_ca *trusted, long from, long to)
{
	char *base = g_build_filename(dir, name, NULL);
	g_autofree char *ca_dir = g_build_filename(base, "CA", NULL), *private_dir = g_build_filename(base, "ftd", "private", NULL);
	gnutls_x509_privkey_t key = new_key();
	gnutls_x509_crt_t crt = new_crt(key, cn, from, to);
	gnutls_datum_t pem;

	g_mkdir_with_parents(ca_dir, 0700);
	g_mkdir_with_parents(private_dir, 0700);
	if (dns_name)
		ok(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, dns_name, (unsigned)strlen(dns_name), GNUTLS_FSAN_SET));
	ok(gnutls_x509_crt_sign2(crt, signer->crt, signer->key, GNUTLS_DIG_SHA256, 0));
	write_crt(base, "CA/cacert.pem", trusted->crt);
	write_crt(base, "ftd/servercert.pem", crt);
	ok(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem));
	write_datum(base, "ftd/private/serverkey.pem", &pem);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	return base;
}

char *
test_pki_make(const char *dir, const char *name, const char *host, const struct test_ca *signer, const struct test_ca *trusted, long from, long to)
{
	return test_pki_make_named(dir, name, host, host, signer, trusted, from, to);
}

void
test_pki_revoke(const char *base, const char *revoked, const struct test_ca *ca, long to)
{
	g_autofree char *file = g_build_filename(revoked, "ftd", "servercert.pem", NULL), *text = NULL;
	gnutls_datum_t pem;
	gnutls_x509_crt_t crt;
	gnutls_x509_crl_t crl;

	if (!g_file_get_contents(file, &text, NULL, NULL))
		g_error("cannot read %s", file);
	ok(gnutls_x509_crt_init(&crt));
	ok(gnutls_x509_crt_import(crt, &(gnutls_datum_t){ (unsigned char *)text, (unsigned)strlen(text) }, GNUTLS_X509_FMT_PEM));
	ok(gnutls_x509_crl_init(&crl));
	ok(gnutls_x509_crl_set_version(crl, 2));
	ok(gnutls_x509_crl_set_crt(crl, crt, time(NULL) - HOUR));
	ok(gnutls_x509_crl_set_this_update(crl, time(NULL) - 2 * HOUR));
	ok(gnutls_x509_crl_set_next_update(crl, time(NULL) + to));
	ok(gnutls_x509_crl_sign2(crl, ca->crt, ca->key, GNUTLS_DIG_SHA256, 0));
	ok(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem));
	write_datum(base, "CA/cacrl.pem", &pem);
	gnutls_x509_crl_deinit(crl);
	gnutls_x509_crt_deinit(crt);
}

static int
remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void
test_remove_tree(const char *dir)
{
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
