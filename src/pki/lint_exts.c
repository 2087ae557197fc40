/* Rules about extensions: RFC 5280 section 4.2, RFC 6960 section 4.2.2.2.1, RFC 3161 section 2.3, RFC 7633. */
#include "pki/lint_impl.h"

#include <strings.h>

static const struct bm_rd oid_eku = BM_LIT(OID_EKU), oid_policies = BM_LIT(OID_POLICIES), oid_nocheck = BM_LIT(OID_OCSP_NOCHECK);

/* --- all of them ---------------------------------------------------------------------------------------------------------------- */
bool lint_ext_twice(const struct lint *l, struct bm_rd about)
{
    (void)about;
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < i; j++)
            if (bm_rd_eq(l->ext[i].oid, l->ext[j].oid))
                return true;
    return false;
}

bool lint_ext_none(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->has_extensions && l->n == 0;
}

bool lint_ext_default(const struct lint *l, struct bm_rd about)
{
    (void)about;
    for (size_t i = 0; i < l->n; i++)
        if (l->ext[i].default_written)
            return true;
    return false;
}

/* --- their form ----------------------------------------------------------------------------------------------------------------- */
static bool list_of(struct bm_rd value, uint8_t tag)
{
    struct bm_rd list;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list) || list.n == 0)
        return false;
    while (list.n != 0)
        if (!bm_der_take(&list, tag, NULL))
            return false;
    return true;
}

static bool sequences(struct bm_rd value)
{
    return list_of(value, BM_DER_SEQUENCE);
}

static bool oids(struct bm_rd value)
{
    return list_of(value, BM_DER_OID);
}

static bool bytes(struct bm_rd value)
{
    struct bm_rd v;

    return bm_der_only(value, BM_DER_OCTET_STRING, &v) && v.n != 0;
}

static bool bits(struct bm_rd value)
{
    struct bm_rd v;

    return bm_der_only(value, BM_DER_BIT_STRING, &v) && v.n >= 1 && v.n <= 3 && v.p[0] <= 7;
}

static bool constraints(struct bm_rd value)
{
    struct bm_rd list;
    uint64_t path_len;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list))
        return false;
    (void)!bm_der_take(&list, BM_DER_BOOLEAN, NULL);
    (void)!bm_der_uint(&list, &path_len);
    return list.n == 0;
}

static bool one_sequence(struct bm_rd value)
{
    return bm_der_only(value, BM_DER_SEQUENCE, NULL);
}

static bool general_names(struct bm_rd value)
{
    struct bm_rd list;
    uint8_t tag;

    if (!bm_der_only(value, BM_DER_SEQUENCE, &list) || list.n == 0)
        return false;
    while (list.n != 0)
        if (!bm_der_any(&list, &tag, NULL, NULL) || (tag & 0xc0) != 0x80 || (tag & 0x1f) > 8)
            return false;
    return true;
}

static bool null(struct bm_rd value)
{
    struct bm_rd v;

    return bm_der_only(value, BM_DER_NULL, &v) && v.n == 0;
}

static bool anything(struct bm_rd value)
{
    (void)value;
    return true;
}

/* Those we know, and the form of each. */
static const struct {
    struct bm_rd oid;
    bool (*form)(struct bm_rd value);
} known[] = {
    { BM_LIT(OID_BASIC_CONSTRAINTS), constraints },
    { BM_LIT(OID_KEY_USAGE), bits },
    { BM_LIT(OID_SKID), bytes },
    { BM_LIT(OID_AKID), one_sequence },
    { BM_LIT(OID_SAN), general_names },
    { BM_LIT(OID_ISSUER_ALT_NAME), general_names },
    { BM_LIT(OID_EKU), oids },
    { BM_LIT(OID_POLICIES), sequences },
    { BM_LIT(OID_CRL_POINTS), sequences },
    { BM_LIT(OID_FRESHEST_CRL), sequences },
    { BM_LIT(OID_AIA), sequences },
    { BM_LIT(OID_SIA), sequences },
    { BM_LIT(OID_OCSP_NOCHECK), null },
    { BM_LIT(OID_TLS_FEATURE), one_sequence },
    { BM_LIT(OID_NAME_CONSTRAINTS), one_sequence },
    { BM_LIT(OID_POLICY_MAPPINGS), sequences },
    { BM_LIT(OID_POLICY_CONSTRAINTS), one_sequence },
    { BM_LIT(OID_INHIBIT_ANY_POLICY), anything },
    { BM_LIT(OID_DIRECTORY_ATTRIBUTES), sequences },
};

