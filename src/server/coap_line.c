#include "server/coap_line.h"

#include "protocol/est_coap.h"

#include <stdio.h>

enum { DIAGNOSTIC_MIN = 16 };

/* --- what is held ------------------------------------------------------------------------------------------------------------------ */
static void body_drop(struct bm_coap_line *l, struct bm_coap_body *b)
{
    l->budget->held -= b->bytes.n;
    bm_buf_done(&b->bytes);
    b->on = false;
}

static bool body_add(struct bm_coap_line *l, struct bm_coap_body *b, struct bm_rd more)
{
    if (l->budget->held > l->budget->max || more.n > l->budget->max - l->budget->held)
        return false;
    bm_buf_put(&b->bytes, more.p, more.n);
    if (b->bytes.bad)
        return false;
    l->budget->held += more.n;
    return true;
}

static void body_begin(struct bm_coap_line *l, struct bm_coap_body *b, size_t max)
{
    body_drop(l, b);
    b->bytes = (struct bm_buf){ .max = max };
    b->on = true;
    memcpy(b->key, l->asked.key, sizeof b->key);
}

void bm_coap_line_init(struct bm_coap_line *l, struct bm_coap_budget *budget, uint16_t mid)
{
    *l = (struct bm_coap_line){ .budget = budget, .mid = mid };
}

void bm_coap_line_done(struct bm_coap_line *l)
{
    if (l->budget != NULL) {
        body_drop(l, &l->up);
        body_drop(l, &l->down);
    }
    for (size_t i = 0; i < BM_COAP_RECENT; i++)
        bm_buf_done(&l->recent[i].reply);
    bm_buf_done(&l->sent.bytes);
}

bool bm_coap_line_busy(const struct bm_coap_line *l)
{
    return l->asked.on || l->sent.on || l->up.on;
}

/* --- messages that come twice: RFC 7252 section 4.5 --------------------------------------------------------------------------------- */
static struct bm_coap_recent *find_recent(struct bm_coap_line *l, uint16_t mid, int64_t now_ms)
{
    for (size_t i = 0; i < BM_COAP_RECENT; i++) {
        struct bm_coap_recent *r = &l->recent[i];

        if (r->used && r->mid == mid && now_ms < r->until_ms)
            return r;
    }
    return NULL;
}

static void remember(struct bm_coap_line *l, uint16_t mid, int64_t now_ms)
{
    struct bm_coap_recent *r = &l->recent[l->at++ % BM_COAP_RECENT];

    bm_buf_done(&r->reply);
    *r = (struct bm_coap_recent){
        .used = true, .mid = mid, .until_ms = now_ms + BM_COAP_BODY_MS, .reply.max = BM_COAP_DATAGRAM_MAX
    };
}

static void put_empty(struct bm_buf *out, enum bm_coap_type type, uint16_t mid)
{
    const struct bm_coap_message m = bm_coap_message_of(type, BM_COAP_EMPTY, mid);

    bm_coap_write(out, &m);
}

/* The same answer once more; or, where there is none yet, the same acknowledgement. */
static void say_again(const struct bm_coap_line *l, const struct bm_coap_recent *r, const struct bm_coap_message *m,
                      struct bm_buf *out)
{
    if (r->reply.n != 0)
        bm_buf_put(out, r->reply.p, r->reply.n);
    else if (m->type == BM_COAP_CON && l->asked.on && l->asked.acked && l->asked.m.mid == m->mid)
        put_empty(out, BM_COAP_ACK, m->mid);
}

/* --- answers ------------------------------------------------------------------------------------------------------------------------ */
/* The slice that the client has asked for, or the first, in blocks as it likes them: RFC 7959 section 2.4. */
static struct bm_coap_block slice(const struct bm_coap_message *asked, size_t len)
{
    struct bm_coap_block b = { .szx = asked->block2.present   ? asked->block2.szx
                                      : asked->block1.present ? asked->block1.szx
                                                              : BM_COAP_SZX_MAX };
    size_t size = bm_coap_block_len(b.szx);

    b.num = asked->block2.num;
    b.present = asked->block2.present || len > size;
    b.more = len > size && (size_t)b.num < (len - 1) / size;
    return b;
}

