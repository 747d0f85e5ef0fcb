/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection of the FT link: TCP, TLS 1.3, frames.
 *
 * Life of a link (enum link_state): resolve, connect (each address in turn), handshake, open, closed. One GSource does all of it: its fd is
 * polled for what the state needs, its ready time is the deadline of everything before OPEN, and its prepare() says "ready" when there is work
 * that no poll would report (frames queued by the owner, bytes already read from the socket).
 *
 * Sending. peer_link_send() only queues; the source sends when the loop next comes round, so that all frames of one iteration share TLS records
 * and system calls, or peer_link_flush() does for what is known to be all.
 * The queue is a list of segments: headers and small frames are packed into chunks, a large body is a segment of its own that is encrypted straight
 * from its GBytes. A record is taken from one segment when that fills it, otherwise gathered from several. GnuTLS keeps an encrypted record that the
 * socket did not take; it is finished by gnutls_record_send(NULL, 0), and until then its bytes stay in the queue's account.
 *
 * What GnuTLS has encrypted is collected (`wire`) and handed to the kernel in pieces of WIRE_BUFFER, the rest at the end of each dispatch. A record by itself would be a trip
 * through the network's layers and a wake-up of the peer, for 16 KiB.
 *
 * Receiving. One recv() fills the transport buffer, GnuTLS decrypts from there into the frame buffer (small frames) or, once the header of a large
 * frame has been checked, into that frame's own payload, which becomes the GBytes given to the owner.
 *
 * Bounds. One dispatch reads and sends at most DISPATCH_BUDGET each, and delivers for DISPATCH_US at most (a few bytes may stand for many pages), then lets the
 * other sources of the loop run: a checkpoint being received must not delay a heartbeat. Above the queue's hard limit the link closes with FTD_ERROR_LIMIT; the owner is expected to stop at the soft one (writable()).
 *
 * Every callback may close the link: whoever calls one holds a reference and looks at the state afterwards.
 *
 * A client's handshake ends before the server has judged the client's certificate (RFC 8446 section 2: the server answers the client's Certificate and
 * Finished with nothing, or with an alert), so "established" is not yet "accepted" there: a refusal arrives as an alert on the first read.
 */
#include "daemon/peer-credentials-io.h"
#include "daemon/peer-link-io.h"
#include "daemon/peer-refusal-io.h"

#include "daemon/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD 16384u			/* most plaintext in one TLS record: RFC 8446 section 5.1 */
#define SMALL_BODY 4096u		/* up to here copying is cheaper than another segment */
#define SMALL_FRAME 4096u		/* a longer frame gets its payload buffer before its bytes are read */
#define DISPATCH_BUDGET (256u * 1024)
#define DISPATCH_US 3000
#define FRAME_COST 256u			/* what a callback counts against the budget on top of the frame's bytes */
#define TRANSPORT_BUFFER (128u * 1024)
#define WIRE_BUFFER (128u * 1024)	/* encrypted bytes that the kernel has not taken; beyond it GnuTLS is told to come again */

enum link_state {
	LINK_RESOLVING,		/* no fd yet; only GResolver's callback moves it on */
	LINK_CONNECTING,	/* fd is polled for writing; on failure the next address is tried */
	LINK_HANDSHAKE,		/* session exists; frames may be queued but not sent */
	LINK_OPEN,		/* established() was called */
	LINK_CLOSED,		/* fd and source are gone; closed() was called or the owner closed: only memory is left */
};

struct segment {
	size_t offset, length;	/* unsent bytes are [offset, length) */
	GBytes *body;		/* NULL: the bytes are in chunk[] and up to RECORD of them may be appended */
	const uint8_t *data;
	uint8_t chunk[];
};

struct peer_link {
	unsigned refs;
	enum link_state state;
	struct peer_link_callbacks cb;
	gpointer user_data;
	int64_t deliver_until;	/* of this dispatch */
	bool client, paused, read_ready, write_blocked, was_high, dispatching;
	enum peer_channel channel;
	uint64_t generation, bytes_sent, bytes_received;
	struct peer_credentials *creds;
	gnutls_session_t session;
	char *host, *verify_host, *name;	/* name: how the peer is called in error texts */
	unsigned port, timeout_ms, dead_after_s;
	int priority;
	int64_t deadline, attempt_deadline;
	GError *failure;	/* found outside of a dispatch; reported by the next one */
	GError *write_error;	/* sending failed: reported when there is nothing left to read, which may say why */

