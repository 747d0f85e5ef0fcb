/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of peer-link-io only: which fault of a certificate ended a session. The end that judges sees it in GnuTLS's status; the end that was judged is told by the
 * alert, which is chosen here so that it can say the same.
 */
#pragma once

#include <glib.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>

struct peer_refusal {
	gnutls_session_t session;
	bool client;
	const char *peer;		/* how the peer is called in texts */
	const char *verify_host;	/* the name that its certificate must carry; NULL: any */
	const char *ca, *crl, *own;	/* our files */
};

/* After a failed gnutls_handshake(). */
void peer_refusal_send_alert(gnutls_session_t session, int code);
/* FTD_ERROR_PEER_CERTIFICATE; NULL: certificates had no part in it. */
GError *peer_refusal_explain(const struct peer_refusal *r, int code);
