/* The inside of the keeper, shared by the files of this folder only. */
#ifndef BM_KEEPER_INTERNAL_H
#define BM_KEEPER_INTERNAL_H

#include "audit/log.h"
#include "base/code.h"
#include "base/text.h"
#include "keeper/admin.h"
#include "keeper/keeper.h"
#include "keeper/observe.h"
#include "keeper/policy.h"
#include "keeper/state.h"
#include "keeper/wire.h"
#include "pki/cert.h"
#include "pki/crl.h"
#include "store/journal.h"

/* An issuing CA ready for use: its certificate parsed, its key open, its chain at hand. */
struct bm_issuer {
    struct bm_ca row;
    struct bm_cert cert; /* borrows from row.cert */
    struct bm_key *key;  /* opened on first use: bm_issuer_key() */
    size_t n_chain;
    struct bm_buf chain[BM_CHAIN_MAX]; /* this one first, root last; DER */
    struct bm_crl_parts crl;
    struct bm_issuer *next; /* in the same slot of the cache */
};

/* A production line: what all devices of one batch have in common. */
struct bm_line {
    struct bm_batch batch;
    struct bm_product product;
    struct bm_policy policy;
    struct bm_org owner; /* the product's organisation */
    struct bm_issuer *issuer;
    int64_t until; /* when its CA hands over to another; INT64_MAX: not that we know */
    struct bm_profile *profile;
    size_t n_services;
    struct bm_line_service {
        struct bm_service row;
        struct bm_profile *profile; /* its own, or NULL: the line's */
        struct bm_issuer *issuer;   /* its own, or the line's; NULL: its own is revoked */
    } services[BM_SERVICES_MAX];
};

struct bm_revocation; /* revocation.h: CRLs and OCSP answers kept ready */
/* What strangers may guess at, each counted for itself. */
enum bm_guess {
    BM_GUESS_CODE_ADDRESS,
    BM_GUESS_CODE_TARGET,
    BM_GUESS_TOKEN,
    BM_GUESS_MAC,
    BM_GUESS_ACME_ORDER,
    BM_GUESS_SCEP_ADDRESS,
    BM_GUESS_SCEP_KEY,
    BM_GUESSES
};
struct bm_attempts;
struct bm_makers;    /* maker_crl.c: revocation lists of others */
struct bm_brski;     /* brski.h: keys that sign vouchers */
struct bm_secrets;   /* symmetric.h: keys that seal devices' secrets, and what else goes with those */
struct bm_ra;        /* scep.h: the key and certificate that speak SCEP for a CA */
struct bm_scep_next; /* scep_next.c */
struct bm_import;    /* admin_manifest.c: an import between two of its blocks */
#define BM_IMPORTS_MAX 8

#define BM_CACHE_SLOTS 256   /* issuers and lines each, by id; a slot has one line, and any number of issuers */
#define BM_ISSUERS_KEPT 1024 /* more of them are forgotten when the next transaction begins */

struct bm_used_challenge {
    uint8_t random[16];
    int64_t expires_at; /* 0: free */
    bool undone;        /* what it was used for was taken back: it is as good as new */
};

/* Which host we are among those that share the registry (host.c). */
struct bm_host_self {
    int64_t id;      /* 1: the first */
    int64_t n;       /* how many there are */
    int64_t version; /* of what we remember of the registry */
    bool look;       /* see again how many there are */
    bool touched;    /* this transaction changes what others remember */
    bool removed;
};

struct bm_errand_kind;
/* What the keeper remembers of errands; the rest is in the registry (errand.h). */
struct bm_errands {
    const struct bm_errand_kind *const *kinds; /* NULL: bm_errand_kinds; a test has its own */
    int64_t next_at;                           /* when the courier is to be woken, Unix seconds */
    int64_t look_ms, counted_ms;               /* steady clock */
    int64_t open;                              /* how many, as of counted_ms, and those added since */
};

/* A handshake that has been verified: the next request on its connection costs no signature check. */
struct bm_seen_handshake {
    uint8_t digest[32];
    int64_t epoch; /* 0: free */
};
#define BM_HANDSHAKES_SEEN 1024 /* direct-mapped by digest */

