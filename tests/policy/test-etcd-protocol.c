/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers as etcd 3.4.23's gateway gave them, and what they are worth after one thing in them was changed. */
#include "daemon/base/error.h"
#include "policy/etcd-protocol.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PAIR "6f0c2a4e-9d3b-4c55-8a1e-0123456789ab"
#define KEY_0 "L2Z0ZC82ZjBjMmE0ZS05ZDNiLTRjNTUtOGExZS0wMTIzNDU2Nzg5YWIvMDAwMDAwMDAwMDAwMDAwMDAwMDA="
#define KEY_1 "L2Z0ZC82ZjBjMmE0ZS05ZDNiLTRjNTUtOGExZS0wMTIzNDU2Nzg5YWIvMDAwMDAwMDAwMDAwMDAwMDAwMDE="
#define KEY_2 "L2Z0ZC82ZjBjMmE0ZS05ZDNiLTRjNTUtOGExZS0wMTIzNDU2Nzg5YWIvMDAwMDAwMDAwMDAwMDAwMDAwMDI="
#define KEY_END "L2Z0ZC82ZjBjMmE0ZS05ZDNiLTRjNTUtOGExZS0wMTIzNDU2Nzg5YWIvOg=="
#define VALUE_1 "eyJ2ZXJzaW9uIjoxLCJwYWlyIjoiNmYwYzJhNGUtOWQzYi00YzU1LThhMWUtMDEyMzQ1Njc4OWFiIiwiZ2VuZXJhdGlvbiI6MSwiYWN0aXZlIjoiYSIsInN0YW5kYnkiOiJiIiwi" \
	"bm9uY2UiOiJuMSIsInJlYXNvbiI6InByb3RlY3QiLCJ3cml0dGVuLWF0IjoxNzAwMDAwMDAwfQo="
#define VALUE_2 "eyJ2ZXJzaW9uIjoxLCJwYWlyIjoiNmYwYzJhNGUtOWQzYi00YzU1LThhMWUtMDEyMzQ1Njc4OWFiIiwiZ2VuZXJhdGlvbiI6MiwiYWN0aXZlIjoiYiIsInN0YW5kYnkiOiIiLCJu" \
	"b25jZSI6Im4yIiwicmVhc29uIjoicGVlci1zaWxlbnQiLCJ3cml0dGVuLWF0IjoxNzAwMDAwMDAxfQo="
#define HEADER(revision) "{\"header\":{\"cluster_id\":\"324952591200643719\",\"member_id\":\"3319814642761637952\",\"revision\":\"" revision "\",\"raft_term\":\"2\"}"
#define RECORD_1 "\"kvs\":[{\"key\":\"" KEY_1 "\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\",\"value\":\"" VALUE_1 "\"}]"
#define RECORD_2 "\"kvs\":[{\"key\":\"" KEY_2 "\",\"create_revision\":\"3\",\"mod_revision\":\"3\",\"version\":\"1\",\"value\":\"" VALUE_2 "\"}]"

static const char nothing[] = HEADER("1") ",\"succeeded\":true,\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"1\"}}},"
	"{\"response_range\":{\"header\":{\"revision\":\"1\"}}}]}";
static const char one_below[] = HEADER("2") ",\"succeeded\":true,\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"2\"}}},"
	"{\"response_range\":{\"header\":{\"revision\":\"2\"}," RECORD_1 ",\"count\":\"1\"}}]}";
static const char written[] = HEADER("3") ",\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"3\"}}}]}";
static const char taken[] = HEADER("3") ",\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"3\"}," RECORD_2 ",\"count\":\"1\"}},"
	"{\"response_range\":{\"header\":{\"revision\":\"3\"}," RECORD_2 ",\"more\":true,\"count\":\"2\"}}]}";
static const char probe[] = HEADER("4") ",\"kvs\":[{\"key\":\"L2Z0ZC9wcm9iZS9ub25jZTE=\",\"create_revision\":\"4\",\"mod_revision\":\"4\",\"version\":\"1\","
	"\"value\":\"bm9uY2Ux\"}],\"count\":\"1\"}";

static struct arbiter_record
record(uint64_t generation, const char *active, const char *standby, const char *nonce)
{
	struct arbiter_record r = { .pair = PAIR, .generation = generation, .reason = "peer-silent", .written_at = 1700000001 };

