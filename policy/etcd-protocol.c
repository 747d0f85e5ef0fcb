/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Generations are 20 digits, so their keys sort as numbers do; ':' is the byte behind '9', so [first, ':') is every generation of a pair. A comparison
 * with a range_end holds for every key in the range, and for an absent key it sees create_revision 0 (rpc.proto, Compare; since etcd 3.3): "create_revision
 * of [g, ':') == 0" is "no record of g or later". etcd counts revisions for the whole store and never repeats one, so an unchanged mod_revision is an
 * unchanged record.
 *
 * Nothing in an answer is taken on trust: the key it names must be the one that was asked for, the record must decode and must be that key's.
 */
#include "policy/etcd-protocol.h"

#include "daemon/base/error.h"
#include "policy/json-record.h"

#include <inttypes.h>
#include <string.h>

#define ANSWER_DEPTH 12
#define GENERATION_DIGITS 20
#define DEFAULT_PREFIX "/ftd"
#define DEFAULT_PORT 2379

/* -- the spec -------------------------------------------------------------------------------------------------------------------- */

static bool
bad_spec(GError **error, const char *what, const char *value)
{
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "'%.200s' is not %s; write etcd:https://host:2379,https://host:2379[?prefix=/ftd]", value, what);
	return false;
}

/* Clear text would let anybody on the way hand out grants; on the machine itself there is no way. */
static bool
scheme_allowed(const char *scheme, const char *host)
{
	return strcmp(scheme, "https") == 0 ||
	       (strcmp(scheme, "http") == 0 && (strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0));
}

/* "https://host:port" in full, NULL with the reason. */
static char *
normal_endpoint(const char *text, GError **error)
{
	g_autofree char *scheme = NULL, *user = NULL, *host = NULL, *path = NULL, *query = NULL, *fragment = NULL;
	int port;

	if (!g_uri_split(text, G_URI_FLAGS_NONE, &scheme, &user, &host, &port, &path, &query, &fragment, NULL) || !scheme || !host || !*host || user ||
	    (path && *path) || query || fragment || strlen(host) > 253) {
		bad_spec(error, "an etcd endpoint", text);
		return NULL;
	}
	if (!scheme_allowed(scheme, host)) {
		bad_spec(error, "an https endpoint", text);
		return NULL;
	}
	return g_strdup_printf(strchr(host, ':') ? "%s://[%s]:%d" : "%s://%s:%d", scheme, host, port > 0 ? port : DEFAULT_PORT);
}

static bool
parse_endpoints(const char *list, struct etcd_spec *s, GError **error)
{
	g_auto(GStrv) parts = g_strsplit(list, ",", -1);
	guint n = g_strv_length(parts);

	if (n == 0 || n > ETCD_ENDPOINTS_MAX)
		return bad_spec(error, n ? "a list of at most 9 endpoints" : "a list of endpoints", list);
	s->endpoints = g_new0(char *, n + 1);
	for (guint i = 0; i < n; i++)
		if (!(s->endpoints[i] = normal_endpoint(parts[i], error)))
			return false;
	return true;
}

static bool
prefix_valid(const char *prefix)
{
	size_t n = strlen(prefix);

	return n > 1 && n <= ETCD_PREFIX_MAX && prefix[0] == '/' && prefix[n - 1] != '/' && !strstr(prefix, "//") &&
	       strspn(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-") == n;
}

bool
etcd_spec_parse(const char *location, struct etcd_spec *out, GError **error)
{
	const char *query = strchr(location, '?'), *prefix = DEFAULT_PREFIX;
	g_autofree char *list = query ? g_strndup(location, (gsize)(query - location)) : g_strdup(location);
	g_auto(etcd_spec) s = { 0 };

	if (query && !g_str_has_prefix(query, "?prefix="))
		return bad_spec(error, "an option of the etcd arbiter", query + 1);
	if (query)
		prefix = query + strlen("?prefix=");
	if (!prefix_valid(prefix))
		return bad_spec(error, "a prefix of keys", prefix);
	if (!parse_endpoints(list, &s, error))
		return false;
	s.prefix = g_strdup(prefix);
	*out = s;
	s = (struct etcd_spec){ 0 };
	return true;
}

void
etcd_spec_clear(struct etcd_spec *s)
{
	g_clear_pointer(&s->endpoints, g_strfreev);
	g_clear_pointer(&s->prefix, g_free);
}

/* -- requests -------------------------------------------------------------------------------------------------------------------- */

static char *
record_key(const char *prefix, const char *pair, uint64_t generation)
{
	return g_strdup_printf("%s/%s/%0*" PRIu64, prefix, pair, GENERATION_DIGITS, generation);
}

/* The end, exclusive, of a pair's records. */
static char *
records_end(const char *prefix, const char *pair)
{
	return g_strdup_printf("%s/%s/:", prefix, pair);
}

static char *
probe_key(const char *prefix, const char *nonce)
{
	return g_strdup_printf("%s/probe/%s", prefix, nonce);
}

static void
put_text(json_record *o, const char *name, const char *text)
{
	json_object_object_add(o, name, json_object_new_string(text));
}

static void
put_base64(json_record *o, const char *name, const char *text)
{
	g_autofree char *coded = g_base64_encode((const guchar *)text, strlen(text));

	put_text(o, name, coded);
}

static void
put_number(json_record *o, const char *name, int64_t n)
{
	g_autofree char *text = g_strdup_printf("%" PRId64, n);

	put_text(o, name, text);
}

/* {name: o} */
static json_record *
wrap(const char *name, json_record *o)
{
	json_record *outer = json_object_new_object();

	json_object_object_add(outer, name, o);
	return outer;
}

static json_record *
keyed(const char *key, const char *end)
{
	json_record *o = json_object_new_object();

	put_base64(o, "key", key);
	if (end)
		put_base64(o, "range_end", end);
	return o;
}

static char *
text_of(json_record *o)
{
	char *text = g_strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));

	json_object_put(o);
	return text;
}