struct bm_keeper {
    struct bm_keeper_options options; /* strings borrowed from the caller */
    struct bm_watch watch;
    int lock_fd;
    struct bm_store *store;
    struct bm_audit audit;
    struct bm_journal *journal; /* NULL: none */
    struct bm_keyring ring;
    struct bm_buf secret;
    struct bm_key *log_key;
    struct bm_issuer *issuers[BM_CACHE_SLOTS];
    size_t n_issuers;
    struct bm_line *lines[BM_CACHE_SLOTS];
    struct bm_import *imports[BM_IMPORTS_MAX];
    struct bm_revocation *revocation;
    struct bm_attempts *attempts[BM_GUESSES]; /* attempts.c */
    struct bm_secrets *secrets;
    struct bm_ra *ras[BM_CACHE_SLOTS];
    struct bm_scep_next *scep_next;
    struct bm_brski *brski;
    struct bm_makers *makers;
    struct bm_error truth; /* about a refusal whose cause is for the operator alone; rc BM_OK: none */
    bool told;             /* about a refusal that has been written down before, and is not again */
    size_t next_import;
    int64_t dry_runs; /* begun so far; they go by negative numbers */
    uint8_t challenge_key[32], handshake_key[32];
    EVP_MAC_CTX *challenge_mac;     /* with the former; NULL until it is needed */
    struct bm_seen_handshake *seen; /* BM_HANDSHAKES_SEEN of them */
    struct bm_used_challenge *used; /* open addressing, power of two */
    size_t used_cap, used_n;
    uint8_t (*fresh)[16]; /* those used in the open transaction */
    size_t n_fresh, fresh_cap;
    struct bm_host_self host;
    struct bm_errands errands;
    int64_t clock_high; /* the latest time seen, Unix seconds */
    int64_t refusal_second, refusal_tokens;
    int64_t scep_second, scep_tokens; /* scep_admit.c */
    uint64_t view_version;
    bool in_server;               /* chores are done by its loop */
    bool view_changed;            /* workers are to be told */
    const char *actor;            /* of the administrator's act being run */
    const struct bm_scope *scope; /* whose it is; NULL: it may reach everything */
    int64_t started_at;
    char key_made[BM_NAME_LEN];      /* its mark goes with the commit: key_mark.c */
    char token_keys[2][BM_TEXT_MAX]; /* made by this transaction: token.c */
    size_t n_token_keys;
};

/* open.c */
BM_MUST_USE enum bm_rc bm_keeper_now(struct bm_keeper *k, int64_t *ret, struct bm_error *e); /* BM_AGAIN "clock-went-back" */

