/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lab's clients: lab-client echo|ledger|http|open|udp|wait [OPTION...]
 *
 * One TCP connection, one request at a time, the next one at the next tick after the answer. What counts is what a user of the
 * guest would notice: connections that break, answers that are wrong, acknowledged data that is gone, and the longest silence.
 * A connection counts as reset on RST, EOF and 30 s without an answer; the client then connects anew and goes on with the next request.
 * "open" has a connection of its own for each request, and several at once: handshakes and ends of connections are what it is about.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

#define MS 1000000LL
#define SECOND (1000 * MS)
#define ANSWER_TIMEOUT (30 * SECOND)

static volatile sig_atomic_t stopped, marked;

struct options {
	const char *guest;
	const char *path;	/* http */
	double duration;
	long interval_ms;	/* -1: the kind's own */
	int connections;	/* open: at once */
	bool json;
	bool progress;
	bool any_answer;	/* wait: a refusal will do */
	bool append;		/* ledger: do not empty it first, go on after its last number */
};

struct client;

struct kind {
	const char *name;
	int port;
	long interval_ms;
	size_t (*request)(struct client *c, char *out, size_t size);	/* request number c->requests */
	ssize_t (*answer)(struct client *c);	/* bytes of one whole, checked answer in c->in; 0: not yet whole */
};

struct client {
	const struct options *opt;
	const struct kind *kind;
	int fd;			/* or -1 */
	char *in;		/* what was received of the answer */
	size_t in_len, in_size;
	uint64_t base;		/* ledger, --append: the last number that others wrote */
	uint64_t requests;	/* the number of the last one; base + how many */
	uint64_t answered, resets, wrong;
	int64_t start, last_answer, gap;
	uint32_t *latency_us;	/* one per answer */
	uint8_t *acknowledged;	/* ledger: per number; indexed like requests */
	size_t latency_size, acknowledged_size;
};

static void
on_signal(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

/* SIGUSR1: the longest silence, and datagrams, are counted from here on. */
static void
on_mark(int signal_number)
{
	(void)signal_number;
	marked = 1;
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("lab-client: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(2);
}

/* Room for element `n` of a growing array; new elements are 0. */
static void *
grow(void *array, size_t *size, size_t n, size_t element)
{
	size_t want = *size ? *size : 4096;

	while (want <= n)
		want *= 2;
	if (want == *size)
		return array;
	array = realloc(array, want * element);
	if (!array)
		die("out of memory");
	memset((char *)array + *size * element, 0, (want - *size) * element);
	*size = want;
	return array;
}

static void
sleep_until(int64_t when)
{
	struct timespec ts = { .tv_sec = when / SECOND, .tv_nsec = when % SECOND };

	while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* True when fd is ready before `deadline`; false then or when told to stop. */
static bool
wait_fd(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	while (!stopped) {
		int64_t left = deadline - now_ns();
		struct timespec ts = { .tv_sec = left / SECOND, .tv_nsec = left % SECOND };

		if (left <= 0)
			return false;
		if (ppoll(&p, 1, &ts, NULL) > 0)
			return true;
	}
	return false;
}

static socklen_t
guest_address(const char *guest, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, guest, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, guest, &v6->sin6_addr) != 1)
		die("--guest: '%s' is not an IP address", guest);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return sizeof(*v6);
}

/* A connected non-blocking socket, or -1 with errno. */
static int
dial(const char *guest, int port, int64_t timeout)
{
	struct sockaddr_storage addr;
	socklen_t len = guest_address(guest, port, &addr);
	int one = 1, error = 0, fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t error_len = sizeof(error);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&addr, len) && errno != EINPROGRESS)
		error = errno;
	else if (!wait_fd(fd, POLLOUT, now_ns() + timeout))
		error = stopped ? EINTR : ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
	if (!error)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

static bool
send_all(int fd, const char *data, size_t len, int64_t deadline)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n > 0) {
			data += n;
			len -= n;
		} else if (errno != EAGAIN || !wait_fd(fd, POLLOUT, deadline)) {
			return false;
		}
	}
	return true;
}

