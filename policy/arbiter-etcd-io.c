/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The register in etcd (etcd-protocol.h): a claim is two requests, one that looks and one transaction that compares and writes.
 *
 * A request goes to one member of the cluster after the other until one gives an answer that is one; the member that did is the first to be asked next
 * time. Sending a claim twice is safe, also when the first member took it and died before it answered: the record that stands carries our nonce. Reads
 * are etcd's default, linearizable ones (a member that lost the others cannot answer them), so no member can tell an old story.
 *
 * What comes from another cluster than the first answer did, or is older than what this cluster said before (a restored backup), is no answer.
 *
 * TLS is that of the peers: the same authority, our client certificate. Deadlines: a member that is dark costs CONNECT_MS once, one that hangs ANSWER_MS.
 * While members elect a leader (seconds) they are there and do not answer: then they are asked round after round until the operation's deadline. A claim's
 * ends before the guard's own, so that the reason is known and not only that there was none; the guard repeats it.
 */
#include "daemon/base/error.h"
#include "policy/arbiter-backend.h"
#include "policy/etcd-protocol.h"

#include <curl/curl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 400
#define ANSWER_MS 1000
#define CLAIM_MS 2500
#define PATIENT_MS 6000	/* nothing is held meanwhile */
#define ROUND_PAUSE_MS 100
#define ADDRESSES_MAX 8	/* of one name */

struct etcd {
	struct etcd_spec spec;
	char *ca, *crl, *cert, *key;	/* crl: NULL when there is none */
	struct curl_slist *addresses;	/* of members with a name, for CURLOPT_RESOLVE; set before there are threads */
	gint preferred;			/* the endpoint that answered last */
	GMutex lock;
	struct etcd_header last;	/* of the newest answer; cluster 0: none yet */
};

/* One operation: its requests share a connection and a deadline. */
typedef struct talk {
	struct arbiter *a;
	struct etcd *e;
	CURL *curl;
	struct curl_slist *headers;
	gint64 deadline_us;
	bool busy;			/* in this round a member was there, or may have been, but did not answer in time */
} talk;

struct question {
	const char *path, *body;
	bool (*understand)(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error);
	const char *name;		/* a pair, or a probe's nonce */
	uint64_t generation;
	struct etcd_txn_answer answer;	/* its header is that of any answer */
	bool found;			/* the probe */
	int64_t lease;
	char **hosts;
};

/* -- one request to one member ------------------------------------------------------------------------------------------------------ */

static size_t
on_data(char *data, size_t size, size_t n, void *user_data)
{
	GString *text = user_data;

	if (text->len + size * n > ETCD_ANSWER_MAX)
		return 0;
	g_string_append_len(text, data, (gssize)(size * n));
	return size * n;
}

static void
set_tls(CURL *curl, const struct etcd *e)
{
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(curl, CURLOPT_CAINFO, e->ca);
	curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);	/* the default is every authority that the system trusts */
	if (e->crl)
		curl_easy_setopt(curl, CURLOPT_CRLFILE, e->crl);
	curl_easy_setopt(curl, CURLOPT_SSLCERT, e->cert);
	curl_easy_setopt(curl, CURLOPT_SSLKEY, e->key);
}

static void
talk_begin(struct talk *t, struct arbiter *a, unsigned total_ms)
{
	*t = (struct talk){ .a = a, .e = a->own, .curl = curl_easy_init(), .deadline_us = g_get_monotonic_time() + total_ms * (gint64)1000 };
	if (!t->curl)
		g_error("libcurl: out of memory");
	t->headers = curl_slist_append(NULL, "Content-Type: application/json");
	curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);	/* threads */
	curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->curl, CURLOPT_PROXY, "");		/* none, whatever the environment says */
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_data);
	set_tls(t->curl, t->e);
}

