/* What workers and the administrator say to the keeper, and what it answers: one struct per command, one frame each (base/frame.h).
 * Everything here is pure: structs to bytes and back. The parsers believe nothing: bounded, leftovers refused.
 * An answer has the command's type with BM_ANSWER set, or type BM_REFUSAL. All bm_rd members borrow. */
#ifndef BM_KEEPER_WIRE_H
#define BM_KEEPER_WIRE_H

#include "base/bytes.h"
#include "base/limits.h"
#include "pki/etag.h"
#include "pki/handshake.h"
#include "store/store.h"

enum bm_command {
    BM_CMD_CHALLENGE = 1, /* no payload -> the challenge, BM_CHALLENGE_LEN bytes */
    BM_CMD_ENROL = 2,     /* struct bm_enrol -> struct bm_enrolled */
    BM_CMD_STATUS = 3,    /* struct bm_enrol without requests -> struct bm_status */
    BM_CMD_VIEW = 4,      /* no payload -> struct bm_view: what a worker needs to serve */
    BM_CMD_ADMIN = 5,     /* administrator's socket only: u32-counted JSON, then a blob -> JSON text */
    BM_CMD_CHANGED = 6,   /* keeper to worker, unasked, id 0: the view has changed, ask again */
    BM_CMD_CRL = 7,       /* struct bm_crl_ask -> struct bm_crl_told */
    BM_CMD_OCSP = 8,      /* OCSPRequest, DER -> struct bm_ocsp_told */
    BM_CMD_API = 9,       /* struct bm_api_ask -> JSON text: an administrator's act, by the right of a token */
    BM_CMD_CMP = 10,      /* struct bm_message -> struct bm_cmp_told */
    BM_CMD_SCEP = 11,     /* struct bm_message -> struct bm_scep_told */
    BM_CMD_ACME = 12,     /* struct bm_acme_ask -> struct bm_acme_told */
    BM_CMD_ERRAND = 13,   /* the courier only: struct bm_errand_ask -> struct bm_errand_given (keeper/task.h) */
    BM_CMD_BRSKI = 14,    /* struct bm_brski_ask (keeper/brski.h) -> a voucher, JSON, or nothing */
    BM_CMD_TRUST = 15,    /* struct bm_crl_ask with a service's name -> struct bm_crl_told with a JWS: docs/trust.md */
    BM_ANSWER = 0x80,
    BM_REFUSAL = 0xff, /* struct bm_refused */
};

/* How a device shows who it is. The keeper judges it (keeper/evidence.h). */
enum bm_evidence_kind {
    BM_EVIDENCE_NONE = 0,
    BM_EVIDENCE_TLS = 1,       /* client certificate or raw public key, and the TLS handshake that proves it: pki/handshake.h */
    BM_EVIDENCE_CHALLENGE = 2, /* signed challenge, docs/onboard.md */
    BM_EVIDENCE_MAC = 3, /* challenge with a MAC in place of the signature: no key, no certificate, claimed_udid names the device */
    BM_EVIDENCE_HOOK =
        5, /* never on the wire: a batch's hook is to say (scep_hook.h); `challenge` is what the request is kept under */
    BM_EVIDENCE_ATTESTED = 6, /* never on the wire: its maker's certificate over a key that is new each time: evidence_attested.c */
    BM_EVIDENCE_CODE = 4, /* one-time code, docs/codes.md; a key may come with it as above: with a challenge, or else from TLS */
};
struct bm_evidence {
    uint8_t kind;
    struct bm_rd cert;                           /* certificate presented, DER; may be empty with a signed challenge */
    struct bm_rd chain[BM_TLS_CLIENT_CERTS_MAX]; /* what came after it */
    size_t n_chain;
    struct bm_rd spki;                 /* public key in place of a certificate */
    struct bm_rd challenge, signature; /* raw signature form, or the MAC */
    struct bm_rd handshake, verify;    /* TLS: the handshake's messages, and the client's CertificateVerify */
    struct bm_rd code;                 /* as it was typed */
    struct bm_rd binding;              /* of the TLS connection, as the worker has it (pop.c), or empty */
    bool proven; /* never on the wire: the keeper itself has verified a message with this request in it, signed by the key above */
};

