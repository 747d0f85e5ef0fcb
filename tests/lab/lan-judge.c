/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lab/lan-judge.h"

#include <string.h>

#define SAID_MAX (1u << 20)		/* frames that are not TCP; beyond it the oldest knowledge goes, all at once */
#define CONNECTIONS_MAX 4096
#define HISTORY (1u << 20)		/* bytes of a connection that are still compared */
#define REBUILT_NS (2 * 1000000000ull)	/* a pair takes longer to be made anew; two that speak at once are never both silent for as long */

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct segment {
	uint8_t key[1 + 32 + 4];	/* IP version, both addresses, both ports */
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *payload;
	size_t length;
};

struct connection {
	uint8_t key[sizeof((struct segment *)NULL)->key];
	uint32_t isn;
	bool has_isn, any, fin, rst, acked;
	uint32_t end;			/* the next sequence number never said */
	uint32_t start;			/* of what is compared: at least HISTORY before end */
	uint32_t ack;
	uint8_t *ring;			/* HISTORY bytes, by sequence number */
};

static uint32_t
be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint16_t
be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static int32_t
distance(uint32_t from, uint32_t to)
{
	return (int32_t)(to - from);
}

static guint
connection_hash(gconstpointer key)
{
	guint h = 5381;

	for (size_t i = 0; i < sizeof((struct segment *)NULL)->key; i++)
		h = h * 33 + ((const uint8_t *)key)[i];
	return h;
}

static gboolean
connection_equal(gconstpointer a, gconstpointer b)
{
	return memcmp(a, b, sizeof((struct segment *)NULL)->key) == 0;
}

static void
connection_free(gpointer p)
{
	g_free(((struct connection *)p)->ring);
	g_free(p);
}

