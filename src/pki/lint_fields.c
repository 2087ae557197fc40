/* Rules about the fields of a certificate, RFC 5280 section 4.1, and about its key. */
#include "pki/lint_impl.h"
#include "pki/profile_draft.h"

enum { SERIAL_BYTES_MAX = 20, SERIAL_BYTES_MIN = 8 };

bool lint_version(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->version != 2;
}

bool lint_serial_positive(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->serial.p[0] >= 0x80 || (l->serial.n == 1 && l->serial.p[0] == 0);
}

bool lint_serial_long(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->serial.n > SERIAL_BYTES_MAX;
}

bool lint_serial_short(const struct lint *l, struct bm_rd about)
{
    return lint_eku_has(l, about) && l->serial.n < SERIAL_BYTES_MIN;
}

/* --- signature algorithm -------------------------------------------------------------------------------------------------------- */
bool lint_alg_differ(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !bm_rd_eq(l->inner_alg, l->outer_alg);
}

static bool alg_split(struct bm_rd alg, struct bm_rd *ret_oid, struct bm_rd *ret_params)
{
    return bm_der_only(alg, BM_DER_SEQUENCE, ret_params) && bm_der_take(ret_params, BM_DER_OID, ret_oid);
}

static bool among(struct bm_rd oid, const struct bm_rd *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bm_rd_eq(oid, list[i]))
            return true;
    return false;
}

bool lint_alg_weak(const struct lint *l, struct bm_rd about)
{
    static const struct bm_rd weak[] = { BM_LIT(OID_MD2_RSA), BM_LIT(OID_MD5_RSA), BM_LIT(OID_SHA1_RSA), BM_LIT(OID_SHA1_DSA),
                                         BM_LIT(OID_ECDSA_SHA1) };
    struct bm_rd oid, params;

    (void)about;
    return alg_split(l->outer_alg, &oid, &params) && among(oid, weak, BM_COUNT(weak));
}

bool lint_alg_params(const struct lint *l, struct bm_rd about)
{
    static const struct bm_rd none[] = { BM_LIT(OID_ECDSA_SHA256), BM_LIT(OID_ECDSA_SHA384), BM_LIT(OID_ECDSA_SHA512),
                                         BM_LIT(OID_ED25519),      BM_LIT(OID_ML_DSA_44),    BM_LIT(OID_ML_DSA_65),
                                         BM_LIT(OID_ML_DSA_87) };
    static const struct bm_rd null[] = { BM_LIT(OID_RSA_SHA256), BM_LIT(OID_RSA_SHA384), BM_LIT(OID_RSA_SHA512) };
    static const struct bm_rd is_null = BM_LIT("\x05\x00");
    struct bm_rd oid, params;

    (void)about;
    if (!alg_split(l->outer_alg, &oid, &params))
        return true;
    return (among(oid, none, BM_COUNT(none)) && params.n != 0) || (among(oid, null, BM_COUNT(null)) && !bm_rd_eq(params, is_null));
}

bool lint_unique_ids(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->unique_ids;
}

/* --- validity ------------------------------------------------------------------------------------------------------------------- */
bool lint_time_form(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->before.full[0] == '\0' || l->after.full[0] == '\0';
}

static bool wrong_kind(const struct lint_time *t)
{
    return t->full[0] != '\0' && t->tag == BM_DER_GENERALIZED_TIME && strncmp(t->full, "2050", 4) < 0;
}

bool lint_time_kind(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return wrong_kind(&l->before) || wrong_kind(&l->after);
}

bool lint_time_order(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->before.full[0] != '\0' && l->after.full[0] != '\0' && strcmp(l->before.full, l->after.full) > 0;
}

/* --- the key -------------------------------------------------------------------------------------------------------------------- */
bool lint_key(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !l->key_ok;
}

bool lint_usage_of_key(const struct lint *l, struct bm_rd about)
{
    const struct profile_key *k = l->key_ok ? profile_key_find(l->key.alg) : NULL;

    return k != NULL && bm_rd_eq(k->oid, about) && (k->usage_never & l->usage) != 0;
}
