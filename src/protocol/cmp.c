#include "protocol/cmp.h"

#include "base/text.h"

static const char type[] = "application/pkixcmp"; /* RFC 9811 section 3.2 */

/* RFC 9483 section 6.1, of those that this program answers. */
static const char *const operations[] = { "initialization",     "certification", "keyupdate", "pkcs10",
                                          "revocation",         "getcacerts",    "getcrls",   "getrootupdate",
                                          "getcertreqtemplate", "nested" };

static bool is_operation(struct bm_rd word)
{
    for (size_t i = 0; i < BM_COUNT(operations); i++)
        if (bm_rd_eq(word, bm_rd_str(operations[i])))
            return true;
    return word.n == 0;
}

bool bm_cmp_path_split(struct bm_rd rest, struct bm_rd *ret_label, struct bm_rd *ret_operation)
{
    struct bm_rd label = { NULL, 0 };
    const uint8_t *slash;

    if (rest.n > 2 && memcmp(rest.p, "p/", 2) == 0) {
        slash = memchr(rest.p + 2, '/', rest.n - 2);
        label = bm_rd_of(rest.p + 2, slash != NULL ? (size_t)(slash - rest.p) - 2 : rest.n - 2);
        rest = slash != NULL ? bm_rd_of(slash + 1, rest.n - label.n - 3) : bm_rd_of(NULL, 0);
        if (label.n == 0 || label.n >= BM_NAME_LEN)
            return false;
    }
    if (!is_operation(rest))
        return false;
    *ret_label = label;
    *ret_operation = rest;
    return true;
}

enum bm_rc bm_cmp_prepare(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e)
{
    struct bm_message m = { .body = q->body };
    char safe[80];

    if (!bm_is_media_type(q->content_type, type))
        return bm_refuse(e, BM_MALFORMED, "unsupported-media-type", "a CMP message has type %s", type);
    if (!bm_cmp_path_split(q->label, &m.label, &m.what))
        return bm_refuse(e, BM_NOTFOUND, "no-such-path", "CMP has no operation or label '%s' here",
                         bm_text_escape(q->label, safe, sizeof safe));
    memcpy(m.correlation, q->correlation, sizeof m.correlation);
    memcpy(m.peer, q->peer, sizeof m.peer);
    bm_message_write(payload, &m);
    return bm_buf_check(payload, e);
}

/* RFC 9811 section 3.4: 200, also when the message in it is an error. */
enum bm_rc bm_cmp_render(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                         struct bm_error *e)
{
    struct bm_cmp_told t;
    enum bm_rc rc = bm_cmp_told_parse(answer, &t, e);

    (void)q, (void)v;
    if (rc != BM_OK)
        return rc;
    r->status = 200;
    r->content_type = type;
    r->no_store = true;
    if (t.code[0] != '\0')
        bm_response_field(r, "Birthmark-Code", bm_rd_str(t.code));
    bm_buf_put(&r->body, t.der.p, t.der.n);
    return BM_OK;
}

void bm_cmp_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    bm_refuse_text(q, e, retry_after_s, r);
}