void
lan_judge_init(struct lan_judge *j)
{
	memset(j, 0, sizeof *j);
	j->speaker = -1;
	j->connections = g_hash_table_new_full(connection_hash, connection_equal, NULL, connection_free);
	j->said = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

void
lan_judge_clear(struct lan_judge *j)
{
	g_hash_table_unref(j->connections);
	g_hash_table_unref(j->said);
}

void
lan_judge_mark(struct lan_judge *j)
{
	for (unsigned i = 0; i < LAN_JUDGE_PORTS; i++)
		j->ports[i].frames = j->ports[i].late = j->ports[i].first_ns = j->ports[i].last_ns = 0;
}

/* -- reading a frame ------------------------------------------------------------------------------------------------------------ */

/* The IP header of an untagged frame; *version 0: there is none. */
static const uint8_t *
ip_header(const uint8_t *frame, size_t length, unsigned *version, size_t *left)
{
	*version = 0;
	if (length < 14)
		return NULL;
	*left = length - 14;
	if (be16(frame + 12) == 0x0800 && *left >= 20 && frame[14] >> 4 == 4)
		*version = 4;
	if (be16(frame + 12) == 0x86dd && *left >= 40 && frame[14] >> 4 == 6)
		*version = 6;
	return frame + 14;
}

static bool
tcp_header(const uint8_t *tcp, size_t length, struct segment *s)
{
	size_t head;

	if (length < 20 || (head = (size_t)(tcp[12] >> 4) * 4) < 20 || head > length)
		return false;
	memcpy(s->key + 33, tcp, 4);
	s->seq = be32(tcp + 4);
	s->ack = be32(tcp + 8);
	s->flags = tcp[13];
	s->payload = tcp + head;
	s->length = length - head;
	return true;
}

/* Fragments and IPv6 extension headers are not TCP here: their frames are compared whole. */
static bool
read_segment(const uint8_t *frame, size_t length, struct segment *s)
{
	unsigned version;
	size_t left, head, total;
	const uint8_t *ip = ip_header(frame, length, &version, &left);

	memset(s, 0, sizeof *s);
	s->key[0] = (uint8_t)version;
	if (version == 4) {
		head = (size_t)(ip[0] & 15) * 4;
		total = be16(ip + 2);
		if (ip[9] != 6 || (be16(ip + 6) & 0x3fff) || head < 20 || total < head || total > left)
			return false;
		memcpy(s->key + 1, ip + 12, 8);
		return tcp_header(ip + head, total - head, s);
	}
	if (version == 6) {
		total = be16(ip + 4);
		if (ip[6] != 6 || total > left - 40)
			return false;
		memcpy(s->key + 1, ip + 8, 32);
		return tcp_header(ip + 40, total, s);
	}
	return false;
}

/* FNV-1a over the frame, without what a sender or a copy may choose freely. */
static uint64_t
frame_hash(const uint8_t *frame, size_t length)
{
	uint64_t h = 0xcbf29ce484222325;
	bool v4 = length >= 34 && be16(frame + 12) == 0x0800;

	for (size_t i = 0; i < length; i++) {
		bool free_field = v4 && (i == 18 || i == 19 || i == 22 || i == 24 || i == 25);
		h = (h ^ (free_field ? 0 : frame[i])) * 0x100000001b3;
	}
	return h;
}

/* -- judging -------------------------------------------------------------------------------------------------------------------- */

static void
contradiction(struct lan_judge *j, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
contradiction(struct lan_judge *j, const char *format, ...)
{
	va_list args;

	if (j->two_active)
		return;
	j->two_active = true;
	va_start(args, format);
	g_vsnprintf(j->why, sizeof j->why, format, args);
	va_end(args);
}

static struct connection *
connection_of(struct lan_judge *j, const struct segment *s)
{
	struct connection *c = g_hash_table_lookup(j->connections, s->key);

	if (c && (s->flags & SYN) && (!c->has_isn || c->isn != s->seq)) {
		g_hash_table_remove(j->connections, s->key);	/* the ports were used again */
		c = NULL;
	}
	if (c)
		return c;
	if (g_hash_table_size(j->connections) >= CONNECTIONS_MAX)
		g_hash_table_remove_all(j->connections);
	c = g_new0(struct connection, 1);
	memcpy(c->key, s->key, sizeof c->key);
	c->ring = g_malloc(HISTORY);
	g_hash_table_insert(j->connections, c->key, c);
	return c;
}

/* Compares what was said before, keeps what was not. True: some of it is new. */
static bool
say_bytes(struct lan_judge *j, unsigned port, struct connection *c, uint32_t seq, const uint8_t *data, size_t length)
{
	bool new = false;

	for (size_t i = 0; i < length; i++) {
		uint32_t at = seq + (uint32_t)i;
		uint8_t *kept = &c->ring[at % HISTORY];

		if (!c->any) {
			c->any = true;
			c->start = c->end = at;
		}
		if (distance(c->end, at) >= 0) {
			if (at != c->end)
				c->start = at;		/* a hole: nothing before it can be compared */
			*kept = data[i];
			c->end = at + 1;
			if (distance(c->start, c->end) > (int32_t)HISTORY)
				c->start = c->end - HISTORY;
			new = true;
		} else if (distance(c->start, at) >= 0 && *kept != data[i]) {
			contradiction(j, "port %u: TCP port %u, sequence number %u: byte 0x%02x, and 0x%02x before", port, be16(c->key + 33), at, data[i], *kept);
		}
	}
	return new;
}

static bool
once(bool *said, bool now)
{
	bool new = now && !*said;

	*said |= now;
	return new;
}

static bool
say_segment(struct lan_judge *j, unsigned port, const struct segment *s)
{
	struct connection *c = connection_of(j, s);
	bool new = once(&c->has_isn, (s->flags & SYN) != 0);

	if (s->flags & SYN)
		c->isn = s->seq;
	new |= say_bytes(j, port, c, s->seq + ((s->flags & SYN) != 0), s->payload, s->length);
	new |= once(&c->fin, (s->flags & FIN) != 0);
	new |= once(&c->rst, (s->flags & RST) != 0);
	if ((s->flags & ACK) && (!c->acked || distance(c->ack, s->ack) > 0)) {
		c->acked = true;
		c->ack = s->ack;
		new = true;
	}
	return new;
}

static bool
say_frame(struct lan_judge *j, const uint8_t *frame, size_t length)
{
	uint64_t hash = frame_hash(frame, length);

	if (g_hash_table_size(j->said) >= SAID_MAX)
		g_hash_table_remove_all(j->said);
	return g_hash_table_add(j->said, g_memdup2(&hash, sizeof hash));
}

/* Port says something new at now, ns. */
static void
spoke(struct lan_judge *j, unsigned port, uint64_t now, const uint8_t *frame, size_t length)
{
	struct lan_port *p = &j->ports[port];

	if (p->succeeded && now < p->spoke_ns + REBUILT_NS) {
		contradiction(j, "port %u said something new (type 0x%04x, %zu bytes) after port %d had succeeded it", port, be16(frame + 12), length, j->speaker);
		return;
	}
	p->succeeded = false;
	p->spoke_ns = now;
	if (j->speaker >= 0 && j->speaker != (int)port) {
		j->ports[j->speaker].succeeded = true;
		j->handovers++;
	}
	j->speaker = (int)port;
}

void
lan_judge_frame(struct lan_judge *j, unsigned port, uint64_t now, const uint8_t *frame, size_t length)
{
	struct lan_port *p = &j->ports[port];
	struct segment s;
	bool new;

	g_assert(port < LAN_JUDGE_PORTS);
	if (length < 14)
		return;
	if (p->frames++ == 0)
		p->first_ns = now;
	p->last_ns = now;
	new = read_segment(frame, length, &s) ? say_segment(j, port, &s) : say_frame(j, frame, length);
	if (new)
		spoke(j, port, now, frame, length);
	else
		p->late += p->succeeded;
}