struct bm_enrol {
    char correlation[17]; /* 16 hex digits: names this request in replies, logs and `birthmark why` */
    char protocol[16];    /* "est", "onboard" */
    char peer[64];        /* address, for the record */
    struct bm_evidence evidence;
    struct bm_rd claimed_udid;  /* empty or BM_UDID_LEN bytes the device says it is */
    struct bm_rd claimed_batch; /* empty or a name */
    bool reenrol;               /* EST simplereenroll: subject must be the one of the certificate presented */
    bool keygen;                /* EST serverkeygen: the requests' keys are to be made here */
    const struct bm_keypkg_to
        *keygen_to; /* never on the wire: whom to encrypt those to, which the keeper itself has seen prove that it is the
                                             device. As CMP has it (keygen.c); NULL: as the request says */
    size_t n_requests;
    struct bm_enrol_request {
        struct bm_rd service; /* name; empty: the product's first, or none */
        struct bm_rd csr;     /* PKCS#10, DER */
        bool verified;        /* never on the wire: a door of the keeper has verified its signature */
        struct bm_rd spki;    /* never on the wire, in place of csr: a key whose possession the keeper itself has verified */
    } requests[BM_SERVICES_MAX];
};
void bm_enrol_write(struct bm_buf *out, const struct bm_enrol *c);
/* Its correlation alone, or "" when it has no proper one. */
void bm_enrol_correlation(struct bm_rd in, char ret[17]);
BM_MUST_USE enum bm_rc bm_enrol_parse(struct bm_rd in, struct bm_enrol *ret, struct bm_error *e);
/* The bytes that a signed challenge covers, docs/onboard.md "What is signed". op: BM_CMD_ENROL or BM_CMD_STATUS. */
void bm_enrol_tbs(struct bm_buf *out, uint8_t op, const struct bm_enrol *c);

/* How the private key comes that was made for a device. */
enum bm_key_form {
    BM_KEY_NONE,   /* the device has made it itself */
    BM_KEY_PLAIN,  /* PKCS#8 */
    BM_KEY_SEALED, /* CMS EnvelopedData */
};
#define BM_CHAIN_MAX 4 /* issuing CA to root */
struct bm_enrolled {
    uint8_t udid[BM_UDID_LEN];
    size_t n_credentials;
    struct bm_enrolled_credential {
        struct bm_rd service;   /* name or empty */
        struct bm_rd cert;      /* DER */
        struct bm_rd endpoints; /* JSON array of strings, as the operator set it */
        int64_t not_after, renew_after;
        size_t n_chain;
        struct bm_rd chain[BM_CHAIN_MAX]; /* the CA that issued it first, root last; DER */
        struct bm_rd key;                 /* a secret, if key_form is BM_KEY_PLAIN */
        uint8_t key_form;                 /* enum bm_key_form */
    } credentials[BM_SERVICES_MAX];
};
void bm_enrolled_write(struct bm_buf *out, const struct bm_enrolled *r);
BM_MUST_USE enum bm_rc bm_enrolled_parse(struct bm_rd in, struct bm_enrolled *ret, struct bm_error *e);

#define BM_STATUS_CREDENTIALS_MAX 32 /* the newest ones */
struct bm_status {
    uint8_t udid[BM_UDID_LEN];
    char status[16]; /* not-enrolled, enrolled, expired, revoked, suspended, retired, compromised, transferred */
    char state[16];  /* of the device, keeper/state.h */
    char product[BM_NAME_LEN], batch[BM_NAME_LEN], owner[BM_NAME_LEN];
    size_t n_credentials;
    struct bm_status_credential {
        char service[BM_NAME_LEN];
        uint8_t serial[BM_SERIAL_LEN];
        char status[16]; /* active, expired, revoked */
        int64_t not_after, renew_after;
    } credentials[BM_STATUS_CREDENTIALS_MAX];
};
void bm_status_write(struct bm_buf *out, const struct bm_status *r);
BM_MUST_USE enum bm_rc bm_status_parse(struct bm_rd in, struct bm_status *ret, struct bm_error *e);

