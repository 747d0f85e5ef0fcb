/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sockets of QEMU's net filters and of its migration stream. */
#include "daemon/base/error.h"
#include "daemon/guard-io.h"
#include "proxy/frame-queue.h"
#include "proxy/packet.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILTER_READ (64 << 10)
#define MIGRATION_READ (256 << 10)
/* Standby: more than this that QEMU has not taken, and nothing more is read from the peer. What is on its way when the initial migration stops the guest is time that
 * it stands. */
#define MIGRATION_QUEUE_MAX (2 << 20)
/* A dying QEMU closes its sockets one after the other; a living one that is unhappy closes just one. */
#define GONE_GRACE_MS 60
/* Without a disk QEMU cannot tell a good end from a bad one (guard_qemu_gone()); libvirt tells ftd, and ftd us. */
#define DISKLESS_GRACE_MS 400

static gboolean
on_gone_timer(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->gone_timer = 0;
	guard_qemu_failed(io->guard, guard_io_now(), io->gone_why);
	guard_io_schedule(io);
	return G_SOURCE_REMOVE;
}

static gboolean
on_dead(gpointer user_data)
{
	struct guard_io *io = user_data;

	io->gone_timer = 0;
	filters_env_drain(io);	/* its last words, and what it has heard */
	disks_drain(io);	/* whether it took its leave */
	guard_qemu_gone(io->guard, guard_io_now());
	guard_io_schedule(io);
	return G_SOURCE_REMOVE;
}

void
qemu_closed(struct guard_io *io, bool surely_dead, const char *what)
{
	if (surely_dead && !io->dead) {
		bool told = io->config->role == FAILOVER_STANDBY || io->config->n_disks;

		io->dead = true;
		g_clear_handle_id(&io->gone_timer, g_source_remove);
		if (told)
			on_dead(io);
		else
			io->gone_timer = g_timeout_add(DISKLESS_GRACE_MS, on_dead, io);
	} else if (!io->dead && !io->gone_timer) {
		g_free(io->gone_why);
		io->gone_why = g_strdup(what);
		io->gone_timer = g_timeout_add(GONE_GRACE_MS, on_gone_timer, io);
	}
}

/* -- filters ----------------------------------------------------------------------------------------------------------------- */

static void
on_filter_data(struct fd_stream *s, GBytes *bytes, gpointer user_data)
{
	struct port_io *p = user_data;
	g_autoptr(GError) error = NULL;
	gsize size;
	const uint8_t *data = g_bytes_get_data(bytes, &size);
	GBytes *frame;

	if (!wire_splitter_input(p->splitter, data, size, &error)) {
		guard_data_failed(p->io->guard, guard_io_now(), "%s", error->message);
		fd_stream_pause(s, true);
	}
	while ((frame = wire_splitter_next(p->splitter))) {
		p->io->handled++;
		guard_frame(p->io->guard, guard_io_now(), p->port, p->nic, frame);
		g_bytes_unref(frame);
	}
	guard_io_schedule(p->io);
}

static void
on_filter_closed(struct fd_stream *s, const char *why, gpointer user_data)
{
	struct port_io *p = user_data;

	if (!p->io->leaving)
		qemu_closed(p->io, true, "a filter");
}

static const struct fd_stream_callbacks filter_callbacks = { .data = on_filter_data, .closed = on_filter_closed };

int
filters_open(struct guard_io *io, enum guard_port port, unsigned nic, GError **error)
{
	struct port_io *p = &io->ports[port][nic];
	int ours, theirs;

	if (!fd_stream_pair(&ours, &theirs, error))
		return -1;
	*p = (struct port_io){ .io = io, .port = port, .nic = nic, .splitter = wire_splitter_new(), .far_end = -1 };
	if ((port == GUARD_PORT_REL || port == GUARD_PORT_INJ) && io->config->role == FAILOVER_PRIMARY)
		p->far_end = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
	p->stream = fd_stream_new(ours, FILTER_READ, &filter_callbacks, p);
	return theirs;
}

