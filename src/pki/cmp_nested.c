/* NestedMessageContent ::= PKIMessages ::= SEQUENCE SIZE (1..MAX) OF PKIMessage: RFC 9810 section 5.1.3.4. */
#include "pki/cmp.h"

#include "pki/impl.h"

enum bm_rc bm_cmp_nested_parse(struct bm_rd content, struct bm_rd *ret, size_t room, size_t *ret_n, struct bm_error *e)
{
    struct bm_rd list;
    size_t n = 0;

    if (!bm_der_only(content, BM_DER_SEQUENCE, &list) || list.n == 0)
        return bm_fail(e, BM_MALFORMED, "CMP message: there is none in it");
    while (list.n != 0) {
        if (n == room)
            return bm_refuse(e, BM_DENIED, "cmp-request", "a message holds %zu others at most", room);
        if (!bm_der_whole(&list, BM_DER_SEQUENCE, &ret[n++]))
            return bm_fail(e, BM_MALFORMED, "CMP message: what is in it is no message");
    }
    *ret_n = n;
    return BM_OK;
}

void bm_cmp_put_nested(struct bm_derw *w, struct bm_rd messages)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, messages);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(BM_CMP_NESTED));
}
