#include "est.h"

static const char *const verbs[BMD_EST_OPS] = { "cacerts", "simpleenroll", "simplereenroll" };

enum bmd_rc bmd_est_path(enum bmd_est_op op, const char *label, char ret[BMD_HTTP_PATH_MAX])
{
    struct bmd_wr w = bmd_wr_of(ret, BMD_HTTP_PATH_MAX);

    if ((unsigned)op >= BMD_EST_OPS)
        return BMD_BAD_ARGUMENT;
    bmd_wr_str(&w, "/.well-known/est/");
    if (label[0] != '\0') {
        bmd_wr_str(&w, label);
        bmd_wr_str(&w, "/");
    }
    bmd_wr_str(&w, verbs[op]);
    bmd_wr_u8(&w, 0);
    return w.bad ? BMD_BUFFER_TOO_SMALL : BMD_OK;
}

/* ContentInfo { signedData, [0] SignedData }: the SignedData's content. */
static bool open_signed_data(struct bmd_rd cms, struct bmd_rd *ret)
{
    static const uint8_t signed_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };
    struct bmd_rd info, oid, content;

    if (!bmd_der_take(&cms, BMD_DER_SEQUENCE, &info, NULL) || cms.n != 0)
        return false;
    if (!bmd_der_take(&info, BMD_DER_OID, &oid, NULL) || !bmd_rd_eq(oid, bmd_rd_of(signed_data, sizeof signed_data)))
        return false;
    return bmd_der_take(&info, BMD_DER_CTX0, &content, NULL) && info.n == 0 &&
           bmd_der_take(&content, BMD_DER_SEQUENCE, ret, NULL) && content.n == 0;
}

/* version, digestAlgorithms (empty), encapContentInfo (id-data without content), certificates [0], crls [1]?, signerInfos (empty) */
static bool open_certificates(struct bmd_rd sd, struct bmd_rd *ret)
{
    static const uint8_t id_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01 };
    struct bmd_rd v, oid, crls;

    if (!bmd_der_take(&sd, BMD_DER_INTEGER, &v, NULL) || !bmd_der_take(&sd, BMD_DER_SET, &v, NULL) || v.n != 0)
        return false;
    if (!bmd_der_take(&sd, BMD_DER_SEQUENCE, &v, NULL) || !bmd_der_take(&v, BMD_DER_OID, &oid, NULL) || v.n != 0 ||
        !bmd_rd_eq(oid, bmd_rd_of(id_data, sizeof id_data)))
        return false;
    if (!bmd_der_take(&sd, BMD_DER_CTX0, ret, NULL))
        return false;
    if (sd.n != 0 && sd.p[0] == 0xa1 && !bmd_der_take(&sd, 0xa1, &crls, NULL))
        return false;
    return bmd_der_take(&sd, BMD_DER_SET, &v, NULL) && v.n == 0 && sd.n == 0;
}

enum bmd_rc bmd_est_certs_read(struct bmd_rd cms, struct bmd_est_certs *ret)
{
    struct bmd_est_certs c;
    struct bmd_rd sd, set, skip;

    memset(&c, 0, sizeof c);
    if (!open_signed_data(cms, &sd) || !open_certificates(sd, &set))
        return BMD_MALFORMED;
    while (set.n != 0) {
        if (c.n == BMD_EST_CERTS_MAX)
            return BMD_NO_SPACE;
        if (!bmd_der_take(&set, BMD_DER_SEQUENCE, &skip, &c.certs[c.n]) || c.certs[c.n].n > BMD_CERT_MAX)
            return BMD_MALFORMED;
        c.n++;
    }
    *ret = c;
    return c.n != 0 ? BMD_OK : BMD_MALFORMED;
}

enum bmd_rc bmd_est_own_first(struct bmd_est_certs *c, struct bmd_rd spki)
{
    size_t i;

    for (i = 0; i < c->n; i++) {
        struct bmd_cert cert;
        struct bmd_rd own = c->certs[i];

        if (bmd_cert_read(own, &cert) != BMD_OK)
            return BMD_MALFORMED;
        if (!bmd_rd_eq(cert.spki, spki))
            continue;
        memmove(&c->certs[1], &c->certs[0], i * sizeof c->certs[0]);
        c->certs[0] = own;
        return BMD_OK;
    }
    return BMD_NOT_FOUND;
}
