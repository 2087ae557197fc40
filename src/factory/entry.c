#include "factory/impl.h"

#include "base/text.h"
#include "pki/cert.h"

static const char *const members[] = { "udid", "key", "rot", "birth", "attributes", "id", "mac", "sealed", "root", NULL };

/* --- checks ------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc birth_check(const struct bm_manifest_entry *m, struct bm_error *e)
{
    struct bm_error why = { 0 };
    struct bm_cert c;
    enum bm_rc rc = bm_cert_parse(m->birth_cert, &c, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-birth", "birth certificate: %s", why.what);
    if (!bm_rd_eq(c.spki, m->spki))
        return bm_refuse(e, BM_MALFORMED, "entry-birth", "the birth certificate is for another key");
    return BM_OK;
}

enum bm_rc bm_entry_check(struct bm_keycheck *keys, const char *issuer, const struct bm_manifest_entry *m, struct bm_error *e)
{
    const struct bm_rot_kind *kind = bm_rot_kind_find(bm_rd_str(m->rot));
    char rot[BM_ROT_LEN];
    enum bm_rc rc;

    if (m->ident.n != 0 || m->mac[0] != '\0')
        return bm_entry_check_symmetric(issuer, m, e);
    if (kind == NULL || kind->symmetric || kind->attested)
        return bm_refuse(e, BM_MALFORMED, "entry-rot", "no such kind of root of trust for a device with a key pair: \"%s\"",
                         bm_text_escape(bm_rd_str(m->rot), rot, sizeof rot));
    rc = bm_keycheck(keys, m->spki, e);
    if (rc != BM_OK || m->birth_cert.n == 0)
        return rc;
    return birth_check(m, e);
}

/* --- attributes --------------------------------------------------------------------------------------------------------------- */
static bool deeper_than(json_t *j, unsigned levels)
{
    bool deep = levels == 0;

    if (!json_is_object(j) && !json_is_array(j))
        return false;
    for (void *i = json_object_iter(j); !deep && i != NULL; i = json_object_iter_next(j, i)) /* none in an array */
        deep = deeper_than(json_object_iter_value(i), levels - 1);
    for (size_t i = 0; !deep && i < json_array_size(j); i++) /* 0 for an object */
        deep = deeper_than(json_array_get(j, i), levels - 1);
    return deep;
}

enum bm_rc bm_entry_attributes(const json_t *object, struct bm_buf *out, struct bm_error *e)
{
    uint8_t *to;
    size_t n;

    out->n = 0;
    if (!json_is_object(object) || deeper_than((json_t *)object, BM_JSON_DEPTH_MAX))
        return bm_refuse(e, BM_MALFORMED, "entry-attributes", "\"attributes\" must be an object at most %d levels deep",
                         BM_JSON_DEPTH_MAX);
    to = bm_buf_room(out, BM_MANIFEST_ATTRIBUTES_MAX);
    if (to == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    n = json_dumpb(object, (char *)to, BM_MANIFEST_ATTRIBUTES_MAX, JSON_COMPACT);
    if (n == 0 || n > BM_MANIFEST_ATTRIBUTES_MAX)
        return bm_refuse(e, BM_LIMIT, "entry-attributes", "attributes of %zu bytes; at most %d are taken", n,
                         BM_MANIFEST_ATTRIBUTES_MAX);
    out->n = n;
    return BM_OK;
}

/* --- native entries: one JSON object per line --------------------------------------------------------------------------------- */
static enum bm_rc decode(struct bm_rd text, struct bm_buf *out, const char *code, const char *what, struct bm_error *e)
{
    struct bm_error why = { 0 };
    enum bm_rc rc;

    out->n = 0;
    if (text.n / 4 * 3 + 3 > out->max)
        return bm_refuse(e, BM_LIMIT, code, "%s of %zu characters is too long", what, text.n);
    rc = bm_unbase64url(text, out, &why);
    return rc == BM_OK ? BM_OK : bm_refuse(e, rc, code, "%s: %s", what, why.what);
}

static enum bm_rc take_key(const json_t *j, struct bm_manifest_reader *r, struct bm_manifest_entry *m, struct bm_error *e)
{
    char hex[65];
    struct bm_rd key, udid;
    enum bm_rc rc;

    if (!bm_json_text(j, "key", &key))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "\"key\" must be a text");
    if (!bm_json_text(j, "udid", &udid))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "\"udid\" must be a text");
    rc = decode(key, &r->spki, "entry-key", "\"key\"", e);
    if (rc != BM_OK)
        return rc;
    m->spki = bm_buf_rd(&r->spki);
    bm_udid_of(m->spki, m->udid);
    bm_hex(m->udid, sizeof m->udid, hex); /* compared as text, which leaves a UDID one spelling */
    if (!bm_rd_eq(udid, bm_rd_str(hex)))
        return bm_refuse(e, BM_MALFORMED, "entry-udid", "\"udid\" is not the SHA-256 of \"key\" in lower-case hex");
    return BM_OK;
}