static bool (*form_of(struct bm_rd oid))(struct bm_rd value)
{
    for (size_t i = 0; i < BM_COUNT(known); i++)
        if (bm_rd_eq(oid, known[i].oid))
            return known[i].form;
    return NULL;
}

bool lint_ext_form(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *x = lint_find(l, about);

    return x != NULL && form_of(about) != NULL && !form_of(about)(x->value);
}

bool lint_ext_unknown(const struct lint *l, struct bm_rd about)
{
    (void)about;
    for (size_t i = 0; i < l->n; i++)
        if (l->ext[i].critical && form_of(l->ext[i].oid) == NULL)
            return true;
    return false;
}

bool lint_critical(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *x = lint_find(l, about);

    return x != NULL && !x->critical;
}

bool lint_ca_critical(const struct lint *l, struct bm_rd about)
{
    return l->ca && lint_critical(l, about);
}

bool lint_not_critical(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *x = lint_find(l, about);

    return x != NULL && x->critical;
}

bool lint_ca_only(const struct lint *l, struct bm_rd about)
{
    return !l->ca && lint_find(l, about) != NULL;
}

/* --- key usage and basic constraints --------------------------------------------------------------------------------------------- */
bool lint_usage_empty(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *x = lint_find(l, about);

    return x != NULL && bits(x->value) && l->usage == 0 && !l->decipher_only;
}

/* X.690 section 11.2.2: a list of named bits ends with one that is set. */
bool lint_usage_trailing(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *x = lint_find(l, about);
    struct bm_rd v;

    if (x == NULL || !bits(x->value) || !bm_der_only(x->value, BM_DER_BIT_STRING, &v) || v.n < 2 || lint_usage_empty(l, about))
        return false;
    return (v.p[v.n - 1] & (1u << v.p[0])) == 0 || (v.p[v.n - 1] & ((1u << v.p[0]) - 1)) != 0;
}

bool lint_ca_usage(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->ca && !l->has_usage;
}

bool lint_ca_cannot_sign(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->ca && l->has_usage && l->usage != 0 && (l->usage & BM_KU_CERT_SIGN) == 0;
}

bool lint_leaf_can_sign(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !l->ca && (l->usage & BM_KU_CERT_SIGN) != 0;
}

bool lint_path_len(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !l->ca && l->path_len >= 0;
}

bool lint_only_bits(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return ((l->usage & 1) != 0 || l->decipher_only) && (l->usage & BM_KU_KEY_AGREEMENT) == 0;
}

/* --- extended key usage ------------------------------------------------------------------------------------------------------------ */
bool lint_purpose_usage(const struct lint *l, struct bm_rd about)
{
    enum { DS = BM_KU_DIGITAL_SIGNATURE, NR = BM_KU_CONTENT_COMMITMENT, KE = BM_KU_KEY_ENCIPHERMENT, KA = BM_KU_KEY_AGREEMENT };
    static const struct {
        struct bm_rd purpose;
        uint8_t any;
    } fits[] = {
        { BM_LIT(OID_KP_SERVER), DS | KE | KA },     { BM_LIT(OID_KP_CLIENT), DS | KA }, { BM_LIT(OID_KP_CODE), DS },
        { BM_LIT(OID_KP_EMAIL), DS | NR | KE | KA }, { BM_LIT(OID_KP_TIME), DS | NR },   { BM_LIT(OID_KP_OCSP), DS | NR },
    };

    if (l->ca || l->usage == 0 || !lint_eku_has(l, about))
        return false;
    for (size_t i = 0; i < BM_COUNT(fits); i++)
        if (bm_rd_eq(fits[i].purpose, about))
            return (fits[i].any & l->usage) == 0;
    return false;
}

bool lint_stamp_alone(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, oid_eku);

    return lint_eku_has(l, about) && bm_der_take(&list, BM_DER_OID, NULL) && list.n != 0;
}

bool lint_stamp_critical(const struct lint *l, struct bm_rd about)
{
    return lint_eku_has(l, about) && !lint_find(l, oid_eku)->critical;
}

bool lint_any_critical(const struct lint *l, struct bm_rd about)
{
    return lint_eku_has(l, about) && lint_find(l, oid_eku)->critical;
}

bool lint_nocheck(const struct lint *l, struct bm_rd about)
{
    return lint_find(l, oid_nocheck) != NULL && !lint_eku_has(l, about);
}

