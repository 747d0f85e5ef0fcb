/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No register outside the hosts but the operator's word. What the operator said is kept in a directory of this host, laid out as the `file` arbiter's:
 *
 *   <directory>/<pair>/00000000000000000007.json	generation 7
 *
 * A claim to form a pair, or to end one because its VM was shut down, sets nobody free to go on alone and is written at once. A claim to go on alone is
 * SILENT until its record is there, which only arbiter_decide() writes.
 *
 * It is one host's: it cannot see what was decided on the other one, so it cannot prevent two sides that were both told to go on, and its generations may
 * have gaps. Only one guard per pair and host asks it, so a record that names the claimant is the claimant's whatever its nonce.
 */
#include "daemon/base/error.h"
#include "policy/arbiter-backend.h"
#include "policy/failover.h"

#include <errno.h>
#include <string.h>

static bool
make_directory(const struct arbiter *a, GError **error)
{
	if (g_mkdir_with_parents(a->location, 0700) == 0)
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "arbiter %s: cannot make the directory: %s", a->spec, g_strerror(errno));
	return false;
}

static bool
needs_operator(const struct arbiter_record *claim)
{
	return claim->standby[0] == '\0' && strcmp(claim->reason, failover_reason_name(FAILOVER_REASON_GUEST_ENDED)) != 0;
}

static enum arbiter_verdict
judge(const struct arbiter_record *claim, const struct arbiter_record *newest, struct arbiter_record *holder)
{
	*holder = *newest;
	return newest->generation == claim->generation && strcmp(newest->active, claim->active) == 0 && strcmp(newest->standby, claim->standby) == 0 ?
	       ARBITER_GRANTED : ARBITER_DENIED;
}

static enum arbiter_verdict
manual_claim(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error)
{
	struct arbiter_record newest;
	int found = make_directory(a, error) ? arbiter_file_read(a, claim->pair, &newest, error) : -1;

	if (found < 0)
		return ARBITER_SILENT;
	if (found > 0 && newest.generation >= claim->generation)
		return judge(claim, &newest, holder);
	if (!needs_operator(claim))
		return arbiter_file_claim(a, claim, true, holder, error);
	g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_SILENT, "it waits for an operator: when the other host surely does not run the domain, ftctl failover --force DOMAIN "
		    "on %s lets it go on there", claim->active);
	return ARBITER_SILENT;
}

static bool
manual_decide(struct arbiter *a, const struct arbiter_record *decision, GError **error)
{
	struct arbiter_record holder;
	enum arbiter_verdict verdict = make_directory(a, error) ? arbiter_file_claim(a, decision, true, &holder, error) : ARBITER_SILENT;

	if (verdict == ARBITER_DENIED && !(holder.generation == decision->generation && strcmp(holder.active, decision->active) == 0 && holder.standby[0] == '\0')) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_ARBITER_DENIED, "this host was told already that %s has the domain since generation %" G_GUINT64_FORMAT, holder.active,
			    holder.generation);
		return false;
	}
	return verdict != ARBITER_SILENT;
}

static int
manual_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error)
{
	return make_directory(a, error) ? arbiter_file_read(a, pair, out, error) : -1;
}

static bool
manual_forget(struct arbiter *a, const char *pair, GError **error)
{
	return make_directory(a, error) && arbiter_file_forget(a, pair, error);
}

/* There is nothing that both hosts could see; that both are manual is for the daemons to compare. */
static bool
manual_probe(struct arbiter *a, const char *nonce, GError **error)
{
	return true;
}

static void
manual_probe_remove(struct arbiter *a, const char *nonce)
{
}

static bool
manual_open(struct arbiter *a, const char *pki, GError **error)
{
	if (g_path_is_absolute(a->location))
		return true;
	g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "arbiter %s: what follows the colon is not a directory from the root", a->spec);
	return false;
}

const struct arbiter_backend arbiter_manual_backend = {
	.kind = "manual",
	.has_directory = true,
	.open = manual_open,
	.claim = manual_claim,
	.decide = manual_decide,
	.read = manual_read,
	.forget = manual_forget,
	.probe_write = manual_probe,
	.probe_read = manual_probe,
	.probe_remove = manual_probe_remove,
};
