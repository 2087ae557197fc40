/* The two signed things a device writes: its PKCS#10 request and its self-signed certificate. */
#include "x509.h"

static const uint8_t ecdsa_sha256[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
static const uint8_t ecdsa_sha384[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03 };
static const uint8_t ed25519[] = { 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70 };
static const uint8_t oid_cn[] = { 0x55, 0x04, 0x03 };
static const uint8_t version_1[] = { 0x02, 0x01, 0x00 };             /* PKCS#10 version 0 */
static const uint8_t version_3[] = { 0xa0, 0x03, 0x02, 0x01, 0x02 }; /* [0] EXPLICIT v3 */
static const uint8_t serial_1[] = { 0x02, 0x01, 0x01 };

static void put_sig_alg(struct bmd_der *d, enum bmd_alg alg)
{
    switch (alg) {
    case BMD_P256:
        bmd_der_put(d, ecdsa_sha256, sizeof ecdsa_sha256);
        break;
    case BMD_P384:
        bmd_der_put(d, ecdsa_sha384, sizeof ecdsa_sha384);
        break;
    case BMD_ED25519:
        bmd_der_put(d, ed25519, sizeof ed25519);
        break;
    default:
        d->bad = true;
    }
}

static void put_spki(struct bmd_der *d, const struct bmd_signer *s)
{
    uint8_t spki[BMD_SPKI_MAX];
    size_t n = 0;

    if (bmd_spki(s->alg, bmd_rd_of(s->point, s->point_len), spki, sizeof spki, &n) != BMD_OK)
        d->bad = true;
    bmd_der_put(d, spki, n);
}

/* A common name, or a whole Name as DER. */
struct subject {
    const char *cn;
    struct bmd_rd name;
};

/* Name with one RDN, or none (RFC 5280 4.1.2.4). */
static void put_name(struct bmd_der *d, const struct subject *subject)
{
    size_t end = d->at;

    if (subject->name.n != 0) {
        bmd_der_put(d, subject->name.p, subject->name.n);
        return;
    }
    if (subject->cn[0] != '\0') {
        bmd_der_tlv(d, BMD_DER_UTF8, bmd_rd_str(subject->cn));
        bmd_der_tlv(d, BMD_DER_OID, bmd_rd_of(oid_cn, sizeof oid_cn));
        bmd_der_wrap(d, BMD_DER_SEQUENCE, end);
        bmd_der_wrap(d, BMD_DER_SET, end);
    }
    bmd_der_wrap(d, BMD_DER_SEQUENCE, end);
}

static void put_tbs_csr(struct bmd_der *d, const struct bmd_signer *s, const struct subject *subject)
{
    size_t end = d->at;

    bmd_der_wrap(d, BMD_DER_CTX0, end); /* attributes [0]: none, but never left out (RFC 2986 4.1) */
    put_spki(d, s);
    put_name(d, subject);
    bmd_der_put(d, version_1, sizeof version_1);
    bmd_der_wrap(d, BMD_DER_SEQUENCE, end);
}

static void put_validity(struct bmd_der *d)
{
    size_t end = d->at;

    bmd_der_tlv(d, BMD_DER_GENERALIZED_TIME, bmd_rd_str("99991231235959Z"));
    bmd_der_tlv(d, BMD_DER_UTC_TIME, bmd_rd_str("700101000000Z"));
    bmd_der_wrap(d, BMD_DER_SEQUENCE, end);
}

static void put_tbs_cert(struct bmd_der *d, const struct bmd_signer *s, const struct subject *subject)
{
    size_t end = d->at;

    put_spki(d, s);
    put_name(d, subject);
    put_validity(d);
    put_name(d, subject);
    put_sig_alg(d, s->alg);
    bmd_der_put(d, serial_1, sizeof serial_1);
    bmd_der_put(d, version_3, sizeof version_3);
    bmd_der_wrap(d, BMD_DER_SEQUENCE, end);
}

static enum bmd_rc sign_tbs(const struct bmd_signer *s, struct bmd_rd tbs, uint8_t sig[BMD_SIG_DER_MAX], size_t *ret_len)
{
    uint8_t raw[BMD_SIG_RAW_MAX];
    size_t raw_len = 0;
    enum bmd_rc rc = bmd_signer_sign(s, tbs, raw, &raw_len);

    if (rc != BMD_OK)
        return rc;
    if (s->alg != BMD_ED25519)
        return bmd_sig_to_der(bmd_rd_of(raw, raw_len), sig, BMD_SIG_DER_MAX, ret_len);
    memcpy(sig, raw, raw_len); /* RFC 8410 6: as it is */
    *ret_len = raw_len;
    return BMD_OK;
}

typedef void put_tbs(struct bmd_der *d, const struct bmd_signer *s, const struct subject *subject);

/* SEQUENCE { tbs, algorithm, signature }: the outer shape of both. */
static enum bmd_rc write_signed(const struct bmd_signer *s, put_tbs *put, const struct subject *subject, uint8_t *out, size_t cap,
                                struct bmd_rd *ret)
{
    uint8_t room[BMD_TBS_MAX], sig[BMD_SIG_DER_MAX];
    struct bmd_der tbs = bmd_der_of(room, sizeof room), d = bmd_der_of(out, cap);
    struct bmd_rd body;
    size_t sig_len = 0;
    enum bmd_rc rc;

    if (strlen(subject->cn) > BMD_CN_MAX || subject->name.n > BMD_SUBJECT_MAX)
        return BMD_BAD_ARGUMENT;
    put(&tbs, s, subject);
    if (tbs.bad)
        return BMD_BAD_ARGUMENT;
    body = bmd_der_rd(&tbs, tbs.cap);
    rc = sign_tbs(s, body, sig, &sig_len);
    if (rc != BMD_OK)
        return rc;
    bmd_der_put(&d, sig, sig_len);
    bmd_der_bits(&d, cap);
    put_sig_alg(&d, s->alg);
    bmd_der_put(&d, body.p, body.n);
    bmd_der_wrap(&d, BMD_DER_SEQUENCE, cap);
    *ret = bmd_der_rd(&d, cap);
    return d.bad ? BMD_BUFFER_TOO_SMALL : BMD_OK;
}

static struct subject common_name(const char *cn)
{
    struct subject s;

    s.cn = cn;
    s.name = bmd_rd_of(NULL, 0);
    return s;
}

enum bmd_rc bmd_csr(const struct bmd_signer *s, const char *cn, uint8_t *out, size_t cap, struct bmd_rd *ret)
{
    struct subject subject = common_name(cn);

    return write_signed(s, put_tbs_csr, &subject, out, cap, ret);
}

enum bmd_rc bmd_csr_as(const struct bmd_signer *s, struct bmd_rd name, uint8_t *out, size_t cap, struct bmd_rd *ret)
{
    struct subject subject = common_name("");

    subject.name = name;
    return write_signed(s, put_tbs_csr, &subject, out, cap, ret);
}

enum bmd_rc bmd_idevid_cert(const struct bmd_signer *s, const char *cn, uint8_t *out, size_t cap, struct bmd_rd *ret)
{
    struct subject subject = common_name(cn);

    return write_signed(s, put_tbs_cert, &subject, out, cap, ret);
}
