/* The keeper: the one process that holds the CA keys and writes the registry. It checks policy and state, signs, writes registry and
 * audit log, commits, and only then answers. The same code runs inside `birthmark` when no server is up. */
#ifndef BM_KEEPER_KEEPER_H
#define BM_KEEPER_KEEPER_H

#include "base/bytes.h"
#include "base/confine.h"

#include <jansson.h>

struct bm_keeper;

/* Tokens that hold keys of CAs (pki/pkcs11.h). */
struct bm_keeper_tokens {
    const char *module, *pin_file; /* NULL or empty: none */
    const char *paths;             /* with commas; NULL or empty: none */
    bool sockets;                  /* the module makes connections */
};

struct bm_config;
struct bm_keeper_tokens bm_keeper_tokens_of(const struct bm_config *c); /* borrows from it */

/* What an operator may allow more or less of; 0 is the default of base/limits.h. */
struct bm_keeper_limits {
    unsigned scep_strangers_second, scep_strangers_address, scep_known_key;
    unsigned voucher_request_age_s, voucher_events;
};
struct bm_keeper_limits bm_keeper_limits_of(const struct bm_config *c);

struct bm_keeper_options {
    const char *data_dir;
    const char *secret_file;                  /* what seals the keys; NULL: DATA/secret */
    const char *journal;                      /* folder of the journal (store/journal.h); NULL or empty: none */
    const char *tls_cert_file, *tls_key_file; /* PEM; NULL: the certificate that our own CA issued and renews */
    const char *tls_hosts;                    /* comma-separated names and addresses for that certificate */
    const char *store;                        /* dsn (store/store.h); NULL or empty: sqlite:DATA/registry.db */
    const char *host;                         /* which of a registry's hosts; NULL or empty: the one that made it */
    unsigned acme_http_port, acme_tls_port;   /* 0: 80, 443 */
    const char *acme_help_url;                /* about limits; NULL: there is none */
    struct bm_keeper_tokens tokens;
    struct bm_keeper_limits limits;
    enum bm_confine_mode confine; /* bm_keeper_run() only: how it locks itself in once all is open */
};
/* Takes DATA/lock (BM_CONFLICT "in-use" when another process has it), opens store, log and keys. */
BM_MUST_USE enum bm_rc bm_keeper_open(const struct bm_keeper_options *o, struct bm_keeper **ret, struct bm_error *e);
void bm_keeper_close(struct bm_keeper *k); /* signs a last tree head; NULL is fine */
void bm_keeper_closep(struct bm_keeper **k);

/* The dsn of the registry: `store`, or what stands for it when that is NULL or empty. BM_LIMIT. */
BM_MUST_USE enum bm_rc bm_keeper_dsn(const char *data_dir, const char *store, char *ret, size_t ret_len, struct bm_error *e);

/* Takes DATA/lock until *ret_fd is closed: no other process then opens it. BM_CONFLICT "in-use". */
BM_MUST_USE enum bm_rc bm_data_lock(const char *data_dir, int *ret_fd, struct bm_error *e);

/* Makes DATA: secret, store, root and issuing CA, log key, TLS certificate. BM_CONFLICT when DATA already holds a registry. */
struct bm_init_options {
    const char *data_dir;
    const char *secret_file;  /* NULL: DATA/secret, made with 32 random bytes */
    const char *ca_alg;       /* "EC:P-256" ... for both CAs */
    const char *organisation; /* O= of the CA subjects */
    const char *tls_hosts;
    const char *store;                  /* as above */
    const char *root_key, *issuing_key; /* URIs of keys in a token; NULL: files here */
    bool existing_keys;                 /* they are in the token already */
    struct bm_keeper_tokens tokens;
};
BM_MUST_USE enum bm_rc bm_keeper_init(const struct bm_init_options *o, struct bm_error *e);

/* Makes DATA for one more host of a registry in PostgreSQL: it must be expected ("host.add"), and the secret is there already. BM_NOTFOUND
 * "no-host", BM_CONFLICT "host-taken", "already-there", BM_DENIED "wrong-secret". */
struct bm_join_options {
    const char *data_dir, *secret_file, *store; /* as above */
    const char *name;                           /* of the host */
    const char *tls_hosts;
};
BM_MUST_USE enum bm_rc bm_keeper_join(const struct bm_join_options *o, struct bm_error *e);

/* Runs one administrator's act in a transaction of its own: request {"op": "product.create", ...} (keeper/admin.h lists them), blob for those
 * that take one. ret_reply: a new reference. */
BM_MUST_USE enum bm_rc bm_keeper_admin(struct bm_keeper *k, const json_t *request, struct bm_rd blob, const char *actor,
                                       json_t **ret_reply, struct bm_error *e);

/* The keeper process. control_fd: socket from the supervisor, which sends one worker socket per message (SCM_RIGHTS) and whose end means
 * stop. admin_path: where the administrator's socket is made (mode 0600). Returns the exit status. */
int bm_keeper_run(const struct bm_keeper_options *o, int control_fd, const char *admin_path);

#endif
