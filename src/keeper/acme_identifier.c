/* What certificates are ordered for: draft-ietf-acme-device-attest-10 sections 3 and 4, RFC 8555 section 7.1.3. */
#include "keeper/acme.h"

#include "base/address.h"
#include "base/text.h"
#include "pki/der.h"
#include "pki/oid.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum { VALUE_MAX = 255 };

static enum bm_rc bad_form(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "acme-identifier-form", "identifier: %s", what);
}

/* --- values -------------------------------------------------------------------------------------------------------------------------- */
/* Dotted-decimal of an OBJECT IDENTIFIER, as it would be written again. */
static bool oid_ok(const char *s)
{
    uint8_t der[32];
    char again[VALUE_MAX + 1];
    size_t n;

    return bm_der_oid_of_text(s, der, &n) && bm_der_oid_text(bm_rd_of(der, n), again, sizeof again) && strcmp(s, again) == 0;
}

/* device-identifier-value ["/" assigner-value]; jansson has seen that it is UTF-8 */
static enum bm_rc permanent_ok(const char *value, struct bm_error *e)
{
    const char *slash = strchr(value, '/');

    if (slash == value || (slash != NULL && !oid_ok(slash + 1)))
        return bad_form(e, "a permanent-identifier is text without a slash, and then nothing, or a slash and the assigner's OID");
    return BM_OK;
}

static enum bm_rc hardware_ok(const char *value, struct bm_error *e)
{
    const char *slash = strchr(value, '/');

    if (slash == NULL || slash == value || !oid_ok(slash + 1))
        return bad_form(e, "a hardware-module is a serial number, a slash, and the OID of the module's type");
    return BM_OK;
}

/* Labels of letters, digits and hyphens in lower case, two at least; "*." in front of a wildcard. */
static bool dns_name(const char *s)
{
    size_t labels = 0;

    for (;; s++) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");

        if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
            return false;
        labels++;
        s += n;
        if (*s == '\0')
            return labels >= 2 && strspn(s - n, "0123456789") != n; /* the last is no number: that would be an address */
        if (*s != '.')
            return false;
    }
}

static enum bm_rc dns_ok(const char *value, struct bm_error *e)
{
    return dns_name(value + (strncmp(value, "*.", 2) == 0 ? 2 : 0))
               ? BM_OK
               : bad_form(e, "a dns name has two labels at least, in lower case; a wildcard has one asterisk, in front");
}

/* RFC 8738 section 3: the one textual form of RFC 5952, or dotted decimal */
static bool ip_parse(const char *value, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    char again[INET6_ADDRSTRLEN];

    *ret = (struct sockaddr_storage){ 0 };
    ret->ss_family = strchr(value, ':') != NULL ? AF_INET6 : AF_INET;
    if (ret->ss_family == AF_INET)
        return inet_pton(AF_INET, value, &v4->sin_addr) == 1;
    return inet_pton(AF_INET6, value, &v6->sin6_addr) == 1 && inet_ntop(AF_INET6, &v6->sin6_addr, again, sizeof again) != NULL &&
           strcmp(again, value) == 0;
}

static enum bm_rc ip_ok(const char *value, struct bm_error *e)
{
    struct sockaddr_storage a;

    return ip_parse(value, &a) ? BM_OK : bad_form(e, "an ip is an address in dotted decimal, or as RFC 5952 writes IPv6");
}

static const struct kind {
    const char *type;
    int is_for;
    enum bm_rc (*ok)(const char *value, struct bm_error *e);
} kinds[] = {
    { "permanent-identifier", BM_ACME_FOR_DEVICE, permanent_ok },
    { "hardware-module", BM_ACME_FOR_DEVICE, hardware_ok },
    { "dns", BM_ACME_FOR_NAMES, dns_ok },
    { "ip", BM_ACME_FOR_NAMES, ip_ok },
};

bool bm_acme_for_names(const char *type)
{
    return strcmp(type, "dns") == 0 || strcmp(type, "ip") == 0;
}

