/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/durable-state.h"

#include "policy/arbiter.h"
#include "policy/json-record.h"

#define STATE_VERSION 1

static const char *const members[] = {
	"version", "pair", "domain", "role", "state", "reason", "generation", "self", "peer", "arbiter", "nonce", NULL,
};

static const char *
role_word(unsigned i)
{
	return failover_role_name(i);
}

static const char *
state_word(unsigned i)
{
	return failover_state_name(i);
}

static const char *
reason_word(unsigned i)
{
	return failover_reason_name(i);
}

static bool
filled(const char *text, size_t size)
{
	return json_record_text_valid(text, size) && text[0] != '\0';
}

bool
durable_state_valid(const struct durable_state *s, GError **error)
{
	if (!arbiter_pair_valid(s->pair))
		return json_record_wrong(error, "pair", "not a UUID in lower case");
	if (!filled(s->domain, sizeof s->domain))
		return json_record_wrong(error, "domain", "not a name");
	if (s->generation == 0 || s->generation > ARBITER_GENERATION_MAX)
		return json_record_wrong(error, "generation", "out of range");
	if (!filled(s->self, sizeof s->self))
		return json_record_wrong(error, "self", "not a host name");
	if (!filled(s->peer, sizeof s->peer))
		return json_record_wrong(error, "peer", "not a host name");
	if (!filled(s->arbiter, sizeof s->arbiter))
		return json_record_wrong(error, "arbiter", "not an arbiter");
	if (!arbiter_nonce_valid(s->nonce))
		return json_record_wrong(error, "nonce", "not 1 to 32 of [0-9A-Za-z-]");
	return true;
}

char *
durable_state_encode(const struct durable_state *s)
{
	g_autoptr(json_record) o = json_object_new_object();

	json_object_object_add(o, "version", json_object_new_int(STATE_VERSION));
	json_object_object_add(o, "pair", json_object_new_string(s->pair));
	json_object_object_add(o, "domain", json_object_new_string(s->domain));
	json_object_object_add(o, "role", json_object_new_string(failover_role_name(s->role)));
	json_object_object_add(o, "state", json_object_new_string(failover_state_name(s->state)));
	json_object_object_add(o, "reason", json_object_new_string(failover_reason_name(s->reason)));
	json_object_object_add(o, "generation", json_object_new_uint64(s->generation));
	json_object_object_add(o, "self", json_object_new_string(s->self));
	json_object_object_add(o, "peer", json_object_new_string(s->peer));
	json_object_object_add(o, "arbiter", json_object_new_string(s->arbiter));
	json_object_object_add(o, "nonce", json_object_new_string(s->nonce));
	return g_strconcat(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE), "\n", NULL);
}

static bool
read_words(json_record *o, struct durable_state *s, GError **error)
{
	unsigned role, state, reason;

	if (!json_record_enum(o, "role", role_word, FAILOVER_STANDBY + 1, &role, error) ||
	    !json_record_enum(o, "state", state_word, FAILOVER_STATE_LAST, &state, error) ||
	    !json_record_enum(o, "reason", reason_word, FAILOVER_REASON_LAST, &reason, error))
		return false;
	s->role = role;
	s->state = state;
	s->reason = reason;
	return true;
}

bool
durable_state_decode(const char *text, size_t length, struct durable_state *out, GError **error)
{
	g_autoptr(json_record) o = json_record_parse(text, length, DURABLE_STATE_MAX, members, error);
	struct durable_state s = { 0 };
	uint64_t version;

	if (!o || !json_record_u64(o, "version", STATE_VERSION, STATE_VERSION, &version, error) || !read_words(o, &s, error) ||
	    !json_record_string(o, "pair", s.pair, sizeof s.pair, error) ||
	    !json_record_string(o, "domain", s.domain, sizeof s.domain, error) ||
	    !json_record_u64(o, "generation", 1, ARBITER_GENERATION_MAX, &s.generation, error) ||
	    !json_record_string(o, "self", s.self, sizeof s.self, error) ||
	    !json_record_string(o, "peer", s.peer, sizeof s.peer, error) ||
	    !json_record_string(o, "arbiter", s.arbiter, sizeof s.arbiter, error) ||
	    !json_record_string(o, "nonce", s.nonce, sizeof s.nonce, error) || !durable_state_valid(&s, error))
		return false;
	*out = s;
	return true;
}