	g_strlcpy(r.active, active, sizeof r.active);
	g_strlcpy(r.standby, standby, sizeof r.standby);
	g_strlcpy(r.nonce, nonce, sizeof r.nonce);
	return r;
}

static void
test_specs(void **state)
{
	static const char *const wrong[] = { "", "h1:2379", "http://h1:2379", "ftp://h1", "https://", "https://h1,", "https://h1/path", "https://u@h1", "https://h1?cluster=1",
		"https://h1?prefix=", "https://h1?prefix=ftd", "https://h1?prefix=/", "https://h1?prefix=/a/", "https://h1?prefix=/a//b", "https://h1?prefix=/a b", "https://h1#x",
		"https://h1:0x1", "https://1,https://2,https://3,https://4,https://5,https://6,https://7,https://8,https://9,https://10" };
	g_auto(etcd_spec) s = { 0 };

	assert_true(etcd_spec_parse("https://h1,https://[fd99::1]:12,http://127.0.0.1:3?prefix=/my/ftd", &s, NULL));
	assert_int_equal(g_strv_length(s.endpoints), 3);
	assert_string_equal(s.endpoints[0], "https://h1:2379");
	assert_string_equal(s.endpoints[1], "https://[fd99::1]:12");
	assert_string_equal(s.endpoints[2], "http://127.0.0.1:3");
	assert_string_equal(s.prefix, "/my/ftd");
	etcd_spec_clear(&s);
	assert_true(etcd_spec_parse("https://h1", &s, NULL));
	assert_string_equal(s.prefix, "/ftd");
	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		struct etcd_spec none = { 0 };
		g_autoptr(GError) error = NULL;

		if (etcd_spec_parse(wrong[i], &none, &error))
			fail_msg("%s was taken", wrong[i]);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_CONFIG));
		assert_null(none.endpoints);
	}
}

static void
assert_json(char *request, const char *expected)
{
	json_object *a = json_tokener_parse(request), *b = json_tokener_parse(expected);

	assert_non_null(b);
	if (!json_object_equal(a, b))
		assert_string_equal(request, expected);
	json_object_put(a);
	json_object_put(b);
	g_free(request);
}

#define NEWEST "{\"request_range\":{\"key\":\"" KEY_0 "\",\"range_end\":\"" KEY_END "\",\"limit\":\"1\",\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"}}"

/* These very texts were sent to a real one. */
static void
test_requests(void **state)
{
	struct arbiter_record first = record(1, "a", "b", "n1"), second = record(2, "b", "", "n2");

	g_strlcpy(first.reason, "protect", sizeof first.reason);
	first.written_at = 1700000000;
	assert_json(etcd_look_request("/ftd", PAIR, 2), "{\"success\":[{\"request_range\":{\"key\":\"" KEY_2 "\"}}," NEWEST "]}");
	assert_json(etcd_claim_request("/ftd", &first, 0), "{\"compare\":[{\"key\":\"" KEY_1 "\",\"range_end\":\"" KEY_END "\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
		    "\"create_revision\":\"0\"}],\"success\":[{\"request_put\":{\"key\":\"" KEY_1 "\",\"value\":\"" VALUE_1 "\"}}],"
		    "\"failure\":[{\"request_range\":{\"key\":\"" KEY_1 "\"}}," NEWEST "]}");
	assert_json(etcd_claim_request("/ftd", &second, 2), "{\"compare\":[{\"key\":\"" KEY_2 "\",\"range_end\":\"" KEY_END "\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
		    "\"create_revision\":\"0\"},{\"key\":\"" KEY_1 "\",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"2\"}],"
		    "\"success\":[{\"request_put\":{\"key\":\"" KEY_2 "\",\"value\":\"" VALUE_2 "\"}}],\"failure\":[{\"request_range\":{\"key\":\"" KEY_2 "\"}}," NEWEST "]}");
	assert_json(etcd_forget_request("/ftd", PAIR), "{\"key\":\"" KEY_0 "\",\"range_end\":\"" KEY_END "\"}");
	assert_json(etcd_probe_put_request("/ftd", "nonce1"), "{\"key\":\"L2Z0ZC9wcm9iZS9ub25jZTE=\",\"value\":\"bm9uY2Ux\"}");
	assert_json(etcd_probe_get_request("/ftd", "nonce1"), "{\"key\":\"L2Z0ZC9wcm9iZS9ub25jZTE=\"}");
	assert_json(etcd_lease_request(3600), "{\"TTL\":\"3600\"}");
	assert_json(etcd_host_put_request("/ftd", "a.example", 77), "{\"key\":\"L2Z0ZC9ob3N0cy9hLmV4YW1wbGU=\",\"value\":\"YS5leGFtcGxl\",\"lease\":\"77\"}");
	assert_json(etcd_hosts_request("/ftd"), "{\"key\":\"L2Z0ZC9ob3N0cy8=\",\"range_end\":\"L2Z0ZC9ob3N0czA=\",\"limit\":\"65\"}");
}

