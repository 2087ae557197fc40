#include "pki/names.h"

#include "base/text.h"
#include "pki/san.h"

static const uint8_t oid_cn[] = { 0x55, 0x04, 0x03 }, oid_serial[] = { 0x55, 0x04, 0x05 };

/* What may stand there. */
struct given {
    struct bm_rd subject, san, udid;
    const struct bm_names *also;
};

static bool attribute_next(struct bm_rd *set, struct bm_rd *ret_oid, struct bm_rd *ret_value)
{
    struct bm_rd attribute;

    return bm_der_take(set, BM_DER_SEQUENCE, &attribute) && bm_der_take(&attribute, BM_DER_OID, ret_oid) &&
           bm_der_any(&attribute, NULL, ret_value, NULL);
}

static bool has_attribute(struct bm_rd name, struct bm_rd oid, struct bm_rd value)
{
    struct bm_rd rdns, set, o, v;

    if (!bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return false;
    while (bm_der_take(&rdns, BM_DER_SET, &set))
        while (attribute_next(&set, &o, &v))
            if (bm_rd_eq(o, oid) && bm_rd_eq(v, value))
                return true;
    return false;
}

static bool attribute_given(const struct given *g, struct bm_rd oid, struct bm_rd value)
{
    bool id = bm_rd_eq(oid, bm_rd_of(oid_cn, sizeof oid_cn)) || bm_rd_eq(oid, bm_rd_of(oid_serial, sizeof oid_serial));

    return (id && bm_rd_eq(value, g->udid)) || has_attribute(g->subject, oid, value) ||
           (g->also != NULL && has_attribute(g->also->subject, oid, value));
}

static enum bm_rc check_subject(struct bm_rd name, const struct given *g, const char *code, struct bm_error *e)
{
    struct bm_rd rdns, set, oid, value;
    char shown[80];

    if (!bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return bm_fail(e, BM_MALFORMED, "subject: no name");
    while (bm_der_take(&rdns, BM_DER_SET, &set))
        while (attribute_next(&set, &oid, &value))
            if (!attribute_given(g, oid, value))
                return bm_refuse(e, BM_DENIED, code, "the subject has '%s', which the registry does not give this device",
                                 bm_text_escape(value, shown, sizeof shown));
    return BM_OK;
}

static bool has_general_name(struct bm_rd names, struct bm_rd want)
{
    struct bm_rd list, one;

    if (!bm_der_only(names, BM_DER_SEQUENCE, &list))
        return false;
    while (bm_der_any(&list, NULL, NULL, &one))
        if (bm_rd_eq(one, want))
            return true;
    return false;
}

static enum bm_rc check_san(struct bm_rd san, const struct given *g, const char *code, struct bm_error *e)
{
    struct bm_rd list, one;
    char shown[80];

    if (san.n == 0)
        return BM_OK;
    if (!bm_der_only(san, BM_DER_SEQUENCE, &list))
        return bm_fail(e, BM_MALFORMED, "alternative names: malformed");
    while (bm_der_any(&list, NULL, NULL, &one))
        if (!has_general_name(g->san, one) && (g->also == NULL || !has_general_name(g->also->san, one)))
            return bm_refuse(e, BM_DENIED, code, "alternative name '%s', which the registry does not give this device",
                             bm_text_escape(one, shown, sizeof shown));
    return BM_OK;
}

/* The names of an Extension that bm_san_write() wrote; empty when it wrote none. */
static struct bm_rd san_of(const struct bm_derw *w)
{
    struct bm_rd r = bm_derw_rd(w);
    struct bm_ext x = { 0 };

    return r.n != 0 && bm_ext_next(&r, &x) ? x.value : bm_rd_of(NULL, 0);
}

enum bm_rc bm_names_within(const struct bm_names *n, const struct bm_profile *profile, const struct bm_subject_words *words,
                           const struct bm_names *also, const char *code, struct bm_error *e)
{
    uint8_t subject[BM_NAME_DER_MAX], san[BM_EXTENSIONS_MAX];
    struct bm_derw ws = bm_derw_of(subject, sizeof subject), wn = bm_derw_of(san, sizeof san);
    enum bm_rc rc = bm_name_write(&ws, &profile->subject, words, e);
    struct given g;

    if (rc == BM_OK)
        rc = bm_san_write(&wn, profile, words, e);
    if (rc != BM_OK)
        return rc;
    g = (struct given){ .subject = bm_derw_rd(&ws), .san = san_of(&wn), .udid = bm_rd_str(words->udid), .also = also };
    rc = check_subject(n->subject, &g, code, e);
    return rc == BM_OK ? check_san(n->san, &g, code, e) : rc;
}