/* --- which names a binding allows ------------------------------------------------------------------------------------------------------- */
typedef bool pattern_fn(void *arg, const char *pattern);

/* False: fn said so of one. */
static bool each_pattern(const char *patterns, pattern_fn *fn, void *arg)
{
    char one[256];

    for (patterns += strspn(patterns, " "); *patterns != '\0'; patterns += strspn(patterns, " ")) {
        size_t n = strcspn(patterns, " ");

        snprintf(one, sizeof one, "%.*s", (int)n, patterns);
        if (n >= sizeof one || !fn(arg, one))
            return false;
        patterns += n;
    }
    return true;
}

static bool pattern_ok(void *arg, const char *pattern)
{
    struct bm_networks n;

    (void)arg;
    return dns_ok(pattern, NULL) == BM_OK || (pattern[0] != '\0' && bm_networks_parse(pattern, &n, NULL) == BM_OK && n.n == 1);
}

enum bm_rc bm_acme_patterns_check(const char *patterns, struct bm_error *e)
{
    if (each_pattern(patterns, pattern_ok, NULL))
        return BM_OK;
    return bm_fail(e, BM_USAGE,
                   "'names' are patterns with blanks between them: gw.example.org, *.example.org (all names below it), 10.0.0.0/8");
}

struct allowing {
    const struct bm_acme_identifier *want;
    bool found;
};