	GCancellable *resolving;
	GPtrArray *addresses;	/* GSocketAddress */
	unsigned next_address;

	int fd, io_errno;
	GSource *source;
	gpointer tag;
	GIOCondition events;

	GQueue out;		/* struct segment */
	size_t queued, queue_soft, queue_hard, record;	/* record: plaintext length of the record GnuTLS still holds */
	uint8_t staging[RECORD];
	uint8_t *wire;		/* encrypted: bytes [wire_pos, wire_len) are still to be sent */
	size_t wire_pos, wire_len;

	uint8_t *transport;	/* bytes read from the socket, before decryption */
	bool dry;		/* the last recv() emptied the socket: poll() is asked before the next */
	size_t transport_pos, transport_len;
	uint8_t in[2 * RECORD];
	size_t in_len;
	struct peer_frame frame;	/* the frame whose body is being read */
	uint8_t *body;
	size_t body_got;
};

struct link_source {
	GSource source;
	struct peer_link *link;
};

static struct peer_link *
link_ref(struct peer_link *l)
{
	l->refs++;
	return l;
}

static void
segment_free(gpointer p)
{
	struct segment *s = p;

	g_clear_pointer(&s->body, g_bytes_unref);
	g_free(s);
}

static void
link_unref(struct peer_link *l)
{
	if (--l->refs)
		return;
	g_queue_clear_full(&l->out, segment_free);
	g_clear_pointer(&l->addresses, g_ptr_array_unref);
	g_clear_pointer(&l->creds, peer_credentials_unref);
	g_clear_object(&l->resolving);
	g_clear_error(&l->failure);
	g_clear_error(&l->write_error);
	g_free(l->host);
	g_free(l->verify_host);
	g_free(l->name);
	g_free(l->transport);
	g_free(l->wire);
	g_free(l->body);
	g_free(l);
}

/* ---- transport: what GnuTLS reads from and writes to ---- */

static ssize_t
transport_error(struct peer_link *l)
{
	if (errno != EAGAIN && errno != EINTR)
		l->io_errno = errno;
	gnutls_transport_set_errno(l->session, errno);
	return -1;
}

static ssize_t
transport_pull(gnutls_transport_ptr_t p, void *data, size_t length)
{
	struct peer_link *l = p;

	if (l->transport_pos == l->transport_len && l->dry) {
		errno = EAGAIN;
		return transport_error(l);
	}
	if (l->transport_pos == l->transport_len) {
		ssize_t n = recv(l->fd, l->transport, TRANSPORT_BUFFER, 0);
		if (n <= 0)
			return n < 0 ? transport_error(l) : 0;
		l->transport_pos = 0;
		l->transport_len = (size_t)n;
		l->dry = l->transport_len < TRANSPORT_BUFFER;
	}
	length = MIN(length, l->transport_len - l->transport_pos);
	memcpy(data, l->transport + l->transport_pos, length);
	l->transport_pos += length;
	return (ssize_t)length;
}

