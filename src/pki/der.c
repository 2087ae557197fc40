#include "pki/der.h"

#include <openssl/err.h>
#include <openssl/objects.h>

enum { DER_LENGTH_BYTES_MAX = 3 }; /* nothing we read or write has 16 MB */

static bool der_length(struct bm_rd *r, size_t *ret)
{
    uint8_t first;
    uint64_t n;

    if (!bm_rd_u8(r, &first))
        return false;
    if (first < 0x80) {
        *ret = first;
        return true;
    }
    first &= 0x7f;
    if (first == 0 || first > DER_LENGTH_BYTES_MAX || !bm_rd_uint(r, first, &n))
        return false;
    if (n < 0x80 || (first > 1 && n >> (8 * (first - 1)) == 0)) /* X.690 10.1: the fewest octets */
        return false;
    *ret = (size_t)n;
    return true;
}

bool bm_der_any(struct bm_rd *r, uint8_t *ret_tag, struct bm_rd *ret_value, struct bm_rd *ret_whole)
{
    struct bm_rd t = *r, value;
    uint8_t tag;
    size_t n;

    if (!bm_rd_u8(&t, &tag) || (tag & 0x1f) == 0x1f || tag == 0 || !der_length(&t, &n) || !bm_rd_take(&t, n, &value))
        return false;
    if (ret_tag != NULL)
        *ret_tag = tag;
    if (ret_value != NULL)
        *ret_value = value;
    if (ret_whole != NULL)
        *ret_whole = bm_rd_of(r->p, r->n - t.n);
    *r = t;
    return true;
}

bool bm_der_next_is(struct bm_rd r, uint8_t tag)
{
    return r.n != 0 && r.p[0] == tag;
}

bool bm_der_take(struct bm_rd *r, uint8_t tag, struct bm_rd *ret_value)
{
    return bm_der_next_is(*r, tag) && bm_der_any(r, NULL, ret_value, NULL);
}

bool bm_der_whole(struct bm_rd *r, uint8_t tag, struct bm_rd *ret_whole)
{
    return bm_der_next_is(*r, tag) && bm_der_any(r, NULL, NULL, ret_whole);
}

bool bm_der_only(struct bm_rd in, uint8_t tag, struct bm_rd *ret_value)
{
    struct bm_rd value;

    if (!bm_der_take(&in, tag, &value) || in.n != 0)
        return false;
    if (ret_value != NULL)
        *ret_value = value;
    return true;
}

bool bm_der_int_ok(struct bm_rd v)
{
    if (v.n == 0)
        return false;
    return v.n == 1 || !((v.p[0] == 0x00 && v.p[1] < 0x80) || (v.p[0] == 0xff && v.p[1] >= 0x80));
}

bool bm_der_uint(struct bm_rd *r, uint64_t *ret)
{
    struct bm_rd t = *r, v;

    if (!bm_der_take(&t, BM_DER_INTEGER, &v) || !bm_der_int_ok(v) || v.p[0] >= 0x80)
        return false;
    if (v.n > 9 || (v.n == 9 && v.p[0] != 0))
        return false;
    if (v.n == 9)
        v = bm_rd_of(v.p + 1, 8);
    *r = t;
    return bm_rd_uint(&v, v.n, ret);
}

bool bm_der_int(struct bm_rd *r, int64_t *ret)
{
    struct bm_rd t = *r, v;
    uint64_t n;

    if (!bm_der_take(&t, BM_DER_INTEGER, &v) || !bm_der_int_ok(v) || v.n > 4)
        return false;
    n = v.p[0] >= 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < v.n; i++)
        n = n << 8 | v.p[i];
    *ret = (int64_t)n;
    *r = t;
    return true;
}

bool bm_der_bits(struct bm_rd *r, struct bm_rd *ret)
{
    struct bm_rd t = *r, v;
    uint8_t unused;

    if (!bm_der_take(&t, BM_DER_BIT_STRING, &v) || !bm_rd_u8(&v, &unused) || unused != 0)
        return false;
    if (ret != NULL)
        *ret = v;
    *r = t;
    return true;
}

