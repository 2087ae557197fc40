#include "pki/lint_impl.h"

static bool digits(struct bm_rd v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
    return true;
}

/* RFC 5280 section 4.1.2.5: UTCTime means 1950 to 2049. */
static void time_read(struct lint_time *t)
{
    size_t year = t->tag == BM_DER_UTC_TIME ? 2 : 4, n = year + 10;
    char *at = t->full;

    if ((t->tag != BM_DER_UTC_TIME && t->tag != BM_DER_GENERALIZED_TIME) || t->text.n != n + 1 || !digits(t->text, n) ||
        t->text.p[n] != 'Z')
        return;
    if (year == 2) {
        memcpy(at, t->text.p[0] >= '5' ? "19" : "20", 2);
        at += 2;
    }
    memcpy(at, t->text.p, n);
}

static bool validity_read(struct bm_rd *tbs, struct lint *l)
{
    struct bm_rd seq;

    if (!bm_der_take(tbs, BM_DER_SEQUENCE, &seq) || !bm_der_any(&seq, &l->before.tag, &l->before.text, NULL) ||
        !bm_der_any(&seq, &l->after.tag, &l->after.text, NULL) || seq.n != 0)
        return false;
    time_read(&l->before);
    time_read(&l->after);
    return true;
}

static bool extension_read(struct bm_rd *list, struct lint_ext *x)
{
    struct bm_rd seq, flag;

    if (!bm_der_take(list, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_OID, &x->oid))
        return false;
    if (bm_der_take(&seq, BM_DER_BOOLEAN, &flag)) {
        if (flag.n != 1)
            return false;
        x->critical = flag.p[0] != 0;
        x->default_written = flag.p[0] == 0;
    }
    return bm_der_take(&seq, BM_DER_OCTET_STRING, &x->value) && seq.n == 0;
}

static bool extensions_read(struct bm_rd box, struct lint *l)
{
    struct bm_rd list;

    l->has_extensions = true;
    if (!bm_der_only(box, BM_DER_SEQUENCE, &list))
        return false;
    while (list.n != 0)
        if (l->n == LINT_EXTENSIONS_MAX || !extension_read(&list, &l->ext[l->n++]))
            return false;
    return true;
}

static bool version_read(struct bm_rd *tbs, uint64_t *ret)
{
    struct bm_rd v;

    *ret = 0;
    return !bm_der_take(tbs, BM_DER_CTX_CONS(0), &v) || (bm_der_uint(&v, ret) && v.n == 0);
}

static bool tbs_read(struct bm_rd tbs, struct lint *l)
{
    struct bm_rd box;

    if (!version_read(&tbs, &l->version) || !bm_der_take(&tbs, BM_DER_INTEGER, &l->serial) || l->serial.n == 0 ||
        !bm_der_whole(&tbs, BM_DER_SEQUENCE, &l->inner_alg) || !bm_der_whole(&tbs, BM_DER_SEQUENCE, &l->issuer) ||
        !validity_read(&tbs, l) || !bm_der_whole(&tbs, BM_DER_SEQUENCE, &l->subject) ||
        !bm_der_whole(&tbs, BM_DER_SEQUENCE, &l->spki))
        return false;
    l->unique_ids = bm_der_take(&tbs, BM_DER_CTX(1), NULL);
    l->unique_ids = bm_der_take(&tbs, BM_DER_CTX(2), NULL) || l->unique_ids;
    if (bm_der_take(&tbs, BM_DER_CTX_CONS(3), &box) && !extensions_read(box, l))
        return false;
    return tbs.n == 0;
}

/* --- what the rules ask again and again ----------------------------------------------------------------------------------------- */
const struct lint_ext *lint_find(const struct lint *l, struct bm_rd oid)
{
    for (size_t i = 0; i < l->n; i++)
        if (bm_rd_eq(l->ext[i].oid, oid))
            return &l->ext[i];
    return NULL;
}

struct bm_rd lint_list(const struct lint *l, struct bm_rd oid)
{
    const struct lint_ext *x = lint_find(l, oid);
    struct bm_rd list = { NULL, 0 };

    if (x != NULL)
        (void)!bm_der_only(x->value, BM_DER_SEQUENCE, &list);
    return list;
}

bool lint_self_issued(const struct lint *l)
{
    return bm_rd_eq(l->issuer, l->subject);
}

bool lint_eku_has(const struct lint *l, struct bm_rd purpose)
{
    static const struct bm_rd eku = BM_LIT(OID_EKU);
    struct bm_rd list = lint_list(l, eku), oid;

    while (bm_der_take(&list, BM_DER_OID, &oid))
        if (bm_rd_eq(oid, purpose))
            return true;
    return false;
}

bool lint_no_end(const struct lint *l)
{
    return strcmp(l->after.full, "99991231235959") == 0;
}

static void constraints_read(struct lint *l)
{
    static const struct bm_rd oid = BM_LIT(OID_BASIC_CONSTRAINTS);
    struct bm_rd list = lint_list(l, oid), flag;
    uint64_t n;

    l->path_len = -1;
    l->ca = bm_der_take(&list, BM_DER_BOOLEAN, &flag) && flag.n == 1 && flag.p[0] != 0;
    if (bm_der_uint(&list, &n))
        l->path_len = n > 255 ? 255 : (int)n;
}

static void usage_read(struct lint *l)
{
    static const struct bm_rd oid = BM_LIT(OID_KEY_USAGE);
    const struct lint_ext *x = lint_find(l, oid);
    struct bm_rd bits;

    l->has_usage = x != NULL;
    if (x == NULL || !bm_der_only(x->value, BM_DER_BIT_STRING, &bits) || bits.n < 2)
        return;
    l->usage = bits.p[1];
    l->decipher_only = bits.n > 2 && (bits.p[2] & 0x80) != 0;
}

enum bm_rc lint_parse(struct bm_rd der, struct lint *ret, struct bm_error *e)
{
    struct bm_rd seq, tbs;

    *ret = (struct lint){ .path_len = -1 };
    if (der.n > BM_CERT_MAX)
        return bm_fail(e, BM_LIMIT, "certificate of %zu bytes; at most %d are taken", der.n, BM_CERT_MAX);
    if (!bm_der_only(der, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_SEQUENCE, &tbs) ||
        !bm_der_whole(&seq, BM_DER_SEQUENCE, &ret->outer_alg) || !bm_der_bits(&seq, NULL) || seq.n != 0 || !tbs_read(tbs, ret))
        return bm_fail(e, BM_MALFORMED, "not the shape of a certificate (RFC 5280 section 4.1)");
    constraints_read(ret);
    usage_read(ret);
    ret->key_ok = bm_spki_parse(ret->spki, &ret->key, NULL) == BM_OK;
    return BM_OK;
}
