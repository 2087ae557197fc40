#include "pki/describe.h"

#include "base/text.h"
#include "pki/impl.h"
#include "pki/usage.h"

#include <arpa/inet.h>

enum { TEXT_MAX = 4096, NAME_RDNS_MAX = 64 };
enum { GN_OTHER = 0, GN_EMAIL = 1, GN_DNS = 2, GN_DIRECTORY = 4, GN_URI = 6, GN_IP = 7 };

/* --- names, RFC 4514 ---------------------------------------------------------------------------------------------------------- */
static void put_hex(struct bm_buf *out, struct bm_rd v)
{
    for (size_t i = 0; i < v.n; i++)
        bm_buf_printf(out, "%02x", v.p[i]);
}

static void put_type(struct bm_buf *out, struct bm_rd oid)
{
    static const struct {
        struct bm_rd oid;
        const char *name;
    } types[] = {
        { BM_LIT(OID_CN), "CN" },
        { BM_LIT(OID_O), "O" },
        { BM_LIT(OID_OU), "OU" },
        { BM_LIT(OID_C), "C" },
        { BM_LIT(OID_SERIAL_NUMBER), "serialNumber" },
    };
    char text[128] = "?";

    for (size_t i = 0; i < BM_COUNT(types); i++) {
        if (!bm_rd_eq(oid, types[i].oid))
            continue;
        bm_buf_str(out, types[i].name);
        return;
    }
    (void)!bm_der_oid_text(oid, text, sizeof text);
    bm_buf_str(out, text);
}

/* Section 2.4; what is not plain ASCII text is given in hex, so that nothing can pretend to be something else. */
static void put_escaped(struct bm_buf *out, struct bm_rd v)
{
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        bool edge = (i == 0 && (c == '#' || c == ' ')) || (i == v.n - 1 && c == ' ');

        if (c < 0x20 || c >= 0x7f)
            bm_buf_printf(out, "\\%02x", c);
        else
            bm_buf_printf(out, "%s%c", edge || strchr(",+\"\\<>;=", c) != NULL ? "\\" : "", c);
    }
}

static void put_value(struct bm_buf *out, struct bm_rd whole)
{
    struct bm_rd v;

    if (bm_der_only(whole, BM_DER_UTF8, &v) || bm_der_only(whole, BM_DER_PRINTABLE, &v) || bm_der_only(whole, BM_DER_IA5, &v)) {
        put_escaped(out, v);
        return;
    }
    bm_buf_str(out, "#");
    put_hex(out, whole);
}

/* One RDN: its attributes with '+' between them. */
static void put_rdn(struct bm_buf *out, struct bm_rd set)
{
    struct bm_rd attribute, oid;

    for (const char *between = ""; bm_der_take(&set, BM_DER_SEQUENCE, &attribute); between = "+") {
        if (!bm_der_take(&attribute, BM_DER_OID, &oid))
            return;
        bm_buf_str(out, between);
        put_type(out, oid);
        bm_buf_str(out, "=");
        put_value(out, attribute);
    }
}

