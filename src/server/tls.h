/* TLS as Birthmark serves it: 1.2 and 1.3, ephemeral keys, AEAD only; a client certificate is asked for, never required. Who
 * sent it, and whether he holds its key, the keeper judges: from the handshake's messages, which are kept for it (pki/handshake.h). No
 * resumption: it would bring no such proof, and costs OpenSSL 3.0 more than a handshake with ECDSA P-256. */
#ifndef BM_SERVER_TLS_H
#define BM_SERVER_TLS_H

#include "keeper/wire.h"

#include <openssl/ssl.h>

/* What TLS reads from and writes to. Writes only gather in `out`, so that a response and the close_notify leave in one send. */
struct bm_tls_io {
    int fd;
    bool eof;
    struct bm_buf out; /* the caller sets max and sends it */
};

/* From the server certificate, key and nonce of a view. */
BM_MUST_USE enum bm_rc bm_tls_context(const struct bm_view *v, SSL_CTX **ret, struct bm_error *e);

/* The same over another method: DTLS, which sets the rest itself (server/dtls.c). */
BM_MUST_USE enum bm_rc bm_tls_context_of(const SSL_METHOD *method, const struct bm_view *v, SSL_CTX **ret, struct bm_error *e);

/* What a client has shown. Set `max` of the buffers before bm_tls_new(). Without a certificate all is empty once the handshake is over. */
struct bm_tls_peer {
    struct bm_buf der; /* certificates, the client's own first; or its raw public key, SubjectPublicKeyInfo, alone */
    bool raw_key;
    size_t n; /* certificates; 0 with a raw key */
    size_t end[1 + BM_TLS_CLIENT_CERTS_MAX];
    struct bm_buf transcript, verify; /* handshake messages, and the client's CertificateVerify */
    uint8_t binding[BM_BINDING_MAX];  /* bm_tls_binding() */
    size_t binding_len;
};
void bm_tls_peer_done(struct bm_tls_peer *p);
/* A server side over io; both io and peer have to outlive it. NULL: out of memory. */
SSL *bm_tls_new(SSL_CTX *ctx, struct bm_tls_io *io, struct bm_tls_peer *peer);
/* After the handshake: DER of the client's certificate and what came after it, or of its raw public key, appended to `der`; none: that stays empty. BM_LIMIT also when the
 * handshake was too long to be kept. */
BM_MUST_USE enum bm_rc bm_tls_peer_certs(const SSL *ssl, struct bm_tls_peer *ret, struct bm_error *e);

/* What both ends of this connection know and nobody else: tls-unique (RFC 5929) with TLS 1.2, tls-exporter (RFC 9266) with 1.3; into
 * peer->binding. BM_BUG when OpenSSL has none. */
BM_MUST_USE enum bm_rc bm_tls_binding(SSL *ssl, struct bm_tls_peer *peer, struct bm_error *e);

#endif
