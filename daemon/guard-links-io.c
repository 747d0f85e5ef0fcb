/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The three connections of the FT link. The primary's guard connects and introduces itself with HELLO (pair, token, channel); the standby's guard answers
 * WELCOME when the certificate is the peer's, the pair is its own and the token is the one ftd gave to both.
 */
#include "daemon/base/error.h"
#include "daemon/base/log-io.h"
#include "daemon/guard-io.h"

#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 10000
#define FLUSH_BYTES (16 << 10)	/* longer queues are left to the links' sources, which have priorities */
#define DEAD_AFTER_S 30		/* ... and as long as the other side may take to load what it holds, and reads nothing meanwhile */
#define STRANGERS_MAX 8		/* accepted connections that have not introduced themselves; beyond it the newcomer is turned away */

static const enum peer_channel pair_channels[] = { PEER_CHANNEL_FAST, PEER_CHANNEL_BULK, PEER_CHANNEL_DISK };

static bool
all_up(const struct guard_io *io)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++)
		if (!io->links[pair_channels[i]].up)
			return false;
	return true;
}

static bool
parse_hex(const char *text, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int hi = g_ascii_xdigit_value(text[2 * i]), lo = hi < 0 ? -1 : g_ascii_xdigit_value(text[2 * i + 1]);
		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return text[2 * n] == '\0';
}

static void
hello_fill(const struct guard_io *io, enum peer_channel channel, struct peer_hello *h)
{
	g_auto(GStrv) parts = g_strsplit(io->config->pair, "-", -1);
	g_autofree char *plain = g_strjoinv("", parts);

	*h = (struct peer_hello){ .version = PEER_VERSION, .channel = channel };
	/* guard_config_decode() has checked both. */
	g_assert(parse_hex(plain, h->pair, sizeof h->pair) && parse_hex(io->config->token, h->token, sizeof h->token));
}

/* -- an introduced connection ---------------------------------------------------------------------------------------------------- */

static void
on_frame(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct link_io *l = user_data;

	l->io->handled++;
	guard_peer_frame(l->io->guard, guard_io_now(), frame, payload);
	guard_io_schedule(l->io);
	if (l->channel == PEER_CHANNEL_BULK)
		priority_take_turns();
}

static void
on_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	struct link_io *l = user_data;
	bool was_up = l->up;
	g_autoptr(GError) ended = NULL;

	l->up = false;
	if (was_up) {
		guard_peer_closed(l->io->guard, guard_io_now(), l->channel, error ? error->message : "closed by the peer");
	} else {
		if (!error)
			error = ended = g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "the guard on %s closed the connection without a WELCOME", l->io->config->peer);
		guard_op_done(l->io->guard, guard_io_now(), GUARD_OP_CONNECT, error);
	}
	guard_io_schedule(l->io);
}

static void
on_writable(struct peer_link *link, gpointer user_data)
{
	struct link_io *l = user_data;

	if (l->io->migration)
		fd_stream_pause(l->io->migration, !guard_migration_reading(l->io->guard));
}

static const struct peer_link_callbacks up_callbacks = { .frame = on_frame, .closed = on_closed, .writable = on_writable };

static void
link_is_up(struct link_io *l)
{
	l->up = true;
	peer_link_set_callbacks(l->link, &up_callbacks, l);
	if (!all_up(l->io))
		return;
	guard_peer_linked(l->io->guard, guard_io_now());
	if (l->io->config->role == FAILOVER_PRIMARY)
		guard_op_done(l->io->guard, guard_io_now(), GUARD_OP_CONNECT, NULL);
	else
		g_clear_pointer(&l->io->listener, peer_listener_free);
	guard_io_schedule(l->io);
}

/* -- connecting (primary) ---------------------------------------------------------------------------------------------------------- */

static void
on_established(struct peer_link *link, const char *peer_name, gpointer user_data)
{
	struct link_io *l = user_data;
	uint8_t hello[PEER_HELLO_LENGTH];
	struct peer_hello h;

	hello_fill(l->io, l->channel, &h);
	peer_hello_encode(hello, &h);
	peer_link_send(link, PEER_HELLO, hello, sizeof hello, NULL);
}

static void
on_welcome(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct link_io *l = user_data;

	if (frame->type == PEER_WELCOME && frame->length == 2 && frame->payload[0] == 0 && frame->payload[1] == PEER_VERSION) {
		link_is_up(l);
		return;
	}
	g_autofree char *text = frame->type == PEER_FAIL ? g_strndup((const char *)frame->payload, MIN(frame->length, 200)) : g_strdup(peer_type_name(frame->type));
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	g_autoptr(GError) error = g_error_new(FTD_ERROR, FTD_ERROR_PROTOCOL, "the guard on %s answered HELLO with: %s", l->io->config->peer, valid);
	guard_op_done(l->io->guard, guard_io_now(), GUARD_OP_CONNECT, error);
}

