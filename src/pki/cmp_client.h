/* The other side of CMP, RFC 9810: what a client or registration authority writes besides what is in cmp.h, and what comes back. Everything parsed
 * borrows from the bytes given. Pure, any thread. */
#ifndef BM_PKI_CMP_CLIENT_H
#define BM_PKI_CMP_CLIENT_H

#include "pki/cmp.h"

enum { BM_CMP_FAIL_TEXT_LEN = 96 };

/* --- writing: bodies, to go into bm_cmp_answer.body ------------------------------------------------------------------------------- */
void bm_cmp_put_p10cr(struct bm_derw *w, struct bm_rd csr);
/* PollReqContent, section 5.3.22. */
void bm_cmp_put_poll_req(struct bm_derw *w, int64_t req_id);
/* CertConfirmContent that takes this certificate, section 5.3.18. *ret_v3: its signature has no hash of its own, and hashAlg,
 * which is written then, wants version 3 of the message. */
BM_MUST_USE enum bm_rc bm_cmp_put_confirm(struct bm_derw *w, int64_t req_id, const struct bm_cert *cert, bool *ret_v3,
                                          struct bm_error *e);

/* RevReqContent, section 5.3.9: this certificate, with a reasonCode whatever it is (RFC 9483 section 4.2). */
void bm_cmp_put_rr(struct bm_derw *w, const struct bm_cert *cert, int reason);

/* --- reading ------------------------------------------------------------------------------------------------------------------------ */
/* PKIStatusInfo, section 5.2.3. */
struct bm_cmp_status_info {
    uint64_t status;   /* enum bm_cmp_status, or another number */
    struct bm_rd text; /* the first of statusString, UTF-8; or empty */
    bool has_fail;
    uint32_t fail; /* bit n: enum bm_cmp_fail n */
};
/* "badRequest, badPOP", as section 5.2.3 names them; "" when there are none. Returns ret. */
const char *bm_cmp_fail_text(uint32_t fail, char ret[BM_CMP_FAIL_TEXT_LEN]);

/* CertRepMessage, section 5.3.4: the first CertResponse, and how many there are. */
struct bm_cmp_cert_rep {
    size_t n;
    int64_t req_id;
    struct bm_cmp_status_info s;
    struct bm_rd cert; /* whole Certificate in clear, or empty */
};
BM_MUST_USE enum bm_rc bm_cmp_cert_rep_parse(struct bm_rd content, struct bm_cmp_cert_rep *ret, struct bm_error *e);

/* RevRepContent, section 5.3.10: the first status, and how many there are. */
struct bm_cmp_rev_rep {
    size_t n;
    struct bm_cmp_status_info s;
};
BM_MUST_USE enum bm_rc bm_cmp_rev_rep_parse(struct bm_rd content, struct bm_cmp_rev_rep *ret, struct bm_error *e);

/* PollRepContent, section 5.3.22: the first one, and how many there are. */
struct bm_cmp_poll_rep {
    size_t n;
    int64_t req_id;
    uint64_t check_after; /* seconds */
    struct bm_rd reason;  /* UTF-8, or empty */
};
BM_MUST_USE enum bm_rc bm_cmp_poll_rep_parse(struct bm_rd content, struct bm_cmp_poll_rep *ret, struct bm_error *e);

/* ErrorMsgContent, section 5.3.21; details: the first of errorDetails, or empty. */
struct bm_cmp_error {
    struct bm_cmp_status_info s;
    struct bm_rd details;
};
BM_MUST_USE enum bm_rc bm_cmp_error_parse(struct bm_rd content, struct bm_cmp_error *ret, struct bm_error *e);

#endif