/* False: the connection is broken (errno). What the socket does not take stays. */
static bool
wire_flush(struct peer_link *l)
{
	while (l->wire_pos < l->wire_len) {
		ssize_t n = send(l->fd, l->wire + l->wire_pos, l->wire_len - l->wire_pos, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		l->wire_pos += (size_t)n;
	}
	l->wire_pos = l->wire_len = 0;
	return true;
}

static ssize_t
transport_push(gnutls_transport_ptr_t p, const giovec_t *iov, int count)
{
	struct peer_link *l = p;
	size_t taken = 0;

	for (int i = 0; i < count; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t n, left = iov[i].iov_len;

		for (; left; from += n, left -= n, taken += n) {
			if (l->wire_len == WIRE_BUFFER && !wire_flush(l))
				return transport_error(l);
			n = MIN(left, WIRE_BUFFER - l->wire_len);
			if (n == 0) {
				errno = EAGAIN;
				return taken ? (ssize_t)taken : transport_error(l);
			}
			memcpy(l->wire + l->wire_len, from, n);
			l->wire_len += n;
		}
	}
	return (ssize_t)taken;
}

/* ---- end of a link ---- */

static void
teardown(struct peer_link *l)
{
	l->state = LINK_CLOSED;
	if (l->resolving)
		g_cancellable_cancel(l->resolving);
	if (l->source) {
		g_source_destroy(l->source);
		g_clear_pointer(&l->source, g_source_unref);
		l->tag = NULL;
	}
	g_clear_pointer(&l->session, gnutls_deinit);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	g_queue_clear_full(&l->out, segment_free);
	l->queued = 0;
}

/* The one place that ends a link by itself; takes error. The caller holds a reference. */
static void
link_end(struct peer_link *l, GError *error)
{
	g_autoptr(GError) owned G_GNUC_UNUSED = error;

	if (l->state == LINK_CLOSED)
		return;
	teardown(l);
	if (l->cb.closed)
		l->cb.closed(l, error, l->user_data);
}

static void
fail_later(struct peer_link *l, GError *error)
{
	if (l->failure || l->state == LINK_CLOSED) {
		g_error_free(error);
		return;
	}
	l->failure = error;
	g_source_set_ready_time(l->source, 0);
}

static GError *
lost_error(struct peer_link *l, int code)
{
	const char *why = l->io_errno ? g_strerror(l->io_errno) : gnutls_strerror(code);

	if (code == GNUTLS_E_PREMATURE_TERMINATION && !l->io_errno)
		why = "closed without a word: its process or host died";
	return g_error_new(FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE, "connection to %s lost: %s", l->name, why);
}

/* What a fatal GnuTLS code on an open or opening link means. */
static GError *
tls_error(struct peer_link *l, int code)
{
	GError *error = peer_credentials_explain(l->creds, l->session, l->client, l->name, l->verify_host, code);

	if (error)
		return error;
	if (code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PUSH_ERROR || code == GNUTLS_E_PREMATURE_TERMINATION)
		return lost_error(l, code);
	if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "%s broke off the TLS session: %s", l->name, gnutls_alert_get_name(gnutls_alert_get(l->session)));
	return g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "TLS with %s failed: %s", l->name, gnutls_strerror(code));
}

/* ---- sending ---- */

static struct segment *
tail_chunk(struct peer_link *l, size_t room)
{
	struct segment *s = g_queue_peek_tail(&l->out);

	if (s && !s->body && s->length + room <= RECORD)
		return s;
	s = g_malloc(sizeof *s + RECORD);
	*s = (struct segment){ .data = s->chunk };
	g_queue_push_tail(&l->out, s);
	return s;
}

static void
queue_copy(struct peer_link *l, const void *data, size_t length)
{
	while (length) {
		struct segment *s = tail_chunk(l, 1);
		size_t n = MIN(length, RECORD - s->length);

		memcpy(s->chunk + s->length, data, n);
		s->length += n;
		data = (const uint8_t *)data + n;
		length -= n;
	}
}

static void
queue_body(struct peer_link *l, GBytes *body)
{
	gsize length;
	const uint8_t *data = g_bytes_get_data(body, &length);
	struct segment *s;

	if (length <= SMALL_BODY) {
		queue_copy(l, data, length);
		return;
	}
	s = g_new0(struct segment, 1);
	*s = (struct segment){ .body = g_bytes_ref(body), .data = data, .length = length };
	g_queue_push_tail(&l->out, s);
}

void
peer_link_send(struct peer_link *l, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	size_t length = head_length + (body ? g_bytes_get_size(body) : 0);
	uint8_t header[PEER_HEADER];
	uint32_t max = 0;

	g_assert(peer_type_allowed(type, l->channel, &max) && length <= max);
	if (l->state == LINK_CLOSED || l->failure || l->write_error)
		return;
	if (l->queued + sizeof header + length > l->queue_hard) {
		fail_later(l, g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "more than %zu MiB wait for %s: it does not read", l->queue_hard >> 20, l->name));
		return;
	}
	peer_header_encode(header, type, (uint32_t)length, l->generation);
	queue_copy(l, header, sizeof header);
	queue_copy(l, head, head_length);
	if (body)
		queue_body(l, body);
	l->queued += sizeof header + length;
	l->was_high |= l->queued >= l->queue_soft / 2;
}

