/* Where Mbed TLS versions differ: a private key that stays in the root of trust, and the floor of what TLS is spoken. One file of
 * tls_key_*.c is built, chosen by CMake:
 *   tls_key_pkinfo.c   2.28: our own key type through mbedtls/pk_internal.h; any driver
 *   tls_key_opaque.c   3.x with MBEDTLS_USE_PSA_CRYPTO: an opaque PSA key; the soft_psa driver
 *   tls_key_none.c     3.x without it (Debian 13): no TLS client authentication, devices prove themselves by signed challenge */
#ifndef BMD_TLS_KEY_H
#define BMD_TLS_KEY_H

#include "core/x509.h"

#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>

/* Whether this build can; agents fall back to the signed challenge. */
bool bmd_tls_key_possible(void);
/* s must live as long as pk. An Mbed TLS error code, 0 when fine. */
int bmd_tls_key_setup(mbedtls_pk_context *pk, const struct bmd_signer *s);
/* TLS 1.2 at least, forward secrecy and AEAD only. alg: of the client's key, BMD_ALG_NONE for none: with TLS 1.2 the suite's hash is also
 * the one the client signs with, and our keys sign with one hash only. */
void bmd_tls_floor(mbedtls_ssl_config *c, enum bmd_alg alg);
/* Is this result no failure but "call again"? TLS 1.3 tells of tickets that way. */
bool bmd_tls_again(int code);

#endif
