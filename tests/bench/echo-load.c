/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * echo-load ADDRESS CONNECTIONS INTERVAL_MS SECONDS: TCP echo of 64 bytes, every connection one request at a time, the next one INTERVAL_MS after the
 * last was sent or when its answer is there, whichever is later. SIGINT ends it early. Prints "METRIC VALUE" lines;
 * an answer that is still out when the time is up counts with the time it has been out.
 *
 * Who waits for an answer does not ask, so a server that stands is asked too seldom just then. The requests that were due meanwhile count with what they would have
 * waited ("coordinated omission", as wrk2 and HdrHistogram mend it): else a percentile tells more of the client's pace than of the server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, MAX_CONNECTIONS = 1000, PORT = 7 };

struct conn {
	int fd;
	int64_t sent_at, next_at;	/* sent_at 0: no request is out */
	size_t got;
};

static uint32_t *latency_us;
static size_t answered, recorded, room;
static volatile sig_atomic_t stopped;

static void
on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void
fail(const char *what)
{
	fprintf(stderr, "echo-load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void
record(int64_t ns)
{
	if (recorded == room) {
		room = room ? 2 * room : 4096;
		latency_us = realloc(latency_us, room * sizeof *latency_us);
		if (!latency_us)
			fail("memory");
	}
	latency_us[recorded++] = (uint32_t)(ns / 1000);
}

static void
record_all(int64_t ns, int64_t interval)
{
	record(ns);
	while (interval > 0 && ns > interval)
		record(ns -= interval);
}

static int
open_connection(const char *address)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof a))
		fail(address);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void
ask(struct conn *c, int64_t now, int64_t interval)
{
	char data[SIZE];

	memset(data, 'x', sizeof data);
	if (send(c->fd, data, sizeof data, MSG_NOSIGNAL) != sizeof data)
		fail("send");
	c->sent_at = now;
	c->next_at = now + interval;
	c->got = 0;
}

static void
hear(struct conn *c, int64_t now, int64_t interval)
{
	char data[SIZE];
	ssize_t n = recv(c->fd, data, sizeof data - c->got, 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		fail("the connection broke");
	c->got += n > 0 ? (size_t)n : 0;
	if (c->got < SIZE)
		return;
	answered++;
	record_all(now - c->sent_at, interval);
	c->sent_at = 0;
}

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double
percentile(double p)
{
	size_t rank = (size_t)ceil(p / 100 * (double)recorded);		/* nearest rank */

	return recorded ? latency_us[rank ? rank - 1 : 0] / 1e3 : 0;
}

int
main(int argc, char **argv)
{
	static struct conn conns[MAX_CONNECTIONS];
	static struct pollfd fds[MAX_CONNECTIONS];
	int n = argc > 4 ? atoi(argv[2]) : 0;
	int64_t interval, start, end, now;

	if (n < 1 || n > MAX_CONNECTIONS) {
		fprintf(stderr, "usage: echo-load ADDRESS CONNECTIONS INTERVAL_MS SECONDS\n");
		return 2;
	}
	interval = (int64_t)(atof(argv[3]) * 1e6);
	for (int i = 0; i < n; i++) {
		conns[i].fd = open_connection(argv[1]);
		fds[i] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
	}
	start = now = now_ns();
	end = start + (int64_t)(atof(argv[4]) * 1e9);
	for (int i = 0; i < n; i++)	/* spread over the interval */
		conns[i].next_at = start + interval * i / n;
	signal(SIGINT, on_signal);
	while (now < end && !stopped) {
		int64_t next = end;

		for (int i = 0; i < n; i++) {
			if (!conns[i].sent_at && conns[i].next_at <= now)
				ask(&conns[i], now, interval);
			else if (!conns[i].sent_at && conns[i].next_at < next)
				next = conns[i].next_at;
		}
		ppoll(fds, (nfds_t)n, &(struct timespec){ .tv_sec = (next - now) / 1000000000, .tv_nsec = (next - now) % 1000000000 }, NULL);
		now = now_ns();
		for (int i = 0; i < n; i++)
			if (fds[i].revents)
				hear(&conns[i], now, interval);
	}
	double rate = (double)answered / ((double)(now - start) / 1e9);
	for (int i = 0; i < n; i++)
		if (conns[i].sent_at)
			record_all(now - conns[i].sent_at, interval);
	qsort(latency_us, recorded, sizeof *latency_us, compare);
	printf("requests_per_s %.1f\nlatency_p50_ms %.3f\nlatency_p99_ms %.3f\nlatency_max_ms %.3f\n", rate, percentile(50), percentile(99), percentile(100));
	return 0;
}