/* The next record's plaintext: straight from the first segment if it fills a record or is alone, else gathered. */
static size_t
next_record(struct peer_link *l, const uint8_t **data)
{
	struct segment *first = g_queue_peek_head(&l->out);
	size_t n = 0;

	if (first->length - first->offset >= RECORD || l->out.length == 1) {
		*data = first->data + first->offset;
		return MIN(RECORD, first->length - first->offset);
	}
	for (GList *i = l->out.head; i && n < RECORD; i = i->next) {
		struct segment *s = i->data;
		size_t part = MIN(RECORD - n, s->length - s->offset);

		memcpy(l->staging + n, s->data + s->offset, part);
		n += part;
	}
	*data = l->staging;
	return n;
}

static void
consume(struct peer_link *l, size_t n)
{
	l->queued -= n;
	l->bytes_sent += n;
	while (n) {
		struct segment *s = g_queue_peek_head(&l->out);
		size_t part = MIN(n, s->length - s->offset);

		s->offset += part;
		n -= part;
		if (s->offset == s->length)
			segment_free(g_queue_pop_head(&l->out));
	}
}

/* 1: everything sent or the budget is used up, 0: the socket is full, < 0: GnuTLS error. */
static int
encrypt_queue(struct peer_link *l, size_t budget)
{
	size_t done = 0;

	while (l->queued && done < budget) {
		const uint8_t *data = NULL;
		size_t length = l->record ? 0 : next_record(l, &data);
		ssize_t n = gnutls_record_send(l->session, data, length);

		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
			l->record = l->record ? l->record : length;
			if (n == GNUTLS_E_AGAIN)
				return 0;
			continue;
		}
		if (n < 0)
			return (int)n;
		l->record = 0;
		consume(l, (size_t)n);
		done += (size_t)n;
	}
	return 1;
}

static int
flush_queue(struct peer_link *l, size_t budget)
{
	int code = encrypt_queue(l, budget);

	if (code >= 0 && !wire_flush(l)) {
		transport_error(l);
		return GNUTLS_E_PUSH_ERROR;
	}
	return code > 0 && l->wire_len ? 0 : code;
}

static void
tell_writable(struct peer_link *l)
{
	bool low = l->queued == 0 || (l->was_high && l->queued < l->queue_soft / 2);

	if (!low)
		return;
	l->was_high = false;
	if (l->cb.writable)
		l->cb.writable(l, l->user_data);
}

static void
send_queued(struct peer_link *l)
{
	int code;

	if (!l->queued && !l->wire_len)
		return;
	code = flush_queue(l, DISPATCH_BUDGET);
	l->write_blocked = code == 0;
	if (code >= 0) {
		tell_writable(l);
		return;
	}
	l->write_error = tls_error(l, code);
	g_queue_clear_full(&l->out, segment_free);
	l->queued = l->record = l->wire_pos = l->wire_len = 0;
	/* The peer's last frames (FAIL, an alert) may still be there to be read and say more than EPIPE does; reading ends soon then. */
	l->read_ready = true;
	if (l->paused || (l->io_errno != EPIPE && l->io_errno != ECONNRESET))
		link_end(l, g_steal_pointer(&l->write_error));
}

/* ---- receiving ---- */

static void
deliver(struct peer_link *l, struct peer_frame *frame, GBytes *payload)
{
	frame->payload = g_bytes_get_data(payload, NULL);
	l->cb.frame(l, frame, payload, l->user_data);
	g_bytes_unref(payload);
}

static bool
begin_body(struct peer_link *l, const struct peer_frame *frame, const uint8_t *have, size_t have_length)
{
	l->body = g_try_malloc(frame->length);
	if (!l->body) {
		link_end(l, g_error_new(FTD_ERROR, FTD_ERROR_LIMIT, "no memory for a frame of %u bytes from %s", frame->length, l->name));
		return false;
	}
	l->frame = *frame;
	memcpy(l->body, have, have_length);
	l->body_got = have_length;
	return true;
}

/* Takes whole frames out of in[]; stops at an incomplete one, a large one (whose body is then read in place), a pause, the end of the link, or of its time. */
static size_t
parse_frames(struct peer_link *l)
{
	size_t pos = 0, cost = 0;

	while (l->state == LINK_OPEN && !l->paused && !l->body && l->in_len - pos >= PEER_HEADER && g_get_monotonic_time() < l->deliver_until) {
		const uint8_t *payload = l->in + pos + PEER_HEADER;
		size_t have = l->in_len - pos - PEER_HEADER;
		struct peer_frame frame;
		GError *error = NULL;

		if (!peer_header_decode(l->in + pos, l->channel, &frame, &error)) {
			g_prefix_error(&error, "%s: ", l->name);
			link_end(l, error);
			break;
		}
		if (have < frame.length && frame.length > SMALL_FRAME) {
			if (begin_body(l, &frame, payload, have))
				pos = l->in_len;
			break;
		}
		if (have < frame.length)
			break;
		pos += PEER_HEADER + frame.length;
		cost += FRAME_COST;
		deliver(l, &frame, g_bytes_new(payload, frame.length));
	}
	l->in_len -= pos;
	memmove(l->in, l->in + pos, l->in_len);
	return cost;
}

