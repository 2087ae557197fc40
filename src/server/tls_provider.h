/* The part of OpenSSL that strangers on the network can reach. Its default provider decodes keys of some thirty kinds from a dozen formats, and
 * OpenSSL 3.0 tries its way through all of them for each certificate: 45 us of every handshake. A certificate on the wire needs one format and
 * the few kinds of key we serve, so a provider of our own hands on the default one's algorithms and leaves the other decoders out (the
 * technique is that of OpenSSL's test/filterprov.c). No algorithm is ours. */
#ifndef BM_SERVER_TLS_PROVIDER_H
#define BM_SERVER_TLS_PROVIDER_H

#include <openssl/types.h>

/* One for the process, made at the first call and kept. NULL, which means OpenSSL's own context: it could not be made. */
OSSL_LIB_CTX *bm_tls_library(void);

#endif
