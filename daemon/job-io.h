/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work that may block (libvirt, the arbiter, a conversation with a peer) runs as a job: straight-line code on a thread of its own, with a main
 * context of its own as thread default. What it reports and returns arrives on the main thread.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

struct job;
typedef struct json_object *(*job_work)(struct job *job, gpointer data, GError **error);		/* on the thread; NULL + error on failure */
typedef void (*job_progress)(struct json_object *progress, gpointer user_data);			/* borrowed */
typedef void (*job_done)(struct json_object *reply, const GError *error, gpointer user_data);	/* both borrowed; exactly once */

/* Takes data. progress and done may be NULL. */
void job_start(job_work work, gpointer data, GDestroyNotify free_data, job_progress progress, job_done done, gpointer user_data);
/* For as long as the process lives: `seconds` from now, and again so long after each end. Main thread; data is kept. */
void job_every(unsigned seconds, job_work work, gpointer data);
void job_report(struct job *job, struct json_object *progress);	/* from the thread; takes progress */

/* Runs func(data) on the main thread, later, in the order of the calls. */
void main_invoke(void (*func)(gpointer data), gpointer data);
