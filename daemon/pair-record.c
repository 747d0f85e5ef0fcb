/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: how a pair ends
 *
 * A guard says how it ended ("finished": solo, fenced, ended), and ftd believes it; one that won, and lost its QEMU before it was settled, says "fenced" too, and is
 * judged like one that vanished then. A guard that vanished has said nothing; its QEMU cannot reach
 * the LAN past it, so there is time, and only the arbiter's register may say what the copy here is worth:
 *
 *   newest record          primary here                         standby here
 *   none, or older         never armed: an ordinary domain      never armed: a copy of nothing
 *   the pair's own         wait: the standby claims the next    nobody will ever promote it; but the primary may be lost
 *                          one. If it does not, claim it: this  as well, so its images stay
 *                          copy is ahead of all it ever sent
 *   newer, ours            keep                                 it has spoken: keep, its disks are the only good ones.
 *                                                               It has not: its guard, QEMU or host died between the grant
 *                                                               and its first word, with what was committed in memory and
 *                                                               overlays. Nobody has heard it, so the primary's copy is
 *                                                               still the domain: return it
 *   newer, somebody's      a moment for a return, then stale:   stale: remove
 *                          stop
 *   silence                wait                                 wait
 *
 * Nothing is ever deleted on silence, and nothing that was here before the pair.
 */
#include "daemon/pair-record.h"

#include "daemon/base/error.h"
#include "daemon/json-util.h"

#include <string.h>

struct pair_record *
pair_record_new(const char *uuid, const char *domain, const char *peer, enum failover_role role, guint64 generation)
{
	struct pair_record *r = g_new0(struct pair_record, 1);

	r->uuid = g_strdup(uuid);
	r->domain = g_strdup(domain);
	r->peer = g_strdup(peer);
	r->role = role;
	r->generation = generation;
	r->images = g_ptr_array_new_with_free_func(g_free);
	r->overlays = g_ptr_array_new_with_free_func(g_free);
	return r;
}

static void
copy_list(GPtrArray *to, const GPtrArray *from)
{
	for (guint i = 0; i < from->len; i++)
		g_ptr_array_add(to, g_strdup(g_ptr_array_index(from, i)));
}

struct pair_record *
pair_record_copy(const struct pair_record *r)
{
	struct pair_record *copy = pair_record_new(r->uuid, r->domain, r->peer, r->role, r->generation);

	copy->defined = r->defined;
	copy_list(copy->images, r->images);
	copy_list(copy->overlays, r->overlays);
	if (r->parameters)	/* json-c counts references without a lock: nothing is shared between threads */
		json_object_deep_copy(r->parameters, &copy->parameters, NULL);
	return copy;
}

void
pair_record_free(struct pair_record *r)
{
	if (!r)
		return;
	g_free(r->uuid);
	g_free(r->domain);
	g_free(r->peer);
	g_ptr_array_unref(r->images);
	g_ptr_array_unref(r->overlays);
	json_object_put(r->parameters);
	g_free(r);
}

static struct json_object *
encode_list(const GPtrArray *list)
{
	struct json_object *array = json_object_new_array();

	for (guint i = 0; i < list->len; i++)
		json_object_array_add(array, json_object_new_string(g_ptr_array_index(list, i)));
	return array;
}

char *
pair_record_encode(const struct pair_record *r)
{
	g_autoptr(json_object_ptr) o = json_object_new_object();

	json_put_str(json_put_str(json_put_str(o, "uuid", r->uuid), "domain", r->domain), "peer", r->peer);
	json_put_str(o, "role", r->role == FAILOVER_PRIMARY ? "primary" : "standby");
	json_put_bool(json_put_u64(o, "generation", r->generation), "defined", r->defined);
	json_put_value(json_put_value(o, "images", encode_list(r->images)), "overlays", encode_list(r->overlays));
	if (r->parameters)
		json_put_value(o, "parameters", json_object_get(r->parameters));
	return g_strconcat(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY), "\n", NULL);
}

/* Files of the record will be deleted: only absolute paths are taken. */
static bool
decode_list(struct json_object *array, GPtrArray *list)
{
	for (size_t i = 0; i < json_length(array); i++) {
		struct json_object *entry = json_at(array, i);

		if (!json_object_is_type(entry, json_type_string) || json_object_get_string(entry)[0] != '/')
			return false;
		g_ptr_array_add(list, g_strdup(json_object_get_string(entry)));
	}
	return true;
}

struct pair_record *
pair_record_decode(const char *text, gsize length, GError **error)
{
	g_autoptr(json_object_ptr) o = json_parse(text, length, error);
	const char *uuid = json_get_str(o, "uuid"), *domain = json_get_str(o, "domain"), *peer = json_get_str(o, "peer"), *role = json_get_str(o, "role");
	g_autoptr(pair_record) r = NULL;

	if (!o)
		return NULL;
	if (!uuid || !g_uuid_string_is_valid(uuid) || !domain || !peer || (g_strcmp0(role, "primary") != 0 && g_strcmp0(role, "standby") != 0)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "not the record of a pair");
		return NULL;
	}
	r = pair_record_new(uuid, domain, peer, strcmp(role, "primary") == 0 ? FAILOVER_PRIMARY : FAILOVER_STANDBY, json_get_u64(o, "generation"));
	r->defined = json_get_bool(o, "defined");
	if (json_object_is_type(json_get(o, "parameters"), json_type_object))
		r->parameters = json_object_get(json_get(o, "parameters"));
	if (!decode_list(json_get(o, "images"), r->images) || !decode_list(json_get(o, "overlays"), r->overlays)) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_PROTOCOL, "the record of a pair names a file that is not an absolute path");
		return NULL;
	}
	return g_steal_pointer(&r);
}