/* The last of a request's blocks is acknowledged in its answer: section 2.3. */
static struct bm_coap_message reply_of(struct bm_coap_line *l)
{
    const struct bm_coap_message *q = &l->asked.m;
    bool piggyback = q->type == BM_COAP_CON && !l->asked.acked;
    struct bm_coap_message m = bm_coap_message_of(piggyback                ? BM_COAP_ACK
                                                  : q->type == BM_COAP_CON ? BM_COAP_CON
                                                                           : BM_COAP_NON,
                                                  BM_COAP_EMPTY, piggyback ? q->mid : l->mid++);

    m.token_len = q->token_len;
    memcpy(m.token, q->token, sizeof m.token);
    m.block1 = q->block1;
    return m;
}

static void keep_sent(struct bm_coap_line *l, const struct bm_coap_message *m, struct bm_rd bytes, int64_t now_ms)
{
    bm_buf_done(&l->sent.bytes);
    l->sent = (struct bm_coap_sent){
        .on = true, .mid = m->mid, .due_ms = now_ms + BM_COAP_RETRY_MS, .bytes = { .max = BM_COAP_DATAGRAM_MAX }
    };
    bm_buf_put(&l->sent.bytes, bytes.p, bytes.n);
}

static void say(struct bm_coap_line *l, const struct bm_coap_message *m, int64_t now_ms, struct bm_buf *out)
{
    struct bm_coap_recent *r = find_recent(l, l->asked.m.mid, now_ms);
    size_t from = out->n;
    struct bm_rd bytes;

    bm_coap_write(out, m);
    bytes = bm_rd_of(out->p + from, out->n - from);
    if (r != NULL && !out->bad)
        bm_buf_put(&r->reply, bytes.p, bytes.n);
    if (m->type == BM_COAP_CON && !out->bad)
        keep_sent(l, m, bytes, now_ms);
    l->asked.on = false;
}

static void say_slice(struct bm_coap_line *l, const struct bm_coap_reply *r, int64_t now_ms, struct bm_buf *out)
{
    struct bm_coap_message m = reply_of(l);
    struct bm_rd before;
    size_t size, at;

    m.code = r->code;
    m.content_format = r->content_format;
    m.max_age_s = r->max_age_s;
    m.size1 = r->size1;
    m.block2 = slice(&l->asked.m, r->payload.n);
    size = bm_coap_block_len(m.block2.szx);
    at = m.block2.num * size;
    m.payload = r->payload;
    (void)bm_rd_take(&m.payload, at, &before);
    m.payload.n = m.payload.n < size ? m.payload.n : size;
    if (m.block2.present && m.block2.num == 0)
        m.size2 = (int64_t)r->payload.n;
    say(l, &m, now_ms, out);
}

static void refuse_plainly(struct bm_coap_line *l, enum bm_rc rc, const char *code, const char *what, int64_t now_ms,
                           struct bm_buf *out)
{
    struct bm_error e;

    (void)bm_refuse(&e, rc, code, "%s", what);
    bm_coap_line_refuse(l, &e, rc == BM_AGAIN ? 5 : 0, NULL, now_ms, out);
}

/* A slice that begins behind the end is not there: section 2.4 has 4.00. */
static bool past_end(const struct bm_coap_message *m, size_t len)
{
    return m->block2.num != 0 && m->block2.num * bm_coap_block_len(m->block2.szx) >= len;
}

static bool is_refusal(uint8_t code)
{
    return code >= BM_COAP_CODE(4, 0);
}

static bool keep_rest(struct bm_coap_line *l, const struct bm_coap_reply *r, int64_t now_ms)
{
    body_begin(l, &l->down, BM_COAP_BODY_MAX);
    l->down.code = r->code;
    l->down.content_format = r->content_format;
    l->down.until_ms = now_ms + BM_COAP_BODY_MS;
    return body_add(l, &l->down, r->payload);
}

/* A refusal's text has one block: it is for people, and its code stands first. */
static struct bm_coap_reply cut(const struct bm_coap_line *l, const struct bm_coap_reply *r)
{
    struct bm_coap_reply short_one = *r;
    size_t room = bm_coap_block_len(slice(&l->asked.m, 0).szx);

