/* Distinguished names: from "CN=..,O=.." to DER, and looking into them. RFC 5280 section 4.1.2.4 and appendix A (upper bounds). */
#include "base/text.h"
#include "pki/impl.h"

struct bm_attribute_type {
    const char *name;
    struct bm_rd oid;
    uint8_t tag;
    size_t chars_max;
    bool (*ok)(struct bm_rd v);
};

/* X.680 41.4 */
bool bm_printable_ok(struct bm_rd v)
{
    static const char marks[] = " '()+,-./:=?";

    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i], lower = c | 0x20;

        if (!((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr(marks, c) != NULL)))
            return false;
    }
    return true;
}

/* ISO 3166 alpha-2 */
static bool country_ok(struct bm_rd v)
{
    return v.n == 2 && v.p[0] >= 'A' && v.p[0] <= 'Z' && v.p[1] >= 'A' && v.p[1] <= 'Z';
}

/* Length of the UTF-8 character at the front, 0 when there is none: RFC 3629, shortest forms, no surrogates, no control
 * characters. */
static size_t utf8_char(struct bm_rd v)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint8_t c = v.p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
    uint32_t code = n == 1 ? c : c & (0xffu >> (n + 1));

    if (n == 0 || n > v.n || c < 0x20 || c == 0x7f)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((v.p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (v.p[i] & 0x3f);
    }
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || (code >= 0x80 && code < 0xa0) ? 0 : n;
}

bool bm_utf8_ok(struct bm_rd v)
{
    while (v.n != 0) {
        size_t n = utf8_char(v);

        if (n == 0)
            return false;
        v = bm_rd_of(v.p + n, v.n - n);
    }
    return true;
}

size_t bm_char_count(struct bm_rd v)
{
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++)
        n += (v.p[i] & 0xc0) != 0x80;
    return n;
}

static const struct bm_attribute_type types[] = {
    { "CN", BM_LIT(OID_CN), BM_DER_UTF8, 64, bm_utf8_ok },
    { "O", BM_LIT(OID_O), BM_DER_UTF8, 64, bm_utf8_ok },
    { "OU", BM_LIT(OID_OU), BM_DER_UTF8, 64, bm_utf8_ok },
    { "C", BM_LIT(OID_C), BM_DER_PRINTABLE, 2, country_ok },
    { "serialNumber", BM_LIT(OID_SERIAL_NUMBER), BM_DER_PRINTABLE, 64, bm_printable_ok },
};

static const struct bm_attribute_type *type_find(struct bm_rd name)
{
    for (size_t i = 0; i < BM_COUNT(types); i++)
        if (bm_rd_eq(name, bm_rd_str(types[i].name)))
            return &types[i];
    return NULL;
}

/* One "TYPE=text" of the list; moves *text past it and its comma. */
static enum bm_rc spec_item(const char **text, struct bm_name_spec *s, struct bm_error *e)
{
    size_t type_len = strcspn(*text, "=,"), len;
    const char *value = *text + type_len + 1;
    const struct bm_attribute_type *t = (*text)[type_len] == '=' ? type_find(bm_rd_of(*text, type_len)) : NULL;

    if (t == NULL)
        return bm_fail(e, BM_USAGE, "subject: expected CN=, O=, OU=, C= or serialNumber= with commas between them");
    len = strcspn(value, ",");
    if (len == 0 || len >= BM_TEMPLATE_MAX)
        return bm_fail(e, BM_USAGE, "subject: %s has %zu characters; 1 to %d are taken", t->name, len, BM_TEMPLATE_MAX - 1);
    if (s->n == BM_NAME_ATTRIBUTES_MAX)
        return bm_fail(e, BM_USAGE, "subject: more than %d attributes", BM_NAME_ATTRIBUTES_MAX);
    s->at[s->n].type = t;
    memcpy(s->at[s->n].text, value, len);
    s->at[s->n].text[len] = '\0';
    s->n++;
    *text = value + len + (value[len] == ',');
    return value[len] == ',' && value[len + 1] == '\0' ? bm_fail(e, BM_USAGE, "subject: ends with a comma") : BM_OK;
}

enum bm_rc bm_name_spec_parse(const char *text, bool templates, struct bm_name_spec *ret, struct bm_error *e)
{
    struct bm_name_spec s = { 0 };

    while (*text != '\0') {
        enum bm_rc rc = spec_item(&text, &s, e);

        if (rc == BM_OK && templates)
            rc = bm_template_check(s.at[s.n - 1].text, e);
        if (rc != BM_OK)
            return rc;
    }
    *ret = s;
    return BM_OK;
}