static bool
won_unheard(const struct pair_end_facts *f)
{
	return f->role == FAILOVER_STANDBY && f->silent && f->register_known > 0 && f->newest->generation > f->generation && strcmp(f->newest->active, f->self) == 0;
}

/* It had the arbiter's word, and its QEMU died before it was settled: what is here is what it would be if the guard had died then. */
static enum pair_end
judge_winner(const struct pair_end_facts *f)
{
	if (f->register_known <= 0 || f->newest->generation <= f->generation)
		return PAIR_END_WAIT;	/* it does not know of what was granted: not the register that granted it */
	if (strcmp(f->newest->active, f->self) != 0)
		return PAIR_END_REMOVE;
	return won_unheard(f) ? PAIR_END_RETURN : PAIR_END_KEEP;
}

static enum pair_end
judge_finished(const struct pair_end_facts *f)
{
	if (strcmp(f->finished, "fenced") == 0 && f->granted)
		return judge_winner(f);
	if (strcmp(f->finished, "solo") == 0)
		return PAIR_END_KEEP;
	if (strcmp(f->finished, "ended") == 0 && f->role == FAILOVER_PRIMARY)
		return PAIR_END_KEEP;
	return PAIR_END_REMOVE;
}

static enum pair_end
judge_newer(const struct pair_end_facts *f)
{
	if (strcmp(f->newest->active, f->self) == 0)
		return won_unheard(f) ? PAIR_END_RETURN : PAIR_END_KEEP;
	return f->role == FAILOVER_PRIMARY && f->domain_runs && !f->waited_for_return ? PAIR_END_WAIT : PAIR_END_REMOVE;
}

/*
 * Its guard vanished without a word, or the whole host did. While the pair's own record is the newest one the other side may still win the next: it may
 * be cut off from the arbiter at the moment. So a primary is nobody's before it has claimed, whether its domain runs or would be started again.
 */
enum pair_end
pair_end_judge(const struct pair_end_facts *f)
{
	if (f->finished)
		return judge_finished(f);
	if (f->register_known < 0)
		return PAIR_END_WAIT;
	if (f->register_known == 0 || f->newest->generation < f->generation) {
		if (f->armed)
			return PAIR_END_WAIT;	/* not the register that the pair was armed with: a share that is not mounted looks empty */
		return f->role == FAILOVER_PRIMARY ? PAIR_END_KEEP : PAIR_END_REMOVE;
	}
	if (f->newest->generation > f->generation)
		return judge_newer(f);
	if (f->role == FAILOVER_STANDBY)
		return PAIR_END_STOP;
	return f->waited && strcmp(f->newest->active, f->self) == 0 ? PAIR_END_CLAIM : PAIR_END_WAIT;
}

static bool
is_reason(const char *why, enum failover_reason reason)
{
	return g_strcmp0(why, failover_reason_name(reason)) == 0;
}

/* A pair that was formed "ended" only with its guest; one that was not, for any other reason, too. */
static bool
could_not_be_formed(const struct pair_last_facts *f)
{
	return f->forming || (g_strcmp0(f->finished, failover_state_name(FAILOVER_ENDED)) == 0 && !is_reason(f->why, FAILOVER_REASON_GUEST_ENDED) &&
			      !is_reason(f->why, FAILOVER_REASON_OPERATOR_DISABLE));
}

bool
pair_changed_nothing(const struct pair_last_facts *f)
{
	return f->wished && f->role == FAILOVER_PRIMARY && f->end == PAIR_END_KEEP && could_not_be_formed(f);
}

const char *
pair_last_state(const struct pair_last_facts *f)
{
	if (pair_changed_nothing(f))
		return "solo";
	if (f->finished || f->forming)
		return f->finished ? f->finished : "ended";
	return f->end == PAIR_END_KEEP ? "solo" : "fenced";
}

bool
pair_wants_protection(const char *state, const char *reason)
{
	return g_strcmp0(state, "solo") == 0 && !is_reason(reason, FAILOVER_REASON_OPERATOR_DISABLE);
}

bool
pair_ends_wish(bool active, const char *state, const char *reason)
{
	return active || (state && !pair_wants_protection(state, reason));
}

/*
 * A primary gives its guest up before the standby has claimed it, and the standby may never do that: its QEMU may have ended in the same moment. So the last word is the
 * register's. The claim that won what is given back was one generation, the word that gives it back is the next; anything later is of another pair.
 *
 * Not for a standby: what it has written since the last checkpoint is in overlays that are gone, and what is on its disk is not all that the primary has done.
 */
enum stale_verdict
stale_judge(const struct stale_facts *f)
{
	guint64 since;

	if (f->role != FAILOVER_PRIMARY || f->register_known <= 0 || strcmp(f->newest->active, f->self) != 0 || f->newest->generation < f->generation)
		return STALE_STAYS;
	since = f->newest->generation - f->generation;
	if (since == 0)
		return f->waited ? STALE_CLAIM : STALE_WAIT;
	return since <= 2 ? STALE_OVER : STALE_STAYS;	/* 1: claimed like this, and not noted */
}
