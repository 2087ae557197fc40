#include "keeper/task.h"

#include <stdio.h>

/* --- tasks --------------------------------------------------------------------------------------------------------------------- */
enum { FOREIGN = 1, UNVERIFIED = 2, TASK_FLAGS = FOREIGN | UNVERIFIED };
enum { FAILED = 1, RETRY = 2, ANSWER_FLAGS = FAILED | RETRY };

void bm_task_write(struct bm_buf *out, const struct bm_task *t)
{
    const struct bm_rd parts[] = { t->method, t->url, t->body, t->trust, t->client_cert, t->client_key, t->host, t->sni, t->alpn };

    bm_buf_uint(out, 1, t->kind);
    bm_buf_uint(out, 1, (t->foreign ? FOREIGN : 0) | (t->unverified ? UNVERIFIED : 0));
    bm_buf_uint(out, 1, t->redirects);
    bm_buf_uint(out, 2, t->port);
    bm_buf_uint(out, 4, t->timeout_ms);
    bm_buf_uint(out, 4, t->answer_max);
    for (size_t i = 0; i < BM_COUNT(parts); i++)
        bm_buf_vec(out, parts[i]);
    bm_buf_uint(out, 1, t->n_fields);
    for (size_t i = 0; i < t->n_fields; i++) {
        bm_buf_vec(out, t->fields[i].name);
        bm_buf_vec(out, t->fields[i].value);
    }
}

static bool read_numbers(struct bm_rd *in, struct bm_task *t)
{
    uint8_t flags;

    if (!bm_rd_u8(in, &t->kind) || !bm_rd_u8(in, &flags) || (flags & ~TASK_FLAGS) != 0 || !bm_rd_u8(in, &t->redirects) ||
        !bm_rd_u16(in, &t->port) || !bm_rd_u32(in, &t->timeout_ms) || !bm_rd_u32(in, &t->answer_max))
        return false;
    t->foreign = (flags & FOREIGN) != 0;
    t->unverified = (flags & UNVERIFIED) != 0;
    return true;
}

static bool read_parts(struct bm_rd *in, struct bm_task *t)
{
    const struct {
        struct bm_rd *to;
        size_t max;
    } parts[] = { { &t->method, 16 },
                  { &t->url, BM_TASK_TEXT_MAX },
                  { &t->body, BM_TASK_BODY_MAX },
                  { &t->trust, BM_TASK_MAX },
                  { &t->client_cert, BM_TASK_MAX },
                  { &t->client_key, BM_TASK_MAX },
                  { &t->host, 256 },
                  { &t->sni, 256 },
                  { &t->alpn, 255 } };

    for (size_t i = 0; i < BM_COUNT(parts); i++)
        if (!bm_rd_vec(in, parts[i].max, parts[i].to))
            return false;
    return true;
}

/* Nothing of a field's may end its line, or the request would hold more than the keeper meant. */
static bool field_ok(struct bm_rd v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < 0x20 || v.p[i] == 0x7f)
            return false;
    return true;
}

static bool read_fields(struct bm_rd *in, struct bm_task *t)
{
    uint8_t n;

    if (!bm_rd_u8(in, &n) || n > BM_TASK_FIELDS_MAX)
        return false;
    t->n_fields = n;
    for (size_t i = 0; i < n; i++) {
        struct bm_task_field *f = &t->fields[i];

        if (!bm_rd_vec(in, 128, &f->name) || !bm_rd_vec(in, BM_TASK_TEXT_MAX, &f->value) || f->name.n == 0 || !field_ok(f->name) ||
            memchr(f->name.p, ':', f->name.n) != NULL || !field_ok(f->value))
            return false;
    }
    return true;
}

