/* TLS as Birthmark serves it: 1.2 and 1.3, ephemeral keys, AEAD only; a client certificate is asked for, never required, and believed only
 * as far as OpenSSL checks it here: whoever sent it holds its private key (CertificateVerify, RFC 8446 section 4.4.3). Who that is, the
 * keeper judges. */
#ifndef BM_SERVER_TLS_H
#define BM_SERVER_TLS_H

#include "keeper/wire.h"

#include <openssl/ssl.h>

/* What TLS reads from and writes to. Writes only gather in `out`, so that a ticket, a response and the close_notify leave in one send. */
struct bm_tls_io {
    int fd;
    bool eof;
    struct bm_buf out; /* the caller sets max and sends it */
};

/* From the server certificate, key and ticket key of a view. */
BM_MUST_USE enum bm_rc bm_tls_context(const struct bm_view *v, SSL_CTX **ret, struct bm_error *e);
/* A server side over io, which has to outlive it. NULL: out of memory. */
SSL *bm_tls_new(SSL_CTX *ctx, struct bm_tls_io *io);
/* The next write carries a session ticket, for a device that will be back soon (TLS 1.3; with 1.2 the handshake has given one). */
void bm_tls_ticket(SSL *ssl);
/* DER of the client's certificate and what came after it (not after a resumption), appended to `der`; none: both counts stay 0. */
struct bm_tls_peer {
    struct bm_buf der;
    size_t n; /* certificates in it, the client's own first */
    size_t end[1 + BM_TLS_CLIENT_CERTS_MAX];
};
BM_MUST_USE enum bm_rc bm_tls_peer_certs(const SSL *ssl, struct bm_tls_peer *ret, struct bm_error *e);

#endif
