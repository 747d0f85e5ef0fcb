/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A monitor reached through libvirt. virDomainQemuMonitorCommandWithFiles blocks for as long as QEMU or libvirtd likes, so it has a thread of its own with a
 * connection of its own; the session sends one command at a time, so at most one is in the thread.
 *
 *	owner's main loop                       worker
 *	send() -> job -----> queue ----------> work(): libvirt call
 *	deliver() <--- idle source in the owner's context <--- job with its result
 *
 * The owner never waits for the worker: not for an answer (the session's deadline gives up), not at the end (free() leaves a stop job and forgets; a worker that is
 * stuck in libvirt ends when libvirt lets go of it). What both touch is `struct link`: reference-counted, its `io` belongs to the owner's thread and is NULL after free().
 *
 * A command is never repeated: when the connection breaks while it is on its way nobody knows whether QEMU had it. So each is preceded by a question that changes
 * nothing (is the domain active?), and it is this question that finds a restarted libvirtd and reconnects, once.
 */
#include "daemon/base/error.h"
#include "qmp/qmp-framing.h"
#include "qmp/qmp-json.h"
#include "qmp/qmp-transport-io.h"

#include <glib/gstdio.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct libvirt_io;

struct link {
	gatomicrefcount refs;
	GAsyncQueue *jobs;
	GMainContext *context;	/* the owner's */
	struct libvirt_io *io;	/* owner's thread only */
};

struct libvirt_io {
	struct qmp_client *client;
	struct link *link;
};

struct job {
	struct link *link;
	uint64_t id;		/* 0: stop */
	char *command;
	int fd;
	char *result;		/* libvirt's text, or */
	GError *error;		/* why there is none */
	bool gone;		/* the domain does not run any more: error closes the session */
};

struct worker {
	struct link *link;
	char *uri, *uuid;
	virConnectPtr conn;
	virDomainPtr domain;
};

static struct link *
link_ref(struct link *l)
{
	g_atomic_ref_count_inc(&l->refs);
	return l;
}

static void
link_unref(struct link *l)
{
	if (!g_atomic_ref_count_dec(&l->refs))
		return;
	g_async_queue_unref(l->jobs);
	g_main_context_unref(l->context);
	g_free(l);
}

static struct job *
job_new(struct link *l, uint64_t id)
{
	struct job *j = g_new0(struct job, 1);

	j->link = link_ref(l);
	j->id = id;
	j->fd = -1;
	return j;
}

static void
job_free(gpointer data)
{
	struct job *j = data;

	if (j->fd >= 0)
		g_close(j->fd, NULL);
	g_free(j->command);
	free(j->result);	/* libvirt's malloc */
	g_clear_error(&j->error);
	link_unref(j->link);
	g_free(j);
}

/* ---- worker thread ---- */

static void
drop_connection(struct worker *w)
{
	if (w->domain)
		virDomainFree(w->domain);
	if (w->conn)
		virConnectClose(w->conn);
	w->domain = NULL;
	w->conn = NULL;
}

static GError *
libvirt_error(const char *what)
{
	const char *message = virGetLastErrorMessage();

	return g_error_new(FTD_ERROR, FTD_ERROR_LIBVIRT, "libvirt: %s: %s", what, message ? message : "unknown error");
}

static bool
gone(struct job *j, const struct worker *w)
{
	j->gone = true;
	j->error = g_error_new(FTD_ERROR, FTD_ERROR_NOT_RUNNING, "domain %s does not run on this host any more", w->uuid);
	return false;
}