static void
test_good_answers(void **state)
{
	struct etcd_txn_answer a;
	struct etcd_header h;
	bool found;

	assert_true(etcd_look_answer(nothing, strlen(nothing), "/ftd", PAIR, 2, &a, NULL));
	assert_false(a.standing.found || a.newest.found);
	assert_int_equal(a.header.cluster, UINT64_C(324952591200643719));
	assert_int_equal(a.header.revision, 1);
	assert_true(etcd_look_answer(one_below, strlen(one_below), "/ftd", PAIR, 2, &a, NULL));
	assert_true(a.newest.found && !a.standing.found);
	assert_int_equal(a.newest.mod_revision, 2);
	assert_string_equal(a.newest.record.standby, "b");
	assert_true(etcd_claim_answer(written, strlen(written), "/ftd", PAIR, 2, &a, NULL));
	assert_true(a.claimed);
	assert_true(etcd_claim_answer(taken, strlen(taken), "/ftd", PAIR, 2, &a, NULL));
	assert_true(!a.claimed && a.standing.found);
	assert_string_equal(a.standing.record.active, "b");
	assert_true(etcd_probe_answer(probe, strlen(probe), "/ftd", "nonce1", &h, &found, NULL));
	assert_true(found);
	assert_true(etcd_probe_answer(probe, strlen(probe), "/ftd", "nonce2", &h, &found, NULL));
	assert_false(found);
	assert_true(etcd_plain_answer(probe, strlen(probe), &h, NULL));
}

#define HOST(key) "{\"key\":\"" key "\",\"mod_revision\":\"4\",\"value\":\"YQ==\"}"
#define HOST_A HOST("L2Z0ZC9ob3N0cy9h")
#define HOST_B HOST("L2Z0ZC9ob3N0cy9iLmV4YW1wbGU=")

