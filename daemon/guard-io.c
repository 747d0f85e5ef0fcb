/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ftd-guard: options, the main loop and the timer; everything else is in guard-*-io.c. One thread does all the work in bounded pieces; libvirt's monitor
 * and the arbiter, which may block, have threads of their own behind their interfaces.
 */
#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-interface.h"
#include "daemon/guard-io.h"
#include "daemon/isolation.h"
#include "policy/durable-mark-io.h"
#include "policy/durable-state-io.h"
#include "policy/durable-writer-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PORTS_PER_NIC 4		/* sockets towards QEMU, of the side that has more: the standby */
#define LINGER_MS 300		/* for last words to reach the peer and ftd */
#define CHECKPOINT_BUFFER (2 << 20)	/* a huge page */
#define CHECKPOINT_BUFFERS 16	/* ready before there is a peer that hears from us; what more a checkpoint needs is fetched while it comes in ... */
#define CHECKPOINT_BUFFERS_MOST 64	/* ... and is kept for the next ones */
#define HEAP_KEPT (32 << 20)	/* free memory that does not go back to the kernel */
#define HEAP_READY (8 << 20)	/* ... and is there from the beginning */

#define STUCK_NS 500000

static gboolean
on_timer(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->armed_for = UINT64_MAX;
	io->ticked_at = guard_io_now();
	g_source_set_ready_time(io->timer, -1);
	guard_tick(io->guard, io->ticked_at);
	links_flush(io);
	guard_io_schedule(io);
	return G_SOURCE_CONTINUE;
}

void
guard_io_schedule(struct guard_io *io)
{
	uint64_t t = guard_deadline(io->guard);

	disks_resume_reading(io);
	/* Moving the ready time wakes the main context up. Deadlines mostly move away: let the timer come early then, and look again. */
	if (t <= io->ticked_at)		/* a tick that left its own deadline in the past: the timer comes before all that might mend that */
		t = io->ticked_at + STUCK_NS;
	if (t >= io->armed_for)
		return;
	io->armed_for = t;
	g_source_set_ready_time(io->timer, (gint64)((t + 999) / 1000));
}

static gboolean
timer_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	return callback(user_data);
}

static GSourceFuncs timer_funcs = { .dispatch = timer_dispatch };

static void
timer_init(struct guard_io *io)
{
	io->armed_for = UINT64_MAX;
	io->timer = g_source_new(&timer_funcs, sizeof(GSource));
	g_source_set_callback(io->timer, on_timer, io, NULL);
	g_source_set_priority(io->timer, G_PRIORITY_HIGH);
	g_source_attach(io->timer, NULL);
}

/* -- has this copy spoken? */

static bool
silent_begin(struct guard_io *io, GError **error)
{
	g_autofree char *dir = g_path_get_dirname(io->config->state_file), *path = g_strconcat(dir, "/", io->config->pair, GUARD_SILENT_SUFFIX, NULL);

	if (io->config->role != FAILOVER_STANDBY)
		return true;
	io->silent = durable_mark_new(path, error);
	return io->silent != NULL;
}

/* GUARD_OP_STANDBY_COMMIT has waited for it where it could. */
static void
env_speaks(void *ctx)
{
	struct guard_io *io = ctx;

	if (io->silent)
		durable_mark_clear(io->silent);
	g_clear_pointer(&io->silent, durable_mark_free);
}

/* -- what the guard wants done --------------------------------------------------------------------------------------------------- */

static void
on_claimed(enum arbiter_verdict verdict, const struct arbiter_record *holder, const GError *error, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_claimed(io->guard, guard_io_now(), verdict, holder, error ? error->message : NULL);
	if (verdict == ARBITER_SILENT)
		control_claim_silent(io, error->message);
	guard_io_schedule(io);
}

