#include "pki/impl.h"

/* A SET OF in DER has its elements in order of their bytes (X.690 section 11.6). The same bytes twice: by place. */
static bool stands_before(const struct bm_rd *a, const struct bm_rd *b)
{
    int order = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);

    return order != 0 ? order < 0 : a->n != b->n ? a->n < b->n : a < b;
}

static const struct bm_rd *next_of(const struct bm_rd *certs, size_t n, const struct bm_rd *last)
{
    const struct bm_rd *found = NULL;

    for (size_t i = 0; i < n; i++)
        if ((last == NULL || stands_before(last, &certs[i])) && (found == NULL || stands_before(&certs[i], found)))
            found = &certs[i];
    return found;
}

/* ContentInfo { id-signedData, [0] SignedData { 1, SET {}, { id-data }, [0] certificates, SET {} } }, RFC 5652 section 5.1 and 5.2:
 * the degenerate case without signers. */
enum bm_rc bm_cms_certs(const struct bm_rd *certs, size_t n, struct bm_buf *ret_der, struct bm_error *e)
{
    static const struct bm_rd oid_signed = BM_LIT(OID_CMS_SIGNED_DATA), oid_data = BM_LIT(OID_CMS_DATA);
    uint8_t before[64], after[] = { BM_DER_SET, 0 };
    struct bm_derw w = bm_derw_of(before, sizeof before);
    size_t total = 0, mark;

    for (size_t i = 0; i < n; i++) {
        if (certs[i].n > BM_CERT_MAX || !bm_der_only(certs[i], BM_DER_SEQUENCE, NULL))
            return bm_fail(e, BM_MALFORMED, "certificate %zu of the answer is not DER", i + 1);
        total += certs[i].n;
    }
    bm_derw_header(&w, total, BM_DER_CTX_CONS(0));
    mark = bm_derw_mark(&w);
    bm_derw_tlv(&w, BM_DER_OID, oid_data);
    bm_derw_end(&w, mark, BM_DER_SEQUENCE);
    bm_derw_tlv(&w, BM_DER_SET, bm_rd_of(NULL, 0));
    bm_derw_uint(&w, 1);
    bm_derw_header(&w, bm_derw_rd(&w).n + total + sizeof after, BM_DER_SEQUENCE);
    bm_derw_header(&w, bm_derw_rd(&w).n + total + sizeof after, BM_DER_CTX_CONS(0));
    bm_derw_tlv(&w, BM_DER_OID, oid_signed);
    bm_derw_header(&w, bm_derw_rd(&w).n + total + sizeof after, BM_DER_SEQUENCE);
    if (w.bad)
        return bm_fail(e, BM_LIMIT, "certificates of %zu bytes", total);
    bm_buf_put(ret_der, bm_derw_rd(&w).p, bm_derw_rd(&w).n);
    for (const struct bm_rd *c = next_of(certs, n, NULL); c != NULL; c = next_of(certs, n, c))
        bm_buf_put(ret_der, c->p, c->n);
    bm_buf_put(ret_der, after, sizeof after);
    return bm_buf_check(ret_der, e);
}