static void
finish_body(struct peer_link *l)
{
	struct peer_frame frame = l->frame;

	deliver(l, &frame, g_bytes_new_take(g_steal_pointer(&l->body), frame.length));
}

/* The connection gave no more bytes: in order (code 0) or not. */
static void
end_of_input(struct peer_link *l, int code)
{
	if (l->write_error && (code == 0 || code == GNUTLS_E_PULL_ERROR || code == GNUTLS_E_PREMATURE_TERMINATION))
		link_end(l, g_steal_pointer(&l->write_error));
	else if (code < 0)
		link_end(l, tls_error(l, code));
	else if (l->body || l->in_len)
		link_end(l, g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "%s closed the connection in the middle of a frame", l->name));
	else
		link_end(l, NULL);
}

static bool
harmless(struct peer_link *l, ssize_t n)
{
	return n == GNUTLS_E_INTERRUPTED || (n < 0 && n != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)n));
}

static void
receive(struct peer_link *l)
{
	size_t done = 0;

	l->read_ready = false;
	l->deliver_until = g_get_monotonic_time() + DISPATCH_US;
	done += parse_frames(l);	/* what a pause left behind */
	while (l->state == LINK_OPEN && !l->paused) {
		uint8_t *to = l->body ? l->body + l->body_got : l->in + l->in_len;
		size_t room = l->body ? l->frame.length - l->body_got : sizeof l->in - l->in_len;
		ssize_t n;

		if (done >= DISPATCH_BUDGET || g_get_monotonic_time() >= l->deliver_until) {
			l->read_ready = true;	/* no poll would tell of bytes that are in our buffers already */
			return;
		}
		n = gnutls_record_recv(l->session, to, room);
		if (harmless(l, n))
			continue;
		if (n == GNUTLS_E_AGAIN)
			return;
		if (n <= 0) {
			end_of_input(l, (int)n);
			return;
		}
		done += (size_t)n;
		l->bytes_received += (uint64_t)n;
		if (!l->body)
			l->in_len += (size_t)n;
		else if ((l->body_got += (size_t)n) == l->frame.length)
			finish_body(l);
		done += parse_frames(l);
	}
}

/* ---- connecting ---- */

