/* The SDK on POSIX: clock, files, sockets with deadlines, crypto through PSA, TLS through Mbed TLS. */
#ifndef BMD_POSIX_H
#define BMD_POSIX_H

#include "core/client.h"

#include <stdio.h>
#include <sys/types.h>

int64_t bmd_now(void);    /* Unix seconds */
int64_t bmd_now_ms(void); /* monotonic */

/* --- crypto_psa.c ----------------------------------------------------------------------------------------------------------------- */

/* Needs psa_crypto_init(), which opening the soft_psa driver does. */
extern const struct bmd_crypto bmd_crypto_psa;

/* --- file.c ----------------------------------------------------------------------------------------------------------------------- */

/* At most cap bytes; BMD_NOT_FOUND, BMD_NO_SPACE when larger, BMD_COMM. */
BMD_MUST_USE enum bmd_rc bmd_file_read(const char *path, uint8_t *ret, size_t cap, size_t *ret_len);
/* A new file below directory dir (an open descriptor), on disk when it returns; BMD_EXISTS when there is one. */
BMD_MUST_USE enum bmd_rc bmd_file_write(int dir, const char *name, mode_t mode, struct bmd_rd data);
/* Makes path and what is missing above it. */
BMD_MUST_USE enum bmd_rc bmd_dir_make(const char *path, mode_t mode);
/* Removes a directory with everything in it, at most 8 deep; follows no links. */
void bmd_dir_remove(int parent, const char *name);
/* Points the link `name` in `dir` at `target`, in one step. */
BMD_MUST_USE enum bmd_rc bmd_link_swap(int dir, const char *name, const char *target);

/* --- pem.c ------------------------------------------------------------------------------------------------------------------------ */

/* RFC 7468. label: "CERTIFICATE" ... */
void bmd_pem(struct bmd_wr *w, const char *label, struct bmd_rd der);
/* SEC 1 ECPrivateKey (RFC 5915) of a P-256 or P-384 key as PEM. */
void bmd_pem_ec_key(struct bmd_wr *w, enum bmd_alg alg, struct bmd_rd scalar, struct bmd_rd point);

/* --- net.c ------------------------------------------------------------------------------------------------------------------------ */

struct bmd_net {
    int fd;
    int64_t deadline_ms; /* bmd_now_ms() at which everything gives up */
};
/* why: at least 128 characters. */
BMD_MUST_USE enum bmd_rc bmd_net_open(struct bmd_net *n, const char *host, const char *port, unsigned timeout_ms, char *why);
void bmd_net_close(struct bmd_net *n);
/* Waits for events of poll(2) until the deadline. */
BMD_MUST_USE bool bmd_net_wait(const struct bmd_net *n, short events);

/* --- tls.c ------------------------------------------------------------------------------------------------------------------------ */

struct bmd_tls_config {
    const char *host, *port;
    const char *anchors[2];          /* PEM files, NULL for none */
    const uint8_t *pin;              /* SHA-256 over the SubjectPublicKeyInfo of the server or of a CA it sends; NULL: none */
    const struct bmd_signer *signer; /* NULL: no client certificate */
    struct bmd_rd cert;              /* its certificate, DER */
    unsigned timeout_ms;             /* for the whole connection */
};
struct bmd_tls;
/* Whether this build of Mbed TLS can authenticate a client whose key stays in the root of trust; without it signer must be NULL. */
bool bmd_tls_client_certs(void);
/* Connects and checks the server: by its anchors and name, or by its pin. why: at least 128 characters. */
BMD_MUST_USE enum bmd_rc bmd_tls_open(const struct bmd_tls_config *cfg, struct bmd_tls **ret, char *why);
void bmd_tls_close(struct bmd_tls *t); /* NULL is fine */
/* Sends and feeds until the exchange is done or failed. */
void bmd_tls_drive(struct bmd_tls *t, struct bmd_client *c);

#endif