static void
env_claim(void *ctx, const struct arbiter_record *record)
{
	struct guard_io *io = ctx;
	struct arbiter_record r = *record;

	r.written_at = g_get_real_time() / G_USEC_PER_SEC;
	arbiter_claim_async(io->arbiter, &r, GUARD_CLAIM_TIMEOUT_MS, on_claimed, io);
}

static bool
env_persist(void *ctx, const struct durable_state *state, GError **error)
{
	struct guard_io *io = ctx;

	return durable_writer_write(io->durable, state, GUARD_PERSIST_WAIT_MS, error);
}

static gboolean
on_lingered(gpointer user_data)
{
	struct guard_io *io = user_data;

	g_main_loop_quit(io->loop);
	return G_SOURCE_REMOVE;
}

static void
env_finished(void *ctx)
{
	struct guard_io *io = ctx;

	control_finished(io);
	g_timeout_add(LINGER_MS, on_lingered, io);
}

static const struct guard_env env = {
	.peer_send = links_env_send,
	.peer_queued = links_env_queued,
	.frame_write = filters_env_write,
	.filters_drain = filters_env_drain,
	.formed = links_env_formed,
	.frames_take_back = filters_env_take_back,
	.writes_unread = filters_env_unread,
	.speaks = env_speaks,
	.migration_write = migration_env_write,
	.nbd_reply = disks_env_reply,
	.disk_submit = disks_env_submit,
	.disk_read = disks_env_read,
	.digest = disks_env_digest,
	.op_start = ops_env_start,
	.claim = env_claim,
	.persist = env_persist,
	.generation_changed = links_env_generation,
	.event = control_env_event,
	.started = control_env_started,
	.switchover_off = control_env_switchover_off,
	.finished = env_finished,
};

/* -- life --------------------------------------------------------------------------------------------------------------------------- */

static struct guard_config *
config_load(const char *path, GError **error)
{
	g_autofree char *text = NULL;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, error))
		return NULL;
	return guard_config_decode(text, length, error);
}

/* No more of them than the largest checkpoint takes. */
static struct fd_stream_pool *
checkpoint_buffers(uint64_t most)
{
	return fd_stream_pool_new(CHECKPOINT_BUFFER, (unsigned)MIN(CHECKPOINT_BUFFERS, most), (unsigned)MIN(CHECKPOINT_BUFFERS_MOST, most));
}

/* What takes a privilege, or tells what may be kept. */
static bool
io_prepare(struct guard_io *io, const char *config_path, GError **error)
{
	io->config = config_load(config_path, error);
	if (!io->config)
		return false;
	log_init("ftd-guard", io->config->domain);
	io->arbiter = arbiter_open(io->config->arbiter, io->config->pki, error);
	if (!io->arbiter)
		return false;
	arbiter_remember_names(io->arbiter);
	if (io->config->role == FAILOVER_PRIMARY) {
		taps_open(io);
		io->buffers = checkpoint_buffers(io->config->max_checkpoint_bytes / CHECKPOINT_BUFFER);
	}
	qemu_look_open(io);
	return fd_stream_reserve(io->config->n_nics * PORTS_PER_NIC + 1, error);
}

static bool
io_init(struct guard_io *io, GError **error)
{
	io->loop = g_main_loop_new(NULL, FALSE);
	if (!links_init(io, error))
		return false;
	arbiter_keep_priority(io->arbiter);
	io->durable = durable_writer_new(io->config->state_file, durable_state_write);
	io->guard = guard_new(io->config, guard_io_now(), &env, io);
	timer_init(io);
	return silent_begin(io, error) && control_init(io, error);
}

static void
io_clear(struct guard_io *io)
{
	ops_clear(io);
	qemu_look_end(io);
	disks_close(io);
	migration_close(io);
	fd_stream_pool_unref(io->buffers);
	taps_close(io);
	filters_close(io);
	links_close(io);
	control_clear(io);
	if (io->timer)
		g_source_destroy(io->timer);
	g_clear_pointer(&io->timer, g_source_unref);
	g_clear_pointer(&io->guard, guard_free);
	g_clear_pointer(&io->arbiter, arbiter_unref);
	g_clear_pointer(&io->durable, durable_writer_free);
	g_clear_pointer(&io->silent, durable_mark_free);
	g_clear_pointer(&io->loop, g_main_loop_unref);
	g_clear_pointer(&io->config, guard_config_free);
}

