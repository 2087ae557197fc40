/* The journal's bytes: heads, records and items, read and written. Pure. */
#include "store/journal_format.h"

#include <openssl/sha.h>

static const char head_marker[] = "BMJRNL1\n", record_marker[] = "BMJr";
enum { HEAD_MARKER = 8, RECORD_MARKER = 4, SHA = 32 };

static enum bm_rc malformed(struct bm_error *e, const char *what)
{
    return bm_fail(e, BM_MALFORMED, "journal: %s", what);
}

static bool take_marker(struct bm_rd *in, const char *marker, size_t n)
{
    struct bm_rd m;

    return bm_rd_take(in, n, &m) && memcmp(m.p, marker, n) == 0;
}

static bool sha_is(struct bm_rd all)
{
    uint8_t is[SHA];

    SHA256(all.p, all.n - SHA, is);
    return memcmp(is, all.p + all.n - SHA, SHA) == 0;
}

/* --- heads ---------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_journal_head_parse(struct bm_rd in, struct bm_journal_head *ret, struct bm_error *e)
{
    struct bm_rd r = in;
    struct bm_journal_head h;

    if (in.n != BM_JOURNAL_HEAD_LEN || !take_marker(&r, head_marker, HEAD_MARKER))
        return malformed(e, "not the head of a segment");
    if (!sha_is(in))
        return malformed(e, "the head of the segment is damaged");
    if (!bm_rd_copy(&r, h.chain, sizeof h.chain) || !bm_rd_u64(&r, &h.first) || !bm_rd_copy(&r, h.prev, sizeof h.prev) ||
        !bm_rd_u32(&r, &h.schema) || !bm_rd_i64(&r, &h.at_ms))
        return malformed(e, "the head of the segment is too short");
    if (h.first == 0 || h.first > INT64_MAX || h.schema == 0)
        return malformed(e, "the head of the segment makes no sense");
    *ret = h;
    return BM_OK;
}

void bm_journal_head_write(const struct bm_journal_head *h, uint8_t ret[BM_JOURNAL_HEAD_LEN])
{
    struct bm_wr w = bm_wr_of(ret, BM_JOURNAL_HEAD_LEN);

    bm_wr_put(&w, head_marker, HEAD_MARKER);
    bm_wr_put(&w, h->chain, sizeof h->chain);
    bm_wr_uint(&w, 8, h->first);
    bm_wr_put(&w, h->prev, sizeof h->prev);
    bm_wr_uint(&w, 4, h->schema);
    bm_wr_uint(&w, 8, (uint64_t)h->at_ms);
    SHA256(ret, w.n, ret + w.n);
}

/* --- items ---------------------------------------------------------------------------------------------------------------------- */
bool bm_journal_sql_ok(struct bm_rd text)
{
    static const char *const verbs[] = { "INSERT INTO ", "UPDATE ", "DELETE FROM " };

    if (text.n == 0 || text.n > BM_JOURNAL_SQL_MAX || memchr(text.p, ';', text.n) != NULL || memchr(text.p, '\0', text.n) != NULL)
        return false;
    for (size_t i = 0; i < BM_COUNT(verbs); i++)
        if (text.n > strlen(verbs[i]) && memcmp(text.p, verbs[i], strlen(verbs[i])) == 0)
            return true;
    return false;
}

static bool take_arg(struct bm_rd *in, struct bm_arg *ret)
{
    uint8_t kind;

    *ret = (struct bm_arg){ 0 };
    if (!bm_rd_u8(in, &kind) || kind > BM_ARG_TEXT)
        return false;
    ret->kind = (enum bm_arg_kind)kind;
    if (ret->kind == BM_ARG_INT)
        return bm_rd_i64(in, &ret->i);
    return ret->kind == BM_ARG_NULL || bm_rd_vec(in, BM_JOURNAL_RECORD_MAX, &ret->b);
}

static bool take_define(struct bm_rd *in, struct bm_journal_item *i)
{
    uint8_t has_id;

    if (!bm_rd_u16(in, &i->number) || !bm_rd_u8(in, &has_id) || has_id > 1 || !bm_rd_vec(in, BM_JOURNAL_SQL_MAX, &i->text))
        return false;
    i->has_id = has_id == 1;
    return i->number < BM_JOURNAL_STATEMENTS_MAX && bm_journal_sql_ok(i->text);
}

static bool take_run(struct bm_rd *in, struct bm_journal_item *i)
{
    uint8_t n;

    if (!bm_rd_u16(in, &i->number) || i->number >= BM_JOURNAL_STATEMENTS_MAX || !bm_rd_i64(in, &i->id) ||
        !bm_rd_i64(in, &i->changes) || i->changes < 1 || !bm_rd_u8(in, &n) || n > BM_JOURNAL_ARGS_MAX)
        return false;
    for (i->n_args = 0; i->n_args < n; i->n_args++)
        if (!take_arg(in, &i->args[i->n_args]))
            return false;
    return true;
}

