/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside of peer-link-io only: certificates, what TLS 1.3 session they make, and what their failures mean. */
#pragma once

#include "daemon/peer-link-io.h"

#include <gnutls/gnutls.h>

/* A non-blocking TLS 1.3 session that demands and verifies the peer's certificate; verify_host: NULL on the accepting side. */
gnutls_session_t peer_credentials_session(struct peer_credentials *c, bool client, const char *verify_host);
/* Why a handshake or the first read failed, if it was a certificate: FTD_ERROR_PEER_CERTIFICATE; NULL when certificates have no part in it. `peer`: name for the text. */
GError *peer_credentials_explain(struct peer_credentials *c, gnutls_session_t session, bool client, const char *peer, const char *verify_host, int code);
/* CN of the verified peer certificate, or its first DNS name; "" when it has neither. */
char *peer_credentials_peer_name(gnutls_session_t session);
