/* birthmark-fleet: plays many devices with real keys and real TLS against a server. SDK core, a software root of trust in memory over
 * OpenSSL, blocking sockets, and a few forked processes that share the devices out among themselves. */
#ifndef BMD_FLEET_H
#define BMD_FLEET_H

#include "core/client.h"

#include <netdb.h>
#include <openssl/ssl.h>
#include <stdio.h>

/* --- keys.c: the file of device keys ------------------------------------------------------------------------------------------- */

enum { FLEET_SCALAR = 32, FLEET_POINT = 65, FLEET_RECORD = FLEET_SCALAR + FLEET_POINT + BMD_UDID_LEN, FLEET_HEAD = 32 };

/* "BMFLEET1", u64 big-endian number of devices, zeros up to FLEET_HEAD; then one record of fixed size per device, so that a million are
 * at hand at once: private scalar, public point, UDID. Play devices only: the file holds private keys (mode 0600). */
struct fleet_keys {
    const uint8_t *map;
    size_t map_len;
    uint64_t n;
};
struct fleet_record {
    const uint8_t *scalar, *point, *udid;
};
int fleet_keys_make(const char *path, uint64_t n, const char *seed, unsigned jobs); /* exit status */
int fleet_keys_open(const char *path, struct fleet_keys *ret);                      /* 0, or -1 after saying why */
void fleet_keys_close(struct fleet_keys *k);
struct fleet_record fleet_keys_at(const struct fleet_keys *k, uint64_t i);
int fleet_spki_print(const struct fleet_keys *k, uint64_t first, uint64_t count, FILE *out);

/* --- soft_openssl.c: root of trust in memory ------------------------------------------------------------------------------------ */

extern const struct bmd_rot_driver fleet_soft; /* P-256, FLEET_SLOTS volatile keys, no storage */
extern const struct bmd_crypto fleet_crypto;
enum { FLEET_SLOTS = 4 };
/* Puts a known private key into a slot: play devices have theirs from a file. */
enum bmd_rc fleet_soft_put(struct bmd_rot *r, uint32_t slot, const uint8_t *scalar, const uint8_t *point, bmd_key *ret);
/* The same key for the TLS library; a new reference, or NULL. */
EVP_PKEY *fleet_soft_tls_key(struct bmd_rot *r, bmd_key k);

/* --- link.c: one TLS connection --------------------------------------------------------------------------------------------------- */

struct fleet_server {
    char host[256], port[8];
    char authority[272]; /* Host header */
    struct addrinfo *addresses;
};
int fleet_server_find(const char *url, struct fleet_server *ret); /* https://HOST[:PORT]; 0, or -1 after saying why */

struct fleet_link {
    int fd;
    SSL *ssl;
};
/* anchors: PEM file, NULL: do not verify. ciphers and versions are the library's, TLS 1.2 at least. */
SSL_CTX *fleet_tls_new(const char *anchors);
/* cert and key may be NULL. why: at least 96 characters. */
int fleet_link_open(struct fleet_link *l, SSL_CTX *tls, const struct fleet_server *server, X509 *cert, EVP_PKEY *key, char *why);
void fleet_link_close(struct fleet_link *l); /* safe on the zero state */
/* Sends all and feeds `c` until its step is done or failed. */
void fleet_link_drive(struct fleet_link *l, struct bmd_client *c);

/* --- device.c: one play device ---------------------------------------------------------------------------------------------------- */

enum fleet_mode { FLEET_NEW, FLEET_KEPT, FLEET_RENEW };
enum fleet_attack {
    ATTACK_NONE,
    ATTACK_UNKNOWN_KEY, /* a key that is in no registry */
    ATTACK_CLONE,       /* says it is a genuine device, has another key */
    ATTACK_WRONG_BATCH, /* says it is of another batch */
    ATTACK_REPLAY,      /* sends an accepted signed answer a second time */
    ATTACK_STOLEN_CERT, /* has a genuine device's certificate without its key */
    ATTACK_FORGED_CSR,  /* asks for a certificate over a key it does not hold */
    ATTACK_NO_SERVICE,  /* asks for a service that its product does not have */
    ATTACKS
};
extern const char *const fleet_attack_names[ATTACKS];

struct fleet_options {
    const char *keys, *server_url, *service, *batch, *anchors, *out;
    uint64_t first, count;
    unsigned jobs, repeat, retries;
    bool est, challenge, insecure, certs, json, quiet;
    enum fleet_mode mode;
    enum fleet_attack attack;
};

enum fleet_outcome { FLEET_ONBOARDED, FLEET_REFUSED, FLEET_ERROR, FLEET_OUTCOMES };
extern const char *const fleet_outcome_names[FLEET_OUTCOMES];

struct fleet_result {
    uint8_t udid[BMD_UDID_LEN]; /* the one it said it had */
    enum fleet_outcome outcome;
    char code[96]; /* refusal code, or why it went wrong */
    char correlation[BMD_HTTP_CORRELATION_LEN];
    uint32_t retry_after_s;
    uint64_t us;        /* of the last operation */
    uint8_t cert[4096]; /* last certificate received */
    size_t cert_len;
};

/* What one process needs for its devices; reused from device to device. */
struct fleet_player {
    const struct fleet_options *options;
    const struct fleet_server *server;
    SSL_CTX *tls;
    struct bmd_rot rot;
    uint8_t *rot_ctx;
    struct fleet_link shared_link; /* kept, with a signed challenge: one connection for all devices */
    struct bmd_client client;
    uint8_t tx[16 * 1024], rx[64 * 1024];
    void (*timed)(void *arg, uint64_t us); /* called after every operation that went through */
    void *arg;
};
int fleet_player_init(struct fleet_player *p);
void fleet_player_done(struct fleet_player *p);
void fleet_play(struct fleet_player *p, struct fleet_record r, struct fleet_result *ret);

/* --- run.c, report.c -------------------------------------------------------------------------------------------------------------- */

enum { FLEET_CODES_MAX = 32, FLEET_JOBS_MAX = 64 };

struct fleet_tally {
    uint64_t outcomes[FLEET_OUTCOMES], operations;
    struct {
        char code[96];
        uint64_t n;
    } codes[FLEET_CODES_MAX];
};
struct fleet_summary {
    struct fleet_tally tally;
    uint32_t *us; /* of all operations, unsorted */
    uint64_t n_us;
    double seconds, cpu_seconds;
};
int fleet_run(const struct fleet_options *o); /* exit status: 0 all went as expected, 1 not all, 2 could not start */
void fleet_progress(uint64_t done, uint64_t all, double seconds, bool last);
void fleet_report(const struct fleet_options *o, struct fleet_summary *s); /* sorts s->us */
uint64_t fleet_now_us(void);

#endif
