/* Is this Name meant to be that one? For where another thing has already decided which certificate it is about. */
#include "pki/impl.h"

enum { RDNS_MAX = 16 };

/* Text is the same in each of the types that RFC 5280 section 4.1.2.4 allows, as long as it is ASCII. */
static bool is_text(uint8_t tag)
{
    return tag == BM_DER_UTF8 || tag == BM_DER_PRINTABLE || tag == BM_DER_IA5;
}

static bool attribute(struct bm_rd *set, struct bm_rd *ret_oid, uint8_t *ret_tag, struct bm_rd *ret_value)
{
    struct bm_rd in;

    return bm_der_take(set, BM_DER_SEQUENCE, &in) && bm_der_take(&in, BM_DER_OID, ret_oid) &&
           bm_der_any(&in, ret_tag, ret_value, NULL) && in.n == 0;
}

static bool rdn_alike(struct bm_rd a, struct bm_rd b)
{
    struct bm_rd oid_a, oid_b, value_a, value_b;
    uint8_t tag_a, tag_b;

    while (a.n != 0 && b.n != 0) {
        if (!attribute(&a, &oid_a, &tag_a, &value_a) || !attribute(&b, &oid_b, &tag_b, &value_b))
            return false;
        if (!bm_rd_eq(oid_a, oid_b) || !bm_rd_eq(value_a, value_b) || (tag_a != tag_b && !(is_text(tag_a) && is_text(tag_b))))
            return false;
    }
    return a.n == 0 && b.n == 0;
}

static bool split(struct bm_rd name, struct bm_rd rdns[RDNS_MAX], size_t *ret_n)
{
    struct bm_rd in;
    size_t n = 0;

    if (!bm_der_only(name, BM_DER_SEQUENCE, &in))
        return false;
    while (in.n != 0)
        if (n == RDNS_MAX || !bm_der_take(&in, BM_DER_SET, &rdns[n++]))
            return false;
    *ret_n = n;
    return true;
}

bool bm_name_alike(struct bm_rd a, struct bm_rd b)
{
    struct bm_rd of_a[RDNS_MAX], of_b[RDNS_MAX];
    size_t n, m;
    bool forth = true, back = true;

    if (!split(a, of_a, &n) || !split(b, of_b, &m) || n != m)
        return false;
    for (size_t i = 0; i < n; i++) {
        forth = forth && rdn_alike(of_a[i], of_b[i]);
        back = back && rdn_alike(of_a[i], of_b[n - 1 - i]);
    }
    return forth || back;
}