/* Probes while it is idle, TCP_USER_TIMEOUT while something is under way (tcp(7)). */
static void
set_keepalive(struct peer_link *l)
{
	int one = 1, interval = MAX((int)l->dead_after_s / 5, 1), count = 4, unanswered_ms = (int)l->dead_after_s * 1000;

	setsockopt(l->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPIDLE, &interval, sizeof interval);
	setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
	setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	setsockopt(l->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

void
peer_link_set_dead_after(struct peer_link *l, unsigned seconds)
{
	l->dead_after_s = seconds;
	if (l->fd >= 0)
		set_keepalive(l);
}

static void
start_handshake(struct peer_link *l)
{
	int one = 1;

	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (l->dead_after_s)
		set_keepalive(l);
	l->transport = g_malloc(TRANSPORT_BUFFER);
	l->wire = g_malloc(WIRE_BUFFER);
	l->session = peer_credentials_session(l->creds, l->client, l->verify_host);
	gnutls_transport_set_ptr(l->session, l);
	gnutls_transport_set_pull_function(l->session, transport_pull);
	gnutls_transport_set_vec_push_function(l->session, transport_push);
	l->state = LINK_HANDSHAKE;
}

static void
handshake(struct peer_link *l)
{
	g_autofree char *peer_name = NULL;
	int code;

	do
		code = gnutls_handshake(l->session);
	while (harmless(l, code));
	if (code < 0 && code != GNUTLS_E_AGAIN)
		peer_refusal_send_alert(l->session, code);
	if (!wire_flush(l) && (code >= 0 || code == GNUTLS_E_AGAIN)) {
		transport_error(l);
		code = GNUTLS_E_PUSH_ERROR;
	}
	if (code == GNUTLS_E_AGAIN)
		return;
	if (code < 0) {
		link_end(l, tls_error(l, code));
		return;
	}
	l->state = LINK_OPEN;
	l->read_ready = true;
	g_source_set_ready_time(l->source, -1);
	peer_name = peer_credentials_peer_name(l->session);
	if (l->cb.established)
		l->cb.established(l, peer_name, l->user_data);
}

static GIOCondition
wanted_events(const struct peer_link *l)
{
	GIOCondition none = 0;

	switch (l->state) {
	case LINK_CONNECTING:
		return G_IO_OUT;
	case LINK_HANDSHAKE:
		return l->wire_len || gnutls_record_get_direction(l->session) ? G_IO_OUT : G_IO_IN;
	case LINK_OPEN:
		return (l->paused ? none : G_IO_IN) | (l->write_blocked ? G_IO_OUT : none);
	case LINK_RESOLVING:
	case LINK_CLOSED:
		return none;
	}
	g_assert_not_reached();
}

/* poll() reports HUP and ERR even when asked for nothing: an fd that nobody wants to hear of must leave the set or the loop spins. */
static void
update_events(struct peer_link *l)
{
	GIOCondition events = l->fd >= 0 ? wanted_events(l) : 0;

	if (l->state == LINK_CLOSED)
		return;
	if (l->tag && !events) {
		g_source_remove_unix_fd(l->source, l->tag);
		l->tag = NULL;
	} else if (!l->tag && events) {
		l->tag = g_source_add_unix_fd(l->source, l->fd, events);
	} else if (l->tag && events != l->events) {
		g_source_modify_unix_fd(l->source, l->tag, events);
	}
	l->events = events;
}

static GError *
connect_error(struct peer_link *l, const char *why)
{
	return g_error_new(FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE, "cannot connect to %s: %s", l->name, why);
}

static void
set_deadline(struct peer_link *l, int64_t at)
{
	l->attempt_deadline = at;
	g_source_set_ready_time(l->source, at);
}

/* 0: connected or under way, else errno. */
static int
try_address(struct peer_link *l, GSocketAddress *address)
{
	struct sockaddr_storage native;
	gssize length = g_socket_address_get_native_size(address);
	g_autofree char *text = g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(address));

	if (length < 0 || !g_socket_address_to_native(address, &native, sizeof native, NULL))
		return EAFNOSUPPORT;
	g_free(l->name);
	l->name = g_str_has_prefix(text, l->host) ? g_strdup(text) : g_strdup_printf("%s (%s)", l->host, text);
	l->fd = socket(native.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return errno;
	if (connect(l->fd, (struct sockaddr *)&native, (socklen_t)length) == 0 || errno == EINPROGRESS) {
		l->state = LINK_CONNECTING;
		return 0;
	}
	int error = errno;
	close(l->fd);
	l->fd = -1;
	return error;
}

/* Every address gets its share of the time that is left, so that one that swallows packets does not take it all. */
static void
connect_next(struct peer_link *l, int error)
{
	while (l->next_address < l->addresses->len) {
		unsigned left = l->addresses->len - l->next_address;
		int64_t now = g_get_monotonic_time();

		error = try_address(l, l->addresses->pdata[l->next_address++]);
		if (error == 0) {
			set_deadline(l, now + MAX(l->deadline - now, 0) / left);
			update_events(l);
			return;
		}
	}
	fail_later(l, connect_error(l, error ? g_strerror(error) : "the name has no address"));
}

static void
connect_failed(struct peer_link *l, int error)
{
	if (l->tag)
		g_source_remove_unix_fd(l->source, l->tag);
	l->tag = NULL;
	close(l->fd);
	l->fd = -1;
	connect_next(l, error);
}

static void
connect_finished(struct peer_link *l)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (!(g_source_query_unix_fd(l->source, l->tag) & (G_IO_OUT | G_IO_ERR | G_IO_HUP)))
		return;
	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error) {
		connect_failed(l, error);
		return;
	}
	set_deadline(l, l->deadline);
	start_handshake(l);
	handshake(l);
}

