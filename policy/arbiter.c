/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record and the verdict. What makes two claims the same claim: pair, generation, nonce and what is claimed (active and standby). The reason and
 * the time are for people and may differ when a claim is repeated after a crash. Anything else that stands at the generation is somebody else's.
 */
#include "policy/arbiter.h"

#include "policy/json-record.h"

#include <string.h>

#define RECORD_VERSION 1

static const char *const members[] = { "version", "pair", "generation", "active", "standby", "nonce", "reason", "written-at", NULL };

bool
arbiter_pair_valid(const char *pair)
{
	for (unsigned i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? pair[i] != '-' : !g_ascii_isxdigit(pair[i]) || g_ascii_isupper(pair[i]))
			return false;
	}
	return pair[36] == '\0';
}

bool
arbiter_nonce_valid(const char *nonce)
{
	size_t n = strnlen(nonce, sizeof ((struct arbiter_record *)NULL)->nonce);

	if (n == 0 || n == sizeof ((struct arbiter_record *)NULL)->nonce)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!g_ascii_isalnum(nonce[i]) && nonce[i] != '-')
			return false;
	return true;
}

bool
arbiter_record_valid(const struct arbiter_record *r, GError **error)
{
	if (!arbiter_pair_valid(r->pair))
		return json_record_wrong(error, "pair", "not a UUID in lower case");
	if (r->generation == 0 || r->generation > ARBITER_GENERATION_MAX)
		return json_record_wrong(error, "generation", "out of range");
	if (!json_record_text_valid(r->active, sizeof r->active) || r->active[0] == '\0')
		return json_record_wrong(error, "active", "not a host name");
	if (!json_record_text_valid(r->standby, sizeof r->standby) || strcmp(r->active, r->standby) == 0)
		return json_record_wrong(error, "standby", "not the name of another host");
	if (!arbiter_nonce_valid(r->nonce))
		return json_record_wrong(error, "nonce", "not 1 to 32 of [0-9A-Za-z-]");
	if (!json_record_text_valid(r->reason, sizeof r->reason))
		return json_record_wrong(error, "reason", "not plain text");
	if (r->written_at < 0 || r->written_at >= INT64_MAX)
		return json_record_wrong(error, "written-at", "out of range");
	return true;
}

char *
arbiter_record_encode(const struct arbiter_record *r)
{
	g_autoptr(json_record) o = json_object_new_object();

	g_assert(arbiter_record_valid(r, NULL));
	json_object_object_add(o, "version", json_object_new_int(RECORD_VERSION));
	json_object_object_add(o, "pair", json_object_new_string(r->pair));
	json_object_object_add(o, "generation", json_object_new_uint64(r->generation));
	json_object_object_add(o, "active", json_object_new_string(r->active));
	json_object_object_add(o, "standby", json_object_new_string(r->standby));
	json_object_object_add(o, "nonce", json_object_new_string(r->nonce));
	json_object_object_add(o, "reason", json_object_new_string(r->reason));
	json_object_object_add(o, "written-at", json_object_new_int64(r->written_at));
	return g_strconcat(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
}

bool
arbiter_record_decode(const char *text, size_t length, struct arbiter_record *out, GError **error)
{
	g_autoptr(json_record) o = json_record_parse(text, length, ARBITER_RECORD_MAX, members, error);
	struct arbiter_record r = { 0 };
	uint64_t version, written_at;

	if (!o || !json_record_u64(o, "version", RECORD_VERSION, RECORD_VERSION, &version, error) ||
	    !json_record_string(o, "pair", r.pair, sizeof r.pair, error) ||
	    !json_record_u64(o, "generation", 1, ARBITER_GENERATION_MAX, &r.generation, error) ||
	    !json_record_string(o, "active", r.active, sizeof r.active, error) ||
	    !json_record_string(o, "standby", r.standby, sizeof r.standby, error) ||
	    !json_record_string(o, "nonce", r.nonce, sizeof r.nonce, error) ||
	    !json_record_string(o, "reason", r.reason, sizeof r.reason, error) ||
	    !json_record_u64(o, "written-at", 0, INT64_MAX - 1, &written_at, error))
		return false;
	r.written_at = (int64_t)written_at;
	if (!arbiter_record_valid(&r, error))
		return false;
	*out = r;
	return true;
}

enum arbiter_verdict
arbiter_judge(const struct arbiter_record *claim, const struct arbiter_record *standing)
{
	if (!standing)
		return ARBITER_GRANTED;
	if (standing->generation == claim->generation && strcmp(standing->pair, claim->pair) == 0 && strcmp(standing->nonce, claim->nonce) == 0 &&
	    strcmp(standing->active, claim->active) == 0 && strcmp(standing->standby, claim->standby) == 0)
		return ARBITER_GRANTED;
	return ARBITER_DENIED;
}
