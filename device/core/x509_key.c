/* Keys and signatures in X.509 clothes. */
#include "x509.h"

/* Everything of a SubjectPublicKeyInfo in front of the raw key: fixed for each algorithm. */
static const uint8_t spki_p256[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
                                     0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };
static const uint8_t spki_p384[] = { 0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                                     0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00 };
static const uint8_t spki_ed25519[] = { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00 };

static struct bmd_rd spki_head(enum bmd_alg alg)
{
    switch (alg) {
    case BMD_P256:
        return bmd_rd_of(spki_p256, sizeof spki_p256);
    case BMD_P384:
        return bmd_rd_of(spki_p384, sizeof spki_p384);
    case BMD_ED25519:
        return bmd_rd_of(spki_ed25519, sizeof spki_ed25519);
    default:
        return bmd_rd_of(NULL, 0);
    }
}

enum bmd_rc bmd_signer_init(struct bmd_signer *s, struct bmd_rot *rot, const struct bmd_crypto *crypto, bmd_key key,
                            enum bmd_alg alg)
{
    enum bmd_rc rc;

    memset(s, 0, sizeof *s);
    s->point_len = sizeof s->point;
    rc = bmd_rot_key_public(rot, key, s->point, &s->point_len);
    if (rc != BMD_OK)
        return rc;
    if (bmd_alg_point_len(alg) == 0 || s->point_len != bmd_alg_point_len(alg))
        return BMD_BAD_ARGUMENT;
    s->rot = rot;
    s->crypto = crypto;
    s->key = key;
    s->alg = alg;
    return BMD_OK;
}

enum bmd_rc bmd_signer_sign(const struct bmd_signer *s, struct bmd_rd data, uint8_t ret[BMD_SIG_RAW_MAX], size_t *ret_len)
{
    bool whole = (s->rot->info.caps & BMD_CAP_SIGN_MESSAGE) != 0;
    enum bmd_hash h = whole ? BMD_HASH_NONE : bmd_alg_hash(s->alg);
    uint8_t digest[BMD_HASH_MAX];
    enum bmd_rc rc;

    *ret_len = BMD_SIG_RAW_MAX;
    if (h == BMD_HASH_NONE)
        return bmd_rot_sign(s->rot, s->key, h, data, ret, ret_len);
    rc = s->crypto->hash(s->crypto->arg, h, data, digest);
    if (rc != BMD_OK)
        return rc;
    rc = bmd_rot_sign(s->rot, s->key, h, bmd_rd_of(digest, bmd_hash_len(h)), ret, ret_len);
    return rc == BMD_OK && *ret_len != bmd_alg_sig_len(s->alg) ? BMD_INTERNAL : rc;
}

static enum bmd_rc to_front(const struct bmd_der *d, uint8_t *out, size_t *ret_len)
{
    struct bmd_rd all = bmd_der_rd(d, d->cap);

    if (d->bad)
        return BMD_BUFFER_TOO_SMALL;
    memmove(out, all.p, all.n);
    *ret_len = all.n;
    return BMD_OK;
}

enum bmd_rc bmd_sig_to_der(struct bmd_rd raw, uint8_t *out, size_t cap, size_t *ret_len)
{
    struct bmd_der d = bmd_der_of(out, cap);
    size_t half = raw.n / 2;

    if (raw.n == 0 || raw.n % 2 != 0 || raw.n > BMD_SIG_RAW_MAX)
        return BMD_BAD_ARGUMENT;
    bmd_der_uint(&d, bmd_rd_of(raw.p + half, half));
    bmd_der_uint(&d, bmd_rd_of(raw.p, half));
    bmd_der_wrap(&d, BMD_DER_SEQUENCE, cap);
    return to_front(&d, out, ret_len);
}

/* A positive INTEGER of at most `half` bytes, right-aligned into ret. */
static bool take_half(struct bmd_rd *r, size_t half, uint8_t *ret)
{
    struct bmd_rd v;

    if (!bmd_der_take(r, BMD_DER_INTEGER, &v, NULL) || v.n == 0 || v.p[0] >= 0x80)
        return false;
    if (v.n > 1 && v.p[0] == 0) {
        if (v.p[1] < 0x80) /* X.690 8.3.2: not the fewest octets */
            return false;
        v.p++;
        v.n--;
    }
    if (v.n > half)
        return false;
    memset(ret, 0, half - v.n);
    memcpy(ret + half - v.n, v.p, v.n);
    return true;
}

enum bmd_rc bmd_sig_from_der(struct bmd_rd der, size_t half, uint8_t *out, size_t cap, size_t *ret_len)
{
    struct bmd_rd seq;

    if (cap < 2 * half)
        return BMD_BUFFER_TOO_SMALL;
    if (!bmd_der_take(&der, BMD_DER_SEQUENCE, &seq, NULL) || der.n != 0)
        return BMD_MALFORMED;
    if (!take_half(&seq, half, out) || !take_half(&seq, half, out + half) || seq.n != 0)
        return BMD_MALFORMED;
    *ret_len = 2 * half;
    return BMD_OK;
}

enum bmd_rc bmd_spki(enum bmd_alg alg, struct bmd_rd point, uint8_t *out, size_t cap, size_t *ret_len)
{
    struct bmd_wr w = bmd_wr_of(out, cap);
    struct bmd_rd head = spki_head(alg);

    if (head.n == 0 || point.n != bmd_alg_point_len(alg))
        return BMD_BAD_ARGUMENT;
    bmd_wr_put(&w, head.p, head.n);
    bmd_wr_put(&w, point.p, point.n);
    *ret_len = w.n;
    return w.bad ? BMD_BUFFER_TOO_SMALL : BMD_OK;
}

enum bmd_rc bmd_udid(const struct bmd_signer *s, uint8_t ret[BMD_UDID_LEN])
{
    uint8_t spki[BMD_SPKI_MAX];
    size_t n = 0;
    enum bmd_rc rc = bmd_spki(s->alg, bmd_rd_of(s->point, s->point_len), spki, sizeof spki, &n);

    return rc == BMD_OK ? s->crypto->hash(s->crypto->arg, BMD_SHA256, bmd_rd_of(spki, n), ret) : rc;
}
