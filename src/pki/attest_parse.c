#include "base/text.h"
#include "pki/attest.h"
#include "pki/cbor.h"
#include "pki/impl.h"

#include <stdio.h>

void bm_attest_done(struct bm_attest *a)
{
    cbor_item_t *item = a->tree;

    bm_cbor_freep(&item);
    *a = (struct bm_attest){ 0 };
}

enum bm_rc bm_attest_bad(struct bm_error *e, const char *fmt, ...)
{
    char what[180];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return bm_refuse(e, BM_DENIED, "acme-attestation", "attestation: %s", what);
}

static bool text_of(const cbor_item_t *item, struct bm_rd *ret)
{
    if (!cbor_isa_string(item))
        return false;
    *ret = bm_rd_of(cbor_string_handle(item), cbor_string_length(item));
    return true;
}

static bool bytes_of(const cbor_item_t *item, struct bm_rd *ret)
{
    if (!cbor_isa_bytestring(item))
        return false;
    *ret = bm_rd_of(cbor_bytestring_handle(item), cbor_bytestring_length(item));
    return true;
}

/* --- the statement's members ------------------------------------------------------------------------------------------------------- */
static bool take_alg(const cbor_item_t *v, struct bm_attest *a)
{
    if (!cbor_is_int(v) || cbor_get_int(v) > INT32_MAX)
        return false;
    a->alg = cbor_isa_uint(v) ? (int64_t)cbor_get_int(v) : -1 - (int64_t)cbor_get_int(v);
    a->has_alg = true;
    return true;
}

static bool take_x5c(const cbor_item_t *v, struct bm_attest *a)
{
    if (!cbor_isa_array(v) || cbor_array_size(v) == 0 || cbor_array_size(v) > BM_ATTEST_CERTS_MAX)
        return false;
    a->n_x5c = cbor_array_size(v);
    for (size_t i = 0; i < a->n_x5c; i++)
        if (!bytes_of(cbor_array_handle(v)[i], &a->x5c[i]) || a->x5c[i].n == 0)
            return false;
    return true;
}

static bool take_ver(const cbor_item_t *v, struct bm_attest *a)
{
    return text_of(v, &a->ver);
}

static bool take_sig(const cbor_item_t *v, struct bm_attest *a)
{
    return bytes_of(v, &a->sig);
}

static bool take_spki(const cbor_item_t *v, struct bm_attest *a)
{
    return bytes_of(v, &a->spki);
}

static bool take_cert_info(const cbor_item_t *v, struct bm_attest *a)
{
    return bytes_of(v, &a->cert_info);
}

static bool take_pub_area(const cbor_item_t *v, struct bm_attest *a)
{
    return bytes_of(v, &a->pub_area);
}

typedef bool take_fn(const cbor_item_t *v, struct bm_attest *a);
struct member {
    const char *name;
    take_fn *take;
};

static const struct member of_statement[] = {
    { "alg", take_alg },          { "sig", take_sig }, { "x5c", take_x5c },
    { "spki", take_spki },        { "ver", take_ver }, { "certInfo", take_cert_info },
    { "pubArea", take_pub_area }, { NULL, NULL },
};

/* Each known member once; what has no row is passed over. Keys must be text. */
static bool take_map(const cbor_item_t *map, const struct member *rows, struct bm_attest *a)
{
    unsigned seen = 0;
    struct bm_rd key;

    if (!cbor_isa_map(map))
        return false;
    for (size_t i = 0; i < cbor_map_size(map); i++) {
        const struct cbor_pair *p = &cbor_map_handle(map)[i];

        if (!text_of(p->key, &key))
            return false;
        for (unsigned r = 0; rows[r].name != NULL; r++) {
            if (!bm_rd_eq(key, bm_rd_str(rows[r].name)))
                continue;
            if ((seen & 1U << r) != 0 || !rows[r].take(p->value, a))
                return false;
            seen |= 1U << r;
        }
    }
    return true;
}

/* --- the object -------------------------------------------------------------------------------------------------------------------- */
static bool take_fmt(const cbor_item_t *v, struct bm_attest *a)
{
    struct bm_rd t;

    if (!text_of(v, &t) || t.n == 0 || t.n >= sizeof a->fmt || memchr(t.p, '\0', t.n) != NULL)
        return false;
    memcpy(a->fmt, t.p, t.n);
    return true;
}

static bool take_statement(const cbor_item_t *v, struct bm_attest *a)
{
    return take_map(v, of_statement, a);
}

static const struct member of_object[] = { { "fmt", take_fmt }, { "attStmt", take_statement }, { NULL, NULL } };

enum bm_rc bm_attest_parse(struct bm_rd cbor, struct bm_attest *ret, struct bm_error *e)
{
    struct bm_attest a = { 0 };
    cbor_item_t *item = NULL;
    struct bm_error why = { 0 };

    if (cbor.n > BM_ATTEST_MAX)
        return bm_refuse(e, BM_LIMIT, "acme-attestation", "attestation: longer than %d bytes", BM_ATTEST_MAX);
    if (bm_cbor_load(cbor, &item, &why) != BM_OK)
        return bm_refuse(e, BM_MALFORMED, "acme-attestation", "attestation: %.180s", why.what);
    a.tree = item;
    if (!take_map(item, of_object, &a) || a.fmt[0] == '\0') {
        bm_attest_done(&a);
        return bm_refuse(e, BM_MALFORMED, "acme-attestation",
                         "attestation: not a map of \"fmt\" and \"attStmt\", or a member of the wrong kind or there twice");
    }
    *ret = a;
    return BM_OK;
}