static bool limits_ok(const struct bm_task *t)
{
    return t->kind >= BM_TASK_HTTP && t->kind <= BM_TASK_TLS && t->timeout_ms != 0 && t->timeout_ms <= BM_TASK_TIMEOUT_MAX_MS &&
           t->answer_max <= BM_TASK_LARGE_MAX && t->redirects <= BM_TASK_REDIRECTS_MAX &&
           (t->kind == BM_TASK_HTTP ? t->url.n != 0 && t->method.n != 0 && field_ok(t->url) : t->host.n != 0 && field_ok(t->host));
}

enum bm_rc bm_task_parse(struct bm_rd in, struct bm_task *ret, struct bm_error *e)
{
    struct bm_task t = { 0 };

    if (in.n > BM_TASK_MAX)
        return bm_fail(e, BM_LIMIT, "task of %zu bytes", in.n);
    if (!read_numbers(&in, &t) || !read_parts(&in, &t) || !read_fields(&in, &t))
        return bm_fail(e, BM_MALFORMED, "task: cut short, or something in it is too long");
    if (in.n != 0)
        return bm_fail(e, BM_MALFORMED, "task: %zu bytes left over", in.n);
    if (!limits_ok(&t))
        return bm_fail(e, BM_LIMIT, "task: over a limit");
    *ret = t;
    return BM_OK;
}

/* --- answers ------------------------------------------------------------------------------------------------------------------- */
void bm_task_answer_write(struct bm_buf *out, const struct bm_task_answer *a)
{
    const struct bm_rd parts[] = {
        bm_rd_str(a->code), bm_rd_str(a->what), a->content_type, a->retry_after, a->location, a->nonce, a->body, a->cert, a->alpn
    };

    bm_buf_uint(out, 1, (a->failed ? FAILED : 0) | (a->retry ? RETRY : 0));
    bm_buf_uint(out, 2, a->status);
    for (size_t i = 0; i < BM_COUNT(parts); i++)
        bm_buf_vec(out, parts[i]);
    bm_buf_uint(out, 1, a->n_texts);
    for (size_t i = 0; i < a->n_texts; i++)
        bm_buf_vec(out, a->texts[i]);
}

/* What goes into sentences and rows is text, whoever wrote it. */
static bool take_text(struct bm_rd *in, char *ret, size_t room)
{
    struct bm_rd v;

    if (!bm_rd_vec(in, room - 1, &v))
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < 0x20 || v.p[i] > 0x7e)
            return false;
    snprintf(ret, room, "%.*s", (int)v.n, v.n != 0 ? (const char *)v.p : "");
    return true;
}

static bool read_answer(struct bm_rd *in, struct bm_task_answer *a)
{
    uint8_t flags, n;

    if (!bm_rd_u8(in, &flags) || (flags & ~ANSWER_FLAGS) != 0 || !bm_rd_u16(in, &a->status) ||
        !take_text(in, a->code, sizeof a->code) || !take_text(in, a->what, sizeof a->what) ||
        !bm_rd_vec(in, BM_TASK_TEXT_MAX, &a->content_type) || !bm_rd_vec(in, BM_TASK_TEXT_MAX, &a->retry_after) ||
        !bm_rd_vec(in, BM_TASK_TEXT_MAX, &a->location) || !bm_rd_vec(in, BM_TASK_TEXT_MAX, &a->nonce) ||
        !bm_rd_vec(in, BM_TASK_LARGE_MAX, &a->body) || !bm_rd_vec(in, BM_CERT_MAX, &a->cert) || !bm_rd_vec(in, 255, &a->alpn) ||
        !bm_rd_u8(in, &n) || n > BM_TASK_TEXTS_MAX)
        return false;
    a->failed = (flags & FAILED) != 0;
    a->retry = (flags & RETRY) != 0;
    for (a->n_texts = 0; a->n_texts < n; a->n_texts++)
        if (!bm_rd_vec(in, BM_TASK_TEXT_MAX, &a->texts[a->n_texts]))
            return false;
    return true;
}

enum bm_rc bm_task_answer_parse(struct bm_rd in, struct bm_task_answer *ret, struct bm_error *e)
{
    struct bm_task_answer a = { 0 };