static enum bm_rc take_rest(const json_t *j, struct bm_manifest_reader *r, struct bm_manifest_entry *m, size_t *found,
                            struct bm_error *e)
{
    const json_t *birth = json_object_get(j, "birth"), *attributes = json_object_get(j, "attributes");
    struct bm_rd text;
    enum bm_rc rc = BM_OK;

    if (birth != NULL && (!bm_json_text(j, "birth", &text) || text.n == 0))
        return bm_refuse(e, BM_MALFORMED, "entry-format", "\"birth\" must be a text or absent");
    if (birth != NULL)
        rc = decode(text, &r->birth, "entry-birth", "\"birth\"", e);
    if (rc == BM_OK && attributes != NULL)
        rc = bm_entry_attributes(attributes, &r->attributes, e);
    if (rc != BM_OK)
        return rc;
    m->birth_cert = birth != NULL ? bm_buf_rd(&r->birth) : (struct bm_rd){ 0 };
    m->attributes = attributes != NULL ? bm_buf_rd(&r->attributes) : (struct bm_rd){ 0 };
    *found += (birth != NULL) + (attributes != NULL);
    return BM_OK;
}

static enum bm_rc unknown_member(const json_t *j, struct bm_error *e)
{
    const char *name = bm_json_unknown(j, members);
    char shown[64];

    return bm_refuse(e, BM_MALFORMED, "entry-format", "a member that entries do not have: \"%s\"",
                     name != NULL ? bm_text_escape(bm_rd_str(name), shown, sizeof shown) : "?");
}

enum bm_rc bm_entry_parse_native(struct bm_manifest_run *run, struct bm_rd line, struct bm_manifest_entry *ret, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL;
    struct bm_error why = { 0 };
    size_t found = 3; /* members that must be there, and so are once all of them were taken */
    struct bm_rd rot;
    enum bm_rc rc;

    if (line.n > BM_MANIFEST_LINE_MAX)
        return bm_refuse(e, BM_LIMIT, "entry-format", "an entry of %zu bytes; at most %d are taken", line.n, BM_MANIFEST_LINE_MAX);
    rc = bm_json_object(line, &j, &why);
    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-format", "%s", why.what);
    rc = json_object_get(j, "id") != NULL ? bm_entry_take_symmetric(j, run->r, ret, &found, e) : take_key(j, run->r, ret, e);
    if (rc == BM_OK)
        rc = take_rest(j, run->r, ret, &found, e);
    if (rc != BM_OK)
        return rc;
    if (!bm_json_text(j, "rot", &rot) || !bm_text_copy(rot, ret->rot, sizeof ret->rot))
        return bm_refuse(e, BM_MALFORMED, "entry-rot", "\"rot\" must be a kind of root of trust");
    return json_object_size(j) == found ? BM_OK : unknown_member(j, e);
}

static enum bm_rc attributes_canonical(struct bm_rd text, struct bm_buf *out, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_MANIFEST_ATTRIBUTES_MAX };
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_json_object(text, &j, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, "entry-attributes", "attributes: %s", why.what);
    rc = bm_entry_attributes(j, &b, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_str(out, ",\"attributes\":");
    bm_buf_put(out, b.p, b.n);
    return BM_OK;
}

enum bm_rc bm_entry_write(const struct bm_manifest_entry *m, struct bm_buf *out, struct bm_error *e)
{
    char hex[65];
    enum bm_rc rc = BM_OK;

    bm_hex(m->udid, sizeof m->udid, hex);
    bm_buf_printf(out, "{\"udid\":\"%s\",", hex);
    if (m->ident.n != 0) {
        bm_entry_write_symmetric(m, out);
    } else {
        bm_buf_str(out, "\"key\":\"");
        bm_base64url(out, m->spki);
        bm_buf_str(out, "\"");
    }
    bm_buf_printf(out, ",\"rot\":\"%s\"", m->rot);
    if (m->birth_cert.n != 0) {
        bm_buf_str(out, ",\"birth\":\"");
        bm_base64url(out, m->birth_cert);
        bm_buf_str(out, "\"");
    }
    if (m->attributes.n != 0)
        rc = attributes_canonical(m->attributes, out, e);
    bm_buf_str(out, "}\n");
    return rc != BM_OK ? rc : bm_buf_check(out, e);
}