static void
talk_clear(struct talk *t)
{
	curl_easy_cleanup(t->curl);
	curl_slist_free_all(t->headers);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(talk, talk_clear)

static long
ms_left(const struct talk *t)
{
	return (long)((t->deadline_us - g_get_monotonic_time()) / 1000);
}

static bool
no_answer(GError **error, const char *why)
{
	g_set_error_literal(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, why);
	return false;
}

static bool
status_ok(struct talk *t, const GString *text, GError **error)
{
	g_autofree char *said = NULL, *why = NULL;
	long status = 0;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return true;
	t->busy = t->busy || status >= 500;
	said = etcd_error_text(text->str, text->len);
	why = g_strdup_printf("it answers %ld%s%s", status, said ? ": " : ", and that is not an etcd that knows " ETCD_PATH_TXN, said ? said : "");
	return no_answer(error, why);
}

/* The body of a good answer is in `text`. */
static bool
post(struct talk *t, const char *endpoint, const struct question *q, GString *text, GError **error)
{
	g_autofree char *url = g_strconcat(endpoint, q->path, NULL);
	char detail[CURL_ERROR_SIZE] = "";
	long left = ms_left(t);
	CURLcode code;

	if (left <= 0)
		return no_answer(error, "there was no time left to ask it");
	curl_easy_setopt(t->curl, CURLOPT_URL, url);
	curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, q->body);
	curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, text);
	curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, MIN(left, (long)CONNECT_MS));
	curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, MIN(left, (long)ANSWER_MS));
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, detail);
	code = curl_easy_perform(t->curl);
	if (code == CURLE_COULDNT_RESOLVE_HOST && t->e->addresses) {
		curl_easy_setopt(t->curl, CURLOPT_RESOLVE, t->e->addresses);
		code = curl_easy_perform(t->curl);
	}
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, NULL);
	t->busy = t->busy || code == CURLE_OPERATION_TIMEDOUT;
	if (code == CURLE_WRITE_ERROR)
		return no_answer(error, "its answer is too long to be etcd's");
	if (code != CURLE_OK)
		return no_answer(error, *detail ? detail : curl_easy_strerror(code));
	return status_ok(t, text, error);
}

/* -- one request to the cluster ---------------------------------------------------------------------------------------------------- */

/* Of the cluster that answered first, and not older than what was known when it was asked. */
static bool
same_cluster(struct etcd *e, const struct etcd_header *known, const struct etcd_header *said, GError **error)
{
	bool same, forward = said->revision >= known->revision;

	g_mutex_lock(&e->lock);
	same = e->last.cluster == 0 || e->last.cluster == said->cluster;
	if (same && forward) {
		e->last.cluster = said->cluster;
		e->last.revision = MAX(e->last.revision, said->revision);
	}
	g_mutex_unlock(&e->lock);
	if (!same)
		return no_answer(error, "it is of another cluster than the one that answered before");
	return forward || no_answer(error, "it is behind what its cluster said before; was a backup restored?");
}

static struct etcd_header
known_now(struct etcd *e)
{
	struct etcd_header known;

	g_mutex_lock(&e->lock);
	known = e->last;
	g_mutex_unlock(&e->lock);
	return known;
}

static bool
ask_member(struct talk *t, const char *endpoint, struct question *q, GError **error)
{
	g_autoptr(GString) text = g_string_new(NULL);
	struct etcd_header known = known_now(t->e);

	return post(t, endpoint, q, text, error) && q->understand(t->e, q, text->str, text->len, error) &&
	       same_cluster(t->e, &known, &q->answer.header, error);
}

/* Every member once; what they said instead of an answer is in `reasons`. */
static bool
ask_round(struct talk *t, struct question *q, GString *reasons)
{
	guint n = g_strv_length(t->e->spec.endpoints), first = (guint)g_atomic_int_get(&t->e->preferred);

	t->busy = false;
	g_string_truncate(reasons, 0);
	for (guint i = 0; i < n; i++) {
		guint member = (first + i) % n;
		g_autoptr(GError) why = NULL;

		if (ask_member(t, t->e->spec.endpoints[member], q, &why)) {
			g_atomic_int_set(&t->e->preferred, (gint)member);
			return true;
		}
		g_string_append_printf(reasons, "%s%s: %s", i ? "; " : "", t->e->spec.endpoints[member], why->message);
	}
	return false;
}

static bool
ask(struct talk *t, struct question *q, GError **error)
{
	g_autoptr(GString) reasons = g_string_new(NULL);

	while (!ask_round(t, q, reasons)) {
		if (!t->busy || ms_left(t) <= ROUND_PAUSE_MS) {
			g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "arbiter %s: no member gives an answer: %s", t->a->spec, reasons->str);
			return false;
		}
		g_usleep(ROUND_PAUSE_MS * 1000);
	}
	return true;
}

/* -- the backend ------------------------------------------------------------------------------------------------------------------- */

static bool
understand_look(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	return etcd_look_answer(text, length, e->spec.prefix, q->name, q->generation, &q->answer, error);
}

static bool
understand_claim(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	return etcd_claim_answer(text, length, e->spec.prefix, q->name, q->generation, &q->answer, error);
}

static bool
understand_plain(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	return etcd_plain_answer(text, length, &q->answer.header, error);
}

static bool
understand_probe(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	return etcd_probe_answer(text, length, e->spec.prefix, q->name, &q->answer.header, &q->found, error);
}

static bool
understand_lease(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	return etcd_lease_answer(text, length, &q->answer.header, &q->lease, error);
}

