/* Answers that are not ready yet: RFC 9810 section 5.3.4 (status waiting) and 5.3.22 (pollReq, pollRep). */
#include "pki/cmp.h"

#include "pki/impl.h"

/* PollReqContent ::= SEQUENCE OF SEQUENCE { certReqId INTEGER } */
enum bm_rc bm_cmp_poll_parse(struct bm_rd content, struct bm_cmp_poll *ret, struct bm_error *e)
{
    struct bm_cmp_poll p = { 0 };
    struct bm_rd list, one;
    int64_t id;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list) || list.n == 0)
        return bm_fail(e, BM_MALFORMED, "CMP message: pollReq asks for nothing");
    for (; list.n != 0; p.n++) {
        if (!bm_der_take(&list, BM_DER_SEQUENCE, &one) || !bm_der_int(&one, &id) || one.n != 0)
            return bm_fail(e, BM_MALFORMED, "CMP message: pollReq holds something else than a certReqId");
        p.req_id = p.n == 0 ? id : p.req_id;
    }
    *ret = p;
    return BM_OK;
}

void bm_cmp_put_waiting(struct bm_derw *w, enum bm_cmp_type type, int64_t req_id, const char *text)
{
    size_t mark = bm_derw_mark(w);

    bm_cmp_put_text(w, text);
    bm_derw_uint(w, BM_CMP_WAITING);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_cmp_put_req_id(w, req_id);
    bm_derw_end(w, mark, BM_DER_SEQUENCE); /* CertResponse */
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE); /* CertRepMessage */
    bm_derw_end(w, mark, BM_DER_CTX_CONS(type));
}

/* PollRepContent ::= SEQUENCE OF SEQUENCE { certReqId INTEGER, checkAfter INTEGER, reason PKIFreeText OPTIONAL } */
void bm_cmp_put_poll(struct bm_derw *w, int64_t req_id, uint32_t check_after_s, const char *text)
{
    size_t mark = bm_derw_mark(w);

    bm_cmp_put_text(w, text);
    bm_derw_uint(w, check_after_s);
    bm_cmp_put_req_id(w, req_id);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_POLLREP));
}
