/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer-link-io.h"

#include "daemon/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_DISPATCH 16

struct peer_listener {
	int fd;
	int spare;	/* given up for a moment when the process is out of fds, so that the waiting connection can be taken and refused */
	GSource *source;
	void (*accepted)(int fd, const char *from, gpointer user_data);
	gpointer user_data;
};

char *
peer_address_text(const struct sockaddr *address, size_t length)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
	struct sockaddr_in mapped = { .sin_family = AF_INET };

	/* A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
	if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		memcpy(&mapped.sin_addr, v6->sin6_addr.s6_addr + 12, 4);
		mapped.sin_port = v6->sin6_port;
		address = (const struct sockaddr *)&mapped;
		length = sizeof mapped;
	}
	g_autoptr(GSocketAddress) a = g_socket_address_new_from_native((gpointer)address, length);
	return G_IS_INET_SOCKET_ADDRESS(a) ? g_socket_connectable_to_string(G_SOCKET_CONNECTABLE(a)) : g_strdup("the peer");
}

static void
refuse_one(struct peer_listener *l)
{
	close(l->spare);
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static gboolean
on_connection(gint listening, GIOCondition condition, gpointer user_data)
{
	struct peer_listener *l = user_data;
	g_autoptr(GSource) source = g_source_ref(l->source);

	for (unsigned i = 0; i < ACCEPTS_PER_DISPATCH && !g_source_is_destroyed(source); i++) {
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		int fd = accept4(listening, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			refuse_one(l);
		if (fd < 0)
			break;
		g_autofree char *text = peer_address_text((struct sockaddr *)&from, length);
		l->accepted(fd, text, l->user_data);
	}
	return G_SOURCE_CONTINUE;
}

static int
listen_on(const struct sockaddr *address, socklen_t length)
{
	int one = 1, zero = 0;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	if (bind(fd, address, length) < 0 || listen(fd, 64) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* No host: one dual-stack socket, or IPv4 alone on a host without IPv6. */
static int
listen_anywhere(unsigned port)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = listen_on((struct sockaddr *)&v6, sizeof v6);

	return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? listen_on((struct sockaddr *)&v4, sizeof v4) : fd;
}

static int
listen_host(const char *host, unsigned port, GError **error)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
	g_autofree char *service = g_strdup_printf("%u", port);
	int code = getaddrinfo(host, service, &hints, &found);
	int fd;

	if (code) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "cannot listen on %s: %s", host, gai_strerror(code));
		return -1;
	}
	fd = listen_on(found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

struct peer_listener *
peer_listener_new(const char *bind_host, unsigned port, void (*accepted)(int fd, const char *from, gpointer user_data), gpointer user_data, GError **error)
{
	g_autoptr(GError) resolve_error = NULL;
	int fd = bind_host ? listen_host(bind_host, port, &resolve_error) : listen_anywhere(port);
	struct peer_listener *l;

	if (resolve_error) {
		g_propagate_error(error, g_steal_pointer(&resolve_error));
		return NULL;
	}
	if (fd < 0) {
		g_set_error(error, FTD_ERROR, FTD_ERROR_CONFIG, "cannot listen on %s port %u: %s", bind_host ? bind_host : "any address", port, g_strerror(-fd));
		return NULL;
	}
	l = g_new0(struct peer_listener, 1);
	*l = (struct peer_listener){ .fd = fd, .accepted = accepted, .user_data = user_data };
	l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	l->source = g_unix_fd_source_new(fd, G_IO_IN);
	g_source_set_callback(l->source, G_SOURCE_FUNC(on_connection), l, NULL);
	g_source_attach(l->source, g_main_context_get_thread_default());
	return l;
}

unsigned
peer_listener_port(const struct peer_listener *l)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof address;

	if (getsockname(l->fd, (struct sockaddr *)&address, &length) < 0)
		return 0;
	/* sin_port and sin6_port lie at the same offset. */
	return ntohs(((const struct sockaddr_in *)(const void *)&address)->sin_port);
}

void
peer_listener_free(struct peer_listener *l)
{
	if (!l)
		return;
	g_source_destroy(l->source);
	g_source_unref(l->source);
	close(l->fd);
	if (l->spare >= 0)
		close(l->spare);
	g_free(l);
}