    if (!read_answer(&in, &a))
        return bm_fail(e, BM_MALFORMED, "answer to a task: cut short, or something in it is too long");
    if (in.n != 0)
        return bm_fail(e, BM_MALFORMED, "answer to a task: %zu bytes left over", in.n);
    if (a.failed != (a.code[0] != '\0'))
        return bm_fail(e, BM_MALFORMED, "answer to a task: a failure has a code, and nothing else has");
    *ret = a;
    return BM_OK;
}

/* --- between courier and keeper -------------------------------------------------------------------------------------------------- */
void bm_errand_ask_write(struct bm_buf *out, const struct bm_errand_ask *a)
{
    bm_buf_uint(out, 1, a->fresh);
    bm_buf_uint(out, 2, a->room);
    bm_buf_uint(out, 2, a->n);
    for (size_t i = 0; i < a->n; i++) {
        bm_buf_uint(out, 8, (uint64_t)a->reports[i].id);
        bm_buf_uint(out, 4, a->reports[i].token);
        bm_buf_vec(out, a->reports[i].answer);
    }
}

/* Of an errand: a row's id, positive, and a token; then what belongs to it. */
static bool read_piece(struct bm_rd *in, size_t max, int64_t *ret_id, uint32_t *ret_token, struct bm_rd *ret)
{
    uint64_t id;

    if (!bm_rd_u64(in, &id) || id == 0 || id > INT64_MAX || !bm_rd_u32(in, ret_token) || !bm_rd_vec(in, max, ret))
        return false;
    *ret_id = (int64_t)id;
    return true;
}

enum bm_rc bm_errand_ask_parse(struct bm_rd in, struct bm_errand_ask *ret, struct bm_error *e)
{
    struct bm_errand_ask a = { 0 };
    uint8_t fresh;
    uint16_t n;

    if (!bm_rd_u8(&in, &fresh) || fresh > 1 || !bm_rd_u16(&in, &a.room) || a.room > BM_ERRANDS_AT_ONCE || !bm_rd_u16(&in, &n) ||
        n > BM_ERRANDS_AT_ONCE)
        return bm_fail(e, BM_MALFORMED, "courier's word: malformed");
    a.fresh = fresh != 0;
    for (a.n = 0; a.n < n; a.n++)
        if (!read_piece(&in, BM_ERRAND_COMMAND_MAX, &a.reports[a.n].id, &a.reports[a.n].token, &a.reports[a.n].answer))
            return bm_fail(e, BM_MALFORMED, "courier's word: report %zu is malformed", a.n);
    if (in.n != 0)
        return bm_fail(e, BM_MALFORMED, "courier's word: %zu bytes left over", in.n);
    *ret = a;
    return BM_OK;
}

void bm_errand_given_write(struct bm_buf *out, const struct bm_errand_given *g)
{
    bm_buf_uint(out, 2, g->n);
    for (size_t i = 0; i < g->n; i++) {
        bm_buf_uint(out, 8, (uint64_t)g->work[i].id);
        bm_buf_uint(out, 4, g->work[i].token);
        bm_buf_vec(out, g->work[i].task);
    }
}

enum bm_rc bm_errand_given_parse(struct bm_rd in, struct bm_errand_given *ret, struct bm_error *e)
{
    struct bm_errand_given g = { 0 };
    uint16_t n;

    if (!bm_rd_u16(&in, &n) || n > BM_ERRANDS_AT_ONCE)
        return bm_fail(e, BM_MALFORMED, "errands: malformed");
    for (g.n = 0; g.n < n; g.n++)
        if (!read_piece(&in, BM_TASK_MAX, &g.work[g.n].id, &g.work[g.n].token, &g.work[g.n].task))
            return bm_fail(e, BM_MALFORMED, "errands: number %zu is malformed", g.n);
    if (in.n != 0)
        return bm_fail(e, BM_MALFORMED, "errands: %zu bytes left over", in.n);
    *ret = g;
    return BM_OK;
}