/* Two reads: the record of that generation, and the newest one. */
static json_record *
look_operations(const char *prefix, const char *pair, uint64_t generation)
{
	g_autofree char *key = record_key(prefix, pair, generation), *first = record_key(prefix, pair, 0), *end = records_end(prefix, pair);
	json_record *operations = json_object_new_array(), *newest = keyed(first, end);

	put_text(newest, "limit", "1");
	put_text(newest, "sort_order", "DESCEND");
	put_text(newest, "sort_target", "KEY");
	json_object_array_add(operations, wrap("request_range", keyed(key, NULL)));
	json_object_array_add(operations, wrap("request_range", newest));
	return operations;
}

char *
etcd_look_request(const char *prefix, const char *pair, uint64_t generation)
{
	return text_of(wrap("success", look_operations(prefix, pair, generation)));
}

static json_record *
compare(const char *key, const char *end, const char *target, const char *member, int64_t n)
{
	json_record *c = keyed(key, end);

	put_text(c, "target", target);
	put_text(c, "result", "EQUAL");
	put_number(c, member, n);
	return c;
}

char *
etcd_claim_request(const char *prefix, const struct arbiter_record *claim, int64_t below_revision)
{
	g_autofree char *key = record_key(prefix, claim->pair, claim->generation), *end = records_end(prefix, claim->pair), *value = arbiter_record_encode(claim);
	g_autofree char *below = record_key(prefix, claim->pair, claim->generation - 1);
	json_record *compares = json_object_new_array(), *writes = json_object_new_array(), *o = wrap("compare", compares), *put = keyed(key, NULL);

	g_assert((claim->generation == 1) == (below_revision == 0));
	json_object_array_add(compares, compare(key, end, "CREATE", "create_revision", 0));
	if (claim->generation > 1)
		json_object_array_add(compares, compare(below, NULL, "MOD", "mod_revision", below_revision));
	put_base64(put, "value", value);
	json_object_array_add(writes, wrap("request_put", put));
	json_object_object_add(o, "success", writes);
	json_object_object_add(o, "failure", look_operations(prefix, claim->pair, claim->generation));
	return text_of(o);
}

char *
etcd_forget_request(const char *prefix, const char *pair)
{
	g_autofree char *first = record_key(prefix, pair, 0), *end = records_end(prefix, pair);

	return text_of(keyed(first, end));
}

char *
etcd_probe_put_request(const char *prefix, const char *nonce)
{
	g_autofree char *key = probe_key(prefix, nonce);
	json_record *o = keyed(key, NULL);

	put_base64(o, "value", nonce);
	return text_of(o);
}

char *
etcd_probe_get_request(const char *prefix, const char *nonce)
{
	g_autofree char *key = probe_key(prefix, nonce);

	return text_of(keyed(key, NULL));
}

char *
etcd_probe_delete_request(const char *prefix, const char *nonce)
{
	return etcd_probe_get_request(prefix, nonce);
}

char *
etcd_lease_request(unsigned seconds)
{
	json_record *o = json_object_new_object();

	put_number(o, "TTL", seconds);
	return text_of(o);
}

char *
etcd_host_put_request(const char *prefix, const char *name, int64_t lease)
{
	g_autofree char *key = g_strdup_printf("%s/hosts/%s", prefix, name);
	json_record *o = keyed(key, NULL);

	put_base64(o, "value", name);
	put_number(o, "lease", lease);
	return text_of(o);
}