static void
test_hosts(void **state)
{
	static const struct { const char *text, *names, *reason; } cases[] = {
		{ HEADER("4") "}", "", NULL },
		{ HEADER("4") ",\"kvs\":[]}", "", NULL },
		{ HEADER("4") ",\"kvs\":[" HOST_A "," HOST_B "],\"count\":\"2\"}", "a,b.example", NULL },
		{ HEADER("4") ",\"kvs\":{}}", NULL, "not a list" },
		{ HEADER("4") ",\"kvs\":[7]}", NULL, "not a key and its value" },
		{ HEADER("4") ",\"kvs\":[" HOST("L2Z0ZC9ob3N0cy8=") "]}", NULL, "is not that of a host" },	/* /ftd/hosts/ */
		{ HEADER("4") ",\"kvs\":[" HOST("L2Z0ZC9ob3N0cy9hLGI=") "]}", NULL, "is not that of a host" },	/* /ftd/hosts/a,b */
		{ HEADER("4") ",\"kvs\":[" HOST("L2Z0ZC9wcm9iZS9h") "]}", NULL, "is not that of a host" },	/* /ftd/probe/a */
		{ HEADER("4") ",\"kvs\":[" HOST("!") "]}", NULL, "base64" },
		{ "{\"kvs\":[" HOST_A "]}", NULL, "header" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;
		g_auto(GStrv) names = NULL;
		g_autofree char *all = NULL;
		struct etcd_header h;

		if (etcd_hosts_answer(cases[i].text, strlen(cases[i].text), "/ftd", &h, &names, &error)) {
			all = g_strjoinv(",", names);
			assert_int_equal(h.revision, 4);
			assert_string_equal(all, cases[i].names ? cases[i].names : "refused");
		} else if (!cases[i].reason || !strstr(error->message, cases[i].reason)) {
			fail_msg("case %zu: %s", i, error->message);
		}
	}
}

static void
test_too_many_hosts(void **state)
{
	for (unsigned n = ETCD_HOSTS_MAX; n <= ETCD_HOSTS_MAX + 1; n++) {
		g_autoptr(GString) text = g_string_new(HEADER("4") ",\"kvs\":[" HOST_A);
		g_autoptr(GError) error = NULL;
		g_auto(GStrv) names = NULL;
		struct etcd_header h;

		for (unsigned i = 1; i < n; i++)
			g_string_append(text, "," HOST_A);
		g_string_append(text, "]}");
		assert_int_equal(etcd_hosts_answer(text->str, text->len, "/ftd", &h, &names, &error), n <= ETCD_HOSTS_MAX);
		if (error)
			assert_non_null(strstr(error->message, "more than 64"));
	}
}

static void
test_lease(void **state)
{
	static const char good[] = HEADER("4") ",\"ID\":\"7587862072907334954\",\"TTL\":\"3600\"}", bad[] = HEADER("4") ",\"TTL\":\"3600\"}";
	struct etcd_header h;
	int64_t lease;

	assert_true(etcd_lease_answer(good, strlen(good), &h, &lease, NULL));
	assert_int_equal(lease, INT64_C(7587862072907334954));
	assert_false(etcd_lease_answer(bad, strlen(bad), &h, &lease, NULL));
}

/* One thing changed in a good answer; the reason must name it. */
static const struct mutation {
	const char *good, *from, *to, *reason;
	bool claim;
} mutations[] = {
	{ one_below, "}]}", "}]", "not a whole JSON object" },
	{ one_below, "}]}", "}]}{}", "more follows" },
	{ one_below, "\"header\":{\"cl", "\"heater\":{\"cl", "header" },
	{ one_below, "\"cluster_id\":\"324952591200643719\"", "\"cluster_id\":324952591200643719", "cluster_id" },
	{ one_below, "324952591200643719", "99999999999999999999999", "cluster_id" },
	{ one_below, "\"revision\":\"2\",\"raft", "\"revision\":\"0\",\"raft", "revision" },
	{ one_below, "\"succeeded\":true,", "", "succeeded" },
	{ one_below, "\"responses\":[{\"response_range\":{\"header\":{\"revision\":\"2\"}}},", "\"responses\":[", "not two" },
	{ one_below, "\"response_range\":{\"header\":{\"revision\":\"2\"}}", "\"response_put\":{}", "another answer" },
	{ one_below, "\"key\":\"" KEY_1, "\"key\":\"" KEY_2, "generation 1" },
	{ one_below, "\"key\":\"" KEY_1, "\"key\":\"" KEY_END, "not what was asked for" },
	{ one_below, "\"key\":\"" KEY_1, "\"key\":\"L2Z0Z!!", "base64" },
	{ one_below, "\"value\":\"" VALUE_1, "\"value\":\"bm9uY2Ux", "damaged or not ftd's" },
	{ one_below, "\"value\":\"" VALUE_1, "\"value\":\"", "damaged or not ftd's" },
	{ one_below, "\"value\":\"" VALUE_1, "\"value\":\"" VALUE_2, "record of generation 2" },
	{ one_below, "\"mod_revision\":\"2\"", "\"mod_revision\":\"-2\"", "mod_revision" },
	{ one_below, "\"kvs\":[{", "\"kvs\":[{},{", "kvs" },
	{ one_below, "\"kvs\":[{", "\"kvs\":7,\"x\":[{", "kvs" },
	{ one_below, "\"response_range\":{\"header\":{\"revision\":\"2\"}}", "\"response_range\":{" RECORD_2 "}", "older than" },
	{ taken, "\"response_range\":{\"header\":{\"revision\":\"3\"}," RECORD_2, "\"response_range\":{\"header\":{\"revision\":\"3\"}", "missing below", true },
	{ taken, "\"response_range\":{\"header\":{\"revision\":\"3\"}," RECORD_2, "\"response_range\":{\"header\":{\"revision\":\"3\"}," RECORD_1, "not what was asked", true },
	{ written, "response_put", "response_delete_range", "another answer", true },
	{ written, "[{\"response_put\":{\"header\":{\"revision\":\"3\"}}}]", "[]", "not one", true },
	{ written, "[{\"response_put\":{\"header\":{\"revision\":\"3\"}}}]", "[7]", "another answer", true },
	{ written, "\"succeeded\":true", "\"succeeded\":\"true\"", "not two", true },
};

static char *
mutate(const struct mutation *m)
{
	const char *at = strstr(m->good, m->from), *next;

	assert_non_null(at);
	while (strlen(m->from) == 3 && (next = strstr(at + 1, m->from)))	/* the last end */
		at = next;
	return g_strdup_printf("%.*s%s%s", (int)(at - m->good), m->good, m->to, at + strlen(m->from));
}

static void
test_bad_answers(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(mutations); i++) {
		const struct mutation *m = &mutations[i];
		g_autofree char *text = mutate(m);
		g_autoptr(GError) error = NULL;
		struct etcd_txn_answer a = { .claimed = true };
		bool ok = m->claim ? etcd_claim_answer(text, strlen(text), "/ftd", PAIR, 2, &a, &error) : etcd_look_answer(text, strlen(text), "/ftd", PAIR, 2, &a, &error);

		if (ok || !strstr(error->message, m->reason))
			fail_msg("mutation %zu (%s): %s", i, m->reason, ok ? "was taken" : error->message);
		assert_true(g_error_matches(error, FTD_ERROR, FTD_ERROR_PROTOCOL));
		assert_true(a.claimed);	/* untouched */
	}
}