/* A plain file name: nothing that leads elsewhere. */
static bool name_ok(struct bm_rd name)
{
    static const char may[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    for (size_t i = 0; i < name.n; i++)
        if (memchr(may, name.p[i], sizeof may - 1) == NULL)
            return false;
    return name.n > 0 && name.n < 200 && name.p[0] != '.';
}

static bool take_file(struct bm_rd *in, struct bm_journal_item *i)
{
    return bm_rd_vec(in, 200, &i->text) && name_ok(i->text) && bm_rd_vec(in, BM_JOURNAL_FILE_MAX, &i->content);
}

enum bm_rc bm_journal_item_take(struct bm_rd *in, struct bm_journal_item *ret, struct bm_error *e)
{
    static bool (*const take[])(struct bm_rd *, struct bm_journal_item *) = {
        [BM_JOURNAL_DEFINE] = take_define, [BM_JOURNAL_RUN] = take_run, [BM_JOURNAL_FILE] = take_file
    };
    struct bm_rd r = *in;
    uint8_t kind;

    ret->n_args = 0;
    if (!bm_rd_u8(&r, &kind) || kind >= BM_COUNT(take) || take[kind] == NULL)
        return malformed(e, "an item of an unknown kind");
    ret->kind = (enum bm_journal_kind)kind;
    if (!take[kind](&r, ret))
        return malformed(e, "an item that is cut off or makes no sense");
    *in = r;
    return BM_OK;
}

static void put_arg(struct bm_buf *out, const struct bm_arg *a)
{
    bm_buf_uint(out, 1, a->kind);
    if (a->kind == BM_ARG_INT)
        bm_buf_uint(out, 8, (uint64_t)a->i);
    else if (a->kind != BM_ARG_NULL)
        bm_buf_vec(out, a->b);
}

void bm_journal_item_put(struct bm_buf *out, const struct bm_journal_item *i)
{
    bm_buf_uint(out, 1, i->kind);
    if (i->kind != BM_JOURNAL_FILE)
        bm_buf_uint(out, 2, i->number);
    if (i->kind == BM_JOURNAL_DEFINE)
        bm_buf_uint(out, 1, i->has_id);
    if (i->kind != BM_JOURNAL_RUN)
        bm_buf_vec(out, i->text);
    if (i->kind == BM_JOURNAL_FILE)
        bm_buf_vec(out, i->content);
    if (i->kind != BM_JOURNAL_RUN)
        return;
    bm_buf_uint(out, 8, (uint64_t)i->id);
    bm_buf_uint(out, 8, (uint64_t)i->changes);
    bm_buf_uint(out, 1, i->n_args);
    for (size_t k = 0; k < i->n_args; k++)
        put_arg(out, &i->args[k]);
}

/* --- records -------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_journal_frame_parse(struct bm_rd in, size_t *ret_len, struct bm_error *e)
{
    uint32_t n;

    if (!take_marker(&in, record_marker, RECORD_MARKER) || !bm_rd_u32(&in, &n))
        return malformed(e, "no record begins here");
    if (n < BM_JOURNAL_BODY_MIN || n > BM_JOURNAL_RECORD_MAX)
        return malformed(e, "a record of an impossible length");
    *ret_len = BM_JOURNAL_FRAME_LEN + (size_t)n + SHA;
    return BM_OK;
}

static bool take_body(struct bm_rd *in, struct bm_journal_record *r)
{
    return bm_rd_u64(in, &r->seq) && bm_rd_copy(in, r->prev, sizeof r->prev) && bm_rd_i64(in, &r->at_ms) &&
           bm_rd_i64(in, &r->log_before) && bm_rd_i64(in, &r->log_after) && bm_rd_u32(in, &r->n_items) && r->log_before >= 0 &&
           r->log_after >= r->log_before;
}

static enum bm_rc check_items(struct bm_rd in, uint32_t n, struct bm_error *e)
{
    struct bm_journal_item i;

    for (; n != 0; n--) {
        enum bm_rc rc = bm_journal_item_take(&in, &i, e);

        if (rc != BM_OK)
            return rc;
    }
    return in.n == 0 ? BM_OK : malformed(e, "bytes after the last item");
}

enum bm_rc bm_journal_record_parse(struct bm_rd in, struct bm_journal_record *ret, struct bm_error *e)
{
    struct bm_rd body = in, tail;
    struct bm_journal_record r = { 0 };
    size_t len;
    enum bm_rc rc = bm_journal_frame_parse(in, &len, e);

    if (rc != BM_OK)
        return rc;
    if (in.n != len)
        return malformed(e, "a record that is cut off");
    if (!sha_is(in))
        return malformed(e, "a record that is damaged");
    body = bm_rd_of(in.p + BM_JOURNAL_FRAME_LEN, len - BM_JOURNAL_FRAME_LEN - SHA);
    tail = bm_rd_of(in.p + len - SHA, SHA);
    if (!take_body(&body, &r))
        return malformed(e, "a record that makes no sense");
    memcpy(r.sha256, tail.p, SHA);
    r.items = body;
    rc = check_items(r.items, r.n_items, e);
    if (rc == BM_OK)
        *ret = r;
    return rc;
}

void bm_journal_record_begin(struct bm_buf *out)
{
    static const uint8_t room[BM_JOURNAL_FRAME_LEN + BM_JOURNAL_BODY_MIN];

    out->n = 0;
    bm_buf_put(out, room, sizeof room);
}

void bm_journal_record_end(struct bm_buf *out, struct bm_journal_record *r)
{
    struct bm_wr w = bm_wr_of(out->p, BM_JOURNAL_FRAME_LEN + BM_JOURNAL_BODY_MIN);

    if (out->bad)
        return;
    bm_wr_put(&w, record_marker, RECORD_MARKER);
    bm_wr_uint(&w, 4, out->n - BM_JOURNAL_FRAME_LEN);
    bm_wr_uint(&w, 8, r->seq);
    bm_wr_put(&w, r->prev, sizeof r->prev);
    bm_wr_uint(&w, 8, (uint64_t)r->at_ms);
    bm_wr_uint(&w, 8, (uint64_t)r->log_before);
    bm_wr_uint(&w, 8, (uint64_t)r->log_after);
    bm_wr_uint(&w, 4, r->n_items);
    SHA256(out->p, out->n, r->sha256);
    bm_buf_put(out, r->sha256, SHA);
}