/* Also the second time, where the first answer was another cluster's. */
static bool
understand_hosts(const struct etcd *e, struct question *q, const char *text, size_t length, GError **error)
{
	g_clear_pointer(&q->hosts, g_strfreev);
	return etcd_hosts_answer(text, length, e->spec.prefix, &q->answer.header, &q->hosts, error);
}

static bool
look(struct talk *t, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error)
{
	g_autofree char *body = etcd_look_request(t->e->spec.prefix, pair, generation);
	struct question q = { ETCD_PATH_TXN, body, understand_look, pair, generation };

	if (!ask(t, &q, error))
		return false;
	*out = q.answer;
	return true;
}

/* On top of the record that was seen. */
static enum arbiter_verdict
write_claim(struct talk *t, const struct arbiter_record *claim, int64_t below, struct arbiter_record *holder, GError **error)
{
	g_autofree char *body = etcd_claim_request(t->e->spec.prefix, claim, below);
	struct question q = { ETCD_PATH_TXN, body, understand_claim, claim->pair, claim->generation };
	enum arbiter_verdict verdict;

	if (!ask(t, &q, error))
		return ARBITER_SILENT;
	if (etcd_judge(claim, &q.answer, &verdict, holder, error) == ETCD_ANSWERED)
		return verdict;
	no_answer(error, "the pair's newest record was changed while the next one was claimed");
	return ARBITER_SILENT;
}

static enum arbiter_verdict
etcd_claim(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	g_auto(talk) t = { 0 };
	struct etcd_txn_answer seen;
	enum arbiter_verdict verdict;

	talk_begin(&t, a, CLAIM_MS);
	if (!look(&t, claim->pair, claim->generation, &seen, error))
		return ARBITER_SILENT;
	arbiter_step(a, "look");
	if (etcd_judge(claim, &seen, &verdict, holder, error) == ETCD_READY) {
		verdict = write_claim(&t, claim, seen.newest.mod_revision, holder, error);
		arbiter_step(a, "claim");
	} else if (verdict == ARBITER_SILENT) {
		g_prefix_error(error, "arbiter %s: ", a->spec);
	}
	return verdict;
}

static int
etcd_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error)
{
	g_auto(talk) t = { 0 };
	struct etcd_txn_answer seen;

	talk_begin(&t, a, PATIENT_MS);
	if (!look(&t, pair, 0, &seen, error))
		return -1;
	if (seen.newest.found)
		*out = seen.newest.record;
	return seen.newest.found;
}

static bool
ask_plain(struct arbiter *a, const char *path, const char *body, GError **error)
{
	g_auto(talk) t = { 0 };
	struct question q = { path, body, understand_plain };

	talk_begin(&t, a, PATIENT_MS);
	return ask(&t, &q, error);
}

static bool
etcd_forget(struct arbiter *a, const char *pair, GError **error)
{
	const struct etcd *e = a->own;
	g_autofree char *body = etcd_forget_request(e->spec.prefix, pair);

	return ask_plain(a, ETCD_PATH_DELETE, body, error);
}

static bool
etcd_probe_write(struct arbiter *a, const char *nonce, GError **error)
{
	const struct etcd *e = a->own;
	g_autofree char *body = etcd_probe_put_request(e->spec.prefix, nonce);

	return ask_plain(a, ETCD_PATH_PUT, body, error);
}

static bool
etcd_probe_read(struct arbiter *a, const char *nonce, GError **error)
{
	g_auto(talk) t = { 0 };
	g_autofree char *body = etcd_probe_get_request(((const struct etcd *)a->own)->spec.prefix, nonce);
	struct question q = { ETCD_PATH_RANGE, body, understand_probe, nonce };

	talk_begin(&t, a, PATIENT_MS);
	if (!ask(&t, &q, error))
		return false;
	if (!q.found)
		g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_NOT_SHARED,
			    "arbiter %s: what the other host wrote there is not here; both hosts must name members of the same etcd and the same prefix", a->spec);
	return q.found;
}

static void
etcd_probe_remove(struct arbiter *a, const char *nonce)
{
	const struct etcd *e = a->own;
	g_autofree char *body = etcd_probe_delete_request(e->spec.prefix, nonce);

	ask_plain(a, ETCD_PATH_DELETE, body, NULL);
}

/* A new lease each time: the one before ends by itself, without the key. */
static bool
etcd_register_host(struct arbiter *a, const char *name, unsigned seconds, GError **error)
{
	const struct etcd *e = a->own;
	g_auto(talk) t = { 0 };
	g_autofree char *granted = etcd_lease_request(seconds), *body = NULL;
	struct question lease = { ETCD_PATH_LEASE, granted, understand_lease }, put = { ETCD_PATH_PUT, NULL, understand_plain };

	talk_begin(&t, a, PATIENT_MS);
	if (!ask(&t, &lease, error))
		return false;
	put.body = body = etcd_host_put_request(e->spec.prefix, name, lease.lease);
	return ask(&t, &put, error);
}

