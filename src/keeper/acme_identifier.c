/* What certificates are ordered for: draft-ietf-acme-device-attest-10 sections 3 and 4, RFC 8555 section 7.1.3. */
#include "keeper/acme.h"

#include "base/text.h"
#include "pki/der.h"
#include "pki/oid.h"

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

static const struct kind {
    const char *type;
    int is_for;
    enum bm_rc (*ok)(const char *value, struct bm_error *e);
} kinds[] = {
    { "permanent-identifier", BM_ACME_FOR_DEVICE, permanent_ok },
    { "hardware-module", BM_ACME_FOR_DEVICE, hardware_ok },
};

enum bm_rc bm_acme_identifier_check(const struct bm_acme_identifier *i, const struct bm_acme_eab *b, int *ret_for,
                                    struct bm_error *e)
{
    char safe[64];

    (void)b;
    for (size_t k = 0; k < BM_COUNT(kinds); k++) {
        if (strcmp(i->type, kinds[k].type) != 0)
            continue;
        *ret_for = kinds[k].is_for;
        return i->value[0] != '\0' && strlen(i->value) <= VALUE_MAX ? kinds[k].ok(i->value, e)
                                                                    : bad_form(e, "its value is empty, or longer than 255 bytes");
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
        if (!bm_der_any(&names, &tag, &value, NULL) || tag != BM_DER_CTX_CONS(0) || !other_name(value, fn, arg))
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
static bool ordered(void *arg, const char *type, const char *value)
{
    json_t *one;
    size_t i;

    json_array_foreach ((json_t *)arg, i, one)
        if (strcmp(json_string_value(json_object_get(one, "type")), type) == 0 &&
            strcmp(json_string_value(json_object_get(one, "value")), value) == 0)
            return true;
    return false;
}

/* Of devices a request may leave the names out (draft section 3.2); what it has must have been ordered, octet for octet. */
enum bm_rc bm_acme_identifiers_fit(const json_t *identifiers, const struct bm_csr *csr, struct bm_error *e)
{
    if (!each_name(csr->san, ordered, (void *)(uintptr_t)identifiers))
        return bm_refuse(e, BM_MALFORMED, "acme-csr", "the certificate request asks for names that were not ordered");
    return BM_OK;
}
