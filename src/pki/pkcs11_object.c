/* Keys in a token: finding, describing and making them. */
#include "pki/pkcs11_impl.h"

#include <openssl/rand.h>

/* Attributes are lent to the module, which only reads them. */
#define ATTRIBUTE(t, p, n) ((CK_ATTRIBUTE){ (t), (void *)(uintptr_t)(p), (n) })
#define ATTRIBUTE_OF(t, v) ATTRIBUTE(t, &(v), sizeof(v))

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

CK_RV bm_token_find(struct bm_pkcs11 *p, const struct bm_token *t, enum bm_token_class class, const struct bm_pkcs11_uri *u,
                    CK_OBJECT_HANDLE ret[2], size_t *ret_n)
{
    const CK_OBJECT_CLASS of = class == BM_TOKEN_PRIVATE ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY;
    CK_ATTRIBUTE want[4] = { ATTRIBUTE_OF(CKA_CLASS, of), ATTRIBUTE_OF(CKA_TOKEN, yes) };
    CK_ULONG n_want = 2, n = 0;
    CK_RV rv, end;

    if (u->object[0] != '\0')
        want[n_want++] = ATTRIBUTE(CKA_LABEL, u->object, strlen(u->object));
    if (u->id_len != 0)
        want[n_want++] = ATTRIBUTE(CKA_ID, u->id, u->id_len);
    rv = p->f->C_FindObjectsInit(t->session, want, n_want);
    if (rv != CKR_OK)
        return rv;
    rv = p->f->C_FindObjects(t->session, ret, 2, &n);
    end = p->f->C_FindObjectsFinal(t->session);
    *ret_n = n;
    return rv != CKR_OK ? rv : end;
}

/* --- describing one ---------------------------------------------------------------------------------------------------------------- */
/* The attribute into `room`; one that the object has not got, or that does not fit, has length 0. */
static CK_RV get(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, struct bm_buf *ret)
{
    CK_ATTRIBUTE a = ATTRIBUTE(type, ret->p, ret->cap);
    CK_RV rv = p->f->C_GetAttributeValue(t->session, o, &a, 1);

    ret->n = rv == CKR_OK && a.ulValueLen <= ret->cap ? a.ulValueLen : 0;
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL ? CKR_OK : rv;
}

static CK_RV get_flag(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, bool *ret)
{
    CK_BBOOL v = CK_FALSE;
    struct bm_buf room = { .p = &v, .cap = sizeof v };
    CK_RV rv = get(p, t, o, type, &room);

    *ret = v != CK_FALSE;
    return rv;
}

