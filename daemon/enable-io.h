/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking and protecting a domain of this host. Both block: for jobs. */
#pragma once

#include "daemon/host-io.h"
#include "daemon/job-io.h"
#include "daemon/pair-settings.h"

/* {rows: check_report_to_json()}: every requirement, and every obstacle. Changes nothing. An error only when the domain itself cannot be looked at. */
struct json_object *check_domain(struct host *h, const char *domain, const char *peer, GError **error);
/* May the domain be protected anew, as it is by now? It may have been changed since it was protected: a medium, a disk, a snapshot. Its pair, if it has one, is no obstacle. */
bool enable_check_again(struct host *h, const char *domain, GError **error);
/* The same, and: may that host take the standby of a domain of this host, whether it is protected or not? `but`, if not NULL: the certified name of one that may not. */
bool enable_check_other(struct host *h, const char *domain, const char *peer, const char *but, GError **error);
/* {} once the domain is protected; until then progress is reported to the job. On failure both hosts are as they were, the domain's settings too. */
struct json_object *enable_domain(struct host *h, const char *domain, const char *peer, const struct pair_settings *change, struct job *job, GError **error);
