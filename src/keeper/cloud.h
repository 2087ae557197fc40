/* What drivers of upstream CAs with JSON over HTTP share. Pure, but for the body that a CA with a remote key signs. */
#ifndef BM_KEEPER_CLOUD_H
#define BM_KEEPER_CLOUD_H

#include "keeper/upstream.h"

enum { BM_CLOUD_TIMEOUT_MS = 30000, BM_CLOUD_NAP_S = 2 };

/* An object without repeated members, or NULL. */
json_t *bm_cloud_json(struct bm_rd body);
/* Text without control characters, or NULL. */
const char *bm_cloud_text(const json_t *object, const char *member);
/* Any text, for escaping and nothing else; or NULL. */
const char *bm_cloud_words(const json_t *object, const char *member);
/* False: --options does not say. */
bool bm_cloud_option(const struct bm_upstream *u, const char *name, char *ret, size_t size);
/* What a later attempt may bring: RFC 9110 section 15, RFC 6585. */
bool bm_cloud_is_later(uint16_t status);
/* USER and PASSWORD of --login. */
void bm_cloud_login(const struct bm_upstream_secret *s, struct bm_rd *ret_user, struct bm_rd *ret_password);
/* BM_USAGE unless there is a login; `what` says of what. */
BM_MUST_USE enum bm_rc bm_cloud_want_login(const struct bm_upstream_secret *s, const char *what, struct bm_error *e);
/* HOST[:PORT] of an https URL, as in a Host field. */
struct bm_rd bm_cloud_host(const char *url);

/* BM_AGAIN with the wait the answer asks for, or BM_DENIED "upstream-refused": the CA's own words, escaped. code, words: may be NULL. */
BM_MUST_USE enum bm_rc bm_cloud_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, bool later, const char *code,
                                   const char *words, struct bm_upstream_got *ret, struct bm_error *e);
BM_MUST_USE enum bm_rc bm_cloud_garbage(const char *what, struct bm_error *e);
/* The next step: what the state is from now on. */
BM_MUST_USE enum bm_rc bm_cloud_next(const json_t *state, struct bm_upstream_got *ret, struct bm_error *e);
/* The certificates of a PEM text, into ret->room and ret->certs. */
BM_MUST_USE enum bm_rc bm_cloud_pem(struct bm_rd text, struct bm_upstream_got *ret, struct bm_error *e);

/* --- cloud_sign.c: a CA whose key signs for us, but is not here ------------------------------------------------------------------- */
/* State: the body of the certificate, made of the judged order; the CA's public key; what the driver keeps besides. */
struct bm_cloud_body {
    uint8_t refused;        /* times that we were not let in, one after the other */
    struct bm_rd spki, tbs; /* the CA's key; TBSCertificate */
    struct bm_rd more;      /* the driver's own */
};
BM_MUST_USE enum bm_rc bm_cloud_body_make(struct bm_keeper *k, const struct bm_plan *p, const struct bm_order *o,
                                          struct bm_buf *ret_state, struct bm_error *e);
void bm_cloud_body_write(const struct bm_cloud_body *b, struct bm_buf *out);
BM_MUST_USE enum bm_rc bm_cloud_body_read(struct bm_rd state, struct bm_cloud_body *ret, struct bm_error *e);
/* What algorithms are called by those who sign, and the digest. */
struct bm_cloud_signing {
    const char *jose, *kms;
    uint8_t digest[BM_BODY_DIGEST_MAX];
    size_t digest_len;
};
BM_MUST_USE enum bm_rc bm_cloud_signing_of(const struct bm_cloud_body *b, struct bm_cloud_signing *ret, struct bm_error *e);
/* The certificate, into ret->certs. BM_DENIED "upstream-refused": that is no signature of the CA's key over it. */
BM_MUST_USE enum bm_rc bm_cloud_signed(const struct bm_cloud_body *b, struct bm_rd sig, enum bm_signature_form form,
                                       struct bm_upstream_got *ret, struct bm_error *e);

#endif
