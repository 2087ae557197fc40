/* The load for doors that take messages: CMP and SCEP. Requests are made beforehand with OpenSSL's own CMP and PKCS #7 code, then sent
 * by many clients at once, so that making them is in nobody's account. */
#ifndef BM_BENCH_MESSAGES_H
#define BM_BENCH_MESSAGES_H

#include "base/bytes.h"

#include <openssl/x509.h>

enum { DEVICES_MAX = 512 };

/* A device: its key, and a self-signed certificate with the UDID as common name. */
struct device {
    EVP_PKEY *key;
    X509 *cert;
};

/* What a protocol is. */
struct protocol {
    const char *name, *content_type, *query;
    const char *alg; /* of devices' keys */
    /* One request, DER, each another transaction. ra: from GetCACert, or NULL. */
    void (*make)(const struct device *d, X509 *ra, struct bm_buf *ret);
    bool (*granted)(struct bm_rd answer); /* does it hold a certificate? */
};
extern const struct protocol load_cmp, load_scep;

void *need(void *p); /* both end the program when the library fails */
void must(int ok);

/* A connection to 127.0.0.1; tls: NULL over plain HTTP. */
struct link {
    int fd;
    struct ssl_st *tls;
};
/* url: "http://127.0.0.1:PORT", or https. */
bool http_connect(const char *url, struct link *ret);
void http_close(struct link *l);
/* One HTTP request; the answer's body into ret. body empty: GET. False: the connection is of no more use, or it was not 200. */
bool http_ask(const struct link *l, const char *url, const char *path, const char *content_type, struct bm_rd body,
              struct bm_buf *ret);

/* Sends n requests from `jobs` clients and prints one JSON object. */
int replay(const struct protocol *p, const char *url, const char *path, const struct bm_buf *requests, size_t n, size_t jobs);

#endif