/* Appends what there is to c->in; false on RST, EOF, deadline, stop. */
static bool
receive_some(struct client *c, int64_t deadline)
{
	ssize_t n;

	c->in = grow(c->in, &c->in_size, c->in_len + 65536, 1);
	if (!wait_fd(c->fd, POLLIN, deadline))
		return false;
	n = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, 0);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	c->in_len += n;
	return true;
}

/* -- echo: 16 bytes, among them the request's number -- */

static size_t
echo_request(struct client *c, char *out, size_t size)
{
	return snprintf(out, size, "echo%011" PRIu64 "\n", c->requests);
}

static ssize_t
echo_answer(struct client *c)
{
	char want[32];
	size_t n = echo_request(c, want, sizeof(want));

	if (c->in_len < n)
		return 0;
	c->wrong += memcmp(c->in, want, n) != 0;
	return n;
}

/* -- ledger -- */

static size_t
ledger_request(struct client *c, char *out, size_t size)
{
	return snprintf(out, size, "ADD %" PRIu64 "\n", c->requests);
}

static ssize_t
ledger_answer(struct client *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	char want[40];
	int n = snprintf(want, sizeof(want), "OK %" PRIu64 "\n", c->requests);

	if (!end)
		return 0;
	if (end + 1 - c->in == n && !memcmp(c->in, want, n)) {
		c->acknowledged = grow(c->acknowledged, &c->acknowledged_size, c->requests, 1);
		c->acknowledged[c->requests] = 1;
	} else {
		c->wrong++;
	}
	return end + 1 - c->in;
}

/* -- http -- */

static size_t
http_request(struct client *c, char *out, size_t size)
{
	return snprintf(out, size, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", c->opt->path, c->opt->guest);
}

static ssize_t
http_answer(struct client *c)
{
	char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4), *field;
	size_t head, body;

	if (!end)
		return 0;
	head = end + 4 - c->in;
	field = memmem(c->in, head, "Content-Length: ", 16);
	body = field ? strtoul(field + 16, NULL, 10) : 0;
	if (c->in_len < head + body)
		return 0;
	for (size_t i = 0; i < body; i++) {
		if ((unsigned char)c->in[head + i] != pattern_byte(i)) {
			c->wrong++;
			return head + body;
		}
	}
	c->wrong += memcmp(c->in, "HTTP/1.1 200 ", 13) != 0;
	return head + body;
}

static const struct kind kinds[] = {
	{ "echo", PORT_ECHO, 10, echo_request, echo_answer },
	{ "ledger", PORT_LEDGER, 5, ledger_request, ledger_answer },
	{ "http", PORT_HTTP, 10, http_request, http_answer },
	{ "open", PORT_ECHO, 10, echo_request, echo_answer },
};

/* -- the common loop -- */

static void
client_disconnect(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->in_len = 0;
}

static void
client_note_answer(struct client *c, int64_t sent)
{
	int64_t now = now_ns();

	if (marked)
		c->gap = marked = 0;
	if (now - c->last_answer > c->gap)
		c->gap = now - c->last_answer;
	c->last_answer = now;
	c->latency_us = grow(c->latency_us, &c->latency_size, c->answered, sizeof(*c->latency_us));
	c->latency_us[c->answered++] = (now - sent) / 1000;
}

/* One request and its answer. False: the connection is no more. */
static bool
client_exchange(struct client *c)
{
	char request[256];
	int64_t sent = now_ns(), deadline = sent + ANSWER_TIMEOUT;
	size_t len = c->kind->request(c, request, sizeof(request));
	ssize_t used;

	if (!send_all(c->fd, request, len, deadline))
		return false;
	while ((used = c->kind->answer(c)) == 0) {
		if (!receive_some(c, deadline))
			return false;
	}
	c->in_len -= used;
	memmove(c->in, c->in + used, c->in_len);
	client_note_answer(c, sent);
	return true;
}

static void
client_connect(struct client *c, int64_t end)
{
	while (!stopped && now_ns() < end) {
		c->fd = dial(c->opt->guest, c->kind->port, 2 * SECOND);
		if (c->fd >= 0)
			return;
		sleep_until(now_ns() + 50 * MS);
	}
}