void bm_name_text(struct bm_rd name, struct bm_buf *out)
{
    struct bm_rd rdns, set[NAME_RDNS_MAX];
    size_t n = 0;

    if (!bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return;
    while (n < NAME_RDNS_MAX && bm_der_take(&rdns, BM_DER_SET, &set[n]))
        n++;
    for (size_t i = n; i-- > 0;) {
        put_rdn(out, set[i]);
        bm_buf_str(out, i != 0 ? "," : "");
    }
}

/* --- alternative names -------------------------------------------------------------------------------------------------------- */
static void put_ip(struct bm_buf *out, struct bm_rd v)
{
    char text[INET6_ADDRSTRLEN];

    if ((v.n == 4 && inet_ntop(AF_INET, v.p, text, sizeof text) != NULL) ||
        (v.n == 16 && inet_ntop(AF_INET6, v.p, text, sizeof text) != NULL))
        bm_buf_str(out, text);
    else
        put_hex(out, v);
}

/* RFC 4108 section 5: otherName { id, [0] { hwType, hwSerialNum } } */
static bool put_hardware(struct bm_buf *out, struct bm_rd v)
{
    static const struct bm_rd id = BM_LIT(OID_HARDWARE_MODULE_NAME);
    struct bm_rd oid, box, seq, type, serial;
    char text[128];

    if (!bm_der_take(&v, BM_DER_OID, &oid) || !bm_rd_eq(oid, id) || !bm_der_only(v, BM_DER_CTX_CONS(0), &box) ||
        !bm_der_only(box, BM_DER_SEQUENCE, &seq) || !bm_der_take(&seq, BM_DER_OID, &type) ||
        !bm_der_only(seq, BM_DER_OCTET_STRING, &serial) || !bm_der_oid_text(type, text, sizeof text))
        return false;
    bm_buf_printf(out, "hardware-module:%s:", text);
    put_hex(out, serial);
    return true;
}

static void put_general_name(struct bm_buf *out, uint8_t tag, struct bm_rd v)
{
    static const struct {
        uint8_t number;
        const char *kind;
    } texts[] = { { GN_EMAIL, "email:" }, { GN_DNS, "dns:" }, { GN_URI, "uri:" } };
    char safe[TEXT_MAX / 2];
    uint8_t number = tag & 0x1f;

    for (size_t i = 0; i < BM_COUNT(texts); i++)
        if (texts[i].number == number)
            bm_buf_printf(out, "%s%s", texts[i].kind, bm_text_escape(v, safe, sizeof safe));
    if (number == GN_IP) {
        bm_buf_str(out, "ip:");
        put_ip(out, v);
    } else if (number == GN_DIRECTORY) {
        bm_buf_str(out, "dirname:");
        bm_name_text(v, out);
    }
    if (out->n == 0 && !(number == GN_OTHER && put_hardware(out, v))) {
        bm_buf_printf(out, "other-%u:", number);
        put_hex(out, v);
    }
}

/* --- as JSON ------------------------------------------------------------------------------------------------------------------ */
static json_t *text_of(const struct bm_buf *b)
{
    return b->bad ? json_string("(too long)") : json_stringn(b->n != 0 ? (const char *)b->p : "", b->n);
}

static json_t *name_json(struct bm_rd name)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4 * TEXT_MAX };

    bm_name_text(name, &text);
    return text_of(&text);
}

static json_t *san_json(struct bm_rd san)
{
    json_t *list = json_array();
    struct bm_rd names, v;
    uint8_t tag;

    if (!bm_der_only(san, BM_DER_SEQUENCE, &names))
        return list;
    while (bm_der_any(&names, &tag, &v, NULL)) {
        BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = TEXT_MAX };

        put_general_name(&text, tag, v);
        json_array_append_new(list, text_of(&text));
    }
    return list;
}

static json_t *usage_json(uint8_t usage)
{
    json_t *list = json_array();

    for (const struct bm_usage_name *u = bm_usage_names; u->name != NULL; u++) {
        if ((usage & u->bit) != 0)
            json_array_append_new(list, json_string(u->name));
        usage &= (uint8_t)~u->bit; /* once only, by its own name */
    }
    return list;
}

static const char *purpose_name(struct bm_rd oid)
{
    for (const struct bm_purpose_name *p = bm_purpose_names; p->name != NULL; p++)
        if (bm_rd_eq(oid, p->oid))
            return p->name;
    return NULL;
}

static json_t *eku_json(struct bm_rd eku)
{
    json_t *list = json_array();
    struct bm_rd oids, oid;
    char text[128];

    if (!bm_der_only(eku, BM_DER_SEQUENCE, &oids))
        return list;
    while (bm_der_take(&oids, BM_DER_OID, &oid)) {
        const char *name = purpose_name(oid);

        if (name != NULL || bm_der_oid_text(oid, text, sizeof text))
            json_array_append_new(list, json_string(name != NULL ? name : text));
    }
    return list;
}

static json_t *time_json(int64_t at)
{
    char text[24];

    return json_string(at == INT64_MAX ? "9999-12-31T23:59:59Z" : bm_time_text(at, text));
}

json_t *bm_cert_describe(const struct bm_cert *c)
{
    json_t *out = json_object();
    struct bm_spki key;

    if (out == NULL)
        return NULL;
    json_object_set_new(out, "subject", name_json(c->subject));
    if (c->san.n != 0)
        json_object_set_new(out, "san", san_json(c->san));
    json_object_set_new(out, "issuer", name_json(c->issuer));
    json_object_set_new(out, "not_before", time_json(c->not_before));
    json_object_set_new(out, "not_after", time_json(c->not_after));
    if (bm_spki_parse(c->spki, &key, NULL) == BM_OK)
        json_object_set_new(out, "key", json_string(key.alg));
    if (c->has_key_usage)
        json_object_set_new(out, "key_usage", usage_json(c->key_usage));
    if (c->eku.n != 0)
        json_object_set_new(out, "eku", eku_json(c->eku));
    json_object_set_new(out, "ca", json_boolean(c->ca));
    if (c->path_len >= 0)
        json_object_set_new(out, "path_len", json_integer(c->path_len));
    return out;
}
