/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/qmp/fake-qemu.h"

#include "qmp/qmp-framing.h"
#include "qmp/qmp-json.h"

#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 5000

struct fake_qemu {
	GThread *thread;
	char *dir, *path;
	const char *greeting;
	const struct fake_line *script;
	unsigned listen_delay_ms;
	int fd;
	unsigned fds;
	struct qmp_framing *framing;
	char *wrong;
};

static int
listen_and_accept(struct fake_qemu *q)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
	struct pollfd p = { .fd = listener, .events = POLLIN };

	g_usleep(q->listen_delay_ms * 1000);
	g_strlcpy(address.sun_path, q->path, sizeof address.sun_path);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0 && poll(&p, 1, PATIENCE_MS) > 0)
		fd = accept(listener, NULL, NULL);
	close(listener);
	return fd;
}

static ssize_t
receive(struct fake_qemu *q, char *buffer, size_t size)
{
	union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	struct iovec iov = { .iov_base = buffer, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space };
	struct pollfd p = { .fd = q->fd, .events = POLLIN };
	ssize_t n = poll(&p, 1, PATIENCE_MS) > 0 ? recvmsg(q->fd, &msg, 0) : -1;
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	int fd;

	if (c && c->cmsg_type == SCM_RIGHTS) {
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
		close(fd);
		q->fds++;
	}
	return n;
}

/* NULL at EOF and when nothing comes. */
static struct json_object *
next_command(struct fake_qemu *q)
{
	struct json_object *message;
	char buffer[4096];

	while (!(message = qmp_framing_next(q->framing))) {
		ssize_t n = receive(q, buffer, sizeof buffer);

		if (n <= 0 || !qmp_framing_input(q->framing, buffer, (size_t)n, NULL))
			return NULL;
	}
	return message;
}

/* In pieces of one byte to three, as a stream may do. */
static void
say(struct fake_qemu *q, const char *text, guint64 id)
{
	g_autofree char *number = g_strdup_printf("%" G_GUINT64_FORMAT, id);
	g_auto(GStrv) parts = g_strsplit(text, "%ID%", -1);
	g_autofree char *all = g_strjoinv(number, parts);

	for (size_t at = 0, n; at < strlen(all); at += n) {
		n = MIN(at % 3 + 1, strlen(all) - at);
		if (send(q->fd, all + at, n, MSG_NOSIGNAL) < 0)
			return;
	}
	send(q->fd, "\r\n", 2, MSG_NOSIGNAL);
}

static bool
expect(struct fake_qemu *q, const char *name, guint64 *id)
{
	g_autoptr(json_object) message = next_command(q);
	const char *got = json_member_string(message, "execute");

	if (!got)
		got = json_member_string(message, "exec-oob");
	if (g_str_equal(name, "EOF") ? !message : g_strcmp0(got, name) == 0) {
		json_member_uint64(message, "id", id);
		return true;
	}
	q->wrong = g_strdup_printf("expected %s, got %s", name, message ? json_object_to_json_string(message) : "nothing");
	return false;
}

static gpointer
run(gpointer data)
{
	struct fake_qemu *q = data;
	guint64 id = 0;

	q->fd = listen_and_accept(q);
	if (q->fd < 0 || !q->greeting)
		return NULL;
	say(q, q->greeting, 0);
	if (!q->script || !expect(q, "qmp_capabilities", &id))
		return NULL;
	say(q, "{\"return\": {}, \"id\": %ID%}", id);
	for (const struct fake_line *l = q->script; l->expect || l->say; l++) {
		if (l->expect && !expect(q, l->expect, &id))
			return NULL;
		g_usleep(l->delay_ms * 1000);
		if (g_strcmp0(l->say, "CLOSE") == 0)
			shutdown(q->fd, SHUT_RDWR);
		else if (l->say)
			say(q, l->say, id);
	}
	return NULL;
}

struct fake_qemu *
fake_qemu_new(unsigned listen_delay_ms, const char *greeting, const struct fake_line *script)
{
	struct fake_qemu *q = g_new0(struct fake_qemu, 1);

	q->dir = g_dir_make_tmp("ftd-fake-qemu-XXXXXX", NULL);
	q->path = g_build_filename(q->dir, "qmp", NULL);
	q->greeting = greeting;
	q->script = script;
	q->listen_delay_ms = listen_delay_ms;
	q->fd = -1;
	q->framing = qmp_framing_new(0);
	q->thread = g_thread_new("fake-qemu", run, q);
	return q;
}

const char *
fake_qemu_path(const struct fake_qemu *q)
{
	return q->path;
}

char *
fake_qemu_end(struct fake_qemu *q, unsigned *fds)
{
	char *wrong;

	g_thread_join(q->thread);
	wrong = q->wrong ? q->wrong : g_strdup("");
	if (fds)
		*fds = q->fds;
	if (q->fd >= 0)
		close(q->fd);
	qmp_framing_free(q->framing);
	g_unlink(q->path);
	g_rmdir(q->dir);
	g_free(q->path);
	g_free(q->dir);
	g_free(q);
	return wrong;
}