static bool within(const char *value, const char *pattern)
{
    struct sockaddr_storage a;
    struct bm_networks n;
    uint8_t bytes[16] = { [10] = 0xff, [11] = 0xff };

    if (!ip_parse(value, &a) || bm_networks_parse(pattern, &n, NULL) != BM_OK || n.n != 1)
        return false;
    if (a.ss_family == AF_INET)
        memcpy(bytes + 12, &((struct sockaddr_in *)&a)->sin_addr, 4);
    else
        memcpy(bytes, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
    for (unsigned bit = 0; bit < n.at[0].bits; bit++)
        if (((bytes[bit / 8] ^ n.at[0].bytes[bit / 8]) & 0x80U >> bit % 8) != 0)
            return false;
    return true;
}

static bool below(const char *value, const char *pattern)
{
    size_t n, m = strlen(pattern + 1);

    value += strncmp(value, "*.", 2) == 0 ? 2 : 0;
    n = strlen(value);
    return strncmp(pattern, "*.", 2) == 0 && n > m && strcmp(value + n - m, pattern + 1) == 0;
}

static bool allow(void *arg, const char *pattern)
{
    struct allowing *a = arg;
    const char *value = a->want->value;

    a->found |= strcmp(a->want->type, "ip") == 0 ? within(value, pattern) : strcmp(value, pattern) == 0 || below(value, pattern);
    return true;
}

static enum bm_rc check_allowed(const struct bm_acme_identifier *i, const struct bm_acme_eab *b, struct bm_error *e)
{
    struct allowing a = { .want = i };
    char safe[80];

    if (each_pattern(b->names, allow, &a) && a.found)
        return BM_OK;
    return bm_refuse(e, BM_DENIED, "acme-identifier", "the account's binding '%s' does not allow %s '%s'", b->kid, i->type,
                     bm_text_escape(bm_rd_str(i->value), safe, sizeof safe));
}

enum bm_rc bm_acme_identifier_check(const struct bm_acme_identifier *i, const struct bm_acme_eab *b, int *ret_for,
                                    struct bm_error *e)
{
    char safe[64];
    enum bm_rc rc;

    for (size_t k = 0; k < BM_COUNT(kinds); k++) {
        if (strcmp(i->type, kinds[k].type) != 0)
            continue;
        *ret_for = kinds[k].is_for;
        rc = i->value[0] != '\0' && strlen(i->value) <= VALUE_MAX ? kinds[k].ok(i->value, e)
                                                                  : bad_form(e, "its value is empty, or longer than 255 bytes");
        return rc == BM_OK && kinds[k].is_for == BM_ACME_FOR_NAMES ? check_allowed(i, b, e) : rc;
    }
    return bm_refuse(e, BM_DENIED, "acme-identifier-kind", "identifiers of type '%s' are not taken here",
                     bm_text_escape(bm_rd_str(i->type), safe, sizeof safe));
}

/* --- alternative names as identifiers -------------------------------------------------------------------------------------------------- */
typedef bool name_fn(void *arg, const char *type, const char *value);

static bool tell_other(name_fn *fn, void *arg, const char *type, struct bm_rd serial, struct bm_rd oid)
{
    char value[2 * VALUE_MAX + 2], dotted[VALUE_MAX + 1] = "";

    if (serial.n == 0 || serial.n > VALUE_MAX || memchr(serial.p, '\0', serial.n) != NULL ||
        (oid.n != 0 && !bm_der_oid_text(oid, dotted, sizeof dotted)))
        return false;
    snprintf(value, sizeof value, "%.*s%s%s", (int)serial.n, (const char *)serial.p, oid.n != 0 ? "/" : "", dotted);
    return fn(arg, type, value);
}

/* otherName [0] { type-id, [0] EXPLICIT value }: PermanentIdentifier (RFC 4043), HardwareModuleName (RFC 4108). */
static bool other_name(struct bm_rd name, name_fn *fn, void *arg)
{
    static const struct bm_rd permanent = BM_LIT(OID_PERMANENT_IDENTIFIER), hardware = BM_LIT(OID_HARDWARE_MODULE_NAME);
    struct bm_rd id, wrapped, seq, text = { NULL, 0 }, oid = { NULL, 0 };

    if (!bm_der_take(&name, BM_DER_OID, &id) || !bm_der_take(&name, BM_DER_CTX_CONS(0), &wrapped) || name.n != 0 ||
        !bm_der_only(wrapped, BM_DER_SEQUENCE, &seq))
        return false;
    if (bm_rd_eq(id, permanent)) {
        if (!bm_der_take(&seq, BM_DER_UTF8, &text)) /* the draft wants it there */
            return false;
        return (seq.n == 0 || (bm_der_take(&seq, BM_DER_OID, &oid) && seq.n == 0)) &&
               tell_other(fn, arg, "permanent-identifier", text, oid);
    }
    return bm_rd_eq(id, hardware) && bm_der_take(&seq, BM_DER_OID, &oid) && bm_der_take(&seq, BM_DER_OCTET_STRING, &text) &&
           seq.n == 0 && tell_other(fn, arg, "hardware-module", text, oid);
}

/* dNSName, in lower case, and iPAddress */
static bool plain_name(uint8_t tag, struct bm_rd v, name_fn *fn, void *arg)
{
    char text[VALUE_MAX + 1];

    if (tag == BM_DER_CTX(7))
        return (v.n == 4 || v.n == 16) && inet_ntop(v.n == 4 ? AF_INET : AF_INET6, v.p, text, sizeof text) != NULL &&
               fn(arg, "ip", text);
    if (tag != BM_DER_CTX(2) || v.n == 0 || v.n > VALUE_MAX || memchr(v.p, '\0', v.n) != NULL)
        return false;
    for (size_t i = 0; i < v.n; i++)
        text[i] = (char)(v.p[i] | (v.p[i] >= 'A' && v.p[i] <= 'Z' ? 0x20 : 0));
    text[v.n] = '\0';
    return fn(arg, "dns", text);
}

/* False: there is something in it that no identifier stands for, or fn said so. */
static bool each_name(struct bm_rd san, name_fn *fn, void *arg)
{
    struct bm_rd names, value;
    uint8_t tag;

    if (san.n == 0)
        return true;
    if (!bm_der_only(san, BM_DER_SEQUENCE, &names))
        return false;
    while (names.n != 0)
        if (!bm_der_any(&names, &tag, &value, NULL) ||
            !(tag == BM_DER_CTX_CONS(0) ? other_name(value, fn, arg) : plain_name(tag, value, fn, arg)))
            return false;
    return true;
}

/* --- is this device what the identifier says? ----------------------------------------------------------------------------------------- */
static bool serial_is(const struct bm_device *d, const char *value)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *all = json_loadb((const char *)d->attributes.p, d->attributes.n, 0, NULL);
    const char *serial = json_string_value(json_object_get(all, "serial"));

    return serial != NULL && strcmp(serial, value) == 0;
}