bool bm_der_oid_ok(struct bm_rd v)
{
    bool first = true;

    if (v.n == 0 || (v.p[v.n - 1] & 0x80) != 0)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (first && v.p[i] == 0x80) /* X.690 8.19.2: no padding */
            return false;
        first = (v.p[i] & 0x80) == 0;
    }
    return true;
}

/* --- time --------------------------------------------------------------------------------------------------------------------- */
/* Days since 1970-01-01 of a proleptic Gregorian date, and back: years start in March so that the leap day comes last. */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    int64_t era, yoe, doy;

    y -= m <= 2;
    era = y / 400;
    yoe = y - era * 400;
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, int *y, int *m, int *d)
{
    int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static bool two_digits(struct bm_rd *r, int *ret)
{
    struct bm_rd d;

    if (!bm_rd_take(r, 2, &d) || d.p[0] < '0' || d.p[0] > '9' || d.p[1] < '0' || d.p[1] > '9')
        return false;
    *ret = (d.p[0] - '0') * 10 + d.p[1] - '0';
    return true;
}

static int month_days(int y, int m)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

static bool calendar_ok(int y, const int f[5])
{
    return f[0] >= 1 && f[0] <= 12 && f[1] >= 1 && f[1] <= month_days(y, f[0]) && f[2] <= 23 && f[3] <= 59 && f[4] <= 59;
}

static const struct bm_rd time_without_end = BM_LIT("99991231235959Z"); /* RFC 5280 section 4.1.2.5 */

bool bm_der_time(struct bm_rd *r, int64_t *ret)
{
    struct bm_rd t = *r, v, end;
    int century = 0, year, f[5];
    uint8_t tag;

    if (!bm_der_any(&t, &tag, &v, NULL) || (tag != BM_DER_UTC_TIME && tag != BM_DER_GENERALIZED_TIME))
        return false;
    end = v;
    if (tag == BM_DER_GENERALIZED_TIME && !two_digits(&v, &century))
        return false;
    if (!two_digits(&v, &year))
        return false;
    for (size_t i = 0; i < BM_COUNT(f); i++)
        if (!two_digits(&v, &f[i]))
            return false;
    if (v.n != 1 || v.p[0] != 'Z')
        return false;
    year += tag == BM_DER_GENERALIZED_TIME ? century * 100 : year < 50 ? 2000 : 1900;
    if (!calendar_ok(year, f))
        return false;
    *ret = bm_rd_eq(end, time_without_end) ? INT64_MAX : days_of(year, f[0], f[1]) * 86400 + f[2] * 3600 + f[3] * 60 + f[4];
    *r = t;
    return true;
}

/* --- OID text ----------------------------------------------------------------------------------------------------------------- */
bool bm_der_oid_text(struct bm_rd v, char *ret, size_t ret_len)
{
    uint8_t der[2 + 127];
    struct bm_derw w = bm_derw_of(der, sizeof der);
    const uint8_t *p;
    ASN1_OBJECT *o;
    int n;

    if (!bm_der_oid_ok(v))
        return false;
    bm_derw_tlv(&w, BM_DER_OID, v);
    p = der + w.at;
    o = w.bad ? NULL : d2i_ASN1_OBJECT(NULL, &p, (long)(w.cap - w.at));
    if (o == NULL)
        return false;
    n = OBJ_obj2txt(ret, (int)ret_len, o, 1);
    ASN1_OBJECT_free(o);
    return n > 0 && (size_t)n < ret_len;
}

/* Arcs of digits with single dots between them: the library also takes a dot at the end. */
static bool dotted(const char *text)
{
    size_t arcs = 0;

    for (;; text++, arcs++) {
        size_t n = strspn(text, "0123456789");

        if (n == 0)
            return false;
        text += n;
        if (*text != '.')
            return *text == '\0' && arcs > 0;
    }
}

bool bm_der_oid_of_text(const char *text, uint8_t ret[32], size_t *ret_len)
{
    ASN1_OBJECT *o = dotted(text) ? OBJ_txt2obj(text, 1) : NULL;
    bool ok = o != NULL && OBJ_length(o) != 0 && OBJ_length(o) <= 32;

    if (ok) {
        memcpy(ret, OBJ_get0_data(o), OBJ_length(o));
        *ret_len = OBJ_length(o);
    }
    ASN1_OBJECT_free(o);
    ERR_clear_error();
    return ok;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------ */
void bm_derw_put(struct bm_derw *w, struct bm_rd b)
{
    w->bad = w->bad || b.n > w->at;
    if (w->bad || b.n == 0)
        return;
    w->at -= b.n;
    memcpy(w->p + w->at, b.p, b.n);
}

void bm_derw_byte(struct bm_derw *w, uint8_t b)
{
    bm_derw_put(w, bm_rd_of(&b, 1));
}

void bm_derw_header(struct bm_derw *w, size_t n, uint8_t tag)
{
    uint8_t count = 0;

    if (n < 0x80) {
        bm_derw_byte(w, (uint8_t)n);
    } else {
        for (; n != 0; n >>= 8, count++)
            bm_derw_byte(w, (uint8_t)n);
        bm_derw_byte(w, 0x80 | count);
    }
    bm_derw_byte(w, tag);
}

void bm_derw_end(struct bm_derw *w, size_t mark, uint8_t tag)
{
    bm_derw_header(w, mark - w->at, tag);
}

void bm_derw_tlv(struct bm_derw *w, uint8_t tag, struct bm_rd value)
{
    size_t mark = bm_derw_mark(w);

    bm_derw_put(w, value);
    bm_derw_end(w, mark, tag);
}

void bm_derw_unsigned(struct bm_derw *w, struct bm_rd v)
{
    size_t mark = bm_derw_mark(w);

    while (v.n > 1 && v.p[0] == 0)
        v = bm_rd_of(v.p + 1, v.n - 1);
    bm_derw_put(w, v);
    if (v.n == 0 || v.p[0] >= 0x80)
        bm_derw_byte(w, 0);
    bm_derw_end(w, mark, BM_DER_INTEGER);
}

void bm_derw_uint(struct bm_derw *w, uint64_t v)
{
    uint8_t raw[8];
    struct bm_wr to = bm_wr_of(raw, sizeof raw);

    bm_wr_uint(&to, sizeof raw, v);
    bm_derw_unsigned(w, bm_wr_rd(&to));
}

void bm_derw_end_bits(struct bm_derw *w, size_t mark)
{
    bm_derw_byte(w, 0);
    bm_derw_end(w, mark, BM_DER_BIT_STRING);
}

static void put_digits(char *to, int v)
{
    to[0] = (char)('0' + v / 10);
    to[1] = (char)('0' + v % 10);
}

/* "YYYYMMDDHHMMSSZ" into text; returns the year. */
static int time_text(int64_t at, char text[15])
{
    const int64_t last = 253402300799; /* 9999-12-31T23:59:59Z */
    int y, m, d, s;

    at = at > last ? last : at;
    date_of((at + 86400 * 7305) / 86400 - 7305, &y, &m, &d); /* twenty years up, so that the division rounds down */
    s = (int)(at - days_of(y, m, d) * 86400);
    put_digits(text, y / 100);
    put_digits(text + 2, y % 100);
    put_digits(text + 4, m);
    put_digits(text + 6, d);
    put_digits(text + 8, s / 3600);
    put_digits(text + 10, s / 60 % 60);
    put_digits(text + 12, s % 60);
    text[14] = 'Z';
    return y;
}

static bool time_ok(struct bm_derw *w, int64_t at)
{
    w->bad = w->bad || at < -631152000; /* 1950-01-01: the first year UTCTime has */
    return !w->bad;
}

void bm_derw_generalized(struct bm_derw *w, int64_t at)
{
    char text[15];

    if (!time_ok(w, at))
        return;
    (void)time_text(at, text);
    bm_derw_tlv(w, BM_DER_GENERALIZED_TIME, bm_rd_of(text, sizeof text));
}

void bm_derw_time(struct bm_derw *w, int64_t at)
{
    char text[15];

    if (!time_ok(w, at))
        return;
    if (time_text(at, text) < 2050)
        bm_derw_tlv(w, BM_DER_UTC_TIME, bm_rd_of(text + 2, sizeof text - 2));
    else
        bm_derw_tlv(w, BM_DER_GENERALIZED_TIME, bm_rd_of(text, sizeof text));
}
