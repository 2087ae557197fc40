/* Rules about subject and issuer: RFC 5280 sections 4.1.2.4 and 4.1.2.6, appendix A.1. */
#include "pki/lint_impl.h"

enum kind { DIRECTORY, PRINTABLE, IA5 };
struct attribute {
    const struct attribute_type *type; /* NULL: one we know nothing of */
    uint8_t tag;
    struct bm_rd value;
};

static const struct attribute_type {
    struct bm_rd oid;
    enum kind kind;
    size_t chars_max; /* the ub- of appendix A.1; 0: none, or a form of its own */
} types[] = {
    { BM_LIT(OID_CN), DIRECTORY, 64 },
    { BM_LIT(OID_O), DIRECTORY, 64 },
    { BM_LIT(OID_OU), DIRECTORY, 64 },
    { BM_LIT(OID_TITLE), DIRECTORY, 64 },
    { BM_LIT(OID_LOCALITY), DIRECTORY, 128 },
    { BM_LIT(OID_STATE), DIRECTORY, 128 },
    { BM_LIT(OID_PSEUDONYM), DIRECTORY, 128 },
    { BM_LIT(OID_SURNAME), DIRECTORY, 32768 },
    { BM_LIT(OID_NAME), DIRECTORY, 32768 },
    { BM_LIT(OID_GIVEN_NAME), DIRECTORY, 32768 },
    { BM_LIT(OID_SERIAL_NUMBER), PRINTABLE, 64 },
    { BM_LIT(OID_C), PRINTABLE, 0 },
    { BM_LIT(OID_DN_QUALIFIER), PRINTABLE, 0 },
    { BM_LIT(OID_DOMAIN_COMPONENT), IA5, 0 },
    { BM_LIT(OID_EMAIL), IA5, 255 },
};

static const struct attribute_type *type_of(struct bm_rd oid)
{
    for (size_t i = 0; i < BM_COUNT(types); i++)
        if (bm_rd_eq(oid, types[i].oid))
            return &types[i];
    return NULL;
}

static bool next(struct bm_rd *set, struct attribute *ret)
{
    struct bm_rd seq, oid;

    if (!bm_der_take(set, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_OID, &oid) ||
        !bm_der_any(&seq, &ret->tag, &ret->value, NULL))
        return false;
    ret->type = type_of(oid);
    return true;
}

static bool one_is(struct bm_rd name, bool (*bad)(const struct attribute *a))
{
    struct bm_rd rdns, set;
    struct attribute a;

    if (!bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return false;
    while (bm_der_take(&rdns, BM_DER_SET, &set))
        while (next(&set, &a))
            if (bad(&a))
                return true;
    return false;
}

static bool any_is(const struct lint *l, bool (*bad)(const struct attribute *a))
{
    return one_is(l->issuer, bad) || one_is(l->subject, bad);
}

static bool is_empty(struct bm_rd name)
{
    struct bm_rd rdns;

    return bm_der_only(name, BM_DER_SEQUENCE, &rdns) && rdns.n == 0;
}

bool lint_issuer_empty(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return is_empty(l->issuer);
}

bool lint_name_form(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return !bm_name_valid(l->issuer) || !bm_name_valid(l->subject);
}

static bool not_directory(const struct attribute *a)
{
    return a->type != NULL && a->type->kind == DIRECTORY && a->tag != BM_DER_UTF8 && a->tag != BM_DER_PRINTABLE;
}

bool lint_name_directory(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, not_directory);
}

static bool not_printable(const struct attribute *a)
{
    return a->type != NULL && a->type->kind == PRINTABLE && a->tag != BM_DER_PRINTABLE;
}

bool lint_name_printable(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, not_printable);
}

static bool not_ia5(const struct attribute *a)
{
    return a->type != NULL && a->type->kind == IA5 && a->tag != BM_DER_IA5;
}

bool lint_name_ia5(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, not_ia5);
}

static bool is_ascii(struct bm_rd v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] >= 0x80)
            return false;
    return true;
}

static bool wrong_chars(const struct attribute *a)
{
    return (a->tag == BM_DER_PRINTABLE && !bm_printable_ok(a->value)) || (a->tag == BM_DER_UTF8 && !bm_utf8_ok(a->value)) ||
           (a->tag == BM_DER_IA5 && !is_ascii(a->value));
}

bool lint_name_chars(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, wrong_chars);
}

static bool no_value(const struct attribute *a)
{
    return a->type != NULL && a->value.n == 0;
}

bool lint_name_empty_value(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, no_value);
}

static bool no_country(const struct attribute *a)
{
    static const struct bm_rd c = BM_LIT(OID_C);
    struct bm_rd v = a->value;

    return a->type != NULL && bm_rd_eq(a->type->oid, c) && v.n != 0 &&
           (v.n != 2 || v.p[0] < 'A' || v.p[0] > 'Z' || v.p[1] < 'A' || v.p[1] > 'Z');
}

bool lint_name_country(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, no_country);
}

static bool too_long(const struct attribute *a)
{
    size_t n = a->tag == BM_DER_UTF8 ? bm_char_count(a->value) : a->value.n;

    return a->type != NULL && a->type->chars_max != 0 && n > a->type->chars_max;
}

bool lint_name_long(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_is(l, too_long);
}

/* --- the subject ---------------------------------------------------------------------------------------------------------------- */
bool lint_subject_empty(const struct lint *l, struct bm_rd about)
{
    const struct lint_ext *san = lint_find(l, about);

    return !l->ca && is_empty(l->subject) && (san == NULL || !san->critical);
}

bool lint_ca_subject_empty(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return l->ca && is_empty(l->subject);
}

/* --- device identities ---------------------------------------------------------------------------------------------------------- */
bool lint_idevid_serial(const struct lint *l, struct bm_rd about)
{
    struct bm_rd v;

    return !l->ca && lint_no_end(l) && !bm_name_find(l->subject, about, &v);
}
