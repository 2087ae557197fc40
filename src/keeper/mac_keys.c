/* Secret keys of devices on their way in, and open for the moment of a check. */
#include "keeper/symmetric.h"

#include "base/text.h"
#include "pki/jwe.h"

#include <stdio.h>

enum bm_rc bm_import_key(struct bm_keeper *k, bool make, const struct bm_key **ret, struct bm_error *e)
{
    struct bm_secrets *s;
    enum bm_rc rc = bm_secrets_get(k, &s, e);

    if (rc == BM_OK && s->import_key == NULL) {
        rc = bm_key_open(&k->ring, BM_IMPORT_KEY, &s->import_key, e);
        if (rc == BM_NOTFOUND && make) {
            rc = bm_key_generate(&k->ring, BM_IMPORT_KEY, "EC:P-256", e);
            if (rc == BM_OK)
                rc = bm_key_open(&k->ring, BM_IMPORT_KEY, &s->import_key, e);
            if (rc == BM_OK)
                rc = bm_keeper_journal_key(k, BM_IMPORT_KEY, e);
        }
    }
    if (rc == BM_NOTFOUND)
        return bm_refuse(e, BM_DENIED, "no-import-key",
                         "this registry has no import key yet; 'birthmark key import-key' makes and prints it");
    if (rc == BM_OK)
        *ret = s->import_key;
    return rc;
}

/* --- sealing -------------------------------------------------------------------------------------------------------------------- */
void bm_mac_aad(const struct bm_mac_key *m, const uint8_t *udid, struct bm_buf *out)
{
    static const char of_device[] = "birthmark-sealed-device-key-v1", of_root[] = "birthmark-sealed-root-key-v1";

    if (udid != NULL)
        bm_buf_put(out, of_device, sizeof of_device);
    else
        bm_buf_put(out, of_root, sizeof of_root);
    bm_buf_vec(out, udid != NULL ? bm_rd_of(udid, BM_UDID_LEN) : bm_rd_str(m->name));
    bm_buf_vec(out, bm_rd_str(m->alg));
}

static enum bm_rc seal(struct bm_keeper *k, struct bm_mac_key *m, const uint8_t *udid, struct bm_rd plain, int64_t now,
                       struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf aad = { .max = 256 };
    const struct bm_kek *kek;
    enum bm_rc rc = bm_kek_current(k, now, &m->kek_id, &kek, e);

    if (rc != BM_OK)
        return rc;
    bm_mac_aad(m, udid, &aad);
    m->sealed.max = 256;
    return bm_kek_seal(kek, bm_buf_rd(&aad), plain, &m->sealed, e);
}

enum bm_rc bm_mac_seal_named(struct bm_keeper *k, struct bm_mac_key *m, struct bm_rd plain, int64_t now, struct bm_error *e)
{
    return seal(k, m, NULL, plain, now, e);
}

static enum bm_rc unseal(struct bm_keeper *k, const struct bm_mac_key *m, const uint8_t *udid, struct bm_buf *ret,
                         struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf aad = { .max = 256 };
    const struct bm_kek *kek;
    enum bm_rc rc = bm_kek_get(k, m->kek_id, &kek, e);

    if (rc != BM_OK)
        return rc;
    bm_mac_aad(m, udid, &aad);
    return bm_kek_unseal(kek, bm_buf_rd(&aad), bm_buf_rd(&m->sealed), ret, e);
}

/* --- open for a check ----------------------------------------------------------------------------------------------------------- */
static enum bm_rc derive(struct bm_keeper *k, const struct bm_mac_key *m, struct bm_buf *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key root = { 0 };
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 256 };
    const struct bm_mac_alg *a = bm_mac_find(bm_rd_str(m->alg));
    const struct bm_kdf *kdf;
    uint8_t *to;
    enum bm_rc rc = bm_mac_key_by_id(k->store, m->root_id, &root, e);

    if (rc == BM_OK)
        rc = unseal(k, &root, NULL, &plain, e);
    if (rc != BM_OK)
        return rc;
    kdf = bm_kdf_find(bm_rd_str(root.alg));
    to = a != NULL && kdf != NULL ? bm_buf_room(ret, a->derived) : NULL;
    if (to == NULL)
        return bm_fail(e, BM_BUG, "registry: a derived key of kind '%s' from '%s'", m->alg, root.alg);
    rc = bm_kdf_derive(kdf, bm_buf_rd(&plain), bm_buf_rd(&m->ident), to, a->derived, e);
    ret->n += rc == BM_OK ? a->derived : 0;
    return rc;
}

enum bm_rc bm_mac_open(struct bm_keeper *k, const uint8_t udid[BM_UDID_LEN], const struct bm_mac_key *m, struct bm_buf *ret,
                       struct bm_error *e)
{
    return m->root_id != 0 ? derive(k, m, ret, e) : unseal(k, m, udid, ret, e);
}

