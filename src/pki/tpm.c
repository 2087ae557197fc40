/* What TPM2_Certify says of a key (TPM 2.0 Library, part 2: structures). Big-endian, as the TPM writes it. */
#include "pki/attest.h"
#include "pki/impl.h"

enum {
    ST_CERTIFY = 0x8017, /* TPM_ST_ATTEST_CERTIFY */
    ALG_RSA = 0x0001,
    ALG_NULL = 0x0010,
    ALG_SHA256 = 0x000b,
    ALG_SHA384 = 0x000c,
    ALG_SHA512 = 0x000d,
    ALG_RSASSA = 0x0014,
    ALG_RSAES = 0x0015,
    ALG_ECDSA = 0x0018,
    ALG_ECDAA = 0x001a,
    ALG_ECC = 0x0023,
    CLOCK_LEN = 17 + 8, /* TPMS_CLOCK_INFO, firmware version */
    /* TPMA_OBJECT: cannot leave the TPM; was made in it */
    FIXED_TPM = 1 << 1,
    SENSITIVE_ORIGIN = 1 << 5,
};

static enum bm_rc bad(struct bm_error *e, const char *what)
{
    return bm_attest_bad(e, "TPM: %s", what);
}

/* TPM_GENERATED_VALUE: only a TPM writes this in front of what its restricted keys sign */
static const uint32_t generated = 0xff544347;

/* TPM2B: a length of two bytes, and that many */
static bool take_2b(struct bm_rd *r, struct bm_rd *ret)
{
    struct bm_rd t = *r;
    uint16_t n;

    if (!bm_rd_u16(&t, &n) || !bm_rd_take(&t, n, ret))
        return false;
    *r = t;
    return true;
}

static size_t digest_by(uint16_t alg, struct bm_rd in, uint8_t ret[BM_DIGEST_MAX])
{
    return alg == ALG_SHA256   ? bm_digest_of(BM_SHA256, in, ret)
           : alg == ALG_SHA384 ? bm_digest_of(BM_SHA384, in, ret)
           : alg == ALG_SHA512 ? bm_digest_of(BM_SHA512, in, ret)
                               : 0;
}

/* --- TPMT_PUBLIC (part 2, 12.2.4) to SubjectPublicKeyInfo ----------------------------------------------------------------------------- */
/* TPMT_SYM_DEF_OBJECT; of a signing key it is null. */
static bool skip_symmetric(struct bm_rd *r)
{
    uint16_t alg;
    struct bm_rd more;

    return bm_rd_u16(r, &alg) && (alg == ALG_NULL || bm_rd_take(r, 4, &more));
}

/* TPMT_RSA_SCHEME, TPMT_ECC_SCHEME, TPMT_KDF_SCHEME: what follows the algorithm */
static bool skip_scheme(struct bm_rd *r)
{
    uint16_t alg;
    struct bm_rd more;

    if (!bm_rd_u16(r, &alg))
        return false;
    return bm_rd_take(r, alg == ALG_NULL || alg == ALG_RSAES ? 0 : alg == ALG_ECDAA ? 4 : 2, &more);
}

static void put_id(struct bm_derw *w, struct bm_rd contents)
{
    bm_derw_tlv(w, BM_DER_SEQUENCE, contents);
    bm_derw_end(w, w->cap, BM_DER_SEQUENCE);
}

static bool rsa_spki(struct bm_rd *r, struct bm_derw *w)
{
    static const struct bm_rd id = BM_LIT("\x06\x09" OID_RSA "\x05\x00");
    uint16_t bits;
    uint32_t exponent;
    struct bm_rd n;

    if (!skip_symmetric(r) || !skip_scheme(r) || !bm_rd_u16(r, &bits) || !bm_rd_u32(r, &exponent) || !take_2b(r, &n) ||
        n.n * 8 != bits)
        return false;
    bm_derw_uint(w, exponent != 0 ? exponent : 65537);
    bm_derw_unsigned(w, n);
    bm_derw_end(w, w->cap, BM_DER_SEQUENCE);
    bm_derw_end_bits(w, w->cap);
    put_id(w, id);
    return true;
}

static const struct {
    uint16_t curve;
    size_t size;
    struct bm_rd id;
} curves[] = {
    { 3, 32, BM_LIT("\x06\x07" OID_EC_PUBLIC_KEY "\x06\x08" OID_P256) },
    { 4, 48, BM_LIT("\x06\x07" OID_EC_PUBLIC_KEY "\x06\x05" OID_P384) },
    { 5, 66, BM_LIT("\x06\x07" OID_EC_PUBLIC_KEY "\x06\x05" OID_P521) },
};

/* Leading zeros of a coordinate may be left out. */
static bool put_coordinate(struct bm_derw *w, struct bm_rd v, size_t size)
{
    if (v.n > size)
        return false;
    bm_derw_put(w, v);
    for (size_t i = v.n; i < size; i++)
        bm_derw_byte(w, 0);
    return true;
}

static bool ecc_spki(struct bm_rd *r, struct bm_derw *w)
{
    struct bm_rd x, y;
    uint16_t curve;

    if (!skip_symmetric(r) || !skip_scheme(r) || !bm_rd_u16(r, &curve) || !skip_scheme(r) || !take_2b(r, &x) || !take_2b(r, &y))
        return false;
    for (size_t i = 0; i < BM_COUNT(curves); i++) {
        if (curves[i].curve != curve)
            continue;
        if (!put_coordinate(w, y, curves[i].size) || !put_coordinate(w, x, curves[i].size))
            return false;
        bm_derw_byte(w, 4);
        bm_derw_end_bits(w, w->cap);
        put_id(w, curves[i].id);
        return true;
    }
    return false;
}