static void
client_progress(const struct client *c, int64_t now, int64_t *next)
{
	if (!c->opt->progress || now < *next)
		return;
	fprintf(stderr, "%4" PRId64 " s: %" PRIu64 " answered, %" PRIu64 " resets, longest gap %.1f ms\n",
		(int64_t)((now - c->start) / SECOND), c->answered, c->resets, c->gap / 1e6);
	*next = now + SECOND;
}

/* Runs until `end`, and beyond it until the request under way is answered or given up: a gap at the end counts too. */
static void
client_run(struct client *c, int64_t end, int64_t interval)
{
	int64_t tick = now_ns(), next_progress = tick + SECOND;
	bool open = false;

	c->start = c->last_answer = tick;
	while (!stopped && tick < end) {
		if (c->fd < 0)
			client_connect(c, end);
		if (c->fd < 0)
			break;
		c->requests++;
		open = !client_exchange(c);
		if (open && !stopped) {
			c->resets++;
			client_disconnect(c);
		}
		client_progress(c, now_ns(), &next_progress);
		if (interval > 0)
			tick += interval * ((now_ns() - tick) / interval + 1);
		else
			tick = now_ns();
		sleep_until(tick < end ? tick : end);
	}
	if (open && now_ns() - c->last_answer > c->gap)
		c->gap = now_ns() - c->last_answer;
}

/* -- what the ledger says in the end -- */

struct verdict {
	int disks;
	uint64_t lost, doubled, out_of_order, foreign;
};

static void
verdict_add_dump(struct verdict *v, const struct client *c, const char *text, const char *end)
{
	uint8_t *seen = calloc(c->requests + 1, 1);
	uint64_t last = 0;

	while (text < end) {
		char *stop;
		uint64_t n = strtoull(text, &stop, 10);

		if (*stop != '\n' || n == 0 || n > c->requests) {
			v->foreign++;
			text = memchr(text, '\n', end - text);
			text = text ? text + 1 : end;
			continue;
		}
		text = stop + 1;
		if (n <= c->base)
			continue;
		v->doubled += seen[n];
		v->out_of_order += n < last;
		seen[n] = 1;
		last = n;
	}
	for (uint64_t n = c->base + 1; n <= c->requests && n < c->acknowledged_size; n++)
		v->lost += c->acknowledged[n] && !seen[n];
	v->disks++;
	free(seen);
}

/* One command on a fresh connection; the answer is in c->in up to and with the line `last`. False: there was none. */
static bool
ledger_command(struct client *c, const char *command, const char *last)
{
	size_t n = strlen(last);
	int64_t deadline = now_ns() + ANSWER_TIMEOUT;

	client_disconnect(c);
	client_connect(c, deadline);
	if (c->fd < 0 || !send_all(c->fd, command, strlen(command), deadline))
		return false;
	while (receive_some(c, deadline)) {
		if (c->in_len >= n && !memcmp(c->in + c->in_len - n, last, n))
			return true;
		if (c->in_len >= 4 && !memcmp(c->in, "ERR ", 4))
			return false;
	}
	return false;
}

/* Empties the ledger, or finds where to go on. */
static bool
ledger_start(struct client *c)
{
	if (!c->opt->append)
		return ledger_command(c, "RESET\n", "OK\n");
	if (!ledger_command(c, "DUMP\n", "END\n"))
		return false;
	for (char *line = c->in, *end = c->in + c->in_len; line < end; line = (char *)memchr(line, '\n', end - line) + 1) {
		uint64_t n = strtoull(line, NULL, 10);

		c->base = n > c->base ? n : c->base;
	}
	c->requests = c->base;
	return true;
}

static bool
ledger_verify(struct client *c, struct verdict *v)
{
	stopped = 0;	/* an early end is verified as well */
	if (!ledger_command(c, "DUMP\n", "END\n"))
		return false;
	verdict_add_dump(v, c, c->in, c->in + c->in_len - 4);
	if (ledger_command(c, "DUMP2\n", "END\n"))
		verdict_add_dump(v, c, c->in, c->in + c->in_len - 4);
	return true;
}

/* -- the report -- */

static int
compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double
latency_ms(const struct client *c, double quantile)
{
	return c->answered ? c->latency_us[(size_t)(quantile * (c->answered - 1))] / 1e3 : 0;
}