/* '0' is the byte behind '/'. One more than there may be, so that too many are seen. */
char *
etcd_hosts_request(const char *prefix)
{
	g_autofree char *first = g_strdup_printf("%s/hosts/", prefix), *end = g_strdup_printf("%s/hosts0", prefix);
	json_record *o = keyed(first, end);

	put_number(o, "limit", ETCD_HOSTS_MAX + 1);
	return text_of(o);
}

/* -- answers --------------------------------------------------------------------------------------------------------------------- */

typedef struct json_tokener tokener;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tokener, json_tokener_free)

static json_record *
parse(const char *text, size_t length, GError **error)
{
	g_autoptr(tokener) t = json_tokener_new_ex(ANSWER_DEPTH);
	g_autoptr(json_record) o = NULL;

	if (length == 0 || length > ETCD_ANSWER_MAX) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%zu bytes are no answer of etcd's", length);
		return NULL;
	}
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(t, text, (int)length);
	if (json_tokener_get_error(t) != json_tokener_success || !json_object_is_type(o, json_type_object)) {
		json_record_wrong(error, "the answer", "not a whole JSON object");
		return NULL;
	}
	for (size_t i = json_tokener_get_parse_end(t); i < length; i++) {
		if (!g_ascii_isspace(text[i])) {
			json_record_wrong(error, "the answer", "more follows it");
			return NULL;
		}
	}
	return g_steal_pointer(&o);
}

static bool
get_number(json_record *o, const char *name, uint64_t max, uint64_t *out, GError **error)
{
	struct json_object *v = json_object_object_get(o, name);

	if (json_object_is_type(v, json_type_string) && g_ascii_string_to_unsigned(json_object_get_string(v), 10, 0, max, out, NULL))
		return true;
	return json_record_wrong(error, name, "not a number as etcd writes them");
}

static bool
get_revision(json_record *o, const char *name, int64_t *out, GError **error)
{
	uint64_t n;

	if (!get_number(o, name, INT64_MAX, &n, error))
		return false;
	if (n == 0)
		return json_record_wrong(error, name, "not a revision");
	*out = (int64_t)n;
	return true;
}

/* The bytes of a member as text (g_free); NULL: not strictly base64, or with a NUL in it. */
static char *
get_base64(json_record *o, const char *name, gsize *length, GError **error)
{
	struct json_object *v = json_object_object_get(o, name);
	const char *coded = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
	g_autofree char *text = NULL, *again = NULL;
	guchar *bytes;

	bytes = g_base64_decode(coded, length);
	again = g_base64_encode(bytes, *length);
	text = g_strndup((char *)bytes, *length);
	g_free(bytes);
	if (*length == 0 || strcmp(again, coded) != 0 || strlen(text) != *length) {
		json_record_wrong(error, name, "not text in base64");
		return NULL;
	}
	return g_steal_pointer(&text);
}

static bool
get_header(json_record *o, struct etcd_header *out, GError **error)
{
	struct json_object *header = json_object_object_get(o, "header");

	if (!json_object_is_type(header, json_type_object))
		return json_record_wrong(error, "header", "missing");
	if (!get_number(header, "cluster_id", UINT64_MAX, &out->cluster, error))
		return false;
	return get_revision(header, "revision", &out->revision, error);
}

/* The only key-value of a range's answer; *kv is NULL when it is empty. */
static bool
get_only_kv(json_record *range, json_record **kv, GError **error)
{
	struct json_object *kvs = json_object_object_get(range, "kvs");

	*kv = NULL;
	if (!kvs)
		return true;
	if (!json_object_is_type(kvs, json_type_array) || json_object_array_length(kvs) > 1)
		return json_record_wrong(error, "kvs", "not at most one");
	if (json_object_array_length(kvs) == 0)
		return true;
	*kv = json_object_array_get_idx(kvs, 0);
	return json_object_is_type(*kv, json_type_object) || json_record_wrong(error, "kvs", "not a key and its value");
}

/* The generation of a key of this pair, 0 for any other key. */
static uint64_t
generation_of(const char *key, const char *prefix, const char *pair)
{
	g_autofree char *start = g_strdup_printf("%s/%s/", prefix, pair);
	const char *digits = key + strlen(start);
	uint64_t g;

	if (!g_str_has_prefix(key, start) || strlen(digits) != GENERATION_DIGITS || strspn(digits, "0123456789") != GENERATION_DIGITS)
		return 0;
	return g_ascii_string_to_unsigned(digits, 10, 1, ARBITER_GENERATION_MAX, &g, NULL) ? g : 0;
}