static void
send_packed(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	struct guard_io *io = ctx;

	if (io->links[PEER_CHANNEL_BULK].up)
		peer_link_send(io->links[PEER_CHANNEL_BULK].link, type, head, head_length, body);
	priority_take_turns();
}

/* What a peer may owe that keeps its own limits. */
static void
limit_queue(const struct guard_io *io, struct link_io *l)
{
	const struct guard_config *c = io->config;
	size_t most = l->channel == PEER_CHANNEL_BULK ? 2 * c->max_checkpoint_bytes : l->channel == PEER_CHANNEL_DISK ? 2 * c->max_disk_bytes + GUARD_DISK_IN_FLIGHT_BYTES : 0;

	peer_link_set_queue_limit(l->link, PEER_LINK_QUEUE_SOFT, MAX(PEER_LINK_QUEUE_HARD, most));
}

/* FAST has its heartbeats. One of the others may stand still while those come: a firewall drops a flow, a member of a bond is bad, large packets get lost. */
void
links_env_formed(void *ctx)
{
	struct guard_io *io = ctx;
	unsigned seconds = DEAD_AFTER_S + (unsigned)MIN(3 * io->config->max_checkpoint_bytes * GUARD_LOAD_NS_PER_BYTE / 1000000000u, 3600);

	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++)
		if (pair_channels[i] != PEER_CHANNEL_FAST && io->links[pair_channels[i]].link)
			peer_link_set_dead_after(io->links[pair_channels[i]].link, seconds);
}

static bool
may_pack(void *ctx)
{
	return !guard_checkpoint_arriving(((struct guard_io *)ctx)->guard);
}

void
links_connect(struct guard_io *io)
{
	static const struct peer_link_callbacks callbacks = { .established = on_established, .frame = on_welcome, .closed = on_closed };
	static const struct bulk_packer_callbacks packer_callbacks = { .send = send_packed, .may_work = may_pack };

	if (io->config->page_cache_bytes > 0)
		io->packer = bulk_packer_new(io->config->page_cache_bytes, &packer_callbacks, io);

	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++) {
		struct link_io *l = &io->links[pair_channels[i]];
		*l = (struct link_io){ .io = io, .channel = pair_channels[i] };
		l->link = peer_link_connect(io->config->peer_address, io->config->peer_port, io->config->peer, l->channel, io->credentials, CONNECT_TIMEOUT_MS, &callbacks, l);
		peer_link_set_generation(l->link, io->config->generation);
		limit_queue(io, l);
	}
}

/* -- accepting (standby) ------------------------------------------------------------------------------------------------------------- */

static void
stranger_free(gpointer p)
{
	struct link_io *l = p;

	if (l->link)
		peer_link_close(l->link);
	g_free(l);
}

/* In constant time: a stranger learns nothing from how long the answer takes. */
static bool
token_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < n; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static const char *
hello_fault(const struct guard_io *io, const struct peer_frame *frame, struct peer_hello *h)
{
	struct peer_hello ours;
	g_autoptr(GError) error = NULL;

	if (frame->type == PEER_HELLO && peer_hello_other_version(frame->payload, frame->length))
		return "it speaks another version of the FT link protocol: install the same version of ftd on both hosts";
	if (frame->type != PEER_HELLO || !peer_hello_decode(frame->payload, frame->length, h, &error))
		return "it did not say HELLO";
	hello_fill(io, h->channel, &ours);
	if (memcmp(h->pair, ours.pair, sizeof ours.pair) != 0)
		return "it is of another pair";
	if (!token_equal(h->token, ours.token, sizeof ours.token))
		return "it does not know the pair's token";
	if (h->channel == PEER_CHANNEL_CONTROL || io->links[h->channel].link)
		return "this channel is taken";
	return NULL;
}

static void
on_hello(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data)
{
	struct link_io *stranger = user_data;
	struct guard_io *io = stranger->io;
	struct peer_hello h;
	const char *fault = hello_fault(io, frame, &h);

	if (fault) {
		log_warn("link", "a connection was turned away: %s", fault);
		peer_link_send(link, PEER_FAIL, fault, strlen(fault), NULL);
		g_ptr_array_remove(io->strangers, stranger);
		return;
	}
	struct link_io *l = &io->links[h.channel];
	*l = (struct link_io){ .io = io, .channel = h.channel, .link = g_steal_pointer(&stranger->link) };
	g_ptr_array_remove(io->strangers, stranger);
	peer_link_set_channel(l->link, l->channel);
	peer_link_set_generation(l->link, io->config->generation);
	limit_queue(io, l);
	peer_link_send(l->link, PEER_WELCOME, (uint8_t[]){ 0, PEER_VERSION }, 2, NULL);
	link_is_up(l);
}