/* --- taking in ------------------------------------------------------------------------------------------------------------------ */
static enum bm_rc bad_secret(enum bm_rc rc, struct bm_error *e)
{
    char what[sizeof e->what];

    if (e == NULL || rc == BM_NOMEM || rc == BM_IO || rc == BM_BUG || strcmp(e->code, "no-import-key") == 0)
        return rc;
    snprintf(what, sizeof what, "%s", e->what);
    return bm_refuse(e, rc, "entry-secret", "%s", what);
}

static enum bm_rc open_jwe(struct bm_keeper *k, struct bm_rd text, const char *sub, struct bm_buf *ret, struct bm_error *e)
{
    const struct bm_key *key;
    struct bm_jwe j;
    enum bm_rc rc = bm_jwe_parse(text, &j, e);

    if (rc == BM_OK)
        rc = bm_import_key(k, false, &key, e);
    if (rc == BM_OK)
        rc = bm_jwe_open(&j, key, bm_rd_str(sub), ret, e);
    return rc == BM_OK ? rc : bad_secret(rc, e);
}

static enum bm_rc from_root(struct bm_keeper *k, const struct bm_mac_given *g, struct bm_mac_key *m, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key root = { 0 };
    enum bm_rc rc = bm_mac_root(k->store, g->root, &root, e);

    if (rc == BM_NOTFOUND || (rc == BM_OK && root.org_id != g->org_id))
        return bm_refuse(e, BM_DENIED, "entry-secret", "this organisation has no root key '%.64s' here; 'birthmark key add-root'",
                         g->root);
    m->root_id = root.id;
    return rc;
}

static enum bm_rc from_jwe(struct bm_keeper *k, const struct bm_mac_given *g, const struct bm_mac_alg *a, int64_t now,
                           struct bm_mac_key *m, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 256 };
    char hex[2 * BM_UDID_LEN + 1];
    enum bm_rc rc;

    bm_hex(g->udid, BM_UDID_LEN, hex);
    rc = open_jwe(k, g->sealed_b64u, hex, &plain, e);
    if (rc == BM_OK && !bm_mac_key_fits(a, plain.n))
        rc = bm_refuse(e, BM_MALFORMED, "entry-secret", "a key of %zu bytes does not fit %s", plain.n, a->name);
    return rc == BM_OK && !g->dry ? seal(k, m, g->udid, bm_buf_rd(&plain), now, e) : rc;
}

enum bm_rc bm_mac_take(struct bm_keeper *k, const struct bm_mac_given *g, int64_t now, struct bm_mac_key *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { .ident.max = BM_MAC_IDENT_MAX };
    const struct bm_mac_alg *a = bm_mac_find(bm_rd_str(g->mac));
    enum bm_rc rc;

    if (a == NULL)
        return bm_refuse(e, BM_MALFORMED, "entry-mac", "no such kind of MAC; see docs/symmetric.md");
    snprintf(m.alg, sizeof m.alg, "%s", a->name);
    bm_buf_put(&m.ident, g->ident.p, g->ident.n);
    rc = g->root[0] != '\0' ? from_root(k, g, &m, e) : from_jwe(k, g, a, now, &m, e);
    if (rc != BM_OK)
        return rc;
    *ret = m;
    m = (struct bm_mac_key){ 0 };
    return BM_OK;
}

enum bm_rc bm_mac_take_root(struct bm_keeper *k, const char *name, const char *kdf, int64_t org_id, struct bm_rd sealed_b64u,
                            int64_t now, struct bm_mac_key *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_mac_key_done) struct bm_mac_key m = { .org_id = org_id };
    BM_CLEANUP(bm_buf_done) struct bm_buf plain = { .max = 256 };
    const struct bm_kdf *d = bm_kdf_find(bm_rd_str(kdf));
    uint8_t probe[16];
    enum bm_rc rc;

    if (d == NULL)
        return bm_fail(e, BM_USAGE, "'kdf' must be sp800-108-hmac-sha256, sp800-108-aes-cmac or hkdf-sha256");
    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.alg, sizeof m.alg, "%s", d->name);
    rc = open_jwe(k, sealed_b64u, name, &plain, e);
    if (rc == BM_OK) /* a length that does not fit shows now, and not when the first device comes */
        rc = bm_kdf_derive(d, bm_buf_rd(&plain), bm_rd_str("probe"), probe, sizeof probe, e);
    bm_wipe(probe, sizeof probe);
    if (rc == BM_OK)
        rc = seal(k, &m, NULL, bm_buf_rd(&plain), now, e);
    if (rc != BM_OK)
        return rc;
    *ret = m;
    m = (struct bm_mac_key){ 0 };
    return BM_OK;
}