static bool
decode_record(json_record *kv, const char *key, uint64_t generation, const char *pair, struct etcd_found *out, GError **error)
{
	g_autoptr(GError) cause = NULL;
	gsize length;
	g_autofree char *value = get_base64(kv, "value", &length, &cause);
	struct arbiter_record r;

	if (!value || !arbiter_record_decode(value, length, &r, &cause)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%s is damaged or not ftd's (%s); nobody may go on alone until it is repaired or removed by hand", key,
			    cause->message);
		return false;
	}
	if (r.generation != generation || strcmp(r.pair, pair) != 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "%s is the record of generation %" PRIu64 " of %s", key, r.generation, r.pair);
		return false;
	}
	if (!get_revision(kv, "mod_revision", &out->mod_revision, error))
		return false;
	out->record = r;
	out->found = true;
	return true;
}

/* One "response_range"; wanted 0: whatever generation it is. */
static bool
get_found(json_record *response, const char *prefix, const char *pair, uint64_t wanted, struct etcd_found *out, GError **error)
{
	struct json_object *range = json_object_object_get(response, "response_range");
	g_autofree char *key = NULL;
	json_record *kv;
	uint64_t generation;
	gsize length;

	if (!json_object_is_type(range, json_type_object))
		return json_record_wrong(error, "responses", "another answer than that to a read");
	if (!get_only_kv(range, &kv, error))
		return false;
	if (!kv)
		return true;
	key = get_base64(kv, "key", &length, error);
	if (!key)
		return false;
	generation = generation_of(key, prefix, pair);
	if (generation == 0 || (wanted && generation != wanted)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the key %.200s is not what was asked for", key);
		return false;
	}
	return decode_record(kv, key, generation, pair, out, error);
}

static bool
get_both(json_record *o, const char *prefix, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error)
{
	struct json_object *responses = json_object_object_get(o, "responses");

	if (!json_object_is_type(responses, json_type_array) || json_object_array_length(responses) != 2)
		return json_record_wrong(error, "responses", "not two");
	return get_found(json_object_array_get_idx(responses, 0), prefix, pair, generation, &out->standing, error) &&
	       get_found(json_object_array_get_idx(responses, 1), prefix, pair, 0, &out->newest, error);
}

static bool
succeeded(json_record *o)
{
	struct json_object *v = json_object_object_get(o, "succeeded");

	return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

/* Both reads are of one moment: they must fit together. */
static bool
consistent(const struct etcd_txn_answer *a, uint64_t generation, GError **error)
{
	bool beyond = a->newest.found && a->newest.record.generation >= generation;

	if (a->standing.found && !beyond)
		return json_record_wrong(error, "responses", "the newest record is older than the one asked for");
	if (beyond && generation && !a->standing.found)
		return json_record_wrong(error, "responses", "a generation is missing below the newest one");
	return true;
}

bool
etcd_look_answer(const char *text, size_t length, const char *prefix, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);
	struct etcd_txn_answer a = { 0 };

	if (!o || !get_header(o, &a.header, error))
		return false;
	if (!succeeded(o))	/* a transaction without a comparison cannot fail */
		return json_record_wrong(error, "succeeded", "not true");
	if (!get_both(o, prefix, pair, generation, &a, error) || !consistent(&a, generation, error))
		return false;
	*out = a;
	return true;
}

static bool
get_written(json_record *o, GError **error)
{
	struct json_object *responses = json_object_object_get(o, "responses"), *put;

	if (!json_object_is_type(responses, json_type_array) || json_object_array_length(responses) != 1)
		return json_record_wrong(error, "responses", "not one");
	put = json_object_object_get(json_object_array_get_idx(responses, 0), "response_put");
	return json_object_is_type(put, json_type_object) || json_record_wrong(error, "responses", "another answer than that to a write");
}

bool
etcd_claim_answer(const char *text, size_t length, const char *prefix, const char *pair, uint64_t generation, struct etcd_txn_answer *out, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);
	struct etcd_txn_answer a = { 0 };

	if (!o || !get_header(o, &a.header, error))
		return false;
	a.claimed = succeeded(o);
	if (a.claimed ? !get_written(o, error) : !get_both(o, prefix, pair, generation, &a, error) || !consistent(&a, generation, error))
		return false;
	*out = a;
	return true;
}

bool
etcd_plain_answer(const char *text, size_t length, struct etcd_header *out, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);

	return o && get_header(o, out, error);
}