static void
on_resolved(GObject *resolver, GAsyncResult *result, gpointer user_data)
{
	struct peer_link *l = user_data;
	g_autoptr(GError) error = NULL;
	GList *found = g_resolver_lookup_by_name_finish(G_RESOLVER(resolver), result, &error);

	if (l->state == LINK_RESOLVING && !l->failure) {
		for (GList *i = found; i; i = i->next)
			g_ptr_array_add(l->addresses, g_inet_socket_address_new(i->data, (guint16)l->port));
		if (error)
			fail_later(l, connect_error(l, error->message));
		else
			connect_next(l, 0);
	}
	g_resolver_free_addresses(found);
	link_unref(l);
}

static void
resolve(struct peer_link *l)
{
	GSocketAddress *numeric = g_inet_socket_address_new_from_string(l->host, l->port);

	l->addresses = g_ptr_array_new_with_free_func(g_object_unref);
	if (numeric) {
		g_ptr_array_add(l->addresses, numeric);
		connect_next(l, 0);
		return;
	}
	g_autoptr(GResolver) resolver = g_resolver_get_default();
	l->resolving = g_cancellable_new();
	g_resolver_lookup_by_name_async(resolver, l->host, l->resolving, on_resolved, link_ref(l));
}

/* ---- the source ---- */

static void
timed_out(struct peer_link *l)
{
	if (l->state == LINK_CONNECTING) {
		connect_failed(l, ETIMEDOUT);
		return;
	}
	if (l->state == LINK_RESOLVING)
		link_end(l, connect_error(l, "the name was not resolved in time"));
	else
		link_end(l, g_error_new(FTD_ERROR, FTD_ERROR_PEER_UNREACHABLE, "%s did not finish the TLS handshake within %u ms", l->name, l->timeout_ms));
}

static void
work(struct peer_link *l)
{
	GIOCondition ready = l->tag ? g_source_query_unix_fd(l->source, l->tag) : 0;

	l->dry = false;
	if (l->state == LINK_CONNECTING)
		connect_finished(l);
	else if (l->state == LINK_HANDSHAKE)
		handshake(l);
	if (l->state != LINK_OPEN)
		return;
	if (ready & (G_IO_OUT | G_IO_ERR | G_IO_HUP))
		l->write_blocked = false;
	if (!l->paused && (l->read_ready || ready & (G_IO_IN | G_IO_ERR | G_IO_HUP)))
		receive(l);
	/* Sending last: the owner's answers to what was just read go out at once. */
	if (l->state == LINK_OPEN && !l->write_blocked)
		send_queued(l);
}

static bool
has_work(const struct peer_link *l)
{
	if (l->failure)
		return true;
	return l->state == LINK_OPEN && (((l->queued || l->wire_len) && !l->write_blocked) || (l->read_ready && !l->paused));
}

static gboolean
link_prepare(GSource *source, gint *timeout)
{
	*timeout = -1;
	return has_work(((struct link_source *)source)->link);
}

static gboolean
link_check(GSource *source)
{
	struct peer_link *l = ((struct link_source *)source)->link;

	return has_work(l) || (l->tag && g_source_query_unix_fd(source, l->tag));
}

static gboolean
link_dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
	struct peer_link *l = ((struct link_source *)source)->link;

	if (l->dispatching)
		return G_SOURCE_CONTINUE;
	link_ref(l);
	l->dispatching = true;
	if (l->failure)
		link_end(l, g_steal_pointer(&l->failure));
	else if (l->state < LINK_OPEN && g_source_get_time(source) >= l->attempt_deadline)
		timed_out(l);
	else
		work(l);
	l->dispatching = false;
	update_events(l);
	link_unref(l);
	return G_SOURCE_CONTINUE;
}

void
peer_link_flush(struct peer_link *l)
{
	if (l->dispatching || l->failure || l->state != LINK_OPEN || l->write_blocked || !(l->queued || l->wire_len))
		return;
	link_ref(l);
	l->dispatching = true;
	send_queued(l);
	l->dispatching = false;
	update_events(l);
	link_unref(l);
}

static GSourceFuncs link_source_funcs = { .prepare = link_prepare, .check = link_check, .dispatch = link_dispatch };

