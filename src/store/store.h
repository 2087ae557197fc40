/* The registry: what is on disk, as typed rows. One interface over the database drivers (store/db.h); the SQL lives in the .c files
 * beside this one, numbered migrations in store/migrations/. Only the keeper opens it for writing; readers may open it read-only.
 *
 * Common to all functions: names and codes are copied in and out; `ret` is set only on BM_OK; a row that is not there is
 * BM_NOTFOUND,
 * a unique name or key that is taken is BM_CONFLICT, trouble with the disk or database is BM_IO. Every _put, _set and _add needs
 * an open
 * transaction (BM_BUG otherwise); after a BM_IO inside a transaction the caller rolls back. One thread at a time. Times are Unix
 * seconds. */
#ifndef BM_STORE_STORE_H
#define BM_STORE_STORE_H

#include "base/bytes.h"
#include "base/limits.h"

struct bm_store;

#define BM_NAME_LEN 65 /* bm_name_ok() names with their terminator */
#define BM_UDID_LEN 32
#define BM_SERIAL_LEN 16

/* dsn: "sqlite:PATH", or "postgres:" and what libpq takes: "postgres:host=db1 dbname=birthmark", "postgres://user@host/name". Of a
 * PostgreSQL database there is one writer at a time, BM_CONFLICT "in-use" for a second, unless all of them are `shared`: then each claims a
 * host with bm_store_claim(). create: make and migrate a new one; otherwise it must exist, and is migrated to this program's schema unless
 * read_only. BM_CONFLICT when its schema is newer than this program. */
struct bm_store_options {
    bool create, read_only, shared;
    bool as_is; /* whatever its schema is, none at all with create: for copies, and bm_store_migrate() */
};
BM_MUST_USE enum bm_rc bm_store_open(const char *dsn, struct bm_store_options how, struct bm_store **ret, struct bm_error *e);
void bm_store_close(struct bm_store *s); /* NULL is fine; rolls back what is open */
/* Closes one that was opened with create, and takes away what that made: for an init that failed. */
void bm_store_discard(struct bm_store *s);
static inline void bm_store_closep(struct bm_store **s)
{
    bm_store_close(*s);
}