#define BM_VIEW_CAS_MAX 64
#define BM_VIEW_LABELS_MAX 64
/* What a worker needs to serve, so that it reads no file and no database. */
struct bm_view {
    uint64_t version;
    size_t n_cas;
    struct bm_rd cas[BM_VIEW_CAS_MAX]; /* EST cacerts: active CA certificates, roots first, and links between roots; DER */
    size_t n_labels;
    struct bm_view_label {            /* EST labels: "" is the default; others are service names */
        struct bm_rd label, csrattrs; /* DER CsrAttrs */
        uint64_t cas;                 /* which of the above its cacerts tells of: bit i for cas[i] */
    } labels[BM_VIEW_LABELS_MAX];
    struct bm_rd tls_chain_pem;   /* server certificate and what goes with it */
    struct bm_rd tls_key;         /* PKCS#8 DER; wipe after use */
    struct bm_rd nonce;           /* BM_HANDSHAKE_NONCE_LEN bytes that every handshake has to hold from now on */
    bool api;                     /* somebody has a token: the Admin API is served */
    struct bm_rd acme_thumbprint; /* of our account at an upstream CA that looks for us by http-01, base64url; or empty */
};
void bm_view_write(struct bm_buf *out, const struct bm_view *v);
BM_MUST_USE enum bm_rc bm_view_parse(struct bm_rd in, struct bm_view *ret, struct bm_error *e);

/* A token of the Admin API: the prefix, by which people and scanners know one, and 32 random bytes as base64url. */
#define BM_API_TOKEN_PREFIX "bmt_"
#define BM_API_TOKEN_LEN 47
bool bm_api_token_ok(struct bm_rd text); /* has that form */

struct bm_api_ask {
    char correlation[17];
    char peer[64];
    struct bm_rd token;   /* as it came */
    struct bm_rd request; /* JSON, as over the administrator's socket */
    struct bm_rd blob;    /* what goes along with it, or empty */
};
void bm_api_ask_write(struct bm_buf *out, const struct bm_api_ask *a);
BM_MUST_USE enum bm_rc bm_api_ask_parse(struct bm_rd in, struct bm_api_ask *ret, struct bm_error *e);

/* A message of a protocol that signs or seals its own messages: the worker hands it on as it came, the keeper reads and answers it. */
struct bm_message {
    char correlation[17];
    char peer[64];
    struct bm_rd what;  /* the operation, where the protocol names it beside the message, or empty */
    struct bm_rd label; /* from the path, or empty */
    struct bm_rd body;
};
void bm_message_write(struct bm_buf *out, const struct bm_message *m);
BM_MUST_USE enum bm_rc bm_message_parse(struct bm_rd in, struct bm_message *ret, struct bm_error *e);

/* What CMP answers: a message, signed. */
struct bm_cmp_told {
    char code[32]; /* of the refusal in it; "" */
    struct bm_rd der;
};
void bm_cmp_told_write(struct bm_buf *out, const struct bm_cmp_told *t);
BM_MUST_USE enum bm_rc bm_cmp_told_parse(struct bm_rd in, struct bm_cmp_told *ret, struct bm_error *e);
/* A request to ACME (docs/acme.md). Its address is put together from these again and held against the one that was signed. */
struct bm_acme_ask {
    char correlation[17];
    char peer[64];
    struct bm_rd host;  /* Host field of the request: bm_acme_host_ok() */
    struct bm_rd what;  /* path under /acme/, an asterisk where the label stands */
    struct bm_rd label; /* or empty */
    struct bm_rd query; /* or empty */
    struct bm_rd body;
};
void bm_acme_ask_write(struct bm_buf *out, const struct bm_acme_ask *a);
BM_MUST_USE enum bm_rc bm_acme_ask_parse(struct bm_rd in, struct bm_acme_ask *ret, struct bm_error *e);
#define BM_ACME_HOST_MAX 260
bool bm_acme_host_ok(struct bm_rd host); /* a name or address, and a port or none */

