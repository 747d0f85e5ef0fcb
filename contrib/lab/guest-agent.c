/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lab guest's agent, port 2: every connection is one command line for the guest's shell; what the command prints is the answer, and its last
 * line "exit N". The LAN it listens on exists in one machine's namespaces and has no way out of it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pattern.h"

enum { MAX_LINE = 4096 };

static void
die(const char *what)
{
	fprintf(stderr, "guest-agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The line without its end; false when there is none of a fair length. */
static int
read_line(int fd, char *line)
{
	size_t n = 0;

	while (n < MAX_LINE - 1 && read(fd, line + n, 1) == 1) {
		if (line[n] == '\n') {
			line[n] = '\0';
			return 1;
		}
		n++;
	}
	return 0;
}

static int
run(int fd, const char *line)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return 127;
	if (pid == 0) {
		dup2(fd, 1);
		dup2(fd, 2);
		close(fd);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void
serve(int fd)
{
	char line[MAX_LINE];

	if (read_line(fd, line))
		dprintf(fd, "exit %d\n", run(fd, line));
	_exit(0);
}

int
main(void)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_port = htons(PORT_AGENT), .sin6_addr = in6addr_any };
	int one = 1, fd, listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 16))
		die("bind");
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			signal(SIGCHLD, SIG_DFL);
			close(listener);
			serve(fd);
		}
		close(fd);
	}
}