bool bm_name_spec_has(const struct bm_name_spec *s, const char *type)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i].type->name, type) == 0)
            return true;
    return false;
}

const char *bm_name_spec_type(const struct bm_name_spec *s, size_t i)
{
    return s->at[i].type->name;
}

static enum bm_rc value_check(const struct bm_attribute_type *t, struct bm_rd v, struct bm_error *e)
{
    char safe[80];

    if (!t->ok(v))
        return bm_refuse(e, BM_DENIED, "profile-template", "subject: %s cannot hold '%s'", t->name,
                         bm_text_escape(v, safe, sizeof safe));
    if (bm_char_count(v) > t->chars_max)
        return bm_refuse(e, BM_DENIED, "profile-template", "subject: %s takes %zu characters and '%s' is longer", t->name,
                         t->chars_max, bm_text_escape(v, safe, sizeof safe));
    return BM_OK;
}

static enum bm_rc rdn_write(struct bm_derw *w, const struct bm_attribute_type *t, const char *text,
                            const struct bm_subject_words *words, struct bm_error *e)
{
    uint8_t value[BM_VALUE_MAX];
    struct bm_wr v = bm_wr_of(value, sizeof value);
    size_t mark = bm_derw_mark(w);
    enum bm_rc rc = bm_template_fill(text, words, BM_TEMPLATE_PLAIN, &v, e);

    if (rc == BM_OK)
        rc = value_check(t, bm_wr_rd(&v), e);
    if (rc != BM_OK)
        return rc;
    bm_derw_tlv(w, t->tag, bm_wr_rd(&v));
    bm_derw_tlv(w, BM_DER_OID, t->oid);
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    bm_derw_end(w, mark, BM_DER_SET);
    return BM_OK;
}

/* RFC 4514 section 2.1 writes the last RDN first, and so do we, back to front. */
enum bm_rc bm_name_write(struct bm_derw *w, const struct bm_name_spec *s, const struct bm_subject_words *words, struct bm_error *e)
{
    size_t mark = bm_derw_mark(w);

    for (size_t i = 0; i < s->n; i++) {
        enum bm_rc rc = rdn_write(w, s->at[i].type, s->at[i].text, words, e);

        if (rc != BM_OK)
            return rc;
    }
    bm_derw_end(w, mark, BM_DER_SEQUENCE);
    return w->bad ? bm_fail(e, BM_LIMIT, "subject: over %d bytes", BM_NAME_DER_MAX) : BM_OK;
}

void bm_name_template_write(struct bm_derw *w, const struct bm_name_spec *s)
{
    size_t mark = bm_derw_mark(w);

    for (size_t i = 0; i < s->n; i++) {
        const struct bm_attribute_type *t = s->at[i].type;
        struct bm_rd text = bm_rd_str(s->at[i].text);
        size_t rdn = bm_derw_mark(w);

        if (memchr(text.p, '{', text.n) == NULL)
            bm_derw_tlv(w, t->tag, text);
        bm_derw_tlv(w, BM_DER_OID, t->oid);
        bm_derw_end(w, rdn, BM_DER_SEQUENCE);
        bm_derw_end(w, rdn, BM_DER_SET);
    }
    if (s->n != 0) /* no requirements on the name: no name */
        bm_derw_end(w, mark, BM_DER_SEQUENCE);
}

static bool attribute_next(struct bm_rd *set, struct bm_rd *ret_oid, struct bm_rd *ret_value)
{
    struct bm_rd attribute;

    return bm_der_take(set, BM_DER_SEQUENCE, &attribute) && bm_der_take(&attribute, BM_DER_OID, ret_oid) &&
           bm_der_oid_ok(*ret_oid) && bm_der_any(&attribute, NULL, ret_value, NULL) && attribute.n == 0;
}

bool bm_name_valid(struct bm_rd name)
{
    struct bm_rd rdns, set, oid, value;

    if (name.n > BM_NAME_DER_MAX || !bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return false;
    while (rdns.n != 0) {
        if (!bm_der_take(&rdns, BM_DER_SET, &set) || set.n == 0)
            return false;
        while (set.n != 0)
            if (!attribute_next(&set, &oid, &value))
                return false;
    }
    return true;
}

bool bm_name_find(struct bm_rd name, struct bm_rd want, struct bm_rd *ret)
{
    struct bm_rd rdns, set, oid, value;

    if (!bm_der_only(name, BM_DER_SEQUENCE, &rdns))
        return false;
    while (bm_der_take(&rdns, BM_DER_SET, &set)) {
        while (attribute_next(&set, &oid, &value)) {
            if (bm_rd_eq(oid, want)) {
                *ret = value;
                return true;
            }
        }
    }
    return false;
}
