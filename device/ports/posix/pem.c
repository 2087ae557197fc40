#include "posix.h"

/* 48 bytes make a line of 64 characters. */
void bmd_pem(struct bmd_wr *w, const char *label, struct bmd_rd der)
{
    bmd_wr_str(w, "-----BEGIN ");
    bmd_wr_str(w, label);
    bmd_wr_str(w, "-----\n");
    while (der.n != 0) {
        struct bmd_rd line = bmd_rd_of(der.p, der.n < 48 ? der.n : 48);

        bmd_base64(w, line);
        bmd_wr_str(w, "\n");
        der = bmd_rd_of(der.p + line.n, der.n - line.n);
    }
    bmd_wr_str(w, "-----END ");
    bmd_wr_str(w, label);
    bmd_wr_str(w, "-----\n");
}

static const uint8_t oid_p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
static const uint8_t oid_p384[] = { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 };
static const uint8_t version_1[] = { 0x02, 0x01, 0x01 };

void bmd_pem_ec_key(struct bmd_wr *w, enum bmd_alg alg, struct bmd_rd scalar, struct bmd_rd point)
{
    uint8_t room[256];
    struct bmd_der d = bmd_der_of(room, sizeof room);
    size_t mark;

    bmd_der_put(&d, point.p, point.n);
    bmd_der_bits(&d, d.cap);
    bmd_der_wrap(&d, 0xa1, d.cap);
    mark = d.at;
    bmd_der_put(&d, alg == BMD_P384 ? oid_p384 : oid_p256, alg == BMD_P384 ? sizeof oid_p384 : sizeof oid_p256);
    bmd_der_wrap(&d, BMD_DER_CTX0, mark);
    bmd_der_tlv(&d, BMD_DER_OCTET_STRING, scalar);
    bmd_der_put(&d, version_1, sizeof version_1);
    bmd_der_wrap(&d, BMD_DER_SEQUENCE, d.cap);
    w->bad = w->bad || d.bad;
    bmd_pem(w, "EC PRIVATE KEY", bmd_der_rd(&d, d.cap));
    bmd_wipe(room, sizeof room);
}
