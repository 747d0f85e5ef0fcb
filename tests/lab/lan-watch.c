/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watches the LAN's ports for frames with one source address: usage: lan-watch MAC PORT...    (in the LAN's network namespace)
 *
 * Says "watching" when it does. SIGUSR1: times and counts of the ports begin anew. SIGTERM, SIGINT: one JSON object, the verdict of lan-judge.h;
 * `blind` counts frames the kernel could not keep for us. Times are milliseconds after the mark; `mark` is seconds since 1970.
 */
#include "tests/lab/lan-judge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped, marked;

static void
on_signal(int number)
{
	if (number == SIGUSR1)
		marked = 1;
	else
		stopped = 1;
}

static void
die(const char *what)
{
	fprintf(stderr, "lan-watch: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* One socket for all ports: what it gives out is in the order in which the frames came. */
static int
open_socket(const uint8_t *mac)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 6),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)mac[0] << 24 | (uint32_t)mac[1] << 16 | (uint32_t)mac[2] << 8 | mac[3], 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 10),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)mac[4] << 8 | mac[5], 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 65536),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = G_N_ELEMENTS(code), .filter = code };
	int one = 1, room = 64 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) || bind(fd, (struct sockaddr *)&all, sizeof all))
		die("packet socket");
	return fd;
}

static uint64_t
time_of(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct timespec ts;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof ts);
		return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	}
	return now_ns();
}

/* One frame; false: none, or a signal. */
static bool
receive(int fd, struct lan_judge *j, const unsigned *index, unsigned n, uint64_t mark)
{
	static uint8_t frame[65536];
	char control[128];
	struct sockaddr_ll from;
	struct iovec iov = { frame, sizeof frame };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t length = recvmsg(fd, &m, 0);
	uint64_t at;

	if (length < 0)
		return false;
	at = time_of(&m);
	for (unsigned i = 0; i < n; i++) {
		if (index[i] != (unsigned)from.sll_ifindex)
			continue;
		lan_judge_frame(j, i, at, frame, (size_t)length);
		if (at < mark) {	/* it was in our queue when the mark was set */
			j->ports[i].frames = 0;
		}
	}
	return true;
}

static double
after(uint64_t t, uint64_t mark)
{
	return t > mark ? (double)(t - mark) / 1e6 : 0;
}

static void
report(const struct lan_judge *j, char **names, unsigned n, uint64_t mark, unsigned blind)
{
	printf("{\"two_active\":%s,\"why\":\"%s\",\"handovers\":%u,\"blind\":%u,\"mark\":%.6f,\"ports\":{", j->two_active ? "true" : "false", j->why, j->handovers, blind,
	       (double)mark / 1e9);
	for (unsigned i = 0; i < n; i++) {
		const struct lan_port *p = &j->ports[i];

		printf("%s\"%s\":{\"frames\":%lu,\"late\":%lu,\"first_ms\":%.1f,\"last_ms\":%.1f}", i ? "," : "", names[i], p->frames, p->late,
		       after(p->first_ns, mark), after(p->last_ns, mark));
	}
	puts("}}");
}

int
main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };	/* no SA_RESTART: recvmsg() returns */
	struct tpacket_stats stats = { 0 };
	socklen_t size = sizeof stats;
	unsigned index[LAN_JUDGE_PORTS], n = (unsigned)argc - 2;
	struct timeval patience = { .tv_usec = 100000 };	/* a signal just before recvmsg() is seen then */
	uint64_t mark = now_ns(), stop_at = 0;
	struct lan_judge j;
	uint8_t mac[6];
	int fd;

	if (argc < 3 || n > LAN_JUDGE_PORTS || sscanf(argv[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) {
		fputs("usage: lan-watch MAC PORT...\n", stderr);
		return 2;
	}
	for (unsigned i = 0; i < n; i++) {
		if (!(index[i] = if_nametoindex(argv[2 + i])))
			die(argv[2 + i]);
	}
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	lan_judge_init(&j);
	fd = open_socket(mac);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	fputs("watching\n", stderr);
	for (;;) {
		bool got = receive(fd, &j, index, n, mark);

		if (marked) {
			marked = 0;
			mark = now_ns();
			lan_judge_mark(&j);
		}
		if (stopped && (!got || (stop_at && now_ns() > stop_at)))
			break;
		if (stopped && !stop_at)
			stop_at = now_ns() + 200000000;		/* a flood never pauses */
	}
	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
	report(&j, argv + 2, n, mark, stats.tp_drops);
	lan_judge_clear(&j);
	close(fd);
}
