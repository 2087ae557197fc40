/* OCSP stapling: within the handshake a client that asks gets the keeper's answer about our own certificate (RFC 6066 section 8, RFC 8446 section
 * 4.4.2.1). It is asked for again at half its life, and whenever the keeper says that something has changed: so a revocation of the server's
 * certificate is stapled with the next handshake. */
#ifndef BM_SERVER_STAPLE_H
#define BM_SERVER_STAPLE_H

#include "server/keeper_link.h"

#include <openssl/ssl.h>

struct bm_staple;

/* settled: called once for each bm_staple_use(), later, when the answer is there or there is none to be had. */
BM_MUST_USE enum bm_rc bm_staple_new(struct event_base *base, struct bm_link *link, void (*settled)(void *arg), void *arg,
                                     struct bm_staple **ret, struct bm_error *e);
/* After the last connection: contexts keep pointing here. NULL is fine; calls nothing back. */
void bm_staple_free(struct bm_staple *s);
/* Staples to the handshakes of this context from now on, and asks about its certificate. */
void bm_staple_use(struct bm_staple *s, SSL_CTX *tls);

#endif
