#include "factory/impl.h"

#include "base/text.h"

static const char *const members[] = { "birthmark-manifest", "id", "issuer", "product", "batch", "created", NULL };

/* Printable ASCII without blank, quote and backslash: it goes into logs, file names of people and JSON as it is. */
static bool id_ok(const char *id)
{
    if (id[0] == '\0')
        return false;
    for (; *id != '\0'; id++)
        if (*id <= ' ' || *id > '~' || *id == '"' || *id == '\\')
            return false;
    return true;
}

static bool name_or_empty(const char *name)
{
    return name[0] == '\0' || bm_name_ok(name);
}

static enum bm_rc refused(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "manifest-format", "header line: %s", what);
}

enum bm_rc bm_header_check(const struct bm_manifest_header *h, struct bm_error *e)
{
    if (!id_ok(h->id))
        return refused(e, "\"id\" must be 1 to 64 printable characters without blanks");
    if (!bm_name_ok(h->issuer))
        return refused(e, "\"issuer\" must be an organisation's name of 1 to 64 of a-z 0-9 . _ -");
    if (!name_or_empty(h->product) || !name_or_empty(h->batch))
        return refused(e, "\"product\" and \"batch\" are names of 1 to 64 of a-z 0-9 . _ -, or absent");
    if (h->created <= 0)
        return refused(e, "\"created\" must lie after 1970");
    return BM_OK;
}

static bool optional_name(const json_t *j, const char *name, char *ret, size_t ret_len)
{
    struct bm_rd t;

    if (json_object_get(j, name) == NULL)
        return true;
    return bm_json_text(j, name, &t) && t.n != 0 && bm_text_copy(t, ret, ret_len);
}

static enum bm_rc take(const json_t *j, struct bm_manifest_header *h, struct bm_error *e)
{
    const json_t *version = json_object_get(j, "birthmark-manifest");
    struct bm_rd id, issuer, created;

    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return refused(e, "\"birthmark-manifest\" must be 1, the one version there is");
    if (bm_json_unknown(j, members) != NULL)
        return refused(e, "a member that version 1 does not have");
    if (!bm_json_text(j, "id", &id) || !bm_text_copy(id, h->id, sizeof h->id))
        return refused(e, "\"id\" must be 1 to 64 printable characters without blanks");
    if (!bm_json_text(j, "issuer", &issuer) || !bm_text_copy(issuer, h->issuer, sizeof h->issuer))
        return refused(e, "\"issuer\" must be an organisation's name of 1 to 64 of a-z 0-9 . _ -");
    if (!optional_name(j, "product", h->product, sizeof h->product) || !optional_name(j, "batch", h->batch, sizeof h->batch))
        return refused(e, "\"product\" and \"batch\" are names of 1 to 64 of a-z 0-9 . _ -, or absent");
    if (!bm_json_text(j, "created", &created) || !bm_time_parse((const char *)created.p, &h->created))
        return refused(e, "\"created\" must be a time as in 2025-01-31T12:00:00Z");
    return bm_header_check(h, e);
}

enum bm_rc bm_manifest_header_parse(struct bm_rd line, struct bm_manifest_header *ret, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL;
    struct bm_manifest_header h = { 0 };
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_json_object(line, &j, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, bm_rc_is_ours(rc) ? "" : "manifest-format", "header line: %s", why.what);
    bm_manifest_digest(line, h.digest);
    rc = take(j, &h, e);
    if (rc == BM_OK)
        *ret = h;
    return rc;
}

void bm_manifest_digest(struct bm_rd first_line, uint8_t ret[32])
{
    if (first_line.n != 0 && first_line.p[first_line.n - 1] == '\n')
        first_line.n--;
    bm_udid_of(first_line, ret); /* plain SHA-256 */
}

/* Nothing in it needs escaping: bm_header_check() has seen to that. */
void bm_header_write(const struct bm_manifest_header *h, struct bm_buf *out)
{
    char created[32];

    bm_buf_printf(out, "{\"birthmark-manifest\":1,\"id\":\"%s\",\"issuer\":\"%s\"", h->id, h->issuer);
    if (h->product[0] != '\0')
        bm_buf_printf(out, ",\"product\":\"%s\"", h->product);
    if (h->batch[0] != '\0')
        bm_buf_printf(out, ",\"batch\":\"%s\"", h->batch);
    bm_buf_printf(out, ",\"created\":\"%s\"}\n", bm_time_text(h->created, created));
}