/* CKA_EC_POINT is an OCTET STRING around the point (PKCS#11 v2.40 section 2.3.3); some modules leave that off. */
static void write_ec(struct bm_derw *w, struct bm_rd params, struct bm_rd point)
{
    static const struct bm_rd oid = BM_LIT(OID_EC_PUBLIC_KEY);
    struct bm_rd inner;
    size_t mark = bm_derw_mark(w), m;

    bm_derw_put(w, bm_der_only(point, BM_DER_OCTET_STRING, &inner) ? inner : point);
    bm_derw_end_bits(w, mark);
    m = bm_derw_mark(w);
    bm_derw_put(w, params);
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static void write_rsa(struct bm_derw *w, struct bm_rd modulus, struct bm_rd exponent)
{
    static const struct bm_rd oid = BM_LIT(OID_RSA), none = { NULL, 0 };
    size_t mark = bm_derw_mark(w), m;

    bm_derw_unsigned(w, exponent);
    bm_derw_unsigned(w, modulus);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end_bits(w, mark);
    m = bm_derw_mark(w);
    bm_derw_tlv(w, BM_DER_NULL, none);
    bm_derw_tlv(w, BM_DER_OID, oid);
    bm_derw_end(w, m, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static const struct public_half {
    CK_KEY_TYPE type;
    CK_ATTRIBUTE_TYPE a, b;
    void (*write)(struct bm_derw *w, struct bm_rd a, struct bm_rd b);
} public_halves[] = {
    { CKK_EC, CKA_EC_PARAMS, CKA_EC_POINT, write_ec },
    { CKK_RSA, CKA_MODULUS, CKA_PUBLIC_EXPONENT, write_rsa },
};

static CK_RV read_public(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE o, struct bm_token_facts *ret)
{
    uint8_t room_a[1024], room_b[1024];
    struct bm_buf a = { .p = room_a, .cap = sizeof room_a }, b = { .p = room_b, .cap = sizeof room_b };
    struct bm_derw w = bm_derw_of(ret->spki, sizeof ret->spki);
    const struct public_half *h = NULL;
    CK_RV rv;

    for (size_t i = 0; i < BM_COUNT(public_halves); i++)
        h = public_halves[i].type == ret->type ? &public_halves[i] : h;
    if (h == NULL)
        return CKR_OK;
    rv = get(p, t, o, h->a, &a);
    if (rv == CKR_OK)
        rv = get(p, t, o, h->b, &b);
    if (rv != CKR_OK || a.n == 0 || b.n == 0)
        return rv;
    h->write(&w, bm_buf_rd(&a), bm_buf_rd(&b));
    if (w.bad)
        return CKR_OK;
    ret->spki_len = bm_derw_rd(&w).n;
    memmove(ret->spki, bm_derw_rd(&w).p, ret->spki_len);
    return CKR_OK;
}

/* The public key object goes by the same CKA_ID as the private one; where there is none, by the same label. */
static CK_RV find_public(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE key, const struct bm_pkcs11_uri *u,
                         CK_OBJECT_HANDLE *ret, size_t *ret_n)
{
    struct bm_pkcs11_uri by = { 0 };
    struct bm_buf id = { .p = by.id, .cap = sizeof by.id };
    CK_OBJECT_HANDLE found[2] = { 0 };
    CK_RV rv = get(p, t, key, CKA_ID, &id);

    if (rv != CKR_OK)
        return rv;
    by.id_len = id.n;
    rv = bm_token_find(p, t, BM_TOKEN_PUBLIC, id.n != 0 ? &by : u, found, ret_n);
    *ret = found[0];
    return rv;
}

CK_RV bm_token_facts(struct bm_pkcs11 *p, const struct bm_token *t, CK_OBJECT_HANDLE key, const struct bm_pkcs11_uri *u,
                     struct bm_token_facts *ret)
{
    struct bm_buf type = { .p = (uint8_t *)&ret->type, .cap = sizeof ret->type };
    CK_OBJECT_HANDLE public = key;
    size_t n = 0;
    CK_RV rv = get_flag(p, t, key, CKA_SENSITIVE, &ret->sensitive);

    ret->spki_len = 0;
    if (rv == CKR_OK)
        rv = get_flag(p, t, key, CKA_EXTRACTABLE, &ret->extractable);
    if (rv == CKR_OK)
        rv = get_flag(p, t, key, CKA_SIGN, &ret->signs);
    if (rv == CKR_OK)
        rv = get(p, t, key, CKA_KEY_TYPE, &type);
    if (rv == CKR_OK && ret->type == CKK_RSA) /* the private key object has both numbers */
        rv = read_public(p, t, key, ret);
    if (rv == CKR_OK && ret->spki_len == 0)
        rv = find_public(p, t, key, u, &public, &n);
    return rv == CKR_OK && n == 1 ? read_public(p, t, public, ret) : rv;
}

/* --- making one -------------------------------------------------------------------------------------------------------------------- */
static const struct bm_token_alg algs[] = {
    { "EC:P-256", CKK_EC, 0, BM_LIT("\x06\x08" OID_P256) },
    { "EC:P-384", CKK_EC, 0, BM_LIT("\x06\x05" OID_P384) },
    { "RSA:2048", CKK_RSA, 2048, { NULL, 0 } },
    { "RSA:3072", CKK_RSA, 3072, { NULL, 0 } },
    { "RSA:4096", CKK_RSA, 4096, { NULL, 0 } },
};

const struct bm_token_alg *bm_token_alg(const char *alg)
{
    for (size_t i = 0; i < BM_COUNT(algs); i++)
        if (strcmp(algs[i].alg, alg) == 0)
            return &algs[i];
    return NULL;
}

CK_RV bm_token_generate(struct bm_pkcs11 *p, CK_SESSION_HANDLE s, const struct bm_token_alg *a, const struct bm_pkcs11_uri *u)
{
    static const uint8_t exponent[] = { 1, 0, 1 };
    CK_MECHANISM how = { .mechanism = a->type == CKK_EC ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN };
    CK_ATTRIBUTE public[7] = {
        ATTRIBUTE_OF(CKA_TOKEN, yes),
        ATTRIBUTE_OF(CKA_VERIFY, yes),
        ATTRIBUTE(CKA_LABEL, u->object, strlen(u->object)),
        ATTRIBUTE(CKA_ID, u->id, u->id_len),
    };
    CK_ATTRIBUTE private[] = {
        ATTRIBUTE_OF(CKA_TOKEN, yes),        ATTRIBUTE_OF(CKA_PRIVATE, yes), ATTRIBUTE_OF(CKA_SENSITIVE, yes),
        ATTRIBUTE_OF(CKA_EXTRACTABLE, no),   ATTRIBUTE_OF(CKA_SIGN, yes),    ATTRIBUTE(CKA_LABEL, u->object, strlen(u->object)),
        ATTRIBUTE(CKA_ID, u->id, u->id_len),
    };
    CK_OBJECT_HANDLE made[2];
    CK_ULONG n = 4;

    if (a->type == CKK_EC) {
        public[n++] = ATTRIBUTE(CKA_EC_PARAMS, a->curve.p, a->curve.n);
    } else {
        public[n++] = ATTRIBUTE_OF(CKA_MODULUS_BITS, a->bits);
        public[n++] = ATTRIBUTE(CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
    }
    return p->f->C_GenerateKeyPair(s, &how, public, n, private, BM_COUNT(private), &made[0], &made[1]);
}
