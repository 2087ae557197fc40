#include "x509.h"

/* Two digits as a number, -1 when they are none. */
static int two(const uint8_t *p)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return -1;
    return (p[0] - '0') * 10 + (p[1] - '0');
}

/* Days from 1970-01-01 in the Gregorian calendar; years start in March so that the leap day comes last. */
static int64_t days_from(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* MMDDHHMMSSZ after the year; RFC 5280 4.1.2.5 leaves no other form. */
static bool read_rest(const uint8_t *p, int year, int64_t *ret)
{
    int month = two(p), day = two(p + 2), hour = two(p + 4), minute = two(p + 6), second = two(p + 8);

    if (year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
        second < 0 || second > 59 || p[10] != 'Z')
        return false;
    *ret = days_from(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

static bool take_time(struct bmd_rd *r, int64_t *ret)
{
    struct bmd_rd t;
    int year;

    if (bmd_der_take(r, BMD_DER_UTC_TIME, &t, NULL)) {
        if (t.n != 13)
            return false;
        year = two(t.p);
        return read_rest(t.p + 2, year < 0 ? -1 : year + (year < 50 ? 2000 : 1900), ret);
    }
    if (!bmd_der_take(r, BMD_DER_GENERALIZED_TIME, &t, NULL) || t.n != 15 || two(t.p) < 0 || two(t.p + 2) < 0)
        return false;
    year = two(t.p) * 100 + two(t.p + 2);
    return read_rest(t.p + 4, year, ret);
}

static bool take_validity(struct bmd_rd *r, struct bmd_cert *c)
{
    struct bmd_rd v;

    return bmd_der_take(r, BMD_DER_SEQUENCE, &v, NULL) && take_time(&v, &c->not_before) && take_time(&v, &c->not_after) && v.n == 0;
}

enum bmd_rc bmd_cert_read(struct bmd_rd der, struct bmd_cert *ret)
{
    struct bmd_rd cert, tbs, skip, alg, bits;
    struct bmd_cert c;

    memset(&c, 0, sizeof c);
    if (!bmd_der_take(&der, BMD_DER_SEQUENCE, &cert, NULL) || der.n != 0)
        return BMD_MALFORMED;
    if (!bmd_der_take(&cert, BMD_DER_SEQUENCE, &tbs, NULL) || !bmd_der_take(&cert, BMD_DER_SEQUENCE, &alg, NULL) ||
        !bmd_der_take(&cert, BMD_DER_BIT_STRING, &bits, NULL) || cert.n != 0)
        return BMD_MALFORMED;
    if (tbs.n != 0 && tbs.p[0] == BMD_DER_CTX0 && !bmd_der_take(&tbs, BMD_DER_CTX0, &skip, NULL)) /* version, absent in v1 */
        return BMD_MALFORMED;
    if (!bmd_der_take(&tbs, BMD_DER_INTEGER, &c.serial, NULL) || c.serial.n == 0 ||
        !bmd_der_take(&tbs, BMD_DER_SEQUENCE, &alg, NULL))
        return BMD_MALFORMED;
    if (!bmd_der_take(&tbs, BMD_DER_SEQUENCE, &skip, &c.issuer) || !take_validity(&tbs, &c) ||
        !bmd_der_take(&tbs, BMD_DER_SEQUENCE, &skip, &c.subject) || !bmd_der_take(&tbs, BMD_DER_SEQUENCE, &skip, &c.spki))
        return BMD_MALFORMED;
    *ret = c;
    return BMD_OK;
}

enum bmd_rc bmd_csr_spki(struct bmd_rd csr, struct bmd_rd *ret)
{
    struct bmd_rd req, info, v, spki;

    if (!bmd_der_take(&csr, BMD_DER_SEQUENCE, &req, NULL) || csr.n != 0 || !bmd_der_take(&req, BMD_DER_SEQUENCE, &info, NULL))
        return BMD_MALFORMED;
    if (!bmd_der_take(&info, BMD_DER_INTEGER, &v, NULL) || !bmd_der_take(&info, BMD_DER_SEQUENCE, &v, NULL) ||
        !bmd_der_take(&info, BMD_DER_SEQUENCE, &v, &spki))
        return BMD_MALFORMED;
    *ret = spki;
    return BMD_OK;
}