static struct peer_link *
link_new(struct peer_credentials *creds, unsigned timeout_ms, const struct peer_link_callbacks *cb, gpointer user_data)
{
	struct peer_link *l = g_new0(struct peer_link, 1);

	l->refs = 1;
	l->fd = -1;
	l->creds = peer_credentials_ref(creds);
	l->cb = *cb;
	l->user_data = user_data;
	l->timeout_ms = timeout_ms;
	l->queue_soft = PEER_LINK_QUEUE_SOFT;
	l->queue_hard = PEER_LINK_QUEUE_HARD;
	g_queue_init(&l->out);
	l->source = g_source_new(&link_source_funcs, sizeof(struct link_source));
	((struct link_source *)l->source)->link = l;
	g_source_set_static_name(l->source, "peer-link");
	/* Otherwise GLib takes the fd out of the poll set and back around every dispatch, with a wake-up of the loop each: 5 system calls per frame.
	 * link_dispatch() ignores the recursion that this would allow. */
	g_source_set_can_recurse(l->source, TRUE);
	l->deadline = g_get_monotonic_time() + (int64_t)timeout_ms * 1000;
	set_deadline(l, l->deadline);
	g_source_attach(l->source, g_main_context_get_thread_default());
	return l;
}

struct peer_link *
peer_link_connect(const char *host, unsigned port, const char *verify_host, enum peer_channel channel, struct peer_credentials *creds, unsigned timeout_ms,
		  const struct peer_link_callbacks *cb, gpointer user_data)
{
	struct peer_link *l = link_new(creds, timeout_ms, cb, user_data);

	l->client = true;
	l->channel = channel;
	l->host = g_strdup(host);
	l->verify_host = g_strdup(verify_host ? verify_host : host);
	l->port = port;
	l->name = g_strdup_printf("%s port %u", host, port);
	resolve(l);
	return l;
}

struct peer_link *
peer_link_accept(int fd, struct peer_credentials *creds, unsigned handshake_timeout_ms, const struct peer_link_callbacks *cb, gpointer user_data)
{
	struct peer_link *l = link_new(creds, handshake_timeout_ms, cb, user_data);
	struct sockaddr_storage from;
	socklen_t length = sizeof from;

	g_unix_set_fd_nonblocking(fd, TRUE, NULL);
	l->fd = fd;
	l->name = getpeername(fd, (struct sockaddr *)&from, &length) == 0 ? peer_address_text((struct sockaddr *)&from, length) : g_strdup("the peer");
	start_handshake(l);
	update_events(l);
	return l;
}

void
peer_link_set_callbacks(struct peer_link *l, const struct peer_link_callbacks *cb, gpointer user_data)
{
	l->cb = *cb;
	l->user_data = user_data;
}

void
peer_link_set_channel(struct peer_link *l, enum peer_channel channel)
{
	l->channel = channel;
}

void
peer_link_set_priority(struct peer_link *l, int glib_priority)
{
	if (l->source)
		g_source_set_priority(l->source, glib_priority);
}

void
peer_link_set_generation(struct peer_link *l, uint64_t generation)
{
	l->generation = generation;
}

void
peer_link_set_queue_limit(struct peer_link *l, size_t soft, size_t hard)
{
	l->queue_soft = soft;
	l->queue_hard = hard;
}

size_t
peer_link_queued(const struct peer_link *l)
{
	return l->queued + (l->wire_len - l->wire_pos);
}

uint64_t
peer_link_bytes_sent(const struct peer_link *l)
{
	return l->bytes_sent;
}

uint64_t
peer_link_bytes_received(const struct peer_link *l)
{
	return l->bytes_received;
}

const char *
peer_link_name(const struct peer_link *l)
{
	return l->name;
}

void
peer_link_pause_reading(struct peer_link *l, bool paused)
{
	if (l->paused == paused)
		return;
	l->paused = paused;
	l->read_ready = true;
	update_events(l);
}

/* close() of a socket with unread bytes sends RST and throws away what the kernel has not sent yet (RFC 2525 section 2.17): empty it first. */
static void
drain(int fd)
{
	char scratch[4096];

	shutdown(fd, SHUT_WR);
	for (unsigned i = 0; i < 1024 && recv(fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0; i++)
		;
}

void
peer_link_close(struct peer_link *l)
{
	if (!l)
		return;
	if (l->state == LINK_OPEN && !l->failure && !l->write_error && flush_queue(l, SIZE_MAX) == 1) {
		gnutls_bye(l->session, GNUTLS_SHUT_WR);
		wire_flush(l);
		drain(l->fd);
	}
	if (l->state != LINK_CLOSED)
		teardown(l);
	link_unref(l);
}