bool
etcd_probe_answer(const char *text, size_t length, const char *prefix, const char *nonce, struct etcd_header *out, bool *found, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);
	g_autofree char *wanted = probe_key(prefix, nonce), *key = NULL, *value = NULL;
	json_record *kv;
	gsize n;

	if (!o || !get_header(o, out, error) || !get_only_kv(o, &kv, error))
		return false;
	*found = false;
	if (!kv)
		return true;
	key = get_base64(kv, "key", &n, error);
	value = key ? get_base64(kv, "value", &n, error) : NULL;
	if (!value)
		return false;
	*found = strcmp(key, wanted) == 0 && strcmp(value, nonce) == 0;
	return true;
}

bool
etcd_lease_answer(const char *text, size_t length, struct etcd_header *out, int64_t *lease, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);

	return o && get_header(o, out, error) && get_revision(o, "ID", lease, error);
}

/* The name in the key of a host (g_free). */
static char *
host_of(json_record *kv, const char *prefix, GError **error)
{
	g_autofree char *start = g_strdup_printf("%s/hosts/", prefix), *key = NULL;
	const char *name;
	gsize length;

	if (!json_object_is_type(kv, json_type_object)) {
		json_record_wrong(error, "kvs", "not a key and its value");
		return NULL;
	}
	key = get_base64(kv, "key", &length, error);
	if (!key)
		return NULL;
	name = key + strlen(start);
	if (g_str_has_prefix(key, start) && *name && strlen(name) <= 255 && !strpbrk(name, " \t/,"))
		return g_strdup(name);
	g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the key %.200s is not that of a host", key);
	return NULL;
}

bool
etcd_hosts_answer(const char *text, size_t length, const char *prefix, struct etcd_header *out, char ***names, GError **error)
{
	g_autoptr(json_record) o = parse(text, length, error);
	g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
	struct json_object *kvs = json_object_object_get(o, "kvs");
	size_t n = json_object_is_type(kvs, json_type_array) ? json_object_array_length(kvs) : 0;

	if (!o || !get_header(o, out, error))
		return false;
	if ((kvs && !json_object_is_type(kvs, json_type_array)) || n > ETCD_HOSTS_MAX)
		return json_record_wrong(error, "kvs", kvs && n == 0 ? "not a list" : "more than 64 hosts");
	for (size_t i = 0; i < n; i++) {
		char *name = host_of(json_object_array_get_idx(kvs, i), prefix, error);

		if (!name)
			return false;
		g_ptr_array_add(found, name);
	}
	g_ptr_array_add(found, NULL);
	*names = (char **)g_ptr_array_free(g_steal_pointer(&found), FALSE);
	return true;
}

char *
etcd_error_text(const char *text, size_t length)
{
	g_autoptr(json_record) o = parse(text, length, NULL);
	struct json_object *v = json_object_object_get(o, "message");

	if (!json_object_is_type(v, json_type_string))
		v = json_object_object_get(o, "error");
	if (!json_object_is_type(v, json_type_string) || !json_record_text_valid(json_object_get_string(v), 200))
		return NULL;
	return g_strdup(json_object_get_string(v));
}

/* -- the verdict ----------------------------------------------------------------------------------------------------------------- */

/* The claim's generation, and perhaps later ones, are taken: ours only if both that one and the newest are. */
static enum arbiter_verdict
judge_taken(const struct arbiter_record *claim, const struct etcd_txn_answer *seen, struct arbiter_record *holder)
{
	const struct arbiter_record *last = &seen->newest.record;
	enum arbiter_verdict verdict = arbiter_judge(claim, &seen->standing.record);

	if (strcmp(last->nonce, claim->nonce) != 0 || strcmp(last->active, claim->active) != 0) {
		*holder = *last;
		return ARBITER_DENIED;
	}
	*holder = seen->standing.record;
	return verdict;
}

enum etcd_next
etcd_judge(const struct arbiter_record *claim, const struct etcd_txn_answer *seen, enum arbiter_verdict *out, struct arbiter_record *holder, GError **error)
{
	uint64_t newest = seen->newest.found ? seen->newest.record.generation : 0;

	if (seen->claimed) {
		*holder = *claim;
		*out = ARBITER_GRANTED;
		return ETCD_ANSWERED;
	}
	if (newest >= claim->generation) {
		*out = judge_taken(claim, seen, holder);
		return ETCD_ANSWERED;
	}
	if (newest + 1 == claim->generation)
		return ETCD_READY;
	*out = ARBITER_SILENT;
	g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "it knows pair %s up to generation %" PRIu64 " only, %" PRIu64 " was claimed; is it the etcd, and the "
		    "prefix, that the pair was formed with?", claim->pair, newest, claim->generation);
	return ETCD_ANSWERED;
}