/* Transactions: one at a time. Commit returns only when the data is on stable storage. */
BM_MUST_USE enum bm_rc bm_store_begin(struct bm_store *s, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_store_commit(struct bm_store *s, struct bm_error *e);
void bm_store_rollback(struct bm_store *s);
bool bm_store_in_transaction(const struct bm_store *s);
/* From here on everything is read as of this moment, whatever others write, until bm_store_rollback(). Results may be of any size. */
BM_MUST_USE enum bm_rc bm_store_snapshot(struct bm_store *s, struct bm_error *e);
/* Trims caches and truncates the write-ahead log; called when idle. */
void bm_store_tidy(struct bm_store *s);

/* --- several hosts on one database -------------------------------------------------------------------------------------------- */
/* From here on this store writes as that host: its log, its counts. Keeps every other process out that would be the same host, until it is
 * closed: BM_CONFLICT "in-use". */
BM_MUST_USE enum bm_rc bm_store_claim(struct bm_store *s, int64_t host_id, struct bm_error *e);
bool bm_store_can_share(const struct bm_store *s); /* does this database take several hosts? */
/* Whose audit log is read from here on; the own one is what claim said. */
void bm_store_use_log(struct bm_store *s, int64_t host_id);
/* The transaction was lost to another host's: the same again may well succeed. Until the next begin. */
bool bm_store_collided(const struct bm_store *s);
/* A number that goes up when a host changes what the others remember: as of the transaction's begin, or asked for now. */
int64_t bm_store_version(const struct bm_store *s);
BM_MUST_USE enum bm_rc bm_store_version_now(struct bm_store *s, int64_t *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_store_version_set(struct bm_store *s, int64_t version, struct bm_error *e);

struct bm_host {
    int64_t id; /* 1: the one that made the registry */
    char name[BM_NAME_LEN];
    int64_t added_at, joined_at, removed_at; /* 0: not yet */
    struct bm_buf log_spki;                  /* DER; empty until it has joined */
};
void bm_host_done(struct bm_host *h);
BM_MUST_USE enum bm_rc bm_host_put(struct bm_store *s, const char *name, int64_t at, struct bm_error *e); /* the next number */
BM_MUST_USE enum bm_rc bm_host_get(struct bm_store *s, const char *name, struct bm_host *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_by_id(struct bm_store *s, int64_t id, struct bm_host *ret, struct bm_error *e);
typedef enum bm_rc bm_host_fn(void *arg, const struct bm_host *h, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_each(struct bm_store *s, bm_host_fn *fn, void *arg, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_count(struct bm_store *s, int64_t *ret, struct bm_error *e); /* those that are not removed */
BM_MUST_USE enum bm_rc bm_host_set_joined(struct bm_store *s, int64_t id, int64_t at, struct bm_rd log_spki, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_set_removed(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);

/* Private keys as they are on disk, sealed, for the other hosts. */
BM_MUST_USE enum bm_rc bm_sealed_key_put(struct bm_store *s, const char *name, struct bm_rd pem, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_sealed_key_get(struct bm_store *s, const char *name, struct bm_buf *ret, struct bm_error *e);
typedef enum bm_rc bm_sealed_key_fn(void *arg, const char *name, struct bm_rd pem, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_sealed_key_each(struct bm_store *s, bm_sealed_key_fn *fn, void *arg, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_sealed_key_drop_all(struct bm_store *s, struct bm_error *e);

/* One unit of the batch's quota out of what this host has leased, out of a new block, or out of another host's; BM_LIMIT when there is none
 * anywhere. For a registry with n_hosts hosts; with one, bm_batch_use() does the same in one statement less. */
BM_MUST_USE enum bm_rc bm_lease_use(struct bm_store *s, int64_t host_id, int64_t n_hosts, int64_t batch_id, struct bm_error *e);
/* What is leased and not used goes back to the batch. */
BM_MUST_USE enum bm_rc bm_lease_fold(struct bm_store *s, int64_t batch_id, struct bm_error *e);

/* --- all of it at once (copy.c) ----------------------------------------------------------------------------------------------- */
struct bm_content {
    int64_t tables, rows;
    uint8_t sha256[32]; /* over every row, the same in whichever database it is */
};
/* Of a store in a snapshot, or that nobody writes to. Leaves out what a database says of itself (its schema number). */
BM_MUST_USE enum bm_rc bm_store_content(struct bm_store *s, struct bm_content *ret, struct bm_error *e);
/* Every row into a store that was just created and has a transaction open. `from` stands still. Whatever fails, roll `to` back. */
BM_MUST_USE enum bm_rc bm_store_copy(struct bm_store *from, struct bm_store *to, struct bm_error *e);
/* Makes a registry at dsn that is as `from`, reads it back, lets `check` (which may be NULL) look at it, and only then commits. Whatever
 * fails, nothing is left at dsn. BM_CONFLICT when there is a registry already. */
typedef enum bm_rc bm_store_check_fn(void *arg, struct bm_store *to, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_store_move(struct bm_store *from, const char *dsn, bm_store_check_fn *check, void *arg,
                                     struct bm_content *ret, struct bm_error *e);
/* All as of one moment, while others write, into a new SQLite file. Not inside a snapshot or transaction. */
BM_MUST_USE enum bm_rc bm_store_backup(struct bm_store *s, const char *path, struct bm_error *e);
/* Up to that schema, of one that was opened as it is and that nobody else has. */
BM_MUST_USE enum bm_rc bm_store_migrate(struct bm_store *s, int64_t upto, struct bm_error *e);

/* Small named values: "schema", "clock", "log-id" ... */
BM_MUST_USE enum bm_rc bm_meta_get(struct bm_store *s, const char *key, struct bm_buf *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_meta_set(struct bm_store *s, const char *key, struct bm_rd value, struct bm_error *e);

/* --- organisations and the certificates they are trusted for ----------------------------------------------------------------- */
struct bm_org {
    int64_t id; /* 0: not stored yet; set by _put */
    char name[BM_NAME_LEN], title[BM_TEXT_MAX];
    char role[24]; /* chip-maker, contract-manufacturer, oem, service-operator, auditor */
    int64_t created_at;
};
BM_MUST_USE enum bm_rc bm_org_put(struct bm_store *s, struct bm_org *o, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_org_get(struct bm_store *s, const char *name, struct bm_org *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_org_by_id(struct bm_store *s, int64_t id, struct bm_org *ret, struct bm_error *e);

#define BM_TRUST_MANIFEST "manifest"       /* may sign manifests */
#define BM_TRUST_BIRTH "birth"             /* anchors birth certificates */
#define BM_TRUST_MASA "masa"               /* anchors the TLS server of its MASA */
#define BM_TRUST_REGISTRAR "registrar"     /* of its network: who may ask for vouchers for its devices */
#define BM_TRUST_ATTESTATION "attestation" /* anchors certificates that vouch for keys of its attested devices */
#define BM_TRUST_RA "ra"                   /* anchors registration authorities: docs/cmp.md */
struct bm_trust {
    int64_t id, org_id;
    char purpose[16];
    uint8_t sha256[32]; /* of der */
    struct bm_buf der;  /* one certificate */
    int64_t created_at;
};
void bm_trust_done(struct bm_trust *t);
BM_MUST_USE enum bm_rc bm_trust_put(struct bm_store *s, struct bm_trust *t, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_trust_by_id(struct bm_store *s, int64_t id, struct bm_trust *ret, struct bm_error *e);
typedef enum bm_rc bm_trust_fn(void *arg, const struct bm_trust *t, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_trust_each(struct bm_store *s, const char *purpose, bm_trust_fn *fn, void *arg, struct bm_error *e);

/* --- certification authorities ------------------------------------------------------------------------------------------------ */
struct bm_ca {
    int64_t id, parent_id; /* parent 0: root */
    char name[BM_NAME_LEN];
    char key_uri[BM_TEXT_MAX]; /* pki/key.h: "file:NAME" */
    char state[16];            /* active, revoked */
    struct bm_buf cert;        /* DER */
    int64_t created_at, revoked_at;
    int reason; /* RFC 5280 section 5.3.1 */
};
void bm_ca_done(struct bm_ca *c);
BM_MUST_USE enum bm_rc bm_ca_put(struct bm_store *s, struct bm_ca *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_get(struct bm_store *s, const char *name, struct bm_ca *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_by_id(struct bm_store *s, int64_t id, struct bm_ca *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_set_revoked(struct bm_store *s, int64_t id, int reason, int64_t at, struct bm_error *e);
typedef enum bm_rc bm_ca_fn(void *arg, const struct bm_ca *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_active_child(struct bm_store *s, int64_t id, char ret[BM_NAME_LEN],
                                          struct bm_error *e);                                      /* ret: "" if none */
BM_MUST_USE enum bm_rc bm_ca_each(struct bm_store *s, bm_ca_fn *fn, void *arg, struct bm_error *e); /* by id: parents first */

/* A root's old and new key, each certified by the other: RFC 9810 section 4.4. */
struct bm_ca_link {
    int64_t id, ca_id, by_id; /* whose key is in it; who signed it */
    int64_t created_at;
    struct bm_buf cert; /* DER */
};
void bm_ca_link_done(struct bm_ca_link *l);
BM_MUST_USE enum bm_rc bm_ca_link_put(struct bm_store *s, struct bm_ca_link *l, struct bm_error *e);
typedef enum bm_rc bm_ca_link_fn(void *arg, const struct bm_ca_link *l, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_link_each(struct bm_store *s, bm_ca_link_fn *fn, void *arg, struct bm_error *e); /* by id */

/* --- certificate profiles, services, products, batches ------------------------------------------------------------------------ */
BM_MUST_USE enum bm_rc bm_profile_put(struct bm_store *s, const char *name, struct bm_rd json, struct bm_error *e); /* or replace */
BM_MUST_USE enum bm_rc bm_profile_get(struct bm_store *s, const char *name, struct bm_buf *ret_json, struct bm_error *e);
typedef enum bm_rc bm_profile_fn(void *arg, const char *name, struct bm_rd json, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_profile_each(struct bm_store *s, bm_profile_fn *fn, void *arg, struct bm_error *e);

struct bm_service {
    int64_t id;
    char name[BM_NAME_LEN], title[BM_TEXT_MAX];
    char kind[24];             /* mqtt, https, aws-iot, azure-dps, lorawan, generic ... */
    char profile[BM_NAME_LEN]; /* "": the product's */
    char endpoints[1024];      /* JSON array of URIs */
    int64_t created_at;
    int64_t org_id; /* who runs it; 0: nobody is named */
    int64_t ca_id;  /* its certificates come from; 0: the product's */
};
BM_MUST_USE enum bm_rc bm_service_put(struct bm_store *s, struct bm_service *v, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_service_get(struct bm_store *s, const char *name, struct bm_service *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_service_by_id(struct bm_store *s, int64_t id, struct bm_service *ret, struct bm_error *e);

struct bm_product {
    int64_t id, org_id;
    char name[BM_NAME_LEN], title[BM_TEXT_MAX];
    char policy[4096]; /* JSON, keeper/policy.h */
    int64_t created_at;
};
BM_MUST_USE enum bm_rc bm_product_put(struct bm_store *s, struct bm_product *p, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_product_get(struct bm_store *s, const char *name, struct bm_product *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_product_by_id(struct bm_store *s, int64_t id, struct bm_product *ret, struct bm_error *e);

struct bm_batch {
    int64_t id, product_id, ca_id; /* ca_id 0: the product's or the default issuing CA */
    char name[BM_NAME_LEN];
    char state[16];      /* open, closed */
    int64_t quota, used; /* devices that may become active, and have */
    int64_t created_at;
    int64_t maker_id; /* the contract manufacturer; 0: nobody is named */
};
BM_MUST_USE enum bm_rc bm_batch_put(struct bm_store *s, struct bm_batch *b, struct bm_error *e); /* id != 0: update all but used */
BM_MUST_USE enum bm_rc bm_batch_get(struct bm_store *s, const char *name, struct bm_batch *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_batch_by_id(struct bm_store *s, int64_t id, struct bm_batch *ret, struct bm_error *e);
/* The CAs that this product's batches name, each once. */
typedef enum bm_rc bm_id_fn(void *arg, int64_t id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_batch_cas(struct bm_store *s, int64_t product_id, bm_id_fn *fn, void *arg, struct bm_error *e);
/* used + n, or BM_LIMIT when that would pass the quota: checked by the database, not by the caller. */
BM_MUST_USE enum bm_rc bm_batch_use(struct bm_store *s, int64_t id, int64_t n, struct bm_error *e);

/* --- devices ------------------------------------------------------------------------------------------------------------------ */
struct bm_device {
    int64_t id, batch_id, owner_id, manifest_id; /* 0: none */
    uint8_t udid[BM_UDID_LEN];
    char rot[32];                               /* root-of-trust kind, docs/manifest.md */
    char state[16];                             /* keeper/state.h */
    struct bm_buf spki, birth_cert, attributes; /* DER; DER or empty; JSON object or empty */
    int64_t created_at, activated_at;
};
void bm_device_done(struct bm_device *d);
BM_MUST_USE enum bm_rc bm_device_put(struct bm_store *s, struct bm_device *d, struct bm_error *e); /* new only; sets d->id */
BM_MUST_USE enum bm_rc bm_device_get(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], struct bm_device *ret,
                                     struct bm_error *e);
BM_MUST_USE enum bm_rc bm_device_by_id(struct bm_store *s, int64_t id, struct bm_device *ret, struct bm_error *e);
/* The two columns an import needs to tell a known device from a conflict, without reading the rest. */
BM_MUST_USE enum bm_rc bm_device_peek(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], int64_t *ret_id, int64_t *ret_batch_id,
                                      struct bm_error *e);
/* activated_at 0 leaves the old value. */
BM_MUST_USE enum bm_rc bm_device_set_state(struct bm_store *s, int64_t id, const char *state, int64_t activated_at,
                                           struct bm_error *e);
BM_MUST_USE enum bm_rc bm_device_set_batch(struct bm_store *s, int64_t id, int64_t batch_id, const char *state, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_device_set_owner(struct bm_store *s, int64_t id, int64_t org_id, struct bm_error *e);

/* --- whose a device has been, and will be -------------------------------------------------------------------------------------- */
struct bm_ownership {
    int64_t id, device_id, from_id, to_id; /* organisations; 0: none */
    int64_t at, until;                     /* until 0: for good */
    int64_t revoked;                       /* credentials that were revoked by it */
    char how[16], actor[64];
};
BM_MUST_USE enum bm_rc bm_ownership_add(struct bm_store *s, struct bm_ownership *o, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ownership_last(struct bm_store *s, int64_t device_id, struct bm_ownership *ret, struct bm_error *e);

/* An offer to change hands that waits for an answer: one at most for each device. */
struct bm_offer {
    int64_t id, device_id, from_id, to_id;
    int64_t created_at, until;
    char actor[64];
};
BM_MUST_USE enum bm_rc bm_offer_put(struct bm_store *s, struct bm_offer *o, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_offer_of(struct bm_store *s, int64_t device_id, struct bm_offer *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_offer_drop(struct bm_store *s, int64_t device_id, struct bm_error *e); /* fine when there is none */

/* A rental that runs. */
struct bm_rental {
    int64_t id, device_id, owner_id, tenant_id; /* owner: whose it is when the rental is over */
    int64_t created_at, ends_at;
};
BM_MUST_USE enum bm_rc bm_rental_put(struct bm_store *s, struct bm_rental *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_rental_of(struct bm_store *s, int64_t device_id, struct bm_rental *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_rental_set_end(struct bm_store *s, int64_t device_id, int64_t ends_at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_rental_drop(struct bm_store *s, int64_t device_id, struct bm_error *e);
/* The one that was the first to be over at `now`; BM_NOTFOUND when none is. */
BM_MUST_USE enum bm_rc bm_rental_due(struct bm_store *s, int64_t now, struct bm_rental *ret, struct bm_error *e);

/* --- jobs: one act on many devices -------------------------------------------------------------------------------------------- */
struct bm_job {
    int64_t id;
    char act[16], state[16]; /* state: filling, running, done, cancelled */
    int reason;              /* RFC 5280 section 5.3.1; -1: the act's own */
    bool listed;             /* its devices were given one by one */
    int64_t created_at, ended_at;
    int64_t last_id, cursor_id; /* of the rows it goes through; how far it is */
    int64_t total;              /* listed: how many; else 0 */
    int64_t looked_at, done, already, refused, revoked;
    char actor[64], request[1024];
};
BM_MUST_USE enum bm_rc bm_job_put(struct bm_store *s, struct bm_job *j, struct bm_error *e); /* id != 0: where it stands */
BM_MUST_USE enum bm_rc bm_job_get(struct bm_store *s, int64_t id, struct bm_job *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_job_running(struct bm_store *s, struct bm_job *ret, struct bm_error *e); /* the oldest; BM_NOTFOUND */
BM_MUST_USE enum bm_rc bm_job_item_add(struct bm_store *s, int64_t job_id, const uint8_t udid[BM_UDID_LEN], struct bm_error *e);
BM_MUST_USE enum bm_rc bm_job_item_drop(struct bm_store *s, int64_t id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_job_refusal_add(struct bm_store *s, int64_t job_id, const uint8_t udid[BM_UDID_LEN], const char *code,
                                          const char *what, struct bm_error *e);
/* What a job goes through: ids after `after`, `limit` at most, in order. */
struct bm_job_item {
    int64_t id;                                        /* what the cursor counts in */
    int64_t device_id, batch_id, product_id, owner_id; /* owner: its own entry, else the product's organisation; listed: all 0 */
    uint8_t udid[BM_UDID_LEN];
    char state[16];
};
typedef enum bm_rc bm_job_item_fn(void *arg, const struct bm_job_item *i, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_job_each_device(struct bm_store *s, int64_t after, int64_t limit, bm_job_item_fn *fn, void *arg,
                                          struct bm_error *e);
BM_MUST_USE enum bm_rc bm_job_each_item(struct bm_store *s, int64_t job_id, int64_t after, int64_t limit, bm_job_item_fn *fn,
                                        void *arg, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_device_last_id(struct bm_store *s, int64_t *ret, struct bm_error *e); /* 0: there are none */
BM_MUST_USE enum bm_rc bm_credential_last_id(struct bm_store *s, int64_t *ret, struct bm_error *e);
/* Credentials after `after`, `limit` at most, in order, with their CA: for what concerns all of one CA. */
struct bm_credential_brief {
    int64_t id, ca_id;
    char state[16];
};
typedef enum bm_rc bm_credential_brief_fn(void *arg, const struct bm_credential_brief *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_credential_each_brief(struct bm_store *s, int64_t after, int64_t limit, bm_credential_brief_fn *fn,
                                                void *arg, struct bm_error *e);

/* --- credentials -------------------------------------------------------------------------------------------------------------- */
struct bm_credential {
    int64_t id, device_id, service_id, ca_id; /* service_id 0: none; device_id 0: the server's own certificate */
    uint8_t serial[BM_SERIAL_LEN];
    char protocol[16], state[16]; /* state: active, revoked */
    char correlation[17];
    struct bm_buf cert; /* DER */
    int64_t not_before, not_after, issued_at, revoked_at;
    int reason;       /* RFC 5280 section 5.3.1 */
    int64_t crl_part; /* of its CA's list that it names; 0: the whole */
};
void bm_credential_done(struct bm_credential *c);
BM_MUST_USE enum bm_rc bm_credential_put(struct bm_store *s, struct bm_credential *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_credential_get(struct bm_store *s, const uint8_t serial[BM_SERIAL_LEN], struct bm_credential *ret,
                                         struct bm_error *e);
BM_MUST_USE enum bm_rc bm_credential_by_id(struct bm_store *s, int64_t id, struct bm_credential *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_credential_set_revoked(struct bm_store *s, int64_t id, int reason, int64_t at, struct bm_error *e);
typedef enum bm_rc bm_credential_fn(void *arg, const struct bm_credential *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_credential_each_of(struct bm_store *s, int64_t device_id, bm_credential_fn *fn, void *arg,
                                             struct bm_error *e); /* oldest first */

/* What OCSP asks: one row, without the certificate. state "active" or "revoked". */
struct bm_revoked {
    int64_t ca_id, not_after, revoked_at;
    uint8_t serial[BM_SERIAL_LEN];
    char state[16];
    int reason; /* RFC 5280 section 5.3.1 */
};
BM_MUST_USE enum bm_rc bm_credential_peek(struct bm_store *s, const uint8_t serial[BM_SERIAL_LEN], struct bm_revoked *ret,
                                          struct bm_error *e);
typedef enum bm_rc bm_revoked_fn(void *arg, const struct bm_revoked *r, struct bm_error *e);
/* All revoked certificates of a CA, or of one part of its list unless that is 0, whose life ends no earlier than not_after_min; in no order to
 * rely on. */
BM_MUST_USE enum bm_rc bm_credential_each_revoked(struct bm_store *s, int64_t ca_id, int64_t part, int64_t not_after_min,
                                                  bm_revoked_fn *fn, void *arg, struct bm_error *e);

/* --- CRLs: which numbers are used up, and which lists may still be around ------------------------------------------------------- */
struct bm_crl_row {
    int64_t ca_id, part, number, this_update, next_update; /* part 0: the list of the whole CA */
};
/* BM_CONFLICT when the CA has used the number. */
BM_MUST_USE enum bm_rc bm_crl_put(struct bm_store *s, const struct bm_crl_row *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_crl_last(struct bm_store *s, int64_t ca_id, int64_t part, struct bm_crl_row *ret, struct bm_error *e);
/* The last number that the CA has used, whatever the part; 0: none. */
BM_MUST_USE enum bm_rc bm_crl_number(struct bm_store *s, int64_t ca_id, int64_t *ret, struct bm_error *e);
/* The oldest one that is good after `now`. */
BM_MUST_USE enum bm_rc bm_crl_oldest(struct bm_store *s, int64_t ca_id, int64_t part, int64_t now, struct bm_crl_row *ret,
                                     struct bm_error *e);
/* Drops those of this part that were over at `before` and have a smaller number than `number`. */
BM_MUST_USE enum bm_rc bm_crl_forget(struct bm_store *s, int64_t ca_id, int64_t part, int64_t before, int64_t number,
                                     struct bm_error *e);

/* A CA's list in parts. */
struct bm_crl_parts {
    int64_t ca_id, n, highest; /* n: for new certificates; 0: none */
    char url[BM_TEXT_MAX];     /* they are at URL/CA.pN.crl */
};
BM_MUST_USE enum bm_rc bm_crl_parts_set(struct bm_store *s, const struct bm_crl_parts *p, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_crl_parts_get(struct bm_store *s, int64_t ca_id, struct bm_crl_parts *ret,
                                        struct bm_error *e); /* n 0 when there are none */

/* --- manifests: how far each import has come ---------------------------------------------------------------------------------- */
struct bm_manifest_row {
    int64_t id, org_id, batch_id;
    uint8_t digest[32]; /* SHA-256 of its header line (or of its first entry for foreign formats): names the manifest */
    uint8_t prev[32];   /* digest of the last seal taken in */
    char format[24];
    int64_t next_seq, entries, bad; /* next block expected; lines taken; lines refused */
    bool complete;
    int64_t created_at;
};
BM_MUST_USE enum bm_rc bm_manifest_put(struct bm_store *s, struct bm_manifest_row *m, struct bm_error *e); /* id != 0: update */
BM_MUST_USE enum bm_rc bm_manifest_by_digest(struct bm_store *s, const uint8_t digest[32], struct bm_manifest_row *ret,
                                             struct bm_error *e);

BM_MUST_USE enum bm_rc bm_manifest_by_id(struct bm_store *s, int64_t id, struct bm_manifest_row *ret, struct bm_error *e);

/* --- one-time codes: docs/codes.md ----------------------------------------------------------------------------------------------- */
struct bm_code_row {
    int64_t id, device_id, batch_id;                     /* one of the two is 0 */
    int64_t uses, used;                                  /* allowed, had */
    int64_t created_at, expires_at, used_at, revoked_at; /* 0: never */
    char note[BM_TEXT_MAX];
    uint8_t digest[32]; /* SHA-256 of the code */
};
BM_MUST_USE enum bm_rc bm_code_row_put(struct bm_store *s, struct bm_code_row *c, struct bm_error *e); /* new only; sets c->id */
/* Compares whole digests in constant time. */
BM_MUST_USE enum bm_rc bm_code_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_code_row *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_code_row_by_id(struct bm_store *s, int64_t id, struct bm_code_row *ret, struct bm_error *e);
/* One use more; BM_DENIED "code-used-up" when there is none left, or it was revoked: decided by the database, not by the caller. */
BM_MUST_USE enum bm_rc bm_code_row_use(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_code_row_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);

/* --- requests that a person has to approve: docs/approval.md --------------------------------------------------------------------- */
struct bm_approval {
    int64_t id, batch_id, service_id, code_id; /* service_id 0: none; code_id 0: it came without a one-time code */
    uint8_t udid[BM_UDID_LEN];
    uint8_t key[32]; /* SHA-256 of the public key asked for */
    bool keygen;     /* there is none yet: it is to be made here */
    char state[16];  /* waiting, approved, denied, used */
    char protocol[16], correlation[17], peer[64];
    char decided_by[80];
    int64_t created_at, expires_at, decided_at, used_at; /* 0: not yet */
};
BM_MUST_USE enum bm_rc bm_approval_put(struct bm_store *s, struct bm_approval *a, struct bm_error *e); /* new only; sets a->id */
/* The row for a->udid, service_id, key or keygen that is neither used nor over; one that is decided before one that waits. */
BM_MUST_USE enum bm_rc bm_approval_find(struct bm_store *s, const struct bm_approval *a, int64_t now, struct bm_approval *ret,
                                        struct bm_error *e);
BM_MUST_USE enum bm_rc bm_approval_by_id(struct bm_store *s, int64_t id, struct bm_approval *ret, struct bm_error *e);
/* Writes a->state, decided_at, decided_by and expires_at, unless it was used meanwhile: BM_CONFLICT. */
BM_MUST_USE enum bm_rc bm_approval_decide(struct bm_store *s, const struct bm_approval *a, struct bm_error *e);
/* Approved to used: BM_CONFLICT when it was not approved. */
BM_MUST_USE enum bm_rc bm_approval_use(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_approval_forget(struct bm_store *s, int64_t before,
                                          struct bm_error *e); /* those that were over by then */
/* How many wait: of this device; of those that came with this code; in all. */
BM_MUST_USE enum bm_rc bm_approval_waiting_of(struct bm_store *s, const uint8_t udid[BM_UDID_LEN], int64_t *ret,
                                              struct bm_error *e);
BM_MUST_USE enum bm_rc bm_approval_waiting_with(struct bm_store *s, int64_t code_id, int64_t *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_approval_waiting(struct bm_store *s, int64_t *ret, struct bm_error *e);

/* --- tokens of the Admin API (docs/api.md) --------------------------------------------------------------------------------------- */
struct bm_token {
    int64_t id, org_id; /* org_id 0: of no organisation */
    char name[BM_NAME_LEN], role[24];
    uint8_t sha256[32];                                       /* of the token's text */
    int64_t created_at, expires_at, revoked_at, last_used_at; /* 0: never */
};
BM_MUST_USE enum bm_rc bm_token_put(struct bm_store *s, struct bm_token *t, struct bm_error *e); /* new only */
BM_MUST_USE enum bm_rc bm_token_get(struct bm_store *s, const char *name, struct bm_token *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_token_by_hash(struct bm_store *s, const uint8_t sha256[32], struct bm_token *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_token_set_revoked(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_token_set_used(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);
/* Those that are neither revoked nor expired. */
BM_MUST_USE enum bm_rc bm_token_count_good(struct bm_store *s, int64_t now, int64_t *ret, struct bm_error *e);

/* --- claims: docs/codes.md -------------------------------------------------------------------------------------------------------- */
struct bm_claim {
    int64_t id, device_id, batch_id; /* both 0: the devices of its list */
    int64_t from_id, org_id;         /* who gives; who has taken, 0: nobody yet */
    int64_t last_id, cursor_id;      /* of what is walked through; done when equal */
    int64_t moved, passed;
    int64_t created_at, expires_at, taken_at, done_at, revoked_at; /* 0: not */
    char note[BM_TEXT_MAX];
    uint8_t digest[32];
};
BM_MUST_USE enum bm_rc bm_claim_put(struct bm_store *s, struct bm_claim *c, struct bm_error *e); /* new only; sets c->id */
BM_MUST_USE enum bm_rc bm_claim_add_item(struct bm_store *s, int64_t claim_id, int64_t device_id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_claim_find(struct bm_store *s, const uint8_t digest[32], struct bm_claim *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_claim_by_id(struct bm_store *s, int64_t id, struct bm_claim *ret, struct bm_error *e);
/* Once: BM_CONFLICT "claim-taken". Fixes what it covers: devices that join the batch later are not in it. */
BM_MUST_USE enum bm_rc bm_claim_take(struct bm_store *s, struct bm_claim *c, int64_t org_id, int64_t at, struct bm_error *e);
/* The next devices, at most max; moves c->cursor_id over them. None does not mean the end: that is cursor_id == last_id. */
BM_MUST_USE enum bm_rc bm_claim_next(struct bm_store *s, struct bm_claim *c, int64_t *ret_devices, size_t max, size_t *ret_n,
                                     struct bm_error *e);
/* cursor_id, moved, passed, done_at */
BM_MUST_USE enum bm_rc bm_claim_step(struct bm_store *s, const struct bm_claim *c, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_claim_revoke(struct bm_store *s, int64_t id, int64_t at, struct bm_error *e);

/* --- SCEP transactions: docs/scep.md ------------------------------------------------------------------------------------------------ */
struct bm_scep_row {
    int64_t id, created_at;
    uint8_t digest[32];
    bool waits; /* for an approval: `message` is the request as it came; otherwise `serial` is the certificate's */
    uint8_t serial[BM_SERIAL_LEN];
    struct bm_buf message;
};
void bm_scep_row_done(struct bm_scep_row *r);
BM_MUST_USE enum bm_rc bm_scep_row_find(struct bm_store *s, const uint8_t digest[32], struct bm_scep_row *ret, struct bm_error *e);
/* In place of the one of this digest, if there is one. Those that were made before `forget` go. */
BM_MUST_USE enum bm_rc bm_scep_row_set(struct bm_store *s, struct bm_scep_row *r, int64_t forget, struct bm_error *e);
/* --- vouchers: docs/brski.md ------------------------------------------------------------------------------------------------------ */
#define BM_DOMAIN_ID_MAX 32
struct bm_voucher_row {
    int64_t id, device_id, org_id;                        /* org: whose network it is for; 0: nobody knows */
    int64_t created_at, expires_at, told_at, enrolled_at; /* 0: not */
    char serial_number[65], assertion[16], nonce[65], correlation[17];
    char told[16], enrolled[16]; /* what the device said of it: "", accepted, refused */
    char reason[256];
    uint8_t domain_id[BM_DOMAIN_ID_MAX];
    size_t domain_id_len;
    uint8_t digest[32]; /* SHA-256 of the voucher */
};
BM_MUST_USE enum bm_rc bm_voucher_row_put(struct bm_store *s, struct bm_voucher_row *v, struct bm_error *e); /* new only */
/* The newest of a device; the newest with this serial number. */
BM_MUST_USE enum bm_rc bm_voucher_row_last(struct bm_store *s, int64_t device_id, struct bm_voucher_row *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_voucher_row_by_serial(struct bm_store *s, const char *serial_number, struct bm_voucher_row *ret,
                                                struct bm_error *e);
/* What the device said: told, told_at, enrolled, enrolled_at and reason as they are in v. */
BM_MUST_USE enum bm_rc bm_voucher_row_tell(struct bm_store *s, const struct bm_voucher_row *v, struct bm_error *e);
typedef enum bm_rc bm_voucher_row_fn(void *arg, const struct bm_voucher_row *v, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_voucher_row_each(struct bm_store *s, int64_t device_id, int64_t limit, bm_voucher_row_fn *fn, void *arg,
                                           struct bm_error *e); /* newest first */
BM_MUST_USE enum bm_rc bm_voucher_row_count(struct bm_store *s, int64_t device_id, int64_t *ret, struct bm_error *e);

/* --- refusals: what `birthmark why` tells ------------------------------------------------------------------------------------- */
struct bm_refusal {
    int64_t id, at;
    char correlation[17], protocol[16], code[32], peer[64];
    char what[224];
    uint8_t udid[BM_UDID_LEN];
    bool has_udid;
};
BM_MUST_USE enum bm_rc bm_refusal_add(struct bm_store *s, const struct bm_refusal *r,
                                      struct bm_error *e); /* keeps BM_REFUSALS_KEPT */

/* --- audit log rows (audit/log.h gives them meaning) -------------------------------------------------------------------------- */
/* All of these are about one host's log: bm_store_use_log(). */
BM_MUST_USE enum bm_rc bm_audit_leaf_add(struct bm_store *s, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e);
typedef enum bm_rc bm_audit_leaf_fn(void *arg, int64_t index, int64_t at_ms, struct bm_rd data, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_leaf_each(struct bm_store *s, int64_t from, int64_t to, bm_audit_leaf_fn *fn, void *arg,
                                          struct bm_error *e);                                    /* from <= index < to, in order */
BM_MUST_USE enum bm_rc bm_audit_leaf_count(struct bm_store *s, int64_t *ret, struct bm_error *e); /* the last index and one */
/* The highest number of a host with a leaf; 0: there is none. */
BM_MUST_USE enum bm_rc bm_audit_last_log(struct bm_store *s, int64_t *ret_host_id, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_tile_add(struct bm_store *s, int level, int64_t index, const uint8_t hash[32], struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_tile_get(struct bm_store *s, int level, int64_t index, uint8_t ret[32], struct bm_error *e);
BM_MUST_USE enum bm_rc bm_audit_tile_count(struct bm_store *s, int64_t *ret, struct bm_error *e);
struct bm_tree_head {
    int64_t size, at_ms;
    uint8_t root[32];
    struct bm_buf signature;
};
void bm_tree_head_done(struct bm_tree_head *h);
BM_MUST_USE enum bm_rc bm_tree_head_add(struct bm_store *s, const struct bm_tree_head *h, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_tree_head_last(struct bm_store *s, struct bm_tree_head *ret, struct bm_error *e);
typedef enum bm_rc bm_tree_head_fn(void *arg, const struct bm_tree_head *h, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_tree_head_each(struct bm_store *s, bm_tree_head_fn *fn, void *arg, struct bm_error *e); /* by size */

/* --- lists and stories: for people, as JSON ----------------------------------------------------------------------------------- */
/* kind: org, trust, ca, profile, service, product, batch, device, credential, manifest, refusal, ownership, offer, rental, job, job-refusal, token. Rows after `after_id` (0: from
 * the start), at most
 * `limit`, newest last, each handed over as one JSON text with names instead of foreign ids, hex for digests, RFC 3339 times.
 * Kinds of docs/codes.md: code, claim; of docs/approval.md: approval; of docs/brski.md: voucher.
 * filter: "column=value" pairs as the list verbs of the command take them (device: state, batch, product; credential: udid, state,
 * service; refusal: correlation, udid, code); NULL ends it. An unknown kind or column is BM_USAGE. */
typedef enum bm_rc bm_row_fn(void *arg, int64_t id, const char *json, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_store_list(struct bm_store *s, const char *kind, const char *const *filter, int64_t after_id,
                                     int64_t limit, bm_row_fn *fn, void *arg, struct bm_error *e);
/* Devices per state; states that no device is in are left out. */
typedef void bm_tally_fn(void *arg, const char *name, int64_t n);
BM_MUST_USE enum bm_rc bm_store_device_states(struct bm_store *s, bm_tally_fn *fn, void *arg, struct bm_error *e);
/* What one organisation may see of the registry. A kind that has no rule for `of` (list.c) is BM_DENIED. */
struct bm_scope {
    enum bm_scope_of {
        BM_SCOPE_ALL,
        BM_SCOPE_MAKER,   /* contract manufacturer: its batches, their devices and manifests */
        BM_SCOPE_OEM,     /* its products and their batches, and the devices it owns */
        BM_SCOPE_SERVICE, /* its services, their credentials, and the devices that have one */
        BM_SCOPES
    } of;
    int64_t org_id;
};
/* bm_store_list() of what is in scope; NULL: all. */
BM_MUST_USE enum bm_rc bm_store_list_in(struct bm_store *s, const struct bm_scope *scope, const char *kind,
                                        const char *const *filter, int64_t after_id, int64_t limit, bm_row_fn *fn, void *arg,
                                        struct bm_error *e);
/* Rows of each kind, and devices per state: one JSON object. */
BM_MUST_USE enum bm_rc bm_store_counts(struct bm_store *s, struct bm_buf *ret_json, struct bm_error *e);

#endif