static void
report_number(const struct options *opt, const char *name, double value, const char *format)
{
	printf(opt->json ? ",\"%s\":" : "%-20s ", name);
	printf(format, value);
	if (!opt->json)
		putchar('\n');
}

static void
report_counts(const struct client *c, const struct verdict *v)
{
	const struct options *o = c->opt;

	report_number(o, "requests", c->requests - c->base, "%.0f");
	if (c->kind->port == PORT_LEDGER) {
		report_number(o, "acknowledged", c->answered - c->wrong, "%.0f");
		report_number(o, "disks", v->disks, "%.0f");
		report_number(o, "lost", v->lost, "%.0f");
		report_number(o, "out_of_order", v->out_of_order, "%.0f");
		report_number(o, "doubled", v->doubled, "%.0f");
		report_number(o, "foreign", v->foreign, "%.0f");
	} else {
		report_number(o, "answered", c->answered, "%.0f");
	}
	report_number(o, "wrong", c->wrong, "%.0f");
}

static void
report(struct client *c, const struct verdict *v)
{
	const struct options *o = c->opt;

	if (c->answered)
		qsort(c->latency_us, c->answered, sizeof(*c->latency_us), compare_u32);
	printf(o->json ? "{\"kind\":\"%s\"" : "%s\n", c->kind->name);
	report_counts(c, v);
	report_number(o, "connections_reset", c->resets, "%.0f");
	report_number(o, "gap_ms", c->gap / 1e6, "%.1f");
	report_number(o, "latency_p50_ms", latency_ms(c, 0.5), "%.2f");
	report_number(o, "latency_p99_ms", latency_ms(c, 0.99), "%.2f");
	report_number(o, "latency_max_ms", latency_ms(c, 1), "%.2f");
	if (o->json)
		puts("}");
}

static int
run_kind(const struct options *opt, const struct kind *kind)
{
	struct client c = { .opt = opt, .kind = kind, .fd = -1 };
	struct verdict v = { 0 };
	long interval = opt->interval_ms >= 0 ? opt->interval_ms : kind->interval_ms;
	bool ledger = kind->port == PORT_LEDGER, verified = true;

	if (ledger && !ledger_start(&c))
		die("the guest's ledger at %s does not answer", opt->guest);
	client_disconnect(&c);
	c.fd = dial(opt->guest, kind->port, 5 * SECOND);
	if (c.fd < 0)
		die("cannot connect to %s port %d: %s (is the guest up? lab status)", opt->guest, kind->port, strerror(errno));
	client_run(&c, now_ns() + (int64_t)(opt->duration * SECOND), interval * MS);
	if (ledger)
		verified = ledger_verify(&c, &v);
	report(&c, &v);
	if (!verified)
		die("the ledger could not be read back: nothing is verified");
	return c.resets || c.wrong || v.lost || v.doubled || v.out_of_order || v.foreign;
}

/* -- open: each of the threads is a client that connects for each request -- */

static void *
open_thread(void *data)
{
	struct client *c = data;
	long interval = c->opt->interval_ms >= 0 ? c->opt->interval_ms : c->kind->interval_ms;
	int64_t end = now_ns() + (int64_t)(c->opt->duration * SECOND);

	c->start = c->last_answer = now_ns();
	while (!stopped && now_ns() < end) {
		int64_t tick = now_ns();

		c->requests++;
		c->fd = dial(c->opt->guest, c->kind->port, ANSWER_TIMEOUT);
		if ((c->fd < 0 || !client_exchange(c)) && !stopped)
			c->resets++;
		client_disconnect(c);
		sleep_until(tick + interval * MS);
	}
	return NULL;
}

static void
client_merge(struct client *to, const struct client *from)
{
	to->requests += from->requests;
	to->resets += from->resets;
	to->wrong += from->wrong;
	to->gap = from->gap > to->gap ? from->gap : to->gap;
	to->latency_us = grow(to->latency_us, &to->latency_size, to->answered + from->answered, sizeof(*to->latency_us));
	if (from->answered)
		memcpy(to->latency_us + to->answered, from->latency_us, from->answered * sizeof(*to->latency_us));
	to->answered += from->answered;
}

