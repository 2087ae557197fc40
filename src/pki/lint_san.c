/* Rules about alternative names: RFC 5280 section 4.2.1.6, RFC 4108 section 5, RFC 9525. */
#include "pki/lint_impl.h"
#include "pki/san.h"

enum { GN_OTHER = 0, GN_EMAIL = 1, GN_DNS = 2, GN_URI = 6, GN_IP = 7 };

static const struct bm_rd san_oid = BM_LIT(OID_SAN);

typedef bool bad_name(struct bm_rd value);

static bool any_name(const struct lint *l, uint8_t tag, bad_name *bad)
{
    struct bm_rd list = lint_list(l, san_oid), value;
    uint8_t is;

    while (bm_der_any(&list, &is, &value, NULL))
        if (is == tag && bad(value))
            return true;
    return false;
}

static bool bad_dns(struct bm_rd v)
{
    return !bm_san_dns_ok(v);
}

bool lint_san_dns(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX(GN_DNS), bad_dns);
}

static bool bad_ip(struct bm_rd v)
{
    return v.n != 4 && v.n != 16;
}

bool lint_san_ip(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX(GN_IP), bad_ip);
}

static bool bad_uri(struct bm_rd v)
{
    return !bm_san_uri_ok(v);
}

bool lint_san_uri(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX(GN_URI), bad_uri);
}

/* "scheme://" has to be followed by a host, before any path. */
static bool no_host(struct bm_rd v)
{
    const uint8_t *at = v.n != 0 ? memmem(v.p, v.n, "://", 3) : NULL;
    size_t skip = at != NULL ? (size_t)(at - v.p) + 3 : 0;

    return at != NULL && (skip == v.n || v.p[skip] == '/' || v.p[skip] == ':' || v.p[skip] == '?' || v.p[skip] == '#');
}

bool lint_san_uri_host(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX(GN_URI), no_host);
}

static bool bad_email(struct bm_rd v)
{
    const uint8_t *at = v.n != 0 ? memchr(v.p, '@', v.n) : NULL;
    size_t n = at != NULL ? (size_t)(at - v.p) : 0;

    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= 0x20 || v.p[i] >= 0x7f)
            return true;
    return n == 0 || !bm_san_dns_ok(bm_rd_of(at + 1, v.n - n - 1));
}

bool lint_san_email(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX(GN_EMAIL), bad_email);
}

static bool bad_hardware(struct bm_rd v)
{
    static const struct bm_rd id = BM_LIT(OID_HARDWARE_MODULE_NAME);
    struct bm_rd oid, box, seq, serial;

    if (!bm_der_take(&v, BM_DER_OID, &oid) || !bm_rd_eq(oid, id))
        return false;
    return !bm_der_only(v, BM_DER_CTX_CONS(0), &box) || !bm_der_only(box, BM_DER_SEQUENCE, &seq) ||
           !bm_der_take(&seq, BM_DER_OID, &oid) || !bm_der_oid_ok(oid) || !bm_der_only(seq, BM_DER_OCTET_STRING, &serial) ||
           serial.n == 0;
}

bool lint_san_hardware(const struct lint *l, struct bm_rd about)
{
    (void)about;
    return any_name(l, BM_DER_CTX_CONS(GN_OTHER), bad_hardware);
}

/* --- TLS servers ------------------------------------------------------------------------------------------------------------------ */
static bool any_value(struct bm_rd v)
{
    (void)v;
    return true;
}

static bool is_server(const struct lint *l, struct bm_rd server)
{
    return !l->ca && lint_eku_has(l, server);
}

bool lint_server_names(const struct lint *l, struct bm_rd about)
{
    return is_server(l, about) && !any_name(l, BM_DER_CTX(GN_DNS), any_value) && !any_name(l, BM_DER_CTX(GN_IP), any_value);
}

static bool named_in_san(const struct lint *l, struct bm_rd cn)
{
    struct bm_rd list = lint_list(l, san_oid), value;
    uint8_t tag, ip[16];
    size_t ip_len = bm_san_ip_of(cn, ip);

    while (bm_der_any(&list, &tag, &value, NULL))
        if ((tag == BM_DER_CTX(GN_DNS) && bm_rd_eq(value, cn)) ||
            (tag == BM_DER_CTX(GN_IP) && ip_len != 0 && bm_rd_eq(value, bm_rd_of(ip, ip_len))))
            return true;
    return false;
}

bool lint_server_cn(const struct lint *l, struct bm_rd about)
{
    static const struct bm_rd oid = BM_LIT(OID_CN);
    struct bm_rd cn;

    return is_server(l, about) && !lint_server_names(l, about) && bm_name_find(l->subject, oid, &cn) && !named_in_san(l, cn);
}
