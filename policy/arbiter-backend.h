/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a kind of arbiter implements; private to policy/arbiter-*-io.c. arbiter-io.c has checked every argument before a backend sees it. */
#pragma once

#include "policy/arbiter-io.h"

/* All but open() block and may be called from several threads at once. Errors are FTD_ERROR_ARBITER_SILENT unless said otherwise. */
struct arbiter_backend {
	const char *kind;	/* the word before the colon of a spec */
	bool has_directory;	/* a->location is one */
	/* Is what follows the colon (a->location) well formed? Sets a->own if the kind has any; touches nothing outside but files of `pki`. FTD_ERROR_CONFIG. */
	bool (*open)(struct arbiter *a, const char *pki, GError **error);
	void (*remember_names)(struct arbiter *a);	/* NULL: there are none */
	void (*close)(struct arbiter *a);	/* frees a->own; NULL when there is none */
	enum arbiter_verdict (*claim)(struct arbiter *a, const struct arbiter_record *claim, struct arbiter_record *holder, GError **error);
	bool (*decide)(struct arbiter *a, const struct arbiter_record *decision, GError **error);	/* NULL: the kind does not wait for people */
	int (*read)(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error);
	bool (*forget)(struct arbiter *a, const char *pair, GError **error);
	bool (*probe_write)(struct arbiter *a, const char *nonce, GError **error);
	bool (*probe_read)(struct arbiter *a, const char *nonce, GError **error);
	void (*probe_remove)(struct arbiter *a, const char *nonce);
	/* NULL: the kind does not keep hosts. */
	bool (*register_host)(struct arbiter *a, const char *name, unsigned seconds, GError **error);
	char **(*hosts)(struct arbiter *a, GError **error);
};

extern const struct arbiter_backend arbiter_etcd_backend, arbiter_file_backend, arbiter_manual_backend;

/* The file register, for kinds that keep theirs in a directory too. With gaps a claim need only be newer than the newest record. */
enum arbiter_verdict arbiter_file_claim(struct arbiter *a, const struct arbiter_record *claim, bool gaps, struct arbiter_record *holder, GError **error);
int arbiter_file_read(struct arbiter *a, const char *pair, struct arbiter_record *out, GError **error);
bool arbiter_file_forget(struct arbiter *a, const char *pair, GError **error);

struct arbiter {
	gint refs;
	GAsyncQueue *starts;	/* of claims, to a thread that makes theirs; NULL: there is none */
	const struct arbiter_backend *backend;
	char *spec;
	const char *location;	/* in spec, behind the colon */
	void *own;		/* the kind's */
	gint threads;		/* of arbiter_claim_async(), the hung ones too */
	/* For the crash test: called after every step that changes something outside, with its name. NULL otherwise. */
	void (*after_step)(const char *step, gpointer data);
	gpointer after_step_data;
};

static inline void
arbiter_step(const struct arbiter *a, const char *step)
{
	if (a->after_step)
		a->after_step(step, a->after_step_data);
}
