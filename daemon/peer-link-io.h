/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One mutually authenticated TLS 1.3 connection of the FT link, carrying peer-protocol.h frames; with peer-credentials-io the only place that knows GnuTLS.
 * Non-blocking, driven by the thread-default GMainContext of the thread that made it. TCP_NODELAY; no SO_KEEPALIVE unless asked for (guards have heartbeats).
 * Any callback may call any function on its link, peer_link_close() too. None is called from inside of a peer_link_*() call but peer_link_flush().
 */
#pragma once

#include "daemon/peer-protocol.h"

struct sockaddr;

struct peer_credentials;
/* PKI laid out as libvirt's: <pki>/CA/cacert.pem, <pki>/ftd/servercert.pem, <pki>/ftd/private/serverkey.pem, clientcert.pem, private/clientkey.pem
 * (pki is /etc/pki by default; the client files default to the server's when absent; CA/cacrl.pem is used when present). */
struct peer_credentials *peer_credentials_load(const char *pki, GError **error);	/* error names the file and what to do */
/* When the first of our certificates, or that of an authority, ends (unix seconds); *path: the file it is in, borrowed. */
gint64 peer_credentials_end(const struct peer_credentials *c, const char **path);
/* Whose a certificate of ours is that is not `name`'s, as peers see it (CN or first DNS name, "" when it has neither), and its file; NULL: both are `name`'s. */
char *peer_credentials_other_name(const struct peer_credentials *c, const char *name, const char **path);
struct peer_credentials *peer_credentials_ref(struct peer_credentials *c);
void peer_credentials_unref(struct peer_credentials *c);
typedef struct peer_credentials peer_credentials;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peer_credentials, peer_credentials_unref)

struct peer_link;
struct peer_link_callbacks {
	/* TLS done; peer_name: the certificate's CN, else its first DNS name. On the connecting side the peer may still refuse our certificate:
	 * that comes as closed() with PEER_CERTIFICATE; an answer to HELLO is the proof that it did not. */
	void (*established)(struct peer_link *link, const char *peer_name, gpointer user_data);
	void (*frame)(struct peer_link *link, const struct peer_frame *frame, GBytes *payload, gpointer user_data);	/* payload: the same bytes, may be kept */
	void (*writable)(struct peer_link *link, gpointer user_data);	/* optional: the queue fell below half its soft limit, or is empty */
	/* Exactly once; error NULL = the peer closed in order. PEER_UNREACHABLE, PEER_CERTIFICATE, PROTOCOL, LIMIT. The link is still to be freed by peer_link_close(). */
	void (*closed)(struct peer_link *link, const GError *error, gpointer user_data);
};

/* Connects (asynchronously) to host:port. verify_host: the name the server's certificate must carry; NULL = `host`. */
struct peer_link *peer_link_connect(const char *host, unsigned port, const char *verify_host, enum peer_channel channel, struct peer_credentials *creds,
				    unsigned timeout_ms, const struct peer_link_callbacks *cb, gpointer user_data);
/* Serves an accepted socket (taken over). The channel is CONTROL until the owner has read HELLO and calls peer_link_set_channel(). */
struct peer_link *peer_link_accept(int fd, struct peer_credentials *creds, unsigned handshake_timeout_ms, const struct peer_link_callbacks *cb, gpointer user_data);
void peer_link_set_callbacks(struct peer_link *l, const struct peer_link_callbacks *cb, gpointer user_data);
void peer_link_set_channel(struct peer_link *l, enum peer_channel channel);
void peer_link_set_priority(struct peer_link *l, int glib_priority);
void peer_link_set_generation(struct peer_link *l, uint64_t generation);	/* sent in every header from now on */
/* soft: writable() is called when the queue falls below half of it; hard: at it the link closes with FTD_ERROR_LIMIT. */
#define PEER_LINK_QUEUE_SOFT ((size_t)4 << 20)
#define PEER_LINK_QUEUE_HARD ((size_t)1 << 30)
void peer_link_set_queue_limit(struct peer_link *l, size_t soft, size_t hard);
#define PEER_LINK_DEAD_AFTER_S 15	/* between daemons */
void peer_link_set_dead_after(struct peer_link *l, unsigned seconds);	/* a silent end is noticed: the kernel asks the other side, and closes the link without its answer */
void peer_link_close(struct peer_link *l);	/* flushes what it can without blocking, frees; closed() is not called */
typedef struct peer_link peer_link;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peer_link, peer_link_close)

/* Queues a frame: `head` (copied, may be empty) and `body` (referenced, may be NULL) are one payload. Never blocks, never fails: trouble comes as closed().
 * Allowed from the start: what is queued before the link is established is sent then. A type that the channel does not carry, or a payload above its limit, is a bug. */
void peer_link_send(struct peer_link *l, enum peer_type type, const void *head, size_t head_length, GBytes *body);
/* Sends what is queued, as the link's source would in the main loop's next turn. Callbacks: writable(), closed(). */
void peer_link_flush(struct peer_link *l);
size_t peer_link_queued(const struct peer_link *l);	/* bytes not handed to the kernel yet; the owner bounds it */
uint64_t peer_link_bytes_sent(const struct peer_link *l);
uint64_t peer_link_bytes_received(const struct peer_link *l);
void peer_link_pause_reading(struct peer_link *l, bool paused);	/* back-pressure; while paused, the end of the connection may go unnoticed */
const char *peer_link_name(const struct peer_link *l);	/* for texts: "b (192.0.2.2:4433)", "192.0.2.1:40312" */

/* Listens on a port (0: any) of all addresses or `bind_host`; accepted sockets go to `accepted`. */
struct peer_listener;
struct peer_listener *peer_listener_new(const char *bind_host, unsigned port, void (*accepted)(int fd, const char *from, gpointer user_data), gpointer user_data, GError **error);
unsigned peer_listener_port(const struct peer_listener *l);
void peer_listener_free(struct peer_listener *l);
typedef struct peer_listener peer_listener;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peer_listener, peer_listener_free)
char *peer_address_text(const struct sockaddr *address, size_t length);	/* "192.0.2.1:4433", "[2001:db8::1]:4433" */
