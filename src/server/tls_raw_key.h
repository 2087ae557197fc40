/* Raw public keys (RFC 7250) in place of client certificates, as far as the OpenSSL underneath has them: from 3.2 on. What such a key is worth
 * the keeper judges, as it does with certificates. The server itself always shows a certificate. */
#ifndef BM_SERVER_TLS_RAW_KEY_H
#define BM_SERVER_TLS_RAW_KEY_H

#include <openssl/ssl.h>
#include <stdbool.h>

bool bm_tls_has_raw_keys(void);
/* Which of certificate and raw key a client shows, is the client's choice: the first of those that it names. False: out of memory. Nothing to
 * do is true. */
bool bm_tls_take_raw_keys(SSL_CTX *ctx);
/* After the handshake: did the client show a key in place of a certificate? */
bool bm_tls_showed_raw_key(const SSL *ssl);

#endif