BM_MUST_USE enum bm_rc bm_keeper_new(const struct bm_keeper_options *o, struct bm_keeper **ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_keeper_read_secret(struct bm_keeper *k, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_keeper_open_store(struct bm_keeper *k, bool create, struct bm_error *e);

/* host.c */
BM_MUST_USE enum bm_rc bm_host_open(struct bm_keeper *k, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_check_key(struct bm_keeper *k, struct bm_error *e);
/* Begins a transaction, and forgets what other hosts have changed since the last one. What the caches lent before is gone. */
BM_MUST_USE enum bm_rc bm_keeper_begin(struct bm_keeper *k, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_poll(struct bm_keeper *k, struct bm_error *e); /* the same without a transaction */
BM_MUST_USE enum bm_rc bm_host_tell(struct bm_keeper *k, struct bm_error *e); /* before a commit */
void bm_host_told(struct bm_keeper *k, bool committed);
/* The key under which meta holds this host's own value. */
const char *bm_host_meta(const struct bm_keeper *k, const char *what, char ret[BM_NAME_LEN]);
/* A key file of ours, sealed, for the other hosts; one of theirs into our folder. */
BM_MUST_USE enum bm_rc bm_host_publish_key(struct bm_keeper *k, const char *uri, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_host_fetch_key(struct bm_keeper *k, const char *uri, struct bm_error *e);

/* cache.c: lent until the next bm_cache_drop(); a line, until the next one is asked for */
BM_MUST_USE enum bm_rc bm_issuer_get(struct bm_keeper *k, int64_t ca_id, struct bm_issuer **ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_issuer_default(struct bm_keeper *k, struct bm_issuer **ret, struct bm_error *e); /* tls_cert.c */
BM_MUST_USE enum bm_rc bm_issuer_key(struct bm_keeper *k, struct bm_issuer *i, struct bm_error *e);
/* own_cert.c: a certificate by this CA for a key of our own; sets ca_id, certificate, dates and serial number of *c, and writes no row */
BM_MUST_USE enum bm_rc bm_own_cert(struct bm_keeper *k, struct bm_issuer *by, const char *profile_name, struct bm_rd spki,
                                   const struct bm_subject_words *words, int64_t now, struct bm_credential *c, struct bm_error *e);
enum { BM_ORG_LEN = 65 };
void bm_own_org(const struct bm_issuer *by, char ret[BM_ORG_LEN]); /* the organisation in the CA's name, or ours */
BM_MUST_USE enum bm_rc bm_line_get(struct bm_keeper *k, int64_t batch_id, struct bm_line **ret, struct bm_error *e);
/* The issuing CA that a batch of this product uses now, and until when. */
BM_MUST_USE enum bm_rc bm_line_ca(struct bm_keeper *k, const struct bm_batch *b, const struct bm_policy *p, int64_t *ret_ca,
                                  int64_t *ret_until, struct bm_error *e);
/* ca_rotate.c: from a CA that has handed over to the one that issues in its place now. */
BM_MUST_USE enum bm_rc bm_ca_follow(struct bm_keeper *k, int64_t *id, int64_t *ret_until, struct bm_error *e);
bool bm_ca_handed_over(struct bm_keeper *k, int64_t id);
BM_MUST_USE enum bm_rc bm_profile_open(struct bm_keeper *k, const char *name, struct bm_profile **ret, struct bm_error *e);
void bm_cache_drop(struct bm_keeper *k);

/* journal.c: opens the one that is configured; and puts the sealed file of a new key into it, within the transaction that needs it */
BM_MUST_USE enum bm_rc bm_keeper_open_journal(struct bm_keeper *k, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_keeper_journal_key(struct bm_keeper *k, const char *uri, struct bm_error *e);

/* challenge.c */
/* Keyed as long as this process lives. */
void bm_challenge_mac(struct bm_keeper *k, struct bm_rd in, uint8_t ret[32]);
void bm_challenge_make(struct bm_keeper *k, int64_t now, uint8_t ret[BM_CHALLENGE_LEN]);
BM_MUST_USE enum bm_rc bm_challenge_check(struct bm_keeper *k, struct bm_rd challenge, int64_t now, struct bm_error *e);
/* Remembers it, after the signature over it has been verified. */
BM_MUST_USE enum bm_rc bm_challenge_use(struct bm_keeper *k, struct bm_rd challenge, int64_t now, struct bm_error *e);
/* The transaction that they were used in is done. undo: its commands run once more. */
void bm_challenges_settled(struct bm_keeper *k, bool undo);

/* handshake.c: the nonce that workers put into handshakes now, and the check that the certificate's key took part in one that holds it.
 * BM_DENIED "handshake-unproven" or "bad-signature", BM_AGAIN "handshake-stale", BM_MALFORMED. */
void bm_keeper_nonce(const struct bm_keeper *k, uint8_t ret[BM_HANDSHAKE_NONCE_LEN]);
BM_MUST_USE enum bm_rc bm_keeper_check_handshake(struct bm_keeper *k, const struct bm_evidence *v, struct bm_error *e);

/* evidence.c: who is this? */
struct bm_proven {
    struct bm_device device;
    struct bm_credential credential; /* the LDevID it came with; id 0: it showed its IDevID */
    bool birth_certificate;          /* it showed one of a trusted chip maker */
    struct bm_rd subject;            /* of the certificate presented, borrowed from the command; or empty */
    struct bm_code_row code;         /* the one-time code it came with; id 0: none. Then device.id 0: it is to be registered */
};
void bm_proven_done(struct bm_proven *p);
/* Finds the device and checks that the proof is its own. States and expiry are the caller's business: bm_proven_fit(). */
BM_MUST_USE enum bm_rc bm_evidence_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now,
                                         struct bm_proven *ret, struct bm_error *e);
/* Whose key it shows: a signed challenge or a TLS client certificate. BM_NOTFOUND: a key nobody has registered, *ret_spki. */
BM_MUST_USE enum bm_rc bm_evidence_shown(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now,
                                         struct bm_proven *ret, struct bm_rd *ret_spki, struct bm_error *e);
/* From a certificate to one that an organisation is trusted for; which organisation. BM_DENIED "untrusted-birth-certificate". */
BM_MUST_USE enum bm_rc bm_evidence_chain(struct bm_keeper *k, const char *purpose, const struct bm_evidence *v,
                                         const struct bm_cert *leaf, int64_t now, int64_t *ret_org, struct bm_error *e);
/* evidence_attested.c: a device whose maker vouches for each of its keys */
BM_MUST_USE enum bm_rc bm_evidence_attested(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                                            struct bm_error *e);
/* evidence_mac.c: the same for a MAC with a secret key */
BM_MUST_USE enum bm_rc bm_evidence_mac(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now,
                                       struct bm_proven *ret, struct bm_error *e);
/* udid that the refusal is about, as far as it is known; for the record. */
bool bm_evidence_udid(struct bm_keeper *k, const struct bm_enrol *c, uint8_t ret[BM_UDID_LEN]);

/* code.c: one-time codes, docs/codes.md */
#define BM_CODE_PURPOSE "birthmark-code-v1"
void bm_code_digest(const char *purpose, const uint8_t raw[BM_CODE_LEN], uint8_t ret[32]);
BM_MUST_USE enum bm_rc bm_code_make(const char *purpose, char ret_text[BM_CODE_TEXT_LEN], uint8_t ret_digest[32],
                                    struct bm_error *e); /* wipe the text after use */
BM_MUST_USE enum bm_rc bm_code_read_digest(const char *purpose, struct bm_rd text, uint8_t ret[32], struct bm_error *e);
BM_MUST_USE enum bm_rc bm_code_judge(struct bm_keeper *k, uint8_t op, const struct bm_enrol *c, int64_t now, struct bm_proven *ret,
                                     struct bm_error *e);
/* Whom the key of the requests stands for, as a newcomer to this batch if nobody knows it; where its product lets devices register themselves. */
BM_MUST_USE enum bm_rc bm_code_join(struct bm_keeper *k, int64_t batch_id, const struct bm_enrol *c, int64_t now,
                                    struct bm_proven *ret, struct bm_error *e);
bool bm_code_udid(const struct bm_enrol *c, uint8_t ret[BM_UDID_LEN]); /* of a newcomer, for the record */
/* Before the first credential is written; afterwards only the disk may fail. */
BM_MUST_USE enum bm_rc bm_code_spend(struct bm_keeper *k, const struct bm_enrol *c, struct bm_proven *who, int64_t now,
                                     struct bm_error *e);

/* pop.c: does the request say which TLS connection it was made for (RFC 7030 section 3.5)? BM_DENIED "pop-unlinked" when it should and does
 * not, "pop-mismatch" when it is another one. dry: there is no connection. */
BM_MUST_USE enum bm_rc bm_pop_check(const struct bm_enrol *c, const struct bm_policy *p, const struct bm_csr *csr, bool dry,
                                    struct bm_error *e);

/* approval.c: what a person has to approve, docs/approval.md. check: wanted[i] has service_id and the key's digest; on BM_OK all of them are
 * approved, and their ids are for bm_approval_use(). BM_AGAIN "approval-pending", BM_DENIED "approval-denied", BM_LIMIT "approval-limit": the
 * first of these leaves rows behind, unless it is a dry run. */
bool bm_approval_needed(const struct bm_policy *p, const struct bm_device *d);
BM_MUST_USE enum bm_rc bm_approval_check(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, bool dry,
                                         int64_t now, struct bm_approval *wanted, size_t n, struct bm_error *e);

/* keygen.c: EST serverkeygen */
struct bm_keygen {
    struct bm_buf spki, key; /* key: PKCS#8, or a CMS message around it */
    uint8_t form;            /* enum bm_key_form */
};
void bm_keygen_done(struct bm_keygen *g);
/* What can be said against it before a key is made. */
BM_MUST_USE enum bm_rc bm_keygen_check(const struct bm_enrol *c, const struct bm_proven *who, const struct bm_line *l,
                                       const struct bm_csr *csr, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_keygen(struct bm_keeper *k, const struct bm_enrol *c, const struct bm_proven *who, struct bm_line *l,
                                 const struct bm_csr *csr, int64_t now, struct bm_keygen *ret, struct bm_error *e);

/* attempts.c: wrong guesses of late under this name, and one more, which answers how many it makes; UINT32_MAX when memory is short */
uint32_t bm_attempts_of(struct bm_keeper *k, enum bm_guess what, struct bm_rd name, int64_t now);
uint32_t bm_attempts_add(struct bm_keeper *k, enum bm_guess what, struct bm_rd name, int64_t now);
/* What of a peer counts. One who has an IPv6 network has 2^64 addresses: its first half. Borrows from both. */
struct bm_rd bm_attempts_address(const char *peer, uint8_t room[16]);
void bm_attempts_drop(struct bm_keeper *k);
/* Of codes, by address and by target: what the code was given with. Who names a target cannot lock others out of it: once it has had too many
 * wrong codes, only addresses that have sent wrong ones themselves are turned away. BM_AGAIN "too-many-attempts". */
BM_MUST_USE enum bm_rc bm_code_attempts_check(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now,
                                              struct bm_error *e);
void bm_code_attempts_wrong(struct bm_keeper *k, const char *peer, struct bm_rd target, int64_t now);

/* enrol.c, status.c, view.c: payload in, payload out */
BM_MUST_USE enum bm_rc bm_run_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out,
                                    struct bm_error *e);
/* The same for a request that came inside another protocol's message; a refusal is written down. dispatch.c */
BM_MUST_USE enum bm_rc bm_judge_enrol(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out,
                                      struct bm_error *e);
BM_MUST_USE enum bm_rc bm_run_status(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, struct bm_buf *out,
                                     struct bm_error *e);
BM_MUST_USE enum bm_rc bm_run_trust(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out,
                                    struct bm_error *e); /* trust.c */
BM_MUST_USE enum bm_rc bm_run_view(struct bm_keeper *k, int64_t now, struct bm_buf *out, struct bm_error *e);
const char *bm_credential_status(const struct bm_credential *c, int64_t now); /* active, expired, revoked */
int64_t bm_renew_after(const struct bm_policy *p, int64_t not_before, int64_t not_after);

/* scep.c */
BM_MUST_USE enum bm_rc bm_run_scep(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
/* scep_ra.c: the keys of those who speak SCEP, for the other hosts; what is kept of them */
BM_MUST_USE enum bm_rc bm_ra_publish(struct bm_keeper *k, int64_t ca_id, struct bm_error *e);
void bm_ra_drop(struct bm_keeper *k);

/* tls_cert.c */
BM_MUST_USE enum bm_rc bm_tls_identity(struct bm_keeper *k, int64_t now, struct bm_buf *ret_chain_pem, struct bm_buf *ret_key,
                                       struct bm_error *e);

/* record.c: the audit log and the refusals */
BM_MUST_USE enum bm_rc bm_record(struct bm_keeper *k, int64_t now, const char *event, const json_t *fields,
                                 struct bm_error *e); /* adds event, actor */
BM_MUST_USE enum bm_rc bm_record_raw(struct bm_keeper *k, int64_t now, struct bm_rd json, struct bm_error *e);
/* Best effort within BM_REFUSALS_PER_SECOND, both. */
BM_MUST_USE enum bm_rc bm_record_refused(struct bm_keeper *k, int64_t now, const struct bm_refusal *r, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_record_refusal(struct bm_keeper *k, const struct bm_enrol *c, int64_t now, const struct bm_error *why,
                                         struct bm_error *e);
/* Ends the open transaction: commits when rc is BM_OK; otherwise, or when that fails, takes everything back, caches included. */
BM_MUST_USE enum bm_rc bm_keeper_settle(struct bm_keeper *k, enum bm_rc rc, struct bm_error *e);
enum bm_rc bm_keeper_sign_head(struct bm_keeper *k, int64_t now, struct bm_error *e);

/* dispatch.c: one command; commits nothing itself */
struct bm_command_in {
    uint8_t type;
    bool admin;   /* came over the administrator's socket */
    bool courier; /* came from the courier, which has one command; it is nobody else's */
    const char *actor;
    struct bm_rd payload;
};
bool bm_command_needs_transaction(struct bm_keeper *k, const struct bm_command_in *c);
bool bm_command_stands_alone(struct bm_keeper *k, const struct bm_command_in *c);
/* Appends the answer's payload; BM_IO means the transaction is lost. */
BM_MUST_USE enum bm_rc bm_command_run(struct bm_keeper *k, const struct bm_command_in *c, struct bm_buf *out, struct bm_error *e);
uint32_t bm_retry_after(const struct bm_error *e);

/* One administrator's act in the transaction it needs; the answer's JSON goes to out. */
BM_MUST_USE enum bm_rc bm_run_request(struct bm_keeper *k, const json_t *in, struct bm_rd blob, const char *actor,
                                      struct bm_buf *out, struct bm_error *e);

/* api.c: acts that came over HTTPS with a token */
struct bm_api_plan {
    bool granted;       /* false: a refusal is to be written down */
    bool writes, joins; /* of the act, when granted */
};
struct bm_api_plan bm_api_plan(struct bm_keeper *k, struct bm_rd payload);
BM_MUST_USE enum bm_rc bm_run_api(struct bm_keeper *k, struct bm_rd payload, struct bm_buf *out, struct bm_error *e);

/* admin_util.c */
const char *bm_arg_text(const json_t *in, const char *member); /* NULL when absent */
BM_MUST_USE enum bm_rc bm_arg_name(const json_t *in, const char *member, const char **ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_arg_hex(const json_t *in, const char *member, void *ret, size_t n, struct bm_error *e);
int64_t bm_arg_int(const json_t *in, const char *member, int64_t absent);
/* A date, "2030-01-31T12:00:00Z", or how long from now, "30d". Later than now and within max_s of it; absent: now + absent_s, unless that is
 * 0. BM_USAGE. */
BM_MUST_USE enum bm_rc bm_arg_until(const json_t *in, const char *member, int64_t now, int64_t absent_s, int64_t max_s,
                                    int64_t *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_arg_reason(const json_t *in, int absent, int *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_admin_list(struct bm_keeper *k, const char *kind, const char *const *filters, const json_t *in,
                                     json_t *out, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_admin_one(struct bm_keeper *k, const char *kind, const char *filter, const char *value, json_t *out,
                                    struct bm_error *e);
void bm_keeper_jsonp(json_t **j);
/* For bm_pem_parse(): a certificate that parses, written once more to the bm_buf arg, and nothing else of what may be in the file. */
BM_MUST_USE enum bm_rc bm_admin_add_pem(void *arg, struct bm_rd der, struct bm_error *e);
int bm_json_pem(json_t *out, const char *member, struct bm_rd der);

/* secrets.c, kek_life.c: opened keys that may belong to rows taken back; a rotation under way, one step at a time in its own transaction */
void bm_secrets_forget(struct bm_keeper *k);
void bm_secrets_done(struct bm_keeper *k);
bool bm_kek_pending(struct bm_keeper *k);
void bm_kek_work(struct bm_keeper *k);
BM_MUST_USE enum bm_rc bm_kek_tell(struct bm_keeper *k, json_t *out, struct bm_error *e);

/* admin_manifest.c: the batch that an import goes into, 0: none. BM_NOTFOUND. */
BM_MUST_USE enum bm_rc bm_import_batch(struct bm_keeper *k, int64_t id, int64_t *ret, struct bm_error *e);
/* forgets where imports stand, as the store may have gone back; dry runs too when `all` */
void bm_imports_drop(struct bm_keeper *k, bool all);

/* revocation.c. Everything that revokes goes through the first two, so that what is kept ready is made anew. */
BM_MUST_USE enum bm_rc bm_revoke_credential(struct bm_keeper *k, int64_t id, int reason, int64_t at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_revoke_ca(struct bm_keeper *k, int64_t id, int reason, int64_t at, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_run_crl(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_run_ocsp(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out,
                                   struct bm_error *e); /* ocsp.c */
/* cmp.c */
BM_MUST_USE enum bm_rc bm_run_cmp(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
/* cmp_secret.c: keeps the text of a code, sealed, as messages are protected with it. */
BM_MUST_USE enum bm_rc bm_cmp_keep_code(struct bm_keeper *k, const struct bm_code_row *row, const char *text, struct bm_error *e);
void bm_revocation_outdated(struct bm_keeper *k);   /* another host has revoked something, or may have */
void bm_revocation_look_again(struct bm_keeper *k); /* there may be other CAs now */
/* The part of its CA's list that a new certificate of this serial number belongs to, and where it is; 0 and "": the CA's is whole. */
#define BM_CRL_URL_LEN (BM_TEXT_MAX + BM_NAME_LEN + 48)
int64_t bm_crl_part_of(const struct bm_issuer *by, const uint8_t serial[BM_SERIAL_LEN], char ret_url[BM_CRL_URL_LEN]);
void bm_revocation_drop(struct bm_keeper *k); /* all that is kept: the transaction it was made in is lost, or the keeper closes */

/* brski.c */
BM_MUST_USE enum bm_rc bm_run_brski(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
void bm_brski_drop(struct bm_keeper *k); /* the keys: the transaction they were certified in is lost, or the keeper closes */
/* acme.c: docs/acme.md */
BM_MUST_USE enum bm_rc bm_run_acme(struct bm_keeper *k, struct bm_rd payload, int64_t now, struct bm_buf *out, struct bm_error *e);
/* Somebody has looked whether a challenge ("order-authorization-challenge", as in its address) is fulfilled. problem: NULL, it is. One that is
 * decided already, or gone, stays as it is. acme_validate.c */
BM_MUST_USE enum bm_rc bm_acme_validated(struct bm_keeper *k, const char *challenge, const struct bm_error *problem, int64_t now,
                                         struct bm_error *e);

/* chores.c: one bounded piece of what there is to do without being asked; true when there is more. Not inside a transaction. */
bool bm_chores_step(struct bm_keeper *k, int64_t now);
/* Something that falls due row by row: one row of the list, each in its own file. */
struct bm_chore {
    const char *name, *what;                                                  /* for the log: cannot WHAT */
    enum bm_rc (*look)(struct bm_keeper *k, int64_t now, struct bm_error *e); /* BM_NOTFOUND: nothing is due */
    enum bm_rc (*next)(struct bm_keeper *k, int64_t now,
                       struct bm_error *e); /* inside a transaction; BM_NOTFOUND: that was the last */
};
extern const struct bm_chore bm_chore_rental, bm_chore_cmp, bm_chore_acme, bm_chore_upstream, bm_chore_maker_crl;
/* What is due of it, within BM_CHORE_MS, in a transaction of its own; true when there is more. */
bool bm_chore_step(struct bm_keeper *k, const struct bm_chore *c, int64_t now);

/* token.c: keys in PKCS#11 tokens */
enum { BM_TOKEN_PATHS_LEN = 512 };
BM_MUST_USE enum bm_rc bm_keeper_open_tokens(struct bm_keeper *k, const struct bm_keeper_tokens *t, struct bm_error *e);
void bm_keeper_warm_tokens(struct bm_keeper *k);
void bm_keeper_limits_fill(struct bm_keeper_limits *l); /* limits.c */
/* What the module may reach, out of the configuration's list; `room` holds the texts. */
size_t bm_keeper_token_paths(const struct bm_keeper_tokens *t, char room[BM_TOKEN_PATHS_LEN], struct bm_confine_path *ret,
                             size_t ret_room);
/* Makes a key that is destroyed again unless the transaction commits. BM_CONFLICT "token-key-exists". */
BM_MUST_USE enum bm_rc bm_token_key_make(struct bm_keeper *k, const char *uri, const char *alg, struct bm_error *e);
void bm_token_keys_settled(struct bm_keeper *k, bool undo);
void bm_observe_tokens(struct bm_keeper *k, int64_t now_ms);

/* key_mark.c: a key file is written before the row that names it is committed. Its mark, beside it, says that it may still be nobody's. */
BM_MUST_USE enum bm_rc bm_key_mark(struct bm_keeper *k, const char *name, struct bm_error *e); /* BM_CONFLICT: the name is taken */
void bm_key_marks_committed(struct bm_keeper *k);
/* Of marked keys those that no CA names are taken away; all marks are. Called before anybody can make a key. */
BM_MUST_USE enum bm_rc bm_key_marks_tidy(struct bm_keeper *k, struct bm_error *e);

/* admin_device.c */
/* The device that "udid" names, and the time. */
BM_MUST_USE enum bm_rc bm_arg_device(struct bm_keeper *k, const json_t *in, struct bm_device *ret, int64_t *ret_now,
                                     struct bm_error *e);
BM_MUST_USE enum bm_rc bm_device_revoke_all(struct bm_keeper *k, int64_t device_id, int reason, int64_t now, int64_t *ret_n,
                                            struct bm_error *e);

/* the handlers of admin.h's table, one file per family: admin_org.c ... */
#define BM_ADMIN_HANDLER(name)                                                                                                     \
    enum bm_rc name(struct bm_keeper *k, const json_t *in, struct bm_rd blob, json_t *out, struct bm_error *e)
BM_ADMIN_HANDLER(bm_admin_org_create);
BM_ADMIN_HANDLER(bm_admin_org_list);
BM_ADMIN_HANDLER(bm_admin_org_show);
BM_ADMIN_HANDLER(bm_admin_org_trust);
BM_ADMIN_HANDLER(bm_admin_profile_list);
BM_ADMIN_HANDLER(bm_admin_profile_show);
BM_ADMIN_HANDLER(bm_admin_profile_set);
BM_ADMIN_HANDLER(bm_admin_ca_create);
BM_ADMIN_HANDLER(bm_admin_ca_list);
BM_ADMIN_HANDLER(bm_admin_ca_show);
BM_ADMIN_HANDLER(bm_admin_ca_revoke);
BM_ADMIN_HANDLER(bm_admin_ca_default);
BM_ADMIN_HANDLER(bm_admin_ca_set);
BM_ADMIN_HANDLER(bm_admin_ca_rotate);
BM_ADMIN_HANDLER(bm_admin_ca_retire);
BM_ADMIN_HANDLER(bm_admin_ca_rollover);
BM_ADMIN_HANDLER(bm_admin_ca_upstream);
BM_ADMIN_HANDLER(bm_admin_approval_list);
BM_ADMIN_HANDLER(bm_admin_approval_approve);
BM_ADMIN_HANDLER(bm_admin_approval_deny);
BM_ADMIN_HANDLER(bm_admin_claim_create);
BM_ADMIN_HANDLER(bm_admin_claim_list);
BM_ADMIN_HANDLER(bm_admin_claim_take);
BM_ADMIN_HANDLER(bm_admin_claim_revoke);
BM_ADMIN_HANDLER(bm_admin_voucher_masa);
BM_ADMIN_HANDLER(bm_admin_voucher_issue);
BM_ADMIN_HANDLER(bm_admin_voucher_list);
BM_ADMIN_HANDLER(bm_admin_voucher_show);
BM_ADMIN_HANDLER(bm_admin_eab_create);
BM_ADMIN_HANDLER(bm_admin_eab_list);
BM_ADMIN_HANDLER(bm_admin_eab_revoke);
BM_ADMIN_HANDLER(bm_admin_account_list);
BM_ADMIN_HANDLER(bm_admin_account_revoke);
BM_ADMIN_HANDLER(bm_admin_code_create);
BM_ADMIN_HANDLER(bm_admin_code_list);
BM_ADMIN_HANDLER(bm_admin_code_revoke);
BM_ADMIN_HANDLER(bm_admin_service_create);
BM_ADMIN_HANDLER(bm_admin_service_set);
BM_ADMIN_HANDLER(bm_admin_service_list);
BM_ADMIN_HANDLER(bm_admin_service_show);
BM_ADMIN_HANDLER(bm_admin_policy_test);
BM_ADMIN_HANDLER(bm_admin_product_create);
BM_ADMIN_HANDLER(bm_admin_product_set);
BM_ADMIN_HANDLER(bm_admin_product_list);
BM_ADMIN_HANDLER(bm_admin_product_show);
BM_ADMIN_HANDLER(bm_admin_batch_create);
BM_ADMIN_HANDLER(bm_admin_batch_set);
BM_ADMIN_HANDLER(bm_admin_batch_hook);
BM_ADMIN_HANDLER(bm_admin_batch_list);
BM_ADMIN_HANDLER(bm_admin_batch_show);
BM_ADMIN_HANDLER(bm_admin_device_list);
BM_ADMIN_HANDLER(bm_admin_device_show);
BM_ADMIN_HANDLER(bm_admin_device_allocate);
BM_ADMIN_HANDLER(bm_admin_device_suspend);
BM_ADMIN_HANDLER(bm_admin_device_resume);
BM_ADMIN_HANDLER(bm_admin_device_retire);
BM_ADMIN_HANDLER(bm_admin_device_compromise);
BM_ADMIN_HANDLER(bm_admin_device_transfer);
BM_ADMIN_HANDLER(bm_admin_device_history);
BM_ADMIN_HANDLER(bm_admin_device_reset);
BM_ADMIN_HANDLER(bm_admin_device_offer);
BM_ADMIN_HANDLER(bm_admin_device_accept);
BM_ADMIN_HANDLER(bm_admin_device_decline);
BM_ADMIN_HANDLER(bm_admin_device_withdraw);
BM_ADMIN_HANDLER(bm_admin_device_rent);
BM_ADMIN_HANDLER(bm_admin_device_extend);
BM_ADMIN_HANDLER(bm_admin_device_return);
BM_ADMIN_HANDLER(bm_admin_offer_list);
BM_ADMIN_HANDLER(bm_admin_batch_compromise);
BM_ADMIN_HANDLER(bm_admin_ca_compromise);
BM_ADMIN_HANDLER(bm_admin_bulk_start);
BM_ADMIN_HANDLER(bm_admin_bulk_dry);
BM_ADMIN_HANDLER(bm_admin_bulk_add);
BM_ADMIN_HANDLER(bm_admin_bulk_resume);
BM_ADMIN_HANDLER(bm_admin_bulk_work);
BM_ADMIN_HANDLER(bm_admin_bulk_cancel);
BM_ADMIN_HANDLER(bm_admin_bulk_list);
BM_ADMIN_HANDLER(bm_admin_bulk_show);
BM_ADMIN_HANDLER(bm_admin_rental_list);
BM_ADMIN_HANDLER(bm_admin_key_show);
BM_ADMIN_HANDLER(bm_admin_key_import);
BM_ADMIN_HANDLER(bm_admin_key_add);
BM_ADMIN_HANDLER(bm_admin_key_root);
BM_ADMIN_HANDLER(bm_admin_key_rotate);
BM_ADMIN_HANDLER(bm_admin_key_step);
BM_ADMIN_HANDLER(bm_admin_crl_show);
BM_ADMIN_HANDLER(bm_admin_crl_export);
BM_ADMIN_HANDLER(bm_admin_journal_show);
BM_ADMIN_HANDLER(bm_admin_journal_rotate);
BM_ADMIN_HANDLER(bm_admin_cert_list);
BM_ADMIN_HANDLER(bm_admin_cert_show);
BM_ADMIN_HANDLER(bm_admin_cert_revoke);
BM_ADMIN_HANDLER(bm_admin_manifest_begin);
BM_ADMIN_HANDLER(bm_admin_manifest_block);
BM_ADMIN_HANDLER(bm_admin_manifest_list);
BM_ADMIN_HANDLER(bm_admin_log_head);
BM_ADMIN_HANDLER(bm_admin_log_entries);
BM_ADMIN_HANDLER(bm_admin_log_inclusion);
BM_ADMIN_HANDLER(bm_admin_log_consistency);
BM_ADMIN_HANDLER(bm_admin_token_create);
BM_ADMIN_HANDLER(bm_admin_token_list);
BM_ADMIN_HANDLER(bm_admin_token_show);
BM_ADMIN_HANDLER(bm_admin_token_revoke);
BM_ADMIN_HANDLER(bm_admin_host_add);
BM_ADMIN_HANDLER(bm_admin_host_list);
BM_ADMIN_HANDLER(bm_admin_host_remove);
BM_ADMIN_HANDLER(bm_admin_status);
BM_ADMIN_HANDLER(bm_admin_why);
BM_ADMIN_HANDLER(bm_admin_refusal_list);
BM_ADMIN_HANDLER(bm_admin_clock_accept);
BM_ADMIN_HANDLER(bm_admin_trust_show);
BM_ADMIN_HANDLER(bm_admin_ca_request);
BM_ADMIN_HANDLER(bm_admin_ca_import);

/* ca.c */
struct bm_ca_spec {
    const char *name, *parent, *alg, *profile, *organisation; /* parent NULL: a self-signed root */
    const char *key;                                          /* URI of one in a token; NULL: a file here */
    bool existing_key;                                        /* it is there already; alg does not count */
    struct bm_rd subject;                                     /* whole Name; empty: the profile's */
};
/* O= of a CA's subject, for those below and after it; "" when it has none. */
void bm_ca_organisation(const struct bm_ca *ca, char ret[65]);
/* The key of a new CA: in a file or a token, in the journal, at the other hosts. Sets ca->key_uri. */
BM_MUST_USE enum bm_rc bm_ca_key(struct bm_keeper *k, const struct bm_ca_spec *s, struct bm_ca *ca, struct bm_key **ret,
                                 struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_name_check(struct bm_keeper *k, const char *name, struct bm_error *e); /* of a new one */
BM_MUST_USE enum bm_rc bm_ca_make(struct bm_keeper *k, const struct bm_ca_spec *s, int64_t now, struct bm_ca *ret,
                                  struct bm_error *e);
/* maker_crl.c: is one of these on a revocation list of its issuer, as far as this organisation's are held? path: the leaf first, each certificate the
 * subject of the next. BM_DENIED "maker-revoked", BM_AGAIN "maker-crl-over": no list counts, and the operator wants one that does. */
BM_MUST_USE enum bm_rc bm_maker_check(struct bm_keeper *k, int64_t org_id, const struct bm_cert *path, size_t n, int64_t now,
                                      struct bm_error *e);
bool bm_maker_refusal(const struct bm_error *e); /* is it one of those two? */
void bm_makers_look_again(struct bm_keeper *k);  /* there may be other lists now */
void bm_makers_drop(struct bm_keeper *k);
/* held_crl.c: when the first of the lists that others have signed is over, 0: there is none; those that are about to be, in sentences */
int64_t bm_held_crls_end(struct bm_keeper *k,
                         bool makers); /* makers: of those that organisations are trusted for; else of CAs here */
BM_MUST_USE enum bm_rc bm_held_crls_warn(struct bm_keeper *k, int64_t now, json_t *warnings, struct bm_error *e);
/* admin_ca.c: is it the default issuing CA, or one above it? The new default; not_this may be NULL. */
bool bm_ca_carries_default(struct bm_keeper *k, int64_t ca_id);
BM_MUST_USE enum bm_rc bm_ca_set_default(struct bm_keeper *k, const char *name, const struct bm_ca *not_this, struct bm_error *e);
/* ca_rollover.c: the root above this CA, 0 when it cannot be found; */
int64_t bm_ca_root_of(struct bm_keeper *k, const struct bm_issuer *i);
/* this CA's root as certified by others, for those who know only an older or a newer one; what has run out is left out. Appends nothing when it
 * never had another key. */
BM_MUST_USE enum bm_rc bm_ca_links(struct bm_keeper *k, const struct bm_issuer *i, int64_t now, bm_ca_link_fn *fn, void *arg,
                                   struct bm_error *e);
BM_MUST_USE enum bm_rc bm_ca_links_pem(struct bm_keeper *k, const struct bm_issuer *i, int64_t now, struct bm_buf *pem,
                                       struct bm_error *e);

#endif