/* -- what must not be injected now ----------------------------------------------------------------------------------------- */

static void
hold_injection(struct guard_io *io, unsigned nic, GBytes *frame)
{
	if (g_queue_get_length(&io->held_injections) >= GUARD_HELD_INJECTIONS_MAX) {
		io->frames_dropped++;
		return;
	}
	frame_queue_push(&io->held_injections, nic, frame);
}

/*
 * While the guest stands, filter-rewriter keeps TCP packets to itself, and lets them go only behind the next one (net/filter-rewriter.c, its incoming_queue): a request
 * would lie there until its client sends it again. All the rest waits in the NIC's own queue, which is read as soon as the guest runs; and it has to be there before
 * the LAN's frames get past us, or a datagram would be overtaken.
 */
static bool
kept_by_rewriter(GBytes *frame)
{
	struct packet p;

	packet_parse(&p, frame);
	return packet_is_rewritten(&p);
}

void
filters_hold_injection(struct guard_io *io, bool held)
{
	unsigned nic;
	GBytes *frame;

	io->injection_held = held;
	while (!held && (frame = frame_queue_pop(&io->held_injections, &nic))) {
		filters_env_write(io, GUARD_PORT_INJ, nic, frame);
		g_bytes_unref(frame);
	}
}

/* -- what QEMU has not read --------------------------------------------------------------------------------------------------
 *
 * A frame that is written to rel has left only when QEMU has read it, and a QEMU that is killed reads nothing for the 10 ms and more that the kernel needs to
 * free its memory. This side holds QEMU's end of that socket too, so that the kernel can be asked what is unread; and once QEMU is given up, taken out of it.
 */

#define UNREAD_LOOK 64		/* frames remembered before the kernel is asked again which of them QEMU has read */

struct sent_frame {
	uint64_t end;		/* of port_io.written */
	GBytes *bytes;
};

static void
sent_frame_free(gpointer data)
{
	struct sent_frame *f = data;

	g_bytes_unref(f->bytes);
	g_free(f);
}

static void
forget_read(struct port_io *p, uint64_t unread)
{
	uint64_t read_to = p->written - fd_stream_queued(p->stream) - unread;

	for (struct sent_frame *f; (f = g_queue_peek_head(&p->unread)) && f->end <= read_to;)
		sent_frame_free(g_queue_pop_head(&p->unread));
}

static void
remember_sent(struct port_io *p, GBytes *frame)
{
	struct sent_frame *f = g_new(struct sent_frame, 1);
	int unread;

	p->written += g_bytes_get_size(frame);
	*f = (struct sent_frame){ p->written, g_bytes_ref(frame) };
	g_queue_push_tail(&p->unread, f);
	if (p->unread.length % UNREAD_LOOK == 0 && ioctl(p->far_end, FIONREAD, &unread) == 0)
		forget_read(p, (uint64_t)unread);
}

static bool
is_unread(const struct port_io *p)
{
	int unread;

	return p->stream && (fd_stream_queued(p->stream) || (p->far_end >= 0 && ioctl(p->far_end, FIONREAD, &unread) == 0 && unread > 0));
}

bool
filters_env_unread(void *ctx, enum guard_port port)
{
	struct guard_io *io = ctx;

	for (unsigned nic = 0; nic < io->config->n_nics; nic++)
		if (is_unread(&io->ports[port][nic]))
			return true;
	return false;
}

/* Out of the socket: a QEMU that hangs and comes back must not find it. */
static void
take_back(struct port_io *p)
{
	static char sink[64 << 10];
	uint64_t unread = 0;
	ssize_t n;

	while ((n = recv(p->far_end, sink, sizeof sink, MSG_DONTWAIT)) > 0)
		unread += (uint64_t)n;
	forget_read(p, unread);
	for (struct sent_frame *f; (f = g_queue_pop_head(&p->unread));) {
		guard_frame(p->io->guard, guard_io_now(), GUARD_PORT_REL, p->nic, f->bytes);
		sent_frame_free(f);
	}
}