    if (r->payload.n > room)
        short_one.payload.n = room;
    return short_one;
}

void bm_coap_line_answer(struct bm_coap_line *l, const struct bm_coap_reply *r, int64_t now_ms, struct bm_buf *out)
{
    struct bm_coap_reply whole = is_refusal(r->code) ? cut(l, r) : *r;

    if (!l->asked.on)
        return;
    body_drop(l, &l->up);
    if (is_refusal(r->code)) {
        l->asked.m.block2 = (struct bm_coap_block){ .szx = l->asked.m.block2.szx };
        say_slice(l, &whole, now_ms, out);
        return;
    }
    if (past_end(&l->asked.m, whole.payload.n)) {
        refuse_plainly(l, BM_MALFORMED, "bad-request", "there is no such block", now_ms, out);
        return;
    }
    if (slice(&l->asked.m, whole.payload.n).more && !keep_rest(l, &whole, now_ms)) {
        body_drop(l, &l->down);
        refuse_plainly(l, BM_AGAIN, "try-again", "too many large answers are on their way", now_ms, out);
        return;
    }
    say_slice(l, &whole, now_ms, out);
}

void bm_coap_line_refuse(struct bm_coap_line *l, const struct bm_error *e, int64_t retry_after_s, const char *correlation,
                         int64_t now_ms, struct bm_buf *out)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 1024 };
    struct bm_coap_reply r = { .code = bm_coap_code_of(e), .content_format = -1, .max_age_s = -1, .size1 = -1 };

    if (r.code == BM_COAP_CODE(5, 3) || r.code == BM_COAP_CODE(4, 29)) /* RFC 9148 section 4.7, RFC 8516 section 3 */
        r.max_age_s = retry_after_s > 0 ? retry_after_s : 5;
    bm_buf_printf(&text, "%s: %s", bm_error_code(e), e->what);
    if (correlation != NULL)
        bm_buf_printf(&text, " (correlation %s)", correlation);
    r.payload = bm_buf_rd(&text);
    bm_coap_line_answer(l, &r, now_ms, out);
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------ */
/* Method, path and query, as text that no two requests share; "" when it is too long, which fits nothing. */
static void key_of(const struct bm_coap_message *m, char ret[BM_COAP_KEY_MAX])
{
    struct bm_wr w = bm_wr_of(ret, BM_COAP_KEY_MAX - 1);

    memset(ret, 0, BM_COAP_KEY_MAX);
    bm_wr_uint(&w, 1, m->code);
    for (size_t i = 0; i < m->n_path + m->n_query; i++) {
        struct bm_rd part = i < m->n_path ? m->path[i] : m->query[i - m->n_path];

        bm_wr_uint(&w, 1, i < m->n_path ? 'p' : 'q');
        bm_wr_uint(&w, 1, part.n);
        bm_wr_put(&w, part.p, part.n);
    }
    bm_wr_uint(&w, 2, (uint64_t)(uint16_t)m->accept);
    if (w.bad)
        memset(ret, 0, BM_COAP_KEY_MAX);
}

static bool fits(const struct bm_coap_line *l, const struct bm_coap_body *b, int64_t now_ms)
{
    return b->on && now_ms < b->until_ms && l->asked.key[0] != 0 && memcmp(b->key, l->asked.key, sizeof b->key) == 0;
}

static void ask(struct bm_coap_line *l, const struct bm_coap_message *m, int64_t now_ms)
{
    l->asked.on = true;
    l->asked.acked = false;
    l->asked.m = *m;
    l->asked.m.payload = bm_rd_of(NULL, 0);
    l->asked.ack_ms = now_ms + BM_COAP_ACK_MS;
    key_of(m, l->asked.key);
}

/* The next slice of an answer that we still have. */
static enum bm_coap_next go_on(struct bm_coap_line *l, int64_t now_ms, struct bm_buf *out)
{
    const struct bm_coap_reply r = { .code = l->down.code,
                                     .content_format = l->down.content_format,
                                     .max_age_s = -1,
                                     .size1 = -1,
                                     .payload = bm_buf_rd(&l->down.bytes) };