static void
open_progress(const struct client *clients, int n)
{
	uint64_t answered = 0;

	for (int i = 0; i < n; i++)
		answered += clients[i].answered;	/* a number that is being counted: good enough for a line of progress */
	fprintf(stderr, "open: %" PRIu64 " answered\n", answered);
}

static int
run_open(const struct options *opt, const struct kind *kind)
{
	struct client *clients = calloc(opt->connections, sizeof(*clients)), all = { .opt = opt, .kind = kind, .fd = -1 };
	pthread_t *threads = calloc(opt->connections, sizeof(*threads));
	int64_t end = now_ns() + (int64_t)(opt->duration * SECOND);
	struct verdict v = { 0 };

	for (int i = 0; i < opt->connections; i++) {
		clients[i] = (struct client){ .opt = opt, .kind = kind, .fd = -1 };
		if (pthread_create(&threads[i], NULL, open_thread, &clients[i]))
			die("cannot make a thread");
	}
	while (opt->progress && !stopped && now_ns() < end) {
		sleep_until(now_ns() + SECOND);
		open_progress(clients, opt->connections);
	}
	for (int i = 0; i < opt->connections; i++) {
		pthread_join(threads[i], NULL);
		client_merge(&all, &clients[i]);
	}
	report(&all, &v);
	return all.resets || all.wrong;
}

/* -- udp: datagrams may be lost, and then the next one is sent; those that are answered must come once, in order, and whole -- */

#define UDP_PATIENCE (300 * MS)	/* one at a time: what comes later than that is lost for whoever asked */

struct udp_count {
	uint64_t sent, answered, doubled, out_of_order, wrong, last;
	uint64_t uncounted;	/* so many were sent before the mark; what answers them later is not counted either */
	int64_t last_answer, gap;
};

static void
udp_count_from_here(struct udp_count *u)
{
	marked = 0;
	u->uncounted = u->sent;
	u->answered = u->gap = 0;
	u->last_answer = now_ns();
}

static void
udp_take(struct udp_count *u, const char *in, ssize_t n)
{
	char want[32];
	uint64_t number = n > 4 ? strtoull(in + 4, NULL, 10) : 0;
	int64_t now = now_ns();

	snprintf(want, sizeof(want), "echo%011" PRIu64 "\n", number);
	u->wrong += n != (ssize_t)strlen(want) || memcmp(in, want, n) != 0 || number == 0 || number > u->sent;
	u->doubled += number == u->last;
	u->out_of_order += number < u->last;
	u->last = number > u->last ? number : u->last;
	u->answered += number > u->uncounted;
	if (now - u->last_answer > u->gap)
		u->gap = now - u->last_answer;
	u->last_answer = now;
}

/* Sends one and takes what comes, its own answer or late ones, until it is answered or given up. */
static void
udp_exchange(int fd, struct udp_count *u, bool progress)
{
	struct timespec sent_at;
	char out[32], in[2048];
	int n = snprintf(out, sizeof(out), "echo%011" PRIu64 "\n", ++u->sent);
	int64_t deadline = now_ns() + UDP_PATIENCE;

	clock_gettime(CLOCK_REALTIME, &sent_at);
	if (send(fd, out, n, 0) != n)
		return;
	while (u->last < u->sent && wait_fd(fd, POLLIN, deadline)) {
		ssize_t got = recv(fd, in, sizeof(in) - 1, 0);

		if (got < 0)
			return;
		in[got] = '\0';
		udp_take(u, in, got);
	}
	if (progress && u->last < u->sent)
		fprintf(stderr, "udp: no answer in time to number %" PRIu64 ", sent at %lld.%06ld\n", u->sent, (long long)sent_at.tv_sec, sent_at.tv_nsec / 1000);
}

