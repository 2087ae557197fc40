/* targets: bm_enrol_parse bm_enrolled_parse bm_status_parse bm_view_parse bm_refused_parse bm_message_parse bm_acme_ask_parse bm_acme_told_parse and their writers */
#include "keeper/wire.h"

#include <stdlib.h>

/* What parses writes back to the same bytes. */
static void same(struct bm_buf *out, struct bm_rd in)
{
    if (out->bad || !bm_rd_eq(bm_buf_rd(out), in))
        abort();
    bm_buf_done(out);
}

static void enrol(struct bm_rd in, struct bm_buf *out)
{
    struct bm_enrol v;

    if (bm_enrol_parse(in, &v, NULL) != BM_OK)
        return;
    bm_enrol_write(out, &v);
    same(out, in);
    bm_enrol_tbs(out, BM_CMD_ENROL, &v);
    bm_buf_done(out);
}

static void enrolled(struct bm_rd in, struct bm_buf *out)
{
    struct bm_enrolled v;

    if (bm_enrolled_parse(in, &v, NULL) != BM_OK)
        return;
    bm_enrolled_write(out, &v);
    same(out, in);
}

static void status(struct bm_rd in, struct bm_buf *out)
{
    struct bm_status v;

    if (bm_status_parse(in, &v, NULL) != BM_OK)
        return;
    bm_status_write(out, &v);
    same(out, in);
}

static void view(struct bm_rd in, struct bm_buf *out)
{
    struct bm_view v;

    if (bm_view_parse(in, &v, NULL) != BM_OK)
        return;
    bm_view_write(out, &v);
    same(out, in);
}

static void refused(struct bm_rd in, struct bm_buf *out)
{
    struct bm_refused v;
    struct bm_error e;

    if (bm_refused_parse(in, &v, NULL) != BM_OK || v.code[0] == '\0') /* the writer puts the kind's word for an empty code */
        return;
    e.rc = (enum bm_rc)v.rc;
    memcpy(e.code, v.code, sizeof e.code);
    memcpy(e.what, v.what, sizeof e.what);
    bm_refused_write(out, &e, v.retry_after_s);
    same(out, in);
}

static void message(struct bm_rd in, struct bm_buf *out)
{
    struct bm_message v;

    if (bm_message_parse(in, &v, NULL) != BM_OK)
        return;
    bm_message_write(out, &v);
    same(out, in);
}

static void acme_ask(struct bm_rd in, struct bm_buf *out)
{
    struct bm_acme_ask v;

    if (bm_acme_ask_parse(in, &v, NULL) != BM_OK)
        return;
    bm_acme_ask_write(out, &v);
    same(out, in);
}

static void acme_told(struct bm_rd in, struct bm_buf *out)
{
    struct bm_acme_told v;

    if (bm_acme_told_parse(in, &v, NULL) != BM_OK)
        return;
    bm_acme_told_write(out, &v);
    same(out, in);
}

/* The first byte chooses the message. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static void (*const messages[])(struct bm_rd in, struct bm_buf * out) = { enrol,   enrolled, status,   view,
                                                                              refused, message,  acme_ask, acme_told };
    struct bm_buf out = { .max = BM_FRAME_MAX };

    if (n != 0)
        messages[p[0] % BM_COUNT(messages)](bm_rd_of(p + 1, n - 1), &out);
    bm_buf_done(&out);
    return 0;
}
