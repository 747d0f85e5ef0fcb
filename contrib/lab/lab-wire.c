/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bad wire between two network devices: lab-wire DEV1 DEV2 [--delay MS] [--rate MBIT] [--loss PERCENT] [--corrupt PERCENT] [--one-way]
 *
 * Frames received at one device are sent at the other after the delay, in order, at most at the rate, some of them lost, some with
 * a bit flipped in their payload, from SIGUSR1 on. With --one-way only DEV1 to DEV2 is bad. A checksum that the sender's kernel left to the device
 * is not made before the bit flips, and is not looked at by the receiver: the damage reaches the application, as that of a bad
 * memory in a switch does. Frames carry a virtio-net header, so that segmentation and checksums that the kernel left
 * for later pass through unchanged. A full queue drops, as a switch does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

enum { MAX_FRAME = 70000, MAX_QUEUE = 32 << 20, HEADERS = 128 };	/* HEADERS: of virtio-net, Ethernet, IP, TCP, and of a TLS record */

struct frame {
	struct frame *next;
	int64_t due;
	size_t len;
	char data[];
};

struct way {
	int from, to;
	int64_t delay_ns;
	double ns_per_byte;	/* 0: no limit */
	double loss, corrupt;	/* 0..1 */
	int64_t line_free;	/* when the last frame's last bit has left */
	struct frame *first, **last;
	size_t queued;
};

static volatile sig_atomic_t corrupting;

static void
on_signal(int number)
{
	(void)number;
	corrupting = 1;
}

static void
die(const char *what)
{
	fprintf(stderr, "lab-wire: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static int
open_device(const char *name)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = if_nametoindex(name) };
	struct packet_mreq promiscuous = { .mr_ifindex = addr.sll_ifindex, .mr_type = PACKET_MR_PROMISC };
	int one = 1, buffer = 16 << 20, fd;

	if (!addr.sll_ifindex)
		die(name);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)))
		die(name);
	return fd;
}

static void
way_enqueue(struct way *w, const char *data, size_t len, int64_t now)
{
	struct frame *f;

	if (drand48() < w->loss || w->queued + len > MAX_QUEUE)
		return;
	f = malloc(sizeof(*f) + len);
	if (!f)
		die("malloc");
	if (w->line_free < now)
		w->line_free = now;
	w->line_free += (int64_t)(len * w->ns_per_byte);
	*f = (struct frame){ .due = w->line_free + w->delay_ns, .len = len };
	memcpy(f->data, data, len);
	if (corrupting && len > HEADERS && drand48() < w->corrupt)
		f->data[HEADERS + lrand48() % (len - HEADERS)] ^= 1 << lrand48() % 8;
	*w->last = f;
	w->last = &f->next;
	w->queued += len;
}

static void
way_receive(struct way *w)
{
	static char data[MAX_FRAME];
	ssize_t n;

	while ((n = recv(w->from, data, sizeof(data), 0)) > 0)
		way_enqueue(w, data, n, now_ns());
}

/* Sends what is due; the time of the next frame, or -1. */
static int64_t
way_send(struct way *w)
{
	struct frame *f;

	while ((f = w->first)) {
		if (f->due > now_ns())
			return f->due;
		(void)!send(w->to, f->data, f->len, 0);
		w->queued -= f->len;
		w->first = f->next;
		if (!w->first)
			w->last = &w->first;
		free(f);
	}
	return -1;
}

static void __attribute__((noreturn))
run(struct way ways[2])
{
	for (;;) {
		struct pollfd p[2] = { { .fd = ways[0].from, .events = POLLIN }, { .fd = ways[1].from, .events = POLLIN } };
		int64_t next = -1, wait = SECOND;
		struct timespec ts;

		for (int i = 0; i < 2; i++) {
			int64_t due = way_send(&ways[i]);

			if (due >= 0 && (next < 0 || due < next))
				next = due;
		}
		if (next >= 0)
			wait = next > now_ns() ? next - now_ns() : 0;
		ts = (struct timespec){ .tv_sec = wait / SECOND, .tv_nsec = wait % SECOND };
		if (ppoll(p, 2, &ts, NULL) <= 0)
			continue;
		for (int i = 0; i < 2; i++) {
			if (p[i].revents)
				way_receive(&ways[i]);
		}
	}
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "delay", required_argument, NULL, 'd' }, { "rate", required_argument, NULL, 'r' },
		{ "loss", required_argument, NULL, 'l' },  { "corrupt", required_argument, NULL, 'c' }, { "one-way", no_argument, NULL, 'o' }, { 0 },
	};
	struct way slow = { 0 }, ways[2];
	bool one_way = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'd': slow.delay_ns = (int64_t)(atof(optarg) * 1e6); break;
		case 'r': slow.ns_per_byte = atof(optarg) > 0 ? 8e3 / atof(optarg) : 0; break;
		case 'l': slow.loss = atof(optarg) / 100; break;
		case 'c': slow.corrupt = atof(optarg) / 100; break;
		case 'o': one_way = true; break;
		default: return 2;
		}
	}
	if (optind != argc - 2) {
		fputs("usage: lab-wire DEV1 DEV2 [--delay MS] [--rate MBIT] [--loss PERCENT] [--corrupt PERCENT] [--one-way]\n", stderr);
		return 2;
	}
	ways[0] = slow;
	ways[1] = one_way ? (struct way){ 0 } : slow;
	for (int i = 0; i < 2; i++) {
		ways[i].from = open_device(argv[optind + i]);
		ways[i].last = &ways[i].first;
	}
	ways[0].to = ways[1].from;
	ways[1].to = ways[0].from;
	/* A cable does not wait for a processor: the guards' heartbeats, which have real-time priority, would stop in it. */
	sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 2 });
	srand48(getpid());
	signal(SIGUSR1, on_signal);
	fputs("lab-wire: ready\n", stderr);
	run(ways);
}