enum bm_acme_content { BM_ACME_EMPTY, BM_ACME_JSON, BM_ACME_PROBLEM, BM_ACME_CHAIN, BM_ACME_CONTENTS };
struct bm_acme_told {
    uint16_t status; /* HTTP */
    uint8_t content; /* enum bm_acme_content */
    uint32_t retry_after_s;
    char code[32];               /* of a problem: our own */
    struct bm_rd nonce;          /* Replay-Nonce, or empty */
    struct bm_rd location;       /* or empty */
    struct bm_rd up, next, help; /* targets of Link fields, or empty */
    size_t n_alternates;
    struct bm_rd alternates[BM_ACME_ALTERNATES_MAX]; /* the same, other chains of this certificate */
    struct bm_rd body;
};
void bm_acme_told_write(struct bm_buf *out, const struct bm_acme_told *t);
BM_MUST_USE enum bm_rc bm_acme_told_parse(struct bm_rd in, struct bm_acme_told *ret, struct bm_error *e);

/* What a SCEP operation answers, and in which media type. */
enum bm_scep_form { BM_SCEP_TEXT, BM_SCEP_MESSAGE, BM_SCEP_CERTS, BM_SCEP_NEXT_CA, BM_SCEP_FORMS };
struct bm_scep_told {
    enum bm_scep_form form;
    char code[32]; /* of the refusal in it; "" */
    struct bm_rd body;
};
void bm_scep_told_write(struct bm_buf *out, const struct bm_scep_told *t);
BM_MUST_USE enum bm_rc bm_scep_told_parse(struct bm_rd in, struct bm_scep_told *ret, struct bm_error *e);

struct bm_crl_ask {
    struct bm_rd ca; /* its name */
    bool delta;
    struct bm_rd have; /* If-None-Match of the request, or empty */
};
void bm_crl_ask_write(struct bm_buf *out, const struct bm_crl_ask *c);
BM_MUST_USE enum bm_rc bm_crl_ask_parse(struct bm_rd in, struct bm_crl_ask *ret, struct bm_error *e);

struct bm_crl_told {
    char etag[BM_ETAG_LEN];
    int64_t this_update;
    uint32_t max_age_s; /* to nextUpdate */
    struct bm_rd der;   /* empty: `have` names it */
};
void bm_crl_told_write(struct bm_buf *out, const struct bm_crl_told *t);
BM_MUST_USE enum bm_rc bm_crl_told_parse(struct bm_rd in, struct bm_crl_told *ret, struct bm_error *e);

struct bm_ocsp_told {
    uint32_t max_age_s; /* to nextUpdate; 0: made for this request alone */
    struct bm_rd der;   /* OCSPResponse */
};
void bm_ocsp_told_write(struct bm_buf *out, const struct bm_ocsp_told *t);
BM_MUST_USE enum bm_rc bm_ocsp_told_parse(struct bm_rd in, struct bm_ocsp_told *ret, struct bm_error *e);

struct bm_refused {
    uint8_t rc;             /* enum bm_rc */
    uint32_t retry_after_s; /* 0: no use in coming back by itself */
    char code[32], what[224];
};
void bm_refused_write(struct bm_buf *out, const struct bm_error *e, uint32_t retry_after_s);
/* The request is good and its certificate will come: the device is to come again with the same request. rc is BM_AGAIN then. */
bool bm_refusal_waits(const char *code);
BM_MUST_USE enum bm_rc bm_refused_parse(struct bm_rd in, struct bm_refused *ret, struct bm_error *e);

#endif