void
filters_env_take_back(void *ctx)
{
	struct guard_io *io = ctx;

	for (unsigned nic = 0; nic < io->config->n_nics; nic++)
		if (io->ports[GUARD_PORT_REL][nic].stream && io->ports[GUARD_PORT_REL][nic].far_end >= 0)
			take_back(&io->ports[GUARD_PORT_REL][nic]);
	taps_read(io);
}

void
filters_close_but(struct guard_io *io, enum guard_port kept)
{
	frame_queue_clear(&io->held_injections);
	for (unsigned port = 0; port < GUARD_PORT_LAST; port++)
		for (unsigned nic = 0; nic < GUARD_MAX_NICS; nic++) {
			struct port_io *p = &io->ports[port][nic];
			if (!p->stream || port == kept)
				continue;
			g_clear_pointer(&p->stream, fd_stream_free);
			g_clear_pointer(&p->splitter, wire_splitter_free);
			g_queue_clear_full(&p->unread, sent_frame_free);
			if (p->far_end >= 0)
				close(p->far_end);
		}
}

void
filters_close(struct guard_io *io)
{
	filters_close_but(io, GUARD_PORT_LAST);
}

void
filters_env_write(void *ctx, enum guard_port port, unsigned nic, GBytes *frame)
{
	struct guard_io *io = ctx;
	struct fd_stream *s = io->ports[port][nic].stream;

	if (!s || fd_stream_queued(s) > GUARD_FRAME_QUEUE_MAX) {
		io->frames_dropped++;
		return;
	}
	if (port == GUARD_PORT_INJ && io->injection_held && kept_by_rewriter(frame)) {
		hold_injection(io, nic, frame);
		return;
	}
	fd_stream_write(s, frame);
	if (port == GUARD_PORT_REL && io->ports[port][nic].far_end >= 0)
		remember_sent(&io->ports[port][nic], frame);
}

void
filters_env_drain(void *ctx)
{
	static const enum guard_port ports[] = { GUARD_PORT_MIR, GUARD_PORT_OUT, GUARD_PORT_CAP };
	struct guard_io *io = ctx;

	for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++)
		for (unsigned nic = 0; nic < io->config->n_nics; nic++)
			if (io->ports[ports[i]][nic].stream)
				fd_stream_drain(io->ports[ports[i]][nic].stream);
}

/* -- migration --------------------------------------------------------------------------------------------------------------- */

static void
on_migration_data(struct fd_stream *s, GBytes *bytes, gpointer user_data)
{
	struct guard_io *io = user_data;

	guard_migration_bytes(io->guard, guard_io_now(), bytes);
	if (io->migration)
		fd_stream_pause(io->migration, !guard_migration_reading(io->guard));
	guard_io_schedule(io);
}

static void
on_migration_closed(struct fd_stream *s, const char *why, gpointer user_data)
{
	qemu_closed(user_data, false, "the migration stream");
}

static void
on_migration_drained(struct fd_stream *s, gpointer user_data)
{
	links_pause_bulk(user_data, false);
}

static const struct fd_stream_callbacks migration_callbacks = { .data = on_migration_data, .closed = on_migration_closed, .drained = on_migration_drained };

int
migration_open(struct guard_io *io, GError **error)
{
	int ours, theirs;

	if (!fd_stream_pair(&ours, &theirs, error))
		return -1;
	io->migration = fd_stream_new(ours, MIGRATION_READ, &migration_callbacks, io);
	fd_stream_share_turns(io->migration);	/* a load is as large as a checkpoint */
	if (io->config->role == FAILOVER_PRIMARY)
		fd_stream_use_pool(io->migration, io->buffers);
	return theirs;
}

void
migration_close(struct guard_io *io)
{
	g_clear_pointer(&io->migration, fd_stream_free);
}

void
migration_env_write(void *ctx, GBytes *bytes)
{
	struct guard_io *io = ctx;

	if (!io->migration)
		return;
	fd_stream_write(io->migration, bytes);
	if (fd_stream_queued(io->migration) > MIGRATION_QUEUE_MAX)
		links_pause_bulk(io, true);
}
