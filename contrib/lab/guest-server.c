/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lab guest's server: usage: guest-server [FOLDER...]
 *
 *   echo    port 7, TCP and UDP
 *   http    port 80: / (20 bytes), /100k, /1m of a fixed pattern; connections are kept
 *   ledger  port 1000, lines:  ADD n  append n to FOLDER/ledger of every folder, fdatasync, then answer "OK n"
 *                              DUMP   the first folder's file, then "END";  DUMP2 the second's
 *                              RESET  empty all, answer "OK"
 *                              FILL n append n KiB to FOLDER/fill of the first folder, where nothing was before, fdatasync, answer "OK"
 *
 * One process per service, so that a slow disk does not delay an echo. A connection works on one request at a time and is read
 * from again when its answer has left, so memory per connection is bounded.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"

enum { MAX_LEDGERS = 16, MAX_EVENTS = 64 };

struct conn {
	int fd;
	char in[4096];
	size_t in_len;
	char *out;		/* owned; NULL when nothing is to be sent */
	size_t out_len;
	size_t out_off;
};

struct service {
	int epoll;
	int listener;
	int udp;		/* or -1 */
	int ledgers[MAX_LEDGERS];
	int n_ledgers;
	int fill;
	/* Takes one request out of c->in, if there is a whole one, and sets c->out. False: close the connection. */
	bool (*handle)(struct service *s, struct conn *c);
};

static void
die(const char *what)
{
	fprintf(stderr, "guest-server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Takes over `data`. */
static void
conn_answer(struct conn *c, char *data, size_t len)
{
	if (!data)
		die("malloc");
	c->out = data;
	c->out_len = len;
	c->out_off = 0;
}

static void
conn_answer_text(struct conn *c, const char *text)
{
	conn_answer(c, strdup(text), strlen(text));
}

static void
conn_consume(struct conn *c, size_t n)
{
	c->in_len -= n;
	memmove(c->in, c->in + n, c->in_len);
}

static bool
handle_echo(struct service *s, struct conn *c)
{
	(void)s;
	if (!c->in_len)
		return true;
	conn_answer(c, memcpy(malloc(c->in_len), c->in, c->in_len), c->in_len);
	conn_consume(c, c->in_len);
	return true;
}

static void
http_answer(struct conn *c, const char *status, size_t size)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", status, size);
	char *data = malloc(n + size);

	if (!data)
		die("malloc");
	memcpy(data, head, n);
	for (size_t i = 0; i < size; i++)
		data[n + i] = pattern_byte(i);
	conn_answer(c, data, n + size);
}

static bool
handle_http(struct service *s, struct conn *c)
{
	char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	char path[64];

	(void)s;
	if (!end)
		return c->in_len < sizeof(c->in);	/* a request head that does not fit is refused */
	*end = '\0';
	if (sscanf(c->in, "GET %63s HTTP/1.", path) != 1)
		http_answer(c, "400 Bad Request", 0);
	else if (!strcmp(path, "/"))
		http_answer(c, "200 OK", SMALL_SIZE);
	else if (!strcmp(path, "/100k"))
		http_answer(c, "200 OK", 100 << 10);
	else if (!strcmp(path, "/1m"))
		http_answer(c, "200 OK", 1 << 20);
	else
		http_answer(c, "404 Not Found", 0);
	conn_consume(c, end + 4 - c->in);
	return true;
}

static void
ledger_add(struct service *s, struct conn *c, unsigned long long number)
{
	char line[40];
	int n = snprintf(line, sizeof(line), "%llu\n", number);

	for (int i = 0; i < s->n_ledgers; i++) {
		if (write(s->ledgers[i], line, n) != n || fdatasync(s->ledgers[i])) {
			fprintf(stderr, "guest-server: ledger %d: %s\n", i, strerror(errno));
			conn_answer_text(c, "ERR disk\n");
			return;
		}
	}
	snprintf(line, sizeof(line), "OK %llu\n", number);
	conn_answer_text(c, line);
}

static void
ledger_dump(struct service *s, struct conn *c, int which)
{
	struct stat st;
	char *data;

	if (which >= s->n_ledgers || fstat(s->ledgers[which], &st)) {
		conn_answer_text(c, "ERR no such ledger\n");
		return;
	}
	data = malloc(st.st_size + 4);
	if (!data || pread(s->ledgers[which], data, st.st_size, 0) != st.st_size) {
		free(data);
		conn_answer_text(c, "ERR cannot read\n");
		return;
	}
	memcpy(data + st.st_size, "END\n", 4);
	conn_answer(c, data, st.st_size + 4);
}

static void
ledger_reset(struct service *s, struct conn *c)
{
	bool ok = true;

	for (int i = 0; i < s->n_ledgers; i++)
		ok &= !ftruncate(s->ledgers[i], 0) && !fsync(s->ledgers[i]);
	conn_answer_text(c, ok ? "OK\n" : "ERR disk\n");
}

static void
ledger_fill(struct service *s, struct conn *c, unsigned long long kib)
{
	static const char block[1024] = "fill";
	bool ok = true;

	for (unsigned long long i = 0; ok && i < kib; i++)
		ok = write(s->fill, block, sizeof(block)) == (ssize_t)sizeof(block);
	conn_answer_text(c, ok && !fdatasync(s->fill) ? "OK\n" : "ERR disk\n");
}

static bool
handle_ledger(struct service *s, struct conn *c)
{
	char *end = memchr(c->in, '\n', c->in_len);
	unsigned long long number;

	if (!end)
		return c->in_len < sizeof(c->in);
	*end = '\0';
	if (s->n_ledgers == 0)
		conn_answer_text(c, "ERR no disk\n");
	else if (sscanf(c->in, "ADD %llu", &number) == 1)
		ledger_add(s, c, number);
	else if (sscanf(c->in, "FILL %llu", &number) == 1)
		ledger_fill(s, c, number);
	else if (!strcmp(c->in, "DUMP"))
		ledger_dump(s, c, 0);
	else if (!strcmp(c->in, "DUMP2"))
		ledger_dump(s, c, 1);
	else if (!strcmp(c->in, "RESET"))
		ledger_reset(s, c);
	else
		conn_answer_text(c, "ERR unknown\n");
	conn_consume(c, end + 1 - c->in);
	return true;
}

static void
conn_close(struct conn *c)
{
	close(c->fd);
	free(c->out);
	free(c);
}

static void
conn_accept(struct service *s)
{
	int one = 1, fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct conn *c;
	struct epoll_event ev = { .events = EPOLLIN };

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = calloc(1, sizeof(*c));
	if (!c)
		die("calloc");
	c->fd = fd;
	ev.data.ptr = c;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev))
		conn_close(c);
}