static int
run_udp(const struct options *opt)
{
	struct udp_count u = { .last_answer = now_ns() };
	struct sockaddr_storage addr;
	socklen_t len = guest_address(opt->guest, PORT_ECHO, &addr);
	long interval = opt->interval_ms >= 0 ? opt->interval_ms : 10;
	int64_t end = now_ns() + (int64_t)(opt->duration * SECOND);
	int fd = socket(addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len))
		die("udp socket: %s", strerror(errno));
	for (int64_t next_progress = now_ns() + SECOND; !stopped && now_ns() < end; sleep_until(now_ns() + interval * MS)) {
		if (marked)
			udp_count_from_here(&u);
		udp_exchange(fd, &u, opt->progress);
		if (opt->progress && now_ns() >= next_progress) {
			fprintf(stderr, "udp: %" PRIu64 " answered\n", u.answered);
			next_progress = now_ns() + SECOND;
		}
	}
	printf(opt->json ? "{\"kind\":\"udp\"" : "udp\n");
	report_number(opt, "requests", u.sent - u.uncounted, "%.0f");
	report_number(opt, "answered", u.answered, "%.0f");
	report_number(opt, "doubled", u.doubled, "%.0f");
	report_number(opt, "out_of_order", u.out_of_order, "%.0f");
	report_number(opt, "wrong", u.wrong, "%.0f");
	report_number(opt, "gap_ms", u.gap / 1e6, "%.1f");
	if (opt->json)
		puts("}");
	return u.wrong || u.out_of_order || u.doubled;
}

/* Until the guest takes a connection on its echo port. */
static int
run_wait(const struct options *opt)
{
	int64_t end = now_ns() + (int64_t)(opt->duration * SECOND);

	while (!stopped && now_ns() < end) {
		int fd = dial(opt->guest, PORT_ECHO, SECOND);

		if (fd >= 0 || (opt->any_answer && errno == ECONNREFUSED))
			return 0;
		sleep_until(now_ns() + 50 * MS);
	}
	return 1;
}

static void __attribute__((noreturn))
usage(int status)
{
	fputs("Usage: lab client echo|ledger|http|open|udp|wait [OPTION...]\n\n"
	      "  --duration SECONDS   default 10; SIGINT and SIGTERM end it early, with the report; SIGUSR1 starts the counts of gap_ms and of datagrams anew\n"
	      "  --interval-ms N      at least this long between two requests (echo 10, ledger 5, http 10,\n"
	      "                       open 10, in each of its connections)\n"
	      "  --connections N      open: at once (default 4)\n"
	      "  --guest ADDRESS      default 10.99.0.10; IPv6 works too\n"
	      "  --path /|/100k|/1m   http: what to get (default /100k)\n"
	      "  --append             ledger: do not empty it first, go on after its last number\n"
	      "  --any-answer         wait: a refused connection will do\n"
	      "  --json               report as one JSON object\n"
	      "  --progress           a line per second on standard error\n\n"
	      "Exit status: 0 all well; 1 connections reset, wrong answers or lost data; 2 could not run.\n",
	      status ? stderr : stdout);
	exit(status);
}

static void
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "duration", required_argument, NULL, 'd' }, { "interval-ms", required_argument, NULL, 'i' },
		{ "guest", required_argument, NULL, 'g' },    { "path", required_argument, NULL, 'P' },
		{ "append", no_argument, NULL, 'a' },	      { "any-answer", no_argument, NULL, 'r' },
		{ "connections", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },	      { "progress", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },	      { 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'd': o->duration = atof(optarg); break;
		case 'i': o->interval_ms = atol(optarg); break;
		case 'g': o->guest = optarg; break;
		case 'P': o->path = optarg; break;
		case 'a': o->append = true; break;
		case 'c': o->connections = atoi(optarg); break;
		case 'r': o->any_answer = true; break;
		case 'j': o->json = true; break;
		case 'p': o->progress = true; break;
		case 'h': usage(0);
		default: usage(2);
		}
	}
	if (optind != argc - 1 || o->duration <= 0 || o->connections < 1 || o->connections > 1000)
		usage(2);
}

int
main(int argc, char **argv)
{
	struct options opt = { .guest = "10.99.0.10", .path = "/100k", .duration = 10, .interval_ms = -1, .connections = 4 };
	struct sigaction action = { .sa_handler = on_signal };

	parse_options(argc, argv, &opt);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	action.sa_handler = on_mark;
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	if (!strcmp(argv[optind], "udp"))
		return run_udp(&opt);
	if (!strcmp(argv[optind], "wait"))
		return run_wait(&opt);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(argv[optind], kinds[i].name))
			return !strcmp(kinds[i].name, "open") ? run_open(&opt, &kinds[i]) : run_kind(&opt, &kinds[i]);
	}
	usage(2);
}