    l->down.until_ms = now_ms + BM_COAP_BODY_MS;
    if (past_end(&l->asked.m, r.payload.n))
        refuse_plainly(l, BM_MALFORMED, "bad-request", "there is no such block", now_ms, out);
    else
        say_slice(l, &r, now_ms, out);
    return BM_COAP_DONE;
}

static enum bm_coap_next take_request(struct bm_coap_line *l, const struct bm_coap_message *m, int64_t now_ms, struct bm_buf *out)
{
    char text[48];

    ask(l, m, now_ms);
    if (m->proxy) {
        refuse_plainly(l, BM_DENIED, "no-proxy", "this is no proxy", now_ms, out);
    } else if (m->bad_block) {
        refuse_plainly(l, BM_MALFORMED, "bad-request", "blocks of size 7 are not defined", now_ms, out);
    } else if (m->unknown != 0) {
        (void)snprintf(text, sizeof text, "option %u is not served, or not so", m->unknown);
        refuse_plainly(l, BM_MALFORMED, "bad-option", text, now_ms, out);
    } else if (m->block2.num != 0 && fits(l, &l->down, now_ms)) {
        return go_on(l, now_ms, out);
    } else if (m->block2.num != 0 && m->code != BM_COAP_GET) {
        refuse_plainly(l, BM_CONFLICT, "incomplete", "that answer is gone; ask anew", now_ms, out);
    } else {
        return BM_COAP_REQUEST;
    }
    return BM_COAP_DONE;
}

/* While one request is with the keeper, another has to wait: NSTART is 1 (RFC 7252 section 4.7). */
static void too_early(struct bm_coap_line *l, const struct bm_coap_message *m, struct bm_buf *out)
{
    struct bm_coap_message r = bm_coap_message_of(m->type == BM_COAP_CON ? BM_COAP_ACK : BM_COAP_NON, BM_COAP_CODE(5, 3),
                                                  m->type == BM_COAP_CON ? m->mid : l->mid++);

    r.token_len = m->token_len;
    memcpy(r.token, m->token, sizeof r.token);
    r.max_age_s = 2;
    bm_coap_write(out, &r);
}

static void acknowledged(struct bm_coap_line *l, uint16_t mid)
{
    if (!l->sent.on || l->sent.mid != mid)
        return;
    l->sent.on = false;
    bm_buf_done(&l->sent.bytes);
}

enum bm_coap_next bm_coap_line_take(struct bm_coap_line *l, struct bm_rd datagram, int64_t now_ms, struct bm_buf *out,
                                    struct bm_coap_message *ret_m)
{
    struct bm_coap_recent *r;
    struct bm_error e;
    bool header, ok = bm_coap_parse(datagram, ret_m, &header, &e) == BM_OK;

    if (header && (ret_m->type == BM_COAP_ACK || ret_m->type == BM_COAP_RST)) {
        acknowledged(l, ret_m->mid);
        return BM_COAP_DONE;
    }
    /* A ping, a response that nobody waits for, or what cannot be read: sections 4.2 and 4.3. */
    if (!ok || ret_m->code == BM_COAP_EMPTY || ret_m->code >= BM_COAP_METHODS_END) {
        if (header && ret_m->type == BM_COAP_CON)
            put_empty(out, BM_COAP_RST, ret_m->mid);
        return BM_COAP_DONE;
    }
    r = find_recent(l, ret_m->mid, now_ms);
    if (r != NULL) {
        say_again(l, r, ret_m, out);
        return BM_COAP_DONE;
    }
    if (l->asked.on) {
        too_early(l, ret_m, out);
        return BM_COAP_DONE;
    }
    remember(l, ret_m->mid, now_ms);
    return take_request(l, ret_m, now_ms, out);
}

/* --- a request in blocks: RFC 7959 section 2.5 ----------------------------------------------------------------------------------------- */
static enum bm_coap_next too_large(struct bm_coap_line *l, size_t max, int64_t now_ms, struct bm_buf *out)
{
    static const char text[] = "body-too-large: the request is larger than Size1";
    const struct bm_coap_reply r = { .code = BM_COAP_CODE(4, 13),
                                     .content_format = -1,
                                     .max_age_s = -1,
                                     .size1 = (int64_t)max,
                                     .payload = bm_rd_of(text, sizeof text - 1) };

