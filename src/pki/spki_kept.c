/* Opening a public key costs a tenth of verifying with it, and some come with every request: an account's, an issuer's. The bytes are all that a
 * public key is, so what is kept can never be out of date; in each thread, since two never share a key. */
#include "pki/impl.h"

enum { KEPT = 64, INDEX_LEN = 4 }; /* direct-mapped */

struct kept {
    struct bm_buf spki;
    EVP_PKEY *key;
};

/* From the middle of the key, where those of all kinds differ. Who makes keys that meet in one slot has them opened each time. */
static struct kept *slot_of(const struct bm_spki *k)
{
    static _Thread_local struct kept table[KEPT];
    uint32_t i = 0;

    if (k->raw.n >= 2 * INDEX_LEN)
        memcpy(&i, k->raw.p + k->raw.n / 2, INDEX_LEN);
    return &table[i % KEPT];
}

static void keep(struct kept *slot, const struct bm_spki *k, EVP_PKEY *key)
{
    EVP_PKEY_free(BM_MOVE(slot->key));
    slot->spki.n = 0;
    slot->spki.max = BM_SPKI_MAX;
    slot->spki.bad = false;
    bm_buf_put(&slot->spki, k->whole.p, k->whole.n);
    if (!slot->spki.bad && EVP_PKEY_up_ref(key) == 1)
        slot->key = key;
}

enum bm_rc bm_spki_open_kept(const struct bm_spki *k, EVP_PKEY **ret, struct bm_error *e)
{
    struct kept *slot = slot_of(k);
    enum bm_rc rc;

    if (slot->key != NULL && bm_rd_eq(bm_buf_rd(&slot->spki), k->whole) && EVP_PKEY_up_ref(slot->key) == 1) {
        *ret = slot->key;
        return BM_OK;
    }
    rc = bm_spki_open(k, ret, e);
    if (rc == BM_OK)
        keep(slot, k, *ret);
    return rc;
}