/* True when c->out has left whole; *ok is false when the connection is lost. */
static bool
conn_flush(struct conn *c, bool *ok)
{
	while (c->out_off < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);

		if (n < 0) {
			*ok = errno == EAGAIN;
			return false;
		}
		c->out_off += n;
	}
	free(c->out);
	c->out = NULL;
	return true;
}

/* Answers what can be answered. False: close. */
static bool
conn_work(struct service *s, struct conn *c)
{
	bool ok = true;

	for (;;) {
		if (c->out && !conn_flush(c, &ok))
			return ok;
		if (!s->handle(s, c))
			return false;
		if (!c->out)
			return true;
	}
}

static bool
conn_event(struct service *s, struct conn *c)
{
	struct epoll_event ev = { .data.ptr = c };
	ssize_t n;

	if (!c->out) {
		n = read(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		c->in_len += n > 0 ? n : 0;
	}
	if (!conn_work(s, c))
		return false;
	ev.events = c->out ? EPOLLOUT : EPOLLIN;
	return !epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void
udp_echo(int fd)
{
	char data[65536];
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

	if (n >= 0)
		sendto(fd, data, n, 0, (struct sockaddr *)&from, len);
}

static int
bind_port(int type, int port)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
	int one = 1, fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || (type == SOCK_STREAM && listen(fd, 128)))
		die("bind");
	return fd;
}

static void
service_watch(struct service *s, int *fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = fd };

	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, *fd, &ev))
		die("epoll_ctl");
}

static void
service_run(struct service *s)
{
	struct epoll_event events[MAX_EVENTS];

	for (;;) {
		int n = epoll_wait(s->epoll, events, MAX_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			void *p = events[i].data.ptr;

			if (p == &s->listener)
				conn_accept(s);
			else if (p == &s->udp)
				udp_echo(s->udp);
			else if (!conn_event(s, p))
				conn_close(p);
		}
	}
}

/* Starts a service in a process of its own. */
static void
service_start(struct service s, int port, bool udp)
{
	s.listener = bind_port(SOCK_STREAM, port);
	s.udp = udp ? bind_port(SOCK_DGRAM, port) : -1;
	if (fork() == 0) {
		s.epoll = epoll_create1(EPOLL_CLOEXEC);
		if (s.epoll < 0)
			die("epoll_create1");
		service_watch(&s, &s.listener);
		if (udp)
			service_watch(&s, &s.udp);
		service_run(&s);
	}
	close(s.listener);
	if (udp)
		close(s.udp);
}

static int
ledger_open(const char *folder, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

int
main(int argc, char **argv)
{
	struct service ledger = { .handle = handle_ledger };

	for (int i = 1; i < argc && ledger.n_ledgers < MAX_LEDGERS; i++)
		ledger.ledgers[ledger.n_ledgers++] = ledger_open(argv[i], "ledger");
	ledger.fill = argc > 1 ? ledger_open(argv[1], "fill") : -1;
	signal(SIGCHLD, SIG_IGN);
	service_start((struct service){ .handle = handle_http }, PORT_HTTP, false);
	service_start(ledger, PORT_LEDGER, false);
	/* Last: who reaches the echo port reaches all of them. */
	service_start((struct service){ .handle = handle_echo }, PORT_ECHO, true);
	for (;;)
		pause();
}