static bool
open_connection(struct worker *w, struct job *j)
{
	w->conn = virConnectOpen(w->uri);
	if (!w->conn) {
		j->error = libvirt_error("cannot connect");
		return false;
	}
	w->domain = virDomainLookupByUUIDString(w->conn, w->uuid);
	if (!w->domain && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		return gone(j, w);
	if (!w->domain)
		j->error = libvirt_error("cannot look up the domain");
	return w->domain != NULL;
}

/* A connection on which the domain has just been seen active. */
static bool
ready(struct worker *w, struct job *j)
{
	for (int try = 0; try < 2; try++) {
		bool fresh = !w->conn;
		int active;

		if (fresh && !open_connection(w, j))
			return false;
		active = virDomainIsActive(w->domain);
		if (active > 0)
			return true;
		if (active == 0 || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
			return gone(j, w);
		if (fresh)
			break;
		drop_connection(w);	/* libvirtd was restarted: once more on a new connection */
	}
	j->error = libvirt_error("cannot reach the domain");
	return false;
}

static void
work(struct worker *w, struct job *j)
{
	int n;

	virResetLastError();
	if (!ready(w, j)) {
		drop_connection(w);
		return;
	}
	n = virDomainQemuMonitorCommandWithFiles(w->domain, j->command, j->fd >= 0 ? 1 : 0, j->fd >= 0 ? &j->fd : NULL, NULL, NULL, &j->result, 0);
	if (n >= 0)
		return;
	if (virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID && virDomainIsActive(w->domain) == 0) {
		gone(j, w);
	} else {
		j->error = libvirt_error("monitor command");
		drop_connection(w);
	}
}

static gboolean deliver(gpointer data);

static void
hand_back(struct job *j)
{
	GSource *source = g_idle_source_new();

	/* Not g_main_context_invoke(): that would run deliver() in this thread when the owner's context is not iterating. */
	g_source_set_priority(source, G_PRIORITY_DEFAULT);
	g_source_set_callback(source, deliver, j, job_free);
	g_source_attach(source, j->link->context);
	g_source_unref(source);
}

/* libvirt writes to its socket with plain write(): without this a libvirtd that has gone would end the process. */
static void
block_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static gpointer
worker_thread(gpointer data)
{
	struct worker *w = data;
	struct job *j;

	block_sigpipe();
	while ((j = g_async_queue_pop(w->link->jobs))->id != 0) {
		work(w, j);
		hand_back(j);
	}
	job_free(j);
	drop_connection(w);
	link_unref(w->link);
	g_free(w->uri);
	g_free(w->uuid);
	g_free(w);
	return NULL;
}

/* ---- owner's thread ---- */

static void
give_to_session(struct qmp_session *s, struct job *j)
{
	g_autoptr(json_object) message = NULL;

	if (!j->error)
		message = qmp_framing_parse(j->result ? j->result : "", j->result ? strlen(j->result) : 0, &j->error);
	if (message)
		qmp_session_libvirt_reply(s, j->id, message);
	else
		qmp_session_libvirt_failed(s, j->id, j->error);
	if (j->gone)
		qmp_session_close(s, j->error);
}

static gboolean
deliver(gpointer data)
{
	struct job *j = data;
	struct libvirt_io *io = j->link->io;

	if (io) {
		give_to_session(qmp_client_session(io->client), j);
		qmp_client_wake(io->client);
	}
	return G_SOURCE_REMOVE;
}

static void
libvirt_send(gpointer transport, uint64_t id, GBytes *bytes, int fd)
{
	struct libvirt_io *io = transport;
	struct job *j = job_new(io->link, id);
	gsize length;
	const char *text = g_bytes_get_data(bytes, &length);

	j->command = g_strndup(text, length);
	j->fd = fd;
	g_async_queue_push(io->link->jobs, j);
}

static void
libvirt_free(gpointer transport)
{
	struct libvirt_io *io = transport;

	io->link->io = NULL;
	g_async_queue_push(io->link->jobs, job_new(io->link, 0));
	link_unref(io->link);
	g_free(io);
}

static struct link *
link_new(struct libvirt_io *io, GMainContext *context)
{
	struct link *l = g_new0(struct link, 1);

	g_atomic_ref_count_init(&l->refs);
	l->jobs = g_async_queue_new_full(job_free);
	l->context = g_main_context_ref(context);
	l->io = io;
	return l;
}

static void
start_worker(struct link *l, const char *uri, const char *uuid)
{
	struct worker *w = g_new0(struct worker, 1);

	w->link = link_ref(l);
	w->uri = g_strdup(uri);
	w->uuid = g_strdup(uuid);
	g_thread_unref(g_thread_new("qmp-libvirt", worker_thread, w));
}

static const struct qmp_transport_ops libvirt_ops = { .send = libvirt_send, .free = libvirt_free };

struct qmp_client *
qmp_client_new_libvirt(const char *uri, const char *domain_uuid, qmp_closed_func on_closed, gpointer user_data)
{
	struct libvirt_io *io = g_new0(struct libvirt_io, 1);

	io->client = qmp_client_new(QMP_SESSION_LIBVIRT, UINT64_MAX, NULL, on_closed, user_data);
	io->link = link_new(io, qmp_client_context(io->client));
	qmp_client_set_transport(io->client, &libvirt_ops, io);
	start_worker(io->link, uri, domain_uuid);
	return io->client;
}