/* A pair is ended by `ftctl disable`, not by a signal that was meant for the daemon; SIGKILL is fail-closed. */
static gboolean
on_signal(gpointer user_data)
{
	log_warn("guard", "a signal to end was ignored: a pair is ended with `ftctl disable`");
	return G_SOURCE_CONTINUE;
}

static bool
parse_options(int *argc, char ***argv, char **config_path, GError **error)
{
	gboolean version = FALSE;
	const GOptionEntry entries[] = {
		{ "config", 'c', 0, G_OPTION_ARG_FILENAME, config_path, "what to guard, written by ftd", "FILE" },
		{ "version", 0, 0, G_OPTION_ARG_NONE, &version, "show the version", NULL },
		{ NULL }
	};
	GOptionContext *context = g_option_context_new("- one side of one protected domain; started by ftd");
	bool ok;

	g_option_context_add_main_entries(context, entries, NULL);
	ok = g_option_context_parse(context, argc, argv, error);
	g_option_context_free(context);
	if (ok && version) {
		puts("ftd-guard " FTD_VERSION);
		exit(EXIT_SUCCESS);
	}
	if (ok && !*config_path) {
		g_set_error_literal(error, FTD_ERROR, FTD_ERROR_USAGE, "--config FILE is missing");
		return false;
	}
	return ok;
}

/*
 * A checkpoint's memory is taken while the guest stands and free when it was sent, and the same with the next one. malloc would give it back to the kernel each time
 * (mallopt(3): above 128 KiB at the heap's end, or at once what was mapped), and each page of it would cost a fault: three times what reading it costs.
 */
static void
keep_memory(void)
{
	uint8_t *ready;

	if (!mallopt(M_MMAP_THRESHOLD, HEAP_KEPT) || !mallopt(M_TRIM_THRESHOLD, HEAP_KEPT))
		log_debug("guard", "mallopt: memory will be taken from the kernel again and again");
	ready = g_malloc(HEAP_READY);
	for (size_t i = 0; i < HEAP_READY; i += 4096)
		((volatile uint8_t *)ready)[i] = 0;
	g_free(ready);
}

int
main(int argc, char **argv)
{
	g_autofree char *config_path = NULL;
	g_autoptr(GError) error = NULL;
	struct guard_io io = { 0 };
	int status = EXIT_FAILURE, landlock = 0;

	signal(SIGPIPE, SIG_IGN);
	isolate_process();
	priority_init();
	keep_memory();
	if (!parse_options(&argc, &argv, &config_path, &error) || !io_prepare(&io, config_path, &error) || !isolate_privileges(&error) ||
	    !guard_confine_files(&io, &landlock, &error) || !io_init(&io, &error) || !isolate_syscalls(&error)) {
		fprintf(stderr, "ftd-guard: %s\n", error->message);
	} else {
		g_unix_signal_add(SIGTERM, on_signal, NULL);
		g_unix_signal_add(SIGINT, on_signal, NULL);
		g_unix_signal_add(SIGHUP, on_signal, NULL);
		if (!landlock)
			log_warn("guard", "this kernel has no Landlock: a guard that is taken over could read and write root's files");
		log_info("guard", "%s of %s, other side %s, generation %" G_GUINT64_FORMAT, io.config->role == FAILOVER_PRIMARY ? "primary" : "standby",
			 io.config->domain, io.config->peer, io.config->generation);
		priority_moderate(&io);
		g_main_loop_run(io.loop);
		status = EXIT_SUCCESS;
	}
	io_clear(&io);
	return status;
}