static char **
etcd_hosts(struct arbiter *a, GError **error)
{
	const struct etcd *e = a->own;
	g_auto(talk) t = { 0 };
	g_autofree char *body = etcd_hosts_request(e->spec.prefix);
	struct question q = { ETCD_PATH_RANGE, body, understand_hosts };

	talk_begin(&t, a, PATIENT_MS);
	if (ask(&t, &q, error))
		return q.hosts;
	g_strfreev(q.hosts);
	return NULL;
}

static gpointer
init_curl(gpointer unused)
{
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		g_error("libcurl cannot be initialised");
	return NULL;
}

static void
find_certificates(struct etcd *e, const char *pki)
{
	e->ca = g_build_filename(pki, "CA", "cacert.pem", NULL);
	e->crl = g_build_filename(pki, "CA", "cacrl.pem", NULL);
	if (access(e->crl, F_OK) != 0)
		g_clear_pointer(&e->crl, g_free);
	e->cert = g_build_filename(pki, "ftd", "clientcert.pem", NULL);
	e->key = g_build_filename(pki, "ftd", "private", "clientkey.pem", NULL);
	if (access(e->cert, F_OK) == 0)
		return;
	/* As for the peers: without a client certificate the server's serves for both. */
	g_free(e->cert);
	g_free(e->key);
	e->cert = g_build_filename(pki, "ftd", "servercert.pem", NULL);
	e->key = g_build_filename(pki, "ftd", "private", "serverkey.pem", NULL);
}

static bool
etcd_open(struct arbiter *a, const char *pki, GError **error)
{
	static GOnce once = G_ONCE_INIT;
	struct etcd_spec spec;
	struct etcd *e;

	if (!etcd_spec_parse(a->location, &spec, error))
		return false;
	g_once(&once, init_curl, NULL);
	e = g_new0(struct etcd, 1);
	e->spec = spec;
	g_mutex_init(&e->lock);
	find_certificates(e, pki);
	a->own = e;
	return true;
}

/* "host:port:address,address" for CURLOPT_RESOLVE; NULL: the name has no address. */
static char *
addresses_of(const char *host, const char *port)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *found = NULL;
	g_autoptr(GString) entry = g_string_new(NULL);
	guint n = 0;

	if (getaddrinfo(host, port, &hints, &found) != 0)
		return NULL;
	g_string_printf(entry, "%s:%s:", host, port);
	for (struct addrinfo *i = found; i && n < ADDRESSES_MAX; i = i->ai_next) {
		char text[NI_MAXHOST];

		if (getnameinfo(i->ai_addr, i->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
			g_string_append_printf(entry, "%s%s", n++ ? "," : "", text);
	}
	freeaddrinfo(found);
	return n ? g_string_free(g_steal_pointer(&entry), FALSE) : NULL;
}

static void
remember_member(struct etcd *e, const char *endpoint)
{
	CURLU *url = curl_url();
	char *host = NULL, *port = NULL;
	g_autofree char *entry = NULL;

	if (!url)
		g_error("libcurl: out of memory");
	if (curl_url_set(url, CURLUPART_URL, endpoint, 0) == CURLUE_OK && curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
		entry = addresses_of(host, port);
	if (entry)
		e->addresses = curl_slist_append(e->addresses, entry);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(url);
}

/* Names may be resolved by what is lost together with the other host; and a confined guard does not see the new file where /etc/hosts was replaced. */
static void
etcd_remember_names(struct arbiter *a)
{
	struct etcd *e = a->own;

	for (char **endpoint = e->spec.endpoints; *endpoint; endpoint++)
		remember_member(e, *endpoint);
}

static void
etcd_close(struct arbiter *a)
{
	struct etcd *e = a->own;

	etcd_spec_clear(&e->spec);
	curl_slist_free_all(e->addresses);
	g_mutex_clear(&e->lock);
	g_free(e->ca);
	g_free(e->crl);
	g_free(e->cert);
	g_free(e->key);
	g_free(e);
}

const struct arbiter_backend arbiter_etcd_backend = {
	.kind = "etcd",
	.open = etcd_open,
	.remember_names = etcd_remember_names,
	.close = etcd_close,
	.claim = etcd_claim,
	.read = etcd_read,
	.forget = etcd_forget,
	.probe_write = etcd_probe_write,
	.probe_read = etcd_probe_read,
	.probe_remove = etcd_probe_remove,
	.register_host = etcd_register_host,
	.hosts = etcd_hosts,
};