struct looking {
    const struct bm_acme_identifier *want;
    bool found;
};

static bool look(void *arg, const char *type, const char *value)
{
    struct looking *l = arg;

    l->found |= strcmp(type, l->want->type) == 0 && strcmp(value, l->want->value) == 0;
    return true;
}

static bool cert_says(const struct bm_acme_identifier *i, struct bm_rd der)
{
    struct looking l = { .want = i };
    struct bm_cert cert;

    return bm_cert_parse(der, &cert, NULL) == BM_OK && each_name(cert.san, look, &l) && l.found;
}

bool bm_acme_identifier_is(const struct bm_acme_identifier *i, const struct bm_device *d, struct bm_rd cert, bool trusted)
{
    bool permanent = strcmp(i->type, "permanent-identifier") == 0;
    char udid[2 * BM_UDID_LEN + 1];

    bm_hex(d->udid, BM_UDID_LEN, udid);
    return (permanent && (strcmp(i->value, udid) == 0 || serial_is(d, i->value))) || (trusted && cert_says(i, cert));
}

/* --- is the request for what was ordered? ----------------------------------------------------------------------------------------------- */
struct fitting {
    const json_t *ids;
    unsigned seen; /* a bit for each of ids */
};

static bool ordered(void *arg, const char *type, const char *value)
{
    struct fitting *f = arg;
    bool found = false;

    for (size_t i = 0; i < json_array_size(f->ids); i++) {
        const json_t *one = json_array_get(f->ids, i);

        if (strcmp(json_string_value(json_object_get(one, "type")), type) == 0 &&
            strcmp(json_string_value(json_object_get(one, "value")), value) == 0) {
            f->seen |= 1U << i;
            found = true;
        }
    }
    return found;
}

/* Of names the common name may be one of them, or the only place that has it; of devices it says nothing. */
static bool common_name_fits(const struct bm_csr *csr, struct fitting *f)
{
    static const struct bm_rd cn = BM_LIT(OID_CN);
    struct bm_rd v;
    char text[VALUE_MAX + 1];
    struct sockaddr_storage a;

    if (!bm_name_find(csr->subject, cn, &v))
        return true;
    if (v.n == 0 || v.n > VALUE_MAX || memchr(v.p, '\0', v.n) != NULL)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)v.n, (const char *)v.p);
    return ordered(f, ip_parse(text, &a) ? "ip" : "dns", text);
}

/* Of devices a request may leave the names out (draft section 3.2); what it has must have been ordered, octet for octet. Of names it has all of
 * them and no others (RFC 8555 section 7.4). */
enum bm_rc bm_acme_identifiers_fit(const json_t *identifiers, const struct bm_csr *csr, struct bm_error *e)
{
    struct fitting f = { .ids = identifiers };
    bool names = bm_acme_for_names(json_string_value(json_object_get(json_array_get(identifiers, 0), "type")));

    if (!each_name(csr->san, ordered, &f) || (names && !common_name_fits(csr, &f)))
        return bm_refuse(e, BM_MALFORMED, "acme-csr", "the certificate request asks for names that were not ordered");
    if (names && f.seen != (1U << json_array_size(identifiers)) - 1)
        return bm_refuse(e, BM_MALFORMED, "acme-csr", "the certificate request lacks names that were ordered");
    return BM_OK;
}
