/* subjectAltName of what we issue: RFC 5280 section 4.2.1.6, hardwareModuleName of RFC 4108 section 5 as IEEE 802.1AR wants it. */
#include "base/text.h"
#include "pki/san.h"

#include <arpa/inet.h>

enum { HOSTS_MAX = 16, HOST_LEN_MAX = 253 };
enum { GN_OTHER = 0, GN_DNS = 2, GN_URI = 6, GN_IP = 7 };

static size_t ip_of(const char *text, uint8_t ret[16])
{
    if (inet_pton(AF_INET, text, ret) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

static bool label_ok(struct bm_rd l)
{
    if (l.n == 0 || l.n > 63 || l.p[0] == '-' || l.p[l.n - 1] == '-')
        return false;
    for (size_t i = 0; i < l.n; i++) {
        uint8_t c = l.p[i], lower = c | 0x20;

        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* RFC 1034 section 3.5 preferred syntax; "*." in front as in RFC 6125. */
bool bm_san_dns_ok(struct bm_rd v)
{
    if (v.n > HOST_LEN_MAX)
        return false;
    if (v.n > 2 && v.p[0] == '*' && v.p[1] == '.')
        v = bm_rd_of(v.p + 2, v.n - 2);
    for (;;) {
        const uint8_t *dot = v.n != 0 ? memchr(v.p, '.', v.n) : NULL;
        size_t n = dot != NULL ? (size_t)(dot - v.p) : v.n;

        if (!label_ok(bm_rd_of(v.p, n)))
            return false;
        if (dot == NULL)
            return true;
        v = bm_rd_of(dot + 1, v.n - n - 1);
    }
}

/* RFC 3986: a scheme, then something, and only characters that may stand in a URI. */
static bool uri_ok(struct bm_rd v)
{
    size_t scheme = 0;

    while (scheme < v.n &&
           (label_ok(bm_rd_of(v.p + scheme, 1)) || (scheme > 0 && strchr("+-.", v.p[scheme]) != NULL && v.p[scheme] != 0)))
        scheme++;
    if (scheme == 0 || scheme + 1 >= v.n || v.p[scheme] != ':' || (v.p[0] | 0x20) < 'a')
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= 0x20 || v.p[i] >= 0x7f || strchr("<>\"{}|\\^`", v.p[i]) != NULL)
            return false;
    return true;
}

bool bm_san_uri_ok(struct bm_rd v)
{
    return uri_ok(v);
}

static enum bm_rc bad_value(const char *kind, struct bm_rd v, struct bm_error *e)
{
    char safe[96];

    return bm_refuse(e, BM_DENIED, "profile-template", "alternative name: '%s' is no %s", bm_text_escape(v, safe, sizeof safe),
                     kind);
}

size_t bm_san_ip_of(struct bm_rd v, uint8_t ret[16])
{
    char text[64];

    if (v.n == 0 || v.n >= sizeof text)
        return 0;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    return ip_of(text, ret);
}

static enum bm_rc ip_write(struct bm_derw *w, struct bm_rd v, struct bm_error *e)
{
    uint8_t raw[16];
    size_t n = bm_san_ip_of(v, raw);

    if (n == 0)
        return bad_value("IP address", v, e);
    bm_derw_tlv(w, BM_DER_CTX(GN_IP), bm_rd_of(raw, n));
    return BM_OK;
}

static enum bm_rc text_write(struct bm_derw *w, enum bm_san_kind kind, const char *text, const struct bm_subject_words *words,
                             struct bm_error *e)
{
    uint8_t value[BM_VALUE_MAX];
    struct bm_wr v = bm_wr_of(value, sizeof value);
    enum bm_rc rc = bm_template_fill(text, words, kind == BM_SAN_URI ? BM_TEMPLATE_URI : BM_TEMPLATE_PLAIN, &v, e);

    if (rc != BM_OK)
        return rc;
    if (kind == BM_SAN_IP)
        return ip_write(w, bm_wr_rd(&v), e);
    if (kind == BM_SAN_URI && !uri_ok(bm_wr_rd(&v)))
        return bad_value("URI", bm_wr_rd(&v), e);
    if (kind == BM_SAN_DNS && !bm_san_dns_ok(bm_wr_rd(&v)))
        return bad_value("DNS name", bm_wr_rd(&v), e);
    bm_derw_tlv(w, BM_DER_CTX(kind == BM_SAN_URI ? GN_URI : GN_DNS), bm_wr_rd(&v));
    return BM_OK;
}

/* Starts of the entries of "a.example, 10.0.0.1,..." */
static size_t hosts_split(const char *list, const char *ret[HOSTS_MAX])
{
    size_t n = 0;

    for (list += strspn(list, ", "); *list != '\0' && n < HOSTS_MAX; list += strspn(list, ", ")) {
        ret[n++] = list;
        list += strcspn(list, ", ");
    }
    return *list == '\0' ? n : 0;
}

static bool host_is_ip(const char *host)
{
    uint8_t raw[16];

    return bm_san_ip_of(bm_rd_of(host, strcspn(host, ", ")), raw) != 0;
}

/* A "dns:" or "ip:" entry with {host} stands for each host of its own kind. */
static enum bm_rc hosts_write(struct bm_derw *w, enum bm_san_kind kind, const char *text, const struct bm_subject_words *words,
                              struct bm_error *e)
{
    struct bm_subject_words one = *words;
    const char *hosts[HOSTS_MAX];
    size_t n = words->host != NULL ? hosts_split(words->host, hosts) : 0;

    if (n == 0)
        return bm_refuse(e, BM_DENIED, "profile-template", "the certificate profile needs 1 to %d hosts for '{host}'", HOSTS_MAX);
    while (n-- > 0) {
        enum bm_rc rc;

        if (host_is_ip(hosts[n]) != (kind == BM_SAN_IP))
            continue;
        one.host = hosts[n];
        rc = text_write(w, kind, text, &one, e);
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

/* otherName [0] { id-on-hardwareModuleName, [0] EXPLICIT SEQUENCE { hwType OID, hwSerialNum OCTET STRING } } */
static enum bm_rc hardware_write(struct bm_derw *w, const struct bm_profile *p, const struct bm_subject_words *words,
                                 struct bm_error *e)
{
    static const struct bm_rd id = BM_LIT(OID_HARDWARE_MODULE_NAME);
    size_t mark = bm_derw_mark(w);
    uint8_t udid[32];

    if (words->udid == NULL || !bm_unhex(bm_rd_str(words->udid), udid, sizeof udid))
        return bm_refuse(e, BM_DENIED, "profile-template", "the certificate profile needs the UDID for hardware-module");
    bm_derw_tlv(w, BM_DER_OCTET_STRING, bm_rd_of(udid, sizeof udid));
    bm_derw_tlv(w, BM_DER_OID, bm_rd_of(p->hw_type, p->hw_type_len));
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(0));
    bm_derw_tlv(w, BM_DER_OID, id);
    bm_derw_end(w, mark, BM_DER_CTX_CONS(GN_OTHER));
    return BM_OK;
}

static enum bm_rc entry_write(struct bm_derw *w, const struct bm_profile *p, size_t i, const struct bm_subject_words *words,
                              struct bm_error *e)
{
    enum bm_san_kind kind = p->san[i].kind;

    if (kind == BM_SAN_HARDWARE)
        return hardware_write(w, p, words, e);
    if (kind != BM_SAN_URI && bm_template_has(p->san[i].text, "host"))
        return hosts_write(w, kind, p->san[i].text, words, e);
    return text_write(w, kind, p->san[i].text, words, e);
}

enum bm_rc bm_san_write(struct bm_derw *w, const struct bm_profile *p, const struct bm_subject_words *words, struct bm_error *e)
{
    static const struct bm_rd oid = BM_LIT(OID_SAN);
    size_t mark = bm_derw_mark(w);

    if (p->n_san == 0)
        return BM_OK;
    for (size_t i = p->n_san; i-- > 0;) {
        enum bm_rc rc = entry_write(w, p, i, words, e);

        if (rc != BM_OK)
            return rc;
    }
    if (bm_derw_mark(w) == mark)
        return bm_refuse(e, BM_DENIED, "profile-template", "the certificate profile's alternative names come out empty");
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_ext_end(w, mark, oid, p->subject.n == 0); /* critical when it is all there is: section 4.1.2.6 */
    return BM_OK;
}