    bm_coap_line_answer(l, &r, now_ms, out);
    return BM_COAP_DONE;
}

static enum bm_coap_next say_continue(struct bm_coap_line *l, int64_t now_ms, struct bm_buf *out)
{
    struct bm_coap_message m = reply_of(l);

    m.code = BM_COAP_CODE(2, 31);
    say(l, &m, now_ms, out);
    return BM_COAP_DONE;
}

/* NULL: the block is where it belongs. */
static const char *out_of_place(const struct bm_coap_line *l, const struct bm_coap_message *m, int64_t now_ms)
{
    if (m->block1.num != 0 && !fits(l, &l->up, now_ms))
        return "the blocks before this one are gone; send the request anew";
    if (m->block1.num != 0 && m->block1.num * bm_coap_block_len(m->block1.szx) != l->up.bytes.n)
        return "a block is missing; send the request anew";
    return NULL;
}

static enum bm_coap_next take_block(struct bm_coap_line *l, const struct bm_coap_message *m, int64_t now_ms, struct bm_buf *out)
{
    if (!body_add(l, &l->up, m->payload)) {
        refuse_plainly(l, BM_AGAIN, "try-again", "too many large requests are on their way", now_ms, out);
        return BM_COAP_DONE;
    }
    l->up.until_ms = now_ms + BM_COAP_BODY_MS;
    return m->block1.more ? say_continue(l, now_ms, out) : BM_COAP_REQUEST;
}

enum bm_coap_next bm_coap_line_body(struct bm_coap_line *l, const struct bm_coap_message *m, size_t max, int64_t now_ms,
                                    struct bm_buf *out, struct bm_rd *ret)
{
    size_t size = bm_coap_block_len(m->block1.szx);
    const char *wrong;

    *ret = m->payload;
    if (!m->block1.present)
        return m->payload.n <= max ? BM_COAP_REQUEST : too_large(l, max, now_ms, out);
    if (m->payload.n > size || (m->block1.more && m->payload.n != size)) {
        refuse_plainly(l, BM_MALFORMED, "bad-request", "the block is not as long as it says", now_ms, out);
        return BM_COAP_DONE;
    }
    wrong = out_of_place(l, m, now_ms);
    if (wrong != NULL) {
        refuse_plainly(l, BM_CONFLICT, "incomplete", wrong, now_ms, out);
        return BM_COAP_DONE;
    }
    if (m->block1.num == 0)
        body_begin(l, &l->up, max);
    if (m->size1 > (int64_t)max || m->payload.n > max - l->up.bytes.n)
        return too_large(l, max, now_ms, out);
    if (take_block(l, m, now_ms, out) == BM_COAP_DONE)
        return BM_COAP_DONE;
    *ret = bm_buf_rd(&l->up.bytes);
    return BM_COAP_REQUEST;
}

/* --- time ------------------------------------------------------------------------------------------------------------------------------- */
/* Each wait is twice the one before: RFC 7252 section 4.2. */
static void send_again(struct bm_coap_sent *s, int64_t now_ms, struct bm_buf *out)
{
    if (s->tries == BM_COAP_RETRIES_MAX) {
        s->on = false;
        bm_buf_done(&s->bytes);
        return;
    }
    s->tries++;
    s->due_ms = now_ms + ((int64_t)BM_COAP_RETRY_MS << s->tries);
    bm_buf_put(out, s->bytes.p, s->bytes.n);
}

void bm_coap_line_tick(struct bm_coap_line *l, int64_t now_ms, struct bm_buf *out)
{
    if (l->up.on && now_ms >= l->up.until_ms)
        body_drop(l, &l->up);
    if (l->down.on && now_ms >= l->down.until_ms)
        body_drop(l, &l->down);
    if (l->asked.on && !l->asked.acked && l->asked.m.type == BM_COAP_CON && now_ms >= l->asked.ack_ms) {
        l->asked.acked = true;
        put_empty(out, BM_COAP_ACK, l->asked.m.mid);
    } else if (l->sent.on && now_ms >= l->sent.due_ms) {
        send_again(&l->sent, now_ms, out);
    }
}
