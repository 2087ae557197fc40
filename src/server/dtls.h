/* DTLS 1.2 (RFC 6347) as CoAP wants it: RFC 7925 and RFC 9148 section 7. Datagrams go in and out through the caller; there is no socket here. Certificates,
 * schemes, nonces and what is kept for the keeper are those of TLS (server/tls.h).
 *
 * Nothing is held, and nothing but a HelloVerifyRequest said, until a client has shown that it receives what is sent to its address. */
#ifndef BM_SERVER_DTLS_H
#define BM_SERVER_DTLS_H

#include "server/tls.h"

/* What one session reads from and writes to. */
struct bm_dtls_io {
    struct bm_rd in; /* the datagram that has come; empty: none */
    void (*send)(void *arg, struct bm_rd datagram);
    void *arg;
    struct bm_rd address;     /* what a cookie stands for: the peer's address and port, and ours; borrowed */
    struct bm_tls_peer *peer; /* from the cookie on; NULL before */
    uint16_t taped;           /* number of our next message that goes into its transcript */
};

/* Keys of cookies: one in use, and the one before it. */
struct bm_dtls_cookies {
    uint8_t now[32], before[32];
    int64_t changed_ms;
};
BM_MUST_USE enum bm_rc bm_dtls_cookies_init(struct bm_dtls_cookies *c, struct bm_error *e);
void bm_dtls_cookies_turn(struct bm_dtls_cookies *c, int64_t now_ms); /* a new key when it is time */

/* cookies is borrowed, for as long as the context or a session of it lives. */
BM_MUST_USE enum bm_rc bm_dtls_context(const struct bm_view *v, struct bm_dtls_cookies *cookies, SSL_CTX **ret, struct bm_error *e);
/* A server side that has heard nothing; io has to outlive it. NULL: out of memory. */
SSL *bm_dtls_new(SSL_CTX *ctx, struct bm_dtls_io *io);
/* Could this be the first datagram of a handshake? A look at its header, which costs nothing. */
bool bm_dtls_is_hello(struct bm_rd datagram);
/* Client random of a ClientHello, as far as it is one whole. */
bool bm_dtls_hello_random(struct bm_rd datagram, struct bm_rd *ret);
/* Gives io->in to a side that has heard nothing. True: it brought a good cookie; the side is a session from now on, keeps in `peer` what is
 * shown, and goes on with SSL_accept(). False: it has been answered, or not, and the side is as new. */
bool bm_dtls_listen(SSL *ssl, struct bm_dtls_io *io, struct bm_tls_peer *peer);

#endif