/* --- key identifiers -------------------------------------------------------------------------------------------------------------- */
bool lint_ski_missing(const struct lint *l, struct bm_rd about)
{
    return l->ca && lint_find(l, about) == NULL;
}

bool lint_ski_leaf(const struct lint *l, struct bm_rd about)
{
    return !l->ca && lint_find(l, about) == NULL;
}

/* Who has signed himself may leave it out. */
bool lint_aki_missing(const struct lint *l, struct bm_rd about)
{
    return !lint_self_issued(l) && lint_find(l, about) == NULL;
}

bool lint_aki_key_id(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, about);

    return !lint_self_issued(l) && list.n != 0 && !bm_der_next_is(list, BM_DER_CTX(0));
}

bool lint_aki_pair(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, about);
    bool issuer, serial;

    (void)!bm_der_take(&list, BM_DER_CTX(0), NULL);
    issuer = bm_der_take(&list, BM_DER_CTX_CONS(1), NULL);
    serial = bm_der_take(&list, BM_DER_CTX(2), NULL);
    return issuer != serial;
}

/* --- names and addresses ---------------------------------------------------------------------------------------------------------- */
bool lint_san_critical(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *san = lint_find(l, about);
    struct bm_rd rdns;

    return san != NULL && san->critical && bm_der_only(l->subject, BM_DER_SEQUENCE, &rdns) && rdns.n != 0;
}

static bool is_fetched_plain(struct bm_rd uri)
{
    static const char *const schemes[] = { "http://", "ldap://", "ftp://" };

    for (size_t i = 0; i < BM_COUNT(schemes); i++)
        if (uri.n > strlen(schemes[i]) && strncasecmp((const char *)uri.p, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

/* DistributionPoint ::= SEQUENCE { [0] distributionPoint, [1] reasons, [2] cRLIssuer } */
bool lint_crl_nowhere(const struct lint *l, struct bm_rd about)
{
    struct bm_rd points = lint_list(l, about), point;

    while (bm_der_take(&points, BM_DER_SEQUENCE, &point)) {
        bool where = bm_der_take(&point, BM_DER_CTX_CONS(0), NULL);

        (void)!bm_der_take(&point, BM_DER_CTX(1), NULL);
        if (!where && !bm_der_take(&point, BM_DER_CTX_CONS(2), NULL))
            return true;
    }
    return false;
}

bool lint_crl_scheme(const struct lint *l, struct bm_rd about)
{
    struct bm_rd points = lint_list(l, about), point, where, full, uri;

    while (bm_der_take(&points, BM_DER_SEQUENCE, &point)) {
        if (!bm_der_take(&point, BM_DER_CTX_CONS(0), &where) || !bm_der_take(&where, BM_DER_CTX_CONS(0), &full))
            continue;
        while (full.n != 0 && bm_der_take(&full, BM_DER_CTX(6), &uri))
            if (!is_fetched_plain(uri))
                return true;
    }
    return false;
}

bool lint_aia_scheme(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, about), one, uri;

    while (bm_der_take(&list, BM_DER_SEQUENCE, &one))
        if (bm_der_take(&one, BM_DER_OID, NULL) && bm_der_take(&one, BM_DER_CTX(6), &uri) && !is_fetched_plain(uri))
            return true;
    return false;
}

bool lint_policy_twice(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, oid_policies), one, oid, rest, other;

    (void)about;
    while (bm_der_take(&list, BM_DER_SEQUENCE, &one) && bm_der_take(&one, BM_DER_OID, &oid)) {
        rest = list;
        while (bm_der_take(&rest, BM_DER_SEQUENCE, &one) && bm_der_take(&one, BM_DER_OID, &other))
            if (bm_rd_eq(oid, other))
                return true;
    }
    return false;
}

/* Features ::= SEQUENCE OF INTEGER; status_request is 5, status_request_v2 17 (RFC 7633 section 4.2.3) */
bool lint_feature_form(const struct lint *l, struct bm_rd about)
{
    struct bm_rd list = lint_list(l, about);
    uint64_t feature;

    if (lint_find(l, about) == NULL)
        return false;
    while (bm_der_uint(&list, &feature))
        if (feature == 5 || feature == 17)
            return false;
    return true;
}

/* --- device identities ------------------------------------------------------------------------------------------------------------- */
bool lint_idevid_usage(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !l->ca && lint_no_end(l) && l->has_usage && l->usage != 0 && (l->usage & BM_KU_DIGITAL_SIGNATURE) == 0;
}