static void
on_stranger_established(struct peer_link *link, const char *peer_name, gpointer user_data)
{
	struct link_io *l = user_data;

	if (g_strcmp0(peer_name, l->io->config->peer) == 0)
		return;
	log_warn("link", "a connection with the certificate of %s was turned away: the pair's other host is %s", peer_name, l->io->config->peer);
	g_ptr_array_remove(l->io->strangers, l);
}

static void
on_stranger_closed(struct peer_link *link, const GError *error, gpointer user_data)
{
	struct link_io *l = user_data;

	log_warn("link", "a connection ended before it introduced itself: %s", error ? error->message : "closed");
	g_ptr_array_remove(l->io->strangers, l);
}

static void
on_accepted(int fd, const char *from, gpointer user_data)
{
	static const struct peer_link_callbacks callbacks = { .established = on_stranger_established, .frame = on_hello, .closed = on_stranger_closed };
	struct guard_io *io = user_data;
	struct link_io *l;

	if (io->strangers->len >= STRANGERS_MAX) {
		close(fd);
		return;
	}
	l = g_new0(struct link_io, 1);
	l->io = io;
	l->link = peer_link_accept(fd, io->credentials, CONNECT_TIMEOUT_MS, &callbacks, l);
	g_ptr_array_add(io->strangers, l);
}

bool
links_listen(struct guard_io *io, GError **error)
{
	io->listener = peer_listener_new(io->config->listen_address, 0, on_accepted, io, error);
	return io->listener != NULL;
}

/* -- sending --------------------------------------------------------------------------------------------------------------------------- */

static enum peer_channel
channel_of(enum peer_type type)
{
	uint32_t limit;

	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++)
		if (type != PEER_HELLO && type != PEER_WELCOME && peer_type_allowed(type, pair_channels[i], &limit))
			return pair_channels[i];
	g_assert_not_reached();
}

static void
send_on(struct guard_io *io, enum peer_channel channel, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	struct link_io *l = &io->links[channel];

	if (l->up && l->channel == PEER_CHANNEL_BULK && io->packer)
		bulk_packer_put(io->packer, type, head, head_length, body);
	else if (l->up)
		peer_link_send(l->link, type, head, head_length, body);
}

/*
 * What is lost on the way holds back all that follows on its connection: for 200 ms, TCP's shortest time-out, if what is sent in its place is lost too. That is longer
 * than a peer is silent before it is suspected. So signs of life go over two connections.
 */
void
links_env_send(void *ctx, enum peer_type type, const void *head, size_t head_length, GBytes *body)
{
	send_on(ctx, channel_of(type), type, head, head_length, body);
	if (type == PEER_HEARTBEAT)
		send_on(ctx, PEER_CHANNEL_DISK, type, head, head_length, body);
}

size_t
links_env_queued(void *ctx, enum peer_channel channel)
{
	struct guard_io *io = ctx;
	size_t waits = channel == PEER_CHANNEL_BULK && io->packer ? bulk_packer_queued(io->packer) : 0;

	return io->links[channel].up ? waits + peer_link_queued(io->links[channel].link) : 0;
}

void
links_env_generation(void *ctx, uint64_t generation)
{
	struct guard_io *io = ctx;

	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++)
		if (io->links[pair_channels[i]].link)
			peer_link_set_generation(io->links[pair_channels[i]].link, generation);
}

/*
 * For what the timer has queued, heartbeats for the most part. The links' sources would send it in another turn of the main loop, and an idle guard's turns are what it
 * costs. What comes of a frame is left to them: in the turn that is made for it more frames come in, and go out with it.
 */
void
links_flush(struct guard_io *io)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(pair_channels); i++) {
		const struct link_io *l = &io->links[pair_channels[i]];

		if (l->up && peer_link_queued(l->link) <= FLUSH_BYTES)
			peer_link_flush(l->link);
	}
}

void
links_pause_bulk(struct guard_io *io, bool paused)
{
	if (io->links[PEER_CHANNEL_BULK].up)
		peer_link_pause_reading(io->links[PEER_CHANNEL_BULK].link, paused);
}

bool
links_init(struct guard_io *io, GError **error)
{
	io->strangers = g_ptr_array_new_with_free_func(stranger_free);
	io->credentials = peer_credentials_load(io->config->pki, error);
	return io->credentials != NULL;
}

void
links_close(struct guard_io *io)
{
	g_clear_pointer(&io->packer, bulk_packer_free);
	for (unsigned i = 0; i < PEER_CHANNEL_LAST; i++) {
		io->links[i].up = false;
		g_clear_pointer(&io->links[i].link, peer_link_close);
	}
	g_clear_pointer(&io->listener, peer_listener_free);
	g_clear_pointer(&io->strangers, g_ptr_array_unref);
	g_clear_pointer(&io->credentials, peer_credentials_unref);
}
