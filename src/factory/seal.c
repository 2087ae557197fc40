#include "factory/impl.h"

#include "base/text.h"

/* A seal line has exactly one spelling, so that nothing of it lies outside its own signature. */
#define SEAL_HEAD "{\"seal\":\""
#define SEAL_TAIL "\"}"

bool bm_seal_begins(struct bm_rd line)
{
    return line.n >= strlen(SEAL_HEAD) && memcmp(line.p, SEAL_HEAD, strlen(SEAL_HEAD)) == 0;
}

bool bm_seal_line(struct bm_rd line, struct bm_rd *ret_jws)
{
    size_t head = strlen(SEAL_HEAD), tail = strlen(SEAL_TAIL);

    if (!bm_seal_begins(line) || line.n < head + tail || memcmp(line.p + line.n - tail, SEAL_TAIL, tail) != 0)
        return false;
    *ret_jws = bm_rd_of(line.p + head, line.n - head - tail);
    return true;
}

static const char *const members[] = { "manifest", "seq", "entries", "first", "digest", "prev", "last", "total", NULL };

static enum bm_rc refused(struct bm_error *e, const char *what)
{
    return bm_refuse(e, BM_MALFORMED, "manifest-format", "seal: %s", what);
}

static bool count(const json_t *j, const char *name, uint64_t *ret)
{
    const json_t *v = json_object_get(j, name);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static bool digest(const json_t *j, const char *name, uint8_t ret[32])
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = 64 };
    struct bm_rd t;

    if (!bm_json_text(j, name, &t) || t.n != 43 || bm_unbase64url(t, &b, NULL) != BM_OK || b.n != 32)
        return false;
    memcpy(ret, b.p, 32);
    return true;
}

static enum bm_rc take(const json_t *j, struct bm_seal *s, struct bm_error *e)
{
    const json_t *last = json_object_get(j, "last");
    struct bm_rd id;

    if (bm_json_unknown(j, members) != NULL)
        return refused(e, "a member that version 1 does not have");
    if (!bm_json_text(j, "manifest", &id) || !bm_text_copy(id, s->manifest, sizeof s->manifest))
        return refused(e, "\"manifest\" must be the manifest's id");
    if (!count(j, "seq", &s->seq) || !count(j, "entries", &s->entries) || !count(j, "first", &s->first) ||
        !count(j, "total", &s->total))
        return refused(e, "\"seq\", \"entries\", \"first\" and \"total\" must be numbers");
    s->has_prev = json_object_get(j, "prev") != NULL;
    if (!digest(j, "digest", s->digest) || (s->has_prev && !digest(j, "prev", s->prev)))
        return refused(e, "\"digest\" and \"prev\" must be SHA-256 values in base64url");
    if (last != NULL && !json_is_true(last))
        return refused(e, "\"last\" is true or absent");
    s->last = last != NULL;
    return BM_OK;
}

enum bm_rc bm_seal_parse(struct bm_rd json, struct bm_seal *ret, struct bm_error *e)
{
    BM_JSON_FREE json_t *j = NULL;
    struct bm_seal s = { 0 };
    struct bm_error why = { 0 };
    enum bm_rc rc = bm_json_object(json, &j, &why);

    if (rc != BM_OK)
        return bm_refuse(e, rc, bm_rc_is_ours(rc) ? "" : "manifest-format", "seal: %s", why.what);
    rc = take(j, &s, e);
    if (rc == BM_OK)
        *ret = s;
    return rc;
}

static void digest_member(const char *name, const uint8_t d[32], struct bm_buf *out)
{
    bm_buf_printf(out, ",\"%s\":\"", name);
    bm_base64url(out, bm_rd_of(d, 32));
    bm_buf_str(out, "\"");
}

void bm_seal_write(const struct bm_seal *s, struct bm_buf *out)
{
    bm_buf_printf(out, "{\"manifest\":\"%s\",\"seq\":%llu,\"entries\":%llu,\"first\":%llu", s->manifest, (unsigned long long)s->seq,
                  (unsigned long long)s->entries, (unsigned long long)s->first);
    digest_member("digest", s->digest, out);
    if (s->has_prev)
        digest_member("prev", s->prev, out);
    bm_buf_printf(out, ",\"total\":%llu%s}", (unsigned long long)s->total, s->last ? ",\"last\":true" : "");
}
