/* Onboard, docs/onboard.md: requests to CBOR and answers from it. Pure; answers borrow from the bytes they were read from. */
#ifndef BMD_ONBOARD_H
#define BMD_ONBOARD_H

#include "x509.h"

enum bmd_onboard_op { BMD_ONBOARD_CHALLENGE = 1, BMD_ONBOARD_ENROL = 2, BMD_ONBOARD_STATUS = 3 };

/* "/onboard/v1/enrol" ...; NULL for an unknown operation. */
const char *bmd_onboard_path(enum bmd_onboard_op op);

struct bmd_onboard_request {
    struct bmd_rd service; /* may be empty */
    struct bmd_rd csr;
};

/* What goes into enrol and status. Empty members are left out, except udid. */
struct bmd_onboard {
    struct bmd_rd udid;      /* BMD_UDID_LEN */
    struct bmd_rd challenge; /* empty: TLS client authentication */
    struct bmd_rd key;       /* SubjectPublicKeyInfo; or instead */
    struct bmd_rd certificate;
    struct bmd_rd signature;
    struct bmd_rd batch;
    const struct bmd_onboard_request *requests;
    size_t n_requests;
};

/* The bytes that the signature covers. */
void bmd_onboard_tbs(struct bmd_wr *w, enum bmd_onboard_op op, const struct bmd_onboard *m);
/* The request's body; op BMD_ONBOARD_CHALLENGE ignores m, which may be NULL. */
void bmd_onboard_write(struct bmd_wr *w, enum bmd_onboard_op op, const struct bmd_onboard *m);

struct bmd_challenge {
    struct bmd_rd challenge; /* BMD_CHALLENGE_LEN */
    uint64_t expires_in;
};
BMD_MUST_USE enum bmd_rc bmd_challenge_read(struct bmd_rd in, struct bmd_challenge *ret);

struct bmd_credential {
    struct bmd_rd service, certificate;
    struct bmd_rd chain[BMD_CHAIN_MAX]; /* issuer first, without the root */
    size_t n_chain;
    uint64_t not_after, renew_after;
    struct bmd_rd endpoints[BMD_ENDPOINTS_MAX];
    size_t n_endpoints;
};
struct bmd_enrolled {
    uint8_t udid[BMD_UDID_LEN];
    struct bmd_credential credentials[BMD_SERVICES_MAX];
    size_t n_credentials;
    struct bmd_rd anchors[BMD_ANCHORS_MAX];
    size_t n_anchors;
    struct bmd_rd correlation;
};
/* Unknown members are skipped, missing ones and leftovers refused. */
BMD_MUST_USE enum bmd_rc bmd_enrolled_read(struct bmd_rd in, struct bmd_enrolled *ret);

struct bmd_status_credential {
    struct bmd_rd service, serial, status;
    uint64_t not_after, renew_after;
};
struct bmd_status {
    uint8_t udid[BMD_UDID_LEN];
    struct bmd_rd status, state, product, batch, owner, correlation;
    struct bmd_status_credential credentials[BMD_SERVICES_MAX]; /* the first ones; more are ignored */
    size_t n_credentials;
};
BMD_MUST_USE enum bmd_rc bmd_status_read(struct bmd_rd in, struct bmd_status *ret);

/* A problem document (RFC 9457) in CBOR. */
struct bmd_problem {
    struct bmd_rd code, title, correlation;
    uint64_t retry_after; /* 0: coming back by itself does not help */
};
BMD_MUST_USE enum bmd_rc bmd_problem_read(struct bmd_rd in, struct bmd_problem *ret);

#endif
