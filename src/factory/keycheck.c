#include "factory/impl.h"

#include <openssl/err.h>
#include <openssl/obj_mac.h>

static const struct {
    const char *alg;
    int nid;
} curves[BM_CURVES_MAX] = {
    { "P-256", NID_X9_62_prime256v1 },
    { "P-384", NID_secp384r1 },
    { "P-521", NID_secp521r1 },
};

enum bm_rc bm_keycheck_init(struct bm_keycheck *c, struct bm_error *e)
{
    bool ok;

    c->bn = BN_CTX_new();
    ok = c->bn != NULL;
    for (size_t i = 0; i < BM_CURVES_MAX; i++) {
        c->curve[i].group = EC_GROUP_new_by_curve_name(curves[i].nid);
        c->curve[i].point = c->curve[i].group != NULL ? EC_POINT_new(c->curve[i].group) : NULL;
        ok = ok && c->curve[i].point != NULL;
    }
    return ok ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

void bm_keycheck_done(struct bm_keycheck *c)
{
    for (size_t i = 0; i < BM_CURVES_MAX; i++) {
        EC_POINT_free(c->curve[i].point);
        EC_GROUP_free(c->curve[i].group);
    }
    BN_CTX_free(c->bn);
    *c = (struct bm_keycheck){ 0 };
}

static enum bm_rc on_curve(struct bm_keycheck *c, size_t i, struct bm_rd point, struct bm_error *e)
{
    /* oct2point checks the curve equation; these curves have cofactor 1, so that nothing else is left to check (SEC 1, 3.2.2.1) */
    if (EC_POINT_oct2point(c->curve[i].group, c->curve[i].point, point.p, point.n, c->bn) == 1)
        return BM_OK;
    ERR_clear_error();
    return bm_refuse(e, BM_MALFORMED, "entry-key", "the public key is no point of %s", curves[i].alg);
}

static enum bm_rc openable(const struct bm_spki *k, struct bm_error *e)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;

    return bm_spki_open(k, &key, e);
}

enum bm_rc bm_keycheck(struct bm_keycheck *c, struct bm_rd spki, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_spki k;
    enum bm_rc rc = bm_spki_parse(spki, &k, &why);

    for (size_t i = 0; rc == BM_OK && i < BM_CURVES_MAX; i++)
        if (strcmp(k.alg, curves[i].alg) == 0)
            return on_curve(c, i, k.raw, e);
    if (rc == BM_OK)
        rc = openable(&k, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, "entry-key", "%s", why.what);
}