/* Whatever is cut off, it is no answer. */
static void
test_truncated(void **state)
{
	for (size_t n = 0; n < strlen(taken); n++) {
		struct etcd_txn_answer a;
		g_autoptr(GError) error = NULL;
		g_autofree char *part = g_memdup2(taken, n ? n : 1);

		assert_false(etcd_claim_answer(part, n, "/ftd", PAIR, 2, &a, &error));
		assert_non_null(error);
	}
}

static enum arbiter_verdict
verdict(const char *text, const struct arbiter_record *claim, const char *holder)
{
	struct etcd_txn_answer a;
	struct arbiter_record h = { 0 };
	enum arbiter_verdict v;
	g_autoptr(GError) error = NULL;

	assert_true(etcd_claim_answer(text, strlen(text), "/ftd", PAIR, claim->generation, &a, NULL));
	assert_int_equal(etcd_judge(claim, &a, &v, &h, &error), ETCD_ANSWERED);
	assert_int_equal(v == ARBITER_SILENT, error != NULL);
	if (holder)
		assert_string_equal(h.active, holder);
	return v;
}

static void
test_verdicts(void **state)
{
	struct arbiter_record ours = record(2, "b", "", "n2"), theirs = record(2, "a", "", "n1"), other_words = record(2, "b", "a", "n2"), gap = record(4, "b", "", "n2");
	struct arbiter_record next = record(3, "b", "", "n2"), h;
	struct etcd_txn_answer a;
	enum arbiter_verdict v;

	assert_int_equal(verdict(written, &theirs, "a"), ARBITER_GRANTED);
	assert_int_equal(verdict(taken, &ours, "b"), ARBITER_GRANTED);
	assert_int_equal(verdict(taken, &theirs, "b"), ARBITER_DENIED);
	assert_int_equal(verdict(taken, &other_words, "b"), ARBITER_DENIED);
	assert_true(etcd_look_answer(one_below, strlen(one_below), "/ftd", PAIR, 4, &a, NULL));
	assert_int_equal(etcd_judge(&gap, &a, &v, &h, NULL), ETCD_ANSWERED);
	assert_int_equal(v, ARBITER_SILENT);
	assert_int_equal(etcd_judge(&ours, &a, &v, &h, NULL), ETCD_READY);
	assert_int_equal(etcd_judge(&next, &a, &v, &h, NULL), ETCD_ANSWERED);
	assert_int_equal(v, ARBITER_SILENT);
}

static void
test_errors(void **state)
{
	static const char real[] = "{\"error\":\"illegal base64 data at input byte 0\",\"message\":\"illegal base64 data at input byte 0\",\"code\":3}";
	g_autofree char *text = etcd_error_text(real, strlen(real));

	assert_string_equal(text, "illegal base64 data at input byte 0");
	assert_null(etcd_error_text("Not Found", 9));
	assert_null(etcd_error_text("{\"error\":\"\\u0007\"}", 18));
	assert_null(etcd_error_text("", 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_specs), cmocka_unit_test(test_requests), cmocka_unit_test(test_good_answers), cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_too_many_hosts), cmocka_unit_test(test_lease), cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_verdicts), cmocka_unit_test(test_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