/* Also a point is on its curve. */
static bool is_key(struct bm_rd spki)
{
    BM_EVP_FREE EVP_PKEY *key = NULL;
    struct bm_spki parsed;

    return bm_spki_parse(spki, &parsed, NULL) == BM_OK && bm_spki_open(&parsed, &key, NULL) == BM_OK;
}

static enum bm_rc public_spki(struct bm_rd area, uint16_t *ret_name_alg, struct bm_buf *ret, struct bm_error *e)
{
    uint8_t room[1024];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    struct bm_rd policy;
    uint16_t type;
    uint32_t attributes;
    bool ok;

    if (!bm_rd_u16(&area, &type) || !bm_rd_u16(&area, ret_name_alg) || !bm_rd_u32(&area, &attributes) || !take_2b(&area, &policy))
        return bad(e, "\"pubArea\" is cut short");
    if ((attributes & FIXED_TPM) == 0 || (attributes & SENSITIVE_ORIGIN) == 0)
        return bad(e, "the key may leave its TPM, or was not made in it");
    ok = type == ALG_RSA ? rsa_spki(&area, &w) : type == ALG_ECC && ecc_spki(&area, &w);
    if (!ok || area.n != 0 || w.bad || !is_key(bm_derw_rd(&w)))
        return bad(e, "\"pubArea\" is not of an RSA key, or of one on P-256, P-384 or P-521");
    bm_buf_put(ret, room + w.at, w.cap - w.at);
    return bm_buf_check(ret, e);
}

/* --- TPMS_ATTEST (part 2, 10.12.8) --------------------------------------------------------------------------------------------------- */
/* The name of what is certified must be that of pubArea: its nameAlg and its digest. */
static bool name_fits(struct bm_rd name, uint16_t alg, struct bm_rd area)
{
    uint8_t digest[BM_DIGEST_MAX];
    size_t n = digest_by(alg, area, digest);
    uint16_t by;

    return n != 0 && bm_rd_u16(&name, &by) && by == alg && bm_rd_eq(name, bm_rd_of(digest, n));
}

static enum bm_rc check_info(struct bm_rd info, uint16_t name_alg, struct bm_rd area, struct bm_rd key_authorization,
                             struct bm_error *e)
{
    struct bm_rd signer, extra, clock, name, qualified;
    uint8_t want[32];
    uint32_t magic;
    uint16_t type;

    if (!bm_rd_u32(&info, &magic) || !bm_rd_u16(&info, &type) || !take_2b(&info, &signer) || !take_2b(&info, &extra) ||
        !bm_rd_take(&info, CLOCK_LEN, &clock) || !take_2b(&info, &name) || !take_2b(&info, &qualified) || info.n != 0)
        return bad(e, "\"certInfo\" is no TPMS_ATTEST");
    if (magic != generated || type != ST_CERTIFY)
        return bad(e, "\"certInfo\" was not made by TPM2_Certify");
    bm_udid_of(key_authorization, want); /* SHA-256 all the same */
    if (!bm_rd_eq(extra, bm_rd_of(want, sizeof want)))
        return bad(e, "it was not made for this challenge and account");
    return name_fits(name, name_alg, area) ? BM_OK : bad(e, "it certifies another key than \"pubArea\"");
}

/* TPMT_SIGNATURE (part 2, 11.3.4), as WebAuthn section 8.3 has it, to the form X.509 uses; what is none is taken for that form. */
static struct bm_rd plain_signature(struct bm_rd sig, struct bm_derw *w)
{
    struct bm_rd in = sig, r, s;
    uint16_t alg, hash;

    if (!bm_rd_u16(&in, &alg) || !bm_rd_u16(&in, &hash) || (alg != ALG_RSASSA && alg != ALG_ECDSA) || !take_2b(&in, &r))
        return sig;
    if (alg == ALG_RSASSA)
        return in.n == 0 ? r : sig;
    if (!take_2b(&in, &s) || in.n != 0)
        return sig;
    bm_derw_unsigned(w, s);
    bm_derw_unsigned(w, r);
    bm_derw_end(w, w->cap, BM_DER_SEQUENCE);
    return w->bad ? sig : bm_derw_rd(w);
}

enum bm_rc bm_tpm_certified(const struct bm_attest *a, struct bm_rd signer, struct bm_rd key_authorization, struct bm_buf *ret_spki,
                            struct bm_error *e)
{
    uint8_t room[256];
    struct bm_derw w = bm_derw_of(room, sizeof room);
    uint16_t name_alg = 0;
    enum bm_rc rc;

    if (!a->has_alg)
        return bad(e, "\"alg\" is missing");
    rc = bm_cose_verify(a->alg, signer, a->cert_info, plain_signature(a->sig, &w), e);
    if (rc == BM_OK)
        rc = public_spki(a->pub_area, &name_alg, ret_spki, e);
    return rc == BM_OK ? check_info(a->cert_info, name_alg, a->pub_area, key_authorization, e) : rc;
}
